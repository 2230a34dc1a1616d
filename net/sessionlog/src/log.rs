//! The writer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::cipher::SEAL_SIZE;
use crate::positions::Place;
use crate::record::{BODY_SIZE_MAX, place};
use crate::segment::{Maker, Shared, Writer};
use crate::{Config, Error, LogReader, MESSAGE_SIZE_MAX, Positions, StreamId};

/// The one writer of a log.
#[derive(Debug)]
pub struct SessionLog {
    writer: Writer,
    positions: Positions,
    recovering: bool,
    recovered: Recovered,
    is_poisoned: bool,
    /// Where a message is enciphered; empty in a plain log.
    body: Box<[u8]>,
}

/// What a recovery found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Records that the replay appended.
    pub records: u64,
    /// Those of them that were missing or not the same on disk, and were written.
    pub rewritten: u64,
}

impl SessionLog {
    /// Opens the log in recovery: replay what every stream was told from the start, then call
    /// [`SessionLog::end_recovery`].
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::InUse`].
    ///
    /// # Panics
    /// When `segment_size` is not as [`Config`] says.
    pub fn open(config: &Config) -> Result<(Self, Maker), Error> {
        Ok(Self::of(Shared::open(config)?, Positions::new(config)))
    }

    /// Opens the log in recovery where it stood at `positions`: replay what the streams were told from then on. What
    /// was told before is left as it is; that its newest records are there is looked at, not the others.
    ///
    /// # Errors
    /// [`Error::Damaged`] when a stream's newest record is not there: open it from an earlier place, or from the
    /// beginning. As [`SessionLog::open`].
    ///
    /// # Panics
    /// As [`SessionLog::open`].
    pub fn resume(config: &Config, positions: Positions) -> Result<(Self, Maker), Error> {
        let shared = Shared::resume(config, positions.head)?;
        for (stream, state) in positions.open() {
            let wanted = (stream, state.generation, state.number);
            if state.number != 0 && !shared.has_record(state.last, wanted) {
                let (dir, number, offset) = (config.dir.clone(), state.number, state.last);
                return Err(Error::Damaged { dir, stream, number, offset });
            }
        }
        for (stream, state) in positions.open() {
            shared.last[stream as usize].store(state.last, Ordering::Release);
            shared.generation[stream as usize].store(state.generation, Ordering::Release);
        }
        Ok(Self::of(shared, positions))
    }

    fn of(shared: Arc<Shared>, positions: Positions) -> (Self, Maker) {
        let body = vec![0; if shared.config.key.is_some() { BODY_SIZE_MAX } else { 0 }].into();
        let maker = Maker { shared: Arc::clone(&shared) };
        let log = Self {
            writer: Writer { shared },
            positions,
            recovering: true,
            recovered: Recovered::default(),
            is_poisoned: false,
            body,
        };
        (log, maker)
    }

    /// From here on what is appended is new and is not compared. Says what the recovery found.
    pub fn end_recovery(&mut self) -> Recovered {
        self.recovering = false;
        self.writer.shared.touch(self.positions.head);
        self.recovered
    }

    /// Makes room for a stream ahead of its first message, so that this one does not allocate.
    ///
    /// # Errors
    /// [`Error::StreamsMax`].
    pub fn open_stream(&mut self, stream: StreamId) -> Result<(), Error> {
        self.positions.open_stream(&self.writer.shared.config, stream).map(drop)
    }

    /// Appends `message` to `stream` and returns its number there, from 1. No allocation and no system
    /// call, unless the stream is new ([`SessionLog::open_stream`]) or the next segment was not made in
    /// time ([`Maker::poll`]); then this call makes it, which may take milliseconds.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Full`], [`Error::StreamsMax`]. After one of the first two every later
    /// append is refused with [`Error::Poisoned`].
    ///
    /// # Panics
    /// When `message` is longer than [`MESSAGE_SIZE_MAX`].
    pub fn append(&mut self, stream: StreamId, message: &[u8]) -> Result<u64, Error> {
        assert!(message.len() <= MESSAGE_SIZE_MAX, "a message of {} bytes fits no packet", message.len());
        self.open_stream(stream)?;
        let next = self.positions.next(&self.writer.shared.config, stream, message.len());
        self.make_room(next.offset)?;
        let Place { offset, header } = next;
        let body = match &self.writer.shared.config.key {
            None => message,
            Some(key) => {
                let body = &mut self.body[..message.len() + SEAL_SIZE];
                body[..message.len()].copy_from_slice(message);
                key.seal(place(&header.unsealed()), body);
                body
            }
        };
        let wrote = self.writer.put(offset, &header.seal(body), body, self.recovering);
        if header.prev != 0 {
            self.writer.link(header.prev, offset, self.recovering);
        }
        self.positions.advance(&next);
        self.writer.publish(stream.0, offset);
        if self.recovering {
            self.recovered.records += 1;
            self.recovered.rewritten += u64::from(wrote);
        }
        Ok(header.number)
    }

    /// Starts `stream` again: its next message is number 1. What it was told before is no longer found.
    ///
    /// # Errors
    /// [`Error::StreamsMax`].
    pub fn restart(&mut self, stream: StreamId) -> Result<(), Error> {
        let generation = self.positions.restart(&self.writer.shared.config, stream)?;
        self.writer.publish(stream.0, 0);
        self.writer.shared.generation[stream.0 as usize].store(generation, Ordering::Release);
        Ok(())
    }

    /// The number that the next message of `stream` will have; 1 for a stream that was told nothing.
    #[must_use]
    pub fn next_number(&self, stream: StreamId) -> u64 {
        self.positions.number(stream) + 1
    }

    /// A reading end, for any thread.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        LogReader::new(&self.writer.shared)
    }

    /// Where the log stands.
    #[must_use]
    pub fn positions(&self) -> &Positions {
        &self.positions
    }

    /// Bytes of the log so far, segment headers and unused ends of segments included.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.positions.head
    }

    /// Sees to it that there is a segment at `offset`, where the next record goes.
    fn make_room(&mut self, offset: u64) -> Result<(), Error> {
        let shared = &self.writer.shared;
        if self.is_poisoned {
            return Err(Error::Poisoned { dir: shared.config.dir.clone() });
        }
        let index = u32::try_from(offset / shared.config.segment_size).unwrap_or(u32::MAX);
        if index == shared.current.load(Ordering::Relaxed) {
            return Ok(());
        }
        if !shared.has(index)
            && let Err(e) = shared.make(index)
        {
            self.is_poisoned = true;
            return Err(e);
        }
        shared.current.store(index, Ordering::Release);
        Ok(())
    }
}
