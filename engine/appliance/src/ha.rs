//! One node of a pair: it follows the other one's journal, takes over when that is gone, and leads until it is told or
//! shown that it must not.
//!
//! Lives follow each other. Each begins with a [recovery](crate::warm), *follows*, may *rise* (it leads by the register and
//! is not open yet) and *lead*; it ends when the node steps down or has to cut its tail back, and everything in memory is
//! dropped. All of it but leading runs on the program's first thread; then that only listens and decides, and the order
//! path's threads do the work. The rules are [`ironbell_replica::control`]'s: this is what carries them out.

pub mod caller;
pub mod carriage;
pub mod catch_up;
pub mod config;
pub mod desk;
pub mod follower;
pub mod incoming;
pub mod outgoing;
pub mod primary;
pub mod register;

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use ironbell_record::{Identity, Point};
use ironbell_replica::control::{Action, Input, Order as Told, Start, StepDown};
use ironbell_replica::{CommitRule, Control, Message};
use ironbell_runtime::Stop;
use ironbell_runtime::clock::boot_time;
use ironbell_store::Term;
use ironbell_sync::{Consumer, CursorReader, DueReader, Producer, cursor, due, ring};
use ironbell_types::Nanos;
use tracing::Span;

use crate::config::Config;
use crate::failure::Failure;
use crate::hlog::StageLog;
use crate::node::Node;
use crate::notify::Notifier;
use crate::snapshot::{Keeper, Logs};
use crate::telemetry::span;
use crate::warm::{Doors, Warm};
use caller::Caller;
use carriage::Carriage;
use catch_up::CatchUp;
use config::Ha;
use desk::{Asked, Desk, View};
use follower::Follower;
use outgoing::Outgoing;
use primary::{Order, Primary, Report};
use register::Registrar;

/// How an idle standby sleeps at a time: an acknowledgement is late by so much.
const REST: Duration = Duration::from_micros(50);
/// How often a leading node's first thread looks.
const LOOK: Duration = Duration::from_micros(500);
/// How long `format --standby` waits for the other node.
const PEER_MAX: Duration = Duration::from_secs(10);
/// How often what `status` shows is brought up to date.
const SHOW_EVERY: Duration = Duration::from_millis(20);

/// `ironbell run` of a node of a pair.
///
/// # Errors
/// As [`crate::node::run`].
pub fn run(
    config: &Config,
    ha: &Ha,
    path: &Path,
    hlog: Option<&Path>,
    from_genesis: bool,
    signals: &Arc<AtomicBool>,
) -> Result<(), Failure> {
    let stop = Stop::default();
    let _end = EndThreads(stop.clone());
    let caller = Caller::of(ha, stop.clone())?;
    let registrar = Registrar::start(ha, stop.clone())?;
    let (asks, asked) = channel();
    let mut pair = Pair {
        config,
        ha,
        path,
        hlog,
        signals,
        caller,
        registrar,
        asks,
        asked,
        unanswered: None,
        view: View::new(ha.node),
        stands: false,
        takeover: Span::none(),
        notifier: Notifier::new(),
        stop,
    };
    let mut from_genesis = from_genesis;
    // What came whole before a crash.
    incoming::install(config)?;
    loop {
        match pair.live(from_genesis)? {
            Ended::Stopped => return Ok(()),
            Ended::Again => {}
            Ended::Staged => {
                incoming::install(config)?;
                tracing::info!("a snapshot of the other node is in place; going on behind it");
            }
            Ended::CutBack(to) => {
                tracing::warn!(%to, "what this node has behind that point was never acknowledged; it is set aside");
                let options = config.store_options(config.data_key()?);
                let cut = ironbell_store::cut_back(&config.journal_dir(), &options, &to)?;
                tracing::warn!(frames = cut.frames, commands = cut.commands, kept = ?cut.kept, "set aside");
            }
        }
        from_genesis = false;
    }
}

/// Whose history the other node has, as it says itself.
///
/// # Errors
/// When it cannot be reached, or is told to acknowledge otherwise.
pub fn identity_of_peer(ha: &Ha) -> Result<Identity, Failure> {
    let stop = Stop::default();
    let _end = EndThreads(stop.clone());
    let caller = Caller::of(ha, stop)?;
    let refused = |what: &dyn std::fmt::Display| {
        Failure::refused(format_args!(
            "the other node: {what}; start it first, and see that [ha] of both agree"
        ))
    };
    caller.call();
    let begun = Instant::now();
    let mut carriage: Option<Carriage> = None;
    while begun.elapsed() < PEER_MAX {
        if let Some(connection) = caller.connection() {
            carriage = Some(Carriage::new(connection, 0));
        }
        if let Some(carriage) = &mut carriage {
            carriage.receive().map_err(|e| refused(&e))?;
            match carriage.message().map_err(|e| refused(&e))? {
                Some(Message::Hello(hello)) if hello.node == ha.node() => {
                    return Err(refused(&"both say they are the same node: see ha.node"));
                }
                Some(Message::Hello(hello)) => return Ok(hello.identity),
                Some(_) => return Err(refused(&"it does not say hello")),
                None => {}
            }
        }
        std::thread::sleep(LOOK);
    }
    Err(refused(&format_args!("not heard of for {} s", PEER_MAX.as_secs())))
}

/// Ends the threads that live as long as the program when that goes, however it does.
struct EndThreads(Stop);

impl Drop for EndThreads {
    fn drop(&mut self) {
        self.0.ask();
    }
}

/// How a life ended.
enum Ended {
    /// The program is to end.
    Stopped,
    /// Another life begins.
    Again,
    /// Another life begins, behind this point.
    CutBack(Point),
    /// Another life begins, with what the other node has sent in the place of what is here.
    Staged,
}

/// What outlives a life.
struct Pair<'a> {
    config: &'a Config,
    ha: &'a Ha,
    path: &'a Path,
    hlog: Option<&'a Path>,
    signals: &'a Arc<AtomicBool>,
    caller: Caller,
    registrar: Registrar,
    /// For those who listen to operators.
    asks: Sender<Asked>,
    asked: Receiver<Asked>,
    /// Who waits for the outcome of the last order.
    unanswered: Option<Sender<Result<String, String>>>,
    /// What `status` shows.
    view: View,
    /// An operator has told it to stop leading.
    stands: bool,
    /// From the promise of an epoch until members are let in.
    takeover: Span,
    notifier: Notifier,
    stop: Stop,
}

/// One life.
struct Life {
    control: Control,
    stage: Stage,
    keeper: Keeper,
    hlog: Option<StageLog>,
    /// Answers operators until the service role does.
    desk: Option<Desk>,
}

/// What a life has come to.
enum Stage {
    /// It copies the other node's journal, or waits for one.
    Following(Box<Follower>),
    /// It leads by the register, and nobody can connect yet.
    Rising(Box<Rising>, Line),
    /// It leads.
    Open(Box<Node>, Line),
    /// Between two stages.
    Between,
}

/// A node that begins to lead.
pub struct Rising {
    /// Its state.
    pub warm: Warm,
    /// Its side of the pair.
    pub primary: Primary,
    /// What the release gate is told.
    pub marks: Marks,
}

/// What the primary's side tells the release gate.
#[derive(Clone)]
pub struct Marks {
    /// What is committed.
    pub commit: CursorReader,
    /// Until when outcomes may be released; none while that is unlimited.
    pub permission: DueReader,
}

/// The first thread's ends towards the primary's side.
struct Line {
    orders: Producer<Order>,
    reports: Consumer<Report>,
    /// Members are to be let in as soon as everything that was executed is committed.
    opening: bool,
    drain: Drain,
}

/// How far a drain is.
#[derive(PartialEq)]
enum Drain {
    /// None was asked for.
    No,
    /// Until everything is committed and released.
    Asked,
    /// It is; the next word of how far the disk is says where the history ends.
    Quiet,
}

impl Line {
    fn order(&mut self, order: Order) {
        // So many are never under way: control waits for the outcome of each.
        assert!(self.orders.push(order).is_ok(), "the primary's side takes no orders");
    }
}

impl Pair<'_> {
    fn live(&mut self, from_genesis: bool) -> Result<Ended, Failure> {
        self.registrar.begin_life();
        self.takeover = Span::none();
        let warm = Warm::recover(self.config, from_genesis, Term::Copy)?;
        let (promised, last) = (warm.writer.promised(), warm.writer.durable_point());
        let start = Start { promised, last, stands: self.stands };
        let keeper = Keeper::new(self.config, self.path, warm.recovered.snapshot_seq.unwrap_or(0));
        let line =
            format!("standby: node {} has recovered {} commands", self.ha.node, warm.recovered.commands);
        say(&line);
        self.notifier.ready(&line);
        let durability = format!("{:?}", self.config.journal.durability).to_lowercase();
        self.view.recovered(&warm.recovered, &durability);
        let follower = Follower::new(warm, self.config, self.ha, self.view.clone())?;
        self.caller.call();
        let mut life = Life {
            control: Control::new(self.ha.rules(), start, boot_time()),
            stage: Stage::Following(Box::new(follower)),
            keeper,
            hlog: None,
            desk: Some(Desk::start(&self.config.admin_socket(), self.asks.clone(), self.view.clone())?),
        };
        let ended = self.go_on(&mut life);
        if let Some(answer) = self.unanswered.take() {
            // Who asked may have gone.
            let _ = answer.send(Err("the node began again meanwhile: see `ironbell status`".into()));
        }
        self.end(life, matches!(ended, Ok(Ended::Stopped)))?;
        ended
    }

    /// Until the life ends.
    fn go_on(&mut self, life: &mut Life) -> Result<Ended, Failure> {
        let mut shown_at = Instant::now();
        let mut idle = 0_u32;
        while !self.signals.load(Ordering::Acquire) {
            let mut work = self.hear(life);
            work += match &mut life.stage {
                Stage::Following(follower) => {
                    if let Some(connection) = self.caller.connection() {
                        follower.connect(connection, &mut life.control)?;
                    }
                    let worked = follower.poll(&mut life.control)?;
                    if follower.has_staged() {
                        return Ok(Ended::Staged);
                    }
                    if follower.wants_link() {
                        self.caller.call();
                    }
                    worked
                }
                Stage::Rising(rising, _) => rising.primary.poll(&mut rising.warm.writer)?,
                Stage::Open(node, _) if node.is_ending() => return Ok(Ended::Stopped),
                Stage::Open(..) => 0,
                Stage::Between => unreachable!("a stage follows"),
            };
            self.take_reports(life);
            life.control.input(Input::Tick, boot_time());
            while let Some(action) = life.control.action() {
                work += 1;
                if let Some(ended) = self.act(life, action)? {
                    return Ok(ended);
                }
            }
            self.open_when_committed(life)?;
            self.drained(life);
            if shown_at.elapsed() > SHOW_EVERY {
                shown_at = Instant::now();
                self.show(life)?;
            }
            idle = if work > 0 { 0 } else { idle.saturating_add(1) };
            match &life.stage {
                Stage::Open(..) => std::thread::sleep(LOOK),
                _ if idle > 20 => std::thread::sleep(REST),
                _ if idle > 0 => std::thread::yield_now(),
                _ => {}
            }
        }
        Ok(Ended::Stopped)
    }

    /// What the register and operators say.
    fn hear(&mut self, life: &mut Life) -> usize {
        let mut heard = 0;
        while let Some(input) = self.registrar.heard() {
            life.control.input(input, boot_time());
            heard += 1;
        }
        while let Ok(Asked { order, answer }) = self.asked.try_recv() {
            heard += 1;
            let is_reported = !matches!(order, Told::Demote | Told::Rejoin);
            match life.control.order(order, boot_time()) {
                Ok(()) if is_reported => self.unanswered = Some(answer),
                Ok(()) => drop(answer.send(Ok("done".into()))),
                // Who asked may have gone.
                Err(refused) => drop(answer.send(Err(refused.to_string()))),
            }
        }
        heard
    }

    fn take_reports(&mut self, life: &mut Life) {
        let (Stage::Rising(_, line) | Stage::Open(_, line)) = &mut life.stage else { return };
        // While the order path stands still and takes none, the other node says hello in vain, and calls again.
        if let Some(connection) = self.caller.connection()
            && line.orders.slots() > primary::ORDERS / 2
        {
            line.order(Order::Connect(Carriage::new(connection, primary::OUTBOX_BYTES)));
        }
        while let Ok(report) = line.reports.pop() {
            match report {
                Report::Input(Input::Durable(last)) => {
                    life.control.input(Input::Durable(last), boot_time());
                    if line.drain == Drain::Quiet {
                        line.drain = Drain::No;
                        life.control.input(Input::Drained { last }, boot_time());
                    }
                }
                Report::Input(input) => life.control.input(input, boot_time()),
                Report::Followed => tracing::info!("the other node follows"),
                Report::Lost(why) => tracing::warn!(why, "the link to the other node is down"),
                Report::Unconnected => {
                    self.view.lag(None);
                    self.caller.call();
                }
                Report::Lag(lag) => self.view.lag(Some(lag)),
                Report::Alarm(what) => tracing::error!("ALARM: {what}"),
            }
        }
    }

    /// Carries out an action of control's.
    fn act(&mut self, life: &mut Life, action: Action) -> Result<Option<Ended>, Failure> {
        tracing::debug!(?action, "control");
        match (action, &mut life.stage) {
            (Action::Read, _) => self.registrar.read(),
            (Action::Swap { expect, to }, _) => self.registrar.swap(expect, to),
            (Action::HoldLease, _) => self.registrar.hold_lease(true),
            (Action::DropLease, _) => self.registrar.hold_lease(false),
            (Action::Alarm(alarm), _) => tracing::error!(?alarm, "ALARM: {}", desk::words(alarm)),
            (Action::Report(outcome), _) => {
                match &outcome {
                    Ok(done) => tracing::info!("{done}"),
                    Err(why) => tracing::warn!("{why}"),
                }
                if let Some(answer) = self.unanswered.take() {
                    // Who asks for the status next sees what was done.
                    self.view.control(&life.control.status());
                    drop(answer.send(outcome));
                }
            }
            (Action::StepDown(why), _) => {
                tracing::warn!(?why, "this node leads no more");
                self.stands = matches!(why, StepDown::Demoted);
                self.registrar.hold_lease(false);
                return Ok(Some(Ended::Again));
            }
            (Action::CutBack(to), _) => return Ok(Some(Ended::CutBack(to))),
            (Action::Promise(epoch), Stage::Following(follower)) => {
                self.takeover = span!("take over", epoch);
                let _takeover = self.takeover.clone().entered();
                let input = span!("promise").in_scope(|| follower.promise(epoch))?;
                life.control.input(input, boot_time());
            }
            (Action::Pull { from }, Stage::Following(follower)) => follower.pull(from),
            (Action::Lead { register, rule }, Stage::Following(_)) => {
                let Stage::Following(follower) = std::mem::replace(&mut life.stage, Stage::Between) else {
                    unreachable!("it was matched");
                };
                // Its link goes with it; who was there will hear another hello.
                life.control.input(Input::LinkDown, boot_time());
                let takeover = self.takeover.clone().entered();
                let (rising, line) = span!("rise").in_scope(|| self.rise(*follower, register.epoch, rule))?;
                drop(takeover);
                life.stage = Stage::Rising(Box::new(rising), line);
                self.stands = false;
                life.control.input(Input::Ready { epoch: register.epoch }, boot_time());
                self.caller.call();
            }
            (Action::Promise(epoch), Stage::Rising(_, line) | Stage::Open(_, line)) => {
                line.order(Order::Promise(epoch));
            }
            (Action::BeginEpoch(register), Stage::Rising(_, line) | Stage::Open(_, line)) => {
                line.order(Order::BeginEpoch(register.epoch));
            }
            (Action::Commit(rule), Stage::Rising(_, line) | Stage::Open(_, line)) => {
                line.order(Order::Commit(rule));
            }
            (Action::HandOver { epoch, last }, Stage::Rising(_, line) | Stage::Open(_, line)) => {
                line.order(Order::HandOver { epoch, last });
            }
            (Action::Open, Stage::Rising(_, line)) => line.opening = true,
            (Action::Open, Stage::Open(node, line)) => {
                line.drain = Drain::No;
                node.resume();
            }
            (Action::Drain, Stage::Open(node, line)) => {
                node.drain();
                line.drain = Drain::Asked;
            }
            // Of a stage that is over: nobody waits for it.
            (action, _) => tracing::warn!(?action, "not to be done at this stage"),
        }
        Ok(None)
    }

    /// From following to leading: everything that was received is executed, and the epoch begun, on the disk.
    fn rise(&mut self, follower: Follower, epoch: u64, rule: CommitRule) -> Result<(Rising, Line), Failure> {
        let mut warm = follower.into_warm()?;
        let before = warm.writer.point();
        while !warm.writer.can_begin() {
            warm.writer.poll()?;
        }
        warm.writer.begin_epoch(epoch)?;
        while warm.writer.in_flight() > 0 {
            warm.writer.poll()?;
        }
        let (commit, commit_reader) = cursor(warm.writer.chain().commit.0);
        let (permission, permission_reader) = due();
        let (orders, theirs) = ring(primary::ORDERS);
        let (reports, told) = ring(primary::REPORTS);
        let catch_up = CatchUp::start(warm.dir.clone(), warm.data_key.clone(), self.stop.clone())?;
        let source = outgoing::Source {
            dir: warm.dir.clone(),
            data_key: warm.data_key.clone(),
            logs: Logs::of(self.config, warm.data_key.as_deref()),
            readers: [warm.gateway.log_reader(), warm.feed.channel().log_reader()],
        };
        let outgoing = Outgoing::start(source, self.stop.clone())?;
        let settings = primary::Settings {
            node: self.ha.node(),
            identity: ironbell_store::identity(&warm.dir)?,
            policy: self.ha.ack,
            permission: Nanos(self.ha.permission.0),
            link: self.ha.link(),
        };
        let ends = primary::Ends { commit, permission, orders: theirs, reports };
        let primary = Primary::new(settings, &warm.writer, before, rule, catch_up, ends).giving(outgoing);
        let marks = Marks { commit: commit_reader, permission: permission_reader };
        let line = Line { orders, reports: told, opening: false, drain: Drain::No };
        Ok((Rising { warm, primary, marks }, line))
    }

    /// Lets members in when control says so and everything that was executed here is committed: what their logs hold may
    /// then be heard.
    fn open_when_committed(&mut self, life: &mut Life) -> Result<(), Failure> {
        let Stage::Rising(rising, line) = &life.stage else { return Ok(()) };
        let executed = rising.warm.replay.engine().last_seq();
        if !line.opening || rising.marks.commit.get() < executed.0 {
            return Ok(());
        }
        let Stage::Rising(rising, line) = std::mem::replace(&mut life.stage, Stage::Between) else {
            unreachable!("it was matched");
        };
        // The service role takes its place.
        life.desk = None;
        let doors = Doors::open(self.config)?;
        let Rising { warm, primary, marks } = *rising;
        let side = crate::lead::Side { primary, marks, asks: self.asks.clone(), view: self.view.clone() };
        let node = std::mem::replace(&mut self.takeover, Span::none())
            .in_scope(|| warm.lead(self.config, doors, Some(side)))?;
        life.hlog = self.hlog.map(|file| StageLog::create(file, &node.metrics_path)).transpose()?;
        say(&node.ready_line());
        self.notifier.watch(&node.metrics_path)?;
        self.notifier.ready(&node.ready_line());
        life.stage = Stage::Open(Box::new(node), line);
        Ok(())
    }

    fn drained(&self, life: &mut Life) {
        if let Stage::Open(node, line) = &mut life.stage
            && line.drain == Drain::Asked
            && node.is_drained()
        {
            line.drain = Drain::Quiet;
        }
    }

    /// What is done now and then.
    fn show(&mut self, life: &mut Life) -> Result<(), Failure> {
        self.view.control(&life.control.status());
        self.notifier.tick();
        match &mut life.stage {
            Stage::Following(follower) => {
                follower.show();
                life.keeper.tick(follower.executed().0);
            }
            Stage::Open(node, _) => {
                life.keeper.tick(node.commit.get());
                life.hlog.as_mut().map_or(Ok(()), StageLog::tick)?;
            }
            Stage::Rising(..) | Stage::Between => {}
        }
        Ok(())
    }

    /// Ends a life. A node that stops drains and seals; one that steps down drops what it has.
    fn end(&mut self, life: Life, in_order: bool) -> Result<(), Failure> {
        let Life { stage, hlog, .. } = life;
        self.notifier.unwatch();
        if in_order {
            self.notifier.stopping();
        }
        match stage {
            Stage::Open(node, _) if in_order => {
                let logged = hlog.map_or(Ok(()), StageLog::finish);
                let commit = node.commit.clone();
                // What the standby does not hold yet is committed once it does.
                node.finish().and(logged)?;
                self.registrar.hold_lease(false);
                say(&format!("stopped: drained, journal sealed at seq {}", commit.get()));
            }
            Stage::Open(node, _) => node.abandon(),
            Stage::Following(follower) if in_order => {
                let last = follower.end()?;
                say(&format!("stopped: followed, journal sealed at seq {last}"));
            }
            Stage::Rising(rising, _) if in_order => {
                let mut warm = rising.warm;
                warm.writer.seal()?;
                say("stopped: journal sealed before members were let in");
            }
            Stage::Following(_) | Stage::Rising(..) | Stage::Between => {}
        }
        Ok(())
    }
}

fn say(line: &str) {
    // Whoever started the node may have closed the pipe after the first line.
    let _ = writeln!(std::io::stdout(), "{line}");
}
