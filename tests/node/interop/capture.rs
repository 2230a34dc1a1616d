//! What went over the loopback interface, captured by dumpcap and read by tshark.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ironbell_appliance::trial::TrialNode;
use ironbell_wire::IntoBytes;
use ironbell_wire::mold::Request;

use crate::wait;

/// Where a node listens and sends.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// OUCH over SoupBinTCP.
    pub order_entry: u16,
    /// ITCH over SoupBinTCP.
    pub itch: u16,
    /// GLIMPSE over SoupBinTCP.
    pub glimpse: u16,
    /// The MoldUDP64 group's.
    pub feed: u16,
    /// MoldUDP64 requests and their answers.
    pub rerequest: u16,
}

impl Ports {
    /// As the node's configuration says.
    pub fn of(node: &TrialNode) -> Self {
        let config = node.config();
        Self {
            order_entry: config.order_entry.listen.port(),
            itch: config.service.itch.port(),
            glimpse: config.service.glimpse.port(),
            feed: config.feed.group.port(),
            rerequest: config.feed.rerequest.port(),
        }
    }
}

/// A capture under way; it ends when this is dropped.
///
/// dumpcap says that it captures before it does, and writes what it has captured some time later. So marks
/// are sent through the same interface: once one is in the file, everything sent after it will be captured,
/// and everything sent before it is written.
pub struct Capture {
    dumpcap: Child,
    path: PathBuf,
    said: PathBuf,
    ports: Ports,
    marks: UdpSocket,
    marks_at: SocketAddr,
}

impl Capture {
    /// Captures what goes from and to these ports on the loopback interface into `path`.
    ///
    /// # Panics
    /// When this machine does not let it: with the reason and what to do.
    pub fn start(path: &Path, ports: Ports) -> Self {
        let marks = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free on loopback");
        let marks_at = marks.local_addr().expect("a bound socket has an address");
        let Ports { order_entry, itch, glimpse, feed, rerequest } = ports;
        let of_marks = marks_at.port();
        let filter = [order_entry, itch, glimpse, feed, rerequest, of_marks].map(|n| format!("port {n}"));
        let said = path.with_extension("log");
        let log = File::create(&said).unwrap_or_else(|e| panic!("{}: {e}", said.display()));
        let dumpcap = Command::new("dumpcap")
            // 64 MiB wait for it in the kernel: many times what is sent here, so that nothing is lost while
            // it gets no time.
            .args(["-q", "-i", "lo", "-s", "0", "-B", "64", "-f", &filter.join(" or "), "-w"])
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("dumpcap, which comes with tshark: {e}: run tests/setup.sh"));
        let mut capture = Self { dumpcap, path: path.to_owned(), said, ports, marks, marks_at };
        capture.mark("begin");
        capture
    }

    /// Ends the capture behind everything that was sent so far, and reads it.
    ///
    /// # Panics
    /// When something was lost, or tshark cannot be run.
    pub fn finish(mut self) -> Reading {
        self.mark("end");
        let pid = rustix::process::Pid::from_child(&self.dumpcap);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it is ours to interrupt");
        let status = self.dumpcap.wait().expect("it ends");
        let said = self.said();
        assert!(status.success(), "{status}: {said}");
        // Packets received/dropped on interface 'Loopback: lo': 9/0 (pcap:0/dumpcap:0/…
        assert!(said.contains("(pcap:0/dumpcap:0/"), "the capture is whole: {said}");
        read(&self.path, self.ports, self.marks_at.port())
    }

    /// Sends a mark until it is in the file. It is a MoldUDP64 packet with less in it than it says, so that
    /// the reading shows that tshark would find fault with such a packet.
    fn mark(&mut self, name: &str) {
        let mark = [
            // A request for two messages is the header of a packet of two messages.
            Request::new(*b"0000000000", 1, 2).as_bytes(),
            format!("\x00\x40{name} {}", std::process::id()).as_bytes(),
        ]
        .concat();
        wait(&format!("the capture to {name}"), || {
            if let Some(status) = self.dumpcap.try_wait().expect("it is our child") {
                panic!(
                    "dumpcap ended ({status}): {}\nThis test captures on the loopback interface: run it as root, or \
                     let dumpcap capture: setcap cap_net_raw,cap_net_admin=eip \"$(command -v dumpcap)\"",
                    self.said()
                );
            }
            self.marks.send_to(&mark, self.marks_at).expect("loopback takes it");
            let written = std::fs::read(&self.path).unwrap_or_default();
            written.windows(mark.len()).any(|bytes| bytes == mark)
        });
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap_or_default()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.dumpcap.kill();
        let _ = self.dumpcap.wait();
    }
}

/// What tshark read.
#[derive(Debug, Default)]
pub struct Reading {
    /// What it finds fault with in the node's and the members' packets, a line each.
    pub faults: Vec<String>,
    /// The same for the marks, which are wrong.
    pub faults_of_marks: Vec<String>,
    /// SoupBinTCP sessions in the order of their connections.
    pub sessions: Vec<Session>,
    /// MoldUDP64 packets to the group.
    pub feed: Vec<Packet>,
    /// Answers to MoldUDP64 requests.
    pub answers: Vec<Packet>,
}

/// One SoupBinTCP session.
#[derive(Debug, Default)]
pub struct Session {
    /// The client's port.
    pub client: u16,
    /// The server's port.
    pub port: u16,
    /// As in the login.
    pub username: String,
    /// Type letters of the client's packets.
    pub from_client: String,
    /// Type letters of the server's packets.
    pub from_server: String,
    /// Sequenced messages with the numbers that tshark counts.
    pub told: Vec<(u64, Vec<u8>)>,
    /// Unsequenced messages.
    pub asked: Vec<Vec<u8>>,
}

/// One MoldUDP64 packet.
#[derive(Debug)]
pub struct Packet {
    /// The session's name.
    pub session: String,
    /// Number of the first message.
    pub sequence: u64,
    /// How many messages it says that follow.
    pub count: u16,
    /// The messages that follow with the numbers that tshark counts.
    pub messages: Vec<(u64, Vec<u8>)>,
}

/// What tshark is asked for, frame by frame.
const FIELDS: [&str; 19] = [
    "frame.number",
    "_ws.malformed",
    "_ws.unreassembled",
    "_ws.expert.severity",
    "_ws.expert.group",
    "_ws.expert.message",
    "tcp.srcport",
    "tcp.dstport",
    "soupbintcp.packet_type",
    "soupbintcp.message",
    "soupbintcp",
    "soupbintcp.username",
    "udp.srcport",
    "udp.dstport",
    "moldudp64.session",
    "moldudp64.sequence",
    "moldudp64.count",
    "moldudp64.msgseq",
    "moldudp64.msgdata",
];

fn read(path: &Path, ports: Ports, marks: u16) -> Reading {
    let mut tshark = Command::new("tshark");
    // Its OUCH is the older 4.x, which takes what it finds in SoupBinTCP by length alone.
    tshark.args(["-n", "--disable-protocol", "ouch", "-r"]).arg(path);
    for port in [ports.order_entry, ports.itch, ports.glimpse] {
        tshark.arg("-d").arg(format!("tcp.port=={port},soupbintcp"));
    }
    for port in [ports.feed, ports.rerequest, marks] {
        tshark.arg("-d").arg(format!("udp.port=={port},moldudp64"));
    }
    tshark.args(["-T", "fields", "-E", "separator=/t", "-E", "aggregator=;"]);
    for field in FIELDS {
        tshark.arg("-e").arg(field);
    }
    let output = tshark.output().unwrap_or_else(|e| panic!("tshark: {e}: run tests/setup.sh"));
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("it prints UTF-8");

    let mut reading = Reading::default();
    for line in text.lines() {
        let frame = Frame(line.split('\t').collect());
        let is_mark = frame.number::<u16>("udp.dstport") == Some(marks);
        let faults = if is_mark { &mut reading.faults_of_marks } else { &mut reading.faults };
        faults.extend(frame.fault());
        if let Some(from) = frame.number("tcp.srcport") {
            let to = frame.number("tcp.dstport").expect("a TCP segment has two ports");
            // By ports: tshark takes a connection for another one from the answer to its login on.
            let of_it = |s: &Session| [(s.client, s.port), (s.port, s.client)].contains(&(from, to));
            let session = match reading.sessions.iter().position(of_it) {
                Some(at) => &mut reading.sessions[at],
                None => {
                    // A connection's first segment is the client's.
                    assert!([ports.order_entry, ports.itch, ports.glimpse].contains(&to), "{line}");
                    reading.sessions.push(Session { client: from, port: to, ..Session::default() });
                    reading.sessions.last_mut().expect("it was pushed")
                }
            };
            frame.add_to(session, from == session.port);
        } else if !is_mark && frame.number::<u16>("udp.dstport") == Some(ports.feed) {
            reading.feed.push(frame.packet());
        } else if frame.number::<u16>("udp.srcport") == Some(ports.rerequest) {
            reading.answers.push(frame.packet());
        }
    }
    reading
}

/// A line of tshark's: a cell for each of [`FIELDS`].
struct Frame<'a>(Vec<&'a str>);

impl<'a> Frame<'a> {
    fn cell(&self, name: &str) -> &'a str {
        let at = FIELDS.iter().position(|field| *field == name).expect("it was asked for");
        self.0.get(at).copied().unwrap_or_else(|| panic!("no {name} in {:?}", self.0))
    }

    /// Every occurrence of a field.
    fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        // Single characters come in quotes.
        self.cell(name).split(';').filter(|text| !text.is_empty()).map(|text| text.trim_matches('\''))
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        let parse = |text: &str| text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}"));
        self.all(name).next().map(parse)
    }

    /// What is wrong with it, if anything.
    fn fault(&self) -> Option<String> {
        /// PI_COMMENT and PI_CHAT only tell what a packet is for.
        const HARMLESS: [&str; 2] = ["1048576", "2097152"];
        /// PI_SEQUENCE: TCP sent something again, closed a window or reset. That is the kernels' affair, and
        /// happens when a machine is busy.
        const SEQUENCE: &str = "33554432";
        let severities: Vec<_> = self.all("_ws.expert.severity").collect();
        let groups: Vec<_> = self.all("_ws.expert.group").collect();
        assert_eq!(severities.len(), groups.len(), "{:?}", self.0);
        let is_grave = |(severity, group): (&&str, &&str)| !HARMLESS.contains(severity) && *group != SEQUENCE;
        let is_faulty = !self.cell("_ws.malformed").is_empty()
            || !self.cell("_ws.unreassembled").is_empty()
            || severities.iter().zip(&groups).any(is_grave);
        is_faulty.then(|| {
            format!(
                "frame {}: {}{}{}",
                self.cell("frame.number"),
                self.cell("_ws.malformed"),
                self.cell("_ws.unreassembled"),
                self.cell("_ws.expert.message")
            )
        })
    }

    /// Adds its SoupBinTCP packets to their session.
    fn add_to(&self, session: &mut Session, is_from_server: bool) {
        let types = if is_from_server { &mut session.from_server } else { &mut session.from_client };
        let mut messages = self.all("soupbintcp.message").map(unhex);
        let mut numbers = self.all("soupbintcp").filter_map(|text| text.rsplit_once("SeqNum="));
        for kind in self.all("soupbintcp.packet_type") {
            *types += kind;
            let mut message = || messages.next().expect("a data packet has its message");
            match kind {
                "S" => {
                    let (_, number) = numbers.next().expect("a sequenced packet is numbered");
                    session.told.push((number.parse().expect("a number"), message()));
                }
                "U" => session.asked.push(message()),
                _ => {}
            }
        }
        assert_eq!(messages.next(), None, "every message has its packet");
        if let Some(username) = self.all("soupbintcp.username").next() {
            username.trim().clone_into(&mut session.username);
        }
    }

    fn packet(&self) -> Packet {
        let messages = self.all("moldudp64.msgdata").map(unhex);
        let numbers = self.all("moldudp64.msgseq").map(|number| number.parse().expect("a number"));
        let (numbers, messages) = (numbers.collect::<Vec<_>>(), messages.collect::<Vec<_>>());
        assert_eq!(numbers.len(), messages.len(), "{:?}", self.0);
        Packet {
            session: self.cell("moldudp64.session").to_owned(),
            sequence: self.number("moldudp64.sequence").expect("a header has it"),
            count: self.number("moldudp64.count").expect("a header has it"),
            messages: numbers.into_iter().zip(messages).collect(),
        }
    }
}

/// Bytes from hexadecimal digits.
fn unhex(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2), "{hex}");
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap_or_else(|e| panic!("{hex}: {e}"));
    (0..hex.len()).step_by(2).map(byte).collect()
}
