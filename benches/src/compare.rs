//! Are two runs different? Per percentile, with a bootstrap over whole repeats.
//!
//! A repeat is the unit, not a sample: within a repeat samples hang together (one stall is a thousand of them), so
//! their number says nothing about how sure a difference is. Repeats that were made in turn are compared in pairs,
//! so that what drifts on the machine meets both sides.

use crate::record::{QUANTILES, Record, Step};
use crate::rng::Rng;
use serde::Serialize;
use std::collections::BTreeMap;

/// Fewer repeats a side say nothing: the least interval of so few would be their range.
pub const REPEATS_MIN: usize = 5;
const RESAMPLES: usize = 10_000;
const CONFIDENCE: f64 = 0.95;

/// What is to be said of one percentile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The interval holds "equal".
    NoDifferenceSeen,
    /// B is lower, surely.
    Lower,
    /// B is higher, surely.
    Higher,
    /// There are fewer than [`REPEATS_MIN`] repeats a side.
    TooFewRepeats,
}

/// One figure of both.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Requests a second.
    pub rate: f64,
    /// Of what: `order_to_ack`, …; `answered_per_s` for the throughput.
    pub what: String,
    /// Which percentile: `50`, …, `100` for the maximum; empty for the throughput.
    pub percentile: String,
    /// Median over the repeats of A, nanoseconds or answers a second.
    pub a: f64,
    /// Median over the repeats of B.
    pub b: f64,
    /// B to A: the geometric mean over pairs (or over all, when they do not pair).
    pub ratio: f64,
    /// 95 of 100 times the ratio lies from here …
    pub ratio_low: f64,
    /// … to here.
    pub ratio_high: f64,
    /// Repeats of A and of B.
    pub repeats: (usize, usize),
    /// Whether they were made in turn and compared so.
    pub is_paired: bool,
    /// What is to be said.
    pub verdict: Verdict,
}

/// Compares every rate that both have. Told as ratios of B to A, bootstrapped from `seed`.
#[must_use]
pub fn compare(a: &Record, b: &Record, seed: u64) -> Vec<Difference> {
    let mut rng = Rng::new(seed);
    let (of_a, of_b) = (by_rate(a), by_rate(b));
    let mut all = Vec::new();
    for (bits, steps_a) in &of_a {
        let Some(steps_b) = of_b.get(bits) else { continue };
        let rate = f64::from_bits(*bits);
        let mut told = |what: &str, percentile: &str, figure: &dyn Fn(&Step) -> Option<f64>| {
            let side = |steps: &[&Step]| -> Vec<(u32, f64)> {
                steps.iter().filter_map(|step| Some((step.repeat, figure(step)?))).collect()
            };
            let (figures_a, figures_b) = (side(steps_a), side(steps_b));
            if !figures_a.is_empty() && !figures_b.is_empty() {
                all.push(difference(rate, what, percentile, &figures_a, &figures_b, &mut rng));
            }
        };
        told("answered_per_s", "", &|step| Some(step.answered_per_s).filter(|per_s| *per_s > 0.0));
        for what in steps_a[0].latencies.keys() {
            for (name, quantile) in QUANTILES {
                told(what, name, &|step| {
                    let spread = step.latencies.get(what)?;
                    let value = if quantile < 1.0 {
                        spread.percentiles.get(name).copied().flatten()?
                    } else {
                        spread.max
                    };
                    (value > 0).then_some(value as f64)
                });
            }
        }
    }
    all
}

fn by_rate(record: &Record) -> BTreeMap<u64, Vec<&Step>> {
    let mut all: BTreeMap<u64, Vec<&Step>> = BTreeMap::new();
    for step in &record.steps {
        all.entry(step.rate.to_bits()).or_default().push(step);
    }
    all
}

fn difference(
    rate: f64,
    what: &str,
    percentile: &str,
    a: &[(u32, f64)],
    b: &[(u32, f64)],
    rng: &mut Rng,
) -> Difference {
    let logs = |side: &[(u32, f64)]| -> Vec<f64> { side.iter().map(|(_, value)| value.ln()).collect() };
    let repeats = |side: &[(u32, f64)]| -> Vec<u32> { side.iter().map(|(repeat, _)| *repeat).collect() };
    let is_paired = repeats(a) == repeats(b);
    let (logs_a, logs_b) = (logs(a), logs(b));
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let resampled = |values: &[f64], rng: &mut Rng| {
        let n = values.len();
        (0..n).map(|_| values[rng.below(n as u64) as usize]).sum::<f64>() / n as f64
    };
    let mut resamples: Vec<f64> = if is_paired {
        let pairs: Vec<f64> = logs_a.iter().zip(&logs_b).map(|(a, b)| b - a).collect();
        (0..RESAMPLES).map(|_| resampled(&pairs, rng)).collect()
    } else {
        (0..RESAMPLES).map(|_| resampled(&logs_b, rng) - resampled(&logs_a, rng)).collect()
    };
    resamples.sort_by(f64::total_cmp);
    let tail = ((1.0 - CONFIDENCE) / 2.0 * RESAMPLES as f64) as usize;
    let (low, high) = (resamples[tail].exp(), resamples[RESAMPLES - 1 - tail].exp());
    let verdict = if a.len().min(b.len()) < REPEATS_MIN {
        Verdict::TooFewRepeats
    } else if high < 1.0 {
        Verdict::Lower
    } else if low > 1.0 {
        Verdict::Higher
    } else {
        Verdict::NoDifferenceSeen
    };
    Difference {
        rate,
        what: what.to_owned(),
        percentile: percentile.to_owned(),
        a: median(a),
        b: median(b),
        ratio: (mean(&logs_b) - mean(&logs_a)).exp(),
        ratio_low: low,
        ratio_high: high,
        repeats: (a.len(), b.len()),
        is_paired,
        verdict,
    }
}

fn median(side: &[(u32, f64)]) -> f64 {
    let mut values: Vec<f64> = side.iter().map(|(_, value)| *value).collect();
    values.sort_by(f64::total_cmp);
    (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0
}

/// For people: a row a figure, then what it comes to. `a` and `b` are what the sides are called.
#[must_use]
pub fn told(differences: &[Difference], a: &str, b: &str) -> String {
    let mut text = format!("A = {a}\nB = {b}\n\n");
    let head = ["rate", "what", "percentile", "A", "B", "B/A", "95 of 100 times", "verdict"];
    text += &format!(
        "{:>9}  {:<22} {:>10} {:>11} {:>11} {:>7}  {:<16} {}\n",
        head[0], head[1], head[2], head[3], head[4], head[5], head[6], head[7]
    );
    for d in differences {
        let (percentile, scale, unit) = match d.percentile.as_str() {
            "" => ("-".to_owned(), 1.0, "/s"),
            "100" => ("max".to_owned(), 1e3, "µs"),
            name => (format!("p{name}"), 1e3, "µs"),
        };
        let verdict = match d.verdict {
            Verdict::NoDifferenceSeen => "no difference seen",
            Verdict::Lower => "B is LOWER",
            Verdict::Higher => "B is HIGHER",
            Verdict::TooFewRepeats => "too few repeats to say",
        };
        text += &format!(
            "{:>9.0}  {:<22} {percentile:>10} {:>9.1}{unit} {:>9.1}{unit} {:>7.3}  {:.3} .. {:.3}   {verdict}\n",
            d.rate,
            d.what,
            d.a / scale,
            d.b / scale,
            d.ratio,
            d.ratio_low,
            d.ratio_high
        );
    }
    let seen = differences.iter().filter(|d| matches!(d.verdict, Verdict::Lower | Verdict::Higher)).count();
    text += &match (differences.len(), seen) {
        (0, _) => "\nno rate was measured on both sides\n".to_owned(),
        (_, 0) if differences.iter().all(|d| d.verdict == Verdict::TooFewRepeats) => {
            format!("\nfewer than {REPEATS_MIN} repeats a side: nothing can be said; give --repeats\n")
        }
        (_, 0) => "\nno difference seen\n".to_owned(),
        (all, seen) => format!(
            "\na difference in {seen} of {all} figures; about {:.0} of so many would be seen by chance\n",
            (all as f64 * (1.0 - CONFIDENCE)).ceil()
        ),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::step;

    /// Records of `repeats` whose latencies scatter by a tenth about a machine that drifts, B being `factor` of A.
    fn records(repeats: u32, factor: f64, seed: u64) -> (Record, Record) {
        let mut rng = Rng::new(seed);
        let mut side = |factor: f64, drift: f64, repeat: u32| {
            let scatter = 1.0 + 0.1 * (rng.unit() - 0.5);
            let mut step = step(1e4, (100_000.0 * factor * drift * scatter) as u64, true);
            step.repeat = repeat;
            step
        };
        let (mut a, mut b) = (Record::default(), Record::default());
        for repeat in 0..repeats {
            let drift = 1.0 + 0.2 * f64::from(repeat);
            a.steps.push(side(1.0, drift, repeat));
            b.steps.push(side(factor, drift, repeat));
        }
        (a, b)
    }

    fn median_of(differences: &[Difference]) -> &Difference {
        differences.iter().find(|d| d.what == "order_to_ack" && d.percentile == "50").unwrap()
    }

    #[test]
    fn a_tenth_is_seen_though_the_machine_drifts() {
        for seed in 0..20 {
            let (a, b) = records(12, 1.12, seed);
            let all = compare(&a, &b, seed);
            let found = median_of(&all);
            assert_eq!((found.verdict, found.is_paired), (Verdict::Higher, true), "seed {seed}: {found:?}");
            assert!((1.05..1.20).contains(&found.ratio), "seed {seed}: {found:?}");
            assert!(told(&all, "old", "new").contains("B is HIGHER"));
            let back = compare(&b, &a, seed);
            assert_eq!(median_of(&back).verdict, Verdict::Lower, "seed {seed}");
        }
    }

    #[test]
    fn the_same_is_mostly_told_as_the_same() {
        let seen = (0..200).filter(|seed| {
            let (a, b) = records(12, 1.0, *seed);
            median_of(&compare(&a, &b, *seed)).verdict != Verdict::NoDifferenceSeen
        });
        // 95 of 100 is what is promised; a bootstrap over few is a little narrow.
        let seen = seen.count();
        assert!(seen < 30, "{seen} of 200");
    }

    #[test]
    fn few_repeats_say_nothing_and_other_rates_are_not_compared() {
        let (a, b) = records(4, 2.0, 1);
        let all = compare(&a, &b, 1);
        assert!(all.iter().all(|d| d.verdict == Verdict::TooFewRepeats));
        assert!(told(&all, "a", "b").contains("nothing can be said"));
        let mut c = b;
        c.steps.iter_mut().for_each(|step| step.rate = 5.0);
        assert!(compare(&a, &c, 1).is_empty());
        let (a, mut b) = records(6, 1.5, 1);
        b.steps.remove(0);
        let all = compare(&a, &b, 1);
        assert!(!median_of(&all).is_paired, "what does not pair is compared as two heaps");
    }
}
