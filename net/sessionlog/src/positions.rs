//! Where a log stands: all that decides where the next record goes and what its header says. It is a function of
//! what the streams were told, so that whoever follows the journal comes to the same without the log.

use crate::cipher::SEAL_SIZE;
use crate::record::{Header, record_size};
use crate::segment::SEGMENT_HEADER_SIZE;
use crate::{Config, Error, StreamId};

/// Where a log stands. Can be written down and read back, for whoever goes on from there.
#[derive(Clone, Debug)]
pub struct Positions {
    streams: Vec<Option<Box<Stream>>>,
    /// Where the next record goes, if it fits.
    pub(crate) head: u64,
}

/// What there is to know of a stream: enough to link its next record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) number: u64,
    pub(crate) generation: u32,
    pub(crate) last: u64,
    /// Offset of the newest record whose number has this lowest set bit.
    newest_by_bit: [u64; 64],
}

/// A record to be written.
pub(crate) struct Place {
    pub offset: u64,
    pub header: Header,
}

impl Positions {
    /// Of a log that was told nothing.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self { streams: (0..config.streams_max).map(|_| None).collect(), head: SEGMENT_HEADER_SIZE }
    }

    /// What each open stream was told: its id, how many times it was started again, and its newest message's number.
    pub fn streams(&self) -> impl Iterator<Item = (StreamId, u32, u64)> {
        self.open().map(|(id, stream)| (StreamId(id), stream.generation, stream.number))
    }

    /// Generation, number of the newest message and its offset; zeros of a stream that is not open.
    pub(crate) fn of(&self, stream: StreamId) -> (u32, u64, u64) {
        let state = self.streams.get(stream.0 as usize).and_then(Option::as_ref);
        state.map_or((0, 0, 0), |state| (state.generation, state.number, state.last))
    }

    pub(crate) fn open_stream(&mut self, config: &Config, stream: StreamId) -> Result<&mut Stream, Error> {
        let Some(slot) = self.streams.get_mut(stream.0 as usize) else {
            let (dir, streams_max) = (config.dir.clone(), config.streams_max);
            return Err(Error::StreamsMax { dir, stream: stream.0, streams_max });
        };
        Ok(slot.get_or_insert_with(|| {
            Box::new(Stream { number: 0, generation: 0, last: 0, newest_by_bit: [0; 64] })
        }))
    }

    /// The number of a stream's newest message; 0 when it was told nothing.
    pub(crate) fn number(&self, stream: StreamId) -> u64 {
        self.streams.get(stream.0 as usize).and_then(Option::as_ref).map_or(0, |stream| stream.number)
    }

    /// Where the next record goes: behind the last one, or into the next segment when `message` does not fit there.
    pub(crate) fn next(&self, config: &Config, stream: StreamId, message: usize) -> Place {
        let body = message + if config.key.is_some() { SEAL_SIZE } else { 0 };
        // A segment that was filled to its last byte leaves the head at the start of the next one.
        let index = (self.head - 1) / config.segment_size;
        let fits = self.head + record_size(body) <= (index + 1) * config.segment_size;
        let offset = if fits { self.head } else { (index + 1) * config.segment_size + SEGMENT_HEADER_SIZE };
        let state = self.streams[stream.0 as usize].as_ref().expect("the stream is open");
        Place { offset, header: state.next_header(stream, body) }
    }

    /// The record is written.
    pub(crate) fn advance(&mut self, place: &Place) {
        let Place { offset, header } = place;
        self.head = offset + record_size(header.len as usize);
        let stream = self.streams[header.stream as usize].as_mut().expect("the stream is open");
        stream.number = header.number;
        stream.last = *offset;
        stream.newest_by_bit[header.number.trailing_zeros() as usize] = *offset;
    }

    /// A stream is numbered from 1 again; returns its new generation.
    pub(crate) fn restart(&mut self, config: &Config, stream: StreamId) -> Result<u32, Error> {
        let state = self.open_stream(config, stream)?;
        let generation = state.generation + 1;
        *state = Stream { number: 0, generation, last: 0, newest_by_bit: [0; 64] };
        Ok(generation)
    }

    /// The streams that are open.
    pub(crate) fn open(&self) -> impl Iterator<Item = (u32, &Stream)> {
        self.streams.iter().zip(0..).filter_map(|(stream, id)| Some((id, stream.as_deref()?)))
    }

    /// As bytes, little-endian: segment size, whether enciphered, head, number of open streams; of each its id,
    /// number, generation, last offset, and the offsets of its newest record by bit, as many as its number has bits.
    #[must_use]
    pub fn save(&self, config: &Config) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut put = |number: u64| bytes.extend(number.to_le_bytes());
        let log =
            [config.segment_size, u64::from(config.key.is_some()), self.head, self.open().count() as u64];
        log.into_iter().for_each(&mut put);
        for (id, Stream { number, generation, last, newest_by_bit }) in self.open() {
            [u64::from(id), *number, u64::from(*generation), *last].into_iter().for_each(&mut put);
            newest_by_bit[..bits(*number)].iter().copied().for_each(&mut put);
        }
        bytes
    }

    /// From such bytes; `None` when they are not of a log of this configuration.
    #[must_use]
    pub fn load(config: &Config, bytes: &[u8]) -> Option<Self> {
        let (numbers, rest) = bytes.as_chunks();
        let mut numbers = numbers.iter().map(|number| u64::from_le_bytes(*number));
        let mut positions = Self::new(config);
        let is_ours = numbers.next()? == config.segment_size
            && numbers.next()? == u64::from(config.key.is_some())
            && rest.is_empty();
        positions.head = numbers.next().filter(|head| is_ours && *head >= SEGMENT_HEADER_SIZE)?;
        for _ in 0..numbers.next()? {
            let id = u32::try_from(numbers.next()?).ok()?;
            let slot = positions.streams.get_mut(id as usize)?;
            let mut stream = Stream {
                number: numbers.next()?,
                generation: u32::try_from(numbers.next()?).ok()?,
                last: numbers.next()?,
                newest_by_bit: [0; 64],
            };
            for newest in &mut stream.newest_by_bit[..bits(stream.number)] {
                *newest = numbers.next()?;
            }
            *slot = Some(Box::new(stream));
        }
        numbers.next().is_none().then_some(positions)
    }
}

/// Bits it takes to write a number.
fn bits(number: u64) -> usize {
    (u64::BITS - number.leading_zeros()) as usize
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
}
