//! Who fills in checksums: the kernel where it is asked to as a card would be, and what it made of it, as the other end's
//! frames show.

use std::net::{SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use ironbell_xdp::Error;
use ironbell_xdp::bypass::Bypass;
use ironbell_xdp::group::{Addresses, Group};
use ironbell_xdp::packet;
use ironbell_xdp::socket::{self, Checksum, Copy};
use ironbell_xdp::tcp;
use smoltcp::wire::{IpAddress, Ipv4Packet, TcpPacket, UdpPacket};

use crate::cable::{Cable, MEMBER_V4, VENUE_MAC, VENUE_V4, VENUE_V6};
use crate::{Clock, PATIENCE, byte, echo, send_and_compare, socket_config};

/// Everything that a device receives, as it comes out of the cable: packet(7).
struct Sniffer(OwnedFd);

impl Sniffer {
    fn new(device: &str) -> Self {
        const ALL: u16 = (libc::ETH_P_ALL as u16).to_be();
        let index = socket::interface_index(device).expect("it is there");
        // SAFETY: this call takes no address.
        let fd =
            unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK, i32::from(ALL)) };
        assert!(fd >= 0, "a packet socket: {}", std::io::Error::last_os_error());
        // SAFETY: the kernel just gave us this descriptor, and nobody else has it.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: all zeros are a valid address.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        (address.sll_family, address.sll_protocol) = (libc::AF_PACKET as u16, ALL);
        address.sll_ifindex = index as i32;
        let len = size_of_val(&address) as u32;
        // SAFETY: the address lives until the call is over, and its size is told.
        let result = unsafe { libc::bind(fd, (&raw const address).cast(), len) };
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        Self(socket)
    }

    /// Frames of the venue's; what did not fit into the socket's buffer is missing.
    fn venues(&self) -> Vec<Vec<u8>> {
        let (mut frames, mut buffer) = (Vec::new(), [0; 4_096]);
        loop {
            // SAFETY: at most the buffer's length is written, to bytes that live until the call is over.
            let len = unsafe { libc::recv(self.0.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
            let Ok(len) = usize::try_from(len) else { return frames };
            if buffer[6..12] == VENUE_MAC {
                frames.push(buffer[..len].to_vec());
            }
        }
    }
}

fn asked(checksum: Checksum) -> socket::Config {
    socket::Config { checksum, ..socket_config() }
}

/// An echo over our TCP; the segments of ours that were seen.
fn segments(listen: SocketAddr, checksum: Checksum) -> (String, Vec<Vec<u8>>) {
    let cable = Cable::new();
    let clock = Clock::start();
    let sniffer = cable.member(|| Sniffer::new(Cable::MEMBER)).join();
    let mut config = tcp::Config::new(listen, 7);
    config.connections_max = 4;
    let mut io = Bypass::listen(&asked(checksum), config).expect("an AF_XDP socket; as root it is allowed");
    let member = cable.member(move || {
        let stream = TcpStream::connect_timeout(&listen, PATIENCE).expect("the venue listens");
        send_and_compare(stream, 1 << 16);
    });
    assert_eq!(echo(&mut io, &clock), 1 << 16);
    member.join();
    let mut seen = sniffer.venues();
    seen.retain(|frame| packet::parse(frame).is_some());
    (io.describe(), seen)
}

#[test]
fn veth_checksums_of_tcp_are_right_whoever_fills_them_in() {
    for listen in [VENUE_V4, VENUE_V6] {
        for (checksum, told) in [(Checksum::Software, "in software"), (Checksum::Kernel, "offloaded")] {
            let (said, seen) = segments(listen, checksum);
            assert!(said.contains(&format!("checksums {told}")), "{said}");
            assert!(seen.len() > 20, "{} segments", seen.len());
            for frame in seen {
                let segment = packet::parse(&frame).expect("one of those");
                let header_len = if listen.is_ipv4() { 20 } else { 40 };
                let tcp = TcpPacket::new_checked(&segment.packet[header_len..]).expect("a segment");
                let (from, to) = (segment.from.ip(), segment.to.ip());
                assert!(
                    tcp.verify_checksum(&IpAddress::from(from), &IpAddress::from(to)),
                    "{checksum:?}: {frame:x?}"
                );
            }
        }
    }
}

#[test]
fn veth_checksums_of_market_data_are_right_whoever_fills_them_in() {
    const GROUP: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::new(239, 192, 26, 1), 26_410);
    const COUNT: u16 = 100;
    for checksum in [Checksum::Software, Checksum::Kernel] {
        let cable = Cable::new();
        let (tx, capabilities) = socket::open_sender(&asked(checksum)).expect("an AF_XDP socket");
        assert_eq!(capabilities.fills_checksums, checksum == Checksum::Kernel);
        let SocketAddr::V4(venue) = VENUE_V4 else { panic!("of version 4") };
        let from = SocketAddrV4::new(*venue.ip(), GROUP.port());
        let addresses = Addresses { group: GROUP, from, from_hardware: VENUE_MAC, ttl: 1, tag: None };
        let mut group = Group::new(tx, &capabilities, &addresses);
        let payload = |number: u16| -> Vec<u8> {
            (0..u64::from(number) * 13 + 1).map(|at| byte(u64::from(number) + at)).collect()
        };
        let (sniffer, follower) = cable
            .member(|| {
                let SocketAddr::V4(own) = MEMBER_V4 else { panic!("of version 4") };
                let socket = UdpSocket::bind(GROUP).expect("our port");
                socket.join_multicast_v4(GROUP.ip(), own.ip()).expect("a group");
                socket.set_read_timeout(Some(PATIENCE)).expect("an option");
                (Sniffer::new(Cable::MEMBER), socket)
            })
            .join();
        let mut buffer = [0; 2_048];
        for number in 0..COUNT {
            group.send(&payload(number)).expect("the ring has room");
            group.flush();
            let len = follower.recv(&mut buffer).expect("the venue sends, and its checksum is right");
            assert!(buffer[..len] == payload(number), "{checksum:?}: datagram {number}");
        }
        let seen = sniffer.venues();
        let datagrams = seen.iter().filter(|frame| frame[12..14] == [0x08, 0x00] && frame[23] == 17);
        let mut count = 0;
        for frame in datagrams {
            let ip = Ipv4Packet::new_checked(&frame[14..]).expect("a packet");
            let udp = UdpPacket::new_checked(ip.payload()).expect("a datagram");
            assert_ne!(udp.checksum(), 0, "there is one");
            assert!(
                udp.verify_checksum(&ip.src_addr().into(), &ip.dst_addr().into()),
                "{checksum:?}: {frame:x?}"
            );
            count += 1;
        }
        assert_eq!(count, COUNT);
    }
}

/// A virtual device copies, and its driver offers nothing: whoever insists is told so, whoever does not has it done.
#[test]
fn veth_offload_is_refused_where_there_is_none() {
    let _cable = Cable::new();
    for copy in [Copy::IfNeeded, Copy::Always] {
        let config = socket::Config { copy, ..asked(Checksum::Offload) };
        let error = socket::open(&config).expect_err("nothing offers it");
        assert!(matches!(error, Error::NoOffload { .. }), "{error}");
        let said = error.to_string();
        assert!(said.contains("venue0 fills in no checksums") && said.contains("tx-checksum"), "{said}");
    }
    let device = socket::open(&asked(Checksum::Auto)).expect("an AF_XDP socket; as root it is allowed");
    assert!(!device.capabilities.fills_checksums);
}
