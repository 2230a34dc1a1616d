//! The journal's layout: what a command, a frame and a segment look like on disk, and the hash chain
//! that makes them one history.
//!
//! This crate turns values into bytes and back, and refuses whatever it would not have written itself.
//! It refuses to know files, devices and clocks (`journal/store`), and what a command does
//! (`engine/core`). Start with [`frame`], the unit that is written; [`command`] is what stands in it,
//! [`chain`] what ties one to the next, [`copy`] how it goes to another node, [`segment`] and [`superblock`] the fixed blocks around them; [`snapshot`] is
//! the head of a file beside the segments.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod chain;
pub mod command;
pub mod copy;
pub mod frame;
pub mod segment;
pub mod snapshot;
pub mod superblock;

pub use chain::{Chain, ChainError, ChainHash};
pub use command::{DecodeError, DecodeFault};
pub use copy::{CopyError, CopyHeader, FrameCopy, Point};
pub use frame::{
    BLOCK_BYTES, CHAINED_BYTES, COMMANDS_MAX, Cipher, Executed, FORMAT, FRAME_BYTES_MAX, Frame, FrameError,
    FrameHeader, HEADER_BYTES, Place,
};
pub use segment::{Identity, LayoutError, SegmentHeader};
pub use superblock::Superblock;
