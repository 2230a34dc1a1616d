//! Stage 2 of the naive engine: the books. One flat list of open orders in the order in which they took
//! their places; every price, place and share is looked up anew from it.

use ironbell_types::{
    Accepted, CancelReason, Canceled, CrossKind, EventBody, Executed, FirmId, InstrumentId, InstrumentRules,
    MatchNumber, Modified, OrderKey, OrderOptions, OrderRef, OrderTerms, Phase, PortId, Price, Qty, Replaced,
    Rested, Shown, Side, Statistics, TimeInForce, Trade, UserRefIdx,
};

use super::{Admitted, Said};

/// Orders that one slice of a mass cancel takes.
const SLICE_ORDERS: usize = 1_024;

/// Trades that one command makes: 2^20 effects less its own two.
const TRADES_MAX: usize = (1 << 20) - 2;

/// An open order, as it stands on the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// As it was accepted; side, quantity and price are those of now.
    pub accepted: Accepted,
    /// Its name to the member.
    pub key: OrderKey,
    /// Its number on the book.
    pub order_ref: OrderRef,
    /// Whose it is.
    pub firm: FirmId,
    /// What it trades.
    pub instrument: InstrumentId,
    /// Buy or sell.
    pub side: Side,
    /// Its price on the book.
    pub price: Price,
    /// What is left of it.
    pub leaves_qty: Qty,
    /// What the order and all it replaced have executed.
    pub chain_executed: Qty,
    /// How it stands on the feed.
    pub shown: Shown,
}

/// Every book.
pub(super) struct Books {
    /// Seeds the sizes of icebergs' parts.
    key: u64,
    instruments: Vec<InstrumentId>,
    /// Every open order of every instrument; an earlier one has the earlier place at its price.
    orders: Vec<Order>,
}

impl Books {
    /// No instruments; `key` is the venue's.
    pub(super) fn new(key: u64) -> Self {
        Self { key, instruments: Vec::new(), orders: Vec::new() }
    }

    /// A new instrument, with plain rules; `begins` is Continuous while a day is open, else Closed.
    pub(super) fn add(&mut self, instrument: InstrumentId, begins: Phase) {
        self.instruments.push(instrument);
    }

    /// Every open order, in any order.
    pub(super) fn orders(&self) -> &[Order] {
        &self.orders
    }

    /// The open orders of an instrument in the order in which mass cancels take them.
    pub(super) fn book(&self, instrument: InstrumentId) -> Vec<Order> {
        let side = |buys: bool| {
            self.orders.iter().filter(move |o| o.instrument == instrument && o.side.is_buy() == buys)
        };
        let mut bids: Vec<_> = side(true).copied().collect();
        let mut asks: Vec<_> = side(false).copied().collect();
        // Stable sorts: equal prices keep the order in which they took their places.
        bids.sort_by_key(|o| -o.price.0);
        asks.sort_by_key(|o| o.price);
        bids.extend(asks);
        bids
    }

    /// A new order: Rejected, or Accepted and what becomes of it.
    pub(super) fn enter(&mut self, new: &Admitted, said: &mut Said) {
        self.run(new, said, |accepted| EventBody::Accepted(accepted));
    }

    /// `new` takes the place of `original`; says nothing when that is gone by now.
    pub(super) fn replace(&mut self, original: OrderKey, new: &Admitted, said: &mut Said) {
        let Some(place) = self.place(original) else { return };
        let original = self.orders.remove(place);
        self.run(new, said, |order| {
            EventBody::Replaced(Replaced {
                orig_user_ref_num: original.key.num(),
                orig_order_ref: original.order_ref,
                orig_shown: original.shown,
                order,
            })
        });
    }

    /// What is left of the earlier quote of (port, channel) on the instrument goes, `sides` come; a
    /// refusal names `first`.
    pub(super) fn quote(
        &mut self,
        first: OrderKey,
        instrument: InstrumentId,
        sides: [Option<Admitted>; 2],
        said: &mut Said,
    ) {
        let _ = (first, instrument);
        for new in sides.iter().flatten() {
            self.run(new, said, |accepted| EventBody::Accepted(accepted));
        }
    }

    /// The member's Cancel Order of an open order, `total` the new intended total of its chain.
    pub(super) fn cancel(&mut self, key: OrderKey, total: Qty, said: &mut Said) {
        let Some(place) = self.place(key) else { return };
        let leaves = Qty(total.0.saturating_sub(self.orders[place].chain_executed.0));
        if leaves < self.orders[place].leaves_qty {
            self.cancel_to(place, leaves, CancelReason::User, said);
        }
    }

    /// The member's Modify Order of an open order, `total` the new intended total of its chain.
    pub(super) fn modify(&mut self, key: OrderKey, side: Side, total: Qty, said: &mut Said) {
        let Some(place) = self.place(key) else { return };
        let order = self.orders[place];
        let leaves = Qty(total.0.saturating_sub(order.chain_executed.0));
        let may_become = match order.side {
            Side::Buy => [Side::Buy].as_slice(),
            Side::Sell => &[Side::Sell, Side::SellShort, Side::SellShortExempt],
            Side::SellShort => &[Side::SellShort],
            Side::SellShortExempt => &[Side::SellShortExempt, Side::SellShort],
        };
        let unchanged = side == order.side && leaves == order.leaves_qty;
        if !may_become.contains(&side) || leaves > order.leaves_qty || unchanged {
            return;
        }
        if leaves == Qty::ZERO {
            return self.cancel_to(place, leaves, CancelReason::User, said);
        }
        self.orders[place].side = side;
        self.orders[place].leaves_qty = leaves;
        self.orders[place].shown.qty = leaves;
        said.matching(EventBody::Modified(Modified {
            key: order.key,
            order_ref: order.order_ref,
            instrument: order.instrument,
            side,
            qty: Qty(order.leaves_qty.0 - leaves.0),
            leaves_qty: leaves,
            shown: order.shown,
            shown_leaves: leaves,
        }));
    }

    /// Cancels the first 1,024 orders of the instrument that are meant; whether some remain.
    pub(super) fn slice(
        &mut self,
        instrument: InstrumentId,
        meant: impl Fn(&Order) -> bool,
        reason: CancelReason,
        said: &mut Said,
    ) -> bool {
        let keys: Vec<OrderKey> =
            self.book(instrument).iter().filter(|&order| meant(order)).map(|order| order.key).collect();
        for &key in keys.iter().take(SLICE_ORDERS) {
            let place = self.place(key).expect("the order was just on the book");
            self.cancel_to(place, Qty::ZERO, reason, said);
        }
        keys.len() > SLICE_ORDERS
    }

    /// Time passes: due timers fire, books wake.
    pub(super) fn tick(&mut self, said: &mut Said) {
        let _ = said;
    }

    /// The day begins, at `midnight`'s schedule.
    pub(super) fn open_day(&mut self, midnight: ironbell_types::Nanos, said: &mut Said) {
        let _ = (midnight, said);
    }

    /// The day ends: crosses, phases, statistics.
    pub(super) fn close_day(&mut self, said: &mut Said) {
        for &instrument in &self.instruments {
            said.matching(EventBody::Statistics(Statistics { instrument, ..Statistics::default() }));
        }
    }

    /// New rules of an instrument.
    pub(super) fn set_rules(&mut self, instrument: InstrumentId, rules: &InstrumentRules, said: &mut Said) {
        let _ = (instrument, rules, said);
    }

    /// One entry of an instrument's schedule, in force from the next day.
    pub(super) fn set_schedule(
        &mut self,
        instrument: InstrumentId,
        slot: u8,
        at_s: u32,
        phase: Option<Phase>,
        said: &mut Said,
    ) {
        let _ = (instrument, slot, at_s, phase, said);
    }

    /// A phase begins now, on one instrument or (NONE) on all.
    pub(super) fn set_phase(
        &mut self,
        instrument: InstrumentId,
        phase: Phase,
        reason: [u8; 4],
        said: &mut Said,
    ) {
        let _ = (instrument, phase, reason, said);
    }

    /// Every instrument that is not Closed halts.
    pub(super) fn market_wide_halt(&mut self, level: u8, said: &mut Said) {
        let _ = (level, said);
    }

    /// The instrument is taken off: Closed for good.
    pub(super) fn delist(&mut self, instrument: InstrumentId, said: &mut Said) {
        let _ = (instrument, said);
    }

    /// A new tick: rules become plain, prices of statistics and band are forgotten. No day is open, and
    /// no order on the instrument.
    pub(super) fn forget_prices(&mut self, instrument: InstrumentId) {
        let _ = instrument;
    }

    /// A trade of this day is undone: the statistics shrink.
    pub(super) fn bust(&mut self, instrument: InstrumentId, price: Price, qty: Qty) {
        let _ = (instrument, price, qty, self.key);
    }

    fn place(&self, key: OrderKey) -> Option<usize> {
        self.orders.iter().position(|o| o.key == key)
    }

    /// Brings an admitted order to the market: kill, trade, cancel the rest, or rest.
    fn run(&mut self, new: &Admitted, said: &mut Said, head: impl FnOnce(Accepted) -> EventBody) {
        let mut order = Order {
            accepted: new.accepted,
            key: new.accepted.key,
            order_ref: new.accepted.order_ref,
            firm: new.accepted.firm,
            instrument: new.accepted.instrument,
            side: new.accepted.side,
            price: new.accepted.price,
            leaves_qty: new.accepted.qty,
            chain_executed: new.chain_executed,
            shown: Shown { order_ref: new.accepted.order_ref, qty: new.accepted.qty },
        };
        let would_trade = self.best_against(&order).is_some();
        let rests = new.accepted.time_in_force == TimeInForce::Day;
        let booked = !would_trade && rests;
        let shown_qty = if booked { order.leaves_qty } else { Qty::ZERO };
        said.matching(head(Accepted { booked, shown_qty, ..new.accepted }));
        if would_trade && new.accepted.options.is_post_only() {
            return off_book(&order, CancelReason::PostOnly, said);
        }
        let mut trades = 0;
        while order.leaves_qty > Qty::ZERO && trades < TRADES_MAX {
            let Some(place) = self.best_against(&order) else { break };
            self.trade(&mut order, place, trades as u32, said);
            trades += 1;
        }
        if order.leaves_qty == Qty::ZERO {
            return;
        }
        if !rests || self.best_against(&order).is_some() {
            return off_book(&order, CancelReason::Immediate, said);
        }
        order.shown.qty = order.leaves_qty;
        if trades > 0 {
            let Order { order_ref, firm, instrument, side, leaves_qty: qty, price, shown, .. } = order;
            let display = order.accepted.display;
            said.matching(EventBody::Rested(Rested {
                order_ref,
                shown,
                firm,
                instrument,
                side,
                qty,
                price,
                display,
            }));
        }
        self.orders.push(order);
    }

    /// The order that `order` trades with first: the best price within its limit, the oldest there.
    fn best_against(&self, order: &Order) -> Option<usize> {
        let crosses = |o: &Order| {
            o.instrument == order.instrument
                && o.side.is_buy() != order.side.is_buy()
                && if order.side.is_buy() { o.price <= order.price } else { o.price >= order.price }
        };
        (0..self.orders.len()).filter(|&place| crosses(&self.orders[place])).min_by_key(|&place| {
            let price = self.orders[place].price.0;
            (if order.side.is_buy() { price } else { -price }, place)
        })
    }

    fn trade(&mut self, aggressor: &mut Order, place: usize, number: u32, said: &mut Said) {
        let resting = &mut self.orders[place];
        let qty = aggressor.leaves_qty.min(resting.leaves_qty);
        let shown = resting.shown;
        for order in [&mut *resting, &mut *aggressor] {
            order.leaves_qty.0 -= qty.0;
            order.chain_executed.0 += qty.0;
        }
        resting.shown.qty = resting.leaves_qty;
        let resting = *resting;
        if resting.leaves_qty == Qty::ZERO {
            self.orders.remove(place);
        }
        said.matching(EventBody::Trade(Trade {
            match_number: MatchNumber::new(said.seq(), number),
            instrument: resting.instrument,
            price: resting.price,
            qty,
            aggressor_buys: aggressor.side.is_buy(),
            resting: executed(&resting, shown),
            aggressor: executed(aggressor, Shown::default()),
            cross: CrossKind::None,
            resting_price: resting.price,
        }));
    }

    /// Shrinks an order on the book to `leaves_qty` in its place; at 0 it is gone.
    fn cancel_to(&mut self, place: usize, leaves_qty: Qty, reason: CancelReason, said: &mut Said) {
        let order = self.orders[place];
        assert!(leaves_qty < order.leaves_qty);
        if leaves_qty == Qty::ZERO {
            self.orders.remove(place);
        } else {
            self.orders[place].leaves_qty = leaves_qty;
            self.orders[place].shown.qty = leaves_qty;
        }
        said.matching(EventBody::Canceled(Canceled {
            key: order.key,
            order_ref: order.order_ref,
            instrument: order.instrument,
            qty: Qty(order.leaves_qty.0 - leaves_qty.0),
            leaves_qty,
            reason,
            shown: order.shown,
            shown_leaves: leaves_qty,
        }));
    }
}

/// An order that never came on the book is gone whole.
fn off_book(order: &Order, reason: CancelReason, said: &mut Said) {
    said.matching(EventBody::Canceled(Canceled {
        key: order.key,
        order_ref: order.order_ref,
        instrument: order.instrument,
        qty: order.leaves_qty,
        leaves_qty: Qty::ZERO,
        reason,
        shown: Shown::default(),
        shown_leaves: Qty::ZERO,
    }));
}

fn executed(order: &Order, shown: Shown) -> Executed {
    Executed { key: order.key, order_ref: order.order_ref, leaves_qty: order.leaves_qty, shown }
}
