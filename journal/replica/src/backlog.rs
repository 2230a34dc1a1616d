//! The newest frames, in memory: what the live stream is sent from.
//!
//! Frames go in as they are appended, while the local write is still under way, and go out as fast as the link takes them.
//! A standby that is behind what is kept here reads from the journal until it is not; so the live stream goes on
//! without a gap, and nothing on the order path waits for it. Allocates nothing after it was made.

use std::collections::VecDeque;

use ironbell_record::{FrameCopy, Point, copy::COPY_BYTES_MAX};

/// The most frames kept, whatever their length.
const FRAMES_MAX: usize = 4096;

/// The newest frames of one node's history, those in flight included.
#[derive(Debug)]
pub struct Backlog {
    /// Copies one behind the other, none of them across the end.
    ring: Box<[u8]>,
    entries: VecDeque<Entry>,
    last: Point,
    /// Bytes of all copies that were ever put in.
    bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    offset: usize,
    length: usize,
    /// Behind the frame.
    point: Point,
    /// [`Backlog::bytes`] behind the frame.
    bytes: u64,
}

/// One frame of it.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a> {
    /// The copy as [`FrameCopy::encode_into`] made it.
    pub encoded: &'a [u8],
    /// Behind the frame.
    pub point: Point,
}

impl Backlog {
    /// One that keeps up to `bytes` bytes of copies, for a history that has come to `last`.
    ///
    /// # Panics
    /// When not even one copy would fit.
    #[must_use]
    pub fn new(bytes: usize, last: Point) -> Self {
        assert!(bytes >= COPY_BYTES_MAX, "a backlog of {bytes} bytes");
        let entries = VecDeque::with_capacity(FRAMES_MAX);
        Self { ring: vec![0; bytes].into(), entries, last, bytes: 0 }
    }

    /// Takes the frame that was just appended. The oldest ones make room.
    ///
    /// # Panics
    /// When the copy does not come next.
    pub fn push(&mut self, copy: &FrameCopy<'_>) {
        let header = copy.header().expect("what was appended is a frame");
        assert!(header.previous == self.last.hash, "the frame does not follow {}", self.last);
        let length = copy.encoded_bytes();
        let offset = self.make_room(length);
        copy.encode_into(&mut self.ring[offset..offset + length]);
        self.last = copy.point(self.last.frames).expect("its header was read");
        self.bytes += length as u64;
        self.entries.push_back(Entry { offset, length, point: self.last, bytes: self.bytes });
    }

    /// Forgets the oldest until `length` bytes in a row are free; returns where.
    fn make_room(&mut self, length: usize) -> usize {
        if self.entries.len() == FRAMES_MAX {
            self.entries.pop_front();
        }
        while let (Some(oldest), Some(newest)) = (self.entries.front(), self.entries.back()) {
            let free = newest.offset + newest.length;
            // Free are the bytes up to the oldest, or up to the end and again from the beginning up to the oldest.
            if newest.offset < oldest.offset {
                if oldest.offset - free >= length {
                    return free;
                }
            } else if self.ring.len() - free >= length {
                return free;
            } else if oldest.offset >= length {
                return 0;
            }
            self.entries.pop_front();
        }
        0
    }

    /// The end of the history, everything appended included.
    #[must_use]
    pub fn last(&self) -> Point {
        self.last
    }

    /// The frame of this number, if it is kept.
    #[must_use]
    pub fn get(&self, number: u64) -> Option<Kept<'_>> {
        let entry = self.entry(number)?;
        Some(Kept { encoded: &self.ring[entry.offset..entry.offset + entry.length], point: entry.point })
    }

    /// The point behind `frames` frames, if it is known.
    #[must_use]
    pub fn point(&self, frames: u64) -> Option<Point> {
        if frames == self.last.frames {
            return Some(self.last);
        }
        self.entry(frames.checked_sub(1)?).map(|entry| entry.point)
    }

    /// Number of the oldest frame kept; of the next one when none is.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        self.last.frames - self.entries.len() as u64
    }

    /// Bytes of the copies from frame `number` on; `None` when some of them are not kept any more.
    #[must_use]
    pub fn bytes_from(&self, number: u64) -> Option<u64> {
        if number >= self.last.frames {
            return Some(0);
        }
        let entry = self.entry(number)?;
        Some(self.bytes - (entry.bytes - entry.length as u64))
    }

    fn entry(&self, number: u64) -> Option<&Entry> {
        self.entries.get(usize::try_from(number.checked_sub(self.oldest())?).ok()?)
    }
}
