//! Connections and cables inside one process: what tests and the simulator run on. Bytes arrive in order
//! and at once; a full pipe pushes back as a socket does, and a full cable drops frames as a card does.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use crate::{Acceptor, Capabilities, Closed, Error, FrameDevice, FrameRx, FrameTx, Stream};

/// A listener and the end that connects to it. Each direction of a connection holds at most
/// `pipe_size_max` bytes under way.
#[must_use]
pub fn network(pipe_size_max: usize) -> (MemAcceptor, MemDialer) {
    assert!(pipe_size_max > 0, "a pipe needs room");
    let backlog = Arc::new(Mutex::new(VecDeque::new()));
    (MemAcceptor { backlog: Arc::clone(&backlog) }, MemDialer { backlog, pipe_size_max })
}

/// The two ends of one connection.
#[must_use]
pub fn pair(pipe_size_max: usize) -> (MemStream, MemStream) {
    let (there, back) = (pipe(pipe_size_max), pipe(pipe_size_max));
    let near = MemStream { incoming: Arc::clone(&back), outgoing: Arc::clone(&there) };
    (near, MemStream { incoming: there, outgoing: back })
}

/// Accepts what its [`MemDialer`] connects.
#[derive(Debug)]
pub struct MemAcceptor {
    backlog: Arc<Mutex<VecDeque<MemStream>>>,
}

/// Connects to its [`MemAcceptor`].
#[derive(Clone, Debug)]
pub struct MemDialer {
    backlog: Arc<Mutex<VecDeque<MemStream>>>,
    pipe_size_max: usize,
}

impl MemDialer {
    /// A new connection, as the member sees it.
    #[must_use]
    pub fn connect(&self) -> MemStream {
        let (member, venue) = pair(self.pipe_size_max);
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner).push_back(venue);
        member
    }
}

impl Acceptor for MemAcceptor {
    type Stream = MemStream;

    fn accept(&mut self) -> Result<Option<MemStream>, Error> {
        Ok(self.backlog.lock().unwrap_or_else(PoisonError::into_inner).pop_front())
    }

    fn local_addr(&self) -> SocketAddr {
        NOWHERE
    }
}

const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

#[derive(Debug)]
struct Pipe {
    bytes: VecDeque<u8>,
    size_max: usize,
    closed: bool,
}

fn pipe(size_max: usize) -> Arc<Mutex<Pipe>> {
    Arc::new(Mutex::new(Pipe { bytes: VecDeque::with_capacity(size_max), size_max, closed: false }))
}

/// One end of a connection.
#[derive(Debug)]
pub struct MemStream {
    incoming: Arc<Mutex<Pipe>>,
    outgoing: Arc<Mutex<Pipe>>,
}

impl Stream for MemStream {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Closed> {
        assert!(!buffer.is_empty(), "a read needs room");
        let mut pipe = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
        let count = buffer.len().min(pipe.bytes.len());
        if count == 0 && pipe.closed {
            return Err(Closed::ByPeer);
        }
        for (to, from) in buffer.iter_mut().zip(pipe.bytes.drain(..count)) {
            *to = from;
        }
        Ok(count)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, Closed> {
        let mut pipe = self.outgoing.lock().unwrap_or_else(PoisonError::into_inner);
        if pipe.closed {
            return Err(Closed::ByPeer);
        }
        let count = bytes.len().min(pipe.size_max - pipe.bytes.len());
        pipe.bytes.extend(&bytes[..count]);
        Ok(count)
    }

    fn peer_addr(&self) -> SocketAddr {
        NOWHERE
    }
}

impl Drop for MemStream {
    fn drop(&mut self) {
        for pipe in [&self.incoming, &self.outgoing] {
            pipe.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        }
    }
}

/// Two devices at the ends of one cable. Each direction holds at most `depth` frames of at most
/// `frame_size_max` bytes; all memory is taken here.
///
/// # Panics
/// When either is 0.
#[must_use]
pub fn cable(depth: usize, frame_size_max: usize) -> (MemDevice, MemDevice) {
    assert!(depth > 0, "a cable holds frames");
    assert!(frame_size_max > 0, "a frame has bytes");
    let ring = || {
        let frame = || Frame { bytes: vec![0; frame_size_max].into(), len: 0 };
        let spare = (0..depth).map(|_| frame()).collect();
        Arc::new(Mutex::new(FrameRing { under_way: VecDeque::with_capacity(depth), spare }))
    };
    let (there, back) = (ring(), ring());
    let end = |incoming: &Ring, outgoing: &Ring| FrameDevice {
        rx: MemRx { ring: Arc::clone(incoming), burst: Vec::with_capacity(depth) },
        tx: MemTx { ring: Arc::clone(outgoing), slot: None, committed: Vec::with_capacity(depth) },
        capabilities: Capabilities {
            frame_size_max,
            fills_checksums: false,
            checks_checksums: false,
            is_zero_copy: true,
        },
    };
    (end(&back, &there), end(&there, &back))
}

/// One end of a cable.
pub type MemDevice = FrameDevice<MemRx, MemTx>;

/// The receiving half of a [`MemDevice`].
#[derive(Debug)]
pub struct MemRx {
    ring: Ring,
    burst: Vec<Frame>,
}

/// The sending half of a [`MemDevice`].
#[derive(Debug)]
pub struct MemTx {
    ring: Ring,
    slot: Option<Frame>,
    committed: Vec<Frame>,
}

type Ring = Arc<Mutex<FrameRing>>;

#[derive(Debug)]
struct FrameRing {
    under_way: VecDeque<Frame>,
    spare: Vec<Frame>,
}

#[derive(Debug)]
struct Frame {
    bytes: Box<[u8]>,
    len: usize,
}

impl FrameRx for MemRx {
    fn receive(&mut self) -> usize {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.spare.append(&mut self.burst);
        self.burst.extend(ring.under_way.drain(..));
        self.burst.len()
    }

    fn frame(&self, index: usize) -> &[u8] {
        let frame = &self.burst[index];
        &frame.bytes[..frame.len]
    }
}

impl FrameTx for MemTx {
    fn slot(&mut self) -> Option<&mut [u8]> {
        if self.slot.is_none() {
            self.slot = self.ring.lock().unwrap_or_else(PoisonError::into_inner).spare.pop();
        }
        self.slot.as_mut().map(|frame| frame.bytes.as_mut())
    }

    fn commit(&mut self, len: usize) {
        let mut frame = self.slot.take().expect("a slot is taken before it is committed");
        assert!(len <= frame.bytes.len(), "a frame of {len} bytes fits its slot");
        frame.len = len;
        self.committed.push(frame);
    }

    fn flush(&mut self) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.under_way.extend(self.committed.drain(..));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(device: &mut MemDevice, bytes: &[u8]) -> bool {
        let Some(slot) = device.tx.slot() else { return false };
        slot[..bytes.len()].copy_from_slice(bytes);
        device.tx.commit(bytes.len());
        device.tx.flush();
        true
    }

    #[test]
    fn a_cable_carries_frames_in_order_and_holds_no_more_than_its_depth() {
        let (mut near, mut far) = cable(2, 8);
        assert!(send(&mut near, b"one"));
        assert!(send(&mut near, b"two"));
        assert!(!send(&mut near, b"three"));
        assert_eq!(near.rx.receive(), 0, "what was sent does not come back");
        let FrameDevice { rx, tx, .. } = &mut far;
        assert_eq!(rx.receive(), 2);
        // An answer is written while the question is read.
        let slot = tx.slot().expect("the other direction is empty");
        slot[..3].copy_from_slice(rx.frame(0));
        tx.commit(3);
        tx.flush();
        assert_eq!(rx.frame(1), b"two");
        assert!(!send(&mut near, b"three"), "frames are given back by the next receive");
        assert_eq!(far.rx.receive(), 0);
        assert!(send(&mut near, b"three"));
        assert_eq!(near.rx.receive(), 1);
        assert_eq!(near.rx.frame(0), b"one");
    }

    #[test]
    fn a_pipe_pushes_back_and_hands_out_what_came_before_the_end() {
        let (mut acceptor, dialer) = network(4);
        assert!(acceptor.accept().expect("memory accepts").is_none());
        let mut member = dialer.connect();
        let mut venue = acceptor.accept().expect("memory accepts").expect("one waits");
        assert_eq!(member.write(b"abcdef"), Ok(4));
        assert_eq!(member.write(b"ef"), Ok(0));
        let mut buffer = [0; 3];
        assert_eq!(venue.read(&mut buffer), Ok(3));
        assert_eq!(&buffer, b"abc");
        assert_eq!(member.write(b"ef"), Ok(2));
        drop(member);
        assert_eq!(venue.read(&mut buffer), Ok(3));
        assert_eq!(&buffer, b"def");
        assert_eq!(venue.read(&mut buffer), Err(Closed::ByPeer));
        assert_eq!(venue.write(b"x"), Err(Closed::ByPeer));
    }
}
