//! A hash index from 64-bit keys to slots: open addressing, Robin Hood order, no tombstones.

/// No slot.
pub(crate) const NONE: u32 = u32::MAX;

/// The table is rows of 64 places. A key's row comes from a keyed mix of all but its low six bits,
/// so that a run of 64 consecutive numbers shares one row, in order, and consecutive numbers share
/// cache lines; the same mix turns the row, so that numbers with equal low bits do not share a
/// column. A key whose place is taken goes down its column to the next row: a dense run that meets
/// another, as when numbers wrap around old survivors, costs each of its keys one step, where
/// stepping to the next place would make the whole run pile up. Half full at most; and a member that
/// chooses its numbers cannot choose collisions.
#[derive(Clone)]
pub(crate) struct Index {
    entries: Vec<Entry>,
    len: usize,
    mix: u64,
}

#[derive(Clone, Copy)]
struct Entry {
    key: u64,
    slot: u32,
    /// How many rows behind its home it stands.
    behind: u16,
    /// Of the place, not the key: a key on its way down the column found it taken, and may stand further down still.
    /// Nearly none is, and to know it here spares the look at the next row, which is rarely in a cache.
    is_passed: bool,
}

const EMPTY: Entry = Entry { key: 0, slot: NONE, behind: 0, is_passed: false };
const _: () = assert!(size_of::<Entry>() == 16);
const ROW_LOG2: u32 = 6;
const ROW: usize = 1 << ROW_LOG2;

use alloc::{vec, vec::Vec};

impl Index {
    /// Room for `capacity` keys before it grows.
    pub(crate) fn new(capacity: usize, key: u64) -> Self {
        let places = (capacity.max(512) * 2).next_power_of_two();
        Self { entries: vec![EMPTY; places], len: 0, mix: key ^ 0xa076_1d64_78bd_642f }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn home(&self, key: u64) -> usize {
        let product = u128::from((key >> ROW_LOG2) ^ self.mix) * 0xe703_7ed1_a0b4_28db;
        let row = (product >> 64) as u64 ^ product as u64;
        let column = (key ^ row >> (64 - ROW_LOG2)) as usize & (ROW - 1);
        (((row as usize) << ROW_LOG2) & (self.entries.len() - 1)) | column
    }

    /// Where a key stands, until something is put in or taken out.
    #[inline]
    pub(crate) fn place(&self, key: u64) -> Option<usize> {
        let mask = self.entries.len() - 1;
        let (mut place, mut behind) = (self.home(key), 0);
        loop {
            let entry = &self.entries[place];
            if entry.key == key && entry.slot != NONE {
                return Some(place);
            }
            if !entry.is_passed || entry.behind < behind {
                return None;
            }
            place = (place + ROW) & mask;
            behind += 1;
        }
    }

    /// Every slot, in no order that anything may depend on.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        self.entries.iter().map(|entry| entry.slot).filter(|slot| *slot != NONE)
    }

    pub(crate) fn get(&self, key: u64) -> Option<u32> {
        self.place(key).map(|place| self.at(place))
    }

    /// The slot at a place that [`Index::place`] said.
    #[inline]
    pub(crate) fn at(&self, place: usize) -> u32 {
        self.entries[place].slot
    }

    /// Reads the place where a key belongs, so that who looks for it soon finds that in the cache. Of many keys these reads
    /// wait for memory together, where looking for one after the other waits for each.
    pub(crate) fn approach(&self, key: u64) {
        core::hint::black_box(self.entries[self.home(key)].slot);
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
        let mut entry = Entry { key, slot, ..EMPTY };
        loop {
            let there = &mut self.entries[place];
            if there.slot == NONE {
                *there = entry;
                return;
            }
            if there.behind < entry.behind {
                core::mem::swap(there, &mut entry);
            }
            (there.is_passed, entry.is_passed) = (true, false);
            place = (place + ROW) & mask;
            entry.behind += 1;
            if usize::from(entry.behind) * ROW > mask || entry.behind == u16::MAX {
                // The column is full, however unlikely: everything moves.
                self.len -= 1;
                self.grow();
                return self.insert(entry.key, entry.slot);
            }
        }
    }

    /// Puts many keys at once into an empty index. They come in the order of their places, as far as the cache is large,
    /// so that each look at memory serves many; in their own order each would wait for its own.
    ///
    /// # Errors
    /// A key that is there twice.
    pub(crate) fn fill(
        &mut self,
        keys: impl ExactSizeIterator<Item = (u64, u32)> + Clone,
    ) -> Result<(), u64> {
        /// Places that fit into a core's first cache: 32 KiB.
        const REGION_LOG2: u32 = 11;
        assert!(self.len == 0);
        let places = (keys.len() * 2).next_power_of_two();
        if places > self.entries.len() {
            self.entries = vec![EMPTY; places];
        }
        let mut ends = vec![0usize; (self.entries.len() >> REGION_LOG2) + 1];
        for (key, _) in keys.clone() {
            ends[self.home(key) >> REGION_LOG2] += 1;
        }
        let mut end = 0;
        for at in &mut ends {
            (*at, end) = (end, end + *at);
        }
        let mut by_place = vec![(0, NONE); keys.len()];
        for (key, slot) in keys {
            let at = &mut ends[self.home(key) >> REGION_LOG2];
            by_place[*at] = (key, slot);
            *at += 1;
        }
        for (key, slot) in by_place {
            if self.place(key).is_some() {
                return Err(key);
            }
            self.insert(key, slot);
        }
        Ok(())
    }

    pub(crate) fn remove(&mut self, key: u64) -> Option<u32> {
        let place = self.place(key)?;
        Some(self.remove_at(place))
    }

    /// The same of a key whose place was just looked for.
    #[inline]
    pub(crate) fn remove_at(&mut self, place: usize) -> u32 {
        let mask = self.entries.len() - 1;
        let mut place = place;
        let slot = self.entries[place].slot;
        debug_assert!(slot != NONE);
        while self.entries[place].is_passed {
            let next = (place + ROW) & mask;
            let entry = self.entries[next];
            if entry.behind == 0 {
                break;
            }
            self.entries[place] = Entry { behind: entry.behind - 1, is_passed: true, ..entry };
            place = next;
        }
        self.entries[place] = EMPTY;
        self.len -= 1;
        slot
    }

    /// For tests: panics when a key cannot be found where it stands, or a look past it would stop too early.
    #[cfg(test)]
    fn check(&self) {
        for (place, entry) in self.entries.iter().enumerate().filter(|(_, entry)| entry.slot != NONE) {
            assert_eq!(self.place(entry.key), Some(place));
            let home = self.home(entry.key);
            assert_eq!((home + usize::from(entry.behind) * ROW) & (self.entries.len() - 1), place);
        }
        let stands = self.entries.iter().filter(|entry| entry.slot != NONE).count();
        assert_eq!(stands, self.len);
        assert!(
            self.entries.iter().all(|entry| entry.slot != NONE || (entry.behind == 0 && !entry.is_passed))
        );
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
                if step.is_multiple_of(1_000) {
                    index.check();
                }
            }
            index.check();
            for (key, slot) in &map {
                assert_eq!(index.get(*key), Some(*slot), "seed {seed}");
            }
        }
    }

    /// A table half full of dense runs, then of numbers 64 apart, as a member might choose them.
    #[test]
    fn probes_stay_short() {
        for (stride, keys) in [(1, 1u64 << 14), (64, 1 << 14), (1 << 20, 1 << 14)] {
            let mut index = Index::new(1 << 14, 7);
            let places = index.entries.len();
            for key in 0..keys {
                index.insert(key * stride, key as u32);
            }
            assert_eq!(index.entries.len(), places);
            let behind: u64 = index.entries.iter().map(|entry| u64::from(entry.behind)).sum();
            assert!(behind < 2 * keys, "numbers {stride} apart stand {behind} rows behind, together");
        }
    }

    /// The twin is an index that was filled one by one.
    #[test]
    fn filled_at_once_it_finds_the_same() {
        for (count, stride) in [(0, 1), (1, 1), (700, 3), (40_000, 1), (40_000, 1 << 30)] {
            let keys: Vec<(u64, u32)> = (0..count).map(|slot| (u64::from(slot) * stride, slot)).collect();
            let (mut filled, mut twin) = (Index::new(600, 9), Index::new(0, 9));
            filled.fill(keys.iter().copied()).unwrap();
            keys.iter().for_each(|(key, slot)| twin.insert(*key, *slot));
            assert_eq!(filled.len(), twin.len());
            for key in (0..2 * u64::from(count)).map(|number| number * stride) {
                assert_eq!(filled.get(key), twin.get(key), "{count} keys {stride} apart, {key}");
            }
            for (key, slot) in &keys {
                assert_eq!(filled.remove(*key), Some(*slot));
            }
            let twice = keys.iter().chain(keys.last()).copied().collect::<Vec<_>>();
            let last = keys.last().map(|(key, _)| *key);
            assert_eq!(Index::new(0, 9).fill(twice.into_iter()).err(), last);
        }
    }

    #[test]
    fn grows_when_full_and_keeps_every_key() {
        let mut index = Index::new(0, 3);
        for key in 0..10_000 {
            index.insert(key * 3, key as u32);
        }
        for key in 0..10_000 {
            assert_eq!(index.get(key * 3), Some(key as u32));
            assert_eq!(index.get(key * 3 + 1), None);
        }
    }
}
