//! What a packet of market data costs the thread that sends it, and how many frames a second that is: one `send` each, as
//! `feed.io = "kernel"` does; many in one `send`, which the kernel takes apart (UDP_SEGMENT) and which therefore have one size;
//! and frames of our own in bursts, as `feed.io = "xdp"` does. Over a pair of virtual devices, which copy. Takes
//! root.
//!
//! `cargo bench -p ironbell-xdp --bench market_data_out [-- FRAMES]`

#[path = "../tests/veth/cable.rs"]
#[expect(dead_code, reason = "what only the tests take")]
mod cable;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::Instant;

use ironbell_xdp::group::{Addresses, Group};
use ironbell_xdp::socket;

use cable::{Cable, VENUE_V4};

const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 192, 26, 1), 26_410);
/// Of each run, where nothing else is asked for.
const FRAMES: usize = 200_000;
/// A packet with a few messages.
const PAYLOAD: [u8; 200] = [7; 200];

fn main() {
    // Cargo adds `--bench` to what is asked for.
    let frames = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(FRAMES);
    let cable = Cable::with_queues(2, 1);
    // Somebody listens, as followers do. Nobody reads: their cost is none of the sender's, and what finds no room there is lost.
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
    report("kernel, one send each", || (0..frames).filter(|_| kernel.send(&PAYLOAD).is_ok()).count());
    segment(&kernel, PAYLOAD.len());
    for burst in [8, 64] {
        let together = PAYLOAD.repeat(burst);
        report(&format!("kernel, {burst} in one send"), || {
            (0..frames / burst).filter(|_| kernel.send(&together).is_ok()).count() * burst
        });
    }

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
            for frame in 0..frames {
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

/// Has the kernel make datagrams of `size` bytes of what is sent.
fn segment(socket: &UdpSocket, size: usize) {
    let size = size as i32;
    // SAFETY: the value lives until the call is over, and its size is told.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const size).cast(),
            size_of_val(&size) as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "UDP_SEGMENT: {}", std::io::Error::last_os_error());
}

/// Runs `send` five times; prints nanoseconds for each frame sent, of the best and the middle run, and the middle one's frames a
/// second.
fn report(name: &str, mut send: impl FnMut() -> usize) {
    let mut costs: Vec<f64> = (0..5)
        .map(|_| {
            let began = Instant::now();
            let sent = send();
            assert!(sent > 0, "{name}: something is sent");
            began.elapsed().as_nanos() as f64 / sent as f64
        })
        .collect();
    costs.sort_by(f64::total_cmp);
    println!(
        "{name:<26} {:>7.0} ns a frame, best {:>5.0}; {:>9.0} frames/s",
        costs[2],
        costs[0],
        1e9 / costs[2]
    );
}
