//! `ironbell demo`: ten seconds of trading, `kill -9`, recovery, and every check that can be made from
//! outside.
//!
//! The node is a process of its own. Four members trade over TCP in this one; a fifth client follows the
//! feed by multicast from the first message, a sixth joins half-way by GLIMPSE and ITCH over TCP; both
//! rebuild the books.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use ironbell_client::itch_book::ItchBook;
use ironbell_client::market_data::{
    Delivery, FollowerConfig, LateJoinClient, MulticastClient, MulticastFollower,
};
use ironbell_load::{
    self as load, Driver, DriverConfig, Ended, FlowConfig, Latency, Login, Mix, Outcome, Traded, Until,
};
use ironbell_session::Config as SessionConfig;
use ironbell_types::{Nanos, Symbol, Username};
use serde::Serialize;

use crate::admin::Status;
use crate::failure::Failure;
use crate::inspection::{self, Hashes, table};
use crate::trial::{self, TrialNode};

/// Arguments of `ironbell demo`.
#[derive(Args)]
pub struct Options {
    /// Print one JSON object instead of progress and tables.
    #[arg(long)]
    json: bool,
    /// Orders, cancels and replaces a second, of all members together.
    #[arg(long, default_value_t = 10_000.0, value_name = "N")]
    rate: f64,
    /// Seconds of trading.
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// The flow is the same for the same seed and the same answers.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    /// The node's folder; an earlier trial there is replaced.
    #[arg(long, value_name = "DIR", default_value = "target/demo")]
    dir: PathBuf,
    /// Write order-to-ack latencies as a standard HdrHistogram V2 interval log.
    #[arg(long, value_name = "FILE")]
    hlog: Option<PathBuf>,
    /// A setting of the node, such as journal.in_flight=1. May be given again.
    #[arg(long = "set", value_name = "SETTING")]
    settings: Vec<String>,
}

const MEMBERS: [(&str, &str); 4] =
    [("ALFA01", "ALFA"), ("BETA01", "BETA"), ("GAMM01", "GAMM"), ("DELT01", "DELT")];
/// Symbol and price in cents.
const INSTRUMENTS: [(&str, u64); 8] = [
    ("ANVL", 18_900),
    ("BELL", 4_250),
    ("COIL", 9_930),
    ("DIAL", 41_700),
    ("EDGE", 2_310),
    ("FORGE", 12_000),
    ("GEAR", 7_645),
    ("HELM", 26_480),
];
const PASSWORD: &str = "demo";

/// What `--json` prints; the keys are stable.
#[derive(Serialize)]
struct Report {
    orders: u64,
    orders_per_s: f64,
    acks: u64,
    trades: u64,
    rejects: u64,
    latency_ns: LatencyNs,
    journal: Journal,
    recovery: Recovery,
    state_hash: BeforeAfter,
    feed_book_equal: bool,
    ledger_sum: BTreeMap<String, String>,
    durability: String,
    ok: bool,
    failed_checks: Vec<String>,
}

#[derive(Serialize)]
struct LatencyNs {
    p50: u64,
    p90: u64,
    p99: u64,
    p999: u64,
    p9999: u64,
    max: u64,
}

#[derive(Serialize)]
struct Journal {
    frames: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Recovery {
    ms: f64,
    commands: u64,
    commands_per_s: f64,
}

#[derive(Serialize)]
struct BeforeAfter {
    before: String,
    after: String,
}

/// Progress for people; silent with `--json`.
struct Narrator {
    silent: bool,
    begun: Instant,
}

impl Narrator {
    fn say(&self, line: &str) {
        if !self.silent {
            // A reader that has gone (`| head`) is no failure: the checks go on, and the exit code tells.
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{:>5.1} s  {line}", self.begun.elapsed().as_secs_f64());
            let _ = out.flush();
        }
    }
}

/// The command.
///
/// # Errors
/// When the node cannot be started, or any check fails: exit code 1.
pub fn run(options: &Options) -> Result<(), Failure> {
    if !(options.rate.is_finite() && options.rate >= 1.0 && options.rate <= 10_000_000.0) {
        return Err(Failure::refused(format_args!("--rate {} is not within 1 to 10000000", options.rate)));
    }
    let narrator = Narrator { silent: options.json, begun: Instant::now() };
    if let Some(path) = &options.hlog {
        // Found out now rather than after the trading.
        std::fs::File::create(path).map_err(|e| hlog_fault(path, e))?;
    }
    let mut node = TrialNode::prepare_with(
        &options.dir,
        &genesis(),
        None,
        &crate::bench::parsed("--set", &options.settings)?,
        false,
    )?;
    narrator.say(&format!(
        "formatted {}: 8 instruments, 4 members, durability {}",
        node.config().data_dir.display(),
        node.durability
    ));
    node.start()?;
    let status = node.status()?;
    narrator.say(&format!("the node is up: order entry {}, feed {}", status.order_entry, status.feed));

    let until = Arc::new(AtomicU64::new(u64::MAX));
    let multicast = follow_multicast(&node, &status, &until)?;
    let (mut joining, mut late) = (Some(status.clone()), None);
    let mut driver =
        Driver::connect(address(&status.order_entry)?, driver_config(options)).map_err(Failure::check)?;
    narrator.say(&format!("four members are logged in; {} orders/s for {} s", options.rate, options.seconds));
    let mut intervals = Vec::new();
    driver.run(Until::Elapsed(Duration::from_secs(options.seconds)), |progress| {
        intervals.push((
            progress.elapsed.saturating_sub(progress.interval),
            progress.interval,
            progress.latency.clone(),
        ));
        // The last interval is what was left of a second.
        if progress.interval < Duration::from_millis(500) {
            return;
        }
        let percentiles = progress.latency.percentiles();
        // Without an answer in the interval there is no latency to tell.
        let micros = |nanos: u64| match percentiles.count {
            0 => "-".to_owned(),
            _ => format!("{:.1}", nanos as f64 / 1e3),
        };
        narrator.say(&format!(
            "{:>9} sent {:>9} acked {:>7} trades   p50 {:>7} µs  p99 {:>8} µs",
            progress.counts.sent.total(),
            progress.counts.acks(),
            progress.counts.trades,
            micros(percentiles.p50),
            micros(percentiles.p99),
        ));
        if progress.elapsed.as_secs() >= options.seconds / 2
            && let Some(status) = joining.take()
        {
            late = Some(follow_late(&status, &until));
            narrator.say("a sixth client joins late: GLIMPSE snapshot, then the stream");
        }
    });
    let outcome = driver.outcome();
    let late = match (late, joining) {
        (Some(late), _) => late?,
        (None, Some(status)) => follow_late(&status, &until)?,
        (None, None) => unreachable!("it joins once"),
    };
    if let Some(path) = &options.hlog {
        write_hlog(path, &intervals)?;
    }

    let before = node.hashes_at_rest()?;
    let status = node.status()?;
    until.store(status.feed_sequence, Ordering::Release);
    let followers = [join(multicast, "multicast")?, join(late, "late")?];
    narrator.say(&format!(
        "at rest at seq {}; followers have the feed up to {}",
        before.seq, status.feed_sequence
    ));

    node.kill();
    narrator.say("kill -9");
    node.start()?;
    let recovered = node.status()?;
    // Members that were cut off are logged out by the new run: what is compared is the state as recovered.
    let after = recovered.recovery.hashes.clone();
    narrator.say(&format!(
        "recovered: {} commands replayed in {:.1} ms",
        recovered.recovery.commands, recovered.recovery.ms
    ));
    let retold = driver.check_retold(address(&recovered.order_entry)?);
    if let Ok(messages) = &retold {
        narrator.say(&format!(
            "{messages} sequenced messages retold to the members, each as it was heard before"
        ));
    }
    node.kill();

    let checks =
        Checks { outcome: &outcome, before: &before, after: &after, status: &status, followers: &followers };
    let mut failed = checks.failed();
    failed.extend(retold.err().map(|e| e.to_string()));
    let report = report(&outcome, &status, &recovered, &checks, failed);
    if options.json {
        say(&(serde_json::to_string(&report).map_err(Failure::check)? + "\n"));
    } else {
        say(&told(&report, &outcome, &checks));
    }
    if report.ok { Ok(()) } else { Err(Failure::check(report.failed_checks.join("; "))) }
}

fn genesis() -> String {
    let mut text = String::from("[genesis]\nassets = [{ code = \"USD\", decimals = 4 }");
    for (symbol, _) in INSTRUMENTS {
        text += &format!(", {{ code = \"{symbol}\", decimals = 0 }}");
    }
    text += "]\n";
    for (symbol, _) in INSTRUMENTS {
        text += &format!(
            "[[genesis.instruments]]\nsymbol = \"{symbol}\"\nbase = \"{symbol}\"\nquote = \"USD\"\ntick = \"0.01\"\nmaker_fee_bps = 1\ntaker_fee_bps = 3\n"
        );
    }
    for (n, (username, mpid)) in MEMBERS.iter().enumerate() {
        let account = n + 1;
        text += &format!(
            "[[genesis.firms]]\nmpid = \"{mpid}\"\n[[genesis.ports]]\nusername = \"{username}\"\npassword = \"{PASSWORD}\"\nfirm = \"{mpid}\"\naccount = {account}\n\
             [[genesis.funds]]\naccount = {account}\nasset = \"USD\"\namount = \"10000000000\"\n"
        );
        for (symbol, _) in INSTRUMENTS {
            text += &format!(
                "[[genesis.funds]]\naccount = {account}\nasset = \"{symbol}\"\namount = \"100000000\"\n"
            );
        }
    }
    text
}

fn driver_config(options: &Options) -> DriverConfig {
    let logins = MEMBERS.iter().map(|(username, _)| Login {
        username: Username::new(username).expect("it is short"),
        password: PASSWORD.to_owned(),
    });
    let instruments = INSTRUMENTS.iter().map(|(symbol, cents)| Traded {
        symbol: Symbol::new(symbol).expect("it is short"),
        mid: cents * 100,
        tick: 100,
        qty_max: 500,
    });
    let flow = FlowConfig {
        seed: options.seed,
        instruments: instruments.collect(),
        mix: Mix::default(),
        standing_max: 5_000,
    };
    let capacity = (options.rate * options.seconds as f64 / MEMBERS.len() as f64 * 1.2) as usize + 4_096;
    DriverConfig { capacity, remember: true, ..DriverConfig::new(logins.collect(), flow, options.rate) }
}

fn address(text: &str) -> Result<SocketAddr, Failure> {
    text.parse().map_err(|_| Failure::check(format_args!("the node says it listens on {text:?}")))
}

/// What a follower of the feed ended with.
struct Followed {
    digest: [u8; 32],
    orders: usize,
    messages: u64,
    /// Messages that had to be asked for again.
    requests: u64,
}

type Following = JoinHandle<Result<Followed, String>>;

/// How long a follower may go without a message while some are missing.
const FOLLOW_MAX: Duration = Duration::from_secs(20);

fn join(following: Following, name: &str) -> Result<Followed, Failure> {
    let followed = following.join().unwrap_or_else(|_| Err("it broke an invariant of its own".to_owned()));
    followed.map_err(|e| Failure::check(format_args!("the {name} follower: {e}")))
}

fn follow_multicast(node: &TrialNode, status: &Status, until: &Arc<AtomicU64>) -> Result<Following, Failure> {
    let feed = &node.config().feed;
    let follower = MulticastFollower::new(FollowerConfig::default());
    let mut client = MulticastClient::join(follower, feed.group, feed.interface, address(&status.rerequest)?)
        .map_err(Failure::refused)?;
    let until = Arc::clone(until);
    let follow = move || {
        let (clock, mut book, mut messages) = (Instant::now(), ItchBook::new(), 0_u64);
        let (mut fault, mut last) = (None, Instant::now());
        while client.follower().next() < until.load(Ordering::Acquire) {
            let now = Nanos(clock.elapsed().as_nanos() as u64 + 1);
            let taken = client.poll(now, &mut |_, message| {
                messages += 1;
                fault = fault.take().or(book.apply(message).err());
            });
            if let Some(fault) = fault {
                return Err(fault.to_string());
            }
            if taken > 0 {
                last = Instant::now();
            } else {
                let target = until.load(Ordering::Acquire);
                if target != u64::MAX && last.elapsed() > FOLLOW_MAX {
                    return Err(format!(
                        "it stands at {} and the feed at {target}",
                        client.follower().next()
                    ));
                }
                std::thread::sleep(Duration::from_micros(500));
            }
        }
        let requests = client.follower().counters().requests;
        Ok(Followed { digest: book.digest(), orders: book.order_count(), messages, requests })
    };
    spawn("multicast", follow)
}

fn follow_late(status: &Status, until: &Arc<AtomicU64>) -> Result<Following, Failure> {
    let (glimpse, itch) = (address(&status.glimpse)?, address(&status.itch)?);
    let until = Arc::clone(until);
    let follow = move || {
        let clock = Instant::now();
        let now = || Nanos(clock.elapsed().as_nanos() as u64 + 1);
        let config = SessionConfig { input_size: 256 << 10, ..SessionConfig::default() };
        let mut client = LateJoinClient::connect(config, trial::anyone(), glimpse, itch, now())
            .map_err(|e| e.to_string())?;
        let (mut book, mut messages, mut fault, mut last) = (ItchBook::new(), 0_u64, None, Instant::now());
        while client.joiner().next() < until.load(Ordering::Acquire) {
            let moved = client.poll(now(), &mut |delivery| {
                let (Delivery::Snapshot(message) | Delivery::Stream(_, message)) = delivery;
                messages += 1;
                fault = fault.take().or(book.apply(message).err());
            });
            let moved = moved.map_err(|e| e.to_string())?;
            if let Some(fault) = fault {
                return Err(fault.to_string());
            }
            if moved > 0 {
                last = Instant::now();
            } else {
                let target = until.load(Ordering::Acquire);
                if target != u64::MAX && last.elapsed() > FOLLOW_MAX {
                    return Err(format!("it stands at {} and the feed at {target}", client.joiner().next()));
                }
                std::thread::sleep(Duration::from_micros(500));
            }
        }
        Ok(Followed { digest: book.digest(), orders: book.order_count(), messages, requests: 0 })
    };
    spawn("late-joiner", follow)
}

fn spawn(
    name: &str,
    follow: impl FnOnce() -> Result<Followed, String> + Send + 'static,
) -> Result<Following, Failure> {
    let builder = std::thread::Builder::new().name(name.to_owned());
    builder.spawn(follow).map_err(Failure::no_thread)
}

fn write_hlog(path: &std::path::Path, intervals: &[(Duration, Duration, Latency)]) -> Result<(), Failure> {
    let intervals: Vec<_> = intervals
        .iter()
        .map(|(offset, length, latency)| load::Interval {
            offset: *offset,
            length: *length,
            tag: "order_to_ack",
            latency,
        })
        .collect();
    let length: Duration = intervals.iter().map(|i| i.length).sum();
    load::write_hlog(path, SystemTime::now() - length, "ironbell demo", &intervals)
        .map_err(|e| hlog_fault(path, e))
}

fn hlog_fault(path: &std::path::Path, what: impl std::fmt::Display) -> Failure {
    Failure::file(path, what, "give --hlog a file that you may write")
}

/// Everything that must agree.
struct Checks<'a> {
    outcome: &'a Outcome,
    before: &'a Hashes,
    after: &'a Hashes,
    status: &'a Status,
    followers: &'a [Followed; 2],
}

impl Checks<'_> {
    fn feed_book_equal(&self) -> bool {
        let follower_equal = |followed: &Followed| inspection::hex(&followed.digest) == self.before.book_hash;
        self.followers.iter().all(follower_equal) && self.before.book_hash == self.after.book_hash
    }

    fn failed(&self) -> Vec<String> {
        let mut failed = Vec::new();
        let mut check = |holds: bool, what: &str| {
            if !holds {
                failed.push(what.to_owned());
            }
        };
        check(
            self.outcome.ended == Ended::Completed,
            &format!("the load ended early: {:?}", self.outcome.ended),
        );
        check(
            self.outcome.counts.violations == 0,
            &format!("answers broke the rules: {:?}", self.outcome.violations),
        );
        check(self.outcome.counts.trades > 0, "nothing was traded: give a higher --rate or more --seconds");
        check(self.feed_book_equal(), "the books differ between engine, followers and recovery");
        check(
            self.before.state_hash == self.after.state_hash,
            "the state after recovery is not the state before",
        );
        check(
            self.before.output_hash == self.after.output_hash,
            "the output hash after recovery is not the one before",
        );
        check(self.status.checks_unequal.is_none(), "the shard and its shadow disagreed");
        check(self.status.checks_equal > 0, "the shard was never compared with its shadow");
        check(self.after.ledger_sum.values().all(|sum| sum == "0"), "the ledger does not sum to zero");
        failed
    }
}

fn report(
    outcome: &Outcome,
    status: &Status,
    recovered: &Status,
    checks: &Checks<'_>,
    failed: Vec<String>,
) -> Report {
    let counter = |role: &str, name: &str| {
        let role = status.roles.iter().find(|r| r.role == role);
        role.and_then(|r| r.counters.get(name)).copied().unwrap_or(0)
    };
    let p = outcome.latencies.order.percentiles();
    Report {
        orders: outcome.counts.sent.total(),
        orders_per_s: outcome.requests_per_s(),
        acks: outcome.counts.acks(),
        trades: outcome.counts.trades,
        rejects: outcome.counts.rejects(),
        latency_ns: LatencyNs {
            p50: p.p50,
            p90: p.p90,
            p99: p.p99,
            p999: p.p999,
            p9999: p.p9999,
            max: p.max,
        },
        journal: Journal { frames: counter("journal", "frames"), bytes: counter("journal", "bytes") },
        recovery: Recovery {
            ms: recovered.recovery.ms,
            commands: recovered.recovery.commands,
            commands_per_s: recovered.recovery.commands_per_s,
        },
        state_hash: BeforeAfter {
            before: checks.before.state_hash.clone(),
            after: checks.after.state_hash.clone(),
        },
        feed_book_equal: checks.feed_book_equal(),
        ledger_sum: checks.after.ledger_sum.clone(),
        durability: status.durability.clone(),
        ok: failed.is_empty(),
        failed_checks: failed,
    }
}

/// Prints; a reader that has gone is no failure.
fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// The report for people.
fn told(report: &Report, outcome: &Outcome, checks: &Checks<'_>) -> String {
    let mut text = format!(
        "\nLatency from the intended send time, over loopback TCP, durability {}\n",
        report.durability
    );
    let rows = [
        ("order -> ack", outcome.latencies.order.percentiles()),
        ("replace -> ack", outcome.latencies.replace.percentiles()),
        ("cancel -> out", outcome.latencies.cancel.percentiles()),
    ];
    text += &load::table(&rows);
    text += "\n";
    text += &checks.status.stage_table();
    text += "\n";

    let digest = |f: &Followed| inspection::hex(&f.digest)[..16].to_owned();
    let sums: Vec<_> = report.ledger_sum.iter().map(|(asset, sum)| format!("{asset} {sum}")).collect();
    let [multicast, late] = checks.followers;
    let r = &report.recovery;
    let rows: Vec<Vec<String>> = [
        (
            "orders",
            format!(
                "{} sent, {:.0}/s; {} acked, {} rejected, {} too late for their order",
                report.orders, report.orders_per_s, report.acks, report.rejects, outcome.silent
            ),
        ),
        ("trades", report.trades.to_string()),
        ("journal", format!("{} frames, {:.1} MB", report.journal.frames, report.journal.bytes as f64 / 1e6)),
        ("recovery", format!("{} commands in {:.1} ms, {:.0}/s", r.commands, r.ms, r.commands_per_s)),
        (
            "state hash",
            format!("{} before, {} after", &report.state_hash.before[..16], &report.state_hash.after[..16]),
        ),
        ("book: engine", checks.before.book_hash[..16].to_owned()),
        (
            "book: multicast",
            format!(
                "{} ({} orders, {} messages, {} re-requests)",
                digest(multicast),
                multicast.orders,
                multicast.messages,
                multicast.requests
            ),
        ),
        (
            "book: late joiner",
            format!("{} ({} orders, {} messages)", digest(late), late.orders, late.messages),
        ),
        ("book: recovered", checks.after.book_hash[..16].to_owned()),
        ("ledger sums", sums.join(", ")),
        ("self-check", format!("shard and shadow equal at {} frames", checks.status.checks_equal)),
        (
            "verdict",
            if report.ok { "ok".to_owned() } else { format!("FAILED: {}", report.failed_checks.join("; ")) },
        ),
    ]
    .into_iter()
    .map(|(name, value)| vec![name.to_owned(), value])
    .collect();
    text + &table(&rows, &[])
}
