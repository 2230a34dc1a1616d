//! Native messages to commands.
//!
//! The first fault in this order counts: 1. side; 2. symbol; 3. quantity; 4. price; 5. time in force;
//! 6. display; 7. capacity; 8. the other fields in the order of their block; 9. what follows the block.
//!
//! Prices have OUCH's ranges, as every trade has to fit the feed. So have quantities on equity-exact
//! instruments; on scaled ones they have 64 bits, but what rests and is shown at a time has the feed's 32.
//!
//! A mass quote with a group that is none, or of less than 1 or more than 64 entries, or with numbers beyond
//! the last one, is one faulty quote of its first number.

use ironbell_types::{
    Capacity, ClOrdId, Command, DeadMan, Display, EQUITY_QTY_MAX, EQUITY_WIRE_PRICE_MAX, EnterOrder,
    Instrument, InstrumentId, Nanos, OrderOptions, OrderStateQuery, OrderTerms, Port, Price, Qty, Quote,
    QuoteSide, Reject, ReplaceOrder, Scale, Side, Symbol, TimeInForce, UserRefIdx, UserRefNum,
};
use ironbell_wire::code::{peg, stp};
use ironbell_wire::native::{self, Inbound, MassQuote, NO_GROUP, QUOTES_MAX, QuoteEntry, UNCHANGED};

use super::{NotTaken, PRICE_SCALED_MAX, expire, stp_group};
use crate::Directory;

pub(super) fn commands(
    bytes: &[u8],
    port: &Port,
    directory: &Directory,
    take: &mut impl FnMut(Command),
) -> Result<(), NotTaken> {
    let (message, fault) = match Inbound::parse(bytes) {
        Ok(message) => (message, None),
        // With its block readable, the number that the member gave is known, and the member is owed the
        // refusal of it. Requests without a number are owed none.
        Err(e) => match Inbound::parse_block(bytes) {
            Ok(Inbound::OrderStateRequest(_) | Inbound::DeadMan(_)) | Err(_) => {
                return Err(NotTaken::Malformed(e));
            }
            Ok(message) => (message, Some(Reject::Other)),
        },
    };
    match message {
        Inbound::NewOrder(m) => take(Command::EnterOrder(new_order(m, fault, port, directory))),
        Inbound::ReplaceOrder(m) => take(Command::ReplaceOrder(replace_order(m, fault, port, directory))),
        Inbound::MassQuote(m, entries) => mass_quote(m, entries, fault, port, directory, take),
        Inbound::OrderStateRequest(m) => take(Command::OrderStateQuery(OrderStateQuery {
            port: port.id,
            user_ref_idx: UserRefIdx(m.user_ref_idx),
            user_ref_num: UserRefNum(m.user_ref_num.get()),
        })),
        Inbound::DeadMan(m) => {
            take(Command::DeadMan(DeadMan { port: port.id, timeout_ns: m.timeout.get() }));
        }
    }
    Ok(())
}

fn new_order(m: &native::NewOrder, fault: Option<Reject>, port: &Port, directory: &Directory) -> EnterOrder {
    let order = EnterOrder {
        qty: Qty(m.quantity.get()),
        price: Price(m.price.get()),
        cl_ord_id: ClOrdId(m.cl_ord_id),
        ..super::unchecked(port, UserRefIdx(m.user_ref_idx), m.user_ref_num.get(), fault)
    };
    match check_new(m, directory, order) {
        Ok(checked) => checked,
        Err(reject) => EnterOrder { fault: Some(reject), ..order },
    }
}

fn check_new(m: &native::NewOrder, directory: &Directory, order: EnterOrder) -> Result<EnterOrder, Reject> {
    let side = Side::try_from(m.side).map_err(|_| Reject::Side)?;
    let instrument = directory.instrument_named(Symbol(m.symbol)).ok_or(Reject::Symbol)?;
    check_qty(order.qty, instrument)?;
    if m.display != Display::Hidden.code() && m.order_type != b'M' && rests(m.time_in_force) {
        check_shown_qty(order.qty, m.max_floor.get(), m.random_reserves.get())?;
    }
    check_price(order.price, instrument)?;
    let time_in_force = TimeInForce::try_from(m.time_in_force).map_err(|_| Reject::Other)?;
    let display = Display::try_from(m.display).map_err(|_| Reject::Display)?;
    let capacity = Capacity::try_from(m.capacity).map_err(|_| Reject::Other)?;
    let (stop, discretion) = (Price(m.stop_price.get()), Price(m.discretion_price.get()));
    for price in [stop, discretion] {
        check_price(price, instrument).map_err(|_| Reject::Other)?;
    }
    // It is echoed in OUCH's units.
    let peg_offset = m.peg_offset.get();
    let wire_offset = i64::from(peg_offset) * i64::from(instrument.price_tick());
    i32::try_from(wire_offset).map_err(|_| Reject::Pegging)?;
    let expire = expire(m.expire_time.get(), directory)?;
    let group = Some(m.group_id.get()).filter(|group| *group != NO_GROUP);
    let stp_group = stp_group(m.stp_group).ok_or(Reject::Aiq)?;
    let market = match m.order_type {
        b'L' => false,
        b'M' => true,
        _ => return Err(Reject::Other),
    };
    let peg = peg(m.peg).ok_or(Reject::Pegging)?;
    let stp = stp(m.stp).ok_or(Reject::Aiq)?;
    let post_only = post_only(m.post_only)?;
    let customer_type = match m.customer_type {
        b'U' => 0,
        code @ (b'R' | b'N') => code,
        _ => return Err(Reject::Other),
    };
    let min_qty = m.min_qty.get();
    Ok(EnterOrder {
        instrument: instrument.id,
        side,
        time_in_force,
        display,
        capacity,
        options: OrderOptions { firm: false, customer_type, post_only, group, min_qty },
        terms: OrderTerms {
            market,
            stop,
            trail: m.trail.get(),
            max_floor: m.max_floor.get(),
            random_reserves: m.random_reserves.get(),
            peg,
            peg_offset,
            discretion,
            expire,
            oco: UserRefNum(m.oco_user_ref_num.get()),
            stp,
            stp_group,
        },
        ..order
    })
}

fn replace_order(
    m: &native::ReplaceOrder,
    fault: Option<Reject>,
    port: &Port,
    directory: &Directory,
) -> ReplaceOrder {
    let kept = |given: u32| Some(given).filter(|given| *given != UNCHANGED);
    let order = ReplaceOrder {
        port: port.id,
        user_ref_idx: UserRefIdx(m.user_ref_idx),
        orig_user_ref_num: UserRefNum(m.orig_user_ref_num.get()),
        user_ref_num: UserRefNum(m.user_ref_num.get()),
        qty: Qty(m.quantity.get()),
        wire_price: m.price.get(),
        time_in_force: TimeInForce::Day,
        display: Display::Visible,
        cl_ord_id: ClOrdId(m.cl_ord_id),
        options: OrderOptions { min_qty: m.min_qty.get(), ..OrderOptions::default() },
        max_floor: kept(m.max_floor.get()),
        random_reserves: kept(m.random_reserves.get()),
        expire: Nanos(0),
        fault,
    };
    match check_replace(m, directory, order) {
        Ok(checked) => checked,
        Err(reject) => ReplaceOrder { fault: Some(reject), ..order },
    }
}

/// A replacement names no instrument: its tick and the ranges of equity-exact ones are core's to check.
fn check_replace(
    m: &native::ReplaceOrder,
    directory: &Directory,
    order: ReplaceOrder,
) -> Result<ReplaceOrder, Reject> {
    if m.display != Display::Hidden.code() && rests(m.time_in_force) {
        // How much of the total is left, and what the original showed, is not known here. Core takes
        // RandomReserves only below MaxFloor.
        let floor = order.max_floor.unwrap_or(0);
        check_shown_qty(order.qty, floor, order.random_reserves.unwrap_or(floor.saturating_sub(1)))?;
    }
    if order.wire_price > PRICE_SCALED_MAX {
        return Err(Reject::Price);
    }
    let time_in_force = TimeInForce::try_from(m.time_in_force).map_err(|_| Reject::Other)?;
    let display = Display::try_from(m.display).map_err(|_| Reject::Display)?;
    let post_only = post_only(m.post_only)?;
    let expire = expire(m.expire_time.get(), directory)?;
    let options = OrderOptions { post_only, ..order.options };
    Ok(ReplaceOrder { time_in_force, display, options, expire, ..order })
}

fn mass_quote(
    m: &MassQuote,
    entries: &[QuoteEntry],
    fault: Option<Reject>,
    port: &Port,
    directory: &Directory,
    take: &mut impl FnMut(Command),
) {
    let first = m.user_ref_num.get();
    let quote = Quote {
        port: port.id,
        user_ref_idx: UserRefIdx(m.user_ref_idx),
        user_ref_num: UserRefNum(first),
        instrument: InstrumentId::NONE,
        bid: QuoteSide::default(),
        ask: QuoteSide::default(),
        capacity: Capacity::Other,
        fault,
    };
    let count = entries.len();
    let is_right = (1..=QUOTES_MAX).contains(&count) && first.checked_add(2 * count as u32 - 1).is_some();
    if fault.is_some() || !is_right {
        take(Command::Quote(Quote { fault: Some(Reject::Other), ..quote }));
        return;
    }
    for (entry, number) in entries.iter().zip((first..).step_by(2)) {
        let quote = Quote { user_ref_num: UserRefNum(number), ..quote };
        take(Command::Quote(match check_quote(m, entry, directory, quote) {
            Ok(checked) => checked,
            Err(reject) => Quote { fault: Some(reject), ..quote },
        }));
    }
}

fn check_quote(
    m: &MassQuote,
    entry: &QuoteEntry,
    directory: &Directory,
    quote: Quote,
) -> Result<Quote, Reject> {
    let instrument = directory.instrument_named(Symbol(entry.symbol)).ok_or(Reject::Symbol)?;
    let bid = QuoteSide { qty: Qty(entry.bid_quantity.get()), price: Price(entry.bid_price.get()) };
    let ask = QuoteSide { qty: Qty(entry.ask_quantity.get()), price: Price(entry.ask_price.get()) };
    for side in [bid, ask].iter().filter(|side| side.qty.0 != 0) {
        check_qty(side.qty, instrument)?;
        check_shown_qty(side.qty, 0, 0)?;
    }
    for side in [bid, ask] {
        check_price(side.price, instrument)?;
    }
    let capacity = Capacity::try_from(m.capacity).map_err(|_| Reject::Other)?;
    Ok(Quote { instrument: instrument.id, bid, ask, capacity, ..quote })
}

/// Whether what is left of an order with this time in force rests.
fn rests(time_in_force: u8) -> bool {
    matches!(TimeInForce::try_from(time_in_force), Ok(TimeInForce::Day | TimeInForce::Gtt | TimeInForce::Gtc))
}

fn check_qty(qty: Qty, instrument: &Instrument) -> Result<(), Reject> {
    let qty_max = match instrument.scale {
        Scale::EquityExact { .. } => EQUITY_QTY_MAX.into(),
        Scale::Scaled => u64::MAX,
    };
    if qty.0 == 0 || qty.0 > qty_max { Err(Reject::Quantity) } else { Ok(()) }
}

/// The most that can be shown at a time: everything, or MaxFloor with what RandomReserves may add.
fn check_shown_qty(qty: Qty, max_floor: u32, random_reserves: u32) -> Result<(), Reject> {
    let shown_max = match max_floor {
        0 => qty.0,
        floor => qty.0.min(u64::from(floor) + u64::from(random_reserves)),
    };
    if shown_max > u32::MAX.into() { Err(Reject::Quantity) } else { Ok(()) }
}

/// Within OUCH's range; what is below 1 is core's to refuse, as a market order has no price.
fn check_price(price: Price, instrument: &Instrument) -> Result<(), Reject> {
    let ticks_max = match instrument.scale {
        Scale::EquityExact { price_tick } => EQUITY_WIRE_PRICE_MAX / u64::from(price_tick),
        Scale::Scaled => PRICE_SCALED_MAX,
    };
    if u64::try_from(price.0).is_ok_and(|ticks| ticks > ticks_max) { Err(Reject::Price) } else { Ok(()) }
}

fn post_only(code: u8) -> Result<u8, Reject> {
    match code {
        b'U' => Ok(0),
        b'P' | b'N' => Ok(code),
        _ => Err(Reject::Other),
    }
}
