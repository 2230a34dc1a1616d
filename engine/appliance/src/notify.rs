//! What the service manager is told (`sd_notify(3)`): that the node is ready, that it stops, and, while every thread of the
//! order path moves, that it need not be ended and started again (`WatchdogSec=`).
//!
//! Without a service manager nothing is said.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use ironbell_sync::metrics::Reader;
use sd_notify::NotifyState;

use crate::failure::Failure;

/// A thread that has not shown itself for so long is stuck: it does so once a second.
const STUCK: Duration = Duration::from_secs(5);

/// Speaks to the service manager.
pub struct Notifier {
    /// How often the watchdog is fed; `None` without one.
    every: Option<Duration>,
    fed: Instant,
    threads: Option<Threads>,
    /// It could not be told, which has been said.
    unheard: bool,
}

struct Threads {
    metrics: Reader,
    /// Of each thread its beats, and when they were seen to move.
    moved: BTreeMap<String, (u64, Instant)>,
}

impl Notifier {
    /// As the environment says.
    #[must_use]
    pub fn new() -> Self {
        // Twice as often as the service manager wants it: `sd_watchdog_enabled(3)`.
        let every = sd_notify::watchdog_enabled().map(|every| every / 2);
        Self { every, fed: Instant::now(), threads: None, unheard: false }
    }

    /// Members, or the other node of a pair, can come: with a line for `systemctl status`.
    pub fn ready(&mut self, status: &str) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// It drains and seals.
    pub fn stopping(&mut self) {
        self.tell(&[NotifyState::Stopping]);
    }

    /// From now on the watchdog is fed only while every thread in the metrics segment at `path` moves.
    ///
    /// # Errors
    /// When there is none.
    pub fn watch(&mut self, path: &Path) -> Result<(), Failure> {
        let metrics = Reader::open(path).map_err(Failure::refused)?;
        self.threads = Some(Threads { metrics, moved: BTreeMap::new() });
        Ok(())
    }

    /// The threads are gone: whoever calls [`tick`](Self::tick) is all there is.
    pub fn unwatch(&mut self) {
        self.threads = None;
    }

    /// To be called now and then.
    pub fn tick(&mut self) {
        let now = Instant::now();
        let Some(every) = self.every else { return };
        if now.duration_since(self.fed) < every.min(Duration::from_secs(1)) {
            return;
        }
        self.fed = now;
        match self.threads.as_mut().and_then(|threads| threads.stuck(now)) {
            None => self.tell(&[NotifyState::Watchdog]),
            Some(thread) => tracing::error!(thread, "ALARM: the thread is stuck; the watchdog is not fed"),
        }
    }

    fn tell(&mut self, state: &[NotifyState<'_>]) {
        match sd_notify::notify(state) {
            Ok(()) => self.unheard = false,
            Err(error) => {
                if !std::mem::replace(&mut self.unheard, true) {
                    tracing::warn!(%error, "the service manager cannot be told");
                }
            }
        }
    }
}

impl Default for Notifier {
    fn default() -> Self {
        Self::new()
    }
}

impl Threads {
    /// One that does not move.
    fn stuck(&mut self, now: Instant) -> Option<String> {
        for role in self.metrics.read() {
            let beats = role.counters.iter().find(|(name, _)| name == "beats").map(|(_, beats)| *beats);
            let (true, Some(beats)) = (role.role.starts_with("thread "), beats) else { continue };
            let seen = self.moved.entry(role.role).or_insert((beats, now));
            if seen.0 != beats {
                *seen = (beats, now);
            }
        }
        let stuck = self.moved.iter().find(|(_, (_, since))| now.duration_since(*since) > STUCK);
        stuck.map(|(thread, _)| thread.clone())
    }
}

#[cfg(test)]
mod tests {
    use ironbell_sync::metrics::{Spec, create};

    use super::*;

    #[test]
    fn a_thread_that_stands_still_is_named_until_it_moves() {
        let dir = std::env::temp_dir().join(format!("ironbell-notify-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("room");
        let spec = |role| Spec { role, counters: &["idle_ns", "idle_permille", "beats"], histograms: &[] };
        let mut roles =
            create(&dir.join("metrics"), &[spec("thread order-path"), spec("thread feed")]).expect("room");
        let metrics = Reader::open(&dir.join("metrics")).expect("it was just made");
        let mut threads = Threads { metrics, moved: BTreeMap::new() };
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(threads.stuck(at(0)), None);
        roles[0].add(2, 1);
        assert_eq!(threads.stuck(at(4)), None);
        roles[0].add(2, 1);
        assert_eq!(threads.stuck(at(6)).as_deref(), Some("thread feed"));
        roles[1].add(2, 1);
        assert_eq!(threads.stuck(at(7)), None);
        let _ = std::fs::remove_dir_all(&dir);
    }
}
