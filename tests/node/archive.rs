//! The real program, its journal archived while it runs: what is missed is named, and comes back.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use ironbell_appliance::trial::TrialNode;
use ironbell_load::{Driver, DriverConfig, FlowConfig, Login, Mix, Traded, Until};
use ironbell_types::{Symbol, Username};

const GENESIS: &str = r#"segment_bytes = 4194304

[genesis]
assets = [{ code = "USD", decimals = 4 }, { code = "ANVL", decimals = 0 }]
instruments = [{ symbol = "ANVL", base = "ANVL", quote = "USD", tick = "0.01" }]
firms = [{ mpid = "ALFA" }]
ports = [{ username = "ALFA01", password = "secret", firm = "ALFA", account = 1 }]
funds = [
    { account = 1, asset = "USD", amount = "1000000000" }, { account = 1, asset = "ANVL", amount = "10000000" },
]
"#;

fn ironbell(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ironbell")).args(arguments).output().expect("it runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Trades until the journal has six segments, the last two of them made ahead.
fn trade(node: &TrialNode) {
    let address = node.status().expect("it answers").order_entry.parse().expect("an address");
    let traded =
        Traded { symbol: Symbol::new("ANVL").expect("short"), mid: 1_890_000, tick: 100, qty_max: 500 };
    let login =
        Login { username: Username::new("ALFA01").expect("six characters"), password: "secret".into() };
    let flow = FlowConfig { seed: 1, instruments: vec![traded], mix: Mix::default(), standing_max: 500 };
    let config = DriverConfig::new(vec![login], flow, 5_000.0);
    let mut driver = Driver::connect(address, config).expect("it is let in");
    let spare = node.config().journal_dir().join("0000000006.segment");
    for _ in 0..600 {
        driver.run(Until::Elapsed(Duration::from_millis(100)), |_| {});
        if spare.exists() {
            return;
        }
    }
    panic!("too little was journaled in a minute: {:?}", driver.outcome().counts);
}

#[test]
fn a_journal_archived_beside_its_node_comes_back_whole() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("archive-node");
    let key = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("archive-node.key");
    let _ = std::fs::remove_file(&key);
    assert!(ironbell(&["key", key.to_str().expect("UTF-8")]).status.success());
    let program = Some(Path::new(env!("CARGO_BIN_EXE_ironbell")));
    let mut node =
        TrialNode::prepare(&dir, &format!("key_file = {key:?}\n{GENESIS}"), program).expect("a node");
    let config = node.config_path().to_str().expect("UTF-8").to_owned();
    let place = dir.join("the archive").to_str().expect("UTF-8").to_owned();
    node.start().expect("it starts");
    trade(&node);
    let archived = ironbell(&["archive", &place, "--config", &config, "--before", "1000000000"]);
    assert!(archived.status.success(), "{}", said(&archived));
    assert!(said(&archived).contains("segments were moved to"), "{}", said(&archived));
    assert!(!node.config().journal_dir().join("0000000001.segment").exists());
    let hashes = node.hashes_at_rest().expect("it answers");
    assert_eq!(node.stop().expect("it ends"), 0, "the running node does not mind");

    let data = node.config().data_dir.to_str().expect("UTF-8").to_owned();
    let key = key.to_str().expect("UTF-8");
    for refused in [ironbell(&["replay", &data, "--key-file", key]), ironbell(&["run", "--config", &config])]
    {
        assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
        assert!(said(&refused).contains(&format!("ironbell restore {place}")), "{}", said(&refused));
    }
    let checked = ironbell(&["restore", &place, "--config", &config, "--check"]);
    assert!(checked.status.success() && said(&checked).contains("are sound in"), "{}", said(&checked));
    assert!(!node.config().journal_dir().join("0000000001.segment").exists(), "a check writes nothing");
    let restored = ironbell(&["restore", &place, "--config", &config]);
    assert!(restored.status.success(), "{}", said(&restored));
    node.start().expect("it starts again");
    assert_eq!(node.hashes_at_rest().expect("it answers"), hashes);
    assert_eq!(node.stop().expect("it ends"), 0);

    let refused = ironbell(&["restore", data.as_str(), "--config", &config]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("holds no archive"), "{}", said(&refused));
    let refused = ironbell(&["archive", "s3://bucket/venue", "--config", &config, "--before", "1"]);
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
}
