//! The deterministic state machine: risk, matching, settlement, ledger.
//!
//! It refuses to know the time (time comes with each command), the network, the disk, threads, floats
//! and randomness. The rules it follows are this crate's README.
//!
//! Start with [`Engine::execute`]. A command passes three stages, each a module that reads only its
//! own state, so that they can later run on different cores:
//!
//! ```text
//! Command ─ risk ──────── Request ─ matching ────── Effect ─ settlement
//!           │ desk: ports, accounts,  │ run, stops, pegs,     │ desk again: ledger,
//!           │ open records, limits    │ auction: the books    │ holds, open records
//!           └─ Event                  └─ Event                └─ Event
//! ```

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod engine;
mod homes;
pub mod superstep;

pub mod matching;
mod risk;
mod settlement;

// Stage 2: what an order does,
mod enter;
mod minimum;
mod pegs;
mod prorata;
mod run;
mod selftrade;
mod stops;
// what time and operators do to its instrument,
mod auction;
mod curve;
mod phase;
// and what it stands in.
mod book;
mod expiry;
mod index;
mod ladder;
mod slab;

// Stages 1 and 3: what goes ahead of what is not settled yet,
mod ahead;
// what operators do, and all else that runs by itself,
mod control;
mod office;
// what an order is checked against,
mod limits;
mod rate;
mod terms;
// and what they keep.
mod desk;
mod directory;
mod fees;
mod ledger;
mod quotes;
mod sweep;
mod trades;

// What is seen of it all.
#[cfg(test)]
mod alone;
mod canonical;
mod columns;
mod listing;
mod output_hash;
mod snapshot;
#[cfg(test)]
mod testing;
mod views;

pub use desk::OpenOrder;
pub use engine::{Config, Engine};
pub use homes::{Homes, NoSuchShard, SHARDS_MAX};
pub use ledger::Balance;
pub use snapshot::LoadError;
pub use views::{Credit, DayTrade, Exposure, Located, Position};

use ironbell_types::{Display, FirmId, OrderKey, OrderRef, Price, Qty, Shown};

/// A resting order as market data shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BookOrder {
    /// Its number on the book.
    pub order_ref: OrderRef,
    /// Its name to its member.
    pub key: OrderKey,
    /// Whose it is.
    pub firm: FirmId,
    /// A bid.
    pub buys: bool,
    /// The limit.
    pub price: Price,
    /// What is left.
    pub leaves_qty: Qty,
    /// How it is shown.
    pub display: Display,
    /// How it stands on the feed; nothing when it does not.
    pub shown: Shown,
}
