//! Members' messages to commands: OUCH here, native ones in `inbound/native.rs`.
//!
//! What carries a new UserRefNum (an order, a replacement, a quote, a mass cancel, a switch of order entry)
//! always becomes a command: what is wrong with its form travels as `fault`, so that the refusal is
//! sequenced and journaled like any other. The first fault in this order counts:
//!
//! 1. side; 2. symbol; 3. quantity; 4. price; 5. time in force; 6. display; 7. capacity; 8. intermarket
//!    sweep; 9. cross type; 10. options by their tags; 11. an appendage that is no list of allowed options.
//!
//! What does not depend on the form but on how terms go together is core's to refuse.
//!
//! | field | offered |
//! |---|---|
//! | price | whole ticks; 0x7FFFFFFF, on equity-exact instruments also 200,000.0000: at the market |
//! | time in force | `0` day, `3` immediate or cancel, `6` good till time (tag 15) |
//! | display | `Y` `A`, `N` hidden |
//! | cross type | `N`; with time in force `0` also `O` at the open, `C` at the close; else `CrossOrder` |
//!
//! | option | offered |
//! |---|---|
//! | 2 Firm | the port's own MPID, else `FirmNotAuthorized` |
//! | 3 MinQty | kept |
//! | 4 CustomerType | `R` `N` space, kept |
//! | 5 MaxFloor, 13 RandomReserves | kept |
//! | 6 PriceType | `L` none, `P` market, `M` midpoint, `R` primary peg, else `Pegging` |
//! | 7 PegOffset | whole ticks, else `Pegging`; negative is less aggressive: below a bid, above an ask |
//! | 9 DiscretionPrice | whole ticks within the range of prices, else `Other`; 0 is none |
//! | 10 DiscretionPriceType | `L`, else `Other` |
//! | 11 DiscretionPegOffset | 0, else `Pegging` |
//! | 12 PostOnly | `P` `N`, kept |
//! | 15 ExpireTime | seconds after local midnight of the trading day, for time in force `6`; 0 is none |
//! | 16 TradeNow | `N` space, else `Other` |
//! | 17 HandleInst | space, else `Other` |
//! | 24 GroupID | kept |
//! | 25 SharesLocated, 26 LocateBroker | taken and not kept: core knows what a firm has located |
//! | 27 Side | on Mass Cancel; on Replace Order `Side`: a replacement keeps the side |
//! | 28 UserRefIdx | the channel |
//! | 29 AIQ strategy | `*` as the port, `N` off, `Y` cancel newest, `O` cancel oldest, `W` cancel both, `D` decrement; `y` `o` `w` `d` the same within the group of tag 30; others `Aiq` |
//! | 30 AIQ group | two printable characters, else `Aiq`; spaces or zeros are none; not with `Y` `O` `W` `D`, always with `y` `o` `w` `d` |
//!
//! A Replace Order keeps the terms of its original but for tags 5 and 13: with 6, 7, 9, 10, 11, 29 or 30 it
//! is a fault, which by OUCH's rule cancels the original. Its market price is 0x7FFFFFFF only, as it names no
//! instrument.

use ironbell_types::{
    AccountQuery, CancelOrder, Capacity, ClOrdId, Command, Display, EQUITY_QTY_MAX, EQUITY_WIRE_PRICE_MAX,
    EnterOrder, FirmId, Instrument, InstrumentId, MassCancel, ModifyOrder, Mpid, Nanos, OrderEntrySwitch,
    OrderOptions, OrderTerms, Peg, Port, Price, Qty, Reject, ReplaceOrder, Scale, Side, Stp, Symbol,
    TimeInForce, UserRefIdx, UserRefNum,
};
use ironbell_wire::DecodeError;
use ironbell_wire::code::{peg, stp};
use ironbell_wire::native::{QUOTES_MAX, is_native};
use ironbell_wire::ouch::{self, Inbound, Options, PRICE_MARKET};

use crate::Directory;

mod native;

/// Most commands of one message: the entries of a mass quote.
pub const COMMANDS_MAX: usize = QUOTES_MAX;
/// 200,000.0000, the other price that says so on an equity-exact one.
const PRICE_MARKET_CROSS: u64 = 2_000_000_000;
/// A scaled price must fit the 32 bits that it has in ITCH, also when a post-only order slides by a tick.
const PRICE_SCALED_MAX: u64 = u32::MAX as u64 - 1;

/// A message that becomes no command. It is answered by a debug packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// It is no message, or one whose answer could name no order.
    #[error("{0}")]
    Malformed(DecodeError),
    /// The side of a Modify Order, which has no refusal, is none of B S T E.
    #[error("OUCH inbound 'M': '{}' is no side", .0.escape_ascii())]
    ModifySide(u8),
}

/// Passes to `take` the commands of a message that came in on `port`, in their order: one, or one for each
/// entry of a mass quote, at most [`COMMANDS_MAX`].
///
/// # Errors
/// [`NotTaken`]; nothing was passed then.
pub fn commands(
    bytes: &[u8],
    port: &Port,
    directory: &Directory,
    take: &mut impl FnMut(Command),
) -> Result<(), NotTaken> {
    if is_native(bytes) {
        return native::commands(bytes, port, directory, take);
    }
    take(ouch_command(bytes, port, directory)?);
    Ok(())
}

fn ouch_command(bytes: &[u8], port: &Port, directory: &Directory) -> Result<Command, NotTaken> {
    match Inbound::parse(bytes) {
        Ok(message) => convert(&message, idx_of(&message.options()), None, port, directory),
        Err(e) => {
            // With its fixed part and its channel readable, the number that the member gave is known,
            // and the member is owed the refusal of it.
            let fixed = Inbound::parse_fixed(bytes).map_err(|_| NotTaken::Malformed(e))?;
            let fixed_size = match fixed {
                Inbound::EnterOrder(..) => size_of::<ouch::EnterOrder>(),
                Inbound::ReplaceOrder(..) => size_of::<ouch::ReplaceOrder>(),
                Inbound::MassCancel(..) => size_of::<ouch::MassCancel>(),
                Inbound::DisableOrderEntry(..) => size_of::<ouch::DisableOrderEntry>(),
                Inbound::EnableOrderEntry(..) => size_of::<ouch::EnableOrderEntry>(),
                _ => return Err(NotTaken::Malformed(e)),
            };
            let idx = channel(&bytes[fixed_size..]).ok_or(NotTaken::Malformed(e))?;
            convert(&fixed, idx, Some(Reject::Other), port, directory)
        }
    }
}

fn convert(
    message: &Inbound<'_>,
    idx: UserRefIdx,
    fault: Option<Reject>,
    port: &Port,
    directory: &Directory,
) -> Result<Command, NotTaken> {
    match message {
        Inbound::EnterOrder(m, options) => {
            Ok(Command::EnterOrder(enter_order(m, options, idx, fault, port, directory)))
        }
        Inbound::ReplaceOrder(m, options) => {
            Ok(Command::ReplaceOrder(replace_order(m, options, idx, fault, port, directory)))
        }
        Inbound::CancelOrder(m, _) => Ok(Command::CancelOrder(CancelOrder {
            port: port.id,
            user_ref_idx: idx,
            user_ref_num: UserRefNum(m.user_ref_num.get()),
            qty: Qty(m.quantity.get().into()),
        })),
        Inbound::ModifyOrder(m, _) => Ok(Command::ModifyOrder(ModifyOrder {
            port: port.id,
            user_ref_idx: idx,
            user_ref_num: UserRefNum(m.user_ref_num.get()),
            side: Side::try_from(m.side).map_err(|code| NotTaken::ModifySide(code.0))?,
            qty: Qty(m.quantity.get().into()),
        })),
        Inbound::MassCancel(m, options) => {
            Ok(Command::MassCancel(mass_cancel(m, options, idx, fault, port, directory)))
        }
        Inbound::AccountQuery(..) => {
            Ok(Command::AccountQuery(AccountQuery { port: port.id, user_ref_idx: idx }))
        }
        Inbound::DisableOrderEntry(m, _) => Ok(Command::DisableOrderEntry(OrderEntrySwitch {
            port: port.id,
            user_ref_idx: idx,
            user_ref_num: UserRefNum(m.user_ref_num.get()),
            firm: firm_of(m.firm, directory),
            fault,
        })),
        Inbound::EnableOrderEntry(m, _) => Ok(Command::EnableOrderEntry(OrderEntrySwitch {
            port: port.id,
            user_ref_idx: idx,
            user_ref_num: UserRefNum(m.user_ref_num.get()),
            firm: firm_of(m.firm, directory),
            fault,
        })),
    }
}

/// The firm of an MPID; 0, which is nobody's, when there is none such.
fn firm_of(mpid: [u8; 4], directory: &Directory) -> FirmId {
    directory.firm_named(Mpid(mpid)).unwrap_or(FirmId(0))
}

fn idx_of(options: &Options<'_>) -> UserRefIdx {
    UserRefIdx(options.user_ref_idx().unwrap_or(0))
}

/// The channel that a refused appendage names, 0 when it names none; `None` when its elements cannot
/// even be told apart.
fn channel(appendage: &[u8]) -> Option<UserRefIdx> {
    let (length, mut elements) = appendage.split_first_chunk()?;
    if usize::from(u16::from_be_bytes(*length)) != elements.len() {
        return None;
    }
    let mut idx = None;
    while let Some((&length, rest)) = elements.split_first() {
        let (element, behind) = rest.split_at_checked(length.into())?;
        match element {
            [] => return None,
            [28, value] if idx.is_none() => idx = Some(UserRefIdx(*value)),
            [28, ..] => return None,
            _ => {}
        }
        elements = behind;
    }
    Some(idx.unwrap_or_default())
}

/// An order of which nothing but its number is known yet: what it stays where a fault is found.
fn unchecked(port: &Port, idx: UserRefIdx, num: u32, fault: Option<Reject>) -> EnterOrder {
    EnterOrder {
        port: port.id,
        user_ref_idx: idx,
        user_ref_num: UserRefNum(num),
        instrument: InstrumentId::NONE,
        side: Side::Buy,
        qty: Qty(0),
        price: Price(0),
        time_in_force: TimeInForce::Day,
        display: Display::Visible,
        capacity: Capacity::Other,
        cl_ord_id: ClOrdId::default(),
        options: OrderOptions::default(),
        terms: OrderTerms::default(),
        fault,
    }
}

fn enter_order(
    m: &ouch::EnterOrder,
    options: &Options<'_>,
    idx: UserRefIdx,
    fault: Option<Reject>,
    port: &Port,
    directory: &Directory,
) -> EnterOrder {
    let order = EnterOrder {
        qty: Qty(m.quantity.get().into()),
        cl_ord_id: ClOrdId(m.cl_ord_id),
        ..unchecked(port, idx, m.user_ref_num.get(), fault)
    };
    match check_enter(m, options, port, directory, order) {
        Ok(checked) => checked,
        Err(reject) => EnterOrder { fault: Some(reject), ..order },
    }
}

fn check_enter(
    m: &ouch::EnterOrder,
    options: &Options<'_>,
    port: &Port,
    directory: &Directory,
    order: EnterOrder,
) -> Result<EnterOrder, Reject> {
    let side = Side::try_from(m.side).map_err(|_| Reject::Side)?;
    let instrument = directory.instrument_named(Symbol(m.symbol)).ok_or(Reject::Symbol)?;
    check_qty(m.quantity.get(), instrument)?;
    let price = m.price.get();
    let market = is_market(price, instrument);
    let price = if market { Price(0) } else { price_ticks(price, instrument).ok_or(Reject::Price)? };
    let time_in_force = time_in_force(m.time_in_force)?;
    let display = Display::try_from(m.display).map_err(|_| Reject::Display)?;
    let capacity = Capacity::try_from(m.capacity).map_err(|_| Reject::Other)?;
    check_sweep(m.inter_market_sweep)?;
    let time_in_force = match (m.cross_type, time_in_force) {
        (b'N', _) => time_in_force,
        (b'O', TimeInForce::Day) => TimeInForce::AtOpen,
        (b'C', TimeInForce::Day) => TimeInForce::AtClose,
        _ => return Err(Reject::CrossOrder),
    };
    let (options, terms) = if options.is_empty() {
        Default::default()
    } else {
        enter_options(options, port, instrument, directory)?
    };
    Ok(EnterOrder {
        instrument: instrument.id,
        side,
        price,
        time_in_force,
        display,
        capacity,
        options,
        terms: OrderTerms { market, ..terms },
        ..order
    })
}

fn replace_order(
    m: &ouch::ReplaceOrder,
    options: &Options<'_>,
    idx: UserRefIdx,
    fault: Option<Reject>,
    port: &Port,
    directory: &Directory,
) -> ReplaceOrder {
    let order = ReplaceOrder {
        port: port.id,
        user_ref_idx: idx,
        orig_user_ref_num: UserRefNum(m.orig_user_ref_num.get()),
        user_ref_num: UserRefNum(m.user_ref_num.get()),
        qty: Qty(m.quantity.get().into()),
        wire_price: m.price.get(),
        time_in_force: TimeInForce::Day,
        display: Display::Visible,
        cl_ord_id: ClOrdId(m.cl_ord_id),
        options: OrderOptions::default(),
        max_floor: None,
        random_reserves: None,
        expire: Nanos(0),
        fault,
    };
    match check_replace(m, options, directory, order) {
        Ok(checked) => checked,
        Err(reject) => ReplaceOrder { fault: Some(reject), ..order },
    }
}

/// A replacement names no instrument: tick, and the largest price and quantity, are core's to check.
fn check_replace(
    m: &ouch::ReplaceOrder,
    options: &Options<'_>,
    directory: &Directory,
    order: ReplaceOrder,
) -> Result<ReplaceOrder, Reject> {
    let wire_price = match m.price.get() {
        PRICE_MARKET => 0,
        price if price > PRICE_SCALED_MAX => return Err(Reject::Price),
        price => price,
    };
    let time_in_force = time_in_force(m.time_in_force)?;
    let display = Display::try_from(m.display).map_err(|_| Reject::Display)?;
    check_sweep(m.inter_market_sweep)?;
    let order = ReplaceOrder { wire_price, time_in_force, display, ..order };
    if options.is_empty() { Ok(order) } else { replace_options(options, directory, order) }
}

fn mass_cancel(
    m: &ouch::MassCancel,
    options: &Options<'_>,
    idx: UserRefIdx,
    fault: Option<Reject>,
    port: &Port,
    directory: &Directory,
) -> MassCancel {
    let request = MassCancel {
        port: port.id,
        user_ref_idx: idx,
        user_ref_num: UserRefNum(m.user_ref_num.get()),
        firm: firm_of(m.firm, directory),
        instrument: InstrumentId::NONE,
        group: options.group_id(),
        side: None,
        fault,
    };
    match check_mass_cancel(m, options, port, directory, request) {
        Ok(checked) => checked,
        Err(reject) => MassCancel { fault: Some(reject), ..request },
    }
}

fn check_mass_cancel(
    m: &ouch::MassCancel,
    options: &Options<'_>,
    port: &Port,
    directory: &Directory,
    request: MassCancel,
) -> Result<MassCancel, Reject> {
    let side = options.side().map(Side::try_from).transpose().map_err(|_| Reject::Side)?;
    // An unknown symbol must not stand as "all". A foreign firm comes before it, and is core's to refuse.
    let instrument = match directory.instrument_named(Symbol(m.symbol)) {
        Some(instrument) => instrument.id,
        None if m.symbol == [b' '; 8] || request.firm != port.firm => InstrumentId::NONE,
        None => return Err(Reject::Symbol),
    };
    Ok(MassCancel { instrument, side, ..request })
}

fn check_qty(qty: u32, instrument: &Instrument) -> Result<(), Reject> {
    let qty_max = match instrument.scale {
        Scale::EquityExact { .. } => EQUITY_QTY_MAX,
        Scale::Scaled => u32::MAX,
    };
    if qty == 0 || qty > qty_max { Err(Reject::Quantity) } else { Ok(()) }
}

fn is_market(price: u64, instrument: &Instrument) -> bool {
    let is_equity = matches!(instrument.scale, Scale::EquityExact { .. });
    price == PRICE_MARKET || (is_equity && price == PRICE_MARKET_CROSS)
}

/// A wire price in ticks; `None` when it is 0, beyond the wire's range or not whole.
fn price_ticks(price: u64, instrument: &Instrument) -> Option<Price> {
    let price_max = match instrument.scale {
        Scale::EquityExact { .. } => EQUITY_WIRE_PRICE_MAX,
        Scale::Scaled => PRICE_SCALED_MAX,
    };
    let tick = u64::from(instrument.price_tick());
    if price == 0 || price > price_max || !price.is_multiple_of(tick) {
        return None;
    }
    i64::try_from(price / tick).ok().map(Price)
}

/// Those that the wire has a code for; which crosses there are stands in another field.
fn time_in_force(code: u8) -> Result<TimeInForce, Reject> {
    match TimeInForce::try_from(code) {
        Ok(offered @ (TimeInForce::Day | TimeInForce::Ioc | TimeInForce::Gtt)) => Ok(offered),
        Ok(TimeInForce::Fok | TimeInForce::Gtc | TimeInForce::AtOpen | TimeInForce::AtClose) | Err(_) => {
            Err(Reject::Other)
        }
    }
}

fn check_sweep(code: u8) -> Result<(), Reject> {
    if code == b'N' { Ok(()) } else { Err(Reject::Iso) }
}

/// The options of an Enter Order, in the order of their tags.
fn enter_options(
    options: &Options<'_>,
    port: &Port,
    instrument: &Instrument,
    directory: &Directory,
) -> Result<(OrderOptions, OrderTerms), Reject> {
    let firm = options.firm();
    if firm.is_some_and(|mpid| directory.firm_named(Mpid(mpid)) != Some(port.firm)) {
        return Err(Reject::FirmNotAuthorized);
    }
    let customer_type = match options.customer_type() {
        None => 0,
        Some(code @ (b'R' | b'N' | b' ')) => code,
        Some(_) => return Err(Reject::Other),
    };
    let peg = options.price_type().map_or(Some(Peg::None), peg).ok_or(Reject::Pegging)?;
    let peg_offset = options.peg_offset().map_or(Some(0), |offset| offset_ticks(offset, instrument));
    let peg_offset = peg_offset.ok_or(Reject::Pegging)?;
    let discretion = match options.discretion_price() {
        None | Some(0) => Price(0),
        Some(price) => price_ticks(price, instrument).ok_or(Reject::Other)?,
    };
    if options.discretion_price_type().is_some_and(|code| code != b'L') {
        return Err(Reject::Other);
    }
    if options.discretion_peg_offset().is_some_and(|offset| offset != 0) {
        return Err(Reject::Pegging);
    }
    let post_only = post_only(options)?;
    let expire = expire(options.expire_time().unwrap_or(0), directory)?;
    check_handling(options)?;
    let (stp, stp_group) = aiq(options.aiq_strategy(), options.aiq_group_id())?;
    let kept = OrderOptions {
        firm: firm.is_some(),
        customer_type,
        post_only,
        group: options.group_id(),
        min_qty: options.min_qty().unwrap_or(0),
    };
    let terms = OrderTerms {
        max_floor: options.max_floor().unwrap_or(0),
        random_reserves: options.random_reserves().unwrap_or(0),
        peg,
        peg_offset,
        discretion,
        expire,
        stp,
        stp_group,
        ..OrderTerms::default()
    };
    Ok((kept, terms))
}

/// The options of a Replace Order, in the order of their tags.
fn replace_options(
    options: &Options<'_>,
    directory: &Directory,
    order: ReplaceOrder,
) -> Result<ReplaceOrder, Reject> {
    if options.price_type().is_some() || options.peg_offset().is_some() {
        return Err(Reject::Pegging);
    }
    if options.discretion_price().is_some() || options.discretion_price_type().is_some() {
        return Err(Reject::Other);
    }
    if options.discretion_peg_offset().is_some() {
        return Err(Reject::Pegging);
    }
    let post_only = post_only(options)?;
    let expire = expire(options.expire_time().unwrap_or(0), directory)?;
    check_handling(options)?;
    if options.side().is_some() {
        return Err(Reject::Side);
    }
    if options.aiq_strategy().is_some() || options.aiq_group_id().is_some() {
        return Err(Reject::Aiq);
    }
    let min_qty = options.min_qty().unwrap_or(0);
    Ok(ReplaceOrder {
        options: OrderOptions { post_only, min_qty, ..OrderOptions::default() },
        max_floor: options.max_floor(),
        random_reserves: options.random_reserves(),
        expire,
        ..order
    })
}

fn post_only(options: &Options<'_>) -> Result<u8, Reject> {
    match options.post_only() {
        None => Ok(0),
        Some(code @ (b'P' | b'N')) => Ok(code),
        Some(_) => Err(Reject::Other),
    }
}

/// TradeNow and HandleInst, of which only the plain values are offered.
fn check_handling(options: &Options<'_>) -> Result<(), Reject> {
    let is_plain = options.trade_now().is_none_or(|code| matches!(code, b'N' | b' '))
        && options.handle_inst().is_none_or(|code| code == b' ');
    if is_plain { Ok(()) } else { Err(Reject::Other) }
}

/// A PegOffset in ticks; `None` when it is not whole.
fn offset_ticks(offset: i32, instrument: &Instrument) -> Option<i32> {
    let tick = i64::from(instrument.price_tick());
    let offset = i64::from(offset);
    if offset % tick == 0 { i32::try_from(offset / tick).ok() } else { None }
}

/// The time of an ExpireTime, which is in seconds after the day's midnight; 0 is none.
fn expire(seconds: u32, directory: &Directory) -> Result<Nanos, Reject> {
    if seconds == 0 {
        return Ok(Nanos(0));
    }
    let midnight = directory.day().ok_or(Reject::Other)?.midnight.0;
    midnight.checked_add(u64::from(seconds) * 1_000_000_000).map(Nanos).ok_or(Reject::Other)
}

/// What an AIQ strategy and group ask for.
fn aiq(strategy: Option<u8>, group: Option<[u8; 2]>) -> Result<(Stp, [u8; 2]), Reject> {
    let group = stp_group(group.unwrap_or_default()).ok_or(Reject::Aiq)?;
    let Some(strategy) = strategy else { return Ok((Stp::Port, group)) };
    let stp = stp(strategy.to_ascii_uppercase()).ok_or(Reject::Aiq)?;
    let is_right = match strategy {
        b'*' | b'N' => true,
        b'Y' | b'O' | b'W' | b'D' => group == [0; 2],
        b'y' | b'o' | b'w' | b'd' => group != [0; 2],
        _ => false,
    };
    if is_right { Ok((stp, group)) } else { Err(Reject::Aiq) }
}

/// A group of self-trade prevention, zeros for none; `None` when it is not printable.
fn stp_group(group: [u8; 2]) -> Option<[u8; 2]> {
    match group {
        [0, 0] | [b' ', b' '] => Some([0; 2]),
        [b' '..=b'~', b' '..=b'~'] => Some(group),
        _ => None,
    }
}
