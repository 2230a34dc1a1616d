//! The journal on a real file system, in one process and across killed ones.

mod crash;
mod journal;
mod rig;
