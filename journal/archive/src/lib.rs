//! Sealed segments of a journal, moved to an archive and back.
//!
//! This crate knows segments, frames and where archives are kept. It refuses to know which segments a start needs
//! (the caller says from which Seq on), what a command does, and which journal key belongs to which file.
//!
//! Start with [`archive`] and [`restore`]; [`Manifest`] is what an archive says of itself, [`Depot`] where it lies.

#![forbid(unsafe_code)]

mod archiving;
mod error;
mod manifest;
mod pack;
mod restoring;
mod segment;

pub mod depot;

#[cfg(feature = "s3")]
mod bucket;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ironbell_record::superblock::WrappedKey;
use ironbell_store::disk::{Access, DiskFile as _};
use ironbell_store::{DataKey, Disk, Os};

pub use archiving::{Archiving, archive};
pub use depot::{Depot, Folder};
pub use error::Error;
pub use manifest::{Entry, Manifest};
pub use restoring::{check, restore};

/// A journal whose segments are moved. While it lives, nobody else moves them; the node may write on.
#[derive(Debug)]
pub struct Journal<D: Disk = Os> {
    disk: D,
    dir: PathBuf,
    cluster: [u8; 16],
    wrapped_key: WrappedKey,
    data_key: Option<Arc<DataKey>>,
    _lock: D::Lock,
}

impl Journal {
    /// The journal in `dir`, with its data key if it is enciphered.
    ///
    /// # Errors
    /// [`Error::Journal`] when there is none or the key does not go with it, [`Error::Busy`], [`Error::Io`].
    pub fn open(dir: &Path, data_key: Option<Arc<DataKey>>) -> Result<Self, Error> {
        Self::open_on(&Os, dir, data_key)
    }
}

impl<D: Disk> Journal<D> {
    /// [`open`](Journal::open), in another world.
    ///
    /// # Errors
    /// As there.
    pub fn open_on(disk: &D, dir: &Path, data_key: Option<Arc<DataKey>>) -> Result<Self, Error> {
        let superblock = ironbell_store::superblock_on(disk, dir)?;
        let is_enciphered = !superblock.wrapped_key.bytes().is_empty();
        if is_enciphered != data_key.is_some() {
            return Err(Error::Key { dir: dir.to_owned(), is_enciphered });
        }
        let path = dir.join("archive.lock");
        let lock = match disk.lock(&path) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(Error::Busy(dir.to_owned()));
            }
            lock => lock.map_err(Error::io("lock", &path))?,
        };
        let (cluster, wrapped_key) = (superblock.identity.cluster, superblock.wrapped_key);
        Ok(Self { disk: disk.clone(), dir: dir.to_owned(), cluster, wrapped_key, data_key, _lock: lock })
    }

    /// What a file of it holds.
    fn read(&self, path: &Path) -> Result<Vec<u8>, Error> {
        read(&self.disk, path).map_err(Error::io("read", path))
    }
}

/// What a file holds.
fn read<D: Disk>(disk: &D, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path, Access::Read, false)?;
    let mut bytes = vec![0; usize::try_from(file.bytes()?).expect("a file in memory")];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
