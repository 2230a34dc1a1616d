//! What can be said of a journal without opening it for writing: for those who look after it. Nothing here
//! takes a lock for longer than the question, and nothing changes a file of the journal.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ironbell_record::superblock::COPIES;
use ironbell_record::{BLOCK_BYTES, LayoutError, SegmentHeader, Superblock};
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::dir;
use crate::disk::{Access, Disk, Os};
use crate::error::Error;
use crate::reader::{Reader, Tail};
use crate::recovery::{self, TornTail};
use crate::segment::read_header;
use crate::superblock::{self, superblock};

/// Whether a process has the journal in `dir` open for writing. What that one is writing meanwhile looks like a torn
/// tail to a [`Reader`].
///
/// # Errors
/// [`Error::Io`].
pub fn in_use(dir: &Path) -> Result<bool, Error> {
    let path = dir.join("lock");
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file.map_err(Error::io("open", &path))?,
    };
    // The kernel holds a dead writer's lock until its io_uring is gone: one that runs still has it a moment later.
    for _ in 0..TRIES {
        // Shared: two who ask do not disturb each other, and a node that starts meanwhile tries again.
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => return Ok(false),
            Err(Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(10)),
            Err(error) => return Err(Error::io("lock", &path)(error)),
        }
    }
    Ok(true)
}

/// How often a taken lock is tried again, 10 ms apart.
const TRIES: u32 = 50;

/// Each copy of the superblock as it stands.
///
/// # Errors
/// [`Error::Io`].
pub fn superblock_copies(dir: &Path) -> Result<[Result<Superblock, LayoutError>; COPIES], Error> {
    let path = superblock::path(dir);
    let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
    let block = |copy: usize| bytes.get(copy * BLOCK_BYTES..).unwrap_or_default();
    Ok(std::array::from_fn(|copy| Superblock::decode(block(copy), copy)))
}

/// Every segment in `dir`: its file and what its header says.
///
/// # Errors
/// [`Error::Layout`], [`Error::Io`].
pub fn segments(dir: &Path) -> Result<Vec<(PathBuf, SegmentHeader)>, Error> {
    let mut found = Vec::new();
    for index in 1..=dir::last_index(&Os, dir)? {
        let path = dir::segment_path(dir, index);
        if path.try_exists().map_err(Error::io("look for", &path))? {
            let file = Os.open(&path, Access::Read, false).map_err(Error::io("open", &path))?;
            let header = read_header(&file, &path)?;
            found.push((path, header));
        }
    }
    Ok(found)
}

/// Holds what `reader` has found, which must be at the end, against what the superblock remembers: the check that
/// opening the journal makes before it changes anything.
///
/// # Errors
/// [`Error::Memory`] when the journal is not as it was left; [`Error::Superblock`], [`Error::Io`].
pub fn check_end(dir: &Path, reader: &Reader) -> Result<(), Error> {
    recovery::check_memory(dir, &superblock(dir)?, reader)
}

/// The torn tail that opening the journal would cut, and where it would be kept; `None` when there is none. `reader`
/// must be at the end.
///
/// # Errors
/// [`Error::Io`].
pub fn torn_tail(dir: &Path, reader: &Reader) -> Result<Option<TornTail>, Error> {
    let tail: &Tail = reader.tail();
    if tail.torn_bytes == 0 {
        return Ok(None);
    }
    let (path, kept) =
        (dir::segment_path(dir, tail.index), recovery::kept_path(&Os, dir, tail.index, tail.offset, "torn")?);
    Ok(Some(TornTail { path, offset: tail.offset, bytes: tail.torn_bytes, kept }))
}
