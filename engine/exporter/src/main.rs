//! The `ironbell-exporter` command.

#![forbid(unsafe_code)]

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
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
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The node's admin socket, where it is not DIR/admin.sock.
    #[arg(long, value_name = "FILE")]
    admin: Option<PathBuf>,
    /// A certificate that the node or somebody beside it uses, in PEM: how long it holds is told. May be given several times.
    #[arg(long = "certificate", value_name = "FILE")]
    certificates: Vec<PathBuf>,
    /// Where to listen: the address of a network of administrators.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9464")]
    listen: SocketAddr,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let node = Node::new(&cli.data_dir, cli.admin).with_certificates(cli.certificates);
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
