//! A node that starts from a snapshot is the node that replays its whole journal: the same state, and every member's
//! stream complete. A snapshot, or a log, that is not as it should be is passed over.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use ironbell_appliance::inspection::{self, Hashes};
use ironbell_appliance::recovery;
use ironbell_appliance::trial::TrialNode;
use ironbell_load::{Driver, DriverConfig, Ended, FlowConfig, Login, Mix, Traded, Until};
use ironbell_types::{Symbol, Username};
use serde_json::Value;

/// Snapshots are made when the test says so.
const SECTIONS: &str = r#"segment_bytes = 4194304

[snapshot]
every = "off"
every_commands = 0
keep = 2

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

fn driver_config() -> DriverConfig {
    let login =
        |name: &str| Login { username: Username::new(name).expect("short"), password: "crash".into() };
    let traded = |symbol: &str, mid| Traded {
        symbol: Symbol::new(symbol).expect("short"),
        mid,
        tick: 100,
        qty_max: 500,
    };
    let instruments = vec![traded("ANVL", 1_890_000), traded("BELL", 425_000)];
    let flow = FlowConfig { seed: 5, instruments, mix: Mix::default(), standing_max: 500 };
    DriverConfig {
        remember: true,
        ..DriverConfig::new(vec![login("ALFA01"), login("BETA01")], flow, 2_000.0)
    }
}

struct Trial {
    node: TrialNode,
    driver: Option<Driver>,
}

impl Trial {
    fn new(name: &str, sections: &str) -> Self {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("snapshot-{name}"));
        let program = Path::new(env!("CARGO_BIN_EXE_ironbell"));
        let mut node = TrialNode::prepare(&dir, sections, Some(program)).expect("a node");
        node.start().expect("it starts");
        let mut trial = Self { node, driver: None };
        let driver = Driver::connect(trial.address(), driver_config()).expect("members are let in");
        trial.driver = Some(driver);
        trial
    }

    fn address(&self) -> std::net::SocketAddr {
        self.node.status().expect("it answers").order_entry.parse().expect("an address")
    }

    fn driver(&mut self) -> &mut Driver {
        self.driver.as_mut().expect("it is connected")
    }

    /// Orders, replacements, cancels and trades, until so many more commands are acknowledged.
    fn trade(&mut self, acks: u64) {
        let until = self.driver().outcome().counts.acks() + acks;
        while self.driver().outcome().counts.acks() < until {
            self.driver().run(Until::Elapsed(Duration::from_millis(100)), |_| {});
            let ended = self.driver().outcome().ended.clone();
            assert_eq!(ended, Ended::Completed);
        }
    }

    /// `ironbell ARGUMENTS --config …`.
    fn ironbell(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ironbell"));
        command.args(arguments).arg("--config").arg(self.node.config_path());
        command.output().expect("it runs")
    }

    /// Makes a snapshot; its Seq.
    fn snapshot(&self) -> u64 {
        let output = self.ironbell(&["snapshot", "now", "--json"]);
        assert!(output.status.success(), "{output:?}");
        let made: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
        made["seq"].as_u64().unwrap_or_else(|| panic!("{made}"))
    }

    /// What the journal comes to from its first command.
    fn whole_journal(&self) -> Hashes {
        let dir = self.node.config().journal_dir();
        let data_key = self.node.config().data_key().expect("the key file is there");
        inspection::hashes(&recovery::replay(&dir, data_key, |_, _| {}).expect("no kill damages it").engine)
    }

    /// Kills the node and starts it again: it must come to what the whole journal comes to, and every message that a
    /// member ever heard must be told again. Returns what it went on from.
    fn kill_and_start(&mut self) -> Option<u64> {
        self.node.kill();
        self.driver().run(Until::Elapsed(Duration::from_secs(5)), |_| {});
        assert!(matches!(self.driver().outcome().ended, Ended::Disconnected { .. }));
        self.start()
    }

    fn start(&mut self) -> Option<u64> {
        let expected = self.whole_journal();
        self.node.start().unwrap_or_else(|error| panic!("{error}"));
        let status = self.node.status().expect("it answers");
        assert_eq!(status.recovery.hashes, expected);
        let behind = status.recovery.snapshot_seq.unwrap_or(0);
        assert_eq!(
            status.recovery.commands,
            expected.seq - behind,
            "only what is behind the snapshot is replayed"
        );
        let address = self.address();
        // Which logs in by itself: the driver has its ports back afterwards.
        let retold = self.driver().check_retold(address).expect("every message is told again as it was");
        assert!(retold > 0);
        let ended = self.driver().reconnect(address).expect("members are let in").clone();
        assert_eq!(ended, Ended::Completed);
        assert!(self.driver().outcome().is_right(), "{:?}", self.driver().outcome().violations);
        status.recovery.snapshot_seq
    }

    fn path(&self, seq: u64) -> PathBuf {
        ironbell_store::snapshot::path(&self.node.config().journal_dir(), ironbell_types::Seq(seq))
    }

    fn said(&self) -> String {
        let log = self.node.config_path().with_file_name("node.log");
        std::fs::read_to_string(log).expect("the node's log")
    }
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).expect("it can be written");
}

fn goes_on(name: &str, sections: &str, is_whole: bool) {
    let mut trial = Trial::new(name, sections);
    trial.trade(800);
    // Beside the running node, twice.
    let first = trial.snapshot();
    trial.trade(500);
    let second = trial.snapshot();
    assert!(second > first + 400, "{first} {second}");
    trial.trade(500);
    assert_eq!(trial.kill_and_start(), Some(second));
    trial.trade(500);

    // A start from it goes on making snapshots that a start goes on from; no more than two are kept.
    let third = trial.snapshot();
    assert!(!trial.path(first).exists(), "two are kept");
    trial.trade(300);
    assert_eq!(trial.kill_and_start(), Some(third));
    let verified = trial.ironbell(&["snapshot", "verify", "--from-genesis"]);
    assert!(verified.status.success(), "{verified:?}");
    if !is_whole {
        return;
    }

    // Damaged: the one before it is as good.
    trial.trade(100);
    flip(&trial.path(third));
    assert_eq!(trial.kill_and_start(), Some(second));
    assert!(trial.said().contains("is passed over"), "{}", trial.said());
    let verified = trial.ironbell(&["snapshot", "verify", "--json"]);
    assert_eq!(verified.status.code(), Some(1), "{verified:?}");

    // None: the whole journal. Every record of both logs, after all these starts, is what a replay from the first
    // command writes.
    for seq in [second, third] {
        std::fs::remove_file(trial.path(seq)).expect("it was there");
    }
    assert_eq!(trial.kill_and_start(), None);
    assert_eq!(trial.node.status().expect("it answers").recovery.log_messages_rewritten, 0);

    // A log that is gone is rebuilt, for which no snapshot is any use.
    let fourth = trial.snapshot();
    trial.trade(100);
    assert_eq!(trial.kill_and_start(), Some(fourth));
    assert_eq!(trial.node.stop().expect("it ends"), 0);
    trial.driver().run(Until::Elapsed(Duration::from_secs(5)), |_| {});
    std::fs::remove_dir_all(trial.node.config().data_dir.join("sessions")).expect("it was there");
    assert_eq!(trial.start(), None);
    assert!(trial.node.status().expect("it answers").recovery.log_messages_rewritten > 1_000);
    // And from then on it is of use again.
    assert_eq!(trial.kill_and_start(), Some(fourth));
    assert_eq!(trial.node.stop().expect("it ends"), 0);

    // Of a stopped node, to the very last command.
    let last = trial.snapshot();
    assert_eq!(last, trial.whole_journal().seq);
    let again = trial.ironbell(&["snapshot", "now", "--json"]);
    assert_eq!(String::from_utf8_lossy(&again.stdout).trim(), "null", "nothing is new");
}

#[test]
fn a_start_from_a_snapshot_is_a_start_from_the_first_command() {
    goes_on("plain", SECTIONS, true);
}

#[test]
fn an_enciphered_node_starts_from_a_snapshot_too() {
    let keys = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("snapshot-keys");
    let _ = std::fs::remove_dir_all(&keys);
    std::fs::create_dir_all(&keys).expect("a folder");
    let key = keys.join("key");
    let made = Command::new(env!("CARGO_BIN_EXE_ironbell")).arg("key").arg(&key).status().expect("it runs");
    assert!(made.success());
    goes_on("enciphered", &format!("key_file = {key:?}\n{SECTIONS}"), false);
}

/// The node has them made by itself, and keeps as many as it is told.
#[test]
fn a_running_node_makes_snapshots_by_itself() {
    let sections = SECTIONS.replace("every = \"off\"", "every = \"200ms\"");
    let mut trial = Trial::new("by-itself", &sections);
    let listed = |trial: &Trial| {
        let listed = ironbell_store::snapshot::list(&trial.node.config().journal_dir()).expect("it is read");
        listed.into_iter().map(|(seq, _)| seq.0).collect::<Vec<_>>()
    };
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..600 {
        trial.trade(20);
        seen.extend(listed(&trial));
        if seen.len() >= 4 {
            break;
        }
    }
    assert!(seen.len() >= 4, "{seen:?}; {}", trial.said());
    assert!(listed(&trial).len() <= 3, "two, and one that was just made: {:?}", listed(&trial));
    let said = trial.node.status().expect("it answers").snapshot_seq;
    assert!(said.is_some_and(|seq| seen.contains(&seq) || seq > *seen.last().expect("some")), "{said:?}");
    assert!(trial.kill_and_start().is_some());
    assert!(!trial.said().contains("ALARM"), "{}", trial.said());
}

/// Time travel: whether behind a snapshot or from the first command, the same book and the same balances.
#[test]
fn a_replay_until_a_moment_shows_books_and_balances_as_of_then() {
    let mut trial = Trial::new("until", SECTIONS);
    trial.trade(300);
    let snapshot = trial.snapshot();
    trial.trade(300);
    assert_eq!(trial.node.stop().expect("it ends"), 0);
    let data = trial.node.config().data_dir.display().to_string();
    let replay = |more: &[&str]| -> Value {
        let mut arguments = vec!["replay", &data, "--json"];
        arguments.extend(more);
        let output = Command::new(env!("CARGO_BIN_EXE_ironbell")).args(&arguments).output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).expect("one JSON object")
    };
    let last = trial.whole_journal().seq;
    for seq in [1, snapshot - 50, snapshot, snapshot + 1, snapshot + 77, last, last + 10] {
        let text = seq.to_string();
        let (short, long) = (replay(&["--until", &text]), replay(&["--until", &text, "--from-genesis"]));
        assert_eq!(short["seq"], seq.min(last));
        for field in ["seq", "time", "state_hash", "output_hash", "book_hash", "book", "ledger"] {
            assert_eq!(short[field], long[field], "{field} at seq {seq}");
        }
        let behind = if seq < snapshot { 0 } else { snapshot };
        assert_eq!((&short["snapshot_seq"], &long["snapshot_seq"]), (&behind.into(), &0.into()), "{seq}");
        assert_eq!(short["commands"], seq.min(last) - behind);
        assert!(seq < snapshot || !short["book"].as_array().expect("lines").is_empty());

        // The time of a command leads to the last command of that time.
        let time = short["time"].as_str().expect("a time").to_owned();
        let by_time = replay(&["--until", &time]);
        assert!(by_time["seq"].as_u64() >= Some(seq.min(last)), "{by_time}");
        assert_eq!(by_time["time"], short["time"]);
    }
    let whole = replay(&[]);
    assert_eq!((&whole["snapshot_seq"], &whole["seq"]), (&snapshot.into(), &last.into()));
    assert!(whole.get("book").is_none());
    let refused = Command::new(env!("CARGO_BIN_EXE_ironbell"))
        .args(["replay", &data, "--until", "yesterday"])
        .output()
        .expect("it runs");
    assert_eq!(refused.status.code(), Some(2));
}

/// What no snapshot needs can go, and a start does not miss it.
#[test]
fn segments_that_no_snapshot_needs_are_archived() {
    let mut trial = Trial::new("archived", SECTIONS);
    let place = trial.node.config_path().with_file_name("archive").display().to_string();
    let nothing = trial.ironbell(&["archive", &place]);
    assert_eq!(nothing.status.code(), Some(0), "{nothing:?}");
    let said = String::from_utf8_lossy(&nothing.stdout);
    assert!(said.starts_with("nothing to archive yet"), "{said}");
    assert!(!Path::new(&place).exists(), "it has made an archive of nothing");
    let segment =
        |trial: &Trial, index: u64| trial.node.config().journal_dir().join(format!("{index:010}.segment"));
    while !segment(&trial, 5).exists() {
        trial.trade(200);
    }
    // Two are ready ahead, so that the third is being written.
    let first = trial.snapshot();
    trial.trade(100);
    let second = trial.snapshot();
    let archived = trial.ironbell(&["archive", &place]);
    assert!(archived.status.success(), "{archived:?}");
    assert!(!segment(&trial, 1).exists() && segment(&trial, 3).exists(), "{archived:?}");
    trial.node.kill();
    trial.node.start().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(trial.node.status().expect("it answers").recovery.snapshot_seq, Some(second));
    trial.node.kill();
    // Without a snapshot there is no start until it is back.
    for seq in [first, second] {
        std::fs::remove_file(trial.path(seq)).expect("it was there");
    }
    let said = trial.node.start().expect_err("the journal's beginning is not there").to_string();
    assert!(said.contains("ironbell restore"), "{said}");
    let restored = trial.ironbell(&["restore", &place]);
    assert!(restored.status.success(), "{restored:?}");
    let expected = trial.whole_journal();
    trial.node.start().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(trial.node.status().expect("it answers").recovery.hashes, expected);
}
