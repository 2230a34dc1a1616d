//! Following the feed: from its start by multicast ([`MulticastFollower`]), or from the middle of a day
//! by TCP ([`LateJoiner`]).
//!
//! The two state machines know no socket and no clock; [`socket`] moves their bytes. What they deliver goes
//! into an [`ItchBook`](crate::itch_book::ItchBook), or wherever a member wants it.

pub mod late_joiner;
pub mod multicast;
pub mod socket;

pub use late_joiner::{Credentials, Delivery, JoinError, LateJoiner};
pub use multicast::{FollowerConfig, FollowerCounters, MulticastFollower};
pub use socket::{FollowError, LateJoinClient, MulticastClient};
