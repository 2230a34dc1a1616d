//! The writer: closes frames, keeps a few of them in flight, and says how far the journal is durable.

use std::collections::VecDeque;
use std::sync::Arc;

use ironbell_record::frame::{self, Stamp};
use ironbell_record::segment::FRAMES_OFFSET;
use ironbell_record::superblock::{End, Void, Voids};
use ironbell_record::{
    COMMANDS_MAX, Chain, Cipher, CopyError, Executed, FRAME_BYTES_MAX, FrameCopy, FrameHeader, HEADER_BYTES,
    Place, Point, Superblock,
};
use ironbell_sync::{Consumer, CursorReader, CursorWriter};
use ironbell_types::{Seq, Sequenced};

use crate::cipher::DataKey;
use crate::error::Error;
use crate::queue::{Completion, WriteQueue};
use crate::segment::Segment;
use crate::superblock::Keeper;
use crate::uring::Uring;
use crate::void::{VOIDS_FULL, decisions, put_void};

/// The only writer of a journal. A role: nothing in it waits, but for [`seal`](Self::seal).
///
/// A frame's place in the file is fixed when it is appended; the writes may end in any order, and a
/// frame is durable when it and all before it are. The next segment is begun when the longest frame
/// would not fit any more, and only once nothing is in flight: a torn tail then lies in one segment.
///
/// It *leads* (a term is its own, and it appends commands) or it *copies* (it has no term, and appends what a primary
/// sends). [`begin_epoch`](Self::begin_epoch) makes one that leads of one that copies; there is no way back but to open the
/// journal again.
#[derive(Debug)]
pub struct Writer<Q: WriteQueue = Uring> {
    queue: Q,
    /// The history, everything appended included.
    chain: Chain,
    /// The last point of each epoch before that of the last frame, behind `read_from`.
    epochs: Vec<Point>,
    read_from: Point,
    /// The term it writes in; none while it copies.
    epoch: Option<u64>,
    promised: u64,
    segment: Segment<Q::File>,
    /// Where the next frame goes in the segment.
    offset: u64,
    /// Frames appended and not yet durable, oldest first. Frame `n` stands in slot `n % slots`.
    flights: VecDeque<Flight>,
    durable: CursorWriter,
    durable_point: Point,
    maker_writer: Consumer<Segment<Q::File>>,
    /// Notes the orderly end; a writer without a directory has none.
    keeper: Option<Keeper<Q::File>>,
    cipher: Option<Arc<DataKey>>,
    /// The records of the last frame as they were before the cipher had them; empty without one.
    plain: Vec<u8>,
    last_payload: usize,
    /// The commands of the last frame that was copied, and room to say which of them are void.
    copied: Vec<Sequenced>,
    voided: Vec<Sequenced>,
    frames: u64,
    bytes: u64,
    state: State,
}

#[derive(Debug)]
struct Flight {
    offset: u64,
    bytes: usize,
    first_seq: Seq,
    /// Behind it.
    point: Point,
    over: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Writing,
    Sealed,
    Poisoned,
}

impl<Q: WriteQueue> Writer<Q> {
    /// A writer that continues `chain` at `offset` of `segment`, which `queue` writes to. It copies.
    pub(crate) fn new(
        queue: Q,
        chain: Chain,
        segment: Segment<Q::File>,
        offset: u64,
        maker_writer: Consumer<Segment<Q::File>>,
        keeper: Option<Keeper<Q::File>>,
    ) -> Self {
        let flights = VecDeque::with_capacity(queue.slots());
        let (durable, _) = ironbell_sync::cursor(chain.last_seq.0);
        Self {
            queue,
            chain,
            epochs: Vec::new(),
            read_from: chain.point(),
            epoch: None,
            promised: keeper.as_ref().map_or(chain.epoch, |keeper| keeper.current().promised_epoch),
            segment,
            offset,
            flights,
            durable,
            durable_point: chain.point(),
            maker_writer,
            keeper,
            cipher: None,
            plain: Vec::new(),
            last_payload: 0,
            copied: Vec::with_capacity(COMMANDS_MAX),
            voided: Vec::new(),
            frames: 0,
            bytes: 0,
            state: State::Writing,
        }
    }

    /// The same writer, which enciphers what it is given.
    pub(crate) fn enciphering(self, cipher: Option<Arc<DataKey>>) -> Self {
        let plain = vec![0; if cipher.is_some() { FRAME_BYTES_MAX - HEADER_BYTES } else { 0 }];
        Self { cipher, plain, ..self }
    }

    /// The same writer, which knows where earlier epochs ended.
    pub(crate) fn knowing(self, read_from: Point, epochs: Vec<Point>) -> Self {
        Self { read_from, epochs, ..self }
    }

    /// Promises never to go below `epoch`: whoever asks this node to follow a lower one, or to lead in it, is refused.
    /// Durable on return; waits for the disk, as only takeovers and restarts do. A promise given already is not written
    /// again.
    ///
    /// # Errors
    /// [`Error::Promised`] when a higher one was promised; [`Error::Io`] when the superblock cannot be written, which
    /// poisons: half of its copies may say it already.
    pub fn promise(&mut self, epoch: u64) -> Result<(), Error> {
        if self.state == State::Poisoned {
            return Err(Error::Poisoned);
        }
        if epoch < self.promised {
            return Err(self.refused(epoch));
        }
        if epoch > self.promised {
            if let Some(keeper) = &mut self.keeper {
                let durable_frames = self.durable_point.frames;
                let promise = |current| Superblock { promised_epoch: epoch, durable_frames, ..current };
                keeper.update(promise).inspect_err(|_| self.state = State::Poisoned)?;
            }
            self.promised = epoch;
        }
        Ok(())
    }

    fn refused(&self, epoch: u64) -> Error {
        Error::Promised { epoch, promised: self.promised, last: self.chain.epoch }
    }

    /// Leads from here on, in `epoch`, which it promises: appends the empty frame that begins it. That frame counts all
    /// before it as far as it is durable here, and once it is durable itself the epoch is taken for good.
    ///
    /// # Errors
    /// [`Error::Promised`] when `epoch` is below what was promised or not above that of the last frame, with nothing
    /// changed; as [`promise`](Self::promise) and [`append`](Self::append).
    ///
    /// # Panics
    /// When [`can_begin`](Self::can_begin) is false for another reason than a failed write.
    pub fn begin_epoch(&mut self, epoch: u64) -> Result<(), Error> {
        if epoch <= self.chain.epoch {
            return Err(self.refused(epoch));
        }
        self.promise(epoch)?;
        self.epoch = Some(epoch);
        self.append(&[], self.chain.commit, (self.chain.executed.seq, self.chain.executed.output_hash))
    }

    /// Whether a frame can be appended now: a slot is free and the segment has room. After a `false`,
    /// [`poll`](Self::poll) is what may change it; never after a failed write or [`seal`](Self::seal).
    #[must_use]
    pub fn can_begin(&self) -> bool {
        self.state == State::Writing && self.flights.len() < self.queue.slots() && self.has_room()
    }

    fn has_room(&self) -> bool {
        self.segment.header.bytes - self.offset >= FRAME_BYTES_MAX as u64
    }

    /// Closes a frame of these commands, at most 1,024 and possibly none, and begins to write it. The
    /// frame carries `commit` and the output hash of a frame executed before it: (Seq, hash).
    ///
    /// # Errors
    /// [`Error::Write`] when the write cannot be begun, [`Error::Poisoned`] ever after.
    ///
    /// # Panics
    /// When [`can_begin`](Self::can_begin) is false for another reason, when it copies, when the commands do not
    /// continue the sequence, or when `commit` or `executed` go back or name what was not appended
    /// before: the caller's faults.
    pub fn append(
        &mut self,
        commands: &[Sequenced],
        commit: Seq,
        executed: (Seq, u128),
    ) -> Result<(), Error> {
        if self.state == State::Poisoned {
            return Err(Error::Poisoned);
        }
        assert!(self.can_begin(), "a frame was appended that could not begin");
        let slot = self.slot();
        let stamp = Stamp {
            place: self.place(),
            epoch: self.epoch.expect("who copies appends nothing of its own"),
            durable_frames: self.durable_point.frames,
            commit,
            executed: Executed { seq: executed.0, output_hash: executed.1 },
        };
        let header = frame::lay_out(&self.chain, &stamp, commands, self.queue.slot(slot));
        self.begin(slot, header)
    }

    /// Appends a frame that a primary sent and begins to write it; returns its commands as they are to be executed. It is
    /// the same frame, with the same link, in another place; under the cipher of this node. A decision in it that a
    /// command is void is in the superblock before this returns.
    ///
    /// # Errors
    /// [`Error::Copy`] when it does not come next, is not what its link says, holds what is no command, or is of an epoch
    /// above what was promised: nothing is changed then, and another may be appended. Else as
    /// [`append`](Self::append); [`Error::Void`] and [`Error::Io`] when a void cannot be kept in the superblock.
    ///
    /// # Panics
    /// When [`can_begin`](Self::can_begin) is false for another reason than a failed write, or when this writer leads.
    pub fn append_copy(&mut self, copy: &FrameCopy<'_>) -> Result<&[Sequenced], Error> {
        if self.state == State::Poisoned {
            return Err(Error::Poisoned);
        }
        assert!(self.can_begin(), "a frame was appended that could not begin");
        assert!(self.epoch.is_none(), "who leads copies nothing");
        let refused = |fault| Error::Copy { behind: self.chain.point(), fault };
        copy.commands(self.chain.last_time, &mut self.copied).map_err(refused)?;
        let epoch = copy.header().map_err(|fault| refused(CopyError::Frame(fault)))?.epoch;
        if epoch > self.promised {
            return Err(refused(CopyError::NotPromised { promised: self.promised, epoch }));
        }
        let slot = self.slot();
        let (place, durable) = (self.place(), self.durable_point.frames);
        let laid = frame::lay_out_copy(&self.chain, place, durable, copy, self.queue.slot(slot));
        let header = laid.map_err(refused)?;
        self.learn_voids()?;
        self.begin(slot, header)?;
        if let Some(keeper) = &self.keeper {
            put_void(&keeper.current().voids, &mut self.copied, &mut self.voided);
        }
        Ok(&self.copied)
    }

    /// Keeps in the superblock what the frame just copied says of voids. Where that is recorded is noted at the next
    /// opening: until the frame is durable it may still be lost.
    fn learn_voids(&mut self) -> Result<(), Error> {
        let Some(keeper) = &mut self.keeper else { return Ok(()) };
        for void in decisions(&self.copied) {
            let voids = keeper.current().voids;
            let void = Void { recorded: Seq(0), ..void };
            // The reason that is recorded is that of all nodes; one that an operator gave here before may differ.
            let is_known = |known: &Void| known.recorded > Seq(0) || known.reason == void.reason;
            if !voids.get(void.seq).is_some_and(is_known) {
                let full = || Error::Void { dir: keeper.dir().to_owned(), what: VOIDS_FULL };
                let voids = voids.with(void).ok_or_else(full)?;
                keeper.void(voids).inspect_err(|_| self.state = State::Poisoned)?;
            }
        }
        Ok(())
    }

    /// The frame appended last, as it goes to another node; `None` before the first. Its write may be under way.
    #[must_use]
    pub fn last_copy(&self) -> Option<FrameCopy<'_>> {
        let number = self.chain.frames.checked_sub(1).filter(|_| self.frames > 0)?;
        let staged = self.queue.staged((number % self.queue.slots() as u64) as usize);
        let records = if self.cipher.is_some() { &self.plain[..] } else { &staged[HEADER_BYTES..] };
        let chained = frame::chained(staged);
        Some(FrameCopy { chained, chain: self.chain.hash, records: &records[..self.last_payload] })
    }

    /// Where the next frame is staged.
    fn slot(&self) -> usize {
        (self.chain.frames % self.queue.slots() as u64) as usize
    }

    /// Where it will lie.
    fn place(&self) -> Place {
        Place { nonce: self.segment.header.nonce, offset: self.offset }
    }

    /// Finishes the frame that is laid out in `slot`, puts it at the end of the history and begins to write it.
    fn begin(&mut self, slot: usize, mut header: FrameHeader) -> Result<(), Error> {
        let staged = self.queue.slot(slot);
        self.last_payload = header.payload_bytes as usize;
        let cipher = self.cipher.as_deref().map(|key| key as &dyn Cipher);
        if cipher.is_some() {
            self.plain[..self.last_payload].copy_from_slice(&staged[HEADER_BYTES..][..self.last_payload]);
        }
        frame::finish(&mut header, cipher, staged);
        if header.epoch > self.chain.epoch && self.chain.frames > 0 {
            self.epochs.push(self.chain.point());
        }
        self.chain.advance(&header);
        let (bytes, first_seq, point) = (header.frame_bytes(), header.first_seq, self.chain.point());
        self.flights.push_back(Flight { offset: self.offset, bytes, first_seq, point, over: false });
        if let Err(source) = self.queue.submit(slot, bytes, self.offset) {
            let newest = self.flights.len() - 1;
            return Err(self.poison(newest, source));
        }
        self.offset += bytes as u64;
        self.frames += 1;
        self.bytes += bytes as u64;
        Ok(())
    }

    /// Takes note of writes that are over and begins the next segment when it is time; returns how
    /// much of either it did. Never waits.
    ///
    /// # Errors
    /// [`Error::Write`] at the first write that failed or wrote less than asked: fail-stop, it is never
    /// tried again, nothing from it on ever counts as durable. [`Error::Poisoned`] ever after.
    pub fn poll(&mut self) -> Result<usize, Error> {
        if self.state == State::Poisoned {
            return Err(Error::Poisoned);
        }
        let mut done = 0;
        while !self.flights.is_empty() {
            match self.queue.reap() {
                Ok(None) => break,
                Ok(Some(completion)) => self.complete(completion)?,
                Err(source) => return Err(self.poison(0, source)),
            }
            done += 1;
        }
        if self.state == State::Writing && self.flights.is_empty() && !self.has_room() {
            done += self.begin_segment()?;
        }
        Ok(done)
    }

    fn complete(&mut self, completion: Completion) -> Result<(), Error> {
        let slots = self.queue.slots();
        let oldest = self.chain.frames as usize - self.flights.len();
        let nth = (completion.slot + slots - oldest % slots) % slots;
        let asked = self.flights[nth].bytes;
        assert!(!self.flights[nth].over, "a write ended twice");
        match completion.result {
            Ok(written) if written == asked => self.flights[nth].over = true,
            Ok(written) => {
                let short = format!("only {written} bytes were written");
                return Err(self.poison(nth, std::io::Error::new(std::io::ErrorKind::WriteZero, short)));
            }
            Err(source) => return Err(self.poison(nth, source)),
        }
        while self.flights.front().is_some_and(|flight| flight.over) {
            let flight = self.flights.pop_front().expect("there is a front");
            self.durable_point = flight.point;
            self.durable.advance(flight.point.seq.0);
        }
        Ok(())
    }

    fn begin_segment(&mut self) -> Result<usize, Error> {
        let Ok(segment) = self.maker_writer.pop() else { return Ok(0) };
        assert!(segment.header.index == self.segment.header.index + 1, "segments come in order");
        if let Err(source) = self.queue.aim(&segment.file) {
            self.state = State::Poisoned;
            return Err(Error::Io { what: "write to", path: segment.path, source });
        }
        self.segment = segment;
        self.offset = FRAMES_OFFSET;
        Ok(1)
    }

    fn poison(&mut self, nth: usize, source: std::io::Error) -> Error {
        self.state = State::Poisoned;
        let flight = &self.flights[nth];
        Error::Write {
            path: self.segment.path.clone(),
            offset: flight.offset,
            bytes: flight.bytes,
            seq: flight.first_seq,
            source,
        }
    }

    /// Waits until nothing is in flight.
    pub(crate) fn drain(&mut self) -> Result<(), Error> {
        while !self.flights.is_empty() {
            if let Err(source) = self.queue.wait() {
                return Err(self.poison(0, source));
            }
            self.poll()?;
        }
        Ok(())
    }

    /// The graceful end: waits until everything appended is durable, and notes in the superblock where the
    /// journal ends; nothing can be appended after it. Append the empty frame that carries the last commit Seq
    /// before.
    ///
    /// # Errors
    /// As [`poll`](Self::poll), and [`Error::Io`] when the superblock cannot be written.
    pub fn seal(&mut self) -> Result<(), Error> {
        if self.state == State::Poisoned {
            return Err(Error::Poisoned);
        }
        self.state = State::Sealed;
        self.drain()?;
        if let Some(keeper) = &mut self.keeper {
            let end = Some(End { frames: self.chain.frames, chain: self.chain.hash });
            let seal = |current| Superblock { end, durable_frames: self.chain.frames, ..current };
            // Not tried again either: half of the copies may say it already.
            keeper.update(seal).inspect_err(|_| self.state = State::Poisoned)?;
        }
        Ok(())
    }

    /// The Seq up to which everything is durable, for whoever asks, on any thread.
    #[must_use]
    pub fn durable(&self) -> CursorReader {
        self.durable.reader()
    }

    /// The Seq up to which everything is appended.
    #[must_use]
    pub fn appended_seq(&self) -> Seq {
        self.chain.last_seq
    }

    /// Frames in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Frames appended by this writer, the one that opened its epoch included.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Bytes of them.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The term this writer writes in; `None` while it copies.
    #[must_use]
    pub fn epoch(&self) -> Option<u64> {
        self.epoch
    }

    /// The highest epoch that this node has promised not to go below.
    #[must_use]
    pub fn promised(&self) -> u64 {
        self.promised
    }

    /// Behind the last frame appended.
    #[must_use]
    pub fn point(&self) -> Point {
        self.chain.point()
    }

    /// Behind the last frame that is durable together with all before it.
    #[must_use]
    pub fn durable_point(&self) -> Point {
        self.durable_point
    }

    /// Everything that the next frame must continue.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Where each epoch ended, oldest first, from [`read_from`](Self::read_from) on; the last is [`point`](Self::point).
    /// Empty before the first frame.
    pub fn epochs(&self) -> impl Iterator<Item = Point> {
        let last = (self.chain.frames > 0).then(|| self.chain.point());
        self.epochs.iter().copied().chain(last)
    }

    /// Where reading began when the journal was opened: before the first frame, or behind a snapshot's. Nothing is known of
    /// epochs before it.
    #[must_use]
    pub fn read_from(&self) -> Point {
        self.read_from
    }

    /// The commands that this node has been told are void.
    #[must_use]
    pub fn voids(&self) -> Voids {
        self.keeper.as_ref().map_or(Voids::NONE, |keeper| keeper.current().voids)
    }
}

#[cfg(test)]
mod tests;
