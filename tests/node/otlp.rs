//! Spans of control-plane work, as a collector gets them; and a collector that is gone, or never answers, which nobody waits for.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ironbell_appliance::trial::{Ended, TrialNode};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ironbell");
const LONG: Duration = Duration::from_secs(60);

const GENESIS: &str = r#"
[genesis]
assets = [{ code = "USD", decimals = 4 }, { code = "ANVL", decimals = 0 }]
instruments = [{ symbol = "ANVL", base = "ANVL", quote = "USD", tick = "0.01" }]
firms = [{ mpid = "ALFA" }]
ports = [{ username = "ALFA01", password = "secret", firm = "ALFA", account = 1 }]
"#;

/// A span that came.
#[derive(Clone, Debug, Default, PartialEq)]
struct Span {
    id: Vec<u8>,
    parent: Vec<u8>,
    name: String,
}

/// A collector, as far as it is one.
struct Collector {
    address: String,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("it is bound"));
        let spans = Arc::<Mutex<Vec<Span>>>::default();
        let theirs = Arc::clone(&spans);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let theirs = Arc::clone(&theirs);
                std::thread::spawn(move || while serve(&stream, &theirs).is_some() {});
            }
        });
        Self { address, spans }
    }

    /// Waits until spans came along this path of names, the outermost first.
    fn wait_for(&self, path: &[&str]) {
        let begun = Instant::now();
        loop {
            let spans = self.spans.lock().expect("nobody panicked").clone();
            if has_path(&spans, path, &[]) {
                return;
            }
            assert!(begun.elapsed() < LONG, "no {path:?} in {spans:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn has_path(spans: &[Span], path: &[&str], parent: &[u8]) -> bool {
    let Some((name, rest)) = path.split_first() else { return true };
    spans.iter().any(|span| span.name == *name && span.parent == parent && has_path(spans, rest, &span.id))
}

/// One request: `None` when there is no further one.
fn serve(stream: &TcpStream, spans: &Mutex<Vec<Span>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    assert!(line.starts_with("POST /v1/traces HTTP/1.1"), "{line}");
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().expect("a number"),
            "content-type" => assert_eq!(value.trim(), "application/x-protobuf"),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    spans.lock().expect("nobody panicked").extend(read(&body));
    let mut stream = stream;
    stream
        .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n")
        .ok()
}

/// The spans of an ExportTraceServiceRequest (opentelemetry/proto/collector/trace/v1): resource_spans = 1, in them
/// scope_spans = 2, in them spans = 2, in them span_id = 2, parent_span_id = 4, name = 5.
fn read(request: &[u8]) -> Vec<Span> {
    let within = |message: &[u8], field: u64| -> Vec<Vec<u8>> {
        fields(message).into_iter().filter(|(number, _)| *number == field).map(|(_, bytes)| bytes).collect()
    };
    let mut spans = Vec::new();
    for resource in within(request, 1) {
        for scope in within(&resource, 2) {
            for message in within(&scope, 2) {
                let one = |field| within(&message, field).pop().unwrap_or_default();
                let name = String::from_utf8(one(5)).expect("UTF-8");
                spans.push(Span { id: one(2), parent: one(4), name });
            }
        }
    }
    spans
}

/// A message's fields that have a length (protobuf's encoding, wire type 2), with their numbers.
fn fields(mut message: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(message: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let (byte, rest) = message.split_first().expect("it is whole");
            *message = rest;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return value;
            }
        }
    }
    let mut fields = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let length = match tag & 7 {
            0 => {
                varint(&mut message);
                continue;
            }
            1 => 8,
            2 => varint(&mut message) as usize,
            5 => 4,
            other => panic!("wire type {other}"),
        };
        let (bytes, rest) = message.split_at(length);
        message = rest;
        if tag & 7 == 2 {
            fields.push((tag >> 3, bytes.to_vec()));
        }
    }
    fields
}

fn ironbell(args: &[&str], files: &[&Path]) {
    let output = Command::new(PROGRAM).args(args).args(files).output().expect("it runs");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn dir(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn node(dir: &Path, collector: &str, sections: &str) -> TrialNode {
    let sections = format!("\n[telemetry]\notlp = \"{collector}\"\n{sections}{GENESIS}");
    let mut node = TrialNode::prepare(dir, &sections, Some(Path::new(PROGRAM))).expect("a node");
    node.start().expect("it starts");
    node
}

#[test]
fn a_collector_gets_spans_of_control_plane_work() {
    let collector = Collector::start();
    let dir = dir("otlp");
    let key = dir.with_extension("key");
    let _ = std::fs::remove_file(&key);
    ironbell(&["hsm", "generate", "--name", "venue.example/ironbell", "--file"], &[&key]);
    let signing = format!(
        "[signing]\norigin = \"venue.example/ironbell\"\n[[signing.keys]]\nfile = {key:?}\n[snapshot]\nkeep = 1\n"
    );
    let mut node = node(&dir, &collector.address, &signing);
    for step in ["load the snapshot and the logs", "replay the journal", "hash the state"] {
        collector.wait_for(&["start", "recover", step]);
    }
    collector.wait_for(&["start", "lead"]);
    node.status().expect("it answers");
    collector.wait_for(&["admin request"]);

    let config = node.config_path().to_owned();
    ironbell(&["sign", "--once", "--config"], &[&config]);
    for step in ["key", "witnesses", "keep"] {
        collector.wait_for(&["checkpoint", step]);
    }
    ironbell(&["snapshot", "now", "--config"], &[&config]);
    for step in ["load the snapshot before", "follow the journal", "save the state"] {
        collector.wait_for(&["make a snapshot", step]);
    }
    let archive = dir.with_extension("archive");
    let _ = std::fs::remove_dir_all(&archive);
    ironbell(&["archive", "--before", "1", "--config"], &[&config, &archive]);
    collector.wait_for(&["archive", "move segments"]);
    assert_eq!(node.stop().expect("it ends"), 0);
    collector.wait_for(&["stop"]);
}

/// One node of a pair, the first to lead.
#[test]
fn a_collector_gets_the_steps_of_a_takeover() {
    let (collector, etcd) = (Collector::start(), ironbell_etcd_cluster::Cluster::start());
    let listen = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
    let sections = format!(
        "\n[telemetry]\notlp = \"{}\"\n[ha]\nnode = 1\nlisten = \"{listen}\"\netcd = {:?}\n{GENESIS}",
        collector.address,
        etcd.endpoints()
    );
    let dir = dir("otlp-takeover");
    let node = TrialNode::prepare(&dir, &sections, Some(Path::new(PROGRAM))).expect("a node");
    let log = std::fs::File::create(dir.join("node.log")).expect("a file of ours");
    let run = Command::new(PROGRAM)
        .args(["run", "--config"])
        .arg(node.config_path())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn();
    let _run = Ended(run.expect("it runs"));
    collector.wait_for(&["recover"]);
    let begun = Instant::now();
    while node.status().is_err() {
        assert!(begun.elapsed() < LONG, "it does not answer");
        std::thread::sleep(Duration::from_millis(20));
    }
    ironbell(&["ctl", "bootstrap", "--config"], &[node.config_path()]);
    for step in ["promise", "rise", "lead"] {
        collector.wait_for(&["take over", step]);
    }
}

/// Of a collector at `address` that is none: the node goes on, says so once, counts, and stops in good order.
fn goes_on_without(name: &str, address: &str) {
    let dir = dir(name);
    let mut node = node(&dir, address, "");
    let begun = Instant::now();
    loop {
        let status = node.status().expect("it answers");
        let log = status.roles.iter().find(|role| role.role == "log").expect("it is counted");
        if log.counters["spans_unsent"] > 0 {
            break;
        }
        assert!(begun.elapsed() < LONG, "nothing was lost: {log:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    let said = std::fs::read_to_string(dir.join("node.log")).expect("its log");
    assert_eq!(said.matches("the collector does not take spans").count(), 1, "{said}");
    assert_eq!(node.stop().expect("it ends"), 0);
}

#[test]
fn a_collector_that_is_gone_is_not_missed() {
    let gone = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
    goes_on_without("otlp-gone", &format!("http://{gone}"));
}

#[test]
fn a_collector_that_never_answers_is_not_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("it is bound");
    goes_on_without("otlp-silent", &format!("http://{address}"));
}
