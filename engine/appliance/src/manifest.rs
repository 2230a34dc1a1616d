//! `ironbell verify-manifest`: whether what the venue signed of a file, an epoch or a payment holds.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use ironbell_hsm::{Form, Hash, Note, VerifierKey, parse_keys};

use crate::failure::Failure;
use crate::signing::{hash_of, read_manifest};

/// Arguments of `ironbell verify-manifest`.
#[derive(Args)]
pub struct Options {
    /// The signed note.
    note: PathBuf,
    /// The file that it speaks of, if it is a manifest.
    file: Option<PathBuf>,
    /// The venue's verifier keys, one a line; all must have signed.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

/// Checks it, and prints what it says. It asks nobody.
///
/// # Errors
/// When it does not hold: exit code 1, and the line says what.
pub fn verify(options: &Options) -> Result<(), Failure> {
    let text = read(&options.note)?;
    let note = Note::parse(&text).map_err(Failure::check)?;
    verified(&note, &read_keys(&options.key)?)?;
    match (read_manifest(&note.text), &options.file) {
        (Some((_, kind, name, hash)), Some(file)) => {
            let found = hash_of(file).map_err(|e| Failure::file(file, e, "give a file that you may read"))?;
            is_the_same(kind, name, hash, found)?;
        }
        (None, Some(_)) => return Err(Failure::refused("the note is no manifest: leave the file out")),
        (_, None) => {}
    }
    let _ = write!(std::io::stdout(), "holds:\n{}", note.text);
    Ok(())
}

/// Whether all of the venue's keys signed the note, which is of the venue that they belong to.
pub(crate) fn verified(note: &Note, keys: &[VerifierKey]) -> Result<(), Failure> {
    let origin = note.text.lines().nth(1).unwrap_or_default();
    // A file of keys may name witnesses too; they sign checkpoints alone.
    let keys = keys.iter().filter(|key| key.name() == origin);
    let keys = keys.map(|key| VerifierKey::new(origin, Form::Text, key.key().clone()));
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() {
        return Err(Failure::check(format_args!("the note is of {origin:?}, and no key is of that name")));
    }
    note.verify_all(&keys).map_err(Failure::check)
}

/// Whether the file is the one that was signed.
pub(crate) fn is_the_same(kind: &str, name: &str, signed: Hash, found: Hash) -> Result<(), Failure> {
    if signed == found {
        return Ok(());
    }
    Err(Failure::check(format_args!(
        "the file is not the {kind} {name} that was signed, or it was changed since: its SHA-256 is another"
    )))
}

pub(crate) fn read_keys(path: &Path) -> Result<Vec<VerifierKey>, Failure> {
    parse_keys(&read(path)?).map_err(|e| Failure::file(path, e, "give the venue's log.pub"))
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|e| Failure::file(path, e, "give a file that you may read"))
}
