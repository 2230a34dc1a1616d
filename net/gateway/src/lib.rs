//! Order entry: OUCH 5.0 over SoupBinTCP to commands, events back to members.
//!
//! A gateway is a role: [`Gateway::poll`] does what can be done now and never waits. It decides nothing
//! about orders. **Every sequenced packet comes from a journaled event**; by itself a gateway only delays
//! reading, sends unsequenced packets, or disconnects. This crate refuses to know prices of books, funds
//! and clocks.
//!
//! Start with [`inbound`] and [`outbound`], pure functions between wire and commands; then [`Gateway`],
//! the loop that drives them.

#![forbid(unsafe_code)]

mod directory;
mod follower;
mod gateway;
pub mod inbound;
mod login;
mod notice;
pub mod outbound;

pub use directory::Directory;
pub use follower::Follower;
pub use gateway::{Config, Counters, Gateway, Stage};
pub use login::{
    ArgonChecker, LoginChecker, PASSWORD_MEMORY_KIB, hash_password, hash_password_in, is_password,
};
pub use notice::{Ending, Notice};

/// What the world did to us. After one of these the gateway does nothing more: the node must stop.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The session log takes nothing more.
    #[error(transparent)]
    Log(#[from] ironbell_sessionlog::Error),
    /// A thread cannot be started.
    #[error("cannot start the login thread: {0}; raise the limit of processes (ulimit -u)")]
    Thread(std::io::Error),
}
