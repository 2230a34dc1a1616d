//! The genesis: assets, instruments, firms, ports and first funds, as journaled commands.
//!
//! A genesis is nothing but the first frames of the journal. People write names and decimals here; the
//! commands carry numbers and integers.

use std::collections::BTreeMap;

use clap::Args;
use ironbell_core::Engine;
use ironbell_gateway::{PASSWORD_MEMORY_KIB, hash_password_in};
use ironbell_types::{
    Account, AccountId, Amount, Asset, AssetId, Command, Firm, FirmId, Funding, Instrument, InstrumentId,
    Mpid, Nanos, OpenDay, Port, PortId, PortLimits, Qty, Scale, Sequenced, Symbol, Username,
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::operator::{self, Ask};
use crate::recovery::engine_config;
use crate::words::smallest_units;

/// `[genesis]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Genesis {
    /// Trading date as yyyymmdd; 0 takes today's.
    pub date: u32,
    /// Minutes that local time is ahead of UTC (negative: behind): wire timestamps count from local midnight.
    pub utc_offset_minutes: i32,
    /// `[[genesis.assets]]`.
    pub assets: Vec<AssetText>,
    /// `[[genesis.instruments]]`.
    pub instruments: Vec<InstrumentText>,
    /// `[[genesis.firms]]`.
    pub firms: Vec<FirmText>,
    /// KiB of memory that the hash of a port's password takes (Argon2id). Less than the default, which 0 is, makes passwords
    /// easy to guess for whoever has the journal: for trials in which thousands log in.
    pub password_memory_kib: u32,
    /// `[[genesis.ports]]`: each with an account of its own, or sharing a named one.
    pub ports: Vec<PortText>,
    /// `[[genesis.funds]]`.
    pub funds: Vec<FundText>,
    /// What else holds from the first day on: rules, schedules, fees, limits, each in the words of `ironbell
    /// ctl`, such as `rules IRON --reference 150.25 --static 20%`.
    pub ctl: Vec<String>,
}

/// An asset.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssetText {
    /// Up to eight characters.
    pub code: String,
    /// Decimal places of its smallest unit.
    pub decimals: u8,
}

/// An instrument.
#[derive(Clone, Debug, PartialEq, Args, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct InstrumentText {
    /// Up to eight characters.
    pub symbol: String,
    /// What is traded: an asset's code.
    #[arg(long)]
    pub base: String,
    /// What is paid: an asset's code.
    #[arg(long)]
    pub quote: String,
    /// The smallest step of a price, in the quote asset for one unit of the base asset.
    #[arg(long)]
    pub tick: Decimal,
    /// One lot, in the base asset.
    #[arg(long, default_value = "1")]
    #[serde(default = "one")]
    pub lot: Decimal,
    /// ITCH round lot size, in lots.
    #[arg(long, default_value_t = 100)]
    #[serde(default = "hundred")]
    pub round_lot: u32,
    /// Fee of the resting side, in basis points.
    #[arg(long, default_value_t = 0)]
    #[serde(default)]
    pub maker_fee_bps: u16,
    /// Fee of the aggressor, in basis points.
    #[arg(long, default_value_t = 0)]
    #[serde(default)]
    pub taker_fee_bps: u16,
    /// Wire prices are ticks and wire quantities lots.
    #[arg(long)]
    #[serde(default)]
    pub scaled: bool,
}

/// A firm.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirmText {
    /// Four characters.
    pub mpid: String,
}

/// A port and how it logs in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortText {
    /// Up to six characters.
    pub username: String,
    /// Up to ten characters; only its Argon2id hash enters the journal.
    pub password: String,
    /// The firm's MPID.
    pub firm: String,
    /// The account's number.
    pub account: u32,
    /// Largest quantity of one order, in lots.
    #[serde(default = "million")]
    pub qty_max: u64,
    /// Largest notional of one order, in units of the quote asset.
    #[serde(default = "billion")]
    pub notional_max: Decimal,
}

/// First funds of an account.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FundText {
    /// The account's number.
    pub account: u32,
    /// The asset's code.
    pub asset: String,
    /// How much, in units of the asset.
    pub amount: Decimal,
}

fn one() -> Decimal {
    Decimal::ONE
}
fn hundred() -> u32 {
    100
}
fn million() -> u64 {
    1_000_000
}
fn billion() -> Decimal {
    Decimal::from(1_000_000_000)
}

/// Assets by their code, with their decimal places.
pub type Assets<'a> = BTreeMap<&'a str, (AssetId, u8)>;

fn named(assets: &Assets<'_>, code: &str, whose: &str) -> Result<(AssetId, u8), String> {
    assets.get(code).copied().ok_or_else(|| format!("{whose} names asset {code:?}, and there is none such"))
}

struct Names<'a> {
    assets: Assets<'a>,
    firms: BTreeMap<&'a str, FirmId>,
}

fn positive_units(value: Decimal, decimals: u8, what: &str) -> Result<u64, String> {
    let units = smallest_units(value, decimals, what)?;
    u64::try_from(units)
        .ok()
        .filter(|u| *u > 0)
        .ok_or_else(|| format!("{what} = {value} is not above 0 or too large"))
}

impl Genesis {
    /// The commands, in the order they are journaled, ending with the opening of the day. `today` is
    /// used when the genesis names no date; `salt` gives each port's password a salt of its own.
    ///
    /// # Errors
    /// A line saying what is wrong with which entry.
    pub fn commands(&self, now: Nanos, mut salt: impl FnMut() -> [u8; 16]) -> Result<Vec<Command>, String> {
        let mut commands = Vec::new();
        let mut names = Names { assets: BTreeMap::new(), firms: BTreeMap::new() };
        for (n, asset) in self.assets.iter().enumerate() {
            let id = AssetId(n as u32 + 1);
            names.assets.insert(&asset.code, (id, asset.decimals));
            commands.push(Command::DefineAsset(self::asset(id, &asset.code, asset.decimals)?));
        }
        for (n, text) in self.instruments.iter().enumerate() {
            commands.push(Command::DefineInstrument(instrument(
                InstrumentId(n as u32 + 1),
                text,
                &names.assets,
            )?));
        }
        for (n, text) in self.firms.iter().enumerate() {
            let id = FirmId(n as u32 + 1);
            names.firms.insert(&text.mpid, id);
            commands.push(Command::DefineFirm(firm(id, &text.mpid)?));
        }
        self.port_commands(&names, &mut salt, &mut commands)?;
        for (n, text) in self.funds.iter().enumerate() {
            let what = format!("funds of account {}", text.account);
            let (asset, decimals) = named(&names.assets, &text.asset, &what)?;
            let amount = Amount(smallest_units(text.amount, decimals, &what)?);
            commands.push(Command::Fund(Funding {
                id: n as u64 + 1,
                account: AccountId(text.account),
                asset,
                amount,
            }));
        }
        self.ctl_commands(now, &mut commands)?;
        commands.push(Command::OpenDay(open_day(self.date, self.utc_offset_minutes, now)?));
        Ok(commands)
    }

    /// What `ctl` asks for, each in the state that the commands before it make.
    fn ctl_commands(&self, now: Nanos, commands: &mut Vec<Command>) -> Result<(), String> {
        if self.ctl.is_empty() {
            return Ok(());
        }
        let mut engine = Engine::new(engine_config(0));
        let mut events = Vec::new();
        let mut execute = |engine: &mut Engine, command: &Command| {
            events.clear();
            engine.execute(
                &Sequenced { seq: engine.last_seq().next(), time: now, command: *command },
                &mut events,
            );
            operator::told(command, engine.last_seq(), &events, engine)
        };
        for command in commands.iter() {
            execute(&mut engine, command);
        }
        for (n, line) in self.ctl.iter().enumerate() {
            let fault = |why: String| format!("ctl = {line:?}: {why}");
            // Numbers that are made of the present time must differ.
            let time = Nanos(now.0 + n as u64);
            let command =
                Ask::parse(line).and_then(|ask| operator::command(&ask, &engine, time)).map_err(fault)?;
            if let operator::Told::Refused { why, .. } = execute(&mut engine, &command) {
                return Err(fault(why));
            }
            commands.push(command);
        }
        Ok(())
    }

    fn port_commands(
        &self,
        names: &Names<'_>,
        salt: &mut impl FnMut() -> [u8; 16],
        commands: &mut Vec<Command>,
    ) -> Result<(), String> {
        let mut accounts = BTreeMap::new();
        let memory_kib = match self.password_memory_kib {
            0 => PASSWORD_MEMORY_KIB,
            kib @ 8..=1_048_576 => kib,
            kib => {
                return Err(format!(
                    "password_memory_kib = {kib} is not within 8 to 1048576; 0 is the usual"
                ));
            }
        };
        let notional_decimals = self
            .instruments
            .iter()
            .filter_map(|i| names.assets.get(i.quote.as_str()))
            .map(|(_, decimals)| *decimals)
            .max()
            .unwrap_or(0);
        for (n, text) in self.ports.iter().enumerate() {
            let what = format!("port {}", text.username);
            let firm = *names
                .firms
                .get(text.firm.as_str())
                .ok_or_else(|| format!("{what} names firm {:?}, which genesis.firms lacks", text.firm))?;
            let account = AccountId(text.account);
            match accounts.insert(account, firm) {
                None => commands.push(Command::DefineAccount(Account { id: account, firm })),
                Some(owner) if owner == firm => {}
                Some(_) => return Err(format!("{what}: account {account} is another firm's")),
            }
            let username =
                Username::new(&text.username.to_ascii_uppercase()).filter(|_| !text.username.is_empty());
            let username =
                username.ok_or_else(|| format!("{what}: the username is not 1 to 6 characters"))?;
            if text.password.is_empty() || text.password.len() > 10 || !text.password.is_ascii() {
                return Err(format!("{what}: the password is not 1 to 10 ASCII characters"));
            }
            let notional_max =
                smallest_units(text.notional_max, notional_decimals, &format!("{what}: notional_max"))?;
            commands.push(Command::DefinePort(Port {
                id: PortId(n as u32 + 1),
                username,
                firm,
                account,
                limits: PortLimits { qty_max: Qty(text.qty_max), notional_max: Amount(notional_max) },
                credential: hash_password_in(memory_kib, text.password.as_bytes(), salt()),
            }));
        }
        Ok(())
    }
}

/// The opening of the day `date` (yyyymmdd; 0 is today), whose local time is so many minutes ahead of UTC.
///
/// # Errors
/// When there is no such date.
pub fn open_day(date: u32, utc_offset_minutes: i32, now: Nanos) -> Result<OpenDay, String> {
    const DAY: i64 = 86_400;
    if date != 0 && yyyymmdd(days_of(date)) != date {
        return Err(format!("date = {date} is no date written yyyymmdd"));
    }
    let offset = i64::from(utc_offset_minutes) * 60;
    let today = (now.0 / 1_000_000_000) as i64 + offset;
    let date = if date == 0 { yyyymmdd(today.div_euclid(DAY)) } else { date };
    let midnight = days_of(date) * DAY - offset;
    Ok(OpenDay { date, midnight: Nanos(midnight.max(0) as u64 * 1_000_000_000) })
}

/// How many minutes local time was ahead of UTC on that day.
#[must_use]
pub fn utc_offset_minutes(day: &OpenDay) -> i32 {
    let minutes = (day.midnight.0 / 60_000_000_000) as i64;
    (days_of(day.date) * 1_440 - minutes) as i32
}

/// An asset from its text.
///
/// # Errors
/// When the code or the decimals do not fit.
pub fn asset(id: AssetId, text: &str, decimals: u8) -> Result<Asset, String> {
    let code = Symbol::new(text).filter(|_| !text.is_empty());
    let code = code.ok_or_else(|| format!("asset code {text:?} is not 1 to 8 characters"))?;
    if decimals > 18 {
        return Err(format!("asset {text} has {decimals} decimals, more than 18"));
    }
    Ok(Asset { id, code, decimals })
}

/// A firm from its text.
///
/// # Errors
/// When the MPID does not fit.
pub fn firm(id: FirmId, text: &str) -> Result<Firm, String> {
    let mpid = Mpid::new(text).filter(|_| !text.is_empty());
    let mpid = mpid.ok_or_else(|| format!("firm mpid {text:?} is not 1 to 4 characters"))?;
    Ok(Firm { id, mpid })
}

/// How prices of an instrument with this tick and lot stand on the wire, and what a lot costs at one tick, in
/// smallest units of the quote asset.
///
/// # Errors
/// When they are no whole numbers of what they are counted in.
pub fn scale(
    tick: Decimal,
    lot: Decimal,
    scaled: bool,
    quote_decimals: u8,
    what: &str,
) -> Result<(Scale, u64), String> {
    // One tick on one lot costs tick × lot units of the quote asset.
    let tick_value = tick.checked_mul(lot).ok_or_else(|| format!("{what}: tick × lot is too large"))?;
    let tick_value = positive_units(tick_value, quote_decimals, &format!("{what}: tick × lot"))?;
    if scaled {
        return Ok((Scale::Scaled, tick_value));
    }
    if lot != Decimal::ONE {
        return Err(format!(
            "{what}: lot = {lot} needs scaled = true, since OUCH quantities are whole shares"
        ));
    }
    let price_tick = positive_units(tick, 4, &format!("{what}: tick"))?;
    let price_tick = u32::try_from(price_tick).map_err(|_| format!("{what}: tick = {tick} is too large"))?;
    Ok((Scale::EquityExact { price_tick }, tick_value))
}

/// An instrument from its text.
///
/// # Errors
/// A line saying what is wrong with it.
pub fn instrument(
    id: InstrumentId,
    text: &InstrumentText,
    assets: &Assets<'_>,
) -> Result<Instrument, String> {
    let what = format!("instrument {}", text.symbol);
    let symbol = Symbol::new(&text.symbol).filter(|_| !text.symbol.is_empty());
    let symbol = symbol.ok_or_else(|| format!("{what}: the symbol is not 1 to 8 characters"))?;
    let (base, base_decimals) = named(assets, &text.base, &what)?;
    let (quote, quote_decimals) = named(assets, &text.quote, &what)?;
    let lot_units = positive_units(text.lot, base_decimals, &format!("{what}: lot"))?;
    let (scale, tick_value) = scale(text.tick, text.lot, text.scaled, quote_decimals, &what)?;
    Ok(Instrument {
        id,
        symbol,
        base,
        quote,
        scale,
        tick_value,
        lot_units,
        round_lot: text.round_lot,
        maker_fee_bps: text.maker_fee_bps,
        taker_fee_bps: text.taker_fee_bps,
    })
}

/// Days since 1970-01-01 of a yyyymmdd date (proleptic Gregorian; years count from March, so that the
/// leap day comes last).
pub(crate) fn days_of(date: u32) -> i64 {
    let (year, month, day) = (i64::from(date / 10_000), i64::from(date / 100 % 100), i64::from(date % 100));
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

/// The yyyymmdd date of a day count since 1970-01-01: the inverse of [`days_of`].
pub(crate) fn yyyymmdd(days: i64) -> u32 {
    // Start from a year at most one too late and step back; dates here are within a few centuries.
    let mut year = 1970 + days.div_euclid(365) + 1;
    while days_of(year as u32 * 10_000 + 101) > days {
        year -= 1;
    }
    let months = (1..=12).rev().map(|month| year as u32 * 10_000 + month * 100 + 1);
    let first = months
        .into_iter()
        .find(|first| days_of(*first) <= days)
        .expect("the year begins on or before the day");
    first + (days - days_of(first)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_go_both_ways() {
        assert_eq!(days_of(19_700_101), 0);
        assert_eq!(days_of(20_000_301), 11_017);
        assert_eq!(yyyymmdd(20_778), 20_261_121);
        for day in 0..80_000 {
            assert_eq!(days_of(yyyymmdd(day)), day);
        }
    }

    /// The example that people start from.
    #[test]
    fn the_example_is_a_genesis() {
        let config: crate::config::Config = toml::from_str(include_str!("../node.toml")).expect("it parses");
        let commands = config.genesis.commands(Nanos(0), || [1; 16]).expect("commands");
        let controls = commands.iter().filter(|command| matches!(command, Command::Control(_)));
        assert_eq!(controls.count(), config.genesis.ctl.len());
    }

    #[test]
    fn a_genesis_becomes_commands_and_its_faults_are_named() {
        let text = r#"
            date = 20261121
            utc_offset_minutes = -300
            assets = [{ code = "USD", decimals = 4 }, { code = "AAPL", decimals = 0 }, { code = "BTC", decimals = 8 }]
            instruments = [
                { symbol = "AAPL", base = "AAPL", quote = "USD", tick = "0.01", maker_fee_bps = 1, taker_fee_bps = 3 },
                { symbol = "BTCUSD", base = "BTC", quote = "USD", tick = "0.5", lot = "0.0010", scaled = true },
            ]
            firms = [{ mpid = "ALFA" }]
            ports = [{ username = "alfa01", password = "secret", firm = "ALFA", account = 7 }]
            funds = [{ account = 7, asset = "USD", amount = "1000000.00" }]
        "#;
        let genesis: Genesis = toml::from_str(text).expect("it parses");
        let commands = genesis.commands(Nanos(0), || [1; 16]).expect("commands");
        let Command::DefineInstrument(aapl) = commands[3] else { panic!("{:?}", commands[3]) };
        assert_eq!(
            (aapl.scale, aapl.tick_value, aapl.lot_units),
            (Scale::EquityExact { price_tick: 100 }, 100, 1)
        );
        let Command::DefineInstrument(btc) = commands[4] else { panic!("{:?}", commands[4]) };
        assert_eq!((btc.scale, btc.tick_value, btc.lot_units), (Scale::Scaled, 5, 100_000));
        let Some(Command::OpenDay(day)) = commands.last() else { panic!("{commands:?}") };
        assert_eq!((day.date, day.midnight.0), (20_261_121, (20_778 * 86_400 + 5 * 3_600) * 1_000_000_000));
        assert!(!format!("{commands:?}").to_lowercase().contains("secret"));

        for (from, to, part) in [
            ("base = \"BTC\"", "base = \"XYZ\"", "XYZ"),
            ("date = 20261121", "password_memory_kib = 7", "password_memory_kib = 7"),
            ("tick = \"0.01\"", "tick = \"0.00001\"", "tick"),
            ("amount = \"1000000.00\"", "amount = \"0.00001\"", "account 7"),
            ("firm = \"ALFA\"", "firm = \"BETA\"", "BETA"),
            ("date = 20261121", "date = 20260230", "20260230"),
            ("lot = \"0.0010\", scaled = true", "lot = \"0.0010\"", "scaled"),
        ] {
            let broken: Genesis = toml::from_str(&text.replace(from, to)).expect("it parses");
            let error = broken.commands(Nanos(0), || [1; 16]).expect_err(to);
            assert!(error.contains(part), "{error}");
        }
    }
}
