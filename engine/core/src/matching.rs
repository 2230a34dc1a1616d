//! Stage 2, by instrument: what stage 1 admitted meets the books. Knows no accounts and no money.
//!
//! Members hear of this stage by events, stage 3 by [`Effect`]s. The books can be driven by
//! themselves, as the bench does: [`Matching::new`], [`Matching::open_book`], [`Matching::apply`].

use crate::{
    BookOrder,
    book::{Books, Order, within},
};
use alloc::vec::Vec;
use ironbell_types::{
    Accepted, CancelReason, Canceled, Event, EventBody, Executed, FirmId, InstrumentId, MatchNumber,
    Modified, Nanos, OrderRef, Price, Qty, Replaced, Rested, Seq, Side, Stage, TimeInForce, Trade,
};

/// What one command can trade: 2^20 effects less the first and the last word on the order itself.
pub const TRADES_MAX: u32 = (1 << Seq::STEP_BITS) - 2;

/// Orders one slice of a mass cancel takes off.
pub const SLICE_ORDERS: u32 = 1024;

/// An order that stage 1 admitted, and what stage 1 calls it.
#[derive(Clone, Copy, Debug)]
pub struct Incoming {
    /// The order; `booked` is decided here.
    pub order: Accepted,
    /// Stage 1's name of it, given back in every [`Effect`].
    pub token: u32,
}

/// What stage 1 passes on.
#[derive(Clone, Copy, Debug)]
pub enum Request {
    /// A new order.
    Enter(Incoming),
    /// A new order in place of another; its quantity is `total` less what the chain has executed.
    Replace {
        /// What it replaces.
        orig: OrderRef,
        /// Quantity of the chain, executions included.
        total: Qty,
        /// What comes in.
        incoming: Incoming,
    },
    /// Shrinks an order to a total of its chain.
    Cancel {
        /// The order.
        order_ref: OrderRef,
        /// Quantity of the chain, executions included.
        total: Qty,
    },
    /// Changes an order's side and shrinks it.
    Modify {
        /// The order.
        order_ref: OrderRef,
        /// Its side from now on, already found allowed.
        side: Side,
        /// Quantity of the chain, executions included.
        total: Qty,
    },
    /// Takes off the orders of a firm on one instrument, [`SLICE_ORDERS`] at most.
    Slice(Slice),
}

/// One slice of a mass cancel.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    /// The mass cancel; later orders are not its business.
    pub cause: Seq,
    /// Whose orders.
    pub firm: FirmId,
    /// On which instrument.
    pub instrument: InstrumentId,
    /// `None` is every order, 0 those without a group.
    pub group: Option<u16>,
    /// Only these; all sells are not one side.
    pub side: Option<Side>,
}

/// What stage 3 must know; `token` is [`Incoming::token`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A trade, for both its orders.
    Fill {
        /// Its number.
        match_number: MatchNumber,
        /// What was traded.
        instrument: InstrumentId,
        /// At which price.
        price: Price,
        /// How much.
        qty: Qty,
        /// Whether the aggressor bought.
        aggressor_buys: bool,
        /// Who rested.
        resting: u32,
        /// Who came in.
        aggressor: u32,
    },
    /// This is what now stands of an order; 0 when it is done.
    Stands {
        /// The order.
        token: u32,
        /// What is left.
        leaves_qty: Qty,
        /// Its side.
        side: Side,
    },
    /// The order is gone because another took its place, which must be heard before that one's fills.
    Gone {
        /// The order.
        token: u32,
    },
    /// A slice is done.
    Sliced {
        /// The mass cancel.
        cause: Seq,
        /// The instrument has more of such orders.
        more: bool,
    },
}

/// Says events of one stage of one command, with their steps.
pub struct Voice<'a> {
    out: &'a mut Vec<Event>,
    seq: Seq,
    time: Nanos,
    stage: Stage,
    step: u32,
}

impl<'a> Voice<'a> {
    /// From step 0.
    pub fn new(out: &'a mut Vec<Event>, seq: Seq, time: Nanos, stage: Stage) -> Self {
        Self { out, seq, time, stage, step: 0 }
    }

    /// The command that speaks.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// Says one.
    #[inline(always)]
    pub fn say(&mut self, body: EventBody) {
        self.out.push(Event { seq: self.seq, time: self.time, stage: self.stage, step: self.step, body });
        self.step += 1;
    }
}

/// The books of the instruments homed here.
#[derive(Clone)]
pub struct Matching {
    books: Books,
    /// [`TRADES_MAX`]; less in a test of it.
    trades_max: u32,
}

impl Matching {
    /// Room for `orders` open orders before anything grows; `key` scatters the index.
    #[must_use]
    pub fn new(orders: usize, key: u64) -> Self {
        Self { books: Books::new(orders, key), trades_max: TRADES_MAX }
    }

    /// Opens the book of the next instrument, from 1.
    pub fn open_book(&mut self) {
        self.books.open();
    }

    /// Orders resting on all books.
    #[must_use]
    pub fn orders(&self) -> usize {
        self.books.orders()
    }

    /// A book's orders: bids best first and oldest first, then asks. Empty for an unknown instrument.
    pub fn book(&self, instrument: InstrumentId) -> impl Iterator<Item = BookOrder> + '_ {
        self.books.iter(instrument)
    }

    pub(crate) fn books(&self) -> &Books {
        &self.books
    }

    /// Does one request: says its events and appends what stage 3 must know. A request for an order
    /// that is not on the book does nothing. Instruments must be known, quantities above 0, prices
    /// above 0, order references new and rising.
    pub fn apply(&mut self, request: &Request, voice: &mut Voice<'_>, effects: &mut Vec<Effect>) {
        match request {
            Request::Enter(incoming) => {
                self.enter(&incoming.order, 0, incoming.token, None, voice, effects);
            }
            Request::Replace { orig, total, incoming } => {
                self.replace(*orig, *total, incoming, voice, effects);
            }
            Request::Cancel { order_ref, total } => {
                if let Some(slot) = self.books.find(*order_ref) {
                    let order = self.books.order(slot);
                    let leaves = total.0.saturating_sub(order.executed);
                    if leaves < order.leaves {
                        self.cancel(slot, leaves, CancelReason::User, voice, effects);
                    }
                }
            }
            Request::Modify { order_ref, side, total } => {
                if let Some(slot) = self.books.find(*order_ref) {
                    self.modify(slot, *side, *total, voice, effects);
                }
            }
            Request::Slice(slice) => self.slice(slice, voice, effects),
        }
    }

    fn replace(
        &mut self,
        orig: OrderRef,
        total: Qty,
        incoming: &Incoming,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let side = incoming.order.side;
        let Some(slot) = self.books.find(orig) else {
            effects.push(Effect::Stands { token: incoming.token, leaves_qty: Qty::ZERO, side });
            return;
        };
        let original = *self.books.order(slot);
        let leaves = total.0.saturating_sub(original.executed);
        if leaves == 0 {
            effects.push(Effect::Stands { token: incoming.token, leaves_qty: Qty::ZERO, side });
            return self.cancel(slot, 0, CancelReason::User, voice, effects);
        }
        self.books.remove(slot);
        effects.push(Effect::Gone { token: original.token });
        let order = Accepted { qty: Qty(leaves), ..incoming.order };
        self.enter(&order, original.executed, incoming.token, Some(&original), voice, effects);
    }

    /// An order comes in: its acceptance is said, it trades, and what is left rests or is cancelled.
    fn enter(
        &mut self,
        order: &Accepted,
        executed: u64,
        token: u32,
        original: Option<&Order>,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let buys = order.side.is_buy();
        let limit = order.price.0.cast_unsigned();
        assert!(order.qty.0 > 0);
        assert!(order.price.0 > 0);
        let crosses = self.crosses(order.instrument, buys, limit);
        let rests = order.time_in_force == TimeInForce::Day;
        let killed = if order.options.is_post_only() && crosses {
            Some(CancelReason::PostOnly)
        } else if is_fill_or_kill(order)
            && !self.books.holds(order.instrument, !buys, limit, order.qty.0, self.trades_max)
        {
            Some(CancelReason::Immediate)
        } else {
            None
        };
        let booked = rests && !crosses;
        accept(order, booked, original, voice);

        let mut leaves = order.qty.0;
        if crosses && killed.is_none() {
            leaves = self.trade(order, token, voice, effects);
        }
        let crosses = leaves > 0 && killed.is_none() && self.crosses(order.instrument, buys, limit);
        let rests = rests && killed.is_none() && !crosses && leaves > 0;
        if rests {
            self.books.insert(
                order.instrument,
                Order::new(
                    order.order_ref,
                    order.key,
                    leaves,
                    executed + (order.qty.0 - leaves),
                    limit,
                    token,
                    order.firm,
                    order.options.group.unwrap_or(0),
                    order.side,
                    order.display,
                ),
            );
            if !booked {
                voice.say(EventBody::Rested(Rested {
                    order_ref: order.order_ref,
                    firm: order.firm,
                    instrument: order.instrument,
                    side: order.side,
                    qty: Qty(leaves),
                    price: order.price,
                    display: order.display,
                }));
            }
        } else if leaves > 0 {
            voice.say(EventBody::Canceled(Canceled {
                key: order.key,
                order_ref: order.order_ref,
                instrument: order.instrument,
                qty: Qty(leaves),
                leaves_qty: Qty::ZERO,
                reason: killed.unwrap_or(CancelReason::Immediate),
                displayed: false,
            }));
        }
        // A replacement's hold stands beside its original's until this settles it.
        if !booked || original.is_some() {
            let leaves_qty = if rests { Qty(leaves) } else { Qty::ZERO };
            effects.push(Effect::Stands { token, leaves_qty, side: order.side });
        }
    }

    fn crosses(&self, instrument: InstrumentId, buys: bool, limit: u64) -> bool {
        self.books.best(instrument, !buys).is_some_and(|best| within(best, limit, !buys))
    }

    /// Trades with the other side, best price and oldest order first; what is left is returned.
    fn trade(
        &mut self,
        order: &Accepted,
        token: u32,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) -> u64 {
        let buys = order.side.is_buy();
        let limit = order.price.0.cast_unsigned();
        let mut leaves = order.qty.0;
        let mut trades = 0;
        while leaves > 0 && trades < self.trades_max {
            let Some(slot) = self.books.first(order.instrument, !buys) else { break };
            let resting = self.books.order_mut(slot);
            if !within(resting.price, limit, !buys) {
                break;
            }
            let qty = leaves.min(resting.leaves);
            leaves -= qty;
            resting.executed += qty;
            let match_number = MatchNumber::new(voice.seq(), trades);
            let price = Price(resting.price.cast_signed());
            let executed = |key, order_ref, leaves| Executed { key, order_ref, leaves_qty: Qty(leaves) };
            voice.say(EventBody::Trade(Trade {
                match_number,
                instrument: order.instrument,
                price,
                qty: Qty(qty),
                aggressor_buys: buys,
                resting: executed(resting.key, resting.order_ref, resting.leaves - qty),
                aggressor: executed(order.key, order.order_ref, leaves),
            }));
            effects.push(Effect::Fill {
                match_number,
                instrument: order.instrument,
                price,
                qty: Qty(qty),
                aggressor_buys: buys,
                resting: resting.token,
                aggressor: token,
            });
            self.books.reduce(slot, qty);
            trades += 1;
        }
        leaves
    }

    /// Shrinks a resting order to `leaves`, 0 to take it off.
    fn cancel(
        &mut self,
        slot: u32,
        leaves: u64,
        reason: CancelReason,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let order = self.books.order(slot);
        voice.say(EventBody::Canceled(Canceled {
            key: order.key,
            order_ref: order.order_ref,
            instrument: self.books.instrument(slot),
            qty: Qty(order.leaves - leaves),
            leaves_qty: Qty(leaves),
            reason,
            displayed: true,
        }));
        effects.push(Effect::Stands { token: order.token, leaves_qty: Qty(leaves), side: order.side });
        self.books.reduce(slot, order.leaves - leaves);
    }

    fn modify(
        &mut self,
        slot: u32,
        side: Side,
        total: Qty,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let instrument = self.books.instrument(slot);
        let order = self.books.order_mut(slot);
        assert!(order.side.is_buy() == side.is_buy());
        let leaves = total.0.saturating_sub(order.executed);
        if leaves > order.leaves || (leaves == order.leaves && side == order.side) {
            return;
        }
        if leaves == 0 {
            return self.cancel(slot, 0, CancelReason::User, voice, effects);
        }
        order.side = side;
        let gone = order.leaves - leaves;
        voice.say(EventBody::Modified(Modified {
            key: order.key,
            order_ref: order.order_ref,
            instrument,
            side,
            qty: Qty(gone),
            leaves_qty: Qty(leaves),
        }));
        effects.push(Effect::Stands { token: order.token, leaves_qty: Qty(leaves), side });
        self.books.reduce(slot, gone);
    }

    fn slice(&mut self, slice: &Slice, voice: &mut Voice<'_>, effects: &mut Vec<Effect>) {
        let mut gone = 0;
        let mut more = false;
        'sides: for buys in [true, false] {
            let mut next = self.books.first(slice.instrument, buys);
            while let Some(slot) = next {
                next = self.books.after(slot);
                if !matches(slice, self.books.order(slot)) {
                    continue;
                }
                if gone == SLICE_ORDERS {
                    more = true;
                    break 'sides;
                }
                self.cancel(slot, 0, CancelReason::Supervisory, voice, effects);
                gone += 1;
            }
        }
        effects.push(Effect::Sliced { cause: slice.cause, more });
    }
}

fn accept(order: &Accepted, booked: bool, original: Option<&Order>, voice: &mut Voice<'_>) {
    // Copied whole and changed: a struct update would move it field by field.
    let mut order = *order;
    order.booked = booked;
    match original {
        None => voice.say(EventBody::Accepted(order)),
        Some(original) => voice.say(EventBody::Replaced(Replaced {
            orig_user_ref_num: original.key.num(),
            orig_order_ref: original.order_ref,
            order,
        })),
    }
}

fn is_fill_or_kill(order: &Accepted) -> bool {
    order.time_in_force == TimeInForce::Fok || order.options.min_qty != 0
}

fn matches(slice: &Slice, order: &Order) -> bool {
    order.firm == slice.firm
        && order.order_ref < OrderRef::new(slice.cause, 0)
        && slice.group.is_none_or(|group| group == order.group)
        && slice.side.is_none_or(|side| side == order.side)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{format, string::String, vec::Vec};
    use ironbell_types::{Capacity, ClOrdId, Display, OrderKey, OrderOptions};

    /// Books by themselves, driven by lines: a new Seq each.
    struct Alone {
        matching: Matching,
        seq: u64,
        effects: Vec<Effect>,
    }

    impl Alone {
        fn new(trades_max: u32) -> Self {
            let mut matching = Matching::new(16, 1);
            matching.trades_max = trades_max;
            matching.open_book();
            Self { matching, seq: 0, effects: Vec::new() }
        }

        fn run(&mut self, request: &Request) -> Vec<String> {
            let mut out = Vec::new();
            let mut voice = Voice::new(&mut out, Seq(self.seq), Nanos(0), Stage::Matching);
            self.effects.clear();
            self.matching.apply(request, &mut voice, &mut self.effects);
            self.matching.books.check_invariants();
            out.iter().map(|event| said(&event.body)).collect()
        }

        fn enter(&mut self, side: Side, qty: u64, price: i64, time_in_force: TimeInForce) -> Vec<String> {
            self.seq += 1;
            let incoming = self.incoming(side, qty, price, time_in_force);
            self.run(&Request::Enter(incoming))
        }

        fn incoming(&self, side: Side, qty: u64, price: i64, time_in_force: TimeInForce) -> Incoming {
            let order = Accepted {
                key: OrderKey(self.seq),
                order_ref: OrderRef::new(Seq(self.seq), 0),
                firm: FirmId(1),
                instrument: InstrumentId(1),
                side,
                qty: Qty(qty),
                price: Price(price),
                time_in_force,
                display: Display::Visible,
                capacity: Capacity::Agency,
                cl_ord_id: ClOrdId::default(),
                options: OrderOptions::default(),
                booked: false,
            };
            Incoming { order, token: self.seq as u32 }
        }

        /// Prices with the numbers and leaves of their orders: bids best first | asks best first.
        fn draw(&self) -> String {
            let side = |buys| {
                let orders = self.matching.book(InstrumentId(1)).filter(move |order| order.buys == buys);
                let texts =
                    orders.map(|order| format!("{}:{}@{}", order.key.0, order.leaves_qty, order.price));
                texts.collect::<Vec<_>>().join(" ")
            };
            format!("{} | {}", side(true), side(false))
        }
    }

    fn said(body: &EventBody) -> String {
        match body {
            EventBody::Accepted(order) => format!("accepted {}", if order.booked { "booked" } else { "" }),
            EventBody::Replaced(replaced) => format!("replaced {}", replaced.orig_user_ref_num),
            EventBody::Trade(trade) => format!("trade {}@{}", trade.qty, trade.price),
            EventBody::Canceled(canceled) => format!("canceled {}", canceled.qty),
            other => format!("{other:?}"),
        }
    }

    use Side::{Buy, Sell};
    use TimeInForce::{Day, Fok, Ioc};

    /// A day order that would still trade when its command may make no more trades cannot rest, or
    /// the book would be crossed.
    #[test]
    fn one_command_trades_no_more_than_its_effects_allow() {
        let mut desk = Alone::new(3);
        for price in [101, 101, 101, 102, 102] {
            desk.enter(Sell, 2, price, Day);
        }
        assert_eq!(desk.enter(Buy, 8, 102, Fok), ["accepted ", "canceled 8"]);
        assert_eq!(desk.enter(Buy, 6, 102, Fok), ["accepted ", "trade 2@101", "trade 2@101", "trade 2@101"]);
        for _ in 0..2 {
            desk.enter(Sell, 2, 102, Day);
        }
        let said = desk.enter(Buy, 9, 102, Day);
        assert_eq!(said, ["accepted ", "trade 2@102", "trade 2@102", "trade 2@102", "canceled 3"]);
        assert_eq!(desk.draw(), " | 9:2@102");
    }

    /// A partly filled level counts only the orders it takes.
    #[test]
    fn a_fill_or_kill_counts_the_orders_it_needs_not_the_level() {
        let mut desk = Alone::new(2);
        for _ in 0..4 {
            desk.enter(Sell, 5, 100, Day);
        }
        assert_eq!(desk.enter(Buy, 11, 100, Fok), ["accepted ", "canceled 11"]);
        assert_eq!(desk.enter(Buy, 10, 100, Fok), ["accepted ", "trade 5@100", "trade 5@100"]);
    }

    #[test]
    fn books_work_over_all_of_the_price_range() {
        let mut desk = Alone::new(TRADES_MAX);
        desk.enter(Buy, 1, 1, Day);
        desk.enter(Sell, 1, i64::MAX, Day);
        desk.enter(Buy, 1, 64, Day);
        desk.enter(Sell, 1, 1 << 40, Day);
        desk.enter(Buy, 1, 63, Day);
        assert_eq!(desk.draw(), "3:1@64 5:1@63 1:1@1 | 4:1@1099511627776 2:1@9223372036854775807");
        let said = desk.enter(Buy, 5, i64::MAX, Ioc);
        assert_eq!(said, ["accepted ", "trade 1@1099511627776", "trade 1@9223372036854775807", "canceled 3"]);
        desk.enter(Sell, 9, 1, Ioc);
        assert_eq!(desk.draw(), " | ");
    }

    #[test]
    fn what_names_no_resting_order_does_nothing() {
        let mut desk = Alone::new(TRADES_MAX);
        desk.enter(Buy, 5, 100, Day);
        let gone = OrderRef::new(Seq(77), 0);
        assert!(desk.run(&Request::Cancel { order_ref: gone, total: Qty(0) }).is_empty());
        assert!(desk.run(&Request::Modify { order_ref: gone, side: Buy, total: Qty(1) }).is_empty());
        desk.seq = 78;
        let incoming = desk.incoming(Buy, 5, 100, Day);
        assert!(desk.run(&Request::Replace { orig: gone, total: Qty(5), incoming }).is_empty());
        assert_eq!(desk.effects, [Effect::Stands { token: 78, leaves_qty: Qty(0), side: Buy }]);
        assert_eq!(desk.draw(), "1:5@100 | ");
    }

    #[test]
    fn effects_tell_stage_three_all_it_needs() {
        let mut desk = Alone::new(TRADES_MAX);
        desk.enter(Sell, 5, 100, Day);
        assert!(desk.effects.is_empty(), "a booked order stands as it was admitted");
        desk.enter(Buy, 7, 100, Day);
        let fill = Effect::Fill {
            match_number: MatchNumber::new(Seq(2), 0),
            instrument: InstrumentId(1),
            price: Price(100),
            qty: Qty(5),
            aggressor_buys: true,
            resting: 1,
            aggressor: 2,
        };
        assert_eq!(desk.effects, [fill, Effect::Stands { token: 2, leaves_qty: Qty(2), side: Buy }]);
        desk.seq = 3;
        let incoming = desk.incoming(Buy, 1, 99, Day);
        let request = Request::Replace { orig: OrderRef::new(Seq(2), 0), total: Qty(6), incoming };
        assert_eq!(desk.run(&request), ["replaced 2"]);
        let stands = Effect::Stands { token: 3, leaves_qty: Qty(1), side: Buy };
        assert_eq!(desk.effects, [Effect::Gone { token: 2 }, stands]);
        assert_eq!(desk.draw(), "3:1@99 | ");
    }
}
