//! Two nodes of a venue, as processes.

use std::fmt::Write as _;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ironbell_appliance::admin::{self, Request, Status};
use ironbell_appliance::config::Config;
use ironbell_etcd_cluster::Cluster;
use rustix::process::{Pid, Signal, kill_process};

use crate::PATIENCE;
use crate::net::{Network, address};

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

/// One node of the pair.
pub struct Node {
    pub dir: PathBuf,
    config_path: PathBuf,
    pub config: Config,
    /// The network namespace that it runs in, if that is not the test's.
    namespace: Option<String>,
    child: Option<Child>,
    /// It is stopped, and answers nobody.
    frozen: bool,
}

impl Node {
    fn new(dir: &Path, text: &str, namespace: Option<String>) -> Self {
        std::fs::create_dir_all(dir).expect("a folder of ours");
        let config_path = dir.join("node.toml");
        std::fs::write(&config_path, text).expect("a file of ours");
        let config = Config::read(&config_path).unwrap_or_else(|e| panic!("{e}"));
        Self { dir: dir.to_owned(), config_path, config, namespace, child: None, frozen: false }
    }

    pub fn ironbell(&self, arguments: &[&str]) -> Command {
        let program = env!("CARGO_BIN_EXE_ironbell");
        let mut command = match &self.namespace {
            Some(name) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", name, program]);
                command
            }
            None => Command::new(program),
        };
        command.args(arguments).arg("--config").arg(&self.config_path).stdin(Stdio::null());
        command
    }

    /// Runs the program to its end; what it said.
    pub fn told(&self, arguments: &[&str]) -> String {
        let output = self.ironbell(arguments).output().expect("it can be executed");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub fn start(&mut self) {
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

    pub fn pid(&self) -> Pid {
        Pid::from_child(self.child.as_ref().expect("it runs"))
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it is ours");
    }

    pub fn kill(&mut self) {
        self.frozen = false;
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to stop in good order.
    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        let status = self.child.take().expect("it runs").wait().expect("it ends");
        assert_eq!(status.code(), Some(0), "{}", self.log());
    }

    /// Stops it in the midst of whatever it does, and says nothing to anybody.
    pub fn freeze(&mut self) {
        self.signal(Signal::STOP);
        self.frozen = true;
    }

    /// Lets it go on.
    pub fn thaw(&mut self) {
        self.signal(Signal::CONT);
        self.frozen = false;
    }

    pub fn status(&self) -> Option<Status> {
        if self.frozen || self.child.is_none() {
            return None;
        }
        admin::ask(&self.config.admin_socket(), &Request::Status).ok()
    }

    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.dir.join("node.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Waits until its status is as wanted.
    pub fn wait_until(&mut self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
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

    pub fn order_entry(&self) -> SocketAddr {
        self.config.order_entry.listen
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

pub fn is_open(status: &Status) -> bool {
    status.pair.as_ref().is_some_and(|pair| pair.standing == "primary" && pair.open)
        && status.order_entry.parse::<SocketAddr>().is_ok()
}

pub fn is_pair(status: &Status) -> bool {
    let register = status.pair.as_ref().and_then(|pair| pair.register.as_ref());
    register.is_some_and(|register| register.mode == "pair")
}

pub fn leads_by_register(status: &Status) -> Option<u8> {
    Some(status.pair.as_ref()?.register.as_ref()?.primary)
}

/// Ports that are free now. All are held until all are chosen, so they differ.
fn ports(count: usize) -> Vec<u16> {
    let held: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    held.iter().map(|held| held.local_addr().expect("it is bound").port()).collect()
}

/// Both nodes, neither formatted nor started; on loopback, or each on its own machine of a network. `door` is added to the
/// configuration of order entry, `more` to that of the pair.
pub fn pair(name: &str, etcd: &Cluster, network: Option<&Network>, door: &str, more: &str) -> [Node; 2] {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&dir);
    let endpoints: Vec<String> = etcd.endpoints().iter().map(|url| format!("{url:?}")).collect();
    let link = SocketAddr::from(match network {
        Some(_) => (address(1), 26_430),
        None => (LOOPBACK, ports(1)[0]),
    });
    [1, 2].map(|number| {
        let (order_entry, others, rerequest) = match network {
            Some(_) => (SocketAddr::from((address(number), 26_400)), vec![26_420, 26_421], 26_411),
            None => {
                let tcp = ports(3);
                let udp = UdpSocket::bind("127.0.0.1:0").and_then(|s| s.local_addr()).expect("a free port");
                (SocketAddr::from((LOOPBACK, tcp[0])), tcp[1..].to_vec(), udp.port())
            }
        };
        let link_key = ["listen", "peer"][usize::from(number) - 1];
        let mut text = format!(
            "data_dir = \"data\"\n[order_entry]\nlisten = \"{order_entry}\"\nallow_remote = true\n{door}\
             [feed]\ngroup = \"239.192.26.9:26410\"\nrerequest = \"127.0.0.1:{rerequest}\"\n\
             [service]\nitch = \"127.0.0.1:{}\"\nglimpse = \"127.0.0.1:{}\"\n\
             [journal]\nsegment_bytes = 4194304\nquiescence_ms = 5\n[snapshot]\nevery = \"500ms\"\n",
            others[0], others[1]
        );
        writeln!(
            text,
            "[ha]\nnode = {number}\n{link_key} = \"{link}\"\nallow_remote = true\netcd = [{}]\n{more}",
            endpoints.join(", ")
        )
        .expect("a string takes it");
        text.push_str(GENESIS);
        let namespace = network.map(|network| network.name(number));
        Node::new(&dir.join(format!("node{number}")), &text, namespace)
    })
}

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Starts a pair for the first time: node 1 leads, and both are in sync.
pub fn bootstrap([first, second]: &mut [Node; 2]) {
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
