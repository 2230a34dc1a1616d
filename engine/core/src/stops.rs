//! Stops, and the waking of an instrument: what a run, a cancel or a new price sets off.

use crate::{
    book::{Extra, Order, Plane},
    index::NONE,
    matching::{Effect, Matching, Voice},
    run::{Aggressor, rests},
};
use alloc::vec::Vec;
use ironbell_types::{CancelReason, EventBody, InstrumentId, OrderRef, Price, Side};

/// Where a stop is due: its stop price, or that of a trailing one with the best last price it saw.
pub(crate) fn stop_price(extra: &Extra, buys: bool) -> u64 {
    let trail = u64::from(extra.terms.trail);
    match (trail, buys) {
        (0, _) => extra.terms.stop.0.cast_unsigned(),
        (_, true) => extra.best.saturating_add(trail),
        (_, false) => extra.best.saturating_sub(trail).max(1),
    }
}

/// Whether a last price triggers a stop.
pub(crate) fn is_due(stop: u64, buys: bool, last: u64) -> bool {
    if buys { last >= stop } else { last <= stop }
}

/// All that decides whether something is due, in a few words: a command that leaves it as it was when nothing was
/// due need not look at each peg, order with discretion and trailing stop again. Never state.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct View {
    last: Option<u64>,
    /// Of the displayed, the hidden and the stops, bids and asks.
    bests: [[Option<u64>; 2]; 3],
    links: u64,
    short_restricted: bool,
}

impl Matching {
    /// Does all that is due without a new order: the next due stop triggers, or else the next order that
    /// meets the other side runs, until there is none. What the command's trades do not allow is left
    /// for the next one.
    pub(crate) fn wake(
        &mut self,
        instrument: InstrumentId,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let mut is_awake = false;
        if self.trading(instrument).is_continuous() {
            while !self.books.is_plain(instrument) {
                let view = self.view(instrument);
                if self.at_rest[instrument.0 as usize - 1] == Some(view) {
                    break;
                }
                let stop = self.next_stop(instrument);
                let meeting = if stop.is_none() { self.next_meeting(instrument) } else { None };
                is_awake = stop.is_some() || meeting.is_some();
                if !is_awake {
                    self.at_rest[instrument.0 as usize - 1] = Some(view);
                }
                // One for the trigger and one for a trade.
                if !is_awake || self.trades_left() < 2 {
                    break;
                }
                if let Some(slot) = stop {
                    self.trigger_waiting(instrument, slot, voice, effects);
                } else if let Some((slot, reach)) = meeting {
                    self.meet(instrument, slot, reach, voice, effects);
                }
                is_awake = false;
            }
        }
        self.trading_mut(instrument).is_awake = is_awake;
    }

    fn view(&self, instrument: InstrumentId) -> View {
        let trading = self.trading(instrument);
        let best = |plane| [true, false].map(|buys| self.books.best(instrument, plane, buys));
        View {
            last: trading.last_price(),
            bests: [Plane::Lit, Plane::Hidden, Plane::Stop].map(best),
            links: self.books.links(instrument),
            short_restricted: trading.rules.short_restricted,
        }
    }

    /// The stop that is due first: buys, lowest stop first, then sells, highest first; of equal ones the
    /// one that came in first.
    fn next_stop(&mut self, instrument: InstrumentId) -> Option<u32> {
        let last = self.trading(instrument).last_price()?;
        self.books.trail(instrument, last);
        [true, false].into_iter().find_map(|buys| {
            let stop = self.books.first(instrument, Plane::Stop, buys);
            let trailing =
                self.books.trailing(instrument).filter(|slot| self.books.order(*slot).side.is_buy() == buys);
            let due = stop.into_iter().chain(trailing).filter_map(|slot| {
                let price = stop_price(self.books.extra(slot)?, buys);
                let rank = (if buys { price } else { !price }, self.books.order(slot).order_ref);
                is_due(price, buys, last).then_some((rank, slot))
            });
            due.min().map(|(_, slot)| slot)
        })
    }

    fn trigger_waiting(
        &mut self,
        instrument: InstrumentId,
        slot: u32,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let order = *self.books.order(slot);
        let extra = *self.books.extra(slot).expect("a stop has terms");
        // In flight it keeps its partner, which must not be found pointing at nothing.
        self.books.remove(slot);
        self.trigger(instrument, order, &extra, extra.partner, voice, effects);
    }

    /// A stop, which is not on the book, triggers and runs as a new order would.
    pub(crate) fn trigger(
        &mut self,
        instrument: InstrumentId,
        mut order: Order,
        extra: &Extra,
        partner: OrderRef,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let last = self.trading(instrument).last_price().expect("a stop is due at a last price");
        voice.say(EventBody::Triggered {
            key: order.key,
            order_ref: order.order_ref,
            instrument,
            price: Price(last.cast_signed()),
        });
        self.spend_trade();
        effects.push(Effect::Triggered { token: order.token });
        if partner.0 != 0 {
            self.cancel_partner(partner, voice, effects);
        }
        order.price = extra.limit;
        let (market, buys) = (extra.terms.market, order.side.is_buy());
        let limit = if market { self.market_limit(instrument, buys, extra.worth) } else { extra.limit };
        let mut aggressor = Aggressor {
            order,
            instrument,
            limit: Some(limit),
            market,
            stp: extra.stp,
            stp_group: extra.terms.stp_group,
            partner: OrderRef(0),
            slot: NONE,
            band: self.trading(instrument).band(),
            inside: false,
        };
        let collar = self.trading(instrument).collar();
        let tested = self.trading(instrument).rules.short_restricted && order.side == Side::SellShort;
        let bid = self.books.best(instrument, Plane::Lit, true);
        if tested && (market || bid.is_some_and(|bid| limit <= bid)) {
            self.cancel_rest(&mut aggressor, CancelReason::Regulatory, voice, effects);
        } else if !market && collar.is_some_and(|collar| !collar.contains(limit)) {
            self.cancel_rest(&mut aggressor, CancelReason::Collar, voice, effects);
        } else {
            self.price_pegs(instrument, !buys);
            let end = self.run(&mut aggressor, voice, effects);
            let rests = rests(extra.time_in_force, market);
            self.end_run(&mut aggressor, Some(extra), rests, end, voice, effects);
        }
        effects.push(Effect::Stands {
            token: order.token,
            leaves_qty: ironbell_types::Qty(aggressor.order.leaves),
            side: order.side,
        });
    }

    /// How far a market order trades: to the collar, a buy never above what it was found worth.
    pub(crate) fn market_limit(&self, instrument: InstrumentId, buys: bool, worth: u64) -> u64 {
        let limit = self.trading(instrument).market_limit(buys);
        if buys { limit.min(worth) } else { limit }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        alone::Alone,
        book::{OF_FIRM_MAX, TRAILING_MAX},
    };
    use ironbell_types::{InstrumentRules, Price};

    /// The first stop's trades reach the second, whose trades reach the third: each is looked at after
    /// the run before it, so that the sell at 95 does not trigger at the price of the first trade.
    #[test]
    fn a_cascade_goes_one_by_one() {
        let mut desk = Alone::new();
        desk.enter_all(&["buy 1 @ 100", "buy 2 @ 98", "buy 2 @ 96", "buy 9 @ 94"]);
        desk.enter_all(&["sell 1 @ 1 stop 95", "sell 2 @ 1 stop 98", "sell 2 @ 1 stop 100"]);
        let said = desk.enter("sell 1 @ 100");
        assert_eq!(
            said,
            [
                "8 accepted",
                "1@100: 1, 8",
                "7 triggered at 100",
                "2@98: 2, 7",
                "6 triggered at 98",
                "2@96: 3, 6",
            ]
        );
        assert_eq!(desk.draw(), "4:9@94 | ; 5:1@1");
    }

    #[test]
    fn buys_trigger_before_sells_the_nearest_first_then_the_oldest() {
        let mut desk = Alone::new();
        desk.enter_all(&["sell 1 @ 50 stop 101", "sell 1 @ 50 stop 103", "buy 1 @ 10 stop 99"]);
        desk.enter_all(&["buy 1 @ 11 stop 98", "buy 1 @ 12 stop 98", "sell 1 @ 51 trail 1"]);
        desk.enter_all(&["sell 1 @ 100", "buy 1 @ 100"]);
        assert_eq!(desk.draw(), "5:1@12 4:1@11 3:1@10 | 2:1@50 1:1@50; 6:1@51");
    }

    #[test]
    fn a_stop_that_is_due_when_it_comes_in_triggers_at_once() {
        let mut desk = Alone::new();
        desk.enter_all(&["sell 3 @ 100", "buy 1 @ 100"]);
        let said = desk.enter("buy 1 @ 100 stop 100");
        assert_eq!(said, ["3 accepted", "3 triggered at 100", "1@100: 1 leaves 1, 3"]);
        assert_eq!(desk.enter("buy 5 @ 99 stop 101 ioc"), ["4 booked @ 99, shows 0"]);
        let said = desk.replace(4, "buy 5 @ 100 stop 100 ioc");
        let trades = ["5 replaces 4", "5 triggered at 100", "1@100: 1, 5 leaves 4", "5 canceled I"];
        assert_eq!(said, trades);
    }

    /// The highest last price is 105, so the stop stands at 102.
    #[test]
    fn a_trailing_stop_follows_the_best_last_price() {
        let mut desk = Alone::new();
        desk.enter_all(&["sell 1 @ 100", "buy 1 @ 100", "sell 7 @ 90 trail 3"]);
        for price in [105, 103] {
            desk.enter(&alloc::format!("sell 1 @ {price}"));
            assert_eq!(desk.enter(&alloc::format!("buy 1 @ {price}")).len(), 2);
        }
        desk.enter("sell 1 @ 102");
        let said = desk.enter("buy 1 @ 102");
        let expected = ["9 accepted", "1@102: 8, 9", "3 triggered at 102", "3 rests @ 90, shows 7"];
        assert_eq!(said, expected);
    }

    #[test]
    fn trailing_stops_have_an_end() {
        let mut desk = Alone::new();
        let has_room = |desk: &mut Alone, firm: u32| {
            let next = desk.seq + 1;
            let said = desk.enter(&alloc::format!("buy 1 @ 90 trail 3 firm {firm}"));
            let refused = [alloc::format!("{next} accepted"), alloc::format!("{next} canceled I")];
            assert!(said.len() == 1 || said == refused);
            said != refused
        };
        let firms = TRAILING_MAX / OF_FIRM_MAX as u32;
        for firm in 1..=firms {
            desk.checks = false;
            for _ in 0..OF_FIRM_MAX {
                assert_eq!(desk.enter(&alloc::format!("sell 1 @ 90 trail 3 firm {firm}")).len(), 1);
            }
            desk.checks = firm == firms;
            assert!(!has_room(&mut desk, firm));
        }
        assert!(!has_room(&mut desk, firms + 1));
        desk.cancel(7, 0);
        assert!(has_room(&mut desk, firms + 1));
        assert!(!has_room(&mut desk, 1));
    }

    #[test]
    fn a_triggered_limit_beyond_the_collar_is_cancelled() {
        let rules = InstrumentRules { reference: Price(100), collar_bps: 300, ..InstrumentRules::PLAIN };
        let mut desk = Alone::with_rules(rules);
        desk.enter_all(&["buy 1 @ 104 stop 100", "buy 1 @ 103 stop 100", "sell 1 @ 100"]);
        let said = desk.enter("buy 1 @ 100");
        assert_eq!(said[2..4], ["2 triggered at 100", "2 canceled K"]);
        assert_eq!(said[4..], ["3 triggered at 100", "3 rests @ 103, shows 1"]);
    }

    /// *Triggered* comes before its partner's cancel, and what rests afterwards is a plain order behind
    /// all at its price.
    #[test]
    fn a_trigger_takes_its_partner_and_rests_behind() {
        let mut desk = Alone::new();
        desk.enter_all(&["buy 4 @ 99 stop 100", "sell 2 @ 120 with 1", "buy 1 @ 99", "sell 1 @ 100"]);
        let said = desk.enter("buy 1 @ 100");
        let expected =
            ["5 accepted", "1@100: 4, 5", "1 triggered at 100", "2 canceled Z", "1 rests @ 99, shows 4"];
        assert_eq!(said, expected);
        assert_eq!(desk.draw(), "3:1@99 1:4@99 | ");
    }
}
