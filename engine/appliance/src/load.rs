//! `ironbell load`: the load generator against any venue that speaks OUCH 5.0 over SoupBinTCP, and what it has in
//! common with `ironbell bench`: the options, the steps, what is written and said.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use ironbell_load::record::{self, Build, KNEE_FACTOR, Record, Spread, Step, Venue};
use ironbell_load::{
    self as generator, Arrivals, BookWatch, Driver, DriverConfig, ExchangeCoreShares, FeedAddr, FlowConfig,
    KneeSearch, Logged, Login, Mix, Progress, Recorded, RecordedMarket, Shares, Stations, StepPlan, Traded,
};
use ironbell_types::{Symbol, Username};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive as _;
use sha2::{Digest as _, Sha256};

use crate::config::Config;
use crate::failure::Failure;
use crate::inspection;

/// How the load is.
#[derive(Args, Clone, Debug)]
pub struct LoadOptions {
    /// Requests a second of all members together; several to hold one after the other.
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [10_000.0])]
    rate: Vec<f64>,
    /// Step the rate up from the first one until it is no longer reached, or its p99 is above ten times the least,
    /// then close in on that.
    #[arg(long)]
    knee: bool,
    /// Seconds that a rate is held.
    #[arg(long, value_name = "N", default_value_t = 10.0)]
    seconds: f64,
    /// Seconds before, at the same rate, that are not measured.
    #[arg(long, value_name = "N", default_value_t = 2.0)]
    warmup: f64,
    /// How often all is done again.
    #[arg(long, value_name = "N", default_value_t = 1)]
    repeats: u32,
    /// `constant`, `poisson`, `bursts:LENGTH:FACTOR` (trains of so many at so many times the rate), `recorded`
    /// (the timing of a recorded flow) or `recorded:FILE` (seconds in the first column: a LOBSTER message file); what
    /// is recorded is played at --rate, 0 as it was.
    #[arg(long, value_name = "HOW", default_value = "poisson")]
    arrivals: String,
    /// `market` (the demo's: 45 % add, 35 cancel, 10 replace, 10 take), `market:A:C:R:T` (other shares),
    /// `exchange-core:N` (its generator's mix on books of N orders), `exchange-core-readme:N` (the mix that its README
    /// names), `harsh:S` (one book, the mid swings S %), `hostile`, `lobster:FILE` (a message file), `itch:FILE` (ITCH
    /// 5.0, each message behind its length; as many of its instruments as there are).
    #[arg(long, value_name = "WHAT", default_value = "market")]
    flow: String,
    /// The same seed and the same answers give the same requests.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// The CPU that the load is bound to; none leaves it to the scheduler.
    #[arg(long, value_name = "N")]
    cpu: Option<usize>,
    /// An address of this machine that sessions come from; several are used in turn: one has ports for some 25,000
    /// sessions. To loopback the load takes as many of 127.0.0.0/8 as it needs by itself.
    #[arg(long = "source", value_name = "IP")]
    sources: Vec<std::net::IpAddr>,
    /// Measure no host stalls beside the load: no thread that wakes up every millisecond on every CPU.
    #[arg(long)]
    no_hiccups: bool,
    /// Follow no feed: no Order-to-Book, and no thread for it.
    #[arg(long)]
    no_feed: bool,
    /// Orders a second, at most, that a member sends against what was just added to a book, when its message is taken
    /// from the feed: tick to trade. They are beside the schedule.
    #[arg(long, value_name = "N", default_value_t = 0.0, conflicts_with = "no_feed")]
    reactions: f64,
    /// Ask the kernel when it had received what is read: how late the software is. A system call more for each read.
    #[arg(long)]
    kernel_timestamps: bool,
    /// Write every answered request by itself, to samples.parquet.
    #[arg(long)]
    samples: bool,
    /// What the run is called in reports.
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Where run.json, run.hlog, hgrm/ and report.html go.
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    out: PathBuf,
    /// Print the run's record instead of tables.
    #[arg(long)]
    json: bool,
}

impl LoadOptions {
    /// What the run is called, if anything.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Everything goes to a folder below.
    pub fn into_folder(&mut self, name: &str) {
        self.out.push(name);
    }

    /// Where the results go.
    #[must_use]
    pub fn out(&self) -> &Path {
        &self.out
    }
}

/// Arguments of `ironbell load`.
#[derive(Args)]
pub struct Options {
    /// Where the venue takes orders.
    addr: SocketAddr,
    /// A file of logins, `USERNAME PASSWORD` a line; a session each.
    #[arg(long, value_name = "FILE")]
    logins: PathBuf,
    /// What is traded: SYMBOL=PRICE, or SYMBOL=PRICE:TICK (0.01 if not said). May be given again.
    #[arg(long = "instrument", value_name = "WHAT", required = true)]
    instruments: Vec<String>,
    /// The feed's multicast group, for Order-to-Book.
    #[arg(long, value_name = "ADDR", requires = "rerequest")]
    feed: Option<std::net::SocketAddrV4>,
    /// Where the feed's re-requests go.
    #[arg(long, value_name = "ADDR")]
    rerequest: Option<SocketAddr>,
    /// The interface that the feed comes in on.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    interface: std::net::Ipv4Addr,
    #[command(flatten)]
    load: LoadOptions,
}

/// `ironbell load`.
///
/// # Errors
/// When the venue cannot be reached or answers wrongly.
pub fn run(options: &Options) -> Result<(), Failure> {
    let advice = "a line each: USERNAME PASSWORD";
    let text = std::fs::read_to_string(&options.logins)
        .map_err(|e| Failure::file(&options.logins, e, "give a file of logins"))?;
    let logins = logins(&text).map_err(|e| Failure::file(&options.logins, e, advice))?;
    let instruments = options.instruments.iter().map(|text| traded(text)).collect::<Result<Vec<_>, _>>()?;
    let feed = options.feed.zip(options.rerequest).map(|(group, rerequest)| FeedAddr {
        group,
        interface: options.interface,
        rerequest,
    });
    let plan = Plan::new(&options.load, instruments.len())?;
    let target = Target { addr: options.addr, logins, instruments, feed, alone: false };
    if plan.reactions > 0.0 && target.feed.is_none() {
        return Err(Failure::refused("--reactions follow the feed: give --feed and --rerequest"));
    }
    let mut run = Run::new(&options.load, &plan, None)?;
    run.record.venue.address = options.addr.to_string();
    for repeat in 0..plan.repeats() {
        run.repeat(repeat, &plan, &target, &mut ())?;
    }
    run.finish()
}

fn logins(text: &str) -> Result<Vec<Login>, String> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let login = |(n, line): (usize, &str)| {
        let mut words = line.split_whitespace();
        let (Some(username), Some(password), None) = (words.next(), words.next(), words.next()) else {
            return Err(format!("line {}: not two words", n + 1));
        };
        let username = Username::new(username).ok_or(format!("line {}: {username} is too long", n + 1))?;
        Ok(Login { username, password: password.to_owned() })
    };
    let all = lines.map(login).collect::<Result<Vec<_>, _>>()?;
    if all.is_empty() { Err("no login in it".to_owned()) } else { Ok(all) }
}

fn traded(text: &str) -> Result<Traded, Failure> {
    let bad = || Failure::refused(format_args!("--instrument {text}: say SYMBOL=PRICE or SYMBOL=PRICE:TICK"));
    let (symbol, price) = text.split_once('=').ok_or_else(bad)?;
    let (price, tick) = price.split_once(':').unwrap_or((price, "0.01"));
    let wire =
        |text: &str| -> Option<u64> { (text.parse::<Decimal>().ok()? * Decimal::from(10_000)).to_u64() };
    let (price, tick) = (wire(price).ok_or_else(bad)?, wire(tick).filter(|tick| *tick > 0).ok_or_else(bad)?);
    let symbol = Symbol::new(symbol).ok_or_else(bad)?;
    if price / tick <= 220 {
        return Err(Failure::refused(format_args!("--instrument {text}: a price of 221 ticks at least")));
    }
    Ok(Traded { symbol, mid: price / tick * tick, tick, qty_max: 500 })
}

/// What is to be done, checked.
#[derive(Clone, Debug)]
pub struct Plan {
    rates: Vec<f64>,
    arrivals: Arrivals,
    mix: Mix,
    hold: Duration,
    warm_up: Duration,
    hiccup_cpus: Vec<usize>,
    knee: bool,
    seed: u64,
    cpu: Option<usize>,
    follows_feed: bool,
    repeats: u32,
    reactions: f64,
    kernel_timestamps: bool,
    keeps_samples: bool,
}

impl Plan {
    /// Of the options, for so many instruments.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn new(options: &LoadOptions, instruments: usize) -> Result<Self, Failure> {
        let mix = mix(&options.flow, instruments)?;
        let arrivals = arrivals(&options.arrivals, &mix)?;
        let mut rates = options.rate.clone();
        if let Arrivals::Recorded(recorded) = &arrivals {
            rates.iter_mut().filter(|rate| **rate == 0.0).for_each(|rate| *rate = recorded.rate());
        }
        if let Some(rate) = rates.iter().find(|rate| !(rate.is_finite() && (1.0..=1e7).contains(*rate))) {
            return Err(Failure::refused(format_args!("--rate {rate} is not within 1 to 10000000")));
        }
        let seconds = |name: &str, value: f64, low: f64| {
            if (low..=86_400.0).contains(&value) {
                Ok(Duration::from_secs_f64(value))
            } else {
                Err(Failure::refused(format_args!("--{name} {value} is not within {low} to 86400")))
            }
        };
        if !(0.0..=1e6).contains(&options.reactions) {
            return Err(Failure::refused("--reactions is within 0 to 1000000"));
        }
        if options.samples && !cfg!(feature = "samples") {
            return Err(Failure::refused("--samples: this program was built without the feature `samples`"));
        }
        if !(1..=10_000).contains(&options.repeats) {
            return Err(Failure::refused("--repeats is within 1 to 10000"));
        }
        Ok(Self {
            rates,
            arrivals,
            mix,
            hold: seconds("seconds", options.seconds, 0.1)?,
            warm_up: seconds("warmup", options.warmup, 0.0)?,
            hiccup_cpus: if options.no_hiccups { Vec::new() } else { generator::cpus_allowed() },
            knee: options.knee,
            seed: options.seed,
            cpu: options.cpu,
            follows_feed: !options.no_feed,
            repeats: options.repeats,
            reactions: options.reactions,
            kernel_timestamps: options.kernel_timestamps,
            keeps_samples: options.samples,
        })
    }

    /// How often all is done again.
    #[must_use]
    pub const fn repeats(&self) -> u32 {
        self.repeats
    }

    /// Whether Order-to-Book is measured.
    #[must_use]
    pub const fn follows_feed(&self) -> bool {
        self.follows_feed
    }
}

fn arrivals(text: &str, mix: &Mix) -> Result<Arrivals, Failure> {
    let bad = |why: &dyn std::fmt::Display| Failure::refused(format_args!("--arrivals {text}: {why}"));
    match text.split_once(':') {
        None if text == "constant" => Ok(Arrivals::Constant),
        None if text == "poisson" => Ok(Arrivals::Poisson),
        None if text == "recorded" => match mix {
            Mix::Recorded(market) => {
                Ok(Arrivals::Recorded(Arc::new(Recorded::of_times(&market.times()).map_err(|e| bad(&e))?)))
            }
            _ => Err(bad(&"the flow is not recorded: say recorded:FILE")),
        },
        Some(("bursts", shape)) => {
            let numbers: Vec<u32> = shape.split(':').filter_map(|n| n.parse().ok()).collect();
            match numbers[..] {
                [length, factor] if length > 0 && factor > 0 => Ok(Arrivals::Bursts { length, factor }),
                _ => Err(bad(&"say bursts:LENGTH:FACTOR, such as bursts:100:20")),
            }
        }
        Some(("recorded", file)) => {
            let rows = std::fs::read_to_string(file).map_err(|e| bad(&e))?;
            let times =
                rows.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(|(n, line)| {
                    let field = line.split(',').next().unwrap_or_default().trim();
                    field
                        .parse::<f64>()
                        .map_err(|_| bad(&format_args!("line {}: `{field}` is no time", n + 1)))
                });
            let times = times.collect::<Result<Vec<f64>, _>>()?;
            Ok(Arrivals::Recorded(Arc::new(Recorded::of_times(&times).map_err(|e| bad(&e))?)))
        }
        _ => Err(bad(&"say constant, poisson, bursts:LENGTH:FACTOR, recorded or recorded:FILE")),
    }
}

fn mix(text: &str, instruments: usize) -> Result<Mix, Failure> {
    if let Some((format @ ("lobster" | "itch"), file)) = text.split_once(':') {
        return recorded(format, Path::new(file), instruments);
    }
    let bad = || {
        Failure::refused(format_args!(
            "--flow {text}: say market, market:A:C:R:T, exchange-core:N, exchange-core-readme:N, harsh:S (below 100), hostile, \
             lobster:FILE or itch:FILE"
        ))
    };
    let mut words = text.split(':');
    let name = words.next().unwrap_or_default();
    let numbers = words.map(|n| n.parse::<u32>().map_err(|_| bad())).collect::<Result<Vec<_>, _>>()?;
    let shares = match name {
        "exchange-core-readme" => ExchangeCoreShares::Readme,
        _ => ExchangeCoreShares::Generator,
    };
    match (name, &numbers[..]) {
        ("market", []) => Ok(Mix::default()),
        ("market", &[adds, cancels, replaces, takers]) if adds > 0 => {
            Ok(Mix::Market(Shares { adds, cancels, replaces, takers }))
        }
        ("exchange-core" | "exchange-core-readme", &[book_target]) if book_target > 1 => {
            Ok(Mix::ExchangeCore { book_target, shares })
        }
        ("exchange-core" | "exchange-core-readme", []) => {
            Ok(Mix::ExchangeCore { book_target: 1_000, shares })
        }
        ("harsh", &[swing_percent]) if swing_percent < 100 => Ok(Mix::Harsh { swing_percent }),
        ("harsh", []) => Ok(Mix::Harsh { swing_percent: 2 }),
        ("hostile", []) => Ok(Mix::Hostile),
        _ => Err(bad()),
    }
}

fn recorded(format: &str, path: &Path, instruments: usize) -> Result<Mix, Failure> {
    let advice =
        "give a LOBSTER message file to lobster:, a file of length-prefixed ITCH 5.0 messages to itch:";
    let file = File::open(path).map_err(|e| Failure::file(path, e, advice))?;
    let file = BufReader::new(file);
    let market = match format {
        "lobster" => generator::lobster::read_messages(file)
            .map_err(|e| e.to_string())
            .and_then(|lines| RecordedMarket::of_lobster(&lines)),
        _ => RecordedMarket::of_itch(file, instruments),
    };
    Ok(Mix::Recorded(Arc::new(market.map_err(|e| Failure::file(path, e, advice))?)))
}

/// What is put under load.
pub struct Target {
    /// Where it takes orders.
    pub addr: SocketAddr,
    /// Who trades.
    pub logins: Vec<Login>,
    /// What.
    pub instruments: Vec<Traded>,
    /// Its feed, if it is to be followed.
    pub feed: Option<FeedAddr>,
    /// Whether nobody else trades there.
    pub alone: bool,
}

/// A run in the making.
pub struct Run {
    options: LoadOptions,
    /// What it came to so far.
    pub record: Record,
    logged: Vec<(f64, Duration, Logged)>,
    began: SystemTime,
    offset: Duration,
    #[cfg(feature = "samples")]
    samples: Option<generator::SamplesFile>,
}

impl Run {
    /// Nothing measured yet. `venue` is the configuration of the node that is measured, if it is on this machine.
    ///
    /// # Errors
    /// When the folder for the results cannot be made.
    pub fn new(options: &LoadOptions, plan: &Plan, venue: Option<&Config>) -> Result<Self, Failure> {
        std::fs::create_dir_all(&options.out)
            .map_err(|e| Failure::file(&options.out, e, "give a folder that you may write with --out"))?;
        let host = crate::tune::machine(venue);
        let began = SystemTime::now();
        let knob = |name: &str, value: &dyn std::fmt::Debug| (name.to_owned(), format!("{value:?}"));
        let knobs = BTreeMap::from([
            knob("rates", &plan.rates),
            knob("knee", &plan.knee),
            ("arrivals".to_owned(), options.arrivals.clone()),
            ("flow".to_owned(), options.flow.clone()),
            knob("seed", &plan.seed),
            knob("hold_s", &plan.hold.as_secs_f64()),
            knob("warm_up_s", &plan.warm_up.as_secs_f64()),
            knob("repeats", &options.repeats),
            knob("load_cpu", &plan.cpu),
            knob("hiccup_cpus", &plan.hiccup_cpus),
            knob("follows_feed", &plan.follows_feed),
            knob("reactions_per_s", &plan.reactions),
            knob("kernel_timestamps", &plan.kernel_timestamps),
        ]);
        let record = Record {
            format: record::FORMAT,
            name: options.name.clone().unwrap_or_else(|| "ironbell".to_owned()),
            began_unix_s: began.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            command: std::env::args().collect(),
            build: build(&std::env::current_exe().unwrap_or_default()),
            venue: Venue::default(),
            warnings: host.warnings(),
            host,
            knobs,
            steps: Vec::new(),
            knee: None,
        };
        #[cfg(feature = "samples")]
        let samples = if plan.keeps_samples {
            let path = options.out.join("samples.parquet");
            let fault = |e| Failure::file(&path, e, "see that the disk has room");
            Some(generator::SamplesFile::create(&path).map_err(fault)?)
        } else {
            None
        };
        Ok(Self {
            options: options.clone(),
            record,
            logged: Vec::new(),
            began,
            offset: Duration::ZERO,
            #[cfg(feature = "samples")]
            samples,
        })
    }

    /// All rates once, against `target`.
    ///
    /// # Errors
    /// When the venue cannot be had, or breaks a session.
    pub fn repeat(
        &mut self,
        repeat: u32,
        plan: &Plan,
        target: &Target,
        stations: &mut dyn Stations,
    ) -> Result<(), Failure> {
        if let Some(cpu) = plan.cpu
            && !generator::pin(cpu)
        {
            return Err(Failure::refused(format_args!("--cpu {cpu}: the kernel does not bind to it")));
        }
        let flow = FlowConfig {
            seed: plan.seed + u64::from(repeat),
            instruments: target.instruments.clone(),
            mix: plan.mix.clone(),
            standing_max: (5_000 * target.instruments.len() / target.logins.len()).clamp(50, 5_000),
        };
        let highest = plan.rates.iter().copied().fold(0.0, f64::max);
        let sessions = target.logins.len();
        let requests = highest * (plan.hold + plan.warm_up).as_secs_f64() * plan.rates.len() as f64;
        let mut config = DriverConfig {
            arrivals: plan.arrivals.clone(),
            capacity: ((requests * 1.5) as usize / sessions).clamp(4_096, 1 << 22),
            alone: target.alone,
            kernel_stamps: plan.kernel_timestamps,
            sources: self.options.sources.clone(),
            ..DriverConfig::new(target.logins.clone(), flow, highest)
        };
        if sessions > 64 {
            // Thousands of sessions with buffers for floods would be gigabytes.
            (config.session.input_size, config.session.output_size) = (16 << 10, 16 << 10);
            config.capacity = config.capacity.min(if sessions > 1_000 { 1 << 10 } else { 1 << 16 });
        }
        let mut driver = Driver::connect(target.addr, config).map_err(Failure::check)?;
        let watch = match target.feed.filter(|_| plan.follows_feed) {
            Some(feed) => Some(
                BookWatch::start(feed, driver.clock())
                    .map_err(|e| Failure::refused(format_args!("the feed {}: {e}", feed.group)))?,
            ),
            None => None,
        };
        if let Some(watch) = watch.as_ref().filter(|_| plan.reactions > 0.0) {
            driver.react_to(watch.ticks(), plan.reactions);
        }
        let mut todo = plan.rates.iter().copied();
        // A search that does not close in within so many steps has a knee that moves.
        let mut search = plan.knee.then(|| KneeSearch::new(plan.rates[0], 24));
        let mut least = u64::MAX;
        loop {
            let rate = match &search {
                Some(search) => search.rate(),
                None => todo.next(),
            };
            let Some(rate) = rate else { break };
            let step_plan = StepPlan {
                rate,
                hold: plan.hold,
                warm_up: plan.warm_up,
                repeat,
                hiccup_cpus: plan.hiccup_cpus.clone(),
                keeps_samples: plan.keeps_samples,
            };
            let line = ProgressLine::new(self.options.json, &step_plan);
            let step =
                generator::step(&mut driver, &step_plan, watch.as_ref(), stations, &mut |now| line.show(now));
            line.clear();
            let (step, logged) = step.map_err(Failure::check)?;
            #[cfg(feature = "samples")]
            if let Some(file) = &mut self.samples {
                file.step(repeat, rate, &driver.take_samples()).map_err(|e| {
                    Failure::file(&self.options.out.join("samples.parquet"), e, "see that the disk has room")
                })?;
            }
            let p99 = order_to_ack(&step).and_then(|spread| spread.at(0.99)).unwrap_or(u64::MAX);
            least = least.min(p99);
            if let Some(search) = &mut search {
                search.came(step.reached && p99 <= least.saturating_mul(KNEE_FACTOR));
            }
            for one in logged {
                self.logged.push((rate, self.offset, one));
            }
            self.offset += Duration::from_secs_f64(step.seconds);
            if !self.options.json {
                say(&step_line(&step, self.record.steps.is_empty()));
            }
            self.record.steps.push(step);
        }
        Ok(())
    }

    /// Writes everything, and says what it came to.
    ///
    /// # Errors
    /// When it cannot be written; with exit code 1 when an answer was wrong.
    pub fn finish(mut self) -> Result<(), Failure> {
        if self.options.knee || self.options.rate.len() > 2 {
            self.record.knee = record::knee(&self.record.steps);
        }
        #[cfg(feature = "samples")]
        if let Some(file) = self.samples.take() {
            let path = self.options.out.join("samples.parquet");
            file.finish().map_err(|e| Failure::file(&path, e, "see that the disk has room"))?;
        }
        self.write()?;
        if self.options.json {
            say(&(serde_json::to_string(&self.record).map_err(Failure::check)? + "\n"));
        } else {
            say(&self.told());
        }
        if self.record.is_right() { Ok(()) } else { Err(Failure::check(self.record.verdict())) }
    }

    fn write(&self) -> Result<(), Failure> {
        let out = &self.options.out;
        let fault =
            |file: &Path, e: &dyn std::fmt::Display| Failure::file(file, e, "see that the disk has room");
        let json = out.join("run.json");
        self.record.write(&json).map_err(|e| fault(&json, &e))?;
        let hlog = out.join("run.hlog");
        let tags: Vec<String> =
            self.logged.iter().map(|(rate, ..)| format!("order_to_ack@{rate:.0}")).collect();
        let intervals: Vec<_> = self
            .logged
            .iter()
            .zip(&tags)
            .map(|((_, begun, one), tag)| generator::Interval {
                offset: *begun + one.offset,
                length: one.length,
                tag,
                latency: &one.latency,
            })
            .collect();
        generator::write_hlog(&hlog, self.began, "ironbell load: warm-ups left out", &intervals)
            .map_err(|e| fault(&hlog, &e))?;
        let hgrm = out.join("hgrm");
        std::fs::create_dir_all(&hgrm).map_err(|e| fault(&hgrm, &e))?;
        for (rate, steps) in by_rate(&self.record.steps) {
            for (name, spread) in together(&steps) {
                let path = hgrm.join(format!("{name}@{rate:.0}.hgrm"));
                let mut file = File::create(&path).map_err(|e| fault(&path, &e))?;
                record::write_hgrm(&mut file, &spread).map_err(|e| fault(&path, &e))?;
            }
        }
        let html = out.join("report.html");
        std::fs::write(&html, generator::report::html(&[&self.record])).map_err(|e| fault(&html, &e))
    }

    fn told(&self) -> String {
        let mut text = String::new();
        for (rate, steps) in by_rate(&self.record.steps) {
            if self.record.knee.is_some() {
                break;
            }
            let latencies = together(&steps);
            let rows: Vec<(&str, &Spread)> = latencies.iter().map(|(name, spread)| (*name, spread)).collect();
            text += &format!("\nfrom the intended send time, {rate:.0}/s\n{}", record::table(&rows));
            let stages: Vec<(&str, &Spread)> =
                steps[0].stages.iter().map(|(name, spread)| (name.as_str(), spread)).collect();
            if !stages.is_empty() {
                text += &format!("\nin the node, from the message read\n{}", record::table(&stages));
            }
            if steps[0].hiccups.count > 0 {
                text +=
                    &format!("\nthe host by itself\n{}", record::table(&[("hiccups", &steps[0].hiccups)]));
            }
        }
        for warning in &self.record.warnings {
            text += &format!("\nnote: {warning}");
        }
        let out = self.options.out.display();
        text + &format!("\n{}\n{out}/report.html, run.json, run.hlog, hgrm/\n", self.record.verdict())
    }
}

/// Steps by their rate, ascending.
fn by_rate(steps: &[Step]) -> Vec<(f64, Vec<&Step>)> {
    let mut all: BTreeMap<u64, Vec<&Step>> = BTreeMap::new();
    for step in steps {
        all.entry(step.rate.to_bits()).or_default().push(step);
    }
    all.into_iter().map(|(bits, steps)| (f64::from_bits(bits), steps)).collect()
}

/// Each latency, of all repeats together.
fn together<'a>(steps: &[&'a Step]) -> Vec<(&'a str, Spread)> {
    let order = [
        "order_to_ack",
        "replace_to_ack",
        "cancel_to_out",
        "order_to_fill",
        "order_to_book",
        "tick_to_trade",
        "order_to_ack_from_sent",
        "order_to_ack_at_kernel",
        "kernel_to_taken",
        "card_to_taken",
    ];
    let all = |name: &'a str| {
        let spreads = steps.iter().filter_map(|step| step.latencies.get(name));
        let spread = spreads.fold(Spread::default(), |all, spread| all.and(spread));
        (spread.count > 0).then_some((name, spread))
    };
    order.into_iter().filter_map(all).collect()
}

fn order_to_ack(step: &Step) -> Option<&Spread> {
    step.latencies.get("order_to_ack")
}

fn step_line(step: &Step, is_first: bool) -> String {
    let mut text = String::new();
    if is_first {
        text += &format!(
            "{:>9} {:>11} {:>9} {:>9} {:>9} {:>9} {:>9}  {}\n",
            "rate/s", "answered/s", "p50 µs", "p99", "p99.9", "max", "hiccup", "order to ack"
        );
    }
    let spread = order_to_ack(step);
    let micros =
        |value: Option<u64>| value.map_or("-".to_owned(), |nanos| format!("{:.1}", nanos as f64 / 1e3));
    let at = |name: &str| micros(spread.and_then(|spread| spread.percentiles.get(name).copied().flatten()));
    text += &format!(
        "{:>9.0} {:>11.0} {:>9} {:>9} {:>9} {:>9} {:>9}  {}\n",
        step.rate,
        step.answered_per_s,
        at("50"),
        at("99"),
        at("99.9"),
        micros(spread.map(|spread| spread.max)),
        micros((step.hiccups.count > 0).then_some(step.hiccups.max)),
        match (step.violations.first(), step.reached) {
            (Some(violation), _) => format!("WRONG: {violation}"),
            (None, true) => "reached".to_owned(),
            (None, false) => format!("rate NOT reached: {} of {} sent", step.sent, step.intended),
        }
    );
    text
}

/// One line that is written over, on a terminal alone.
struct ProgressLine {
    is_shown: bool,
    plan: StepPlan,
}

impl ProgressLine {
    fn new(silent: bool, plan: &StepPlan) -> Self {
        Self { is_shown: !silent && std::io::stderr().is_terminal(), plan: plan.clone() }
    }

    fn show(&self, now: &Progress<'_>) {
        if self.is_shown {
            let p = now.latency.percentiles();
            eprint!(
                "\r{:>9.0}/s repeat {}  {:>5.1} s  {:>10} sent  p50 {:>8.1} µs  p99 {:>9.1} µs  {:>7} pending ",
                self.plan.rate,
                self.plan.repeat,
                now.elapsed.as_secs_f64(),
                now.counts.sent.total(),
                p.p50 as f64 / 1e3,
                p.p99 as f64 / 1e3,
                now.pending
            );
        }
    }

    fn clear(&self) {
        if self.is_shown {
            eprint!("\r{:100}\r", "");
        }
    }
}

/// The program at `path`, and the tree it lies in.
#[must_use]
pub fn build(path: &Path) -> Build {
    let git = |args: &[&str]| -> Option<String> {
        let mut command = std::process::Command::new("git");
        let output = command.arg("-C").arg(path.parent()?).args(args).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let changed =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|said| !said.is_empty());
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_default();
    Build {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: if changed { commit + "+" } else { commit },
        program_sha256: std::fs::read(path)
            .map(|bytes| inspection::hex(&Sha256::digest(bytes)))
            .unwrap_or_default(),
        profile: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
    }
}

/// Prints; a reader that has gone is no failure.
pub(crate) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_read_or_refused_with_advice() {
        let mix = |text: &str| mix(text, 1);
        for (text, shares) in [
            ("exchange-core:1000", ExchangeCoreShares::Generator),
            ("exchange-core-readme", ExchangeCoreShares::Readme),
        ] {
            assert_eq!(mix(text).ok(), Some(Mix::ExchangeCore { book_target: 1_000, shares }));
        }
        assert_eq!(mix("harsh:60").ok(), Some(Mix::Harsh { swing_percent: 60 }));
        for bad in ["harsh:100", "market:1", "exchange-core:x", "spam"] {
            assert!(mix(bad).unwrap_err().to_string().contains("say market"), "{bad}");
        }
        for bad in ["lobster:/nonexistent", "itch:/nonexistent"] {
            assert!(mix(bad).unwrap_err().to_string().contains("/nonexistent"), "{bad}");
        }
        let arrivals = |text: &str| arrivals(text, &Mix::default());
        assert_eq!(arrivals("bursts:100:20").ok(), Some(Arrivals::Bursts { length: 100, factor: 20 }));
        for bad in ["bursts:0:2", "bursts:5", "recorded", "recorded:/nonexistent", "never"] {
            assert!(
                arrivals(bad).unwrap_err().to_string().starts_with(&format!("--arrivals {bad}")),
                "{bad}"
            );
        }
        let bell = traded("BELL=42.50").expect("an instrument");
        assert_eq!((bell.mid, bell.tick), (425_000, 100));
        assert_eq!(traded("X=1.5:0.0001").expect("an instrument").tick, 1);
        for bad in ["BELL", "BELL=x", "BELL=1:0", "BELL=0.01", "TOOLONGSYMBOL=1"] {
            assert!(traded(bad).is_err(), "{bad}");
        }
        assert_eq!(logins("A01 secret\n\nB01 other\n").map(|all| all.len()), Ok(2));
        assert!(logins("A01\n").unwrap_err().contains("line 1"));
    }
}
