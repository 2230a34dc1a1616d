//! Stage 2 of the naive engine: phases, schedules, crosses, bands and timers.

use ironbell_types::{
    Algorithm, CancelReason, CrossKind, Crossed, EventBody, Indicative, InstrumentId, InstrumentRules, Nanos,
    OrderRef, Phase, Price, Qty, SCHEDULE_SLOTS, Statistics, TimeInForce,
};

use super::Said;
use super::books::{Books, Order, Standing, TRADES_MAX, around, rested};

/// Good-till-time orders that one command cancels.
const EXPIRIES_MAX: u32 = 65_536;

/// From one indicative price to the next.
const INDICATIVE_NS: u64 = 1_000_000_000;

/// A reason that is none.
const BLANK: [u8; 4] = *b"    ";

/// What an instrument does now, and what it did this day.
pub(super) struct Market {
    pub(super) instrument: InstrumentId,
    pub(super) rules: InstrumentRules,
    pub(super) phase: Phase,
    /// When the phase began.
    since: Nanos,
    /// The schedule from the next day on.
    schedule: [Option<(u32, Phase)>; SCHEDULE_SLOTS],
    /// What of this day's schedule is still to come: due time, slot, phase.
    today: Vec<(u64, usize, Phase)>,
    /// When the last indicative price was said, or the phase began.
    indicated: Nanos,
    /// When the last batch was crossed, or batches began.
    batched: Nanos,
    /// Since when a limit state is on.
    pub(super) limited_since: Option<Nanos>,
    /// The band's middle; 0 is none.
    band_reference: Price,
    /// The day's last trade price.
    pub(super) last: Option<Price>,
    statistics: Statistics,
    /// A cross that needs more than one command.
    pub(super) cross: Option<Cross>,
    /// Something happened that wakes the instrument.
    pub(super) unwoken: bool,
    delisted: bool,
}

/// A cross under way.
#[derive(Clone)]
pub(super) struct Cross {
    kind: CrossKind,
    /// `None` when nothing trades.
    price: Option<Price>,
    qty: Qty,
    /// Partners of those that executed, in the order of the trades.
    partners: Vec<OrderRef>,
    /// The phase that begins then.
    then: Option<(Phase, [u8; 4])>,
    /// The day was closed meanwhile: its statistics follow.
    ends_day: bool,
}

/// What fires, in the order in which it does at equal times.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Expiry(OrderRef),
    LimitState,
    VolatilityEnd,
    Schedule(usize, Phase),
    Batch,
    Indicative,
}

impl Market {
    pub(super) fn new(instrument: InstrumentId, phase: Phase) -> Self {
        Self {
            instrument,
            rules: InstrumentRules::PLAIN,
            phase,
            since: Nanos(0),
            schedule: [None; SCHEDULE_SLOTS],
            today: Vec::new(),
            indicated: Nanos(0),
            batched: Nanos(0),
            limited_since: None,
            band_reference: Price(0),
            last: None,
            statistics: Statistics { instrument, ..Statistics::default() },
            cross: None,
            unwoken: false,
            delisted: false,
        }
    }

    pub(super) fn is_batch(&self) -> bool {
        self.rules.algorithm == Algorithm::Batch
    }

    /// The lowest and the highest price of a trade in a run.
    pub(super) fn band(&self) -> Option<(Price, Price)> {
        let Price(b) = self.band_reference;
        let d = i128::from(b) * i128::from(self.rules.band_bps) / 10_000;
        (b != 0 && self.rules.band_bps != 0).then(|| around(b, d))
    }

    /// The prices around the last one that a market order may trade at, and a triggered limit may have.
    pub(super) fn collar(&self) -> Option<(Price, Price)> {
        let Price(base) = self.reference();
        let d = i128::from(base) * i128::from(self.rules.collar_bps) / 10_000;
        (base != 0 && self.rules.collar_bps != 0).then(|| around(base, d))
    }

    /// The day's last trade price, else the rules' reference; 0 is none.
    fn reference(&self) -> Price {
        self.last.unwrap_or(self.rules.reference)
    }

    pub(super) fn note_trade(&mut self, price: Price, qty: Qty) {
        self.last = Some(price);
        let day = &mut self.statistics;
        if day.trades == 0 && day.open == Price(0) {
            (day.open, day.high, day.low) = (price, price, price);
        }
        day.high = day.high.max(price);
        day.low = day.low.min(price);
        day.close = price;
        day.volume.0 = day.volume.0.saturating_add(qty.0);
        let turnover = u128::from(price.0.unsigned_abs()) * u128::from(qty.0);
        day.turnover = day.turnover.saturating_add(turnover);
        day.trades += 1;
    }

    /// The phase that is there, or that begins after the cross under way.
    fn phase_to_come(&self) -> Phase {
        let then = self.cross.as_ref().and_then(|cross| cross.then);
        then.map_or(self.phase, |(phase, _)| phase)
    }

    fn band_set(&self) -> Option<EventBody> {
        let (lower, upper) = self.band()?;
        Some(EventBody::BandSet { instrument: self.instrument, reference: self.band_reference, upper, lower })
    }

    fn indicates(&self) -> bool {
        matches!(
            self.phase,
            Phase::OpeningAuction | Phase::ClosingAuction | Phase::Volatility | Phase::Paused
        )
    }
}

// The interface to the other stages.

impl Books {
    /// Time passes: due timers fire, books wake.
    pub(super) fn tick(&mut self, said: &mut Said) {
        for instrument in self.instruments() {
            self.advance(instrument, said);
        }
    }

    /// The day begins, at `midnight`'s schedule.
    pub(super) fn open_day(&mut self, midnight: Nanos, said: &mut Said) {
        for instrument in self.instruments() {
            self.advance(instrument, said);
            let market = self.market_mut(instrument);
            market.last = None;
            market.statistics = Statistics { instrument, ..Statistics::default() };
            let due = |at_s: u32| midnight.0 + u64::from(at_s) * 1_000_000_000;
            let entries = market.schedule.iter().enumerate().filter(|_| !market.delisted);
            market.today = entries
                .filter_map(|(slot, entry)| entry.map(|(at_s, phase)| (due(at_s), slot, phase)))
                .collect();
            let opens = !market.delisted && market.today.is_empty();
            let begins = if opens { Phase::Continuous } else { Phase::Closed };
            for order in self.book(instrument) {
                if order.standing == Standing::Rests && order.is_displayed() {
                    said.matching(rested(&order));
                }
            }
            self.change_phase(instrument, begins, BLANK, said);
            self.wake_if_due(instrument, said);
        }
    }

    /// The day ends: crosses, phases, statistics.
    pub(super) fn close_day(&mut self, said: &mut Said) {
        for instrument in self.instruments() {
            self.advance(instrument, said);
            self.change_phase(instrument, Phase::Closed, BLANK, said);
            let market = self.market_mut(instrument);
            market.today.clear();
            match &mut market.cross {
                Some(cross) => cross.ends_day = true,
                None => said.matching(EventBody::Statistics(market.statistics)),
            }
        }
    }

    /// New rules of an instrument.
    pub(super) fn set_rules(&mut self, instrument: InstrumentId, rules: &InstrumentRules, said: &mut Said) {
        self.advance(instrument, said);
        let market = self.market_mut(instrument);
        if rules.algorithm == Algorithm::Batch && !market.is_batch() {
            market.batched = said.time();
        }
        market.rules = *rules;
        market.band_reference = rules.reference;
        market.limited_since = None;
        market.unwoken = true;
        if let Some(band_set) = market.band_set() {
            said.matching(band_set);
        }
        self.wake_if_due(instrument, said);
    }

    /// One entry of an instrument's schedule, in force from the next day.
    pub(super) fn set_schedule(
        &mut self,
        instrument: InstrumentId,
        slot: u8,
        at_s: u32,
        phase: Option<Phase>,
    ) {
        self.market_mut(instrument).schedule[usize::from(slot)] = phase.map(|phase| (at_s, phase));
    }

    /// A phase begins now, on one instrument or (NONE) on all.
    pub(super) fn set_phase(
        &mut self,
        instrument: InstrumentId,
        phase: Phase,
        reason: [u8; 4],
        said: &mut Said,
    ) {
        for each in self.instruments() {
            let meant = instrument == InstrumentId::NONE || instrument == each;
            if meant && !self.market(each).delisted {
                self.advance(each, said);
                self.change_phase(each, phase, reason, said);
                self.wake_if_due(each, said);
            }
        }
    }

    /// Every instrument that is not Closed halts.
    pub(super) fn market_wide_halt(&mut self, level: u8, said: &mut Said) {
        for instrument in self.instruments() {
            self.advance(instrument, said);
            if self.market(instrument).phase_to_come() != Phase::Closed {
                let reason = [b'M', b'W', b'C', b'0' + level];
                self.change_phase(instrument, Phase::Halted, reason, said);
            }
        }
    }

    /// The instrument is taken off: Closed for good.
    pub(super) fn delist(&mut self, instrument: InstrumentId, said: &mut Said) {
        self.advance(instrument, said);
        self.change_phase(instrument, Phase::Closed, BLANK, said);
        let market = self.market_mut(instrument);
        market.delisted = true;
        market.today.clear();
    }

    /// A new tick: rules become plain, prices of statistics and band are forgotten. No day is open, and
    /// no order on the instrument.
    pub(super) fn forget_prices(&mut self, instrument: InstrumentId) {
        let market = self.market_mut(instrument);
        market.rules = InstrumentRules::PLAIN;
        market.band_reference = Price(0);
        market.last = None;
        market.statistics = Statistics { instrument, ..Statistics::default() };
    }

    /// A trade of this day is undone: the statistics shrink.
    pub(super) fn bust(&mut self, instrument: InstrumentId, price: Price, qty: Qty) {
        let day = &mut self.market_mut(instrument).statistics;
        day.volume.0 = day.volume.0.saturating_sub(qty.0);
        let turnover = u128::from(price.0.unsigned_abs()) * u128::from(qty.0);
        day.turnover = day.turnover.saturating_sub(turnover);
        day.trades = day.trades.saturating_sub(1);
    }
}

// Timers.

impl Books {
    fn instruments(&self) -> Vec<InstrumentId> {
        self.markets.iter().map(|m| m.instrument).collect()
    }

    /// What comes before a command on an instrument: what an earlier one left unfinished, then the timers
    /// that are due, then waking.
    pub(super) fn advance(&mut self, instrument: InstrumentId, said: &mut Said) {
        self.begin(said);
        if self.market(instrument).cross.is_some() {
            self.cross_on(instrument, said);
        }
        self.wake_if_due(instrument, said);
        while let Some(timer) = self.next_timer(instrument, said.time()) {
            let expires = matches!(timer, Timer::Expiry(_));
            if self.turn.trades >= TRADES_MAX || (expires && self.turn.expired >= EXPIRIES_MAX) {
                break;
            }
            self.fire(instrument, timer, said);
        }
        self.wake_if_due(instrument, said);
    }

    fn next_timer(&self, instrument: InstrumentId, now: Nanos) -> Option<Timer> {
        let market = self.market(instrument);
        if market.cross.is_some() {
            return None;
        }
        let mut timers: Vec<(u64, Timer)> = Vec::new();
        let expires = |o: &&Order| o.instrument == instrument && o.accepted.time_in_force == TimeInForce::Gtt;
        let expiry = |o: &Order| (o.terms.expire.0, Timer::Expiry(o.order_ref));
        timers.extend(self.orders.iter().filter(expires).map(expiry));
        if let Some(since) = market.limited_since {
            timers.push((since.0.saturating_add(market.rules.limit_state_ns), Timer::LimitState));
        }
        if market.phase == Phase::Volatility {
            timers.push((market.since.0.saturating_add(market.rules.volatility_ns), Timer::VolatilityEnd));
        }
        timers.extend(market.today.iter().map(|&(due, slot, phase)| (due, Timer::Schedule(slot, phase))));
        if market.is_batch() && market.phase == Phase::Continuous {
            timers.push((market.batched.0.saturating_add(market.rules.batch_ns), Timer::Batch));
        }
        if market.indicates() {
            timers.push((market.indicated.0.saturating_add(INDICATIVE_NS), Timer::Indicative));
        }
        timers.into_iter().filter(|(due, _)| *due <= now.0).min().map(|(_, timer)| timer)
    }

    fn fire(&mut self, instrument: InstrumentId, timer: Timer, said: &mut Said) {
        match timer {
            Timer::Expiry(order_ref) => {
                self.turn.expired += 1;
                self.cancel_to(order_ref, Qty::ZERO, CancelReason::Timeout, said);
            }
            Timer::LimitState => {
                if let Some(band_set) = self.market(instrument).band_set() {
                    said.matching(band_set);
                }
                self.change_phase(instrument, Phase::Volatility, *b"LUDP", said);
            }
            Timer::VolatilityEnd => self.change_phase(instrument, Phase::Continuous, BLANK, said),
            Timer::Schedule(slot, phase) => {
                self.market_mut(instrument).today.retain(|&(_, other, _)| other != slot);
                self.change_phase(instrument, phase, BLANK, said);
            }
            Timer::Batch => {
                self.market_mut(instrument).batched = said.time();
                self.begin_cross(instrument, CrossKind::Halt, None, said);
            }
            Timer::Indicative => {
                self.market_mut(instrument).indicated = said.time();
                let indicative = self.indicative(instrument);
                said.matching(EventBody::Indicative(indicative));
            }
        }
    }

    fn change_phase(&mut self, instrument: InstrumentId, phase: Phase, reason: [u8; 4], said: &mut Said) {
        let present = self.market(instrument).phase;
        if phase == self.market(instrument).phase_to_come() {
            return;
        }
        if let Some(cross) = &mut self.market_mut(instrument).cross {
            cross.then = Some((phase, reason));
            return;
        }
        let kind = match (present, phase) {
            (Phase::ClosingAuction, Phase::Continuous | Phase::Closed) => CrossKind::Closing,
            (Phase::Closed | Phase::PreOpen | Phase::OpeningAuction, Phase::Continuous) => CrossKind::Opening,
            (_, Phase::Continuous) => CrossKind::Halt,
            _ => return self.begin_phase(instrument, phase, reason, said),
        };
        self.begin_cross(instrument, kind, Some((phase, reason)), said);
    }

    fn begin_phase(&mut self, instrument: InstrumentId, phase: Phase, reason: [u8; 4], said: &mut Said) {
        let market = self.market_mut(instrument);
        market.phase = phase;
        market.since = said.time();
        market.indicated = said.time();
        market.batched = said.time();
        market.limited_since = None;
        market.unwoken = phase == Phase::Continuous;
        said.matching(EventBody::PhaseChanged { instrument, phase, reason });
    }
}

// Crosses.

/// What a cross would be: its price and both sides' quantities there.
struct Uncrossed {
    price: Price,
    bid: u128,
    ask: u128,
}

/// Whether an order that takes part would trade at `price`.
fn is_willing(order: &Order, price: Price) -> bool {
    match (order.terms.market, order.is_buy()) {
        (true, true) => price <= order.worth,
        (true, false) => true,
        (false, true) => order.price >= price,
        (false, false) => order.price <= price,
    }
}

impl Books {
    /// Who takes part on one side, in the order in which they are served.
    fn side_of_cross(&self, instrument: InstrumentId, kind: CrossKind, buys: bool) -> Vec<Order> {
        let takes_part = |o: &&Order| {
            let of_kind = match o.standing {
                Standing::Runs | Standing::WaitsForPrice => false,
                Standing::Rests => o.class() != 2,
                Standing::WaitsForCross => match o.accepted.time_in_force {
                    TimeInForce::AtOpen => kind == CrossKind::Opening,
                    _ => kind == CrossKind::Closing,
                },
            };
            of_kind && o.instrument == instrument && o.is_buy() == buys
        };
        let mut side: Vec<Order> = self.orders.iter().filter(takes_part).copied().collect();
        // A stable sort: what is equal keeps the order in which it took its place.
        side.sort_by_key(|o| {
            let best_first = if buys { -o.price.0 } else { o.price.0 };
            let class = if o.standing == Standing::WaitsForCross { 2 } else { o.class() };
            (!o.terms.market, best_first, class)
        });
        side
    }

    /// The price of most volume, then of least surplus, then nearest to the reference, then the highest.
    fn uncross(&self, instrument: InstrumentId, kind: CrossKind) -> Option<Uncrossed> {
        let [bids, asks] = [true, false].map(|buys| self.side_of_cross(instrument, kind, buys));
        let reference = self.market(instrument).reference();
        let limits = bids.iter().chain(&asks).filter(|o| !o.terms.market).map(|o| o.price);
        let candidates = limits.chain((reference != Price(0)).then_some(reference));
        let at = |price: Price| {
            let sum = |side: &[Order]| {
                let willing = side.iter().filter(|o| is_willing(o, price));
                willing.map(|o| u128::from(o.leaves_qty.0)).sum::<u128>()
            };
            Uncrossed { price, bid: sum(&bids), ask: sum(&asks) }
        };
        let best = candidates.map(at).min_by_key(|u| {
            let distance = if reference == Price(0) { 0 } else { u.price.0.abs_diff(reference.0) };
            (std::cmp::Reverse(u.bid.min(u.ask)), u.bid.abs_diff(u.ask), distance, std::cmp::Reverse(u.price))
        });
        best.filter(|u| u.bid.min(u.ask) > 0)
    }

    fn indicative(&self, instrument: InstrumentId) -> Indicative {
        let market = self.market(instrument);
        let kind = match market.phase {
            Phase::OpeningAuction => CrossKind::Opening,
            Phase::ClosingAuction => CrossKind::Closing,
            _ => CrossKind::Halt,
        };
        let (mut price, mut paired, mut imbalance, mut imbalance_buys) = (Price(0), 0, 0, false);
        if let Some(u) = self.uncross(instrument, kind) {
            (price, paired, imbalance) = (u.price, u.bid.min(u.ask), u.bid.abs_diff(u.ask));
            imbalance_buys = u.bid > u.ask;
        }
        // What does not fit 64 bits is said as the most that does.
        let [paired, imbalance] = [paired, imbalance].map(|qty| Qty(u64::try_from(qty).unwrap_or(u64::MAX)));
        let reference = market.reference();
        Indicative { instrument, kind, price, paired, imbalance, imbalance_buys, reference }
    }

    fn begin_cross(
        &mut self,
        instrument: InstrumentId,
        kind: CrossKind,
        then: Option<(Phase, [u8; 4])>,
        said: &mut Said,
    ) {
        let price = self.uncross(instrument, kind).map(|u| u.price);
        let cross = Cross { kind, price, qty: Qty::ZERO, partners: Vec::new(), then, ends_day: false };
        self.market_mut(instrument).cross = Some(cross);
        self.cross_on(instrument, said);
    }

    /// Trades of a cross, as many as the command may make, and what comes after the last.
    fn cross_on(&mut self, instrument: InstrumentId, said: &mut Said) {
        let mut cross = self.market(instrument).cross.clone().expect("a cross is under way");
        while let Some(price) = cross.price {
            let first = |buys| {
                let side = self.side_of_cross(instrument, cross.kind, buys);
                side.into_iter().find(|o| is_willing(o, price))
            };
            let (Some(bid), Some(ask)) = (first(true), first(false)) else { break };
            if self.turn.trades >= TRADES_MAX {
                self.market_mut(instrument).cross = Some(cross);
                return;
            }
            let (older, newer) = if bid.order_ref < ask.order_ref { (bid, ask) } else { (ask, bid) };
            let qty = bid.leaves_qty.min(ask.leaves_qty);
            let partners = self.trade(older.order_ref, newer.order_ref, price, qty, cross.kind, said);
            cross.partners.extend(partners.into_iter().flatten());
            cross.qty.0 = cross.qty.0.saturating_add(qty.0);
        }
        if self.turn.trades >= TRADES_MAX {
            self.market_mut(instrument).cross = Some(cross);
            return;
        }
        self.market_mut(instrument).cross = None;
        self.end_cross(instrument, &cross, said);
    }

    fn end_cross(&mut self, instrument: InstrumentId, cross: &Cross, said: &mut Said) {
        let market = self.market(instrument);
        let is_auction = matches!(market.phase, Phase::OpeningAuction | Phase::ClosingAuction);
        if is_auction || cross.qty > Qty::ZERO {
            self.turn.trades += 1;
            said.matching(EventBody::Crossed(Crossed {
                instrument,
                kind: cross.kind,
                price: cross.price.unwrap_or(Price(0)),
                qty: cross.qty,
                match_number: self.next_match(),
            }));
        }
        for buys in [true, false] {
            for order in self.side_of_cross(instrument, cross.kind, buys) {
                if order.standing == Standing::WaitsForCross {
                    self.cancel_to(order.order_ref, Qty::ZERO, CancelReason::Closed, said);
                }
            }
        }
        for &partner in &cross.partners {
            if self.order(partner).is_some() {
                self.cancel_to(partner, Qty::ZERO, CancelReason::System, said);
            }
        }
        for buys in [true, false] {
            for order in self.side_of_cross(instrument, cross.kind, buys) {
                self.refresh_if_used_up(order.order_ref, said);
            }
        }
        let market = self.market_mut(instrument);
        if cross.qty > Qty::ZERO {
            market.band_reference = cross.price.expect("something traded");
            if let Some(band_set) = market.band_set() {
                said.matching(band_set);
            }
        }
        if let Some((phase, reason)) = cross.then {
            self.begin_phase(instrument, phase, reason, said);
        }
        if cross.ends_day {
            said.matching(EventBody::Statistics(self.market(instrument).statistics));
        }
    }
}
