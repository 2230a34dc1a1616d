//! The day's trades, as long as they can be busted.

use alloc::vec::Vec;
use ironbell_types::{InstrumentId, MatchNumber, OrderKey, Price, Qty};

/// One side of a trade that was settled, kept where its account is at home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leg {
    pub(crate) match_number: MatchNumber,
    pub(crate) key: OrderKey,
    pub(crate) instrument: InstrumentId,
    pub(crate) buys: bool,
    pub(crate) busted: bool,
    pub(crate) price: Price,
    pub(crate) qty: Qty,
    /// The instrument's then: it can change before the next day.
    pub(crate) tick_value: u64,
    /// The order's worth price.
    pub(crate) worth: u64,
    /// What was charged; negative was a rebate.
    pub(crate) fee: i128,
}

impl Leg {
    /// Of equal numbers the buyer's comes first.
    pub(crate) fn place(&self) -> (MatchNumber, bool) {
        (self.match_number, !self.buys)
    }
}

/// Legs in a chunk; more in the first if asked for. A day has no most of them: chunks keep growing from
/// copying them.
const CHUNK_LEGS: usize = 1 << 16;

const NONE: Leg = Leg {
    match_number: MatchNumber(0),
    key: OrderKey(0),
    instrument: InstrumentId::NONE,
    buys: false,
    busted: false,
    price: Price(0),
    qty: Qty(0),
    tick_value: 0,
    worth: 0,
    fee: 0,
};

/// Legs by [`Leg::place`]. The next chunk is made ready by [`DayTrades::make_room`], off the order path.
#[derive(Clone)]
pub(crate) struct DayTrades {
    /// Full chunks.
    full: Vec<Vec<Leg>>,
    /// Where the next leg goes.
    last: Vec<Leg>,
    /// Empty chunks.
    spare: Vec<Vec<Leg>>,
}

/// An empty chunk. The memory of its first `legs` was touched: a first touch costs as much as the settling
/// of a trade.
fn chunk(legs: usize) -> Vec<Leg> {
    let mut chunk = Vec::with_capacity(legs.max(CHUNK_LEGS));
    chunk.resize(legs, NONE);
    chunk.clear();
    chunk
}

impl DayTrades {
    /// Quick room for `legs` on a day.
    pub(crate) fn new(legs: usize) -> Self {
        Self { full: Vec::with_capacity(1024), last: chunk(legs), spare: Vec::with_capacity(1024) }
    }

    /// Sees to it that half a chunk of legs or more can come without allocation.
    pub(crate) fn make_room(&mut self) {
        if self.spare.is_empty() && self.last.len() * 2 > self.last.capacity() {
            self.spare.push(chunk(CHUNK_LEGS));
        }
    }

    /// Adds one that is made where it goes.
    #[inline(always)]
    pub(crate) fn push_with(&mut self, leg: impl FnOnce() -> Leg) {
        if self.last.len() == self.last.capacity() {
            self.turn();
        }
        self.last.push(leg());
    }

    #[cold]
    fn turn(&mut self) {
        // Touched as it is filled: on the order path one long pause would be worse.
        let next = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(CHUNK_LEGS));
        self.full.push(core::mem::replace(&mut self.last, next));
    }

    /// A new day; what the old one needed is kept.
    pub(crate) fn clear(&mut self) {
        self.full.push(core::mem::take(&mut self.last));
        self.full.iter_mut().for_each(Vec::clear);
        self.spare.append(&mut self.full);
        self.last = self.spare.pop().expect("it was just put there");
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Leg> {
        self.full.iter().chain([&self.last]).flatten()
    }

    /// One that is not busted.
    pub(crate) fn find(&self, match_number: MatchNumber, buys: bool) -> Option<&Leg> {
        let (chunk, place) = self.place(match_number, buys)?;
        Some(&self.full.get(chunk).unwrap_or(&self.last)[place]).filter(|leg| !leg.busted)
    }

    /// Marks one as busted and returns it as it was; `None` when [`DayTrades::find`] finds none.
    pub(crate) fn bust(&mut self, match_number: MatchNumber, buys: bool) -> Option<Leg> {
        let (chunk, place) = self.place(match_number, buys)?;
        let leg = &mut self.full.get_mut(chunk).unwrap_or(&mut self.last)[place];
        let found = *leg;
        leg.busted = true;
        Some(found).filter(|leg| !leg.busted)
    }

    /// The chunk of a leg, the last one behind all full ones, and its place there.
    fn place(&self, match_number: MatchNumber, buys: bool) -> Option<(usize, usize)> {
        let sought = (match_number, !buys);
        let is_behind = |chunk: &Vec<Leg>| chunk.first().is_some_and(|first| first.place() <= sought);
        let chunk = if is_behind(&self.last) {
            self.full.len()
        } else {
            self.full.partition_point(is_behind).checked_sub(1)?
        };
        let legs = self.full.get(chunk).unwrap_or(&self.last);
        Some((chunk, legs.binary_search_by_key(&sought, Leg::place).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leg(number: u64) -> Leg {
        Leg { match_number: MatchNumber(number), key: OrderKey(number), buys: true, ..NONE }
    }

    #[test]
    fn legs_are_found_in_every_chunk_until_they_are_busted_or_the_day_is_over() {
        let mut trades = DayTrades::new(0);
        let first = CHUNK_LEGS as u64;
        let second = first + CHUNK_LEGS as u64;
        let count = second + 5;
        for number in 1..=count {
            trades.push_with(|| leg(number * 2));
        }
        assert!(trades.iter().map(|leg| leg.match_number.0).eq((1..=count).map(|number| number * 2)));
        let edges = [1, 2, first, first + 1, second, second + 1, count];
        for number in edges {
            assert_eq!(trades.find(MatchNumber(number * 2), true), Some(&leg(number * 2)));
            assert_eq!(trades.find(MatchNumber(number * 2), false), None);
            assert_eq!(trades.find(MatchNumber(number * 2 + 1), true), None);
            assert_eq!(trades.bust(MatchNumber(number * 2), true), Some(leg(number * 2)));
            assert_eq!(trades.find(MatchNumber(number * 2), true), None);
        }
        assert_eq!(trades.find(MatchNumber(0), true), None);
        trades.clear();
        assert_eq!((trades.iter().count(), trades.find(MatchNumber(8), true)), (0, None));
        trades.push_with(|| leg(3));
        assert_eq!(trades.iter().count(), 1);
    }

    #[test]
    fn both_legs_of_one_trade_can_be_kept_together() {
        let mut trades = DayTrades::new(0);
        for number in 1..=4 {
            trades.push_with(|| leg(number));
            trades.push_with(|| Leg { buys: false, ..leg(number) });
        }
        assert!(trades.find(MatchNumber(3), true).unwrap().buys);
        assert!(!trades.find(MatchNumber(3), false).unwrap().buys);
        assert!(trades.bust(MatchNumber(3), false).is_some());
        assert!(trades.find(MatchNumber(3), true).is_some());
        assert_eq!(trades.bust(MatchNumber(3), false), None);
    }
}
