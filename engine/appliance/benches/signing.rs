//! `signing`: what signing costs the order path, how long after a command its checkpoint is signed, and how many commands
//! a second the signing process can follow.
//!
//! ```text
//! cargo bench -p ironbell-appliance --bench signing -- [--json] [--rounds N] [--seconds N] [--rate N]
//! ```
//!
//! The real programs on this machine's CPUs, the key in a file, a checkpoint a second. In turns the node is traded with
//! `ironbell sign` beside it and without, always by the same open-loop load; latencies are a new order's, from its intended
//! sending to its answer, and those of all rounds of a kind are put together. The bar is a p99 within 1.05 of that without.
//! `lag` is from the time of the oldest command that a checkpoint is the first to cover to that checkpoint's signature.
//! At the end the node is loaded for a while with as much as it takes, so that frames are long, and the whole journal is
//! followed and signed from its first command, without a tree to begin with.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ironbell_appliance::trial::TrialNode;
use ironbell_load::{Driver, DriverConfig, Ended, FlowConfig, Latency, Login, Mix, Traded, Until, table};
use ironbell_types::{Symbol, Username};

/// Requests a second, more than the node takes beside the load.
const FLOOD: f64 = 400_000.0;

struct Options {
    json: bool,
    rounds: usize,
    seconds: u64,
    rate: f64,
}

impl Options {
    fn parse() -> Self {
        let mut options = Self { json: false, rounds: 6, seconds: 5, rate: 2_000.0 };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} wants a value"));
            match argument.as_str() {
                "--json" => options.json = true,
                "--rounds" => options.rounds = value().parse().expect("a number of rounds"),
                "--seconds" => options.seconds = value().parse().expect("a number of seconds"),
                "--rate" => options.rate = value().parse().expect("requests a second"),
                // Cargo says so to every bench.
                "--bench" => {}
                other => panic!("unknown option {other}"),
            }
        }
        options
    }
}

fn sections(key: &Path) -> String {
    format!(
        r#"
[signing]
origin = "venue.example/ironbell"

[[signing.keys]]
file = "{}"

[genesis]
assets = [{{ code = "USD", decimals = 4 }}, {{ code = "ANVL", decimals = 0 }}]
instruments = [{{ symbol = "ANVL", base = "ANVL", quote = "USD", tick = "0.01", maker_fee_bps = 1, taker_fee_bps = 3 }}]
firms = [{{ mpid = "ALFA" }}, {{ mpid = "BETA" }}]
ports = [
    {{ username = "ALFA01", password = "bell", firm = "ALFA", account = 1 }},
    {{ username = "BETA01", password = "bell", firm = "BETA", account = 2 }},
]
funds = [
    {{ account = 1, asset = "USD", amount = "1000000000" }}, {{ account = 1, asset = "ANVL", amount = "10000000" }},
    {{ account = 2, asset = "USD", amount = "1000000000" }}, {{ account = 2, asset = "ANVL", amount = "10000000" }},
]
"#,
        key.display()
    )
}

fn main() {
    let options = Options::parse();
    let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let key = root.join("bench-signing.pem");
    let _ = std::fs::remove_file(&key);
    let generated = ironbell(&["hsm", "generate", "--name", "venue.example/ironbell", "--file"])
        .arg(&key)
        .stdout(Stdio::null())
        .status();
    assert!(generated.expect("it runs").success());
    let program = Path::new(env!("CARGO_BIN_EXE_ironbell"));
    let mut node = TrialNode::prepare(&root.join("bench-signing"), &sections(&key), Some(program))
        .unwrap_or_else(|e| panic!("{e}"));
    node.start().unwrap_or_else(|e| panic!("{e}"));
    let status = node.status().unwrap_or_else(|e| panic!("{e}"));
    let mut driver =
        Driver::connect(status.order_entry.parse().expect("an address"), driver_config(options.rate))
            .expect("members are let in");

    let mut latencies = [Latency::default(), Latency::default()];
    for round in 0..2 * options.rounds {
        let is_signing = round % 2 == 1;
        let signing = is_signing.then(|| Signing::start(&node));
        run(&mut driver, Duration::from_millis(500));
        driver.clear_latencies();
        run(&mut driver, Duration::from_secs(options.seconds));
        latencies[usize::from(is_signing)].add(&driver.outcome().latencies.order);
        drop(signing);
    }
    let [without, with] = latencies.map(|latency| latency.percentiles());
    let lag = lag(&node);
    drop(driver);
    let mut driver = Driver::connect(status.order_entry.parse().expect("an address"), driver_config(FLOOD))
        .expect("members are let in");
    run(&mut driver, Duration::from_secs(options.seconds));
    drop(driver);
    let commands = node.status().unwrap_or_else(|e| panic!("{e}")).seq;
    node.stop().unwrap_or_else(|e| panic!("{e}"));

    // Its salts stay: what follows must come to the heads that are journaled.
    std::fs::remove_dir_all(node.config().data_dir.join("signing/tree")).expect("it is ours");
    let begun = Instant::now();
    let mut all = ironbell(&["sign", "--once", "--config"]);
    assert!(all.arg(node.config_path()).stderr(Stdio::null()).status().expect("it runs").success());
    let followed = commands as f64 / begun.elapsed().as_secs_f64();

    let ratio = |with: u64, without: u64| with as f64 / without as f64;
    let (p50, p99) = (ratio(with.p50, without.p50), ratio(with.p99, without.p99));
    if options.json {
        println!(
            r#"{{"p50_ns_without":{},"p50_ns_with":{},"p99_ns_without":{},"p99_ns_with":{},"p50_ratio":{p50:.3},"p99_ratio":{p99:.3},"lag_p50_ms":{:.1},"lag_p99_ms":{:.1},"followed_per_s":{followed:.0},"durability":"{}"}}"#,
            without.p50, with.p50, without.p99, with.p99, lag.0, lag.1, node.durability
        );
        return;
    }
    println!("{}", table(&[("without", without), ("signing", with)]));
    println!("ratio of p50 {p50:.3}, of p99 {p99:.3}; the bar is 1.05; durability {}", node.durability);
    println!("lag of a checkpoint, one a second: p50 {:.1} ms, p99 {:.1} ms", lag.0, lag.1);
    println!("followed and signed: {followed:.0} commands/s of one thread, {commands} commands");
}

fn driver_config(rate: f64) -> DriverConfig {
    let login = |name: &str| Login { username: Username::new(name).expect("short"), password: "bell".into() };
    let symbol = Symbol::new("ANVL").expect("short");
    let instruments = vec![Traded { symbol, mid: 1_890_000, tick: 100, qty_max: 500 }];
    let flow = FlowConfig { seed: 9, instruments, mix: Mix::default(), standing_max: 200 };
    DriverConfig::new(vec![login("ALFA01"), login("BETA01")], flow, rate)
}

fn run(driver: &mut Driver, time: Duration) {
    driver.run(Until::Elapsed(time), |_| {});
    assert_eq!(driver.outcome().ended, Ended::Completed);
}

fn ironbell(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ironbell"));
    command.args(arguments);
    command
}

/// Of the last signing process, p50 and p99 in milliseconds.
fn lag(node: &TrialNode) -> (f64, f64) {
    let status = node.status().unwrap_or_else(|e| panic!("{e}"));
    let signing = status.roles.iter().find(|role| role.role == "signing").expect("it signed");
    let lag = signing.latencies.iter().find(|latency| latency.stage == "signed").expect("it counts");
    (lag.p50 as f64 / 1e6, lag.p99 as f64 / 1e6)
}

/// `ironbell sign` beside the node.
struct Signing(Child);

impl Signing {
    /// Starts it, and waits until it has signed what was there.
    fn start(node: &TrialNode) -> Self {
        const PATIENCE: Duration = Duration::from_secs(60);
        let seq = node.status().unwrap_or_else(|e| panic!("{e}")).seq;
        let mut command = ironbell(&["sign", "--config"]);
        let child = command.arg(node.config_path()).stderr(Stdio::null()).spawn().expect("it runs");
        let signing = Self(child);
        let begun = Instant::now();
        let has_signed = || {
            let status = node.status().unwrap_or_else(|e| panic!("{e}"));
            let role = status.roles.into_iter().find(|role| role.role == "signing");
            // Signed heads by themselves are not signed: at most a few stand at the end.
            role.is_some_and(|role| role.counters["signed_size"] + 10 >= seq)
        };
        while !has_signed() {
            assert!(begun.elapsed() < PATIENCE, "it does not sign");
            std::thread::sleep(Duration::from_millis(20));
        }
        signing
    }
}

impl Drop for Signing {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}
