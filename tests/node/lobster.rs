//! `replay-lobster` on generated recordings of the real format: through real TCP sessions, every
//! determined level equal at every event; and a recording that is wrong is found out.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ironbell_load::lobster::generate;

fn replay(name: &str, messages: &str, depths: &str) -> Output {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let file = |kind: &str, text: &str| -> PathBuf {
        let path = dir.join(format!("{name}-{kind}.csv"));
        std::fs::write(&path, text).expect("a file of ours");
        path
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_ironbell"));
    command.arg("replay-lobster").arg(file("message", messages)).arg(file("orderbook", depths));
    command.arg("--dir").arg(dir.join(format!("lobster-{name}"))).output().expect("it runs")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_recording_is_replayed_with_every_level_equal() {
    let seed = 11;
    println!("seed {seed}");
    let recording = generate(seed, 1_500, 10);
    let output = replay("equal", &recording.messages, &recording.depths);
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    assert_eq!(text.lines().filter(|line| line.ends_with("compared, equal")).count(), 1_500, "{text}");
    assert!(text.contains(", 0 unequal"), "{text}");
    for kind in 1..=5 {
        assert!(
            text.contains(&format!("type {kind}: ")),
            "the recording has no event of type {kind}: {text}"
        );
    }
    assert!(text.contains("order sent -> ack received"), "{text}");
}

#[test]
fn a_wrong_reference_book_is_found_out() {
    let recording = generate(12, 200, 5);
    // One share more on the best ask of the hundredth event, if that row has one.
    let mut rows: Vec<String> = recording.depths.lines().map(str::to_owned).collect();
    let mut fields: Vec<String> = rows[100].split(',').map(str::to_owned).collect();
    let size: u64 = fields[1].parse().expect("a size");
    assert!(size > 0);
    fields[1] = (size + 1).to_string();
    rows[100] = fields.join(",");
    let output = replay("wrong", &recording.messages, &(rows.join("\n") + "\n"));
    let text = said(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("line 101"), "{text}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_ironbell"))
        .args(["replay-lobster", "/nonexistent/message.csv", "/nonexistent/orderbook.csv"])
        .output()
        .expect("it runs");
    let text = said(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("/nonexistent/message.csv") && text.trim_end().lines().count() == 1, "{text}");
    assert!(!Path::new("/nonexistent").exists());
}
