//! What a packet of market data costs the thread that sends it: one `send` each, as `feed.io = "kernel"` does, and frames of
//! our own in bursts, as `feed.io = "xdp"` does, over a pair of virtual devices. Takes root.
//!
//! `cargo bench -p ironbell-xdp --bench market_data_out`

#[path = "../tests/veth/cable.rs"]
#[expect(dead_code, reason = "what only the tests take")]
mod cable;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::time::Instant;

use ironbell_xdp::group::{Addresses, Group};
use ironbell_xdp::socket;

use cable::{Cable, VENUE_V4};

const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 192, 26, 1), 26_410);
const FRAMES: usize = 200_000;
/// A packet with a few messages.
const PAYLOAD: [u8; 200] = [7; 200];

fn main() {
    let cable = Cable::with_queues(2, 1);
    // Somebody listens, as followers do, and reads what it can.
    let follower = cable.member(|| {
        let socket = UdpSocket::bind(GROUP).expect("our port");
        let SocketAddr::V4(own) = cable::MEMBER_V4 else { panic!("of version 4") };
        socket.join_multicast_v4(GROUP.ip(), own.ip()).expect("a group");
        socket
    });
    let _follower = follower.join();
    let SocketAddr::V4(venue) = VENUE_V4 else { panic!("of version 4") };

    let kernel = UdpSocket::bind(SocketAddr::from((*venue.ip(), 0))).expect("our address");
    kernel.connect(GROUP).expect("a group");
    report("kernel, one send each", || (0..FRAMES).filter(|_| kernel.send(&PAYLOAD).is_ok()).count());

    let sockets = socket::Config { queue: 1, ..socket::Config::new(Cable::VENUE) };
    let (tx, capabilities) = socket::open_sender(&sockets).expect("an AF_XDP socket; as root it is allowed");
    let addresses = Addresses {
        group: GROUP,
        from: SocketAddrV4::new(*venue.ip(), GROUP.port()),
        from_hardware: socket::hardware_address(Cable::VENUE).expect("it is there"),
        ttl: 1,
        tag: None,
    };
    let mut group = Group::new(tx, &capabilities, &addresses);
    for burst in [1, 8, 64] {
        report(&format!("xdp, copying, {burst} a call"), || {
            let mut sent = 0;
            for frame in 0..FRAMES {
                sent += usize::from(group.send(&PAYLOAD).is_ok());
                if frame % burst == burst - 1 {
                    group.flush();
                }
            }
            group.flush();
            sent
        });
    }
}

/// Runs `send` five times; prints nanoseconds for each frame sent, of the best and the middle run.
fn report(name: &str, mut send: impl FnMut() -> usize) {
    let mut costs: Vec<f64> = (0..5)
        .map(|_| {
            let began = Instant::now();
            let sent = send();
            began.elapsed().as_nanos() as f64 / sent as f64
        })
        .collect();
    costs.sort_by(f64::total_cmp);
    println!("{name:<26} {:>7.0} ns a frame, best {:.0}", costs[2], costs[0]);
}
