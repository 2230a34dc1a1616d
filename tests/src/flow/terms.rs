//! Orders that are more than plain limit orders.

use ironbell_types::{
    Display, EnterOrder, InstrumentId, Nanos, OrderTerms, Peg, Phase, Price, Qty, QuoteSide, Side, Stp,
    TimeInForce, UserRefNum,
};

use super::Flow;

/// Modes of self-trade prevention, none included.
const STP: [Stp; 6] =
    [Stp::Port, Stp::Off, Stp::CancelNewest, Stp::CancelOldest, Stp::CancelBoth, Stp::Decrement];

impl Flow {
    /// Whether something that happens `percent` times of 100 does now.
    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.rng.below(100) < percent
    }

    /// When something ends: soon, so that flows see it end.
    pub(super) fn end(&mut self) -> Nanos {
        let spans = [1, 40, 1_000_000, 100_000_000, 1_000_000_000, 3_000_000_000, 60_000_000_000];
        let end = Nanos(self.time.0 + self.rng.pick(&spans));
        self.note_due(end);
        end
    }

    /// Makes a plain order more than that, most often in a way that goes together.
    pub(super) fn dress(&mut self, order: &mut EnterOrder) {
        let bias = self.bias;
        if self.chance(bias.until) {
            let until = self.rng.pick(&[TimeInForce::Gtt, TimeInForce::Gtc]);
            self.set_time_in_force(order, until);
        }
        if self.chance(bias.min_qty) {
            order.time_in_force = TimeInForce::Ioc;
            order.terms.expire = Nanos(0);
            order.options.min_qty = self.up_to(order.qty);
        }
        if self.chance(bias.peg) {
            self.make_peg(order);
        } else if self.chance(bias.iceberg) {
            self.make_iceberg(order);
        }
        if self.chance(bias.discretion) && order.terms.peg == Peg::None {
            self.make_discretionary(order);
        }
        if self.chance(bias.stop) {
            self.make_stop(order);
        }
        if self.chance(bias.market) && order.terms.peg == Peg::None {
            self.make_market(order);
        }
        if self.chance(bias.at_cross) {
            self.make_at_cross(order);
        }
        if self.chance(bias.stp) {
            order.terms.stp = self.rng.pick(&STP);
            order.terms.stp_group = self.rng.pick(&[[0, 0], [0, 0], *b"A1", *b"B2"]);
        }
        if self.chance(bias.pair) && rests(order.time_in_force) {
            self.make_pair(order);
        }
        if bias.control_gap > 0 && self.rng.one_in(60) {
            self.break_terms(order);
        }
    }

    fn set_time_in_force(&mut self, order: &mut EnterOrder, time_in_force: TimeInForce) {
        order.time_in_force = time_in_force;
        order.options.min_qty = 0;
        order.terms.expire = if time_in_force == TimeInForce::Gtt { self.end() } else { Nanos(0) };
    }

    fn let_rest(&mut self, order: &mut EnterOrder) {
        if !rests(order.time_in_force) {
            self.set_time_in_force(order, TimeInForce::Day);
        }
    }

    fn up_to(&mut self, qty: Qty) -> u32 {
        self.rng.between(1, qty.0.clamp(1, 1 << 31)) as u32
    }

    fn make_iceberg(&mut self, order: &mut EnterOrder) {
        self.let_rest(order);
        // More to hide behind what is shown.
        if order.qty.0 > 0 && order.qty.0 < 1 << 40 {
            order.qty.0 += self.rng.below(self.shape.qty_max * 4);
        }
        let part = order.qty.0.clamp(1, self.shape.qty_max.max(2));
        order.terms.max_floor = self.up_to(Qty(part));
        if self.rng.one_in(3) {
            order.terms.random_reserves = self.rng.below(u64::from(order.terms.max_floor)) as u32;
        }
        if order.display == Display::Hidden {
            order.display = Display::Visible;
        }
    }

    fn make_peg(&mut self, order: &mut EnterOrder) {
        self.let_rest(order);
        order.options.post_only = 0;
        order.display = Display::Hidden;
        order.terms.peg = self.rng.pick(&[Peg::Primary, Peg::Market, Peg::Midpoint]);
        let back = self.rng.below(self.shape.price_width.clamp(1, 20) + 1) as i32;
        let nearest = i32::from(order.terms.peg == Peg::Market);
        order.terms.peg_offset = if self.rng.one_in(2) { -nearest } else { -back.max(nearest) };
        // Seldom held back by its limit.
        if self.rng.one_in(2) {
            order.price = self.beyond(order.side, order.price);
        }
    }

    fn make_discretionary(&mut self, order: &mut EnterOrder) {
        self.let_rest(order);
        order.options.post_only = 0;
        order.terms.discretion = self.beyond(order.side, order.price);
        if order.terms.discretion == order.price {
            order.terms.discretion = Price(0);
        }
    }

    /// A price that is worse for a member's order by up to the width of the prices.
    fn beyond(&mut self, side: Side, price: Price) -> Price {
        let by = self.rng.between(1, self.shape.price_width) as i64;
        let beyond = if side.is_buy() { price.0.saturating_add(by) } else { price.0.saturating_sub(by) };
        Price(if beyond > 0 { beyond } else { price.0 })
    }

    fn make_stop(&mut self, order: &mut EnterOrder) {
        if order.time_in_force == TimeInForce::Fok {
            order.time_in_force = TimeInForce::Ioc;
        }
        order.options.post_only = 0;
        order.options.min_qty = 0;
        order.terms.peg = Peg::None;
        order.terms.peg_offset = 0;
        order.terms.discretion = Price(0);
        if self.shape.deep || self.rng.one_in(4) {
            order.terms.trail = self.rng.between(1, self.shape.price_width.min(1 << 20)) as u32;
        } else {
            order.terms.stop = Price(self.price(order.side) as i64);
        }
        // A limit that others have traded past by then: it rests when it is triggered, and meets the next cross.
        if self.rng.one_in(3) {
            let (low, width) = (self.shape.price_min, self.shape.price_width);
            order.price = Price(if order.side.is_buy() { low } else { low + width - 1 } as i64);
        }
    }

    fn make_market(&mut self, order: &mut EnterOrder) {
        order.terms.market = true;
        order.price = Price(0);
        order.terms.discretion = Price(0);
        order.terms.max_floor = 0;
        order.terms.random_reserves = 0;
        order.options.post_only = 0;
        let until = matches!(order.time_in_force, TimeInForce::Gtt | TimeInForce::Gtc);
        if until && !order.terms.is_stop() {
            self.set_time_in_force(order, TimeInForce::Day);
        }
    }

    fn make_at_cross(&mut self, order: &mut EnterOrder) {
        let market = order.terms.market || self.rng.one_in(3);
        order.terms = OrderTerms { market, stp: order.terms.stp, ..OrderTerms::default() };
        order.price = if market { Price(0) } else { Price(self.price(order.side) as i64) };
        order.options.post_only = 0;
        order.display = self.rng.pick(&[Display::Visible, Display::Attributable]);
        let opens = |(&instrument, &phase): (&InstrumentId, &Phase)| {
            matches!(phase, Phase::PreOpen | Phase::OpeningAuction).then_some(instrument)
        };
        let opening = self.phases.iter().find_map(opens).filter(|_| self.rng.below(4) > 0);
        if let Some(instrument) = opening {
            order.instrument = instrument;
        }
        let odd = self.rng.one_in(10);
        let at_open = opening.is_some() != odd;
        self.set_time_in_force(order, if at_open { TimeInForce::AtOpen } else { TimeInForce::AtClose });
    }

    /// Pairs it with an order that was accepted.
    fn make_pair(&mut self, order: &mut EnterOrder) {
        let (key, instrument, ..) = self.target();
        if key.port() != order.port || key.idx() != order.user_ref_idx {
            order.port = key.port();
            order.user_ref_idx = key.idx();
            order.user_ref_num = self.fresh_num(order.port, order.user_ref_idx);
        }
        order.instrument = instrument;
        order.terms.oco = key.num();
    }

    /// Something that does not go together, or may not.
    fn break_terms(&mut self, order: &mut EnterOrder) {
        let terms = &mut order.terms;
        match self.rng.below(18) {
            0 => order.time_in_force = self.rng.pick(TimeInForce::ALL),
            1 => terms.expire = Nanos(self.time.0),
            2 => terms.random_reserves = terms.max_floor.max(1),
            3 => order.display = self.rng.pick(Display::ALL),
            4 => terms.peg = self.rng.pick(&[Peg::Primary, Peg::Market, Peg::Midpoint]),
            5 => terms.peg_offset = self.rng.pick(&[1, 0, -1, i32::MIN]),
            6 => terms.discretion = self.rng.pick(&[order.price, Price(-1), Price(1), Price(i64::MAX)]),
            7 => terms.stop = self.rng.pick(&[Price(-1), Price(1)]),
            8 => terms.trail = self.rng.pick(&[1, u32::MAX]),
            9 => terms.market = !terms.market,
            10 => order.options.post_only = b'P',
            11 => terms.oco = self.rng.pick(&[order.user_ref_num, UserRefNum(u32::MAX)]),
            12 => order.options.min_qty = self.rng.pick(&[1, u32::MAX]),
            13 => terms.max_floor = self.rng.pick(&[1, u32::MAX]),
            14 => terms.stop = Price(i64::MAX),
            15 => order.price = Price(1),
            16 => {
                terms.peg = Peg::Market;
                order.display = Display::Hidden;
            }
            _ => {
                order.display = Display::Hidden;
                order.time_in_force = TimeInForce::AtClose;
            }
        }
    }

    /// One side of a quote; sometimes none.
    pub(super) fn quote_side(&mut self, side: Side) -> QuoteSide {
        if self.rng.one_in(8) {
            return QuoteSide::default();
        }
        let half = self.shape.price_width.div_ceil(2);
        let low = self.shape.price_min + self.rng.below(half);
        let price = if side.is_buy() { low } else { low + half };
        QuoteSide { qty: self.qty(), price: Price(price as i64) }
    }
}

/// Whether what does not trade at once stands on the book.
pub(super) fn rests(time_in_force: TimeInForce) -> bool {
    matches!(time_in_force, TimeInForce::Day | TimeInForce::Gtt | TimeInForce::Gtc)
}
