//! What makes frames one history: each names the hash of the one before it, and continues its numbers.

use ironbell_types::{Nanos, Seq};
use sha2::{Digest, Sha256};

use crate::copy::{CopyHeader, Point};
use crate::frame::{Executed, FrameHeader};
use crate::segment::Identity;

/// A link of the chain: SHA-256 over the frame's [chained bytes](crate::frame), which begin with what it
/// was given and hold the hash before it, and its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChainHash(pub [u8; 32]);

impl core::fmt::Display for ChainHash {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Where a history stands: everything that the next frame must continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Whose history it is.
    pub cluster: [u8; 16],
    /// Frames so far, and so the number of the next one.
    pub frames: u64,
    /// Epoch of the last frame; 0 before the first.
    pub epoch: u64,
    /// Place of the last command; 0 before the first.
    pub last_seq: Seq,
    /// Time of the last command; 0 before the first.
    pub last_time: Nanos,
    /// The highest commit that a frame carried.
    pub commit: Seq,
    /// The latest output hash that a frame carried.
    pub executed: Executed,
    /// Link of the last frame.
    pub hash: ChainHash,
}

/// A sound frame that does not continue the history it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainError {
    /// Its number is not the next one.
    Number {
        /// What it should be.
        expected: u64,
        /// What it is.
        found: u64,
    },
    /// Its epoch is below that of the frame before it, or zero.
    Epoch {
        /// Epoch of the frame before it.
        previous: u64,
        /// What it is.
        found: u64,
    },
    /// Its first Seq is not the next one.
    Seq {
        /// What it should be.
        expected: Seq,
        /// What it is.
        found: Seq,
    },
    /// Its last command's time is before that of the frame before it.
    Time(Nanos),
    /// It carries a lower commit than a frame before it.
    Commit(Seq),
    /// It carries an older output hash than a frame before it.
    Executed(Seq),
    /// It does not name the link before it.
    Hash,
}

impl core::fmt::Display for ChainError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Number { expected, found } => {
                write!(f, "it is frame {found} where frame {expected} belongs")
            }
            Self::Epoch { previous, found } => write!(f, "its epoch {found} follows epoch {previous}"),
            Self::Seq { expected, found } => {
                write!(f, "it begins at Seq {found} where Seq {expected} belongs")
            }
            Self::Time(time) => write!(f, "its time {time} goes back"),
            Self::Commit(seq) => write!(f, "its commit Seq {seq} goes back"),
            Self::Executed(seq) => write!(f, "its executed Seq {seq} goes back"),
            Self::Hash => f.write_str("it does not name the hash of the frame before it"),
        }
    }
}

impl core::error::Error for ChainError {}

impl Chain {
    /// The history of a venue before its first frame. Its link is the hash of the venue's identity, so
    /// that no two venues share one.
    #[must_use]
    pub fn genesis(identity: &Identity) -> Self {
        Self {
            cluster: identity.cluster,
            frames: 0,
            epoch: 0,
            last_seq: Seq(0),
            last_time: Nanos(0),
            commit: Seq(0),
            executed: Executed::NOTHING,
            hash: ChainHash(Sha256::digest(identity.bytes()).into()),
        }
    }

    /// What the frame of this header and number continues, as far as it says so itself: of epoch, commit and execution before it
    /// nothing is known.
    #[must_use]
    pub fn before(header: &CopyHeader, number: u64) -> Self {
        Self {
            cluster: header.cluster,
            frames: number,
            epoch: 0,
            last_seq: Seq(header.first_seq.0 - 1),
            last_time: if header.count == 0 { header.last_time } else { Nanos(0) },
            commit: Seq(0),
            executed: Executed::NOTHING,
            hash: header.previous,
        }
    }

    /// Whether a frame with this header, itself already found sound, comes next.
    ///
    /// # Errors
    /// The first thing in which it does not continue the history.
    pub fn check(&self, header: &FrameHeader) -> Result<(), ChainError> {
        if header.number != self.frames {
            return Err(ChainError::Number { expected: self.frames, found: header.number });
        }
        self.check_copy(&header.shared())
    }

    /// The same of a frame that another node sent: it has no number but the next one.
    ///
    /// # Errors
    /// The first thing in which it does not continue the history.
    pub fn check_copy(&self, header: &CopyHeader) -> Result<(), ChainError> {
        if header.epoch < self.epoch || header.epoch == 0 {
            return Err(ChainError::Epoch { previous: self.epoch, found: header.epoch });
        }
        if header.first_seq != self.last_seq.next() {
            return Err(ChainError::Seq { expected: self.last_seq.next(), found: header.first_seq });
        }
        if header.last_time < self.last_time || (header.count == 0 && header.last_time != self.last_time) {
            return Err(ChainError::Time(header.last_time));
        }
        if header.commit < self.commit {
            return Err(ChainError::Commit(header.commit));
        }
        if header.executed.seq < self.executed.seq {
            return Err(ChainError::Executed(header.executed.seq));
        }
        if header.previous != self.hash {
            return Err(ChainError::Hash);
        }
        Ok(())
    }

    /// Its end, in short.
    #[must_use]
    pub const fn point(&self) -> Point {
        Point { frames: self.frames, epoch: self.epoch, seq: self.last_seq, hash: self.hash }
    }

    /// The history with the frame of this header at its end.
    ///
    /// # Panics
    /// When the frame does not come next: [`check`](Self::check) first what was read.
    pub fn advance(&mut self, header: &FrameHeader) {
        if let Err(error) = self.check(header) {
            panic!("frame {} does not continue the chain: {error}", header.number);
        }
        self.put_behind(&header.shared(), header.chain);
    }

    /// The same with a frame that another node sent.
    ///
    /// # Panics
    /// When it does not come next.
    pub fn advance_copy(&mut self, header: &CopyHeader, chain: ChainHash) {
        if let Err(error) = self.check_copy(header) {
            panic!("the copy behind {} frames does not continue the chain: {error}", self.frames);
        }
        self.put_behind(header, chain);
    }

    fn put_behind(&mut self, header: &CopyHeader, chain: ChainHash) {
        *self = Self {
            cluster: self.cluster,
            frames: self.frames + 1,
            epoch: header.epoch,
            last_seq: header.last_seq(),
            last_time: header.last_time,
            commit: header.commit,
            executed: header.executed,
            hash: chain,
        };
    }
}
