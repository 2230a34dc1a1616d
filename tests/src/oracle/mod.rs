//! The naive engine: the rules of `engine/core/README.md` written down once more, as slowly and as
//! plainly as they read: one command at a time, every hold, limit and counter computed anew from the list
//! of open orders and the day's trades whenever it is asked for.
//!
//! It shares no code with `engine/core` and must stay so: where the two differ, one has misread the
//! rules. Speed, bounded memory and shards are none of its concern.
//!
//! Start at [`Oracle::execute`]. Stage 1 stands in `orders.rs`, `limits.rs`, `slices.rs` and `admin.rs`,
//! stage 2 in `books.rs` and `auction.rs`, stage 3 in `money.rs`. Stage 3 knows what stage 2 did from what
//! it said.

mod auction;
mod books;

use std::collections::{BTreeMap, BTreeSet};

use ironbell_types::{
    Accepted, Account, AccountId, AccountQuery, AdminRefusal, Amount, Asset, AssetId, CancelOrder,
    CancelReason, ClOrdId, Command, EnterOrder, Event, EventBody, Firm, FirmId, Funding, Instrument,
    InstrumentId, MassCancel, MassCancelSlice, ModifyOrder, OpenDay, OrderEntrySwitch, OrderKey,
    OrderOptions, OrderRef, Phase, Port, PortId, Price, Qty, Reject, ReplaceOrder, Scale, Seq, Sequenced,
    Settled, Side, Stage, Stp, TimeInForce, Trade, UserRefIdx, UserRefNum,
};

pub use books::Order;

use books::Books;

/// Basis points in one.
const BPS: i128 = 10_000;

/// Orders that one slice of a mass cancel takes.
const SLICE_ORDERS: usize = 1_024;

/// Trades that one command makes: 2^20 effects less its own two.
const TRADES_MAX: usize = (1 << 20) - 2;

/// The naive engine.
#[derive(Default)]
pub struct Oracle {
    assets: Vec<Asset>,
    instruments: Vec<Instrument>,
    firms: Vec<Firm>,
    accounts: Vec<Account>,
    ports: Vec<PortState>,
    /// Firms whose new orders and replacements are refused.
    disabled: BTreeSet<FirmId>,
    fundings: BTreeSet<u64>,
    day: Option<OpenDay>,
    /// Every open order of every instrument; an earlier one has the earlier place at its price.
    orders: Vec<Order>,
    totals: BTreeMap<(AccountId, AssetId), i128>,
    mass_cancels: Vec<PendingMassCancel>,
    last: Option<Sequenced>,
}

/// What an account has of an asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Whose.
    pub account: AccountId,
    /// Of what.
    pub asset: AssetId,
    /// All of it, smallest units.
    pub total: Amount,
    /// What open orders hold of it, smallest units.
    pub held: Amount,
}

/// An open order, as it stands on the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its name to the member.
    pub key: OrderKey,
    /// Its number on the book.
    pub order_ref: OrderRef,
    /// Whose it is.
    pub firm: FirmId,
    /// In which account it is held and settled.
    pub account: AccountId,
    /// What it trades.
    pub instrument: InstrumentId,
    /// Buy or sell.
    pub side: Side,
    /// Its limit.
    pub price: Price,
    /// What is left of it.
    pub leaves_qty: Qty,
    /// What the order and all it replaced have executed.
    pub chain_executed: Qty,
    /// Sum of notional × rate over this order's own executions: 1/10,000 of the quote asset's smallest unit.
    pub fee_sum: i128,
    /// How shown.
    pub display: Display,
    capacity: Capacity,
    options: OrderOptions,
}

struct PortState {
    port: Port,
    incarnation: u32,
    logged_in: bool,
    /// The last number consumed on each channel today.
    consumed: BTreeMap<UserRefIdx, UserRefNum>,
}

struct PendingMassCancel {
    cause: Seq,
    request: MassCancel,
    slice: u32,
    /// The instrument that the slice works on.
    instrument: InstrumentId,
}

/// A new order as stage 1 lets it through.
#[derive(Clone, Copy, Debug)]
struct Admitted {
    /// As it would be said; nothing of it is booked or shown yet.
    accepted: Accepted,
    /// What the orders that it replaces have executed.
    chain_executed: Qty,
    /// Its self-trade prevention; never that of the port.
    stp: Stp,
    /// Whether it slides, when it is post-only and would trade.
    slides: bool,
}

/// What one command has said so far, by stage.
struct Said {
    command: Sequenced,
    stages: [Vec<EventBody>; 3],
}

impl Said {
    fn risk(&mut self, body: EventBody) {
        self.stages[0].push(body);
    }

    fn matching(&mut self, body: EventBody) {
        self.stages[1].push(body);
    }

    fn settlement(&mut self, body: EventBody) {
        self.stages[2].push(body);
    }

    fn seq(&self) -> Seq {
        self.command.seq
    }

    fn time(&self) -> Nanos {
        self.command.time
    }

    /// How many events stage 2 has said: the step of its next one.
    fn matching_steps(&self) -> u32 {
        self.stages[1].len() as u32
    }

    fn into_events(self) -> Vec<Event> {
        let (seq, time) = (self.command.seq, self.command.time);
        let mut events = Vec::new();
        for (stage, bodies) in [Stage::Risk, Stage::Matching, Stage::Settlement].into_iter().zip(self.stages)
        {
            for (step, body) in (0..).zip(bodies) {
                events.push(Event { seq, time, stage, step, body });
            }
        }
        events
    }
}

impl Oracle {
    /// A venue where nothing is defined.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Executes one command and returns all that is said of it, in (stage, step) order.
    ///
    /// # Panics
    /// When `command` is not the next one, or its time is before the last one's.
    pub fn execute(&mut self, command: &Sequenced) -> Vec<Event> {
        if let Some(last) = self.last {
            assert!(command.seq == last.seq.next());
            assert!(command.time >= last.time);
        }
        self.last = Some(*command);
        let mut said = Said { command: *command, stages: Default::default() };
        match &command.command {
            Command::DefineAsset(asset) => {
                let done = self.define_asset(asset);
                admin(&mut said, done, EventBody::AssetDefined(*asset));
            }
            Command::DefineInstrument(instrument) => {
                let done = self.define_instrument(instrument);
                admin(&mut said, done, EventBody::InstrumentDefined(*instrument));
            }
            Command::DefineFirm(firm) => {
                let done = self.define_firm(firm);
                admin(&mut said, done, EventBody::FirmDefined(*firm));
            }
            Command::DefineAccount(account) => {
                let done = self.define_account(account);
                admin(&mut said, done, EventBody::AccountDefined(*account));
            }
            Command::DefinePort(port) => {
                let done = self.define_port(port);
                admin(&mut said, done, EventBody::PortDefined(*port));
            }
            Command::Fund(funding) => {
                let done = self.fund(funding);
                let Funding { id, account, asset, amount } = *funding;
                admin(&mut said, done, EventBody::Funded { id, account, asset, amount });
            }
            Command::OpenDay(day) => {
                let done = self.open_day(day);
                admin(&mut said, done, EventBody::DayOpened(*day));
            }
            Command::Login(login) => self.login(login.port, &mut said),
            Command::Logout(logout) => self.logout(logout.port, logout.incarnation, &mut said),
            Command::EnterOrder(enter) => self.enter(enter, &mut said),
            Command::ReplaceOrder(replace) => self.replace(replace, &mut said),
            Command::CancelOrder(cancel) => self.cancel(cancel, &mut said),
            Command::ModifyOrder(modify) => self.modify(modify, &mut said),
            Command::MassCancel(request) => self.mass_cancel(request, &mut said),
            Command::MassCancelSlice(slice) => self.mass_cancel_slice(slice, &mut said),
            Command::DisableOrderEntry(switch) => self.switch_order_entry(switch, true, &mut said),
            Command::EnableOrderEntry(switch) => self.switch_order_entry(switch, false, &mut said),
            Command::AccountQuery(query) => self.account_query(query, &mut said),
            Command::Tick => {}
        }
        said.into_events()
    }

    /// What every account has, sorted by (account, asset); holds are summed anew over the open orders.
    #[must_use]
    pub fn balances(&self) -> Vec<Balance> {
        let held = |account, asset| Amount(self.held(account, asset));
        self.totals
            .iter()
            .map(|(&(account, asset), &total)| Balance {
                account,
                asset,
                total: Amount(total),
                held: held(account, asset),
            })
            .collect()
    }

    /// The open orders of an instrument: bids best first, oldest first at a price; then asks likewise.
    #[must_use]
    pub fn book(&self, instrument: InstrumentId) -> Vec<Order> {
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

    /// Every instrument, in id order.
    #[must_use]
    pub fn instruments(&self) -> &[Instrument] {
        &self.instruments
    }

    /// Slices of mass cancels that are asked for and not yet executed, oldest cause first.
    #[must_use]
    pub fn asks(&self) -> Vec<MassCancelSlice> {
        self.mass_cancels.iter().map(|p| MassCancelSlice { cause: p.cause, slice: p.slice }).collect()
    }

    /// The port's current login, if it is logged in.
    #[must_use]
    pub fn incarnation(&self, port: PortId) -> Option<u32> {
        self.ports.iter().find(|p| p.port.id == port && p.logged_in).map(|p| p.incarnation)
    }

    /// Whether a firm has disabled its order entry; `None` for an unknown one.
    #[must_use]
    pub fn order_entry_disabled(&self, firm: FirmId) -> Option<bool> {
        self.firms.iter().any(|f| f.id == firm).then(|| self.disabled.contains(&firm))
    }

    /// Checks, by definition and over everything, what must hold after every command.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(&self) -> Result<(), String> {
        for asset in &self.assets {
            let of_asset = self.totals.iter().filter(|((_, a), _)| *a == asset.id);
            let sum: i128 = of_asset.map(|(_, total)| total).sum();
            if sum != 0 {
                return Err(format!("asset {}: the sum over all accounts is {sum}", asset.id));
            }
        }
        for Balance { account, asset, total, held } in self.balances() {
            if account != AccountId::WORLD && total.0 < held.0 {
                return Err(format!("account {account} asset {asset}: total {total} is below held {held}"));
            }
        }
        for instrument in &self.instruments {
            let book = self.book(instrument.id);
            let bid = book.iter().filter(|o| o.side.is_buy()).map(|o| o.price).max();
            let ask = book.iter().filter(|o| !o.side.is_buy()).map(|o| o.price).min();
            if let (Some(bid), Some(ask)) = (bid, ask)
                && bid >= ask
            {
                return Err(format!("{}: the book is crossed, bid {bid} ask {ask}", instrument.symbol));
            }
            if let Some(order) = book.iter().find(|o| o.leaves_qty == Qty::ZERO) {
                return Err(format!("{}: an open order with nothing left: {order:?}", instrument.symbol));
            }
        }
        Ok(())
    }
}

// Administration.

fn admin(said: &mut Said, done: Result<(), AdminRefusal>, body: EventBody) {
    said.risk(match done {
        Ok(()) => body,
        Err(refusal) => EventBody::AdminRefused(refusal),
    });
}

/// `Err(refusal)` if `broken`.
fn refuse_if(broken: bool, refusal: AdminRefusal) -> Result<(), AdminRefusal> {
    if broken { Err(refusal) } else { Ok(()) }
}

impl Oracle {
    fn define_asset(&mut self, asset: &Asset) -> Result<(), AdminRefusal> {
        refuse_if(self.assets.iter().any(|a| a.id == asset.id), AdminRefusal::Id)?;
        refuse_if(self.assets.iter().any(|a| a.code == asset.code), AdminRefusal::NameTaken)?;
        refuse_if(asset.decimals > 18, AdminRefusal::Range)?;
        self.assets.push(*asset);
        Ok(())
    }

    fn define_instrument(&mut self, instrument: &Instrument) -> Result<(), AdminRefusal> {
        let next = self.instruments.len() as u32 + 1;
        refuse_if(instrument.id.0 != next || next > 65_535, AdminRefusal::Id)?;
        refuse_if(self.instruments.iter().any(|i| i.symbol == instrument.symbol), AdminRefusal::NameTaken)?;
        refuse_if(
            !self.has_asset(instrument.base) || !self.has_asset(instrument.quote),
            AdminRefusal::Unknown,
        )?;
        let zero = instrument.tick_value == 0 || instrument.lot_units == 0 || instrument.price_tick() == 0;
        let fees = instrument.maker_fee_bps > 10_000 || instrument.taker_fee_bps > 10_000;
        refuse_if(zero || fees || instrument.base == instrument.quote, AdminRefusal::Range)?;
        self.instruments.push(*instrument);
        Ok(())
    }

    fn define_firm(&mut self, firm: &Firm) -> Result<(), AdminRefusal> {
        let next = self.firms.len() as u32 + 1;
        refuse_if(firm.id.0 != next || next >= 1 << 24, AdminRefusal::Id)?;
        refuse_if(self.firms.iter().any(|f| f.mpid == firm.mpid), AdminRefusal::NameTaken)?;
        self.firms.push(*firm);
        Ok(())
    }

    fn define_account(&mut self, account: &Account) -> Result<(), AdminRefusal> {
        let member = (1..=AccountId::MEMBER_MAX.0).contains(&account.id.0);
        refuse_if(!member || self.accounts.iter().any(|a| a.id == account.id), AdminRefusal::Id)?;
        refuse_if(!self.firms.iter().any(|f| f.id == account.firm), AdminRefusal::Unknown)?;
        self.accounts.push(*account);
        Ok(())
    }

    fn define_port(&mut self, port: &Port) -> Result<(), AdminRefusal> {
        let next = self.ports.len() as u32 + 1;
        refuse_if(port.id.0 != next || next >= 1 << 24, AdminRefusal::Id)?;
        refuse_if(self.ports.iter().any(|p| p.port.username == port.username), AdminRefusal::NameTaken)?;
        refuse_if(!self.firms.iter().any(|f| f.id == port.firm), AdminRefusal::Unknown)?;
        let own = self.accounts.iter().any(|a| a.id == port.account && a.firm == port.firm);
        refuse_if(!own, AdminRefusal::Unknown)?;
        self.ports.push(PortState {
            port: *port,
            incarnation: 0,
            logged_in: false,
            consumed: BTreeMap::new(),
        });
        Ok(())
    }

    fn fund(&mut self, funding: &Funding) -> Result<(), AdminRefusal> {
        let Funding { id, account, asset, amount: Amount(amount) } = *funding;
        let known = self.accounts.iter().any(|a| a.id == account) && self.has_asset(asset);
        refuse_if(!known, AdminRefusal::Unknown)?;
        let world = self.total(AccountId::WORLD, asset).checked_sub(amount);
        refuse_if(amount == 0 || world.is_none_or(|w| w == i128::MIN), AdminRefusal::Range)?;
        refuse_if(self.fundings.contains(&id), AdminRefusal::Repeated)?;
        refuse_if(amount < 0 && self.available(account, asset) + amount < 0, AdminRefusal::Funds)?;
        self.fundings.insert(id);
        self.post(&[(AccountId::WORLD, asset, -amount), (account, asset, amount)]);
        Ok(())
    }

    fn open_day(&mut self, day: &OpenDay) -> Result<(), AdminRefusal> {
        refuse_if(self.day.is_some_and(|present| day.date <= present.date), AdminRefusal::Day)?;
        self.day = Some(*day);
        for port in &mut self.ports {
            port.consumed.clear();
        }
        Ok(())
    }

    fn login(&mut self, port: PortId, said: &mut Said) {
        if let Some(state) = self.ports.iter_mut().find(|p| p.port.id == port) {
            state.incarnation += 1;
            state.logged_in = true;
            said.risk(EventBody::LoggedIn { port, incarnation: state.incarnation });
        }
    }

    fn logout(&mut self, port: PortId, incarnation: u32, said: &mut Said) {
        let current = |p: &&mut PortState| p.port.id == port && p.logged_in && p.incarnation == incarnation;
        if let Some(state) = self.ports.iter_mut().find(current) {
            state.logged_in = false;
            said.risk(EventBody::LoggedOut { port, incarnation });
        }
    }

    fn has_asset(&self, asset: AssetId) -> bool {
        self.assets.iter().any(|a| a.id == asset)
    }
}

// Money.

/// `ceil(sum / 10,000)`, for sums of at least 0: the venue's favour.
fn fee(sum: i128) -> i128 {
    assert!(sum >= 0);
    sum / BPS + i128::from(sum % BPS != 0)
}

/// price × quantity × tick value, in the quote asset's smallest unit; `None` beyond 128 bits.
fn notional(instrument: &Instrument, price: Price, qty: Qty) -> Option<i128> {
    i128::from(price.0).checked_mul(i128::from(qty.0))?.checked_mul(i128::from(instrument.tick_value))
}

/// What an order must hold, and of which asset; `None` beyond 128 bits.
fn hold(instrument: &Instrument, order: &Order) -> Option<(AssetId, i128)> {
    if !order.side.is_buy() {
        return Some((
            instrument.base,
            i128::from(order.leaves_qty.0).checked_mul(i128::from(instrument.lot_units))?,
        ));
    }
    let open = notional(instrument, order.price, order.leaves_qty)?;
    let rate = i128::from(instrument.maker_fee_bps.max(instrument.taker_fee_bps));
    let worst = order.fee_sum.checked_add(open.checked_mul(rate)?)?;
    // The fee still to come at worst: of everything, less what is charged already.
    Some((instrument.quote, open.checked_add(fee(worst) - fee(order.fee_sum))?))
}

impl Oracle {
    fn total(&self, account: AccountId, asset: AssetId) -> i128 {
        self.totals.get(&(account, asset)).copied().unwrap_or(0)
    }

    fn held(&self, account: AccountId, asset: AssetId) -> i128 {
        let of_account = self.orders.iter().filter(|o| o.account == account);
        let holds =
            of_account.map(|o| hold(self.instrument_of(o), o).expect("an admitted hold fits 128 bits"));
        holds.filter(|(of, _)| *of == asset).map(|(_, amount)| amount).sum()
    }

    fn available(&self, account: AccountId, asset: AssetId) -> i128 {
        self.total(account, asset) - self.held(account, asset)
    }

    fn post(&mut self, legs: &[(AccountId, AssetId, i128)]) {
        for asset in legs.iter().map(|leg| leg.1) {
            let sum: i128 = legs.iter().filter(|leg| leg.1 == asset).map(|leg| leg.2).sum();
            assert!(sum == 0, "a posting must balance");
        }
        for &(account, asset, amount) in legs {
            *self.totals.entry((account, asset)).or_insert(0) += amount;
        }
    }

    fn instrument(&self, id: InstrumentId) -> Option<&Instrument> {
        self.instruments.iter().find(|i| i.id == id)
    }

    fn instrument_of(&self, order: &Order) -> &Instrument {
        self.instrument(order.instrument).expect("an open order's instrument exists")
    }
}

// Orders.

impl Oracle {
    /// The port, if it exists and `num` is a number not yet used on the channel.
    fn fresh(&self, port: PortId, idx: UserRefIdx, num: UserRefNum) -> Option<Port> {
        let state = self.ports.iter().find(|p| p.port.id == port)?;
        let last = state.consumed.get(&idx).copied().unwrap_or_default();
        let taken = self.place(OrderKey::new(port, idx, num)).is_some();
        (num > last && !taken).then_some(state.port)
    }

    fn consume(&mut self, port: PortId, idx: UserRefIdx, num: UserRefNum) {
        let state = self.ports.iter_mut().find(|p| p.port.id == port).expect("the port was just found");
        state.consumed.insert(idx, num);
    }

    /// Where an open order stands in the list.
    fn place(&self, key: OrderKey) -> Option<usize> {
        self.orders.iter().position(|o| o.key == key)
    }

    /// Caps and funds, in order of precedence; `freed` is a hold that this order takes the place of.
    fn admit(&self, port: &Port, order: &Order, freed: i128) -> Result<(), Reject> {
        let instrument = self.instrument_of(order);
        if order.leaves_qty > port.limits.qty_max {
            return Err(Reject::MaxQuantity);
        }
        if notional(instrument, order.price, order.leaves_qty).is_none_or(|n| n > port.limits.notional_max.0)
        {
            return Err(Reject::OrderNotional);
        }
        match hold(instrument, order) {
            Some((asset, amount)) if amount <= self.available(order.account, asset) + freed => Ok(()),
            _ => Err(Reject::AggregateExposure),
        }
    }

    fn enter(&mut self, enter: &EnterOrder, said: &mut Said) {
        let Some(port) = self.fresh(enter.port, enter.user_ref_idx, enter.user_ref_num) else { return };
        self.consume(enter.port, enter.user_ref_idx, enter.user_ref_num);
        let order = Order {
            key: enter.key(),
            order_ref: OrderRef::new(said.seq(), 0),
            firm: port.firm,
            account: port.account,
            instrument: enter.instrument,
            side: enter.side,
            price: enter.price,
            leaves_qty: enter.qty,
            chain_executed: Qty::ZERO,
            fee_sum: 0,
            display: enter.display,
            capacity: enter.capacity,
            options: enter.options,
        };
        match self.check_enter(enter, &port, &order) {
            Err(reason) => {
                said.risk(EventBody::Rejected { key: order.key, reason, cl_ord_id: enter.cl_ord_id });
            }
            Ok(()) => {
                let accepted = accepted(&order, enter.time_in_force, enter.cl_ord_id);
                self.run(order, Entry::of(enter.time_in_force, enter.options.min_qty), said, |booked| {
                    EventBody::Accepted(Accepted { booked, ..accepted })
                });
            }
        }
    }

    fn check_enter(&self, enter: &EnterOrder, port: &Port, order: &Order) -> Result<(), Reject> {
        if let Some(fault) = enter.fault {
            return Err(fault);
        }
        if self.disabled.contains(&port.firm) {
            return Err(Reject::FirmNotAuthorized);
        }
        if self.instrument(enter.instrument).is_none() {
            return Err(Reject::Symbol);
        }
        if self.day.is_none() {
            return Err(Reject::Halted);
        }
        if enter.qty == Qty::ZERO {
            return Err(Reject::Quantity);
        }
        if enter.price.0 <= 0 {
            return Err(Reject::Price);
        }
        if !min_qty_offered(enter.options.min_qty, enter.time_in_force, enter.qty) {
            return Err(Reject::MinQty);
        }
        self.admit(port, order, 0)
    }

    fn replace(&mut self, replace: &ReplaceOrder, said: &mut Said) {
        let (idx, num) = (replace.user_ref_idx, replace.user_ref_num);
        let Some(port) = self.fresh(replace.port, idx, num) else { return };
        let Some(place) = self.place(OrderKey::new(replace.port, idx, replace.orig_user_ref_num)) else {
            return;
        };
        let original = self.orders[place];
        if self.disabled.contains(&port.firm) {
            self.consume(replace.port, idx, num);
            let (key, reason) = (OrderKey::new(replace.port, idx, num), Reject::FirmNotAuthorized);
            return said.risk(EventBody::Rejected { key, reason, cl_ord_id: replace.cl_ord_id });
        }

        let tick = u64::from(self.instrument_of(&original).price_tick());
        let ticks = i64::try_from(replace.wire_price / tick).ok();
        let whole = replace.wire_price.is_multiple_of(tick);
        let Some(price) = ticks.filter(|&p| p > 0 && whole).map(Price) else {
            return self.cancel_to(place, Qty::ZERO, CancelReason::User, said);
        };
        // OUCH 5.0: prices up to 199,999.9900 and quantities up to 999,999, where the wire is exact.
        let is_exact = matches!(self.instrument_of(&original).scale, Scale::EquityExact { .. });
        let too_much = replace.wire_price > 1_999_999_900 || replace.qty > Qty(999_999);
        if replace.fault.is_some()
            || (is_exact && too_much)
            || replace.qty == Qty::ZERO
            || !min_qty_offered(replace.options.min_qty, replace.time_in_force, replace.qty)
            || replace.qty <= original.chain_executed
        {
            return self.cancel_to(place, Qty::ZERO, CancelReason::User, said);
        }

        let order = Order {
            key: OrderKey::new(replace.port, idx, num),
            order_ref: OrderRef::new(said.seq(), 0),
            price,
            leaves_qty: Qty(replace.qty.0 - original.chain_executed.0),
            fee_sum: 0,
            display: replace.display,
            options: OrderOptions {
                firm: replace.options.firm || original.options.firm,
                customer_type: given(replace.options.customer_type).unwrap_or(original.options.customer_type),
                post_only: given(replace.options.post_only).unwrap_or(original.options.post_only),
                group: replace.options.group.or(original.options.group),
                min_qty: replace.options.min_qty,
            },
            ..original
        };
        self.consume(replace.port, idx, num);
        let (_, freed) =
            hold(self.instrument_of(&original), &original).expect("an admitted hold fits 128 bits");
        if let Err(reason) = self.admit(&port, &order, freed) {
            return said.risk(EventBody::Rejected { key: order.key, reason, cl_ord_id: replace.cl_ord_id });
        }
        self.orders.remove(place);
        let accepted = accepted(&order, replace.time_in_force, replace.cl_ord_id);
        self.run(order, Entry::of(replace.time_in_force, replace.options.min_qty), said, |booked| {
            EventBody::Replaced(Replaced {
                orig_user_ref_num: replace.orig_user_ref_num,
                orig_order_ref: original.order_ref,
                order: Accepted { booked, ..accepted },
            })
        });
    }

    /// Brings an admitted order to the market: kill, trade, cancel the rest, or rest.
    fn run(&mut self, mut order: Order, entry: Entry, said: &mut Said, head: impl FnOnce(bool) -> EventBody) {
        let would_trade = self.best_against(&order).is_some();
        said.matching(head(!would_trade && entry == Entry::Rest));
        if would_trade && order.options.is_post_only() {
            return off_book(&order, CancelReason::PostOnly, said);
        }
        if entry == Entry::FillOrKill && !self.fills_whole(&order) {
            return off_book(&order, CancelReason::Immediate, said);
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
        if entry != Entry::Rest || self.best_against(&order).is_some() {
            return off_book(&order, CancelReason::Immediate, said);
        }
        if trades > 0 {
            let Order { order_ref, firm, instrument, side, leaves_qty: qty, price, display, .. } = order;
            said.matching(EventBody::Rested(Rested {
                order_ref,
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
        self.against(order).min_by_key(|&place| {
            let price = self.orders[place].price.0;
            (if order.side.is_buy() { price } else { -price }, place)
        })
    }

    /// The places of all that `order` could trade with.
    fn against(&self, order: &Order) -> impl Iterator<Item = usize> {
        let crosses = move |o: &Order| {
            o.instrument == order.instrument
                && o.side.is_buy() != order.side.is_buy()
                && if order.side.is_buy() { o.price <= order.price } else { o.price >= order.price }
        };
        (0..self.orders.len()).filter(move |&place| crosses(&self.orders[place]))
    }

    fn fills_whole(&self, order: &Order) -> bool {
        let mut resting: Vec<Order> = self.against(order).map(|place| self.orders[place]).collect();
        resting.sort_by_key(|o| if order.side.is_buy() { o.price.0 } else { -o.price.0 });
        let within = resting.iter().take(TRADES_MAX).map(|o| u128::from(o.leaves_qty.0)).sum::<u128>();
        within >= u128::from(order.leaves_qty.0)
    }

    fn trade(&mut self, aggressor: &mut Order, place: usize, number: u32, said: &mut Said) {
        let instrument = *self.instrument_of(aggressor);
        let resting = &mut self.orders[place];
        let price = resting.price;
        let qty = aggressor.leaves_qty.min(resting.leaves_qty);
        let quote = notional(&instrument, price, qty).expect("a trade's notional is within its buyer's hold");

        let resting_fee = execute(resting, qty, quote * i128::from(instrument.maker_fee_bps));
        let aggressor_fee = execute(aggressor, qty, quote * i128::from(instrument.taker_fee_bps));
        let resting = *resting;
        if resting.leaves_qty == Qty::ZERO {
            self.orders.remove(place);
        }

        let match_number = MatchNumber::new(said.seq(), number);
        said.matching(EventBody::Trade(Trade {
            match_number,
            instrument: instrument.id,
            price,
            qty,
            aggressor_buys: aggressor.side.is_buy(),
            resting: executed(&resting),
            aggressor: executed(aggressor),
        }));

        let (buyer, buyer_fee, seller, seller_fee) = if aggressor.side.is_buy() {
            (aggressor.account, aggressor_fee, resting.account, resting_fee)
        } else {
            (resting.account, resting_fee, aggressor.account, aggressor_fee)
        };
        let base = i128::from(qty.0) * i128::from(instrument.lot_units);
        self.post(&[
            (seller, instrument.base, -base),
            (buyer, instrument.base, base),
            (buyer, instrument.quote, -quote - buyer_fee),
            (seller, instrument.quote, quote - seller_fee),
            (AccountId::fees(instrument.id), instrument.quote, buyer_fee + seller_fee),
        ]);
        said.settlement(EventBody::Settled(Settled {
            match_number,
            instrument: instrument.id,
            buyer,
            seller,
            base: Amount(base),
            quote: Amount(quote),
            buyer_fee: Amount(buyer_fee),
            seller_fee: Amount(seller_fee),
        }));
    }

    fn cancel(&mut self, cancel: &CancelOrder, said: &mut Said) {
        let Some(place) = self.place(OrderKey::new(cancel.port, cancel.user_ref_idx, cancel.user_ref_num))
        else {
            return;
        };
        let leaves = Qty(cancel.qty.0.saturating_sub(self.orders[place].chain_executed.0));
        if leaves < self.orders[place].leaves_qty {
            self.cancel_to(place, leaves, CancelReason::User, said);
        }
    }

    fn modify(&mut self, modify: &ModifyOrder, said: &mut Said) {
        let Some(place) = self.place(OrderKey::new(modify.port, modify.user_ref_idx, modify.user_ref_num))
        else {
            return;
        };
        let order = self.orders[place];
        let leaves = Qty(modify.qty.0.saturating_sub(order.chain_executed.0));
        let may_become = match order.side {
            Side::Buy => [Side::Buy].as_slice(),
            Side::Sell => &[Side::Sell, Side::SellShort, Side::SellShortExempt],
            Side::SellShort => &[Side::SellShort],
            Side::SellShortExempt => &[Side::SellShortExempt, Side::SellShort],
        };
        let unchanged = modify.side == order.side && leaves == order.leaves_qty;
        if !may_become.contains(&modify.side) || leaves > order.leaves_qty || unchanged {
            return;
        }
        if leaves == Qty::ZERO {
            return self.cancel_to(place, leaves, CancelReason::User, said);
        }
        self.orders[place].side = modify.side;
        self.orders[place].leaves_qty = leaves;
        said.matching(EventBody::Modified(Modified {
            key: order.key,
            order_ref: order.order_ref,
            instrument: order.instrument,
            side: modify.side,
            qty: Qty(order.leaves_qty.0 - leaves.0),
            leaves_qty: leaves,
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
        }
        said.matching(EventBody::Canceled(Canceled {
            key: order.key,
            order_ref: order.order_ref,
            instrument: order.instrument,
            qty: Qty(order.leaves_qty.0 - leaves_qty.0),
            leaves_qty,
            reason,
            displayed: true,
        }));
    }

    fn switch_order_entry(&mut self, asked: &OrderEntrySwitch, disable: bool, said: &mut Said) {
        let (idx, num) = (asked.user_ref_idx, asked.user_ref_num);
        let Some(port) = self.fresh(asked.port, idx, num) else { return };
        self.consume(asked.port, idx, num);
        let not_own = (asked.firm != port.firm).then_some(Reject::FirmNotAuthorized);
        said.risk(match asked.fault.or(not_own) {
            Some(reason) => {
                let (key, cl_ord_id) = (OrderKey::new(asked.port, idx, num), ClOrdId::default());
                EventBody::Rejected { key, reason, cl_ord_id }
            }
            None if disable => {
                self.disabled.insert(asked.firm);
                EventBody::OrderEntryDisabled(*asked)
            }
            None => {
                self.disabled.remove(&asked.firm);
                EventBody::OrderEntryEnabled(*asked)
            }
        });
    }

    fn mass_cancel(&mut self, request: &MassCancel, said: &mut Said) {
        let MassCancel { port, user_ref_idx, user_ref_num, .. } = *request;
        let Some(definition) = self.fresh(port, user_ref_idx, user_ref_num) else { return };
        self.consume(port, user_ref_idx, user_ref_num);
        let refused = if request.fault.is_some() {
            request.fault
        } else if request.firm != definition.firm {
            Some(Reject::FirmNotAuthorized)
        } else if request.instrument != InstrumentId::NONE && self.instrument(request.instrument).is_none() {
            Some(Reject::Symbol)
        } else {
            None
        };
        if let Some(reason) = refused {
            let key = OrderKey::new(port, user_ref_idx, user_ref_num);
            return said.risk(EventBody::Rejected { key, reason, cl_ord_id: ClOrdId::default() });
        }
        said.risk(EventBody::MassCancelAccepted(*request));
        let first =
            if request.instrument == InstrumentId::NONE { InstrumentId(1) } else { request.instrument };
        if self.instrument(first).is_some() {
            let cause = said.seq();
            self.mass_cancels.push(PendingMassCancel {
                cause,
                request: *request,
                slice: 0,
                instrument: first,
            });
            said.risk(EventBody::MassCancelAsked { cause, slice: 0 });
        }
    }

    fn mass_cancel_slice(&mut self, slice: &MassCancelSlice, said: &mut Said) {
        let due = |p: &PendingMassCancel| p.cause == slice.cause && p.slice == slice.slice;
        let Some(at) = self.mass_cancels.iter().position(due) else { return };
        let PendingMassCancel { cause, request, instrument, .. } = self.mass_cancels[at];
        let meant = |o: &Order| {
            o.firm == request.firm
                && o.order_ref < OrderRef::new(cause, 0)
                && match request.group {
                    None => true,
                    Some(0) => o.options.group.is_none_or(|g| g == 0),
                    Some(group) => o.options.group == Some(group),
                }
                && request.side.is_none_or(|side| side == o.side)
        };
        let keys: Vec<OrderKey> =
            self.book(instrument).iter().filter(|&order| meant(order)).map(|order| order.key).collect();
        for &key in keys.iter().take(SLICE_ORDERS) {
            let place = self.place(key).expect("the order was just on the book");
            self.cancel_to(place, Qty::ZERO, CancelReason::Supervisory, said);
        }
        let next = if keys.len() > SLICE_ORDERS {
            Some(instrument)
        } else if request.instrument == InstrumentId::NONE {
            Some(InstrumentId(instrument.0 + 1)).filter(|&i| self.instrument(i).is_some())
        } else {
            None
        };
        if let Some(instrument) = next {
            let slice = slice.slice + 1;
            self.mass_cancels[at] = PendingMassCancel { cause, request, slice, instrument };
            said.settlement(EventBody::MassCancelAsked { cause, slice });
        } else {
            self.mass_cancels.remove(at);
        }
    }

    fn account_query(&mut self, query: &AccountQuery, said: &mut Said) {
        if let Some(state) = self.ports.iter().find(|p| p.port.id == query.port) {
            let last = state.consumed.get(&query.user_ref_idx).copied().unwrap_or_default();
            let (port, user_ref_idx) = (query.port, query.user_ref_idx);
            // There is no number after the last one of 32 bits; every further order is a retransmission.
            let next = UserRefNum(last.0.saturating_add(1));
            said.risk(EventBody::AccountQueried { port, user_ref_idx, next });
        }
    }
}

/// Takes an execution of `qty` into an order's sums and returns the fee it costs: of the whole sum
/// so far, rounded up once, less what was charged before.
fn execute(order: &mut Order, qty: Qty, fee_sum: i128) -> i128 {
    let charged = fee(order.fee_sum);
    order.fee_sum += fee_sum;
    order.leaves_qty.0 -= qty.0;
    order.chain_executed.0 += qty.0;
    fee(order.fee_sum) - charged
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
        displayed: false,
    }));
}

fn accepted(order: &Order, time_in_force: TimeInForce, cl_ord_id: ClOrdId) -> Accepted {
    Accepted {
        key: order.key,
        order_ref: order.order_ref,
        firm: order.firm,
        instrument: order.instrument,
        side: order.side,
        qty: order.leaves_qty,
        price: order.price,
        time_in_force,
        display: order.display,
        capacity: order.capacity,
        cl_ord_id,
        options: order.options,
        booked: false,
    }
}

fn executed(order: &Order) -> Executed {
    Executed { key: order.key, order_ref: order.order_ref, leaves_qty: order.leaves_qty }
}

fn min_qty_offered(min_qty: u32, time_in_force: TimeInForce, qty: Qty) -> bool {
    min_qty == 0 || (time_in_force == TimeInForce::Ioc && u64::from(min_qty) == qty.0)
}

/// `None` for 0, which stands for an absent option.
fn given(option: u8) -> Option<u8> {
    (option != 0).then_some(option)
}
