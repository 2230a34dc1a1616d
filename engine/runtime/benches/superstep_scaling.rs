//! `superstep_scaling`: what several shards make of a frame, and what it costs them to meet.
//!
//! ```text
//! cargo bench -p ironbell-runtime --bench superstep_scaling -- [--json] [--commands N] [--seed N] [--shards 1,2,4]
//!     [--pairs N] [--instructions]
//! ```
//!
//! The flow is balanced: 64 firms and 64 instruments that go round the shards, who acts and on which is uniform. Of 100
//! commands 45 add a passive order, 35 cancel one, 10 replace one, 10 take.
//!
//! *measured*: frames of a size, one after the other, over threads that spin, or yield where there are fewer CPUs than
//! shards; commands a second, and the time of a frame until all shards are done with it; *at_home*: the first shard does small
//! frames alone. What they said is merged by the
//! release gate, in a node on another thread: `merge_ns` a command. One shard is the inline driver.
//!
//! *shares*: where the time of all shards' threads goes: the three stages, and waiting for mail. Of that, `uneven` is what
//! the slowest shard of each stage keeps the others waiting, and the rest is `meeting`. *exchange*: shards that only meet, per
//! meeting.
//!
//! *speedup*: several shards against one, run in turn (`--pairs`), median and the bounds of its 95 % confidence; and beside it
//! *ceiling*: as many engines at once that have nothing to do with each other, against one alone. No way to share the work
//! out is quicker than that on the same cores.
//!
//! *model*: for shards that this machine has no cores for; every stage of every shard is timed by itself in one thread, a
//! superstep then takes the slowest shard of each stage and two exchanges, and a flow the median frame's time each. It leaves
//! out what shards take from each other in caches and memory: a model, not a measurement.
//!
//! *cut_cost*: the same flow, and one command in ten is of a port that cuts supersteps: by orders for more than it has while
//! an offer of it might bring the money (`funds`), or by quotes for the same instrument again and again (`quotes`). Frames are
//! formed as the sequencer does. The others' commands a second, as a share of those without it: the bar is 80 %. Lending is a
//! node's there.
//!
//! *one_shard*: the shard's role in a node against plain calls of the engine, in turn; with `--instructions` (needs valgrind)
//! by callgrind instead, which a busy machine does not change. The bar is 1.03.

use std::process::Stdio;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ironbell_core::superstep::{Mail, Part, Said, span};
use ironbell_core::{Config, Engine, Homes};
use ironbell_runtime::deferral::Deferral;
use ironbell_runtime::frame::COMMANDS_MAX;
use ironbell_runtime::sequencer::FromShard;
use ironbell_runtime::shard::{Batch, Connections, Shard};
use ironbell_runtime::shards::{Lending, Output, lead};
use ironbell_runtime::{FramePool, Role, SharedFrame};
use ironbell_sync::{Consumer, Exchange, Producer, TickScale, due, exchange, ring, ticks};
use ironbell_types::{
    Account, AccountId, Amount, Asset, AssetId, CancelOrder, Capacity, ClOrdId, Command, Credential, Display,
    EnterOrder, Firm, FirmId, Funding, Instrument, InstrumentId, Mpid, Nanos, OpenDay, OrderOptions,
    OrderTerms, Port, PortId, PortLimits, Price, Qty, Quote, QuoteSide, ReplaceOrder, Scale, Seq, Sequenced,
    Side, Symbol, TimeInForce, UserRefIdx, UserRefNum, Username,
};

const FIRMS: u32 = 64;
const INSTRUMENTS: u32 = 64;
/// A port with next to nothing, of a firm of its own.
const SPAMMER: u32 = FIRMS + 1;
const MID: i64 = 10_000;
const FRAMES: [usize; 6] = [1, 16, 32, 64, 256, 1_024];
const MODELLED: [usize; 5] = [1, 2, 4, 8, 16];
/// What small frames cost on all shards is to be seen.
const ALWAYS: Lending = Lending { run_min: 1, frames_max: u32::MAX, span_max: COMMANDS_MAX };
/// What they cost the first shard alone, all parts at home.
const NEVER: Lending = Lending { run_min: usize::MAX, frames_max: 0, span_max: COMMANDS_MAX };
/// Commands under callgrind: enough that the first ones count for nothing.
const COUNTED: usize = 100_000;

fn main() {
    let options = Options::parse();
    let venue = Venue { genesis: genesis(), flow: flow(options.seed, options.commands, Spam::None) };
    if let Some(driver) = &options.count {
        match driver.as_str() {
            "role" => _ = by_role(&venue, 1_024),
            "inline" => _ = inline(&venue, 1_024),
            shards => {
                _ = modelled(&venue, shards.parse().expect("a driver, or a number of shards"), 1_024, 0.0);
            }
        }
        return;
    }
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let spins = |shards: usize| shards <= cpus;
    let mut table = Table { json: options.json };
    for &shards in &options.shards {
        if shards > 1 {
            table.row("exchange", shards, 0, &[("ns", exchange_ns(shards, spins(shards)))]);
        }
        for frame in FRAMES {
            let run = measured(&venue, shards, frame, ALWAYS, spins(shards));
            table.row("measured", shards, frame, &run.figures());
            if shards > 1 && frame <= 64 {
                let run = measured(&venue, shards, frame, NEVER, spins(shards));
                table.row("at_home", shards, frame, &run.figures());
            }
            if shards > 1 && frame >= 64 {
                table.row("shares", shards, frame, &shares(&venue, shards, frame, spins(shards)));
            }
        }
    }
    for &shards in options.shards.iter().filter(|shards| **shards > 1) {
        let pairs = options.pairs;
        let one_per_s = || measured(&venue, 1, 1_024, ALWAYS, true).per_s;
        let many = in_turn(pairs, one_per_s, || measured(&venue, shards, 1_024, ALWAYS, spins(shards)).per_s);
        table.row("speedup", shards, 1_024, &many.figures(&[("bar_of_two", 1.5)]));
        let apart = in_turn(pairs, || apart_per_s(&venue, 1), || apart_per_s(&venue, shards));
        table.row("ceiling", shards, 1_024, &apart.figures(&[("share_of_it", many.median / apart.median)]));
    }
    one_shard(&options, &venue, &mut table);
    let two_ns = exchange_ns(2, cpus > 1);
    for shards in MODELLED {
        for frame in FRAMES {
            // An exchange among more shards takes as many more sends and receives.
            let exchange_ns = two_ns * (shards - 1) as f64;
            let per_s = modelled(&venue, shards, frame, exchange_ns);
            table.row("model", shards, frame, &[("commands_per_s", per_s)]);
        }
    }
    for (name, spam) in [("funds", Spam::Funds), ("quotes", Spam::Quotes)] {
        let flow = flow(options.seed, options.commands, spam);
        let others = flow.iter().filter(|command| command.port() != Some(PortId(SPAMMER))).count();
        let spammed = Venue { genesis: genesis(), flow };
        let share = others as f64 / spammed.flow.len() as f64;
        for shards in options.shards.iter().copied().filter(|shards| *shards > 1) {
            for frame in [16, 64, 1_024] {
                let run = |venue| measured(venue, shards, frame, Lending::default(), spins(shards));
                let mut cuts = 0;
                let kept = in_turn(
                    options.pairs,
                    || run(&venue).per_s,
                    || {
                        let run = run(&spammed);
                        cuts = run.cuts;
                        run.per_s * share
                    },
                );
                let figures = kept.figures(&[("bar", 0.8), ("cuts", cuts as f64)]);
                table.row(&format!("cut_cost by {name}"), shards, frame, &figures);
            }
        }
    }
}

struct Options {
    json: bool,
    commands: usize,
    seed: u64,
    shards: Vec<usize>,
    pairs: usize,
    instructions: bool,
    /// This process is under callgrind, and runs this driver alone.
    count: Option<String>,
}

impl Options {
    fn parse() -> Self {
        let mut options = Self {
            json: false,
            commands: 400_000,
            seed: 1,
            shards: vec![1, 2, 4],
            pairs: 7,
            instructions: false,
            count: None,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} wants a value"));
            match argument.as_str() {
                "--json" => options.json = true,
                "--commands" => options.commands = value().parse().expect("a number of commands"),
                "--seed" => options.seed = value().parse().expect("a seed"),
                "--shards" => {
                    options.shards =
                        value().split(',').map(|n| n.parse().expect("a number of shards")).collect();
                }
                "--pairs" => options.pairs = value().parse().expect("a number of pairs"),
                "--instructions" => options.instructions = true,
                "--count" => options.count = Some(value()),
                // Cargo says so to every bench.
                "--bench" => {}
                other => panic!("unknown option {other}"),
            }
        }
        options
    }
}

/// Rows as they come: a line each, JSON if asked for.
struct Table {
    json: bool,
}

impl Table {
    fn row(&mut self, what: &str, shards: usize, frame: usize, figures: &[(&str, f64)]) {
        if self.json {
            let figures: String =
                figures.iter().map(|(name, value)| format!(",\"{name}\":{value:.3}")).collect();
            println!("{{\"what\":\"{what}\",\"shards\":{shards},\"frame\":{frame}{figures}}}");
        } else {
            let figures: String =
                figures.iter().map(|(name, value)| format!("  {name} {value:.2}")).collect();
            println!("{what:<10} shards {shards:>2}  frame {frame:>4}{figures}");
        }
    }
}

/// A venue that is open, and what its members send.
struct Venue {
    genesis: Vec<Command>,
    flow: Vec<Command>,
}

/// The flow in frames, formed as the sequencer does, one at a time.
struct Frames<'a> {
    rest: &'a [Command],
    size: usize,
    seq: Seq,
    pool: FramePool,
    deferral: Deferral,
    last: Vec<Command>,
}

impl Venue {
    /// An engine over so many shards, its day open, and the frames that come then.
    fn ready(&self, shards: usize, frame: usize) -> (Engine, Frames<'_>) {
        let config = Config { key: 7, orders: 1 << 16, accounts: 128 };
        let mut engine = Engine::sharded(config, Homes::new(shards));
        let mut out = Vec::new();
        for (command, seq) in self.genesis.iter().zip(1..) {
            let command = Sequenced { seq: Seq(seq), time: Nanos(seq), command: *command };
            engine.execute(&command, &mut out);
        }
        assert!(!out.iter().any(|event| matches!(event.body, ironbell_types::EventBody::AdminRefused(_))));
        let frames = Frames {
            rest: &self.flow,
            size: frame,
            seq: engine.last_seq(),
            pool: FramePool::new(4),
            deferral: Deferral::default(),
            last: Vec::with_capacity(frame),
        };
        (engine, frames)
    }
}

impl Iterator for Frames<'_> {
    type Item = SharedFrame;

    fn next(&mut self) -> Option<SharedFrame> {
        let (these, rest) = self.rest.split_at(self.size.min(self.rest.len()));
        self.rest = rest;
        if these.is_empty() {
            return None;
        }
        self.deferral.begin_frame();
        let frame = self.pool.begin().expect("it was let go");
        let mut put = |command: &Command| {
            self.seq = self.seq.next();
            frame.commands.push(Sequenced { seq: self.seq, time: Nanos(self.seq.0), command: *command });
        };
        for command in these {
            if command.port().is_some_and(|port| self.deferral.defers(port)) {
                self.last.push(*command);
            } else {
                put(command);
            }
        }
        self.last.iter().for_each(&mut put);
        frame.deferred = self.last.len();
        self.last.clear();
        Some(self.pool.close())
    }
}

/// How a flow went.
struct Run {
    per_s: f64,
    /// A command's share of merging.
    merge_ns: f64,
    /// Of each frame, in order of length.
    frame_ns: Vec<u64>,
    cuts: u64,
}

impl Run {
    fn new(commands: usize, mut frame_ns: Vec<u64>, merged: Duration, cuts: u64) -> Self {
        let per_s = commands as f64 / (frame_ns.iter().sum::<u64>() as f64 / 1e9);
        frame_ns.sort_unstable();
        Self { per_s, merge_ns: merged.as_nanos() as f64 / commands as f64, frame_ns, cuts }
    }

    fn figures(&self) -> [(&'static str, f64); 5] {
        let at = |thousandths: usize| {
            let last = self.frame_ns.len() - 1;
            self.frame_ns[(self.frame_ns.len() * thousandths / 1_000).min(last)] as f64 / 1_000.0
        };
        [
            ("commands_per_s", self.per_s),
            ("p50_us", at(500)),
            ("p99_us", at(990)),
            ("p99.9_us", at(999)),
            ("merge_ns", self.merge_ns),
        ]
    }
}

/// Two ways in turn: the second's figure to the first's, the median of all pairs and the bounds that hold the true median
/// in 95 of 100 cases.
struct Ratio {
    median: f64,
    low: f64,
    high: f64,
}

impl Ratio {
    fn figures<'a>(&self, more: &[(&'a str, f64)]) -> Vec<(&'a str, f64)> {
        let mut figures = vec![("ratio", self.median), ("low", self.low), ("high", self.high)];
        figures.extend_from_slice(more);
        figures
    }
}

fn in_turn(pairs: usize, mut first: impl FnMut() -> f64, mut second: impl FnMut() -> f64) -> Ratio {
    let mut ratios: Vec<_> = (0..pairs.max(1))
        .map(|pair| {
            // Who comes first changes, so that a machine that slows down takes from both.
            if pair % 2 == 0 {
                let one = first();
                second() / one
            } else {
                let two = second();
                two / first()
            }
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let outside = outside(ratios.len());
    let last = ratios.len() - 1;
    Ratio {
        median: (ratios[last / 2] + ratios[ratios.len() / 2]) / 2.0,
        low: ratios[outside],
        high: ratios[last - outside],
    }
}

/// How many of the sorted values at either end can be left out so that what remains still spans the true median in 95 of 100
/// cases: each value is above it or below it like a coin.
fn outside(values: usize) -> usize {
    let (mut outside, mut chance, mut term) = (0, 0.0, 0.5f64.powi(values as i32));
    while outside < values / 2 {
        chance += term;
        if 2.0 * chance > 0.05 {
            break;
        }
        term *= (values - outside) as f64 / (outside + 1) as f64;
        outside += 1;
    }
    outside.saturating_sub(1)
}

fn rest(spin: bool) {
    if spin { std::hint::spin_loop() } else { std::thread::yield_now() }
}

/// The flow in frames of a size, over threads.
fn measured(venue: &Venue, shards: usize, frame: usize, lending: Lending, spin: bool) -> Run {
    let (mut engine, mut frames) = venue.ready(shards, frame);
    let mut frame_ns = Vec::with_capacity(venue.flow.len() / frame + 1);
    let mut batch = Batch::new(shards);
    if shards == 1 {
        for frame in frames {
            let begun = Instant::now();
            engine.execute_frame(&frame.commands, &mut batch.events);
            frame_ns.push(begun.elapsed().as_nanos() as u64);
            std::hint::black_box(&mut batch.events).clear();
        }
        return Run::new(venue.flow.len(), frame_ns, Duration::ZERO, 0);
    }
    let (mut lead, workers) = lead(engine, lending);
    let stop = AtomicBool::new(false);
    let mut merged = Duration::ZERO;
    std::thread::scope(|scope| {
        for mut worker in workers {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Acquire) {
                    if worker.poll(Nanos(1)) == 0 {
                        rest(spin);
                    }
                }
            });
        }
        while let Some(frame) = frames.next() {
            let begun = Instant::now();
            let Batch { events, said, .. } = &mut *batch;
            while !lead.poll(&frame, &mut Output { events, said }).1 {
                rest(spin);
            }
            frame_ns.push(begun.elapsed().as_nanos() as u64);
            lead.cut_by().for_each(|port| frames.deferral.note(port));
            let merging = Instant::now();
            batch.merge();
            std::hint::black_box(&mut batch.events).clear();
            merged += merging.elapsed();
        }
        stop.store(true, Ordering::Release);
    });
    Run::new(venue.flow.len(), frame_ns, merged, lead.counters().cuts)
}

/// What a shard's thread did in a superstep, in ticks.
#[derive(Clone, Copy, Default)]
struct Spent {
    stages: [u64; 3],
    waits: [u64; 2],
}

/// Where the time of all shards' threads goes, as shares of it.
fn shares(venue: &Venue, shards: usize, frame: usize, spin: bool) -> Vec<(&'static str, f64)> {
    let (mut engine, frames) = venue.ready(shards, frame);
    let frames: Vec<Vec<Sequenced>> = frames.map(|frame| frame.commands.clone()).collect();
    let parts = engine.lend();
    let ends = exchange(shards, || Mail::new(COMMANDS_MAX));
    let begin = Barrier::new(shards);
    let spent: Vec<Vec<Spent>> = std::thread::scope(|scope| {
        let shard = |(part, end)| {
            let (frames, begin) = (&frames, &begin);
            scope.spawn(move || {
                begin.wait();
                share(part, end, frames, spin)
            })
        };
        let threads: Vec<_> = parts.into_iter().zip(ends).map(shard).collect();
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
    });
    // By superstep: the stages before an exchange are waited for there; the third is waited for with the next first.
    let (mut stages, mut waits, mut uneven) = ([0u64; 3], 0, 0);
    for step in 0..spent[0].len() {
        let of = |stage: usize| spent.iter().map(move |spent| spent[step].stages[stage]);
        for (stage, sum) in stages.iter_mut().enumerate() {
            *sum += of(stage).sum::<u64>();
        }
        waits += spent.iter().map(|spent| spent[step].waits.iter().sum::<u64>()).sum::<u64>();
        let before_requests = |spent: &Vec<Spent>| {
            let last = if step == 0 { 0 } else { spent[step - 1].stages[2] };
            last + spent[step].stages[0]
        };
        let behind = |times: Vec<u64>| {
            let slowest = *times.iter().max().expect("there is a shard");
            times.iter().map(|time| slowest - time).sum::<u64>()
        };
        uneven += behind(spent.iter().map(before_requests).collect()) + behind(of(1).collect());
    }
    let all = (stages.iter().sum::<u64>() + waits) as f64;
    let share = |ticks: u64| ticks as f64 / all;
    vec![
        ("risk", share(stages[0])),
        ("matching", share(stages[1])),
        ("settlement", share(stages[2])),
        ("wait", share(waits)),
        ("uneven", share(uneven.min(waits))),
        ("meeting", share(waits.saturating_sub(uneven))),
    ]
}

/// One shard's way through all frames, as the driver's, with readings of the counter between the stages.
fn share(mut part: Box<Part>, mut end: Exchange<Mail>, frames: &[Vec<Sequenced>], spin: bool) -> Vec<Spent> {
    let mut spent = Vec::with_capacity(2 * frames.len());
    let mut said = Said::new(8 * COMMANDS_MAX);
    let mut out = Vec::with_capacity(8 * COMMANDS_MAX);
    for frame in frames {
        let mut at = 0;
        while at < frame.len() {
            let span = &frame[at..][..span(&frame[at..], COMMANDS_MAX)];
            let meet = |end: &mut Exchange<Mail>| {
                end.send();
                while !end.receive() {
                    rest(spin);
                }
            };
            let begun = ticks();
            part.risk(span, end.boxes().1);
            let risk = ticks();
            meet(&mut end);
            let met = ticks();
            let (inbox, outbox) = end.boxes();
            let cut = part.matching(span, inbox, outbox);
            let matching = ticks();
            meet(&mut end);
            let met_again = ticks();
            part.settle(&span[..cut], end.boxes().0);
            let settled = ticks();
            spent.push(Spent {
                stages: [risk - begun, matching - met, settled - met_again],
                waits: [met - risk, met_again - matching],
            });
            at += cut;
        }
        // What the driver hands to the release gate; not counted.
        part.take_said(&mut said);
        Said::merge([&mut said], &mut out);
        std::hint::black_box(&mut out).clear();
    }
    spent
}

/// Commands a second of so many engines at once that have nothing to do with each other, each with the whole flow; together.
fn apart_per_s(venue: &Venue, engines: usize) -> f64 {
    let begin = Barrier::new(engines);
    let ready: Vec<_> = (0..engines).map(|_| venue.ready(1, COMMANDS_MAX)).collect();
    let rates: Vec<f64> = std::thread::scope(|scope| {
        let run = |(mut engine, frames): (Engine, Frames<'_>)| {
            let begin = &begin;
            let frames: Vec<Vec<Sequenced>> = frames.map(|frame| frame.commands.clone()).collect();
            scope.spawn(move || {
                let mut out = Vec::with_capacity(8 * COMMANDS_MAX);
                begin.wait();
                let begun = Instant::now();
                for frame in &frames {
                    engine.execute_frame(frame, &mut out);
                    std::hint::black_box(&mut out).clear();
                }
                venue.flow.len() as f64 / begun.elapsed().as_secs_f64()
            })
        };
        let threads: Vec<_> = ready.into_iter().map(run).collect();
        threads.into_iter().map(|thread| thread.join().expect("it does not panic")).collect()
    });
    rates.iter().sum()
}

/// The role of the only shard, in a node, against plain calls.
fn one_shard(options: &Options, venue: &Venue, table: &mut Table) {
    if options.instructions {
        let (plain, role) = (instructions("inline", options.seed), instructions("role", options.seed));
        let figures = [("inline", plain), ("role", role), ("ratio", role / plain), ("bar", 1.03)];
        return table.row("one_shard instructions", 1, 1_024, &figures);
    }
    // As times: more than 1 is slower.
    let seconds = |took: Duration| took.as_secs_f64();
    let pairs = options.pairs.max(20);
    let ratio = in_turn(pairs, || seconds(inline(venue, 1_024)), || seconds(by_role(venue, 1_024)));
    table.row("one_shard", 1, 1_024, &ratio.figures(&[("bar", 1.03)]));
}

/// Instructions a command inside the driver's one function, by callgrind.
fn instructions(driver: &str, seed: u64) -> f64 {
    let program = std::env::current_exe().expect("the path of this program");
    let mut command = std::process::Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    command.arg(format!("--toggle-collect=*superstep_scaling::{driver}_frame*")).arg(program);
    command.args(["--count", driver, "--commands", &COUNTED.to_string(), "--seed", &seed.to_string()]);
    let run = command.stdin(Stdio::null()).output();
    let run = run.unwrap_or_else(|e| panic!("valgrind: {e} (install it: apt-get install valgrind)"));
    let said = String::from_utf8_lossy(&run.stderr);
    let counted = said.lines().find_map(|line| line.split_once("Collected : "));
    let counted = counted.and_then(|(_, count)| count.trim().parse::<u64>().ok()).filter(|count| *count > 0);
    counted.unwrap_or_else(|| panic!("callgrind counted nothing: {said}")) as f64 / COUNTED as f64
}

/// Time of plain calls.
fn inline(venue: &Venue, frame: usize) -> Duration {
    let (mut engine, frames) = venue.ready(1, frame);
    let mut batch = Batch::new(1);
    let mut took = Duration::ZERO;
    for frame in frames {
        let begun = Instant::now();
        inline_frame(&mut engine, &frame, &mut batch);
        took += begun.elapsed();
        std::hint::black_box(&mut batch.events).clear();
    }
    took
}

#[inline(never)]
fn inline_frame(engine: &mut Engine, frame: &SharedFrame, batch: &mut Batch) {
    engine.execute_frame(&frame.commands, &mut batch.events);
}

/// Time of the shard's role with its rings.
fn by_role(venue: &Venue, frame: usize) -> Duration {
    let (engine, frames) = venue.ready(1, frame);
    let (mut to_shard, sequencer_shard) = ring(4);
    let (shard_sequencer, mut words): (Producer<FromShard>, Consumer<FromShard>) = ring(2_048);
    let (shard_release, mut released) = ring(4);
    let (mut batches, release_shard) = ring(4);
    assert!(batches.push(Batch::new(1)).is_ok());
    let connections =
        Connections { sequencer_shard, shard_sequencer, shard_release, release_shard, next_due: due().0 };
    let (mut shard, _) = Shard::new(engine, Lending::default(), connections);
    let mut took = Duration::ZERO;
    for frame in frames {
        assert!(to_shard.push(frame).is_ok());
        let begun = Instant::now();
        role_frame(&mut shard);
        took += begun.elapsed();
        assert!(words.pop().is_ok());
        let mut batch = released.pop().expect("it was executed");
        std::hint::black_box(&mut batch.events).clear();
        batch.frame = None;
        assert!(batches.push(batch).is_ok());
    }
    took
}

#[inline(never)]
fn role_frame(shard: &mut Shard) {
    assert!(shard.poll(Nanos(1)) > 0);
}

fn median(times: &mut [u64]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2] as f64
}

/// What one meeting of shards costs, at the median, that have nothing to say.
fn exchange_ns(shards: usize, spin: bool) -> f64 {
    const MEETINGS: usize = 20_000;
    let scale = TickScale::new();
    let mut ends = exchange(shards, || Mail::new(1)).into_iter();
    let meet = move |mut end: Exchange<Mail>| {
        let mut times = Vec::with_capacity(MEETINGS);
        for _ in 0..MEETINGS {
            let begun = ticks();
            end.send();
            while !end.receive() {
                rest(spin);
            }
            times.push(scale.nanos(begun, ticks()));
        }
        median(&mut times)
    };
    let own = ends.next().expect("there is a shard");
    std::thread::scope(|scope| {
        ends.for_each(|end| drop(scope.spawn(move || meet(end))));
        meet(own)
    })
}

/// Commands a second of so many shards with a core each, from the stages' times one after the other in this thread.
fn modelled(venue: &Venue, shards: usize, frame_size: usize, exchange_ns: f64) -> f64 {
    let (mut engine, frames) = venue.ready(shards, frame_size);
    let mut parts = engine.lend();
    let mail = || (0..shards).map(|_| Mail::new(frame_size)).collect::<Vec<_>>();
    let mut requests: Vec<_> = (0..shards).map(|_| mail()).collect();
    let mut effects: Vec<_> = (0..shards).map(|_| mail()).collect();
    let mut said: Vec<_> = (0..shards).map(|_| Said::new(COMMANDS_MAX)).collect();
    let (mut frame_ns, mut events) = (Vec::new(), Vec::new());
    // The time of the slowest of all shards.
    let slowest = |stage: &mut dyn FnMut(usize)| {
        let times = (0..shards).map(|shard| {
            let begun = Instant::now();
            stage(shard);
            begun.elapsed().as_nanos() as u64
        });
        times.max().unwrap_or(0) as f64
    };
    for frame in frames {
        let mut rest = &frame.commands[..];
        let mut nanos = 0.0;
        while !rest.is_empty() {
            let this = &rest[..span(rest, COMMANDS_MAX)];
            nanos += slowest(&mut |shard| parts[shard].risk(this, &mut requests[shard]));
            swap_over(&mut requests);
            let mut cut = 0;
            nanos += slowest(&mut |shard| {
                cut = parts[shard].matching(this, &requests[shard], &mut effects[shard]);
            });
            swap_over(&mut effects);
            nanos += slowest(&mut |shard| parts[shard].settle(&this[..cut], &effects[shard]));
            nanos += 2.0 * exchange_ns;
            rest = &rest[cut..];
        }
        frame_ns.push(nanos as u64);
        parts.iter_mut().zip(&mut said).for_each(|(part, said)| part.take_said(said));
        Said::merge(said.iter_mut(), &mut events);
        std::hint::black_box(&mut events).clear();
    }
    frame_size as f64 / median(&mut frame_ns) * 1e9
}

/// From what each sent, by receiver, to what each received, by sender.
fn swap_over(mail: &mut [Vec<Mail>]) {
    for one in 0..mail.len() {
        let (before, from_one) = mail.split_at_mut(one);
        for (other, boxes) in before.iter_mut().enumerate() {
            std::mem::swap(&mut boxes[one], &mut from_one[0][other]);
        }
    }
}

fn genesis() -> Vec<Command> {
    let name = |text: &str| Symbol::new(text).expect("a short name");
    let usd = AssetId(1);
    let mut commands = vec![Command::DefineAsset(Asset { id: usd, code: name("USD"), decimals: 4 })];
    for n in 1..=INSTRUMENTS {
        let (symbol, base) = (name(&format!("I{n:03}")), AssetId(n + 1));
        commands.push(Command::DefineAsset(Asset { id: base, code: symbol, decimals: 0 }));
        commands.push(Command::DefineInstrument(Instrument {
            id: InstrumentId(n),
            symbol,
            base,
            quote: usd,
            scale: Scale::EquityExact { price_tick: 100 },
            tick_value: 100,
            lot_units: 1,
            round_lot: 100,
            maker_fee_bps: 1,
            taker_fee_bps: 3,
        }));
    }
    for n in 1..=SPAMMER {
        let (firm, account) = (FirmId(n), AccountId(n));
        commands.push(Command::DefineFirm(Firm {
            id: firm,
            mpid: Mpid::new(&format!("F{n:03}")).expect("short"),
        }));
        commands.push(Command::DefineAccount(Account { id: account, firm }));
        commands.push(Command::DefinePort(Port {
            id: PortId(n),
            username: Username::new(&format!("P{n:03}")).expect("short"),
            firm,
            account,
            limits: PortLimits { qty_max: Qty(1 << 20), notional_max: Amount(1 << 60) },
            credential: Credential { salt: [0; 16], hash: [0; 32], memory_kib: 0, passes: 0, lanes: 0 },
        }));
        let assets = if n == SPAMMER { 2 } else { INSTRUMENTS + 1 };
        for asset in (1..=assets).map(AssetId) {
            let amount = Amount(if n == SPAMMER { 1 } else { 1 << 60 });
            commands.push(Command::Fund(Funding {
                id: u64::from(n * 1_000 + asset.0),
                account,
                asset,
                amount,
            }));
        }
    }
    commands.push(Command::OpenDay(OpenDay { date: 20_261_121, midnight: Nanos(0) }));
    commands
}

/// xorshift64*.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % n
    }
}

/// What the hostile port sends.
#[derive(Clone, Copy, PartialEq)]
enum Spam {
    None,
    /// Orders that cost more than there is, beside an offer that might bring as much.
    Funds,
    /// Quotes for one instrument: what the second of a superstep takes the place of is not known yet.
    Quotes,
}

fn flow(seed: u64, count: usize, spam: Spam) -> Vec<Command> {
    let mut rng = Rng(seed | 1);
    let mut numbers = [0; SPAMMER as usize + 1];
    // Of each port the orders that may be open: number, instrument side and price.
    let mut standing: Vec<Vec<(u32, i64)>> = vec![Vec::new(); FIRMS as usize + 1];
    let mut next = |port: u32| {
        numbers[port as usize] += 1;
        numbers[port as usize]
    };
    let mut commands = Vec::with_capacity(count);
    while commands.len() < count {
        if spam != Spam::None && rng.below(10) == 0 {
            let other = 1 + rng.below(u64::from(INSTRUMENTS)) as u32;
            commands.push(match spam {
                Spam::Quotes => quote(next(SPAMMER)),
                // The first stands to sell, far from the market: it might bring money, so that no refusal of the others,
                // which cost more than there is, is certain before all in front of it is settled.
                _ => match next(SPAMMER) {
                    1 => enter((SPAMMER, 1), 1, Side::Sell, (1, 2 * MID), TimeInForce::Day),
                    num => enter((SPAMMER, num), other, Side::Buy, (1, MID / 2), TimeInForce::Day),
                },
            });
            continue;
        }
        let port = 1 + rng.below(u64::from(FIRMS)) as u32;
        let instrument = 1 + rng.below(u64::from(INSTRUMENTS)) as u32;
        let side = if rng.below(2) == 0 { Side::Buy } else { Side::Sell };
        let away = 1 + rng.below(8) as i64;
        let passive = if side == Side::Buy { MID - away } else { MID + away };
        let open = &mut standing[port as usize];
        let (user_ref_idx, qty) = (UserRefIdx(0), 1 + rng.below(100));
        let kind = rng.below(100);
        let chosen = if open.is_empty() { None } else { Some(rng.below(open.len() as u64) as usize) };
        match (kind, chosen) {
            (45..80, Some(at)) => {
                let (num, _) = open.swap_remove(at);
                commands.push(Command::CancelOrder(CancelOrder {
                    port: PortId(port),
                    user_ref_idx,
                    user_ref_num: UserRefNum(num),
                    qty: Qty(0),
                }));
            }
            (80..90, Some(at)) => {
                let (orig, price) = open.swap_remove(at);
                let num = next(port);
                open.push((num, price));
                commands.push(Command::ReplaceOrder(ReplaceOrder {
                    port: PortId(port),
                    user_ref_idx,
                    orig_user_ref_num: UserRefNum(orig),
                    user_ref_num: UserRefNum(num),
                    qty: Qty(qty),
                    wire_price: price as u64 * 100,
                    time_in_force: TimeInForce::Day,
                    display: Display::Visible,
                    cl_ord_id: ClOrdId::default(),
                    options: OrderOptions::default(),
                    max_floor: None,
                    random_reserves: None,
                    expire: Nanos(0),
                    fault: None,
                }));
            }
            (90.., _) => {
                let price = if side == Side::Buy { MID + 4 } else { MID - 4 };
                commands.push(enter((port, next(port)), instrument, side, (qty, price), TimeInForce::Ioc));
            }
            _ => {
                let num = next(port);
                open.push((num, passive));
                commands.push(enter((port, num), instrument, side, (qty, passive), TimeInForce::Day));
            }
        }
    }
    commands
}

fn enter(
    (port, num): (u32, u32),
    instrument: u32,
    side: Side,
    (qty, price): (u64, i64),
    time_in_force: TimeInForce,
) -> Command {
    Command::EnterOrder(EnterOrder {
        port: PortId(port),
        user_ref_idx: UserRefIdx(0),
        user_ref_num: UserRefNum(num),
        instrument: InstrumentId(instrument),
        side,
        qty: Qty(qty),
        price: Price(price),
        time_in_force,
        display: Display::Visible,
        capacity: Capacity::Principal,
        cl_ord_id: ClOrdId::default(),
        options: OrderOptions::default(),
        terms: OrderTerms::default(),
        fault: None,
    })
}

/// An offer far from the market; of numbers only every other is used.
fn quote(num: u32) -> Command {
    let none = QuoteSide { price: Price(0), qty: Qty(0) };
    Command::Quote(Quote {
        port: PortId(SPAMMER),
        user_ref_idx: UserRefIdx(0),
        user_ref_num: UserRefNum(2 * num),
        instrument: InstrumentId(1),
        bid: none,
        ask: QuoteSide { price: Price(2 * MID), qty: Qty(1) },
        capacity: Capacity::Principal,
        fault: None,
    })
}
