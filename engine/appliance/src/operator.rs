//! What an operator may ask of a venue, in words: names, decimals, spans of time. [`Ask`] is the command line of
//! `ironbell ctl`, a line of `genesis.ctl`, and what the admin socket is sent; [`command`] makes of it the one
//! command that is sequenced and journaled, and [`told`] says what became of it.
//!
//! Setting a part of the rules of an instrument or a port, or one of two limits, keeps the rest: the present
//! ones are read, changed and set as a whole.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use ironbell_types::Credential;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::genesis::InstrumentText;
use crate::words::{
    AlgorithmWord, BustReason, Date, Limit, PerSpan, PhaseOrNone, PhaseWord, Rate, Share, Span, StpWord,
    Switch, TimeOfDay,
};

mod command;
mod told;

#[cfg(test)]
mod tests;

pub use command::{command, measures};
pub(crate) use told::Said;
pub use told::{Told, fees_in_words, port_in_words, refused, rules_in_words, told};

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
    /// A head was signed: the signing process says so by itself.
    #[command(skip)]
    SignedHead {
        /// Leaves.
        size: u64,
        /// The root over them.
        root: [u8; 32],
        /// The epoch of the last of them.
        epoch: u64,
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
    /// Orders, replacements, quotes, mass cancels and dead-man settings in a second, in the long run; 0 is any number.
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
    Add(InstrumentText),
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
            // What follows the first blank line is how to use it.
            let text = e.to_string();
            let said: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
            said.join(" ").trim_start_matches("error: ").to_owned()
        })
    }
}
