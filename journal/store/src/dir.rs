//! The journal's directory: its identity, its lock, what its files are called, and whether it is
//! durable at all.
//!
//! ```text
//! superblock               whose it is, the promised epoch, where it ended; four copies
//! lock                     held by whoever writes
//! 0000000001.segment …     dense from 1; the last ones may still be empty
//! archived                 which of the first ones were moved to an archive, and where it is
//! *.making                 being made; removed when the journal is opened
//! 0000000001-4096.torn     a torn tail that was cut off, kept for whoever wants to look
//! 0000000001-4096.cut      frames that the other node does not have, cut off when this one went back behind it
//! ```

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ironbell_record::segment::SEGMENT_BYTES_MIN;
use ironbell_record::superblock::{Voids, WrappedKey};
use ironbell_record::{BLOCK_BYTES, Identity, Superblock};

use crate::cipher::DataKey;
use crate::disk::{Access, Disk, DiskFile, Os};
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
    /// In which term the journal is opened.
    pub term: Term,
}

/// In which term a journal is opened for writing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Term {
    /// A new one, above all that was promised: a node without a standby.
    #[default]
    Next,
    /// This one, which somebody else has given to this node: it must be at least what was promised, and new here.
    At(u64),
    /// None: no frame of its own is written until [`Writer::begin_epoch`](crate::Writer::begin_epoch). A standby copies
    /// another node's frames.
    Copy,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::Disk,
            segment_bytes: 64 << 20,
            in_flight: 4,
            data_key: None,
            term: Term::Next,
        }
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
    format_on(&Os, dir, identity, options, wrapped_key)
}

/// [`format`], in another world.
///
/// # Errors
/// As there.
pub fn format_on<D: Disk>(
    disk: &D,
    dir: &Path,
    identity: Identity,
    options: &Options,
    wrapped_key: WrappedKey,
) -> Result<(), Error> {
    options.check()?;
    check_key(dir, &wrapped_key, options.data_key.is_some())?;
    make_dirs(disk, dir)?;
    let path = superblock::path(dir);
    let making = making(&path);
    for name in names(disk, dir)? {
        // What an interrupted format leaves is nobody's journal.
        if dir.join(&name) != making {
            return Err(Error::NotEmpty(dir.to_owned()));
        }
    }
    disk.check_durability(dir, options.durability)?;
    let mut node = [0; 8];
    disk.random(&mut node).map_err(Error::io("draw a random number for", &path))?;
    let first = Superblock {
        update: 1,
        identity,
        node: u64::from_le_bytes(node),
        promised_epoch: 0,
        end: None,
        wrapped_key,
        voids: Voids::NONE,
        durable_frames: 0,
        cut: None,
    };
    write_new(disk, &path, &superblock::encode(&first))
}

/// Makes `dir` and what is missing above it, durably: what is in it is there as long as its directory is.
///
/// # Errors
/// [`Error::Io`].
pub fn make_dirs<D: Disk>(disk: &D, dir: &Path) -> Result<(), Error> {
    let above: Vec<_> = dir.ancestors().filter(|above| !above.as_os_str().is_empty()).collect();
    for dir in above.into_iter().rev() {
        let missing = !disk.exists(dir).map_err(Error::io("look for", dir))?;
        if missing {
            disk.make_dir(dir).map_err(Error::io("make the directory", dir))?;
        }
        // One that was there may be what a killed format has made and not synced; or its parent may be out of this
        // user's reach, and then it is an old one.
        match sync_dir(disk, &dir.join("..")) {
            Err(error) if missing => return Err(error),
            _ => {}
        }
    }
    Ok(())
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

/// A file, new and whole on disk under its name, or not there at all. One of that name is replaced.
///
/// # Errors
/// [`Error::Io`].
pub fn write_new<D: Disk>(disk: &D, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let making = making(path);
    let file = disk.open(&making, Access::Create, false).map_err(Error::io("make", &making))?;
    let written = file.write_all_at(bytes, 0).and_then(|()| file.sync());
    written.map_err(Error::io("write", &making))?;
    publish(disk, &making, path)
}

/// Gives a whole and synced file its name, for good.
pub(crate) fn publish<D: Disk>(disk: &D, making: &Path, path: &Path) -> Result<(), Error> {
    disk.rename(making, path).map_err(Error::io("rename", making))?;
    sync_dir(disk, path.parent().expect("a file lies in a directory"))
}

pub(crate) fn sync_dir<D: Disk>(disk: &D, dir: &Path) -> Result<(), Error> {
    disk.sync_dir(dir).map_err(Error::io("sync the directory", dir))
}

/// Removes what was being made when an earlier process ended.
pub(crate) fn remove_unfinished<D: Disk>(disk: &D, dir: &Path) -> Result<(), Error> {
    for name in names(disk, dir)? {
        if name.ends_with(".making") {
            let path = dir.join(name);
            disk.remove(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Highest segment index in `dir`; 0 when there is none.
pub(crate) fn last_index<D: Disk>(disk: &D, dir: &Path) -> Result<u64, Error> {
    Ok(indices(disk, dir)?.into_iter().max().unwrap_or(0))
}

/// The segment indices in `dir`, in no order.
pub(crate) fn indices<D: Disk>(disk: &D, dir: &Path) -> Result<Vec<u64>, Error> {
    let index = |name: String| name.strip_suffix(".segment").and_then(|index| index.parse::<u64>().ok());
    Ok(names(disk, dir)?.into_iter().filter_map(index).collect())
}

fn names<D: Disk>(disk: &D, dir: &Path) -> Result<Vec<String>, Error> {
    disk.names(dir).map_err(Error::io("read the directory", dir))
}

/// How often a taken lock is asked for again, 10 ms apart.
const LOCK_TRIES: u32 = 200;

/// The right to write the journal in `dir`. Who has it is waited for, for a moment: io_uring may hold the file a little longer
/// than its process lives.
pub(crate) fn lock<D: Disk>(disk: &D, dir: &Path) -> Result<D::Lock, Error> {
    lock_patiently(disk, &dir.join("lock"))?.ok_or_else(|| Error::Locked(dir.to_owned()))
}

/// A lock; none when another process still has it after [`LOCK_TRIES`].
pub(crate) fn lock_patiently<D: Disk>(disk: &D, path: &Path) -> Result<Option<D::Lock>, Error> {
    for _ in 0..LOCK_TRIES {
        match disk.lock(path) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(10));
            }
            locked => return locked.map(Some).map_err(Error::io("lock", path)),
        }
    }
    Ok(None)
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
