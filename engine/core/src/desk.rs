//! What stages 1 and 3 own: ports, accounts, and the risk side of every open order.

use crate::{
    ahead::Ahead,
    directory::{Directory, PortState},
    fees,
    index::{Index, NONE},
    ledger::Ledger,
    limits::{Done, Limits, Open, Place, ShortBook, Shorts, is_short},
    quotes::Quotes,
    slab::Slab,
    superstep::SPAN_WARM,
    trades::{DayTrades, Leg},
};
use alloc::{collections::BTreeMap, vec::Vec};
use ironbell_types::{
    AccountId, Amount, AssetId, Capacity, Fees, FirmId, Instrument, InstrumentId, Nanos, OrderKey,
    OrderOptions, OrderRef, OrderState, OrderTerms, PortId, Price, Qty, Side, TimeInForce,
};

/// State of the accounts homed here.
#[derive(Clone)]
pub(crate) struct Desk {
    /// Which shard it is of.
    pub(crate) shard: usize,
    /// There are others.
    is_sharded: bool,
    /// All of it, on every shard; what a firm or a port has done only counts where it is at home.
    pub(crate) directory: Directory,
    pub(crate) ledger: Ledger,
    /// By instrument, the ledger entry of its fee account: what was charged to accounts at home here.
    pub(crate) fee_entries: Vec<u32>,
    pub(crate) day_open: bool,
    pub(crate) venue_killed: bool,
    pub(crate) order_entry_halted: bool,
    pub(crate) open: Slab<OpenRecord>,
    /// By token, the terms of an order that is not plain.
    terms: Vec<OrderTerms>,
    pub(crate) by_key: Index,
    pub(crate) limits: Limits,
    /// There is any, which spares most orders a look at their port.
    has_limits: bool,
    pub(crate) shorts: ShortBook,
    pub(crate) trades: DayTrades,
    pub(crate) quotes: Quotes,
    /// Ports whose dead-man timer is armed.
    pub(crate) dead_men: usize,
    /// No dead-man timer is due before; `None` when none is armed.
    pub(crate) dead_men_due: Option<Nanos>,
    /// No grace ends before.
    pub(crate) graces_due: Option<Nanos>,
    pub(crate) ahead: Ahead,
}

/// The risk side of an open order: two cache lines. Its slot is the token that stage 2 knows it by.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(crate) struct OpenRecord {
    pub(crate) key: OrderKey,
    pub(crate) order_ref: OrderRef,
    pub(crate) price: u64,
    /// What holds and limits reckon with, from when it came in to its end.
    pub(crate) worth: u64,
    pub(crate) leaves: u64,
    /// What its chain has executed.
    pub(crate) executed: u64,
    pub(crate) hold: i128,
    /// Σ notional × rate over its executions.
    pub(crate) fee_sum: i128,
    pub(crate) charged: i128,
    /// The account's ledger entries.
    pub(crate) base: u32,
    pub(crate) quote: u32,
    pub(crate) instrument: InstrumentId,
    pub(crate) options: OrderOptions,
    pub(crate) side: Side,
    pub(crate) capacity: Capacity,
    pub(crate) time_in_force: TimeInForce,
    /// Of its firm when it came in; fees do not change while orders are open.
    pub(crate) tier: u8,
    pub(crate) is_plain: bool,
}

const _: () = assert!(size_of::<OpenRecord>() == 128);

impl OpenRecord {
    /// None that ever was open.
    const BLANK: Self = Self {
        key: OrderKey(0),
        order_ref: OrderRef(0),
        price: 0,
        worth: 0,
        leaves: 0,
        executed: 0,
        hold: 0,
        fee_sum: 0,
        charged: 0,
        base: NONE,
        quote: NONE,
        instrument: InstrumentId::NONE,
        options: OrderOptions::NONE,
        side: Side::Buy,
        capacity: Capacity::Agency,
        time_in_force: TimeInForce::Day,
        tier: 0,
        is_plain: true,
    };

    /// The entry of the asset it holds.
    pub(crate) fn held_in(&self) -> u32 {
        if self.side.is_buy() { self.quote } else { self.base }
    }

    /// The entry of the asset it brings.
    fn credited_in(&self) -> u32 {
        if self.side.is_buy() { self.base } else { self.quote }
    }
}

/// An open order as its account sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOrder {
    /// Its name to the member.
    pub key: OrderKey,
    /// Its number on the book.
    pub order_ref: OrderRef,
    /// Whose money it holds.
    pub account: AccountId,
    /// What it trades.
    pub instrument: InstrumentId,
    /// Buy or sell.
    pub side: Side,
    /// The limit.
    pub price: Price,
    /// What is left.
    pub leaves_qty: Qty,
    /// What it and all it replaced have executed.
    pub executed_qty: Qty,
    /// What it holds: of the quote asset when it buys, else of the base asset.
    pub hold: Amount,
}

/// Neither the outside world nor a member is funded beyond this, and firms owe less.
pub(crate) const TOTAL_MAX: i128 = 1 << 126;

/// Price × quantity × tick value, when it fits.
#[inline]
pub(crate) fn notional(tick_value: u64, price: u64, qty: u64) -> Option<i128> {
    let product = u128::from(price) * u128::from(qty);
    // Nearly always both factors are 64 bits wide, and one widening multiplication does it.
    if let Ok(narrow) = u64::try_from(product) {
        return i128::try_from(u128::from(narrow) * u128::from(tick_value)).ok();
    }
    i128::try_from(product.checked_mul(u128::from(tick_value))?).ok()
}

/// The most that what is left of a buy can still cost, fees included, when that fits.
#[inline]
pub(crate) fn cost_max(worth: i128, fees: &Fees, fee_sum: i128, charged: i128) -> Option<i128> {
    worth.checked_add(fees::at_most(fees, fee_sum, charged, worth)?)
}

/// What a sell delivers at most. Both factors have 64 bits, but their product can have 128.
#[inline]
pub(crate) fn delivery(instrument: &Instrument, leaves: u64) -> Option<i128> {
    i128::try_from(u128::from(leaves) * u128::from(instrument.lot_units)).ok()
}

impl Desk {
    pub(crate) fn new(
        shard: usize,
        is_sharded: bool,
        orders: usize,
        accounts: usize,
        legs: usize,
        key: u64,
    ) -> Self {
        Self {
            shard,
            is_sharded,
            directory: Directory::default(),
            ledger: Ledger::new(accounts * Ledger::ENTRIES_PER_ACCOUNT, key),
            fee_entries: Vec::new(),
            day_open: false,
            venue_killed: false,
            order_entry_halted: false,
            open: Slab::new(orders + 2, OpenRecord::BLANK),
            terms: Vec::with_capacity(orders + 2),
            by_key: Index::new(orders + 2, key),
            limits: Limits::default(),
            has_limits: false,
            shorts: ShortBook::default(),
            trades: DayTrades::new(legs),
            quotes: Quotes::new(key),
            dead_men: 0,
            dead_men_due: None,
            graces_due: None,
            ahead: if is_sharded { Ahead::new(SPAN_WARM) } else { Ahead::default() },
        }
    }

    pub(crate) fn find(&self, key: OrderKey) -> Option<u32> {
        self.by_key.get(key.0)
    }

    /// The port that an open order came in on.
    #[inline(always)]
    pub(crate) fn port_of(&self, record: &OpenRecord) -> &PortState {
        self.directory.port(record.key.port()).expect("an order's port is known")
    }

    #[inline(always)]
    pub(crate) fn instrument(&self, id: InstrumentId) -> &Instrument {
        &self.directory.instrument(id).expect("an order's instrument is known").instrument
    }

    /// An open order's terms.
    pub(crate) fn terms(&self, token: u32) -> OrderTerms {
        if self.open[token].is_plain { OrderTerms::default() } else { self.terms[token as usize] }
    }

    /// A stop is none any more.
    pub(crate) fn triggered(&mut self, token: u32) {
        assert!(!self.open[token].is_plain);
        let terms = &mut self.terms[token as usize];
        (terms.stop, terms.trail) = (Price(0), 0);
    }

    /// Takes a record in, its hold included; what is not plain about it is in `terms`.
    #[inline(always)]
    pub(crate) fn open(&mut self, record: OpenRecord, terms: &OrderTerms) -> u32 {
        let token = self.open_unnamed(record, terms);
        self.by_key.insert(record.key.0, token);
        token
    }

    /// The same, but for its name: who calls this sees to it that it can be found.
    #[inline(always)]
    pub(crate) fn open_unnamed(&mut self, record: OpenRecord, terms: &OrderTerms) -> u32 {
        self.ledger.rehold(record.held_in(), 0, record.hold);
        if self.is_sharded {
            self.ledger.count_credit(record.credited_in(), true);
        }
        let token = self.open.insert(record);
        self.directory.instrument_mut(record.instrument).expect("it was checked").orders += 1;
        if !record.is_plain {
            let place = token as usize;
            if place >= self.terms.len() {
                self.terms.resize(place + 1, OrderTerms::default());
            }
            self.terms[place] = *terms;
        }
        if is_short(record.side) || self.is_counted(&record) {
            self.count_open(token);
        }
        token
    }

    /// Frees a record and its hold.
    #[inline]
    pub(crate) fn close(&mut self, token: u32) {
        let record = &self.open[token];
        if self.is_counted(record) {
            let record = *record;
            self.count(&record, -1);
        }
        let record = &self.open[token];
        self.ledger.rehold(record.held_in(), record.hold, 0);
        if self.is_sharded {
            self.ledger.count_credit(record.credited_in(), false);
        }
        // One cancelled in the midst of a run, as the other of a pair is, stands beside what the order that
        // runs held before its trades: that one's hold is checked, and set, when it is heard what stands of it.
        if record.leaves == 0 {
            self.ledger.assert_covered(record.held_in());
        }
        self.by_key.remove(record.key.0);
        self.directory.instrument_mut(record.instrument).expect("an order's is known").orders -= 1;
        self.open.remove(token);
    }

    /// Whether anything counts an order besides its hold.
    #[inline(always)]
    pub(crate) fn is_counted(&self, record: &OpenRecord) -> bool {
        self.counts_any() && (is_short(record.side) || (self.has_limits && self.port_of(record).is_limited))
    }

    /// Whether anything counts any open order besides its hold: short sales have a row from the first on.
    #[inline(always)]
    pub(crate) fn counts_any(&self) -> bool {
        self.has_limits || !self.shorts.is_empty()
    }

    /// Counts an order as open, or with −1 as open no more.
    #[cold]
    pub(crate) fn count(&mut self, record: &OpenRecord, sign: i128) {
        let (place, open) = (self.place(record), self.counts(record));
        if is_short(record.side) {
            self.shorts_of(place.firm, place.instrument).open += sign * i128::from(open.leaves);
        }
        self.limits.shift(place, &open, sign);
    }

    /// Counts an order that came in.
    #[cold]
    #[inline(never)]
    fn count_open(&mut self, token: u32) {
        let record = self.open[token];
        self.count(&record, 1);
    }

    /// Whose and where an open order counts.
    pub(crate) fn place(&self, record: &OpenRecord) -> Place {
        self.place_of(record.key, record.instrument)
    }

    fn place_of(&self, key: OrderKey, instrument: InstrumentId) -> Place {
        let port = &self.directory.port(key.port()).expect("an order's port is known").port;
        Place { firm: port.firm, account: port.account, instrument, quote: self.instrument(instrument).quote }
    }

    /// What an open order counts.
    pub(crate) fn counts(&self, record: &OpenRecord) -> Open {
        let tick_value = self.instrument(record.instrument).tick_value;
        Open {
            buys: record.side.is_buy(),
            leaves: record.leaves,
            worth: notional(tick_value, record.worth, record.leaves).expect("it fitted when it came in"),
            hold: record.hold,
        }
    }

    pub(crate) fn shorts_of(&mut self, firm: FirmId, instrument: InstrumentId) -> &mut Shorts {
        self.shorts.entry((firm, instrument)).or_default()
    }

    /// Whether what is located covers `leaves` more sold short, `freed` of what is open not counted.
    pub(crate) fn is_located(&self, firm: FirmId, instrument: InstrumentId, leaves: u64, freed: u64) -> bool {
        let Some(shorts) = self.shorts.get(&(firm, instrument)) else { return true };
        let used = shorts.used() - i128::from(freed) + i128::from(leaves);
        shorts.located.is_none_or(|located| used <= located)
    }

    /// Where an execution counts, and what.
    pub(crate) fn done(&self, leg: &Leg) -> (Place, Done) {
        let at = |price: u64| notional(leg.tick_value, price, leg.qty.0).expect("it fitted when it traded");
        let done = Done {
            buys: leg.buys,
            qty: leg.qty.0,
            worth: at(leg.worth),
            paid: at(leg.price.0.cast_unsigned()) + leg.fee,
        };
        (self.place_of(leg.key, leg.instrument), done)
    }

    /// Limits without counts, counted from the open orders and the day's trades. Takes time with their number.
    pub(crate) fn counted(&self, mut limits: Limits) -> Limits {
        for token in self.by_key.slots() {
            let record = &self.open[token];
            limits.shift(self.place(record), &self.counts(record), 1);
        }
        for leg in self.trades.iter() {
            let (place, done) = self.done(leg);
            limits.execute(place, &done);
        }
        limits
    }

    /// Notes of each port whether limits concern it.
    pub(crate) fn note_limited(&mut self) {
        self.has_limits = !self.limits.is_empty();
        for state in &mut self.directory.ports {
            state.is_limited = self.limits.concern(state.port.firm, state.port.account);
        }
    }

    /// Notes of a port that was just defined whether limits concern it: looking at all of them for each would make
    /// the definition of many take time with the square of their number.
    pub(crate) fn note_port(&mut self, port: PortId) {
        let state = self.directory.port_mut(port).expect("it was just defined");
        state.is_limited = self.limits.concern(state.port.firm, state.port.account);
    }

    pub(crate) fn open_order(&self, key: OrderKey) -> Option<OpenOrder> {
        let record = &self.open[self.find(key)?];
        Some(OpenOrder {
            key,
            order_ref: record.order_ref,
            account: self.port_of(record).port.account,
            instrument: record.instrument,
            side: record.side,
            price: Price(record.price.cast_signed()),
            leaves_qty: Qty(record.leaves),
            executed_qty: Qty(record.executed),
            hold: Amount(record.hold),
        })
    }

    pub(crate) fn order_state(&self, key: OrderKey) -> OrderState {
        let found = self.open_order(key);
        let none = OrderState {
            key,
            open: false,
            order_ref: OrderRef(0),
            instrument: InstrumentId::NONE,
            price: Price(0),
            leaves_qty: Qty::ZERO,
            executed_qty: Qty::ZERO,
        };
        found.map_or(none, |order| OrderState {
            open: true,
            order_ref: order.order_ref,
            instrument: order.instrument,
            price: order.price,
            leaves_qty: order.leaves_qty,
            executed_qty: order.executed_qty,
            ..none
        })
    }

    /// For tests: panics when an entry's number of orders that bring more of it is wrong.
    pub(crate) fn check_credits(&self) {
        let mut credits = BTreeMap::new();
        for slot in self.by_key.slots().filter(|_| self.is_sharded) {
            *credits.entry(self.open[slot].credited_in()).or_insert(0u32) += 1;
        }
        assert!(self.ledger.credits().eq(credits));
    }

    pub(crate) fn total(&self, account: AccountId, asset: AssetId) -> i128 {
        self.ledger.find(account, asset).map_or(0, |entry| self.ledger.total(entry))
    }
}
