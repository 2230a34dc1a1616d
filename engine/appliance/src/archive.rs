//! `ironbell archive` and `ironbell restore`: sealed segments out of the data directory, and back.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use ironbell_archive::{Archiving, Depot, Entry, Journal, check, depot};
use ironbell_types::Seq;

use crate::config::Config;
use crate::failure::Failure;

/// What `ironbell archive` is told.
#[derive(Args)]
pub struct Archive {
    /// Where to: a folder, on another disk if it is to outlive this one, or s3://BUCKET/PREFIX (credentials from the
    /// environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT).
    place: String,
    /// The node's configuration.
    #[arg(long, value_name = "FILE", default_value = "node.toml")]
    config: PathBuf,
    /// Take only segments all of whose commands come before this Seq. By itself it takes what the newest
    /// `snapshot.keep` snapshots do not need; beyond that a start may need segments that must first be restored.
    #[arg(long, value_name = "SEQ")]
    before: Option<u64>,
    /// Leave the segments in the journal too.
    #[arg(long)]
    copy: bool,
}

/// What `ironbell restore` is told.
#[derive(Args)]
pub struct Restore {
    /// The archive, as `ironbell archive` was told.
    place: String,
    /// The node's configuration.
    #[arg(long, value_name = "FILE", default_value = "node.toml")]
    config: PathBuf,
    /// Bring back only what is needed to read from this Seq on.
    #[arg(long, value_name = "SEQ", default_value_t = 0, conflicts_with = "check")]
    from: u64,
    /// Write nothing: read the whole archive, and check it as if it were brought back.
    #[arg(long)]
    check: bool,
}

/// `ironbell archive`.
///
/// # Errors
/// When the place or the journal cannot be used, a segment is damaged, or its copy does not read back right. What was
/// moved until then is in the archive, the rest in the journal.
pub fn archive(options: &Archive) -> Result<(), Failure> {
    let (journal, depot) = open(&options.config, &options.place)?;
    let before = match options.before {
        Some(before) => Seq(before),
        None => match not_needed(&options.config)? {
            Ok(before) => before,
            // A young node has nothing for a nightly job to do, and that is no failure of the job.
            Err(why) => {
                say(&why);
                return Ok(());
            }
        },
    };
    let archiving = Archiving { before, copy: options.copy };
    let moved = ironbell_archive::archive(&journal, &*depot, archiving, &mut told)?;
    let done = if options.copy { "are in" } else { "were moved to" };
    say(&summary(moved, done, &*depot));
    Ok(())
}

/// Up to where a start needs nothing of the journal; or why it may need all of it.
fn not_needed(config: &Path) -> Result<Result<Seq, String>, Failure> {
    let config = Config::read(config)?;
    let keep = config.snapshot.keep;
    let needed = ironbell_store::snapshot::oldest_needed(&config.journal_dir(), keep)?;
    Ok(needed.map(|needed| needed.seq).ok_or_else(|| {
        format!(
            "nothing to archive yet: there are fewer than {keep} snapshots (snapshot.keep), and a start may need all of the \
             journal; --before says how far to go all the same"
        )
    }))
}

/// `ironbell restore`.
///
/// # Errors
/// When the place or the journal cannot be used, or what is there is damaged or not this journal's. What was brought back
/// until then goes on without a gap to what was there.
pub fn restore(options: &Restore) -> Result<(), Failure> {
    let (journal, depot) = open(&options.config, &options.place)?;
    if options.check {
        let checked = check(&journal, &*depot, &mut told)?.segments.len();
        say(&summary(checked, "are sound in", &*depot));
    } else {
        let restored = ironbell_archive::restore(&journal, &*depot, Seq(options.from), &mut told)?;
        say(&summary(restored, "were brought back from", &*depot));
    }
    Ok(())
}

fn open(config: &Path, place: &str) -> Result<(Journal, Box<dyn Depot>), Failure> {
    let config = Config::read(config)?;
    let journal = Journal::open(&config.journal_dir(), config.data_key()?)?;
    Ok((journal, depot::open(place)?))
}

fn told(entry: &Entry) {
    let facts = &entry.facts;
    say(&format!(
        "segment {}: Seq {} to {}, {} bytes as {}",
        facts.index, facts.first_seq, facts.last_seq, entry.object_bytes, entry.object
    ));
}

fn summary(count: usize, done: &str, depot: &dyn Depot) -> String {
    let segments = if count == 1 { "1 segment".to_owned() } else { format!("{count} segments") };
    format!("{segments} {done} {}", depot.place())
}

/// What was done stays done when nobody reads it.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
