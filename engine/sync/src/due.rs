//! When something is due: a point in time with one writer, on a cache line of its own. Unlike a progress
//! mark it moves both ways: timers are set, fire and are taken back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

/// What stands for "nothing is due".
const NEVER: u64 = u64::MAX;

/// The writing end.
#[derive(Debug)]
pub struct DueWriter(Arc<CachePadded<AtomicU64>>);

/// A reading end.
#[derive(Clone, Debug)]
pub struct DueReader(Arc<CachePadded<AtomicU64>>);

/// A new point in time: nothing is due.
#[must_use]
pub fn due() -> (DueWriter, DueReader) {
    let shared = Arc::new(CachePadded::new(AtomicU64::new(NEVER)));
    (DueWriter(Arc::clone(&shared)), DueReader(shared))
}

impl DueWriter {
    /// Something is due at `at` (nanoseconds; below 2^64 − 1), or nothing is.
    pub fn publish(&mut self, at: Option<u64>) {
        let at = at.unwrap_or(NEVER);
        // Mostly nothing changes, and then the reader's copy of the line stays good.
        if self.0.load(Ordering::Relaxed) != at {
            self.0.store(at, Ordering::Release);
        }
    }
}

impl DueReader {
    /// When something is due; `None` when nothing is.
    #[must_use]
    pub fn get(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Acquire)).filter(|at| *at != NEVER)
    }

    /// Whether something is due at `now` or was before.
    #[must_use]
    pub fn is_due(&self, now: u64) -> bool {
        self.get().is_some_and(|at| at <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_is_due_from_its_time_on_until_it_is_taken_back() {
        let (mut writer, reader) = due();
        assert!(!reader.is_due(u64::MAX));
        writer.publish(Some(10));
        assert_eq!([9, 10, 11].map(|now| reader.is_due(now)), [false, true, true]);
        writer.publish(Some(5));
        assert_eq!(reader.get(), Some(5));
        writer.publish(None);
        assert_eq!((reader.get(), reader.is_due(u64::MAX)), (None, false));
    }
}
