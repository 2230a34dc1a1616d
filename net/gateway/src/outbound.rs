//! Events to OUCH messages: what each port is told, a pure function of the event and the directory.
//!
//! | event | to | message |
//! |---|---|---|
//! | DayOpened | every port | `S`, event code `S` |
//! | Accepted | the port | `A` |
//! | Replaced | the port | `U` |
//! | Trade | both ports, the resting one first | `E`, added / removed |
//! | Canceled | the port | `C` |
//! | Modified | the port | `M` |
//! | Rejected | the port | `J` |
//! | MassCancelAccepted | the port | `X` |
//! | OrderEntryDisabled | the port | `G` |
//! | OrderEntryEnabled | the port | `K` |
//! | AccountQueried | the port | `Q` |
//!
//! Options that are kept with an order are echoed on `A` and `U` as far as the layout allows them there.
//! Tag 28 is echoed wherever the request had a UserRefIdx other than 0 (OUCH 5.0, Appendix A).

use ironbell_types::{
    Accepted, Canceled, Event, EventBody, Executed, FirmId, InstrumentId, LiquidityFlag, MassCancel, Mpid,
    OrderEntrySwitch, PortId, Price, Qty, Replaced, Symbol, TimeInForce, Trade, UserRefIdx,
};
use ironbell_wire::ouch::{self, MESSAGE_LEN_MAX, OptionValue, OptionsBuf, OuchMessage};
use ironbell_wire::{Type, U16, U32, U64};

use crate::Directory;

/// Passes to `tell` what `event` tells each port, in this order. `directory` is that after the event.
///
/// # Panics
/// When the event names what the directory does not know: the journal and the directory then disagree.
pub fn messages(event: &Event, directory: &Directory, tell: &mut impl FnMut(PortId, &[u8])) {
    let encoder = Encoder { directory, timestamp: U64::new(directory.timestamp(event.time)) };
    match &event.body {
        EventBody::DayOpened(_) => {
            let opened = ouch::SystemEvent {
                message_type: Type::new(),
                timestamp: encoder.timestamp,
                event_code: b'S',
            };
            for port in directory.ports() {
                send(&opened, &OptionsBuf::EMPTY, port.id, tell);
            }
        }
        EventBody::Accepted(accepted) => encoder.accepted(accepted, tell),
        EventBody::Replaced(replaced) => encoder.replaced(replaced, tell),
        EventBody::Trade(trade) => {
            encoder.executed(trade, &trade.resting, LiquidityFlag::Added, tell);
            encoder.executed(trade, &trade.aggressor, LiquidityFlag::Removed, tell);
        }
        EventBody::Canceled(canceled) => encoder.canceled(canceled, tell),
        EventBody::Modified(modified) => {
            let message = ouch::OrderModified {
                message_type: Type::new(),
                timestamp: encoder.timestamp,
                user_ref_num: U32::new(modified.key.num().0),
                side: modified.side.code(),
                quantity: quantity(modified.leaves_qty),
            };
            send(&message, &channel(modified.key.idx()), modified.key.port(), tell);
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
        EventBody::AssetDefined(_)
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
        | EventBody::Settled(_) => {}
    }
}

struct Encoder<'a> {
    directory: &'a Directory,
    timestamp: U64,
}

impl Encoder<'_> {
    fn accepted(&self, order: &Accepted, tell: &mut impl FnMut(PortId, &[u8])) {
        let message = ouch::OrderAccepted {
            message_type: Type::new(),
            timestamp: self.timestamp,
            user_ref_num: U32::new(order.key.num().0),
            side: order.side.code(),
            quantity: quantity(order.qty),
            symbol: self.symbol(order.instrument).0,
            price: self.price(order.price, order.instrument),
            time_in_force: wire_time_in_force(order.time_in_force),
            display: order.display.code(),
            order_reference_number: U64::new(order.order_ref.0),
            capacity: order.capacity.code(),
            inter_market_sweep: b'N',
            cross_type: b'N',
            order_state: b'L',
            cl_ord_id: order.cl_ord_id.0,
        };
        let mut options = self.echoed_options(order);
        if order.options.customer_type != 0 {
            options.push(OptionValue::CustomerType(order.options.customer_type));
        }
        if let Some(group) = order.options.group {
            options.push(OptionValue::GroupId(group));
        }
        push_channel(&mut options, order.key.idx());
        send(&message, &options, order.key.port(), tell);
    }

    fn replaced(&self, replaced: &Replaced, tell: &mut impl FnMut(PortId, &[u8])) {
        let order = &replaced.order;
        let message = ouch::OrderReplaced {
            message_type: Type::new(),
            timestamp: self.timestamp,
            orig_user_ref_num: U32::new(replaced.orig_user_ref_num.0),
            user_ref_num: U32::new(order.key.num().0),
            side: order.side.code(),
            quantity: quantity(order.qty),
            symbol: self.symbol(order.instrument).0,
            price: self.price(order.price, order.instrument),
            time_in_force: wire_time_in_force(order.time_in_force),
            display: order.display.code(),
            order_reference_number: U64::new(order.order_ref.0),
            capacity: order.capacity.code(),
            inter_market_sweep: b'N',
            cross_type: b'N',
            order_state: b'L',
            cl_ord_id: order.cl_ord_id.0,
        };
        let mut options = self.echoed_options(order);
        push_channel(&mut options, order.key.idx());
        send(&message, &options, order.key.port(), tell);
    }

    /// The options that both `A` and `U` may have.
    fn echoed_options(&self, order: &Accepted) -> OptionsBuf {
        let mut options = OptionsBuf::new();
        if order.options.firm {
            options.push(OptionValue::Firm(self.mpid(order.firm).0));
        }
        if order.options.min_qty != 0 {
            options.push(OptionValue::MinQty(order.options.min_qty));
        }
        if order.options.post_only != 0 {
            options.push(OptionValue::PostOnly(order.options.post_only));
        }
        options
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

    fn price(&self, price: Price, instrument: InstrumentId) -> U64 {
        let instrument = self.directory.instrument(instrument).expect("events name defined instruments");
        let ticks = u64::try_from(price.0).expect("prices of orders are above 0");
        U64::new(ticks * u64::from(instrument.price_tick()))
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

fn quantity(qty: Qty) -> U32 {
    U32::new(u32::try_from(qty.0).expect("no quantity exceeds that of an order, which came in 32 bits"))
}

/// Fill-or-kill is an immediate-or-cancel order with a minimum quantity on the wire.
fn wire_time_in_force(time_in_force: TimeInForce) -> u8 {
    match time_in_force {
        TimeInForce::Fok => TimeInForce::Ioc.code(),
        other => other.code(),
    }
}
