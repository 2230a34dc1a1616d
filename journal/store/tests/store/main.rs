//! The journal on a real file system, in one process and across killed ones, and on a simulated disk.

mod crash;
mod journal;
mod rig;
mod simulated;
mod snapshot;
