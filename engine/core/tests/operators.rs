//! What operators set, on a small venue: limits, rates, fees, locates, kill switches, busts, the day's end; and
//! with them quotes and dead-man timers.

mod venue;

use ironbell_types::{
    AccountId, AdminRefusal, Algorithm, Amount, AssetId, CancelReason, Capacity, Command, Control, DeadMan,
    Display, Event, EventBody, Fees, FirmId, InstrumentId, InstrumentRules, KillScope, Login, Logout,
    MassCancelSlice, MatchNumber, Nanos, OpenDay, OrderKey, OrderStateQuery, Peg, Phase, PortId, PortRules,
    Price, Qty, Quote, QuoteSide, Reject, Seq, Side, Stp, TimeInForce, UserRefIdx, UserRefNum,
};
use venue::{
    BOOK, LOT_UNITS, STOCK, TICK_VALUE, USD, Venue, buy, cancel, instrument, modify, order, port, sell,
};

const FIRST: FirmId = FirmId(1);

fn rich() -> Venue {
    Venue::new(0, 0, 1_000_000_000, 1_000_000)
}

/// Runs an operator's command that must be done, and returns what was said after *Controlled*.
fn done(venue: &mut Venue, control: Control) -> Vec<EventBody> {
    let said: Vec<EventBody> = venue.run(Command::Control(control)).iter().map(|event| event.body).collect();
    assert_eq!(said[0], EventBody::Controlled(control));
    said[1..].to_vec()
}

fn refused(venue: &mut Venue, control: Control) -> AdminRefusal {
    let before = venue.engine.state_hash();
    let said: Vec<EventBody> = venue.run(Command::Control(control)).iter().map(|event| event.body).collect();
    let [EventBody::AdminRefused(refusal)] = said[..] else { panic!("{said:?}") };
    assert_ne!(venue.engine.state_hash(), before, "time has passed, and the refusal was said");
    refusal
}

/// Runs the slices that are due until none is left; what was said, without what asks for the next.
fn sweep(venue: &mut Venue) -> Vec<String> {
    let mut said = Vec::new();
    while let Some(ask) = { venue.engine.pending_asks().next() } {
        said.extend(venue.say(ask));
    }
    said.retain(|line| !line.starts_with("asked"));
    said
}

fn rejected(said: &[String]) -> Option<&str> {
    said.first()?.strip_prefix("rejected ")?.split(' ').nth(1)
}

fn port_rules(venue: &mut Venue, id: u32, change: impl FnOnce(&mut PortRules)) {
    let mut rules = venue.engine.port_rules(PortId(id)).unwrap();
    change(&mut rules);
    done(venue, Control::SetPortRules { port: PortId(id), rules });
}

fn fees(maker_bps: i16, taker_bps: i16, minimum: u64) -> Control {
    Control::SetFees { instrument: BOOK, tier: 0, fees: Fees { maker_bps, taker_bps, minimum } }
}

/// Of tier 0; takers of the other tiers pay as much, as makers' rebates want it.
fn set_fees(venue: &mut Venue, maker_bps: i16, taker_bps: i16, minimum: u64) {
    for tier in 1..4 {
        let fees = Fees { maker_bps: 0, taker_bps, minimum: 0 };
        done(venue, Control::SetFees { instrument: BOOK, tier, fees });
    }
    done(
        venue,
        Control::SetFees { instrument: BOOK, tier: 0, fees: Fees { maker_bps: 0, taker_bps, minimum } },
    );
    done(venue, fees(maker_bps, taker_bps, minimum));
}

/// Fees of the last trade: the buyer's, the seller's.
fn settled(venue: &Venue) -> (i128, i128) {
    let mut legs = venue.events.iter().rev().filter_map(|event| match event.body {
        EventBody::Settled(settled) => Some(settled),
        _ => None,
    });
    let (sold, bought) = (legs.next().expect("something was settled"), legs.next().expect("two legs"));
    assert_eq!((bought.buys, sold.buys, bought.match_number), (true, false, sold.match_number));
    (bought.fee.0, sold.fee.0)
}

#[test]
fn rebates_are_paid_from_what_the_other_side_pays() {
    let mut venue = Venue::new(0, 0, 1_000_000, 1_000);
    set_fees(&mut venue, -20, 30, 0);
    venue.run(sell(1, 1, 10, 10));
    venue.run(buy(2, 1, 4, 10));
    // 4 lots at 10 ticks of 100: a notional of 4,000, of which 20 bps are 8 and 30 bps 12.
    assert_eq!(settled(&venue), (12, -8));
    assert_eq!(venue.balance(1, USD).0, 1_000_000 + 4_000 + 8);
    assert_eq!(venue.balance(2, USD).0, 1_000_000 - 4_000 - 12);
    assert_eq!(venue.balance(AccountId::fees(BOOK).0, USD), (4, 0));
}

#[test]
fn the_minimum_is_paid_once_an_order_and_a_seller_owes_no_more_than_the_proceeds() {
    let mut venue = Venue::new(0, 0, 1_000_000, 1_000);
    set_fees(&mut venue, 10, 10, 250);
    venue.run(sell(1, 1, 5, 1));
    venue.run(buy(2, 1, 5, 1));
    // 500 of notional: 10 bps are 0.5, and the minimum is 250 for each side.
    assert_eq!(settled(&venue), (250, 250));
    venue.run(sell(1, 2, 4, 1));
    assert_eq!(venue.balance(1, USD).0, 1_000_000 + 250);
    for (num, fee) in [(2, 100), (3, 100), (4, 50), (5, 0)] {
        venue.run(buy(2, num, 1, 1));
        // One lot at one tick brings 100; the seller's 250 are taken as it comes in.
        assert_eq!(settled(&venue), (250, fee), "trade {num}");
    }
    // A buy holds the minimum beside its worth until it has paid it.
    venue.run(buy(2, 9, 2, 1));
    assert_eq!(venue.balance(2, USD).1, 200 + 250);
    venue.run(sell(3, 1, 1, 1));
    assert_eq!(venue.balance(2, USD).1, 100);
}

#[test]
fn fees_are_of_the_tier_that_the_day_brought() {
    let mut venue = rich();
    let of_tier = |tier, bps| Control::SetFees {
        instrument: BOOK,
        tier,
        fees: Fees { maker_bps: bps, taker_bps: bps, minimum: 0 },
    };
    assert_eq!(refused(&mut venue, of_tier(4, 1)), AdminRefusal::Range);
    assert_eq!(refused(&mut venue, of_tier(1, 10_001)), AdminRefusal::Range);
    done(&mut venue, of_tier(0, 100));
    assert_eq!(
        refused(&mut venue, fees(-101, 100, 0)),
        AdminRefusal::Range,
        "makers of a tier, takers of another"
    );
    done(&mut venue, of_tier(2, 10));
    done(&mut venue, Control::SetTier { tier: 1, volume_min: 100 });
    done(&mut venue, Control::SetTier { tier: 2, volume_min: 5 });
    venue.run(sell(1, 1, 6, 100));
    venue.run(buy(2, 1, 6, 100));
    assert_eq!(settled(&venue), (600, 600));
    let said = done(&mut venue, Control::CloseDay);
    let tier = |firm| EventBody::FirmTier { firm: FirmId(firm), tier: 2 };
    assert_eq!(said[..3], [EventBody::DayClosed { date: 20_261_121 }, tier(1), tier(2)]);
    assert_eq!(refused(&mut venue, Control::CloseDay), AdminRefusal::Day);
    sweep(&mut venue);
    venue.run(Command::OpenDay(OpenDay { date: 20_261_122, midnight: Nanos(0) }));
    venue.run(sell(1, 1, 6, 100));
    venue.run(buy(3, 1, 6, 100));
    assert_eq!(settled(&venue), (600, 60));
}

#[test]
fn the_days_end_takes_what_is_of_the_day_and_leaves_the_rest() {
    let mut venue = rich();
    let mut lasting = order(1, 1, Side::Buy, 5, 90);
    lasting.time_in_force = TimeInForce::Gtc;
    venue.run(Command::EnterOrder(lasting));
    venue.run(buy(1, 2, 5, 91));
    let mut stop = order(2, 1, Side::Sell, 5, 80);
    (stop.terms.stop, stop.time_in_force) = (Price(85), TimeInForce::Ioc);
    venue.run(Command::EnterOrder(stop));
    done(&mut venue, Control::CloseDay);
    assert_eq!(sweep(&mut venue), ["canceled 1.2 5 left 0 E", "canceled 2.1 5 left 0 E unseen"]);
    assert_eq!(venue.draw(), "\n----\n90 | 1.1:5\n");
    assert_eq!((venue.engine.day(), venue.engine.last_day().unwrap().date), (None, 20_261_121));
    assert_eq!(venue.say(buy(3, 1, 1, 1)), ["rejected 3.1 Halted"]);
    assert_eq!(venue.say(cancel(1, 1, 2)), ["canceled 1.1 3 left 2 U"], "what is left can be cancelled");
    let again = OpenDay { date: 20_261_121, midnight: Nanos(0) };
    assert_eq!(venue.say(Command::OpenDay(again)), ["refused Day"]);
    venue.run(Command::OpenDay(OpenDay { date: 20_261_122, ..again }));
    assert!(venue.say(buy(1, 1, 1, 1)).is_empty(), "its name is still taken");
    assert_eq!(venue.say(sell(3, 1, 2, 90))[1], "trade 2@90 1.1 left 0 with 3.1 left 0");
}

fn bust(match_number: MatchNumber) -> Control {
    Control::Bust { match_number, reason: b'E' }
}

fn last_match(venue: &Venue) -> MatchNumber {
    venue.engine.day_trades().last().unwrap().bought.match_number
}

#[test]
fn a_bust_posts_a_trade_back_with_its_fees() {
    let mut venue = Venue::new(0, 0, 1_000_000, 1_000);
    set_fees(&mut venue, -10, 20, 0);
    // Another trade's fees, from which the buyer's comes back before the seller's rebate does.
    venue.run(sell(3, 1, 5, 100));
    venue.run(buy(2, 9, 5, 100));
    let before = venue.engine.balances();
    venue.run(sell(1, 1, 5, 100));
    venue.run(buy(2, 10, 5, 100));
    let number = last_match(&venue);
    assert_eq!(
        refused(&mut venue, Control::Bust { match_number: number, reason: b'Q' }),
        AdminRefusal::Range
    );
    let said = done(&mut venue, bust(number));
    let EventBody::Busted(busted) = said[0] else { panic!("{said:?}") };
    assert_eq!((busted.buyer_owes, busted.seller_owes), (Amount(0), Amount(0)));
    assert_eq!((busted.price, busted.qty), (Price(100), Qty(5)));
    assert_eq!(said.len(), 1);
    assert_eq!(venue.engine.balances(), before);
    assert!(venue.engine.day_trades().last().unwrap().busted);
    assert_eq!(refused(&mut venue, bust(number)), AdminRefusal::Unknown, "busted already");
}

/// The buyer has delivered on, and the seller has bought with the proceeds: each owes, is killed, and its
/// orders go in one sweep after the other.
#[test]
fn who_cannot_give_back_owes_and_is_killed() {
    let mut venue = Venue::new(0, 0, 100_000, 100);
    venue.run(sell(1, 1, 10, 100));
    venue.run(buy(2, 1, 10, 100));
    let number = last_match(&venue);
    // Firm 2 had 100 of the stock and 100 more by the trade, and is left with 30; firm 1 holds all its money.
    venue.run(buy(3, 1, 10, 10));
    venue.run(sell(2, 2, 10, 10));
    venue.run(sell(2, 3, 7, 900));
    venue.run(buy(1, 2, 1_000, 2));
    assert_eq!(venue.balance(1, USD), (200_000, 200_000));
    assert_eq!(venue.balance(2, STOCK), (100, 70));
    let said = done(&mut venue, bust(number));
    let EventBody::Busted(busted) = said[0] else { panic!("{said:?}") };
    assert_eq!((busted.buyer_owes, busted.seller_owes), (Amount(70), Amount(100_000)));
    let killed =
        |firm| EventBody::Controlled(Control::Kill { scope: KillScope::Firm(FirmId(firm)), on: true });
    let cause = venue.engine.last_seq();
    assert_eq!(said[1..], [killed(2), killed(1), EventBody::MassCancelAsked { cause, slice: 0 }]);
    assert_eq!(venue.balance(AccountId::receivable(FirmId(2)).0, STOCK), (-70, 0));
    assert_eq!(venue.balance(AccountId::receivable(FIRST).0, USD), (-100_000, 0));
    assert_eq!(venue.balance(2, USD), (100_000 + 10_000, 0), "the buyer has its money back");
    assert_eq!(sweep(&mut venue), ["canceled 2.3 7 left 0 S", "canceled 1.2 1000 left 0 S"]);
    assert_eq!(venue.say(buy(1, 3, 1, 1)), ["rejected 1.3 FirmNotAuthorized"]);
    done(&mut venue, Control::Kill { scope: KillScope::Firm(FIRST), on: false });
    assert_eq!(venue.say(buy(1, 4, 1, 1)), ["accepted 1.4 1@1 booked"]);
}

/// Busts take back fees that were rounded up for more than their own trade. The rebate that would have been paid
/// from them is paid all the same, and the fee account is below zero by that rounding. One lot at 25 ticks is a
/// quarter of what a fee of 1 is for.
#[test]
fn a_rebate_is_paid_though_busts_emptied_the_fee_account() {
    let mut venue = Venue::new(0, 0, 1_000_000, 1_000);
    set_fees(&mut venue, -1, 1, 0);
    let hidden = |num, qty| {
        let mut order = order(1, num, Side::Sell, qty, 25);
        order.display = Display::Hidden;
        order
    };
    venue.run(buy(3, 1, 1, 10));
    venue.run(sell(3, 2, 1, 40));
    venue.run(Command::EnterOrder(hidden(1, 1)));
    // The peg takes one at the middle of 10 and 40, and rests there.
    let mut peg = order(2, 1, Side::Buy, 4, 30);
    (peg.display, peg.terms.peg) = (Display::Hidden, Peg::Midpoint);
    venue.run(Command::EnterOrder(peg));
    assert_eq!(settled(&venue), (1, 0));
    let number = last_match(&venue);
    done(&mut venue, bust(number));
    // With an ask of 30 it moves out of reach of the next seller, who trades with another.
    venue.run(sell(3, 3, 1, 30));
    venue.run(Command::EnterOrder(hidden(2, 5)));
    venue.run(buy(3, 4, 1, 25));
    assert_eq!(settled(&venue), (1, 0));
    let number = last_match(&venue);
    done(&mut venue, bust(number));
    assert_eq!(venue.balance(AccountId::fees(BOOK).0, USD), (0, 0));
    // Back at the middle it meets the seller: it owes nothing new, and the seller's rebate is due.
    venue.run(cancel(3, 3, 0));
    assert_eq!(settled(&venue), (0, -1));
    assert_eq!(venue.balance(AccountId::fees(BOOK).0, USD), (-1, 0));
    venue.run(buy(3, 5, 1, 25));
    assert_eq!(settled(&venue), (1, 0));
    assert_eq!(venue.balance(AccountId::fees(BOOK).0, USD), (0, 0));
}

#[test]
fn short_sales_need_located_stock() {
    let mut venue = rich();
    let short = |num, side, qty| Command::EnterOrder(order(1, num, side, qty, 100));
    let locate = |id, qty| Control::Locate { id, firm: FIRST, instrument: BOOK, qty };
    assert_eq!(venue.say(short(1, Side::SellShort, 7)), ["accepted 1.1 7@100 booked"], "not limited yet");
    assert_eq!(refused(&mut venue, locate(1, -1)), AdminRefusal::Funds);
    done(&mut venue, locate(1, 10));
    assert_eq!(refused(&mut venue, locate(1, 10)), AdminRefusal::Repeated);
    assert_eq!(rejected(&venue.say(short(2, Side::SellShortExempt, 4))), Some("Locate"));
    assert_eq!(venue.say(short(3, Side::SellShortExempt, 3)), ["accepted 1.3 3@100 booked"]);
    venue.run(buy(2, 1, 7, 100));
    venue.run(cancel(1, 3, 1));
    let located = venue.engine.locates()[0];
    assert_eq!((located.located, located.used), (10, 8));
    assert_eq!(refused(&mut venue, locate(2, -3)), AdminRefusal::Funds);
    venue.run(sell(1, 4, 3, 101));
    assert!(venue.say(modify(1, 4, Side::SellShort, 3)).is_empty(), "it would be one too many");
    assert_eq!(venue.say(modify(1, 4, Side::SellShort, 2)), ["modified 1.4 T off 1 left 2"]);
    // What was sold short stays used on another day.
    venue.run(Command::OpenDay(OpenDay { date: 20_261_122, midnight: Nanos(0) }));
    let num = 5;
    assert_eq!(rejected(&venue.say(short(num, Side::SellShort, 1))), Some("Locate"));
    done(&mut venue, locate(3, 1));
    assert_eq!(rejected(&venue.say(short(num + 1, Side::SellShort, 1))), None);
}

#[test]
fn a_port_sends_no_more_than_its_rate_and_no_more_equal_orders_than_it_may() {
    let mut venue = rich();
    port_rules(&mut venue, 1, |rules| (rules.rate_per_second, rules.rate_burst) = (1_000, 2));
    let mut at = |time: u64, num: u32, qty: u64| {
        let said = venue.at(time, buy(1, num, qty, 1)).to_vec();
        matches!(said[0].body, EventBody::Rejected { reason: Reject::PortRate, .. })
    };
    let millis = 1_000_000;
    assert_eq!([at(millis, 1, 1), at(millis, 2, 1), at(millis, 3, 1)], [false, false, true]);
    assert_eq!([at(2 * millis - 1, 4, 1), at(2 * millis, 5, 1), at(2 * millis, 6, 1)], [true, false, true]);
    // An order refused for another reason has taken its token.
    assert_eq!([at(3 * millis, 7, 0), at(3 * millis, 8, 1)], [false, true]);

    port_rules(&mut venue, 2, |rules| (rules.duplicates_max, rules.duplicate_ns) = (2, 100));
    let mut equal = |time: u64, num: u32, qty: u64| {
        let said = venue.at(time, buy(2, num, qty, 1)).to_vec();
        matches!(said[0].body, EventBody::Rejected { reason: Reject::DuplicateRate, .. })
    };
    let start = 4 * millis;
    assert_eq!([equal(start, 1, 5), equal(start + 1, 2, 5), equal(start + 99, 3, 5)], [false, false, true]);
    assert_eq!([equal(start + 99, 4, 6), equal(start + 99, 5, 5)], [false, false]);
    // One beyond a cap does not come as far as this check, and does not break the row.
    assert_eq!([equal(start + 100, 6, 5_000), equal(start + 100, 7, 5)], [false, false]);
    assert!(equal(start + 100, 8, 5));
}

#[test]
fn kill_switches_cancel_and_refuse_until_they_are_off() {
    let scopes = [
        (KillScope::Port(PortId(1)), "FirmNotAuthorized", 1),
        (KillScope::Firm(FIRST), "FirmNotAuthorized", 2),
        (KillScope::Instrument(BOOK), "Halted", 3),
        (KillScope::Venue, "Halted", 3),
    ];
    for (scope, reason, gone) in scopes {
        let mut venue = rich();
        venue.run(Command::DefinePort(port(4, 1, 1)));
        for port in [1, 4, 2] {
            venue.run(buy(port, 1, 5, 90));
        }
        let said = done(&mut venue, Control::Kill { scope, on: true });
        let cause = venue.engine.last_seq();
        assert_eq!(said, [EventBody::MassCancelAsked { cause, slice: 0 }], "{scope:?}");
        assert!(
            done(&mut venue, Control::Kill { scope, on: true }).is_empty(),
            "{scope:?} is killed already"
        );
        assert_eq!(venue.say(buy(1, 2, 1, 1)), [format!("rejected 1.2 {reason}")]);
        assert_eq!(sweep(&mut venue).len(), gone, "{scope:?}");
        assert!(venue.engine.killed(scope));
        assert!(done(&mut venue, Control::Kill { scope, on: false }).is_empty());
        assert_eq!(venue.say(buy(1, 3, 1, 1)), ["accepted 1.3 1@1 booked"], "{scope:?}");
    }
}

#[test]
fn limits_over_many_orders_count_what_the_day_has_seen() {
    let mut venue = rich();
    venue.run(sell(1, 1, 10, 100));
    venue.run(buy(2, 1, 4, 100));
    venue.run(buy(2, 2, 3, 90));
    let (account, firm) = (AccountId(2), FirmId(2));
    let position = |long, short| Control::SetPosition {
        account,
        instrument: BOOK,
        long_max: Some(Qty(long)),
        short_max: Some(Qty(short)),
    };
    // 4 bought, 3 more wanted.
    done(&mut venue, position(9, 2));
    assert_eq!(rejected(&venue.say(buy(2, 3, 3, 80))), Some("AggregateExposure"));
    assert_eq!(rejected(&venue.say(buy(2, 4, 2, 80))), None);
    assert_eq!(rejected(&venue.say(sell(2, 5, 7, 200))), Some("AggregateExposure"));
    assert_eq!(rejected(&venue.say(sell(2, 6, 6, 200))), None);
    let seen = venue.engine.positions()[0];
    assert_eq!((seen.long, seen.short, seen.net), (9, 2, 4));
    venue.run(cancel(2, 6, 0));
    done(&mut venue, Control::SetPosition { account, instrument: BOOK, long_max: None, short_max: None });
    assert!(venue.engine.positions().is_empty());

    // 4 × 100 paid; 3 × 90 and 2 × 80 held.
    let spent = (400 + 270 + 160) * TICK_VALUE;
    let credit = |most| Control::SetCredit { account, asset: USD, credit_max: Some(Amount(most)) };
    assert_eq!(refused(&mut venue, credit(-1)), AdminRefusal::Range);
    done(&mut venue, credit(spent + 10 * TICK_VALUE));
    assert_eq!(venue.engine.credits()[0].used, Amount(spent));
    assert_eq!(rejected(&venue.say(buy(2, 7, 1, 11))), Some("AggregateExposure"));
    assert_eq!(rejected(&venue.say(buy(2, 8, 1, 10))), None);
    done(&mut venue, Control::SetCredit { account, asset: USD, credit_max: None });

    let exposure = |gross, net| Control::SetExposure {
        firm,
        asset: USD,
        gross_max: Some(Amount(gross * TICK_VALUE)),
        net_max: Some(Amount(net * TICK_VALUE)),
    };
    // Open: 270 + 160 + 10; bought: 400.
    done(&mut venue, exposure(500, 900));
    let seen = venue.engine.exposures()[0];
    let ticks = |amount: Amount| amount.0 / TICK_VALUE;
    assert_eq!((ticks(seen.gross), ticks(seen.net_buy), ticks(seen.net_sell)), (440, 840, -400));
    assert_eq!(rejected(&venue.say(buy(2, 9, 1, 61))), Some("AggregateExposure"), "gross");
    done(&mut venue, exposure(5_000, 900));
    assert_eq!(rejected(&venue.say(buy(2, 10, 1, 61))), Some("AggregateExposure"), "net");
    assert_eq!(rejected(&venue.say(sell(2, 11, 13, 101))), Some("AggregateExposure"), "1,313 less 400 sold");
    assert_eq!(rejected(&venue.say(sell(2, 12, 13, 100))), None);
    // A replacement counts instead of its original; a fill at a better price counts at the order's worth.
    assert_eq!(
        venue.say(Command::ReplaceOrder(venue::replace(2, 2, 13, 3, 110)))[0],
        "replaced 2 by 2.13 3@110"
    );
    assert_eq!(ticks(venue.engine.exposures()[0].net_buy), 400 + 330 + 160 + 10);
    // A new day begins with what is open.
    venue.run(Command::OpenDay(OpenDay { date: 20_261_122, midnight: Nanos(0) }));
    assert_eq!(ticks(venue.engine.exposures()[0].net_buy), 170);
}

#[test]
fn entitlements_and_restricted_lists_hold_for_whom_they_name() {
    let mut venue = rich();
    let entitle = |allowed| Control::Entitle { port: PortId(1), instrument: BOOK, allowed };
    let restrict = |firm, restricted| Control::Restrict { firm: FirmId(firm), instrument: BOOK, restricted };
    venue.run(buy(1, 1, 5, 10));
    done(&mut venue, entitle(false));
    assert_eq!(rejected(&venue.say(buy(1, 2, 1, 1))), Some("FirmNotAuthorized"));
    let change = Command::ReplaceOrder(venue::replace(1, 1, 3, 5, 11));
    assert_eq!(rejected(&venue.say(change)), Some("FirmNotAuthorized"), "and the original stands");
    assert_eq!(rejected(&venue.say(buy(2, 1, 1, 1))), None);
    done(&mut venue, entitle(true));
    done(&mut venue, restrict(2, true));
    assert_eq!(rejected(&venue.say(buy(1, 4, 1, 1))), None);
    assert_eq!(rejected(&venue.say(buy(2, 2, 1, 1))), Some("RestrictedStock"));
    done(&mut venue, restrict(0, true));
    assert_eq!(rejected(&venue.say(buy(1, 5, 1, 1))), Some("RestrictedStock"));
    done(&mut venue, restrict(0, false));
    assert_eq!(rejected(&venue.say(buy(1, 6, 1, 1))), None);
    assert_eq!(rejected(&venue.say(buy(2, 3, 1, 1))), Some("RestrictedStock"));
}

fn quote(port: u32, num: u32, bid: (u64, i64), ask: (u64, i64)) -> Command {
    let side = |(qty, price)| QuoteSide { qty: Qty(qty), price: Price(price) };
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
fn a_quote_takes_the_place_of_the_one_before() {
    // As much as one quote holds: 5 × 100 ticks, and 6 lots.
    let mut venue = Venue::new(0, 0, 500 * TICK_VALUE, 6 * LOT_UNITS);
    let said = venue.say(quote(1, 1, (5, 100), (6, 102)));
    assert_eq!(said, ["accepted 1.1 5@100 booked", "accepted 1.2 6@102 booked"]);
    assert!(venue.say(quote(1, 2, (1, 1), (0, 0))).is_empty(), "both numbers are consumed");
    for (num, bid, ask, reason) in [
        (3, (5, 101), (6, 102), "AggregateExposure"),
        (5, (5, 100), (7, 102), "AggregateExposure"),
        (7, (5, 100), (6, 100), "Price"),
        (9, (0, 1), (6, 100), "Price"),
        (11, (1_001, 1), (0, 0), "MaxQuantity"),
    ] {
        assert_eq!(venue.say(quote(1, num, bid, ask)), [format!("rejected 1.{num} {reason}")]);
        assert_eq!(venue.draw(), "\n102 | 1.2:6\n----\n100 | 1.1:5\n");
    }
    let said = venue.say(quote(1, 13, (4, 101), (6, 103)));
    assert_eq!(
        said,
        [
            "canceled 1.1 5 left 0 U",
            "canceled 1.2 6 left 0 U",
            "accepted 1.13 4@101 booked",
            "accepted 1.14 6@103 booked",
        ]
    );
    assert_eq!(venue.balance(1, USD).1, 404 * TICK_VALUE);
    // Stage 2 refuses while halted: the quote stands, and is still the one that the next takes away.
    let phase = |phase| Control::SetPhase { instrument: BOOK, phase, reason: *b"H   " };
    done(&mut venue, phase(Phase::Halted));
    assert_eq!(venue.say(quote(1, 15, (1, 50), (1, 60))), ["rejected 1.15 Halted"]);
    assert_eq!(venue.balance(1, USD).1, 404 * TICK_VALUE);
    done(&mut venue, phase(Phase::Continuous));
    let said = venue.say(quote(1, 17, (0, 0), (2, 90)));
    assert_eq!(said, ["canceled 1.13 4 left 0 U", "canceled 1.14 6 left 0 U", "accepted 1.18 2@90 booked"]);
    // A side that was replaced is no longer of the quote.
    venue.run(Command::ReplaceOrder(venue::replace(1, 18, 19, 2, 95)));
    assert!(venue.say(quote(1, 20, (0, 0), (0, 0))).is_empty());
    assert_eq!(venue.draw(), "\n95 | 1.19:2\n----\n");
    assert_eq!(venue.say(quote(1, u32::MAX, (1, 1), (0, 0))), [format!("rejected 1.{} Other", u32::MAX)]);
}

#[test]
fn a_silent_port_loses_its_orders() {
    let mut venue = rich();
    let arm = |port, timeout_ns| Command::DeadMan(DeadMan { port: PortId(port), timeout_ns });
    for port in [1, 2] {
        venue.at(1_000, buy(port, 1, 5, 10));
        venue.at(1_000, arm(port, 500));
    }
    assert_eq!(venue.engine.next_due(), Some(Nanos(1_500)));
    // What is dropped is heard, too; a logout is not.
    venue.at(1_400, cancel(2, 77, 0));
    venue.at(1_400, Command::Login(Login { port: PortId(1) }));
    assert!(venue.at(1_499, Command::Tick).is_empty());
    let said: Vec<_> = venue.at(1_500, Command::Tick).iter().map(|event| event.body).collect();
    let (port, cause) = (PortId(1), venue.engine.last_seq());
    assert_eq!(said, [EventBody::DeadManExpired { port }, EventBody::MassCancelAsked { cause, slice: 0 }]);
    assert_eq!(sweep(&mut venue), ["canceled 1.1 5 left 0 S"]);
    assert_eq!(venue.engine.next_due(), Some(Nanos(1_900)));
    venue.at(1_600, arm(2, 0));
    assert!(venue.at(5_000, Command::Tick).is_empty());
    assert_eq!(venue.engine.next_due(), None);
    // Two at once are one sweep after the other, asked for once.
    for port in [1, 2] {
        venue.run(buy(port, 9, 5, 10));
        venue.run(arm(port, 10));
    }
    let said: Vec<_> = venue.at(9_000, Command::Tick).iter().map(|event| event.body).collect();
    assert_eq!(said.len(), 3);
    assert_eq!(
        sweep(&mut venue),
        ["canceled 1.9 5 left 0 S", "canceled 2.1 5 left 0 S", "canceled 2.9 5 left 0 S"]
    );
}

#[test]
fn a_port_that_cancels_on_disconnect_does() {
    let mut venue = rich();
    port_rules(&mut venue, 1, |rules| rules.cancels_on_disconnect = true);
    venue.run(Command::Login(Login { port: PortId(1) }));
    venue.run(buy(1, 1, 5, 10));
    let logout = |incarnation| Command::Logout(Logout { port: PortId(1), incarnation });
    assert!(venue.run(logout(2)).is_empty());
    assert_eq!(venue.run(logout(1)).len(), 2);
    assert_eq!(sweep(&mut venue), ["canceled 1.1 5 left 0 S"]);
    assert!(venue.run(logout(1)).is_empty());
}

/// Another node leads now: who was logged in at the one before has a while to come over.
#[test]
fn who_does_not_come_over_in_time_is_logged_out_by_sequenced_time() {
    let mut venue = rich();
    let grace = |grace_ns| Command::Control(Control::BeginGrace { grace_ns });
    let login = |port| Command::Login(Login { port: PortId(port) });
    let out = |port, incarnation| EventBody::LoggedOut { port: PortId(port), incarnation };
    let bodies = |events: &[Event]| events.iter().map(|event| event.body).collect::<Vec<_>>();
    port_rules(&mut venue, 1, |rules| rules.cancels_on_disconnect = true);
    // Nobody is logged in: nothing is due.
    venue.at(900, grace(10));
    assert_eq!(venue.engine.next_due(), None);
    for port in [1, 2] {
        venue.at(1_000, login(port));
        venue.at(1_000, buy(port, 1, 5, 10));
    }
    let said = bodies(venue.at(1_000, grace(500)));
    assert_eq!(said, [EventBody::Controlled(Control::BeginGrace { grace_ns: 500 })]);
    assert_eq!(venue.engine.next_due(), Some(Nanos(1_500)));
    // A second takeover within the grace does not extend it: port 1 keeps its time. Port 2 had come over, and has a new one.
    venue.at(1_200, login(2));
    assert_eq!(
        (venue.engine.grace_end(PortId(1)), venue.engine.grace_end(PortId(2))),
        (Some(Nanos(1_500)), None)
    );
    venue.at(1_300, grace(500));
    assert_eq!(venue.engine.grace_end(PortId(1)), Some(Nanos(1_500)));
    assert_eq!(venue.engine.grace_end(PortId(2)), Some(Nanos(1_800)));
    assert!(venue.at(1_499, Command::Tick).is_empty());
    let said = bodies(venue.at(1_500, Command::Tick));
    let cause = venue.engine.last_seq();
    assert_eq!(said, [out(1, 1), EventBody::MassCancelAsked { cause, slice: 0 }]);
    assert_eq!(sweep(&mut venue), ["canceled 1.1 5 left 0 S"]);
    assert_eq!(venue.engine.next_due(), Some(Nanos(1_800)));
    // Orders of a port that does not cancel on disconnect stay; a stale logout says nothing.
    assert_eq!(bodies(venue.at(1_900, Command::Tick)), [out(2, 2)]);
    assert!(venue.run(Command::Logout(Logout { port: PortId(2), incarnation: 2 })).is_empty());
    assert_eq!(venue.engine.next_due(), None);
    // A logout ends the grace, and a login after its end is one like any other.
    venue.at(2_000, login(1));
    venue.at(2_000, grace(u64::MAX));
    assert_eq!(venue.engine.grace_end(PortId(1)), Some(Nanos(u64::MAX)));
    venue.run(Command::Logout(Logout { port: PortId(1), incarnation: 2 }));
    assert_eq!(venue.engine.grace_end(PortId(1)), None);
    // With a dead man, in one tick: its words come first, and what is cancelled is asked for once.
    venue.at(3_000, login(1));
    venue.run(buy(1, 2, 5, 10));
    venue.run(Command::DeadMan(DeadMan { port: PortId(2), timeout_ns: 10 }));
    venue.run(grace(0));
    let said = bodies(venue.at(4_000, Command::Tick));
    let cause = venue.engine.last_seq();
    let expired = EventBody::DeadManExpired { port: PortId(2) };
    assert_eq!(said, [expired, out(1, 3), EventBody::MassCancelAsked { cause, slice: 0 }]);
    assert_eq!(sweep(&mut venue), ["canceled 2.1 5 left 0 S", "canceled 1.2 5 left 0 S"]);
}

#[test]
fn what_became_of_an_order_can_be_asked() {
    let mut venue = rich();
    venue.run(buy(1, 1, 5, 10));
    venue.run(sell(2, 1, 2, 10));
    let ask = |num| {
        Command::OrderStateQuery(OrderStateQuery {
            port: PortId(1),
            user_ref_idx: UserRefIdx(0),
            user_ref_num: UserRefNum(num),
        })
    };
    let mut state = |num| match venue.run(ask(num))[0].body {
        EventBody::OrderState(state) => state,
        other => panic!("{other:?}"),
    };
    let seen = state(1);
    assert!(seen.open);
    assert_eq!((seen.price, seen.leaves_qty, seen.executed_qty), (Price(10), Qty(3), Qty(2)));
    let unknown = state(7);
    assert_eq!(
        (unknown.open, unknown.key.num(), unknown.instrument),
        (false, UserRefNum(7), InstrumentId::NONE)
    );
    let stranger =
        OrderStateQuery { port: PortId(9), user_ref_idx: UserRefIdx(0), user_ref_num: UserRefNum(1) };
    assert!(venue.run(Command::OrderStateQuery(stranger)).is_empty());
}

/// Every operator's command, wrong in every way it can be.
#[test]
fn controls_are_refused_in_the_order_of_their_codes() {
    use AdminRefusal::{Busy, Day, NameTaken, Range, Unknown};
    let mut venue = rich();
    let (stranger, no_port) = (InstrumentId(9), PortId(9));
    let plain = InstrumentRules::PLAIN;
    let rules = |change: fn(&mut InstrumentRules)| {
        let mut rules = plain;
        change(&mut rules);
        Control::SetRules { instrument: BOOK, rules }
    };
    let schedule = |slot, at_s| Control::SetSchedule { instrument: BOOK, slot, at_s, phase: None };
    let tick = |price_tick, tick_value| Control::ChangeTick { instrument: BOOK, price_tick, tick_value };
    let symbol = |text: &str| ironbell_types::Symbol::new(text).unwrap();
    let rename = |instrument, text| Control::ChangeSymbol { instrument, symbol: symbol(text) };
    let mut port_rules = venue.engine.port_rules(PortId(1)).unwrap();
    port_rules.stp = Stp::Port;
    venue.run(buy(1, 1, 1, 1));
    let cases = [
        (Control::SetRules { instrument: stranger, rules: plain }, Unknown),
        (rules(|rules| rules.static_bps = 10_000), Range),
        (rules(|rules| rules.collar_bps = 10_000), Range),
        (rules(|rules| rules.band_bps = 10_000), Range),
        (rules(|rules| rules.reference = Price(-1)), Range),
        (rules(|rules| rules.top_order_max = Qty(1 << 63)), Range),
        (rules(|rules| (rules.algorithm, rules.batch_ns) = (Algorithm::Batch, 999_999)), Range),
        (rules(|rules| (rules.algorithm, rules.batch_ns) = (Algorithm::Batch, 1_000_000)), Busy),
        (schedule(8, 0), Range),
        (schedule(0, 172_800), Range),
        (Control::SetPhase { instrument: stranger, phase: Phase::Halted, reason: *b"    " }, Unknown),
        (Control::SetPortRules { port: no_port, rules: port_rules }, Unknown),
        (Control::SetPortRules { port: PortId(1), rules: port_rules }, Range),
        (Control::SetExposure { firm: FirmId(0), asset: USD, gross_max: None, net_max: None }, Unknown),
        (Control::SetExposure { firm: FIRST, asset: USD, gross_max: None, net_max: Some(Amount(-1)) }, Range),
        (Control::SetCredit { account: AccountId::WORLD, asset: USD, credit_max: None }, Unknown),
        (Control::SetCredit { account: AccountId(1), asset: AssetId(77), credit_max: None }, Unknown),
        (Control::Entitle { port: no_port, instrument: BOOK, allowed: true }, Unknown),
        (Control::Restrict { firm: FirmId(9), instrument: BOOK, restricted: true }, Unknown),
        (Control::Restrict { firm: FirmId(0), instrument: stranger, restricted: true }, Unknown),
        (Control::Locate { id: 1, firm: FIRST, instrument: stranger, qty: 1 }, Unknown),
        (Control::Kill { scope: KillScope::Instrument(stranger), on: true }, Unknown),
        (fees(1, 1, 1), Busy),
        (fees(-2, 1, 1), Range),
        (Control::SetTier { tier: 0, volume_min: 1 }, Range),
        (Control::SetTier { tier: 4, volume_min: 1 }, Range),
        (Control::SetFirmTier { firm: FirmId(9), tier: 9 }, Unknown),
        (Control::SetFirmTier { firm: FIRST, tier: 4 }, Range),
        (bust(MatchNumber::new(Seq(3), 0)), Unknown),
        (Control::Delist { instrument: stranger }, Unknown),
        (tick(0, 1), Range),
        (tick(1, 0), Range),
        (tick(1, 1), Day),
        (rename(stranger, "STOCK"), NameTaken),
        (rename(stranger, "OTHER"), Unknown),
        (rename(BOOK, "OTHER"), Day),
        (Control::MarketWideHalt { level: 0 }, Range),
        (Control::MarketWideHalt { level: 4 }, Range),
    ];
    for (control, refusal) in cases {
        assert_eq!(refused(&mut venue, control), refusal, "{control:?}");
    }
    let mut lasting = order(1, 2, Side::Buy, 1, 1);
    lasting.time_in_force = TimeInForce::Gtc;
    venue.run(Command::EnterOrder(lasting));
    done(&mut venue, Control::CloseDay);
    sweep(&mut venue);
    assert_eq!(refused(&mut venue, Control::MarketWideHalt { level: 1 }), Day);
    let open = Control::SetPhase { instrument: BOOK, phase: Phase::PreOpen, reason: *b"    " };
    assert_eq!(refused(&mut venue, open), Day);
    assert_eq!(refused(&mut venue, tick(1, 1)), Busy);
}

#[test]
fn a_new_tick_and_a_new_name_take_effect_between_days() {
    let mut venue = rich();
    let rules = InstrumentRules { reference: Price(100), static_bps: 1_000, ..InstrumentRules::PLAIN };
    done(&mut venue, Control::SetRules { instrument: BOOK, rules });
    assert_eq!(rejected(&venue.say(buy(1, 1, 1, 89))), Some("FatFinger"));
    done(&mut venue, Control::CloseDay);
    sweep(&mut venue);
    let said = done(&mut venue, Control::ChangeTick { instrument: BOOK, price_tick: 50, tick_value: 50 });
    let EventBody::InstrumentDefined(changed) = said[0] else { panic!("{said:?}") };
    assert_eq!((changed.price_tick(), changed.tick_value), (50, 50));
    assert_eq!(venue.engine.rules(BOOK), Some(InstrumentRules::PLAIN));
    let rename = |text: &str| Control::ChangeSymbol {
        instrument: BOOK,
        symbol: ironbell_types::Symbol::new(text).unwrap(),
    };
    assert_eq!(refused(&mut venue, rename("STOCK")), AdminRefusal::NameTaken, "its own");
    done(&mut venue, rename("OTHER"));
    assert_eq!(venue.run(Command::DefineInstrument(instrument(2, "STOCK", 0, 0))).len(), 1, "free again");
    venue.run(Command::OpenDay(OpenDay { date: 20_261_122, midnight: Nanos(0) }));
    venue.run(buy(1, 2, 1, 89));
    assert_eq!(venue.balance(1, USD).1, 89 * 50);
}

#[test]
fn a_delisted_instrument_is_gone_for_good() {
    let mut venue = rich();
    venue.run(buy(1, 1, 5, 10));
    done(&mut venue, Control::Delist { instrument: BOOK });
    assert_eq!(venue.say(buy(1, 2, 1, 1)), ["rejected 1.2 Symbol"]);
    assert_eq!(sweep(&mut venue), ["canceled 1.1 5 left 0 S"]);
    assert_eq!(refused(&mut venue, Control::Delist { instrument: BOOK }), AdminRefusal::Unknown);
    let again = Command::DefineInstrument(instrument(2, "STOCK", 0, 0));
    assert_eq!(venue.say(again), ["refused NameTaken"]);
    let stale = MassCancelSlice { cause: venue.engine.last_seq(), slice: 3 };
    assert!(venue.run(Command::MassCancelSlice(stale)).is_empty());
}

#[test]
fn a_market_order_holds_the_upper_end_of_the_range() {
    let mut venue = rich();
    let market = |num, side, qty| {
        let mut order = order(1, num, side, qty, 0);
        order.terms.market = true;
        Command::EnterOrder(order)
    };
    assert_eq!(rejected(&venue.say(market(1, Side::Buy, 1))), Some("MarketOrder"));
    let rules = InstrumentRules { reference: Price(100), static_bps: 1_000, ..InstrumentRules::PLAIN };
    done(&mut venue, Control::SetRules { instrument: BOOK, rules });
    let mut stop = order(1, 2, Side::Buy, 3, 0);
    (stop.terms.market, stop.terms.stop) = (true, Price(105));
    assert_eq!(venue.say(Command::EnterOrder(stop)), ["accepted 1.2 3@0 booked"]);
    assert_eq!(venue.balance(1, USD).1, 3 * 110 * TICK_VALUE);
    let shut = Control::SetPhase { instrument: BOOK, phase: Phase::Closed, reason: *b"    " };
    done(&mut venue, shut);
    assert_eq!(venue.say(market(3, Side::Sell, 1)), ["rejected 1.3 Halted"], "by stage 2");
    assert_eq!(venue.balance(1, STOCK).1, 0, "and its hold is free");
    assert!(venue.engine.open_order(OrderKey::new(PortId(1), UserRefIdx(0), UserRefNum(2))).is_some());
    let reason = CancelReason::User;
    assert_eq!(
        venue.say(cancel(1, 2, 0)),
        [format!("canceled 1.2 3 left 0 {} unseen", reason.code() as char)]
    );
}
