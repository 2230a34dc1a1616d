//! The journal on a real file system, in one process and across killed ones, and on a simulated disk.

#[path = "../../../../tests/fuzz/bodies.rs"]
mod bodies;
mod crash;
mod fuzzed;
mod journal;
mod maintenance;
mod rig;
mod simulated;
mod snapshot;
mod standby;
