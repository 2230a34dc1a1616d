//! When good-till-time orders end: a pairing heap by time, then age, linked through the orders' extras.
//!
//! Any order can leave it at any time, and nothing is allocated for it. Its shape shows in nothing, since
//! no two orders are equal.

use crate::{
    book::{Extras, Order},
    index::NONE,
    slab::Slab,
};
use alloc::vec::Vec;
use ironbell_types::{Nanos, OrderRef};

/// An order's place in the heap.
#[derive(Clone, Copy)]
pub(crate) struct Links {
    /// The first of those that end later and were compared with it.
    child: u32,
    /// The next child of the same parent.
    next: u32,
    /// The child before it, or of a first child the parent.
    prev: u32,
}

impl Links {
    pub(crate) const NONE: Self = Self { child: NONE, next: NONE, prev: NONE };
}

/// The orders of one instrument that end at a time.
#[derive(Clone, Copy)]
pub(crate) struct Heap {
    root: u32,
}

fn rank(slot: u32, orders: &Slab<Order>, extras: &Extras) -> (Nanos, OrderRef) {
    (extras[slot].terms.expire, orders[slot].order_ref)
}

impl Heap {
    pub(crate) const EMPTY: Self = Self { root: NONE };

    /// The order that ends first.
    pub(crate) fn first(&self) -> Option<u32> {
        Some(self.root).filter(|root| *root != NONE)
    }

    pub(crate) fn insert(&mut self, slot: u32, orders: &Slab<Order>, extras: &mut Extras) {
        extras[slot].heap = Links::NONE;
        self.root = meld(self.root, slot, orders, extras);
    }

    pub(crate) fn remove(&mut self, slot: u32, orders: &Slab<Order>, extras: &mut Extras) {
        let Links { child, next, prev } = extras[slot].heap;
        let children = meld_siblings(child, orders, extras);
        if slot == self.root {
            self.root = children;
            return;
        }
        let before = &mut extras[prev].heap;
        if before.child == slot {
            before.child = next;
        } else {
            before.next = next;
        }
        if next != NONE {
            extras[next].heap.prev = prev;
        }
        self.root = meld(self.root, children, orders, extras);
    }

    /// For tests: how many there are; panics when one ends before its parent.
    pub(crate) fn check(&self, orders: &Slab<Order>, extras: &Extras) -> usize {
        let mut open = Vec::from_iter(self.first());
        let mut count = 0;
        while let Some(slot) = open.pop() {
            count += 1;
            let (mut prev, mut child) = (slot, extras[slot].heap.child);
            while child != NONE {
                assert_eq!(extras[child].heap.prev, prev);
                assert!(rank(slot, orders, extras) < rank(child, orders, extras));
                open.push(child);
                (prev, child) = (child, extras[child].heap.next);
            }
        }
        count
    }
}

/// Makes one heap of two, either of which may be none: the later root becomes the other's first child.
fn meld(a: u32, b: u32, orders: &Slab<Order>, extras: &mut Extras) -> u32 {
    if a == NONE || b == NONE {
        return if a == NONE { b } else { a };
    }
    let (above, below) = if rank(a, orders, extras) < rank(b, orders, extras) { (a, b) } else { (b, a) };
    let first = extras[above].heap.child;
    if first != NONE {
        extras[first].heap.prev = below;
    }
    let links = &mut extras[below].heap;
    (links.next, links.prev) = (first, above);
    extras[above].heap.child = below;
    above
}

/// Makes one heap of a row of siblings: in pairs from the first, then the pairs from the last.
fn meld_siblings(first: u32, orders: &Slab<Order>, extras: &mut Extras) -> u32 {
    // The pairs made so far are linked by `next`, the last one first.
    let (mut pairs, mut at) = (NONE, first);
    while at != NONE {
        let second = cut(at, extras);
        let rest = if second == NONE { NONE } else { cut(second, extras) };
        let pair = meld(at, second, orders, extras);
        extras[pair].heap.next = pairs;
        (pairs, at) = (pair, rest);
    }
    let mut root = NONE;
    while pairs != NONE {
        let rest = cut(pairs, extras);
        root = meld(root, pairs, orders, extras);
        pairs = rest;
    }
    root
}

/// Takes a heap out of its row; returns the next of the row.
fn cut(slot: u32, extras: &mut Extras) -> u32 {
    let links = &mut extras[slot].heap;
    let next = links.next;
    (links.next, links.prev) = (NONE, NONE);
    next
}
