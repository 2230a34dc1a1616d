//! The seam between the store and the world: files, their directory, the device that frames are written to.
//!
//! Everything the store asks of the world goes through [`Disk`], so that its rules can be held against a world that
//! loses power at any moment, fails and lies: [`sim`](crate::sim). [`Os`] is the real one.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::ops::Deref;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use memmap2::{Advice, Mmap, MmapMut};
use rustix::fs::{FallocateFlags, FlockOperation, OFlags};
use rustix::io::Errno;
use rustix::rand::GetRandomFlags;

use crate::dir::{self, Durability, Options};
use crate::error::Error;
use crate::queue::WriteQueue;
use crate::stream::Stream;
use crate::uring::Uring;
use crate::uring_stream::UringStream;

/// What the store needs of a world. Paths are what the caller of the store named, and names below them.
pub trait Disk: Clone + fmt::Debug + Send {
    /// An open file.
    type File: DiskFile;
    /// The right to write a journal, held as long as any copy of it lives.
    type Lock: Clone + fmt::Debug;
    /// What frames are written with.
    type Queue: WriteQueue<File = Self::File>;
    /// What files at rest are read with.
    type Stream: Stream;

    /// Opens a file.
    ///
    /// # Errors
    /// `NotFound` when it is not there and is not to be made; whatever else the world says.
    fn open(&self, path: &Path, access: Access, direct: bool) -> io::Result<Self::File>;

    /// Whether there is such a file or directory.
    ///
    /// # Errors
    /// When that cannot be found out.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Makes one directory in one that is there, for this user alone.
    ///
    /// # Errors
    /// What the world says; it being there already is an error.
    fn make_dir(&self, dir: &Path) -> io::Result<()>;

    /// The names in a directory, in no order.
    ///
    /// # Errors
    /// What the world says.
    fn names(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Gives a file another name, at once; who had that name before is gone.
    ///
    /// # Errors
    /// What the world says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the world says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// What the world says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Bytes that this user may still write in the file system of `dir`.
    ///
    /// # Errors
    /// What the world says.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;

    /// The exclusive lock on the file at `path`, which is made if there is none. Never waits.
    ///
    /// # Errors
    /// `WouldBlock` when another has it; whatever else the world says.
    fn lock(&self, path: &Path) -> io::Result<Self::Lock>;

    /// What writes frames into `segment`. It keeps `lock` until its last write is over, whatever becomes of the process.
    ///
    /// # Errors
    /// [`Error::Uring`].
    fn queue(&self, segment: &Self::File, lock: Self::Lock, options: &Options) -> Result<Self::Queue, Error>;

    /// What reads `file` from its beginning to its end. Nobody writes it meanwhile.
    ///
    /// # Errors
    /// What the world says.
    fn stream(&self, file: Self::File) -> io::Result<Self::Stream>;

    /// Whether what is written in `dir` can be as durable as is asked for.
    ///
    /// # Errors
    /// [`Error::NotDurable`], [`Error::Io`].
    fn check_durability(&self, dir: &Path, durability: Durability) -> Result<(), Error>;

    /// Fills `bytes`, at most 256, with random ones.
    ///
    /// # Errors
    /// What the world says.
    fn random(&self, bytes: &mut [u8]) -> io::Result<()>;
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To be read.
    Read,
    /// To be read and written.
    Write,
    /// To be written anew: it is made, for this user alone, or emptied.
    Create,
}

/// An open file. Places and lengths are in bytes; those of a direct one are multiples of 4,096, and so are the addresses
/// of the [memory](aligned) it reads into and writes from.
pub trait DiskFile: fmt::Debug + Send {
    /// A map of a whole file.
    type Map: Deref<Target = [u8]> + fmt::Debug + Send;

    /// Its length.
    ///
    /// # Errors
    /// What the world says.
    fn bytes(&self) -> io::Result<u64>;

    /// Reads some bytes; 0 at the end.
    ///
    /// # Errors
    /// What the world says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Reads exactly as many bytes as `buffer` has.
    ///
    /// # Errors
    /// `UnexpectedEof` when there are fewer; whatever else the world says.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut read = 0;
        while read < buffer.len() {
            match self.read_at(&mut buffer[read..], offset + read as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(bytes) => read += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// What the world says; any part of it may then be written.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes durable what was written, and the length.
    ///
    /// # Errors
    /// What the world says. Nothing that is not durable by then will ever be: a second sync proves nothing.
    fn sync(&self) -> io::Result<()>;

    /// Takes blocks for the first `bytes` bytes, which are zero where nothing was written; does nothing where the file
    /// system cannot.
    ///
    /// # Errors
    /// What the world says.
    fn allocate(&self, bytes: u64) -> io::Result<()>;

    /// Takes the file out of the page cache. A hint.
    ///
    /// # Errors
    /// What the world says.
    fn forget_cached(&self) -> io::Result<()>;

    /// A map of all of it.
    ///
    /// # Safety
    /// Nobody changes the file while the map lives.
    ///
    /// # Errors
    /// What the world says.
    unsafe fn map(&self) -> io::Result<Self::Map>;
}

/// Zeroed memory for direct reads and writes.
///
/// # Errors
/// When there is none.
pub fn aligned(bytes: usize) -> io::Result<MmapMut> {
    MmapMut::map_anon(bytes)
}

/// The node's group reads, and nobody else: who signs what is committed is a user of its own in it.
const FILE_MODE: u32 = 0o640;
/// As [`FILE_MODE`].
const DIR_MODE: u32 = 0o750;

/// The operating system's files and io_uring.
#[derive(Clone, Copy, Debug, Default)]
pub struct Os;

impl Disk for Os {
    type File = File;
    /// One copy is registered with the writer's io_uring, so that the kernel keeps it until the last write of a killed
    /// process is over: whoever gets the lock next finds the segments at rest.
    type Lock = Arc<File>;
    type Queue = Uring;
    type Stream = UringStream;

    fn open(&self, path: &Path, access: Access, direct: bool) -> io::Result<File> {
        let create = access == Access::Create;
        let mut open = OpenOptions::new();
        open.read(true).write(access != Access::Read).create(create).truncate(create).mode(FILE_MODE);
        if direct {
            open.custom_flags(OFlags::DIRECT.bits() as i32);
        }
        open.open(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        DirBuilder::new().mode(DIR_MODE).create(dir)
    }

    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let found = rustix::fs::statvfs(dir)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn lock(&self, path: &Path) -> io::Result<Arc<File>> {
        let mut open = OpenOptions::new();
        let file = open.write(true).create(true).truncate(false).mode(0o600).open(path)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Arc::new(file))
    }

    fn queue(&self, segment: &File, lock: Arc<File>, options: &Options) -> Result<Uring, Error> {
        Uring::new(segment, lock, options)
    }

    fn stream(&self, file: File) -> io::Result<UringStream> {
        UringStream::new(file)
    }

    fn check_durability(&self, dir: &Path, durability: Durability) -> Result<(), Error> {
        dir::check_durability(dir, durability)
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        let asked = bytes.len();
        let drawn = rustix::rand::getrandom(bytes, GetRandomFlags::empty())?;
        assert!(drawn == asked, "the kernel gives up to 256 random bytes whole");
        Ok(())
    }
}

impl DiskFile for File {
    type Map = Mmap;

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        // Not `sync_data`: the length of a file just made is data to us, its times cost nothing here.
        self.sync_all()
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(self, FallocateFlags::empty(), 0, bytes) {
            Ok(()) | Err(Errno::OPNOTSUPP) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn forget_cached(&self) -> io::Result<()> {
        Ok(rustix::fs::fadvise(self, 0, None, rustix::fs::Advice::DontNeed)?)
    }

    unsafe fn map(&self) -> io::Result<Mmap> {
        // SAFETY: the caller vouches that nobody changes the file.
        let map = unsafe { Mmap::map(self) }?;
        // A map is read from its beginning to its end: the kernel may as well begin to fetch all of it. Only a hint.
        let _ = map.advise(Advice::WillNeed);
        Ok(map)
    }
}
