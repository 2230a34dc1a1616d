//! Events to messages: what each port is told, a pure function of the events and the directory.
//!
//! | event | to | message |
//! |---|---|---|
//! | DayOpened, DayClosed | every port | `S`, event code `S`, `E` |
//! | Terms | | part of the `A` or `U` of the event that follows |
//! | Accepted | the port | `A`, and native AcceptedTerms |
//! | Replaced | the port | `U`, and native AcceptedTerms |
//! | Trade | both ports, the resting one first | `E` |
//! | Canceled | the port | `C` |
//! | SelfTradePrevented | the port | `D` |
//! | Modified | the port | `M` |
//! | Refreshed | the port | `R`, reason `R`: tag 22 what is now shown, tag 1 its number on the feed |
//! | Rejected | the port | `J` |
//! | Busted | both ports, the buyer's first; a port that is both hears it twice | `B`, ClOrdID blank |
//! | MassCancelAccepted | the port | `X` |
//! | OrderEntryDisabled | the port | `G` |
//! | OrderEntryEnabled | the port | `K` |
//! | AccountQueried | the port | `Q` |
//! | Triggered, OrderState | the port | native StopTriggered, OrderState |
//! | DeadManSet, DeadManExpired | the port | native, by the same names |
//!
//! Liquidity flags: `A` added, `J` added and was not shown, `R` removed; in a cross both sides have `O`
//! opening, `C` closing or `H` halt.
//!
//! Options that are kept with an order are echoed on `A` and `U` as far as the layout allows them there;
//! those that have their default value are left out. Tag 28 is echoed wherever the request had a UserRefIdx
//! other than 0 (OUCH 5.0, Appendix A). A fill-or-kill order has time in force `3` and its whole quantity as
//! MinQty.
//!
//! **A member that sends no native message hears none.** AcceptedTerms is told of orders that only a native
//! message can have asked for; native FullRange follows `C` `D` `E` `M` with a quantity above 32 bits, which
//! stands in OUCH as the largest.

use ironbell_types::{
    Accepted, Busted, Canceled, CrossKind, Event, EventBody, Executed, FirmId, InstrumentId, LiquidityFlag,
    MassCancel, Modified, Mpid, OrderEntrySwitch, OrderKey, OrderRef, OrderState, OrderTerms, Peg, PortId,
    Price, Qty, Refreshed, Replaced, SelfTradePrevented, Stp, Symbol, TimeInForce, Trade, UserRefIdx,
};
use ironbell_wire::code::{peg_code, stp_code};
use ironbell_wire::native::{self, Block};
use ironbell_wire::ouch::{self, MESSAGE_LEN_MAX, OptionValue, OptionsBuf, OuchMessage, PRICE_MARKET};
use ironbell_wire::{Type, U16, U32, U64};

use crate::Directory;

/// Makes messages of events, one after the other, from the first of any command on.
#[derive(Debug, Default)]
pub struct Teller {
    /// What was said of the order whose acceptance comes next.
    terms: Option<(OrderRef, OrderTerms)>,
}

impl Teller {
    /// Passes to `tell` what `event` tells each port, in this order. `directory` is that after the event.
    ///
    /// # Panics
    /// When the event names what the directory does not know, or is not the acceptance of the order whose terms were
    /// said: the journal and what follows it then disagree.
    pub fn messages(&mut self, event: &Event, directory: &Directory, tell: &mut impl FnMut(PortId, &[u8])) {
        if let EventBody::Terms { order_ref, terms, .. } = event.body {
            self.terms = Some((order_ref, terms));
            return;
        }
        let terms = self.terms.take().map_or_else(OrderTerms::default, |(order_ref, terms)| {
            let accepted = match &event.body {
                EventBody::Accepted(order) => Some(order.order_ref),
                EventBody::Replaced(replaced) => Some(replaced.order.order_ref),
                _ => None,
            };
            assert_eq!(accepted, Some(order_ref), "terms come right before their order's acceptance");
            terms
        });
        let encoder = Encoder { directory, timestamp: U64::new(directory.timestamp(event.time)), terms };
        messages(event, &encoder, tell);
    }
}

fn messages(event: &Event, encoder: &Encoder<'_>, tell: &mut impl FnMut(PortId, &[u8])) {
    match &event.body {
        EventBody::DayOpened(_) => encoder.every_port(b'S', tell),
        EventBody::DayClosed { .. } => encoder.every_port(b'E', tell),
        EventBody::Accepted(accepted) => encoder.accepted(accepted, tell),
        EventBody::Replaced(replaced) => encoder.replaced(replaced, tell),
        EventBody::Trade(trade) => {
            let (resting, aggressor) = liquidity(trade);
            encoder.executed(trade, &trade.resting, resting, tell);
            encoder.executed(trade, &trade.aggressor, aggressor, tell);
        }
        EventBody::Canceled(canceled) => encoder.canceled(canceled, tell),
        EventBody::SelfTradePrevented(prevented) => encoder.self_trade_prevented(prevented, tell),
        EventBody::Modified(modified) => encoder.modified(modified, tell),
        EventBody::Refreshed(refreshed) => encoder.refreshed(refreshed, tell),
        EventBody::Busted(busted) => {
            encoder.busted(busted, busted.buyer, tell);
            encoder.busted(busted, busted.seller, tell);
        }
        EventBody::Rejected { key, reason, cl_ord_id } => {
            let message = ouch::Rejected {
                message_type: Type::new(),
                timestamp: encoder.timestamp,
                user_ref_num: U32::new(key.num().0),
                reason: U16::new(reason.code()),
                cl_ord_id: cl_ord_id.0,
            };
            send(&message, &channel(key.idx()), key.port(), tell);
        }
        EventBody::MassCancelAccepted(request) => encoder.mass_cancel(request, tell),
        EventBody::OrderEntryDisabled(request) => encoder.order_entry_disabled(request, tell),
        EventBody::OrderEntryEnabled(request) => encoder.order_entry_enabled(request, tell),
        EventBody::AccountQueried { port, user_ref_idx, next } => {
            let message = ouch::AccountQueryResponse {
                message_type: Type::new(),
                timestamp: encoder.timestamp,
                next_user_ref_num: U32::new(next.0),
            };
            send(&message, &channel(*user_ref_idx), *port, tell);
        }
        EventBody::Triggered { key, order_ref, price, .. } => {
            let message = native::StopTriggered {
                timestamp: encoder.native_timestamp(),
                order_reference: native::U64::new(order_ref.0),
                price: native::I64::new(price.0),
                user_ref_num: native::U32::new(key.num().0),
                user_ref_idx: key.idx().0,
            };
            send_native(&message, key.port(), tell);
        }
        EventBody::OrderState(state) => encoder.order_state(state, tell),
        EventBody::DeadManSet { port, timeout_ns } => {
            let message = native::DeadManSet {
                timestamp: encoder.native_timestamp(),
                timeout: native::U64::new(*timeout_ns),
            };
            send_native(&message, *port, tell);
        }
        EventBody::DeadManExpired { port } => {
            let message = native::DeadManExpired { timestamp: encoder.native_timestamp() };
            send_native(&message, *port, tell);
        }
        EventBody::Terms { .. }
        | EventBody::AssetDefined(_)
        | EventBody::InstrumentDefined(_)
        | EventBody::FirmDefined(_)
        | EventBody::AccountDefined(_)
        | EventBody::PortDefined(_)
        | EventBody::Funded { .. }
        | EventBody::AdminRefused(_)
        | EventBody::LoggedIn { .. }
        | EventBody::LoggedOut { .. }
        | EventBody::Rested(_)
        | EventBody::MassCancelAsked { .. }
        | EventBody::Settled(_)
        | EventBody::Controlled(_)
        | EventBody::PhaseChanged { .. }
        | EventBody::Indicative(_)
        | EventBody::Crossed(_)
        | EventBody::BandSet { .. }
        | EventBody::LimitState { .. }
        | EventBody::Statistics(_)
        | EventBody::FirmTier { .. } => {}
    }
}

struct Encoder<'a> {
    directory: &'a Directory,
    timestamp: U64,
    /// Of the order whose acceptance it is.
    terms: OrderTerms,
}

impl Encoder<'_> {
    fn every_port(&self, event_code: u8, tell: &mut impl FnMut(PortId, &[u8])) {
        let message = ouch::SystemEvent { message_type: Type::new(), timestamp: self.timestamp, event_code };
        for port in self.directory.ports() {
            send(&message, &OptionsBuf::EMPTY, port.id, tell);
        }
    }

    fn accepted(&self, order: &Accepted, tell: &mut impl FnMut(PortId, &[u8])) {
        let (time_in_force, cross_type) = wire_time_in_force(order.time_in_force);
        let message = ouch::OrderAccepted {
            message_type: Type::new(),
            timestamp: self.timestamp,
            user_ref_num: U32::new(order.key.num().0),
            side: order.side.code(),
            quantity: quantity(order.qty),
            symbol: self.symbol(order.instrument).0,
            price: self.order_price(order),
            time_in_force,
            display: order.display.code(),
            order_reference_number: U64::new(order.order_ref.0),
            capacity: order.capacity.code(),
            inter_market_sweep: b'N',
            cross_type,
            order_state: b'L',
            cl_ord_id: order.cl_ord_id.0,
        };
        let mut options = self.echoed_options(order);
        let (kept, terms) = (&order.options, &self.terms);
        if kept.customer_type != 0 {
            options.push(OptionValue::CustomerType(kept.customer_type));
        }
        if terms.peg_offset != 0 {
            options.push(OptionValue::PegOffset(self.offset(terms.peg_offset, order.instrument)));
        }
        if terms.discretion != Price(0) {
            options.push(OptionValue::DiscretionPrice(self.price(terms.discretion, order.instrument).get()));
        }
        if terms.random_reserves != 0 {
            options.push(OptionValue::RandomReserves(terms.random_reserves));
        }
        if let Some(group) = kept.group {
            options.push(OptionValue::GroupId(group));
        }
        push_channel(&mut options, order.key.idx());
        send(&message, &options, order.key.port(), tell);
        self.terms(order, tell);
    }

    fn replaced(&self, replaced: &Replaced, tell: &mut impl FnMut(PortId, &[u8])) {
        let order = &replaced.order;
        let (time_in_force, cross_type) = wire_time_in_force(order.time_in_force);
        let message = ouch::OrderReplaced {
            message_type: Type::new(),
            timestamp: self.timestamp,
            orig_user_ref_num: U32::new(replaced.orig_user_ref_num.0),
            user_ref_num: U32::new(order.key.num().0),
            side: order.side.code(),
            quantity: quantity(order.qty),
            symbol: self.symbol(order.instrument).0,
            price: self.order_price(order),
            time_in_force,
            display: order.display.code(),
            order_reference_number: U64::new(order.order_ref.0),
            capacity: order.capacity.code(),
            inter_market_sweep: b'N',
            cross_type,
            order_state: b'L',
            cl_ord_id: order.cl_ord_id.0,
        };
        let mut options = self.echoed_options(order);
        push_channel(&mut options, order.key.idx());
        send(&message, &options, order.key.port(), tell);
        self.terms(order, tell);
    }

    /// The options that both `A` and `U` may have.
    fn echoed_options(&self, order: &Accepted) -> OptionsBuf {
        let (kept, terms) = (&order.options, &self.terms);
        let mut options = OptionsBuf::new();
        if kept.firm {
            options.push(OptionValue::Firm(self.mpid(order.firm).0));
        }
        let min_qty = match order.time_in_force {
            TimeInForce::Fok => quantity(order.qty).get(),
            _ => kept.min_qty,
        };
        if min_qty != 0 {
            options.push(OptionValue::MinQty(min_qty));
        }
        if terms.max_floor != 0 {
            options.push(OptionValue::MaxFloor(terms.max_floor));
        }
        if terms.peg != Peg::None {
            options.push(OptionValue::PriceType(peg_code(terms.peg)));
        }
        if kept.post_only != 0 {
            options.push(OptionValue::PostOnly(kept.post_only));
        }
        if let Some(seconds) = self.expire_time() {
            options.push(OptionValue::ExpireTime(seconds));
        }
        let has_group = terms.stp_group != [0; 2];
        if terms.stp != Stp::Port {
            let code = stp_code(terms.stp);
            let is_grouped = has_group && terms.stp != Stp::Off;
            options.push(OptionValue::AiqStrategy(if is_grouped { code.to_ascii_lowercase() } else { code }));
        }
        if has_group {
            options.push(OptionValue::AiqGroupId(terms.stp_group));
        }
        options
    }

    /// Follows an `A` or `U` that could not say all of the order.
    fn terms(&self, order: &Accepted, tell: &mut impl FnMut(PortId, &[u8])) {
        let (kept, terms) = (&order.options, &self.terms);
        let is_said = !terms.is_stop()
            && terms.oco.0 == 0
            && order.time_in_force != TimeInForce::Gtc
            && is_in_range(order.qty)
            && (terms.market || self.price(order.price, order.instrument).get() != PRICE_MARKET);
        if is_said {
            return;
        }
        let message = native::AcceptedTerms {
            timestamp: self.native_timestamp(),
            order_reference: native::U64::new(order.order_ref.0),
            user_ref_num: native::U32::new(order.key.num().0),
            user_ref_idx: order.key.idx().0,
            side: order.side.code(),
            time_in_force: order.time_in_force.code(),
            display: order.display.code(),
            symbol: self.symbol(order.instrument).0,
            quantity: native::U64::new(order.qty.0),
            price: native::I64::new(order.price.0),
            stop_price: native::I64::new(terms.stop.0),
            discretion_price: native::I64::new(terms.discretion.0),
            trail: native::U32::new(terms.trail),
            max_floor: native::U32::new(terms.max_floor),
            random_reserves: native::U32::new(terms.random_reserves),
            peg_offset: native::I32::new(terms.peg_offset),
            min_qty: native::U32::new(kept.min_qty),
            expire_time: native::U32::new(self.expire_time().unwrap_or(0)),
            oco_user_ref_num: native::U32::new(terms.oco.0),
            group_id: native::U16::new(kept.group.unwrap_or(native::NO_GROUP)),
            stp_group: terms.stp_group,
            order_type: if terms.market { b'M' } else { b'L' },
            peg: peg_code(terms.peg),
            stp: stp_code(terms.stp),
            post_only: said(kept.post_only),
            capacity: order.capacity.code(),
            customer_type: said(kept.customer_type),
            cl_ord_id: order.cl_ord_id.0,
        };
        send_native(&message, order.key.port(), tell);
    }

    fn executed(
        &self,
        trade: &Trade,
        side: &Executed,
        liquidity: LiquidityFlag,
        tell: &mut impl FnMut(PortId, &[u8]),
    ) {
        let message = ouch::OrderExecuted {
            message_type: Type::new(),
            timestamp: self.timestamp,
            user_ref_num: U32::new(side.key.num().0),
            quantity: quantity(trade.qty),
            price: self.price(trade.price, trade.instrument),
            liquidity_flag: liquidity.code(),
            match_number: U64::new(trade.match_number.0),
        };
        send(&message, &channel(side.key.idx()), side.key.port(), tell);
        self.full_range(side.key, b'E', trade.qty, Qty::ZERO, tell);
    }

    fn canceled(&self, canceled: &Canceled, tell: &mut impl FnMut(PortId, &[u8])) {
        let message = ouch::OrderCanceled {
            message_type: Type::new(),
            timestamp: self.timestamp,
            user_ref_num: U32::new(canceled.key.num().0),
            quantity: quantity(canceled.qty),
            reason: canceled.reason.code(),
        };
        send(&message, &channel(canceled.key.idx()), canceled.key.port(), tell);
        self.full_range(canceled.key, b'C', canceled.qty, Qty::ZERO, tell);
    }

    fn self_trade_prevented(&self, prevented: &SelfTradePrevented, tell: &mut impl FnMut(PortId, &[u8])) {
        let liquidity = match (prevented.rested, prevented.shown.qty) {
            (false, _) => LiquidityFlag::Removed,
            (true, Qty::ZERO) => LiquidityFlag::AddedHidden,
            (true, _) => LiquidityFlag::Added,
        };
        let message = ouch::AiqCanceled {
            message_type: Type::new(),
            timestamp: self.timestamp,
            user_ref_num: U32::new(prevented.key.num().0),
            decrement_shares: quantity(prevented.qty),
            reason: b'Q',
            quantity_prevented: quantity(prevented.prevented_qty),
            execution_price: self.price(prevented.price, prevented.instrument),
            liquidity_flag: liquidity.code(),
            aiq_strategy: stp_code(prevented.stp),
        };
        send(&message, &channel(prevented.key.idx()), prevented.key.port(), tell);
        self.full_range(prevented.key, b'D', prevented.qty, prevented.prevented_qty, tell);
    }

    fn modified(&self, modified: &Modified, tell: &mut impl FnMut(PortId, &[u8])) {
        let message = ouch::OrderModified {
            message_type: Type::new(),
            timestamp: self.timestamp,
            user_ref_num: U32::new(modified.key.num().0),
            side: modified.side.code(),
            quantity: quantity(modified.leaves_qty),
        };
        send(&message, &channel(modified.key.idx()), modified.key.port(), tell);
        self.full_range(modified.key, b'M', modified.leaves_qty, Qty::ZERO, tell);
    }

    fn refreshed(&self, refreshed: &Refreshed, tell: &mut impl FnMut(PortId, &[u8])) {
        let message = ouch::OrderRestated {
            message_type: Type::new(),
            timestamp: self.timestamp,
            user_ref_num: U32::new(refreshed.key.num().0),
            reason: b'R',
        };
        let mut options = OptionsBuf::new();
        options.push(OptionValue::SecondaryOrdRefNum(refreshed.shown.order_ref.0));
        options.push(OptionValue::DisplayQuantity(quantity(refreshed.shown.qty).get()));
        push_channel(&mut options, refreshed.key.idx());
        send(&message, &options, refreshed.key.port(), tell);
    }

    fn busted(&self, busted: &Busted, key: OrderKey, tell: &mut impl FnMut(PortId, &[u8])) {
        let message = ouch::BrokenTrade {
            message_type: Type::new(),
            timestamp: self.timestamp,
            user_ref_num: U32::new(key.num().0),
            match_number: U64::new(busted.match_number.0),
            reason: busted.reason,
            // The order may be long done; its number names it.
            cl_ord_id: [b' '; 14],
        };
        send(&message, &channel(key.idx()), key.port(), tell);
    }

    fn order_state(&self, state: &OrderState, tell: &mut impl FnMut(PortId, &[u8])) {
        let symbol = if state.open { self.symbol(state.instrument) } else { Symbol::default() };
        let message = native::OrderState {
            timestamp: self.native_timestamp(),
            order_reference: native::U64::new(state.order_ref.0),
            price: native::I64::new(state.price.0),
            leaves_quantity: native::U64::new(state.leaves_qty.0),
            executed_quantity: native::U64::new(state.executed_qty.0),
            symbol: symbol.0,
            user_ref_num: native::U32::new(state.key.num().0),
            user_ref_idx: state.key.idx().0,
            status: if state.open { b'O' } else { b'N' },
        };
        send_native(&message, state.key.port(), tell);
    }

    /// Follows a message whose quantity its 32 bits could not say.
    fn full_range(
        &self,
        key: OrderKey,
        ouch_type: u8,
        qty: Qty,
        prevented: Qty,
        tell: &mut impl FnMut(PortId, &[u8]),
    ) {
        if is_in_range(qty) && is_in_range(prevented) {
            return;
        }
        let message = native::FullRange {
            timestamp: self.native_timestamp(),
            user_ref_num: native::U32::new(key.num().0),
            user_ref_idx: key.idx().0,
            ouch_type,
            quantity: native::U64::new(qty.0),
            prevented: native::U64::new(prevented.0),
        };
        send_native(&message, key.port(), tell);
    }

    fn mass_cancel(&self, request: &MassCancel, tell: &mut impl FnMut(PortId, &[u8])) {
        let symbol = match request.instrument {
            InstrumentId::NONE => Symbol::default(),
            instrument => self.symbol(instrument),
        };
        let message = ouch::MassCancelResponse {
            message_type: Type::new(),
            timestamp: self.timestamp,
            user_ref_num: U32::new(request.user_ref_num.0),
            firm: self.mpid(request.firm).0,
            symbol: symbol.0,
        };
        let mut options = OptionsBuf::new();
        if let Some(group) = request.group {
            options.push(OptionValue::GroupId(group));
        }
        if let Some(side) = request.side {
            options.push(OptionValue::Side(side.code()));
        }
        push_channel(&mut options, request.user_ref_idx);
        send(&message, &options, request.port, tell);
    }

    fn order_entry_disabled(&self, request: &OrderEntrySwitch, tell: &mut impl FnMut(PortId, &[u8])) {
        let message = ouch::DisableOrderEntryResponse {
            message_type: Type::new(),
            timestamp: self.timestamp,
            user_ref_num: U32::new(request.user_ref_num.0),
            firm: self.mpid(request.firm).0,
        };
        send(&message, &channel(request.user_ref_idx), request.port, tell);
    }

    fn order_entry_enabled(&self, request: &OrderEntrySwitch, tell: &mut impl FnMut(PortId, &[u8])) {
        let message = ouch::EnableOrderEntryResponse {
            message_type: Type::new(),
            timestamp: self.timestamp,
            user_ref_num: U32::new(request.user_ref_num.0),
            firm: self.mpid(request.firm).0,
        };
        send(&message, &channel(request.user_ref_idx), request.port, tell);
    }

    fn symbol(&self, instrument: InstrumentId) -> Symbol {
        self.directory.instrument(instrument).expect("events name defined instruments").symbol
    }

    fn mpid(&self, firm: FirmId) -> Mpid {
        self.directory.firm(firm).expect("events name defined firms").mpid
    }

    /// The limit of an order, or that it has none.
    fn order_price(&self, order: &Accepted) -> U64 {
        if self.terms.market { U64::new(PRICE_MARKET) } else { self.price(order.price, order.instrument) }
    }

    fn price(&self, price: Price, instrument: InstrumentId) -> U64 {
        let ticks = u64::try_from(price.0).expect("no price is below 0");
        let tick = u64::from(self.price_tick(instrument));
        // Prices of orders fit; that of a cross may be the reference that an operator set.
        U64::new(ticks.saturating_mul(tick))
    }

    fn offset(&self, ticks: i32, instrument: InstrumentId) -> i32 {
        let offset = i64::from(ticks) * i64::from(self.price_tick(instrument));
        i32::try_from(offset).expect("offsets of orders were checked for the wire's range")
    }

    fn price_tick(&self, instrument: InstrumentId) -> u32 {
        self.directory.instrument(instrument).expect("events name defined instruments").price_tick()
    }

    /// When a good-till-time order ends, in seconds after midnight, in which it was given.
    fn expire_time(&self) -> Option<u32> {
        if self.terms.expire.0 == 0 {
            return None;
        }
        let seconds = self.directory.timestamp(self.terms.expire) / 1_000_000_000;
        Some(u32::try_from(seconds).expect("it was given in 32 bits, on this day"))
    }

    fn native_timestamp(&self) -> native::U64 {
        native::U64::new(self.timestamp.get())
    }
}

fn send<M: OuchMessage>(
    message: &M,
    options: &OptionsBuf,
    port: PortId,
    tell: &mut impl FnMut(PortId, &[u8]),
) {
    let mut bytes = [0; MESSAGE_LEN_MAX];
    let len = message.encode(options, &mut bytes).expect("the buffer holds the longest message");
    tell(port, &bytes[..len]);
}

fn send_native<B: Block>(message: &B, port: PortId, tell: &mut impl FnMut(PortId, &[u8])) {
    let mut bytes = [0; native::OUTBOUND_LEN_MAX];
    let len = message.encode(&mut bytes).expect("the buffer holds the longest message");
    tell(port, &bytes[..len]);
}

fn channel(idx: UserRefIdx) -> OptionsBuf {
    let mut options = OptionsBuf::new();
    push_channel(&mut options, idx);
    options
}

fn push_channel(options: &mut OptionsBuf, idx: UserRefIdx) {
    if idx.0 != 0 {
        options.push(OptionValue::UserRefIdx(idx.0));
    }
}

/// What OUCH has room for; [`native::FullRange`] or [`native::AcceptedTerms`] says what is above.
fn quantity(qty: Qty) -> U32 {
    U32::new(u32::try_from(qty.0).unwrap_or(u32::MAX))
}

fn is_in_range(qty: Qty) -> bool {
    qty.0 <= u32::MAX.into()
}

/// Flags of the resting side and of the aggressor.
fn liquidity(trade: &Trade) -> (LiquidityFlag, LiquidityFlag) {
    match (trade.cross, trade.resting.shown.qty) {
        (CrossKind::None, Qty::ZERO) => (LiquidityFlag::AddedHidden, LiquidityFlag::Removed),
        (CrossKind::None, _) => (LiquidityFlag::Added, LiquidityFlag::Removed),
        (CrossKind::Opening, _) => (LiquidityFlag::Opening, LiquidityFlag::Opening),
        (CrossKind::Closing, _) => (LiquidityFlag::Closing, LiquidityFlag::Closing),
        (CrossKind::Halt, _) => (LiquidityFlag::Halt, LiquidityFlag::Halt),
    }
}

/// Time in force and cross type. Good till cancelled is a day order here: OUCH has no code for it.
const fn wire_time_in_force(time_in_force: TimeInForce) -> (u8, u8) {
    let (on_wire, cross_type) = match time_in_force {
        TimeInForce::Day | TimeInForce::Gtc => (TimeInForce::Day, b'N'),
        TimeInForce::AtOpen => (TimeInForce::Day, b'O'),
        TimeInForce::AtClose => (TimeInForce::Day, b'C'),
        TimeInForce::Ioc | TimeInForce::Fok => (TimeInForce::Ioc, b'N'),
        TimeInForce::Gtt => (TimeInForce::Gtt, b'N'),
    };
    (on_wire.code(), cross_type)
}

/// A code that was given, or that it was not; OUCH has a space for that too.
const fn said(code: u8) -> u8 {
    if code == 0 || code == b' ' { b'U' } else { code }
}
