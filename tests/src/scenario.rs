//! Scenarios as text: what members send, and below each line what the venue says of it.
//!
//! A scenario is a transcript. Lines that begin with `>` are what was said or asked for; all others
//! are commands, and `#` begins a remark. [`transcript`] runs the commands and writes the transcript
//! anew; a scenario holds when nothing changed.
//!
//! ```text
//! instrument XYZ in USD tick-value 1 lot-units 1 price-tick 1 maker 0 taker 0
//! day 20261120                                      (midnight is 0 h of the scenario's first day, and so on)
//! member alice qty-cap 1000 notional-cap 100000     (a firm, an account and a port)
//! fund alice USD 1000                               (negative: a withdrawal)
//! alice 1: buy 10 XYZ at 100                        (number 1; then any of the words below)
//! alice 2: replace 1 total 8 at 101                 (or: wire 10150, a price as on the wire)
//! alice cancel 1 to 4                               (to 0 when not said)
//! alice modify 1 to 4 as short
//! alice 3: mass cancel XYZ buy                      (all instruments and sides when not said)
//! alice 4: disable order entry                      (and enable order entry; `of bob`: another firm's)
//! alice 5: quote XYZ bid 10 at 99 ask 5 at 101      (bid is 5, ask is 6; either or both may be left out)
//! slice                                             (the oldest one asked for; `slice 9 0` names its own)
//! alice query
//! alice state 1
//! alice dead-man 2.5                                (seconds; 0 disarms)
//! alice login                                       (and logout)
//! time 09:30:00.5                                   (that of the next command; others are 1 us apart)
//! tick 09:30:00                                     (time passes; without a time: 1 us)
//! book XYZ                                          (bids best first, then asks best first, then what waits)
//! funds alice
//! ```
//!
//! Words of an order: `ioc fok gtc at-open at-close`, `until 10:00:00` (good till then), `market`,
//! `stop 95`, `trail 5`, `show 10` (the shown part of an iceberg order), `random 2`, `hidden`,
//! `attributable`, `post-only`, `peg primary|market|midpoint`, `offset -1`, `discretion 102`, `min 10`,
//! `pair 3`, `stp off|newest|oldest|both|decrement`, `stp-group AB`, `group 3`, `channel 2`.
//!
//! What operators say:
//!
//! ```text
//! rules XYZ reference 100 static 1000 collar 500 band 500 limit-state 15 volatility 30 short-restricted
//! rules XYZ pro-rata top 10                         (else price-time; or: batch 0.1, in seconds)
//! schedule XYZ 0 09:30:00 Continuous                (slot 0; `none` clears it)
//! phase XYZ Halted T1                               (or: phase all; the reason may be left out)
//! port-rules alice rate 10 burst 5 duplicates 3 within 1 slides stp newest cancels-on-disconnect
//! exposure alice USD gross 1000 net 500             (what is left out has no limit)
//! credit alice USD 1000
//! position alice XYZ long 10 short 10
//! entitle alice XYZ no                              (and yes)
//! restrict alice XYZ yes                            (all: every firm)
//! locate alice XYZ 100
//! kill firm alice on                                (or port alice, instrument XYZ, venue; and off)
//! fees XYZ tier 1 maker -1 taker 3 minimum 5
//! tier 1 from 1000
//! firm-tier alice 1
//! close                                             (the day)
//! bust 2 E                                          (the scenario's second trade)
//! delist XYZ
//! retick XYZ price-tick 1 tick-value 2
//! rename XYZ ABC
//! decline-levels 93 87 80
//! decline 2
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ironbell_types::{
    Accepted, Account, AccountId, AccountQuery, Algorithm, Amount, Asset, AssetId, CancelOrder, Canceled,
    Capacity, ClOrdId, Command, Control, Credential, CrossKind, DeadMan, Display, EnterOrder, Event,
    EventBody, Executed, Fees, Firm, FirmId, Funding, Instrument, InstrumentId, InstrumentRules, KillScope,
    Login, Logout, MassCancel, MassCancelSlice, MatchNumber, ModifyOrder, Mpid, Nanos, OpenDay,
    OrderEntrySwitch, OrderKey, OrderOptions, OrderRef, OrderStateQuery, OrderTerms, Peg, Phase, Port,
    PortId, PortLimits, PortRules, Price, Qty, Quote, QuoteSide, ReplaceOrder, Scale, Seq, Sequenced,
    Settled, Side, Stp, Symbol, TimeInForce, UserRefIdx, UserRefNum, Username,
};

use crate::oracle::{Balance, Order, Standing};

/// Nanoseconds of a day.
const DAY_NS: u64 = 86_400_000_000_000;

/// An engine that a scenario runs on.
pub trait Venue {
    /// Executes the next command and returns what is said of it.
    fn execute(&mut self, command: &Sequenced) -> Vec<Event>;
    /// The open orders of an instrument, in line at each price and kind.
    fn book(&self, instrument: InstrumentId) -> Vec<Resting>;
    /// What every account has, sorted by (account, asset), those with nothing left out.
    fn balances(&self) -> Vec<Balance>;
}

/// An order on the book, as a scenario draws it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resting {
    /// Its name to the member.
    pub key: OrderKey,
    /// Whether it is a bid.
    pub buys: bool,
    /// Its limit.
    pub price: Price,
    /// What is left of it.
    pub leaves_qty: Qty,
    /// What of it is on the feed.
    pub shown_qty: Qty,
    /// Whether it waits, for a price or a cross, instead of resting.
    pub waits: bool,
}

impl From<&Order> for Resting {
    fn from(order: &Order) -> Self {
        Self {
            key: order.key,
            buys: order.side.is_buy(),
            price: order.price,
            leaves_qty: order.leaves_qty,
            shown_qty: order.shown.qty,
            waits: matches!(order.standing, Standing::WaitsForPrice | Standing::WaitsForCross),
        }
    }
}

/// Runs the commands of `text` on `venue` and returns the transcript: the same text with the `>` lines
/// as they came out.
///
/// # Errors
/// The line that cannot be read, and why.
pub fn transcript(text: &str, venue: &mut impl Venue) -> Result<String, String> {
    let mut scenario = Scenario {
        venue,
        seq: Seq(0),
        assets: Vec::new(),
        instruments: Vec::new(),
        members: Vec::new(),
        fundings: 0,
        locates: 0,
        asks: Vec::new(),
        trades: Vec::new(),
        names: BTreeMap::new(),
        terms: BTreeMap::new(),
        incarnations: BTreeMap::new(),
        now: 0,
        days: 0,
    };
    let mut out = String::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.starts_with('>') {
            continue;
        }
        writeln!(out, "{line}").expect("writing to a string");
        let command = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = command.split_whitespace().collect();
        if words.is_empty() {
            continue;
        }
        let said = scenario.line(&words).map_err(|why| format!("line {number}: {line}\n  {why}"))?;
        for said in said {
            writeln!(out, "> {said}").expect("writing to a string");
        }
    }
    Ok(out)
}

struct Scenario<'a, V> {
    venue: &'a mut V,
    seq: Seq,
    /// Names; the number of each is its place from 1, for assets and members alike.
    assets: Vec<String>,
    instruments: Vec<Instrument>,
    members: Vec<String>,
    fundings: u64,
    locates: u64,
    asks: Vec<MassCancelSlice>,
    /// Every trade said so far.
    trades: Vec<MatchNumber>,
    /// What members call the orders that were accepted.
    names: BTreeMap<OrderRef, OrderKey>,
    /// What orders have beyond plain ones.
    terms: BTreeMap<OrderRef, OrderTerms>,
    incarnations: BTreeMap<PortId, u32>,
    /// The time of the next command, in nanoseconds after the first day's midnight.
    now: u64,
    /// Days that were opened.
    days: u64,
}

// What is read.

impl<V: Venue> Scenario<'_, V> {
    fn line(&mut self, words: &[&str]) -> Result<Vec<String>, String> {
        match *words {
            ["instrument", symbol, "in", quote, ref rest @ ..] => self.define_instrument(symbol, quote, rest),
            ["member", name, ref rest @ ..] => self.define_member(name, rest),
            ["day", date] => {
                let midnight = self.days * DAY_NS;
                self.now = self.now.max(midnight);
                self.run(Command::OpenDay(OpenDay { date: number(date)? as u32, midnight: Nanos(midnight) }))
            }
            ["time", at] => {
                self.now = self.instant(at)?;
                Ok(Vec::new())
            }
            ["tick"] => self.run(Command::Tick),
            ["tick", at] => {
                self.now = self.instant(at)?;
                self.run(Command::Tick)
            }
            [
                "rules" | "schedule" | "phase" | "port-rules" | "exposure" | "credit" | "position"
                | "entitle" | "restrict" | "locate" | "kill" | "fees" | "tier" | "firm-tier" | "close"
                | "bust" | "delist" | "retick" | "rename" | "decline-levels" | "decline" | "halt-order-entry"
                | "grace",
                ..,
            ] => {
                let control = self.control(words)?;
                self.run(Command::Control(control))
            }
            ["fund", member, asset, amount] => {
                let amount = Amount(amount.parse().map_err(|_| format!("{amount} is no amount"))?);
                let (account, asset) = (AccountId(self.member(member)?.0), self.asset(asset)?);
                self.fundings += 1;
                self.run(Command::Fund(Funding { id: self.fundings, account, asset, amount }))
            }
            ["book", symbol] => self.book(symbol),
            ["funds", member] => self.funds(member),
            ["slice"] => {
                let slice = *self.asks.first().ok_or("no slice is asked for")?;
                self.run(Command::MassCancelSlice(slice))
            }
            ["slice", cause, slice] => {
                let (cause, slice) = (Seq(number(cause)?), number(slice)? as u32);
                self.run(Command::MassCancelSlice(MassCancelSlice { cause, slice }))
            }
            [member, "query"] => {
                let port = self.member(member)?;
                self.run(Command::AccountQuery(AccountQuery { port, user_ref_idx: UserRefIdx(0) }))
            }
            [member, "state", num, ref rest @ ..] => {
                let (port, user_ref_num) = (self.member(member)?, UserRefNum(number(num)? as u32));
                let mut terms = Terms::default();
                self.terms(rest, &mut terms)?;
                let user_ref_idx = terms.idx;
                self.run(Command::OrderStateQuery(OrderStateQuery { port, user_ref_idx, user_ref_num }))
            }
            [member, "dead-man", span] => {
                let (port, timeout_ns) = (self.member(member)?, span_ns(span)?);
                self.run(Command::DeadMan(DeadMan { port, timeout_ns }))
            }
            [member, "login"] => {
                let port = self.member(member)?;
                self.run(Command::Login(Login { port }))
            }
            [member, "logout"] => {
                let port = self.member(member)?;
                let incarnation = self.incarnations.get(&port).copied().unwrap_or_default();
                self.run(Command::Logout(Logout { port, incarnation }))
            }
            [member, "cancel", num, ref rest @ ..] => {
                let (port, user_ref_num) = (self.member(member)?, UserRefNum(number(num)? as u32));
                let mut terms = Terms::default();
                self.terms(rest, &mut terms)?;
                let Terms { idx: user_ref_idx, total: qty, .. } = terms;
                self.run(Command::CancelOrder(CancelOrder { port, user_ref_idx, user_ref_num, qty }))
            }
            [member, "modify", num, ref rest @ ..] => {
                let (port, user_ref_num) = (self.member(member)?, UserRefNum(number(num)? as u32));
                let mut terms = Terms::default();
                self.terms(rest, &mut terms)?;
                let Terms { idx: user_ref_idx, total: qty, side, .. } = terms;
                let side = side.ok_or("say which side: modify 1 to 4 as short")?;
                self.run(Command::ModifyOrder(ModifyOrder { port, user_ref_idx, user_ref_num, side, qty }))
            }
            [member, num, ref rest @ ..] if num.ends_with(':') => {
                let (port, num) =
                    (self.member(member)?, UserRefNum(number(num.trim_end_matches(':'))? as u32));
                let command = self.numbered(port, num, rest)?;
                self.run(command)
            }
            _ => Err("not a command".into()),
        }
    }

    /// A command that carries a number of its own.
    fn numbered(&self, port: PortId, user_ref_num: UserRefNum, words: &[&str]) -> Result<Command, String> {
        let mut terms = Terms::default();
        match *words {
            ["replace", orig, "total", qty, ref rest @ ..] => {
                self.terms(rest, &mut terms)?;
                Ok(Command::ReplaceOrder(ReplaceOrder {
                    port,
                    user_ref_idx: terms.idx,
                    orig_user_ref_num: UserRefNum(number(orig)? as u32),
                    user_ref_num,
                    qty: Qty(number(qty)?),
                    wire_price: terms.wire_price,
                    time_in_force: terms.time_in_force,
                    display: terms.display,
                    cl_ord_id: ClOrdId::default(),
                    options: terms.options,
                    max_floor: terms.max_floor,
                    random_reserves: terms.random_reserves,
                    expire: terms.order.expire,
                    fault: None,
                }))
            }
            ["quote", symbol, ref sides @ ..] => {
                let mut quote = Quote {
                    port,
                    user_ref_idx: UserRefIdx(0),
                    user_ref_num,
                    instrument: self.instrument(symbol)?,
                    bid: QuoteSide::default(),
                    ask: QuoteSide::default(),
                    capacity: Capacity::Agency,
                    fault: None,
                };
                for words in sides.chunks(4) {
                    let &[side, qty, "at", price] = words else { return Err("bid 10 at 99".into()) };
                    let of = QuoteSide { qty: Qty(number(qty)?), price: Price(number(price)? as i64) };
                    match side {
                        "bid" => quote.bid = of,
                        "ask" => quote.ask = of,
                        other => return Err(format!("{other} is neither bid nor ask")),
                    }
                }
                Ok(Command::Quote(quote))
            }
            ["mass", "cancel", ref rest @ ..] => {
                self.terms(rest, &mut terms)?;
                Ok(Command::MassCancel(MassCancel {
                    port,
                    user_ref_idx: terms.idx,
                    user_ref_num,
                    firm: FirmId(terms.firm.unwrap_or(port).0),
                    instrument: terms.instrument,
                    group: terms.options.group,
                    side: terms.side,
                    fault: None,
                }))
            }
            [switch @ ("disable" | "enable"), "order", "entry", ref rest @ ..] => {
                self.terms(rest, &mut terms)?;
                let firm = FirmId(terms.firm.unwrap_or(port).0);
                let asked =
                    OrderEntrySwitch { port, user_ref_idx: terms.idx, user_ref_num, firm, fault: None };
                Ok(match switch {
                    "disable" => Command::DisableOrderEntry(asked),
                    _ => Command::EnableOrderEntry(asked),
                })
            }
            [side, qty, ref rest @ ..] => {
                self.terms(rest, &mut terms)?;
                Ok(Command::EnterOrder(EnterOrder {
                    port,
                    user_ref_idx: terms.idx,
                    user_ref_num,
                    instrument: terms.instrument,
                    side: parse_side(side).ok_or_else(|| format!("{side} is no side"))?,
                    qty: Qty(number(qty)?),
                    price: Price(terms.price),
                    time_in_force: terms.time_in_force,
                    display: terms.display,
                    capacity: Capacity::Agency,
                    cl_ord_id: ClOrdId::default(),
                    options: terms.options,
                    terms: OrderTerms {
                        max_floor: terms.max_floor.unwrap_or_default(),
                        random_reserves: terms.random_reserves.unwrap_or_default(),
                        ..terms.order
                    },
                    fault: None,
                }))
            }
            _ => Err("not a command".into()),
        }
    }

    /// What may follow in any order: `at 100`, `ioc`, `XYZ` …
    fn terms(&self, words: &[&str], terms: &mut Terms) -> Result<(), String> {
        let mut rest = words;
        while let [word, tail @ ..] = rest {
            rest = tail;
            let mut value = || -> Result<&str, String> {
                let [value, tail @ ..] = rest else { return Err(format!("{word} what?")) };
                rest = tail;
                Ok(value)
            };
            match *word {
                "at" => {
                    let text = value()?;
                    terms.price = text.parse().map_err(|_| format!("{text} is no price"))?;
                    // A replace does not name its instrument; scenarios that replace have one tick for all.
                    let tick = self.instruments.first().map_or(1, Instrument::price_tick);
                    terms.wire_price = terms.price.unsigned_abs() * u64::from(tick);
                }
                "wire" => terms.wire_price = number(value()?)?,
                "to" => terms.total = Qty(number(value()?)?),
                "as" => terms.side = parse_side(value()?),
                "of" => terms.firm = Some(self.member(value()?)?),
                "group" => terms.options.group = Some(number(value()?)? as u16),
                "min" => terms.options.min_qty = number(value()?)? as u32,
                "channel" => terms.idx = UserRefIdx(number(value()?)? as u8),
                "ioc" => terms.time_in_force = TimeInForce::Ioc,
                "fok" => terms.time_in_force = TimeInForce::Fok,
                "gtc" => terms.time_in_force = TimeInForce::Gtc,
                "at-open" => terms.time_in_force = TimeInForce::AtOpen,
                "at-close" => terms.time_in_force = TimeInForce::AtClose,
                "until" => {
                    terms.time_in_force = TimeInForce::Gtt;
                    terms.order.expire = Nanos(self.instant(value()?)?);
                }
                "post-only" => terms.options.post_only = b'P',
                "attributable" => terms.display = Display::Attributable,
                "hidden" => terms.display = Display::Hidden,
                "market" => terms.order.market = true,
                "stop" => terms.order.stop = Price(number(value()?)? as i64),
                "trail" => terms.order.trail = number(value()?)? as u32,
                "show" => terms.max_floor = Some(number(value()?)? as u32),
                "random" => terms.random_reserves = Some(number(value()?)? as u32),
                "peg" => {
                    // Pegs are hidden; a scenario need not say so.
                    terms.display = Display::Hidden;
                    terms.order.peg = match value()? {
                        "primary" => Peg::Primary,
                        "market" => Peg::Market,
                        "midpoint" => Peg::Midpoint,
                        other => return Err(format!("{other} is no peg")),
                    };
                }
                "offset" => terms.order.peg_offset = signed(value()?)? as i32,
                "discretion" => terms.order.discretion = Price(number(value()?)? as i64),
                "pair" => terms.order.oco = UserRefNum(number(value()?)? as u32),
                "stp" => terms.order.stp = parse_stp(value()?)?,
                "stp-group" => {
                    let group = value()?.as_bytes();
                    terms.order.stp_group = group.try_into().map_err(|_| "a group has two characters")?;
                }
                other => {
                    match (parse_side(other), self.instruments.iter().find(|i| i.symbol.as_str() == other)) {
                        (Some(side), _) => terms.side = Some(side),
                        (None, Some(instrument)) => terms.instrument = instrument.id,
                        (None, None) => return Err(format!("{other} is nothing known")),
                    }
                }
            }
        }
        Ok(())
    }

    fn define_instrument(
        &mut self,
        symbol: &str,
        quote: &str,
        words: &[&str],
    ) -> Result<Vec<String>, String> {
        let mut said = self.define_asset(symbol)?;
        said.extend(self.define_asset(quote)?);
        let mut instrument = Instrument {
            id: InstrumentId(self.instruments.len() as u32 + 1),
            symbol: Symbol::new(symbol).ok_or("a symbol has at most 8 characters")?,
            base: self.asset(symbol)?,
            quote: self.asset(quote)?,
            scale: Scale::Scaled,
            tick_value: 1,
            lot_units: 1,
            round_lot: 1,
            maker_fee_bps: 0,
            taker_fee_bps: 0,
        };
        for pair in words.chunks(2) {
            let &[name, value] = pair else { return Err("a value is missing".into()) };
            let value = number(value)?;
            match name {
                "tick-value" => instrument.tick_value = value,
                "lot-units" => instrument.lot_units = value,
                "price-tick" => instrument.scale = Scale::EquityExact { price_tick: value as u32 },
                "maker" => instrument.maker_fee_bps = value as u16,
                "taker" => instrument.taker_fee_bps = value as u16,
                other => return Err(format!("{other} is nothing known")),
            }
        }
        said.extend(self.run(Command::DefineInstrument(instrument))?);
        self.instruments.push(instrument);
        Ok(said)
    }

    fn define_asset(&mut self, code: &str) -> Result<Vec<String>, String> {
        if self.assets.iter().any(|known| known == code) {
            return Ok(Vec::new());
        }
        self.assets.push(code.to_owned());
        let id = AssetId(self.assets.len() as u32);
        let code = Symbol::new(code).ok_or("a code has at most 8 characters")?;
        self.run(Command::DefineAsset(Asset { id, code, decimals: 0 }))
    }

    /// A member is a firm, an account and a port, all of the same number.
    fn define_member(&mut self, name: &str, words: &[&str]) -> Result<Vec<String>, String> {
        let mut limits = PortLimits { qty_max: Qty(u64::MAX), notional_max: Amount(i128::MAX) };
        for pair in words.chunks(2) {
            match *pair {
                ["qty-cap", value] => limits.qty_max = Qty(number(value)?),
                ["notional-cap", value] => limits.notional_max = Amount(i128::from(number(value)?)),
                _ => return Err("qty-cap N or notional-cap N".into()),
            }
        }
        self.members.push(name.to_owned());
        let id = self.members.len() as u32;
        let firm = FirmId(id);
        let mpid = Mpid::new(&format!("{id:04}")).expect("four digits");
        let username = Username::new(&format!("P{id}")).expect("a short name");
        let credential = Credential { salt: [0; 16], hash: [0; 32], memory_kib: 8, passes: 1, lanes: 1 };
        let account = AccountId(id);
        let mut said = self.run(Command::DefineFirm(Firm { id: firm, mpid }))?;
        said.extend(self.run(Command::DefineAccount(Account { id: account, firm }))?);
        let port = Port { id: PortId(id), username, firm, account, limits, credential };
        said.extend(self.run(Command::DefinePort(port))?);
        Ok(said)
    }

    fn member(&self, name: &str) -> Result<PortId, String> {
        let at = self.members.iter().position(|member| member == name).ok_or(format!("who is {name}?"))?;
        Ok(PortId(at as u32 + 1))
    }

    fn asset(&self, code: &str) -> Result<AssetId, String> {
        let at = self.assets.iter().position(|asset| asset == code).ok_or(format!("what is {code}?"))?;
        Ok(AssetId(at as u32 + 1))
    }

    fn instrument(&self, symbol: &str) -> Result<InstrumentId, String> {
        let found = self.instruments.iter().find(|i| i.symbol.as_str() == symbol);
        found.map(|i| i.id).ok_or(format!("what is {symbol}?"))
    }
}

/// What may follow a command.
struct Terms {
    instrument: InstrumentId,
    price: i64,
    wire_price: u64,
    total: Qty,
    side: Option<Side>,
    firm: Option<PortId>,
    time_in_force: TimeInForce,
    display: Display,
    idx: UserRefIdx,
    options: OrderOptions,
    order: OrderTerms,
    max_floor: Option<u32>,
    random_reserves: Option<u32>,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            instrument: InstrumentId::NONE,
            price: 0,
            wire_price: 0,
            total: Qty::ZERO,
            side: None,
            firm: None,
            time_in_force: TimeInForce::Day,
            display: Display::Visible,
            idx: UserRefIdx(0),
            options: OrderOptions::default(),
            order: OrderTerms::default(),
            max_floor: None,
            random_reserves: None,
        }
    }
}

fn parse_side(word: &str) -> Option<Side> {
    match word {
        "buy" => Some(Side::Buy),
        "sell" => Some(Side::Sell),
        "short" => Some(Side::SellShort),
        "short-exempt" => Some(Side::SellShortExempt),
        _ => None,
    }
}

fn parse_stp(word: &str) -> Result<Stp, String> {
    match word {
        "off" => Ok(Stp::Off),
        "newest" => Ok(Stp::CancelNewest),
        "oldest" => Ok(Stp::CancelOldest),
        "both" => Ok(Stp::CancelBoth),
        "decrement" => Ok(Stp::Decrement),
        _ => Err(format!("{word} prevents nothing")),
    }
}

fn number(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("{word} is no number"))
}

fn signed(word: &str) -> Result<i64, String> {
    word.parse().map_err(|_| format!("{word} is no number"))
}

/// `2.5`: seconds, to the nanosecond.
fn span_ns(word: &str) -> Result<u64, String> {
    let (whole, fraction) = word.split_once('.').unwrap_or((word, ""));
    if fraction.len() > 9 {
        return Err(format!("{word}: nine digits at most"));
    }
    let fraction = format!("{fraction:0<9}");
    Ok(number(whole)? * 1_000_000_000 + number(&fraction)?)
}

/// `09:30:00.5`: nanoseconds after midnight.
fn clock_ns(word: &str) -> Result<u64, String> {
    let parts: Vec<&str> = word.split(':').collect();
    let &[hours, minutes, seconds] = parts.as_slice() else { return Err(format!("{word} is no time")) };
    Ok((number(hours)? * 60 + number(minutes)?) * 60_000_000_000 + span_ns(seconds)?)
}

/// What operators say.
impl<V: Venue> Scenario<'_, V> {
    /// A time of the present day.
    fn instant(&self, word: &str) -> Result<u64, String> {
        Ok(self.days.saturating_sub(1) * DAY_NS + clock_ns(word)?)
    }

    fn control(&mut self, words: &[&str]) -> Result<Control, String> {
        let firm = |name: &str| Ok::<_, String>(FirmId(self.member(name)?.0));
        Ok(match *words {
            ["rules", symbol, ref rest @ ..] => {
                Control::SetRules { instrument: self.instrument(symbol)?, rules: rules(rest)? }
            }
            ["schedule", symbol, slot, "none"] => Control::SetSchedule {
                instrument: self.instrument(symbol)?,
                slot: number(slot)? as u8,
                at_s: 0,
                phase: None,
            },
            ["schedule", symbol, slot, at, phase] => Control::SetSchedule {
                instrument: self.instrument(symbol)?,
                slot: number(slot)? as u8,
                at_s: (clock_ns(at)? / 1_000_000_000) as u32,
                phase: Some(parse_phase(phase)?),
            },
            ["phase", symbol, phase, ref reason @ ..] => {
                let instrument = if symbol == "all" { InstrumentId::NONE } else { self.instrument(symbol)? };
                let reason =
                    Mpid::new(reason.first().copied().unwrap_or_default()).ok_or("four characters")?;
                Control::SetPhase { instrument, phase: parse_phase(phase)?, reason: reason.0 }
            }
            ["port-rules", member, ref rest @ ..] => {
                Control::SetPortRules { port: self.member(member)?, rules: port_rules(rest)? }
            }
            ["exposure", member, asset, ref rest @ ..] => {
                let values = pairs(rest, &["gross", "net"])?;
                let amount = |at: usize| values[at].map(|v| Amount(i128::from(v)));
                let (gross_max, net_max) = (amount(0), amount(1));
                Control::SetExposure { firm: firm(member)?, asset: self.asset(asset)?, gross_max, net_max }
            }
            ["credit", member, asset, ref rest @ ..] => Control::SetCredit {
                account: AccountId(self.member(member)?.0),
                asset: self.asset(asset)?,
                credit_max: match rest.first() {
                    Some(&max) => Some(Amount(i128::from(signed(max)?))),
                    None => None,
                },
            },
            ["position", member, symbol, ref rest @ ..] => {
                let values = pairs(rest, &["long", "short"])?;
                let qty = |at: usize| values[at].map(|v| Qty(v.unsigned_abs()));
                let (long_max, short_max) = (qty(0), qty(1));
                let (account, instrument) = (AccountId(self.member(member)?.0), self.instrument(symbol)?);
                Control::SetPosition { account, instrument, long_max, short_max }
            }
            ["entitle", member, symbol, answer] => Control::Entitle {
                port: self.member(member)?,
                instrument: self.instrument(symbol)?,
                allowed: answer == "yes",
            },
            ["restrict", member, symbol, answer] => Control::Restrict {
                firm: if member == "all" { FirmId(0) } else { firm(member)? },
                instrument: self.instrument(symbol)?,
                restricted: answer == "yes",
            },
            ["locate", member, symbol, qty] => {
                let (firm, instrument, qty) = (firm(member)?, self.instrument(symbol)?, signed(qty)?);
                self.locates += 1;
                Control::Locate { id: self.locates, firm, instrument, qty }
            }
            ["kill", ref scope @ .., switch] => {
                let scope = match *scope {
                    ["firm", name] => KillScope::Firm(firm(name)?),
                    ["port", name] => KillScope::Port(self.member(name)?),
                    ["instrument", symbol] => KillScope::Instrument(self.instrument(symbol)?),
                    ["venue"] => KillScope::Venue,
                    _ => return Err("kill firm alice on".into()),
                };
                Control::Kill { scope, on: switch == "on" }
            }
            ["fees", symbol, "tier", tier, ref rest @ ..] => {
                let values = pairs(rest, &["maker", "taker", "minimum"])?.map(Option::unwrap_or_default);
                let [maker, taker, minimum] = values;
                let fees = Fees {
                    maker_bps: maker as i16,
                    taker_bps: taker as i16,
                    minimum: minimum.unsigned_abs(),
                };
                Control::SetFees { instrument: self.instrument(symbol)?, tier: number(tier)? as u8, fees }
            }
            ["tier", tier, "from", volume] => {
                Control::SetTier { tier: number(tier)? as u8, volume_min: number(volume)? }
            }
            ["firm-tier", member, tier] => {
                Control::SetFirmTier { firm: firm(member)?, tier: number(tier)? as u8 }
            }
            ["close"] => Control::CloseDay,
            ["bust", trade, reason] => {
                let at = (number(trade)? as usize).checked_sub(1);
                let found = at.and_then(|at| self.trades.get(at)).ok_or("there was no such trade")?;
                Control::Bust { match_number: *found, reason: reason.as_bytes()[0] }
            }
            ["delist", symbol] => Control::Delist { instrument: self.instrument(symbol)? },
            ["retick", symbol, ref rest @ ..] => {
                let values = pairs(rest, &["price-tick", "tick-value"])?.map(Option::unwrap_or_default);
                Control::ChangeTick {
                    instrument: self.instrument(symbol)?,
                    price_tick: values[0] as u32,
                    tick_value: values[1].unsigned_abs(),
                }
            }
            ["rename", symbol, name] => Control::ChangeSymbol {
                instrument: self.instrument(symbol)?,
                symbol: Symbol::new(name).ok_or("a symbol has at most 8 characters")?,
            },
            ["decline-levels", one, two, three] => {
                Control::SetDeclineLevels { levels: [number(one)?, number(two)?, number(three)?] }
            }
            ["halt-order-entry", switch @ ("on" | "off")] => Control::HaltOrderEntry { on: switch == "on" },
            ["grace", span] => Control::BeginGrace { grace_ns: span_ns(span)? },
            ["decline", level] => Control::MarketWideHalt { level: number(level)? as u8 },
            _ => return Err("not a command".into()),
        })
    }
}

/// `long 10 short 5`: the value of each name that is given.
fn pairs<const N: usize>(words: &[&str], names: &[&str; N]) -> Result<[Option<i64>; N], String> {
    let mut values = [None; N];
    for pair in words.chunks(2) {
        let &[name, value] = pair else { return Err("a value is missing".into()) };
        let at = names.iter().position(|n| *n == name).ok_or(format!("{name} is nothing known"))?;
        values[at] = Some(signed(value)?);
    }
    Ok(values)
}

fn rules(words: &[&str]) -> Result<InstrumentRules, String> {
    let mut rules = InstrumentRules::PLAIN;
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let mut value = || rest.next().copied().ok_or(format!("{word} what?"));
        match *word {
            "price-time" => rules.algorithm = Algorithm::PriceTime,
            "pro-rata" => rules.algorithm = Algorithm::ProRata,
            "top" => rules.top_order_max = Qty(number(value()?)?),
            "batch" => {
                rules.algorithm = Algorithm::Batch;
                rules.batch_ns = span_ns(value()?)?;
            }
            "reference" => rules.reference = Price(signed(value()?)?),
            "static" => rules.static_bps = number(value()?)? as u16,
            "collar" => rules.collar_bps = number(value()?)? as u16,
            "band" => rules.band_bps = number(value()?)? as u16,
            "limit-state" => rules.limit_state_ns = span_ns(value()?)?,
            "volatility" => rules.volatility_ns = span_ns(value()?)?,
            "short-restricted" => rules.short_restricted = true,
            other => return Err(format!("{other} is nothing known")),
        }
    }
    Ok(rules)
}

fn port_rules(words: &[&str]) -> Result<PortRules, String> {
    let limits = PortLimits { qty_max: Qty(u64::MAX), notional_max: Amount(i128::MAX) };
    let mut rules = PortRules::plain(limits);
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let mut value = || rest.next().copied().ok_or(format!("{word} what?"));
        match *word {
            "qty-cap" => rules.limits.qty_max = Qty(number(value()?)?),
            "notional-cap" => rules.limits.notional_max = Amount(i128::from(number(value()?)?)),
            "rate" => rules.rate_per_second = number(value()?)? as u32,
            "burst" => rules.rate_burst = number(value()?)? as u32,
            "duplicates" => rules.duplicates_max = number(value()?)? as u32,
            "within" => rules.duplicate_ns = span_ns(value()?)?,
            "slides" => rules.slides = true,
            "stp" => rules.stp = parse_stp(value()?)?,
            "cancels-on-disconnect" => rules.cancels_on_disconnect = true,
            other => return Err(format!("{other} is nothing known")),
        }
    }
    Ok(rules)
}

fn parse_phase(word: &str) -> Result<Phase, String> {
    let found = Phase::ALL.iter().find(|phase| format!("{phase:?}") == word);
    found.copied().ok_or(format!("{word} is no phase"))
}

// What is said.

impl<V: Venue> Scenario<'_, V> {
    fn run(&mut self, command: Command) -> Result<Vec<String>, String> {
        self.seq = self.seq.next();
        let time = Nanos(self.now);
        self.now += 1_000;
        let events = self.venue.execute(&Sequenced { seq: self.seq, time, command });
        if let Command::MassCancelSlice(slice) = command {
            self.asks.retain(|ask| *ask != slice);
        }
        for event in &events {
            match &event.body {
                EventBody::MassCancelAsked { cause, slice } => {
                    self.asks.push(MassCancelSlice { cause: *cause, slice: *slice });
                }
                EventBody::DayOpened(_) => self.days += 1,
                EventBody::Trade(trade) => self.trades.push(trade.match_number),
                EventBody::Terms { order_ref, terms, .. } => {
                    self.terms.insert(*order_ref, *terms);
                }
                EventBody::Accepted(order) => {
                    self.names.insert(order.order_ref, order.key);
                }
                EventBody::Replaced(replaced) => {
                    self.names.insert(replaced.order.order_ref, replaced.order.key);
                }
                EventBody::LoggedIn { port, incarnation } => {
                    self.incarnations.insert(*port, *incarnation);
                }
                _ => {}
            }
        }
        // That instruments without a schedule begin with the day goes without saying.
        let begins_with_day = |event: &&Event| {
            let continuous = matches!(event.body, EventBody::PhaseChanged { phase: Phase::Continuous, .. });
            continuous && matches!(command, Command::OpenDay(_))
        };
        let heard = events.iter().filter(|event| !begins_with_day(event));
        let said: Vec<String> = heard.filter_map(|event| self.tell(&event.body)).collect();
        Ok(if events.is_empty() { vec!["nothing".into()] } else { said })
    }

    /// One event as a line; `None` for what a scenario sets up, which it need not hear again.
    fn tell(&self, body: &EventBody) -> Option<String> {
        let symbol = |id: InstrumentId| self.instruments[id.0 as usize - 1].symbol;
        let member = |id: u32| &self.members[id as usize - 1];
        Some(match body {
            EventBody::AssetDefined(_)
            | EventBody::InstrumentDefined(_)
            | EventBody::FirmDefined(_)
            | EventBody::AccountDefined(_)
            | EventBody::PortDefined(_)
            | EventBody::Funded { .. }
            | EventBody::DayOpened(_)
            | EventBody::Terms { .. }
            | EventBody::Controlled(_) => return None,
            EventBody::AdminRefused(refusal) => format!("refused: {refusal:?}"),
            EventBody::LoggedIn { port, incarnation } => format!("port {port} is logged in, {incarnation}"),
            EventBody::LoggedOut { port, incarnation } => format!("port {port} is logged out, {incarnation}"),
            EventBody::Accepted(order) => {
                let (name, symbol) = (self.name(order.key), symbol(order.instrument));
                let (side, at, where_) =
                    (side_name(order.side), self.at_price(order), self.where_it_is(order));
                format!("{name} accepted: {side} {} {symbol} {at}{where_}", order.qty)
            }
            EventBody::Replaced(replaced) => {
                let order = &replaced.order;
                let (name, orig) = (self.name(order.key), replaced.orig_user_ref_num);
                let (side, at, where_) =
                    (side_name(order.side), self.at_price(order), self.where_it_is(order));
                format!("{name} replaces {orig}: {side} {} {at}{where_}", order.qty)
            }
            EventBody::Rested(rested) => {
                let shown = shown_of(rested.shown.qty, rested.qty);
                match self.names.get(&rested.order_ref) {
                    Some(key) if rested.order_ref.seq() != self.seq => {
                        let name = self.name(*key);
                        format!("{name} is on the book: {} at {}{shown}", rested.qty, rested.price)
                    }
                    _ => format!("the rest, {} at {}, is on the book{shown}", rested.qty, rested.price),
                }
            }
            EventBody::Refreshed(part) => {
                let name = self.name(part.key);
                format!("{name} shows {} at {}, {} left", part.shown.qty, part.price, part.leaves_qty)
            }
            EventBody::Triggered { key, price, .. } => format!("{} triggered at {price}", self.name(*key)),
            EventBody::Trade(trade) => {
                let side = |e: &Executed| format!("{} ({} left)", self.name(e.key), e.leaves_qty);
                let verb = if trade.aggressor_buys { "buys from" } else { "sells to" };
                let (aggressor, resting) = (side(&trade.aggressor), side(&trade.resting));
                let kind = if trade.cross == CrossKind::None { "trade" } else { "cross trade" };
                format!("{kind} of {} at {}: {aggressor} {verb} {resting}", trade.qty, trade.price)
            }
            EventBody::Canceled(canceled) => self.tell_canceled(canceled),
            EventBody::SelfTradePrevented(prevented) => {
                let name = self.name(prevented.key);
                let shown = if prevented.shown.qty == Qty::ZERO { ", not shown" } else { "" };
                format!(
                    "{name} prevented from trading {} at {}: {} gone, {} left{shown}",
                    prevented.prevented_qty, prevented.price, prevented.qty, prevented.leaves_qty
                )
            }
            EventBody::Modified(modified) => {
                let (name, side) = (self.name(modified.key), side_name(modified.side));
                format!("{name} modified: {side}, {} gone, {} left", modified.qty, modified.leaves_qty)
            }
            EventBody::Rejected { key, reason, .. } => format!("{} refused: {reason:?}", self.name(*key)),
            EventBody::MassCancelAccepted(request) => {
                format!("{} {} accepted: mass cancel", member(request.port.0), request.user_ref_num)
            }
            EventBody::OrderEntryDisabled(asked) => {
                format!("{} {} accepted: order entry is disabled", member(asked.port.0), asked.user_ref_num)
            }
            EventBody::OrderEntryEnabled(asked) => {
                format!("{} {} accepted: order entry is enabled", member(asked.port.0), asked.user_ref_num)
            }
            EventBody::MassCancelAsked { cause, slice } => format!("asked: slice {slice} of {cause}"),
            EventBody::AccountQueried { next, .. } => format!("next number {next}"),
            EventBody::Settled(settled) => {
                let Settled { account, buys, base, quote, fee, .. } = settled;
                let account = member(account.0);
                if *buys {
                    format!("settled: {account} gets {base} for {quote} + {fee} fee")
                } else {
                    format!("settled: {account} gives {base} for {quote} - {fee} fee")
                }
            }
            EventBody::PhaseChanged { instrument, phase, reason } => {
                let reason = Mpid(*reason);
                let reason = if reason.as_str().is_empty() { String::new() } else { format!(", {reason}") };
                format!("{} is {phase:?}{reason}", symbol(*instrument))
            }
            EventBody::Indicative(i) => {
                let side = if i.imbalance_buys { "to buy" } else { "to sell" };
                format!(
                    "indicative {:?} cross: {} at {}, {} more {side}, reference {}",
                    i.kind, i.paired, i.price, i.imbalance, i.reference
                )
            }
            EventBody::Crossed(crossed) => {
                format!("{:?} cross: {} at {}", crossed.kind, crossed.qty, crossed.price)
            }
            EventBody::BandSet { reference, upper, lower, .. } => {
                format!("band from {lower} to {upper} around {reference}")
            }
            EventBody::LimitState { on: true, .. } => "limit state begins".into(),
            EventBody::LimitState { on: false, .. } => "limit state ends".into(),
            EventBody::Busted(busted) => {
                let (buyer, seller) = (self.name(busted.buyer), self.name(busted.seller));
                let (lacks, owes) = (busted.buyer_owes, busted.seller_owes);
                let reason = char::from(busted.reason);
                format!(
                    "busted, {reason}: {} at {}, bought by {buyer}, who owes {lacks}, sold by {seller}, who owes {owes}",
                    busted.qty, busted.price
                )
            }
            EventBody::Statistics(day) => format!(
                "{}: open {} high {} low {} close {}, {} lots in {} trades, turnover {}",
                symbol(day.instrument),
                day.open,
                day.high,
                day.low,
                day.close,
                day.volume,
                day.trades,
                day.turnover
            ),
            EventBody::DayClosed { date } => format!("the day {date} is over"),
            EventBody::FirmTier { firm, tier } => format!("{} is of tier {tier}", member(firm.0)),
            EventBody::OrderState(state) if state.open => format!(
                "{} is open: {} left at {}, {} executed",
                self.name(state.key),
                state.leaves_qty,
                state.price,
                state.executed_qty
            ),
            EventBody::OrderState(state) => format!("{} is not open", self.name(state.key)),
            EventBody::DeadManSet { port, timeout_ns: 0 } => {
                format!("dead-man timer of {} is off", member(port.0))
            }
            EventBody::DeadManSet { port, timeout_ns } => {
                format!("dead-man timer of {}: {} ms", member(port.0), timeout_ns / 1_000_000)
            }
            EventBody::DeadManExpired { port } => format!("dead-man timer of {} ran out", member(port.0)),
        })
    }

    fn terms_of(&self, order: &Accepted) -> OrderTerms {
        self.terms.get(&order.order_ref).copied().unwrap_or_default()
    }

    fn at_price(&self, order: &Accepted) -> String {
        if self.terms_of(order).market { "at the market".into() } else { format!("at {}", order.price) }
    }

    fn where_it_is(&self, order: &Accepted) -> String {
        let waits_for_cross = matches!(order.time_in_force, TimeInForce::AtOpen | TimeInForce::AtClose);
        match order.booked {
            false => String::new(),
            true if self.terms_of(order).is_stop() || waits_for_cross => ", waiting".into(),
            true => format!(", on the book{}", shown_of(order.shown_qty, order.qty)),
        }
    }

    fn tell_canceled(&self, canceled: &Canceled) -> String {
        let before = if canceled.shown.qty == Qty::ZERO { ", not shown" } else { "" };
        let shown = if canceled.leaves_qty != Qty::ZERO && canceled.shown.qty != Qty::ZERO {
            shown_of(canceled.shown_leaves, canceled.leaves_qty)
        } else {
            String::new()
        };
        format!(
            "{} cancelled: {} gone, {} left, {:?}{before}{shown}",
            self.name(canceled.key),
            canceled.qty,
            canceled.leaves_qty,
            canceled.reason
        )
    }

    /// An order as its member calls it; the channel only when it is not the first.
    fn name(&self, key: OrderKey) -> String {
        let member = &self.members[key.port().0 as usize - 1];
        match key.idx().0 {
            0 => format!("{member} {}", key.num()),
            idx => format!("{member} {}/{idx}", key.num()),
        }
    }

    /// One line for each price: `bid 100: alice 1 (10), bob 2 (5, 1 shown)`; then what waits.
    fn book(&self, symbol: &str) -> Result<Vec<String>, String> {
        let mut orders = self.venue.book(self.instrument(symbol)?);
        // A stable sort: who is first in line is the venue's to say.
        orders.sort_by_key(|o| (o.waits, !o.buys, if o.buys { -o.price.0 } else { o.price.0 }));
        let mut lines: Vec<(Resting, String)> = Vec::new();
        for order in orders {
            let shown = if order.waits { String::new() } else { shown_of(order.shown_qty, order.leaves_qty) };
            let text = format!("{} ({}{shown})", self.name(order.key), order.leaves_qty);
            let place = |o: &Resting| (o.waits, o.buys, o.price);
            match lines.last_mut() {
                Some((last, line)) if place(last) == place(&order) => {
                    line.push_str(", ");
                    line.push_str(&text);
                }
                _ => {
                    let side = match (order.waits, order.buys) {
                        (false, true) => "bid",
                        (false, false) => "ask",
                        (true, true) => "waiting to buy at",
                        (true, false) => "waiting to sell at",
                    };
                    lines.push((order, format!("{side} {}: {text}", order.price)));
                }
            }
        }
        Ok(if lines.is_empty() {
            vec!["empty".into()]
        } else {
            lines.into_iter().map(|(_, line)| line).collect()
        })
    }

    /// `USD 1000, 400 held; XYZ 5`. The member `fees` is the fee account of the first instrument,
    /// `owed-by-alice` the receivable of alice.
    fn funds(&self, member: &str) -> Result<Vec<String>, String> {
        let account = match member {
            "fees" => AccountId::fees(InstrumentId(1)),
            _ if member.starts_with("owed-by-") => {
                AccountId::receivable(FirmId(self.member(member.trim_start_matches("owed-by-"))?.0))
            }
            "world" => AccountId::WORLD,
            _ => AccountId(self.member(member)?.0),
        };
        let of_account = self.venue.balances().into_iter().filter(|b| b.account == account);
        let lines = of_account.map(|b| {
            let code = &self.assets[b.asset.0 as usize - 1];
            let held = if b.held == Amount::ZERO { String::new() } else { format!(", {} held", b.held) };
            format!("{code} {}{held}", b.total)
        });
        let line = lines.collect::<Vec<_>>().join("; ");
        Ok(vec![if line.is_empty() { "nothing".into() } else { line }])
    }
}

/// `, 5 shown`, when that is not all.
fn shown_of(shown: Qty, leaves: Qty) -> String {
    match shown {
        Qty::ZERO => ", hidden".into(),
        _ if shown == leaves => String::new(),
        _ => format!(", {shown} shown"),
    }
}

fn side_name(side: Side) -> &'static str {
    match side {
        Side::Buy => "buy",
        Side::Sell => "sell",
        Side::SellShort => "short",
        Side::SellShortExempt => "short-exempt",
    }
}
