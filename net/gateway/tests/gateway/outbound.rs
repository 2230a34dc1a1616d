//! Events to OUCH bytes: who is told what.

use ironbell_gateway::{Directory, outbound::Teller};
use ironbell_types::{
    Accepted, Amount, Busted, CancelReason, Canceled, Capacity, ClOrdId, CrossKind, Display, EventBody,
    Executed, FirmId, InstrumentId, MassCancel, MatchNumber, Modified, Nanos, OrderEntrySwitch, OrderKey,
    OrderOptions, OrderRef, OrderState, OrderTerms, Peg, Phase, PortId, Price, Qty, Refreshed, Reject,
    Replaced, Rested, SelfTradePrevented, Seq, Shown, Side, Statistics, Stp, TimeInForce, Trade, UserRefIdx,
    UserRefNum,
};
use ironbell_wire::native::{self, Block, I32, I64};
use ironbell_wire::ouch::{self, OptionValue, OptionsBuf};
use ironbell_wire::{Type, U16, U32, U64};

use crate::venue::{DAY, definitions, encode, event, plain};

const CL_ORD_ID: ClOrdId = ClOrdId(*b"mine          ");

/// What the event of Seq 5 tells, which is 5 ns after midnight.
fn told(body: EventBody) -> Vec<(PortId, Vec<u8>)> {
    told_with(OrderTerms::default(), body)
}

/// The same after terms were said of the order 77, if there are any.
fn told_with(terms: OrderTerms, body: EventBody) -> Vec<(PortId, Vec<u8>)> {
    let mut directory = Directory::default();
    definitions(plain("SECRET")).iter().for_each(|body| directory.apply(body));
    directory.apply(&EventBody::DayOpened(DAY));
    let mut told = Vec::new();
    let said = EventBody::Terms { key: key(3, 0, 8), order_ref: OrderRef(77), terms };
    let mut teller = Teller::default();
    for body in (!terms.is_plain()).then_some(said).into_iter().chain([body]) {
        teller.messages(&event(5, body), &directory, &mut |port, bytes| told.push((port, bytes.to_vec())));
    }
    told
}

fn key(port: u32, idx: u8, num: u32) -> OrderKey {
    OrderKey::new(PortId(port), UserRefIdx(idx), UserRefNum(num))
}

fn order(key: OrderKey) -> Accepted {
    Accepted {
        key,
        order_ref: OrderRef(77),
        firm: FirmId(2),
        instrument: InstrumentId(1),
        side: Side::SellShort,
        qty: Qty(300),
        price: Price(123),
        time_in_force: TimeInForce::Fok,
        display: Display::Attributable,
        capacity: Capacity::Riskless,
        cl_ord_id: CL_ORD_ID,
        options: OrderOptions {
            firm: true,
            customer_type: b'R',
            post_only: b'N',
            group: Some(4),
            min_qty: 300,
        },
        booked: false,
        shown_qty: Qty(0),
    }
}

const SHOWN: Shown = Shown { order_ref: OrderRef(70), qty: Qty(100) };
const HIDDEN: Shown = Shown { order_ref: OrderRef(0), qty: Qty(0) };

fn encode_native<B: Block>(block: &B) -> Vec<u8> {
    let mut bytes = vec![0; native::OUTBOUND_LEN_MAX];
    let len = block.encode(&mut bytes).expect("the buffer holds the longest message");
    bytes.truncate(len);
    bytes
}

fn channel(idx: u8) -> OptionsBuf {
    [OptionValue::UserRefIdx(idx)].into_iter().collect()
}

#[test]
fn acceptance_and_replacement_echo_what_their_layouts_allow() {
    let accepted = ouch::OrderAccepted {
        message_type: Type::new(),
        timestamp: U64::new(5),
        user_ref_num: U32::new(8),
        side: b'T',
        quantity: U32::new(300),
        symbol: *b"IRON    ",
        price: U64::new(12_300),
        time_in_force: b'3',
        display: b'A',
        order_reference_number: U64::new(77),
        capacity: b'R',
        inter_market_sweep: b'N',
        cross_type: b'N',
        order_state: b'L',
        cl_ord_id: CL_ORD_ID.0,
    };
    let both = [OptionValue::Firm(*b"BB  "), OptionValue::MinQty(300), OptionValue::PostOnly(b'N')];
    let kept = [OptionValue::CustomerType(b'R'), OptionValue::GroupId(4), OptionValue::UserRefIdx(6)];
    let options: OptionsBuf = both.into_iter().chain(kept).collect();
    assert_eq!(told(EventBody::Accepted(order(key(3, 6, 8)))), [(PortId(3), encode(&accepted, &options))]);

    let replaced = ouch::OrderReplaced {
        message_type: Type::new(),
        timestamp: U64::new(5),
        orig_user_ref_num: U32::new(7),
        user_ref_num: U32::new(8),
        side: b'T',
        quantity: U32::new(300),
        symbol: *b"IRON    ",
        price: U64::new(12_300),
        time_in_force: b'3',
        display: b'A',
        order_reference_number: U64::new(77),
        capacity: b'R',
        inter_market_sweep: b'N',
        cross_type: b'N',
        order_state: b'L',
        cl_ord_id: CL_ORD_ID.0,
    };
    let body = Replaced {
        orig_user_ref_num: UserRefNum(7),
        orig_order_ref: OrderRef(70),
        orig_shown: SHOWN,
        order: order(key(3, 0, 8)),
    };
    assert_eq!(
        told(EventBody::Replaced(body)),
        [(PortId(3), encode(&replaced, &both.into_iter().collect::<OptionsBuf>()))]
    );

    // Every term that OUCH has a word for; a replacement's layout lacks some, and nothing native is said.
    let terms = OrderTerms {
        market: false,
        max_floor: 100,
        random_reserves: 10,
        peg: Peg::Primary,
        peg_offset: -2,
        discretion: Price(120),
        expire: Nanos(DAY.midnight.0 + 61_000_000_000),
        stp: Stp::CancelOldest,
        stp_group: *b"G1",
        ..OrderTerms::default()
    };
    let accepted_order = Accepted { time_in_force: TimeInForce::Gtt, ..order(key(3, 0, 8)) };
    let accepted = ouch::OrderAccepted { time_in_force: b'6', ..accepted };
    let both = [
        OptionValue::Firm(*b"BB  "),
        OptionValue::MinQty(300),
        OptionValue::MaxFloor(100),
        OptionValue::PriceType(b'R'),
        OptionValue::PostOnly(b'N'),
        OptionValue::ExpireTime(61),
        OptionValue::AiqStrategy(b'o'),
        OptionValue::AiqGroupId(*b"G1"),
    ];
    let accepted_only = [
        OptionValue::CustomerType(b'R'),
        OptionValue::PegOffset(-200),
        OptionValue::DiscretionPrice(12_000),
        OptionValue::RandomReserves(10),
        OptionValue::GroupId(4),
    ];
    let options: OptionsBuf = both.into_iter().chain(accepted_only).collect();
    let heard = told_with(terms, EventBody::Accepted(accepted_order));
    assert_eq!(heard, [(PortId(3), encode(&accepted, &options))]);
    let replaced = ouch::OrderReplaced { time_in_force: b'6', ..replaced };
    assert_eq!(
        told_with(terms, EventBody::Replaced(Replaced { order: accepted_order, ..body })),
        [(PortId(3), encode(&replaced, &both.into_iter().collect::<OptionsBuf>()))]
    );
}

/// Price, time in force, display, cross type and MinQty that an acceptance says of an order.
fn says(terms: OrderTerms, order: Accepted) -> (u64, u8, u8, u8, Option<u32>) {
    let told = told_with(terms, EventBody::Accepted(order));
    let Ok(ouch::Outbound::OrderAccepted(said, options)) = ouch::Outbound::parse(&told[0].1) else {
        panic!("{told:?}")
    };
    (said.price.get(), said.time_in_force, said.display, said.cross_type, options.min_qty())
}

#[test]
fn acceptance_has_ouchs_words_for_orders_that_ouch_has_other_words_for() {
    let plain = Accepted { options: OrderOptions::default(), ..order(key(1, 0, 8)) };
    let at = |time_in_force| Accepted { time_in_force, ..plain };
    let limit = OrderTerms::default();
    assert_eq!(says(limit, at(TimeInForce::Day)), (12_300, b'0', b'A', b'N', None));
    assert_eq!(says(limit, at(TimeInForce::Ioc)), (12_300, b'3', b'A', b'N', None));
    assert_eq!(
        says(limit, at(TimeInForce::Fok)),
        (12_300, b'3', b'A', b'N', Some(300)),
        "its whole quantity"
    );
    assert_eq!(says(limit, at(TimeInForce::Gtc)), (12_300, b'0', b'A', b'N', None));
    assert_eq!(says(limit, at(TimeInForce::AtOpen)), (12_300, b'0', b'A', b'O', None));
    assert_eq!(says(limit, at(TimeInForce::AtClose)), (12_300, b'0', b'A', b'C', None));
    let terms = OrderTerms { market: true, ..limit };
    let market = Accepted { price: Price(0), display: Display::Hidden, ..at(TimeInForce::Ioc) };
    assert_eq!(says(terms, market), (0x7fff_ffff, b'3', b'N', b'N', None));
}

#[test]
fn what_only_a_native_order_can_be_is_said_natively_after_it() {
    let terms = OrderTerms {
        stop: Price(130),
        trail: 0,
        peg_offset: 0,
        oco: UserRefNum(6),
        discretion: Price(0),
        ..OrderTerms::default()
    };
    let accepted = Accepted {
        time_in_force: TimeInForce::Gtc,
        qty: Qty(1 << 33),
        instrument: InstrumentId(2),
        ..order(key(3, 6, 8))
    };
    let expected = native::AcceptedTerms {
        timestamp: native::U64::new(5),
        order_reference: native::U64::new(77),
        user_ref_num: native::U32::new(8),
        user_ref_idx: 6,
        side: b'T',
        time_in_force: b'g',
        display: b'A',
        symbol: *b"BELLUSD ",
        quantity: native::U64::new(1 << 33),
        price: I64::new(123),
        stop_price: I64::new(130),
        discretion_price: I64::new(0),
        trail: native::U32::new(0),
        max_floor: native::U32::new(0),
        random_reserves: native::U32::new(0),
        peg_offset: I32::new(0),
        min_qty: native::U32::new(300),
        expire_time: native::U32::new(0),
        oco_user_ref_num: native::U32::new(6),
        group_id: native::U16::new(4),
        stp_group: [0; 2],
        order_type: b'L',
        peg: b'L',
        stp: b'*',
        post_only: b'N',
        capacity: b'R',
        customer_type: b'R',
        cl_ord_id: CL_ORD_ID.0,
    };
    let heard = told_with(terms, EventBody::Accepted(accepted));
    assert_eq!(heard.len(), 2);
    let Ok(ouch::Outbound::OrderAccepted(said, _)) = ouch::Outbound::parse(&heard[0].1) else { panic!() };
    assert_eq!((said.quantity.get(), said.time_in_force), (u32::MAX, b'0'));
    assert_eq!(heard[1], (PortId(3), encode_native(&expected)));
    let replaced = Replaced {
        orig_user_ref_num: UserRefNum(7),
        orig_order_ref: OrderRef(70),
        orig_shown: HIDDEN,
        order: accepted,
    };
    let heard = told_with(terms, EventBody::Replaced(replaced));
    assert_eq!((heard[0].1[0], heard.len()), (b'U', 2));
    assert_eq!(heard[1], (PortId(3), encode_native(&expected)));

    // Each of them alone suffices, and nothing else does.
    let plain = Accepted { instrument: InstrumentId(2), ..order(key(3, 6, 8)) };
    let one = OrderTerms::default();
    for (terms, order, count) in [
        (one, plain, 1),
        (OrderTerms { stop: Price(1), ..one }, plain, 2),
        (OrderTerms { trail: 1, ..one }, plain, 2),
        (OrderTerms { oco: UserRefNum(1), ..one }, plain, 2),
        (one, Accepted { time_in_force: TimeInForce::Gtc, ..plain }, 2),
        (one, Accepted { qty: Qty(u32::MAX.into()), ..plain }, 1),
        (one, Accepted { qty: Qty(1 << 32), ..plain }, 2),
        // This price says "at the market" in OUCH.
        (one, Accepted { price: Price(0x7fff_ffff), ..plain }, 2),
        (OrderTerms { market: true, ..one }, Accepted { price: Price(0), ..plain }, 1),
        (
            OrderTerms { expire: DAY.midnight, ..one },
            Accepted { time_in_force: TimeInForce::Gtt, ..plain },
            1,
        ),
        (OrderTerms { peg: Peg::Market, peg_offset: -1, discretion: Price(9), ..one }, plain, 1),
        (OrderTerms { max_floor: 1, random_reserves: 1, stp: Stp::Off, stp_group: *b"AA", ..one }, plain, 1),
    ] {
        assert_eq!(told_with(terms, EventBody::Accepted(order)).len(), count, "{order:?} {terms:?}");
    }
}

#[test]
fn a_trade_is_told_to_both_sides() {
    let side = |key, shown| Executed { key, order_ref: OrderRef(1), leaves_qty: Qty(0), shown };
    let trade = Trade {
        match_number: MatchNumber(99),
        instrument: InstrumentId(2),
        price: Price(123),
        qty: Qty(10),
        aggressor_buys: true,
        resting: side(key(1, 0, 5), SHOWN),
        aggressor: side(key(3, 2, 6), HIDDEN),
        cross: CrossKind::None,
        resting_price: Price(123),
    };
    let executed = |num, flag| ouch::OrderExecuted {
        message_type: Type::new(),
        timestamp: U64::new(5),
        user_ref_num: U32::new(num),
        quantity: U32::new(10),
        price: U64::new(123),
        liquidity_flag: flag,
        match_number: U64::new(99),
    };
    let channel: OptionsBuf = [OptionValue::UserRefIdx(2)].into_iter().collect();
    let expected = [
        (PortId(1), encode(&executed(5, b'A'), &OptionsBuf::EMPTY)),
        (PortId(3), encode(&executed(6, b'R'), &channel)),
    ];
    assert_eq!(told(EventBody::Trade(trade)), expected);

    let flags = |trade: Trade| {
        let flag = |(_, bytes): &(PortId, Vec<u8>)| match ouch::Outbound::parse(bytes) {
            Ok(ouch::Outbound::OrderExecuted(said, _)) => said.liquidity_flag,
            other => panic!("{other:?}"),
        };
        told(EventBody::Trade(trade)).iter().map(flag).collect::<Vec<_>>()
    };
    // Not shown: hidden, or pegged. An aggressor that stands on the feed, having met the other side, removes.
    let (hidden, shown) = (side(key(1, 0, 5), HIDDEN), side(key(3, 2, 6), SHOWN));
    assert_eq!(flags(Trade { resting: hidden, ..trade }), b"JR");
    assert_eq!(flags(Trade { resting: hidden, aggressor: shown, ..trade }), b"JR");
    assert_eq!(flags(Trade { cross: CrossKind::Opening, ..trade }), b"OO");
    assert_eq!(flags(Trade { cross: CrossKind::Closing, resting: hidden, ..trade }), b"CC");
    assert_eq!(flags(Trade { cross: CrossKind::Halt, ..trade }), b"HH");
}

#[test]
fn quantities_above_32_bits_follow_in_full() {
    let (wide, narrow) = (Qty(u64::from(u32::MAX) + 1), Qty(u32::MAX.into()));
    let full = |port, num, idx, ouch_type, quantity: Qty, prevented: Qty| {
        let message = native::FullRange {
            timestamp: native::U64::new(5),
            user_ref_num: native::U32::new(num),
            user_ref_idx: idx,
            ouch_type,
            quantity: native::U64::new(quantity.0),
            prevented: native::U64::new(prevented.0),
        };
        (PortId(port), encode_native(&message))
    };
    let executed = |key| Executed { key, order_ref: OrderRef(1), leaves_qty: Qty(0), shown: HIDDEN };
    let trade = |qty| Trade {
        match_number: MatchNumber(99),
        instrument: InstrumentId(2),
        price: Price(1 << 40),
        qty,
        aggressor_buys: true,
        resting: executed(key(1, 0, 5)),
        aggressor: executed(key(3, 2, 6)),
        cross: CrossKind::None,
        resting_price: Price(0),
    };
    assert_eq!(told(EventBody::Trade(trade(narrow))).len(), 2);
    let heard = told(EventBody::Trade(trade(wide)));
    let ports: Vec<u32> = heard.iter().map(|(port, _)| port.0).collect();
    assert_eq!(ports, [1, 1, 3, 3]);
    let Ok(ouch::Outbound::OrderExecuted(said, _)) = ouch::Outbound::parse(&heard[0].1) else { panic!() };
    assert_eq!((said.quantity.get(), said.price.get()), (u32::MAX, 1 << 40));
    assert_eq!(heard[1], full(1, 5, 0, b'E', wide, Qty(0)));
    assert_eq!(heard[3], full(3, 6, 2, b'E', wide, Qty(0)));

    let canceled = |qty| Canceled {
        key: key(1, 2, 5),
        order_ref: OrderRef(1),
        instrument: InstrumentId(2),
        qty,
        leaves_qty: Qty(0),
        reason: CancelReason::User,
        shown: HIDDEN,
        shown_leaves: Qty(0),
    };
    assert_eq!(told(EventBody::Canceled(canceled(narrow))).len(), 1);
    assert_eq!(told(EventBody::Canceled(canceled(wide)))[1], full(1, 5, 2, b'C', wide, Qty(0)));
    let modified = |leaves_qty| Modified {
        key: key(1, 2, 5),
        order_ref: OrderRef(1),
        instrument: InstrumentId(2),
        side: Side::Buy,
        qty: Qty(1),
        leaves_qty,
        shown: HIDDEN,
        shown_leaves: Qty(0),
    };
    assert_eq!(told(EventBody::Modified(modified(narrow))).len(), 1);
    assert_eq!(told(EventBody::Modified(modified(wide)))[1], full(1, 5, 2, b'M', wide, Qty(0)));
    let prevented = |qty, prevented_qty| SelfTradePrevented {
        key: key(1, 2, 5),
        order_ref: OrderRef(1),
        instrument: InstrumentId(2),
        qty,
        leaves_qty: Qty(0),
        prevented_qty,
        price: Price(1),
        rested: false,
        stp: Stp::CancelBoth,
        shown: HIDDEN,
        shown_leaves: Qty(0),
    };
    assert_eq!(told(EventBody::SelfTradePrevented(prevented(narrow, narrow))).len(), 1);
    let heard = told(EventBody::SelfTradePrevented(prevented(Qty(7), wide)));
    assert_eq!(heard[1], full(1, 5, 2, b'D', Qty(7), wide));
}

#[test]
fn a_prevented_self_trade_says_what_would_have_been() {
    let prevented = SelfTradePrevented {
        key: key(1, 0, 5),
        order_ref: OrderRef(1),
        instrument: InstrumentId(1),
        qty: Qty(40),
        leaves_qty: Qty(60),
        prevented_qty: Qty(30),
        price: Price(99),
        rested: true,
        stp: Stp::Decrement,
        shown: SHOWN,
        shown_leaves: Qty(60),
    };
    let message = ouch::AiqCanceled {
        message_type: Type::new(),
        timestamp: U64::new(5),
        user_ref_num: U32::new(5),
        decrement_shares: U32::new(40),
        reason: b'Q',
        quantity_prevented: U32::new(30),
        execution_price: U64::new(9_900),
        liquidity_flag: b'A',
        aiq_strategy: b'D',
    };
    let said = |body| told(EventBody::SelfTradePrevented(body));
    assert_eq!(said(prevented), [(PortId(1), encode(&message, &OptionsBuf::EMPTY))]);
    let on_channel =
        SelfTradePrevented { key: key(1, 3, 5), shown: HIDDEN, stp: Stp::CancelBoth, ..prevented };
    let message = ouch::AiqCanceled { liquidity_flag: b'J', aiq_strategy: b'W', ..message };
    assert_eq!(said(on_channel), [(PortId(1), encode(&message, &channel(3)))]);
    let aggressor = SelfTradePrevented { rested: false, stp: Stp::CancelNewest, ..prevented };
    let message = ouch::AiqCanceled { liquidity_flag: b'R', aiq_strategy: b'Y', ..message };
    assert_eq!(said(aggressor), [(PortId(1), encode(&message, &OptionsBuf::EMPTY))]);
    let oldest = SelfTradePrevented { stp: Stp::CancelOldest, ..prevented };
    let message = ouch::AiqCanceled { liquidity_flag: b'A', aiq_strategy: b'O', ..message };
    assert_eq!(said(oldest), [(PortId(1), encode(&message, &OptionsBuf::EMPTY))]);
}

#[test]
fn a_refreshed_iceberg_is_restated() {
    let refreshed = |idx| Refreshed {
        key: key(1, idx, 5),
        order_ref: OrderRef(1),
        firm: FirmId(1),
        instrument: InstrumentId(1),
        side: Side::Buy,
        price: Price(99),
        display: Display::Visible,
        shown: SHOWN,
        leaves_qty: Qty(900),
    };
    let message = ouch::OrderRestated {
        message_type: Type::new(),
        timestamp: U64::new(5),
        user_ref_num: U32::new(5),
        reason: b'R',
    };
    let both = [OptionValue::SecondaryOrdRefNum(70), OptionValue::DisplayQuantity(100)];
    let options: OptionsBuf = both.into_iter().collect();
    assert_eq!(told(EventBody::Refreshed(refreshed(0))), [(PortId(1), encode(&message, &options))]);
    let options: OptionsBuf = both.into_iter().chain([OptionValue::UserRefIdx(9)]).collect();
    assert_eq!(told(EventBody::Refreshed(refreshed(9))), [(PortId(1), encode(&message, &options))]);
}

#[test]
fn a_bust_is_told_to_both_sides_even_when_they_are_one_port() {
    let busted = |buyer, seller| Busted {
        match_number: MatchNumber(99),
        reason: b'C',
        instrument: InstrumentId(1),
        price: Price(99),
        qty: Qty(10),
        buyer,
        seller,
        buyer_owes: Amount(0),
        seller_owes: Amount(3),
    };
    let message = |num| ouch::BrokenTrade {
        message_type: Type::new(),
        timestamp: U64::new(5),
        user_ref_num: U32::new(num),
        match_number: U64::new(99),
        reason: b'C',
        cl_ord_id: [b' '; 14],
    };
    let first = |port| (PortId(port), encode(&message(5), &channel(2)));
    let second = |port| (PortId(port), encode(&message(6), &OptionsBuf::EMPTY));
    assert_eq!(told(EventBody::Busted(busted(key(1, 2, 5), key(3, 0, 6)))), [first(1), second(3)]);
    assert_eq!(told(EventBody::Busted(busted(key(3, 0, 6), key(1, 2, 5)))), [second(3), first(1)]);
    assert_eq!(told(EventBody::Busted(busted(key(1, 2, 5), key(1, 0, 6)))), [first(1), second(1)]);
}

#[test]
fn native_answers() {
    let triggered = EventBody::Triggered {
        key: key(3, 2, 8),
        order_ref: OrderRef(77),
        instrument: InstrumentId(1),
        price: Price(130),
    };
    let message = native::StopTriggered {
        timestamp: native::U64::new(5),
        order_reference: native::U64::new(77),
        price: I64::new(130),
        user_ref_num: native::U32::new(8),
        user_ref_idx: 2,
    };
    assert_eq!(told(triggered), [(PortId(3), encode_native(&message))]);

    let state = OrderState {
        key: key(1, 2, 8),
        open: true,
        order_ref: OrderRef(77),
        instrument: InstrumentId(2),
        price: Price(130),
        leaves_qty: Qty(1 << 40),
        executed_qty: Qty(3),
    };
    let message = native::OrderState {
        timestamp: native::U64::new(5),
        order_reference: native::U64::new(77),
        price: I64::new(130),
        leaves_quantity: native::U64::new(1 << 40),
        executed_quantity: native::U64::new(3),
        symbol: *b"BELLUSD ",
        user_ref_num: native::U32::new(8),
        user_ref_idx: 2,
        status: b'O',
    };
    assert_eq!(told(EventBody::OrderState(state)), [(PortId(1), encode_native(&message))]);
    let unknown = OrderState {
        open: false,
        order_ref: OrderRef(0),
        instrument: InstrumentId::NONE,
        price: Price(0),
        leaves_qty: Qty(0),
        executed_qty: Qty(0),
        ..state
    };
    let message = native::OrderState {
        order_reference: native::U64::new(0),
        price: I64::new(0),
        leaves_quantity: native::U64::new(0),
        executed_quantity: native::U64::new(0),
        symbol: [b' '; 8],
        status: b'N',
        ..message
    };
    assert_eq!(told(EventBody::OrderState(unknown)), [(PortId(1), encode_native(&message))]);

    let timestamp = native::U64::new(5);
    let set = native::DeadManSet { timestamp, timeout: native::U64::new(1_000_000_000) };
    let body = EventBody::DeadManSet { port: PortId(2), timeout_ns: 1_000_000_000 };
    assert_eq!(told(body), [(PortId(2), encode_native(&set))]);
    let expired = native::DeadManExpired { timestamp };
    let body = EventBody::DeadManExpired { port: PortId(2) };
    assert_eq!(told(body), [(PortId(2), encode_native(&expired))]);
}

#[test]
fn the_other_answers() {
    let channel: OptionsBuf = [OptionValue::UserRefIdx(2)].into_iter().collect();
    let canceled = Canceled {
        key: key(1, 0, 5),
        order_ref: OrderRef(1),
        instrument: InstrumentId(1),
        qty: Qty(40),
        leaves_qty: Qty(60),
        reason: CancelReason::Immediate,
        shown: SHOWN,
        shown_leaves: Qty(60),
    };
    let message = ouch::OrderCanceled {
        message_type: Type::new(),
        timestamp: U64::new(5),
        user_ref_num: U32::new(5),
        quantity: U32::new(40),
        reason: b'I',
    };
    let bytes = encode(&message, &OptionsBuf::EMPTY);
    assert_eq!(bytes.len(), 18, "without a channel there is no appendage at all");
    assert_eq!(told(EventBody::Canceled(canceled)), [(PortId(1), bytes)]);
    for (reason, letter) in CancelReason::ALL.iter().zip(b"UIGSEKQTZ") {
        let heard = told(EventBody::Canceled(Canceled { reason: *reason, ..canceled }));
        let message = ouch::OrderCanceled { reason: *letter, ..message };
        assert_eq!(heard, [(PortId(1), encode(&message, &OptionsBuf::EMPTY))]);
    }

    let modified = Modified {
        key: key(1, 2, 5),
        order_ref: OrderRef(1),
        instrument: InstrumentId(1),
        side: Side::SellShortExempt,
        qty: Qty(40),
        leaves_qty: Qty(60),
        shown: SHOWN,
        shown_leaves: Qty(60),
    };
    let message = ouch::OrderModified {
        message_type: Type::new(),
        timestamp: U64::new(5),
        user_ref_num: U32::new(5),
        side: b'E',
        quantity: U32::new(60),
    };
    assert_eq!(told(EventBody::Modified(modified)), [(PortId(1), encode(&message, &channel))]);

    let rejected =
        EventBody::Rejected { key: key(2, 2, 5), reason: Reject::AggregateExposure, cl_ord_id: CL_ORD_ID };
    let message = ouch::Rejected {
        message_type: Type::new(),
        timestamp: U64::new(5),
        user_ref_num: U32::new(5),
        reason: U16::new(0x20),
        cl_ord_id: CL_ORD_ID.0,
    };
    assert_eq!(told(rejected), [(PortId(2), encode(&message, &channel))]);

    let queried =
        EventBody::AccountQueried { port: PortId(2), user_ref_idx: UserRefIdx(0), next: UserRefNum(12) };
    let message = ouch::AccountQueryResponse {
        message_type: Type::new(),
        timestamp: U64::new(5),
        next_user_ref_num: U32::new(12),
    };
    assert_eq!(told(queried), [(PortId(2), encode(&message, &OptionsBuf::EMPTY))]);
}

#[test]
fn a_mass_cancel_is_answered_with_its_own_words() {
    let request = MassCancel {
        port: PortId(1),
        user_ref_idx: UserRefIdx(2),
        user_ref_num: UserRefNum(9),
        firm: FirmId(1),
        instrument: InstrumentId::NONE,
        group: Some(0),
        side: Some(Side::Sell),
        fault: None,
    };
    let message = |symbol: &[u8; 8]| ouch::MassCancelResponse {
        message_type: Type::new(),
        timestamp: U64::new(5),
        user_ref_num: U32::new(9),
        firm: *b"AAAA",
        symbol: *symbol,
    };
    let options = [OptionValue::GroupId(0), OptionValue::Side(b'S'), OptionValue::UserRefIdx(2)];
    assert_eq!(
        told(EventBody::MassCancelAccepted(request)),
        [(PortId(1), encode(&message(b"        "), &options.into_iter().collect::<OptionsBuf>()))]
    );
    let request = MassCancel {
        user_ref_idx: UserRefIdx(0),
        instrument: InstrumentId(2),
        group: None,
        side: None,
        ..request
    };
    assert_eq!(
        told(EventBody::MassCancelAccepted(request)),
        [(PortId(1), encode(&message(b"BELLUSD "), &OptionsBuf::EMPTY))]
    );
}

#[test]
fn a_switch_of_order_entry_is_answered_on_its_channel() {
    let disabled = ouch::DisableOrderEntryResponse {
        message_type: Type::new(),
        timestamp: U64::new(5),
        user_ref_num: U32::new(9),
        firm: *b"BB  ",
    };
    let enabled = ouch::EnableOrderEntryResponse {
        message_type: Type::new(),
        timestamp: U64::new(5),
        user_ref_num: U32::new(9),
        firm: *b"BB  ",
    };
    for (idx, options) in
        [(0, OptionsBuf::EMPTY), (2, [OptionValue::UserRefIdx(2)].into_iter().collect::<OptionsBuf>())]
    {
        let switch = OrderEntrySwitch {
            port: PortId(3),
            user_ref_idx: UserRefIdx(idx),
            user_ref_num: UserRefNum(9),
            firm: FirmId(2),
            fault: None,
        };
        let told_disabled = told(EventBody::OrderEntryDisabled(switch));
        assert_eq!(told_disabled, [(PortId(3), encode(&disabled, &options))]);
        assert_eq!(told_disabled[0].1[0], b'G');
        let told_enabled = told(EventBody::OrderEntryEnabled(switch));
        assert_eq!(told_enabled, [(PortId(3), encode(&enabled, &options))]);
        assert_eq!(told_enabled[0].1[0], b'K');
    }
}

#[test]
fn a_day_opens_and_closes_for_every_port_and_the_rest_is_told_to_nobody() {
    let opened = ouch::SystemEvent { message_type: Type::new(), timestamp: U64::new(5), event_code: b'S' };
    let bytes = encode(&opened, &OptionsBuf::EMPTY);
    let expected: Vec<_> = (1..=3).map(|port| (PortId(port), bytes.clone())).collect();
    assert_eq!(told(EventBody::DayOpened(DAY)), expected);
    let closed = ouch::SystemEvent { event_code: b'E', ..opened };
    let bytes = encode(&closed, &OptionsBuf::EMPTY);
    let expected: Vec<_> = (1..=3).map(|port| (PortId(port), bytes.clone())).collect();
    assert_eq!(told(EventBody::DayClosed { date: DAY.date }), expected);
    let rested = Rested {
        order_ref: OrderRef(1),
        firm: FirmId(1),
        instrument: InstrumentId(1),
        side: Side::Buy,
        qty: Qty(1),
        price: Price(1),
        display: Display::Visible,
        shown: SHOWN,
    };
    for body in [
        EventBody::PhaseChanged { instrument: InstrumentId(1), phase: Phase::Halted, reason: *b"LUDP" },
        EventBody::Statistics(Statistics::default()),
        EventBody::FirmTier { firm: FirmId(1), tier: 2 },
        EventBody::Rested(rested),
        EventBody::LoggedIn { port: PortId(1), incarnation: 1 },
        EventBody::LoggedOut { port: PortId(1), incarnation: 1 },
        EventBody::MassCancelAsked { cause: Seq(1), slice: 0 },
    ] {
        assert_eq!(told(body), []);
    }
}

#[test]
fn terms_are_those_of_the_next_order_alone() {
    let mut directory = Directory::default();
    definitions(plain("SECRET")).iter().for_each(|body| directory.apply(body));
    directory.apply(&EventBody::DayOpened(DAY));
    let mut teller = Teller::default();
    let mut count = |body| {
        let mut count = 0;
        teller.messages(&event(5, body), &directory, &mut |_, _| count += 1);
        count
    };
    let accepted = EventBody::Accepted(order(key(3, 0, 8)));
    let terms = OrderTerms { stop: Price(1), ..OrderTerms::default() };
    let said = |order_ref| EventBody::Terms { key: key(3, 0, 8), order_ref, terms };
    assert_eq!([count(said(OrderRef(77))), count(accepted), count(accepted)], [0, 2, 1]);
    count(said(OrderRef(78)));
    let of_another = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| count(accepted)));
    assert!(of_another.is_err());
}
