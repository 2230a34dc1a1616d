//! When each message is meant to be sent. Pure: time comes in as a parameter.

use crate::rng::Rng;
use ironbell_types::Nanos;

/// How arrivals follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrivals {
    /// Evenly spaced.
    Constant,
    /// A Poisson process: exponential gaps.
    Poisson,
}

/// An endless, rising sequence of intended send times. It is open-loop: nothing that happens to a
/// message changes when the next one is due, so a stalled server meets the load it would meet in
/// the field, and a latency counted from the intended time holds the waiting as well (no
/// coordinated omission).
#[derive(Clone, Debug)]
pub struct Schedule {
    arrivals: Arrivals,
    gap_nanos: f64,
    start: Nanos,
    /// Gaps passed so far: a count for even spacing, so that no rounding error adds up.
    gaps: f64,
    rng: Rng,
}

impl Schedule {
    /// `rate` messages a second on average, the first at `start`. Panics when the rate is not above 0.
    #[must_use]
    pub fn new(arrivals: Arrivals, rate: f64, start: Nanos, seed: u64) -> Self {
        assert!(rate > 0.0 && rate.is_finite(), "a rate is a positive number of messages a second: {rate}");
        Self { arrivals, gap_nanos: 1e9 / rate, start, gaps: 0.0, rng: Rng::new(seed) }
    }

    /// When the next message is meant to go.
    #[must_use]
    pub fn next_at(&self) -> Nanos {
        Nanos(self.start.0 + (self.gaps * self.gap_nanos) as u64)
    }

    /// The intended time of the next message if that has come; the one after it is next then.
    pub fn due(&mut self, now: Nanos) -> Option<Nanos> {
        let intended = self.next_at();
        if intended > now {
            return None;
        }
        self.gaps += match self.arrivals {
            Arrivals::Constant => 1.0,
            Arrivals::Poisson => self.rng.exponential(),
        };
        Some(intended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(arrivals: Arrivals, rate: f64, start: u64, until: u64) -> Vec<u64> {
        let mut schedule = Schedule::new(arrivals, rate, Nanos(start), 5);
        std::iter::from_fn(|| schedule.due(Nanos(until)).map(|at| at.0)).collect()
    }

    #[test]
    fn constant_arrivals_are_evenly_spaced_without_drift() {
        let sent = times(Arrivals::Constant, 30_000.0, 1_000, 10_000_000_999);
        assert_eq!(sent.len(), 300_000);
        assert_eq!(sent[0], 1_000);
        assert_eq!(sent[3], 101_000);
        assert_eq!(sent[299_997], 1_000 + 9_999_900_000);
    }

    #[test]
    fn nothing_is_due_before_its_time_and_lateness_moves_nothing() {
        let mut schedule = Schedule::new(Arrivals::Constant, 1e6, Nanos(0), 0);
        assert_eq!(schedule.due(Nanos(0)), Some(Nanos(0)));
        assert_eq!(schedule.due(Nanos(999)), None);
        // A stall of a millisecond: all that was due meanwhile comes with its own intended time.
        let late: Vec<u64> = std::iter::from_fn(|| schedule.due(Nanos(1_000_000)).map(|at| at.0)).collect();
        assert_eq!(late.len(), 1_000);
        assert_eq!((late[0], late[999]), (1_000, 1_000_000));
    }

    #[test]
    fn poisson_arrivals_keep_the_rate_and_scatter_as_they_should() {
        let sent = times(Arrivals::Poisson, 100_000.0, 0, 10_000_000_000);
        // A count of mean 1,000,000 has a standard deviation of 1,000.
        assert!((995_000..1_005_000).contains(&sent.len()), "{}", sent.len());
        let gaps: Vec<f64> = sent.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        let spread = variance.sqrt() / mean;
        assert!((0.99..1.01).contains(&spread), "an exponential's deviation equals its mean: {spread}");
        assert!(gaps.iter().all(|gap| *gap >= 0.0));
    }
}
