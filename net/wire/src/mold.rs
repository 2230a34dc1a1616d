//! MoldUDP64 1.00: sequenced messages in UDP packets, and requests for those that were lost
//! (Nasdaq MoldUDP64 1.00).
//!
//! ```text
//! 0            10               18          20           22
//! | session 10 | sequence u64   | count u16 | length u16 | message | length u16 | message | …
//! ```
//!
//! The sequence number is that of the packet's first message; in a packet without messages it is that of
//! the next message there will be.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{DecodeError, NoRoom, Problem, Protocol, U16, U64};

/// The count that says that the session has ended.
pub const COUNT_END_OF_SESSION: u16 = 0xffff;

/// The bytes that every packet opens with; a heartbeat and an end of session are these alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Ten ASCII characters.
    pub session: [u8; 10],
    /// The number of the first message.
    pub sequence_number: U64,
    /// How many messages; 0 is a heartbeat.
    pub message_count: U16,
}

const _: () = assert!(size_of::<Header>() == 20);

impl Header {
    /// A heartbeat, whole: the next message will have number `next_sequence_number`.
    #[must_use]
    pub const fn heartbeat(session: [u8; 10], next_sequence_number: u64) -> Self {
        Self { session, sequence_number: U64::new(next_sequence_number), message_count: U16::new(0) }
    }

    /// An end of session, whole: there will be no message `next_sequence_number`.
    #[must_use]
    pub const fn end_of_session(session: [u8; 10], next_sequence_number: u64) -> Self {
        Self {
            session,
            sequence_number: U64::new(next_sequence_number),
            message_count: U16::new(COUNT_END_OF_SESSION),
        }
    }
}

/// Asks a re-request server for messages: the whole packet, sent to it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Request {
    /// Ten ASCII characters.
    pub session: [u8; 10],
    /// The first message wanted.
    pub sequence_number: U64,
    /// How many are wanted; the answer holds as many of them as fit one packet.
    pub message_count: U16,
}

const _: () = assert!(size_of::<Request>() == 20);

impl Request {
    /// The packet.
    #[must_use]
    pub const fn new(session: [u8; 10], sequence_number: u64, message_count: u16) -> Self {
        Self { session, sequence_number: U64::new(sequence_number), message_count: U16::new(message_count) }
    }

    /// Reads a request.
    ///
    /// # Errors
    /// [`Problem::Length`].
    pub fn parse(bytes: &[u8]) -> Result<&Self, DecodeError> {
        Self::ref_from_bytes(bytes).map_err(|_| too_short(bytes.len(), size_of::<Self>()))
    }
}

/// A downstream packet, borrowed from the bytes it came in. Its message blocks are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    header: &'a Header,
    blocks: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads a downstream packet: as many whole message blocks as it announces, and nothing behind them.
    ///
    /// # Errors
    /// [`Problem::Length`], [`Problem::BlockLength`] or [`Problem::TrailingBytes`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let (header, blocks) =
            Header::ref_from_prefix(bytes).map_err(|_| too_short(bytes.len(), size_of::<Header>()))?;
        let packet = Self { header, blocks };
        let mut rest = blocks;
        for _ in 0..packet.count() {
            let offset = bytes.len() - rest.len();
            let Some((length, message)) = rest.split_first_chunk() else {
                return Err(error(offset, Problem::Length { expected: offset + 2, actual: bytes.len() }));
            };
            let declared = usize::from(u16::from_be_bytes(*length));
            let Some((_, behind)) = message.split_at_checked(declared) else {
                return Err(error(offset, Problem::BlockLength { declared, actual: message.len() }));
            };
            rest = behind;
        }
        if !rest.is_empty() {
            return Err(error(bytes.len() - rest.len(), Problem::TrailingBytes { actual: rest.len() }));
        }
        Ok(packet)
    }

    /// Ten ASCII characters.
    #[must_use]
    pub fn session(&self) -> [u8; 10] {
        self.header.session
    }

    /// The number of the first message; without messages, of the next one there will be.
    #[must_use]
    pub fn sequence_number(&self) -> u64 {
        self.header.sequence_number.get()
    }

    /// How many messages it holds.
    #[must_use]
    pub fn count(&self) -> u16 {
        if self.is_end_of_session() { 0 } else { self.header.message_count.get() }
    }

    /// Whether it says that the session has ended.
    #[must_use]
    pub fn is_end_of_session(&self) -> bool {
        self.header.message_count.get() == COUNT_END_OF_SESSION
    }

    /// Its messages with their numbers.
    #[must_use]
    pub fn messages(&self) -> Messages<'a> {
        Messages { next: self.sequence_number(), blocks: self.blocks }
    }
}

/// The messages of a packet with their numbers.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    next: u64,
    blocks: &'a [u8],
}

impl<'a> Iterator for Messages<'a> {
    type Item = (u64, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (message, rest) = block(self.blocks)?;
        let sequence_number = self.next;
        // A packet from the network may number its messages across 2^64.
        self.next = self.next.wrapping_add(1);
        self.blocks = rest;
        Some((sequence_number, message))
    }
}

/// Takes one message block off the front of `blocks`.
fn block(blocks: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = blocks.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

/// Writes a downstream packet into a buffer, whose length is the largest packet there may be: the
/// network's MTU less the IP and UDP headers.
#[derive(Debug)]
pub struct PacketBuilder<'a> {
    out: &'a mut [u8],
    len: usize,
    count: u16,
}

impl<'a> PacketBuilder<'a> {
    /// Begins a packet whose first message will have the number given.
    ///
    /// # Panics
    /// When `out` is shorter than the header.
    pub fn new(out: &'a mut [u8], session: [u8; 10], sequence_number: u64) -> Self {
        let header = Header::heartbeat(session, sequence_number);
        out[..size_of::<Header>()].copy_from_slice(header.as_bytes());
        Self { out, len: size_of::<Header>(), count: 0 }
    }

    /// Appends a message. When it does not fit, the packet is as it was: finish it and begin another.
    ///
    /// # Errors
    /// [`NoRoom`]: the buffer is too short, or the packet already holds the most messages it can count.
    ///
    /// # Panics
    /// When `message` is longer than 65,535 bytes.
    pub fn push(&mut self, message: &[u8]) -> Result<(), NoRoom> {
        let length = u16::try_from(message.len()).expect("a message is at most 65,535 bytes long");
        let needed = self.len + 2 + message.len();
        if self.count == COUNT_END_OF_SESSION - 1 {
            return Err(NoRoom { needed });
        }
        let room = self.out.get_mut(self.len..needed).ok_or(NoRoom { needed })?;
        room[..2].copy_from_slice(&length.to_be_bytes());
        room[2..].copy_from_slice(message);
        self.len = needed;
        self.count += 1;
        Ok(())
    }

    /// How many messages it holds so far.
    #[must_use]
    pub const fn count(&self) -> u16 {
        self.count
    }

    /// Ends the packet; returns its length in bytes. Without messages it is a heartbeat.
    #[must_use]
    pub fn finish(self) -> usize {
        self.out[18..20].copy_from_slice(&self.count.to_be_bytes());
        self.len
    }
}

const fn too_short(actual: usize, expected: usize) -> DecodeError {
    error(if actual < expected { actual } else { expected }, Problem::Length { expected, actual })
}

const fn error(offset: usize, problem: Problem) -> DecodeError {
    DecodeError { protocol: Protocol::MoldUdp64, message_type: 0, offset, problem }
}
