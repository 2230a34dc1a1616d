//! The writer: closes frames, keeps a few of them in flight, and says how far the journal is durable.

use std::collections::VecDeque;
use std::sync::Arc;

use ironbell_record::frame::{self, Stamp};
use ironbell_record::segment::FRAMES_OFFSET;
use ironbell_record::superblock::End;
use ironbell_record::{Chain, Cipher, Executed, FRAME_BYTES_MAX, Place};
use ironbell_sync::{Consumer, CursorReader, CursorWriter};
use ironbell_types::{Seq, Sequenced};

use crate::cipher::DataKey;
use crate::error::Error;
use crate::queue::{Completion, WriteQueue};
use crate::segment::Segment;
use crate::superblock::Keeper;
use crate::uring::Uring;

/// The only writer of a journal. A role: nothing in it waits, but for [`seal`](Self::seal).
///
/// A frame's place in the file is fixed when it is appended; the writes may end in any order, and a
/// frame is durable when it and all before it are. The next segment is begun when the longest frame
/// would not fit any more, and only once nothing is in flight: a torn tail then lies in one segment.
#[derive(Debug)]
pub struct Writer<Q: WriteQueue = Uring> {
    queue: Q,
    /// The history, everything appended included.
    chain: Chain,
    epoch: u64,
    segment: Segment<Q::File>,
    /// Where the next frame goes in the segment.
    offset: u64,
    /// Frames appended and not yet durable, oldest first. Frame `n` stands in slot `n % slots`.
    flights: VecDeque<Flight>,
    durable: CursorWriter,
    maker_writer: Consumer<Segment<Q::File>>,
    /// Notes the orderly end; a writer without a directory has none.
    keeper: Option<Keeper<Q::File>>,
    cipher: Option<Arc<DataKey>>,
    frames: u64,
    bytes: u64,
    state: State,
}

#[derive(Debug)]
struct Flight {
    offset: u64,
    bytes: usize,
    first_seq: Seq,
    last_seq: Seq,
    over: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Writing,
    Sealed,
    Poisoned,
}

impl<Q: WriteQueue> Writer<Q> {
    /// A writer that continues `chain` at `offset` of `segment`, which `queue` writes to.
    pub(crate) fn new(
        queue: Q,
        chain: Chain,
        epoch: u64,
        segment: Segment<Q::File>,
        offset: u64,
        maker_writer: Consumer<Segment<Q::File>>,
        keeper: Option<Keeper<Q::File>>,
    ) -> Self {
        assert!(epoch > chain.epoch, "epoch {epoch} follows epoch {}", chain.epoch);
        let flights = VecDeque::with_capacity(queue.slots());
        let (durable, _) = ironbell_sync::cursor(chain.last_seq.0);
        let state = State::Writing;
        Self {
            queue,
            chain,
            epoch,
            segment,
            offset,
            flights,
            durable,
            maker_writer,
            keeper,
            cipher: None,
            frames: 0,
            bytes: 0,
            state,
        }
    }

    /// The same writer, which enciphers what it is given.
    pub(crate) fn enciphering(self, cipher: Option<Arc<DataKey>>) -> Self {
        Self { cipher, ..self }
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
    /// When [`can_begin`](Self::can_begin) is false for another reason, when the commands do not
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
        let slots = self.queue.slots() as u64;
        let slot = (self.chain.frames % slots) as usize;
        let stamp = Stamp {
            place: Place { nonce: self.segment.header.nonce, offset: self.offset },
            epoch: self.epoch,
            durable_frames: self.chain.frames - self.flights.len() as u64,
            commit,
            executed: Executed { seq: executed.0, output_hash: executed.1 },
        };
        let cipher = self.cipher.as_deref().map(|key| key as &dyn Cipher);
        let header = frame::encode(&self.chain, &stamp, commands, cipher, self.queue.slot(slot));
        self.chain.advance(&header);
        let bytes = header.frame_bytes();
        let (first_seq, last_seq) = (header.first_seq, header.last_seq());
        self.flights.push_back(Flight { offset: self.offset, bytes, first_seq, last_seq, over: false });
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
            self.durable.advance(flight.last_seq.0);
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
            let end = End { frames: self.chain.frames, chain: self.chain.hash };
            // Not tried again either: half of the copies may say it already.
            keeper.change(self.epoch, Some(end)).inspect_err(|_| self.state = State::Poisoned)?;
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

    /// The term this writer writes in.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}

#[cfg(test)]
mod tests;
