//! `ironbell receipt` and `consistency`, and what checks them with no venue at hand.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding};
use clap::Args;
use ironbell_hsm::entry::Part;
use ironbell_hsm::merkle::{consistency_proof, inclusion_proof, verify_consistency};
use ironbell_hsm::{Checkpoint, Hash, Head, KeyHistory, Note, Receipt, Tree};
use ironbell_record::command;
use ironbell_types::{Nanos, Seq, Username};

use crate::config::Config;
use crate::failure::Failure;
use crate::manifest::read_keys;
use crate::moment::time_text;
use crate::signing::{Files, Follower, newest_checkpoint, salts};

/// Arguments of `ironbell receipt`.
#[derive(Args)]
pub struct Options {
    /// Which command: its Seq. A match number and an order reference begin with it.
    seq: u64,
    /// What is shown, and nothing else: command, time, state, port=USERNAME, account=NUMBER, or all. A receipt for a member
    /// shows its own port and account alone.
    #[arg(long, value_delimiter = ',', required = true)]
    show: Vec<String>,
    /// The node's configuration.
    #[arg(long, value_name = "FILE", default_value = "node.toml")]
    config: PathBuf,
}

/// Makes a receipt and prints it.
///
/// # Errors
/// When no checkpoint covers the Seq, the Seq has no such part, or journal and tree do not say the same.
pub fn make(options: &Options) -> Result<(), Failure> {
    let config = Config::read(&options.config)?;
    let files = Files::of(&config);
    let (note, checkpoint) = newest_checkpoint(&files)?
        .ok_or_else(|| Failure::refused("nothing was signed yet: run `ironbell sign`"))?;
    let Checkpoint { size, root, .. } = checkpoint;
    let seq = options.seq;
    if seq == 0 || seq > size {
        return Err(Failure::refused(format_args!(
            "seq {seq} is not among the seqs 1 to {size} that were signed: ask for one of them, or wait for the next checkpoint"
        )));
    }
    let tree = Tree::read(&files.tree(), &Head { epoch: 0, size, root })?;
    let mut follower = Follower::open(&config, salts(&config, &files)?, Seq(seq - 1))?;
    let mut parts = None;
    while parts.is_none() {
        let progress = follower.follow(&mut |notary, command, epoch| {
            if command.seq.0 != seq {
                notary.execute(command);
                return Ok(());
            }
            if notary.take(command, epoch) != tree.entry(seq - 1)? {
                return Err(Failure::check(format_args!(
                    "ALARM: the journal says something else at seq {seq} than was signed: keep the data directory and report this"
                )));
            }
            let mut shown = Vec::new();
            for part in wanted(&options.show, notary)? {
                let one = notary.shown(command, part).ok_or_else(|| {
                    Failure::refused(format_args!("seq {seq} has nothing for {}", word(part)))
                })?;
                shown.push(one);
            }
            parts = Some(shown);
            Ok(())
        })?;
        if progress.is_none() {
            return Err(Failure::check(format_args!("the journal ends before seq {seq}, which was signed")));
        }
    }
    let proof = inclusion_proof(&tree, seq - 1, size)?;
    let receipt = Receipt { seq, parts: parts.unwrap_or_default(), proof, checkpoint: note };
    // What is handed out is sound, with the keys of this venue.
    let keys = match config.signing.as_ref().and_then(|signing| signing.key_journal.as_deref()) {
        Some(path) => {
            let origin = Checkpoint::parse(&receipt.checkpoint.text)?.origin;
            let history = KeyHistory::parse(&origin, &read(path)?)?;
            if history.has_log_keys() { history.log_keys(size)? } else { read_keys(&files.public())? }
        }
        None => read_keys(&files.public())?,
    };
    receipt.verify(&keys)?;
    print(&receipt.to_string());
    Ok(())
}

fn word(part: Part) -> String {
    match part {
        Part::Port(port) => format!("port {port}"),
        Part::Account(account) => format!("account {account}"),
        part => Part::word(part.kind()).unwrap_or_default().to_owned(),
    }
}

fn wanted(show: &[String], notary: &crate::signing::Notary) -> Result<Vec<Part>, Failure> {
    let mut parts = Vec::new();
    for text in show {
        match text.split_once('=') {
            None if text == "command" => parts.push(Part::Command),
            None if text == "time" => parts.push(Part::Time),
            None if text == "state" => parts.push(Part::State),
            None if text == "all" => parts.extend(notary.parts()),
            Some(("port", name)) => {
                let port = Username::new(name).and_then(|name| notary.directory().port_named(name));
                let port = port.ok_or_else(|| Failure::refused(format_args!("there is no port {name}")))?;
                parts.push(Part::Port(port.id.0));
            }
            Some(("account", number)) => {
                let number = number.parse();
                parts.push(Part::Account(number.map_err(|_| Failure::refused("an account is a number"))?));
            }
            _ => {
                return Err(Failure::refused(format_args!(
                    "{text:?} cannot be shown: write command, time, state, port=USERNAME, account=NUMBER or all"
                )));
            }
        }
    }
    parts.sort_unstable();
    parts.dedup();
    Ok(parts)
}

/// Arguments of `ironbell verify-receipt`.
#[derive(Args)]
pub struct Verify {
    /// The receipt.
    receipt: PathBuf,
    /// The venue's verifier keys, one a line; all must have signed.
    #[arg(long, value_name = "FILE", required_unless_present = "key_journal")]
    key: Option<PathBuf>,
    /// Or its key journal, whose first entry's fingerprint you compared by hand: `ironbell hsm journal` prints it.
    #[arg(long, value_name = "FILE", conflicts_with = "key")]
    key_journal: Option<PathBuf>,
}

/// Checks a receipt, and prints what it proves. It asks nobody.
///
/// # Errors
/// When it does not hold: exit code 1, and the line says what.
pub fn verify(options: &Verify) -> Result<(), Failure> {
    let receipt = Receipt::parse(&read(&options.receipt)?).map_err(Failure::check)?;
    let keys = match (&options.key, &options.key_journal) {
        (Some(path), _) => read_keys(path)?,
        (None, Some(path)) => {
            let checkpoint = Checkpoint::parse(&receipt.checkpoint.text).map_err(Failure::check)?;
            KeyHistory::parse(&checkpoint.origin, &read(path)?)
                .and_then(|history| history.log_keys(checkpoint.size))
                .map_err(Failure::check)?
        }
        (None, None) => unreachable!("clap asks for one of them"),
    };
    let verified = receipt.verify(&keys).map_err(Failure::check)?;
    let mut text = format!(
        "holds: {}, seq {}, in the tree of size {}\n",
        verified.checkpoint.origin, receipt.seq, verified.checkpoint.size
    );
    for key in &keys {
        text.push_str(&format!("signed by {} ({})\n", key.name(), key.key().algorithm()));
    }
    for part in &receipt.parts {
        let said = said(part.kind, &part.content, receipt.seq);
        text.push_str(&said.unwrap_or_else(|| "a part whose content has another form\n".into()));
    }
    print(&text);
    Ok(())
}

/// What a part says, for people.
fn said(kind: u8, content: &[u8], seq: u64) -> Option<String> {
    use std::fmt::Write as _;
    let rest = content.get(8..)?;
    let mut text = format!("{}: ", Part::word(kind)?);
    match kind {
        1 => {
            let (sequenced, _) = command::decode(rest, 0, Seq(seq)).ok()?;
            writeln!(text, "{:?}", sequenced.command).ok()?;
        }
        2 => writeln!(text, "{}", time_text(Nanos(u64::from_be_bytes(rest.try_into().ok()?)))).ok()?,
        3 => {
            let (epoch, hash) = rest.split_first_chunk()?;
            let hash = u128::from_be_bytes(hash.try_into().ok()?);
            writeln!(text, "epoch {}, output hash {hash:032x}", u64::from_be_bytes(*epoch)).ok()?;
        }
        4 => {
            let (port, mut rest) = rest.split_first_chunk()?;
            writeln!(text, "{}", u32::from_be_bytes(*port)).ok()?;
            while let Some((length, more)) = rest.split_first_chunk() {
                let (message, more) = more.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
                text.push_str("  ");
                message.iter().try_for_each(|byte| write!(text, "{byte:02x}")).ok()?;
                let kind = message.first().map_or(' ', |byte| char::from(*byte));
                writeln!(text, "  (OUCH {kind})").ok()?;
                rest = more;
            }
        }
        _ => {
            let (account, lines) = rest.split_first_chunk()?;
            writeln!(text, "{}", u32::from_be_bytes(*account)).ok()?;
            for line in std::str::from_utf8(lines).ok()?.lines() {
                writeln!(text, "  {line}").ok()?;
            }
        }
    }
    Some(text)
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|e| Failure::file(path, e, "give a file that you may read"))
}

fn print(text: &str) {
    // Whoever asked may have closed the pipe already.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Arguments of `ironbell consistency`.
#[derive(Args)]
pub struct Consistency {
    /// An earlier checkpoint of this venue, as somebody kept it.
    old: PathBuf,
    /// A later one; the newest if left out.
    new: Option<PathBuf>,
    /// The node's configuration.
    #[arg(long, value_name = "FILE", default_value = "node.toml")]
    config: PathBuf,
}

const CONSISTENCY: &str = "ironbell consistency v1";

/// Prints a proof that one checkpoint grew out of another: both, and the hashes of RFC 9162, section 2.1.4.
///
/// # Errors
/// When one of them is not of this venue's tree.
pub fn consistency(options: &Consistency) -> Result<(), Failure> {
    let config = Config::read(&options.config)?;
    let files = Files::of(&config);
    let (newest, last) = newest_checkpoint(&files)?
        .ok_or_else(|| Failure::refused("nothing was signed yet: run `ironbell sign`"))?;
    let given =
        |path: &Path| Note::parse(&read(path)?).map_err(|e| Failure::file(path, e, "give a checkpoint"));
    let old = given(&options.old)?;
    let new = options.new.as_deref().map_or(Ok(newest), given)?;
    let sizes = [&old, &new].map(|note| Checkpoint::parse(&note.text).map(|checkpoint| checkpoint.size));
    let [from, to] = sizes;
    let (from, to) = (from?, to?);
    if from > to || to > last.size {
        return Err(Failure::refused(format_args!(
            "no proof leads from size {from} to {to}: the older comes first, and the newest here is of size {}",
            last.size
        )));
    }
    let tree = Tree::read(&files.tree(), &Head { epoch: 0, size: last.size, root: last.root })?;
    let proof = consistency_proof(&tree, from, to)?;
    let lines: String = proof.iter().map(|hash| Base64::encode_string(hash) + "\n").collect();
    let text = format!("{CONSISTENCY}\n{lines}\n{old}{new}");
    // What is handed out is sound: another venue's checkpoint, or one of another history, has no proof.
    grew(&text)?;
    print(&text);
    Ok(())
}

/// Arguments of `ironbell verify-consistency`.
#[derive(Args)]
pub struct VerifyConsistency {
    /// What `ironbell consistency` printed.
    proof: PathBuf,
    /// The venue's verifier keys, one a line; all must have signed both checkpoints.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

/// Checks it, and prints what it proves. It asks nobody.
///
/// # Errors
/// When it does not hold: exit code 1, and the line says what.
pub fn verify_grown(options: &VerifyConsistency) -> Result<(), Failure> {
    let (notes, [old, new]) = grew(&read(&options.proof)?)?;
    let keys = read_keys(&options.key)?;
    notes.iter().try_for_each(|note| note.verify_all(&keys)).map_err(Failure::check)?;
    print(&format!("holds: {} of size {} grew out of size {}\n", new.origin, new.size, old.size));
    Ok(())
}

/// The two checkpoints of a proof that holds; by whom they are signed is not looked at.
fn grew(text: &str) -> Result<([Note; 2], [Checkpoint; 2]), Failure> {
    let none = || {
        Failure::check(format_args!(
            "it is no proof: {CONSISTENCY:?}, hashes, an empty line, two checkpoints"
        ))
    };
    let (hashes, notes) = text.split_once("\n\n").ok_or_else(none)?;
    let hashes = hashes.strip_prefix(CONSISTENCY).ok_or_else(none)?;
    let decode = |line: &str| Base64::decode_vec(line).ok().and_then(|bytes| bytes.try_into().ok());
    let proof: Option<Vec<Hash>> = hashes.lines().skip(1).map(decode).collect();
    let notes: [Note; 2] = Note::parse_all(notes).map_err(Failure::check)?.try_into().map_err(|_| none())?;
    let [old, new] = notes.each_ref().map(|note| Checkpoint::parse(&note.text));
    let (old, new) = (old.map_err(Failure::check)?, new.map_err(Failure::check)?);
    let (from, to) = ((old.size, &old.root), (new.size, &new.root));
    verify_consistency(from, to, &proof.ok_or_else(none)?).map_err(Failure::check)?;
    Ok((notes, [old, new]))
}
