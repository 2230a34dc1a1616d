//! Stage 1 of the naive engine: Enter, Replace, Cancel, Modify Order, quotes and queries.

use ironbell_types::{
    Accepted, AccountQuery, CancelOrder, ClOrdId, Display, EnterOrder, EventBody, InstrumentId, KillScope,
    ModifyOrder, Nanos, OrderKey, OrderOptions, OrderRef, OrderState, OrderStateQuery, OrderTerms, Peg,
    PortId, PortRules, Price, Qty, Quote, QuoteSide, Reject, ReplaceOrder, Scale, Side, Stp, TimeInForce,
    UserRefIdx, UserRefNum,
};

use super::limits::static_range;
use super::{Admitted, Open, Oracle, Said};

// Numbers.

impl Oracle {
    /// Whether the port exists, and `num` is one not yet used on the channel.
    pub(super) fn is_fresh(&self, port: PortId, idx: UserRefIdx, num: UserRefNum) -> bool {
        let Some(state) = self.port(port) else { return false };
        let last = state.consumed.get(&idx).copied().unwrap_or_default();
        num > last && self.open_order(OrderKey::new(port, idx, num)).is_none()
    }

    pub(super) fn consume(&mut self, port: PortId, idx: UserRefIdx, num: UserRefNum) {
        let state = self.port_mut(port).expect("the port was just found");
        state.consumed.insert(idx, num);
    }

    pub(super) fn account_query(&mut self, query: &AccountQuery, said: &mut Said) {
        let AccountQuery { port, user_ref_idx } = *query;
        if let Some(state) = self.port(port) {
            let last = state.consumed.get(&user_ref_idx).copied().unwrap_or_default();
            // There is no number after the last one of 32 bits; every further order is a retransmission.
            let next = UserRefNum(last.0.saturating_add(1));
            said.risk(EventBody::AccountQueried { port, user_ref_idx, next });
        }
    }

    pub(super) fn order_state(&mut self, query: &OrderStateQuery, said: &mut Said) {
        if self.port(query.port).is_none() {
            return;
        }
        let key = OrderKey::new(query.port, query.user_ref_idx, query.user_ref_num);
        said.risk(EventBody::OrderState(match self.open_order(key) {
            Some(order) => OrderState {
                key,
                open: true,
                order_ref: order.accepted.order_ref,
                instrument: order.accepted.instrument,
                price: order.accepted.price,
                leaves_qty: order.leaves_qty,
                executed_qty: order.chain_executed,
            },
            None => OrderState {
                key,
                open: false,
                order_ref: OrderRef::default(),
                instrument: InstrumentId::NONE,
                price: Price(0),
                leaves_qty: Qty::ZERO,
                executed_qty: Qty::ZERO,
            },
        }));
    }
}

// Checks.

/// Whether what does not trade at once stands on the book.
fn rests(time_in_force: TimeInForce) -> bool {
    matches!(time_in_force, TimeInForce::Day | TimeInForce::Gtt | TimeInForce::Gtc)
}

/// Whether terms go together with each other and with the rest of the order: points 12.1 to 12.9. `qty`
/// is what min_qty is compared with.
fn check_terms(order: &Accepted, terms: &OrderTerms, qty: Qty, now: Nanos) -> Result<(), Reject> {
    use TimeInForce::{AtClose, AtOpen, Fok, Gtc, Gtt, Ioc};
    let Accepted { options, time_in_force, side, price, display, .. } = *order;
    let (rests, post_only) = (rests(time_in_force), options.is_post_only());
    let at_cross = matches!(time_in_force, AtOpen | AtClose);

    let min_qty_offered = time_in_force == Ioc && u64::from(options.min_qty) <= qty.0;
    if options.min_qty != 0 && !min_qty_offered {
        return Err(Reject::MinQty);
    }
    let expire_offered = if time_in_force == Gtt { terms.expire > now } else { terms.expire == Nanos(0) };
    if !expire_offered {
        return Err(Reject::Other);
    }
    let reserve_offered = rests
        && display != Display::Hidden
        && terms.peg == Peg::None
        && !terms.market
        && terms.random_reserves < terms.max_floor;
    if (terms.max_floor != 0 || terms.random_reserves != 0) && !reserve_offered {
        return Err(Reject::MaxFloor);
    }
    if terms.peg != Peg::None && display != Display::Hidden {
        return Err(Reject::Display);
    }
    let is_peg_offered = rests && !terms.market && terms.discretion.0 == 0 && !terms.is_stop() && !post_only;
    let highest_offset = if terms.peg == Peg::Market { -1 } else { 0 };
    if terms.peg == Peg::None && terms.peg_offset != 0
        || terms.peg != Peg::None && (!is_peg_offered || terms.peg_offset > highest_offset)
    {
        return Err(Reject::Pegging);
    }
    let is_beyond_limit = if side.is_buy() {
        terms.discretion > price
    } else {
        terms.discretion < price && terms.discretion.0 > 0
    };
    let is_discretion_offered = rests && !terms.market && !terms.is_stop() && !post_only && is_beyond_limit;
    if terms.discretion.0 != 0 && !is_discretion_offered {
        return Err(Reject::Other);
    }
    let is_stop_offered = !at_cross && time_in_force != Fok && !post_only && options.min_qty == 0;
    if terms.stop.0 < 0 || terms.stop.0 != 0 && terms.trail != 0 || terms.is_stop() && !is_stop_offered {
        return Err(Reject::Other);
    }
    if terms.market && !terms.is_stop() && (matches!(time_in_force, Gtt | Gtc) || post_only) {
        return Err(Reject::Other);
    }
    if at_cross && (display == Display::Hidden || post_only) {
        return Err(Reject::CrossOrder);
    }
    Ok(())
}

impl Oracle {
    /// Points 4 to 9: what has nothing to do with the order itself. `instrument` is one that may not exist
    /// when the order is `new`.
    fn check_access(
        &mut self,
        port: PortId,
        instrument: InstrumentId,
        new: bool,
        now: Nanos,
    ) -> Result<(), Reject> {
        self.take_token(port, now)?;
        let firm = self.port(port).expect("the port was just found").port.firm;
        let is_killed = |scope| self.killed.contains(&scope);
        if self.disabled.contains(&firm)
            || is_killed(KillScope::Port(port))
            || is_killed(KillScope::Firm(firm))
        {
            return Err(Reject::FirmNotAuthorized);
        }
        if new && self.listed(instrument).is_none() {
            return Err(Reject::Symbol);
        }
        if self.order_entry_is_halted
            || !self.day_is_open
            || is_killed(KillScope::Instrument(instrument))
            || is_killed(KillScope::Venue)
        {
            return Err(Reject::Halted);
        }
        if self.not_entitled.contains(&(port, instrument)) {
            return Err(Reject::FirmNotAuthorized);
        }
        let every_firm = ironbell_types::FirmId(0);
        if [firm, every_firm].iter().any(|&firm| self.restricted.contains(&(firm, instrument))) {
            return Err(Reject::RestrictedStock);
        }
        Ok(())
    }

    /// Point 13.
    fn check_range(&self, order: &Accepted, terms: &OrderTerms) -> Result<(), Reject> {
        let range = static_range(&self.rules_of(order.instrument));
        let is_within = |price: Price| range.is_none_or(|(lower, upper)| (lower..=upper).contains(&price));
        if terms.market {
            return if range.is_none() { Err(Reject::MarketOrder) } else { Ok(()) };
        }
        let is_discretion_within = terms.discretion.0 == 0 || is_within(terms.discretion);
        if is_within(order.price) && is_discretion_within { Ok(()) } else { Err(Reject::FatFinger) }
    }

    /// What stages 1 and 3 will know of an order, if it is let through; without a price to reckon with
    /// when it is a market order and there is no static range.
    fn as_open(&self, accepted: Accepted, terms: OrderTerms, chain_executed: Qty, quoted: bool) -> Open {
        let port = self.port(accepted.key.port()).expect("the port was just found").port;
        let worth_price = if terms.market {
            static_range(&self.rules_of(accepted.instrument)).map_or(Price(0), |(_, upper)| upper)
        } else if accepted.side.is_buy() && terms.discretion.0 != 0 {
            terms.discretion
        } else {
            accepted.price
        };
        let tier = self.tiers.get(&port.firm).copied().unwrap_or(0);
        let none = ironbell_types::Fees { maker_bps: 0, taker_bps: 0, minimum: 0 };
        Open {
            accepted,
            terms,
            account: port.account,
            worth_price,
            leaves_qty: accepted.qty,
            chain_executed,
            fees: self.fees.get(&(accepted.instrument, tier)).copied().unwrap_or(none),
            fee_sum: 0,
            charged: 0,
            quoted,
            admitted: false,
        }
    }

    /// What stage 2 is handed of an order.
    fn as_admitted(&self, order: &Open) -> Admitted {
        let PortRules { slides, stp, .. } =
            self.port(order.accepted.key.port()).expect("the port was just found").rules;
        let asked = order.terms.stp;
        Admitted {
            accepted: order.accepted,
            terms: order.terms,
            chain_executed: order.chain_executed,
            stp: if asked == Stp::Port { stp } else { asked },
            slides,
        }
    }
}

// Enter Order.

impl Oracle {
    pub(super) fn enter(&mut self, enter: &EnterOrder, said: &mut Said) {
        if !self.is_fresh(enter.port, enter.user_ref_idx, enter.user_ref_num) {
            return;
        }
        self.consume(enter.port, enter.user_ref_idx, enter.user_ref_num);
        match self.check_enter(enter, said) {
            Ok(order) => {
                self.open.push(order);
                let admitted = self.as_admitted(&order);
                self.books.enter(&admitted, said);
            }
            Err(reason) => {
                said.risk(EventBody::Rejected { key: enter.key(), reason, cl_ord_id: enter.cl_ord_id });
            }
        }
    }

    fn check_enter(&mut self, enter: &EnterOrder, said: &Said) -> Result<Open, Reject> {
        if let Some(fault) = enter.fault {
            return Err(fault);
        }
        self.check_access(enter.port, enter.instrument, true, said.time())?;
        if enter.qty == Qty::ZERO {
            return Err(Reject::Quantity);
        }
        if if enter.terms.market { enter.price.0 != 0 } else { enter.price.0 <= 0 } {
            return Err(Reject::Price);
        }
        let firm = self.port(enter.port).expect("the port was just found").port.firm;
        let accepted = Accepted {
            key: enter.key(),
            order_ref: OrderRef::new(said.seq(), 0),
            firm,
            instrument: enter.instrument,
            side: enter.side,
            qty: enter.qty,
            price: enter.price,
            time_in_force: enter.time_in_force,
            display: enter.display,
            capacity: enter.capacity,
            cl_ord_id: enter.cl_ord_id,
            options: enter.options,
            booked: false,
            shown_qty: Qty::ZERO,
        };
        check_terms(&accepted, &enter.terms, enter.qty, said.time())?;
        self.check_pair(&accepted, enter.terms.oco)?;
        self.check_range(&accepted, &enter.terms)?;
        let order = self.as_open(accepted, enter.terms, Qty::ZERO, false);
        self.check_caps(&order)?;
        self.count_equal(&order, said.time())?;
        self.check_limits(&order, &[])?;
        Ok(order)
    }

    /// Point 12.10.
    fn check_pair(&self, order: &Accepted, oco: UserRefNum) -> Result<(), Reject> {
        if oco == UserRefNum(0) {
            return Ok(());
        }
        let other = self.open_order(OrderKey::new(order.key.port(), order.key.idx(), oco));
        let is_there = other.is_some_and(|o| o.accepted.instrument == order.instrument);
        if rests(order.time_in_force) && is_there { Ok(()) } else { Err(Reject::Other) }
    }
}

// Replace Order.

/// What a Replace Order leads to in stage 1.
enum Replacing {
    Refused(Reject),
    CancelsOriginal,
    Passed(Box<Open>),
}

impl Oracle {
    pub(super) fn replace(&mut self, replace: &ReplaceOrder, said: &mut Said) {
        let (port, idx, num) = (replace.port, replace.user_ref_idx, replace.user_ref_num);
        if !self.is_fresh(port, idx, num) {
            return;
        }
        let original = OrderKey::new(port, idx, replace.orig_user_ref_num);
        if self.open_order(original).is_none() {
            return;
        }
        match self.check_replace(replace, original, said) {
            Replacing::Refused(reason) => {
                self.consume(port, idx, num);
                let key = OrderKey::new(port, idx, num);
                said.risk(EventBody::Rejected { key, reason, cl_ord_id: replace.cl_ord_id });
            }
            Replacing::CancelsOriginal => self.books.cancel(original, Qty::ZERO, said),
            Replacing::Passed(order) => {
                self.consume(port, idx, num);
                self.open.push(*order);
                let admitted = self.as_admitted(&order);
                self.books.replace(original, &admitted, said);
            }
        }
    }

    fn check_replace(&mut self, replace: &ReplaceOrder, original: OrderKey, said: &Said) -> Replacing {
        let original = *self.open_order(original).expect("the original was just found");
        let instrument = original.accepted.instrument;
        if let Err(reason) = self.check_access(replace.port, instrument, false, said.time()) {
            return Replacing::Refused(reason);
        }
        let Some((accepted, terms)) = self.replacement(replace, &original, said) else {
            return Replacing::CancelsOriginal;
        };
        let order = self.as_open(accepted, terms, original.chain_executed, false);
        let checked =
            self.check_caps(&order).and_then(|()| self.check_limits(&order, &[original.accepted.key]));
        match checked {
            Ok(()) => Replacing::Passed(Box::new(order)),
            Err(reason) => Replacing::Refused(reason),
        }
    }

    /// What a replacement would be; `None` when it cannot be, points 4 and 5.
    fn replacement(
        &self,
        replace: &ReplaceOrder,
        original: &Open,
        said: &Said,
    ) -> Option<(Accepted, OrderTerms)> {
        use TimeInForce::{AtClose, AtOpen, Day};
        let (before, terms) = (original.accepted, original.terms);
        let instrument = self.instrument(before.instrument).expect("an open order's instrument exists");
        if replace.fault.is_some() || replace.qty == Qty::ZERO {
            return None;
        }
        let tick = u64::from(instrument.price_tick());
        if !replace.wire_price.is_multiple_of(tick) {
            return None;
        }
        let price = Price(i64::try_from(replace.wire_price / tick).ok()?);
        if if terms.market { price.0 != 0 } else { price.0 == 0 } {
            return None;
        }
        // OUCH 5.0: prices up to 199,999.9900 and quantities up to 999,999, where the wire is exact.
        let is_exact = matches!(instrument.scale, Scale::EquityExact { .. });
        if is_exact && (replace.wire_price > 1_999_999_900 || replace.qty > Qty(999_999)) {
            return None;
        }
        let was_at_cross = matches!(before.time_in_force, AtOpen | AtClose);
        let time_in_force = match replace.time_in_force {
            Day if was_at_cross => before.time_in_force,
            same if same == before.time_in_force => same,
            AtOpen | AtClose => return None,
            _ if was_at_cross => return None,
            other => other,
        };
        let terms = OrderTerms {
            max_floor: replace.max_floor.unwrap_or(terms.max_floor),
            random_reserves: replace.random_reserves.unwrap_or(terms.random_reserves),
            expire: replace.expire,
            oco: UserRefNum(0),
            ..terms
        };
        let options = OrderOptions {
            firm: replace.options.firm || before.options.firm,
            customer_type: given(replace.options.customer_type).unwrap_or(before.options.customer_type),
            post_only: given(replace.options.post_only).unwrap_or(before.options.post_only),
            group: replace.options.group.or(before.options.group),
            min_qty: replace.options.min_qty,
        };
        let accepted = Accepted {
            key: OrderKey::new(replace.port, replace.user_ref_idx, replace.user_ref_num),
            order_ref: OrderRef::new(said.seq(), 0),
            qty: Qty(replace.qty.0.checked_sub(original.chain_executed.0).filter(|&leaves| leaves > 0)?),
            price,
            time_in_force,
            display: replace.display,
            cl_ord_id: replace.cl_ord_id,
            options,
            booked: false,
            shown_qty: Qty::ZERO,
            ..before
        };
        check_terms(&accepted, &terms, replace.qty, said.time()).ok()?;
        // The discretion is the original's, and within the range that held for it.
        self.check_range(&accepted, &OrderTerms { discretion: Price(0), ..terms }).ok()?;
        Some((accepted, terms))
    }
}

/// `None` for 0, which stands for an absent option.
fn given(option: u8) -> Option<u8> {
    (option != 0).then_some(option)
}

// Cancel, Modify.

impl Oracle {
    pub(super) fn cancel(&mut self, cancel: &CancelOrder, said: &mut Said) {
        let key = OrderKey::new(cancel.port, cancel.user_ref_idx, cancel.user_ref_num);
        if self.open_order(key).is_some() {
            self.books.cancel(key, cancel.qty, said);
        }
    }

    pub(super) fn modify(&mut self, modify: &ModifyOrder, said: &mut Said) {
        let key = OrderKey::new(modify.port, modify.user_ref_idx, modify.user_ref_num);
        let Some(order) = self.open_order(key) else { return };
        let becomes_short = order.accepted.side == Side::Sell
            && matches!(modify.side, Side::SellShort | Side::SellShortExempt);
        let leaves = Qty(modify.qty.0.saturating_sub(order.chain_executed.0));
        // What grows is no modify: stage 2 sees to it.
        let modifies = leaves <= order.leaves_qty;
        if !becomes_short || !modifies || self.may_become_short(key, leaves) {
            self.books.modify(key, modify.side, modify.qty, said);
        }
    }
}

// Quotes.

impl Oracle {
    pub(super) fn quote(&mut self, quote: &Quote, said: &mut Said) {
        let Quote { port, user_ref_idx: idx, user_ref_num: num, .. } = *quote;
        let next = num.0.checked_add(1).map(UserRefNum);
        let key = OrderKey::new(port, idx, num);
        if !self.is_fresh(port, idx, num) || next.is_some_and(|next| !self.is_fresh(port, idx, next)) {
            return;
        }
        self.consume(port, idx, next.unwrap_or(num));
        let open_before = self.open.len();
        let checked = match next {
            Some(_) => self.check_quote(quote, said),
            None => Err(Reject::Other),
        };
        match checked {
            Ok(sides) => {
                let admitted = sides.map(|side| side.map(|order| self.as_admitted(&order)));
                self.books.quote(key, quote.instrument, admitted, said);
            }
            Err(reason) => {
                self.open.truncate(open_before);
                said.risk(EventBody::Rejected { key, reason, cl_ord_id: ClOrdId::default() });
            }
        }
    }

    /// Both sides, which are on the list of open orders by then.
    fn check_quote(&mut self, quote: &Quote, said: &Said) -> Result<[Option<Open>; 2], Reject> {
        if let Some(fault) = quote.fault {
            return Err(fault);
        }
        self.check_access(quote.port, quote.instrument, true, said.time())?;
        for QuoteSide { qty, price } in [quote.bid, quote.ask] {
            if if qty == Qty::ZERO { price.0 != 0 } else { price.0 <= 0 } {
                return Err(Reject::Price);
            }
        }
        let both = quote.bid.qty != Qty::ZERO && quote.ask.qty != Qty::ZERO;
        if both && quote.bid.price >= quote.ask.price {
            return Err(Reject::Price);
        }
        let mut freed = Vec::new();
        let mut sides = [None, None];
        for (step, (side, asked)) in (0..).zip([(Side::Buy, quote.bid), (Side::Sell, quote.ask)]) {
            freed.extend(self.earlier_quote(quote, side));
            if asked.qty == Qty::ZERO {
                continue;
            }
            let num = UserRefNum(quote.user_ref_num.0 + step);
            let accepted = Accepted {
                key: OrderKey::new(quote.port, quote.user_ref_idx, num),
                order_ref: OrderRef::new(said.seq(), step),
                firm: self.port(quote.port).expect("the port was just found").port.firm,
                instrument: quote.instrument,
                side,
                qty: asked.qty,
                price: asked.price,
                time_in_force: TimeInForce::Day,
                display: Display::Visible,
                capacity: quote.capacity,
                cl_ord_id: ClOrdId::default(),
                options: OrderOptions::default(),
                booked: false,
                shown_qty: Qty::ZERO,
            };
            let plain = OrderTerms::default();
            self.check_range(&accepted, &plain)?;
            let order = self.as_open(accepted, plain, Qty::ZERO, true);
            self.check_caps(&order)?;
            self.check_limits(&order, &freed)?;
            self.open.push(order);
            sides[step as usize] = Some(order);
        }
        Ok(sides)
    }

    /// That side of the quote that stands.
    fn earlier_quote(&self, quote: &Quote, side: Side) -> Option<OrderKey> {
        let earlier = self.open.iter().find(|o| {
            let Accepted { key, instrument, .. } = o.accepted;
            o.quoted
                && o.admitted
                && (key.port(), key.idx(), instrument) == (quote.port, quote.user_ref_idx, quote.instrument)
                && o.accepted.side.is_buy() == side.is_buy()
        });
        earlier.map(|o| o.accepted.key)
    }
}
