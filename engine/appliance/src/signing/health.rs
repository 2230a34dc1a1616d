//! How the signing process is, in a metrics segment of its own beside its files.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use ironbell_sync::metrics::{self, RoleMetrics, Spec};

use crate::failure::Failure;

const COUNTERS: [&str; 11] = [
    "signed_size",
    "committed_size",
    "journaled_size",
    "checkpoints",
    "waiting",
    "late",
    "failed",
    "key_busy_ms",
    "alive_unix_s",
    "witnesses",
    "witnesses_silent",
];

/// What it counts. `late` is 1 while checkpoints wait for the key beyond `waiting_max`: the alarm. A witness is silent whose last
/// answer was none, or no signature.
pub(super) struct Counted {
    pub(super) signed_size: u64,
    pub(super) committed_size: u64,
    pub(super) journaled_size: u64,
    pub(super) checkpoints: u64,
    pub(super) waiting: u64,
    pub(super) is_late: bool,
    pub(super) failed: u64,
    pub(super) key_busy_ms: u64,
    pub(super) witnesses: u64,
    pub(super) witnesses_silent: u64,
}

/// The segment, and the histogram `signed` in it: from the time of the oldest command that a checkpoint is the first to
/// cover until that checkpoint was signed.
pub(super) struct Health(RoleMetrics);

impl Health {
    pub(super) fn create(path: &Path) -> Result<Self, Failure> {
        let spec = Spec { role: "signing", counters: &COUNTERS, histograms: &["signed"] };
        let mut made = metrics::create(path, &[spec]).map_err(Failure::refused)?;
        Ok(Self(made.pop().expect("one role")))
    }

    pub(super) fn count(&mut self, counted: &Counted) {
        let values = [
            counted.signed_size,
            counted.committed_size,
            counted.journaled_size,
            counted.checkpoints,
            counted.waiting,
            counted.is_late.into(),
            counted.failed,
            counted.key_busy_ms,
            unix_ns() / 1_000_000_000,
            counted.witnesses,
            counted.witnesses_silent,
        ];
        values.into_iter().enumerate().for_each(|(index, value)| self.0.set(index, value));
    }

    /// A checkpoint was signed whose oldest command has this time.
    pub(super) fn signed(&mut self, oldest_ns: u64) {
        self.0.record(0, unix_ns().saturating_sub(oldest_ns));
    }
}

/// Now, in nanoseconds since 1970.
pub(super) fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}
