//! The exchange between shards under loom: the same source as the library's, over a ring made of loom's atomics, in
//! every interleaving with so many preemptions. A ring that is found full, mail of another exchange, a member that waits
//! for ever, or a read that is not ordered after its write fails here.

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Notify};

#[path = "../src/exchange.rs"]
mod exchange;

/// What `rtrb` does, as far as it matters: one writer, one reader, two counters. But a reader sleeps until something is
/// written, so that loom need not try how often it looks in vain, and finds it out when it would sleep for ever.
#[derive(Debug)]
struct Ring<T> {
    slots: Vec<UnsafeCell<Option<T>>>,
    written: AtomicUsize,
    read: AtomicUsize,
    more: Notify,
}

// SAFETY: a slot is only reached by the writer before `written` passes it and by the reader after, and the other way
// round for `read`; loom's cell fails the test where that does not hold.
unsafe impl<T: Send> Send for Ring<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Ring<T> {}

/// Never said: the reader sleeps instead.
#[derive(Debug)]
struct Empty;

#[derive(Debug)]
struct Producer<T>(Arc<Ring<T>>);
#[derive(Debug)]
struct Consumer<T>(Arc<Ring<T>>);

fn ring<T>(depth: usize) -> (Producer<T>, Consumer<T>) {
    let slots = (0..depth).map(|_| UnsafeCell::new(None)).collect();
    let ring = Arc::new(Ring {
        slots,
        written: AtomicUsize::new(0),
        read: AtomicUsize::new(0),
        more: Notify::new(),
    });
    (Producer(Arc::clone(&ring)), Consumer(ring))
}

impl<T> Producer<T> {
    fn push(&mut self, item: T) -> Result<(), T> {
        let written = self.0.written.load(Ordering::Relaxed);
        if written - self.0.read.load(Ordering::Acquire) == self.0.slots.len() {
            return Err(item);
        }
        // SAFETY: the reader is not at this slot: it is not written yet.
        self.0.slots[written % self.0.slots.len()].with_mut(|slot| unsafe { *slot = Some(item) });
        self.0.written.store(written + 1, Ordering::Release);
        self.0.more.notify();
        Ok(())
    }
}

impl<T> Consumer<T> {
    fn pop(&mut self) -> Result<T, Empty> {
        let read = self.0.read.load(Ordering::Relaxed);
        while read == self.0.written.load(Ordering::Acquire) {
            self.0.more.wait();
        }
        // SAFETY: the writer is not at this slot: it is not read yet.
        let item = self.0.slots[read % self.0.slots.len()].with_mut(|slot| unsafe { (*slot).take() });
        self.0.read.store(read + 1, Ordering::Release);
        Ok(item.expect("a written slot holds something"))
    }
}

/// Mail is a cell of loom's, so that reading it without order after its writing is found.
type Mail = Box<UnsafeCell<(usize, usize, u8)>>;

fn member(mut end: exchange::Exchange<Mail>, rounds: u8) {
    let me = end.member();
    for round in 0..rounds {
        for (to, mail) in end.boxes().1.iter_mut().enumerate() {
            // SAFETY: the mail is this member's to write; loom checks it.
            mail.with_mut(|mail| unsafe { *mail = (me, to, round) });
        }
        end.send();
        assert!(end.receive());
        for (from, mail) in end.boxes().0.iter().enumerate() {
            // SAFETY: the mail is this member's to read; loom checks it.
            assert_eq!(mail.with(|mail| unsafe { *mail }), (from, me, round));
        }
    }
}

fn model(members: usize, rounds: u8, preemptions: usize) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(move || {
        let mut ends = exchange::exchange(members, || Box::new(UnsafeCell::new((usize::MAX, 0, 0))));
        let first = ends.remove(0);
        assert_eq!(first.members(), members);
        let threads: Vec<_> =
            ends.into_iter().map(|end| loom::thread::spawn(move || member(end, rounds))).collect();
        member(first, rounds);
        threads.into_iter().for_each(|thread| thread.join().expect("no member panics"));
    });
}

/// Three exchanges: every piece of mail has gone there and back.
#[test]
fn two_members_with_two_preemptions() {
    model(2, 3, 2);
}

#[test]
fn three_members_with_one_preemption() {
    model(3, 1, 1);
}

/// Whoever runs runs until it waits; in every order. A second exchange is where one can be ahead of two others.
#[test]
fn three_members_one_ahead_of_the_others() {
    model(3, 2, 0);
}
