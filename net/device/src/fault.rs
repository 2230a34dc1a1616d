//! Any connection, made worse: short reads, short writes, stalls and cuts, drawn from a seed, so that
//! a failing run can be repeated.

use std::net::SocketAddr;

use crate::{Acceptor, Closed, Error, Stream};

/// How bad it is. Probabilities are in 1/65,536 of the calls; 0 is never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The read or write is cut to a random part of what was asked for, at least one byte.
    pub short: u16,
    /// Nothing moves in this and up to 15 further calls of the same direction.
    pub stall: u16,
    /// The connection fails for good. Bytes under way may or may not arrive.
    pub cut: u16,
}

/// An acceptor or a stream with faults.
#[derive(Debug)]
pub struct Faulty<T> {
    inner: T,
    faults: Faults,
    draws: Draws,
    read_stall: u32,
    write_stall: u32,
    is_cut: bool,
}

impl<T> Faulty<T> {
    /// Wraps `inner`. The same seed and the same calls give the same faults.
    pub fn new(inner: T, faults: Faults, seed: u64) -> Self {
        Self { inner, faults, draws: Draws(seed), read_stall: 0, write_stall: 0, is_cut: false }
    }

    /// From now on these faults; `Faults::default()` heals what is not cut.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// How many bytes of `wanted` may move in this call.
    fn allowance(&mut self, wanted: usize, stall: fn(&mut Self) -> &mut u32) -> Result<usize, Closed> {
        if self.is_cut || self.draws.hits(self.faults.cut) {
            self.is_cut = true;
            return Err(Closed::Failed(std::io::ErrorKind::ConnectionAborted));
        }
        if *stall(self) > 0 {
            *stall(self) -= 1;
            return Ok(0);
        }
        if self.draws.hits(self.faults.stall) {
            *stall(self) = self.draws.below(16);
            return Ok(0);
        }
        if self.draws.hits(self.faults.short) {
            let most = u32::try_from(wanted).unwrap_or(u32::MAX);
            return Ok(1 + self.draws.below(most.max(1)) as usize);
        }
        Ok(wanted)
    }
}

impl<A: Acceptor> Acceptor for Faulty<A> {
    type Stream = Faulty<A::Stream>;

    fn accept(&mut self) -> Result<Option<Self::Stream>, Error> {
        let Some(stream) = self.inner.accept()? else { return Ok(None) };
        Ok(Some(Faulty::new(stream, self.faults, self.draws.next())))
    }

    fn local_addr(&self) -> SocketAddr {
        self.inner.local_addr()
    }
}

impl<S: Stream> Stream for Faulty<S> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Closed> {
        match self.allowance(buffer.len(), |s| &mut s.read_stall)? {
            0 => Ok(0),
            count => {
                let count = count.min(buffer.len());
                self.inner.read(&mut buffer[..count])
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, Closed> {
        let count = self.allowance(bytes.len(), |s| &mut s.write_stall)?.min(bytes.len());
        if count == 0 { Ok(0) } else { self.inner.write(&bytes[..count]) }
    }

    fn peer_addr(&self) -> SocketAddr {
        self.inner.peer_addr()
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014): small, and
/// the same everywhere.
#[derive(Clone, Copy, Debug)]
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, bound: u32) -> u32 {
        (((self.next() >> 32) * u64::from(bound)) >> 32) as u32
    }

    fn hits(&mut self, of_65536: u16) -> bool {
        of_65536 > 0 && self.below(65_536) < u32::from(of_65536)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem;

    fn carry(faults: Faults, seed: u64) -> (Vec<u8>, Vec<usize>) {
        let (near, mut far) = mem::pair(64);
        let mut near = Faulty::new(near, faults, seed);
        let sent: Vec<u8> = (0..=255).collect();
        let (mut at, mut got, mut sizes) = (0, Vec::new(), Vec::new());
        let mut buffer = [0; 64];
        while got.len() < sent.len() {
            if let Ok(count) = near.write(&sent[at..]) {
                sizes.push(count);
                at += count;
            } else {
                break;
            }
            let count = far.read(&mut buffer).expect("the near end is not dropped");
            got.extend_from_slice(&buffer[..count]);
        }
        (got, sizes)
    }

    #[test]
    fn short_and_stalled_streams_lose_nothing_and_repeat_by_seed() {
        let faults = Faults { short: 30_000, stall: 10_000, cut: 0 };
        for seed in 0..100 {
            let (got, sizes) = carry(faults, seed);
            assert_eq!(got, (0..=255).collect::<Vec<u8>>(), "seed {seed}");
            assert_eq!(sizes, carry(faults, seed).1, "seed {seed}");
        }
        assert!(carry(faults, 1).1 != carry(faults, 2).1);
    }

    #[test]
    fn a_cut_is_for_good() {
        let (near, _far) = mem::pair(64);
        let mut near = Faulty::new(near, Faults { cut: u16::MAX, ..Faults::default() }, 7);
        while near.write(b"x").is_ok() {}
        near.set_faults(Faults::default());
        assert!(near.write(b"x").is_err());
        assert!(near.read(&mut [0]).is_err());
    }
}
