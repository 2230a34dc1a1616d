//! Codecs of the venue's protocols: SoupBinTCP, OUCH 5.0, ITCH 5.0, MoldUDP64 and GLIMPSE 5.0, and of
//! the venue's own messages beside OUCH ([`native`]).
//!
//! Every message is a struct whose memory is its wire form: reading checks the length and borrows,
//! writing copies. Nothing here allocates, and nothing here knows a socket, a session's state or what
//! an order does. A field holds what stood on the wire; whether `side` holds a side is for the reader
//! to decide, because the answer to a bad one differs from protocol to protocol.
//!
//! Start with [`soup`], the packets that OUCH ([`ouch`]), ITCH ([`itch`]) and GLIMPSE ([`glimpse`])
//! travel in over TCP, and [`mold`], those that ITCH travels in over UDP. All errors are [`DecodeError`]
//! on the way in and [`NoRoom`] on the way out.
//!
//! The others are Nasdaq's protocols. This crate is an independent implementation.

#![no_std]
#![forbid(unsafe_code)]

pub mod code;
mod error;
mod field;
#[macro_use]
mod message;
pub mod glimpse;
pub mod itch;
pub mod mold;
pub mod native;
pub mod ouch;
pub mod soup;

pub use error::{DecodeError, NoRoom, Problem, Protocol};
pub use field::{I32, Type, U16, U32, U48, U64, number, put_number};
pub use message::{Field, Message};
/// `as_bytes` of every message and packet struct.
pub use zerocopy::IntoBytes;
