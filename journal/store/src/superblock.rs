//! The superblock's file: four copies, changed two at a time, so that a cut leaves two that agree.

use std::io;
use std::path::{Path, PathBuf};

use ironbell_record::superblock::{COPIES, QUORUM, SUPERBLOCK_FILE_BYTES, Voids};
use ironbell_record::{BLOCK_BYTES, Superblock};

use crate::disk::{Access, Disk, DiskFile, Os, aligned};
use crate::error::Error;

/// The superblock of the journal in `dir`.
///
/// # Errors
/// [`Error::NotFormatted`], [`Error::Superblock`], [`Error::Io`].
pub fn superblock(dir: &Path) -> Result<Superblock, Error> {
    superblock_on(&Os, dir)
}

/// [`superblock`], in another world.
///
/// # Errors
/// As there.
pub fn superblock_on<D: Disk>(disk: &D, dir: &Path) -> Result<Superblock, Error> {
    read(disk, dir, false).map(|(superblock, _)| superblock)
}

/// The superblock and the bytes it was read from; past the page cache where `direct` says so.
pub(crate) fn read<D: Disk>(disk: &D, dir: &Path, direct: bool) -> Result<(Superblock, Vec<u8>), Error> {
    let path = path(dir);
    let file = match disk.open(&path, Access::Read, direct) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Error::NotFormatted(dir.to_owned()));
        }
        file => file.map_err(Error::io("open", &path))?,
    };
    let mut bytes = aligned(SUPERBLOCK_FILE_BYTES).map_err(Error::io("get memory to read", &path))?;
    // A shorter file is one whose last copies are missing.
    let length = file.read_at(&mut bytes, 0).map_err(Error::io("read", &path))?;
    match Superblock::read(&bytes[..length]) {
        Ok(superblock) => Ok((superblock, bytes[..length].to_vec())),
        Err(what) => Err(Error::Superblock { path, what }),
    }
}

pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join("superblock")
}

/// All four copies as the file holds them.
pub(crate) fn encode(superblock: &Superblock) -> Vec<u8> {
    let mut file = vec![0; SUPERBLOCK_FILE_BYTES];
    for (copy, block) in file.chunks_mut(BLOCK_BYTES).enumerate() {
        let encoded = superblock.encode(copy);
        block[..encoded.len()].copy_from_slice(&encoded);
    }
    file
}

/// The right to change it; only who holds the journal's lock has one.
#[derive(Debug)]
pub(crate) struct Keeper<F> {
    path: PathBuf,
    file: F,
    current: Superblock,
    /// What is called durable survives a loss of power, and so may be asked for afterwards.
    on_disk: bool,
}

impl<F: DiskFile> Keeper<F> {
    /// Reads it, and writes anew what is damaged or behind. All four copies say the same afterwards: an update
    /// that is cut overwrites two, and the other two must not be older than what was believed before.
    pub fn open<D: Disk<File = F>>(disk: &D, dir: &Path, direct: bool) -> Result<Self, Error> {
        let (current, bytes) = read(disk, dir, direct)?;
        let path = path(dir);
        let opened = disk.open(&path, Access::Write, false);
        let file = opened.map_err(Error::io("open for writing", &path))?;
        let keeper = Self { path, file, current, on_disk: direct };
        // What was read may be a killed process's that never got to sync it. Were the others overwritten before, a
        // power loss could take both halves.
        keeper.sync()?;
        let behind: Vec<_> = (0..COPIES)
            .filter(|&copy| {
                let block = bytes.get(copy * BLOCK_BYTES..).unwrap_or_default();
                Superblock::decode(block, copy) != Ok(current)
            })
            .collect();
        if !behind.is_empty() {
            keeper.write(&behind)?;
        }
        Ok(keeper)
    }

    pub fn dir(&self) -> &Path {
        self.path.parent().expect("it lies in the journal's directory")
    }

    pub fn current(&self) -> &Superblock {
        &self.current
    }

    /// Durable on return: what it says after `change`.
    pub fn update(&mut self, change: impl FnOnce(Superblock) -> Superblock) -> Result<(), Error> {
        let update = self.current.update + 1;
        let mut changed = Superblock { update, ..change(self.current) };
        if !self.on_disk {
            changed.durable_frames = 0;
        }
        assert!(changed.promised_epoch >= self.current.promised_epoch, "a promise is not taken back");
        self.current = changed;
        self.write(&[0, 1])?;
        self.write(&[2, 3])
    }

    /// Durable on return.
    pub fn void(&mut self, voids: Voids) -> Result<(), Error> {
        self.update(|current| Superblock { voids, ..current })
    }

    fn write(&self, copies: &[usize]) -> Result<(), Error> {
        for &copy in copies {
            let mut block = [0; BLOCK_BYTES];
            let encoded = self.current.encode(copy);
            block[..encoded.len()].copy_from_slice(&encoded);
            let written = self.file.write_all_at(&block, (copy * BLOCK_BYTES) as u64);
            written.map_err(Error::io("write", &self.path))?;
        }
        self.sync()
    }

    fn sync(&self) -> Result<(), Error> {
        self.file.sync().map_err(Error::io("sync", &self.path))
    }
}

const _: () = assert!(COPIES == 2 * QUORUM, "half of the copies are a quorum");
