//! Following the feed. The state machines know no socket and no clock.

pub mod multicast;

pub use multicast::{FollowerConfig, FollowerCounters, MulticastFollower};
