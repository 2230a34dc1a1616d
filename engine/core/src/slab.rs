//! Records in fixed slots: a freed slot is the next one taken, so that it is still in the cache.

use alloc::vec::Vec;

#[derive(Clone)]
pub(crate) struct Slab<T> {
    records: Vec<T>,
    free: Vec<u32>,
    /// What a slot holds before its first record.
    blank: T,
}

impl<T: Copy> Slab<T> {
    /// Room for `capacity` records before it grows.
    pub(crate) fn new(capacity: usize, blank: T) -> Self {
        Self { records: Vec::with_capacity(capacity), free: Vec::with_capacity(capacity), blank }
    }

    #[inline(always)]
    pub(crate) fn insert(&mut self, record: T) -> u32 {
        // The record goes nowhere but into its slot: so it is written there, and not copied.
        let slot = self.take();
        self.records[slot as usize] = record;
        slot
    }

    /// Takes a slot and leaves in it whatever stood there last.
    #[inline(always)]
    pub(crate) fn take(&mut self) -> u32 {
        match self.free.pop() {
            Some(slot) => slot,
            None => self.extend(),
        }
    }

    #[cold]
    #[inline(never)]
    fn extend(&mut self) -> u32 {
        let slot = u32::try_from(self.records.len()).expect("a slab holds fewer than 2^32 records");
        assert!(slot != crate::index::NONE);
        self.records.push(self.blank);
        slot
    }

    pub(crate) fn remove(&mut self, slot: u32) {
        debug_assert!(self.free.len() < self.records.len());
        self.free.push(slot);
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len() - self.free.len()
    }
}

impl<T> core::ops::Index<u32> for Slab<T> {
    type Output = T;
    fn index(&self, slot: u32) -> &T {
        &self.records[slot as usize]
    }
}

impl<T> core::ops::IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, slot: u32) -> &mut T {
        &mut self.records[slot as usize]
    }
}
