//! What the world can do to an archive.

use std::io;
use std::path::{Path, PathBuf};

use ironbell_types::Seq;

/// A failure of the world. Nothing is lost by any of them: a segment is removed from the journal only after its copy was
/// read back and found right.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call on a file or directory failed.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The store of the archive failed.
    #[error("cannot {what} {object} in {place}: {why}")]
    Depot {
        /// What was tried.
        what: &'static str,
        /// Which object.
        object: String,
        /// Which archive.
        place: String,
        /// What it said.
        why: String,
    },
    /// The place cannot be an archive.
    #[error("{place}: {why}")]
    Place {
        /// What was given.
        place: String,
        /// Why it is refused, and what to do.
        why: String,
    },
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] ironbell_store::Error),
    /// The journal is enciphered and no key was given, or the other way round.
    #[error(
        "the records of {} are {}", dir.display(),
        if *is_enciphered { "enciphered: name the key file that it was formatted with" } else { "plain: leave the key file out" }
    )]
    Key {
        /// The journal.
        dir: PathBuf,
        /// Whether its records are enciphered.
        is_enciphered: bool,
    },
    /// Another process archives or restores.
    #[error("another process archives or restores segments of {}: wait until it is done", .0.display())]
    Busy(PathBuf),
    /// There is no archive at the place.
    #[error(
        "{place} holds no archive (there is no manifest.json): name the folder or bucket that `ironbell archive` was given"
    )]
    NoManifest {
        /// Which place.
        place: String,
    },
    /// The archive is not of this journal, or does not go on where the journal begins.
    #[error("the archive {place} does not fit: {what}")]
    Fit {
        /// Which archive.
        place: String,
        /// What does not fit, and what to do.
        what: String,
    },
    /// A segment of the journal is not what was once written.
    #[error("{} is damaged at byte {offset}, where Seq {seq} belongs: {what}; nothing was archived or removed from it on: restore the file from the standby or a backup", path.display())]
    Segment {
        /// Which segment.
        path: PathBuf,
        /// First byte of the frame that cannot be read.
        offset: u64,
        /// The first Seq that cannot be read.
        seq: Seq,
        /// What is wrong.
        what: String,
    },
    /// What the archive gives back is not what the manifest says.
    #[error(
        "segment {index} in the archive {place} is damaged: {what}; nothing was written: take it from another copy of the archive"
    )]
    Object {
        /// The segment.
        index: u64,
        /// Which archive.
        place: String,
        /// What is wrong.
        what: String,
    },
}

impl Error {
    /// For `map_err`: the call `what` on `path` failed.
    pub(crate) fn io<E: Into<io::Error>>(what: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { what, path: path.to_owned(), source: source.into() }
    }
}
