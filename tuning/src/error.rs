//! What goes wrong while a host is looked at.

use std::path::PathBuf;

/// What goes wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no profile of that name among the built-in ones, nor a file.
    #[error("there is no profile {name}; built in are {known}, or give the path of a TOML file")]
    NoProfile {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// A file of a profile, or of the live system, cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A profile is no profile.
    #[error("profile {name}: {what}")]
    Profile {
        /// Which.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// No list of CPUs.
    #[error("`{text}` is no list of CPUs such as 2-5,8: {what}")]
    Cpus {
        /// What was given.
        text: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A CPU that is not there, or not for this process.
    #[error("CPU {0} is not among those that this process may use; see `taskset -p $$`")]
    NoCpu(usize),
    /// Writing a histogram.
    #[error("{path}: {what}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        what: String,
    },
}
