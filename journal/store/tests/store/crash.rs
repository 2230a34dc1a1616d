//! A writer is killed in the midst of writing: what it had called durable is there.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use ironbell_store::{open, open_replaying};
use ironbell_types::Seq;

use crate::rig::{Rng, Scratch, commands};

/// Names the directory to the child; this test binary runs itself.
const DIR: &str = "IRONBELL_STORE_CRASH_DIR";

#[test]
fn what_a_killed_writer_called_durable_is_there() {
    let scratch = Scratch::formatted("killed");
    let mut rng = Rng::new("killed");
    let mut torn = 0;
    for round in 1..=25 {
        let durable = write_and_be_killed(scratch.dir(), 1 + rng.below(80));
        let mut next = 1;
        let mut replay = |_: &_, found: &[_]| {
            assert_eq!(found, commands(next, found.len()));
            next += found.len() as u64;
            Ok(())
        };
        let (recovery, mut writer, _maker) = open_replaying(scratch.dir(), &scratch.small(), &mut replay)
            .unwrap_or_else(|error| panic!("{error}"));
        assert!(recovery.last_seq >= Seq(durable), "round {round}: Seq {durable} was called durable");
        assert_eq!(recovery.last_seq, Seq(next - 1));
        assert_eq!(recovery.epoch, round * 2, "the child and its parent took one each");
        torn += u32::from(recovery.torn.is_some());
        writer.seal().expect("no write fails");
    }
    println!("{torn} of 25 left a torn tail");
}

/// Runs the child below until it has said `lines` times how far it is durable, kills it, and returns
/// the furthest that it said.
fn write_and_be_killed(dir: &Path, lines: u64) -> u64 {
    let mut child = Command::new(std::env::current_exe().expect("this binary has a path"))
        .args(["--exact", "crash::child_that_writes_until_killed", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("this binary runs");
    let said = BufReader::new(child.stdout.take().expect("it is a pipe")).lines();
    let mut said =
        said.filter_map(|line| line.expect("it is text").strip_prefix("durable ")?.parse::<u64>().ok());
    let before = said.by_ref().take(lines as usize).last();
    child.kill().expect("it runs");
    let after = said.last();
    child.wait().expect("it is ours");
    after.or(before).expect("the child wrote nothing: see its output")
}

/// Not a test by itself: the process that is killed.
#[test]
fn child_that_writes_until_killed() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let options = Scratch::at(Path::new(env!("CARGO_TARGET_TMPDIR")), "unused").small();
    let (_, mut writer, mut maker) =
        open(Path::new(&dir), &options).unwrap_or_else(|error| panic!("{error}"));
    let mut rng = Rng::new("child");
    let mut said = writer.durable().get();
    loop {
        maker.poll().expect("a segment is made");
        if writer.can_begin() {
            let next = commands(writer.appended_seq().0 + 1, rng.below(200) as usize);
            let commit = Seq(writer.durable().get());
            writer.append(&next, commit, (Seq(0), 0)).expect("no write fails");
        }
        writer.poll().expect("no write fails");
        if writer.durable().get() > said {
            said = writer.durable().get();
            // The test harness has begun a line of its own when the first one comes.
            let line = format!("\ndurable {said}\n");
            std::io::stdout().write_all(line.as_bytes()).expect("the parent listens");
        }
    }
}
