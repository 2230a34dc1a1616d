//! What is done with frames that nobody sent: the parser and the TCP above it break on none, and whatever they answer is a
//! whole segment from our address.
//!
//! The same function runs under cargo-fuzz (`make fuzz`) and, with seeded bytes, in the tests of `net/xdp` on stable Rust.

use std::net::{IpAddr, SocketAddr};

use ironbell_device::mem::cable;
use ironbell_device::{FrameRx, FrameTx, Nanos, SessionIo};
use ironbell_xdp::packet::{self, SYN};
use ironbell_xdp::tcp::{Config, Counters, Tcp};

/// Where the stack listens.
pub const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)), 26_400);
/// Of a frame's second byte: its numbers are made to fit what we said last, or nearly everything would be out of the
/// window.
pub const FITS: u8 = 0x80;
const FRAME_SIZE_MAX: usize = 2_048;

/// Takes `bytes` as frames, each behind its length and the time since the last, in 0.1 ms; says what the stack counted.
pub fn ethernet(bytes: &[u8]) -> Counters {
    let (mut near, far) = cable(1 << 10, FRAME_SIZE_MAX);
    let mut config = Config::new(LISTEN, 1);
    (config.connections_max, config.half_open_max) = (4, 1);
    (config.receive_size, config.send_size) = (512, 512);
    let mut tcp = Tcp::new(config, far);
    let (mut now, mut rest, mut held, mut said) = (0, bytes, Vec::new(), None);
    while let [len, then, tail @ ..] = rest {
        let (frame, behind) = tail.split_at(usize::from(*len).min(tail.len()));
        rest = behind;
        let frame = mended(frame, said.filter(|_| then & FITS != 0));
        let slot = near.tx.slot().expect("the stack takes what comes");
        slot[..frame.len()].copy_from_slice(&frame);
        near.tx.commit(frame.len());
        near.tx.flush();
        now += u64::from(then & !FITS) * 100_000;
        tcp.poll(Nanos(now));
        held.extend(tcp.accept().expect("a stack accepts"));
        for mut connection in std::mem::take(&mut held) {
            let mut buffer = [0; 64];
            let len = tcp.read(&mut connection, &mut buffer);
            match len.and_then(|len| tcp.write(&mut connection, &buffer[..len])) {
                Ok(_) => held.push(connection),
                Err(_) => tcp.close(connection),
            }
        }
        tcp.flush(Nanos(now));
        for index in 0..near.rx.receive() {
            let answer = packet::parse(near.rx.frame(index)).expect("what we say is a whole segment");
            assert_eq!(answer.from.ip(), LISTEN.ip());
            let word =
                |at: usize| u32::from_be_bytes(answer.packet[at..at + 4].try_into().expect("four bytes"));
            let begins = u32::from(answer.flags & SYN != 0);
            said = Some((word(24).wrapping_add(begins), word(28)));
        }
        assert!(tcp.connections() <= 4);
        assert!(tcp.half_open() <= 1);
    }
    *tcp.counters()
}

/// With checksums that are right, if it is a segment; and with the numbers of an answer to one that had these.
fn mended(frame: &[u8], said: Option<(u32, u32)>) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    let Some(segment) = packet::parse(frame) else { return bytes };
    assert!(segment.link.len() + segment.packet.len() <= frame.len());
    let (ip, end) = (segment.link.len(), segment.link.len() + segment.packet.len());
    let (tcp, pseudo) = match segment.from.ip() {
        IpAddr::V4(_) => {
            bytes[ip + 10..ip + 12].fill(0);
            let checksum = folded(sum(&bytes[ip..ip + 20]));
            bytes[ip + 10..ip + 12].copy_from_slice(&checksum.to_be_bytes());
            (ip + 20, sum(&bytes[ip + 12..ip + 20]))
        }
        IpAddr::V6(_) => (ip + 40, sum(&bytes[ip + 8..ip + 40])),
    };
    if let Some((number, acknowledged)) = said {
        bytes[tcp + 4..tcp + 8].copy_from_slice(&acknowledged.to_be_bytes());
        bytes[tcp + 8..tcp + 12].copy_from_slice(&number.to_be_bytes());
    }
    bytes[tcp + 16..tcp + 18].fill(0);
    let checksum = folded(sum(&bytes[tcp..end]) + pseudo + 6 + (end - tcp) as u32);
    bytes[tcp + 16..tcp + 18].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

fn sum(bytes: &[u8]) -> u32 {
    let half = |pair: &[u8]| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    bytes.chunks(2).map(half).sum()
}

/// RFC 1071.
fn folded(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
