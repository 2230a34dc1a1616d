//! Which terms of an order go together: Enter Order, point 12, but for the pair, which takes open orders.

use ironbell_types::{
    Accepted, Display, Nanos, OrderTerms, Peg, Price, Qty,
    Reject::{self, CrossOrder, MaxFloor, MinQty, Other, Pegging},
    TimeInForce,
};

/// An order's terms as far as they bear on each other.
pub(crate) struct Together {
    pub(crate) buys: bool,
    pub(crate) qty: Qty,
    pub(crate) price: Price,
    pub(crate) time_in_force: TimeInForce,
    pub(crate) display: Display,
    pub(crate) min_qty: u32,
    pub(crate) post_only: bool,
    pub(crate) terms: OrderTerms,
}

/// Whether what is left of it goes on the book.
pub(crate) fn rests(time_in_force: TimeInForce) -> bool {
    matches!(time_in_force, TimeInForce::Day | TimeInForce::Gtt | TimeInForce::Gtc)
}

/// Whether it waits for a cross.
pub(crate) fn is_for_cross(time_in_force: TimeInForce) -> bool {
    matches!(time_in_force, TimeInForce::AtOpen | TimeInForce::AtClose)
}

impl Together {
    /// The points in their order, of an order with these terms.
    #[inline(always)]
    pub(crate) fn check_order(order: &Accepted, terms: &OrderTerms, now: Nanos) -> Result<(), Reject> {
        let time = order.time_in_force;
        let plain_time = !matches!(time, TimeInForce::Gtt) && !is_for_cross(time);
        if order.options.min_qty == 0 && plain_time && terms.is_plain() {
            return Ok(());
        }
        // Made only here: a plain order has nothing that could not go together.
        Self::of(order, terms).check(now)
    }

    #[inline(always)]
    fn of(order: &Accepted, terms: &OrderTerms) -> Self {
        Self {
            buys: order.side.is_buy(),
            qty: order.qty,
            price: order.price,
            time_in_force: order.time_in_force,
            display: order.display,
            min_qty: order.options.min_qty,
            post_only: order.options.is_post_only(),
            terms: *terms,
        }
    }

    #[inline(never)]
    fn check(&self, now: Nanos) -> Result<(), Reject> {
        let holds = |holds, reason| if holds { Ok(()) } else { Err(reason) };
        holds(self.min_qty_goes(), MinQty)?;
        holds(self.expire_goes(now), Other)?;
        holds(self.reserve_goes(), MaxFloor)?;
        holds(self.terms.peg == Peg::None || self.display == Display::Hidden, Reject::Display)?;
        holds(self.peg_goes(), Pegging)?;
        holds(self.discretion_goes(), Other)?;
        holds(self.stop_goes(), Other)?;
        holds(self.market_goes(), Other)?;
        let seen_in_cross = self.display != Display::Hidden && !self.post_only;
        holds(!is_for_cross(self.time_in_force) || seen_in_cross, CrossOrder)
    }

    fn min_qty_goes(&self) -> bool {
        let immediate = self.time_in_force == TimeInForce::Ioc && u64::from(self.min_qty) <= self.qty.0;
        self.min_qty == 0 || immediate
    }

    fn expire_goes(&self, now: Nanos) -> bool {
        if self.time_in_force == TimeInForce::Gtt {
            self.terms.expire > now
        } else {
            self.terms.expire == Nanos(0)
        }
    }

    fn reserve_goes(&self) -> bool {
        let OrderTerms { max_floor, random_reserves, peg, market, .. } = self.terms;
        (max_floor, random_reserves) == (0, 0)
            || rests(self.time_in_force)
                && self.display != Display::Hidden
                && peg == Peg::None
                && !market
                && random_reserves < max_floor
    }

    fn peg_goes(&self) -> bool {
        let OrderTerms { peg, peg_offset, discretion, market, .. } = self.terms;
        if peg == Peg::None {
            return peg_offset == 0;
        }
        let alone = !market && discretion == Price(0) && !self.terms.is_stop() && !self.post_only;
        rests(self.time_in_force) && alone && peg_offset <= if peg == Peg::Market { -1 } else { 0 }
    }

    fn discretion_goes(&self) -> bool {
        let OrderTerms { discretion, market, .. } = self.terms;
        let further =
            if self.buys { discretion > self.price } else { discretion < self.price && discretion.0 > 0 };
        let alone = !market && !self.terms.is_stop() && !self.post_only;
        discretion == Price(0) || rests(self.time_in_force) && alone && further
    }

    fn stop_goes(&self) -> bool {
        let OrderTerms { stop, trail, .. } = self.terms;
        if !self.terms.is_stop() {
            return true;
        }
        let waits = self.time_in_force != TimeInForce::Fok && !is_for_cross(self.time_in_force);
        stop.0 >= 0 && (stop.0 == 0 || trail == 0) && waits && !self.post_only && self.min_qty == 0
    }

    fn market_goes(&self) -> bool {
        let stays = matches!(self.time_in_force, TimeInForce::Gtt | TimeInForce::Gtc) || self.post_only;
        !self.terms.market || self.terms.is_stop() || !stays
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each combination that the README forbids, and its nearest that it allows.
    #[test]
    fn terms_go_together_as_written() {
        use TimeInForce::{AtClose, AtOpen, Day, Fok, Gtc, Gtt, Ioc};
        type Change = fn(&mut Together, &mut OrderTerms);
        let cases: &[(Change, Option<Reject>)] = &[
            (|_, _| (), None),
            (|o, _| (o.min_qty, o.time_in_force) = (10, Ioc), None),
            (|o, _| (o.min_qty, o.time_in_force) = (11, Ioc), Some(MinQty)),
            (|o, _| o.min_qty = 10, Some(MinQty)),
            (|o, _| (o.min_qty, o.time_in_force) = (10, Fok), Some(MinQty)),
            (|o, t| (o.time_in_force, t.expire) = (Gtt, Nanos(101)), None),
            (|o, t| (o.time_in_force, t.expire) = (Gtt, Nanos(100)), Some(Other)),
            (|_, t| t.expire = Nanos(101), Some(Other)),
            (|_, t| (t.max_floor, t.random_reserves) = (5, 4), None),
            (|_, t| (t.max_floor, t.random_reserves) = (5, 5), Some(MaxFloor)),
            (|_, t| t.random_reserves = 1, Some(MaxFloor)),
            (|o, t| (o.display, t.max_floor) = (Display::Hidden, 5), Some(MaxFloor)),
            (|o, t| (o.time_in_force, t.max_floor) = (Ioc, 5), Some(MaxFloor)),
            (|o, t| (o.time_in_force, t.max_floor) = (Gtc, 5), None),
            (|o, t| (o.display, t.peg) = (Display::Hidden, Peg::Midpoint), None),
            (|_, t| t.peg = Peg::Midpoint, Some(Reject::Display)),
            (|_, t| (t.peg, t.max_floor) = (Peg::Midpoint, 5), Some(MaxFloor)),
            (|_, t| t.peg_offset = -1, Some(Pegging)),
            (|o, t| (o.display, t.peg, t.peg_offset) = (Display::Hidden, Peg::Market, -1), None),
            (|o, t| (o.display, t.peg) = (Display::Hidden, Peg::Market), Some(Pegging)),
            (|o, t| (o.display, t.peg, t.peg_offset) = (Display::Hidden, Peg::Primary, 1), Some(Pegging)),
            (|o, t| (o.display, t.peg, t.stop) = (Display::Hidden, Peg::Primary, Price(5)), Some(Pegging)),
            (|o, t| (o.display, t.peg, o.post_only) = (Display::Hidden, Peg::Primary, true), Some(Pegging)),
            (
                |o, t| (o.display, t.peg, o.time_in_force) = (Display::Hidden, Peg::Primary, Ioc),
                Some(Pegging),
            ),
            (|_, t| t.discretion = Price(51), None),
            (|_, t| t.discretion = Price(50), Some(Other)),
            (|o, t| (o.buys, t.discretion) = (false, Price(49)), None),
            (|o, t| (o.buys, t.discretion) = (false, Price(-1)), Some(Other)),
            (|o, t| (o.post_only, t.discretion) = (true, Price(51)), Some(Other)),
            (|o, t| (o.time_in_force, t.discretion) = (Ioc, Price(51)), Some(Other)),
            (|_, t| t.stop = Price(7), None),
            (|_, t| t.stop = Price(-7), Some(Other)),
            (|_, t| (t.stop, t.trail) = (Price(7), 1), Some(Other)),
            (|o, t| (o.time_in_force, t.trail) = (Ioc, 1), None),
            (|o, t| (o.time_in_force, t.trail) = (Fok, 1), Some(Other)),
            (|o, t| (o.time_in_force, t.trail) = (AtOpen, 1), Some(Other)),
            (|o, t| (o.post_only, t.trail) = (true, 1), Some(Other)),
            (|o, t| (o.time_in_force, o.min_qty, t.trail) = (Ioc, 1, 1), Some(Other)),
            (|o, t| (o.price, t.market) = (Price(0), true), None),
            (|o, t| (o.price, t.market, o.time_in_force) = (Price(0), true, Gtc), Some(Other)),
            (|o, t| (o.price, t.market, o.post_only) = (Price(0), true, true), Some(Other)),
            (|o, t| (o.price, t.market, t.stop, o.time_in_force) = (Price(0), true, Price(9), Gtc), None),
            (|o, _| o.time_in_force = AtClose, None),
            (|o, _| (o.time_in_force, o.display) = (AtClose, Display::Hidden), Some(CrossOrder)),
            (|o, _| (o.time_in_force, o.post_only) = (AtOpen, true), Some(CrossOrder)),
        ];
        for (at, (change, expected)) in cases.iter().enumerate() {
            let plain = OrderTerms::default();
            let mut terms = plain;
            let mut order = Together {
                buys: true,
                qty: Qty(10),
                price: Price(50),
                time_in_force: Day,
                display: Display::Visible,
                min_qty: 0,
                post_only: false,
                terms: plain,
            };
            change(&mut order, &mut terms);
            let order = Together { terms, ..order };
            assert_eq!(order.check(Nanos(100)).err(), *expected, "case {at}");
        }
    }
}
