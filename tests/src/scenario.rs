//! Scenarios as text: what members send, and below each line what the venue says of it.
//!
//! A scenario is a transcript. Lines that begin with `>` are what was said or asked for; all others
//! are commands, and `#` begins a remark. [`transcript`] runs the commands and writes the transcript
//! anew; a scenario holds when nothing changed.
//!
//! ```text
//! instrument XYZ in USD tick-value 1 lot-units 1 price-tick 1 maker 0 taker 0
//! day 20261120
//! member alice qty-cap 1000 notional-cap 100000     (a firm, an account and a port)
//! fund alice USD 1000                               (negative: a withdrawal)
//! alice 1: buy 10 XYZ at 100                        (number 1; then any of: ioc fok post-only
//!                                                    min 10, group 3, channel 2, attributable)
//! alice 2: replace 1 total 8 at 101                 (or: wire 10150, a price as on the wire)
//! alice cancel 1 to 4                               (to 0 when not said)
//! alice modify 1 to 4 as short
//! alice 3: mass cancel XYZ buy                      (all instruments and sides when not said)
//! alice 4: disable order entry                      (and enable order entry; `of bob`: another firm's)
//! slice                                             (the oldest one asked for; `slice 9 0` names its own)
//! alice query
//! book XYZ                                          (bids best first, then asks best first)
//! funds alice
//! ```

use std::fmt::Write as _;

use ironbell_types::{
    Account, AccountId, AccountQuery, Amount, Asset, AssetId, CancelOrder, Capacity, ClOrdId, Command,
    Credential, Display, EnterOrder, Event, EventBody, Executed, Firm, FirmId, Funding, Instrument,
    InstrumentId, MassCancel, MassCancelSlice, ModifyOrder, Mpid, Nanos, OpenDay, OrderEntrySwitch, OrderKey,
    OrderOptions, Port, PortId, PortLimits, Price, Qty, ReplaceOrder, Scale, Seq, Sequenced, Side, Symbol,
    TimeInForce, UserRefIdx, UserRefNum, Username,
};

use crate::oracle::{Balance, Order};

/// An engine that a scenario runs on.
pub trait Venue {
    /// Executes the next command and returns what is said of it.
    fn execute(&mut self, command: &Sequenced) -> Vec<Event>;
    /// The open orders of an instrument: bids best first, oldest first at a price; then asks likewise.
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
}

impl From<&Order> for Resting {
    fn from(order: &Order) -> Self {
        Self { key: order.key, buys: order.side.is_buy(), price: order.price, leaves_qty: order.leaves_qty }
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
        asks: Vec::new(),
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
    asks: Vec<MassCancelSlice>,
}

// What is read.

impl<V: Venue> Scenario<'_, V> {
    fn line(&mut self, words: &[&str]) -> Result<Vec<String>, String> {
        match *words {
            ["instrument", symbol, "in", quote, ref rest @ ..] => self.define_instrument(symbol, quote, rest),
            ["member", name, ref rest @ ..] => self.define_member(name, rest),
            ["day", date] => {
                self.run(Command::OpenDay(OpenDay { date: number(date)? as u32, midnight: Nanos(0) }))
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
                    fault: None,
                }))
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
                "post-only" => terms.options.post_only = b'P',
                "attributable" => terms.display = Display::Attributable,
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

fn number(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("{word} is no number"))
}

// What is said.

impl<V: Venue> Scenario<'_, V> {
    fn run(&mut self, command: Command) -> Result<Vec<String>, String> {
        self.seq = self.seq.next();
        let time = Nanos(self.seq.0 * 1_000);
        let events = self.venue.execute(&Sequenced { seq: self.seq, time, command });
        if let Command::MassCancelSlice(slice) = command {
            self.asks.retain(|ask| *ask != slice);
        }
        for event in &events {
            if let EventBody::MassCancelAsked { cause, slice } = event.body {
                self.asks.push(MassCancelSlice { cause, slice });
            }
        }
        let said: Vec<String> = events.iter().filter_map(|event| self.tell(&event.body)).collect();
        Ok(if events.is_empty() { vec!["nothing".into()] } else { said })
    }

    /// One event as a line; `None` for what a scenario sets up, which it need not hear again.
    fn tell(&self, body: &EventBody) -> Option<String> {
        let symbol = |id: InstrumentId| self.instruments[id.0 as usize - 1].symbol;
        Some(match body {
            EventBody::AssetDefined(_)
            | EventBody::InstrumentDefined(_)
            | EventBody::FirmDefined(_)
            | EventBody::AccountDefined(_)
            | EventBody::PortDefined(_)
            | EventBody::Funded { .. }
            | EventBody::DayOpened(_) => return None,
            EventBody::AdminRefused(refusal) => format!("refused: {refusal:?}"),
            EventBody::LoggedIn { port, incarnation } => format!("port {port} is logged in, {incarnation}"),
            EventBody::LoggedOut { port, incarnation } => format!("port {port} is logged out, {incarnation}"),
            EventBody::Accepted(order) => {
                let (side, booked) = (side_name(order.side), if order.booked { ", on the book" } else { "" });
                let (name, symbol) = (self.name(order.key), symbol(order.instrument));
                format!("{name} accepted: {side} {} {symbol} at {}{booked}", order.qty, order.price)
            }
            EventBody::Replaced(replaced) => {
                let order = &replaced.order;
                let (side, booked) = (side_name(order.side), if order.booked { ", on the book" } else { "" });
                let name = self.name(order.key);
                let orig = replaced.orig_user_ref_num;
                format!("{name} replaces {orig}: {side} {} at {}{booked}", order.qty, order.price)
            }
            EventBody::Rested(rested) => {
                format!("the rest, {} at {}, is on the book", rested.qty, rested.price)
            }
            EventBody::Trade(trade) => {
                let side = |e: &Executed| format!("{} ({} left)", self.name(e.key), e.leaves_qty);
                let verb = if trade.aggressor_buys { "buys from" } else { "sells to" };
                let (aggressor, resting) = (side(&trade.aggressor), side(&trade.resting));
                format!("trade of {} at {}: {aggressor} {verb} {resting}", trade.qty, trade.price)
            }
            EventBody::Canceled(canceled) => {
                let shown = if canceled.displayed { "" } else { ", never shown" };
                let (name, reason) = (self.name(canceled.key), canceled.reason);
                format!(
                    "{name} cancelled: {} gone, {} left, {reason:?}{shown}",
                    canceled.qty, canceled.leaves_qty
                )
            }
            EventBody::Modified(modified) => {
                let (name, side) = (self.name(modified.key), side_name(modified.side));
                format!("{name} modified: {side}, {} gone, {} left", modified.qty, modified.leaves_qty)
            }
            EventBody::Rejected { key, reason, .. } => format!("{} refused: {reason:?}", self.name(*key)),
            EventBody::MassCancelAccepted(request) => {
                let member = &self.members[request.port.0 as usize - 1];
                format!("{member} {} accepted: mass cancel", request.user_ref_num)
            }
            EventBody::OrderEntryDisabled(asked) => {
                let member = &self.members[asked.port.0 as usize - 1];
                format!("{member} {} accepted: order entry is disabled", asked.user_ref_num)
            }
            EventBody::OrderEntryEnabled(asked) => {
                let member = &self.members[asked.port.0 as usize - 1];
                format!("{member} {} accepted: order entry is enabled", asked.user_ref_num)
            }
            EventBody::MassCancelAsked { cause, slice } => format!("asked: slice {slice} of {cause}"),
            EventBody::AccountQueried { next, .. } => format!("next number {next}"),
            EventBody::Settled(settled) => {
                let member = |account: AccountId| &self.members[account.0 as usize - 1];
                let (buyer, seller) = (member(settled.buyer), member(settled.seller));
                let (quote, buyer_fee, seller_fee) = (settled.quote, settled.buyer_fee, settled.seller_fee);
                format!(
                    "settled: {buyer} pays {quote} + {buyer_fee} fee, {seller} gets {quote} - {seller_fee} fee, \
                     {} delivered",
                    settled.base
                )
            }
        })
    }

    /// An order as its member calls it; the channel only when it is not the first.
    fn name(&self, key: OrderKey) -> String {
        let member = &self.members[key.port().0 as usize - 1];
        match key.idx().0 {
            0 => format!("{member} {}", key.num()),
            idx => format!("{member} {}/{idx}", key.num()),
        }
    }

    /// One line for each price: `bid 100: alice 1 (10), bob 2 (5)`.
    fn book(&self, symbol: &str) -> Result<Vec<String>, String> {
        let mut lines: Vec<(bool, Price, String)> = Vec::new();
        for order in self.venue.book(self.instrument(symbol)?) {
            let shown = format!("{} ({})", self.name(order.key), order.leaves_qty);
            match lines.last_mut() {
                Some((buys, price, line)) if (*buys, *price) == (order.buys, order.price) => {
                    line.push_str(", ");
                    line.push_str(&shown);
                }
                _ => {
                    let side = if order.buys { "bid" } else { "ask" };
                    lines.push((order.buys, order.price, format!("{side} {}: {shown}", order.price)));
                }
            }
        }
        Ok(if lines.is_empty() {
            vec!["empty".into()]
        } else {
            lines.into_iter().map(|(.., line)| line).collect()
        })
    }

    /// `USD 1000, 400 held; XYZ 5`. The member `fees` is the fee account of the first instrument.
    fn funds(&self, member: &str) -> Result<Vec<String>, String> {
        let account = match member {
            "fees" => AccountId::fees(InstrumentId(1)),
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

fn side_name(side: Side) -> &'static str {
    match side {
        Side::Buy => "buy",
        Side::Sell => "sell",
        Side::SellShort => "short",
        Side::SellShortExempt => "short-exempt",
    }
}
