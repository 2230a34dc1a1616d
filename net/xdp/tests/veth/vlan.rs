//! In a virtual network (IEEE 802.1Q): members are answered there, and market data goes out there.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use ironbell_device::{FrameRx as _, FrameTx as _};
use ironbell_xdp::bypass::{Bypass, Steering};
use ironbell_xdp::group::{Addresses, Group};
use ironbell_xdp::packet::Tag;
use ironbell_xdp::program::{Protocol, Steered};
use ironbell_xdp::socket::{self, Checksum, XdpDevice};
use ironbell_xdp::tcp;

use crate::cable::{self, Cable, VENUE_MAC};
use crate::{Clock, PATIENCE, byte, echo, send_and_compare, socket_config};

const TAG: Tag = Tag { id: 26, priority: 5 };

/// The first 16 bits of a tag are its kind, 0x8100; then priority, and number.
const TAG_BYTES: [u8; 4] = [0x81, 0x00, 0xa0, 26];

/// Members' switch: what their kernel sends without a tag it sends on to the venue with one, and the other way round. What
/// comes from the venue without this tag it stops at. By frames, so that this takes no kernel with virtual networks of its
/// own; it takes none of the venue's code but the socket.
struct Switch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Switch {
    const MEMBERS: &str = "inner0";
    const ITS_OWN: &str = "inner1";

    fn between(cable: &Cable) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&stop);
        let thread = cable.member(move || {
            let (members, its_own) = (Self::MEMBERS, Self::ITS_OWN);
            cable::ip(&format!("link add {members} type veth peer name {its_own}"));
            cable::ip(&format!("addr add 10.78.0.2/24 dev {members}"));
            cable::ip(&format!("-6 addr add fd78::2/64 dev {members} nodad"));
            cable::write_checksums(members);
            for device in [members, its_own] {
                cable::ip(&format!("link set {device} up"));
            }
            // Nobody answers ARP and ND behind it.
            for venue in ["10.78.0.1", "fd78::1"] {
                cable::ip(&format!("neigh add {venue} lladdr 02:00:00:00:00:01 dev {members} nud permanent"));
            }
            let (mut inside, mut outside) = (Port::open(its_own), Port::open(Cable::MEMBER));
            std::thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    inside.forward(&mut outside, |frame| [&frame[..12], &TAG_BYTES, &frame[12..]].concat());
                    outside.forward(&mut inside, |frame| {
                        assert_eq!(
                            frame[12..16],
                            TAG_BYTES,
                            "what the venue sends is in the virtual network"
                        );
                        [&frame[..12], &frame[16..]].concat()
                    });
                    std::thread::yield_now();
                }
            })
        });
        Self { stop, thread: Some(thread.join()) }
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().expect("once").join();
        assert!(ended.is_ok() || std::thread::panicking(), "the switch stopped");
    }
}

/// One of the switch's ends.
struct Port {
    device: XdpDevice,
    _steering: Steering,
}

impl Port {
    fn open(name: &str) -> Self {
        let config = socket::Config { frames: 256, ..socket::Config::new(name) };
        let device = socket::open(&config).expect("an AF_XDP socket; as root it is allowed");
        let all =
            [SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))];
        let steered: Vec<Steered> = [Protocol::Tcp, Protocol::Udp]
            .into_iter()
            .flat_map(|protocol| all.map(|to| Steered { protocol, to }))
            .collect();
        let steering = Steering::attach(&config, &device.rx, &steered).expect("bpf(2) is allowed");
        Self { device, _steering: steering }
    }

    fn forward(&mut self, other: &mut Self, change: impl Fn(&[u8]) -> Vec<u8>) {
        let count = self.device.rx.receive();
        for index in 0..count {
            let frame = change(self.device.rx.frame(index));
            let tx = &mut other.device.tx;
            // What has no room is lost, and TCP sends it again.
            let Some(slot) = tx.slot() else { continue };
            slot[..frame.len()].copy_from_slice(&frame);
            tx.commit(frame.len());
        }
        if count > 0 {
            other.device.tx.flush();
        }
    }
}

#[test]
fn veth_members_are_answered_in_their_virtual_network() {
    let cable = Cable::new();
    let _switch = Switch::between(&cable);
    for listen in ["10.78.0.1:26400", "[fd78::1]:26400"] {
        for checksum in [Checksum::Software, Checksum::Kernel] {
            let listen: SocketAddr = listen.parse().expect("an address");
            let clock = Clock::start();
            let mut config = tcp::Config::new(listen, 7);
            config.connections_max = 4;
            let sockets = socket::Config { checksum, ..socket_config() };
            let mut io = Bypass::listen(&sockets, config).expect("an AF_XDP socket; as root it is allowed");
            let member = cable.member(move || {
                let stream = TcpStream::connect_timeout(&listen, PATIENCE).expect("the venue listens");
                send_and_compare(stream, 1 << 17);
            });
            assert_eq!(echo(&mut io, &clock), 1 << 17, "{listen}, {checksum:?}");
            member.join();
        }
    }
}

#[test]
fn veth_market_data_is_heard_in_its_virtual_network() {
    const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 192, 26, 1), 26_410);
    let cable = Cable::new();
    let _switch = Switch::between(&cable);
    for checksum in [Checksum::Software, Checksum::Kernel] {
        let sockets = socket::Config { checksum, ..socket_config() };
        let (tx, capabilities) = socket::open_sender(&sockets).expect("an AF_XDP socket");
        let group_in = |tag| Addresses {
            group: GROUP,
            from: SocketAddrV4::new(Ipv4Addr::new(10, 78, 0, 1), GROUP.port()),
            from_hardware: VENUE_MAC,
            ttl: 1,
            tag,
        };
        let mut group = Group::new(tx, &capabilities, &group_in(Some(TAG)));
        assert_eq!(group.payload_size_max(), 1_472, "a tag takes nothing from a packet");
        let follower = cable.member(|| {
            let socket = UdpSocket::bind(GROUP).expect("our port");
            socket.join_multicast_v4(GROUP.ip(), &Ipv4Addr::new(10, 78, 0, 2)).expect("a group");
            socket.set_read_timeout(Some(PATIENCE)).expect("an option");
            socket
        });
        let follower = follower.join();
        let mut buffer = [0; 2_048];
        for len in [1, 200, 1_472] {
            let payload: Vec<u8> = (0..len).map(byte).collect();
            group.send(&payload).expect("the ring has room");
            group.flush();
            let (len, from) = follower.recv_from(&mut buffer).expect("the venue sends");
            assert!(buffer[..len] == payload, "{} bytes", payload.len());
            assert_eq!(from, SocketAddr::from(group_in(None).from));
        }
        assert_eq!(group.tx().failures(), 0);
    }
}
