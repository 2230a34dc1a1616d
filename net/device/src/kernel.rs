//! Non-blocking sockets of the kernel, swept by whoever polls. This is also what Onload and XLIO
//! take over without a change of ours.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::stamps::Stamps;
use crate::{Acceptor, Closed, Error, Late, Stream};

/// Connections that wait in the kernel to be accepted. Members reconnect all at once after a takeover.
const BACKLOG: i32 = 1024;

/// A listening TCP socket.
#[derive(Debug)]
pub struct KernelAcceptor {
    listener: TcpListener,
    addr: SocketAddr,
    /// The listener and every connection that it gave, for who sleeps until one of them has something; a closed
    /// connection leaves by itself (epoll(7)). And for who has many to sweep: a read that finds nothing costs as much as
    /// asking for all that have something.
    sleepers: OwnedFd,
    seen: Seen,
    polls_card: bool,
    /// Connections tell how late their reads are.
    stamps: bool,
}

/// Who had something at the last look.
#[derive(Debug, Default)]
struct Seen {
    /// By descriptor: at which look it had something last.
    at: Vec<u64>,
    /// The newest look; none when the last sweep was of a few, which are all read.
    look: Option<u64>,
    looks: u64,
}

/// So many connections are read each, without asking who has something.
const SWEPT_MAX: usize = 2;
/// Connections that one look tells of at most; the kernel begins with others at the next.
const EVENTS_MAX: usize = 256;

impl Seen {
    fn make_room(&mut self, descriptor: usize) {
        if self.at.len() <= descriptor {
            self.at.resize((descriptor + 1).next_power_of_two(), 0);
        }
    }
}

/// How the kernel is asked to serve a listener's connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// A read that finds nothing looks into the network card's queue itself, instead of waiting for its
    /// interrupt (SO_BUSY_POLL; socket(7)), and may do so for this many microseconds where it is allowed to
    /// wait; ours never wait and look once. 0: it leaves that to the interrupt. Raising it above the
    /// system's net.core.busy_read takes CAP_NET_ADMIN.
    pub busy_poll_us: u32,
    /// What is received is stamped by the kernel, and by the card where it can (SO_TIMESTAMPING), and reads tell how late they
    /// were ([`Stream::late`]). It costs about 0.2 µs a read that finds something.
    pub rx_timestamps: bool,
}

impl KernelAcceptor {
    /// Listens on `addr`; port 0 lets the kernel choose ([`Acceptor::local_addr`] says which).
    ///
    /// # Errors
    /// [`Error::Listen`]: the port is taken, the address is not ours, or permission is missing.
    pub fn bind(addr: SocketAddr) -> Result<Self, Error> {
        Self::bind_with(addr, Options::default())
    }

    /// As [`KernelAcceptor::bind`], with options.
    ///
    /// # Errors
    /// [`Error::Listen`]; [`Error::BusyPoll`] when that is not allowed.
    pub fn bind_with(addr: SocketAddr, options: Options) -> Result<Self, Error> {
        let mut acceptor = listen(addr).map_err(|source| Error::Listen { addr, source })?;
        if options.busy_poll_us > 0 {
            // Only a read looks into the card's queue.
            acceptor.polls_card = true;
            // Accepted connections have what their listener has.
            SockRef::from(&acceptor.listener)
                .set_busy_poll(options.busy_poll_us)
                .map_err(|source| Error::BusyPoll { us: options.busy_poll_us, source })?;
        }
        if options.rx_timestamps {
            Stamps::ask(&acceptor.listener).map_err(|source| Error::Timestamps { source })?;
            acceptor.stamps = true;
        }
        Ok(acceptor)
    }
}

fn listen(addr: SocketAddr) -> io::Result<KernelAcceptor> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted node must get its port back although connections of the old one are in TIME_WAIT.
    // On Linux this does not let two listeners share a port.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from(socket);
    let addr = listener.local_addr()?;
    let sleepers = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    wake_by(&sleepers, &listener)?;
    Ok(KernelAcceptor { listener, addr, sleepers, seen: Seen::default(), polls_card: false, stamps: false })
}

fn wake_by(sleepers: &OwnedFd, fd: &impl AsFd) -> io::Result<()> {
    let descriptor = fd.as_fd().as_raw_fd();
    let data = epoll::EventData::new_u64(descriptor as u64);
    Ok(epoll::add(sleepers, fd, data, epoll::EventFlags::IN)?)
}

impl Acceptor for KernelAcceptor {
    type Stream = Connection;

    fn accept(&mut self) -> Result<Option<Connection>, Error> {
        let accepted = self.listener.accept().and_then(|(stream, peer)| prepare(stream, peer));
        let accepted = accepted.and_then(|mut connection| {
            if self.stamps {
                // Not every kernel hands a listener's wish on.
                Stamps::ask(&connection)?;
                connection.stamps = Some(Stamps::new());
            }
            wake_by(&self.sleepers, &connection)?;
            self.seen.make_room(descriptor_of(&connection));
            Ok(connection)
        });
        match accepted {
            Ok(connection) => Ok(Some(connection)),
            Err(e) if is_nothing_to_accept(&e) => Ok(None),
            Err(source) => Err(Error::Accept { addr: self.addr, source }),
        }
    }

    fn look(&mut self, connections: usize) {
        let seen = &mut self.seen;
        seen.look = None;
        if connections <= SWEPT_MAX || self.polls_card {
            return;
        }
        let mut events = [const { MaybeUninit::uninit() }; EVENTS_MAX];
        // A look that a signal ends is made again: until then each may have something.
        let Ok((events, _)) = epoll::wait(&self.sleepers, &mut events, Some(&Timespec::default())) else {
            return;
        };
        seen.looks += 1;
        seen.look = Some(seen.looks);
        for event in events {
            // The listener's own is beyond, or a place that nobody asks for.
            if let Some(at) = seen.at.get_mut(event.data.u64() as usize) {
                *at = seen.looks;
            }
        }
    }

    fn has_input(&self, connection: &Connection) -> bool {
        let Some(look) = self.seen.look else { return true };
        self.seen.at[descriptor_of(connection)] == look
    }

    fn wait(&mut self, at_most: Duration) -> bool {
        let at_most = Timespec::try_from(at_most).expect("a short time");
        let mut events = [MaybeUninit::uninit(); 1];
        // A signal wakes it early: whoever waits looks again in any case.
        epoll::wait(&self.sleepers, &mut events, Some(&at_most)).is_ok()
    }

    fn local_addr(&self) -> SocketAddr {
        self.addr
    }
}

fn descriptor_of(connection: &Connection) -> usize {
    connection.stream.as_raw_fd() as usize
}

/// A peer that hung up between connecting and our accept is no fault of the acceptor.
fn is_nothing_to_accept(e: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, NotConnected, WouldBlock};
    matches!(e.kind(), WouldBlock | ConnectionAborted | ConnectionReset | Interrupted | NotConnected)
}

fn prepare(stream: TcpStream, peer: SocketAddr) -> io::Result<Connection> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    // QUICKACK is not sticky: the kernel leaves it again by itself. It is set once so that the first
    // message after a login is not answered by a delayed ACK; setting it after every read would cost a
    // system call each, and in steady state our answer carries the ACK anyway.
    #[cfg(target_os = "linux")]
    SockRef::from(&stream).set_tcp_quickack(true)?;
    Ok(Connection { stream, peer, stamps: None })
}

/// A connected TCP socket.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    stamps: Option<Stamps>,
}

impl Connection {
    /// Connects to `addr`. This one call waits for the handshake; every later one does not.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub fn connect(addr: SocketAddr) -> Result<Self, Error> {
        TcpStream::connect(addr)
            .and_then(|stream| prepare(stream, addr))
            .map_err(|source| Error::Connect { addr, source })
    }

    /// As [`Connection::connect`], from this address of ours.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub fn connect_from(from: IpAddr, addr: SocketAddr) -> Result<Self, Error> {
        let connect = || {
            let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
            socket.bind(&SocketAddr::new(from, 0).into())?;
            socket.connect(&addr.into())?;
            prepare(socket.into(), addr)
        };
        connect().map_err(|source| Error::Connect { addr, source })
    }
}

/// A handshake that is under way.
#[derive(Debug)]
pub struct Connecting {
    socket: Option<Socket>,
    addr: SocketAddr,
}

impl Connecting {
    /// Begins to connect to `addr`, without waiting.
    ///
    /// # Errors
    /// [`Error::Connect`] when that is known to be in vain already.
    pub fn to(addr: SocketAddr) -> Result<Self, Error> {
        let begin = || {
            let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_nonblocking(true)?;
            match socket.connect(&addr.into()) {
                Err(error) if !is_under_way(&error) => Err(error),
                _ => Ok(Self { socket: Some(socket), addr }),
            }
        };
        begin().map_err(|source| Error::Connect { addr, source })
    }

    /// The connection, once it stands; never waits. Who drops this before gives up.
    ///
    /// # Errors
    /// [`Error::Connect`].
    ///
    /// # Panics
    /// After it gave the connection.
    pub fn poll(&mut self) -> Result<Option<Connection>, Error> {
        let socket = self.socket.as_ref().expect("it gave no connection yet");
        let failed = |source| Error::Connect { addr: self.addr, source };
        if let Some(source) = socket.take_error().map_err(failed)? {
            return Err(failed(source));
        }
        match socket.peer_addr() {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotConnected => return Ok(None),
            Err(error) => return Err(failed(error)),
        }
        let stream = TcpStream::from(self.socket.take().expect("it was there"));
        prepare(stream, self.addr).map(Some).map_err(failed)
    }
}

/// connect(2) on a socket that does not wait.
fn is_under_way(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EAGAIN))
}

/// For who accepts in another way (io_uring).
impl AsFd for KernelAcceptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// To be waited for together with others (epoll).
impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Stream for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Closed> {
        assert!(!buffer.is_empty(), "a read needs room");
        let read = match &mut self.stamps {
            None => self.stream.read(buffer),
            Some(stamps) => stamps.read(&self.stream, buffer),
        };
        match read {
            Ok(0) => Err(Closed::ByPeer),
            other => count(other),
        }
    }

    fn late(&self) -> Option<Late> {
        self.stamps.as_ref()?.late()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, Closed> {
        count(self.stream.write(bytes))
    }

    fn peer_addr(&self) -> SocketAddr {
        self.peer
    }
}

fn count(result: io::Result<usize>) -> Result<usize, Closed> {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, Interrupted, WouldBlock};
    match result {
        Ok(n) => Ok(n),
        Err(e) => match e.kind() {
            WouldBlock | Interrupted => Ok(0),
            ConnectionReset | BrokenPipe => Err(Closed::ByPeer),
            kind => Err(Closed::Failed(kind)),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn any_port() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 0).into()
    }

    fn accept_one(acceptor: &mut KernelAcceptor) -> Connection {
        loop {
            if let Some(connection) = acceptor.accept().expect("a connection is accepted") {
                return connection;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn bytes_cross_both_ways_and_the_end_is_seen() {
        let mut acceptor = KernelAcceptor::bind(any_port()).expect("loopback can be listened on");
        let mut member = Connection::connect(acceptor.local_addr()).expect("loopback can be reached");
        let mut venue = accept_one(&mut acceptor);
        let mut buffer = [0; 16];
        assert_eq!(venue.read(&mut buffer), Ok(0));
        assert_eq!(member.write(b"order"), Ok(5));
        while venue.read(&mut buffer[..5]) == Ok(0) {}
        assert_eq!(&buffer[..5], b"order");
        assert_eq!(venue.write(b"ack"), Ok(3));
        drop(venue);
        let mut got = Vec::new();
        let end = loop {
            match member.read(&mut buffer) {
                Ok(n) => got.extend_from_slice(&buffer[..n]),
                Err(closed) => break closed,
            }
        };
        assert_eq!((got.as_slice(), end), (b"ack".as_slice(), Closed::ByPeer));
    }

    #[test]
    fn a_member_comes_from_where_it_says() {
        let mut acceptor = KernelAcceptor::bind(any_port()).expect("loopback can be listened on");
        let from = Ipv4Addr::new(127, 0, 0, 2).into();
        let _member =
            Connection::connect_from(from, acceptor.local_addr()).expect("all of 127.0.0.0/8 is ours");
        assert_eq!(accept_one(&mut acceptor).peer_addr().ip(), from);
        // 192.0.2.0/24 is TEST-NET-1 (RFC 5737): no machine has it.
        assert!(Connection::connect_from([192, 0, 2, 1].into(), acceptor.local_addr()).is_err());
    }

    #[test]
    fn a_handshake_is_polled_and_says_when_nobody_listens() {
        let mut acceptor = KernelAcceptor::bind(any_port()).expect("loopback can be listened on");
        let addr = acceptor.local_addr();
        let mut connecting = Connecting::to(addr).expect("loopback can be reached");
        let mut member = loop {
            if let Some(connection) = connecting.poll().expect("somebody listens") {
                break connection;
            }
            std::thread::yield_now();
        };
        let mut venue = accept_one(&mut acceptor);
        assert_eq!(member.write(b"order"), Ok(5));
        let mut buffer = [0; 5];
        while venue.read(&mut buffer) == Ok(0) {}
        assert_eq!((&buffer, member.peer_addr()), (b"order", addr));
        drop((acceptor, venue));
        let refused = Connecting::to(addr).and_then(|mut connecting| {
            loop {
                match connecting.poll() {
                    Ok(None) => std::thread::yield_now(),
                    other => break other,
                }
            }
        });
        let error = refused.expect_err("nobody listens any more");
        assert!(matches!(&error, Error::Connect { addr: to, .. } if *to == addr), "{error}");
    }

    #[test]
    fn a_full_socket_says_so_instead_of_waiting() {
        let mut acceptor = KernelAcceptor::bind(any_port()).expect("loopback can be listened on");
        let mut member = Connection::connect(acceptor.local_addr()).expect("loopback can be reached");
        let _venue = accept_one(&mut acceptor);
        let block = [7; 65_536];
        // The peer reads nothing, and kernel buffers are finite.
        while member.write(&block).expect("the connection stands") > 0 {}
    }

    /// Who sleeps is woken by who connects, and by what a member sends; a connection that is gone wakes nobody.
    #[test]
    fn who_waits_is_woken_by_what_comes() {
        const LONG: Duration = Duration::from_secs(600);
        let mut acceptor = KernelAcceptor::bind(any_port()).expect("loopback can be listened on");
        assert!(Acceptor::wait(&mut acceptor, Duration::ZERO), "nothing has come");
        let mut member = Connection::connect(acceptor.local_addr()).expect("loopback can be reached");
        assert!(Acceptor::wait(&mut acceptor, LONG));
        let mut venue = acceptor.accept().expect("a connection is accepted").expect("it was waited for");
        assert_eq!(member.write(b"order"), Ok(5));
        assert!(Acceptor::wait(&mut acceptor, LONG));
        let mut buffer = [0; 16];
        assert_eq!(venue.read(&mut buffer), Ok(5));
        drop(member);
        assert!(Acceptor::wait(&mut acceptor, LONG));
        assert_eq!(venue.read(&mut buffer), Err(Closed::ByPeer));
        drop(venue);
        let begun = std::time::Instant::now();
        assert!(Acceptor::wait(&mut acceptor, Duration::from_millis(20)));
        assert!(begun.elapsed() >= Duration::from_millis(20), "it was woken by nobody");
    }

    #[test]
    fn of_many_connections_only_those_with_input_are_told() {
        let mut acceptor = KernelAcceptor::bind(any_port()).expect("loopback can be listened on");
        let mut members = Vec::new();
        let mut venues = Vec::new();
        for _ in 0..5 {
            members.push(Connection::connect(acceptor.local_addr()).expect("loopback can be reached"));
            venues.push(accept_one(&mut acceptor));
        }
        let told = |acceptor: &mut KernelAcceptor, venues: &[Connection]| -> Vec<usize> {
            Acceptor::look(acceptor, venues.len());
            (0..venues.len()).filter(|n| Acceptor::has_input(acceptor, &venues[*n])).collect()
        };
        assert_eq!(told(&mut acceptor, &venues), []);
        assert_eq!((members[1].write(b"a"), members[3].write(b"b")), (Ok(1), Ok(1)));
        assert!(Acceptor::wait(&mut acceptor, Duration::from_secs(600)));
        while told(&mut acceptor, &venues) != [1, 3] {
            std::thread::yield_now();
        }
        let mut buffer = [0; 8];
        assert_eq!(venues[1].read(&mut buffer), Ok(1));
        // What is not read is told again; an end is told too.
        assert_eq!(told(&mut acceptor, &venues), [3]);
        drop(members.remove(0));
        while told(&mut acceptor, &venues) != [0, 3] {
            std::thread::yield_now();
        }
        // Of a few nothing is asked: each may have something.
        Acceptor::look(&mut acceptor, 2);
        assert!(venues.iter().all(|venue| Acceptor::has_input(&acceptor, venue)));
        // A connection that was not there at the last look has a place.
        Acceptor::look(&mut acceptor, 9);
        let _member = Connection::connect(acceptor.local_addr()).expect("loopback can be reached");
        let venue = accept_one(&mut acceptor);
        assert!(!Acceptor::has_input(&acceptor, &venue));
    }

    /// What lies in a socket for a while is told as that late.
    #[test]
    fn reads_tell_how_late_they_are_where_that_is_asked_for() {
        const LAY: Duration = Duration::from_millis(20);
        let options = Options { rx_timestamps: true, ..Options::default() };
        let mut acceptor = KernelAcceptor::bind_with(any_port(), options).expect("the kernel stamps");
        let mut member = Connection::connect(acceptor.local_addr()).expect("loopback can be reached");
        let mut venue = accept_one(&mut acceptor);
        let mut buffer = [0; 8];
        assert_eq!((venue.read(&mut buffer), venue.late()), (Ok(0), None));
        // The kernel begins to stamp a little after it was asked.
        let late = loop {
            assert_eq!(member.write(b"order"), Ok(5));
            std::thread::sleep(LAY);
            assert_eq!(venue.read(&mut buffer), Ok(5));
            if let Some(Late { kernel: Some(late), .. }) = venue.late() {
                break late;
            }
        };
        assert!(Duration::from_nanos(late.0) >= LAY / 2, "{late:?}");
        assert_eq!((venue.read(&mut buffer), venue.late()), (Ok(0), None), "of nothing nothing is told");
        drop(member);
        assert_eq!(venue.read(&mut buffer), Err(Closed::ByPeer));
        assert_eq!(venue.late(), None);
    }

    #[test]
    fn a_taken_port_is_explained() {
        let first = KernelAcceptor::bind(any_port()).expect("loopback can be listened on");
        let text = KernelAcceptor::bind(first.local_addr()).expect_err("the port is taken").to_string();
        assert!(text.starts_with(&format!("cannot listen on {}", first.local_addr())), "{text}");
        assert!(text.contains("another process has this port"), "{text}");
    }

    #[test]
    fn connections_are_polled_as_their_listener_is() {
        let options = Options { busy_poll_us: 50, ..Options::default() };
        // Above what the system grants everybody it takes a capability, and then the refusal says so.
        let mut acceptor = match KernelAcceptor::bind_with(any_port(), options) {
            Ok(acceptor) => acceptor,
            Err(error) => {
                assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
                return;
            }
        };
        let _member = Connection::connect(acceptor.local_addr()).expect("loopback can be reached");
        let venue = accept_one(&mut acceptor);
        assert_eq!(SockRef::from(&venue.stream).busy_poll().expect("Linux has it"), 50);
    }

    #[test]
    fn a_foreign_address_is_explained() {
        // 192.0.2.0/24 is TEST-NET-1 (RFC 5737): no machine has it.
        let text = KernelAcceptor::bind(([192, 0, 2, 1], 0).into()).expect_err("not our address").to_string();
        assert!(text.contains("no interface of this machine"), "{text}");
    }
}
