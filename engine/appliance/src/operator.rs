//! What an operator may ask of a venue, in words: names, decimals, spans of time. [`Ask`] is the command line of
//! `ironbell ctl`, a line of `genesis.ctl`, and what the admin socket is sent; [`command`] makes of it the one
//! command that is sequenced and journaled, and [`told`] says what became of it.
//!
//! Setting a part of the rules of an instrument or a port, or one of two limits, keeps the rest: the present
//! ones are read, changed and set as a whole.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use ironbell_core::Engine;
use ironbell_types::{
    Account, AccountId, AdminRefusal, Amount, Asset, AssetId, Command, Control, Credential, Event, EventBody,
    Fees, FirmId, Funding, Instrument, InstrumentId, InstrumentRules, KillScope, MatchNumber, Mpid, Nanos,
    Phase, Port, PortId, PortLimits, PortRules, Price, Qty, SCHEDULE_SLOTS, Scale, Seq, Symbol, Username,
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::genesis;
use crate::words::{
    AlgorithmWord, BustReason, Date, Limit, Measures, PerSpan, PhaseOrNone, PhaseWord, Rate, Share, Span,
    StpWord, Switch, TimeOfDay, smallest_units, units,
};

/// One thing that an operator asks for.
#[derive(Clone, Debug, PartialEq, Subcommand, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ask {
    /// Begin a phase now: closed, pre-open, opening-auction, continuous, volatility, halted, paused or
    /// closing-auction. Leaving an auction or a halt holds its cross.
    Phase {
        /// Which instrument; `all` is every one.
        symbol: String,
        /// What begins.
        phase: PhaseWord,
        /// ITCH trading action reason, at most four characters, such as T1 (news) or LUDP.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Set how an instrument trades; what is not given stays as it is.
    Rules {
        /// Which instrument.
        symbol: String,
        /// What changes.
        #[command(flatten)]
        rules: RulesText,
    },
    /// Set an entry of an instrument's daily schedule, in force from the next day on: `schedule XYZ 09:25
    /// opening-auction`; phase `none` takes it off.
    Schedule {
        /// Which instrument.
        symbol: String,
        /// When, in local time of the trading day: 09:25, 16:00:30; hours up to 47.
        at: TimeOfDay,
        /// What begins then.
        phase: PhaseOrNone,
    },
    /// Set what a port may do (what is not given stays as it is), or add one with `port add`.
    #[command(args_conflicts_with_subcommands = true)]
    Port(PortAsk),
    /// Limit what a firm's open orders may be worth together, and what it may have bought more than sold.
    Exposure {
        /// The firm's MPID.
        firm: String,
        /// In which quote asset.
        asset: String,
        /// Most that its open orders may be worth, in units of the asset; `none` lifts the limit.
        #[arg(long)]
        gross: Option<Limit>,
        /// Most that it may have bought more than sold this day, or the other way round; `none` lifts the limit.
        #[arg(long)]
        net: Option<Limit>,
    },
    /// Limit what an account may spend in a day.
    Credit {
        /// The account's number.
        account: u32,
        /// Of which asset.
        asset: String,
        /// How much, in units of the asset; `none` lifts the limit.
        most: Limit,
    },
    /// Limit what an account may come to have of an instrument, over what it began the day with.
    Position {
        /// The account's number.
        account: u32,
        /// Which instrument.
        symbol: String,
        /// Most that it may buy more than sell in a day, in units of the base asset; `none` lifts the limit.
        #[arg(long)]
        long: Option<Limit>,
        /// Most that it may sell more than buy in a day, likewise.
        #[arg(long)]
        short: Option<Limit>,
    },
    /// Let a port trade an instrument, or not: `entitle ALFA01 XYZ off`.
    Entitle {
        /// The port's user name.
        port: String,
        /// Which instrument.
        symbol: String,
        /// on or off.
        allowed: Switch,
    },
    /// Put an instrument on a firm's restricted list, or take it off: `restrict ALFA XYZ on`.
    Restrict {
        /// The firm's MPID; `all` is the list of every firm.
        firm: String,
        /// Which instrument.
        symbol: String,
        /// on or off.
        restricted: Switch,
    },
    /// Record stock that a firm has located for short sales, or gives back (negative).
    Locate {
        /// The firm's MPID.
        firm: String,
        /// Which instrument.
        symbol: String,
        /// How much more, in units of the base asset.
        #[arg(allow_hyphen_values = true)]
        quantity: Decimal,
        /// The locate's own number; one that was used has no effect. By default one of the present time.
        #[arg(long)]
        id: Option<u64>,
    },
    /// A kill switch: on cancels and refuses, off lets go on.
    Kill {
        /// What it stops.
        #[command(subcommand)]
        scope: KillText,
    },
    /// Set an instrument's fees for a tier of firms; what is not given stays as it is.
    Fees {
        /// Which instrument.
        symbol: String,
        /// Which tier, 0 to 3.
        #[arg(long, default_value_t = 0)]
        tier: u8,
        /// Of the resting side: 2bp, 0.02%; negative is a rebate.
        #[arg(long, allow_hyphen_values = true)]
        maker: Option<Rate>,
        /// Of the aggressor, likewise.
        #[arg(long, allow_hyphen_values = true)]
        taker: Option<Rate>,
        /// Least that an order pays once it has executed, in units of the quote asset.
        #[arg(long)]
        minimum: Option<Decimal>,
    },
    /// Set from which volume of a day a firm is in a tier on the next day.
    Tier {
        /// Which tier, 1 to 3.
        tier: u8,
        /// Lots executed, both sides counted; 0 makes the tier unreachable.
        volume: u64,
    },
    /// Put a firm in a tier until the next day's end.
    FirmTier {
        /// The firm's MPID.
        firm: String,
        /// Which tier, 0 to 3.
        tier: u8,
    },
    /// End the trading day: closing crosses, statistics, tiers; day orders are cancelled.
    CloseDay,
    /// Begin a trading day.
    OpenDay {
        /// Its date: 2026-11-23; today if left out. Later than the last one.
        date: Option<Date>,
        /// Minutes that local time is ahead of UTC; as on the last day if left out.
        #[arg(long, allow_hyphen_values = true, value_name = "MINUTES")]
        utc_offset: Option<i32>,
    },
    /// Undo a trade of this day.
    Bust {
        /// Its match number, as executions and market data say it.
        match_number: u64,
        /// erroneous, consent, supervisory or external (E C S X).
        #[arg(long)]
        reason: BustReason,
    },
    /// Take an instrument off for good; its orders are cancelled.
    Delist {
        /// Which instrument.
        symbol: String,
    },
    /// Change an instrument's tick, while no day is open and it has no orders. Its rules become plain.
    Tick {
        /// Which instrument.
        symbol: String,
        /// The new step of its price, in the quote asset for one unit of the base asset.
        tick: Decimal,
    },
    /// Change an instrument's name, while no day is open.
    Symbol {
        /// Which instrument.
        symbol: String,
        /// Its name from now on.
        new: String,
    },
    /// Announce the levels of a market-wide decline (ITCH V).
    DeclineLevels {
        /// Level 1, with at most eight decimal places.
        one: Decimal,
        /// Level 2.
        two: Decimal,
        /// Level 3.
        three: Decimal,
    },
    /// Halt every instrument: a level of the market-wide decline is reached (ITCH W).
    MarketWideHalt {
        /// 1, 2 or 3.
        level: u8,
    },
    /// Instruments: add one.
    Instrument {
        /// What to do.
        #[command(subcommand)]
        add: InstrumentAsk,
    },
    /// Assets: add one.
    Asset {
        /// What to do.
        #[command(subcommand)]
        add: AssetAsk,
    },
    /// Firms: add one.
    Firm {
        /// What to do.
        #[command(subcommand)]
        add: FirmAsk,
    },
    /// Accounts: add one.
    Account {
        /// What to do.
        #[command(subcommand)]
        add: AccountAsk,
    },
    /// Bring money or securities in, or take them out (negative).
    Fund {
        /// The account's number.
        account: u32,
        /// Which asset.
        asset: String,
        /// How much, in units of the asset.
        #[arg(allow_hyphen_values = true)]
        amount: Decimal,
        /// The funding's own number; one that was used has no effect. By default one of the present time.
        #[arg(long)]
        id: Option<u64>,
    },
}

/// A part of an instrument's rules.
#[derive(Clone, Debug, Default, PartialEq, Args, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RulesText {
    /// price-time, pro-rata or batch.
    #[arg(long)]
    pub algorithm: Option<AlgorithmWord>,
    /// Of a pro-rata instrument: most that the order which made the price is served first, in units of the base
    /// asset; 0 is no preference.
    #[arg(long)]
    pub top_order: Option<Decimal>,
    /// Of a batch instrument: from one cross to the next, at least 1ms.
    #[arg(long)]
    pub batch: Option<Span>,
    /// The price that ranges, bands and auctions refer to; 0 is none.
    #[arg(long)]
    pub reference: Option<Decimal>,
    /// How far from the reference a price may be, such as 20%; off is no static range, and no market orders.
    #[arg(long = "static")]
    #[serde(rename = "static")]
    pub static_range: Option<Share>,
    /// How far from the last price a market order may trade, such as 5%, or off.
    #[arg(long)]
    pub collar: Option<Share>,
    /// How far from the band's reference anything may trade, such as 10%, or off.
    #[arg(long)]
    pub band: Option<Share>,
    /// How long a limit state may last before trading pauses, such as 15s.
    #[arg(long)]
    pub limit_state: Option<Span>,
    /// How long the auction after it lasts, such as 2m.
    #[arg(long)]
    pub volatility: Option<Span>,
    /// The short sale price test: on or off.
    #[arg(long)]
    pub short_restricted: Option<Switch>,
}

/// `port NAME …` or `port add NAME …`.
#[derive(Clone, Debug, PartialEq, Args, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PortAsk {
    /// Add a port.
    #[command(subcommand)]
    add: Option<AddPort>,
    /// The port's user name.
    #[arg(required = true)]
    name: Option<String>,
    /// What changes.
    #[command(flatten)]
    rules: PortText,
}

/// A part of a port's rules.
#[derive(Clone, Debug, Default, PartialEq, Args, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PortText {
    /// Orders, replacements and quotes in a second, in the long run; 0 is any number.
    #[arg(long)]
    rate: Option<u32>,
    /// How many of them at once after silence.
    #[arg(long)]
    burst: Option<u32>,
    /// How many equal orders in a row within a span: 5/1s, or off.
    #[arg(long)]
    duplicates: Option<PerSpan>,
    /// A post-only order that would trade moves a tick away instead of being cancelled.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "on", value_name = "on|off")]
    slide: Option<Switch>,
    /// When its order would trade with one of its own firm: off (they trade), newest, oldest, both, decrement.
    #[arg(long)]
    stp: Option<StpWord>,
    /// A logout cancels its orders.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "on", value_name = "on|off")]
    cancel_on_disconnect: Option<Switch>,
    /// Largest quantity of one order, in lots.
    #[arg(long)]
    qty_cap: Option<u64>,
    /// Largest notional of one order, in units of the quote asset (where these differ in decimal places, of the
    /// one with the most).
    #[arg(long)]
    notional_cap: Option<Decimal>,
}

/// `port add`.
#[derive(Clone, Debug, PartialEq, Subcommand, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum AddPort {
    /// Add a port.
    Add {
        /// Its user name, at most six characters.
        name: String,
        /// The MPID of the firm it trades for.
        #[arg(long)]
        firm: String,
        /// The number of the account its orders are held and settled in.
        #[arg(long)]
        account: u32,
        /// A file whose first line is the password, at most ten characters; only its Argon2id hash leaves this
        /// process. By default it is read from standard input.
        #[arg(long, value_name = "FILE")]
        #[serde(skip)]
        password_file: Option<PathBuf>,
        /// Largest quantity of one order, in lots.
        #[arg(long, default_value_t = 1_000_000)]
        qty_cap: u64,
        /// Largest notional of one order, in units of the quote asset.
        #[arg(long, default_value = "1000000000")]
        notional_cap: Decimal,
        /// Filled in from the password before it is sent.
        #[arg(skip)]
        credential: Option<CredentialText>,
    },
}

/// Argon2id of a password, for the admin socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[expect(missing_docs, reason = "as in ironbell_types::Credential")]
pub struct CredentialText {
    pub salt: [u8; 16],
    pub hash: [u8; 32],
    pub memory_kib: u32,
    pub passes: u32,
    pub lanes: u32,
}

impl From<Credential> for CredentialText {
    fn from(c: Credential) -> Self {
        let Credential { salt, hash, memory_kib, passes, lanes } = c;
        Self { salt, hash, memory_kib, passes, lanes }
    }
}

impl From<CredentialText> for Credential {
    fn from(c: CredentialText) -> Self {
        let CredentialText { salt, hash, memory_kib, passes, lanes } = c;
        Self { salt, hash, memory_kib, passes, lanes }
    }
}

/// What a kill switch stops.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum KillText {
    /// One port.
    Port {
        /// Its user name.
        name: String,
        /// on or off.
        switch: Switch,
    },
    /// All ports of a firm.
    Firm {
        /// Its MPID.
        name: String,
        /// on or off.
        switch: Switch,
    },
    /// One instrument.
    Instrument {
        /// Its symbol.
        name: String,
        /// on or off.
        switch: Switch,
    },
    /// Everything.
    Venue {
        /// on or off.
        switch: Switch,
    },
}

/// `instrument add`.
#[derive(Clone, Debug, PartialEq, Subcommand, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum InstrumentAsk {
    /// Add an instrument; while a day is open it begins in continuous trading.
    Add(genesis::InstrumentText),
}

/// `asset add`.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum AssetAsk {
    /// Add an asset.
    Add {
        /// Its code, at most eight characters.
        code: String,
        /// Decimal places of its smallest unit, at most 18.
        #[arg(long)]
        decimals: u8,
    },
}

/// `firm add`.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum FirmAsk {
    /// Add a firm.
    Add {
        /// Its MPID, at most four characters.
        mpid: String,
    },
}

/// `account add`.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum AccountAsk {
    /// Add an account.
    Add {
        /// Its number, from 1.
        account: u32,
        /// The firm's MPID.
        #[arg(long)]
        firm: String,
    },
}

/// An [`Ask`] by itself, as a line of `genesis.ctl`.
#[derive(Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct Line {
    #[command(subcommand)]
    ask: Ask,
}

impl Ask {
    /// Of `port add`: the file with the password, and where its hash goes before this is sent.
    pub fn wants_password(&mut self) -> Option<(Option<&Path>, &mut Option<CredentialText>)> {
        match self {
            Self::Port(PortAsk { add: Some(AddPort::Add { password_file, credential, .. }), .. }) => {
                Some((password_file.as_deref(), credential))
            }
            _ => None,
        }
    }

    /// Reads a line such as `rules XYZ --static 20%`; words stand apart by blanks.
    ///
    /// # Errors
    /// A line saying what is wrong with it.
    pub fn parse(line: &str) -> Result<Self, String> {
        let parsed = Line::try_parse_from(line.split_whitespace());
        parsed.map(|line| line.ask).map_err(|e| {
            let text = e.to_string();
            text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
        })
    }
}

/// What names stand for, in the present state of the venue.
struct Names<'a>(&'a Engine);

impl Names<'_> {
    fn instrument(&self, symbol: &str) -> Result<Instrument, String> {
        let known = Symbol::new(symbol).and_then(|name| self.0.instruments().find(|i| i.symbol == name));
        known.copied().ok_or_else(|| format!("there is no instrument {symbol}; `inspect phases` lists them"))
    }

    fn instrument_or_all(&self, symbol: &str) -> Result<InstrumentId, String> {
        if symbol == "all" { Ok(InstrumentId::NONE) } else { Ok(self.instrument(symbol)?.id) }
    }

    fn asset(&self, code: &str) -> Result<Asset, String> {
        let known = Symbol::new(code).and_then(|name| self.0.assets().find(|a| a.code == name));
        known.copied().ok_or_else(|| format!("there is no asset {code}; `inspect ledger` lists them"))
    }

    fn firm(&self, mpid: &str) -> Result<FirmId, String> {
        let known = Mpid::new(mpid).and_then(|name| self.0.firms().find(|f| f.mpid == name));
        known.map(|firm| firm.id).ok_or_else(|| format!("there is no firm {mpid}; `inspect risk` lists them"))
    }

    fn port(&self, name: &str) -> Result<PortId, String> {
        let username = Username::new(&name.to_ascii_uppercase());
        let known = username.and_then(|name| self.0.ports().find(|p| p.username == name));
        known.map(|port| port.id).ok_or_else(|| format!("there is no port {name}; `inspect risk` lists them"))
    }

    fn account(&self, number: u32) -> Result<AccountId, String> {
        let known = self.0.accounts().find(|a| a.id.0 == number);
        known.map(|a| a.id).ok_or_else(|| format!("there is no account {number}; `inspect risk` lists them"))
    }

    fn measures(&self, instrument: &Instrument) -> Measures {
        measures(self.0, instrument)
    }

    /// Notional caps are in the smallest unit of the quote asset, whichever that is: here of the one with
    /// the most decimal places.
    fn notional_decimals(&self) -> u8 {
        let decimals = |i: &Instrument| self.0.assets().find(|a| a.id == i.quote).map_or(0, |a| a.decimals);
        self.0.instruments().map(decimals).max().unwrap_or(0)
    }

    fn notional(&self, cap: Decimal) -> Result<Amount, String> {
        let units = smallest_units(cap, self.notional_decimals(), "--notional-cap")?;
        if units < 0 { Err("--notional-cap is negative".to_owned()) } else { Ok(Amount(units)) }
    }
}

/// How ticks and lots of an instrument stand to units of its assets.
#[must_use]
pub fn measures(engine: &Engine, instrument: &Instrument) -> Measures {
    let decimals = |id: AssetId| engine.assets().find(|a| a.id == id).map_or(0, |a| a.decimals);
    Measures::of(instrument, decimals(instrument.base), decimals(instrument.quote))
}

fn amount_limit(limit: Limit, asset: &Asset, what: &str) -> Result<Option<Amount>, String> {
    limit.0.map(|limit| smallest_units(limit, asset.decimals, what).map(Amount)).transpose()
}

fn qty_limit(limit: Limit, measures: &Measures, what: &str) -> Result<Option<Qty>, String> {
    limit.0.map(|limit| lots(limit, measures, what)).transpose()
}

fn lots(quantity: Decimal, measures: &Measures, what: &str) -> Result<Qty, String> {
    let lots = measures.lots(quantity, what)?;
    u64::try_from(lots).map(Qty).map_err(|_| format!("{what} = {quantity} is negative"))
}

/// The command that does what is asked for, in the present state of `engine`. `now` is the machine's time, for
/// dates and numbers that are left out.
///
/// # Errors
/// A line saying which name or number is wrong.
pub fn command(ask: &Ask, engine: &Engine, now: Nanos) -> Result<Command, String> {
    let names = Names(engine);
    let control = match ask {
        Ask::Phase { symbol, phase, reason } => {
            let padded = Mpid::new(reason)
                .ok_or_else(|| format!("--reason {reason} is longer than four characters"))?;
            Control::SetPhase {
                instrument: names.instrument_or_all(symbol)?,
                phase: phase.0,
                reason: padded.0,
            }
        }
        Ask::Rules { symbol, rules } => {
            let instrument = names.instrument(symbol)?;
            let present = engine.rules(instrument.id).unwrap_or(InstrumentRules::PLAIN);
            let rules = changed_rules(present, rules, &names.measures(&instrument))?;
            Control::SetRules { instrument: instrument.id, rules }
        }
        Ask::Schedule { symbol, at, phase } => {
            set_schedule(engine, names.instrument(symbol)?.id, at.0, phase.0)?
        }
        Ask::Port(PortAsk { add: Some(add), .. }) => return add_port(&names, add),
        Ask::Port(PortAsk { add: None, name, rules }) => {
            let name = name.as_deref().ok_or("which port?")?;
            let port = names.port(name)?;
            let present = engine.port_rules(port).ok_or_else(|| format!("port {name} has no rules"))?;
            Control::SetPortRules { port, rules: changed_port(present, rules, &names)? }
        }
        Ask::Exposure { firm, asset, gross, net } => {
            let (firm, asset) = (names.firm(firm)?, names.asset(asset)?);
            let present = engine.exposures().into_iter().find(|e| e.firm == firm && e.asset == asset.id);
            let (was_gross, was_net) = present.map_or((None, None), |e| (e.gross_max, e.net_max));
            Control::SetExposure {
                firm,
                asset: asset.id,
                gross_max: gross.map_or(Ok(was_gross), |limit| amount_limit(limit, &asset, "--gross"))?,
                net_max: net.map_or(Ok(was_net), |limit| amount_limit(limit, &asset, "--net"))?,
            }
        }
        Ask::Credit { account, asset, most } => {
            let (account, asset) = (names.account(*account)?, names.asset(asset)?);
            Control::SetCredit {
                account,
                asset: asset.id,
                credit_max: amount_limit(*most, &asset, "credit")?,
            }
        }
        Ask::Position { account, symbol, long, short } => {
            let (account, instrument) = (names.account(*account)?, names.instrument(symbol)?);
            let measures = names.measures(&instrument);
            let present = engine
                .positions()
                .into_iter()
                .find(|p| p.account == account && p.instrument == instrument.id);
            let (was_long, was_short) = present.map_or((None, None), |p| (p.long_max, p.short_max));
            Control::SetPosition {
                account,
                instrument: instrument.id,
                long_max: long.map_or(Ok(was_long), |limit| qty_limit(limit, &measures, "--long"))?,
                short_max: short.map_or(Ok(was_short), |limit| qty_limit(limit, &measures, "--short"))?,
            }
        }
        Ask::Entitle { port, symbol, allowed } => Control::Entitle {
            port: names.port(port)?,
            instrument: names.instrument(symbol)?.id,
            allowed: allowed.0,
        },
        Ask::Restrict { firm, symbol, restricted } => Control::Restrict {
            firm: if firm == "all" { FirmId(0) } else { names.firm(firm)? },
            instrument: names.instrument(symbol)?.id,
            restricted: restricted.0,
        },
        Ask::Locate { firm, symbol, quantity, id } => {
            let instrument = names.instrument(symbol)?;
            Control::Locate {
                id: id.unwrap_or(now.0),
                firm: names.firm(firm)?,
                instrument: instrument.id,
                qty: names.measures(&instrument).lots(*quantity, "the quantity")?,
            }
        }
        Ask::Kill { scope } => {
            let (scope, on) = match scope {
                KillText::Port { name, switch } => (KillScope::Port(names.port(name)?), switch),
                KillText::Firm { name, switch } => (KillScope::Firm(names.firm(name)?), switch),
                KillText::Instrument { name, switch } => {
                    (KillScope::Instrument(names.instrument(name)?.id), switch)
                }
                KillText::Venue { switch } => (KillScope::Venue, switch),
            };
            Control::Kill { scope, on: on.0 }
        }
        Ask::Fees { symbol, tier, maker, taker, minimum } => {
            let instrument = names.instrument(symbol)?;
            let present = engine.fees(instrument.id, *tier);
            let present = present.ok_or_else(|| format!("--tier {tier} is not within 0 to 3"))?;
            let decimals = names.measures(&instrument).quote_decimals;
            let minimum = match minimum {
                None => present.minimum,
                Some(least) => u64::try_from(smallest_units(*least, decimals, "--minimum")?)
                    .map_err(|_| format!("--minimum = {least} is negative or too large"))?,
            };
            let fees = Fees {
                maker_bps: maker.map_or(present.maker_bps, |rate| rate.0),
                taker_bps: taker.map_or(present.taker_bps, |rate| rate.0),
                minimum,
            };
            Control::SetFees { instrument: instrument.id, tier: *tier, fees }
        }
        Ask::Tier { tier, volume } => Control::SetTier { tier: *tier, volume_min: *volume },
        Ask::FirmTier { firm, tier } => Control::SetFirmTier { firm: names.firm(firm)?, tier: *tier },
        Ask::CloseDay => Control::CloseDay,
        Ask::OpenDay { date, utc_offset } => {
            let last = engine.last_day();
            let minutes =
                utc_offset.unwrap_or_else(|| last.map_or(0, |day| genesis::utc_offset_minutes(&day)));
            let date = date.map_or(0, |date| date.0);
            return genesis::open_day(date, minutes, now).map(Command::OpenDay);
        }
        Ask::Bust { match_number, reason } => {
            Control::Bust { match_number: MatchNumber(*match_number), reason: reason.0 }
        }
        Ask::Delist { symbol } => Control::Delist { instrument: names.instrument(symbol)?.id },
        Ask::Tick { symbol, tick } => change_tick(&names, &names.instrument(symbol)?, *tick)?,
        Ask::Symbol { symbol, new } => {
            let name = Symbol::new(new).filter(|_| !new.is_empty());
            let name = name.ok_or_else(|| format!("{new:?} is not 1 to 8 characters"))?;
            Control::ChangeSymbol { instrument: names.instrument(symbol)?.id, symbol: name }
        }
        Ask::DeclineLevels { one, two, three } => {
            let level = |level: &Decimal| {
                u64::try_from(smallest_units(*level, 8, "a level")?)
                    .map_err(|_| format!("a level of {level} is negative or too large"))
            };
            Control::SetDeclineLevels { levels: [level(one)?, level(two)?, level(three)?] }
        }
        Ask::MarketWideHalt { level } => Control::MarketWideHalt { level: *level },
        Ask::Instrument { add: InstrumentAsk::Add(text) } => {
            let id = InstrumentId(engine.instruments().count() as u32 + 1);
            let assets = engine.assets().map(|a| (a.code.as_str(), (a.id, a.decimals))).collect();
            return genesis::instrument(id, text, &assets).map(Command::DefineInstrument);
        }
        Ask::Asset { add: AssetAsk::Add { code, decimals } } => {
            let id = AssetId(engine.assets().map(|a| a.id.0).max().unwrap_or(0) + 1);
            return genesis::asset(id, code, *decimals).map(Command::DefineAsset);
        }
        Ask::Firm { add: FirmAsk::Add { mpid } } => {
            let id = FirmId(engine.firms().count() as u32 + 1);
            return genesis::firm(id, mpid).map(Command::DefineFirm);
        }
        Ask::Account { add: AccountAsk::Add { account, firm } } => {
            let account = Account { id: AccountId(*account), firm: names.firm(firm)? };
            return Ok(Command::DefineAccount(account));
        }
        Ask::Fund { account, asset, amount, id } => {
            let (account, asset) = (names.account(*account)?, names.asset(asset)?);
            let amount = Amount(smallest_units(*amount, asset.decimals, "the amount")?);
            let id = id.unwrap_or(now.0);
            return Ok(Command::Fund(Funding { id, account, asset: asset.id, amount }));
        }
    };
    Ok(Command::Control(control))
}

fn changed_rules(
    present: InstrumentRules,
    text: &RulesText,
    measures: &Measures,
) -> Result<InstrumentRules, String> {
    let RulesText {
        algorithm,
        top_order,
        batch,
        reference,
        static_range,
        collar,
        band,
        limit_state,
        volatility,
        short_restricted,
    } = text;
    let reference =
        reference.map_or(Ok(present.reference), |price| measures.ticks(price, "--reference").map(Price));
    let top_order = top_order.map_or(Ok(present.top_order_max), |top| lots(top, measures, "--top-order"));
    Ok(InstrumentRules {
        algorithm: algorithm.map_or(present.algorithm, |word| word.0),
        top_order_max: top_order?,
        batch_ns: batch.map_or(present.batch_ns, |span| span.0),
        reference: reference?,
        static_bps: static_range.map_or(present.static_bps, |share| share.0),
        collar_bps: collar.map_or(present.collar_bps, |share| share.0),
        band_bps: band.map_or(present.band_bps, |share| share.0),
        limit_state_ns: limit_state.map_or(present.limit_state_ns, |span| span.0),
        volatility_ns: volatility.map_or(present.volatility_ns, |span| span.0),
        short_restricted: short_restricted.map_or(present.short_restricted, |switch| switch.0),
    })
}

fn changed_port(present: PortRules, text: &PortText, names: &Names<'_>) -> Result<PortRules, String> {
    let PortText { rate, burst, duplicates, slide, stp, cancel_on_disconnect, qty_cap, notional_cap } = text;
    let PerSpan(duplicates_max, duplicate_ns) =
        duplicates.unwrap_or(PerSpan(present.duplicates_max, present.duplicate_ns));
    Ok(PortRules {
        limits: PortLimits {
            qty_max: qty_cap.map_or(present.limits.qty_max, Qty),
            notional_max: notional_cap.map_or(Ok(present.limits.notional_max), |cap| names.notional(cap))?,
        },
        rate_per_second: rate.unwrap_or(present.rate_per_second),
        rate_burst: burst.unwrap_or(present.rate_burst),
        duplicates_max,
        duplicate_ns,
        slides: slide.map_or(present.slides, |switch| switch.0),
        stp: stp.map_or(present.stp, |word| word.0),
        cancels_on_disconnect: cancel_on_disconnect.map_or(present.cancels_on_disconnect, |switch| switch.0),
    })
}

/// The slot of the entry at that time, else the first free one.
fn set_schedule(
    engine: &Engine,
    instrument: InstrumentId,
    at_s: u32,
    phase: Option<Phase>,
) -> Result<Control, String> {
    let schedule = engine.schedule(instrument);
    let there = schedule.iter().position(|entry| entry.is_some_and(|(at, _)| at == at_s));
    let slot = match (there, phase) {
        (Some(slot), _) => slot,
        (None, None) => return Err(format!("the schedule has no entry at {}", TimeOfDay(at_s))),
        (None, Some(_)) => schedule.iter().position(Option::is_none).ok_or_else(|| {
            format!("the schedule has its {SCHEDULE_SLOTS} entries; take one off with phase `none`")
        })?,
    };
    Ok(Control::SetSchedule { instrument, slot: slot as u8, at_s, phase })
}

fn add_port(names: &Names<'_>, add: &AddPort) -> Result<Command, String> {
    let AddPort::Add { name, firm, account, password_file: _, qty_cap, notional_cap, credential } = add;
    let username = Username::new(&name.to_ascii_uppercase()).filter(|_| !name.is_empty());
    let username = username.ok_or_else(|| format!("the user name {name:?} is not 1 to 6 characters"))?;
    let credential = credential.ok_or("a port needs a password: in the genesis, use [[genesis.ports]]")?;
    Ok(Command::DefinePort(Port {
        id: PortId(names.0.ports().count() as u32 + 1),
        username,
        firm: names.firm(firm)?,
        account: names.account(*account)?,
        limits: PortLimits { qty_max: Qty(*qty_cap), notional_max: names.notional(*notional_cap)? },
        credential: credential.into(),
    }))
}

/// The new tick in wire price units and in the value of one lot, as when the instrument was defined.
fn change_tick(names: &Names<'_>, instrument: &Instrument, tick: Decimal) -> Result<Control, String> {
    let measures = names.measures(instrument);
    let lot = Decimal::try_from_i128_with_scale(instrument.lot_units.into(), measures.base_decimals.into())
        .map_err(|_| "the lot is too fine".to_owned())?;
    let scaled = instrument.scale == Scale::Scaled;
    let what = format!("instrument {}", instrument.symbol);
    let (scale, tick_value) = genesis::scale(tick, lot, scaled, measures.quote_decimals, &what)?;
    let price_tick = Instrument { scale, ..*instrument }.price_tick();
    Ok(Control::ChangeTick { instrument: instrument.id, price_tick, tick_value })
}

/// What became of a command, for people.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Told {
    /// It was done, and is on the disk.
    Done {
        /// Its place in the sequence.
        seq: u64,
        /// What was done, a line each.
        lines: Vec<String>,
    },
    /// The venue refused it; nothing changed.
    Refused {
        /// Its place in the sequence.
        seq: u64,
        /// Why, and what to do.
        why: String,
    },
    /// It was handed to the sequencer, and nobody waited for more.
    Sent,
}

/// What the state machine said of an operator's command, in words. `engine` is its state afterwards.
#[must_use]
pub fn told(command: &Command, seq: Seq, events: &[Event], engine: &Engine) -> Told {
    let refusal = events.iter().find_map(|event| match event.body {
        EventBody::AdminRefused(why) => Some(why),
        _ => None,
    });
    if let Some(why) = refusal {
        return Told::Refused { seq: seq.0, why: refused(command, why) };
    }
    let said = Said(engine);
    let mut lines = vec![said.done(command)];
    let mut slices = false;
    for event in events {
        slices |= matches!(event.body, EventBody::MassCancelAsked { .. });
        lines.extend(said.consequence(&event.body));
    }
    if slices {
        lines.push("open orders are being cancelled".to_owned());
    }
    Told::Done { seq: seq.0, lines }
}

/// Names of what a command carries numbers for.
struct Said<'a>(&'a Engine);

impl Said<'_> {
    fn symbol(&self, id: InstrumentId) -> String {
        let known = self.0.instruments().find(|i| i.id == id);
        known.map_or_else(|| format!("instrument {id}"), |i| i.symbol.to_string())
    }

    fn mpid(&self, id: FirmId) -> String {
        self.0.firms().find(|f| f.id == id).map_or_else(|| format!("firm {id}"), |f| f.mpid.to_string())
    }

    fn username(&self, id: PortId) -> String {
        self.0.ports().find(|p| p.id == id).map_or_else(|| format!("port {id}"), |p| p.username.to_string())
    }

    fn asset(&self, id: AssetId) -> (String, u8) {
        let known = self.0.assets().find(|a| a.id == id);
        known.map_or_else(|| (format!("asset {id}"), 0), |a| (a.code.to_string(), a.decimals))
    }

    fn amount(&self, asset: AssetId, amount: Amount) -> String {
        let (code, decimals) = self.asset(asset);
        format!("{} {code}", units(amount.0, decimals))
    }

    fn amount_limit(&self, asset: AssetId, limit: Option<Amount>) -> String {
        limit.map_or_else(|| "no limit".to_owned(), |limit| self.amount(asset, limit))
    }

    fn measures(&self, id: InstrumentId) -> Option<Measures> {
        self.0.instruments().find(|i| i.id == id).map(|i| measures(self.0, i))
    }

    fn price(&self, instrument: InstrumentId, price: Price) -> String {
        self.measures(instrument).map_or_else(|| price.to_string(), |m| m.price(price.0))
    }

    fn quantity(&self, instrument: InstrumentId, lots: i128) -> String {
        self.measures(instrument).map_or_else(|| lots.to_string(), |m| m.quantity(lots))
    }

    fn qty_limit(&self, instrument: InstrumentId, limit: Option<Qty>) -> String {
        limit.map_or_else(|| "no limit".to_owned(), |limit| self.quantity(instrument, limit.0.into()))
    }

    fn done(&self, command: &Command) -> String {
        match command {
            Command::DefineAsset(asset) => format!("asset {} with {} decimals", asset.code, asset.decimals),
            Command::DefineInstrument(i) => {
                format!(
                    "instrument {} ({} for {}), locate {}",
                    i.symbol,
                    self.asset(i.base).0,
                    self.asset(i.quote).0,
                    i.id
                )
            }
            Command::DefineFirm(firm) => format!("firm {}", firm.mpid),
            Command::DefineAccount(account) => {
                format!("account {} of {}", account.id, self.mpid(account.firm))
            }
            Command::DefinePort(port) => {
                format!("port {} of {}, account {}", port.username, self.mpid(port.firm), port.account)
            }
            Command::Fund(funding) => format!(
                "account {}: {} moved, funding {}",
                funding.account,
                self.amount(funding.asset, funding.amount),
                funding.id
            ),
            Command::OpenDay(day) => format!("the day {} is open", Date(day.date)),
            Command::Control(control) => self.controlled(control),
            other => format!("{other:?}"),
        }
    }

    fn controlled(&self, control: &Control) -> String {
        match control {
            Control::SetRules { instrument, rules } => {
                format!(
                    "{}: {}",
                    self.symbol(*instrument),
                    rules_in_words(rules, self.measures(*instrument).as_ref())
                )
            }
            Control::SetSchedule { instrument, slot: _, at_s, phase } => format!(
                "{}: {} {} from the next day on",
                self.symbol(*instrument),
                TimeOfDay(*at_s),
                PhaseOrNone(*phase)
            ),
            Control::SetPhase { instrument, phase, reason: _ } => {
                let which = match *instrument {
                    InstrumentId::NONE => "every instrument".to_owned(),
                    one => self.symbol(one),
                };
                format!("{which}: {}", PhaseWord(*phase))
            }
            Control::SetPortRules { port, rules } => {
                format!("{}: {}", self.username(*port), port_in_words(rules))
            }
            Control::SetExposure { firm, asset, gross_max, net_max } => format!(
                "{}: gross exposure {}, net exposure {}",
                self.mpid(*firm),
                self.amount_limit(*asset, *gross_max),
                self.amount_limit(*asset, *net_max)
            ),
            Control::SetCredit { account, asset, credit_max } => {
                format!("account {account}: credit {}", self.amount_limit(*asset, *credit_max))
            }
            Control::SetPosition { account, instrument, long_max, short_max } => format!(
                "account {account} in {}: long {}, short {}",
                self.symbol(*instrument),
                self.qty_limit(*instrument, *long_max),
                self.qty_limit(*instrument, *short_max)
            ),
            Control::Entitle { port, instrument, allowed } => format!(
                "{} {} trade {}",
                self.username(*port),
                if *allowed { "may" } else { "may not" },
                self.symbol(*instrument)
            ),
            Control::Restrict { firm, instrument, restricted } => format!(
                "{} is {} the restricted list of {}",
                self.symbol(*instrument),
                if *restricted { "on" } else { "off" },
                if firm.0 == 0 { "every firm".to_owned() } else { self.mpid(*firm) }
            ),
            Control::Locate { id, firm, instrument, qty } => format!(
                "{}: {} of {} located, locate {id}",
                self.mpid(*firm),
                self.quantity(*instrument, i128::from(*qty)),
                self.symbol(*instrument)
            ),
            Control::Kill { scope, on } => {
                let what = match *scope {
                    KillScope::Port(port) => format!("port {}", self.username(port)),
                    KillScope::Firm(firm) => format!("firm {}", self.mpid(firm)),
                    KillScope::Instrument(instrument) => format!("instrument {}", self.symbol(instrument)),
                    KillScope::Venue => "the venue".to_owned(),
                };
                format!("{what} {}", if *on { "is killed" } else { "may go on" })
            }
            Control::SetFees { instrument, tier, fees } => {
                let decimals = self.measures(*instrument).map_or(0, |m| m.quote_decimals);
                format!("{}, tier {tier}: {}", self.symbol(*instrument), fees_in_words(fees, decimals))
            }
            Control::SetTier { tier, volume_min: 0 } => format!("tier {tier} cannot be reached"),
            Control::SetTier { tier, volume_min } => format!("tier {tier} from {volume_min} lots a day on"),
            Control::SetFirmTier { firm, tier } => format!("{} is in tier {tier}", self.mpid(*firm)),
            Control::CloseDay => "the day is closed".to_owned(),
            Control::Bust { match_number, reason } => {
                format!("trade {match_number} is undone ({})", BustReason(*reason))
            }
            Control::Delist { instrument } => format!("{} is delisted", self.symbol(*instrument)),
            Control::ChangeTick { instrument, .. } => {
                format!(
                    "{}: the tick is {}; its rules are plain",
                    self.symbol(*instrument),
                    self.price(*instrument, Price(1))
                )
            }
            Control::ChangeSymbol { instrument: _, symbol } => format!("the name is {symbol} now"),
            Control::SetDeclineLevels { levels } => {
                format!("decline levels {}", levels.map(|level| units(level.into(), 8)).join(", "))
            }
            Control::MarketWideHalt { level } => format!("every instrument is halted, level {level}"),
        }
    }

    /// What followed that an operator wants to know at once.
    fn consequence(&self, body: &EventBody) -> Option<String> {
        match body {
            EventBody::PhaseChanged { instrument, phase, .. } => {
                Some(format!("{} is {}", self.symbol(*instrument), PhaseWord(*phase)))
            }
            EventBody::Crossed(cross) if cross.qty > Qty::ZERO => Some(format!(
                "{} crossed {} at {}",
                self.symbol(cross.instrument),
                self.quantity(cross.instrument, cross.qty.0.into()),
                self.price(cross.instrument, cross.price)
            )),
            EventBody::Busted(bust) => {
                let instrument = self.0.instruments().find(|i| i.id == bust.instrument)?;
                let owed = [
                    (instrument.base, bust.buyer_owes, "buyer"),
                    (instrument.quote, bust.seller_owes, "seller"),
                ];
                let owed: Vec<String> = owed
                    .into_iter()
                    .filter(|(_, amount, _)| *amount > Amount::ZERO)
                    .map(|(asset, amount, who)| format!("; the {who} owes {}", self.amount(asset, amount)))
                    .collect();
                Some(format!(
                    "{} of {} at {}{}",
                    self.quantity(bust.instrument, bust.qty.0.into()),
                    instrument.symbol,
                    self.price(bust.instrument, bust.price),
                    owed.concat()
                ))
            }
            EventBody::FirmTier { firm, tier } => Some(format!("{} is in tier {tier}", self.mpid(*firm))),
            EventBody::Controlled(Control::Kill { scope: KillScope::Firm(firm), on: true }) => {
                Some(format!("{} is killed", self.mpid(*firm)))
            }
            _ => None,
        }
    }
}

/// An instrument's rules as its operator would set them.
#[must_use]
pub fn rules_in_words(rules: &InstrumentRules, measures: Option<&Measures>) -> String {
    let price = |price: Price| match (price.0, measures) {
        (0, _) => "none".to_owned(),
        (ticks, Some(measures)) => measures.price(ticks),
        (ticks, None) => format!("{ticks} ticks"),
    };
    let mut text = AlgorithmWord(rules.algorithm).to_string();
    if rules.top_order_max > Qty::ZERO {
        let top = i128::from(rules.top_order_max.0);
        text +=
            &format!(", top order {}", measures.map_or_else(|| format!("{top} lots"), |m| m.quantity(top)));
    }
    if rules.batch_ns > 0 {
        text += &format!(", batch {}", Span(rules.batch_ns));
    }
    text += &format!(
        ", reference {}, static {}, collar {}, band {}, limit state {}, volatility {}, short test {}",
        price(rules.reference),
        Share(rules.static_bps),
        Share(rules.collar_bps),
        Share(rules.band_bps),
        Span(rules.limit_state_ns),
        Span(rules.volatility_ns),
        Switch(rules.short_restricted)
    );
    text
}

/// A port's rules as its operator would set them, without its caps.
#[must_use]
pub fn port_in_words(rules: &PortRules) -> String {
    let rate = match rules.rate_per_second {
        0 => "off".to_owned(),
        rate => format!("{rate}/s, burst {}", rules.rate_burst),
    };
    format!(
        "rate {rate}, duplicates {}, slide {}, stp {}, cancel on disconnect {}",
        PerSpan(rules.duplicates_max, rules.duplicate_ns),
        Switch(rules.slides),
        StpWord(rules.stp),
        Switch(rules.cancels_on_disconnect)
    )
}

/// Fees as their operator would set them.
#[must_use]
pub fn fees_in_words(fees: &Fees, quote_decimals: u8) -> String {
    let minimum = units(fees.minimum.into(), quote_decimals);
    format!("maker {}, taker {}, minimum {minimum}", Rate(fees.maker_bps), Rate(fees.taker_bps))
}

/// Why an operator's command was refused, and what to do about it.
#[must_use]
pub fn refused(command: &Command, why: AdminRefusal) -> String {
    use AdminRefusal as R;
    let control = match command {
        Command::Control(control) => Some(control),
        _ => None,
    };
    let text = match (why, control) {
        (R::Id, _) => "the number is taken or out of range; choose another",
        (R::NameTaken, _) => "the name is taken; choose another (that of a delisted instrument stays taken)",
        (R::Unknown, Some(Control::Bust { .. })) => {
            "no trade of this day has this match number, or it is undone already; `inspect statement` lists them"
        }
        (R::Unknown, Some(_)) => {
            "what it names does not exist, or the instrument is delisted; see `inspect phases` and `inspect risk`"
        }
        (R::Unknown, None) => {
            "an asset, firm or account that it names does not exist, or is another firm's; see `inspect risk`"
        }
        (R::Range, Some(Control::SetRules { .. })) => {
            "a share is above 99.99%, the reference or top order does not fit, or a batch interval is below 1ms; correct it"
        }
        (R::Range, Some(Control::SetFees { .. })) => {
            "a rate is beyond 100%, or some maker's rate and some taker's would together be below 0; set the other one first"
        }
        (R::Range, Some(Control::SetPortRules { .. })) => {
            "stp `port` means nothing for a port; choose off, newest, oldest, both or decrement"
        }
        (R::Range, Some(Control::SetDeclineLevels { .. })) => "the levels must rise and be above 0",
        (R::Range, Some(Control::MarketWideHalt { .. })) => "the level is 1, 2 or 3",
        (R::Range, Some(Control::SetTier { .. } | Control::SetFirmTier { .. })) => {
            "there are tiers 0 to 3, and tier 0 has no volume"
        }
        (R::Range, _) => "a number is out of range; correct it",
        (R::Repeated, _) => {
            "this number was used before, so it was done already; give a new --id to do it again"
        }
        (R::Funds, Some(Control::Locate { .. })) => {
            "open and executed short sales use more than would be left; give back less"
        }
        (R::Funds, _) => "more than is available; cancel orders that hold the rest, or take less",
        (R::Day, Some(Control::ChangeTick { .. } | Control::ChangeSymbol { .. })) => {
            "a day is open; `ctl close-day` first"
        }
        (R::Day, Some(_)) => "no day is open; `ctl open-day` first",
        (R::Day, None) => "the date must be later than the last day's; give a later one",
        (R::Busy, _) => {
            "the instrument has open orders; see `inspect book`, and have them cancelled first (`ctl kill instrument`)"
        }
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::genesis::Genesis;
    use crate::recovery::engine_config;
    use ironbell_types::{Algorithm, Sequenced, Stp};

    const GENESIS: &str = r#"
        date = 20261121
        assets = [{ code = "USD", decimals = 4 }, { code = "XYZ", decimals = 0 }, { code = "BTC", decimals = 8 }]
        instruments = [
            { symbol = "XYZ", base = "XYZ", quote = "USD", tick = "0.01", maker_fee_bps = 1, taker_fee_bps = 3 },
            { symbol = "BTCUSD", base = "BTC", quote = "USD", tick = "0.5", lot = "0.0010", scaled = true },
        ]
        firms = [{ mpid = "ALFA" }, { mpid = "BETA" }]
        ports = [{ username = "alfa01", password = "secret", firm = "ALFA", account = 7 }]
        funds = [{ account = 7, asset = "USD", amount = "1000" }]
    "#;

    /// A venue, and its time.
    struct Venue(Engine, Nanos);

    impl Venue {
        fn new(genesis: &str) -> Self {
            let genesis: Genesis = toml::from_str(genesis).expect("it parses");
            let mut venue = Self(Engine::new(engine_config(1)), Nanos(1_795_251_600_000_000_000));
            for command in genesis.commands(venue.1, || [1; 16]).expect("commands") {
                venue.execute(&command);
            }
            venue
        }

        fn execute(&mut self, command: &Command) -> Told {
            let (seq, mut events) = (self.0.last_seq().next(), Vec::new());
            self.0.execute(&Sequenced { seq, time: self.1, command: *command }, &mut events);
            told(command, seq, &events, &self.0)
        }

        fn command(&self, line: &str) -> Result<Command, String> {
            command(&Ask::parse(line)?, &self.0, self.1)
        }

        fn control(&self, line: &str) -> Control {
            match self.command(line) {
                Ok(Command::Control(control)) => control,
                other => panic!("{line}: {other:?}"),
            }
        }

        fn ask(&mut self, line: &str) -> Told {
            let command = self.command(line).unwrap_or_else(|e| panic!("{line}: {e}"));
            self.execute(&command)
        }

        /// Asks for what is done, and returns what is said of it.
        fn done(&mut self, line: &str) -> String {
            match self.ask(line) {
                Told::Done { lines, .. } => lines.join("; "),
                other => panic!("{line}: {other:?}"),
            }
        }
    }

    #[test]
    fn an_ask_is_the_same_as_a_line_and_as_json() {
        for line in [
            "phase XYZ halted --reason T1",
            "phase all continuous",
            "rules XYZ --reference 150.25 --static 20% --collar 5% --band 10% --limit-state 15s --volatility 2m \
             --algorithm pro-rata --top-order 10 --batch 100ms --short-restricted on",
            "schedule XYZ 09:25 opening-auction",
            "port alfa01 --rate 1000 --burst 100 --duplicates 5/1s --slide --stp oldest --cancel-on-disconnect \
             --qty-cap 5000 --notional-cap 1000000",
            "port add BETA01 --firm BETA --account 8",
            "exposure ALFA USD --gross 1000.50 --net none",
            "credit 7 USD 1000",
            "position 7 XYZ --long 100 --short none",
            "entitle ALFA01 XYZ off",
            "restrict all XYZ on",
            "locate ALFA XYZ -100 --id 5",
            "kill venue on",
            "kill port ALFA01 off",
            "fees XYZ --tier 1 --maker -1bp --taker 0.03% --minimum 0.01",
            "tier 1 100000",
            "firm-tier ALFA 2",
            "close-day",
            "open-day 2026-11-23 --utc-offset -300",
            "bust 1234 --reason E",
            "delist XYZ",
            "tick XYZ 0.05",
            "symbol XYZ ZYX",
            "decline-levels 4000.12345678 3500 3000",
            "market-wide-halt 1",
            "instrument add ABC --base ABC --quote USD --tick 0.01 --lot 1 --maker-fee-bps 1",
            "asset add ABC --decimals 0",
            "firm add GAMM",
            "account add 9 --firm ALFA",
            "fund 7 USD -10.5",
        ] {
            let ask = Ask::parse(line).unwrap_or_else(|e| panic!("{line}: {e}"));
            let json = serde_json::to_string(&ask).expect("it is written");
            let back: Ask = serde_json::from_str(&json).unwrap_or_else(|e| panic!("{json}: {e}"));
            assert_eq!(back, ask, "{json}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said_in_one() {
        for (line, part) in [
            ("halt XYZ", "halt"),
            ("phase XYZ open", "opening-auction"),
            ("rules XYZ --static 20", "20% or 35bp"),
            ("port", "NAME"),
            ("kill everything on", "everything"),
            ("bust 12", "--reason"),
            ("fund 7 USD ten", "ten"),
        ] {
            let refusal = Ask::parse(line).expect_err(line);
            assert!(refusal.contains(part) && !refusal.contains('\n'), "{line}: {refusal}");
        }
    }

    #[test]
    fn names_and_decimals_become_numbers() {
        let venue = Venue::new(GENESIS);
        let (xyz, btc) = (InstrumentId(1), InstrumentId(2));
        let reason = *b"T1  ";
        assert_eq!(
            venue.control("phase XYZ halted --reason T1"),
            Control::SetPhase { instrument: xyz, phase: Phase::Halted, reason }
        );
        let Control::SetPhase { instrument, .. } = venue.control("phase all paused") else {
            panic!("a phase")
        };
        assert_eq!(instrument, InstrumentId::NONE);
        let Control::SetRules { instrument, rules } =
            venue.control("rules BTCUSD --reference 50000.5 --top-order 0.25 --algorithm pro-rata")
        else {
            panic!("rules")
        };
        assert_eq!((instrument, rules.reference, rules.top_order_max), (btc, Price(100_001), Qty(250)));
        assert_eq!(rules.algorithm, Algorithm::ProRata);
        assert_eq!(
            venue.control("position 7 BTCUSD --long 1.5"),
            Control::SetPosition {
                account: AccountId(7),
                instrument: btc,
                long_max: Some(Qty(1_500)),
                short_max: None
            }
        );
        assert_eq!(
            venue.control("credit 7 USD 12.5"),
            Control::SetCredit {
                account: AccountId(7),
                asset: AssetId(1),
                credit_max: Some(Amount(125_000))
            }
        );
        assert_eq!(
            venue.control("decline-levels 3000 3000.5 3001"),
            Control::SetDeclineLevels { levels: [300_000_000_000, 300_050_000_000, 300_100_000_000] }
        );
        assert_eq!(
            venue.control("tick XYZ 0.05"),
            Control::ChangeTick { instrument: xyz, price_tick: 500, tick_value: 500 }
        );
        assert_eq!(
            venue.control("tick BTCUSD 1"),
            Control::ChangeTick { instrument: btc, price_tick: 1, tick_value: 10 }
        );
        let Ok(Command::OpenDay(day)) = venue.command("open-day 2026-11-23") else { panic!("a day") };
        assert_eq!((day.date, day.midnight.0 % 86_400_000_000_000), (20_261_123, 0));
        let Ok(Command::DefineInstrument(new)) =
            venue.command("instrument add BTC2 --base BTC --quote USD --tick 0.5 --lot 0.01 --scaled")
        else {
            panic!("an instrument")
        };
        assert_eq!((new.id, new.lot_units, new.tick_value), (InstrumentId(3), 1_000_000, 50));
        for (line, part) in [
            ("phase ABC halted", "inspect phases"),
            ("rules XYZ --reference 150.255", "0.01"),
            ("exposure GAMM USD", "no firm GAMM"),
            ("credit 8 USD 1", "no account 8"),
            ("credit 7 EUR 1", "no asset EUR"),
            ("fund 7 USD 0.00001", "decimal places"),
            ("locate ALFA BTCUSD 0.0005", "lots"),
            ("fees XYZ --tier 4", "--tier 4"),
            ("open-day 2026-02-30", "20260230"),
            ("schedule XYZ 10:00 none", "no entry at 10:00"),
            ("phase XYZ halted --reason LONGER", "four characters"),
        ] {
            let refusal = venue.command(line).expect_err(line);
            assert!(refusal.contains(part), "{line}: {refusal}");
        }
    }

    #[test]
    fn what_is_not_given_stays_as_it_is() {
        let mut venue = Venue::new(GENESIS);
        venue.done("rules XYZ --reference 150.25 --static 20%");
        let said = venue.done("rules XYZ --collar 5%");
        assert!(said.contains("reference 150.25, static 20%, collar 5%"), "{said}");
        venue.done("port ALFA01 --rate 100 --burst 10 --stp oldest");
        venue.done("port alfa01 --slide --qty-cap 500");
        let rules = venue.0.port_rules(PortId(1)).expect("a port");
        assert_eq!((rules.rate_per_second, rules.rate_burst, rules.stp), (100, 10, Stp::CancelOldest));
        assert_eq!((rules.slides, rules.limits.qty_max), (true, Qty(500)));
        assert_eq!(rules.limits.notional_max, Amount(10_000_000_000_000));
        venue.done("exposure ALFA USD --gross 1000");
        venue.done("exposure ALFA USD --net 500");
        let limits = venue.0.exposures();
        assert_eq!(
            (limits[0].gross_max, limits[0].net_max),
            (Some(Amount(10_000_000)), Some(Amount(5_000_000)))
        );
        venue.done("fees XYZ --maker -1bp");
        let fees = venue.0.fees(InstrumentId(1), 0).expect("a tier");
        assert_eq!((fees.maker_bps, fees.taker_bps), (-1, 3));
        venue.done("schedule XYZ 09:25 opening-auction");
        venue.done("schedule XYZ 09:30 continuous");
        venue.done("schedule XYZ 09:25 pre-open");
        let schedule: Vec<_> = venue.0.schedule(InstrumentId(1)).into_iter().flatten().collect();
        assert_eq!(schedule, [(33_900, Phase::PreOpen), (34_200, Phase::Continuous)]);
        venue.done("schedule XYZ 09:25 none");
        assert_eq!(venue.0.schedule(InstrumentId(1)).into_iter().flatten().count(), 1);
    }

    #[test]
    fn what_was_done_is_said_and_what_was_refused_with_what_to_do() {
        let mut venue = Venue::new(GENESIS);
        assert_eq!(venue.done("phase XYZ halted --reason T1"), "XYZ: halted; XYZ is halted");
        assert_eq!(venue.done("kill firm ALFA on"), "firm ALFA is killed; open orders are being cancelled");
        assert!(venue.done("fund 7 USD -10.5").starts_with("account 7: -10.5000 USD moved"));
        for (line, part) in [
            ("fund 7 USD -1000", "more than is available"),
            ("bust 99 --reason E", "match number"),
            ("rules XYZ --static 100%", "99.99%"),
            ("symbol XYZ BTCUSD", "name is taken"),
            ("symbol XYZ ABC", "close-day"),
            ("open-day 2026-11-20", "later"),
            ("market-wide-halt 4", "1, 2 or 3"),
        ] {
            let Told::Refused { seq, why } = venue.ask(line) else { panic!("{line} is done") };
            assert!(why.contains(part), "{line}: {why}");
            assert_eq!(seq, venue.0.last_seq().0);
        }
        venue.done("close-day");
        let Told::Refused { why, .. } = venue.ask("close-day") else { panic!("it is closed") };
        assert!(why.contains("open-day"), "{why}");
    }

    #[test]
    fn a_genesis_takes_the_same_words() {
        let ctl = "ctl = [\"rules XYZ --reference 150.25 --static 20%\", \"port ALFA01 --stp both\", \"schedule XYZ 09:30 continuous\"]\n";
        let venue = Venue::new(&format!("{ctl}{GENESIS}"));
        assert_eq!(venue.0.rules(InstrumentId(1)).map(|r| r.static_bps), Some(2_000));
        assert_eq!(venue.0.port_rules(PortId(1)).map(|r| r.stp), Some(Stp::CancelBoth));
        assert_ne!(venue.0.phase(InstrumentId(1)), None);
        for (line, part) in [
            ("rules ABC --static 20%", "no instrument ABC"),
            ("rules XYZ --static 20", "20%"),
            ("phase XYZ halted", "no day is open"),
        ] {
            let text = format!("ctl = [\"{line}\"]\n{GENESIS}");
            let genesis: Genesis = toml::from_str(&text).expect("it parses");
            let refusal = genesis.commands(Nanos(0), || [1; 16]).expect_err(line);
            assert!(refusal.contains(part) && refusal.contains(line), "{refusal}");
        }
    }
}
