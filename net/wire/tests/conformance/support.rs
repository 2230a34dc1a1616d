//! What the tests share: the layout tables, the byte vectors, a seeded generator, other people's tools.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ironbell_wire::{DecodeError, itch, ouch};

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("this crate lies two levels down")
}

/// The Python of the tests' environment.
///
/// # Panics
/// When it is not there; says how to install it.
pub fn python() -> PathBuf {
    let python = root().join("target/test-venv/bin/python");
    assert!(python.exists(), "{} is missing: run tests/setup.sh", python.display());
    python
}

/// Runs a command with `input` on its standard input; returns its standard output.
///
/// # Panics
/// When it cannot be run (says how to install it) or fails (says what it said).
pub fn run(command: &mut Command, input: &[u8]) -> String {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|e| panic!("cannot run {command:?}: {e}: run tests/setup.sh"));
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_vec();
    // A thread of its own, so that neither side waits for the other with a full pipe.
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("its output can be read");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed: {}: {stderr}", output.status);
    writer.join().expect("the writer does not panic").expect("it reads its whole input");
    String::from_utf8(output.stdout).expect("it prints UTF-8")
}

/// A message of the layout tables.
#[derive(Debug)]
pub struct Table {
    /// `ITCH`, `IN`, `OUT` or `SOUP`.
    pub family: String,
    /// Type byte.
    pub code: u8,
    /// Its name there.
    pub name: String,
    /// `R`, `O`, `N` or `-`.
    pub appendage: char,
    /// Options allowed in it.
    pub tags: Vec<u8>,
    /// Name, length (`var` when it varies) and kind of every field.
    pub fields: Vec<(String, String, String)>,
}

impl Table {
    /// Length of the type byte and the fields.
    pub fn fixed(&self) -> usize {
        1 + self.fields.iter().map(|(_, length, _)| length.parse::<usize>().expect("a number")).sum::<usize>()
    }
}

/// Tag, name, length and kind of an option.
pub type OptionTable = (u8, String, usize, String);

/// The layout tables of `tests/conformance/nasdaq_layouts.py`.
pub fn tables() -> (Vec<Table>, Vec<OptionTable>) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/tables.py");
    let text = run(Command::new(python()).arg(script).arg(root().join("tests/conformance")), b"");
    let (mut messages, mut options) = (Vec::<Table>::new(), Vec::new());
    for line in text.lines() {
        match line.split('\t').collect::<Vec<_>>()[..] {
            ["message", family, code, name, appendage, tags] => messages.push(Table {
                family: family.to_owned(),
                code: code.as_bytes()[0],
                name: name.to_owned(),
                appendage: appendage.chars().next().expect("a letter"),
                tags: tags
                    .split(',')
                    .filter(|tag| !tag.is_empty())
                    .map(|tag| tag.parse().expect("a tag"))
                    .collect(),
                fields: Vec::new(),
            }),
            ["field", name, length, kind] => {
                let message = messages.last_mut().expect("fields follow their message");
                message.fields.push((name.to_owned(), length.to_owned(), kind.to_owned()));
            }
            ["option", tag, name, length, kind] => {
                let (tag, length) = (tag.parse().expect("a tag"), length.parse().expect("a length"));
                options.push((tag, name.to_owned(), length, kind.to_owned()));
            }
            _ => panic!("unexpected line: {line}"),
        }
    }
    (messages, options)
}

/// A line of `tests/conformance/vectors.txt`.
pub struct Vector {
    /// `IN`, `OUT` or `ITCH`.
    pub family: &'static str,
    /// Type byte.
    pub code: u8,
    /// `none` or `all` options; `-` for ITCH.
    pub options: &'static str,
    /// The message.
    pub bytes: Vec<u8>,
}

/// Every line of `tests/conformance/vectors.txt`.
pub fn vectors() -> Vec<Vector> {
    let text = include_str!("../../../../tests/conformance/vectors.txt");
    let vector = |line: &'static str| match line.split(' ').collect::<Vec<_>>()[..] {
        [family, code, options, hex] => {
            Vector { family, code: code.as_bytes()[0], options, bytes: unhex(hex) }
        }
        _ => panic!("unexpected line: {line}"),
    };
    text.lines().map(vector).collect()
}

/// Bytes from hexadecimal digits.
pub fn unhex(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2), "{hex}");
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap_or_else(|e| panic!("{hex}: {e}"));
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// Hexadecimal digits of bytes.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Decodes a message and encodes it again: what a reader and a writer make of the bytes.
pub fn transcode(family: &str, bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut out = [0; ouch::MESSAGE_LEN_MAX];
    let written = match family {
        "IN" => ouch::Inbound::parse(bytes)?.encode(&mut out),
        "OUT" => ouch::Outbound::parse(bytes)?.encode(&mut out),
        "ITCH" => return Ok(itch::Message::parse(bytes)?.as_bytes().to_vec()),
        _ => panic!("no such family: {family}"),
    };
    Ok(out[..written.expect("the buffer holds the longest message")].to_vec())
}

/// A seeded generator (SplitMix64): the seed is printed, and `IRONBELL_SEED` sets it.
pub struct Rng(u64);

impl Rng {
    /// With the seed of `IRONBELL_SEED`, or one of this run.
    pub fn new() -> Self {
        let seed = match std::env::var("IRONBELL_SEED") {
            Ok(seed) => seed.parse().expect("IRONBELL_SEED is a number"),
            Err(_) => {
                use std::hash::BuildHasher;
                std::hash::RandomState::new().hash_one(0)
            }
        };
        eprintln!("seed: set IRONBELL_SEED={seed} to repeat");
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// One of `items`.
    pub fn one<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}
