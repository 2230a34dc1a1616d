//! Canonical bytes: every integer little-endian in its full width, fields in the order of their
//! declaration, a tag byte before what can be one of several. What the hashes are taken over.

use crate::desk::OpenRecord;
use ironbell_types::{
    Accepted, Account, Asset, Canceled, Credential, Event, EventBody, Executed, Firm, Instrument, MassCancel,
    Modified, OpenDay, OrderEntrySwitch, OrderOptions, Port, Reject, Replaced, Rested, Scale, Settled, Side,
    Trade,
};

/// Where bytes go.
pub(crate) trait Sink {
    fn put<const N: usize>(&mut self, bytes: [u8; N]);

    fn u8(&mut self, value: u8) {
        self.put([value]);
    }
    fn bool(&mut self, value: bool) {
        self.put([u8::from(value)]);
    }
    fn u16(&mut self, value: u16) {
        self.put(value.to_le_bytes());
    }
    fn u32(&mut self, value: u32) {
        self.put(value.to_le_bytes());
    }
    fn u64(&mut self, value: u64) {
        self.put(value.to_le_bytes());
    }
    fn i64(&mut self, value: i64) {
        self.put(value.to_le_bytes());
    }
    fn i128(&mut self, value: i128) {
        self.put(value.to_le_bytes());
    }
}

/// Longest canonical event, with room to spare.
const EVENT_SIZE_MAX: usize = 240;

/// A fixed buffer, used again for every event.
#[derive(Clone)]
pub(crate) struct Buffer {
    bytes: [u8; EVENT_SIZE_MAX],
    len: usize,
}

impl Buffer {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; EVENT_SIZE_MAX], len: 0 }
    }

    /// The bytes of one event.
    pub(crate) fn event(&mut self, event: &Event) -> &[u8] {
        self.len = 0;
        put_event(self, event);
        &self.bytes[..self.len]
    }
}

impl Sink for Buffer {
    #[inline(always)]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.bytes[self.len..self.len + N].copy_from_slice(&bytes);
        self.len += N;
    }
}

#[inline(always)]
fn put_event(sink: &mut impl Sink, event: &Event) {
    sink.u64(event.seq.0);
    sink.u64(event.time.0);
    sink.u8(event.stage as u8);
    sink.u32(event.step);
    match &event.body {
        EventBody::AssetDefined(asset) => {
            sink.u8(1);
            put_asset(sink, asset);
        }
        EventBody::InstrumentDefined(instrument) => {
            sink.u8(2);
            put_instrument(sink, instrument);
        }
        EventBody::FirmDefined(firm) => {
            sink.u8(3);
            put_firm(sink, firm);
        }
        EventBody::AccountDefined(account) => {
            sink.u8(4);
            put_account(sink, account);
        }
        EventBody::PortDefined(port) => {
            sink.u8(5);
            put_port(sink, port);
        }
        EventBody::Funded { id, account, asset, amount } => {
            sink.u8(6);
            sink.u64(*id);
            sink.u32(account.0);
            sink.u32(asset.0);
            sink.i128(amount.0);
        }
        EventBody::AdminRefused(refusal) => {
            sink.u8(7);
            sink.u8(*refusal as u8);
        }
        EventBody::DayOpened(day) => {
            sink.u8(8);
            put_day(sink, day);
        }
        EventBody::LoggedIn { port, incarnation } => {
            sink.u8(9);
            sink.u32(port.0);
            sink.u32(*incarnation);
        }
        EventBody::LoggedOut { port, incarnation } => {
            sink.u8(10);
            sink.u32(port.0);
            sink.u32(*incarnation);
        }
        EventBody::Accepted(order) => {
            sink.u8(11);
            put_accepted(sink, order);
        }
        EventBody::Replaced(replaced) => {
            sink.u8(12);
            put_replaced(sink, replaced);
        }
        EventBody::Rested(rested) => {
            sink.u8(13);
            put_rested(sink, rested);
        }
        EventBody::Trade(trade) => {
            sink.u8(14);
            put_trade(sink, trade);
        }
        EventBody::Canceled(canceled) => {
            sink.u8(15);
            put_canceled(sink, canceled);
        }
        EventBody::Modified(modified) => {
            sink.u8(16);
            put_modified(sink, modified);
        }
        EventBody::Rejected { key, reason, cl_ord_id } => {
            sink.u8(17);
            sink.u64(key.0);
            sink.u16(reason.code());
            sink.put(cl_ord_id.0);
        }
        EventBody::MassCancelAccepted(mass_cancel) => {
            sink.u8(18);
            put_mass_cancel(sink, mass_cancel);
        }
        EventBody::MassCancelAsked { cause, slice } => {
            sink.u8(19);
            sink.u64(cause.0);
            sink.u32(*slice);
        }
        EventBody::AccountQueried { port, user_ref_idx, next } => {
            sink.u8(20);
            sink.u32(port.0);
            sink.u8(user_ref_idx.0);
            sink.u32(next.0);
        }
        EventBody::Settled(settled) => {
            sink.u8(21);
            put_settled(sink, settled);
        }
        EventBody::OrderEntryDisabled(switch) => {
            sink.u8(22);
            put_order_entry_switch(sink, switch);
        }
        EventBody::OrderEntryEnabled(switch) => {
            sink.u8(23);
            put_order_entry_switch(sink, switch);
        }
    }
}

#[inline(always)]
pub(crate) fn put_asset(sink: &mut impl Sink, asset: &Asset) {
    let Asset { id, code, decimals } = asset;
    sink.u32(id.0);
    sink.put(code.0);
    sink.u8(*decimals);
}

#[inline(always)]
pub(crate) fn put_instrument(sink: &mut impl Sink, instrument: &Instrument) {
    let Instrument {
        id,
        symbol,
        base,
        quote,
        scale,
        tick_value,
        lot_units,
        round_lot,
        maker_fee_bps,
        taker_fee_bps,
    } = instrument;
    sink.u32(id.0);
    sink.put(symbol.0);
    sink.u32(base.0);
    sink.u32(quote.0);
    match scale {
        Scale::EquityExact { price_tick } => {
            sink.u8(1);
            sink.u32(*price_tick);
        }
        Scale::Scaled => sink.u8(2),
    }
    sink.u64(*tick_value);
    sink.u64(*lot_units);
    sink.u32(*round_lot);
    sink.u16(*maker_fee_bps);
    sink.u16(*taker_fee_bps);
}

#[inline(always)]
pub(crate) fn put_firm(sink: &mut impl Sink, firm: &Firm) {
    let Firm { id, mpid } = firm;
    sink.u32(id.0);
    sink.put(mpid.0);
}

#[inline(always)]
pub(crate) fn put_account(sink: &mut impl Sink, account: &Account) {
    let Account { id, firm } = account;
    sink.u32(id.0);
    sink.u32(firm.0);
}

#[inline(always)]
pub(crate) fn put_port(sink: &mut impl Sink, port: &Port) {
    let Port { id, username, firm, account, limits, credential } = port;
    sink.u32(id.0);
    sink.put(username.0);
    sink.u32(firm.0);
    sink.u32(account.0);
    sink.u64(limits.qty_max.0);
    sink.i128(limits.notional_max.0);
    let Credential { salt, hash, memory_kib, passes, lanes } = credential;
    sink.put(*salt);
    sink.put(*hash);
    sink.u32(*memory_kib);
    sink.u32(*passes);
    sink.u32(*lanes);
}

#[inline(always)]
pub(crate) fn put_day(sink: &mut impl Sink, day: &OpenDay) {
    let OpenDay { date, midnight } = day;
    sink.u32(*date);
    sink.u64(midnight.0);
}

#[inline(always)]
fn put_options(sink: &mut impl Sink, options: &OrderOptions) {
    let OrderOptions { firm, customer_type, post_only, group, min_qty } = options;
    sink.bool(*firm);
    sink.u8(*customer_type);
    sink.u8(*post_only);
    put_group(sink, *group);
    sink.u32(*min_qty);
}

#[inline(always)]
pub(crate) fn put_group(sink: &mut impl Sink, group: Option<u16>) {
    sink.bool(group.is_some());
    sink.u16(group.unwrap_or(0));
}

#[inline(always)]
fn put_accepted(sink: &mut impl Sink, order: &Accepted) {
    let Accepted {
        key,
        order_ref,
        firm,
        instrument,
        side,
        qty,
        price,
        time_in_force,
        display,
        capacity,
        cl_ord_id,
        options,
        booked,
    } = order;
    sink.u64(key.0);
    sink.u64(order_ref.0);
    sink.u32(firm.0);
    sink.u32(instrument.0);
    sink.u8(side.code());
    sink.u64(qty.0);
    sink.i64(price.0);
    sink.u8(time_in_force.code());
    sink.u8(display.code());
    sink.u8(capacity.code());
    sink.put(cl_ord_id.0);
    put_options(sink, options);
    sink.bool(*booked);
}

#[inline(always)]
fn put_replaced(sink: &mut impl Sink, replaced: &Replaced) {
    let Replaced { orig_user_ref_num, orig_order_ref, order } = replaced;
    sink.u32(orig_user_ref_num.0);
    sink.u64(orig_order_ref.0);
    put_accepted(sink, order);
}

#[inline(always)]
fn put_rested(sink: &mut impl Sink, rested: &Rested) {
    let Rested { order_ref, firm, instrument, side, qty, price, display } = rested;
    sink.u64(order_ref.0);
    sink.u32(firm.0);
    sink.u32(instrument.0);
    sink.u8(side.code());
    sink.u64(qty.0);
    sink.i64(price.0);
    sink.u8(display.code());
}

#[inline(always)]
fn put_trade(sink: &mut impl Sink, trade: &Trade) {
    let Trade { match_number, instrument, price, qty, aggressor_buys, resting, aggressor } = trade;
    sink.u64(match_number.0);
    sink.u32(instrument.0);
    sink.i64(price.0);
    sink.u64(qty.0);
    sink.bool(*aggressor_buys);
    for Executed { key, order_ref, leaves_qty } in [resting, aggressor] {
        sink.u64(key.0);
        sink.u64(order_ref.0);
        sink.u64(leaves_qty.0);
    }
}

#[inline(always)]
fn put_canceled(sink: &mut impl Sink, canceled: &Canceled) {
    let Canceled { key, order_ref, instrument, qty, leaves_qty, reason, displayed } = canceled;
    sink.u64(key.0);
    sink.u64(order_ref.0);
    sink.u32(instrument.0);
    sink.u64(qty.0);
    sink.u64(leaves_qty.0);
    sink.u8(reason.code());
    sink.bool(*displayed);
}

#[inline(always)]
fn put_modified(sink: &mut impl Sink, modified: &Modified) {
    let Modified { key, order_ref, instrument, side, qty, leaves_qty } = modified;
    sink.u64(key.0);
    sink.u64(order_ref.0);
    sink.u32(instrument.0);
    sink.u8(side.code());
    sink.u64(qty.0);
    sink.u64(leaves_qty.0);
}

#[inline(always)]
fn put_mass_cancel(sink: &mut impl Sink, mass_cancel: &MassCancel) {
    let MassCancel { port, user_ref_idx, user_ref_num, firm, instrument, group, side, fault } = mass_cancel;
    sink.u32(port.0);
    sink.u8(user_ref_idx.0);
    sink.u32(user_ref_num.0);
    sink.u32(firm.0);
    sink.u32(instrument.0);
    put_group(sink, *group);
    sink.u8(side.map_or(0, Side::code));
    sink.u16(fault.map_or(0, Reject::code));
}

#[inline(always)]
fn put_order_entry_switch(sink: &mut impl Sink, switch: &OrderEntrySwitch) {
    let OrderEntrySwitch { port, user_ref_idx, user_ref_num, firm, fault } = switch;
    sink.u32(port.0);
    sink.u8(user_ref_idx.0);
    sink.u32(user_ref_num.0);
    sink.u32(firm.0);
    sink.u16(fault.map_or(0, Reject::code));
}

#[inline(always)]
fn put_settled(sink: &mut impl Sink, settled: &Settled) {
    let Settled { match_number, instrument, buyer, seller, base, quote, buyer_fee, seller_fee } = settled;
    sink.u64(match_number.0);
    sink.u32(instrument.0);
    sink.u32(buyer.0);
    sink.u32(seller.0);
    sink.i128(base.0);
    sink.i128(quote.0);
    sink.i128(buyer_fee.0);
    sink.i128(seller_fee.0);
}

/// The risk side of an open order; ledger entries are places in memory and stay out.
#[inline(always)]
pub(crate) fn put_open(sink: &mut impl Sink, record: &OpenRecord) {
    let OpenRecord {
        key,
        order_ref,
        price,
        leaves,
        executed,
        hold,
        base: _,
        quote: _,
        instrument,
        options,
        fee_part,
        side,
        capacity,
    } = record;
    sink.u64(key.0);
    sink.u64(order_ref.0);
    sink.u64(*price);
    sink.u64(*leaves);
    sink.u64(*executed);
    sink.i128(*hold);
    sink.u32(instrument.0);
    put_options(sink, options);
    sink.u16(*fee_part);
    sink.u8(side.code());
    sink.u8(capacity.code());
}
