//! The counter that metrics read: cheap, monotone on one machine, and never part of state.
//!
//! It is not the venue's time: only the sequencer reads a clock for that (promise 1).

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Reads the time-stamp counter (9.5 ns where a clock read costs 23 ns, measured on a virtual
/// machine). On other machines than x86-64, nanoseconds since the first call.
#[inline]
#[must_use]
pub fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: `rdtsc` reads a register and touches no memory; every x86-64 CPU has it, and Linux
    // leaves it enabled for user space.
    unsafe {
        core::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }
}

/// Nanoseconds of a tick, measured once per process over at least 10 ms against the monotonic clock.
#[must_use]
pub fn nanos_per_tick() -> f64 {
    static RATE: OnceLock<f64> = OnceLock::new();
    *RATE.get_or_init(|| {
        let (instant, first) = (Instant::now(), ticks());
        std::thread::sleep(Duration::from_millis(10));
        let (nanos, last) = (instant.elapsed().as_nanos(), ticks());
        nanos as f64 / (last - first).max(1) as f64
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_rise_and_have_a_plausible_rate() {
        let before = ticks();
        let rate = nanos_per_tick();
        assert!(ticks() > before);
        assert!((0.05..=100.0).contains(&rate), "{rate} ns a tick");
    }
}
