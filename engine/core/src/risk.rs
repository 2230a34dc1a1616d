//! Stage 1, by account: checks and holds, and administration. What is admitted goes to stage 2.

use crate::{
    desk::{Desk, OpenRecord, cost_max, delivery, notional},
    directory::{DeadMan, FirmState, InstrumentState, PortState},
    homes::{self, slot_of},
    index::NONE,
    limits::{Open, Place, is_short},
    matching::{Incoming, Request, Voice},
    quotes::{Quoted, Sides},
    rate::Row,
    terms::{Together, is_for_cross, rests},
};
use ironbell_types::{
    Accepted, AccountId, AssetId, CancelOrder, ClOrdId, Command, Display, EQUITY_QTY_MAX,
    EQUITY_WIRE_PRICE_MAX, EnterOrder, EventBody, Instrument, InstrumentId, Login, MassCancel, ModifyOrder,
    Nanos, OrderEntrySwitch, OrderKey, OrderOptions, OrderRef, OrderStateQuery, OrderTerms, PortId, Price,
    Qty, Quote, QuoteSide, Reject, ReplaceOrder, Scale, Seq, Side, Stp, TimeInForce, UserRefIdx, UserRefNum,
};

/// An order's worst case, and the ledger entries it touches; [`NONE`] of an asset that the account never had.
struct Admitted {
    worth: u64,
    hold: i128,
    base: u32,
    quote: u32,
    tier: u8,
    /// The port remembers the entries.
    is_known: bool,
}

/// Who sends an order and what it is for, looked up once.
#[derive(Clone, Copy)]
struct Asked<'a> {
    port: &'a PortState,
    firm: &'a FirmState,
    state: &'a InstrumentState,
}

/// What an order is to hold, and in which of its assets.
struct Wanted {
    account: AccountId,
    /// The ledger entries of base and quote asset, if they are remembered.
    entries: Option<(u32, u32)>,
    buys: bool,
    base: AssetId,
    quote: AssetId,
    hold: i128,
    worth: u64,
    tier: u8,
}

/// What an order is worth.
struct Worth {
    /// The price that holds and limits reckon with.
    price: u64,
    /// All of it at that price.
    notional: i128,
}

/// Checks an order against accounts and ports; says what is refused. `None` also when nothing is left to do.
#[inline(always)]
pub(crate) fn admit(desk: &mut Desk, command: &Command, voice: &mut Voice<'_>) -> Option<Request> {
    if desk.dead_men > 0 {
        desk.hear(command, voice.time());
    }
    match command {
        Command::EnterOrder(enter) => desk.enter(enter, voice),
        Command::ReplaceOrder(replace) => desk.replace(replace, voice),
        Command::CancelOrder(cancel) => desk.cancel(cancel),
        Command::ModifyOrder(modify) => desk.modify(modify),
        Command::Quote(quote) => desk.quote(quote, false, voice),
        _ => unreachable!("the office does it"),
    }
}

/// The port that a command came in on, but for logins and logouts.
#[inline(always)]
pub(crate) fn port_of(command: &Command) -> Option<PortId> {
    match command {
        Command::EnterOrder(EnterOrder { port, .. })
        | Command::ReplaceOrder(ReplaceOrder { port, .. })
        | Command::CancelOrder(CancelOrder { port, .. })
        | Command::ModifyOrder(ModifyOrder { port, .. })
        | Command::MassCancel(MassCancel { port, .. })
        | Command::DisableOrderEntry(OrderEntrySwitch { port, .. })
        | Command::EnableOrderEntry(OrderEntrySwitch { port, .. })
        | Command::Quote(Quote { port, .. })
        | Command::OrderStateQuery(OrderStateQuery { port, .. }) => Some(*port),
        Command::AccountQuery(query) => Some(query.port),
        Command::DeadMan(dead_man) => Some(dead_man.port),
        _ => None,
    }
}

impl Desk {
    /// A number's name, when it is new on its channel and names no open order.
    #[inline(always)]
    pub(crate) fn fresh(&self, port: PortId, idx: UserRefIdx, num: UserRefNum) -> Option<OrderKey> {
        let state = self.directory.port(port)?;
        let key = OrderKey::new(port, idx, num);
        (num > state.last(idx) && self.find(key).is_none()).then_some(key)
    }

    #[inline(always)]
    pub(crate) fn consume(&mut self, key: OrderKey) {
        let port = self.directory.port_mut(key.port()).expect("a fresh number is a known port's");
        port.consume(key.idx(), key.num());
    }

    #[inline(always)]
    fn port(&self, key: OrderKey) -> &PortState {
        self.directory.port(key.port()).expect("a fresh number is a known port's")
    }

    #[inline(never)]
    fn enter(&mut self, enter: &EnterOrder, voice: &mut Voice<'_>) -> Option<Request> {
        // A plain order's terms are told as constants, so that the compiler asks for none of them.
        if enter.terms.is_plain() {
            self.enter_with(enter, OrderTerms::default(), voice)
        } else {
            self.enter_special(enter, voice)
        }
    }

    #[inline(never)]
    fn enter_special(&mut self, enter: &EnterOrder, voice: &mut Voice<'_>) -> Option<Request> {
        self.enter_with(enter, enter.terms, voice)
    }

    #[inline(always)]
    fn enter_with(
        &mut self,
        enter: &EnterOrder,
        terms: OrderTerms,
        voice: &mut Voice<'_>,
    ) -> Option<Request> {
        let key = self.fresh(enter.port, enter.user_ref_idx, enter.user_ref_num)?;
        let port = self.directory.port_mut(enter.port).expect("a fresh number is a known port's");
        port.consume(key.idx(), key.num());
        let firm = port.port.firm;
        let order = Accepted {
            key,
            order_ref: OrderRef::new(voice.seq(), 0),
            firm,
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
            shown_qty: Qty::ZERO,
        };
        match self.check_enter(&order, &terms, enter.fault, voice.time()) {
            Ok((admitted, pair)) => {
                let token = self.take_in(&order, &terms, &admitted, 0);
                Some(Request::Enter(self.incoming(&order, &terms, token, pair)))
            }
            Err(reason) => {
                voice.say(EventBody::Rejected { key, reason, cl_ord_id: order.cl_ord_id });
                None
            }
        }
    }

    /// Points 3 to 18.
    #[inline(always)]
    fn check_enter(
        &mut self,
        order: &Accepted,
        terms: &OrderTerms,
        fault: Option<Reject>,
        now: Nanos,
    ) -> Result<(Admitted, Option<OrderRef>), Reject> {
        if let Some(fault) = fault {
            return Err(fault);
        }
        self.check_rate(order.key, now)?;
        let (port, firm) = self.sender(order.key)?;
        let state = self.directory.listed(order.instrument).ok_or(Reject::Symbol)?;
        let asked = Asked { port, firm, state };
        self.check_tradable(asked)?;
        if order.qty == Qty::ZERO {
            return Err(Reject::Quantity);
        }
        if !is_priced(order, terms) {
            return Err(Reject::Price);
        }
        Together::check_order(order, terms, now)?;
        let pair = self.check_pair(order, terms.oco)?;
        check_range(asked, order, terms, terms.discretion)?;
        let worth = check_caps(asked, order, terms)?;
        let asked = if port.rules.duplicates_max == 0 {
            asked
        } else {
            let Accepted { key, instrument, side, qty, price, .. } = *order;
            self.check_row(key, Row { instrument, side, qty, price, begin: now, orders: 1 })?;
            self.asked(order)
        };
        self.check_locate(order, 0)?;
        let wanted = self.check_limits(asked, order, &worth, &[])?;
        Ok((self.check_funds(&wanted, &[])?, pair))
    }

    /// Who sends and for what, once both are known to exist.
    #[inline(always)]
    fn asked(&self, order: &Accepted) -> Asked<'_> {
        let port = self.port(order.key);
        let firm = self.directory.firm(order.firm).expect("a port's firm");
        let state = self.directory.instrument(order.instrument).expect("it was checked");
        Asked { port, firm, state }
    }

    /// Whether the port's rate lets one more through.
    #[inline(always)]
    fn check_rate(&mut self, key: OrderKey, now: Nanos) -> Result<(), Reject> {
        let port = self.directory.port_mut(key.port()).expect("a fresh number is a known port's");
        if port.bucket.take(&port.rules, now) { Ok(()) } else { Err(Reject::PortRate) }
    }

    /// Whether the port may send an order now: its and its firm's switches.
    #[inline(always)]
    fn sender(&self, key: OrderKey) -> Result<(&PortState, &FirmState), Reject> {
        let port = self.port(key);
        let firm = self.directory.firm(port.port.firm).expect("a port's firm");
        let stopped = port.killed || firm.killed || firm.order_entry_disabled;
        if stopped { Err(Reject::FirmNotAuthorized) } else { Ok((port, firm)) }
    }

    /// Whether the port may trade the instrument now.
    #[inline(always)]
    fn check_tradable(&self, asked: Asked<'_>) -> Result<(), Reject> {
        let Asked { port, firm, state } = asked;
        if !self.day_open || state.killed || self.venue_killed || self.order_entry_halted {
            return Err(Reject::Halted);
        }
        let instrument = state.instrument.id;
        if port.is_denied && self.directory.denied.contains(&(port.port.id, instrument)) {
            return Err(Reject::FirmNotAuthorized);
        }
        if state.is_restricted && self.directory.is_restricted(firm.firm.id, instrument) {
            return Err(Reject::RestrictedStock);
        }
        Ok(())
    }

    /// The order that this one is to be paired with.
    #[inline(always)]
    fn check_pair(&self, order: &Accepted, oco: UserRefNum) -> Result<Option<OrderRef>, Reject> {
        if oco == UserRefNum(0) {
            return Ok(None);
        }
        let named = OrderKey::new(order.key.port(), order.key.idx(), oco);
        let other = self.find(named).map(|token| &self.open[token]);
        let pair = other.filter(|other| other.instrument == order.instrument && rests(order.time_in_force));
        pair.map(|other| Some(other.order_ref)).ok_or(Reject::Other)
    }

    /// Whether a port may send one more of equal orders.
    #[inline(never)]
    fn check_row(&mut self, key: OrderKey, first: Row) -> Result<(), Reject> {
        let port = self.directory.port_mut(key.port()).expect("a fresh number is a known port's");
        let exceeds = Row::exceeds(&mut port.row, &port.rules, first);
        if exceeds { Err(Reject::DuplicateRate) } else { Ok(()) }
    }

    /// Whether enough is located for a short sale, when `freed` lots that are open count no more.
    #[inline(always)]
    fn check_locate(&self, order: &Accepted, freed: u64) -> Result<(), Reject> {
        let covered =
            !is_short(order.side) || self.is_located(order.firm, order.instrument, order.qty.0, freed);
        if covered { Ok(()) } else { Err(Reject::Locate) }
    }

    /// Limits over many orders, and what is to be held; what orders `freed` count is not counted.
    #[inline(always)]
    fn check_limits(
        &self,
        asked: Asked<'_>,
        order: &Accepted,
        worth: &Worth,
        freed: &[u32],
    ) -> Result<Wanted, Reject> {
        let Asked { port, firm, state } = asked;
        let (account, tier) = (port.port.account, firm.tier);
        let Instrument { base, quote, .. } = state.instrument;
        let buys = order.side.is_buy();
        let hold = if buys {
            cost_max(worth.notional, &state.fees[usize::from(tier)], 0, 0)
        } else {
            delivery(&state.instrument, order.qty.0)
        };
        let hold = hold.ok_or(Reject::AggregateExposure)?;
        if port.is_limited {
            let place = Place { firm: order.firm, account, instrument: order.instrument, quote };
            let new = Open { buys, leaves: order.qty.0, worth: worth.notional, hold };
            if !self.limits_cover(place, &new, freed) {
                return Err(Reject::AggregateExposure);
            }
        }
        let entries = port.entries(order.instrument);
        Ok(Wanted { account, entries, buys, base, quote, hold, worth: worth.price, tier })
    }

    #[inline(never)]
    fn limits_cover(&self, place: Place, new: &Open, freed: &[u32]) -> bool {
        let mut opens = [Open::default(); 2];
        for (open, token) in opens.iter_mut().zip(freed) {
            *open = self.counts(&self.open[*token]);
        }
        self.limits.cover(place, new, &opens[..freed.len()])
    }

    /// Funds; what orders `freed` hold is not counted.
    #[inline(always)]
    fn check_funds(&mut self, wanted: &Wanted, freed: &[u32]) -> Result<Admitted, Reject> {
        let Wanted { account, entries, buys, base, quote, hold, worth, tier } = *wanted;
        let (entry, other) = match entries {
            Some((base, quote)) if buys => (quote, base),
            Some((base, quote)) => (base, quote),
            None => self.find_entries(account, if buys { (quote, base) } else { (base, quote) })?,
        };
        let freed = if freed.is_empty() { 0 } else { self.held_by(freed, entry) };
        if self.ledger.available(entry) + freed < hold {
            self.ahead.short = Some((entry, hold));
            return Err(Reject::AggregateExposure);
        }
        let (base, quote) = if buys { (other, entry) } else { (entry, other) };
        // Until those freed are heard to be gone, all together hold the higher of both.
        let hold = (hold - freed).max(0);
        Ok(Admitted { worth, hold, base, quote, tier, is_known: entries.is_some() })
    }

    /// The ledger entries of two assets; of the first there must be one.
    #[inline(never)]
    fn find_entries(&self, account: AccountId, assets: (AssetId, AssetId)) -> Result<(u32, u32), Reject> {
        let first = self.ledger.find(account, assets.0).ok_or(Reject::AggregateExposure)?;
        Ok((first, self.ledger.find(account, assets.1).unwrap_or(NONE)))
    }

    /// What orders hold of a ledger entry, together.
    fn held_by(&self, tokens: &[u32], entry: u32) -> i128 {
        let records = tokens.iter().map(|token| &self.open[*token]);
        records.filter(|record| record.held_in() == entry).map(|record| record.hold).sum()
    }

    /// Takes an admitted order in; the account has its assets from now on, if only nothing of them.
    #[inline(always)]
    fn take_in(&mut self, order: &Accepted, terms: &OrderTerms, admitted: &Admitted, executed: u64) -> u32 {
        let mut record = record(order, terms, admitted, executed);
        if !admitted.is_known {
            (record.base, record.quote) = self.know_entries(order.key, order.instrument);
        }
        self.open(record, terms)
    }

    /// The ledger entries of an order's assets, made if they are the account's first, and remembered.
    #[inline(never)]
    fn know_entries(&mut self, key: OrderKey, instrument: InstrumentId) -> (u32, u32) {
        let account = self.port(key).port.account;
        let Instrument { base, quote, .. } = *self.instrument(instrument);
        let (base, quote) = (self.ledger.open(account, base), self.ledger.open(account, quote));
        let port = self.directory.port_mut(key.port()).expect("a fresh number is a known port's");
        port.note_entries(instrument, base, quote);
        (base, quote)
    }

    #[inline(always)]
    fn incoming(&self, order: &Accepted, terms: &OrderTerms, token: u32, pair: Option<OrderRef>) -> Incoming {
        let rules = &self.port(order.key).rules;
        let stp = if terms.stp == Stp::Port { rules.stp } else { terms.stp };
        Incoming::new(*order, terms, homes::token(self.shard, token), rules.slides, stp, pair)
    }

    #[inline(never)]
    fn replace(&mut self, replace: &ReplaceOrder, voice: &mut Voice<'_>) -> Option<Request> {
        self.replace_as::<false>(replace, voice)
    }

    /// The same before what came before it is settled: the original may be gone by then, or have executed more, so
    /// that nothing it holds counts as free. What it needs located does: executed or open, a lot sold short counts once.
    #[inline(never)]
    pub(crate) fn replace_ahead(&mut self, replace: &ReplaceOrder, voice: &mut Voice<'_>) -> Option<Request> {
        self.replace_as::<true>(replace, voice)
    }

    #[inline(always)]
    fn replace_as<const AHEAD: bool>(
        &mut self,
        replace: &ReplaceOrder,
        voice: &mut Voice<'_>,
    ) -> Option<Request> {
        let key = self.fresh(replace.port, replace.user_ref_idx, replace.user_ref_num)?;
        let orig_key = OrderKey::new(replace.port, replace.user_ref_idx, replace.orig_user_ref_num);
        let orig_token = self.find(orig_key)?;
        let orig = self.open[orig_token];
        let now = voice.time();
        let may = self.check_rate(key, now).and_then(|()| {
            let (port, firm) = self.sender(key)?;
            let state = self.directory.instrument(orig.instrument).expect("an order's instrument is known");
            self.check_tradable(Asked { port, firm, state })
        });
        let admitted = may.and_then(|()| {
            let order = self.replacement(replace, orig_token, OrderRef::new(voice.seq(), 0), now);
            let Some((order, terms)) = order.filter(|_| replace.qty.0 > orig.executed) else {
                return Ok(None);
            };
            let order = Accepted { qty: Qty(replace.qty.0 - orig.executed), ..order };
            let asked = self.asked(&order);
            let worth = check_caps(asked, &order, &terms)?;
            self.check_locate(&order, if is_short(orig.side) { orig.leaves } else { 0 })?;
            let freed: &[u32] = if AHEAD { &[] } else { &[orig_token] };
            let wanted = self.check_limits(asked, &order, &worth, freed)?;
            Ok(Some((self.check_funds(&wanted, freed)?, order, terms)))
        });
        match admitted {
            Err(reason) => {
                self.consume(key);
                voice.say(EventBody::Rejected { key, reason, cl_ord_id: replace.cl_ord_id });
                None
            }
            Ok(None) => Some(Request::Cancel {
                instrument: orig.instrument,
                order_ref: orig.order_ref,
                total: Qty::ZERO,
            }),
            Ok(Some((admitted, order, terms))) => {
                self.consume(key);
                let token = self.take_in(&order, &terms, &admitted, orig.executed);
                let incoming = self.incoming(&order, &terms, token, None);
                Some(Request::Replace { orig: orig.order_ref, total: replace.qty, incoming })
            }
        }
    }

    /// The order that is asked for in place of another, its quantity the whole chain's, and its terms; `None` when
    /// it is none that could be (point 4).
    #[inline(never)]
    fn replacement(
        &self,
        replace: &ReplaceOrder,
        orig_token: u32,
        order_ref: OrderRef,
        now: Nanos,
    ) -> Option<(Accepted, OrderTerms)> {
        let (orig, terms) = (&self.open[orig_token], self.terms(orig_token));
        let instrument = self.instrument(orig.instrument);
        let terms = OrderTerms {
            max_floor: replace.max_floor.unwrap_or(terms.max_floor),
            random_reserves: replace.random_reserves.unwrap_or(terms.random_reserves),
            expire: replace.expire,
            oco: UserRefNum(0),
            ..terms
        };
        let order = Accepted {
            key: OrderKey::new(replace.port, replace.user_ref_idx, replace.user_ref_num),
            order_ref,
            firm: self.port_of(orig).port.firm,
            instrument: orig.instrument,
            side: orig.side,
            qty: replace.qty,
            price: replaced_price(replace, instrument)?,
            time_in_force: replaced_time(orig.time_in_force, replace.time_in_force)?,
            display: replace.display,
            capacity: orig.capacity,
            cl_ord_id: replace.cl_ord_id,
            options: inherit(replace.options, &orig.options),
            booked: false,
            shown_qty: Qty::ZERO,
        };
        let sound = replace.fault.is_none() && replace.qty != Qty::ZERO && is_priced(&order, &terms);
        let in_range = || check_range(self.asked(&order), &order, &terms, Price(0)).is_ok();
        let fits = || Together::check_order(&order, &terms, now).is_ok() && in_range();
        (sound && fits()).then_some((order, terms))
    }

    #[inline(never)]
    fn cancel(&self, cancel: &CancelOrder) -> Option<Request> {
        self.directory.port(cancel.port)?;
        let key = OrderKey::new(cancel.port, cancel.user_ref_idx, cancel.user_ref_num);
        let OpenRecord { instrument, order_ref, .. } = self.open[self.find(key)?];
        Some(Request::Cancel { instrument, order_ref, total: cancel.qty })
    }

    #[inline(never)]
    fn modify(&self, modify: &ModifyOrder) -> Option<Request> {
        self.directory.port(modify.port)?;
        let key = OrderKey::new(modify.port, modify.user_ref_idx, modify.user_ref_num);
        let record = &self.open[self.find(key)?];
        let (instrument, order_ref) = (record.instrument, record.order_ref);
        if !may_become(record.side, modify.side) {
            // Stage 2 must hear of it, for the instrument's timers, but there is nothing to grow to.
            let total = Qty(u64::MAX);
            return Some(Request::Modify { instrument, order_ref, side: record.side, total });
        }
        let leaves = modify.qty.0.saturating_sub(record.executed);
        let becomes_short = !is_short(record.side) && is_short(modify.side) && leaves <= record.leaves;
        let covered = || {
            let firm = self.port_of(record).port.firm;
            self.is_located(firm, record.instrument, leaves, 0)
        };
        let request = Request::Modify { instrument, order_ref, side: modify.side, total: modify.qty };
        (!becomes_short || covered()).then_some(request)
    }

    #[inline(never)]
    pub(crate) fn quote(&mut self, quote: &Quote, ahead: bool, voice: &mut Voice<'_>) -> Option<Request> {
        let (port, idx, bid) = (quote.port, quote.user_ref_idx, quote.user_ref_num);
        let key = self.fresh(port, idx, bid)?;
        let refused = |reason| EventBody::Rejected { key, reason, cl_ord_id: ClOrdId::default() };
        let Some(ask) = bid.0.checked_add(1) else {
            self.consume(key);
            voice.say(refused(Reject::Other));
            return None;
        };
        let keys = [key, self.fresh(port, idx, UserRefNum(ask))?];
        self.consume(keys[1]);
        if let Err(reason) = self.check_quote(quote, key, voice.time()) {
            voice.say(refused(reason));
            return None;
        }
        let slot = self.quotes.open(port, idx, quote.instrument);
        let old = self.quotes.standing(slot, |quoted| self.is_open(quoted));
        // What is not settled yet may have ended an earlier side, whose hold is then not free.
        let freed = if ahead { [None; 2] } else { old };
        match self.open_quote(quote, keys, &freed, voice.seq()) {
            Ok(new) => {
                let quoted = |incoming: &Incoming| {
                    let Accepted { key, order_ref, .. } = incoming.order;
                    Quoted { key, order_ref }
                };
                let last = [0, 1].map(|at| new[at].as_ref().map(quoted));
                self.quotes.replace(slot, old, last, self.ahead.superstep);
                let old = old.map(|side| side.map(|quoted| quoted.order_ref));
                Some(Request::Quote { instrument: quote.instrument, key, old, new })
            }
            Err(reason) => {
                voice.say(refused(reason));
                None
            }
        }
    }

    pub(crate) fn is_open(&self, quoted: &Quoted) -> bool {
        self.find(quoted.key).is_some_and(|token| self.open[token].order_ref == quoted.order_ref)
    }

    /// Points 3 to 11 of a quote, both sides together.
    #[inline(never)]
    fn check_quote(&mut self, quote: &Quote, key: OrderKey, now: Nanos) -> Result<(), Reject> {
        if let Some(fault) = quote.fault {
            return Err(fault);
        }
        self.check_rate(key, now)?;
        let (port, firm) = self.sender(key)?;
        let state = self.directory.listed(quote.instrument).ok_or(Reject::Symbol)?;
        self.check_tradable(Asked { port, firm, state })?;
        let Quote { bid, ask, .. } = quote;
        let is_priced = |side: &QuoteSide| {
            if side.qty == Qty::ZERO { side.price == Price(0) } else { side.price.0 > 0 }
        };
        let both = bid.qty > Qty::ZERO && ask.qty > Qty::ZERO;
        let sound = is_priced(bid) && is_priced(ask) && !(both && bid.price >= ask.price);
        if sound { Ok(()) } else { Err(Reject::Price) }
    }

    /// Points 13 to 18 of a quote, for the bid, then for the ask, which finds the new bid counted in place of
    /// the earlier one.
    #[inline(never)]
    fn open_quote(
        &mut self,
        quote: &Quote,
        keys: [OrderKey; 2],
        old: &Sides,
        seq: Seq,
    ) -> Result<[Option<Incoming>; 2], Reject> {
        let old = old.map(|side| side.and_then(|quoted| self.find(quoted.key)));
        let mut freed = [0; 2];
        let mut freed_count = 0;
        let mut new = [None; 2];
        for (at, (side, wanted)) in [(Side::Buy, quote.bid), (Side::Sell, quote.ask)].into_iter().enumerate()
        {
            if let Some(token) = old[at] {
                freed[freed_count] = token;
                freed_count += 1;
            }
            if wanted.qty == Qty::ZERO {
                continue;
            }
            let order = Accepted {
                key: keys[at],
                order_ref: OrderRef::new(seq, at as u32),
                firm: self.port(keys[at]).port.firm,
                instrument: quote.instrument,
                side,
                qty: wanted.qty,
                price: wanted.price,
                time_in_force: TimeInForce::Day,
                display: Display::Visible,
                capacity: quote.capacity,
                cl_ord_id: ClOrdId::default(),
                options: OrderOptions::default(),
                booked: false,
                shown_qty: Qty::ZERO,
            };
            let (asked, plain) = (self.asked(&order), &OrderTerms::default());
            let worth =
                check_range(asked, &order, plain, Price(0)).and_then(|()| check_caps(asked, &order, plain));
            let freed = &freed[..freed_count];
            let wanted = worth.and_then(|worth| self.check_limits(asked, &order, &worth, freed));
            match wanted.and_then(|wanted| self.check_funds(&wanted, freed)) {
                Ok(admitted) => {
                    let token = self.take_in(&order, plain, &admitted, 0);
                    new[at] = Some(self.incoming(&order, plain, token, None));
                }
                Err(reason) => {
                    new.iter().flatten().for_each(|bid: &Incoming| self.close(slot_of(bid.token)));
                    return Err(reason);
                }
            }
        }
        Ok(new)
    }

    pub(crate) fn switch_order_entry(
        &mut self,
        asked: &OrderEntrySwitch,
        disable: bool,
        voice: &mut Voice<'_>,
    ) {
        let Some(key) = self.fresh(asked.port, asked.user_ref_idx, asked.user_ref_num) else { return };
        self.consume(key);
        let own = self.port(key).port.firm;
        let foreign = (asked.firm != own).then_some(Reject::FirmNotAuthorized);
        if let Some(reason) = asked.fault.or(foreign) {
            voice.say(EventBody::Rejected { key, reason, cl_ord_id: ClOrdId::default() });
            return;
        }
        self.directory.firm_mut(own).expect("a port's firm").order_entry_disabled = disable;
        voice.say(if disable {
            EventBody::OrderEntryDisabled(*asked)
        } else {
            EventBody::OrderEntryEnabled(*asked)
        });
    }

    /// Its timer, which is only ever set back, is not due before.
    pub(crate) fn note_dead_man(&mut self, dead_man: DeadMan) {
        let due = dead_man.due();
        self.dead_men_due = Some(self.dead_men_due.map_or(due, |others| others.min(due)));
    }

    pub(crate) fn arm(&mut self, port: PortId, timeout_ns: u64, voice: &mut Voice<'_>) {
        let Some(state) = self.directory.port_mut(port) else { return };
        if !state.bucket.take(&state.rules, voice.time()) {
            let timeout_ns = state.dead_man.map_or(0, |dead_man| dead_man.timeout_ns);
            return voice.say(EventBody::DeadManSet { port, timeout_ns });
        }
        let dead_man = (timeout_ns > 0).then_some(DeadMan { timeout_ns, heard: voice.time() });
        let was = core::mem::replace(&mut state.dead_man, dead_man);
        self.dead_men = self.dead_men - usize::from(was.is_some()) + usize::from(dead_man.is_some());
        dead_man.into_iter().for_each(|dead_man| self.note_dead_man(dead_man));
        voice.say(EventBody::DeadManSet { port, timeout_ns });
    }

    /// A port that speaks is not dead.
    pub(crate) fn hear(&mut self, command: &Command, now: Nanos) {
        let state = port_of(command).and_then(|port| self.directory.port_mut(port));
        if let Some(dead_man) = state.and_then(|state| state.dead_man.as_mut()) {
            dead_man.heard = now;
        }
    }

    /// A grace that ends then has begun: no tick is due before.
    pub(crate) fn note_grace(&mut self, end: Nanos) {
        self.graces_due = Some(self.graces_due.map_or(end, |others| others.min(end)));
    }

    /// Who is logged in and has no such time yet is logged out at `end`. Logins are known where their port is at home.
    pub(crate) fn begin_grace(&mut self, end: Nanos) {
        let mut any = false;
        for state in self.directory.ports.iter_mut().filter(|state| state.logged_in) {
            any |= state.grace_end.is_none();
            state.grace_end.get_or_insert(end);
        }
        if any {
            self.note_grace(end);
        }
    }

    pub(crate) fn login(&mut self, login: Login, voice: &mut Voice<'_>) {
        if let Some(port) = self.directory.port_mut(login.port) {
            port.incarnation += 1;
            (port.logged_in, port.grace_end) = (true, None);
            voice.say(EventBody::LoggedIn { port: login.port, incarnation: port.incarnation });
        }
    }
}

#[inline(always)]
fn record(order: &Accepted, terms: &OrderTerms, admitted: &Admitted, executed: u64) -> OpenRecord {
    OpenRecord {
        key: order.key,
        order_ref: order.order_ref,
        price: order.price.0.cast_unsigned(),
        worth: admitted.worth,
        leaves: order.qty.0,
        executed,
        hold: admitted.hold,
        fee_sum: 0,
        charged: 0,
        base: admitted.base,
        quote: admitted.quote,
        instrument: order.instrument,
        options: order.options,
        side: order.side,
        capacity: order.capacity,
        time_in_force: order.time_in_force,
        tier: admitted.tier,
        is_plain: terms.is_plain(),
    }
}

/// Whether price and discretion (0 is none) are in the static range, which a market order must have.
#[inline(always)]
fn check_range(
    asked: Asked<'_>,
    order: &Accepted,
    terms: &OrderTerms,
    discretion: Price,
) -> Result<(), Reject> {
    let Some(range) = asked.state.range else {
        return if terms.market { Err(Reject::MarketOrder) } else { Ok(()) };
    };
    let inside = |price: Price| range.contains(price.0.cast_unsigned());
    let fits = terms.market || inside(order.price) && (discretion == Price(0) || inside(discretion));
    if fits { Ok(()) } else { Err(Reject::FatFinger) }
}

/// What a single order of the port may be, and what this one is worth.
#[inline(always)]
fn check_caps(asked: Asked<'_>, order: &Accepted, terms: &OrderTerms) -> Result<Worth, Reject> {
    let limits = &asked.port.rules.limits;
    if order.qty > limits.qty_max {
        return Err(Reject::MaxQuantity);
    }
    let price = worth_price(order, terms, asked.state);
    match notional(asked.state.instrument.tick_value, price, order.qty.0) {
        Some(notional) if notional <= limits.notional_max.0 => Ok(Worth { price, notional }),
        _ => Err(Reject::OrderNotional),
    }
}

fn is_priced(order: &Accepted, terms: &OrderTerms) -> bool {
    if terms.market { order.price == Price(0) } else { order.price.0 > 0 }
}

/// What a market order is worth at most.
fn market_worth(state: &InstrumentState) -> u64 {
    state.range.expect("a market order has a static range").upper
}

/// The price that holds and limits reckon with.
fn worth_price(order: &Accepted, terms: &OrderTerms, state: &InstrumentState) -> u64 {
    if terms.market {
        return market_worth(state);
    }
    let discretion = if order.side.is_buy() { terms.discretion } else { Price(0) };
    order.price.max(discretion).0.cast_unsigned()
}

/// The price in ticks of a replacement, when it is a whole number of them.
fn replaced_price(replace: &ReplaceOrder, instrument: &Instrument) -> Option<Price> {
    let tick = u64::from(instrument.price_tick());
    let ticks = i64::try_from(replace.wire_price / tick).ok()?;
    (fits_wire(replace, instrument) && replace.wire_price.is_multiple_of(tick)).then_some(Price(ticks))
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

/// An order for a cross stays one for that cross, and no other becomes one; day, which is all that OUCH can
/// say of it, keeps what it is.
fn replaced_time(original: TimeInForce, given: TimeInForce) -> Option<TimeInForce> {
    if is_for_cross(original) {
        (given == TimeInForce::Day || given == original).then_some(original)
    } else {
        (!is_for_cross(given)).then_some(given)
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
