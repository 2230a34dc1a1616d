//! `kill -9` at random moments, over and over on one journal: nothing a member was told is missing after the
//! restart, sessions go on where they were, and every recovery comes to the same hashes: with another number of shards
//! than the run before had, too.
//!
//! `IRONBELL_KILLS` sets the number of rounds (50), `IRONBELL_SEED` the seed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ironbell_appliance::inspection;
use ironbell_appliance::recovery;
use ironbell_appliance::trial::TrialNode;
use ironbell_load::{Driver, DriverConfig, Ended, FlowConfig, Login, Mix, Rng, Traded, Until};
use ironbell_types::{Symbol, Username};
use rustix::process::Signal;

/// Small segments, so that the kills meet their ends and beginnings too, and a snapshot whenever one is done.
const SECTIONS: &str = r#"segment_bytes = 4194304

[snapshot]
every = "50ms"

[shards]
run_min = 1
count = 1

[genesis]
assets = [{ code = "USD", decimals = 4 }, { code = "ANVL", decimals = 0 }, { code = "BELL", decimals = 0 }]
instruments = [
    { symbol = "ANVL", base = "ANVL", quote = "USD", tick = "0.01", maker_fee_bps = 1, taker_fee_bps = 3 },
    { symbol = "BELL", base = "BELL", quote = "USD", tick = "0.01", maker_fee_bps = 0, taker_fee_bps = 7 },
]
firms = [{ mpid = "ALFA" }, { mpid = "BETA" }]
ports = [
    { username = "ALFA01", password = "crash", firm = "ALFA", account = 1 },
    { username = "BETA01", password = "crash", firm = "BETA", account = 2 },
]
funds = [
    { account = 1, asset = "USD", amount = "1000000000" }, { account = 1, asset = "ANVL", amount = "10000000" },
    { account = 1, asset = "BELL", amount = "10000000" },
    { account = 2, asset = "USD", amount = "1000000000" }, { account = 2, asset = "ANVL", amount = "10000000" },
    { account = 2, asset = "BELL", amount = "10000000" },
]
"#;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn driver_config(seed: u64) -> DriverConfig {
    let login =
        |name: &str| Login { username: Username::new(name).expect("short"), password: "crash".into() };
    let traded = |symbol: &str, mid| Traded {
        symbol: Symbol::new(symbol).expect("short"),
        mid,
        tick: 100,
        qty_max: 500,
    };
    let instruments = vec![traded("ANVL", 1_890_000), traded("BELL", 425_000)];
    let flow = FlowConfig { seed, instruments, mix: Mix::default(), standing_max: 500 };
    DriverConfig {
        remember: true,
        ..DriverConfig::new(vec![login("ALFA01"), login("BETA01")], flow, 3_000.0)
    }
}

/// How many shards the next start is with.
fn choose_shards(dir: &Path, before: u64, count: u64) -> u64 {
    let path = dir.join("node.toml");
    let text = std::fs::read_to_string(&path).expect("a file of ours");
    let chosen = text.replace(&format!("\ncount = {before}\n"), &format!("\ncount = {count}\n"));
    assert!(chosen.contains(&format!("\ncount = {count}\n")));
    std::fs::write(&path, chosen).expect("a file of ours");
    count
}

/// Sends `signal` to process `id` after `life`, whatever it is doing then.
fn signal_after(id: u32, life: Duration, signal: Signal) -> std::thread::JoinHandle<()> {
    let pid =
        rustix::process::Pid::from_raw(i32::try_from(id).expect("a process number")).expect("it is not 0");
    std::thread::spawn(move || {
        std::thread::sleep(life);
        rustix::process::kill_process(pid, signal).expect("it is still ours to end");
    })
}

#[test]
fn nothing_a_member_was_told_is_lost_by_kill_9() {
    let (kills, seed) = (setting("IRONBELL_KILLS", 50), setting("IRONBELL_SEED", 1));
    println!("IRONBELL_KILLS={kills} IRONBELL_SEED={seed}");
    let mut rng = Rng::new(seed);
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("crash");
    let program = Path::new(env!("CARGO_BIN_EXE_ironbell"));
    let mut node = TrialNode::prepare(&dir, SECTIONS, Some(program)).expect("a node");
    node.start().expect("it starts");
    let mut driver = connect(&node, seed);
    let (mut under_load, mut asked, mut behind_snapshots, mut shards) = (0, 0, 0, 1);
    for round in 1..=kills {
        if rng.below(5) == 0 {
            // In the midst of a start, too: recovery itself may be cut off.
            node.kill();
            let life = Duration::from_micros(rng.below(60_000));
            node.start_and_kill(life).expect("it is executed");
            driver.run(Until::Elapsed(Duration::from_secs(5)), |_| {});
        } else {
            // One in five is asked to stop in good order instead: nothing may be lost by that either.
            let signal = if rng.below(5) == 0 { Signal::TERM } else { Signal::KILL };
            let life = Duration::from_micros(2_000 + rng.below(150_000));
            let killer = signal_after(node.id().expect("it runs"), life, signal);
            driver.run(Until::Elapsed(Duration::from_secs(30)), |_| {});
            killer.join().expect("the killer does not panic");
            if signal == Signal::TERM {
                assert_eq!(node.wait().expect("it ends"), 0, "round {round}");
                asked += 1;
            }
            under_load += 1;
        }
        assert!(
            matches!(driver.outcome().ended, Ended::Disconnected { .. }),
            "round {round}: {:?}",
            driver.outcome().ended
        );
        // What is on the disk, replayed without the node: the node must recover to the same.
        node.kill();
        let replayed = recovery::replay(&node.config().journal_dir(), None, |_, _| {})
            .expect("no kill damages the journal");
        let expected = inspection::hashes(&replayed.engine);
        shards = choose_shards(&dir, shards, 1 + rng.below(3));
        node.start().unwrap_or_else(|e| panic!("round {round}: {e}"));
        let status = node.status().expect("it answers");
        assert_eq!(status.recovery.hashes, expected, "round {round}");
        assert!(
            expected.ledger_sum.values().all(|sum| sum == "0"),
            "round {round}: {:?}",
            expected.ledger_sum
        );
        behind_snapshots += u64::from(status.recovery.snapshot_seq.is_some());
        let address = status.order_entry.parse().expect("an address");
        let ended = driver.reconnect(address).unwrap_or_else(|e| panic!("round {round}: {e}")).clone();
        assert_eq!(ended, Ended::Completed, "round {round}");
        assert!(node.status().expect("it answers").checks_unequal.is_none(), "round {round}");
    }
    let status = node.status().expect("it answers");
    let retold = driver.check_retold(status.order_entry.parse().expect("an address"));
    let retold = retold.expect("every message ever heard is told again as it was");
    let outcome = driver.outcome();
    assert!(outcome.is_right(), "{:?} {:?}", outcome.ended, outcome.violations);
    assert!(kills < 20 || behind_snapshots > kills / 4, "only {behind_snapshots} starts were from snapshots");
    assert!(outcome.counts.acks() > kills * 5, "too little was going on: {} acks", outcome.counts.acks());
    println!(
        "{kills} ends, {under_load} under load, {asked} of them asked for, {behind_snapshots} starts from snapshots: {} acks and {} trades heard, {retold} messages retold, {} commands replayed",
        outcome.counts.acks(),
        outcome.counts.trades,
        status.recovery.commands
    );
    assert_eq!(node.stop().expect("it ends"), 0, "and it still stops in good order");
}

fn connect(node: &TrialNode, seed: u64) -> Driver {
    let status = node.status().expect("it answers");
    Driver::connect(status.order_entry.parse().expect("an address"), driver_config(seed))
        .expect("members are let in")
}
