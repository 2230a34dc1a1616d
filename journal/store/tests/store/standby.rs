//! A journal that copies another one's frames: the same history in other places, promises kept, and everything that was
//! acknowledged there after any crash.

use std::path::{Path, PathBuf};

use ironbell_record::frame::{self, Stamp};
use ironbell_record::{BLOCK_BYTES, Chain, ChainError, CopyError, Executed, Frame, FrameError, Place};
use ironbell_store::sim::{End, Fault, SimDisk};
use ironbell_store::{
    Behind, CutTail, Error, FRAME_BYTES_MAX, FrameCopy, Opened, Options, Point, Reader, SegmentMaker, Term,
    WrappedKey, Writer, begin_behind, cut_back, cut_back_on, disk::Disk, format_on, open, open_from, open_on,
    queue::WriteQueue, snapshot,
};
use ironbell_types::{Command, Control, Seq, Sequenced, VoidReason};

use crate::rig::{Rng, Scratch, VENUE, commands};

/// The command that the history of [`Primary`] makes void, and where it says so.
const VOID: (u64, u64) = (3, 9);

/// A primary's history, frame by frame as they are sent, and the points between them.
struct Primary {
    sent: Vec<Vec<u8>>,
    points: Vec<Point>,
}

impl Primary {
    /// Frames of these epochs and numbers of commands, each of which says that all before it is committed.
    fn new(frames: &[(u64, usize)]) -> Self {
        Self::committed_up_to(u64::MAX, frames)
    }

    /// The same, of which no frame knows more than that to be committed.
    fn committed_up_to(seq: u64, frames: &[(u64, usize)]) -> Self {
        let place = Place { nonce: [7; 16], offset: BLOCK_BYTES as u64 };
        let mut chain = Chain::genesis(&VENUE);
        let mut primary = Self { sent: Vec::new(), points: vec![chain.point()] };
        let mut bytes = vec![0; FRAME_BYTES_MAX];
        for (epoch, count) in frames {
            let mut commands = commands(chain.last_seq.0 + 1, *count);
            for at in commands.iter_mut().filter(|at| at.seq == Seq(VOID.1)) {
                at.command = void();
            }
            let executed = Executed { seq: chain.last_seq, output_hash: 1 };
            let commit = chain.last_seq.min(Seq(seq));
            let stamp = Stamp { place, epoch: *epoch, durable_frames: 0, commit, executed };
            let header = frame::encode(&chain, &stamp, &commands, None, &mut bytes);
            let copy = Frame::decode(&bytes, &VENUE.cluster, place).expect("it is sound").copy();
            let mut sent = vec![0; copy.encoded_bytes()];
            copy.encode_into(&mut sent);
            primary.sent.push(sent);
            chain.advance(&header);
            primary.points.push(chain.point());
        }
        primary
    }

    fn copy(&self, nth: usize) -> FrameCopy<'_> {
        FrameCopy::decode(&self.sent[nth]).expect("it is sound").0
    }
}

fn void() -> Command {
    let reason = VoidReason::new("it panics").expect("short");
    Command::Control(Control::Void { seq: Seq(VOID.0), reason })
}

/// The commands of the history as a replay must get them.
fn replayed(first: u64, count: usize) -> Vec<Sequenced> {
    let mut commands = commands(first, count);
    for at in commands.iter_mut().filter(|at| [VOID.0, VOID.1].contains(&at.seq.0)) {
        at.command = void();
    }
    commands
}

/// Epochs 1, 2 and 4, with frames that fill segments, empty ones, and a void.
fn history() -> Primary {
    Primary::new(&[(1, 0), (1, 2), (1, 3), (2, 0), (2, 8), (2, 1024), (2, 1), (4, 0), (4, 900), (4, 1024)])
}

fn copying(options: &Options) -> Options {
    Options { term: Term::Copy, ..options.clone() }
}

/// Appends what the primary sent, promising each epoch as it comes, and waits until all is durable.
fn follow<Q: WriteQueue, D: Disk<File = Q::File>>(
    primary: &Primary,
    frames: std::ops::Range<usize>,
    writer: &mut Writer<Q>,
    maker: &mut SegmentMaker<D>,
) -> Result<(), Error> {
    for nth in frames {
        let copy = primary.copy(nth);
        let header = copy.header().expect("it is sound");
        wait(writer, maker, Writer::can_begin)?;
        writer.promise(header.epoch.max(writer.promised()))?;
        let found = writer.append_copy(&copy)?;
        assert!(found.iter().all(|at| at.seq != Seq(VOID.1) || at.command == void()));
        assert_eq!(writer.last_copy(), Some(copy), "it may go on to a third node");
    }
    wait(writer, maker, |writer| writer.in_flight() == 0)
}

fn wait<Q: WriteQueue, D: Disk<File = Q::File>>(
    writer: &mut Writer<Q>,
    maker: &mut SegmentMaker<D>,
    until: impl Fn(&Writer<Q>) -> bool,
) -> Result<(), Error> {
    while !until(writer) {
        writer.poll()?;
        maker.poll()?;
    }
    Ok(())
}

/// Every frame of a journal on the real disk: its link and its commands.
fn read(dir: &Path) -> Vec<(Point, Vec<Sequenced>)> {
    let mut reader = Reader::open(dir).expect("it is sound");
    let mut found = Vec::new();
    while let Some(frame) = reader.next_frame().expect("it is sound") {
        let commands = frame.commands.to_vec();
        found.push((reader.chain().point(), commands));
    }
    found
}

#[test]
fn a_journal_of_copies_has_the_same_history_across_segments_and_restarts() {
    let scratch = Scratch::formatted("copies");
    let primary = history();
    let options = copying(&scratch.small());
    for (from, to) in [(0, 4), (4, 7), (7, 10)] {
        let (recovery, mut writer, mut maker) = open(scratch.dir(), &options).expect("it is sound");
        assert_eq!(recovery.frames, from as u64, "no frame of its own");
        assert_eq!(writer.epoch(), None);
        assert_eq!((writer.point(), writer.durable_point()), (primary.points[from], primary.points[from]));
        assert_eq!(recovery.epoch, primary.points[from].epoch, "what was promised");
        follow(&primary, from..to, &mut writer, &mut maker).expect("the disk is sound");
        assert_eq!((writer.point(), writer.durable_point()), (primary.points[to], primary.points[to]));
        writer.seal().expect("the disk is sound");
    }
    let found = read(scratch.dir());
    assert_eq!(found.iter().map(|(point, _)| *point).collect::<Vec<_>>(), primary.points[1..]);
    for (nth, (_, commands)) in found.iter().enumerate() {
        assert_eq!(*commands, replayed(primary.points[nth].seq.0 + 1, commands.len()));
    }
    assert!(scratch.segments().len() > 2, "it went on in other segments");
}

/// One appends, the other copies what the first has just staged; then the other leads, and the first copies.
#[test]
fn two_nodes_end_with_equal_chains_and_change_places() {
    let (one, two) = (Scratch::formatted("one"), Scratch::formatted("two"));
    let (_, mut leader, mut maker) = open(one.dir(), &one.small()).expect("it is sound");
    let (_, mut standby, mut its_maker) = open(two.dir(), &copying(&two.small())).expect("it is sound");
    standby.promise(1).expect("the disk is sound");
    let genesis = leader.last_copy().expect("the frame that began the epoch");
    standby.append_copy(&genesis).expect("it comes first");
    let mut next = 1;
    for count in [1, 0, 1024, 7, 1024, 1024, 3] {
        wait(&mut leader, &mut maker, Writer::can_begin).expect("the disk is sound");
        wait(&mut standby, &mut its_maker, Writer::can_begin).expect("the disk is sound");
        leader.append(&commands(next, count), Seq(0), (Seq(0), 0)).expect("the disk is sound");
        next += count as u64;
        standby.append_copy(&leader.last_copy().expect("there is one")).expect("it comes next");
        assert_eq!(leader.point(), standby.point());
    }
    assert_eq!(leader.epochs().collect::<Vec<_>>(), [leader.point()]);
    let last = standby.point();
    wait(&mut standby, &mut its_maker, Writer::can_begin).expect("the disk is sound");
    standby.begin_epoch(2).expect("it is new");
    wait(&mut standby, &mut its_maker, Writer::can_begin).expect("the disk is sound");
    standby.append(&[], Seq(0), (Seq(0), 0)).expect("the disk is sound");
    assert_eq!(standby.epochs().collect::<Vec<_>>(), [last, standby.point()]);
    standby.seal().expect("the disk is sound");

    leader.seal().expect("the disk is sound");
    drop((leader, maker));
    let (recovery, mut follower, mut maker) = open(one.dir(), &copying(&one.small())).expect("it is sound");
    assert_eq!(recovery.epochs, [last]);
    let mut reader = Reader::open(two.dir()).expect("it is sound");
    for _ in 0..last.frames {
        reader.next_frame().expect("it is sound").expect("there are as many");
    }
    while reader.next_frame().expect("it is sound").is_some() {
        follower.promise(2).expect("the disk is sound");
        wait(&mut follower, &mut maker, Writer::can_begin).expect("the disk is sound");
        follower.append_copy(&reader.last_copy().expect("it is sound")).expect("it comes next");
    }
    assert_eq!((follower.point(), follower.epochs().count()), (standby.point(), 2));
    follower.seal().expect("the disk is sound");
    assert_eq!(read(one.dir()), read(two.dir()));
}

#[test]
fn what_is_refused_changes_nothing_and_what_comes_next_is_taken() {
    let scratch = Scratch::formatted("refused");
    let primary = history();
    let (_, mut writer, mut maker) = open(scratch.dir(), &copying(&scratch.small())).expect("it is sound");
    wait(&mut writer, &mut maker, Writer::can_begin).expect("the disk is sound");
    let fault = |writer: &mut Writer, copy: &FrameCopy<'_>| match writer.append_copy(copy) {
        Err(Error::Copy { behind, fault }) => {
            assert_eq!(behind, writer.point());
            fault
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(fault(&mut writer, &primary.copy(0)), CopyError::NotPromised { promised: 0, epoch: 1 });
    writer.promise(2).expect("the disk is sound");
    let gap = fault(&mut writer, &primary.copy(2));
    assert_eq!(gap, CopyError::Chain(ChainError::Seq { expected: Seq(1), found: Seq(3) }));
    let mut changed = primary.copy(1);
    changed.chain.0[5] ^= 1;
    assert_eq!(fault(&mut writer, &changed), CopyError::Frame(FrameError::Chain));
    let lower = writer.promise(1).expect_err("a promise is kept");
    assert_eq!(
        lower.to_string(),
        "epoch 1 is refused: this node has promised epoch 2, and its last frame is of epoch 0"
    );
    follow(&primary, 0..6, &mut writer, &mut maker).expect("the disk is sound");
    assert!(matches!(writer.begin_epoch(2), Err(Error::Promised { epoch: 2, promised: 2, last: 2 })));
    writer.seal().expect("the disk is sound");
    drop((writer, maker));
    for epoch in [1, 2] {
        let at = Options { term: Term::At(epoch), ..scratch.small() };
        let before = scratch.image();
        assert!(matches!(open(scratch.dir(), &at), Err(Error::Promised { promised: 2, last: 2, .. })));
        assert_eq!(scratch.image(), before, "nothing was changed");
    }
    let at = Options { term: Term::At(7), ..scratch.small() };
    let (recovery, writer, _maker) = open(scratch.dir(), &at).expect("it is new");
    assert_eq!((recovery.epoch, writer.epoch(), writer.point().epoch), (7, Some(7), 7));
}

/// What a standby's user knows of its journal.
#[derive(Clone, Default)]
struct Story {
    formatted: bool,
    /// Frames that were called durable.
    acknowledged: u64,
    promised: u64,
    /// The point behind the frames that it led itself, once it has.
    own: Option<Point>,
}

fn dir() -> PathBuf {
    PathBuf::from("/data/standby/journal")
}

fn sim_options() -> Options {
    Options {
        segment_bytes: (BLOCK_BYTES + 2 * FRAME_BYTES_MAX) as u64,
        in_flight: 3,
        term: Term::Copy,
        ..Options::default()
    }
}

impl Story {
    fn open(&mut self, disk: &SimDisk, primary: &Primary) -> Result<Opened<SimDisk>, Error> {
        let mut found = Vec::new();
        let opened = open_on(disk, &dir(), &sim_options(), &mut |header, commands| {
            let nth = header.number as usize;
            if let Some(point) = primary.points.get(nth + 1).filter(|point| point.epoch == header.epoch) {
                assert_eq!(header.chain, point.hash, "frame {nth} is the one that was sent");
                found.push((nth, commands.to_vec()));
            }
            Ok(())
        })?;
        let (recovery, writer, _) = &opened;
        let is_void = writer.voids().get(Seq(VOID.0)).is_some();
        for (nth, found) in found {
            let mut expected = replayed(primary.points[nth].seq.0 + 1, found.len());
            for at in expected.iter_mut().filter(|at| at.seq.0 == VOID.0 && !is_void) {
                *at = commands(VOID.0, 1)[0];
            }
            assert_eq!(found, expected, "frame {nth}");
        }
        assert!(recovery.frames >= self.acknowledged, "{} frames were acknowledged", self.acknowledged);
        assert!(recovery.epoch >= self.promised, "epoch {} was promised", self.promised);
        assert!(writer.promised() >= writer.point().epoch, "no frame is of an epoch that was not promised");
        if let Some(own) = self.own {
            assert_eq!(writer.point(), own);
        }
        if recovery.last_seq >= Seq(VOID.1) && self.acknowledged > 0 {
            let void = *writer.voids().get(Seq(VOID.0)).expect("the journal says so");
            assert_eq!(void.recorded, Seq(VOID.1), "an opening notes where it is recorded");
        }
        (self.formatted, self.acknowledged, self.promised) = (true, recovery.frames, recovery.epoch);
        Ok(opened)
    }

    /// Follows up to `to`, remembering what was called durable.
    fn follow(&mut self, primary: &Primary, to: usize, opened: &mut Opened<SimDisk>) -> Result<(), Error> {
        let (_, writer, maker) = opened;
        for nth in writer.point().frames as usize..to {
            let followed = follow(primary, nth..nth + 1, writer, maker);
            self.promised = self.promised.max(writer.promised());
            self.acknowledged = self.acknowledged.max(writer.durable_point().frames);
            followed?;
        }
        Ok(())
    }
}

/// Formats, follows, dies, follows on, is closed in order, and is promoted.
fn live(disk: &mut SimDisk, story: &mut Story, primary: &Primary) -> Result<(), Error> {
    format_on(disk, &dir(), VENUE, &sim_options(), WrappedKey::NONE)?;
    story.formatted = true;
    let mut opened = story.open(disk, primary)?;
    story.follow(primary, 5, &mut opened)?;
    drop(opened);
    *disk = disk.restart(End::Process);
    let mut opened = story.open(disk, primary)?;
    story.follow(primary, 8, &mut opened)?;
    opened.1.seal()?;
    drop(opened);
    *disk = disk.restart(End::Process);
    let mut opened = story.open(disk, primary)?;
    story.follow(primary, primary.sent.len(), &mut opened)?;
    let (_, mut writer, mut maker) = opened;
    writer.promise(6)?;
    story.promised = 6;
    wait(&mut writer, &mut maker, Writer::can_begin)?;
    writer.begin_epoch(6)?;
    wait(&mut writer, &mut maker, |writer| writer.in_flight() == 0)?;
    story.acknowledged = writer.durable_point().frames;
    story.own = Some(writer.point());
    Ok(())
}

#[test]
fn a_crash_at_any_operation_loses_nothing_that_a_standby_acknowledged_or_promised() {
    let mut rng = Rng::new("standby crash");
    let primary = history();
    let (mut lives, mut refollowed) = (0, 0);
    let seed = rng.next();
    let mut whole = SimDisk::new(seed);
    live(&mut whole, &mut Story::default(), &primary).expect("nothing goes wrong");
    let operations = whole.history().len();
    for fault in [Fault::Cut, Fault::Fail] {
        for at in 1..=operations {
            let mut disk = SimDisk::new(seed);
            disk.plan(at, fault);
            let mut story = Story::default();
            println!("{fault:?} at operation {at} of seed {seed}");
            let _ended = live(&mut disk, &mut story, &primary);
            assert_eq!(disk.retried(), Vec::<String>::new());
            disk.plan_nothing();
            let end = if rng.below(3) == 0 { End::Process } else { End::Power };
            let mut disk = disk.restart(end);
            // And once more while it comes back.
            disk.plan(disk.history().len() + 1 + rng.below(60) as usize, Fault::Cut);
            match story.open(&disk, &primary) {
                Ok(_) | Err(Error::Io { .. } | Error::Write { .. }) => {}
                Err(Error::NotFormatted(_)) if !story.formatted => {}
                Err(error) => panic!("it does not open: {error}"),
            }
            disk = disk.restart(End::Power);
            disk.plan_nothing();
            let mut opened = match story.open(&disk, &primary) {
                Err(Error::NotFormatted(_)) if !story.formatted => continue,
                opened => opened.unwrap_or_else(|error| panic!("it does not open: {error}")),
            };
            lives += 1;
            if opened.1.point().epoch < 6 {
                story.follow(&primary, primary.sent.len(), &mut opened).expect("nothing goes wrong");
                assert_eq!(opened.1.durable_point(), *primary.points.last().expect("there are some"));
                refollowed += 1;
            }
        }
    }
    println!("{lives} lives, {refollowed} followed on");
    assert!(refollowed > 100, "hardly anything was left to follow: nothing was tried");
}

#[test]
fn reading_goes_on_behind_any_point_of_the_history_and_no_other() {
    let key = std::sync::Arc::new(ironbell_store::DataKey::new(&[4; 32]));
    for data_key in [None, Some(key)] {
        let scratch = Scratch::new(if data_key.is_some() { "after-enciphered" } else { "after" });
        let options = Options { data_key: data_key.clone(), ..copying(&scratch.small()) };
        let wrapped = WrappedKey::new(if data_key.is_some() { b"wrapped" } else { b"" }).expect("short");
        ironbell_store::format(scratch.dir(), VENUE, &options, wrapped).expect("it is empty");
        let primary = history();
        let (_, mut writer, mut maker) = open(scratch.dir(), &options).expect("it is sound");
        follow(&primary, 0..primary.sent.len(), &mut writer, &mut maker).expect("the disk is sound");
        let mut reader = Reader::deciphering(scratch.dir(), data_key).expect("it is sound");
        for (nth, point) in primary.points.iter().enumerate().rev() {
            reader.after(point).unwrap_or_else(|error| panic!("{error}"));
            for (number, sent) in primary.sent.iter().enumerate().skip(nth) {
                let frame = reader.next_frame().expect("it is sound").expect("there are as many");
                assert_eq!(frame.header.number, number as u64);
                let copy = reader.last_copy().expect("it is sound");
                let mut again = vec![0; copy.encoded_bytes()];
                copy.encode_into(&mut again);
                assert_eq!(again, *sent);
            }
            assert!(reader.next_frame().expect("it is sound").is_none());
        }
        let mut wrong: Vec<Point> = primary.points.clone();
        wrong.iter_mut().for_each(|point| point.hash.0[0] ^= 1);
        let last = *primary.points.last().expect("there are some");
        wrong.push(Point { frames: last.frames + 1, ..last });
        wrong.push(Point { epoch: 3, ..last });
        for point in wrong {
            let error = reader.after(&point).expect_err("it is not there");
            assert!(matches!(error, Error::NotThere { seq, .. } if seq == point.seq), "{error}");
        }
        reader.after(&primary.points[3]).expect("a refusal leaves a reader that can be asked again");
    }
}

/// What a primary had that its standby never got, over some segments, and what the standby wrote instead.
fn parted() -> (Primary, Primary, usize) {
    let tail = [(1, 1024), (1, 1024), (1, 1024), (1, 3), (1, 0), (1, 1024), (1, 1024), (1, 1024), (1, 1024)];
    let here = [&[(1, 0), (1, 2)], &tail[..]].concat();
    (Primary::committed_up_to(2, &here), Primary::new(&[(1, 0), (1, 2), (2, 0), (2, 5), (2, 1024)]), 2)
}

/// The bytes of the segments of `primary`'s journal behind the first `frames`, as files by their names.
fn kept(image: &std::collections::BTreeMap<PathBuf, Vec<u8>>) -> Vec<Vec<u8>> {
    let is_cut = |path: &&PathBuf| path.extension().is_some_and(|suffix| suffix == "cut");
    image.keys().filter(is_cut).map(|path| image[path].clone()).collect()
}

#[test]
fn a_crash_at_any_operation_of_a_cut_leaves_the_old_history_or_the_cut_one() {
    let mut rng = Rng::new("cut crash");
    let (here, there, common) = parted();
    let to = here.points[common];
    let base = SimDisk::new(rng.next());
    format_on(&base, &dir(), VENUE, &sim_options(), WrappedKey::NONE).expect("it is empty");
    let (_, mut writer, mut maker) = open_on(&base, &dir(), &sim_options(), &mut |_, _| Ok(())).expect("new");
    follow(&here, 0..here.sent.len(), &mut writer, &mut maker).expect("nothing goes wrong");
    writer.seal().expect("nothing goes wrong");
    drop((writer, maker));
    let base = base.restart(End::Process);
    let whole = base.fork(1);
    let cut = cut_back_on(&whole, &dir(), &sim_options(), &to).expect("nothing goes wrong");
    assert_eq!((cut.frames, cut.commands), (9, 7 * 1024 + 3));
    let expected = kept(&whole.image(&dir()));
    assert_eq!(expected.len(), cut.kept.len());
    assert!(expected.len() > 1, "it lay in more than one segment");
    let (mut old, mut new) = (0, 0);
    for fault in [Fault::Cut, Fault::Fail] {
        for at in base.history().len() + 1..=whole.history().len() {
            let end = if rng.below(2) == 0 { End::Process } else { End::Power };
            println!("{fault:?} at operation {at}, then {end:?}");
            let disk = base.fork(rng.next());
            disk.plan(at, fault);
            let _cut = cut_back_on(&disk, &dir(), &sim_options(), &to);
            disk.plan_nothing();
            let disk = disk.restart(end);
            // And once more while the next opening finishes it.
            disk.plan(disk.history().len() + 1 + rng.below(60) as usize, Fault::Cut);
            drop(open_on(&disk, &dir(), &sim_options(), &mut |_, _| Ok(())));
            disk.plan_nothing();
            let disk = disk.restart(End::Power);
            let opened = open_on(&disk, &dir(), &sim_options(), &mut |_, _| Ok(()));
            let (recovery, writer, maker) = opened.unwrap_or_else(|error| panic!("{error}"));
            let point = writer.point();
            assert_eq!(recovery.torn, None);
            drop((writer, maker));
            if point == to {
                new += 1;
            } else {
                assert_eq!(point, *here.points.last().expect("there are some"));
                old += 1;
                cut_back_on(&disk, &dir(), &sim_options(), &to).expect("nothing goes wrong");
            }
            let kept = kept(&disk.image(&dir()));
            assert!(expected.iter().all(|bytes| kept.contains(bytes)), "all that was cut is kept");
            let opened = open_on(&disk, &dir(), &sim_options(), &mut |_, _| Ok(()));
            let (_, mut writer, mut maker) = opened.unwrap_or_else(|error| panic!("{error}"));
            follow(&there, common..there.sent.len(), &mut writer, &mut maker).expect("nothing goes wrong");
            assert_eq!(writer.durable_point(), *there.points.last().expect("there are some"));
        }
    }
    println!("{old} ends left the old history, {new} the cut one");
    assert!(old > 20 && new > 20);
}

#[test]
fn what_is_committed_is_not_cut_and_snapshots_go_with_what_is() {
    let scratch = Scratch::formatted("cut");
    let options = copying(&scratch.small());
    let (here, there, common) = parted();
    let (_, mut writer, mut maker) = open(scratch.dir(), &options).expect("it is sound");
    follow(&here, 0..here.sent.len(), &mut writer, &mut maker).expect("the disk is sound");
    assert!(matches!(cut_back(scratch.dir(), &options, &here.points[common]), Err(Error::Locked(_))));
    writer.seal().expect("the disk is sound");
    drop((writer, maker));
    let mut reader = Reader::open(scratch.dir()).expect("it is sound");
    let mut snapshots = Vec::new();
    while reader.next_frame().expect("it is sound").is_some() {
        let position = reader.position().expect("a frame was read");
        let of = snapshot::Of { position, state_hash: [0; 32], output_hash: 0 };
        snapshots.push(snapshot::write(scratch.dir(), &of, &[(1, b"state")], None).expect("there is room"));
    }
    let before = scratch.image();
    for (to, why) in [
        (here.points[1], "Seq 2 is committed here"),
        (*there.points.last().expect("there are some"), "its history goes through"),
    ] {
        let error = cut_back(scratch.dir(), &options, &to).expect_err("it may not be");
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(scratch.image(), before, "nothing was changed");
    }
    let last = *here.points.last().expect("there are some");
    assert_eq!(cut_back(scratch.dir(), &options, &last).expect("it ends there"), CutTail::default());
    assert_eq!(scratch.image(), before, "nothing was changed");
    let cut = cut_back(scratch.dir(), &options, &here.points[common]).expect("it may be");
    assert_eq!(cut.frames, 9);
    let left: Vec<_> =
        snapshot::list(scratch.dir()).expect("it is there").into_iter().map(|(seq, _)| seq).collect();
    assert_eq!(left, [Seq(2), Seq(0)], "those that hold nothing of it");
    let (recovery, mut writer, mut maker) = open(scratch.dir(), &options).expect("it is sound");
    assert_eq!((recovery.frames, recovery.epoch, recovery.torn), (2, 1, None));
    follow(&there, common..there.sent.len(), &mut writer, &mut maker).expect("the disk is sound");
    writer.seal().expect("the disk is sound");
    let found: Vec<_> = read(scratch.dir()).into_iter().map(|(point, _)| point).collect();
    assert_eq!(found, there.points[1..]);
}

/// A void that was recorded in what is cut is no decision any more; the other node has not taken it.
#[test]
fn a_void_goes_with_the_frame_that_recorded_it() {
    let scratch = Scratch::formatted("cut-void");
    let options = copying(&scratch.small());
    let frames = [(1, 0), (1, 5), (1, 8)];
    let here = Primary::committed_up_to(5, &frames);
    let (_, mut writer, mut maker) = open(scratch.dir(), &options).expect("it is sound");
    follow(&here, 0..3, &mut writer, &mut maker).expect("the disk is sound");
    assert!(writer.voids().get(Seq(VOID.0)).is_some_and(|void| void.recorded == Seq(0)), "not noted yet");
    writer.seal().expect("the disk is sound");
    drop((writer, maker));
    drop(open(scratch.dir(), &options).expect("it is sound"));
    let noted = ironbell_store::superblock(scratch.dir()).expect("it is sound").voids;
    assert!(noted.get(Seq(VOID.0)).is_some_and(|void| void.recorded == Seq(VOID.1)));
    cut_back(scratch.dir(), &options, &here.points[2]).expect("it may be");
    assert_eq!(read(scratch.dir())[1].1, commands(1, 5), "what was void is not");
}

/// Fewer frames than a standby knew to be on its disk when it wrote its superblock are damage, not a torn tail.
#[test]
fn a_frame_that_the_superblock_knows_is_not_taken_for_torn() {
    let disk = SimDisk::new(5);
    format_on(&disk, &dir(), VENUE, &sim_options(), WrappedKey::NONE).expect("it is empty");
    let primary = Primary::new(&[(1, 0), (1, 2), (1, 3)]);
    let open = |disk: &SimDisk| open_on(disk, &dir(), &sim_options(), &mut |_, _| Ok(()));
    let (_, mut writer, mut maker) = open(&disk).expect("it is sound");
    follow(&primary, 0..3, &mut writer, &mut maker).expect("nothing goes wrong");
    drop((writer, maker));
    let image = disk.image(&dir());
    let path = dir().join("0000000001.segment");
    let last = 3 * BLOCK_BYTES;
    assert!(image[&path][last..last + 64].iter().any(|byte| *byte != 0));
    let (torn, known) = (disk.fork(1), disk.fork(2));
    torn.tamper(&path, last, |bytes| bytes[100] ^= 1);
    let (recovery, ..) = open(&torn).expect("a write that never ended, for all that is known");
    assert_eq!((recovery.frames, recovery.torn.is_some()), (2, true));
    drop(open(&known).expect("it is sound"));
    known.tamper(&path, last, |bytes| bytes[100] ^= 1);
    let error = open(&known).expect_err("it was there at the last opening");
    assert!(error.to_string().contains("3 frames were on the disk"), "{error}");
}

/// A standby that the primary's journal does not reach back to begins behind a snapshot: with the frame that this stands
/// behind, and nothing before it.
#[test]
fn a_journal_begins_behind_a_frame_and_goes_on() {
    let primary = history();
    let whole = Scratch::formatted("behind-whole");
    let options = copying(&whole.small());
    let (_, mut writer, mut maker) = open(whole.dir(), &options).expect("it is empty");
    follow(&primary, 0..10, &mut writer, &mut maker).expect("the disk writes");
    let voids = writer.voids();
    writer.seal().expect("the disk writes");
    drop((writer, maker));
    // The frame that records the void is the last that is in the snapshot, then an empty one, then a full one.
    for last in [4, 7, 5] {
        let mut reader = Reader::open(whole.dir()).expect("it is sound");
        while reader.chain().frames <= last as u64 {
            reader.next_frame().expect("it is sound").expect("there are more");
        }
        let chain = *reader.chain();
        assert_eq!(chain.point(), primary.points[last + 1]);

        let late = Scratch::formatted(&format!("behind-{last}"));
        let behind = Behind { chain, copy: primary.copy(last), segment: 3, promised: 2, voids };
        let other = Behind { copy: primary.copy(last - 1), ..behind };
        let scratch = Scratch::formatted("behind-other");
        let refused = begin_behind(scratch.dir(), &scratch.small(), &other).unwrap_err();
        assert!(matches!(refused, Error::NotThere { .. }), "{refused}");

        let position = begin_behind(late.dir(), &late.small(), &behind).expect("it is empty");
        assert_eq!((position.chain, position.segment), (chain, 3));
        let (found, mut writer, mut maker) =
            open_from(late.dir(), &copying(&late.small()), Some(&position), &mut |_, _| {
                panic!("nothing is to be replayed")
            })
            .expect("it begins there");
        assert_eq!((found.epoch, found.read_from), (chain.epoch.max(2), chain.point()));
        follow(&primary, last + 1..10, &mut writer, &mut maker).expect("the disk writes");
        assert_eq!(writer.point(), primary.points[10]);
        writer.seal().expect("the disk writes");
        drop((writer, maker));

        let mut reader = Reader::open(late.dir()).expect("it has a superblock");
        let refused = reader.next_frame().map(drop).unwrap_err().to_string();
        assert!(
            refused.contains("segment 1 of") && refused.contains("never was here (segments 1 to 2"),
            "{refused}"
        );
        let mut reader = Reader::open(late.dir()).expect("it has a superblock");
        reader.resume(&position).expect("the frame is there");
        let mut read = Vec::new();
        while let Some(frame) = reader.next_frame().expect("it is sound") {
            read.extend_from_slice(frame.commands);
        }
        let first = chain.last_seq.0 + 1;
        assert_eq!(read, replayed(first, (primary.points[10].seq.0 + 1 - first) as usize));
        // It may be handed on from here, and so may the frame it begins with.
        let mut reader = Reader::open(late.dir()).expect("it has a superblock");
        reader.after(&chain.point()).expect("it goes through there");
        assert_eq!(reader.last_copy().expect("it was read"), primary.copy(last));
    }
}
