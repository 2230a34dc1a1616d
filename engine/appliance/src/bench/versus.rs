//! `--vs`: an earlier revision of the repository, built beside this one.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;

/// Where revisions are built, below the target folder.
const FOLDER: &str = "bench-vs";

/// The program of a revision and its commit; built from a worktree below `target/`, which stays for the next time.
///
/// # Errors
/// When this is no checkout of the repository, there is no such revision, or it does not build.
pub fn program_of(revision: &str) -> Result<(PathBuf, String), Failure> {
    let root = said(Command::new("git").args(["rev-parse", "--show-toplevel"]))
        .map_err(|_| Failure::refused("--vs builds a revision: run it in a checkout of the repository"))?;
    let root = PathBuf::from(root.trim());
    let commit = format!("{revision}^{{commit}}");
    let commit =
        said(Command::new("git").current_dir(&root).args(["rev-parse", "--verify", "--quiet", &commit]))
            .map_err(|_| Failure::refused(format_args!("--vs {revision}: there is no such revision here")))?;
    let commit = commit.trim().to_owned();
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let source = target.join(FOLDER).join(&commit);
    if !source.join("Cargo.toml").exists() {
        // A worktree that somebody removed by hand is still on git's list.
        let _ = said(Command::new("git").current_dir(&root).args(["worktree", "prune"]));
        let mut git = Command::new("git");
        git.current_dir(&root).args(["worktree", "add", "--detach"]).arg(&source).arg(&commit);
        said(&mut git).map_err(|e| Failure::refused(format_args!("--vs {revision}: {e}")))?;
    }
    eprintln!("building {revision} ({})", &commit[..12]);
    let built = target.join(FOLDER).join("target");
    let mut cargo = Command::new("cargo");
    cargo.current_dir(&source).env("CARGO_TARGET_DIR", &built).args([
        "build",
        "--release",
        "--locked",
        "--package=ironbell-appliance",
    ]);
    said(&mut cargo).map_err(|e| Failure::refused(format_args!("--vs {revision} does not build: {e}")))?;
    // The next revision is built to the same place.
    let program = source.join("ironbell.bin");
    std::fs::copy(built.join("release/ironbell"), &program)
        .map_err(|e| Failure::file(&program, e, "see that the disk has room"))?;
    Ok((program, commit))
}

fn said(command: &mut Command) -> Result<String, String> {
    let name = Path::new(command.get_program()).display().to_string();
    let output = command.output().map_err(|e| format!("{name}: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{name}: {}", said.lines().last().unwrap_or("it failed and said nothing")))
}
