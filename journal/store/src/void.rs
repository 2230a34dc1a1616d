//! An operator's decision that a command has no effect.
//!
//! It must be known before a replay comes to the command, so it stands in the superblock; and it is a part of the
//! history, so the journal records it, in a command of its own behind everything that was there. Three steps, and a
//! crash after any of them leaves a journal with which the same call goes on: the superblock learns of the void, the
//! journal records it, the superblock notes where. A node does not start in between.

use std::path::Path;

use ironbell_record::superblock::{Void, Voids};
use ironbell_types::{Command, Control, Seq, Sequenced, VoidReason};

use crate::dir::{self, Options};
use crate::disk::{Disk, Os};
use crate::error::Error;
use crate::recovery;
use crate::superblock::Keeper;

/// Why one more cannot be kept.
pub(crate) const VOIDS_FULL: &str = "there are as many voids as there can be";

/// The decisions recorded in `commands`, and where. What stands in the place of a void command records nothing.
pub(crate) fn decisions(commands: &[Sequenced]) -> impl Iterator<Item = Void> {
    commands.iter().filter_map(|at| match at.command {
        Command::Control(Control::Void { seq, reason }) if (Seq(1)..at.seq).contains(&seq) => {
            Some(Void { seq, recorded: at.seq, reason })
        }
        _ => None,
    })
}

/// These and what `recorded` says of where they are recorded.
pub(crate) fn noted(voids: &Voids, recorded: &[Void]) -> Voids {
    recorded.iter().fold(*voids, |voids, void| match voids.get(void.seq) {
        Some(known) if known.recorded == Seq(0) => voids.with(*void).expect("it has a place"),
        _ => voids,
    })
}

/// Puts nothing in the place of what is void among `commands`, which follow each other; `voided` then holds what stood there.
pub(crate) fn put_void(voids: &Voids, commands: &mut [Sequenced], voided: &mut Vec<Sequenced>) {
    voided.clear();
    let Some(first) = commands.first().map(|at| at.seq) else { return };
    for void in voids {
        let nth = void.seq.0.checked_sub(first.0).and_then(|nth| usize::try_from(nth).ok());
        let Some(sequenced) = nth.and_then(|nth| commands.get_mut(nth)) else { continue };
        voided.push(*sequenced);
        sequenced.command = Command::Control(Control::Void { seq: void.seq, reason: void.reason });
    }
}

/// Makes the command at `seq` void in the journal in `dir`, for good; returns the Seq at which that is recorded, in an
/// epoch of its own that is closed in order. Whether it may be is the caller's question: that the state machine cannot
/// take it, and that nobody heard what came of it. A void that was begun and not recorded keeps its reason.
///
/// # Errors
/// [`Error::Void`] when there are as many voids as there can be; else as
/// [`open`](crate::open).
pub fn void(dir: &Path, options: &Options, seq: Seq, reason: VoidReason) -> Result<Seq, Error> {
    void_on(&Os, dir, options, seq, reason)
}

/// [`void`], in another world.
///
/// # Errors
/// As there.
pub fn void_on<D: Disk>(
    disk: &D,
    dir: &Path,
    options: &Options,
    seq: Seq,
    reason: VoidReason,
) -> Result<Seq, Error> {
    let void = begin(disk, dir, options, Void { seq, recorded: Seq(0), reason })?;
    let recorded = record(disk, dir, options, void)?;
    let lock = dir::lock(disk, dir)?;
    note(disk, dir, options, Void { recorded, ..void })?;
    drop(lock);
    Ok(recorded)
}

/// The superblock learns of it, if it does not know it yet.
fn begin<D: Disk>(disk: &D, dir: &Path, options: &Options, void: Void) -> Result<Void, Error> {
    crate::superblock::read(disk, dir, options.direct())?;
    let lock = dir::lock(disk, dir)?;
    let (known, _) = crate::superblock::read(disk, dir, options.direct())?;
    let begun = known.voids.get(void.seq).copied();
    if begun.is_none() {
        note(disk, dir, options, void)?;
    }
    drop(lock);
    Ok(begun.unwrap_or(void))
}

/// The caller holds the lock.
fn note<D: Disk>(disk: &D, dir: &Path, options: &Options, void: Void) -> Result<(), Error> {
    let mut keeper = Keeper::open(disk, dir, options.direct())?;
    let full = || Error::Void { dir: dir.to_owned(), what: VOIDS_FULL };
    let voids = keeper.current().voids.with(void).ok_or_else(full)?;
    if voids == keeper.current().voids { Ok(()) } else { keeper.void(voids) }
}

/// The journal records it, if it does not yet; returns where.
fn record<D: Disk>(disk: &D, dir: &Path, options: &Options, void: Void) -> Result<Seq, Error> {
    let Void { seq, reason, .. } = void;
    let decision = Command::Control(Control::Void { seq, reason });
    let mut recorded = None;
    let (found, mut writer, mut maker) = recovery::open_on(disk, dir, options, &mut |_, commands| {
        // In the place of the command itself stands the same.
        let record = commands.iter().find(|at| at.command == decision && at.seq != seq);
        recorded = recorded.or(record.map(|at| at.seq));
        Ok(())
    })?;
    let at = match recorded {
        Some(at) => at,
        None => {
            let at = found.last_seq.next();
            while !writer.can_begin() {
                maker.poll()?;
                writer.poll()?;
            }
            let command = Sequenced { seq: at, time: found.last_time, command: decision };
            writer.append(&[command], found.commit, (found.executed.seq, found.executed.output_hash))?;
            at
        }
    };
    writer.seal()?;
    Ok(at)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use ironbell_record::superblock::WrappedKey;
    use ironbell_types::Nanos;

    use super::*;
    use crate::dir::Durability;
    use crate::{Identity, Reader};

    fn options() -> Options {
        Options { durability: Durability::Buffered, segment_bytes: 256 << 10, ..Options::default() }
    }

    fn reason(text: &str) -> VoidReason {
        VoidReason::new(text).expect("short")
    }

    /// A journal of three ticks, in a folder of the test's own.
    fn three_ticks(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("ironbell-void-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let identity = Identity { cluster: [7; 16], key: 7 };
        crate::format(&dir, identity, &options(), WrappedKey::NONE).expect("an empty folder");
        let (_, mut writer, mut maker) = crate::open(&dir, &options()).expect("a new journal");
        let tick = |seq| Sequenced { seq: Seq(seq), time: Nanos(seq), command: Command::Tick };
        while !writer.can_begin() {
            maker.poll().expect("room on the disk");
        }
        writer.append(&[tick(1), tick(2), tick(3)], Seq(0), (Seq(0), 0)).expect("room on the disk");
        writer.seal().expect("room on the disk");
        dir
    }

    /// Each command as a replay gets it: its Seq, and which Seq is void there.
    fn read(dir: &Path) -> Result<Vec<(u64, Option<u64>)>, Error> {
        let mut reader = Reader::open(dir)?;
        let mut found = Vec::new();
        while let Some(frame) = reader.next_frame()? {
            found.extend(frame.commands.iter().map(|at| match at.command {
                Command::Control(Control::Void { seq, .. }) => (at.seq.0, Some(seq.0)),
                _ => (at.seq.0, None),
            }));
            let is_void = |at: &&Sequenced| matches!(at.command, Command::Control(Control::Void { seq, .. }) if seq == at.seq);
            assert_eq!(frame.voided.len(), frame.commands.iter().filter(is_void).count());
            assert!(frame.voided.iter().all(|at| at.command == Command::Tick), "what was given is kept");
        }
        Ok(found)
    }

    const VOID: [(u64, Option<u64>); 4] = [(1, None), (2, Some(2)), (3, None), (4, Some(2))];

    #[test]
    fn a_void_that_was_cut_off_is_finished_by_the_same_call() {
        for done in 0..=2 {
            let dir = three_ticks(&format!("cut-{done}"));
            let first = Void { seq: Seq(2), recorded: Seq(0), reason: reason("first") };
            if done >= 1 {
                begin(&Os, &dir, &options(), first).expect("it is free");
                assert_eq!(read(&dir).expect("it is sound"), VOID[..3], "it is void from the first step on");
            }
            if done >= 2 {
                assert_eq!(record(&Os, &dir, &options(), first).expect("it is free"), Seq(4));
                assert_eq!(read(&dir).expect("it is sound"), VOID);
            }
            let told = reason(if done == 0 { "first" } else { "another" });
            assert_eq!(void(&dir, &options(), Seq(2), told).expect("it is free"), Seq(4));
            assert_eq!(read(&dir).expect("it is sound"), VOID);
            let voids = crate::superblock(&dir).expect("it is sound").voids;
            assert_eq!(voids.iter().copied().collect::<Vec<_>>(), [Void { recorded: Seq(4), ..first }]);
            assert_eq!(void(&dir, &options(), Seq(2), told).expect("done already"), Seq(4));
            assert_eq!(read(&dir).expect("it is sound"), VOID, "it is recorded once");
            std::fs::remove_dir_all(&dir).expect("ours");
        }
    }

    #[test]
    fn superblock_and_journal_must_agree_on_what_is_void() {
        let dir = three_ticks("agree");
        void(&dir, &options(), Seq(2), reason("a cause")).expect("it is free");
        let change = |voids: Voids| {
            Keeper::open(&Os, &dir, false).and_then(|mut keeper| keeper.void(voids)).expect("it is free");
        };
        let decision =
            |seq, recorded, text| Void { seq: Seq(seq), recorded: Seq(recorded), reason: reason(text) };
        for (voids, what) in [
            (Voids::NONE, "Seq 4 records that Seq 2 is void"),
            (
                Voids::NONE.with(decision(2, 4, "another cause")).expect("room"),
                "Seq 4 records that Seq 2 is void",
            ),
            (Voids::NONE.with(decision(1, 4, "a cause")).expect("room"), "Seq 4 records that Seq 2 is void"),
            (
                Voids::NONE.with(decision(2, 3, "a cause")).expect("room"),
                "Seq 3 does not record that Seq 2 is void",
            ),
        ] {
            change(voids);
            let Err(Error::Damaged { what: found, .. }) = read(&dir) else { panic!("{what} was not found") };
            assert!(found.contains(what), "{found}");
        }
        change(Voids::NONE.with(decision(2, 4, "a cause")).expect("room"));
        assert_eq!(read(&dir).expect("it is sound again"), VOID);
        std::fs::remove_dir_all(&dir).expect("ours");
    }
}
