//! What each stream was told: the sequenced messages of every port, or of the feed, numbered from 1.
//!
//! One [`SessionLog`] writes; any number of [`LogReader`]s, on any thread, serve a member that comes
//! back with the number it had reached. The log is not a source of truth: it is a function of the
//! journal. So nothing here is flushed on the order path, and at a start the replay of the journal
//! appends everything once more: bytes that are already right on disk stay, others are rewritten and
//! counted ([`SessionLog::end_recovery`]).
//!
//! This crate refuses to know what a message means. It is an island of unsafe code: one writer and
//! many readers share memory maps. Start reading at [`record`], the layout; [`segment`] holds all of
//! the unsafe code.

mod check;
mod cipher;
mod log;
mod positions;
mod reader;
mod record;
mod segment;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

pub use check::LogCheck;
pub use cipher::LogKey;
pub use log::{Recovered, SessionLog};
pub use positions::Positions;
pub use reader::{LogReader, StreamReader};
pub use record::MESSAGE_SIZE_MAX;
pub use segment::Maker;

/// One numbered stream of a log: a port's id, or 0 for a log with one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

/// Where a log lies and how large it may grow.
#[derive(Clone, Debug)]
pub struct Config {
    /// Directory of its segment files; made if missing. One process at a time.
    pub dir: PathBuf,
    /// Size of a segment file in bytes: a multiple of 4,096, at least 128 KiB. It must not change in
    /// the life of a directory, or everything is rewritten at the next start.
    pub segment_size: u64,
    /// Most segments of one run.
    pub segments_max: u32,
    /// Stream ids are below this.
    pub streams_max: u32,
    /// What the messages are enciphered with; `None` leaves them plain. Under another key than before
    /// everything is rewritten at the next start.
    pub key: Option<Arc<LogKey>>,
}

impl Config {
    /// Segments of 16 MiB, 1 TiB at most, 65,536 streams, plain.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), segment_size: 16 << 20, segments_max: 65_536, streams_max: 65_536, key: None }
    }
}

/// What the world did to us. After one of these from [`SessionLog::append`] the log takes nothing more.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory cannot be made, locked, grown or mapped.
    #[error("session log {path}: cannot {doing}: {source}{}", io_advice(.source))]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Another process writes this log.
    #[error("session log {dir}: another process writes it; stop that one or choose another directory")]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// All segments are used.
    #[error("session log {dir}: all {segments_max} segments are full; raise the limit and start again")]
    Full {
        /// The directory.
        dir: PathBuf,
        /// The limit.
        segments_max: u32,
    },
    /// The stream's id is not below the limit.
    #[error("session log {dir}: stream {stream} is beyond the limit of {streams_max} streams")]
    StreamsMax {
        /// The directory.
        dir: PathBuf,
        /// The stream.
        stream: u32,
        /// The limit.
        streams_max: u32,
    },
    /// An earlier append failed.
    #[error("session log {dir}: an earlier write failed; restart to rebuild it from the journal")]
    Poisoned {
        /// The directory.
        dir: PathBuf,
    },
    /// The log does not hold what its stream was told.
    #[error(
        "session log {dir}: message {number} of stream {stream} does not stand at offset {offset} as the journal has it; \
         restart with `--from-genesis` to rebuild the log from the journal"
    )]
    Unlike {
        /// The directory.
        dir: PathBuf,
        /// The stream.
        stream: u32,
        /// The message.
        number: u64,
        /// Where in the log it should be.
        offset: u64,
    },
    /// A record is not what was written.
    #[error(
        "session log {dir}: stream {stream} is damaged at or before message {number} (offset {offset}); \
         restart with `--from-genesis` to rebuild it from the journal"
    )]
    Damaged {
        /// The directory.
        dir: PathBuf,
        /// The stream.
        stream: u32,
        /// The message that was wanted.
        number: u64,
        /// Where in the log it was looked for.
        offset: u64,
    },
}

impl Error {
    /// Whether there is no space on the disk: what may be tried again once there is.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        let full = |kind| matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        matches!(self, Self::Io { source, .. } if full(source.kind()))
    }
}

fn io_advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free space on this disk or move the directory"
        }
        io::ErrorKind::PermissionDenied => "; let the venue's user write there",
        _ => "",
    }
}
