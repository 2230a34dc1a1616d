//! Segment files and their maps: the only unsafe code of the crate.
//!
//! The protocol between the one writer and the readers:
//! - the writer fills bytes that no reader knows of, then publishes their offset by a release store in
//!   [`Shared::last`]; readers load it with acquire, and follow offsets only to records at or before
//!   what they loaded;
//! - published bytes are never written again, but for `next`, which the writer fills before it publishes
//!   the stream's next record and which readers read only after they saw that one.
//!
//! So no byte is ever written while another thread may read it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use memmap2::{Advice, MmapOptions, MmapRaw};

use crate::record::{self, BODY_SIZE_MAX, FIXED_SIZE, HEADER_SIZE, Header, NEXT_AT};
use crate::{Config, Error};

/// Bytes before the first record of a segment.
pub(crate) const SEGMENT_HEADER_SIZE: u64 = 64;

/// How often a taken lock is asked for again, 10 ms apart.
const LOCK_TRIES: u32 = 200;

const MAGIC: &[u8; 8] = b"IBSESLOG";
const VERSION: u32 = 2;
/// What the segment header says of the messages: as they are, or enciphered with a [`LogKey`](crate::LogKey).
const PLAIN: u32 = 0;
const ENCIPHERED: u32 = 1;

/// What writer, maker and readers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub config: Config,
    segments: Box<[OnceLock<MmapRaw>]>,
    /// Taken only while a segment is made.
    making: Mutex<()>,
    /// The segment that is being written.
    pub current: AtomicU32,
    /// Offset of each stream's newest record.
    pub last: Box<[AtomicU64]>,
    /// How many times each stream was started again.
    pub generation: Box<[AtomicU32]>,
    /// Held for its lock.
    _lock: File,
}

/// A place in the log that is not a record: the log is damaged there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nowhere;

impl Shared {
    pub fn open(config: &Config) -> Result<Arc<Self>, Error> {
        assert!(config.segment_size.is_multiple_of(4096), "segments are whole pages");
        assert!(config.segment_size >= 128 << 10, "a segment holds the largest message");
        let io = |doing, path: &PathBuf| {
            let path = path.clone();
            move |source| Error::Io { path, doing, source }
        };
        fs::create_dir_all(&config.dir).map_err(io("make the directory", &config.dir))?;
        let path = config.dir.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(io("open the lock file", &path))?;
        let mut tries = 0;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                // Who had it may be gone in a moment: a thread of this node's last life, a child between fork and exec.
                Err(TryLockError::WouldBlock) if tries < LOCK_TRIES => {
                    tries += 1;
                    std::thread::sleep(Duration::from_millis(10));
                }
                Err(TryLockError::WouldBlock) => return Err(Error::InUse { dir: config.dir.clone() }),
                Err(TryLockError::Error(source)) => return Err(io("lock", &path)(source)),
            }
        }
        let shared = Self {
            config: config.clone(),
            segments: (0..config.segments_max).map(|_| OnceLock::new()).collect(),
            making: Mutex::new(()),
            current: AtomicU32::new(0),
            last: (0..config.streams_max).map(|_| AtomicU64::new(0)).collect(),
            generation: (0..config.streams_max).map(|_| AtomicU32::new(0)).collect(),
            _lock: lock,
        };
        shared.make(0)?;
        Ok(Arc::new(shared))
    }

    /// Opens a log that has records up to `head`; segments that hold them must be there.
    pub fn resume(config: &Config, head: u64) -> Result<Arc<Self>, Error> {
        let last = u32::try_from((head - 1) / config.segment_size).unwrap_or(u32::MAX);
        for index in 0..=last {
            let path = config.dir.join(format!("{index:08}.seg"));
            let metadata = fs::metadata(&path);
            let is_whole = metadata.as_ref().is_ok_and(|metadata| metadata.len() == config.segment_size);
            if !is_whole && (head > SEGMENT_HEADER_SIZE || metadata.is_ok()) {
                let offset = u64::from(index) * config.segment_size;
                return Err(Error::Damaged { dir: config.dir.clone(), stream: 0, number: 0, offset });
            }
        }
        let shared = Self::open(config)?;
        (1..=last).try_for_each(|index| shared.make(index))?;
        shared.current.store(last, Ordering::Release);
        Ok(shared)
    }

    /// Offset of the newest record of a stream that readers know of; 0 where there is none.
    pub fn newest(&self, stream: u32) -> u64 {
        self.last.get(stream as usize).map_or(0, |last| last.load(Ordering::Acquire))
    }

    /// Whether an intact record of that stream, generation and number stands at `offset`. Nobody writes yet.
    pub fn has_record(&self, offset: u64, (stream, generation, number): (u32, u32, u64)) -> bool {
        self.record(offset, offset).is_ok_and(|(fixed, body)| {
            record::is_intact(fixed, body) && Header::parse(fixed).is_of(stream, generation, number)
        })
    }

    pub fn has(&self, index: u32) -> bool {
        self.segments.get(index as usize).is_some_and(|s| s.get().is_some())
    }

    /// Makes segment `index`, unless it is there.
    pub fn make(&self, index: u32) -> Result<(), Error> {
        let _one_at_a_time = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if self.has(index) {
            return Ok(());
        }
        let Some(slot) = self.segments.get(index as usize) else {
            return Err(Error::Full { dir: self.config.dir.clone(), segments_max: self.config.segments_max });
        };
        let path = self.config.dir.join(format!("{index:08}.seg"));
        let header = segment_header(index, &self.config);
        let map = map_segment(&path, &header, self.config.segment_size)
            .map_err(|(doing, source)| Error::Io { path, doing, source })?;
        slot.set(map).expect("the lock is held, so nobody else made it");
        Ok(())
    }

    /// Takes the page faults of the rest of the segment that `head` is in, ahead of the order path.
    pub fn touch(&self, head: u64) {
        let (index, at) = ((head - 1) / self.config.segment_size, (head - 1) % self.config.segment_size);
        if let Some(map) = self.segments.get(index as usize).and_then(OnceLock::get) {
            // As in `map_segment`: a kernel that does not know the advice leaves the faults to the writer.
            let _ = map.advise_range(
                Advice::PopulateWrite,
                at as usize,
                (self.config.segment_size - at) as usize,
            );
        }
    }

    /// The address of `len` bytes at `offset`, if a segment has them behind its header.
    fn address(&self, offset: u64, len: u64) -> Option<*mut u8> {
        let (index, at) = (offset / self.config.segment_size, offset % self.config.segment_size);
        if at < SEGMENT_HEADER_SIZE || at + len > self.config.segment_size {
            return None;
        }
        let map = self.segments.get(usize::try_from(index).ok()?)?.get()?;
        // SAFETY: `at + len` is within the segment, and every map is exactly `segment_size` long
        // (`map_segment` maps that much of a file that it made that long).
        Some(unsafe { map.as_mut_ptr().add(at as usize) })
    }

    /// The header of the record at `offset`, where `newest_at` is a published record: the newest one
    /// that the caller knows of.
    pub fn header(&self, offset: u64, newest_at: u64) -> Result<&[u8; FIXED_SIZE], Nowhere> {
        let size = HEADER_SIZE as u64;
        // Records lie in the order of their publication, so one before the newest also ends before it.
        // A damaged link that leads elsewhere is refused here, before the writer's bytes are touched.
        if offset != newest_at && offset + size > newest_at {
            return Err(Nowhere);
        }
        let at = self.address(offset, size).ok_or(Nowhere)?;
        // SAFETY: the 40 bytes are inside a map, which lives as long as `self`, and at or before a
        // published record, so nobody writes them any more. (A damaged file may lead into the midst of
        // a record; its bytes do not change either, but for its `next`.)
        Ok(unsafe { &*at.cast::<[u8; FIXED_SIZE]>() })
    }

    /// The record at `offset`, as [`Shared::header`]: its fixed header bytes and its body.
    pub fn record(&self, offset: u64, newest_at: u64) -> Result<(&[u8; FIXED_SIZE], &[u8]), Nowhere> {
        let fixed = self.header(offset, newest_at)?;
        let len = Header::parse(fixed).len as usize;
        let size = (HEADER_SIZE + len) as u64;
        if len > BODY_SIZE_MAX || (offset != newest_at && offset + size > newest_at) {
            return Err(Nowhere);
        }
        let at = self.address(offset, size).ok_or(Nowhere)?;
        // SAFETY: as in `header`; the body lies behind the header within the same map.
        let body = unsafe { std::slice::from_raw_parts(at.add(HEADER_SIZE), len) };
        Ok((fixed, body))
    }

    /// `next` of the record at `offset`. Call only after a later record of its stream was seen published.
    pub fn next_of(&self, offset: u64) -> Result<u64, Nowhere> {
        let at = self.address(offset, HEADER_SIZE as u64).ok_or(Nowhere)?;
        let mut bytes = [0; 8];
        // SAFETY: inside a map. The writer filled `next` before it published the later record, whose
        // acquire load came before this call, and never writes it again.
        unsafe { at.add(NEXT_AT as usize).copy_to_nonoverlapping(bytes.as_mut_ptr(), 8) };
        Ok(u64::from_le_bytes(bytes))
    }
}

/// The writing end of the maps. There is one per [`Shared`]: only `SessionLog` makes it.
#[derive(Debug)]
pub(crate) struct Writer {
    pub shared: Arc<Shared>,
}

impl Writer {
    /// Puts a record at `offset`, which nothing published refers to. With `verify` bytes that already
    /// stand there are left alone. Returns whether anything was written.
    pub fn put(&mut self, offset: u64, fixed: &[u8; FIXED_SIZE], body: &[u8], verify: bool) -> bool {
        let size = (HEADER_SIZE + body.len()) as u64;
        let at = self.shared.address(offset, size).expect("the writer stays within its segment");
        if verify && self.is_there(at, fixed, body) {
            return false;
        }
        // SAFETY: the range is inside a map (`address`), and no reader knows of it: it is behind
        // everything published. `&mut self` and the single `Writer` keep other writers away.
        unsafe {
            at.copy_from_nonoverlapping(fixed.as_ptr(), FIXED_SIZE);
            at.add(FIXED_SIZE).write_bytes(0, HEADER_SIZE - FIXED_SIZE);
            at.add(HEADER_SIZE).copy_from_nonoverlapping(body.as_ptr(), body.len());
        }
        true
    }

    fn is_there(&self, at: *mut u8, fixed: &[u8; FIXED_SIZE], body: &[u8]) -> bool {
        // SAFETY: `put` checked the range; nobody else writes to it, and the slices end with this call.
        let (header_there, body_there) = unsafe {
            (
                std::slice::from_raw_parts(at, FIXED_SIZE),
                std::slice::from_raw_parts(at.add(HEADER_SIZE), body.len()),
            )
        };
        header_there == fixed && body_there == body
    }

    /// Fills `next` of the record at `offset`, whose stream's next record is not yet published.
    pub fn link(&mut self, offset: u64, next: u64, verify: bool) {
        if verify && self.shared.next_of(offset).is_ok_and(|there| there == next) {
            return;
        }
        let at = self.shared.address(offset, HEADER_SIZE as u64).expect("a record that was put");
        // SAFETY: inside a map. Readers read `next` only after the record it leads to is published,
        // which has not happened.
        unsafe { at.add(NEXT_AT as usize).copy_from_nonoverlapping(next.to_le_bytes().as_ptr(), 8) };
    }

    /// Makes the record at `offset` the newest of its stream.
    pub fn publish(&mut self, stream: u32, offset: u64) {
        self.shared.last[stream as usize].store(offset, Ordering::Release);
    }
}

/// Segments that are ready while another is written. One would keep the making off the order path; with the second
/// it is known that the disk is full while there is still room to say so.
const AHEAD: u32 = 2;

/// Makes segments ahead of need, and writes them back, on a thread that may wait.
#[derive(Debug)]
pub struct Maker {
    pub(crate) shared: Arc<Shared>,
}

impl Maker {
    /// Makes the next of the two segments behind the one being written that is not there. It may take milliseconds:
    /// blocks are allocated and pages are touched, so that the writer needs to do neither.
    ///
    /// # Errors
    /// [`Error::Io`], a full disk for example, and [`Error::Full`]. The writer meets the same error
    /// when it gets there; until then it works on. A later call tries again.
    pub fn poll(&mut self) -> Result<bool, Error> {
        let current = self.shared.current.load(Ordering::Relaxed);
        let beyond = self.shared.config.segments_max.max(current + 2);
        let missing = (current + 1..=current + AHEAD).find(|next| !self.shared.has(*next));
        match missing.filter(|next| *next < beyond) {
            None => Ok(false),
            Some(next) => self.shared.make(next).map(|()| true),
        }
    }

    /// Segments that are ready behind the one being written.
    #[must_use]
    pub fn spares(&self) -> usize {
        let current = self.shared.current.load(Ordering::Relaxed);
        (current + 1..=current + AHEAD).take_while(|next| self.shared.has(*next)).count()
    }

    /// Waits until everything appended before the call is on disk.
    ///
    /// # Errors
    /// [`Error::Io`] when the system could not write.
    pub fn sync(&self) -> Result<(), Error> {
        let current = self.shared.current.load(Ordering::Acquire);
        // From the first one on: an append also fills `next` of an older record, anywhere before.
        for (index, slot) in self.shared.segments.iter().enumerate().take(current as usize + 1) {
            let Some(map) = slot.get() else { continue };
            map.flush().map_err(|source| Error::Io {
                path: self.shared.config.dir.join(format!("{index:08}.seg")),
                doing: "write back",
                source,
            })?;
        }
        Ok(())
    }
}

fn map_segment(
    path: &PathBuf,
    header: &SegmentHeader,
    size: u64,
) -> Result<MmapRaw, (&'static str, io::Error)> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .map_err(|e| ("open the segment", e))?;
    if is_of_another_layout(&file, header) {
        // What was plain must not stay between what is enciphered.
        file.set_len(0).map_err(|e| ("empty the segment", e))?;
    }
    let found = file.metadata().map_err(|e| ("look at the segment", e))?;
    let is_new = found.len() != size;
    if is_new || found.blocks() * 512 < size {
        check_room(&file, size).map_err(|e| ("allocate the segment", e))?;
    }
    allocate(&file, size, is_new).map_err(|e| ("allocate the segment", e))?;
    let map = MmapOptions::new()
        .len(usize::try_from(size).expect("a segment fits the address space"))
        .map_raw(&file)
        .map_err(|e| ("map the segment", e))?;
    if is_new {
        // Touching the pages here keeps the faults off the order path. Kernels before 5.14 do not know
        // the advice; there the writer takes the faults.
        let _ = map.advise(Advice::PopulateWrite);
    }
    // SAFETY: the map is at least a page long and not shared yet.
    unsafe { map.as_mut_ptr().copy_from_nonoverlapping(header.as_ptr(), header.len()) };
    Ok(map)
}

/// Refuses what cannot fit before it is tried: an allocation that fails has taken the last byte from everyone else for
/// a moment.
fn check_room(file: &File, size: u64) -> io::Result<()> {
    let found = rustix::fs::fstatvfs(file)?;
    if found.f_bavail.saturating_mul(found.f_frsize) < size {
        return Err(io::ErrorKind::StorageFull.into());
    }
    Ok(())
}

/// Gives the file its blocks: a full disk must be an error here, because as a store into a map it
/// would be a signal. A file that has its length may still lack blocks: who made it may have been killed
/// in between.
fn allocate(file: &File, size: u64, is_new: bool) -> io::Result<()> {
    file.set_len(size)?;
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, size) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) if is_new => write_zeros(file, size),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

fn write_zeros(file: &File, size: u64) -> io::Result<()> {
    let block = [0; 64 << 10];
    let mut at = 0;
    while at < size {
        let count = (size - at).min(block.len() as u64);
        file.write_all_at(&block[..count as usize], at)?;
        at += count;
    }
    Ok(())
}

type SegmentHeader = [u8; SEGMENT_HEADER_SIZE as usize];

/// ```text
/// 0        8         12       16             24       28       32           64
/// │ magic  │ version │ index  │ segment size │ cipher │ crc32c │ zero       │ first record
/// ```
fn segment_header(index: u32, config: &Config) -> SegmentHeader {
    let cipher = if config.key.is_some() { ENCIPHERED } else { PLAIN };
    let mut header = [0; SEGMENT_HEADER_SIZE as usize];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..16].copy_from_slice(&index.to_le_bytes());
    header[16..24].copy_from_slice(&config.segment_size.to_le_bytes());
    header[24..28].copy_from_slice(&cipher.to_le_bytes());
    let crc = crc32c::crc32c(&header[..28]);
    header[28..32].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Whether the file begins as a segment does, but of another version or cipher. One whose header is damaged
/// is taken for ours: each of its records is compared when it is appended again.
fn is_of_another_layout(file: &File, ours: &SegmentHeader) -> bool {
    let mut there = [0; SEGMENT_HEADER_SIZE as usize];
    if file.read_exact_at(&mut there, 0).is_err() || there[..8] != *MAGIC {
        return false;
    }
    let is_whole = there[28..32] == crc32c::crc32c(&there[..28]).to_le_bytes();
    there[8..12] != ours[8..12] || (is_whole && there[24..28] != ours[24..28])
}

const _: () = assert!(record::record_size(BODY_SIZE_MAX) + SEGMENT_HEADER_SIZE <= 128 << 10);
