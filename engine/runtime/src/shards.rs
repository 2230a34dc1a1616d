//! The state machine on several threads: each shard its own [`Worker`], the first led by the [`Lead`] that owns the engine.
//!
//! ```text
//!              ┌─ jobs, done ─→ worker of shard 1 ─┐
//! frame ─→ lead┤                    ║ mail         ├─ all to all: engine/sync's exchange
//!   shard 0    └─ jobs, done ─→ worker of shard 2 ─┘
//! ```
//!
//! Commands that can run beside each other make a *run*. For a run the lead lends each shard its part of the engine and
//! gives it a job; then all shards go through the run superstep by superstep (`engine/core`'s `superstep.rs`), with two
//! exchanges of mail in each and nothing else to meet at: shard A's stage 1 of the next span reads only what A's own
//! stage 3 wrote. Where a span ends and where it was cut all shards reckon alike, so nobody is told. At the end of a run
//! each says that it is done and hands over its events, and its part where the next command runs by itself: with all
//! parts at home the lead executes that like an engine of one thread.
//!
//! **Small frames run at home**, where they cost no exchange: parts are lent when a run is long, and come home after some
//! frames without a long one ([`Lending`]). That decides nothing but speed: the outcome is the same either way.
//!
//! **Who cuts supersteps holds nobody up for long.** A run ends with its [`CUTS_MAX`]th cut, and the rest of it is executed at
//! home. The ports whose commands cut are told to the sequencer, which reads them last (`deferral.rs`), and what of a frame
//! is theirs runs at home, behind a run that nothing cuts any more.
//!
//! Nobody waits for ever. A shard waits for mail (`engine/sync`'s `exchange.rs` says why that comes), the lead for what it
//! gave out. A worker has at most one job, so that the rings of jobs and of what is done never fill. Nothing here waits
//! within a `poll`, so that shards may share threads and outnumber cores; what a thread does meanwhile is its plan's.

use std::time::Duration;

use ironbell_core::Engine;
use ironbell_core::superstep::{Mail, Pace, Part, Said, span};
use ironbell_sync::{Bell, Consumer, Exchange, Producer, Sleeper, bell, exchange, ring, ticks};
use ironbell_types::{Event, Nanos, PortId, Sequenced};

use crate::frame::{COMMANDS_MAX, SharedFrame};
use crate::placement::Role;

/// Slots of the rings between lead and worker: a worker has one job at most.
pub const JOBS: usize = 2;

/// So many cuts end a run.
pub const CUTS_MAX: usize = 4;

/// Frames that stay at home after such a run: then it is tried again.
const FRAMES_AT_HOME: u32 = 8;

/// When parts are lent, and when they come home again. It shows in no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lending {
    /// A run of at least so many commands is worth lending for.
    pub run_min: usize,
    /// After so many frames in a row without such a run the parts come home.
    pub frames_max: u32,
    /// So many commands are executed in one superstep at most.
    pub span_max: usize,
}

impl Default for Lending {
    /// From about so many commands on two shards are quicker than the first alone, exchanges and all; and a frame of 16 of
    /// which a port's share is deferred is still worth it (bench `superstep_scaling`, *measured* beside *at_home*).
    fn default() -> Self {
        Self { run_min: 12, frames_max: 16, span_max: COMMANDS_MAX }
    }
}

/// What a lead has counted, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Commands executed with all parts at home.
    pub commands_home: u64,
    /// Commands executed in supersteps.
    pub commands_lent: u64,
    /// Supersteps.
    pub supersteps: u64,
    /// Those of them that were cut short.
    pub cuts: u64,
    /// How often the parts were lent.
    pub loans: u64,
}

/// Ports of cuts that are told of a frame at most.
pub const CUT_BY_MAX: usize = 64;

/// What a worker is to do.
struct Job {
    frame: SharedFrame,
    /// The run, as places in the frame.
    from: usize,
    to: usize,
    /// Its part, when it was at home.
    part: Option<Box<Part>>,
    /// Whether it keeps the part.
    keeps: bool,
    /// Room for what is said.
    said: Box<Said>,
}

/// What a worker has done.
struct Done {
    said: Box<Said>,
    part: Option<Box<Part>>,
    next_due: Option<Nanos>,
}

/// One shard's way through the supersteps of a run.
struct Share {
    part: Option<Box<Part>>,
    exchange: Exchange<Mail>,
    pace: Pace,
    /// Where in the run the present span begins.
    at: usize,
    under_way: UnderWay,
    /// Whose commands cut the present run, one for each cut.
    cut_by: Vec<PortId>,
    supersteps: u64,
    /// When stages 1 and 2 of its latest superstep were done (metrics ticks); 0 when commands ran at home since.
    stages_done: [u64; 2],
}

#[derive(Clone, Copy)]
enum UnderWay {
    /// Stage 1 is next.
    Nothing,
    /// What stage 1 of the others admitted is on its way.
    Requests,
    /// What stage 2 of the others did is on its way; the span was cut here.
    Effects(usize),
}

impl Share {
    fn new(exchange: Exchange<Mail>, pace: Pace) -> Self {
        let cut_by = Vec::with_capacity(CUTS_MAX);
        Self {
            part: None,
            exchange,
            pace,
            at: 0,
            under_way: UnderWay::Nothing,
            cut_by,
            supersteps: 0,
            stages_done: [0; 2],
        }
    }

    /// A run begins; the part is lent, if it is not here.
    fn begin(&mut self, part: Option<Box<Part>>) {
        self.part = self.part.take().or(part);
        self.at = 0;
        self.cut_by.clear();
        self.pace = self.pace.restarted();
    }

    /// Goes on with a run as far as the others let it. Returns how many stages it got done, and whether the run is ended:
    /// as far as [`Share::at`], which is before its end when it was cut too often.
    fn advance(&mut self, run: &[Sequenced]) -> (usize, bool) {
        let part = self.part.as_deref_mut().expect("a shard with a job has its part");
        let mut stages = 0;
        loop {
            let span = &run[self.at..][..span(&run[self.at..], self.pace.length())];
            match self.under_way {
                UnderWay::Nothing if self.at == run.len() || self.cut_by.len() == CUTS_MAX => {
                    return (stages, true);
                }
                UnderWay::Nothing => {
                    part.risk(span, self.exchange.boxes().1);
                    self.exchange.send();
                    self.stages_done[0] = ticks();
                    self.under_way = UnderWay::Requests;
                }
                UnderWay::Requests | UnderWay::Effects(_) if !self.exchange.receive() => {
                    return (stages, false);
                }
                UnderWay::Requests => {
                    let (inbox, outbox) = self.exchange.boxes();
                    let cut = part.matching(span, inbox, outbox);
                    self.exchange.send();
                    self.stages_done[1] = ticks();
                    self.under_way = UnderWay::Effects(cut);
                }
                UnderWay::Effects(cut) => {
                    part.settle(&span[..cut], self.exchange.boxes().0);
                    if self.pace.note(span.len(), cut) {
                        self.cut_by.push(span[cut].command.port().expect("an order came in on a port"));
                    }
                    self.supersteps += 1;
                    self.at += cut;
                    self.under_way = UnderWay::Nothing;
                }
            }
            stages += 1;
        }
    }
}

/// A shard beside the first: runs its share of what the lead gives out.
pub struct Worker {
    name: String,
    share: Share,
    jobs: Consumer<Job>,
    sleeper: Sleeper,
    done: Producer<Done>,
    job: Option<Job>,
}

impl Role for Worker {
    fn name(&self) -> &str {
        &self.name
    }

    fn poll(&mut self, _now: Nanos) -> usize {
        let mut work = 0;
        if self.job.is_none() {
            self.job = self.jobs.pop().ok();
            let Some(job) = &mut self.job else { return 0 };
            self.share.begin(job.part.take());
            work += 1;
        }
        let Some(job) = &self.job else { return 0 };
        let (stages, ended) = self.share.advance(&job.frame.commands[job.from..job.to]);
        work += stages;
        if !ended {
            return work;
        }
        let Job { frame, keeps, mut said, from, to, .. } = self.job.take().expect("a job was done");
        let keeps = keeps && self.share.at == to - from;
        let part = self.share.part.as_deref_mut().expect("a shard with a job has its part");
        part.take_said(&mut said);
        let next_due = part.next_due();
        let part = if keeps { None } else { self.share.part.take() };
        // Let go before the lead hears of it: the frame is filled again when nobody holds it.
        drop(frame);
        assert!(self.done.push(Done { said, part, next_due }).is_ok(), "a worker has one job at most");
        work + 1
    }

    fn wait_alone(&mut self, at_most: Duration) -> bool {
        if self.job.is_some() {
            // The mail it waits for does not ring.
            return false;
        }
        // It is rung for, whatever comes; it only shows now and then that it lives.
        self.sleeper.sleep(at_most * 10, || !self.jobs.is_empty());
        true
    }
}

/// The lead's ends of the rings to a worker, and what it has heard in the present run.
struct Link {
    jobs: Producer<Job>,
    bell: Bell,
    done: Consumer<Done>,
    heard: Option<Done>,
    /// When something is next due on a part that is lent.
    next_due: Option<Nanos>,
}

/// Where in a frame the lead is.
#[derive(Clone, Copy)]
enum Place {
    /// At a command with which a run may begin.
    Between(usize),
    /// In a run over places of the frame, after which the workers keep their parts or not.
    Running { from: usize, to: usize, keeps: bool },
}

/// The engine, lent out for long runs.
pub struct Lead {
    engine: Engine,
    share: Share,
    links: Vec<Link>,
    lending: Lending,
    lent: bool,
    /// Holds no part; its room goes to the engine with the parts, and comes back when they are lent.
    spare: Vec<Box<Part>>,
    /// Frames in a row without a run worth lending for.
    short_frames: u32,
    /// So many more frames stay at home, since the last run was cut to pieces.
    frames_at_home: u32,
    place: Place,
    /// Whose commands cut supersteps of the present frame, one for each cut; no more than there is room for.
    cut_by: Vec<PortId>,
    counters: Counters,
}

/// What came of a frame: see [`Lead::poll`].
pub struct Output<'a> {
    /// What was said so far, in order.
    pub events: &'a mut Vec<Event>,
    /// What was said after that, by shard: empty ones to begin with, one for each shard; at the end of the frame they
    /// are to be merged behind `events`.
    pub said: &'a mut Vec<Box<Said>>,
}

/// The engine's lead and, for the shards beside the first, workers.
#[must_use]
pub fn lead(engine: Engine, lending: Lending) -> (Lead, Vec<Worker>) {
    let pace = Pace::new(lending.span_max);
    let ends = exchange(engine.shards(), || Mail::new(lending.span_max));
    let mut shares = ends.into_iter().map(|end| Share::new(end, pace));
    let own = shares.next().expect("an engine has a shard");
    let (mut links, mut workers) = (Vec::new(), Vec::new());
    for share in shares {
        let (jobs, to_worker) = ring(JOBS);
        let (done, from_worker) = ring(JOBS);
        let (bell, sleeper) = bell();
        let name = format!("shard {}", share.exchange.member());
        workers.push(Worker { name, share, jobs: to_worker, sleeper, done, job: None });
        links.push(Link { jobs, bell, done: from_worker, heard: None, next_due: None });
    }
    let lead = Lead {
        engine,
        share: own,
        links,
        lending,
        lent: false,
        spare: Vec::new(),
        short_frames: 0,
        frames_at_home: 0,
        place: Place::Between(0),
        cut_by: Vec::with_capacity(CUT_BY_MAX),
        counters: Counters::default(),
    };
    (lead, workers)
}

impl Lead {
    /// The engine. What is lent is missing from it: only its counts and hashes speak.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The engine, all parts at home.
    ///
    /// # Panics
    /// When parts are lent.
    #[must_use]
    pub fn into_engine(self) -> Engine {
        assert!(!self.lent, "parts of the engine are lent");
        self.engine
    }

    /// When the state machine next has something to do by itself, between frames.
    #[must_use]
    pub fn next_due(&self) -> Option<Nanos> {
        match &self.share.part {
            Some(part) => {
                self.links.iter().map(|link| link.next_due).chain([part.next_due()]).flatten().min()
            }
            None => self.engine.next_due(),
        }
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters { supersteps: self.share.supersteps, ..self.counters }
    }

    /// When risk and matching of the last superstep were done on this shard (metrics ticks); zeros when what came last ran
    /// one at a time, where the stages of a command are not told apart.
    #[must_use]
    pub fn stages_done(&self) -> [u64; 2] {
        self.share.stages_done
    }

    /// Whose commands cut supersteps since it was asked last; to be asked after each frame.
    pub fn cut_by(&mut self) -> impl Iterator<Item = PortId> + '_ {
        self.cut_by.drain(..)
    }

    /// Goes on with a frame as far as it can; to be called with the same frame until it is done. Returns how much was
    /// done, and whether the frame is.
    pub fn poll(&mut self, frame: &SharedFrame, output: &mut Output<'_>) -> (usize, bool) {
        let mut work = 0;
        loop {
            match self.place {
                Place::Between(at) if at == frame.commands.len() => {
                    self.place = Place::Between(0);
                    return (work, true);
                }
                Place::Between(at) => work += self.begin(frame, at, output),
                Place::Running { from, to, keeps } => {
                    let (stages, ended) = self.share.advance(&frame.commands[from..to]);
                    work += stages;
                    if !ended || !self.links.iter_mut().all(Link::hear) {
                        return (work, false);
                    }
                    let done = from + self.share.at;
                    self.end(frame, (from, done), keeps && done == to, output);
                    if done < to {
                        self.frames_at_home = FRAMES_AT_HOME;
                    }
                    work += 1;
                }
            }
        }
    }

    /// Executes what runs by itself, or is too short to be lent for, at home; or gives out jobs.
    fn begin(&mut self, frame: &SharedFrame, at: usize, output: &mut Output<'_>) -> usize {
        let rest = &frame.commands[at..];
        let run = span(rest, rest.len().saturating_sub(frame.deferred));
        if at == 0 {
            self.frames_at_home = self.frames_at_home.saturating_sub(1);
        }
        let is_long = run >= self.lending.run_min.max(1) && self.frames_at_home == 0;
        self.short_frames = match (is_long, at) {
            (true, _) => 0,
            (false, 0) => self.short_frames.saturating_add(1),
            (false, _) => self.short_frames,
        };
        if !self.lent && !is_long {
            let here = if run == 0 { span(rest, rest.len()).max(1) } else { run };
            for command in &rest[..here] {
                self.engine.execute(command, output.events);
            }
            self.counters.commands_home += here as u64;
            self.share.stages_done = [0; 2];
            self.place = Place::Between(at + here);
            return here;
        }
        // An empty run only calls the parts home: what comes next runs there.
        let run = if self.frames_at_home > 0 { 0 } else { run };
        let keeps = run == rest.len() && self.short_frames < self.lending.frames_max;
        if !self.lent {
            self.lent = true;
            self.counters.loans += 1;
            self.spare = self.engine.lend();
        }
        let mut parts = self.spare.drain(..);
        let own = if self.share.part.is_none() { parts.next() } else { None };
        self.share.begin(own);
        for link in &mut self.links {
            let said = output.said.pop().expect("there is one for each shard");
            let job = Job { frame: frame.clone(), from: at, to: at + run, part: parts.next(), keeps, said };
            assert!(link.jobs.push(job).is_ok(), "a worker has one job at most");
            link.bell.ring();
        }
        self.place = Place::Running { from: at, to: at + run, keeps };
        1
    }

    /// Every shard is done with a run, as far as it went: takes note, and takes the parts home unless they are kept.
    fn end(&mut self, frame: &SharedFrame, (from, to): (usize, usize), keeps: bool, output: &mut Output<'_>) {
        let part = self.share.part.as_deref_mut().expect("the run was executed");
        part.take_said(output.said.first_mut().expect("there is one for each shard"));
        if !keeps {
            self.spare.extend(self.share.part.take());
        }
        for link in &mut self.links {
            let Done { said, part, next_due } = link.heard.take().expect("every worker was heard");
            output.said.push(said);
            link.next_due = next_due;
            self.spare.extend(part);
        }
        let hash = output.said.iter().fold(0u128, |hash, said| hash.wrapping_add(said.output_hash()));
        self.engine.note(&frame.commands[from..to], hash);
        self.counters.cuts += self.share.cut_by.len() as u64;
        let room = CUT_BY_MAX - self.cut_by.len();
        self.cut_by.extend(self.share.cut_by.iter().take(room));
        self.counters.commands_lent += (to - from) as u64;
        if !keeps {
            self.engine.take_back(std::mem::take(&mut self.spare));
            self.lent = false;
        }
        if to < frame.commands.len() {
            // What comes next speaks into `events`; at the end of a frame the release gate merges.
            Said::merge(output.said.iter_mut().map(|said| &mut **said), output.events);
        }
        self.place = Place::Between(to);
    }
}

impl Link {
    /// Whether the worker has said that it is done.
    fn hear(&mut self) -> bool {
        if self.heard.is_none() {
            self.heard = self.done.pop().ok();
        }
        self.heard.is_some()
    }
}
