//! Two nodes, three members of etcd, and members of the venue under load, all real processes: the primary is killed, frozen
//! or told to hand over; the standby takes over; nothing that a member was told is lost or told twice; who was gone
//! comes back.
//!
//! `IRONBELL_FAILOVERS` sets the number of rounds (8), `IRONBELL_SEED` the seed.

use std::fmt::Write as _;
use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ironbell_appliance::admin::{self, Request, Status};
use ironbell_appliance::config::Config;
use ironbell_appliance::moment::Moment;
use ironbell_appliance::{inspection, recovery};
use ironbell_etcd_cluster::Cluster;
use ironbell_load::{Driver, DriverConfig, Ended, FlowConfig, Login, Mix, Rng, Traded, Until};
use ironbell_types::{Symbol, Username};
use rustix::process::{Pid, Signal, kill_process};

const GENESIS: &str = r#"
[genesis]
assets = [{ code = "USD", decimals = 4 }, { code = "ANVL", decimals = 0 }]
instruments = [{ symbol = "ANVL", base = "ANVL", quote = "USD", tick = "0.01", maker_fee_bps = 1, taker_fee_bps = 3 }]
firms = [{ mpid = "ALFA" }, { mpid = "BETA" }]
ports = [
    { username = "ALFA01", password = "failover", firm = "ALFA", account = 1 },
    { username = "BETA01", password = "failover", firm = "BETA", account = 2 },
]
funds = [
    { account = 1, asset = "USD", amount = "1000000000" }, { account = 1, asset = "ANVL", amount = "10000000" },
    { account = 2, asset = "USD", amount = "1000000000" }, { account = 2, asset = "ANVL", amount = "10000000" },
]
"#;

/// How long anything may take before the test gives up; how long it does take decides nothing.
const PATIENCE: Duration = Duration::from_secs(120);

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// One node of the pair.
struct Node {
    dir: PathBuf,
    config_path: PathBuf,
    config: Config,
    child: Option<Child>,
}

impl Node {
    fn new(dir: &Path, text: &str) -> Self {
        std::fs::create_dir_all(dir).expect("a folder of ours");
        let config_path = dir.join("node.toml");
        std::fs::write(&config_path, text).expect("a file of ours");
        let config = Config::read(&config_path).unwrap_or_else(|e| panic!("{e}"));
        Self { dir: dir.to_owned(), config_path, config, child: None }
    }

    fn ironbell(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ironbell"));
        command.args(arguments).arg("--config").arg(&self.config_path).stdin(Stdio::null());
        command
    }

    /// Runs the program to its end; what it said.
    fn told(&self, arguments: &[&str]) -> String {
        let output = self.ironbell(arguments).output().expect("it can be executed");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn start(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.join("node.log"))
            .expect("a file of ours");
        let mut command = self.ironbell(&["run"]);
        command.args(["--trial-of", &std::process::id().to_string()]);
        command.stdout(log.try_clone().expect("it is open")).stderr(log);
        self.child = Some(command.spawn().expect("it can be executed"));
    }

    fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().expect("it runs"))
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it is ours");
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to stop in good order.
    fn stop(&mut self) {
        self.signal(Signal::TERM);
        let status = self.child.take().expect("it runs").wait().expect("it ends");
        assert_eq!(status.code(), Some(0), "{}", self.log());
    }

    fn status(&self) -> Option<Status> {
        admin::ask(&self.config.admin_socket(), &Request::Status).ok()
    }

    fn log(&self) -> String {
        let text = std::fs::read_to_string(self.dir.join("node.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Waits until its status is as wanted.
    fn wait_until(&mut self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        let begun = Instant::now();
        loop {
            let status = self.status();
            if let Some(status) = status.as_ref().filter(|status| wanted(status)) {
                return status.clone();
            }
            let ended = self.child.as_mut().and_then(|child| child.try_wait().expect("it is ours"));
            assert!(ended.is_none(), "waiting until {what}: it has ended, {ended:?}\n{}", self.log());
            assert!(
                begun.elapsed() < PATIENCE,
                "waiting until {what}: {}\n{}",
                status.map_or_else(|| "no answer".to_owned(), |status| status.to_table()),
                self.log()
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn order_entry(&self) -> SocketAddr {
        self.config.order_entry.listen
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

fn is_open(status: &Status) -> bool {
    status.pair.as_ref().is_some_and(|pair| pair.standing == "primary" && pair.open)
        && status.order_entry.parse::<SocketAddr>().is_ok()
}

fn is_pair(status: &Status) -> bool {
    let register = status.pair.as_ref().and_then(|pair| pair.register.as_ref());
    register.is_some_and(|register| register.mode == "pair")
}

fn leads_by_register(status: &Status) -> Option<u8> {
    Some(status.pair.as_ref()?.register.as_ref()?.primary)
}

/// Ports that are free now. All are held until all are chosen, so they differ.
fn ports(count: usize) -> Vec<u16> {
    let held: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    held.iter().map(|held| held.local_addr().expect("it is bound").port()).collect()
}

/// Both nodes, formatted and not started.
fn pair(name: &str, etcd: &Cluster, more: &str) -> [Node; 2] {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&dir);
    let link = ports(1)[0];
    let rerequest =
        || UdpSocket::bind("127.0.0.1:0").and_then(|s| s.local_addr()).expect("a free port").port();
    [1, 2].map(|number| {
        let tcp = ports(3);
        let (link_key, journal) = (["listen", "peer"][number - 1], "segment_bytes = 4194304\nquiescence_ms = 5");
        let mut text = format!(
            "data_dir = \"data\"\n[order_entry]\nlisten = \"127.0.0.1:{}\"\n[feed]\ngroup = \"239.192.26.9:26410\"\n\
             rerequest = \"127.0.0.1:{}\"\n[service]\nitch = \"127.0.0.1:{}\"\nglimpse = \"127.0.0.1:{}\"\n\
             [journal]\n{journal}\n[snapshot]\nevery = \"500ms\"\n",
            tcp[0],
            rerequest(),
            tcp[1],
            tcp[2]
        );
        let endpoints: Vec<String> = etcd.endpoints().iter().map(|url| format!("{url:?}")).collect();
        writeln!(
            text,
            "[ha]\nnode = {number}\n{link_key} = \"127.0.0.1:{link}\"\netcd = [{}]\n{more}",
            endpoints.join(", ")
        )
        .expect("a string takes it");
        text.push_str(GENESIS);
        Node::new(&dir.join(format!("node{number}")), &text)
    })
}

/// Starts a pair for the first time: node 1 leads, and both are in sync.
fn bootstrap([first, second]: &mut [Node; 2]) {
    first.told(&["format"]);
    first.start();
    first.wait_until("it stands by", |status| status.pair.is_some());
    let told = first.told(&["ctl", "bootstrap", "--approver", "the test"]);
    assert!(told.contains("leads in epoch"), "{told}");
    first.wait_until("it leads", is_open);
    second.told(&["format", "--standby"]);
    second.start();
    first.wait_until("both are in sync", is_pair);
}

fn driver_config(seed: u64) -> DriverConfig {
    let login =
        |name: &str| Login { username: Username::new(name).expect("short"), password: "failover".into() };
    let instruments =
        vec![Traded { symbol: Symbol::new("ANVL").expect("short"), mid: 1_890_000, tick: 100, qty_max: 500 }];
    let flow = FlowConfig { seed, instruments, mix: Mix::default(), standing_max: 500 };
    DriverConfig {
        remember: true,
        ..DriverConfig::new(vec![login("ALFA01"), login("BETA01")], flow, 1_000.0)
    }
}

/// Connects the members to whoever is open; the address, and when everything they had sent was answered.
fn reconnect(driver: &mut Driver, node: &mut Node) {
    let begun = Instant::now();
    loop {
        match driver.reconnect(node.order_entry()) {
            Ok(ended) => {
                assert_eq!(*ended, Ended::Completed, "{}", node.log());
                return;
            }
            Err(error) => {
                assert!(begun.elapsed() < PATIENCE, "{error}\n{}", node.log());
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// What operators order, one node after the other; and that a node that does not lead lets nobody in.
#[test]
fn operators_lead_a_pair_by_hand() {
    let etcd = Cluster::start();
    let mut nodes = pair("by-hand", &etcd, "");
    bootstrap(&mut nodes);
    let [first, second] = &mut nodes;
    // It reads the register now and then only.
    second.wait_until("it sees that", is_pair);
    let told = second.told(&["status"]);
    assert!(
        told.contains("node 1 leads, mode pair, in sync 1 and 2, acknowledged when both-durable"),
        "{told}"
    );
    assert!(TcpStream::connect(second.order_entry()).is_err(), "a standby lets nobody in");
    let refused = |node: &Node, arguments: &[&str]| {
        let output = node.ironbell(arguments).output().expect("it can be executed");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(refused(first, &["ctl", "promote", "--reason", "none"]).contains("this node leads already"));
    assert!(refused(second, &["ctl", "demote"]).contains("this node does not lead"));
    assert!(refused(first, &["ctl", "bootstrap"]).contains("this node leads already"));

    // Without its standby the primary waits, until somebody decides.
    second.kill();
    first.wait_until("it misses its standby", |status| {
        status
            .pair
            .as_ref()
            .is_some_and(|pair| pair.alarms.iter().any(|alarm| alarm.contains("standby is lost")))
    });
    let told = first.told(&["ctl", "solo", "--reason", "the test", "--approver", "nobody"]);
    assert!(told.contains("solo in epoch"), "{told}");
    let told = first.told(&["status"]);
    assert!(
        told.contains("mode solo, in sync 1, acknowledged when both-durable; the test, by nobody"),
        "{told}"
    );
    second.start();
    first.wait_until("the other has joined", is_pair);

    // Down, and back.
    assert_eq!(first.told(&["ctl", "demote"]).trim(), "done");
    second.wait_until("it has taken over", is_open);
    second.wait_until("the other has joined", is_pair);
    assert!(TcpStream::connect(first.order_entry()).is_err(), "who was demoted lets nobody in");
    first.wait_until("it sees that", |status| is_pair(status) && leads_by_register(status) == Some(2));
    let told = first.told(&["ctl", "promote", "--reason", "back again"]);
    assert!(told.contains("leads in epoch"), "{told}");
    first.wait_until("it leads again", is_open);
    first.wait_until("the other has joined", is_pair);
}

/// How a primary goes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Kill,
    Freeze,
    Switchover,
}

#[test]
fn a_standby_takes_over_and_nothing_a_member_was_told_is_lost_or_told_twice() {
    let (rounds, seed) = (setting("IRONBELL_FAILOVERS", 8), setting("IRONBELL_SEED", 1));
    println!("IRONBELL_FAILOVERS={rounds} IRONBELL_SEED={seed}");
    let mut rng = Rng::new(seed);
    let etcd = Cluster::start();
    let mut nodes = pair("failover", &etcd, "");
    bootstrap(&mut nodes);
    let mut driver =
        Driver::connect(nodes[0].order_entry(), driver_config(seed)).expect("members are let in");
    let mut leads = 0;
    let mut times: Vec<(End, Duration)> = Vec::new();
    for round in 0..rounds {
        let end = match round % 4 {
            1 => End::Freeze,
            3 => End::Switchover,
            _ => End::Kill,
        };
        let life = Duration::from_millis(100 + rng.below(400));
        let pid = nodes[leads].pid();
        let began = Instant::now();
        let gone = match end {
            End::Kill => {
                let killer = std::thread::spawn(move || {
                    std::thread::sleep(life);
                    kill_process(pid, Signal::KILL).expect("it is ours");
                });
                driver.run(Until::Elapsed(Duration::from_secs(60)), |_| {});
                killer.join().expect("the killer does not panic");
                nodes[leads].kill();
                began + life
            }
            End::Freeze => {
                driver.run(Until::Elapsed(life), |_| {});
                nodes[leads].signal(Signal::STOP);
                Instant::now()
            }
            End::Switchover => {
                let mut order = nodes[leads].ironbell(&["ctl", "switchover"]);
                let order = std::thread::spawn(move || {
                    std::thread::sleep(life);
                    let asked = Instant::now();
                    let output = order.output().expect("it can be executed");
                    (asked, output)
                });
                driver.run(Until::Elapsed(Duration::from_secs(60)), |_| {});
                order.join().expect("it does not panic").0
            }
        };
        let (other, gone_one) = (1 - leads, leads);
        reconnect(&mut driver, &mut nodes[other]);
        times.push((end, gone.elapsed()));
        let outcome = driver.outcome();
        assert!(outcome.is_right(), "round {round}, {end:?}: {:?} {:?}", outcome.ended, outcome.violations);
        leads = other;
        match end {
            End::Kill => nodes[gone_one].start(),
            End::Freeze => nodes[gone_one].signal(Signal::CONT),
            End::Switchover => {}
        }
        nodes[leads].wait_until("both are in sync again", is_pair);
        println!("round {round}: {end:?}, answered after {:?}", times[times.len() - 1].1);
    }
    let retold = driver.check_retold(nodes[leads].order_entry());
    let retold = retold.expect("every message ever heard is told again as it was");
    let outcome = driver.outcome();
    assert!(outcome.is_right(), "{:?} {:?}", outcome.ended, outcome.violations);
    assert!(outcome.counts.acks() > rounds * 50, "too little was going on: {} acks", outcome.counts.acks());
    drop(driver);
    nodes[leads].stop();
    nodes[1 - leads].stop();
    // One of them may have ended logins after the other was gone: what both have is the same.
    let last = |node: &Node| {
        let replayed = recovery::replay(&node.config.journal_dir(), None, |_, _| {});
        replayed.expect("the journal is whole").engine.last_seq()
    };
    let common = last(&nodes[0]).min(last(&nodes[1]));
    let until: Moment = common.0.to_string().parse().expect("a Seq is a moment");
    let states = nodes.each_ref().map(|node| {
        let replayed = recovery::replay_until(&node.config.journal_dir(), None, Some(until), 1, |_, _| {});
        inspection::hashes(&replayed.expect("the journal is whole").engine)
    });
    assert_eq!((states[0].seq, &states[0]), (common.0, &states[1]));
    assert!(states[0].ledger_sum.values().all(|sum| sum == "0"), "{:?}", states[0].ledger_sum);
    for kind in [End::Kill, End::Freeze, End::Switchover] {
        let mut took: Vec<Duration> =
            times.iter().filter(|(end, _)| *end == kind).map(|(_, took)| *took).collect();
        took.sort_unstable();
        if let (Some(p50), Some(max)) = (took.get(took.len() / 2), took.last()) {
            println!("{kind:?}: {} times, everything answered after p50 {p50:?}, max {max:?}", took.len());
        }
    }
    println!(
        "{} acks and {} trades heard, {retold} messages retold",
        outcome.counts.acks(),
        outcome.counts.trades
    );
}
