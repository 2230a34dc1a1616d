//! The primary's side of the pair, beside the journal's writer: frames go to the standby while their local write is under
//! way, acknowledgements come back, and from both follows what is committed.
//!
//! It runs on the journal's thread: a frame is handed over without a ring and without another thread's turn. What is
//! decided slowly (who leads, by which rule is committed) comes in as [`Order`]s; what happened goes out as [`Report`]s.

use std::collections::VecDeque;

use ironbell_record::{FrameCopy, Identity, Point};
use ironbell_replica::control::{Input, Peer};
use ironbell_replica::history::{self, Epochs};
use ironbell_replica::message::{Asks, Hello, Message, Refusal};
use ironbell_replica::primary::{Config as LinkConfig, Lag, Link, Next};
use ironbell_replica::transfer::Giving;
use ironbell_replica::{AckPolicy, Backlog, CommitRule, NodeId, Reached};
use ironbell_runtime::clock::boot_time;
use ironbell_store::Writer;
use ironbell_sync::{Consumer, CursorWriter, DueWriter, Producer, PushError};
use ironbell_types::{Nanos, Seq};

use crate::ha::carriage::{Broken, Carriage};
use crate::ha::catch_up::{CatchUp, Unreadable};
use crate::ha::outgoing::Outgoing;

/// What is told the primary's side.
pub enum Order {
    /// Talk to the other node over this connection, in place of the one before.
    Connect(Carriage),
    /// Promise this epoch; reported by [`Input::Promised`] or [`Input::PromiseRefused`].
    Promise(u64),
    /// Begin this epoch.
    BeginEpoch(u64),
    /// Commit by this rule.
    Commit(CommitRule),
    /// Tell the standby that it is its turn.
    HandOver {
        /// The epoch.
        epoch: u64,
        /// The end of the history.
        last: Point,
    },
}

/// What the primary's side reports.
pub enum Report {
    /// For control.
    Input(Input),
    /// The other node follows.
    Followed,
    /// It does no more, and why: for people.
    Lost(String),
    /// There is no link; the other node may be called.
    Unconnected,
    /// How far the standby is behind.
    Lag(Lag),
    /// Somebody should look.
    Alarm(String),
}

/// Orders and reports under way at a time.
pub const ORDERS: usize = 16;
/// Likewise.
pub const REPORTS: usize = 64;

/// What does not change in the life of a primary.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which node this is.
    pub node: NodeId,
    /// Whose history it is.
    pub identity: Identity,
    /// What an acknowledgement means.
    pub policy: AckPolicy,
    /// How long an acknowledgement of the standby lets the primary answer.
    pub permission: Nanos,
    /// The link.
    pub link: LinkConfig,
}

/// Bytes of the newest frames that are kept to be sent.
const BACKLOG_BYTES: usize = 16 << 20;
/// Bytes that may wait in a connection's outbox before no more frames are put there.
pub const OUTBOX_BYTES: usize = 1 << 20;
/// A link on which nothing came for so long is given up: what the kernel would retransmit by and by is sent anew on the next.
pub const SILENCE_MAX: Nanos = Nanos(2_000_000_000);
/// Reports of what changes all the time are at least so far apart.
const REPORT_EVERY: Nanos = Nanos(1_000_000);

/// The other node, as far as it is connected.
struct Line {
    carriage: Carriage,
    /// Once it has said hello and may follow.
    link: Option<Link>,
    /// Once it has said hello and asked for a snapshot.
    giving: Option<Giving>,
    heard_at: Nanos,
}

/// The primary's side.
pub struct Primary {
    settings: Settings,
    epoch: u64,
    epochs: Epochs,
    backlog: Backlog,
    rule: CommitRule,
    commit: CursorWriter,
    permission: DueWriter,
    line: Option<Line>,
    catch_up: CatchUp,
    /// Sends snapshots; without one none is sent.
    outgoing: Option<Outgoing>,
    orders: Consumer<Order>,
    reports: Producer<Report>,
    reported_at: Nanos,
    /// Reports that found no room yet. No order is taken meanwhile, and so they are few.
    untold: VecDeque<Report>,
    /// An order that waits for room in the journal.
    held: Option<Order>,
}

/// The ends of rings and cursors that it holds.
pub struct Ends {
    /// What is committed.
    pub commit: CursorWriter,
    /// Until when outcomes may be released; none while that is unlimited.
    pub permission: DueWriter,
    /// What it is told.
    pub orders: Consumer<Order>,
    /// What it reports.
    pub reports: Producer<Report>,
}

impl Primary {
    /// Of a node whose `writer` has just begun its epoch; the frame that did is sent like all others.
    ///
    /// # Panics
    /// When it has not.
    #[must_use]
    pub fn new(
        settings: Settings,
        writer: &Writer,
        before: Point,
        rule: CommitRule,
        catch_up: CatchUp,
        ends: Ends,
    ) -> Self {
        let epoch = writer.epoch().expect("who leads has an epoch");
        let points: Vec<Point> = writer.epochs().collect();
        let epochs = Epochs::new(settings.identity, writer.read_from(), &points);
        let mut backlog = Backlog::new(BACKLOG_BYTES, before);
        backlog.push(&writer.last_copy().expect("an epoch begins with a frame"));
        let Ends { commit, permission, orders, reports } = ends;
        let mut primary = Self {
            settings,
            epoch,
            epochs,
            backlog,
            rule,
            commit,
            permission,
            line: None,
            catch_up,
            outgoing: None,
            orders,
            reports,
            reported_at: Nanos(0),
            untold: VecDeque::with_capacity(REPORTS),
            held: None,
        };
        primary.forbid();
        primary
    }

    /// The same, which has a snapshot for who is too far behind.
    #[must_use]
    pub fn giving(self, outgoing: Outgoing) -> Self {
        Self { outgoing: Some(outgoing), ..self }
    }

    /// Up to which Seq both nodes hold what the policy asks of them.
    #[must_use]
    pub fn committed(&self) -> u64 {
        self.commit.get()
    }

    /// The frame that was just appended.
    pub fn appended(&mut self, copy: &FrameCopy<'_>) {
        self.backlog.push(copy);
        self.epochs.reach(self.backlog.last());
    }

    /// Until there is an acknowledgement under it, a rule that needs permission gives none.
    fn forbid(&mut self) {
        self.permission.publish((self.rule != CommitRule::Alone).then_some(0));
    }

    /// Moves everything on; how much that was. Never waits, but for orders that make something durable.
    ///
    /// # Errors
    /// When the journal fails.
    pub fn poll(&mut self, writer: &mut Writer) -> Result<usize, ironbell_store::Error> {
        let now = boot_time();
        let mut work = self.obey(writer, now)?;
        work += self.talk(writer, now);
        self.decide(writer);
        self.report(writer, now);
        Ok(work)
    }

    fn obey(&mut self, writer: &mut Writer, now: Nanos) -> Result<usize, ironbell_store::Error> {
        let mut work = 0;
        self.tell_untold();
        while self.untold.is_empty()
            && let Some(order) = self.held.take().or_else(|| self.orders.pop().ok())
        {
            work += 1;
            match order {
                Order::Connect(carriage) => self.connect(carriage, writer, now),
                Order::Promise(epoch) => {
                    while writer.in_flight() > 0 {
                        writer.poll()?;
                    }
                    let input = match writer.promise(epoch) {
                        Ok(()) => Input::Promised { epoch, last: writer.durable_point(), acked_at: None },
                        Err(ironbell_store::Error::Promised { promised, .. }) => {
                            Input::PromiseRefused { promised }
                        }
                        Err(error) => return Err(error),
                    };
                    self.tell(Report::Input(input));
                }
                Order::BeginEpoch(_) if !writer.can_begin() => {
                    self.held = Some(order);
                    break;
                }
                Order::BeginEpoch(epoch) => {
                    writer.begin_epoch(epoch)?;
                    self.appended(&writer.last_copy().expect("an epoch begins with a frame"));
                    self.epoch = epoch;
                    if let Some(Line { carriage, link: Some(link), .. }) = &mut self.line {
                        link.begin_epoch(epoch, carriage.outbox());
                    }
                    self.forbid();
                }
                Order::Commit(rule) => {
                    let keeps = lasts_while_acknowledged(self.rule) && lasts_while_acknowledged(rule);
                    self.rule = rule;
                    if !keeps {
                        self.forbid();
                    }
                    self.decide(writer);
                    self.tell(Report::Input(Input::InForce { rule, commit: Seq(self.commit.get()) }));
                }
                Order::HandOver { epoch, last } => {
                    if let Some(line) = &mut self.line {
                        Message::Switchover { epoch, last }.encode(line.carriage.outbox());
                    }
                }
            }
        }
        Ok(work)
    }

    fn connect(&mut self, mut carriage: Carriage, writer: &Writer, now: Nanos) {
        self.end_link("a newer connection is there");
        let hello = Hello {
            identity: self.settings.identity,
            node: self.settings.node,
            ack: self.settings.policy,
            asks: Asks::Frames,
            promised: writer.promised(),
            leading: Some(self.epoch),
            last: self.epochs.last(),
            epochs: self.epochs.points().to_vec(),
            voids: writer.voids(),
        };
        Message::Hello(Box::new(hello)).encode(carriage.outbox());
        self.line = Some(Line { carriage, link: None, giving: None, heard_at: now });
    }

    fn hang_up(&mut self, why: &str) {
        self.end_link(why);
        self.tell(Report::Unconnected);
    }

    fn end_link(&mut self, why: &str) {
        if let Some(mut line) = self.line.take() {
            if line.link.is_some() {
                self.tell(Report::Lost(why.to_owned()));
            }
            // What waits there may say why; that it is not heard hurts nobody.
            let _ = line.carriage.send();
            self.tell(Report::Input(Input::LinkDown));
        }
    }

    /// None is lost: control waits for some of them.
    fn tell(&mut self, report: Report) {
        self.untold.push_back(report);
        self.tell_untold();
    }

    fn tell_untold(&mut self) {
        while let Some(report) = self.untold.pop_front() {
            if let Err(PushError::Full(report)) = self.reports.push(report) {
                self.untold.push_front(report);
                return;
            }
        }
    }

    /// Sends and hears.
    fn talk(&mut self, writer: &mut Writer, now: Nanos) -> usize {
        let Some(mut line) = self.line.take() else { return 0 };
        match self.converse(&mut line, writer, now) {
            Ok(work) => {
                self.line = Some(line);
                work
            }
            Err(why) => {
                self.line = Some(line);
                self.hang_up(&why);
                1
            }
        }
    }

    fn converse(&mut self, line: &mut Line, writer: &Writer, now: Nanos) -> Result<usize, String> {
        let mut work = line.carriage.receive().map_err(|e| e.to_string())?;
        if work > 0 {
            line.heard_at = now;
        } else if now.0.saturating_sub(line.heard_at.0) > SILENCE_MAX.0 {
            return Err("nothing was heard of it for too long".into());
        }
        let mut answer = Vec::new();
        while let Some(message) = line.carriage.message().map_err(|e: Broken| e.to_string())? {
            match message {
                Message::Hello(hello) if line.link.is_none() && line.giving.is_none() => {
                    let greeted = match hello.asks {
                        Asks::Frames => {
                            self.greet(&hello, now, &mut answer).map(|link| line.link = Some(link))
                        }
                        Asks::Snapshot => self.give(&hello, now).map(|giving| line.giving = Some(giving)),
                    };
                    if let Err(why) = greeted {
                        Message::Refused { why, promised: writer.promised() }.encode(line.carriage.outbox());
                        return Err(format!("it cannot follow: {why}"));
                    }
                }
                Message::Taken { bytes: _ } if line.giving.is_some() => {}
                Message::Ack(ack) => {
                    let link = line.link.as_mut().ok_or("it acknowledges before it said hello")?;
                    if let Err(error) = link.ack(&ack, &self.backlog, now) {
                        self.tell(Report::Alarm(error.to_string()));
                        return Err(error.to_string());
                    }
                }
                Message::Refused { why, promised } => {
                    if promised > self.epoch {
                        self.tell(Report::Input(Input::PeerRefused { promised }));
                    }
                    return Err(format!("it refuses: {why}"));
                }
                _ => return Err("a message came that only a primary sends".into()),
            }
        }
        let promised = writer.promised();
        let refuse = |carriage: &mut Carriage, why: Refusal, what: &str| {
            Message::Refused { why, promised }.encode(carriage.outbox());
            format!("it cannot follow: {what}")
        };
        line.carriage.outbox().append(&mut answer);
        if let Some(link) = &mut line.link {
            let commit = Seq(self.commit.get());
            let next = link.poll(&self.backlog, commit, now, OUTBOX_BYTES, line.carriage.outbox());
            if let Next::Journal(_) = next {
                let fed = self.catch_up.feed(link, commit, now, OUTBOX_BYTES, line.carriage.outbox());
                work += fed.map_err(|why| match why {
                    Unreadable::Gone(what) => refuse(&mut line.carriage, Refusal::TooOld, &what),
                    Unreadable::Failed(what) => what,
                })?;
            }
        }
        if let (Some(giving), Some(outgoing)) = (&mut line.giving, &mut self.outgoing) {
            let fed = outgoing.feed(giving, now, OUTBOX_BYTES, line.carriage.outbox());
            work += fed.map_err(|why| refuse(&mut line.carriage, Refusal::NoSnapshot, &why))?;
            let (epoch, commit, appended) = (self.epoch, Seq(self.commit.get()), self.backlog.last().seq);
            giving.keep_alive(epoch, commit, appended, now, line.carriage.outbox());
        }
        work += line.carriage.send().map_err(|e| e.to_string())?;
        Ok(work)
    }

    /// Answers a hello: the standby follows from the common point, or is refused.
    fn greet(&mut self, hello: &Hello, now: Nanos, answer: &mut Vec<u8>) -> Result<Link, Refusal> {
        let Settings { node, policy, link, .. } = self.settings;
        let found = history::answer(&self.epochs, node, policy, self.epoch, hello);
        let relation = self.epochs.relation(hello);
        let peer = Peer { promised: hello.promised, leading: hello.leading, relation };
        self.tell(Report::Input(Input::LinkUp(peer)));
        let from = found?;
        self.tell(Report::Followed);
        self.catch_up.begin();
        Ok(Link::new(link, self.epoch, from, now, answer))
    }

    /// Answers a hello that asks for a snapshot. Control hears nothing of it: who is sent one follows nobody yet.
    fn give(&mut self, hello: &Hello, now: Nanos) -> Result<Giving, Refusal> {
        let Settings { node, policy, link, .. } = self.settings;
        history::answer(&self.epochs, node, policy, self.epoch, hello)?;
        self.outgoing.as_mut().ok_or(Refusal::NoSnapshot)?.begin();
        Ok(Giving::new(link, now))
    }

    /// What is committed now, and until when it may be released.
    fn decide(&mut self, writer: &Writer) {
        let own = Reached { received: writer.appended_seq(), durable: writer.durable_point().seq };
        let link = self.line.as_ref().and_then(|line| line.link.as_ref());
        let standby = link.map_or(Reached::default(), Link::reached);
        let committed = self.rule.committed(self.settings.policy, own, standby);
        // Before the mark: who sees something committed sees until when it may be released.
        if lasts_while_acknowledged(self.rule)
            && let Some(until) = link.and_then(|link| link.permission_end(self.settings.permission))
        {
            self.permission.publish(Some(until.0));
        }
        if committed.0 > self.commit.get() {
            self.commit.advance(committed.0);
        }
    }

    /// What changes all the time.
    fn report(&mut self, writer: &Writer, now: Nanos) {
        if now.0 < self.reported_at.0 + REPORT_EVERY.0 || self.reports.slots() < REPORTS / 2 {
            return;
        }
        self.reported_at = now;
        self.tell(Report::Input(Input::Durable(writer.durable_point())));
        let Some(link) = self.line.as_ref().and_then(|line| line.link.as_ref()) else { return };
        let lag = link.lag(&self.backlog, now);
        let acked = link.durable().map(|durable| Input::Acked {
            epoch: link.epoch(),
            durable,
            live: link.is_live(&self.backlog),
        });
        self.tell(Report::Lag(lag));
        if let Some(acked) = acked {
            self.tell(Report::Input(acked));
        }
    }
}

/// Whether outcomes may be released under this rule as long as the standby's last acknowledgement is fresh; under the
/// others always, or never.
fn lasts_while_acknowledged(rule: CommitRule) -> bool {
    matches!(rule, CommitRule::Pair | CommitRule::Joint)
}
