//! Other people's readers of our ITCH stream: the crate `itch5` and PyPI `itchfeed` agree on every field.

use std::process::Command;

use ironbell_wire::itch;

use crate::itch5_agreement::{assert_itch5_agrees, framed};
use crate::support::{Rng, Table, python, run, tables};

/// A message of any type with any values: letters and digits where the tables have text.
fn message(rng: &mut Rng, table: &Table) -> Vec<u8> {
    const TEXT: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let mut bytes = vec![table.code];
    for (_, length, kind) in &table.fields {
        let length: usize = length.parse().expect("a number");
        match kind.as_str() {
            "c" => bytes.push(rng.one(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ")),
            "a" => {
                let letters = 1 + rng.below(length);
                bytes.extend((0..length).map(|at| if at < letters { rng.one(TEXT) } else { b' ' }));
            }
            _ => bytes.extend(&rng.next().to_be_bytes()[..length]),
        }
    }
    // `itchfeed` stops at the end of messages.
    if bytes[0] == b'S' && bytes[11] == b'C' {
        bytes[11] = b'Q';
    }
    bytes
}

/// Two hundred messages of each type in random order, and the end of messages.
fn messages() -> Vec<Vec<u8>> {
    let (mut rng, (tables, _)) = (Rng::new(), tables());
    let tables: Vec<_> = tables.into_iter().filter(|table| table.family == "ITCH").collect();
    let mut messages: Vec<_> = tables
        .iter()
        .flat_map(|table| (0..200).map(|_| message(&mut rng, table)).collect::<Vec<_>>())
        .collect();
    for at in (1..messages.len()).rev() {
        messages.swap(at, rng.below(at + 1));
    }
    messages.push([&b"S\x00\x00\x00\x00"[..], &[0; 6], b"C"].concat());
    messages
}

#[test]
fn itch5_agrees_on_every_field() {
    assert_itch5_agrees(&messages());
}

/// Our fields as `itchfeed_dump.py` prints theirs: by our own table of fields, numbers where the layout
/// tables have numbers.
fn printed(tables: &[Table], bytes: &[u8]) -> String {
    let table =
        tables.iter().find(|t| t.family == "ITCH" && t.code == bytes[0]).expect("every type is there");
    let (.., fields) =
        itch::LAYOUTS.iter().find(|(code, ..)| *code == bytes[0]).expect("every type is there");
    let mut line = char::from(bytes[0]).to_string();
    for (field, (_, _, kind)) in fields[1..].iter().zip(&table.fields) {
        let value = &bytes[field.offset..][..field.size];
        line.push('\t');
        match kind.as_str() {
            "c" | "a" => line.push_str(&format!("x{}", crate::support::hex(value))),
            _ => line.push_str(&value.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)).to_string()),
        }
    }
    line
}

#[test]
fn itchfeed_agrees_on_every_field() {
    let (messages, (tables, _)) = (messages(), tables());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/itchfeed_dump.py");
    // Its own Python code, should a faster twin of it be installed.
    let text = run(Command::new(python()).arg(script).env("ITCH_NO_CPP", "1"), &framed(&messages));
    let theirs: Vec<_> = text.lines().collect();
    assert_eq!(theirs.len(), messages.len());
    for (theirs, bytes) in theirs.into_iter().zip(&messages) {
        assert_eq!(theirs, printed(&tables, bytes));
    }
}
