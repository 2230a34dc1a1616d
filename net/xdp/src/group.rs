//! UDP to one multicast group, as whole frames: the headers are written once, at the start, and each datagram fills in
//! its lengths and checksums.
//!
//! ```text
//! 0                 14 (18 with a tag)          34            42
//! │ Ethernet        │ IPv4: no options, no      │ UDP         │ payload
//! │ 01:00:5e:…, own │ fragments, identification │ ports, len, │
//! │ address, 0x0800 │ 0                         │ checksum    │
//! ```

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use ironbell_device::checksum::{Unsummed, filled, folded, sum};
use ironbell_device::{Capabilities, FrameTx};

use crate::packet::{LINK_LEN_MAX, LinkHeader, Tag};

const IP_LEN: usize = 20;
const UDP_LEN: usize = 8;
/// Ethernet's shortest frame, without its checksum. Not every card fills up shorter ones.
const FRAME_LEN_MIN: usize = 60;

/// Whom datagrams are for, and from whom they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The group.
    pub group: SocketAddrV4,
    /// Whom followers see as the sender.
    pub from: SocketAddrV4,
    /// The address of the network device in Ethernet.
    pub from_hardware: [u8; 6],
    /// How many routers a datagram may pass, plus one.
    pub ttl: u8,
    /// The virtual network it is in.
    pub tag: Option<Tag>,
}

/// The sending end of a group, over the sending half of a device.
#[derive(Debug)]
pub struct Group<T> {
    tx: T,
    link: LinkHeader,
    /// IP's and UDP's.
    headers: [u8; IP_LEN + UDP_LEN],
    /// Sums of what is the same in all headers: of IP, of UDP's pseudo-header, of UDP.
    ip_sum: u64,
    pseudo_sum: u64,
    ports_sum: u64,
    /// To the device.
    leaves_checksum: bool,
    payload_size_max: usize,
}

/// The Ethernet address of an IPv4 group (RFC 1112, section 6.4): the low 23 bits of it behind 01:00:5e.
#[must_use]
pub fn hardware_address(group: Ipv4Addr) -> [u8; 6] {
    let [_, b, c, d] = group.octets();
    [0x01, 0x00, 0x5e, b & 0x7f, c, d]
}

impl<T: FrameTx> Group<T> {
    /// A group over `tx`, the sending half of a device that can do what `capabilities` says.
    ///
    /// # Panics
    /// When the group is no multicast address, or a frame has no room for the headers.
    #[must_use]
    pub fn new(tx: T, capabilities: &Capabilities, addresses: &Addresses) -> Self {
        let Addresses { group, from, from_hardware, ttl, tag } = addresses;
        assert!(group.ip().is_multicast(), "a group has a multicast address");
        // As long as an IP packet can be behind the longest link header.
        let mtu = capabilities.frame_size_max.saturating_sub(LINK_LEN_MAX);
        assert!(mtu >= FRAME_LEN_MIN, "a packet has room for headers");
        let link = LinkHeader::new(*from_hardware, hardware_address(*group.ip()), IpAddr::V4(*group.ip()));
        let link = tag.map_or(link, |tag| link.tagged(tag));
        let mut headers = [0; IP_LEN + UDP_LEN];
        let (ip, udp) = headers.split_at_mut(IP_LEN);
        // Never to be taken apart, so that no identification is needed (RFC 6864, section 4.1).
        ip.copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, *ttl, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        ip[12..16].copy_from_slice(&from.ip().octets());
        ip[16..].copy_from_slice(&group.ip().octets());
        udp[..2].copy_from_slice(&from.port().to_be_bytes());
        udp[2..4].copy_from_slice(&group.port().to_be_bytes());
        let (ip_sum, pseudo_sum, ports_sum) = (sum(ip), sum(&ip[12..]) + 17, sum(udp));
        let leaves_checksum = capabilities.fills_checksums;
        let payload_size_max = mtu - IP_LEN - UDP_LEN;
        Self { tx, link, headers, ip_sum, pseudo_sum, ports_sum, leaves_checksum, payload_size_max }
    }

    /// Longest payload in bytes.
    #[must_use]
    pub fn payload_size_max(&self) -> usize {
        self.payload_size_max
    }

    /// Puts a datagram into the device's ring; it leaves with the next [`Group::flush`].
    ///
    /// # Errors
    /// [`ErrorKind::WouldBlock`] when the ring is full: the datagram is lost.
    ///
    /// # Panics
    /// When the payload is longer than [`Group::payload_size_max`].
    pub fn send(&mut self, payload: &[u8]) -> Result<(), ErrorKind> {
        assert!(payload.len() <= self.payload_size_max, "{} bytes fit a frame", payload.len());
        let slot = self.tx.slot().ok_or(ErrorKind::WouldBlock)?;
        let link = self.link.as_bytes();
        let (ip, udp) = (link.len(), link.len() + IP_LEN);
        let data = udp + UDP_LEN;
        let frame_len = data + payload.len();
        slot[..ip].copy_from_slice(link);
        slot[ip..data].copy_from_slice(&self.headers);
        slot[data..frame_len].copy_from_slice(payload);
        let udp_len = (UDP_LEN + payload.len()) as u16;
        let ip_len = IP_LEN as u16 + udp_len;
        slot[ip + 2..ip + 4].copy_from_slice(&ip_len.to_be_bytes());
        let checksum = !folded(self.ip_sum + u64::from(ip_len));
        slot[ip + 10..ip + 12].copy_from_slice(&checksum.to_be_bytes());
        slot[udp + 4..udp + 6].copy_from_slice(&udp_len.to_be_bytes());
        if frame_len < FRAME_LEN_MIN {
            slot[frame_len..FRAME_LEN_MIN].fill(0);
        }
        let checksum = if self.leaves_checksum {
            folded(self.pseudo_sum + u64::from(udp_len))
        } else {
            // The length is summed twice: in the header, and in the pseudo-header before it.
            filled(self.pseudo_sum + self.ports_sum + 2 * u64::from(udp_len) + sum(payload))
        };
        slot[udp + 6..udp + 8].copy_from_slice(&checksum.to_be_bytes());
        let frame_len = frame_len.max(FRAME_LEN_MIN);
        if self.leaves_checksum {
            self.tx.commit_unsummed(frame_len, Unsummed { start: udp as u16, offset: 6 });
        } else {
            self.tx.commit(frame_len);
        }
        Ok(())
    }

    /// Sends what was put into the ring.
    pub fn flush(&mut self) {
        self.tx.flush();
    }

    /// The sending half.
    #[must_use]
    pub fn tx(&self) -> &T {
        &self.tx
    }
}

#[cfg(test)]
mod tests {
    use ironbell_device::FrameRx;
    use ironbell_device::mem::{MemDevice, cable};
    use smoltcp::wire::{Ipv4Packet, UdpPacket};

    use super::*;

    fn addresses() -> Addresses {
        Addresses {
            group: "239.192.26.1:26410".parse().expect("an address"),
            from: "10.0.0.1:26410".parse().expect("an address"),
            from_hardware: [2, 0, 0, 0, 0, 1],
            ttl: 3,
            tag: None,
        }
    }

    /// A group over one end of a cable, and the other end.
    fn group(fills_checksums: bool, tag: Option<Tag>) -> (Group<ironbell_device::mem::MemTx>, MemDevice) {
        let (near, far) = cable(1, 1_522);
        let capabilities = Capabilities { fills_checksums, ..near.capabilities };
        (Group::new(near.tx, &capabilities, &Addresses { tag, ..addresses() }), far)
    }

    /// Every length, with bytes that make all carries, read by smoltcp; summed by us and by the device, in a virtual network and
    /// in none.
    #[test]
    fn a_datagram_is_what_another_stack_reads() {
        let macs = [0x01, 0x00, 0x5e, 0x40, 26, 1, 2, 0, 0, 0, 0, 1];
        let ipv4 = [0x08, 0x00];
        for fills_checksums in [false, true] {
            let untagged = [&macs[..], &ipv4].concat();
            datagrams_are_read(group(fills_checksums, None), &untagged);
            let tagged = [&macs[..], &[0x81, 0x00, 0xa0, 26], &ipv4].concat();
            datagrams_are_read(group(fills_checksums, Some(Tag { id: 26, priority: 5 })), &tagged);
        }
    }

    fn datagrams_are_read(
        (mut group, mut far): (Group<ironbell_device::mem::MemTx>, MemDevice),
        link: &[u8],
    ) {
        assert_eq!(group.payload_size_max(), 1_472);
        for len in 0..=1_472 {
            let payload: Vec<u8> =
                (0..len).map(|at| if len % 3 == 0 { 0xff } else { (at * 31 + len) as u8 }).collect();
            group.send(&payload).expect("the ring has room");
            assert_eq!(group.send(&payload), Err(ErrorKind::WouldBlock), "a full ring loses");
            assert_eq!(far.rx.receive(), 0, "nothing leaves before it is flushed");
            group.flush();
            assert_eq!(far.rx.receive(), 1);
            let (ethernet, packet) = far.rx.frame(0).split_at(link.len());
            assert_eq!(ethernet, link);
            let ip = Ipv4Packet::new_checked(packet).expect("a packet");
            assert!(ip.verify_checksum(), "{len} bytes");
            assert_eq!(ip.hop_limit(), 3);
            let udp = UdpPacket::new_checked(ip.payload()).expect("a datagram");
            assert_ne!(udp.checksum(), 0);
            assert!(udp.verify_checksum(&ip.src_addr().into(), &ip.dst_addr().into()), "{len} bytes");
            assert_eq!((udp.src_port(), udp.dst_port()), (26_410, 26_410));
            assert_eq!(udp.payload(), payload);
            assert_eq!(far.rx.receive(), 0, "the frame is given back");
        }
    }

    /// A sum that folds to 0xffff would say that there is no checksum.
    #[test]
    fn a_checksum_of_zero_is_sent_as_its_other_form() {
        let (mut group, mut far) = group(false, None);
        let mut others = 0;
        for word in 0..=u16::MAX {
            group.send(&word.to_be_bytes()).expect("the ring has room");
            group.flush();
            assert_eq!(far.rx.receive(), 1);
            let frame = far.rx.frame(0);
            let checksum = u16::from_be_bytes([frame[40], frame[41]]);
            assert_ne!(checksum, 0, "{word}");
            others += u32::from(checksum == 0xffff);
            far.rx.receive();
        }
        assert!(others > 0, "some word makes it");
    }

    #[test]
    fn a_group_of_ip_is_a_group_of_ethernet() {
        for (group, wanted) in [
            ("224.0.0.1", [0x01, 0x00, 0x5e, 0, 0, 1]),
            ("239.255.1.2", [0x01, 0x00, 0x5e, 0x7f, 1, 2]),
            ("233.128.1.2", [0x01, 0x00, 0x5e, 0, 1, 2]),
        ] {
            assert_eq!(hardware_address(group.parse().expect("an address")), wanted, "{group}");
        }
    }
}
