//! `ironbell ctl`: what an operator asks of a running node, by its admin socket.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use ironbell_gateway::hash_password;

use crate::admin::{self, Request};
use crate::config::Config;
use crate::failure::Failure;
use crate::format;
use crate::ha::desk::PairAsk;
use crate::operator::{Ask, Told};

/// Arguments of `ironbell ctl`.
#[derive(Args)]
pub struct Options {
    /// The node's configuration.
    #[arg(long, value_name = "FILE", default_value = "node.toml", global = true)]
    config: PathBuf,
    /// Do not wait until it is done and on the disk.
    #[arg(long, global = true)]
    no_wait: bool,
    /// The answer as one JSON object.
    #[arg(long, global = true)]
    json: bool,
    /// What to do.
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    #[command(flatten)]
    Pair(PairAsk),
    #[command(flatten)]
    Venue(Box<Ask>),
}

/// The command.
///
/// # Errors
/// When no node answers, or what is asked for is refused: exit code 2, and the line says why and what to do.
pub fn run(options: Options) -> Result<(), Failure> {
    let config = Config::read(&options.config)?;
    let mut ask = match options.what {
        What::Venue(ask) => *ask,
        What::Pair(ask) => {
            let ask = ask.signed(&std::env::var("USER").unwrap_or_default());
            let done: String = admin::ask(&config.admin_socket(), &Request::Pair { ask })?;
            say(&if options.json { admin::json(&done) } else { done });
            return Ok(());
        }
    };
    if let Some((file, credential)) = ask.wants_password() {
        let password = read_password(file)?;
        *credential = Some(hash_password(password.as_bytes(), format::random()).into());
    }
    let request = Request::Control { ask: Box::new(ask), wait: !options.no_wait };
    let told: Told = admin::ask(&config.admin_socket(), &request)?;
    if options.json {
        say(&admin::json(&told));
    }
    match told {
        Told::Refused { seq, why } => Err(Failure::refused(format_args!("refused at seq {seq}: {why}"))),
        _ if options.json => Ok(()),
        Told::Sent => {
            say("sent; not waited for");
            Ok(())
        }
        Told::Done { seq, lines } => {
            say(&format!("seq {seq}: {}", lines.join("\n  ")));
            Ok(())
        }
    }
}

/// A reader that has gone is no failure: it is done all the same.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// The first line of `file`, or of standard input.
fn read_password(file: Option<&Path>) -> Result<String, Failure> {
    let mut line = String::new();
    match file {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|e| Failure::file(path, e, "give --password-file a file that you may read"))?;
            line.push_str(text.lines().next().unwrap_or_default());
        }
        None => {
            std::io::stdin()
                .lock()
                .read_line(&mut line)
                .map_err(|e| Failure::refused(format_args!("standard input: {e}; give --password-file")))?;
        }
    }
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() || password.len() > 10 || !password.is_ascii() {
        return Err(Failure::refused("the password is not 1 to 10 ASCII characters; give another"));
    }
    Ok(password.to_owned())
}
