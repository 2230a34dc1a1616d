//! How much may be read from the disk for a standby that is behind, so that whoever trades does not notice.

use ironbell_types::Nanos;

/// A bucket of bytes that fills with time, up to a tenth of a second's worth.
#[derive(Clone, Copy, Debug)]
pub struct Throttle {
    bytes_per_s: u64,
    /// Bytes that may be read; below 0 are those that were read before their time.
    credit: i64,
    credit_at: Nanos,
}

impl Throttle {
    /// An empty one, from `now` on.
    #[must_use]
    pub fn new(bytes_per_s: u64, now: Nanos) -> Self {
        Self { bytes_per_s, credit: 0, credit_at: now }
    }

    /// Whether more may be read. What is read is paid afterwards, so that the longest piece passes.
    pub fn is_open(&mut self, now: Nanos) -> bool {
        let ns = now.0.saturating_sub(self.credit_at.0).min(1_000_000_000);
        let earned = (u128::from(ns) * u128::from(self.bytes_per_s) / 1_000_000_000) as i64;
        if earned > 0 {
            self.credit = (self.credit + earned).min((self.bytes_per_s / 10) as i64);
            self.credit_at = now;
        }
        self.credit > 0
    }

    /// So many bytes were read.
    pub fn spend(&mut self, bytes: u64) {
        self.credit = self.credit.saturating_sub_unsigned(bytes);
    }
}
