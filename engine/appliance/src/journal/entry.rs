//! A journaled command as people and scripts read it: its kind, its fields by name, and whom it concerns.

use base64ct::{Base64, Encoding};
use ironbell_types::{
    AccountId, Command, Control, Display, FirmId, Instrument, InstrumentId, InstrumentRules, KillScope,
    MassCancel, Nanos, OrderEntrySwitch, OrderKey, OrderOptions, OrderTerms, Peg, Port, PortId, Price, Qty,
    Quote, Reject, ReplaceOrder, Scale, Stp, TimeInForce, UserRefIdx, UserRefNum,
};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use super::names::Names;
use crate::moment::time_text;
use crate::words::{
    AlgorithmWord, BustReason, Date, PhaseOrNone, PhaseWord, Rate, Share, Span, StpWord, TimeOfDay, units,
};

/// A command in words.
pub struct Entry {
    /// What is asked for: `enter_order`, `cancel_order`, `set_rules` …
    pub kind: &'static str,
    /// What it carries. Prices, quantities and amounts are exact decimals in strings.
    pub fields: Fields,
    /// MPIDs of the firms that it concerns.
    pub firms: Vec<String>,
    /// User names of the ports that it concerns.
    pub ports: Vec<String>,
    /// Symbols of the instruments that it concerns.
    pub symbols: Vec<String>,
    /// The orders that it names.
    pub orders: Vec<OrderKey>,
}

/// Names and values, in order. As JSON: the fields of an object.
#[derive(Default)]
pub struct Fields(pub Vec<(&'static str, Value)>);

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Every kind of command there is, as [`Entry::kind`] says it, and the operators' kinds.
pub const KINDS: &[&str] = &[
    "define_asset",
    "define_instrument",
    "define_firm",
    "define_account",
    "define_port",
    "fund",
    "open_day",
    "login",
    "logout",
    "enter_order",
    "replace_order",
    "cancel_order",
    "modify_order",
    "mass_cancel",
    "mass_cancel_slice",
    "account_query",
    "tick",
    "disable_order_entry",
    "enable_order_entry",
    "quote",
    "order_state_query",
    "dead_man",
    "set_rules",
    "set_schedule",
    "set_phase",
    "set_port_rules",
    "set_exposure",
    "set_credit",
    "set_position",
    "entitle",
    "restrict",
    "locate",
    "kill",
    "set_fees",
    "set_tier",
    "set_firm_tier",
    "close_day",
    "bust",
    "delist",
    "change_tick",
    "change_symbol",
    "set_decline_levels",
    "market_wide_halt",
    "void",
    "halt_order_entry",
    "signed_head",
    "begin_grace",
];

/// `command` in words; `names` knows what the commands before it defined.
#[must_use]
pub fn entry(command: &Command, names: &Names) -> Entry {
    let mut entry = Writer {
        names,
        entry: Entry {
            kind: command.name(),
            fields: Fields::default(),
            firms: Vec::new(),
            ports: Vec::new(),
            symbols: Vec::new(),
            orders: Vec::new(),
        },
    };
    entry.command(command);
    entry.entry
}

struct Writer<'a> {
    names: &'a Names,
    entry: Entry,
}

impl Writer<'_> {
    fn put(&mut self, name: &'static str, value: impl Into<Value>) {
        self.entry.fields.0.push((name, value.into()));
    }

    fn put_if(&mut self, given: bool, name: &'static str, value: impl Into<Value>) {
        if given {
            self.put(name, value);
        }
    }

    fn firm(&mut self, id: FirmId) {
        let mpid = self.names.mpid(id);
        self.put("firm", mpid.clone());
        self.entry.firms.push(mpid);
    }

    /// A port, with its firm.
    fn port(&mut self, id: PortId) {
        let name = self.names.username(id);
        self.put("port", name.clone());
        self.entry.ports.push(name);
        if let Some(firm) = self.names.port_firm(id) {
            self.firm(firm);
        }
    }

    /// An account, with its firm.
    fn account(&mut self, id: AccountId) {
        self.put("account", id.0);
        if let Some(firm) = self.names.account_firm(id) {
            self.firm(firm);
        }
    }

    fn instrument(&mut self, id: InstrumentId) {
        let symbol = self.names.symbol(id);
        self.put("symbol", symbol.clone());
        self.entry.symbols.push(symbol);
    }

    /// A member's number of an order, on a channel; its instrument where that is known.
    fn order(&mut self, port: PortId, idx: UserRefIdx, num: UserRefNum, name: &'static str) {
        self.put(name, num.0);
        let key = OrderKey::new(port, idx, num);
        self.entry.orders.push(key);
        if let Some(instrument) = self.names.order_instrument(key)
            && self.entry.symbols.is_empty()
        {
            self.instrument(instrument);
        }
    }

    fn member(&mut self, port: PortId, idx: UserRefIdx) {
        self.port(port);
        self.put("user_ref_idx", idx.0);
    }

    /// A price in the quote asset for one unit of the base asset, and in ticks.
    fn price(&mut self, instrument: InstrumentId, price: Price, name: &'static str, ticks: &'static str) {
        if let Some(measures) = self.names.measures(instrument) {
            self.put(name, measures.price(price.0));
        }
        self.put(ticks, price.0);
    }

    /// A quantity in units of the base asset, and in lots.
    fn qty(&mut self, instrument: InstrumentId, qty: Qty) {
        if let Some(measures) = self.names.measures(instrument) {
            self.put("quantity", measures.quantity(qty.0.into()));
        }
        self.put("qty", qty.0);
    }

    fn fault(&mut self, fault: Option<Reject>) {
        if let Some(fault) = fault {
            self.put("fault", format!("{fault:?}"));
        }
    }

    fn command(&mut self, command: &Command) {
        match command {
            Command::DefineAsset(asset) => {
                self.put("asset_id", asset.id.0);
                self.put("asset", asset.code.as_str());
                self.put("decimals", asset.decimals);
            }
            Command::DefineInstrument(instrument) => self.define_instrument(instrument),
            Command::DefineFirm(firm) => {
                self.put("firm_id", firm.id.0);
                self.put("firm", firm.mpid.as_str());
                self.entry.firms.push(firm.mpid.to_string());
            }
            Command::DefineAccount(account) => {
                self.put("account", account.id.0);
                self.firm(account.firm);
            }
            Command::DefinePort(port) => self.define_port(port),
            Command::Fund(funding) => {
                self.put("id", funding.id);
                self.account(funding.account);
                self.put("asset", self.names.code(funding.asset));
                self.put("amount", self.names.amount(funding.asset, funding.amount.0));
            }
            Command::OpenDay(day) => {
                self.put("date", Date(day.date).to_string());
                self.put("midnight", time_text(day.midnight));
            }
            Command::Login(login) => self.port(login.port),
            Command::Logout(logout) => {
                self.port(logout.port);
                self.put("incarnation", logout.incarnation);
            }
            Command::EnterOrder(order) => {
                self.member(order.port, order.user_ref_idx);
                self.put("user_ref_num", order.user_ref_num.0);
                self.entry.orders.push(order.key());
                self.instrument(order.instrument);
                self.put("side", order.side.name());
                self.qty(order.instrument, order.qty);
                self.price(order.instrument, order.price, "price", "price_ticks");
                self.standing(order.time_in_force, order.display);
                self.put("capacity", order.capacity.name());
                self.put("cl_ord_id", order.cl_ord_id.as_str());
                self.options(&order.options);
                self.terms(order.instrument, &order.terms);
                self.fault(order.fault);
            }
            Command::ReplaceOrder(replace) => self.replace(replace),
            Command::CancelOrder(cancel) => {
                self.member(cancel.port, cancel.user_ref_idx);
                self.order(cancel.port, cancel.user_ref_idx, cancel.user_ref_num, "user_ref_num");
                self.put("qty", cancel.qty.0);
            }
            Command::ModifyOrder(modify) => {
                self.member(modify.port, modify.user_ref_idx);
                self.order(modify.port, modify.user_ref_idx, modify.user_ref_num, "user_ref_num");
                self.put("side", modify.side.name());
                self.put("qty", modify.qty.0);
            }
            Command::MassCancel(cancel) => self.mass_cancel(cancel),
            Command::MassCancelSlice(slice) => {
                self.put("cause", slice.cause.0);
                self.put("slice", slice.slice);
            }
            Command::DisableOrderEntry(switch) | Command::EnableOrderEntry(switch) => {
                self.order_entry_switch(switch);
            }
            Command::AccountQuery(query) => self.member(query.port, query.user_ref_idx),
            Command::Tick => {}
            Command::Quote(quote) => self.quote(quote),
            Command::OrderStateQuery(query) => {
                self.member(query.port, query.user_ref_idx);
                self.order(query.port, query.user_ref_idx, query.user_ref_num, "user_ref_num");
            }
            Command::DeadMan(timer) => {
                self.port(timer.port);
                self.put("timeout", Span(timer.timeout_ns).to_string());
            }
            Command::Control(control) => self.control(control),
        }
    }

    fn define_instrument(&mut self, instrument: &Instrument) {
        self.put("instrument_id", instrument.id.0);
        self.put("symbol", instrument.symbol.as_str());
        self.entry.symbols.push(instrument.symbol.to_string());
        self.put("base", self.names.code(instrument.base));
        self.put("quote", self.names.code(instrument.quote));
        let measures = self.names.measures_of(instrument);
        self.put("tick", measures.price(1));
        self.put("lot", measures.quantity(1));
        self.put(
            "scale",
            match instrument.scale {
                Scale::EquityExact { .. } => "equity_exact",
                Scale::Scaled => "scaled",
            },
        );
        self.put("wire_price_tick", instrument.price_tick());
        self.put("tick_value", instrument.tick_value);
        self.put("lot_units", instrument.lot_units);
        self.put("round_lot", instrument.round_lot);
        self.put("maker_fee_bps", instrument.maker_fee_bps);
        self.put("taker_fee_bps", instrument.taker_fee_bps);
    }

    /// The password's hash stays where it is.
    fn define_port(&mut self, port: &Port) {
        self.put("port_id", port.id.0);
        self.put("port", port.username.as_str());
        self.entry.ports.push(port.username.to_string());
        self.firm(port.firm);
        self.put("account", port.account.0);
        self.put("qty_max", port.limits.qty_max.0);
        self.put("notional_max_units", port.limits.notional_max.0.to_string());
    }

    fn replace(&mut self, replace: &ReplaceOrder) {
        self.member(replace.port, replace.user_ref_idx);
        let (port, idx) = (replace.port, replace.user_ref_idx);
        self.order(port, idx, replace.orig_user_ref_num, "orig_user_ref_num");
        self.order(port, idx, replace.user_ref_num, "user_ref_num");
        let original = OrderKey::new(port, idx, replace.orig_user_ref_num);
        let instrument = self.names.order_instrument(original);
        self.qty(instrument.unwrap_or(InstrumentId::NONE), replace.qty);
        let known = instrument.and_then(|id| self.names.instrument(id));
        let tick = known.map_or(0, |instrument| u64::from(instrument.price_tick()));
        let ticks = (tick > 0 && replace.wire_price.is_multiple_of(tick)).then(|| replace.wire_price / tick);
        match (instrument, ticks.and_then(|ticks| i64::try_from(ticks).ok())) {
            (Some(instrument), Some(ticks)) => {
                self.price(instrument, Price(ticks), "price", "price_ticks");
            }
            _ => self.put("wire_price", replace.wire_price),
        }
        self.standing(replace.time_in_force, replace.display);
        self.put("cl_ord_id", replace.cl_ord_id.as_str());
        self.options(&replace.options);
        if let Some(max_floor) = replace.max_floor {
            self.put("max_floor", max_floor);
        }
        if let Some(random_reserves) = replace.random_reserves {
            self.put("random_reserves", random_reserves);
        }
        self.put_if(replace.expire != Nanos(0), "expire", time_text(replace.expire));
        self.fault(replace.fault);
    }

    fn mass_cancel(&mut self, cancel: &MassCancel) {
        self.member(cancel.port, cancel.user_ref_idx);
        self.put("user_ref_num", cancel.user_ref_num.0);
        self.put("of_firm", self.names.mpid(cancel.firm));
        self.instrument(cancel.instrument);
        if let Some(group) = cancel.group {
            self.put("group", group);
        }
        if let Some(only) = cancel.side {
            self.put("side", only.name());
        }
        self.fault(cancel.fault);
    }

    fn order_entry_switch(&mut self, switch: &OrderEntrySwitch) {
        self.member(switch.port, switch.user_ref_idx);
        self.put("user_ref_num", switch.user_ref_num.0);
        self.put("of_firm", self.names.mpid(switch.firm));
        self.fault(switch.fault);
    }

    fn quote(&mut self, quote: &Quote) {
        self.member(quote.port, quote.user_ref_idx);
        self.put("user_ref_num", quote.user_ref_num.0);
        for number in [quote.user_ref_num.0, quote.user_ref_num.0.saturating_add(1)] {
            let key = OrderKey::new(quote.port, quote.user_ref_idx, UserRefNum(number));
            self.entry.orders.push(key);
        }
        self.instrument(quote.instrument);
        self.put("bid_qty", quote.bid.qty.0);
        self.price(quote.instrument, quote.bid.price, "bid", "bid_ticks");
        self.put("ask_qty", quote.ask.qty.0);
        self.price(quote.instrument, quote.ask.price, "ask", "ask_ticks");
        self.put("capacity", quote.capacity.name());
        self.fault(quote.fault);
    }

    fn standing(&mut self, time_in_force: TimeInForce, display: Display) {
        self.put("time_in_force", time_in_force.name());
        self.put("display", display.name());
    }

    /// Those that were given.
    fn options(&mut self, options: &OrderOptions) {
        let OrderOptions { firm, customer_type, post_only, group, min_qty } = *options;
        self.put_if(firm, "firm_named", true);
        self.put_if(customer_type != 0, "customer_type", char::from(customer_type).to_string());
        self.put_if(post_only != 0, "post_only", char::from(post_only).to_string());
        if let Some(group) = group {
            self.put("group", group);
        }
        self.put_if(min_qty != 0, "min_qty", min_qty);
    }

    /// Those that make the order more than a plain one.
    fn terms(&mut self, instrument: InstrumentId, terms: &OrderTerms) {
        self.put_if(terms.market, "market", true);
        if terms.stop != Price(0) {
            self.price(instrument, terms.stop, "stop", "stop_ticks");
        }
        self.put_if(terms.trail != 0, "trail_ticks", terms.trail);
        self.put_if(terms.max_floor != 0, "max_floor", terms.max_floor);
        self.put_if(terms.random_reserves != 0, "random_reserves", terms.random_reserves);
        if terms.peg != Peg::None {
            let peg = match terms.peg {
                Peg::None => "none",
                Peg::Primary => "primary",
                Peg::Market => "market",
                Peg::Midpoint => "midpoint",
            };
            self.put("peg", peg);
            self.put("peg_offset_ticks", terms.peg_offset);
        }
        if terms.discretion != Price(0) {
            self.price(instrument, terms.discretion, "discretion", "discretion_ticks");
        }
        self.put_if(terms.expire != Nanos(0), "expire", time_text(terms.expire));
        self.put_if(terms.oco != UserRefNum(0), "oco", terms.oco.0);
        self.put_if(terms.stp != Stp::Port, "stp", StpWord(terms.stp).to_string());
        self.put_if(
            terms.stp_group != [0; 2],
            "stp_group",
            String::from_utf8_lossy(&terms.stp_group).into_owned(),
        );
    }

    fn control(&mut self, control: &Control) {
        match *control {
            Control::SetRules { instrument, ref rules } => self.set_rules(instrument, rules),
            Control::SetSchedule { instrument, slot, at_s, phase } => {
                self.instrument(instrument);
                self.put("slot", slot);
                self.put("at", TimeOfDay(at_s).to_string());
                self.put("phase", PhaseOrNone(phase).to_string());
            }
            Control::SetPhase { instrument, phase, reason } => {
                self.instrument(instrument);
                self.put("phase", PhaseWord(phase).to_string());
                self.put("reason", String::from_utf8_lossy(&reason).trim_end().to_owned());
            }
            Control::SetPortRules { port, rules } => {
                self.port(port);
                self.put("qty_max", rules.limits.qty_max.0);
                self.put("notional_max_units", rules.limits.notional_max.0.to_string());
                self.put("rate_per_second", rules.rate_per_second);
                self.put("rate_burst", rules.rate_burst);
                self.put("duplicates_max", rules.duplicates_max);
                self.put("duplicate_span", Span(rules.duplicate_ns).to_string());
                self.put("slides", rules.slides);
                self.put("stp", StpWord(rules.stp).to_string());
                self.put("cancels_on_disconnect", rules.cancels_on_disconnect);
            }
            Control::SetExposure { firm, asset, gross_max, net_max } => {
                self.firm(firm);
                self.put("asset", self.names.code(asset));
                for (name, limit) in [("gross_max", gross_max), ("net_max", net_max)] {
                    self.put(name, limit.map(|limit| self.names.amount(asset, limit.0)));
                }
            }
            Control::SetCredit { account, asset, credit_max } => {
                self.account(account);
                self.put("asset", self.names.code(asset));
                self.put("credit_max", credit_max.map(|limit| self.names.amount(asset, limit.0)));
            }
            Control::SetPosition { account, instrument, long_max, short_max } => {
                self.account(account);
                self.instrument(instrument);
                self.put("long_max_qty", long_max.map(|limit| limit.0));
                self.put("short_max_qty", short_max.map(|limit| limit.0));
            }
            Control::Entitle { port, instrument, allowed } => {
                self.port(port);
                self.instrument(instrument);
                self.put("allowed", allowed);
            }
            Control::Restrict { firm, instrument, restricted } => {
                self.firm(firm);
                self.instrument(instrument);
                self.put("restricted", restricted);
            }
            Control::Locate { id, firm, instrument, qty } => {
                self.put("id", id);
                self.firm(firm);
                self.instrument(instrument);
                self.put("qty", qty);
            }
            Control::Kill { scope, on } => {
                match scope {
                    KillScope::Port(port) => self.port(port),
                    KillScope::Firm(firm) => self.firm(firm),
                    KillScope::Instrument(instrument) => self.instrument(instrument),
                    KillScope::Venue => self.put("venue", true),
                }
                self.put("on", on);
            }
            Control::SetFees { instrument, tier, fees } => {
                self.instrument(instrument);
                self.put("tier", tier);
                self.put("maker", Rate(fees.maker_bps).to_string());
                self.put("taker", Rate(fees.taker_bps).to_string());
                let decimals = self.names.measures(instrument).map_or(0, |measures| measures.quote_decimals);
                self.put("minimum", units(fees.minimum.into(), decimals));
            }
            Control::SetTier { tier, volume_min } => {
                self.put("tier", tier);
                self.put("volume_min", volume_min);
            }
            Control::SetFirmTier { firm, tier } => {
                self.firm(firm);
                self.put("tier", tier);
            }
            Control::CloseDay => {}
            Control::Bust { match_number, reason } => {
                self.put("match_number", match_number.0);
                self.put("reason", bust_reason(reason));
            }
            Control::Delist { instrument } => self.instrument(instrument),
            Control::ChangeTick { instrument, price_tick, tick_value } => {
                self.instrument(instrument);
                self.put("wire_price_tick", price_tick);
                self.put("tick_value", tick_value);
            }
            Control::ChangeSymbol { instrument, symbol } => {
                self.instrument(instrument);
                self.put("new_symbol", symbol.as_str());
                self.entry.symbols.push(symbol.to_string());
            }
            Control::SetDeclineLevels { levels } => {
                self.put("levels", levels.map(|level| units(level.into(), 8)).to_vec());
            }
            Control::MarketWideHalt { level } => self.put("level", level),
            Control::Void { seq, reason } => {
                self.put("void_seq", seq.0);
                self.put("reason", reason.as_str());
            }
            Control::HaltOrderEntry { on } => self.put("on", on),
            Control::SignedHead { size, root, epoch } => {
                self.put("size", size);
                self.put("root", Base64::encode_string(&root));
                self.put("epoch", epoch);
            }
            Control::BeginGrace { grace_ns } => self.put("grace_ns", grace_ns),
        }
    }

    fn set_rules(&mut self, instrument: InstrumentId, rules: &InstrumentRules) {
        self.instrument(instrument);
        self.put("algorithm", AlgorithmWord(rules.algorithm).to_string());
        self.put("top_order_max_qty", rules.top_order_max.0);
        self.put("batch", Span(rules.batch_ns).to_string());
        self.price(instrument, rules.reference, "reference", "reference_ticks");
        self.put("static", Share(rules.static_bps).to_string());
        self.put("collar", Share(rules.collar_bps).to_string());
        self.put("band", Share(rules.band_bps).to_string());
        self.put("limit_state", Span(rules.limit_state_ns).to_string());
        self.put("volatility", Span(rules.volatility_ns).to_string());
        self.put("short_restricted", rules.short_restricted);
    }
}

/// A reason that is none stands as it is: core refuses it, and the journal holds it all the same.
fn bust_reason(reason: u8) -> String {
    match reason {
        b'E' | b'C' | b'S' | b'X' => BustReason(reason).to_string(),
        other => char::from(other).to_string(),
    }
}
