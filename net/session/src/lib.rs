//! SoupBinTCP sessions, sans I/O: both ends as state machines over bytes and a time that is passed in.
//!
//! The caller reads into [`ServerSession::space`], says how much came with
//! [`ServerSession::received`], takes events with [`ServerSession::next`], and writes
//! [`ServerSession::output`]. This crate refuses to know sockets, clocks, what a message means, and
//! where messages are kept: a session pulls them by number from a [`Messages`] as its reader makes
//! room, so **a slow reader lags behind and never pushes back**.
//!
//! Start with [`ServerSession`]; [`ClientSession`] is its mirror.

#![forbid(unsafe_code)]

mod client;
mod link;
mod server;

use ironbell_types::Nanos;
use ironbell_wire::DecodeError;

pub use client::{ClientEvent, ClientSession};
pub use server::{Login, Refusal, ServerEvent, ServerSession, first_number};

/// Times and sizes of one end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// After so much silence of our own we send a heartbeat.
    pub heartbeat: Nanos,
    /// After so much silence of the peer the session is over.
    pub idle_max: Nanos,
    /// So long a client may take to log in.
    pub login_max: Nanos,
    /// Bytes of the input buffer: also the longest packet that is taken.
    pub input_size: usize,
    /// Bytes of the output buffer.
    pub output_size: usize,
}

impl Default for Config {
    /// The protocol's usual times (SoupBinTCP 3.00: heartbeats after 1 s, 15 s without one, 30 s to log
    /// in), and buffers of 16 and 64 KiB.
    fn default() -> Self {
        Self {
            heartbeat: Nanos(1_000_000_000),
            idle_max: Nanos(15_000_000_000),
            login_max: Nanos(30_000_000_000),
            input_size: 16 << 10,
            output_size: 64 << 10,
        }
    }
}

/// The messages of one stream, by number.
pub trait Messages {
    /// Why a message that exists cannot be had.
    type Error;

    /// Message `number`, from 1; `None` when there is no such message yet.
    ///
    /// # Errors
    /// When the message is lost.
    fn message(&mut self, number: u64) -> Result<Option<&[u8]>, Self::Error>;
}

/// What the peer did against the protocol. The connection is closed; there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Its bytes are no packet.
    #[error("malformed packet: {0}")]
    Malformed(DecodeError),
    /// A packet that has no place here: of the other end's kind, a second login, data before a login.
    #[error("unexpected packet '{}'", .0.escape_ascii())]
    Unexpected(u8),
    /// It did not log in.
    #[error("no login within the time for it")]
    LoginTimeout,
    /// Nothing came from it, not even a heartbeat.
    #[error("silent for too long")]
    IdleTimeout,
}
