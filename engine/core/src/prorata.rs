//! Pro-rata: the displayed orders of one price share what comes in.

use crate::{
    book::Plane,
    matching::{Effect, Matching, Voice},
    run::Aggressor,
};
use alloc::vec::Vec;
use core::cmp::Reverse;
use ironbell_types::OrderRef;

/// Orders that share at once.
pub(crate) const SHARERS_MAX: usize = 4096;

/// One order's share.
#[derive(Clone, Copy)]
pub(crate) struct Share {
    slot: u32,
    order_ref: OrderRef,
    shown: u64,
    qty: u64,
    /// Of the division that gave it its part, in parts of the sum shown.
    remainder: u128,
}

impl Matching {
    /// Shares what is left of the aggressor among the displayed orders of the best price, or as much of
    /// it as they show.
    #[inline(never)]
    pub(crate) fn share(
        &mut self,
        aggressor: &mut Aggressor,
        price: u64,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let mut shares = core::mem::take(&mut self.shares);
        shares.clear();
        self.collect_shares(aggressor, price, &mut shares, voice, effects);
        let top_order_max = self.trading(aggressor.instrument).rules.top_order_max.0;
        apportion(aggressor.order.leaves, top_order_max, &mut shares);
        for share in &shares {
            if aggressor.order.leaves == 0 || self.trades_left() == 0 {
                break;
            }
            // The trade of its partner may have taken it meanwhile.
            if share.qty > 0 && self.books.find(share.order_ref) == Some(share.slot) {
                self.trade(aggressor, share.slot, price, share.qty, voice, effects);
            }
        }
        self.shares = shares;
    }

    /// The first orders in line, after self-trade prevention along it.
    fn collect_shares(
        &mut self,
        aggressor: &mut Aggressor,
        price: u64,
        shares: &mut Vec<Share>,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let mut next = self.books.first(aggressor.instrument, Plane::Lit, !aggressor.buys());
        while let Some(slot) = next {
            if aggressor.order.leaves == 0 || self.trades_left() == 0 || shares.len() == SHARERS_MAX {
                break;
            }
            next = self.books.behind(slot);
            if self.is_prevented(aggressor, slot) {
                self.prevent(aggressor, slot, price, voice, effects);
            } else {
                let (order_ref, shown) = (self.books.order(slot).order_ref, self.books.tradable(slot));
                shares.push(Share { slot, order_ref, shown, qty: 0, remainder: 0 });
            }
        }
    }
}

/// Gives each its part of `qty`: all it shows when that is enough for all; else the first up to
/// `top_order_max`, and the rest by size, the lots that are over to the largest remainders.
fn apportion(qty: u64, top_order_max: u64, shares: &mut [Share]) {
    let sum: u128 = shares.iter().map(|share| u128::from(share.shown)).sum();
    if u128::from(qty) >= sum {
        shares.iter_mut().for_each(|share| share.qty = share.shown);
        return;
    }
    let top = top_order_max.min(shares[0].shown).min(qty);
    let (rest, sum) = (qty - top, sum - u128::from(top));
    let mut over = rest;
    for (place, share) in shares.iter_mut().enumerate() {
        let first = if place == 0 { top } else { 0 };
        let product = u128::from(rest) * u128::from(share.shown - first);
        // The sum is not 0, since it is more than what is left of `qty`.
        let part = u64::try_from(product / sum).expect("a part is at most the rest");
        (share.qty, share.remainder) = (first + part, product % sum);
        over -= part;
    }
    let over = usize::try_from(over).expect("less than one lot is over for each");
    give_over(over, shares);
}

/// One lot more to each of the `over` largest remainders, the earlier in line first.
fn give_over(over: usize, shares: &mut [Share]) {
    let mut places = [0u16; SHARERS_MAX];
    let places = &mut places[..shares.len()];
    places.iter_mut().zip(0..).for_each(|(place, at)| *place = at);
    places.sort_unstable_by_key(|place| (Reverse(shares[usize::from(*place)].remainder), *place));
    for place in &places[..over] {
        shares[usize::from(*place)].qty += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(qty: u64, top_order_max: u64, shown: &[u64]) -> Vec<u64> {
        let share =
            |shown: &u64| Share { slot: 0, order_ref: OrderRef(0), shown: *shown, qty: 0, remainder: 0 };
        let mut shares: Vec<Share> = shown.iter().map(share).collect();
        apportion(qty, top_order_max, &mut shares);
        shares.iter().map(|share| share.qty).collect()
    }

    /// 10 for 30, 50 and 20 of 100: 3, 5, 2. 11: 3.3, 5.5, 2.2, so the lot that is over goes to the second.
    #[test]
    fn parts_go_by_size_and_largest_remainder() {
        assert_eq!(parts(10, 0, &[30, 50, 20]), [3, 5, 2]);
        assert_eq!(parts(11, 0, &[30, 50, 20]), [3, 6, 2]);
        assert_eq!(parts(2, 0, &[10, 10, 10]), [1, 1, 0], "of equal remainders the earlier");
        assert_eq!(parts(100, 0, &[30, 50, 20]), [30, 50, 20]);
        assert_eq!(parts(500, 7, &[30, 50, 20]), [30, 50, 20]);
    }

    /// The first takes 8 of 20; the other 12 go by 22 : 50 : 20 of 92, which are 2.87, 6.52 and 2.61.
    #[test]
    fn the_top_order_is_served_first() {
        assert_eq!(parts(20, 8, &[30, 50, 20]), [11, 6, 3]);
        assert_eq!(parts(5, 8, &[30, 50, 20]), [5, 0, 0]);
        assert_eq!(parts(9, 100, &[8, 50]), [8, 1]);
    }

    #[test]
    fn parts_of_the_largest_quantities_do_not_overflow() {
        let all = parts(u64::MAX, 0, &[u64::MAX; 3]);
        assert_eq!(all.iter().map(|part| u128::from(*part)).sum::<u128>(), u128::from(u64::MAX));
    }
}
