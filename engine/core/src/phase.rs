//! How an instrument trades now: its phase and its rules, the day's schedule and timers, its last price,
//! band and limit state, its figures of the day.
//!
//! Nothing here knows an order. `matching.rs` asks it what may trade and at which prices, `auction.rs`
//! moves it from phase to phase.

use crate::columns::columns;
use alloc::vec::Vec;
use ironbell_types::{
    Algorithm, CrossKind, EventBody, InstrumentId, InstrumentRules, Nanos, OrderRef, Phase, Price, Qty,
    SCHEDULE_SLOTS, Statistics,
};

/// One basis point is this part of the whole.
const BPS: u128 = 10_000;
/// Prices have 63 bits.
const PRICE_MAX: u64 = i64::MAX as u64;
/// From one indicative price to the next.
const INDICATIVE_NS: u64 = 1_000_000_000;
const SECOND_NS: u64 = 1_000_000_000;

/// Trading action reason of what nobody gave one for.
pub(crate) const NO_REASON: [u8; 4] = *b"    ";

/// What an order has traded in a run.
pub(crate) struct Traded {
    first: u64,
    last: u64,
    qty: u64,
    turnover: u128,
    pub(crate) trades: u32,
}

impl Traded {
    pub(crate) const NOTHING: Self = Self { first: 0, last: 0, qty: 0, turnover: 0, trades: 0 };

    #[inline(always)]
    pub(crate) fn add(&mut self, price: u64, qty: u64) {
        if self.trades == 0 {
            self.first = price;
        }
        self.last = price;
        self.qty = self.qty.saturating_add(qty);
        self.turnover = self.turnover.saturating_add(u128::from(price) * u128::from(qty));
        self.trades += 1;
    }
}

/// Prices from the lowest to the highest, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) lower: u64,
    pub(crate) upper: u64,
}

impl Range {
    /// `d` around `middle`, within the prices there are.
    fn around(middle: u64, d: u64) -> Self {
        let upper = middle.saturating_add(d).min(PRICE_MAX);
        Self { lower: middle.saturating_sub(d).max(1), upper }
    }

    pub(crate) fn contains(self, price: u64) -> bool {
        (self.lower..=self.upper).contains(&price)
    }

    /// The last price that a buy (a sell) may have.
    pub(crate) fn end(self, buys: bool) -> u64 {
        if buys { self.upper } else { self.lower }
    }

    /// A limit, but not beyond the range's end.
    fn clamp(self, buys: bool, limit: u64) -> u64 {
        if buys { limit.min(self.upper) } else { limit.max(self.lower) }
    }
}

/// floor(price × bps / 10,000).
fn share(price: u64, bps: u16) -> u64 {
    // A u16 of basis points is below seven times the whole, so it fits: prices have 63 bits.
    u64::try_from(u128::from(price) * u128::from(bps) / BPS).unwrap_or(u64::MAX)
}

/// Where orders may be priced; `None` is anywhere.
pub(crate) fn static_range(rules: &InstrumentRules) -> Option<Range> {
    let reference = rules.reference.0.cast_unsigned();
    (reference != 0 && rules.static_bps != 0)
        .then(|| Range::around(reference, share(reference, rules.static_bps).max(1)))
}

/// One thing that time brings about, in the order of equal times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The oldest good-till-time order is over.
    Expiry,
    /// The limit state has lasted too long.
    LimitState,
    /// Volatility is over.
    Volatility,
    /// The next entry of the day's schedule.
    Schedule,
    /// The next cross of a batch instrument.
    Batch,
    /// The next indicative price.
    Indicative,
}

/// An entry of the day's schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    at: Nanos,
    phase: Phase,
}

/// A cross that has begun and is not over, because its command may make no more trades.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crossing {
    pub(crate) kind: CrossKind,
    /// 0 when there is nothing to trade.
    pub(crate) price: u64,
    /// What it has traded so far; saturates.
    pub(crate) qty: u64,
    /// Whether it is said also when nothing traded.
    pub(crate) said: bool,
    /// What begins after it and why; `None` when the phase stays, after the cross of a batch.
    pub(crate) then: Option<(Phase, [u8; 4])>,
    /// The day's figures are said after it.
    pub(crate) closes_day: bool,
    /// The order that traded last on the side that sells, and on the one that buys; 0 is none.
    pub(crate) served: [OrderRef; 2],
}

/// How an instrument trades now.
#[derive(Clone)]
pub(crate) struct Trading {
    pub(crate) phase: Phase,
    pub(crate) rules: InstrumentRules,
    /// Off for good.
    pub(crate) delisted: bool,
    /// Set by the operator, in force from the next day: seconds after midnight.
    schedule: [Option<(u32, Phase)>; SCHEDULE_SLOTS],
    /// What is left of the day's schedule, in time order, at the end of the array.
    entries: [Option<Entry>; SCHEDULE_SLOTS],
    /// The band's middle; 0 is none.
    band_reference: u64,
    limit_state_since: Option<Nanos>,
    /// When Volatility began.
    volatility_since: Option<Nanos>,
    /// When the last batch crossed, or Continuous began.
    batch_since: Nanos,
    indicative_due: Option<Nanos>,
    statistics: Statistics,
    /// A cross under way.
    pub(crate) crossing: Option<Crossing>,
    /// Orders to be cancelled after the cross because their partners executed in it.
    pub(crate) partners: Vec<OrderRef>,
    /// A command's trades were used up before the instrument had come to rest: it goes on with the next
    /// command on it, or the next tick.
    pub(crate) is_awake: bool,
}

impl Trading {
    /// Of a new instrument.
    pub(crate) fn new(instrument: InstrumentId, phase: Phase) -> Self {
        Self {
            phase,
            rules: InstrumentRules::PLAIN,
            delisted: false,
            schedule: [None; SCHEDULE_SLOTS],
            entries: [None; SCHEDULE_SLOTS],
            band_reference: 0,
            limit_state_since: None,
            volatility_since: None,
            batch_since: Nanos(0),
            indicative_due: None,
            statistics: Statistics { instrument, ..Statistics::default() },
            crossing: None,
            partners: Vec::new(),
            is_awake: false,
        }
    }

    pub(crate) fn instrument(&self) -> InstrumentId {
        self.statistics.instrument
    }

    // What may happen.

    /// New orders are refused: the instrument is closed or halted, or a cross of it is under way.
    pub(crate) fn is_shut(&self) -> bool {
        matches!(self.phase, Phase::Closed | Phase::Halted) || self.crossing.is_some()
    }

    /// New orders rest without trading: in a call phase, and always on a batch instrument.
    pub(crate) fn is_call(&self) -> bool {
        self.phase.is_call() || self.rules.algorithm == Algorithm::Batch
    }

    /// New orders run, and the instrument wakes.
    pub(crate) fn is_continuous(&self) -> bool {
        self.phase == Phase::Continuous && !self.is_call() && self.crossing.is_none()
    }

    /// The phase that is, or that begins after the cross under way.
    pub(crate) fn next_phase(&self) -> Phase {
        self.crossing.and_then(|crossing| crossing.then).map_or(self.phase, |(phase, _)| phase)
    }

    /// Plain orders trade as they come, by price and time, and nothing bounds a run but its limit.
    #[inline(always)]
    pub(crate) fn is_calm(&self) -> bool {
        self.phase == Phase::Continuous
            && self.rules.algorithm == Algorithm::PriceTime
            && self.rules.band_bps == 0
            && !self.rules.short_restricted
            && self.crossing.is_none()
    }

    // Prices.

    /// The last trade of the day.
    pub(crate) fn last_price(&self) -> Option<u64> {
        let close = self.statistics.close.0.cast_unsigned();
        (close != 0).then_some(close)
    }

    /// What auctions and collars go by: the day's last trade price, else the rules' reference.
    pub(crate) fn reference(&self) -> Option<u64> {
        let reference = self.rules.reference.0.cast_unsigned();
        self.last_price().or((reference != 0).then_some(reference))
    }

    /// Where orders may be priced; `None` is anywhere.
    pub(crate) fn static_range(&self) -> Option<Range> {
        static_range(&self.rules)
    }

    /// How far a triggered limit may be from the last price; `None` without a collar or a base of it.
    pub(crate) fn collar(&self) -> Option<Range> {
        let base = self.reference().filter(|_| self.rules.collar_bps != 0)?;
        Some(Range::around(base, share(base, self.rules.collar_bps)))
    }

    /// The limit of a market order: the collar, not beyond the static range.
    pub(crate) fn market_limit(&self, buys: bool) -> u64 {
        let all = Range { lower: 1, upper: PRICE_MAX };
        let range = self.static_range().unwrap_or(all);
        range.clamp(buys, self.collar().unwrap_or(range).end(buys))
    }

    /// Where runs may trade; `None` is anywhere.
    pub(crate) fn band(&self) -> Option<Range> {
        (self.band_reference != 0 && self.rules.band_bps != 0)
            .then(|| Range::around(self.band_reference, share(self.band_reference, self.rules.band_bps)))
    }

    /// A run's limit, but not beyond the band.
    pub(crate) fn bound(&self, buys: bool, limit: u64) -> u64 {
        self.band().map_or(limit, |band| band.clamp(buys, limit))
    }

    /// *BandSet* of the present band, if there is one.
    pub(crate) fn band_set(&self) -> Option<EventBody> {
        let band = self.band()?;
        Some(EventBody::BandSet {
            instrument: self.instrument(),
            reference: Price(self.band_reference.cast_signed()),
            upper: Price(band.upper.cast_signed()),
            lower: Price(band.lower.cast_signed()),
        })
    }

    // What has happened.

    /// A trade: the last price and the day's figures. Every trade counts, here or in [`Trading::note_trades`].
    #[inline]
    pub(crate) fn note_trade(&mut self, price: u64, qty: u64) {
        let mut sum = Traded::NOTHING;
        sum.add(price, qty);
        self.note_trades(&sum);
    }

    /// An order has traded at least once, at prices that only fell or only rose.
    #[inline(always)]
    pub(crate) fn note_trades(&mut self, sum: &Traded) {
        let day = &mut self.statistics;
        let (first, last) = (Price(sum.first.cast_signed()), Price(sum.last.cast_signed()));
        if day.close == Price(0) {
            (day.open, day.high, day.low) = (first, first, first);
        }
        day.high = day.high.max(first).max(last);
        day.low = day.low.min(first).min(last);
        day.close = last;
        day.volume = Qty(day.volume.0.saturating_add(sum.qty));
        day.turnover = day.turnover.saturating_add(sum.turnover);
        day.trades += u64::from(sum.trades);
    }

    /// A trade was undone: it counts no more, the prices stay.
    pub(crate) fn note_bust(&mut self, price: u64, qty: u64) {
        let day = &mut self.statistics;
        day.volume = Qty(day.volume.0.saturating_sub(qty));
        day.turnover = day.turnover.saturating_sub(u128::from(price) * u128::from(qty));
        day.trades = day.trades.saturating_sub(1);
    }

    /// Seconds after midnight and what begins then, as the operator set it.
    pub(crate) fn schedule(&self) -> [Option<(u32, Phase)>; SCHEDULE_SLOTS] {
        self.schedule
    }

    /// The day's figures.
    pub(crate) fn statistics(&self) -> Statistics {
        self.statistics
    }

    /// A run is over. `inside`: one of its trades was strictly inside the band; `stopped`: the band, not
    /// the collar, kept it from trading on. Says *LimitState* when one began or ended.
    pub(crate) fn note_run(
        &mut self,
        inside: bool,
        stopped: bool,
        now: Nanos,
        mut say: impl FnMut(EventBody),
    ) {
        let instrument = self.instrument();
        if stopped && self.limit_state_since.is_none() {
            self.limit_state_since = Some(now);
            say(EventBody::LimitState { instrument, on: true });
        } else if inside && !stopped && self.limit_state_since.take().is_some() {
            say(EventBody::LimitState { instrument, on: false });
        }
    }

    /// A cross has traded at that price: it is the band's middle from now on.
    pub(crate) fn note_cross(&mut self, price: u64) {
        self.band_reference = price;
    }

    // What operators do.

    /// New rules, in force at once. The band begins at their reference and a limit state is over.
    pub(crate) fn set_rules(&mut self, rules: &InstrumentRules, now: Nanos) {
        if self.rules.algorithm != Algorithm::Batch {
            self.batch_since = now;
        }
        self.rules = *rules;
        self.band_reference = rules.reference.0.cast_unsigned();
        self.limit_state_since = None;
    }

    /// An entry of the schedule, in force from the next day.
    pub(crate) fn set_schedule(&mut self, slot: u8, at_s: u32, phase: Option<Phase>) {
        self.schedule[usize::from(slot)] = phase.map(|phase| (at_s, phase));
    }

    /// A day begins: its schedule is in force, its figures are empty. Returns the phase it begins in.
    pub(crate) fn open_day(&mut self, midnight: Nanos) -> Phase {
        self.statistics = Statistics { instrument: self.instrument(), ..Statistics::default() };
        self.entries = self.schedule.map(|slot| {
            slot.map(|(at_s, phase)| {
                let at = Nanos(midnight.0.saturating_add(u64::from(at_s) * SECOND_NS));
                Entry { at, phase }
            })
        });
        // Stable, so that entries of equal times stay in the order of their slots.
        sort_by_time(&mut self.entries);
        if self.delisted {
            self.close_day();
            return Phase::Closed;
        }
        if self.entries.iter().any(Option::is_some) { Phase::Closed } else { Phase::Continuous }
    }

    /// The day is over: what is left of its schedule does not count any more.
    pub(crate) fn close_day(&mut self) {
        self.entries = [None; SCHEDULE_SLOTS];
    }

    /// A new tick: all prices meant another one.
    pub(crate) fn forget_prices(&mut self) {
        self.rules = InstrumentRules::PLAIN;
        self.band_reference = 0;
        self.limit_state_since = None;
        self.statistics = Statistics { instrument: self.instrument(), ..Statistics::default() };
    }

    /// A phase begins; its timers start, those of the one before are gone.
    pub(crate) fn begin(&mut self, phase: Phase, now: Nanos) {
        self.phase = phase;
        self.limit_state_since = None;
        self.volatility_since = (phase == Phase::Volatility).then_some(now);
        self.batch_since = now;
        self.indicative_due = matches!(
            phase,
            Phase::OpeningAuction | Phase::ClosingAuction | Phase::Volatility | Phase::Paused
        )
        .then(|| after(now, INDICATIVE_NS));
    }

    // Timers.

    /// The next timer but expiries, and when it is due. Spans are counted with the present rules.
    pub(crate) fn next_timer(&self) -> Option<(Nanos, Timer)> {
        let limit_state = self.limit_state_since.map(|since| after(since, self.rules.limit_state_ns));
        let volatility = self.volatility_since.map(|since| after(since, self.rules.volatility_ns));
        let schedule = self.entries.iter().flatten().next().map(|entry| entry.at);
        let batch = (self.phase == Phase::Continuous && self.rules.algorithm == Algorithm::Batch)
            .then(|| after(self.batch_since, self.rules.batch_ns));
        [
            (limit_state, Timer::LimitState),
            (volatility, Timer::Volatility),
            (schedule, Timer::Schedule),
            (batch, Timer::Batch),
            (self.indicative_due, Timer::Indicative),
        ]
        .into_iter()
        .filter_map(|(due, timer)| Some((due?, timer)))
        .min()
    }

    /// When something is due: a timer, the next expiry or unfinished work, which is due at once.
    pub(crate) fn next_due(&self, expiry: Option<Nanos>) -> Option<Nanos> {
        if self.crossing.is_some() || self.is_awake {
            return Some(Nanos(0));
        }
        let timer = self.next_timer().map(|(due, _)| due);
        timer.into_iter().chain(expiry).min()
    }

    /// Takes the next entry of the day's schedule.
    pub(crate) fn take_entry(&mut self) -> Phase {
        let entry = self.entries.iter_mut().find_map(Option::take);
        entry.expect("only called when an entry is due").phase
    }

    /// A batch crosses: the next one counts from here.
    pub(crate) fn restart_batch(&mut self, now: Nanos) {
        self.batch_since = now;
    }

    /// An indicative price was said: the next one counts from here.
    pub(crate) fn restart_indicative(&mut self, now: Nanos) {
        self.indicative_due = Some(after(now, INDICATIVE_NS));
    }
}

// The whole of it, as it is listed. Only a batch instrument goes by `batch_since`, but any may become one in the
// midst of a phase.
columns! {
    Trading {
        phase, rules, delisted, schedule, entries, band_reference, limit_state_since, volatility_since, batch_since,
        indicative_due, statistics, crossing, partners, is_awake,
    }
    Crossing { kind, price, qty, said, then, closes_day, served }
    Entry { at, phase }
}

fn after(since: Nanos, span_ns: u64) -> Nanos {
    Nanos(since.0.saturating_add(span_ns))
}

/// By insertion: stable, and without the allocation of a stable sort.
fn sort_by_time(entries: &mut [Option<Entry>; SCHEDULE_SLOTS]) {
    let at = |entry: &Option<Entry>| entry.map(|entry| entry.at);
    for end in 1..entries.len() {
        let mut place = end;
        while place > 0 && at(&entries[place - 1]) > at(&entries[place]) {
            entries.swap(place - 1, place);
            place -= 1;
        }
    }
}

/// When each instrument has something due, and which is first: a tournament over the instruments.
///
/// ```text
///            1: min              root
///       2: min      3: min
///     4: #1  5: #2  6: #3  7: —  leaves, one for each instrument, by id; `NEVER` when nothing is due
/// ```
#[derive(Clone)]
pub(crate) struct Agenda {
    nodes: Vec<Nanos>,
    /// Instruments there is a leaf for: a power of two.
    room: usize,
}

const NEVER: Nanos = Nanos(u64::MAX);

impl Agenda {
    pub(crate) fn new() -> Self {
        Self { nodes: Vec::from([NEVER; 2]), room: 1 }
    }

    /// Makes room for as many instruments.
    pub(crate) fn grow(&mut self, instruments: usize) {
        if instruments <= self.room {
            return;
        }
        let mut grown = Self { nodes: Vec::new(), room: instruments.next_power_of_two() };
        grown.nodes.resize(2 * grown.room, NEVER);
        for place in 0..self.room {
            grown.set(place, self.nodes[self.room + place]);
        }
        *self = grown;
    }

    /// What an instrument, by its place from 0, has due; `None` is nothing.
    pub(crate) fn note(&mut self, place: usize, due: Option<Nanos>) {
        self.set(place, due.unwrap_or(NEVER));
    }

    fn set(&mut self, place: usize, due: Nanos) {
        let mut node = self.room + place;
        if self.nodes[node] == due {
            return;
        }
        self.nodes[node] = due;
        while node > 1 {
            node /= 2;
            self.nodes[node] = self.nodes[2 * node].min(self.nodes[2 * node + 1]);
        }
    }

    /// Whether an instrument, by its place from 0, has something due by `now`.
    #[inline(always)]
    pub(crate) fn is_due(&self, place: usize, now: Nanos) -> bool {
        let due = self.nodes[self.room + place];
        due <= now && due != NEVER
    }

    /// The earliest of all.
    pub(crate) fn next_due(&self) -> Option<Nanos> {
        Some(self.nodes[1]).filter(|due| *due != NEVER)
    }

    /// Panics when something else was noted.
    pub(crate) fn check(&self, place: usize, due: Option<Nanos>) {
        assert_eq!(self.nodes[self.room + place], due.unwrap_or(NEVER), "place {place}");
    }

    /// The first place from `from` on that has something due by `now`.
    pub(crate) fn first_due(&self, from: usize, now: Nanos) -> Option<usize> {
        let is_due = |node: usize| self.nodes[node] <= now && self.nodes[node] != NEVER;
        if from >= self.room {
            return None;
        }
        let mut node = self.room + from;
        // Up to the first neighbour to the right that leads to something due, then down to its first.
        while !is_due(node) {
            while node & 1 == 1 {
                node /= 2;
            }
            if node == 0 {
                return None;
            }
            node += 1;
        }
        while node < self.room {
            node = if is_due(2 * node) { 2 * node } else { 2 * node + 1 };
        }
        Some(node - self.room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        canonical::Sink,
        columns::{Column, Source},
        testing::Rng,
    };

    fn trading(rules: InstrumentRules) -> Trading {
        let mut trading = Trading::new(InstrumentId(1), Phase::Continuous);
        trading.set_rules(&rules, Nanos(0));
        trading
    }

    const PLAIN: InstrumentRules = InstrumentRules::PLAIN;

    fn range(lower: u64, upper: u64) -> Option<Range> {
        Some(Range { lower, upper })
    }

    #[test]
    fn the_static_range_is_at_least_a_tick_and_stays_within_the_prices_there_are() {
        let of = |reference, static_bps| {
            static_range(&InstrumentRules { reference: Price(reference), static_bps, ..PLAIN })
        };
        assert_eq!(of(10_000, 500), range(9_500, 10_500));
        assert_eq!(of(10_019, 500), range(9_519, 10_519), "500.95 is rounded down");
        assert_eq!(of(100, 1), range(99, 101));
        assert_eq!(of(1, 9_999), range(1, 2));
        assert_eq!(of(0, 500), None);
        assert_eq!(of(100, 0), None);
        assert_eq!(of(i64::MAX, 5_000), range(4_611_686_018_427_387_904, PRICE_MAX));
    }

    #[test]
    fn a_collar_starts_from_the_last_price_else_from_the_reference_and_ends_at_the_static_range() {
        let rules = InstrumentRules { reference: Price(1_000), static_bps: 1_000, ..PLAIN };
        let mut plain = trading(rules);
        assert_eq!((plain.market_limit(true), plain.market_limit(false)), (1_100, 900));
        assert_eq!(plain.collar(), None);
        plain.set_rules(&InstrumentRules { collar_bps: 300, ..rules }, Nanos(0));
        assert_eq!((plain.market_limit(true), plain.market_limit(false)), (1_030, 970));
        plain.note_trade(1_090, 1);
        assert_eq!(plain.collar(), range(1_058, 1_122), "300 of 1,090 are 32.7");
        assert_eq!((plain.market_limit(true), plain.market_limit(false)), (1_100, 1_058));
        plain.set_rules(&InstrumentRules { collar_bps: 300, ..PLAIN }, Nanos(0));
        assert_eq!((plain.market_limit(true), plain.market_limit(false)), (1_122, 1_058));
        plain.open_day(Nanos(0));
        assert_eq!((plain.market_limit(true), plain.market_limit(false)), (PRICE_MAX, 1), "no base");
    }

    #[test]
    fn a_band_bounds_each_side_and_moves_with_crosses() {
        let mut banded = trading(InstrumentRules { reference: Price(1_000), band_bps: 500, ..PLAIN });
        assert_eq!((banded.bound(true, 2_000), banded.bound(true, 1_020)), (1_050, 1_020));
        assert_eq!((banded.bound(false, 1), banded.bound(false, 980)), (950, 980));
        banded.note_trade(1_049, 1);
        assert_eq!(banded.band(), range(950, 1_050), "trades of runs do not move it");
        banded.note_cross(2_000);
        assert_eq!(banded.band(), range(1_900, 2_100));
        let set = EventBody::BandSet {
            instrument: InstrumentId(1),
            reference: Price(2_000),
            upper: Price(2_100),
            lower: Price(1_900),
        };
        assert_eq!(banded.band_set(), Some(set));
        banded.set_rules(&InstrumentRules { band_bps: 500, ..PLAIN }, Nanos(0));
        assert_eq!((banded.band(), banded.bound(true, 5_000)), (None, 5_000), "until a cross sets it");
    }

    #[test]
    fn a_limit_state_begins_with_a_stopped_run_and_ends_with_one_inside() {
        let rules = InstrumentRules { reference: Price(1_000), band_bps: 500, limit_state_ns: 15, ..PLAIN };
        let mut banded = trading(rules);
        let mut said = Vec::new();
        for (inside, stopped, now) in [
            (true, false, 1),
            (true, true, 2),
            (false, true, 3),
            (true, true, 4),
            (false, false, 5),
            (true, false, 6),
        ] {
            banded.note_run(inside, stopped, Nanos(now), |body| {
                let EventBody::LimitState { on, .. } = body else { panic!("{body:?}") };
                said.push((now, on));
            });
            if now == 5 {
                assert_eq!(banded.next_timer(), Some((Nanos(17), Timer::LimitState)));
            }
        }
        assert_eq!(said, [(2, true), (6, false)]);
        assert_eq!(banded.next_timer(), None);
        banded.note_run(false, true, Nanos(7), |_| ());
        banded.begin(Phase::Paused, Nanos(8));
        assert_eq!(banded.next_timer().unwrap().1, Timer::Indicative, "a change of phase ends it");
    }

    #[test]
    fn entries_come_in_time_order_and_equal_times_in_slot_order() {
        let mut trading = Trading::new(InstrumentId(1), Phase::Closed);
        assert_eq!(trading.open_day(Nanos(0)), Phase::Continuous, "without a schedule");
        trading.set_schedule(0, 9, Some(Phase::Continuous));
        trading.set_schedule(3, 8, Some(Phase::PreOpen));
        trading.set_schedule(5, 8, Some(Phase::OpeningAuction));
        trading.set_schedule(6, 1, Some(Phase::Halted));
        trading.set_schedule(6, 2, None);
        trading.set_schedule(7, 7, Some(Phase::Paused));
        assert_eq!(trading.next_timer(), None, "in force from the next day");
        assert_eq!(trading.open_day(Nanos(100)), Phase::Closed);
        trading.set_schedule(1, 0, Some(Phase::Volatility));
        let mut taken = Vec::new();
        while let Some((due, Timer::Schedule)) = trading.next_timer() {
            taken.push((due.0, trading.take_entry()));
        }
        let second = |seconds: u64| 100 + seconds * SECOND_NS;
        let expected = [
            (second(7), Phase::Paused),
            (second(8), Phase::PreOpen),
            (second(8), Phase::OpeningAuction),
            (second(9), Phase::Continuous),
        ];
        assert_eq!(taken, expected);
        trading.open_day(Nanos(0));
        trading.close_day();
        assert_eq!(trading.next_timer(), None);
        trading.delisted = true;
        assert_eq!(trading.open_day(Nanos(0)), Phase::Closed);
        assert_eq!(trading.next_timer(), None);
    }

    #[test]
    fn timers_of_one_time_fire_in_their_order() {
        let second = Nanos(SECOND_NS);
        let mut trading = trading(InstrumentRules { volatility_ns: SECOND_NS, ..PLAIN });
        trading.set_schedule(0, 1, Some(Phase::Closed));
        trading.open_day(Nanos(0));
        trading.begin(Phase::Volatility, Nanos(0));
        assert_eq!(trading.next_timer(), Some((second, Timer::Volatility)));
        trading.volatility_since = None;
        assert_eq!(trading.next_timer(), Some((second, Timer::Schedule)));
        trading.take_entry();
        assert_eq!(trading.next_timer(), Some((second, Timer::Indicative)));
        assert_eq!(trading.next_due(Some(Nanos(5))), Some(Nanos(5)));
        assert_eq!(trading.next_due(None), Some(second));
        trading.is_awake = true;
        assert_eq!(trading.next_due(None), Some(Nanos(0)));
        let order = [Timer::Expiry, Timer::LimitState, Timer::Volatility, Timer::Schedule, Timer::Batch];
        assert!(order.is_sorted() && Timer::Batch < Timer::Indicative);
    }

    #[test]
    fn batches_count_from_continuous_from_their_rules_and_from_the_last() {
        let batch = InstrumentRules { algorithm: Algorithm::Batch, batch_ns: 50, ..PLAIN };
        let mut trading = trading(PLAIN);
        assert!(trading.is_continuous() && !trading.is_call());
        trading.begin(Phase::Continuous, Nanos(10));
        trading.set_rules(&batch, Nanos(20));
        assert!(trading.is_call() && !trading.is_continuous());
        assert_eq!(trading.next_timer(), Some((Nanos(70), Timer::Batch)));
        trading.restart_batch(Nanos(75));
        trading.set_rules(&InstrumentRules { batch_ns: 30, ..batch }, Nanos(80));
        assert_eq!(trading.next_timer(), Some((Nanos(105), Timer::Batch)), "spans go by the present rules");
        trading.begin(Phase::PreOpen, Nanos(90));
        assert_eq!(trading.next_timer(), None);
        trading.begin(Phase::Continuous, Nanos(91));
        assert_eq!(trading.next_timer(), Some((Nanos(121), Timer::Batch)));
    }

    #[test]
    fn figures_of_the_day_keep_their_prices_when_trades_are_busted() {
        let mut trading = trading(PLAIN);
        for (price, qty) in [(100, 5), (103, 1), (98, 2), (99, 2)] {
            trading.note_trade(price, qty);
        }
        let day = trading.statistics();
        assert_eq!((day.open, day.high, day.low, day.close), (Price(100), Price(103), Price(98), Price(99)));
        assert_eq!((day.volume, day.turnover, day.trades), (Qty(10), 997, 4));
        for (price, qty) in [(100, 5), (103, 1), (98, 2), (99, 2)] {
            trading.note_bust(price, qty);
        }
        assert_eq!((trading.statistics().volume, trading.statistics().turnover), (Qty(0), 0));
        trading.note_trade(101, 1);
        let day = trading.statistics();
        assert_eq!((day.open, day.high, day.low, day.close), (Price(100), Price(103), Price(98), Price(101)));
        assert_eq!(trading.last_price(), Some(101));
        trading.open_day(Nanos(0));
        let empty = Statistics { instrument: InstrumentId(1), ..Statistics::default() };
        assert_eq!(trading.statistics(), empty);
    }

    /// Two instruments that will not do the same are not listed alike, and each is read back as it was.
    #[test]
    fn the_listing_tells_apart_whatever_decides_later_outcomes() {
        struct Bytes(Vec<u8>);
        impl Sink for Bytes {
            fn put<const N: usize>(&mut self, bytes: [u8; N]) {
                self.0.extend(bytes);
            }
        }
        let listed = |trading: &Trading| {
            let mut bytes = Bytes(Vec::new());
            trading.put(&mut bytes);
            let mut again = Bytes(Vec::new());
            Trading::get(&mut Source(&bytes.0)).unwrap().put(&mut again);
            assert_eq!(again.0, bytes.0);
            bytes.0
        };
        let crossing = Crossing {
            kind: CrossKind::Opening,
            price: 5,
            qty: 0,
            said: false,
            then: None,
            closes_day: false,
            served: [OrderRef(0); 2],
        };
        let changes: [fn(&mut Trading); 18] = [
            |t| t.phase = Phase::Paused,
            |t| t.rules.short_restricted = true,
            |t| t.delisted = true,
            |t| t.set_schedule(2, 7, Some(Phase::Closed)),
            |t| t.set_schedule(3, 7, Some(Phase::Closed)),
            |t| t.note_cross(7),
            |t| t.limit_state_since = Some(Nanos(0)),
            |t| t.volatility_since = Some(Nanos(0)),
            |t| t.indicative_due = Some(Nanos(0)),
            |t| t.restart_batch(Nanos(9)),
            |t| t.note_trade(5, 1),
            |t| t.is_awake = true,
            |t| t.partners.push(OrderRef(4)),
            |t| t.partners.push(OrderRef(5)),
            |t| t.crossing.as_mut().unwrap().qty = 1,
            |t| t.crossing.as_mut().unwrap().said = true,
            |t| t.crossing.as_mut().unwrap().then = Some((Phase::Closed, NO_REASON)),
            |t| t.crossing.as_mut().unwrap().served[1] = OrderRef(1),
        ];
        let mut before = trading(PLAIN);
        before.crossing = Some(crossing);
        let mut seen = Vec::from([listed(&before)]);
        for change in changes {
            let mut after = before.clone();
            change(&mut after);
            let listed = listed(&after);
            assert!(!seen.contains(&listed), "change {} is not listed", seen.len());
            seen.push(listed);
        }
        let mut scheduled = before.clone();
        scheduled.set_schedule(0, 1, Some(Phase::Closed));
        let before_day = listed(&scheduled);
        scheduled.open_day(Nanos(0));
        assert_ne!(listed(&scheduled), before_day);
    }

    /// The twin looks at all of them.
    #[test]
    fn an_agenda_finds_what_looking_at_all_finds() {
        for seed in 0..40 {
            let mut rng = Rng::new(seed);
            let (mut agenda, mut twin) = (Agenda::new(), Vec::new());
            for step in 0..400 {
                if twin.is_empty() || rng.below(8) == 0 {
                    twin.push(None);
                    agenda.grow(twin.len());
                }
                let place = rng.below(twin.len() as u64) as usize;
                let due = (rng.below(3) > 0).then(|| Nanos(rng.below(50)));
                twin[place] = due;
                agenda.note(place, due);
                assert_eq!(agenda.next_due(), twin.iter().copied().flatten().min(), "seed {seed} {step}");
                let (from, now) = (rng.below(2 * twin.len() as u64) as usize, Nanos(rng.below(50)));
                let is_due = |place: &usize| twin[*place].is_some_and(|due| due <= now);
                let expected = (from..twin.len()).find(is_due);
                assert_eq!(agenda.first_due(from, now), expected, "seed {seed} step {step}");
            }
        }
    }
}
