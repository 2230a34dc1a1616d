//! A frame on its way to another node, and a place in the history that all nodes know.
//!
//! What a node adds of its own (place, number, what it knew to be durable, cipher, checksums) stays at home. What goes
//! out is what the link covers, and the link:
//!
//! ```text
//!      0                               128             160
//!      ├───────────────────────────────┼───────────────┼──────────────────────────────┐
//!      │ chained bytes of the header   │ chain hash    │ records, plain, payload bytes │
//!      └───────────────────────────────┴───────────────┴──────────────────────────────┘
//! ```
//!
//! Whoever carries it adds a checksum or lies on the link: it is SHA-256 over all that stands here.

use alloc::vec::Vec;

use ironbell_types::{Nanos, Seq, Sequenced};

use crate::chain::{Chain, ChainError, ChainHash};
use crate::command::DecodeError;
use crate::frame::{self, CHAINED_BYTES, Executed, FRAME_BYTES_MAX, FrameError, HEADER_BYTES};
use crate::segment::Identity;

/// A place between two frames of the history. Two nodes that name the same point have the same history up to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Point {
    /// Frames before it.
    pub frames: u64,
    /// Epoch of the last of them; 0 before the first.
    pub epoch: u64,
    /// Place of the last command before it; 0 before the first.
    pub seq: Seq,
    /// Link of the last frame before it.
    pub hash: ChainHash,
}

impl Point {
    /// Before the first frame of a venue.
    #[must_use]
    pub fn genesis(identity: &Identity) -> Self {
        Chain::genesis(identity).point()
    }
}

impl core::fmt::Display for Point {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { frames, epoch, seq, hash } = self;
        write!(f, "Seq {seq} of epoch {epoch}, behind {frames} frames, link {hash}")
    }
}

/// What a frame's header says that is the same on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyHeader {
    /// Whose history it belongs to.
    pub cluster: [u8; 16],
    /// The primary's term, from 1.
    pub epoch: u64,
    /// Place of its first command; of the next one when there is none.
    pub first_seq: Seq,
    /// Number of commands.
    pub count: u32,
    /// Bytes of their records.
    pub payload_bytes: u32,
    /// Commit known when it was built; before `first_seq`.
    pub commit: Seq,
    /// Execution known when it was built; before `first_seq`.
    pub executed: Executed,
    /// Time of its last command; of the last one before it when there is none.
    pub last_time: Nanos,
    /// Link before it.
    pub previous: ChainHash,
}

impl CopyHeader {
    /// Place of the last command; of the last one before it when there is none.
    #[must_use]
    pub const fn last_seq(&self) -> Seq {
        Seq(self.first_seq.0 + self.count as u64 - 1)
    }
}

/// A frame as it goes to another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameCopy<'a> {
    /// Bytes 64 to 191 of its header.
    pub chained: &'a [u8; CHAINED_BYTES],
    /// Its link: SHA-256 over the chained bytes and the records.
    pub chain: ChainHash,
    /// The records, plain.
    pub records: &'a [u8],
}

/// A frame from another node that is not to be had here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyError {
    /// It contradicts itself.
    Frame(FrameError),
    /// It does not continue the history here.
    Chain(ChainError),
    /// A record in it is none that we would have written.
    Record(DecodeError),
    /// It is of an epoch above what this node has promised: the promise comes first.
    NotPromised {
        /// What was promised.
        promised: u64,
        /// Its epoch.
        epoch: u64,
    },
}

impl core::fmt::Display for CopyError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Frame(error) => error.fmt(f),
            Self::Chain(error) => error.fmt(f),
            Self::Record(error) => error.fmt(f),
            Self::NotPromised { promised, epoch } => {
                write!(f, "it is of epoch {epoch}, and this node has promised {promised} only")
            }
        }
    }
}

impl core::error::Error for CopyError {}

/// Bytes before the records.
const HEAD_BYTES: usize = CHAINED_BYTES + size_of::<ChainHash>();

/// The most bytes that a copy takes.
pub const COPY_BYTES_MAX: usize = HEAD_BYTES + FRAME_BYTES_MAX - HEADER_BYTES;

impl<'a> FrameCopy<'a> {
    /// Of what [`frame::lay_out`] or [`frame::lay_out_copy`] has left in `bytes`, with its `chain`.
    ///
    /// # Panics
    /// When `bytes` are fewer than the frame's.
    #[must_use]
    pub fn of(header: &frame::FrameHeader, bytes: &'a [u8]) -> Self {
        let records = &bytes[HEADER_BYTES..][..header.payload_bytes as usize];
        Self { chained: frame::chained(bytes), chain: header.chain, records }
    }

    /// What its header says. Looks at nothing but the chained bytes and the number of the others.
    ///
    /// # Errors
    /// [`FrameError::Field`], [`FrameError::Truncated`] when there are not as many records as it says.
    pub fn header(&self) -> Result<CopyHeader, FrameError> {
        let header = CopyHeader::decode(self.chained)?;
        if header.payload_bytes as usize == self.records.len() {
            Ok(header)
        } else {
            Err(FrameError::Truncated)
        }
    }

    /// Whether the link is that of the bytes: about 2 µs for a frame of 4 KiB.
    #[must_use]
    pub fn is_linked(&self) -> bool {
        frame::link(self.chained, self.records) == self.chain
    }

    /// Whether it is whole and comes after `chain`; returns what its header says.
    ///
    /// # Errors
    /// [`CopyError::Frame`], [`CopyError::Chain`]. Records are not looked into: see [`commands`](Self::commands).
    pub fn check(&self, chain: &Chain) -> Result<CopyHeader, CopyError> {
        let header = self.header().map_err(CopyError::Frame)?;
        if header.cluster != chain.cluster {
            return Err(CopyError::Frame(FrameError::Cluster));
        }
        if !self.is_linked() {
            return Err(CopyError::Frame(FrameError::Chain));
        }
        chain.check_copy(&header).map_err(CopyError::Chain)?;
        Ok(header)
    }

    /// The point behind it, when it stands behind `frames` others.
    ///
    /// # Errors
    /// As [`header`](Self::header).
    pub fn point(&self, frames: u64) -> Result<Point, FrameError> {
        let header = self.header()?;
        Ok(Point { frames: frames + 1, epoch: header.epoch, seq: header.last_seq(), hash: self.chain })
    }

    /// Puts the commands into `into`, which is cleared first. `after` is the time of the last command before the frame.
    ///
    /// # Errors
    /// [`CopyError::Frame`], and [`CopyError::Record`] as [`Frame::commands`](frame::Frame::commands); `into` then holds
    /// those before it.
    pub fn commands(&self, after: Nanos, into: &mut Vec<Sequenced>) -> Result<(), CopyError> {
        let header = self.header().map_err(CopyError::Frame)?;
        frame::commands(&header, self.records, after, into).map_err(CopyError::Record)
    }

    /// How many bytes it takes.
    #[must_use]
    pub const fn encoded_bytes(&self) -> usize {
        HEAD_BYTES + self.records.len()
    }

    /// Puts it at the start of `into`; returns how many bytes it took.
    ///
    /// # Panics
    /// When `into` has fewer than [`encoded_bytes`](Self::encoded_bytes).
    pub fn encode_into(&self, into: &mut [u8]) -> usize {
        let (head, rest) = into.split_at_mut(HEAD_BYTES);
        head[..CHAINED_BYTES].copy_from_slice(self.chained);
        head[CHAINED_BYTES..].copy_from_slice(&self.chain.0);
        rest[..self.records.len()].copy_from_slice(self.records);
        self.encoded_bytes()
    }

    /// The copy at the start of `bytes`, and how many it took. Whether it is whole is [`check`](Self::check)'s question.
    ///
    /// # Errors
    /// [`FrameError::Truncated`], [`FrameError::Field`].
    pub fn decode(bytes: &'a [u8]) -> Result<(Self, usize), FrameError> {
        let (chained, rest) = bytes.split_first_chunk().ok_or(FrameError::Truncated)?;
        let (chain, rest) = rest.split_first_chunk().ok_or(FrameError::Truncated)?;
        let header = CopyHeader::decode(chained)?;
        let records = rest.get(..header.payload_bytes as usize).ok_or(FrameError::Truncated)?;
        let copy = Self { chained, chain: ChainHash(*chain), records };
        Ok((copy, copy.encoded_bytes()))
    }
}
