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

/// Largest message, in bytes: what a SoupBinTCP packet can carry (16-bit length, one byte of type).
pub const MESSAGE_SIZE_MAX: usize = 65_534;

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
    /// The first 40 bytes of the record of `message`.
    pub fn seal(&self, message: &[u8]) -> [u8; FIXED_SIZE] {
        let mut bytes = [0; FIXED_SIZE];
        bytes[4..8].copy_from_slice(&self.len.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.stream.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.generation.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.prev.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.jump.to_le_bytes());
        let crc = checksum(&bytes, message);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
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

pub(crate) fn is_intact(bytes: &[u8; FIXED_SIZE], message: &[u8]) -> bool {
    bytes[..4] == checksum(bytes, message).to_le_bytes()
}

fn checksum(bytes: &[u8; FIXED_SIZE], message: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[4..]), message)
}

/// Bytes that a message of `len` takes in a segment.
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
