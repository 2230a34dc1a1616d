//! Reading what a stream was told, from any thread, while it is being told more.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::record::{Header, is_intact, place};
use crate::segment::{Nowhere, Shared};
use crate::{Error, Positions, StreamId};

/// A reading end of a log.
#[derive(Clone, Debug)]
pub struct LogReader {
    shared: Arc<Shared>,
}

impl LogReader {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared) }
    }

    /// A reader of one stream as it is numbered now. Once the stream is started again it finds nothing
    /// more. A stream beyond the log's limit is empty.
    #[must_use]
    pub fn stream(&self, stream: StreamId) -> StreamReader {
        let generation =
            self.shared.generation.get(stream.0 as usize).map_or(0, |g| g.load(Ordering::Acquire));
        let shared = Arc::clone(&self.shared);
        let plain = Vec::with_capacity(if shared.config.key.is_some() { PLAIN_SIZE } else { 0 });
        StreamReader { shared, stream: stream.0, generation, until: None, number: 0, offset: 0, plain }
    }

    /// A reader of one stream as it stood at `positions`, which this log has come through: it finds nothing that was told
    /// later, and what was told then also when the stream was started again since.
    ///
    /// # Errors
    /// [`Error::Damaged`] when the log has not come there yet.
    pub fn stream_at(&self, positions: &Positions, stream: StreamId) -> Result<StreamReader, Error> {
        let mut reader = self.stream(stream);
        let (generation, number, offset) = positions.of(stream);
        // What stands before the newest record may be read by whoever has seen that published. A stream that was started
        // again, and told nothing since, has none.
        let newest = self.shared.newest(stream.0);
        if reader.generation < generation || (reader.generation == generation && newest < offset) {
            return Err(Error::Damaged {
                dir: self.shared.config.dir.clone(),
                stream: stream.0,
                number,
                offset,
            });
        }
        (reader.generation, reader.until) = (generation, Some(offset));
        Ok(reader)
    }
}

/// Room for a deciphered message; orders, fills and market data take a tenth of it.
const PLAIN_SIZE: usize = 1_024;

/// A reader of one stream, with a place in it. In order it takes one step a message; elsewhere it finds
/// its way from the newest message in at most log₂² steps. It never allocates, but for its first enciphered
/// message of more than a KiB.
#[derive(Clone, Debug)]
pub struct StreamReader {
    shared: Arc<Shared>,
    stream: u32,
    generation: u32,
    /// Offset of the record that it takes for the newest; `None` for the one that is.
    until: Option<u64>,
    /// The message it stands at; 0 is none yet.
    number: u64,
    offset: u64,
    /// The message that was read last, deciphered.
    plain: Vec<u8>,
}

impl StreamReader {
    /// The number of the newest message; 0 when there is none, or when the stream was started again.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn newest(&self) -> Result<u64, Error> {
        Ok(self.newest_header(0)?.map_or(0, |(_, header)| header.number))
    }

    /// Message `number`, from 1; `None` when the stream was not told that much.
    ///
    /// # Errors
    /// [`Error::Damaged`] when its record, or one on the way to it, is not what was written.
    pub fn message(&mut self, number: u64) -> Result<Option<&[u8]>, Error> {
        let Some((newest_at, newest)) = self.newest_header(number)? else { return Ok(None) };
        if number == 0 || number > newest.number {
            return Ok(None);
        }
        if number != self.number {
            self.offset = self.find(number, newest_at, newest)?;
            self.number = number;
        }
        // Taken apart, because the message may lie in `plain` and the rest is still needed.
        let (stream, generation, offset) = (self.stream, self.generation, self.offset);
        let Self { shared, plain, .. } = self;
        let message = match shared.record(offset, newest_at) {
            Ok((fixed, body))
                if is_intact(fixed, body) && Header::parse(fixed).is_of(stream, generation, number) =>
            {
                match &shared.config.key {
                    None => Some(body),
                    Some(key) => {
                        plain.clear();
                        plain.extend_from_slice(body);
                        key.open(place(fixed), plain)
                    }
                }
            }
            _ => None,
        };
        let damaged = Damage { shared, stream, number, offset };
        message.map(Some).ok_or_else(|| damaged.into())
    }

    fn newest_header(&self, wanted: u64) -> Result<Option<(u64, Header)>, Error> {
        let offset = self.until.unwrap_or_else(|| self.shared.newest(self.stream));
        if offset == 0 {
            return Ok(None);
        }
        let fixed = self.shared.header(offset, offset).map_err(|Nowhere| self.damaged(wanted, offset))?;
        let header = Header::parse(fixed);
        Ok((header.generation == self.generation).then_some((offset, header)))
    }

    fn find(&self, number: u64, newest_at: u64, newest: Header) -> Result<u64, Error> {
        if self.number != 0 && number == self.number + 1 {
            let next =
                self.shared.next_of(self.offset).map_err(|Nowhere| self.damaged(number, self.offset))?;
            return self.checked(next, newest_at, number).map(|_| next);
        }
        let (mut offset, mut header) = (newest_at, newest);
        while header.number > number {
            let jump_number = header.number & (header.number - 1);
            let (to, to_number) = if jump_number >= number {
                (header.jump, jump_number)
            } else {
                (header.prev, header.number - 1)
            };
            header = self.checked(to, newest_at, to_number)?;
            offset = to;
        }
        Ok(offset)
    }

    /// The header at `offset`, which must be before the newest record and be message `number`.
    fn checked(&self, offset: u64, newest_at: u64, number: u64) -> Result<Header, Error> {
        match self.shared.header(offset, newest_at).map(Header::parse) {
            Ok(header) if self.is_mine(&header, number) => Ok(header),
            _ => Err(self.damaged(number, offset).into()),
        }
    }

    fn is_mine(&self, header: &Header, number: u64) -> bool {
        header.is_of(self.stream, self.generation, number)
    }

    fn damaged(&self, number: u64, offset: u64) -> Damage<'_> {
        Damage { shared: &self.shared, stream: self.stream, number, offset }
    }
}

/// The makings of [`Error::Damaged`]; the path is only copied when there is damage.
struct Damage<'a> {
    shared: &'a Shared,
    stream: u32,
    number: u64,
    offset: u64,
}

impl From<Damage<'_>> for Error {
    fn from(damage: Damage<'_>) -> Self {
        let Damage { shared, stream, number, offset } = damage;
        Self::Damaged { dir: shared.config.dir.clone(), stream, number, offset }
    }
}
