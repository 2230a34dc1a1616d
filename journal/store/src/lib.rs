//! The journal on disk: segments zero-written ahead of need, written by io_uring alone, read through
//! memory maps, and a recovery that tells a torn tail from damage.
//!
//! This crate knows files and the layout of `journal/record`. It refuses to know what a command does,
//! when a frame should be closed, and clocks. Start with [`Writer`], then [`open`], which makes one out
//! of whatever a crash has left; [`Reader`] is the other side.

mod ahead;
mod archived;
mod behind;
mod cipher;
mod cut;
mod dir;
pub mod disk;
mod error;
pub mod queue;
mod reader;
mod recovery;
mod segment;
pub mod sim;
pub mod snapshot;
pub mod stream;
mod superblock;
pub mod survey;
mod uring;
mod uring_stream;
mod void;
mod writer;

pub use ahead::read_ahead;
pub use archived::{Archived, NEVER_HERE, archived, note_archived_on, segment_path, segments, segments_on};
pub use behind::{Behind, begin_behind, begin_behind_on};
pub use cipher::DataKey;
pub use cut::{CutTail, cut_back, cut_back_on};
pub use dir::{Durability, Options, Term, format, format_on, identity, make_dirs, write_new};
pub use disk::{Disk, Os};
pub use error::Error;
pub use reader::{Frame, Reader, Tail};
pub use recovery::{
    Opened, Recovery, Replay, TornTail, open, open_from, open_from_on, open_on, open_replaying,
};
pub use segment::SegmentMaker;
pub use superblock::{superblock, superblock_on};
pub use uring::Uring;
pub use uring_stream::UringStream;
pub use void::{void, void_on};
pub use writer::Writer;

pub use ironbell_record::snapshot::{Position, SnapshotHeader};
pub use ironbell_record::superblock::{End, VOIDS_MAX, Void, Voids, WrappedKey};
pub use ironbell_record::{
    BLOCK_BYTES, COMMANDS_MAX, CopyError, FRAME_BYTES_MAX, FrameCopy, FrameHeader, HEADER_BYTES, Identity,
    Point, SegmentHeader, Superblock,
};
