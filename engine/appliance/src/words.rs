//! What operators write and read: prices, amounts, percentages, spans of time, phases. The same on the
//! command line, in the genesis and in answers; numbers become integers exactly or not at all.
//!
//! This is the edge where `rust_decimal` stands.

use std::fmt;
use std::str::FromStr;

use ironbell_types::{Algorithm, Instrument, Phase, Stp};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::{Deserialize, Serialize};

/// As JSON a word is what a person would write.
macro_rules! as_text {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(word: $name) -> Self {
                word.to_string()
            }
        }
    };
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident($type:ty) { $($word:literal = $value:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub $type);

        impl FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self($value)),)*
                    _ => Err(format!("{text:?} is none of {}", [$($word),*].join(", "))),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let words = [$(($word, $value)),*];
                let (word, _) = words.iter().find(|(_, value)| *value == self.0).expect("every value has a word");
                f.pad(word)
            }
        }

        as_text!($name);
    };
}

words! {
    /// What an instrument does.
    PhaseWord(Phase) {
        "closed" = Phase::Closed,
        "pre-open" = Phase::PreOpen,
        "opening-auction" = Phase::OpeningAuction,
        "continuous" = Phase::Continuous,
        "volatility" = Phase::Volatility,
        "halted" = Phase::Halted,
        "paused" = Phase::Paused,
        "closing-auction" = Phase::ClosingAuction,
    }
}

/// What begins at a time of the schedule; `none` takes the entry off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct PhaseOrNone(pub Option<Phase>);

impl FromStr for PhaseOrNone {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self(None)),
            _ => PhaseWord::from_str(text)
                .map(|PhaseWord(phase)| Self(Some(phase)))
                .map_err(|refused| refused + ", none"),
        }
    }
}

impl fmt::Display for PhaseOrNone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(phase) => PhaseWord(phase).fmt(f),
            None => f.pad("none"),
        }
    }
}

as_text!(PhaseOrNone);

words! {
    /// How what comes in is shared out.
    AlgorithmWord(Algorithm) {
        "price-time" = Algorithm::PriceTime,
        "pro-rata" = Algorithm::ProRata,
        "batch" = Algorithm::Batch,
    }
}

words! {
    /// What happens when a port's order would trade with one of its own firm.
    StpWord(Stp) {
        "off" = Stp::Off,
        "newest" = Stp::CancelNewest,
        "oldest" = Stp::CancelOldest,
        "both" = Stp::CancelBoth,
        "decrement" = Stp::Decrement,
        "port" = Stp::Port,
    }
}

words! {
    /// A switch.
    Switch(bool) {
        "on" = true,
        "off" = false,
    }
}

words! {
    /// Why a trade is undone.
    BustReason(u8) {
        "erroneous" = b'E',
        "consent" = b'C',
        "supervisory" = b'S',
        "external" = b'X',
        "E" = b'E',
        "C" = b'C',
        "S" = b'S',
        "X" = b'X',
    }
}

/// A part of something in whole basis points, without sign: `20%`, `0.25%`, `35bp`, `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Share(pub u16);

/// A rate in whole basis points; negative is a rebate: `3bp`, `-1bp`, `0.03%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate(pub i16);

fn basis_points(text: &str) -> Result<i64, String> {
    let units = [("%", 100), ("bp", 1)];
    let found = units.iter().find_map(|(unit, bps)| Some((text.strip_suffix(unit)?, Decimal::from(*bps))));
    let (number, bps) = found.ok_or_else(|| format!("{text:?} needs a unit: 20% or 35bp"))?;
    let number: Decimal = number.parse().map_err(|_| format!("{text:?} is no number before its unit"))?;
    let points = number.checked_mul(bps).filter(|points| points.fract().is_zero());
    points
        .and_then(|points| points.to_i64())
        .ok_or_else(|| format!("{text} is no whole number of basis points (0.01%)"))
}

fn percent(points: i64) -> Decimal {
    Decimal::new(points, 2).normalize()
}

impl FromStr for Share {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(0));
        }
        let points = basis_points(text)?;
        u16::try_from(points).map(Self).map_err(|_| format!("{text} is not within 0% and 655.35%"))
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { f.pad("off") } else { f.pad(&format!("{}%", percent(self.0.into()))) }
    }
}

as_text!(Share);

impl FromStr for Rate {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let points = basis_points(text)?;
        i16::try_from(points).map(Self).map_err(|_| format!("{text} is not within -327.68% and 327.67%"))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}bp", self.0))
    }
}

as_text!(Rate);

/// A span of time in nanoseconds: `15s`, `2m`, `1h`, `500ms`, `250us`, `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub u64);

/// `s` stands after all others that end in it, so that theirs is not taken for it.
const UNITS: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
    ("s", 1_000_000_000),
];

impl FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(0));
        }
        let wrong = || format!("{text:?} is no span of time: write 15s, 2m, 1h, 500ms or off");
        let (number, unit) =
            UNITS.iter().find_map(|(name, ns)| Some((text.strip_suffix(name)?, *ns))).ok_or_else(wrong)?;
        let number: Decimal = number.parse().map_err(|_| wrong())?;
        let nanos = number.checked_mul(Decimal::from(unit)).filter(|nanos| nanos.fract().is_zero());
        nanos.and_then(|nanos| nanos.to_u64()).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.pad("off");
        }
        let mut units = UNITS;
        units.sort_by_key(|(_, ns)| std::cmp::Reverse(*ns));
        let (name, ns) = units.iter().find(|(_, ns)| self.0.is_multiple_of(*ns)).expect("1 ns is a unit");
        f.pad(&format!("{}{name}", self.0 / ns))
    }
}

as_text!(Span);

/// So many of something within a span: `5/1s`, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct PerSpan(pub u32, pub u64);

impl FromStr for PerSpan {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self(0, 0));
        }
        let wrong = || format!("{text:?} is not so many within a span: write 5/1s or off");
        let (count, span) = text.split_once('/').ok_or_else(wrong)?;
        let count: u32 = count.parse().map_err(|_| wrong())?;
        let Span(nanos) = span.parse()?;
        if count == 0 || nanos == 0 { Err(wrong()) } else { Ok(Self(count, nanos)) }
    }
}

impl fmt::Display for PerSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { f.pad("off") } else { f.pad(&format!("{}/{}", self.0, Span(self.1))) }
    }
}

as_text!(PerSpan);

/// A time of the trading day, in seconds after its midnight: `09:25`, `16:00:30`; hours up to 47.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeOfDay(pub u32);

impl FromStr for TimeOfDay {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no time of the day: write 09:25 or 16:00:30 (hours up to 47)");
        let mut parts = text.split(':').map(|part| match part.len() {
            2 => part.parse::<u32>().map_err(|_| wrong()),
            _ => Err(wrong()),
        });
        let mut next = || parts.next().unwrap_or(Ok(0));
        let (hours, minutes, seconds) = (next()?, next()?, next()?);
        if !text.contains(':') || parts.next().is_some() || hours > 47 || minutes > 59 || seconds > 59 {
            return Err(wrong());
        }
        Ok(Self(hours * 3_600 + minutes * 60 + seconds))
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hours, minutes, seconds) = (self.0 / 3_600, self.0 / 60 % 60, self.0 % 60);
        f.pad(&format!("{hours:02}:{minutes:02}:{seconds:02}"))
    }
}

as_text!(TimeOfDay);

/// A limit: a number, or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Limit(pub Option<Decimal>);

impl FromStr for Limit {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        text.parse()
            .map(|limit| Self(Some(limit)))
            .map_err(|_| format!("{text:?} is neither a number nor none"))
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.pad("none"),
            Some(limit) => f.pad(&limit.to_string()),
        }
    }
}

as_text!(Limit);

/// A calendar date: `2026-11-23` or `20261123`, kept as yyyymmdd. Whether there is such a day is not checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Date(pub u32);

impl FromStr for Date {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        let date = digits.parse().ok().filter(|_| digits.len() == 8);
        date.map(Self).ok_or_else(|| format!("{text:?} is no date: write 2026-11-23"))
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:04}-{:02}-{:02}", self.0 / 10_000, self.0 / 100 % 100, self.0 % 100))
    }
}

as_text!(Date);

/// `value` of an asset with `decimals` places, in smallest units.
///
/// # Errors
/// When it has more places than the asset, or does not fit.
pub fn smallest_units(value: Decimal, decimals: u8, what: &str) -> Result<i128, String> {
    let scaled = Decimal::from_i128_with_scale(10_i128.pow(u32::from(decimals)), 0)
        .checked_mul(value)
        .ok_or_else(|| format!("{what} = {value} is too large"))?;
    if !scaled.fract().is_zero() {
        return Err(format!("{what} = {value} has more than {decimals} decimal places"));
    }
    scaled.to_i128().ok_or_else(|| format!("{what} = {value} is too large"))
}

/// An amount in smallest units as a decimal of the asset; the plain integer when it is too wide for one.
#[must_use]
pub fn units(amount: i128, decimals: u8) -> String {
    Decimal::try_from_i128_with_scale(amount, u32::from(decimals))
        .map_or_else(|_| format!("{amount}e-{decimals}"), |decimal| decimal.to_string())
}

/// How an instrument's ticks and lots stand to units of its assets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measures {
    /// Smallest units of the quote asset that one lot costs at one tick.
    pub tick_value: u64,
    /// Smallest units of the base asset in one lot.
    pub lot_units: u64,
    /// Decimal places of the quote asset.
    pub quote_decimals: u8,
    /// Decimal places of the base asset.
    pub base_decimals: u8,
}

impl Measures {
    /// The measures of `instrument`, whose assets have these decimal places.
    #[must_use]
    pub fn of(instrument: &Instrument, base_decimals: u8, quote_decimals: u8) -> Self {
        let Instrument { tick_value, lot_units, .. } = *instrument;
        Self { tick_value, lot_units, quote_decimals, base_decimals }
    }

    /// One tick, in the quote asset for one unit of the base asset, as a fraction: numerator, denominator.
    fn tick(&self) -> (i128, i128) {
        let power = |decimals: u8| 10_i128.pow(u32::from(decimals));
        // At most 64 bits and 18 decimal places each, which 128 bits hold.
        let above = i128::from(self.tick_value) * power(self.base_decimals);
        let below = i128::from(self.lot_units) * power(self.quote_decimals);
        let common = gcd(above, below);
        (above / common, below / common)
    }

    /// A price in the quote asset for one unit of the base asset, in ticks.
    ///
    /// # Errors
    /// When it is no whole number of ticks, or does not fit.
    pub fn ticks(&self, price: Decimal, what: &str) -> Result<i64, String> {
        let (above, below) = self.tick();
        let price = price.normalize();
        let scale = 10_i128.pow(price.scale());
        // price ÷ tick = mantissa × below ÷ (10^scale × above)
        let ticks = price.mantissa().checked_mul(below).zip(scale.checked_mul(above));
        let (above, below) = ticks.ok_or_else(|| format!("{what} = {price} is too large"))?;
        if above % below != 0 {
            return Err(format!("{what} = {price} is no whole number of ticks of {}", self.price(1)));
        }
        i64::try_from(above / below).map_err(|_| format!("{what} = {price} is too large"))
    }

    /// A price in ticks, in the quote asset for one unit of the base asset.
    #[must_use]
    pub fn price(&self, ticks: i64) -> String {
        let (above, below) = self.tick();
        let exact = i128::from(ticks)
            .checked_mul(above)
            .and_then(|above| Decimal::try_from_i128_with_scale(above, 0).ok())
            .zip(Decimal::try_from_i128_with_scale(below, 0).ok())
            .and_then(|(above, below)| above.checked_div(below));
        exact.map_or_else(|| format!("{ticks} ticks"), |price| price.normalize().to_string())
    }

    /// A quantity in units of the base asset, in lots; negative when it is.
    ///
    /// # Errors
    /// When it is no whole number of lots, or does not fit.
    pub fn lots(&self, quantity: Decimal, what: &str) -> Result<i64, String> {
        let units = smallest_units(quantity, self.base_decimals, what)?;
        let lot = i128::from(self.lot_units);
        if units % lot != 0 {
            return Err(format!("{what} = {quantity} is no whole number of lots of {}", self.quantity(1)));
        }
        i64::try_from(units / lot).map_err(|_| format!("{what} = {quantity} is too large"))
    }

    /// A quantity in lots, in units of the base asset.
    #[must_use]
    pub fn quantity(&self, lots: i128) -> String {
        let units = lots.checked_mul(i128::from(self.lot_units));
        let exact = units
            .and_then(|units| Decimal::try_from_i128_with_scale(units, u32::from(self.base_decimals)).ok());
        exact.map_or_else(|| format!("{lots} lots"), |quantity| quantity.normalize().to_string())
    }
}

fn gcd(a: i128, b: i128) -> i128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        text.parse().expect("a decimal")
    }

    #[test]
    fn words_are_read_and_shown_alike() {
        fn both_ways<T: FromStr<Err = String> + fmt::Display>(texts: &[&str]) {
            for text in texts {
                let word: T = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
                assert_eq!(word.to_string(), *text);
            }
        }
        both_ways::<Share>(&["20%", "0.25%", "off"]);
        both_ways::<Rate>(&["3bp", "-1bp", "0bp"]);
        both_ways::<Span>(&["15s", "2m", "1h", "90s", "500ms", "250us", "1ns", "off"]);
        both_ways::<PerSpan>(&["5/1s", "off"]);
        both_ways::<TimeOfDay>(&["09:25:00", "16:00:30", "47:59:59"]);
        both_ways::<Limit>(&["none", "1000.50"]);
        both_ways::<Date>(&["2026-11-23"]);
        both_ways::<PhaseWord>(&["pre-open", "opening-auction", "continuous", "halted", "closed"]);
        both_ways::<StpWord>(&["off", "newest", "oldest", "both", "decrement"]);
        assert_eq!("35bp".parse(), Ok(Share(35)));
        assert_eq!("0.03%".parse(), Ok(Rate(3)));
        assert_eq!("1.5s".parse(), Ok(Span(1_500_000_000)));
        assert_eq!("09:25".parse(), Ok(TimeOfDay(33_900)));
        assert_eq!("E".parse(), Ok(BustReason(b'E')));
    }

    #[test]
    fn every_phase_has_a_word() {
        for phase in Phase::ALL {
            assert_eq!(PhaseWord(*phase).to_string().parse(), Ok(PhaseOrNone(Some(*phase))));
        }
        for algorithm in Algorithm::ALL {
            assert_eq!(AlgorithmWord(*algorithm).to_string().parse(), Ok(AlgorithmWord(*algorithm)));
        }
    }

    #[test]
    fn what_is_no_word_is_refused() {
        fn refused<T: FromStr<Err = String> + fmt::Debug>(texts: &[&str]) {
            for text in texts {
                let refusal = text.parse::<T>().expect_err(text);
                assert!(refusal.contains(text), "{refusal}");
            }
        }
        refused::<Share>(&["20", "-1%", "0.001%", "700%", "x%"]);
        refused::<Rate>(&["3", "0.5bp", "400%"]);
        refused::<Span>(&["15", "s", "-1s", "0.1ns", "1d"]);
        refused::<PerSpan>(&["5", "0/1s", "5/off", "-1/1s"]);
        refused::<TimeOfDay>(&["9:25", "0925", "48:00", "10:60", "10:00:60", "10:00:00:00"]);
        refused::<Limit>(&["unlimited", "1,000"]);
        refused::<Date>(&["tomorrow", "2026-1-1"]);
        refused::<PhaseWord>(&["open", "Halted"]);
    }

    #[test]
    fn prices_become_ticks_exactly_or_not_at_all() {
        let share = Measures { tick_value: 100, lot_units: 1, quote_decimals: 4, base_decimals: 0 };
        assert_eq!(share.ticks(decimal("150.25"), "x"), Ok(15_025));
        assert_eq!(share.price(15_025), "150.25");
        assert!(share.ticks(decimal("150.255"), "reference").expect_err("half a tick").contains("0.01"));
        // A tick of 0.5 for one BTC, a lot of 0.001 BTC: 5 smallest units of 0.0001 USD.
        let coin = Measures { tick_value: 5, lot_units: 100_000, quote_decimals: 4, base_decimals: 8 };
        assert_eq!(coin.ticks(decimal("50000.5"), "x"), Ok(100_001));
        assert_eq!(coin.price(100_001), "50000.5");
        assert_eq!(coin.lots(decimal("1.250"), "x"), Ok(1_250));
        assert_eq!(coin.quantity(-1_250), "-1.25");
        assert!(coin.lots(decimal("0.0005"), "quantity").expect_err("half a lot").contains("0.001"));
        let widest = Measures { tick_value: u64::MAX, lot_units: 1, quote_decimals: 18, base_decimals: 18 };
        assert!(widest.ticks(Decimal::MAX, "x").is_err());
        assert_eq!(widest.ticks(Decimal::from(u64::MAX), "x"), Ok(1));
    }

    #[test]
    fn decimals_become_smallest_units_exactly_or_not_at_all() {
        assert_eq!(smallest_units(decimal("12.3456"), 4, "x"), Ok(123_456));
        assert_eq!(smallest_units(decimal("-0.1"), 18, "x"), Ok(-100_000_000_000_000_000));
        assert!(smallest_units(decimal("0.00001"), 4, "x").is_err());
        assert_eq!(units(-1_234_567, 4), "-123.4567");
        assert_eq!(units(5, 0), "5");
        assert_eq!(units(i128::MAX, 2), format!("{}e-2", i128::MAX));
    }
}
