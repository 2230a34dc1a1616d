//! The layout of a record.
//!
//! All integers are little-endian. An *offset* counts bytes from the start of the log, through all
//! segments; 0 means none, because every segment starts with a header.
//!
//! ```text
//!  0        4        8       12       16               24               32               40         48
//!  ┌────────┬────────┬────────┬────────┬────────────────┬────────────────┬────────────────┬──────────┬─────────┐
//!  │ crc32c │ len    │ stream │ gener- │ number         │ prev           │ jump           │ next     │ message │
//!  │        │        │        │ ation  │ (from 1)       │ (offset)       │ (offset)       │ (offset) │ (len) … │
//!  └────────┴────────┴────────┴────────┴────────────────┴────────────────┴────────────────┴──────────┴─────────┘
//!           └─────────────────── crc32c covers this ─────────────────────────────────────┘          and └──────┘
//! ```
//!
//! A record starts at a multiple of 8 and never spans two segments. `prev` is the stream's record
//! number − 1. `jump` is its record `number & (number − 1)`, the number without its lowest set bit: from
//! the newest record any older one is found in at most log₂² steps, and the writer needs to remember
//! only one offset per bit. So there is no index to allocate, to keep or to lose. `next` is filled in
//! when the next record of the stream is appended, and is read only once that one is published.
//!
//! In an enciphered log the message is followed by its nonce (12 bytes) and its tag (16), and `len` counts
//! them. The tag is also of the header from `len` to `jump`. What stays to be seen is the header: how much
//! each stream was told, in messages of which length.

use crate::cipher::SEAL_SIZE;

/// Largest message, in bytes: what a SoupBinTCP packet can carry (16-bit length, one byte of type).
pub const MESSAGE_SIZE_MAX: usize = 65_534;

/// What a record holds at most: the largest message, enciphered.
pub(crate) const BODY_SIZE_MAX: usize = MESSAGE_SIZE_MAX + SEAL_SIZE;

pub(crate) const HEADER_SIZE: usize = 48;
/// What the checksum and recovery's comparison know of the header: all but `next`.
pub(crate) const FIXED_SIZE: usize = 40;
pub(crate) const NEXT_AT: u64 = 40;

/// The header but for checksum and `next`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub len: u32,
    pub stream: u32,
    pub generation: u32,
    pub number: u64,
    pub prev: u64,
    pub jump: u64,
}

impl Header {
    /// The first 40 bytes of the record of `body`.
    pub fn seal(&self, body: &[u8]) -> [u8; FIXED_SIZE] {
        let mut bytes = self.unsealed();
        let crc = checksum(&bytes, body);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The same with a checksum of 0.
    pub fn unsealed(&self) -> [u8; FIXED_SIZE] {
        let mut bytes = [0; FIXED_SIZE];
        bytes[4..8].copy_from_slice(&self.len.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.stream.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.generation.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.prev.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.jump.to_le_bytes());
        bytes
    }

    /// Whether it is message `number` of that stream, as that was numbered then.
    pub fn is_of(&self, stream: u32, generation: u32, number: u64) -> bool {
        self.stream == stream && self.generation == generation && self.number == number
    }

    pub fn parse(bytes: &[u8; FIXED_SIZE]) -> Self {
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        Self {
            len: u32_at(4),
            stream: u32_at(8),
            generation: u32_at(12),
            number: u64_at(16),
            prev: u64_at(24),
            jump: u64_at(32),
        }
    }
}

/// What an enciphered message is bound to: the header's bytes but for checksum and `next`.
pub(crate) fn place(bytes: &[u8; FIXED_SIZE]) -> &[u8] {
    &bytes[4..]
}

pub(crate) fn is_intact(bytes: &[u8; FIXED_SIZE], body: &[u8]) -> bool {
    bytes[..4] == checksum(bytes, body).to_le_bytes()
}

fn checksum(bytes: &[u8; FIXED_SIZE], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[4..]), body)
}

/// Bytes that a body of `len` takes in a segment.
pub(crate) const fn record_size(len: usize) -> u64 {
    (HEADER_SIZE + len).next_multiple_of(8) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_and_every_flipped_bit_shows() {
        let header = Header { len: 3, stream: 7, generation: 1, number: 12, prev: 640, jump: 128 };
        let bytes = header.seal(b"abc");
        assert_eq!(Header::parse(&bytes), header);
        assert!(is_intact(&bytes, b"abc"));
        for bit in 0..FIXED_SIZE * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_intact(&damaged, b"abc"), "bit {bit}");
        }
        assert!(!is_intact(&bytes, b"abd"));
    }
}
