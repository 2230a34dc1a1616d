//! What was taken out of a journal's directory on purpose: the note that an archiver leaves there.
//!
//! The file `archived` has a line for each stretch of segments: `FIRST LAST LAST_SEQ PLACE`. It is written before the
//! first of them is removed, so that whoever misses one is told where it is, and not that the journal is damaged.

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ironbell_types::Seq;

use crate::dir::{self, write_new};
use crate::disk::{Access, Disk, DiskFile, Os};
use crate::error::Error;

/// A stretch of segments that lies in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archived {
    /// Index of the first.
    pub first: u64,
    /// Index of the last.
    pub last: u64,
    /// The last command in them.
    pub last_seq: Seq,
    /// The archive, as its owner names it; no line end in it.
    pub place: String,
}

/// The place of a stretch that never was in this journal: it [begins](crate::begin_behind) behind a snapshot of another
/// node's.
pub const NEVER_HERE: &str = "-";

impl Archived {
    /// Where it is, and what to do about it.
    pub(crate) fn advice(&self) -> String {
        let Self { first, last, last_seq, place } = self;
        let stretch = format!("segments {first} to {last}, up to Seq {last_seq}");
        if place == NEVER_HERE {
            return format!(
                "never was here ({stretch}): this node was set up with a snapshot of the other one, which has it or knows its archive"
            );
        }
        format!("is in the archive {place} ({stretch}): bring it back with `ironbell restore {place}`")
    }
}

impl FromStr for Archived {
    type Err = ();

    fn from_str(line: &str) -> Result<Self, ()> {
        let mut words = line.splitn(4, ' ');
        let mut number = || words.next().and_then(|word| word.parse::<u64>().ok()).ok_or(());
        let (first, last, last_seq) = (number()?, number()?, Seq(number()?));
        let place = words.next().ok_or(())?.to_owned();
        Ok(Self { first, last, last_seq, place })
    }
}

/// The indices of the segments in `dir`, in order; also of those that are made and hold no frame yet.
///
/// # Errors
/// [`Error::Io`].
pub fn segments(dir: &Path) -> Result<Vec<u64>, Error> {
    segments_on(&Os, dir)
}

/// [`segments`], in another world.
///
/// # Errors
/// As there.
pub fn segments_on<D: Disk>(disk: &D, dir: &Path) -> Result<Vec<u64>, Error> {
    let mut indices = dir::indices(disk, dir)?;
    indices.sort_unstable();
    Ok(indices)
}

/// The file of the segment `index`.
#[must_use]
pub fn segment_path(dir: &Path, index: u64) -> PathBuf {
    dir::segment_path(dir, index)
}

/// Which segments of the journal in `dir` lie in an archive, in order.
///
/// # Errors
/// [`Error::Io`], also when a line is not one of ours.
pub fn archived(dir: &Path) -> Result<Vec<Archived>, Error> {
    read(&Os, dir)
}

/// Notes that the segments of `more` lie in an archive; durable on return. Only then may they be removed.
///
/// # Errors
/// As [`archived`].
///
/// # Panics
/// When the place's name holds a line end.
pub fn note_archived_on<D: Disk>(disk: &D, dir: &Path, more: &Archived) -> Result<(), Error> {
    assert!(!more.place.contains('\n'), "a place is one line");
    let mut stretches = read(disk, dir)?;
    match stretches
        .iter_mut()
        .find(|known| known.place == more.place && known.first <= more.first && more.first <= known.last + 1)
    {
        Some(known) if more.last <= known.last => return Ok(()),
        Some(known) => (known.last, known.last_seq) = (more.last, more.last_seq),
        None => stretches.push(more.clone()),
    }
    let line = |it: &Archived| format!("{} {} {} {}\n", it.first, it.last, it.last_seq.0, it.place);
    write_new(disk, &path(dir), stretches.iter().map(line).collect::<String>().as_bytes())
}

pub(crate) fn read<D: Disk>(disk: &D, dir: &Path) -> Result<Vec<Archived>, Error> {
    let path = path(dir);
    let file = match disk.open(&path, Access::Read, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file.map_err(Error::io("open", &path))?,
    };
    let mut bytes = vec![0; file.bytes().map_err(Error::io("read the length of", &path))? as usize];
    file.read_exact_at(&mut bytes, 0).map_err(Error::io("read", &path))?;
    let unknown = || Error::io("understand", &path)(io::Error::from(io::ErrorKind::InvalidData));
    let text = String::from_utf8(bytes).map_err(|_| unknown())?;
    text.lines().map(|line| line.parse().map_err(|()| unknown())).collect()
}

fn path(dir: &Path) -> PathBuf {
    dir.join("archived")
}
