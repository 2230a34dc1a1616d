//! What one member knows of its own orders, and the check of every answer against the venue's rules.
//!
//! A session's answers come in the order of its requests. So the requests not yet answered form a
//! queue, and an answer to one of them proves that all before it have been worked off: whatever the
//! rules would have answered by then, and was not heard, is a [`Violation`]. The state of an order
//! follows from its answers alone and is exact at each of them.

use ironbell_types::{Nanos, Symbol};
use ironbell_wire::ouch::Outbound;
use std::collections::VecDeque;

/// What a member asks for. Prices and quantities are those of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// A new order.
    Enter {
        /// Its number.
        user_ref_num: u32,
        /// Which of the flow's instruments, from 0.
        instrument: u16,
        /// Whether it buys.
        is_buy: bool,
        /// How much.
        qty: u32,
        /// The limit.
        price: u64,
        /// Whether what does not trade at once is cancelled.
        is_ioc: bool,
    },
    /// A new order in the place of another.
    Replace {
        /// The order to replace.
        orig_user_ref_num: u32,
        /// The number of what replaces it.
        user_ref_num: u32,
        /// The total of the chain, its executions included.
        qty: u32,
        /// The new limit.
        price: u64,
    },
    /// Less of an order, or nothing.
    Cancel {
        /// The order.
        user_ref_num: u32,
        /// New intended total, executions included; 0 is all that is left.
        qty: u32,
    },
    /// The next usable number, please. Asked last, its answer proves that all else has been worked off.
    Query,
}

/// What an answer was to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A new order was accepted or refused.
    Order,
    /// A replacement was made or refused, or its original cancelled instead.
    Replace,
    /// A cancel was done.
    Cancel,
    /// The next usable number was told.
    Query,
}

/// An answered request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// To what.
    pub answer: Answer,
    /// When the request was meant to be sent.
    pub intended: Nanos,
    /// When it was sent; `None` when it was sent again after a reconnect, so that its latency says nothing.
    pub sent: Option<Nanos>,
}

/// What a message of the venue meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Accepted, replaced, refused, cancelled as asked, or told.
    Answered(Answered),
    /// A part of an order traded; `removed` when it was the aggressor.
    Executed {
        /// Shares.
        qty: u32,
        /// Whether the order was the aggressor.
        removed: bool,
    },
    /// What an immediate-or-cancel order did not trade is gone, or the venue took an order out.
    CanceledUnasked,
    /// Nothing about an order that this table has sent.
    Foreign,
}

/// An answer that the rules do not allow, or one that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

type Checked<T> = Result<T, Violation>;

fn violation<T>(what: String) -> Checked<T> {
    Err(Violation(what))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Sent and not answered.
    Sent,
    Open,
    /// Executed, cancelled or replaced.
    Done,
    Refused,
    /// A replacement whose number was not consumed.
    Unused,
}

/// One order of the member. Quantities count the whole chain of replacements.
#[derive(Clone, Copy, Debug)]
struct Order {
    state: State,
    instrument: u16,
    is_buy: bool,
    is_ioc: bool,
    /// Whether a cancel or replacement of it is under way.
    is_asked: bool,
    price: u64,
    /// Executed and open.
    total: u32,
    executed: u32,
    /// Place in `live`; `u32::MAX` when it is not there.
    live_index: u32,
    match_number: u64,
    /// When what entered or last replaced it was meant to be sent; `None` when it was sent again.
    intended: Option<Nanos>,
}

impl Order {
    const fn leaves(&self) -> u32 {
        self.total - self.executed
    }
}

/// What may be cancelled or replaced: a view of an open order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Live {
    /// Its number.
    pub user_ref_num: u32,
    /// Which of the flow's instruments.
    pub instrument: u16,
    /// Whether it buys.
    pub is_buy: bool,
    /// Executed so far, by the whole chain.
    pub executed: u32,
    /// Open.
    pub leaves: u32,
}

/// How an order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is open, and may be cancelled or replaced.
    Live(Live),
    /// It, or a cancel or replacement of it, is not answered yet.
    UnderWay,
    /// It is executed, cancelled, replaced or refused.
    Over,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    request: Request,
    intended: Nanos,
    sent: Option<Nanos>,
}

/// The orders of one member, by their numbers.
#[derive(Debug)]
pub struct OrderTable {
    /// The number of `orders[0]`.
    first: u32,
    orders: Vec<Order>,
    /// Numbers of open orders with nothing under way on them, in no order.
    live: Vec<u32>,
    pending: VecDeque<Pending>,
    consumed: u32,
    match_number: u64,
    order_reference_number: u64,
    timestamp: u64,
    ioc_open: Option<u32>,
    silent: u64,
    /// Whether an answer to a query from before may still come; see [`Self::is_from_before`].
    may_be_late: bool,
}

impl OrderTable {
    /// A table that numbers its orders from `first`, with room for `capacity` before it grows.
    #[must_use]
    pub fn new(first: u32, capacity: usize) -> Self {
        Self {
            first,
            orders: Vec::with_capacity(capacity),
            live: Vec::with_capacity(capacity.min(4_096)),
            pending: VecDeque::with_capacity(capacity.clamp(64, 65_536)),
            consumed: first.saturating_sub(1),
            match_number: 0,
            order_reference_number: 0,
            timestamp: 0,
            ioc_open: None,
            silent: 0,
            may_be_late: true,
        }
    }

    /// The number of the next order or replacement.
    #[must_use]
    pub fn next_num(&self) -> u32 {
        self.first + self.orders.len() as u32
    }

    /// How many orders may be cancelled or replaced.
    #[must_use]
    pub fn live_count(&self) -> usize {
        self.live.len()
    }

    /// How many requests have not been answered.
    #[must_use]
    pub fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// How many cancels and replacements the rules left without an answer, their order being done.
    #[must_use]
    pub const fn silent_count(&self) -> u64 {
        self.silent
    }

    /// The `index`-th of the orders that may be cancelled or replaced. The index of an order changes.
    #[must_use]
    pub fn live(&self, index: usize) -> Live {
        let user_ref_num = self.live[index];
        let order = &self.orders[(user_ref_num - self.first) as usize];
        let (executed, leaves) = (order.executed, order.leaves());
        Live { user_ref_num, instrument: order.instrument, is_buy: order.is_buy, executed, leaves }
    }

    /// An order that may be cancelled or replaced, by its number; `None` when it may not, or no longer.
    #[must_use]
    pub fn find(&self, user_ref_num: u32) -> Option<Live> {
        let order = self.orders.get(user_ref_num.checked_sub(self.first)? as usize)?;
        (order.live_index != u32::MAX).then(|| self.live(order.live_index as usize))
    }

    /// How an order that was sent is by now.
    #[must_use]
    pub fn fate(&self, user_ref_num: u32) -> Fate {
        if let Some(live) = self.find(user_ref_num) {
            return Fate::Live(live);
        }
        let place = user_ref_num.checked_sub(self.first).map(|place| place as usize);
        match place.and_then(|place| self.orders.get(place)).map(|order| order.state) {
            Some(State::Sent | State::Open) => Fate::UnderWay,
            _ => Fate::Over,
        }
    }

    /// How many orders and replacements were sent.
    #[must_use]
    pub fn sent_count(&self) -> usize {
        self.orders.len()
    }

    /// The limit of an order that was sent.
    #[must_use]
    pub fn price(&self, user_ref_num: u32) -> Option<u64> {
        Some(self.orders.get(user_ref_num.checked_sub(self.first)? as usize)?.price)
    }

    /// Which of the flow's instruments an order that was sent is for.
    #[must_use]
    pub fn instrument(&self, user_ref_num: u32) -> Option<u16> {
        Some(self.orders.get(user_ref_num.checked_sub(self.first)? as usize)?.instrument)
    }

    /// When an order, or what last replaced it, was meant to be sent; `None` when its latency says nothing.
    #[must_use]
    pub fn intended(&self, user_ref_num: u32) -> Option<Nanos> {
        self.orders.get(user_ref_num.checked_sub(self.first)? as usize)?.intended
    }

    /// Every request not yet answered, oldest first. After a reconnect all are to be sent again, in
    /// this order: what the venue had got before has no second effect. Their latencies no longer count.
    pub fn send_again(&mut self) -> impl Iterator<Item = Request> + '_ {
        let Self { pending, orders, first, .. } = self;
        pending.iter_mut().map(|pending| {
            pending.sent = None;
            if let Request::Enter { user_ref_num, .. } | Request::Replace { user_ref_num, .. } =
                pending.request
                && let Some(order) = orders.get_mut((user_ref_num - *first) as usize)
            {
                order.intended = None;
            }
            pending.request
        })
    }

    /// A request goes out. Panics when it is not one this table could have offered.
    pub fn sent(&mut self, request: Request, intended: Nanos, sent: Nanos) {
        match request {
            Request::Enter { user_ref_num, instrument, is_buy, qty, price, is_ioc } => {
                assert_eq!(user_ref_num, self.next_num());
                self.orders.push(Order {
                    state: State::Sent,
                    instrument,
                    is_buy,
                    is_ioc,
                    is_asked: false,
                    price,
                    total: qty,
                    executed: 0,
                    live_index: u32::MAX,
                    match_number: 0,
                    intended: Some(intended),
                });
            }
            Request::Replace { orig_user_ref_num, user_ref_num, qty, price } => {
                assert_eq!(user_ref_num, self.next_num());
                self.ask(orig_user_ref_num);
                let orig = self.orders[(orig_user_ref_num - self.first) as usize];
                self.orders.push(Order {
                    state: State::Sent,
                    price,
                    total: qty,
                    live_index: u32::MAX,
                    is_asked: false,
                    intended: Some(intended),
                    ..orig
                });
            }
            Request::Cancel { user_ref_num, .. } => self.ask(user_ref_num),
            Request::Query => {}
        }
        self.pending.push_back(Pending { request, intended, sent: Some(sent) });
    }

    /// Takes in one sequenced message.
    ///
    /// # Errors
    /// The venue broke its rules. The table goes on with what can be made of it.
    pub fn heard(&mut self, message: &Outbound<'_>, symbols: &[Symbol]) -> Checked<Heard> {
        match message {
            Outbound::OrderAccepted(told, _) => {
                let num = told.user_ref_num.get();
                if self.is_foreign(num) {
                    return Ok(Heard::Foreign);
                }
                let answered = self.answer(
                    Answer::Order,
                    |request| matches!(request, Request::Enter { user_ref_num, .. } if *user_ref_num == num),
                )?;
                self.in_time(told.timestamp.get())?;
                self.consume(num);
                let order = self.order(num)?;
                let asked = (order.total, order.price, order.is_buy, if order.is_ioc { b'3' } else { b'0' });
                let answer = (told.quantity.get(), told.price.get(), told.side == b'B', told.time_in_force);
                if asked != answer || told.symbol != symbols[usize::from(order.instrument)].0 {
                    return violation(format!("order {num} was accepted as another one: {told:?}"));
                }
                self.opens(num, told.order_reference_number.get())?;
                Ok(Heard::Answered(answered))
            }
            Outbound::OrderReplaced(told, _) => {
                let (orig, num) = (told.orig_user_ref_num.get(), told.user_ref_num.get());
                if self.is_foreign(num) {
                    return Ok(Heard::Foreign);
                }
                let answered = self.answer(Answer::Replace, |request| {
                    matches!(request, Request::Replace { orig_user_ref_num, user_ref_num, .. }
                        if (*orig_user_ref_num, *user_ref_num) == (orig, num))
                })?;
                self.in_time(told.timestamp.get())?;
                self.consume(num);
                let executed = self.open(orig)?.executed;
                self.close(orig, State::Done);
                let order = self.order(num)?;
                order.executed = executed;
                let leaves = order.total.saturating_sub(executed);
                let right = leaves > 0 && leaves == told.quantity.get() && order.price == told.price.get();
                if !right || (told.side == b'B') != order.is_buy {
                    order.total = order.total.max(executed);
                    return violation(format!(
                        "order {orig} was replaced by another than asked for: {told:?}"
                    ));
                }
                self.opens(num, told.order_reference_number.get())?;
                Ok(Heard::Answered(answered))
            }
            Outbound::OrderCanceled(told, _) => {
                let (num, qty) = (told.user_ref_num.get(), told.quantity.get());
                if self.is_foreign(num) {
                    return Ok(Heard::Foreign);
                }
                self.in_time(told.timestamp.get())?;
                let order = *self.open(num)?;
                if qty == 0 || qty > order.leaves() {
                    return violation(format!("order {num} of {} open lost {qty}", order.leaves()));
                }
                match told.reason {
                    b'U' => self.canceled_as_asked(num, qty, order),
                    b'I' if !order.is_ioc || qty != order.leaves() => {
                        violation(format!("order {num} lost {qty} of {} as immediate", order.leaves()))
                    }
                    _ => {
                        self.reduce(num, qty);
                        Ok(Heard::CanceledUnasked)
                    }
                }
            }
            Outbound::OrderExecuted(told, _) => {
                let num = told.user_ref_num.get();
                if self.is_foreign(num) {
                    return Ok(Heard::Foreign);
                }
                self.in_time(told.timestamp.get())?;
                self.executed(
                    num,
                    told.quantity.get(),
                    told.price.get(),
                    told.liquidity_flag,
                    told.match_number.get(),
                )
            }
            Outbound::Rejected(told, _) => {
                let num = told.user_ref_num.get();
                if self.is_foreign(num) {
                    return Ok(Heard::Foreign);
                }
                let names = |request: &Request| {
                    matches!(request, Request::Enter { user_ref_num, .. } | Request::Replace { user_ref_num, .. }
                        if *user_ref_num == num)
                };
                let asked = self.pending.iter().map(|pending| pending.request).find(names);
                let answer = match asked {
                    Some(Request::Replace { .. }) => Answer::Replace,
                    _ => Answer::Order,
                };
                let answered = self.answer(answer, names)?;
                if let Some(Request::Replace { orig_user_ref_num, .. }) = asked {
                    self.unask(orig_user_ref_num);
                }
                self.in_time(told.timestamp.get())?;
                self.consume(num);
                let order = self.order(num)?;
                if order.state != State::Sent {
                    return violation(format!("order {num} was answered twice"));
                }
                order.state = State::Refused;
                Ok(Heard::Answered(answered))
            }
            Outbound::AccountQueryResponse(told, _) => {
                if self.is_from_before(told.next_user_ref_num.get()) {
                    return Ok(Heard::Foreign);
                }
                let answered = self.answer(Answer::Query, |request| *request == Request::Query)?;
                if told.next_user_ref_num.get() != self.consumed + 1 {
                    let next = told.next_user_ref_num.get();
                    return violation(format!(
                        "the next number is {next}, the last consumed {}",
                        self.consumed
                    ));
                }
                Ok(Heard::Answered(answered))
            }
            _ => Ok(Heard::Foreign),
        }
    }

    /// Who logs in at the most recent message hears that first, and it may be the answer to a query of an earlier run. Whoever asked
    /// for the first number then took it for his own, and his own comes while nothing else was answered: once.
    fn is_from_before(&mut self, next: u32) -> bool {
        let nothing_answered = next == self.first && self.consumed + 1 == self.first;
        let asked = self.pending.iter().any(|pending| pending.request == Request::Query);
        nothing_answered && !asked && std::mem::take(&mut self.may_be_late)
    }

    fn is_foreign(&self, num: u32) -> bool {
        num < self.first
    }

    fn order(&mut self, num: u32) -> Checked<&mut Order> {
        let index = num.wrapping_sub(self.first) as usize;
        self.orders.get_mut(index).ok_or_else(|| Violation(format!("order {num} was never sent")))
    }

    fn open(&mut self, num: u32) -> Checked<&mut Order> {
        let order = self.order(num)?;
        if order.state == State::Open {
            return Ok(order);
        }
        violation(format!("order {num} is {:?}, not open", order.state))
    }

    /// Takes the first matching request off the queue. All before it are worked off without an
    /// answer, which only cancels and replacements of orders that are done may be.
    fn answer(&mut self, answer: Answer, matching: impl Fn(&Request) -> bool) -> Checked<Answered> {
        let Some(index) = self.pending.iter().position(|pending| matching(&pending.request)) else {
            return violation(format!("an answer ({answer:?}) to nothing that was asked"));
        };
        let mut fault = Ok(());
        for _ in 0..index {
            if let Some(skipped) = self.pending.pop_front() {
                fault = fault.and(self.silent(&skipped.request));
            }
        }
        let Some(pending) = self.pending.pop_front() else { unreachable!("its index was just found") };
        if let Some(num) = self.ioc_open.take() {
            return violation(format!(
                "immediate order {num} is still open when the next request is answered"
            ));
        }
        fault?;
        Ok(Answered { answer, intended: pending.intended, sent: pending.sent })
    }

    fn silent(&mut self, request: &Request) -> Checked<()> {
        self.silent += 1;
        let (num, kind) = match *request {
            Request::Cancel { user_ref_num, .. } => (user_ref_num, "cancel"),
            Request::Replace { orig_user_ref_num, user_ref_num, .. } => {
                self.order(user_ref_num)?.state = State::Unused;
                (orig_user_ref_num, "replacement")
            }
            Request::Enter { user_ref_num, .. } => {
                return violation(format!("order {user_ref_num} was never answered"));
            }
            Request::Query => return violation("an account query was never answered".to_owned()),
        };
        let still_open = self.order(num)?.state == State::Open;
        self.unask(num);
        if still_open {
            violation(format!("a {kind} of open order {num} was never answered"))
        } else {
            Ok(())
        }
    }

    fn in_time(&mut self, timestamp: u64) -> Checked<()> {
        let before = std::mem::replace(&mut self.timestamp, timestamp);
        if timestamp < before {
            return violation(format!("time went back from {before} to {timestamp}"));
        }
        Ok(())
    }

    fn consume(&mut self, num: u32) {
        self.consumed = self.consumed.max(num);
    }

    fn opens(&mut self, num: u32, order_reference_number: u64) -> Checked<()> {
        let order = self.order(num)?;
        if order.state != State::Sent {
            return violation(format!("order {num} was answered twice"));
        }
        order.state = State::Open;
        if order.is_ioc {
            self.ioc_open = Some(num);
        } else {
            self.list(num);
        }
        let before = std::mem::replace(&mut self.order_reference_number, order_reference_number);
        if order_reference_number <= before {
            return violation(format!("order {num} has reference {order_reference_number} after {before}"));
        }
        Ok(())
    }

    fn canceled_as_asked(&mut self, num: u32, qty: u32, order: Order) -> Checked<Heard> {
        let mut asked = Request::Query;
        for pending in &self.pending {
            match pending.request {
                Request::Cancel { user_ref_num: named, .. }
                | Request::Replace { orig_user_ref_num: named, .. }
                    if named == num =>
                {
                    asked = pending.request;
                    break;
                }
                _ => {}
            }
        }
        let expected = match asked {
            Request::Cancel { qty: total, .. } => {
                order.leaves().saturating_sub(total.saturating_sub(order.executed))
            }
            Request::Replace { user_ref_num, qty: total, .. } if total <= order.executed => {
                self.order(user_ref_num)?.state = State::Unused;
                order.leaves()
            }
            _ => return violation(format!("order {num} lost {qty} as if the member had asked for it")),
        };
        let answer = if matches!(asked, Request::Cancel { .. }) { Answer::Cancel } else { Answer::Replace };
        let answered = self.answer(answer, |request| *request == asked)?;
        self.reduce(num, qty);
        self.unask(num);
        if qty != expected {
            return violation(format!("order {num} lost {qty} where {asked:?} takes {expected}"));
        }
        Ok(Heard::Answered(answered))
    }

    fn executed(
        &mut self,
        num: u32,
        qty: u32,
        price: u64,
        liquidity_flag: u8,
        match_number: u64,
    ) -> Checked<Heard> {
        let latest = self.match_number;
        let order = self.open(num)?;
        let removed = liquidity_flag == b'R';
        let within = if order.is_buy { price <= order.price } else { price >= order.price };
        if qty == 0 || qty > order.leaves() {
            return violation(format!("order {num} of {} open executed {qty}", order.leaves()));
        }
        if !within || (!removed && price != order.price) {
            let limit = order.price;
            return violation(format!(
                "order {num} at {limit} executed at {price} ({})",
                liquidity_flag as char
            ));
        }
        if !removed && (liquidity_flag != b'A' || order.is_ioc) {
            return violation(format!("order {num} executed with flag {}", liquidity_flag as char));
        }
        if match_number < latest || match_number <= order.match_number {
            return violation(format!(
                "order {num} executed twice, or late: match {match_number} after {latest}"
            ));
        }
        order.match_number = match_number;
        order.executed += qty;
        if order.leaves() == 0 {
            self.close(num, State::Done);
        }
        self.match_number = match_number;
        Ok(Heard::Executed { qty, removed })
    }

    fn reduce(&mut self, num: u32, qty: u32) {
        let order = &mut self.orders[(num - self.first) as usize];
        order.total -= qty;
        if order.leaves() == 0 {
            self.close(num, State::Done);
        }
    }

    fn close(&mut self, num: u32, state: State) {
        self.orders[(num - self.first) as usize].state = state;
        self.unlist(num);
        if self.ioc_open == Some(num) {
            self.ioc_open = None;
        }
    }

    fn ask(&mut self, num: u32) {
        self.orders[(num - self.first) as usize].is_asked = true;
        self.unlist(num);
    }

    fn unask(&mut self, num: u32) {
        let Some(order) = self.orders.get_mut(num.wrapping_sub(self.first) as usize) else { return };
        order.is_asked = false;
        if order.state == State::Open {
            self.list(num);
        }
    }

    fn list(&mut self, num: u32) {
        let order = &mut self.orders[(num - self.first) as usize];
        if order.live_index == u32::MAX && !order.is_asked {
            order.live_index = self.live.len() as u32;
            self.live.push(num);
        }
    }

    fn unlist(&mut self, num: u32) {
        let order = &mut self.orders[(num - self.first) as usize];
        let index = std::mem::replace(&mut order.live_index, u32::MAX);
        if index == u32::MAX {
            return;
        }
        self.live.swap_remove(index as usize);
        if let Some(&moved) = self.live.get(index as usize) {
            self.orders[(moved - self.first) as usize].live_index = index;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbell_wire::ouch;
    use ironbell_wire::{Type, U16, U32, U64};

    const SYMBOLS: [Symbol; 1] = [Symbol(*b"AAA     ")];

    /// A table and a clock for timestamps and reference numbers.
    struct Told {
        table: OrderTable,
        ticks: u64,
    }

    impl Told {
        fn new(first: u32) -> Self {
            Self { table: OrderTable::new(first, 0), ticks: 0 }
        }

        fn tick(&mut self) -> U64 {
            self.ticks += 1;
            U64::new(self.ticks)
        }

        fn enter(&mut self, qty: u32, is_ioc: bool) -> u32 {
            let user_ref_num = self.table.next_num();
            let request =
                Request::Enter { user_ref_num, instrument: 0, is_buy: true, qty, price: 500, is_ioc };
            self.table.sent(request, Nanos(1), Nanos(2));
            user_ref_num
        }

        fn replace(&mut self, orig_user_ref_num: u32, qty: u32) -> u32 {
            let user_ref_num = self.table.next_num();
            let request = Request::Replace { orig_user_ref_num, user_ref_num, qty, price: 400 };
            self.table.sent(request, Nanos(1), Nanos(2));
            user_ref_num
        }

        fn ask(&mut self, request: Request) {
            self.table.sent(request, Nanos(1), Nanos(2));
        }

        fn accepted(&mut self, num: u32, qty: u32, is_ioc: bool) -> Checked<Heard> {
            let message = ouch::OrderAccepted {
                message_type: Type::new(),
                timestamp: self.tick(),
                user_ref_num: U32::new(num),
                side: b'B',
                quantity: U32::new(qty),
                symbol: SYMBOLS[0].0,
                price: U64::new(500),
                time_in_force: if is_ioc { b'3' } else { b'0' },
                display: b'Y',
                order_reference_number: self.tick(),
                capacity: b'A',
                inter_market_sweep: b'N',
                cross_type: b'N',
                order_state: b'L',
                cl_ord_id: [b' '; 14],
            };
            self.table.heard(&Outbound::OrderAccepted(&message, ouch::Options::default()), &SYMBOLS)
        }

        fn replaced(&mut self, orig: u32, num: u32, qty: u32) -> Checked<Heard> {
            let message = ouch::OrderReplaced {
                message_type: Type::new(),
                timestamp: self.tick(),
                orig_user_ref_num: U32::new(orig),
                user_ref_num: U32::new(num),
                side: b'B',
                quantity: U32::new(qty),
                symbol: SYMBOLS[0].0,
                price: U64::new(400),
                time_in_force: b'0',
                display: b'Y',
                order_reference_number: self.tick(),
                capacity: b'A',
                inter_market_sweep: b'N',
                cross_type: b'N',
                order_state: b'L',
                cl_ord_id: [b' '; 14],
            };
            self.table.heard(&Outbound::OrderReplaced(&message, ouch::Options::default()), &SYMBOLS)
        }

        fn canceled(&mut self, num: u32, qty: u32, reason: u8) -> Checked<Heard> {
            let (timestamp, user_ref_num, quantity) = (self.tick(), U32::new(num), U32::new(qty));
            let message =
                ouch::OrderCanceled { message_type: Type::new(), timestamp, user_ref_num, quantity, reason };
            self.table.heard(&Outbound::OrderCanceled(&message, ouch::Options::default()), &SYMBOLS)
        }

        fn executed(&mut self, num: u32, qty: u32, price: u64, liquidity_flag: u8) -> Checked<Heard> {
            let message = ouch::OrderExecuted {
                message_type: Type::new(),
                timestamp: self.tick(),
                user_ref_num: U32::new(num),
                quantity: U32::new(qty),
                price: U64::new(price),
                liquidity_flag,
                match_number: self.tick(),
            };
            self.table.heard(&Outbound::OrderExecuted(&message, ouch::Options::default()), &SYMBOLS)
        }

        fn rejected(&mut self, num: u32) -> Checked<Heard> {
            let message = ouch::Rejected {
                message_type: Type::new(),
                timestamp: self.tick(),
                user_ref_num: U32::new(num),
                reason: U16::new(0x31),
                cl_ord_id: [b' '; 14],
            };
            self.table.heard(&Outbound::Rejected(&message, ouch::Options::default()), &SYMBOLS)
        }

        fn next_is(&mut self, num: u32) -> Checked<Heard> {
            self.ask(Request::Query);
            self.next_is_unasked(num)
        }

        fn next_is_unasked(&mut self, num: u32) -> Checked<Heard> {
            let message = ouch::AccountQueryResponse {
                message_type: Type::new(),
                timestamp: self.tick(),
                next_user_ref_num: U32::new(num),
            };
            self.table.heard(&Outbound::AccountQueryResponse(&message, ouch::Options::default()), &SYMBOLS)
        }
    }

    fn answer(heard: Checked<Heard>) -> Answer {
        match heard {
            Ok(Heard::Answered(answered)) => answered.answer,
            other => panic!("{other:?}"),
        }
    }

    fn fault(heard: Checked<Heard>, what: &str) {
        let Violation(told) = heard.unwrap_err();
        assert!(told.contains(what), "{told} does not say {what}");
    }

    #[test]
    fn an_order_lives_through_a_chain_of_replacements() {
        let mut told = Told::new(1);
        let first = told.enter(100, false);
        assert_eq!(answer(told.accepted(first, 100, false)), Answer::Order);
        assert_eq!(told.executed(first, 30, 500, b'A'), Ok(Heard::Executed { qty: 30, removed: false }));
        let second = told.replace(first, 80);
        assert_eq!(told.table.live_count(), 0, "what is being replaced is left alone");
        assert_eq!(answer(told.replaced(first, second, 50)), Answer::Replace);
        assert_eq!(
            told.table.live(0),
            Live { user_ref_num: second, instrument: 0, is_buy: true, executed: 30, leaves: 50 }
        );
        told.ask(Request::Cancel { user_ref_num: second, qty: 40 });
        assert_eq!(answer(told.canceled(second, 40, b'U')), Answer::Cancel);
        assert_eq!((told.table.live(0).executed, told.table.live(0).leaves), (30, 10));
        assert_eq!(told.executed(second, 10, 400, b'A'), Ok(Heard::Executed { qty: 10, removed: false }));
        assert_eq!(told.table.live_count(), 0);
        fault(told.executed(second, 1, 400, b'A'), "is Done");
        assert_eq!(answer(told.next_is(3)), Answer::Query);
    }

    /// The replacement's total was executed while it was under way: the original is cancelled, the
    /// replacement's number is not consumed.
    #[test]
    fn a_replacement_of_what_is_executed_cancels_the_original() {
        let mut told = Told::new(1);
        let first = told.enter(100, false);
        told.accepted(first, 100, false).unwrap();
        let second = told.replace(first, 60);
        told.executed(first, 60, 500, b'A').unwrap();
        assert_eq!(answer(told.canceled(first, 40, b'U')), Answer::Replace);
        assert_eq!(answer(told.next_is(first + 1)), Answer::Query);
        fault(told.executed(second, 1, 400, b'A'), "is Unused");
    }

    #[test]
    fn a_refused_replacement_leaves_the_original_standing() {
        let mut told = Told::new(1);
        let first = told.enter(100, false);
        told.accepted(first, 100, false).unwrap();
        let second = told.replace(first, 500);
        assert_eq!(answer(told.rejected(second)), Answer::Replace);
        assert_eq!(told.table.live(0).user_ref_num, first);
        assert_eq!(answer(told.next_is(second + 1)), Answer::Query);
        fault(told.rejected(second), "nothing that was asked");
    }

    #[test]
    fn the_answer_to_a_query_of_an_earlier_run_is_let_be_once_and_first() {
        let mut told = Told::new(8);
        fault(told.next_is_unasked(7), "nothing that was asked");
        assert_eq!(told.next_is_unasked(8), Ok(Heard::Foreign));
        fault(told.next_is_unasked(8), "nothing that was asked");
        let mut told = Told::new(1);
        let first = told.enter(100, false);
        told.accepted(first, 100, false).unwrap();
        fault(told.next_is_unasked(2), "nothing that was asked");
    }

    #[test]
    fn silence_is_right_for_orders_that_are_done_and_wrong_for_open_ones() {
        let mut told = Told::new(1);
        let (first, second) = (told.enter(10, false), told.enter(10, false));
        told.accepted(first, 10, false).unwrap();
        told.accepted(second, 10, false).unwrap();
        told.ask(Request::Cancel { user_ref_num: first, qty: 0 });
        let third = told.replace(second, 20);
        told.executed(first, 10, 500, b'A').unwrap();
        told.executed(second, 10, 500, b'A').unwrap();
        assert_eq!(answer(told.next_is(3)), Answer::Query);
        assert_eq!((told.table.silent_count(), told.table.pending_count()), (2, 0));
        fault(told.replaced(second, third, 10), "nothing that was asked");
        let fourth = told.enter(10, false);
        told.accepted(fourth, 10, false).unwrap();
        told.ask(Request::Cancel { user_ref_num: fourth, qty: 0 });
        fault(told.next_is(5), "a cancel of open order 4 was never answered");
        told.enter(10, false);
        fault(told.next_is(5), "order 5 was never answered");
    }

    #[test]
    fn an_immediate_order_leaves_nothing_behind() {
        let mut told = Told::new(1);
        let first = told.enter(10, true);
        told.accepted(first, 10, true).unwrap();
        assert_eq!(told.executed(first, 4, 499, b'R'), Ok(Heard::Executed { qty: 4, removed: true }));
        fault(told.canceled(first, 5, b'I'), "lost 5 of 6 as immediate");
        assert_eq!(told.canceled(first, 6, b'I'), Ok(Heard::CanceledUnasked));
        let second = told.enter(10, true);
        told.accepted(second, 10, true).unwrap();
        fault(told.next_is(3), "immediate order 2 is still open");
    }

    #[test]
    fn executions_keep_to_the_limit_and_to_their_flag() {
        let mut told = Told::new(1);
        let first = told.enter(10, false);
        told.accepted(first, 10, false).unwrap();
        fault(told.executed(first, 1, 501, b'R'), "executed at 501");
        fault(told.executed(first, 1, 499, b'A'), "executed at 499");
        fault(told.executed(first, 11, 500, b'A'), "of 10 open executed 11");
        fault(told.executed(first, 1, 500, b'm'), "executed");
        fault(told.canceled(first, 1, b'U'), "as if the member had asked");
        fault(told.canceled(first, 1, b'I'), "as immediate");
        assert_eq!(told.canceled(first, 3, b'S'), Ok(Heard::CanceledUnasked));
        fault(told.executed(9, 1, 500, b'A'), "never sent");
    }

    #[test]
    fn what_happened_before_the_table_began_is_foreign() {
        let mut told = Told::new(8);
        assert_eq!(told.accepted(7, 10, false), Ok(Heard::Foreign));
        assert_eq!(told.executed(7, 10, 500, b'A'), Ok(Heard::Foreign));
        assert_eq!(told.canceled(1, 10, b'U'), Ok(Heard::Foreign));
        assert_eq!(told.enter(10, false), 8);
        assert_eq!(answer(told.accepted(8, 10, false)), Answer::Order);
    }
}
