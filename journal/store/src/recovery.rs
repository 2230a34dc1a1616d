//! Opening a journal after whatever happened to it: read everything, cut a torn tail, take a new epoch.

use std::collections::VecDeque;
use std::ops::{ControlFlow, RangeInclusive};
use std::path::{Path, PathBuf};

use ironbell_record::segment::FRAMES_OFFSET;
use ironbell_record::snapshot::Position;
use ironbell_record::{Chain, ChainHash, Executed, FRAME_BYTES_MAX, FrameHeader, Point, Superblock};
use ironbell_types::{Nanos, Seq, Sequenced};

use crate::ahead::read_ahead;
use crate::cut;
use crate::dir::{self, Options, Term};
use crate::disk::{Access, Disk, DiskFile, Os, aligned};
use crate::error::Error;
use crate::reader::{Reader, Tail};
use crate::segment::{SPARES, Segment, SegmentMaker, Workshop};
use crate::superblock::{self, Keeper};
use crate::void;
use crate::writer::Writer;

/// What was found in the journal.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// The last command; 0 when there is none.
    pub last_seq: Seq,
    /// Its time: sequenced time goes on from here.
    pub last_time: Nanos,
    /// Link of the last frame.
    pub chain: ChainHash,
    /// The highest commit that a frame carries. Everything up to `last_seq` is on this disk all the same.
    pub commit: Seq,
    /// The latest output hash that a frame carries: what a replay must come to at its Seq.
    pub executed: Executed,
    /// The highest epoch that this node has promised not to go below: the new term, unless none was begun
    /// ([`Term::Copy`]).
    pub epoch: u64,
    /// Where each epoch ended, oldest first, as far back as was read; the last is where the journal ended. Empty when
    /// nothing was read.
    pub epochs: Vec<Point>,
    /// Where reading began: before the first frame, or behind a snapshot's. Nothing is known of epochs before it.
    pub read_from: Point,
    /// Frames found.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Commands in them.
    pub commands: u64,
    /// The torn tail, if there was one. Nothing of it was ever durable.
    pub torn: Option<TornTail>,
}

/// A torn tail that was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment.
    pub path: PathBuf,
    /// Where it began.
    pub offset: u64,
    /// Its length, in whole blocks.
    pub bytes: u64,
    /// Where it is kept.
    pub kept: PathBuf,
}

/// What is called with each frame found, in order: its header and its commands.
pub type Replay<'a> =
    dyn FnMut(&FrameHeader, &[Sequenced]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> + 'a;

/// Opens the journal in `dir` for writing; see [`open_replaying`].
///
/// # Errors
/// See there.
pub fn open(dir: &Path, options: &Options) -> Result<(Recovery, Writer, SegmentMaker), Error> {
    open_replaying(dir, options, &mut |_, _| Ok(()))
}

/// Opens the journal in `dir` for writing and calls `replay` with each frame on the way, so that one
/// pass both checks and replays.
///
/// Takes the lock, for as long as the writer or the maker lives. Checks every frame. Cuts a torn tail:
/// its bytes are kept beside the segment and zeroed in it. Syncs what was found, where a disk is promised.
/// Begins a new epoch, if [`Options::term`] says so, with an empty frame, which is durable on return: it counts all that
/// was found as durable, so none of it can be taken for torn later, and the epoch is taken even if nothing else is ever
/// written in it.
///
/// # Errors
/// [`Error::Damaged`], [`Error::Layout`], [`Error::Memory`], [`Error::Superblock`], [`Error::Key`] and
/// [`Error::Replay`], [`Error::Promised`], with nothing changed; [`Error::Locked`] after two seconds,
/// [`Error::NotFormatted`], [`Error::NotDurable`], [`Error::Options`], [`Error::Uring`], [`Error::Write`], [`Error::Io`].
pub fn open_replaying(
    dir: &Path,
    options: &Options,
    replay: &mut Replay<'_>,
) -> Result<(Recovery, Writer, SegmentMaker), Error> {
    open_on(&Os, dir, options, replay)
}

/// [`open_replaying`] that goes on behind the frame that `from` names: what lies before it is neither checked nor
/// replayed.
///
/// # Errors
/// As there, and [`Error::NotThere`] with nothing changed.
pub fn open_from(
    dir: &Path,
    options: &Options,
    from: Option<&Position>,
    replay: &mut Replay<'_>,
) -> Result<(Recovery, Writer, SegmentMaker), Error> {
    open_from_on(&Os, dir, options, from, replay)
}

/// What [`open_on`] gives: what was found, who writes from now on, and who makes segments for it.
pub type Opened<D> = (Recovery, Writer<<D as Disk>::Queue>, SegmentMaker<D>);

/// [`open_replaying`], in another world.
///
/// # Errors
/// As there.
pub fn open_on<D: Disk>(
    disk: &D,
    dir: &Path,
    options: &Options,
    replay: &mut Replay<'_>,
) -> Result<Opened<D>, Error> {
    open_from_on(disk, dir, options, None, replay)
}

/// [`open_from`], in another world.
///
/// # Errors
/// As there.
pub fn open_from_on<D: Disk>(
    disk: &D,
    dir: &Path,
    options: &Options,
    from: Option<&Position>,
    replay: &mut Replay<'_>,
) -> Result<Opened<D>, Error> {
    options.check()?;
    let direct = options.direct();
    // Before a lock file is made in what is no journal; and again once nobody else changes it.
    superblock::read(disk, dir, direct)?;
    disk.check_durability(dir, options.durability)?;
    let lock = dir::lock(disk, dir)?;
    // Names are seen before they are durable: one that a killed process gave must not be lost with what comes next.
    dir::sync_dir(disk, dir)?;
    cut::finish(disk, dir, direct)?;
    let (remembered, _) = superblock::read(disk, dir, direct)?;
    let mut reader = Reader::alone(disk, dir, options)?;
    from.map_or(Ok(()), |from| reader.resume(from))?;
    let first_index = from.map_or(1, |from| from.segment);
    let read_from = reader.chain().point();
    let (mut epochs, mut recorded, mut last) = (Vec::new(), Vec::new(), read_from);
    read_ahead(&mut reader, |header, commands| {
        if header.epoch > last.epoch && last.frames > 0 {
            epochs.push(last);
        }
        last = point(header);
        recorded.extend(void::decisions(commands));
        let failed = |source| Error::Replay { seq: header.first_seq, source };
        replay(header, commands).map(ControlFlow::Continue).map_err(failed)
    })?;
    check_memory(dir, &remembered, &reader)?;
    reader.check_spares()?;
    let chain = *reader.chain();
    let epoch = options.term.epoch(&remembered, &chain)?;
    let last_index = dir::last_index(disk, dir)?;
    let mut keeper = Keeper::open(disk, dir, direct)?;
    dir::remove_unfinished(disk, dir)?;
    let torn = cut(disk, dir, reader.tail(), direct)?;
    if direct {
        sync_found(disk, dir, first_index..=last_index)?;
    }

    let promised = epoch.unwrap_or(keeper.current().promised_epoch);
    keeper.update(|current| Superblock {
        promised_epoch: promised,
        // None is believed after a crash.
        end: None,
        voids: void::noted(&current.voids, &recorded),
        durable_frames: chain.frames,
        ..current
    })?;
    let mut workshop =
        Workshop::new(disk, dir, remembered.identity.cluster, options, last_index + 1, lock.clone())?;
    let (segment, offset, found) = ready(disk, dir, options, reader.tail(), last_index, &mut workshop)?;
    let (maker_writer, writer_spares) = ironbell_sync::ring(SPARES);
    let maker = SegmentMaker::new(workshop, found, maker_writer);
    let queue = disk.queue(&segment.file, lock, options)?;
    let mut writer = Writer::new(queue, chain, segment, offset, writer_spares, Some(keeper))
        .enciphering(options.data_key.clone())
        .knowing(read_from, epochs.clone());
    if let Some(epoch) = epoch {
        writer.begin_epoch(epoch)?;
        writer.drain()?;
    }
    epochs.extend((chain.frames > 0).then(|| chain.point()));
    let recovery = Recovery {
        last_seq: chain.last_seq,
        last_time: chain.last_time,
        chain: chain.hash,
        commit: chain.commit,
        executed: chain.executed,
        epoch: promised,
        epochs,
        read_from,
        frames: chain.frames,
        bytes: reader.bytes_read(),
        commands: reader.commands_read(),
        torn,
    };
    Ok((recovery, writer, maker))
}

/// The point behind the frame of this header.
fn point(header: &FrameHeader) -> Point {
    Point { frames: header.number + 1, epoch: header.epoch, seq: header.last_seq(), hash: header.chain }
}

impl Term {
    /// The epoch to begin, if one is to be begun.
    fn epoch(self, remembered: &Superblock, chain: &Chain) -> Result<Option<u64>, Error> {
        let (promised, last) = (remembered.promised_epoch, chain.epoch);
        match self {
            Self::Next => Ok(Some(promised + 1)),
            Self::At(epoch) if epoch < promised || epoch <= last => {
                Err(Error::Promised { epoch, promised, last })
            }
            Self::At(epoch) => Ok(Some(epoch)),
            Self::Copy => Ok(None),
        }
    }
}

/// Holds what was found against what the superblock remembers. A journal that was closed in order has no torn tail:
/// whatever is not as it was is damage. An epoch is promised before its first frame is written.
pub(crate) fn check_memory<D: Disk>(
    dir: &Path,
    remembered: &Superblock,
    reader: &Reader<D>,
) -> Result<(), Error> {
    let chain = reader.chain();
    let wrong = |what: String| Err(Error::Memory { dir: dir.to_owned(), what });
    if chain.epoch > remembered.promised_epoch {
        let promised = remembered.promised_epoch;
        return wrong(format!("a frame is of epoch {}, and it has promised {promised} only", chain.epoch));
    }
    if chain.frames < remembered.durable_frames {
        let (there, kept) = (chain.frames, remembered.durable_frames);
        return wrong(format!(
            "{kept} frames were on the disk when the superblock was written; {there} are here"
        ));
    }
    let Some(end) = remembered.end else { return Ok(()) };
    if (chain.frames, chain.hash) != (end.frames, end.chain) {
        let Seq(last) = chain.last_seq;
        return wrong(format!(
            "it was closed in order behind {} frames; {} are here, the last with Seq {last}",
            end.frames, chain.frames
        ));
    }
    if reader.tail().torn_bytes > 0 {
        return wrong(format!("it was closed in order, and {} bytes follow", reader.tail().torn_bytes));
    }
    Ok(())
}

/// See [`ready`].
type Ready<F> = (Segment<F>, u64, VecDeque<Segment<F>>);

/// The segment to go on in and where, with room for a frame, and those that are ready behind it.
fn ready<D: Disk>(
    disk: &D,
    dir: &Path,
    options: &Options,
    tail: &Tail,
    last_index: u64,
    workshop: &mut Workshop<D>,
) -> Result<Ready<D::File>, Error> {
    let mut found = VecDeque::new();
    for index in tail.index + 1..=last_index {
        found.push_back(Segment::open(disk, dir, index, options)?);
    }
    if tail.index > 0 {
        let segment = Segment::open(disk, dir, tail.index, options)?;
        forget_cached(&segment)?;
        if segment.header.bytes - tail.offset >= FRAME_BYTES_MAX as u64 {
            return Ok((segment, tail.offset, found));
        }
    }
    let segment = match found.pop_front() {
        Some(segment) => segment,
        None => workshop.make()?,
    };
    Ok((segment, FRAMES_OFFSET, found))
}

/// Takes what recovery has read of the segment out of the page cache: a direct write into cached pages
/// has to throw them out first, each time, on the order path.
fn forget_cached<F: DiskFile>(segment: &Segment<F>) -> Result<(), Error> {
    segment.file.forget_cached().map_err(Error::io("drop from the page cache", &segment.path))
}

/// Keeps a copy of the torn tail, then zeroes it. The copy is whole and synced before the first byte is
/// zeroed, and zeroing half of it leaves a torn tail again.
fn cut<D: Disk>(disk: &D, dir: &Path, tail: &Tail, direct: bool) -> Result<Option<TornTail>, Error> {
    if tail.torn_bytes == 0 {
        return Ok(None);
    }
    let path = dir::segment_path(dir, tail.index);
    let mut bytes =
        aligned(tail.torn_bytes as usize).map_err(Error::io("get memory to cut the torn tail of", &path))?;
    let opened = disk.open(&path, Access::Write, direct);
    let file = opened.map_err(Error::io("open for writing", &path))?;
    file.read_exact_at(&mut bytes, tail.offset).map_err(Error::io("read the torn tail of", &path))?;
    let kept = kept_path(disk, dir, tail.index, tail.offset, "torn")?;
    dir::write_new(disk, &kept, &bytes)?;
    bytes.fill(0);
    let zeroed = file.write_all_at(&bytes, tail.offset).and_then(|()| file.sync());
    zeroed.map_err(Error::io("cut the torn tail of", &path))?;
    Ok(Some(TornTail { path, offset: tail.offset, bytes: tail.torn_bytes, kept }))
}

/// Makes durable what was found, before it is called so. A reader sees more than the disk has: frames that a
/// process wrote with less durability than is now asked for, or whose write was given to the device and
/// failed after the process was gone. The spare segments too: one may be empty because a killed recovery cut a torn
/// tail there and had not synced the zeros.
fn sync_found<D: Disk>(disk: &D, dir: &Path, found: RangeInclusive<u64>) -> Result<(), Error> {
    for index in found {
        let path = dir::segment_path(dir, index);
        let opened = disk.open(&path, Access::Read, false);
        opened.and_then(|file| file.sync()).map_err(Error::io("sync", &path))?;
    }
    Ok(())
}

/// A name for bytes that are set aside, which none before has.
pub(crate) fn kept_path<D: Disk>(
    disk: &D,
    dir: &Path,
    index: u64,
    offset: u64,
    suffix: &str,
) -> Result<PathBuf, Error> {
    let mut nth = 0_u32;
    loop {
        let again = if nth == 0 { String::new() } else { format!(".{nth}") };
        let path = dir.join(format!("{index:010}-{offset}{again}.{suffix}"));
        if !disk.exists(&path).map_err(Error::io("look for", &path))? {
            return Ok(path);
        }
        nth += 1;
    }
}
