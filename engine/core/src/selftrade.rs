//! Self-trade prevention: what happens instead of a trade between two orders of one firm.

use crate::{
    index::NONE,
    matching::{Effect, Matching, Voice},
    run::Aggressor,
};
use alloc::vec::Vec;
use ironbell_types::{EventBody, Price, Qty, SelfTradePrevented, Shown, Stp};

impl Matching {
    /// Whether the aggressor must not trade with a resting order.
    #[inline(always)]
    pub(crate) fn is_prevented(&self, aggressor: &Aggressor, slot: u32) -> bool {
        if aggressor.stp == Stp::Off {
            return false;
        }
        let group = || self.books.extra(slot).map_or([0; 2], |extra| extra.terms.stp_group);
        self.books.order(slot).firm == aggressor.order.firm
            && (aggressor.stp_group == [0; 2] || aggressor.stp_group == group())
    }

    /// Shrinks the two as the aggressor asks; one of them is gone afterwards.
    #[inline(never)]
    pub(crate) fn prevent(
        &mut self,
        aggressor: &mut Aggressor,
        slot: u32,
        price: u64,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        self.spend_trade();
        let (left, resting) = (aggressor.order.leaves, self.books.order(slot).leaves);
        let prevented = left.min(self.books.tradable(slot));
        let (resting_gone, gone) = match aggressor.stp {
            Stp::CancelNewest => (0, left),
            Stp::CancelOldest => (resting, 0),
            Stp::CancelBoth => (resting, left),
            Stp::Decrement => (left.min(resting), left.min(resting)),
            Stp::Off | Stp::Port => unreachable!("a port's choice is resolved, and Off prevents nothing"),
        };
        let said = |order: &crate::book::Order, gone| SelfTradePrevented {
            key: order.key,
            order_ref: order.order_ref,
            instrument: aggressor.instrument,
            qty: Qty(gone),
            leaves_qty: Qty(order.leaves - gone),
            prevented_qty: Qty(prevented),
            price: Price(price.cast_signed()),
            rested: true,
            stp: aggressor.stp,
            shown: Shown::default(),
            shown_leaves: Qty::ZERO,
        };
        if resting_gone > 0 {
            let said = said(self.books.order(slot), resting_gone);
            self.shrink_prevented(slot, said, voice, effects);
        }
        if gone > 0 {
            let said = SelfTradePrevented { rested: false, ..said(&aggressor.order, gone) };
            aggressor.order.leaves -= gone;
            if aggressor.slot == NONE {
                voice.say(EventBody::SelfTradePrevented(said));
            } else {
                self.shrink_prevented(aggressor.slot, said, voice, effects);
            }
        }
    }

    /// Shrinks an order on the book and says so.
    fn shrink_prevented(
        &mut self,
        slot: u32,
        said: SelfTradePrevented,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let order = self.books.order(slot);
        let (token, side) = (order.token, order.side);
        let shown = self.books.shown(slot);
        self.books.reduce(slot, said.qty.0);
        let shown_leaves = if said.leaves_qty == Qty::ZERO { Qty::ZERO } else { self.books.shown(slot).qty };
        voice.say(EventBody::SelfTradePrevented(SelfTradePrevented { shown, shown_leaves, ..said }));
        effects.push(Effect::Stands { token, leaves_qty: said.leaves_qty, side });
    }
}
