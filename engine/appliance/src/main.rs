//! The `ironbell` command.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use ironbell_appliance::moment::Moment;
#[cfg(feature = "top")]
use ironbell_appliance::top;
use ironbell_appliance::{
    Failure, archive, bench, ctl, demo, format, hsm, inspect, journal, load, lobster, manifest, node, pages,
    receipt, signing, snapshot, topology, trial, tune, witness,
};

/// An exchange and settlement venue in one Linux box.
///
/// Orders come in over binary TCP (OUCH 5.0 over SoupBinTCP), get one place in one sequence, are
/// matched, settled and journaled, and market data goes out as ITCH 5.0. Start with `ironbell demo`.
///
/// Exit codes: 0 done; 1 a check failed; 2 refused, the line says why; 3 the journal failed and the node stopped.
#[derive(Parser)]
#[command(name = "ironbell", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Trade for ten seconds, kill the node, start it again, and check that nothing was lost.
    Demo(demo::Options),
    /// Make a node's data directory: an empty journal whose first frames are the genesis.
    Format(FormatArgs),
    /// Make a key file, for `[journal] key_file`: the journal's records are then enciphered.
    Key(KeyArgs),
    /// Run a node until SIGTERM or SIGINT: then stop accepting, drain, seal the journal, exit 0.
    Run(RunArgs),
    /// Tell how a running node is: addresses, sequence, self-check, latency of each stage.
    Status(StatusArgs),
    /// Print the threads that a node with this configuration has, their CPUs and roles, and the rings between them.
    Topology(WithConfig),
    /// The host: check it against what it must look like, propose which CPU does what, watch it for hiccups.
    #[command(subcommand)]
    Tune(tune::Options),
    /// Watch a running node on the terminal: latency of each stage, orders/s, rings, threads, books.
    #[cfg(feature = "top")]
    Top(WithConfig),
    /// Operate a running node: phases, rules, limits, kill switches, fees, the trading day, busts, what is listed.
    /// Each is sequenced and journaled like an order.
    Ctl(Box<ctl::Options>),
    /// Look inside: the journal's frames, books, ledger, phases, limits, statements. Of a running node, or of a
    /// stopped one.
    Inspect(InspectArgs),
    /// Look after a journal: verify, dump, grep, stats, repair. Beside a running node, or of a stopped one.
    #[command(subcommand)]
    Journal(Box<journal::Options>),
    /// Snapshots of the state, which a start goes on from: make one now, list them, verify them. Beside a running node,
    /// or of a stopped one.
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Follow a node's committed journal and sign checkpoints of it, until SIGTERM: in a process of its own, which may be
    /// another user's, alone with the PIN.
    Sign(SignArgs),
    /// Cosign the checkpoints of a log that grew out of what was seen of it before: on the standby, or at an auditor's.
    Witness(witness::Options),
    /// Print a proof that something happened, which anybody can check with the venue's public key alone.
    Receipt(receipt::Options),
    /// Check a receipt. It asks nobody. Exit code 1: it does not hold.
    VerifyReceipt(receipt::Verify),
    /// Print a proof that a checkpoint grew out of an earlier one.
    Consistency(receipt::Consistency),
    /// Check such a proof. It asks nobody. Exit code 1: it does not hold.
    VerifyConsistency(receipt::VerifyConsistency),
    /// Check what the venue signed of a snapshot, an archive, an epoch or a payment. Exit code 1: it does not hold.
    VerifyManifest(manifest::Options),
    /// Look after signing keys: tokens, keys, the key journal, and the ceremony around them.
    #[command(subcommand)]
    Hsm(Box<hsm::Options>),
    /// Replay a journal, behind its newest snapshot or from its first command, and print the state's hashes; with
    /// --until the state, books and balances as of a moment.
    Replay(ReplayArgs),
    /// Move sealed segments of the journal to an archive: a folder, or s3://BUCKET/PREFIX in a build with S3. The node may
    /// run. Only segments that a start no longer needs go.
    Archive(archive::Archive),
    /// Bring segments back from an archive, each checked against its manifest and the journal's chain. Nothing is
    /// overwritten.
    Restore(archive::Restore),
    /// Put a venue under open-loop load, check every answer, and record latencies from the intended send time.
    Load(Box<load::Options>),
    /// The latency lab: a node under load on this machine, reports, and comparisons that say when there is nothing to say.
    #[command(subcommand)]
    Bench(Box<bench::Options>),
    /// Replay real level-3 data (LOBSTER format) through real TCP sessions and compare every book.
    ReplayLobster(lobster::Options),
    /// Write man pages and shell completions into a folder, for a package.
    #[command(hide = true)]
    Pages(PagesArgs),
}

#[derive(Args)]
struct WithConfig {
    /// The node's configuration.
    #[arg(long, value_name = "FILE", default_value = "node.toml")]
    config: PathBuf,
}

#[derive(Args)]
struct FormatArgs {
    #[command(flatten)]
    config: WithConfig,
    /// Of the second node of a pair: the journal is the other node's venue's, with nothing in it; the other one runs.
    #[arg(long)]
    standby: bool,
}

#[derive(Args)]
struct PagesArgs {
    /// The folder.
    dir: PathBuf,
}

#[derive(Args)]
struct KeyArgs {
    /// The file to make, on another disk than the journal's.
    file: PathBuf,
}

#[derive(Args)]
struct RunArgs {
    #[command(flatten)]
    config: WithConfig,
    /// Write the stages' latencies as a standard HdrHistogram V2 interval log, once a second.
    #[arg(long, value_name = "FILE")]
    hlog: Option<PathBuf>,
    /// Use no snapshot: replay the whole journal, and so rebuild the session and feed logs too.
    #[arg(long)]
    from_genesis: bool,
    /// The process that this one must not outlive: a trial's.
    #[arg(long, value_name = "PID", hide = true)]
    trial_of: Option<u32>,
}

#[derive(Args)]
struct SignArgs {
    #[command(flatten)]
    config: WithConfig,
    /// End when what is committed now is signed.
    #[arg(long)]
    once: bool,
    /// After a takeover: the newest checkpoint that the other node signed. This journal must come to it, or nothing is
    /// signed.
    #[arg(long, value_name = "FILE")]
    after: Option<PathBuf>,
}

#[derive(Args)]
struct StatusArgs {
    #[command(flatten)]
    config: WithConfig,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct InspectArgs {
    /// What to look at.
    what: What,
    /// Of `statement`: this account alone.
    account: Option<u32>,
    #[command(flatten)]
    config: WithConfig,
    /// As JSON: one object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum What {
    /// Every frame of the journal: its place in bytes, the commands in it, the Seq committed and the Seq
    /// executed when it was closed.
    Journal,
    /// Every open order: what the market sees, best first; what it does not see (hidden orders, reserves, pegs); and
    /// what waits (stops, at the open, at the close). Prices in the quote asset for one unit of the base asset.
    Book,
    /// Every balance that is not zero, in units of the asset; `world` is the outside, whose balances are the
    /// negative of all members'.
    Ledger,
    /// Limits and what is used of them, switches and tiers: of ports, firms, accounts and instruments.
    Risk,
    /// What every instrument does now, its rules and its schedule.
    Phases,
    /// Balances of each account, what is held, and its trades of the day with their fees.
    Statement,
}

#[derive(Subcommand)]
enum SnapshotCommand {
    /// Make one from the newest and the journal behind it, never from the running state. The replay must come to the
    /// output hashes that stand in the journal, and session and feed log must hold what it says; otherwise there is none,
    /// and the earlier ones stay.
    Now(SnapshotArgs),
    /// Those there are, the newest first, by their headers.
    List(SnapshotArgs),
    /// Read and load each, and look whether it stands where the journal has its frame. Exit code 1 when one does not.
    Verify {
        #[command(flatten)]
        args: SnapshotArgs,
        /// Also replay the journal from its first command: it must come to the state of each.
        #[arg(long)]
        from_genesis: bool,
    },
}

#[derive(Args)]
struct SnapshotArgs {
    #[command(flatten)]
    config: WithConfig,
    /// As JSON: one object a line.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct ReplayArgs {
    /// A node's data directory, or the journal folder in it.
    dir: PathBuf,
    /// The key file that the journal was formatted with, if its records are enciphered.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Go back to just after this moment, and print books and balances as of then: a Seq, or a time in UTC such as
    /// 2026-11-21T09:30:00Z.
    #[arg(long, value_name = "SEQ|TIME")]
    until: Option<Moment>,
    /// Use no snapshot: replay from the first command.
    #[arg(long)]
    from_genesis: bool,
    /// Shards to replay over, each on a thread of its own: the hashes are the same.
    #[arg(long, default_value_t = 1, value_name = "N")]
    shards: usize,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let run = match Cli::parse().command {
        Command::Demo(options) => demo::run(&options),
        Command::Format(args) if args.standby => format::standby(&args.config.config),
        Command::Format(args) => format::run(&args.config.config),
        Command::Key(args) => format::key(&args.file),
        Command::Run(args) => args
            .trial_of
            .map_or(Ok(()), trial::end_with)
            .and_then(|()| node::run(&args.config.config, args.hlog.as_deref(), args.from_genesis)),
        Command::Topology(args) => topology::show(&args.config),
        Command::Status(args) => inspect::status(&args.config.config, args.json),
        Command::Tune(options) => tune::run(&options),
        #[cfg(feature = "top")]
        Command::Top(args) => top::run(&args.config),
        Command::Ctl(options) => ctl::run(*options),
        Command::Inspect(args) if args.account.is_some() && args.what != What::Statement => {
            Err(Failure::refused("only `inspect statement` takes an account; leave it out"))
        }
        Command::Inspect(args) => match args.what {
            What::Journal => inspect::journal(&args.config.config, args.json),
            What::Book => inspect::book(&args.config.config, args.json),
            What::Ledger => inspect::ledger(&args.config.config, args.json),
            What::Risk => inspect::risk(&args.config.config, args.json),
            What::Phases => inspect::phases(&args.config.config, args.json),
            What::Statement => inspect::statement(&args.config.config, args.account, args.json),
        },
        Command::Journal(options) => journal::run(&options),
        Command::Snapshot(SnapshotCommand::Now(args)) => snapshot::now(&args.config.config, args.json),
        Command::Snapshot(SnapshotCommand::List(args)) => snapshot::list(&args.config.config, args.json),
        Command::Snapshot(SnapshotCommand::Verify { args, from_genesis }) => {
            snapshot::verify(&args.config.config, from_genesis, args.json)
        }
        Command::Sign(args) => signing::run(&args.config.config, args.once, args.after.as_deref()),
        Command::Witness(options) => witness::run(&options),
        Command::Receipt(options) => receipt::make(&options),
        Command::VerifyReceipt(options) => receipt::verify(&options),
        Command::Consistency(options) => receipt::consistency(&options),
        Command::VerifyConsistency(options) => receipt::verify_grown(&options),
        Command::VerifyManifest(options) => manifest::verify(&options),
        Command::Hsm(options) => hsm::run(&options),
        Command::Replay(args) => inspect::replay(&inspect::Replaying {
            dir: &args.dir,
            key_file: args.key_file.as_deref(),
            shards: args.shards,
            until: args.until,
            from_genesis: args.from_genesis,
            json: args.json,
        }),
        Command::Archive(options) => archive::archive(&options),
        Command::Restore(options) => archive::restore(&options),
        Command::Load(options) => load::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::ReplayLobster(options) => lobster::run(&options),
        Command::Pages(args) => pages::write(Cli::command(), &args.dir),
    };
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure),
    }
}

fn report(failure: &Failure) -> ExitCode {
    eprintln!("ironbell: {failure}");
    ExitCode::from(failure.code)
}
