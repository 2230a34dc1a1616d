//! A run: an order trades with the other side, best price first, until its limit, the band or the
//! command's trades stop it.

use crate::{
    book::{Books, Extra, Order, Plane, within},
    enter::entry,
    index::NONE,
    matching::{Effect, Fill, Incoming, Matching, Voice, said},
    phase::{Range, Traded},
};
use alloc::vec::Vec;
use ironbell_types::{
    Accepted, Algorithm, CancelReason, Canceled, CrossKind, EventBody, Executed, InstrumentId, MatchNumber,
    OrderKey, OrderRef, Peg, Price, Qty, Rested, Shown, Stp, TimeInForce, Trade,
};

/// The order that runs.
pub(crate) struct Aggressor {
    /// As it would rest, its leaves those of the moment.
    pub(crate) order: Order,
    pub(crate) instrument: InstrumentId,
    /// The worst price it trades at; `None` when it does not trade at all: a peg without a price.
    pub(crate) limit: Option<u64>,
    pub(crate) market: bool,
    pub(crate) stp: Stp,
    pub(crate) stp_group: [u8; 2],
    /// The order it is paired with; 0 is none.
    pub(crate) partner: OrderRef,
    /// Its place on the book when it meets the other side from there; else [`NONE`].
    pub(crate) slot: u32,
    /// Where runs may trade; `None` is anywhere.
    pub(crate) band: Option<Range>,
    /// One of its trades was strictly inside the band.
    pub(crate) inside: bool,
}

impl Aggressor {
    pub(crate) fn buys(&self) -> bool {
        self.order.side.is_buy()
    }

    /// How it stands on the feed.
    pub(crate) fn shown(&self, books: &Books) -> Shown {
        if self.slot == NONE { Shown::default() } else { books.shown(self.slot) }
    }
}

/// How a run ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing is left of it.
    Done,
    /// Nothing more stands within its limit.
    Dry,
    /// Something stands within its limit that it may not trade with.
    Stopped {
        /// The band keeps it from trading, not the collar.
        by_band: bool,
    },
    /// The command may make no more trades.
    Spent,
}

/// What comes next on the other side.
#[derive(Clone, Copy)]
pub(crate) struct Opposite {
    pub(crate) slot: u32,
    pub(crate) price: u64,
    pub(crate) plane: Plane,
}

impl Matching {
    /// The next order that the aggressor would trade with, whatever its price.
    #[inline(always)]
    fn opposite(&self, aggressor: &Aggressor) -> Option<Opposite> {
        let (instrument, buys) = (aggressor.instrument, !aggressor.buys());
        if self.books.is_plain(instrument) {
            let slot = self.books.first(instrument, Plane::Lit, buys)?;
            return Some(Opposite { slot, price: self.books.order(slot).price, plane: Plane::Lit });
        }
        self.opposite_of_all(instrument, buys)
    }

    #[inline(never)]
    fn opposite_of_all(&self, instrument: InstrumentId, buys: bool) -> Option<Opposite> {
        let line = |plane| {
            let slot = self.books.first(instrument, plane, buys)?;
            Some(Opposite { slot, price: self.books.order(slot).price, plane })
        };
        let pegs = self.pegs.iter().skip_while(|peg| self.books.find(peg.order_ref) != Some(peg.slot));
        let peg = pegs.map(|peg| Opposite { slot: peg.slot, price: peg.price, plane: Plane::Peg }).next();
        // Of equal prices the first stays: displayed, hidden, pegs.
        [line(Plane::Lit), line(Plane::Hidden), peg].into_iter().flatten().reduce(|best, other| {
            if other.price != best.price && within(other.price, best.price, buys) { other } else { best }
        })
    }

    /// What keeps the aggressor from trading at a price of the other side, if anything does.
    #[inline(always)]
    fn obstacle(aggressor: &Aggressor, price: u64) -> Option<End> {
        let beyond = |limit| !within(price, limit, !aggressor.buys());
        if aggressor.limit.is_none_or(beyond) {
            return Some(if aggressor.market { End::Stopped { by_band: false } } else { End::Dry });
        }
        let banned = aggressor.band.is_some_and(|band| !band.contains(price));
        banned.then_some(End::Stopped { by_band: true })
    }

    /// Whether something stands within the aggressor's limit, and the first that it may trade with.
    #[inline(always)]
    pub(crate) fn look(&self, aggressor: &Aggressor) -> (bool, Option<u64>) {
        let Some(opposite) = self.opposite(aggressor) else { return (false, None) };
        match Self::obstacle(aggressor, opposite.price) {
            None => (true, Some(opposite.price)),
            Some(obstacle) => (obstacle != End::Dry, None),
        }
    }

    /// Trades until nothing is left or something stops it. The pegs' prices of the moment must have
    /// been taken ([`Self::price_pegs`]).
    #[inline(always)]
    pub(crate) fn run(
        &mut self,
        aggressor: &mut Aggressor,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) -> End {
        let shares = self.trading(aggressor.instrument).rules.algorithm == Algorithm::ProRata;
        while aggressor.order.leaves > 0 {
            let Some(opposite) = self.opposite(aggressor) else { return End::Dry };
            if let Some(obstacle) = Self::obstacle(aggressor, opposite.price) {
                return obstacle;
            }
            if self.trades_left() == 0 {
                return End::Spent;
            }
            if shares && opposite.plane == Plane::Lit {
                self.share(aggressor, opposite.price, voice, effects);
            } else if self.is_prevented(aggressor, opposite.slot) {
                self.prevent(aggressor, opposite.slot, opposite.price, voice, effects);
            } else {
                let slot = opposite.slot;
                let at_once = self.books.tradable(slot);
                let qty = aggressor.order.leaves.min(at_once);
                self.trade(aggressor, opposite.slot, opposite.price, qty, voice, effects);
            }
        }
        End::Done
    }

    /// The run of an order that trades with as little as there is, where all is plain, it too, and with what does not rest
    /// of it. Nothing bounds it but its limit, and time decides at each price. The rules are those of
    /// [`Matching::run`]; nearly all trades are made here.
    #[inline(always)]
    pub(crate) fn run_calm(
        &mut self,
        order: &Accepted,
        executed: u64,
        incoming: &Incoming,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let Accepted { key, order_ref, instrument, side, .. } = *order;
        let (buys, limit) = (side.is_buy(), order.price.0.cast_unsigned());
        let token = incoming.token;
        let mut leaves = order.qty.0;
        let mut sum = Traded::NOTHING;
        let is_spent = loop {
            let front = if leaves > 0 { self.books.front(instrument, !buys) } else { None };
            let Some((price, slot)) = front.filter(|(price, _)| within(*price, limit, !buys)) else {
                break false;
            };
            if sum.trades == self.trades_max {
                break true;
            }
            let resting = self.books.order(slot);
            let qty = leaves.min(resting.leaves);
            leaves -= qty;
            let match_number = MatchNumber::new(voice.seq(), sum.trades);
            let comer = Comer { key, order_ref, leaves, token, buys, shown: Shown::default() };
            let deal = Deal { match_number, instrument, price, qty, shown: resting.shown_whole() };
            deal.tell(resting, &comer, voice, effects);
            sum.add(price, qty);
            self.books.execute_plain(instrument, slot, qty);
        };
        if sum.trades > 0 {
            self.trading_mut(instrument).note_trades(&sum);
        }
        if leaves > 0 && !is_spent && rests(order.time_in_force, false) {
            let mut rest = entry(order, executed + (order.qty.0 - leaves), incoming);
            rest.leaves = leaves;
            self.books.insert(instrument, &rest);
            voice.say_with(|| rested(&rest, instrument, rest.shown_whole(), rest.price));
        } else if leaves > 0 {
            voice.say_with(|| canceled(key, order_ref, instrument, leaves, CancelReason::Immediate));
            leaves = 0;
        }
        effects.push(Effect::Stands { token, leaves_qty: Qty(leaves), side });
    }

    /// One trade, and what follows from it: pairs and the next part of an iceberg order.
    #[inline(always)]
    pub(crate) fn trade(
        &mut self,
        aggressor: &mut Aggressor,
        slot: u32,
        price: u64,
        qty: u64,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let buys = aggressor.buys();
        let instrument = aggressor.instrument;
        let shown = self.books.shown(slot);
        let aggressor_shown = aggressor.shown(&self.books);
        let match_number = self.next_match_number(voice);
        let resting = self.books.order(slot);
        let is_special = resting.is_special();
        let order = &mut aggressor.order;
        order.leaves -= qty;
        order.executed += qty;
        let Order { key, order_ref, leaves, token, .. } = *order;
        let comer = Comer { key, order_ref, leaves, token, buys, shown: aggressor_shown };
        Deal { match_number, instrument, price, qty, shown }.tell(resting, &comer, voice, effects);
        self.trading_mut(instrument).note_trade(price, qty);
        aggressor.inside |= aggressor.band.is_some_and(|band| band.lower < price && price < band.upper);
        if is_special || aggressor.slot != NONE || aggressor.partner.0 != 0 {
            return self.execute_special(aggressor, slot, qty, voice, effects);
        }
        self.books.execute(slot, qty);
    }

    #[inline(never)]
    fn execute_special(
        &mut self,
        aggressor: &mut Aggressor,
        slot: u32,
        qty: u64,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let resting_ref = self.books.order(slot).order_ref;
        let partner = self.books.partner(slot);
        self.books.execute(slot, qty);
        if aggressor.slot != NONE {
            self.books.execute(aggressor.slot, qty);
            let order = &aggressor.order;
            let leaves_qty = Qty(order.leaves);
            effects.push(Effect::Stands { token: order.token, leaves_qty, side: order.side });
        }
        if let Some(partner) = partner {
            if partner == aggressor.order.order_ref {
                self.cancel_rest(aggressor, CancelReason::System, voice, effects);
            } else {
                self.cancel_partner(partner, voice, effects);
            }
        }
        if aggressor.partner.0 != 0 {
            self.cancel_partner(aggressor.partner, voice, effects);
            aggressor.partner = OrderRef(0);
        }
        if self.books.find(resting_ref) == Some(slot) && self.books.is_used_up(slot) {
            self.refresh(slot, voice);
        }
    }

    /// Cancels the other order of a pair, if it is still open.
    pub(crate) fn cancel_partner(
        &mut self,
        partner: OrderRef,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(slot) = self.books.find(partner) {
            self.cancel(slot, 0, CancelReason::System, voice, effects);
        }
    }

    /// Cancels what is left of the aggressor, wherever it is.
    pub(crate) fn cancel_rest(
        &mut self,
        aggressor: &mut Aggressor,
        reason: CancelReason,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let order = &mut aggressor.order;
        if order.leaves == 0 {
            return;
        }
        let qty = core::mem::take(&mut order.leaves);
        if aggressor.slot != NONE {
            return self.cancel(aggressor.slot, 0, reason, voice, effects);
        }
        voice.say(canceled(order.key, order.order_ref, aggressor.instrument, qty, reason));
    }

    /// What becomes of an order that is not on the book after its run.
    #[inline(always)]
    pub(crate) fn end_run(
        &mut self,
        aggressor: &mut Aggressor,
        extra: Option<&Extra>,
        rests: bool,
        end: End,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let reason = match end {
            End::Done => None,
            End::Stopped { .. } => Some(CancelReason::Collar),
            End::Spent => Some(CancelReason::Immediate),
            End::Dry if rests && self.has_room(aggressor, extra) => None,
            End::Dry => Some(CancelReason::Immediate),
        };
        if let Some(reason) = reason {
            self.cancel_rest(aggressor, reason, voice, effects);
        } else if aggressor.order.leaves > 0 {
            let slot = self.rest(aggressor, extra);
            let order = self.books.order(slot);
            let shown = self.books.shown(slot);
            voice.say(rested(order, aggressor.instrument, shown, self.books.limit(slot)));
        }
        if aggressor.order.leaves == 0 && aggressor.partner.0 != 0 {
            self.books.unpair(aggressor.partner);
        }
        self.note_run(aggressor, end, voice);
    }

    /// Tells the instrument of a run, where it has a band.
    #[inline(always)]
    pub(crate) fn note_run(&mut self, aggressor: &Aggressor, end: End, voice: &mut Voice<'_>) {
        if aggressor.band.is_some() {
            let stopped = end == End::Stopped { by_band: true };
            let now = voice.time();
            let trading = self.trading_mut(aggressor.instrument);
            trading.note_run(aggressor.inside, stopped, now, |body| voice.say(body));
        }
    }

    /// Whether an order can rest: of pegs and of orders with discretion there is an end.
    #[inline(always)]
    pub(crate) fn has_room(&self, aggressor: &Aggressor, extra: Option<&Extra>) -> bool {
        let has_seeker_room = || self.books.has_seeker_room(aggressor.instrument, aggressor.order.firm);
        extra.is_none_or(|extra| !extra.seeks() || has_seeker_room())
    }

    /// An order goes on the book, at the end of its line. There must be room.
    #[inline(always)]
    pub(crate) fn rest(&mut self, aggressor: &Aggressor, extra: Option<&Extra>) -> u32 {
        match extra {
            None => self.books.insert(aggressor.instrument, &aggressor.order),
            Some(extra) => self.rest_special(aggressor, extra),
        }
    }

    #[inline(never)]
    fn rest_special(&mut self, aggressor: &Aggressor, extra: &Extra) -> u32 {
        let (mut order, mut extra) = (aggressor.order, *extra);
        order.price = extra.limit;
        // Self-trade prevention may have taken it.
        extra.partner = aggressor.partner;
        if self.books.find(extra.partner).is_none() {
            extra.partner = OrderRef(0);
        }
        // What was a stop has triggered.
        (extra.terms.stop, extra.terms.trail, extra.best) = (Price(0), 0, 0);
        let plane = if extra.terms.peg != Peg::None {
            Plane::Peg
        } else if order.display() == ironbell_types::Display::Hidden {
            Plane::Hidden
        } else {
            Plane::Lit
        };
        if extra.terms.max_floor != 0 {
            let qty = Qty(order.leaves.min(u64::from(extra.terms.max_floor)));
            extra.shown = Shown { order_ref: order.order_ref, qty };
        }
        self.books.insert_special(plane, &order, &extra)
    }
}

/// Who comes in, as it is after a trade.
struct Comer {
    key: OrderKey,
    order_ref: OrderRef,
    leaves: u64,
    token: u32,
    buys: bool,
    shown: Shown,
}

/// A trade with an order that rests.
struct Deal {
    match_number: MatchNumber,
    instrument: InstrumentId,
    price: u64,
    qty: u64,
    /// How who rests stood on the feed.
    shown: Shown,
}

impl Deal {
    /// Says it, and what stage 3 must know of it; `resting` is as it was before.
    #[inline(always)]
    fn tell(&self, resting: &Order, comer: &Comer, voice: &mut Voice<'_>, effects: &mut Vec<Effect>) {
        let Self { match_number, instrument, price, qty, shown } = *self;
        let price = said(price);
        let executed =
            |key, order_ref, leaves, shown| Executed { key, order_ref, leaves_qty: Qty(leaves), shown };
        voice.say_with(|| {
            EventBody::Trade(Trade {
                match_number,
                instrument,
                price,
                qty: Qty(qty),
                aggressor_buys: comer.buys,
                resting: executed(resting.key, resting.order_ref, resting.leaves - qty, shown),
                aggressor: executed(comer.key, comer.order_ref, comer.leaves, comer.shown),
                cross: CrossKind::None,
                resting_price: if shown.qty.0 > 0 { price } else { Price(0) },
            })
        });
        effects.push(Effect::Fill(Fill {
            match_number,
            instrument,
            price,
            qty: Qty(qty),
            aggressor_buys: comer.buys,
            resting: resting.token,
            aggressor: comer.token,
            cross: false,
        }));
    }
}

/// What is left of an order that came in goes on the book.
#[inline(always)]
fn rested(order: &Order, instrument: InstrumentId, shown: Shown, limit: u64) -> EventBody {
    EventBody::Rested(Rested {
        order_ref: order.order_ref,
        shown,
        firm: order.firm,
        instrument,
        side: order.side,
        qty: Qty(order.leaves),
        price: said(limit),
        display: order.display(),
    })
}

/// What is left of an order that never was on the book is gone.
#[inline(always)]
fn canceled(
    key: OrderKey,
    order_ref: OrderRef,
    instrument: InstrumentId,
    qty: u64,
    reason: CancelReason,
) -> EventBody {
    EventBody::Canceled(Canceled {
        key,
        order_ref,
        instrument,
        qty: Qty(qty),
        leaves_qty: Qty::ZERO,
        reason,
        shown: Shown::default(),
        shown_leaves: Qty::ZERO,
    })
}

/// Whether what is left of an order may rest.
pub(crate) fn rests(time_in_force: TimeInForce, market: bool) -> bool {
    matches!(time_in_force, TimeInForce::Day | TimeInForce::Gtt | TimeInForce::Gtc) && !market
}

#[cfg(test)]
mod tests {
    use crate::alone::Alone;
    use crate::alone::ONE;
    use crate::matching::Request;
    use ironbell_types::{EventBody, InstrumentRules, Price};

    const BANDED: InstrumentRules = InstrumentRules {
        reference: Price(100),
        band_bps: 500,
        limit_state_ns: 1_000,
        ..InstrumentRules::PLAIN
    };

    #[test]
    fn at_one_price_displayed_orders_trade_before_hidden_ones_and_those_before_pegs() {
        let mut desk = Alone::new();
        desk.enter_all(&["sell 1 @ 100 primary 0", "sell 1 @ 101 hidden", "sell 1 @ 101", "sell 1 @ 101"]);
        desk.enter("sell 1 @ 100 hidden");
        let said = desk.enter("buy 5 @ 101");
        let trades = ["1@100: 5, 6 leaves 4", "1@101: 3, 6 leaves 3", "1@101: 4, 6 leaves 2"];
        assert_eq!(said[1..4], trades, "the best price first, then the plane, then the line");
        assert_eq!(said[4..], ["1@101: 2, 6 leaves 1", "1@101: 1, 6"], "the peg last");
    }

    /// Parts of 4 of an order of 10: each goes to the back of the line, under a number of its own.
    #[test]
    fn an_iceberg_order_loses_its_place_with_each_part() {
        let mut desk = Alone::new();
        assert_eq!(desk.enter("sell 10 @ 100 floor 4"), ["1 booked @ 100, shows 4"]);
        desk.enter("sell 3 @ 100");
        let said = desk.enter("buy 9 @ 100");
        let first = ["3 accepted", "4@100: 1 leaves 6, 3 leaves 5", "1 shows 4"];
        assert_eq!(said[..3], first);
        assert_eq!(said[3..], ["3@100: 2, 3 leaves 2", "2@100: 1 leaves 4, 3"]);
        assert_eq!(desk.draw(), " | 1:4[2]@100");
        desk.seq += 1;
        let incoming = desk.incoming("buy 9 @ 100");
        let events = desk.events(&Request::Enter(incoming));
        let shown = events.iter().filter_map(|event| match event.body {
            EventBody::Refreshed(refreshed) => Some((refreshed.shown.order_ref, refreshed.shown.qty.0)),
            _ => None,
        });
        let number = ironbell_types::OrderRef::new(ironbell_types::Seq(4), 2);
        assert!(shown.eq([(number, 2)]), "the last part is what is left");
        assert_eq!(desk.draw(), "4:5@100 | ");
    }

    #[test]
    fn a_cancel_takes_the_reserve_before_what_is_shown() {
        let mut desk = Alone::new();
        desk.enter("sell 10 @ 100 floor 4");
        desk.enter("sell 1 @ 100");
        assert_eq!(desk.cancel(1, 6), ["1 canceled U, leaves 6"]);
        assert_eq!(desk.draw(), " | 1:6[4]@100 2:1@100");
        assert_eq!(desk.cancel(1, 3), ["1 canceled U, leaves 3"]);
        assert_eq!(desk.draw(), " | 1:3@100 2:1@100", "it keeps its place");
    }

    #[test]
    fn sizes_of_parts_stay_within_the_random_reserves() {
        let mut desk = Alone::new();
        desk.enter("sell 1000 @ 100 floor 10 random 3");
        let mut seen = alloc::collections::BTreeSet::new();
        for _ in 0..60 {
            desk.seq += 1;
            let incoming = desk.incoming("buy 10 @ 100 ioc");
            for event in desk.events(&Request::Enter(incoming)) {
                if let EventBody::Refreshed(refreshed) = event.body {
                    seen.insert(refreshed.shown.qty.0);
                }
            }
        }
        assert!(seen.iter().all(|size| (7..=13).contains(size)), "{seen:?}");
        assert!(seen.len() > 4, "{seen:?} is not random");
    }

    #[test]
    fn post_only_is_cancelled_or_slides_one_tick_short_of_all_that_stands() {
        let mut desk = Alone::new();
        desk.enter_all(&["sell 1 @ 102", "sell 1 @ 101 hidden", "buy 1 @ 1"]);
        assert_eq!(desk.enter("buy 5 @ 101 post"), ["4 accepted", "4 canceled G"]);
        assert_eq!(desk.enter("buy 5 @ 105 post slides"), ["5 booked @ 100"]);
        assert_eq!(desk.enter("sell 5 @ 1 post slides"), ["6 booked @ 101"]);
        desk.cancel(5, 0);
        desk.enter_all(&["buy 6 @ 101 ioc", "buy 1 @ 102 ioc", "sell 1 @ 1 ioc", "sell 1 @ 1"]);
        assert_eq!(
            desk.enter("buy 5 @ 2 post slides"),
            ["12 accepted", "12 canceled G"],
            "there is no price 0"
        );
    }

    /// 100 ± 5: what stands at 106 is beyond the band for a limit of 110.
    #[test]
    fn the_band_stops_a_run_and_a_trade_inside_ends_the_limit_state() {
        let mut desk = Alone::with_rules(BANDED);
        desk.enter_all(&["sell 1 @ 105", "sell 1 @ 106"]);
        let said = desk.enter("buy 3 @ 110");
        assert_eq!(said, ["4 accepted", "1@105: 2, 4 leaves 2", "4 canceled K", "limit state true"]);
        assert_eq!(desk.matching.next_due().map(|due| due.0), Some(1_000));
        assert_eq!(desk.enter("buy 3 @ 106 fok"), ["5 accepted", "5 canceled I"]);
        desk.enter("sell 2 @ 104");
        assert_eq!(desk.enter("buy 1 @ 104"), ["7 accepted", "1@104: 6 leaves 1, 7", "limit state false"]);
        assert_eq!(desk.matching.next_due(), None);
    }

    #[test]
    fn a_market_order_stops_at_the_collar_of_the_last_price() {
        let rules = InstrumentRules {
            reference: Price(100),
            static_bps: 2_000,
            collar_bps: 500,
            ..InstrumentRules::PLAIN
        };
        let mut desk = Alone::with_rules(rules);
        desk.enter_all(&["sell 1 @ 102", "sell 1 @ 107", "sell 1 @ 108"]);
        let said = desk.enter("buy 3 market ioc");
        assert_eq!(said, ["5 accepted", "1@102: 2, 5 leaves 2", "5 canceled K"], "100 + 5");
        let said = desk.enter("buy 3 market");
        assert_eq!(said, ["6 accepted", "1@107: 3, 6 leaves 2", "6 canceled K"], "102 + 5");
        desk.cancel(4, 0);
        assert_eq!(desk.enter("buy 3 market"), ["8 accepted", "8 canceled I"]);
    }

    #[test]
    fn one_of_a_pair_takes_the_other_with_its_first_execution() {
        let mut desk = Alone::new();
        desk.enter_all(&["sell 5 @ 110", "sell 5 @ 90 stop 95 with 1"]);
        assert_eq!(desk.enter("sell 1 @ 111 with 1"), ["3 rejected Other"], "it is paired already");
        assert_eq!(desk.enter("sell 1 @ 111 with 99"), ["4 rejected Other"]);
        let said = desk.enter("buy 2 @ 110");
        assert_eq!(said, ["5 accepted", "2@110: 1 leaves 3, 5", "2 canceled Z"]);
        desk.enter("buy 1 @ 90 with 1");
        assert_eq!(desk.cancel(6, 0), ["6 canceled U"]);
        assert_eq!(desk.enter("sell 3 @ 112 with 1"), ["8 booked @ 112"], "alone again, it can be paired");
        let said = desk.replace(1, "sell 5 @ 113");
        assert_eq!(said, ["9 replaces 1, booked"]);
        assert_eq!(
            desk.enter("buy 4 @ 113"),
            ["10 accepted", "3@112: 8, 10 leaves 1", "1@113: 9 leaves 2, 10"]
        );
    }

    /// What is left of both goes, the aggressor's first.
    #[test]
    fn two_of_a_pair_that_trade_with_each_other_cancel_each_other() {
        let mut desk = Alone::new();
        desk.enter("sell 5 @ 100");
        let said = desk.enter("buy 3 @ 100 with 1");
        assert_eq!(said, ["2 accepted", "3@100: 1 leaves 2, 2", "1 canceled Z"]);
        desk.enter("sell 3 @ 100 floor 1");
        let said = desk.enter("buy 5 @ 100 with 3");
        assert_eq!(said, ["4 accepted", "1@100: 3 leaves 2, 4 leaves 4", "4 canceled Z", "3 canceled Z"]);
        assert_eq!(desk.draw(), " | ");
        assert_eq!(desk.matching.book(ONE).count(), 0);
    }
}
