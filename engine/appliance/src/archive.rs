//! `ironbell archive` and `ironbell restore`: sealed segments out of the data directory, and back.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use ironbell_archive::{Archiving, Depot, Entry, Journal, check, depot};
use ironbell_hsm::Note;
use ironbell_types::Seq;
use sha2::{Digest as _, Sha256};
use tracing::field::Empty;

use crate::config::Config;
use crate::failure::Failure;
use crate::manifest;
use crate::signing::{self, Files};
use crate::telemetry::span;

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
    /// The venue's verifier keys: nothing is brought back from an archive whose manifest they did not sign.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// `ironbell archive`.
///
/// # Errors
/// When the place or the journal cannot be used, a segment is damaged, or its copy does not read back right. What was
/// moved until then is in the archive, the rest in the journal.
pub fn archive(options: &Archive) -> Result<(), Failure> {
    let config = Config::read(&options.config)?;
    let _spans = config.telemetry.start()?;
    let span = span!("archive", segments = Empty).entered();
    let (journal, depot) = open(&config, &options.place)?;
    let before = match options.before {
        Some(before) => Seq(before),
        None => match not_needed(&config)? {
            Ok(before) => before,
            // A young node has nothing for a nightly job to do, and that is no failure of the job.
            Err(why) => {
                say(&why);
                return Ok(());
            }
        },
    };
    let archiving = Archiving { before, copy: options.copy };
    let moved = span!("move segments")
        .in_scope(|| ironbell_archive::archive(&journal, &*depot, archiving, &mut told))?;
    span.record("segments", moved as u64);
    let done = if options.copy { "are in" } else { "were moved to" };
    say(&summary(moved, done, &*depot));
    span!("have the manifest signed").in_scope(|| have_signed(&config, &*depot))
}

/// The archive's manifest, and the note that the venue signed of it.
const MANIFEST: &str = "manifest.json";
const NOTE: &str = "manifest.json.note";
/// How long the signing process is waited for.
const SIGNED_WITHIN: Duration = Duration::from_secs(10);

/// Has the signing process sign the archive's manifest, if it is not signed yet, and puts the note beside it.
fn have_signed(config: &Config, depot: &dyn Depot) -> Result<(), Failure> {
    let (Some(signing), Some(manifest)) = (&config.signing, depot.get(MANIFEST)?) else { return Ok(()) };
    let hash: [u8; 32] = Sha256::digest(&manifest).into();
    if depot.get(NOTE)?.is_some_and(|note| is_of(&note, &hash)) {
        return Ok(());
    }
    let text = signing::manifest(&signing.origin, "archive", MANIFEST, &hash);
    let short: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let (asked, signed) = Files::of(config).manifest(&format!("archive-{short}"));
    if !signed.exists() {
        ironbell_hsm::write_durably(&asked, &text).map_err(|e| {
            Failure::refused(format_args!(
                "the archive is whole; its manifest is not signed: {e}; start `ironbell sign` once"
            ))
        })?;
    }
    let begun = Instant::now();
    while !signed.exists() {
        if begun.elapsed() > SIGNED_WITHIN {
            say(
                "its manifest is not signed yet: let `ironbell sign` run, and then `ironbell archive` once more",
            );
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let note = std::fs::read(&signed).map_err(|e| Failure::file(&signed, e, "make it readable"))?;
    depot.put(NOTE, &note)?;
    say("its manifest is signed");
    Ok(())
}

fn is_of(note: &[u8], hash: &[u8; 32]) -> bool {
    let note = std::str::from_utf8(note).ok().and_then(|text| Note::parse(text).ok());
    note.is_some_and(|note| {
        signing::read_manifest(&note.text).is_some_and(|(_, _, _, signed)| signed == *hash)
    })
}

/// Whether the venue signed the archive's manifest.
fn is_signed(depot: &dyn Depot, keys: &Path) -> Result<(), Failure> {
    let unsigned = || {
        Failure::check(format_args!(
            "{}: its manifest is not signed: run `ironbell archive` beside `ironbell sign`",
            depot.place()
        ))
    };
    let (manifest, note) = depot.get(MANIFEST)?.zip(depot.get(NOTE)?).ok_or_else(unsigned)?;
    let note = String::from_utf8(note).map_err(|_| Failure::check("the note of its manifest is no text"))?;
    let note = Note::parse(&note).map_err(Failure::check)?;
    manifest::verified(&note, &manifest::read_keys(keys)?)?;
    match signing::read_manifest(&note.text) {
        Some((_, kind @ "archive", name, hash)) => {
            manifest::is_the_same(kind, name, hash, Sha256::digest(&manifest).into())
        }
        _ => Err(Failure::check("the note beside its manifest is of something else")),
    }
}

/// Up to where a start needs nothing of the journal; or why it may need all of it.
fn not_needed(config: &Config) -> Result<Result<Seq, String>, Failure> {
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
    let (journal, depot) = open(&Config::read(&options.config)?, &options.place)?;
    if let Some(keys) = &options.key {
        is_signed(&*depot, keys)?;
        say("its manifest is signed by the venue");
    }
    if options.check {
        let checked = check(&journal, &*depot, &mut told)?.segments.len();
        say(&summary(checked, "are sound in", &*depot));
    } else {
        let restored = ironbell_archive::restore(&journal, &*depot, Seq(options.from), &mut told)?;
        say(&summary(restored, "were brought back from", &*depot));
    }
    Ok(())
}

fn open(config: &Config, place: &str) -> Result<(Journal, Box<dyn Depot>), Failure> {
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
