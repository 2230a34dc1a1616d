//! `ironbell journal dump` and `grep`: commands as JSON lines.

use clap::Args;
use ironbell_store::FrameHeader;
use ironbell_types::{Command, Control, Nanos, OrderKey, PortId, Seq, UserRefIdx, UserRefNum, VoidReason};
use serde::Serialize;
use serde_json::Value;

use super::entry::{Entry, Fields, KINDS, entry};
use super::{Ended, Names, Out, Range, Which};
use crate::failure::Failure;
use crate::inspection::hex;
use crate::moment::time_text;

/// Arguments of `dump`.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    range: Range,
    /// The headers of frames instead of the commands in them.
    #[arg(long)]
    frames: bool,
}

/// Arguments of `grep`.
#[derive(Args)]
#[group(id = "filter", required = true, multiple = true, args = ["firm", "port", "symbol", "order", "kind", "text"])]
pub struct GrepOptions {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    range: Range,
    /// The MPID of a firm: its members' commands, and operators' commands about it.
    #[arg(long)]
    firm: Option<String>,
    /// The user name of a port.
    #[arg(long)]
    port: Option<String>,
    /// A symbol; cancels and replacements are found by the order that they name.
    #[arg(long)]
    symbol: Option<String>,
    /// A member's order: its port and its UserRefNum, ALFA01:17, with the channel between them if there is one,
    /// ALFA01:2:17. Numbers begin again on each day.
    #[arg(long, value_name = "PORT[:IDX]:NUM")]
    order: Option<OrderText>,
    /// A kind of command, such as enter_order or set_rules; more than once for any of several.
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(KINDS.iter().copied()), hide_possible_values = true)]
    kind: Vec<String>,
    /// A part of any text of the command: of a ClOrdID, a name, a reason.
    #[arg(long)]
    text: Option<String>,
    /// Only how many there are.
    #[arg(long)]
    count: bool,
}

/// An order as a member names it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OrderText {
    port: String,
    idx: UserRefIdx,
    num: UserRefNum,
}

impl std::str::FromStr for OrderText {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split(':').collect();
        let (port, idx, num) = match parts[..] {
            [port, num] => (port, "0", num),
            [port, idx, num] => (port, idx, num),
            _ => ("", "", ""),
        };
        match (idx.parse(), num.parse()) {
            (Ok(idx), Ok(num)) if !port.is_empty() => {
                Ok(Self { port: port.to_uppercase(), idx: UserRefIdx(idx), num: UserRefNum(num) })
            }
            _ => Err(format!("{text:?} is no order: write ALFA01:17, or ALFA01:2:17 with a channel")),
        }
    }
}

/// A command as one line.
#[derive(Serialize)]
struct CommandLine<'a> {
    seq: u64,
    time: String,
    epoch: u64,
    kind: &'a str,
    /// Why it is void, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    void: Option<&'a str>,
    #[serde(flatten)]
    fields: &'a Fields,
}

/// A frame's header as one line.
#[derive(Serialize)]
struct FrameLine {
    number: u64,
    segment: u64,
    offset: u64,
    epoch: u64,
    first_seq: u64,
    count: u32,
    last_time: String,
    payload_bytes: u32,
    bytes: usize,
    durable_frames: u64,
    commit_seq: u64,
    executed_seq: u64,
    output_hash: String,
    enciphered: bool,
    previous: String,
    chain: String,
}

impl FrameLine {
    fn new(header: &FrameHeader, segment: u64) -> Self {
        Self {
            number: header.number,
            segment,
            offset: header.place.offset,
            epoch: header.epoch,
            first_seq: header.first_seq.0,
            count: header.count,
            last_time: time_text(header.last_time),
            payload_bytes: header.payload_bytes,
            bytes: header.frame_bytes(),
            durable_frames: header.durable_frames,
            commit_seq: header.commit.0,
            executed_seq: header.executed.seq.0,
            output_hash: format!("{:032x}", header.executed.output_hash),
            enciphered: header.tag.is_some(),
            previous: hex(&header.previous.0),
            chain: hex(&header.chain.0),
        }
    }
}

pub(super) fn run(options: &Options) -> Result<(), Ended> {
    let mut out = Out::new();
    if options.frames {
        let mut reader = options.which.find()?.reader()?;
        let range = &options.range;
        loop {
            let Some(header) = reader.next_frame()?.map(|frame| frame.header) else { break };
            let (last_seq, last_time) = (header.last_seq(), header.last_time);
            let passed = |to: &crate::moment::Moment| to.passed(header.first_seq, last_time);
            if range.from.is_some_and(|from| !from.reached(last_seq, last_time)) {
                continue;
            }
            if range.to.as_ref().is_some_and(passed) {
                break;
            }
            out.json(&FrameLine::new(&header, reader.segment_index()))?;
        }
        return out.finish();
    }
    commands(&options.which, &options.range, |at| out.json(&at.line()))?;
    out.finish()
}

pub(super) fn grep(options: &GrepOptions) -> Result<(), Ended> {
    let mut out = Out::new();
    let mut found = 0_u64;
    commands(&options.which, &options.range, |at| {
        if !options.matches(&at.entry) {
            return Ok(());
        }
        found += 1;
        if options.count { Ok(()) } else { out.json(&at.line()) }
    })?;
    if options.count {
        out.line(&found.to_string())?;
    }
    out.finish()?;
    if found == 0 {
        return Err(Failure::check("no command matches; `ironbell journal stats` lists what is there").into());
    }
    Ok(())
}

/// A command of the journal, in words.
struct At {
    seq: Seq,
    time: Nanos,
    epoch: u64,
    entry: Entry,
    void: Option<VoidReason>,
}

impl At {
    fn line(&self) -> CommandLine<'_> {
        CommandLine {
            seq: self.seq.0,
            time: time_text(self.time),
            epoch: self.epoch,
            kind: self.entry.kind,
            void: self.void.as_ref().map(VoidReason::as_str),
            fields: &self.entry.fields,
        }
    }
}

/// Each command of the range, in words.
fn commands(
    which: &Which,
    range: &Range,
    mut each: impl FnMut(&At) -> Result<(), Ended>,
) -> Result<(), Ended> {
    let mut reader = which.find()?.reader()?;
    let mut names = Names::default();
    // Names are defined from the beginning on, wherever the range begins; the chain is checked from there, too.
    while let Some(frame) = reader.next_frame()? {
        for sequenced in frame.commands {
            let (seq, time) = (sequenced.seq, sequenced.time);
            if range.to.is_some_and(|to| to.passed(seq, time)) {
                return Ok(());
            }
            if range.from.is_none_or(|from| from.reached(seq, time)) {
                // What is void is shown as it was given.
                let given = frame.voided.iter().find(|voided| voided.seq == seq);
                let void = match (given, sequenced.command) {
                    (Some(_), Command::Control(Control::Void { reason, .. })) => Some(reason),
                    _ => None,
                };
                let entry = entry(&given.unwrap_or(sequenced).command, &names);
                each(&At { seq, time, epoch: frame.header.epoch, entry, void })?;
            }
            names.observe(&sequenced.command);
        }
    }
    Ok(())
}

impl GrepOptions {
    fn matches(&self, entry: &Entry) -> bool {
        let asked = |name: &Option<String>, found: &[String]| {
            name.as_ref().is_none_or(|name| found.iter().any(|found| found.eq_ignore_ascii_case(name)))
        };
        asked(&self.firm, &entry.firms)
            && asked(&self.port, &entry.ports)
            && asked(&self.symbol, &entry.symbols)
            && self.order.as_ref().is_none_or(|order| order.is_named(entry))
            && (self.kind.is_empty() || self.kind.iter().any(|kind| kind == entry.kind))
            && self.text.as_ref().is_none_or(|text| says(&entry.fields, text))
    }
}

impl OrderText {
    /// The port stands by its name in the text and by its number in the key.
    fn is_named(&self, entry: &Entry) -> bool {
        let same = |key: &OrderKey| (key.idx(), key.num()) == (self.idx, self.num);
        entry.ports.contains(&self.port)
            && entry.orders.iter().any(|key| key.port() != PortId(0) && same(key))
    }
}

fn says(fields: &Fields, text: &str) -> bool {
    fields.0.iter().any(|(_, value)| matches!(value, Value::String(value) if value.contains(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_named_by_port_channel_and_number() {
        let order = |port: &str, idx, num| {
            Ok(OrderText { port: port.to_owned(), idx: UserRefIdx(idx), num: UserRefNum(num) })
        };
        assert_eq!("alfa01:17".parse(), order("ALFA01", 0, 17));
        assert_eq!("ALFA01:2:17".parse(), order("ALFA01", 2, 17));
        for text in ["", "17", ":17", "ALFA01:", "ALFA01:x", "ALFA01:256:1", "A:1:2:3"] {
            assert!(text.parse::<OrderText>().expect_err(text).contains("ALFA01:17"));
        }
    }
}
