//! The real program beside a segment as a node makes it, read as Prometheus would.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use ironbell_sync::metrics::{RoleMetrics, Spec, create};

/// A data directory, and the program that looks at it.
struct Exporter {
    dir: PathBuf,
    child: Child,
    addr: String,
}

impl Exporter {
    fn start(dir: PathBuf) -> Self {
        Self::start_with(dir, &[])
    }

    fn start_with(dir: PathBuf, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ironbell-exporter"))
            .arg("--data-dir")
            .arg(&dir)
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("it says so");
        let addr = line.trim().strip_prefix("ready: http://").and_then(|rest| rest.strip_suffix("/metrics"));
        let addr = addr.unwrap_or_else(|| panic!("{line}")).to_owned();
        Self { dir, child, addr }
    }

    /// Status line and body.
    fn get(&self, path: &str) -> (String, String) {
        self.say(&format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n"))
    }

    fn say(&self, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.addr).expect("it listens");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        (head.lines().next().expect("a status").to_owned(), body.to_owned())
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn scratch() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("ironbell-exporter-{}-{number}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("room");
    dir
}

/// What a node of two roles and a thread has counted.
fn segment(dir: &Path) -> Vec<RoleMetrics> {
    let specs = [
        Spec {
            role: "gateway",
            counters: &["sessions_open", "messages_in", "ring_release_gateway"],
            histograms: &["gateway_in"],
        },
        Spec { role: "thread order-path", counters: &["idle_ns", "idle_permille", "beats"], histograms: &[] },
    ];
    let mut roles = create(&dir.join("metrics"), &specs).expect("room");
    roles[0].set(0, 3);
    roles[0].add(1, 4_000_000_000_000);
    roles[0].set(2, 17);
    for nanos in [900, 1_000, 1_001, 150_000, 60_000_000_000] {
        roles[0].record(0, nanos);
    }
    roles[1].set(0, 2_500_000_000);
    roles[1].set(1, 250);
    roles
}

/// What the signing process has counted.
fn signing(dir: &Path) -> Vec<RoleMetrics> {
    std::fs::create_dir_all(dir.join("signing")).expect("room");
    let spec = Spec { role: "signing", counters: &["checkpoints", "late"], histograms: &["signed"] };
    let mut roles = create(&dir.join("signing/metrics"), &[spec]).expect("room");
    roles[0].set(0, 7);
    roles[0].set(1, 1);
    roles
}

/// Answers one question after the other what a node's admin socket would.
fn admin(dir: &Path, said: &[(&'static str, &'static str)]) -> std::thread::JoinHandle<()> {
    let listener = UnixListener::bind(dir.join("admin.sock")).expect("a socket");
    let said = said.to_vec();
    std::thread::spawn(move || {
        for (question, answer) in said {
            let (stream, _) = listener.accept().expect("someone asks");
            let mut line = String::new();
            let mut stream = BufReader::new(stream);
            stream.read_line(&mut line).expect("a question");
            assert_eq!(line, question);
            stream.get_mut().write_all(answer.as_bytes()).expect("it listens");
        }
    })
}

const STATUS: &str = "{\"request\":\"status\"}\n";
const SUMMARY: &str = "{\"request\":\"summary\"}\n";

const VENUE: &str = concat!(
    r#"{"seq":990,"seen":{"instruments":{"halted":1,"continuous":2},"kill_switches":{"venue":0,"port":3},"#,
    r#""order_entry_disabled":1,"ports_logged_in":2,"limit_used_permille":{"credit":250}}}"#,
    "\n"
);

const LEADS: &str = concat!(
    r#"{"uptime_s":12.5,"epoch":3,"order_entry_halted":false,"seq":990,"checks_equal":77,"checks_unequal":null,"#,
    r#""shadow_stuck":null,"snapshot_seq":null,"snapshot_age_s":null,"sessions_max":256,"rings":{"release_gateway":16384},"durability":"disk","recovery":{"ms":1500.0},"pair":{"standing":"primary","#,
    r#""open":true,"promised":3,"alarms":["solo"],"halted":null,"behind":null,"register":{"mode":"pair","in_sync":[1,2]},"#,
    r#""lag":{"commands":4,"bytes":512,"ms":3}}}"#,
    "\n"
);

#[test]
fn what_a_node_counts_is_served() {
    let dir = scratch();
    let _roles = segment(&dir);
    let _signing = signing(&dir);
    let answers = admin(&dir, &[(STATUS, LEADS), (SUMMARY, VENUE)]);
    let exporter = Exporter::start_with(dir, &["--certificate", "/nowhere.pem"]);
    let (status, text) = exporter.get("/metrics");
    assert_eq!(status, "HTTP/1.1 200 OK");
    answers.join().expect("two questions");
    let lines: Vec<_> = text.lines().collect();
    for line in [
        "# TYPE ironbell_gateway_messages_in counter",
        "ironbell_gateway_sessions_open 3.0",
        "ironbell_gateway_messages_in_total 4000000000000.0",
        r#"ironbell_ring_slots{ring="release_gateway"} 17.0"#,
        r#"ironbell_thread_idle_seconds_total{thread="order-path"} 2.5"#,
        r#"ironbell_thread_idle_ratio{thread="order-path"} 0.25"#,
        "# TYPE ironbell_stage_latency_seconds histogram",
        r#"ironbell_stage_latency_seconds_bucket{le="0.000001",stage="gateway_in"} 2"#,
        r#"ironbell_stage_latency_seconds_bucket{le="0.000002",stage="gateway_in"} 3"#,
        r#"ironbell_stage_latency_seconds_bucket{le="0.0002",stage="gateway_in"} 4"#,
        r#"ironbell_stage_latency_seconds_bucket{le="5.0",stage="gateway_in"} 4"#,
        r#"ironbell_stage_latency_seconds_bucket{le="+Inf",stage="gateway_in"} 5"#,
        r#"ironbell_stage_latency_seconds_count{stage="gateway_in"} 5"#,
        r#"ironbell_ring_slots_max{ring="release_gateway"} 16384.0"#,
        r#"ironbell_thread_still{thread="order-path"} 0.0"#,
        "ironbell_sessions_max 256.0",
        r#"ironbell_instruments{phase="halted"} 1.0"#,
        r#"ironbell_kill_switches{scope="port"} 3.0"#,
        r#"ironbell_limit_used_ratio{limit="credit"} 0.25"#,
        "ironbell_firms_order_entry_disabled 1.0",
        "ironbell_ports_logged_in 2.0",
        // One that cannot be read has ended: somebody should look.
        r#"ironbell_certificate_end_unix_s{file="/nowhere.pem"} 0.0"#,
        "ironbell_signing_late 1.0",
        "ironbell_signing_checkpoints_total 7.0",
        r#"ironbell_pair_alarm{alarm="solo"} 1.0"#,
        "ironbell_pair_in_sync 2.0",
        "ironbell_up 1.0",
        "ironbell_ready 1.0",
        "ironbell_epoch 3.0",
        "ironbell_self_check_failed 0.0",
        "ironbell_recovery_seconds 1.5",
        r#"ironbell_node{durability="disk"} 1.0"#,
        "ironbell_pair_primary 1.0",
        "ironbell_pair_alarms 1.0",
        "ironbell_pair_halted 0.0",
        "ironbell_pair_lag_bytes 512.0",
        "ironbell_pair_lag_seconds 0.003",
        r#"ironbell_pair_mode{mode="pair"} 1.0"#,
    ] {
        assert!(lines.contains(&line), "{line}\nis not in\n{text}");
    }
    assert_eq!(lines.last(), Some(&"# EOF"));
    assert!(!text.contains("ironbell_snapshot_seq"), "there is no snapshot");
}

#[test]
fn a_node_that_is_away_is_down_and_what_it_counted_is_still_told() {
    let dir = scratch();
    let exporter = Exporter::start(dir.clone());
    let (status, why) = exporter.get("/health");
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert!(why.contains("admin.sock") && why.contains("metrics"), "{why}");
    let text = exporter.get("/metrics").1;
    assert!(text.contains("ironbell_up 0.0\n"), "{text}");
    // It has died: its segment is there, its socket is not.
    let _roles = segment(&dir);
    let text = exporter.get("/metrics").1;
    assert!(
        text.contains("ironbell_up 0.0\n") && text.contains("ironbell_gateway_sessions_open 3.0\n"),
        "{text}"
    );
    assert_eq!(exporter.get("/ready").0, "HTTP/1.1 503 Service Unavailable");
}

#[test]
fn a_standby_is_healthy_and_not_ready() {
    let dir = scratch();
    // Of the time when it led: its threads stand still, and nobody minds.
    let _roles = segment(&dir);
    let status =
        "{\"pair\":{\"standing\":\"standby\",\"open\":false,\"promised\":2,\"alarms\":[],\"halted\":null}}\n";
    let answers = admin(&dir, &[(STATUS, status); 3]);
    let exporter = Exporter::start(dir);
    assert_eq!(exporter.get("/health").0, "HTTP/1.1 200 OK");
    let (ready, why) = exporter.get("/ready");
    assert_eq!(
        (ready.as_str(), why.as_str()),
        ("HTTP/1.1 503 Service Unavailable", "this node lets no members in\n")
    );
    let text = exporter.get("/metrics").1;
    assert!(text.contains("ironbell_up 1.0\n") && text.contains("ironbell_pair_primary 0.0\n"), "{text}");
    assert!(!text.contains("ironbell_gateway") && !text.contains("ironbell_thread"), "{text}");
    answers.join().expect("three questions");
}

#[test]
fn what_is_not_there_is_said() {
    let exporter = Exporter::start(scratch());
    assert_eq!(exporter.get("/").0, "HTTP/1.1 404 Not Found");
    let post = "POST /metrics HTTP/1.1\r\nHost: node\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    assert_eq!(exporter.say(post).0, "HTTP/1.1 405 Method Not Allowed");
    assert!(exporter.say("nonsense\r\n\r\n").0.contains("400"));
    let taken = Command::new(env!("CARGO_BIN_EXE_ironbell-exporter"))
        .args(["--data-dir", "/nowhere", "--listen", &exporter.addr])
        .output()
        .expect("it runs");
    assert_eq!(taken.status.code(), Some(2));
    let said = String::from_utf8_lossy(&taken.stderr);
    assert!(said.contains(&exporter.addr) && said.contains("--listen"), "{said}");
}

#[test]
fn its_manual_page_and_completions_are_made_of_its_own_command_line() {
    let dir = scratch();
    let exporter = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_ironbell-exporter")).args(arguments).output().expect("it runs")
    };
    let made = exporter(&["--pages", dir.to_str().expect("UTF-8")]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let page = std::fs::read_to_string(dir.join("man/ironbell-exporter.1")).expect("a page");
    assert!(page.contains("certificate") && !page.contains("pages"), "{page}");
    for shell in ["bash", "zsh", "fish"] {
        let script = dir.join(format!("completions/ironbell-exporter.{shell}"));
        assert!(std::fs::read_to_string(script).expect("a file").contains("data-dir"), "{shell}");
    }
    // Without either there is nothing to do.
    let refused = exporter(&[]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--data-dir"));
    std::fs::remove_dir_all(&dir).expect("it is ours");
}
