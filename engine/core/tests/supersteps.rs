//! What supersteps must not get wrong, each in the fewest commands that show it: commands that run side by side, and
//! what is said of them one at a time. TICK_VALUE is 100: a lot at 100 ticks is worth 10,000.

mod venue;

use ironbell_core::superstep::Pace;
use ironbell_core::{Config, Engine, Homes};
use ironbell_types::{
    Capacity, Command, Control, EnterOrder, Nanos, OpenDay, PortId, Price, Qty, Quote, QuoteSide, Side,
    TimeInForce, UserRefIdx, UserRefNum,
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
