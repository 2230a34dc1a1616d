//! The load over real TCP sessions: one thread that polls them all and never waits for an answer.

use crate::book_watch::Ticks;
use crate::flow::FlowConfig;
use crate::kernel_stamps::KernelStamps;
use crate::latency::Latency;
use crate::load::{Counts, Latencies, Load, Remembered};
use crate::orders::Request;
use crate::samples::Sample;
use crate::schedule::{Arrivals, Schedule};
use crate::sources::{self, Sources};
use ironbell_client::order_entry::{self, Event, Member, NewOrder, NotSent, OrderEntry, Replacement};
use ironbell_device::kernel::Connection;
use ironbell_session::{Config as SessionConfig, Refusal};
use ironbell_types::{Nanos, Side, Symbol, Username};
use ironbell_wire::ouch::{OptionsBuf, Outbound};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Requests handed out between two sweeps of the sessions at most, so that a late generator that
/// catches up still reads its answers.
const BURST_MAX: usize = 64;
/// Answers taken from one session between two looks at the schedule at most.
const EVENTS_MAX: usize = 256;

/// While others log in, from one look at the sessions that have to the next.
const HEARTBEAT_EVERY: Duration = Duration::from_millis(500);

/// Who trades.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// SoupBinTCP user name.
    pub username: Username,
    /// SoupBinTCP password, at most ten characters.
    pub password: String,
}

/// What the load is.
#[derive(Clone, Debug)]
pub struct DriverConfig {
    /// Who trades; each has a session of its own.
    pub logins: Vec<Login>,
    /// What they do.
    pub flow: FlowConfig,
    /// How arrivals follow each other.
    pub arrivals: Arrivals,
    /// Requests a second, of all members together.
    pub rate: f64,
    /// How many orders a member may send before memory is allocated for more.
    pub capacity: usize,
    /// Whether every message heard is remembered, for [`Driver::check_retold`].
    pub remember: bool,
    /// Whether nobody else trades these instruments; then what was bought must have been sold.
    pub alone: bool,
    /// How long to wait for a login's answer, and for the last answers at the end.
    pub patience: Duration,
    /// Times and buffers of the sessions.
    pub session: SessionConfig,
    /// Whether the kernel is asked when it had received what is read: a system call more for each read.
    pub kernel_stamps: bool,
    /// The addresses that sessions come from, in turn; see [`Sources`].
    pub sources: Vec<IpAddr>,
}

impl DriverConfig {
    /// `rate` requests a second by Poisson arrivals; patience of a minute.
    #[must_use]
    pub fn new(logins: Vec<Login>, flow: FlowConfig, rate: f64) -> Self {
        Self {
            logins,
            flow,
            arrivals: Arrivals::Poisson,
            rate,
            capacity: 1 << 16,
            remember: false,
            alone: true,
            patience: Duration::from_secs(60),
            session: SessionConfig {
                input_size: 256 << 10,
                output_size: 256 << 10,
                ..SessionConfig::default()
            },
            kernel_stamps: false,
            sources: Vec::new(),
        }
    }
}

/// When a run stops sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// After this time.
    Elapsed(Duration),
    /// After this many requests.
    Requests(u64),
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Every request sent and answered, or left without an answer by the rules.
    Completed,
    /// A session broke; the others were read to their end. [`Driver::reconnect`] goes on from there.
    Disconnected {
        /// Which.
        username: Username,
        /// Why.
        reason: String,
    },
    /// Answers were still missing when patience ran out.
    Unanswered {
        /// How many requests.
        pending: usize,
    },
}

/// What the world did.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A session could not be had or broke while logging in.
    #[error("{username}: {source}")]
    Session {
        /// Whose.
        username: Username,
        /// Why.
        source: order_entry::Error,
    },
    /// So many sessions have nowhere to come from.
    #[error(transparent)]
    Sources(#[from] sources::Error),
    /// The venue refused a login.
    #[error("{username}: login refused: {refusal}")]
    Refused {
        /// Whose.
        username: Username,
        /// Why.
        refusal: Refusal,
    },
    /// The kernel does not stamp what it receives.
    #[error("{username}: the kernel gives no receive timestamps: {source}")]
    NotStamped {
        /// On whose socket.
        username: Username,
        /// Why.
        source: std::io::Error,
    },
    /// An answer did not come in time.
    #[error("{username}: no {what} within {patience:?}")]
    Late {
        /// Whose.
        username: Username,
        /// What did not come.
        what: &'static str,
        /// How long was waited.
        patience: Duration,
    },
    /// The venue tells another story than it told before.
    #[error("{username}: message {number} was heard as {heard:?} and is now told as {told:?}")]
    Retold {
        /// To whom.
        username: Username,
        /// The message's number.
        number: u64,
        /// What was heard.
        heard: Remembered,
        /// What is told; `None` when it is not told at all.
        told: Option<Remembered>,
    },
}

/// How it goes, once a second.
#[derive(Debug)]
pub struct Progress<'a> {
    /// Since the run began.
    pub elapsed: Duration,
    /// Of the interval that ends here.
    pub interval: Duration,
    /// What was sent and heard since the driver began.
    pub counts: &'a Counts,
    /// Order-to-ack of the interval, from the intended times.
    pub latency: &'a Latency,
    /// Requests not yet answered.
    pub pending: usize,
}

/// What a load came to, over all runs of its driver.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How the latest run ended.
    pub ended: Ended,
    /// Time of sending, of all runs.
    pub elapsed: Duration,
    /// From the start of each run until its last request was answered, of all runs.
    pub answered_in: Duration,
    /// Requests that the schedules meant to have gone while they were sent by, whether they have or not.
    pub intended: u64,
    /// What was sent and heard.
    pub counts: Counts,
    /// The latencies.
    pub latencies: Latencies,
    /// Cancels and replacements left without an answer because their order was done by then.
    pub silent: u64,
    /// Requests not answered.
    pub pending: usize,
    /// Open orders.
    pub live: usize,
    /// The first violations of the rules, in words; none in a right venue.
    pub violations: Vec<String>,
}

impl Outcome {
    /// Requests a second while sending.
    #[must_use]
    pub fn requests_per_s(&self) -> f64 {
        self.counts.sent.total() as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Whether everything was answered as the rules say.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.ended == Ended::Completed && self.counts.violations == 0
    }
}

struct Seat {
    username: Username,
    member: Member,
    /// Requests that found no room in the session's output, oldest first.
    waiting: VecDeque<Request>,
}

/// Members under load over TCP.
pub struct Driver {
    config: DriverConfig,
    symbols: Vec<Symbol>,
    clock: Instant,
    seats: Vec<Seat>,
    load: Load,
    runs: u64,
    elapsed: Duration,
    answered_in: Duration,
    intended: u64,
    ended: Ended,
    ready: Ready,
    stamps: Option<KernelStamps>,
    reactions: Option<Reactions>,
}

/// Orders that ticks set off.
struct Reactions {
    ticks: Ticks,
    every: Duration,
    /// When the next tick is asked for.
    next: Nanos,
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver")
            .field("counts", self.load.counts())
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl Driver {
    /// Logs every member in, at its most recent message, and asks for its next number.
    ///
    /// # Errors
    /// A session cannot be had, a login is refused or not answered in time.
    pub fn connect(addr: SocketAddr, config: DriverConfig) -> Result<Self, Error> {
        let clock = Instant::now();
        let sources = Sources::new(&config.sources, config.logins.len(), addr)?;
        let mut seats = Vec::new();
        let mut first_nums = Vec::new();
        let mut looked = clock.elapsed();
        for (nth, login) in config.logins.iter().enumerate() {
            let username = login.username;
            let failed = |source| Error::Session { username, source };
            let mut member =
                connect(addr, sources.of(nth), &config.session, login, at(clock)).map_err(failed)?;
            wait_for(&mut member, username, clock, config.patience, "login", |event| {
                matches!(event, Event::LoggedIn { .. })
            })?;
            let asked = member.entry().account_query();
            assert_eq!(asked, Ok(()), "a session just logged in has room");
            // The most recent message may be such an answer too, from before: then nothing has consumed
            // a number since, so it is as good.
            wait_for(&mut member, username, clock, config.patience, "answer to an account query", |event| {
                matches!(event, Event::Message { message: Outbound::AccountQueryResponse(..), .. })
            })?;
            first_nums.push(member.entry().next_user_ref_num());
            seats.push(Seat { username, member, waiting: VecDeque::new() });
            // Thousands of logins take longer than a session may be silent.
            if clock.elapsed() - looked > HEARTBEAT_EVERY {
                looked = clock.elapsed();
                for seat in &mut seats {
                    let username = seat.username;
                    seat.member.poll(at(clock)).map_err(|source| Error::Session { username, source })?;
                    while seat.member.next().is_ok_and(|event| event.is_some()) {}
                }
            }
        }
        let mut stamps = None;
        if config.kernel_stamps {
            for seat in &seats {
                let username = seat.username;
                KernelStamps::ask(seat.member.stream())
                    .map_err(|source| Error::NotStamped { username, source })?;
            }
            let mut asked = KernelStamps::new();
            wait_for_stamps(&mut seats[0], &mut asked, clock, config.patience)?;
            stamps = Some(asked);
        }
        let ready = Ready::of(&seats);
        let load = Load::new(config.flow.clone(), &first_nums, config.capacity, config.remember);
        let symbols = config.flow.instruments.iter().map(|traded| traded.symbol).collect();
        let ended = Ended::Completed;
        Ok(Self {
            config,
            symbols,
            clock,
            seats,
            load,
            runs: 0,
            elapsed: Duration::ZERO,
            answered_in: Duration::ZERO,
            intended: 0,
            ended,
            ready,
            stamps,
            reactions: None,
        })
    }

    /// Sends at the intended times until `until`, then waits for the last answers. A broken session
    /// ends the run and is told in [`Outcome::ended`]. `progress` is called about once a second and at the
    /// end: the intervals it is told of follow each other without a gap.
    pub fn run(&mut self, until: Until, mut progress: impl FnMut(&Progress<'_>)) -> &Ended {
        // Else the kernel adds up to 50 µs to every rest; then answers are merely noticed later.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
        let start = at(self.clock);
        // Each run draws other times than the one before.
        let seed = self.config.flow.seed ^ (self.runs << 32) ^ 0x5eed;
        self.runs += 1;
        self.load.schedule(Some(Schedule::new(self.config.arrivals.clone(), self.config.rate, start, seed)));
        let sent_before = self.load.counts().sent.total();
        let mut ticker = Ticker::new(start);
        if let Some(reactions) = &mut self.reactions {
            reactions.ticks.forget();
            reactions.next = start;
        }
        self.ended = loop {
            let now = at(self.clock);
            let sent = self.load.counts().sent.total() - sent_before;
            let left = match until {
                Until::Elapsed(duration) if now.0 - start.0 >= duration.as_nanos() as u64 => 0,
                Until::Elapsed(_) => BURST_MAX,
                Until::Requests(count) => (count.saturating_sub(sent)).min(BURST_MAX as u64) as usize,
            };
            if left == 0 {
                self.intended += match until {
                    Until::Elapsed(duration) => {
                        self.load.intended_before(Nanos(start.0 + duration.as_nanos() as u64))
                    }
                    Until::Requests(count) => count,
                };
                self.load.schedule(None);
                self.elapsed += Duration::from_nanos(now.0 - start.0);
                let ended = self.drain(&mut ticker, &mut progress);
                self.answered_in += Duration::from_nanos(at(self.clock).0 - start.0);
                break ended;
            }
            let mut work = self.send_due(left, now) + self.react(now);
            match self.sweep() {
                Ok(moved) => work += moved,
                Err(ended) => {
                    self.load.schedule(None);
                    self.elapsed += Duration::from_nanos(now.0 - start.0);
                    break ended;
                }
            }
            ticker.tick(now, &mut self.load, &mut progress);
            if work == 0 {
                rest();
            }
        };
        if self.ended == Ended::Completed && self.config.alone {
            self.load.check_closed_market();
        }
        ticker.report(at(self.clock), &mut self.load, &mut progress);
        &self.ended
    }

    fn send_due(&mut self, requests_max: usize, now: Nanos) -> usize {
        let mut sent = 0;
        while sent < requests_max {
            let Some((member, request)) = self.load.due(now) else { break };
            let seat = &mut self.seats[member];
            send_or_keep(seat, request, &self.symbols);
            self.ready.wants(member);
            sent += 1;
        }
        sent
    }

    /// Sends what a tick sets off, if one was asked for and has come.
    fn react(&mut self, now: Nanos) -> usize {
        let Some(reactions) = &mut self.reactions else { return 0 };
        if now >= reactions.next {
            reactions.next = Nanos(now.0 + reactions.every.as_nanos() as u64);
            reactions.ticks.want();
        }
        let Some((member, request)) = reactions.ticks.take().and_then(|tick| self.load.react(&tick, now))
        else {
            return 0;
        };
        send_or_keep(&mut self.seats[member], request, &self.symbols);
        self.ready.wants(member);
        1
    }

    /// Polls the sessions that may have something, once, and takes in what came.
    fn sweep(&mut self) -> Result<usize, Ended> {
        let mut work = 0;
        self.ready.look();
        while let Some(index) = self.ready.next() {
            match self.sweep_one(index) {
                Ok(moved) => work += moved,
                Err(error) => {
                    let username = self.seats[index].username;
                    self.read_out();
                    return Err(Ended::Disconnected { username, reason: error.to_string() });
                }
            }
        }
        Ok(work)
    }

    fn sweep_one(&mut self, index: usize) -> Result<usize, order_entry::Error> {
        let seat = &mut self.seats[index];
        while let Some(&request) = seat.waiting.front() {
            if send(&mut seat.member, &request, &self.symbols).is_err() {
                break;
            }
            seat.waiting.pop_front();
        }
        let late = self.stamps.as_mut().and_then(|stamps| stamps.late(seat.member.stream()));
        if let Some(late) = late {
            let now = at(self.clock);
            let then = |late: Option<Nanos>| late.map(|late| Nanos(now.0.saturating_sub(late.0)));
            if late.kernel.is_some() {
                self.load.arrived(then(late.kernel), then(late.card), now);
            }
        }
        let moved = seat.member.poll(at(self.clock));
        // What came before a connection broke counts: it was heard.
        for _ in 0..EVENTS_MAX {
            let Some(event) = seat.member.next()? else { break };
            if let Event::Message { number, message, bytes } = event {
                self.load.hear(index, number, &message, bytes, at(self.clock));
            }
        }
        moved
    }

    /// One session broke: what the others' sockets still hold was told to their members, so it is read.
    fn read_out(&mut self) {
        for index in 0..self.seats.len() {
            while self.sweep_one(index).is_ok_and(|moved| moved > 0) {}
        }
    }

    /// Waits for the last answers. When an account query of each member is answered, all their requests
    /// are worked off; when a second one is, each has heard what the others' requests did to it.
    fn drain(&mut self, ticker: &mut Ticker, progress: &mut impl FnMut(&Progress<'_>)) -> Ended {
        for _ in 0..2 {
            for (index, seat) in self.seats.iter_mut().enumerate() {
                let query = self.load.query(index, at(self.clock));
                send_or_keep(seat, query, &self.symbols);
                self.ready.wants(index);
            }
            let ended = self.wait_for_answers(ticker, progress);
            if ended != Ended::Completed {
                return ended;
            }
        }
        Ended::Completed
    }

    fn wait_for_answers(&mut self, ticker: &mut Ticker, progress: &mut impl FnMut(&Progress<'_>)) -> Ended {
        let began = at(self.clock);
        loop {
            let now = at(self.clock);
            match self.sweep() {
                Err(ended) => return ended,
                Ok(0) => rest(),
                Ok(_) => {}
            }
            let pending = self.load.pending_count();
            if pending == 0 {
                return Ended::Completed;
            }
            if now.0 - began.0 > self.config.patience.as_nanos() as u64 {
                return Ended::Unanswered { pending };
            }
            ticker.tick(now, &mut self.load, progress);
        }
    }

    /// Logs every member in again, perhaps at another node, where it left off; sends again what was
    /// not answered; and waits until all is answered. What the venue lost shows as a refused login
    /// (it has told less than was heard) or as a violation (it does not know what it had accepted).
    ///
    /// # Errors
    /// A session cannot be had, a login is refused or not answered in time.
    pub fn reconnect(&mut self, addr: SocketAddr) -> Result<&Ended, Error> {
        let Self { config, symbols, clock, seats, load, .. } = self;
        for (index, seat) in seats.iter_mut().enumerate() {
            let username = seat.username;
            seat.waiting.clear();
            let reconnected = seat.member.reconnect(addr, at(*clock));
            reconnected.map_err(|source| Error::Session { username, source })?;
            wait_for(&mut seat.member, username, *clock, config.patience, "login", |event| {
                matches!(event, Event::LoggedIn { .. })
            })?;
            for request in load.send_again(index) {
                if !seat.waiting.is_empty() || send(&mut seat.member, &request, symbols).is_err() {
                    seat.waiting.push_back(request);
                }
            }
        }
        self.ready = Ready::of(seats);
        let mut ticker = Ticker::new(at(*clock));
        self.ended = self.drain(&mut ticker, &mut |_| {});
        if self.ended == Ended::Completed && self.config.alone {
            self.load.check_closed_market();
        }
        Ok(&self.ended)
    }

    /// Logs every member in from its first message and compares what is told with what was heard,
    /// byte for byte by digest; says how many messages that were. It takes over the ports: the
    /// sessions of this driver break, [`Driver::reconnect`] brings them back.
    ///
    /// # Errors
    /// As [`Driver::connect`], and [`Error::Retold`].
    pub fn check_retold(&self, addr: SocketAddr) -> Result<u64, Error> {
        assert!(self.config.remember, "nothing was remembered to compare with");
        let mut compared = 0;
        for (login, heard) in self.config.logins.iter().zip(self.load.remembered()) {
            compared += self.check_retold_one(addr, login, heard)?;
        }
        Ok(compared)
    }

    fn check_retold_one(&self, addr: SocketAddr, login: &Login, heard: &[Remembered]) -> Result<u64, Error> {
        let (username, clock, patience) = (login.username, self.clock, self.config.patience);
        let failed = |source| Error::Session { username, source };
        let mut member = Member::connect(addr, &self.config.session, username, &login.password, 1, at(clock))
            .map_err(failed)?;
        let mut expected = heard.iter();
        let Some(mut next) = expected.next() else { return Ok(0) };
        let began = at(clock);
        loop {
            let moved = member.poll(at(clock)).map_err(failed)?;
            while let Some(event) = member.next().map_err(failed)? {
                let Event::Message { number, message, bytes } = event else {
                    if let Event::Refused(refusal) = event {
                        return Err(Error::Refused { username, refusal });
                    }
                    continue;
                };
                if number < next.number {
                    continue;
                }
                let told = Some(Remembered::new(number, &message, bytes));
                if told != Some(*next) {
                    return Err(Error::Retold { username, number: next.number, heard: *next, told });
                }
                match expected.next() {
                    Some(following) => next = following,
                    None => return Ok(heard.len() as u64),
                }
            }
            if moved == 0 {
                if at(clock).0 - began.0 > patience.as_nanos() as u64 {
                    return Err(Error::Retold { username, number: next.number, heard: *next, told: None });
                }
                rest();
            }
        }
    }

    /// From the next run on, requests a second.
    pub fn set_rate(&mut self, rate: f64) {
        self.config.rate = rate;
    }

    /// Forgets the latencies of the runs so far: they were to warm up.
    pub fn clear_latencies(&mut self) {
        self.load.clear_latencies();
    }

    /// From the next run on, `per_s` times a second at most an order against what was just added to a book is sent, when
    /// its message is taken from the feed.
    pub fn react_to(&mut self, ticks: Ticks, per_s: f64) {
        self.reactions =
            Some(Reactions { ticks, every: Duration::from_secs_f64(1.0 / per_s), next: Nanos(0) });
    }

    /// Keeps every answered request by itself until [`Driver::take_samples`]; `count` is made room for.
    pub fn keep_samples(&mut self, count: usize) {
        self.load.keep_samples(count);
    }

    /// The samples kept since [`Driver::keep_samples`], which ends with this.
    pub fn take_samples(&mut self) -> Vec<Sample> {
        self.load.take_samples()
    }

    /// The clock that all times count from, for whoever measures beside.
    #[must_use]
    pub const fn clock(&self) -> Instant {
        self.clock
    }

    /// Notes orders accepted, `count` at most, until [`Driver::join_book`].
    pub fn watch_book(&mut self, count: usize) {
        self.load.note_accepted(count);
    }

    /// Joins what a follower of the feed saw, order reference number and time by [`Driver::clock`], with the orders
    /// accepted since [`Driver::watch_book`]: their latency from intended send to the feed.
    pub fn join_book(&mut self, seen: &[(u64, Nanos)]) {
        self.load.join_book(seen);
    }

    /// What it came to so far.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        Outcome {
            ended: self.ended.clone(),
            elapsed: self.elapsed,
            answered_in: self.answered_in,
            intended: self.intended,
            counts: self.load.counts().clone(),
            latencies: self.load.latencies().clone(),
            silent: self.load.silent_count(),
            pending: self.load.pending_count(),
            live: self.load.live_count(),
            violations: self.load.violations().to_vec(),
        }
    }

    /// What each member heard, in the order of `logins`; empty unless it was to be remembered.
    #[must_use]
    pub fn remembered(&self) -> &[Vec<Remembered>] {
        self.load.remembered()
    }
}

/// Which sessions may have something to do. A few are all polled; of many the kernel is asked who has input,
/// and a few of the others are polled in turn, for heartbeats and for what their sockets did not take before.
struct Ready {
    count: usize,
    many: Option<Many>,
    /// To be polled now.
    next: Vec<usize>,
    /// Something was written to them.
    wanting: Vec<usize>,
}

struct Many {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    turn: usize,
}

/// So many sessions are polled without asking who has input: a read that finds nothing costs 0.33 µs.
const SWEPT_MAX: usize = 16;
/// Of many sessions, those that are polled in turn at each sweep.
const IN_TURN: usize = 2;

impl Ready {
    fn of(seats: &[Seat]) -> Self {
        let many = (seats.len() > SWEPT_MAX).then(|| Many::of(seats)).and_then(Result::ok);
        let (next, wanting) = (Vec::with_capacity(seats.len()), Vec::with_capacity(seats.len()));
        Self { count: seats.len(), many, next, wanting }
    }

    fn wants(&mut self, index: usize) {
        if self.many.is_some() {
            self.wanting.push(index);
        }
    }

    fn look(&mut self) {
        self.next.clear();
        let Some(many) = &mut self.many else {
            self.next.extend((0..self.count).rev());
            return;
        };
        self.next.append(&mut self.wanting);
        many.events.clear();
        // An interrupted look is as one that found nothing: the next comes soon.
        let _ = epoll::wait(&many.epoll, spare_capacity(&mut many.events), Some(&Timespec::default()));
        self.next.extend(many.events.iter().map(|event| event.data.u64() as usize));
        self.next.extend((0..IN_TURN).map(|n| (many.turn + n) % self.count));
        many.turn = (many.turn + IN_TURN) % self.count;
    }

    fn next(&mut self) -> Option<usize> {
        self.next.pop()
    }
}

impl Many {
    fn of(seats: &[Seat]) -> rustix::io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (index, seat) in seats.iter().enumerate() {
            let data = epoll::EventData::new_u64(index as u64);
            epoll::add(&epoll, seat.member.stream(), data, epoll::EventFlags::IN)?;
        }
        Ok(Self { epoll, events: Vec::with_capacity(256), turn: 0 })
    }
}

/// A member who logs in at its most recent message.
pub(crate) fn connect(
    addr: SocketAddr,
    from: Option<IpAddr>,
    config: &SessionConfig,
    login: &Login,
    now: Nanos,
) -> Result<Member, order_entry::Error> {
    let entry = OrderEntry::new(config, login.username, &login.password, now)?;
    let stream = match from {
        Some(from) => Connection::connect_from(from, addr)?,
        None => Connection::connect(addr)?,
    };
    Ok(Member::over(stream, entry, 0))
}

/// Nanoseconds since the driver began: latencies need no wall clock.
fn at(clock: Instant) -> Nanos {
    Nanos(clock.elapsed().as_nanos() as u64)
}

fn send_or_keep(seat: &mut Seat, request: Request, symbols: &[Symbol]) {
    if !seat.waiting.is_empty() || send(&mut seat.member, &request, symbols).is_err() {
        seat.waiting.push_back(request);
    }
}

fn send(member: &mut Member, request: &Request, symbols: &[Symbol]) -> Result<(), NotSent> {
    let entry = member.entry();
    match *request {
        Request::Enter { user_ref_num, instrument, is_buy, qty, price, is_ioc } => {
            let side = if is_buy { Side::Buy } else { Side::Sell };
            let symbol = symbols[usize::from(instrument)];
            let order = if is_ioc {
                NewOrder::ioc(side, qty, symbol, price)
            } else {
                NewOrder::day(side, qty, symbol, price)
            };
            entry.enter_as(user_ref_num, &order, &OptionsBuf::EMPTY)
        }
        Request::Replace { orig_user_ref_num, user_ref_num, qty, price } => {
            let by = Replacement::day(qty, price);
            entry.replace_as(user_ref_num, orig_user_ref_num, &by, &OptionsBuf::EMPTY)
        }
        Request::Cancel { user_ref_num, qty } => entry.cancel(user_ref_num, qty),
        Request::Query => entry.account_query(),
    }
}

/// Has a session answered until the kernel stamps it: that is switched on a while after it was asked for.
fn wait_for_stamps(
    seat: &mut Seat,
    stamps: &mut KernelStamps,
    clock: Instant,
    patience: Duration,
) -> Result<(), Error> {
    let (username, began) = (seat.username, Instant::now());
    let late = |what| Error::Late { username, what, patience };
    loop {
        assert_eq!(seat.member.entry().account_query(), Ok(()), "a session with nothing under way has room");
        seat.member.flush(at(clock)).map_err(|source| Error::Session { username, source })?;
        let answered = loop {
            if let Some(answered) = stamps.late(seat.member.stream()) {
                break answered;
            }
            if began.elapsed() > patience {
                return Err(late("answer to an account query"));
            }
            rest();
        };
        let is_answer = |event: &Event<'_>| {
            matches!(event, Event::Message { message: Outbound::AccountQueryResponse(..), .. })
        };
        wait_for(&mut seat.member, username, clock, patience, "answer to an account query", is_answer)?;
        if answered.kernel.is_some() {
            return Ok(());
        }
        if began.elapsed() > patience {
            return Err(late("receive timestamp of the kernel"));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Polls one session until `wanted` comes; what comes before it is let go.
fn wait_for(
    member: &mut Member,
    username: Username,
    clock: Instant,
    patience: Duration,
    what: &'static str,
    wanted: impl Fn(&Event<'_>) -> bool,
) -> Result<(), Error> {
    let began = Instant::now();
    let failed = |source| Error::Session { username, source };
    loop {
        let moved = member.poll(at(clock));
        while let Some(event) = member.next().map_err(failed)? {
            if wanted(&event) {
                return Ok(());
            }
            if let Event::Refused(refusal) = event {
                return Err(Error::Refused { username, refusal });
            }
        }
        if moved.map_err(failed)? == 0 {
            if began.elapsed() > patience {
                return Err(Error::Late { username, what, patience });
            }
            rest();
        }
    }
}

/// Calls for progress once a second.
struct Ticker {
    start: Nanos,
    last: Nanos,
}

impl Ticker {
    const PERIOD: u64 = 1_000_000_000;

    const fn new(start: Nanos) -> Self {
        Self { start, last: start }
    }

    fn tick(&mut self, now: Nanos, load: &mut Load, progress: &mut impl FnMut(&Progress<'_>)) {
        if now.0 - self.last.0 >= Self::PERIOD {
            self.report(now, load, progress);
        }
    }

    fn report(&mut self, now: Nanos, load: &mut Load, progress: &mut impl FnMut(&Progress<'_>)) {
        progress(&Progress {
            elapsed: Duration::from_nanos(now.0 - self.start.0),
            interval: Duration::from_nanos(now.0 - self.last.0),
            counts: load.counts(),
            latency: load.interval(),
            pending: load.pending_count(),
        });
        load.clear_interval();
        self.last = now;
    }
}

/// The venue may share this core: whoever has nothing to do lets it go. Now and then by a sleep: a thread
/// that yields all day loses its claim to a CPU that others want, for seconds, and a sleep restores it.
fn rest() {
    thread_local! {
        static YIELDS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
    }
    YIELDS.set(YIELDS.get().wrapping_add(1));
    if YIELDS.get().is_multiple_of(32) {
        std::thread::sleep(Duration::from_micros(1));
    } else {
        std::thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Mix, Traded};
    use crate::paper_exchange::{Fault, PaperExchange};
    use ironbell_device::kernel::{Connection, KernelAcceptor};
    use ironbell_device::{Acceptor, Stream};
    use ironbell_session::{ServerEvent, ServerSession, first_number};
    use std::net::Ipv4Addr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread::JoinHandle;

    const SESSION: [u8; 10] = *b"0020260105";

    fn config(members: usize, rate: f64) -> DriverConfig {
        let instruments = ["AAA", "BBB"].map(|name| Traded {
            symbol: Symbol::new(name).unwrap(),
            mid: 1_000_000,
            tick: 100,
            qty_max: 100,
        });
        let flow =
            FlowConfig { seed: 1, instruments: instruments.to_vec(), mix: Mix::default(), standing_max: 50 };
        let logins = (0..members).map(|member| Login {
            username: Username::new(&format!("MEM{member}")).unwrap(),
            password: "secret".to_owned(),
        });
        DriverConfig { remember: true, ..DriverConfig::new(logins.collect(), flow, rate) }
    }

    /// A venue on loopback: the paper exchange behind server sessions, one connection a member at a time.
    struct Venue {
        addr: SocketAddr,
        stop: Arc<AtomicBool>,
        doomed: Arc<AtomicBool>,
        thread: JoinHandle<PaperExchange>,
    }

    struct Served {
        stream: Connection,
        server: ServerSession,
        member: Option<usize>,
    }

    impl Venue {
        /// Serves until stopped; once doomed it tells a thousand messages more and breaks off.
        fn start(mut exchange: PaperExchange) -> Self {
            let mut acceptor = KernelAcceptor::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
            let addr = acceptor.local_addr();
            let stop = Arc::new(AtomicBool::new(false));
            let doomed = Arc::new(AtomicBool::new(false));
            let (is_stopped, is_doomed) = (Arc::clone(&stop), Arc::clone(&doomed));
            let thread = std::thread::spawn(move || {
                let mut served: Vec<Served> = Vec::new();
                let mut told_max = None;
                while !is_stopped.load(Ordering::Relaxed) {
                    if let Ok(Some(stream)) = acceptor.accept() {
                        let server = ServerSession::new(&SessionConfig::default(), Nanos(0));
                        served.push(Served { stream, server, member: None });
                    }
                    served.retain_mut(|one| serve(one, &mut exchange).is_ok());
                    let told: usize = exchange.told.iter().map(Vec::len).sum();
                    if is_doomed.load(Ordering::Relaxed) && told >= *told_max.get_or_insert(told + 1_000) {
                        break;
                    }
                    std::thread::yield_now();
                }
                exchange
            });
            Self { addr, stop, doomed, thread }
        }

        fn stop(self) -> PaperExchange {
            self.stop.store(true, Ordering::Relaxed);
            self.thread.join().unwrap()
        }
    }

    fn serve(one: &mut Served, exchange: &mut PaperExchange) -> Result<(), ironbell_device::Closed> {
        let now = Nanos(0);
        let space = one.server.space();
        if !space.is_empty() {
            let count = one.stream.read(space)?;
            one.server.received(count, now);
        }
        let mut login = None;
        while let Ok(Some(event)) = one.server.next() {
            match event {
                ServerEvent::Login(asked) => {
                    login = Some(asked);
                    break;
                }
                ServerEvent::Message(message) => exchange.handle(one.member.unwrap(), message),
                _ => {}
            }
        }
        if let Some(asked) = login {
            let member: usize = asked.username.as_str()[3..].parse().unwrap();
            one.member = Some(member);
            match first_number(&asked, &SESSION, exchange.told[member].len() as u64) {
                Ok(first) if asked.password == *b"SECRET    " => one.server.accept(SESSION, first),
                Ok(_) => one.server.refuse(Refusal::NotAuthorized),
                Err(refusal) => one.server.refuse(refusal),
            }
        }
        if let Some(member) = one.member {
            while let Some(message) = exchange.told[member].get(one.server.next_number().max(1) as usize - 1)
            {
                if !one.server.offer(one.server.next_number(), message) {
                    break;
                }
            }
        }
        let count = one.stream.write(one.server.output())?;
        one.server.sent(count, now);
        Ok(())
    }

    fn exchange(config: &DriverConfig, fault: Fault) -> PaperExchange {
        let symbols: Vec<Symbol> = config.flow.instruments.iter().map(|traded| traded.symbol).collect();
        PaperExchange::new(config.logins.len(), &symbols, fault)
    }

    #[test]
    fn four_members_trade_over_tcp_and_every_answer_is_right() {
        let config = config(4, 200_000.0);
        let venue = Venue::start(exchange(&config, Fault::None));
        let mut driver = Driver::connect(venue.addr, config).unwrap();
        let (mut told, mut counted) = (Duration::ZERO, 0);
        let ended = driver
            .run(Until::Requests(10_000), |progress| {
                told += progress.interval;
                assert_eq!(told, progress.elapsed, "intervals follow each other");
                counted += progress.latency.percentiles().count;
            })
            .clone();
        let outcome = driver.outcome();
        assert_eq!((ended, outcome.violations.as_slice()), (Ended::Completed, [].as_slice()));
        assert!(outcome.is_right());
        assert_eq!((outcome.counts.sent.total(), outcome.pending), (10_000, 0));
        assert_eq!(outcome.counts.acks() + outcome.counts.rejects() + outcome.silent, 10_000);
        assert!(outcome.counts.trades > 100, "{:?}", outcome.counts);
        assert_eq!(counted, outcome.latencies.order.percentiles().count);
        assert_eq!(driver.check_retold(venue.addr).unwrap(), outcome.counts.messages);
        venue.stop();
    }

    /// The venue dies in the middle and comes up again elsewhere with what it had told; the members
    /// lose nothing, hear nothing twice, and go on trading.
    #[test]
    fn a_venue_that_dies_and_comes_back_is_gone_on_with() {
        let config = config(3, 200_000.0);
        let mut venue = Venue::start(exchange(&config, Fault::None));
        let mut driver = Driver::connect(venue.addr, config).unwrap();
        for _ in 0..3 {
            venue.doomed.store(true, Ordering::Relaxed);
            let ended = driver.run(Until::Elapsed(Duration::from_secs(60)), |_| {}).clone();
            assert!(matches!(ended, Ended::Disconnected { .. }), "{ended:?}");
            venue = Venue::start(venue.stop());
            assert_eq!(driver.reconnect(venue.addr).unwrap(), &Ended::Completed);
            let outcome = driver.outcome();
            assert_eq!((outcome.violations.as_slice(), outcome.pending), ([].as_slice(), 0));
        }
        assert_eq!(driver.run(Until::Requests(1_000), |_| {}), &Ended::Completed);
        let outcome = driver.outcome();
        assert!(outcome.is_right(), "{outcome:?}");
        assert_eq!(driver.check_retold(venue.addr).unwrap(), outcome.counts.messages);
        venue.stop();
    }

    #[test]
    fn a_venue_that_forgot_or_changed_what_it_told_is_found_out() {
        let config = config(2, 200_000.0);
        let venue = Venue::start(exchange(&config, Fault::None));
        let mut driver = Driver::connect(venue.addr, config).unwrap();
        driver.run(Until::Requests(2_000), |_| {});
        let mut exchange = venue.stop();
        let mut last = exchange.told[1].pop().unwrap();
        last[3] ^= 1;
        let venue = Venue::start(exchange);
        let error = driver.reconnect(venue.addr).unwrap_err();
        assert!(matches!(error, Error::Refused { refusal: Refusal::NoSession, .. }), "{error}");
        let mut exchange = venue.stop();
        exchange.told[1].push(last);
        let venue = Venue::start(exchange);
        let error = driver.check_retold(venue.addr).unwrap_err();
        assert!(matches!(error, Error::Retold { told: Some(_), .. }), "{error}");
        venue.stop();
    }

    #[test]
    fn a_wrong_password_is_refused() {
        let mut config = config(1, 1.0);
        config.logins[0].password = "guess".to_owned();
        let venue = Venue::start(exchange(&config, Fault::None));
        let error = Driver::connect(venue.addr, config).unwrap_err();
        assert!(matches!(error, Error::Refused { refusal: Refusal::NotAuthorized, .. }), "{error}");
        venue.stop();
    }

    #[test]
    fn a_fault_of_the_venue_is_in_the_outcome() {
        let config = config(2, 200_000.0);
        let venue = Venue::start(exchange(&config, Fault::ExecuteTooMuch));
        let mut driver = Driver::connect(venue.addr, config).unwrap();
        driver.run(Until::Requests(5_000), |_| {});
        let outcome = driver.outcome();
        assert!(!outcome.is_right());
        assert!(outcome.violations[0].contains("executed"), "{:?}", outcome.violations);
        assert!(venue.stop().has_erred);
    }
}
