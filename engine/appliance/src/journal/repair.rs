//! `ironbell journal repair`: what start would do about the end of a journal, said or done.

use std::path::PathBuf;

use clap::Args;
use ironbell_store::{Error, survey};

use super::{Ended, Journal, Out};
use crate::config::Config;
use crate::failure::Failure;

/// Arguments of `repair`.
#[derive(Args)]
pub struct Options {
    /// The node's configuration: where the journal is, its key file, how durable its writes are.
    #[arg(long, value_name = "FILE", default_value = "node.toml")]
    config: PathBuf,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Do it.
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
}

pub(super) fn run(options: &Options) -> Result<(), Ended> {
    let config = Config::read(&options.config)?;
    let journal = Journal { dir: config.journal_dir(), key_file: config.journal.key_file.clone() };
    if !options.yes {
        let would = would_do(&journal)?;
        let mut out = Out::new();
        out.line(&would)?;
        out.finish()?;
        if options.dry_run {
            return Ok(());
        }
        return Err(Failure::refused(
            "nothing was changed; give --yes to do it, or --dry-run only to be told",
        )
        .into());
    }
    let store = config.store_options(config.data_key()?);
    let (found, mut writer, _maker) = ironbell_store::open(&journal.dir, &store)?;
    writer.seal()?;
    let mut out = Out::new();
    out.line(&match &found.torn {
        None => "nothing was torn".to_owned(),
        Some(torn) => format!(
            "cut {} bytes at byte {} of {}, kept as {}",
            torn.bytes,
            torn.offset,
            torn.path.display(),
            torn.kept.display()
        ),
    })?;
    out.line(&format!(
        "the journal ends at Seq {} behind {} frames; epoch {} was begun and closed in order",
        found.last_seq, found.frames, found.epoch
    ))?;
    out.finish()
}

/// What start would do. What it would refuse is a check that failed.
fn would_do(journal: &Journal) -> Result<String, Failure> {
    if survey::in_use(&journal.dir)? {
        return Err(Error::Locked(journal.dir.clone()).into());
    }
    let refused = |error: Error| match error {
        Error::Damaged { .. } | Error::Layout { .. } | Error::Memory { .. } | Error::Superblock { .. } => {
            Failure::check(format_args!("start would refuse: {error}"))
        }
        other => other.into(),
    };
    let superblock = ironbell_store::superblock(&journal.dir).map_err(refused)?;
    let mut reader = journal.reader()?;
    while reader.next_frame().map_err(refused)?.is_some() {}
    survey::check_end(&journal.dir, &reader).map_err(refused)?;
    let chain = reader.chain();
    let cut = match survey::torn_tail(&journal.dir, &reader)? {
        None => "nothing is torn".to_owned(),
        Some(torn) => format!(
            "start would cut a write that never ended, {} bytes at byte {} of {}, and keep them as {}; nobody was ever told \
             of what was in them",
            torn.bytes,
            torn.offset,
            torn.path.display(),
            torn.kept.display()
        ),
    };
    Ok(format!(
        "{cut}\nstart would go on behind Seq {} and {} frames, in epoch {}",
        chain.last_seq,
        chain.frames,
        superblock.promised_epoch + 1
    ))
}
