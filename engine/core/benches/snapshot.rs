//! `snapshot`: how fast the state is written and read back.
//!
//! ```text
//! cargo bench -p ironbell-core --bench snapshot -- [--orders N] [--accounts N] [--runs N] [--only WHAT]
//! ```
//!
//! A venue of 100 instruments, 100,000 accounts with a port each, and a million open orders at random prices of
//! either side. Each round does everything once, so that all meet the same machine; the best round of each counts.
//! Beside each figure stands what a machine gives at most: reading the same bytes and making their checksum. `memory`
//! is what filling as much memory as the loaded state takes costs when it is fresh from the kernel, which no load can
//! do without.

use std::any::Any;
use std::time::Instant;

use ironbell_core::{Config, Engine};
use ironbell_types::{
    Account, AccountId, Amount, Asset, AssetId, Capacity, ClOrdId, Command, Credential, Display, EnterOrder,
    Firm, FirmId, Funding, Instrument, InstrumentId, Mpid, Nanos, OpenDay, OrderOptions, OrderTerms, Port,
    PortId, PortLimits, Price, Qty, Scale, Sequenced, Side, Symbol, TimeInForce, UserRefIdx, UserRefNum,
    Username,
};

const INSTRUMENTS: u32 = 100;
/// What a load is to do at least, in bytes a second.
const LOAD_BAR: f64 = 500e6;
/// What the loaded state takes for an open order, with its share of indexes.
const STATE_BYTES_PER_ORDER: usize = 300;

fn main() {
    let (mut orders, mut accounts, mut runs, mut only) = (1_000_000, 100_000, 5, None);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        if arg == "--only" {
            only = args.next();
            continue;
        }
        let mut value =
            || args.next().and_then(|value| value.parse().ok()).expect("a number behind the option");
        match arg.as_str() {
            "--orders" => orders = value(),
            "--accounts" => accounts = value(),
            "--runs" => runs = value(),
            // Cargo says so to every bench.
            "--bench" => {}
            other => panic!("unknown option {other}"),
        }
    }
    let config = Config { key: 7, orders: orders as usize, accounts: accounts as usize };
    let engine = venue(config, orders, accounts);
    let bytes = engine.save();
    println!(
        "{orders} open orders, {accounts} accounts: {:.1} MB, {:.1} bytes an order",
        bytes.len() as f64 / 1e6,
        bytes.len() as f64 / f64::from(orders)
    );
    let work: [Work<'_>; 6] = [
        ("checksum", &|| Box::new(xxhash_rust::xxh3::xxh3_64(&bytes))),
        ("memory", &|| Box::new(vec![1u64; STATE_BYTES_PER_ORDER / 8 * orders as usize])),
        ("save", &|| Box::new(engine.save())),
        ("state hash", &|| Box::new(engine.state_hash())),
        ("load", &|| Box::new(Engine::load(&bytes, config).expect("it was saved"))),
        ("verify", &|| Box::new(Engine::load_verified(&bytes, config).expect("it was saved"))),
    ];
    let mut best = [f64::INFINITY; 6];
    for _ in 0..runs.max(1) {
        for ((what, work), best) in work.iter().zip(&mut best) {
            if only.as_ref().is_none_or(|only| only == what) {
                let started = Instant::now();
                let made = std::hint::black_box(work());
                *best = best.min(started.elapsed().as_secs_f64());
                drop(made);
            }
        }
    }
    println!("{:<12} {:>9} {:>9} {:>14}", "best of", "ms", "MB/s", "of a checksum");
    for ((what, _), seconds) in work.iter().zip(best) {
        let rate = bytes.len() as f64 / seconds;
        println!(
            "{what:<12} {:>9.1} {:>9.0} {:>13.1} %",
            seconds * 1e3,
            rate / 1e6,
            best[0] / seconds * 100.0
        );
    }
    println!(
        "load         {:.2} x the bar of {:.0} MB/s",
        bytes.len() as f64 / best[4] / LOAD_BAR,
        LOAD_BAR / 1e6
    );
}

/// What is timed, and what it makes, which is not timed to go.
type Work<'a> = (&'a str, &'a dyn Fn() -> Box<dyn Any>);

fn venue(config: Config, orders: u32, accounts: u32) -> Engine {
    let mut engine = Engine::new(config);
    let mut out = Vec::new();
    let mut execute = |command| {
        let seq = engine.last_seq().next();
        engine.execute(&Sequenced { seq, time: Nanos(seq.0), command }, &mut out);
        out.clear();
    };
    let name = |number: u32| format!("{number:05}");
    let usd = Asset { id: AssetId(1), code: Symbol::new("USD").expect("short"), decimals: 2 };
    execute(Command::DefineAsset(usd));
    for id in 1..=INSTRUMENTS {
        let symbol = Symbol::new(&name(id)).expect("short");
        let base = AssetId(id + 1);
        execute(Command::DefineAsset(Asset { id: base, code: symbol, decimals: 0 }));
        execute(Command::DefineInstrument(Instrument {
            id: InstrumentId(id),
            symbol,
            base,
            quote: usd.id,
            scale: Scale::Scaled,
            tick_value: 1,
            lot_units: 1,
            round_lot: 1,
            maker_fee_bps: 1,
            taker_fee_bps: 2,
        }));
    }
    execute(Command::DefineFirm(Firm { id: FirmId(1), mpid: Mpid::new("ALFA").expect("short") }));
    for id in 1..=accounts {
        execute(Command::DefineAccount(Account { id: AccountId(id), firm: FirmId(1) }));
        execute(Command::DefinePort(Port {
            id: PortId(id),
            username: Username::new(&format!("{id:06}")).expect("short"),
            firm: FirmId(1),
            account: AccountId(id),
            limits: PortLimits { qty_max: Qty(1_000), notional_max: Amount(1 << 60) },
            credential: Credential { salt: [0; 16], hash: [0; 32], memory_kib: 8, passes: 1, lanes: 1 },
        }));
        for (asset, amount) in [(1, 1 << 40), (2 + id % INSTRUMENTS, 1 << 20)] {
            let funding = u64::from(id) * 2 + u64::from(asset == 1);
            let amount = Amount(amount);
            execute(Command::Fund(Funding {
                id: funding,
                account: AccountId(id),
                asset: AssetId(asset),
                amount,
            }));
        }
    }
    execute(Command::OpenDay(OpenDay { date: 20_261_121, midnight: Nanos(0) }));
    let mut random = 1u64;
    for number in 0..orders {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let port = 1 + (random >> 33) as u32 % accounts;
        let buys = random >> 20 & 1 == 0;
        let distance = (random >> 40) as i64 % 1_000;
        execute(Command::EnterOrder(EnterOrder {
            port: PortId(port),
            user_ref_idx: UserRefIdx(0),
            user_ref_num: UserRefNum(number + 1),
            // Of what it sells the account has some.
            instrument: InstrumentId(1 + port % INSTRUMENTS),
            side: if buys { Side::Buy } else { Side::Sell },
            qty: Qty(1 + u64::from(number % 100)),
            price: Price(if buys { 10_000 - distance } else { 10_001 + distance }),
            time_in_force: TimeInForce::Day,
            display: Display::Visible,
            capacity: Capacity::Agency,
            cl_ord_id: ClOrdId::default(),
            options: OrderOptions::default(),
            terms: OrderTerms::default(),
            fault: None,
        }));
    }
    assert_eq!(engine.instruments().map(|i| engine.book(i.id).count()).sum::<usize>(), orders as usize);
    engine
}
