//! An order comes in: new, in place of another, or as one of a quote. It is refused, or its acceptance is
//! said, and then it waits, rests or runs.

use crate::{
    book::{Extra, Order, Plane, within},
    index::NONE,
    matching::{Effect, Incoming, Matching, Spent, Voice, said},
    run::{Aggressor, End, rests},
    stops::{is_due, stop_price},
};
use alloc::vec::Vec;
use ironbell_types::{
    Accepted, CancelReason, ClOrdId, EventBody, InstrumentId, OrderKey, OrderRef, OrderTerms, Peg, Phase,
    Price, Qty, Reject, Replaced, Shown, Side, TimeInForce, UserRefNum,
};

/// The line of market orders that wait for a cross: before all limits of their side.
const MARKET_LINE: [u64; 2] = [0, 1 << 63];

impl Matching {
    /// A new order takes the place of another.
    #[inline(never)]
    pub(crate) fn replace(
        &mut self,
        orig: OrderRef,
        total: Qty,
        incoming: &Incoming,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        if self.is_calm_for(incoming, voice.time()) {
            return self.replace_calm(orig, total, incoming, voice, effects);
        }
        self.spent = Spent::default();
        let side = incoming.order.side;
        let instrument = incoming.order.instrument;
        let mut found = self.books.find(orig);
        if found.is_none_or(|slot| total.0 <= self.books.order(slot).executed) {
            return self.lapse(orig, incoming, voice, effects);
        }
        let is_due = self.agenda.is_due(instrument.0 as usize - 1, voice.time());
        if is_due {
            let before = self.standing(orig);
            self.advance(instrument, voice, effects);
            // What a timer took from the original its replacement has no funds for.
            found = self.books.find(orig).filter(|_| self.standing(orig) == before);
        }
        let quiet = !is_due && self.is_quiet(instrument);
        let refused = Effect::Stands { token: incoming.token, leaves_qty: Qty::ZERO, side };
        if let Some(slot) = found {
            if let Some(reason) = self.refuse(incoming, true) {
                let Accepted { key, cl_ord_id, .. } = incoming.order;
                voice.say(EventBody::Rejected { key, reason, cl_ord_id });
                effects.push(refused);
            } else {
                let original = Original::of(self.books.order(slot), self.books.shown(slot));
                let Order { executed, token, .. } = *self.books.order(slot);
                self.books.remove(slot);
                effects.push(Effect::Gone { token, by: incoming.token });
                let order = rest_of(incoming, total, executed);
                let booked = self.enter(&order, executed, incoming, Some(&original), voice, effects);
                if booked {
                    // Its hold stands beside its original's until this settles it.
                    effects.push(Effect::Stands { token: incoming.token, leaves_qty: order.qty, side });
                }
            }
        } else {
            effects.push(refused);
        }
        self.finish(instrument, quiet, voice, effects);
    }

    /// The same where all is plain and orders trade as they come.
    #[inline(always)]
    fn replace_calm(
        &mut self,
        orig: OrderRef,
        total: Qty,
        incoming: &Incoming,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let found = self.books.locate(orig);
        let Some(found) = found.filter(|found| total.0 > self.books.order(found.slot).executed) else {
            return self.lapse(orig, incoming, voice, effects);
        };
        let Accepted { instrument, side, .. } = incoming.order;
        let standing = self.books.order(found.slot);
        let original = Original::of(standing, standing.shown_whole());
        let Order { executed, token, .. } = *standing;
        self.books.remove_plain(instrument, found);
        effects.push(Effect::Gone { token, by: incoming.token });
        let order = rest_of(incoming, total, executed);
        if self.enter_calm(&order, executed, incoming, Some(&original), voice, effects) {
            effects.push(Effect::Stands { token: incoming.token, leaves_qty: order.qty, side });
        }
    }

    /// A replacement finds nothing to replace, or nothing that is left of the total it asks for: what stage 1 would
    /// have seen, had it not gone ahead. The latter is a cancel, the former nothing at all.
    #[cold]
    fn lapse(
        &mut self,
        orig: OrderRef,
        incoming: &Incoming,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        effects.push(Effect::Lapsed { token: incoming.token });
        self.take_off(orig, Qty::ZERO, voice, effects);
    }

    /// What an order has left and has executed; `None` when it is not open.
    fn standing(&self, order_ref: OrderRef) -> Option<(u64, u64)> {
        let order = self.books.order(self.books.find(order_ref)?);
        Some((order.leaves, order.executed))
    }

    /// Two orders take the place of two.
    pub(crate) fn quote(
        &mut self,
        instrument: InstrumentId,
        key: OrderKey,
        old: &[Option<OrderRef>; 2],
        new: &[Option<Incoming>; 2],
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let standing = |matching: &Self| old.map(|old| matching.standing(old?));
        let before = standing(self);
        let quiet = self.prepare(instrument, voice, effects);
        let reason = if self.trading(instrument).is_shut() {
            Some(Reject::Halted)
        } else {
            (standing(self) != before).then_some(Reject::Other)
        };
        if let Some(reason) = reason {
            voice.say(EventBody::Rejected { key, reason, cl_ord_id: ClOrdId::default() });
            effects.extend(new.iter().flatten().map(|incoming| Effect::Stands {
                token: incoming.token,
                leaves_qty: Qty::ZERO,
                side: incoming.order.side,
            }));
            return quiet;
        }
        for old in old.iter().flatten() {
            if let Some(slot) = self.books.find(*old) {
                self.cancel(slot, 0, CancelReason::User, voice, effects);
            }
        }
        for incoming in new.iter().flatten() {
            let order = &incoming.order;
            let booked = self.enter(order, 0, incoming, None, voice, effects);
            if booked {
                // The hold of a quote stands beside its earlier one's until this settles it.
                effects.push(Effect::Stands {
                    token: incoming.token,
                    leaves_qty: order.qty,
                    side: order.side,
                });
            }
        }
        quiet
    }

    #[inline(always)]
    pub(crate) fn enter_new(
        &mut self,
        incoming: &Incoming,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(reason) = self.refuse(incoming, false) {
            let Accepted { key, cl_ord_id, side, .. } = incoming.order;
            voice.say(EventBody::Rejected { key, reason, cl_ord_id });
            effects.push(Effect::Stands { token: incoming.token, leaves_qty: Qty::ZERO, side });
            return;
        }
        self.enter(&incoming.order, 0, incoming, None, voice, effects);
    }

    /// Why an order cannot come in now, in the order of precedence.
    #[inline(always)]
    fn refuse(&self, incoming: &Incoming, is_replacement: bool) -> Option<Reject> {
        let trading = self.trading(incoming.order.instrument);
        let order = &incoming.order;
        let is_usual = trading.is_continuous()
            && order.time_in_force != TimeInForce::AtOpen
            && incoming.pair.is_none()
            && !trading.rules.short_restricted;
        if is_usual { None } else { self.refuse_unusual(incoming, is_replacement) }
    }

    #[inline(never)]
    fn refuse_unusual(&self, incoming: &Incoming, is_replacement: bool) -> Option<Reject> {
        let order = &incoming.order;
        let trading = self.trading(order.instrument);
        if trading.is_shut() {
            return Some(Reject::Halted);
        }
        let terms = incoming.terms();
        let is_stop = terms.is_stop();
        let of_cross = matches!(order.time_in_force, TimeInForce::AtOpen | TimeInForce::AtClose);
        let at_once = matches!(order.time_in_force, TimeInForce::Ioc | TimeInForce::Fok);
        if trading.is_call() && !is_stop && (at_once || (terms.market && !of_cross)) {
            return Some(Reject::Halted);
        }
        let before_open = matches!(trading.phase, Phase::PreOpen | Phase::OpeningAuction);
        if !is_replacement && order.time_in_force == TimeInForce::AtOpen && !before_open {
            return Some(Reject::CrossOrder);
        }
        if trading.rules.short_restricted
            && trading.phase == Phase::Continuous
            && order.side == Side::SellShort
            && !is_stop
        {
            let bid = self.books.best(order.instrument, Plane::Lit, true);
            let Price(discretion) = terms.discretion;
            let lowest = if discretion == 0 { order.price.0 } else { discretion };
            if terms.market || bid.is_some_and(|bid| lowest.cast_unsigned() <= bid) {
                return Some(Reject::ShortRestricted);
            }
        }
        let pair = incoming.pair?;
        let is_free = self.books.find(pair).is_some_and(|slot| self.books.partner(slot).is_none());
        if is_free { None } else { Some(Reject::Other) }
    }

    /// A plain order comes in where all is plain and orders trade as they come.
    #[inline(always)]
    pub(crate) fn enter_calm(
        &mut self,
        order: &Accepted,
        executed: u64,
        incoming: &Incoming,
        original: Option<&Original>,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let buys = order.side.is_buy();
        let limit = order.price.0.cast_unsigned();
        let best = self.books.best(order.instrument, Plane::Lit, !buys);
        let stands = best.is_some_and(|best| within(best, limit, !buys));
        if !stands && rests(order.time_in_force, false) {
            // What most orders do: nothing asks for more than a place in line.
            self.books.insert(order.instrument, &entry(order, executed, incoming));
            let entering = Entering { order, incoming, original };
            entering.accept(order.price, true, order.qty.0, voice);
            return true;
        }
        if stands && order.options.is_post_only() {
            self.spent = Spent::default();
            return self.enter(order, executed, incoming, original, voice, effects);
        }
        Entering { order, incoming, original }.accept(order.price, false, 0, voice);
        self.run_calm(order, executed, incoming, voice, effects);
        false
    }

    /// An order comes in: its acceptance is said, it waits, rests or runs, and what is left rests or is
    /// cancelled. Returns whether it was booked.
    fn enter(
        &mut self,
        order: &Accepted,
        executed: u64,
        incoming: &Incoming,
        original: Option<&Original>,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let entering = Entering { order, incoming, original };
        let mut aggressor = aggressor(order, executed, incoming);
        aggressor.band = self.trading(order.instrument).band();
        if incoming.is_plain() {
            if self.trading(order.instrument).is_call() {
                return self.enter_call(&entering, aggressor, None, voice, effects);
            }
            return self.start(&entering, aggressor, None, voice, effects);
        }
        self.enter_special(&entering, aggressor, voice, effects)
    }

    #[inline(never)]
    fn enter_special(
        &mut self,
        entering: &Entering<'_>,
        mut aggressor: Aggressor,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Entering { order, incoming, .. } = *entering;
        let terms = incoming.terms();
        let price = aggressor.order.price;
        let instrument = order.instrument;
        let buys = order.side.is_buy();
        let trading = self.trading(instrument);
        let worth = match trading.static_range() {
            Some(range) if terms.market => range.upper,
            _ => i64::MAX as u64,
        };
        let is_call = trading.is_call();
        let mut extra = Extra::new(instrument, terms, order.time_in_force, incoming.stp, price, worth);
        aggressor.partner = incoming.pair.unwrap_or_default();
        if let Some(slot) = self.books.find(aggressor.partner) {
            self.books.pair(slot, order.order_ref);
        }
        if terms.is_stop() {
            return self.enter_stop(entering, aggressor, extra, voice, effects);
        }
        let plane = match order.time_in_force {
            TimeInForce::AtOpen => Some(Plane::AtOpen),
            TimeInForce::AtClose => Some(Plane::AtClose),
            _ => None,
        };
        if let Some(plane) = plane {
            if terms.market {
                aggressor.order.price = MARKET_LINE[usize::from(buys)];
            }
            extra.partner = aggressor.partner;
            entering.accept(order.price, true, 0, voice);
            self.books.insert_special(plane, &aggressor.order, &extra);
            return true;
        }
        aggressor.market = terms.market;
        aggressor.stp_group = terms.stp_group;
        aggressor.limit = match (terms.peg, terms.market, terms.discretion.0) {
            (Peg::None, true, _) => Some(self.market_limit(instrument, buys, worth)),
            (Peg::None, false, 0) => Some(price),
            (Peg::None, false, discretion) => Some(discretion.cast_unsigned()),
            _ => self.quotes(instrument).peg(&terms, price, buys),
        };
        if is_call {
            self.enter_call(entering, aggressor, Some(&extra), voice, effects)
        } else {
            self.start(entering, aggressor, Some(&mut extra), voice, effects)
        }
    }

    /// An order comes in that may trade.
    #[inline(always)]
    fn start(
        &mut self,
        entering: &Entering<'_>,
        mut aggressor: Aggressor,
        mut extra: Option<&mut Extra>,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Entering { order, incoming, .. } = *entering;
        let buys = aggressor.buys();
        let limit = aggressor.limit.filter(|_| !aggressor.market);
        self.price_pegs_within(order.instrument, !buys, limit);
        let (mut stands, mut first) = self.look(&aggressor);
        let mut killed = None;
        if order.options.is_post_only()
            && let Some(best) = first
        {
            match slid(best, buys).filter(|_| incoming.slides) {
                None => killed = Some(CancelReason::PostOnly),
                Some(price) => {
                    (aggressor.order.price, aggressor.limit) = (price, Some(price));
                    if let Some(extra) = extra.as_deref_mut() {
                        extra.limit = price;
                    }
                    (stands, first) = (false, None);
                    effects.push(Effect::Slid { token: incoming.token, price: said(price) });
                }
            }
        }
        if killed.is_none()
            && let Some(least) = least(order)
            && (first.is_none() || !self.could_trade(&aggressor, least))
        {
            killed = Some(CancelReason::Immediate);
        }
        let extra = extra.as_deref();
        let rests = rests(order.time_in_force, aggressor.market);
        let booked = rests && !stands && killed.is_none() && self.has_room(&aggressor, extra);
        if booked {
            self.rest_whole(entering, &aggressor, extra, voice);
            return true;
        }
        entering.accept(said(aggressor.order.price), false, 0, voice);
        if let Some(reason) = killed {
            self.cancel_rest(&mut aggressor, reason, voice, effects);
            self.books.unpair(aggressor.partner);
        } else {
            let end = self.run(&mut aggressor, voice, effects);
            self.end_run(&mut aggressor, extra, rests, end, voice, effects);
        }
        let leaves_qty = Qty(aggressor.order.leaves);
        effects.push(Effect::Stands { token: incoming.token, leaves_qty, side: order.side });
        false
    }

    /// An order comes in while nothing trades: it rests.
    fn enter_call(
        &mut self,
        entering: &Entering<'_>,
        mut aggressor: Aggressor,
        extra: Option<&Extra>,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) -> bool {
        if self.has_room(&aggressor, extra) {
            self.rest_whole(entering, &aggressor, extra, voice);
            return true;
        }
        entering.accept(entering.order.price, false, 0, voice);
        self.end_run(&mut aggressor, extra, true, End::Dry, voice, effects);
        effects.push(entering.stands(Qty::ZERO));
        false
    }

    /// An order rests whole, and its acceptance says so.
    #[inline(always)]
    fn rest_whole(
        &mut self,
        entering: &Entering<'_>,
        aggressor: &Aggressor,
        extra: Option<&Extra>,
        voice: &mut Voice<'_>,
    ) {
        let slot = self.rest(aggressor, extra);
        entering.accept(said(aggressor.order.price), true, self.books.shown(slot).qty.0, voice);
    }

    /// A stop comes in: it waits, unless it is due at once.
    fn enter_stop(
        &mut self,
        entering: &Entering<'_>,
        mut aggressor: Aggressor,
        mut extra: Extra,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let order = entering.order;
        let instrument = order.instrument;
        let buys = order.side.is_buy();
        let last = self.trading(instrument).last_price();
        let OrderTerms { trail, stop, .. } = extra.terms;
        extra.best = last.filter(|_| trail != 0).unwrap_or(0);
        let is_due = |last| is_due(stop_price(&extra, buys), buys, last);
        if self.trading(instrument).is_continuous() && last.is_some_and(is_due) {
            entering.accept(order.price, false, 0, voice);
            self.trigger(instrument, aggressor.order, &extra, aggressor.partner, voice, effects);
            return false;
        }
        let plane = if trail == 0 { Plane::Stop } else { Plane::Trailing };
        let booked = plane == Plane::Stop || self.books.has_trailing_room(instrument, order.firm);
        entering.accept(order.price, booked, 0, voice);
        if booked {
            extra.partner = aggressor.partner;
            aggressor.order.price = stop.0.cast_unsigned();
            self.books.insert_special(plane, &aggressor.order, &extra);
            return true;
        }
        self.books.unpair(aggressor.partner);
        self.cancel_rest(&mut aggressor, CancelReason::Immediate, voice, effects);
        effects.push(entering.stands(Qty::ZERO));
        false
    }
}

/// A new order on its way in.
struct Entering<'a> {
    /// As it is said, its quantity what is left of the chain.
    order: &'a Accepted,
    incoming: &'a Incoming,
    original: Option<&'a Original>,
}

/// What a new order replaces.
pub(crate) struct Original {
    order_ref: OrderRef,
    num: UserRefNum,
    /// How it stood on the feed.
    shown: Shown,
}

impl Original {
    #[inline(always)]
    fn of(order: &Order, shown: Shown) -> Self {
        Self { order_ref: order.order_ref, num: order.key.num(), shown }
    }
}

impl Entering<'_> {
    #[inline(always)]
    fn accept(&self, price: Price, booked: bool, shown_qty: u64, voice: &mut Voice<'_>) {
        if let Some(terms) = &self.incoming.terms {
            self.say_terms(terms, voice);
        }
        let order = || {
            // Copied whole and changed: a struct update would move it field by field.
            let mut order = *self.order;
            (order.price, order.booked, order.shown_qty) = (price, booked, Qty(shown_qty));
            order
        };
        match self.original {
            None => voice.say_with(|| EventBody::Accepted(order())),
            Some(original) => voice.say_with(|| {
                EventBody::Replaced(Replaced {
                    orig_user_ref_num: original.num,
                    orig_order_ref: original.order_ref,
                    orig_shown: original.shown,
                    order: order(),
                })
            }),
        }
    }

    #[cold]
    fn say_terms(&self, terms: &OrderTerms, voice: &mut Voice<'_>) {
        let Accepted { key, order_ref, .. } = *self.order;
        voice.say(EventBody::Terms { key, order_ref, terms: *terms });
    }

    fn stands(&self, leaves_qty: Qty) -> Effect {
        Effect::Stands { token: self.incoming.token, leaves_qty, side: self.order.side }
    }
}

/// A replacement as what its chain has not executed yet, of which there must be some.
#[inline(always)]
fn rest_of(incoming: &Incoming, total: Qty, executed: u64) -> Accepted {
    assert!(total.0 > executed, "a replacement is of more than was executed");
    // Copied whole and changed: a struct update would move it field by field.
    let mut order = incoming.order;
    order.qty = Qty(total.0 - executed);
    order
}

/// The order as one that runs with its own limit.
#[inline(always)]
fn aggressor(order: &Accepted, executed: u64, incoming: &Incoming) -> Aggressor {
    Aggressor {
        order: entry(order, executed, incoming),
        instrument: order.instrument,
        limit: Some(order.price.0.cast_unsigned()),
        market: false,
        stp: incoming.stp,
        stp_group: [0; 2],
        partner: OrderRef(0),
        slot: NONE,
        band: None,
        inside: false,
    }
}

/// The order as it would stand on the book.
#[inline(always)]
pub(crate) fn entry(order: &Accepted, executed: u64, incoming: &Incoming) -> Order {
    assert!(order.qty.0 > 0);
    assert!(order.price.0 > 0 || incoming.terms().market);
    Order::new(
        order.order_ref,
        order.key,
        order.qty.0,
        executed,
        order.price.0.cast_unsigned(),
        incoming.token,
        order.firm,
        order.options.group.unwrap_or(0),
        order.side,
        order.display,
        order.time_in_force,
    )
}

/// The least that an order must trade at once, if there is such.
#[inline(always)]
fn least(order: &Accepted) -> Option<Qty> {
    if order.time_in_force == TimeInForce::Fok {
        return Some(order.qty);
    }
    (order.options.min_qty != 0).then(|| Qty(u64::from(order.options.min_qty)))
}

/// One tick short of a price of the other side; `None` when there is no such price.
fn slid(best: u64, buys: bool) -> Option<u64> {
    let price = if buys { best - 1 } else { best + 1 };
    (1..=i64::MAX as u64).contains(&price).then_some(price)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        alone::{Alone, ONE},
        matching::Request,
    };
    use ironbell_types::{InstrumentRules, Seq};

    #[test]
    fn a_quote_takes_the_place_of_the_one_before() {
        let mut desk = Alone::new();
        let quote = |desk: &mut Alone, old: [Option<u64>; 2], lines: [Option<&str>; 2]| {
            desk.seq += 1;
            let seq = Seq(desk.seq);
            let new = [0u32, 1].map(|side| {
                let mut incoming = desk.incoming(lines[side as usize]?);
                incoming.order.order_ref = OrderRef::new(seq, side);
                incoming.token = seq.0 as u32 * 10 + side;
                Some(incoming)
            });
            let old = [0, 1].map(|side| Some(OrderRef::new(Seq(old[side as usize]?), side)));
            desk.run(&Request::Quote { instrument: ONE, key: OrderKey(seq.0), old, new })
        };
        let said = quote(&mut desk, [None, None], [Some("buy 5 @ 99"), Some("sell 5 @ 101")]);
        assert_eq!(said, ["1 booked @ 99", "1 booked @ 101"]);
        desk.enter("sell 2 @ 99 firm 2");
        let said = quote(&mut desk, [Some(1), Some(1)], [Some("buy 4 @ 100"), None]);
        assert_eq!(said, ["1 canceled U", "1 canceled U", "3 booked @ 100"]);
        desk.ask(&Request::SetPhase { instrument: ONE, phase: Phase::Halted, reason: *b"T1  " });
        let said = quote(&mut desk, [Some(3), None], [Some("buy 4 @ 98"), Some("sell 4 @ 105")]);
        assert_eq!(said, ["5 rejected Halted"]);
        assert_eq!(desk.draw(), "3:4@100 | ");
    }

    #[test]
    fn the_price_test_refuses_short_sales_at_the_bid() {
        let rules = InstrumentRules { short_restricted: true, ..InstrumentRules::PLAIN };
        let mut desk = Alone::with_rules(rules);
        desk.enter("buy 5 @ 100");
        assert_eq!(desk.enter("sell 1 @ 100 short"), ["3 rejected ShortRestricted"]);
        assert_eq!(desk.enter("sell 1 @ 101 short"), ["4 booked @ 101"]);
        assert_eq!(desk.enter("sell 1 market short ioc"), ["5 rejected ShortRestricted"]);
        assert_eq!(desk.enter("sell 1 @ 99 stop 98 short"), ["6 booked @ 99, shows 0"]);
        assert_eq!(desk.enter("sell 1 @ 100"), ["7 accepted", "1@100: 2 leaves 4, 7"]);
    }
}
