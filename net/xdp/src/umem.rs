//! Memory that we share with the kernel: frames (the umem) and rings of their descriptors.

use std::ffi::c_void;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// A mapping that is given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    at: NonNull<c_void>,
    len: usize,
}

// SAFETY: a mapping is an address and a length; who reads and writes there is ruled by its owners below.
unsafe impl Send for Mapping {}
// SAFETY: nothing of it is changed by shared references.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(len: usize, flags: i32, of: Option<(BorrowedFd<'_>, i64)>) -> io::Result<Self> {
        let (fd, offset) = of.map_or((-1, 0), |(fd, offset)| (fd.as_raw_fd(), offset));
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address that the kernel chooses touches no memory of ours.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, fd, offset) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { at: NonNull::new(at).expect("a mapping is not at zero"), len })
    }
}

impl Mapping {
    /// Memory of our own, zeroed and present.
    pub(crate) fn anonymous(len: usize) -> io::Result<Self> {
        Self::new(len, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE, None)
    }

    pub(crate) fn address(&self) -> u64 {
        self.at.as_ptr() as u64
    }

    /// The `T` that begins `offset` bytes in.
    pub(crate) fn at<T>(&self, offset: usize) -> NonNull<T> {
        assert!(offset + size_of::<T>() <= self.len, "within the mapping");
        assert!(offset.is_multiple_of(align_of::<T>()), "aligned");
        // SAFETY: within the mapping, as just checked.
        unsafe { self.at.byte_add(offset).cast() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that was made, and nobody has a reference into it any more: its owners
        // lend with their own lifetime.
        unsafe { libc::munmap(self.at.as_ptr(), self.len) };
    }
}

/// Frames in memory that the kernel, or the card itself, reads and writes.
///
/// Which side may touch which frame is ruled by the rings: a frame is the kernel's from the moment its
/// address is put into the fill or transmit ring until it comes out of the receive or completion ring. Each
/// frame belongs to one half of a socket for good.
#[derive(Debug)]
pub struct Umem {
    memory: Mapping,
    frame_size: usize,
}

impl Umem {
    /// Memory for `count` frames of `frame_size` bytes, on huge pages if the system has some free.
    ///
    /// # Errors
    /// When there is no memory.
    pub fn new(count: usize, frame_size: usize) -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        let len = count * frame_size;
        let memory = Mapping::new(len.next_multiple_of(2 << 20), flags | libc::MAP_HUGETLB, None)
            .or_else(|_| Mapping::new(len, flags, None))?;
        Ok(Self { memory, frame_size })
    }

    /// Bytes of a frame.
    #[must_use]
    pub fn frame_size(&self) -> usize {
        self.frame_size
    }

    pub(crate) fn address(&self) -> u64 {
        self.memory.at.as_ptr() as u64
    }

    /// A length that is a whole number of frames.
    pub(crate) fn len(&self) -> usize {
        self.memory.len / self.frame_size * self.frame_size
    }

    fn checked(&self, range: Range<usize>) -> NonNull<u8> {
        assert!(range.start <= range.end, "a range of the umem");
        assert!(range.end <= self.len(), "the kernel hands out frames of the umem");
        // SAFETY: within the mapping, as just checked.
        unsafe { self.memory.at.cast::<u8>().add(range.start) }
    }

    /// Bytes of a frame that was received.
    ///
    /// # Safety
    /// The frame is ours: it came out of the receive ring and was not put into the fill ring since, and
    /// will not be while the slice lives.
    pub(crate) unsafe fn bytes(&self, range: Range<usize>) -> &[u8] {
        let at = self.checked(range.clone());
        // SAFETY: the range is mapped, and the caller vouches that nobody writes to it.
        unsafe { std::slice::from_raw_parts(at.as_ptr(), range.len()) }
    }

    /// A frame to be written.
    ///
    /// # Safety
    /// The frame is ours and lent once: it is not in the transmit ring or came out of the completion ring,
    /// and no other slice of it lives.
    #[expect(clippy::mut_from_ref, reason = "frames are lent one by one; the caller keeps them apart")]
    pub(crate) unsafe fn bytes_mut(&self, range: Range<usize>) -> &mut [u8] {
        let at = self.checked(range.clone());
        // SAFETY: the range is mapped, and the caller vouches that nobody else has it.
        unsafe { std::slice::from_raw_parts_mut(at.as_ptr(), range.len()) }
    }
}

/// Where the parts of a ring are, in bytes from the start of its mapping; the kernel says so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offsets {
    pub producer: usize,
    pub consumer: usize,
    pub flags: usize,
    pub entries: usize,
}

/// A ring of `E` between us and the kernel, of which we are one side.
///
/// ```text
///           consumer                producer
/// entries ─────┴──────── filled ────────┴──────── free ─────── (indices wrap at 2^32, entries at count)
/// ```
#[derive(Debug)]
pub(crate) struct Ring<E> {
    memory: Mapping,
    offsets: Offsets,
    count: u32,
    /// Our own index, and what we last saw of the kernel's.
    own: u32,
    theirs: u32,
    _entry: std::marker::PhantomData<E>,
}

impl<E: Copy> Ring<E> {
    /// Maps the ring of `count` entries that `socket` has at `page_offset`.
    pub(crate) fn map(
        socket: BorrowedFd<'_>,
        page_offset: i64,
        offsets: Offsets,
        count: u32,
    ) -> io::Result<Self> {
        assert!(count.is_power_of_two(), "rings have a power of two entries");
        let len = offsets.entries + count as usize * size_of::<E>();
        for (offset, size) in [(offsets.producer, 4), (offsets.consumer, 4), (offsets.flags, 4)] {
            assert!(offset + size <= len, "the kernel's offsets lie within the ring");
            assert!(offset.is_multiple_of(align_of::<AtomicU32>()), "the kernel's offsets are aligned");
        }
        assert!(offsets.entries.is_multiple_of(align_of::<E>()), "the kernel's offsets are aligned");
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE;
        let memory = Mapping::new(len, flags, Some((socket, page_offset)))?;
        Ok(Self { memory, offsets, count, own: 0, theirs: 0, _entry: std::marker::PhantomData })
    }

    fn index(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: within the mapping and aligned, as `map` checked; the kernel changes it only atomically.
        unsafe { self.memory.at.byte_add(offset).cast::<AtomicU32>().as_ref() }
    }

    fn entry(&self, index: u32) -> NonNull<E> {
        let at = (index & (self.count - 1)) as usize;
        // SAFETY: `map` made the mapping long enough for `count` entries.
        unsafe { self.memory.at.byte_add(self.offsets.entries).cast::<E>().add(at) }
    }

    /// The kernel sleeps over this ring and wants to be called.
    pub(crate) fn needs_wakeup(&self) -> bool {
        self.index(self.offsets.flags).load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }

    // As its producer: the fill and the transmit ring.

    /// Puts an entry in, to be seen by the kernel at the next [`Ring::publish`]. False: no room.
    pub(crate) fn push(&mut self, entry: E) -> bool {
        if self.own.wrapping_sub(self.theirs) == self.count {
            self.theirs = self.index(self.offsets.consumer).load(Ordering::Acquire);
            if self.own.wrapping_sub(self.theirs) == self.count {
                return false;
            }
        }
        // SAFETY: the entry is free: the kernel's index has passed it, and it will not look at it before
        // ours has.
        unsafe { self.entry(self.own).write(entry) };
        self.own = self.own.wrapping_add(1);
        true
    }

    /// Shows the kernel what was pushed.
    pub(crate) fn publish(&self) {
        self.index(self.offsets.producer).store(self.own, Ordering::Release);
    }

    /// Entries that the kernel has not taken yet, as far as we pushed them.
    pub(crate) fn waiting(&self) -> u32 {
        self.own.wrapping_sub(self.index(self.offsets.consumer).load(Ordering::Acquire))
    }

    // As its consumer: the receive and the completion ring.

    /// Takes an entry out, if there is one; the kernel may use its place after the next [`Ring::release`].
    pub(crate) fn pop(&mut self) -> Option<E> {
        if self.own == self.theirs {
            self.theirs = self.index(self.offsets.producer).load(Ordering::Acquire);
            if self.own == self.theirs {
                return None;
            }
        }
        // SAFETY: the entry is filled: the kernel's index has passed it, and it will not write to it before
        // ours has.
        let entry = unsafe { self.entry(self.own).read() };
        self.own = self.own.wrapping_add(1);
        Some(entry)
    }

    /// Gives the kernel back the places of what was popped.
    pub(crate) fn release(&self) {
        self.index(self.offsets.consumer).store(self.own, Ordering::Release);
    }
}
