//! Every field that decides something later shows in the state hash: each is changed in turn.
//!
//! That none is forgotten is up to the compiler: what is listed is taken apart field by field where it is listed
//! (`columns!`, `listing.rs`, `book.rs`), so a new field has to be named there, as listed or as not. Fields of
//! ports and desks, which keep some to themselves, are the exception.

use super::*;
use crate::{
    book::{Extra, Order},
    desk::OpenRecord,
    directory::InstrumentState,
    limits::{Credit, Exposure, Position, Shorts},
    sweep::{Sweep, Sweeps, Whose},
    trades::Leg,
};
use ironbell_types::{
    CancelReason, Capacity, ClOrdId, Control, Credential, DeadMan, Display, EnterOrder, EventBody, Funding,
    Login, MassCancel, Mpid, OrderOptions, OrderRef, OrderTerms, PortLimits, PortRules, Price, Qty, Quote,
    QuoteSide, Scale, Side, Stp, Symbol, TimeInForce, UserRefIdx, UserRefNum, Username,
};

const USD: AssetId = AssetId(1);
const STOCK: AssetId = AssetId(2);
const BOOK: InstrumentId = InstrumentId(1);
const FIRM: FirmId = FirmId(1);
const ACCOUNT: AccountId = AccountId(1);
const PORT: PortId = PortId(1);

/// A venue with at least one row in every table.
fn full() -> Engine {
    let mut engine = Engine::new(Config { key: 1, orders: 16, accounts: 4 });
    let mut said = Vec::new();
    let mut run = |command| {
        let seq = engine.last_seq().next();
        engine.execute(&Sequenced { seq, time: Nanos(1_000 * seq.0), command }, &mut said);
    };
    for (id, code) in [(USD, "USD"), (STOCK, "STOCK")] {
        run(Command::DefineAsset(Asset { id, code: Symbol::new(code).unwrap(), decimals: 2 }));
    }
    run(Command::DefineInstrument(Instrument {
        id: BOOK,
        symbol: Symbol::new("STOCK").unwrap(),
        base: STOCK,
        quote: USD,
        scale: Scale::Scaled,
        tick_value: 100,
        lot_units: 10,
        round_lot: 100,
        maker_fee_bps: 5,
        taker_fee_bps: 7,
    }));
    run(Command::DefineFirm(Firm { id: FIRM, mpid: Mpid::new("ALFA").unwrap() }));
    run(Command::DefineAccount(Account { id: ACCOUNT, firm: FIRM }));
    let credential = Credential { salt: [0; 16], hash: [0; 32], memory_kib: 8, passes: 1, lanes: 1 };
    let limits = PortLimits { qty_max: Qty(1_000), notional_max: Amount(1 << 40) };
    let username = Username::new("P1").unwrap();
    run(Command::DefinePort(Port { id: PORT, username, firm: FIRM, account: ACCOUNT, limits, credential }));
    for (id, asset) in [(1, USD), (2, STOCK)] {
        run(Command::Fund(Funding { id, account: ACCOUNT, asset, amount: Amount(1 << 40) }));
    }
    for control in [
        Control::SetPosition {
            account: ACCOUNT,
            instrument: BOOK,
            long_max: Some(Qty(900)),
            short_max: Some(Qty(800)),
        },
        Control::SetCredit { account: ACCOUNT, asset: USD, credit_max: Some(Amount(1 << 39)) },
        Control::SetExposure {
            firm: FIRM,
            asset: USD,
            gross_max: Some(Amount(1 << 39)),
            net_max: Some(Amount(1 << 39)),
        },
        Control::Locate { id: 3, firm: FIRM, instrument: BOOK, qty: 50 },
        Control::SetPortRules {
            port: PORT,
            rules: PortRules {
                rate_per_second: 1_000,
                rate_burst: 30,
                duplicates_max: 5,
                duplicate_ns: 9,
                ..PortRules::plain(limits)
            },
        },
    ] {
        run(Command::Control(control));
    }
    run(Command::OpenDay(OpenDay { date: 20_261_120, midnight: Nanos(0) }));
    let enter = |num, side, qty, price| EnterOrder {
        port: PORT,
        user_ref_idx: UserRefIdx(0),
        user_ref_num: UserRefNum(num),
        instrument: BOOK,
        side,
        qty: Qty(qty),
        price: Price(price),
        time_in_force: TimeInForce::Day,
        display: Display::Visible,
        capacity: Capacity::Agency,
        cl_ord_id: ClOrdId::default(),
        options: OrderOptions::default(),
        terms: OrderTerms { stp: Stp::Off, ..OrderTerms::default() },
        fault: None,
    };
    run(Command::DeadMan(DeadMan { port: PORT, timeout_ns: 1 << 40 }));
    run(Command::Login(Login { port: PORT }));
    run(Command::Control(Control::BeginGrace { grace_ns: 1 << 40 }));
    // A trade, a plain order, one of its own terms, and a trailing stop.
    run(Command::EnterOrder(enter(1, Side::Sell, 5, 100)));
    run(Command::EnterOrder(enter(2, Side::Buy, 5, 100)));
    run(Command::EnterOrder(enter(3, Side::SellShort, 4, 110)));
    let mut special = enter(4, Side::Buy, 9, 90);
    special.terms.max_floor = 3;
    run(Command::EnterOrder(special));
    let mut stop = enter(5, Side::Sell, 2, 80);
    stop.terms.trail = 4;
    run(Command::EnterOrder(stop));
    run(Command::Quote(Quote {
        port: PORT,
        user_ref_idx: UserRefIdx(0),
        user_ref_num: UserRefNum(6),
        instrument: BOOK,
        bid: QuoteSide { qty: Qty(1), price: Price(91) },
        ask: QuoteSide { qty: Qty(1), price: Price(109) },
        capacity: Capacity::Agency,
        fault: None,
    }));
    run(Command::MassCancel(MassCancel {
        port: PORT,
        user_ref_idx: UserRefIdx(0),
        user_ref_num: UserRefNum(8),
        firm: FIRM,
        instrument: InstrumentId::NONE,
        group: Some(3),
        side: Some(Side::Buy),
        fault: None,
    }));
    let refused = said
        .iter()
        .find(|event| matches!(event.body, EventBody::AdminRefused(_) | EventBody::Rejected { .. }));
    assert!(refused.is_none(), "{refused:?}");
    engine.check_invariants();
    engine
}

fn desk(engine: &mut Engine) -> &mut Desk {
    &mut engine.parts[0].desk
}

fn instrument(engine: &mut Engine) -> &mut InstrumentState {
    desk(engine).directory.instrument_mut(BOOK).unwrap()
}

fn firm(engine: &mut Engine) -> &mut FirmState {
    desk(engine).directory.firm_mut(FIRM).unwrap()
}

fn port(engine: &mut Engine) -> &mut PortState {
    desk(engine).directory.port_mut(PORT).unwrap()
}

/// The slot of an order in stage 1 and in stage 2.
fn record(engine: &mut Engine, num: u32) -> &mut OpenRecord {
    let slot = desk(engine).find(OrderKey::new(PORT, UserRefIdx(0), UserRefNum(num))).unwrap();
    &mut desk(engine).open[slot]
}

fn on_book(engine: &mut Engine, num: u32) -> (&mut Matching, u32) {
    let order_ref = record(engine, num).order_ref;
    let matching = &mut engine.parts[0].matching;
    let slot = matching.books.find(order_ref).unwrap();
    (matching, slot)
}

fn order(engine: &mut Engine, num: u32) -> &mut Order {
    let (matching, slot) = on_book(engine, num);
    matching.books.order_mut(slot)
}

fn extra(engine: &mut Engine, num: u32) -> &mut Extra {
    let (matching, slot) = on_book(engine, num);
    matching.books.extra_mut(slot).unwrap()
}

fn position(engine: &mut Engine) -> &mut Position {
    desk(engine).limits.positions.get_mut(&(ACCOUNT, BOOK)).unwrap()
}

fn credit(engine: &mut Engine) -> &mut Credit {
    desk(engine).limits.credits.get_mut(&(ACCOUNT, USD)).unwrap()
}

fn shorts(engine: &mut Engine) -> &mut Shorts {
    desk(engine).shorts.get_mut(&(FIRM, BOOK)).unwrap()
}

fn exposure(engine: &mut Engine) -> &mut Exposure {
    desk(engine).limits.exposures.get_mut(&(FIRM, USD)).unwrap()
}

/// The first of the day's legs, changed.
fn change_leg(engine: &mut Engine, change: fn(&mut Leg)) {
    let mut legs: Vec<Leg> = desk(engine).trades.iter().copied().collect();
    change(&mut legs[0]);
    desk(engine).trades.clear();
    legs.into_iter().for_each(|leg| desk(engine).trades.push_with(|| leg));
}

/// The one mass cancel under way, changed.
fn change_sweep(engine: &mut Engine, change: fn(&mut Sweep)) {
    let mut sweep = *engine.office.sweeps.iter().next().unwrap();
    change(&mut sweep);
    engine.office.sweeps = Sweeps::new();
    engine.office.sweeps.push(sweep);
}

type Change = fn(&mut Engine);

/// What changes one field each. Numbers are those of the orders in [`full`].
const CHANGES: &[(&str, Change)] = &[
    ("seq", |e| e.seq.0 += 1),
    ("time", |e| e.time.0 += 1),
    ("output hash", |e| e.output_hash += 1),
    // The office.
    ("date", |e| e.office.last_day.as_mut().unwrap().date += 1),
    ("midnight", |e| e.office.last_day.as_mut().unwrap().midnight.0 += 1),
    ("a funding", |e| assert!(e.office.fundings.insert(77))),
    ("a locate's id", |e| assert!(e.office.locates.insert(77))),
    ("volume of a tier", |e| e.office.volume_min[1] = 1),
    ("volume of another tier", |e| e.office.volume_min[3] = 1),
    ("a decline level", |e| e.office.decline_levels[0] = 1),
    ("another decline level", |e| e.office.decline_levels[2] = 1),
    // Mass cancels.
    ("sweep.cause", |e| change_sweep(e, |sweep| sweep.cause.0 += 1)),
    ("sweep.slice", |e| change_sweep(e, |sweep| sweep.slice += 1)),
    ("sweep.instrument", |e| change_sweep(e, |sweep| sweep.instrument.0 += 1)),
    ("sweep.all", |e| change_sweep(e, |sweep| sweep.all = !sweep.all)),
    ("sweep.whose", |e| change_sweep(e, |sweep| sweep.whose = Whose::Port(PORT))),
    ("sweep of all", |e| change_sweep(e, |sweep| sweep.whose = Whose::All)),
    ("sweep.group", |e| change_sweep(e, |sweep| sweep.group = Some(0))),
    ("sweep without group", |e| change_sweep(e, |sweep| sweep.group = None)),
    ("sweep.side", |e| change_sweep(e, |sweep| sweep.side = Some(Side::SellShort))),
    ("sweep without side", |e| change_sweep(e, |sweep| sweep.side = None)),
    ("sweep.day_only", |e| change_sweep(e, |sweep| sweep.day_only = true)),
    ("sweep.reason", |e| change_sweep(e, |sweep| sweep.reason = CancelReason::Closed)),
    // What is everywhere the same.
    ("the day is open", |e| desk(e).day_open = false),
    ("the venue is killed", |e| desk(e).venue_killed = true),
    ("order entry is halted", |e| desk(e).order_entry_halted = true),
    ("an asset", |e| desk(e).directory.assets.get_mut(&USD).unwrap().decimals += 1),
    ("an account", |e| desk(e).directory.accounts.get_mut(&ACCOUNT).unwrap().firm.0 += 1),
    ("not entitled", |e| desk(e).directory.entitle(PORT, BOOK, false)),
    ("restricted", |e| desk(e).directory.restrict(FIRM, BOOK, true)),
    ("restricted for all", |e| desk(e).directory.restrict(FirmId(0), BOOK, true)),
    ("instrument.instrument", |e| instrument(e).instrument.round_lot += 1),
    ("instrument.killed", |e| instrument(e).killed = true),
    ("instrument.delisted", |e| instrument(e).delisted = true),
    ("instrument.fees", |e| instrument(e).fees[0].minimum = 1),
    ("instrument.fees of another tier", |e| instrument(e).fees[2].maker_bps += 1),
    ("instrument.rules", |e| instrument(e).rules.collar_bps += 1),
    ("firm.firm", |e| firm(e).firm.mpid.0[0] += 1),
    ("firm.order_entry_disabled", |e| firm(e).order_entry_disabled = true),
    ("firm.killed", |e| firm(e).killed = true),
    ("firm.tier", |e| firm(e).tier = 1),
    // Ports.
    ("port.port", |e| port(e).port.credential.passes += 1),
    ("port.rules", |e| port(e).rules.slides = true),
    ("port.incarnation", |e| port(e).incarnation += 1),
    ("port.logged_in", |e| port(e).logged_in = false),
    ("port.killed", |e| port(e).killed = true),
    ("port.bucket.tokens", |e| port(e).bucket.tokens += 1),
    ("port.bucket.since", |e| port(e).bucket.since.0 += 1),
    ("port.row", |e| port(e).row = None),
    ("port.row.begin", |e| port(e).row.as_mut().unwrap().begin.0 += 1),
    ("port.row.orders", |e| port(e).row.as_mut().unwrap().orders += 1),
    ("port.row.price", |e| port(e).row.as_mut().unwrap().price.0 += 1),
    ("port.grace_end", |e| port(e).grace_end.as_mut().unwrap().0 += 1),
    ("port.dead_man", |e| port(e).dead_man = None),
    ("port.dead_man.timeout", |e| port(e).dead_man.as_mut().unwrap().timeout_ns += 1),
    ("port.dead_man.heard", |e| port(e).dead_man.as_mut().unwrap().heard.0 += 1),
    ("port.last", |e| port(e).consume(UserRefIdx(0), UserRefNum(99))),
    ("port.last of a channel", |e| port(e).consume(UserRefIdx(3), UserRefNum(99))),
    // Money.
    ("a total", |e| {
        let entry = desk(e).ledger.open(ACCOUNT, USD);
        desk(e).ledger.add(entry, 1);
    }),
    ("what is held", |e| {
        let entry = desk(e).ledger.open(ACCOUNT, USD);
        desk(e).ledger.rehold(entry, 0, 1);
    }),
    // Limits.
    ("position.long_max", |e| position(e).long_max = None),
    ("position.short_max", |e| position(e).short_max = Some(7)),
    ("credit.credit_max", |e| credit(e).credit_max = Some(7)),
    ("exposure.gross_max", |e| exposure(e).gross_max = Some(7)),
    ("exposure.net_max", |e| exposure(e).net_max = Some(7)),
    ("shorts.located", |e| shorts(e).located = Some(7)),
    ("shorts.open", |e| shorts(e).open += 1),
    ("shorts.executed", |e| shorts(e).executed += 1),
    // Orders, as stage 1 knows them.
    ("record.price", |e| record(e, 3).price += 1),
    ("record.worth", |e| record(e, 3).worth += 1),
    ("record.leaves", |e| record(e, 3).leaves += 1),
    ("record.executed", |e| record(e, 3).executed += 1),
    ("record.hold", |e| record(e, 3).hold += 1),
    ("record.fee_sum", |e| record(e, 3).fee_sum += 1),
    ("record.charged", |e| record(e, 3).charged += 1),
    ("record.options", |e| record(e, 3).options.group = Some(1)),
    ("record.side", |e| record(e, 3).side = Side::Sell),
    ("record.capacity", |e| record(e, 3).capacity = Capacity::Principal),
    ("record.time_in_force", |e| record(e, 3).time_in_force = TimeInForce::Gtc),
    ("record.tier", |e| record(e, 3).tier = 1),
    ("record's terms", |e| {
        let slot = desk(e).find(OrderKey::new(PORT, UserRefIdx(0), UserRefNum(5))).unwrap();
        desk(e).triggered(slot);
    }),
    // Orders, as they stand. What both stages know is listed as stage 1 knows it.
    ("order.price", |e| order(e, 3).price += 1),
    ("order.group", |e| order(e, 3).group += 1),
    ("extra.terms", |e| extra(e, 4).terms.random_reserves += 1),
    ("extra.time_in_force", |e| extra(e, 4).time_in_force = TimeInForce::Gtc),
    ("extra.stp", |e| extra(e, 4).stp = Stp::Decrement),
    ("extra.limit", |e| extra(e, 4).limit += 1),
    ("extra.worth", |e| extra(e, 4).worth += 1),
    ("extra.shown.order_ref", |e| extra(e, 4).shown.order_ref.0 += 1),
    ("extra.shown.qty", |e| extra(e, 4).shown.qty.0 += 1),
    ("extra.partner", |e| extra(e, 4).partner = OrderRef(7)),
    ("extra.best", |e| extra(e, 5).best += 1),
    // Instruments, as they trade; field by field in `phase.rs`.
    ("trading", |e| e.parts[0].matching.trading_mut(BOOK).note_trade(3, 3)),
    // Quotes.
    ("a side of a quote", |e| {
        let slot = desk(e).quotes.open(PORT, UserRefIdx(0), BOOK);
        let Desk { quotes, .. } = desk(e);
        let [bid, _] = quotes.standing(slot, |_| true);
        quotes.replace(slot, [None; 2], [bid, None], 0);
    }),
    // Legs of the day's trades.
    ("leg.match_number", |e| change_leg(e, |leg| leg.match_number.0 -= 1)),
    ("leg.key", |e| change_leg(e, |leg| leg.key.0 += 1)),
    ("leg.instrument", |e| change_leg(e, |leg| leg.instrument.0 += 1)),
    ("leg.buys", |e| change_leg(e, |leg| leg.buys = !leg.buys)),
    ("leg.busted", |e| change_leg(e, |leg| leg.busted = true)),
    ("leg.price", |e| change_leg(e, |leg| leg.price.0 += 1)),
    ("leg.qty", |e| change_leg(e, |leg| leg.qty.0 += 1)),
    ("leg.tick_value", |e| change_leg(e, |leg| leg.tick_value += 1)),
    ("leg.worth", |e| change_leg(e, |leg| leg.worth += 1)),
    ("leg.fee", |e| change_leg(e, |leg| leg.fee += 1)),
];

#[test]
fn the_state_hash_tells_every_field() {
    let before = full();
    let mut seen = Vec::from([("nothing", before.state_hash())]);
    for (what, change) in CHANGES {
        let mut after = before.clone();
        change(&mut after);
        let hash = after.state_hash();
        let same = seen.iter().find(|(_, other)| *other == hash);
        assert!(same.is_none(), "{what} is not told from {:?}", same.unwrap().0);
        seen.push((what, hash));
    }
}
