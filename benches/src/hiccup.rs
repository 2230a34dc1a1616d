//! The host's own stalls: a thread on the cores that are measured, which only wants to wake up every millisecond.
//!
//! What it is late by, anything on those cores may have been late by. After jHiccup (Gil Tene), with an intended
//! schedule: each tick that a stall swallowed counts from when it was meant to come. It sees what takes a core away
//! from everybody (the hypervisor, interrupts, other processes), and also what it must wait for itself when the
//! venue does not let a core go.

use crate::latency::Latency;
use ironbell_types::Nanos;
use rustix::thread::{CpuSet, sched_setaffinity, set_current_timer_slack};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// From one tick to the next.
const TICK: Duration = Duration::from_millis(1);
/// Maxima are kept for intervals of this length.
pub const HICCUP_INTERVAL: Duration = Duration::from_millis(100);

/// What the meter saw.
#[derive(Clone, Debug, Default)]
pub struct Hiccups {
    /// How late each tick was.
    pub latency: Latency,
    /// The worst of each [`HICCUP_INTERVAL`] since the start, in nanoseconds.
    pub worst: Vec<u64>,
}

/// Meters that run until they are stopped, one a CPU.
#[derive(Debug)]
pub struct HiccupMeter {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Hiccups>>,
}

impl HiccupMeter {
    /// Starts one on each of `cpus`; where there is none to be pinned to, the thread runs where it may.
    ///
    /// # Errors
    /// The kernel gives no thread.
    pub fn start(cpus: &[usize]) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let one = |cpu: usize| {
            let stop = Arc::clone(&stop);
            std::thread::Builder::new().name(format!("hiccup-{cpu}")).spawn(move || {
                pin(cpu);
                measure(&stop)
            })
        };
        let threads = cpus.iter().map(|cpu| one(*cpu)).collect::<std::io::Result<_>>()?;
        Ok(Self { stop, threads })
    }

    /// Stops them; what all saw together.
    #[must_use]
    pub fn finish(self) -> Hiccups {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Hiccups::default();
        for thread in self.threads {
            let Ok(one) = thread.join() else { continue };
            all.latency.add(&one.latency);
            all.worst.resize(all.worst.len().max(one.worst.len()), 0);
            all.worst.iter_mut().zip(one.worst).for_each(|(all, one)| *all = (*all).max(one));
        }
        all
    }
}

/// Binds this thread to a CPU; says whether the kernel did.
pub fn pin(cpu: usize) -> bool {
    let mut set = CpuSet::new();
    if cpu >= CpuSet::MAX_CPU {
        return false;
    }
    set.set(cpu);
    sched_setaffinity(None, &set).is_ok()
}

/// CPUs that this thread may use.
#[must_use]
pub fn cpus_allowed() -> Vec<usize> {
    rustix::thread::sched_getaffinity(None)
        .map(|set| (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
        .unwrap_or_default()
}

fn measure(stop: &AtomicBool) -> Hiccups {
    let _ = set_current_timer_slack(std::num::NonZeroU64::new(1));
    let mut hiccups = Hiccups::default();
    let began = Instant::now();
    let mut next = TICK;
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(next.saturating_sub(began.elapsed()));
        let now = began.elapsed();
        while next <= now {
            hiccups.note(next, now);
            next += TICK;
        }
    }
    hiccups
}

impl Hiccups {
    fn note(&mut self, intended: Duration, woke: Duration) {
        let nanos = |time: Duration| Nanos(time.as_nanos() as u64);
        self.latency.record(nanos(intended), nanos(woke));
        let interval = (intended.as_nanos() / HICCUP_INTERVAL.as_nanos()) as usize;
        if self.worst.len() <= interval {
            self.worst.resize(interval + 1, 0);
        }
        let late = (woke - intended).as_nanos() as u64;
        self.worst[interval] = self.worst[interval].max(late);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tick_is_counted_though_the_host_stood_still() {
        let mut hiccups = Hiccups::default();
        let ms = Duration::from_millis;
        // Woken at once, then a stall from 2 to 252 ms.
        hiccups.note(ms(1), ms(1));
        for tick in 2..=252 {
            hiccups.note(ms(tick), ms(252));
        }
        assert_eq!(hiccups.latency.percentiles().count, 252);
        assert!(hiccups.latency.percentiles().p50 > 100_000_000, "half of the ticks met the stall");
        assert_eq!(hiccups.worst, [250_000_000, 152_000_000, 52_000_000]);
    }

    #[test]
    fn a_meter_measures_where_it_is_put() {
        let cpus = cpus_allowed();
        assert!(!cpus.is_empty());
        let meter = HiccupMeter::start(&cpus).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let hiccups = meter.finish();
        assert!(hiccups.latency.percentiles().count >= 49, "a tick a millisecond, on {cpus:?}");
        assert!(!hiccups.worst.is_empty());
    }
}
