//! Segments go to an archive and come back as they were, whatever ends it in between.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ironbell_archive::{Archiving, Depot, Error, Folder, Journal, archive, check, restore};
use ironbell_record::superblock::WrappedKey;
use ironbell_store::{DataKey, Durability, FRAME_BYTES_MAX, Identity, Options, Reader};
use ironbell_types::{Command, MassCancelSlice, Nanos, Seq, Sequenced};

const VENUE: Identity = Identity { cluster: *b"the tests' venue", key: 42 };
const EVERYTHING: Seq = Seq::MAX;

/// A journal and a folder beside it, gone in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let dir =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("archive-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        Self(dir)
    }

    fn journal(&self) -> PathBuf {
        self.0.join("journal")
    }

    fn folder(&self) -> Folder {
        Folder::new(self.0.join("archive"))
    }

    /// The segments' bytes by index.
    fn segments(&self) -> BTreeMap<u64, Vec<u8>> {
        let dir = self.journal();
        let indices = ironbell_store::segments(&dir).expect("it is there");
        let bytes = |index| fs::read(ironbell_store::segment_path(&dir, index)).expect("it is read");
        indices.into_iter().map(|index| (index, bytes(index))).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn command(seq: u64) -> Sequenced {
    let slice = MassCancelSlice { cause: Seq(seq.wrapping_mul(0x9e37_79b9_7f4a_7c15)), slice: seq as u32 };
    Sequenced { seq: Seq(seq), time: Nanos(seq * 10), command: Command::MassCancelSlice(slice) }
}

fn key(byte: u8) -> Option<Arc<DataKey>> {
    Some(Arc::new(DataKey::new(&[byte; 32])))
}

fn options(data_key: Option<Arc<DataKey>>) -> Options {
    let segment_bytes = (4_096 + 2 * FRAME_BYTES_MAX) as u64;
    Options { durability: Durability::Buffered, segment_bytes, in_flight: 2, data_key, ..Options::default() }
}

/// A journal of several segments, with frames of all sizes, closed and opened once in between.
fn write(scratch: &Scratch, data_key: Option<&Arc<DataKey>>) -> u64 {
    let (dir, options) = (scratch.journal(), options(data_key.cloned()));
    let wrapped = WrappedKey::new(if data_key.is_some() { b"wrapped" } else { b"" }).expect("it is short");
    ironbell_store::format(&dir, VENUE, &options, wrapped).expect("an empty folder");
    let mut seq = 0;
    for _ in 0..2 {
        let (_, mut writer, mut maker) = ironbell_store::open(&dir, &options).expect("a journal");
        for nth in 0..120_u64 {
            while !writer.can_begin() {
                maker.poll().expect("the disk has room");
                writer.poll().expect("the disk takes it");
            }
            let count = (nth * 37) % 300;
            let commands: Vec<_> = (seq + 1..=seq + count).map(command).collect();
            writer.append(&commands, Seq(seq), (Seq(0), 0)).expect("it can begin");
            seq += count;
        }
        writer.seal().expect("the disk takes it");
    }
    seq
}

/// Every command of the journal, from the beginning.
fn replay(dir: &Path, data_key: Option<Arc<DataKey>>) -> Result<u64, ironbell_store::Error> {
    let mut reader = Reader::deciphering(dir, data_key)?;
    let mut expected = 1;
    while let Some(frame) = reader.next_frame()? {
        for sequenced in frame.commands {
            assert_eq!(*sequenced, command(expected));
            expected += 1;
        }
    }
    Ok(expected - 1)
}

fn all(copy: bool) -> Archiving {
    Archiving { before: EVERYTHING, copy }
}

#[test]
fn what_is_archived_is_missed_by_name_and_comes_back_as_it_was() {
    for (name, data_key) in [("round", None), ("round-enciphered", key(7))] {
        let scratch = Scratch::new(name);
        there_and_back(&scratch, &scratch.folder(), data_key.as_ref());
    }
}

/// The same with a server that speaks S3: `make test-s3` starts one.
#[cfg(feature = "s3")]
#[test]
fn what_is_archived_by_s3_comes_back_as_it_was() {
    let place = std::env::var("IRONBELL_S3").expect("IRONBELL_S3 names a bucket: run it by `make test-s3`");
    for (name, data_key) in [("s3", None), ("s3-enciphered", key(7))] {
        let scratch = Scratch::new(name);
        let depot = ironbell_archive::depot::open(&format!("{place}/{name}")).expect("a bucket");
        there_and_back(&scratch, &*depot, data_key.as_ref());
    }
    let scratch = Scratch::new("s3-missing");
    write(&scratch, None);
    let journal = Journal::open(&scratch.journal(), None).expect("a journal");
    let before = scratch.segments();
    let depot = ironbell_archive::depot::open(&format!("{place}-missing/x")).expect("a name");
    let refused = archive(&journal, &*depot, all(false), &mut |_| {}).expect_err("there is no such bucket");
    assert!(refused.to_string().contains(&depot.place()), "{refused}");
    assert!(scratch.segments() == before, "nothing is taken that is not there");
}

/// Archives a journal, misses what is gone, and brings it back.
fn there_and_back(scratch: &Scratch, depot: &dyn Depot, data_key: Option<&Arc<DataKey>>) {
    let dir = scratch.journal();
    let last = write(scratch, data_key);
    let before = scratch.segments();
    let sealed = before.len() - 2;
    assert!(sealed >= 5, "{} segments", before.len());

    let journal = Journal::open(&dir, data_key.cloned()).expect("a journal");
    let mut told = Vec::new();
    let moved = archive(&journal, depot, all(false), &mut |entry| told.push(entry.clone())).expect("room");
    let left: Vec<u64> = scratch.segments().into_keys().collect();
    assert!(moved >= 5 && left[0] == moved as u64 + 1, "{moved} moved, {left:?} left");
    assert_eq!(archive(&journal, depot, all(false), &mut |_| {}).expect("nothing to do"), 0);
    let bytes: u64 = told.iter().map(|entry| entry.object_bytes).sum();
    let raw: u64 = told.iter().map(|entry| entry.facts.bytes).sum();
    assert!(bytes * 2 < raw, "{bytes} bytes of {raw}: it is not compressed");

    let missed = replay(&dir, data_key.cloned()).expect_err("the beginning is not there").to_string();
    for word in ["segment 1 of", "ironbell restore", &depot.place(), &format!("segments 1 to {moved}")] {
        assert!(missed.contains(word), "{word} in: {missed}");
    }
    // The last two, then the rest.
    let from = Seq(told[moved - 2].facts.first_seq);
    assert_eq!(restore(&journal, depot, from, &mut |_| {}).expect("all is there"), 2);
    assert_eq!(restore(&journal, depot, Seq(0), &mut |_| {}).expect("all is there"), moved - 2);
    assert_eq!(restore(&journal, depot, Seq(0), &mut |_| {}).expect("nothing to do"), 0);
    assert!(scratch.segments() == before, "the segments are not what they were");
    assert_eq!(replay(&dir, data_key.cloned()).expect("nothing is missing"), last);
    // Once more: what is listed is not written again, but read again.
    assert_eq!(archive(&journal, depot, all(false), &mut |_| {}).expect("it is there"), moved);
    assert_eq!(check(&journal, depot, &mut |_| {}).expect("it is right").segments.len(), moved);
}

#[test]
fn nothing_that_a_start_needs_is_taken_and_a_copy_takes_nothing() {
    let scratch = Scratch::new("before");
    write(&scratch, None);
    let before = scratch.segments();
    let (journal, depot) = (Journal::open(&scratch.journal(), None).expect("a journal"), scratch.folder());
    let mut told = Vec::new();
    let copied =
        archive(&journal, &depot, all(true), &mut |entry| told.push(entry.facts.clone())).expect("room");
    assert!(copied >= 5);
    assert!(scratch.segments() == before);
    // The third segment's last command is the first that is needed: the third stays.
    let needed = Seq(told[2].last_seq);
    let until = |before: Seq| archive(&journal, &depot, Archiving { before, copy: false }, &mut |_| {});
    assert_eq!(until(needed).expect("it is there"), 2);
    assert_eq!(until(needed).expect("nothing to do"), 0);
    assert_eq!(until(needed.next()).expect("it is there"), 1);
    assert_eq!(scratch.segments().into_keys().next(), Some(4));
}

#[test]
fn an_enciphered_archive_tells_nothing_and_wants_its_key() {
    let scratch = Scratch::new("secret");
    write(&scratch, key(7).as_ref());
    let (journal, depot) = (Journal::open(&scratch.journal(), key(7)).expect("a journal"), scratch.folder());
    let planted = match command(1).command {
        Command::MassCancelSlice(slice) => slice.cause.0.to_le_bytes(),
        other => panic!("{other:?}"),
    };
    let moved = archive(&journal, &depot, all(false), &mut |_| {}).expect("room");
    for entry in fs::read_dir(scratch.0.join("archive")).expect("a folder") {
        let path = entry.expect("an entry").path();
        let bytes = fs::read(&path).expect("it is read");
        assert!(!bytes.windows(8).any(|window| window == planted), "{} can be read", path.display());
        // What is only compressed begins with zstd's magic number (RFC 8878, 3.1.1).
        assert!(!bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]), "{} is only compressed", path.display());
    }
    drop(journal);
    assert!(matches!(Journal::open(&scratch.journal(), None), Err(Error::Key { is_enciphered: true, .. })));
    let other = Journal::open(&scratch.journal(), key(8)).expect("a journal");
    let refused = restore(&other, &depot, Seq(0), &mut |_| {}).expect_err("another key").to_string();
    assert!(refused.contains("not enciphered with this key"), "{refused}");
    assert_eq!(scratch.segments().into_keys().next(), Some(moved as u64 + 1));
}

/// A depot that fails, as if the process had ended there, before or after its nth call.
struct Ending<'d> {
    depot: &'d Folder,
    calls: Cell<u32>,
    ends_at: u32,
    after: bool,
}

impl Ending<'_> {
    fn call<T>(&self, done: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let nth = self.calls.replace(self.calls.get() + 1);
        if nth == self.ends_at && !self.after {
            return self.ended();
        }
        let result = done()?;
        if nth == self.ends_at { self.ended() } else { Ok(result) }
    }

    fn ended<T>(&self) -> Result<T, Error> {
        Err(Error::Depot {
            what: "reach",
            object: String::new(),
            place: self.place(),
            why: "it ended".into(),
        })
    }
}

impl Depot for Ending<'_> {
    fn put(&self, object: &str, bytes: &[u8]) -> Result<(), Error> {
        self.call(|| self.depot.put(object, bytes))
    }

    fn settle(&self) -> Result<(), Error> {
        self.call(|| self.depot.settle())
    }

    fn get(&self, object: &str) -> Result<Option<Vec<u8>>, Error> {
        self.call(|| self.depot.get(object))
    }

    fn place(&self) -> String {
        self.depot.place()
    }
}

#[test]
fn an_end_at_any_point_loses_nothing_and_doing_it_again_goes_on() {
    let scratch = Scratch::new("ends");
    let last = write(&scratch, key(7).as_ref());
    let before = scratch.segments();
    let depot = scratch.folder();
    let journal = Journal::open(&scratch.journal(), key(7)).expect("a journal");
    let mut ends = 0;
    for (ends_at, after) in (0..14).flat_map(|nth| [(nth, false), (nth, true)]) {
        let ending = Ending { depot: &depot, calls: Cell::new(0), ends_at, after };
        if archive(&journal, &ending, all(false), &mut |_| {}).is_err() {
            ends += 1;
        }
        // Everything is in one place or the other.
        let ending = Ending { calls: Cell::new(0), ends_at: 3, ..ending };
        let _ = restore(&journal, &ending, Seq(0), &mut |_| {});
        if ironbell_store::segments(&scratch.journal()).expect("it is there")[0] > 1 {
            restore(&journal, &depot, Seq(0), &mut |_| {}).expect("what is gone is in the archive");
        }
        assert!(
            scratch.segments() == before,
            "ended {} call {ends_at}",
            if after { "after" } else { "before" }
        );
        if (ends_at % 3, after) == (0, true) {
            // From an empty archive again, else everything is listed from some point on.
            let _ = fs::remove_dir_all(scratch.0.join("archive"));
        }
    }
    assert!(ends > 20, "only {ends} ended in the midst");
    assert_eq!(replay(&scratch.journal(), key(7)).expect("nothing is missing"), last);
}

#[test]
fn damage_on_either_side_is_named_and_stops_it() {
    let scratch = Scratch::new("damage");
    write(&scratch, None);
    let (journal, depot) = (Journal::open(&scratch.journal(), None).expect("a journal"), scratch.folder());
    let flip = |path: &Path, at: usize| {
        let mut bytes = fs::read(path).expect("it is read");
        bytes[at] ^= 1;
        fs::write(path, bytes).expect("it is ours");
    };
    // In the journal: the segments before it go, it and those behind it stay.
    let third = ironbell_store::segment_path(&scratch.journal(), 3);
    flip(&third, 4_096 + 300);
    let refused = archive(&journal, &depot, all(false), &mut |_| {}).expect_err("it is damaged").to_string();
    assert!(refused.contains("0000000003.segment") && refused.contains("byte 4096"), "{refused}");
    assert_eq!(scratch.segments().into_keys().next(), Some(3));
    flip(&third, 4_096 + 300);
    archive(&journal, &depot, all(false), &mut |_| {}).expect("it is whole again");

    // In the archive: what is behind it comes back, it and what is before it do not.
    let object = scratch.0.join("archive/0000000002.segment.zst");
    flip(&object, 100);
    let refused = restore(&journal, &depot, Seq(0), &mut |_| {}).expect_err("it is damaged").to_string();
    assert!(refused.contains("segment 2 in the archive") && refused.contains("SHA-256"), "{refused}");
    assert_eq!(scratch.segments().into_keys().next(), Some(3));
    assert!(check(&journal, &depot, &mut |_| {}).is_err());
    flip(&object, 100);

    // A manifest that someone made fit to another object is found out by the chain.
    let manifest = scratch.0.join("archive/manifest.json");
    let text = fs::read_to_string(&manifest).expect("it is read");
    for (what, from, to) in [
        ("a Seq", "\"first_seq\": 1,", "\"first_seq\": 2,"),
        ("a venue", "\"cluster\": \"74", "\"cluster\": \"75"),
    ] {
        assert!(text.contains(from), "{text}");
        fs::write(&manifest, text.replace(from, to)).expect("it is ours");
        assert!(check(&journal, &depot, &mut |_| {}).is_err(), "{what} was changed");
    }
    fs::write(&manifest, &text).expect("it is ours");
    assert_eq!(restore(&journal, &depot, Seq(0), &mut |_| {}).expect("all is right"), 2);
}

/// What is read back right after it was written is not what was written.
struct Forgetful(RefCell<BTreeMap<String, Vec<u8>>>);

impl Depot for Forgetful {
    fn put(&self, object: &str, bytes: &[u8]) -> Result<(), Error> {
        let kept = if object == "manifest.json" { bytes } else { &bytes[..bytes.len() - 1] };
        self.0.borrow_mut().insert(object.to_owned(), kept.to_vec());
        Ok(())
    }

    fn settle(&self) -> Result<(), Error> {
        Ok(())
    }

    fn get(&self, object: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.borrow().get(object).cloned())
    }

    fn place(&self) -> String {
        "a forgetful place".to_owned()
    }
}

#[test]
fn a_segment_is_removed_only_when_its_copy_reads_back_right() {
    let scratch = Scratch::new("forgetful");
    write(&scratch, None);
    let before = scratch.segments();
    let journal = Journal::open(&scratch.journal(), None).expect("a journal");
    let depot = Forgetful(RefCell::default());
    assert!(matches!(
        archive(&journal, &depot, all(false), &mut |_| {}),
        Err(Error::Object { index: 1, .. })
    ));
    assert!(scratch.segments() == before);
}

#[test]
fn two_at_once_and_the_wrong_place_are_refused() {
    let scratch = Scratch::new("refused");
    write(&scratch, None);
    let (journal, depot) = (Journal::open(&scratch.journal(), None).expect("a journal"), scratch.folder());
    assert!(matches!(Journal::open(&scratch.journal(), None), Err(Error::Busy(_))));
    assert!(matches!(restore(&journal, &depot, Seq(0), &mut |_| {}), Err(Error::NoManifest { .. })));
    archive(&journal, &depot, all(false), &mut |_| {}).expect("room");
    // The beginning is in the first archive; another one cannot bring it back.
    let other = Folder::new(scratch.0.join("other"));
    other
        .put("manifest.json", &fs::read(scratch.0.join("archive/manifest.json")).expect("read"))
        .expect("room");
    let refused = restore(&journal, &other, Seq(0), &mut |_| {}).expect_err("no objects").to_string();
    assert!(refused.contains("there is no 00000000"), "{refused}");
    let refused = ironbell_archive::depot::open("gs://bucket").map(drop).expect_err("not S3").to_string();
    assert!(refused.contains("gs://bucket"), "{refused}");
}
