//! Moving sealed segments out.
//!
//! Copy, read back and compare, list in the manifest, note in the journal, remove: in this order, segment by segment,
//! each step durable before the next. Whatever ends it in between, every segment is whole in one of the two places, and
//! doing it again goes on where it ended.

use ironbell_store::{Archived, Disk};
use ironbell_types::Seq;

use crate::error::Error;
use crate::manifest::{Entry, Manifest};
use crate::pack::{fetch, pack};
use crate::segment::{self, Whole, first_link};
use crate::{Depot, Journal};

/// What is to be archived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Archiving {
    /// Only segments all of whose commands come before this one: the first that a start needs.
    pub before: Seq,
    /// The segments stay in the journal as well.
    pub copy: bool,
}

/// Moves sealed segments of `journal` to `depot`, oldest first, and tells each. The node may run: it does not write to
/// sealed segments. Returns how many it was.
///
/// # Errors
/// Nothing is lost by any. [`Error::Segment`] when a segment is damaged, [`Error::Fit`] when the archive is not this
/// journal's, or does not end where the journal begins; [`Error::Object`] when what was written is not read back;
/// [`Error::Depot`], [`Error::Io`], [`Error::Journal`].
pub fn archive<D: Disk>(
    journal: &Journal<D>,
    depot: &dyn Depot,
    archiving: Archiving,
    told: &mut dyn FnMut(&Entry),
) -> Result<usize, Error> {
    // What the manifest lists is removed here without being put there again.
    depot.settle()?;
    let mut manifest = Manifest::read(depot, journal)?.unwrap_or_else(|| Manifest::new(journal));
    let indices = ironbell_store::segments_on(&journal.disk, &journal.dir)?;
    let mut moved = 0;
    for index in indices {
        let Some(whole) = sealed(journal, index)? else { break };
        if whole.facts.last_seq >= archiving.before.0 {
            break;
        }
        let entry = match manifest.segment(index) {
            Some(entry) if entry.facts == whole.facts => {
                fetch(entry, depot, journal)?;
                entry.clone()
            }
            Some(_) => return misfit(depot, format!("it holds another segment {index} of this venue")),
            None => {
                follows(&manifest, &whole, depot)?;
                let entry = put(&whole, depot, journal)?;
                manifest.segments.push(entry.clone());
                manifest.write(depot)?;
                entry
            }
        };
        if !archiving.copy {
            remove(journal, &entry, depot)?;
        }
        told(&entry);
        moved += 1;
    }
    Ok(moved)
}

/// The segment `index`, read, if it is sealed: the next one goes on with the link that it ends with.
fn sealed<D: Disk>(journal: &Journal<D>, index: u64) -> Result<Option<Whole>, Error> {
    let next = ironbell_store::segment_path(&journal.dir, index + 1);
    let Some(link) = first_link(journal, &next)? else { return Ok(None) };
    let path = ironbell_store::segment_path(&journal.dir, index);
    let bytes = journal.read(&path)?;
    let whole = segment::read(bytes, index, &journal.cluster, journal.data_key.as_deref());
    let damaged = |offset, seq, what| Error::Segment { path: path.clone(), offset, seq, what };
    let whole = whole.map_err(|fault| damaged(fault.offset, fault.seq, fault.what))?;
    if whole.facts.chain != link {
        let what = format!("segment {} goes on from another frame than its last", index + 1);
        return Err(damaged(whole.facts.bytes, Seq(whole.facts.last_seq + 1), what));
    }
    Ok(Some(whole))
}

fn follows(manifest: &Manifest, whole: &Whole, depot: &dyn Depot) -> Result<(), Error> {
    let Some(last) = manifest.segments.last() else { return Ok(()) };
    let (last, index) = (&last.facts, whole.facts.index);
    if index != last.index + 1 {
        let advice = "choose the archive that holds those in between, or another place";
        return misfit(
            depot,
            format!("it ends with segment {}, the journal begins with {index}; {advice}", last.index),
        );
    }
    if whole.facts.previous != last.chain {
        return misfit(
            depot,
            format!("segment {index} does not follow the last one in it; choose another place"),
        );
    }
    Ok(())
}

fn misfit<T>(depot: &dyn Depot, what: String) -> Result<T, Error> {
    Err(Error::Fit { place: depot.place(), what })
}

/// Writes the object, and reads it back as a restore would.
fn put<D: Disk>(whole: &Whole, depot: &dyn Depot, journal: &Journal<D>) -> Result<Entry, Error> {
    let (entry, object) = pack(whole, journal)?;
    depot.put(&entry.object, &object)?;
    fetch(&entry, depot, journal)?;
    Ok(entry)
}

fn remove<D: Disk>(journal: &Journal<D>, entry: &Entry, depot: &dyn Depot) -> Result<(), Error> {
    let facts = &entry.facts;
    let (first, last, last_seq) = (facts.index, facts.index, Seq(facts.last_seq));
    let archived = Archived { first, last, last_seq, place: depot.place() };
    ironbell_store::note_archived_on(&journal.disk, &journal.dir, &archived)?;
    let path = ironbell_store::segment_path(&journal.dir, facts.index);
    journal.disk.remove(&path).map_err(Error::io("remove", &path))?;
    journal.disk.sync_dir(&journal.dir).map_err(Error::io("sync the directory", &journal.dir))
}
