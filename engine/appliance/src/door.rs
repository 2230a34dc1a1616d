//! Where members come in, and by what their bytes are moved: `order_entry.io`.
//!
//! One type for all of them, so that the rest of the node is written once. A match stands where a pointer to a
//! function would: the compiler sees through it, and it always goes the same way.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use ironbell_device::kernel::{self, KernelAcceptor};
use ironbell_device::{Closed, Error, Late, SessionIo, Stream as _};
use ironbell_sync::metrics::RoleMetrics;
use ironbell_types::Nanos;
use ironbell_xdp::bypass::Bypass;
use ironbell_xdp::{tcp, uring};

use crate::config::{Io, OrderEntry};
use crate::failure::Failure;
use crate::roles;

/// Where members come in.
#[derive(Debug)]
pub enum Door {
    /// Nowhere: who leads nothing does not listen.
    Shut,
    /// Sockets of the kernel, and when it was last asked for newcomers: once in a reading of the thread's clock, because that is
    /// a system call.
    Kernel(KernelAcceptor, Asked),
    /// Sockets of the kernel on one io_uring.
    Uring(Box<uring::Uring>),
    /// A TCP of our own over AF_XDP.
    Xdp(Box<Bypass>),
}

/// Whether newcomers are to be asked for.
#[derive(Debug, Default)]
pub struct Asked {
    at: Nanos,
    is_due: bool,
}

/// A member's connection.
#[derive(Debug)]
pub enum Connection {
    /// A socket.
    Kernel(kernel::Connection),
    /// One on the ring.
    Uring(uring::Connection),
    /// One of the TCP of our own.
    Xdp(tcp::Connection),
}

impl Door {
    /// Takes the address that the configuration names.
    ///
    /// # Errors
    /// When it is taken or not this machine's, or the machine does not allow what `io` takes.
    pub fn open(config: &OrderEntry) -> Result<Self, Failure> {
        match config.io {
            Io::Kernel => {
                Ok(Self::Kernel(bind(config).map_err(|error| not_bound(&error))?, Asked::default()))
            }
            Io::Uring => {
                let acceptor = bind_after_ring(config).map_err(|error| not_bound(&error))?;
                let ring = uring::Uring::new(acceptor, &uring::Config::new(connections_max(config)));
                let ring = ring.map_err(|e| Failure::refused(format_args!("order_entry.io: {e}")))?;
                Ok(Self::Uring(Box::new(ring)))
            }
            Io::Xdp => {
                let bypass = Bypass::listen(&config.xdp.socket(), tcp_config(config)?)
                    .map_err(|e| Failure::refused(format_args!("order_entry.xdp: {e}")))?;
                tracing::info!("order entry on {}: {}", config.listen, bypass.describe());
                Ok(Self::Xdp(Box::new(bypass)))
            }
        }
    }
}

impl Door {
    /// By what frames of our own members are served; `None` where sockets of the kernel do it.
    #[must_use]
    pub fn by(&self) -> Option<String> {
        match self {
            Self::Xdp(bypass) => Some(bypass.describe()),
            Self::Shut | Self::Kernel(..) | Self::Uring(_) => None,
        }
    }

    /// Copies what the TCP of our own counted, in the order of [`roles::BYPASS`].
    pub fn tell(&self, metrics: &mut RoleMetrics) {
        let Self::Xdp(bypass) = self else { return };
        let (tcp, counters) = (bypass.tcp(), bypass.tcp().counters());
        let figures = [
            tcp.connections() as u64,
            tcp.half_open() as u64,
            counters.cookies_sent,
            counters.cookies_redeemed,
            counters.connected,
            counters.refused,
            counters.aborted,
            counters.unknown,
            counters.frames,
            counters.ignored,
            bypass.frames_dropped(),
            counters.tx_full,
        ];
        assert_eq!(figures.len(), roles::BYPASS.counters.len(), "each has its name");
        for (at, figure) in figures.into_iter().enumerate() {
            metrics.set(at, figure);
        }
    }
}

fn bind(config: &OrderEntry) -> Result<KernelAcceptor, Error> {
    let options = kernel::Options { busy_poll_us: config.busy_poll_us, rx_timestamps: config.rx_timestamps };
    KernelAcceptor::bind_with(config.listen, options)
}

/// As [`bind`]. The kernel takes a ring apart a moment after its process has ended, however that was, and only then gives back
/// the address that it accepted on: a node that was killed and is started again waits for that.
fn bind_after_ring(config: &OrderEntry) -> Result<KernelAcceptor, Error> {
    const TAKEN_MAX: Duration = Duration::from_secs(5);
    let began = Instant::now();
    loop {
        match bind(config) {
            Err(Error::Listen { source, .. })
                if source.kind() == ErrorKind::AddrInUse && began.elapsed() < TAKEN_MAX =>
            {
                std::thread::sleep(Duration::from_millis(10));
            }
            result => return result,
        }
    }
}

fn not_bound(error: &Error) -> Failure {
    Failure::refused(format_args!("order_entry.listen: {error}"))
}

/// With those that are being closed, which have no session any more.
fn connections_max(config: &OrderEntry) -> usize {
    config.sessions_max + config.sessions_max / 2 + 64
}

fn tcp_config(config: &OrderEntry) -> Result<tcp::Config, Failure> {
    let mut secret = [0; 16];
    getrandom::fill(&mut secret).map_err(|e| Failure::refused(format_args!("no randomness: {e}")))?;
    let defaults = tcp::Config::new(config.listen, u128::from_ne_bytes(secret));
    Ok(tcp::Config {
        // Who never completes a handshake takes no member's place.
        connections_max: connections_max(config) + defaults.half_open_max,
        ..defaults
    })
}

impl SessionIo for Door {
    type Connection = Connection;

    fn poll(&mut self, now: Nanos) -> usize {
        match self {
            Self::Shut => 0,
            Self::Kernel(_, asked) => {
                asked.is_due |= asked.at != now;
                asked.at = now;
                0
            }
            Self::Uring(ring) => ring.poll(now),
            Self::Xdp(bypass) => bypass.poll(now),
        }
    }

    fn accept(&mut self) -> Result<Option<Connection>, Error> {
        match self {
            Self::Shut => Ok(None),
            Self::Kernel(_, Asked { is_due: false, .. }) => Ok(None),
            Self::Kernel(acceptor, asked) => {
                let accepted = SessionIo::accept(acceptor)?;
                asked.is_due = accepted.is_some();
                Ok(accepted.map(Connection::Kernel))
            }
            Self::Uring(ring) => Ok(ring.accept()?.map(Connection::Uring)),
            Self::Xdp(bypass) => Ok(bypass.accept()?.map(Connection::Xdp)),
        }
    }

    fn look(&mut self, connections: usize) {
        if let Self::Kernel(acceptor, _) = self {
            SessionIo::look(acceptor, connections);
        }
    }

    fn has_input(&self, connection: &Connection) -> bool {
        match (self, connection) {
            (Self::Kernel(acceptor, _), Connection::Kernel(connection)) => {
                SessionIo::has_input(acceptor, connection)
            }
            (Self::Uring(ring), Connection::Uring(connection)) => ring.has_input(connection),
            (Self::Xdp(bypass), Connection::Xdp(connection)) => bypass.has_input(connection),
            // Of a door that is shut.
            _ => true,
        }
    }

    fn read(&mut self, connection: &mut Connection, buffer: &mut [u8]) -> Result<usize, Closed> {
        match (self, connection) {
            (_, Connection::Kernel(connection)) => connection.read(buffer),
            (Self::Uring(ring), Connection::Uring(connection)) => ring.read(connection, buffer),
            (Self::Xdp(bypass), Connection::Xdp(connection)) => bypass.read(connection, buffer),
            // Of a door that is shut.
            (_, Connection::Uring(_) | Connection::Xdp(_)) => Err(Closed::ByPeer),
        }
    }

    fn late(&self, connection: &Connection) -> Option<Late> {
        match connection {
            Connection::Kernel(connection) => connection.late(),
            // Who takes frames off the card, or has buffers filled, has no stamps.
            Connection::Uring(_) | Connection::Xdp(_) => None,
        }
    }

    fn write(&mut self, connection: &mut Connection, bytes: &[u8]) -> Result<usize, Closed> {
        match (self, connection) {
            (_, Connection::Kernel(connection)) => connection.write(bytes),
            (Self::Uring(ring), Connection::Uring(connection)) => ring.write(connection, bytes),
            (Self::Xdp(bypass), Connection::Xdp(connection)) => bypass.write(connection, bytes),
            (_, Connection::Uring(_) | Connection::Xdp(_)) => Err(Closed::ByPeer),
        }
    }

    /// Only sockets by themselves can wake who sleeps; the others are polled.
    fn wait(&mut self, at_most: Duration) -> bool {
        match self {
            Self::Kernel(acceptor, _) => SessionIo::wait(acceptor, at_most),
            Self::Shut | Self::Uring(_) | Self::Xdp(_) => false,
        }
    }

    fn flush(&mut self, now: Nanos) {
        if let Self::Xdp(bypass) = self {
            bypass.flush(now);
        }
    }

    fn close(&mut self, connection: Connection) {
        match (self, connection) {
            (Self::Uring(ring), Connection::Uring(connection)) => ring.close(connection),
            (Self::Xdp(bypass), Connection::Xdp(connection)) => bypass.close(connection),
            (_, connection) => drop(connection),
        }
    }

    /// `0.0.0.0:0` while it is shut.
    fn local_addr(&self) -> SocketAddr {
        match self {
            Self::Shut => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            Self::Kernel(acceptor, _) => SessionIo::local_addr(acceptor),
            Self::Uring(ring) => ring.local_addr(),
            Self::Xdp(bypass) => bypass.local_addr(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn who_is_started_again_waits_until_the_ring_of_before_is_gone() {
        let before = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let listen = before.local_addr().expect("it is bound");
        let gone = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(200));
            drop(before);
        });
        let config = OrderEntry { listen, io: Io::Uring, ..OrderEntry::default() };
        let door = Door::open(&config).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(door.local_addr(), listen);
        gone.join().expect("it ends");
    }
}
