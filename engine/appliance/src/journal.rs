//! `ironbell journal`: a journal looked at by those who look after it. All but `repair --yes` and `void` only read, take
//! no lock, and may be used beside a running node: they then end where its first unfinished frame is.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use ironbell_store::{DataKey, Reader};

use crate::config::{self, Config};
use crate::failure::Failure;
use crate::moment::Moment;

mod dump;
mod entry;
mod names;
mod probe;
mod repair;
mod stats;
mod verify;
mod void;

pub use entry::{Entry, Fields, KINDS, entry};
pub use names::Names;

/// What to do with a journal.
#[derive(Subcommand)]
pub enum Options {
    /// Check everything there is to check: superblock, segments, every frame, the chain, the sequence, the end.
    ///
    /// Exit codes: 0 sound (a torn tail, which start would cut, is sound and said); 1 damaged, the line names file, byte
    /// and Seq of the first damage and what to do; 2 it could not be checked.
    Verify(verify::Options),
    /// Every command as one JSON object a line, with symbols, firms and ports by name and prices as exact decimals.
    Dump(dump::Options),
    /// The commands that match all that is asked for, as `dump` prints them. Exit code 1 when none does.
    Grep(dump::GrepOptions),
    /// What is in it: kinds, bytes, frames, how much more is written than said, commands over time.
    Stats(stats::Options),
    /// Do what start would do about the end of the journal: cut a torn tail, or refuse. With --dry-run only say it.
    Repair(repair::Options),
    /// Make a command void, which the state machine crashes at: it has no effect, on every replay from now on.
    ///
    /// Only when a replay takes everything before it and panics at it, and no answer to it can have been heard. The decision
    /// is kept in the superblock and recorded in the journal. The node must be stopped.
    Void(void::Options),
    /// Replay, saying before each step what it is: what `verify --replay` runs, since a panic ends the process.
    #[command(hide = true)]
    Probe(probe::Options),
}

/// Which journal.
#[derive(Args)]
pub struct Which {
    /// A node's data directory, or the journal folder in it; by default that of the configuration.
    dir: Option<PathBuf>,
    /// The key file that the journal was formatted with, if its records are enciphered. With a configuration, its own.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// The node's configuration, where no directory is given.
    #[arg(long, value_name = "FILE", default_value = "node.toml", conflicts_with = "dir")]
    config: PathBuf,
}

/// From where to where.
#[derive(Args)]
pub struct Range {
    /// The first command: a Seq, or a time in UTC such as 2026-11-21T09:30:00.
    #[arg(long, value_name = "SEQ|TIME")]
    from: Option<Moment>,
    /// The last command, likewise; included.
    #[arg(long, value_name = "SEQ|TIME")]
    to: Option<Moment>,
}

/// A journal found.
struct Journal {
    dir: PathBuf,
    key_file: Option<PathBuf>,
}

impl Which {
    fn find(&self) -> Result<Journal, Failure> {
        let Some(dir) = &self.dir else {
            let config = Config::read(&self.config)?;
            let key_file = self.key_file.clone().or(config.journal.key_file.clone());
            return Ok(Journal { dir: config.journal_dir(), key_file });
        };
        Ok(Journal { dir: journal_dir(dir), key_file: self.key_file.clone() })
    }
}

/// The journal folder of `dir`, which is a node's data directory or the folder itself.
#[must_use]
pub fn journal_dir(dir: &Path) -> PathBuf {
    let nested = dir.join("journal");
    if nested.is_dir() { nested } else { dir.to_owned() }
}

impl Journal {
    fn data_key(&self) -> Result<Option<Arc<DataKey>>, Failure> {
        config::data_key(&self.dir, self.key_file.as_deref())
    }

    fn reader(&self) -> Result<Reader, Failure> {
        Ok(Reader::deciphering(&self.dir, self.data_key()?)?)
    }
}

/// The command.
///
/// # Errors
/// As each says.
pub fn run(options: &Options) -> Result<(), Failure> {
    let ended = match options {
        Options::Verify(options) => verify::run(options),
        Options::Dump(options) => dump::run(options),
        Options::Grep(options) => dump::grep(options),
        Options::Stats(options) => stats::run(options),
        Options::Repair(options) => repair::run(options),
        Options::Void(options) => void::run(options),
        Options::Probe(options) => probe::run(options),
    };
    match ended {
        Ok(()) | Err(Ended::NobodyReads) => Ok(()),
        Err(Ended::Failed(failure)) => Err(failure),
    }
}

/// Why a command ends early.
enum Ended {
    /// Whoever read standard output has closed it (`| head`), which is no failure.
    NobodyReads,
    Failed(Failure),
}

impl<F: Into<Failure>> From<F> for Ended {
    fn from(failure: F) -> Self {
        Self::Failed(failure.into())
    }
}

/// Standard output, a line at a time.
struct Out(BufWriter<io::StdoutLock<'static>>);

impl Out {
    fn new() -> Self {
        Self(BufWriter::with_capacity(1 << 16, io::stdout().lock()))
    }

    fn line(&mut self, line: &str) -> Result<(), Ended> {
        ended(writeln!(self.0, "{line}"))
    }

    fn json(&mut self, value: &impl serde::Serialize) -> Result<(), Ended> {
        let text = serde_json::to_string(value)
            .map_err(|e| Failure::refused(format_args!("the answer cannot be written as JSON: {e}")))?;
        self.line(&text)
    }

    /// Writes what is left; without it a failure to do so would go unheard.
    fn finish(mut self) -> Result<(), Ended> {
        ended(self.0.flush())
    }
}

fn ended(written: io::Result<()>) -> Result<(), Ended> {
    match written {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Ended::NobodyReads),
        Err(error) => Err(Failure::refused(format_args!("standard output: {error}")).into()),
    }
}
