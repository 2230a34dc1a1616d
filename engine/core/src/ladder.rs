//! The price ladder of one side of a book: a trie over the price in ticks, six bits a step.
//!
//! ```text
//! price  … 0000 | 001000 | 001011 | 100000      height = digits in use, 1 to 11
//!                   │        │        └ lane of the leaf ─ Level: first and last order, sum
//!                   │        └ digit of the node above: 64 children and a bitmap of those in use
//!                   └ digit of the root
//! ```
//!
//! A leaf is 64 neighbouring prices, so a dense book lives in one or two leaves; a crash that walks
//! tens of thousands of ticks costs one leaf for every 64 of them, and the next price of an emptied
//! level is a few bit scans away however far it is. The height follows the highest price in use.
//! Each side of a book has a ladder of its own, since bids and asks overlap while nothing trades.

use crate::{index::NONE, slab::Slab};

/// The orders of one price.
#[derive(Clone, Copy)]
pub(crate) struct Level {
    /// Oldest order.
    pub(crate) head: u32,
    /// Newest order.
    pub(crate) tail: u32,
    /// How many.
    pub(crate) count: u32,
    /// What they have left, together.
    pub(crate) qty: u128,
}

#[derive(Clone, Copy)]
pub(crate) struct Leaf {
    occupied: u64,
    /// Whose it is: a number that its ladder was given.
    pub(crate) owner: u32,
    /// Contents stand only where `occupied` says so.
    levels: [Level; 64],
}

#[derive(Clone, Copy)]
struct Node {
    occupied: u64,
    children: [u32; 64],
}

/// Leaves and nodes of all ladders.
#[derive(Clone)]
pub(crate) struct Ladders {
    leaves: Slab<Leaf>,
    nodes: Slab<Node>,
}

/// A ladder; empty at height 0.
#[derive(Clone, Copy)]
pub(crate) struct Ladder {
    root: u32,
    height: u32,
}

/// Six bits a digit, 63 bits of price.
const HEIGHT_MAX: u32 = 11;

fn digit(price: u64, level: u32) -> u32 {
    (price >> (6 * level)) as u32 & 63
}

fn bit(price: u64, level: u32) -> u64 {
    1 << digit(price, level)
}

/// The price's digits at `level` and above, the others zero.
fn prefix(price: u64, level: u32) -> u64 {
    u64::MAX.checked_shl(6 * level).map_or(0, |mask| price & mask)
}

impl Ladders {
    pub(crate) fn new(capacity: usize) -> Self {
        let level = Level { head: NONE, tail: NONE, count: 0, qty: 0 };
        let leaf = Leaf { occupied: 0, owner: NONE, levels: [level; 64] };
        let node = Node { occupied: 0, children: [NONE; 64] };
        Self { leaves: Slab::new(capacity, leaf), nodes: Slab::new(capacity, node) }
    }

    pub(crate) fn level(&self, leaf: u32, price: u64) -> &Level {
        &self.leaves[leaf].levels[(price & 63) as usize]
    }

    pub(crate) fn level_mut(&mut self, leaf: u32, price: u64) -> &mut Level {
        &mut self.leaves[leaf].levels[(price & 63) as usize]
    }

    /// What the ladder that a leaf is part of was called.
    pub(crate) fn owner(&self, leaf: u32) -> u32 {
        self.leaves[leaf].owner
    }

    /// Whether the leaf has orders at that price.
    pub(crate) fn is_occupied(&self, leaf: u32, price: u64) -> bool {
        self.leaves[leaf].occupied & bit(price, 0) != 0
    }

    /// The next price in use strictly below (`down`) or above among the 64 of a leaf, which `price` is one of.
    #[inline(always)]
    pub(crate) fn beyond_in(&self, leaf: u32, price: u64, down: bool) -> Option<u64> {
        let below = bit(price, 0) - 1;
        let side = if down { below } else { !below & !bit(price, 0) };
        let found = self.leaves[leaf].occupied & side;
        if found == 0 {
            return None;
        }
        let digit = if down { 63 - found.leading_zeros() } else { found.trailing_zeros() };
        Some(prefix(price, 1) | u64::from(digit))
    }

    /// Marks a price in use and says which level is to hold its first order.
    pub(crate) fn occupy(&mut self, leaf: u32, price: u64) -> &mut Level {
        let leaf = &mut self.leaves[leaf];
        leaf.occupied |= bit(price, 0);
        &mut leaf.levels[(price & 63) as usize]
    }

    /// Marks a price unused and keeps its leaf, which has others in use, or is to be pruned before another is made.
    #[inline(always)]
    pub(crate) fn vacate_in(&mut self, leaf: u32, price: u64) {
        debug_assert!(self.is_occupied(leaf, price));
        self.leaves[leaf].occupied &= !bit(price, 0);
    }

    fn take_leaf(&mut self, owner: u32) -> u32 {
        let slot = self.leaves.take();
        let leaf = &mut self.leaves[slot];
        (leaf.occupied, leaf.owner) = (0, owner);
        slot
    }

    fn take_node(&mut self) -> u32 {
        let slot = self.nodes.take();
        self.nodes[slot].occupied = 0;
        slot
    }
}

impl Ladder {
    pub(crate) const EMPTY: Self = Self { root: NONE, height: 0 };

    fn covers(&self, price: u64) -> bool {
        prefix(price, self.height) == 0
    }

    /// The leaf of a price, if there is one.
    pub(crate) fn leaf(&self, pool: &Ladders, price: u64) -> Option<u32> {
        if self.height == 0 || !self.covers(price) {
            return None;
        }
        let mut at = self.root;
        for level in (1..self.height).rev() {
            let node = &pool.nodes[at];
            if node.occupied & bit(price, level) == 0 {
                return None;
            }
            at = node.children[digit(price, level) as usize];
        }
        Some(at)
    }

    /// The leaf of a price; made, with the way to it, if there is none.
    pub(crate) fn leaf_or_new(&mut self, pool: &mut Ladders, owner: u32, price: u64) -> u32 {
        if self.height == 0 {
            self.height = (64 - price.leading_zeros()).div_ceil(6).max(1);
            self.root = if self.height == 1 { pool.take_leaf(owner) } else { pool.take_node() };
        }
        while !self.covers(price) {
            let above = pool.take_node();
            let node = &mut pool.nodes[above];
            node.occupied = 1;
            node.children[0] = self.root;
            self.root = above;
            self.height += 1;
        }
        let mut at = self.root;
        for level in (1..self.height).rev() {
            let node = &pool.nodes[at];
            at = if node.occupied & bit(price, level) != 0 {
                node.children[digit(price, level) as usize]
            } else {
                let child = if level == 1 { pool.take_leaf(owner) } else { pool.take_node() };
                let node = &mut pool.nodes[at];
                node.occupied |= bit(price, level);
                node.children[digit(price, level) as usize] = child;
                child
            };
        }
        at
    }

    /// The nodes on the way to a price as far as they exist, by level, and the lowest level reached.
    fn path(&self, pool: &Ladders, price: u64) -> ([u32; HEIGHT_MAX as usize], u32) {
        let mut path = [NONE; HEIGHT_MAX as usize];
        let mut at = self.root;
        let mut level = self.height - 1;
        loop {
            path[level as usize] = at;
            if level == 0 || pool.nodes[at].occupied & bit(price, level) == 0 {
                return (path, level);
            }
            at = pool.nodes[at].children[digit(price, level) as usize];
            level -= 1;
        }
    }

    fn occupied(pool: &Ladders, at: u32, level: u32) -> u64 {
        if level == 0 { pool.leaves[at].occupied } else { pool.nodes[at].occupied }
    }

    /// The next price in use strictly below (`down`) or above, and its leaf.
    pub(crate) fn beyond(&self, pool: &Ladders, price: u64, down: bool) -> Option<(u64, u32)> {
        if self.height == 0 {
            return None;
        }
        assert!(self.covers(price));
        let (path, lowest) = self.path(pool, price);
        for level in lowest..self.height {
            let at = path[level as usize];
            let below = bit(price, level) - 1;
            let side = if down { below } else { !below & !bit(price, level) };
            let found = Self::occupied(pool, at, level) & side;
            if found != 0 {
                return Some(Self::descend(pool, at, level, found, prefix(price, level + 1), down));
            }
        }
        None
    }

    /// From a node at `level` the outermost price: the highest when searching `down`, else the lowest.
    fn descend(pool: &Ladders, at: u32, level: u32, found: u64, above: u64, down: bool) -> (u64, u32) {
        let (mut at, mut level, mut found, mut price) = (at, level, found, above);
        loop {
            let digit = if down { 63 - found.leading_zeros() } else { found.trailing_zeros() };
            price |= u64::from(digit) << (6 * level);
            if level == 0 {
                return (price, at);
            }
            at = pool.nodes[at].children[digit as usize];
            level -= 1;
            found = Self::occupied(pool, at, level);
        }
    }

    /// Marks a price unused and frees what led to it alone.
    pub(crate) fn vacate(&mut self, pool: &mut Ladders, leaf: u32, price: u64) {
        pool.vacate_in(leaf, price);
        if pool.leaves[leaf].occupied == 0 {
            self.prune(pool, price);
        }
    }

    /// Frees the leaf of a price, which has none in use, and what led to it alone.
    pub(crate) fn prune(&mut self, pool: &mut Ladders, price: u64) {
        let (path, lowest) = self.path(pool, price);
        debug_assert!(lowest == 0);
        pool.leaves.remove(path[0]);
        for level in 1..self.height {
            let at = path[level as usize];
            let occupied = &mut pool.nodes[at].occupied;
            *occupied &= !bit(price, level);
            if *occupied != 0 {
                return self.shrink(pool);
            }
            pool.nodes.remove(at);
        }
        *self = Self::EMPTY;
    }

    /// Takes away roots that only lead to their lowest child.
    fn shrink(&mut self, pool: &mut Ladders) {
        while self.height > 1 && pool.nodes[self.root].occupied == 1 {
            let root = self.root;
            self.root = pool.nodes[root].children[0];
            pool.nodes.remove(root);
            self.height -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;
    use alloc::{collections::BTreeSet, vec::Vec};

    /// The twin is a sorted set; prices are drawn near, far and at the ends of 63 bits.
    #[test]
    fn agrees_with_a_sorted_set() {
        for seed in 0..8 {
            let mut rng = Rng::new(seed);
            let mut pool = Ladders::new(16);
            let (mut ladder, mut set) = (Ladder::EMPTY, BTreeSet::new());
            for step in 0..20_000 {
                let price = match rng.below(4) {
                    0 => 33_000 + rng.below(300),
                    1 => 1 + rng.below(100_000),
                    2 => (rng.next() >> (1 + rng.below(63))).max(1),
                    _ => i64::MAX as u64 - rng.below(100),
                };
                if set.remove(&price) {
                    let leaf = ladder.leaf(&pool, price).unwrap();
                    ladder.vacate(&mut pool, leaf, price);
                } else if step % 3 < 2 {
                    set.insert(price);
                    let leaf = ladder.leaf_or_new(&mut pool, 5, price);
                    pool.occupy(leaf, price);
                    assert_eq!(pool.owner(leaf), 5);
                } else if let Some(&taken) = set.range(price..).next() {
                    set.remove(&taken);
                    let leaf = ladder.leaf(&pool, taken).unwrap();
                    ladder.vacate(&mut pool, leaf, taken);
                }
                let from = set.iter().nth(rng.below(set.len() as u64 + 1) as usize).copied();
                if let Some(from) = from {
                    let below = ladder.beyond(&pool, from, true).map(|(price, _)| price);
                    let above = ladder.beyond(&pool, from, false).map(|(price, _)| price);
                    assert_eq!(below, set.range(..from).next_back().copied(), "seed {seed} step {step}");
                    assert_eq!(above, set.range(from + 1..).next().copied(), "seed {seed} step {step}");
                    let leaf = ladder.leaf(&pool, from).unwrap();
                    let near = |price: &u64| price >> 6 == from >> 6;
                    assert_eq!(
                        pool.beyond_in(leaf, from, true),
                        below.filter(near),
                        "seed {seed} step {step}"
                    );
                    assert_eq!(
                        pool.beyond_in(leaf, from, false),
                        above.filter(near),
                        "seed {seed} step {step}"
                    );
                }
            }
            for price in set.iter().copied().collect::<Vec<_>>() {
                let leaf = ladder.leaf(&pool, price).unwrap();
                assert!(pool.is_occupied(leaf, price));
                ladder.vacate(&mut pool, leaf, price);
            }
            assert_eq!((ladder.height, pool.leaves.len(), pool.nodes.len()), (0, 0, 0), "seed {seed}");
        }
    }
}
