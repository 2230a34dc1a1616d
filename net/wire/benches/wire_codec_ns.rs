//! `cargo bench -p ironbell-wire`: nanoseconds to decode and to encode one message, of the median run of 21.
//!
//! Each run works through 4,096 different messages in turn, so that no branch is learnt by heart and the
//! working set still lies in the caches, as a gateway's does.

use std::hint::black_box;
use std::time::Instant;

use ironbell_wire::native::{self, Block};
use ironbell_wire::ouch::{self, Inbound, OptionValue, OptionsBuf, OuchMessage, Outbound};
use ironbell_wire::{IntoBytes, Type, U16, U32, U48, U64, itch, mold, soup};

const MESSAGES: usize = 4_096;
const RUNS: usize = 21;
const ROUNDS: usize = 64;

/// Prints what one call of `work` costs, given the numbers 0 to 4,095 in turn.
fn measure(name: &str, mut work: impl FnMut(usize) -> u64) {
    let mut runs: Vec<f64> = (0..=RUNS)
        .map(|_| {
            let started = Instant::now();
            for _ in 0..ROUNDS {
                for index in 0..MESSAGES {
                    black_box(work(black_box(index)));
                }
            }
            started.elapsed().as_nanos() as f64 / (ROUNDS * MESSAGES) as f64
        })
        // The first run warms up.
        .skip(1)
        .collect();
    runs.sort_by(f64::total_cmp);
    println!("{name:<44} {:>7.1} ns  (min {:.1}, max {:.1})", runs[RUNS / 2], runs[0], runs[RUNS - 1]);
}

fn enter_order(n: usize) -> ouch::EnterOrder {
    ouch::EnterOrder {
        message_type: Type::new(),
        user_ref_num: U32::new(n as u32),
        side: if n.is_multiple_of(3) { b'B' } else { b'S' },
        quantity: U32::new(100 + n as u32),
        symbol: *b"XYZ     ",
        price: U64::new(1_000_000 + n as u64),
        time_in_force: b'0',
        display: b'Y',
        capacity: b'P',
        inter_market_sweep: b'N',
        cross_type: b'N',
        cl_ord_id: *b"CLORD000000001",
    }
}

fn order_executed(n: usize) -> ouch::OrderExecuted {
    ouch::OrderExecuted {
        message_type: Type::new(),
        timestamp: U64::new(34_200_000_000_000 + n as u64),
        user_ref_num: U32::new(n as u32),
        quantity: U32::new(100),
        price: U64::new(1_000_000),
        liquidity_flag: b'A',
        match_number: U64::new(n as u64),
    }
}

fn new_order(n: usize) -> native::NewOrder {
    native::NewOrder {
        user_ref_num: native::U32::new(n as u32),
        user_ref_idx: 0,
        side: b'S',
        time_in_force: b'g',
        display: b'Y',
        symbol: *b"XYZ     ",
        quantity: native::U64::new(100),
        price: native::I64::new(10_000 + n as i64),
        stop_price: native::I64::new(9_900),
        discretion_price: native::I64::new(0),
        trail: native::U32::new(0),
        max_floor: native::U32::new(0),
        random_reserves: native::U32::new(0),
        peg_offset: native::I32::new(0),
        min_qty: native::U32::new(0),
        expire_time: native::U32::new(0),
        oco_user_ref_num: native::U32::new(0),
        group_id: native::U16::new(native::NO_GROUP),
        stp_group: [0; 2],
        order_type: b'L',
        peg: b'L',
        stp: b'*',
        post_only: b'U',
        capacity: b'P',
        customer_type: b'U',
        cl_ord_id: *b"an order      ",
    }
}

fn add_order(n: usize) -> itch::AddOrder {
    itch::AddOrder {
        message_type: Type::new(),
        stock_locate: U16::new(1 + n as u16 % 8),
        tracking_number: U16::new(0),
        timestamp: U48::new(34_200_000_000_000 + n as u64),
        order_reference: U64::new(n as u64),
        buy_sell: b'B',
        shares: U32::new(100),
        stock: *b"XYZ     ",
        price: U32::new(1_000_000 + n as u32),
    }
}

/// Encodes 4,096 messages.
fn encoded(encode: impl Fn(usize, &mut [u8]) -> usize) -> Vec<Vec<u8>> {
    let mut out = [0; ouch::MESSAGE_LEN_MAX];
    let mut message = |n| {
        let len = encode(n, &mut out);
        out[..len].to_vec()
    };
    (0..MESSAGES).map(&mut message).collect()
}

fn ouch_inbound() {
    let put = |options: &OptionsBuf, n: usize, out: &mut [u8]| {
        enter_order(n).encode(options, out).expect("the buffer holds the longest message")
    };
    let mut two = OptionsBuf::new();
    two.push(OptionValue::Firm(*b"FIRM")).push(OptionValue::UserRefIdx(1));
    for (name, options) in [("no option", OptionsBuf::EMPTY), ("two options", two)] {
        let messages = encoded(|n, out| put(&options, n, out));
        measure(&format!("decode OUCH Enter Order, {name}"), |n| match Inbound::parse(&messages[n]) {
            Ok(Inbound::EnterOrder(order, options)) => {
                order.price.get()
                    + u64::from(order.quantity.get())
                    + u64::from(options.user_ref_idx().unwrap_or(0))
            }
            other => panic!("{other:?}"),
        });
        let mut out = [0; ouch::MESSAGE_LEN_MAX];
        measure(&format!("encode OUCH Enter Order, {name}"), |n| put(&options, n, &mut out) as u64);
    }
}

fn native_inbound() {
    let put = |n: usize, out: &mut [u8]| new_order(n).encode(out).expect("the buffer holds a new order");
    let messages = encoded(put);
    measure("decode native New Order", |n| match native::Inbound::parse(&messages[n]) {
        Ok(native::Inbound::NewOrder(order)) => order.price.get() as u64 + order.quantity.get(),
        other => panic!("{other:?}"),
    });
    let mut out = [0; ouch::MESSAGE_LEN_MAX];
    measure("encode native New Order", |n| put(n, &mut out) as u64);
}

fn ouch_outbound() {
    let put = |n: usize, out: &mut [u8]| {
        order_executed(n).encode(&OptionsBuf::EMPTY, out).expect("the buffer holds the longest message")
    };
    let messages = encoded(put);
    measure("decode OUCH Order Executed", |n| match Outbound::parse(&messages[n]) {
        Ok(Outbound::OrderExecuted(executed, _)) => executed.price.get() + executed.match_number.get(),
        other => panic!("{other:?}"),
    });
    let mut out = [0; ouch::MESSAGE_LEN_MAX];
    measure("encode OUCH Order Executed", |n| put(n, &mut out) as u64);
}

fn feed() {
    let messages: Vec<_> = (0..MESSAGES).map(|n| add_order(n).as_bytes().to_vec()).collect();
    measure("decode ITCH Add Order", |n| match itch::Message::parse(&messages[n]) {
        Ok(itch::Message::AddOrder(order)) => order.order_reference.get() + u64::from(order.price.get()),
        other => panic!("{other:?}"),
    });
    let mut packet = [0; 1_472];
    measure("encode 38 ITCH Add Orders in a MoldUDP64 packet", |n| {
        let mut builder = mold::PacketBuilder::new(&mut packet, *b"0020260302", n as u64);
        while builder.push(add_order(n).as_bytes()).is_ok() {}
        builder.finish() as u64
    });
    measure("decode 38 ITCH Add Orders in a MoldUDP64 packet", |n| {
        let packet = mold::Packet::parse(&packet[..20 + 38 * 38]).expect("it is whole");
        let shares = packet.messages().map(|(_, message)| match itch::Message::parse(message) {
            Ok(itch::Message::AddOrder(order)) => u64::from(order.shares.get()),
            other => panic!("{other:?}"),
        });
        shares.sum::<u64>() + n as u64
    });
}

fn session() {
    let stream: Vec<u8> = (0..MESSAGES)
        .flat_map(|n| {
            let (mut message, mut packet) = ([0; ouch::MESSAGE_LEN_MAX], [0; 256]);
            let len = enter_order(n).encode(&OptionsBuf::EMPTY, &mut message).expect("it fits");
            let len = soup::put_unsequenced(&message[..len], &mut packet).expect("it fits");
            packet[..len].to_vec()
        })
        .collect();
    let packet_len = stream.len() / MESSAGES;
    measure("split SoupBinTCP and decode OUCH Enter Order", |n| {
        let packet = soup::split(&stream[n * packet_len..], 1_024);
        let Ok(Some((soup::Packet::UnsequencedData(message), len))) = packet else { panic!("{packet:?}") };
        match Inbound::parse(message) {
            Ok(Inbound::EnterOrder(order, _)) => order.price.get() + len as u64,
            other => panic!("{other:?}"),
        }
    });
}

fn main() {
    session();
    ouch_inbound();
    native_inbound();
    ouch_outbound();
    feed();
}
