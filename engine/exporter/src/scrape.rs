//! The text of a scrape (OpenMetrics 1.0), and the names in it.
//!
//! Every counter of every role becomes `ironbell_ROLE_COUNTER` (a gauge), or with `_total` (a counter); rings, threads and
//! stages are families with a label. Names are made from the segment's own, so that what a role begins to count is there
//! without a change here; only what is a level, and no count, is listed in [`LEVELS`].

use std::collections::BTreeMap;
use std::fmt;

use ironbell_sync::histogram::Counts;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use serde_json::Value;

use crate::node::{Seen, THREAD};

/// Counters of the segment that go up and down.
const LEVELS: &[&str] = &[
    "sessions_open",
    "connections",
    "half_open",
    "seq",
    "durable_seq",
    "sequence",
    "replicated_seq",
    "signed_size",
    "committed_size",
    "journaled_size",
    "waiting",
    "late",
    "alive_unix_s",
    "witnesses",
    "witnesses_silent",
    "key_busy_ms",
];
/// What the name of a ring's fill begins with.
const RING: &str = "ring_";
/// Upper bounds of a latency's buckets, in microseconds: 1, 2 and 5 of each power of ten.
const BOUNDS_US: [u64; 21] = [
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000,
    500_000, 1_000_000, 2_000_000, 5_000_000,
];

/// The labels of an exemplar, of which there are none.
type NoExemplar = [(String, String); 0];

/// What one row of a family says.
#[derive(Clone, Debug, PartialEq)]
enum Figure {
    Count(f64),
    Level(f64),
    /// Sum, count and buckets, in seconds.
    Spread(f64, u64, Vec<(f64, u64)>),
}

impl Figure {
    fn encode(&self, row: &mut MetricEncoder<'_>) -> Result<(), fmt::Error> {
        match self {
            Self::Count(count) => row.encode_counter::<NoExemplar, f64, f64>(count, None),
            Self::Level(level) => row.encode_gauge(level),
            Self::Spread(sum, count, buckets) => {
                row.encode_histogram::<NoExemplar>(*sum, *count, buckets, None)
            }
        }
    }
}

#[derive(Clone, Debug)]
struct Family {
    help: String,
    rows: Vec<(Vec<(String, String)>, Figure)>,
}

/// What was seen, family by family.
#[derive(Debug, Default)]
struct Families(BTreeMap<String, Family>);

impl Families {
    fn put(&mut self, name: &str, help: &str, labels: &[(&str, &str)], figure: Figure) {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let family = self.0.entry(name.to_owned());
        let family = family.or_insert_with(|| Family { help: help.to_owned(), rows: Vec::new() });
        family.rows.push((labels, figure));
    }

    fn level(&mut self, name: &str, help: &str, level: impl Into<Option<f64>>) {
        if let Some(level) = level.into() {
            self.put(name, help, &[], Figure::Level(level));
        }
    }
}

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for (name, family) in &self.0 {
            let kind = match family.rows.first() {
                Some((_, Figure::Count(_))) => MetricType::Counter,
                Some((_, Figure::Spread(..))) => MetricType::Histogram,
                _ => MetricType::Gauge,
            };
            let mut metric = encoder.encode_descriptor(name, &family.help, None, kind)?;
            for (labels, figure) in &family.rows {
                // No labels are none, not an empty set of them.
                if labels.is_empty() {
                    figure.encode(&mut metric)?;
                } else {
                    figure.encode(&mut metric.encode_family(labels)?)?;
                }
            }
        }
        Ok(())
    }
}

/// The text of a scrape.
#[must_use]
pub fn text(seen: &Seen) -> String {
    let mut families = Families::default();
    roles(seen, &mut families);
    about(seen, &mut families);
    let mut registry = Registry::default();
    registry.register_collector(Box::new(families));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).expect("a string takes it");
    text
}

fn roles(seen: &Seen, families: &mut Families) {
    for role in &seen.roles {
        let thread = role.role.strip_prefix(THREAD);
        for (name, value) in &role.counters {
            let value = *value as f64;
            if let Some(ring) = name.strip_prefix(RING) {
                let help = "Slots of a ring that are taken";
                families.put("ironbell_ring_slots", help, &[("ring", ring)], Figure::Level(value));
                continue;
            }
            let Some(thread) = thread else {
                let (full, help) =
                    (format!("ironbell_{}_{name}", role.role), format!("{name} of the role {}", role.role));
                let figure =
                    if LEVELS.contains(&name.as_str()) { Figure::Level(value) } else { Figure::Count(value) };
                families.put(&full, &help, &[], figure);
                continue;
            };
            let labels = &[("thread", thread)];
            match name.as_str() {
                "idle_ns" => {
                    let help = "Time in which no role of the thread had work";
                    families.put("ironbell_thread_idle_seconds", help, labels, Figure::Count(value / 1e9));
                }
                "idle_permille" => {
                    let help = "Share of the last second in which no role of the thread had work";
                    families.put("ironbell_thread_idle_ratio", help, labels, Figure::Level(value / 1e3));
                }
                _ => {
                    let full = format!("ironbell_thread_{name}");
                    families.put(&full, &format!("{name} of the thread"), labels, Figure::Count(value));
                }
            }
        }
        for (stage, counts) in &role.histograms {
            let help = "From the message read by the gateway to the end of the stage; signed: from the command's time to a checkpoint that covers it";
            let (sum, count, buckets) = spread(counts);
            families.put(
                "ironbell_stage_latency_seconds",
                help,
                &[("stage", stage)],
                Figure::Spread(sum, count, buckets),
            );
        }
    }
}

/// In seconds: the sum, within the histogram's resolution; the count; and what lies in each bucket.
fn spread(counts: &Counts) -> (f64, u64, Vec<(f64, u64)>) {
    let mut buckets: Vec<_> = BOUNDS_US.iter().map(|bound| (*bound as f64 / 1e6, 0)).collect();
    buckets.push((f64::INFINITY, 0));
    let (mut sum, mut total) = (0.0, 0);
    for (nanos, count) in counts.recorded() {
        let bucket = BOUNDS_US.partition_point(|bound| bound * 1_000 < nanos);
        buckets[bucket].1 += count;
        sum += nanos as f64 / 1e9 * count as f64;
        total += count;
    }
    (sum, total, buckets)
}

fn about(seen: &Seen, families: &mut Families) {
    let is = |holds: bool| f64::from(u8::from(holds));
    families.level("ironbell_up", "Whether the node answers", is(seen.status.is_some()));
    families.level(
        "ironbell_healthy",
        "Whether the node answers and all its threads move",
        is(seen.is_healthy()),
    );
    families.level("ironbell_ready", "Whether members are let in", is(seen.is_ready()));
    for (thread, still) in &seen.threads {
        let labels = &[("thread", thread.as_str())];
        let help = "Whether the thread stands still";
        families.put("ironbell_thread_still", help, labels, Figure::Level(is(*still)));
    }
    for (file, end) in &seen.certificates {
        let help = "When the first certificate in the file ceases to hold, in seconds since 1970; 0 when it cannot be read";
        let end = Figure::Level(*end as f64);
        families.put("ironbell_certificate_end_unix_s", help, &[("file", file)], end);
    }
    let Some(status) = &seen.status else { return };
    let there = |value: &Value| Some(is(!value.is_null()));
    let mut level = |name: &str, help: &str, level: Option<f64>| families.level(name, help, level);
    level("ironbell_uptime_seconds", "Since the node started", status["uptime_s"].as_f64());
    level("ironbell_epoch", "The epoch of this run", status["epoch"].as_f64());
    level(
        "ironbell_order_entry_halted",
        "Whether new orders are refused because the disk is full",
        status["order_entry_halted"].as_bool().map(is),
    );
    level("ironbell_shadow_seq", "The last command that the shadow has followed", status["seq"].as_f64());
    level(
        "ironbell_self_check_equal_frames",
        "Frames at which shard and shadow had the same output hash",
        status["checks_equal"].as_f64(),
    );
    level(
        "ironbell_self_check_failed",
        "Whether shard and shadow have ever differed",
        there(&status["checks_unequal"]),
    );
    level("ironbell_shadow_stuck", "Whether the shadow stands still", there(&status["shadow_stuck"]));
    level(
        "ironbell_snapshot_seq",
        "The last command in the newest snapshot",
        status["snapshot_seq"].as_f64(),
    );
    level(
        "ironbell_snapshot_age_seconds",
        "Since the newest snapshot was made",
        status["snapshot_age_s"].as_f64(),
    );
    level(
        "ironbell_sessions_max",
        "Sessions that members may have at a time",
        status["sessions_max"].as_f64().filter(|max| *max > 0.0),
    );
    level(
        "ironbell_recovery_seconds",
        "What the last start took to recover",
        status["recovery"]["ms"].as_f64().map(|ms| ms / 1e3),
    );
    let durability = status["durability"].as_str().unwrap_or_default();
    families.put(
        "ironbell_node",
        "What an acknowledgement promises, always 1",
        &[("durability", durability)],
        Figure::Level(1.0),
    );
    for (ring, slots) in rows(&status["rings"]) {
        let help = "Slots that a ring has";
        families.put("ironbell_ring_slots_max", help, &[("ring", ring)], Figure::Level(slots));
    }
    if let Some(summary) = &seen.summary {
        about_venue(summary, families);
    }
    let pair = &status["pair"];
    if pair.is_object() {
        about_pair(pair, families);
    }
}

/// Names and figures of an object.
fn rows(object: &Value) -> impl Iterator<Item = (&str, f64)> {
    let rows = object.as_object().into_iter().flatten();
    rows.filter_map(|(name, figure)| Some((name.as_str(), figure.as_f64()?)))
}

/// What phases, switches and limits come to.
fn about_venue(summary: &Value, families: &mut Families) {
    for (phase, count) in rows(&summary["instruments"]) {
        let help = "Instruments by what they do now";
        families.put("ironbell_instruments", help, &[("phase", phase)], Figure::Level(count));
    }
    for (scope, count) in rows(&summary["kill_switches"]) {
        let help = "Kill switches that are on";
        families.put("ironbell_kill_switches", help, &[("scope", scope)], Figure::Level(count));
    }
    for (limit, permille) in rows(&summary["limit_used_permille"]) {
        let help = "What is used of the limit that is nearest to its end, of each kind";
        let share = Figure::Level(permille / 1e3);
        families.put("ironbell_limit_used_ratio", help, &[("limit", limit)], share);
    }
    families.level(
        "ironbell_firms_order_entry_disabled",
        "Firms that have disabled their order entry",
        summary["order_entry_disabled"].as_f64(),
    );
    families.level(
        "ironbell_ports_logged_in",
        "Ports that are logged in",
        summary["ports_logged_in"].as_f64(),
    );
}

/// Of one node of a pair.
fn about_pair(pair: &Value, families: &mut Families) {
    let is = |holds: bool| f64::from(u8::from(holds));
    let mut level = |name: &str, help: &str, level: Option<f64>| families.level(name, help, level);
    level("ironbell_pair_primary", "Whether this node leads", Some(is(pair["standing"] == "primary")));
    level("ironbell_pair_promised_epoch", "The highest epoch promised", pair["promised"].as_f64());
    let alarms = pair["alarms"].as_array();
    let count = alarms.map(|alarms| alarms.len() as f64);
    level("ironbell_pair_alarms", "What somebody should look at", count);
    level(
        "ironbell_pair_halted",
        "Whether this node stands still until somebody looks",
        Some(is(!pair["halted"].is_null())),
    );
    level("ironbell_pair_behind_commands", "Commands not executed here yet", pair["behind"].as_f64());
    let lag = &pair["lag"];
    level("ironbell_pair_linked", "Whether a standby is linked to this primary", Some(is(lag.is_object())));
    level("ironbell_pair_lag_bytes", "Bytes the standby has not acknowledged", lag["bytes"].as_f64());
    level(
        "ironbell_pair_lag_commands",
        "Commands the standby has not acknowledged",
        lag["commands"].as_f64(),
    );
    let seconds = lag["ms"].as_f64().map(|ms| ms / 1e3);
    level("ironbell_pair_lag_seconds", "Time since the standby acknowledged all there was", seconds);
    for alarm in alarms.into_iter().flatten().filter_map(Value::as_str) {
        let help = "What somebody should look at, in words, always 1";
        families.put("ironbell_pair_alarm", help, &[("alarm", alarm)], Figure::Level(1.0));
    }
    if let Some(in_sync) = pair["register"]["in_sync"].as_array() {
        let in_sync = Figure::Level(in_sync.len() as f64);
        families.put("ironbell_pair_in_sync", "Nodes that the register has as in sync", &[], in_sync);
    }
    if let Some(mode) = pair["register"]["mode"].as_str() {
        families.put(
            "ironbell_pair_mode",
            "The register's mode, always 1",
            &[("mode", mode)],
            Figure::Level(1.0),
        );
    }
}
