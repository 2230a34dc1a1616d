//! The load generator and latency harness: members that trade as a market does, at times fixed
//! beforehand, and believe no answer they have not checked.
//!
//! It refuses to know anything of the node: it speaks OUCH over TCP as any member would. Start with
//! [`Driver`] for load over TCP, with [`lobster`] for the replay of recorded markets.

#![forbid(unsafe_code)]

mod book_watch;
pub mod cable;
pub mod compare;
mod driver;
mod flow;
mod hiccup;
mod host;
mod kernel_stamps;
mod latency;
mod load;
pub mod lobster;
mod measure;
mod orders;
#[cfg(test)]
mod paper_exchange;
pub mod ping;
pub mod record;
pub mod report;
mod rng;
mod samples;
mod schedule;
pub mod sources;

pub use book_watch::{BookWatch, FeedAddr, Ticks};
pub use driver::{Driver, DriverConfig, Ended, Error, Login, Outcome, Progress, Until};
pub use flow::{ExchangeCoreShares, Flow, FlowConfig, Mix, RecordedMarket, Shares, Traded};
pub use hiccup::{HICCUP_INTERVAL, HiccupMeter, Hiccups, cpus_allowed, pin};
pub use host::{Check, Host};
pub use latency::{Interval, IntervalLog, LATENCY_NANOS_MAX, Latency, Percentiles, table, write_hlog};
pub use load::{Counts, Latencies, Load, Remembered, Sent, Tick};
pub use measure::{KneeSearch, Logged, Stations, StepPlan, step};
pub use orders::{Answer, Answered, Fate, Heard, Live, OrderTable, Request, Violation};
pub use rng::Rng;
pub use samples::Sample;
#[cfg(feature = "parquet")]
pub use samples::SamplesFile;
pub use schedule::{Arrivals, Recorded, Schedule};
