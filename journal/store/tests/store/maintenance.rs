//! What is done about a journal beside writing it, on a disk that dies or fails at any operation: a decision that a command
//! is void, and snapshots, which are written and after a while removed.
//!
//! Each is done without a fault first, to learn how many operations it has, then once for each of them with the fault
//! there, and once more for each with the power gone behind a killed process.

use std::path::{Path, PathBuf};

use ironbell_record::BLOCK_BYTES;
use ironbell_store::sim::{End, Fault, SimDisk};
use ironbell_store::snapshot::{self, Of};
use ironbell_store::{
    Error, FRAME_BYTES_MAX, Options, Position, Reader, WrappedKey, format_on, open_on, void_on,
};
use ironbell_types::{Command, Control, Seq, Sequenced, VoidReason};

use crate::rig::{Rng, VENUE, commands};

fn dir() -> PathBuf {
    PathBuf::from("/data/venue/journal")
}

fn options() -> Options {
    Options { segment_bytes: (BLOCK_BYTES + 2 * FRAME_BYTES_MAX) as u64, in_flight: 3, ..Options::default() }
}

/// Commands in the journal before anything is done about it.
const COMMANDS: usize = 60;

/// A journal of frames of ten commands; in order, or its last frame torn by a kill in the midst of it.
fn journal(seed: u64, torn: bool) -> SimDisk {
    let disk = SimDisk::new(seed);
    format_on(&disk, &dir(), VENUE, &options(), WrappedKey::NONE).expect("nothing goes wrong");
    let (_, mut writer, mut maker) =
        open_on(&disk, &dir(), &options(), &mut |_, _| Ok(())).expect("nothing goes wrong");
    let append = |writer: &mut ironbell_store::Writer<_>, count| {
        let next = writer.appended_seq().next();
        let commit = Seq(writer.durable().get());
        writer.append(&commands(next.0, count), commit, (Seq(0), 0)).expect("nothing goes wrong");
    };
    while writer.appended_seq().0 < COMMANDS as u64 {
        while !writer.can_begin() {
            maker.poll().expect("nothing goes wrong");
            writer.poll().expect("nothing goes wrong");
        }
        append(&mut writer, 10);
    }
    while writer.in_flight() > 0 {
        writer.poll().expect("nothing goes wrong");
    }
    if torn {
        append(&mut writer, 900);
    } else {
        writer.seal().expect("nothing goes wrong");
    }
    drop((writer, maker));
    disk.restart(if torn { End::Power } else { End::Process })
}

/// Every operation of some work, from 1, on a fork of `disk`.
fn operations<T>(
    disk: &SimDisk,
    work: impl FnOnce(&SimDisk) -> Result<T, Error>,
) -> std::ops::RangeInclusive<usize> {
    let whole = disk.fork(1);
    let from = whole.history().len();
    let _ = work(&whole).unwrap_or_else(|error| panic!("without a fault: {error}"));
    from + 1..=whole.history().len()
}

/// Forks of `disk` in which some work was ended: at each of its operations by the power, and by one of these by lot: a
/// kill, an error and a kill, an error and the power, a kill and the power in the midst of doing it again.
fn ended<T>(
    disk: &SimDisk,
    rng: &mut Rng,
    work: impl Fn(&SimDisk) -> Result<T, Error>,
    mut each: impl FnMut(SimDisk, bool),
) -> usize {
    let mut count = 0;
    for at in operations(disk, &work) {
        let others = [
            (Fault::Cut, End::Process, false),
            (Fault::Fail, End::Process, false),
            (Fault::Fail, End::Power, false),
            (Fault::Cut, End::Process, true),
        ];
        let other = others[rng.below(others.len() as u64) as usize];
        for (fault, end, is_done_again) in [(Fault::Cut, End::Power, false), other] {
            println!("operation {at}: {fault:?}, {end:?}");
            let left = disk.fork(rng.next());
            left.plan(at, fault);
            let done = work(&left).is_ok();
            left.plan_nothing();
            assert_eq!(left.retried(), Vec::<String>::new());
            let left = left.restart(end);
            count += 1;
            if !is_done_again {
                each(left, done);
                continue;
            }
            let next = operations(&left, &work);
            let then = next.start() + rng.below((next.end() - next.start() + 1) as u64) as usize;
            println!("operation {at}: no power at {then} of the next call");
            left.plan(then, Fault::Cut);
            let done = work(&left).is_ok();
            left.plan_nothing();
            each(left.restart(End::Power), done);
        }
    }
    count
}

// A void.

fn reason() -> VoidReason {
    VoidReason::new("ticket 4711").expect("short")
}

/// The one that is made void.
const VOID: Seq = Seq(23);

fn decision() -> Command {
    Command::Control(Control::Void { seq: VOID, reason: reason() })
}

/// All commands as a replay gets them.
fn read(disk: &SimDisk) -> Result<Vec<Sequenced>, Error> {
    let mut reader = Reader::deciphering_on(disk, &dir(), None)?;
    let mut found = Vec::new();
    while let Some(frame) = reader.next_frame()? {
        found.extend_from_slice(frame.commands);
    }
    Ok(found)
}

/// What a replay gets when it is void and that is recorded.
fn voided() -> Vec<Sequenced> {
    let mut expected = commands(1, COMMANDS);
    expected[VOID.0 as usize - 1].command = decision();
    let (seq, time) = (Seq(COMMANDS as u64 + 1), expected[COMMANDS - 1].time);
    expected.push(Sequenced { seq, time, command: decision() });
    expected
}

#[test]
fn a_void_that_is_ended_anywhere_is_begun_or_not_and_the_same_call_finishes_it() {
    let mut rng = Rng::new("void");
    let make_void = |disk: &SimDisk| void_on(disk, &dir(), &options(), VOID, reason());
    let (mut endings, mut begun, mut finished) = (0, 0, 0);
    for torn in [false, true] {
        let disk = journal(rng.next(), torn);
        endings += ended(&disk, &mut rng, make_void, |left, done| {
            let before = read(&left).unwrap_or_else(|error| panic!("it cannot be read: {error}"));
            let (expected, plain) = (voided(), commands(1, COMMANDS));
            assert!(
                [&expected[..], &expected[..COMMANDS], &plain[..]].contains(&&before[..]),
                "the command is there or void, and everything else as it was"
            );
            assert!(!done || before == expected, "a decision that was called recorded is gone");
            begun += u32::from(before == expected[..COMMANDS]);
            finished += u32::from(before == expected);
            let recorded = make_void(&left).unwrap_or_else(|error| panic!("it cannot be finished: {error}"));
            assert_eq!(recorded, Seq(COMMANDS as u64 + 1));
            let left = left.restart(End::Power);
            assert_eq!(read(&left).expect("nothing goes wrong"), expected);
            assert_eq!(make_void(&left).expect("it was done"), recorded, "it is recorded once");
            let opened = open_on(&left.restart(End::Power), &dir(), &options(), &mut |_, _| Ok(()));
            let (recovery, ..) = opened.unwrap_or_else(|error| panic!("the node does not start: {error}"));
            assert_eq!((recovery.last_seq, recovery.torn), (recorded, None));
        });
    }
    println!("{endings} endings, {begun} between the steps, {finished} behind them");
    assert!(begun > 20 && finished > 5, "hardly anything was ended: nothing was tried");
}

// Snapshots.

/// Positions behind the frames that have commands, in order.
fn positions(disk: &SimDisk) -> Vec<Position> {
    let mut reader = Reader::deciphering_on(disk, &dir(), None).expect("nothing goes wrong");
    let mut positions = Vec::new();
    while let Some(frame) = reader.next_frame().expect("nothing goes wrong") {
        if !frame.commands.is_empty() {
            positions.push(reader.position().expect("a frame was just read"));
        }
    }
    positions
}

/// What a snapshot holds: a few pieces of bytes that say which one it is.
fn part(Seq(seq): Seq) -> Vec<u8> {
    (0..30_000).flat_map(|nth: u64| (seq << 32 | nth).to_le_bytes()).collect()
}

const KEEP: usize = 2;

/// As a node does it: written, and only then are older ones removed.
fn make(disk: &SimDisk, position: Position) -> Result<(), Error> {
    let seq = position.chain.last_seq;
    let of = Of { position, state_hash: [seq.0 as u8; 32], output_hash: seq.0.into() };
    snapshot::write_on(disk, &dir(), &of, &[(1, &part(seq)), (2, b"more")], None)?;
    snapshot::retain_on(disk, &dir(), KEEP).map(|_| ())
}

/// The snapshots there are, the newest first: each is whole and says what was written.
fn sound(disk: &SimDisk) -> Vec<Seq> {
    let listed = snapshot::list_on(disk, &dir()).expect("nothing goes wrong");
    let check = |(seq, path): (Seq, PathBuf)| {
        let read = snapshot::read_on(disk, &path, None).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((read.header.seq(), read.part(1)), (seq, Some(&part(seq)[..])), "{}", path.display());
        assert_eq!(read.part(2), Some(&b"more"[..]));
        assert_resumes(disk, &path, &read.header.position);
        seq
    };
    listed.into_iter().map(check).collect()
}

fn assert_resumes(disk: &SimDisk, path: &Path, position: &Position) {
    let mut reader = Reader::deciphering_on(disk, &dir(), None).expect("nothing goes wrong");
    reader.resume(position).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

#[test]
fn a_snapshot_that_is_ended_anywhere_is_whole_or_not_there_and_those_to_be_kept_are() {
    let mut rng = Rng::new("snapshots");
    let disk = journal(rng.next(), false);
    let positions = positions(&disk);
    for position in &positions[..3] {
        make(&disk, *position).expect("nothing goes wrong");
    }
    let seqs: Vec<_> = positions.iter().map(|position| position.chain.last_seq).collect();
    assert_eq!(sound(&disk), [seqs[2], seqs[1]], "the newest are kept");
    let disk = disk.restart(End::Process);
    let next = |disk: &SimDisk| make(disk, positions[3]);
    let (mut without, mut with, mut removed) = (0, 0, 0);
    let mut each = |left: SimDisk, done: bool| {
        let found = sound(&left);
        assert!(found.contains(&seqs[2]), "one of the two that are kept at all times: {found:?}");
        assert!(found.contains(&seqs[1]) || found.contains(&seqs[3]), "{found:?}");
        // One that was removed before may be back: removing is no promise.
        assert!(found.iter().all(|seq| seqs[..=3].contains(seq)), "{found:?}");
        assert!(!done || found.contains(&seqs[3]), "a snapshot that was called made is gone");
        without += u32::from(!found.contains(&seqs[3]));
        with += u32::from(found.contains(&seqs[3]));
        removed += u32::from(!found.contains(&seqs[1]));
        // What it left does not stand in the way of the next ones, nor of a start.
        make(&left, positions[4]).expect("nothing goes wrong");
        let left = left.restart(End::Power);
        assert_eq!(sound(&left)[0], seqs[4]);
        assert!(sound(&left).len() >= KEEP);
        let opened = open_on(&left, &dir(), &options(), &mut |_, _| Ok(()));
        drop(opened.unwrap_or_else(|error| panic!("the node does not start: {error}")));
        let unfinished = |path: &PathBuf| path.extension().is_some_and(|it| it == "making");
        assert_eq!(left.image(&dir()).keys().find(|path| unfinished(path)), None);
    };
    // There are few operations, and much of what a fault does is luck.
    let endings: usize = (0..6).map(|_| ended(&disk, &mut rng, next, &mut each)).sum();
    println!(
        "{endings} endings: {without} without it, {with} with it, {removed} of those with the oldest removed"
    );
    assert!(without > 10 && with > 5 && removed > 2, "hardly anything was ended: nothing was tried");
}
