//! What the world can do to a journal.

use std::io;
use std::path::{Path, PathBuf};

use ironbell_record::superblock::NoQuorum;
use ironbell_record::{CopyError, LayoutError, Point};
use ironbell_types::Seq;

use crate::archived::Archived;

/// A failure of the world. Its text says what, where and, where something can be done, what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call on a file or directory failed.
    #[error("cannot {what} {}: {source}{}", path.display(), advice(source))]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// An option is out of its range.
    #[error("journal option {option} is {value}: it must be {must}")]
    Options {
        /// Which option.
        option: &'static str,
        /// What it is.
        value: u64,
        /// What it must be.
        must: &'static str,
    },
    /// The directory to format holds something already.
    #[error("{} is not empty: a journal is formatted into an empty directory only", .0.display())]
    NotEmpty(PathBuf),
    /// The directory holds no journal, or one of a format before superblocks.
    #[error("{} holds no journal (there is no file superblock): format it first", .0.display())]
    NotFormatted(PathBuf),
    /// The superblock says nothing that two copies agree on.
    #[error("{} is damaged: {what}: restore it from a backup of this node; another node's is not the same", path.display())]
    Superblock {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: NoQuorum,
    },
    /// The records are enciphered and no key was given, or the other way round.
    #[error("the journal {}: {what}", dir.display())]
    Key {
        /// The journal.
        dir: PathBuf,
        /// What does not fit.
        what: &'static str,
    },
    /// The journal is not the one that the superblock remembers.
    #[error("{} does not end where the superblock says: {what}; nothing was changed: restore the whole directory from the standby or a backup", dir.display())]
    Memory {
        /// The journal.
        dir: PathBuf,
        /// What is not as remembered.
        what: String,
    },
    /// The directory's file system forgets what it holds, or nobody can tell.
    #[error(
        "{} lies on {file_system}, which does not keep data across a power loss: use a directory on a disk, or say durability = \"buffered\" or \"none\"",
        dir.display()
    )]
    NotDurable {
        /// The directory.
        dir: PathBuf,
        /// Its file system.
        file_system: String,
    },
    /// Another process has the journal open for writing, or a dead one's last writes are not over.
    #[error("the journal {} is in use by another process: stop that one first", .0.display())]
    Locked(PathBuf),
    /// A command cannot be made void.
    #[error("no command was made void in {}: {what}", dir.display())]
    Void {
        /// The journal.
        dir: PathBuf,
        /// Why not.
        what: &'static str,
    },
    /// A fixed block is not what it should be.
    #[error("{} is damaged: {fault}: restore it from the standby or a backup", path.display())]
    Layout {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        fault: LayoutError,
    },
    /// Something that was once written whole is not so any more.
    #[error(
        "{} is damaged at byte {offset}, where Seq {seq} belongs: {what}; nothing was changed: restore the file from the standby or a backup",
        path.display()
    )]
    Damaged {
        /// Which segment.
        path: PathBuf,
        /// First byte of the frame that cannot be read.
        offset: u64,
        /// The first Seq that cannot be read.
        seq: Seq,
        /// What is wrong.
        what: String,
    },
    /// A segment was moved to an archive, and what is read begins in it or before.
    #[error("segment {index} of {} {}", dir.display(), archived.advice())]
    Archived {
        /// The journal.
        dir: PathBuf,
        /// The segment that is not there.
        index: u64,
        /// The stretch that it is in.
        archived: Archived,
    },
    /// A snapshot is not what was written.
    #[error("the snapshot {} cannot be used: {what}", path.display())]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The journal does not have the frame that reading is to go on behind.
    #[error("segment {segment} of the journal {} does not hold the frame with Seq {seq} at byte {offset}: {what}", dir.display())]
    NotThere {
        /// The journal.
        dir: PathBuf,
        /// Where the frame should lie.
        segment: u64,
        /// Its first byte.
        offset: u64,
        /// Its last Seq.
        seq: Seq,
        /// What is there.
        what: String,
    },
    /// io_uring cannot be had.
    #[error("cannot {what}: {source}{}", uring_advice(source))]
    Uring {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A frame's write failed. Nothing more is written, and nothing past it will ever count as durable.
    #[error("writing {bytes} bytes at byte {offset} of {} failed, so nothing from Seq {seq} on is safe: {source}", path.display())]
    Write {
        /// Which segment.
        path: PathBuf,
        /// First byte of the frame.
        offset: u64,
        /// Length of the frame.
        bytes: usize,
        /// The first Seq that is not safe.
        seq: Seq,
        /// What the kernel said.
        source: io::Error,
    },
    /// The writer, or what makes segments for it, failed before and does nothing any more.
    #[error("the journal stopped at an earlier failed write")]
    Poisoned,
    /// An epoch that this node may not take or follow: it has promised a higher one, or it is not new here.
    #[error(
        "epoch {epoch} is refused: this node has promised epoch {promised}, and its last frame is of epoch {last}"
    )]
    Promised {
        /// What was asked for.
        epoch: u64,
        /// What was promised.
        promised: u64,
        /// Epoch of the last frame.
        last: u64,
    },
    /// A journal is not cut back behind what it knows to be committed.
    #[error(
        "{} is not cut back to {to}: Seq {commit} is committed here; nothing was changed: two nodes have told their members different things, look at both journals (`ironbell journal verify`) before you go on with one of them",
        dir.display()
    )]
    CutBack {
        /// The journal.
        dir: PathBuf,
        /// Where it was to end.
        to: Point,
        /// The last Seq that it knows to be committed.
        commit: Seq,
    },
    /// A journal was being cut back when its process ended, and may be half cut.
    #[error("the journal {} is being cut back: the next start of the node on it finishes that", .0.display())]
    Cutting(PathBuf),
    /// A frame of another node was not appended. Nothing was changed.
    #[error("the frame that came behind {behind} was not taken: {fault}")]
    Copy {
        /// Where this journal ends.
        behind: Point,
        /// What is wrong.
        fault: CopyError,
    },
    /// What replays the journal refused a frame.
    #[error("replaying the frame that begins at Seq {seq} failed: {source}")]
    Replay {
        /// First Seq of the frame.
        seq: Seq,
        /// What it said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// For `map_err`: the call `what` on `path` failed.
    pub(crate) fn io<E: Into<io::Error>>(what: &'static str, path: &Path) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { what, path: path.to_owned(), source: source.into() }
    }

    /// Whether there was no room, which somebody may make.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        let full = |kind| matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        matches!(self, Self::Io { source, .. } if full(source.kind()))
    }

    /// For `map_err`: the io_uring call `what` failed.
    pub(crate) fn uring<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Uring { what, source: source.into() }
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ": free or add disk space",
        io::ErrorKind::PermissionDenied => ": let this user read and write it",
        io::ErrorKind::ReadOnlyFilesystem => ": mount it for writing",
        io::ErrorKind::InvalidInput => ": the file system may not take direct writes; use ext4 or xfs",
        _ => "",
    }
}

fn uring_advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::OutOfMemory => {
            ": raise the limit on locked memory to 8 MiB (ulimit -l, LimitMEMLOCK=)"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported => {
            ": io_uring is switched off; see sysctl kernel.io_uring_disabled and the container's seccomp profile"
        }
        _ => "",
    }
}
