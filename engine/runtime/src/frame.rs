//! The frame: the unit of the journal write, of replication and of execution, in memory.
//!
//! The sequencer fills one and hands it, shared and read-only, to the journal and to the shard; when
//! both have let go it is filled again. So a command is written once and copied by no one, and a
//! warm node allocates nothing.

use std::sync::Arc;

use ironbell_types::{Seq, Sequenced};

/// Commands a frame holds at most.
pub const COMMANDS_MAX: usize = 1_024;

/// Sequenced commands that are journaled and executed together. Framing never shows in an outcome.
#[derive(Debug)]
pub struct Frame {
    /// The commands, in sequence. Empty for the frame that only carries the commit Seq.
    pub commands: Vec<Sequenced>,
    /// So many at the end are of ports that are [deferred](crate::deferral): they run by themselves. It shows in no outcome
    /// and is not journaled.
    pub deferred: usize,
    /// For each command, when a gateway had read it (metrics ticks; 0 when no gateway did).
    pub received: Vec<u64>,
    /// When the sequencer closed the frame (metrics ticks).
    pub sequenced: u64,
    /// What was known to be committed when the frame was closed.
    pub commit: Seq,
    /// A frame executed already, as (its last Seq, the output hash after it); (0, 0) before the first.
    pub executed: (Seq, u128),
}

impl Frame {
    /// The last command's Seq; `None` when the frame is empty.
    #[must_use]
    pub fn last_seq(&self) -> Option<Seq> {
        self.commands.last().map(|command| command.seq)
    }
}

/// A frame as its readers hold it.
pub type SharedFrame = Arc<Frame>;

/// The sequencer's frames, filled again when nobody reads them any more.
#[derive(Debug)]
pub struct FramePool {
    frames: Vec<SharedFrame>,
    next: usize,
}

impl FramePool {
    /// `count` frames, allocated now.
    #[must_use]
    pub fn new(count: usize) -> Self {
        let frame = || {
            Arc::new(Frame {
                commands: Vec::with_capacity(COMMANDS_MAX),
                deferred: 0,
                received: Vec::with_capacity(COMMANDS_MAX),
                sequenced: 0,
                commit: Seq(0),
                executed: (Seq(0), 0),
            })
        };
        Self { frames: (0..count).map(|_| frame()).collect(), next: 0 }
    }

    /// The next frame, emptied, to be filled; `None` while its readers still hold it.
    pub fn begin(&mut self) -> Option<&mut Frame> {
        let frame = Arc::get_mut(&mut self.frames[self.next])?;
        frame.commands.clear();
        frame.received.clear();
        frame.deferred = 0;
        Some(frame)
    }

    /// Shares the frame that the last [`FramePool::begin`] gave, and moves on to the one after it.
    pub fn close(&mut self) -> SharedFrame {
        let frame = Arc::clone(&self.frames[self.next]);
        self.next = (self.next + 1) % self.frames.len();
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_filled_again_only_when_its_readers_have_let_go() {
        let mut pool = FramePool::new(2);
        let mut held = Vec::new();
        for _ in 0..2 {
            assert!(pool.begin().is_some());
            held.push(pool.close());
        }
        assert!(pool.begin().is_none());
        held.remove(0);
        assert!(pool.begin().is_some());
        held.push(pool.close());
        assert!(pool.begin().is_none());
    }
}
