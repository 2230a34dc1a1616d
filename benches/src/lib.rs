//! The load generator and latency harness: members that trade as a market does, at times fixed
//! beforehand, and believe no answer they have not checked.
//!
//! It refuses to know anything of the node: it speaks OUCH over TCP as any member would. Start with
//! `driver` for load over TCP, with `lobster` for the replay of recorded markets.

#![forbid(unsafe_code)]

pub mod lobster;
mod rng;
mod schedule;

pub use rng::Rng;
pub use schedule::{Arrivals, Schedule};
