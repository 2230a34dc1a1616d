//! Where market data goes out, and by what: `feed.io`.

use std::io::ErrorKind;
use std::net::{SocketAddr, SocketAddrV4};

use ironbell_feed::datagrams::{Datagrams, RerequestSocket, Udp};
use ironbell_xdp::group::{Addresses, Group};
use ironbell_xdp::packet::Tag;
use ironbell_xdp::socket::{self, XdpTx};

use crate::config::{Feed, FeedIo};
use crate::failure::Failure;

/// What moves the feed's packets. Re-requests are few: they are the kernel's in any case.
#[derive(Debug)]
pub enum Outlet {
    /// Sockets of the kernel.
    Kernel(Udp),
    /// Frames of our own, on a transmit queue of their own; and that in words.
    Xdp(Box<Group<XdpTx>>, RerequestSocket, String),
}

impl Outlet {
    /// Opens what `config` asks for.
    ///
    /// # Errors
    /// When an address is taken or not this machine's, or the machine does not allow what `io` takes.
    pub fn open(config: &Feed, feed: &ironbell_feed::Config) -> Result<Self, Failure> {
        if config.io == FeedIo::Kernel {
            return Ok(Self::Kernel(Udp::open(feed)?));
        }
        let refused = |e| Failure::refused(format_args!("feed.xdp: {e}"));
        let sockets = config.xdp.socket();
        let (tx, capabilities) = socket::open_sender(&sockets).map_err(refused)?;
        let addresses = Addresses {
            group: feed.group,
            from: SocketAddrV4::new(feed.interface, feed.group.port()),
            from_hardware: socket::hardware_address(&sockets.interface).map_err(refused)?,
            ttl: u8::try_from(feed.ttl).unwrap_or(u8::MAX),
            tag: config.xdp.vlan.map(|id| Tag { id, priority: config.xdp.vlan_priority }),
        };
        let group = Group::new(tx, &capabilities, &addresses);
        if feed.payload_size_max > group.payload_size_max() {
            return Err(Failure::refused(format_args!(
                "feed.payload_bytes_max = {}, and a frame on {} takes {}: lower it, or raise the device's MTU",
                feed.payload_size_max,
                sockets.interface,
                group.payload_size_max()
            )));
        }
        let how = socket::describe(&capabilities);
        let tag = addresses.tag.map_or(String::new(), |tag| format!(", VLAN {}", tag.id));
        let how = format!("{how}, queue {} of {}{tag}", sockets.queue, sockets.interface);
        tracing::info!("market data to {}: {how}", feed.group);
        Ok(Self::Xdp(Box::new(group), RerequestSocket::open(feed)?, how))
    }

    /// By what frames of our own go out; `None` for sockets of the kernel.
    #[must_use]
    pub fn by(&self) -> Option<&str> {
        match self {
            Self::Kernel(_) => None,
            Self::Xdp(_, _, how) => Some(how),
        }
    }

    /// Where re-requests are answered.
    #[must_use]
    pub fn rerequest_at(&self) -> SocketAddr {
        match self {
            Self::Kernel(udp) => udp.rerequest_at(),
            Self::Xdp(_, rerequests, _) => rerequests.at(),
        }
    }
}

impl Datagrams for Outlet {
    fn multicast(&mut self, packet: &[u8]) -> Result<(), ErrorKind> {
        match self {
            Self::Kernel(udp) => udp.multicast(packet),
            Self::Xdp(group, ..) => group.send(packet),
        }
    }

    fn flush(&mut self) {
        if let Self::Xdp(group, ..) = self {
            group.flush();
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        match self {
            Self::Kernel(udp) => udp.receive(buffer),
            Self::Xdp(_, rerequests, _) => rerequests.receive(buffer),
        }
    }

    fn unicast(&mut self, packet: &[u8], to: SocketAddr) -> Result<(), ErrorKind> {
        match self {
            Self::Kernel(udp) => udp.unicast(packet, to),
            Self::Xdp(_, rerequests, _) => rerequests.send(packet, to),
        }
    }
}
