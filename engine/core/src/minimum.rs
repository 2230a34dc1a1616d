//! Fill-or-kill and minimum quantity: whether enough stands within the bound before anything trades.

use crate::{
    book::{Plane, within},
    matching::Matching,
    run::Aggressor,
};
use ironbell_types::{Algorithm, Qty, Stp};

/// What has been counted, in the order of trading.
struct Count {
    missing: u128,
    trades: u64,
    trades_max: u64,
}

/// How a count goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    On,
    /// An order ends the count that self-trade prevention would meet.
    Over,
}

impl Matching {
    /// Whether the aggressor, which has just come in, could trade `qty` at once.
    pub(crate) fn could_trade(&mut self, aggressor: &Aggressor, qty: Qty) -> bool {
        let Some(limit) = aggressor.limit else { return false };
        let (true, Some(_)) = self.look(aggressor) else { return false };
        let buys = !aggressor.buys();
        let bound = self.trading(aggressor.instrument).bound(!buys, limit);
        if self.books.is_plain(aggressor.instrument) && aggressor.stp == Stp::Off {
            return self.books.holds(aggressor.instrument, buys, bound, qty.0, self.trades_left());
        }
        let mut count =
            Count { missing: u128::from(qty.0), trades: 0, trades_max: u64::from(self.trades_left()) };
        self.count(aggressor, bound, &mut count);
        count.missing == 0 && count.trades <= count.trades_max
    }

    /// Counts price by price: displayed orders, their reserves, hidden orders, pegs.
    fn count(&mut self, aggressor: &Aggressor, bound: u64, count: &mut Count) {
        let (instrument, buys) = (aggressor.instrument, !aggressor.buys());
        let mut lines = [Plane::Lit, Plane::Hidden].map(|plane| self.books.first(instrument, plane, buys));
        let mut peg = 0;
        while count.missing > 0 && count.trades <= count.trades_max {
            let heads = lines.into_iter().flatten().map(|slot| self.books.order(slot).price);
            let pegs = self.pegs.get(peg).map(|peg| peg.price);
            let best = heads.chain(pegs).reduce(|a, b| if within(b, a, buys) { b } else { a });
            let Some(price) = best.filter(|price| within(*price, bound, buys)) else { return };
            for line in &mut lines {
                let Some(head) = line.filter(|head| self.books.order(*head).price == price) else {
                    continue;
                };
                let (step, last) = self.count_line(aggressor, head, count);
                if step == Step::Over {
                    return;
                }
                *line = self.books.after(last);
            }
            while let Some(at) = self.pegs.get(peg).copied().filter(|at| at.price == price) {
                if self.count_order(aggressor, at.slot, u64::MAX, count) == Step::Over {
                    return;
                }
                peg += 1;
            }
        }
    }

    /// Counts the line of one price, what is shown first; returns its last order too.
    fn count_line(&mut self, aggressor: &Aggressor, head: u32, count: &mut Count) -> (Step, u32) {
        let shares = self.trading(aggressor.instrument).rules.algorithm == Algorithm::ProRata
            && self.books.order(head).plane() == Plane::Lit;
        let own_ends = !matches!(aggressor.stp, Stp::Off | Stp::CancelOldest);
        if shares && own_ends {
            // Prevention goes along the whole line before anything trades.
            let mut at = Some(head);
            while let Some(slot) = at {
                if self.is_prevented(aggressor, slot) {
                    return (Step::Over, slot);
                }
                at = self.books.behind(slot);
            }
        }
        let (mut at, mut last, mut has_reserves) = (Some(head), head, false);
        while let Some(slot) = at {
            let shown = self.books.tradable(slot);
            has_reserves |= shown < self.books.order(slot).leaves;
            if self.count_order(aggressor, slot, shown, count) == Step::Over {
                return (Step::Over, slot);
            }
            last = slot;
            at = self.books.behind(slot);
        }
        let mut at = Some(head).filter(|_| has_reserves);
        while let Some(slot) = at {
            if !self.is_prevented(aggressor, slot) && !self.is_passed_over(aggressor, slot) {
                let reserve = self.books.order(slot).leaves - self.books.tradable(slot);
                count.missing = count.missing.saturating_sub(u128::from(reserve));
            }
            at = self.books.behind(slot);
        }
        (Step::On, last)
    }

    /// Counts `shown` of an order, all of its trades with it.
    fn count_order(&mut self, aggressor: &Aggressor, slot: u32, shown: u64, count: &mut Count) -> Step {
        if count.missing == 0 {
            return Step::On;
        }
        if self.is_prevented(aggressor, slot) {
            count.trades += 1;
            return if aggressor.stp == Stp::CancelOldest { Step::On } else { Step::Over };
        }
        if self.is_passed_over(aggressor, slot) {
            return Step::On;
        }
        let leaves = self.books.order(slot).leaves;
        count.missing = count.missing.saturating_sub(u128::from(leaves.min(shown)));
        let part = self.books.extra(slot).map(|extra| &extra.terms).filter(|terms| terms.max_floor != 0);
        let part = part.map(|terms| u64::from(terms.max_floor - terms.random_reserves));
        count.trades += part.map_or(1, |part| leaves.div_ceil(part));
        let partner = self.books.partner(slot).and_then(|partner| self.books.find(partner));
        if let Some(extra) = partner.and_then(|partner| self.books.extra_mut(partner)) {
            extra.counted_for = aggressor.order.order_ref;
        }
        Step::On
    }

    /// Whether the order's partner was counted, so that its trade would cancel the order.
    fn is_passed_over(&self, aggressor: &Aggressor, slot: u32) -> bool {
        self.books.extra(slot).is_some_and(|extra| extra.counted_for == aggressor.order.order_ref)
    }
}

#[cfg(test)]
mod tests {
    use crate::{alone::Alone, matching::TRADES_MAX};

    fn killed(desk: &mut Alone, line: &str) -> bool {
        let said = desk.enter(line);
        assert_eq!(said[0], alloc::format!("{} accepted", desk.seq));
        said[1] == alloc::format!("{} canceled I", desk.seq)
    }

    #[test]
    fn everything_that_would_trade_counts() {
        let lines = ["sell 4 @ 100 floor 1", "sell 2 @ 100 hidden", "sell 2 @ 90 primary 0", "sell 2 @ 101"];
        for (line, is_killed) in [("buy 8 @ 100 fok", false), ("buy 9 @ 100 fok", true)] {
            let mut desk = Alone::new();
            desk.enter_all(&lines);
            assert_eq!(killed(&mut desk, line), is_killed, "{line}");
        }
        let mut desk = Alone::new();
        desk.enter_all(&lines);
        assert!(killed(&mut desk, "buy 20 @ 101 ioc min 11"));
        assert!(!killed(&mut desk, "buy 20 @ 101 ioc min 10"));
        assert_eq!(desk.draw(), " | ");
    }

    /// An order of 9 in parts of 1 takes 9 trades, and so it counts.
    #[test]
    fn an_iceberg_order_counts_its_parts_as_trades() {
        let mut desk = Alone::new();
        desk.enter("sell 9 @ 100 floor 2 random 1");
        desk.matching.limit_trades(8);
        assert!(killed(&mut desk, "buy 2 @ 100 fok"));
        desk.matching.limit_trades(9);
        assert!(!killed(&mut desk, "buy 2 @ 100 fok"));
        desk.matching.limit_trades(TRADES_MAX);
    }

    /// The firm's own order ends the count where it stands in line: what an iceberg order before it
    /// shows counts, its reserve, which would trade behind it, does not.
    #[test]
    fn the_firms_own_liquidity_does_not_count() {
        let lines = ["sell 5 @ 100 floor 2 firm 2", "sell 5 @ 100", "sell 5 @ 100 firm 2"];
        let mut desk = Alone::new();
        desk.enter_all(&lines);
        assert!(killed(&mut desk, "buy 3 @ 100 fok stp newest"));
        assert!(killed(&mut desk, "buy 11 @ 100 fok stp oldest"));
        assert!(!killed(&mut desk, "buy 10 @ 100 fok stp oldest"));
        assert_eq!(desk.draw(), " | ");
        desk.enter_all(&lines);
        assert!(!killed(&mut desk, "buy 2 @ 100 fok stp newest"));
    }

    #[test]
    fn of_a_pair_only_the_first_counts() {
        let mut desk = Alone::new();
        desk.enter_all(&["sell 5 @ 100", "sell 5 @ 101 with 1"]);
        assert!(killed(&mut desk, "buy 6 @ 101 fok"));
        assert!(!killed(&mut desk, "buy 5 @ 101 fok"));
        assert_eq!(desk.draw(), " | ");
    }
}
