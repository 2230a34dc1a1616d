//! The record of a run: what was asked for, on what, and what came out; JSON that a report, a comparison or a
//! sceptic can read. Times are nanoseconds unless the name says otherwise.

use crate::hiccup::{HICCUP_INTERVAL, Hiccups};
use crate::host::Host;
use crate::latency::Latency;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

/// The version of the format; readers refuse others by name.
pub const FORMAT: u32 = 1;

/// The percentiles that are told, with their names.
pub const QUANTILES: [(&str, f64); 8] = [
    ("50", 0.5),
    ("90", 0.9),
    ("99", 0.99),
    ("99.9", 0.999),
    ("99.99", 0.9999),
    ("99.999", 0.999_99),
    ("99.9999", 0.999_999),
    ("100", 1.0),
];

/// So many samples lie above a percentile at least, or it is left blank.
pub const BEYOND_MIN: f64 = 10.0;

/// A distribution of latencies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// How many.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// The least.
    pub min: u64,
    /// The worst.
    pub max: u64,
    /// [`QUANTILES`] by name, without the maximum; those without [`BEYOND_MIN`] samples above them are null.
    pub percentiles: BTreeMap<String, Option<u64>>,
    /// The whole of it: (value, count), ascending; values to three digits.
    pub buckets: Vec<(u64, u64)>,
}

impl From<&Latency> for Spread {
    fn from(latency: &Latency) -> Self {
        let histogram = latency.histogram();
        let buckets =
            histogram.iter_recorded().map(|v| (v.value_iterated_to(), v.count_at_value())).collect();
        Self::of_buckets(buckets)
    }
}

impl Spread {
    /// Of (value, count) pairs, ascending.
    #[must_use]
    pub fn of_buckets(buckets: Vec<(u64, u64)>) -> Self {
        let count = buckets.iter().map(|(_, count)| count).sum::<u64>();
        let sum: f64 = buckets.iter().map(|(value, count)| *value as f64 * *count as f64).sum();
        let mut spread = Self {
            count,
            mean: if count == 0 { 0.0 } else { sum / count as f64 },
            min: buckets.first().map_or(0, |(value, _)| *value),
            max: buckets.last().map_or(0, |(value, _)| *value),
            percentiles: BTreeMap::new(),
            buckets,
        };
        for (name, quantile) in QUANTILES.into_iter().filter(|(_, quantile)| *quantile < 1.0) {
            let is_told = spread.count as f64 * (1.0 - quantile) >= BEYOND_MIN - 1e-6;
            let value = is_told.then(|| spread.at(quantile)).flatten();
            spread.percentiles.insert(name.to_owned(), value);
        }
        spread
    }

    /// The value at or below which this share lies, told or not; `None` when there is nothing.
    #[must_use]
    pub fn at(&self, quantile: f64) -> Option<u64> {
        let rank = ((self.count as f64 * quantile).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        self.buckets.iter().find_map(|(value, count)| {
            seen += count;
            (seen >= rank).then_some(*value)
        })
    }

    /// Both together.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let mut all: BTreeMap<u64, u64> = BTreeMap::new();
        for (value, count) in self.buckets.iter().chain(&other.buckets) {
            *all.entry(*value).or_default() += count;
        }
        Self::of_buckets(all.into_iter().collect())
    }
}

/// Order-to-ack of about a second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Seconds from the step's start to the interval's.
    pub at_s: f64,
    /// How long.
    pub length_s: f64,
    /// Answers in it.
    pub count: u64,
    /// Its median.
    pub p50: u64,
    /// 99 %.
    pub p99: u64,
    /// Its worst.
    pub max: u64,
}

/// One rate, held for a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Which of the repeats, from 0.
    pub repeat: u32,
    /// Requests a second that were meant.
    pub rate: f64,
    /// How long was sent.
    pub seconds: f64,
    /// Requests that were meant to go in that time.
    pub intended: u64,
    /// Requests that went.
    pub sent: u64,
    /// Requests a second over the time until the last was answered.
    pub answered_per_s: f64,
    /// Whether 99 % of what was meant went, and was answered as fast as it was meant.
    pub reached: bool,
    /// Orders accepted, replaced, cancelled as asked.
    pub acks: u64,
    /// Orders and replacements refused.
    pub rejects: u64,
    /// Trades.
    pub trades: u64,
    /// Answers that broke a rule, or were missing; the first of them in words.
    pub violations: Vec<String>,
    /// What the members saw, by name: `order_to_ack`, `cancel_to_out`, …; all from the intended time but
    /// `order_to_ack_from_sent`.
    pub latencies: BTreeMap<String, Spread>,
    /// What the venue told of its stations: each counted from when a gateway had read the message, in the order of
    /// the way.
    pub stages: Vec<(String, Spread)>,
    /// How late a thread woke that only wanted to wake, on the same cores at the same time.
    pub hiccups: Spread,
    /// Its worst of each tenth of a second.
    pub hiccups_worst: Vec<u64>,
    /// Order-to-ack over time.
    pub over_time: Vec<Interval>,
}

/// Where more load only makes it slower.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Knee {
    /// The highest rate that was reached with its 99 % within the bound.
    pub rate: f64,
    /// Order-to-ack, 99 %, there.
    pub p99: u64,
    /// The bound: [`KNEE_FACTOR`] times the least 99 % of any step.
    pub p99_bound: u64,
    /// Whether a higher rate was tried and failed: else the knee is not below what was tried.
    pub is_bracketed: bool,
}

/// A step is past the knee when its 99 % is above so many times the least.
pub const KNEE_FACTOR: u64 = 10;

/// The program and where it came from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Build {
    /// Its version.
    pub version: String,
    /// Git's name for the tree that the program's file lies in, `+` when it was changed since; empty when unknown.
    pub commit: String,
    /// SHA-256 of the program's file.
    pub program_sha256: String,
    /// `release` or `debug`.
    pub profile: String,
}

/// What was under load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Venue {
    /// Where.
    pub address: String,
    /// What an answer of it promises.
    pub durability: String,
    /// Its threads, their CPUs and roles.
    pub threads: Vec<String>,
    /// Its configuration, without the genesis.
    pub config: String,
}

/// A whole run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`FORMAT`].
    pub format: u32,
    /// What it is called in reports.
    pub name: String,
    /// Seconds since 1970 when it began.
    pub began_unix_s: u64,
    /// The command line.
    pub command: Vec<String>,
    /// The program.
    pub build: Build,
    /// The venue.
    pub venue: Venue,
    /// The machine.
    pub host: Host,
    /// Everything that was chosen, by name.
    pub knobs: BTreeMap<String, String>,
    /// What must be known before believing it.
    pub warnings: Vec<String>,
    /// The steps, as they were made.
    pub steps: Vec<Step>,
    /// The knee, when rates were stepped.
    pub knee: Option<Knee>,
}

/// What is wrong with a record.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read or written.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It is no record.
    #[error("it is no run record: {0}")]
    Json(#[from] serde_json::Error),
    /// It is of another version.
    #[error("it is a run record of format {0}, this program reads {FORMAT}")]
    Format(u32),
}

impl Record {
    /// Reads one.
    ///
    /// # Errors
    /// When it cannot be read, or is of another format.
    pub fn read(path: &Path) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Header {
            format: u32,
        }
        let text = std::fs::read_to_string(path)?;
        let header: Header = serde_json::from_str(&text)?;
        if header.format != FORMAT {
            return Err(Error::Format(header.format));
        }
        Ok(serde_json::from_str(&text)?)
    }

    /// Writes it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
        serde_json::to_writer(&mut file, self)?;
        Ok(file.flush()?)
    }

    /// Whether every answer was right.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.steps.iter().all(|step| step.violations.is_empty())
    }

    /// One line: what it came to.
    #[must_use]
    pub fn verdict(&self) -> String {
        if let Some(step) = self.steps.iter().find(|step| !step.violations.is_empty()) {
            return format!(
                "WRONG: at {:.0}/s answers broke the venue's rules: {}",
                step.rate, step.violations[0]
            );
        }
        if let Some(knee) = &self.knee {
            let beyond = if knee.is_bracketed { "" } else { ", and no higher rate was tried" };
            return format!(
                "every answer right; the knee is at {:.0}/s with a p99 of {:.1} µs{beyond}",
                knee.rate,
                knee.p99 as f64 / 1e3
            );
        }
        match self.steps.iter().filter(|step| !step.reached).count() {
            0 => format!("every answer right, every rate reached, {} runs", self.steps.len()),
            missed => {
                format!("every answer right; {missed} of {} runs did not reach their rate", self.steps.len())
            }
        }
    }
}

impl Hiccups {
    /// As it stands in a record: the distribution, and the worst of each [`HICCUP_INTERVAL`].
    #[must_use]
    pub fn told(&self) -> (Spread, Vec<u64>) {
        (Spread::from(&self.latency), self.worst.clone())
    }
}

const _: () = assert!(HICCUP_INTERVAL.as_millis() == 100, "`hiccups_worst` says so");

/// The knee of steps at several rates; `None` with less than two of them, or none that holds.
#[must_use]
pub fn knee(steps: &[Step]) -> Option<Knee> {
    let p99 = |step: &Step| step.latencies.get("order_to_ack").and_then(|spread| spread.at(0.99));
    let least = steps.iter().filter_map(p99).min()?;
    let p99_bound = least * KNEE_FACTOR;
    let holds = |step: &&Step| step.reached && p99(step).is_some_and(|p99| p99 <= p99_bound);
    let best = steps.iter().filter(holds).max_by(|a, b| a.rate.total_cmp(&b.rate))?;
    let is_bracketed = steps.iter().any(|step| step.rate > best.rate && !holds(&step));
    let rates = steps.iter().map(|step| step.rate.to_bits()).collect::<std::collections::BTreeSet<_>>();
    (rates.len() > 1).then(|| Knee { rate: best.rate, p99: p99(best).unwrap_or(0), p99_bound, is_bracketed })
}

/// Whether a step reached its rate: 99 % of what was meant went, and was answered as fast as it was meant.
#[must_use]
pub fn is_reached(rate: f64, intended: u64, sent: u64, answered_per_s: f64) -> bool {
    // What was meant is drawn, so its count scatters about the rate; it is the measure where it is lower.
    sent as f64 >= 0.99 * intended as f64 && answered_per_s >= 0.95 * rate
}

/// A table of percentiles in microseconds, one row a name; blank where there are too few samples.
#[must_use]
pub fn table(rows: &[(&str, &Spread)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max(7);
    let mut text = format!("{:width$}", "µs");
    for (name, quantile) in QUANTILES {
        let head = if quantile < 1.0 { format!("p{name}") } else { "max".to_owned() };
        text += &format!(" {head:>9}");
    }
    text += &format!(" {:>9}\n", "count");
    for (name, spread) in rows {
        text += &format!("{name:width$}");
        for (name, quantile) in QUANTILES {
            let value = if quantile < 1.0 {
                spread.percentiles.get(name).copied().flatten()
            } else {
                (spread.count > 0).then_some(spread.max)
            };
            let told = value.map_or(String::new(), |nanos| format!("{:.1}", nanos as f64 / 1e3));
            text += &format!(" {told:>9}");
        }
        text += &format!(" {:>9}\n", spread.count);
    }
    text
}

/// Writes a percentile distribution as HdrHistogram's tools do (`.hgrm`), in microseconds.
///
/// # Errors
/// The writer's.
pub fn write_hgrm(out: &mut impl Write, spread: &Spread) -> std::io::Result<()> {
    const TICKS_PER_HALF: f64 = 5.0;
    writeln!(out, "{:>12} {:>14} {:>10} {:>14}\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)")?;
    let mut quantile = 0.0_f64;
    while let Some(value) = spread.at(quantile) {
        let below: u64 = spread.buckets.iter().take_while(|(v, _)| *v <= value).map(|(_, n)| n).sum();
        let micros = value as f64 / 1e3;
        if value == spread.max {
            writeln!(out, "{micros:>12.3} {:>2.12} {below:>10}", 1.0)?;
            break;
        }
        writeln!(out, "{micros:>12.3} {quantile:>2.12} {below:>10} {:>14.2}", 1.0 / (1.0 - quantile))?;
        // Five steps to each halving of what is left, as HdrHistogram's percentile iterator makes them.
        let halvings = (1.0 / (1.0 - quantile)).log2().floor() + 1.0;
        quantile += 100.0 / (TICKS_PER_HALF * halvings.exp2()) / 100.0;
    }
    let variance: f64 =
        spread.buckets.iter().map(|(v, n)| (*v as f64 - spread.mean).powi(2) * *n as f64).sum::<f64>()
            / spread.count.max(1) as f64;
    let (mean, deviation) = (spread.mean / 1e3, variance.sqrt() / 1e3);
    writeln!(out, "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]")?;
    writeln!(out, "#[Max     = {:>12.3}, Total count    = {:>12}]", spread.max as f64 / 1e3, spread.count)?;
    writeln!(out, "#[Buckets = {:>12}, SubBuckets     = {:>12}]", 26, 2_048)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use ironbell_types::Nanos;

    pub(crate) fn spread(nanos: impl IntoIterator<Item = u64>) -> Spread {
        let mut latency = Latency::default();
        nanos.into_iter().for_each(|nanos| latency.record(Nanos(0), Nanos(nanos)));
        Spread::from(&latency)
    }

    pub(crate) fn step(rate: f64, p99: u64, reached: bool) -> Step {
        Step {
            repeat: 0,
            rate,
            seconds: 1.0,
            intended: rate as u64,
            sent: rate as u64,
            answered_per_s: rate,
            reached,
            acks: 0,
            rejects: 0,
            trades: 0,
            violations: Vec::new(),
            latencies: BTreeMap::from([("order_to_ack".to_owned(), spread([p99; 100]))]),
            stages: vec![("executed".to_owned(), spread([p99 / 2; 100]))],
            hiccups: spread([1_000; 100]),
            hiccups_worst: vec![5_000, 9_000],
            over_time: vec![Interval { at_s: 0.0, length_s: 1.0, count: 100, p50: p99, p99, max: p99 }],
        }
    }

    #[test]
    fn a_percentile_without_samples_beyond_it_is_blank() {
        let thousand = spread(1..=1_000);
        assert_eq!(thousand.percentiles["99"], Some(990));
        assert_eq!(thousand.percentiles["99.9"], None, "one sample lies above it");
        assert_eq!(
            (thousand.count, thousand.min, thousand.max, thousand.at(0.5)),
            (1_000, 1, 1_000, Some(500))
        );
        let text = table(&[("order_to_ack", &thousand), ("none", &Spread::default())]);
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[1], ["order_to_ack", "0.5", "0.9", "1.0", "1.0", "1000"], "{text}");
        assert_eq!(rows[2], ["none", "0"], "{text}");
        let million = spread((1..=10_000_000).map(|n| n % 1_000));
        assert!(million.percentiles.values().all(Option::is_some), "{:?}", million.percentiles);
    }

    #[test]
    fn two_spreads_together_are_the_spread_of_all() {
        assert_eq!(spread(1..=500).and(&spread(501..=1_000)), spread(1..=1_000));
    }

    #[test]
    fn the_knee_is_the_last_rate_that_holds() {
        let steps = [
            step(1e4, 100_000, true),
            step(2e4, 120_000, true),
            step(4e4, 900_000, true),
            step(8e4, 5_000_000, true),
            step(9e4, 800_000, false),
        ];
        let found = knee(&steps).unwrap();
        assert_eq!((found.rate, found.is_bracketed), (4e4, true));
        assert!(found.p99.abs_diff(900_000) < 1_000 && found.p99_bound.abs_diff(1_000_000) < 10_000);
        assert!(!knee(&steps[..3]).unwrap().is_bracketed);
        assert_eq!(knee(&steps[..1]), None);
        assert_eq!(knee(&[step(1.0, 5, false), step(2.0, 5, false)]), None);
    }

    #[test]
    fn a_rate_is_reached_when_all_went_and_was_answered() {
        assert!(is_reached(1e4, 100_000, 99_500, 9_990.0));
        assert!(!is_reached(1e4, 100_000, 98_000, 9_990.0), "the generator was late");
        assert!(!is_reached(1e4, 100_000, 100_000, 9_000.0), "the venue was late");
    }

    #[test]
    fn a_record_reads_as_it_was_written_and_other_formats_are_named() {
        let path = std::env::temp_dir().join(format!("ironbell-record-{}.json", std::process::id()));
        let steps = vec![step(1e4, 100_000, true)];
        let record = Record { format: FORMAT, name: "a".to_owned(), steps, ..Record::default() };
        record.write(&path).unwrap();
        assert_eq!(Record::read(&path).unwrap(), record);
        std::fs::write(&path, r#"{"format":99}"#).unwrap();
        assert!(Record::read(&path).unwrap_err().to_string().contains("format 99"));
        std::fs::remove_file(&path).unwrap();
        assert!(record.is_right() && record.verdict().starts_with("every answer right"));
    }

    #[test]
    fn an_hgrm_has_the_lines_that_its_readers_look_for() {
        let mut out = Vec::new();
        write_hgrm(&mut out, &spread((1..=100_000).map(|n| n * 100))).unwrap();
        let text = String::from_utf8(out).unwrap();
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .take_while(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|field| field.parse().unwrap()).collect())
            .collect();
        assert!(text.lines().next().unwrap().split_whitespace().eq([
            "Value",
            "Percentile",
            "TotalCount",
            "1/(1-Percentile)"
        ]));
        assert!(rows.windows(2).all(|pair| pair[0][0] <= pair[1][0] && pair[0][1] < pair[1][1]), "{text}");
        let last = rows.last().unwrap();
        assert_eq!((last.len(), last[1], last[2]), (3, 1.0, 100_000.0));
        let median = rows.iter().find(|row| row[1] >= 0.5).unwrap();
        assert!((median[0] - 5_000.0).abs() < 10.0 && (median[3] - 2.0).abs() < 0.01, "{median:?}");
        assert!(text.contains("#[Mean") && text.contains("#[Max") && text.contains("#[Buckets"));
    }
}
