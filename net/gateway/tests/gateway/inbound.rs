//! OUCH bytes to commands: every fault, their precedence, and back again.

use ironbell_gateway::inbound::{NotTaken, commands};
use ironbell_gateway::{Directory, outbound::Teller};
use ironbell_types::{
    AccountQuery, CancelOrder, Capacity, ClOrdId, Command, Control, Display, EQUITY_WIRE_PRICE_MAX,
    EnterOrder, EventBody, FirmId, InstrumentId, MassCancel, ModifyOrder, Nanos, OrderEntrySwitch,
    OrderOptions, OrderTerms, Peg, Port, PortId, Price, Qty, Reject, ReplaceOrder, Scale, Side, Stp,
    TimeInForce, UserRefIdx, UserRefNum,
};
use ironbell_wire::code::{peg_code, stp_code};
use ironbell_wire::ouch::{self, OptionValue, OptionsBuf, Outbound as Told, PRICE_MARKET};
use ironbell_wire::{Problem, Type, U32, U64};
use proptest::prelude::*;

use crate::venue::{DAY, accepted, definitions, encode, event, instrument, plain, port};

pub fn directory() -> Directory {
    let mut directory = Directory::default();
    definitions(plain("SECRET")).iter().for_each(|body| directory.apply(body));
    directory.apply(&EventBody::DayOpened(DAY));
    directory
}

pub fn port_1() -> Port {
    port(1, 1, plain("SECRET"))
}

fn enter() -> ouch::EnterOrder {
    ouch::EnterOrder {
        message_type: Type::new(),
        user_ref_num: U32::new(7),
        side: b'B',
        quantity: U32::new(100),
        symbol: *b"IRON    ",
        price: U64::new(10_000),
        time_in_force: b'0',
        display: b'Y',
        capacity: b'P',
        inter_market_sweep: b'N',
        cross_type: b'N',
        cl_ord_id: *b"mine          ",
    }
}

fn replace() -> ouch::ReplaceOrder {
    ouch::ReplaceOrder {
        message_type: Type::new(),
        orig_user_ref_num: U32::new(7),
        user_ref_num: U32::new(8),
        quantity: U32::new(50),
        price: U64::new(9_950),
        time_in_force: b'3',
        display: b'A',
        inter_market_sweep: b'N',
        cl_ord_id: *b"again         ",
    }
}

fn options<const N: usize>(values: [OptionValue; N]) -> OptionsBuf {
    values.into_iter().collect()
}

/// The one command of a message.
fn command(bytes: &[u8], port: &Port, directory: &Directory) -> Result<Command, NotTaken> {
    let mut taken = Vec::new();
    commands(bytes, port, directory, &mut |command| taken.push(command))?;
    let [command] = taken[..] else { panic!("{taken:?}") };
    Ok(command)
}

fn taken(bytes: &[u8]) -> Command {
    command(bytes, &port_1(), &directory()).expect("it becomes a command")
}

fn entered(message: &ouch::EnterOrder, options: &OptionsBuf) -> EnterOrder {
    match taken(&encode(message, options)) {
        Command::EnterOrder(order) => order,
        other => panic!("{other:?}"),
    }
}

fn replaced(message: &ouch::ReplaceOrder, options: &OptionsBuf) -> ReplaceOrder {
    match taken(&encode(message, options)) {
        Command::ReplaceOrder(order) => order,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_enter_order_says_all_it_said() {
    let options = options([
        OptionValue::Firm(*b"AAAA"),
        OptionValue::CustomerType(b'R'),
        OptionValue::PostOnly(b'P'),
        OptionValue::GroupId(9),
        OptionValue::SharesLocated(b'Y'),
        OptionValue::LocateBroker(*b"BRKR"),
        OptionValue::UserRefIdx(3),
    ]);
    let expected = EnterOrder {
        port: PortId(1),
        user_ref_idx: UserRefIdx(3),
        user_ref_num: UserRefNum(7),
        instrument: InstrumentId(1),
        side: Side::Buy,
        qty: Qty(100),
        price: Price(100),
        time_in_force: TimeInForce::Day,
        display: Display::Visible,
        capacity: Capacity::Principal,
        cl_ord_id: ClOrdId(*b"mine          "),
        options: OrderOptions {
            firm: true,
            customer_type: b'R',
            post_only: b'P',
            group: Some(9),
            min_qty: 0,
        },
        terms: OrderTerms::default(),
        fault: None,
    };
    assert_eq!(entered(&enter(), &options), expected);
}

/// The terms that options ask for.
fn terms_of<const N: usize>(values: [OptionValue; N]) -> OrderTerms {
    let order = entered(&enter(), &options(values));
    assert_eq!(order.fault, None, "{values:?}");
    order.terms
}

#[test]
fn each_term_comes_from_its_options() {
    use OptionValue as O;
    let plain = OrderTerms::default();
    let cases = [
        (
            vec![O::MaxFloor(10), O::RandomReserves(3)],
            OrderTerms { max_floor: 10, random_reserves: 3, ..plain },
        ),
        (vec![O::PriceType(b'L')], plain),
        (vec![O::PriceType(b'R')], OrderTerms { peg: Peg::Primary, ..plain }),
        (
            vec![O::PriceType(b'P'), O::PegOffset(-300)],
            OrderTerms { peg: Peg::Market, peg_offset: -3, ..plain },
        ),
        (
            vec![O::PriceType(b'M'), O::PegOffset(200)],
            OrderTerms { peg: Peg::Midpoint, peg_offset: 2, ..plain },
        ),
        (vec![O::DiscretionPrice(10_200)], OrderTerms { discretion: Price(102), ..plain }),
        (vec![O::DiscretionPrice(0), O::DiscretionPriceType(b'L')], plain),
        // The day's midnight is a millisecond after 1970 here.
        (vec![O::ExpireTime(60)], OrderTerms { expire: Nanos(60_001_000_000), ..plain }),
        (vec![O::ExpireTime(u32::MAX)], OrderTerms { expire: Nanos(4_294_967_295_001_000_000), ..plain }),
        (vec![O::ExpireTime(0)], plain),
        (vec![O::AiqStrategy(b'*')], plain),
        (vec![O::AiqStrategy(b'N')], OrderTerms { stp: Stp::Off, ..plain }),
        (vec![O::AiqStrategy(b'Y')], OrderTerms { stp: Stp::CancelNewest, ..plain }),
        (vec![O::AiqStrategy(b'O')], OrderTerms { stp: Stp::CancelOldest, ..plain }),
        (vec![O::AiqStrategy(b'W'), O::AiqGroupId(*b"  ")], OrderTerms { stp: Stp::CancelBoth, ..plain }),
        (vec![O::AiqStrategy(b'D'), O::AiqGroupId([0; 2])], OrderTerms { stp: Stp::Decrement, ..plain }),
        (vec![O::AiqGroupId(*b"7 ")], OrderTerms { stp_group: *b"7 ", ..plain }),
        (
            vec![O::AiqStrategy(b'd'), O::AiqGroupId(*b"AB")],
            OrderTerms { stp: Stp::Decrement, stp_group: *b"AB", ..plain },
        ),
        (
            vec![O::AiqStrategy(b'y'), O::AiqGroupId(*b"AB")],
            OrderTerms { stp: Stp::CancelNewest, stp_group: *b"AB", ..plain },
        ),
    ];
    for (given, terms) in cases {
        let order = entered(&enter(), &given.iter().copied().collect());
        assert_eq!((order.fault, order.terms), (None, terms), "{given:?}");
    }
    let scaled = ouch::EnterOrder { symbol: *b"BELLUSD ", ..enter() };
    let pegged = entered(&scaled, &options([O::PriceType(b'P'), O::PegOffset(-7), O::DiscretionPrice(11)]));
    assert_eq!((pegged.terms.peg_offset, pegged.terms.discretion), (-7, Price(11)), "ticks are wire prices");
    assert_eq!(terms_of([O::MinQty(5)]), plain, "it is kept with the options");
}

#[test]
fn market_prices_and_crosses_have_words_of_their_own() {
    let none = OptionsBuf::EMPTY;
    let scaled = ouch::EnterOrder { symbol: *b"BELLUSD ", ..enter() };
    for message in [
        ouch::EnterOrder { price: U64::new(PRICE_MARKET), ..enter() },
        ouch::EnterOrder { price: U64::new(2_000_000_000), ..enter() },
        ouch::EnterOrder { price: U64::new(PRICE_MARKET), ..scaled },
    ] {
        let order = entered(&message, &none);
        assert_eq!((order.fault, order.price, order.terms.market), (None, Price(0), true), "{message:?}");
    }
    let limit = entered(&ouch::EnterOrder { price: U64::new(2_000_000_000), ..scaled }, &none);
    assert_eq!((limit.price, limit.terms.market), (Price(2_000_000_000), false), "a price like any other");
    let cases = [
        (b'0', b'N', Ok(TimeInForce::Day)),
        (b'3', b'N', Ok(TimeInForce::Ioc)),
        (b'6', b'N', Ok(TimeInForce::Gtt)),
        (b'0', b'O', Ok(TimeInForce::AtOpen)),
        (b'0', b'C', Ok(TimeInForce::AtClose)),
        (b'3', b'O', Err(Reject::CrossOrder)),
        (b'6', b'C', Err(Reject::CrossOrder)),
        (b'0', b'H', Err(Reject::CrossOrder)),
        (b'o', b'N', Err(Reject::Other)),
        (b'g', b'N', Err(Reject::Other)),
    ];
    for (time_in_force, cross_type, expected) in cases {
        let order = entered(&ouch::EnterOrder { time_in_force, cross_type, ..enter() }, &none);
        assert_eq!(order.fault.map_or(Ok(order.time_in_force), Err), expected);
    }
}

#[test]
fn an_instrument_is_known_by_its_present_name_and_tick() {
    let mut directory = directory();
    let price = |directory: &Directory, symbol| {
        let message = ouch::EnterOrder { symbol, ..enter() };
        let Ok(Command::EnterOrder(order)) =
            command(&encode(&message, &OptionsBuf::EMPTY), &port_1(), directory)
        else {
            panic!("it is an order")
        };
        order.fault.map_or(Ok((order.instrument.0, order.price)), Err)
    };
    assert_eq!(price(&directory, *b"IRON    "), Ok((1, Price(100))));
    directory.apply(&EventBody::InstrumentDefined(instrument(
        1,
        "STEEL",
        Scale::EquityExact { price_tick: 50 },
    )));
    assert_eq!(price(&directory, *b"IRON    "), Err(Reject::Symbol));
    assert_eq!(price(&directory, *b"STEEL   "), Ok((1, Price(200))));
    assert_eq!(price(&directory, *b"BELLUSD "), Ok((2, Price(10_000))));
    directory.apply(&EventBody::Controlled(Control::Delist { instrument: InstrumentId(1) }));
    assert_eq!(price(&directory, *b"STEEL   "), Err(Reject::Symbol));
    assert!(directory.instrument(InstrumentId(1)).is_some(), "its last orders are still told of");
}

#[test]
fn each_fault_of_an_enter_order_has_its_refusal() {
    let none = OptionsBuf::EMPTY;
    let scaled = ouch::EnterOrder { symbol: *b"BELLUSD ", ..enter() };
    let cases = [
        (ouch::EnterOrder { side: b'X', ..enter() }, Some(Reject::Side)),
        (ouch::EnterOrder { symbol: *b"RUST    ", ..enter() }, Some(Reject::Symbol)),
        (ouch::EnterOrder { symbol: [b' '; 8], ..enter() }, Some(Reject::Symbol)),
        (ouch::EnterOrder { quantity: U32::new(0), ..enter() }, Some(Reject::Quantity)),
        (ouch::EnterOrder { quantity: U32::new(999_999), ..enter() }, None),
        (ouch::EnterOrder { quantity: U32::new(1_000_000), ..enter() }, Some(Reject::Quantity)),
        (ouch::EnterOrder { quantity: U32::new(u32::MAX), ..scaled }, None),
        (ouch::EnterOrder { price: U64::new(0), ..enter() }, Some(Reject::Price)),
        (ouch::EnterOrder { price: U64::new(10_050), ..enter() }, Some(Reject::Price)),
        (ouch::EnterOrder { price: U64::new(EQUITY_WIRE_PRICE_MAX), ..enter() }, None),
        (ouch::EnterOrder { price: U64::new(EQUITY_WIRE_PRICE_MAX + 200), ..enter() }, Some(Reject::Price)),
        (ouch::EnterOrder { price: U64::new(u64::MAX), ..enter() }, Some(Reject::Price)),
        (ouch::EnterOrder { price: U64::new(1), ..scaled }, None),
        (ouch::EnterOrder { price: U64::new(u64::from(u32::MAX) - 1), ..scaled }, None),
        // A sale that slides off a bid at this price would not fit the feed.
        (ouch::EnterOrder { price: U64::new(u32::MAX.into()), ..scaled }, Some(Reject::Price)),
        (ouch::EnterOrder { time_in_force: b'3', ..enter() }, None),
        (ouch::EnterOrder { time_in_force: b'5', ..enter() }, Some(Reject::Other)),
        (ouch::EnterOrder { time_in_force: b'f', ..enter() }, Some(Reject::Other)),
        (ouch::EnterOrder { time_in_force: b'E', ..enter() }, Some(Reject::Other)),
        (ouch::EnterOrder { display: b'N', ..enter() }, None),
        (ouch::EnterOrder { display: b'Z', ..enter() }, Some(Reject::Display)),
        (ouch::EnterOrder { capacity: b'Z', ..enter() }, Some(Reject::Other)),
        (ouch::EnterOrder { inter_market_sweep: b'Y', ..enter() }, Some(Reject::Iso)),
        (ouch::EnterOrder { cross_type: b'S', ..enter() }, Some(Reject::CrossOrder)),
    ];
    for (message, fault) in cases {
        let order = entered(&message, &none);
        assert_eq!(order.fault, fault, "{message:?}");
        assert_eq!((order.user_ref_num, order.cl_ord_id), (UserRefNum(7), ClOrdId(*b"mine          ")));
    }
}

#[test]
fn each_option_is_offered_or_has_its_refusal() {
    use OptionValue as O;
    let cases = [
        (O::Firm(*b"AAAA"), None),
        (O::Firm(*b"BB  "), Some(Reject::FirmNotAuthorized)),
        (O::Firm(*b"ZZZZ"), Some(Reject::FirmNotAuthorized)),
        (O::MinQty(100), None),
        (O::CustomerType(b'?'), Some(Reject::Other)),
        (O::MaxFloor(10), None),
        (O::PriceType(b'L'), None),
        (O::PriceType(b'Q'), Some(Reject::Pegging)),
        (O::PriceType(b'm'), Some(Reject::Pegging)),
        (O::PegOffset(-150), Some(Reject::Pegging)),
        (O::PegOffset(i32::MIN), Some(Reject::Pegging)),
        (O::DiscretionPrice(10_001), Some(Reject::Other)),
        (O::DiscretionPrice(EQUITY_WIRE_PRICE_MAX + 100), Some(Reject::Other)),
        (O::DiscretionPriceType(b'L'), None),
        (O::DiscretionPriceType(b'P'), Some(Reject::Other)),
        (O::DiscretionPegOffset(0), None),
        (O::DiscretionPegOffset(1), Some(Reject::Pegging)),
        (O::PostOnly(b'N'), None),
        (O::PostOnly(b'Y'), Some(Reject::Other)),
        (O::RandomReserves(5), None),
        (O::ExpireTime(60), None),
        (O::TradeNow(b'N'), None),
        (O::TradeNow(b'Y'), Some(Reject::Other)),
        (O::HandleInst(b' '), None),
        (O::HandleInst(b'I'), Some(Reject::Other)),
        (O::AiqStrategy(b'N'), None),
        (O::AiqStrategy(b'R'), Some(Reject::Aiq)),
        (O::AiqStrategy(b'n'), Some(Reject::Aiq)),
        (O::AiqStrategy(b'y'), Some(Reject::Aiq)),
        (O::AiqGroupId(*b"01"), None),
        (O::AiqGroupId(*b"0\x7f"), Some(Reject::Aiq)),
        (O::AiqGroupId(*b"0\0"), Some(Reject::Aiq)),
    ];
    for (option, fault) in cases {
        assert_eq!(entered(&enter(), &options([option])).fault, fault, "{option:?}");
    }
    assert_eq!(entered(&enter(), &options([O::MinQty(100)])).options.min_qty, 100, "core judges it");
    let firm_wide = options([O::AiqStrategy(b'Y'), O::AiqGroupId(*b"01")]);
    assert_eq!(entered(&enter(), &firm_wide).fault, Some(Reject::Aiq), "it cannot be both");
    // A replacement keeps these terms, and cannot name them.
    let cases = [
        (O::PriceType(b'L'), Reject::Pegging),
        (O::PegOffset(0), Reject::Pegging),
        (O::DiscretionPrice(0), Reject::Other),
        (O::DiscretionPriceType(b'L'), Reject::Other),
        (O::DiscretionPegOffset(0), Reject::Pegging),
        (O::PostOnly(b'?'), Reject::Other),
        (O::TradeNow(b'Y'), Reject::Other),
        (O::Side(b'S'), Reject::Side),
        (O::AiqStrategy(b'*'), Reject::Aiq),
        (O::AiqGroupId(*b"  "), Reject::Aiq),
    ];
    for (option, fault) in cases {
        assert_eq!(replaced(&replace(), &options([option])).fault, Some(fault), "{option:?}");
    }
}

#[test]
fn the_first_fault_in_the_order_of_the_rules_counts() {
    let mut message = ouch::EnterOrder {
        side: 0,
        symbol: [0; 8],
        quantity: U32::new(0),
        price: U64::new(1),
        time_in_force: 0,
        display: 0,
        capacity: 0,
        inter_market_sweep: 0,
        cross_type: 0,
        ..enter()
    };
    let bad_options = options([OptionValue::Firm(*b"BB  "), OptionValue::PegOffset(1)]);
    let right = enter();
    // Everything is wrong; one field after the other is put right.
    type PutRight = fn(&mut ouch::EnterOrder, &ouch::EnterOrder);
    let steps: [(Reject, PutRight); 9] = [
        (Reject::Side, |m, right| m.side = right.side),
        (Reject::Symbol, |m, right| m.symbol = right.symbol),
        (Reject::Quantity, |m, right| m.quantity = right.quantity),
        (Reject::Price, |m, right| m.price = right.price),
        (Reject::Other, |m, right| m.time_in_force = right.time_in_force),
        (Reject::Display, |m, right| m.display = right.display),
        (Reject::Other, |m, right| m.capacity = right.capacity),
        (Reject::Iso, |m, right| m.inter_market_sweep = right.inter_market_sweep),
        (Reject::CrossOrder, |m, right| m.cross_type = right.cross_type),
    ];
    for (fault, put_right) in steps {
        assert_eq!(entered(&message, &bad_options).fault, Some(fault));
        put_right(&mut message, &right);
    }
    assert_eq!(entered(&message, &bad_options).fault, Some(Reject::FirmNotAuthorized));
    let in_order = [OptionValue::AiqStrategy(0), OptionValue::PostOnly(0), OptionValue::PegOffset(1)];
    assert_eq!(entered(&message, &options(in_order)).fault, Some(Reject::Pegging), "by their tags");
    let [aiq, post_only, _] = in_order;
    assert_eq!(entered(&message, &options([aiq, post_only])).fault, Some(Reject::Other));
    assert_eq!(entered(&message, &options([aiq])).fault, Some(Reject::Aiq));
    assert_eq!(entered(&message, &OptionsBuf::EMPTY).fault, None);
}

#[test]
fn a_replace_keeps_its_price_in_wire_units() {
    let expected = ReplaceOrder {
        port: PortId(1),
        user_ref_idx: UserRefIdx(0),
        orig_user_ref_num: UserRefNum(7),
        user_ref_num: UserRefNum(8),
        qty: Qty(50),
        wire_price: 9_950,
        time_in_force: TimeInForce::Ioc,
        display: Display::Attributable,
        cl_ord_id: ClOrdId(*b"again         "),
        options: OrderOptions { post_only: b'N', min_qty: 5, ..OrderOptions::default() },
        max_floor: None,
        random_reserves: None,
        expire: Nanos(0),
        fault: None,
    };
    let both = options([OptionValue::PostOnly(b'N'), OptionValue::MinQty(5)]);
    assert_eq!(replaced(&replace(), &both), expected);
    let message = ouch::ReplaceOrder { price: U64::new(PRICE_MARKET), time_in_force: b'6', ..replace() };
    let given = options([
        OptionValue::MaxFloor(0),
        OptionValue::RandomReserves(4),
        OptionValue::ExpireTime(1),
        OptionValue::UserRefIdx(2),
    ]);
    let expected = ReplaceOrder {
        user_ref_idx: UserRefIdx(2),
        wire_price: 0,
        time_in_force: TimeInForce::Gtt,
        options: OrderOptions::default(),
        max_floor: Some(0),
        random_reserves: Some(4),
        expire: Nanos(1_001_000_000),
        ..expected
    };
    assert_eq!(replaced(&message, &given), expected);
    let faults = [
        (ouch::ReplaceOrder { price: U64::new(1 << 32), ..replace() }, Reject::Price),
        (ouch::ReplaceOrder { time_in_force: b'5', ..replace() }, Reject::Other),
        (ouch::ReplaceOrder { display: b'Z', ..replace() }, Reject::Display),
        (ouch::ReplaceOrder { inter_market_sweep: b'Y', ..replace() }, Reject::Iso),
    ];
    for (message, fault) in faults {
        assert_eq!(replaced(&message, &OptionsBuf::EMPTY).fault, Some(fault), "{message:?}");
    }
}

#[test]
fn cancel_modify_and_query() {
    let channel = options([OptionValue::UserRefIdx(2)]);
    let cancel =
        ouch::CancelOrder { message_type: Type::new(), user_ref_num: U32::new(7), quantity: U32::new(30) };
    let expected = CancelOrder {
        port: PortId(1),
        user_ref_idx: UserRefIdx(2),
        user_ref_num: UserRefNum(7),
        qty: Qty(30),
    };
    assert_eq!(taken(&encode(&cancel, &channel)), Command::CancelOrder(expected));
    let modify = ouch::ModifyOrder {
        message_type: Type::new(),
        user_ref_num: U32::new(7),
        side: b'T',
        quantity: U32::new(30),
    };
    let expected = ModifyOrder {
        port: PortId(1),
        user_ref_idx: UserRefIdx(0),
        user_ref_num: UserRefNum(7),
        side: Side::SellShort,
        qty: Qty(30),
    };
    assert_eq!(taken(&encode(&modify, &OptionsBuf::EMPTY)), Command::ModifyOrder(expected));
    let query = AccountQuery { port: PortId(1), user_ref_idx: UserRefIdx(2) };
    assert_eq!(
        taken(&encode(&ouch::AccountQuery { message_type: Type::new() }, &channel)),
        Command::AccountQuery(query)
    );
}

#[test]
fn a_mass_cancel_of_an_unknown_symbol_is_not_one_of_all() {
    let message = |firm: &[u8; 4], symbol: &[u8; 8]| ouch::MassCancel {
        message_type: Type::new(),
        user_ref_num: U32::new(9),
        firm: *firm,
        symbol: *symbol,
    };
    let request = |firm, instrument, fault| MassCancel {
        port: PortId(1),
        user_ref_idx: UserRefIdx(0),
        user_ref_num: UserRefNum(9),
        firm: FirmId(firm),
        instrument: InstrumentId(instrument),
        group: None,
        side: None,
        fault,
    };
    let none = OptionsBuf::EMPTY;
    let cases = [
        (message(b"AAAA", b"        "), none, request(1, 0, None)),
        (message(b"AAAA", b"BELLUSD "), none, request(1, 2, None)),
        (message(b"AAAA", b"RUST    "), none, request(1, 0, Some(Reject::Symbol))),
        // Core refuses a foreign or unknown firm before it looks at the symbol.
        (message(b"BB  ", b"RUST    "), none, request(2, 0, None)),
        (message(b"ZZZZ", b"IRON    "), none, request(0, 1, None)),
        (
            message(b"AAAA", b"IRON    "),
            options([OptionValue::GroupId(0), OptionValue::Side(b'E')]),
            MassCancel { group: Some(0), side: Some(Side::SellShortExempt), ..request(1, 1, None) },
        ),
        (
            message(b"AAAA", b"IRON    "),
            options([OptionValue::Side(b'?')]),
            request(1, 0, Some(Reject::Side)),
        ),
    ];
    for (message, options, expected) in cases {
        assert_eq!(taken(&encode(&message, &options)), Command::MassCancel(expected), "{message:?}");
    }
}

#[test]
fn order_entry_is_switched_for_the_firm_named() {
    let disable = |firm: &[u8; 4]| ouch::DisableOrderEntry {
        message_type: Type::new(),
        user_ref_num: U32::new(9),
        firm: *firm,
    };
    let enable = |firm: &[u8; 4]| ouch::EnableOrderEntry {
        message_type: Type::new(),
        user_ref_num: U32::new(9),
        firm: *firm,
    };
    let switch = |firm, idx| OrderEntrySwitch {
        port: PortId(1),
        user_ref_idx: UserRefIdx(idx),
        user_ref_num: UserRefNum(9),
        firm: FirmId(firm),
        fault: None,
    };
    let channel = options([OptionValue::UserRefIdx(3)]);
    // Whose the firm is, is core's to check; an MPID that is nobody's is nobody's firm there.
    for (mpid, options, expected) in [
        (b"AAAA", OptionsBuf::EMPTY, switch(1, 0)),
        (b"AAAA", channel, switch(1, 3)),
        (b"BB  ", OptionsBuf::EMPTY, switch(2, 0)),
        (b"ZZZZ", channel, switch(0, 3)),
    ] {
        assert_eq!(taken(&encode(&disable(mpid), &options)), Command::DisableOrderEntry(expected));
        assert_eq!(taken(&encode(&enable(mpid), &options)), Command::EnableOrderEntry(expected));
    }
    // An option that is not allowed here: the number is known, so the refusal of it is sequenced.
    let fault = OrderEntrySwitch { fault: Some(Reject::Other), ..switch(1, 3) };
    let appendage = b"\0\x06\x02\x1bB\x02\x1c\x03";
    let with = |mut bytes: Vec<u8>| {
        bytes.truncate(9);
        bytes.extend_from_slice(appendage);
        bytes
    };
    let bytes = with(encode(&disable(b"AAAA"), &OptionsBuf::EMPTY));
    assert_eq!(taken(&bytes), Command::DisableOrderEntry(fault));
    let bytes = with(encode(&enable(b"AAAA"), &OptionsBuf::EMPTY));
    assert_eq!(taken(&bytes), Command::EnableOrderEntry(fault));
}

#[test]
fn a_refused_appendage_is_answered_on_its_channel_if_that_can_be_known() {
    let fixed = encode(&enter(), &OptionsBuf::EMPTY);
    let with = |appendage: &[u8]| {
        let mut bytes = fixed[..fixed.len() - 2].to_vec();
        bytes.extend_from_slice(&(appendage.len() as u16).to_be_bytes());
        bytes.extend_from_slice(appendage);
        bytes
    };
    // An option that is not allowed here, an unknown one, one of wrong length; with and without a channel.
    for (appendage, idx) in [
        (b"\x02\x1bB".as_slice(), 0),
        (b"\x02\x1bB\x02\x1c\x05", 5),
        (b"\x02\x1c\x05\x02\xffx", 5),
        (b"\x03\x1bBB", 0),
    ] {
        let Command::EnterOrder(order) = taken(&with(appendage)) else { panic!("{appendage:?}") };
        assert_eq!(
            (order.fault, order.user_ref_idx),
            (Some(Reject::Other), UserRefIdx(idx)),
            "{appendage:?}"
        );
    }
    // Elements that cannot be told apart, and channels that contradict each other: nobody knows whose
    // number a refusal would consume.
    let undecided = [b"\x09\x1c\x05".as_slice(), b"\0\0", b"\x02\x1c\x05\x02\x1c\x06", b"\x03\x1c\x05\x05"];
    for appendage in undecided {
        let result = command(&with(appendage), &port_1(), &directory());
        assert!(matches!(result, Err(NotTaken::Malformed(_))), "{appendage:?}: {result:?}");
    }
    let mut short = with(b"\x02\x1c\x05");
    short.pop();
    let result = command(&short, &port_1(), &directory());
    let Err(NotTaken::Malformed(e)) = result else { panic!("{result:?}") };
    assert_eq!(e.problem, Problem::AppendageLength { declared: 3, actual: 2 });
}

const PEGS: [Peg; 4] = [Peg::None, Peg::Primary, Peg::Market, Peg::Midpoint];
const RULES: [Stp; 6] =
    [Stp::Port, Stp::Off, Stp::CancelNewest, Stp::CancelOldest, Stp::CancelBoth, Stp::Decrement];

fn any_terms() -> impl Strategy<Value = OrderTerms> {
    let shown = (0_u32..5, 0_u32..5);
    let peg = (prop::sample::select(&PEGS[..]), -20_000_000_i32..20_000_000);
    let prices = (any::<bool>(), 0_i64..=19_999_999, 0_u64..3);
    let stp = (prop::sample::select(&RULES[..]), prop::sample::select(vec![[0; 2], *b"A1"]));
    (shown, peg, prices, stp).prop_map(|(shown, (peg, peg_offset), prices, (stp, stp_group))| {
        let ((max_floor, random_reserves), (market, discretion, seconds)) = (shown, prices);
        OrderTerms {
            market,
            max_floor,
            random_reserves,
            peg,
            peg_offset,
            discretion: Price(discretion),
            expire: Nanos(if seconds == 0 { 0 } else { DAY.midnight.0 + seconds * 1_000_000_000 }),
            stp,
            stp_group,
            ..OrderTerms::default()
        }
    })
}

fn any_order() -> impl Strategy<Value = EnterOrder> {
    let pick = |codes: &'static [u8]| prop::sample::select(codes);
    let codes = (pick(b"BSTE"), pick(b"036oc"), pick(b"YAN"), pick(b"APRO"), 1_u32..3, 0_u8..3, any::<u32>());
    let options = (any::<bool>(), pick(b"\0RN "), pick(b"\0PN"), any::<Option<u16>>(), 0_u32..200);
    let text = prop::collection::vec(b' '..=b'~', 14);
    (codes, options, any_terms(), text, 1_u32..=999_999, 1_i64..=19_999_999).prop_map(
        |(codes, options, terms, text, qty, price)| {
            let (side, time_in_force, display, capacity, instrument, idx, num) = codes;
            let (firm, customer_type, post_only, group, min_qty) = options;
            EnterOrder {
                port: PortId(1),
                user_ref_idx: UserRefIdx(idx),
                user_ref_num: UserRefNum(num),
                instrument: InstrumentId(instrument),
                side: Side::try_from(side).expect("a code"),
                qty: Qty(qty.into()),
                price: Price(if terms.market { 0 } else { price }),
                time_in_force: TimeInForce::try_from(time_in_force).expect("a code"),
                display: Display::try_from(display).expect("a code"),
                capacity: Capacity::try_from(capacity).expect("a code"),
                cl_ord_id: ClOrdId(text.try_into().expect("fourteen")),
                options: OrderOptions { firm, customer_type, post_only, group, min_qty },
                terms,
                fault: None,
            }
        },
    )
}

/// The member's side of it, written apart from the gateway.
fn bytes_of(order: &EnterOrder) -> Vec<u8> {
    let (symbol, tick) =
        if order.instrument == InstrumentId(1) { (*b"IRON    ", 100) } else { (*b"BELLUSD ", 1) };
    let (time_in_force, cross_type) = match order.time_in_force.code() {
        b'o' => (b'0', b'O'),
        b'c' => (b'0', b'C'),
        code => (code, b'N'),
    };
    let (kept, terms) = (&order.options, &order.terms);
    let message = ouch::EnterOrder {
        message_type: Type::new(),
        user_ref_num: U32::new(order.user_ref_num.0),
        side: order.side.code(),
        quantity: U32::new(order.qty.0 as u32),
        symbol,
        price: U64::new(if terms.market { 0x7fff_ffff } else { order.price.0 as u64 * tick }),
        time_in_force,
        display: order.display.code(),
        capacity: order.capacity.code(),
        inter_market_sweep: b'N',
        cross_type,
        cl_ord_id: order.cl_ord_id.0,
    };
    let is_grouped = terms.stp_group != [0; 2];
    let stp = match terms.stp {
        Stp::Port => None,
        Stp::Off => Some(b'N'),
        other if is_grouped => Some(stp_code(other).to_ascii_lowercase()),
        other => Some(stp_code(other)),
    };
    let seconds = (terms.expire.0.saturating_sub(DAY.midnight.0) / 1_000_000_000) as u32;
    let options = [
        kept.firm.then_some(OptionValue::Firm(*b"AAAA")),
        (kept.customer_type != 0).then_some(OptionValue::CustomerType(kept.customer_type)),
        (kept.post_only != 0).then_some(OptionValue::PostOnly(kept.post_only)),
        kept.group.map(OptionValue::GroupId),
        (kept.min_qty != 0).then_some(OptionValue::MinQty(kept.min_qty)),
        (terms.max_floor != 0).then_some(OptionValue::MaxFloor(terms.max_floor)),
        (terms.random_reserves != 0).then_some(OptionValue::RandomReserves(terms.random_reserves)),
        (terms.peg != Peg::None).then_some(OptionValue::PriceType(peg_code(terms.peg))),
        (terms.peg_offset != 0).then_some(OptionValue::PegOffset(terms.peg_offset * tick as i32)),
        (terms.discretion.0 != 0).then_some(OptionValue::DiscretionPrice(terms.discretion.0 as u64 * tick)),
        (seconds != 0).then_some(OptionValue::ExpireTime(seconds)),
        stp.map(OptionValue::AiqStrategy),
        is_grouped.then_some(OptionValue::AiqGroupId(terms.stp_group)),
        (order.user_ref_idx.0 != 0).then_some(OptionValue::UserRefIdx(order.user_ref_idx.0)),
    ];
    encode(&message, &options.into_iter().flatten().collect())
}

proptest! {
    /// An order comes through as it was meant, and its acceptance says back what it said.
    #[test]
    fn orders_make_the_round_trip(order in any_order()) {
        let directory = directory();
        let bytes = bytes_of(&order);
        prop_assert_eq!(command(&bytes, &port_1(), &directory), Ok(Command::EnterOrder(order)));
        let mut told = Vec::new();
        let mut teller = Teller::default();
        let accepted = accepted(&order, 5);
        let terms = EventBody::Terms { key: accepted.key, order_ref: accepted.order_ref, terms: order.terms };
        for body in [terms, EventBody::Accepted(accepted)] {
            let tell = &mut |port, bytes: &[u8]| told.push((port, bytes.to_vec()));
            teller.messages(&event(5, body), &directory, tell);
        }
        prop_assert_eq!(told.len(), 1);
        prop_assert_eq!(told[0].0, order.port);
        let Ok(Told::OrderAccepted(said, options)) = Told::parse(&told[0].1) else { panic!("{told:?}") };
        let Ok(ouch::Inbound::EnterOrder(meant, meant_options)) = ouch::Inbound::parse(&bytes) else { panic!() };
        prop_assert_eq!(
            (said.user_ref_num, said.side, said.quantity, said.symbol, said.price, said.time_in_force),
            (meant.user_ref_num, meant.side, meant.quantity, meant.symbol, meant.price, meant.time_in_force)
        );
        prop_assert_eq!((said.display, said.capacity, said.cl_ord_id), (meant.display, meant.capacity, meant.cl_ord_id));
        prop_assert_eq!(said.cross_type, meant.cross_type);
        let mut echoed: Vec<_> = options.iter().collect();
        let mut given: Vec<_> = meant_options.iter().collect();
        echoed.sort_by_key(OptionValue::tag);
        given.sort_by_key(OptionValue::tag);
        prop_assert_eq!(echoed, given);
    }

    /// No bytes make it panic, and a command names the port that sent it and no fault goes unnoticed.
    #[test]
    fn any_bytes_are_a_command_or_not(
        message_type in prop::sample::select(b"OUXMCDEQ?".as_slice()),
        rest in prop::collection::vec(prop_oneof![Just(0_u8), Just(2), Just(28), Just(b'N'), any::<u8>()], 0..80),
    ) {
        let mut bytes = vec![message_type];
        bytes.extend(rest);
        if let Ok(Command::EnterOrder(order)) = command(&bytes, &port_1(), &directory()) {
            prop_assert_eq!(order.port, PortId(1));
            prop_assert!(order.fault.is_some() || order.instrument != InstrumentId::NONE);
        }
    }
}
