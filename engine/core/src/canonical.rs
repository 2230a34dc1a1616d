//! Canonical bytes: every integer little-endian in its full width, fields in the order of their
//! declaration, a tag byte before what can be one of several. What the hashes are taken over.

use ironbell_types::{
    Account, Amount, Asset, Busted, Control, Credential, Crossed, Event, EventBody, Executed, Fees, Firm,
    Indicative, Instrument, InstrumentRules, KillScope, MassCancel, Modified, OpenDay, OrderEntrySwitch,
    OrderState, OrderTerms, Phase, Port, PortLimits, PortRules, Qty, Refreshed, Reject, Rested, Scale,
    SelfTradePrevented, Settled, Shown, Side, Statistics, Trade,
};

/// Where bytes go.
pub(crate) trait Sink {
    fn put<const N: usize>(&mut self, bytes: [u8; N]);

    #[inline(always)]
    fn u8(&mut self, value: u8) {
        self.put([value]);
    }
    #[inline(always)]
    fn bool(&mut self, value: bool) {
        self.put([u8::from(value)]);
    }
    #[inline(always)]
    fn u16(&mut self, value: u16) {
        self.put(value.to_le_bytes());
    }
    #[inline(always)]
    fn u32(&mut self, value: u32) {
        self.put(value.to_le_bytes());
    }
    #[inline(always)]
    fn u64(&mut self, value: u64) {
        self.put(value.to_le_bytes());
    }
    #[inline(always)]
    fn i16(&mut self, value: i16) {
        self.put(value.to_le_bytes());
    }
    #[inline(always)]
    fn i32(&mut self, value: i32) {
        self.put(value.to_le_bytes());
    }
    #[inline(always)]
    fn i64(&mut self, value: i64) {
        self.put(value.to_le_bytes());
    }
    #[inline(always)]
    fn u128(&mut self, value: u128) {
        self.put(value.to_le_bytes());
    }
    #[inline(always)]
    fn i128(&mut self, value: i128) {
        self.put(value.to_le_bytes());
    }
}

/// Longest canonical event, with room to spare. XXH3 takes another, much slower way beyond 240 bytes.
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
        EventBody::Accepted(_) | EventBody::Replaced(_) | EventBody::Canceled(_) => {
            unreachable!("output_hash.rs has words for them")
        }
        EventBody::Settled(settled) => {
            sink.u8(21);
            put_settled(sink, settled);
        }
        EventBody::Rested(rested) => {
            sink.u8(13);
            put_rested(sink, rested);
        }
        EventBody::Trade(trade) => {
            sink.u8(14);
            put_trade(sink, trade);
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
        EventBody::OrderEntryDisabled(switch) => {
            sink.u8(22);
            put_order_entry_switch(sink, switch);
        }
        EventBody::OrderEntryEnabled(switch) => {
            sink.u8(23);
            put_order_entry_switch(sink, switch);
        }
        EventBody::Controlled(control) => {
            sink.u8(24);
            put_control(sink, control);
        }
        EventBody::PhaseChanged { instrument, phase, reason } => {
            sink.u8(25);
            sink.u32(instrument.0);
            sink.u8(phase.code());
            sink.put(*reason);
        }
        EventBody::Indicative(indicative) => {
            sink.u8(26);
            put_indicative(sink, indicative);
        }
        EventBody::Crossed(crossed) => {
            sink.u8(27);
            put_crossed(sink, crossed);
        }
        EventBody::BandSet { instrument, reference, upper, lower } => {
            sink.u8(28);
            sink.u32(instrument.0);
            sink.i64(reference.0);
            sink.i64(upper.0);
            sink.i64(lower.0);
        }
        EventBody::LimitState { instrument, on } => {
            sink.u8(29);
            sink.u32(instrument.0);
            sink.bool(*on);
        }
        EventBody::Refreshed(refreshed) => {
            sink.u8(30);
            put_refreshed(sink, refreshed);
        }
        EventBody::Triggered { key, order_ref, instrument, price } => {
            sink.u8(31);
            sink.u64(key.0);
            sink.u64(order_ref.0);
            sink.u32(instrument.0);
            sink.i64(price.0);
        }
        EventBody::SelfTradePrevented(prevented) => {
            sink.u8(32);
            put_self_trade_prevented(sink, prevented);
        }
        EventBody::Busted(busted) => {
            sink.u8(33);
            put_busted(sink, busted);
        }
        EventBody::Statistics(statistics) => {
            sink.u8(34);
            put_statistics(sink, statistics);
        }
        EventBody::DayClosed { date } => {
            sink.u8(35);
            sink.u32(*date);
        }
        EventBody::FirmTier { firm, tier } => {
            sink.u8(36);
            sink.u32(firm.0);
            sink.u8(*tier);
        }
        EventBody::Terms { key, order_ref, terms } => {
            sink.u8(40);
            sink.u64(key.0);
            sink.u64(order_ref.0);
            put_terms(sink, terms);
        }
        EventBody::OrderState(state) => {
            sink.u8(37);
            put_order_state(sink, state);
        }
        EventBody::DeadManSet { port, timeout_ns } => {
            sink.u8(38);
            sink.u32(port.0);
            sink.u64(*timeout_ns);
        }
        EventBody::DeadManExpired { port } => {
            sink.u8(39);
            sink.u32(port.0);
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
    put_limits(sink, limits);
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
pub(crate) fn put_limits(sink: &mut impl Sink, limits: &PortLimits) {
    let PortLimits { qty_max, notional_max } = limits;
    sink.u64(qty_max.0);
    sink.i128(notional_max.0);
}

#[inline(always)]
pub(crate) fn put_group(sink: &mut impl Sink, group: Option<u16>) {
    sink.bool(group.is_some());
    sink.u16(group.unwrap_or(0));
}

fn put_terms(sink: &mut impl Sink, terms: &OrderTerms) {
    let OrderTerms {
        market,
        stop,
        trail,
        max_floor,
        random_reserves,
        peg,
        peg_offset,
        discretion,
        expire,
        oco,
        stp,
        stp_group,
    } = terms;
    sink.bool(*market);
    sink.i64(stop.0);
    sink.u32(*trail);
    sink.u32(*max_floor);
    sink.u32(*random_reserves);
    sink.u8(*peg as u8);
    sink.i32(*peg_offset);
    sink.i64(discretion.0);
    sink.u64(expire.0);
    sink.u32(oco.0);
    sink.u8(*stp as u8);
    sink.put(*stp_group);
}

#[inline(always)]
pub(crate) fn put_shown(sink: &mut impl Sink, shown: &Shown) {
    let Shown { order_ref, qty } = shown;
    sink.u64(order_ref.0);
    sink.u64(qty.0);
}

#[inline(always)]
fn put_rested(sink: &mut impl Sink, rested: &Rested) {
    let Rested { order_ref, shown, firm, instrument, side, qty, price, display } = rested;
    sink.u64(order_ref.0);
    put_shown(sink, shown);
    sink.u32(firm.0);
    sink.u32(instrument.0);
    sink.u8(side.code());
    sink.u64(qty.0);
    sink.i64(price.0);
    sink.u8(display.code());
}

#[inline(always)]
fn put_trade(sink: &mut impl Sink, trade: &Trade) {
    let Trade {
        match_number,
        instrument,
        price,
        qty,
        aggressor_buys,
        resting,
        aggressor,
        cross,
        resting_price,
    } = trade;
    sink.u64(match_number.0);
    sink.u32(instrument.0);
    sink.i64(price.0);
    sink.u64(qty.0);
    sink.bool(*aggressor_buys);
    for Executed { key, order_ref, leaves_qty, shown: _ } in [resting, aggressor] {
        sink.u64(key.0);
        sink.u64(order_ref.0);
        sink.u64(leaves_qty.0);
    }
    sink.u8(cross.code());
    sink.i64(resting_price.0);
    put_shown(sink, &resting.shown);
    put_shown(sink, &aggressor.shown);
}

#[inline(always)]
fn put_settled(sink: &mut impl Sink, settled: &Settled) {
    let Settled { match_number, instrument, account, buys, base, quote, fee } = settled;
    sink.u64(match_number.0);
    sink.u32(instrument.0);
    sink.u32(account.0);
    sink.bool(*buys);
    sink.i128(base.0);
    sink.i128(quote.0);
    sink.i128(fee.0);
}

#[inline(always)]
fn put_modified(sink: &mut impl Sink, modified: &Modified) {
    let Modified { key, order_ref, instrument, side, qty, leaves_qty, shown, shown_leaves } = modified;
    sink.u64(key.0);
    sink.u64(order_ref.0);
    sink.u32(instrument.0);
    sink.u8(side.code());
    sink.u64(qty.0);
    sink.u64(leaves_qty.0);
    put_shown(sink, shown);
    sink.u64(shown_leaves.0);
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
fn put_indicative(sink: &mut impl Sink, indicative: &Indicative) {
    let Indicative { instrument, kind, price, paired, imbalance, imbalance_buys, reference } = indicative;
    sink.u32(instrument.0);
    sink.u8(kind.code());
    sink.i64(price.0);
    sink.u64(paired.0);
    sink.u64(imbalance.0);
    sink.bool(*imbalance_buys);
    sink.i64(reference.0);
}

#[inline(always)]
fn put_crossed(sink: &mut impl Sink, crossed: &Crossed) {
    let Crossed { instrument, kind, price, qty, match_number } = crossed;
    sink.u32(instrument.0);
    sink.u8(kind.code());
    sink.i64(price.0);
    sink.u64(qty.0);
    sink.u64(match_number.0);
}

#[inline(always)]
fn put_refreshed(sink: &mut impl Sink, refreshed: &Refreshed) {
    let Refreshed { key, order_ref, firm, instrument, side, price, display, shown, leaves_qty } = refreshed;
    sink.u64(key.0);
    sink.u64(order_ref.0);
    sink.u32(firm.0);
    sink.u32(instrument.0);
    sink.u8(side.code());
    sink.i64(price.0);
    sink.u8(display.code());
    put_shown(sink, shown);
    sink.u64(leaves_qty.0);
}

#[inline(always)]
fn put_self_trade_prevented(sink: &mut impl Sink, prevented: &SelfTradePrevented) {
    let SelfTradePrevented {
        key,
        order_ref,
        instrument,
        qty,
        leaves_qty,
        prevented_qty,
        price,
        rested,
        stp,
        shown,
        shown_leaves,
    } = prevented;
    sink.u64(key.0);
    sink.u64(order_ref.0);
    sink.u32(instrument.0);
    sink.u64(qty.0);
    sink.u64(leaves_qty.0);
    sink.u64(prevented_qty.0);
    sink.i64(price.0);
    sink.bool(*rested);
    sink.u8(*stp as u8);
    put_shown(sink, shown);
    sink.u64(shown_leaves.0);
}

#[inline(always)]
fn put_busted(sink: &mut impl Sink, busted: &Busted) {
    let Busted { match_number, reason, instrument, price, qty, buyer, seller, buyer_owes, seller_owes } =
        busted;
    sink.u64(match_number.0);
    sink.u8(*reason);
    sink.u32(instrument.0);
    sink.i64(price.0);
    sink.u64(qty.0);
    sink.u64(buyer.0);
    sink.u64(seller.0);
    sink.i128(buyer_owes.0);
    sink.i128(seller_owes.0);
}

#[inline(always)]
pub(crate) fn put_statistics(sink: &mut impl Sink, statistics: &Statistics) {
    let Statistics { instrument, open, high, low, close, volume, turnover, trades } = statistics;
    sink.u32(instrument.0);
    sink.i64(open.0);
    sink.i64(high.0);
    sink.i64(low.0);
    sink.i64(close.0);
    sink.u64(volume.0);
    sink.u128(*turnover);
    sink.u64(*trades);
}

#[inline(always)]
fn put_order_state(sink: &mut impl Sink, state: &OrderState) {
    let OrderState { key, open, order_ref, instrument, price, leaves_qty, executed_qty } = state;
    sink.u64(key.0);
    sink.bool(*open);
    sink.u64(order_ref.0);
    sink.u32(instrument.0);
    sink.i64(price.0);
    sink.u64(leaves_qty.0);
    sink.u64(executed_qty.0);
}

pub(crate) fn put_rules(sink: &mut impl Sink, rules: &InstrumentRules) {
    let InstrumentRules {
        algorithm,
        top_order_max,
        batch_ns,
        reference,
        static_bps,
        collar_bps,
        band_bps,
        limit_state_ns,
        volatility_ns,
        short_restricted,
    } = rules;
    sink.u8(algorithm.code());
    sink.u64(top_order_max.0);
    sink.u64(*batch_ns);
    sink.i64(reference.0);
    sink.u16(*static_bps);
    sink.u16(*collar_bps);
    sink.u16(*band_bps);
    sink.u64(*limit_state_ns);
    sink.u64(*volatility_ns);
    sink.bool(*short_restricted);
}

pub(crate) fn put_port_rules(sink: &mut impl Sink, rules: &PortRules) {
    let PortRules {
        limits,
        rate_per_second,
        rate_burst,
        duplicates_max,
        duplicate_ns,
        slides,
        stp,
        cancels_on_disconnect,
    } = rules;
    put_limits(sink, limits);
    sink.u32(*rate_per_second);
    sink.u32(*rate_burst);
    sink.u32(*duplicates_max);
    sink.u64(*duplicate_ns);
    sink.bool(*slides);
    sink.u8(*stp as u8);
    sink.bool(*cancels_on_disconnect);
}

pub(crate) fn put_fees(sink: &mut impl Sink, fees: &Fees) {
    let Fees { maker_bps, taker_bps, minimum } = fees;
    sink.i16(*maker_bps);
    sink.i16(*taker_bps);
    sink.u64(*minimum);
}

pub(crate) fn put_kill_scope(sink: &mut impl Sink, scope: &KillScope) {
    let (tag, id) = match scope {
        KillScope::Port(port) => (1, port.0),
        KillScope::Firm(firm) => (2, firm.0),
        KillScope::Instrument(instrument) => (3, instrument.0),
        KillScope::Venue => (4, 0),
    };
    sink.u8(tag);
    sink.u32(id);
}

pub(crate) fn put_amount_limit(sink: &mut impl Sink, limit: Option<Amount>) {
    sink.bool(limit.is_some());
    sink.i128(limit.unwrap_or_default().0);
}

pub(crate) fn put_qty_limit(sink: &mut impl Sink, limit: Option<Qty>) {
    sink.bool(limit.is_some());
    sink.u64(limit.unwrap_or_default().0);
}

/// 0 is none, so that each phase is one above its number.
pub(crate) fn put_phase(sink: &mut impl Sink, phase: Option<Phase>) {
    sink.u8(phase.map_or(0, |phase| phase.code() + 1));
}

fn put_control(sink: &mut impl Sink, control: &Control) {
    match control {
        Control::SetRules { instrument, rules } => {
            sink.u8(1);
            sink.u32(instrument.0);
            put_rules(sink, rules);
        }
        Control::SetSchedule { instrument, slot, at_s, phase } => {
            sink.u8(2);
            sink.u32(instrument.0);
            sink.u8(*slot);
            sink.u32(*at_s);
            put_phase(sink, *phase);
        }
        Control::SetPhase { instrument, phase, reason } => {
            sink.u8(3);
            sink.u32(instrument.0);
            sink.u8(phase.code());
            sink.put(*reason);
        }
        Control::SetPortRules { port, rules } => {
            sink.u8(4);
            sink.u32(port.0);
            put_port_rules(sink, rules);
        }
        Control::SetExposure { firm, asset, gross_max, net_max } => {
            sink.u8(5);
            sink.u32(firm.0);
            sink.u32(asset.0);
            put_amount_limit(sink, *gross_max);
            put_amount_limit(sink, *net_max);
        }
        Control::SetCredit { account, asset, credit_max } => {
            sink.u8(6);
            sink.u32(account.0);
            sink.u32(asset.0);
            put_amount_limit(sink, *credit_max);
        }
        Control::SetPosition { account, instrument, long_max, short_max } => {
            sink.u8(7);
            sink.u32(account.0);
            sink.u32(instrument.0);
            put_qty_limit(sink, *long_max);
            put_qty_limit(sink, *short_max);
        }
        Control::Entitle { port, instrument, allowed } => {
            sink.u8(8);
            sink.u32(port.0);
            sink.u32(instrument.0);
            sink.bool(*allowed);
        }
        Control::Restrict { firm, instrument, restricted } => {
            sink.u8(9);
            sink.u32(firm.0);
            sink.u32(instrument.0);
            sink.bool(*restricted);
        }
        Control::Locate { id, firm, instrument, qty } => {
            sink.u8(10);
            sink.u64(*id);
            sink.u32(firm.0);
            sink.u32(instrument.0);
            sink.i64(*qty);
        }
        Control::Kill { scope, on } => {
            sink.u8(11);
            put_kill_scope(sink, scope);
            sink.bool(*on);
        }
        Control::SetFees { instrument, tier, fees } => {
            sink.u8(12);
            sink.u32(instrument.0);
            sink.u8(*tier);
            put_fees(sink, fees);
        }
        Control::SetTier { tier, volume_min } => {
            sink.u8(13);
            sink.u8(*tier);
            sink.u64(*volume_min);
        }
        Control::SetFirmTier { firm, tier } => {
            sink.u8(14);
            sink.u32(firm.0);
            sink.u8(*tier);
        }
        Control::CloseDay => sink.u8(15),
        Control::Bust { match_number, reason } => {
            sink.u8(16);
            sink.u64(match_number.0);
            sink.u8(*reason);
        }
        Control::Delist { instrument } => {
            sink.u8(17);
            sink.u32(instrument.0);
        }
        Control::ChangeTick { instrument, price_tick, tick_value } => {
            sink.u8(18);
            sink.u32(instrument.0);
            sink.u32(*price_tick);
            sink.u64(*tick_value);
        }
        Control::ChangeSymbol { instrument, symbol } => {
            sink.u8(19);
            sink.u32(instrument.0);
            sink.put(symbol.0);
        }
        Control::SetDeclineLevels { levels } => {
            sink.u8(20);
            levels.iter().for_each(|level| sink.u64(*level));
        }
        Control::MarketWideHalt { level } => {
            sink.u8(21);
            sink.u8(*level);
        }
        Control::Void { seq, reason } => {
            sink.u8(22);
            sink.u64(seq.0);
            sink.put(reason.0);
        }
        Control::HaltOrderEntry { on } => {
            sink.u8(23);
            sink.bool(*on);
        }
        Control::SignedHead { size, root, epoch } => {
            sink.u8(24);
            sink.u64(*size);
            sink.put(*root);
            sink.u64(*epoch);
        }
        Control::BeginGrace { grace_ns } => {
            sink.u8(25);
            sink.u64(*grace_ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbell_types::{
        CrossKind, InstrumentId, MatchNumber, Nanos, OrderKey, OrderRef, Price, Seq, Stage,
    };

    /// Every other body is shorter than a trade's of two that stand on the feed.
    #[test]
    fn the_longest_event_is_a_trade() {
        let executed = Executed {
            key: OrderKey(1),
            order_ref: OrderRef(2),
            leaves_qty: Qty(3),
            shown: Shown { order_ref: OrderRef(4), qty: Qty(5) },
        };
        let body = EventBody::Trade(Trade {
            match_number: MatchNumber(6),
            instrument: InstrumentId(7),
            price: Price(8),
            qty: Qty(9),
            aggressor_buys: true,
            resting: executed,
            aggressor: executed,
            cross: CrossKind::Opening,
            resting_price: Price(10),
        });
        let event = Event { seq: Seq(1), time: Nanos(2), stage: Stage::Matching, step: 0, body };
        assert_eq!(Buffer::new().event(&event).len(), 140);
        const { assert!(140 <= EVENT_SIZE_MAX) };
    }
}
