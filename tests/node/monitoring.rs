//! Alert rules, dashboards and runbook name only what is really exposed: by a node that trades and signs, by one of a pair, by
//! Debian's node exporter and by etcd. `tests/monitoring/check.py` compares; promtool says what each alert does.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use ironbell_appliance::admin::Status;
use ironbell_appliance::ha::desk::{LagStatus, PairStatus, RegisterStatus};
use ironbell_appliance::trial::{Ended, TrialNode};
use ironbell_exporter::node::{Node, Seen};
use ironbell_exporter::scrape;

const LONG: Duration = Duration::from_secs(60);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("a crate lies in a room")
}

/// A program that `tests/setup.sh` brings.
fn brought(program: &str) -> PathBuf {
    let path = root().join("target").join(program);
    assert!(path.exists(), "{} is missing: run tests/setup.sh", path.display());
    path
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LONG;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < end, "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The body of an HTTP answer.
fn get(addr: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(addr).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: here\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.to_owned())
}

/// What the exporter says of a node that runs alone, and of the process that signs for it.
fn alone(dir: &Path) -> String {
    let key = dir.with_extension("key");
    let _ = fs::remove_file(&key);
    let program: &Path = env!("CARGO_BIN_EXE_ironbell").as_ref();
    let made = Command::new(program)
        .args(["hsm", "generate", "--name", "venue.example/ironbell", "--file"])
        .arg(&key)
        .output()
        .expect("it runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let sections = format!(
        r#"
[signing]
origin = "venue.example/ironbell"
every = "100ms"

[[signing.keys]]
file = {key:?}

[genesis]
assets = [{{ code = "USD", decimals = 4 }}, {{ code = "ANVL", decimals = 0 }}]
instruments = [{{ symbol = "ANVL", base = "ANVL", quote = "USD", tick = "0.01" }}]
firms = [{{ mpid = "ALFA" }}]
ports = [{{ username = "ALFA01", password = "secret", firm = "ALFA", account = 1 }}]
ctl = ["exposure ALFA USD --gross 1000", "credit 1 USD 1000", "position 1 ANVL --long 10 --short 10"]
"#
    );
    let mut node = TrialNode::prepare(dir, &sections, Some(program)).expect("a node");
    node.start().expect("it starts");
    let made = Command::new(program).args(["snapshot", "now", "--config"]).arg(node.config_path()).output();
    assert!(made.as_ref().is_ok_and(|made| made.status.success()), "{made:?}");
    let sign = Command::new(program)
        .args(["sign", "--config"])
        .arg(node.config_path())
        .stderr(Stdio::null())
        .spawn();
    let _sign = Ended(sign.expect("it runs"));
    let mut looked_at = Node::new(&node.config().data_dir, Some(node.config().admin_socket()))
        .with_certificates(vec!["etcd.pem".into()]);
    until("a checkpoint", || {
        let seen = looked_at.look(Instant::now());
        assert!(seen.is_healthy() && seen.is_ready(), "{seen:?}");
        let text = scrape::text(&seen);
        text.contains("ironbell_signing_checkpoints_total 1.0").then_some(text)
    })
}

/// What it says of a node of a pair: the appliance's own words, without the pair (`tests/node/failover` has real ones).
fn of_a_pair() -> String {
    let register = RegisterStatus { mode: "pair".into(), in_sync: vec![1, 2], ..RegisterStatus::default() };
    let pair = PairStatus {
        node: 1,
        standing: "primary".into(),
        register: Some(register),
        alarms: vec!["somebody should look".into()],
        lag: Some(LagStatus { commands: 1, bytes: Some(2), ms: 3 }),
        behind: Some(4),
        ..PairStatus::default()
    };
    let status = Status { pair: Some(pair), ..Status::default() };
    let status = Some(serde_json::to_value(&status).expect("it is JSON"));
    scrape::text(&Seen { status, ..Seen::default() })
}

fn of_the_host() -> String {
    let program = brought("test-tools/prometheus-node-exporter");
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
    let addr = format!("127.0.0.1:{port}");
    let child =
        Command::new(program).arg(format!("--web.listen-address={addr}")).stderr(Stdio::null()).spawn();
    let _child = Ended(child.expect("it runs"));
    until("the node exporter", || get(&addr, "/metrics").filter(|text| text.contains("node_load1")))
}

fn of_etcd() -> String {
    let cluster = ironbell_etcd_cluster::Cluster::start();
    let endpoint = &cluster.endpoints()[0];
    let addr = endpoint.strip_prefix("http://").expect("it is HTTP");
    until("etcd", || get(addr, "/metrics").filter(|text| text.contains("etcd_server_has_leader")))
}

struct Monitoring {
    files: PathBuf,
    runbook: PathBuf,
    exposed: Vec<PathBuf>,
}

impl Monitoring {
    fn check(&self) -> Output {
        let mut command = Command::new(brought("test-venv/bin/python"));
        command.arg(root().join("tests/monitoring/check.py"));
        command.arg("--promtool").arg(brought("test-tools/promtool"));
        command.arg("--files").arg(&self.files).arg("--runbook").arg(&self.runbook);
        self.exposed.iter().for_each(|file| {
            command.arg("--exposed").arg(file);
        });
        command.output().expect("Python can be run")
    }

    /// A copy that says `instead` in place of `what`, in one of its files.
    fn planted(&self, dir: &Path, file: &str, what: &str, instead: &str) -> Self {
        let _ = fs::remove_dir_all(dir);
        fs::create_dir_all(dir.join("dashboards")).expect("room");
        for name in ["alerts.yml", "alerts_test.yml"] {
            fs::copy(self.files.join(name), dir.join(name)).expect("room");
        }
        for board in fs::read_dir(self.files.join("dashboards")).expect("dashboards") {
            let board = board.expect("an entry");
            fs::copy(board.path(), dir.join("dashboards").join(board.file_name())).expect("room");
        }
        let runbook = dir.join("RUNBOOK.md");
        fs::copy(&self.runbook, &runbook).expect("room");
        let text = fs::read_to_string(dir.join(file)).expect("a file");
        assert!(text.contains(what), "{file} has no {what}");
        fs::write(dir.join(file), text.replacen(what, instead, 1)).expect("room");
        Self { files: dir.to_owned(), runbook, exposed: self.exposed.clone() }
    }
}

#[test]
fn alerts_dashboards_and_runbook_name_what_there_is() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("monitoring");
    let exposed = [
        ("alone", alone(&dir.with_extension("node"))),
        ("pair", of_a_pair()),
        ("host", of_the_host()),
        ("etcd", of_etcd()),
    ];
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("room");
    let exposed = exposed.map(|(name, text)| {
        let file = dir.join(name);
        fs::write(&file, text).expect("room");
        file
    });
    let ansible = root().join("ansible");
    let monitoring = Monitoring {
        files: ansible.join("roles/monitoring/files"),
        runbook: ansible.join("RUNBOOK.md"),
        exposed: exposed.to_vec(),
    };
    let said = monitoring.check();
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.status.success(), "{text}{}", String::from_utf8_lossy(&said.stderr));
    println!("{text}");

    // What it is there for, it finds: (file, what stands in it, what stands there instead, what is said of that).
    let bugs = [
        (
            "alerts.yml",
            "ironbell_shadow_stuck",
            "ironbell_shadow_stopped",
            "nothing exposes ironbell_shadow_stopped",
        ),
        ("alerts.yml", r#"stage="durable""#, r#"stage="written""#, "has no stage written"),
        (
            "alerts.yml",
            "ironbell_node{durability",
            "ironbell_node{promise",
            "ironbell_node has no label promise",
        ),
        (
            "alerts.yml",
            "ironbell_pair_lag_seconds > 1",
            "ironbell_pair_lag_seconds > 100",
            "IronbellStandbyLagging",
        ),
        ("dashboards/journal.json", "ironbell_journal_bytes_total", "ironbell_journal_bytes", "journal.json"),
        ("RUNBOOK.md", "## IronbellDown", "## IronbellUp", "IronbellDown: the runbook has no section"),
        ("RUNBOOK.md", "**Act.** Start it again", "Start it again", "does not say **Act.**"),
    ];
    for (file, what, instead, fault) in bugs {
        let said = monitoring.planted(&dir.join("planted"), file, what, instead).check();
        let text = String::from_utf8_lossy(&said.stdout);
        assert_eq!(said.status.code(), Some(1), "{instead}: {text}{}", String::from_utf8_lossy(&said.stderr));
        assert!(text.contains(fault), "{instead}: {text}");
    }
}
