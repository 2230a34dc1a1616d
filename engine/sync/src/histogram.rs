//! A bounded histogram in shared memory, with HdrHistogram's bucket layout at 3 significant digits.
//!
//! Values are nanoseconds from 0 to 2^36 - 1 (68 s); larger ones count in the last slot. The layout is
//! HdrHistogram's (sub-buckets of 2,048, doubling): slot `i` of the first 2,048 holds the value `i`; each
//! further group of 1,024 slots covers twice the range of the one before, at half its resolution.

use std::sync::atomic::{AtomicU64, Ordering};

const SUB_BUCKET_BITS: u32 = 11;
const SUB_BUCKETS: u64 = 1 << SUB_BUCKET_BITS;
const VALUE_BITS: u32 = 36;

/// Slots of a histogram: 216 KiB of counters.
pub const SLOTS: usize = ((VALUE_BITS - SUB_BUCKET_BITS + 2) as usize) << (SUB_BUCKET_BITS - 1);

/// The largest value that is told apart.
pub const VALUE_MAX: u64 = (1 << VALUE_BITS) - 1;

/// The slot that counts `value`.
#[inline]
#[must_use]
pub const fn slot_of(value: u64) -> usize {
    let value = if value > VALUE_MAX { VALUE_MAX } else { value };
    let shift = (u64::BITS - (value | (SUB_BUCKETS - 1)).leading_zeros()) - SUB_BUCKET_BITS;
    ((shift as usize) << (SUB_BUCKET_BITS - 1)) + (value >> shift) as usize
}

/// The highest value that counts in `slot`.
#[must_use]
pub const fn value_of(slot: usize) -> u64 {
    if slot < SUB_BUCKETS as usize {
        return slot as u64;
    }
    let shift = (slot >> (SUB_BUCKET_BITS - 1)) as u32 - 1;
    let sub = slot as u64 - ((shift as u64) << (SUB_BUCKET_BITS - 1));
    ((sub + 1) << shift) - 1
}

/// The writing end: counters that one role alone writes. A plain load and store, no read-modify-write:
/// one writer needs no lock prefix.
#[derive(Clone, Copy, Debug)]
pub struct Histogram<'a>(pub(crate) &'a [AtomicU64]);

impl Histogram<'_> {
    /// Counts one value, in nanoseconds.
    #[inline]
    pub fn record(self, value: u64) {
        let slot = &self.0[slot_of(value)];
        slot.store(slot.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

/// A copy of the counters at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts(pub Vec<u64>);

impl Counts {
    /// How many values were counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The highest value (nanoseconds) at or below which `numerator` of `denominator` of all values
    /// lie; 0 when there are none.
    #[must_use]
    pub fn percentile(&self, numerator: u64, denominator: u64) -> u64 {
        let total = u128::from(self.total());
        let rank = (total * u128::from(numerator)).div_ceil(u128::from(denominator)).max(1);
        let mut seen = 0;
        for (value, count) in self.recorded() {
            seen += u128::from(count);
            if seen >= rank {
                return value;
            }
        }
        0
    }

    /// The highest value counted; 0 when there is none.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.recorded().last().map_or(0, |(value, _)| value)
    }

    /// (value, count) of every slot that counted something, ascending.
    pub fn recorded(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(slot, count)| (value_of(slot), *count))
    }

    /// What was counted since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self(self.0.iter().zip(&earlier.0).map(|(now, then)| now.saturating_sub(*then)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_lies_in_its_slot_within_a_thousandth() {
        let mut value = 0_u64;
        while value <= VALUE_MAX {
            let top = value_of(slot_of(value));
            assert!(top >= value, "{value} above its slot's top {top}");
            assert!(top - value <= value / 1_000, "{value} told only as {top}");
            value = value + 1 + value / 777;
        }
        assert_eq!(slot_of(u64::MAX), SLOTS - 1);
        assert_eq!(value_of(SLOTS - 1), VALUE_MAX);
    }

    #[test]
    fn slots_follow_each_other_without_a_gap() {
        for slot in 1..SLOTS {
            assert_eq!(slot_of(value_of(slot - 1) + 1), slot);
            assert_eq!(slot_of(value_of(slot)), slot);
        }
    }

    #[test]
    fn percentiles_count_from_the_bottom() {
        let cells: Vec<AtomicU64> = (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        let histogram = Histogram(&cells);
        for value in 1..=1_000 {
            histogram.record(value);
        }
        let counts = Counts(cells.iter().map(|c| c.load(Ordering::Relaxed)).collect());
        assert_eq!(
            (counts.percentile(50, 100), counts.percentile(999, 1_000), counts.max()),
            (500, 999, 1_000)
        );
        assert_eq!(counts.since(&counts).total(), 0);
    }
}
