//! The seam between the writer's rules and the device: staging slots and the writes out of them.

use std::io;

use crate::disk::DiskFile;

/// Staging slots and an open segment. The bytes of a slot belong to its write from
/// [`submit`](Self::submit) until its completion is reaped.
///
/// [`Uring`](crate::Uring) is the real one; [`sim`](crate::sim) has one that reorders, stalls, fails and loses.
pub trait WriteQueue {
    /// A segment.
    type File: DiskFile;

    /// Number of slots, each of [`FRAME_BYTES_MAX`](ironbell_record::FRAME_BYTES_MAX) bytes.
    fn slots(&self) -> usize;

    /// The bytes of a slot that is not being written.
    fn slot(&mut self, slot: usize) -> &mut [u8];

    /// The bytes of a slot, its write in flight or not: a write only reads them.
    fn staged(&self, slot: usize) -> &[u8];

    /// Begins to write the first `bytes` bytes of `slot` at `offset` of the segment. Never waits.
    ///
    /// # Errors
    /// When the write could not be begun and never will be.
    fn submit(&mut self, slot: usize, bytes: usize, offset: u64) -> io::Result<()>;

    /// A write that is over, in whatever order they end. Never waits.
    ///
    /// # Errors
    /// When the device cannot be asked any more.
    fn reap(&mut self) -> io::Result<Option<Completion>>;

    /// Waits until a write is over. For start and stop only.
    ///
    /// # Errors
    /// When the device cannot be asked any more.
    fn wait(&mut self) -> io::Result<()>;

    /// Makes `segment` the one that writes go to. No write is in flight.
    ///
    /// # Errors
    /// When the device does not take it.
    fn aim(&mut self, segment: &Self::File) -> io::Result<()>;
}

/// How a write ended.
#[derive(Debug)]
pub struct Completion {
    /// Whose bytes it wrote.
    pub slot: usize,
    /// Bytes written, or why none.
    pub result: io::Result<usize>,
}
