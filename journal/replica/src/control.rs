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
    /// Nothing, but time went by: say so every 10 ms or so.
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
        /// When this node last acknowledged anything ([`crate::standby::Link::acked_at`]): no permission to release runs
        /// from later.
        acked_at: Option<Nanos>,
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
    /// Let members in, and serve reads; also again, after a drain that came to nothing.
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
    /// An operator said so: the next life begins with [`Start::stands`].
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
    /// The journal lacks what the register says this node holds: was the disk replaced, or an old copy put back?
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

/// Who leads; see the [module](self).
#[derive(Debug)]
pub struct Control {
    config: Config,
    role: Role,
    promised: u64,
    /// The end of the history on this disk.
    last: Point,
    /// Everything committed was on this disk at some moment of this life at which it was in sync.
    holds_commit: bool,
    halted: bool,
    stands: bool,
    may_rejoin: bool,
    view: View,
    swap: Option<Swap>,
    /// What was asked for and not answered yet: one at a time, so that no answer is taken for another's.
    asked: Option<Register>,
    /// Swaps of unknown outcome, from the same old value, that another took the place of: they may still be done.
    stray: Vec<Register>,
    peer: Option<Peer>,
    /// The highest epoch that the other node is known to have promised.
    peer_promised: u64,
    pulling: bool,
    heard_at: Nanos,
    acked_at: Nanos,
    cut: Option<(u64, Point)>,
    handed_over: Option<(u64, Point)>,
    /// Nothing is tried before this.
    patience: Nanos,
    waits: &'static str,
    alarms: Vec<Alarm>,
    actions: VecDeque<Action>,
}

/// What is known of the register.
#[derive(Debug, Default)]
struct View {
    /// The newest value.
    register: Option<Register>,
    /// When the newest read that was answered had been asked for.
    asked_at: Option<Nanos>,
    /// A read is under way, asked for at this time.
    reading: Option<Nanos>,
    /// The last read found none.
    absent: bool,
    /// Reads in a row that found an older value than is known.
    older: u32,
    peer_lease: bool,
    /// The register could not be reached, and is not asked again before this.
    not_before: Nanos,
}

#[derive(Debug)]
enum Role {
    /// Does not lead.
    Standby(Option<Wish>),
    /// Wants to lead, and is making its promise durable.
    Promising {
        epoch: u64,
        wish: Wish,
    },
    /// Wants to lead, and has asked the register.
    Swapping(Wish),
    Primary(Box<Lead>),
    Ended,
}

/// A reason to lead.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wish {
    why: Why,
    /// What is read of the register must be asked for later.
    since: Nanos,
    reason: String,
    approver: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// The register names this node, which has started again.
    Restart,
    /// The same, and an operator wants it to go on without its standby.
    RestartSolo,
    Bootstrap,
    /// The primary is silent.
    Silence,
    Order,
    HandOver,
}

impl Why {
    /// Somebody waits to hear what became of it.
    fn is_ordered(self) -> bool {
        matches!(self, Self::Order | Self::Bootstrap | Self::RestartSolo)
    }
}

/// A swap that was asked for.
#[derive(Debug)]
struct Swap {
    expect: Option<Register>,
    to: Register,
    /// It is asked for at this time: its outcome was unknown, or it was not asked for yet.
    again_at: Option<Nanos>,
}

#[derive(Debug)]
struct Lead {
    register: Register,
    ready: bool,
    open: bool,
    /// Who led before may release until then.
    not_before: Nanos,
    rule: CommitRule,
    /// The rule that the driver said is in force, and what was committed then.
    in_force: Option<(CommitRule, Seq)>,
    /// What the standby's disk holds, as it acknowledged in this epoch, and whether it is fed from memory.
    standby: Option<(Point, bool)>,
    /// When the standby acknowledged last, in whatever epoch.
    acked_at: Nanos,
    joining: bool,
    /// Go on without the standby: reason and approver.
    leaving: Option<(String, String)>,
    /// The standby has promised more; since when that is known.
    outbid_at: Option<Nanos>,
    handover: Handover,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handover {
    None,
    Draining {
        since: Nanos,
    },
    /// Drained; nothing is committed from here on.
    Holding {
        since: Nanos,
        last: Point,
    },
    Done {
        since: Nanos,
    },
}

impl Control {
    /// A node whose life begins `now`.
    #[must_use]
    pub fn new(config: Config, start: Start, now: Nanos) -> Self {
        Self {
            config,
            role: Role::Standby(None),
            promised: start.promised,
            last: start.last,
            holds_commit: false,
            halted: false,
            stands: start.stands,
            may_rejoin: config.rejoins_by_itself,
            view: View::default(),
            swap: None,
            asked: None,
            stray: Vec::new(),
            peer: None,
            peer_promised: 0,
            pulling: false,
            heard_at: now,
            // An earlier life may have acknowledged up to now.
            acked_at: now,
            cut: None,
            handed_over: None,
            patience: now,
            waits: "",
            alarms: Vec::new(),
            actions: VecDeque::new(),
        }
    }

    /// The next thing to do, in order.
    pub fn action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Takes note of what happened.
    pub fn input(&mut self, input: Input, now: Nanos) {
        if matches!(self.role, Role::Ended) {
            return;
        }
        self.note(input, now);
        self.step(now);
    }

    /// What an operator orders. `Ok` when it was taken; what becomes of it is seen in [`status`](Self::status) and said by
    /// [`Action::Report`].
    ///
    /// # Errors
    /// [`OrderRefused`], with nothing changed.
    pub fn order(&mut self, order: Order, now: Nanos) -> Result<(), OrderRefused> {
        let taken = match &mut self.role {
            Role::Ended => Err("the node is starting again: try once more"),
            Role::Primary(lead) => Self::order_primary(lead, self.peer, order, now),
            Role::Standby(wish) if wish.as_ref().is_none_or(|wish| wish.why != Why::HandOver) => {
                return self.order_standby(order, now);
            }
            _ => Err("the node is being promoted already"),
        };
        match taken {
            Ok(Taken::Noted) => {}
            Ok(Taken::Rejoin) => self.may_rejoin = true,
            Ok(Taken::Drain) => self.actions.push_back(Action::Drain),
            Ok(Taken::Demote) => self.step_down(StepDown::Demoted),
            Err(why) => return Err(OrderRefused(why.into())),
        }
        self.step(now);
        Ok(())
    }

    fn order_primary(
        lead: &mut Lead,
        peer: Option<Peer>,
        order: Order,
        now: Nanos,
    ) -> Result<Taken, &'static str> {
        let is_pair = lead.register.in_sync == InSync::Both;
        match order {
            Order::Bootstrap { .. } | Order::Promote { .. } => Err("this node leads already"),
            Order::Demote => Ok(Taken::Demote),
            Order::Rejoin => Ok(Taken::Rejoin),
            Order::Solo { .. } if !is_pair => Err("this node goes on by itself already"),
            Order::Solo { reason, approver } => {
                lead.leaving = Some((reason, approver));
                Ok(Taken::Noted)
            }
            Order::Switchover { .. } if !is_pair => Err(
                "the other node is not in sync: it must join first (`ironbell ctl status` says how far it is)",
            ),
            Order::Switchover { .. } if !lead.open || lead.handover != Handover::None => {
                Err("this node is not open, or is handing over already")
            }
            Order::Switchover { .. } if peer.is_none() || lead.standby.is_none_or(|(_, live)| !live) => {
                Err("the standby is not there, or is behind")
            }
            Order::Switchover { .. } => {
                lead.handover = Handover::Draining { since: now };
                Ok(Taken::Drain)
            }
        }
    }

    fn order_standby(&mut self, order: Order, now: Nanos) -> Result<(), OrderRefused> {
        let refuse = |why: &str| Err(OrderRefused(why.into()));
        let leads_by_register = self.view.register.as_ref().is_some_and(|r| r.primary == self.config.node);
        let wish = |why, reason: String, approver: String| Wish { why, since: now, reason, approver };
        let wish = match order {
            Order::Demote => return refuse("this node does not lead"),
            Order::Switchover { .. } => return refuse("this node does not lead: say it to the primary"),
            Order::Rejoin => {
                self.may_rejoin = true;
                self.step(now);
                return Ok(());
            }
            Order::Bootstrap { approver } => wish(Why::Bootstrap, "bootstrap".into(), approver),
            Order::Promote { .. } if leads_by_register && self.stands => {
                self.stands = false;
                let done = "this node may lead again: if the register still names it, it does as soon as it has found its standby";
                self.actions.push_back(Action::Report(Ok(done.into())));
                self.step(now);
                return Ok(());
            }
            Order::Promote { .. } if leads_by_register => {
                return refuse(
                    "the register names this node already: it leads as soon as it has found its standby",
                );
            }
            Order::Promote { reason, approver } => wish(Why::Order, reason, approver),
            Order::Solo { .. } if !leads_by_register => {
                return refuse("this node does not lead: promote it, or say it to the primary");
            }
            Order::Solo { reason, approver } => wish(Why::RestartSolo, reason, approver),
        };
        if self.halted {
            return refuse("this node has halted with an alarm: it must not lead");
        }
        self.role = Role::Standby(Some(wish));
        self.step(now);
        Ok(())
    }

    /// What this node is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        let (standing, rule, open) = match &self.role {
            Role::Standby(_) => (Standing::Standby, None, false),
            Role::Promising { .. } | Role::Swapping(_) => (Standing::Asking, None, false),
            Role::Primary(lead) => (Standing::Primary, Some(lead.rule), lead.open),
            Role::Ended => (Standing::Ended, None, false),
        };
        let register = self.view.register.clone();
        let (promised, alarms, waits) = (self.promised, self.alarms.clone(), self.waits);
        Status { standing, register, promised, rule, open, alarms, waits }
    }

    fn note(&mut self, input: Input, now: Nanos) {
        match input {
            Input::Tick => {}
            Input::Read(seen) => self.read(seen, now),
            Input::Swapped(outcome) => self.swapped(outcome, now),
            Input::Promised { epoch, last, acked_at } => {
                self.promised = self.promised.max(epoch);
                self.last = last;
                self.acked_at = self.acked_at.max(acked_at.unwrap_or(Nanos(0)));
                if matches!(self.role, Role::Promising { epoch: asked, .. } if asked == epoch) {
                    self.ask(now);
                }
            }
            Input::PromiseRefused { promised } => {
                self.promised = self.promised.max(promised);
                if matches!(self.role, Role::Promising { .. }) {
                    self.give_up("a higher epoch was promised meanwhile", now);
                }
            }
            Input::LinkUp(peer) => {
                self.pulling = false;
                self.peer = Some(peer);
                self.peer_promised = self.peer_promised.max(peer.promised);
                self.alarm(Alarm::Diverged, matches!(peer.relation, Relation::Diverged { .. }));
                match (&mut self.role, peer.leading) {
                    (Role::Primary(lead), Some(epoch)) if epoch > lead.register.epoch => {
                        self.step_down(StepDown::PeerLeads(epoch));
                    }
                    (Role::Primary(lead), _) => lead.outbid(peer.promised, now),
                    _ => {}
                }
            }
            Input::LinkDown => {
                self.pulling = false;
                self.peer = None;
                if let Role::Primary(lead) = &mut self.role {
                    lead.standby = None;
                }
            }
            Input::Heard { at, holds_commit } => {
                self.heard_at = self.heard_at.max(at);
                self.holds_commit |= holds_commit;
            }
            Input::Acked { epoch, durable, live } => {
                if let Role::Primary(lead) = &mut self.role
                    && lead.register.epoch == epoch
                {
                    lead.standby = Some((durable, live));
                    lead.acked_at = now;
                    lead.outbid_at = None;
                }
            }
            Input::Durable(point) => self.last = point,
            Input::PeerRefused { promised } => {
                self.peer_promised = self.peer_promised.max(promised);
                if let Role::Primary(lead) = &mut self.role {
                    lead.outbid(promised, now);
                }
            }
            Input::NeedsCut { epoch, to } => {
                if matches!(self.role, Role::Standby(_)) {
                    self.cut = Some((epoch, to));
                }
            }
            Input::HandedOver { epoch, last } => self.handed_over = Some((epoch, last)),
            Input::Ready { epoch } => {
                if let Role::Primary(lead) = &mut self.role
                    && lead.register.epoch == epoch
                {
                    lead.ready = true;
                    lead.acked_at = lead.acked_at.max(now);
                }
            }
            Input::InForce { rule, commit } => {
                if let Role::Primary(lead) = &mut self.role {
                    lead.in_force = Some((rule, commit));
                }
            }
            Input::Drained { last } => {
                if let Role::Primary(lead) = &mut self.role
                    && let Handover::Draining { since } = lead.handover
                {
                    lead.handover = Handover::Holding { since, last };
                }
            }
            Input::Halt => {
                self.halted = true;
                self.alarm(Alarm::Halted, true);
            }
        }
    }

    // The register.

    fn read(&mut self, seen: Option<Seen>, now: Nanos) {
        let asked_at = self.view.reading.take();
        self.alarm(Alarm::RegisterUnreachable, seen.is_none());
        let Some(seen) = seen else {
            self.view.not_before = Nanos(now.0 + self.config.retry.0);
            return;
        };
        self.view.asked_at = asked_at.or(self.view.asked_at);
        self.view.peer_lease = seen.peer_lease;
        self.see(seen.register, now);
    }

    /// The register held this a moment ago, or some time ago: older values than one that is known say nothing.
    fn see(&mut self, register: Option<Register>, now: Nanos) {
        self.view.absent = register.is_none();
        let is_newer = match (&register, &self.view.register) {
            (Some(seen), Some(known)) => seen.epoch >= known.epoch,
            (Some(_), None) => true,
            (None, _) => false,
        };
        self.view.older = if is_newer || self.view.register.is_none() { 0 } else { self.view.older + 1 };
        self.alarm(Alarm::RegisterLost, self.view.older >= 3);
        if is_newer {
            self.view.register = register;
        }
        let Some(known) = self.view.register.clone() else { return };
        if self.swap.as_ref().is_some_and(|swap| swap.to == known) {
            self.swap = None;
            self.adopt(known, now);
        } else if let Role::Primary(lead) = &self.role
            && known.epoch > lead.register.epoch
        {
            self.swap = None;
            if known.primary == self.config.node {
                // One of the strays was done.
                self.adopt(known, now);
            } else {
                self.step_down(StepDown::Superseded(known));
            }
        } else if let Some(swap) = &self.swap
            && swap.again_at.is_some()
            && swap.expect.as_ref().is_none_or(|expected| expected.epoch < known.epoch)
        {
            // It was not done, and never will be.
            self.swap_failed(now);
        }
    }

    fn swapped(&mut self, outcome: Swapped, now: Nanos) {
        let Some(asked) = self.asked.take() else { return };
        let again_at = Nanos(now.0 + self.config.retry.0);
        let mut current = self.swap.as_mut().filter(|swap| swap.to == asked);
        match outcome {
            Swapped::Done => self.see(Some(asked), now),
            Swapped::Refused(found) if current.as_ref().is_none_or(|swap| found != swap.expect) => {
                let is_current = current.is_some();
                let is_gone = found.is_none();
                self.see(found, now);
                if is_gone {
                    self.view.older = self.view.older.max(3);
                    self.alarm(Alarm::RegisterLost, true);
                }
                if is_current && self.swap.is_some() {
                    self.swap_failed(now);
                }
            }
            // Refused, and yet it holds what was expected: an answer that cannot be, so nothing is known.
            Swapped::Unknown | Swapped::Refused(_) => {
                if let Some(swap) = &mut current {
                    swap.again_at = Some(again_at);
                }
            }
        }
    }

    fn swap_failed(&mut self, now: Nanos) {
        self.swap = None;
        match &mut self.role {
            Role::Swapping(_) => self.give_up("the register holds something else by now", now),
            Role::Primary(lead) => {
                lead.joining = false;
                self.patience = Nanos(now.0 + self.config.retry.0);
            }
            _ => {}
        }
    }

    fn swap(&mut self, expect: Option<Register>, to: Register, now: Nanos) {
        assert!(self.swap.is_none(), "one swap at a time");
        assert!(expect.as_ref().is_none_or(|old| old.epoch < to.epoch), "every change takes a higher epoch");
        self.swap = Some(Swap { expect, to, again_at: Some(now) });
        self.ask_again(now);
    }

    /// Above every epoch that this node knows anybody to have promised or asked for.
    fn next_epoch(&self) -> u64 {
        let known = self.view.register.as_ref().map_or(0, |register| register.epoch);
        let asked = self.stray.iter().chain(self.swap.as_ref().map(|swap| &swap.to));
        let asked = asked.map(|register| register.epoch).max().unwrap_or(0);
        known.max(self.peer_promised).max(asked).max(self.promised) + 1
    }

    // On a node that does not lead.

    fn step(&mut self, now: Nanos) {
        match &self.role {
            Role::Ended => return,
            Role::Standby(_) => self.stand(now),
            Role::Promising { .. } => {}
            Role::Swapping(_) => self.ask_again(now),
            Role::Primary(_) => {
                self.ask_again(now);
                self.lead(now);
            }
        }
        self.read_when_due(now);
    }

    fn stand(&mut self, now: Nanos) {
        self.waits = "";
        self.consider_cut();
        let Role::Standby(wish) = &mut self.role else { return };
        if self.halted {
            self.waits = "an operator: this node has halted with an alarm";
            return;
        }
        let wish = match wish.take() {
            Some(wish) => wish,
            None => match self.wish(now) {
                Some(wish) => wish,
                None => return,
            },
        };
        // What is decided here hangs on a read that was asked for after the wish came up.
        let is_fresh = self.view.asked_at.is_some_and(|asked_at| asked_at >= wish.since);
        if !is_fresh || now < self.patience {
            self.role = Role::Standby(Some(wish));
            self.waits = "the register";
            return;
        }
        match self.may_lead(&wish, now) {
            Ok(()) => {
                let epoch = self.next_epoch();
                self.actions.push_back(Action::Promise(epoch));
                self.role = Role::Promising { epoch, wish };
            }
            Err(NotNow::Wait(why)) => {
                self.waits = why;
                self.role = Role::Standby(Some(Wish { since: now, ..wish }));
                // Read again, but not at once.
                self.patience = Nanos(now.0 + self.config.retry.0);
            }
            Err(NotNow::Never(why)) => {
                self.role = Role::Standby(None);
                self.waits = why;
                if wish.why.is_ordered() {
                    self.actions.push_back(Action::Report(Err(why.into())));
                }
            }
        }
    }

    /// A reason to lead that nobody had to give.
    fn wish(&self, now: Nanos) -> Option<Wish> {
        let register = self.view.register.as_ref()?;
        let wish = |why, reason: &str| {
            Some(Wish { why, since: now, reason: reason.into(), approver: String::new() })
        };
        if register.primary == self.config.node {
            return if self.stands { None } else { wish(Why::Restart, "restart") };
        }
        if let Some((epoch, last)) = self.handed_over
            && epoch >= register.epoch
            && self.last == last
        {
            return wish(Why::HandOver, "switchover");
        }
        if self.is_silent(now) && self.may_be_promoted(register).is_ok() {
            return wish(Why::Silence, "takeover");
        }
        None
    }

    fn is_silent(&self, now: Nanos) -> bool {
        let is_still = now.0.saturating_sub(self.heard_at.0) >= self.config.grace.0;
        let silence_is_enough = self.config.silence_is_enough && self.config.ack == AckPolicy::BothDurable;
        is_still && (silence_is_enough || !self.view.peer_lease)
    }

    fn may_be_promoted(&self, register: &Register) -> Result<(), &'static str> {
        if register.in_sync != InSync::Both {
            return Err("this node is not in sync: who leads acknowledged things that it does not have");
        }
        if self.last.frames < register.start.frames {
            return Err("this node's journal lacks what the register says it holds: was its disk replaced?");
        }
        if register.ack != AckPolicy::BothDurable && !self.holds_commit {
            return Err(
                "this node acknowledged from memory, and has started again since: it must catch up first",
            );
        }
        Ok(())
    }

    fn may_lead(&mut self, wish: &Wish, now: Nanos) -> Result<(), NotNow> {
        let me = self.config.node;
        let Some(register) = self.view.register.clone().filter(|_| !self.view.absent) else {
            if wish.why != Why::Bootstrap {
                return Err(NotNow::Wait(
                    "a register: `ironbell ctl bootstrap` on the node that is to lead makes it",
                ));
            }
            if matches!(self.peer, Some(Peer { relation: Relation::Ahead | Relation::Parted(_), .. })) {
                return Err(NotNow::Never("the other node has more in its journal: bootstrap that one"));
            }
            return Ok(());
        };
        match wish.why {
            Why::Bootstrap => {
                Err(NotNow::Never("the register is there already: this pair was bootstrapped before"))
            }
            Why::Restart | Why::RestartSolo if register.primary != me => {
                Err(NotNow::Never("the register names the other node by now"))
            }
            Why::Restart if register.in_sync == InSync::Both => self.may_lead_pair_again(&register),
            Why::RestartSolo if register.in_sync != InSync::Both => {
                Err(NotNow::Never("this node goes on by itself already"))
            }
            Why::RestartSolo if register.ack == AckPolicy::DurableReceived => Err(NotNow::Never(
                "the standby may hold what this node acknowledged and had not on its disk: start the standby first",
            )),
            Why::Restart | Why::RestartSolo => self.holds_start(&register),
            Why::Silence if !self.is_silent(now) => Err(NotNow::Never("the primary was heard again")),
            Why::HandOver if self.handed_over.is_none_or(|(epoch, _)| epoch != register.epoch) => {
                Err(NotNow::Never("who handed over has taken it back"))
            }
            _ if register.primary == me => Err(NotNow::Never("the register names this node already")),
            _ => {
                let may = self.may_be_promoted(&register).map_err(NotNow::Never);
                let is_missing = register.in_sync.contains(me) && self.last.frames < register.start.frames;
                self.alarm(Alarm::HistoryMissing, is_missing);
                may
            }
        }
    }

    fn holds_start(&mut self, register: &Register) -> Result<(), NotNow> {
        let is_missing = self.last.frames < register.start.frames;
        self.alarm(Alarm::HistoryMissing, is_missing);
        if is_missing {
            return Err(NotNow::Wait(
                "an operator: this node's journal lacks what the register says it holds: was its disk replaced?",
            ));
        }
        Ok(())
    }

    /// The primary of a pair that has started again: its standby may have more than it has.
    fn may_lead_pair_again(&mut self, register: &Register) -> Result<(), NotNow> {
        if self.config.ack == AckPolicy::Local {
            return Err(NotNow::Wait(
                "an operator: the register says pair, and this node is told `ack = \"local\"`",
            ));
        }
        let Some(peer) = self.peer else {
            return Err(NotNow::Wait(
                "the standby: it may have more than this node (or `ironbell ctl solo`)",
            ));
        };
        match peer.relation {
            _ if peer.leading.is_some() => Err(NotNow::Wait("the register: the other node leads")),
            Relation::Same | Relation::Behind => self.holds_start(register),
            Relation::Ahead => {
                if !self.pulling {
                    self.pulling = true;
                    self.actions.push_back(Action::Pull { from: self.last });
                }
                Err(NotNow::Wait("the rest of the standby's journal"))
            }
            Relation::Parted(_) | Relation::Diverged { .. } | Relation::NoCommonPoint => {
                self.alarm(Alarm::Diverged, true);
                Err(NotNow::Wait("an operator: the standby's journal is not what this node sent it"))
            }
        }
    }

    /// The promise is durable: asks to lead.
    fn ask(&mut self, now: Nanos) {
        let Role::Promising { epoch, wish } = std::mem::replace(&mut self.role, Role::Standby(None)) else {
            unreachable!("only who promises asks")
        };
        if let Err(NotNow::Wait(why) | NotNow::Never(why)) = self.may_lead(&wish, now) {
            self.role = Role::Swapping(wish);
            self.give_up(why, now);
            return;
        }
        let me = self.config.node;
        let old = self.view.register.clone().filter(|_| !self.view.absent);
        let (in_sync, mode, start) = match (&old, wish.why) {
            (Some(old), Why::Restart) => {
                // What both nodes hold is no less than it was.
                let start = if old.in_sync == InSync::Both { old.start } else { self.last };
                (old.in_sync, old.mode, start)
            }
            (_, Why::RestartSolo) => (InSync::Only(me), Mode::Solo, self.last),
            _ => (InSync::Only(me), Mode::Alone, self.last),
        };
        // Where a member of the set acknowledged from memory, it may still lack something: that it does not is known when
        // it joins, not when the primary is told otherwise and starts again.
        let ack = match &old {
            Some(old) if in_sync == InSync::Both && old.ack == AckPolicy::DurableReceived => old.ack,
            _ => self.config.ack,
        };
        let (reason, approver) = (wish.reason.clone(), wish.approver.clone());
        let to = Register { epoch, primary: me, in_sync, mode, ack, reason, approver, start };
        self.role = Role::Swapping(wish);
        self.swap(old, to, now);
    }

    fn give_up(&mut self, why: &'static str, now: Nanos) {
        let role = std::mem::replace(&mut self.role, Role::Standby(None));
        if let Role::Promising { wish, .. } | Role::Swapping(wish) = role
            && wish.why.is_ordered()
        {
            self.actions.push_back(Action::Report(Err(why.into())));
        }
        self.patience = Nanos(now.0 + self.config.retry.0);
    }

    /// Whether the tail may go: only that of a node which the register, in the very epoch that asks for it, does not count on.
    fn consider_cut(&mut self) {
        let (Some((epoch, to)), Some(register)) = (self.cut, &self.view.register) else { return };
        if register.epoch < epoch {
            self.waits = "the register";
        } else if register.epoch > epoch {
            // Who asked leads no more in that epoch, and will ask again.
            self.cut = None;
        } else if register.in_sync.contains(self.config.node) {
            self.cut = None;
            self.halted = true;
            self.alarm(Alarm::CutOfMember, true);
        } else if self.may_rejoin {
            self.actions.push_back(Action::CutBack(to));
            self.role = Role::Ended;
        } else {
            self.waits = "an operator: `ironbell ctl rejoin` sets aside what was never acknowledged";
        }
    }

    // On a primary.

    /// The register holds `register`, which names this node.
    fn adopt(&mut self, register: Register, now: Nanos) {
        self.stray.clear();
        self.promised = self.promised.max(register.epoch);
        match std::mem::replace(&mut self.role, Role::Standby(None)) {
            Role::Swapping(wish) => {
                let not_before = if wish.why == Why::HandOver { now } else { self.permission_over() };
                let rule = Self::rule_of(register.in_sync);
                self.actions.push_back(Action::HoldLease);
                self.actions.push_back(Action::Lead { register: register.clone(), rule });
                if wish.why.is_ordered() {
                    let done = format!("this node leads in epoch {}", register.epoch);
                    self.actions.push_back(Action::Report(Ok(done)));
                }
                self.role = Role::Primary(Box::new(Lead {
                    register,
                    ready: false,
                    open: false,
                    not_before,
                    rule,
                    in_force: None,
                    standby: None,
                    acked_at: now,
                    joining: false,
                    leaving: None,
                    outbid_at: None,
                    handover: Handover::None,
                }));
            }
            Role::Primary(mut lead) => {
                self.actions.push_back(Action::BeginEpoch(register.clone()));
                if let Some((_, approver)) = lead.leaving.take_if(|_| register.mode == Mode::Solo) {
                    let by = if approver.is_empty() { "nobody" } else { &approver };
                    let done = format!("solo in epoch {}, approved by {by}", register.epoch);
                    self.actions.push_back(Action::Report(Ok(done)));
                }
                lead.register = register;
                lead.standby = None;
                lead.joining = false;
                lead.outbid_at = None;
                if let Handover::Done { .. } = lead.handover {
                    lead.handover = Handover::None;
                    self.actions.push_back(Action::Open);
                    self.actions.push_back(Action::Report(Err("the standby did not take over".into())));
                    self.actions.push_back(Action::HoldLease);
                }
                self.role = Role::Primary(lead);
            }
            // A swap that this life had given up: it leads by the register, and asks anew.
            role => self.role = role,
        }
    }

    fn rule_of(in_sync: InSync) -> CommitRule {
        match in_sync {
            InSync::Only(_) => CommitRule::Alone,
            InSync::Both => CommitRule::Pair,
        }
    }

    /// From then on, by this node's clock, nobody releases by an acknowledgement that it gave.
    fn permission_over(&self) -> Nanos {
        let permission = self.config.permission.0;
        // Each of the two clocks may be wrong by so much.
        let drift =
            (u128::from(permission) * 2 * u128::from(self.config.drift_ppm)).div_ceil(1_000_000) as u64;
        Nanos(self.acked_at.0 + permission + drift + 1)
    }

    fn ask_again(&mut self, now: Nanos) {
        if let Some(swap) = &mut self.swap
            && self.asked.is_none()
            && swap.again_at.is_some_and(|again_at| again_at <= now)
        {
            swap.again_at = None;
            self.asked = Some(swap.to.clone());
            self.actions.push_back(Action::Swap { expect: swap.expect.clone(), to: swap.to.clone() });
        }
    }

    fn lead(&mut self, now: Nanos) {
        self.waits = "";
        self.hand_over(now);
        self.change_set(now);
        let Role::Primary(lead) = &mut self.role else { return };
        let rule = lead.rule(self.swap.as_ref().map(|swap| &swap.to), &self.stray);
        if rule != lead.rule {
            lead.rule = rule;
            lead.in_force = None;
            self.actions.push_back(Action::Commit(rule));
        }
        let by_itself = lead.register.in_sync != InSync::Both;
        let stands = self.config.after_takeover == AfterTakeover::Wait && lead.register.mode == Mode::Alone;
        if lead.ready && !lead.open {
            if now < lead.not_before {
                self.waits = "the permission of who led before to run out";
            } else if stands {
                self.waits = "the other node, as `after_takeover` says";
            } else {
                lead.open = true;
                self.actions.push_back(Action::Open);
            }
        }
        let is_lost = !by_itself && now.0.saturating_sub(lead.acked_at.0) >= self.config.grace.0;
        let has_policy = self.config.ack != AckPolicy::Local;
        if is_lost {
            self.waits = "the standby: nothing is committed without it";
        }
        self.alarm(Alarm::ByItself, by_itself && has_policy);
        self.alarm(Alarm::StandbyLost, is_lost);
    }

    fn hand_over(&mut self, now: Nanos) {
        let Role::Primary(lead) = &mut self.role else { return };
        match lead.handover {
            Handover::None | Handover::Done { .. } => {}
            Handover::Draining { since } | Handover::Holding { since, .. }
                if now.0.saturating_sub(since.0) >= self.config.handover.0 || lead.standby.is_none() =>
            {
                // Nothing was handed over yet.
                lead.handover = Handover::None;
                self.actions.push_back(Action::Open);
                self.actions
                    .push_back(Action::Report(Err("the standby was lost, or the drain did not end".into())));
            }
            Handover::Draining { .. } => {}
            Handover::Holding { last, .. } => {
                if lead.in_force.is_some_and(|(rule, _)| rule == CommitRule::Hold) {
                    let epoch = lead.register.epoch;
                    lead.handover = Handover::Done { since: now };
                    self.actions.push_back(Action::DropLease);
                    self.actions.push_back(Action::HandOver { epoch, last });
                }
            }
        }
    }

    /// Changes the in-sync set, or the epoch, when there is reason to and everything is ready for it.
    fn change_set(&mut self, now: Nanos) {
        let me = self.config.node;
        let next_epoch = self.next_epoch();
        let Role::Primary(lead) = &mut self.role else { return };
        if !lead.ready {
            return;
        }
        let is_pair = lead.register.in_sync == InSync::Both;
        if let SoloPolicy::After(after) = self.config.solo
            && is_pair
            && lead.leaving.is_none()
            && now.0.saturating_sub(lead.acked_at.0) >= after.0
        {
            lead.leaving = Some(("the standby was lost".into(), "policy".into()));
        }
        if let Some(swap) = &self.swap {
            let is_join = !is_pair && swap.to.in_sync == InSync::Both;
            // The other is gone again while nobody knows whether it is in. Another swap settles it: one of them is done.
            if is_join && swap.again_at.is_some() && lead.standby.is_none() {
                let swap = self.swap.take().expect("there is one");
                self.stray.push(swap.to);
                let register = Register {
                    epoch: next_epoch,
                    reason: "the other node was lost while it joined".into(),
                    approver: String::new(),
                    start: self.last,
                    ..lead.register.clone()
                };
                lead.joining = false;
                self.swap(swap.expect, register, now);
            }
            return;
        }
        let handed_over_in_vain = matches!(lead.handover, Handover::Done { since }
            if now.0.saturating_sub(since.0) >= self.config.handover.0);
        let is_outbid =
            lead.outbid_at.is_some_and(|since| now.0.saturating_sub(since.0) >= self.config.grace.0);
        if now < self.patience || (lead.handover != Handover::None && !handed_over_in_vain) {
            return;
        }
        let old = lead.register.clone();
        let joint = lead.in_force.filter(|(rule, _)| *rule == CommitRule::Joint).map(|(_, commit)| commit);
        if handed_over_in_vain || is_outbid {
            let reason = "the standby has promised a higher epoch".into();
            let to = Register { epoch: next_epoch, reason, approver: String::new(), ..old.clone() };
            self.swap(Some(old), to, now);
        } else if let Some((reason, approver)) = lead.leaving.clone().filter(|_| is_pair) {
            // What was committed by both is all on this disk before it alone counts.
            if joint.is_some_and(|commit| commit <= self.last.seq) {
                let (in_sync, mode, start) = (InSync::Only(me), Mode::Solo, self.last);
                let to =
                    Register { epoch: next_epoch, in_sync, mode, reason, approver, start, ..old.clone() };
                self.swap(Some(old), to, now);
            }
        } else if !is_pair && self.config.ack != AckPolicy::Local && self.may_rejoin {
            let Some((durable, live)) = lead.standby else {
                lead.joining = false;
                return;
            };
            lead.joining |= live;
            // What was committed by this node alone is all on the other's disk before both count.
            if lead.joining && joint.is_some_and(|commit| commit <= durable.seq) {
                let start = if durable.frames < self.last.frames { durable } else { self.last };
                let to = Register {
                    epoch: next_epoch,
                    primary: me,
                    in_sync: InSync::Both,
                    mode: Mode::Pair,
                    ack: self.config.ack,
                    reason: "joined".into(),
                    approver: String::new(),
                    start,
                };
                self.swap(Some(old), to, now);
            }
        }
    }

    fn step_down(&mut self, why: StepDown) {
        let Role::Primary(lead) = &self.role else { return };
        let why = match (why, lead.handover) {
            (StepDown::Superseded(_) | StepDown::PeerLeads(_), Handover::Done { .. }) => StepDown::HandedOver,
            (why, _) => why,
        };
        self.actions.push_back(Action::Commit(CommitRule::Hold));
        self.actions.push_back(Action::DropLease);
        if why == StepDown::HandedOver {
            self.actions.push_back(Action::Report(Ok("the standby has taken over".into())));
        }
        self.actions.push_back(Action::StepDown(why));
        self.role = Role::Ended;
    }

    fn read_when_due(&mut self, now: Nanos) {
        let waits = match &self.role {
            Role::Ended => return,
            Role::Standby(wish) => wish.is_some() || self.cut.is_some() || self.view.register.is_none(),
            Role::Promising { .. } | Role::Swapping(_) => false,
            Role::Primary(lead) => matches!(lead.handover, Handover::Done { .. }),
        };
        let in_doubt = self.swap.as_ref().is_some_and(|swap| swap.again_at.is_some());
        let pause = if waits || in_doubt { self.config.retry } else { self.config.read_every };
        // A wish is not kept waiting for a pause.
        let wanted = matches!(&self.role, Role::Standby(Some(wish))
            if self.view.asked_at.is_none_or(|asked_at| asked_at < wish.since) && now >= self.patience);
        let is_due = wanted || self.view.asked_at.is_none_or(|asked_at| now.0 >= asked_at.0 + pause.0);
        if self.view.reading.is_none() && is_due && now >= self.view.not_before {
            self.view.reading = Some(now);
            self.actions.push_back(Action::Read);
        }
    }

    /// Notes whether something is to be looked at; says so when that is new.
    fn alarm(&mut self, alarm: Alarm, is_on: bool) {
        let was_on = self.alarms.contains(&alarm);
        if is_on && !was_on {
            self.alarms.push(alarm);
            self.actions.push_back(Action::Alarm(alarm));
        } else if !is_on && was_on {
            self.alarms.retain(|known| *known != alarm);
        }
    }
}

/// What an order to a primary comes to.
enum Taken {
    Noted,
    Drain,
    Rejoin,
    Demote,
}

/// Why a node does not lead yet.
enum NotNow {
    Wait(&'static str),
    Never(&'static str),
}

impl Lead {
    /// The standby has promised `promised`: in this epoch it acknowledges nothing more.
    fn outbid(&mut self, promised: u64, now: Nanos) {
        if promised > self.register.epoch && self.outbid_at.is_none() {
            self.outbid_at = Some(now);
        }
    }

    /// How to commit, when `asked` and `stray` may be in the register by now.
    fn rule(&self, asked: Option<&Register>, stray: &[Register]) -> CommitRule {
        if matches!(self.handover, Handover::Holding { .. } | Handover::Done { .. }) {
            return CommitRule::Hold;
        }
        let other = |register: &Register| register.in_sync != self.register.in_sync;
        let changes = asked.is_some_and(other) || stray.iter().any(other);
        let leaves = self.leaving.is_some() && self.register.in_sync == InSync::Both;
        if changes || self.joining || leaves {
            return CommitRule::Joint;
        }
        Control::rule_of(self.register.in_sync)
    }
}

#[cfg(test)]
mod tests;
