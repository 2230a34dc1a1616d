//! The bell on real threads.

use std::thread;
use std::time::Duration;

use ironbell_sync::{bell, ring};

/// Who missed one ring would sleep for an hour.
#[test]
fn no_ring_is_lost() {
    let (mut orders, mut to_sleeper) = ring(1);
    let (mut answers, mut from_sleeper) = ring(1);
    let (bell, sleeper) = bell();
    let sleeps = thread::spawn(move || {
        loop {
            match to_sleeper.pop() {
                Ok(0) => return,
                Ok(order) => answers.push(order).expect("there is room for one"),
                Err(_) => sleeper.sleep(Duration::from_secs(3_600), || !to_sleeper.is_empty()),
            }
        }
    });
    for order in (1..20_000_u32).rev().chain([0]) {
        orders.push(order).expect("the one before was answered");
        bell.ring();
        while order > 0 && from_sleeper.pop() != Ok(order) {
            if order % 2 == 0 {
                thread::yield_now();
            }
        }
    }
    sleeps.join().expect("it ends");
}
