//! `idle_node`: what a node with nothing to do takes from the machine, and how long the order that wakes it waits.
//!
//! ```text
//! cargo bench -p ironbell-appliance --bench idle_node -- [--json] [--shards 1,2] [--seconds N] [--orders N]
//! ```
//!
//! The real program on its defaults, so that its threads share the CPUs with everybody else and rest when idle. First it is
//! left alone for some seconds: `core_percent` is the CPU time of all its threads (proc(5), `/proc/pid/task/*/schedstat`) as a
//! share of one core; the bar is 2 %. Then one member sends an order at a time, each after a tenth of a second of silence, in
//! which every thread has gone to its longest rests, and asks for the answer every 20 µs: from before the write to
//! after the read, in microseconds, the journal's write included (`durability` says what that is). The bar is 1 ms.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ironbell_appliance::trial::TrialNode;
use ironbell_client::order_entry::{Event, Member, NewOrder};
use ironbell_session::Config;
use ironbell_types::{Nanos, Side, Symbol, Username};
use ironbell_wire::ouch::{OptionsBuf, Outbound};

const GENESIS: &str = r#"
[genesis]
assets = [{ code = "USD", decimals = 4 }, { code = "ANVL", decimals = 0 }]
instruments = [{ symbol = "ANVL", base = "ANVL", quote = "USD", tick = "0.01" }]
firms = [{ mpid = "ALFA" }]
ports = [{ username = "ALFA01", password = "secret", firm = "ALFA", account = 1 }]
funds = [{ account = 1, asset = "USD", amount = "1000000" }]
"#;
/// A member who spins beside a node on few CPUs takes the time slices of what it waits for: the kernel wakes who is sent
/// something on the CPU of who sent it.
const ASKS_EVERY: Duration = Duration::from_micros(20);
/// Longer than it takes any thread to come to its longest rests.
const SILENCE: Duration = Duration::from_millis(100);
/// What a node does once after a start is over by then.
const SETTLED: Duration = Duration::from_secs(3);

struct Options {
    json: bool,
    shards: Vec<usize>,
    seconds: u64,
    orders: usize,
}

impl Options {
    fn parse() -> Self {
        let mut options = Self { json: false, shards: vec![1, 2], seconds: 10, orders: 100 };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} wants a value"));
            match argument.as_str() {
                "--json" => options.json = true,
                "--shards" => {
                    options.shards =
                        value().split(',').map(|n| n.parse().expect("a number of shards")).collect();
                }
                "--seconds" => options.seconds = value().parse().expect("a number of seconds"),
                "--orders" => options.orders = value().parse().expect("a number of orders"),
                // Cargo says so to every bench.
                "--bench" => {}
                other => panic!("unknown option {other}"),
            }
        }
        options
    }
}

fn main() {
    let options = Options::parse();
    for &shards in &options.shards {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("idle-{shards}"));
        let sections = format!("[shards]\ncount = {shards}\n{GENESIS}");
        let program = Path::new(env!("CARGO_BIN_EXE_ironbell"));
        let mut node = TrialNode::prepare(&dir, &sections, Some(program)).unwrap_or_else(|e| panic!("{e}"));
        node.start().unwrap_or_else(|e| panic!("{e}"));
        std::thread::sleep(SETTLED);
        let core_percent = core_percent(&node, Duration::from_secs(options.seconds));
        let mut acks = acks(&node, options.orders);
        acks.sort_unstable();
        let us = |percent: usize| acks[(acks.len() * percent / 100).min(acks.len() - 1)].as_secs_f64() * 1e6;
        let late = acks.iter().filter(|ack| **ack > Duration::from_millis(1)).count();
        let (p50, p99, max, durability) = (us(50), us(99), us(100), &node.durability);
        if options.json {
            println!(
                "{{\"shards\":{shards},\"core_percent\":{core_percent:.2},\"ack_us\":{{\"p50\":{p50:.1},\"p99\":{p99:.1},\"max\":{max:.1}}},\"orders\":{},\"later_than_1_ms\":{late},\"durability\":\"{durability}\"}}",
                acks.len()
            );
        } else {
            println!(
                "shards {shards}  idle {core_percent:.2} % of a core (bar 2)  ack after {} ms of silence: p50 {p50:.0} µs  p99 {p99:.0}  max {max:.0} (bar 1000; {late} of {} later)  durability {durability}",
                SILENCE.as_millis(),
                acks.len()
            );
        }
        assert_eq!(node.stop().unwrap_or_else(|e| panic!("{e}")), 0);
    }
}

/// CPU time of the node's threads while nobody asks it for anything, as a share of one core.
fn core_percent(node: &TrialNode, span: Duration) -> f64 {
    let begun = Instant::now();
    let before = cpu_ns(node);
    std::thread::sleep(span);
    (cpu_ns(node) - before) as f64 * 100.0 / begun.elapsed().as_nanos() as f64
}

fn cpu_ns(node: &TrialNode) -> u64 {
    let tasks = format!("/proc/{}/task", node.id().expect("it runs"));
    let of_thread = |task: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(task.expect("a thread").path().join("schedstat"));
        let text = text.expect("Linux's scheduler statistics");
        text.split(' ').next().and_then(|field| field.parse::<u64>().ok()).expect("nanoseconds first")
    };
    std::fs::read_dir(tasks).expect("the node runs").map(of_thread).sum()
}

/// From an order to its answer, once for each.
fn acks(node: &TrialNode, orders: usize) -> Vec<Duration> {
    let status = node.status().unwrap_or_else(|e| panic!("{e}"));
    let address = status.order_entry.parse().expect("an address");
    let (username, clock) = (Username::new("ALFA01").expect("short"), Instant::now());
    let now = || Nanos(clock.elapsed().as_nanos() as u64);
    let member = Member::connect(address, &Config::default(), username, "secret", 1, now());
    let mut member = member.expect("the node listens");
    // Polls until it has heard what is wanted, or for a while.
    let hear = |member: &mut Member, wanted: &dyn Fn(&Event<'_>) -> bool, span: Duration| {
        let begun = Instant::now();
        while begun.elapsed() < span {
            member.poll(now()).expect("the connection stands");
            while let Some(event) = member.next().expect("the protocol is kept") {
                if wanted(&event) {
                    return true;
                }
            }
            std::thread::sleep(ASKS_EVERY);
        }
        false
    };
    let answer = Duration::from_secs(10);
    assert!(hear(&mut member, &|event| matches!(event, Event::LoggedIn { .. }), answer), "no login");
    let symbol = Symbol::new("ANVL").expect("short");
    let one = |member: &mut Member| {
        let begun = Instant::now();
        let order = NewOrder::day(Side::Buy, 1, symbol, 10_000);
        member.entry().enter(&order, &OptionsBuf::EMPTY).expect("there is room");
        let is_ack =
            |event: &Event<'_>| matches!(event, Event::Message { message: Outbound::OrderAccepted(..), .. });
        assert!(hear(member, &is_ack, answer), "an order is not answered");
        let took = begun.elapsed();
        // The member is silent too, but for heartbeats.
        for _ in 0..10 {
            std::thread::sleep(SILENCE / 10);
            assert!(!hear(member, &|_| false, Duration::from_nanos(1)));
        }
        took
    };
    // The first finds all of the node's code and memory cold.
    one(&mut member);
    (0..orders).map(|_| one(&mut member)).collect()
}
