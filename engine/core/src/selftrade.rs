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

#[cfg(test)]
mod tests {
    use crate::alone::Alone;

    fn book(aggressor: &str) -> (alloc::vec::Vec<alloc::string::String>, alloc::string::String) {
        let mut desk = Alone::new();
        desk.enter_all(&["sell 2 @ 100 firm 2", "sell 4 @ 100 floor 3", "sell 9 @ 100 firm 2"]);
        let said = desk.enter(aggressor);
        (said, desk.draw())
    }

    #[test]
    fn cancel_newest_takes_what_is_left_of_the_aggressor() {
        let (said, left) = book("buy 8 @ 100 stp newest");
        assert_eq!(said[1..], ["2@100: 1, 4 leaves 6", "4 prevented from 3, leaves 0"]);
        assert_eq!(left, " | 2:4[3]@100 3:9@100");
    }

    #[test]
    fn cancel_oldest_takes_the_resting_order_and_goes_on() {
        let (said, left) = book("buy 8 @ 100 stp oldest");
        assert_eq!(said[2..], ["2 prevented from 3, leaves 0", "6@100: 3 leaves 3, 4"]);
        assert_eq!(left, " | 3:3@100");
    }

    #[test]
    fn cancel_both_takes_the_resting_order_first() {
        let (said, left) = book("buy 8 @ 100 stp both");
        assert_eq!(said[2..], ["2 prevented from 3, leaves 0", "4 prevented from 3, leaves 0"]);
        assert_eq!(left, " | 3:9@100");
    }

    /// Both shrink by all that the resting order has, 4, of which 3 could have traded at once.
    #[test]
    fn decrement_shrinks_both_by_the_smaller() {
        let (said, left) = book("buy 8 @ 100 stp decrement");
        let expected =
            ["2 prevented from 3, leaves 0", "4 prevented from 3, leaves 2", "2@100: 3 leaves 7, 4"];
        assert_eq!(said[2..], expected);
        assert_eq!(left, " | 3:7@100");
        let (said, left) = book("buy 4 @ 100 stp decrement");
        assert_eq!(said[2..], ["2 prevented from 2, leaves 2", "4 prevented from 2, leaves 0"]);
        assert_eq!(left, " | 2:2@100 3:9@100");
    }

    #[test]
    fn with_a_group_only_orders_of_that_group_are_spared() {
        let mut desk = Alone::new();
        desk.enter_all(&["sell 1 @ 100", "sell 1 @ 100 stp-group 2", "sell 1 @ 100 stp-group 1"]);
        let said = desk.enter("buy 3 @ 100 stp newest stp-group 1");
        let expected = ["1@100: 1, 4 leaves 2", "1@100: 2, 4 leaves 1", "4 prevented from 1, leaves 0"];
        assert_eq!(said[1..], expected);
    }

    /// The pair is dissolved with the partner that self-trade prevention takes, and the rest may rest.
    #[test]
    fn a_partner_that_is_taken_is_a_partner_no_more() {
        let mut desk = Alone::new();
        desk.enter("sell 2 @ 100");
        let said = desk.enter("buy 5 @ 100 with 1 stp oldest");
        assert_eq!(said, ["2 accepted", "1 prevented from 2, leaves 0", "2 rests @ 100, shows 5"]);
        assert_eq!(desk.enter("sell 1 @ 101 with 2"), ["3 booked @ 101"]);
    }
}
