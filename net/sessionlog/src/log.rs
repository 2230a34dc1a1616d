//! The writer.

use std::sync::atomic::Ordering;

use crate::cipher::SEAL_SIZE;
use crate::record::{BODY_SIZE_MAX, Header, place, record_size};
use crate::segment::{Maker, SEGMENT_HEADER_SIZE, Shared, Writer};
use crate::{Config, Error, LogReader, MESSAGE_SIZE_MAX, StreamId};

/// The one writer of a log.
#[derive(Debug)]
pub struct SessionLog {
    writer: Writer,
    streams: Vec<Option<Box<Stream>>>,
    /// Where the next record goes.
    head: u64,
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

/// What the writer remembers of a stream: enough to link its next record.
#[derive(Debug)]
struct Stream {
    number: u64,
    generation: u32,
    last: u64,
    /// Offset of the newest record whose number has this lowest set bit.
    newest_by_bit: [u64; 64],
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
        let shared = Shared::open(config)?;
        let body = vec![0; if config.key.is_some() { BODY_SIZE_MAX } else { 0 }].into();
        let maker = Maker { shared: shared.clone() };
        let streams = (0..config.streams_max).map(|_| None).collect();
        let log = Self {
            writer: Writer { shared },
            streams,
            head: SEGMENT_HEADER_SIZE,
            recovering: true,
            recovered: Recovered::default(),
            is_poisoned: false,
            body,
        };
        Ok((log, maker))
    }

    /// From here on what is appended is new and is not compared. Says what the recovery found.
    pub fn end_recovery(&mut self) -> Recovered {
        self.recovering = false;
        self.writer.shared.touch(self.head);
        self.recovered
    }

    /// Makes room for a stream ahead of its first message, so that this one does not allocate.
    ///
    /// # Errors
    /// [`Error::StreamsMax`].
    pub fn open_stream(&mut self, stream: StreamId) -> Result<(), Error> {
        let config = &self.writer.shared.config;
        let Some(slot) = self.streams.get_mut(stream.0 as usize) else {
            let (dir, streams_max) = (config.dir.clone(), config.streams_max);
            return Err(Error::StreamsMax { dir, stream: stream.0, streams_max });
        };
        slot.get_or_insert_with(|| {
            Box::new(Stream { number: 0, generation: 0, last: 0, newest_by_bit: [0; 64] })
        });
        Ok(())
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
        let seal_size = if self.writer.shared.config.key.is_some() { SEAL_SIZE } else { 0 };
        let size = record_size(message.len() + seal_size);
        self.make_room(size)?;
        let offset = self.head;
        let state = self.streams[stream.0 as usize].as_mut().expect("the stream was just opened");
        let header = state.next_header(stream, message.len() + seal_size);
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
        if state.last != 0 {
            self.writer.link(state.last, offset, self.recovering);
        }
        state.advance(offset);
        self.writer.publish(stream.0, offset);
        self.head += size;
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
        self.open_stream(stream)?;
        let state = self.streams[stream.0 as usize].as_mut().expect("the stream was just opened");
        let generation = state.generation + 1;
        **state = Stream { number: 0, generation, last: 0, newest_by_bit: [0; 64] };
        self.writer.publish(stream.0, 0);
        self.writer.shared.generation[stream.0 as usize].store(generation, Ordering::Release);
        Ok(())
    }

    /// The number that the next message of `stream` will have; 1 for a stream that was told nothing.
    #[must_use]
    pub fn next_number(&self, stream: StreamId) -> u64 {
        self.streams.get(stream.0 as usize).and_then(Option::as_ref).map_or(1, |s| s.number + 1)
    }

    /// A reading end, for any thread.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        LogReader::new(&self.writer.shared)
    }

    /// Bytes of the log so far, segment headers and unused ends of segments included.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.head
    }

    /// Moves the head to the next segment when `size` more bytes do not fit into this one.
    fn make_room(&mut self, size: u64) -> Result<(), Error> {
        let shared = &self.writer.shared;
        if self.is_poisoned {
            return Err(Error::Poisoned { dir: shared.config.dir.clone() });
        }
        let segment_size = shared.config.segment_size;
        // A segment that was filled to its last byte leaves the head at the start of the next one.
        let index = (self.head - 1) / segment_size;
        if self.head + size <= (index + 1) * segment_size {
            return Ok(());
        }
        let next = u32::try_from(index + 1).unwrap_or(u32::MAX);
        if !shared.has(next)
            && let Err(e) = shared.make(next)
        {
            self.is_poisoned = true;
            return Err(e);
        }
        shared.current.store(next, Ordering::Release);
        self.head = u64::from(next) * segment_size + SEGMENT_HEADER_SIZE;
        Ok(())
    }
}

impl Stream {
    fn next_header(&self, stream: StreamId, len: usize) -> Header {
        let number = self.number + 1;
        let without_lowest_bit = number & (number - 1);
        let jump = match without_lowest_bit {
            0 => 0,
            target => self.newest_by_bit[target.trailing_zeros() as usize],
        };
        let len = u32::try_from(len).expect("append checked the length");
        Header { len, stream: stream.0, generation: self.generation, number, prev: self.last, jump }
    }

    fn advance(&mut self, offset: u64) {
        self.number += 1;
        self.last = offset;
        self.newest_by_bit[self.number.trailing_zeros() as usize] = offset;
    }
}
