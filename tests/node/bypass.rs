//! The whole demo with other ways in and out than swept sockets: one io_uring under order entry, and kernel bypass: AF_XDP on
//! one end of a pair of virtual Ethernet devices, for orders in and market data out, the members' kernel sockets on the
//! other, in a network namespace of its own. Takes root; where it is missing the tests say so and fail
//! (`IRONBELL_SKIP='over_xdp' make test` leaves them out and counts them).
//!
//! Both ends stand in one namespace. The venue's address is on no device, so that the kernel does not deliver
//! to it by itself: members find it behind their end of the pair, and nobody answers there but us.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// A network namespace that goes with its owner.
struct Namespace(String);

impl Namespace {
    fn new(name: &str) -> Self {
        let namespace = Self(format!("ironbell-{name}-{}", std::process::id()));
        run("ip", &format!("netns add {}", namespace.0));
        for arguments in [
            "ip link set lo up",
            "ip link add venue0 address 02:00:00:00:00:01 numtxqueues 2 numrxqueues 2 \
             type veth peer name member0 address 02:00:00:00:00:02 numtxqueues 1 numrxqueues 1",
            "ip addr add 10.77.0.2/24 dev member0",
            "ip link set venue0 up",
            "ip link set member0 up",
            "ip neigh add 10.77.0.1 lladdr 02:00:00:00:00:01 dev member0 nud permanent",
            // The kernel leaves checksums to the device, and a virtual one writes none.
            "ethtool -K member0 tx off",
        ] {
            namespace.run(arguments);
        }
        namespace
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0, program]);
        command
    }

    fn run(&self, command: &str) {
        let mut words = command.split_whitespace();
        let program = words.next().expect("a program");
        check(self.command(program).args(words).output(), command);
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).output();
    }
}

fn run(program: &str, arguments: &str) {
    check(Command::new(program).args(arguments.split_whitespace()).output(), arguments);
}

fn check(output: std::io::Result<Output>, what: &str) {
    let output =
        output.unwrap_or_else(|e| panic!("{what}: {e}; tests/setup.sh installs iproute2 and ethtool"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {said}; network namespaces take root");
}

/// Three demos at once want more than two CPUs and a disk.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn the_demo_over_one_io_uring_loses_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("demo-uring");
    let output = Command::new(env!("CARGO_BIN_EXE_ironbell"))
        .args(["demo", "--json", "--seconds", "3", "--rate", "1000", "--seed", "7"])
        .args(["--set", "order_entry.io=uring", "--dir"])
        .arg(&dir)
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let json: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert_eq!(json["ok"], true, "{text}");
    assert!(json["acks"].as_u64() > Some(1_000), "{text}");
}

/// Runs the demo in `namespace`: what it said, and the node's log.
fn demo_over_xdp(namespace: &Namespace, name: &str, settings: &[&str]) -> (Value, String) {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut command = namespace.command(env!("CARGO_BIN_EXE_ironbell"));
    command.args(["demo", "--json", "--seconds", "3", "--rate", "1000", "--seed", "7"]);
    for setting in settings {
        command.args(["--set", setting]);
    }
    let output = command.arg("--dir").arg(&dir).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let log = std::fs::read_to_string(dir.join("node.log")).unwrap_or_default();
    assert!(output.status.success(), "{text}\n{}\n{log}", String::from_utf8_lossy(&output.stderr));
    let json: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    assert_eq!(json["ok"], true, "{text}");
    assert_eq!(json["state_hash"]["before"], json["state_hash"]["after"]);
    assert!(json["acks"].as_u64() > Some(1_000), "{text}");
    (json, log)
}

const ORDER_ENTRY: [&str; 4] = [
    "order_entry.io=xdp",
    "order_entry.listen=10.77.0.1:26400",
    "order_entry.allow_remote=true",
    "order_entry.xdp={ interface = \"venue0\", frames = 256 }",
];

#[test]
fn the_demo_over_xdp_loses_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let namespace = Namespace::new("demo");
    let (_, log) = demo_over_xdp(&namespace, "demo-xdp", &ORDER_ENTRY);
    // Orders went the way that was asked for.
    assert!(log.contains("order entry on 10.77.0.1:26400: AF_XDP"), "{log}");
}

/// Orders come in by one queue, market data goes out by another; who follows it joins a group of the kernel's.
#[test]
fn the_demos_market_data_goes_out_over_xdp_too() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let namespace = Namespace::new("feed");
    // The follower joins by the address that the feed is sent from, which is its own here: both stand in one namespace.
    for device in ["all", "member0"] {
        namespace.run(&format!("sysctl -w net.ipv4.conf.{device}.accept_local=1"));
    }
    let feed = [
        "feed.io=xdp",
        "feed.xdp={ interface = \"venue0\", queue = 1, frames = 256 }",
        "feed.interface=10.77.0.2",
        "feed.allow_remote=true",
    ];
    let (json, log) = demo_over_xdp(&namespace, "demo-feed-xdp", &[ORDER_ENTRY, feed].concat());
    assert!(log.contains("AF_XDP copying, checksums in software, queue 1 of venue0"), "{log}");
    assert_eq!(json["feed_book_equal"], true, "{json}");
}
