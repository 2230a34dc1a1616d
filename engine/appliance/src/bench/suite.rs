//! `ironbell bench suite`: the standard set, in one run, as one table and one JSON object.
//!
//! Each station is a name, a figure, and its ratio to something that was measured in the same run on the same
//! machine, or to a bar: figures by themselves do not travel between machines. A station that cannot be measured on this
//! machine is told as absent, with the reason, never left out.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use clap::Args;
use ironbell_load::record::{Record, Spread};
use ironbell_load::{Latency, report};
use ironbell_types::Nanos;
use rustix::fs::OFlags;
use rustix::io::ReadWriteFlags;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::wire::{Backend, Results};
use crate::failure::Failure;
use crate::load::say;

/// Arguments of `ironbell bench suite`.
#[derive(Args)]
pub struct Options {
    /// Where latest.json and latest.html go.
    #[arg(long, value_name = "DIR", default_value = "benches/results")]
    out: PathBuf,
    /// Working files: nodes and their records. On a disk.
    #[arg(long, value_name = "DIR", default_value = "target/bench-suite")]
    dir: PathBuf,
    /// Seconds that each rate is held.
    #[arg(long, value_name = "N", default_value_t = 5)]
    seconds: u32,
    /// Only stations whose names contain this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
    /// Print the JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

/// What a station came to.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Figure {
    /// The figure; null when the station is absent.
    pub value: Option<f64>,
    /// Of what.
    pub unit: String,
    /// What the ratio is to.
    pub ratio_to: Option<String>,
    /// The figure divided by that.
    pub ratio: Option<f64>,
    /// How many samples the figure stands on.
    pub samples: u64,
}

/// Every station: what it is called, and its unit.
const STATIONS: [(&str, &str); 9] = [
    ("matching_worst", "messages/s"),
    ("core_full", "messages/s"),
    ("durable_ack", "ns, p50"),
    ("replicated_ack", "ns, p50"),
    ("wire_kernel", "ns, p50"),
    ("wire_uring", "ns, p50"),
    ("wire_xdp", "ns, p50"),
    ("replay", "commands/s"),
    ("failover", "ns, p50"),
];

/// The command.
///
/// # Errors
/// When a station that is there cannot be measured, or the results not be written.
pub fn run(options: &Options) -> Result<(), Failure> {
    for dir in [&options.out, &options.dir] {
        std::fs::create_dir_all(dir).map_err(|e| Failure::file(dir, e, "choose another folder"))?;
    }
    let mut suite = Suite { options, figures: BTreeMap::new(), absent: BTreeMap::new(), records: Vec::new() };
    suite.measure()?;
    let figures = suite.figures;
    let json = serde_json::to_string_pretty(&figures).map_err(Failure::check)?;
    let (file, page) = (options.out.join("latest.json"), options.out.join("latest.html"));
    let fault = |path: &Path, e: &dyn std::fmt::Display| Failure::file(path, e, "see that the disk has room");
    std::fs::write(&file, &json).map_err(|e| fault(&file, &e))?;
    let records: Vec<&Record> = suite.records.iter().collect();
    if !records.is_empty() {
        let rows: Vec<(&str, &Figure)> =
            STATIONS.iter().filter_map(|(name, _)| Some((*name, figures.get(*name)?))).collect();
        std::fs::write(&page, report::html_with(&records, &rows)).map_err(|e| fault(&page, &e))?;
    }
    say(&if options.json { json + "\n" } else { table(&figures, &suite.absent) });
    Ok(())
}

struct Suite<'a> {
    options: &'a Options,
    figures: BTreeMap<String, Figure>,
    /// Why a station is absent on this machine.
    absent: BTreeMap<&'static str, String>,
    records: Vec<Record>,
}

impl Suite<'_> {
    fn wants(&self, name: &str) -> bool {
        name.contains(&self.options.only)
    }

    /// A figure, and what it is set against with its value.
    fn put(&mut self, name: &str, value: f64, base: Option<(&str, f64)>, samples: u64) {
        self.put_ratio(name, value, base.map(|(to, base)| (to, value / base)), samples);
    }

    /// A figure, and its ratio to something.
    fn put_ratio(&mut self, name: &str, value: f64, ratio: Option<(&str, f64)>, samples: u64) {
        let figure = Figure {
            value: Some(value),
            unit: unit(name),
            ratio_to: ratio.map(|(to, _)| to.to_owned()),
            ratio: ratio.map(|(_, ratio)| ratio),
            samples,
        };
        self.figures.insert(name.to_owned(), figure);
    }

    /// A station that this machine has nothing for.
    fn put_absent(&mut self, name: &'static str, why: String) {
        self.figures.insert(name.to_owned(), Figure { unit: unit(name), ..Figure::default() });
        self.absent.insert(name, why);
    }

    fn measure(&mut self) -> Result<(), Failure> {
        if self.wants("matching_worst") || self.wants("core_full") {
            eprintln!("bench: matching and core, the worst of five flows");
            self.core()?;
        }
        if self.wants("durable_ack") {
            eprintln!("bench: a node on the disk");
            self.durable()?;
        }
        if self.wants("replay") {
            eprintln!("bench: a journal is replayed");
            self.replay()?;
        }
        if self.wants("replicated_ack") || self.wants("failover") {
            eprintln!("bench: a pair of nodes");
            self.pair();
        }
        let wires = [Backend::Kernel, Backend::Uring, Backend::Xdp];
        let wires: Vec<Backend> = wires.into_iter().filter(|backend| self.wants(station(*backend))).collect();
        if !wires.is_empty() {
            eprintln!("bench: wire to wire beside a bare echo");
            self.wire(&wires)?;
        }
        Ok(())
    }

    fn core(&mut self) -> Result<(), Failure> {
        let said = output(cargo_bench("ironbell-core", "matching_throughput").args([
            "--json",
            "--runs",
            "3",
            "--messages",
            "1000000",
        ]))
        .map_err(|e| Failure::refused(format_args!("run `bench suite` in a checkout: {e}")))?;
        let json: Value = serde_json::from_str(said.trim()).map_err(Failure::check)?;
        for (name, stage) in [("matching_worst", "matching"), ("core_full", "engine")] {
            let of = &json["worst"][stage];
            let (Some(per_s), Some(bar)) = (of["messages_per_s"].as_f64(), of["bar"].as_f64()) else {
                return Err(Failure::check(format_args!(
                    "matching_throughput tells no worst {stage}: {said}"
                )));
            };
            if self.wants(name) {
                self.put(name, per_s, Some((&format!("the bar, {:.0} million", bar / 1e6), bar)), 3_000_000);
            }
        }
        Ok(())
    }

    /// Loads a node of its own for the usual time; its record.
    fn load(&mut self, name: &str, durability: &str, rate: &str) -> Result<Record, Failure> {
        let program = std::env::current_exe()
            .map_err(|e| Failure::refused(format_args!("this program's file: {e}")))?;
        let out = self.options.dir.join(name);
        let mut command = Command::new(program);
        command.args([
            "bench",
            "run",
            "--rate",
            rate,
            "--warmup",
            "1",
            "--repeats",
            "3",
            "--json",
            "--no-feed",
        ]);
        command.args(["--name", name, "--seconds", &self.options.seconds.to_string()]);
        command.args(["--set", &format!("journal.durability={durability}"), "--out"]).arg(&out);
        command.arg("--dir").arg(self.options.dir.join("node"));
        output(&mut command).map_err(Failure::check)?;
        let path = out.join("run.json");
        let record = Record::read(&path).map_err(|e| Failure::file(&path, e, "report this"))?;
        self.records.push(record.clone());
        Ok(record)
    }

    fn durable(&mut self) -> Result<(), Failure> {
        let before = bare_writes(&self.options.dir)?;
        let record = self.load("durable_ack", "disk", "5000")?;
        let bare = before.and(&bare_writes(&self.options.dir)?);
        let acks = order_to_ack(&record);
        if let (Some(p50), Some(bare)) = (acks.at(0.5), bare.at(0.5)) {
            let to = "a bare 4 KiB O_DIRECT + RWF_DSYNC write, p50";
            self.put("durable_ack", p50 as f64, Some((to, bare as f64)), acks.count);
        }
        Ok(())
    }

    /// A journal of its own: what a short load leaves behind is read before its reader has started.
    fn replay(&mut self) -> Result<(), Failure> {
        let dir = std::path::absolute(&self.options.dir).map_err(Failure::check)?;
        let mut bench = cargo_bench("ironbell-appliance", "journal_replay");
        bench.args(["--json", "--runs", "3", "--commands", "1000000"]).arg(dir);
        let said = output(&mut bench)
            .map_err(|e| Failure::refused(format_args!("run `bench suite` in a checkout: {e}")))?;
        let json: Value = serde_json::from_str(said.trim()).map_err(Failure::check)?;
        let told = (json["replayed_per_s"].as_f64(), json["commands"].as_u64());
        let (Some(per_s), Some(commands)) = told else {
            return Err(Failure::check(format_args!("journal_replay tells no rate: {said}")));
        };
        self.put("replay", per_s, Some(("the bar, 5 million", 5e6)), commands);
        Ok(())
    }

    /// A pair wants etcd, which not every machine has: without it the stations are absent, and why is said.
    fn pair(&mut self) {
        const ORDERS: &str = "500";
        let takeovers = if self.wants("failover") { "5" } else { "0" };
        let mut bench = cargo_bench("ironbell-appliance", "replicated_commit");
        bench.args(["--json", "--turns", "2", "--orders", ORDERS, "--takeovers", takeovers]);
        let told = std::path::absolute(&self.options.dir).map_err(|e| e.to_string());
        let told = told.and_then(|dir| output(bench.arg("--dir").arg(dir)));
        if self.wants("replicated_ack") {
            match told.as_deref().map_err(String::clone).and_then(replicated_ack) {
                Ok([alone, both]) => {
                    let to = "the ack of a node alone, p50, of the same run";
                    self.put("replicated_ack", both, Some((to, alone)), ORDERS.parse().expect("a number"));
                }
                Err(why) => self.put_absent("replicated_ack", why),
            }
        }
        if self.wants("failover") {
            match told.as_deref().map_err(String::clone).and_then(takeover) {
                Ok(Takeover { p50, grace, count }) => {
                    let to = "ha.grace, the silence that starts a takeover";
                    self.put("failover", p50, Some((to, grace)), count);
                }
                Err(why) => self.put_absent("failover", why),
            }
        }
    }

    fn wire(&mut self, backends: &[Backend]) -> Result<(), Failure> {
        let program = std::env::current_exe()
            .map_err(|e| Failure::refused(format_args!("this program's file: {e}")))?;
        let names = backends.iter().map(|backend| backend.name()).collect::<Vec<_>>().join(",");
        let mut command = Command::new(program);
        command.args(["bench", "wire", "--json", "--sessions", "1", "--durability", "none"]);
        command.args(["--backends", &names, "--dir"]).arg(self.options.dir.join("wire"));
        command.arg("--out").arg(self.options.dir.join("wire.json"));
        // It tells what it has measured, whatever else failed.
        let output =
            command.output().map_err(|e| Failure::refused(format_args!("this program's file: {e}")))?;
        let results: Results = serde_json::from_slice(&output.stdout).map_err(|_| {
            let said = String::from_utf8_lossy(&output.stderr);
            Failure::check(format_args!("bench wire: {}", said.lines().last().unwrap_or("it said nothing")))
        })?;
        for backend in backends {
            let name = station(*backend);
            let row = results.rows.iter().find(|row| row.backend == backend.name());
            if let Some((row, p50)) = row.and_then(|row| Some((row, row.node.ns.p50?))) {
                let to = format!("a bare echo, {} over the same {}, p50", backend.name(), results.wire);
                self.put_ratio(name, p50 as f64, Some((&to, row.ratio.p50)), row.node.count);
                continue;
            }
            let absent = results.absent.iter().map(|(of, why)| (of, why));
            let failed = results.failed.iter().map(|failed| (&failed.backend, &failed.why));
            let why = absent.chain(failed).find(|(of, _)| *of == backend.name());
            self.put_absent(name, why.map_or_else(|| "not measured".to_owned(), |(_, why)| why.clone()));
        }
        Ok(())
    }
}

fn unit(name: &str) -> String {
    STATIONS.iter().find(|(of, _)| *of == name).map_or("", |(_, unit)| unit).to_owned()
}

fn station(backend: Backend) -> &'static str {
    match backend {
        Backend::Kernel => "wire_kernel",
        Backend::Uring => "wire_uring",
        Backend::Xdp => "wire_xdp",
    }
}

/// Of what `replicated_commit --json` says: the p50 of an ack alone, and of one that is durable on both nodes, in ns.
fn replicated_ack(said: &str) -> Result<[f64; 2], String> {
    let of = |policy: &str| {
        let line = lines(said).into_iter().find(|line| line["what"] == "ack" && line["policy"] == policy);
        let p50 = line.and_then(|line| line["p50_us"].as_f64()).map(|micros| micros * 1e3);
        p50.ok_or_else(|| format!("replicated_commit tells no ack {policy}"))
    };
    Ok([of("alone")?, of("both-durable")?])
}

/// From a primary's end to the first answer of the other node, in ns.
#[derive(Debug, PartialEq)]
struct Takeover {
    p50: f64,
    /// The silence that starts it.
    grace: f64,
    count: u64,
}

/// The same, of takeovers.
fn takeover(said: &str) -> Result<Takeover, String> {
    let line = lines(said).into_iter().find(|line| line["what"] == "takeover").unwrap_or_default();
    let millis = |name: &str| line[name].as_f64().map(|millis| millis * 1e6);
    match (millis("p50_ms"), millis("grace_ms"), line["count"].as_u64()) {
        (Some(p50), Some(grace), Some(count)) => Ok(Takeover { p50, grace, count }),
        _ => Err("replicated_commit tells no takeover".to_owned()),
    }
}

fn lines(said: &str) -> Vec<Value> {
    said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn order_to_ack(record: &Record) -> Spread {
    let spreads = record.steps.iter().filter_map(|step| step.latencies.get("order_to_ack"));
    spreads.fold(Spread::default(), |all, spread| all.and(spread))
}

/// What the disk takes for a write that is safe, by itself.
fn bare_writes(dir: &Path) -> Result<Spread, Failure> {
    const BLOCK: usize = 4_096;
    const WRITES: usize = 400;
    let path = dir.join("bare");
    let fault = |e: &dyn std::fmt::Display| Failure::file(&path, e, "choose a folder on a disk with --dir");
    std::fs::write(&path, vec![0; BLOCK * WRITES]).map_err(|e| fault(&e))?;
    let file = File::options().write(true).custom_flags(OFlags::DIRECT.bits() as i32).open(&path);
    let file = file.map_err(|e| fault(&e))?;
    file.sync_all().map_err(|e| fault(&e))?;
    // Direct writes take memory that begins on a block.
    let memory = vec![1_u8; 2 * BLOCK];
    let start = memory.as_ptr().align_offset(BLOCK);
    let block = [std::io::IoSlice::new(&memory[start..start + BLOCK])];
    let mut latency = Latency::default();
    for n in 0..WRITES {
        let (began, at) = (Instant::now(), (n * BLOCK) as u64);
        rustix::io::pwritev2(&file, &block, at, ReadWriteFlags::DSYNC).map_err(|e| fault(&e))?;
        latency.record(Nanos(0), Nanos(began.elapsed().as_nanos() as u64));
    }
    drop(file);
    std::fs::remove_file(&path).map_err(|e| fault(&e))?;
    Ok(Spread::from(&latency))
}

/// A bench of the checkout that this is run in; its arguments are to follow.
fn cargo_bench(package: &str, bench: &str) -> Command {
    let mut command = Command::new("cargo");
    command.args(["bench", "--locked", "-q", "-p", package, "--bench", bench, "--"]);
    command
}

fn output(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| format!("{name}: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{name}: {}", said.lines().last().unwrap_or("it failed and said nothing")))
}

/// For people.
fn table(figures: &BTreeMap<String, Figure>, absent: &BTreeMap<&str, String>) -> String {
    let mut text = format!("{:<15} {:>14} {:<12} {:>7}  {}\n", "station", "value", "unit", "ratio", "to");
    for (name, _) in STATIONS {
        let Some(figure) = figures.get(name) else { continue };
        let Some(value) = figure.value else {
            let why = absent.get(name).map_or("not measured", String::as_str);
            text += &format!("{name:<15} {:>14} {:<12} {:>7}  {why}\n", "absent", figure.unit, "");
            continue;
        };
        let ratio = figure.ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
        let to = figure.ratio_to.as_deref().unwrap_or("");
        text += &format!(
            "{name:<15} {value:>14.0} {:<12} {ratio:>7}  {to} ({} samples)\n",
            figure.unit, figure.samples
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_has_the_keys_that_are_promised_and_the_table_every_station() {
        let options = Options {
            out: PathBuf::new(),
            dir: PathBuf::new(),
            seconds: 1,
            only: String::new(),
            json: false,
        };
        let mut suite = Suite {
            options: &options,
            figures: BTreeMap::new(),
            absent: BTreeMap::new(),
            records: Vec::new(),
        };
        suite.put("wire_kernel", 30_000.0, Some(("an echo", 10_000.0)), 5);
        suite.put_absent("failover", "no etcd".to_owned());
        let json = serde_json::to_value(&suite.figures).expect("plain data");
        assert_eq!(
            json["wire_kernel"],
            serde_json::json!({ "value": 30_000.0, "unit": "ns, p50", "ratio_to": "an echo", "ratio": 3.0, "samples": 5 })
        );
        assert_eq!(json["failover"]["value"], Value::Null);
        let text = table(&suite.figures, &suite.absent);
        assert!(text.contains("3.00  an echo (5 samples)") && text.contains("absent"), "{text}");
        assert!(text.contains("no etcd"), "{text}");
    }

    #[test]
    fn the_ack_of_a_pair_is_found_in_what_its_bench_says() {
        let said = r#"{"bench":"replicated_commit","what":"commit","policy":"alone","p50_us":1.0}
            {"bench":"replicated_commit","what":"ack","policy":"alone","p50_us":200.5}
            {"bench":"replicated_commit","what":"ack","policy":"both-durable","p50_us":300.0}"#;
        assert_eq!(replicated_ack(said), Ok([200_500.0, 300_000.0]));
        assert!(replicated_ack("").is_err_and(|why| why.contains("alone")));
        let said = r#"{"bench":"replicated_commit","what":"takeover","count":5,"p50_ms":810.5,"max_ms":900.0,"grace_ms":500.0}"#;
        assert_eq!(takeover(said), Ok(Takeover { p50: 810.5e6, grace: 500e6, count: 5 }));
        assert!(takeover("").is_err());
    }

    #[test]
    fn what_the_stations_are_set_against_is_measured() {
        // Memory file systems take direct writes too, so this works wherever the tests are built.
        let dir = std::env::temp_dir().join(format!("ironbell-suite-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a folder of ours");
        let writes = bare_writes(&dir).map(|spread| spread.count);
        std::fs::remove_dir_all(&dir).expect("it was there");
        assert_eq!(writes.ok(), Some(400));
    }
}
