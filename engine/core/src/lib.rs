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
//!           │ desk: ports, accounts,  │ book: orders,         │ desk again: ledger,
//!           │ open records, ledger    │ ladder, index         │ holds, open records
//!           └─ Event                  └─ Event                └─ Event
//! ```

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod engine;

pub mod matching;
mod risk;
mod settlement;

mod book;
mod canonical;
mod desk;
mod directory;
mod index;
mod ladder;
mod ledger;
mod slab;
#[cfg(test)]
mod testing;

pub use desk::OpenOrder;
pub use engine::{Config, Engine};
pub use ledger::Balance;

use ironbell_types::{Display, FirmId, OrderKey, OrderRef, Price, Qty};

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
}
