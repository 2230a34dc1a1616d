//! The steering program, checked by the kernel's verifier and tried by the kernel on single frames
//! (BPF_PROG_TEST_RUN). Takes CAP_BPF and CAP_NET_ADMIN; where those are missing the tests say so and fail
//! (`IRONBELL_SKIP='steering_' make test` leaves them out and counts them).

mod draws;

use std::net::{IpAddr, SocketAddr};

use draws::draws;
use ironbell_xdp::bpf::{Program, SocketMap};
use ironbell_xdp::packet;
use ironbell_xdp::program::{Action, Protocol, Steered, program};

const V4: &str = "10.0.0.1:26400";
const V6: &str = "[fd00::1]:26400";

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// No socket is in the map, and what would go to one is dropped: that tells it from what passes.
fn load(steered: &[Steered]) -> (Program, SocketMap) {
    let sockets = SocketMap::new(1).expect("bpf(2) makes a map of sockets; as root it is allowed");
    let code = program(steered, sockets.number(), Action::Drop);
    (Program::load(&code).expect("the verifier lets the program in"), sockets)
}

fn steered() -> Vec<Steered> {
    vec![
        Steered { protocol: Protocol::Tcp, to: addr(V4) },
        Steered { protocol: Protocol::Tcp, to: addr(V6) },
        Steered { protocol: Protocol::Udp, to: addr("10.0.0.1:26411") },
    ]
}

/// A frame of TCP (6) or UDP (17) with 20 bytes of transport header and 8 of payload.
fn frame(to: &str, protocol: u8, tags: &[u16]) -> Vec<u8> {
    let to = addr(to);
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend([0, 7]);
    }
    match to.ip() {
        IpAddr::V4(address) => {
            frame.extend([8, 0, 0x45, 0, 0, 48, 0, 0, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 9]);
            frame.extend(address.octets());
        }
        IpAddr::V6(address) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 28, protocol, 64]);
            frame.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
            frame.extend(address.octets());
        }
    }
    frame.extend([0xc0, 1]);
    frame.extend(to.port().to_be_bytes());
    frame.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0x20, 0, 0, 0, 0, 0]);
    frame.extend([0; 8]);
    frame
}

#[test]
fn steering_takes_our_frames_and_passes_all_others() {
    let (program, _sockets) = load(&steered());
    let ours = |name: &str, frame: &[u8], expected: bool| {
        let action = program.try_on(frame).expect("the kernel tries a program");
        let wanted = if expected { Action::Drop } else { Action::Pass };
        assert_eq!(action, wanted as u32, "{name}");
        // The parser of the TCP above knows every segment that it is sent.
        if expected && name.contains("TCP") {
            assert!(packet::parse(frame).is_some(), "{name}");
        }
    };
    const TCP: u8 = 6;
    const UDP: u8 = 17;
    ours("TCP over IPv4", &frame(V4, TCP, &[]), true);
    ours("TCP over IPv6", &frame(V6, TCP, &[]), true);
    ours("UDP", &frame("10.0.0.1:26411", UDP, &[]), true);
    ours("TCP, one tag", &frame(V4, TCP, &[0x8100]), true);
    ours("TCP, two tags", &frame(V4, TCP, &[0x88a8, 0x8100]), true);
    ours("TCP over IPv6, one tag", &frame(V6, TCP, &[0x8100]), true);
    ours("three tags", &frame(V4, TCP, &[0x88a8, 0x8100, 0x8100]), false);
    ours("UDP to the port of TCP", &frame(V4, UDP, &[]), false);
    ours("another port (SSH)", &frame("10.0.0.1:22", TCP, &[]), false);
    ours("a port that differs in its low byte", &frame("10.0.0.1:26401", TCP, &[]), false);
    ours("another address", &frame("10.0.0.2:26400", TCP, &[]), false);
    ours("another address of IPv6, in its last byte", &frame("[fd00::2]:26400", TCP, &[]), false);
    ours("another address of IPv6, in its first byte", &frame("[fe00::1]:26400", TCP, &[]), false);
    ours("ICMP", &frame(V4, 1, &[]), false);

    let with = |at: usize, byte: u8| {
        let mut frame = frame(V4, TCP, &[]);
        frame[at] = byte;
        frame
    };
    ours("first fragment", &with(14 + 6, 0x20), false);
    ours("later fragment", &with(14 + 7, 1), false);
    ours("don't fragment", &with(14 + 6, 0x40), true);
    ours("a header with options", &with(14, 0x46), false);
    ours("a header of another version", &with(14, 0x65), false);
    let mut arp = frame(V4, TCP, &[]);
    arp[12..14].copy_from_slice(&[8, 6]);
    ours("ARP", &arp, false);
    let mut fragment = frame(V6, TCP, &[]);
    fragment[14 + 6] = 44;
    ours("IPv6 with a fragment header", &fragment, false);
}

#[test]
fn steering_passes_truncated_frames() {
    let (program, _sockets) = load(&steered());
    for (whole, headers) in [
        (frame(V4, 6, &[]), 14 + 20 + 4),
        (frame(V4, 6, &[0x8100]), 18 + 20 + 4),
        (frame(V4, 6, &[0x88a8, 0x8100]), 22 + 20 + 4),
        (frame(V6, 6, &[]), 14 + 40 + 4),
    ] {
        // The kernel tries nothing shorter than an Ethernet header.
        for len in 14..whole.len() {
            let action = program.try_on(&whole[..len]).expect("the kernel tries a program");
            let wanted = if len >= headers { Action::Drop } else { Action::Pass };
            assert_eq!(action, wanted as u32, "{len} of {}", whole.len());
        }
    }
}

#[test]
fn steering_to_many_ports_and_to_all_is_let_in() {
    let many: Vec<Steered> = (0..200)
        .map(|port| Steered { protocol: Protocol::Tcp, to: SocketAddr::from(([10, 0, 0, 1], 26_400 + port)) })
        .collect();
    let (program, _sockets) = load(&many);
    for (to, wanted) in [
        ("10.0.0.1:26400", Action::Drop),
        ("10.0.0.1:26599", Action::Drop),
        ("10.0.0.1:26600", Action::Pass),
        ("10.0.0.1:26399", Action::Pass),
    ] {
        assert_eq!(program.try_on(&frame(to, 6, &[])).expect("tried"), wanted as u32, "{to}");
    }
    let (program, _sockets) = load(&[Steered { protocol: Protocol::Tcp, to: addr("0.0.0.0:0") }]);
    assert_eq!(program.try_on(&frame("10.7.7.7:9", 6, &[])).expect("tried"), Action::Drop as u32);
}

/// Frames turned, cut and grown at random: the parser breaks on none, everything that it makes of them lies
/// within, and whatever it knows as a segment for our port the program takes, which the kernel is asked.
#[test]
fn steering_and_parser_agree_on_random_frames() {
    let seed = std::env::var("IRONBELL_SEED").ok().map_or(1, |seed| seed.parse().expect("a number"));
    println!("seed {seed}");
    let mut drawn = draws(seed);
    let mut draw = move |bound: usize| drawn(bound as u64) as usize;
    let whole = [
        frame(V4, 6, &[]),
        frame(V6, 6, &[]),
        frame(V4, 6, &[0x8100]),
        frame(V6, 6, &[0x88a8, 0x8100]),
        frame("10.0.0.1:26411", 17, &[]),
    ];
    let (program, _sockets) = load(&steered());
    let (mut known, mut unknown) = (0, 0);
    for round in 0..200_000 {
        let mut frame = whole[draw(whole.len())].clone();
        for _ in 0..draw(4) {
            let at = draw(frame.len());
            frame[at] = match draw(3) {
                0 => frame[at] ^ (1 << draw(8)),
                1 => [0, 0xff, 0x45, 0x81, 0x06][draw(5)],
                _ => draw(256) as u8,
            };
        }
        match draw(4) {
            0 => frame.truncate(draw(frame.len() + 1)),
            1 => frame.resize(frame.len() + draw(40), 0),
            _ => {}
        }
        let Some(segment) = packet::parse(&frame) else {
            unknown += 1;
            continue;
        };
        assert!(segment.link.len() + segment.packet.len() <= frame.len(), "round {round}");
        let link = packet::answer_link(segment.link);
        assert_eq!(link.as_bytes()[..6], frame[6..12], "round {round}");
        let is_ours = [addr(V4), addr(V6)].contains(&segment.to);
        // The kernel is slower than the parser.
        if is_ours && known % 20 == 0 {
            let action = program.try_on(&frame).expect("the kernel tries a program");
            assert_eq!(action, Action::Drop as u32, "round {round}: {frame:02x?}");
        }
        known += 1;
    }
    assert!(known > 10_000, "{known}");
    assert!(unknown > 10_000, "{unknown}");
}
