//! The standby's end of the link: frames come in, acknowledgements go out.
//!
//! It says what to do with what came; the driver does it (append, sync, promise, execute) and tells how far that is.
//! **Nothing is acknowledged below an epoch that was promised**, nor in an epoch that is not promised yet.

use std::collections::VecDeque;

use ironbell_record::{Executed, FrameCopy, Point};
use ironbell_types::{Nanos, Seq};

use crate::message::{Ack, FrameHead, Message, Refusal};

/// Output hashes that wait for their execution here. More are passed over: there will be others.
const EXPECTED_MAX: usize = 1024;

/// What came, and what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// Nothing that needs doing.
    Nothing,
    /// Make this promise durable, then call [`Link::promised`]. Until then no frame of it is taken.
    Promise(u64),
    /// The histories part: who leads in `epoch` goes on behind `to`. Ask control, which may have the journal cut back and
    /// everything started again; the link ends.
    CutBack {
        /// Whose epoch.
        epoch: u64,
        /// The common point.
        to: Point,
    },
    /// Append this frame, then call [`Link::appended`].
    Frame(FrameCopy<'a>),
    /// The primary hands over; it will release nothing more in its epoch.
    Switchover {
        /// Its epoch.
        epoch: u64,
        /// The end of its history.
        last: Point,
    },
    /// The primary refuses this node.
    Refused {
        /// Why.
        why: Refusal,
        /// What the primary has promised.
        promised: u64,
    },
}

/// Why the link ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The primary's epoch {epoch} is below the promised {promised}
    #[error("the primary speaks in epoch {epoch}, and epoch {promised} is promised")]
    Epoch {
        /// The primary's.
        epoch: u64,
        /// The promised one.
        promised: u64,
    },
    /// A message came that does not belong there
    #[error("a message came that does not belong there: {0}")]
    Protocol(&'static str),
    /// Frame {found} came where frame {expected} belongs
    #[error("frame {found} came where frame {expected} belongs")]
    Gap {
        /// The next one.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// The output hash differs: halt, and raise an alarm
    #[error("the output hash at Seq {seq} is {here:032x} here and {there:032x} on the primary")]
    OutputHash {
        /// Where.
        seq: Seq,
        /// What was executed here.
        here: u128,
        /// What a frame says.
        there: u128,
    },
}

impl Fault {
    /// What to tell the peer.
    #[must_use]
    pub const fn refusal(&self) -> Refusal {
        match self {
            Self::Epoch { .. } => Refusal::Epoch,
            Self::Protocol(_) | Self::Gap { .. } => Refusal::Protocol,
            Self::OutputHash { .. } => Refusal::Halted,
        }
    }

    /// Whether the standby must stand still until somebody has looked: going on would hide that a node is wrong.
    #[must_use]
    pub const fn halts(&self) -> bool {
        matches!(self, Self::OutputHash { .. })
    }
}

/// A primary as its standby sees it.
#[derive(Debug)]
pub struct Link {
    promised: u64,
    /// The primary's; 0 before its first word.
    epoch: u64,
    /// The end of the history in memory, and on disk.
    received: Point,
    durable: Point,
    applied: Executed,
    /// The last command committed, as the primary said.
    commit: Seq,
    appended: Seq,
    newest_sent_at: Nanos,
    heard_at: Option<Nanos>,
    /// What was acknowledged last, and when.
    acked: Option<Ack>,
    acked_at: Option<Nanos>,
    /// The first commit that was heard in this epoch.
    to_hold: Option<Seq>,
    holds_commit: bool,
    expected: VecDeque<Executed>,
}

impl Link {
    /// A link of a node that has promised `promised`, whose disk holds the history up to `durable`, and that has executed
    /// `applied`.
    #[must_use]
    pub fn new(promised: u64, durable: Point, applied: Executed) -> Self {
        Self {
            promised,
            epoch: 0,
            received: durable,
            durable,
            applied,
            commit: Seq(0),
            appended: Seq(0),
            newest_sent_at: Nanos(0),
            heard_at: None,
            acked: None,
            acked_at: None,
            to_hold: None,
            holds_commit: false,
            expected: VecDeque::with_capacity(EXPECTED_MAX),
        }
    }

    /// Takes a message of the primary.
    ///
    /// # Errors
    /// [`Fault`]: tell the peer ([`Fault::refusal`]) and end the link.
    pub fn receive<'a>(&mut self, message: &Message<'a>, now: Nanos) -> Result<Heard<'a>, Fault> {
        match *message {
            Message::Follow { epoch, from } => self.follow(epoch, from, now),
            Message::Frame(head, copy) => self.frame(&head, copy, now),
            Message::KeepAlive { epoch, sent_at, commit, appended } => {
                self.word(epoch, sent_at, commit, now)?;
                self.appended = self.appended.max(appended);
                Ok(Heard::Nothing)
            }
            Message::Switchover { epoch, last } => {
                self.in_epoch(epoch)?;
                Ok(Heard::Switchover { epoch, last })
            }
            Message::Refused { why, promised } => Ok(Heard::Refused { why, promised }),
            _ => Err(Fault::Protocol("only a primary's messages do")),
        }
    }

    fn follow(&mut self, epoch: u64, from: Point, now: Nanos) -> Result<Heard<'static>, Fault> {
        if epoch < self.promised {
            return Err(Fault::Epoch { epoch, promised: self.promised });
        }
        if epoch < self.epoch {
            return Err(Fault::Protocol("an epoch that goes back"));
        }
        if epoch == self.epoch {
            // It came twice.
            return Ok(Heard::Nothing);
        }
        if from != self.received {
            if from.frames > self.received.frames {
                return Err(Fault::Gap { expected: self.received.frames, found: from.frames });
            }
            return Ok(Heard::CutBack { epoch, to: from });
        }
        if epoch > self.epoch {
            self.epoch = epoch;
            self.newest_sent_at = Nanos(0);
            self.to_hold = None;
            self.holds_commit = false;
            self.acked = None;
        }
        self.heard_at = Some(now);
        Ok(if epoch > self.promised { Heard::Promise(epoch) } else { Heard::Nothing })
    }

    fn in_epoch(&self, epoch: u64) -> Result<(), Fault> {
        if self.epoch == 0 || epoch > self.epoch {
            return Err(Fault::Protocol("an epoch that was not announced"));
        }
        // An older one came late, and the promise may be for nobody yet.
        if epoch < self.promised {
            return Err(Fault::Epoch { epoch, promised: self.promised });
        }
        if self.promised < epoch {
            return Err(Fault::Protocol("an epoch that is not promised yet"));
        }
        Ok(())
    }

    /// The primary is alive in this epoch.
    fn word(&mut self, epoch: u64, sent_at: Nanos, commit: Seq, now: Nanos) -> Result<(), Fault> {
        self.in_epoch(epoch)?;
        self.newest_sent_at = self.newest_sent_at.max(sent_at);
        self.commit = self.commit.max(commit);
        self.heard_at = Some(now);
        self.to_hold = self.to_hold.or(Some(commit));
        self.note_commit_held();
        Ok(())
    }

    /// What the primary said first is committed, and everything that it had when its epoch began, is on this disk: from
    /// then on nothing is committed without this node. A primary that has just started says less than was once committed;
    /// so its epoch's first frame must be there too, which stands behind all of it.
    fn note_commit_held(&mut self) {
        let holds =
            self.durable.epoch == self.epoch && self.to_hold.is_some_and(|commit| commit <= self.durable.seq);
        self.holds_commit |= holds;
    }

    fn frame<'a>(&mut self, head: &FrameHead, copy: FrameCopy<'a>, now: Nanos) -> Result<Heard<'a>, Fault> {
        self.in_epoch(head.epoch)?;
        if head.number < self.received.frames {
            // It came twice.
            return Ok(Heard::Nothing);
        }
        if head.number > self.received.frames {
            return Err(Fault::Gap { expected: self.received.frames, found: head.number });
        }
        self.word(head.epoch, head.sent_at, head.commit, now)?;
        Ok(Heard::Frame(copy))
    }

    /// The frame that was [heard](Heard::Frame) is appended.
    ///
    /// # Errors
    /// [`Fault::OutputHash`] when it says another output hash than was executed here.
    ///
    /// # Panics
    /// When `copy` is no frame: it was appended.
    pub fn appended(&mut self, copy: &FrameCopy<'_>) -> Result<(), Fault> {
        let header = copy.header().expect("what was appended is a frame");
        assert!(header.previous == self.received.hash, "the frame does not follow {}", self.received);
        self.received = copy.point(self.received.frames).expect("its header was read");
        self.appended = self.appended.max(self.received.seq);
        let there = header.executed;
        if there.seq == self.applied.seq {
            return same(self.applied, there);
        }
        let is_new = self.expected.back().is_none_or(|last| last.seq < there.seq);
        if there.seq > self.applied.seq && is_new && self.expected.len() < EXPECTED_MAX {
            self.expected.push_back(there);
        }
        Ok(())
    }

    /// This node's disk holds the history up to `point`.
    ///
    /// # Panics
    /// When that goes back, or beyond what was received.
    pub fn durable(&mut self, point: Point) {
        assert!(point.frames >= self.durable.frames, "durable goes back from {} to {point}", self.durable);
        assert!(point.frames <= self.received.frames, "{point} is beyond {}", self.received);
        self.durable = point;
        self.note_commit_held();
    }

    /// A frame was executed; call it at the end of each.
    ///
    /// # Errors
    /// [`Fault::OutputHash`].
    pub fn applied(&mut self, executed: Executed) -> Result<(), Fault> {
        self.applied = executed;
        while let Some(there) = self.expected.front().copied().filter(|there| there.seq <= executed.seq) {
            self.expected.pop_front();
            if there.seq == executed.seq {
                same(executed, there)?;
            }
        }
        Ok(())
    }

    /// A promise is durable, or is being made durable for a takeover: nothing below is acknowledged from now on.
    pub fn promised(&mut self, epoch: u64) {
        self.promised = self.promised.max(epoch);
    }

    /// Puts an acknowledgement into `out` when there is something new to say; says whether it did.
    pub fn acknowledge(&mut self, now: Nanos, out: &mut Vec<u8>) -> bool {
        if self.epoch == 0 || self.epoch != self.promised {
            return false;
        }
        let ack = Ack {
            epoch: self.epoch,
            received: self.received,
            durable: self.durable,
            applied: self.applied,
            echo: self.newest_sent_at,
        };
        if self.acked == Some(ack) {
            return false;
        }
        self.acked = Some(ack);
        self.acked_at = Some(now);
        Message::Ack(ack).encode(out);
        true
    }

    /// The last command that may be executed: committed, as the primary said, and received.
    #[must_use]
    pub fn commit(&self) -> Seq {
        self.commit.min(self.received.seq)
    }

    /// The primary's epoch; 0 before its first word.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The end of the history in memory.
    #[must_use]
    pub fn received(&self) -> Point {
        self.received
    }

    /// When a frame or a keep-alive came last.
    #[must_use]
    pub fn heard_at(&self) -> Option<Nanos> {
        self.heard_at
    }

    /// When something was acknowledged last: no permission to release that this node gave is counted from later.
    #[must_use]
    pub fn acked_at(&self) -> Option<Nanos> {
        self.acked_at
    }

    /// Whether this disk has held everything committed at some moment of this link, so that nothing can have been
    /// committed since without it: a node that acknowledged from memory and restarted may be promoted again.
    #[must_use]
    pub fn holds_commit(&self) -> bool {
        self.holds_commit
    }

    /// Commands that the primary has appended and this node has not executed.
    #[must_use]
    pub fn behind(&self) -> u64 {
        self.appended.0.saturating_sub(self.applied.seq.0)
    }
}

fn same(here: Executed, there: Executed) -> Result<(), Fault> {
    if here.output_hash == there.output_hash {
        return Ok(());
    }
    Err(Fault::OutputHash { seq: here.seq, here: here.output_hash, there: there.output_hash })
}
