//! What `status` and `inspect` say, as data: JSON for machines, tables for people. A running node says
//! it from its shadow, a stopped one from a replay of its journal.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use ironbell_client::itch_book;
use ironbell_core::{BookOrder, Credit, Engine, Exposure, Located, Position};
use ironbell_types::{
    Account, AccountId, Amount, AssetId, Firm, FirmId, Instrument, InstrumentId, InstrumentRules, KillScope,
    Mpid, Port, PortId, Price, Qty, Seq, Side, TIERS, Username,
};
use serde::{Deserialize, Serialize};

use crate::operator;
use crate::words::{Date, PhaseWord, Switch, TimeOfDay, units};

/// Hashes of a state at a Seq.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Hashes {
    /// The last command executed.
    pub seq: u64,
    /// The running hash of every event so far, 32 hex digits.
    pub output_hash: String,
    /// SHA-256 of the whole state, 64 hex digits.
    pub state_hash: String,
    /// SHA-256 of the books as an ITCH follower sees them, 64 hex digits.
    pub book_hash: String,
    /// The sum over all accounts, per asset code: zero.
    pub ledger_sum: BTreeMap<String, String>,
}

/// An open order.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Its instrument.
    pub symbol: String,
    /// `B` or `S`.
    pub side: char,
    /// How it stands: `shown`, `iceberg` (a part is shown), `hidden` (so are pegs), or `waiting` (a stop, at the
    /// open, at the close).
    pub stands: String,
    /// The limit, in the quote asset for one unit of the base asset; `market` when it has none.
    pub price: String,
    /// The limit, in ticks.
    pub price_ticks: i64,
    /// The limit on the wire.
    pub wire_price: u64,
    /// What stands, in lots.
    pub leaves_qty: u64,
    /// What of it is on the feed, in lots.
    pub shown_qty: u64,
    /// Its number.
    pub order_ref: u64,
    /// Its number on the feed; 0 when it is not there.
    pub feed_ref: u64,
    /// Its firm.
    pub mpid: String,
    /// Its port.
    pub port: String,
    /// Its member's number.
    pub user_ref_num: u32,
}

/// A limit, a switch or a setting, and what is used of it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct RiskLine {
    /// `venue`, `instrument`, `firm`, `account` or `port`.
    pub scope: String,
    /// Which one; empty for the venue.
    pub name: String,
    /// What is limited, switched or set.
    pub rule: String,
    /// The limit or the setting.
    pub limit: String,
    /// What is used of it; empty where nothing is counted.
    pub used: String,
}

/// What phases, switches and limits come to: figures that stay few however many members there are.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Instruments by what they do now.
    pub instruments: BTreeMap<String, u64>,
    /// Kill switches that are on, by scope.
    pub kill_switches: BTreeMap<String, u64>,
    /// Firms that have disabled their order entry.
    pub order_entry_disabled: u64,
    /// Ports that are logged in.
    pub ports_logged_in: u64,
    /// Of each kind of limit, what is used of the one that is nearest to its end, in thousandths; a limit of zero is
    /// used up by anything.
    pub limit_used_permille: BTreeMap<String, u64>,
}

/// What an instrument does.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct PhaseLine {
    /// The instrument.
    pub symbol: String,
    /// What it does now; `delisted` when it is.
    pub phase: String,
    /// The day's last price; empty before the first trade.
    pub last: String,
    /// What was traded this day, in units of the base asset.
    pub volume: String,
    /// How it trades.
    pub rules: String,
    /// What begins when, every day.
    pub schedule: Vec<String>,
}

/// An account's day.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Statement {
    /// The account's number.
    pub account: u32,
    /// Its firm.
    pub mpid: String,
    /// The present or last trading day; empty before the first.
    pub date: String,
    /// What it has.
    pub balances: Vec<Balance>,
    /// What it traded this day.
    pub trades: Vec<TradeLine>,
}

/// One side of a trade.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct TradeLine {
    /// The trade's number.
    pub match_number: u64,
    /// What was traded.
    pub symbol: String,
    /// `B` or `S`.
    pub side: char,
    /// How much, in units of the base asset.
    pub quantity: String,
    /// At which price.
    pub price: String,
    /// What was paid or received, without the fee.
    pub amount: String,
    /// The fee; negative is a rebate.
    pub fee: String,
    /// What amount and fee are in.
    pub asset: String,
    /// The order's port.
    pub port: String,
    /// The order's number to its member.
    pub user_ref_num: u32,
    /// It was undone.
    pub busted: bool,
}

/// A balance.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Balance {
    /// `world`, `fees SYMBOL`, `owed by MPID`, or the account's number.
    pub account: String,
    /// The asset's code.
    pub asset: String,
    /// In units of the asset.
    pub total: String,
    /// Held for open orders.
    pub held: String,
    /// total − held.
    pub available: String,
}

/// Every open order: by instrument what is on the book, best first, then what waits.
#[must_use]
pub fn book(engine: &Engine) -> Vec<Line> {
    let names = Names::of(engine);
    let mut lines = Vec::new();
    for instrument in engine.instruments() {
        let measures = operator::measures(engine, instrument);
        let line = |order: BookOrder, waits: bool| Line {
            symbol: instrument.symbol.to_string(),
            side: if order.buys { 'B' } else { 'S' },
            stands: stands(&order, waits).to_owned(),
            price: if order.price == Price(0) { "market".to_owned() } else { measures.price(order.price.0) },
            price_ticks: order.price.0,
            wire_price: order.price.0 as u64 * u64::from(instrument.price_tick()),
            leaves_qty: order.leaves_qty.0,
            shown_qty: order.shown.qty.0,
            order_ref: order.order_ref.0,
            feed_ref: order.shown.order_ref.0,
            mpid: names.mpid(order.firm),
            port: names.port(order.key.port()),
            user_ref_num: order.key.num().0,
        };
        lines.extend(engine.book(instrument.id).map(|order| line(order, false)));
        lines.extend(engine.waiting(instrument.id).map(|order| line(order, true)));
    }
    lines
}

fn stands(order: &BookOrder, waits: bool) -> &'static str {
    match order.shown.qty {
        _ if waits => "waiting",
        Qty::ZERO => "hidden",
        shown if shown < order.leaves_qty => "iceberg",
        _ => "shown",
    }
}

/// Names by numbers.
struct Names {
    instruments: BTreeMap<InstrumentId, Instrument>,
    mpids: BTreeMap<FirmId, Mpid>,
    ports: BTreeMap<PortId, Username>,
}

impl Names {
    fn of(engine: &Engine) -> Self {
        Self {
            instruments: engine.instruments().map(|i| (i.id, *i)).collect(),
            mpids: engine.firms().map(|f| (f.id, f.mpid)).collect(),
            ports: engine.ports().map(|p| (p.id, p.username)).collect(),
        }
    }

    fn instrument(&self, id: InstrumentId) -> Option<&Instrument> {
        self.instruments.get(&id)
    }

    fn mpid(&self, id: FirmId) -> String {
        self.mpids.get(&id).map_or_else(|| id.to_string(), Mpid::to_string)
    }

    fn port(&self, id: PortId) -> String {
        self.ports.get(&id).map_or_else(|| id.to_string(), Username::to_string)
    }
}

/// SHA-256 over every order on the feed as a follower of the feed knows it: by instrument, bids before asks, best
/// price first, oldest first ([`ironbell_client::itch_book::digest`]).
#[must_use]
pub fn book_hash(engine: &Engine) -> String {
    let lines = engine.instruments().flat_map(|instrument| {
        let shown = engine.book(instrument.id).filter(|order| order.shown.qty > Qty::ZERO);
        shown.map(|order| itch_book::Line {
            symbol: instrument.symbol,
            side: if order.buys { Side::Buy } else { Side::Sell },
            price: order.price.0 as u32 * instrument.price_tick(),
            order_ref: order.shown.order_ref,
            shares: order.shown.qty.0 as u32,
        })
    });
    hex(&itch_book::digest(lines))
}

/// Lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes it");
        text
    })
}

/// The hashes of `engine`'s state.
#[must_use]
pub fn hashes(engine: &Engine) -> Hashes {
    let Seq(seq) = engine.last_seq();
    Hashes {
        seq,
        output_hash: format!("{:032x}", engine.output_hash()),
        state_hash: hex(&engine.state_hash()),
        book_hash: book_hash(engine),
        ledger_sum: engine
            .ledger_sums()
            .into_iter()
            .map(|(asset, Amount(sum))| (asset_code(engine, asset), sum.to_string()))
            .collect(),
    }
}

fn asset_code(engine: &Engine, id: AssetId) -> String {
    engine.assets().find(|a| a.id == id).map_or_else(|| id.to_string(), |a| a.code.as_str().to_owned())
}

/// Every balance that is not zero.
#[must_use]
pub fn ledger(engine: &Engine) -> Vec<Balance> {
    let assets: BTreeMap<_, _> = engine.assets().map(|a| (a.id, *a)).collect();
    let names = Names::of(engine);
    let name = |id: AccountId| {
        if id == AccountId::WORLD {
            return "world".to_owned();
        }
        if let Some(i) = engine.instruments().find(|i| AccountId::fees(i.id) == id) {
            return format!("fees {}", i.symbol);
        }
        let owes = names.mpids.iter().find(|(firm, _)| AccountId::receivable(**firm) == id);
        owes.map_or_else(|| id.to_string(), |(_, mpid)| format!("owed by {mpid}"))
    };
    let balances =
        engine.balances().into_iter().filter(|b| b.total != Amount::ZERO || b.held != Amount::ZERO);
    balances
        .map(|b| {
            let asset = assets.get(&b.asset);
            let decimals = asset.map_or(0, |a| a.decimals);
            Balance {
                account: name(b.account),
                asset: asset.map_or_else(|| b.asset.to_string(), |a| a.code.as_str().to_owned()),
                total: units(b.total.0, decimals),
                held: units(b.held.0, decimals),
                available: units(b.total.0 - b.held.0, decimals),
            }
        })
        .collect()
}

/// What every instrument does, in id order.
#[must_use]
pub fn phases(engine: &Engine) -> Vec<PhaseLine> {
    let line = |instrument: &Instrument| {
        let id = instrument.id;
        let measures = operator::measures(engine, instrument);
        let phase = engine.phase(id).map_or_else(String::new, |phase| PhaseWord(phase).to_string());
        let mut schedule: Vec<_> = engine.schedule(id).into_iter().flatten().collect();
        schedule.sort_unstable();
        let entry = |(at, phase)| format!("{} {}", TimeOfDay(at), PhaseWord(phase));
        let rules = engine.rules(id).unwrap_or(InstrumentRules::PLAIN);
        PhaseLine {
            symbol: instrument.symbol.to_string(),
            phase: if engine.is_delisted(id) { "delisted".to_owned() } else { phase },
            last: engine.last_price(id).map_or_else(String::new, |price| measures.price(price.0)),
            volume: measures.quantity(engine.statistics(id).map_or(0, |day| day.volume.0.into())),
            rules: operator::rules_in_words(&rules, Some(&measures)),
            schedule: schedule.into_iter().map(entry).collect(),
        }
    };
    engine.instruments().map(line).collect()
}

/// Limits, switches and settings: of the venue, each instrument, firm, account and port.
#[must_use]
pub fn risk(engine: &Engine) -> Vec<RiskLine> {
    let mut lines = RiskLines {
        engine,
        names: Names::of(engine),
        exposures: grouped(engine.exposures(), |e| e.firm),
        locates: grouped(engine.locates(), |l| l.firm),
        credits: grouped(engine.credits(), |c| c.account),
        positions: grouped(engine.positions(), |p| p.account),
        lines: Vec::new(),
    };
    lines.venue();
    engine.instruments().for_each(|instrument| lines.instrument(instrument));
    engine.firms().for_each(|firm| lines.firm(firm));
    engine.accounts().for_each(|account| lines.account(account));
    engine.ports().for_each(|port| lines.port(port));
    lines.lines
}

/// What phases, switches and limits come to.
#[must_use]
pub fn summary(engine: &Engine) -> Summary {
    let mut summary = Summary::default();
    for line in phases(engine) {
        *summary.instruments.entry(line.phase).or_default() += 1;
    }
    let mut switch = |scope: &str, which| {
        *summary.kill_switches.entry(scope.to_owned()).or_default() += u64::from(engine.killed(which));
    };
    switch("venue", KillScope::Venue);
    engine.instruments().for_each(|instrument| switch("instrument", KillScope::Instrument(instrument.id)));
    engine.firms().for_each(|firm| switch("firm", KillScope::Firm(firm.id)));
    engine.ports().for_each(|port| switch("port", KillScope::Port(port.id)));
    let has_disabled = |firm: &&Firm| engine.order_entry_disabled(firm.id) == Some(true);
    summary.order_entry_disabled = engine.firms().filter(has_disabled).count() as u64;
    summary.ports_logged_in =
        engine.ports().filter(|port| engine.incarnation(port.id).is_some()).count() as u64;
    let mut limit = |kind: &str, used: i128, limit: Option<i128>| {
        let nearest = summary.limit_used_permille.entry(kind.to_owned()).or_default();
        *nearest = limit.map_or(*nearest, |limit| (*nearest).max(used_permille(used, limit)));
    };
    let amount = |limit: Option<Amount>| limit.map(|Amount(limit)| limit);
    for e in engine.exposures() {
        limit("gross exposure", e.gross.0, amount(e.gross_max));
        limit("net exposure", e.net_buy.0.max(e.net_sell.0), amount(e.net_max));
    }
    engine.credits().into_iter().for_each(|c| limit("credit", c.used.0, amount(c.credit_max)));
    let lots = |limit: Option<Qty>| limit.map(|Qty(limit)| i128::from(limit));
    for p in engine.positions() {
        limit("position", p.long, lots(p.long_max));
        limit("position", p.short, lots(p.short_max));
    }
    summary
}

fn used_permille(used: i128, limit: i128) -> u64 {
    match (used.max(0), limit) {
        (0, _) => 0,
        (_, ..=0) => 1_000,
        // Beyond a thousandth of 128 bits the limit is divided in place of what is used of it.
        (used, limit) => {
            let permille =
                used.checked_mul(1_000).map_or_else(|| used / (limit / 1_000).max(1), |used| used / limit);
            u64::try_from(permille).unwrap_or(u64::MAX)
        }
    }
}

struct RiskLines<'a> {
    engine: &'a Engine,
    names: Names,
    exposures: BTreeMap<FirmId, Vec<Exposure>>,
    locates: BTreeMap<FirmId, Vec<Located>>,
    credits: BTreeMap<AccountId, Vec<Credit>>,
    positions: BTreeMap<AccountId, Vec<Position>>,
    lines: Vec<RiskLine>,
}

fn grouped<K: Ord, T>(items: impl IntoIterator<Item = T>, key: impl Fn(&T) -> K) -> BTreeMap<K, Vec<T>> {
    let mut groups: BTreeMap<K, Vec<T>> = BTreeMap::new();
    for item in items {
        groups.entry(key(&item)).or_default().push(item);
    }
    groups
}

impl RiskLines<'_> {
    fn put(&mut self, scope: &str, name: &dyn Display, rule: &str, limit: &dyn Display, used: String) {
        self.lines.push(RiskLine {
            scope: scope.to_owned(),
            name: name.to_string(),
            rule: rule.to_owned(),
            limit: limit.to_string(),
            used,
        });
    }

    fn set(&mut self, scope: &str, name: &dyn Display, rule: &str, setting: &dyn Display) {
        self.put(scope, name, rule, setting, String::new());
    }

    fn kill_switch(&mut self, scope: &str, name: &dyn Display, which: KillScope) {
        self.set(scope, name, "kill switch", &Switch(self.engine.killed(which)));
    }

    fn decimals(&self, asset: AssetId) -> u8 {
        self.engine.assets().find(|a| a.id == asset).map_or(0, |a| a.decimals)
    }

    fn amount_limit(&self, asset: AssetId, limit: Option<Amount>) -> String {
        limit.map_or_else(|| "none".to_owned(), |limit| units(limit.0, self.decimals(asset)))
    }

    fn venue(&mut self) {
        let name = String::new();
        self.kill_switch("venue", &name, KillScope::Venue);
        let halted = if self.engine.order_entry_halted() { "halted: the disk is full" } else { "open" };
        self.set("venue", &name, "order entry", &halted);
        let levels = match self.engine.decline_levels() {
            [0, 0, 0] => "none".to_owned(),
            levels => levels.map(|level| units(level.into(), 8)).join(", "),
        };
        self.set("venue", &name, "decline levels", &levels);
        for tier in 1..TIERS as u8 {
            let from = match self.engine.tier_volume_min(tier) {
                0 => "cannot be reached".to_owned(),
                volume => format!("from {volume} lots a day"),
            };
            self.set("venue", &name, &format!("tier {tier}"), &from);
        }
    }

    fn instrument(&mut self, instrument: &Instrument) {
        let (scope, name, id) = ("instrument", &instrument.symbol, instrument.id);
        self.kill_switch(scope, name, KillScope::Instrument(id));
        if self.engine.restricted(FirmId(0), id) {
            self.set(scope, name, "restricted", &"for every firm");
        }
        let plain = self.engine.fees(id, 0);
        for tier in 0..TIERS as u8 {
            let Some(fees) = self.engine.fees(id, tier) else { continue };
            // Tiers that pay what tier 0 pays need no lines of their own.
            if tier == 0 || Some(fees) != plain {
                let words = operator::fees_in_words(&fees, self.decimals(instrument.quote));
                self.set(scope, name, &format!("fees of tier {tier}"), &words);
            }
        }
    }

    fn firm(&mut self, firm: &Firm) {
        let (scope, name, engine) = ("firm", &firm.mpid, self.engine);
        let disabled = engine.order_entry_disabled(firm.id).unwrap_or(false);
        self.set(scope, name, "order entry", &if disabled { "disabled" } else { "enabled" });
        self.kill_switch(scope, name, KillScope::Firm(firm.id));
        self.set(scope, name, "tier", &engine.firm_tier(firm.id).unwrap_or(0));
        for e in self.exposures.remove(&firm.id).unwrap_or_default() {
            let (code, used) =
                (asset_code(engine, e.asset), |amount: Amount| units(amount.0, self.decimals(e.asset)));
            let (gross, bought, sold) = (used(e.gross), used(e.net_buy), used(e.net_sell));
            let limit = self.amount_limit(e.asset, e.gross_max);
            self.put(scope, name, &format!("gross exposure {code}"), &limit, gross);
            let limit = self.amount_limit(e.asset, e.net_max);
            self.put(scope, name, &format!("net exposure {code}, bought"), &limit, bought);
            self.put(scope, name, &format!("net exposure {code}, sold"), &limit, sold);
        }
        for instrument in engine.instruments().filter(|i| engine.restricted(firm.id, i.id)) {
            self.set(scope, name, &format!("restricted {}", instrument.symbol), &Switch(true));
        }
        for l in self.locates.remove(&firm.id).unwrap_or_default() {
            let Some(instrument) = self.names.instrument(l.instrument).copied() else { continue };
            let measures = operator::measures(engine, &instrument);
            let (located, used) = (measures.quantity(l.located.into()), measures.quantity(l.used.into()));
            self.put(scope, name, &format!("located {}", instrument.symbol), &located, used);
        }
    }

    fn account(&mut self, account: &Account) {
        let (scope, name, engine) = ("account", &account.id, self.engine);
        self.set(scope, name, "firm", &self.names.mpid(account.firm));
        for c in self.credits.remove(&account.id).unwrap_or_default() {
            let (limit, used) =
                (self.amount_limit(c.asset, c.credit_max), units(c.used.0, self.decimals(c.asset)));
            self.put(scope, name, &format!("credit {}", asset_code(engine, c.asset)), &limit, used);
        }
        for p in self.positions.remove(&account.id).unwrap_or_default() {
            let Some(instrument) = self.names.instrument(p.instrument).copied() else { continue };
            let measures = operator::measures(engine, &instrument);
            let limit = |limit: Option<Qty>| {
                limit.map_or_else(|| "none".to_owned(), |limit| measures.quantity(limit.0.into()))
            };
            let (long, short) = (measures.quantity(p.long), measures.quantity(p.short));
            self.put(scope, name, &format!("long {}", instrument.symbol), &limit(p.long_max), long);
            self.put(scope, name, &format!("short {}", instrument.symbol), &limit(p.short_max), short);
        }
    }

    fn port(&mut self, port: &Port) {
        let (scope, name, engine) = ("port", &port.username, self.engine);
        self.set(scope, name, "firm", &self.names.mpid(port.firm));
        self.set(scope, name, "account", &port.account);
        self.set(scope, name, "logged in", &Switch(engine.incarnation(port.id).is_some()));
        self.kill_switch(scope, name, KillScope::Port(port.id));
        if let Some(rules) = engine.port_rules(port.id) {
            self.set(scope, name, "qty cap", &format!("{} lots", rules.limits.qty_max));
            let decimals = engine.instruments().map(|i| self.decimals(i.quote)).max().unwrap_or(0);
            self.set(scope, name, "notional cap", &units(rules.limits.notional_max.0, decimals));
            for (rule, setting) in operator::port_in_words(&rules) {
                self.set(scope, name, rule, &setting);
            }
        }
        for instrument in engine.instruments().filter(|i| !engine.entitled(port.id, i.id)) {
            self.set(scope, name, &format!("entitled {}", instrument.symbol), &Switch(false));
        }
    }
}

/// The day of each account, or of one.
#[must_use]
pub fn statements(engine: &Engine, account: Option<u32>) -> Vec<Statement> {
    let names = Names::of(engine);
    let date = engine.last_day().map_or_else(String::new, |day| Date(day.date).to_string());
    let mut balances = grouped(ledger(engine), |b| b.account.clone());
    let mut trades = trades(engine, &names);
    let of_account = engine.accounts().filter(|a| account.is_none_or(|number| a.id.0 == number));
    of_account
        .map(|a| Statement {
            account: a.id.0,
            mpid: names.mpid(a.firm),
            date: date.clone(),
            balances: balances.remove(&a.id.to_string()).unwrap_or_default(),
            trades: trades.remove(&a.id).unwrap_or_default(),
        })
        .collect()
}

/// The day's trades by account; one that traded with itself has both sides.
fn trades(engine: &Engine, names: &Names) -> BTreeMap<AccountId, Vec<TradeLine>> {
    let mut lines: BTreeMap<AccountId, Vec<TradeLine>> = BTreeMap::new();
    for trade in engine.day_trades() {
        let Some(instrument) = names.instrument(trade.bought.instrument) else { continue };
        let measures = operator::measures(engine, instrument);
        let asset = asset_code(engine, instrument.quote);
        for (side, leg, key) in [('B', trade.bought, trade.buyer), ('S', trade.sold, trade.seller)] {
            lines.entry(leg.account).or_default().push(TradeLine {
                match_number: leg.match_number.0,
                symbol: instrument.symbol.to_string(),
                side,
                quantity: measures.quantity(trade.qty.0.into()),
                price: measures.price(trade.price.0),
                amount: units(leg.quote.0, measures.quote_decimals),
                fee: units(leg.fee.0, measures.quote_decimals),
                asset: asset.clone(),
                port: names.port(key.port()),
                user_ref_num: key.num().0,
                busted: trade.busted,
            });
        }
    }
    lines
}

/// A table with its columns aligned: the first row is the heading.
#[must_use]
pub fn table(rows: &[Vec<String>], right: &[bool]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> =
        (0..columns).map(|c| rows.iter().map(|row| row[c].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(c, (cell, width))| {
            if right.get(c).copied().unwrap_or(false) {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up() {
        let rows = [vec!["asset".into(), "sum".into()], vec!["USD".into(), "0".into()]];
        assert_eq!(table(&rows, &[false, true]), "asset  sum\nUSD      0\n");
    }

    #[test]
    fn what_is_used_of_a_limit_is_told_in_thousandths() {
        let told = [(0, 0), (5, 0), (-5, 10), (1, 3), (10, 10), (15, 10), (i128::MAX, i128::MAX)];
        let told = told.map(|(used, limit)| used_permille(used, limit));
        assert_eq!(told, [0, 1_000, 0, 333, 1_000, 1_500, 1_000]);
        assert_eq!(used_permille(i128::MAX, 1), u64::MAX);
    }
}
