//! The machine's own stalls, seen from a CPU that does nothing but look at the clock.
//!
//! After jHiccup (Gil Tene): a thread that should never be away finds out how long it was. A spinner reads the clock
//! without rest; each window of [`WINDOW`] gives one sample, the longest gap between two readings in it. So the
//! percentiles are shares of *time*: p99 = 3 µs says that in 99 % of all windows the CPU was away for no longer than
//! 3 µs at a time. A gap longer than a window gives the windows that it covered a sample each, of what was left of
//! it as they began, as a request would have met it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;
use serde::Serialize;

use crate::{CpuSet, Error};

/// One sample is taken of each.
pub const WINDOW: Duration = Duration::from_micros(100);

/// A gap from here on counts as a hiccup: longer than any that a CPU left alone shows.
pub const HICCUP: Duration = Duration::from_micros(5);

/// Longest gap told apart from longer ones, in nanoseconds.
const GAP_NS_MAX: u64 = 60_000_000_000;

/// What was seen on one CPU.
#[derive(Clone, Debug)]
pub struct Jitter {
    /// Which CPU.
    pub cpu: usize,
    /// Worst gaps of the windows, in nanoseconds.
    pub gaps: Histogram<u64>,
    /// Gaps of [`HICCUP`] and more.
    pub hiccups: u64,
    /// Time lost in them, in nanoseconds.
    pub lost_ns: u64,
    /// For how long we looked.
    pub watched: Duration,
}

/// One CPU's line, for JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// Which CPU.
    pub cpu: usize,
    /// Gaps of [`HICCUP`] and more.
    pub hiccups: u64,
    /// Share of the time lost in them.
    pub lost_share: f64,
    /// Half of all windows saw no longer gap, in nanoseconds.
    pub p50_ns: u64,
    /// 99 % of all windows.
    pub p99_ns: u64,
    /// 99.9 % of all windows.
    pub p999_ns: u64,
    /// The longest gap.
    pub max_ns: u64,
}

/// Watches each of `cpus` by a thread of its own until `stop` is set or `time` has passed.
///
/// # Errors
/// When a CPU is not there, or this process may not use it.
pub fn watch(cpus: &CpuSet, time: Duration, stop: &Arc<AtomicBool>) -> Result<Vec<Jitter>, Error> {
    let spinners: Vec<_> = cpus
        .iter()
        .map(|cpu| {
            let stop = Arc::clone(stop);
            (cpu, std::thread::spawn(move || spin(cpu, time, &stop)))
        })
        .collect();
    spinners.into_iter().map(|(cpu, spinner)| spinner.join().unwrap_or(Err(Error::NoCpu(cpu)))).collect()
}

fn spin(cpu: usize, time: Duration, stop: &AtomicBool) -> Result<Jitter, Error> {
    if !crate::host::pin(cpu) {
        return Err(Error::NoCpu(cpu));
    }
    let mut meter = Meter::new(cpu);
    let start = Instant::now();
    let mut last = 0;
    while !stop.load(Ordering::Relaxed) {
        let now = start.elapsed().as_nanos() as u64;
        meter.saw(last, now);
        last = now;
        if now >= time.as_nanos() as u64 {
            break;
        }
    }
    Ok(meter.finish(last))
}

struct Meter {
    jitter: Jitter,
    window_end: u64,
    worst: u64,
}

impl Meter {
    fn new(cpu: usize) -> Self {
        let gaps = Histogram::new_with_bounds(1, GAP_NS_MAX, 3).expect("bounds are in range");
        let jitter = Jitter { cpu, gaps, hiccups: 0, lost_ns: 0, watched: Duration::ZERO };
        Self { jitter, window_end: WINDOW.as_nanos() as u64, worst: 0 }
    }

    /// Nothing was seen between `last` and `now`, in nanoseconds since the start.
    fn saw(&mut self, last: u64, now: u64) {
        let gap = now - last;
        self.worst = self.worst.max(gap);
        if gap >= HICCUP.as_nanos() as u64 {
            self.jitter.hiccups += 1;
            self.jitter.lost_ns += gap;
        }
        while now >= self.window_end {
            self.jitter.gaps.saturating_record(self.worst.max(1));
            // What is left of this gap, seen from the next window's beginning.
            self.worst = now - self.window_end;
            self.window_end += WINDOW.as_nanos() as u64;
        }
    }

    fn finish(mut self, now: u64) -> Jitter {
        self.jitter.watched = Duration::from_nanos(now);
        self.jitter
    }
}

impl Jitter {
    /// Its figures.
    #[must_use]
    pub fn line(&self) -> Line {
        Line {
            cpu: self.cpu,
            hiccups: self.hiccups,
            lost_share: self.lost_ns as f64 / self.watched.as_nanos().max(1) as f64,
            p50_ns: self.gaps.value_at_quantile(0.5),
            p99_ns: self.gaps.value_at_quantile(0.99),
            p999_ns: self.gaps.value_at_quantile(0.999),
            max_ns: self.gaps.max(),
        }
    }
}

/// What was seen, as a table with one line for each CPU.
pub struct Table<'a>(pub &'a [Jitter]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = |ns: u64| format!("{:.1}", ns as f64 / 1e3);
        write!(
            f,
            "{:>4} {:>9} {:>8} {:>10} {:>10} {:>10} {:>10}",
            "CPU", "hiccups", "lost", "p50 µs", "p99 µs", "p99.9 µs", "max µs"
        )?;
        for jitter in self.0 {
            let line = jitter.line();
            write!(
                f,
                "\n{:>4} {:>9} {:>7.3}% {:>10} {:>10} {:>10} {:>10}",
                line.cpu,
                line.hiccups,
                100.0 * line.lost_share,
                us(line.p50_ns),
                us(line.p99_ns),
                us(line.p999_ns),
                us(line.max_ns)
            )?;
        }
        Ok(())
    }
}

/// Writes what was seen as a HdrHistogram interval log (version 1.3), one interval tagged `cpuN` for each CPU.
///
/// # Errors
/// When the file cannot be written.
pub fn write_hlog(seen: &[Jitter], path: &Path) -> Result<(), Error> {
    let failed = |what: String| Error::Write { path: path.to_owned(), what };
    let mut file = std::fs::File::create(path).map_err(|e| failed(e.to_string()))?;
    let mut serializer = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    builder.add_comment("[gaps of a spinning thread, the longest of each window of 100 us; nanoseconds]");
    let mut log = builder
        .with_start_time(SystemTime::now())
        .with_max_value_divisor(1_000_000.0)
        .begin_log_with(&mut file, &mut serializer)
        .map_err(|e| failed(e.to_string()))?;
    for jitter in seen {
        let tag = format!("cpu{}", jitter.cpu);
        let tag = hdrhistogram::serialization::interval_log::Tag::new(&tag);
        log.write_histogram(&jitter.gaps, Duration::ZERO, jitter.watched, tag)
            .map_err(|e| failed(format!("{e:?}")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Host;

    const US: u64 = 1_000;

    #[test]
    fn a_window_gives_its_longest_gap_and_a_long_gap_counts_in_each_window_that_it_covered() {
        let mut meter = Meter::new(0);
        let readings = [0, 40, 44, 100, 150, 199, 520, 600].map(|us| us * US);
        readings.windows(2).for_each(|pair| meter.saw(pair[0], pair[1]));
        let seen = meter.finish(600 * US);
        let mut samples = Vec::new();
        for sample in seen.gaps.iter_recorded() {
            let us = (sample.value_iterated_to() as f64 / US as f64).round() as u64;
            samples.extend(std::iter::repeat_n(us, sample.count_since_last_iteration() as usize));
        }
        // Windows that end at 100, 200, …, 600: gaps 56 (44 to 100), 321 (199 to 520, begun in the second), and what was
        // left of that one at 200, 300 and 400; the sixth has the 80 from 520 to 600, more than the 20 left at 500.
        assert_eq!(samples, [56, 80, 120, 220, 320, 321]);
        assert_eq!(seen.hiccups, 6, "all but the one from 40 to 44 µs");
    }

    #[test]
    fn a_cpu_that_is_not_there_is_named() {
        let error = watch(&[8_000].into_iter().collect(), WINDOW, &Arc::default()).expect_err("no such CPU");
        assert!(error.to_string().contains("8000"), "{error}");
    }

    #[test]
    fn every_window_of_a_real_watch_gives_a_sample() {
        let cpu = Host::live(CpuSet::default(), None, None)
            .online()
            .iter()
            .find(|cpu| crate::host::pin(*cpu))
            .expect("a CPU");
        let seen =
            watch(&[cpu].into_iter().collect(), Duration::from_millis(20), &Arc::default()).expect("a CPU");
        assert_eq!(seen[0].gaps.len(), seen[0].watched.as_nanos() as u64 / WINDOW.as_nanos() as u64);
        assert!(seen[0].gaps.max() > 0);
    }
}
