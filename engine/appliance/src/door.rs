//! Where members come in, and by what their bytes are moved: `order_entry.io`.
//!
//! One type for all of them, so that the rest of the node is written once. A match stands where a pointer to a
//! function would: the compiler sees through it, and it always goes the same way.

use std::net::{Ipv4Addr, SocketAddr};

use ironbell_device::kernel::{self, KernelAcceptor};
use ironbell_device::{Closed, Error, SessionIo, Stream as _};
use ironbell_types::Nanos;
use ironbell_xdp::bypass::Bypass;
use ironbell_xdp::{socket, tcp};

use crate::config::{Io, OrderEntry};
use crate::failure::Failure;

/// Where members come in.
#[derive(Debug)]
pub enum Door {
    /// Nowhere: who leads nothing does not listen.
    Shut,
    /// Sockets of the kernel.
    Kernel(KernelAcceptor),
    /// A TCP of our own over AF_XDP.
    Xdp(Box<Bypass>),
}

/// A member's connection.
#[derive(Debug)]
pub enum Connection {
    /// A socket.
    Kernel(kernel::Connection),
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
                let options = kernel::Options { busy_poll_us: config.busy_poll_us };
                let acceptor = KernelAcceptor::bind_with(config.listen, options)
                    .map_err(|e| Failure::refused(format_args!("order_entry.listen: {e}")))?;
                Ok(Self::Kernel(acceptor))
            }
            Io::Xdp => {
                let mut bypass = Bypass::listen(&socket_config(config), tcp_config(config)?)
                    .map_err(|e| Failure::refused(format_args!("order_entry.xdp: {e}")))?;
                tracing::info!("order entry on {}: {}", config.listen, bypass.describe());
                Ok(Self::Xdp(Box::new(bypass)))
            }
        }
    }
}

fn socket_config(config: &OrderEntry) -> socket::Config {
    let xdp = &config.xdp;
    socket::Config {
        queue: xdp.queue,
        frames: xdp.frames,
        copy: xdp.copy.into(),
        busy_poll_budget: xdp.busy_poll_budget,
        ..socket::Config::new(&xdp.interface)
    }
}

fn tcp_config(config: &OrderEntry) -> Result<tcp::Config, Failure> {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|e| Failure::refused(format_args!("no randomness: {e}")))?;
    // Those that are being closed have no session any more.
    let connections_max = config.sessions_max + config.sessions_max / 2 + 64;
    Ok(tcp::Config { connections_max, ..tcp::Config::new(config.listen, u64::from_ne_bytes(seed)) })
}

impl SessionIo for Door {
    type Connection = Connection;

    fn poll(&mut self, now: Nanos) -> usize {
        match self {
            Self::Shut | Self::Kernel(_) => 0,
            Self::Xdp(bypass) => bypass.poll(now),
        }
    }

    fn accept(&mut self) -> Result<Option<Connection>, Error> {
        match self {
            Self::Shut => Ok(None),
            Self::Kernel(acceptor) => Ok(SessionIo::accept(acceptor)?.map(Connection::Kernel)),
            Self::Xdp(bypass) => Ok(bypass.accept()?.map(Connection::Xdp)),
        }
    }

    fn read(&mut self, connection: &mut Connection, buffer: &mut [u8]) -> Result<usize, Closed> {
        match (self, connection) {
            (_, Connection::Kernel(connection)) => connection.read(buffer),
            (Self::Xdp(bypass), Connection::Xdp(connection)) => bypass.read(connection, buffer),
            (_, Connection::Xdp(_)) => Err(Closed::ByPeer),
        }
    }

    fn write(&mut self, connection: &mut Connection, bytes: &[u8]) -> Result<usize, Closed> {
        match (self, connection) {
            (_, Connection::Kernel(connection)) => connection.write(bytes),
            (Self::Xdp(bypass), Connection::Xdp(connection)) => bypass.write(connection, bytes),
            (_, Connection::Xdp(_)) => Err(Closed::ByPeer),
        }
    }

    fn flush(&mut self, now: Nanos) {
        if let Self::Xdp(bypass) = self {
            bypass.flush(now);
        }
    }

    fn close(&mut self, connection: Connection) {
        match (self, connection) {
            (Self::Xdp(bypass), Connection::Xdp(connection)) => bypass.close(connection),
            (_, connection) => drop(connection),
        }
    }

    /// `0.0.0.0:0` while it is shut.
    fn local_addr(&self) -> SocketAddr {
        match self {
            Self::Shut => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            Self::Kernel(acceptor) => SessionIo::local_addr(acceptor),
            Self::Xdp(bypass) => bypass.local_addr(),
        }
    }
}
