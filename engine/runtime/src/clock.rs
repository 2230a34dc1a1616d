//! The venue's clock. Only the sequencer holds one (promise 1).

use std::time::{SystemTime, UNIX_EPOCH};

use ironbell_types::Nanos;

/// Where the sequencer's time comes from; simulations bring their own.
pub trait Clock: Send {
    /// Nanoseconds since 1970-01-01 00:00 UTC. May step back: the sequencer takes the maximum.
    fn now(&mut self) -> Nanos;
}

/// The machine's real-time clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&mut self) -> Nanos {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Nanoseconds since 1970 fit 64 bits until the year 2554.
        Nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }
}
