//! Snapshot files, and starting behind the frame that one names.

use std::fs;
use std::path::Path;

use crate::rig::{Rng, Scratch, VENUE, commands};
use ironbell_store::snapshot::{self, Needed, Of};
use ironbell_store::{DataKey, Error, Options, Position, Reader, WrappedKey, Writer, open, open_from};
use ironbell_types::Seq;

/// Frames of 1 to 40 commands over several segments; the position behind each that has any.
fn journal(dir: &Path, options: &Options, frames: usize, seed: &str) -> Vec<Position> {
    let (_, mut writer, mut maker) = open(dir, options).expect("it opens");
    let mut rng = Rng::new(seed);
    for _ in 0..frames {
        while !writer.can_begin() {
            maker.poll().expect("a segment is made");
            writer.poll().expect("no write fails");
        }
        append(&mut writer, 1 + rng.below(40) as usize);
    }
    writer.seal().expect("no write fails");
    let mut reader = Reader::deciphering(dir, options.data_key.clone()).expect("it is there");
    let mut positions = Vec::new();
    while let Some(frame) = reader.next_frame().expect("nothing is damaged") {
        let count = frame.commands.len();
        if count > 0 {
            positions.push(reader.position().expect("a frame was read"));
        }
    }
    positions
}

fn append(writer: &mut Writer, count: usize) {
    let commit = Seq(writer.durable().get());
    let next = commands(writer.appended_seq().0 + 1, count);
    writer.append(&next, commit, (Seq(0), 0)).expect("no write fails");
}

fn of(position: Position) -> Of {
    Of { position, state_hash: [7; 32], output_hash: 9 }
}

#[test]
fn reading_goes_on_behind_any_frame() {
    let scratch = Scratch::formatted("resume");
    let positions = journal(scratch.dir(), &scratch.small(), 300, "resume");
    assert!(positions.last().expect("there are frames").segment > 2, "several segments");
    for position in &positions {
        let mut reader = Reader::open(scratch.dir()).expect("it is there");
        reader.resume(position).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(reader.position(), Some(*position));
        let mut next = position.chain.last_seq.next();
        while let Some(frame) = reader.next_frame().expect("nothing is damaged") {
            assert_eq!(frame.commands, commands(next.0, frame.commands.len()));
            next = Seq(next.0 + frame.commands.len() as u64);
        }
        assert_eq!(next, positions.last().expect("there are frames").chain.last_seq.next());
    }
}

#[test]
fn a_journal_is_opened_behind_a_frame_without_the_segments_before_it() {
    let scratch = Scratch::formatted("open-from");
    let options = scratch.small();
    let positions = journal(scratch.dir(), &options, 300, "open-from");
    let position = positions[positions.len() - 5];
    assert!(position.segment > 3, "several segments go");
    (1..position.segment).for_each(|index| fs::remove_file(scratch.segment(index)).expect("it was there"));
    let mut replayed = Vec::new();
    let (found, mut writer, _maker) =
        open_from(scratch.dir(), &options, Some(&position), &mut |_, commands| {
            replayed.extend_from_slice(commands);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
    let last = positions.last().expect("there are frames").chain.last_seq;
    assert_eq!(found.last_seq, last);
    assert_eq!(
        replayed,
        commands(position.chain.last_seq.0 + 1, (last.0 - position.chain.last_seq.0) as usize)
    );
    append(&mut writer, 3);
    writer.seal().expect("no write fails");
    let mut reader = Reader::open(scratch.dir()).expect("it is there");
    reader.resume(&position).expect("the frame is there");
    while reader.next_frame().expect("nothing is damaged").is_some() {}
    assert_eq!(reader.chain().last_seq, Seq(last.0 + 3));
}

/// A snapshot of another history, or of a frame that is gone, is no place to go on from; nothing is changed.
#[test]
fn a_frame_that_is_not_there_is_not_gone_on_from() {
    let scratch = Scratch::formatted("not-there");
    let options = scratch.small();
    let positions = journal(scratch.dir(), &options, 20, "not-there");
    let good = positions[10];
    let wrong: [fn(&mut Position); 7] = [
        |p| p.chain.hash.0[0] ^= 1,
        |p| p.chain.frames += 1,
        |p| p.chain.cluster[0] ^= 1,
        |p| p.segment += 100,
        |p| p.offset += 4_096,
        |p| p.offset = u64::MAX - 4_095,
        |p| p.offset += 1,
    ];
    let before = scratch.image();
    for (nth, change) in wrong.iter().enumerate() {
        let mut position = good;
        change(&mut position);
        let found =
            open_from(scratch.dir(), &options, Some(&position), &mut |_, _| panic!("nothing is read"));
        assert!(matches!(found, Err(Error::NotThere { .. })), "change {nth}: {:?}", found.err());
        assert!(scratch.image() == before, "change {nth}");
    }
}

#[test]
fn a_snapshot_comes_back_and_any_other_bytes_do_not() {
    let scratch = Scratch::formatted("snapshot");
    let position = journal(scratch.dir(), &scratch.options(), 5, "snapshot")[3];
    let mut rng = Rng::new("snapshot");
    // Over several pieces, to the byte and not.
    let large: Vec<u8> =
        (0..(2 << 20) - 32 + rng.below(2) as usize * 77).map(|_| rng.below(256) as u8).collect();
    let parts: [(u64, &[u8]); 3] = [(1, &large), (2, b""), (9, b"some")];
    for key in [None, Some(DataKey::new(&[3; 32]))] {
        let path =
            snapshot::write(scratch.dir(), &of(position), &parts, key.as_ref()).expect("it is written");
        let read = snapshot::read(&path, key.as_ref()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((read.header.position, read.header.state_hash), (position, [7; 32]));
        for (number, part) in parts {
            assert_eq!(read.part(number), Some(part));
        }
        assert_eq!(read.part(3), None);
        let other = if key.is_some() { None } else { Some(DataKey::new(&[3; 32])) };
        assert!(matches!(snapshot::read(&path, other.as_ref()), Err(Error::Snapshot { .. })));
        if key.is_some() {
            let other = DataKey::new(&[4; 32]);
            assert!(matches!(snapshot::read(&path, Some(&other)), Err(Error::Snapshot { .. })));
            let bytes = fs::read(&path).expect("it is there");
            assert!(!bytes.windows(64).any(|window| window == &large[..64]), "it is enciphered");
        }

        let bytes = fs::read(&path).expect("it is there");
        for _ in 0..300 {
            let mut changed = bytes.clone();
            let at = rng.below(bytes.len() as u64) as usize;
            changed[at] ^= 1 << rng.below(8);
            assert!(snapshot::decode(changed, key.as_ref()).is_err(), "byte {at}");
        }
        for at in 0..400 {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(snapshot::decode(changed, key.as_ref()).is_err(), "byte {at}");
        }
        for length in [0, 1, 223, 224, 300, 1 << 20, bytes.len() - 1] {
            assert!(snapshot::decode(bytes[..length].to_vec(), key.as_ref()).is_err(), "{length} bytes");
        }
        assert!(snapshot::decode([&bytes[..], &[0]].concat(), key.as_ref()).is_err());
    }
}

#[test]
fn the_newest_are_kept_and_say_what_they_need() {
    let scratch = Scratch::formatted("retain");
    let positions = journal(scratch.dir(), &scratch.small(), 200, "retain");
    let dir = scratch.dir();
    assert_eq!(snapshot::oldest_needed(dir, 2).expect("it is read"), None, "all of the journal");
    for nth in [150, 30, 90, 120, 60] {
        snapshot::write(dir, &of(positions[nth]), &[(1, b"state")], None).expect("it is written");
    }
    let seqs =
        || snapshot::list(dir).expect("it is read").into_iter().map(|(seq, _)| seq).collect::<Vec<_>>();
    let seq = |nth: usize| positions[nth].chain.last_seq;
    assert_eq!(seqs(), [seq(150), seq(120), seq(90), seq(60), seq(30)]);
    // One without a sound header does not count and goes.
    fs::write(snapshot::path(dir, seq(120)), b"torn").expect("it is written");
    assert_eq!(snapshot::retain(dir, 2).expect("they are removed"), 3);
    assert_eq!(seqs(), [seq(150), seq(90)]);
    let needed = Needed { segment: positions[90].segment, seq: seq(90) };
    assert_eq!(snapshot::oldest_needed(dir, 2).expect("it is read"), Some(needed));
    assert_eq!(snapshot::oldest_needed(dir, 3).expect("it is read"), None, "fewer than asked for");
    assert_eq!(snapshot::oldest_needed(dir, 0).expect("it is read"), None);

    let held = snapshot::lock(dir).expect("nobody has it");
    assert!(matches!(snapshot::lock(dir), Err(Error::Locked(_))));
    drop(held);
    drop(snapshot::lock(dir).expect("it was let go"));
}

#[test]
fn an_enciphered_journal_is_gone_on_in() {
    let scratch = Scratch::new("enciphered-resume");
    let key = std::sync::Arc::new(DataKey::new(&[5; 32]));
    let options = Options { data_key: Some(key), ..scratch.small() };
    let wrapped = WrappedKey::new(b"wrapped").expect("it is short");
    ironbell_store::format(scratch.dir(), VENUE, &options, wrapped).expect("it is empty");
    let positions = journal(scratch.dir(), &options, 30, "enciphered");
    let (found, _writer, _maker) =
        open_from(scratch.dir(), &options, Some(&positions[20]), &mut |_, _| Ok(())).expect("it opens");
    assert_eq!(found.last_seq, positions[29].chain.last_seq);
}
