//! What a run has met: every kind of event and refusal, and which rules met which.
//!
//! A *rule* is a trait of an order (it is an iceberg, it is a stop) or of its surroundings (the phase, the
//! algorithm, a limit that is set). Two rules met when an order of one traded with an order of the other, or
//! when an order of one came in, traded or ended under the other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use ironbell_types::{
    Accepted, AccountId, AdminRefusal, Algorithm, AssetId, CancelReason, ClOrdId, Command, Control,
    CrossKind, Display, Event, EventBody, FirmId, Instrument, InstrumentId, InstrumentRules, OrderKey,
    OrderRef, OrderTerms, Peg, Phase, PortId, Qty, Reject, Sequenced, Side, Stp, TimeInForce,
};

use crate::flow::AIMS;

/// The name of what happened, with what it is told apart by.
#[must_use]
pub fn name(body: &EventBody) -> String {
    match body {
        EventBody::AdminRefused(refusal) => format!("AdminRefused {refusal:?}"),
        EventBody::Rejected { reason, .. } => format!("Rejected {reason:?}"),
        EventBody::Canceled(canceled) => {
            let extent = if canceled.leaves_qty == Qty::ZERO { "whole" } else { "part" };
            format!("Canceled {:?} {extent}", canceled.reason)
        }
        EventBody::Accepted(accepted) => format!("Accepted booked {}", accepted.booked),
        EventBody::Replaced(replaced) => format!("Replaced booked {}", replaced.order.booked),
        EventBody::Trade(trade) => format!("Trade {:?}", trade.cross),
        EventBody::PhaseChanged { phase, .. } => format!("PhaseChanged {phase:?}"),
        EventBody::LimitState { on, .. } => format!("LimitState {on}"),
        EventBody::Crossed(crossed) => format!("Crossed {:?} traded {}", crossed.kind, crossed.qty.0 > 0),
        EventBody::Indicative(indicative) => {
            format!("Indicative {:?} priced {}", indicative.kind, indicative.price.0 > 0)
        }
        EventBody::SelfTradePrevented(prevented) => {
            format!("SelfTradePrevented {:?} rested {}", prevented.stp, prevented.rested)
        }
        EventBody::Controlled(control) => format!("Controlled {}", first_word(control)),
        EventBody::OrderState(state) => format!("OrderState open {}", state.open),
        EventBody::DeadManSet { timeout_ns, .. } => format!("DeadManSet armed {}", *timeout_ns > 0),
        EventBody::Busted(busted) => {
            format!("Busted owing {}", busted.buyer_owes.0 > 0 || busted.seller_owes.0 > 0)
        }
        other => first_word(other),
    }
}

const BESIDES: [&str; 3] =
    ["mass cancel beyond the rate", "dead-man setting beyond the rate", "login ended by its grace"];

/// What its event does not tell: what besides orders was more than the port's rate lets through, and why a login ended.
fn besides(command: &Command, said: &EventBody) -> Option<&'static str> {
    match (command, said) {
        (Command::MassCancel(_), EventBody::Rejected { reason: Reject::PortRate, .. }) => Some(BESIDES[0]),
        (Command::DeadMan(asked), EventBody::DeadManSet { timeout_ns, .. }) => {
            (asked.timeout_ns != *timeout_ns).then_some(BESIDES[1])
        }
        (Command::Tick, EventBody::LoggedOut { .. }) => Some(BESIDES[2]),
        _ => None,
    }
}

/// What became of an order or a replacement that an account was funded for to the unit.
fn funded_to_the_unit(command: &Command, first: &EventBody) -> Option<String> {
    let (what, cl_ord_id) = match command {
        Command::EnterOrder(order) => ("order", order.cl_ord_id),
        Command::ReplaceOrder(replace) => ("replacement", replace.cl_ord_id),
        _ => return None,
    };
    let (aim, _) = AIMS.into_iter().find(|(aim, _)| ClOrdId::new(aim) == Some(cl_ord_id))?;
    match first {
        EventBody::Rejected { reason: Reject::AggregateExposure, .. } => {
            Some(format!("{aim} {what} refused"))
        }
        EventBody::Accepted(_) | EventBody::Replaced(_) => Some(format!("{aim} {what} taken")),
        _ => None,
    }
}

fn first_word(value: &impl std::fmt::Debug) -> String {
    // Stops the writing where the word ends: the rest would be written for nothing.
    struct Word(String);
    impl std::fmt::Write for Word {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            let end = text.find([' ', '(', '{']);
            self.0.push_str(&text[..end.unwrap_or(text.len())]);
            if end.is_some() { Err(std::fmt::Error) } else { Ok(()) }
        }
    }
    let mut word = Word(String::new());
    let _cut_short = write!(word, "{value:?}");
    word.0
}

/// Everything that a thorough run says.
#[must_use]
pub fn every_name() -> Vec<String> {
    let mut wanted: Vec<String> = [
        AdminRefusal::Id,
        AdminRefusal::NameTaken,
        AdminRefusal::Unknown,
        AdminRefusal::Range,
        AdminRefusal::Repeated,
        AdminRefusal::Funds,
        AdminRefusal::Day,
        AdminRefusal::Busy,
    ]
    .iter()
    .map(|refusal| format!("AdminRefused {refusal:?}"))
    .collect();
    wanted.extend(Reject::ALL.iter().map(|reject| format!("Rejected {reject:?}")));
    // A self-trade that is prevented says so itself, and is no cancel.
    let reasons = CancelReason::ALL.iter().filter(|&&reason| reason != CancelReason::SelfTrade);
    wanted.extend(reasons.map(|reason| format!("Canceled {reason:?} whole")));
    wanted.push("Canceled User part".into());
    for yes in [true, false] {
        wanted.push(format!("Accepted booked {yes}"));
        wanted.push(format!("Replaced booked {yes}"));
        wanted.push(format!("LimitState {yes}"));
        wanted.push(format!("OrderState open {yes}"));
        wanted.push(format!("DeadManSet armed {yes}"));
        wanted.push(format!("Busted owing {yes}"));
    }
    wanted.extend(CrossKind::ALL.iter().map(|kind| format!("Trade {kind:?}")));
    wanted.extend(Phase::ALL.iter().map(|phase| format!("PhaseChanged {phase:?}")));
    for kind in [CrossKind::Opening, CrossKind::Closing, CrossKind::Halt] {
        wanted.push(format!("Crossed {kind:?} traded true"));
        wanted.push(format!("Indicative {kind:?} priced true"));
        wanted.push(format!("Indicative {kind:?} priced false"));
    }
    wanted.push("Crossed Opening traded false".into());
    wanted.push("Crossed Closing traded false".into());
    for (stp, rested) in [
        (Stp::CancelNewest, false),
        (Stp::CancelOldest, true),
        (Stp::CancelBoth, false),
        (Stp::CancelBoth, true),
        (Stp::Decrement, false),
        (Stp::Decrement, true),
    ] {
        wanted.push(format!("SelfTradePrevented {stp:?} rested {rested}"));
    }
    let controls = [
        "SetRules",
        "SetSchedule",
        "SetPhase",
        "SetPortRules",
        "SetExposure",
        "SetCredit",
        "SetPosition",
        "Entitle",
        "Restrict",
        "Locate",
        "Kill",
        "SetFees",
        "SetTier",
        "SetFirmTier",
        "CloseDay",
        "Bust",
        "Delist",
        "ChangeTick",
        "ChangeSymbol",
        "SetDeclineLevels",
        "MarketWideHalt",
        "HaltOrderEntry",
        "SignedHead",
        "BeginGrace",
    ];
    wanted.extend(controls.iter().map(|control| format!("Controlled {control}")));
    let plain = [
        "AssetDefined",
        "InstrumentDefined",
        "FirmDefined",
        "AccountDefined",
        "PortDefined",
        "Funded",
        "DayOpened",
        "LoggedIn",
        "LoggedOut",
        "Rested",
        "Modified",
        "MassCancelAccepted",
        "MassCancelAsked",
        "OrderEntryDisabled",
        "OrderEntryEnabled",
        "AccountQueried",
        "Settled",
        "BandSet",
        "Refreshed",
        "Triggered",
        "Terms",
        "Statistics",
        "DayClosed",
        "FirmTier",
        "DeadManExpired",
    ];
    wanted.extend(plain.map(str::to_owned));
    wanted.extend(BESIDES.map(str::to_owned));
    for what in ["order", "replacement"] {
        let became = |(aim, spare): (&str, i128)| {
            format!("{aim} {what} {}", if spare < 0 { "refused" } else { "taken" })
        };
        wanted.extend(AIMS.map(became));
    }
    wanted
}

/// A trait of an order, or of what surrounds it.
pub type Rule = &'static str;

/// Traits of orders.
pub const ORDER_RULES: &[Rule] = &[
    "limit",
    "hidden",
    "iceberg",
    "random iceberg",
    "primary peg",
    "market peg",
    "midpoint peg",
    "discretion",
    "stop",
    "trailing stop",
    "market",
    "pair",
    "day",
    "gtt",
    "gtc",
    "at-open",
    "at-close",
    "ioc",
    "fok",
    "min qty",
    "post-only",
    "quote",
    "replacement",
    "short",
    "short exempt",
    "stp off",
    "stp newest",
    "stp oldest",
    "stp both",
    "stp decrement",
    "stp group",
];

/// Traits of surroundings.
pub const SURROUNDING_RULES: &[Rule] = &[
    "Closed",
    "PreOpen",
    "OpeningAuction",
    "Continuous",
    "Volatility",
    "Halted",
    "Paused",
    "ClosingAuction",
    "price-time",
    "pro-rata",
    "top order",
    "batch",
    "static range",
    "collar",
    "band",
    "limit state",
    "price test",
    "position limit",
    "credit limit",
    "gross limit",
    "net limit",
    "located",
    "port stp",
    "slides",
    "rate",
    "duplicates",
    "dead man",
    "rebate",
    "minimum fee",
    "later day",
];

/// What happens to orders.
pub const FATE_RULES: &[Rule] = &[
    "accepted booked",
    "accepted unbooked",
    "trades as aggressor",
    "trades resting",
    "trades in opening",
    "trades in closing",
    "trades in halt cross",
    "rested",
    "refreshed",
    "triggered",
    "prevented as aggressor",
    "prevented resting",
    "modified",
    "replaced",
    "busted",
    "cancelled in part",
    "User",
    "Immediate",
    "PostOnly",
    "Supervisory",
    "ClosedReason",
    "Collar",
    "Timeout",
    "System",
    "Regulatory",
];

/// What a run has met.
#[derive(Default)]
pub struct Coverage {
    seen: BTreeMap<String, u64>,
    met: BTreeMap<(&'static str, Rule, Rule), u64>,
    orders: BTreeMap<OrderKey, Seen>,
    /// Of the order whose acceptance comes next.
    terms: OrderTerms,
    keys: BTreeMap<OrderRef, OrderKey>,
    instruments: BTreeMap<InstrumentId, Surroundings>,
    ports: BTreeMap<PortId, BTreeSet<Rule>>,
    accounts: BTreeMap<PortId, (AccountId, FirmId)>,
    positions: BTreeSet<(AccountId, InstrumentId)>,
    credits: BTreeSet<(AccountId, AssetId)>,
    gross: BTreeSet<(FirmId, AssetId)>,
    net: BTreeSet<(FirmId, AssetId)>,
    located: BTreeSet<(FirmId, InstrumentId)>,
    days: u64,
}

struct Seen {
    rules: Vec<Rule>,
    instrument: InstrumentId,
    day: u64,
}

struct Surroundings {
    definition: Instrument,
    phase: Phase,
    rules: InstrumentRules,
    limit_state: bool,
    rebate: bool,
    minimum: bool,
}

impl Coverage {
    /// Nothing met.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A new venue begins; what was met stays.
    pub fn begin_venue(&mut self) {
        let (seen, met) = (std::mem::take(&mut self.seen), std::mem::take(&mut self.met));
        *self = Self { seen, met, ..Self::default() };
    }

    /// Takes in what was said of one command.
    pub fn hear(&mut self, command: &Sequenced, said: &[Event]) {
        for event in said {
            *self.seen.entry(name(&event.body)).or_default() += 1;
            if let Some(what) = besides(&command.command, &event.body) {
                self.count(what);
            }
            self.take_in(&command.command, &event.body);
        }
        let first = said.iter().find(|event| !matches!(event.body, EventBody::Terms { .. }));
        if let Some(what) = first.and_then(|first| funded_to_the_unit(&command.command, &first.body)) {
            self.count(&what);
        }
    }

    /// Counts something that is no event.
    pub fn count(&mut self, what: &str) {
        *self.seen.entry(what.to_owned()).or_default() += 1;
    }

    /// How often something was met.
    #[must_use]
    pub fn seen(&self, what: &str) -> u64 {
        self.seen.get(what).copied().unwrap_or(0)
    }

    /// Of all that a thorough run says, what was said fewer than `least` times.
    #[must_use]
    pub fn hardly_seen(&self, least: u64) -> Vec<String> {
        every_name().into_iter().filter(|what| self.seen(what) < least).collect()
    }

    /// How often everything was met, as text.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::new();
        for (what, count) in &self.seen {
            writeln!(text, "{count:>10}  {what}").expect("writing to a string");
        }
        text
    }

    /// Which rules met which, as text: of each table how many pairs met how often, and those that never did
    /// though nothing in the rules keeps them apart.
    #[must_use]
    pub fn pair_table(&self) -> String {
        let mut text = String::new();
        let tables = [
            ("aggressor x resting", ORDER_RULES, ORDER_RULES),
            ("in a cross", ORDER_RULES, ORDER_RULES),
            ("order x surroundings", ORDER_RULES, SURROUNDING_RULES),
            ("order x fate", ORDER_RULES, FATE_RULES),
        ];
        for (table, rows, columns) in tables {
            let mut never = Vec::new();
            let (mut met, mut thin) = (0, 0);
            for &row in rows {
                for &column in columns {
                    match self.met.get(&(table, row, column)) {
                        Some(&count) => {
                            met += 1;
                            thin += u32::from(count < 20);
                        }
                        None if are_apart(table, row, column) => {}
                        None => never.push((row, column)),
                    }
                }
            }
            writeln!(
                text,
                "{table}: {met} pairs met, {thin} of them fewer than 20 times; never met: {}",
                never.len()
            )
            .expect("writing to a string");
            let mut by_row: BTreeMap<Rule, Vec<Rule>> = BTreeMap::new();
            for (row, column) in never {
                by_row.entry(row).or_default().push(column);
            }
            for (row, columns) in by_row {
                writeln!(text, "    {row}: {}", columns.join(", ")).expect("writing to a string");
            }
        }
        text
    }

    /// Pairs of a table that met at least once.
    #[must_use]
    pub fn pairs_met(&self, table: &str) -> usize {
        self.met.keys().filter(|(of, ..)| *of == table).count()
    }

    /// Whether a row, or a column, of a table met anything.
    #[must_use]
    pub fn has_met(&self, table: &str, row: Option<Rule>, column: Option<Rule>) -> bool {
        self.met.keys().any(|&(of, r, c)| {
            of == table && row.is_none_or(|row| row == r) && column.is_none_or(|column| column == c)
        })
    }

    fn meet(&mut self, table: &'static str, row: Rule, column: Rule) {
        *self.met.entry((table, row, column)).or_default() += 1;
    }

    fn take_in(&mut self, command: &Command, body: &EventBody) {
        match body {
            EventBody::InstrumentDefined(definition) => {
                let begins = if self.days > 0 { Phase::Continuous } else { Phase::Closed };
                let known = self.instruments.entry(definition.id).or_insert(Surroundings {
                    definition: *definition,
                    phase: begins,
                    rules: InstrumentRules::PLAIN,
                    limit_state: false,
                    rebate: false,
                    minimum: false,
                });
                known.definition = *definition;
            }
            EventBody::PortDefined(port) => {
                self.accounts.insert(port.id, (port.account, port.firm));
            }
            EventBody::DayOpened(_) => {
                // Those that do not begin in Continuous say so.
                self.days += 1;
                for instrument in self.instruments.values_mut() {
                    instrument.phase = Phase::Continuous;
                }
            }
            EventBody::PhaseChanged { instrument, phase, .. } => {
                let known = self.instruments.get_mut(instrument).expect("an instrument that was defined");
                known.phase = *phase;
                known.limit_state = false;
            }
            EventBody::LimitState { instrument, on } => {
                let known = self.instruments.get_mut(instrument).expect("an instrument that was defined");
                known.limit_state = *on;
            }
            EventBody::Controlled(control) => self.take_in_control(control),
            EventBody::DeadManSet { port, timeout_ns } => {
                let rules = self.ports.entry(*port).or_default();
                if *timeout_ns > 0 {
                    rules.insert("dead man")
                } else {
                    rules.remove("dead man")
                };
            }
            EventBody::DeadManExpired { port } => {
                self.ports.entry(*port).or_default().remove("dead man");
            }
            EventBody::Terms { terms, .. } => self.terms = *terms,
            EventBody::Accepted(order) => {
                self.take_in_order(order, matches!(command, Command::Quote(_)), false);
            }
            EventBody::Replaced(replaced) => {
                let key = replaced.order.key;
                let original = OrderKey::new(key.port(), key.idx(), replaced.orig_user_ref_num);
                self.fate(original, "replaced");
                self.take_in_order(&replaced.order, false, true);
            }
            EventBody::Trade(trade) => {
                let table = if trade.cross == CrossKind::None { "aggressor x resting" } else { "in a cross" };
                let (row, column) = (self.rules_of(trade.aggressor.key), self.rules_of(trade.resting.key));
                for &row in &row {
                    for &column in &column {
                        self.meet(table, row, column);
                    }
                }
                let fates = match trade.cross {
                    CrossKind::None => ["trades as aggressor", "trades resting"],
                    CrossKind::Opening => ["trades in opening"; 2],
                    CrossKind::Closing => ["trades in closing"; 2],
                    CrossKind::Halt => ["trades in halt cross"; 2],
                };
                for (key, fate) in [trade.aggressor.key, trade.resting.key].into_iter().zip(fates) {
                    self.fate(key, fate);
                    self.surround(key);
                }
            }
            EventBody::Canceled(canceled) => {
                let fate = match canceled.reason {
                    _ if canceled.leaves_qty != Qty::ZERO => "cancelled in part",
                    CancelReason::User => "User",
                    CancelReason::Immediate => "Immediate",
                    CancelReason::PostOnly => "PostOnly",
                    CancelReason::Supervisory => "Supervisory",
                    CancelReason::Closed => "ClosedReason",
                    CancelReason::Collar => "Collar",
                    CancelReason::SelfTrade => return,
                    CancelReason::Timeout => "Timeout",
                    CancelReason::System => "System",
                    CancelReason::Regulatory => "Regulatory",
                };
                self.fate(canceled.key, fate);
            }
            EventBody::Modified(modified) => {
                self.fate(modified.key, "modified");
                if let Some(order) = self.orders.get_mut(&modified.key) {
                    order.rules.extend(short(modified.side));
                }
            }
            EventBody::Refreshed(refreshed) => self.fate(refreshed.key, "refreshed"),
            EventBody::Triggered { key, .. } => self.fate(*key, "triggered"),
            EventBody::SelfTradePrevented(prevented) => {
                let fate = if prevented.rested { "prevented resting" } else { "prevented as aggressor" };
                self.fate(prevented.key, fate);
            }
            EventBody::Busted(busted) => {
                self.fate(busted.buyer, "busted");
                self.fate(busted.seller, "busted");
            }
            EventBody::Rested(rested) => {
                if let Some(&key) = self.keys.get(&rested.order_ref) {
                    self.fate(key, "rested");
                }
            }
            _ => {}
        }
    }

    fn take_in_control(&mut self, control: &Control) {
        match *control {
            Control::SetRules { instrument, rules } => {
                self.instruments.get_mut(&instrument).expect("an instrument that was defined").rules = rules;
            }
            Control::ChangeTick { instrument, .. } => {
                self.instruments.get_mut(&instrument).expect("an instrument that was defined").rules =
                    InstrumentRules::PLAIN;
            }
            Control::SetFees { instrument, fees, .. } => {
                let known = self.instruments.get_mut(&instrument).expect("an instrument that was defined");
                known.rebate |= fees.maker_bps < 0 || fees.taker_bps < 0;
                known.minimum |= fees.minimum > 0;
            }
            Control::SetPortRules { port, rules } => {
                let of_port = self.ports.entry(port).or_default();
                for (rule, is_set) in [
                    ("port stp", rules.stp != Stp::Off),
                    ("slides", rules.slides),
                    ("rate", rules.rate_per_second > 0),
                    ("duplicates", rules.duplicates_max > 0),
                ] {
                    if is_set {
                        of_port.insert(rule)
                    } else {
                        of_port.remove(rule)
                    };
                }
            }
            Control::SetPosition { account, instrument, long_max, short_max } => {
                set(&mut self.positions, (account, instrument), long_max.is_some() || short_max.is_some());
            }
            Control::SetCredit { account, asset, credit_max } => {
                set(&mut self.credits, (account, asset), credit_max.is_some());
            }
            Control::SetExposure { firm, asset, gross_max, net_max } => {
                set(&mut self.gross, (firm, asset), gross_max.is_some());
                set(&mut self.net, (firm, asset), net_max.is_some());
            }
            Control::Locate { firm, instrument, .. } => set(&mut self.located, (firm, instrument), true),
            _ => {}
        }
    }

    fn take_in_order(&mut self, order: &Accepted, quoted: bool, replaces: bool) {
        let mut rules = traits(order, &std::mem::take(&mut self.terms));
        rules.extend(quoted.then_some("quote"));
        rules.extend(replaces.then_some("replacement"));
        self.keys.insert(order.order_ref, order.key);
        self.orders.insert(order.key, Seen { rules, instrument: order.instrument, day: self.days });
        self.fate(order.key, if order.booked { "accepted booked" } else { "accepted unbooked" });
        self.surround(order.key);
    }

    fn rules_of(&self, key: OrderKey) -> Vec<Rule> {
        self.orders.get(&key).map(|o| o.rules.clone()).unwrap_or_default()
    }

    fn fate(&mut self, key: OrderKey, fate: Rule) {
        for rule in self.rules_of(key) {
            self.meet("order x fate", rule, fate);
        }
    }

    /// Notes what surrounds an order as it comes in or trades.
    fn surround(&mut self, key: OrderKey) {
        let Some(order) = self.orders.get(&key) else { return };
        let Some(around) = self.instruments.get(&order.instrument) else { return };
        let rules = around.rules;
        let (account, firm) = self.accounts.get(&key.port()).copied().unwrap_or_default();
        let quote = around.definition.quote;
        let short = order.rules.iter().any(|rule| ["short", "short exempt"].contains(rule));
        let mut columns: Vec<Rule> = vec![match around.phase {
            Phase::Closed => "Closed",
            Phase::PreOpen => "PreOpen",
            Phase::OpeningAuction => "OpeningAuction",
            Phase::Continuous => "Continuous",
            Phase::Volatility => "Volatility",
            Phase::Halted => "Halted",
            Phase::Paused => "Paused",
            Phase::ClosingAuction => "ClosingAuction",
        }];
        columns.push(match rules.algorithm {
            Algorithm::PriceTime => "price-time",
            Algorithm::ProRata => "pro-rata",
            Algorithm::Batch => "batch",
        });
        let pro_rata = rules.algorithm == Algorithm::ProRata;
        for (rule, is_so) in [
            ("top order", pro_rata && rules.top_order_max != Qty::ZERO),
            ("static range", rules.static_bps > 0),
            ("collar", rules.collar_bps > 0),
            ("band", rules.band_bps > 0),
            ("limit state", around.limit_state),
            ("price test", rules.short_restricted),
            ("position limit", self.positions.contains(&(account, order.instrument))),
            ("credit limit", self.credits.contains(&(account, quote))),
            ("gross limit", self.gross.contains(&(firm, quote))),
            ("net limit", self.net.contains(&(firm, quote))),
            ("located", short && self.located.contains(&(firm, order.instrument))),
            ("rebate", around.rebate),
            ("minimum fee", around.minimum),
            ("later day", order.day < self.days),
        ] {
            columns.extend(is_so.then_some(rule));
        }
        columns.extend(self.ports.get(&key.port()).into_iter().flatten());
        for rule in order.rules.clone() {
            for &column in &columns {
                self.meet("order x surroundings", rule, column);
            }
        }
    }
}

fn set<T: Ord>(values: &mut BTreeSet<T>, value: T, is_in: bool) {
    if is_in {
        values.insert(value)
    } else {
        values.remove(&value)
    };
}

fn short(side: Side) -> Option<Rule> {
    match side {
        Side::Buy | Side::Sell => None,
        Side::SellShort => Some("short"),
        Side::SellShortExempt => Some("short exempt"),
    }
}

/// What an order is.
fn traits(order: &Accepted, terms: &OrderTerms) -> Vec<Rule> {
    let mut rules = vec![match order.time_in_force {
        TimeInForce::Day => "day",
        TimeInForce::Ioc => "ioc",
        TimeInForce::Gtt => "gtt",
        TimeInForce::Fok => "fok",
        TimeInForce::Gtc => "gtc",
        TimeInForce::AtOpen => "at-open",
        TimeInForce::AtClose => "at-close",
    }];
    rules.extend(match terms.peg {
        Peg::None => None,
        Peg::Primary => Some("primary peg"),
        Peg::Market => Some("market peg"),
        Peg::Midpoint => Some("midpoint peg"),
    });
    rules.extend(match terms.stp {
        Stp::Port => None,
        Stp::Off => Some("stp off"),
        Stp::CancelNewest => Some("stp newest"),
        Stp::CancelOldest => Some("stp oldest"),
        Stp::CancelBoth => Some("stp both"),
        Stp::Decrement => Some("stp decrement"),
    });
    rules.extend(short(order.side));
    for (rule, is_so) in [
        ("limit", terms.is_plain()),
        ("hidden", order.display == Display::Hidden && terms.peg == Peg::None),
        ("iceberg", terms.max_floor > 0 && terms.random_reserves == 0),
        ("random iceberg", terms.random_reserves > 0),
        ("discretion", terms.discretion.0 != 0),
        ("stop", terms.stop.0 != 0),
        ("trailing stop", terms.trail != 0),
        ("market", terms.market),
        ("pair", terms.oco.0 != 0),
        ("min qty", order.options.min_qty != 0),
        ("post-only", order.options.is_post_only()),
        ("stp group", terms.stp_group != [0, 0]),
    ] {
        rules.extend(is_so.then_some(rule));
    }
    rules
}

/// Whether the rules keep a pair apart, so that it can never be met.
fn are_apart(table: &str, row: Rule, column: Rule) -> bool {
    const NEVER_REST: &[Rule] = &["ioc", "fok", "min qty"];
    const FOR_A_CROSS: &[Rule] = &["at-open", "at-close"];
    const PEGS: &[Rule] = &["primary peg", "market peg", "midpoint peg"];
    const STOPS: &[Rule] = &["stop", "trailing stop"];
    const SHORT: &[Rule] = &["short", "short exempt"];
    const CALLS: &[Rule] = &["PreOpen", "OpeningAuction", "Volatility", "Paused", "ClosingAuction"];
    const RUNS: &[Rule] = &[
        "trades as aggressor",
        "prevented as aggressor",
        "accepted unbooked",
        "rested",
        "Immediate",
        "Collar",
    ];
    // A primary peg stands on its own side's best, which nothing of the other side reaches.
    const NEVER_RUN: &[Rule] = &["post-only", "primary peg"];
    match table {
        "aggressor x resting" => {
            FOR_A_CROSS.contains(&row)
                || FOR_A_CROSS.contains(&column)
                || NEVER_REST.contains(&column)
                || column == "market"
                || NEVER_RUN.contains(&row)
                // What is displayed stands beyond the middle, and a market peg a tick short of it.
                || PEGS.contains(&row) && ["iceberg", "random iceberg", "quote", "primary peg"].contains(&column)
                || SHORT.contains(&row) && SHORT.contains(&column)
        }
        "in a cross" => {
            [row, column].iter().any(|rule| NEVER_REST.contains(rule) || PEGS.contains(rule))
                || SHORT.contains(&row) && SHORT.contains(&column)
                || FOR_A_CROSS.contains(&row) && FOR_A_CROSS.contains(&column) && row != column
        }
        "order x surroundings" => {
            ["Closed", "Halted"].contains(&column)
                || NEVER_REST.contains(&row) && (CALLS.contains(&column) || column == "batch")
                || row == "at-open"
                    && ["Continuous", "Volatility", "Paused", "ClosingAuction"].contains(&column)
                || row == "at-open" && column == "limit state"
                || column == "later day" && !["gtt", "gtc"].contains(&row)
                || column == "located" && !SHORT.contains(&row)
        }
        _ => {
            let crosses = ["trades in opening", "trades in closing", "trades in halt cross"];
            match column {
                "refreshed" => !["iceberg", "random iceberg"].contains(&row),
                "triggered" => !STOPS.contains(&row),
                "PostOnly" => row != "post-only",
                "Timeout" => row != "gtt",
                "ClosedReason" if ["gtt", "gtc"].contains(&row) => true,
                "Immediate" if ["iceberg", "random iceberg", "quote"].contains(&row) => true,
                "rested" | "trades resting" | "trades in halt cross" | "prevented resting"
                    if row == "market" =>
                {
                    true
                }
                _ if NEVER_REST.contains(&row) && !STOPS.contains(&row) => {
                    !RUNS.contains(&column) || column == "rested"
                }
                _ if FOR_A_CROSS.contains(&row) => {
                    RUNS.contains(&column)
                        || ["trades resting", "prevented resting"].contains(&column)
                        || row == "at-open" && ["trades in closing", "trades in halt cross"].contains(&column)
                        || row == "at-close"
                            && ["trades in opening", "trades in halt cross"].contains(&column)
                }
                _ if PEGS.contains(&row) => {
                    crosses.contains(&column)
                        || row == "primary peg" && RUNS.contains(&column) && column != "Immediate"
                }
                _ => {
                    row == "post-only" && ["trades as aggressor", "prevented as aggressor"].contains(&column)
                }
            }
        }
    }
}
