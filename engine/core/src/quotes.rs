//! Which orders a port's mass quotes stand in.

use crate::index::Index;
use alloc::vec::Vec;
use ironbell_types::{InstrumentId, OrderKey, OrderRef, PortId, UserRefIdx};

/// An order of a quote: its name, which can be used again on another day, and its number, which cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quoted {
    pub(crate) key: OrderKey,
    pub(crate) order_ref: OrderRef,
}

/// Bid, then ask.
pub(crate) type Sides = [Option<Quoted>; 2];

/// The quote of a port and channel on an instrument. Stage 1 does not hear whether stage 2 refused the last
/// one; it did if an order of the one before is still open, since it cancels that one first.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    before: Sides,
    last: Sides,
    /// The superstep that it was last quoted in.
    superstep: u64,
}

/// 24 bits of port, 8 of channel, 16 of instrument.
fn name(port: PortId, idx: UserRefIdx, instrument: InstrumentId) -> u64 {
    u64::from(port.0) << 24 | u64::from(idx.0) << 16 | u64::from(instrument.0)
}

/// A slot for each port, channel and instrument, from their first quote.
#[derive(Clone)]
pub(crate) struct Quotes {
    by_name: Index,
    names: Vec<u64>,
    slots: Vec<Slot>,
}

impl Quotes {
    pub(crate) fn new(key: u64) -> Self {
        Self { by_name: Index::new(0, key), names: Vec::new(), slots: Vec::new() }
    }

    /// The slot's number; [`Quotes::stand`] tells what stands in it.
    pub(crate) fn open(&mut self, port: PortId, idx: UserRefIdx, instrument: InstrumentId) -> u32 {
        let name = name(port, idx, instrument);
        self.by_name.get(name).unwrap_or_else(|| self.create(name))
    }

    /// Whether it was quoted in that superstep.
    pub(crate) fn is_touched(
        &self,
        port: PortId,
        idx: UserRefIdx,
        instrument: InstrumentId,
        superstep: u64,
    ) -> bool {
        let slot = self.by_name.get(name(port, idx, instrument));
        slot.is_some_and(|slot| self.slots[slot as usize].superstep == superstep)
    }

    #[cold]
    fn create(&mut self, name: u64) -> u32 {
        let slot = u32::try_from(self.slots.len()).expect("fewer than 2^32 slots");
        self.names.push(name);
        self.slots.push(Slot { before: [None; 2], last: [None; 2], superstep: 0 });
        self.by_name.insert(name, slot);
        slot
    }

    /// What is open of the quote.
    pub(crate) fn standing(&self, slot: u32, is_open: impl Fn(&Quoted) -> bool) -> Sides {
        let Slot { before, last, .. } = &self.slots[slot as usize];
        let open = |sides: &Sides| sides.map(|side| side.filter(&is_open));
        let stands = open(before);
        if stands == [None; 2] { open(last) } else { stands }
    }

    /// A quote goes to stage 2, in place of what is open.
    pub(crate) fn replace(&mut self, slot: u32, before: Sides, last: Sides, superstep: u64) {
        self.slots[slot as usize] = Slot { before, last, superstep };
    }

    /// Every quote with anything open, by port, channel and instrument.
    pub(crate) fn all(&self, is_open: impl Fn(&Quoted) -> bool) -> Vec<(u64, Sides)> {
        let mut all: Vec<_> = self
            .names
            .iter()
            .enumerate()
            .map(|(slot, name)| (*name, self.standing(slot as u32, &is_open)))
            .filter(|(_, sides)| *sides != [None; 2])
            .collect();
        all.sort_unstable_by_key(|(name, _)| *name);
        all
    }
}
