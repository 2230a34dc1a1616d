//! The demo, shorter, by its JSON: the keys are stable, and every check in it holds.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

/// One demo at a time: each is a node and a load that want the machine for themselves.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn the_demo_checks_everything_and_its_json_keeps_its_keys() {
    let _turn = turn();
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("demo");
    let hlog = dir.with_extension("hlog");
    let output = Command::new(env!("CARGO_BIN_EXE_ironbell"))
        .args(["demo", "--json", "--seconds", "3", "--rate", "2000", "--seed", "7", "--dir"])
        .arg(&dir)
        .arg("--hlog")
        .arg(&hlog)
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let json: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    for key in ["orders", "acks", "trades", "rejects"] {
        assert!(json[key].is_u64(), "{key} in {text}");
    }
    for (object, keys) in [
        ("latency_ns", ["p50", "p90", "p99", "p999", "p9999", "max"].as_slice()),
        ("journal", &["frames", "bytes"]),
        ("recovery", &["ms", "commands", "commands_per_s"]),
    ] {
        for key in keys {
            assert!(json[object][key].as_f64().is_some_and(|n| n > 0.0), "{object}.{key} in {text}");
        }
    }
    let orders = json["orders"].as_u64().expect("a number");
    assert!((4_000..8_000).contains(&orders), "{orders} orders in 3 s at 2,000/s");
    assert!(json["orders_per_s"].as_f64().is_some_and(|n| n > 0.0));
    assert!(json["trades"].as_u64() > Some(0));
    assert_eq!(json["state_hash"]["before"], json["state_hash"]["after"]);
    assert_eq!(json["state_hash"]["before"].as_str().map(str::len), Some(64));
    assert_eq!(json["feed_book_equal"], true);
    assert_eq!(json["ok"], true);
    let sums = json["ledger_sum"].as_object().expect("an object");
    assert_eq!(sums.len(), 9);
    assert!(sums.values().all(|sum| sum == "0"), "{sums:?}");
    let log = std::fs::read_to_string(&hlog).expect("the interval log");
    assert!(log.lines().any(|line| line.starts_with("Tag=order_to_ack,")), "{log}");
}

/// `ironbell demo | head` used to panic at the first line that nobody read.
#[test]
fn a_demo_whose_reader_has_gone_ends_well_all_the_same() {
    let _turn = turn();
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("demo-head");
    let mut demo = Command::new(env!("CARGO_BIN_EXE_ironbell"))
        .args(["demo", "--seconds", "1", "--rate", "500", "--dir"])
        .arg(&dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut line = String::new();
    BufReader::new(demo.stdout.take().expect("it is piped")).read_line(&mut line).expect("text");
    assert!(line.contains("formatted"), "{line}");
    let output = demo.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A demo that was killed used to leave its node running: on its ports, in its folder, on the machine's CPUs.
#[test]
fn a_killed_demo_takes_its_node_along() {
    let _turn = turn();
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("demo-killed");
    let mut demo = Command::new(env!("CARGO_BIN_EXE_ironbell"))
        .args(["demo", "--seconds", "600", "--rate", "100", "--dir"])
        .arg(&dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut said = BufReader::new(demo.stdout.take().expect("it is piped")).lines();
    let is_up = said.by_ref().any(|line| line.expect("text").contains("the node is up"));
    assert!(is_up, "the demo ended before its node was up");
    let socket = dir.join("data/admin.sock");
    UnixStream::connect(&socket).expect("the node answers");

    let second = Command::new(env!("CARGO_BIN_EXE_ironbell"))
        .args(["demo", "--seconds", "1", "--dir"])
        .arg(&dir)
        .output()
        .expect("it runs");
    let refusal = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(2), "{refusal}");
    assert!(refusal.contains("another trial is running there"), "{refusal}");

    demo.kill().expect("it runs");
    demo.wait().expect("it was started here");
    // The kernel ends the node; a minute is for machines that are very busy.
    let killed = Instant::now();
    while UnixStream::connect(&socket).is_ok() {
        assert!(killed.elapsed() < Duration::from_secs(60), "the node outlived its demo");
        std::thread::sleep(Duration::from_millis(10));
    }
}
