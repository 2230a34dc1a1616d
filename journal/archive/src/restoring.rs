//! Bringing segments back, and checking that they could be.

use ironbell_store::Disk;
use ironbell_types::Seq;

use crate::error::Error;
use crate::manifest::{Entry, Manifest};
use crate::pack::fetch;
use crate::segment::first_link;
use crate::{Depot, Journal};

/// Brings back the segments that `journal` lacks, newest first, as far as those that hold `from`; tells each. Each is checked
/// against the manifest and against the chain of the segment that follows it in the journal, and nothing that is there
/// is overwritten. Whatever ends it in between, what is there goes on without a gap. Returns how many it was.
///
/// # Errors
/// [`Error::NoManifest`], [`Error::Fit`] when the archive lacks what comes right before the journal's first segment or is
/// not this journal's, [`Error::Object`] when it is damaged; [`Error::Depot`], [`Error::Io`], [`Error::Journal`].
pub fn restore<D: Disk>(
    journal: &Journal<D>,
    depot: &dyn Depot,
    from: Seq,
    told: &mut dyn FnMut(&Entry),
) -> Result<usize, Error> {
    let manifest = read(depot, journal)?;
    // A segment that a killed restore brought back is seen before its name is durable, and is not brought back again.
    journal.disk.sync_dir(&journal.dir).map_err(Error::io("sync the directory", &journal.dir))?;
    let indices = ironbell_store::segments_on(&journal.disk, &journal.dir)?;
    let misfit = |what: String| Error::Fit { place: depot.place(), what };
    let Some(&first) = indices.first() else {
        return Err(misfit(
            "the journal has no segment that it could go on to; restore its directory first".to_owned(),
        ));
    };
    let path = ironbell_store::segment_path(&journal.dir, first);
    let mut link = first_link(journal, &path)?
        .ok_or_else(|| misfit(format!("{} holds no frame that it could go on to", path.display())))?;
    let mut restored = 0;
    for index in (1..first).rev() {
        let Some(entry) = manifest.segment(index) else {
            let advice = "name the archive that does (see the file `archived` in the journal)";
            return Err(misfit(format!("it does not hold segment {index}; {advice}")));
        };
        if entry.facts.last_seq < from.0 {
            break;
        }
        if entry.facts.chain != link {
            return Err(misfit(format!("its segment {index} is not the one that the journal goes on from")));
        }
        let bytes = fetch(entry, depot, journal)?;
        // Whole and on disk under its name, or not there at all. Only segments behind the first are ever made by others, so
        // that none of that name is there while the lock is held.
        ironbell_store::write_new(&journal.disk, &ironbell_store::segment_path(&journal.dir, index), &bytes)?;
        link.clone_from(&entry.facts.previous);
        told(entry);
        restored += 1;
    }
    Ok(restored)
}

/// Reads all of the archive as a restore would, and tells each segment that is right. Returns the manifest.
///
/// # Errors
/// As [`restore`].
pub fn check<D: Disk>(
    journal: &Journal<D>,
    depot: &dyn Depot,
    told: &mut dyn FnMut(&Entry),
) -> Result<Manifest, Error> {
    let manifest = read(depot, journal)?;
    for entry in &manifest.segments {
        fetch(entry, depot, journal)?;
        told(entry);
    }
    Ok(manifest)
}

fn read<D: Disk>(depot: &dyn Depot, journal: &Journal<D>) -> Result<Manifest, Error> {
    Manifest::read(depot, journal)?.ok_or_else(|| Error::NoManifest { place: depot.place() })
}
