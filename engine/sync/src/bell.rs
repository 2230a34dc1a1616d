//! Wakes a thread that sleeps because it has had nothing to do for long.
//!
//! Who is awake polls, and is never rung for: to ring costs a fence then, and a system call only where somebody sleeps.
//! No ring is lost (Dekker's rule): the sleeper says that it sleeps and then looks for work, the ringer puts work there and
//! then looks whether it sleeps, with a fence between the two on either side; so at least one of them sees the other.
//! (`tests/bell_model.rs` lets loom try the interleavings.)

use std::time::Duration;

use crate::threads::{Arc, AtomicBool, OnceLock, Ordering, Thread, current, fence, park_timeout};

#[derive(Debug, Default)]
struct Shared {
    asleep: AtomicBool,
    thread: OnceLock<Thread>,
}

/// The end that is rung.
#[derive(Debug)]
pub struct Bell(Arc<Shared>);

/// The end that sleeps.
#[derive(Debug)]
pub struct Sleeper(Arc<Shared>);

/// A bell, and who hears it.
#[must_use]
pub fn bell() -> (Bell, Sleeper) {
    let shared = Arc::<Shared>::default();
    (Bell(shared.clone()), Sleeper(shared))
}

impl Bell {
    /// Wakes the sleeper if it sleeps; to be called after there is something for it.
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.0.asleep.load(Ordering::Relaxed)
            && let Some(thread) = self.0.thread.get()
        {
            thread.unpark();
        }
    }
}

impl Sleeper {
    /// Sleeps until it is rung for or the time is over, perhaps less; not at all where `has_work`. Always on one thread: one
    /// that goes on on another sleeps for the whole time.
    pub fn sleep(&self, at_most: Duration, has_work: impl FnOnce() -> bool) {
        self.0.thread.get_or_init(current);
        self.0.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if !has_work() {
            park_timeout(at_most);
        }
        self.0.asleep.store(false, Ordering::Relaxed);
    }
}
