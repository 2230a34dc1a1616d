//! The bell under loom: the same source as the library's. A sleeper here sleeps for ever when it is not rung for, which
//! loom finds out as a deadlock.

use std::time::Duration;

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};

#[path = "../src/bell.rs"]
mod bell;

/// What the bell needs, of loom's.
mod threads {
    use std::time::Duration;

    pub use loom::sync::Arc;
    pub use loom::sync::atomic::{AtomicBool, Ordering, fence};
    pub use loom::thread::{Thread, current};

    /// No time is ever over.
    pub fn park_timeout(_: Duration) {
        loom::thread::park();
    }

    /// Filled once, as the standard library's.
    #[derive(Debug)]
    pub struct OnceLock<T>(loom::sync::Mutex<Option<T>>);

    impl<T> Default for OnceLock<T> {
        fn default() -> Self {
            Self(loom::sync::Mutex::new(None))
        }
    }

    impl<T: Clone> OnceLock<T> {
        pub fn get_or_init(&self, init: impl FnOnce() -> T) -> T {
            self.0.lock().expect("nobody panics").get_or_insert_with(init).clone()
        }

        pub fn get(&self) -> Option<T> {
            self.0.lock().expect("nobody panics").clone()
        }
    }
}

#[test]
fn who_is_given_something_wakes() {
    loom::model(|| {
        const ORDERS: usize = 2;
        let given = Arc::new(AtomicUsize::new(0));
        let (bell, sleeper) = bell::bell();
        let seen = given.clone();
        let sleeps = loom::thread::spawn(move || {
            let mut taken = 0;
            while taken < ORDERS {
                if seen.load(Ordering::Acquire) > taken {
                    taken += 1;
                } else {
                    sleeper.sleep(Duration::MAX, || seen.load(Ordering::Acquire) > taken);
                }
            }
        });
        for order in 1..=ORDERS {
            given.store(order, Ordering::Release);
            bell.ring();
        }
        sleeps.join().expect("it ends");
    });
}
