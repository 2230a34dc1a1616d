//! `ironbell journal stats`: what is in a journal, and what it costs to keep it.

use std::collections::BTreeMap;

use clap::Args;
use ironbell_record::{BLOCK_BYTES, command};
use ironbell_store::FrameHeader;
use ironbell_types::{Nanos, Sequenced};
use serde::Serialize;

use super::{Ended, Out, Range, Which};
use crate::inspection::table;
use crate::moment::time_text;

/// Arguments of `stats`.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    range: Range,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Default, Serialize)]
struct Stats {
    commands: u64,
    /// Those of them that are void.
    voided: u64,
    /// Bytes of their records.
    record_bytes: u64,
    /// Frames with at least one of them.
    frames: u64,
    /// Frames without any, among and behind them.
    frames_empty: u64,
    /// Bytes written for all of them, in whole blocks of 4 KiB.
    frame_bytes: u64,
    /// Bytes written for one byte of records.
    write_amplification: f64,
    commands_per_frame_mean: f64,
    commands_per_frame_max: u32,
    /// Frames with commands, by how many: up to 1, 2, 4, 8 … 1,024.
    frames_by_commands: BTreeMap<u32, u64>,
    /// The same frames by their length in blocks: up to 1, 2, 4 … 32.
    frames_by_blocks: BTreeMap<u32, u64>,
    epochs: u64,
    first_time: String,
    last_time: String,
    span_ns: u64,
    commands_per_s_mean: f64,
    /// The most within one second of the clock.
    commands_per_s_max: u64,
    kinds: BTreeMap<&'static str, KindStats>,
    rate: Vec<Slot>,
}

#[derive(Default, Serialize)]
struct KindStats {
    commands: u64,
    record_bytes: u64,
}

/// A part of the time span.
#[derive(Serialize)]
struct Slot {
    from: String,
    commands: u64,
    commands_per_s: f64,
}

pub(super) fn run(options: &Options) -> Result<(), Ended> {
    let mut reader = options.which.find()?.reader()?;
    let (mut stats, mut times, mut seconds) = (Stats::default(), Times::default(), Seconds::default());
    let (mut epoch, mut span) = (0, None);
    'frames: while let Some(frame) = reader.next_frame()? {
        let mut counted = 0;
        for sequenced in frame.commands {
            let (seq, time) = (sequenced.seq, sequenced.time);
            if options.range.to.is_some_and(|to| to.passed(seq, time)) {
                stats.frame(&frame.header, counted);
                break 'frames;
            }
            if options.range.from.is_none_or(|from| from.reached(seq, time)) {
                counted += 1;
                let given = frame.voided.iter().find(|voided| voided.seq == seq);
                stats.voided += u64::from(given.is_some());
                stats.command(given.unwrap_or(sequenced));
                times.add(time);
                seconds.add(time);
                span = Some((span.map_or(time, |(first, _)| first), time));
            }
        }
        let begun = counted > 0 || options.range.from.is_none() || span.is_some();
        if begun {
            stats.frame(&frame.header, counted);
            stats.epochs += u64::from(frame.header.epoch != epoch);
            epoch = frame.header.epoch;
        }
    }
    stats.finish(span, &times, seconds.max);
    let mut out = Out::new();
    if options.json {
        out.json(&stats)?;
    } else {
        out.line(stats.told().trim_end())?;
    }
    out.finish()
}

/// Commands over time, in at most 1,024 slots: when the last is passed, each two become one of twice the width.
#[derive(Default)]
struct Times {
    first: Option<Nanos>,
    width_ns: u64,
    slots: Vec<u64>,
}

impl Times {
    const SLOTS: usize = 1_024;

    fn add(&mut self, time: Nanos) {
        let first = *self.first.get_or_insert(time);
        self.width_ns = self.width_ns.max(1_000_000);
        let mut slot = (time.0 - first.0) / self.width_ns;
        while slot >= Self::SLOTS as u64 {
            self.slots = self.slots.chunks(2).map(|pair| pair.iter().sum()).collect();
            self.width_ns *= 2;
            slot = (time.0 - first.0) / self.width_ns;
        }
        let slot = slot as usize;
        if slot >= self.slots.len() {
            self.slots.resize(slot + 1, 0);
        }
        self.slots[slot] += 1;
    }

    /// At most so many slots of equal width.
    fn at_most(&self, slots: usize) -> Vec<Slot> {
        let Some(Nanos(first)) = self.first else { return Vec::new() };
        let merged = self.slots.len().div_ceil(slots).max(1);
        let width_ns = self.width_ns * merged as u64;
        let slot = |(nth, counts): (usize, &[u64])| {
            let commands: u64 = counts.iter().sum();
            let from = time_text(Nanos(first + nth as u64 * width_ns));
            Slot { from, commands, commands_per_s: commands as f64 / (width_ns as f64 / 1e9) }
        };
        self.slots.chunks(merged).enumerate().map(slot).collect()
    }
}

/// The most commands within a second of the clock.
#[derive(Default)]
struct Seconds {
    second: u64,
    count: u64,
    max: u64,
}

impl Seconds {
    fn add(&mut self, time: Nanos) {
        let second = time.0 / 1_000_000_000;
        if second != self.second {
            (self.second, self.count) = (second, 0);
        }
        self.count += 1;
        self.max = self.max.max(self.count);
    }
}

impl Stats {
    fn command(&mut self, sequenced: &Sequenced) {
        let bytes = command::bytes(&sequenced.command) as u64;
        self.commands += 1;
        self.record_bytes += bytes;
        let of_kind = self.kinds.entry(sequenced.command.name()).or_default();
        of_kind.commands += 1;
        of_kind.record_bytes += bytes;
    }

    fn frame(&mut self, header: &FrameHeader, counted: u32) {
        self.frame_bytes += header.frame_bytes() as u64;
        if counted == 0 {
            self.frames_empty += 1;
            return;
        }
        self.frames += 1;
        self.commands_per_frame_max = self.commands_per_frame_max.max(header.count);
        *self.frames_by_commands.entry(header.count.next_power_of_two()).or_default() += 1;
        let blocks = (header.frame_bytes() / BLOCK_BYTES) as u32;
        *self.frames_by_blocks.entry(blocks.next_power_of_two()).or_default() += 1;
    }

    fn finish(&mut self, span: Option<(Nanos, Nanos)>, times: &Times, commands_per_s_max: u64) {
        let part = |of: u64, whole: u64| if whole == 0 { 0.0 } else { of as f64 / whole as f64 };
        self.write_amplification = part(self.frame_bytes, self.record_bytes);
        self.commands_per_frame_mean = part(self.commands, self.frames);
        self.commands_per_s_max = commands_per_s_max;
        if let Some((first, last)) = span {
            (self.first_time, self.last_time) = (time_text(first), time_text(last));
            self.span_ns = last.0 - first.0;
            self.commands_per_s_mean = part(self.commands, self.span_ns) * 1e9;
        }
        self.rate = times.at_most(24);
    }

    fn told(&self) -> String {
        let say = |name: &str, what: String| format!("{name:<12} {what}\n");
        let voided = if self.voided > 0 { format!(", {} void", self.voided) } else { String::new() };
        let mut text =
            say("commands", format!("{}{voided}, {} bytes of records", self.commands, self.record_bytes));
        text += &say(
            "frames",
            format!("{} with commands, {} empty, in {} epochs", self.frames, self.frames_empty, self.epochs),
        );
        text += &say(
            "in a frame",
            format!(
                "{:.1} commands on average, {} at most",
                self.commands_per_frame_mean, self.commands_per_frame_max
            ),
        );
        text += &say(
            "written",
            format!(
                "{} bytes in blocks of {BLOCK_BYTES}, {:.2} for one byte of records",
                self.frame_bytes, self.write_amplification
            ),
        );
        if self.span_ns > 0 {
            text += &say("time", format!("{} to {}", self.first_time, self.last_time));
            text += &say(
                "rate",
                format!(
                    "{:.1}/s on average, {} at most in a second",
                    self.commands_per_s_mean, self.commands_per_s_max
                ),
            );
        }
        let mut rows = vec![["kind", "commands", "share", "bytes"].map(str::to_owned).to_vec()];
        let mut kinds: Vec<_> = self.kinds.iter().collect();
        kinds.sort_by_key(|(name, kind)| (std::cmp::Reverse(kind.commands), **name));
        rows.extend(kinds.into_iter().map(|(name, kind)| {
            let share = 100.0 * kind.commands as f64 / self.commands as f64;
            vec![
                (*name).to_owned(),
                kind.commands.to_string(),
                format!("{share:.2}%"),
                kind.record_bytes.to_string(),
            ]
        }));
        text += &format!("\n{}", table(&rows, &[false, true, true, true]));
        text += &histogram("commands in a frame, up to", &self.frames_by_commands);
        text += &histogram("blocks in a frame, up to", &self.frames_by_blocks);
        let most = self.rate.iter().map(|slot| slot.commands).max().unwrap_or(0);
        let mut rows = vec![["from", "commands", "per second", ""].map(str::to_owned).to_vec()];
        rows.extend(self.rate.iter().map(|slot| {
            let rate = format!("{:.1}", slot.commands_per_s);
            vec![slot.from.clone(), slot.commands.to_string(), rate, bar(slot.commands, most)]
        }));
        text + &format!("\n{}", table(&rows, &[false, true, true, false]))
    }
}

fn histogram(heading: &str, counts: &BTreeMap<u32, u64>) -> String {
    let most = counts.values().copied().max().unwrap_or(0);
    let mut rows = vec![vec![heading.to_owned(), "frames".to_owned(), String::new()]];
    rows.extend(
        counts.iter().map(|(up_to, count)| vec![up_to.to_string(), count.to_string(), bar(*count, most)]),
    );
    format!("\n{}", table(&rows, &[true, true, false]))
}

/// A bar of at most 40 characters; what is not nothing has one.
fn bar(of: u64, most: u64) -> String {
    let length = if of == 0 { 0 } else { (of * 40).div_ceil(most.max(1)) };
    "#".repeat(length as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_whatever_their_span() {
        let mut times = Times::default();
        for time in [0, 1, 999_999, 1_000_000, 5_000_000_000, 3_600_000_000_000] {
            times.add(Nanos(1_000 + time));
        }
        assert!(times.slots.len() <= Times::SLOTS);
        assert_eq!(times.slots.iter().sum::<u64>(), 6);
        assert_eq!(times.slots.first(), Some(&4), "the first slot has grown wider than the first four");
        let slots = times.at_most(24);
        assert!(slots.len() <= 24 && slots.len() > 10);
        assert_eq!(slots.iter().map(|slot| slot.commands).sum::<u64>(), 6);
        assert_eq!(slots.last().map(|slot| slot.commands), Some(1));
        assert_eq!(Times::default().at_most(24).len(), 0);
    }

    #[test]
    fn the_busiest_second_is_one_of_the_clock() {
        let mut seconds = Seconds::default();
        for time in [900_000_000, 999_999_999, 1_000_000_000, 1_500_000_000, 1_999_999_999, 7_000_000_000] {
            seconds.add(Nanos(time));
        }
        assert_eq!(seconds.max, 3);
    }

    #[test]
    fn bars_are_as_long_as_their_part() {
        assert_eq!((bar(0, 10), bar(1, 1_000_000)), (String::new(), "#".to_owned()));
        assert_eq!((bar(5, 10).len(), bar(10, 10).len()), (20, 40));
    }
}
