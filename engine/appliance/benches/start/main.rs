//! How long the real program takes from its first instruction to the first order it acknowledges, with 100,000 accounts and
//! a million open orders behind it.
//!
//! ```text
//! cargo bench -p ironbell-appliance --bench start -- [--orders N] [--accounts N] [--runs N] [DIR]
//! ```
//!
//! A venue is formatted, and its commands are appended to the journal as a node would; the node runs once from the first
//! command, has its snapshot made, and takes some more orders behind it. Then it is started again and again: from the
//! snapshot, and for comparison from the first command. DIR must lie on a disk. The file of the snapshot is in the page cache
//! or not as the kernel likes; with root's rights the cache is dropped before each start.

#[expect(dead_code, reason = "a start is measured behind orders that rest")]
#[path = "../venue.rs"]
mod venue;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use ironbell_appliance::recovery::Replay;
use ironbell_appliance::trial::TrialNode;
use ironbell_load::{Driver, DriverConfig, Ended, FlowConfig, Login, Mix, Traded, Until};
use ironbell_types::{Symbol, Username};

use venue::{Size, Venue};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// From the start of the process to the first ack.
const BAR: Duration = Duration::from_secs(3);

/// What is there before the many come: one who trades.
const SECTIONS: &str = r#"segment_bytes = 67108864

[snapshot]
every = "off"
every_commands = 0

[genesis]
assets = [{ code = "USD", decimals = 4 }, { code = "ANVL", decimals = 0 }]
instruments = [
    { symbol = "ANVL", base = "ANVL", quote = "USD", tick = "0.01", maker_fee_bps = 1, taker_fee_bps = 3 },
]
firms = [{ mpid = "ALFA" }]
ports = [{ username = "ALFA01", password = "start", firm = "ALFA", account = 1 }]
funds = [
    { account = 1, asset = "USD", amount = "1000000000" }, { account = 1, asset = "ANVL", amount = "10000000" },
]
"#;

fn main() -> ExitCode {
    let (mut orders, mut accounts, mut runs) = (1_000_000, 100_000, 5);
    let mut parent = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number =
            || args.next().and_then(|value| value.parse().ok()).expect("a number behind the option");
        match arg.as_str() {
            "--orders" => orders = number(),
            "--accounts" => accounts = number(),
            "--runs" => runs = number(),
            // Cargo says so to every bench.
            "--bench" => {}
            dir => parent = PathBuf::from(dir),
        }
    }
    let dir = parent.join("start");
    let done = bench(&dir, orders, accounts, runs);
    let _ = std::fs::remove_dir_all(&dir);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("start: {error}");
            ExitCode::from(2)
        }
    }
}

fn bench(dir: &Path, orders: u32, accounts: u32, runs: u32) -> Result<()> {
    let program = Path::new(env!("CARGO_BIN_EXE_ironbell"));
    let mut node = TrialNode::prepare(dir, SECTIONS, Some(program))?;
    let commands = fill(&node, orders, accounts)?;
    println!(
        "{commands} commands in the journal: {accounts} accounts, {orders} open orders; ms, best of {runs}"
    );
    // Logs of what members were told are made by the first start.
    let first = node.start()?;
    println!("  {:<34}{:>9.0}", "first start, logs written too", first.as_secs_f64() * 1e3);
    acknowledged(&node, 1_000)?;
    snapshot(&node, program)?;
    acknowledged(&node, 10_000)?;
    let mut best: Option<Start> = None;
    for _ in 0..runs.max(1) {
        node.kill();
        drop_cache();
        let start = timed(&mut node)?;
        if best.as_ref().is_none_or(|best| start.to_ack < best.to_ack) {
            best = Some(start);
        }
    }
    let Start { stages, ready, to_ack } = best.expect("one run at least");
    for (what, ms) in &stages {
        println!("  {what:<34}{ms:>9.0}");
    }
    println!("  {:<34}{:>9.0}", "ready, from the process's start", ready.as_secs_f64() * 1e3);
    println!("  {:<34}{:>9.0}", "first order acknowledged", to_ack.as_secs_f64() * 1e3);
    println!("  {:.2} of the {} s it may take", to_ack.as_secs_f64() / BAR.as_secs_f64(), BAR.as_secs());
    Ok(())
}

/// Appends the venue's commands, as a node would; how many there are then.
fn fill(node: &TrialNode, orders: u32, accounts: u32) -> Result<u64> {
    let config = node.config();
    let (dir, options) = (config.journal_dir(), config.store_options(None));
    let mut replay = Replay::new(ironbell_store::identity(&dir)?.key);
    let (found, mut writer, mut maker) =
        ironbell_store::open_replaying(&dir, &options, &mut |header, commands| {
            replay.frame(header, commands).map(|_| ()).map_err(Into::into)
        })?;
    let mut engine = replay.finish().engine;
    let mut venue = Venue::new(Size { instruments: 100, accounts }, 1, found.last_seq, found.last_time);
    let mut commands = venue.definitions();
    for number in 0..orders {
        commands.push(venue.order(1 + i64::from(number % 1_000)));
    }
    let mut events = Vec::new();
    for frame in commands.chunks(1_024) {
        while !writer.can_begin() {
            if writer.poll()? == 0 && writer.in_flight() == 0 {
                maker.poll()?;
            }
        }
        let executed = (engine.last_seq(), engine.output_hash());
        writer.append(frame, executed.0, executed)?;
        events.clear();
        engine.execute_frame(frame, &mut events);
    }
    writer.seal()?;
    let open: usize = engine.instruments().map(|instrument| engine.book(instrument.id).count()).sum();
    assert_eq!(open, orders as usize, "orders are refused");
    Ok(engine.last_seq().0)
}

fn snapshot(node: &TrialNode, program: &Path) -> Result<()> {
    let begun = Instant::now();
    let made =
        Command::new(program).args(["snapshot", "now", "--config"]).arg(node.config_path()).output()?;
    if !made.status.success() {
        return Err(String::from_utf8_lossy(&made.stderr).into());
    }
    print!(
        "  {:<34}{:>9.0}  {}",
        "snapshot made",
        begun.elapsed().as_secs_f64() * 1e3,
        String::from_utf8_lossy(&made.stdout)
    );
    Ok(())
}

/// Without the rights to it the cache stays, and the disk is not part of the figure.
fn drop_cache() {
    rustix::fs::sync();
    let file = std::fs::OpenOptions::new().write(true).open("/proc/sys/vm/drop_caches");
    let _ = file.and_then(|mut file| file.write_all(b"3"));
}

/// One start.
struct Start {
    stages: Vec<(String, f64)>,
    ready: Duration,
    to_ack: Duration,
}

fn timed(node: &mut TrialNode) -> Result<Start> {
    let begun = Instant::now();
    let ready = node.start()?;
    acknowledged(node, 1)?;
    let to_ack = begun.elapsed();
    let recovery = node.status()?.recovery;
    let stages = recovery.stages.into_iter().map(|stage| (format!("  {}", stage.what), stage.ms)).collect();
    Ok(Start { stages, ready, to_ack })
}

/// Logs in, and has so many commands acknowledged at least.
fn acknowledged(node: &TrialNode, acks: u64) -> Result<()> {
    let traded =
        Traded { symbol: Symbol::new("ANVL").expect("short"), mid: 1_890_000, tick: 100, qty_max: 500 };
    let flow = FlowConfig { seed: 5, instruments: vec![traded], mix: Mix::default(), standing_max: 500 };
    let login = Login { username: Username::new("ALFA01").expect("short"), password: "start".into() };
    let rate = if acks > 1 { 5_000.0 } else { 1_000.0 };
    let mut driver =
        Driver::connect(node.status()?.order_entry.parse()?, DriverConfig::new(vec![login], flow, rate))?;
    while driver.outcome().counts.acks() < acks {
        driver.run(Until::Elapsed(Duration::from_millis(1)), |_| {});
        if driver.outcome().ended != Ended::Completed {
            return Err(format!("{:?}", driver.outcome().ended).into());
        }
    }
    Ok(())
}
