//! What a network device does for AF_XDP: the kernel tells by the family `netdev` of generic netlink (Linux 6.3 and newer;
//! `include/uapi/linux/netdev.h`).

use std::io;

use rustix::net::netlink::{GENERIC, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType};

/// What a device does for AF_XDP. The kernel has no word for checksums that the card has checked: what a card tells of a
/// received frame is its time, hash and VLAN tag (`enum netdev_xdp_rx_metadata`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// It fills in checksums of frames that it takes from our memory itself.
    pub fills_checksums: bool,
}

/// Of `enum netdev_xsk_flags`.
const TX_CHECKSUM: u64 = 1 << 1;

/// Asks for the features of the device of that number.
///
/// # Errors
/// When the kernel is older than 6.3, or there is no such device.
pub fn features(index: u32) -> io::Result<Features> {
    // Of generic netlink's own family (`linux/genetlink.h`).
    const CONTROL: u16 = 0x10;
    const GET_FAMILY: u8 = 3;
    const FAMILY_ID: u16 = 1;
    const FAMILY_NAME: u16 = 2;
    // Of the family `netdev`. What the kernel does not know it leaves out: xsk-features came with 6.8.
    const GET_DEVICE: u8 = 1;
    const IFINDEX: u16 = 1;
    const XSK_FEATURES: u16 = 6;

    let socket = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, Some(GENERIC))?;
    rustix::net::connect(&socket, &SocketAddrNetlink::new(0, 0))?;
    let ask = |family, command, kind, value: &[u8]| -> io::Result<Vec<u8>> {
        rustix::net::send(&socket, &question(family, command, kind, value), SendFlags::empty())?;
        let mut answer = vec![0; 8_192];
        let (len, _) = rustix::net::recv(&socket, answer.as_mut_slice(), RecvFlags::empty())?;
        attributes(&answer[..len]).map(<[u8]>::to_vec)
    };
    let family = ask(CONTROL, GET_FAMILY, FAMILY_NAME, b"netdev\0")?;
    let family = attribute(&family, FAMILY_ID).and_then(|id| id.try_into().ok()).ok_or_else(unexpected)?;
    let device = ask(u16::from_ne_bytes(family), GET_DEVICE, IFINDEX, &index.to_ne_bytes())?;
    let bits: Option<[u8; 8]> = attribute(&device, XSK_FEATURES).and_then(|bits| bits.try_into().ok());
    Ok(Features { fills_checksums: bits.map_or(0, u64::from_ne_bytes) & TX_CHECKSUM != 0 })
}

/// Bytes of netlink's header, and of generic netlink's behind it.
const HEADER_LEN: usize = 16;
const GENERIC_LEN: usize = 4;
const ATTRIBUTE_LEN: usize = 4;

/// A question to `family` with one attribute.
fn question(family: u16, command: u8, kind: u16, value: &[u8]) -> Vec<u8> {
    const REQUEST: u16 = 1;
    let attribute_len = ATTRIBUTE_LEN + value.len();
    let len = HEADER_LEN + GENERIC_LEN + attribute_len.next_multiple_of(4);
    let mut message = Vec::with_capacity(len);
    message.extend((len as u32).to_ne_bytes());
    message.extend(family.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([command, 1, 0, 0]);
    message.extend((attribute_len as u16).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(value);
    message.resize(len, 0);
    message
}

/// The attributes of an answer.
fn attributes(answer: &[u8]) -> io::Result<&[u8]> {
    const ERROR: [u8; 2] = 2_u16.to_ne_bytes();
    let header = answer.get(..HEADER_LEN).ok_or_else(unexpected)?;
    if header[4..6] == ERROR {
        let number = answer.get(HEADER_LEN..HEADER_LEN + 4).and_then(|number| number.try_into().ok());
        let number = i32::from_ne_bytes(number.ok_or_else(unexpected)?);
        return Err(io::Error::from_raw_os_error(number.wrapping_neg()));
    }
    answer.get(HEADER_LEN + GENERIC_LEN..).ok_or_else(unexpected)
}

/// The value of the attribute of this kind.
fn attribute(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let len = usize::from(u16::from_ne_bytes([*attributes.first()?, *attributes.get(1)?]));
        let this = u16::from_ne_bytes([*attributes.get(2)?, *attributes.get(3)?]);
        let value = attributes.get(ATTRIBUTE_LEN..len)?;
        if this == kind {
            return Some(value);
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the kernel answers something else")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_is_found_behind_others_and_no_answer_is_trusted() {
        let mut told = vec![5, 0, 1, 0, 9, 0, 0, 0];
        told.extend([12, 0, 6, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(attribute(&told, 1), Some(&[9][..]));
        assert_eq!(attribute(&told, 6), Some(&[2, 0, 0, 0, 0, 0, 0, 0][..]));
        assert_eq!(attribute(&told, 3), None);
        for len in 0..told.len() {
            assert_eq!(attribute(&told[..len], 6), None, "{len} bytes");
        }
        for len in 0..4 {
            // A length shorter than the attribute's own head would never end.
            assert_eq!(attribute(&[len, 0, 1, 0, 0, 0, 0, 0], 6), None);
        }
        let question = question(0x10, 3, 2, b"netdev\0");
        assert_eq!(question.len(), 32);
        assert_eq!(attributes(&question).expect("a whole message"), &question[20..]);
        assert_eq!(attribute(&question[20..], 2), Some(&b"netdev\0"[..]));
        let refused = [20, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xed, 0xff, 0xff, 0xff];
        assert_eq!(attributes(&refused).expect_err("an error").raw_os_error(), Some(libc::ENODEV));
        assert!(attributes(&refused[..18]).is_err() && attributes(&[]).is_err());
    }

    /// Whatever this machine is, the loopback device copies and fills in nothing.
    #[test]
    fn the_kernel_tells_of_the_loopback_device() {
        let index = crate::socket::interface_index("lo").expect("there is one");
        assert_eq!(features(index).expect("Linux 6.3 or newer"), Features::default());
        assert_eq!(features(u32::MAX >> 1).expect_err("none such").raw_os_error(), Some(libc::ENODEV));
    }
}
