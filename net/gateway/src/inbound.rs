//! OUCH messages to commands.
//!
//! What carries a new UserRefNum (an order, a replacement, a mass cancel, a switch of order entry) always
//! becomes a command: what is wrong with its form travels as `fault`, so that the refusal is sequenced and
//! journaled like any other. The first fault in this order counts:
//!
//! 1. side; 2. symbol; 3. quantity; 4. price; 5. time in force; 6. display; 7. capacity; 8. intermarket
//!    sweep; 9. cross type; 10. options by their tags; 11. an appendage that is no list of allowed options.
//!
//! | option | offered |
//! |---|---|
//! | 2 Firm | the port's own MPID, else `FirmNotAuthorized` |
//! | 3 MinQty | kept; core takes it as fill-or-kill or refuses it |
//! | 4 CustomerType | `R` `N` space, kept |
//! | 5 MaxFloor, 13 RandomReserves | 0, else `MaxFloor` |
//! | 6 PriceType | `L`, else `Pegging` |
//! | 7 PegOffset, 11 DiscretionPegOffset | 0, else `Pegging` |
//! | 9 DiscretionPrice, 10 DiscretionPriceType | `Other` |
//! | 12 PostOnly | `P` `N`, kept |
//! | 15 ExpireTime | `Other`: no time in force needs it |
//! | 16 TradeNow | `N` space, else `Other` |
//! | 17 HandleInst | space, else `Other` |
//! | 24 GroupID | kept |
//! | 25 SharesLocated, 26 LocateBroker | taken and not kept: the venue checks no locates |
//! | 27 Side | on Mass Cancel; on Replace Order `Side`: a replacement keeps the side |
//! | 28 UserRefIdx | the channel |
//! | 29, 30 AIQ | `Other`: self-trade prevention is not offered, and must not be taken as if it were |

use ironbell_types::{
    AccountQuery, CancelOrder, Capacity, ClOrdId, Command, Display, EQUITY_QTY_MAX, EQUITY_WIRE_PRICE_MAX,
    EnterOrder, FirmId, Instrument, InstrumentId, MassCancel, ModifyOrder, Mpid, OrderEntrySwitch,
    OrderOptions, Port, Price, Qty, Reject, ReplaceOrder, Scale, Side, Symbol, TimeInForce, UserRefIdx,
    UserRefNum,
};
use ironbell_wire::DecodeError;
use ironbell_wire::ouch::{self, Inbound, Options};

use crate::Directory;

/// The price that says "at the market", on any instrument.
pub const PRICE_MARKET: u64 = 0x7fff_ffff;
/// 200,000.0000, the other price that says so on an equity-exact one.
const PRICE_MARKET_CROSS: u64 = 2_000_000_000;
/// A scaled price must fit the 32 bits that it has in ITCH.
const PRICE_SCALED_MAX: u64 = u32::MAX as u64;

/// A message that becomes no command. It is answered by a debug packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// It is no OUCH message, or one whose answer could name no order.
    #[error("{0}")]
    Malformed(DecodeError),
    /// The side of a Modify Order, which has no refusal, is none of B S T E.
    #[error("OUCH inbound 'M': '{}' is no side", .0.escape_ascii())]
    ModifySide(u8),
}

/// The command of a message that came in on `port`.
///
/// # Errors
/// [`NotTaken`].
pub fn command(bytes: &[u8], port: &Port, directory: &Directory) -> Result<Command, NotTaken> {
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
            Ok(Command::ReplaceOrder(replace_order(m, options, idx, fault, port)))
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

fn enter_order(
    m: &ouch::EnterOrder,
    options: &Options<'_>,
    idx: UserRefIdx,
    fault: Option<Reject>,
    port: &Port,
    directory: &Directory,
) -> EnterOrder {
    let order = EnterOrder {
        port: port.id,
        user_ref_idx: idx,
        user_ref_num: UserRefNum(m.user_ref_num.get()),
        instrument: InstrumentId::NONE,
        side: Side::Buy,
        qty: Qty(m.quantity.get().into()),
        price: Price(0),
        time_in_force: TimeInForce::Day,
        display: Display::Visible,
        capacity: Capacity::Other,
        cl_ord_id: ClOrdId(m.cl_ord_id),
        options: OrderOptions::default(),
        fault,
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
    let price = price_ticks(m.price.get(), instrument)?;
    let time_in_force = time_in_force(m.time_in_force)?;
    let display = Display::try_from(m.display).map_err(|_| Reject::Display)?;
    let capacity = Capacity::try_from(m.capacity).map_err(|_| Reject::Other)?;
    check_sweep(m.inter_market_sweep)?;
    if m.cross_type != b'N' {
        return Err(Reject::CrossOrder);
    }
    let options = order_options(options, port, directory)?;
    Ok(EnterOrder {
        instrument: instrument.id,
        side,
        price,
        time_in_force,
        display,
        capacity,
        options,
        ..order
    })
}

fn replace_order(
    m: &ouch::ReplaceOrder,
    options: &Options<'_>,
    idx: UserRefIdx,
    fault: Option<Reject>,
    port: &Port,
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
        fault,
    };
    match check_replace(m, options, order) {
        Ok(checked) => checked,
        Err(reject) => ReplaceOrder { fault: Some(reject), ..order },
    }
}

/// A replacement names no instrument: tick, and the largest price and quantity, are core's to check.
fn check_replace(
    m: &ouch::ReplaceOrder,
    options: &Options<'_>,
    order: ReplaceOrder,
) -> Result<ReplaceOrder, Reject> {
    match m.price.get() {
        PRICE_MARKET => return Err(Reject::MarketOrder),
        price if price > PRICE_SCALED_MAX => return Err(Reject::Price),
        _ => {}
    }
    let time_in_force = time_in_force(m.time_in_force)?;
    let display = Display::try_from(m.display).map_err(|_| Reject::Display)?;
    check_sweep(m.inter_market_sweep)?;
    if options.side().is_some() {
        return Err(Reject::Side);
    }
    let options = kept_options(options)?;
    Ok(ReplaceOrder { time_in_force, display, options, ..order })
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

fn price_ticks(price: u64, instrument: &Instrument) -> Result<Price, Reject> {
    if price == PRICE_MARKET {
        return Err(Reject::MarketOrder);
    }
    let price_max = match instrument.scale {
        Scale::EquityExact { .. } if price == PRICE_MARKET_CROSS => return Err(Reject::MarketOrder),
        Scale::EquityExact { .. } => EQUITY_WIRE_PRICE_MAX,
        Scale::Scaled => PRICE_SCALED_MAX,
    };
    let tick = u64::from(instrument.price_tick());
    if price == 0 || price > price_max || !price.is_multiple_of(tick) {
        return Err(Reject::Price);
    }
    i64::try_from(price / tick).map(Price).map_err(|_| Reject::Price)
}

/// Offered are day and immediate-or-cancel; fill-or-kill has no code of its own on the wire.
fn time_in_force(code: u8) -> Result<TimeInForce, Reject> {
    match TimeInForce::try_from(code) {
        Ok(TimeInForce::Day) => Ok(TimeInForce::Day),
        Ok(TimeInForce::Ioc) => Ok(TimeInForce::Ioc),
        Ok(TimeInForce::Fok) | Err(_) => Err(Reject::Other),
    }
}

fn check_sweep(code: u8) -> Result<(), Reject> {
    if code == b'N' { Ok(()) } else { Err(Reject::Iso) }
}

fn order_options(options: &Options<'_>, port: &Port, directory: &Directory) -> Result<OrderOptions, Reject> {
    let firm = options.firm();
    if firm.is_some_and(|mpid| directory.firm_named(Mpid(mpid)) != Some(port.firm)) {
        return Err(Reject::FirmNotAuthorized);
    }
    kept_options(options).map(|kept| OrderOptions { firm: firm.is_some(), ..kept })
}

/// The options but for Firm, in the order of their tags.
fn kept_options(options: &Options<'_>) -> Result<OrderOptions, Reject> {
    if options.is_empty() {
        return Ok(OrderOptions::default());
    }
    let customer_type = match options.customer_type() {
        None => 0,
        Some(code @ (b'R' | b'N' | b' ')) => code,
        Some(_) => return Err(Reject::Other),
    };
    if options.max_floor().is_some_and(|floor| floor != 0) {
        return Err(Reject::MaxFloor);
    }
    if options.price_type().is_some_and(|code| code != b'L') || options.peg_offset().is_some_and(|o| o != 0) {
        return Err(Reject::Pegging);
    }
    if options.discretion_price().is_some() || options.discretion_price_type().is_some() {
        return Err(Reject::Other);
    }
    if options.discretion_peg_offset().is_some_and(|offset| offset != 0) {
        return Err(Reject::Pegging);
    }
    let post_only = match options.post_only() {
        None => 0,
        Some(code @ (b'P' | b'N')) => code,
        Some(_) => return Err(Reject::Other),
    };
    if options.random_reserves().is_some_and(|range| range != 0) {
        return Err(Reject::MaxFloor);
    }
    let is_other = options.expire_time().is_some()
        || options.trade_now().is_some_and(|code| !matches!(code, b'N' | b' '))
        || options.handle_inst().is_some_and(|code| code != b' ')
        || options.aiq_strategy().is_some()
        || options.aiq_group_id().is_some();
    if is_other {
        return Err(Reject::Other);
    }
    let (group, min_qty) = (options.group_id(), options.min_qty().unwrap_or(0));
    Ok(OrderOptions { firm: false, customer_type, post_only, group, min_qty })
}
