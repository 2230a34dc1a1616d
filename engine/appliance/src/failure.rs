//! What goes wrong at start and on the command line: what, where, and what to do about it.

use std::fmt;
use std::path::Path;

/// A failure that a person reads: one line saying what, where and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The process's exit code.
    pub code: u8,
    line: String,
}

/// Bad input, bad config, taken port, full disk, missing permission.
pub const CODE_REFUSED: u8 = 2;
/// The journal could not be written: the node stopped rather than answer what may be lost.
pub const CODE_POISONED: u8 = 3;
/// A check failed: two sides that must agree do not.
pub const CODE_CHECK: u8 = 1;

impl Failure {
    /// A refusal: nothing was done.
    pub fn refused(line: impl fmt::Display) -> Self {
        Self { code: CODE_REFUSED, line: line.to_string() }
    }

    /// A refusal about a file.
    pub fn file(path: &Path, what: impl fmt::Display, advice: impl fmt::Display) -> Self {
        Self::refused(format_args!("{}: {what}; {advice}", path.display()))
    }

    /// A failed check.
    pub fn check(line: impl fmt::Display) -> Self {
        Self { code: CODE_CHECK, line: line.to_string() }
    }

    /// The kernel makes no thread.
    pub(crate) fn no_thread(error: impl fmt::Display) -> Self {
        Self::refused(format_args!("no thread ({error}); raise the process limit"))
    }

    /// What another process of this program ended with.
    pub(crate) fn of_child(code: u8, line: impl fmt::Display) -> Self {
        Self { code, line: line.to_string() }
    }

    /// The node stopped because its journal failed.
    pub fn poisoned(line: impl fmt::Display) -> Self {
        Self { code: CODE_POISONED, line: line.to_string() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One line, whatever the cause said.
        f.write_str(&self.line.replace('\n', " "))
    }
}

impl std::error::Error for Failure {}

macro_rules! refused {
    ($($error:ty),*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::refused(error)
            }
        }
    )*};
}
refused!(
    ironbell_archive::Error,
    ironbell_hsm::Error,
    ironbell_store::Error,
    ironbell_sessionlog::Error,
    ironbell_gateway::Error,
    ironbell_feed::Error
);
