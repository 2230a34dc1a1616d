//! `ironbell bench`: the latency lab. It makes a node, puts it under load, records everything, and compares.

pub mod echo;
pub mod market;
pub mod suite;
pub mod versus;
pub mod wire;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use ironbell_load::record::{Record, Spread, Venue};
use ironbell_load::{FeedAddr, Stations, compare, report};
use ironbell_sync::histogram::Counts;
use ironbell_sync::metrics::Reader;

use crate::failure::Failure;
use crate::load::{self, LoadOptions, Plan, Run, Target, say};
use crate::trial::TrialNode;
use market::Market;

/// Subcommands of `ironbell bench`.
#[derive(Subcommand)]
pub enum Options {
    /// Make a node on this machine, put it under load, write record, logs and report.
    Run(Box<RunOptions>),
    /// Say whether two runs differ: per percentile, with bootstrap intervals over their repeats.
    Compare(CompareOptions),
    /// Write the HTML report of one or several records.
    Report(ReportOptions),
    /// Order to answer on the wire through the whole node, beside a bare echo over the same transport, for each backend.
    Wire(Box<wire::Options>),
    /// Send back what comes in where a node would listen, as bare as can be: what `bench wire` sets a node against.
    Echo(echo::Options),
    /// The standard set: every station of this machine in one table, one JSON object and one report.
    Suite(suite::Options),
    /// Print configuration and logins of the market that `bench run` trades in, for a node elsewhere.
    Market(MarketOptions),
}

/// Arguments of `ironbell bench run`.
#[derive(Args)]
pub struct RunOptions {
    #[command(flatten)]
    load: LoadOptions,
    #[command(flatten)]
    market: MarketSize,
    /// A setting of the node: section.field=value, such as journal.durability=none. May be given again.
    #[arg(long = "set", value_name = "SETTING")]
    settings: Vec<String>,
    /// Compare with this revision of the repository: it is built, and both are measured in turn.
    #[arg(long, value_name = "REV", conflicts_with = "vs_settings")]
    vs: Option<String>,
    /// Compare with this program under other settings, measured in turn. May be given again.
    #[arg(long = "vs-set", value_name = "SETTING")]
    vs_settings: Vec<String>,
    /// The node's folder; an earlier trial there is replaced.
    #[arg(long, value_name = "DIR", default_value = "target/bench-node")]
    dir: PathBuf,
}

#[derive(Args, Clone, Copy)]
struct MarketSize {
    /// Members; each has a session, a port, a firm and an account of its own.
    #[arg(long, value_name = "N", default_value_t = 4)]
    sessions: usize,
    /// Instruments.
    #[arg(long, value_name = "N", default_value_t = 8)]
    instruments: usize,
}

/// Arguments of `ironbell bench compare`.
#[derive(Args)]
pub struct CompareOptions {
    /// A run.json.
    a: PathBuf,
    /// Another.
    b: PathBuf,
    /// As JSON: an array of figures.
    #[arg(long)]
    json: bool,
}

/// Arguments of `ironbell bench report`.
#[derive(Args)]
pub struct ReportOptions {
    /// Records: run.json files; the first is the one that the verdict is of.
    #[arg(required = true)]
    records: Vec<PathBuf>,
    /// Where the report goes.
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,
}

/// Arguments of `ironbell bench market`.
#[derive(Args)]
pub struct MarketOptions {
    #[command(flatten)]
    market: MarketSize,
    /// Print the logins, a line each, for `ironbell load --logins`, instead of the configuration.
    #[arg(long)]
    logins: bool,
}

/// `ironbell bench`.
///
/// # Errors
/// What is wrong, or which check failed.
pub fn run(options: &Options) -> Result<(), Failure> {
    match options {
        Options::Run(options) => measure(options),
        Options::Compare(options) => compared(options),
        Options::Report(options) => reported(options),
        Options::Wire(options) => wire::run(options),
        Options::Echo(options) => echo::run(options),
        Options::Suite(options) => suite::run(options),
        Options::Market(options) => {
            let market = Market::new(options.market.sessions, options.market.instruments)?;
            if options.logins {
                for login in market.logins() {
                    say(&format!("{} {}\n", login.username, login.password));
                }
            } else {
                let sessions_max = options.market.sessions + 16;
                say(&format!("[order_entry]\nsessions_max = {sessions_max}\n{}", market.genesis()));
            }
            Ok(())
        }
    }
}

fn measure(options: &RunOptions) -> Result<(), Failure> {
    let plan = Plan::new(&options.load, options.market.instruments)?;
    let market = Market::new(options.market.sessions, options.market.instruments)?;
    let sides = sides(options, market)?;
    let is_compared = sides.len() > 1;
    if is_compared && plan.repeats() < compare::REPEATS_MIN as u32 {
        say(&format!("note: {} repeats a side are too few to tell a difference\n", plan.repeats()));
    }
    let mut runs: Vec<Option<Run>> = sides.iter().map(|_| None).collect();
    for repeat in 0..plan.repeats() {
        // Who goes first changes, so that what one leaves behind meets both.
        let mut turn: Vec<usize> = (0..sides.len()).collect();
        if repeat % 2 == 1 {
            turn.reverse();
        }
        for at in turn {
            let side = &sides[at];
            let mut node = Started::start(&options.dir, market, side)?;
            if runs[at].is_none() {
                runs[at] = Some(begun(options, &plan, side, &node, is_compared)?);
            }
            let run = runs[at].as_mut().expect("it was begun");
            if is_compared && repeat == 0 {
                say(&format!("{}:\n", side.name));
            }
            run.repeat(repeat, &plan, &node.target(market, &plan)?, &mut node.stations)?;
            node.node.kill();
        }
    }
    let mut records = Vec::new();
    for run in runs.into_iter().flatten() {
        records.push(run.record.clone());
        run.finish()?;
    }
    let [now, other] = &records[..] else { return Ok(()) };
    let differences = compare::compare(other, now, 1);
    let out = options.load.out();
    let fault = |e: &dyn std::fmt::Display| Failure::file(out, e, "see that the disk has room");
    std::fs::write(out.join("report.html"), report::html(&[now, other])).map_err(|e| fault(&e))?;
    let json = serde_json::to_string(&differences).map_err(Failure::check)?;
    std::fs::write(out.join("compare.json"), json).map_err(|e| fault(&e))?;
    say(&format!("\n{}", compare::told(&differences, &other.name, &now.name)));
    say(&format!("{0}/report.html has both, {0}/compare.json the figures\n", out.display()));
    Ok(())
}

fn begun(
    options: &RunOptions,
    plan: &Plan,
    side: &Side,
    node: &Started,
    is_compared: bool,
) -> Result<Run, Failure> {
    let mut load = options.load.clone();
    if is_compared {
        load.into_folder(&side.folder);
    }
    let mut run = Run::new(&load, plan, Some(node.node.config()))?;
    if is_compared {
        run.record.name.clone_from(&side.name);
    }
    if let Some(program) = &side.program {
        run.record.build = load::build(program);
        run.record.build.commit.clone_from(&side.commit);
    }
    run.record.venue = node.venue();
    for (name, value) in &side.settings {
        run.record.knobs.insert(format!("set {name}"), value.clone());
    }
    run.record.knobs.insert("sessions".to_owned(), options.market.sessions.to_string());
    run.record.knobs.insert("instruments".to_owned(), options.market.instruments.to_string());
    Ok(run)
}

/// What is measured: a program with settings.
struct Side {
    name: String,
    /// Its folder under the results, when there are two.
    folder: String,
    /// Another program than this one.
    program: Option<PathBuf>,
    commit: String,
    settings: Vec<(String, String)>,
    /// Whether logins are cheap: of programs that are all this one. Another revision may not know how.
    logs_in_quickly: bool,
}

/// This program first; then, if asked for, what it is compared with.
fn sides(options: &RunOptions, market: Market) -> Result<Vec<Side>, Failure> {
    let mut settings = vec![("order_entry.sessions_max".to_owned(), (market.sessions + 16).to_string())];
    settings.extend(parsed("--set", &options.settings)?);
    let now = Side {
        name: options.load.name().unwrap_or("now").to_owned(),
        folder: "now".to_owned(),
        program: None,
        commit: String::new(),
        settings: settings.clone(),
        logs_in_quickly: options.vs.is_none(),
    };
    let mut sides = vec![now];
    if let Some(revision) = &options.vs {
        let (program, commit) = versus::program_of(revision)?;
        sides.push(Side {
            name: revision.clone(),
            folder: "vs".to_owned(),
            program: Some(program),
            commit,
            settings: settings.clone(),
            logs_in_quickly: false,
        });
    }
    if !options.vs_settings.is_empty() {
        let other = parsed("--vs-set", &options.vs_settings)?;
        let name = other.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ");
        settings.retain(|(name, _)| !other.iter().any(|(of, _)| of == name));
        settings.extend(other);
        let folder = "vs".to_owned();
        sides.push(Side {
            name,
            folder,
            program: None,
            commit: String::new(),
            settings,
            logs_in_quickly: options.vs.is_none(),
        });
    }
    Ok(sides)
}

/// Settings as `section.field=value`.
pub(crate) fn parsed(option: &str, told: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let one = |text: &String| {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| Failure::refused(format_args!("{option} {text}: say section.field=value")))?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    };
    told.iter().map(one).collect()
}

/// A side's node, running.
struct Started {
    node: TrialNode,
    stations: Segment,
}

impl Started {
    fn start(dir: &Path, market: Market, side: &Side) -> Result<Self, Failure> {
        let program = side.program.as_deref();
        let is_other = program.is_some();
        let genesis = if side.logs_in_quickly { market.genesis_of_a_trial() } else { market.genesis() };
        let mut node = TrialNode::prepare_with(dir, &genesis, program, &side.settings, is_other)?;
        node.start()?;
        let stations = Segment { path: node.config().data_dir.join("metrics"), before: Vec::new() };
        Ok(Self { node, stations })
    }

    fn target(&self, market: Market, plan: &Plan) -> Result<Target, Failure> {
        let config = self.node.config();
        let feed = FeedAddr {
            group: config.feed.group,
            interface: config.feed.interface,
            rerequest: config.feed.rerequest.into(),
        };
        let addr = config.order_entry.listen;
        let feed = plan.follows_feed().then_some(feed);
        Ok(Target { addr, logins: market.logins(), instruments: market.traded(), feed, alone: true })
    }

    fn venue(&self) -> Venue {
        let text = std::fs::read_to_string(self.node.config_path()).unwrap_or_default();
        let mut table: toml::Table = text.parse().unwrap_or_default();
        table.remove("genesis");
        Venue {
            address: format!("{} over loopback", self.node.config().order_entry.listen),
            durability: self.node.durability.clone(),
            // Another revision may tell its status in another way; then there is none.
            threads: self.node.status().map(|status| status.threads).unwrap_or_default(),
            config: toml::to_string(&table).unwrap_or_default(),
        }
    }
}

/// The stations of a node on this machine, from its metrics segment.
struct Segment {
    path: PathBuf,
    before: Vec<(String, Counts)>,
}

/// Those that only frames of several shards, nodes with a standby, and sockets that are stamped pass.
pub const WAY_OF_SOME: [&str; 5] = ["card_to_gateway", "kernel_to_gateway", "risk", "matched", "replicated"];
/// The stations in the order of the way; what others there are come behind. The first two end where the others are counted
/// from.
pub const WAY: [&str; 12] = [
    "card_to_gateway",
    "kernel_to_gateway",
    "gateway_in",
    "sequenced",
    "risk",
    "matched",
    "executed",
    "durable",
    "replicated",
    "released",
    "gateway_out",
    "feed_out",
];

impl Segment {
    fn read(&self) -> Vec<(String, Counts)> {
        let roles = Reader::open(&self.path).map(|reader| reader.read()).unwrap_or_default();
        roles.into_iter().flat_map(|role| role.histograms).collect()
    }
}

impl Stations for Segment {
    fn begin(&mut self) {
        self.before = self.read();
    }

    fn end(&mut self) -> Vec<(String, Spread)> {
        let since = |(name, now): (String, Counts)| {
            let before = self.before.iter().find(|(of, _)| *of == name);
            let counts = before.map_or_else(|| now.clone(), |(_, before)| now.since(before));
            (name, Spread::of_buckets(counts.recorded().collect()))
        };
        let mut stages: Vec<_> = self.read().into_iter().map(since).filter(|(_, of)| of.count > 0).collect();
        let place = |name: &str| WAY.iter().position(|of| *of == name).unwrap_or(WAY.len());
        stages.sort_by_key(|(name, _)| place(name));
        stages
    }
}

fn read(path: &Path) -> Result<Record, Failure> {
    Record::read(path)
        .map_err(|e| Failure::file(path, e, "give a run.json of `ironbell bench run` or `load`"))
}

fn compared(options: &CompareOptions) -> Result<(), Failure> {
    let (a, b) = (read(&options.a)?, read(&options.b)?);
    let differences = compare::compare(&a, &b, 1);
    if options.json {
        say(&(serde_json::to_string(&differences).map_err(Failure::check)? + "\n"));
    } else {
        let name = |path: &Path, record: &Record| format!("{} ({})", record.name, path.display());
        say(&compare::told(&differences, &name(&options.a, &a), &name(&options.b, &b)));
    }
    Ok(())
}

fn reported(options: &ReportOptions) -> Result<(), Failure> {
    let records = options.records.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    std::fs::write(&options.out, report::html(&records.iter().collect::<Vec<_>>()))
        .map_err(|e| Failure::file(&options.out, e, "give a file that you may write with --out"))?;
    say(&format!("{}\n", options.out.display()));
    Ok(())
}
