//! The appliance: the only crate that knows all others. It reads the configuration, recovers, connects
//! the roles by rings and cursors, puts them on threads, and serves the people who look after a node.
//!
//! Start with [`node`] and its lives: [`warm`], a recovery, and [`lead`], which wires one order's way from wire to
//! wire; and with [`topology`], the table of roles and threads.

#![forbid(unsafe_code)]

pub mod lead;
pub mod node;
pub mod notify;
pub mod topology;

pub mod door;
pub mod ha;
pub mod outlet;
pub mod warm;

pub mod fanned_out;
pub mod feed_session;
pub mod http;
pub mod recovery;
pub mod roles;
pub mod scribe;
pub mod service;
pub mod shadow;
pub mod signing;
pub mod snapshot;
pub mod space;

pub mod admin;
pub mod archive;
pub mod config;
pub mod ctl;
pub mod failure;
pub mod format;
pub mod genesis;
pub mod hlog;
pub mod hsm;
pub mod inspect;
pub mod inspection;
pub mod journal;
pub mod log;
pub mod manifest;
pub mod moment;
pub mod operator;
pub mod pages;
pub mod receipt;
pub mod telemetry;
#[cfg(feature = "top")]
pub mod top;
pub mod witness;
pub mod words;

pub mod bench;
pub mod demo;
pub mod load;
pub mod lobster;
pub mod trial;
pub mod tune;

pub use failure::Failure;
