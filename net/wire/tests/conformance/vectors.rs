//! Every line of the byte vectors: decoded and encoded again, and built from field values.
//!
//! The vectors' values: in a message's n-th field (from 0) a number is 100 + n, a price 101.2500, a time
//! [`TIME`], a text or a letter one that the field may hold.

use std::collections::BTreeMap;

use ironbell_wire::ouch::{self, OptionValue, OptionsBuf, OuchMessage};
use ironbell_wire::{Message, Type, U16, U32, U48, U64, itch};

use crate::support::{hex, transcode, unhex, vectors};

/// Nanoseconds since midnight: 9:30:00.123456789.
const TIME: u64 = 34_200_123_456_789;
const PRICE: u32 = 1_012_500;
const PRICE_WIDE: u64 = 1_012_500;

/// A message by the name it has in the vectors.
type Built = (&'static str, u8, &'static str, Vec<u8>);

#[test]
fn every_vector_survives_decoding_and_encoding() {
    for vector in vectors() {
        let name = format!("{} {} {}", vector.family, char::from(vector.code), vector.options);
        let ours = transcode(vector.family, &vector.bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(hex(&ours), hex(&vector.bytes), "{name}");
    }
}

#[test]
fn every_vector_is_built_from_its_field_values() {
    let theirs: BTreeMap<_, _> =
        vectors().into_iter().map(|v| ((v.family, v.code, v.options), hex(&v.bytes))).collect();
    let built: Vec<Built> = [itch_messages(), inbound_messages(), outbound_messages()].concat();
    let ours: BTreeMap<_, _> = built
        .into_iter()
        .map(|(family, code, options, bytes)| ((family, code, options), hex(&bytes)))
        .collect();
    assert_eq!(ours.len(), 23 + 2 * (8 + 17));
    assert_eq!(ours, theirs);
}

#[test]
fn an_order_as_a_member_would_send_it() {
    // Enter Order by hand, from the specification's table: buy 100 XYZ at 12.34, immediate or cancel,
    // fill or kill by a minimum quantity of 100.
    let order = ouch::EnterOrder {
        message_type: Type::new(),
        user_ref_num: U32::new(1),
        side: b'B',
        quantity: U32::new(100),
        symbol: *b"XYZ     ",
        price: U64::new(123_400),
        time_in_force: b'3',
        display: b'Y',
        capacity: b'P',
        inter_market_sweep: b'N',
        cross_type: b'N',
        cl_ord_id: *b"A1            ",
    };
    let mut options = OptionsBuf::new();
    options.push(OptionValue::MinQty(100));
    let mut out = [0; ouch::MESSAGE_LEN_MAX];
    let len = order.encode(&options, &mut out).expect("it fits");
    let expected = concat!(
        "4f",
        "00000001",
        "42",
        "00000064",
        "58595a2020202020",
        "000000000001e208",
        "33",
        "59",
        "50",
        "4e",
        "4e",
        "4131202020202020202020202020",
        "0006",
        "05",
        "03",
        "00000064",
    );
    assert_eq!(out[..len], unhex(expected));
}

/// The value that the vectors give an option.
fn value(tag: u8) -> OptionValue {
    use OptionValue as V;
    match tag {
        1 => V::SecondaryOrdRefNum(100),
        2 => V::Firm(*b"ABCD"),
        3 => V::MinQty(100),
        4 => V::CustomerType(b'N'),
        5 => V::MaxFloor(100),
        6 => V::PriceType(b'N'),
        7 => V::PegOffset(-25),
        9 => V::DiscretionPrice(PRICE_WIDE),
        10 => V::DiscretionPriceType(b'N'),
        11 => V::DiscretionPegOffset(-25),
        12 => V::PostOnly(b'N'),
        13 => V::RandomReserves(100),
        14 => V::Route(*b"X   "),
        15 => V::ExpireTime(100),
        16 => V::TradeNow(b'N'),
        17 => V::HandleInst(b'N'),
        18 => V::BboWeightIndicator(b'N'),
        22 => V::DisplayQuantity(100),
        23 => V::DisplayPrice(PRICE_WIDE),
        24 => V::GroupId(100),
        25 => V::SharesLocated(b'N'),
        26 => V::LocateBroker(*b"X   "),
        27 => V::Side(b'B'),
        28 => V::UserRefIdx(100),
        29 => V::AiqStrategy(b'N'),
        30 => V::AiqGroupId(*b"X "),
        other => panic!("no such tag: {other}"),
    }
}

fn plain<M: Message>(message: M) -> Built {
    ("ITCH", M::TYPE, "-", message.as_bytes().to_vec())
}

fn with_options<M: OuchMessage>(family: &'static str, message: M) -> [Built; 2] {
    let all: OptionsBuf = (0..32).filter(|tag| M::TAGS & 1 << tag != 0).map(value).collect();
    let bytes = |options: &OptionsBuf| {
        let mut out = [0; ouch::MESSAGE_LEN_MAX];
        let len = message.encode(options, &mut out).expect("the buffer holds the longest message");
        out[..len].to_vec()
    };
    [(family, M::TYPE, "none", bytes(&OptionsBuf::EMPTY)), (family, M::TYPE, "all", bytes(&all))]
}

fn itch_messages() -> Vec<Built> {
    vec![
        plain(itch::SystemEvent {
            message_type: Type::new(),
            stock_locate: U16::new(7),
            tracking_number: U16::new(2),
            timestamp: U48::new(TIME),
            event_code: b'S',
        }),
        plain(itch::StockDirectory {
            message_type: Type::new(),
            stock_locate: U16::new(7),
            tracking_number: U16::new(2),
            timestamp: U48::new(TIME),
            stock: *b"AAPL    ",
            market_category: b'Q',
            financial_status: b'N',
            round_lot_size: U32::new(106),
            round_lots_only: b'N',
            issue_classification: b'C',
            issue_sub_type: *b"C ",
            authenticity: b'P',
            short_sale_threshold: b'N',
            ipo_flag: b'N',
            luld_ref_price_tier: b'1',
            etp_flag: b'N',
            etp_leverage_factor: U32::new(115),
            inverse_indicator: b'N',
        }),
        plain(itch::StockTradingAction {
            message_type: Type::new(),
            stock_locate: U16::new(7),
            tracking_number: U16::new(2),
            timestamp: U48::new(TIME),
            stock: *b"AAPL    ",
            trading_state: b'T',
            reserved: b'N',
            reason: *b"    ",
        }),
        plain(itch::RegShoRestriction {
            message_type: Type::new(),
            stock_locate: U16::new(7),
            tracking_number: U16::new(2),
            timestamp: U48::new(TIME),
            stock: *b"AAPL    ",
            reg_sho_action: b'0',
        }),
        plain(itch::MarketParticipantPosition {
            message_type: Type::new(),
            stock_locate: U16::new(7),
            tracking_number: U16::new(2),
            timestamp: U48::new(TIME),
            mpid: *b"ABCD",
            stock: *b"AAPL    ",
            primary_market_maker: b'Y',
            market_maker_mode: b'N',
            market_participant_state: b'A',
        }),
        plain(itch::MwcbDeclineLevel {
            message_type: Type::new(),
            stock_locate: U16::new(7),
            tracking_number: U16::new(2),
            timestamp: U48::new(TIME),
            level_1: U64::new(123_400_000_000),
            level_2: U64::new(123_400_000_000),
            level_3: U64::new(123_400_000_000),
        }),
        plain(itch::MwcbStatus {
            message_type: Type::new(),
            stock_locate: U16::new(7),
            tracking_number: U16::new(2),
            timestamp: U48::new(TIME),
            breached_level: b'1',
        }),
        plain(itch::IpoQuotingPeriodUpdate {
            message_type: Type::new(),
            stock_locate: U16::new(7),
            tracking_number: U16::new(2),
            timestamp: U48::new(TIME),
            stock: *b"AAPL    ",
            release_time: U32::new(104),
            release_qualifier: b'A',
            ipo_price: U32::new(PRICE),
        }),
        plain(itch::LuldAuctionCollar {
            message_type: Type::new(),
            stock_locate: U16::new(7),
            tracking_number: U16::new(2),
            timestamp: U48::new(TIME),
            stock: *b"AAPL    ",
            collar_reference_price: U32::new(PRICE),
            upper_collar_price: U32::new(PRICE),
            lower_collar_price: U32::new(PRICE),
            collar_extension: U32::new(107),
        }),
        plain(itch::OperationalHalt {
            message_type: Type::new(),
            stock_locate: U16::new(7),
            tracking_number: U16::new(2),
            timestamp: U48::new(TIME),
            stock: *b"AAPL    ",
            market_code: b'Q',
            halt_action: b'H',
        }),
        plain(itch::AddOrder {
            message_type: Type::new(),
            stock_locate: U16::new(7),
            tracking_number: U16::new(2),
            timestamp: U48::new(TIME),
            order_reference: U64::new(103),
            buy_sell: b'B',
            shares: U32::new(105),
            stock: *b"AAPL    ",
            price: U32::new(PRICE),
        }),
        plain(itch::AddOrderMpid {
            message_type: Type::new(),
            stock_locate: U16::new(7),
            tracking_number: U16::new(2),
            timestamp: U48::new(TIME),
            order_reference: U64::new(103),
            buy_sell: b'B',
            shares: U32::new(105),
            stock: *b"AAPL    ",
            price: U32::new(PRICE),
            attribution: *b"X   ",
        }),
        plain(itch::OrderExecuted {
            message_type: Type::new(),
            stock_locate: U16::new(7),
            tracking_number: U16::new(2),
            timestamp: U48::new(TIME),
            order_reference: U64::new(103),
            executed_shares: U32::new(104),
            match_number: U64::new(105),
        }),
        plain(itch::OrderExecutedWithPrice {
            message_type: Type::new(),
            stock_locate: U16::new(7),
            tracking_number: U16::new(2),
            timestamp: U48::new(TIME),
            order_reference: U64::new(103),
            executed_shares: U32::new(104),
            match_number: U64::new(105),
            printable: b'Y',
            execution_price: U32::new(PRICE),
        }),
        plain(itch::OrderCancel {
            message_type: Type::new(),
            stock_locate: U16::new(7),
            tracking_number: U16::new(2),
            timestamp: U48::new(TIME),
            order_reference: U64::new(103),
            cancelled_shares: U32::new(104),
        }),
        plain(itch::OrderDelete {
            message_type: Type::new(),
            stock_locate: U16::new(7),
            tracking_number: U16::new(2),
            timestamp: U48::new(TIME),
            order_reference: U64::new(103),
        }),
        plain(itch::OrderReplace {
            message_type: Type::new(),
            stock_locate: U16::new(7),
            tracking_number: U16::new(2),
            timestamp: U48::new(TIME),
            original_order_reference: U64::new(103),
            new_order_reference: U64::new(104),
            shares: U32::new(105),
            price: U32::new(PRICE),
        }),
        plain(itch::Trade {
            message_type: Type::new(),
            stock_locate: U16::new(7),
            tracking_number: U16::new(2),
            timestamp: U48::new(TIME),
            order_reference: U64::new(103),
            buy_sell: b'B',
            shares: U32::new(105),
            stock: *b"AAPL    ",
            price: U32::new(PRICE),
            match_number: U64::new(108),
        }),
        plain(itch::CrossTrade {
            message_type: Type::new(),
            stock_locate: U16::new(7),
            tracking_number: U16::new(2),
            timestamp: U48::new(TIME),
            shares: U64::new(103),
            stock: *b"AAPL    ",
            cross_price: U32::new(PRICE),
            match_number: U64::new(106),
            cross_type: b'O',
        }),
        plain(itch::BrokenTrade {
            message_type: Type::new(),
            stock_locate: U16::new(7),
            tracking_number: U16::new(2),
            timestamp: U48::new(TIME),
            match_number: U64::new(103),
        }),
        plain(itch::Noii {
            message_type: Type::new(),
            stock_locate: U16::new(7),
            tracking_number: U16::new(2),
            timestamp: U48::new(TIME),
            paired_shares: U64::new(103),
            imbalance_shares: U64::new(104),
            imbalance_direction: b'N',
            stock: *b"AAPL    ",
            far_price: U32::new(PRICE),
            near_price: U32::new(PRICE),
            current_ref_price: U32::new(PRICE),
            cross_type: b'O',
            price_variation: b'L',
        }),
        plain(itch::RetailPriceImprovementIndicator {
            message_type: Type::new(),
            stock_locate: U16::new(7),
            tracking_number: U16::new(2),
            timestamp: U48::new(TIME),
            stock: *b"AAPL    ",
            interest_flag: b'B',
        }),
        plain(itch::DirectListingWithCapitalRaise {
            message_type: Type::new(),
            stock_locate: U16::new(7),
            tracking_number: U16::new(2),
            timestamp: U48::new(TIME),
            stock: *b"AAPL    ",
            open_eligibility: b'N',
            min_allowable_price: U32::new(PRICE),
            max_allowable_price: U32::new(PRICE),
            near_execution_price: U32::new(PRICE),
            near_execution_time: U64::new(108),
            lower_collar: U32::new(PRICE),
            upper_collar: U32::new(PRICE),
        }),
    ]
}

fn inbound_messages() -> Vec<Built> {
    [
        with_options(
            "IN",
            ouch::EnterOrder {
                message_type: Type::new(),
                user_ref_num: U32::new(100),
                side: b'B',
                quantity: U32::new(102),
                symbol: *b"AAPL    ",
                price: U64::new(PRICE_WIDE),
                time_in_force: b'0',
                display: b'Y',
                capacity: b'P',
                inter_market_sweep: b'N',
                cross_type: b'N',
                cl_ord_id: *b"CLORD0001     ",
            },
        ),
        with_options(
            "IN",
            ouch::ReplaceOrder {
                message_type: Type::new(),
                orig_user_ref_num: U32::new(100),
                user_ref_num: U32::new(101),
                quantity: U32::new(102),
                price: U64::new(PRICE_WIDE),
                time_in_force: b'0',
                display: b'Y',
                inter_market_sweep: b'N',
                cl_ord_id: *b"CLORD0001     ",
            },
        ),
        with_options(
            "IN",
            ouch::CancelOrder {
                message_type: Type::new(),
                user_ref_num: U32::new(100),
                quantity: U32::new(101),
            },
        ),
        with_options(
            "IN",
            ouch::ModifyOrder {
                message_type: Type::new(),
                user_ref_num: U32::new(100),
                side: b'B',
                quantity: U32::new(102),
            },
        ),
        with_options(
            "IN",
            ouch::MassCancel {
                message_type: Type::new(),
                user_ref_num: U32::new(100),
                firm: *b"ABCD",
                symbol: *b"AAPL    ",
            },
        ),
        with_options(
            "IN",
            ouch::DisableOrderEntry {
                message_type: Type::new(),
                user_ref_num: U32::new(100),
                firm: *b"ABCD",
            },
        ),
        with_options(
            "IN",
            ouch::EnableOrderEntry { message_type: Type::new(), user_ref_num: U32::new(100), firm: *b"ABCD" },
        ),
        with_options("IN", ouch::AccountQuery { message_type: Type::new() }),
    ]
    .concat()
}

fn outbound_messages() -> Vec<Built> {
    [
        with_options(
            "OUT",
            ouch::SystemEvent { message_type: Type::new(), timestamp: U64::new(TIME), event_code: b'S' },
        ),
        with_options(
            "OUT",
            ouch::OrderAccepted {
                message_type: Type::new(),
                timestamp: U64::new(TIME),
                user_ref_num: U32::new(101),
                side: b'B',
                quantity: U32::new(103),
                symbol: *b"AAPL    ",
                price: U64::new(PRICE_WIDE),
                time_in_force: b'0',
                display: b'Y',
                order_reference_number: U64::new(108),
                capacity: b'P',
                inter_market_sweep: b'N',
                cross_type: b'N',
                order_state: b'L',
                cl_ord_id: *b"CLORD0001     ",
            },
        ),
        with_options(
            "OUT",
            ouch::OrderReplaced {
                message_type: Type::new(),
                timestamp: U64::new(TIME),
                orig_user_ref_num: U32::new(101),
                user_ref_num: U32::new(102),
                side: b'B',
                quantity: U32::new(104),
                symbol: *b"AAPL    ",
                price: U64::new(PRICE_WIDE),
                time_in_force: b'0',
                display: b'Y',
                order_reference_number: U64::new(109),
                capacity: b'P',
                inter_market_sweep: b'N',
                cross_type: b'N',
                order_state: b'L',
                cl_ord_id: *b"CLORD0001     ",
            },
        ),
        with_options(
            "OUT",
            ouch::OrderCanceled {
                message_type: Type::new(),
                timestamp: U64::new(TIME),
                user_ref_num: U32::new(101),
                quantity: U32::new(102),
                reason: b'U',
            },
        ),
        with_options(
            "OUT",
            ouch::AiqCanceled {
                message_type: Type::new(),
                timestamp: U64::new(TIME),
                user_ref_num: U32::new(101),
                decrement_shares: U32::new(102),
                reason: b'Q',
                quantity_prevented: U32::new(104),
                execution_price: U64::new(PRICE_WIDE),
                liquidity_flag: b'A',
                aiq_strategy: b'N',
            },
        ),
        with_options(
            "OUT",
            ouch::OrderExecuted {
                message_type: Type::new(),
                timestamp: U64::new(TIME),
                user_ref_num: U32::new(101),
                quantity: U32::new(102),
                price: U64::new(PRICE_WIDE),
                liquidity_flag: b'A',
                match_number: U64::new(105),
            },
        ),
        with_options(
            "OUT",
            ouch::BrokenTrade {
                message_type: Type::new(),
                timestamp: U64::new(TIME),
                user_ref_num: U32::new(101),
                match_number: U64::new(102),
                reason: b'E',
                cl_ord_id: *b"CLORD0001     ",
            },
        ),
        with_options(
            "OUT",
            ouch::Rejected {
                message_type: Type::new(),
                timestamp: U64::new(TIME),
                user_ref_num: U32::new(101),
                reason: U16::new(19),
                cl_ord_id: *b"CLORD0001     ",
            },
        ),
        with_options(
            "OUT",
            ouch::CancelPending {
                message_type: Type::new(),
                timestamp: U64::new(TIME),
                user_ref_num: U32::new(101),
            },
        ),
        with_options(
            "OUT",
            ouch::CancelReject {
                message_type: Type::new(),
                timestamp: U64::new(TIME),
                user_ref_num: U32::new(101),
            },
        ),
        with_options(
            "OUT",
            ouch::OrderPriorityUpdate {
                message_type: Type::new(),
                timestamp: U64::new(TIME),
                user_ref_num: U32::new(101),
                price: U64::new(PRICE_WIDE),
                display: b'Y',
                order_reference_number: U64::new(104),
            },
        ),
        with_options(
            "OUT",
            ouch::OrderModified {
                message_type: Type::new(),
                timestamp: U64::new(TIME),
                user_ref_num: U32::new(101),
                side: b'B',
                quantity: U32::new(103),
            },
        ),
        with_options(
            "OUT",
            ouch::OrderRestated {
                message_type: Type::new(),
                timestamp: U64::new(TIME),
                user_ref_num: U32::new(101),
                reason: b'R',
            },
        ),
        with_options(
            "OUT",
            ouch::MassCancelResponse {
                message_type: Type::new(),
                timestamp: U64::new(TIME),
                user_ref_num: U32::new(101),
                firm: *b"ABCD",
                symbol: *b"AAPL    ",
            },
        ),
        with_options(
            "OUT",
            ouch::DisableOrderEntryResponse {
                message_type: Type::new(),
                timestamp: U64::new(TIME),
                user_ref_num: U32::new(101),
                firm: *b"ABCD",
            },
        ),
        with_options(
            "OUT",
            ouch::EnableOrderEntryResponse {
                message_type: Type::new(),
                timestamp: U64::new(TIME),
                user_ref_num: U32::new(101),
                firm: *b"ABCD",
            },
        ),
        with_options(
            "OUT",
            ouch::AccountQueryResponse {
                message_type: Type::new(),
                timestamp: U64::new(TIME),
                next_user_ref_num: U32::new(101),
            },
        ),
    ]
    .concat()
}
