//! Other people's readers of an ITCH stream, compared field by field with our own reading.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use ironbell_appliance::inspection::hex;
use ironbell_wire::itch;

use crate::itch5_agreement::framed;

/// The PyPI package `itchfeed` reads the same messages with the same fields.
///
/// # Panics
/// When it does not, or the tests' Python environment is missing.
pub fn assert_itchfeed_agrees(messages: &[Vec<u8>]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("a crate lies in a room");
    let python = root.join("target/test-venv/bin/python");
    assert!(python.exists(), "{} is missing: run tests/setup.sh", python.display());
    let mut child = Command::new(python)
        .arg(root.join("net/wire/tests/conformance/itchfeed_dump.py"))
        // Its own Python code, should a faster twin of it be installed.
        .env("ITCH_NO_CPP", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python can be run");
    let (mut stdin, input) = (child.stdin.take().expect("it is piped"), framed(messages));
    // A thread of its own, so that neither side waits for the other with a full pipe.
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("its output can be read");
    writer.join().expect("the writer does not panic").expect("it reads its whole input");
    assert!(output.status.success(), "{}", output.status);
    let text = String::from_utf8(output.stdout).expect("it prints UTF-8");
    let theirs: Vec<_> = text.lines().collect();
    assert_eq!(theirs.len(), messages.len(), "they read every message");
    for (theirs, bytes) in theirs.into_iter().zip(messages) {
        assert_eq!(theirs, printed_like(theirs, bytes));
    }
}

/// Our fields as the script prints theirs: by our own table of fields, as text where theirs is text.
fn printed_like(theirs: &str, bytes: &[u8]) -> String {
    let (.., fields) =
        itch::LAYOUTS.iter().find(|(code, ..)| *code == bytes[0]).expect("every type is there");
    let mut line = char::from(bytes[0]).to_string();
    let is_text: Vec<bool> = theirs.split('\t').skip(1).map(|field| field.starts_with('x')).collect();
    assert_eq!(is_text.len(), fields.len() - 1, "as many fields: {theirs}");
    for (field, is_text) in fields[1..].iter().zip(is_text) {
        let value = &bytes[field.offset..][..field.size];
        line.push('\t');
        if is_text {
            line.push_str(&format!("x{}", hex(value)));
        } else {
            line.push_str(&value.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)).to_string());
        }
    }
    line
}
