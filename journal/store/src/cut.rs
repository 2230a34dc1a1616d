//! Going back: a node that was primary cuts off what the other node does not have, before it follows that one.
//!
//! What is cut is set aside first, whole and synced, in files beside the segments that nothing here removes. Then the
//! superblock says where the journal ends, and only then anything is overwritten: an end at any point leaves the old
//! journal whole, or one that the next opening finishes to cut.

use std::path::{Path, PathBuf};

use ironbell_record::segment::FRAMES_OFFSET;
use ironbell_record::superblock::Cut;
use ironbell_record::{BLOCK_BYTES, Point, Superblock};

use crate::dir::{self, Options};
use crate::disk::{Access, Disk, DiskFile, Os, aligned};
use crate::error::Error;
use crate::reader::Reader;
use crate::recovery::{check_memory, kept_path};
use crate::snapshot;
use crate::superblock::{self, Keeper};

/// How much is copied or zeroed at a time, in bytes.
const CHUNK_BYTES: usize = 1 << 20;

/// What was cut off a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CutTail {
    /// Frames of it.
    pub frames: u64,
    /// Commands in them.
    pub commands: u64,
    /// Where they are kept: one file for each segment they lay in, which holds its bytes from the offset in its name on.
    pub kept: Vec<PathBuf>,
}

/// Cuts off everything behind `to`, and sets it aside; the snapshots that hold any of it are removed, and so are decisions
/// on voids that were recorded there. Nothing is cut when the journal ends at `to`. A torn tail stays for the opening.
///
/// Whoever wrote the journal has let go of it. Session and feed logs are their owner's.
///
/// # Errors
/// [`Error::CutBack`] when commands behind `to` are committed as far as this journal knows, [`Error::NotThere`] when
/// `to` is not in its history, and those of [`open`](crate::open) for a journal that is not sound: with nothing changed.
/// [`Error::Io`]: the same call, or the next opening, goes on.
pub fn cut_back(dir: &Path, options: &Options, to: &Point) -> Result<CutTail, Error> {
    cut_back_on(&Os, dir, options, to)
}

/// [`cut_back`], in another world.
///
/// # Errors
/// As there.
pub fn cut_back_on<D: Disk>(disk: &D, dir: &Path, options: &Options, to: &Point) -> Result<CutTail, Error> {
    options.check()?;
    let direct = options.direct();
    superblock::read(disk, dir, direct)?;
    let _lock = dir::lock(disk, dir)?;
    dir::sync_dir(disk, dir)?;
    finish(disk, dir, direct)?;

    let (remembered, _) = superblock::read(disk, dir, direct)?;
    let mut reader = Reader::alone(disk, dir, options)?;
    reader.after(to)?;
    let (segment, offset) = reader.next_place();
    let from = *reader.chain();
    // The commit that counts is the highest that any frame carries, those that are to be cut included.
    while reader.next_frame()?.is_some() {}
    check_memory(dir, &remembered, &reader)?;
    let end = *reader.chain();
    if end.commit > to.seq {
        return Err(Error::CutBack { dir: dir.to_owned(), to: *to, commit: end.commit });
    }
    if end.frames == from.frames {
        return Ok(CutTail::default());
    }

    let mut kept = Vec::new();
    for index in segment..=reader.segment_index() {
        let start = if index == segment { offset } else { FRAMES_OFFSET };
        kept.extend(set_aside(disk, dir, index, start, direct)?);
    }
    let mut keeper = Keeper::open(disk, dir, direct)?;
    keeper.update(|current| Superblock {
        end: None,
        voids: current.voids.filtered(|void| void.recorded <= to.seq),
        durable_frames: current.durable_frames.min(to.frames),
        cut: Some(Cut { segment, offset, seq: to.seq, frames: to.frames }),
        ..current
    })?;
    drop(keeper);
    finish(disk, dir, direct)?;
    let commands = end.last_seq.0 - to.seq.0;
    Ok(CutTail { frames: end.frames - to.frames, commands, kept })
}

/// Finishes a cut that was begun, if one was. The caller holds the lock.
pub(crate) fn finish<D: Disk>(disk: &D, dir: &Path, direct: bool) -> Result<(), Error> {
    let (remembered, _) = superblock::read(disk, dir, direct)?;
    let Some(cut) = remembered.cut else { return Ok(()) };
    // The superblock is believed, and written, by whoever has made it durable.
    let mut keeper = Keeper::open(disk, dir, direct)?;
    remove_snapshots(disk, dir, &cut)?;
    // From the last one down: what is left has no gap at any point. Empty ones go with them and are made again.
    for index in (cut.segment + 1..=dir::last_index(disk, dir)?).rev() {
        let path = dir::segment_path(dir, index);
        disk.remove(&path).map_err(Error::io("remove", &path))?;
        dir::sync_dir(disk, dir)?;
    }
    zero(disk, dir, &cut, direct)?;
    keeper.update(|current| Superblock { cut: None, ..current })
}

/// Copies the used bytes of a segment from `start` on into a file of their own, if there are any.
fn set_aside<D: Disk>(
    disk: &D,
    dir: &Path,
    index: u64,
    start: u64,
    direct: bool,
) -> Result<Option<PathBuf>, Error> {
    let path = dir::segment_path(dir, index);
    let file = disk.open(&path, Access::Read, direct).map_err(Error::io("open", &path))?;
    let bytes = file.bytes().map_err(Error::io("read the length of", &path))?;
    let mut used = start;
    each_chunk(&file, &path, start..bytes, |at, chunk| {
        let last = chunk.iter().rposition(|byte| *byte != 0);
        used = last.map_or(used, |last| at + last as u64 + 1);
        Ok(())
    })?;
    if used == start {
        return Ok(None);
    }
    let kept = kept_path(disk, dir, index, start, "cut")?;
    let making = dir::making(&kept);
    let copy = disk.open(&making, Access::Create, false).map_err(Error::io("make", &making))?;
    each_chunk(&file, &path, start..used.next_multiple_of(BLOCK_BYTES as u64), |at, chunk| {
        copy.write_all_at(chunk, at - start).map_err(Error::io("write", &making))
    })?;
    copy.sync().map_err(Error::io("sync", &making))?;
    dir::publish(disk, &making, &kept)?;
    Ok(Some(kept))
}

/// Calls `with` with each piece of `range`, whose ends are multiples of 4,096, and its offset.
fn each_chunk<F: DiskFile>(
    file: &F,
    path: &Path,
    range: std::ops::Range<u64>,
    mut with: impl FnMut(u64, &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut chunk = aligned(CHUNK_BYTES).map_err(Error::io("get memory to read", path))?;
    let mut at = range.start;
    while at < range.end {
        let length = (range.end - at).min(CHUNK_BYTES as u64) as usize;
        file.read_exact_at(&mut chunk[..length], at).map_err(Error::io("read", path))?;
        with(at, &chunk[..length])?;
        at += length as u64;
    }
    Ok(())
}

/// Zeroes what is cut of the segment that the journal goes on in.
fn zero<D: Disk>(disk: &D, dir: &Path, cut: &Cut, direct: bool) -> Result<(), Error> {
    let path = dir::segment_path(dir, cut.segment);
    let opened = disk.open(&path, Access::Write, direct);
    let file = opened.map_err(Error::io("open for writing", &path))?;
    let bytes = file.bytes().map_err(Error::io("read the length of", &path))?;
    let zeros = aligned(CHUNK_BYTES).map_err(Error::io("get memory to zero", &path))?;
    each_chunk(&file, &path, cut.offset..bytes, |at, chunk| {
        if chunk.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        file.write_all_at(&zeros[..chunk.len()], at).map_err(Error::io("cut the tail of", &path))
    })?;
    file.sync().map_err(Error::io("cut the tail of", &path))
}

/// Removes the snapshots that hold what is cut. One that cannot be read holds nothing.
fn remove_snapshots<D: Disk>(disk: &D, dir: &Path, cut: &Cut) -> Result<(), Error> {
    for (seq, path) in snapshot::list_on(disk, dir)? {
        let is_behind =
            |path| snapshot::header_on(disk, path).is_ok_and(|it| it.position.chain.frames > cut.frames);
        if seq > cut.seq || (seq == cut.seq && is_behind(&path)) {
            disk.remove(&path).map_err(Error::io("remove", &path))?;
        }
    }
    dir::sync_dir(disk, dir)
}
