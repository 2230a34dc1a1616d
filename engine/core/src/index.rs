//! A hash index from 64-bit keys to slots: open addressing, Robin Hood order, no tombstones.

/// No slot.
pub(crate) const NONE: u32 = u32::MAX;

/// Keys that share all but their low three bits keep neighbouring places, so that a run of
/// consecutive numbers shares cache lines; where a run starts is scattered by a keyed mix, so that
/// a run that meets older survivors does not pile up on them, and a member that chooses its numbers
/// cannot choose collisions. Half full at most.
pub(crate) struct Index {
    entries: Vec<Entry>,
    len: usize,
    mix: u64,
}

#[derive(Clone, Copy)]
struct Entry {
    key: u64,
    slot: u32,
    /// How many places behind its home it stands.
    behind: u32,
}

const EMPTY: Entry = Entry { key: 0, slot: NONE, behind: 0 };
const RUN_LOG2: u32 = 3;

use alloc::{vec, vec::Vec};

impl Index {
    /// Room for `capacity` keys before it grows.
    pub(crate) fn new(capacity: usize, key: u64) -> Self {
        let places = (capacity.max(32) * 2).next_power_of_two();
        Self { entries: vec![EMPTY; places], len: 0, mix: key ^ 0xa076_1d64_78bd_642f }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn home(&self, key: u64) -> usize {
        let product = u128::from((key >> RUN_LOG2) ^ self.mix) * 0xe703_7ed1_a0b4_28db;
        let run = (product >> 64) as u64 ^ product as u64;
        let place = run << RUN_LOG2 | key & ((1 << RUN_LOG2) - 1);
        place as usize & (self.entries.len() - 1)
    }

    fn place(&self, key: u64) -> Option<usize> {
        let mask = self.entries.len() - 1;
        let (mut place, mut behind) = (self.home(key), 0);
        loop {
            let entry = &self.entries[place];
            if entry.slot == NONE || entry.behind < behind {
                return None;
            }
            if entry.key == key {
                return Some(place);
            }
            place = (place + 1) & mask;
            behind += 1;
        }
    }

    pub(crate) fn get(&self, key: u64) -> Option<u32> {
        self.place(key).map(|place| self.entries[place].slot)
    }

    /// The key must not be there yet.
    pub(crate) fn insert(&mut self, key: u64, slot: u32) {
        debug_assert!(slot != NONE);
        debug_assert!(self.place(key).is_none());
        if (self.len + 1) * 2 > self.entries.len() {
            self.grow();
        }
        self.len += 1;
        let mask = self.entries.len() - 1;
        let mut place = self.home(key);
        let mut entry = Entry { key, slot, behind: 0 };
        loop {
            let there = &mut self.entries[place];
            if there.slot == NONE {
                *there = entry;
                return;
            }
            if there.behind < entry.behind {
                core::mem::swap(there, &mut entry);
            }
            place = (place + 1) & mask;
            entry.behind += 1;
        }
    }

    pub(crate) fn remove(&mut self, key: u64) -> Option<u32> {
        let mask = self.entries.len() - 1;
        let mut place = self.place(key)?;
        let slot = self.entries[place].slot;
        loop {
            let next = (place + 1) & mask;
            let entry = self.entries[next];
            if entry.slot == NONE || entry.behind == 0 {
                self.entries[place] = EMPTY;
                break;
            }
            self.entries[place] = Entry { behind: entry.behind - 1, ..entry };
            place = next;
        }
        self.len -= 1;
        Some(slot)
    }

    #[cold]
    fn grow(&mut self) {
        let doubled = vec![EMPTY; self.entries.len() * 2];
        let old = core::mem::replace(&mut self.entries, doubled);
        self.len = 0;
        for entry in old {
            if entry.slot != NONE {
                self.insert(entry.key, entry.slot);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;
    use alloc::collections::BTreeMap;

    /// The twin is a map of the standard library; keys come in runs that wrap around survivors.
    #[test]
    fn agrees_with_a_map_over_random_runs() {
        for seed in 0..8 {
            let mut rng = Rng::new(seed);
            let (mut index, mut map) = (Index::new(64, seed), BTreeMap::new());
            let mut next = 0u64;
            for step in 0..40_000u32 {
                if rng.below(100) < 52 {
                    next += if rng.below(50) == 0 { rng.below(1000) + 1 } else { 1 };
                    index.insert(next, step);
                    map.insert(next, step);
                } else {
                    let key = next.saturating_sub(rng.below(300));
                    assert_eq!(index.remove(key), map.remove(&key), "seed {seed} step {step}");
                }
                let key = next.saturating_sub(rng.below(600));
                assert_eq!(index.get(key), map.get(&key).copied(), "seed {seed} step {step}");
                assert_eq!(index.len(), map.len());
            }
            for (key, slot) in &map {
                assert_eq!(index.get(*key), Some(*slot), "seed {seed}");
            }
        }
    }

    #[test]
    fn a_dense_run_keeps_its_lines_and_short_probes() {
        let mut index = Index::new(1 << 14, 7);
        for key in 0..1u64 << 14 {
            index.insert(key, key as u32);
        }
        let behind_max = index.entries.iter().map(|e| e.behind).max().unwrap();
        assert!(behind_max < 256, "a run of 8 keys stands {behind_max} places behind its home");
    }
}
