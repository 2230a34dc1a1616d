//! The venue's clock. Only the sequencer holds one (promise 1).

use std::time::{SystemTime, UNIX_EPOCH};

use ironbell_types::Nanos;

/// Where the sequencer's time comes from; simulations bring their own.
pub trait Clock: Send {
    /// Nanoseconds since 1970-01-01 00:00 UTC. May step back: the sequencer takes the maximum.
    fn now(&mut self) -> Nanos;
}

/// The machine's clock that never steps and goes on while it sleeps (CLOCK_BOOTTIME): what permissions and leases are
/// counted by. Says nothing about the time of day.
#[must_use]
pub fn boot_time() -> Nanos {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Nanos(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
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
