//! The nouns of the venue: identifiers, quantities, commands and events.
//!
//! This crate holds no rules. It refuses to know how a command is encoded on a wire (`net/wire`) or
//! on disk (`journal/record`), and what a command does (`engine/core`). Start with [`Command`], what
//! the sequencer orders, and [`Event`], what the state machine says of it.

#![no_std]
#![forbid(unsafe_code)]

mod code;
mod command;
mod event;
mod id;
mod money;
mod reject;
mod rules;
mod static_data;
mod terms;

pub use code::{CancelReason, Capacity, Display, LiquidityFlag, Side, TimeInForce, UnknownCode};
pub use command::{
    AccountQuery, CancelOrder, Command, DeadMan, EnterOrder, Funding, Login, Logout, MassCancel,
    MassCancelSlice, ModifyOrder, OpenDay, OrderEntrySwitch, OrderOptions, OrderStateQuery, Quote, QuoteSide,
    ReplaceOrder, Sequenced,
};
pub use event::{
    Accepted, AdminRefusal, Busted, Canceled, Crossed, Event, EventBody, Executed, Indicative, Modified,
    OrderState, Refreshed, Replaced, Rested, SelfTradePrevented, Settled, Shown, Stage, Statistics, Trade,
};
pub use id::{
    AccountId, AssetId, ClOrdId, FirmId, InstrumentId, MatchNumber, Mpid, OrderKey, OrderRef, PortId, Seq,
    Symbol, UserRefIdx, UserRefNum, Username, VoidReason,
};
pub use money::{Amount, Nanos, Price, Qty};
pub use reject::Reject;
pub use rules::{
    Algorithm, Control, CrossKind, Fees, InstrumentRules, KillScope, Phase, PortRules, SCHEDULE_SLOTS, TIERS,
};
pub use static_data::{
    Account, Asset, Credential, EQUITY_QTY_MAX, EQUITY_WIRE_PRICE_MAX, Firm, Instrument, Port, PortLimits,
    Scale,
};
pub use terms::{OrderTerms, Peg, Stp};

/// One command as it crosses the ring from a gateway to the sequencer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inbound {
    /// When the gateway had read the whole message: a reading of the metrics counter
    /// (`ironbell_sync::ticks`), never state.
    pub received: u64,
    /// What the member or the administrator asks for.
    pub command: Command,
}

/// One event as it crosses the ring from the release gate to gateways and feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outbound {
    /// [`Inbound::received`] of the command that caused it; 0 when it was not received by a gateway.
    pub received: u64,
    /// What happened.
    pub event: Event,
}
