//! Roles on threads, threads on CPUs.
//!
//! A role is an object with a `poll` that never waits: a full ring or an unfinished write is a state.
//! A thread polls one or several roles in turn; what it does when none had work is its idle strategy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use ironbell_sync::metrics::RoleMetrics;
use ironbell_sync::{TickScale, ticks};
use ironbell_types::Nanos;

/// A part of the node that does its work in small steps.
pub trait Role: Send {
    /// What the block diagram calls it.
    fn name(&self) -> &str;

    /// Does what can be done now and returns how much it was; never waits. `now` is the thread's
    /// monotonic time, for time-outs and heartbeats, never for state.
    fn poll(&mut self, now: Nanos) -> usize;

    /// Sleeps until something comes to this role from outside the program, or a time is over; `false`, at once, where it
    /// cannot. Asked for when the whole thread has been idle for long.
    fn wait(&mut self, _at_most: Duration) -> bool {
        false
    }

    /// The same where it has a thread of its own, so that what comes from other roles may wake it too.
    fn wait_alone(&mut self, at_most: Duration) -> bool {
        self.wait(at_most)
    }

    /// The thread ends: what must be closed in good order is closed here. Called once, after the last poll.
    fn finish(&mut self) {}
}

/// What a thread does when no role of it had work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Nothing: polls again at once. For a CPU of its own.
    Spin,
    /// Yields, soon rests for 10 µs at a time, and after a while for `park`. For shared CPUs.
    Park {
        /// How long one sleep lasts; ten times as long after a quiet spell, which is what the first order
        /// then may wait longer.
        park: Duration,
    },
}

/// A thread of the topology table.
pub struct ThreadPlan {
    /// Its name, at most 15 characters (the kernel cuts longer ones).
    pub name: String,
    /// The CPU it is pinned to; `None` leaves it to the scheduler.
    pub cpu: Option<usize>,
    /// What it does when idle.
    pub idle: Idle,
    /// Its roles, polled in this order.
    pub roles: Vec<Box<dyn Role>>,
    /// Where it counts how much of its time no role had work: [`IDLE_COUNTERS`].
    pub metrics: Option<RoleMetrics>,
}

/// What a thread counts: nanoseconds without work since it started; how many thousandths of the last second they were; and
/// its seconds, so that whoever watches sees that it is not stuck in a role.
pub const IDLE_COUNTERS: [&str; 3] = ["idle_ns", "idle_permille", "beats"];

/// Adds up the time between a poll without work and the next with work: nothing is timed on a thread that has always
/// work or never.
struct IdleTime {
    metrics: Option<RoleMetrics>,
    scale: TickScale,
    since: Option<u64>,
    nanos: u64,
    /// When the present second began, and what was added up then.
    second: (u64, u64),
}

impl IdleTime {
    fn new(metrics: Option<RoleMetrics>) -> Self {
        Self { metrics, scale: TickScale::new(), since: None, nanos: 0, second: (ticks(), 0) }
    }

    /// Nanoseconds since the first poll without work, if the last one had none.
    fn lasts(&self) -> u64 {
        self.since.map_or(0, |since| self.scale.nanos(since, ticks()))
    }

    fn note(&mut self, work: bool) {
        match (work, self.since) {
            (false, None) => self.since = Some(ticks()),
            (true, Some(since)) => {
                self.nanos += self.scale.nanos(since, ticks());
                self.since = None;
            }
            _ => {}
        }
    }

    /// To be called now and then; counts once a second.
    fn publish(&mut self) {
        let Some(metrics) = &mut self.metrics else { return };
        let now = ticks();
        let second = self.scale.nanos(self.second.0, now);
        if second < 1_000_000_000 {
            return;
        }
        if let Some(since) = &mut self.since {
            self.nanos += self.scale.nanos(*since, now);
            *since = now;
        }
        metrics.set(0, self.nanos);
        metrics.set(1, ((self.nanos - self.second.1) * 1_000 / second).min(1_000));
        metrics.add(2, 1);
        self.second = (now, self.nanos);
    }
}

/// Asks threads to stop; shared by all of a node.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Takes it back.
    pub fn withdraw(&self) {
        self.0.store(false, Ordering::Release);
    }

    /// Whether it was asked.
    #[must_use]
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What a parking thread sleeps after each of its first polls without work, once it has yielded a few times.
/// It never spins: on a shared CPU the kernel threads that carry out the journal's writes would wait for the
/// end of its time slice (a commit was seen to take 8 ms instead of 60 µs). And it does not yield for long: a
/// thread that yields all day loses its claim to a CPU that others want (stalls of 0.4 s were seen in one
/// demo of three, and in none of five with these rests).
const REST: Duration = Duration::from_micros(10);
/// Yields before that: what a write takes on a quick disk.
const POLLS_BEFORE_REST: u32 = 30;
/// It yields for so long at least. Without this, roles whose polls are short (frames of our own are found without a system
/// call) would rest between a member's answer and its next order: 30 polls were 8 µs there, and each round trip of 13 µs took
/// 24. Where yields are long, because others want the CPU, it changes nothing.
const NANOS_BEFORE_REST: u64 = 25_000;
/// So many such rests (1 ms and more) before a thread sleeps for the `park` of its plan.
const POLLS_BEFORE_PARK: u32 = 100;
/// After so many of these (20 ms and more) it sleeps ten times as long, and two hundred times where what comes
/// wakes it, so that an idle node leaves the machine alone.
const POLLS_BEFORE_LONG_PARK: u32 = POLLS_BEFORE_PARK + 400;
/// Polls between two readings of the monotonic clock on a busy thread: heartbeats need no more.
const POLLS_PER_CLOCK: u32 = 64;

impl ThreadPlan {
    /// Starts the thread; it runs until `stop` is asked and gives its roles back.
    ///
    /// # Errors
    /// When the kernel makes no thread.
    pub fn start(mut self, stop: Stop) -> std::io::Result<JoinHandle<Vec<Box<dyn Role>>>> {
        Builder::new().name(self.name.clone()).spawn(move || {
            let _fail_stop = FailStop(stop.clone());
            if let Some(cpu) = self.cpu
                && !core_affinity::set_for_current(core_affinity::CoreId { id: cpu })
            {
                tracing::warn!(thread = %self.name, cpu, "could not be pinned; the scheduler places it");
            }
            if matches!(self.idle, Idle::Park { .. }) {
                // The kernel adds up to 50 µs to a sleep unless it is told not to; then a rest is merely longer.
                let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1));
            }
            let mut idle_time = IdleTime::new(self.metrics.take());
            let origin = Instant::now();
            let (mut now, mut polls, mut without_work) = (Nanos(1), 0_u32, 0_u32);
            let mut in_vain = false;
            while !stop.asked() {
                if polls.is_multiple_of(POLLS_PER_CLOCK) || without_work > POLLS_BEFORE_PARK {
                    now = Nanos(origin.elapsed().as_nanos() as u64 + 1);
                    idle_time.publish();
                }
                polls = polls.wrapping_add(1);
                let work: usize = self.roles.iter_mut().map(|role| role.poll(now)).sum();
                idle_time.note(work > 0);
                without_work = match work {
                    0 => idler(without_work, || idle_time.lasts()),
                    _ => 0,
                };
                if work == 0 {
                    rest(self.idle, without_work, &mut self.roles, &mut in_vain);
                } else {
                    in_vain = false;
                }
            }
            for role in &mut self.roles {
                role.finish();
            }
            self.roles
        })
    }
}

/// How many polls without work count, after another one.
fn idler(without_work: u32, lasts_ns: impl FnOnce() -> u64) -> u32 {
    let stays = without_work == POLLS_BEFORE_REST && lasts_ns() < NANOS_BEFORE_REST;
    if stays { without_work } else { without_work.saturating_add(1) }
}

/// Where a panic unwinds (a release build aborts), one broken role ends all of them: a node that goes on
/// without its shard or its journal would keep sessions up that nobody answers.
struct FailStop(Stop);

impl Drop for FailStop {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.ask();
        }
    }
}

/// `in_vain`: the last sleep was ended by something that no role wanted.
fn rest(idle: Idle, without_work: u32, roles: &mut [Box<dyn Role>], in_vain: &mut bool) {
    match idle {
        Idle::Spin => std::hint::spin_loop(),
        Idle::Park { park } if without_work > POLLS_BEFORE_LONG_PARK => {
            let begun = Instant::now();
            let waited = !*in_vain
                && match roles {
                    [alone] => alone.wait_alone(park * 200),
                    several => several.iter_mut().any(|role| role.wait(park * 200)),
                };
            // What woke it may be something that is left where it is, and would wake it again at once.
            *in_vain = waited && begun.elapsed() < park * 10;
            if !waited {
                std::thread::sleep(park * 10);
            }
        }
        Idle::Park { park } if without_work > POLLS_BEFORE_PARK => std::thread::sleep(park),
        Idle::Park { .. } if without_work > POLLS_BEFORE_REST => std::thread::sleep(REST),
        Idle::Park { .. } => std::thread::yield_now(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Count(u64);
    impl Role for Count {
        fn name(&self) -> &'static str {
            "count"
        }
        fn poll(&mut self, now: Nanos) -> usize {
            assert!(now.0 > 0);
            self.0 += 1;
            0
        }
    }

    /// A thread goes from yields to rests when it has both polled so often and waited so long.
    #[test]
    fn short_polls_do_not_make_a_thread_rest_sooner() {
        let mut without_work = 0;
        for _ in 0..1_000 {
            without_work = idler(without_work, || NANOS_BEFORE_REST - 1);
        }
        assert_eq!(without_work, POLLS_BEFORE_REST);
        assert_eq!(idler(without_work, || NANOS_BEFORE_REST), POLLS_BEFORE_REST + 1);
        // Long polls: only their number counts.
        assert_eq!(idler(POLLS_BEFORE_REST - 1, || unreachable!("not asked")), POLLS_BEFORE_REST);
        assert_eq!(idler(POLLS_BEFORE_REST + 1, || unreachable!("not asked")), POLLS_BEFORE_REST + 2);
        assert_eq!(idler(u32::MAX, || unreachable!("not asked")), u32::MAX);
    }

    struct Broken;
    impl Role for Broken {
        fn name(&self) -> &'static str {
            "broken"
        }
        fn poll(&mut self, _: Nanos) -> usize {
            panic!("an invariant of a role is broken, for a test")
        }
    }

    #[test]
    fn a_role_that_panics_stops_every_thread_of_the_node() {
        let stop = Stop::default();
        let start = |role: Box<dyn Role>| {
            let plan = ThreadPlan {
                name: "test".into(),
                cpu: None,
                idle: Idle::Spin,
                roles: vec![role],
                metrics: None,
            };
            plan.start(stop.clone()).expect("a thread")
        };
        let (healthy, broken) = (start(Box::new(Count(0))), start(Box::new(Broken)));
        assert!(broken.join().is_err());
        assert!(stop.asked());
        assert!(healthy.join().is_ok());
    }

    #[test]
    fn a_thread_polls_until_asked_to_stop_and_gives_its_roles_back() {
        for idle in [Idle::Spin, Idle::Park { park: Duration::from_micros(50) }] {
            let stop = Stop::default();
            let roles: Vec<Box<dyn Role>> = vec![Box::new(Count(0))];
            let plan = ThreadPlan { name: "test".into(), cpu: None, idle, roles, metrics: None };
            let thread = plan.start(stop.clone()).expect("a thread");
            stop.ask();
            let roles = thread.join().expect("it does not panic");
            assert_eq!(roles[0].name(), "count");
        }
    }
}
