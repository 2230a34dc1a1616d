//! Several shards on the real program: what an SRE is told of them, what is refused, and that their number shows in no
//! outcome.

mod trader;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use ironbell_appliance::topology;
use ironbell_appliance::trial::TrialNode;
use ironbell_client::order_entry::{Event, NewOrder};
use ironbell_types::{Side, Symbol};
use ironbell_wire::ouch::{OptionsBuf, Outbound};
use serde_json::Value;
use trader::{PATIENCE, Trader};

const GENESIS: &str = r#"
[genesis]
assets = [{ code = "USD", decimals = 4 }, { code = "ANVL", decimals = 0 }]
instruments = [{ symbol = "ANVL", base = "ANVL", quote = "USD", tick = "0.01" }]
firms = [{ mpid = "ALFA" }, { mpid = "BETA" }]
ports = [
    { username = "ALFA01", password = "secret", firm = "ALFA", account = 1 },
    { username = "BETA01", password = "secret", firm = "BETA", account = 2 },
]
funds = [
    { account = 1, asset = "USD", amount = "1000" }, { account = 1, asset = "ANVL", amount = "1000" },
    { account = 2, asset = "USD", amount = "1000000" },
]
"#;

fn trial(name: &str, shards: &str) -> TrialNode {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("trial-shards-{name}"));
    let sections = format!("segment_bytes = 4194304\n[shards]\n{shards}\n{GENESIS}");
    TrialNode::prepare(&dir, &sections, Some(Path::new(env!("CARGO_BIN_EXE_ironbell")))).expect("a node")
}

fn ironbell(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ironbell")).args(args).output().expect("it runs")
}

/// What it says when all is well.
fn said(args: &[&str]) -> String {
    let output = ironbell(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A table's rows, each as its words.
fn rows(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect()).collect()
}

#[test]
fn the_topology_is_told_before_a_node_runs() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("shards-topology");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a folder");
    let path = dir.join("node.toml");
    let config = path.to_str().expect("UTF-8");
    let cpu = topology::allowed()[0];
    let told = |shards: &str| {
        std::fs::write(&path, format!("[placement]\ncpus = [{cpu}]\nspin = true\n[shards]\n{shards}\n"))
            .expect("a file of ours");
        said(&["topology", "--config", config])
    };
    let three = told("count = 3");
    let number = cpu.to_string();
    let order_path = [
        "order-path",
        &number,
        "gateway",
        "feed",
        "sequencer",
        "journal",
        "shard",
        "release",
        "shard-1",
        "shard-2",
        "spins",
    ];
    assert!(rows(&three).iter().any(|row| row[..] == order_path), "{three}");
    // Name, how many, slots each: jobs each way to two further shards, mail from each of three to each other.
    for ring in [["sequencer_shard", "1", "64"], ["shard_shard", "4", "2"], ["exchange", "6", "2"]] {
        assert!(rows(&three).iter().any(|row| row.starts_with(&ring)), "{ring:?} is not in {three}");
    }
    let one = told("count = 1");
    assert!(!one.contains("shard-1") && !one.contains("exchange"), "{one}");
}

#[test]
fn shards_that_there_cannot_be_are_refused_by_name() {
    let refused = |args: &[&str], parts: &[&str]| {
        let output = ironbell(args);
        let line = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(parts.iter().all(|part| line.contains(part)), "{parts:?} are not all in {line}");
    };
    let node = trial("refused", "count = 1");
    let path = node.config_path();
    let good = std::fs::read_to_string(path).expect("it was written");
    let config = path.to_str().expect("UTF-8");
    for (shards, parts) in [
        ("count = 0", ["shards.count = 0", "1 to 32"]),
        ("count = 33", ["shards.count = 33", "1 to 32"]),
        ("count = -1", ["line", "integer `-1`"]),
        ("count = 2\nfirms = { ALFA = 2 }", ["shards.firms.ALFA = 2", "2 shards, counted from 0"]),
        ("count = 2\ninstruments = { ANVL = 7 }", ["shards.instruments.ANVL = 7", "2 shards"]),
        ("count = 2\nfirms = { OMEGA = 1 }", ["shards.firms.OMEGA", "none of this name"]),
        ("count = 2\ninstruments = { BELL = 1 }", ["shards.instruments.BELL", "none of this name"]),
        ("count = 2\ncores = 1", ["line", "cores"]),
    ] {
        std::fs::write(path, good.replace("[shards]\ncount = 1", &format!("[shards]\n{shards}")))
            .expect("a file of ours");
        refused(&["run", "--config", config], &[&[config][..], &parts[..]].concat());
    }
    std::fs::write(path, good).expect("a file of ours");
    let mut node = node;
    node.start().expect("nothing was lost");
    assert_eq!(node.stop().expect("it ends"), 0);
}

fn order(side: Side, qty: u32, cents: u64) -> NewOrder {
    NewOrder::day(side, qty, Symbol::new("ANVL").expect("short"), cents * 100)
}

/// The next message's kind.
fn heard(trader: &mut Trader) -> String {
    trader.next(|event| match event {
        Event::Message { message: Outbound::OrderAccepted(..), .. } => "accepted".into(),
        Event::Message { message: Outbound::Rejected(..), .. } => "refused".into(),
        Event::Message { message: Outbound::OrderExecuted(..), .. } => "executed".into(),
        other => panic!("{other:?}"),
    })
}

/// Sends so many orders at once, every other one more than the account can pay for.
fn burst(trader: &mut Trader, orders: usize) {
    for n in 0..orders {
        let (qty, cents) = if n % 2 == 0 { (1, 1) } else { (100_000, 100) };
        trader
            .member
            .entry()
            .enter(&order(Side::Buy, qty, cents), &OptionsBuf::EMPTY)
            .expect("there is room");
    }
    for n in 0..orders {
        assert_eq!(heard(trader), if n % 2 == 0 { "accepted" } else { "refused" });
    }
}

#[test]
fn a_node_on_two_shards_tells_how_they_do_and_its_journal_replays_on_any_number() {
    let mut node = trial("status", "count = 2\nrun_min = 1\nfirms = { ALFA = 1 }");
    node.start().expect("it starts");
    let config = node.config_path().to_str().expect("UTF-8").to_owned();
    let status = || said(&["status", "--config", &config]);
    let json =
        || serde_json::from_str::<Value>(&said(&["status", "--json", "--config", &config])).expect("JSON");
    let line = |text: &str, name: &str| {
        let found = text.lines().find(|line| line.split_whitespace().next() == Some(name));
        found.unwrap_or_else(|| panic!("no line {name} in {text}")).to_owned()
    };
    assert!(line(&status(), "shards").ends_with("0 commands one by one, no superstep"));

    let (mut alfa, mut beta) = (Trader::connect(&node, "ALFA01"), Trader::connect(&node, "BETA01"));
    // ALFA's offer might bring the money that its orders want, so that none is refused before it is looked at alone.
    alfa.member.entry().enter(&order(Side::Sell, 100, 99_999), &OptionsBuf::EMPTY).expect("there is room");
    assert_eq!(heard(&mut alfa), "accepted");
    let begun = Instant::now();
    let count = |role: &str, name: &str| {
        let status = json();
        let roles = status["roles"].as_array().expect("roles").clone();
        let of = roles.iter().find(|of| of["role"] == role).expect("it is told");
        of["counters"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {of}"))
    };
    while count("shard", "cuts") == 0 || count("sequencer", "deferred") == 0 {
        burst(&mut alfa, 64);
        assert!(begun.elapsed() < PATIENCE, "no superstep was cut, or nobody came last for it: {}", status());
    }
    beta.member.entry().enter(&order(Side::Buy, 40, 100_000), &OptionsBuf::EMPTY).expect("there is room");
    assert_eq!([heard(&mut beta), heard(&mut beta)], ["accepted", "executed"]);
    assert_eq!(heard(&mut alfa), "executed");

    let text = status();
    let shards = line(&text, "shards");
    for part in [
        " in ",
        " supersteps of ",
        " on average, ",
        " of them cut; fanned out ",
        " came last in their frames",
    ] {
        assert!(shards.contains(part), "{part:?} is not in {shards}");
    }
    let rings = line(&text, "rings");
    for ring in
        topology::rings(1).iter().map(|(ring, _)| ring).filter(|ring| ring.name.starts_with("sequencer"))
    {
        let told = rings.split([' ', ',']).skip_while(|word| *word != ring.name).nth(1).map(str::to_owned);
        let told = told.unwrap_or_else(|| panic!("no {} in {rings}", ring.name));
        let (filled, depth) = told.split_once('/').expect("how full, of how many");
        assert!(filled.parse::<usize>().expect("a number") <= ring.depth);
        assert_eq!(depth, ring.depth.to_string());
    }
    // Once a second is over each thread has told its share of idle time.
    for thread in ["order-path", "gateway", "shard-1"] {
        let Some(line) = text.lines().find(|line| line.starts_with("thread ") && line.contains(thread))
        else {
            assert_ne!(thread, "shard-1", "{text}");
            continue;
        };
        assert!(line.contains("idle") && line.ends_with(" % of the last second"), "{line}");
    }
    while json()["roles"]
        .as_array()
        .expect("roles")
        .iter()
        .all(|role| role["role"] != "thread shard-1" || role["counters"]["idle_permille"] == 0)
    {
        assert!(begun.elapsed() < PATIENCE, "an idle thread says that it is not");
        std::thread::sleep(Duration::from_millis(50));
    }

    let live = node.hashes_at_rest().expect("it answers");
    assert_eq!(json()["checks_unequal"], Value::Null, "its twin has one shard");
    assert_eq!(node.stop().expect("it ends"), 0);
    let data = node.config().data_dir.to_str().expect("UTF-8").to_owned();
    let replayed = |shards: &str, more: &[&str]| {
        let args = [&["replay", &data, "--json", "--shards", shards], more].concat();
        let told: Value = serde_json::from_str(&said(&args)).expect("JSON");
        ["seq", "state_hash", "output_hash", "book_hash", "events"].map(|key| told[key].to_string())
    };
    let one = replayed("1", &["--from-genesis"]);
    assert_eq!(one[1], format!("\"{}\"", live.state_hash));
    for shards in ["2", "3", "16"] {
        assert_eq!(replayed(shards, &["--from-genesis"]), one, "{shards} shards");
        assert_eq!(
            replayed(shards, &[])[..4],
            one[..4],
            "{shards} shards, behind a snapshot if there is one"
        );
    }
    // The same data directory on other shards.
    let path = node.config_path().to_owned();
    let text = std::fs::read_to_string(&path).expect("it was written");
    std::fs::write(&path, text.replace("count = 2\nrun_min = 1\nfirms = { ALFA = 1 }", "count = 3"))
        .expect("ours");
    node.start().expect("it starts");
    assert_eq!(node.hashes_at_rest().expect("it answers").book_hash, live.book_hash);
    burst(&mut alfa.reconnect(&node), 2);
    assert_eq!(node.stop().expect("it ends"), 0);
}
