//! Orders that may come to trade without a new one: pegs, whose price follows the book's, and orders
//! with discretion.

use crate::{
    book::{Plane, within},
    matching::{Effect, Matching, Voice},
    run::{Aggressor, End},
};
use alloc::vec::Vec;
use core::cmp::Reverse;
use ironbell_types::{CancelReason, InstrumentId, OrderRef, OrderTerms, Peg, Side};

/// A peg and its price of the moment.
#[derive(Clone, Copy)]
pub(crate) struct Pegged {
    pub(crate) price: u64,
    pub(crate) slot: u32,
    pub(crate) order_ref: OrderRef,
}

/// The best displayed prices.
#[derive(Clone, Copy)]
pub(crate) struct Quotes {
    pub(crate) bid: Option<u64>,
    pub(crate) ask: Option<u64>,
}

impl Quotes {
    /// The price of a peg; `None` while there is none.
    pub(crate) fn peg(self, terms: &OrderTerms, limit: u64, buys: bool) -> Option<u64> {
        let (own, other) = if buys { (self.bid, self.ask) } else { (self.ask, self.bid) };
        let signed = |price: Option<u64>| price.map(i128::from);
        let middle = match terms.peg {
            Peg::None => return None,
            Peg::Primary => signed(own)?,
            Peg::Market => signed(other)?,
            Peg::Midpoint => {
                let sum = signed(own)? + signed(other)?;
                if buys { sum / 2 } else { (sum + 1) / 2 }
            }
        };
        let offset = i128::from(terms.peg_offset);
        let limit = i128::from(limit);
        let price = if buys { (middle + offset).min(limit) } else { (middle - offset).max(limit) };
        u64::try_from(price).ok().filter(|price| (1..=i64::MAX as u64).contains(price))
    }

    /// Whether a peg's price can be as good as this to the other side: offsets lead away from it, and no peg
    /// reaches its best price.
    fn can_peg(self, price: u64, buys: bool) -> bool {
        let (own, other) = if buys { (self.bid, self.ask) } else { (self.ask, self.bid) };
        let is_beyond = |other| if buys { price < other } else { price > other };
        other.is_some_and(is_beyond) || own.is_some_and(|own| within(own, price, buys))
    }
}

impl Matching {
    pub(crate) fn quotes(&self, instrument: InstrumentId) -> Quotes {
        let best = |buys| self.books.best(instrument, Plane::Lit, buys);
        Quotes { bid: best(true), ask: best(false) }
    }

    /// Takes the prices that one side's pegs have now, best first, of equal ones as they came in. They
    /// hold for the run that follows.
    #[inline(always)]
    pub(crate) fn price_pegs(&mut self, instrument: InstrumentId, buys: bool) {
        self.pegs.clear();
        if self.books.has_seekers(instrument) {
            self.price_all_pegs(instrument, buys);
        }
    }

    /// The same for an order that reaches only to its limit: where no peg can be within it, none is looked at.
    #[inline(always)]
    pub(crate) fn price_pegs_within(&mut self, instrument: InstrumentId, buys: bool, limit: Option<u64>) {
        self.pegs.clear();
        if self.books.has_seekers(instrument)
            && limit.is_none_or(|limit| self.quotes(instrument).can_peg(limit, buys))
        {
            self.price_all_pegs(instrument, buys);
        }
    }

    #[inline(never)]
    fn price_all_pegs(&mut self, instrument: InstrumentId, buys: bool) {
        let quotes = self.quotes(instrument);
        let Self { books, pegs, .. } = self;
        pegs.extend(books.pegs(instrument, buys).filter_map(|slot| {
            let extra = books.extra(slot)?;
            let price = quotes.peg(&extra.terms, extra.limit, buys)?;
            Some(Pegged { price, slot, order_ref: books.order(slot).order_ref })
        }));
        if buys {
            pegs.sort_unstable_by_key(|peg| (Reverse(peg.price), peg.order_ref));
        } else {
            pegs.sort_unstable_by_key(|peg| (peg.price, peg.order_ref));
        }
    }

    /// The best price of a side at which anything stands.
    fn best_of_all(&self, instrument: InstrumentId, quotes: Quotes, buys: bool) -> Option<u64> {
        let pegs = self.books.pegs(instrument, buys).filter_map(|slot| {
            let extra = self.books.extra(slot)?;
            quotes.peg(&extra.terms, extra.limit, buys)
        });
        let lines = [Plane::Lit, Plane::Hidden].map(|plane| self.books.best(instrument, plane, buys));
        lines.into_iter().flatten().chain(pegs).reduce(|a, b| if within(b, a, buys) { b } else { a })
    }

    /// The next order that meets the other side, and how far it reaches: buys first, then the one that
    /// reaches furthest, then the one that came in first.
    pub(crate) fn next_meeting(&self, instrument: InstrumentId) -> Option<(u32, u64)> {
        if !self.books.has_seekers(instrument) {
            return None;
        }
        let quotes = self.quotes(instrument);
        // A short sale would trade at a bid.
        let tested = self.trading(instrument).rules.short_restricted;
        [true, false].into_iter().find_map(|buys| {
            let best = self.best_of_all(instrument, quotes, !buys)?;
            let seekers = self.books.seekers(instrument).filter_map(|slot| {
                let (order, extra) = (self.books.order(slot), self.books.extra(slot)?);
                let reach = match extra.terms.peg {
                    Peg::None => extra.terms.discretion.0.cast_unsigned(),
                    _ => quotes.peg(&extra.terms, extra.limit, buys)?,
                };
                if tested && order.side == Side::SellShort {
                    return None;
                }
                (order.side.is_buy() == buys && within(best, reach, !buys)).then_some((slot, reach))
            });
            // Of equal ones the first stays.
            seekers.reduce(|furthest, other| {
                let further = if buys { other.1 > furthest.1 } else { other.1 < furthest.1 };
                if further { other } else { furthest }
            })
        })
    }

    /// An order runs from its place on the book, as far as it reaches.
    pub(crate) fn meet(
        &mut self,
        instrument: InstrumentId,
        slot: u32,
        reach: u64,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let order = *self.books.order(slot);
        let extra = self.books.extra(slot).expect("who meets has terms");
        let mut aggressor = Aggressor {
            order,
            instrument,
            limit: Some(reach),
            market: false,
            stp: extra.stp,
            stp_group: extra.terms.stp_group,
            partner: extra.partner,
            slot,
            band: self.trading(instrument).band(),
            inside: false,
        };
        self.price_pegs(instrument, !order.side.is_buy());
        let end = self.run(&mut aggressor, voice, effects);
        let reason = match end {
            End::Done | End::Dry => None,
            End::Stopped { .. } => Some(CancelReason::Collar),
            End::Spent => Some(CancelReason::Immediate),
        };
        if let Some(reason) = reason {
            self.cancel_rest(&mut aggressor, reason, voice, effects);
        }
        if self.books.find(order.order_ref) == Some(slot) && self.books.is_used_up(slot) {
            self.refresh(slot, voice);
        }
        self.note_run(&aggressor, end, voice);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        alone::Alone,
        book::{OF_FIRM_MAX, SEEKERS_MAX},
    };

    fn terms(peg: Peg, peg_offset: i32) -> OrderTerms {
        OrderTerms { peg, peg_offset, ..OrderTerms::default() }
    }

    #[test]
    fn pegs_follow_the_best_prices_but_not_beyond_their_limit() {
        let quotes = Quotes { bid: Some(100), ask: Some(105) };
        assert_eq!(quotes.peg(&terms(Peg::Primary, -2), 200, true), Some(98));
        assert_eq!(quotes.peg(&terms(Peg::Primary, -2), 1, false), Some(107));
        assert_eq!(quotes.peg(&terms(Peg::Market, -1), 200, true), Some(104));
        assert_eq!(quotes.peg(&terms(Peg::Market, -1), 1, false), Some(101));
        assert_eq!(quotes.peg(&terms(Peg::Midpoint, 0), 200, true), Some(102), "102.5 down");
        assert_eq!(quotes.peg(&terms(Peg::Midpoint, 0), 1, false), Some(103), "102.5 up");
        assert_eq!(quotes.peg(&terms(Peg::Midpoint, -1), 101, true), Some(101));
        assert_eq!(quotes.peg(&terms(Peg::Primary, -100), 200, true), None, "below 1");
        let one = Quotes { bid: Some(100), ask: None };
        assert_eq!(one.peg(&terms(Peg::Primary, 0), 200, true), Some(100));
        assert_eq!(one.peg(&terms(Peg::Midpoint, 0), 200, true), None);
        let high = Quotes { bid: Some(i64::MAX as u64), ask: Some(i64::MAX as u64) };
        assert_eq!(high.peg(&terms(Peg::Primary, -5), 1, false), None, "beyond all prices");
        assert_eq!(high.peg(&terms(Peg::Midpoint, -5), 1, true), Some(1));
    }

    /// Two midpoint pegs stand at 99 and 100 between 98 and 101; once the bid is 99 both stand at 100.
    #[test]
    fn pegs_meet_when_the_book_moves() {
        let mut desk = Alone::new();
        desk.enter_all(&["buy 1 @ 98", "sell 1 @ 101", "buy 5 @ 110 mid 0", "sell 3 @ 90 mid 0"]);
        let said = desk.enter("buy 1 @ 99");
        assert_eq!(said, ["5 booked @ 99", "3@100: 4, 3 leaves 2"]);
        assert_eq!(desk.draw(), "5:1@99 1:1@98 | 2:1@101 ~ 3:2@110");
    }

    /// Of a displayed buy at 99 that would pay 103, and one at 100 that would pay 102.
    #[test]
    fn discretion_meets_what_comes_near_the_furthest_first_and_keeps_its_place() {
        let mut desk = Alone::new();
        desk.enter_all(&["buy 2 @ 100 to 102", "buy 2 @ 99 to 103 floor 1", "buy 1 @ 99"]);
        let said = desk.enter("sell 1 @ 102");
        let met = ["4 booked @ 102", "1@102: 4, 2 leaves 1", "2 shows 1"];
        assert_eq!(said, met, "what it showed is used up");
        assert_eq!(desk.draw(), "1:2@100 3:1@99 2:1@99 | ");
        let said = desk.enter("sell 2 @ 102");
        assert_eq!(said, ["5 booked @ 102", "1@102: 5 leaves 1, 2", "1@102: 5, 1 leaves 1"]);
        assert_eq!(desk.draw(), "1:1@100 3:1@99 | ");
    }

    #[test]
    fn discretion_works_on_entry_too() {
        let mut desk = Alone::new();
        desk.enter("sell 1 @ 103");
        assert_eq!(
            desk.enter("buy 2 @ 100 to 103"),
            ["2 accepted", "1@103: 1, 2 leaves 1", "2 rests @ 100, shows 1"]
        );
    }

    #[test]
    fn no_peg_stands_where_none_is_looked_for() {
        let mut looked_for = 0;
        for seed in 0..5_000 {
            let mut rng = crate::testing::Rng::new(seed);
            let bid = 1 + rng.below(6);
            let ask = bid + 1 + rng.below(4);
            let quotes = Quotes {
                bid: Some(bid).filter(|_| rng.below(4) > 0),
                ask: Some(ask).filter(|_| rng.below(4) > 0),
            };
            let buys = rng.below(2) == 0;
            let peg = [Peg::Primary, Peg::Market, Peg::Midpoint][rng.below(3) as usize];
            let offset = -(rng.below(3) as i32) - i32::from(peg == Peg::Market);
            let price = quotes.peg(&terms(peg, offset), if buys { u64::MAX } else { 0 }, buys);
            let limit = rng.below(14);
            let meets = price.is_some_and(|price| within(price, limit, buys));
            assert!(!meets || quotes.can_peg(limit, buys), "seed {seed}: {price:?} within {limit}");
            looked_for += u32::from(quotes.can_peg(limit, buys));
        }
        assert!((1_000..4_500).contains(&looked_for), "{looked_for}");
    }

    #[test]
    fn pegs_and_discretion_have_an_end() {
        let mut desk = Alone::new();
        let has_room = |desk: &mut Alone, firm: u32| {
            let next = desk.seq + 1;
            let said = desk.enter(&alloc::format!("sell 1 @ 200 to 199 firm {firm}"));
            let refused = [alloc::format!("{next} accepted"), alloc::format!("{next} canceled I")];
            assert!(said.len() == 1 || said == refused);
            said != refused
        };
        let firms = SEEKERS_MAX / OF_FIRM_MAX as u32;
        for firm in 1..=firms {
            desk.checks = false;
            for number in 0..OF_FIRM_MAX {
                let line = if number % 2 == 0 { "buy 1 @ 90 primary 0" } else { "buy 1 @ 80 to 81" };
                assert_eq!(desk.enter(&alloc::format!("{line} firm {firm}")).len(), 1);
            }
            desk.checks = firm == firms;
            assert!(!has_room(&mut desk, firm));
        }
        assert!(!has_room(&mut desk, firms + 1));
        // One of the first firm leaves, and there is room for one of any.
        desk.cancel(1, 0);
        assert!(!has_room(&mut desk, 2));
        assert!(has_room(&mut desk, firms + 1));
        assert!(!has_room(&mut desk, 1));
    }

    /// An order that meets something beyond the band cannot trade, and would meet it for ever.
    #[test]
    fn who_meets_beyond_the_band_is_cancelled() {
        let rules = ironbell_types::InstrumentRules {
            reference: ironbell_types::Price(100),
            band_bps: 100,
            ..ironbell_types::InstrumentRules::PLAIN
        };
        let mut desk = Alone::with_rules(rules);
        desk.enter("buy 1 @ 99 to 103");
        assert_eq!(desk.enter("sell 1 @ 103"), ["3 booked @ 103", "2 canceled K", "limit state true"]);
    }
}
