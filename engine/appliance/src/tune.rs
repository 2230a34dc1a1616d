//! `ironbell tune`: the host beside what it must look like.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use ironbell_load::Check;
use ironbell_tuning::{CpuSet, Finding, Host, Profile, apply, examine, jitter, placement};

use crate::config::Config;
use crate::failure::Failure;

/// `ironbell tune …`.
#[derive(Subcommand)]
pub enum Options {
    /// Read every item of a profile back from this machine: pass, warn or FAIL, with the fix. Exit code 1 when a required
    /// item fails.
    Doctor(Doctor),
    /// Propose which CPU does what on this machine: the [placement] section, and why.
    Topology(Topology),
    /// Watch CPUs for hiccups by a spinner on each: how often and for how long the machine itself stands still.
    Jitter(Jitter),
    /// Print a shell script that brings this machine to a profile. Nothing is changed.
    Apply(Look),
}

/// What to compare with what.
#[derive(Args)]
pub struct Look {
    /// `production`, `lab`, or the path of a TOML file.
    #[arg(long, value_name = "NAME", default_value = "production")]
    profile: String,
    /// The node's configuration: its data directory, and the CPUs of `[placement]`.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The CPUs of the order path, such as 2-5,8, in place of those of the configuration.
    #[arg(long, value_name = "LIST")]
    cpus: Option<CpuSet>,
    /// The network device that members come in by.
    #[arg(long, value_name = "NAME")]
    nic: Option<String>,
}

/// `ironbell tune doctor`.
#[derive(Args)]
pub struct Doctor {
    #[command(flatten)]
    look: Look,
    /// As one JSON object.
    #[arg(long)]
    json: bool,
}

/// `ironbell tune topology`.
#[derive(Args)]
pub struct Topology {
    /// The node's configuration: its data directory's disk, whose interrupt CPU is stepped around.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The network device that members come in by: CPUs of its memory node come first.
    #[arg(long, value_name = "NAME")]
    nic: Option<String>,
    /// Shards of the state machine.
    #[arg(long, value_name = "N", default_value_t = 1)]
    shards: usize,
}

/// `ironbell tune jitter`.
#[derive(Args)]
pub struct Jitter {
    /// Which CPUs, such as 2-5,8; all that are on by default.
    #[arg(long, value_name = "LIST")]
    cpus: Option<CpuSet>,
    /// How long.
    #[arg(long, value_name = "N", default_value_t = 10)]
    seconds: u64,
    /// Write the histograms as a standard HdrHistogram V2 interval log, one tag for each CPU.
    #[arg(long, value_name = "FILE")]
    hlog: Option<PathBuf>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
}

impl From<ironbell_tuning::Error> for Failure {
    fn from(error: ironbell_tuning::Error) -> Self {
        Self::refused(error)
    }
}

/// Runs it.
///
/// # Errors
/// When there is no such profile, file or CPU; with exit code 1 when a required item fails.
pub fn run(options: &Options) -> Result<(), Failure> {
    match options {
        Options::Doctor(doctor) => diagnose(doctor),
        Options::Topology(topology) => propose(topology),
        Options::Jitter(jitter) => watch(jitter),
        Options::Apply(look) => {
            let (profile, host) = look.at()?;
            say(&apply::script(&profile, &host))
        }
    }
}

impl Look {
    fn at(&self) -> Result<(Profile, Host), Failure> {
        let profile = Profile::load(&self.profile)?;
        let config = self.config.as_deref().map(Config::read).transpose()?;
        let of_config = config.as_ref().map(|config| config.placement.cpus.iter().copied().collect());
        let cpus = self.cpus.clone().or(of_config).unwrap_or_default();
        let nic = self.nic.clone().or_else(|| config.as_ref().and_then(|config| config.host.nic.clone()));
        let host = Host::live(cpus, nic, config.map(|config| config.data_dir));
        known(&host)?;
        Ok((profile, host))
    }
}

/// A network device or CPU that is not there is a slip of the pen, and no finding.
fn known(host: &Host) -> Result<(), Failure> {
    let there = host.online();
    if let Some(cpu) = host.order.without(&there).iter().next() {
        return Err(Failure::refused(format_args!("there is no CPU {cpu}; this machine has {there}")));
    }
    let Some(nic) = &host.nic else { return Ok(()) };
    if Path::new("/sys/class/net").join(nic).exists() && !nic.contains('/') {
        return Ok(());
    }
    Err(Failure::refused(format_args!("there is no network device {nic}; `ip link` lists them")))
}

fn diagnose(doctor: &Doctor) -> Result<(), Failure> {
    let (profile, host) = doctor.look.at()?;
    let report = examine(&profile, &host);
    say(&if doctor.json { report.json() } else { report.to_string() })?;
    let failed: Vec<_> = report.failed().map(|finding| finding.id.as_str()).collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::check(format_args!("this host is not fit for {}: {}", report.profile, failed.join(", "))))
}

/// This machine, also beside the profile of a venue's host, for the record of a run: with the CPUs, network device and disk of the node
/// that is measured, if it runs here.
#[must_use]
pub fn machine(venue: Option<&Config>) -> ironbell_load::Host {
    let profile = Profile::load("production").expect("built in");
    let host = Host::live(
        venue.map(|config| config.placement.cpus.iter().copied().collect()).unwrap_or_default(),
        venue.and_then(|config| config.host.nic.clone()),
        venue.map(|config| config.data_dir.clone()),
    );
    let told = |finding: Finding| Check {
        id: finding.id,
        verdict: finding.verdict.to_string().to_lowercase(),
        found: finding.found,
    };
    let checks = examine(&profile, &host).findings.into_iter().map(told).collect();
    ironbell_load::Host { checks, ..ironbell_load::Host::read(venue.map(|config| config.data_dir.as_path())) }
}

/// What a node with `[host] profile` needs before it starts. What may still come by itself is waited for, as `[host] settle` says.
///
/// # Errors
/// When a required item fails: each is named.
pub fn is_fit(config: &Config) -> Result<(), Failure> {
    let Some(name) = &config.host.profile else { return Ok(()) };
    let host = Host::live(
        config.placement.cpus.iter().copied().collect(),
        config.host.nic.clone(),
        Some(config.data_dir.clone()),
    );
    known(&host)?;
    let mut profile = Profile::load(name)?;
    let began = Instant::now();
    let settle = Duration::from_nanos(config.host.settle.0);
    let mut told = false;
    loop {
        let report = examine(&profile, &host);
        let failed: Vec<_> =
            report.failed().map(|finding| format!("{} ({})", finding.id, finding.found)).collect();
        if failed.is_empty() {
            return Ok(());
        }
        let failed = failed.join("; ");
        // What held is not asked again.
        profile.items.retain(|item| report.failed().any(|finding| finding.id == item.id));
        let takes_a_reboot = profile.items.iter().any(|item| item.fix.takes_a_reboot());
        if takes_a_reboot || began.elapsed() >= settle {
            return Err(Failure::refused(format_args!(
                "[host] profile = \"{name}\", and this machine does not meet it: {failed}; `ironbell tune doctor --profile {name} \
                 --config {}` says how each is set",
                config.file.display()
            )));
        }
        if !told {
            tracing::warn!(%failed, within = %config.host.settle, "this machine does not meet [host] profile yet; waiting");
            told = true;
        }
        std::thread::sleep(Duration::from_secs(1).min(settle));
    }
}

fn propose(topology: &Topology) -> Result<(), Failure> {
    let data_dir = topology.config.as_deref().map(Config::read).transpose()?.map(|config| config.data_dir);
    let host = Host::live(CpuSet::default(), topology.nic.clone(), data_dir);
    known(&host)?;
    say(placement::propose(&host, topology.shards).to_string().trim_end())
}

fn watch(options: &Jitter) -> Result<(), Failure> {
    let online = Host::live(CpuSet::default(), None, None).online();
    let cpus = options.cpus.as_ref().unwrap_or(&online);
    if let Some(cpu) = cpus.without(&online).iter().next() {
        return Err(Failure::refused(format_args!("there is no CPU {cpu}; this machine has {online}")));
    }
    let stop = Arc::default();
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|e| Failure::refused(format_args!("signal handlers: {e}; report this")))?;
    }
    let seen = jitter::watch(cpus, Duration::from_secs(options.seconds), &stop)?;
    if let Some(path) = &options.hlog {
        jitter::write_hlog(&seen, path)?;
    }
    if options.json {
        let line = |cpu: &jitter::Jitter| serde_json::to_string(&cpu.line()).expect("numbers are JSON");
        return seen.iter().try_for_each(|cpu| say(&line(cpu)));
    }
    say(&jitter::Table(&seen).to_string())
}

fn say(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{text}") {
        // Whoever reads may have enough.
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::refused(format_args!("standard output: {e}")))
        }
        _ => Ok(()),
    }
}
