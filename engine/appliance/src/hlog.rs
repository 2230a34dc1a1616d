//! `--hlog FILE`: the stages' latencies as a standard HdrHistogram V2 interval log, one tag a stage.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use hdrhistogram::Histogram;
use ironbell_load::{IntervalLog, Latency};
use ironbell_sync::histogram::{Counts, VALUE_MAX};
use ironbell_sync::metrics::Reader;

use crate::failure::Failure;

const INTERVAL: Duration = Duration::from_secs(1);

/// The log being written. Values are nanoseconds.
pub struct StageLog {
    path: PathBuf,
    log: IntervalLog<BufWriter<File>>,
    metrics: Reader,
    before: BTreeMap<String, Counts>,
    started: Instant,
    interval_start: Duration,
}

impl StageLog {
    /// Begins a log of what the metrics segment at `metrics` counts from now on.
    ///
    /// # Errors
    /// When the file cannot be made or the segment not read.
    pub fn create(path: &Path, metrics: &Path) -> Result<Self, Failure> {
        let metrics = Reader::open(metrics).map_err(Failure::refused)?;
        let fault = |e: std::io::Error| Failure::file(path, e, "give --hlog a file that you may write");
        let file = BufWriter::new(File::create(path).map_err(fault)?);
        let comment = concat!("ironbell ", env!("CARGO_PKG_VERSION"), ": latency of each stage, nanoseconds");
        let log = IntervalLog::new(file, SystemTime::now(), comment).map_err(fault)?;
        let before = stages(&metrics);
        let (path, started) = (path.to_owned(), Instant::now());
        Ok(Self { path, log, before, metrics, started, interval_start: Duration::ZERO })
    }

    /// Writes an interval when a second is over.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn tick(&mut self) -> Result<(), Failure> {
        if self.started.elapsed() >= self.interval_start + INTERVAL { self.write_interval() } else { Ok(()) }
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(mut self) -> Result<(), Failure> {
        self.write_interval()?;
        let Self { path, log, .. } = self;
        log.finish().map(drop).map_err(|e| fault(&path, &e))
    }

    fn write_interval(&mut self) -> Result<(), Failure> {
        let now = self.started.elapsed();
        let (start, length) = (self.interval_start, now - self.interval_start);
        self.interval_start = now;
        let counts = stages(&self.metrics);
        for (stage, counts) in &counts {
            let of_interval =
                self.before.get(stage).map_or_else(|| counts.clone(), |before| counts.since(before));
            if of_interval.total() == 0 {
                continue;
            }
            let latency = Latency::from(histogram(&of_interval));
            self.log.interval(start, length, stage, &latency).map_err(|e| fault(&self.path, &e))?;
        }
        self.before = counts;
        Ok(())
    }
}

fn fault(path: &Path, what: &std::io::Error) -> Failure {
    Failure::file(path, what, "see that the disk has room")
}

fn stages(metrics: &Reader) -> BTreeMap<String, Counts> {
    metrics.read().into_iter().flat_map(|role| role.histograms).collect()
}

/// The same counts as a histogram of the HdrHistogram family.
#[must_use]
pub fn histogram(counts: &Counts) -> Histogram<u64> {
    let mut histogram = Histogram::new_with_bounds(1, VALUE_MAX, 3).expect("the bounds are right");
    for (value, count) in counts.recorded() {
        histogram.record_n(value.max(1), count).expect("the value is within the bounds");
    }
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    use ironbell_sync::metrics::{Spec, create};

    #[test]
    fn each_interval_has_what_was_counted_since_the_one_before() {
        let file = |name| std::env::temp_dir().join(format!("ironbell-hlog-{}-{name}", std::process::id()));
        let (segment, log_file) = (file("metrics"), file("log"));
        let spec = Spec { role: "gateway", counters: &[], histograms: &["gateway_in", "gateway_out"] };
        let mut role = create(&segment, &[spec]).expect("a segment").remove(0);
        role.record(1, 5_000_000);
        let mut log = StageLog::create(&log_file, &segment).expect("a log");
        for nanos in [1_000, 2_000_000] {
            role.record(1, nanos);
            log.write_interval().expect("room");
        }
        log.finish().expect("room");
        let text = std::fs::read(&log_file).expect("the log");
        let intervals = IntervalLogIterator::new(&text).filter_map(|entry| match entry.expect("it parses") {
            LogEntry::Interval(interval) => {
                Some((interval.tag().expect("a tag").as_str().to_owned(), interval.max()))
            }
            _ => None,
        });
        let intervals: Vec<_> = intervals.collect();
        assert_eq!(intervals.len(), 2, "what was counted before, and what was not counted, is not logged");
        assert!(intervals.iter().all(|(tag, _)| tag == "gateway_out"));
        // In milliseconds, as HdrHistogram logs have it.
        assert!(
            (intervals[0].1 - 0.001).abs() < 0.001 && (intervals[1].1 - 2.0).abs() < 0.01,
            "{intervals:?}"
        );
        for path in [segment, log_file] {
            std::fs::remove_file(path).expect("it was there");
        }
    }
}
