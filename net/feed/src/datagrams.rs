//! The feed's two sockets, behind a seam: kernel UDP, and whatever a test puts there.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use crate::{Config, Error};

/// Where packets leave and requests arrive. No call waits.
pub trait Datagrams {
    /// Sends to every follower.
    ///
    /// # Errors
    /// When the packet was not taken; it is then lost.
    fn multicast(&mut self, packet: &[u8]) -> Result<(), ErrorKind>;

    /// Lets what was multicast leave. Until then it may wait, to be sent together.
    fn flush(&mut self) {}

    /// The next datagram that a follower sent here, if any: its length in `buffer` and its sender.
    fn receive(&mut self, buffer: &mut [u8]) -> Option<(usize, SocketAddr)>;

    /// Sends to one follower.
    ///
    /// # Errors
    /// When the packet was not taken; it is then lost.
    fn unicast(&mut self, packet: &[u8], to: SocketAddr) -> Result<(), ErrorKind>;
}

/// Sockets that may not be open yet: until they are, nothing is sent and nothing comes.
impl<D: Datagrams> Datagrams for Option<D> {
    fn multicast(&mut self, packet: &[u8]) -> Result<(), ErrorKind> {
        self.as_mut().map_or(Err(ErrorKind::NotConnected), |open| open.multicast(packet))
    }

    fn flush(&mut self) {
        if let Some(open) = self {
            open.flush();
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        self.as_mut().and_then(|open| open.receive(buffer))
    }

    fn unicast(&mut self, packet: &[u8], to: SocketAddr) -> Result<(), ErrorKind> {
        self.as_mut().map_or(Err(ErrorKind::NotConnected), |open| open.unicast(packet, to))
    }
}

/// Bytes that may wait in the kernel to leave: several milliseconds of a busy feed.
const SEND_BUFFER_SIZE: usize = 4 << 20;

/// Kernel sockets.
#[derive(Debug)]
pub struct Udp {
    multicast: UdpSocket,
    rerequests: RerequestSocket,
}

impl Udp {
    /// Opens both sockets as `config` says.
    ///
    /// # Errors
    /// [`Error::Socket`].
    pub fn open(config: &Config) -> Result<Self, Error> {
        let multicast = open_multicast(config).map_err(|source| Error::Socket {
            doing: "send multicast to",
            address: config.group.into(),
            source,
        })?;
        Ok(Self { multicast, rerequests: RerequestSocket::open(config)? })
    }

    /// Where re-requests are answered; with the port that was chosen when 0 was asked for.
    #[must_use]
    pub fn rerequest_at(&self) -> SocketAddr {
        self.rerequests.at()
    }
}

/// The kernel socket on which re-requests are answered.
#[derive(Debug)]
pub struct RerequestSocket {
    socket: UdpSocket,
    at: SocketAddr,
}

impl RerequestSocket {
    /// Opens it as `config` says.
    ///
    /// # Errors
    /// [`Error::Socket`].
    pub fn open(config: &Config) -> Result<Self, Error> {
        let open = || {
            let socket = UdpSocket::bind(config.rerequest)?;
            socket.set_nonblocking(true)?;
            let at = socket.local_addr()?;
            Ok(Self { socket, at })
        };
        open().map_err(|source| Error::Socket {
            doing: "answer re-requests on",
            address: config.rerequest.into(),
            source,
        })
    }

    /// Where it is; with the port that was chosen when 0 was asked for.
    #[must_use]
    pub fn at(&self) -> SocketAddr {
        self.at
    }

    /// As [`Datagrams::receive`].
    pub fn receive(&mut self, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        self.socket.recv_from(buffer).ok()
    }

    /// As [`Datagrams::unicast`].
    ///
    /// # Errors
    /// When the packet was not taken; it is then lost.
    pub fn send(&mut self, packet: &[u8], to: SocketAddr) -> Result<(), ErrorKind> {
        self.socket.send_to(packet, to).map(drop).map_err(|e| e.kind())
    }
}

/// Connected, so that the kernel looks the route up once and not for every packet.
fn open_multicast(config: &Config) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_multicast_if_v4(&config.interface)?;
    socket.set_multicast_loop_v4(true)?;
    socket.set_multicast_ttl_v4(config.ttl)?;
    // The kernel grants less than this to an ordinary user; what does not fit is dropped and counted.
    socket.set_send_buffer_size(SEND_BUFFER_SIZE)?;
    // Packets carry the interface's address, so that a follower may filter on it.
    socket.bind(&SocketAddr::from((config.interface, 0)).into())?;
    socket.connect(&SocketAddr::from(config.group).into())?;
    Ok(socket.into())
}

impl Datagrams for Udp {
    fn multicast(&mut self, packet: &[u8]) -> Result<(), ErrorKind> {
        self.multicast.send(packet).map(drop).map_err(|e| e.kind())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        self.rerequests.receive(buffer)
    }

    fn unicast(&mut self, packet: &[u8], to: SocketAddr) -> Result<(), ErrorKind> {
        self.rerequests.send(packet, to)
    }
}
