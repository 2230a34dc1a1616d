//! Market data out.
//!
//! Committed events become ITCH 5.0 messages ([`Encoder`], a pure function), get their sequence numbers
//! in the day's session by being appended to the feed's log, and leave by MoldUDP64 multicast.
//! Whoever missed some reads the same log: by unicast re-request, by ITCH over SoupBinTCP from any number,
//! or starts from a GLIMPSE [`Snapshot`].
//!
//! This crate refuses to know how a book works and who trades: it is told by events.
//! Start with [`encoder`].

#![forbid(unsafe_code)]

mod channel;
pub mod datagrams;
mod directory;
pub mod encoder;
mod error;
pub mod feed;
mod follower;
pub mod messages;
pub mod packets;
pub mod service;
pub mod snapshot;

pub use channel::{Channel, Today};
pub use directory::{Directory, Listing};
pub use encoder::{BookOrder, Encoder};
pub use error::Error;
pub use feed::{Config, Counters, Feed};
pub use follower::Follower;
pub use service::{GlimpseSession, ItchSession};
pub use snapshot::Snapshot;
