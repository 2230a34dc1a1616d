//! The journal's directory: its identity, its lock, what its files are called, and whether it is
//! durable at all.
//!
//! ```text
//! superblock               whose it is, the promised epoch, where it ended; four copies
//! lock                     held by whoever writes
//! 0000000001.segment …     dense from 1; the last ones may still be empty
//! *.making                 being made; removed when the journal is opened
//! 0000000001-4096.torn     a torn tail that was cut off, kept for whoever wants to look
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ironbell_record::segment::SEGMENT_BYTES_MIN;
use ironbell_record::superblock::WrappedKey;
use ironbell_record::{BLOCK_BYTES, Identity, Superblock};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use rustix::rand::GetRandomFlags;

use crate::cipher::DataKey;
use crate::error::Error;
use crate::superblock::{self, superblock};

/// The most writes in flight that any version of this program has had or will have: how far behind a
/// torn frame others may have reached the disk.
pub(crate) const IN_FLIGHT_MAX: usize = 16;

/// What a write has to survive before it counts as durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Loss of power: direct writes, each flushed by the device. The directory must lie on a disk.
    Disk,
    /// The end of the process, not that of the machine: the page cache, on any file system.
    Buffered,
    /// Nothing is promised. The same writes as `Buffered`; a place to say that one means it.
    None,
}

impl Durability {
    /// As the configuration and `status` spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Buffered => "buffered",
            Self::None => "none",
        }
    }
}

/// How a journal is written.
#[derive(Clone, Debug)]
pub struct Options {
    /// What a write has to survive.
    pub durability: Durability,
    /// Length of a new segment, in bytes: a multiple of 4,096, at least 132 KiB.
    pub segment_bytes: u64,
    /// Writes in flight at once: 1 to 16. Each takes a registered buffer of 128 KiB.
    pub in_flight: usize,
    /// What the records are enciphered with; `None` leaves them plain. Chosen when the journal is formatted.
    pub data_key: Option<Arc<DataKey>>,
}

impl Default for Options {
    fn default() -> Self {
        Self { durability: Durability::Disk, segment_bytes: 64 << 20, in_flight: 4, data_key: None }
    }
}

impl Options {
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.segment_bytes < SEGMENT_BYTES_MIN || !self.segment_bytes.is_multiple_of(BLOCK_BYTES as u64) {
            let must = "a multiple of 4096, at least 135168";
            return Err(Error::Options { option: "segment_bytes", value: self.segment_bytes, must });
        }
        if !(1..=IN_FLIGHT_MAX).contains(&self.in_flight) {
            let value = self.in_flight as u64;
            return Err(Error::Options { option: "in_flight", value, must: "1 to 16" });
        }
        Ok(())
    }

    pub(crate) fn direct(&self) -> bool {
        self.durability == Durability::Disk
    }
}

/// Makes `dir` the journal of a new venue. The directory is made if there is none, with its parents;
/// one that holds anything is left alone. One rename makes it a journal, so that a failure leaves none. `wrapped_key` is
/// what the data key of `options` was wrapped to, [`WrappedKey::NONE`] when there is none.
///
/// # Errors
/// [`Error::NotEmpty`], [`Error::NotDurable`], [`Error::Options`], [`Error::Key`], [`Error::Io`].
pub fn format(
    dir: &Path,
    identity: Identity,
    options: &Options,
    wrapped_key: WrappedKey,
) -> Result<(), Error> {
    options.check()?;
    check_key(dir, &wrapped_key, options.data_key.is_some())?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(Error::io("make the directory", dir))?;
    let path = superblock::path(dir);
    let making = making(&path);
    for name in names(dir)? {
        // What an interrupted format leaves is nobody's journal.
        if dir.join(&name) != making {
            return Err(Error::NotEmpty(dir.to_owned()));
        }
    }
    check_durability(dir, options.durability)?;
    let mut node = [0; 8];
    let drawn = rustix::rand::getrandom(&mut node[..], GetRandomFlags::empty());
    let drawn = drawn.map_err(Error::io("draw a random number for", &path))?;
    assert!(drawn == node.len(), "the kernel gives up to 256 random bytes whole");
    let first = Superblock {
        update: 1,
        identity,
        node: u64::from_le_bytes(node),
        promised_epoch: 0,
        end: None,
        wrapped_key,
    };
    write_new(&path, &superblock::encode(&first))?;
    let parent = dir.canonicalize().ok().and_then(|dir| dir.parent().map(Path::to_owned));
    parent.map_or(Ok(()), |parent| sync_dir(&parent))
}

/// Refuses to take an enciphered journal for a plain one, and the other way round.
pub(crate) fn check_key(dir: &Path, wrapped_key: &WrappedKey, given: bool) -> Result<(), Error> {
    let what = match (wrapped_key.bytes().is_empty(), given) {
        (false, false) => "its records are enciphered: give the key that it was formatted with",
        (true, true) => "its records are plain: leave the key out, or format a new journal with it",
        _ => return Ok(()),
    };
    Err(Error::Key { dir: dir.to_owned(), what })
}

/// Whose journal `dir` is.
///
/// # Errors
/// [`Error::NotFormatted`], [`Error::Superblock`], [`Error::Io`].
pub fn identity(dir: &Path) -> Result<Identity, Error> {
    superblock(dir).map(|superblock| superblock.identity)
}

/// The file name of the segment `index`.
pub(crate) fn segment_path(dir: &Path, index: u64) -> PathBuf {
    dir.join(format!("{index:010}.segment"))
}

/// The name under which a file is made until it is whole.
pub(crate) fn making(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".making");
    PathBuf::from(name)
}

/// A file, new and whole on disk under its name, or not there at all.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let making = making(path);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&making)
        .map_err(Error::io("make", &making))?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.map_err(Error::io("write", &making))?;
    publish(&making, path)
}

/// Gives a whole and synced file its name, for good.
pub(crate) fn publish(making: &Path, path: &Path) -> Result<(), Error> {
    fs::rename(making, path).map_err(Error::io("rename", making))?;
    sync_dir(path.parent().expect("a file lies in a directory"))
}

fn sync_dir(dir: &Path) -> Result<(), Error> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(Error::io("sync the directory", dir))
}

/// Removes what was being made when an earlier process ended.
pub(crate) fn remove_unfinished(dir: &Path) -> Result<(), Error> {
    for name in names(dir)? {
        if name.ends_with(".making") {
            let path = dir.join(name);
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Highest segment index in `dir`; 0 when there is none.
pub(crate) fn last_index(dir: &Path) -> Result<u64, Error> {
    let names = names(dir)?;
    let index = |name: &String| name.strip_suffix(".segment").and_then(|index| index.parse::<u64>().ok());
    Ok(names.iter().filter_map(index).max().unwrap_or(0))
}

fn names(dir: &Path) -> Result<Vec<String>, Error> {
    let entries = fs::read_dir(dir).map_err(Error::io("read the directory", dir))?;
    let name =
        |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name().to_string_lossy().into_owned());
    entries.map(name).collect::<Result<_, _>>().map_err(Error::io("read the directory", dir))
}

/// The right to write, held as long as any copy of it lives.
///
/// One copy is registered with the writer's io_uring, so that the kernel keeps it until the last write
/// of a killed process is over: whoever gets the lock next finds the segments at rest.
pub(crate) type Lock = Arc<File>;

/// How often a taken lock is asked for again, 10 ms apart.
const LOCK_TRIES: u32 = 200;

pub(crate) fn lock(dir: &Path) -> Result<Lock, Error> {
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(Error::io("open", &path))?;
    for _ in 0..LOCK_TRIES {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Arc::new(file)),
            Err(Errno::WOULDBLOCK) => std::thread::sleep(Duration::from_millis(10)),
            Err(error) => return Err(Error::io("lock", &path)(error)),
        }
    }
    Err(Error::Locked(dir.to_owned()))
}

/// `f_type` of file systems that live in memory (statfs(2)).
const TMPFS: u64 = 0x0102_1994;
const RAMFS: u64 = 0x8584_58f6;
/// `f_type` of overlayfs, which is as durable as the file system of its upper directory.
const OVERLAYFS: u64 = 0x794c_7630;

/// Refuses what a disk is promised for and is none. The type of the file system is the judge: tmpfs
/// takes O_DIRECT without a word.
pub(crate) fn check_durability(dir: &Path, durability: Durability) -> Result<(), Error> {
    if durability != Durability::Disk {
        return Ok(());
    }
    let refused =
        |file_system: &str| Err(Error::NotDurable { dir: dir.to_owned(), file_system: file_system.into() });
    match file_system(dir)? {
        TMPFS => refused("tmpfs"),
        RAMFS => refused("ramfs"),
        OVERLAYFS => {
            let device = fs::metadata(dir).map_err(Error::io("read", dir))?.dev();
            let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
            match upper_dir(&mounts, device).map(|upper| file_system(&upper)) {
                Some(Ok(TMPFS)) => refused("overlay over tmpfs"),
                Some(Ok(RAMFS)) => refused("overlay over ramfs"),
                Some(Ok(file_system)) if file_system != OVERLAYFS => Ok(()),
                // Inside a container the upper directory cannot be seen: not knowing is no promise.
                _ => refused("an overlay whose upper directory cannot be seen from here"),
            }
        }
        _ => Ok(()),
    }
}

fn file_system(dir: &Path) -> Result<u64, Error> {
    let found = rustix::fs::statfs(dir).map_err(Error::io("ask the file system of", dir))?;
    // The type of `f_type` differs between platforms; the magic numbers have 32 bits on all of them.
    Ok(u64::from(found.f_type as u32))
}

/// The upper directory of the overlay whose device number is `device`, from the text of
/// /proc/self/mountinfo (proc_pid_mountinfo(5)): `36 35 98:0 / /mnt rw - overlay overlay rw,upperdir=/u,…`.
fn upper_dir(mounts: &str, device: u64) -> Option<PathBuf> {
    let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some(&device))?;
    let (_, super_options) = mount.rsplit_once(' ')?;
    let upper = super_options.split(',').find_map(|option| option.strip_prefix("upperdir="))?;
    Some(PathBuf::from(upper.replace("\\040", " ").replace("\\054", ",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_upper_directory_of_an_overlay_is_found_by_its_device() {
        let mounts = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
                      36 22 0:52 / /mnt rw - overlay overlay rw,lowerdir=/l,upperdir=/dev/shm/a\\040b,workdir=/w\n";
        let found = upper_dir(mounts, rustix::fs::makedev(0, 52));
        assert_eq!(found, Some(PathBuf::from("/dev/shm/a b")));
        assert_eq!(upper_dir(mounts, rustix::fs::makedev(254, 0)), None);
        assert_eq!(upper_dir(mounts, rustix::fs::makedev(0, 5)), None);
    }
}
