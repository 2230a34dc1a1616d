//! Our TCP over AF_XDP on one end of a pair of virtual Ethernet devices, against the kernel's TCP on the other
//! end, each in a network namespace of its own. Takes root; where it is missing the tests say so and fail
//! (`IRONBELL_SKIP='veth_' make test` leaves them out and counts them).

mod cable;
mod checksums;
mod conformance;
mod flood;
mod tap;
mod vlan;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use ironbell_device::fault::{FrameFaults, faulty};
use ironbell_device::{Closed, FrameDevice, FrameRx, Nanos, SessionIo};
use ironbell_xdp::bypass::{Bypass, Steering};
use ironbell_xdp::group::{Addresses, Group};
use ironbell_xdp::neighbour;
use ironbell_xdp::packet::LinkHeader;
use ironbell_xdp::program::{Protocol, Steered};
use ironbell_xdp::socket::{self, Copy, XdpRx, XdpTx};
use ironbell_xdp::tcp::{self, Tcp};

use crate::cable::{Cable, MEMBER_MAC, MEMBER_V4, MEMBER_V6, VENUE_MAC, VENUE_V4, VENUE_V6};

/// Generous: nothing here is measured.
const PATIENCE: Duration = Duration::from_secs(30);

struct Clock(Instant);

impl Clock {
    fn start() -> Self {
        Self(Instant::now())
    }

    fn now(&self) -> Nanos {
        Nanos(self.0.elapsed().as_nanos() as u64)
    }

    fn check(&self, what: &str) {
        assert!(self.0.elapsed() < PATIENCE, "{what} does not come to its end");
    }
}

fn socket_config() -> socket::Config {
    socket::Config { copy: Copy::IfNeeded, frames: 256, ..socket::Config::new(Cable::VENUE) }
}

fn bypass(listen: SocketAddr, change: impl Fn(&mut tcp::Config)) -> Bypass {
    let mut config = tcp::Config::new(listen, 7);
    config.connections_max = 64;
    change(&mut config);
    Bypass::listen(&socket_config(), config).expect("an AF_XDP socket and bpf(2); as root both are allowed")
}

/// A socket that is sent what comes for `to` by TCP, and the configuration of a small TCP on `listen` over it.
fn opened(listen: SocketAddr, to: SocketAddr) -> (FrameDevice<XdpRx, XdpTx>, Steering, tcp::Config) {
    let device = socket::open(&socket_config()).expect("an AF_XDP socket; as root it is allowed");
    let steered = [Steered { protocol: Protocol::Tcp, to }];
    let steering = Steering::attach(&socket_config(), &device.rx, &steered).expect("bpf(2) is allowed");
    let mut config = tcp::Config::new(listen, 7);
    config.connections_max = 4;
    (device, steering, config)
}

/// Every port of an address.
fn all_of(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), 0)
}

fn byte(at: u64) -> u8 {
    (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8
}

/// Polls until somebody connects.
fn accept<I: SessionIo>(io: &mut I, clock: &Clock) -> I::Connection {
    loop {
        clock.check("a handshake");
        io.poll(clock.now());
        if let Some(connection) = io.accept().expect("a stack accepts") {
            return connection;
        }
    }
}

/// Sends back what comes until the peer closes; says how much that was.
fn echo<I: SessionIo>(io: &mut I, clock: &Clock) -> u64 {
    let mut connection = accept(io, clock);
    let (mut buffer, mut waiting, mut count) = (vec![0; 4_096], Vec::new(), 0);
    loop {
        clock.check("an echo");
        io.poll(clock.now());
        if waiting.is_empty() {
            match io.read(&mut connection, &mut buffer) {
                Ok(len) => waiting.extend_from_slice(&buffer[..len]),
                Err(Closed::ByPeer) => break,
                Err(error) => panic!("{error}"),
            }
        }
        let len = io.write(&mut connection, &waiting).expect("the peer reads");
        waiting.drain(..len);
        count += len as u64;
        io.flush(clock.now());
    }
    io.close(connection);
    // Until the end of it is acknowledged.
    let closed = clock.now();
    while clock.now().0 - closed.0 < 100_000_000 {
        io.poll(clock.now());
    }
    count
}

/// The kernel's end of an echo of `count` bytes, in pieces of all sizes.
fn send_and_compare(mut stream: TcpStream, count: u64) {
    stream.set_nodelay(true).expect("an option");
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    let mut reader = stream.try_clone().expect("a descriptor");
    let sender = std::thread::spawn(move || {
        let (mut at, mut len) = (0, 1);
        while at < count {
            let end = count.min(at + len);
            let piece: Vec<u8> = (at..end).map(byte).collect();
            stream.write_all(&piece).expect("the venue reads");
            at = end;
            len = len * 3 % 4_999 + 1;
        }
        stream.shutdown(Shutdown::Write).expect("a connection");
    });
    let (mut buffer, mut at) = ([0; 3_000], 0);
    loop {
        let len = reader.read(&mut buffer).expect("the venue answers");
        if len == 0 {
            break;
        }
        for got in &buffer[..len] {
            assert_eq!(*got, byte(at), "at {at}");
            at += 1;
        }
    }
    assert_eq!(at, count);
    sender.join().expect("the sender ends");
}

#[test]
fn veth_the_kernel_connects_over_ipv4_and_ipv6() {
    let cable = Cable::new();
    for listen in [VENUE_V4, VENUE_V6] {
        let clock = Clock::start();
        let mut io = bypass(listen, |_| {});
        let member = cable.member(move || {
            send_and_compare(
                TcpStream::connect_timeout(&listen, PATIENCE).expect("the venue listens"),
                1 << 20,
            );
        });
        assert_eq!(echo(&mut io, &clock), 1 << 20);
        assert_eq!(io.tcp().connections(), 0);
        member.join();
    }
}

/// What comes in, with losses.
struct LossyRx<R> {
    inner: R,
    kept: Vec<usize>,
    draws: u64,
    lost: u64,
}

impl<R: FrameRx> FrameRx for LossyRx<R> {
    fn receive(&mut self) -> usize {
        self.kept.clear();
        for index in 0..self.inner.receive() {
            self.draws =
                self.draws.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if self.draws >> 32 & 0xff < 8 {
                self.lost += 1;
            } else {
                self.kept.push(index);
            }
        }
        self.kept.len()
    }

    fn frame(&self, index: usize) -> &[u8] {
        self.inner.frame(self.kept[index])
    }
}

#[test]
fn veth_segments_are_lost_both_ways_and_ours_overtake_and_double() {
    let cable = Cable::new();
    let clock = Clock::start();
    let (device, _steering, config) = opened(VENUE_V4, VENUE_V4);
    let faults = FrameFaults { loss: 2_000, duplicate: 2_000, corrupt: 500, delay: 4_000 };
    let FrameDevice { rx, tx, capabilities } = faulty(device, faults, 11);
    let rx = LossyRx { inner: rx, kept: Vec::new(), draws: 11, lost: 0 };
    let mut io = Tcp::new(config, FrameDevice { rx, tx, capabilities });
    let member = cable.member(|| {
        send_and_compare(
            TcpStream::connect_timeout(&VENUE_V4, PATIENCE).expect("the venue listens"),
            1 << 18,
        );
    });
    assert_eq!(echo(&mut io, &clock), 1 << 18);
    member.join();
    assert!(io.device().tx.lost() > 0, "of ours");
    assert!(io.device().rx.lost > 0, "of the kernel's");
}

#[test]
fn veth_we_connect_to_the_kernel() {
    let cable = Cable::new();
    for (from, to) in [(VENUE_V4, MEMBER_V4), (VENUE_V6, MEMBER_V6)] {
        let clock = Clock::start();
        let (device, _steering, mut config) = opened(from, all_of(from));
        // The kernel may have to ask who we are before it answers.
        config.handshake_max = Nanos(PATIENCE.as_nanos() as u64);
        let mut io = Tcp::new(config, device);
        let (listening, is_listening) = std::sync::mpsc::channel();
        let member = cable.member(move || {
            let listener = TcpListener::bind(to).expect("our address");
            listening.send(()).expect("somebody waits");
            let (mut stream, _) = listener.accept().expect("the venue connects");
            let mut all = Vec::new();
            stream.read_to_end(&mut all).expect("the venue writes");
            stream.write_all(&all).expect("the venue reads");
            all.len()
        });
        is_listening.recv().expect("it listens");
        let link = LinkHeader::new(VENUE_MAC, MEMBER_MAC, to.ip());
        let mut connection = io.connect(to, link, clock.now()).expect("there is room");
        let (mut written, count) = (0_u64, 300_000);
        while written < count {
            clock.check("writing");
            io.poll(clock.now());
            let piece: Vec<u8> = (written..count.min(written + 5_000)).map(byte).collect();
            written += io.write(&mut connection, &piece).expect("the connection stands") as u64;
            io.flush(clock.now());
        }
        io.shut_down(&mut connection);
        let (mut buffer, mut at) = ([0; 4_096], 0);
        loop {
            clock.check("reading");
            io.poll(clock.now());
            match io.read(&mut connection, &mut buffer) {
                Ok(len) => {
                    for got in &buffer[..len] {
                        assert_eq!(*got, byte(at), "at {at}");
                        at += 1;
                    }
                }
                Err(closed) => {
                    assert_eq!(closed, Closed::ByPeer);
                    break;
                }
            }
        }
        assert_eq!(at, count);
        io.close(connection);
        assert_eq!(member.join(), count as usize);
    }
}

#[test]
fn veth_what_is_not_ours_stays_the_kernels() {
    let cable = Cable::new();
    let _io = bypass(VENUE_V4, |_| {});
    // Nobody polls ours: ARP, the handshake and the bytes of another port are the kernel's alone.
    let other = SocketAddr::new(VENUE_V4.ip(), 2_222);
    let listener = TcpListener::bind(other).expect("our address");
    let member = cable.member(move || {
        let mut stream = TcpStream::connect_timeout(&other, PATIENCE).expect("the kernel listens");
        stream.write_all(b"ssh").expect("the kernel reads");
    });
    let (mut stream, _) = listener.accept().expect("the member connects");
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("the member writes");
    assert_eq!(all, b"ssh");
    member.join();
}

#[test]
fn veth_the_program_goes_with_us() {
    let cable = Cable::new();
    let io = bypass(VENUE_V4, |_| {});
    drop(io);
    // The queue is free again and nothing is attached: it works a second time, and without.
    drop(bypass(VENUE_V4, |_| {}));
    let listener = TcpListener::bind(VENUE_V4).expect("the port is the kernel's again");
    let member = cable.member(|| {
        TcpStream::connect_timeout(&VENUE_V4, PATIENCE).expect("the kernel listens");
    });
    listener.accept().expect("the member connects");
    member.join();
}

#[test]
fn veth_a_reset_ends_a_connection_and_an_unknown_one_gets_one() {
    let cable = Cable::new();
    let clock = Clock::start();
    let mut io = bypass(VENUE_V4, |_| {});
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let member = cable.member(move || {
        let stream = TcpStream::connect_timeout(&VENUE_V4, PATIENCE).expect("the venue listens");
        wait.recv().expect("the venue has accepted");
        // SO_LINGER of zero seconds: closing resets.
        cable::reset_on_close(&stream);
        drop(stream);
        let mut forgotten = TcpStream::connect_timeout(&VENUE_V4, PATIENCE).expect("the venue listens");
        wait.recv().expect("the venue has forgotten");
        let _ = forgotten.write_all(b"anybody there?");
        forgotten.set_read_timeout(Some(PATIENCE)).expect("an option");
        let error = forgotten.read(&mut [0; 8]).expect_err("there is no such connection");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
    let mut connection = accept(&mut io, &clock);
    go_on.send(()).expect("the member waits");
    loop {
        clock.check("a reset");
        io.poll(clock.now());
        if io.read(&mut connection, &mut [0; 8]).is_err() {
            break;
        }
    }
    io.close(connection);
    let forgotten = accept(&mut io, &clock);
    // As after a crash: a new stack knows nothing of the old one's connections, and said no farewell.
    drop((io, forgotten));
    let mut io = bypass(VENUE_V4, |_| {});
    go_on.send(()).expect("the member waits");
    while io.tcp().counters().unknown == 0 {
        clock.check("an unknown segment");
        io.poll(clock.now());
    }
    member.join();
}

/// The kernel's window closes because nobody reads; ours fills, waits, and goes on.
#[test]
fn veth_a_closed_window_of_the_kernel_is_waited_for() {
    let cable = Cable::new();
    let clock = Clock::start();
    let mut io = bypass(VENUE_V4, |_| {});
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    let member = cable.member(move || {
        let mut stream = TcpStream::connect_timeout(&VENUE_V4, PATIENCE).expect("the venue listens");
        wait.recv().expect("the venue has filled everything");
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("the venue writes");
        for (at, got) in (0..).zip(&all) {
            assert_eq!(*got, byte(at), "at {at}");
        }
        all.len() as u64
    });
    let mut connection = accept(&mut io, &clock);
    let (mut written, mut full_since) = (0, clock.now());
    // Full is what takes nothing for long.
    while clock.now().0 - full_since.0 < 500_000_000 {
        clock.check("filling");
        io.poll(clock.now());
        let piece: Vec<u8> = (written..written + 4_096).map(byte).collect();
        let len = io.write(&mut connection, &piece).expect("the connection stands") as u64;
        io.flush(clock.now());
        if len > 0 {
            (written, full_since) = (written + len, clock.now());
        }
    }
    go_on.send(()).expect("the member waits");
    io.close(connection);
    while io.tcp().connections() > 0 {
        clock.check("closing");
        io.poll(clock.now());
    }
    assert_eq!(member.join(), written);
}

/// Connections are spread over two queues, and find one stack.
#[test]
fn veth_members_come_in_by_several_queues() {
    const MEMBERS: usize = 32;
    let cable = Cable::with_queues(2, 2);
    let clock = Clock::start();
    let sockets = socket::Config { queues: 2, ..socket_config() };
    let mut config = tcp::Config::new(VENUE_V4, 7);
    config.connections_max = 2 * MEMBERS;
    let mut io =
        Bypass::listen(&sockets, config).expect("an AF_XDP socket and bpf(2); as root both are allowed");
    let member = cable.member(|| {
        let connect = || TcpStream::connect_timeout(&VENUE_V4, PATIENCE).expect("the venue listens");
        let mut streams: Vec<TcpStream> = (0..MEMBERS).map(|_| connect()).collect();
        for round in 0..20_u8 {
            for (nth, stream) in streams.iter_mut().enumerate() {
                let sent = [round, nth as u8];
                stream.write_all(&sent).expect("the venue reads");
                let mut got = [0; 2];
                stream.read_exact(&mut got).expect("the venue answers");
                assert_eq!(got, sent);
            }
        }
    });
    let mut connections: Vec<Option<_>> = Vec::new();
    let mut ended = 0;
    while ended < MEMBERS {
        clock.check("an echo");
        io.poll(clock.now());
        connections.extend(io.accept().expect("a stack accepts").map(Some));
        for held in &mut connections {
            let Some(connection) = held else { continue };
            let mut buffer = [0; 64];
            match io.read(connection, &mut buffer) {
                Ok(len) => assert_eq!(io.write(connection, &buffer[..len]), Ok(len)),
                Err(_) => {
                    io.close(held.take().expect("it is held"));
                    ended += 1;
                }
            }
        }
        io.flush(clock.now());
    }
    member.join();
    let frames = io.tcp().device().rx.frames();
    // That every one of them takes the same queue happens once in two thousand million times.
    assert!(frames.iter().all(|count| *count > 0), "{frames:?}");
}

/// Who is in the same network, and who is behind a gateway there, over both versions; and who is not there.
#[test]
fn veth_the_kernel_knows_where_frames_go() {
    let cable = Cable::new();
    cable::ip("route add 192.0.2.0/24 via 10.77.0.2");
    cable::ip("-6 route add 2001:db8::/64 via fd77::2");
    for to in
        [MEMBER_V4.ip(), MEMBER_V6.ip(), [192, 0, 2, 7].into(), "2001:db8::7".parse().expect("an address")]
    {
        let link = neighbour::link_to(Cable::VENUE, to, PATIENCE).expect("the member answers");
        assert_eq!(link, LinkHeader::new(VENUE_MAC, MEMBER_MAC, to), "{to}");
    }
    // What an operator pins holds.
    cable::ip("neigh replace 10.77.0.9 lladdr 02:00:00:00:00:09 dev venue0 nud permanent");
    let pinned = neighbour::link_to(Cable::VENUE, [10, 77, 0, 9].into(), PATIENCE).expect("it is known");
    assert_eq!(pinned, LinkHeader::new(VENUE_MAC, [2, 0, 0, 0, 0, 9], [10, 77, 0, 9].into()));
    let refused = |interface, to: [u8; 4]| {
        let error =
            neighbour::link_to(interface, to.into(), Duration::from_millis(50)).expect_err("nobody is there");
        error.to_string()
    };
    let said = refused(Cable::VENUE, [10, 77, 0, 200]);
    assert!(said.contains("10.77.0.200 does not answer"), "{said}");
    let said = refused(Cable::VENUE, [198, 51, 100, 1]);
    assert!(said.contains("cannot send frames to 198.51.100.1 by venue0"), "{said}");
    let said = refused("lo", [10, 77, 0, 2]);
    assert!(said.contains("leaves by the device of number"), "{said}");
    let said = refused("nowhere0", [10, 77, 0, 2]);
    assert!(said.contains("no network device nowhere0"), "{said}");
    // Who was looked up can be spoken to.
    let clock = Clock::start();
    let (device, _steering, config) = opened(VENUE_V4, all_of(VENUE_V4));
    let mut io = Tcp::new(config, device);
    let member = cable.member(|| {
        cable::ip("addr add 192.0.2.7/32 dev lo");
        TcpListener::bind("192.0.2.7:26400").expect("our address")
    });
    let listener = member.join();
    let to = SocketAddr::from(([192, 0, 2, 7], 26_400));
    let link = neighbour::link_to(Cable::VENUE, to.ip(), PATIENCE).expect("its gateway answers");
    let connection = io.connect(to, link, clock.now()).expect("there is room");
    while !io.is_up(&connection) {
        clock.check("a handshake");
        io.poll(clock.now());
    }
    drop(listener);
}

/// What a follower's kernel hears is what was sent, in order; and the queue beside it has a TCP on it.
#[test]
fn veth_a_group_is_heard_by_the_kernel() {
    const COUNT: u32 = 5_000;
    const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 192, 26, 1), 26_410);
    let payload = |number: u32| -> Vec<u8> {
        let len = 4 + number as usize * 7 % 1_469;
        let mut payload: Vec<u8> = (0..len).map(|at| byte(u64::from(number) + at as u64)).collect();
        payload[..4].copy_from_slice(&number.to_be_bytes());
        payload
    };
    let cable = Cable::with_queues(2, 1);
    let clock = Clock::start();
    let mut io = bypass(VENUE_V4, |_| {});
    let sockets = socket::Config { queue: 1, ..socket_config() };
    let (tx, capabilities) = socket::open_sender(&sockets).expect("an AF_XDP socket; as root it is allowed");
    let SocketAddr::V4(venue) = VENUE_V4 else { panic!("of version 4") };
    let addresses = Addresses {
        group: GROUP,
        from: SocketAddrV4::new(*venue.ip(), GROUP.port()),
        from_hardware: socket::hardware_address(Cable::VENUE).expect("it is there"),
        ttl: 1,
        tag: None,
    };
    assert_eq!(addresses.from_hardware, VENUE_MAC);
    let mut group = Group::new(tx, &capabilities, &addresses);
    assert_eq!(group.payload_size_max(), 1_472);

    let (told, heard) = std::sync::mpsc::channel();
    let follower = cable.member(move || {
        let socket = UdpSocket::bind(GROUP).expect("our port");
        let SocketAddr::V4(own) = MEMBER_V4 else { panic!("of version 4") };
        socket.join_multicast_v4(GROUP.ip(), own.ip()).expect("a group");
        socket.set_read_timeout(Some(PATIENCE)).expect("an option");
        told.send(0).expect("the venue waits");
        let mut buffer = [0; 2_048];
        for number in 0..COUNT {
            let (len, from) = socket.recv_from(&mut buffer).expect("the venue sends");
            assert_eq!(from, SocketAddr::from(addresses.from));
            assert!(buffer[..len] == payload(number), "datagram {number}");
            told.send(number + 1).expect("the venue waits");
        }
    });
    assert_eq!(heard.recv(), Ok(0));
    let mut behind = 0;
    for number in 0..COUNT {
        // The kernel's socket holds some hundred; a feed would lose the rest and be asked for it.
        while number - behind >= 32 {
            behind = heard.recv().expect("the follower hears");
        }
        while group.send(&payload(number)).is_err() {
            clock.check("room");
            group.flush();
        }
        if number % 8 == 7 {
            group.flush();
        }
    }
    group.flush();
    follower.join();
    assert_eq!(group.tx().failures(), 0);

    // Beside it members trade.
    let member = cable.member(|| {
        let stream = TcpStream::connect_timeout(&VENUE_V4, PATIENCE).expect("the venue listens");
        send_and_compare(stream, 1 << 16);
    });
    assert_eq!(echo(&mut io, &clock), 1 << 16);
    member.join();
}
