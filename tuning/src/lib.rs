//! The host: what the machine must look like, the check that reads every item back from the live system, a proposal
//! which CPU does what, and a meter of the machine's own stalls.
//!
//! One declarative spec ([`Profile`], the files in `profiles/`) serves the doctor, the Ansible roles and the record
//! that a benchmark keeps of its host. **Nothing here changes a machine**: [`apply`] prints what a person would run.
//! This crate knows nothing of the venue. Start with [`doctor::examine`].

#![forbid(unsafe_code)]

pub mod apply;
pub mod cpus;
pub mod doctor;
mod error;
pub mod host;
pub mod jitter;
pub mod placement;
pub mod probe;
pub mod profile;

pub use cpus::CpuSet;
pub use doctor::{Finding, Report, Verdict, examine};
pub use error::Error;
pub use host::Host;
pub use profile::{Item, Level, Profile};
