//! The `ironbell-exporter` command.

#![forbid(unsafe_code)]

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser};
use clap_complete::Shell;
use ironbell_exporter::Error;
use ironbell_exporter::node::Node;
use ironbell_exporter::server::serve;

/// Serves what a node counts, for Prometheus: /metrics, /health, /ready.
///
/// It reads the metrics segment in the node's data directory and asks its admin socket how it is. Run it as a user who may
/// read both, on a core that the node does not use. Exit code 2: refused, the line says why.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// The node's data directory.
    #[arg(long, value_name = "DIR", required_unless_present = "pages")]
    data_dir: Option<PathBuf>,
    /// The node's admin socket, where it is not DIR/admin.sock.
    #[arg(long, value_name = "FILE")]
    admin: Option<PathBuf>,
    /// A certificate that the node or somebody beside it uses, in PEM: how long it holds is told. May be given several times.
    #[arg(long = "certificate", value_name = "FILE")]
    certificates: Vec<PathBuf>,
    /// Where to listen: the address of a network of administrators.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9464")]
    listen: SocketAddr,
    /// Write a man page and shell completions into a folder, for a package, and end.
    #[arg(long, value_name = "DIR", hide = true, exclusive = true)]
    pages: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(dir) = cli.pages {
        return match pages(&dir) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("ironbell-exporter: {}: {error}; give a folder that may be written", dir.display());
                ExitCode::from(2)
            }
        };
    }
    let data_dir = cli.data_dir.expect("clap asks for it");
    let node = Node::new(&data_dir, cli.admin).with_certificates(cli.certificates);
    let listening = |addr| -> std::io::Result<()> {
        // Whoever started it may have closed the pipe.
        let _ = writeln!(std::io::stdout(), "ready: http://{addr}/metrics");
        sd_notify::notify(&[sd_notify::NotifyState::Ready])
    };
    match serve(cli.listen, node, listening) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ (Error::Listen { .. } | Error::System(_))) => {
            eprintln!("ironbell-exporter: {error}");
            ExitCode::from(2)
        }
    }
}

/// From the definition of the command line itself, as `ironbell pages` does.
fn pages(dir: &Path) -> std::io::Result<()> {
    let (mut command, man, completions) = (Cli::command(), dir.join("man"), dir.join("completions"));
    let name = command.get_name().to_owned();
    std::fs::create_dir_all(&man)?;
    std::fs::create_dir_all(&completions)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, &name, &mut script);
        std::fs::write(completions.join(format!("{name}.{shell}")), script)?;
    }
    clap_mangen::generate_to(command, man)
}
