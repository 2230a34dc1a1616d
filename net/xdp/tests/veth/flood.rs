//! Members come while others begin handshakes without end, from addresses that are not theirs.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ironbell_device::{FrameTx as _, SessionIo as _};
use ironbell_xdp::bypass::Bypass;
use ironbell_xdp::packet::LinkHeader;
use ironbell_xdp::socket::{self, Checksum};
use ironbell_xdp::tcp;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{IpProtocol, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber};

use crate::cable::{Cable, MEMBER_MAC, VENUE_MAC, VENUE_V4};
use crate::{Clock, PATIENCE, accept, socket_config};

const HALF_OPEN_MAX: usize = 8;
const MEMBERS: u8 = 20;

/// A SYN from an address that nobody has.
fn syn(number: u32) -> Vec<u8> {
    let std::net::SocketAddr::V4(venue) = VENUE_V4 else { panic!("of version 4") };
    let [_, a, b, c] = number.to_be_bytes();
    let from = Ipv4Addr::new(11, a, b, c);
    let tcp = TcpRepr {
        src_port: 1_000,
        dst_port: venue.port(),
        control: TcpControl::Syn,
        seq_number: TcpSeqNumber(1),
        ack_number: None,
        window_len: 1_024,
        window_scale: None,
        max_seg_size: Some(1_460),
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let ip = Ipv4Repr {
        src_addr: from,
        dst_addr: *venue.ip(),
        next_header: IpProtocol::Tcp,
        payload_len: tcp.buffer_len(),
        hop_limit: 64,
    };
    let mut packet = vec![0; ip.buffer_len() + tcp.buffer_len()];
    let checksums = ChecksumCapabilities::default();
    ip.emit(&mut Ipv4Packet::new_unchecked(&mut packet), &checksums);
    let segment = &mut packet[ip.buffer_len()..];
    let (from, to) = (from.into(), (*venue.ip()).into());
    tcp.emit(&mut TcpPacket::new_unchecked(segment), &from, &to, &checksums);
    let link = LinkHeader::new(MEMBER_MAC, VENUE_MAC, VENUE_V4.ip());
    [link.as_bytes(), &packet].concat()
}

/// Begins handshakes until it is told to stop; says how many.
fn flood(stop: &AtomicBool) -> u32 {
    let config = socket::Config { frames: 256, ..socket::Config::new(Cable::MEMBER) };
    let (mut tx, _) = socket::open_sender(&config).expect("an AF_XDP socket; as root it is allowed");
    let mut begun = 0;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..32 {
            let frame = syn(begun);
            let Some(slot) = tx.slot() else { break };
            slot[..frame.len()].copy_from_slice(&frame);
            tx.commit(frame.len());
            begun += 1;
        }
        tx.flush();
        // The venue's ring holds some hundred frames; what finds no room there is no business of its TCP's.
        std::thread::sleep(Duration::from_micros(100));
    }
    begun
}

/// The kernel's TCP, whose handshakes are answered with cookies, trades over what comes of them: in both ways, and more than a
/// segment.
#[test]
fn veth_members_connect_and_trade_in_a_flood() {
    for checksum in [Checksum::Software, Checksum::Kernel] {
        let cable = Cable::new();
        let clock = Clock::start();
        let mut config = tcp::Config::new(VENUE_V4, 7);
        (config.connections_max, config.half_open_max) = (64, HALF_OPEN_MAX);
        let sockets = socket::Config { checksum, ..socket_config() };
        let mut io = Bypass::listen(&sockets, config).expect("an AF_XDP socket; as root it is allowed");
        // Who is in before it begins.
        let first = cable.member(|| TcpStream::connect_timeout(&VENUE_V4, PATIENCE).expect("it listens"));
        let mut before = accept(&mut io, &clock);
        let mut first = first.join();
        let stop = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&stop);
        let others = cable.member(move || std::thread::spawn(move || flood(&is_over))).join();
        while io.tcp().counters().cookies_sent == 0 {
            clock.check("a flood");
            io.poll(clock.now());
        }
        let member = cable.member(|| {
            for number in 0..MEMBERS {
                let mut stream = TcpStream::connect_timeout(&VENUE_V4, PATIENCE).expect("it listens");
                stream.set_read_timeout(Some(PATIENCE)).expect("an option");
                let sent = vec![number; 5_000];
                stream.write_all(&sent).expect("the venue reads");
                let mut got = vec![0; sent.len()];
                stream.read_exact(&mut got).expect("the venue answers");
                assert_eq!(got, sent);
            }
        });
        for number in 0..MEMBERS {
            let mut connection = accept(&mut io, &clock);
            let (mut read, mut buffer) = (0, [0; 2_048]);
            while read < 5_000 {
                clock.check("an echo");
                io.poll(clock.now());
                assert!(io.tcp().half_open() <= HALF_OPEN_MAX);
                let len = io.read(&mut connection, &mut buffer).expect("it stands");
                assert_eq!(io.write(&mut connection, &buffer[..len]), Ok(len));
                io.flush(clock.now());
                read += len;
            }
            io.close(connection);
            // Who was in before trades on.
            first.write_all(&[number]).expect("it stands");
            let mut got = [0];
            while io.read(&mut before, &mut got) == Ok(0) {
                clock.check("an order");
                io.poll(clock.now());
            }
            assert_eq!(got, [number]);
        }
        stop.store(true, Ordering::Relaxed);
        let begun = others.join().expect("the flood ends");
        member.join();
        let counters = io.tcp().counters();
        println!("{begun} begun: {counters:?}");
        assert!(counters.cookies_redeemed > 0 && counters.refused == 0, "{counters:?}");
        assert_eq!(counters.connected, u64::from(MEMBERS) + 1);
    }
}
