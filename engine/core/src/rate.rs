//! How often a port may send: a bucket of tokens, and rows of equal orders.

use ironbell_types::{InstrumentId, Nanos, PortRules, Price, Qty, Side};

/// Tokens for orders, replacements, quotes, mass cancels and dead-man settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) tokens: u32,
    /// When the last token came back, or the first was taken from a full bucket.
    pub(crate) since: Nanos,
}

fn size(rules: &PortRules) -> u32 {
    rules.rate_burst.max(1)
}

impl Bucket {
    pub(crate) fn full(rules: &PortRules) -> Self {
        Self { tokens: size(rules), since: Nanos(0) }
    }

    /// Takes a token, if there is one.
    #[inline]
    pub(crate) fn take(&mut self, rules: &PortRules, now: Nanos) -> bool {
        rules.rate_per_second == 0 || self.take_limited(rules, now)
    }

    fn take_limited(&mut self, rules: &PortRules, now: Nanos) -> bool {
        let (tokens, since) = self.at(rules, now);
        let Some(left) = tokens.checked_sub(1) else { return false };
        *self = Self { tokens: left, since };
        true
    }

    /// Tokens in it at a time not before any it was used at, and the time that the next one is counted from.
    pub(crate) fn at(&self, rules: &PortRules, now: Nanos) -> (u32, Nanos) {
        let interval = u64::from((1_000_000_000 / rules.rate_per_second.max(1)).max(1));
        let back = (now.0 - self.since.0) / interval;
        let tokens = u64::from(self.tokens).saturating_add(back);
        match u32::try_from(tokens).ok().filter(|tokens| *tokens < size(rules)) {
            Some(tokens) => (tokens, Nanos(self.since.0 + back * interval)),
            // The time that a full bucket waits brings nothing back.
            None => (size(rules), now),
        }
    }
}

/// Equal orders, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) instrument: InstrumentId,
    pub(crate) side: Side,
    pub(crate) qty: Qty,
    pub(crate) price: Price,
    /// When the first of them came.
    pub(crate) begin: Nanos,
    /// How many came, refused ones included.
    pub(crate) orders: u32,
}

impl Row {
    /// Counts an order into the row, or begins a new one with it; whether that is more than may be.
    pub(crate) fn exceeds(row: &mut Option<Self>, rules: &PortRules, first: Self) -> bool {
        let goes_on = |row: &&mut Self| {
            (row.instrument, row.side, row.qty, row.price)
                == (first.instrument, first.side, first.qty, first.price)
                && first.begin.0 < row.begin.0.saturating_add(rules.duplicate_ns)
        };
        match row.as_mut().filter(goes_on) {
            Some(row) => {
                row.orders = row.orders.saturating_add(1);
                row.orders > rules.duplicates_max
            }
            None => {
                *row = Some(first);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbell_types::{Amount, PortLimits};

    fn rules(rate_per_second: u32, rate_burst: u32) -> PortRules {
        let limits = PortLimits { qty_max: Qty(1), notional_max: Amount(1) };
        PortRules { rate_per_second, rate_burst, ..PortRules::plain(limits) }
    }

    #[test]
    fn a_token_comes_back_every_interval_and_a_full_bucket_saves_no_time() {
        let rules = rules(3, 2);
        let interval = 333_333_333;
        let mut bucket = Bucket::full(&rules);
        let start = 5 * interval / 2;
        let mut take = |at| bucket.take(&rules, Nanos(at));
        assert_eq!([take(start), take(start), take(start)], [true, true, false]);
        assert_eq!(
            [take(start + interval - 1), take(start + interval), take(start + interval)],
            [false, true, false]
        );
        // Two come back and fill it; the third interval is lost, and the next begins when one is taken.
        let later = start + 4 * interval + 7;
        assert_eq!([take(later), take(later), take(later)], [true, true, false]);
        assert_eq!([take(later + interval - 1), take(later + interval)], [false, true]);
    }

    #[test]
    fn rates_beyond_one_a_nanosecond_and_no_burst_still_have_a_bucket() {
        let rules = rules(u32::MAX, 0);
        let mut bucket = Bucket::full(&rules);
        assert_eq!(
            [bucket.take(&rules, Nanos(9)), bucket.take(&rules, Nanos(9)), bucket.take(&rules, Nanos(10))],
            [true, false, true]
        );
    }

    #[test]
    fn a_row_ends_with_its_span_or_with_another_order() {
        let mut rules = rules(0, 0);
        (rules.duplicates_max, rules.duplicate_ns) = (2, 100);
        let order = |qty, begin| Row {
            instrument: InstrumentId(1),
            side: Side::Buy,
            qty: Qty(qty),
            price: Price(5),
            begin: Nanos(begin),
            orders: 1,
        };
        let mut row = None;
        let mut exceeds = |qty, at| Row::exceeds(&mut row, &rules, order(qty, at));
        assert_eq!(
            [exceeds(1, 0), exceeds(1, 1), exceeds(1, 99), exceeds(1, 100)],
            [false, false, true, false]
        );
        assert_eq!([exceeds(1, 101), exceeds(2, 101), exceeds(1, 101)], [false, false, false]);
    }
}
