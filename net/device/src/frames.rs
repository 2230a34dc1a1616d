//! The seam of frames: whole frames of Ethernet, in bursts, to and from one queue of a network card or
//! of something that behaves like one.
//!
//! Frames are read where the device put them and written where it takes them from: nothing is copied
//! between. A device never waits; it drops what it has no room for, as a card does, and counts it.

use crate::checksum::Unsummed;

/// One queue of a network device: frames in, frames out.
///
/// The halves are fields, so that a frame can be answered while it is still being read, and so that one of
/// them can be wrapped.
#[derive(Debug)]
pub struct FrameDevice<R, T> {
    /// Frames in.
    pub rx: R,
    /// Frames out.
    pub tx: T,
    /// What the device is able to do. It does not change while the device is open.
    pub capabilities: Capabilities,
}

/// Frames that came in.
pub trait FrameRx {
    /// Takes what has arrived, at most one burst, and says how many frames that is. Whatever was taken
    /// before is given back to the device first.
    fn receive(&mut self) -> usize;

    /// Frame `index` of what the last [`FrameRx::receive`] took, from its destination address on, without
    /// its checksum.
    ///
    /// # Panics
    /// When the burst has no such frame.
    fn frame(&self, index: usize) -> &[u8];
}

/// Frames that go out.
pub trait FrameTx {
    /// Where the next frame is written: [`Capabilities::frame_size_max`] bytes, whose content is not
    /// specified. `None`: the device has no room now. A slot that is not committed is offered again.
    fn slot(&mut self) -> Option<&mut [u8]>;

    /// The first `len` bytes of the slot are a frame.
    ///
    /// # Panics
    /// When no slot was taken since the last commit, or `len` is longer than it.
    fn commit(&mut self, len: usize);

    /// As [`FrameTx::commit`], of a frame whose TCP or UDP checksum is not there yet. Where the device does not fill it in
    /// ([`Capabilities::fills_checksums`]) this does.
    ///
    /// # Panics
    /// As [`FrameTx::commit`]; when the checksum's place is not within the frame.
    fn commit_unsummed(&mut self, len: usize, unsummed: Unsummed) {
        let slot = self.slot().expect("a slot is taken before it is committed");
        unsummed.fill(&mut slot[..len]);
        self.commit(len);
    }

    /// Sends what was committed. Until then nothing of it need have left.
    fn flush(&mut self);
}

/// What a device is able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Longest frame in bytes, header included and checksum not.
    pub frame_size_max: usize,
    /// The device writes TCP and UDP checksums itself, of frames that are given to [`FrameTx::commit_unsummed`].
    pub fills_checksums: bool,
    /// The device has checked IP, TCP and UDP checksums of what it hands out.
    pub checks_checksums: bool,
    /// The card reads and writes our memory; nothing is copied in the kernel.
    pub is_zero_copy: bool,
}
