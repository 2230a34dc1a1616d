//! What Ironbell asks of etcd: one key read and compared-and-swapped, and leases; over etcd's JSON gateway.
//!
//! The gateway is a part of every etcd since 3.4 and speaks HTTP/1.1, so that no code has to be generated from
//! protocol files. Calls block until their deadline at most: for a background thread, never for the order path.
//!
//! This crate refuses to know what the values mean, who should be primary, and when: those rules are `journal/replica`.
//! Start with [`Client`]. **What may have happened is never called failed**: a swap that was sent and not answered is
//! [`Swap::Unknown`], and only reading back tells.
//!
//! Rules of the interface: etcd API reference, `etcdserverpb` (Range, Txn, LeaseGrant, LeaseKeepAlive, LeaseRevoke) and
//! "Why gRPC gateway" (keys and values in base64, 64-bit integers as strings).

#![forbid(unsafe_code)]

mod client;
mod transport;

pub use client::{Client, Lease, Member, Swap};
pub use transport::{Error, Options, Tls};
