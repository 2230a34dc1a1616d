//! The seams to the network.
//!
//! SessionIo moves streams of bytes: an [`Acceptor`] and its [`Stream`]s, each of which stands alone, over
//! the kernel's sockets ([`kernel`]) or in memory ([`mem`]); or, where connections share one machinery, a
//! [`SessionIo`] itself. A [`FrameDevice`] moves frames of Ethernet, for who brings a TCP of its own. Both
//! exist with injected faults ([`fault`]). This crate refuses to know what the bytes mean and when a
//! connection has been silent for too long (`net/session`). Roles are generic over the seams and
//! monomorphised: there is no dynamic call on the order path.
//!
//! Start with [`SessionIo`], what a role does with its connections.

#![forbid(unsafe_code)]

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

pub mod checksum;
pub mod fault;
mod frames;
pub mod kernel;
pub mod mem;
mod stamps;

pub use frames::{Capabilities, FrameDevice, FrameRx, FrameTx};
/// What times are told in.
pub use ironbell_types::Nanos;

/// How long ago the bytes came that were just read, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Late {
    /// Since the kernel had them.
    pub kernel: Option<Nanos>,
    /// Since the network card had them, by its own clock.
    pub card: Option<Nanos>,
}

/// All connections of one listening port. No call ever waits.
///
/// Whoever drives it calls [`SessionIo::poll`], takes and reads connections, writes to them, and calls
/// [`SessionIo::flush`] when it has written what it had: an implementation may hold bytes back until then,
/// to send them together.
pub trait SessionIo {
    /// What a caller holds of a connection.
    type Connection;

    /// Moves what can be moved now, and says how much that was. `now` never goes back by more than a
    /// clock step; it is only used to measure how long ago something was.
    fn poll(&mut self, now: Nanos) -> usize;

    /// The next connection that is waiting to be accepted, if any.
    ///
    /// # Errors
    /// [`Error::Accept`] when the system has no room for another connection now; try again later.
    fn accept(&mut self) -> Result<Option<Self::Connection>, Error>;

    /// To be called before a sweep over all connections, of which there are about so many: finds out what
    /// [`SessionIo::has_input`] then says, where that is not known anyway.
    fn look(&mut self, _connections: usize) {}

    /// Whether a read may find something, an end included: as of the last [`SessionIo::poll`] and [`SessionIo::look`]. `true`
    /// where it is not known: only a read says.
    fn has_input(&self, _connection: &Self::Connection) -> bool {
        true
    }

    /// As [`Stream::read`].
    ///
    /// # Errors
    /// [`Closed`] once nothing more can come.
    ///
    /// # Panics
    /// When `buffer` is empty.
    fn read(&mut self, connection: &mut Self::Connection, buffer: &mut [u8]) -> Result<usize, Closed>;

    /// As [`Stream::late`].
    fn late(&self, _connection: &Self::Connection) -> Option<Late> {
        None
    }

    /// As [`Stream::write`].
    ///
    /// # Errors
    /// [`Closed`] when the peer will read nothing more.
    fn write(&mut self, connection: &mut Self::Connection, bytes: &[u8]) -> Result<usize, Closed>;

    /// Sleeps until something comes in or a time is over; `false`, at once, where it cannot. For who has nothing else to do.
    fn wait(&mut self, _at_most: Duration) -> bool {
        false
    }

    /// Sends what was written.
    fn flush(&mut self, now: Nanos);

    /// Closes a connection. What was written is still sent.
    fn close(&mut self, connection: Self::Connection);

    /// Where it listens; with the port that was chosen when 0 was asked for.
    fn local_addr(&self) -> SocketAddr;
}

/// Where each connection stands alone there is nothing to do for all of them together.
impl<A: Acceptor> SessionIo for A {
    type Connection = A::Stream;

    fn poll(&mut self, _now: Nanos) -> usize {
        0
    }

    fn accept(&mut self) -> Result<Option<A::Stream>, Error> {
        Acceptor::accept(self)
    }

    fn look(&mut self, connections: usize) {
        Acceptor::look(self, connections);
    }

    fn has_input(&self, connection: &A::Stream) -> bool {
        Acceptor::has_input(self, connection)
    }

    fn read(&mut self, connection: &mut A::Stream, buffer: &mut [u8]) -> Result<usize, Closed> {
        connection.read(buffer)
    }

    fn late(&self, connection: &A::Stream) -> Option<Late> {
        connection.late()
    }

    fn write(&mut self, connection: &mut A::Stream, bytes: &[u8]) -> Result<usize, Closed> {
        connection.write(bytes)
    }

    fn wait(&mut self, at_most: Duration) -> bool {
        Acceptor::wait(self, at_most)
    }

    fn flush(&mut self, _now: Nanos) {}

    fn close(&mut self, connection: A::Stream) {
        drop(connection);
    }

    fn local_addr(&self) -> SocketAddr {
        Acceptor::local_addr(self)
    }
}

/// Where connections come from.
pub trait Acceptor {
    /// A connection of this kind.
    type Stream: Stream;

    /// The next connection that is waiting to be accepted, if any. Never waits.
    ///
    /// # Errors
    /// [`Error::Accept`] when the system has no room for another connection now. The acceptor stays
    /// usable: the caller counts it and tries again later.
    fn accept(&mut self) -> Result<Option<Self::Stream>, Error>;

    /// As [`SessionIo::look`].
    fn look(&mut self, _connections: usize) {}

    /// As [`SessionIo::has_input`].
    fn has_input(&self, _stream: &Self::Stream) -> bool {
        true
    }

    /// As [`SessionIo::wait`].
    fn wait(&mut self, _at_most: Duration) -> bool {
        false
    }

    /// Where it listens; with the port that was chosen when 0 was asked for.
    fn local_addr(&self) -> SocketAddr;
}

/// A place to listen that may not be open yet: until it is, nobody comes.
impl<A: Acceptor> Acceptor for Option<A> {
    type Stream = A::Stream;

    fn accept(&mut self) -> Result<Option<Self::Stream>, Error> {
        self.as_mut().map_or(Ok(None), A::accept)
    }

    fn look(&mut self, connections: usize) {
        if let Some(acceptor) = self {
            acceptor.look(connections);
        }
    }

    fn has_input(&self, stream: &Self::Stream) -> bool {
        self.as_ref().is_none_or(|acceptor| acceptor.has_input(stream))
    }

    fn wait(&mut self, at_most: Duration) -> bool {
        self.as_mut().is_some_and(|acceptor| acceptor.wait(at_most))
    }

    /// `0.0.0.0:0` until it is open.
    fn local_addr(&self) -> SocketAddr {
        self.as_ref().map_or(SocketAddr::from(([0, 0, 0, 0], 0)), A::local_addr)
    }
}

/// A stream of bytes to and from one peer. No call waits, and dropping it closes it.
pub trait Stream {
    /// Reads into `buffer` what has arrived, and says how many bytes. 0: nothing now.
    ///
    /// # Errors
    /// [`Closed`] once nothing more can come. Bytes that came before are handed out first.
    ///
    /// # Panics
    /// When `buffer` is empty: 0 would then say nothing.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Closed>;

    /// How late the last read that found something was, where that was asked for and is known.
    fn late(&self) -> Option<Late> {
        None
    }

    /// Takes as much of `bytes` as there is room for, from its start, and says how many. 0: no room now.
    ///
    /// # Errors
    /// [`Closed`] when the peer will read nothing more.
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Closed>;

    /// The peer's address, for the log.
    fn peer_addr(&self) -> SocketAddr;
}

/// Why a connection is over. Either way the caller drops it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// the peer closed the connection
    #[error("the peer closed the connection")]
    ByPeer,
    /// the connection failed
    #[error("the connection failed: {0}")]
    Failed(io::ErrorKind),
}

/// What the world did to us before there was a connection.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}: {source}{}", listen_advice(.source))]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel may not poll the card for us.
    #[error(
        "cannot set SO_BUSY_POLL to {us} µs: {source}; grant CAP_NET_ADMIN, raise net.core.busy_read, or leave it out"
    )]
    BusyPoll {
        /// What was asked for, in microseconds.
        us: u32,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel does not stamp what it receives.
    #[error("cannot ask for receive timestamps: {source}; leave them out")]
    Timestamps {
        /// What the system said.
        source: io::Error,
    },
    /// A peer cannot be reached.
    #[error("cannot connect to {addr}: {source}")]
    Connect {
        /// The peer.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The system cannot take one more connection.
    #[error("cannot accept a connection on {addr}: {source}; raise the limit of open files (ulimit -n)")]
    Accept {
        /// Where we listen.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

fn listen_advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::AddrInUse => "; another process has this port: stop it or configure another port",
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need CAP_NET_BIND_SERVICE: grant it or configure a higher port"
        }
        io::ErrorKind::AddrNotAvailable => {
            "; no interface of this machine has that address: configure one that does"
        }
        _ => "",
    }
}
