//! The member's side: the SDK that the load generator, the demo and every test use.
//!
//! Order entry ([`order_entry`]; over several nodes, by itself, [`failover`]; the fate of one's own orders in
//! [`own_orders`]) and market data
//! ([`market_data`], with books in [`itch_book`]). It knows what a member can know, the protocols and its
//! own messages, and refuses to know the venue's state.
//! Start with [`order_entry::Member`]; `examples/trade.rs` is a whole member in a page.

#![forbid(unsafe_code)]

pub mod failover;
mod in_flight;
pub mod itch_book;
pub mod market_data;
pub mod order_entry;
pub mod own_orders;
