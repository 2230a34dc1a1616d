//! The rules of the crate's README, one by one, on a small venue.

mod venue;

use ironbell_types::{
    AccountId, AdminRefusal, Amount, Command, Control, EventBody, FirmId, Funding, InstrumentId, Login,
    Logout, MassCancel, MassCancelSlice, Nanos, OpenDay, OrderEntrySwitch, OrderKey, OrderOptions, PortId,
    PortLimits, PortRules, Price, Qty, Reject, Seq, Side, TimeInForce, UserRefIdx, UserRefNum,
};
use venue::{
    BOOK, LOT_UNITS, STOCK, TICK_VALUE, USD, Venue, buy, cancel, instrument, modify, order, port, replace,
    sell,
};

fn rich() -> Venue {
    Venue::new(0, 0, 1_000_000_000, 1_000_000)
}

fn with(side: Side, qty: u64, price: i64, change: impl FnOnce(&mut ironbell_types::EnterOrder)) -> Command {
    let mut enter = order(3, 1, side, qty, price);
    change(&mut enter);
    Command::EnterOrder(enter)
}

#[test]
fn best_price_then_oldest_order_trades_first_at_the_resting_price() {
    let mut venue = rich();
    for command in [sell(1, 1, 5, 102), sell(1, 2, 7, 101), sell(2, 1, 3, 101), buy(2, 2, 4, 99)] {
        venue.run(command);
    }
    assert_eq!(venue.draw(), "\n102 | 1.1:5\n101 | 1.2:7 2.1:3\n----\n99 | 2.2:4\n");
    let said = venue.say(buy(3, 1, 12, 102));
    assert_eq!(
        said,
        [
            "accepted 3.1 12@102",
            "trade 7@101 1.2 left 0 with 3.1 left 5",
            "trade 3@101 2.1 left 0 with 3.1 left 2",
            "trade 2@102 1.1 left 3 with 3.1 left 0",
            "settled 3 bought fee 0",
            "settled 1 sold fee 0",
            "settled 3 bought fee 0",
            "settled 2 sold fee 0",
            "settled 3 bought fee 0",
            "settled 1 sold fee 0",
        ]
    );
    assert_eq!(venue.draw(), "\n102 | 1.1:3\n----\n99 | 2.2:4\n");
    let paid = TICK_VALUE * (7 * 101 + 3 * 101 + 2 * 102);
    assert_eq!(venue.balance(3, USD), (1_000_000_000 - paid, 0));
    assert_eq!(venue.balance(3, STOCK), (1_000_000 + 12 * LOT_UNITS, 0));
}

#[test]
fn what_is_left_of_a_day_order_rests_and_of_an_immediate_one_is_cancelled() {
    let mut venue = rich();
    venue.run(sell(1, 1, 5, 101));
    let said = venue.say(buy(2, 1, 8, 101));
    assert_eq!(said[2], "rested 3@101");
    assert_eq!(venue.draw(), "\n----\n101 | 2.1:3\n");
    let said = venue.say(with(Side::Sell, 5, 101, |o| o.time_in_force = TimeInForce::Ioc));
    assert_eq!(said[0], "accepted 3.1 5@101");
    assert_eq!(said[2], "canceled 3.1 2 left 0 I unseen");
    assert_eq!(venue.draw(), "\n----\n");
}

#[test]
fn fill_or_kill_fills_whole_or_not_at_all() {
    let mut venue = rich();
    venue.run(sell(1, 1, 5, 101));
    venue.run(sell(1, 2, 5, 102));
    venue.run(sell(1, 3, 5, 103));
    let kill = |o: &mut ironbell_types::EnterOrder| {
        o.time_in_force = TimeInForce::Ioc;
        o.options.min_qty = o.qty.0 as u32;
    };
    let said = venue.say(with(Side::Buy, 11, 102, kill));
    assert_eq!(said, ["accepted 3.1 11@102", "canceled 3.1 11 left 0 I unseen"]);
    let said = venue.say(with(Side::Buy, 10, 102, |o| {
        o.user_ref_num.0 = 2;
        o.time_in_force = TimeInForce::Fok;
    }));
    assert_eq!(said[2], "trade 5@102 1.2 left 0 with 3.2 left 0");
    assert_eq!(venue.draw(), "\n103 | 1.3:5\n----\n");
}

#[test]
fn a_post_only_order_never_trades() {
    let mut venue = rich();
    venue.run(sell(1, 1, 5, 101));
    let post = |o: &mut ironbell_types::EnterOrder| o.options.post_only = b'P';
    let said = venue.say(with(Side::Buy, 5, 101, post));
    assert_eq!(said, ["accepted 3.1 5@101", "canceled 3.1 5 left 0 G unseen"]);
    let said = venue.say(with(Side::Buy, 5, 100, |o| {
        post(o);
        o.user_ref_num.0 = 2;
    }));
    assert_eq!(said, ["accepted 3.2 5@100 booked"]);
}

/// Each check alone, then all wrong at once in the documented order.
#[test]
fn refusals_come_in_their_order_and_consume_the_number() {
    let mut venue = Venue::new(0, 0, 1_000_000, 0);
    type Change = fn(&mut ironbell_types::EnterOrder);
    let wrongs: [(Change, Reject); 7] = [
        (|o| o.fault = Some(Reject::Routing), Reject::Routing),
        (|o| o.instrument = InstrumentId(2), Reject::Symbol),
        (|o| o.qty = Qty(0), Reject::Quantity),
        (|o| o.price.0 = 0, Reject::Price),
        (|o| o.options.min_qty = 7, Reject::MinQty),
        (|o| o.qty.0 = o.qty.0.max(1_001), Reject::MaxQuantity),
        (|o| o.price.0 = o.price.0.max(1_000_000_000), Reject::OrderNotional),
    ];
    let mut num = 0;
    for first in 0..wrongs.len() {
        for together in [false, true] {
            num += 1;
            let mut enter = order(1, num, Side::Buy, 10, 100);
            let last = if together { wrongs.len() } else { first + 1 };
            // Later wrongs are put in first, so that an earlier one that sets the same field stands.
            for (change, _) in wrongs[first..last].iter().rev() {
                change(&mut enter);
            }
            let said = venue.say(Command::EnterOrder(enter));
            assert_eq!(said, [format!("rejected 1.{num} {:?}", wrongs[first].1)], "{first} {together}");
            assert!(venue.say(Command::EnterOrder(enter)).is_empty(), "a retransmission is dropped");
        }
    }
    num += 1;
    assert_eq!(venue.say(buy(1, num, 101, 100)), [format!("rejected 1.{num} AggregateExposure")]);
    num += 1;
    assert_eq!(venue.say(buy(1, num, 100, 100)), [format!("accepted 1.{num} 100@100 booked")]);
    assert_eq!(venue.balance(1, USD), (1_000_000, 1_000_000));
}

#[test]
fn nothing_trades_before_the_first_day() {
    let mut venue = Venue::unopened(0, 0, 100, 100);
    assert_eq!(venue.say(buy(1, 1, 1, 1)), ["rejected 1.1 Halted"]);
    venue.run(Command::OpenDay(OpenDay { date: 20_261_121, midnight: Nanos(0) }));
    assert_eq!(venue.say(buy(1, 1, 1, 1)), ["accepted 1.1 1@1 booked"]);
}

/// Amounts that outgrow 127 bits are refused, not wrapped: the notional as above any cap, the hold as
/// beyond any funds, although the account has as much as there can be.
#[test]
fn amounts_that_do_not_fit_are_refused() {
    let mut venue = Venue::new(10_000, 0, i128::MAX / 8, 1_000);
    let mut vast = instrument(2, "VAST", 10_000, 0);
    vast.tick_value = u64::MAX;
    venue.run(Command::DefineInstrument(vast));
    let mut unlimited = port(4, 1, 1);
    unlimited.limits.qty_max = Qty(u64::MAX);
    unlimited.limits.notional_max = Amount(i128::MAX);
    venue.run(Command::DefinePort(unlimited));
    let mut enter = |num, qty, price| {
        let mut enter = order(4, num, Side::Buy, qty, price);
        enter.instrument = InstrumentId(2);
        venue.say(Command::EnterOrder(enter))
    };
    assert_eq!(enter(1, u64::MAX, i64::MAX), ["rejected 4.1 OrderNotional"]);
    assert_eq!(enter(2, 1 << 40, 1 << 20), ["rejected 4.2 AggregateExposure"], "the fee does not fit");
    // 2^113 of notional and as much again of fees fit.
    assert_eq!(enter(3, 1 << 40, 1 << 9), ["accepted 4.3 1099511627776@512 booked"]);
    venue.run(Command::DefinePort(port(5, 2, 2)));
    let paid = 512 * i128::from(u64::MAX);
    let mut sell = order(5, 1, Side::Sell, 1, 512);
    sell.instrument = InstrumentId(2);
    assert_eq!(venue.say(Command::EnterOrder(sell)), ["rejected 5.1 OrderNotional"]);
    venue.run(Command::DefinePort(ironbell_types::Port { limits: unlimited.limits, ..port(6, 2, 2) }));
    (sell.port, sell.qty) = (PortId(6), Qty(3));
    let said = venue.say(Command::EnterOrder(sell));
    assert_eq!(said[2..], [format!("settled 1 bought fee {}", 3 * paid), "settled 2 sold fee 0".into()]);
    assert_eq!(venue.balance(1, USD).0, i128::MAX / 8 - 6 * paid);
}

#[test]
fn fees_are_rounded_once_over_the_order_not_once_an_execution() {
    // 30 bps of 100 (one lot at one tick) is 0.3: three executions of it together cost 1, then 4 cost 2.
    let mut venue = Venue::new(30, 0, 1_000_000, 1_000);
    venue.run(buy(1, 1, 4, 1));
    // Notional 400, fee at most ceil(1.2) = 2.
    assert_eq!(venue.balance(1, USD), (1_000_000, 402));
    let mut fees = Vec::new();
    for num in 1..=4 {
        venue.run(sell(2, num, 1, 1));
        let [.., bought, _] = &venue.events[..] else { panic!("no trade") };
        let EventBody::Settled(settled) = bought.body else { panic!("no trade") };
        fees.push(settled.fee.0);
    }
    assert_eq!(fees, [1, 0, 0, 1]);
    assert_eq!(venue.balance(1, USD), (1_000_000 - 402, 0));
    assert_eq!(venue.balance(AccountId::fees(BOOK).0, USD), (2, 0));
}

#[test]
fn price_improvement_is_free_at_once() {
    let mut venue = rich();
    venue.run(sell(1, 1, 5, 90));
    venue.run(buy(2, 1, 8, 100));
    assert_eq!(venue.balance(2, USD), (1_000_000_000 - 5 * 90 * TICK_VALUE, 3 * 100 * TICK_VALUE));
}

#[test]
fn an_account_trades_with_itself() {
    let mut venue = Venue::new(100, 100, 100_000, 1_000);
    venue.run(sell(1, 1, 5, 100));
    venue.run(buy(1, 2, 5, 100));
    assert_eq!(venue.balance(1, USD), (100_000 - 2 * 500, 0));
    assert_eq!(venue.balance(1, STOCK), (1_000, 0));
}

#[test]
fn a_cancel_names_the_new_total_of_the_chain() {
    let mut venue = rich();
    venue.run(buy(1, 1, 10, 100));
    venue.run(buy(2, 1, 10, 100));
    venue.run(sell(3, 1, 4, 100));
    assert!(venue.say(cancel(1, 1, 10)).is_empty(), "as much as it already is");
    assert_eq!(venue.say(cancel(1, 1, 9)), ["canceled 1.1 1 left 5 U"]);
    assert_eq!(venue.draw(), "\n----\n100 | 1.1:5 2.1:10\n");
    assert_eq!(venue.say(cancel(1, 1, 3)), ["canceled 1.1 5 left 0 U"]);
    assert!(venue.say(cancel(1, 1, 0)).is_empty());
    assert!(venue.say(cancel(9, 1, 0)).is_empty());
}

#[test]
fn a_modify_keeps_the_place_and_never_grows() {
    let mut venue = rich();
    venue.run(sell(1, 1, 10, 100));
    venue.run(sell(2, 1, 10, 100));
    assert!(venue.say(modify(1, 1, Side::Sell, 11)).is_empty());
    assert!(venue.say(modify(1, 1, Side::Sell, 10)).is_empty());
    assert!(venue.say(modify(1, 1, Side::Buy, 5)).is_empty());
    assert_eq!(venue.say(modify(1, 1, Side::SellShortExempt, 10)), ["modified 1.1 E off 0 left 10"]);
    assert!(venue.say(modify(1, 1, Side::Sell, 10)).is_empty());
    assert_eq!(venue.say(modify(1, 1, Side::SellShort, 6)), ["modified 1.1 T off 4 left 6"]);
    assert!(venue.say(modify(1, 1, Side::SellShortExempt, 6)).is_empty());
    assert_eq!(venue.draw(), "\n100 | 1.1:6 2.1:10\n----\n");
    assert_eq!(venue.balance(1, STOCK), (1_000_000, 6 * LOT_UNITS));
    assert_eq!(venue.say(modify(1, 1, Side::SellShort, 0)), ["canceled 1.1 6 left 0 U"]);
}

#[test]
fn a_replacement_goes_to_the_back_and_counts_the_chain() {
    let mut venue = rich();
    venue.run(buy(1, 1, 10, 100));
    venue.run(buy(2, 1, 10, 100));
    venue.run(sell(3, 1, 4, 100));
    let said = venue.say(Command::ReplaceOrder(replace(1, 1, 2, 12, 100)));
    assert_eq!(said, ["replaced 1 by 1.2 8@100 booked"]);
    assert_eq!(venue.draw(), "\n----\n100 | 2.1:10 1.2:8\n");
    let open = venue.engine.open_order(key(1, 2)).unwrap();
    assert_eq!((open.executed_qty, open.leaves_qty), (Qty(4), Qty(8)));
    assert!(venue.say(Command::ReplaceOrder(replace(1, 1, 3, 5, 100))).is_empty(), "the original is gone");
    // Number 3 was not consumed; a total that is already executed cancels what is left.
    let said = venue.say(Command::ReplaceOrder(replace(1, 2, 3, 4, 100)));
    assert_eq!(said, ["canceled 1.2 8 left 0 U"]);
    assert_eq!(venue.say(buy(1, 3, 1, 50)), ["accepted 1.3 1@50 booked"]);
}

#[test]
fn a_replacement_may_trade_and_its_rest_is_shown_anew() {
    let mut venue = rich();
    venue.run(sell(1, 1, 5, 101));
    venue.run(buy(2, 1, 5, 100));
    let said = venue.say(Command::ReplaceOrder(replace(2, 1, 2, 9, 101)));
    assert_eq!(
        said[..3],
        ["replaced 1 by 2.2 9@101", "trade 5@101 1.1 left 0 with 2.2 left 4", "rested 4@101"]
    );
    let mut post = replace(1, 0, 3, 4, 101);
    venue.run(sell(1, 2, 4, 105));
    post.orig_user_ref_num = UserRefNum(2);
    post.options.post_only = b'P';
    let said = venue.say(Command::ReplaceOrder(post));
    assert_eq!(said, ["replaced 2 by 1.3 4@101", "canceled 1.3 4 left 0 G unseen"]);
}

#[test]
fn a_refused_replacement_leaves_the_original() {
    let mut venue = Venue::new(0, 0, 100_000, 0);
    venue.run(buy(1, 1, 10, 100));
    assert_eq!(venue.balance(1, USD), (100_000, 100_000));
    for (num, change, reason) in [
        (2, replace(1, 1, 2, 1_001, 1), "MaxQuantity"),
        (3, replace(1, 1, 3, 1_000, 100_000), "OrderNotional"),
        (4, replace(1, 1, 4, 11, 100), "AggregateExposure"),
    ] {
        assert_eq!(venue.say(Command::ReplaceOrder(change)), [format!("rejected 1.{num} {reason}")]);
        assert_eq!(venue.draw(), "\n----\n100 | 1.1:10\n");
    }
    // The original's own hold counts as free.
    let said = venue.say(Command::ReplaceOrder(replace(1, 1, 5, 20, 50)));
    assert_eq!(said, ["replaced 1 by 1.5 20@50 booked"]);
    let mut off_tick = replace(1, 5, 6, 20, 50);
    off_tick.wire_price += 1;
    assert_eq!(venue.say(Command::ReplaceOrder(off_tick)), ["canceled 1.5 20 left 0 U"]);
    assert_eq!(venue.balance(1, USD), (100_000, 0));
}

#[test]
fn absent_options_of_a_replacement_are_the_originals() {
    let mut venue = rich();
    venue.run(with(Side::Sell, 5, 101, |o| {
        o.options =
            OrderOptions { firm: true, customer_type: b'R', post_only: b'P', group: Some(7), min_qty: 0 };
    }));
    let mut given = replace(3, 1, 2, 5, 102);
    given.options.post_only = b'N';
    venue.run(Command::ReplaceOrder(given));
    let EventBody::Replaced(replaced) = venue.events.last().unwrap().body else { panic!("not replaced") };
    let expected =
        OrderOptions { firm: true, customer_type: b'R', post_only: b'N', group: Some(7), min_qty: 0 };
    assert_eq!(replaced.order.options, expected);
}

#[test]
fn a_new_day_starts_numbers_again_but_open_names_stay_taken() {
    let mut venue = rich();
    venue.run(buy(1, 5, 10, 100));
    let query =
        Command::AccountQuery(ironbell_types::AccountQuery { port: PortId(1), user_ref_idx: UserRefIdx(0) });
    assert_eq!(venue.say(query), ["next 6"]);
    let day = |date| Command::OpenDay(OpenDay { date, midnight: Nanos(0) });
    assert_eq!(venue.say(day(20_261_121)), ["refused Day"]);
    venue.run(day(20_261_122));
    assert_eq!(venue.say(query), ["next 1"]);
    assert_eq!(venue.say(buy(1, 2, 1, 99)), ["accepted 1.2 1@99 booked"]);
    assert!(venue.say(buy(1, 5, 1, 98)).is_empty(), "5 still names yesterday's order");
    assert_eq!(venue.say(cancel(1, 5, 0)), ["canceled 1.5 10 left 0 U"]);
    assert_eq!(venue.say(buy(1, 5, 1, 98)), ["accepted 1.5 1@98 booked"]);
}

#[test]
fn channels_of_a_port_count_apart() {
    let mut venue = rich();
    let on = |idx, num| {
        let mut enter = order(1, num, Side::Buy, 1, 10);
        enter.user_ref_idx = UserRefIdx(idx);
        Command::EnterOrder(enter)
    };
    for idx in [0, 1, 255] {
        assert_eq!(venue.run(on(idx, 3)).len(), 1);
        assert!(venue.run(on(idx, 3)).is_empty());
        assert!(venue.run(on(idx, 2)).is_empty());
        assert_eq!(venue.run(on(idx, 4)).len(), 1);
    }
}

fn mass_cancel(port: u32, num: u32) -> MassCancel {
    MassCancel {
        port: PortId(port),
        user_ref_idx: UserRefIdx(0),
        user_ref_num: UserRefNum(num),
        firm: FirmId(port),
        instrument: InstrumentId::NONE,
        group: None,
        side: None,
        fault: None,
    }
}

#[test]
fn a_mass_cancel_takes_off_the_firms_older_orders_slice_by_slice() {
    let mut venue = Venue::new(0, 0, 1_000_000_000, 1_000_000);
    venue.run(Command::DefineInstrument(instrument(2, "OTHER", 0, 0)));
    venue.run(Command::DefinePort(port(4, 1, 1)));
    for num in 1..=1_000 {
        venue.run(buy(1, num, 1, 100 + i64::from(num % 7)));
        venue.run(buy(4, num, 1, 100 + i64::from(num % 5)));
    }
    venue.run(buy(2, 1, 1, 100));
    let on_other = |num| {
        let mut enter = order(1, num, Side::Sell, 1, 500);
        enter.instrument = InstrumentId(2);
        Command::EnterOrder(enter)
    };
    venue.run(on_other(1_001));
    let said = venue.say(Command::MassCancel(mass_cancel(1, 1_002)));
    let cause = venue.engine.last_seq();
    assert_eq!(said, ["mass cancel accepted".to_string(), format!("asked {cause} slice 0")]);
    venue.run(buy(1, 1_003, 1, 90));

    let slice = |slice| Command::MassCancelSlice(MassCancelSlice { cause, slice });
    assert!(venue.say(slice(1)).is_empty(), "not the one due");
    let mut canceled = Vec::new();
    for due in 0..3 {
        assert_eq!(venue.engine.pending_asks().collect::<Vec<_>>(), [slice(due)]);
        let said = venue.say(slice(due));
        canceled.push(said.iter().filter(|line| line.ends_with("left 0 S")).count());
        let next = (due < 2).then(|| format!("asked {cause} slice {}", due + 1));
        assert_eq!(said.last().filter(|line| line.starts_with("asked")).cloned(), next);
        assert!(venue.say(slice(due)).is_empty(), "done before");
    }
    assert_eq!(canceled, [1_024, 976, 1]);
    assert_eq!(venue.engine.pending_asks().count(), 0);
    assert_eq!(venue.draw(), "\n----\n100 | 2.1:1\n90 | 1.1003:1\n");
}

#[test]
fn a_mass_cancel_minds_group_and_side() {
    let orders: [(u32, Side, Option<u16>); 6] = [
        (1, Side::Buy, None),
        (2, Side::Buy, Some(0)),
        (3, Side::Buy, Some(7)),
        (4, Side::Sell, Some(7)),
        (5, Side::SellShort, None),
        (6, Side::SellShortExempt, Some(8)),
    ];
    for (group, side, left) in [
        (None, None, vec![]),
        (Some(0), None, vec![3, 4, 6]),
        (Some(7), None, vec![1, 2, 5, 6]),
        (None, Some(Side::Buy), vec![4, 5, 6]),
        (None, Some(Side::SellShort), vec![1, 2, 3, 4, 6]),
        (Some(7), Some(Side::Sell), vec![1, 2, 3, 5, 6]),
    ] {
        let mut venue = rich();
        for (num, side, group) in orders {
            let mut enter = order(1, num, side, 1, if side.is_buy() { 100 } else { 101 });
            enter.options.group = group;
            venue.run(Command::EnterOrder(enter));
        }
        venue.run(Command::MassCancel(MassCancel { group, side, ..mass_cancel(1, 7) }));
        let ask = venue.engine.pending_asks().next().unwrap();
        venue.run(ask);
        let mut open: Vec<_> = venue.engine.book(BOOK).map(|order| order.key.num().0).collect();
        open.sort_unstable();
        assert_eq!(open, left, "{group:?} {side:?}");
    }
}

#[test]
fn a_mass_cancel_is_refused_for_another_firm_or_an_unknown_symbol() {
    let mut venue = rich();
    let asked = MassCancel { firm: FirmId(2), instrument: InstrumentId(9), ..mass_cancel(1, 1) };
    assert_eq!(venue.say(Command::MassCancel(asked)), ["rejected 1.1 FirmNotAuthorized"]);
    let asked = MassCancel { instrument: InstrumentId(9), ..mass_cancel(1, 2) };
    assert_eq!(venue.say(Command::MassCancel(asked)), ["rejected 1.2 Symbol"]);
    let asked = MassCancel { fault: Some(Reject::Other), firm: FirmId(2), ..mass_cancel(1, 3) };
    assert_eq!(venue.say(Command::MassCancel(asked)), ["rejected 1.3 Other"]);
    assert!(venue.say(Command::MassCancel(asked)).is_empty());
}

fn switch(port: u32, num: u32) -> OrderEntrySwitch {
    OrderEntrySwitch {
        port: PortId(port),
        user_ref_idx: UserRefIdx(0),
        user_ref_num: UserRefNum(num),
        firm: FirmId(port),
        fault: None,
    }
}

#[test]
fn a_disabled_firm_can_only_reduce_on_every_port_of_it() {
    let mut venue = rich();
    venue.run(Command::DefinePort(port(4, 1, 1)));
    for command in [buy(1, 1, 5, 100), buy(4, 1, 6, 100), buy(4, 2, 7, 99), buy(2, 1, 8, 98)] {
        venue.run(command);
    }
    assert_eq!(venue.say(Command::DisableOrderEntry(switch(1, 2))), ["order entry disabled"]);
    assert_eq!(venue.draw(), "\n----\n100 | 1.1:5 4.1:6\n99 | 4.2:7\n98 | 2.1:8\n", "it cancels nothing");
    assert_eq!(venue.engine.order_entry_disabled(FirmId(1)), Some(true));
    assert_eq!(venue.engine.order_entry_disabled(FirmId(2)), Some(false));
    assert_eq!(venue.engine.order_entry_disabled(FirmId(9)), None);

    let held = venue.balance(1, USD);
    assert_eq!(venue.say(sell(1, 3, 1, 200)), ["rejected 1.3 FirmNotAuthorized"]);
    assert_eq!(venue.say(buy(4, 3, 1, 1)), ["rejected 4.3 FirmNotAuthorized"]);
    let again = Command::ReplaceOrder(replace(4, 1, 4, 3, 100));
    assert_eq!(venue.say(again), ["rejected 4.4 FirmNotAuthorized"]);
    assert!(venue.say(again).is_empty(), "the number is consumed");
    assert!(venue.say(Command::ReplaceOrder(replace(4, 77, 5, 3, 100))).is_empty(), "no such original");
    assert_eq!(venue.balance(1, USD), held, "nothing was touched");
    // Number 5 was not consumed by the ignored replacement.
    assert_eq!(venue.say(buy(4, 5, 1, 1)), ["rejected 4.5 FirmNotAuthorized"]);

    assert_eq!(venue.say(cancel(4, 1, 2)), ["canceled 4.1 4 left 2 U"]);
    assert_eq!(venue.say(modify(1, 1, Side::Buy, 3)), ["modified 1.1 B off 2 left 3"]);
    assert_eq!(venue.say(sell(2, 2, 1, 100)).len(), 4, "what rests still trades");
    assert_eq!(venue.say(Command::MassCancel(mass_cancel(1, 4)))[0], "mass cancel accepted");
    let slice = venue.engine.pending_asks().next().unwrap();
    venue.run(slice);
    assert_eq!(venue.draw(), "\n----\n98 | 2.1:8\n");

    // Any port of the firm lifts it.
    let enable = OrderEntrySwitch { firm: FirmId(1), ..switch(4, 6) };
    assert_eq!(venue.say(Command::EnableOrderEntry(enable)), ["order entry enabled"]);
    assert_eq!(venue.say(buy(1, 5, 1, 50)), ["accepted 1.5 1@50 booked"]);
    assert_eq!(venue.say(Command::ReplaceOrder(replace(1, 5, 6, 2, 50))), ["replaced 5 by 1.6 2@50 booked"]);
}

#[test]
fn order_entry_switches_are_numbered_checked_and_repeatable() {
    let mut venue = Venue::unopened(0, 0, 1_000_000, 1_000);
    let (disable, enable) = (Command::DisableOrderEntry, Command::EnableOrderEntry);
    let foreign = OrderEntrySwitch { firm: FirmId(2), ..switch(1, 1) };
    assert_eq!(venue.say(disable(foreign)), ["rejected 1.1 FirmNotAuthorized"]);
    let unknown = OrderEntrySwitch { firm: FirmId(0), ..switch(1, 2) };
    assert_eq!(venue.say(enable(unknown)), ["rejected 1.2 FirmNotAuthorized"]);
    let faulty = OrderEntrySwitch { fault: Some(Reject::Other), ..switch(1, 3) };
    assert_eq!(venue.say(disable(OrderEntrySwitch { firm: FirmId(2), ..faulty })), ["rejected 1.3 Other"]);
    assert_eq!(venue.engine.order_entry_disabled(FirmId(1)), Some(false));
    assert_eq!(venue.engine.order_entry_disabled(FirmId(2)), Some(false));
    for num in [4, 5] {
        assert_eq!(venue.say(disable(switch(1, num))), ["order entry disabled"]);
        assert!(venue.say(disable(switch(1, num))).is_empty(), "a retransmission");
        assert!(venue.say(enable(switch(1, num))).is_empty(), "a number is used once, whatever for");
    }
    // The check stands behind the fault and before the symbol.
    let mut enter = order(1, 6, Side::Buy, 0, 0);
    enter.instrument = InstrumentId(9);
    assert_eq!(venue.say(Command::EnterOrder(enter)), ["rejected 1.6 FirmNotAuthorized"]);
    (enter.user_ref_num, enter.fault) = (UserRefNum(7), Some(Reject::Price));
    assert_eq!(venue.say(Command::EnterOrder(enter)), ["rejected 1.7 Price"]);
    for num in [8, 9] {
        assert_eq!(venue.say(enable(switch(1, num))), ["order entry enabled"]);
    }
    assert_eq!(venue.say(buy(1, 10, 1, 1)), ["rejected 1.10 Halted"]);
    assert!(venue.say(disable(switch(99, 1))).is_empty(), "no such port");
}

#[test]
fn a_disabled_firm_stays_so_over_a_replay_and_a_new_day() {
    let mut venue = rich();
    venue.run(buy(1, 1, 5, 100));
    venue.run(Command::DisableOrderEntry(switch(1, 2)));
    venue.run(Command::OpenDay(OpenDay { date: 20_261_122, midnight: Nanos(0) }));
    let mut restarted = rich();
    for sequenced in &venue.journal[restarted.journal.len()..] {
        restarted.run(sequenced.command);
    }
    assert_eq!(restarted.engine.state_hash(), venue.engine.state_hash());
    for mut venue in [venue, restarted] {
        assert_eq!(venue.engine.order_entry_disabled(FirmId(1)), Some(true));
        assert_eq!(venue.say(buy(1, 2, 1, 1)), ["rejected 1.2 FirmNotAuthorized"]);
        assert_eq!(venue.say(Command::EnableOrderEntry(switch(1, 3))), ["order entry enabled"]);
        assert_eq!(venue.say(buy(1, 4, 1, 1)), ["accepted 1.4 1@1 booked"]);
    }
}

#[test]
fn funding_is_done_once_and_never_overdrawn() {
    let mut venue = Venue::new(0, 0, 1_000, 1_000);
    let fund =
        |id, amount| Command::Fund(Funding { id, account: AccountId(1), asset: USD, amount: Amount(amount) });
    venue.run(buy(1, 1, 4, 1));
    assert_eq!(venue.say(fund(100, -601)), ["refused Funds"]);
    assert_eq!(venue.say(fund(100, i128::MIN)), ["refused Range"]);
    assert_eq!(venue.run(fund(100, -600)).len(), 1);
    assert_eq!(venue.say(fund(100, 5)), ["refused Repeated"]);
    assert_eq!(venue.say(fund(101, 0)), ["refused Range"]);
    assert_eq!(venue.say(fund(101, i128::MAX)), ["refused Range"]);
    // The three accounts have 2,400 together; the outside world gives 2^126 and no more.
    let rest = (1 << 126) - 2_400;
    assert_eq!(venue.say(fund(101, rest + 1)), ["refused Range"]);
    assert_eq!(venue.run(fund(101, rest)).len(), 1);
    assert_eq!(venue.balance(0, USD).0, -(1 << 126));
    let stranger = Funding { id: 102, account: AccountId(77), asset: USD, amount: Amount(1) };
    assert_eq!(venue.say(Command::Fund(stranger)), ["refused Unknown"]);
}

#[test]
fn definitions_are_refused_in_the_order_of_their_codes() {
    let mut venue = rich();
    let refused = |venue: &mut Venue, command, refusal: AdminRefusal| {
        assert_eq!(venue.say(command), [format!("refused {refusal:?}")]);
    };
    let mut wrong = instrument(9, "STOCK", 10_001, 0);
    wrong.base = ironbell_types::AssetId(9);
    refused(&mut venue, Command::DefineInstrument(wrong), AdminRefusal::Id);
    wrong.id = InstrumentId(2);
    refused(&mut venue, Command::DefineInstrument(wrong), AdminRefusal::NameTaken);
    wrong.symbol = ironbell_types::Symbol::new("NEW").unwrap();
    refused(&mut venue, Command::DefineInstrument(wrong), AdminRefusal::Unknown);
    wrong.base = STOCK;
    refused(&mut venue, Command::DefineInstrument(wrong), AdminRefusal::Range);
    wrong.maker_fee_bps = 10_000;
    assert_eq!(venue.run(Command::DefineInstrument(wrong)).len(), 1);
    refused(&mut venue, Command::DefinePort(port(4, 2, 1)), AdminRefusal::Unknown);
    let mut named = port(4, 1, 1);
    named.username = port(1, 1, 1).username;
    refused(&mut venue, Command::DefinePort(named), AdminRefusal::NameTaken);
    refused(&mut venue, Command::DefineAsset(ironbell_types::Asset { id: USD, ..asset() }), AdminRefusal::Id);
    refused(
        &mut venue,
        Command::DefineAsset(ironbell_types::Asset { decimals: 19, ..asset() }),
        AdminRefusal::Range,
    );
    for id in [0, 1, 0x8000_0000] {
        let account = ironbell_types::Account { id: AccountId(id), firm: FirmId(1) };
        refused(&mut venue, Command::DefineAccount(account), AdminRefusal::Id);
    }
}

fn asset() -> ironbell_types::Asset {
    let code = ironbell_types::Symbol::new("EUR").unwrap();
    ironbell_types::Asset { id: ironbell_types::AssetId(7), code, decimals: 2 }
}

#[test]
fn a_stale_logout_does_nothing() {
    let mut venue = rich();
    let port = PortId(1);
    let logout = |incarnation| Command::Logout(Logout { port, incarnation });
    assert!(venue.run(logout(0)).is_empty());
    assert_eq!(venue.run(Command::Login(Login { port })).len(), 1);
    assert_eq!(venue.run(Command::Login(Login { port })).len(), 1);
    assert_eq!(venue.engine.incarnation(port), Some(2));
    assert!(venue.run(logout(1)).is_empty());
    assert_eq!(venue.run(logout(2)).len(), 1);
    assert_eq!(venue.engine.incarnation(port), None);
    assert!(venue.run(logout(2)).is_empty());
    assert!(venue.run(Command::Login(Login { port: PortId(9) })).is_empty());
}

#[test]
#[should_panic(expected = "command 99 came after")]
fn a_gap_in_the_sequence_is_our_fault() {
    let mut venue = rich();
    let sequenced = ironbell_types::Sequenced { seq: Seq(99), time: Nanos(99), command: Command::Tick };
    venue.engine.execute(&sequenced, &mut Vec::new());
}

#[test]
#[should_panic(expected = "time went back")]
fn time_that_goes_back_is_our_fault() {
    let mut venue = rich();
    let seq = venue.engine.last_seq().next();
    venue
        .engine
        .execute(&ironbell_types::Sequenced { seq, time: Nanos(1), command: Command::Tick }, &mut Vec::new());
}

fn key(port: u32, num: u32) -> OrderKey {
    OrderKey::new(PortId(port), UserRefIdx(0), UserRefNum(num))
}

/// The hold of who runs is set after its run: what goes off in the midst of it, as its partner or that of one
/// it trades with, must not be measured against it.
#[test]
fn a_pair_may_take_the_last_of_ones_funds() {
    let mut venue = Venue::new(0, 0, 1_050 * TICK_VALUE, 100 * LOT_UNITS);
    venue.run(sell(1, 1, 10, 100));
    venue.run(buy(2, 1, 1, 50));
    let mut enter = order(2, 2, Side::Buy, 10, 100);
    enter.terms.oco = UserRefNum(1);
    let said = venue.say(Command::EnterOrder(enter));
    assert_eq!(said[2], "canceled 2.1 1 left 0 Z");
    assert_eq!(venue.balance(2, USD), (50 * TICK_VALUE, 0));

    // With oneself, where the fee is more than the partner held.
    let mut venue = Venue::new(0, 100, 1_062 * TICK_VALUE, 100 * LOT_UNITS);
    venue.run(sell(1, 1, 10, 100));
    let mut enter = order(1, 2, Side::Buy, 1, 1);
    enter.terms.oco = UserRefNum(1);
    venue.run(Command::EnterOrder(enter));
    venue.run(buy(1, 3, 10, 105));
    assert_eq!(venue.balance(1, USD), (1_052 * TICK_VALUE, 0));
}

/// A cap of 10 lots at 100: what an order shows as its price is not what it can trade at.
#[test]
fn a_discretion_price_counts_against_the_cap_on_notional() {
    let mut venue = rich();
    let limits = PortLimits { qty_max: Qty(1_000), notional_max: Amount(10 * 100 * TICK_VALUE) };
    let rules = PortRules::plain(limits);
    venue.run(Command::Control(Control::SetPortRules { port: PortId(3), rules }));
    assert_eq!(venue.say(buy(3, 1, 10, 101)), ["rejected 3.1 OrderNotional"]);
    for (num, discretion, said) in
        [(2, 101, "rejected 3.2 OrderNotional"), (3, 100, "accepted 3.3 10@1 booked")]
    {
        let mut enter = order(3, num, Side::Buy, 10, 1);
        enter.terms.discretion = Price(discretion);
        assert_eq!(venue.say(Command::EnterOrder(enter)), [said]);
    }
}
