//! Latency: bounded histograms, the usual percentiles, and interval logs that other tools read.

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use ironbell_types::Nanos;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// The longest latency that is told apart: a minute. What takes longer counts as a minute.
pub const LATENCY_NANOS_MAX: u64 = 60_000_000_000;

/// Latencies from 1 ns to a minute at three significant digits: 216 KiB, and it never grows.
#[derive(Clone, Debug)]
pub struct Latency(Histogram<u64>);

impl From<Histogram<u64>> for Latency {
    /// Latencies in nanoseconds that were counted elsewhere. What is above [`LATENCY_NANOS_MAX`] counts as that.
    fn from(counted: Histogram<u64>) -> Self {
        let mut latency = Self::default();
        for value in counted.iter_recorded() {
            latency.0.saturating_record_n(value.value_iterated_to(), value.count_at_value());
        }
        latency
    }
}

impl Default for Latency {
    fn default() -> Self {
        let Ok(histogram) = Histogram::new_with_bounds(1, LATENCY_NANOS_MAX, 3) else {
            unreachable!("the bounds are in order and three digits are allowed")
        };
        Self(histogram)
    }
}

impl Latency {
    /// One latency, from `start` to `end`; a negative one counts as the least there is.
    pub fn record(&mut self, start: Nanos, end: Nanos) {
        self.0.saturating_record(end.0.saturating_sub(start.0).max(1));
    }

    /// Adds all of another's.
    pub fn add(&mut self, other: &Self) {
        let added = self.0.add(&other.0);
        assert!(added.is_ok(), "all of them have the same bounds");
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.reset();
    }

    /// The histogram itself, in nanoseconds.
    #[must_use]
    pub const fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }

    /// The percentiles that are always told.
    #[must_use]
    pub fn percentiles(&self) -> Percentiles {
        let at = |quantile| self.0.value_at_quantile(quantile);
        Percentiles {
            count: self.0.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: self.0.max(),
        }
    }
}

/// Percentiles of a latency in nanoseconds, within one part of a thousand; all 0 when there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Percentiles {
    /// How many latencies.
    pub count: u64,
    /// The median.
    pub p50: u64,
    /// 90 %.
    pub p90: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    pub p999: u64,
    /// 99.99 %.
    pub p9999: u64,
    /// The worst.
    pub max: u64,
}

/// A table of percentiles in microseconds, one row a name.
#[must_use]
pub fn table(rows: &[(&str, Percentiles)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max(7);
    let mut text = format!(
        "{:width$} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}\n",
        "µs", "p50", "p90", "p99", "p99.9", "p99.99", "max", "count"
    );
    for (name, told) in rows {
        text.push_str(&format!("{name:width$}"));
        for nanos in [told.p50, told.p90, told.p99, told.p999, told.p9999, told.max] {
            // Without a latency there is no percentile to tell.
            let micros = if told.count == 0 { "-".to_owned() } else { format!("{:.1}", nanos as f64 / 1e3) };
            text.push_str(&format!(" {micros:>10}"));
        }
        text.push_str(&format!(" {:>10}\n", told.count));
    }
    text
}

/// Writer of an HdrHistogram interval log, version 1.3, with V2 deflated histograms.
///
/// The version and legend lines are written here: the crate writes neither, and readers of other
/// languages look for them. Intervals are told as offsets, so none starts before the log's StartTime.
pub struct IntervalLog<W: Write> {
    writer: W,
    serializer: V2DeflateSerializer,
    scratch: Vec<u8>,
}

/// `Interval_Max` is told in milliseconds, as other writers do.
const INTERVAL_MAX_DIVISOR: f64 = 1e6;

impl<W: Write> IntervalLog<W> {
    /// A log whose intervals are counted from `start`, with `comment` in its first line.
    ///
    /// # Errors
    /// The writer's.
    pub fn new(mut writer: W, start: SystemTime, comment: &str) -> io::Result<Self> {
        let mut serializer = V2DeflateSerializer::new();
        IntervalLogWriterBuilder::new()
            .add_comment(comment)
            .add_comment("[Histogram log format version 1.3]")
            .with_start_time(start)
            .with_max_value_divisor(INTERVAL_MAX_DIVISOR)
            .begin_log_with(&mut writer, &mut serializer)?;
        let legend = r#""StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram""#;
        writeln!(writer, "{legend}")?;
        Ok(Self { writer, serializer, scratch: Vec::new() })
    }

    /// One interval, `offset` after the log's start. A tag has no comma, space or line break.
    ///
    /// # Errors
    /// The writer's; `InvalidInput` for a bad tag.
    pub fn interval(
        &mut self,
        offset: Duration,
        length: Duration,
        tag: &str,
        latency: &Latency,
    ) -> io::Result<()> {
        let bad_tag = || io::Error::new(io::ErrorKind::InvalidInput, format!("`{tag}` is no tag"));
        let tag = Tag::new(tag).ok_or_else(bad_tag)?;
        self.scratch.clear();
        // The crate's writer borrows what it writes to for as long as it lives and tells the divisor
        // each time it begins; that line stands in our header once and is left out here.
        IntervalLogWriterBuilder::new()
            .with_max_value_divisor(INTERVAL_MAX_DIVISOR)
            .begin_log_with(&mut self.scratch, &mut self.serializer)?
            .write_histogram(latency.histogram(), offset, length, Some(tag))
            .map_err(|error| io::Error::other(format!("{error:?}")))?;
        let line = self.scratch.split_inclusive(|byte| *byte == b'\n').next_back().unwrap_or_default();
        self.writer.write_all(line)
    }

    /// Flushes and hands the writer back.
    ///
    /// # Errors
    /// The writer's.
    pub fn finish(mut self) -> io::Result<W> {
        self.writer.flush()?;
        Ok(self.writer)
    }
}

/// One interval of a log written at once.
#[derive(Clone, Copy, Debug)]
pub struct Interval<'a> {
    /// After the log's start.
    pub offset: Duration,
    /// How long.
    pub length: Duration,
    /// Of what; no comma, space or line break.
    pub tag: &'a str,
    /// The latencies.
    pub latency: &'a Latency,
}

/// Writes a whole interval log to a file.
///
/// # Errors
/// The file cannot be written; `InvalidInput` for a bad tag.
pub fn write_hlog(
    path: &Path,
    start: SystemTime,
    comment: &str,
    intervals: &[Interval<'_>],
) -> io::Result<()> {
    let mut log = IntervalLog::new(io::BufWriter::new(std::fs::File::create(path)?), start, comment)?;
    for interval in intervals {
        log.interval(interval.offset, interval.length, interval.tag, interval.latency)?;
    }
    log.finish().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    use std::time::UNIX_EPOCH;

    fn latencies(nanos: impl IntoIterator<Item = u64>) -> Latency {
        let mut latency = Latency::default();
        for nanos in nanos {
            latency.record(Nanos(1_000), Nanos(1_000 + nanos));
        }
        latency
    }

    #[test]
    fn percentiles_are_within_a_part_of_a_thousand() {
        let told = latencies((1..=100_000).map(|n| n * 100)).percentiles();
        let near = |told: u64, exact: u64| assert!(told.abs_diff(exact) <= exact / 1_000, "{told} {exact}");
        near(told.p50, 5_000_000);
        near(told.p90, 9_000_000);
        near(told.p99, 9_900_000);
        near(told.p999, 9_990_000);
        near(told.p9999, 9_999_000);
        near(told.max, 10_000_000);
        assert_eq!(told.count, 100_000);
    }

    #[test]
    fn out_of_range_is_kept_at_the_bounds_and_none_is_zero() {
        let mut latency = latencies([u64::MAX / 2]);
        assert!(latency.percentiles().max >= LATENCY_NANOS_MAX);
        latency.record(Nanos(9), Nanos(3));
        assert_eq!((latency.percentiles().count, latency.histogram().min()), (2, 1));
        assert_eq!(Latency::default().percentiles(), Percentiles::default());
        latency.clear();
        assert_eq!(latency.percentiles().count, 0);
    }

    #[test]
    fn a_table_is_in_microseconds() {
        let told = latencies([1_500; 10]).percentiles();
        let text = table(&[("order to ack", told)]);
        let [head, row] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
        assert!(head.starts_with("µs") && head.contains("p99.99"));
        assert_eq!(
            row.split_whitespace().collect::<Vec<_>>(),
            "order to ack 1.5 1.5 1.5 1.5 1.5 1.5 10".split(' ').collect::<Vec<_>>()
        );
    }

    fn written() -> (Vec<u8>, [Latency; 2]) {
        let parts = [latencies((1..=1_000).map(|n| n * 7)), latencies([2_000_000, 3_000_000])];
        let start = UNIX_EPOCH + Duration::from_micros(1_790_000_000_123_456);
        let mut log = IntervalLog::new(Vec::new(), start, "ironbell load").unwrap();
        log.interval(Duration::ZERO, Duration::from_secs(1), "order", &parts[0]).unwrap();
        log.interval(Duration::from_secs(1), Duration::from_millis(250), "cancel", &parts[1]).unwrap();
        assert!(log.interval(Duration::ZERO, Duration::ZERO, "two words", &parts[1]).is_err());
        (log.finish().unwrap(), parts)
    }

    #[test]
    fn the_crate_reads_what_was_logged() {
        let (bytes, parts) = written();
        let text = String::from_utf8(bytes.clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 7, "{text}");
        assert_eq!(lines[1], "#[Histogram log format version 1.3]");
        assert!(lines[2].starts_with("#[StartTime: 1790000000.123 (seconds"), "{text}");
        assert!(lines[4].starts_with("\"StartTimestamp\",\"Interval_Length\""), "{text}");
        assert!(lines[5].starts_with("Tag=order,0.000,1.000,0.007,HIST"), "{}", lines[5]);
        let mut deserializer = Deserializer::new();
        let mut intervals = IntervalLogIterator::new(&bytes).filter_map(|entry| match entry.unwrap() {
            LogEntry::Interval(interval) => Some(interval),
            _ => None,
        });
        for part in &parts {
            use hdrhistogram::serialization::interval_log::IntervalLogHistogram;
            let interval: IntervalLogHistogram<'_> = intervals.next().unwrap();
            let decoded = base64_decode(interval.encoded_histogram());
            let histogram: Histogram<u64> = deserializer.deserialize(&mut decoded.as_slice()).unwrap();
            assert_eq!(&histogram, part.histogram());
        }
        assert!(intervals.next().is_none());
    }

    /// RFC 4648, section 4; the crate hands out the text as it stands in the log.
    fn base64_decode(text: &str) -> Vec<u8> {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let (mut bytes, mut held, mut held_bits) = (Vec::new(), 0u32, 0);
        for byte in text.trim_end_matches('=').bytes() {
            let digit = alphabet.iter().position(|letter| *letter == byte).unwrap() as u32;
            (held, held_bits) = (held << 6 | digit, held_bits + 6);
            if held_bits >= 8 {
                held_bits -= 8;
                bytes.push((held >> held_bits) as u8);
                held &= (1 << held_bits) - 1;
            }
        }
        bytes
    }

    /// An independent reader, from PyPI, in the tests' own Python environment.
    #[test]
    fn pypi_hdrhistogram_reads_what_was_logged() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let python = root.join("target/test-venv/bin/python");
        assert!(python.exists(), "{} is missing: run tests/setup.sh", python.display());
        let (bytes, parts) = written();
        let path = std::env::temp_dir().join(format!("ironbell-hlog-{}.hlog", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        let script = "
import sys
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
reader = HistogramLogReader(sys.argv[1], HdrHistogram(1, 60000000000, 3))
while True:
    interval = reader.get_next_interval_histogram()
    if interval is None:
        break
    span = interval.get_end_time_stamp() - interval.get_start_time_stamp()
    print(interval.get_tag(), interval.get_total_count(), interval.get_value_at_percentile(50),
          interval.get_max_value(), round(interval.get_start_time_stamp()), round(span))
";
        let output = std::process::Command::new(python).arg("-c").arg(script).arg(&path).output().unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let expected = |tag: &str, latency: &Latency, start: u64, span: u64| {
            let told = latency.percentiles();
            format!("{tag} {} {} {} {start} {span}\n", told.count, told.p50, told.max)
        };
        let all = expected("order", &parts[0], 1_790_000_000_123, 1_000)
            + &expected("cancel", &parts[1], 1_790_000_001_123, 250);
        assert_eq!(String::from_utf8(output.stdout).unwrap(), all);
    }
}
