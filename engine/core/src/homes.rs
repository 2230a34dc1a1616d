//! Which shard owns what: accounts, and all that stage 1 knows of them, are at home with their firm, books
//! with their instrument. Homes decide nothing: the outcome is the same on any number of shards.

use alloc::vec::Vec;
use ironbell_types::{FirmId, InstrumentId};

/// Most shards there can be: what a token has bits for.
pub const SHARDS_MAX: usize = 1 << SHARD_BITS;

const SHARD_BITS: u32 = 5;
const SLOT_BITS: u32 = 32 - SHARD_BITS;

/// Where firms and instruments are at home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Homes {
    shards: u32,
    /// By id less 1; [`BY_ID`] where none was chosen.
    firms: Vec<u8>,
    instruments: Vec<u8>,
}

const BY_ID: u8 = u8::MAX;

/// A home that there is no shard for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchShard(
    /// The shard, from 0.
    pub u8,
);

impl Homes {
    /// Ids are dense, so that they go round the shards.
    ///
    /// # Panics
    ///
    /// When there is no shard, or more than [`SHARDS_MAX`].
    #[must_use]
    pub fn new(shards: usize) -> Self {
        assert!((1..=SHARDS_MAX).contains(&shards), "{shards} shards");
        Self { shards: shards as u32, firms: Vec::new(), instruments: Vec::new() }
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.shards as usize
    }

    /// Chooses the home of a firm with all its accounts and ports.
    ///
    /// # Errors
    ///
    /// When there is no such shard.
    pub fn place_firm(&mut self, firm: FirmId, shard: u8) -> Result<(), NoSuchShard> {
        Self::place(&mut self.firms, self.shards, firm.0, shard)
    }

    /// Chooses the home of an instrument.
    ///
    /// # Errors
    ///
    /// When there is no such shard.
    pub fn place_instrument(&mut self, instrument: InstrumentId, shard: u8) -> Result<(), NoSuchShard> {
        Self::place(&mut self.instruments, self.shards, instrument.0, shard)
    }

    fn place(chosen: &mut Vec<u8>, shards: u32, id: u32, shard: u8) -> Result<(), NoSuchShard> {
        if u32::from(shard) >= shards {
            return Err(NoSuchShard(shard));
        }
        let place = id as usize;
        if place >= chosen.len() {
            chosen.resize(place + 1, BY_ID);
        }
        chosen[place] = shard;
        Ok(())
    }

    /// The shard, from 0, of a firm.
    #[inline]
    #[must_use]
    pub fn of_firm(&self, firm: FirmId) -> usize {
        Self::of(&self.firms, self.shards, firm.0)
    }

    /// The shard, from 0, of an instrument.
    #[inline]
    #[must_use]
    pub fn of_instrument(&self, instrument: InstrumentId) -> usize {
        Self::of(&self.instruments, self.shards, instrument.0)
    }

    #[inline]
    fn of(chosen: &[u8], shards: u32, id: u32) -> usize {
        match chosen.get(id as usize) {
            Some(&shard) if shard != BY_ID => usize::from(shard),
            _ => (id.wrapping_sub(1) % shards) as usize,
        }
    }
}

/// What stage 2 calls an order: the shard that it is at home on, and the slot of its record there.
#[inline(always)]
pub(crate) fn token(shard: usize, slot: u32) -> u32 {
    assert!(slot < 1 << SLOT_BITS, "a shard has at most 2^27 open orders");
    (shard as u32) << SLOT_BITS | slot
}

/// The shard of a token.
#[inline(always)]
pub(crate) fn shard_of(token: u32) -> usize {
    (token >> SLOT_BITS) as usize
}

/// The slot of a token.
#[inline(always)]
pub(crate) fn slot_of(token: u32) -> u32 {
    token & ((1 << SLOT_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_go_round_unless_they_are_placed() {
        let mut homes = Homes::new(3);
        let of = |homes: &Homes| (1..=4).map(|id| homes.of_instrument(InstrumentId(id))).collect::<Vec<_>>();
        assert_eq!(of(&homes), [0, 1, 2, 0]);
        homes.place_instrument(InstrumentId(2), 0).unwrap();
        homes.place_firm(FirmId(1), 2).unwrap();
        assert_eq!(of(&homes), [0, 0, 2, 0]);
        assert_eq!(homes.of_firm(FirmId(1)), 2);
        assert_eq!(homes.place_firm(FirmId(1), 3), Err(NoSuchShard(3)));
    }

    #[test]
    fn a_token_is_a_shard_and_a_slot() {
        for shard in [0, 1, SHARDS_MAX - 1] {
            for slot in [0, 1, (1 << SLOT_BITS) - 1] {
                let token = token(shard, slot);
                assert_eq!((shard_of(token), slot_of(token)), (shard, slot));
            }
        }
    }
}
