//! `ironbell bench wire`: from a member's order on the wire to its answer on the wire, through the whole node, beside a bare
//! echo over the same transport in the same run.
//!
//! ```text
//! member ═ cable ═ order_entry.io ─ gateway ─ sequencer ─ … ─ gateway     the node
//!                  order_entry.io ─ echo                                  the base
//! ```
//!
//! Both are processes of this program with one configuration, hence the same sockets, threads, CPUs and idle strategy, and
//! are never up at the same time. Turns alternate, and the ratio told is the median of those of each turn: what the machine
//! does to one it does to the other. The member is one thread that polls; it is this process.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use ironbell_load::cable::{self, Cable, Ports};
use ironbell_load::ping::{self, Echoes, Orders, RoundTrips};
use ironbell_load::record::Spread;
use ironbell_load::{Host, Login, Traded};
use serde::{Deserialize, Serialize};

use super::market::Market;
use crate::failure::Failure;
use crate::load::say;
use crate::trial::{Ended, TrialNode};

/// Arguments of `ironbell bench wire`.
#[derive(Args)]
pub struct Options {
    /// What moves members' bytes at the venue's end.
    #[arg(long, value_delimiter = ',', default_values_t = [Backend::Kernel, Backend::Uring, Backend::Xdp])]
    backends: Vec<Backend>,
    /// Members, each with a session; several numbers are measured one after the other.
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1, 10, 100, 1_000])]
    sessions: Vec<usize>,
    /// What an answer of the node promises: `none`, `buffered`, `disk`.
    #[arg(long, value_name = "WHAT", value_delimiter = ',', default_values_t = ["none".to_owned(), "disk".to_owned()])]
    durability: Vec<String>,
    /// Round trips in each turn.
    #[arg(long, value_name = "N", default_value_t = 4_000)]
    rounds: usize,
    /// How often node and echo take turns.
    #[arg(long, value_name = "N", default_value_t = 5)]
    turns: usize,
    /// Seconds in each turn with 64 requests under way, to see how many answers and frames a second come; 0 leaves it out.
    #[arg(long, value_name = "N", default_value_t = 0.3)]
    flood: f64,
    /// The venue's port of a real network card; a cable connects it with --member-iface. Both are lent to the bench, which
    /// gives them addresses of its own, and come back without theirs.
    #[arg(long, value_name = "DEVICE", requires = "member_iface")]
    iface: Option<String>,
    /// The members' port.
    #[arg(long, value_name = "DEVICE", requires = "iface")]
    member_iface: Option<String>,
    /// Measure a node on another machine, of a market that `bench market` prints; see --echo.
    #[arg(long, value_name = "ADDR", requires = "echo", conflicts_with_all = ["iface", "settings"])]
    node: Option<SocketAddr>,
    /// The echo beside it: `bench echo` with the same configuration on another address or port.
    #[arg(long, value_name = "ADDR", requires = "node")]
    echo: Option<SocketAddr>,
    /// A setting of node and echo: section.field=value, such as placement.spin=true. May be given again.
    #[arg(long = "set", value_name = "SETTING")]
    settings: Vec<String>,
    /// The CPU that the members' thread is bound to; none leaves it to the scheduler.
    #[arg(long, value_name = "N")]
    cpu: Option<usize>,
    /// Working files: the node. On a disk.
    #[arg(long, value_name = "DIR", default_value = "target/bench-wire")]
    dir: PathBuf,
    /// Where the results go, as JSON.
    #[arg(long, value_name = "FILE", default_value = "target/bench/wire.json")]
    out: PathBuf,
    /// Print the JSON object instead of tables.
    #[arg(long)]
    json: bool,
}

/// What moves members' bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Sockets of the kernel.
    Kernel,
    /// The same on one io_uring.
    Uring,
    /// AF_XDP and a TCP of our own.
    Xdp,
}

impl Backend {
    /// As `order_entry.io` spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Uring => "uring",
            Self::Xdp => "xdp",
        }
    }
}

impl std::fmt::Display for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Results {
    /// What bytes went over: `virtual cable`, the names of two ports, `loopback`, an address.
    pub wire: String,
    /// The machine.
    pub host: Host,
    /// Settings of node and echo beside their defaults.
    pub settings: Vec<String>,
    /// What was measured.
    pub rows: Vec<Row>,
    /// What was not, and why: backend, reason.
    pub absent: Vec<(String, String)>,
    /// What was tried and broke off.
    #[serde(default)]
    pub failed: Vec<Failed>,
}

/// A row that there is none of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Failed {
    /// As [`Row::backend`].
    pub backend: String,
    /// As [`Row::durability`].
    pub durability: String,
    /// As [`Row::sessions`].
    pub sessions: usize,
    /// Why.
    pub why: String,
}

/// A backend with so many sessions.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Row {
    /// `kernel`, `uring`, `xdp`; `remote` for a node elsewhere.
    pub backend: String,
    /// What an answer of the node promises.
    pub durability: String,
    /// How many.
    pub sessions: usize,
    /// Turns of each.
    pub turns: usize,
    /// The echo.
    pub echo: Side,
    /// The node, from an order to its answer.
    pub node: Side,
    /// The node's percentiles by those of the echo: the median of the turns' ratios.
    pub ratio: Percentiles<f64>,
}

/// One of the two.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Side {
    /// Round trips of all turns.
    pub count: u64,
    /// Round trips in nanoseconds, of all turns together; null where fewer than ten are above.
    pub ns: Percentiles<Option<u64>>,
    /// The worst.
    pub max_ns: u64,
    /// Answers a second with 64 requests under way: the median of the turns.
    pub answers_per_s: Option<f64>,
    /// Frames a second that the venue's end sent meanwhile; null where frames are not seen (loopback, another machine).
    pub frames_per_s: Option<f64>,
}

/// The percentiles that are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Percentiles<T> {
    /// The median.
    pub p50: T,
    /// 99 %.
    pub p99: T,
    /// 99.9 %.
    pub p999: T,
}

/// Requests under way in a flood, of all sessions together; one of each at least.
const FLOOD_DEPTH: usize = 64;

/// The command.
///
/// # Errors
/// What is wrong with the options; when a row failed: the others are told and written first.
pub fn run(options: &Options) -> Result<(), Failure> {
    let most = options.sessions.iter().copied().max().unwrap_or(0);
    if options.sessions.contains(&0) || options.turns == 0 || options.rounds == 0 {
        return Err(Failure::refused("--sessions, --turns and --rounds are 1 at least"));
    }
    if !(0.0..=60.0).contains(&options.flood) {
        return Err(Failure::refused("--flood is within 0 to 60 seconds"));
    }
    let market = Market::new(most, 1)?;
    let results = match (options.node, options.echo) {
        (Some(node), Some(echo)) => elsewhere(options, market, node, echo)?,
        _ => here(options, market)?,
    };
    let json = keep(options, &results)?;
    say(&if options.json { json + "\n" } else { table(&results) });
    match results.failed.as_slice() {
        [] => Ok(()),
        failed => Err(Failure::check(format_args!(
            "{} of {} rows failed; the others are in {}",
            failed.len(),
            failed.len() + results.rows.len(),
            options.out.display()
        ))),
    }
}

/// Writes what was measured so far, so that nothing of it is lost by what comes next; the JSON of it.
fn keep(options: &Options, results: &Results) -> Result<String, Failure> {
    let json = serde_json::to_string_pretty(results).map_err(Failure::check)?;
    let fault = |e: &dyn std::fmt::Display| Failure::file(&options.out, e, "choose another file with --out");
    if let Some(folder) = options.out.parent() {
        std::fs::create_dir_all(folder).map_err(|e| fault(&e))?;
    }
    std::fs::write(&options.out, &json).map_err(|e| fault(&e))?;
    Ok(json)
}

impl Results {
    /// Keeps a row, or why there is none.
    fn put(
        &mut self,
        options: &Options,
        (backend, durability, sessions): (&str, &str, usize),
        turns: Result<Turns, Failure>,
    ) -> Result<(), Failure> {
        match turns {
            Ok(turns) => self.rows.push(turns.row(backend, durability, sessions)),
            Err(why) => {
                eprintln!("{backend}, durability {durability}, {sessions} sessions: {why}");
                self.failed.push(Failed {
                    backend: backend.to_owned(),
                    durability: durability.to_owned(),
                    sessions,
                    why: why.to_string(),
                });
            }
        }
        keep(options, self).map(drop)
    }
}

/// A node and an echo of this program, at the other end of a cable.
fn here(options: &Options, market: Market) -> Result<Results, Failure> {
    let ports = options.iface.clone().zip(options.member_iface.clone());
    let ports = ports.map(|(venue, member)| Ports { venue, member });
    // Relative paths are the same in a namespace; the node's ports there are not taken by others.
    let wire = match Cable::lay(ports.as_ref()) {
        Ok(cable) => Wire::Cable(cable),
        Err(error @ cable::Error::Namespace(_)) if ports.is_none() => Wire::Loopback(error.to_string()),
        Err(error) => return Err(Failure::refused(error)),
    };
    let mut results = Results {
        wire: wire.name(ports.as_ref()),
        host: crate::tune::machine(None),
        settings: options.settings.clone(),
        ..Results::default()
    };
    for backend in &options.backends {
        if let (Backend::Xdp, Wire::Loopback(why)) = (backend, &wire) {
            results.absent.push((backend.to_string(), why.clone()));
            continue;
        }
        for durability in &options.durability {
            let mut rig = None;
            for &sessions in &options.sessions {
                if !options.json {
                    eprintln!("{backend}, durability {durability}, {sessions} sessions");
                }
                let plan = Plan::new(options, market, sessions, &wire);
                let mut measured = || {
                    if rig.is_none() {
                        rig = Some(Rig::new(options, market, &wire, *backend, durability)?);
                    }
                    let rig = rig.as_mut().expect("just made");
                    Turns::of(options.turns, |is_node| rig.turn(is_node, &wire, &plan))
                };
                let turns = measured();
                if turns.is_err() {
                    // What broke off is not gone on with.
                    rig = None;
                }
                results.put(options, (backend.name(), durability, sessions), turns)?;
            }
        }
    }
    Ok(results)
}

/// Both run somewhere else, at the same time.
fn elsewhere(
    options: &Options,
    market: Market,
    node: SocketAddr,
    echo: SocketAddr,
) -> Result<Results, Failure> {
    let wire = Wire::Loopback(String::new());
    let mut results =
        Results { wire: format!("{node}, {echo}"), host: crate::tune::machine(None), ..Results::default() };
    for &sessions in &options.sessions {
        let plan = Plan::new(options, market, sessions, &wire);
        let turns = Turns::of(options.turns, |is_node| {
            let addr = if is_node { node } else { echo };
            plan.clone().take(is_node, addr).map_err(Failure::check)
        });
        results.put(options, ("remote", "its own", sessions), turns)?;
    }
    Ok(results)
}

/// What is between members and venue.
enum Wire {
    Cable(Cable),
    /// And why there is no cable.
    Loopback(String),
}

impl Wire {
    fn name(&self, ports: Option<&Ports>) -> String {
        match (self, ports) {
            (Self::Cable(_), Some(ports)) => format!("{} to {}", ports.venue, ports.member),
            (Self::Cable(_), None) => "virtual cable".to_owned(),
            (Self::Loopback(_), _) => "loopback".to_owned(),
        }
    }
}

/// What members do in a turn; it goes to their thread.
#[derive(Clone)]
struct Plan {
    logins: Vec<Login>,
    traded: Traded,
    rounds: usize,
    flood: Duration,
    member_port: Option<String>,
    cpu: Option<usize>,
}

/// What a turn came to.
struct Turn {
    spread: Spread,
    answers_per_s: Option<f64>,
    frames_per_s: Option<f64>,
}

impl Plan {
    fn new(options: &Options, market: Market, sessions: usize, wire: &Wire) -> Self {
        let mut logins = market.logins();
        logins.truncate(sessions);
        let member_port = match wire {
            Wire::Cable(cable) => Some(cable.member_port().to_owned()),
            Wire::Loopback(_) => None,
        };
        Self {
            logins,
            traded: market.traded()[0],
            rounds: options.rounds,
            flood: Duration::from_secs_f64(options.flood),
            member_port,
            cpu: options.cpu,
        }
    }

    /// One turn with whoever is at `addr`.
    fn take(self, is_node: bool, addr: SocketAddr) -> Result<Turn, ping::Error> {
        // Where the kernel does not bind it, the scheduler places it.
        let _ = self.cpu.map(ironbell_load::pin);
        if is_node {
            self.with(&mut Orders::connect(addr, &self.logins, self.traded)?)
        } else {
            self.with(&mut Echoes::connect(addr, self.logins.len())?)
        }
    }

    fn with(&self, sessions: &mut impl RoundTrips) -> Result<Turn, ping::Error> {
        let spread = Spread::from(&sessions.rounds(self.rounds)?);
        if self.flood.is_zero() {
            return Ok(Turn { spread, answers_per_s: None, frames_per_s: None });
        }
        let frames = || self.member_port.as_deref().and_then(|port| cable::frames_received(port).ok());
        let before = frames();
        let depth = (FLOOD_DEPTH / sessions.sessions()).max(1);
        let answers = sessions.flood(depth, self.flood)?;
        let seconds = self.flood.as_secs_f64();
        let sent = before.zip(frames()).map(|(before, after)| (after - before) as f64 / seconds);
        Ok(Turn { spread, answers_per_s: Some(answers as f64 / seconds), frames_per_s: sent })
    }
}

/// Turns of both.
#[derive(Default)]
struct Turns {
    node: Vec<Turn>,
    echo: Vec<Turn>,
}

impl Turns {
    /// So many turns of each. Who goes first changes, so that what one leaves behind meets both.
    fn of(turns: usize, mut take: impl FnMut(bool) -> Result<Turn, Failure>) -> Result<Self, Failure> {
        let mut taken = Self::default();
        for turn in 0..turns {
            for is_node in [turn % 2 == 0, turn % 2 == 1] {
                taken.add(is_node, take(is_node)?);
            }
        }
        Ok(taken)
    }

    fn add(&mut self, is_node: bool, turn: Turn) {
        if is_node { self.node.push(turn) } else { self.echo.push(turn) }
    }

    fn row(&self, backend: &str, durability: &str, sessions: usize) -> Row {
        let ratio = |quantile: f64| {
            let of = |turn: &Turn| turn.spread.at(quantile).map(|nanos| nanos as f64);
            let turns = self.node.iter().zip(&self.echo);
            let ratios = turns.filter_map(|(node, echo)| Some(of(node)? / of(echo)?)).collect();
            median(ratios).unwrap_or(f64::NAN)
        };
        Row {
            backend: backend.to_owned(),
            durability: durability.to_owned(),
            sessions,
            turns: self.node.len(),
            echo: side(&self.echo),
            node: side(&self.node),
            ratio: Percentiles { p50: ratio(0.5), p99: ratio(0.99), p999: ratio(0.999) },
        }
    }
}

fn side(turns: &[Turn]) -> Side {
    let all = turns.iter().fold(Spread::default(), |all, turn| all.and(&turn.spread));
    let told = |name: &str| all.percentiles.get(name).copied().flatten();
    Side {
        count: all.count,
        ns: Percentiles { p50: told("50"), p99: told("99"), p999: told("99.9") },
        max_ns: all.max,
        answers_per_s: median(turns.iter().filter_map(|turn| turn.answers_per_s).collect()),
        frames_per_s: median(turns.iter().filter_map(|turn| turn.frames_per_s).collect()),
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

/// A node and an echo of one configuration, one of them up at a time.
struct Rig {
    node: TrialNode,
    addr: SocketAddr,
}

impl Rig {
    fn new(
        options: &Options,
        market: Market,
        wire: &Wire,
        backend: Backend,
        durability: &str,
    ) -> Result<Self, Failure> {
        /// The venue's, at its end of a cable.
        const PORT: u16 = 26_400;
        let mut settings = vec![
            ("order_entry.sessions_max".to_owned(), (market.sessions + 16).to_string()),
            ("order_entry.io".to_owned(), backend.to_string()),
            ("journal.durability".to_owned(), durability.to_owned()),
        ];
        if let Wire::Cable(cable) = wire {
            let listen = SocketAddr::from((Cable::VENUE, PORT));
            settings.push(("order_entry.listen".to_owned(), listen.to_string()));
            settings.push(("order_entry.allow_remote".to_owned(), "true".to_owned()));
            if backend == Backend::Xdp {
                let interface = cable.venue_port().to_owned();
                settings.push(("order_entry.xdp".to_owned(), format!("{{ interface = \"{interface}\" }}")));
            }
        }
        settings.extend(super::parsed("--set", &options.settings)?);
        let genesis = market.genesis_of_a_trial();
        let node = TrialNode::prepare_with(&options.dir, &genesis, None, &settings, false)?;
        let addr = node.config().order_entry.listen;
        Ok(Self { node, addr })
    }

    fn turn(&mut self, is_node: bool, wire: &Wire, plan: &Plan) -> Result<Turn, Failure> {
        self.wait_for_the_address()?;
        let _echo = if is_node {
            self.node.start()?;
            None
        } else {
            Some(start_echo(self.node.config_path())?)
        };
        let (plan, addr) = (plan.clone(), self.addr);
        let turn = match wire {
            Wire::Cable(cable) => cable.members(move || plan.take(is_node, addr)),
            Wire::Loopback(_) => plan.take(is_node, addr),
        };
        if is_node {
            self.node.stop()?;
        }
        turn.map_err(Failure::check)
    }

    /// What io_uring holds of a process that has ended the kernel lets go a little after it: its listening sockets too.
    fn wait_for_the_address(&self) -> Result<(), Failure> {
        const LETTING_GO_MAX: Duration = Duration::from_secs(5);
        let begun = Instant::now();
        loop {
            match TcpListener::bind(self.addr) {
                Err(e) if e.kind() == ErrorKind::AddrInUse && begun.elapsed() < LETTING_GO_MAX => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(e) => return Err(Failure::refused(format_args!("{}: {e}", self.addr))),
                Ok(_) => return Ok(()),
            }
        }
    }
}

/// Starts `ironbell bench echo`, and waits until it listens.
fn start_echo(config: &Path) -> Result<Ended, Failure> {
    let program = std::env::current_exe()
        .map_err(|e| Failure::refused(format_args!("this program's own file: {e}")))?;
    let log = config.with_file_name("echo.log");
    let file =
        std::fs::File::create(&log).map_err(|e| Failure::file(&log, e, "see that the disk has room"))?;
    let mut command = Command::new(&program);
    command.args([Path::new("bench"), Path::new("echo"), Path::new("--config"), config]);
    command.args(["--trial-of", &std::process::id().to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
    let child = command.spawn().map_err(|e| Failure::file(&program, e, "see that it can be executed"))?;
    let mut echo = Ended(child);
    let mut line = String::new();
    let read = BufReader::new(echo.0.stdout.take().expect("it is piped")).read_line(&mut line);
    if read.is_ok() && line.starts_with("ready") {
        return Ok(echo);
    }
    let said = std::fs::read_to_string(&log).unwrap_or_default();
    let last = said.lines().last().unwrap_or("it said nothing");
    Err(Failure::refused(format_args!("the echo did not start: {last}")))
}

/// For people.
fn table(results: &Results) -> String {
    let mut text = format!(
        "order to answer over {}, µs; beside a bare echo of {} bytes\n{:<8} {:<10} {:>8} | {:>8} {:>8} {:>8} | {:>8} {:>8} {:>8} | {:>5} {:>5} {:>5} | {:>9} {:>9} {:>8}\n",
        results.wire,
        ping::ECHO_SIZE,
        "backend",
        "durability",
        "sessions",
        "p50",
        "p99",
        "p99.9",
        "echo p50",
        "p99",
        "p99.9",
        "ratio",
        "p99",
        "p99.9",
        "answers/s",
        "frames/s",
        "of echo"
    );
    for row in &results.rows {
        let _ = write!(text, "{:<8} {:<10} {:>8}", row.backend, row.durability, row.sessions);
        for side in [&row.node, &row.echo] {
            text += " |";
            for nanos in [side.ns.p50, side.ns.p99, side.ns.p999] {
                let told = nanos.map_or(String::new(), |nanos| format!("{:.1}", nanos as f64 / 1e3));
                let _ = write!(text, " {told:>8}");
            }
        }
        text += " |";
        for ratio in [row.ratio.p50, row.ratio.p99, row.ratio.p999] {
            let _ = write!(text, " {ratio:>5.2}");
        }
        let whole = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.0}"));
        let share = row.node.answers_per_s.zip(row.echo.answers_per_s).map(|(node, echo)| node / echo);
        let _ = writeln!(
            text,
            " | {:>9} {:>9} {:>8}",
            whole(row.node.answers_per_s),
            whole(row.node.frames_per_s),
            share.map_or(String::new(), |share| format!("{share:.2}"))
        );
    }
    for Failed { backend, durability, sessions, why } in &results.failed {
        let _ = writeln!(text, "{backend:<8} {durability:<10} {sessions:>8} | failed: {why}");
    }
    for (backend, why) in &results.absent {
        let _ = writeln!(text, "{backend:<8} absent: {why}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(nanos: &[u64]) -> Turn {
        let buckets = nanos.iter().map(|nanos| (*nanos, 1)).collect();
        Turn { spread: Spread::of_buckets(buckets), answers_per_s: Some(nanos[0] as f64), frames_per_s: None }
    }

    /// The ratio is of the turns, not of what all of them come to: a slow turn of both says nothing of either.
    #[test]
    fn ratios_are_medians_of_turns() {
        let mut turns = Turns::default();
        for (node, echo) in [(120, 100), (3_300, 3_000), (260, 200)] {
            turns.add(true, turn(&[node]));
            turns.add(false, turn(&[echo]));
        }
        let row = turns.row("xdp", "none", 7);
        assert_eq!((row.ratio.p50, row.turns, row.sessions, row.node.count), (1.2, 3, 7, 3));
        assert_eq!((row.node.ns.p50, row.node.max_ns), (None, 3_300), "three samples tell no percentile");
        assert_eq!(row.echo.answers_per_s, Some(200.0));
        let results = Results {
            wire: "loopback".to_owned(),
            rows: vec![row],
            absent: vec![("uring".to_owned(), "no such kernel".to_owned())],
            failed: vec![Failed {
                backend: "kernel".to_owned(),
                durability: "disk".to_owned(),
                sessions: 7,
                why: "the echo is gone".to_owned(),
            }],
            ..Results::default()
        };
        let text = table(&results);
        assert!(text.contains("1.20") && text.contains("uring    absent: no such kernel"), "{text}");
        assert!(text.contains("kernel   disk              7 | failed: the echo is gone"), "{text}");
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }
}
