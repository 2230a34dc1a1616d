//! One step of a run: warm up, hold a rate, and gather what everybody saw of it.

use crate::book_watch::BookWatch;
use crate::driver::{Driver, Ended, Progress, Until};
use crate::hiccup::HiccupMeter;
use crate::latency::Latency;
use crate::record::{Interval, Spread, Step, is_reached};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a step is to be.
#[derive(Clone, Debug)]
pub struct StepPlan {
    /// Requests a second.
    pub rate: f64,
    /// How long it is held.
    pub hold: Duration,
    /// How long before, at the same rate; what is measured then is forgotten.
    pub warm_up: Duration,
    /// Which of the repeats, from 0.
    pub repeat: u32,
    /// The CPUs on which a meter looks for the host's own stalls.
    pub hiccup_cpus: Vec<usize>,
    /// Whether every answered request is kept by itself, for [`Driver::take_samples`].
    pub keeps_samples: bool,
}

/// What the venue tells of its stations, if it does.
pub trait Stations {
    /// The warm-up is over.
    fn begin(&mut self);
    /// The step is over: what each station counted since [`Stations::begin`], in the order of the way.
    fn end(&mut self) -> Vec<(String, Spread)>;
}

/// A venue that tells nothing.
impl Stations for () {
    fn begin(&mut self) {}
    fn end(&mut self) -> Vec<(String, Spread)> {
        Vec::new()
    }
}

/// An interval with its whole distribution, for an interval log.
#[derive(Clone, Debug)]
pub struct Logged {
    /// From the step's start.
    pub offset: Duration,
    /// How long.
    pub length: Duration,
    /// Order-to-ack.
    pub latency: Latency,
}

/// Orders that the follower of the feed is asked to remember at most: 16 bytes each, twice.
const WATCHED_MAX: usize = 4_000_000;

/// Makes the step. `progress` is called about once a second, of warm-up and step.
///
/// # Errors
/// When there is no thread for a meter, or a session broke: what is left is then not worth measuring.
pub fn step(
    driver: &mut Driver,
    plan: &StepPlan,
    watch: Option<&BookWatch>,
    stations: &mut dyn Stations,
    progress: &mut dyn FnMut(&Progress<'_>),
) -> Result<(Step, Vec<Logged>), String> {
    driver.set_rate(plan.rate);
    if !plan.warm_up.is_zero() {
        completed(driver.run(Until::Elapsed(plan.warm_up), &mut *progress))?;
    }
    let before = driver.outcome();
    driver.clear_latencies();
    if plan.keeps_samples {
        driver.keep_samples((plan.rate * plan.hold.as_secs_f64() * 1.2) as usize);
    }
    let orders = ((plan.rate * plan.hold.as_secs_f64() * 1.2) as usize).min(WATCHED_MAX);
    if let Some(watch) = watch {
        driver.watch_book(orders);
        watch.note(orders);
    }
    let meter = HiccupMeter::start(&plan.hiccup_cpus).map_err(|e| format!("no thread for a meter: {e}"))?;
    stations.begin();
    let mut logged: Vec<Logged> = Vec::new();
    completed(driver.run(Until::Elapsed(plan.hold), |now| {
        logged.push(Logged {
            offset: now.elapsed.saturating_sub(now.interval),
            length: now.interval,
            latency: now.latency.clone(),
        });
        progress(now);
    }))?;
    let hiccups = meter.finish();
    let stages = stations.end();
    if let Some(watch) = watch {
        driver.join_book(&watch.take());
    }
    let after = driver.outcome();
    let since = |of: fn(&crate::Outcome) -> u64| of(&after) - of(&before);
    let (sent, intended) = (since(|o| o.counts.sent.total()), since(|o| o.intended));
    let answered_in = (after.answered_in - before.answered_in).as_secs_f64().max(1e-9);
    let answered_per_s = sent as f64 / answered_in;
    let latencies: BTreeMap<String, Spread> = after
        .latencies
        .named()
        .into_iter()
        .filter(|(_, latency)| !latency.histogram().is_empty())
        .map(|(name, latency)| (name.to_owned(), Spread::from(latency)))
        .collect();
    let (hiccups, hiccups_worst) = hiccups.told();
    let step = Step {
        repeat: plan.repeat,
        rate: plan.rate,
        seconds: (after.elapsed - before.elapsed).as_secs_f64(),
        intended,
        sent,
        answered_per_s,
        reached: is_reached(plan.rate, intended, sent, answered_per_s),
        acks: since(|o| o.counts.acks()),
        rejects: since(|o| o.counts.rejects()),
        trades: since(|o| o.counts.trades),
        violations: after.violations,
        latencies,
        stages,
        hiccups,
        hiccups_worst,
        over_time: logged.iter().filter_map(told).collect(),
    };
    Ok((step, logged))
}

fn told(logged: &Logged) -> Option<Interval> {
    let of = logged.latency.percentiles();
    (of.count > 0).then_some(Interval {
        at_s: logged.offset.as_secs_f64(),
        length_s: logged.length.as_secs_f64(),
        count: of.count,
        p50: of.p50,
        p99: of.p99,
        max: of.max,
    })
}

fn completed(ended: &Ended) -> Result<(), String> {
    match ended {
        Ended::Completed => Ok(()),
        Ended::Disconnected { username, reason } => {
            Err(format!("the venue broke the session of {username}: {reason}"))
        }
        Ended::Unanswered { pending } => Err(format!("{pending} requests were never answered")),
    }
}

/// The rates of a search for the knee: from `from` up by half of what was, until a step is past the knee, then
/// between the last that held and the first that did not.
#[derive(Clone, Debug)]
pub struct KneeSearch {
    next: f64,
    held: Option<f64>,
    past: Option<f64>,
    left: u32,
}

impl KneeSearch {
    /// At most `steps` of them.
    #[must_use]
    pub const fn new(from: f64, steps: u32) -> Self {
        Self { next: from, held: None, past: None, left: steps }
    }

    /// The next rate to try; `None` when the knee is known to a tenth or the steps are used up.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        let is_known = matches!((self.held, self.past), (Some(held), Some(past)) if past < held * 1.1);
        (self.left > 0 && !is_known).then_some(self.next)
    }

    /// What became of it.
    pub fn came(&mut self, holds: bool) {
        let tried = self.next;
        self.left = self.left.saturating_sub(1);
        if holds {
            self.held = Some(self.held.unwrap_or(0.0).max(tried));
        } else {
            self.past = Some(self.past.unwrap_or(f64::INFINITY).min(tried));
        }
        self.next = match (self.held, self.past) {
            (Some(held), Some(past)) => (held * past).sqrt(),
            (Some(held), None) => held * 1.5,
            (None, Some(past)) => past / 2.0,
            (None, None) => tried,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_closes_in_on_the_knee() {
        for (knee, from) in [(70_000.0, 10_000.0), (3_000.0, 10_000.0), (10_500.0, 10_000.0)] {
            let mut search = KneeSearch::new(from, 30);
            let mut tried = Vec::new();
            while let Some(rate) = search.rate() {
                tried.push(rate);
                search.came(rate <= knee);
            }
            let held = tried.iter().copied().filter(|rate| *rate <= knee).fold(0.0, f64::max);
            assert!(held > knee / 1.1 && tried.len() < 14, "{knee}: {tried:?}");
        }
        let mut never = KneeSearch::new(100.0, 3);
        while never.rate().is_some() {
            never.came(true);
        }
        assert_eq!(never.left, 0, "it ends though nothing fails");
    }
}
