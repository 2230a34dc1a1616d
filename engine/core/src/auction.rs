//! Phases and crosses: what time and operators do to an instrument, as `phase.rs` keeps it.
//!
//! [`Matching::advance`] stands before whatever names an instrument: it goes on with what an earlier
//! command left unfinished, then fires the timers that are due.

use crate::{
    book::{Books, Plane, within},
    curve::Meeting,
    matching::{Effect, Matching, Voice},
    phase::{Crossing, NO_REASON, Timer, Trading},
};
use alloc::vec::Vec;
use ironbell_types::{
    CancelReason, CrossKind, Crossed, EventBody, Executed, Indicative, InstrumentId, InstrumentRules,
    MatchNumber, Nanos, OrderRef, Phase, Price, Qty, Rested, Trade,
};

/// Good-till-time orders that one command takes off.
pub(crate) const EXPIRIES_MAX: u32 = 65_536;

/// Reason of the auction after a limit state (ITCH 5.0, trading action reasons).
const LIMIT_STATE: [u8; 4] = *b"LUDP";

impl Matching {
    fn trading(&mut self, instrument: InstrumentId) -> &mut Trading {
        &mut self.trading[instrument.0 as usize - 1]
    }

    /// Brings an instrument to the command's time: unfinished work first, then timers in time order,
    /// then it wakes if any of that asked for it.
    pub(crate) fn advance(
        &mut self,
        instrument: InstrumentId,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        if self.trading(instrument).crossing.is_some() {
            self.go_on_crossing(instrument, voice, effects);
        }
        self.wake(instrument, voice, effects);
        let trading = self.trading(instrument);
        if trading.crossing.is_some() || trading.is_awake {
            return;
        }
        while let Some(timer) = self.due_timer(instrument, voice.time()) {
            if !self.fire(instrument, timer, voice, effects) {
                break;
            }
        }
        self.wake(instrument, voice, effects);
    }

    /// The next timer that is due; none while a cross is under way.
    fn due_timer(&self, instrument: InstrumentId, now: Nanos) -> Option<Timer> {
        let trading = &self.trading[instrument.0 as usize - 1];
        if trading.crossing.is_some() {
            return None;
        }
        let expiry = self.books.expiry(instrument).map(|(due, _)| (due, Timer::Expiry));
        let (due, timer) = trading.next_timer().into_iter().chain(expiry).min()?;
        (due <= now).then_some(timer)
    }

    /// Does what a timer is for. Returns whether the next may fire.
    fn fire(
        &mut self,
        instrument: InstrumentId,
        timer: Timer,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let now = voice.time();
        match timer {
            Timer::Expiry => return self.expire(instrument, voice, effects),
            Timer::LimitState => {
                let band = self.trading(instrument).band_set();
                voice.say(band.expect("an order was stopped at the band"));
                self.change_phase(instrument, Phase::Volatility, LIMIT_STATE, voice, effects);
            }
            Timer::Volatility => {
                self.change_phase(instrument, Phase::Continuous, NO_REASON, voice, effects);
            }
            Timer::Schedule => {
                let phase = self.trading(instrument).take_entry();
                self.change_phase(instrument, phase, NO_REASON, voice, effects);
            }
            Timer::Batch => {
                self.trading(instrument).restart_batch(now);
                self.cross(instrument, CrossKind::Halt, false, None, voice, effects);
            }
            Timer::Indicative => {
                self.trading(instrument).restart_indicative(now);
                let indicative = self.indicative(instrument);
                voice.say(EventBody::Indicative(indicative));
            }
        }
        true
    }

    /// Takes off the oldest good-till-time order that is over, unless this command has taken enough.
    fn expire(&mut self, instrument: InstrumentId, voice: &mut Voice<'_>, effects: &mut Vec<Effect>) -> bool {
        if self.expired == EXPIRIES_MAX {
            return false;
        }
        self.expired += 1;
        let (_, slot) = self.books.expiry(instrument).expect("an expiry is due");
        self.cancel(slot, 0, CancelReason::Timeout, voice, effects);
        self.trading(instrument).is_awake = true;
        true
    }

    /// A phase begins now, or after the cross that is under way or belongs to the change.
    fn change_phase(
        &mut self,
        instrument: InstrumentId,
        phase: Phase,
        reason: [u8; 4],
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let trading = self.trading(instrument);
        if trading.next_phase() == phase {
            return;
        }
        if let Some(crossing) = &mut trading.crossing {
            crossing.then = Some((phase, reason));
            return;
        }
        let from = trading.phase;
        if let Some(kind) = cross_between(from, phase) {
            let said = matches!(from, Phase::OpeningAuction | Phase::ClosingAuction);
            self.cross(instrument, kind, said, Some((phase, reason)), voice, effects);
        } else {
            self.begin(instrument, phase, reason, voice);
        }
    }

    fn begin(&mut self, instrument: InstrumentId, phase: Phase, reason: [u8; 4], voice: &mut Voice<'_>) {
        let now = voice.time();
        let trading = self.trading(instrument);
        trading.begin(phase, now);
        trading.is_awake = trading.is_continuous();
        voice.say(EventBody::PhaseChanged { instrument, phase, reason });
    }

    // Crosses.

    /// Holds a cross, and begins the phase that follows it.
    fn cross(
        &mut self,
        instrument: InstrumentId,
        kind: CrossKind,
        said: bool,
        then: Option<(Phase, [u8; 4])>,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let price = self.meet(instrument, kind).map_or(0, |meeting| meeting.price);
        let crossing =
            Crossing { kind, price, qty: 0, said, then, closes_day: false, served: [OrderRef(0); 2] };
        self.trading(instrument).crossing = Some(crossing);
        self.go_on_crossing(instrument, voice, effects);
    }

    /// The price at which the two sides of a book would meet.
    fn meet(&mut self, instrument: InstrumentId, kind: CrossKind) -> Option<Meeting> {
        let Self { books, curve, trading, .. } = self;
        let waiting = waiting_plane(kind);
        let planes = || [Plane::Lit, Plane::Hidden].into_iter().chain(waiting);
        let best = |buys: bool| {
            let prices = planes().filter_map(|plane| books.best(instrument, plane, buys));
            if buys { prices.max() } else { prices.min() }
        };
        // A market order's price is beyond all limits, so that none is left out for it.
        let (best_bid, best_ask) = (best(true)?, best(false)?);
        curve.clear();
        for buys in [true, false] {
            // What the best price of the other side does not reach adds to no volume.
            let reach = if buys { best_ask } else { best_bid };
            for plane in planes() {
                let line = books.line(instrument, plane, buys);
                let markets = line.take_while(|slot| books.limit(*slot) == 0);
                let mut skipped = 0;
                for slot in markets {
                    let end = if buys { worth(books, slot) } else { 0 };
                    curve.market(buys, end, books.order(slot).leaves);
                    skipped = 1;
                }
                let levels = books.levels(instrument, plane, buys).skip(skipped);
                for (price, qty) in levels.take_while(|(price, _)| within(*price, reach, buys)) {
                    curve.limit(buys, price, qty);
                }
            }
        }
        curve.meet(trading[instrument.0 as usize - 1].reference())
    }

    /// What the cross of the present phase would be.
    fn indicative(&mut self, instrument: InstrumentId) -> Indicative {
        let kind = match self.trading(instrument).phase {
            Phase::OpeningAuction => CrossKind::Opening,
            Phase::ClosingAuction => CrossKind::Closing,
            _ => CrossKind::Halt,
        };
        let meeting = self.meet(instrument, kind).unwrap_or_default();
        Indicative {
            instrument,
            kind,
            price: Price(meeting.price.cast_signed()),
            paired: saturated(meeting.volume()),
            imbalance: saturated(meeting.surplus()),
            imbalance_buys: meeting.demand > meeting.supply,
            reference: Price(self.trading(instrument).reference().unwrap_or(0).cast_signed()),
        }
    }

    /// Trades of a cross, as many as the command may still make, and what follows the last one.
    fn go_on_crossing(&mut self, instrument: InstrumentId, voice: &mut Voice<'_>, effects: &mut Vec<Effect>) {
        let mut crossing = self.trading(instrument).crossing.expect("only called with a cross under way");
        let Crossing { kind, price, .. } = crossing;
        while price != 0 {
            let buyer = self.next_in_cross(instrument, kind, true, price);
            let seller = self.next_in_cross(instrument, kind, false, price);
            let (Some(buyer), Some(seller)) = (buyer, seller) else { break };
            if self.trades == self.trades_max {
                self.trading(instrument).crossing = Some(crossing);
                return;
            }
            self.trade_in_cross(instrument, &mut crossing, [seller, buyer], voice, effects);
        }
        let is_said = crossing.said || crossing.qty > 0;
        if is_said && self.trades == self.trades_max {
            self.trading(instrument).crossing = Some(crossing);
            return;
        }
        if is_said {
            let match_number = MatchNumber::new(voice.seq(), self.trades);
            self.trades += 1;
            let price = Price(if crossing.qty > 0 { price.cast_signed() } else { 0 });
            let qty = Qty(crossing.qty);
            voice.say(EventBody::Crossed(Crossed { instrument, kind, price, qty, match_number }));
        }
        self.trading(instrument).crossing = None;
        self.settle_cross(instrument, &crossing, voice, effects);
    }

    /// What a cross leaves behind, and the phase after it.
    fn settle_cross(
        &mut self,
        instrument: InstrumentId,
        crossing: &Crossing,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        for buys in [true, false] {
            while let Some(slot) =
                waiting_plane(crossing.kind).and_then(|plane| self.books.first(instrument, plane, buys))
            {
                self.cancel(slot, 0, CancelReason::Closed, voice, effects);
            }
        }
        // Taken out and put back empty, so that its memory is used again.
        let mut partners = core::mem::take(&mut self.trading(instrument).partners);
        for partner in partners.drain(..) {
            if let Some(slot) = self.books.find(partner) {
                self.cancel(slot, 0, CancelReason::System, voice, effects);
            }
        }
        self.trading(instrument).partners = partners;
        // Only the last order served on each side can have something left and show nothing.
        for served in [crossing.served[1], crossing.served[0]] {
            if let Some(slot) = self.books.find(served).filter(|slot| self.books.is_used_up(*slot)) {
                self.refresh(slot, voice);
            }
        }
        let trading = self.trading(instrument);
        if crossing.qty > 0 {
            trading.note_cross(crossing.price);
            if let Some(band) = trading.band_set() {
                voice.say(band);
            }
        }
        if let Some((phase, reason)) = crossing.then {
            self.begin(instrument, phase, reason, voice);
        }
        if crossing.closes_day {
            voice.say(EventBody::Statistics(self.trading(instrument).statistics()));
        }
    }

    /// The order of a side that a cross serves next: market orders, then the best price, there those
    /// displayed, hidden, waiting for the cross.
    fn next_in_cross(
        &self,
        instrument: InstrumentId,
        kind: CrossKind,
        buys: bool,
        price: u64,
    ) -> Option<u32> {
        let books = &self.books;
        let mut waiting = waiting_plane(kind).and_then(|plane| books.first(instrument, plane, buys));
        while let Some(slot) = waiting.filter(|slot| books.limit(*slot) == 0) {
            if !buys || worth(books, slot) >= price {
                return Some(slot);
            }
            waiting = books.after(slot);
        }
        let mut best: Option<u32> = None;
        let lit = books.first(instrument, Plane::Lit, buys);
        let hidden = books.first(instrument, Plane::Hidden, buys);
        for slot in [lit, hidden, waiting].into_iter().flatten() {
            let is_behind = |best| within(books.order(best).price, books.order(slot).price, buys);
            if !best.is_some_and(is_behind) {
                best = Some(slot);
            }
        }
        best.filter(|slot| within(books.order(*slot).price, price, buys))
    }

    /// One trade between the first seller and the first buyer.
    fn trade_in_cross(
        &mut self,
        instrument: InstrumentId,
        crossing: &mut Crossing,
        [seller, buyer]: [u32; 2],
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let Self { books, trading, trades, .. } = self;
        let trading = &mut trading[instrument.0 as usize - 1];
        let aggressor_buys = books.order(seller).order_ref < books.order(buyer).order_ref;
        let (resting, aggressor) = if aggressor_buys { (seller, buyer) } else { (buyer, seller) };
        let qty = books.order(seller).leaves.min(books.order(buyer).leaves);
        let match_number = MatchNumber::new(voice.seq(), *trades);
        *trades += 1;
        let price = Price(crossing.price.cast_signed());
        let executed = |slot| {
            let order = books.order(slot);
            Executed {
                key: order.key,
                order_ref: order.order_ref,
                leaves_qty: Qty(order.leaves - qty),
                shown: books.shown(slot),
            }
        };
        let trade = Trade {
            match_number,
            instrument,
            price,
            qty: Qty(qty),
            aggressor_buys,
            resting: executed(resting),
            aggressor: executed(aggressor),
            cross: crossing.kind,
            resting_price: Price(match books.shown(resting).qty {
                Qty(0) => 0,
                _ => books.order(resting).price.cast_signed(),
            }),
        };
        voice.say(EventBody::Trade(trade));
        effects.push(Effect::Fill {
            match_number,
            instrument,
            price,
            qty: Qty(qty),
            aggressor_buys,
            resting: books.order(resting).token,
            aggressor: books.order(aggressor).token,
            cross: true,
        });
        for slot in [resting, aggressor] {
            // An order's trades follow each other, so it was noted lately or not at all.
            if let Some(partner) = books.partner(slot)
                && !trading.partners.iter().rev().take(2).any(|noted| *noted == partner)
            {
                trading.partners.push(partner);
            }
        }
        trading.note_trade(crossing.price, qty);
        crossing.qty = crossing.qty.saturating_add(qty);
        crossing.served = [books.order(seller).order_ref, books.order(buyer).order_ref];
        books.execute(seller, qty);
        books.execute(buyer, qty);
    }

    // What time and operators ask for.

    /// Timers of all instruments that have something due, in id order.
    pub(crate) fn tick(&mut self, voice: &mut Voice<'_>, effects: &mut Vec<Effect>) {
        let mut from = 0;
        while let Some(place) = self.agenda.first_due(from, voice.time()) {
            let instrument = InstrumentId(place as u32 + 1);
            self.advance(instrument, voice, effects);
            self.note_due(instrument);
            from = place + 1;
        }
    }

    /// Notes when an instrument next has something due; after whatever may have changed that.
    pub(crate) fn note_due(&mut self, instrument: InstrumentId) {
        let place = instrument.0 as usize - 1;
        let expiry = self.books.expiry(instrument).map(|(due, _)| due);
        self.agenda.note(place, self.trading[place].next_due(expiry));
    }

    fn instruments(&self) -> impl Iterator<Item = InstrumentId> + use<> {
        (1..=self.trading.len() as u32).map(InstrumentId)
    }

    /// A day begins.
    pub(crate) fn open_day(&mut self, midnight: Nanos, voice: &mut Voice<'_>, effects: &mut Vec<Effect>) {
        for instrument in self.instruments() {
            self.advance(instrument, voice, effects);
            for buys in [true, false] {
                for slot in self.books.line(instrument, Plane::Lit, buys) {
                    let (order, shown) = (self.books.order(slot), self.books.shown(slot));
                    voice.say(EventBody::Rested(Rested {
                        order_ref: order.order_ref,
                        shown,
                        firm: order.firm,
                        instrument,
                        side: order.side,
                        qty: Qty(order.leaves),
                        price: Price(order.price.cast_signed()),
                        display: order.display(),
                    }));
                }
            }
            let phase = self.trading(instrument).open_day(midnight);
            self.change_phase(instrument, phase, NO_REASON, voice, effects);
            self.wake(instrument, voice, effects);
            self.note_due(instrument);
        }
    }

    /// The day ends; orders of the day are taken off in slices, later.
    pub(crate) fn close_day(&mut self, voice: &mut Voice<'_>, effects: &mut Vec<Effect>) {
        for instrument in self.instruments() {
            self.advance(instrument, voice, effects);
            self.trading(instrument).close_day();
            self.change_phase(instrument, Phase::Closed, NO_REASON, voice, effects);
            let trading = self.trading(instrument);
            if let Some(crossing) = &mut trading.crossing {
                crossing.closes_day = true;
            } else {
                voice.say(EventBody::Statistics(trading.statistics()));
            }
            self.note_due(instrument);
        }
    }

    /// A phase begins on an instrument, or on all that are not delisted.
    pub(crate) fn set_phase(
        &mut self,
        instrument: InstrumentId,
        phase: Phase,
        reason: [u8; 4],
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        for each in self.instruments() {
            if instrument == each || (instrument == InstrumentId::NONE && !self.trading(each).delisted) {
                self.advance(each, voice, effects);
                self.change_phase(each, phase, reason, voice, effects);
                self.wake(each, voice, effects);
                self.note_due(each);
            }
        }
    }

    /// All that is not closed, or about to be, halts.
    pub(crate) fn market_wide_halt(&mut self, level: u8, voice: &mut Voice<'_>, effects: &mut Vec<Effect>) {
        let reason = [b'M', b'W', b'C', b'0' + level];
        for instrument in self.instruments() {
            self.advance(instrument, voice, effects);
            if self.trading(instrument).next_phase() != Phase::Closed {
                self.change_phase(instrument, Phase::Halted, reason, voice, effects);
            }
            self.note_due(instrument);
        }
    }

    /// An instrument closes for good; its orders are taken off in slices, later.
    pub(crate) fn delist(
        &mut self,
        instrument: InstrumentId,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        self.advance(instrument, voice, effects);
        let trading = self.trading(instrument);
        trading.delisted = true;
        trading.close_day();
        self.change_phase(instrument, Phase::Closed, NO_REASON, voice, effects);
    }

    /// An instrument trades by other rules from now on.
    pub(crate) fn set_rules(
        &mut self,
        instrument: InstrumentId,
        rules: &InstrumentRules,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        self.advance(instrument, voice, effects);
        let now = voice.time();
        let trading = self.trading(instrument);
        trading.set_rules(rules, now);
        if let Some(band) = trading.band_set() {
            voice.say(band);
        }
    }
}

/// The highest price a market buy may have.
fn worth(books: &Books, slot: u32) -> u64 {
    books.extra(slot).expect("a market order is special").worth
}

/// The cross that belongs to a change of phase.
fn cross_between(from: Phase, to: Phase) -> Option<CrossKind> {
    match (from, to) {
        (Phase::Closed | Phase::PreOpen | Phase::OpeningAuction, Phase::Continuous) => {
            Some(CrossKind::Opening)
        }
        (Phase::ClosingAuction, Phase::Continuous | Phase::Closed) => Some(CrossKind::Closing),
        (_, Phase::Continuous) => Some(CrossKind::Halt),
        _ => None,
    }
}

/// Where the orders wait that are for that cross alone.
fn waiting_plane(kind: CrossKind) -> Option<Plane> {
    match kind {
        CrossKind::Opening => Some(Plane::AtOpen),
        CrossKind::Closing => Some(Plane::AtClose),
        CrossKind::Halt | CrossKind::None => None,
    }
}

fn saturated(qty: u128) -> Qty {
    Qty(u64::try_from(qty).unwrap_or(u64::MAX))
}
