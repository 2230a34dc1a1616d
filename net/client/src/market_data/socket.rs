//! The two followers over kernel sockets. No `poll` waits.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};

use ironbell_device::kernel::Connection;
use ironbell_device::{Closed, Stream};
use ironbell_session::Config;
use ironbell_types::Nanos;
use socket2::{Domain, Protocol, Socket, Type};
use zerocopy::IntoBytes;

use super::{Credentials, Delivery, JoinError, LateJoiner, MulticastFollower};

/// Why a follower over sockets failed.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// A socket cannot be opened, or the group not joined.
    #[error("cannot {doing} {address}: {source}")]
    Socket {
        /// What for.
        doing: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The server cannot be reached.
    #[error(transparent)]
    Connect(#[from] ironbell_device::Error),
    /// The connection is gone.
    #[error("the feed's connection is over: {0}")]
    Closed(#[from] Closed),
    /// The server did not do as the protocols say.
    #[error(transparent)]
    Join(#[from] JoinError),
}

/// Bytes that may wait in the kernel to be read; the kernel grants an ordinary user less.
const RECEIVE_BUFFER_SIZE: usize = 16 << 20;
/// Datagrams taken at one poll.
const DATAGRAMS_MAX: usize = 256;

/// A [`MulticastFollower`] and its sockets.
#[derive(Debug)]
pub struct MulticastClient {
    follower: MulticastFollower,
    group: UdpSocket,
    unicast: UdpSocket,
    malformed: u64,
    buffer: Box<[u8]>,
}

impl MulticastClient {
    /// Joins `group` on the interface of that address and asks `rerequest` for what is lost. With port 0
    /// in `group` the kernel chooses one ([`Self::group`]).
    ///
    /// # Errors
    /// [`FollowError::Socket`].
    pub fn join(
        follower: MulticastFollower,
        group: SocketAddrV4,
        interface: Ipv4Addr,
        rerequest: SocketAddr,
    ) -> Result<Self, FollowError> {
        let joined = join(group, interface).map_err(|source| FollowError::Socket {
            doing: "join",
            address: group.into(),
            source,
        })?;
        let unicast = UdpSocket::bind((interface, 0))
            .and_then(|socket| socket.connect(rerequest).map(|()| socket))
            .and_then(|socket| socket.set_nonblocking(true).map(|()| socket))
            .map_err(|source| FollowError::Socket {
                doing: "send requests to",
                address: rerequest,
                source,
            })?;
        Ok(Self { follower, group: joined, unicast, malformed: 0, buffer: vec![0; 65_536].into() })
    }

    /// Where the group is listened to.
    ///
    /// # Panics
    /// When the kernel does not know its own socket's address.
    #[must_use]
    pub fn group(&self) -> SocketAddr {
        self.group.local_addr().expect("a bound socket has an address")
    }

    /// Takes what arrived, calls `deliver(number, message)` for every message whose turn has come, and
    /// asks for what is missing. Returns how many datagrams it took.
    pub fn poll(&mut self, now: Nanos, deliver: &mut impl FnMut(u64, &[u8])) -> usize {
        let mut taken = 0;
        for socket in [&self.unicast, &self.group] {
            for _ in 0..DATAGRAMS_MAX {
                // A refused request (nobody listens at the re-request address) shows up here as an error;
                // it is asked for again in time.
                let Ok(len) = socket.recv(&mut self.buffer) else { break };
                taken += 1;
                let packet = self.follower.packet(&self.buffer[..len], now, deliver);
                self.malformed += u64::from(packet.is_err());
            }
        }
        while let Some(request) = self.follower.request(now) {
            if self.unicast.send(request.as_bytes()).is_err() {
                break;
            }
        }
        taken
    }

    /// The state machine.
    #[must_use]
    pub fn follower(&self) -> &MulticastFollower {
        &self.follower
    }

    /// Datagrams that were no MoldUDP64 packets.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.malformed
    }
}

fn join(group: SocketAddrV4, interface: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    // Several followers of one group run on one machine.
    socket.set_reuse_address(true)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER_SIZE)?;
    // Bound to the group itself, so that nothing else sent to the port is heard.
    socket.bind(&SocketAddr::from(group).into())?;
    socket.join_multicast_v4(group.ip(), &interface)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// A [`LateJoiner`] and its connection.
#[derive(Debug)]
pub struct LateJoinClient {
    joiner: LateJoiner,
    stream: Connection,
    itch: SocketAddr,
}

impl LateJoinClient {
    /// Connects to the GLIMPSE server; the ITCH server follows when the snapshot is complete. Waits for
    /// the connection to be made, as every later one.
    ///
    /// # Errors
    /// [`FollowError::Connect`], [`JoinError::Credentials`].
    pub fn connect(
        config: Config,
        credentials: Credentials,
        glimpse: SocketAddr,
        itch: SocketAddr,
        now: Nanos,
    ) -> Result<Self, FollowError> {
        let stream = Connection::connect(glimpse)?;
        Ok(Self { joiner: LateJoiner::new(config, credentials, now)?, stream, itch })
    }

    /// Takes what arrived, calls `deliver` for every message, sends what is to be sent. Returns how many
    /// bytes moved. After a [`FollowError::Closed`] in the stream, [`Self::reconnect`] goes on.
    ///
    /// # Errors
    /// [`FollowError`].
    pub fn poll(&mut self, now: Nanos, deliver: &mut impl FnMut(Delivery<'_>)) -> Result<usize, FollowError> {
        // Read first: what the server said before it closed is still to be had, a write is not.
        let mut moved = self.stream.read(self.joiner.space())?;
        self.joiner.received(moved, now, deliver)?;
        if self.joiner.wants_stream() {
            self.reconnect(now)?;
            return Ok(moved);
        }
        self.joiner.on_time(now)?;
        while !self.joiner.output().is_empty() {
            let count = self.stream.write(self.joiner.output())?;
            if count == 0 {
                break;
            }
            self.joiner.sent(count, now);
            moved += count;
        }
        Ok(moved)
    }

    /// Connects to the ITCH server, to begin with the stream or to go on with it after a loss.
    ///
    /// # Errors
    /// [`FollowError::Connect`].
    ///
    /// # Panics
    /// While the snapshot is not complete.
    pub fn reconnect(&mut self, now: Nanos) -> Result<(), FollowError> {
        self.stream = Connection::connect(self.itch)?;
        Ok(self.joiner.connected(now)?)
    }

    /// The state machine.
    #[must_use]
    pub fn joiner(&self) -> &LateJoiner {
        &self.joiner
    }
}
