//! When each message is meant to be sent. Pure: time comes in as a parameter.

use crate::rng::Rng;
use ironbell_types::Nanos;
use std::sync::Arc;

/// How arrivals follow each other.
#[derive(Clone, Debug, PartialEq)]
pub enum Arrivals {
    /// Evenly spaced.
    Constant,
    /// A Poisson process: exponential gaps.
    Poisson,
    /// Microbursts: trains of `length` messages at `factor` times the rate, and between them pauses of
    /// exponential length that bring the mean back to the rate.
    Bursts {
        /// Messages of a train, at least 1.
        length: u32,
        /// How many times the rate, at least 1.
        factor: u32,
    },
    /// The gaps of a recording, again from its start when it is over; only their proportions count, the rate
    /// says how fast it is played.
    Recorded(Arc<Recorded>),
}

/// The timing of a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// From each message to the next, their mean being 1.
    gaps: Vec<f64>,
    /// Messages a second as recorded.
    rate: f64,
}

impl Recorded {
    /// Of messages at these times, in seconds.
    ///
    /// # Errors
    /// What is wrong with them: fewer than two, one that goes back, or no time passes at all.
    pub fn of_times(times: &[f64]) -> Result<Self, String> {
        let span = match times {
            [first, .., last] => last - first,
            _ => return Err("a recording of times has at least two".to_owned()),
        };
        if let Some(at) = times.windows(2).position(|pair| pair[0].total_cmp(&pair[1]).is_gt()) {
            return Err(format!("time {} ({}) is before the one above it", at + 2, times[at + 1]));
        }
        if span <= 0.0 {
            return Err("no time passes from the first to the last".to_owned());
        }
        let mean = span / (times.len() - 1) as f64;
        Ok(Self { gaps: times.windows(2).map(|pair| (pair[1] - pair[0]) / mean).collect(), rate: 1.0 / mean })
    }

    /// Messages a second as recorded.
    #[must_use]
    pub const fn rate(&self) -> f64 {
        self.rate
    }
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
    /// Messages that became due.
    count: u64,
    rng: Rng,
}

impl Schedule {
    /// `rate` messages a second on average, the first at `start`. Panics when the rate is not above 0.
    #[must_use]
    pub fn new(arrivals: Arrivals, rate: f64, start: Nanos, seed: u64) -> Self {
        assert!(rate > 0.0 && rate.is_finite(), "a rate is a positive number of messages a second: {rate}");
        if let Arrivals::Bursts { length, factor } = arrivals {
            assert!(length > 0 && factor > 0, "a train has messages, and is no slower than the rate");
        }
        Self { arrivals, gap_nanos: 1e9 / rate, start, gaps: 0.0, count: 0, rng: Rng::new(seed) }
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
        self.count += 1;
        self.gaps += match &self.arrivals {
            Arrivals::Constant => 1.0,
            Arrivals::Poisson => self.rng.exponential(),
            Arrivals::Bursts { length, factor } => {
                let within = 1.0 / f64::from(*factor);
                if self.count.is_multiple_of(u64::from(*length)) {
                    // Together with the gaps within the train, as long as the train's messages at the rate.
                    let pause = f64::from(*length) - f64::from(*length - 1) * within;
                    within + (pause - within) * self.rng.exponential()
                } else {
                    within
                }
            }
            Arrivals::Recorded(recorded) => {
                recorded.gaps[((self.count - 1) % recorded.gaps.len() as u64) as usize]
            }
        };
        Some(intended)
    }

    /// How many messages are meant to have gone before `until`, those not yet asked for with [`Schedule::due`]
    /// included.
    #[must_use]
    pub fn count_before(&self, until: Nanos) -> u64 {
        let mut rest = self.clone();
        while rest.next_at() < until {
            rest.due(until);
        }
        rest.count
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
    fn trains_come_at_their_factor_and_keep_the_rate() {
        let sent = times(Arrivals::Bursts { length: 50, factor: 20 }, 100_000.0, 0, 10_000_000_000);
        assert!((960_000..1_040_000).contains(&sent.len()), "{}", sent.len());
        let gaps: Vec<u64> = sent.windows(2).map(|pair| pair[1] - pair[0]).collect();
        // Two million a second within a train.
        let within = gaps.iter().filter(|gap| (499..=501).contains(*gap)).count();
        assert!(within >= gaps.len() * 49 / 50, "{within} of {}", gaps.len());
        assert!(gaps.iter().skip(49).step_by(50).all(|gap| *gap >= 499));
    }

    #[test]
    fn a_recording_is_played_at_the_rate_asked_for_and_again() {
        let recorded = Recorded::of_times(&[10.0, 10.1, 10.1, 10.4]).unwrap();
        assert!((recorded.rate() - 7.5).abs() < 1e-9);
        let sent = times(Arrivals::Recorded(Arc::new(recorded)), 10_000.0, 0, 600_000);
        let expected = [0, 75_000, 75_000, 300_000, 375_000, 375_000, 600_000];
        assert_eq!(sent.len(), expected.len());
        assert!(sent.iter().zip(expected).all(|(sent, expected)| sent.abs_diff(expected) <= 1), "{sent:?}");
        for (times, what) in [(&[1.0][..], "at least two"), (&[2.0, 1.0], "time 2"), (&[3.0, 3.0], "no time")]
        {
            assert!(Recorded::of_times(times).unwrap_err().contains(what));
        }
    }

    #[test]
    fn what_was_meant_is_counted_though_it_was_not_sent() {
        let mut schedule = Schedule::new(Arrivals::Constant, 1e6, Nanos(0), 0);
        assert_eq!(schedule.due(Nanos(5_000)), Some(Nanos(0)));
        assert_eq!((schedule.count_before(Nanos(10_000)), schedule.count_before(Nanos(0))), (10, 1));
        assert_eq!(schedule.due(Nanos(5_000)), Some(Nanos(1_000)));
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
