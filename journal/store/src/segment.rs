//! Segments, and the role that makes them ahead of need.
//!
//! A segment is allocated, zero-written and synced under another name, and has its own only then:
//! whoever sees one sees a whole one. A write into zero-written blocks changes data alone; one into
//! merely allocated blocks changes the file system's metadata too, and then costs half as much again
//! and two flushes.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

use ironbell_record::{BLOCK_BYTES, SegmentHeader};
use ironbell_sync::Producer;
use memmap2::MmapMut;

use crate::dir::{self, Options};
use crate::disk::{Access, Disk, DiskFile, Os, aligned};
use crate::error::Error;

/// Segments that are ready while another is being written. When the disk is full the first is taken and cannot be made
/// up for: two are left to let everybody out, and the last of them is for the journal's orderly end and its next start.
pub(crate) const SPARES: usize = 3;

/// How much is zero-written at a time, in bytes.
const CHUNK_BYTES: u64 = 1 << 20;

/// A segment open for writing.
#[derive(Debug)]
pub(crate) struct Segment<F> {
    pub file: F,
    pub path: PathBuf,
    pub header: SegmentHeader,
}

impl<F: DiskFile> Segment<F> {
    /// Opens a segment that is there.
    pub fn open<D: Disk<File = F>>(
        disk: &D,
        dir: &Path,
        index: u64,
        options: &Options,
    ) -> Result<Self, Error> {
        let path = dir::segment_path(dir, index);
        let opened = disk.open(&path, Access::Write, options.direct());
        let file = opened.map_err(Error::io("open for writing", &path))?;
        let header = read_header(&file, &path)?;
        Ok(Self { file, path, header })
    }
}

/// The header of the segment `file`, which lies at `path`.
pub(crate) fn read_header<F: DiskFile>(file: &F, path: &Path) -> Result<SegmentHeader, Error> {
    let mut block = aligned(BLOCK_BYTES).map_err(Error::io("get memory to read", path))?;
    file.read_exact_at(&mut block, 0).map_err(Error::io("read the header of", path))?;
    SegmentHeader::decode(&block).map_err(|fault| Error::Layout { path: path.to_owned(), fault })
}

/// Makes segments. A role of its own, on another thread than the [`Writer`](crate::Writer): zero-writing
/// takes milliseconds, which no order should wait for.
#[derive(Debug)]
pub struct SegmentMaker<D: Disk = Os> {
    workshop: Workshop<D>,
    /// Found ready when the journal was opened.
    found: VecDeque<Segment<D::File>>,
    making: Option<Making<D::File>>,
    maker_writer: Producer<Segment<D::File>>,
    failed: bool,
}

impl<D: Disk> SegmentMaker<D> {
    pub(crate) fn new(
        workshop: Workshop<D>,
        found: VecDeque<Segment<D::File>>,
        maker_writer: Producer<Segment<D::File>>,
    ) -> Self {
        Self { workshop, found, making: None, maker_writer, failed: false }
    }

    /// Does the next step, of at most 1 MiB or one sync, if a segment will be needed; returns how many
    /// steps it did, 0 or 1.
    ///
    /// # Errors
    /// [`Error::Io`]. After a full disk, what was half made is removed, and the next call begins anew; meanwhile the
    /// writer goes on in what is ready, and then refuses to begin a frame. Nothing else is tried again:
    /// [`Error::Poisoned`] ever after.
    pub fn poll(&mut self) -> Result<usize, Error> {
        if self.failed {
            return Err(Error::Poisoned);
        }
        let made = self.step();
        self.failed = made.as_ref().is_err_and(|error| !error.is_disk_full());
        made
    }

    /// Segments that are ready and were not taken by the writer yet.
    #[must_use]
    pub fn spares(&self) -> usize {
        SPARES - self.maker_writer.slots() + self.found.len()
    }

    fn step(&mut self) -> Result<usize, Error> {
        if self.maker_writer.is_full() || self.maker_writer.is_abandoned() {
            return Ok(0);
        }
        if let Some(segment) = self.found.pop_front() {
            self.hand_over(segment);
            return Ok(1);
        }
        let making = match self.making.take() {
            None => self.workshop.begin()?,
            Some(making) => making,
        };
        match self.workshop.step(making)? {
            Step::More(making) => self.making = Some(making),
            Step::Done(segment) => self.hand_over(segment),
        }
        Ok(1)
    }

    fn hand_over(&mut self, segment: Segment<D::File>) {
        let pushed = self.maker_writer.push(segment);
        assert!(pushed.is_ok(), "the ring had room and has no other producer");
    }
}

impl<D: Disk> Drop for SegmentMaker<D> {
    fn drop(&mut self) {
        if let Some(making) = self.making.take() {
            making.abandon(&self.workshop.disk);
        }
    }
}

/// What it takes to make segments.
#[derive(Debug)]
pub(crate) struct Workshop<D: Disk> {
    disk: D,
    dir: PathBuf,
    cluster: [u8; 16],
    options: Options,
    index_next: u64,
    /// One chunk of zeros, aligned for direct writes; the header is put in and taken out again.
    zeros: MmapMut,
    /// Nothing is made in a journal that is no longer ours.
    _lock: D::Lock,
}

/// A segment in the making.
#[derive(Debug)]
pub(crate) struct Making<F> {
    segment: Segment<F>,
    path: PathBuf,
    written: u64,
}

impl<F> Making<F> {
    /// Leaves nothing behind. A file that cannot be removed is removed when the journal is next opened.
    fn abandon<D: Disk>(self, disk: &D) {
        let _ = disk.remove(&self.path);
    }
}

enum Step<F> {
    More(Making<F>),
    Done(Segment<F>),
}

impl<D: Disk> Workshop<D> {
    pub fn new(
        disk: &D,
        dir: &Path,
        cluster: [u8; 16],
        options: &Options,
        index_next: u64,
        lock: D::Lock,
    ) -> Result<Self, Error> {
        let zeros = aligned(CHUNK_BYTES as usize).map_err(Error::io("get memory to zero", dir))?;
        Ok(Self {
            disk: disk.clone(),
            dir: dir.to_owned(),
            cluster,
            options: options.clone(),
            index_next,
            zeros,
            _lock: lock,
        })
    }

    /// A whole segment at once.
    pub fn make(&mut self) -> Result<Segment<D::File>, Error> {
        let mut making = self.begin()?;
        loop {
            match self.step(making)? {
                Step::More(more) => making = more,
                Step::Done(segment) => return Ok(segment),
            }
        }
    }

    fn begin(&mut self) -> Result<Making<D::File>, Error> {
        let path = dir::segment_path(&self.dir, self.index_next);
        let making = dir::making(&path);
        self.check_room(&making)?;
        let mut nonce = [0; 16];
        self.disk.random(&mut nonce).map_err(Error::io("draw a random number for", &path))?;
        let opened = self.disk.open(&making, Access::Create, self.options.direct());
        let file = opened.map_err(Error::io("make", &making))?;
        let (cluster, index, bytes) = (self.cluster, self.index_next, self.options.segment_bytes);
        let header = SegmentHeader { cluster, index, bytes, nonce };
        let begun = Making { segment: Segment { file, path, header }, path: making, written: 0 };
        // Allocation keeps the blocks together, and fails before anything is written.
        match begun.segment.file.allocate(bytes) {
            Ok(()) => Ok(begun),
            Err(error) => Err(self.failed("allocate", begun)(error)),
        }
    }

    /// Refuses what cannot fit before it is tried: an allocation that fails has taken the last byte from
    /// everyone else for a moment.
    fn check_room(&self, making: &Path) -> Result<(), Error> {
        let free = self.disk.free_bytes(&self.dir).map_err(Error::io("ask the free space of", &self.dir))?;
        if free < self.options.segment_bytes {
            let full = io::Error::from_raw_os_error(libc::ENOSPC);
            return Err(Error::io("allocate", making)(full));
        }
        Ok(())
    }

    fn step(&mut self, mut making: Making<D::File>) -> Result<Step<D::File>, Error> {
        let bytes = making.segment.header.bytes;
        if making.written < bytes {
            let chunk = CHUNK_BYTES.min(bytes - making.written) as usize;
            return match self.zero(&making, chunk) {
                Ok(()) => {
                    making.written += chunk as u64;
                    Ok(Step::More(making))
                }
                Err(error) => Err(self.failed("zero", making)(error)),
            };
        }
        if let Err(error) = making.segment.file.sync() {
            return Err(self.failed("sync", making)(error));
        }
        if let Err(error) = dir::publish(&self.disk, &making.path, &making.segment.path) {
            making.abandon(&self.disk);
            return Err(error);
        }
        self.index_next += 1;
        Ok(Step::Done(making.segment))
    }

    fn zero(&mut self, making: &Making<D::File>, chunk: usize) -> io::Result<()> {
        let header = making.segment.header.encode();
        if making.written == 0 {
            self.zeros[..header.len()].copy_from_slice(&header);
        }
        let written = making.segment.file.write_all_at(&self.zeros[..chunk], making.written);
        self.zeros[..header.len()].fill(0);
        written
    }

    fn failed(
        &self,
        what: &'static str,
        making: Making<D::File>,
    ) -> impl FnOnce(io::Error) -> Error + use<D> {
        let path = making.segment.path.clone();
        making.abandon(&self.disk);
        move |error| Error::io(what, &path)(error)
    }
}
