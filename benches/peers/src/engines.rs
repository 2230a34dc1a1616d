//! The adapters: each turns a message into what its engine wants, and what the engine says into trades.

use ironbell_core::matching::{Effect, Incoming, Matching, Request, Voice};
use ironbell_types::{
    Accepted, Capacity, ClOrdId, Display, FirmId, InstrumentId, Nanos, OrderKey, OrderOptions, OrderRef, OrderTerms,
    PortId, Price, Qty, Seq, Side, Stage, Stp, TimeInForce, UserRefIdx, UserRefNum,
};

use crate::{Engine, Message, Trade};

const BOOK: InstrumentId = InstrumentId(1);

/// Stage 2 of our core, as a shard drives it: with its events made, and not looked at.
pub struct Ironbell {
    matching: Matching,
    out: Vec<ironbell_types::Event>,
    effects: Vec<Effect>,
}

impl Engine for Ironbell {
    const NAME: &'static str = "ironbell-core, matching";

    fn new() -> Self {
        let mut matching = Matching::new(1 << 20, 7);
        let (mut out, mut effects) = (Vec::new(), Vec::new());
        let mut voice = Voice::new(&mut out, Seq(0), Nanos(0), Stage::Matching);
        matching.apply(&Request::OpenBook { day_open: true }, &mut voice, &mut effects);
        out.clear();
        Self { matching, out, effects }
    }

    fn take(&mut self, message: Message, trades: &mut Vec<Trade>) {
        let request = match message {
            Message::Enter { num, buys, price, qty, ioc } => {
                let order = Accepted {
                    key: OrderKey::new(PortId(1), UserRefIdx(0), UserRefNum(num as u32)),
                    order_ref: OrderRef::new(Seq(num), 0),
                    firm: FirmId(1),
                    instrument: BOOK,
                    side: if buys { Side::Buy } else { Side::Sell },
                    qty: Qty(qty),
                    price: Price(price as i64),
                    time_in_force: if ioc { TimeInForce::Ioc } else { TimeInForce::Day },
                    display: Display::Visible,
                    capacity: Capacity::Principal,
                    cl_ord_id: ClOrdId::default(),
                    options: OrderOptions::default(),
                    booked: false,
                    shown_qty: Qty::ZERO,
                };
                Request::Enter(Incoming::new(order, &OrderTerms::default(), num as u32, false, Stp::Off, None))
            }
            Message::Cancel { num } => {
                Request::Cancel { instrument: BOOK, order_ref: OrderRef::new(Seq(num), 0), total: Qty::ZERO }
            }
        };
        let mut voice = Voice::new(&mut self.out, Seq(0), Nanos(0), Stage::Matching);
        self.matching.apply(&request, &mut voice, &mut self.effects);
        trades.extend(self.effects.drain(..).filter_map(|effect| match effect {
            Effect::Fill(fill) => Some(Trade {
                resting: u64::from(fill.resting),
                aggressor: u64::from(fill.aggressor),
                price: fill.price.0 as u64,
                qty: fill.qty.0,
            }),
            _ => None,
        }));
        self.out.clear();
    }
}

/// `matchcore`: an order's number is the sequence number of its command.
pub struct Matchcore {
    book: matchcore::OrderBook,
    sequence: u64,
    /// Their number of each of ours.
    nums: Vec<u64>,
    ours: Vec<u64>,
}

impl Matchcore {
    fn execute(&mut self, kind: matchcore::CommandKind) -> matchcore::CommandOutcome {
        let meta = matchcore::CommandMeta {
            sequence_number: matchcore::SequenceNumber(self.sequence),
            timestamp: matchcore::Timestamp(self.sequence),
        };
        self.sequence += 1;
        self.book.execute(&matchcore::Command { meta, kind })
    }
}

impl Engine for Matchcore {
    const NAME: &'static str = "matchcore 0.4.0";

    fn new() -> Self {
        Self { book: matchcore::OrderBook::new("BOOK"), sequence: 0, nums: Vec::new(), ours: Vec::new() }
    }

    fn take(&mut self, message: Message, trades: &mut Vec<Trade>) {
        use matchcore::{CommandKind, LimitOrder, NewOrder, OrderFlags, QuantityPolicy};
        let num = match message {
            Message::Enter { num, .. } | Message::Cancel { num } => num,
        };
        let kind = match message {
            Message::Enter { buys, price, qty, ioc, .. } => {
                self.nums.resize(num as usize + 1, 0);
                self.nums[num as usize] = self.sequence;
                let side = if buys { matchcore::Side::Buy } else { matchcore::Side::Sell };
                let time = if ioc { matchcore::TimeInForce::Ioc } else { matchcore::TimeInForce::Gtc };
                let quantity = QuantityPolicy::Standard { quantity: matchcore::Quantity(qty) };
                let order = LimitOrder::new(matchcore::Price(price), quantity, OrderFlags::new(side, false, time));
                CommandKind::Submit(matchcore::SubmitCmd { order: NewOrder::Limit(order) })
            }
            Message::Cancel { .. } => CommandKind::Cancel(matchcore::CancelCmd {
                order_id: matchcore::OrderId(self.nums[num as usize]),
                order_kind: matchcore::OrderKind::Limit,
            }),
        };
        self.ours.push(num);
        let outcome = self.execute(kind);
        let matchcore::CommandOutcome::Applied(matchcore::CommandReport::Submit(effects)) = outcome else { return };
        let Some(result) = effects.target_order().match_result() else { return };
        trades.extend(result.trades().iter().map(|trade| Trade {
            resting: self.ours[trade.maker_order_id().0 as usize],
            aggressor: num,
            price: trade.price().0,
            qty: trade.quantity().0,
        }));
    }
}

/// `orderbook-rs`, from one thread.
pub struct OrderbookRs(orderbook_rs::OrderBook<()>);

impl Engine for OrderbookRs {
    const NAME: &'static str = "orderbook-rs 0.15.3";

    fn new() -> Self {
        Self(orderbook_rs::OrderBook::new("BOOK"))
    }

    fn take(&mut self, message: Message, trades: &mut Vec<Trade>) {
        use orderbook_rs::{Id, Side, TimeInForce};
        match message {
            Message::Enter { num, buys, price, qty, ioc } => {
                let side = if buys { Side::Buy } else { Side::Sell };
                // An immediate order is matched and never added.
                let told = if ioc {
                    self.0.match_limit_order(Id::from_u64(num), qty, side, u128::from(price)).ok()
                } else {
                    let (id, price) = (Id::from_u64(num), u128::from(price));
                    let added = self.0.add_limit_order_with_result(id, price, qty, side, TimeInForce::Gtc, None);
                    added.ok().and_then(|(_, result)| result).map(|result| result.match_result)
                };
                let Some(told) = told else { return };
                trades.extend(told.trades().as_vec().iter().map(|trade| Trade {
                    resting: trade.maker_order_id().as_u64().unwrap_or(0),
                    aggressor: num,
                    price: trade.price().as_u128() as u64,
                    qty: trade.quantity().as_u64(),
                }));
            }
            Message::Cancel { num } => {
                let _ = self.0.cancel_order(orderbook_rs::Id::from_u64(num));
            }
        }
    }
}
