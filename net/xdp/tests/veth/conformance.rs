//! What RFC 9293 asks for, between our TCP and the kernel's, both ways: what each offers, what it makes of segments that
//! come in pieces, of windows that close, of ends that cross, of silence.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::mpsc::channel;
use std::time::Duration;

use ironbell_device::{FrameDevice, Nanos, SessionIo};
use ironbell_xdp::bypass::Steering;
use ironbell_xdp::packet::{self, ACK, FIN, RST, SYN};
use ironbell_xdp::socket::{XdpRx, XdpTx};
use ironbell_xdp::tcp::{self, Tcp};

use crate::cable::{Cable, VENUE_V4, VENUE_V6};
use crate::tap::{self, Rule, Seen, TapRx, TapTx, as_it_is, overlapping, tapped};
use crate::{Clock, PATIENCE, accept, byte, echo, opened, send_and_compare};

/// Our TCP, and the frames that came in and went out.
struct Venue {
    io: Tcp<TapRx<XdpRx>, TapTx<XdpTx>>,
    came: Seen,
    went: Seen,
    _steering: Steering,
}

impl Venue {
    fn new(listen: SocketAddr, incoming: Rule, outgoing: Rule, change: impl Fn(&mut tcp::Config)) -> Self {
        let (device, steering, mut config) = opened(listen, listen);
        let (device, came, went): (FrameDevice<_, _>, _, _) = tapped(device, incoming, outgoing);
        change(&mut config);
        Self { io: Tcp::new(config, device), came, went, _steering: steering }
    }

    fn came(&self) -> Vec<tap::Tcp> {
        segments(&self.came)
    }

    fn went(&self) -> Vec<tap::Tcp> {
        segments(&self.went)
    }

    /// Reads `at_once` bytes at a time until the member has ended; returns how many came, which are those that it sends.
    fn read_to_the_end(&mut self, clock: &Clock, connection: &mut tcp::Connection, at_once: usize) -> u64 {
        let (mut read, mut buffer) = (0, vec![0; at_once]);
        while let Ok(len) = self.io.read(connection, &mut buffer) {
            for got in &buffer[..len] {
                assert_eq!(*got, byte(read), "at {read}");
                read += 1;
            }
            clock.check("reading");
            self.io.poll(clock.now());
        }
        read
    }

    /// Polls until `done`.
    fn until(&mut self, clock: &Clock, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        while !done(self) {
            clock.check(what);
            self.io.poll(clock.now());
        }
    }
}

fn segments(seen: &Seen) -> Vec<tap::Tcp> {
    let seen = seen.lock().expect("nobody panicked");
    seen.iter().filter(|frame| packet::parse(frame).is_some()).map(|frame| tap::Tcp::of(frame)).collect()
}

fn connect(to: SocketAddr) -> TcpStream {
    TcpStream::connect_timeout(&to, PATIENCE).expect("the venue listens")
}

fn set(stream: &impl AsRawFd, level: i32, name: i32, value: i32) {
    // SAFETY: the value lives until the call is over, and its size is told.
    let result = unsafe {
        libc::setsockopt(stream.as_raw_fd(), level, name, (&raw const value).cast(), size_of::<i32>() as u32)
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn veth_pieces_that_overlap_and_come_backwards_make_the_same_stream_both_ways() {
    let cable = Cable::new();
    for listen in [VENUE_V4, VENUE_V6] {
        let clock = Clock::start();
        let mut venue = Venue::new(listen, overlapping(), overlapping(), |_| {});
        let member = cable.member(move || send_and_compare(connect(listen), 1 << 18));
        assert_eq!(echo(&mut venue.io, &clock), 1 << 18);
        member.join();
        for segments in [venue.came(), venue.went()] {
            let backwards = segments.windows(2).filter(|pair| {
                pair[1].payload_len > 0 && (pair[1].number.wrapping_sub(pair[0].number) as i32) < 0
            });
            assert!(backwards.count() > 50, "segments were in pieces");
        }
    }
}

#[test]
fn veth_both_say_how_large_a_segment_they_take_and_keep_to_it() {
    let cable = Cable::new();
    // The kernel's segments are no larger than those that it takes, either.
    for (kernels, wanted) in [(None, 860), (Some(600), 600)] {
        let clock = Clock::start();
        let mut venue = Venue::new(VENUE_V4, as_it_is(), as_it_is(), |config| config.mtu = 860 + 40);
        let member = cable.member(move || {
            let socket = tcp_socket();
            if let Some(size) = kernels {
                set(&socket, libc::IPPROTO_TCP, libc::TCP_MAXSEG, size);
            }
            send_and_compare(connect_by(socket, VENUE_V4), 1 << 17);
        });
        assert_eq!(echo(&mut venue.io, &clock), 1 << 17);
        member.join();
        let (came, went) = (venue.came(), venue.went());
        assert_eq!(came[0].mss(), Some(kernels.unwrap_or(1_460) as u16));
        assert_eq!(went[0].mss(), Some(860));
        for segments in [came, went] {
            assert_eq!(segments.iter().map(|segment| segment.payload_len).max(), Some(wanted));
        }
    }
}

/// With a window of more than 64 KiB the kernel sends more than that before it is told that anything was read.
#[test]
fn veth_windows_are_scaled() {
    const SIZE: usize = 1 << 18;
    let cable = Cable::new();
    let clock = Clock::start();
    let mut venue = Venue::new(VENUE_V4, as_it_is(), as_it_is(), |config| config.receive_size = SIZE);
    let (go_on, wait) = channel::<()>();
    let member = cable.member(move || {
        let mut stream = connect(VENUE_V4);
        let sent: Vec<u8> = (0..SIZE as u64).map(byte).collect();
        stream.write_all(&sent).expect("the kernel takes it");
        wait.recv().expect("the venue has everything");
        stream.shutdown(Shutdown::Write).expect("a connection");
        stream.read_to_end(&mut Vec::new()).expect("the venue closes");
    });
    let mut connection = accept(&mut venue.io, &clock);
    // Nobody reads, and everything comes.
    venue.until(&clock, "a full window", |venue| {
        let came = venue.came();
        let newest =
            came.iter().map(|at| at.number.wrapping_sub(came[0].number) as usize + at.payload_len).max();
        newest > Some(SIZE)
    });
    go_on.send(()).expect("the member waits");
    assert_eq!(venue.read_to_the_end(&clock, &mut connection, 8_192), SIZE as u64);
    venue.io.close(connection);
    venue.until(&clock, "closing", |venue| venue.io.connections() == 0);
    member.join();
    let (came, went) = (venue.came(), venue.went());
    assert_eq!(went[0].window_scale(), Some(3));
    // What the kernel's windows mean sees who fills them: `veth_a_closed_window_of_the_kernel_is_waited_for`.
    assert!(came[0].window_scale() > Some(0));
}

#[test]
fn veth_a_closed_window_of_ours_is_waited_for_by_the_kernel() {
    let cable = Cable::new();
    let clock = Clock::start();
    let mut venue = Venue::new(VENUE_V4, as_it_is(), as_it_is(), |config| config.receive_size = 4_096);
    const COUNT: u64 = 100_000;
    let member = cable.member(|| {
        let mut stream = connect(VENUE_V4);
        let sent: Vec<u8> = (0..COUNT).map(byte).collect();
        stream.write_all(&sent).expect("the venue reads in the end");
        stream.shutdown(Shutdown::Write).expect("a connection");
        stream.read_to_end(&mut Vec::new()).expect("the venue closes");
    });
    let mut connection = accept(&mut venue.io, &clock);
    venue.until(&clock, "a window of zero", |venue| {
        venue.went().last().is_some_and(|segment| segment.flags & SYN == 0 && segment.window == 0)
    });
    assert_eq!(venue.read_to_the_end(&clock, &mut connection, 1_024), COUNT);
    venue.io.close(connection);
    venue.until(&clock, "closing", |venue| venue.io.connections() == 0);
    member.join();
    let closed =
        venue.went().iter().filter(|segment| segment.flags & SYN == 0 && segment.window == 0).count();
    assert!(closed > 0, "it was closed");
}

/// Both ends are on their way before either has arrived.
#[test]
fn veth_ends_may_cross() {
    let cable = Cable::new();
    let clock = Clock::start();
    let mut venue = Venue::new(VENUE_V4, as_it_is(), as_it_is(), |_| {});
    let (go_on, wait) = channel::<()>();
    let (has_closed, closed) = channel();
    let member = cable.member(move || {
        let mut stream = connect(VENUE_V4);
        wait.recv().expect("the venue has accepted");
        stream.shutdown(Shutdown::Write).expect("a connection");
        has_closed.send(()).expect("the venue waits");
        assert_eq!(stream.read(&mut [0; 8]).expect("the venue's end"), 0);
    });
    let connection = accept(&mut venue.io, &clock);
    go_on.send(()).expect("the member waits");
    closed.recv().expect("it closes");
    // The kernel's end lies in our ring; ours leaves without a look into it.
    venue.io.close(connection);
    venue.io.flush(clock.now());
    let ends = |segments: Vec<tap::Tcp>| segments.iter().filter(|segment| segment.flags & FIN != 0).count();
    assert_eq!((ends(venue.came()), ends(venue.went())), (0, 1));
    venue.until(&clock, "both ends", |venue| venue.io.connections() == 0);
    member.join();
    assert!(ends(venue.came()) > 0);
    assert_eq!(venue.io.counters().aborted, 0);
    assert!(
        venue.came().iter().chain(&venue.went()).all(|segment| segment.flags & RST == 0),
        "nobody resets"
    );
}

/// Each asks a silent peer for a sign of life, and gets it.
#[test]
fn veth_signs_of_life_are_asked_for_and_given_both_ways() {
    let cable = Cable::new();
    let clock = Clock::start();
    let mut venue = Venue::new(VENUE_V4, as_it_is(), as_it_is(), |config| {
        config.keep_alive = Nanos(300_000_000);
        config.timeout = Nanos(1_000_000_000);
    });
    let (go_on, wait) = channel::<()>();
    let member = cable.member(move || {
        let mut stream = connect(VENUE_V4);
        for (level, name, value) in [
            (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1),
            (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, 1),
            (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, 1),
        ] {
            set(&stream, level, name, value);
        }
        wait.recv().expect("the venue goes on");
        stream.write_all(b"still there").expect("the venue reads");
        assert_eq!(stream.read(&mut [0; 8]).expect("the venue's end"), 0);
    });
    let mut connection = accept(&mut venue.io, &clock);
    // Longer than either would wait for a dead peer.
    venue.until(&clock, "some silence", |venue| {
        assert_eq!(venue.io.read(&mut connection, &mut [0; 8]), Ok(0), "the connection stands");
        clock.0.elapsed() > Duration::from_millis(2_500)
    });
    let (came, went) = (venue.came(), venue.went());
    // A probe is of a byte that was acknowledged before.
    let probes = |asking: &[tap::Tcp], other: &[tap::Tcp]| {
        let next = other.last().expect("it answered").acknowledged;
        asking
            .iter()
            .filter(|segment| segment.number == next.wrapping_sub(1) && segment.flags & SYN == 0)
            .count()
    };
    assert!(probes(&went, &came) >= 2, "of ours");
    // Ours keep the kernel's own clock of silence from running out, so that it asks seldom or never.
    println!("{} probes of ours, {} of the kernel's", probes(&went, &came), probes(&came, &went));
    go_on.send(()).expect("the member waits");
    let mut got = [0; 11];
    venue.until(&clock, "a word", |venue| matches!(venue.io.read(&mut connection, &mut got), Ok(11)));
    assert_eq!(&got, b"still there");
    venue.io.close(connection);
    venue.until(&clock, "closing", |venue| venue.io.connections() == 0);
    member.join();
}

/// The kernel alone asks: ours has nothing to ask for a long time.
#[test]
fn veth_the_kernels_question_for_a_sign_of_life_is_answered() {
    let cable = Cable::new();
    let clock = Clock::start();
    let mut venue = Venue::new(VENUE_V4, as_it_is(), as_it_is(), |_| {});
    let member = cable.member(move || {
        let mut stream = connect(VENUE_V4);
        for (level, name, value) in [
            (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1),
            (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, 1),
            (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, 1),
            (libc::IPPROTO_TCP, libc::TCP_KEEPCNT, 1),
        ] {
            set(&stream, level, name, value);
        }
        stream.read(&mut [0; 8]).expect("the venue's end, and no time-out")
    });
    let connection = accept(&mut venue.io, &clock);
    // With one probe unanswered the kernel would give up after two seconds.
    venue.until(&clock, "some silence", |_| clock.0.elapsed() > Duration::from_millis(2_600));
    let (came, went) = (venue.came(), venue.went());
    let next = went.last().expect("it answered").acknowledged;
    let asked =
        came.iter().filter(|segment| segment.flags & ACK != 0 && segment.number == next.wrapping_sub(1));
    assert!(asked.count() > 0, "the kernel asked");
    venue.io.close(connection);
    venue.until(&clock, "closing", |venue| venue.io.connections() == 0);
    assert_eq!(member.join(), 0);
}

/// A socket that options can be set on before it connects.
fn tcp_socket() -> std::os::fd::OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: this call takes no address.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    assert!(fd >= 0, "a socket");
    // SAFETY: the kernel just gave us this descriptor, and nobody else has it.
    unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) }
}

fn connect_by(socket: std::os::fd::OwnedFd, to: SocketAddr) -> TcpStream {
    let SocketAddr::V4(to) = to else { panic!("of version 4") };
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: to.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(to.ip().octets()) },
        sin_zero: [0; 8],
    };
    // SAFETY: the address lives until the call is over, and its size is told.
    let result = unsafe {
        libc::connect(socket.as_raw_fd(), (&raw const address).cast(), size_of::<libc::sockaddr_in>() as u32)
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    TcpStream::from(socket)
}
