//! What a disk holds after its power is cut.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::Failure;
use crate::disk::{Disk, Operation};

/// What a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;

/// SplitMix64 (Steele, Lea, Flood 2014).
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// A disk whose power was cut.
pub struct Cut {
    /// After this many operations.
    pub at: usize,
    /// What it holds.
    pub image: Vec<u8>,
    /// What the writer had acknowledged by then.
    pub acknowledged: u64,
    /// Sectors written behind the last flush that are not there.
    pub sectors_lost: u64,
}

impl Cut {
    /// Behind a random operation, mostly a write, with a random part of what was not flushed.
    pub fn draw(disk: &Disk, rng: &mut Rng) -> Self {
        disk.told(|told| {
            let mut at = rng.below(told.len() as u64) as usize;
            if rng.below(4) > 0 {
                // Right behind a write there is something to lose; a disk is told of few between two flushes.
                let is_write = |at: &usize| matches!(told[at - 1].operation, Operation::Write { .. });
                at = (at.max(1)..told.len()).find(is_write).unwrap_or(at);
            }
            let flushed =
                told[..at].iter().rposition(|told| matches!(told.operation, Operation::Flush)).unwrap_or(0);
            // None of it, all of it, or each sector by lot: nothing and everything are likely losses too.
            let kept_percent = [0, 100, 50, 90, 10][rng.below(5) as usize];
            let mut image = disk.empty.clone();
            let mut sectors_lost = 0;
            for (nth, told) in told[..at].iter().enumerate() {
                let Operation::Write { offset, data } = &told.operation else { continue };
                for (sector, bytes) in data.chunks(SECTOR).enumerate() {
                    if nth > flushed && rng.below(100) >= kept_percent {
                        sectors_lost += 1;
                        continue;
                    }
                    let from = *offset as usize + sector * SECTOR;
                    image[from..from + bytes.len()].copy_from_slice(bytes);
                }
            }
            Self { at, image, acknowledged: told[at].acknowledged, sectors_lost }
        })
    }
}

/// Writes an image to a new file, without its zeros.
pub fn write(image: &[u8], path: &Path) -> Result<(), Failure> {
    const PIECE: usize = 1 << 16;
    let file = File::create(path)?;
    file.set_len(image.len() as u64)?;
    for (nth, piece) in image.chunks(PIECE).enumerate() {
        if piece.iter().any(|byte| *byte != 0) {
            file.write_all_at(piece, (nth * PIECE) as u64)?;
        }
    }
    Ok(())
}
