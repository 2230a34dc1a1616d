//! The roles of the order path that know the state machine: sequencer, shard and release gate; and the
//! threads they run on.
//!
//! This crate refuses to know sockets, disks and keys: it is joined to them by rings and cursors that
//! the appliance connects. Start with [`sequencer`], where an order gets its place, follow the
//! [`Frame`] to the [`shard`] (or, where there are several, the [`shards`]), and its [`shard::Batch`] of events to the [`release`] gate.

#![forbid(unsafe_code)]

pub mod clock;
pub mod deferral;
pub mod frame;
pub mod placement;
pub mod release;
pub mod sequencer;
pub mod shard;
pub mod shards;

pub use clock::{Clock, SystemClock};
pub use frame::{Frame, FramePool, SharedFrame};
pub use placement::{Idle, Role, Stop, ThreadPlan};
