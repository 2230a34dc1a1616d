//! `ironbell journal void`: for the day on which a command crashes the state machine, on every node that executes it.

use std::path::PathBuf;

use clap::Args;
use ironbell_store::{Error, Void, Voids, survey};
use ironbell_types::{Command, Control, Seq, Sequenced, VoidReason};

use super::probe::{self, Outcome, Panic, Steps};
use super::{Ended, Journal, Out};
use crate::config::Config;
use crate::failure::Failure;

/// Arguments of `void`.
#[derive(Args)]
pub struct Options {
    /// The command: what `verify --replay` names.
    seq: u64,
    /// Why, in at most 48 ASCII characters; it is journaled.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// The node's configuration.
    #[arg(long, value_name = "FILE", default_value = "node.toml")]
    config: PathBuf,
}

pub(super) fn run(options: &Options) -> Result<(), Ended> {
    let config = Config::read(&options.config)?;
    let journal = Journal { dir: config.journal_dir(), key_file: config.journal.key_file.clone() };
    let seq = Seq(options.seq);
    let reason = VoidReason::new(options.reason.trim())
        .filter(|reason| !reason.as_str().is_empty())
        .ok_or_else(|| Failure::refused("--reason takes 1 to 48 ASCII characters; say it shorter"))?;
    if survey::in_use(&journal.dir)? {
        return Err(Error::Locked(journal.dir).into());
    }
    let voids = ironbell_store::superblock(&journal.dir)?.voids;
    match voids.get(seq) {
        Some(void) if void.recorded > Seq(0) => {
            let line =
                format!("Seq {seq} is void already: {}, recorded at Seq {}", void.reason, void.recorded);
            return Err(Failure::refused(line).into());
        }
        // It was begun, and replay takes the command's place already: what follows has been checked.
        Some(_) => {}
        None => check(&journal, seq, &voids, reason)?,
    }
    let recorded =
        ironbell_store::void(&journal.dir, &config.store_options(config.data_key()?), seq, reason)?;
    let mut out = Out::new();
    out.line(&format!("Seq {seq} is void: {reason}; recorded at Seq {recorded}"))?;
    out.line(&match probe::replay(&journal, Steps::default())? {
        Outcome::Replayed(hashes) => {
            format!("replay comes to Seq {}, state hash {}", hashes.seq, hashes.state_hash)
        }
        Outcome::Panicked { at, .. } => {
            format!("replay panics again, behind Seq {at}: `ironbell journal verify --replay` tells where")
        }
        Outcome::Failed(failure) => format!("replay fails now: {failure}"),
    })?;
    out.finish()
}

/// Whether the command may be made void.
fn check(journal: &Journal, seq: Seq, voids: &Voids, reason: VoidReason) -> Result<(), Failure> {
    let refused = |why: String| Err(Failure::refused(format_args!("Seq {seq} was not made void: {why}")));
    let command = heard_by_nobody(journal, seq)?;
    match command.command {
        Command::Tick
        | Command::MassCancelSlice(_)
        | Command::Control(
            Control::HaltOrderEntry { .. } | Control::SignedHead { .. } | Control::BeginGrace { .. },
        ) => {
            return refused(format!(
                "it is a {}, which the venue asks of itself and would ask again at once; run a version that takes it",
                command.command.name()
            ));
        }
        Command::Control(Control::Void { .. }) => {
            return refused("it is itself a decision of this kind".to_owned());
        }
        _ => {}
    }
    match probe::replay(journal, Steps { until: Some(seq), ..Steps::default() })? {
        Outcome::Replayed(_) => return refused("replay takes it; there is nothing to be done".to_owned()),
        Outcome::Failed(failure) => return Err(failure),
        Outcome::Panicked { at, said } => match probe::locate(journal, at, said)? {
            Panic::At { seq: at, .. } if at == seq => {}
            Panic::At { seq: at, said } => return refused(format!("replay panics at Seq {at}: {said}")),
            Panic::InFrame { first_seq, said } => {
                return refused(format!(
                    "replay panics in the frame that begins at Seq {first_seq} and not when its commands are executed one \
                     by one: {said}; report it"
                ));
            }
        },
    }
    let supposed = voids.with(Void { seq, recorded: Seq(0), reason });
    if supposed.is_none() {
        return refused("there are as many voids as there can be; run a version that takes it".to_owned());
    }
    let steps = Steps { until: Some(seq), void: Some(seq), ..Steps::default() };
    match probe::replay(journal, steps)? {
        Outcome::Replayed(_) => Ok(()),
        Outcome::Failed(failure) => Err(failure),
        Outcome::Panicked { said, .. } => refused(format!(
            "replay panics in its frame without it, too: {said}; name the other command first"
        )),
    }
}

/// The command at `seq`, if nobody can have heard what came of it.
///
/// An answer is released when its command is durable and executed. A frame is begun only when everything before it is
/// executed, and its header says up to where that was (`executed`) and what was committed (`commit`): so once any later
/// frame stands in the journal, be it the empty one at quiescence, the marks tell. What no mark reaches is what the last
/// frame with commands holds.
fn heard_by_nobody(journal: &Journal, seq: Seq) -> Result<Sequenced, Failure> {
    let mut reader = journal.reader()?;
    let mut command = None;
    while let Some(frame) = reader.next_frame()? {
        let header = frame.header;
        if (header.first_seq..=header.last_seq()).contains(&seq) {
            command = frame.commands.get((seq.0 - header.first_seq.0) as usize).copied();
        }
        let marks = [("executed", header.executed.seq), ("committed", header.commit)];
        if let Some((what, up_to)) = marks.into_iter().find(|(_, up_to)| *up_to >= seq) {
            return Err(Failure::refused(format_args!(
                "Seq {seq} was not made void: frame {} in {} says that everything up to Seq {up_to} was {what}, so its answer \
                 may have been heard; run the version that executed it",
                header.number,
                journal.dir.display()
            )));
        }
    }
    // A snapshot is made of what was committed, by a version that executed it.
    if let Some((snapshot, path)) =
        ironbell_store::snapshot::list(&journal.dir)?.first().filter(|(at, _)| *at >= seq)
    {
        return Err(Failure::refused(format_args!(
            "Seq {seq} was not made void: {} holds what came of everything up to Seq {snapshot}; a start from there does not \
             come to it",
            path.display()
        )));
    }
    let last = reader.chain().last_seq;
    command.ok_or_else(|| {
        Failure::refused(format_args!("there is no Seq {seq}: the journal goes from Seq 1 to Seq {last}"))
    })
}
