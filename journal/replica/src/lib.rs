//! Two nodes and one history: how a standby keeps up with its primary, and who of the two leads.
//!
//! Sans I/O: bytes and answers come in, bytes and actions go out, and every time is a parameter (CLOCK_BOOTTIME, in
//! nanoseconds). This crate refuses to know sockets, files, etcd's protocol, threads, clocks, and what a command does.
//!
//! - [`control`]: who leads. The rules of promotion, solo, rejoin and switchover over one [`register`]; start here.
//! - [`commit`]: what is committed, and until when a primary may release it.
//! - [`primary`], [`standby`]: the two ends of the link; [`backlog`] is what the primary keeps in memory to send.
//! - [`transfer`]: a snapshot for a standby that the journal does not reach back to; [`throttle`]: how fast.
//! - [`message`]: what goes over the link, as bytes; [`history`]: where two histories part.

#![forbid(unsafe_code)]

pub mod backlog;
pub mod commit;
pub mod control;
pub mod history;
pub mod message;
pub mod primary;
pub mod register;
pub mod standby;
pub mod throttle;
pub mod transfer;

pub use backlog::Backlog;
pub use commit::{CommitRule, Reached};
pub use control::{Action, Control, Input};
pub use history::Relation;
pub use message::{Ack, Hello, Message, MessageError};
pub use register::{AckPolicy, InSync, Mode, NodeId, Register};

#[cfg(test)]
mod links;
