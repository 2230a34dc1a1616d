//! One node: the real parts, connected as the appliance connects them.
//!
//! A life begins with the recovery of the journal and goes on until the process is killed, or control ends it. A standby is
//! a recovery that goes on: frames are appended as they come, and executed when they are committed.

use std::collections::VecDeque;
use std::path::PathBuf;

use ironbell_core::{Config as EngineConfig, Engine};
use ironbell_record::{Chain, Executed, FrameCopy, Identity, Point};
use ironbell_replica::control::{self, Peer, Standing, Start, StepDown};
use ironbell_replica::history::{self, Epochs};
use ironbell_replica::message::{Asks, Refusal};
use ironbell_replica::primary::{self, Next};
use ironbell_replica::standby::{self, Heard};
use ironbell_replica::{
    Action, Backlog, CommitRule, Control, Hello, Input, Message, NodeId, Reached, Register, Relation,
};
use ironbell_store::sim::SimDisk;
use ironbell_store::{
    Error, Options, Reader, SegmentMaker, Term, WrappedKey, Writer, cut_back_on, disk::Disk, format_on,
    open_on,
};
use ironbell_tests::rng::Rng;
use ironbell_types::{Command, Event, Nanos, Seq, Sequenced};

use crate::etcd::Etcd;
use crate::members::{MEMBERS, genesis, hear};
use crate::net::Net;

/// The venue.
pub const VENUE: Identity = Identity { cluster: [9; 16], key: 77 };

/// After this long without a word the link is taken for broken, in nanoseconds.
const LINK_TIMEOUT: u64 = 150_000_000;

/// The lease that a primary asks for.
const LEASE: u64 = 200_000_000;

const BACKLOG_BYTES: usize = 256 << 10;

type Queue = <SimDisk as Disk>::Queue;

/// What is the same for all lives of a node.
#[derive(Debug)]
pub struct Node {
    /// What it was told.
    pub config: control::Config,
    /// Its disk, as its current life sees it.
    pub disk: SimDisk,
    dir: PathBuf,
    /// It was told to stop leading.
    stands: bool,
    /// Lives so far.
    pub lives: u64,
    /// The current one.
    pub life: Option<Box<Life>>,
    /// CLOCK_BOOTTIME at the world's beginning, and how fast it goes, in parts per million beside the world's.
    pub boot: (u64, i64),
    /// How far CLOCK_REALTIME is off.
    pub wall: u64,
}

/// One life.
pub struct Life {
    writer: Writer<Queue>,
    maker: SegmentMaker<SimDisk>,
    control: Control,
    engine: Engine,
    /// Every command executed, in order.
    pub commands: Vec<Sequenced>,
    /// Appended and not executed.
    pending: VecDeque<Vec<Sequenced>>,
    /// What was said by what was executed, by member; and not released yet.
    said: Vec<Event>,
    /// The streams of the members, up to what is released.
    pub streams: [Vec<Event>; MEMBERS],
    /// The last command committed, as far as this node knows.
    pub commit: Seq,
    /// The last one whose outcome was released here, by a primary.
    pub released: Seq,
    backlog: Backlog,
    link: Option<Link>,
    acked_at: Option<Nanos>,
    /// Actions that wait for their turn.
    actions: VecDeque<Action>,
    promise: Option<u64>,
    /// What is led, once it is.
    pub lead: Option<Lead>,
    holds_lease: bool,
    renewed_at: u64,
    inbound: VecDeque<Command>,
    /// Nothing is let in: it drains.
    drains: bool,
    /// Told to no one yet: its journal must end, and the node begins again.
    end: Option<End>,
}

/// A primary's part.
#[derive(Debug)]
pub struct Lead {
    /// What the register holds.
    pub register: Register,
    rule: CommitRule,
    /// The epoch's first frame is appended.
    begun: bool,
    ready: bool,
    /// Members are let in.
    pub open: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    StepDown(StepDown),
    CutBack(Point),
    Crash,
}

#[derive(Debug)]
struct Link {
    connection: u64,
    said_hello: bool,
    peer: Option<Hello>,
    end: LinkEnd,
    heard_at: u64,
}

#[derive(Debug)]
enum LinkEnd {
    Idle,
    Primary(Box<primary::Link>),
    Standby(Box<standby::Link>),
    /// Appending what it has asked for.
    Pulling,
}

/// What a node says of itself that the world looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It opened in this epoch.
    Opened(u64),
    /// As primary of this epoch it released everything up to here.
    Released(u64, Seq),
    /// It is ready to lead in this epoch, everything being executed.
    Leads(u64),
    /// It has halted itself with an alarm: something that must not be.
    Alarm(control::Alarm),
}

impl Node {
    /// A node with an empty journal.
    #[must_use]
    pub fn new(config: control::Config, seed: u64, boot: (u64, i64)) -> Self {
        let disk = SimDisk::new(seed);
        let dir = PathBuf::from("/journal");
        format_on(&disk, &dir, VENUE, &options(), WrappedKey::NONE).expect("an empty world");
        Self { config, disk, dir, stands: false, lives: 0, life: None, boot, wall: 0 }
    }

    /// CLOCK_BOOTTIME.
    #[must_use]
    pub fn now(&self, world: u64) -> Nanos {
        let (start, ppm) = self.boot;
        Nanos((start + world).saturating_add_signed(world as i64 / 1_000_000 * ppm))
    }

    /// Begins a life, with recovery.
    ///
    /// # Errors
    /// When the journal is not sound.
    pub fn start(&mut self, world: u64) -> Result<(), Error> {
        let mut frames = Vec::new();
        let (recovery, writer, maker) = open_on(&self.disk, &self.dir, &options(), &mut |_, commands| {
            frames.push(commands.to_vec());
            Ok(())
        })?;
        let start = Start { promised: writer.promised(), last: writer.durable_point(), stands: self.stands };
        let mut life = Life {
            control: Control::new(self.config, start, self.now(world)),
            backlog: Backlog::new(BACKLOG_BYTES, writer.point()),
            writer,
            maker,
            engine: Engine::new(EngineConfig { key: VENUE.key, orders: 1024, accounts: 8 }),
            commands: Vec::new(),
            pending: frames.into(),
            said: Vec::new(),
            streams: Default::default(),
            commit: recovery.commit,
            released: Seq(0),
            link: None,
            acked_at: None,
            actions: VecDeque::new(),
            promise: None,
            lead: None,
            holds_lease: false,
            renewed_at: 0,
            inbound: VecDeque::new(),
            drains: false,
            end: None,
        };
        life.execute(recovery.commit).expect("what it executed before");
        self.lives += 1;
        self.life = Some(Box::new(life));
        Ok(())
    }

    /// An operator's order.
    pub fn order(&mut self, order: control::Order, world: u64) {
        let now = self.now(world);
        if let Some(life) = &mut self.life {
            // What cannot be done is refused, and nothing else happens.
            let _refused = life.control.order(order, now);
        }
    }

    /// Does what there is to do; says what the world should know.
    pub fn poll(&mut self, world: u64, net: &mut Net, etcd: &mut Etcd, rng: &mut Rng) -> Vec<Said> {
        let (now, wall) = (self.now(world), Nanos(world + self.wall));
        let (me, lives) = (self.config.node, self.lives);
        let Some(life) = &mut self.life else { return Vec::new() };
        let (disk, dir) = (self.disk.clone(), self.dir.clone());
        let said = Vec::new();
        let mut at = At {
            me,
            lives,
            world,
            now,
            wall,
            config: self.config,
            disk,
            dir,
            net,
            etcd,
            rng,
            said,
            disk_ended: false,
        };
        life.poll(&mut at);
        if at.disk_ended {
            life.end = Some(End::Crash);
        }
        let said = at.said;
        match life.end.take() {
            None => {}
            Some(End::Crash) => self.life = None,
            // What is in flight ends before anybody opens the journal again.
            Some(end) if !life.settle() => life.end = Some(end),
            Some(end) => {
                if let Some(link) = &life.link {
                    net.close(link.connection, me);
                }
                self.life = None;
                self.stands = end == End::StepDown(StepDown::Demoted);
                let cut = match &end {
                    End::CutBack(to) => cut_back_on(&self.disk, &self.dir, &options(), to).map(|_| ()),
                    _ => Ok(()),
                };
                if let Err(error @ (Error::CutBack { .. } | Error::NotThere { .. })) = &cut {
                    panic!("node {me}: {error}");
                }
                // Whatever else happens here is the disk's end, and so this life's.
                if cut.is_err() || self.start(world).is_err() {
                    self.life = None;
                }
            }
        }
        said
    }

    /// An answer of the register, for this life.
    pub fn answer(&mut self, life: u64, input: Input, world: u64) {
        let now = self.now(world);
        if let Some(current) = self.life.as_mut().filter(|_| self.lives == life) {
            current.control.input(input, now);
        }
    }

    /// Whether a member is let in, and in which epoch.
    #[must_use]
    pub fn serves(&self, world: u64) -> Option<u64> {
        let life = self.life.as_ref()?;
        let lead = life.lead.as_ref().filter(|lead| lead.open && life.end.is_none())?;
        life.may_release(self.now(world), &self.config).then_some(lead.register.epoch)
    }

    /// A member sends something to a node that serves.
    pub fn receive(&mut self, command: Command) {
        if let Some(life) = &mut self.life {
            life.inbound.push_back(command);
        }
    }
}

fn options() -> Options {
    Options { segment_bytes: 256 << 10, term: Term::Copy, ..Options::default() }
}

/// Where and when a node is polled.
struct At<'a> {
    me: NodeId,
    lives: u64,
    world: u64,
    now: Nanos,
    wall: Nanos,
    config: control::Config,
    disk: SimDisk,
    dir: PathBuf,
    net: &'a mut Net,
    etcd: &'a mut Etcd,
    rng: &'a mut Rng,
    said: Vec<Said>,
    /// A read found the machine dead.
    disk_ended: bool,
}

impl At<'_> {
    /// The node's own journal behind a point; nothing when it does not go through it.
    fn journal_after(&mut self, point: &Point) -> Option<Reader<SimDisk>> {
        let opened = Reader::deciphering_on(&self.disk, &self.dir, None);
        match opened.and_then(|mut reader| reader.after(point).map(|()| reader)) {
            Ok(reader) => Some(reader),
            Err(error) => {
                self.disk_ended |= matches!(error, Error::Io { .. });
                None
            }
        }
    }

    fn send(&mut self, connection: u64, message: &Message<'_>) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.send_all(connection, &bytes);
    }

    /// Each message in `bytes` by itself.
    fn send_all(&mut self, connection: u64, mut bytes: &[u8]) {
        while let Some((_, length)) = Message::decode(bytes).expect("what a link says") {
            let to = self.me.other();
            self.net.send(connection, to, bytes[..length].to_vec(), self.world, self.rng);
            bytes = &bytes[length..];
        }
        assert!(bytes.is_empty(), "a link says half a message");
    }
}

impl std::fmt::Debug for Life {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?} {:?}", self.ends(), self.lead, self.control)
    }
}

impl Life {
    fn poll(&mut self, at: &mut At<'_>) {
        if self.writer.poll().is_err() || self.maker.poll().is_err() {
            self.end = Some(End::Crash);
        }
        if self.end.is_some() {
            return;
        }
        self.control.input(Input::Durable(self.writer.durable_point()), at.now);
        self.control.input(Input::Tick, at.now);
        self.read_link(at);
        self.act(at);
        self.keep_promise(at);
        self.sequence(at);
        self.feed(at);
        self.commit(at);
        if self.holds_lease && at.world >= self.renewed_at + LEASE / 3 {
            self.renewed_at = at.world;
            at.etcd.renew(at.me, LEASE, at.world, at.rng);
        }
    }

    /// Lets what is in flight end; says whether it has.
    fn settle(&mut self) -> bool {
        self.writer.poll().is_ok() && self.writer.in_flight() == 0
    }

    // The link.

    fn read_link(&mut self, at: &mut At<'_>) {
        let connection = at.net.connection(at.me);
        if self.link.as_ref().is_some_and(|link| Some(link.connection) != connection) {
            self.lose_link(at);
        }
        if let Some(link) = &self.link
            && at.world >= link.heard_at + LINK_TIMEOUT
        {
            self.lose_link(at);
        }
        if self.link.is_none() && at.me == NodeId::TWO && self.may_say_hello() {
            at.net.dial();
        }
        if self.link.is_none()
            && let Some(connection) = at.net.connection(at.me)
        {
            let end = LinkEnd::Idle;
            self.link = Some(Link { connection, said_hello: false, peer: None, end, heard_at: at.world });
        }
        self.say_hello(at);
        while let Some(link) = &self.link
            && link.said_hello
            && self.writer.can_begin()
            && self.promise.is_none()
            && let Some(bytes) = at.net.receive(link.connection, at.me, at.world)
        {
            let (message, length) = Message::decode(&bytes).expect("what the peer wrote").expect("whole");
            assert_eq!(length, bytes.len());
            if let Some(link) = &mut self.link {
                link.heard_at = at.world;
            }
            self.hear(&message, at);
        }
    }

    /// Everything appended is durable, and nobody is in the midst of becoming something else.
    fn may_say_hello(&self) -> bool {
        let is_becoming = self.lead.as_ref().is_some_and(|lead| !lead.ready);
        (self.lead.is_some() || self.writer.in_flight() == 0) && !is_becoming && self.promise.is_none()
    }

    fn say_hello(&mut self, at: &mut At<'_>) {
        if !self.may_say_hello() {
            return;
        }
        let hello = Hello {
            identity: VENUE,
            node: at.me,
            ack: at.config.ack,
            asks: Asks::Frames,
            promised: self.writer.promised(),
            leading: self.lead.as_ref().map(|lead| lead.register.epoch),
            last: self.writer.point(),
            epochs: self.writer.epochs().collect(),
            voids: self.writer.voids(),
        };
        if let Some(link) = self.link.as_mut().filter(|link| !link.said_hello) {
            link.said_hello = true;
            at.send(link.connection, &Message::Hello(Box::new(hello)));
        }
    }

    fn lose_link(&mut self, at: &mut At<'_>) {
        if let Some(link) = self.link.take() {
            at.net.close(link.connection, at.me);
            self.control.input(Input::LinkDown, at.now);
        }
    }

    fn refuse(&mut self, why: Refusal, at: &mut At<'_>) {
        let promised = self.writer.promised();
        if let Some(link) = &self.link {
            at.send(link.connection, &Message::Refused { why, promised });
        }
        self.lose_link(at);
    }

    fn epochs(&self) -> Epochs {
        let points: Vec<Point> = self.writer.epochs().collect();
        Epochs::new(VENUE, Chain::genesis(&VENUE).point(), &points)
    }

    fn hear(&mut self, message: &Message<'_>, at: &mut At<'_>) {
        let applied = self.applied();
        let Some(link) = &mut self.link else { return };
        if let Message::Refused { why, promised } = message {
            if *why == Refusal::Epoch && self.lead.is_some() {
                self.control.input(Input::PeerRefused { promised: *promised }, at.now);
            }
            self.lose_link(at);
            return;
        }
        match (&mut link.end, message) {
            (LinkEnd::Idle, Message::Hello(hello)) if link.peer.is_none() => {
                link.peer = Some((**hello).clone());
                self.hear_hello(hello, at);
            }
            (LinkEnd::Idle, Message::Pull { from }) if self.lead.is_none() => self.serve_pull(*from, at),
            (LinkEnd::Idle, Message::Follow { .. }) if self.lead.is_none() => {
                let standby =
                    standby::Link::new(self.writer.promised(), self.writer.durable_point(), applied);
                link.end = LinkEnd::Standby(Box::new(standby));
                self.follow(message, at);
            }
            (LinkEnd::Standby(_), _) => self.follow(message, at),
            (LinkEnd::Primary(primary), Message::Ack(ack)) => {
                if let Err(alarm) = primary.ack(ack, &self.backlog, at.now) {
                    panic!("node {}: {alarm}", at.me);
                }
                let live = primary.is_live(&self.backlog);
                if let Some(durable) = primary.durable() {
                    let epoch = primary.epoch();
                    self.control.input(Input::Acked { epoch, durable, live }, at.now);
                }
            }
            (LinkEnd::Pulling, Message::Tail(number, copy)) => {
                if *number == self.writer.point().frames {
                    self.append(copy, at);
                }
            }
            (LinkEnd::Pulling, Message::TailEnd { .. }) => {
                // The relation is looked at again when all of it is durable: by another hello.
                self.lose_link(at);
            }
            _ => self.refuse(Refusal::Protocol, at),
        }
    }

    fn applied(&self) -> Executed {
        Executed { seq: self.engine.last_seq(), output_hash: self.engine.output_hash() }
    }

    fn hear_hello(&mut self, hello: &Hello, at: &mut At<'_>) {
        let relation = self.epochs().relation(hello);
        assert!(!matches!(relation, Relation::Diverged { .. }), "one epoch has two histories");
        let peer = Peer { promised: hello.promised, leading: hello.leading, relation };
        self.control.input(Input::LinkUp(peer), at.now);
        let Some(lead) = &self.lead else { return };
        let epoch = lead.register.epoch;
        match history::answer(&self.epochs(), at.me, at.config.ack, epoch, hello) {
            Ok(from) => {
                let config =
                    primary::Config { keep_alive: Nanos(10_000_000), catch_up_bytes_per_s: 64 << 20 };
                let mut out = Vec::new();
                let primary = primary::Link::new(config, epoch, from, at.now, &mut out);
                let link = self.link.as_mut().expect("it has said hello");
                link.end = LinkEnd::Primary(Box::new(primary));
                at.send_all(link.connection, &out);
            }
            Err(why) => self.refuse(why, at),
        }
    }

    /// A primary that has started again asks for what it lacks.
    fn serve_pull(&mut self, from: Point, at: &mut At<'_>) {
        let Some(link) = &self.link else { return };
        let connection = link.connection;
        if let Some(mut reader) = at.journal_after(&from) {
            let mut number = from.frames;
            while reader.next_frame().is_ok_and(|frame| frame.is_some()) {
                at.send(connection, &Message::Tail(number, reader.last_copy().expect("it was read")));
                number += 1;
            }
        }
        at.send(connection, &Message::TailEnd { last: self.writer.point() });
    }

    fn follow(&mut self, message: &Message<'_>, at: &mut At<'_>) {
        let Some(Link { end: LinkEnd::Standby(standby), .. }) = &mut self.link else { return };
        let heard = match standby.receive(message, at.now) {
            Ok(heard) => heard,
            Err(fault) => {
                assert!(!fault.halts(), "node {}: {fault}", at.me);
                self.refuse(fault.refusal(), at);
                return;
            }
        };
        if let Some(heard_at) = standby.heard_at() {
            let holds_commit = standby.holds_commit();
            self.control.input(Input::Heard { at: heard_at, holds_commit }, at.now);
        }
        match heard {
            Heard::Nothing => {}
            Heard::Promise(epoch) => {
                if self.writer.promise(epoch).is_err() {
                    self.refuse(Refusal::Epoch, at);
                    return;
                }
                standby.promised(epoch);
                let (last, acked_at) = (self.writer.durable_point(), None);
                self.control.input(Input::Promised { epoch, last, acked_at }, at.now);
            }
            Heard::CutBack { epoch, to } => {
                self.control.input(Input::NeedsCut { epoch, to }, at.now);
                self.lose_link(at);
            }
            Heard::Frame(copy) => self.append(&copy, at),
            Heard::Switchover { epoch, last } => {
                self.control.input(Input::HandedOver { epoch, last }, at.now);
            }
            Heard::Refused { .. } => self.lose_link(at),
        }
    }

    /// Appends another node's frame.
    fn append(&mut self, copy: &FrameCopy<'_>, at: &mut At<'_>) {
        match self.writer.append_copy(copy) {
            Ok(commands) => self.pending.push_back(commands.to_vec()),
            Err(Error::Copy { .. }) => return self.refuse(Refusal::Protocol, at),
            Err(_) => {
                self.end = Some(End::Crash);
                return;
            }
        }
        self.backlog.push(copy);
        if let Some(Link { end: LinkEnd::Standby(standby), .. }) = &mut self.link {
            standby.appended(copy).unwrap_or_else(|fault| panic!("node {}: {fault}", at.me));
        }
    }

    // Control.

    fn act(&mut self, at: &mut At<'_>) {
        while let Some(action) = self.control.action() {
            self.actions.push_back(action);
        }
        while let Some(action) = self.actions.pop_front() {
            // An epoch begins when there is room for its frame, and nothing overtakes it.
            if matches!(action, Action::BeginEpoch(_)) && !self.writer.can_begin() {
                self.actions.push_front(action);
                return;
            }
            self.act_on(action, at);
            while let Some(action) = self.control.action() {
                self.actions.push_back(action);
            }
        }
    }

    fn act_on(&mut self, action: Action, at: &mut At<'_>) {
        match action {
            Action::Read => at.etcd.read(at.me, at.lives, at.world, at.rng),
            Action::Swap { expect, to } => at.etcd.swap(at.me, at.lives, (expect, to), at.world, at.rng),
            Action::HoldLease => self.holds_lease = true,
            Action::DropLease => {
                self.holds_lease = false;
                at.etcd.drop_lease(at.me);
            }
            Action::Promise(epoch) => {
                if let Some(Link { end: LinkEnd::Standby(standby), .. }) = &mut self.link {
                    standby.promised(epoch);
                }
                self.promise = Some(epoch);
            }
            Action::Pull { from } => {
                if let Some(link) = &mut self.link {
                    link.end = LinkEnd::Pulling;
                    at.send(link.connection, &Message::Pull { from });
                }
            }
            Action::Lead { register, rule } => {
                self.lead = Some(Lead { register, rule, begun: false, ready: false, open: false });
            }
            Action::Open => {
                self.drains = false;
                let lead = self.lead.as_mut().expect("who opens leads");
                lead.open = true;
                at.said.push(Said::Opened(lead.register.epoch));
            }
            Action::BeginEpoch(register) => self.begin_epoch(register, at),
            Action::Commit(rule) => {
                if let Some(lead) = &mut self.lead {
                    lead.rule = rule;
                    let commit = self.commit;
                    self.control.input(Input::InForce { rule, commit }, at.now);
                }
            }
            Action::Drain => self.drains = true,
            Action::HandOver { epoch, last } => {
                if let Some(link) = &self.link {
                    at.send(link.connection, &Message::Switchover { epoch, last });
                }
            }
            Action::StepDown(why) => self.end = Some(End::StepDown(why)),
            Action::CutBack(to) => self.end = Some(End::CutBack(to)),
            Action::Alarm(alarm) => at.said.push(Said::Alarm(alarm)),
            Action::Report(_) => {}
        }
    }

    /// A promise waits until everything appended is durable.
    fn keep_promise(&mut self, at: &mut At<'_>) {
        let Some(epoch) = self.promise.filter(|_| self.writer.in_flight() == 0) else { return };
        self.promise = None;
        let standby_acked_at = match &self.link {
            Some(Link { end: LinkEnd::Standby(standby), .. }) => standby.acked_at(),
            _ => None,
        };
        let acked_at = self.acked_at.max(standby_acked_at);
        let input = match self.writer.promise(epoch) {
            Ok(()) => Input::Promised { epoch, last: self.writer.durable_point(), acked_at },
            Err(Error::Promised { promised, .. }) => Input::PromiseRefused { promised },
            Err(_) => {
                self.end = Some(End::Crash);
                return;
            }
        };
        self.control.input(input, at.now);
    }

    fn begin_epoch(&mut self, register: Register, at: &mut At<'_>) {
        if self.writer.begin_epoch(register.epoch).is_err() {
            self.end = Some(End::Crash);
            return;
        }
        self.backlog.push(&self.writer.last_copy().expect("the frame that begins it"));
        if let Some(Link { connection, end: LinkEnd::Primary(primary), .. }) = &mut self.link {
            let mut out = Vec::new();
            primary.begin_epoch(register.epoch, &mut out);
            let connection = *connection;
            at.send_all(connection, &out);
        }
        self.lead.as_mut().expect("who takes an epoch leads").register = register;
    }

    // The order path.

    /// Becomes primary step by step; then closes a frame of what came in, while a slot is free.
    fn sequence(&mut self, at: &mut At<'_>) {
        let Some(lead) = &mut self.lead else { return };
        if !lead.begun {
            if self.link.take().is_some() {
                // Whoever was there will hear another hello.
                if let Some(connection) = at.net.connection(at.me) {
                    at.net.close(connection, at.me);
                }
                self.control.input(Input::LinkDown, at.now);
            }
            if self.writer.in_flight() > 0 || !self.writer.can_begin() {
                return;
            }
            let register = lead.register.clone();
            lead.begun = true;
            // What a frame of the journal calls committed is: frames that were pulled may know more than this node did.
            self.commit = self.commit.max(self.writer.chain().commit);
            self.execute(Seq(u64::MAX)).expect("no link to compare with");
            self.backlog = Backlog::new(BACKLOG_BYTES, self.writer.point());
            self.begin_epoch(register, at);
            return;
        }
        if !lead.ready {
            if self.writer.in_flight() == 0 {
                lead.ready = true;
                let epoch = lead.register.epoch;
                at.said.push(Said::Leads(epoch));
                self.control.input(Input::Ready { epoch }, at.now);
            }
            return;
        }
        if !self.writer.can_begin() {
            return;
        }
        let mut commands: Vec<Command> = Vec::new();
        if self.engine.last_seq() == Seq(0) {
            commands = genesis();
        } else if lead.open && !self.drains {
            let most = at.rng.between(1, 6) as usize;
            commands.extend(self.inbound.drain(..self.inbound.len().min(most)));
        }
        // Now and then an empty frame carries the commit.
        if commands.is_empty() && (self.commit == self.writer.chain().commit || at.rng.below(20) > 0) {
            return;
        }
        let time = at.wall.max(self.writer.chain().last_time);
        let first = self.writer.appended_seq().0 + 1;
        let frame: Vec<Sequenced> = (first..)
            .zip(commands)
            .map(|(seq, command)| Sequenced { seq: Seq(seq), time, command })
            .collect();
        let applied = self.applied();
        let commit = self.commit.min(self.writer.appended_seq());
        if self.writer.append(&frame, commit, (applied.seq, applied.output_hash)).is_err() {
            self.end = Some(End::Crash);
            return;
        }
        self.backlog.push(&self.writer.last_copy().expect("the frame just appended"));
        self.pending.push_back(frame);
        self.execute(Seq(u64::MAX)).expect("a primary compares with nobody");
    }

    /// Executes whole frames up to `commit`.
    fn execute(&mut self, commit: Seq) -> Result<(), standby::Fault> {
        while self.pending.front().is_some_and(|frame| frame.last().is_none_or(|last| last.seq <= commit)) {
            let frame = self.pending.pop_front().expect("there is one");
            self.engine.execute_frame(&frame, &mut self.said);
            self.commands.extend_from_slice(&frame);
            let applied = self.applied();
            if let Some(Link { end: LinkEnd::Standby(standby), .. }) = &mut self.link {
                standby.applied(applied)?;
            }
        }
        Ok(())
    }

    /// Sends what there is to send.
    fn feed(&mut self, at: &mut At<'_>) {
        let durable = self.writer.durable_point();
        let commit = self.commit;
        let Some(link) = &mut self.link else { return };
        let connection = link.connection;
        let mut out = Vec::new();
        match &mut link.end {
            LinkEnd::Primary(primary) => {
                let next = primary.poll(&self.backlog, commit, at.now, 64 << 10, &mut out);
                if let Next::Journal(_) = next
                    && let Some(mut reader) = at.journal_after(&primary.sent())
                {
                    for _ in 0..20 {
                        if !reader.next_frame().is_ok_and(|frame| frame.is_some()) {
                            break;
                        }
                        let copy = reader.last_copy().expect("it was read");
                        assert!(primary.catch_up(&copy, commit, at.now, &mut out), "it comes next");
                    }
                }
            }
            LinkEnd::Standby(standby) => {
                standby.durable(durable);
                standby.acknowledge(at.now, &mut out);
                self.acked_at = self.acked_at.max(standby.acked_at());
            }
            LinkEnd::Idle | LinkEnd::Pulling => {}
        }
        at.send_all(connection, &out);
    }

    fn may_release(&self, now: Nanos, config: &control::Config) -> bool {
        let Some(lead) = &self.lead else { return false };
        let end = match &self.link {
            Some(Link { end: LinkEnd::Primary(primary), .. }) => primary.permission_end(config.permission),
            _ => None,
        };
        lead.open && lead.rule.may_release(end, now)
    }

    /// Moves the commit on, and releases.
    fn commit(&mut self, at: &mut At<'_>) {
        let Some(lead) = &self.lead else {
            if let Some(Link { end: LinkEnd::Standby(standby), .. }) = &self.link {
                self.commit = self.commit.max(standby.commit());
            }
            self.execute(self.commit).unwrap_or_else(|fault| panic!("node {}: {fault}", at.me));
            self.release(self.engine.last_seq());
            return;
        };
        let own = Reached { received: self.writer.appended_seq(), durable: self.writer.durable_point().seq };
        let standby = match &self.link {
            Some(Link { end: LinkEnd::Primary(primary), .. }) => primary.reached(),
            _ => Reached::default(),
        };
        let (epoch, rule) = (lead.register.epoch, lead.rule);
        if lead.ready {
            self.commit = self.commit.max(rule.committed(lead.register.ack, own, standby));
        }
        if self.may_release(at.now, &at.config) && self.commit > self.released {
            self.released = self.commit;
            self.release(self.commit);
            at.said.push(Said::Released(epoch, self.released));
        }
        let is_empty = self.commit == self.writer.appended_seq() && self.released == self.commit;
        if self.drains && is_empty && self.writer.in_flight() == 0 {
            let last = self.writer.point();
            self.control.input(Input::Drained { last }, at.now);
        }
    }

    /// Puts what was said up to `seq` on the members' streams.
    fn release(&mut self, seq: Seq) {
        let is_released = |event: &Event| event.seq <= seq;
        let count = self.said.iter().take_while(|event| is_released(event)).count();
        for event in self.said.drain(..count) {
            for member in hear(&event) {
                self.streams[member].push(event);
            }
        }
    }

    /// What it is doing.
    #[must_use]
    pub fn status(&self) -> control::Status {
        self.control.status()
    }

    /// Whether it leads, or wants to.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.control.status().standing
    }

    /// The end of its history in memory, on its disk, and what it has executed.
    #[must_use]
    pub fn ends(&self) -> (Point, Point, Executed) {
        (self.writer.point(), self.writer.durable_point(), self.applied())
    }

    /// The sum over all accounts, of each asset: zero.
    #[must_use]
    pub fn ledger_is_balanced(&self) -> bool {
        self.engine.ledger_sums().iter().all(|(_, sum)| sum.0 == 0)
    }
}
