//! Who leads: the rules of promotion, solo, rejoin and switchover.
//!
//! One [`Control`] for one life of a node, from when its journal was recovered until it is told to begin again
//! ([`Action::StepDown`], [`Action::CutBack`]). [`Input`]s come in, in any order and at any time; after each,
//! [`Control::action`] says what to do, in that order. It never waits and asks no clock: `now` is CLOCK_BOOTTIME.
//!
//! What keeps two primaries apart and loses nothing is three things, and none of them is a clock or a lease:
//!
//! 1. *The register* changes only by a swap that compares its whole old value ([`crate::register`]).
//! 2. *The promise*: before a node asks to lead in epoch e it promises e, on its disk, and acknowledges nothing below.
//!    Who led before commits nothing more without it.
//! 3. *The in-sync set*: only a member may be promoted, and a command is committed only when every member has it. While
//!    a swap that changes the set is under way, both sets count ([`crate::commit`]).
//!
//! Clocks decide when something is tried, and how long a new primary waits before it opens, so that the old one has stopped
//! answering by then.

use std::collections::VecDeque;

use ironbell_record::Point;
use ironbell_types::{Nanos, Seq};

use crate::commit::CommitRule;
use crate::history::Relation;
use crate::register::{AckPolicy, InSync, Mode, NodeId, Register};

/// What a node is told about its part.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Which node this is.
    pub node: NodeId,
    /// What an acknowledgement to a member means. The same on both nodes.
    pub ack: AckPolicy,
    /// What a node does that has taken over.
    pub after_takeover: AfterTakeover,
    /// Who decides that a primary goes on without its standby.
    pub solo: SoloPolicy,
    /// Whether a node that was away comes back by itself; else `ctl rejoin` says so, on either node.
    pub rejoins_by_itself: bool,
    /// Whether silence on the link alone starts a promotion, while the primary's lease is still there.
    pub silence_is_enough: bool,
    /// Silence on the link after which a standby acts.
    pub grace: Nanos,
    /// How long an acknowledgement of the standby lets the primary release and serve reads.
    pub permission: Nanos,
    /// How far apart the two nodes' clocks may run, in parts per million.
    pub drift_ppm: u32,
    /// How often the register is read when nothing happens.
    pub read_every: Nanos,
    /// How long after something failed or was unknown it is tried again.
    pub retry: Nanos,
    /// How long a switchover may take before the primary takes it back.
    pub handover: Nanos,
}

/// What a node does that has taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterTakeover {
    /// It acknowledges by itself, alarmed, until the other has joined.
    Alone,
    /// It opens when the other has joined.
    Wait,
}

/// Who decides that a primary goes on without its standby.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SoloPolicy {
    /// Strict: an operator, by `ctl solo`.
    ByHand,
    /// The venue's policy: a standby that was lost for so long.
    After(Nanos),
}

/// What a node knows of itself when its life begins.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// The highest epoch it has promised.
    pub promised: u64,
    /// The end of its history on disk.
    pub last: Point,
    /// It was told to stop leading: it does not lead again before it is told to.
    pub stands: bool,
}

/// What the register held when it was read, by a linearizable read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its value; `None` when there is none.
    pub register: Option<Register>,
    /// Whether the other node's lease is there.
    pub peer_lease: bool,
}

/// How a swap ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swapped {
    /// The register holds the new value.
    Done,
    /// It held another one than expected: this.
    Refused(Option<Register>),
    /// Nobody knows: it may have been done, or may still be.
    Unknown,
}

/// The other node, as its hello told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// What it has promised.
    pub promised: u64,
    /// The epoch it leads in, if it leads.
    pub leading: Option<u64>,
    /// How its history stands to ours.
    pub relation: Relation,
}

/// An operator's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// First start of a pair: this node leads, the other will join.
    Bootstrap {
        /// Who says so.
        approver: String,
    },
    /// This standby takes over now.
    Promote {
        /// Why.
        reason: String,
        /// Who says so.
        approver: String,
    },
    /// This primary stops leading; its standby takes over.
    Demote,
    /// This primary goes on without its standby.
    Solo {
        /// Why.
        reason: String,
        /// Who says so.
        approver: String,
    },
    /// A node that was away may come back: what it has that was never acknowledged is set aside.
    Rejoin,
    /// This primary drains and hands over.
    Switchover {
        /// Why.
        reason: String,
        /// Who says so.
        approver: String,
    },
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Nothing, but time went by.
    Tick,
    /// The answer to [`Action::Read`]; `None` when the register could not be reached.
    Read(Option<Seen>),
    /// The answer to [`Action::Swap`].
    Swapped(Swapped),
    /// A promise is durable, and so is everything that was appended before it: up to `last`.
    Promised {
        /// The epoch.
        epoch: u64,
        /// The end of the history on disk.
        last: Point,
    },
    /// A promise was refused: a higher one was given meanwhile.
    PromiseRefused {
        /// That one.
        promised: u64,
    },
    /// A link is up and the peer has said hello; or its history or ours has changed since.
    LinkUp(Peer),
    /// The link is down.
    LinkDown,
    /// On a standby: the primary was heard at `at`.
    Heard {
        /// When.
        at: Nanos,
        /// [`crate::standby::Link::holds_commit`].
        holds_commit: bool,
    },
    /// On a standby: something was acknowledged at this time.
    AckSent(Nanos),
    /// On a primary: the standby's disk holds the history up to `durable`, as it acknowledged in `epoch`.
    Acked {
        /// The epoch.
        epoch: u64,
        /// The end of its history on disk.
        durable: Point,
        /// It is fed from memory.
        live: bool,
    },
    /// This node's disk holds the history up to here.
    Durable(Point),
    /// On a primary: the standby refuses it, having promised more.
    PeerRefused {
        /// What it has promised.
        promised: u64,
    },
    /// On a node that does not lead: who leads in `epoch` goes on behind `to`, and our history goes on otherwise.
    NeedsCut {
        /// Whose epoch.
        epoch: u64,
        /// The common point.
        to: Point,
    },
    /// On a standby: the primary of this epoch hands over, everything up to `last` being committed.
    HandedOver {
        /// Its epoch.
        epoch: u64,
        /// The end of its history.
        last: Point,
    },
    /// What [`Action::Lead`] asks for is done: the epoch's first frame is durable, and everything before it executed.
    Ready {
        /// The epoch.
        epoch: u64,
    },
    /// [`Action::Commit`] is in force, and this is committed.
    InForce {
        /// The rule.
        rule: CommitRule,
        /// The last command committed.
        commit: Seq,
    },
    /// What [`Action::Drain`] asks for is done: everything appended, up to `last`, is committed and released.
    Drained {
        /// The end of the history.
        last: Point,
    },
    /// This node must not lead any more: it found something wrong with itself.
    Halt,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Read the register and the other node's lease, linearizably; answer with [`Input::Read`].
    Read,
    /// Put `to` in the place of exactly `expect`; answer with [`Input::Swapped`].
    Swap {
        /// The whole old value; `None` when there must be none.
        expect: Option<Register>,
        /// The new one.
        to: Register,
    },
    /// Hold this node's lease, from now on.
    HoldLease,
    /// Give this node's lease back.
    DropLease,
    /// Acknowledge nothing below `epoch` from this moment on, make everything appended durable, then the promise; answer
    /// with [`Input::Promised`] or [`Input::PromiseRefused`].
    Promise(u64),
    /// Ask the peer for its frames behind this point and append them; then say [`Input::LinkUp`] again.
    Pull {
        /// The end of our history.
        from: Point,
    },
    /// Become primary: execute everything, begin the epoch with an empty frame, commit by `rule`; answer with
    /// [`Input::Ready`]. Do not open yet.
    Lead {
        /// What the register holds.
        register: Register,
        /// How to commit.
        rule: CommitRule,
    },
    /// Let members in, and serve reads.
    Open,
    /// Take this epoch, without stopping: begin it with an empty frame, and announce it to the standby. What was
    /// acknowledged before does not count in it.
    BeginEpoch(Register),
    /// Commit by this rule from now on; answer with [`Input::InForce`].
    Commit(CommitRule),
    /// Take no more orders, and wait until everything is committed and released; answer with [`Input::Drained`].
    Drain,
    /// Tell the standby that it is its turn: nothing more is released in this epoch.
    HandOver {
        /// The epoch.
        epoch: u64,
        /// The end of the history.
        last: Point,
    },
    /// Stop: release nothing, drop everything in memory, begin again with recovery. The last action of this life.
    StepDown(StepDown),
    /// Set the tail behind this point aside, and begin again with recovery. The last action of this life.
    CutBack(Point),
    /// Somebody should look.
    Alarm(Alarm),
    /// What became of an order that could not be answered at once.
    Report(Result<String, String>),
}

/// Why a primary stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepDown {
    /// The register names the other node.
    Superseded(Register),
    /// The other node leads in a higher epoch.
    PeerLeads(u64),
    /// It has handed over.
    HandedOver,
    /// An operator said so.
    Demoted,
}

/// What somebody should look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alarm {
    /// The standby is lost: a strict primary commits nothing.
    StandbyLost,
    /// This node acknowledges by itself.
    ByItself,
    /// The register cannot be reached: no promotion is possible, nothing else is hurt.
    RegisterUnreachable,
    /// The register is gone, or is older than it was: restored from a backup?
    RegisterLost,
    /// The register's primary has forgotten what its standby must hold: was a disk replaced?
    HistoryMissing,
    /// A member of the in-sync set was asked to cut its history back.
    CutOfMember,
    /// The two journals are not one history.
    Diverged,
    /// This node has found something wrong with itself and stands still.
    Halted,
}

/// Why an order is refused. The text says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct OrderRefused(pub String);

/// What a node is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It does not lead.
    Standby,
    /// It wants to lead and is asking.
    Asking,
    /// It leads.
    Primary,
    /// Its life is over.
    Ended,
}

/// What a node tells about itself.
#[derive(Clone, Debug)]
pub struct Status {
    /// What it is doing.
    pub standing: Standing,
    /// The newest register it knows.
    pub register: Option<Register>,
    /// The highest epoch it has promised.
    pub promised: u64,
    /// How it commits, if it leads.
    pub rule: Option<CommitRule>,
    /// Members are let in.
    pub open: bool,
    /// What somebody should look at.
    pub alarms: Vec<Alarm>,
    /// What it waits for, in words; empty when for nothing.
    pub waits: &'static str,
}
