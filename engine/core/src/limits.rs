//! Limits over many orders: positions and credit of accounts, exposure of firms, stock located for short
//! sales. A row exists only where an operator set a limit; it is counted anew from the open orders and the
//! day's trades when that happens, and kept up from then on.

use alloc::collections::BTreeMap;
use core::ops::{AddAssign, SubAssign};
use ironbell_types::{AccountId, AssetId, FirmId, InstrumentId, Side};

/// A sum of 128-bit numbers that cannot overflow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    high: i128,
    low: u128,
}

impl Sum {
    /// `None` when it does not fit.
    pub(crate) fn get(self) -> Option<i128> {
        let low = self.low.cast_signed();
        let sign = if low < 0 { -1 } else { 0 };
        (self.high == sign).then_some(low)
    }

    /// What it is, or the end of the range that it is beyond.
    pub(crate) fn saturated(self) -> i128 {
        self.get().unwrap_or(if self.high < 0 { i128::MIN } else { i128::MAX })
    }

    fn within(self, limit: Option<i128>) -> bool {
        limit.is_none_or(|limit| self.get().is_some_and(|sum| sum <= limit))
    }
}

impl AddAssign<i128> for Sum {
    fn add_assign(&mut self, more: i128) {
        let (low, carry) = self.low.overflowing_add(more.cast_unsigned());
        self.low = low;
        self.high += i128::from(carry) - i128::from(more < 0);
    }
}

impl SubAssign<i128> for Sum {
    fn sub_assign(&mut self, less: i128) {
        let (low, borrow) = self.low.overflowing_sub(less.cast_unsigned());
        self.low = low;
        self.high += i128::from(less < 0) - i128::from(borrow);
    }
}

/// Whose and where an order counts.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) firm: FirmId,
    pub(crate) account: AccountId,
    pub(crate) instrument: InstrumentId,
    pub(crate) quote: AssetId,
}

/// What an open order counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) buys: bool,
    pub(crate) leaves: u64,
    /// Worth price × leaves × tick value.
    pub(crate) worth: i128,
    pub(crate) hold: i128,
}

/// What an execution counts, of one of its orders.
#[derive(Clone, Copy)]
pub(crate) struct Done {
    pub(crate) buys: bool,
    pub(crate) qty: u64,
    /// At its order's worth price.
    pub(crate) worth: i128,
    /// What a buyer paid, with fees.
    pub(crate) paid: i128,
}

/// Of an account on an instrument, in lots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) long_max: Option<u64>,
    pub(crate) short_max: Option<u64>,
    /// Bought less sold this day.
    pub(crate) net: Sum,
    pub(crate) open_buys: Sum,
    pub(crate) open_sells: Sum,
}

/// Of an account in an asset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Credit {
    pub(crate) credit_max: Option<i128>,
    /// What open buys hold.
    pub(crate) held: Sum,
    /// What this day's buys paid.
    pub(crate) paid: Sum,
}

/// Of a firm in a quote asset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exposure {
    pub(crate) gross_max: Option<i128>,
    pub(crate) net_max: Option<i128>,
    /// Worth of this day's executed buys less that of its sells.
    pub(crate) net: Sum,
    pub(crate) open_buys: Sum,
    pub(crate) open_sells: Sum,
}

impl Position {
    fn covers(&self, buys: bool) -> bool {
        let (mut sum, limit) =
            if buys { (self.open_buys, self.long_max) } else { (self.open_sells, self.short_max) };
        sum.merge(if buys { self.net } else { self.net.negated() });
        sum.within(limit.map(i128::from))
    }

    fn shift(&mut self, open: &Open, sign: i128) {
        let sum = if open.buys { &mut self.open_buys } else { &mut self.open_sells };
        *sum += sign * i128::from(open.leaves);
    }
}

impl Credit {
    pub(crate) fn used(&self) -> Sum {
        let mut used = self.held;
        used.merge(self.paid);
        used
    }
}

impl Exposure {
    fn covers(&self, buys: bool) -> bool {
        let (mut gross, mut net) = (self.open_buys, if buys { self.open_buys } else { self.open_sells });
        gross.merge(self.open_sells);
        net.merge(if buys { self.net } else { self.net.negated() });
        gross.within(self.gross_max) && net.within(self.net_max)
    }

    fn shift(&mut self, open: &Open, sign: i128) {
        let sum = if open.buys { &mut self.open_buys } else { &mut self.open_sells };
        *sum += sign * open.worth;
    }
}

impl Sum {
    /// Adds another sum.
    pub(crate) fn merge(&mut self, other: Self) {
        let (low, carry) = self.low.overflowing_add(other.low);
        *self = Self { high: self.high + other.high + i128::from(carry), low };
    }

    pub(crate) fn negated(self) -> Self {
        let (low, borrow) = 0u128.overflowing_sub(self.low);
        Self { high: -self.high - i128::from(borrow), low }
    }
}

/// Every row.
#[derive(Clone, Default)]
pub(crate) struct Limits {
    pub(crate) positions: BTreeMap<(AccountId, InstrumentId), Position>,
    pub(crate) credits: BTreeMap<(AccountId, AssetId), Credit>,
    pub(crate) exposures: BTreeMap<(FirmId, AssetId), Exposure>,
}

impl Limits {
    /// Whether there is any.
    pub(crate) fn is_empty(&self) -> bool {
        self.positions.is_empty() && self.credits.is_empty() && self.exposures.is_empty()
    }

    /// Whether any concerns orders of that account of that firm.
    pub(crate) fn concern(&self, firm: FirmId, account: AccountId) -> bool {
        let assets = AssetId(0)..=AssetId(u32::MAX);
        let instruments = InstrumentId(0)..=InstrumentId(u32::MAX);
        let of_account = |asset| (account, asset);
        self.positions.range((account, *instruments.start())..=(account, *instruments.end())).next().is_some()
            || self.credits.range(of_account(*assets.start())..=of_account(*assets.end())).next().is_some()
            || self.exposures.range((firm, *assets.start())..=(firm, *assets.end())).next().is_some()
    }

    /// Whether all limits of a side hold, with `new` open instead of `freed`.
    pub(crate) fn cover(&self, place: Place, new: &Open, freed: &[Open]) -> bool {
        let shifted = |position: &Position| {
            let mut position = position.clone();
            freed.iter().for_each(|open| position.shift(open, -1));
            position.shift(new, 1);
            position.covers(new.buys)
        };
        let exposed = |exposure: &Exposure| {
            let mut exposure = exposure.clone();
            freed.iter().for_each(|open| exposure.shift(open, -1));
            exposure.shift(new, 1);
            exposure.covers(new.buys)
        };
        let credited = |credit: &Credit| {
            let mut used = credit.used();
            freed.iter().filter(|open| open.buys).for_each(|open| used -= open.hold);
            used += new.hold;
            !new.buys || used.within(credit.credit_max)
        };
        self.positions.get(&(place.account, place.instrument)).is_none_or(shifted)
            && self.credits.get(&(place.account, place.quote)).is_none_or(credited)
            && self.exposures.get(&(place.firm, place.quote)).is_none_or(exposed)
    }

    /// Counts an order that is open, or with −1 that no longer is.
    pub(crate) fn shift(&mut self, place: Place, open: &Open, sign: i128) {
        if let Some(position) = self.positions.get_mut(&(place.account, place.instrument)) {
            position.shift(open, sign);
        }
        if let Some(credit) = self.credits.get_mut(&(place.account, place.quote)).filter(|_| open.buys) {
            credit.held += sign * open.hold;
        }
        if let Some(exposure) = self.exposures.get_mut(&(place.firm, place.quote)) {
            exposure.shift(open, sign);
        }
    }

    /// Counts what executed.
    pub(crate) fn execute(&mut self, place: Place, done: &Done) {
        let sign = if done.buys { 1 } else { -1 };
        if let Some(position) = self.positions.get_mut(&(place.account, place.instrument)) {
            position.net += sign * i128::from(done.qty);
        }
        if let Some(credit) = self.credits.get_mut(&(place.account, place.quote)).filter(|_| done.buys) {
            credit.paid += done.paid;
        }
        if let Some(exposure) = self.exposures.get_mut(&(place.firm, place.quote)) {
            exposure.net += sign * done.worth;
        }
    }

    /// Nothing has executed yet on this day.
    pub(crate) fn new_day(&mut self) {
        self.positions.values_mut().for_each(|position| position.net = Sum::default());
        self.credits.values_mut().for_each(|credit| credit.paid = Sum::default());
        self.exposures.values_mut().for_each(|exposure| exposure.net = Sum::default());
    }

    /// The same limits with nothing counted.
    pub(crate) fn uncounted(&self) -> Self {
        let mut limits = self.clone();
        for position in limits.positions.values_mut() {
            *position = Position {
                long_max: position.long_max,
                short_max: position.short_max,
                ..Position::default()
            };
        }
        for credit in limits.credits.values_mut() {
            *credit = Credit { credit_max: credit.credit_max, ..Credit::default() };
        }
        for exposure in limits.exposures.values_mut() {
            let (gross_max, net_max) = (exposure.gross_max, exposure.net_max);
            *exposure = Exposure { gross_max, net_max, ..Exposure::default() };
        }
        limits
    }
}

/// Short sales of a firm on an instrument, in lots. They outlast days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shorts {
    /// Stock located; `None` before the first Locate, when short sales are not limited.
    pub(crate) located: Option<i128>,
    /// Leaves of open short sales.
    pub(crate) open: i128,
    pub(crate) executed: i128,
}

impl Shorts {
    pub(crate) fn used(&self) -> i128 {
        self.open + self.executed
    }
}

/// What firms sold short on instruments, and what they located for it.
pub(crate) type ShortBook = BTreeMap<(FirmId, InstrumentId), Shorts>;

/// Whether the order sells short.
pub(crate) fn is_short(side: Side) -> bool {
    matches!(side, Side::SellShort | Side::SellShortExempt)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;

    /// The twin keeps sums in halves of 64 bits that cannot overflow in so few steps.
    #[test]
    fn sums_beyond_128_bits_come_back_exactly() {
        for seed in 0..50 {
            let mut rng = Rng::new(seed);
            let (mut sum, mut halves, mut added) = (Sum::default(), (0i128, 0i128), [0i128; 64]);
            for step in 0..10_000 {
                let which = rng.below(64) as usize;
                let more =
                    (u128::from(rng.next()) << 64 | u128::from(rng.next())).cast_signed() >> rng.below(100);
                for (number, sign) in [(added[which], -1), (more, 1)] {
                    if sign > 0 {
                        sum += number;
                    } else {
                        sum -= number;
                    }
                    halves.0 += sign * (number >> 64);
                    halves.1 += sign * (number & i128::from(u64::MAX));
                }
                added[which] = more;
                let carry = halves.1 >> 64;
                let high = halves.0 + carry;
                let fits = i64::try_from(high).ok();
                let exact = fits.map(|high| i128::from(high) << 64 | (halves.1 & i128::from(u64::MAX)));
                assert_eq!(sum.get(), exact, "seed {seed} step {step}");
                let mut zero = sum.negated();
                zero.merge(sum);
                assert_eq!(zero, Sum::default(), "seed {seed} step {step}");
            }
            added.iter().for_each(|number| sum -= *number);
            assert_eq!(sum, Sum::default(), "seed {seed}");
        }
    }
}
