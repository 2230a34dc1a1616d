//! The price of a cross: where demand and supply meet.
//!
//! ```text
//!  price │ bought here  wanted at this price or better │ offered at this price or better  volume  surplus
//!   102  │      40                 40                  │            90                      40       50
//!   101  │      30                 70                  │            60                      60       10  ←
//!   100  │       0                 70                  │            20                      20       50
//! ```

use alloc::vec::Vec;
use core::cmp::Reverse;

/// What one price adds to demand or supply.
#[derive(Clone, Copy, Debug)]
struct Step {
    price: u64,
    buys: bool,
    /// Whether the cross may have this price: a limit, or the reference.
    is_candidate: bool,
    qty: u128,
}

/// The price of a cross, and both sides at it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meeting {
    pub(crate) price: u64,
    /// What buys want at that price or a higher one.
    pub(crate) demand: u128,
    /// What sells offer at that price or a lower one.
    pub(crate) supply: u128,
}

impl Meeting {
    pub(crate) fn volume(&self) -> u128 {
        self.demand.min(self.supply)
    }

    pub(crate) fn surplus(&self) -> u128 {
        self.demand.abs_diff(self.supply)
    }
}

/// Demand and supply by price. One serves all instruments; it grows to the levels of the largest cross.
#[derive(Clone)]
pub(crate) struct Curve {
    steps: Vec<Step>,
}

impl Curve {
    pub(crate) fn new() -> Self {
        Self { steps: Vec::with_capacity(1024) }
    }

    pub(crate) fn clear(&mut self) {
        self.steps.clear();
    }

    /// Orders with a limit.
    pub(crate) fn limit(&mut self, buys: bool, price: u64, qty: u128) {
        self.steps.push(Step { price, buys, is_candidate: true, qty });
    }

    /// An order without a limit; a buy takes part at prices up to `end`, a sell at those from `end` on.
    pub(crate) fn market(&mut self, buys: bool, end: u64, qty: u64) {
        let qty = u128::from(qty);
        match self.steps.last_mut() {
            Some(last) if !last.is_candidate && last.buys == buys && last.price == end => last.qty += qty,
            _ => self.steps.push(Step { price: end, buys, is_candidate: false, qty }),
        }
    }

    /// Largest volume, then smallest surplus, then nearest to the reference, then highest; `None` when
    /// nothing would trade. One pass over the prices, once they are in order.
    pub(crate) fn meet(&mut self, reference: Option<u64>) -> Option<Meeting> {
        if let Some(price) = reference {
            self.limit(true, price, 0);
        }
        self.steps.sort_unstable_by_key(|step| step.price);
        let mut demand: u128 = self.steps.iter().filter(|step| step.buys).map(|step| step.qty).sum();
        let mut supply = 0;
        let mut chosen: Option<(_, Meeting)> = None;
        for steps in self.steps.chunk_by(|one, next| one.price == next.price) {
            let here = |buys| steps.iter().filter(move |step| step.buys == buys).map(|step| step.qty);
            supply += here(false).sum::<u128>();
            if steps.iter().any(|step| step.is_candidate) {
                let meeting = Meeting { price: steps[0].price, demand, supply };
                let distance = reference.map(|reference| reference.abs_diff(meeting.price));
                let rank = (meeting.volume(), Reverse(meeting.surplus()), Reverse(distance));
                // Prices rise, so of equals the later is the higher.
                if meeting.volume() > 0 && chosen.is_none_or(|(best, _)| rank >= best) {
                    chosen = Some((rank, meeting));
                }
            }
            demand -= here(true).sum::<u128>();
        }
        chosen.map(|(_, meeting)| meeting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;

    /// One order: buys, limit (`None`: a market order, up to its end when it buys), quantity.
    #[derive(Clone, Copy, Debug)]
    struct Bid {
        buys: bool,
        limit: Option<u64>,
        end: u64,
        qty: u64,
    }

    fn limit(buys: bool, price: u64, qty: u64) -> Bid {
        Bid { buys, limit: Some(price), end: 0, qty }
    }

    fn meet(orders: &[Bid], reference: Option<u64>) -> Option<Meeting> {
        let mut curve = Curve::new();
        for order in orders {
            match order.limit {
                Some(price) => curve.limit(order.buys, price, u128::from(order.qty)),
                None => curve.market(order.buys, order.end, order.qty),
            }
        }
        curve.meet(reference)
    }

    fn price(orders: &[Bid], reference: Option<u64>) -> Option<u64> {
        meet(orders, reference).map(|meeting| meeting.price)
    }

    /// Tries every candidate against every order, and takes the best by comparing each pair of them.
    fn naive(orders: &[Bid], reference: Option<u64>) -> Option<Meeting> {
        let sum = |buys: bool, price: u64| -> u128 {
            let takes_part = |order: &&Bid| {
                let end = order.limit.unwrap_or(order.end);
                order.buys == buys && if buys { end >= price } else { end <= price }
            };
            orders.iter().filter(takes_part).map(|order| u128::from(order.qty)).sum()
        };
        let is_better = |one: &Meeting, other: &Meeting| {
            let volume = |meeting: &Meeting| meeting.demand.min(meeting.supply);
            let surplus = |meeting: &Meeting| meeting.demand.abs_diff(meeting.supply);
            if volume(one) != volume(other) {
                return volume(one) > volume(other);
            }
            if surplus(one) != surplus(other) {
                return surplus(one) < surplus(other);
            }
            let distance = |meeting: &Meeting| reference.map_or(0, |price| price.abs_diff(meeting.price));
            if distance(one) != distance(other) {
                return distance(one) < distance(other);
            }
            one.price > other.price
        };
        let mut best: Option<Meeting> = None;
        for price in orders.iter().filter_map(|order| order.limit).chain(reference) {
            let meeting = Meeting { price, demand: sum(true, price), supply: sum(false, price) };
            if meeting.demand.min(meeting.supply) > 0
                && best.as_ref().is_none_or(|best| is_better(&meeting, best))
            {
                best = Some(meeting);
            }
        }
        best
    }

    #[test]
    fn agrees_with_trying_every_price() {
        for seed in 0..4_000 {
            let mut rng = Rng::new(seed);
            let (width, middle) = (1 + rng.below(12), 1_000 + rng.below(3));
            let mut orders = Vec::new();
            for _ in 0..rng.below(24) {
                let buys = rng.below(2) == 0;
                let price = middle + rng.below(width);
                let end = if buys { middle + rng.below(2 * width) } else { 0 };
                let qty = 1 + rng.below(4);
                orders.push(if rng.below(6) == 0 {
                    Bid { buys, limit: None, end, qty }
                } else {
                    limit(buys, price, qty)
                });
            }
            let reference = (rng.below(3) > 0).then(|| middle + rng.below(2 * width));
            let met = meet(&orders, reference);
            assert_eq!(met, naive(&orders, reference), "seed {seed}: {orders:?}, {reference:?}");
        }
    }

    #[test]
    fn the_largest_volume_comes_first() {
        let orders = [limit(true, 102, 40), limit(true, 101, 30), limit(false, 100, 20)];
        let more = [limit(false, 101, 40), limit(false, 102, 30)];
        let orders: Vec<_> = orders.into_iter().chain(more).collect();
        // However near the reference is to another price.
        let met = meet(&orders, Some(102)).unwrap();
        assert_eq!(met, Meeting { price: 101, demand: 70, supply: 60 });
        assert_eq!((met.volume(), met.surplus()), (60, 10));
    }

    #[test]
    fn of_equal_volumes_the_smallest_surplus_wins() {
        // 50 trade at each price from 100 to 103; at 103 only 50 are wanted.
        let orders = [limit(true, 103, 50), limit(true, 101, 20), limit(false, 100, 50)];
        assert_eq!(price(&orders, Some(100)), Some(103));
        // The surplus may lie on either side.
        let orders = [limit(true, 103, 50), limit(false, 100, 50), limit(false, 102, 20)];
        assert_eq!(price(&orders, Some(103)), Some(100));
    }

    #[test]
    fn of_equal_surpluses_the_nearest_to_the_reference_wins() {
        let orders = [limit(true, 110, 5), limit(false, 100, 5)];
        assert_eq!(price(&orders, Some(104)), Some(104), "the reference itself is a candidate");
        assert_eq!(price(&orders, Some(90)), Some(100));
        assert_eq!(price(&orders, Some(200)), Some(110));
    }

    /// With a reference two prices are never equally good: one of those around it that are would make
    /// the reference, between them, as good and nearer.
    #[test]
    fn without_a_reference_the_highest_of_equals_wins() {
        let orders = [limit(true, 110, 5), limit(false, 100, 5)];
        assert_eq!(price(&orders, None), Some(110));
        // At 104 three too many are wanted, at 107 three too many offered; 5 trade at either.
        let orders = [limit(true, 107, 5), limit(true, 104, 3), limit(false, 104, 5), limit(false, 107, 3)];
        assert_eq!(price(&orders, None), Some(107));
    }

    #[test]
    fn without_volume_there_is_no_price() {
        assert_eq!(meet(&[], Some(100)), None);
        assert_eq!(meet(&[limit(true, 99, 5), limit(false, 100, 5)], Some(100)), None);
        assert_eq!(meet(&[limit(true, 99, 5)], Some(99)), None);
        let market = |buys, end| Bid { buys, limit: None, end, qty: 5 };
        assert_eq!(meet(&[market(true, 110), market(false, 0)], None), None, "nobody names a price");
        assert_eq!(price(&[market(true, 110), market(false, 0)], Some(100)), Some(100));
        assert_eq!(price(&[market(true, 99), market(false, 0)], Some(100)), None, "it is worth less");
    }

    #[test]
    fn sums_do_not_overflow_at_the_ends_of_all_ranges() {
        let top = i64::MAX as u64;
        let orders = [limit(true, top, u64::MAX), limit(true, top, u64::MAX), limit(false, 1, u64::MAX)];
        let met = meet(&orders, Some(top)).unwrap();
        assert_eq!((met.price, met.surplus()), (top, u128::from(u64::MAX)));
    }
}
