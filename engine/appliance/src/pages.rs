//! Man pages and shell completions, from the definition of the command line itself: for packages.

use std::fs;
use std::path::Path;

use clap::Command;
use clap_complete::Shell;

use crate::failure::Failure;

/// Writes a page for each command into `dir/man`, and `dir/completions/SHELL` for bash, zsh and fish.
///
/// # Errors
/// When `dir` cannot be written.
pub fn write(command: Command, dir: &Path) -> Result<(), Failure> {
    // `help` has as many commands of its own as there are.
    let mut command = command.disable_help_subcommand(true);
    let name = command.get_name().to_owned();
    let (man, completions) = (dir.join("man"), dir.join("completions"));
    let made = || -> std::io::Result<()> {
        fs::create_dir_all(&man)?;
        fs::create_dir_all(&completions)?;
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, &name, &mut script);
            fs::write(completions.join(format!("{name}.{shell}")), script)?;
        }
        clap_mangen::generate_to(command, &man)
    };
    made().map_err(|e| Failure::file(dir, e, "give a folder that may be written"))
}
