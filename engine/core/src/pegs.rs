//! Orders that may come to trade without a new one: pegs, whose price follows the book's, and orders
//! with discretion.

use crate::{
    book::{Plane, within},
    matching::{Effect, Matching, Voice},
    run::{Aggressor, End},
};
use alloc::vec::Vec;
use core::cmp::Reverse;
use ironbell_types::{CancelReason, InstrumentId, OrderRef, OrderTerms, Peg};

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
        [true, false].into_iter().find_map(|buys| {
            let best = self.best_of_all(instrument, quotes, !buys)?;
            let seekers = self.books.seekers(instrument).filter_map(|slot| {
                let (order, extra) = (self.books.order(slot), self.books.extra(slot)?);
                let reach = match extra.terms.peg {
                    Peg::None => extra.terms.discretion.0.cast_unsigned(),
                    _ => quotes.peg(&extra.terms, extra.limit, buys)?,
                };
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
        let end = self.run::<false>(&mut aggressor, voice, effects);
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
