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

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ironbell_record::superblock::WrappedKey;
use ironbell_store::DataKey;
use rustix::fs::FlockOperation;
use rustix::io::Errno;

pub use archiving::{Archiving, archive};
pub use depot::{Depot, Folder};
pub use error::Error;
pub use manifest::{Entry, Manifest};
pub use restoring::{check, restore};

/// A journal whose segments are moved. While it lives, nobody else moves them; the node may write on.
#[derive(Debug)]
pub struct Journal {
    dir: PathBuf,
    cluster: [u8; 16],
    wrapped_key: WrappedKey,
    data_key: Option<Arc<DataKey>>,
    _lock: File,
}

impl Journal {
    /// The journal in `dir`, with its data key if it is enciphered.
    ///
    /// # Errors
    /// [`Error::Journal`] when there is none or the key does not go with it, [`Error::Busy`], [`Error::Io`].
    pub fn open(dir: &Path, data_key: Option<Arc<DataKey>>) -> Result<Self, Error> {
        let superblock = ironbell_store::superblock(dir)?;
        let is_enciphered = !superblock.wrapped_key.bytes().is_empty();
        if is_enciphered != data_key.is_some() {
            return Err(Error::Key { dir: dir.to_owned(), is_enciphered });
        }
        let path = dir.join("archive.lock");
        let mut open = File::options();
        let lock =
            open.create(true).truncate(false).write(true).open(&path).map_err(Error::io("open", &path))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(Error::Busy(dir.to_owned())),
            Err(error) => return Err(Error::io("lock", &path)(error)),
        }
        let (cluster, wrapped_key) = (superblock.identity.cluster, superblock.wrapped_key);
        Ok(Self { dir: dir.to_owned(), cluster, wrapped_key, data_key, _lock: lock })
    }
}
