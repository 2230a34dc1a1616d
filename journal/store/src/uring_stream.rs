//! A stream by io_uring: while one piece is looked at, the next ones are on their way.
//!
//! ```text
//!  piece 0   ┌ room ┬──────── 1 MiB ────────┐      each piece has room before it for the end of the one before, so that
//!  piece 1   ┌ room ┬──────── 1 MiB ────────┐      a frame which begins in one and ends in the next lies together
//!  …
//! ```
//!
//! Direct reads come past the page cache, and so nobody reads ahead for us; with one read at a time, the disk rests
//! while frames are checked, and the reader while the disk works.
//!
//! Miri knows no io_uring. What the unsafe blocks lean on is that nobody touches a piece which the kernel may still
//! write: such a piece is `Asked`, is not given out, and the memory outlives it, since `drop` waits for it.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use io_uring::{IoUring, opcode, types};
use ironbell_record::{BLOCK_BYTES, FRAME_BYTES_MAX};
use memmap2::{MmapOptions, MmapRaw};

use crate::disk::DiskFile;
use crate::stream::{PIECE_BYTES, Stream};

/// Pieces in memory: the one that is looked at, and those on their way.
const PIECES: usize = 4;

/// Before each piece lies room for a frame that begins in the one before.
const PLACE_BYTES: usize = FRAME_BYTES_MAX + PIECE_BYTES;

/// A stream of a file of the operating system.
pub struct UringStream {
    ring: IoUring,
    file: File,
    file_bytes: u64,
    memory: MmapRaw,
    pieces: [Piece; PIECES],
    /// The piece that is looked at; those behind it follow, around the end.
    first: usize,
    /// Where the next piece to be asked for begins.
    next: u64,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    state: State,
    /// Where it begins in the file, without what is in the room before it.
    offset: u64,
    bytes: usize,
    /// How much of the room before it holds what comes before it.
    before: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing is in it.
    Empty,
    /// The kernel is to fill it, and has as far as this.
    Asked { filled: usize },
    /// It is here.
    Here,
    /// It could not be read, and says so to who wants it: the kernel's error, 0 for a file that is shorter than it was.
    Failed(i32),
}

const EMPTY: Piece = Piece { state: State::Empty, offset: 0, bytes: 0, before: 0 };

impl Piece {
    fn end(&self) -> u64 {
        self.offset + self.bytes as u64
    }

    fn is_asked(&self) -> bool {
        matches!(self.state, State::Asked { .. })
    }

    fn begin(&self) -> u64 {
        self.offset - self.before as u64
    }
}

impl std::fmt::Debug for UringStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UringStream")
            .field("file", &self.file)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl UringStream {
    /// A stream of a file, opened for direct reads or not.
    ///
    /// # Errors
    /// When there is no io_uring or no memory.
    pub fn new(file: File) -> io::Result<Self> {
        Ok(Self {
            ring: IoUring::new(PIECES as u32)?,
            file_bytes: file.bytes()?,
            file,
            memory: MmapOptions::new().len(PIECES * PLACE_BYTES).map_anon()?.into(),
            pieces: [EMPTY; PIECES],
            first: 0,
            next: 0,
        })
    }

    /// Has a piece filled with what comes next; nothing at the file's end.
    fn ask(&mut self, number: usize) -> io::Result<()> {
        assert!(!self.pieces[number].is_asked(), "piece {number} is the kernel's");
        let bytes = (PIECE_BYTES as u64).min(self.file_bytes.saturating_sub(self.next)) as usize;
        let state = if bytes > 0 { State::Asked { filled: 0 } } else { State::Here };
        self.pieces[number] = Piece { state, offset: self.next, bytes, before: 0 };
        self.next += bytes as u64;
        if bytes > 0 { self.submit(number) } else { Ok(()) }
    }

    /// Asks for what an asked piece lacks.
    fn submit(&mut self, number: usize) -> io::Result<()> {
        let Piece { state: State::Asked { filled }, offset, bytes, .. } = self.pieces[number] else {
            panic!("piece {number} was not asked for");
        };
        let start = self.memory.as_mut_ptr().wrapping_add(number * PLACE_BYTES + FRAME_BYTES_MAX + filled);
        let read = opcode::Read::new(types::Fd(self.file.as_raw_fd()), start, (bytes - filled) as u32)
            .offset(offset + filled as u64)
            .build()
            .user_data(number as u64);
        // SAFETY: the bytes lie in the place of piece `number` in the map, which is asked for from now until its
        // completion is reaped, and until then neither given out nor unmapped; the file is open as long as the ring.
        unsafe { self.ring.submission().push(&read) }.expect("the queue has a place for every piece");
        match self.ring.submit() {
            // What the kernel did not take now it takes when it is waited for.
            Err(error) if is_passing(&error) => Ok(()),
            given => given.map(|_| ()),
        }
    }

    /// Waits until a read is over.
    fn wait(&mut self) -> io::Result<()> {
        match self.ring.submit_and_wait(1) {
            Err(error) if is_passing(&error) => {}
            waited => waited.map(|_| ())?,
        }
        while let Some((number, result)) = self.reap() {
            self.ended(number, result)?;
        }
        Ok(())
    }

    /// Waits until a piece is here.
    fn wait_for(&mut self, number: usize) -> io::Result<()> {
        while self.pieces[number].is_asked() {
            self.wait()?;
        }
        match self.pieces[number].state {
            State::Here => Ok(()),
            State::Failed(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            State::Failed(error) => Err(io::Error::from_raw_os_error(error)),
            State::Empty | State::Asked { .. } => panic!("piece {number} was not asked for"),
        }
    }

    /// A read that is over: of which piece, and how.
    fn reap(&mut self) -> Option<(usize, i32)> {
        self.ring.completion().next().map(|entry| (entry.user_data() as usize, entry.result()))
    }

    /// What becomes of a piece whose read is over.
    fn ended(&mut self, number: usize, result: i32) -> io::Result<()> {
        let piece = &mut self.pieces[number];
        let State::Asked { filled } = &mut piece.state else { panic!("piece {number} was not asked for") };
        if result > 0 {
            *filled += result as usize;
            assert!(*filled <= piece.bytes, "more was read than asked for");
            if *filled == piece.bytes {
                piece.state = State::Here;
                return Ok(());
            }
            return self.submit(number);
        }
        if is_passing(&io::Error::from_raw_os_error(-result)) {
            return self.submit(number);
        }
        piece.state = State::Failed(-result);
        Ok(())
    }

    /// Waits until nothing is on its way, whatever becomes of it.
    fn settle(&mut self) {
        while self.pieces.iter().any(Piece::is_asked) {
            if self.ring.submit_and_wait(1).is_err_and(|error| !is_passing(&error)) {
                // A ring that cannot be asked any more may still write: its memory must stay.
                std::process::abort();
            }
            while let Some((number, _)) = self.reap() {
                self.pieces[number].state = State::Empty;
            }
        }
    }

    /// Begins anew, at `offset`.
    fn restart(&mut self, offset: u64) -> io::Result<()> {
        self.settle();
        (self.first, self.next) = (0, offset);
        (0..PIECES).try_for_each(|number| self.ask(number))
    }

    /// Whether the pieces hold `offset`, or will: from the beginning of the first to the end of the last.
    fn reaches(&self, offset: u64) -> bool {
        let first = &self.pieces[self.first];
        first.state != State::Empty && (first.begin()..self.next).contains(&offset)
    }

    /// The place of a piece in the map.
    fn place(&mut self, number: usize) -> &mut [u8] {
        assert!(self.pieces[number].state == State::Here, "piece {number} is the kernel's");
        // SAFETY: the place lies in the map, and the kernel does not write to it: it is not asked for. The slice
        // borrows `self`, and so nobody else refers to it, and it is not asked for meanwhile.
        unsafe {
            let start = self.memory.as_mut_ptr().add(number * PLACE_BYTES);
            std::slice::from_raw_parts_mut(start, PLACE_BYTES)
        }
    }

    /// Sees to it that the first piece holds `length` bytes from `offset` on, which the file has.
    fn reach(&mut self, offset: u64, length: usize) -> io::Result<()> {
        if !self.reaches(offset) {
            self.restart(offset)?;
        }
        // Pieces before it are not needed any more.
        while self.pieces[self.first].end() <= offset {
            let done = self.first;
            while self.pieces[done].is_asked() {
                self.wait()?;
            }
            self.first = (done + 1) % PIECES;
            self.ask(done)?;
        }
        self.wait_for(self.first)?;
        if offset + length as u64 > self.pieces[self.first].end() {
            self.cross(offset)?;
        }
        Ok(())
    }

    /// Goes to the next piece, and takes along what is in this one from `offset` on.
    fn cross(&mut self, offset: u64) -> io::Result<()> {
        let (this, next) = (self.first, (self.first + 1) % PIECES);
        self.wait_for(next)?;
        let piece = self.pieces[this];
        let kept = (piece.end() - offset) as usize;
        assert!(kept <= FRAME_BYTES_MAX, "{kept} bytes have no room before a piece");
        assert!(self.pieces[next].offset == piece.end(), "pieces follow each other");
        let end = FRAME_BYTES_MAX + piece.bytes;
        let mut room = [0; BLOCK_BYTES];
        for at in (0..kept).step_by(BLOCK_BYTES) {
            let bytes = BLOCK_BYTES.min(kept - at);
            room[..bytes].copy_from_slice(&self.place(this)[end - kept + at..][..bytes]);
            self.place(next)[FRAME_BYTES_MAX - kept + at..][..bytes].copy_from_slice(&room[..bytes]);
        }
        self.pieces[next].before = kept;
        self.first = next;
        self.ask(this)
    }
}

/// Whether a call that failed so can be made again and may then succeed.
fn is_passing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted
        || matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY))
}

impl Stream for UringStream {
    fn bytes(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        assert!(length <= FRAME_BYTES_MAX, "a stream gives no {length} bytes at once");
        if offset.checked_add(length as u64).is_none_or(|end| end > self.file_bytes) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Err(error) = self.reach(offset, length) {
            self.settle();
            self.pieces = [EMPTY; PIECES];
            return Err(error);
        }
        // Less than the room where the frame begins in what was kept of the piece before.
        let from = (FRAME_BYTES_MAX as u64 + offset - self.pieces[self.first].offset) as usize;
        Ok(&self.place(self.first)[from..from + length])
    }
}

impl Drop for UringStream {
    fn drop(&mut self) {
        self.settle();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt;
    use std::path::PathBuf;

    use rustix::fs::OFlags;

    use super::*;
    use crate::stream::Pieces;

    /// A file of 5 MiB and a block, each word of which says where it stands.
    fn numbered(name: &str) -> (PathBuf, Vec<u8>) {
        let path = std::env::temp_dir().join(format!("ironbell-stream-{}-{name}", std::process::id()));
        let words = (5 * PIECE_BYTES + BLOCK_BYTES) as u64 / 8;
        let bytes: Vec<u8> = (0..words).flat_map(u64::to_le_bytes).collect();
        std::fs::write(&path, &bytes).unwrap();
        (path, bytes)
    }

    fn same(stream: &mut impl Stream, bytes: &[u8], offset: usize, length: usize) {
        let read = stream.bytes(offset as u64, length).unwrap();
        assert!(read == &bytes[offset..offset + length], "{length} bytes from {offset} on");
    }

    #[test]
    fn a_file_is_read_in_order_and_out_of_order_whatever_the_lengths() {
        let (path, bytes) = numbered("order");
        let blocks = bytes.len() / BLOCK_BYTES;
        let open = |flags: OFlags| {
            std::fs::OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(&path).unwrap()
        };
        let mut plain = UringStream::new(open(OFlags::empty())).unwrap();
        let mut direct = UringStream::new(open(OFlags::DIRECT)).unwrap();
        let mut pieces = Pieces::new(open(OFlags::DIRECT)).unwrap();
        let mut random = 1u64;
        let mut below = |limit: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize % limit
        };
        for _ in 0..30 {
            // From anywhere on, as frames are read: the first block, then all of it.
            let mut block = below(blocks);
            for _ in 0..below(60) {
                let length = (1 + below(FRAME_BYTES_MAX / BLOCK_BYTES)).min(blocks - block);
                for blocks in [1, length] {
                    same(&mut plain, &bytes, block * BLOCK_BYTES, blocks * BLOCK_BYTES);
                    same(&mut direct, &bytes, block * BLOCK_BYTES, blocks * BLOCK_BYTES);
                    same(&mut pieces, &bytes, block * BLOCK_BYTES, blocks * BLOCK_BYTES);
                }
                block += length;
                if block == blocks {
                    break;
                }
            }
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn behind_the_end_there_is_nothing_and_a_shortened_file_is_an_error_again_and_again() {
        let (path, bytes) = numbered("end");
        let mut stream = UringStream::new(File::open(&path).unwrap()).unwrap();
        let eof = |stream: &mut UringStream, offset, length| {
            let error = stream.bytes(offset, length).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        };
        eof(&mut stream, bytes.len() as u64, BLOCK_BYTES);
        eof(&mut stream, bytes.len() as u64 - 4096, 2 * BLOCK_BYTES);
        eof(&mut stream, u64::MAX - 4095, BLOCK_BYTES);
        same(&mut stream, &bytes, bytes.len() - BLOCK_BYTES, BLOCK_BYTES);
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1 << 20).unwrap();
        eof(&mut stream, 1 << 20, BLOCK_BYTES);
        eof(&mut stream, 1 << 20, BLOCK_BYTES);
        same(&mut stream, &bytes, 0, BLOCK_BYTES);
        std::fs::remove_file(&path).unwrap();
    }
}
