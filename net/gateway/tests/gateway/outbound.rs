//! Events to OUCH bytes: who is told what.

use ironbell_gateway::{Directory, outbound};
use ironbell_types::{
    Accepted, CancelReason, Canceled, Capacity, ClOrdId, Display, EventBody, Executed, FirmId, InstrumentId,
    MassCancel, MatchNumber, Modified, OrderEntrySwitch, OrderKey, OrderOptions, OrderRef, PortId, Price,
    Qty, Reject, Replaced, Rested, Seq, Side, TimeInForce, Trade, UserRefIdx, UserRefNum,
};
use ironbell_wire::ouch::{self, OptionValue, OptionsBuf};
use ironbell_wire::{Type, U16, U32, U64};

use crate::venue::{DAY, definitions, encode, event, plain};

const CL_ORD_ID: ClOrdId = ClOrdId(*b"mine          ");

/// What the event of Seq 5 tells, which is 5 ns after midnight.
fn told(body: EventBody) -> Vec<(PortId, Vec<u8>)> {
    let mut directory = Directory::default();
    definitions(plain("SECRET")).iter().for_each(|body| directory.apply(body));
    directory.apply(&EventBody::DayOpened(DAY));
    let mut told = Vec::new();
    outbound::messages(&event(5, body), &directory, &mut |port, bytes| told.push((port, bytes.to_vec())));
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
    }
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
        order: order(key(3, 0, 8)),
    };
    assert_eq!(
        told(EventBody::Replaced(body)),
        [(PortId(3), encode(&replaced, &both.into_iter().collect::<OptionsBuf>()))]
    );
}

#[test]
fn a_trade_is_told_to_both_sides() {
    let side = |key| Executed { key, order_ref: OrderRef(1), leaves_qty: Qty(0) };
    let trade = Trade {
        match_number: MatchNumber(99),
        instrument: InstrumentId(2),
        price: Price(123),
        qty: Qty(10),
        aggressor_buys: true,
        resting: side(key(1, 0, 5)),
        aggressor: side(key(3, 2, 6)),
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
        displayed: true,
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

    let modified = Modified {
        key: key(1, 2, 5),
        order_ref: OrderRef(1),
        instrument: InstrumentId(1),
        side: Side::SellShortExempt,
        qty: Qty(40),
        leaves_qty: Qty(60),
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
fn a_day_is_opened_for_every_port_and_the_rest_is_told_to_nobody() {
    let opened = ouch::SystemEvent { message_type: Type::new(), timestamp: U64::new(5), event_code: b'S' };
    let bytes = encode(&opened, &OptionsBuf::EMPTY);
    let expected: Vec<_> = (1..=3).map(|port| (PortId(port), bytes.clone())).collect();
    assert_eq!(told(EventBody::DayOpened(DAY)), expected);
    let rested = Rested {
        order_ref: OrderRef(1),
        firm: FirmId(1),
        instrument: InstrumentId(1),
        side: Side::Buy,
        qty: Qty(1),
        price: Price(1),
        display: Display::Visible,
    };
    for body in [
        EventBody::Rested(rested),
        EventBody::LoggedIn { port: PortId(1), incarnation: 1 },
        EventBody::LoggedOut { port: PortId(1), incarnation: 1 },
        EventBody::MassCancelAsked { cause: Seq(1), slice: 0 },
    ] {
        assert_eq!(told(body), []);
    }
}
