//! `matching_throughput`: what one core does with the harsh single-book flow.
//!
//! ```text
//! cargo bench -p ironbell-core --bench matching_throughput -- [--json] [--messages N] [--runs N]
//!     [--seed N] [--only matching|engine] [--scenario NAME] [--instructions] [--vs REVISION [--pairs N]]
//! ```
//!
//! `--instructions` counts them by callgrind (needs valgrind): a figure that does not depend on the machine's
//! load or clock. `--vs` builds this bench as it was in a revision and runs both in turn (see `versus.rs`).
//!
//! The flow, generated from a seed before the clock starts: a tick of 0.005 and a mid of 33,504 ticks
//! that follows geometric Brownian motion, scaled to the scenario's swing. Each new order is passive
//! on its own side, at a distance with a hump at 8 ticks and a tail of exponent 2.23, of 1 to 100
//! lots; buys are priced along the first half of the path and sells along the second, so that a
//! falling mid makes them trade. A new order arrives every microsecond. 15 % are immediate-or-cancel; 20 % of the others are replaced once,
//! 80 % of these by one tick; 95 % of the others are cancelled, their lives exponential with a median
//! of 0.431 ms; 2 % of the messages are stale duplicates of an earlier cancel.
//!
//! *matching* is stage 2 alone, fed what stage 1 would pass on; *engine* is `Engine::execute` with
//! risk, settlement and the output hash, over 64 ports of as many accounts.

mod versus;

use std::time::Instant;
use versus::{Program, Versus};

use ironbell_core::{
    Config, Engine,
    matching::{Incoming, Matching, Request, Voice},
};
use ironbell_types::{
    Accepted, Account, AccountId, Amount, Asset, AssetId, CancelOrder, Capacity, ClOrdId, Command,
    Credential, Display, EnterOrder, Firm, FirmId, Funding, Instrument, InstrumentId, Mpid, Nanos, OpenDay,
    OrderKey, OrderOptions, OrderRef, OrderTerms, Port, PortId, PortLimits, Price, Qty, ReplaceOrder, Scale,
    Seq, Sequenced, Side, Stage, Stp, Symbol, TimeInForce, UserRefIdx, UserRefNum, Username,
};

const PORTS: u32 = 64;
const MID_TICKS: f64 = 33_504.0;
const PRICE_TICK: u32 = 50;
const DISTANCE_MAX: usize = 30;
const LIFE_MEDIAN_US: f64 = 431.0;
const BOOK: InstrumentId = InstrumentId(1);

const SCENARIOS: [(&str, f64); 5] =
    [("static", 0.0), ("routine-2%", 0.02), ("swing-25%", 0.25), ("swing-40%", 0.40), ("crash-60%", 0.60)];

/// The bars, in messages per second, and what is aimed at: matching alone, and the whole engine.
const BARS: [(&str, f64, f64); 2] = [("matching", 8e6, 30e6), ("engine", 4e6, 10e6)];

/// What the existence of the rule book may cost plain flow: `--vs da558de`, the revision before it.
const LOSS_MAX: f64 = 0.10;

fn main() {
    let options = Options::parse();
    match measure(&options) {
        Ok(rows) if options.json => print_json(&options, &rows),
        Ok(rows) => print_table(&options, &rows),
        Err(error) => {
            eprintln!("matching_throughput: {error}");
            std::process::exit(1);
        }
    }
}

/// One scenario on one stage.
struct Row {
    scenario: &'static str,
    stage: &'static str,
    run: Run,
    /// A message.
    instructions: Option<f64>,
    versus: Option<Versus>,
}

fn measure(options: &Options) -> Result<Vec<Row>, String> {
    let now = Program::present();
    let before = options.vs.as_deref().map(Program::of_revision).transpose()?;
    let mut rows = Vec::new();
    for (scenario, swing) in SCENARIOS {
        if options.scenario.as_deref().is_some_and(|only| only != scenario) {
            continue;
        }
        let flow = Flow::generate(options.seed, swing, options.messages);
        for (stage, ..) in BARS {
            if options.only.as_deref().is_some_and(|only| only != stage) {
                continue;
            }
            let mut runs: Vec<Run> = (0..options.runs)
                .map(|_| if stage == "matching" { run_matching(&flow) } else { run_engine(&flow) })
                .collect();
            runs.sort_by(|a, b| a.per_s.total_cmp(&b.per_s));
            let best_per_s = runs[runs.len() - 1].per_s;
            let run = Run { best_per_s, ..runs[runs.len() / 2].clone() };
            let flow = (options.messages, options.seed);
            let versus = before.as_ref().map(|before| {
                eprintln!("{scenario} {stage}: {} pairs", options.pairs);
                Versus::measure(before, &now, stage, scenario, flow, options.pairs)
            });
            let versus = versus.transpose()?;
            let instructions = match &versus {
                Some(versus) => Some(versus.now_instructions),
                None if options.instructions => Some(now.instructions(stage, scenario, options.seed)?),
                None => None,
            };
            rows.push(Row { scenario, stage, run, instructions, versus });
        }
    }
    Ok(rows)
}

struct Options {
    json: bool,
    messages: usize,
    runs: usize,
    seed: u64,
    only: Option<String>,
    scenario: Option<String>,
    instructions: bool,
    vs: Option<String>,
    pairs: usize,
}

impl Options {
    fn parse() -> Self {
        let mut options = Self {
            json: false,
            messages: 2_000_000,
            runs: 5,
            seed: 1,
            only: None,
            scenario: None,
            instructions: false,
            vs: None,
            pairs: 20,
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().unwrap_or_else(|| panic!("{arg} wants a value"));
            match arg.as_str() {
                "--json" => options.json = true,
                "--messages" => options.messages = value().parse().expect("--messages wants a number"),
                "--runs" => options.runs = value().parse().expect("--runs wants a number"),
                "--seed" => options.seed = value().parse().expect("--seed wants a number"),
                "--only" => options.only = Some(value()),
                "--scenario" => options.scenario = Some(value()),
                "--instructions" => options.instructions = true,
                "--vs" => options.vs = Some(value()),
                "--pairs" => options.pairs = value().parse().expect("--pairs wants a number"),
                // Cargo says so to every bench.
                "--bench" => {}
                other => panic!("unknown option {other}"),
            }
        }
        assert!(options.messages > 0 && options.runs > 0 && options.pairs > 0);
        options
    }
}

/// One message, small enough that reading it does not count.
#[derive(Clone, Copy)]
struct Message {
    kind: Kind,
    buys: bool,
    port: u8,
    qty: u8,
    price: u32,
    /// The order's number on its port; of a cancel, of what it cancels.
    num: u32,
    /// What is replaced or cancelled: its number, and the place of the message that made it.
    orig_num: u32,
    orig_place: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Day,
    Ioc,
    Replace,
    Cancel,
}

struct Flow {
    messages: Vec<Message>,
}

impl Flow {
    fn generate(seed: u64, swing: f64, count: usize) -> Self {
        let mut rng = Rng(seed);
        let path = path(&mut rng, swing, count);
        let distances = Distances::new();
        let mut planned: Vec<(f64, u32, Kind)> = Vec::with_capacity(count * 2);
        let mut orders = Vec::with_capacity(count);
        for order in 0..count {
            let arrives = order as f64;
            let buys = rng.next() & 1 == 1;
            let ioc = rng.unit() < 0.15;
            let replaced = !ioc && rng.unit() < 0.20;
            let canceled = !ioc && rng.unit() < 0.95;
            let life = rng.exponential(LIFE_MEDIAN_US);
            let by_one_tick = rng.unit() < 0.80;
            // Arrivals are shuffled along each half of the path by as much as a thousandth of it.
            let jitter = (rng.unit() - 0.5) * count as f64 * 0.001;
            let along = ((arrives + jitter) / count as f64).clamp(0.0, 1.0) * 0.5;
            let mid = path[((if buys { along } else { along + 0.5 }) * (path.len() - 1) as f64) as usize];
            let distance = distances.draw(&mut rng);
            let price = own_side(mid, buys, distance);
            let moved = if by_one_tick {
                let up = rng.next() & 1 == 1;
                if up { price + 1 } else { price - 1 }
            } else {
                own_side(mid, buys, distances.draw(&mut rng))
            };
            orders.push(Planned {
                buys,
                price,
                moved,
                qty: (1 + rng.next() % 100) as u8,
                port: (rng.next() % u64::from(PORTS)) as u8,
            });
            planned.push((arrives, order as u32, if ioc { Kind::Ioc } else { Kind::Day }));
            if replaced {
                planned.push((arrives + life * 0.5, order as u32, Kind::Replace));
            }
            if canceled {
                planned.push((arrives + life, order as u32, Kind::Cancel));
            }
        }
        planned.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self { messages: number(&mut rng, &planned, &orders, count) }
    }
}

struct Planned {
    buys: bool,
    price: u32,
    moved: u32,
    qty: u8,
    port: u8,
}

/// Gives the planned messages their numbers and mixes stale duplicates in.
fn number(rng: &mut Rng, planned: &[(f64, u32, Kind)], orders: &[Planned], count: usize) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::with_capacity(count);
    let mut nums = [0u32; PORTS as usize];
    // Of each order, its present number and the place of the message that gave it.
    let mut present = vec![(0u32, 0u32); orders.len()];
    let mut canceled: Vec<Message> = Vec::new();
    for &(_, order, kind) in planned {
        if messages.len() >= count {
            break;
        }
        let Planned { buys, price, moved, qty, port } = orders[order as usize];
        let (orig_num, orig_place) = present[order as usize];
        let mut num = orig_num;
        if kind != Kind::Cancel {
            nums[usize::from(port)] += 1;
            num = nums[usize::from(port)];
            present[order as usize] = (num, messages.len() as u32);
        }
        let price = if kind == Kind::Replace { moved } else { price };
        let message = Message { kind, buys, port, qty, price, num, orig_num, orig_place };
        messages.push(message);
        if kind == Kind::Cancel {
            canceled.push(message);
        }
        if rng.unit() < 0.02 && !canceled.is_empty() && messages.len() < count {
            messages.push(canceled[canceled.len() - 1 - rng.next() as usize % canceled.len().min(64)]);
        }
    }
    messages
}

fn own_side(mid: f64, buys: bool, distance: u32) -> u32 {
    if buys { mid.floor() as u32 + 1 - distance } else { mid.floor() as u32 + distance }
}

/// A Brownian path in logarithms, stretched so that from its highest to its lowest point it falls by
/// `swing`, the fall coming after the rise.
fn path(rng: &mut Rng, swing: f64, points: usize) -> Vec<f64> {
    let mut log = 0.0;
    let mut path: Vec<f64> = (0..points)
        .map(|_| {
            log += rng.unit() + rng.unit() + rng.unit() - 1.5;
            log
        })
        .collect();
    let extent = |path: &[f64]| {
        let highest = (0..path.len()).max_by(|&a, &b| path[a].total_cmp(&path[b])).unwrap();
        let lowest = (0..path.len()).min_by(|&a, &b| path[a].total_cmp(&path[b])).unwrap();
        (highest, lowest)
    };
    let (highest, lowest) = extent(&path);
    let mut stretch = -(1.0 - swing).ln() / (path[highest] - path[lowest]).max(1e-9);
    if highest > lowest {
        stretch = -stretch;
    }
    let start = path[0];
    path.iter_mut().for_each(|log| *log = MID_TICKS * ((*log - start) * stretch).exp());
    path
}

/// Distances from the mid, in ticks from 1: rising to 8, then a power law, cut at [`DISTANCE_MAX`].
struct Distances {
    cumulative: Vec<f64>,
}

impl Distances {
    fn new() -> Self {
        let mut sum = 0.0;
        let weight = |d: usize| {
            let relative = d as f64 / 8.0;
            if d < 8 { relative } else { relative.powf(-2.23) }
        };
        let cumulative = (1..=DISTANCE_MAX)
            .map(|d| {
                sum += weight(d);
                sum
            })
            .collect();
        Self { cumulative }
    }

    fn draw(&self, rng: &mut Rng) -> u32 {
        let at = rng.unit() * self.cumulative[DISTANCE_MAX - 1];
        1 + self.cumulative.partition_point(|sum| *sum < at) as u32
    }
}

/// splitmix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn exponential(&mut self, median: f64) -> f64 {
        -median / core::f64::consts::LN_2 * (1.0 - self.unit()).ln()
    }
}

/// The thread's CPU time and the wall clock.
struct Watch(f64, Instant);

impl Watch {
    fn start() -> Self {
        Self(cpu_seconds(), Instant::now())
    }

    fn stop(&self) -> (f64, f64) {
        (cpu_seconds() - self.0, self.1.elapsed().as_secs_f64())
    }
}

/// Seconds this thread has run, from its scheduler statistics (proc(5), `/proc/pid/schedstat`): good to
/// a timer tick, and readable under valgrind too, where the vDSO's clock is not.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux's scheduler statistics");
    let ran_ns: u64 = text.split(' ').next().and_then(|field| field.parse().ok()).expect("nanoseconds first");
    ran_ns as f64 / 1e9
}

#[derive(Clone)]
struct Run {
    /// Messages per second of the thread's CPU time: what a core to itself does, whatever its
    /// neighbours do meanwhile.
    per_s: f64,
    /// Messages per second by the wall clock.
    wall_per_s: f64,
    best_per_s: f64,
    trades: u64,
    orders: usize,
    levels: usize,
}

impl Run {
    fn new(messages: usize, took: (f64, f64), trades: u64, book: impl Iterator<Item = Price>) -> Self {
        let (mut orders, mut levels, mut last) = (0, 0, None);
        for price in book {
            orders += 1;
            levels += usize::from(last != Some(price));
            last = Some(price);
        }
        let (per_s, wall_per_s) = (messages as f64 / took.0, messages as f64 / took.1);
        Self { per_s, wall_per_s, best_per_s: per_s, trades, orders, levels }
    }
}

/// What is put into the tables beforehand: more than any scenario leaves open.
const ORDERS: usize = 1 << 17;

/// Commands whose output is looked at together, as a frame would be.
const FRAME: usize = 64;

fn order_ref(place: u32) -> OrderRef {
    OrderRef::new(Seq(u64::from(place) + 1), 0)
}

fn key(message: &Message, num: u32) -> OrderKey {
    OrderKey::new(PortId(u32::from(message.port) + 1), UserRefIdx(0), UserRefNum(num))
}

fn request(place: u32, message: &Message) -> Request {
    if message.kind == Kind::Cancel {
        return Request::Cancel {
            instrument: BOOK,
            order_ref: order_ref(message.orig_place),
            total: Qty::ZERO,
        };
    }
    let order = Accepted {
        key: key(message, message.num),
        order_ref: order_ref(place),
        firm: FirmId(u32::from(message.port) + 1),
        instrument: BOOK,
        side: if message.buys { Side::Buy } else { Side::Sell },
        qty: Qty(u64::from(message.qty)),
        price: Price(i64::from(message.price)),
        time_in_force: if message.kind == Kind::Ioc { TimeInForce::Ioc } else { TimeInForce::Day },
        display: Display::Visible,
        capacity: Capacity::Principal,
        cl_ord_id: ClOrdId::default(),
        options: OrderOptions::default(),
        booked: false,
        shown_qty: Qty::ZERO,
    };
    let incoming = Incoming::new(order, &OrderTerms::default(), place, false, Stp::Off, None);
    match message.kind {
        Kind::Replace => Request::Replace { orig: order_ref(message.orig_place), total: order.qty, incoming },
        _ => Request::Enter(incoming),
    }
}

fn run_matching(flow: &Flow) -> Run {
    let mut matching = Matching::new(ORDERS, 7);
    let mut out = Vec::with_capacity(1 << 14);
    let mut effects = Vec::with_capacity(1 << 14);
    let mut voice = Voice::new(&mut out, Seq(0), Nanos(0), Stage::Matching);
    matching.apply(&Request::OpenBook { day_open: true }, &mut voice, &mut effects);
    let mut trades = 0;
    let watch = Watch::start();
    for (frame, messages) in flow.messages.chunks(FRAME).enumerate() {
        for (at, message) in messages.iter().enumerate() {
            let place = (frame * FRAME + at) as u32;
            let mut voice = Voice::new(&mut out, order_ref(place).seq(), Nanos(0), Stage::Matching);
            matching.apply(&request(place, message), &mut voice, &mut effects);
        }
        let is_fill = |effect: &&_| matches!(effect, ironbell_core::matching::Effect::Fill { .. });
        trades += effects.iter().filter(is_fill).count() as u64;
        std::hint::black_box(&out);
        out.clear();
        effects.clear();
    }
    let took = watch.stop();
    Run::new(flow.messages.len(), took, trades, matching.book(BOOK).map(|order| order.price))
}

fn command(message: &Message) -> Command {
    let (port, user_ref_idx) = (PortId(u32::from(message.port) + 1), UserRefIdx(0));
    let (qty, num, orig) =
        (Qty(u64::from(message.qty)), UserRefNum(message.num), UserRefNum(message.orig_num));
    match message.kind {
        Kind::Cancel => {
            Command::CancelOrder(CancelOrder { port, user_ref_idx, user_ref_num: num, qty: Qty::ZERO })
        }
        Kind::Replace => Command::ReplaceOrder(ReplaceOrder {
            port,
            user_ref_idx,
            orig_user_ref_num: orig,
            user_ref_num: num,
            qty,
            wire_price: u64::from(message.price) * u64::from(PRICE_TICK),
            time_in_force: TimeInForce::Day,
            display: Display::Visible,
            cl_ord_id: ClOrdId::default(),
            options: OrderOptions::default(),
            max_floor: None,
            random_reserves: None,
            expire: Nanos(0),
            fault: None,
        }),
        Kind::Day | Kind::Ioc => Command::EnterOrder(EnterOrder {
            port,
            user_ref_idx,
            user_ref_num: num,
            instrument: BOOK,
            side: if message.buys { Side::Buy } else { Side::Sell },
            qty,
            price: Price(i64::from(message.price)),
            time_in_force: if message.kind == Kind::Ioc { TimeInForce::Ioc } else { TimeInForce::Day },
            display: Display::Visible,
            capacity: Capacity::Principal,
            cl_ord_id: ClOrdId::default(),
            options: OrderOptions::default(),
            terms: OrderTerms::default(),
            fault: None,
        }),
    }
}

fn genesis() -> Vec<Command> {
    let name = |text: &str| Symbol::new(text).expect("a short name");
    let (usd, stock) = (AssetId(1), AssetId(2));
    let mut commands = vec![
        Command::DefineAsset(Asset { id: usd, code: name("USD"), decimals: 4 }),
        Command::DefineAsset(Asset { id: stock, code: name("STOCK"), decimals: 0 }),
        Command::DefineInstrument(Instrument {
            id: BOOK,
            symbol: name("STOCK"),
            base: stock,
            quote: usd,
            scale: Scale::EquityExact { price_tick: PRICE_TICK },
            tick_value: u64::from(PRICE_TICK),
            lot_units: 1,
            round_lot: 100,
            maker_fee_bps: 1,
            taker_fee_bps: 3,
        }),
    ];
    for id in 1..=PORTS {
        let (firm, account) = (FirmId(id), AccountId(id));
        commands.push(Command::DefineFirm(Firm { id: firm, mpid: Mpid::new(&format!("F{id:03}")).unwrap() }));
        commands.push(Command::DefineAccount(Account { id: account, firm }));
        commands.push(Command::DefinePort(Port {
            id: PortId(id),
            username: Username::new(&format!("P{id:03}")).unwrap(),
            firm,
            account,
            limits: PortLimits { qty_max: Qty(1 << 20), notional_max: Amount(1 << 60) },
            credential: Credential { salt: [0; 16], hash: [0; 32], memory_kib: 0, passes: 0, lanes: 0 },
        }));
        for asset in [usd, stock] {
            let funding =
                Funding { id: u64::from(id * 2 + asset.0), account, asset, amount: Amount(1 << 60) };
            commands.push(Command::Fund(funding));
        }
    }
    commands.push(Command::OpenDay(OpenDay { date: 20_261_121, midnight: Nanos(0) }));
    commands
}

fn run_engine(flow: &Flow) -> Run {
    let mut engine = Engine::new(Config { key: 7, orders: ORDERS, accounts: PORTS as usize });
    let mut out = Vec::with_capacity(1 << 14);
    let mut seq = Seq(0);
    for command in genesis() {
        seq = seq.next();
        engine.execute(&Sequenced { seq, time: Nanos(0), command }, &mut out);
    }
    assert!(!out.iter().any(|event| matches!(event.body, ironbell_types::EventBody::AdminRefused(_))));
    out.clear();
    let mut trades = 0;
    let watch = Watch::start();
    for messages in flow.messages.chunks(FRAME) {
        for message in messages {
            seq = seq.next();
            engine.execute(&Sequenced { seq, time: Nanos(seq.0), command: command(message) }, &mut out);
        }
        let is_trade =
            |event: &&ironbell_types::Event| matches!(event.body, ironbell_types::EventBody::Trade(_));
        trades += out.iter().filter(is_trade).count() as u64;
        out.clear();
    }
    let took = watch.stop();
    engine.check_invariants();
    Run::new(flow.messages.len(), took, trades, engine.book(BOOK).map(|order| order.price))
}

/// The worst scenario of a stage, and its bar.
fn worst(rows: &[Row]) -> impl Iterator<Item = (&Row, f64, f64)> {
    BARS.into_iter().filter_map(|(stage, bar, aim)| {
        let of_stage = rows.iter().filter(|row| row.stage == stage);
        let worst = of_stage.min_by(|a, b| a.run.per_s.total_cmp(&b.run.per_s))?;
        Some((worst, bar, aim))
    })
}

/// The scenario of a stage that lost most to what came after the earlier revision.
fn most_lost(rows: &[Row]) -> impl Iterator<Item = (&Row, &Versus)> {
    BARS.into_iter().filter_map(|(stage, ..)| {
        let of_stage = rows.iter().filter(|row| row.stage == stage);
        let compared = of_stage.filter_map(|row| Some((row, row.versus.as_ref()?)));
        compared.min_by(|a, b| a.1.ratio.total_cmp(&b.1.ratio))
    })
}

/// Whether less than [`LOSS_MAX`] is lost: sure either way only where all of the bounds say so.
fn verdict(versus: &Versus) -> &'static str {
    let least = 1.0 - LOSS_MAX;
    match (versus.ratio_low > least, versus.ratio_high > least) {
        (true, _) => "met",
        (false, true) => "not decided by these pairs",
        (false, false) => "missed",
    }
}

fn print_table(options: &Options, rows: &[Row]) {
    println!(
        "{} messages a scenario, seed {}, median of {} runs; million messages per second of one core's time",
        options.messages, options.seed, options.runs
    );
    println!(
        "{:<12} {:<9} {:>7} {:>7} {:>7} {:>9} {:>8} {:>7} {:>12}",
        "scenario", "stages", "median", "best", "wall", "trades", "orders", "levels", "instructions"
    );
    for Row { scenario, stage, run, instructions, .. } in rows {
        let Run { per_s, wall_per_s, best_per_s, trades, orders, levels } = run;
        let instructions = instructions.map_or("-".into(), |instructions| format!("{instructions:.0}"));
        println!(
            "{scenario:<12} {stage:<9} {:>7.2} {:>7.2} {:>7.2} {trades:>9} {orders:>8} {levels:>7} {instructions:>12}",
            per_s / 1e6,
            best_per_s / 1e6,
            wall_per_s / 1e6
        );
    }
    for (row, bar, aim) in worst(rows) {
        let Row { scenario, stage, run, .. } = row;
        let verdict = if run.per_s >= bar { "met" } else { "missed" };
        println!(
            "worst {stage}: {:.2} M msg/s ({scenario}); bar {:.0} M: {verdict}; aim {:.0} M",
            run.per_s / 1e6,
            bar / 1e6,
            aim / 1e6
        );
    }
    let Some(revision) = &options.vs else { return };
    println!(
        "\n{revision} and now in turn, {} pairs; now to before, and where its median lies in 95 of 100 cases",
        options.pairs
    );
    println!(
        "{:<12} {:<9} {:>7} {:>7} {:>7} {:>15} {:>13} {:>9}",
        "scenario", "stages", "before", "now", "ratio", "from .. to", "instructions", "ratio"
    );
    for Row { scenario, stage, versus, .. } in rows {
        let Some(versus) = versus else { continue };
        println!(
            "{scenario:<12} {stage:<9} {:>7.2} {:>7.2} {:>7.3} {:>7.3} .. {:.3} {:>5.0} → {:>5.0} {:>9.3}",
            versus.before_per_s / 1e6,
            versus.now_per_s / 1e6,
            versus.ratio,
            versus.ratio_low,
            versus.ratio_high,
            versus.before_instructions,
            versus.now_instructions,
            versus.instructions_ratio()
        );
    }
    for (row, versus) in most_lost(rows) {
        println!(
            "most lost, {}: {:.1} % ({}), instructions {:+.1} %; bar less than {:.0} %: {}",
            row.stage,
            (1.0 - versus.ratio) * 100.0,
            row.scenario,
            (versus.instructions_ratio() - 1.0) * 100.0,
            LOSS_MAX * 100.0,
            verdict(versus)
        );
    }
}

fn print_json(options: &Options, rows: &[Row]) {
    let results: Vec<String> = rows
        .iter()
        .map(|Row { scenario, stage, run, instructions, versus }| {
            let mut row = format!(
                r#"{{"scenario":"{scenario}","stages":"{stage}","messages_per_s":{:.0},"best_messages_per_s":{:.0},"wall_messages_per_s":{:.0},"trades":{},"orders":{},"levels":{}"#,
                run.per_s, run.best_per_s, run.wall_per_s, run.trades, run.orders, run.levels
            );
            if let Some(instructions) = instructions {
                row += &format!(r#","instructions":{instructions:.1}"#);
            }
            if let Some(versus) = versus {
                row += &format!(
                    r#","before":{{"messages_per_s":{:.0},"instructions":{:.1}}},"now":{{"messages_per_s":{:.0},"instructions":{:.1}}},"ratio":{:.4},"ratio_from":{:.4},"ratio_to":{:.4},"instructions_ratio":{:.4}"#,
                    versus.before_per_s,
                    versus.before_instructions,
                    versus.now_per_s,
                    versus.now_instructions,
                    versus.ratio,
                    versus.ratio_low,
                    versus.ratio_high,
                    versus.instructions_ratio()
                );
            }
            row + "}"
        })
        .collect();
    let worst: Vec<String> = worst(rows)
        .map(|(row, bar, aim)| {
            let Row { scenario, stage, run, .. } = row;
            let per_s = run.per_s;
            format!(
                r#""{stage}":{{"scenario":"{scenario}","messages_per_s":{per_s:.0},"bar":{bar:.0},"aim":{aim:.0}}}"#
            )
        })
        .collect();
    let versus = options.vs.as_ref().map_or(String::new(), |revision| {
        let most_lost: Vec<String> = most_lost(rows)
            .map(|(row, versus)| {
                format!(
                    r#""{}":{{"scenario":"{}","lost":{:.4},"verdict":"{}"}}"#,
                    row.stage,
                    row.scenario,
                    1.0 - versus.ratio,
                    verdict(versus)
                )
            })
            .collect();
        let (pairs, most_lost) = (options.pairs, most_lost.join(","));
        format!(r#","vs":"{revision}","pairs":{pairs},"most_lost":{{{most_lost}}}"#)
    });
    println!(
        r#"{{"messages":{},"seed":{},"runs":{},"results":[{}],"worst":{{{}}}{versus}}}"#,
        options.messages,
        options.seed,
        options.runs,
        results.join(","),
        worst.join(",")
    );
}
