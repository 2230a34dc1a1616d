//! Phases and crosses: what time and operators do to an instrument, as `phase.rs` keeps it.
//!
//! [`Matching::advance`] stands before whatever names an instrument: it goes on with what an earlier
//! command left unfinished, then fires the timers that are due.

use crate::{
    book::{Books, Plane, within},
    curve::Meeting,
    matching::{Effect, Fill, Matching, Request, Voice},
    phase::{Crossing, NO_REASON, Timer},
};
use alloc::vec::Vec;
use ironbell_types::{
    CancelReason, CrossKind, Crossed, EventBody, Executed, Indicative, InstrumentId, InstrumentRules, Nanos,
    OrderRef, Phase, Price, Qty, Rested, Trade,
};

/// Good-till-time orders that one command takes off.
pub(crate) const EXPIRIES_MAX: u32 = 65_536;

/// Reason of the auction after a limit state (ITCH 5.0, trading action reasons).
const LIMIT_STATE: [u8; 4] = *b"LUDP";

impl Matching {
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
        self.go_on_waking(instrument, voice, effects);
        let trading = self.trading(instrument);
        if trading.crossing.is_some() || trading.is_awake {
            return;
        }
        while let Some(timer) = self.due_timer(instrument, voice.time()) {
            if !self.fire(instrument, timer, voice, effects) {
                break;
            }
        }
        self.go_on_waking(instrument, voice, effects);
    }

    fn go_on_waking(&mut self, instrument: InstrumentId, voice: &mut Voice<'_>, effects: &mut Vec<Effect>) {
        if self.trading(instrument).is_awake {
            self.wake(instrument, voice, effects);
        }
    }

    /// The next timer that is due; none while a cross is under way.
    fn due_timer(&self, instrument: InstrumentId, now: Nanos) -> Option<Timer> {
        let trading = self.trading(instrument);
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
                let band = self.trading_mut(instrument).band_set();
                voice.say(band.expect("an order was stopped at the band"));
                self.change_phase(instrument, Phase::Volatility, LIMIT_STATE, voice, effects);
            }
            Timer::Volatility => {
                self.change_phase(instrument, Phase::Continuous, NO_REASON, voice, effects);
            }
            Timer::Schedule => {
                let phase = self.trading_mut(instrument).take_entry();
                self.change_phase(instrument, phase, NO_REASON, voice, effects);
            }
            Timer::Batch => {
                self.trading_mut(instrument).restart_batch(now);
                self.cross(instrument, CrossKind::Halt, false, None, voice, effects);
            }
            Timer::Indicative => {
                self.trading_mut(instrument).restart_indicative(now);
                let indicative = self.indicative(instrument);
                voice.say(EventBody::Indicative(indicative));
            }
        }
        true
    }

    /// Takes off the oldest good-till-time order that is over, unless this command has taken enough.
    fn expire(&mut self, instrument: InstrumentId, voice: &mut Voice<'_>, effects: &mut Vec<Effect>) -> bool {
        if self.spent.expired == EXPIRIES_MAX {
            return false;
        }
        self.spent.expired += 1;
        let (_, slot) = self.books.expiry(instrument).expect("an expiry is due");
        self.cancel(slot, 0, CancelReason::Timeout, voice, effects);
        self.trading_mut(instrument).is_awake = true;
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
        let trading = self.trading_mut(instrument);
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
        let trading = self.trading_mut(instrument);
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
        let price = self.meeting(instrument, kind).map_or(0, |meeting| meeting.price);
        let crossing =
            Crossing { kind, price, qty: 0, said, then, closes_day: false, served: [OrderRef(0); 2] };
        self.trading_mut(instrument).crossing = Some(crossing);
        self.go_on_crossing(instrument, voice, effects);
    }

    /// The price at which the two sides of a book would meet.
    fn meeting(&mut self, instrument: InstrumentId, kind: CrossKind) -> Option<Meeting> {
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
        let meeting = self.meeting(instrument, kind).unwrap_or_default();
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
        let mut crossing = self.trading_mut(instrument).crossing.expect("only called with a cross under way");
        while let Some(parties) = self.next_parties(instrument, &crossing) {
            if self.trades_left() == 0 {
                self.trading_mut(instrument).crossing = Some(crossing);
                return;
            }
            self.trade_in_cross(instrument, &mut crossing, parties, voice, effects);
        }
        let is_said = crossing.said || crossing.qty > 0;
        if is_said && self.trades_left() == 0 {
            self.trading_mut(instrument).crossing = Some(crossing);
            return;
        }
        if is_said {
            let match_number = self.next_match_number(voice);
            let Crossing { kind, price, qty, .. } = crossing;
            let price = Price(if qty > 0 { price.cast_signed() } else { 0 });
            voice.say(EventBody::Crossed(Crossed { instrument, kind, price, qty: Qty(qty), match_number }));
        }
        self.trading_mut(instrument).crossing = None;
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
        let mut partners = core::mem::take(&mut self.trading_mut(instrument).partners);
        for partner in partners.drain(..) {
            if let Some(slot) = self.books.find(partner) {
                self.cancel(slot, 0, CancelReason::System, voice, effects);
            }
        }
        self.trading_mut(instrument).partners = partners;
        // Only the last order served on each side can have something left and show nothing.
        for served in [crossing.served[1], crossing.served[0]] {
            if let Some(slot) = self.books.find(served).filter(|slot| self.books.is_used_up(*slot)) {
                self.refresh(slot, voice);
            }
        }
        let trading = self.trading_mut(instrument);
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

    /// Who trades next in a cross: the first seller and the first buyer.
    fn next_parties(&self, instrument: InstrumentId, crossing: &Crossing) -> Option<[u32; 2]> {
        let Crossing { kind, price, .. } = *crossing;
        if price == 0 {
            return None;
        }
        let seller = self.next_in_cross(instrument, kind, false, price)?;
        Some([seller, self.next_in_cross(instrument, kind, true, price)?])
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
        let match_number = self.next_match_number(voice);
        let Self { books, trading, .. } = self;
        let trading = &mut trading[instrument.0 as usize - 1];
        let aggressor_buys = books.order(seller).order_ref < books.order(buyer).order_ref;
        let (resting, aggressor) = if aggressor_buys { (seller, buyer) } else { (buyer, seller) };
        let qty = books.order(seller).leaves.min(books.order(buyer).leaves);
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
        effects.push(Effect::Fill(Fill {
            match_number,
            instrument,
            price,
            qty: Qty(qty),
            aggressor_buys,
            resting: books.order(resting).token,
            aggressor: books.order(aggressor).token,
            cross: true,
        }));
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

    /// The first instrument from the place `from` on that a request of several is about.
    pub(crate) fn next_concerned(&self, request: &Request, from: usize, now: Nanos) -> Option<InstrumentId> {
        let place = match *request {
            Request::Tick => self.agenda.first_due(from, now)?,
            Request::SetPhase { instrument, .. } if instrument != InstrumentId::NONE => {
                Some(instrument.0 as usize - 1).filter(|place| *place >= from)?
            }
            _ => from,
        };
        (place < self.trading.len()).then_some(InstrumentId(place as u32 + 1))
    }

    /// Does a request of several instruments on one of them.
    pub(crate) fn apply_each(
        &mut self,
        request: &Request,
        instrument: InstrumentId,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        match *request {
            Request::Tick => self.advance(instrument, voice, effects),
            Request::OpenDay { midnight } => self.open_day(instrument, midnight, voice, effects),
            Request::CloseDay => self.close_day(instrument, voice, effects),
            Request::SetPhase { instrument: named, phase, reason } => {
                if named == InstrumentId::NONE && self.trading(instrument).delisted {
                    return;
                }
                self.advance(instrument, voice, effects);
                self.change_phase(instrument, phase, reason, voice, effects);
                self.go_on_waking(instrument, voice, effects);
            }
            Request::MarketWideHalt { level } => {
                self.advance(instrument, voice, effects);
                // All that is not closed, or about to be.
                if self.trading(instrument).next_phase() != Phase::Closed {
                    let reason = [b'M', b'W', b'C', b'0' + level];
                    self.change_phase(instrument, Phase::Halted, reason, voice, effects);
                }
            }
            _ => unreachable!("a request of one instrument"),
        }
        self.note_due(instrument);
    }

    /// Notes when an instrument next has something due, and until when it is calm; after whatever may have
    /// changed that.
    pub(crate) fn note_due(&mut self, instrument: InstrumentId) {
        let place = instrument.0 as usize - 1;
        let expiry = self.books.expiry(instrument).map(|(due, _)| due);
        let due = self.trading[place].next_due(expiry);
        self.agenda.note(place, due);
        self.calm_until[place] = self.calm_until(instrument, due);
    }

    fn calm_until(&self, instrument: InstrumentId, due: Option<Nanos>) -> Nanos {
        let is_calm = self.books.is_plain(instrument) && self.trading(instrument).is_calm();
        if is_calm { due.unwrap_or(Nanos(u64::MAX)) } else { Nanos(0) }
    }

    /// For tests: panics when an instrument's next timer is not the one that was noted, or its calm.
    pub(crate) fn check_agenda(&self) {
        for (place, trading) in self.trading.iter().enumerate() {
            let expiry = self.books.expiry(trading.instrument()).map(|(due, _)| due);
            let due = trading.next_due(expiry);
            self.agenda.check(place, due);
            assert_eq!(self.calm_until[place], self.calm_until(trading.instrument(), due), "place {place}");
        }
    }

    /// A day begins.
    fn open_day(
        &mut self,
        instrument: InstrumentId,
        midnight: Nanos,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
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
        let phase = self.trading_mut(instrument).open_day(midnight);
        self.change_phase(instrument, phase, NO_REASON, voice, effects);
        self.go_on_waking(instrument, voice, effects);
    }

    /// The day ends; orders of the day are taken off in slices, later.
    fn close_day(&mut self, instrument: InstrumentId, voice: &mut Voice<'_>, effects: &mut Vec<Effect>) {
        self.advance(instrument, voice, effects);
        self.trading_mut(instrument).close_day();
        self.change_phase(instrument, Phase::Closed, NO_REASON, voice, effects);
        let trading = self.trading_mut(instrument);
        if let Some(crossing) = &mut trading.crossing {
            crossing.closes_day = true;
        } else {
            voice.say(EventBody::Statistics(trading.statistics()));
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
        let trading = self.trading_mut(instrument);
        trading.delisted = true;
        trading.close_day();
        self.change_phase(instrument, Phase::Closed, NO_REASON, voice, effects);
        self.note_due(instrument);
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
        let trading = self.trading_mut(instrument);
        trading.set_rules(rules, now);
        if let Some(band) = trading.band_set() {
            voice.say(band);
        }
        // The end of the price test lets orders meet.
        self.wake(instrument, voice, effects);
        self.note_due(instrument);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{matching::Incoming, testing::Rng};
    use alloc::{
        format,
        string::{String, ToString},
        vec,
    };
    use ironbell_types::{
        Accepted, Algorithm, Capacity, ClOrdId, Display, MatchNumber, OrderKey, OrderOptions, OrderTerms,
        Seq, Side, Stage, Stp, TimeInForce,
    };

    const ONE: InstrumentId = InstrumentId(1);
    const SECOND: u64 = 1_000_000_000;
    const PLAIN: InstrumentRules = InstrumentRules::PLAIN;
    const DAY: Request = Request::OpenDay { midnight: Nanos(0) };

    /// Books by themselves, driven by lines: each a command of its own. An order's key is its Seq.
    struct Pit {
        matching: Matching,
        seq: u64,
        time: Nanos,
        effects: Vec<Effect>,
    }

    impl Pit {
        /// One instrument in Continuous, on an open day.
        fn new() -> Self {
            let mut matching = Matching::new(16, 1);
            matching.open_book(true);
            Self { matching, seq: 0, time: Nanos(0), effects: Vec::new() }
        }

        fn in_phase(phase: Phase) -> Self {
            let mut pit = Self::new();
            pit.phase(phase);
            pit
        }

        fn run(&mut self, request: &Request) -> Vec<String> {
            let mut out = Vec::new();
            let mut voice = Voice::new(&mut out, Seq(self.seq), self.time, Stage::Matching);
            self.effects.clear();
            self.matching.apply(request, &mut voice, &mut self.effects);
            self.matching.check_invariants();
            out.iter().filter_map(|event| said(&event.body)).collect()
        }

        fn phase(&mut self, phase: Phase) -> Vec<String> {
            self.next(&Request::SetPhase { instrument: ONE, phase, reason: NO_REASON })
        }

        fn next(&mut self, request: &Request) -> Vec<String> {
            self.seq += 1;
            self.run(request)
        }

        /// A tick `ns` after midnight.
        fn tick(&mut self, ns: u64) -> Vec<String> {
            self.time = Nanos(ns);
            self.next(&Request::Tick)
        }

        fn rules(&mut self, rules: InstrumentRules) -> Vec<String> {
            self.next(&Request::SetRules { instrument: ONE, rules })
        }

        fn schedule(&mut self, slot: u8, at_s: u32, phase: Phase) {
            self.next(&Request::SetSchedule { instrument: ONE, slot, at_s, phase: Some(phase) });
        }

        fn cancel(&mut self, key: u64) -> Vec<String> {
            let order_ref = OrderRef::new(Seq(key), 0);
            self.next(&Request::Cancel { instrument: ONE, order_ref, total: Qty(0) })
        }

        /// `buy 5 @ 100` or `sell 5 market`, then any of: hidden, at-open, at-close, ioc, gtc, floor N,
        /// until NS, with KEY (a pair), stop PRICE.
        fn enter(&mut self, line: &str) -> Vec<String> {
            self.seq += 1;
            self.run(&Request::Enter(self.incoming(line)))
        }

        fn incoming(&self, line: &str) -> Incoming {
            let mut words = line.split(' ');
            let side = if words.next() == Some("buy") { Side::Buy } else { Side::Sell };
            let qty = Qty(words.next().unwrap().parse().unwrap());
            let mut order = Accepted {
                key: OrderKey(self.seq),
                order_ref: OrderRef::new(Seq(self.seq), 0),
                firm: ironbell_types::FirmId(1),
                instrument: ONE,
                side,
                qty,
                price: Price(0),
                time_in_force: TimeInForce::Day,
                display: Display::Visible,
                capacity: Capacity::Agency,
                cl_ord_id: ClOrdId::default(),
                options: OrderOptions::default(),
                booked: false,
                shown_qty: Qty(0),
            };
            let (mut terms, mut pair) = (OrderTerms::default(), None);
            while let Some(word) = words.next() {
                let mut number = || words.next().unwrap().parse::<u64>().unwrap();
                match word {
                    "@" => order.price = Price(number() as i64),
                    "market" => terms.market = true,
                    "hidden" => order.display = Display::Hidden,
                    "at-open" => order.time_in_force = TimeInForce::AtOpen,
                    "at-close" => order.time_in_force = TimeInForce::AtClose,
                    "ioc" => order.time_in_force = TimeInForce::Ioc,
                    "gtc" => order.time_in_force = TimeInForce::Gtc,
                    "floor" => terms.max_floor = number() as u32,
                    "until" => {
                        order.time_in_force = TimeInForce::Gtt;
                        terms.expire = Nanos(number());
                    }
                    "with" => pair = Some(OrderRef::new(Seq(number()), 0)),
                    "stop" => terms.stop = Price(number() as i64),
                    other => panic!("{other} is no word of an order"),
                }
            }
            let token = self.seq as u32;
            Incoming::new(order, &terms, token, false, Stp::Off, pair)
        }

        fn enter_all(&mut self, lines: &[&str]) {
            for line in lines {
                let said = self.enter(line);
                assert_eq!(said, ["booked"], "{line}");
            }
        }

        /// Numbers and leaves of the orders: bids best first | asks best first, hidden in brackets.
        fn draw(&self) -> String {
            let side = |buys| {
                let orders = self.matching.book(ONE).filter(move |order| order.buys == buys);
                let texts = orders.map(|order| {
                    let text = format!("{}:{}@{}", order.key.0, order.leaves_qty, order.price);
                    if order.shown.qty.0 > 0 { text } else { format!("({text})") }
                });
                texts.collect::<Vec<_>>().join(" ")
            };
            format!("{} | {}", side(true), side(false))
        }
    }

    fn said(body: &EventBody) -> Option<String> {
        Some(match body {
            EventBody::Terms { .. } => return None,
            EventBody::Accepted(order) => if order.booked { "booked" } else { "accepted" }.to_string(),
            EventBody::Rejected { reason, .. } => format!("rejected {reason:?}"),
            EventBody::Trade(trade) => {
                let (resting, aggressor) = (trade.resting.key.0, trade.aggressor.key.0);
                format!("trade {}@{} {resting}x{aggressor}", trade.qty, trade.price)
            }
            EventBody::Crossed(crossed) => format!("{:?} {}@{}", crossed.kind, crossed.qty, crossed.price),
            EventBody::Canceled(canceled) => {
                format!("canceled {}:{} {:?}", canceled.key.0, canceled.qty, canceled.reason)
            }
            EventBody::Refreshed(part) => {
                format!("refreshed {}:{}/{}", part.key.0, part.shown.qty, part.leaves_qty)
            }
            EventBody::Rested(rested) => {
                format!("rested {}:{}@{}", rested.order_ref.seq(), rested.shown.qty, rested.price)
            }
            EventBody::PhaseChanged { phase, reason, .. } => {
                let reason = core::str::from_utf8(reason).unwrap();
                format!("{phase:?} {reason}").trim_end().to_string()
            }
            EventBody::BandSet { lower, upper, .. } => format!("band {lower}..{upper}"),
            EventBody::LimitState { on, .. } => format!("limit state {}", if *on { "on" } else { "off" }),
            EventBody::Triggered { key, .. } => format!("triggered {}", key.0),
            EventBody::Indicative(would) => {
                let side = if would.imbalance_buys { "bought" } else { "sold" };
                let (paired, over) = (would.paired, would.imbalance);
                format!("indicative {:?} {paired}@{} and {over} {side}", would.kind, would.price)
            }
            EventBody::Statistics(day) => {
                let prices = [day.open, day.high, day.low, day.close].map(|price| price.0);
                format!("day {prices:?} {} in {}", day.volume, day.trades)
            }
            other => panic!("{other:?}"),
        })
    }

    use Phase::{Closed, ClosingAuction, Continuous, Halted, OpeningAuction, Paused, PreOpen, Volatility};

    #[test]
    fn books_overlap_in_call_phases_and_cross_when_continuous_begins() {
        let mut pit = Pit::in_phase(PreOpen);
        pit.enter_all(&["buy 5 @ 102", "sell 3 @ 100", "buy 4 @ 101", "sell 4 @ 101", "sell 9 @ 105"]);
        assert_eq!(pit.draw(), "2:5@102 4:4@101 | 3:3@100 5:4@101 6:9@105");
        assert_eq!(pit.enter("sell 1 @ 100 ioc"), ["rejected Halted"]);
        assert_eq!(pit.phase(OpeningAuction), ["OpeningAuction"]);
        let said = pit.phase(Continuous);
        let trades = ["trade 3@101 2x3", "trade 2@101 2x5", "trade 2@101 4x5"];
        assert_eq!(said[..3], trades);
        assert_eq!(said[3..], ["Opening 7@101", "Continuous"]);
        assert_eq!(pit.draw(), "4:2@101 | 6:9@105");
        assert_eq!(pit.enter("sell 1 @ 100 ioc"), ["accepted", "trade 1@101 4x10"]);
    }

    #[test]
    fn a_cross_has_the_kind_of_the_phase_before_it_and_is_said_after_the_great_auctions() {
        let trips = [
            (Closed, Continuous, "", vec!["Continuous"]),
            (PreOpen, Continuous, "", vec!["Continuous"]),
            (OpeningAuction, Continuous, "", vec!["Opening 0@0", "Continuous"]),
            (ClosingAuction, Continuous, "", vec!["Closing 0@0", "Continuous"]),
            (ClosingAuction, Closed, "", vec!["Closing 0@0", "Closed"]),
            (ClosingAuction, Halted, "x", vec!["Halted"]),
            (Volatility, Continuous, "", vec!["Continuous"]),
            (PreOpen, Continuous, "x", vec!["trade 5@100 3x4", "Opening 5@100", "Continuous"]),
            (Volatility, Continuous, "x", vec!["trade 5@100 3x4", "Halt 5@100", "Continuous"]),
            (Paused, Continuous, "x", vec!["trade 5@100 3x4", "Halt 5@100", "Continuous"]),
            (ClosingAuction, Closed, "x", vec!["trade 5@100 3x4", "Closing 5@100", "Closed"]),
        ];
        for (from, to, orders, expected) in trips {
            // A Volatility lasts, so that only the command ends it.
            let mut pit = Pit::new();
            pit.rules(InstrumentRules { volatility_ns: SECOND, ..PLAIN });
            pit.phase(from);
            if orders == "x" {
                pit.enter_all(&["buy 5 @ 100", "sell 5 @ 100"]);
            }
            assert_eq!(pit.phase(to), expected, "{from:?} to {to:?}");
            assert!(pit.phase(to).is_empty(), "it is there already");
        }
    }

    #[test]
    fn a_cross_serves_market_orders_then_prices_then_displayed_hidden_and_waiting_orders() {
        let mut pit = Pit::new();
        pit.rules(InstrumentRules { reference: Price(100), static_bps: 1_000, ..PLAIN });
        pit.phase(OpeningAuction);
        pit.enter_all(&[
            "buy 1 @ 101 at-open",
            "buy 1 @ 101 hidden",
            "buy 1 @ 101",
            "buy 1 @ 101",
            "buy 1 @ 102 hidden",
            "buy 1 market at-open",
            "buy 1 market at-open",
            "sell 9 @ 101",
        ]);
        // Keys 3 to 10 in that order.
        let said = pit.phase(Continuous);
        let buyers: Vec<_> = said[..7].iter().map(|trade| trade.split(' ').next_back().unwrap()).collect();
        assert_eq!(buyers, ["8x10", "9x10", "7x10", "5x10", "6x10", "4x10", "3x10"]);
        assert_eq!(said[7..], ["Opening 7@101", "Continuous"]);
        assert_eq!(pit.draw(), " | 10:2@101");
    }

    #[test]
    fn what_is_left_of_orders_for_a_cross_goes_with_it_and_no_other() {
        let mut pit = Pit::in_phase(OpeningAuction);
        pit.enter_all(&["sell 2 @ 99 at-open", "buy 7 @ 100 at-open", "buy 1 @ 101 at-open"]);
        pit.enter_all(&["buy 5 @ 90 at-close", "sell 3 @ 100"]);
        let said = pit.phase(Continuous);
        let trades = ["trade 1@100 2x4", "trade 1@100 2x3", "trade 3@100 3x6", "Opening 5@100"];
        assert_eq!(said[..4], trades);
        assert_eq!(said[4..], ["canceled 3:3 Closed", "Continuous"]);
        assert_eq!(pit.enter("buy 1 @ 100 at-open"), ["rejected CrossOrder"]);
        assert_eq!(pit.matching.waiting(ONE).map(|order| order.key.0).collect::<Vec<_>>(), [5]);
        // A halt's cross takes neither kind, and cancels neither.
        pit.phase(Halted);
        assert_eq!(pit.phase(Continuous), ["Continuous"]);
        pit.phase(ClosingAuction);
        pit.enter_all(&["sell 9 @ 90 at-close"]);
        let said = pit.phase(Closed);
        assert_eq!(said, ["trade 5@90 5x12", "Closing 5@90", "canceled 12:4 Closed", "Closed"]);
        assert_eq!(pit.matching.orders(), 0);
    }

    #[test]
    fn a_market_buy_is_no_dearer_in_a_cross_than_it_was_worth_when_it_came_in() {
        let mut pit = Pit::new();
        let rules = InstrumentRules { reference: Price(100), static_bps: 1_000, ..PLAIN };
        pit.rules(rules);
        pit.phase(OpeningAuction);
        pit.enter_all(&["buy 5 market at-open"]);
        pit.rules(InstrumentRules { reference: Price(200), ..rules });
        pit.enter_all(&["buy 4 market at-open", "sell 9 @ 190"]);
        let said = pit.phase(Continuous);
        let expected = ["trade 4@200 5x6", "Opening 4@200", "canceled 3:5 Closed", "Continuous"];
        assert_eq!(said, expected);
    }

    /// An iceberg order trades in its place with all it has, and shows its next part afterwards.
    #[test]
    fn an_iceberg_order_is_refreshed_after_a_cross_and_not_in_it() {
        let mut pit = Pit::in_phase(OpeningAuction);
        pit.enter_all(&["buy 20 @ 100 floor 4", "buy 5 @ 100", "sell 9 @ 100"]);
        let said = pit.phase(Continuous);
        assert_eq!(said, ["trade 9@100 2x4", "Opening 9@100", "refreshed 2:4/11", "Continuous"]);
        assert_eq!(pit.draw(), "3:5@100 2:11@100 | ", "behind all others");
        // What is left of a part still shows.
        pit.phase(Paused);
        pit.enter_all(&["sell 7 @ 100"]);
        let said = pit.phase(Continuous);
        assert_eq!(said, ["trade 5@100 3x7", "trade 2@100 2x7", "Halt 7@100", "Continuous"]);
        assert_eq!(pit.draw(), "2:9@100 | ");
    }

    #[test]
    fn both_of_a_pair_can_execute_in_a_cross_and_the_partners_go_after_it() {
        let mut pit = Pit::in_phase(OpeningAuction);
        pit.enter_all(&["buy 5 @ 99", "buy 5 @ 102 with 2", "buy 5 @ 101", "sell 12 @ 98 with 4"]);
        let said = pit.phase(Continuous);
        let trades = ["trade 5@99 3x5", "trade 5@99 4x5", "trade 2@99 2x5", "Opening 12@99"];
        assert_eq!(said[..4], trades);
        assert_eq!(said[4..], ["canceled 2:3 System", "Continuous"]);
    }

    #[test]
    fn a_cross_of_too_many_trades_goes_on_where_it_was() {
        let mut pit = Pit::in_phase(OpeningAuction);
        pit.enter_all(&["buy 1 @ 103", "buy 1 @ 102", "buy 1 @ 102", "buy 1 @ 102", "buy 9 @ 101 floor 2"]);
        pit.enter_all(&["sell 8 @ 100", "buy 2 @ 100 at-open"]);
        pit.matching.trades_max = 2;
        assert_eq!(pit.phase(Continuous), ["trade 1@101 2x7", "trade 1@101 3x7"]);
        assert_eq!(pit.matching.next_due(), Some(Nanos(0)), "unfinished");
        // Its price stands, though the next best prices are others now.
        assert_eq!(pit.enter("buy 1 @ 105"), ["trade 1@101 4x7", "trade 1@101 5x7", "rejected Halted"]);
        // A phase commanded meanwhile takes the place of the one to come; cancelling works.
        pit.matching.trades_max = 1;
        assert_eq!(pit.phase(Paused), ["trade 4@101 6x7"]);
        let expected = ["Opening 8@101", "canceled 8:2 Closed", "refreshed 6:2/5", "Paused"];
        assert_eq!(pit.tick(5), expected);
        assert_eq!(pit.draw(), "6:5@101 | ");
        assert_eq!(pit.matching.next_due(), Some(Nanos(SECOND + 5)));
    }

    /// However few trades a command may make, the same trades come out, and then the same words.
    #[test]
    fn a_cross_in_pieces_says_what_it_says_in_one() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let mut pit = Pit::new();
            pit.rules(InstrumentRules { reference: Price(100), static_bps: 1_000, band_bps: 100, ..PLAIN });
            pit.phase(OpeningAuction);
            for _ in 0..4 + rng.below(30) {
                let side = ["buy", "sell"][rng.below(2) as usize];
                let (qty, price) = (1 + rng.below(9), 97 + rng.below(7));
                let terms = match rng.below(7) {
                    0 => format!("@ {price} hidden"),
                    1 => format!("@ {price} floor {}", 1 + rng.below(3)),
                    2 => format!("@ {price} at-open"),
                    3 => "market at-open".to_string(),
                    4 if pit.seq > 2 => format!("@ {price} with {}", 3 + rng.below(pit.seq - 2)),
                    _ => format!("@ {price}"),
                };
                pit.enter(&format!("{side} {qty} {terms}"));
            }
            let mut pieces = Pit { matching: pit.matching.clone(), effects: Vec::new(), ..pit };
            pieces.matching.trades_max = 1 + rng.below(3) as u32;
            let whole = pit.phase(Continuous);
            let mut said = pieces.phase(Continuous);
            while pieces.matching.next_due() == Some(Nanos(0)) {
                said.extend(pieces.next(&Request::Tick));
            }
            assert_eq!(said, whole, "seed {seed}");
            assert_eq!(pieces.draw(), pit.draw(), "seed {seed}");
        }
    }

    #[test]
    fn a_day_closed_in_a_cross_under_way_has_its_figures_after_it() {
        let mut pit = Pit::in_phase(ClosingAuction);
        pit.enter_all(&["buy 1 @ 100", "buy 1 @ 100", "sell 2 @ 100"]);
        pit.matching.trades_max = 1;
        assert_eq!(pit.next(&Request::CloseDay), ["trade 1@100 2x4"]);
        assert!(pit.phase(Closed).len() == 1, "goes on, and is to be closed already");
        let expected = ["Closing 2@100", "Closed", "day [100, 100, 100, 100] 2 in 2"];
        assert_eq!(pit.tick(1), expected);
        assert_eq!(pit.matching.next_due(), None);
    }

    #[test]
    fn close_day_holds_the_closing_cross_and_says_the_figures() {
        let mut pit = Pit::new();
        pit.enter_all(&["buy 5 @ 100"]);
        pit.enter("sell 2 @ 99");
        pit.phase(ClosingAuction);
        pit.enter_all(&["sell 3 market at-close", "buy 1 @ 104"]);
        let said = pit.next(&Request::CloseDay);
        let trades = ["trade 1@100 4x5", "trade 2@100 1x4", "Closing 3@100", "Closed"];
        assert_eq!(said[..4], trades);
        assert_eq!(said[4..], ["day [100, 100, 100, 100] 5 in 3"]);
        let busted = Request::Busted {
            instrument: ONE,
            price: Price(100),
            qty: Qty(2),
            match_number: MatchNumber(7),
            reason: b'E',
        };
        assert!(pit.next(&busted).is_empty());
        assert_eq!(pit.effects, [Effect::Busted { match_number: MatchNumber(7), reason: b'E' }]);
        assert_eq!(pit.next(&Request::CloseDay), ["day [100, 100, 100, 100] 3 in 2"]);
    }

    #[test]
    fn the_schedule_runs_in_time_order_with_the_indicative_price_each_second() {
        let mut pit = Pit::new();
        pit.enter_all(&["buy 5 @ 100 gtc"]);
        pit.schedule(2, 10, PreOpen);
        pit.schedule(1, 11, OpeningAuction);
        pit.schedule(0, 14, Continuous);
        assert_eq!(pit.next(&DAY), ["rested 1:5@100", "Closed"]);
        assert_eq!(pit.enter("buy 1 @ 100"), ["rejected Halted"]);
        assert!(pit.tick(10 * SECOND - 1).is_empty());
        assert_eq!(pit.matching.next_due(), Some(Nanos(10 * SECOND)));
        assert_eq!(pit.tick(10 * SECOND), ["PreOpen"]);
        assert_eq!(pit.tick(11 * SECOND + 7), ["OpeningAuction"]);
        assert!(pit.tick(12 * SECOND).is_empty());
        assert_eq!(pit.tick(12 * SECOND + 7), ["indicative Opening 0@0 and 0 sold"]);
        // Timers come before the order whose command finds them due.
        pit.time = Nanos(13 * SECOND + 7);
        assert_eq!(pit.enter("sell 2 @ 99"), ["indicative Opening 0@0 and 0 sold", "booked"]);
        pit.time = Nanos(13 * SECOND + 8);
        pit.enter_all(&["buy 1 @ 99"]);
        let said = pit.tick(20 * SECOND);
        // At 14 s the cross was due before the indicative price of 14 s + 7.
        assert_eq!(said, ["trade 2@100 1x12", "Opening 2@100", "Continuous"]);
        assert_eq!(pit.matching.next_due(), None);
    }

    #[test]
    fn entries_long_due_come_one_after_the_other_in_one_command() {
        let mut pit = Pit::new();
        pit.schedule(0, 3, Continuous);
        pit.schedule(1, 1, PreOpen);
        pit.schedule(2, 2, OpeningAuction);
        pit.schedule(3, 3, ClosingAuction);
        pit.next(&DAY);
        let said = pit.tick(9 * SECOND);
        let expected = ["PreOpen", "OpeningAuction", "Opening 0@0", "Continuous", "ClosingAuction"];
        assert_eq!(said, expected);
        assert_eq!(pit.matching.next_due(), Some(Nanos(10 * SECOND)), "what starts counts from there");
    }

    #[test]
    fn an_indicative_price_says_what_would_be_over() {
        let mut pit = Pit::in_phase(Paused);
        pit.enter_all(&["buy 7 @ 101", "sell 5 @ 100"]);
        assert_eq!(pit.tick(SECOND), ["indicative Halt 5@101 and 2 bought"]);
        pit.time = Nanos(SECOND);
        pit.enter_all(&["sell 6 @ 101"]);
        assert_eq!(pit.tick(2 * SECOND), ["indicative Halt 7@101 and 4 sold"]);
    }

    #[test]
    fn a_limit_state_leads_to_an_auction_that_reopens_and_moves_the_band() {
        let mut pit = Pit::new();
        let rules = InstrumentRules {
            reference: Price(100),
            band_bps: 500,
            limit_state_ns: 15 * SECOND,
            volatility_ns: 300 * SECOND,
            ..PLAIN
        };
        assert_eq!(pit.rules(rules), ["band 95..105"]);
        pit.enter_all(&["sell 5 @ 105", "sell 5 @ 106"]);
        let said = pit.enter("buy 8 @ 110");
        let expected = ["accepted", "trade 5@105 2x4", "canceled 4:3 Collar", "limit state on"];
        assert_eq!(said, expected);
        // A trade at the band's edge does not end it, one inside does.
        pit.enter_all(&["buy 1 @ 95"]);
        assert_eq!(pit.enter("sell 1 @ 95"), ["accepted", "trade 1@95 5x6"]);
        pit.enter_all(&["buy 1 @ 99"]);
        assert_eq!(pit.enter("sell 1 @ 99"), ["accepted", "trade 1@99 7x8", "limit state off"]);
        assert!(pit.tick(15 * SECOND).is_empty());
        assert_eq!(pit.enter("buy 1 @ 106"), ["accepted", "canceled 10:1 Collar", "limit state on"]);
        assert!(pit.tick(30 * SECOND - 1).is_empty());
        assert_eq!(pit.tick(30 * SECOND), ["band 95..105", "Volatility LUDP"]);
        pit.enter_all(&["buy 4 @ 107"]);
        // The indicative price was due first; the next is counted from here, and comes to nothing.
        let said = pit.tick(330 * SECOND);
        let expected = ["trade 4@106 3x13", "Halt 4@106", "band 101..111", "Continuous"];
        assert_eq!(said[said.len() - 4..], expected);
        assert_eq!(said[0], "indicative Halt 4@106 and 1 sold");
        assert_eq!(pit.matching.next_due(), None);
    }

    #[test]
    fn a_batch_instrument_trades_in_its_crosses_only() {
        let mut pit = Pit::new();
        pit.time = Nanos(100);
        let rules = InstrumentRules { algorithm: Algorithm::Batch, batch_ns: 1_000_000, ..PLAIN };
        pit.rules(rules);
        assert_eq!(pit.enter("buy 5 @ 101 ioc"), ["rejected Halted"]);
        pit.enter_all(&["buy 5 @ 101", "sell 3 @ 100"]);
        assert!(pit.tick(1_000_099).is_empty());
        assert_eq!(pit.tick(1_000_150), ["trade 3@101 3x4", "Halt 3@101"]);
        assert_eq!(pit.draw(), "3:2@101 | ");
        assert_eq!(pit.matching.next_due(), Some(Nanos(2_000_150)));
        assert!(pit.tick(2_000_150).is_empty(), "nothing traded");
        pit.enter_all(&["sell 2 @ 101"]);
        assert_eq!(pit.tick(3_000_150), ["trade 2@101 3x8", "Halt 2@101"]);
        assert_eq!(pit.phase(Paused), ["Paused"]);
        assert_eq!(pit.matching.next_due(), Some(Nanos(3_000_150 + SECOND)));
    }

    #[test]
    fn expiries_come_first_of_what_is_due_at_one_time_and_the_oldest_first_of_them() {
        let mut pit = Pit::new();
        pit.schedule(0, 1, OpeningAuction);
        pit.schedule(1, 3, Continuous);
        pit.next(&DAY);
        pit.tick(SECOND);
        pit.enter_all(&["buy 1 @ 100 until 3000000000", "buy 2 @ 101 until 2500000000"]);
        pit.enter_all(&["sell 4 @ 99 until 3000000000", "sell 8 @ 99"]);
        assert_eq!(pit.matching.next_due(), Some(Nanos(2 * SECOND)));
        let said = pit.tick(3 * SECOND);
        let expected = [
            "indicative Opening 3@100 and 9 sold",
            "canceled 6:2 Timeout",
            "canceled 5:1 Timeout",
            "canceled 7:4 Timeout",
            "Opening 0@0",
            "Continuous",
        ];
        assert_eq!(said, expected);
        assert_eq!(pit.draw(), " | 8:8@99");
    }

    /// What would expire beyond the most that one command takes waits for the next, and the timers due
    /// after it with it.
    #[test]
    fn one_command_takes_off_no_more_than_so_many_expired_orders() {
        let mut pit = Pit::new();
        pit.schedule(0, 1, PreOpen);
        pit.schedule(1, 9, OpeningAuction);
        pit.next(&DAY);
        pit.tick(SECOND);
        for _ in 0..=EXPIRIES_MAX {
            // Without the checks of the whole book after each.
            pit.seq += 1;
            let incoming = pit.incoming("buy 1 @ 100 until 5000000000");
            let mut out = Vec::new();
            let mut voice = Voice::new(&mut out, Seq(pit.seq), pit.time, Stage::Matching);
            pit.matching.apply(&Request::Enter(incoming), &mut voice, &mut pit.effects);
        }
        let said = pit.tick(9 * SECOND);
        assert_eq!(said.len(), EXPIRIES_MAX as usize);
        assert!(said.iter().all(|line| line.ends_with(":1 Timeout")));
        assert_eq!(pit.matching.orders(), 1);
        let last = pit.seq - 1;
        assert_eq!(pit.tick(9 * SECOND), [format!("canceled {last}:1 Timeout"), "OpeningAuction".into()]);
    }

    #[test]
    fn a_cancel_in_a_cross_under_way_takes_its_order_out_of_it() {
        let mut pit = Pit::in_phase(PreOpen);
        pit.enter_all(&["buy 1 @ 100", "buy 1 @ 100", "buy 1 @ 100", "sell 3 @ 100"]);
        pit.matching.trades_max = 1;
        assert_eq!(pit.phase(Continuous), ["trade 1@100 2x5"]);
        let all = pit.cancel(4);
        assert_eq!(all, ["trade 1@100 3x5", "canceled 4:1 User"]);
        // The cross is over before the halt comes.
        let said = pit.next(&Request::MarketWideHalt { level: 1 });
        assert_eq!(said, ["Opening 2@100", "Continuous", "Halted MWC1"]);
        assert_eq!(pit.draw(), " | 5:1@100");
    }

    #[test]
    fn a_delisting_closes_for_good() {
        let mut pit = Pit::new();
        pit.schedule(0, 1, Continuous);
        pit.next(&DAY);
        assert!(pit.next(&Request::Delist { instrument: ONE }).is_empty(), "closed already");
        assert_eq!(pit.matching.next_due(), None);
        assert!(pit.tick(2 * SECOND).is_empty());
        assert!(pit.next(&DAY).is_empty());
    }

    #[test]
    fn a_cross_wakes_the_stops_it_reaches_once_continuous_has_begun() {
        let mut pit = Pit::in_phase(OpeningAuction);
        pit.enter_all(&["buy 5 @ 100", "sell 5 @ 100", "sell 1 @ 107", "buy 1 @ 108 stop 100"]);
        let said = pit.phase(Continuous);
        let expected = ["trade 5@100 2x3", "Opening 5@100", "Continuous", "triggered 5", "trade 1@107 4x5"];
        assert_eq!(said, expected);
    }

    #[test]
    fn a_market_wide_halt_stops_all_that_is_not_closed() {
        let mut pit = Pit::new();
        pit.matching.open_book(true);
        pit.matching.open_book(true);
        pit.next(&Request::SetPhase { instrument: InstrumentId(2), phase: Closed, reason: NO_REASON });
        assert_eq!(pit.next(&Request::MarketWideHalt { level: 2 }), ["Halted MWC2", "Halted MWC2"]);
        pit.next(&Request::Delist { instrument: ONE });
        let all = Request::SetPhase { instrument: InstrumentId::NONE, phase: PreOpen, reason: *b"T1  " };
        assert_eq!(pit.next(&all), ["PreOpen T1", "PreOpen T1"], "delisted ones are left out");
        assert_eq!(pit.next(&DAY), ["Continuous", "Continuous"]);
    }

    #[test]
    fn an_open_day_shows_what_is_left_before_it_trades() {
        let mut pit = Pit::in_phase(PreOpen);
        pit.enter_all(&["buy 3 @ 101 gtc", "sell 2 @ 100 gtc", "sell 9 @ 100 hidden gtc"]);
        assert_eq!(pit.next(&Request::CloseDay), ["Closed", "day [0, 0, 0, 0] 0 in 0"]);
        let said = pit.next(&DAY);
        let expected = [
            "rested 2:3@101",
            "rested 3:2@100",
            "trade 2@101 2x3",
            "trade 1@101 2x4",
            "Opening 3@101",
            "Continuous",
        ];
        assert_eq!(said, expected);
    }
}
