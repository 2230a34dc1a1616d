//! Archiving and restoring on a disk that dies or fails at any operation: every segment is whole in one of the two places,
//! and doing it again goes on where it ended.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ironbell_archive::{Archiving, Error, Folder, Journal, archive, restore};
use ironbell_record::superblock::WrappedKey;
use ironbell_store::sim::{End, Fault, SimDisk};
use ironbell_store::{
    FRAME_BYTES_MAX, Identity, Options, Reader, format_on, open_on, segment_path, segments_on,
};
use ironbell_types::{Command, MassCancelSlice, Nanos, Seq, Sequenced};

fn dir() -> PathBuf {
    PathBuf::from("/data/venue/journal")
}

/// Two directories are made for it.
fn depot(disk: &SimDisk) -> Folder<SimDisk> {
    Folder::on(disk, "/backup/venue")
}

fn options() -> Options {
    Options { segment_bytes: (4_096 + 2 * FRAME_BYTES_MAX) as u64, in_flight: 2, ..Options::default() }
}

fn command(seq: u64) -> Sequenced {
    let slice = MassCancelSlice { cause: Seq(seq.wrapping_mul(0x9e37_79b9_7f4a_7c15)), slice: seq as u32 };
    Sequenced { seq: Seq(seq), time: Nanos(seq * 10), command: Command::MassCancelSlice(slice) }
}

/// A journal of three segments with frames and some without, closed in order; its last Seq.
fn journal(disk: &SimDisk) -> u64 {
    let venue = Identity { cluster: *b"the tests' venue", key: 42 };
    format_on(disk, &dir(), venue, &options(), WrappedKey::NONE).expect("nothing goes wrong");
    let (_, mut writer, mut maker) =
        open_on(disk, &dir(), &options(), &mut |_, _| Ok(())).expect("nothing goes wrong");
    let mut seq = 0;
    for count in [1_000, 1_000, 1_000, 20].into_iter().cycle().take(17) {
        while !writer.can_begin() {
            maker.poll().expect("nothing goes wrong");
            writer.poll().expect("nothing goes wrong");
        }
        let commands: Vec<_> = (seq + 1..=seq + count).map(command).collect();
        writer.append(&commands, Seq(seq), (Seq(0), 0)).expect("nothing goes wrong");
        seq += count;
    }
    writer.seal().expect("nothing goes wrong");
    seq
}

fn segments(disk: &SimDisk) -> Vec<u64> {
    segments_on(disk, &dir()).expect("nothing goes wrong")
}

/// Each segment that is there, as it is.
fn image(disk: &SimDisk) -> BTreeMap<u64, Vec<u8>> {
    let image = disk.image(&dir());
    segments(disk).into_iter().map(|index| (index, image[&segment_path(&dir(), index)].clone())).collect()
}

fn move_out(disk: &SimDisk) -> Result<usize, Error> {
    let archiving = Archiving { before: Seq::MAX, copy: false };
    archive(&Journal::open_on(disk, &dir(), None)?, &depot(disk), archiving, &mut |_| {})
}

fn bring_back(disk: &SimDisk) -> Result<usize, Error> {
    restore(&Journal::open_on(disk, &dir(), None)?, &depot(disk), Seq(0), &mut |_| {})
}

/// Forks of `disk` in which `work` was ended at each of its operations: by the power, and by a kill or an error in turn.
fn ended(
    disk: &SimDisk,
    luck: &mut u64,
    work: fn(&SimDisk) -> Result<usize, Error>,
    mut each: impl FnMut(SimDisk),
) -> usize {
    let whole = disk.fork(1);
    let from = whole.history().len();
    work(&whole).expect("nothing goes wrong");
    let mut count = 0;
    let reads = ["exists", "read", "ask for a length", "list a directory"];
    for (at, what) in (1..).zip(whole.history()).skip(from) {
        let other = [(Fault::Cut, End::Process), (Fault::Fail, End::Power)][at % 2];
        // Who dies as something is read dies as what was changed last stands: one of the two will do.
        let ends = [(Fault::Cut, End::Power), other];
        for (fault, end) in ends.into_iter().skip(usize::from(reads.contains(&what))) {
            println!("operation {at}: {fault:?}, {end:?}, luck {luck}");
            *luck += 1;
            let left = disk.fork(*luck);
            left.plan(at, fault);
            // Whether it says so or not: what fails as it is put away nobody misses.
            let _ = work(&left);
            left.plan_nothing();
            assert_eq!(left.retried(), Vec::<String>::new());
            each(left.restart(end));
            count += 1;
        }
    }
    count
}

/// Some luck, printed, or that of `IRONBELL_SEED`.
fn luck() -> u64 {
    let drawn = || u64::from(std::process::id()) << 20;
    let luck =
        std::env::var("IRONBELL_SEED").map_or_else(|_| drawn(), |seed| seed.parse().expect("a number"));
    println!("IRONBELL_SEED={luck}");
    luck
}

/// Everything is back, and reads as it was written.
fn assert_whole(disk: &SimDisk, before: &BTreeMap<u64, Vec<u8>>, last: u64) {
    assert!(image(disk) == *before, "a segment is missing or another");
    let mut reader = Reader::deciphering_on(disk, &dir(), None).expect("nothing goes wrong");
    let mut next = 1;
    while let Some(frame) = reader.next_frame().expect("nothing is damaged") {
        for sequenced in frame.commands {
            assert_eq!(*sequenced, command(next));
            next += 1;
        }
    }
    assert_eq!(next - 1, last);
}

#[test]
fn archiving_that_is_ended_anywhere_leaves_each_segment_whole_in_one_of_the_two_places() {
    let mut luck = luck();
    let disk = SimDisk::new(luck);
    let last = journal(&disk);
    let disk = disk.restart(End::Process);
    let before = image(&disk);
    let (mut in_between, mut moved) = (0, 0);
    let endings = ended(&disk, &mut luck, move_out, |left| {
        let first = segments(&left)[0];
        in_between += u32::from(first > 1);
        // What is gone can be brought back; what cannot be is not gone.
        match bring_back(&left) {
            Ok(_) => {}
            Err(Error::NoManifest { .. }) => {
                assert_eq!(first, 1, "segments are gone, and there is no archive");
            }
            Err(error) => panic!("{error}"),
        }
        assert_whole(&left, &before, last);
        // Doing it again goes on, and survives the power.
        moved = move_out(&left).unwrap_or_else(|error| panic!("{error}"));
        let left = left.restart(End::Power);
        assert_eq!(segments(&left)[0], moved as u64 + 1);
        bring_back(&left).unwrap_or_else(|error| panic!("{error}"));
        assert_whole(&left, &before, last);
    });
    println!("{endings} endings, {in_between} with some moved; {moved} can be moved");
    assert!(moved >= 2 && in_between > 20, "hardly anything was ended: nothing was tried");
}

#[test]
fn restoring_that_is_ended_anywhere_leaves_a_journal_without_a_gap() {
    let mut luck = luck();
    let disk = SimDisk::new(luck);
    let last = journal(&disk);
    let before = image(&disk);
    let moved = move_out(&disk).expect("nothing goes wrong");
    let disk = disk.restart(End::Power);
    let mut some = 0;
    let endings = ended(&disk, &mut luck, bring_back, |left| {
        let found = image(&left);
        let indices: Vec<_> = found.keys().copied().collect();
        assert!(indices.windows(2).all(|pair| pair[1] == pair[0] + 1), "a gap: {indices:?}");
        assert!(found.iter().all(|(index, bytes)| before[index] == *bytes), "a segment is not what it was");
        some += u32::from(indices[0] > 1 && indices[0] <= moved as u64);
        bring_back(&left).unwrap_or_else(|error| panic!("{error}"));
        let left = left.restart(End::Power);
        assert_whole(&left, &before, last);
        let opened = open_on(&left, &dir(), &options(), &mut |_, _| Ok(()));
        let (recovery, ..) = opened.unwrap_or_else(|error| panic!("the node does not start: {error}"));
        assert_eq!((recovery.last_seq, recovery.torn), (Seq(last), None));
    });
    println!("{endings} endings, {some} with some brought back");
    assert!(some > 5, "hardly anything was ended: nothing was tried");
}
