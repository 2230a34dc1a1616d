//! A small exchange for tests: the member-facing rules over sorted maps, one request at a time, and
//! faults that can be planted one by one. It knows nothing of how the load checks.

use ironbell_types::{Reject, Symbol};
use ironbell_wire::ouch::{self, Inbound, OuchMessage};
use ironbell_wire::{Type, U16, U32, U64};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Orders of this size are refused, so that refusals occur.
const QTY_REFUSED: u32 = 13;

/// What the exchange does wrong, once, at its hundredth opportunity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    AcceptTwice,
    AcceptMissing,
    AcceptAnotherPrice,
    AcceptAnotherSymbol,
    CancelTooLittle,
    CancelMissing,
    CancelUnasked,
    ExecuteTwice,
    ExecuteTooMuch,
    ExecuteWorse,
    ExecutionMissing,
    ResidueMissing,
    ReplaceTooMuch,
    ReplaceMissing,
    NextNumberWrong,
    TimeGoesBack,
    ReferenceRepeated,
}

impl Fault {
    pub const ALL: [Self; 17] = [
        Self::AcceptTwice,
        Self::AcceptMissing,
        Self::AcceptAnotherPrice,
        Self::AcceptAnotherSymbol,
        Self::CancelTooLittle,
        Self::CancelMissing,
        Self::CancelUnasked,
        Self::ExecuteTwice,
        Self::ExecuteTooMuch,
        Self::ExecuteWorse,
        Self::ExecutionMissing,
        Self::ResidueMissing,
        Self::ReplaceTooMuch,
        Self::ReplaceMissing,
        Self::NextNumberWrong,
        Self::TimeGoesBack,
        Self::ReferenceRepeated,
    ];
}

type Key = (usize, u32);

#[derive(Clone, Copy, Debug)]
struct Order {
    symbol: [u8; 8],
    is_buy: bool,
    price: u64,
    total: u32,
    executed: u32,
}

#[derive(Debug, Default)]
struct Book {
    bids: BTreeMap<u64, VecDeque<Key>>,
    asks: BTreeMap<u64, VecDeque<Key>>,
}

#[derive(Debug)]
pub struct PaperExchange {
    pub told: Vec<Vec<Vec<u8>>>,
    last_nums: Vec<u32>,
    orders: HashMap<Key, Order>,
    books: HashMap<[u8; 8], Book>,
    seq: u64,
    fault: Fault,
    opportunities: u32,
    /// Whether the fault has happened.
    pub has_erred: bool,
}

impl PaperExchange {
    pub fn new(members: usize, symbols: &[Symbol], fault: Fault) -> Self {
        Self {
            told: vec![Vec::new(); members],
            last_nums: vec![0; members],
            orders: HashMap::new(),
            books: symbols.iter().map(|symbol| (symbol.0, Book::default())).collect(),
            seq: 0,
            fault,
            opportunities: 0,
            has_erred: false,
        }
    }

    fn err(&mut self, fault: Fault) -> bool {
        self.opportunities += u32::from(self.fault == fault);
        let errs = self.fault == fault && !self.has_erred && self.opportunities >= 100;
        self.has_erred |= errs;
        errs
    }

    fn tell<M: OuchMessage>(&mut self, member: usize, message: &M) {
        let mut bytes = message.as_bytes().to_vec();
        if M::APPENDAGE == ouch::Appendage::Required {
            bytes.extend([0, 0]);
        }
        self.told[member].push(bytes);
    }

    fn timestamp(&mut self) -> U64 {
        let errs = self.seq > 10 && self.err(Fault::TimeGoesBack);
        U64::new(if errs { 1 } else { self.seq * 10 })
    }

    /// One request of a member; the answers stand in `told`.
    pub fn handle(&mut self, member: usize, bytes: &[u8]) {
        self.seq += 1;
        match Inbound::parse(bytes).unwrap() {
            Inbound::EnterOrder(asked, _) => self.enter(member, asked),
            Inbound::ReplaceOrder(asked, _) => self.replace(member, asked),
            Inbound::CancelOrder(asked, _) => {
                if !self.err(Fault::CancelMissing) {
                    self.cancel(member, asked.user_ref_num.get(), asked.quantity.get());
                }
            }
            Inbound::AccountQuery(..) => {
                self.opportunities = 100;
                let wrong = u32::from(self.err(Fault::NextNumberWrong));
                let next_user_ref_num = U32::new(self.last_nums[member] + 1 + wrong);
                let timestamp = self.timestamp();
                let message =
                    ouch::AccountQueryResponse { message_type: Type::new(), timestamp, next_user_ref_num };
                self.tell(member, &message);
            }
            other => panic!("{other:?} is not asked by this load"),
        }
    }

    fn refuse(&mut self, member: usize, num: u32) {
        let timestamp = self.timestamp();
        self.tell(
            member,
            &ouch::Rejected {
                message_type: Type::new(),
                timestamp,
                user_ref_num: U32::new(num),
                reason: U16::new(Reject::MaxQuantity.code()),
                cl_ord_id: [b' '; 14],
            },
        );
    }

    fn enter(&mut self, member: usize, asked: &ouch::EnterOrder) {
        let num = asked.user_ref_num.get();
        if num <= self.last_nums[member] {
            return;
        }
        self.last_nums[member] = num;
        if asked.quantity.get() == QTY_REFUSED {
            return self.refuse(member, num);
        }
        let mut accepted = ouch::OrderAccepted {
            message_type: Type::new(),
            timestamp: self.timestamp(),
            user_ref_num: asked.user_ref_num,
            side: asked.side,
            quantity: asked.quantity,
            symbol: asked.symbol,
            price: asked.price,
            time_in_force: asked.time_in_force,
            display: asked.display,
            order_reference_number: U64::new(self.seq << 20),
            capacity: asked.capacity,
            inter_market_sweep: b'N',
            cross_type: b'N',
            order_state: b'L',
            cl_ord_id: asked.cl_ord_id,
        };
        if self.err(Fault::AcceptAnotherPrice) {
            accepted.price = U64::new(asked.price.get() + 1);
        }
        if self.err(Fault::AcceptAnotherSymbol) {
            accepted.symbol = *b"OTHER   ";
        }
        if self.err(Fault::ReferenceRepeated) {
            accepted.order_reference_number = U64::new(1);
        }
        if !self.err(Fault::AcceptMissing) {
            self.tell(member, &accepted);
        }
        if self.err(Fault::AcceptTwice) {
            self.tell(member, &accepted);
        }
        let order = Order {
            symbol: asked.symbol,
            is_buy: asked.side == b'B',
            price: asked.price.get(),
            total: asked.quantity.get(),
            executed: 0,
        };
        self.arrive((member, num), order, asked.time_in_force == b'3');
    }

    fn replace(&mut self, member: usize, asked: &ouch::ReplaceOrder) {
        let (orig, num) = (asked.orig_user_ref_num.get(), asked.user_ref_num.get());
        if num <= self.last_nums[member] || self.err(Fault::ReplaceMissing) {
            return;
        }
        let Some(&order) = self.orders.get(&(member, orig)) else { return };
        let total = asked.quantity.get();
        if total <= order.executed {
            return self.cancel(member, orig, 0);
        }
        self.last_nums[member] = num;
        if total - order.executed == QTY_REFUSED {
            return self.refuse(member, num);
        }
        self.remove((member, orig));
        let wrong = u32::from(self.err(Fault::ReplaceTooMuch));
        let timestamp = self.timestamp();
        self.tell(
            member,
            &ouch::OrderReplaced {
                message_type: Type::new(),
                timestamp,
                orig_user_ref_num: asked.orig_user_ref_num,
                user_ref_num: asked.user_ref_num,
                side: if order.is_buy { b'B' } else { b'S' },
                quantity: U32::new(total - order.executed + wrong),
                symbol: order.symbol,
                price: asked.price,
                time_in_force: asked.time_in_force,
                display: asked.display,
                order_reference_number: U64::new(self.seq << 20),
                capacity: b'A',
                inter_market_sweep: b'N',
                cross_type: b'N',
                order_state: b'L',
                cl_ord_id: asked.cl_ord_id,
            },
        );
        self.arrive((member, num), Order { price: asked.price.get(), total, ..order }, false);
    }

    fn cancel(&mut self, member: usize, num: u32, total: u32) {
        let Some(order) = self.orders.get_mut(&(member, num)) else { return };
        let leaves = order.total - order.executed;
        let cut = leaves.saturating_sub(total.saturating_sub(order.executed));
        if cut == 0 {
            return;
        }
        order.total -= cut;
        if order.total == order.executed {
            self.remove((member, num));
        }
        let wrong = u32::from(cut > 1 && self.err(Fault::CancelTooLittle));
        self.tell_canceled(member, num, cut - wrong, b'U');
        if self.err(Fault::CancelUnasked) {
            self.tell_canceled(member, num, 1, b'U');
        }
    }

    fn tell_canceled(&mut self, member: usize, num: u32, qty: u32, reason: u8) {
        let timestamp = self.timestamp();
        let (user_ref_num, quantity) = (U32::new(num), U32::new(qty));
        let message =
            ouch::OrderCanceled { message_type: Type::new(), timestamp, user_ref_num, quantity, reason };
        self.tell(member, &message);
    }

    fn remove(&mut self, key: Key) {
        let Some(order) = self.orders.remove(&key) else { return };
        let book = self.books.get_mut(&order.symbol).unwrap();
        let levels = if order.is_buy { &mut book.bids } else { &mut book.asks };
        if let Some(queue) = levels.get_mut(&order.price) {
            queue.retain(|resting| *resting != key);
            if queue.is_empty() {
                levels.remove(&order.price);
            }
        }
    }

    fn best(&self, symbol: &[u8; 8], is_buy: bool) -> Option<(u64, Key)> {
        let book = &self.books[symbol];
        let level = if is_buy { book.bids.last_key_value() } else { book.asks.first_key_value() };
        level.map(|(price, queue)| (*price, queue[0]))
    }

    fn arrive(&mut self, key: Key, order: Order, is_ioc: bool) {
        self.orders.insert(key, order);
        let mut step = 0;
        while let Some((price, resting_key)) = self.best(&order.symbol, !order.is_buy) {
            let crosses = if order.is_buy { price <= order.price } else { price >= order.price };
            let Some(&incoming) = self.orders.get(&key) else { return };
            let leaves = incoming.total - incoming.executed;
            if !crosses || leaves == 0 {
                break;
            }
            let resting = self.orders[&resting_key];
            let qty = leaves.min(resting.total - resting.executed);
            let number = self.seq << 20 | step;
            step += 1;
            self.execute(resting_key, qty, price, b'A', number);
            self.execute(key, qty, price, b'R', number);
        }
        let Some(&order) = self.orders.get(&key) else { return };
        if !is_ioc {
            let book = self.books.get_mut(&order.symbol).unwrap();
            let levels = if order.is_buy { &mut book.bids } else { &mut book.asks };
            return levels.entry(order.price).or_default().push_back(key);
        }
        self.orders.remove(&key);
        if !self.err(Fault::ResidueMissing) {
            self.tell_canceled(key.0, key.1, order.total - order.executed, b'I');
        }
    }

    fn execute(&mut self, key: Key, qty: u32, price: u64, liquidity_flag: u8, number: u64) {
        let order = self.orders.get_mut(&key).unwrap();
        order.executed += qty;
        let order = *order;
        if order.executed == order.total {
            self.remove(key);
        }
        let wrong = if self.err(Fault::ExecuteTooMuch) { order.total } else { 0 };
        let worse = u64::from(liquidity_flag == b'A' && self.err(Fault::ExecuteWorse));
        let executed = ouch::OrderExecuted {
            message_type: Type::new(),
            timestamp: self.timestamp(),
            user_ref_num: U32::new(key.1),
            quantity: U32::new(qty + wrong),
            price: U64::new(price + worse),
            liquidity_flag,
            match_number: U64::new(number),
        };
        if !self.err(Fault::ExecutionMissing) {
            self.tell(key.0, &executed);
        }
        if self.err(Fault::ExecuteTwice) {
            self.tell(key.0, &executed);
        }
    }
}
