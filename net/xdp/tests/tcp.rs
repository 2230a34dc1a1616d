//! Two stacks of ours on one cable, in simulated time.

mod draws;

use std::collections::HashMap;
use std::net::SocketAddr;

use draws::draws;
use ironbell_device::fault::{FaultyDevice, FaultyTx, FrameFaults, faulty};
use ironbell_device::mem::{MemRx, MemTx, cable};
use ironbell_device::{Closed, FrameDevice, FrameRx, FrameTx, Nanos, SessionIo};
use ironbell_xdp::cookie::Cookies;
use ironbell_xdp::isn::Isns;
use ironbell_xdp::packet::{self, LinkHeader};
use ironbell_xdp::tcp::{Config, Connection, Tcp};

type Faulty = Tcp<MemRx, FaultyTx<MemTx>>;

const VENUE: &str = "10.0.0.1:26400";
const MEMBER: &str = "10.0.0.2:1";
/// From one poll of both ends to the next.
const STEP: u64 = 20_000;

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn link() -> LinkHeader {
    LinkHeader::new([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1], addr(VENUE).ip())
}

struct Rig {
    venue: Faulty,
    member: Faulty,
    now: Nanos,
}

impl Rig {
    fn new(faults: FrameFaults, seed: u64, change: impl Fn(&mut Config)) -> Self {
        let (near, far) = cable(1 << 14, 2_048);
        let stack = |at: &str, device: FrameDevice<MemRx, MemTx>, seed: u64| {
            let mut config = Config::new(addr(at), u128::from(seed));
            change(&mut config);
            let device: FaultyDevice<MemRx, MemTx> = faulty(device, faults, seed);
            Tcp::new(config, device)
        };
        Self {
            venue: stack(VENUE, near, 2 * seed + 1),
            member: stack(MEMBER, far, 2 * seed + 2),
            now: Nanos(0),
        }
    }

    fn step(&mut self) {
        self.now = Nanos(self.now.0 + STEP);
        self.member.poll(self.now);
        self.venue.poll(self.now);
    }

    fn set_faults(&mut self, faults: FrameFaults) {
        self.venue.device_mut().tx.set_faults(faults);
        self.member.device_mut().tx.set_faults(faults);
    }

    fn pass(&mut self, nanos: u64) {
        let end = self.now.0 + nanos;
        while self.now.0 < end {
            self.step();
        }
    }

    /// A connection, by both its ends.
    fn connect(&mut self) -> (Connection, Connection) {
        let member = self.member.connect(addr(VENUE), link(), self.now).expect("there is room");
        for _ in 0..1_000_000 {
            self.step();
            if let Some(venue) = self.venue.accept().expect("a stack accepts") {
                return (member, venue);
            }
        }
        panic!("the handshake does not end");
    }
}

fn write_all(io: &mut Faulty, connection: &mut Connection, bytes: &[u8], now: Nanos) {
    assert_eq!(io.write(connection, bytes), Ok(bytes.len()));
    io.flush(now);
}

fn read(io: &mut Faulty, connection: &mut Connection) -> Vec<u8> {
    let mut buffer = [0; 4_096];
    let count = io.read(connection, &mut buffer).expect("the connection stands");
    buffer[..count].to_vec()
}

#[test]
fn an_order_and_its_answer_cross_and_both_ends_close() {
    let mut rig = Rig::new(FrameFaults::default(), 1, |_| {});
    let (mut member, mut venue) = rig.connect();
    assert_eq!(rig.venue.read(&mut venue, &mut [0; 8]), Ok(0));
    write_all(&mut rig.member, &mut member, b"order", rig.now);
    rig.step();
    assert_eq!(read(&mut rig.venue, &mut venue), b"order");
    write_all(&mut rig.venue, &mut venue, b"ack", rig.now);
    rig.step();
    assert_eq!(read(&mut rig.member, &mut member), b"ack");
    // What was written before the end comes before it.
    write_all(&mut rig.venue, &mut venue, b"bye", rig.now);
    rig.venue.close(venue);
    rig.pass(1_000_000);
    assert_eq!(read(&mut rig.member, &mut member), b"bye");
    assert_eq!(rig.member.read(&mut member, &mut [0; 8]), Err(Closed::ByPeer));
    rig.member.close(member);
    // The venue closed first: its end waits for stragglers, for 50 ms.
    rig.pass(1_000_000);
    assert_eq!((rig.member.connections(), rig.venue.connections()), (0, 1));
    rig.pass(60_000_000);
    assert_eq!((rig.member.connections(), rig.venue.connections()), (0, 0));
    assert_eq!(rig.venue.counters().aborted, 0);
}

#[test]
fn a_lost_segment_is_there_within_10_ms() {
    let mut rig = Rig::new(FrameFaults::default(), 2, |_| {});
    let (mut member, mut venue) = rig.connect();
    // The round trip is known to be short.
    for _ in 0..50 {
        write_all(&mut rig.member, &mut member, b"order", rig.now);
        rig.step();
        assert_eq!(read(&mut rig.venue, &mut venue), b"order");
        write_all(&mut rig.venue, &mut venue, b"ack", rig.now);
        rig.step();
        assert_eq!(read(&mut rig.member, &mut member), b"ack");
    }
    for _ in 0..20 {
        rig.set_faults(FrameFaults { loss: u16::MAX, ..FrameFaults::default() });
        let lost = rig.member.device().tx.lost();
        write_all(&mut rig.member, &mut member, b"lost", rig.now);
        while rig.member.device().tx.lost() == lost {
            write_all(&mut rig.member, &mut member, b"", rig.now);
        }
        rig.set_faults(FrameFaults::default());
        let sent = rig.now;
        let mut got = Vec::new();
        while got.is_empty() {
            rig.step();
            got = read(&mut rig.venue, &mut venue);
        }
        assert_eq!(got, b"lost");
        let took = rig.now.0 - sent.0;
        assert!(took <= 10_000_000, "{took} ns");
        assert!(took >= 4_000_000, "{took} ns is before any time-out: nothing was lost");
        // A time-out doubles the next one until a round trip was measured again (RFC 6298, section 5.7).
        write_all(&mut rig.member, &mut member, b"order", rig.now);
        rig.pass(1_000_000);
        assert_eq!(read(&mut rig.venue, &mut venue), b"order");
    }
}

/// Random writes, reads, closes and new connections on cables that lose, double, turn and delay: on every
/// connection what is read is what was written, from its start, and all of it once the cable is healed.
#[test]
fn streams_are_as_written_whatever_happens_to_frames() {
    let seed_of_all = std::env::var("IRONBELL_SEED").ok().map_or(1, |seed| seed.parse().expect("a number"));
    let operations: u64 =
        std::env::var("IRONBELL_OPERATIONS").ok().map_or(100_000, |count| count.parse().expect("a number"));
    let cases = 20;
    for seed in seed_of_all..seed_of_all + cases {
        let mut draw = draws(seed);
        let faults = FrameFaults {
            loss: draw(4_000) as u16,
            duplicate: draw(4_000) as u16,
            corrupt: draw(4_000) as u16,
            delay: draw(8_000) as u16,
        };
        println!("seed {seed}, {faults:?}");
        let mut rig = Rig::new(faults, seed, |config| {
            (config.receive_size, config.send_size) = (2_048, 2_048);
            config.connections_max = 64;
        });
        let mut pairs: Vec<Pair> = Vec::new();
        for _ in 0..operations / cases {
            match draw(16) {
                0 if pairs.len() < 8 => {
                    let (member, venue) = rig.connect();
                    pairs.push(Pair { member: End::new(member), venue: End::new(venue) });
                }
                1..=4 => rig.step(),
                5 if !pairs.is_empty() && draw(40) == 0 => {
                    let at = draw(pairs.len() as u64) as usize;
                    pairs.swap_remove(at).finish(&mut rig);
                }
                _ if pairs.is_empty() => rig.step(),
                _ => {
                    let at = draw(pairs.len() as u64) as usize;
                    let Pair { member, venue } = &mut pairs[at];
                    let len = 1 + draw(1_500) as usize;
                    let now = rig.now;
                    match draw(4) {
                        0 => member.write(&mut rig.member, len, now),
                        1 => venue.write(&mut rig.venue, len, now),
                        2 => member.read(&mut rig.member, &mut venue.written, len),
                        _ => venue.read(&mut rig.venue, &mut member.written, len),
                    }
                }
            }
        }
        for pair in pairs {
            pair.finish(&mut rig);
        }
        rig.set_faults(FrameFaults::default());
        rig.pass(4_000_000_000);
        assert_eq!((rig.member.connections(), rig.venue.connections()), (0, 0), "seed {seed}");
        assert_eq!(rig.venue.half_open(), 0, "seed {seed}");
    }
}

/// Bytes are a function of their place, so that what is read needs no copy to be compared with.
struct End {
    connection: Connection,
    written: u64,
    read: u64,
}

fn byte(at: u64) -> u8 {
    (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8
}

impl End {
    fn new(connection: Connection) -> Self {
        Self { connection, written: 0, read: 0 }
    }

    fn write(&mut self, io: &mut Faulty, len: usize, now: Nanos) {
        let bytes: Vec<u8> = (self.written..self.written + len as u64).map(byte).collect();
        self.written += io.write(&mut self.connection, &bytes).expect("the connection stands") as u64;
        io.flush(now);
    }

    fn read(&mut self, io: &mut Faulty, written: &mut u64, len: usize) {
        let mut buffer = vec![0; len];
        let count = io.read(&mut self.connection, &mut buffer).expect("the connection stands");
        for (at, got) in (self.read..).zip(&buffer[..count]) {
            assert_eq!(*got, byte(at), "at {at}");
        }
        self.read += count as u64;
        assert!(self.read <= *written, "nothing is read that was not written");
    }
}

struct Pair {
    member: End,
    venue: End,
}

impl Pair {
    /// Everything that was written arrives, then both ends close.
    fn finish(mut self, rig: &mut Rig) {
        let began = rig.now;
        while self.member.read < self.venue.written || self.venue.read < self.member.written {
            rig.step();
            self.member.read(&mut rig.member, &mut self.venue.written, 4_096);
            self.venue.read(&mut rig.venue, &mut self.member.written, 4_096);
            assert!(rig.now.0 - began.0 < 60_000_000_000, "bytes are stuck");
        }
        rig.member.close(self.member.connection);
        rig.venue.close(self.venue.connection);
    }
}

#[test]
fn a_full_window_opens_again() {
    let mut rig = Rig::new(FrameFaults::default(), 3, |config| {
        (config.receive_size, config.send_size) = (1_024, 1_024);
    });
    let (member, venue) = rig.connect();
    let (mut member, mut venue) = (End::new(member), End::new(venue));
    for _ in 0..20 {
        member.write(&mut rig.member, 1_024, rig.now);
        rig.pass(100_000_000);
    }
    assert_eq!(member.written, 2_048, "both buffers are full");
    // The update of the window is lost: a probe finds out.
    rig.set_faults(FrameFaults { loss: u16::MAX, ..FrameFaults::default() });
    venue.read(&mut rig.venue, &mut member.written, 1_024);
    rig.step();
    rig.set_faults(FrameFaults::default());
    rig.pass(1_000_000_000);
    venue.read(&mut rig.venue, &mut member.written, 1_024);
    assert_eq!(venue.read, 2_048);
}

#[test]
fn half_a_connection_still_receives() {
    let mut rig = Rig::new(FrameFaults::default(), 4, |_| {});
    let (mut member, mut venue) = rig.connect();
    rig.member.shut_down(&mut member);
    rig.pass(1_000_000);
    assert_eq!(rig.venue.read(&mut venue, &mut [0; 8]), Err(Closed::ByPeer));
    write_all(&mut rig.venue, &mut venue, b"the rest", rig.now);
    rig.pass(1_000_000);
    assert_eq!(read(&mut rig.member, &mut member), b"the rest");
}

#[test]
fn both_ends_may_close_at_once() {
    let mut rig = Rig::new(FrameFaults::default(), 5, |_| {});
    let (member, venue) = rig.connect();
    rig.member.close(member);
    rig.venue.close(venue);
    rig.pass(100_000_000);
    assert_eq!((rig.member.connections(), rig.venue.connections()), (0, 0));
}

#[test]
fn who_asks_a_closed_port_is_refused() {
    let mut rig = Rig::new(FrameFaults::default(), 6, |_| {});
    let mut member = rig.member.connect(addr("10.0.0.1:9"), link(), rig.now).expect("there is room");
    rig.pass(1_000_000);
    assert!(matches!(rig.member.read(&mut member, &mut [0; 8]), Err(Closed::Failed(_))));
    rig.member.close(member);
    rig.pass(1_000_000);
    assert_eq!((rig.member.connections(), rig.venue.connections()), (0, 0));
    assert_eq!(rig.venue.counters().unknown, 1);
}

#[test]
fn a_silent_peer_is_given_up_and_a_living_one_is_not() {
    let mut rig = Rig::new(FrameFaults::default(), 7, |_| {});
    let (_member, mut venue) = rig.connect();
    rig.pass(60_000_000_000);
    assert_eq!(rig.venue.read(&mut venue, &mut [0; 8]), Ok(0), "signs of life are asked for and given");
    rig.set_faults(FrameFaults { loss: u16::MAX, ..FrameFaults::default() });
    rig.pass(16_000_000_000);
    assert!(rig.venue.read(&mut venue, &mut [0; 8]).is_err());
    rig.venue.close(venue);
    rig.pass(4_000_000_000);
    assert_eq!(rig.venue.connections(), 0);
}

/// Handshakes of spoofed addresses, between any two polls many times as many as are remembered.
struct Flood {
    begun: u32,
}

impl Flood {
    const PER_STEP: u32 = 200;

    fn step(&mut self, rig: &mut Rig) {
        for _ in 0..Self::PER_STEP {
            self.begun += 1;
            let [_, a, b, c] = self.begun.to_be_bytes();
            put(rig, &syn(SocketAddr::from(([11, a, b, c], 1_000))));
        }
        rig.step();
    }
}

/// Puts a frame on the cable to the venue.
fn put(rig: &mut Rig, frame: &[u8]) {
    let tx = &mut rig.member.device_mut().tx;
    tx.slot().expect("the cable has room")[..frame.len()].copy_from_slice(frame);
    tx.commit(frame.len());
}

/// Who is logged in trades on as if there were no flood, and who comes during it has a connection at the first attempt, though
/// hundreds of others begin between its SYN and its answer.
#[test]
fn a_flood_of_handshakes_takes_no_connection_from_others() {
    let mut rig = Rig::new(FrameFaults::default(), 8, |config| {
        (config.connections_max, config.half_open_max) = (128, 16);
    });
    let mut flood = Flood { begun: 0 };
    let mut pairs = vec![rig.connect()];
    for _ in 0..40 {
        flood.step(&mut rig);
        assert_eq!(rig.venue.half_open(), 16);
        let member = rig.member.connect(addr(VENUE), link(), rig.now).expect("there is room");
        // SYN and answer; the third segment.
        flood.step(&mut rig);
        flood.step(&mut rig);
        assert!(rig.member.is_up(&member));
        let venue = rig.venue.accept().expect("a stack accepts").expect("it stands");
        pairs.push((member, venue));
        for (number, (member, venue)) in pairs.iter_mut().enumerate() {
            write_all(&mut rig.member, member, &number.to_le_bytes(), rig.now);
            write_all(&mut rig.venue, venue, b"ack", rig.now);
        }
        flood.step(&mut rig);
        flood.step(&mut rig);
        for (number, (member, venue)) in pairs.iter_mut().enumerate() {
            assert_eq!(read(&mut rig.venue, venue), number.to_le_bytes());
            assert_eq!(read(&mut rig.member, member), b"ack");
        }
    }
    let counters = *rig.venue.counters();
    assert_eq!((counters.cookies_redeemed, counters.connected, counters.refused), (40, 41, 0));
    assert_eq!(counters.cookies_sent, u64::from(flood.begun) - 16 + 40);
    // Who never answers is forgotten.
    rig.pass(2_000_000_000);
    assert_eq!((rig.venue.half_open(), rig.venue.connections()), (0, 41));
    // And the next one is remembered.
    let (_member, _venue) = rig.connect();
    assert_eq!(rig.venue.counters().cookies_sent, counters.cookies_sent);
}

/// A segment that brings a number back which is no cookie, or is one that is too old, is nobody's; so is any when none were sent.
#[test]
fn only_a_cookie_of_ours_makes_a_connection() {
    let mut rig = Rig::new(FrameFaults::default(), 12, |config| {
        (config.connections_max, config.half_open_max) = (24, 16);
    });
    let peer = |host: u8| SocketAddr::from(([10, 0, 1, host], 1_000));
    let cookies = Cookies::new(u128::from(2 * 12 + 1_u64));
    let cookie = |host, at| cookies.number(peer(host), 1, None, at);
    let begun = rig.now;
    put(&mut rig, &segment(peer(1), 2, cookie(1, begun).wrapping_add(1), packet::ACK));
    rig.step();
    assert_eq!((rig.venue.counters().unknown, rig.venue.counters().connected), (1, 0), "none were sent");
    Flood { begun: 0 }.step(&mut rig);
    let made = rig.now;
    let mut unknown = 1;
    for turned in 0..32 {
        put(&mut rig, &segment(peer(2), 2, cookie(2, made).wrapping_add(1) ^ 1 << turned, packet::ACK));
        put(&mut rig, &segment(peer(2), 2 ^ 1 << turned, cookie(2, made).wrapping_add(1), packet::ACK));
        rig.step();
        unknown += 2;
    }
    assert_eq!((rig.venue.counters().unknown, rig.venue.counters().connected), (unknown, 0));
    let after = cookie(3, made).wrapping_add(1);
    put(&mut rig, &segment(peer(3), 2, after, packet::ACK));
    rig.step();
    assert_eq!((rig.venue.counters().connected, rig.venue.counters().cookies_redeemed), (1, 1));
    // As many as there is room for; who is one too many is told so.
    for host in 4..12 {
        put(&mut rig, &segment(peer(host), 2, cookie(host, made).wrapping_add(1), packet::ACK));
    }
    rig.step();
    let counters = *rig.venue.counters();
    assert_eq!((counters.cookies_redeemed, counters.refused, counters.unknown), (8, 1, unknown + 1));
    assert!(rig.venue.half_open() <= 16);
    rig.pass(9_000_000_000);
    put(&mut rig, &segment(peer(20), 2, cookie(20, made).wrapping_add(1), packet::ACK));
    rig.step();
    assert_eq!(rig.venue.counters().cookies_redeemed, 8, "it is too old");
}

/// Connections that others begin and those that we begin have the number that RFC 6528 gives them at that time, and
/// keep it when the segment is sent again.
#[test]
fn initial_sequence_numbers_are_those_of_rfc_6528() {
    let secret = 1 << 100 | 5;
    let (mut near, far) = cable(1 << 12, 2_048);
    let mut venue = Tcp::new(Config::new(addr(VENUE), secret), far);
    let isns = Isns::new(secret);
    let mut begun = HashMap::new();
    for round in 1..200_u16 {
        let now = Nanos(u64::from(round) * 7_777_777);
        let question = syn(SocketAddr::from(([10, 0, 0, 2], round)));
        near.tx.slot().expect("the cable has room")[..question.len()].copy_from_slice(&question);
        near.tx.commit(question.len());
        near.tx.flush();
        let _ours = venue.connect(addr(MEMBER), link(), now).expect("there is room");
        venue.poll(now);
        for index in 0..near.rx.receive() {
            let segment = packet::parse(near.rx.frame(index)).expect("a segment");
            if segment.flags & packet::SYN == 0 {
                continue;
            }
            let number = u32::from_be_bytes(segment.packet[24..28].try_into().expect("four bytes"));
            let wanted = || isns.number(segment.from, segment.to, now);
            assert_eq!(
                number,
                *begun.entry((segment.from, segment.to)).or_insert_with(wanted),
                "{segment:?}"
            );
        }
        assert_eq!(begun.len(), 2 * usize::from(round), "one that was asked for, and one of ours");
    }
}

/// A segment that begins a connection from `from`, with its checksums.
fn syn(from: SocketAddr) -> Vec<u8> {
    segment(from, 1, 0, packet::SYN)
}

/// A segment without data, with its checksums.
fn segment(from: SocketAddr, number: u32, acknowledged: u32, flags: u8) -> Vec<u8> {
    let SocketAddr::V4(from) = from else { panic!("of version 4") };
    let SocketAddr::V4(to) = addr(VENUE) else { panic!("of version 4") };
    let mut ip = vec![0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0];
    ip.extend(from.ip().octets());
    ip.extend(to.ip().octets());
    let sum = checksum(&ip, 0);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut tcp = Vec::new();
    tcp.extend(from.port().to_be_bytes());
    tcp.extend(to.port().to_be_bytes());
    tcp.extend(number.to_be_bytes());
    tcp.extend(acknowledged.to_be_bytes());
    tcp.extend([0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    let pseudo: u32 =
        ip[12..20].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let sum = checksum(&tcp, pseudo + 6 + 20);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    [link().as_bytes(), &ip, &tcp].concat()
}

/// RFC 1071.
fn checksum(bytes: &[u8], start: u32) -> u16 {
    let mut sum = start;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Only those connections are looked at that something happens to: 4,000 cost as little as one.
#[test]
fn thousands_of_idle_connections_are_not_looked_at() {
    const COUNT: usize = 4_000;
    let mut rig = Rig::new(FrameFaults::default(), 9, |config| {
        (config.connections_max, config.half_open_max) = (COUNT, 64);
        (config.receive_size, config.send_size) = (512, 512);
        config.keep_alive = Nanos(1_000_000_000_000);
        config.timeout = Nanos(2_000_000_000_000);
    });
    let mut pairs: Vec<_> = (0..COUNT).map(|_| rig.connect()).collect();
    rig.pass(1_000_000_000);
    assert_eq!((rig.member.poll(rig.now), rig.venue.poll(rig.now)), (0, 0));
    for (number, (member, venue)) in pairs.iter_mut().enumerate().step_by(97) {
        let order = number.to_le_bytes();
        write_all(&mut rig.member, member, &order, rig.now);
        rig.now = Nanos(rig.now.0 + STEP);
        // One frame and one connection.
        assert_eq!(rig.venue.poll(rig.now), 2);
        assert_eq!(read(&mut rig.venue, venue), order);
        rig.pass(2_000_000);
    }
    assert!(rig.venue.connect(addr(MEMBER), link(), rig.now).is_none(), "all are in use");
}

#[test]
fn answers_keep_the_tags_they_were_asked_with() {
    let mut rig = Rig::new(FrameFaults::default(), 10, |_| {});
    let (mut near, mut far) = cable(16, 2_048);
    let question = syn(addr("10.0.0.2:7"));
    let tagged = [&question[..12], &[0x88, 0xa8, 0, 7, 0x81, 0, 0, 9], &question[12..]].concat();
    near.tx.slot().expect("room")[..tagged.len()].copy_from_slice(&tagged);
    near.tx.commit(tagged.len());
    near.tx.flush();
    let mut venue = Tcp::new(Config::new(addr(VENUE), 1), std::mem::replace(&mut far, cable(1, 1).0));
    venue.poll(rig.now);
    rig.step();
    assert_eq!(near.rx.receive(), 1);
    let answer = near.rx.frame(0);
    assert_eq!(answer[..6], question[6..12]);
    assert_eq!(answer[6..12], question[..6]);
    assert_eq!(answer[12..20], tagged[12..20]);
    let segment = packet::parse(answer).expect("a segment");
    assert_eq!((segment.from, segment.to), (addr(VENUE), addr("10.0.0.2:7")));
    assert_eq!(segment.flags, packet::SYN | packet::ACK);
}
