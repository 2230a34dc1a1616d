//! A replay in a process of its own. A command that breaks an invariant of the state machine ends the process it is
//! executed in; who wants to know which one it was watches from outside.
//!
//! The child says, unbuffered, `at SEQ` before each step, and in the end `done` and the hashes as JSON.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use clap::Args;
use ironbell_store::Void;
use ironbell_types::{Seq, VoidReason};

use super::{Ended, Journal, Which};
use crate::failure::Failure;
use crate::inspection::{self, Hashes};
use crate::recovery::Replay;

/// Arguments of `probe`.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    which: Which,
    /// From the frame that holds this Seq on, execute the commands one by one.
    #[arg(long, value_name = "SEQ")]
    singly_from: Option<u64>,
    /// End behind the frame that holds this Seq.
    #[arg(long, value_name = "SEQ")]
    until: Option<u64>,
    /// As if this command was void.
    #[arg(long, value_name = "SEQ")]
    void: Option<u64>,
}

/// What became of a replay.
pub(super) enum Outcome {
    /// It came to the end, and every output hash that was written down is its own.
    Replayed(Hashes),
    /// It panicked in the step that begins at this Seq.
    Panicked { at: Seq, said: String },
    /// It said this instead.
    Failed(Failure),
}

/// How far and how a replay goes.
#[derive(Clone, Copy, Default)]
pub(super) struct Steps {
    pub singly_from: Option<Seq>,
    pub until: Option<Seq>,
    pub void: Option<Seq>,
}

/// Replays `journal` in a process of its own.
pub(super) fn replay(journal: &Journal, steps: Steps) -> Result<Outcome, Failure> {
    let program = std::env::current_exe()
        .map_err(|e| Failure::refused(format_args!("this program's own file: {e}; start it by its path")))?;
    let mut command = Command::new(&program);
    command.args(["journal", "probe"]).arg(&journal.dir);
    if let Some(key_file) = &journal.key_file {
        command.arg("--key-file").arg(key_file);
    }
    let Steps { singly_from, until, void } = steps;
    for (name, seq) in [("--singly-from", singly_from), ("--until", until), ("--void", void)] {
        if let Some(Seq(seq)) = seq {
            command.arg(name).arg(seq.to_string());
        }
    }
    watch(&program, command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))
}

fn watch(program: &Path, command: &mut Command) -> Result<Outcome, Failure> {
    let failed = |e| Failure::file(program, e, "see that it can be executed");
    let mut child = command.spawn().map_err(failed)?;
    let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    // What it says when it panics is a few lines, which the pipe holds until it is read.
    let (mut at, mut hashes) = (Seq(0), None);
    for line in stdout.lines() {
        let line = line.map_err(failed)?;
        if let Some(seq) = line.strip_prefix("at ").and_then(|seq| seq.parse().ok()) {
            at = Seq(seq);
        } else if let Some(json) = line.strip_prefix("done ") {
            hashes = serde_json::from_str(json).ok();
        }
    }
    let output = child.wait_with_output().map_err(failed)?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match (hashes, output.status.code()) {
        (Some(hashes), Some(0)) => Ok(Outcome::Replayed(hashes)),
        _ if panicked(output.status) => Ok(Outcome::Panicked { at, said: panic_line(&said) }),
        (_, Some(code)) => {
            let line = said.strip_prefix("ironbell: ").unwrap_or(&said).to_owned();
            let code = u8::try_from(code).unwrap_or(crate::failure::CODE_REFUSED);
            Ok(Outcome::Failed(Failure::of_child(code, line)))
        }
        (_, None) => Ok(Outcome::Failed(Failure::refused(format_args!(
            "the replay was ended at Seq {at} by {}; see that the machine has memory enough",
            output.status
        )))),
    }
}

/// A release build aborts on a panic, and so does a stack that overflows; other builds unwind, with this exit code.
fn panicked(status: ExitStatus) -> bool {
    const SIGABRT: i32 = 6;
    const PANIC_CODE: i32 = 101;
    status.signal() == Some(SIGABRT) || status.code() == Some(PANIC_CODE)
}

/// Of what a panic prints: where and what, on one line.
fn panic_line(said: &str) -> String {
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let from = lines.iter().position(|line| line.contains("panicked at")).unwrap_or(0);
    let ends = |line: &&str| line.starts_with("note: ") || line.starts_with("stack backtrace");
    let told: Vec<&str> = lines[from..].iter().copied().take_while(|line| !ends(line)).collect();
    told.join(" ")
}

/// The child.
pub(super) fn run(options: &Options) -> Result<(), Ended> {
    let journal = options.which.find()?;
    let mut reader = journal.reader()?;
    if let Some(seq) = options.void {
        let known = ironbell_store::superblock(&journal.dir)?.voids;
        let void = Void { seq: Seq(seq), recorded: Seq(0), reason: VoidReason::default() };
        reader.suppose(known.with(void).ok_or_else(|| Failure::refused("there are too many voids"))?);
    }
    let mut replay = Replay::new(reader.identity().key);
    let mut out = std::io::stdout().lock();
    let mut say = |line: String| super::ended(out.write_all(line.as_bytes()).and_then(|()| out.flush()));
    while let Some(frame) = reader.next_frame()? {
        let header = &frame.header;
        if options.until.is_some_and(|until| header.first_seq.0 > until) {
            break;
        }
        if options.singly_from.is_none_or(|from| header.last_seq().0 < from) || frame.commands.is_empty() {
            if !frame.commands.is_empty() {
                say(format!("at {}\n", header.first_seq))?;
            }
            replay.frame(header, frame.commands)?;
            continue;
        }
        for command in frame.commands.chunks(1) {
            say(format!("at {}\n", command[0].seq))?;
            replay.frame(header, command)?;
        }
    }
    let hashes = inspection::hashes(&replay.finish().engine);
    let json = serde_json::to_string(&hashes).map_err(Failure::refused)?;
    say(format!("done {json}\n"))
}

/// Which command a replay panics at, if it does.
pub(super) enum Panic {
    /// At this one.
    At { seq: Seq, said: String },
    /// In the frame that begins here, but not when its commands are executed one by one.
    InFrame { first_seq: Seq, said: String },
}

/// Finds the command at which the replay that panicked in the frame that begins at `first_seq` panics.
pub(super) fn locate(journal: &Journal, first_seq: Seq, said: String) -> Result<Panic, Failure> {
    // Behind the frame there is nothing to be learnt.
    let steps = Steps { singly_from: Some(first_seq), until: Some(first_seq), void: None };
    match replay(journal, steps)? {
        Outcome::Panicked { at, said } => Ok(Panic::At { seq: at, said }),
        Outcome::Replayed(_) => Ok(Panic::InFrame { first_seq, said }),
        Outcome::Failed(failure) => Err(failure),
    }
}
