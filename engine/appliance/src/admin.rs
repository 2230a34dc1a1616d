//! The local admin socket: one JSON request a line, one JSON answer a line.
//!
//! `{"request":"status"}`, and likewise `hashes`, `book`, `ledger`, `risk`, `phases`, `summary`; `{"request":"statement",
//! "account":7}`; and what an operator asks for: `{"request":"control","ask":{"phase":{"symbol":"XYZ",
//! "phase":"halted","reason":"T1"}},"wait":true}`. An answer that cannot be given is `{"error":"…"}`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ironbell_sync::metrics;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::ha::desk::{PairAsk, PairStatus};
use crate::inspection;
use crate::operator::Ask;
use crate::service::Listening;
use crate::shadow::Shadow;
use crate::topology;

/// A question.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "request", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// How the node is: [`Status`].
    Status,
    /// Hashes of the state: [`inspection::Hashes`].
    Hashes,
    /// Every open order: [`inspection::Line`]s.
    Book,
    /// Every balance: [`inspection::Balance`]s.
    Ledger,
    /// Limits and what is used of them, switches, tiers: [`inspection::Risk`].
    Risk,
    /// What every instrument does: [`inspection::PhaseLine`]s.
    Phases,
    /// What phases, switches and limits come to, for who watches: [`inspection::Summary`].
    Summary,
    /// Balances and the day's trades: [`inspection::Statement`]s.
    Statement {
        /// Of this account alone.
        account: Option<u32>,
    },
    /// To one node of a pair.
    Pair {
        /// What.
        ask: PairAsk,
    },
    /// To be sequenced and journaled: [`crate::operator::Told`].
    Control {
        /// What.
        ask: Box<Ask>,
        /// Answer when it is done and on the disk.
        wait: bool,
    },
}

impl Request {
    /// Its name on the socket.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Hashes => "hashes",
            Self::Book => "book",
            Self::Ledger => "ledger",
            Self::Risk => "risk",
            Self::Phases => "phases",
            Self::Summary => "summary",
            Self::Statement { .. } => "statement",
            Self::Pair { .. } => "pair",
            Self::Control { .. } => "control",
        }
    }
}

/// What the answers need beside the shadow.
pub struct Context {
    /// Where members connect.
    pub order_entry: String,
    /// By what frames of our own members are served, where they are.
    pub order_entry_by: Option<String>,
    /// Where the feed goes.
    pub feed: String,
    /// As `order_entry_by`.
    pub feed_by: Option<String>,
    /// Where re-requests go.
    pub rerequest: String,
    /// Filled in when the service role listens.
    pub listening: Option<Listening>,
    /// `disk`, `buffered` or `none`.
    pub durability: String,
    /// Sessions that members may have at a time.
    pub sessions_max: usize,
    /// Where the journal and its snapshots are.
    pub journal_dir: PathBuf,
    /// The epoch of this run.
    pub epoch: u64,
    /// What was found at start.
    pub recovery: Recovered,
    /// When the node started.
    pub started: Instant,
    /// The metrics segment.
    pub metrics: metrics::Reader,
    /// The signing process's, if there is one.
    pub signing_metrics: PathBuf,
    /// The roles and their threads, a line each.
    pub threads: Vec<String>,
}

/// A stage of a start.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Stage {
    /// What was done.
    pub what: String,
    /// Milliseconds that it took.
    pub ms: f64,
}

/// What was found in the journal at start.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Recovered {
    /// The last Seq of the snapshot that the replay went on from; `None` when it began with the first command.
    pub snapshot_seq: Option<u64>,
    /// Commands replayed.
    pub commands: u64,
    /// Milliseconds from opening the journal to the last command replayed.
    pub ms: f64,
    /// Commands a second.
    pub commands_per_s: f64,
    /// How long each stage of the start took until then, in order.
    #[serde(default)]
    pub stages: Vec<Stage>,
    /// What was cut off the journal's end, if anything.
    pub torn_tail: Option<String>,
    /// Messages of session and feed logs that were missing or damaged and written again.
    pub log_messages_rewritten: u64,
    /// The state that the replay came to, before anything new was sequenced.
    pub hashes: inspection::Hashes,
}

impl Recovered {
    /// What a line about it ends in.
    #[must_use]
    pub fn behind(&self) -> String {
        self.snapshot_seq.map_or(String::new(), |seq| format!(" behind the snapshot at seq {seq}"))
    }
}

/// How a node is.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Status {
    /// Where members connect (OUCH 5.0 over SoupBinTCP).
    pub order_entry: String,
    /// Kernel bypass, where members are served by it: whether frames are copied, who fills in checksums, where frames are
    /// steered.
    #[serde(default)]
    pub order_entry_by: Option<String>,
    /// Where the feed goes (ITCH 5.0 over MoldUDP64).
    pub feed: String,
    /// As `order_entry_by`.
    #[serde(default)]
    pub feed_by: Option<String>,
    /// Where re-requests go (MoldUDP64, UDP).
    pub rerequest: String,
    /// Where ITCH over SoupBinTCP is served.
    pub itch: String,
    /// Where GLIMPSE snapshots are served.
    pub glimpse: String,
    /// Whether new orders are refused because the disk is full.
    pub order_entry_halted: bool,
    /// What an acknowledgement promises.
    pub durability: String,
    /// The epoch of this run.
    pub epoch: u64,
    /// Seconds since the node started.
    pub uptime_s: f64,
    /// The last command the shadow has followed.
    pub seq: u64,
    /// The number of the feed's next message.
    pub feed_sequence: u64,
    /// Frames at which shard and shadow had the same output hash.
    pub checks_equal: u64,
    /// The first Seq at which they had not: an alarm.
    pub checks_unequal: Option<u64>,
    /// Why the shadow stands still, if it does.
    pub shadow_stuck: Option<String>,
    /// The last Seq of the newest snapshot; `None` when there is none.
    pub snapshot_seq: Option<u64>,
    /// Seconds since it was made.
    #[serde(default)]
    pub snapshot_age_s: Option<f64>,
    /// Sessions that members may have at a time.
    #[serde(default)]
    pub sessions_max: usize,
    /// Slots of each ring whose fill is counted.
    #[serde(default)]
    pub rings: BTreeMap<String, usize>,
    /// What was found at start.
    pub recovery: Recovered,
    /// The pair that it is one of.
    pub pair: Option<PairStatus>,
    /// The roles and their threads.
    pub threads: Vec<String>,
    /// What each role counted.
    pub roles: Vec<RoleStatus>,
}

/// What a role counted.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RoleStatus {
    /// Its name.
    pub role: String,
    /// Its counters.
    pub counters: BTreeMap<String, u64>,
    /// Its latencies.
    pub latencies: Vec<Latency>,
}

/// A stage's latency since start, nanoseconds.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[expect(missing_docs, reason = "the percentiles name themselves")]
pub struct Latency {
    pub stage: String,
    pub count: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub p9999: u64,
    pub max: u64,
}

#[derive(Deserialize, Serialize)]
struct Refusal {
    error: String,
}

/// A request from its line.
///
/// # Errors
/// The answer that it is none.
pub fn request(line: &str) -> Result<Request, String> {
    serde_json::from_str(line.trim()).map_err(|e| refusal(&format_args!("not a request: {e}")))
}

/// The answer that there is none, and why.
#[must_use]
pub fn refusal(why: &dyn std::fmt::Display) -> String {
    json(&Refusal { error: why.to_string() })
}

/// An answer without its line end.
#[must_use]
pub fn json(answer: &impl Serialize) -> String {
    serde_json::to_string(answer)
        .unwrap_or_else(|e| format!("{{\"error\":\"the answer cannot be written: {e}\"}}"))
}

/// The answer to a question, without its line end. What is to be sequenced is no question.
#[must_use]
pub fn answer(request: &Request, shadow: &Shadow, context: &Context, pair: Option<PairStatus>) -> String {
    let engine = shadow.engine();
    match request {
        Request::Status => {
            let status = status(shadow, context);
            let epoch = pair.as_ref().map_or(status.epoch, |pair| pair.promised);
            json(&Status { pair, epoch, ..status })
        }
        Request::Hashes => json(&inspection::hashes(engine)),
        Request::Book => json(&Seen::at(engine, inspection::book(engine))),
        Request::Ledger => json(&Seen::at(engine, inspection::ledger(engine))),
        Request::Risk => json(&Seen::at(engine, inspection::risk(engine))),
        Request::Phases => json(&Seen::at(engine, inspection::phases(engine))),
        Request::Summary => json(&Seen::at(engine, inspection::summary(engine))),
        Request::Statement { account } => json(&Seen::at(engine, inspection::statements(engine, *account))),
        Request::Control { .. } | Request::Pair { .. } => refusal(&"this is not a question"),
    }
}

/// An inspection, and of which state.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Seen<T> {
    /// The last command it takes in.
    pub seq: u64,
    /// What was asked for.
    pub seen: T,
}

impl<T> Seen<T> {
    /// What `engine` shows.
    #[must_use]
    pub fn at(engine: &ironbell_core::Engine, seen: T) -> Self {
        Self { seq: engine.last_seq().0, seen }
    }
}

fn status(shadow: &Shadow, context: &Context) -> Status {
    let checks = shadow.checks();
    let newest = newest_snapshot(&context.journal_dir);
    Status {
        order_entry: context.order_entry.clone(),
        order_entry_by: context.order_entry_by.clone(),
        feed: context.feed.clone(),
        feed_by: context.feed_by.clone(),
        rerequest: context.rerequest.clone(),
        itch: context.listening.map(|l| l.itch.to_string()).unwrap_or_default(),
        glimpse: context.listening.map(|l| l.glimpse.to_string()).unwrap_or_default(),
        order_entry_halted: shadow.engine().order_entry_halted(),
        durability: context.durability.clone(),
        epoch: context.epoch,
        uptime_s: context.started.elapsed().as_secs_f64(),
        seq: shadow.engine().last_seq().0,
        feed_sequence: shadow.encoder().sequence(),
        checks_equal: checks.equal,
        checks_unequal: checks.unequal.map(|seq| seq.0),
        shadow_stuck: checks.stuck.clone(),
        snapshot_seq: newest.as_ref().map(|(seq, _)| *seq),
        snapshot_age_s: newest.and_then(|(_, age_s)| age_s),
        sessions_max: context.sessions_max,
        rings: topology::rings(1).into_iter().map(|(ring, _)| (ring.name.to_owned(), ring.depth)).collect(),
        recovery: context.recovery.clone(),
        pair: None,
        threads: context.threads.clone(),
        roles: {
            // That process comes and goes as it likes, and makes its segment anew.
            let signing = metrics::Reader::open(&context.signing_metrics).map(|reader| reader.read());
            context.metrics.read().into_iter().chain(signing.into_iter().flatten()).map(role_status).collect()
        },
    }
}

/// Its last Seq, and how many seconds ago it was made, as far as the two clocks agree.
fn newest_snapshot(journal_dir: &Path) -> Option<(u64, Option<f64>)> {
    let (seq, path) = ironbell_store::snapshot::list(journal_dir).ok()?.into_iter().next()?;
    let age = path.metadata().and_then(|about| about.modified()).ok().and_then(|made| made.elapsed().ok());
    Some((seq.0, age.map(|age| age.as_secs_f64())))
}

fn role_status(role: metrics::RoleCounts) -> RoleStatus {
    let latency = |(stage, counts): (String, ironbell_sync::histogram::Counts)| Latency {
        stage,
        count: counts.total(),
        p50: counts.percentile(50, 100),
        p90: counts.percentile(90, 100),
        p99: counts.percentile(99, 100),
        p999: counts.percentile(999, 1_000),
        p9999: counts.percentile(9_999, 10_000),
        max: counts.max(),
    };
    RoleStatus {
        role: role.role,
        counters: role.counters.into_iter().collect(),
        latencies: role.histograms.into_iter().map(latency).collect(),
    }
}

/// How long a node may take to answer: longer than it gives an operator's command to be done.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// Asks a running node.
///
/// # Errors
/// When nobody listens on `socket`, it says why it does not answer, or the answer is none.
pub fn ask<T: for<'a> Deserialize<'a>>(socket: &Path, request: &Request) -> Result<T, Failure> {
    let fault = |what: &dyn std::fmt::Display| {
        Failure::file(
            socket,
            format_args!("no node answers ({what})"),
            "start one with `ironbell run`, or look at a stopped one with `ironbell inspect`",
        )
    };
    let mut stream = UnixStream::connect(socket).map_err(|e| fault(&e))?;
    stream.set_read_timeout(Some(ANSWER_MAX)).map_err(|e| fault(&e))?;
    let mut line = serde_json::to_string(request).map_err(|e| fault(&e))?;
    line.push('\n');
    stream.write_all(line.as_bytes()).map_err(|e| fault(&e))?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).map_err(|e| fault(&e))?;
    serde_json::from_str(&answer).map_err(|e| match serde_json::from_str::<Refusal>(&answer) {
        Ok(Refusal { error }) => Failure::refused(error),
        Err(_) => fault(&e),
    })
}

impl Status {
    /// For people.
    #[must_use]
    pub fn to_table(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        let row = |text: &mut String, name: &str, value: &dyn std::fmt::Display| {
            writeln!(text, "{name:<14} {value}").expect("a string takes it");
        };
        let by = |by: &Option<String>| by.as_ref().map_or(String::new(), |by| format!(", by {by}"));
        row(&mut text, "order entry", &format_args!("{}{}", self.order_entry, by(&self.order_entry_by)));
        if self.order_entry_halted {
            let what = "the disk is full: new orders are refused, cancels go on; free space, then it goes on by itself";
            row(&mut text, "HALTED", &what);
        }
        if let Some(pair) = &self.pair {
            text.push_str(&pair.to_table());
        }
        let feed_by = by(&self.feed_by);
        row(&mut text, "feed", &format_args!("{}, re-requests {}{feed_by}", self.feed, self.rerequest));
        row(&mut text, "service", &format_args!("ITCH {}, GLIMPSE {}", self.itch, self.glimpse));
        row(&mut text, "durability", &self.durability);
        row(&mut text, "epoch", &self.epoch);
        row(&mut text, "up", &format_args!("{:.1} s", self.uptime_s));
        row(&mut text, "seq", &format_args!("{}, feed {}", self.seq, self.feed_sequence));
        match (self.checks_unequal, &self.shadow_stuck) {
            (Some(seq), _) => {
                row(&mut text, "ALARM", &format_args!("shard and shadow differ since seq {seq}"));
            }
            (None, Some(why)) => row(&mut text, "ALARM", &format_args!("the shadow stands still: {why}")),
            (None, None) => {
                row(&mut text, "self-check", &format_args!("equal at {} frames", self.checks_equal));
            }
        }
        if self.counter("signing", "late") == Some(1) {
            let waiting = self.counter("signing", "waiting").unwrap_or(0);
            row(&mut text, "ALARM", &format_args!("{waiting} checkpoints wait for the signing key"));
        }
        let r = &self.recovery;
        row(
            &mut text,
            "recovered",
            &format_args!(
                "{} commands in {:.1} ms, {:.0}/s{}",
                r.commands,
                r.ms,
                r.commands_per_s,
                r.behind()
            ),
        );
        match self.snapshot_seq {
            Some(seq) => row(
                &mut text,
                "snapshot",
                &format_args!("seq {seq}, {} commands ago", self.seq.saturating_sub(seq)),
            ),
            None => row(&mut text, "snapshot", &"none yet"),
        }
        if let Some(torn) = &r.torn_tail {
            row(&mut text, "torn tail", torn);
        }
        for thread in &self.threads {
            let name = thread.split([' ', ':']).next().unwrap_or(thread);
            match self.counter(&format!("thread {name}"), "idle_permille") {
                Some(idle) => {
                    let idle = idle as f64 / 10.0;
                    row(&mut text, "thread", &format_args!("{thread}; idle {idle:.1} % of the last second"));
                }
                None => row(&mut text, "thread", thread),
            }
        }
        row(&mut text, "shards", &self.supersteps());
        row(&mut text, "rings", &self.ring_fill());
        text.push('\n');
        text.push_str(&self.stage_table());
        text.push('\n');
        for role in self.roles.iter().filter(|role| !role.role.starts_with("thread ") && role.role != "rings")
        {
            let counters = role.counters.iter().filter(|(name, _)| !name.starts_with("ring_"));
            let counters: Vec<_> = counters.map(|(name, value)| format!("{name} {value}")).collect();
            row(&mut text, &role.role, &counters.join(", "));
        }
        text
    }

    fn counter(&self, role: &str, name: &str) -> Option<u64> {
        self.roles.iter().find(|r| r.role == role)?.counters.get(name).copied()
    }

    /// How the state machine was driven since the start.
    fn supersteps(&self) -> String {
        let count = |name| self.counter("shard", name).unwrap_or(0);
        let (home, lent) = (count("commands_home"), count("commands_lent"));
        let steps = count("supersteps");
        if steps == 0 {
            return format!("{home} commands one by one, no superstep");
        }
        format!(
            "{home} commands one by one, {lent} in {steps} supersteps of {:.1} commands on average, {} of them cut; \
             fanned out {} times; {} commands of ports that cut came last in their frames",
            lent as f64 / steps as f64,
            count("cuts"),
            count("loans"),
            self.counter("sequencer", "deferred").unwrap_or(0)
        )
    }

    /// How full each ring was when its role last looked.
    fn ring_fill(&self) -> String {
        let fill = |(ring, _): (topology::Ring, usize)| {
            let name = format!("ring_{}", ring.name);
            let filled = self.roles.iter().find_map(|role| role.counters.get(&name))?;
            Some(format!("{} {filled}/{}", ring.name, ring.depth))
        };
        topology::rings(1).into_iter().filter_map(fill).collect::<Vec<_>>().join(", ")
    }

    /// The latencies of an order's way since start, in the order of its stations. Each is counted from the
    /// moment the gateway had read the message.
    #[must_use]
    pub fn stage_table(&self) -> String {
        let heading = ["µs, in the node", "p50", "p90", "p99", "p99.9", "p99.99", "max", "count"];
        let mut rows = vec![heading.map(str::to_owned).to_vec()];
        for stage in crate::bench::WAY {
            let Some(l) = self.roles.iter().flat_map(|role| &role.latencies).find(|l| l.stage == stage)
            else {
                continue;
            };
            if l.count == 0 && crate::bench::WAY_OF_SOME.contains(&stage) {
                continue;
            }
            let figures = [l.p50, l.p90, l.p99, l.p999, l.p9999, l.max];
            let mut row = vec![l.stage.clone()];
            // Without a latency there is no percentile to tell.
            let micros = |nanos: u64| match l.count {
                0 => "-".to_owned(),
                _ => format!("{:.1}", nanos as f64 / 1_000.0),
            };
            row.extend(figures.map(micros));
            row.push(l.count.to_string());
            rows.push(row);
        }
        inspection::table(&rows, &[false, true, true, true, true, true, true, true])
    }
}
