//! tshark reads captures of our SoupBinTCP sessions and MoldUDP64 feeds: no packet is malformed, every
//! checksum is right, and what it reads is what we wrote.
//!
//! The captures are made here, Ethernet frame by Ethernet frame, so that no network is needed.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;

use ironbell_wire::mold::{Header, PacketBuilder, Request};
use ironbell_wire::ouch::{self, OptionsBuf, OuchMessage};
use ironbell_wire::soup::{self, LoginAccepted, LoginRejected, LoginRequest};
use ironbell_wire::{IntoBytes, Type, U32, U64, itch};

use crate::support::{hex, run, vectors};

const CLIENT: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 0, 0, 2), 40_000);
const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::new(127, 0, 0, 1), 26_400);
const GROUP: (Ipv4Addr, u16) = (Ipv4Addr::new(239, 192, 0, 1), 26_477);

/// A capture file (pcap 2.4, big-endian, link type Ethernet).
struct Capture(Vec<u8>);

impl Capture {
    fn new() -> Self {
        let mut file = Vec::new();
        file.extend(0xa1b2_c3d4_u32.to_be_bytes());
        file.extend([0, 2, 0, 4]);
        file.extend([0; 8]);
        file.extend(65_535_u32.to_be_bytes());
        file.extend(1_u32.to_be_bytes());
        Self(file)
    }

    /// Appends an IPv4 packet; its transport header comes without a checksum, whose place is given.
    fn ipv4(
        &mut self,
        from: Ipv4Addr,
        to: Ipv4Addr,
        protocol: u8,
        mut transport: Vec<u8>,
        checksum_at: usize,
    ) {
        let mut pseudo = [from.octets(), to.octets()].concat();
        pseudo.extend([0, protocol]);
        pseudo.extend((transport.len() as u16).to_be_bytes());
        pseudo.extend(&transport);
        transport[checksum_at..checksum_at + 2].copy_from_slice(&checksum(&pseudo).to_be_bytes());

        let mut ip = vec![0x45, 0];
        ip.extend((20 + transport.len() as u16).to_be_bytes());
        ip.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
        ip.extend([from.octets(), to.octets()].concat());
        let sum = checksum(&ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());

        let len = (14 + ip.len() + transport.len()) as u32;
        self.0.extend([0; 8]);
        self.0.extend(len.to_be_bytes());
        self.0.extend(len.to_be_bytes());
        self.0.extend([0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x08, 0x00]);
        self.0.extend(ip);
        self.0.extend(transport);
    }

    fn udp(&mut self, from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), payload: &[u8]) {
        let mut datagram = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
        datagram.extend((8 + payload.len() as u16).to_be_bytes());
        datagram.extend([0, 0]);
        datagram.extend(payload);
        self.ipv4(from.0, to.0, 17, datagram, 6);
    }

    /// Writes it to a file for tshark.
    fn save(&self, name: &str) -> PathBuf {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&path, &self.0).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        path
    }
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let sum = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = sum.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A TCP connection between client and server.
struct Connection {
    capture: Capture,
    /// Next sequence number of client and server.
    next: [u32; 2],
}

impl Connection {
    const SYN: u8 = 2;
    const PUSH: u8 = 8;
    const ACK: u8 = 16;

    fn open() -> Self {
        let mut connection = Self { capture: Capture::new(), next: [1_000, 9_000] };
        connection.segment(0, Self::SYN, b"");
        connection.segment(1, Self::SYN | Self::ACK, b"");
        connection.segment(0, Self::ACK, b"");
        connection
    }

    /// Appends a segment from the client (0) or the server (1).
    fn segment(&mut self, side: usize, flags: u8, payload: &[u8]) {
        let (from, to) = if side == 0 { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
        let acknowledged = if flags & Self::ACK == 0 { 0 } else { self.next[1 - side] };
        let mut segment = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
        segment.extend(self.next[side].to_be_bytes());
        segment.extend(acknowledged.to_be_bytes());
        segment.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend(payload);
        self.capture.ipv4(from.0, to.0, 6, segment, 16);
        self.next[side] += payload.len() as u32 + u32::from(flags & Self::SYN != 0);
    }

    fn client(&mut self, payload: &[u8]) {
        self.segment(0, Self::PUSH | Self::ACK, payload);
    }

    fn server(&mut self, payload: &[u8]) {
        self.segment(1, Self::PUSH | Self::ACK, payload);
    }
}

/// What tshark reads in a capture: for each frame the fields asked for, every occurrence of each.
fn read(capture: &Capture, name: &str, decode_as: &str, fields: &[&str]) -> Vec<Vec<Vec<String>>> {
    let mut tshark = Command::new("tshark");
    // Its OUCH is the older 4.x, which takes what it finds in SoupBinTCP by length alone.
    tshark.args(["-n", "--disable-protocol", "ouch", "-d", decode_as, "-r"]).arg(capture.save(name));
    for checked in ["ip.check_checksum", "tcp.check_checksum", "udp.check_checksum"] {
        tshark.arg("-o").arg(format!("{checked}:TRUE"));
    }
    tshark.args(["-T", "fields", "-E", "separator=|", "-E", "aggregator=;"]);
    for field in fields {
        tshark.arg("-e").arg(field);
    }
    // Single characters come in quotes.
    let plain = |text: &str| text.trim_matches('\'').to_owned();
    let occurrences = |cell: &str| cell.split(';').filter(|text| !text.is_empty()).map(plain).collect();
    run(&mut tshark, b"").lines().map(|line| line.split('|').map(occurrences).collect()).collect()
}

/// What tshark finds fault with, frame by frame: a checksum, a malformed packet, a note or worse.
fn faults(capture: &Capture, name: &str, decode_as: &str, frames: usize) -> Vec<String> {
    let fields = [
        "ip.checksum.status",
        "tcp.checksum.status",
        "udp.checksum.status",
        "_ws.malformed",
        "_ws.unreassembled",
        "_ws.expert.severity",
    ];
    let read = read(capture, name, decode_as, &fields);
    assert_eq!(read.len(), frames, "it reads every frame");
    // A comment (0x00100000) or a chat (0x00200000) only tells what a packet is for; a note, a warning or an
    // error is more.
    let harmless = |severity: &String| severity == "1048576" || severity == "2097152";
    let flawless = |cells: &[Vec<String>]| match cells {
        [ip, tcp, udp, malformed, pieces, severity] => {
            ip[..] == ["1"]
                && [&tcp[..], udp].concat() == ["1"]
                && malformed.is_empty()
                && pieces.is_empty()
                && severity.iter().all(harmless)
        }
        _ => panic!("six cells: {cells:?}"),
    };
    let faulty = read.iter().enumerate().filter(|(_, cells)| !flawless(cells));
    faulty.map(|(frame, cells)| format!("frame {frame}: {fields:?} are {cells:?}")).collect()
}

fn data(put: impl Fn(&[u8], &mut [u8]) -> Result<usize, ironbell_wire::NoRoom>, message: &[u8]) -> Vec<u8> {
    let mut out = vec![0; soup::HEADER_LEN + message.len()];
    assert_eq!(put(message, &mut out), Ok(out.len()));
    out
}

#[test]
fn tshark_reads_a_soupbintcp_session() {
    let order = ouch::EnterOrder {
        message_type: Type::new(),
        user_ref_num: U32::new(1),
        side: b'B',
        quantity: U32::new(100),
        symbol: *b"XYZ     ",
        price: U64::new(123_400),
        time_in_force: b'0',
        display: b'Y',
        capacity: b'P',
        inter_market_sweep: b'N',
        cross_type: b'N',
        cl_ord_id: *b"A1            ",
    };
    let mut enter = [0; ouch::MESSAGE_LEN_MAX];
    let len = order.encode(&OptionsBuf::EMPTY, &mut enter).expect("it fits");
    let enter = &enter[..len];
    let answers: Vec<_> = vectors().into_iter().filter(|vector| vector.family == "OUT").collect();

    let mut connection = Connection::open();
    let login = LoginRequest::new("USER01", "SECRET", "", 41).expect("the texts fit");
    connection.client(login.as_bytes());
    connection.server(LoginAccepted::new(*b"0020260302", 41).as_bytes());
    connection.client(&data(soup::put_unsequenced, enter));
    // Every outbound message, several in a segment, cut anywhere.
    let stream: Vec<u8> =
        answers.iter().flat_map(|vector| data(soup::put_sequenced, &vector.bytes)).collect();
    let segments = stream.chunks(97).count();
    for piece in stream.chunks(97) {
        connection.server(piece);
    }
    connection.client(&[&soup::CLIENT_HEARTBEAT[..], &data(soup::put_debug, b"hello")].concat());
    connection.server(&soup::SERVER_HEARTBEAT);
    connection.client(&soup::LOGOUT_REQUEST);
    connection.server(&soup::END_OF_SESSION);
    let capture = connection.capture;

    let (name, decode_as) = ("session.pcap", "tcp.port==26400,soupbintcp");
    assert_eq!(faults(&capture, name, decode_as, 3 + 3 + segments + 4), [""; 0]);

    let fields = [
        "soupbintcp.packet_type",
        "soupbintcp.packet_length",
        "soupbintcp.message",
        "soupbintcp",
        "soupbintcp.username",
        "soupbintcp.password",
        "soupbintcp.session",
        "soupbintcp.text",
    ];
    let frames = read(&capture, name, decode_as, &fields);
    let column = |n: usize| -> Vec<String> { frames.iter().flat_map(|cells| cells[n].clone()).collect() };
    let types =
        ["L", "A", "U"].into_iter().chain(answers.iter().map(|_| "S")).chain(["R", "+", "H", "O", "Z"]);
    assert_eq!(column(0), types.map(str::to_owned).collect::<Vec<_>>());
    let lengths =
        [47, 31, 1 + len].into_iter().chain(answers.iter().map(|v| 1 + v.bytes.len())).chain([1, 6, 1, 1, 1]);
    assert_eq!(column(1), lengths.map(|length| length.to_string()).collect::<Vec<_>>());
    let messages = std::iter::once(hex(enter)).chain(answers.iter().map(|vector| hex(&vector.bytes)));
    assert_eq!(column(2), messages.collect::<Vec<_>>());
    // Both sides count: tshark does too, from the number that the login was answered with.
    let numbered = column(3).into_iter().filter(|text| text.contains("SeqNum="));
    let numbers = (41..).take(answers.len()).map(|n| format!("SoupBinTCP, Sequenced Data, SeqNum={n}"));
    assert_eq!(numbered.collect::<Vec<_>>(), numbers.collect::<Vec<_>>());
    assert_eq!(column(4), ["USER01"]);
    assert_eq!(column(5), ["SECRET    "]);
    assert_eq!(column(6), ["          ", "0020260302"]);
    assert_eq!(column(7), ["hello"]);
}

#[test]
fn tshark_reads_a_rejected_login() {
    let mut connection = Connection::open();
    connection.client(LoginRequest::new("USER01", "WRONG", "", 1).expect("the texts fit").as_bytes());
    connection.server(LoginRejected::new(LoginRejected::NOT_AUTHORIZED).as_bytes());
    let capture = connection.capture;
    let (name, decode_as) = ("rejected.pcap", "tcp.port==26400,soupbintcp");
    assert_eq!(faults(&capture, name, decode_as, 5), [""; 0]);
    let frames = read(&capture, name, decode_as, &["soupbintcp.packet_type", "soupbintcp.reject_code"]);
    assert_eq!(frames[4], [["J"], ["A"]]);
}

#[test]
fn tshark_reads_a_moldudp64_feed() {
    const SESSION: [u8; 10] = *b"0020260302";
    let mut capture = Capture::new();
    let mut messages: Vec<_> =
        vectors().into_iter().filter(|vector| vector.family == "ITCH").map(|vector| vector.bytes).collect();
    let scaled = itch::ScaledDirectory {
        message_type: Type::new(),
        stock_locate: 7.into(),
        tracking_number: 0.into(),
        timestamp: ironbell_wire::U48::new(1),
        stock: *b"BTC-USD ",
        tick_value: 1.into(),
        lot_units: 1_000.into(),
        base_decimals: 8,
        quote_decimals: 2,
        base_code: *b"BTC     ",
        quote_code: *b"USD     ",
    };
    messages.push(scaled.as_bytes().to_vec());

    capture.udp(SERVER, GROUP, Header::heartbeat(SESSION, 1).as_bytes());
    let (mut packets, mut next, mut rest) = (Vec::new(), 1, &messages[..]);
    while !rest.is_empty() {
        let mut out = [0; 300];
        let mut builder = PacketBuilder::new(&mut out, SESSION, next);
        while let Some(message) = rest.first()
            && builder.push(message).is_ok()
        {
            rest = &rest[1..];
        }
        let count = builder.count();
        let len = builder.finish();
        capture.udp(SERVER, GROUP, &out[..len]);
        packets.push((next, count));
        next += u64::from(count);
    }
    assert!(packets.len() > 2, "the messages do not fit one packet");
    capture.udp(SERVER, GROUP, Header::heartbeat(SESSION, next).as_bytes());
    capture.udp(SERVER, GROUP, Header::end_of_session(SESSION, next).as_bytes());

    let (name, decode_as) = ("feed.pcap", "udp.port==26477,moldudp64");
    assert_eq!(faults(&capture, name, decode_as, packets.len() + 3), [""; 0]);
    let fields = [
        "moldudp64.session",
        "moldudp64.sequence",
        "moldudp64.count",
        "moldudp64.msglen",
        "moldudp64.msgseq",
        "moldudp64.msgdata",
    ];
    let frames = read(&capture, name, decode_as, &fields);
    let column = |n: usize| -> Vec<String> { frames.iter().flat_map(|cells| cells[n].clone()).collect() };
    assert_eq!(column(0), vec!["0020260302"; frames.len()]);
    let heads = [(1, 0)].into_iter().chain(packets.iter().copied()).chain([(next, 0), (next, 0xffff)]);
    let heads: Vec<(u64, u16)> = heads.collect();
    assert_eq!(column(1), heads.iter().map(|(number, _)| number.to_string()).collect::<Vec<_>>());
    assert_eq!(column(2), heads.iter().map(|(_, count)| count.to_string()).collect::<Vec<_>>());
    assert_eq!(column(3), messages.iter().map(|message| message.len().to_string()).collect::<Vec<_>>());
    assert_eq!(column(4), (1..next).map(|number| number.to_string()).collect::<Vec<_>>());
    assert_eq!(column(5), messages.iter().map(|message| hex(message)).collect::<Vec<_>>());
}

#[test]
fn tshark_reads_a_moldudp64_request() {
    let mut capture = Capture::new();
    capture.udp(CLIENT, SERVER, Request::new(*b"0020260302", 77, 12).as_bytes());
    let (name, decode_as) = ("request.pcap", "udp.port==26400,moldudp64");
    let fields = ["moldudp64.session", "moldudp64.sequence", "moldudp64.count"];
    assert_eq!(read(&capture, name, decode_as, &fields), [[["0020260302"], ["77"], ["12"]]]);
}

#[test]
fn tshark_would_find_fault_with_a_wrong_packet() {
    // The same checks on packets that are wrong, so that they are known to see anything at all.
    let mut packet = Header::heartbeat(*b"0020260302", 1).as_bytes().to_vec();
    packet[19] = 2;
    packet.extend(b"\x00\x05ab");
    let mut capture = Capture::new();
    capture.udp(SERVER, GROUP, &packet);
    let found = faults(&capture, "wrong.pcap", "udp.port==26477,moldudp64", 1);
    assert_eq!(found.len(), 1, "{found:?}");

    let mut connection = Connection::open();
    connection.client(b"\x00\x05Lab!!");
    let found = faults(&connection.capture, "wrong-login.pcap", "tcp.port==26400,soupbintcp", 4);
    assert_eq!(found.len(), 1, "{found:?}");

    let mut capture = Capture::new();
    capture.udp(SERVER, GROUP, Header::heartbeat(*b"0020260302", 1).as_bytes());
    *capture.0.last_mut().expect("it is not empty") ^= 1;
    let found = faults(&capture, "wrong-checksum.pcap", "udp.port==26477,moldudp64", 1);
    assert_eq!(found.len(), 1, "{found:?}");
}
