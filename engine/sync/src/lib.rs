//! Every atomic of the venue: SPSC rings, the exchange between shards, progress cursors, the time of the next timer,
//! what roles say to people, what wakes them, and the metrics segment.
//!
//! Roles share nothing else. A ring moves values from one role to one other; a [`Cursor`] says how far
//! a role has come; the [`metrics`] segment is written by a role alone and read by whoever likes.

pub mod bell;
pub mod cursor;
pub mod due;
pub mod exchange;
pub mod histogram;
pub mod metrics;
pub mod ticks;
pub mod voice;

pub use bell::{Bell, Sleeper, bell};
pub use cursor::{Cursor, CursorReader, CursorWriter, cursor};
pub use due::{DueReader, DueWriter, due};
pub use exchange::{Exchange, exchange};
pub use rtrb::{Consumer, Producer, PushError, RingBuffer, chunks::ChunkError};
pub use ticks::{TickScale, ticks};
pub use voice::{Ear, Voice, voice};

/// What a thread sleeps by; loom's in the model.
mod threads {
    pub use std::sync::atomic::{AtomicBool, Ordering, fence};
    pub use std::sync::{Arc, OnceLock};
    pub use std::thread::{Thread, current, park_timeout};
}

/// A ring of `depth` slots between two roles. Neither end ever waits: a full or an empty ring is a
/// state that the role's `poll` reports.
#[must_use]
pub fn ring<T>(depth: usize) -> (Producer<T>, Consumer<T>) {
    RingBuffer::new(depth)
}
