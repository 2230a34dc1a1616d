//! A place in the sequence, as people write it: a Seq or a time. And sequenced time as people read it.

use std::fmt;
use std::str::FromStr;

use ironbell_types::{Nanos, Seq};

use crate::genesis::{days_of, yyyymmdd};

const DAY_NS: u64 = 86_400_000_000_000;

/// A place in the sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// A command's own place: digits alone.
    Seq(Seq),
    /// A time in UTC: `2026-11-21`, `2026-11-21T09:30`, `2026-11-21T09:30:00.000000001Z`.
    Time(Nanos),
}

impl Moment {
    /// Whether the command at `seq`, whose time is `time`, is at this moment or later.
    #[must_use]
    pub fn reached(&self, seq: Seq, time: Nanos) -> bool {
        match *self {
            Self::Seq(at) => seq >= at,
            Self::Time(at) => time >= at,
        }
    }

    /// Whether it is later.
    #[must_use]
    pub fn passed(&self, seq: Seq, time: Nanos) -> bool {
        match *self {
            Self::Seq(at) => seq > at,
            Self::Time(at) => time > at,
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text
                .parse()
                .map(|seq| Self::Seq(Seq(seq)))
                .map_err(|_| format!("Seq {text} is too large"));
        }
        time(text).map(Self::Time).ok_or_else(|| {
            format!("{text:?} is neither a Seq nor a time: write 123456 or 2026-11-21T09:30:00Z (UTC)")
        })
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Seq(seq) => write!(f, "Seq {seq}"),
            Self::Time(time) => f.write_str(&time_text(time)),
        }
    }
}

/// A time in UTC; `None` when it is none, or not between 1970 and 2554.
fn time(text: &str) -> Option<Nanos> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, clock) = text.split_once(['T', ' ']).unwrap_or((text, "00:00"));
    let [year, month, day] = numbers::<3>(date, '-', &[4, 2, 2])?;
    let date = u32::try_from(year * 10_000 + month * 100 + day).ok()?;
    let days = u64::try_from(days_of(date)).ok().filter(|days| yyyymmdd(days.cast_signed()) == date)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let clock = if clock.len() == 5 { format!("{clock}:00") } else { clock.to_owned() };
    let [hours, minutes, seconds] = numbers::<3>(&clock, ':', &[2, 2, 2])?;
    if hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    let [nanos] = numbers::<1>(&format!("{fraction:0<9}"), ':', &[9])?;
    let of_day = (hours * 3_600 + minutes * 60 + seconds) * 1_000_000_000 + nanos;
    days.checked_mul(DAY_NS)?.checked_add(of_day).map(Nanos)
}

/// So many numbers of so many digits each.
fn numbers<const N: usize>(text: &str, separator: char, digits: &[usize; N]) -> Option<[u64; N]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; N];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part = parts.next()?;
        if part.len() != *digits || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

/// A sequenced time: UTC, to the nanosecond.
#[must_use]
pub fn time_text(Nanos(nanos): Nanos) -> String {
    let (date, of_day) = (yyyymmdd((nanos / DAY_NS).cast_signed()), nanos % DAY_NS);
    let (seconds, nanos) = (of_day / 1_000_000_000, of_day % 1_000_000_000);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{nanos:09}Z",
        date / 10_000,
        date / 100 % 100,
        date % 100,
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_and_times_come_back_as_they_were() {
        assert_eq!("123456".parse(), Ok(Moment::Seq(Seq(123_456))));
        for (text, whole) in [
            ("2026-11-21", "2026-11-21T00:00:00.000000000Z"),
            ("2026-11-21T09:30", "2026-11-21T09:30:00.000000000Z"),
            ("2026-11-21 09:30:07", "2026-11-21T09:30:07.000000000Z"),
            ("2024-02-29T23:59:59.5Z", "2024-02-29T23:59:59.500000000Z"),
            ("1970-01-01T00:00:00.000000001", "1970-01-01T00:00:00.000000001Z"),
        ] {
            let Ok(Moment::Time(time)) = text.parse() else { panic!("{text} is a time") };
            assert_eq!(time_text(time), whole);
            assert_eq!(whole.parse(), Ok(Moment::Time(time)));
        }
        assert_eq!(time_text(Nanos(u64::MAX)), "2554-07-21T23:34:33.709551615Z");
        for text in [
            "",
            "yesterday",
            "2026-11-31",
            "2025-02-29",
            "2026-1-1",
            "2026-11-21T24:00",
            "2026-11-21T09:30:60",
            "2026-11-21T09",
            "2026-11-21T09:30:00.1234567890",
            "1969-12-31",
            "2555-01-01",
            "99999999999999999999",
            "-5",
        ] {
            let refused = text.parse::<Moment>().expect_err(text);
            assert!(refused.contains(text), "{refused}");
        }
    }

    #[test]
    fn a_moment_is_reached_before_it_is_passed() {
        let (seq, time) = (Moment::Seq(Seq(5)), Moment::Time(Nanos(50)));
        assert!(!seq.reached(Seq(4), Nanos(99)) && seq.reached(Seq(5), Nanos(0)));
        assert!(!seq.passed(Seq(5), Nanos(99)) && seq.passed(Seq(6), Nanos(0)));
        assert!(!time.reached(Seq(9), Nanos(49)) && time.reached(Seq(1), Nanos(50)));
        assert!(!time.passed(Seq(9), Nanos(50)) && time.passed(Seq(1), Nanos(51)));
    }
}
