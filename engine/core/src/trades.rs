//! The day's trades, as long as they can be busted.

use alloc::vec::Vec;
use ironbell_types::{InstrumentId, MatchNumber, OrderKey, Price, Qty};

/// A trade that was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DayTrade {
    pub(crate) match_number: MatchNumber,
    pub(crate) instrument: InstrumentId,
    pub(crate) busted: bool,
    pub(crate) price: Price,
    pub(crate) qty: Qty,
    /// The instrument's then: it can change before the next day.
    pub(crate) tick_value: u64,
    pub(crate) buyer: Leg,
    pub(crate) seller: Leg,
}

/// One side of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leg {
    pub(crate) key: OrderKey,
    /// The order's worth price.
    pub(crate) worth: u64,
    /// What was charged; negative was a rebate.
    pub(crate) fee: i128,
}

/// Trades in a chunk; more in the first if asked for. A day has no most of them: chunks keep growing from
/// copying them.
const CHUNK_TRADES: usize = 1 << 16;

const NONE: DayTrade = {
    let leg = Leg { key: OrderKey(0), worth: 0, fee: 0 };
    DayTrade {
        match_number: MatchNumber(0),
        instrument: InstrumentId::NONE,
        busted: false,
        price: Price(0),
        qty: Qty(0),
        tick_value: 0,
        buyer: leg,
        seller: leg,
    }
};

/// By match number. The next chunk is made ready by [`DayTrades::make_room`], off the order path.
#[derive(Clone)]
pub(crate) struct DayTrades {
    chunks: Vec<Vec<DayTrade>>,
    /// Where the next trade goes.
    last: usize,
}

/// An empty chunk. The memory of its first `trades` was touched: a first touch costs as much as the settling
/// of a trade.
fn chunk(trades: usize) -> Vec<DayTrade> {
    let mut chunk = Vec::with_capacity(trades.max(CHUNK_TRADES));
    chunk.resize(trades, NONE);
    chunk.clear();
    chunk
}

impl DayTrades {
    /// Quick room for `trades` on a day.
    pub(crate) fn new(trades: usize) -> Self {
        let mut chunks = Vec::with_capacity(1024);
        chunks.push(chunk(trades));
        Self { chunks, last: 0 }
    }

    /// Sees to it that half a chunk of trades or more can come without allocation.
    pub(crate) fn make_room(&mut self) {
        if self.chunks.len() == self.last + 1
            && self.chunks[self.last].len() * 2 > self.chunks[self.last].capacity()
        {
            self.chunks.push(chunk(CHUNK_TRADES));
        }
    }

    #[inline(always)]
    pub(crate) fn push(&mut self, trade: DayTrade) {
        let chunk = &self.chunks[self.last];
        if chunk.len() == chunk.capacity() {
            self.turn();
        }
        self.chunks[self.last].push(trade);
    }

    #[cold]
    fn turn(&mut self) {
        self.last += 1;
        if self.chunks.len() == self.last {
            // Touched as it is filled: on the order path one long pause would be worse.
            self.chunks.push(Vec::with_capacity(CHUNK_TRADES));
        }
    }

    pub(crate) fn last(&self) -> Option<&DayTrade> {
        self.chunks[self.last].last()
    }

    /// A new day; what the old one needed is kept.
    pub(crate) fn clear(&mut self) {
        self.chunks.iter_mut().for_each(Vec::clear);
        self.last = 0;
    }

    pub(crate) fn len(&self) -> usize {
        self.chunks.iter().map(Vec::len).sum()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &DayTrade> {
        self.chunks.iter().flatten()
    }

    /// One that is not busted.
    pub(crate) fn find(&self, match_number: MatchNumber) -> Option<&DayTrade> {
        let (chunk, place) = self.place(match_number)?;
        Some(&self.chunks[chunk][place]).filter(|trade| !trade.busted)
    }

    /// Marks one as busted and returns it as it was.
    ///
    /// # Panics
    ///
    /// When [`DayTrades::find`] finds none.
    pub(crate) fn bust(&mut self, match_number: MatchNumber) -> DayTrade {
        let (chunk, place) = self.place(match_number).expect("a trade to bust was found");
        let trade = &mut self.chunks[chunk][place];
        assert!(!trade.busted);
        let found = *trade;
        trade.busted = true;
        found
    }

    fn place(&self, match_number: MatchNumber) -> Option<(usize, usize)> {
        let behind =
            |chunk: &Vec<DayTrade>| chunk.first().is_some_and(|first| first.match_number <= match_number);
        let chunk = self.chunks.partition_point(behind).checked_sub(1)?;
        let place =
            self.chunks[chunk].binary_search_by_key(&match_number, |trade| trade.match_number).ok()?;
        Some((chunk, place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trade(number: u64) -> DayTrade {
        let leg = Leg { key: OrderKey(number), worth: 1, fee: 0 };
        DayTrade {
            match_number: MatchNumber(number),
            instrument: InstrumentId(1),
            busted: false,
            price: Price(1),
            qty: Qty(1),
            tick_value: 1,
            buyer: leg,
            seller: leg,
        }
    }

    #[test]
    fn trades_are_found_in_every_chunk_until_they_are_busted_or_the_day_is_over() {
        let mut trades = DayTrades::new(0);
        let first = CHUNK_TRADES as u64;
        let second = first + CHUNK_TRADES as u64;
        let count = second + 5;
        for number in 1..=count {
            trades.push(trade(number * 2));
        }
        assert_eq!(trades.len() as u64, count);
        assert!(trades.iter().map(|trade| trade.match_number.0).eq((1..=count).map(|number| number * 2)));
        let edges = [1, 2, first, first + 1, second, second + 1, count];
        for number in edges {
            assert_eq!(trades.find(MatchNumber(number * 2)), Some(&trade(number * 2)));
            assert_eq!(trades.find(MatchNumber(number * 2 + 1)), None);
            assert_eq!(trades.bust(MatchNumber(number * 2)), trade(number * 2));
            assert_eq!(trades.find(MatchNumber(number * 2)), None);
        }
        assert_eq!(trades.find(MatchNumber(0)), None);
        trades.clear();
        assert_eq!((trades.len(), trades.find(MatchNumber(8))), (0, None));
        trades.push(trade(3));
        assert_eq!(trades.iter().count(), 1);
    }
}
