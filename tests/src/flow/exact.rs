//! Accounts that have exactly what their orders hold, or one smallest unit more or less: what is said of an
//! order then hangs on that unit, and a hold that is wrong later, by as little, cannot be covered.
//!
//! What is aimed at stands in an order's ClOrdID, for [`crate::coverage`] to compare with what was said. The hold
//! is computed here from the rules too, which only costs aim where it is wrong.

use ironbell_types::{
    Account, AccountId, ClOrdId, Command, EnterOrder, Fees, FirmId, Instrument, InstrumentId, Nanos,
    OrderTerms, Peg, Port, PortId, Price, Qty, ReplaceOrder, Side, TimeInForce, UserRefIdx, UserRefNum,
};

use super::{Flow, terms::rests};

/// ClOrdIDs: what the account has beyond what the order holds.
pub(crate) const AIMS: [(&str, i128); 3] = [("one short", -1), ("exact", 0), ("one spare", 1)];

/// Accounts of members that such accounts come after.
const ACCOUNTS_FROM: u32 = 2_000;

/// More than anybody is funded with.
const HOLD_MAX: i128 = 1 << 120;

/// Ports beyond these are forgotten again, oldest first: most have nothing left to trade with.
const PORTS_MAX: usize = 10;

/// A new account's port, and what the account should have beyond what its orders hold.
struct Purse {
    port: Port,
    /// Of the quote asset and of the base asset of the one instrument it trades.
    left: [i128; 2],
}

impl Flow {
    /// A new account with a port and little money, an order that takes all of it, and what happens to it.
    pub(super) fn play_exactly(&mut self) {
        let Some(firm) = self.firms.first().map(|_| self.rng.pick(&self.firms)) else { return };
        let tradable = |i: &&Instrument| !self.delisted.contains(&i.id);
        let tradable: Vec<Instrument> = self.instruments.iter().filter(tradable).copied().collect();
        if tradable.is_empty() {
            return;
        }
        let instrument = self.rng.pick(&tradable);
        self.exact_accounts += 1;
        let account = AccountId(ACCOUNTS_FROM + self.exact_accounts);
        let port = self.port(PortId(self.ports_defined + 1), firm, account);
        self.opening.push_back(Command::DefineAccount(Account { id: account, firm }));
        self.opening.push_back(Command::DefinePort(port));

        let mut purse = Purse { port, left: [0; 2] };
        let order = self.exact_order(&port, 1, instrument.id);
        let mut last = order;
        let accepted = self.enter_exactly(&mut purse, &instrument, &order);
        if accepted && self.rng.one_in(3) {
            self.replace_exactly(&mut purse, &instrument, &order);
        } else if self.rng.one_in(2) {
            // Pairs it, most often with the other side: both hold.
            last = self.exact_order(&port, 2, instrument.id);
            if accepted && rests(order.time_in_force) && rests(last.time_in_force) {
                last.terms.oco = order.user_ref_num;
            }
            self.enter_exactly(&mut purse, &instrument, &last);
        }
        for num in 4..4 + self.rng.below(4) as u32 {
            let met = if self.rng.one_in(3) { last } else { order };
            self.trade_with(&mut purse, &instrument, &met, num);
        }
        self.last_nums.insert((port.id, UserRefIdx(0)), 9);
    }

    fn exact_order(&mut self, port: &Port, num: u32, instrument: InstrumentId) -> EnterOrder {
        let Command::EnterOrder(mut order) = self.enter() else { unreachable!("an order enters") };
        if order.terms.market || order.price.0 <= 0 {
            order.price = Price(self.price(order.side) as i64);
            order.terms = OrderTerms { stp: order.terms.stp, ..OrderTerms::default() };
            order.time_in_force = TimeInForce::Day;
            order.options.min_qty = 0;
        }
        EnterOrder {
            port: port.id,
            user_ref_idx: UserRefIdx(0),
            user_ref_num: UserRefNum(num),
            instrument,
            qty: Qty(order.qty.0.clamp(1, self.shape.qty_max)),
            terms: OrderTerms { oco: UserRefNum(0), ..order.terms },
            fault: None,
            ..order
        }
    }

    /// Funds an account with what an order holds, or one unit more or less, and enters the order; whether that
    /// should be enough.
    fn enter_exactly(&mut self, purse: &mut Purse, instrument: &Instrument, order: &EnterOrder) -> bool {
        let (name, spare) = self.rng.pick(&AIMS);
        let price = if order.side.is_buy() { order.price.max(order.terms.discretion) } else { order.price };
        let hold = self.hold_of(purse.port.firm, instrument, order.side, price, order.qty);
        self.fund_to(purse, instrument, order.side, hold + spare);
        let cl_ord_id = ClOrdId::new(name).expect("a short text");
        self.opening.push_back(Command::EnterOrder(EnterOrder { cl_ord_id, ..*order }));
        let is_enough = spare >= 0;
        if is_enough {
            purse.left[usize::from(!order.side.is_buy())] -= hold;
        }
        is_enough
    }

    /// Replaces an order of which nothing was executed, as far as this flow knows.
    fn replace_exactly(&mut self, purse: &mut Purse, instrument: &Instrument, order: &EnterOrder) {
        if order.terms.discretion != Price(0) || order.terms.peg != Peg::None || order.terms.trail != 0 {
            return;
        }
        let (name, spare) = self.rng.pick(&AIMS);
        let price = Price(self.price(order.side) as i64);
        let qty = Qty(self.rng.between(1, self.shape.qty_max * 2));
        let firm = purse.port.firm;
        let had = self.hold_of(firm, instrument, order.side, order.price, order.qty);
        let hold = self.hold_of(firm, instrument, order.side, price, qty);
        if hold <= had {
            return;
        }
        self.fund_to(purse, instrument, order.side, hold - had + spare);
        let (port, cl_ord_id) = (&purse.port, ClOrdId::new(name).expect("a short text"));
        self.opening.push_back(Command::ReplaceOrder(ReplaceOrder {
            port: port.id,
            user_ref_idx: UserRefIdx(0),
            orig_user_ref_num: order.user_ref_num,
            user_ref_num: UserRefNum(3),
            qty,
            wire_price: price.0.unsigned_abs() * u64::from(instrument.price_tick()),
            time_in_force: TimeInForce::Day,
            display: order.display,
            cl_ord_id,
            options: order.options,
            max_floor: None,
            random_reserves: None,
            expire: Nanos(0),
            fault: None,
        }));
    }

    /// An order that meets another: of someone else, or of the same account.
    fn trade_with(&mut self, purse: &mut Purse, instrument: &Instrument, order: &EnterOrder, num: u32) {
        let Command::EnterOrder(mut other) = self.enter() else { unreachable!("an order enters") };
        other.instrument = instrument.id;
        other.side = if order.side.is_buy() { Side::Sell } else { Side::Buy };
        // Sometimes at a better price than the order's limit, which it then gets.
        let better = self.rng.below(3) as i64;
        let better = if order.side.is_buy() { -better } else { better };
        other.price = Price(order.price.0.saturating_add(better).max(1));
        other.qty = Qty(self.rng.between(1, order.qty.0));
        other.terms = OrderTerms { stp: other.terms.stp, ..OrderTerms::default() };
        other.time_in_force = TimeInForce::Day;
        other.options.min_qty = 0;
        other.options.post_only = 0;
        other.fault = None;
        if self.rng.one_in(4) {
            other.port = purse.port.id;
            (other.user_ref_idx, other.user_ref_num) = (UserRefIdx(0), UserRefNum(num));
            self.enter_exactly(purse, instrument, &other);
        } else {
            self.opening.push_back(Command::EnterOrder(other));
        }
    }

    /// Funds the account, or takes from it, so that it has this much beyond what its orders hold.
    fn fund_to(&mut self, purse: &mut Purse, instrument: &Instrument, side: Side, amount: i128) {
        let asset = if side.is_buy() { instrument.quote } else { instrument.base };
        let left = &mut purse.left[usize::from(!side.is_buy())];
        let more = amount - *left;
        *left = amount;
        if more != 0 {
            let funding = self.funding(purse.port.account, asset, more);
            self.opening.push_back(Command::Fund(funding));
        }
    }

    /// What a new order of `qty` at a worth price holds; of too much, something.
    fn hold_of(&self, firm: FirmId, instrument: &Instrument, side: Side, price: Price, qty: Qty) -> i128 {
        let qty = i128::from(qty.0);
        if !side.is_buy() {
            return qty * i128::from(instrument.lot_units);
        }
        let worth = i128::from(price.0).saturating_mul(qty).saturating_mul(i128::from(instrument.tick_value));
        let tier = self.tiers.get(&firm).copied().unwrap_or(0);
        let Fees { maker_bps, taker_bps, minimum } =
            self.fees_in_force.get(&(instrument.id, tier)).copied().unwrap_or(Fees {
                maker_bps: instrument.maker_fee_bps as i16,
                taker_bps: instrument.taker_fee_bps as i16,
                minimum: 0,
            });
        let sum = worth.saturating_mul(i128::from(maker_bps.max(taker_bps).max(0)));
        let fee = if sum == 0 { 0 } else { ((sum - 1) / 10_000 + 1).max(i128::from(minimum)) };
        worth.saturating_add(fee).min(HOLD_MAX)
    }

    /// Forgets the oldest of too many ports.
    pub(super) fn retire_ports(&mut self) {
        while self.ports.len() > PORTS_MAX {
            let of_exact = |port: &Port| port.account.0 > ACCOUNTS_FROM;
            let Some(oldest) = self.ports.iter().position(of_exact) else { return };
            self.ports.remove(oldest);
        }
    }
}
