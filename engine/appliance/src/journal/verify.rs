//! `ironbell journal verify`: everything that can be checked.

use clap::Args;
use ironbell_store::{Error, Reader, Superblock, survey};
use ironbell_types::Seq;
use serde::Serialize;

use super::probe::{self, Outcome, Panic, Steps};
use super::{Ended, Journal, Out, Which};
use crate::failure::Failure;
use crate::inspection::{Hashes, hex, table};
use crate::moment::time_text;

/// Arguments of `verify`.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    which: Which,
    /// Execute every command as well, in a process of its own, and compare each output hash that the frames carry.
    #[arg(long)]
    replay: bool,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Default, Serialize)]
struct Report {
    journal: String,
    cluster: String,
    node: String,
    /// A node has it open for writing.
    in_use: bool,
    enciphered: bool,
    superblock_copies_sound: usize,
    superblock_update: u64,
    promised_epoch: u64,
    /// It was closed in order.
    closed: bool,
    segments: Vec<SegmentLine>,
    voids: Vec<VoidLine>,
    frames: u64,
    frames_empty: u64,
    epochs: u64,
    commands: u64,
    first_time: String,
    last_time: String,
    last_seq: u64,
    commit_seq: u64,
    executed_seq: u64,
    chain: String,
    /// Bytes behind the last frame that are no frame.
    tail_bytes: u64,
    /// What that means.
    end: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    replay: Option<Hashes>,
    sound: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<Damage>,
}

#[derive(Serialize)]
struct SegmentLine {
    file: String,
    bytes: u64,
    frames: u64,
    /// Bytes up to the end of its last frame.
    used: u64,
    first_seq: u64,
    last_seq: u64,
}

/// A command without effect.
#[derive(Serialize)]
struct VoidLine {
    seq: u64,
    reason: String,
    /// 0 while the journal does not record it.
    recorded_seq: u64,
}

/// The first thing that is wrong.
#[derive(Serialize)]
struct Damage {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    what: String,
}

impl Damage {
    /// What the journal itself is to blame for; everything else could not be checked.
    fn of(error: &Error) -> Option<Self> {
        let (file, offset, seq) = match error {
            Error::Damaged { path, offset, seq, .. } => (Some(path), Some(*offset), Some(seq.0)),
            Error::Layout { path, .. } => (Some(path), Some(0), None),
            Error::Superblock { path, .. } => (Some(path), None, None),
            Error::Memory { .. } => (None, None, None),
            _ => return None,
        };
        let file = file.map(|path| path.display().to_string());
        Some(Self { file, offset, seq, what: error.to_string() })
    }
}

pub(super) fn run(options: &Options) -> Result<(), Ended> {
    let journal = options.which.find()?;
    let mut report = Report { journal: journal.dir.display().to_string(), ..Report::default() };
    let checked = check(&journal, options.replay, &mut report);
    let found = match checked {
        Ok(()) => {
            report.sound = true;
            Ok(())
        }
        Err(Bad::Damage(damage)) => {
            let line = damage.what.clone();
            report.damage = Some(damage);
            Err(Failure::check(line))
        }
        Err(Bad::Unchecked(failure)) => return Err(failure.into()),
    };
    let mut out = Out::new();
    if options.json {
        out.json(&report)?;
    } else {
        out.line(report.told().trim_end())?;
    }
    out.finish()?;
    Ok(found?)
}

/// Why it is not sound, or not known to be.
enum Bad {
    Damage(Damage),
    Unchecked(Failure),
}

impl From<Error> for Bad {
    fn from(error: Error) -> Self {
        Damage::of(&error).map_or_else(|| Self::Unchecked(error.into()), Self::Damage)
    }
}

impl From<Failure> for Bad {
    fn from(failure: Failure) -> Self {
        Self::Unchecked(failure)
    }
}

fn check(journal: &Journal, replays: bool, report: &mut Report) -> Result<(), Bad> {
    let dir = &journal.dir;
    let superblock = ironbell_store::superblock(dir)?;
    superblock_found(&superblock, report);
    report.superblock_copies_sound =
        survey::superblock_copies(dir)?.iter().filter(|copy| copy.is_ok()).count();
    report.in_use = survey::in_use(dir)?;
    let mut reader = journal.reader()?;
    let walked = walk(&mut reader, report);
    let chain = reader.chain();
    (report.frames, report.commands) = (chain.frames, reader.commands_read());
    (report.last_seq, report.last_time) = (chain.last_seq.0, time_text(chain.last_time));
    (report.commit_seq, report.executed_seq) = (chain.commit.0, chain.executed.seq.0);
    report.chain = hex(&chain.hash.0);
    walked?;
    for (path, header) in survey::segments(dir)? {
        if report.segments.iter().all(|segment| !path.ends_with(&segment.file)) {
            let file = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            let bytes = header.bytes;
            report.segments.push(SegmentLine { file, bytes, frames: 0, used: 0, first_seq: 0, last_seq: 0 });
        }
    }
    report.tail_bytes = reader.tail().torn_bytes;
    // A node that runs has noted no end, and what it is writing is not over.
    survey::check_end(dir, &reader)?;
    report.end = match survey::torn_tail(dir, &reader)? {
        _ if report.in_use => "a node is writing it".to_owned(),
        Some(torn) => format!(
            "a write that never ended: {} bytes at byte {} of {}; start will cut them and keep them as {}",
            torn.bytes,
            torn.offset,
            torn.path.display(),
            torn.kept.display()
        ),
        None if report.closed => "closed in order".to_owned(),
        None => "not closed in order; nothing is torn".to_owned(),
    };
    if replays {
        report.replay = Some(replayed(journal, Seq(report.last_seq))?);
    }
    Ok(())
}

fn superblock_found(superblock: &Superblock, report: &mut Report) {
    report.cluster = hex(&superblock.identity.cluster);
    report.node = format!("{:016x}", superblock.node);
    report.enciphered = !superblock.wrapped_key.bytes().is_empty();
    report.superblock_update = superblock.update;
    report.promised_epoch = superblock.promised_epoch;
    report.closed = superblock.end.is_some();
    report.voids = superblock
        .voids
        .iter()
        .map(|void| VoidLine {
            seq: void.seq.0,
            reason: void.reason.to_string(),
            recorded_seq: void.recorded.0,
        })
        .collect();
}

fn walk(reader: &mut Reader, report: &mut Report) -> Result<(), Bad> {
    let mut epoch = 0;
    loop {
        let Some(frame) = reader.next_frame()? else { return Ok(()) };
        let header = frame.header;
        if report.first_time.is_empty()
            && let Some(first) = frame.commands.first()
        {
            report.first_time = time_text(first.time);
        }
        report.frames_empty += u64::from(header.count == 0);
        report.epochs += u64::from(header.epoch != epoch);
        epoch = header.epoch;
        let file = format!("{:010}.segment", reader.segment_index());
        if report.segments.last().is_none_or(|segment| segment.file != file) {
            let (bytes, first_seq) = (reader.segment_bytes(), header.first_seq.0);
            report.segments.push(SegmentLine { file, bytes, frames: 0, used: 0, first_seq, last_seq: 0 });
        }
        let segment = report.segments.last_mut().expect("pushed above");
        segment.frames += 1;
        segment.used = header.place.offset + header.frame_bytes() as u64;
        segment.last_seq = header.last_seq().0;
    }
}

/// Executes all of it in another process; `last_seq` is where this one found the end.
fn replayed(journal: &Journal, last_seq: Seq) -> Result<Hashes, Bad> {
    let damage =
        |seq: Seq, what: String| Bad::Damage(Damage { file: None, offset: None, seq: Some(seq.0), what });
    // A node that runs goes on meanwhile: no further than what was checked here.
    let steps = Steps { until: Some(last_seq), ..Steps::default() };
    match probe::replay(journal, steps)? {
        Outcome::Replayed(hashes) => Ok(hashes),
        Outcome::Panicked { at, said } => Err(match probe::locate(journal, at, said)? {
            Panic::At { seq, said } => damage(
                seq,
                format!(
                    "replay panics at Seq {seq}: {said}; `ironbell journal dump --from {seq} --to {seq}` shows the command: \
                     report it, and run a version that takes it, or make it void (`ironbell journal void`)"
                ),
            ),
            Panic::InFrame { first_seq, said } => damage(
                first_seq,
                format!(
                    "replay panics in the frame that begins at Seq {first_seq}, and not when its commands are executed one by \
                     one: {said}; report it"
                ),
            ),
        }),
        // A hash that differs is a check that failed; everything else is no replay.
        Outcome::Failed(failure) if failure.code == crate::failure::CODE_CHECK => {
            Err(damage(last_seq, failure.to_string()))
        }
        Outcome::Failed(failure) => Err(Bad::Unchecked(failure)),
    }
}

impl Report {
    fn told(&self) -> String {
        let say = |name: &str, what: String| format!("{name:<12} {what}\n");
        let mut text = say(
            "journal",
            format!(
                "{}, cluster {}, node {}{}{}",
                self.journal,
                self.cluster,
                self.node,
                if self.enciphered { ", enciphered" } else { "" },
                if self.in_use { ", in use by a running node" } else { "" }
            ),
        );
        text += &say(
            "superblock",
            format!(
                "update {}, {} of 4 copies sound, epoch {} promised",
                self.superblock_update, self.superblock_copies_sound, self.promised_epoch
            ),
        );
        text += &say(
            "frames",
            format!(
                "{} ({} empty) in {} epochs, chain {}",
                self.frames, self.frames_empty, self.epochs, self.chain
            ),
        );
        text += &say(
            "commands",
            format!(
                "{}, Seq {} the last, {} to {}",
                self.commands, self.last_seq, self.first_time, self.last_time
            ),
        );
        text += &say(
            "marks",
            format!("commit at Seq {}, output hash at Seq {}", self.commit_seq, self.executed_seq),
        );
        for void in &self.voids {
            let recorded = match void.recorded_seq {
                0 => {
                    "not recorded in the journal yet: give the same `ironbell journal void` again".to_owned()
                }
                seq => format!("recorded at Seq {seq}"),
            };
            text += &say("void", format!("Seq {}: {}; {recorded}", void.seq, void.reason));
        }
        if let Some(hashes) = &self.replay {
            text += &say(
                "replay",
                format!(
                    "as written down; output hash {}, state hash {}",
                    hashes.output_hash, hashes.state_hash
                ),
            );
        }
        if !self.end.is_empty() {
            text += &say("end", self.end.clone());
        }
        text += &say("verdict", if self.sound { "sound".to_owned() } else { "NOT SOUND".to_owned() });
        text.push('\n');
        let heading =
            ["segment", "bytes", "frames", "used", "first seq", "last seq"].map(str::to_owned).to_vec();
        let mut rows = vec![heading];
        rows.extend(self.segments.iter().map(|s| {
            let seq = |seq: u64| if s.frames == 0 { String::new() } else { seq.to_string() };
            let numbers = [s.bytes, s.frames, s.used].map(|number| number.to_string());
            [vec![s.file.clone()], numbers.to_vec(), vec![seq(s.first_seq), seq(s.last_seq)]].concat()
        }));
        text + &table(&rows, &[false, true, true, true, true, true])
    }
}
