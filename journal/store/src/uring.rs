//! The writer's device: one io_uring, one staging ring of registered memory.
//!
//! Staging is a memory file, mapped and registered once: the kernel pins its pages then and not at each
//! write, and the file can be handed to whoever feeds the standby. (A shared mapping of an ext4 file
//! cannot be registered: EFAULT.) Writes are WRITE_FIXED to a registered file, direct, with RWF_DSYNC:
//! when one is over, its bytes are on the medium, and no separate sync has to be waited for. A kernel
//! thread that polls the submission queue gains nothing here and costs a core.
//!
//! Without O_DIRECT (`buffered` and `none`) a write is a copy into the page cache, and it is made at once, by pwrite(2): most
//! file systems do not take buffered writes in the submitter's context, so that io_uring hands each to a kernel thread, which
//! costs several times what the copy does.
//!
//! Miri knows neither io_uring nor shared maps. What the unsafe blocks lean on, that a slot in flight is
//! touched by nobody, is asserted here in release and by the fake device of the writer's tests.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use io_uring::{IoUring, opcode, types};
use ironbell_record::FRAME_BYTES_MAX;
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::MemfdFlags;
use rustix::io::ReadWriteFlags;

use crate::dir::Options;
use crate::error::Error;
use crate::queue::{Completion, WriteQueue};

/// Places in the table of registered files.
const SEGMENT: u32 = 0;

/// io_uring over a registered staging ring.
pub struct Uring {
    ring: IoUring,
    staging: MmapRaw,
    busy: Vec<bool>,
    /// The segment, where writes go to the page cache.
    buffered: Option<File>,
    /// Such writes: they are over.
    over: VecDeque<Completion>,
    _lock: Arc<File>,
}

impl std::fmt::Debug for Uring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uring")
            .field("busy", &self.busy)
            .field("buffered", &self.buffered)
            .finish_non_exhaustive()
    }
}

impl Uring {
    pub(crate) fn new(segment: &File, lock: Arc<File>, options: &Options) -> Result<Self, Error> {
        let slots = options.in_flight;
        let ring =
            IoUring::new(slots.next_power_of_two() as u32).map_err(Error::uring("set up an io_uring"))?;
        let staging = staging(slots * FRAME_BYTES_MAX).map_err(Error::uring("map the staging ring"))?;
        let base = staging.as_mut_ptr();
        let slot = |slot: usize| libc::iovec {
            iov_base: base.wrapping_add(slot * FRAME_BYTES_MAX).cast(),
            iov_len: FRAME_BYTES_MAX,
        };
        let slots: Vec<_> = (0..slots).map(slot).collect();
        // SAFETY: each vector lies within the staging map, which lives as long as the ring: both are
        // fields of one value. The kernel pins the pages, so that even the map's end before the ring's
        // would leave it memory to read.
        unsafe { ring.submitter().register_buffers(&slots) }
            .map_err(Error::uring("register the staging ring with io_uring"))?;
        // The lock stands in the table for its lifetime alone; see `Os::Lock`.
        ring.submitter()
            .register_files(&[segment.as_raw_fd(), lock.as_raw_fd()])
            .map_err(Error::uring("register the segment with io_uring"))?;
        let buffered = if options.direct() { None } else { Some(segment.try_clone()) };
        let buffered = buffered.transpose().map_err(Error::uring("take the segment beside io_uring"))?;
        let (busy, over) = (vec![false; slots.len()], VecDeque::with_capacity(slots.len()));
        Ok(Self { ring, staging, busy, buffered, over, _lock: lock })
    }

    /// Gives the kernel what is queued. It may take less than that when short of memory: the rest is
    /// given again at the next call, and is not a write that failed.
    fn give(&mut self) -> io::Result<()> {
        loop {
            match self.ring.submit() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY)) => {
                    return Ok(());
                }
                given => return given.map(|_| ()),
            }
        }
    }
}

fn staging(bytes: usize) -> io::Result<MmapRaw> {
    let file = File::from(rustix::fs::memfd_create("ironbell-staging", MemfdFlags::CLOEXEC)?);
    file.set_len(bytes as u64)?;
    MmapOptions::new().len(bytes).map_raw(&file)
}

impl WriteQueue for Uring {
    type File = File;

    fn slots(&self) -> usize {
        self.busy.len()
    }

    fn slot(&mut self, slot: usize) -> &mut [u8] {
        assert!(!self.busy[slot], "slot {slot} belongs to the write in flight");
        // SAFETY: `slot` is below the number of slots, as the line above has indexed with it, so the
        // range lies within the map. Nothing else refers to it: the kernel reads a slot only while it is
        // busy, the memory file is not shared with anyone, and the slice borrows `self`.
        unsafe {
            let start = self.staging.as_mut_ptr().add(slot * FRAME_BYTES_MAX);
            std::slice::from_raw_parts_mut(start, FRAME_BYTES_MAX)
        }
    }

    fn staged(&self, slot: usize) -> &[u8] {
        assert!(slot < self.busy.len(), "there is no slot {slot}");
        // SAFETY: the range lies within the map, as the line above has made sure. The kernel only reads a slot in flight,
        // and whoever writes into one holds `self` exclusively, which this slice's borrow rules out.
        unsafe {
            let start = self.staging.as_mut_ptr().add(slot * FRAME_BYTES_MAX);
            std::slice::from_raw_parts(start, FRAME_BYTES_MAX)
        }
    }

    fn submit(&mut self, slot: usize, bytes: usize, offset: u64) -> io::Result<()> {
        assert!(!self.busy[slot], "slot {slot} is being written");
        assert!(bytes <= FRAME_BYTES_MAX, "a slot holds {FRAME_BYTES_MAX} bytes, not {bytes}");
        if let Some(segment) = &self.buffered {
            let result = segment.write_at(&self.staged(slot)[..bytes], offset);
            self.busy[slot] = true;
            self.over.push_back(Completion { slot, result });
            return Ok(());
        }
        let start = self.staging.as_mut_ptr().wrapping_add(slot * FRAME_BYTES_MAX);
        let write = opcode::WriteFixed::new(types::Fixed(SEGMENT), start, bytes as u32, slot as u16)
            .offset(offset)
            .rw_flags(ReadWriteFlags::DSYNC.bits() as i32)
            .build()
            .user_data(slot as u64);
        self.busy[slot] = true;
        // SAFETY: the bytes are a registered buffer's and stay untouched until the completion: `busy`
        // keeps `slot` from giving them out, and the file is in the ring's own table.
        unsafe { self.ring.submission().push(&write) }.expect("the queue has a place for every slot");
        self.give()
    }

    fn reap(&mut self) -> io::Result<Option<Completion>> {
        if let Some(completion) = self.over.pop_front() {
            self.busy[completion.slot] = false;
            return Ok(Some(completion));
        }
        if !self.ring.submission().is_empty() {
            self.give()?;
        }
        let Some(entry) = self.ring.completion().next() else { return Ok(None) };
        let slot = entry.user_data() as usize;
        self.busy[slot] = false;
        let result = match entry.result() {
            failed @ ..0 => Err(io::Error::from_raw_os_error(-failed)),
            bytes => Ok(bytes as usize),
        };
        Ok(Some(Completion { slot, result }))
    }

    fn wait(&mut self) -> io::Result<()> {
        if !self.over.is_empty() {
            return Ok(());
        }
        match self.ring.submit_and_wait(1) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY)) => Ok(()),
            waited => waited.map(|_| ()),
        }
    }

    fn aim(&mut self, segment: &File) -> io::Result<()> {
        assert!(!self.busy.contains(&true), "writes are in flight in one segment only");
        if let Some(buffered) = &mut self.buffered {
            *buffered = segment.try_clone()?;
        }
        self.ring.submitter().register_files_update(SEGMENT, &[segment.as_raw_fd()]).map(|_| ())
    }
}
