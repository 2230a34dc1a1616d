//! What supersteps must not get wrong, each in the fewest commands that show it: commands that run side by side, and
//! what is said of them one at a time. TICK_VALUE is 100: a lot at 100 ticks is worth 10,000.

mod venue;

use ironbell_core::superstep::Pace;
use ironbell_core::{Config, Engine, Homes};
use ironbell_types::{
    Capacity, Command, Control, DeadMan, EnterOrder, FirmId, Nanos, OpenDay, PortId, Price, Qty, Quote,
    QuoteSide, Side, TimeInForce, UserRefIdx, UserRefNum,
};
use venue::{BOOK, USD, Venue, buy, cancel, modify, order, replace, sell};

/// Runs `side_by_side` in one frame on 1, 2 and 3 shards after what the venue has run, and checks that all is as in the
/// venue, which runs them one at a time. Returns what was said, and how often the span was cut.
fn run(venue: &mut Venue, side_by_side: &[Command]) -> (Vec<String>, usize) {
    let before = venue.journal.len();
    let first = venue.events.len();
    let said = side_by_side.iter().flat_map(|command| venue.say(*command)).collect();
    let expected = &venue.events[first..];
    let mut cuts = Vec::new();
    for shards in 1..=3 {
        let mut engine = Engine::sharded(Config { key: 1, orders: 64, accounts: 4 }, Homes::new(shards));
        let (past, frame) = venue.journal.split_at(before);
        past.iter().for_each(|command| engine.execute(command, &mut Vec::new()));
        let mut out = Vec::new();
        cuts.push(engine.execute_in_supersteps(frame, &mut Pace::new(1_024), &mut out));
        assert_eq!(out, expected, "{shards} shards");
        engine.check_invariants();
        assert_eq!(engine.output_hash(), venue.engine.output_hash());
        assert_eq!(engine.state_hash(), venue.engine.state_hash());
    }
    assert!(cuts[0] == 0 && cuts[1] == cuts[2], "{cuts:?}");
    (said, cuts[1])
}

fn replaced(port: u32, orig: u32, num: u32, qty: u64, price: u64) -> Command {
    Command::ReplaceOrder(replace(port, orig, num, qty, price))
}

/// Something first, so that what follows is not settled.
fn first() -> Command {
    buy(3, 1, 1, 1)
}

/// 10 at 100 hold 100,000 of the 136,000 there are; 5 of them then cost 50,000, and the other 10 of a total of 15 at 90
/// would cost another 90,000. The whole total at 90 alone would fit.
#[test]
fn a_replacement_is_held_beside_what_its_original_may_still_spend() {
    let mut venue = Venue::new(0, 0, 136_000, 1_000);
    venue.run(buy(1, 1, 10, 100));
    let (said, cuts) = run(&mut venue, &[first(), sell(2, 1, 5, 100), replaced(1, 1, 2, 15, 90)]);
    assert_eq!(said.last().unwrap(), "rejected 1.2 AggregateExposure");
    assert_eq!(cuts, 1);
}

#[test]
fn a_chain_of_replacements_needs_no_cut_while_funds_are_there() {
    let mut venue = Venue::new(3, 5, 1_000_000, 1_000);
    venue.run(buy(1, 1, 10, 100));
    let chain =
        [first(), replaced(1, 1, 2, 12, 99), sell(2, 1, 3, 98), replaced(1, 2, 3, 9, 101), cancel(1, 3, 4)];
    let (said, cuts) = run(&mut venue, &chain);
    assert_eq!(cuts, 0);
    assert_eq!(said.last().unwrap(), "canceled 1.3 5 left 1 U", "3 of the chain's 4 are executed");
}

/// The number of a replacement that finds nothing to replace is not consumed, and neither is that of one after it.
#[test]
fn numbers_of_replacements_that_replaced_nothing_can_be_used() {
    let mut venue = Venue::new(0, 0, 1_000_000, 1_000);
    venue.run(buy(1, 1, 10, 100));
    let taken = sell(2, 1, 10, 100);
    let (said, cuts) = run(&mut venue, &[first(), taken, replaced(1, 1, 5, 10, 99), buy(1, 5, 1, 7)]);
    assert_eq!(said.last().unwrap(), "accepted 1.5 1@7 booked");
    assert_eq!(cuts, 1, "whether 5 is consumed is not known before");

    venue.run(buy(1, 8, 10, 100));
    let chain = [buy(3, 2, 1, 1), sell(2, 2, 10, 100), replaced(1, 8, 9, 10, 99), replaced(1, 9, 10, 10, 98)];
    let (_, cuts) = run(&mut venue, &chain);
    assert_eq!(cuts, 0);
    assert_eq!(venue.say(buy(1, 9, 1, 7)), ["accepted 1.9 1@7 booked"]);
}

/// A number above it is new whatever becomes of the replacement.
#[test]
fn a_number_above_a_doubtful_one_is_known_to_be_new() {
    let mut venue = Venue::new(0, 0, 1_000_000, 1_000);
    venue.run(buy(1, 1, 10, 100));
    let (said, cuts) =
        run(&mut venue, &[first(), sell(2, 1, 10, 100), replaced(1, 1, 5, 10, 99), buy(1, 6, 1, 7)]);
    assert_eq!(said.last().unwrap(), "accepted 1.6 1@7 booked");
    assert_eq!(cuts, 0);
    assert_eq!(venue.say(buy(1, 5, 1, 7)), Vec::<String>::new(), "6 is the last");
}

/// A total that is executed by then makes the replacement a cancel of what is left.
#[test]
fn a_total_that_was_executed_meanwhile_cancels() {
    let mut venue = Venue::new(0, 0, 1_000_000, 1_000);
    venue.run(buy(1, 1, 10, 100));
    let (said, cuts) = run(&mut venue, &[first(), sell(2, 1, 6, 100), replaced(1, 1, 2, 6, 99)]);
    assert_eq!((said.last().unwrap().as_str(), cuts), ("canceled 1.1 4 left 0 U", 0));
    assert_eq!(venue.say(buy(1, 2, 1, 7)), ["accepted 1.2 1@7 booked"], "2 was not consumed");
}

#[test]
fn what_a_sale_brings_can_be_spent_at_once() {
    let mut venue = Venue::new(0, 0, 100_000, 1_000);
    venue.run(buy(2, 1, 10, 100));
    let (said, cuts) = run(&mut venue, &[first(), sell(1, 1, 10, 100), buy(1, 2, 20, 99)]);
    assert_eq!((said.last().unwrap().as_str(), cuts), ("accepted 1.2 20@99 booked", 1));
    assert_eq!(venue.balance(1, USD), (200_000, 198_000));
}

/// An account without as much money in all, and with nothing open that would bring any, is refused for good.
#[test]
fn a_hopeless_order_cuts_nothing() {
    let mut venue = Venue::new(0, 0, 100_000, 1_000);
    venue.run(buy(1, 1, 1, 50));
    let spam = [first(), buy(1, 2, 11, 100), sell(2, 1, 1, 50), buy(1, 3, 12, 100), buy(1, 4, 13, 100)];
    let (said, cuts) = run(&mut venue, &spam);
    assert_eq!((said.last().unwrap().as_str(), cuts), ("rejected 1.4 AggregateExposure", 0));
    // A sale is open that would bring some.
    venue.run(sell(1, 5, 1, 200));
    let (_, cuts) = run(&mut venue, &[cancel(3, 1, 0), buy(1, 6, 11, 100)]);
    assert_eq!(cuts, 1);
}

/// The other of a pair is gone by the time it is named.
#[test]
fn a_pair_needs_its_other_order() {
    let mut venue = Venue::new(0, 0, 1_000_000, 1_000);
    venue.run(sell(1, 1, 5, 100));
    let mut pair = order(1, 2, Side::Buy, 5, 90);
    pair.terms.oco = UserRefNum(1);
    let (said, cuts) = run(&mut venue, &[first(), buy(2, 1, 5, 100), Command::EnterOrder(pair)]);
    assert_eq!((said.last().unwrap().as_str(), cuts), ("rejected 1.2 Other", 1));
}

/// A stop that has triggered is none any more, and neither is what replaces it.
#[test]
fn a_triggered_stop_is_replaced_by_no_stop() {
    let mut venue = Venue::new(0, 0, 1_000_000, 1_000);
    let mut stop = order(1, 1, Side::Buy, 5, 95);
    stop.terms.stop = Price(90);
    venue.run(Command::EnterOrder(stop));
    venue.run(sell(2, 1, 1, 90));
    let (said, _) = run(&mut venue, &[first(), buy(3, 2, 1, 90), replaced(1, 1, 2, 5, 96)]);
    assert_eq!(said.last().unwrap(), "replaced 1 by 1.2 5@96 booked");
}

/// What finds nothing to replace takes no token of the port's rate.
#[test]
fn a_replacement_of_nothing_takes_no_token() {
    let mut venue = Venue::new(0, 0, 1_000_000, 1_000);
    let mut rules = venue.engine.port_rules(PortId(1)).unwrap();
    (rules.rate_per_second, rules.rate_burst) = (1, 2);
    venue.run(Command::Control(Control::SetPortRules { port: PortId(1), rules }));
    venue.run(buy(1, 1, 10, 100));
    let (said, _) =
        run(&mut venue, &[first(), sell(2, 1, 10, 100), replaced(1, 1, 2, 10, 99), buy(1, 3, 1, 7)]);
    assert_eq!(said.last().unwrap(), "accepted 1.3 1@7 booked");
}

/// What is taken back gives the token, the number and the place in a row of equal orders back.
#[test]
fn what_is_taken_back_leaves_no_trace() {
    let mut venue = Venue::new(0, 0, 100_000, 1_000);
    for port in [1, 2] {
        let mut rules = venue.engine.port_rules(PortId(port)).unwrap();
        (rules.rate_per_second, rules.rate_burst) = (1, 3);
        (rules.duplicates_max, rules.duplicate_ns) = (3, 1_000_000_000);
        venue.run(Command::Control(Control::SetPortRules { port: PortId(port), rules }));
    }
    venue.run(buy(3, 2, 5, 100));
    // The second of port 1 cuts; what port 2 did behind it on another shard is taken back and done again.
    let frame = [
        buy(3, 3, 1, 1),
        sell(1, 1, 5, 100),
        buy(1, 2, 14, 100),
        buy(2, 1, 1, 2),
        buy(2, 2, 1, 2),
        buy(2, 3, 1, 2),
    ];
    let (said, cuts) = run(&mut venue, &frame);
    let [.., one, two, three, four] = &said[..] else { panic!("{said:?}") };
    assert_eq!(
        [one, two, three, four],
        [
            "accepted 1.2 14@100 booked",
            "accepted 2.1 1@2 booked",
            "accepted 2.2 1@2 booked",
            "accepted 2.3 1@2 booked"
        ]
    );
    assert_eq!(cuts, 1);
}

/// 2 cannot pay for its second order before its sale is settled: what comes behind that is taken back on another shard.
fn cut_behind(port: u32) -> [Command; 3] {
    assert_ne!(port, 2, "it is to be at home elsewhere on two shards and on three");
    [first(), sell(2, 1, 10, 50), buy(2, 2, 14, 100)]
}

/// The number of a replacement that was taken back is not consumed, and not in doubt, until it comes again.
#[test]
fn a_replacement_that_is_taken_back_comes_again() {
    let mut venue = Venue::new(0, 0, 100_000, 1_000);
    venue.run(buy(1, 1, 10, 60));
    let mut frame = cut_behind(1).to_vec();
    frame.extend([replaced(1, 1, 4, 11, 61), buy(1, 3, 1, 1), buy(3, 2, 1, 2)]);
    let (said, cuts) = run(&mut venue, &frame);
    assert_eq!(said[said.len() - 2..], ["accepted 1.3 1@1 booked", "accepted 3.2 1@2 booked"]);
    assert_eq!(cuts, 1, "when it comes again it is known that there is nothing to replace");
}

/// A quote that was taken back did not stand: when it comes again it takes the place of what stood before.
#[test]
fn a_quote_that_is_taken_back_comes_again() {
    let mut venue = Venue::new(0, 0, 100_000, 1_000);
    venue.run(quote(1, 1, 5, 20, 110));
    venue.run(buy(3, 1, 10, 50));
    let mut frame = cut_behind(1).to_vec();
    frame[0] = buy(3, 2, 1, 1);
    frame.extend([quote(1, 3, 5, 21, 109), buy(3, 3, 1, 2)]);
    let (_, cuts) = run(&mut venue, &frame);
    assert_eq!(cuts, 1);
    assert_eq!(venue.draw(), "\n109 | 1.4:5\n----\n100 | 2.2:14\n21 | 1.3:5\n2 | 3.3:1\n1 | 3.2:1\n");
}

/// Each of these sets its port's timer back, what was taken back and came again too, and a cancel of nothing.
#[test]
fn whatever_a_port_sends_sets_its_timer_back() {
    let mut venue = Venue::new(0, 0, 100_000, 1_000);
    venue.run(buy(3, 1, 10, 50));
    for port in [1, 2] {
        venue.run(Command::DeadMan(DeadMan { port: PortId(port), timeout_ns: 100 }));
    }
    let mut frame = cut_behind(1).to_vec();
    frame[0] = buy(3, 2, 1, 1);
    frame.extend([buy(1, 1, 1, 3), cancel(2, 9, 0), cancel(1, 9, 0)]);
    let (_, cuts) = run(&mut venue, &frame);
    assert_eq!(cuts, 1);
    let heard = venue.engine.last_time().0;
    assert_eq!(venue.at(heard + 98, Command::Tick), []);
    let expired = venue.at(heard + 99, Command::Tick).len();
    assert_eq!(
        expired, 2,
        "port 2 was heard one command before port 1: it is expired, and its orders are asked for"
    );
    assert_eq!(venue.at(heard + 100, Command::Tick).len(), 2);
}

/// A lot sold short needs to be located once, in its order or in what replaces that, executed or open.
#[test]
fn a_replaced_short_sale_is_located_once() {
    let mut venue = Venue::new(0, 0, 1_000_000, 1_000);
    venue.run(Command::Control(Control::Locate { id: 1, firm: FirmId(1), instrument: BOOK, qty: 10 }));
    venue.run(Command::EnterOrder(order(1, 1, Side::SellShort, 10, 100)));
    let frame = [first(), buy(2, 1, 4, 100), replaced(1, 1, 2, 10, 101)];
    let (said, cuts) = run(&mut venue, &frame);
    assert_eq!((said.last().unwrap().as_str(), cuts), ("replaced 1 by 1.2 6@101 booked", 0));
    let (said, cuts) = run(&mut venue, &[buy(3, 2, 1, 1), buy(2, 2, 1, 101), replaced(1, 2, 3, 11, 102)]);
    assert_eq!((said.last().unwrap().as_str(), cuts), ("rejected 1.3 Locate", 1));
    // While one takes the place of the other both count: the second replacement has to wait for that.
    let frame = [buy(3, 3, 1, 1), replaced(1, 2, 4, 10, 102), replaced(1, 4, 5, 10, 103)];
    let (said, cuts) = run(&mut venue, &frame);
    assert_eq!((said.last().unwrap().as_str(), cuts), ("replaced 4 by 1.5 5@103 booked", 1));
}

/// On a new day numbers begin anew, but an order that outlasted the night still has its own.
#[test]
fn a_number_that_an_old_order_bears_is_free_when_that_is_gone() {
    let mut venue = Venue::new(0, 0, 1_000_000, 1_000);
    let lasting = EnterOrder { time_in_force: TimeInForce::Gtc, ..order(1, 1, Side::Buy, 5, 100) };
    venue.run(Command::EnterOrder(lasting));
    venue.run(Command::Control(Control::CloseDay));
    while let Some(ask) = { venue.engine.pending_asks().next() } {
        venue.run(ask);
    }
    venue.run(Command::OpenDay(OpenDay { date: 20_261_122, midnight: Nanos(0) }));
    let (said, cuts) = run(&mut venue, &[first(), sell(2, 1, 5, 100), buy(1, 1, 1, 7)]);
    assert_eq!((said.last().unwrap().as_str(), cuts), ("accepted 1.1 1@7 booked", 1));
}

fn quote(port: u32, num: u32, qty: u64, bid: i64, ask: i64) -> Command {
    let side = |price| QuoteSide { price: Price(price), qty: Qty(qty) };
    Command::Quote(Quote {
        port: PortId(port),
        user_ref_idx: UserRefIdx(0),
        user_ref_num: UserRefNum(num),
        instrument: BOOK,
        bid: side(bid),
        ask: side(ask),
        capacity: Capacity::Principal,
        fault: None,
    })
}

#[test]
fn a_quote_takes_the_place_of_the_one_before_it() {
    let mut venue = Venue::new(0, 0, 1_000_000, 1_000);
    venue.run(quote(1, 1, 5, 90, 110));
    let quotes = [first(), buy(2, 1, 5, 110), quote(1, 3, 5, 91, 109), quote(1, 5, 5, 92, 108)];
    let (_, cuts) = run(&mut venue, &quotes);
    assert_eq!(cuts, 1, "of the second it is not known yet what it takes the place of");
    assert_eq!(venue.draw(), "\n108 | 1.6:5\n----\n92 | 1.5:5\n1 | 3.1:1\n");
}

/// 5 at 100 hold 50,000 of the 60,000 there are and are then spent: the new bid has 10,000.
#[test]
fn a_quote_is_held_beside_the_one_before_it() {
    let mut venue = Venue::new(0, 0, 60_000, 1_000);
    venue.run(quote(1, 1, 5, 100, 110));
    let (said, cuts) = run(&mut venue, &[first(), sell(2, 1, 5, 100), quote(1, 3, 5, 99, 110)]);
    assert_eq!((said.last().unwrap().as_str(), cuts), ("rejected 1.3 AggregateExposure", 1));
}

/// Frames longer than a span, and spans that are cut within a frame, leave none of it out.
#[test]
fn a_command_that_runs_by_itself_ends_a_span() {
    let mut venue = Venue::new(0, 0, 1_000_000, 1_000);
    let shrinks = modify(3, 1, Side::Buy, 1);
    let frame = [first(), Command::Tick, buy(1, 1, 5, 100), sell(2, 1, 5, 100), shrinks, buy(1, 2, 1, 1)];
    let (said, cuts) = run(&mut venue, &frame);
    assert_eq!((said.len(), cuts), (7, 0));
}
