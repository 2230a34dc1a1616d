//! What an order is charged: cumulative over its executions, so that rounding and the minimum count once.

use ironbell_types::{Fees, Instrument};

/// What a basis point is one of.
const BPS: i128 = 10_000;

/// Charged in all for a sum of notional × rate in basis points: rounded up, a rebate so towards nothing, and
/// at least the minimum once there is anything to pay. Never falls as the sum grows.
#[inline(always)]
pub(crate) fn due(sum: i128, minimum: u64) -> i128 {
    // Nearly always a sum is 64 bits wide, and one narrow division does it.
    let (whole, part) = match i64::try_from(sum) {
        Ok(sum) => (i128::from(sum / BPS as i64), sum % BPS as i64 > 0),
        Err(_) => (sum / BPS, sum % BPS > 0),
    };
    let rounded = whole + i128::from(part);
    if sum > 0 { rounded.max(i128::from(minimum)) } else { rounded }
}

/// Notional × rate, when it fits.
#[inline(always)]
fn checked(notional: i128, rate_bps: i16) -> Option<i128> {
    match i64::try_from(notional) {
        Ok(notional) => Some(i128::from(notional) * i128::from(rate_bps)),
        Err(_) => notional.checked_mul(i128::from(rate_bps)),
    }
}

/// A sum with one more execution in it; it stays at the ends of 128 bits, where it can only be a seller's.
#[inline(always)]
pub(crate) fn add(sum: i128, notional: i128, rate_bps: i16) -> i128 {
    let ends = if rate_bps < 0 { i128::MIN } else { i128::MAX };
    checked(notional, rate_bps).map_or(ends, |more| sum.saturating_add(more))
}

/// Adds one more execution to a sum of notional × rate, and returns what is then due for all of it.
#[inline(always)]
pub(crate) fn charge(sum: &mut i128, notional: i128, rate_bps: i16, minimum: u64) -> i128 {
    // Nearly always all of it is 64 bits wide.
    if let (Ok(before), Ok(notional)) = (i64::try_from(*sum), i64::try_from(notional))
        && let Some(more) = notional.checked_mul(i64::from(rate_bps))
        && let Some(after) = before.checked_add(more)
    {
        *sum = i128::from(after);
        let rounded = after / BPS as i64 + i64::from(after % BPS as i64 > 0);
        return if after > 0 { i128::from(rounded).max(i128::from(minimum)) } else { i128::from(rounded) };
    }
    charge_wide(sum, notional, rate_bps, minimum)
}

#[cold]
fn charge_wide(sum: &mut i128, notional: i128, rate_bps: i16, minimum: u64) -> i128 {
    *sum = add(*sum, notional, rate_bps);
    due(*sum, minimum)
}

/// The most that an order can still be charged when `notional` more of it trades; `None` when that does not fit.
#[inline(always)]
pub(crate) fn at_most(fees: &Fees, sum: i128, charged: i128, notional: i128) -> Option<i128> {
    let rate_bps = fees.maker_bps.max(fees.taker_bps).max(0);
    let sum = sum.checked_add(checked(notional, rate_bps)?)?;
    Some(due(sum, fees.minimum).checked_sub(charged)?.max(0))
}

/// What the instrument's definition gives every tier.
pub(crate) fn defined(instrument: &Instrument) -> Fees {
    // A definition's rates are at most 10,000.
    Fees {
        maker_bps: instrument.maker_fee_bps as i16,
        taker_bps: instrument.taker_fee_bps as i16,
        minimum: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;

    #[test]
    fn a_charge_is_rounded_up_a_rebate_towards_nothing() {
        let cases =
            [(0, 0), (1, 1), (10_000, 1), (10_001, 2), (-1, 0), (-9_999, 0), (-10_000, -1), (-20_001, -2)];
        for (sum, charge) in cases {
            assert_eq!(due(sum, 0), charge, "{sum}");
            // Beyond 64 bits the other division decides.
            let far = (1i128 << 70) * BPS * sum.signum();
            assert_eq!(due(far + sum, 0), charge + far / BPS, "{sum} far out");
        }
        assert_eq!((due(1, 7), due(80_000, 7), due(0, 7), due(-30_000, 7)), (7, 8, 0, -3));
    }

    /// The narrow way charges what the wide one does.
    #[test]
    fn a_charge_is_the_same_however_wide_it_is() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let (mut sum, mut twin) = (0, 0);
            for step in 0..100 {
                let notional = i128::from(rng.next()) << rng.below(60) >> rng.below(64);
                let rate_bps = rng.below(20_001) as i16 - 10_000;
                let minimum = rng.below(2) * rng.below(1 << 40);
                let due_now = charge(&mut sum, notional, rate_bps, minimum);
                assert_eq!(
                    due_now,
                    charge_wide(&mut twin, notional, rate_bps, minimum),
                    "seed {seed} step {step}"
                );
                assert_eq!(sum, twin, "seed {seed} step {step}");
                if rng.below(10) == 0 {
                    sum = sum.saturating_neg() >> rng.below(90);
                    twin = sum;
                }
            }
        }
    }

    /// What holds rest on: whatever order executions come in, and at whatever price below the worth price,
    /// what is charged next never exceeds what was said to be the most.
    #[test]
    fn no_charge_exceeds_what_was_held_for_it() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let maker_bps = rng.below(60) as i16 - 30;
            let taker_bps = rng.below(60) as i16 - maker_bps.min(0);
            let fees = Fees { maker_bps, taker_bps, minimum: rng.below(3) * rng.below(400) };
            let (mut sum, mut charged, mut left) = (0, 0, 1 + i128::from(rng.below(100_000)));
            while left > 0 {
                let most = at_most(&fees, sum, charged, left).unwrap();
                let worth = 1 + i128::from(rng.below(left as u64));
                let traded = i128::from(rng.below(worth as u64 + 1));
                sum = add(sum, traded, if rng.below(2) == 0 { maker_bps } else { taker_bps });
                let charge = due(sum, fees.minimum) - charged;
                assert!(charge <= most, "seed {seed}: {charge} above {most}");
                charged += charge;
                left -= worth;
                let next = at_most(&fees, sum, charged, left).unwrap();
                assert!(next <= most - charge.max(0) || charge <= 0, "seed {seed}");
            }
        }
    }
}
