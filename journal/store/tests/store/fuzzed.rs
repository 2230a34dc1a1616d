//! The fuzz targets' bodies over seeded bytes: sound ones with something changed, mostly.

use crate::bodies;
use crate::rig::Rng;

const ROUNDS: usize = 5_000;

/// Changes a few bytes, or takes some out or puts some in, or cuts the end off.
fn mutate(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len() as u64) as usize;
        match rng.below(8) {
            0 => bytes.truncate(at.max(1)),
            1 => {
                bytes.remove(at);
                bytes.push(0);
            }
            2 => bytes.insert(at, rng.next() as u8),
            3 => bytes[at] = rng.next() as u8,
            4 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][rng.below(5) as usize],
            _ => bytes[at] ^= 1 << rng.below(8),
        }
    }
}

fn random(rng: &mut Rng, bytes_max: u64) -> Vec<u8> {
    (0..rng.below(bytes_max)).map(|_| rng.next() as u8).collect()
}

#[test]
fn a_frame_of_any_bytes_is_refused_or_what_we_would_have_written() {
    let mut rng = Rng::new("frames");
    for _ in 0..ROUNDS {
        let mut bytes = bodies::some_frame(rng.below(6));
        mutate(&mut bytes, &mut rng);
        bodies::frame(&bytes);
        bodies::frame(&random(&mut rng, 600));
    }
}

#[test]
fn a_superblock_of_any_bytes_is_refused_or_what_we_would_have_written() {
    let mut rng = Rng::new("superblocks");
    for _ in 0..ROUNDS {
        let mut bytes = bodies::some_superblock(1 + rng.below(2));
        mutate(&mut bytes, &mut rng);
        bytes.insert(0, rng.next() as u8);
        bodies::superblock(&bytes);
        bodies::superblock(&random(&mut rng, 3000));
    }
}

#[test]
fn a_segment_header_of_any_bytes_is_refused_or_what_we_would_have_written() {
    let mut rng = Rng::new("segments");
    for _ in 0..ROUNDS {
        let mut bytes = bodies::some_segment(rng.below(3));
        mutate(&mut bytes, &mut rng);
        bytes.resize(80, 0);
        bodies::segment(&bytes);
    }
}

#[test]
fn a_snapshot_of_any_bytes_is_refused_or_says_what_it_says() {
    let mut rng = Rng::new("snapshots");
    let sound = bodies::some_snapshot();
    for _ in 0..ROUNDS {
        let mut bytes = sound.clone();
        mutate(&mut bytes, &mut rng);
        bytes.insert(0, rng.next() as u8);
        bodies::snapshot(&bytes);
    }
}

#[test]
fn a_journal_with_any_bytes_changed_is_refused_or_what_was_written() {
    let mut rng = Rng::new("journals");
    for _ in 0..ROUNDS / 10 {
        bodies::journal(&random(&mut rng, 40));
    }
}
