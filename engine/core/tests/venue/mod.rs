//! A small venue to test in: one book (`STOCK` in `USD`), three firms with a port and an account each,
//! events as short lines, and the book as a drawing.

use ironbell_core::{Config, Engine};
use ironbell_types::{
    Account, AccountId, Amount, Asset, AssetId, CancelOrder, Capacity, ClOrdId, Command, Credential, Display,
    EnterOrder, Event, EventBody, Firm, FirmId, Funding, Instrument, InstrumentId, ModifyOrder, Mpid, Nanos,
    OpenDay, OrderKey, OrderOptions, OrderTerms, Port, PortId, PortLimits, Price, Qty, ReplaceOrder, Scale,
    Sequenced, Side, Symbol, TimeInForce, UserRefIdx, UserRefNum, Username,
};

pub const USD: AssetId = AssetId(1);
pub const STOCK: AssetId = AssetId(2);
pub const BOOK: InstrumentId = InstrumentId(1);
/// One tick of one lot in smallest units of USD.
pub const TICK_VALUE: i128 = 100;
/// Smallest units of STOCK in one lot.
pub const LOT_UNITS: i128 = 10;

pub struct Venue {
    pub engine: Engine,
    pub events: Vec<Event>,
    /// Every command run so far.
    pub journal: Vec<Sequenced>,
}

impl Venue {
    /// With a day open. Fees are the maker's and the taker's in basis points; every account gets the same funds.
    pub fn new(maker_fee_bps: u16, taker_fee_bps: u16, usd: i128, stock: i128) -> Self {
        let mut venue = Self::unopened(maker_fee_bps, taker_fee_bps, usd, stock);
        venue.run(Command::OpenDay(OpenDay { date: 20_261_121, midnight: Nanos(0) }));
        venue
    }

    /// The same before its first day.
    pub fn unopened(maker_fee_bps: u16, taker_fee_bps: u16, usd: i128, stock: i128) -> Self {
        let engine = Engine::new(Config { key: 1, orders: 64, accounts: 4 });
        let mut venue = Self { engine, events: Vec::new(), journal: Vec::new() };
        let name = |text: &str| Symbol::new(text).unwrap();
        venue.run(Command::DefineAsset(Asset { id: USD, code: name("USD"), decimals: 4 }));
        venue.run(Command::DefineAsset(Asset { id: STOCK, code: name("STOCK"), decimals: 1 }));
        venue.run(Command::DefineInstrument(instrument(1, "STOCK", maker_fee_bps, taker_fee_bps)));
        for id in 1..=3 {
            let (firm, account) = (FirmId(id), AccountId(id));
            venue.run(Command::DefineFirm(Firm { id: firm, mpid: Mpid::new(&format!("F{id}")).unwrap() }));
            venue.run(Command::DefineAccount(Account { id: account, firm }));
            venue.run(Command::DefinePort(port(id, id, id)));
            for (asset, amount) in [(USD, usd), (STOCK, stock)].into_iter().filter(|(_, amount)| *amount > 0)
            {
                let id = u64::from(id * 2 + asset.0);
                venue.run(Command::Fund(Funding { id, account, asset, amount: Amount(amount) }));
            }
        }
        assert!(!venue.events.iter().any(|event| matches!(event.body, EventBody::AdminRefused(_))));
        venue
    }

    /// Runs one command, checks every invariant, and returns what was said of it.
    pub fn run(&mut self, command: Command) -> &[Event] {
        let time = self.engine.last_time().0.max(self.engine.last_seq().0 + 1);
        self.at(time, command)
    }

    /// The same at a time in nanoseconds.
    pub fn at(&mut self, time: u64, command: Command) -> &[Event] {
        let seq = self.engine.last_seq().next();
        let sequenced = Sequenced { seq, time: Nanos(time), command };
        let first = self.events.len();
        self.engine.execute(&sequenced, &mut self.events);
        self.journal.push(sequenced);
        self.engine.check_invariants();
        &self.events[first..]
    }

    /// Runs one command; what was said of it in short lines, but for the terms of orders.
    pub fn say(&mut self, command: Command) -> Vec<String> {
        let heard = self.run(command).iter().filter(|event| !matches!(event.body, EventBody::Terms { .. }));
        heard.map(short).collect()
    }

    /// The book: asks over bids, each price with its orders, oldest first, as port.number:leaves.
    pub fn draw(&self) -> String {
        let (mut asks, mut bids) = (Vec::<(Price, String)>::new(), Vec::<(Price, String)>::new());
        for order in self.engine.book(BOOK) {
            let levels = if order.buys { &mut bids } else { &mut asks };
            let text = format!(" {}:{}", named(order.key), order.leaves_qty);
            match levels.last_mut().filter(|level| level.0 == order.price) {
                Some(level) => level.1.push_str(&text),
                None => levels.push((order.price, text)),
            }
        }
        asks.reverse();
        let lines = |levels: &[(Price, String)]| {
            levels.iter().map(|(price, orders)| format!("{price} |{orders}\n")).collect::<String>()
        };
        format!("\n{}----\n{}", lines(&asks), lines(&bids))
    }

    /// (total, held) of an account.
    pub fn balance(&self, account: u32, asset: AssetId) -> (i128, i128) {
        let balances = self.engine.balances();
        let found = balances.iter().find(|b| b.account == AccountId(account) && b.asset == asset);
        found.map_or((0, 0), |balance| (balance.total.0, balance.held.0))
    }
}

pub fn instrument(id: u32, symbol: &str, maker_fee_bps: u16, taker_fee_bps: u16) -> Instrument {
    Instrument {
        id: InstrumentId(id),
        symbol: Symbol::new(symbol).unwrap(),
        base: STOCK,
        quote: USD,
        scale: Scale::EquityExact { price_tick: 100 },
        tick_value: TICK_VALUE as u64,
        lot_units: LOT_UNITS as u64,
        round_lot: 100,
        maker_fee_bps,
        taker_fee_bps,
    }
}

pub fn port(id: u32, firm: u32, account: u32) -> Port {
    Port {
        id: PortId(id),
        username: Username::new(&format!("P{id}")).unwrap(),
        firm: FirmId(firm),
        account: AccountId(account),
        limits: PortLimits { qty_max: Qty(1_000), notional_max: Amount(1_000_000_000) },
        credential: Credential { salt: [0; 16], hash: [0; 32], memory_kib: 8, passes: 1, lanes: 1 },
    }
}

/// A day order; change its fields for another.
pub fn order(port: u32, num: u32, side: Side, qty: u64, price: i64) -> EnterOrder {
    EnterOrder {
        port: PortId(port),
        user_ref_idx: UserRefIdx(0),
        user_ref_num: UserRefNum(num),
        instrument: BOOK,
        side,
        qty: Qty(qty),
        price: Price(price),
        time_in_force: TimeInForce::Day,
        display: Display::Visible,
        capacity: Capacity::Agency,
        cl_ord_id: ClOrdId::default(),
        options: OrderOptions::default(),
        terms: OrderTerms::default(),
        fault: None,
    }
}

pub fn buy(port: u32, num: u32, qty: u64, price: i64) -> Command {
    Command::EnterOrder(order(port, num, Side::Buy, qty, price))
}

pub fn sell(port: u32, num: u32, qty: u64, price: i64) -> Command {
    Command::EnterOrder(order(port, num, Side::Sell, qty, price))
}

pub fn cancel(port: u32, num: u32, qty: u64) -> Command {
    let (port, user_ref_num) = (PortId(port), UserRefNum(num));
    Command::CancelOrder(CancelOrder { port, user_ref_idx: UserRefIdx(0), user_ref_num, qty: Qty(qty) })
}

pub fn modify(port: u32, num: u32, side: Side, qty: u64) -> Command {
    let (port, user_ref_num) = (PortId(port), UserRefNum(num));
    Command::ModifyOrder(ModifyOrder { port, user_ref_idx: UserRefIdx(0), user_ref_num, side, qty: Qty(qty) })
}

/// A replacement by a day order; `price` in ticks.
pub fn replace(port: u32, orig: u32, num: u32, qty: u64, price: u64) -> ReplaceOrder {
    ReplaceOrder {
        port: PortId(port),
        user_ref_idx: UserRefIdx(0),
        orig_user_ref_num: UserRefNum(orig),
        user_ref_num: UserRefNum(num),
        qty: Qty(qty),
        wire_price: price * 100,
        time_in_force: TimeInForce::Day,
        display: Display::Visible,
        cl_ord_id: ClOrdId::default(),
        options: OrderOptions::default(),
        max_floor: None,
        random_reserves: None,
        expire: Nanos(0),
        fault: None,
    }
}

fn named(key: OrderKey) -> String {
    format!("{}.{}", key.port(), key.num())
}

/// One event as a line; money is not in it.
fn short(event: &Event) -> String {
    match &event.body {
        EventBody::Accepted(o) => {
            format!(
                "accepted {} {}@{}{}",
                named(o.key),
                o.qty,
                o.price,
                if o.booked { " booked" } else { "" }
            )
        }
        EventBody::Replaced(r) => {
            let (o, booked) = (&r.order, if r.order.booked { " booked" } else { "" });
            format!("replaced {} by {} {}@{}{booked}", r.orig_user_ref_num, named(o.key), o.qty, o.price)
        }
        EventBody::Rested(r) => format!("rested {}@{}", r.qty, r.price),
        EventBody::Trade(t) => {
            let (resting, aggressor) = (named(t.resting.key), named(t.aggressor.key));
            format!(
                "trade {}@{} {resting} left {} with {aggressor} left {}",
                t.qty, t.price, t.resting.leaves_qty, t.aggressor.leaves_qty
            )
        }
        EventBody::Canceled(c) => {
            let off = if c.shown.qty > Qty::ZERO { "" } else { " unseen" };
            format!(
                "canceled {} {} left {} {}{off}",
                named(c.key),
                c.qty,
                c.leaves_qty,
                c.reason.code() as char
            )
        }
        EventBody::Modified(m) => {
            format!("modified {} {} off {} left {}", named(m.key), m.side.code() as char, m.qty, m.leaves_qty)
        }
        EventBody::Rejected { key, reason, .. } => format!("rejected {} {reason:?}", named(*key)),
        EventBody::Settled(s) => {
            format!("settled {} {} fee {}", s.account, if s.buys { "bought" } else { "sold" }, s.fee)
        }
        EventBody::MassCancelAccepted(_) => "mass cancel accepted".into(),
        EventBody::MassCancelAsked { cause, slice } => format!("asked {cause} slice {slice}"),
        EventBody::OrderEntryDisabled(_) => "order entry disabled".into(),
        EventBody::OrderEntryEnabled(_) => "order entry enabled".into(),
        EventBody::AccountQueried { next, .. } => format!("next {next}"),
        EventBody::AdminRefused(refusal) => format!("refused {refusal:?}"),
        other => format!("{other:?}"),
    }
}
