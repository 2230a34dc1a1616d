//! The superblock: two of its four copies are enough, and a cut while it is changed loses nothing.

use ironbell_record::superblock::{self, Cut, End, NoQuorum, VOIDS_MAX, Void, Voids, WrappedKey};
use ironbell_record::{BLOCK_BYTES, ChainHash, Identity, LayoutError, Superblock};
use ironbell_types::{Seq, VoidReason};
use proptest::prelude::*;

const VENUE: Identity = Identity { cluster: *b"sixteen letters!", key: 0x5eed };

/// A superblock of the `update`-th change.
fn superblock_of(update: u64) -> Superblock {
    let end = End { frames: update * 3, chain: ChainHash([update as u8; 32]) };
    let end = update.is_multiple_of(2).then_some(end);
    let cut = update.is_multiple_of(3);
    let wrapped_key = WrappedKey::new(&[update as u8; 40]).expect("it is short");
    Superblock {
        update,
        identity: VENUE,
        node: 77,
        promised_epoch: update / 2,
        end,
        wrapped_key,
        voids: voids_of(update),
        durable_frames: update * 7,
        cut: cut.then_some(Cut {
            segment: update,
            offset: update * BLOCK_BYTES as u64,
            seq: Seq(update),
            frames: 5,
        }),
    }
}

/// Some, a different number for each update.
fn voids_of(update: u64) -> Voids {
    (1..=update % 5).fold(Voids::NONE, |voids, nth| {
        let reason = VoidReason::new("it divides by the spread").expect("short");
        voids.with(Void { seq: Seq(nth), recorded: Seq(nth * 10), reason }).expect("there is room")
    })
}

#[test]
fn voids_are_kept_by_seq_once_each_and_at_most_sixteen() {
    let void = |seq, recorded| Void { seq: Seq(seq), recorded: Seq(recorded), reason: VoidReason::default() };
    let voids = [5, 3, 9].map(|seq| void(seq, 0)).into_iter();
    let voids = voids.fold(Voids::NONE, |voids, void| voids.with(void).expect("there is room"));
    assert_eq!(voids.iter().map(|void| void.seq.0).collect::<Vec<_>>(), [3, 5, 9]);
    let voids = voids.with(void(5, 12)).expect("it takes the place of the other");
    assert_eq!((voids.iter().count(), voids.get(Seq(5))), (3, Some(&void(5, 12))));
    assert_eq!(voids.get(Seq(4)), None);
    let full = (0..VOIDS_MAX as u64).try_fold(Voids::NONE, |voids, nth| voids.with(void(nth + 1, 0)));
    assert!(full.is_some_and(|full| full.with(void(99, 0)).is_none() && full.with(void(1, 99)).is_some()));
}

/// The file after a change to `new`, cut behind the first `done` copies while the next is half written.
fn cut_while_changing(old: &Superblock, new: &Superblock, done: usize, torn_bytes: usize) -> Vec<u8> {
    let mut file = vec![0; superblock::SUPERBLOCK_FILE_BYTES];
    for copy in 0..superblock::COPIES {
        let (old, new) = (old.encode(copy), new.encode(copy));
        let block = &mut file[copy * BLOCK_BYTES..][..new.len()];
        block.copy_from_slice(if copy < done { &new } else { &old });
        if copy == done {
            block[..torn_bytes].copy_from_slice(&new[..torn_bytes]);
        }
    }
    file
}

#[test]
fn a_superblock_cut_while_it_is_changed_reads_as_before_or_after() {
    let (old, new) = (superblock_of(4), superblock_of(5));
    for done in 0..=superblock::COPIES {
        for torn_bytes in 0..superblock::SUPERBLOCK_BYTES {
            let read = Superblock::read(&cut_while_changing(&old, &new, done, torn_bytes));
            let expected = if done >= 2 { new } else { old };
            assert_eq!(read, Ok(expected), "{done} copies and {torn_bytes} bytes");
        }
    }
}

#[test]
fn two_copies_of_a_superblock_are_enough_and_one_is_not() {
    let superblock = superblock_of(6);
    let whole = cut_while_changing(&superblock, &superblock, 0, 0);
    for damaged in 0..1_usize << superblock::COPIES {
        let mut file = whole.clone();
        for copy in (0..superblock::COPIES).filter(|copy| damaged & 1 << copy != 0) {
            file[copy * BLOCK_BYTES + 50] ^= 4;
        }
        match damaged.count_ones() {
            0..=2 => assert_eq!(Superblock::read(&file), Ok(superblock)),
            sound => assert!(
                matches!(Superblock::read(&file), Err(NoQuorum::Copies { sound: left, fault: Some(LayoutError::Crc) })
                    if left + sound as usize == superblock::COPIES)
            ),
        }
    }
    // A copy in another's place is none.
    let mut misdirected = whole.clone();
    let (first, rest) = misdirected.split_at_mut(BLOCK_BYTES);
    for block in rest.chunks_mut(BLOCK_BYTES) {
        block.copy_from_slice(first);
    }
    assert!(matches!(Superblock::read(&misdirected), Err(NoQuorum::Copies { sound: 1, .. })));
    // Two pairs that were never written by one writer.
    let other = Superblock { node: 78, ..superblock };
    assert_eq!(Superblock::read(&cut_while_changing(&superblock, &other, 2, 0)), Err(NoQuorum::Split(6)));
}

#[test]
fn superblock_and_segment_read_back_and_every_bit_counts() {
    for copy in 0..superblock::COPIES {
        let encoded = superblock_of(6).encode(copy);
        assert_eq!(Superblock::decode(&encoded, copy), Ok(superblock_of(6)));
        each_bit_flipped(&encoded, |changed| assert!(Superblock::decode(changed, copy).is_err()));
        for end in 0..encoded.len() {
            assert!(Superblock::decode(&encoded[..end], copy).is_err());
        }
    }
}

fn each_bit_flipped(bytes: &[u8], check: impl Fn(&[u8])) {
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        check(&changed);
    }
}

proptest! {
    #[test]
    fn random_bytes_are_no_superblock(bytes in proptest::collection::vec(any::<u8>(), 0..20_000)) {
        for copy in 0..superblock::COPIES {
            prop_assert!(Superblock::decode(&bytes, copy).is_err());
        }
        prop_assert!(Superblock::read(&bytes).is_err());
    }
}
