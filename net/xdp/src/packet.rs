//! The headers of a frame, as far as a connection is told from another by them.
//!
//! ```text
//! destination 6 │ source 6 │ (tag 4)* │ type 2 │ IP header │ ports 2+2 … flags │ …
//! └────────────── link header ────────────────┘└──────────── packet ───────────────
//! ```
//!
//! It knows what the steering program lets through and nothing more: at most two tags, IPv4 without options
//! and fragments, IPv6 without extension headers. Whatever else it meets is none of ours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ironbell_device::checksum::{Unsummed, folded, sum};

/// Longest link header: two addresses, two tags, the type.
pub const LINK_LEN_MAX: usize = 22;

/// A TCP segment, by its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// What stands before IP.
    pub link: &'a [u8],
    /// From the IP header on, without padding.
    pub packet: &'a [u8],
    /// Who sent it.
    pub from: SocketAddr,
    /// Whom it is for.
    pub to: SocketAddr,
    /// Its flags: [`FIN`], [`SYN`], [`RST`], [`ACK`] and those that do not matter here.
    pub flags: u8,
}

/// The sender sends nothing more.
pub const FIN: u8 = 0x01;
/// Opens a connection.
pub const SYN: u8 = 0x02;
/// There is no such connection.
pub const RST: u8 = 0x04;
/// Acknowledges something.
pub const ACK: u8 = 0x10;

/// Reads a frame. `None` when it is no whole TCP segment. Checksums are not looked at.
#[must_use]
pub fn parse(frame: &[u8]) -> Option<Segment<'_>> {
    let mut link_len = 14;
    let mut ether_type = half(frame, 12)?;
    while matches!(ether_type, 0x8100 | 0x88a8) && link_len < LINK_LEN_MAX {
        ether_type = half(frame, link_len + 2)?;
        link_len += 4;
    }
    let (link, rest) = frame.split_at_checked(link_len)?;
    match ether_type {
        0x0800 => parse_v4(link, rest),
        0x86dd => parse_v6(link, rest),
        _ => None,
    }
}

/// RFC 791, section 3.1.
fn parse_v4<'a>(link: &'a [u8], rest: &'a [u8]) -> Option<Segment<'a>> {
    const HEADER_LEN: usize = 20;
    let header = rest.get(..HEADER_LEN)?;
    let len = usize::from(half(header, 2)?);
    let is_fragment = half(header, 6)? & 0x3fff != 0;
    if header[0] != 0x45 || is_fragment || header[9] != 6 || len < HEADER_LEN {
        return None;
    }
    let address = |at: usize| -> Option<IpAddr> {
        let octets: [u8; 4] = header[at..at + 4].try_into().ok()?;
        Some(Ipv4Addr::from(octets).into())
    };
    segment(link, rest.get(..len)?, HEADER_LEN, address(12)?, address(16)?)
}

/// RFC 8200, section 3.
fn parse_v6<'a>(link: &'a [u8], rest: &'a [u8]) -> Option<Segment<'a>> {
    const HEADER_LEN: usize = 40;
    let header = rest.get(..HEADER_LEN)?;
    let len = HEADER_LEN + usize::from(half(header, 4)?);
    if header[0] >> 4 != 6 || header[6] != 6 {
        return None;
    }
    let address = |at: usize| -> Option<IpAddr> {
        let octets: [u8; 16] = header[at..at + 16].try_into().ok()?;
        Some(Ipv6Addr::from(octets).into())
    };
    segment(link, rest.get(..len)?, HEADER_LEN, address(8)?, address(24)?)
}

/// RFC 9293, section 3.1.
fn segment<'a>(link: &'a [u8], packet: &'a [u8], at: usize, from: IpAddr, to: IpAddr) -> Option<Segment<'a>> {
    const HEADER_LEN: usize = 20;
    let tcp = packet.get(at..)?;
    let data_offset = usize::from(*tcp.get(12)? >> 4) * 4;
    if data_offset < HEADER_LEN || data_offset > tcp.len() {
        return None;
    }
    let (from, to) = (SocketAddr::new(from, half(tcp, 0)?), SocketAddr::new(to, half(tcp, 2)?));
    Some(Segment { link, packet, from, to, flags: tcp[13] })
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([field[0], field[1]]))
}

/// Leaves the checksum of a segment to the device: puts the pseudo-header's sum in its place (RFC 9293, section 3.1; RFC 8200,
/// section 8.1). `packet` is IP without options or extension headers, behind `link_len` bytes. `None`: it is not TCP.
pub(crate) fn leave_checksum(packet: &mut [u8], link_len: usize) -> Option<Unsummed> {
    const CHECKSUM: usize = 16;
    const TCP: u8 = 6;
    let (header_len, protocol, addresses) = match packet.first()? >> 4 {
        4 => (20, 9, 12..20),
        6 => (40, 6, 8..40),
        _ => return None,
    };
    if *packet.get(protocol)? != TCP {
        return None;
    }
    let tcp_len = packet.len().checked_sub(header_len)?;
    let pseudo = folded(sum(&packet[addresses]) + u64::from(TCP) + tcp_len as u64);
    packet.get_mut(header_len + CHECKSUM..header_len + CHECKSUM + 2)?.copy_from_slice(&pseudo.to_be_bytes());
    Some(Unsummed { start: (link_len + header_len) as u16, offset: CHECKSUM as u16 })
}

/// The link header of an answer to a frame that came in by `link`: to whoever sent it, in the same network.
#[must_use]
pub fn answer_link(link: &[u8]) -> LinkHeader {
    assert!((14..=LINK_LEN_MAX).contains(&link.len()), "a link header was parsed");
    let mut bytes = [0; LINK_LEN_MAX];
    bytes[..6].copy_from_slice(&link[6..12]);
    bytes[6..12].copy_from_slice(&link[..6]);
    bytes[12..link.len()].copy_from_slice(&link[12..]);
    LinkHeader { bytes, len: link.len() as u8 }
}

/// What a frame of a virtual network says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The network's number, 1 to 4,094.
    pub id: u16,
    /// 0 to 7; switches send higher ones first.
    pub priority: u8,
}

/// What is put before IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkHeader {
    bytes: [u8; LINK_LEN_MAX],
    len: u8,
}

impl LinkHeader {
    /// From `source` to `destination` without a tag, for a packet to `peer`.
    #[must_use]
    pub fn new(source: [u8; 6], destination: [u8; 6], peer: IpAddr) -> Self {
        let ether_type: u16 = if peer.is_ipv4() { 0x0800 } else { 0x86dd };
        let mut bytes = [0; LINK_LEN_MAX];
        bytes[..6].copy_from_slice(&destination);
        bytes[6..12].copy_from_slice(&source);
        bytes[12..14].copy_from_slice(&ether_type.to_be_bytes());
        Self { bytes, len: 14 }
    }

    /// The same in the virtual network of this tag (IEEE 802.1Q), outside of those that it has.
    ///
    /// # Panics
    /// When it has two tags, or the tag is none.
    #[must_use]
    pub fn tagged(self, tag: Tag) -> Self {
        assert!(self.as_bytes().len() <= LINK_LEN_MAX - 4, "two tags at most");
        assert!((1..=4_094).contains(&tag.id) && tag.priority <= 7, "{tag:?} is a tag");
        let mut bytes = [0; LINK_LEN_MAX];
        bytes[..12].copy_from_slice(&self.bytes[..12]);
        bytes[12..14].copy_from_slice(&0x8100_u16.to_be_bytes());
        bytes[14..16].copy_from_slice(&(u16::from(tag.priority) << 13 | tag.id).to_be_bytes());
        bytes[16..].copy_from_slice(&self.bytes[12..LINK_LEN_MAX - 4]);
        Self { bytes, len: self.len + 4 }
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}
