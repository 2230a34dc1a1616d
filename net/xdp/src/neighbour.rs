//! Where frames for somebody go: the kernel's routes and its table of neighbours, asked for over rtnetlink(7).
//!
//! Who answers needs none of this, since answers go to where a frame came from; who speaks first does. The kernel keeps
//! speaking ARP and ND, so that there is one table, and what an operator pins in it (`ip neigh add … nud permanent`) holds.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{RecvFlags, SendFlags, SocketType};

use crate::Error;
use crate::packet::LinkHeader;
use crate::socket::{hardware_address, interface_index};

/// What frames to `to` begin with that leave by `interface`: to the host itself where it is in the same network, and
/// otherwise to the gateway of its route. Whom the kernel does not know yet it is made to ask, for `at_most` this long.
///
/// # Errors
/// [`Error::NoInterface`]; [`Error::Neighbour`] when the route goes by another device, or nobody answers.
pub fn link_to(interface: &str, to: IpAddr, at_most: Duration) -> Result<LinkHeader, Error> {
    let failed = |source| Error::Neighbour { to, interface: interface.to_owned(), source };
    let index = interface_index(interface)?;
    let own = hardware_address(interface)?;
    let kernel = Kernel::connect().map_err(failed)?;
    let (leaves_by, gateway) = kernel.route(to).map_err(failed)?;
    if leaves_by != index {
        let what = format!("its route leaves by the device of number {leaves_by} (`ip route get {to}`)");
        return Err(failed(io::Error::new(io::ErrorKind::NetworkUnreachable, what)));
    }
    let next = gateway.unwrap_or(to);
    let began = Instant::now();
    let mut is_asked = false;
    loop {
        if let Some(hardware) = kernel.neighbour(index, next).map_err(failed)? {
            return Ok(LinkHeader::new(own, hardware, to));
        }
        if began.elapsed() > at_most {
            return Err(failed(io::Error::new(
                io::ErrorKind::HostUnreachable,
                format!("{next} does not answer"),
            )));
        }
        if !is_asked {
            is_asked = true;
            make_it_ask(to).map_err(failed)?;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A datagram to the port that discards: to send it the kernel has to know where to.
fn make_it_ask(to: IpAddr) -> io::Result<()> {
    const DISCARD: u16 = 9;
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    UdpSocket::bind((any, 0))?.send_to(&[], (to, DISCARD)).map(drop)
}

/// A connection to the kernel's routing.
struct Kernel(OwnedFd);

impl Kernel {
    fn connect() -> io::Result<Self> {
        // Of netlink's protocols routing is number 0, which is that of no protocol.
        let family = rustix::net::AddressFamily::NETLINK;
        let socket = rustix::net::socket(family, SocketType::RAW, None)?;
        rustix::net::connect(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self(socket))
    }

    /// The device by which `to` is reached, and the gateway, if it is behind one.
    fn route(&self, to: IpAddr) -> io::Result<(u32, Option<IpAddr>)> {
        let mut asked = RouteMessage::default();
        asked.header.address_family = family(to);
        asked.header.destination_prefix_length = if to.is_ipv4() { 32 } else { 128 };
        asked.attributes.push(RouteAttribute::Destination(match to {
            IpAddr::V4(v4) => RouteAddress::Inet(v4),
            IpAddr::V6(v6) => RouteAddress::Inet6(v6),
        }));
        let told = self.ask(RouteNetlinkMessage::GetRoute(asked))?;
        let Some(RouteNetlinkMessage::NewRoute(route)) = told else { return Err(unexpected()) };
        let (mut leaves_by, mut gateway) = (None, None);
        for attribute in route.attributes {
            match attribute {
                RouteAttribute::Oif(index) => leaves_by = Some(index),
                RouteAttribute::Gateway(RouteAddress::Inet(v4)) => gateway = Some(v4.into()),
                RouteAttribute::Gateway(RouteAddress::Inet6(v6)) => gateway = Some(v6.into()),
                _ => {}
            }
        }
        Ok((leaves_by.ok_or_else(unexpected)?, gateway))
    }

    /// The Ethernet address of a neighbour on the device of that number, if it is known.
    fn neighbour(&self, index: u32, address: IpAddr) -> io::Result<Option<[u8; 6]>> {
        let mut asked = NeighbourMessage::default();
        (asked.header.family, asked.header.ifindex) = (family(address), index);
        asked.attributes.push(NeighbourAttribute::Destination(match address {
            IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
            IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
        }));
        let Some(told) = self.ask(RouteNetlinkMessage::GetNeighbour(asked))? else { return Ok(None) };
        let RouteNetlinkMessage::NewNeighbour(neighbour) = told else { return Err(unexpected()) };
        if matches!(neighbour.header.state, NeighbourState::Incomplete | NeighbourState::Failed) {
            return Ok(None);
        }
        Ok(neighbour.attributes.into_iter().find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => bytes.try_into().ok(),
            _ => None,
        }))
    }

    /// The kernel's one answer; `None`: there is no such thing.
    fn ask(&self, question: RouteNetlinkMessage) -> io::Result<Option<RouteNetlinkMessage>> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(question));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        rustix::net::send(&self.0, &bytes, SendFlags::empty())?;
        let mut answer = vec![0; 8_192];
        let (len, _) = rustix::net::recv(&self.0, answer.as_mut_slice(), RecvFlags::empty())?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer[..len])
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        match answer.payload {
            NetlinkPayload::InnerMessage(told) => Ok(Some(told)),
            NetlinkPayload::Error(refused) => {
                let refused = refused.to_io();
                if refused.raw_os_error() == Some(libc::ENOENT) { Ok(None) } else { Err(refused) }
            }
            _ => Err(unexpected()),
        }
    }
}

fn family(of: IpAddr) -> AddressFamily {
    if of.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the kernel answers something else")
}
