//! The load generator and latency harness: members that trade as a market does, at times fixed
//! beforehand, and believe no answer they have not checked.
//!
//! It refuses to know anything of the node: it speaks OUCH over TCP as any member would. Start with
//! [`Driver`] for load over TCP, with [`lobster`] for the replay of recorded markets.

#![forbid(unsafe_code)]

mod driver;
mod flow;
mod latency;
mod load;
pub mod lobster;
mod orders;
#[cfg(test)]
mod paper_exchange;
mod rng;
mod schedule;

pub use driver::{Driver, DriverConfig, Ended, Error, Login, Outcome, Progress, Until};
pub use flow::{Flow, FlowConfig, Mix, Traded};
pub use latency::{Interval, IntervalLog, LATENCY_NANOS_MAX, Latency, Percentiles, table, write_hlog};
pub use load::{Counts, Latencies, Load, Remembered, Sent};
pub use orders::{Answer, Answered, Heard, Live, OrderTable, Request, Violation};
pub use rng::Rng;
pub use schedule::{Arrivals, Schedule};
