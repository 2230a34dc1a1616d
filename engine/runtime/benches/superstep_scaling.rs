//! `superstep_scaling`: what several shards make of a frame, and what it costs them to meet.
//!
//! ```text
//! cargo bench -p ironbell-runtime --bench superstep_scaling -- [--json] [--commands N] [--seed N] [--shards 1,2,4]
//! ```
//!
//! The flow is balanced: 64 firms and 64 instruments that go round the shards, who acts and on which is uniform. Of 100
//! commands 45 add a passive order, 35 cancel one, 10 replace one, 10 take.
//!
//! *measured*: frames of a size, one after the other, over threads that spin, or yield where there are fewer CPUs than
//! shards; commands a second, and the time of a frame until all shards are done with it. What they said is merged by the
//! release gate, in a node on another thread: `merge_ns` a command. One shard is the inline driver. *exchange*: two shards and more that only meet, per meeting. *model*: for shards that this machine has no
//! cores for; every stage of every shard is timed by itself in one thread, a superstep then takes the slowest shard of
//! each stage and two exchanges, and a flow the median frame's time each. It leaves out what shards take from each other in caches and memory: a model, not a
//! measurement. With one shard it shows what the stages cost against plain calls.
//!
//! *cut_cost*: the same flow, and one command in ten is of a port that asks for more than it has. Its orders are refused,
//! and most of the refusals cut a superstep. The others' commands a second, as a share of those without it: the bar is 80 %.
//! Lending is a node's there, so that what is cut to pieces goes home.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ironbell_core::superstep::{Mail, Said, span};
use ironbell_core::{Config, Engine, Homes};
use ironbell_runtime::frame::COMMANDS_MAX;
use ironbell_runtime::shard::Batch;
use ironbell_runtime::shards::{Lending, Output, lead};
use ironbell_runtime::{FramePool, Role, SharedFrame};
use ironbell_sync::exchange;
use ironbell_types::{
    Account, AccountId, Amount, Asset, AssetId, CancelOrder, Capacity, ClOrdId, Command, Credential, Display,
    EnterOrder, Firm, FirmId, Funding, Instrument, InstrumentId, Mpid, Nanos, OpenDay, OrderOptions,
    OrderTerms, Port, PortId, PortLimits, Price, Qty, ReplaceOrder, Scale, Seq, Sequenced, Side, Symbol,
    TimeInForce, UserRefIdx, UserRefNum, Username,
};

const FIRMS: u32 = 64;
const INSTRUMENTS: u32 = 64;
/// A port with next to nothing, of a firm of its own.
const SPAMMER: u32 = FIRMS + 1;
const MID: i64 = 10_000;
const FRAMES: [usize; 5] = [1, 16, 64, 256, 1_024];
const MODELLED: [usize; 5] = [1, 2, 4, 8, 16];

fn main() {
    let options = Options::parse();
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let (genesis, flow) = (genesis(), flow(options.seed, options.commands, false));
    // What small frames cost on all shards is to be seen.
    let always = Lending { run_min: 1, frames_max: u32::MAX, span_max: COMMANDS_MAX };
    let mut table = Table::new(options.json);
    for &shards in &options.shards {
        let exchange_ns = if shards > 1 { exchange_ns(shards, shards <= cpus) } else { 0.0 };
        table.row("exchange", shards, 0, &[("ns", exchange_ns)]);
        for frame in FRAMES {
            let run = measured((&genesis, &flow), shards, frame, always, shards <= cpus);
            table.row("measured", shards, frame, &run.figures());
        }
    }
    let two_ns = exchange_ns(2, cpus > 1);
    for shards in MODELLED {
        for frame in FRAMES {
            // An exchange among more shards takes as many more sends and receives.
            let exchange_ns = two_ns * (shards - 1) as f64;
            let per_s = modelled(&genesis, &flow, shards, frame, exchange_ns);
            table.row("model", shards, frame, &[("commands_per_s", per_s)]);
        }
    }
    let spammed = self::flow(options.seed, options.commands, true);
    for shards in options.shards.iter().copied().filter(|shards| *shards > 1) {
        for frame in [64, 1_024] {
            let calm = measured((&genesis, &flow), shards, frame, Lending::default(), shards <= cpus);
            let storm = measured((&genesis, &spammed), shards, frame, Lending::default(), shards <= cpus);
            let others = storm.per_s * 0.9 / calm.per_s;
            let figures = [("others_share", others), ("cuts", storm.cuts as f64), ("bar", 0.8)];
            table.row("cut_cost", shards, frame, &figures);
        }
    }
}

struct Options {
    json: bool,
    commands: usize,
    seed: u64,
    shards: Vec<usize>,
}

impl Options {
    fn parse() -> Self {
        let mut options = Self { json: false, commands: 400_000, seed: 1, shards: vec![1, 2, 4] };
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
    fn new(json: bool) -> Self {
        Self { json }
    }

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

/// The flow in frames of a size, over threads.
fn measured(
    (genesis, flow): (&[Command], &[Command]),
    shards: usize,
    frame: usize,
    lending: Lending,
    spin: bool,
) -> Run {
    let (engine, frames) = ready(genesis, flow, shards, frame);
    let commands = flow.len() as f64;
    let mut frame_ns = Vec::with_capacity(frames.len());
    let mut batch = Batch::new(shards);
    if shards == 1 {
        let mut engine = engine;
        let started = Instant::now();
        for frame in &frames {
            let begun = Instant::now();
            engine.execute_frame(&frame.commands, &mut batch.events);
            frame_ns.push(begun.elapsed().as_nanos() as u64);
            std::hint::black_box(&mut batch.events).clear();
        }
        let per_s = commands / started.elapsed().as_secs_f64();
        frame_ns.sort_unstable();
        return Run { per_s, merge_ns: 0.0, frame_ns, cuts: 0 };
    }
    let (mut lead, workers) = lead(engine, lending);
    let stop = AtomicBool::new(false);
    let rest = || if spin { std::hint::spin_loop() } else { std::thread::yield_now() };
    let mut merged = Duration::ZERO;
    let took = std::thread::scope(|scope| {
        for mut worker in workers {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::Acquire) {
                    if worker.poll(Nanos(1)) == 0 {
                        rest();
                    }
                }
            });
        }
        let started = Instant::now();
        for frame in &frames {
            let begun = Instant::now();
            let Batch { events, said, .. } = &mut *batch;
            while !lead.poll(frame, &mut Output { events, said }).1 {
                rest();
            }
            frame_ns.push(begun.elapsed().as_nanos() as u64);
            let merging = Instant::now();
            batch.merge();
            std::hint::black_box(&mut batch.events).clear();
            merged += merging.elapsed();
        }
        let took = started.elapsed() - merged;
        stop.store(true, Ordering::Release);
        took
    });
    frame_ns.sort_unstable();
    let merge_ns = merged.as_nanos() as f64 / commands;
    Run { per_s: commands / took.as_secs_f64(), merge_ns, frame_ns, cuts: lead.counters().cuts }
}

fn median(times: &mut [u64]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2] as f64
}

/// What one meeting of shards costs, at the median, that have nothing to say.
fn exchange_ns(shards: usize, spin: bool) -> f64 {
    const MEETINGS: usize = 20_000;
    let rest = || if spin { std::hint::spin_loop() } else { std::thread::yield_now() };
    let mut ends = exchange(shards, || Mail::new(1)).into_iter();
    let meet = move |mut end: ironbell_sync::Exchange<Mail>| {
        let mut times = Vec::with_capacity(MEETINGS);
        for _ in 0..MEETINGS {
            let begun = Instant::now();
            end.send();
            while !end.receive() {
                rest();
            }
            times.push(begun.elapsed().as_nanos() as u64);
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
fn modelled(
    genesis: &[Command],
    flow: &[Command],
    shards: usize,
    frame_size: usize,
    exchange_ns: f64,
) -> f64 {
    let (mut engine, frames) = ready(genesis, flow, shards, frame_size);
    let mut parts = engine.lend();
    let mail = || (0..shards).map(|_| Mail::new(COMMANDS_MAX)).collect::<Vec<_>>();
    let mut said: Vec<_> = (0..shards).map(|_| Said::new(COMMANDS_MAX)).collect();
    let (mut frame_ns, mut events) = (Vec::with_capacity(frames.len()), Vec::new());
    // The time of the slowest of all shards.
    let slowest = |stage: &mut dyn FnMut(usize)| {
        let times = (0..shards).map(|shard| {
            let begun = Instant::now();
            stage(shard);
            begun.elapsed().as_nanos() as u64
        });
        times.max().unwrap_or(0) as f64
    };
    for frame in &frames {
        let mut rest = &frame.commands[..];
        let mut nanos = 0.0;
        while !rest.is_empty() {
            let this = &rest[..span(rest, COMMANDS_MAX)];
            let mut sent: Vec<_> = (0..shards).map(|_| mail()).collect();
            nanos += slowest(&mut |shard| parts[shard].risk(this, &mut sent[shard]));
            let received = exchanged(sent);
            let mut sent: Vec<_> = (0..shards).map(|_| mail()).collect();
            let mut cut = 0;
            nanos += slowest(&mut |shard| {
                cut = parts[shard].matching(this, &received[shard], &mut sent[shard]);
            });
            let received = exchanged(sent);
            nanos += slowest(&mut |shard| parts[shard].settle(&this[..cut], &received[shard]));
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

fn exchanged(sent: Vec<Vec<Mail>>) -> Vec<Vec<Mail>> {
    let mut received: Vec<Vec<Mail>> = sent.iter().map(|_| Vec::new()).collect();
    for outbox in sent {
        received.iter_mut().zip(outbox).for_each(|(inbox, mail)| inbox.push(mail));
    }
    received
}

/// A venue that is open, and the flow in frames that come after it.
fn ready(genesis: &[Command], flow: &[Command], shards: usize, frame: usize) -> (Engine, Vec<SharedFrame>) {
    let config = Config { key: 7, orders: 1 << 17, accounts: 128 };
    let mut engine = Engine::sharded(config, Homes::new(shards));
    let mut out = Vec::new();
    let mut seq = Seq(0);
    let mut sequenced = |command: &Command| {
        seq = seq.next();
        Sequenced { seq, time: Nanos(seq.0), command: *command }
    };
    genesis.iter().for_each(|command| engine.execute(&sequenced(command), &mut out));
    assert!(!out.iter().any(|event| matches!(event.body, ironbell_types::EventBody::AdminRefused(_))));
    let frames = flow.chunks(frame).map(|commands| {
        let mut pool = FramePool::new(1);
        pool.begin().expect("nobody reads it").commands.extend(commands.iter().map(&mut sequenced));
        pool.close()
    });
    (engine, frames.collect())
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

fn flow(seed: u64, count: usize, spam: bool) -> Vec<Command> {
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
        if spam && rng.below(10) == 0 {
            // The first stands to sell, far from the market: it might bring money, so that no refusal of the others, which
            // cost more than there is, is certain before all in front of it is settled.
            let num = next(SPAMMER);
            let other = 1 + rng.below(u64::from(INSTRUMENTS)) as u32;
            let (instrument, side, price) =
                if num == 1 { (1, Side::Sell, 2 * MID) } else { (other, Side::Buy, MID / 2) };
            commands.push(enter((SPAMMER, num), instrument, side, (1, price), TimeInForce::Day));
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
