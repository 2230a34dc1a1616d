//! Connections inside one process: what tests and the simulator run on. Bytes arrive in order and at
//! once; a full pipe pushes back as a socket does.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use crate::{Acceptor, Closed, Error, Stream};

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

#[cfg(test)]
mod tests {
    use super::*;

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
