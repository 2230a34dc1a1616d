//! Native bytes to commands: every fault, their precedence, and back again.

use ironbell_gateway::inbound::{COMMANDS_MAX, NotTaken, commands};
use ironbell_gateway::outbound::Teller;
use ironbell_types::{
    Accepted, Capacity, ClOrdId, Command, DeadMan, Display, EQUITY_WIRE_PRICE_MAX, EnterOrder, EventBody,
    FirmId, InstrumentId, Nanos, OrderOptions, OrderRef, OrderStateQuery, OrderTerms, Peg, PortId, Price,
    Qty, Quote, QuoteSide, Reject, ReplaceOrder, Side, Stp, TimeInForce, UserRefIdx, UserRefNum,
};
use ironbell_wire::code::{peg_code, stp_code};
use ironbell_wire::native::{self, Block, I32, I64, Outbound as Told, QuoteEntry, U16, U32, U64};
use ironbell_wire::{Problem, ouch};
use proptest::prelude::*;

use crate::inbound::{directory, port_1};
use crate::venue::{DAY, event};

fn new_order() -> native::NewOrder {
    native::NewOrder {
        user_ref_num: U32::new(7),
        user_ref_idx: 3,
        side: b'S',
        time_in_force: b'g',
        display: b'Y',
        symbol: *b"BELLUSD ",
        quantity: U64::new(100),
        price: I64::new(50),
        stop_price: I64::new(0),
        discretion_price: I64::new(0),
        trail: U32::new(0),
        max_floor: U32::new(0),
        random_reserves: U32::new(0),
        peg_offset: I32::new(0),
        min_qty: U32::new(0),
        expire_time: U32::new(0),
        oco_user_ref_num: U32::new(0),
        group_id: U16::new(u16::MAX),
        stp_group: [0; 2],
        order_type: b'L',
        peg: b'L',
        stp: b'*',
        post_only: b'U',
        capacity: b'P',
        customer_type: b'U',
        cl_ord_id: *b"mine          ",
    }
}

fn encode<B: Block>(block: &B) -> Vec<u8> {
    let mut bytes = vec![0; native::MESSAGE_LEN_MAX];
    let len = block.encode(&mut bytes).expect("the buffer holds the longest message");
    bytes.truncate(len);
    bytes
}

fn all(bytes: &[u8]) -> Result<Vec<Command>, NotTaken> {
    let mut taken = Vec::new();
    commands(bytes, &port_1(), &directory(), &mut |command| taken.push(command))?;
    Ok(taken)
}

fn entered(message: &native::NewOrder) -> EnterOrder {
    match all(&encode(message)).as_deref() {
        Ok([Command::EnterOrder(order)]) => *order,
        other => panic!("{other:?}"),
    }
}

fn replaced(message: &native::ReplaceOrder) -> ReplaceOrder {
    match all(&encode(message)).as_deref() {
        Ok([Command::ReplaceOrder(order)]) => *order,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_new_order_says_all_it_said() {
    let plain = EnterOrder {
        port: PortId(1),
        user_ref_idx: UserRefIdx(3),
        user_ref_num: UserRefNum(7),
        instrument: InstrumentId(2),
        side: Side::Sell,
        qty: Qty(100),
        price: Price(50),
        time_in_force: TimeInForce::Gtc,
        display: Display::Visible,
        capacity: Capacity::Principal,
        cl_ord_id: ClOrdId(*b"mine          "),
        options: OrderOptions::default(),
        terms: OrderTerms::default(),
        fault: None,
    };
    assert_eq!(entered(&new_order()), plain);
    let message = native::NewOrder {
        time_in_force: b'6',
        display: b'N',
        quantity: U64::new(u64::MAX),
        price: I64::new(i64::from(u32::MAX) - 1),
        stop_price: I64::new(60),
        discretion_price: I64::new(40),
        trail: U32::new(5),
        max_floor: U32::new(10),
        random_reserves: U32::new(2),
        peg_offset: I32::new(-4),
        min_qty: U32::new(9),
        expire_time: U32::new(2),
        oco_user_ref_num: U32::new(6),
        group_id: U16::new(0),
        stp_group: *b"A ",
        peg: b'M',
        stp: b'D',
        post_only: b'P',
        customer_type: b'R',
        ..new_order()
    };
    let expected = EnterOrder {
        time_in_force: TimeInForce::Gtt,
        display: Display::Hidden,
        qty: Qty(u64::MAX),
        price: Price(i64::from(u32::MAX) - 1),
        options: OrderOptions {
            firm: false,
            customer_type: b'R',
            post_only: b'P',
            group: Some(0),
            min_qty: 9,
        },
        terms: OrderTerms {
            market: false,
            stop: Price(60),
            trail: 5,
            max_floor: 10,
            random_reserves: 2,
            peg: Peg::Midpoint,
            peg_offset: -4,
            discretion: Price(40),
            expire: Nanos(2_001_000_000),
            oco: UserRefNum(6),
            stp: Stp::Decrement,
            stp_group: *b"A ",
        },
        ..plain
    };
    assert_eq!(entered(&message), expected);
    let market = native::NewOrder { order_type: b'M', price: I64::new(0), ..new_order() };
    assert_eq!((entered(&market).price, entered(&market).terms.market), (Price(0), true));
}

#[test]
fn each_fault_of_a_new_order_has_its_refusal() {
    let scaled = new_order();
    let hidden = native::NewOrder { display: b'N', ..scaled };
    let equity = native::NewOrder { symbol: *b"IRON    ", ..scaled };
    let ticks_max = EQUITY_WIRE_PRICE_MAX as i64 / 100;
    let above_32 = u64::from(u32::MAX) + 1;
    let price_max = i64::from(u32::MAX) - 1;
    let iceberg = |max_floor, random_reserves| native::NewOrder {
        quantity: U64::new(above_32),
        max_floor: U32::new(max_floor),
        random_reserves: U32::new(random_reserves),
        ..scaled
    };
    let cases = [
        (native::NewOrder { symbol: *b"RUST    ", ..scaled }, Some(Reject::Symbol)),
        (native::NewOrder { quantity: U64::new(0), ..scaled }, Some(Reject::Quantity)),
        // What is shown has to fit the feed; what is not, and what never rests, has not.
        (native::NewOrder { quantity: U64::new(above_32 - 1), ..scaled }, None),
        (native::NewOrder { quantity: U64::new(above_32), ..scaled }, Some(Reject::Quantity)),
        (native::NewOrder { quantity: U64::new(above_32), max_floor: U32::new(1), ..scaled }, None),
        (native::NewOrder { quantity: U64::new(above_32), ..hidden }, None),
        (native::NewOrder { quantity: U64::new(above_32), time_in_force: b'3', ..scaled }, None),
        (iceberg(u32::MAX - 9, 9), None),
        (iceberg(u32::MAX - 9, 10), Some(Reject::Quantity)),
        (native::NewOrder { quantity: U64::new(above_32 - 1), ..iceberg(u32::MAX - 9, 10) }, None),
        (native::NewOrder { display: b'N', ..iceberg(u32::MAX - 9, 10) }, None),
        // Prices of trades have to fit it, and so has a slide by one tick.
        (native::NewOrder { price: I64::new(price_max), ..scaled }, None),
        (native::NewOrder { price: I64::new(price_max + 1), ..scaled }, Some(Reject::Price)),
        (native::NewOrder { price: I64::new(price_max + 1), ..hidden }, Some(Reject::Price)),
        (native::NewOrder { price: I64::new(i64::MAX), ..hidden }, Some(Reject::Price)),
        (native::NewOrder { stop_price: I64::new(price_max + 1), ..scaled }, Some(Reject::Other)),
        // An equity-exact instrument has OUCH's ranges.
        (native::NewOrder { quantity: U64::new(999_999), ..equity }, None),
        (native::NewOrder { quantity: U64::new(1_000_000), display: b'N', ..equity }, Some(Reject::Quantity)),
        (native::NewOrder { price: I64::new(ticks_max), ..equity }, None),
        (native::NewOrder { price: I64::new(ticks_max + 1), ..equity }, Some(Reject::Price)),
        (native::NewOrder { stop_price: I64::new(ticks_max), ..equity }, None),
        (native::NewOrder { stop_price: I64::new(ticks_max + 1), ..equity }, Some(Reject::Other)),
        (native::NewOrder { discretion_price: I64::new(ticks_max + 1), ..equity }, Some(Reject::Other)),
        (native::NewOrder { peg_offset: I32::new(i32::MIN / 100), ..equity }, None),
        (native::NewOrder { peg_offset: I32::new(i32::MIN / 100 - 1), ..equity }, Some(Reject::Pegging)),
        (native::NewOrder { peg_offset: I32::new(i32::MIN), ..scaled }, None),
        (native::NewOrder { stp_group: *b"A\0", ..scaled }, Some(Reject::Aiq)),
    ];
    for (message, fault) in cases {
        let order = entered(&message);
        assert_eq!(order.fault, fault, "{message:?}");
        assert_eq!((order.user_ref_num, order.cl_ord_id), (UserRefNum(7), ClOrdId(*b"mine          ")));
    }
}

#[test]
fn each_code_is_one_of_its_field_or_has_its_refusal() {
    type Set = fn(&mut native::NewOrder, u8);
    let fields: [(&[u8], Reject, Set); 9] = [
        (b"BSTE", Reject::Side, |m, code| m.side = code),
        (b"036fgoc", Reject::Other, |m, code| m.time_in_force = code),
        (b"YAN", Reject::Display, |m, code| m.display = code),
        (b"APRO", Reject::Other, |m, code| m.capacity = code),
        (b"LM", Reject::Other, |m, code| m.order_type = code),
        (b"LRPM", Reject::Pegging, |m, code| m.peg = code),
        (b"*NYOWD", Reject::Aiq, |m, code| m.stp = code),
        (b"UPN", Reject::Other, |m, code| m.post_only = code),
        (b"URN", Reject::Other, |m, code| m.customer_type = code),
    ];
    for (codes, fault, set) in fields {
        for code in 0..=u8::MAX {
            let mut message = new_order();
            set(&mut message, code);
            let expected = if codes.contains(&code) { None } else { Some(fault) };
            assert_eq!(entered(&message).fault, expected, "{} in {message:?}", code.escape_ascii());
        }
    }
}

#[test]
fn the_first_fault_in_the_order_of_the_rules_counts() {
    let right = new_order();
    let mut message = native::NewOrder {
        side: 0,
        symbol: [0; 8],
        quantity: U64::new(0),
        price: I64::new(1 << 40),
        time_in_force: 0,
        display: 0,
        capacity: 0,
        peg: 0,
        stp: 0,
        ..right
    };
    type PutRight = fn(&mut native::NewOrder, &native::NewOrder);
    let steps: [(Reject, PutRight); 9] = [
        (Reject::Side, |m, right| m.side = right.side),
        (Reject::Symbol, |m, right| m.symbol = right.symbol),
        (Reject::Quantity, |m, right| {
            m.quantity = right.quantity;
            m.time_in_force = right.time_in_force;
        }),
        (Reject::Price, |m, right| {
            m.price = right.price;
            m.time_in_force = 0;
        }),
        (Reject::Other, |m, right| m.time_in_force = right.time_in_force),
        (Reject::Display, |m, right| m.display = right.display),
        (Reject::Other, |m, right| m.capacity = right.capacity),
        (Reject::Pegging, |m, right| m.peg = right.peg),
        (Reject::Aiq, |m, right| m.stp = right.stp),
    ];
    for (fault, put_right) in steps {
        assert_eq!(entered(&message).fault, Some(fault));
        put_right(&mut message, &right);
    }
    assert_eq!(entered(&message).fault, None);
    let bytes = [&encode(&message)[..], b"!"].concat();
    let Ok([Command::EnterOrder(order)]) = all(&bytes).as_deref().map(|all| [all[0]]) else { panic!() };
    assert_eq!((order.fault, order.user_ref_num), (Some(Reject::Other), UserRefNum(7)));
}

#[test]
fn a_replacement_names_every_time_in_force() {
    let message = native::ReplaceOrder {
        orig_user_ref_num: U32::new(7),
        user_ref_num: U32::new(8),
        user_ref_idx: 1,
        time_in_force: b'6',
        display: b'A',
        post_only: b'N',
        quantity: U64::new(50),
        price: U64::new(9_950),
        max_floor: U32::new(0),
        random_reserves: U32::new(u32::MAX),
        min_qty: U32::new(3),
        expire_time: U32::new(1),
        cl_ord_id: *b"again         ",
    };
    let expected = ReplaceOrder {
        port: PortId(1),
        user_ref_idx: UserRefIdx(1),
        orig_user_ref_num: UserRefNum(7),
        user_ref_num: UserRefNum(8),
        qty: Qty(50),
        wire_price: 9_950,
        time_in_force: TimeInForce::Gtt,
        display: Display::Attributable,
        cl_ord_id: ClOrdId(*b"again         "),
        options: OrderOptions { post_only: b'N', min_qty: 3, ..OrderOptions::default() },
        max_floor: Some(0),
        random_reserves: None,
        expire: Nanos(1_001_000_000),
        fault: None,
    };
    assert_eq!(replaced(&message), expected);
    let (above_32, unchanged) = (U64::new(1 << 32), U32::new(native::UNCHANGED));
    let wide = |max_floor, random_reserves| native::ReplaceOrder {
        quantity: above_32,
        max_floor: U32::new(max_floor),
        random_reserves: U32::new(random_reserves),
        ..message
    };
    let cases = [
        (native::ReplaceOrder { time_in_force: b'g', ..message }, None),
        (native::ReplaceOrder { time_in_force: b'x', ..message }, Some(Reject::Other)),
        (native::ReplaceOrder { display: b'Z', ..message }, Some(Reject::Display)),
        (native::ReplaceOrder { post_only: b'Y', ..message }, Some(Reject::Other)),
        (native::ReplaceOrder { quantity: above_32, ..message }, Some(Reject::Quantity)),
        (
            native::ReplaceOrder { quantity: above_32, max_floor: unchanged, ..message },
            Some(Reject::Quantity),
        ),
        (native::ReplaceOrder { quantity: above_32, max_floor: U32::new(1), ..message }, None),
        (native::ReplaceOrder { quantity: above_32, display: b'N', ..message }, None),
        (native::ReplaceOrder { quantity: above_32, time_in_force: b'f', ..message }, None),
        // The original's RandomReserves, which are not known here, are below the new MaxFloor.
        (wide(1 << 31, native::UNCHANGED), None),
        (wide((1 << 31) + 1, native::UNCHANGED), Some(Reject::Quantity)),
        (wide(u32::MAX - 9, 9), None),
        (wide(u32::MAX - 9, 10), Some(Reject::Quantity)),
        (native::ReplaceOrder { price: U64::new(u64::from(u32::MAX) - 1), ..message }, None),
        (native::ReplaceOrder { price: U64::new(u32::MAX.into()), ..message }, Some(Reject::Price)),
        (native::ReplaceOrder { price: above_32, time_in_force: b'f', ..message }, Some(Reject::Price)),
    ];
    for (message, fault) in cases {
        assert_eq!(replaced(&message).fault, fault, "{message:?}");
    }
}

fn entry(symbol: &[u8; 8], bid: (u64, i64), ask: (u64, i64)) -> QuoteEntry {
    QuoteEntry {
        symbol: *symbol,
        bid_quantity: U64::new(bid.0),
        bid_price: I64::new(bid.1),
        ask_quantity: U64::new(ask.0),
        ask_price: I64::new(ask.1),
    }
}

/// The bytes of a mass quote, made without the codec so that it can be wrong.
fn mass_quote(first: u32, entries: &[QuoteEntry]) -> Vec<u8> {
    let block = native::MassQuote { user_ref_num: U32::new(first), user_ref_idx: 2, capacity: b'P' };
    let mut bytes = encode(&block);
    bytes.extend(40_u16.to_le_bytes());
    bytes.extend((entries.len() as u16).to_le_bytes());
    for entry in entries {
        bytes.extend(ironbell_wire::IntoBytes::as_bytes(entry));
    }
    bytes
}

fn quote(number: u32, instrument: u32, bid: (u64, i64), ask: (u64, i64)) -> Quote {
    let side = |(qty, price)| QuoteSide { qty: Qty(qty), price: Price(price) };
    Quote {
        port: PortId(1),
        user_ref_idx: UserRefIdx(2),
        user_ref_num: UserRefNum(number),
        instrument: InstrumentId(instrument),
        bid: side(bid),
        ask: side(ask),
        capacity: Capacity::Principal,
        fault: None,
    }
}

#[test]
fn a_mass_quote_is_a_quote_of_each_entry_in_order() {
    let wide = (1 << 32, 1);
    let bytes = mass_quote(
        11,
        &[
            entry(b"IRON    ", (100, 99), (200, 101)),
            entry(b"RUST    ", (1, 1), (1, 2)),
            entry(b"BELLUSD ", (0, 0), (0, 0)),
            entry(b"IRON    ", (1_000_000, 99), (1, 101)),
            entry(b"BELLUSD ", (1, 1), wide),
            entry(b"BELLUSD ", (1, 1), (1, 1 << 32)),
            // What a side without quantity may not be is core's to say.
            entry(b"BELLUSD ", (0, 5), (1, 2)),
        ],
    );
    let faulty = |number, fault| {
        let (none, fault) = (QuoteSide::default(), Some(fault));
        let quote = quote(number, 0, (0, 0), (0, 0));
        Command::Quote(Quote { capacity: Capacity::Other, bid: none, ask: none, fault, ..quote })
    };
    let expected = [
        Command::Quote(quote(11, 1, (100, 99), (200, 101))),
        faulty(13, Reject::Symbol),
        Command::Quote(quote(15, 2, (0, 0), (0, 0))),
        faulty(17, Reject::Quantity),
        faulty(19, Reject::Quantity),
        faulty(21, Reject::Price),
        Command::Quote(quote(23, 2, (0, 5), (1, 2))),
    ];
    assert_eq!(all(&bytes).as_deref(), Ok(&expected[..]));
    let mut capacity = bytes.clone();
    capacity[native::HEADER_LEN + 5] = b'Z';
    let commands = all(&capacity).expect("they are quotes");
    assert_eq!((commands.len(), commands[0]), (7, faulty(11, Reject::Other)));
}

#[test]
fn a_mass_quote_that_cannot_be_split_up_is_one_faulty_quote() {
    let entries = [entry(b"IRON    ", (100, 99), (200, 101)); 65];
    assert_eq!(all(&mass_quote(1, &entries[..64])).map(|all| all.len()), Ok(COMMANDS_MAX));
    let last = u32::MAX - 3;
    assert_eq!(all(&mass_quote(last, &entries[..2])).map(|all| all.len()), Ok(2));
    let damaged = |at: usize, byte| {
        let mut bytes = mass_quote(1, &entries[..2]);
        bytes[at] = byte;
        bytes
    };
    for (first, bytes) in [
        (1, mass_quote(1, &[])),
        (1, mass_quote(1, &entries)),
        (last + 1, mass_quote(last + 1, &entries[..2])),
        (u32::MAX, mass_quote(u32::MAX, &entries[..1])),
        // Another length of entries, fewer of them, more of them, none of the group.
        (1, damaged(14, 39)),
        (1, damaged(16, 1)),
        (1, damaged(16, 3)),
        (1, mass_quote(1, &entries)[..14].to_vec()),
    ] {
        let commands = all(&bytes).expect("its number is known");
        let [Command::Quote(quote)] = commands[..] else { panic!("{commands:?}") };
        assert_eq!((quote.user_ref_num.0, quote.user_ref_idx.0), (first, 2));
        assert_eq!((quote.fault, quote.instrument), (Some(Reject::Other), InstrumentId::NONE));
    }
}

#[test]
fn requests_without_a_number_are_commands_or_explained() {
    let state = native::OrderStateRequest { user_ref_num: U32::new(9), user_ref_idx: 4 };
    let query = OrderStateQuery { port: PortId(1), user_ref_idx: UserRefIdx(4), user_ref_num: UserRefNum(9) };
    assert_eq!(all(&encode(&state)).as_deref(), Ok(&[Command::OrderStateQuery(query)][..]));
    let timer = native::DeadMan { timeout: U64::new(u64::MAX) };
    let dead_man = DeadMan { port: PortId(1), timeout_ns: u64::MAX };
    assert_eq!(all(&encode(&timer)).as_deref(), Ok(&[Command::DeadMan(dead_man)][..]));
    for bytes in [encode(&state), encode(&timer)] {
        let Err(NotTaken::Malformed(e)) = all(&[&bytes[..], b"!"].concat()) else { panic!("a byte follows") };
        assert_eq!(e.problem, Problem::TrailingBytes { actual: 1 });
        assert!(matches!(all(&bytes[..bytes.len() - 1]), Err(NotTaken::Malformed(_))));
    }
    // An order whose block is cut off has no number that can be trusted.
    assert!(matches!(all(&encode(&new_order())[..107]), Err(NotTaken::Malformed(_))));
}

fn any_order() -> impl Strategy<Value = native::NewOrder> {
    let pick = |codes: &'static [u8]| prop::sample::select(codes);
    let first = (pick(b"BSTE"), pick(b"036fgoc"), pick(b"YAN"), pick(b"APRO"), pick(b"URN"), pick(b"UPN"));
    let second = (pick(b"LM"), pick(b"LRPM"), pick(b"*NYOWD"), any::<u16>(), 0_u8..3, any::<u32>());
    let price = || 0..i64::from(u32::MAX);
    let numbers = (any::<u64>(), price(), price(), price(), any::<i32>());
    let others = prop::collection::vec(any::<u32>(), 6);
    (first, second, numbers, others, any::<bool>()).prop_map(
        |(first, second, numbers, others, is_grouped)| {
            let (side, time_in_force, display, capacity, customer_type, post_only) = first;
            let (order_type, peg, stp, group_id, user_ref_idx, user_ref_num) = second;
            let (quantity, price, stop_price, discretion_price, peg_offset) = numbers;
            native::NewOrder {
                user_ref_num: U32::new(user_ref_num),
                user_ref_idx,
                side,
                time_in_force,
                display,
                symbol: *b"BELLUSD ",
                quantity: U64::new(if display == b'N' { quantity.max(1) } else { quantity % 1000 + 1 }),
                price: I64::new(if order_type == b'M' { 0 } else { price }),
                stop_price: I64::new(stop_price),
                discretion_price: I64::new(discretion_price),
                trail: U32::new(others[0]),
                max_floor: U32::new(others[1]),
                random_reserves: U32::new(others[2]),
                peg_offset: I32::new(peg_offset),
                min_qty: U32::new(others[3]),
                expire_time: U32::new(others[4]),
                oco_user_ref_num: U32::new(others[5]),
                group_id: U16::new(group_id),
                stp_group: if is_grouped { *b"7Z" } else { [0; 2] },
                order_type,
                peg,
                stp,
                post_only,
                capacity,
                customer_type,
                cl_ord_id: *b"mine          ",
            }
        },
    )
}

proptest! {
    /// An order comes through as it was meant, and what its acceptance says back is what it said.
    #[test]
    fn orders_make_the_round_trip(message in any_order()) {
        let order = entered(&message);
        prop_assert_eq!(order.fault, None);
        prop_assert_eq!((peg_code(order.terms.peg), stp_code(order.terms.stp)), (message.peg, message.stp));
        let accepted = Accepted {
            key: order.key(),
            order_ref: OrderRef(77),
            firm: FirmId(1),
            instrument: order.instrument,
            side: order.side,
            qty: order.qty,
            price: order.price,
            time_in_force: order.time_in_force,
            display: order.display,
            capacity: order.capacity,
            cl_ord_id: order.cl_ord_id,
            options: order.options,
            booked: false,
            shown_qty: Qty(0),
        };
        let mut told = Vec::new();
        let mut teller = Teller::default();
        let terms = EventBody::Terms { key: order.key(), order_ref: OrderRef(77), terms: order.terms };
        for body in [terms, EventBody::Accepted(accepted)] {
            let tell = &mut |port, bytes: &[u8]| told.push((port, bytes.to_vec()));
            teller.messages(&event(5, body), &directory(), tell);
        }
        prop_assert!(told.iter().all(|(port, _)| *port == PortId(1)));
        prop_assert!(matches!(ouch::Outbound::parse(&told[0].1), Ok(ouch::Outbound::OrderAccepted(..))));
        let is_said = order.terms.stop == Price(0) && order.terms.trail == 0 && order.terms.oco.0 == 0
            && order.time_in_force != TimeInForce::Gtc && order.qty.0 <= u64::from(u32::MAX)
            && order.price.0 != 0x7fff_ffff;
        prop_assert_eq!(told.len(), if is_said { 1 } else { 2 });
        if let Some((_, bytes)) = told.get(1) {
            let Ok(Told::AcceptedTerms(said)) = Told::parse(bytes) else { panic!("{bytes:?}") };
            let again = native::NewOrder {
                user_ref_num: said.user_ref_num,
                user_ref_idx: said.user_ref_idx,
                side: said.side,
                time_in_force: said.time_in_force,
                display: said.display,
                symbol: said.symbol,
                quantity: said.quantity,
                price: said.price,
                stop_price: said.stop_price,
                discretion_price: said.discretion_price,
                trail: said.trail,
                max_floor: said.max_floor,
                random_reserves: said.random_reserves,
                peg_offset: said.peg_offset,
                min_qty: said.min_qty,
                expire_time: said.expire_time,
                oco_user_ref_num: said.oco_user_ref_num,
                group_id: said.group_id,
                stp_group: said.stp_group,
                order_type: said.order_type,
                peg: said.peg,
                stp: said.stp,
                post_only: said.post_only,
                capacity: said.capacity,
                customer_type: said.customer_type,
                cl_ord_id: said.cl_ord_id,
            };
            prop_assert_eq!(again, message);
            prop_assert_eq!((said.timestamp.get(), said.order_reference.get()), (5, 77));
        }
    }

    /// No bytes make it panic, and no message becomes more commands than there is room for.
    #[test]
    fn any_bytes_are_commands_or_not(
        template in prop::sample::select([1_u16, 2, 3, 4, 5, 6, 101].as_slice()),
        length in prop::sample::select([100_u16, 6, 5, 8, 58].as_slice()),
        rest in prop::collection::vec(prop_oneof![Just(0_u8), Just(40), Just(1), any::<u8>()], 0..300),
    ) {
        let header = [length, template, native::SCHEMA_ID, 0].map(u16::to_le_bytes).concat();
        let bytes = [&header[..], &rest].concat();
        if let Ok(commands) = all(&bytes) {
            prop_assert!((1..=COMMANDS_MAX).contains(&commands.len()));
        }
    }
}

#[test]
fn the_day_is_what_expire_times_count_from() {
    let message = native::NewOrder { time_in_force: b'6', expire_time: U32::new(86_400), ..new_order() };
    assert_eq!(entered(&message).terms.expire, Nanos(DAY.midnight.0 + 86_400_000_000_000));
}
