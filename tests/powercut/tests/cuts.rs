//! The disk loses its power while the journal is written, and nothing acknowledged is lost.

use std::process::Command;

/// `IRONBELL_CUTS=n` and `IRONBELL_SEED=n` for more and for others.
#[test]
fn nothing_acknowledged_is_lost_when_the_power_is_cut() {
    cut("ext4", "20", "nothing_acknowledged_is_lost_when_the_power_is_cut");
}

/// Its log and its inodes are written in another way, and so are there or not in another way.
#[test]
fn nothing_acknowledged_is_lost_on_xfs_either() {
    cut("xfs", "8", "nothing_acknowledged_is_lost_on_xfs_either");
}

fn cut(file_system: &str, cuts: &str, test: &str) {
    let number = |name: &str, otherwise: &str| std::env::var(name).unwrap_or_else(|_| otherwise.into());
    let output = Command::new(env!("CARGO_BIN_EXE_ironbell-powercut"))
        .args(["--file-system", file_system])
        .args(["--cuts", &number("IRONBELL_CUTS", cuts), "--seed", &number("IRONBELL_SEED", "1")])
        .args(["--dir", env!("CARGO_TARGET_TMPDIR")])
        .output()
        .expect("the tool was built");
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).join("");
    assert!(output.status.success(), "{said}\n(IRONBELL_SKIP={test} leaves this test out)");
    println!("{said}");
}
