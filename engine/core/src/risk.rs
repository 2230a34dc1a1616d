//! Stage 1, by account: checks and holds, and administration. What is admitted goes to stage 2.

use crate::{
    desk::{Desk, OpenRecord, PendingMassCancel, notional, worst_case},
    matching::{Incoming, Request, Slice, Voice},
};
use ironbell_types::{
    Accepted, AccountId, AdminRefusal, AssetId, CancelOrder, ClOrdId, Command, EQUITY_QTY_MAX,
    EQUITY_WIRE_PRICE_MAX, EnterOrder, EventBody, FirmId, Funding, Instrument, InstrumentId, Login, Logout,
    MassCancel, MassCancelSlice, ModifyOrder, OpenDay, OrderEntrySwitch, OrderKey, OrderOptions, OrderRef,
    Port, PortId, PortLimits, Price, Qty, Reject, ReplaceOrder, Scale, Seq, Side, TimeInForce, UserRefIdx,
    UserRefNum,
};

/// An order's worst case, and the ledger entries it touches.
#[derive(Clone)]
struct Admitted {
    hold: i128,
    base: u32,
    quote: u32,
}

/// What of a port decides about its orders.
#[derive(Clone)]
struct Owner {
    firm: FirmId,
    account: AccountId,
    limits: PortLimits,
}

/// Checks a command against accounts and ports; says what is refused or needs no book.
pub(crate) fn admit(desk: &mut Desk, command: &Command, voice: &mut Voice<'_>) -> Option<Request> {
    match command {
        Command::EnterOrder(enter) => desk.enter(enter, voice),
        Command::ReplaceOrder(replace) => desk.replace(replace, voice),
        Command::CancelOrder(cancel) => desk.cancel(cancel),
        Command::ModifyOrder(modify) => desk.modify(modify),
        Command::MassCancel(mass_cancel) => {
            desk.mass_cancel(mass_cancel, voice);
            None
        }
        Command::MassCancelSlice(slice) => desk.slice(*slice),
        Command::DisableOrderEntry(switch) => {
            desk.switch_order_entry(switch, true, voice);
            None
        }
        Command::EnableOrderEntry(switch) => {
            desk.switch_order_entry(switch, false, voice);
            None
        }
        _ => {
            desk.administer(command, voice);
            None
        }
    }
}

impl Desk {
    /// Whether a number is new on its channel and names no open order, and whose it is.
    fn fresh(&self, port: PortId, idx: UserRefIdx, num: UserRefNum) -> Option<(OrderKey, Owner)> {
        let state = self.directory.port(port)?;
        let Port { firm, account, limits, .. } = state.port;
        let key = OrderKey::new(port, idx, num);
        (num > state.last(idx) && self.find(key).is_none()).then_some((key, Owner { firm, account, limits }))
    }

    fn consume(&mut self, key: OrderKey) {
        let port = self.directory.port_mut(key.port()).expect("a fresh number is a known port's");
        port.consume(key.idx(), key.num());
    }

    fn enter(&mut self, enter: &EnterOrder, voice: &mut Voice<'_>) -> Option<Request> {
        let (key, owner) = self.fresh(enter.port, enter.user_ref_idx, enter.user_ref_num)?;
        self.consume(key);
        let admitted = match self.check_enter(enter, &owner) {
            Ok(admitted) => admitted,
            Err(reason) => {
                voice.say(EventBody::Rejected { key, reason, cl_ord_id: enter.cl_ord_id });
                return None;
            }
        };
        let order = Accepted {
            key,
            order_ref: OrderRef::new(voice.seq(), 0),
            firm: owner.firm,
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
        };
        let token = self.open(record(&order, &admitted, 0));
        Some(Request::Enter(Incoming { order, token }))
    }

    fn check_enter(&mut self, enter: &EnterOrder, owner: &Owner) -> Result<Admitted, Reject> {
        if let Some(fault) = enter.fault {
            return Err(fault);
        }
        self.check_order_entry(owner)?;
        let instrument = *self.directory.instrument(enter.instrument).ok_or(Reject::Symbol)?;
        if self.day.is_none() {
            return Err(Reject::Halted);
        }
        if enter.qty == Qty::ZERO {
            return Err(Reject::Quantity);
        }
        if enter.price.0 <= 0 {
            return Err(Reject::Price);
        }
        if !is_offered(&enter.options, enter.time_in_force, enter.qty) {
            return Err(Reject::MinQty);
        }
        self.check_worth(&instrument, owner, enter.side, enter.price, enter.qty, 0)
    }

    fn check_order_entry(&self, owner: &Owner) -> Result<(), Reject> {
        let firm = self.directory.firm(owner.firm).expect("a port's firm");
        if firm.order_entry_disabled { Err(Reject::FirmNotAuthorized) } else { Ok(()) }
    }

    /// Caps and funds; `freed` counts as available.
    fn check_worth(
        &mut self,
        instrument: &Instrument,
        owner: &Owner,
        side: Side,
        price: Price,
        qty: Qty,
        freed: i128,
    ) -> Result<Admitted, Reject> {
        if qty > owner.limits.qty_max {
            return Err(Reject::MaxQuantity);
        }
        let price = price.0.cast_unsigned();
        if notional(instrument, price, qty.0).is_none_or(|notional| notional > owner.limits.notional_max.0) {
            return Err(Reject::OrderNotional);
        }
        let buys = side.is_buy();
        let hold = worst_case(instrument, buys, price, qty.0, 0).ok_or(Reject::AggregateExposure)?;
        let asset = if buys { instrument.quote } else { instrument.base };
        let entry = self.ledger.find(owner.account, asset).ok_or(Reject::AggregateExposure)?;
        if self.ledger.available(entry) + freed < hold {
            return Err(Reject::AggregateExposure);
        }
        let other = self.ledger.open(owner.account, if buys { instrument.base } else { instrument.quote });
        let (base, quote) = if buys { (other, entry) } else { (entry, other) };
        Ok(Admitted { hold, base, quote })
    }

    fn replace(&mut self, replace: &ReplaceOrder, voice: &mut Voice<'_>) -> Option<Request> {
        let (key, owner) = self.fresh(replace.port, replace.user_ref_idx, replace.user_ref_num)?;
        let orig_key = OrderKey::new(replace.port, replace.user_ref_idx, replace.orig_user_ref_num);
        let orig = self.open[self.find(orig_key)?];
        if let Err(reason) = self.check_order_entry(&owner) {
            self.consume(key);
            voice.say(EventBody::Rejected { key, reason, cl_ord_id: replace.cl_ord_id });
            return None;
        }
        let instrument = *self.directory.instrument(orig.instrument).expect("an open order's instrument");
        let price = match replaced_price(replace, &instrument) {
            Some(price) if replace.qty.0 > orig.executed => price,
            _ => return Some(Request::Cancel { order_ref: orig.order_ref, total: Qty::ZERO }),
        };
        self.consume(key);
        let leaves = Qty(replace.qty.0 - orig.executed);
        let mut admitted = match self.check_worth(&instrument, &owner, orig.side, price, leaves, orig.hold) {
            Ok(admitted) => admitted,
            Err(reason) => {
                voice.say(EventBody::Rejected { key, reason, cl_ord_id: replace.cl_ord_id });
                return None;
            }
        };
        // Until the original is heard to be gone the two together hold the higher of both.
        admitted.hold = (admitted.hold - orig.hold).max(0);
        let order = Accepted {
            key,
            order_ref: OrderRef::new(voice.seq(), 0),
            firm: owner.firm,
            instrument: orig.instrument,
            side: orig.side,
            qty: leaves,
            price,
            time_in_force: replace.time_in_force,
            display: replace.display,
            capacity: orig.capacity,
            cl_ord_id: replace.cl_ord_id,
            options: inherit(replace.options, &orig.options),
            booked: false,
        };
        let token = self.open(record(&order, &admitted, orig.executed));
        Some(Request::Replace {
            orig: orig.order_ref,
            total: replace.qty,
            incoming: Incoming { order, token },
        })
    }

    fn cancel(&self, cancel: &CancelOrder) -> Option<Request> {
        self.directory.port(cancel.port)?;
        let key = OrderKey::new(cancel.port, cancel.user_ref_idx, cancel.user_ref_num);
        let order_ref = self.open[self.find(key)?].order_ref;
        Some(Request::Cancel { order_ref, total: cancel.qty })
    }

    fn modify(&self, modify: &ModifyOrder) -> Option<Request> {
        self.directory.port(modify.port)?;
        let key = OrderKey::new(modify.port, modify.user_ref_idx, modify.user_ref_num);
        let record = &self.open[self.find(key)?];
        let request = Request::Modify { order_ref: record.order_ref, side: modify.side, total: modify.qty };
        may_become(record.side, modify.side).then_some(request)
    }

    fn mass_cancel(&mut self, asked: &MassCancel, voice: &mut Voice<'_>) {
        let Some((key, owner)) = self.fresh(asked.port, asked.user_ref_idx, asked.user_ref_num) else {
            return;
        };
        self.consume(key);
        if let Err(reason) = self.check_mass_cancel(asked, &owner) {
            voice.say(EventBody::Rejected { key, reason, cl_ord_id: ClOrdId::default() });
            return;
        }
        voice.say(EventBody::MassCancelAccepted(*asked));
        if self.directory.instruments.is_empty() {
            return;
        }
        let all = asked.instrument == InstrumentId::NONE;
        self.mass_cancels.push(PendingMassCancel {
            cause: voice.seq(),
            slice: 0,
            instrument: if all { InstrumentId(1) } else { asked.instrument },
            all,
            firm: asked.firm,
            group: asked.group,
            side: asked.side,
        });
        voice.say(EventBody::MassCancelAsked { cause: voice.seq(), slice: 0 });
    }

    fn check_mass_cancel(&self, asked: &MassCancel, owner: &Owner) -> Result<(), Reject> {
        if let Some(fault) = asked.fault {
            return Err(fault);
        }
        if asked.firm != owner.firm {
            return Err(Reject::FirmNotAuthorized);
        }
        if asked.instrument != InstrumentId::NONE && self.directory.instrument(asked.instrument).is_none() {
            return Err(Reject::Symbol);
        }
        Ok(())
    }

    fn switch_order_entry(&mut self, asked: &OrderEntrySwitch, disable: bool, voice: &mut Voice<'_>) {
        let Some((key, owner)) = self.fresh(asked.port, asked.user_ref_idx, asked.user_ref_num) else {
            return;
        };
        self.consume(key);
        let foreign = (asked.firm != owner.firm).then_some(Reject::FirmNotAuthorized);
        if let Some(reason) = asked.fault.or(foreign) {
            voice.say(EventBody::Rejected { key, reason, cl_ord_id: ClOrdId::default() });
            return;
        }
        let firm = self.directory.firm_mut(owner.firm).expect("a port's firm");
        firm.order_entry_disabled = disable;
        voice.say(if disable {
            EventBody::OrderEntryDisabled(*asked)
        } else {
            EventBody::OrderEntryEnabled(*asked)
        });
    }

    fn slice(&self, slice: MassCancelSlice) -> Option<Request> {
        let pending = &self.mass_cancels[self.pending(slice.cause)?];
        (pending.slice == slice.slice).then_some(Request::Slice(Slice {
            cause: pending.cause,
            firm: pending.firm,
            instrument: pending.instrument,
            group: pending.group,
            side: pending.side,
        }))
    }

    pub(crate) fn pending(&self, cause: Seq) -> Option<usize> {
        self.mass_cancels.binary_search_by_key(&cause, |pending| pending.cause).ok()
    }

    fn administer(&mut self, command: &Command, voice: &mut Voice<'_>) {
        let directory = &mut self.directory;
        let done = match *command {
            Command::DefineAsset(asset) => {
                directory.define_asset(asset).map(|()| EventBody::AssetDefined(asset))
            }
            Command::DefineInstrument(instrument) => directory.define_instrument(instrument).map(|()| {
                let fees = AccountId::fees(instrument.id);
                self.fee_entries.push(self.ledger.open(fees, instrument.quote));
                EventBody::InstrumentDefined(instrument)
            }),
            Command::DefineFirm(firm) => directory.define_firm(firm).map(|()| EventBody::FirmDefined(firm)),
            Command::DefineAccount(account) => {
                directory.define_account(account).map(|()| EventBody::AccountDefined(account))
            }
            Command::DefinePort(port) => directory.define_port(port).map(|()| EventBody::PortDefined(port)),
            Command::Fund(funding) => self.fund(&funding),
            Command::OpenDay(day) => self.open_day(day),
            Command::Login(login) => return self.login(login, voice),
            Command::Logout(logout) => return self.logout(logout, voice),
            Command::AccountQuery(query) => {
                if let Some(port) = self.directory.port(query.port) {
                    let next = UserRefNum(port.last(query.user_ref_idx).0.saturating_add(1));
                    let (port, user_ref_idx) = (query.port, query.user_ref_idx);
                    voice.say(EventBody::AccountQueried { port, user_ref_idx, next });
                }
                return;
            }
            Command::Tick => return,
            Command::EnterOrder(_)
            | Command::ReplaceOrder(_)
            | Command::CancelOrder(_)
            | Command::ModifyOrder(_)
            | Command::MassCancel(_)
            | Command::MassCancelSlice(_)
            | Command::DisableOrderEntry(_)
            | Command::EnableOrderEntry(_) => unreachable!("an order command is not administrative"),
        };
        voice.say(done.unwrap_or_else(EventBody::AdminRefused));
    }

    fn fund(&mut self, funding: &Funding) -> Result<EventBody, AdminRefusal> {
        let Funding { id, account, asset, amount } = *funding;
        if !self.directory.accounts.contains_key(&account) || !self.directory.assets.contains_key(&asset) {
            return Err(AdminRefusal::Unknown);
        }
        let world = self.world(asset);
        let world_after = world.checked_sub(amount.0).filter(|total| *total > i128::MIN);
        if amount.0 == 0 || world_after.is_none() {
            return Err(AdminRefusal::Range);
        }
        if self.fundings.contains(&id) {
            return Err(AdminRefusal::Repeated);
        }
        let available = self.ledger.find(account, asset).map_or(0, |entry| self.ledger.available(entry));
        if amount.0 < 0 && amount.0.unsigned_abs() > available.unsigned_abs() {
            return Err(AdminRefusal::Funds);
        }
        self.fundings.insert(id);
        let world = self.ledger.open(AccountId::WORLD, asset);
        let member = self.ledger.open(account, asset);
        let (from, to) = if amount.0 > 0 { (world, member) } else { (member, world) };
        self.ledger.post(from, to, amount.0.abs());
        Ok(EventBody::Funded { id, account, asset, amount })
    }

    fn world(&self, asset: AssetId) -> i128 {
        self.ledger.find(AccountId::WORLD, asset).map_or(0, |entry| self.ledger.total(entry))
    }

    fn open_day(&mut self, day: OpenDay) -> Result<EventBody, AdminRefusal> {
        if self.day.is_some_and(|present| day.date <= present.date) {
            return Err(AdminRefusal::Day);
        }
        self.day = Some(day);
        for port in &mut self.directory.ports {
            port.new_day();
        }
        Ok(EventBody::DayOpened(day))
    }

    fn login(&mut self, login: Login, voice: &mut Voice<'_>) {
        if let Some(port) = self.directory.port_mut(login.port) {
            port.incarnation += 1;
            port.logged_in = true;
            voice.say(EventBody::LoggedIn { port: login.port, incarnation: port.incarnation });
        }
    }

    fn logout(&mut self, logout: Logout, voice: &mut Voice<'_>) {
        let Some(port) = self.directory.port_mut(logout.port) else { return };
        if port.logged_in && port.incarnation == logout.incarnation {
            port.logged_in = false;
            voice.say(EventBody::LoggedOut { port: logout.port, incarnation: logout.incarnation });
        }
    }
}

fn record(order: &Accepted, admitted: &Admitted, executed: u64) -> OpenRecord {
    OpenRecord {
        key: order.key,
        order_ref: order.order_ref,
        price: order.price.0.cast_unsigned(),
        leaves: order.qty.0,
        executed,
        hold: admitted.hold,
        base: admitted.base,
        quote: admitted.quote,
        instrument: order.instrument,
        options: order.options,
        fee_part: 0,
        side: order.side,
        capacity: order.capacity,
    }
}

/// A minimum quantity is offered only as fill-or-kill.
fn is_offered(options: &OrderOptions, time_in_force: TimeInForce, qty: Qty) -> bool {
    let whole = time_in_force == TimeInForce::Ioc && u64::from(options.min_qty) == qty.0;
    options.min_qty == 0 || whole
}

/// The price in ticks of a replacement without fault.
fn replaced_price(replace: &ReplaceOrder, instrument: &Instrument) -> Option<Price> {
    let tick = u64::from(instrument.price_tick());
    let faultless = replace.fault.is_none()
        && fits_wire(replace, instrument)
        && replace.wire_price != 0
        && replace.wire_price.is_multiple_of(tick)
        && replace.qty.0 != 0
        && is_offered(&replace.options, replace.time_in_force, replace.qty);
    let ticks = i64::try_from(replace.wire_price / tick).ok()?;
    faultless.then_some(Price(ticks))
}

/// Whether price and total are within what OUCH gives an equity-exact instrument. The gateway checks this
/// of an Enter Order; a Replace Order names no instrument, so it cannot.
fn fits_wire(replace: &ReplaceOrder, instrument: &Instrument) -> bool {
    match instrument.scale {
        Scale::EquityExact { .. } => {
            replace.wire_price <= EQUITY_WIRE_PRICE_MAX && replace.qty.0 <= u64::from(EQUITY_QTY_MAX)
        }
        Scale::Scaled => true,
    }
}

/// A replacement's options; an absent one keeps the original's value.
fn inherit(given: OrderOptions, original: &OrderOptions) -> OrderOptions {
    let or = |given, original| if given == 0 { original } else { given };
    OrderOptions {
        firm: given.firm || original.firm,
        customer_type: or(given.customer_type, original.customer_type),
        post_only: or(given.post_only, original.post_only),
        group: given.group.or(original.group),
        // An order with a minimum never rests, so an original has none to keep.
        min_qty: given.min_qty,
    }
}

/// Whether Modify Order may turn a side into another (OUCH 5.0, Modify Order, Side).
fn may_become(from: Side, to: Side) -> bool {
    from == to
        || matches!(
            (from, to),
            (Side::Sell, Side::SellShortExempt | Side::SellShort) | (Side::SellShortExempt, Side::SellShort)
        )
}
