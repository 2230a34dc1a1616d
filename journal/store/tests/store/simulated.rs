//! The journal on a disk that dies, fails and lies at any operation: what was acknowledged is there, nothing is that was
//! never written, and damage is refused.
//!
//! One small life is lived without a fault first, to learn how many operations it has; then once for each of them, with
//! the fault there. `IRONBELL_SEED=n` for other lives.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ironbell_record::{BLOCK_BYTES, ChainHash};
use ironbell_store::sim::{End, Fault, SimDisk};
use ironbell_store::{
    Error, FRAME_BYTES_MAX, Opened, Options, Recovery, SegmentMaker, WrappedKey, Writer, format_on, open_on,
};
use ironbell_types::Seq;

use crate::rig::{Rng, VENUE, commands};

/// Two directories are made for it: whoever forgets to sync one of them loses all.
fn dir() -> PathBuf {
    PathBuf::from("/data/venue/journal")
}

/// Segments with room for two of the longest frames.
fn options() -> Options {
    Options { segment_bytes: (BLOCK_BYTES + 2 * FRAME_BYTES_MAX) as u64, in_flight: 3, ..Options::default() }
}

/// What to make of a recovery that has less than was acknowledged.
type Lost = fn(&Story, &Recovery);

/// What its user knows of a journal.
#[derive(Clone, Default)]
struct Story {
    formatted: bool,
    /// Up to here it was called durable.
    acknowledged: u64,
    /// Up to here commands were appended, in this life or an earlier one.
    appended: u64,
    /// The highest epoch that was taken.
    epoch: u64,
    /// Link of each frame that a recovery has found: none may change afterwards.
    links: BTreeMap<u64, ChainHash>,
    /// Each frame of this life: its last Seq, and what was acknowledged when it was appended.
    frames: Vec<(u64, u64)>,
    /// It was closed in order and not opened since.
    sealed: bool,
    turns: u64,
    torn_tails: u32,
}

impl Story {
    /// Opens the journal and checks what it holds against what is known of it, and remembers both.
    fn open(
        &mut self,
        disk: &SimDisk,
        lost: impl FnOnce(&Self, &Recovery),
    ) -> Result<Opened<SimDisk>, Error> {
        let mut next = 1;
        let mut links = BTreeMap::new();
        let opened = open_on(disk, &dir(), &options(), &mut |header, found| {
            assert_eq!(found, commands(next, found.len()), "what is read was written");
            next += found.len() as u64;
            links.insert(header.number, header.chain);
            Ok(())
        })?;
        let recovery = &opened.0;
        assert_eq!(recovery.last_seq, Seq(next - 1));
        assert!(recovery.last_seq.0 <= self.appended, "{} was never appended", recovery.last_seq);
        if recovery.last_seq.0 < self.acknowledged {
            lost(self, recovery);
        } else {
            for (number, link) in &self.links {
                assert_eq!(links.get(number), Some(link), "frame {number} was there before");
            }
        }
        assert!(recovery.epoch > self.epoch, "epoch {} was taken before", recovery.epoch);
        let torn_tails = self.torn_tails + u32::from(recovery.torn.is_some());
        *self = Self {
            formatted: true,
            acknowledged: recovery.last_seq.0,
            appended: recovery.last_seq.0,
            epoch: recovery.epoch,
            links,
            frames: Vec::new(),
            sealed: false,
            turns: 0,
            torn_tails,
        };
        Ok(opened)
    }

    fn append(&mut self, writer: &mut SimWriter, count: usize) -> Result<(), Error> {
        let next = commands(self.appended + 1, count);
        self.appended += count as u64;
        self.frames.push((self.appended, self.acknowledged));
        writer.append(&next, Seq(self.acknowledged), (Seq(0), 0))
    }

    /// Appends frames of these many commands, and lets the disk go on for a while, until all is durable or some is not.
    fn write(
        &mut self,
        writer: &mut SimWriter,
        maker: &mut SegmentMaker<SimDisk>,
        counts: &[usize],
    ) -> Result<(), Error> {
        let mut counts = counts.iter().copied();
        let mut next = counts.next();
        for _ in 0..200 {
            if writer.can_begin()
                && let Some(count) = next
            {
                self.append(writer, count)?;
                next = counts.next();
            }
            self.turn(writer, maker)?;
            if next.is_none() && writer.in_flight() == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Lets the disk go on; a write that never ends is waited for a while only.
    fn turn(&mut self, writer: &mut SimWriter, maker: &mut SegmentMaker<SimDisk>) -> Result<(), Error> {
        let polled = writer.poll();
        let durable = writer.durable().get();
        assert!(durable >= self.acknowledged, "what is durable stays so");
        self.acknowledged = durable;
        if polled.is_err() {
            for _ in 0..20 {
                assert!(
                    matches!(writer.poll(), Err(Error::Poisoned)),
                    "a failed writer does nothing any more"
                );
            }
            assert!(!writer.can_begin());
            assert_eq!(writer.durable().get(), durable);
        }
        polled?;
        // The maker is slow: the writer gets into its last segment before there is another.
        self.turns += 1;
        if self.turns.is_multiple_of(8) || (writer.in_flight() == 0 && !writer.can_begin()) {
            let made = maker.poll();
            if made.is_err() {
                assert!(matches!(maker.poll(), Err(Error::Poisoned)), "a failed maker does nothing any more");
            }
            made?;
        }
        Ok(())
    }
}

type SimWriter = Writer<ironbell_store::sim::SimQueue>;

/// Three short lives of a journal, each of which ends in order or is killed.
fn live(disk: &mut SimDisk, story: &mut Story, seed: u64, lost: Lost) -> Result<(), Error> {
    let mut rng = Rng::of(seed);
    format_on(disk, &dir(), VENUE, &options(), WrappedKey::NONE)?;
    story.formatted = true;
    for _ in 0..3 {
        let (_, mut writer, mut maker) = story.open(disk, lost)?;
        // Mostly small frames; now and then one that fills much of a segment.
        let counts: Vec<_> = (0..6).map(|_| [0, 1, 2, 30, 1024, 1024][rng.below(6) as usize]).collect();
        story.write(&mut writer, &mut maker, &counts)?;
        if rng.below(2) == 0 {
            writer.seal()?;
            story.sealed = true;
            story.acknowledged = story.appended;
        }
        drop((writer, maker));
        *disk = disk.restart(End::Process);
    }
    Ok(())
}

fn no_loss(story: &Story, recovery: &Recovery) {
    panic!("Seq {} was acknowledged, {} is the last one here", story.acknowledged, recovery.last_seq);
}

/// Lives until operation `at` meets `fault`; the disk afterwards, and how the life ended.
fn live_until(seed: u64, at: usize, fault: Fault, lost: Lost) -> (SimDisk, Story, Result<(), Error>) {
    let mut disk = SimDisk::new(seed);
    disk.plan(at, fault);
    let mut story = Story::default();
    let ended = live(&mut disk, &mut story, seed, lost);
    disk.plan_nothing();
    (disk, story, ended)
}

/// The operations of a life in which nothing goes wrong, from 1, that `are` says.
fn operations(seed: u64, are: impl Fn(&str) -> bool) -> Vec<usize> {
    let mut disk = SimDisk::new(seed);
    live(&mut disk, &mut Story::default(), seed, no_loss).expect("nothing goes wrong");
    (1..).zip(disk.history()).filter(|(_, what)| are(what)).map(|(at, _)| at).collect()
}

/// Opens what is left, writes on, loses power, opens it, closes it in order, opens it again.
fn go_on(disk: &SimDisk, story: &mut Story) {
    disk.plan_nothing();
    let (_, mut writer, mut maker) = match story.open(disk, no_loss) {
        Ok(opened) => opened,
        Err(Error::NotFormatted(_)) if !story.formatted => return,
        Err(error) => panic!("it does not open: {error}"),
    };
    story.write(&mut writer, &mut maker, &[1, 1024, 1024, 1024, 1024, 1024]).expect("nothing goes wrong");
    while writer.can_begin() {
        story.append(&mut writer, 100).expect("nothing goes wrong");
    }
    drop((writer, maker));
    let disk = disk.restart(End::Power);
    let (_, mut writer, maker) = story.open(&disk, no_loss).unwrap_or_else(|error| panic!("{error}"));
    writer.seal().expect("nothing goes wrong");
    drop((writer, maker));
    let disk = disk.restart(End::Power);
    let (recovery, ..) = story.open(&disk, no_loss).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(recovery.torn, None, "it was closed in order");
}

fn any_end(rng: &mut Rng) -> End {
    if rng.below(3) == 0 { End::Process } else { End::Power }
}

/// Opens what is left and dies of it, three times at some operation.
fn die_in_recovery(disk: &SimDisk, story: &mut Story, rng: &mut Rng) -> SimDisk {
    let mut disk = disk.clone();
    for _ in 0..3 {
        disk.plan(disk.history().len() + 1 + rng.below(60) as usize, Fault::Cut);
        match story.open(&disk, no_loss) {
            Ok(_) | Err(Error::Io { .. } | Error::Write { .. }) => {}
            Err(Error::NotFormatted(_)) if !story.formatted => {}
            Err(error) => panic!("it does not open: {error}"),
        }
        disk = disk.restart(any_end(rng));
    }
    disk
}

#[test]
fn a_crash_at_any_operation_loses_nothing_acknowledged() {
    let mut rng = Rng::new("crash");
    let (mut lives, mut unnoticed, mut torn) = (0, 0, 0);
    for _ in 0..2 {
        let seed = rng.next();
        for at in operations(seed, |_| true) {
            println!("operation {at} of seed {seed}");
            let (disk, mut story, ended) = live_until(seed, at, Fault::Cut, no_loss);
            // One who dies as it is put away is not missed.
            unnoticed += u32::from(ended.is_ok());
            let disk = die_in_recovery(&disk.restart(any_end(&mut rng)), &mut story, &mut rng);
            go_on(&disk, &mut story);
            lives += 1;
            torn += story.torn_tails;
        }
    }
    println!("{lives} lives, {unnoticed} deaths unnoticed, {torn} torn tails");
    assert!(unnoticed < lives / 10, "most operations are somebody's");
    assert!(torn > 10, "hardly a crash left a torn tail: nothing was tried");
}

#[test]
fn a_failed_operation_is_never_tried_again_and_loses_nothing() {
    let mut rng = Rng::new("fail");
    let mut refused = 0;
    let seed = rng.next();
    for fault in [Fault::Fail, Fault::Short] {
        for at in operations(seed, |what| fault == Fault::Fail || what == "end a frame") {
            println!("{fault:?} at operation {at} of seed {seed}");
            let (disk, mut story, ended) = live_until(seed, at, fault, no_loss);
            refused += u32::from(ended.is_err());
            assert_eq!(disk.retried(), Vec::<String>::new());
            let disk = die_in_recovery(&disk.restart(any_end(&mut rng)), &mut story, &mut rng);
            go_on(&disk, &mut story);
        }
    }
    println!("{refused} lives ended by it");
    assert!(refused > 50, "hardly anything failed: nothing was tried");
}

#[test]
fn a_write_that_never_ends_is_not_acknowledged() {
    let mut rng = Rng::new("stall");
    for _ in 0..4 {
        let seed = rng.next();
        for at in operations(seed, |what| what == "begin a frame") {
            println!("operation {at} of seed {seed} stalls");
            let (disk, mut story, ended) = live_until(seed, at, Fault::Stall, no_loss);
            ended.expect("a stalled write fails nothing");
            go_on(&disk.restart(End::Power), &mut story);
        }
    }
}

/// What was acknowledged and is gone may have been taken for a torn tail, or left no trace at all, only if nobody who is
/// still there knew of it.
fn excused(story: &Story, recovery: &Recovery) {
    assert!(!story.sealed, "a journal closed in order has no torn tail");
    let lost = recovery.last_seq.0 + 1;
    let knew = story.frames.iter().find(|(_, acknowledged)| *acknowledged >= lost);
    assert_eq!(knew, None, "Seq {lost} was cut, and a later frame (its last Seq, what it knew) was not");
}

/// Opens what a lying disk has left: either nothing is missing that somebody knew of, or it is refused and left alone.
fn open_or_refuse(disk: &SimDisk, story: &mut Story) -> bool {
    let before = disk.image(&dir());
    match story.open(disk, excused) {
        Ok(_) => true,
        Err(Error::Damaged { .. } | Error::Memory { .. } | Error::Layout { .. }) => {
            for (path, bytes) in disk.image(&dir()) {
                let unchanged = before.get(&path).is_none_or(|before| *before == bytes);
                assert!(unchanged, "{} was changed in a journal that was refused", path.display());
            }
            false
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_misdirected_write_is_noticed() {
    let mut rng = Rng::new("misdirect");
    let (mut opened, mut refused) = (0, 0);
    for _ in 0..20 {
        let seed = rng.next();
        for at in operations(seed, |what| what == "begin a frame") {
            println!("operation {at} of seed {seed} is misdirected");
            let (disk, mut story, ended) = live_until(seed, at, Fault::Misdirect, excused);
            match ended {
                Ok(()) => {}
                Err(Error::Damaged { .. } | Error::Memory { .. } | Error::Layout { .. }) => refused += 1,
                Err(error) => panic!("{error}"),
            }
            let disk = disk.restart(End::Power);
            if open_or_refuse(&disk, &mut story) { opened += 1 } else { refused += 1 }
        }
    }
    println!("{opened} opened, {refused} refused");
    assert!(refused > 20, "hardly anything was misdirected: nothing was tried");
}

#[test]
fn a_bit_that_flips_is_mended_or_refused_or_was_nobodys() {
    let mut rng = Rng::new("rot");
    let (mut opened, mut refused) = (0, 0);
    for _ in 0..200 {
        let seed = rng.next();
        let mut disk = SimDisk::new(seed);
        let mut story = Story::default();
        live(&mut disk, &mut story, seed, no_loss).expect("nothing goes wrong");
        // Where something stands: a bit of the zeros behind is one more chance in three.
        let files = disk.image(&dir());
        let (path, bytes) = files.iter().nth(rng.below(files.len() as u64) as usize).expect("there are some");
        if bytes.is_empty() {
            continue;
        }
        let mut at = rng.below(bytes.len() as u64) as usize;
        if rng.below(3) > 0 {
            at =
                (0..bytes.len()).map(|nth| (at + nth) % bytes.len()).find(|&at| bytes[at] != 0).unwrap_or(at);
        }
        println!("bit 3 of byte {at} of {} of seed {seed} flips", path.display());
        disk.tamper(path, at, |bytes| bytes[0] ^= 8);
        if open_or_refuse(&disk.restart(End::Power), &mut story) { opened += 1 } else { refused += 1 }
    }
    println!("{opened} opened, {refused} refused");
    assert!(opened > 10 && refused > 10);
}

/// Three endings in a row: a process is killed while it writes, the next one while it recovers, at each operation that
/// changes anything; then the power goes while a third one recovers, again at each.
#[test]
fn a_power_loss_behind_a_killed_recovery_loses_nothing() {
    let mut rng = Rng::new("killed recovery");
    let changes = |disk: &SimDisk, from: usize| -> Vec<usize> {
        let reads =
            ["open", "exists", "read", "ask for a length", "list a directory", "ask for room", "draw"];
        (1..)
            .zip(disk.history())
            .skip(from)
            .filter(|(_, what)| !reads.contains(what))
            .map(|(at, _)| at)
            .collect()
    };
    let mut ends = 0;
    for torn in [false, true] {
        let (base, story) = killed_while_writing(&mut rng, torn);
        let from = base.history().len();
        let whole = base.fork(1);
        let _ = story.clone().open(&whole, no_loss).unwrap_or_else(|error| panic!("{error}"));
        for at in changes(&whole, from) {
            for fault in [Fault::Cut, Fault::Fail] {
                let killed = base.fork(rng.next());
                killed.plan(at, fault);
                let mut story = story.clone();
                drop(story.open(&killed, no_loss));
                killed.plan_nothing();
                let killed = killed.restart(End::Process);
                let from = killed.history().len();
                let whole = killed.fork(1);
                drop(story.clone().open(&whole, no_loss).unwrap_or_else(|error| panic!("{error}")));
                for then in changes(&whole, from) {
                    println!("{torn}: {fault:?} at operation {at}, no power at {then}");
                    let disk = killed.fork(rng.next());
                    let mut story = story.clone();
                    disk.plan(then, Fault::Cut);
                    drop(story.open(&disk, no_loss));
                    disk.plan_nothing();
                    let opened = story.open(&disk.restart(End::Power), no_loss);
                    drop(opened.unwrap_or_else(|error| panic!("{error}")));
                    ends += 1;
                }
            }
        }
    }
    println!("{ends} endings");
}

/// A name that a process gave and did not live to make durable is there for the next one, until the power goes.
#[test]
fn what_a_killed_process_named_is_not_lost_with_what_was_written_into_it() {
    let mut rng = Rng::new("named");
    let seed = rng.next();
    for at in operations(seed, |what| what == "sync a directory") {
        println!("killed at operation {at} of seed {seed}");
        let (disk, mut story, _) = live_until(seed, at, Fault::Cut, no_loss);
        let disk = disk.restart(End::Process);
        let (_, mut writer, mut maker) = match story.open(&disk, no_loss) {
            Err(Error::NotFormatted(_)) if !story.formatted => continue,
            opened => opened.unwrap_or_else(|error| panic!("{error}")),
        };
        // Into what is there already: nothing else is made that would be synced on the way.
        for _ in 0..6 {
            while !writer.can_begin() {
                maker.poll().expect("nothing goes wrong");
                writer.poll().expect("nothing goes wrong");
            }
            story.append(&mut writer, 1024).expect("nothing goes wrong");
            while writer.in_flight() > 0 {
                writer.poll().expect("nothing goes wrong");
            }
            story.acknowledged = writer.durable().get();
            for _ in 0..3 {
                let disk = disk.fork(rng.next()).restart(End::Power);
                drop(story.clone().open(&disk, no_loss).unwrap_or_else(|error| panic!("{error}")));
            }
        }
    }
}

/// A journal whose writer was killed with frames in flight, or with none.
fn killed_while_writing(rng: &mut Rng, torn: bool) -> (SimDisk, Story) {
    loop {
        let seed = rng.next();
        let disk = SimDisk::new(seed);
        let mut story = Story::default();
        format_on(&disk, &dir(), VENUE, &options(), WrappedKey::NONE).expect("nothing goes wrong");
        let (_, mut writer, mut maker) = story.open(&disk, no_loss).expect("nothing goes wrong");
        story.write(&mut writer, &mut maker, &[2, 40]).expect("nothing goes wrong");
        while torn && writer.can_begin() {
            story.append(&mut writer, 100).expect("nothing goes wrong");
        }
        drop((writer, maker));
        let disk = disk.restart(End::Process);
        let (recovery, ..) =
            story.clone().open(&disk.fork(1), no_loss).unwrap_or_else(|error| panic!("{error}"));
        if recovery.torn.is_some() == torn {
            return (disk, story);
        }
    }
}

/// A journal of frames of these many commands, all durable, and the disk it is on. The same seed gives the same nonces.
fn journal_of(seed: u64, counts: &[usize]) -> (SimDisk, Story) {
    let disk = SimDisk::new(seed);
    let mut story = Story::default();
    format_on(&disk, &dir(), VENUE, &options(), WrappedKey::NONE).expect("nothing goes wrong");
    let (_, mut writer, mut maker) = story.open(&disk, no_loss).expect("nothing goes wrong");
    for count in counts {
        story.write(&mut writer, &mut maker, &[*count]).expect("nothing goes wrong");
    }
    drop((writer, maker));
    (disk.restart(End::Process), story)
}

#[test]
fn a_sound_frame_of_another_history_is_refused() {
    let (disk, mut story) = journal_of(1, &[1, 2, 3]);
    let (other, _) = journal_of(1, &[2, 1, 3]);
    let path = dir().join("0000000001.segment");
    let last = 4 * BLOCK_BYTES..5 * BLOCK_BYTES;
    let frame = other.image(&dir())[&path][last.clone()].to_vec();
    assert_ne!(frame, disk.image(&dir())[&path][last.clone()]);
    disk.tamper(&path, last.start, |bytes| bytes[..BLOCK_BYTES].copy_from_slice(&frame));
    let error = story.open(&disk, no_loss).expect_err("its link is another's");
    assert!(
        matches!(error, Error::Damaged { offset, seq: Seq(4), .. } if offset == last.start as u64),
        "{error}"
    );
    assert!(error.to_string().contains("it does not name the hash of the frame before it"), "{error}");
}

/// A device put the last frame elsewhere, or another one in its place: that is no write that never ended.
#[test]
fn a_last_frame_that_was_misdirected_is_refused_and_not_cut() {
    let path = dir().join("0000000001.segment");
    let block = |nth: usize| nth * BLOCK_BYTES..(nth + 1) * BLOCK_BYTES;
    for (found, left) in [(6, None), (4, Some(3))] {
        let (disk, mut story) = journal_of(1, &[1, 2, 3]);
        let image = disk.image(&dir()).remove(&path).expect("it is there");
        let frame = image[block(left.unwrap_or(4))].to_vec();
        disk.tamper(&path, block(4).start, |bytes| bytes[..BLOCK_BYTES].fill(0));
        disk.tamper(&path, block(found).start, |bytes| bytes[..BLOCK_BYTES].copy_from_slice(&frame));
        let error = story.open(&disk, no_loss).expect_err("it is damaged");
        let at = block(4).start as u64;
        assert!(matches!(error, Error::Damaged { offset, seq: Seq(4), .. } if offset == at), "{error}");
    }
}
