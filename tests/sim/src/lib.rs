//! Two nodes with their members, the register, the network, the disks and the clocks, in one thread and from one seed:
//! whatever happens, happens again.
//!
//! What is tested is real: `journal/replica` (both ends of the link, and control), `journal/store` on its simulated disk, and
//! `engine/core`. What is a stand-in says so: [`etcd`], [`net`], [`members`]. [`node`] connects the real parts as the
//! appliance does; [`world`] makes things go wrong and looks at what must never be.

#![forbid(unsafe_code)]

pub mod etcd;
pub mod members;
pub mod net;
pub mod node;
pub mod world;

pub use world::{Plan, World, run};
