//! The reader: frame after frame, each checked, from the first segment on.
//!
//! Beside a writer, sealed segments are read through memory maps; they never change. The segment that may
//! still be written is read into memory: a map of it would see bytes change under it, and tailing it that way was measured
//! to halve the writer. Who follows a writer reads past the page cache, as the writer writes: what the cache holds
//! a direct write must throw out first, which the kernel leaves to a thread of its own. Recovery reads every segment by
//! direct reads: the page cache may hold what a failed write never brought to the disk.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ironbell_record::segment::FRAMES_OFFSET;
use ironbell_record::superblock::{Void, Voids};
use ironbell_record::{
    BLOCK_BYTES, Chain, FRAME_BYTES_MAX, Frame as Bytes, FrameCopy, FrameError, FrameHeader, Identity, Place,
    Point, SegmentHeader, snapshot::Position,
};
use ironbell_types::{Command, Control, Seq, Sequenced};
use memmap2::MmapMut;

use crate::archived;
use crate::cipher::DataKey;
use crate::dir::{self, Durability, IN_FLIGHT_MAX, Options};
use crate::disk::{Access, Disk, DiskFile, Os, aligned};
use crate::error::Error;
use crate::segment::read_header;
use crate::stream::Stream as _;
use crate::superblock;
use crate::void::put_void;

/// The most bytes that writes in flight can have covered.
const WINDOW_BYTES: u64 = (IN_FLIGHT_MAX * FRAME_BYTES_MAX) as u64;

/// One frame, checked: its bytes, its place in the chain and every record.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// What its header says.
    pub header: FrameHeader,
    /// Its commands, in order, as a replay must execute them: in the place of one that is void stands `Control::Void`.
    pub commands: &'a [Sequenced],
    /// Those that are void, as they were given.
    pub voided: &'a [Sequenced],
}

/// Reads a journal from its beginning. Takes no lock and changes nothing: it can read beside the
/// writer, and then ends where the writer's first unfinished frame is.
#[derive(Debug)]
pub struct Reader<D: Disk = Os> {
    disk: D,
    dir: PathBuf,
    manner: Manner,
    identity: Identity,
    decode: Decode,
    chain: Chain,
    segment: Option<OpenSegment<D>>,
    offset: u64,
    /// Where the last frame lies; segment 0 before the first.
    last_segment: u64,
    last_offset: u64,
    commands: Vec<Sequenced>,
    voids: Voids,
    voided: Vec<Sequenced>,
    commands_read: u64,
    bytes_read: u64,
    tail: Tail,
    /// Where a follower has found nothing, and how often in a row.
    waits: ((u64, u64), u32),
}

/// How a reader reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Beside whoever writes; what is being written past the page cache or not.
    Beside { direct: bool },
    /// While nobody writes; past the page cache or not.
    Alone { direct: bool },
}

impl Manner {
    fn direct(self) -> bool {
        let (Self::Beside { direct } | Self::Alone { direct }) = self;
        direct
    }
}

/// What stands behind the last frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// The segment that the last frame is in, or that the first would be in; 0 when there is none.
    pub index: u64,
    /// Where the next frame belongs in it.
    pub offset: u64,
    /// Bytes from there on, in whole blocks, that hold something that is no finished frame: a torn tail
    /// when nobody writes the journal, writes in flight when somebody does.
    pub torn_bytes: u64,
}

impl Reader {
    /// A reader at the beginning of the journal in `dir`, whose records are plain.
    ///
    /// # Errors
    /// [`Error::NotFormatted`], [`Error::Superblock`], [`Error::Key`], [`Error::Io`].
    pub fn open(dir: &Path) -> Result<Self, Error> {
        Self::deciphering(dir, None)
    }

    /// The same of one whose records are enciphered, if there is a key.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn deciphering(dir: &Path, data_key: Option<Arc<DataKey>>) -> Result<Self, Error> {
        Self::deciphering_on(&Os, dir, data_key)
    }

    /// One that goes on with [`follow`](Self::follow) behind whoever writes, with this durability.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn following(
        dir: &Path,
        data_key: Option<Arc<DataKey>>,
        durability: Durability,
    ) -> Result<Self, Error> {
        Self::new(&Os, dir, data_key, Manner::Beside { direct: durability == Durability::Disk })
    }
}

impl<D: Disk> Reader<D> {
    /// [`deciphering`](Reader::deciphering), in another world.
    ///
    /// # Errors
    /// As there.
    pub fn deciphering_on(disk: &D, dir: &Path, data_key: Option<Arc<DataKey>>) -> Result<Self, Error> {
        Self::new(disk, dir, data_key, Manner::Beside { direct: false })
    }

    /// One that reads what the disk has, not what memory has of it. The caller holds the lock.
    pub(crate) fn alone(disk: &D, dir: &Path, options: &Options) -> Result<Self, Error> {
        Self::new(disk, dir, options.data_key.clone(), Manner::Alone { direct: options.direct() })
    }

    fn new(disk: &D, dir: &Path, data_key: Option<Arc<DataKey>>, manner: Manner) -> Result<Self, Error> {
        let (superblock, _) = superblock::read(disk, dir, manner.direct())?;
        dir::check_key(dir, &superblock.wrapped_key, data_key.is_some())?;
        if superblock.cut.is_some() {
            return Err(Error::Cutting(dir.to_owned()));
        }
        let identity = superblock.identity;
        Ok(Self {
            disk: disk.clone(),
            dir: dir.to_owned(),
            manner,
            identity,
            decode: Decode {
                cluster: identity.cluster,
                deciphered: vec![0; if data_key.is_some() { FRAME_BYTES_MAX } else { 0 }],
                cipher: data_key,
            },
            chain: Chain::genesis(&identity),
            segment: None,
            offset: FRAMES_OFFSET,
            last_segment: 0,
            last_offset: 0,
            commands: Vec::with_capacity(ironbell_record::COMMANDS_MAX),
            voids: superblock.voids,
            voided: Vec::new(),
            commands_read: 0,
            bytes_read: 0,
            tail: Tail::default(),
            waits: ((0, 0), 0),
        })
    }

    /// Goes on behind the frame that `position` names, instead of at the journal's beginning. What lies before it is
    /// not read.
    ///
    /// # Errors
    /// [`Error::NotThere`] when the journal does not have that frame there, [`Error::Archived`], [`Error::Layout`],
    /// [`Error::Io`].
    pub fn resume(&mut self, position: &Position) -> Result<(), Error> {
        let Position { chain, segment, offset } = *position;
        let not_there = |dir: &Path, what: String| Error::NotThere {
            dir: dir.to_owned(),
            segment,
            offset,
            seq: chain.last_seq,
            what,
        };
        if chain.cluster != self.identity.cluster {
            return Err(not_there(&self.dir, "it is that of another venue".into()));
        }
        let is_there = segment > 0
            && match self.enter(segment) {
                Err(Error::Damaged { what, .. }) => return Err(not_there(&self.dir, what)),
                entered => entered?,
            };
        if !is_there {
            return Err(not_there(&self.dir, "the segment is missing".into()));
        }
        let open = self.segment.as_mut().expect("entered");
        let is_inside = offset.checked_add(BLOCK_BYTES as u64).is_some_and(|end| end <= open.header.bytes);
        if !is_inside || !offset.is_multiple_of(BLOCK_BYTES as u64) {
            return Err(not_there(&self.dir, "no frame can begin there".into()));
        }
        let header = match open.frame(&mut self.decode, offset)? {
            Ok(frame) => frame.header,
            Err(fault) => return Err(not_there(&self.dir, fault.to_string())),
        };
        if (header.chain, header.number + 1) != (chain.hash, chain.frames) {
            return Err(not_there(&self.dir, "another frame stands there".into()));
        }
        self.chain = chain;
        (self.last_segment, self.last_offset) = (segment, offset);
        self.offset = offset + header.frame_bytes() as u64;
        Ok(())
    }

    /// Where reading stands, for [`resume`](Self::resume); `None` before the first frame.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        let (chain, segment, offset) = (self.chain, self.last_segment, self.last_offset);
        (segment > 0).then_some(Position { chain, segment, offset })
    }

    /// The next frame; `None` behind the last finished one. On a live journal a later call may find more.
    ///
    /// # Errors
    /// [`Error::Damaged`] when something was once written whole and is not so any more, and
    /// [`Error::Layout`], [`Error::Io`].
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, Error> {
        self.look(Some(u64::MAX))
    }

    /// [`next_frame`](Self::next_frame) for who asks again and again whether there is more. That something was once
    /// written whole where nothing is now shows in what stands behind it: that is read only at the 16th, 32nd, 64th … call
    /// in a row that finds nothing at one place, and only as far as writes in flight reach.
    ///
    /// # Errors
    /// As there.
    pub fn follow(&mut self) -> Result<Option<Frame<'_>>, Error> {
        let place = (self.segment_index(), self.offset);
        let times = if self.waits.0 == place { self.waits.1.saturating_add(1) } else { 1 };
        self.waits = (place, times);
        let is_asked = times >= 16 && times.is_power_of_two();
        self.look(if is_asked { Some(2 * WINDOW_BYTES) } else { None })
    }

    /// The next frame; where there is none, evidence of damage is looked for in so many bytes, if any.
    fn look(&mut self, evidence: Option<u64>) -> Result<Option<Frame<'_>>, Error> {
        loop {
            if self.segment.is_none() && !self.enter(1)? {
                return Ok(None);
            }
            let segment = self.segment.as_mut().expect("entered");
            let chain = &self.chain;
            match segment.frame(&mut self.decode, self.offset)? {
                Ok(frame) => {
                    let header = frame.header;
                    // A sound frame that does not fit in was never torn: nothing but damage explains it.
                    let checked = chain.check(&header).map_err(|error| error.to_string());
                    let commands = &mut self.commands;
                    let checked = checked.and_then(|()| {
                        frame.commands(chain.last_time, commands).map_err(|error| error.to_string())
                    });
                    let checked = checked.and_then(|()| check_voids(&self.voids, commands));
                    if let Err(what) = checked {
                        return Err(segment.damaged(self.offset, chain, what));
                    }
                    self.chain.advance(&header);
                    (self.last_segment, self.last_offset) = (segment.header.index, self.offset);
                    self.offset += header.frame_bytes() as u64;
                    self.bytes_read += header.frame_bytes() as u64;
                    self.commands_read += u64::from(header.count);
                    put_void(&self.voids, &mut self.commands, &mut self.voided);
                    return Ok(Some(Frame { header, commands: &self.commands, voided: &self.voided }));
                }
                Err(unreadable) => {
                    let segment = self.segment.as_mut().expect("a frame was looked for in it");
                    if segment.forget(self.offset) {
                        // It was read with those before it, and may have been finished since.
                        continue;
                    }
                    if evidence.is_none() && segment.may_go_on_at(self.offset) {
                        return Ok(None);
                    }
                    match self.judge(unreadable, evidence.unwrap_or(u64::MAX))? {
                        Verdict::Again => {}
                        Verdict::NextSegment(index) => {
                            if !self.enter(index)? {
                                return Ok(None);
                            }
                        }
                        Verdict::End => return Ok(None),
                    }
                }
            }
        }
    }

    /// Takes the commands of the frame just read, and gives other room for the next one's.
    pub(crate) fn swap_commands(&mut self, commands: &mut Vec<Sequenced>) {
        std::mem::swap(&mut self.commands, commands);
    }

    /// The frame that [`next_frame`](Self::next_frame) has just returned, as it goes to another node: records that are void
    /// are in it as they were given.
    ///
    /// # Errors
    /// [`Error::Damaged`] when it is not what it was a moment ago, [`Error::Io`].
    ///
    /// # Panics
    /// When the last call was not one that returned a frame.
    pub fn last_copy(&mut self) -> Result<FrameCopy<'_>, Error> {
        let segment = self.segment.as_mut().expect("a frame was read");
        assert!(segment.header.index == self.last_segment, "another frame was looked for since");
        let path = segment.path.clone();
        let (offset, seq) = (self.last_offset, self.chain.last_seq);
        let read = segment.frame(&mut self.decode, offset)?;
        let changed = |what: String| Error::Damaged { path, offset, seq, what };
        match read {
            Ok(frame) if frame.header.chain == self.chain.hash => Ok(frame.copy()),
            Ok(_) => Err(changed("another frame stands there than a moment ago".into())),
            Err(fault) => Err(changed(fault.to_string())),
        }
    }

    /// Goes on behind `point`, wherever its frame lies, instead of at the journal's beginning: what a node sends to
    /// another that has the history up to there. Reads the segment that holds it up to there, and nothing before it; what
    /// the frames of that segment continue is believed.
    ///
    /// # Errors
    /// [`Error::NotThere`] when this history does not go through `point`, or not yet; [`Error::Archived`],
    /// [`Error::Damaged`], [`Error::Layout`], [`Error::Io`].
    pub fn after(&mut self, point: &Point) -> Result<(), Error> {
        let index = self.segment_before(point)?;
        self.chain = Chain::genesis(&self.identity);
        (self.segment, self.offset, self.last_segment, self.last_offset) = (None, FRAMES_OFFSET, 0, 0);
        if index > 1 {
            self.enter(index)?;
            let first = self.first_frame()?.expect("one was found there");
            self.chain = Chain::before(&first.shared(), first.number);
        }
        while self.chain.frames < point.frames && self.next_frame()?.is_some() {}
        if self.chain.point() == *point {
            return Ok(());
        }
        let stands = self.chain.point();
        Err(Error::NotThere {
            dir: self.dir.clone(),
            segment: self.last_segment,
            offset: self.last_offset,
            seq: point.seq,
            what: format!("its history goes through {stands}, not through {point}"),
        })
    }

    /// The last segment that begins before `point`; the first when none does, which need not be there.
    fn segment_before(&mut self, point: &Point) -> Result<u64, Error> {
        for index in (2..=dir::last_index(&self.disk, &self.dir)?).rev() {
            if !self.enter(index)? {
                break;
            }
            if self.first_frame()?.is_some_and(|first| first.number < point.frames) {
                return Ok(index);
            }
        }
        Ok(1)
    }

    /// The header of the first frame of the segment that was entered, if it has one.
    fn first_frame(&mut self) -> Result<Option<FrameHeader>, Error> {
        let segment = self.segment.as_mut().expect("entered");
        let place = Place { nonce: segment.header.nonce, offset: FRAMES_OFFSET };
        let block = segment.bytes(FRAMES_OFFSET, BLOCK_BYTES)?;
        Ok(FrameHeader::decode(block, &self.identity.cluster, place).ok())
    }

    /// Reads from here on as if these were void, which the superblock does not say: to see what would come of it.
    pub fn suppose(&mut self, voids: Voids) {
        self.voids = voids;
    }

    /// Opens the segment `index`, if it is there.
    fn enter(&mut self, index: u64) -> Result<bool, Error> {
        let path = dir::segment_path(&self.dir, index);
        if !self.disk.exists(&path).map_err(Error::io("look for", &path))? {
            let stretches = archived::read(&self.disk, &self.dir)?;
            if let Some(archived) = stretches.into_iter().find(|it| (it.first..=it.last).contains(&index)) {
                return Err(Error::Archived { dir: self.dir.clone(), index, archived });
            }
            return match self.later(index - 1)? {
                Some(what) => Err(Error::Damaged { path, offset: 0, seq: self.chain.last_seq.next(), what }),
                None => Ok(false),
            };
        }
        let sealed = matches!(self.manner, Manner::Beside { .. }) && self.is_started(index + 1)?;
        self.segment = Some(self.open_segment(path, index, sealed)?);
        self.offset = FRAMES_OFFSET;
        Ok(true)
    }

    /// What is wrong with the segments behind `index` if that one or the next is the last with frames:
    /// none may be missing, and none behind the next may have any.
    fn later(&self, index: u64) -> Result<Option<String>, Error> {
        for later in index + 1..=dir::last_index(&self.disk, &self.dir)? {
            let path = dir::segment_path(&self.dir, later);
            if !self.disk.exists(&path).map_err(Error::io("look for", &path))? {
                return Ok(Some(format!("segment {later} is missing")));
            }
            if later > index + 1 && self.is_started(later)? {
                return Ok(Some(format!("segment {later} holds frames")));
            }
        }
        Ok(None)
    }

    fn open_segment(&self, path: PathBuf, index: u64, sealed: bool) -> Result<OpenSegment<D>, Error> {
        let opened = self.disk.open(&path, Access::Read, self.manner.direct());
        let file = opened.map_err(Error::io("open", &path))?;
        let header = read_header(&file, &path)?;
        let bytes = file.bytes().map_err(Error::io("read the length of", &path))?;
        let wrong = if header.cluster != self.chain.cluster {
            Some("it belongs to another venue".to_owned())
        } else if header.index != index {
            Some(format!("it says it is segment {}", header.index))
        } else if bytes != header.bytes {
            Some(format!("it is {bytes} bytes long instead of {}", header.bytes))
        } else {
            None
        };
        if let Some(what) = wrong {
            return Err(Error::Damaged { path, offset: 0, seq: self.chain.last_seq.next(), what });
        }
        let source = match self.manner {
            Manner::Beside { .. } if sealed => {
                // SAFETY: the bytes of a map must not change while it is read. A sealed segment is written
                // by nobody: the writer has gone on to the next one, and recovery cuts only the last. Who
                // edits the file by hand while it is read breaks this, as with every mapped file.
                let map = unsafe { file.map() };
                Source::Sealed(map.map_err(Error::io("map", &path))?)
            }
            Manner::Beside { .. } => {
                let buffer = aligned(FRAME_BYTES_MAX).map_err(Error::io("get memory to read", &path))?;
                Source::Growing(Growing { file, buffer, from: 0, filled: 0, next: BLOCK_BYTES })
            }
            Manner::Alone { .. } => {
                let stream = self.disk.stream(file);
                Source::AtRest(stream.map_err(Error::io("get memory and an io_uring to read", &path))?)
            }
        };
        Ok(OpenSegment { path, header, source })
    }

    /// Looks at the segments behind the last frame: one that is damaged must be found before it is needed, and before
    /// anything is changed.
    pub(crate) fn check_spares(&self) -> Result<(), Error> {
        for index in self.tail.index + 1..=dir::last_index(&self.disk, &self.dir)? {
            self.open_segment(dir::segment_path(&self.dir, index), index, false)?;
        }
        Ok(())
    }

    /// Whether anything was ever written into the segment `index`, if there is one. Frames fill a segment from
    /// its beginning, so where writes in flight reach is as far as one has to look.
    fn is_started(&self, index: u64) -> Result<bool, Error> {
        let path = dir::segment_path(&self.dir, index);
        let file = match self.disk.open(&path, Access::Read, self.manner.direct()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            file => file.map_err(Error::io("open", &path))?,
        };
        let mut buffer = aligned(FRAME_BYTES_MAX).map_err(Error::io("get memory to read", &path))?;
        // The first block tells nearly always; the rest of the window is read in larger pieces.
        let mut length = BLOCK_BYTES;
        let mut at = FRAMES_OFFSET;
        while at < FRAMES_OFFSET + WINDOW_BYTES {
            match file.read_at(&mut buffer[..length], at).map_err(Error::io("read", &path))? {
                0 => return Ok(false),
                bytes if buffer[..bytes].iter().any(|byte| *byte != 0) => return Ok(true),
                bytes => at += bytes as u64,
            }
            length = FRAME_BYTES_MAX;
        }
        Ok(false)
    }

    /// What it means that no sound frame is read where the next one belongs.
    ///
    /// A write that never ended is judged by what it cannot have left behind: later frames that count
    /// it as durable, a later segment with frames, bytes further on than writes in flight
    /// reach. The evidence is gathered first and the frame read again then: on a live journal it may
    /// have been finished meanwhile, and the evidence is only good against what came before it.
    ///
    /// Of this segment, the next `within` bytes are looked at.
    fn judge(&mut self, unreadable: FrameError, within: u64) -> Result<Verdict, Error> {
        let index = self.segment.as_ref().expect("a frame was looked for in it").header.index;
        let next = index + 1;
        // Segments begin in order: what is found out about the later ones first holds against the next.
        let later_wrong = self.later(index)?;
        let next_started = self.is_started(next)?;
        let segment = self.segment.as_mut().expect("a frame was looked for in it");
        segment.forget(self.offset);
        let rest = segment.rest(self.offset, within, &self.identity)?;
        segment.forget(self.offset);
        let is_there = segment.frame(&mut self.decode, self.offset)?.is_ok();
        segment.forget(self.offset);
        if is_there {
            return Ok(Verdict::Again);
        }
        let room = segment.header.bytes - self.offset;
        if next_started {
            if rest.end == self.offset && room < FRAME_BYTES_MAX as u64 {
                return Ok(Verdict::NextSegment(next));
            }
            let what = format!("{unreadable}, and segment {next} was begun after it");
            return Err(segment.damaged(self.offset, &self.chain, what));
        }
        let never_torn = |error: FrameError| {
            // A sound header of another place was put here by a device that writes where it was not told to.
            use FrameError::{HeaderCrc, Magic, PayloadCrc, Truncated};
            !matches!(error, Truncated | Magic | HeaderCrc | PayloadCrc)
        };
        // The commit that it carries is no evidence: with two nodes, what is committed may be on the other's disk.
        let knows = |later: &&FrameHeader| later.durable_frames > self.chain.frames;
        let what = if never_torn(unreadable) {
            unreadable.to_string()
        } else if let Some(wrong) = later_wrong {
            format!("{unreadable}, and {wrong}")
        } else if let Some(later) = rest.headers.iter().find(knows) {
            format!(
                "{unreadable}, and frame {} at byte {} knew it to be safe",
                later.number, later.place.offset
            )
        } else if let Some(at) = rest.misdirected {
            format!("{unreadable}, and at byte {at} stands a frame that was written for another place")
        } else if rest.end > self.offset + WINDOW_BYTES {
            format!("{unreadable}, and bytes up to {} are further on than writes in flight reach", rest.end)
        } else {
            let torn_bytes = rest.end - self.offset;
            self.tail = Tail { index, offset: self.offset, torn_bytes };
            return Ok(Verdict::End);
        };
        Err(segment.damaged(self.offset, &self.chain, what))
    }

    /// Whose journal it is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The history up to the last frame read.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Commands read.
    #[must_use]
    pub fn commands_read(&self) -> u64 {
        self.commands_read
    }

    /// Bytes of the frames read.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// Where the next frame is looked for: segment and offset.
    pub(crate) fn next_place(&self) -> (u64, u64) {
        (self.segment_index().max(1), self.offset)
    }

    /// Index of the segment that the last frame was read from; 0 before the first.
    #[must_use]
    pub fn segment_index(&self) -> u64 {
        self.segment.as_ref().map_or(0, |segment| segment.header.index)
    }

    /// Length of that segment, in bytes; 0 before the first.
    #[must_use]
    pub fn segment_bytes(&self) -> u64 {
        self.segment.as_ref().map_or(0, |segment| segment.header.bytes)
    }

    /// What stands behind the last frame; meaningful once [`next_frame`](Self::next_frame) has said `None`.
    #[must_use]
    pub fn tail(&self) -> &Tail {
        &self.tail
    }
}

/// What the journal records of voids and what the superblock knows must be the same.
fn check_voids(voids: &Voids, commands: &[Sequenced]) -> Result<(), String> {
    for sequenced in commands {
        let Command::Control(Control::Void { seq, reason }) = sequenced.command else { continue };
        let known = voids.get(seq).filter(|void| void.reason == reason);
        // Where the record stands is noted in the superblock when it is durable: until then it is 0.
        if !known.is_some_and(|void| [Seq(0), sequenced.seq].contains(&void.recorded)) {
            let at = sequenced.seq;
            return Err(format!(
                "Seq {at} records that Seq {seq} is void, and the superblock does not know it"
            ));
        }
    }
    let (Some(first), Some(last)) = (commands.first(), commands.last()) else { return Ok(()) };
    let here = |void: &&Void| (first.seq..=last.seq).contains(&void.recorded);
    for void in voids.iter().filter(here) {
        let (seq, reason) = (void.seq, void.reason);
        let recorded = commands[(void.recorded.0 - first.seq.0) as usize].command;
        if recorded != Command::Control(Control::Void { seq, reason }) {
            let at = void.recorded;
            return Err(format!("Seq {at} does not record that Seq {seq} is void, as the superblock says"));
        }
    }
    Ok(())
}

enum Verdict {
    /// It is there now.
    Again,
    /// The segment is over, the one of this index goes on.
    NextSegment(u64),
    /// Nothing was finished behind here.
    End,
}

/// A segment open for reading.
#[derive(Debug)]
struct OpenSegment<D: Disk> {
    path: PathBuf,
    header: SegmentHeader,
    source: Source<D>,
}

#[derive(Debug)]
enum Source<D: Disk> {
    Sealed(<D::File as DiskFile>::Map),
    /// A file that is being written.
    Growing(Growing<D::File>),
    /// A file that nobody writes.
    AtRest(D::Stream),
}

/// A file that is being written, and what was last read of it.
#[derive(Debug)]
struct Growing<F> {
    file: F,
    /// Room for the longest frame.
    buffer: MmapMut,
    /// Where what is in it begins in the file, and how much that is.
    from: u64,
    filled: usize,
    /// How much is read at once next time: more from time to time, as long as frames are found in it.
    next: usize,
}

impl<F: DiskFile> Growing<F> {
    /// `length` bytes from `offset` on of a file of `end` bytes. What was read with others before them may be out of date.
    fn bytes(&mut self, offset: u64, length: usize, end: u64) -> io::Result<&[u8]> {
        let kept = offset.checked_sub(self.from).filter(|at| at + length as u64 <= self.filled as u64);
        let at = if let Some(at) = kept {
            at as usize
        } else {
            let wanted = length.max(self.next);
            let wanted = (wanted as u64).min(end - offset) as usize;
            self.filled = 0;
            self.file.read_exact_at(&mut self.buffer[..wanted], offset)?;
            (self.from, self.filled) = (offset, wanted);
            self.next = self.buffer.len().min(2 * self.next);
            0
        };
        Ok(&self.buffer[at..][..length])
    }
}

/// What it takes to read a frame.
#[derive(Debug)]
struct Decode {
    cluster: [u8; 16],
    cipher: Option<Arc<DataKey>>,
    /// Room for one frame to be deciphered in.
    deciphered: Vec<u8>,
}

/// What stands in a segment from some offset on.
struct Rest {
    /// End of the last block that is not zero; the offset itself when all are.
    end: u64,
    /// Every sound header at the start of a block.
    headers: Vec<FrameHeader>,
    /// The first block with a sound header of another place. No payload holds one by chance, and none is left from
    /// before: a segment is zero when it begins.
    misdirected: Option<u64>,
}

impl<D: Disk> OpenSegment<D> {
    /// `length` bytes from `offset` on, fewer at the segment's end, at most the longest frame's. Those of a
    /// segment that is not mapped are valid until the next call.
    fn bytes(&mut self, offset: u64, length: usize) -> Result<&[u8], Error> {
        let length = (length as u64).min(self.header.bytes - offset) as usize;
        match &mut self.source {
            Source::Sealed(map) => Ok(&map[offset as usize..][..length]),
            Source::Growing(growing) => {
                let bytes = growing.bytes(offset, length, self.header.bytes);
                bytes.map_err(Error::io("read", &self.path))
            }
            Source::AtRest(stream) => stream.bytes(offset, length).map_err(Error::io("read", &self.path)),
        }
    }

    /// Whether the next frame may still come there, whatever it is; where there is no room for the longest, the next segment
    /// may have been begun.
    fn may_go_on_at(&self, offset: u64) -> bool {
        matches!(self.source, Source::Growing(_)) && self.header.bytes - offset >= FRAME_BYTES_MAX as u64
    }

    /// Forgets what was read of a file that is being written; whether what stands at `offset` was read with what is before it.
    fn forget(&mut self, offset: u64) -> bool {
        let Source::Growing(growing) = &mut self.source else { return false };
        growing.next = BLOCK_BYTES;
        std::mem::take(&mut growing.filled) > 0 && growing.from < offset
    }

    fn frame<'a>(
        &'a mut self,
        decode: &'a mut Decode,
        offset: u64,
    ) -> Result<Result<Bytes<'a>, FrameError>, Error> {
        let place = Place { nonce: self.header.nonce, offset };
        // The header says how much to read: most frames are one block long, the longest 32.
        let length = match FrameHeader::decode(self.bytes(offset, BLOCK_BYTES)?, &decode.cluster, place) {
            Ok(header) => header.frame_bytes(),
            Err(error) => return Ok(Err(error)),
        };
        let bytes = self.bytes(offset, length)?;
        let Some(cipher) = &decode.cipher else { return Ok(Bytes::decode(bytes, &decode.cluster, place)) };
        let deciphered = &mut decode.deciphered[..bytes.len()];
        deciphered.copy_from_slice(bytes);
        Ok(Bytes::decipher(deciphered, &decode.cluster, place, &**cipher))
    }

    fn rest(&mut self, offset: u64, within: u64, identity: &Identity) -> Result<Rest, Error> {
        let mut rest = Rest { end: offset, headers: Vec::new(), misdirected: None };
        let (end, nonce) = (self.header.bytes.min(offset.saturating_add(within)), self.header.nonce);
        let mut from = offset;
        while from < end {
            let bytes = self.bytes(from, FRAME_BYTES_MAX)?;
            for block in bytes.chunks(BLOCK_BYTES) {
                if block.iter().any(|byte| *byte != 0) {
                    rest.end = from + BLOCK_BYTES as u64;
                    match FrameHeader::decode(block, &identity.cluster, Place { nonce, offset: from }) {
                        Ok(header) => rest.headers.push(header),
                        Err(FrameError::Place) => rest.misdirected = rest.misdirected.or(Some(from)),
                        Err(_) => {}
                    }
                }
                from += BLOCK_BYTES as u64;
            }
        }
        Ok(rest)
    }

    fn damaged(&self, offset: u64, chain: &Chain, what: String) -> Error {
        Error::Damaged { path: self.path.clone(), offset, seq: chain.last_seq.next(), what }
    }
}
