//! A device whose frames are looked at, and taken apart, on their way.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use ironbell_device::{FrameDevice, FrameRx, FrameTx};
use ironbell_xdp::packet;

/// What becomes of a frame: any number of others.
pub type Rule = Box<dyn FnMut(&[u8]) -> Vec<Vec<u8>> + Send>;

/// Frames that went by.
pub type Seen = Arc<Mutex<Vec<Vec<u8>>>>;

/// `device`, whose incoming and outgoing frames these rules change. What comes out of the rules is also in the lists.
pub fn tapped<R, T: FrameTx>(
    device: FrameDevice<R, T>,
    incoming: Rule,
    outgoing: Rule,
) -> (FrameDevice<TapRx<R>, TapTx<T>>, Seen, Seen) {
    let FrameDevice { rx, tx, capabilities } = device;
    let (came, went) = (Seen::default(), Seen::default());
    let rx = TapRx { inner: rx, rule: incoming, burst: Vec::new(), seen: Arc::clone(&came) };
    let slot = vec![0; capabilities.frame_size_max];
    let tx = TapTx { inner: tx, rule: outgoing, slot, seen: Arc::clone(&went) };
    (FrameDevice { rx, tx, capabilities }, came, went)
}

/// As it came.
pub fn as_it_is() -> Rule {
    Box::new(|frame| vec![frame.to_vec()])
}

/// Every segment with some data in three pieces that overlap, the last of them first.
pub fn overlapping() -> Rule {
    Box::new(|frame| {
        let len = packet::parse(frame).map_or(0, |_| Tcp::of(frame).payload_len);
        if len < 8 {
            return vec![frame.to_vec()];
        }
        [(len / 2, len), (len / 4, len - len / 4), (0, len / 2 + 1)]
            .map(|(from, to)| piece(frame, from, to))
            .into()
    })
}

/// What stands in the headers of a segment.
pub struct Tcp {
    pub number: u32,
    pub acknowledged: u32,
    pub flags: u8,
    pub window: u16,
    pub options: Vec<u8>,
    pub payload_len: usize,
    /// Where the TCP header begins.
    at: usize,
}

impl Tcp {
    pub fn of(frame: &[u8]) -> Self {
        let segment = packet::parse(frame).expect("a segment");
        let ip_len = if segment.from.is_ipv4() { 20 } else { 40 };
        let tcp = &segment.packet[ip_len..];
        let word = |at: usize| u32::from_be_bytes(tcp[at..at + 4].try_into().expect("four bytes"));
        let data_offset = usize::from(tcp[12] >> 4) * 4;
        Self {
            number: word(4),
            acknowledged: word(8),
            flags: tcp[13],
            window: u16::from_be_bytes([tcp[14], tcp[15]]),
            options: tcp[20..data_offset].to_vec(),
            payload_len: tcp.len() - data_offset,
            at: segment.link.len() + ip_len,
        }
    }

    /// The value of an option, by its kind (RFC 9293, section 3.1).
    pub fn option(&self, kind: u8) -> Option<&[u8]> {
        let mut rest = self.options.as_slice();
        while let Some(&this) = rest.first() {
            match this {
                0 => return None,
                1 => rest = &rest[1..],
                _ => {
                    let len = usize::from(rest[1]);
                    if this == kind {
                        return Some(&rest[2..len]);
                    }
                    rest = &rest[len..];
                }
            }
        }
        None
    }

    /// The largest segment that its sender takes.
    pub fn mss(&self) -> Option<u16> {
        self.option(2).map(|value| u16::from_be_bytes([value[0], value[1]]))
    }

    /// By how many bits its sender's windows are shifted.
    pub fn window_scale(&self) -> Option<u8> {
        self.option(3).map(|value| value[0])
    }
}

/// The bytes `from` to `to` of a segment's data as a segment of their own. Only the last ends a stream.
fn piece(frame: &[u8], from: usize, to: usize) -> Vec<u8> {
    let tcp = Tcp::of(frame);
    let segment = packet::parse(frame).expect("a segment");
    let (link_len, end) = (segment.link.len(), segment.link.len() + segment.packet.len());
    let payload = end - tcp.payload_len;
    let mut piece = frame[..payload].to_vec();
    piece.extend_from_slice(&frame[payload + from..payload + to]);
    let number = tcp.number.wrapping_add(from as u32);
    piece[tcp.at + 4..tcp.at + 8].copy_from_slice(&number.to_be_bytes());
    if to < tcp.payload_len {
        piece[tcp.at + 13] &= !packet::FIN;
    }
    let tcp_len = piece.len() - tcp.at;
    let pseudo = match segment.from.ip() {
        IpAddr::V4(_) => {
            let len = (piece.len() - link_len) as u16;
            piece[link_len + 2..link_len + 4].copy_from_slice(&len.to_be_bytes());
            piece[link_len + 10..link_len + 12].fill(0);
            let sum = checksum(&piece[link_len..tcp.at], 0);
            piece[link_len + 10..link_len + 12].copy_from_slice(&sum.to_be_bytes());
            sum_of(&piece[link_len + 12..link_len + 20])
        }
        IpAddr::V6(_) => {
            piece[link_len + 4..link_len + 6].copy_from_slice(&(tcp_len as u16).to_be_bytes());
            sum_of(&piece[link_len + 8..link_len + 40])
        }
    };
    piece[tcp.at + 16..tcp.at + 18].fill(0);
    let sum = checksum(&piece[tcp.at..], pseudo + 6 + tcp_len as u32);
    piece[tcp.at + 16..tcp.at + 18].copy_from_slice(&sum.to_be_bytes());
    piece
}

fn sum_of(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
        .sum()
}

/// RFC 1071.
fn checksum(bytes: &[u8], start: u32) -> u16 {
    let mut sum = start + sum_of(bytes);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

pub struct TapRx<R> {
    inner: R,
    rule: Rule,
    burst: Vec<Vec<u8>>,
    seen: Seen,
}

impl<R: FrameRx> FrameRx for TapRx<R> {
    fn receive(&mut self) -> usize {
        self.burst.clear();
        for index in 0..self.inner.receive() {
            self.burst.extend((self.rule)(self.inner.frame(index)));
        }
        self.seen.lock().expect("nobody panicked").extend(self.burst.iter().cloned());
        self.burst.len()
    }

    fn frame(&self, index: usize) -> &[u8] {
        &self.burst[index]
    }
}

pub struct TapTx<T> {
    inner: T,
    rule: Rule,
    slot: Vec<u8>,
    seen: Seen,
}

impl<T: FrameTx> FrameTx for TapTx<T> {
    fn slot(&mut self) -> Option<&mut [u8]> {
        Some(&mut self.slot)
    }

    fn commit(&mut self, len: usize) {
        for frame in (self.rule)(&self.slot[..len]) {
            // What has no room is lost, and sent again.
            let Some(slot) = self.inner.slot() else { return };
            slot[..frame.len()].copy_from_slice(&frame);
            self.inner.commit(frame.len());
            self.seen.lock().expect("nobody panicked").push(frame);
        }
    }

    fn flush(&mut self) {
        self.inner.flush();
    }
}
