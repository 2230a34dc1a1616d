//! Any connection or device, made worse: short reads and writes, stalls and cuts of streams; loss,
//! duplication, reordering, corruption and delay of frames. All are drawn from a seed, so that a failing
//! run can be repeated.

use std::net::SocketAddr;

use crate::{Acceptor, Closed, Error, FrameDevice, FrameTx, Stream};

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

    fn wait(&mut self, at_most: std::time::Duration) -> bool {
        self.inner.wait(at_most)
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

/// What happens to frames on their way out. Probabilities are in 1/65,536 of the frames; 0 is never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameFaults {
    /// The frame is gone.
    pub loss: u16,
    /// The frame arrives twice.
    pub duplicate: u16,
    /// One bit of the frame is turned.
    pub corrupt: u16,
    /// The frame is held back over 1 to 16 flushes, so that later ones overtake it.
    pub delay: u16,
}

/// A device whose outgoing frames have faults. Both ends of a cable may be such.
pub type FaultyDevice<R, T> = FrameDevice<R, FaultyTx<T>>;

/// The sending half of a [`FaultyDevice`].
#[derive(Debug)]
pub struct FaultyTx<T> {
    inner: T,
    faults: FrameFaults,
    draws: Draws,
    slot: Box<[u8]>,
    /// Frames held back, and the flush that lets them go.
    held: Vec<(u64, Vec<u8>)>,
    flushes: u64,
    lost: u64,
}

/// Wraps `device`. The same seed and the same calls give the same faults.
pub fn faulty<R, T: FrameTx>(
    device: FrameDevice<R, T>,
    faults: FrameFaults,
    seed: u64,
) -> FaultyDevice<R, T> {
    let FrameDevice { rx, tx, capabilities } = device;
    let slot = vec![0; capabilities.frame_size_max].into();
    let draws = Draws(seed);
    let tx = FaultyTx { inner: tx, faults, draws, slot, held: Vec::new(), flushes: 0, lost: 0 };
    FrameDevice { rx, tx, capabilities }
}

impl<T> FaultyTx<T> {
    /// From now on these faults.
    pub fn set_faults(&mut self, faults: FrameFaults) {
        self.faults = faults;
    }

    /// Frames that were lost so far, by these faults or because the device had no room.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

impl<T: FrameTx> FaultyTx<T> {
    fn put(&mut self, frame: &[u8]) {
        let Some(slot) = self.inner.slot() else {
            self.lost += 1;
            return;
        };
        slot[..frame.len()].copy_from_slice(frame);
        self.inner.commit(frame.len());
    }
}

impl<T: FrameTx> FrameTx for FaultyTx<T> {
    fn slot(&mut self) -> Option<&mut [u8]> {
        Some(&mut self.slot)
    }

    fn commit(&mut self, len: usize) {
        let mut frame = self.slot[..len].to_vec();
        if self.draws.hits(self.faults.loss) {
            self.lost += 1;
            return;
        }
        if self.draws.hits(self.faults.corrupt) && len > 0 {
            let bit = self.draws.below(u32::try_from(len * 8).expect("frames are short")) as usize;
            frame[bit / 8] ^= 1 << (bit % 8);
        }
        if self.draws.hits(self.faults.duplicate) {
            self.put(&frame);
        }
        if self.draws.hits(self.faults.delay) {
            let due = self.flushes + 1 + u64::from(self.draws.below(16));
            self.held.push((due, frame));
        } else {
            self.put(&frame);
        }
    }

    fn flush(&mut self) {
        self.flushes += 1;
        while let Some(at) = self.held.iter().position(|(due, _)| *due <= self.flushes) {
            let (_, frame) = self.held.remove(at);
            self.put(&frame);
        }
        self.inner.flush();
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
    use crate::{FrameRx, mem};

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
    fn every_fault_of_frames_happens_and_repeats_by_seed() {
        const FRAMES: u32 = 2_000;
        let carry = |faults, seed| {
            let (near, mut far) = mem::cable(64, 16);
            let mut near = faulty(near, faults, seed);
            let mut got = Vec::new();
            for number in 0..FRAMES {
                let slot = near.tx.slot().expect("faults have room");
                slot[..4].copy_from_slice(&number.to_le_bytes());
                near.tx.commit(4);
                near.tx.flush();
                for index in 0..far.rx.receive() {
                    got.push(u32::from_le_bytes(far.rx.frame(index).try_into().expect("four bytes")));
                }
            }
            got
        };
        let some = 8_000;
        let all: Vec<u32> = (0..FRAMES).collect();
        let none = FrameFaults::default();
        assert_eq!(carry(none, 1), all);
        assert!(carry(FrameFaults { loss: some, ..none }, 1).len() < all.len());
        assert!(carry(FrameFaults { duplicate: some, ..none }, 1).len() > all.len());
        assert!(carry(FrameFaults { corrupt: some, ..none }, 1).iter().any(|number| *number >= FRAMES));
        let delayed = carry(FrameFaults { delay: some, ..none }, 1);
        assert!(!delayed.is_sorted(), "later frames overtake");
        assert_eq!(delayed, carry(FrameFaults { delay: some, ..none }, 1));
        assert_ne!(delayed, carry(FrameFaults { delay: some, ..none }, 2));
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
