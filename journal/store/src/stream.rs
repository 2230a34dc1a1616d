//! A file read from its beginning to its end, in large pieces.

use std::fmt;
use std::io;
use std::ops::Range;

use ironbell_record::FRAME_BYTES_MAX;
use memmap2::MmapMut;

use crate::disk::{DiskFile, aligned};

/// What is read at a time, in bytes.
pub const PIECE_BYTES: usize = 1 << 20;

/// Reads a file mostly from its beginning to its end. Any place can be asked for; going back costs a new start.
///
/// [`UringStream`](crate::UringStream) is the real one, which has the next pieces read meanwhile.
pub trait Stream: fmt::Debug + Send {
    /// `length` bytes from `offset` on, which the file has: at most [`FRAME_BYTES_MAX`] of them, both multiples of
    /// 4,096. They stand until the next call.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file has fewer; whatever else the world says.
    fn bytes(&mut self, offset: u64, length: usize) -> io::Result<&[u8]>;
}

/// One piece after the other, each when it is needed.
#[derive(Debug)]
pub struct Pieces<F> {
    file: F,
    file_bytes: u64,
    piece: MmapMut,
    held: Range<u64>,
}

impl<F: DiskFile> Pieces<F> {
    /// A stream of a file.
    ///
    /// # Errors
    /// When its length cannot be found out, or there is no memory.
    pub fn new(file: F) -> io::Result<Self> {
        Ok(Self { file_bytes: file.bytes()?, file, piece: aligned(PIECE_BYTES)?, held: 0..0 })
    }
}

impl<F: DiskFile> Stream for Pieces<F> {
    fn bytes(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        assert!(length <= FRAME_BYTES_MAX, "a stream gives no {length} bytes at once");
        if offset < self.held.start || self.held.end < offset + length as u64 {
            let left = self.file_bytes.checked_sub(offset).ok_or(io::ErrorKind::UnexpectedEof)?;
            let filled = (PIECE_BYTES as u64).min(left);
            self.held = 0..0;
            self.file.read_exact_at(&mut self.piece[..filled as usize], offset)?;
            self.held = offset..offset + filled;
        }
        let piece = &self.piece[(offset - self.held.start) as usize..];
        piece.get(..length).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}
