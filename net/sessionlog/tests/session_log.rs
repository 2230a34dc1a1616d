//! The log against a plain model: what was appended is found, by number, from any thread, and comes
//! back after damage.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ironbell_sessionlog::{
    Config, Error, LogCheck, LogKey, MESSAGE_SIZE_MAX, Positions, Recovered, SessionLog, StreamId,
};
use proptest::prelude::*;

/// A directory that goes away with the test.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("ironbell-sessionlog-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(name))
    }

    fn config(&self) -> Config {
        Config { segment_size: 128 << 10, segments_max: 64, streams_max: 16, ..Config::new(&self.0) }
    }

    fn enciphered(&self, secret: u8) -> Config {
        Config { key: Some(Arc::new(LogKey::new(&[secret; 32]))), ..self.config() }
    }

    /// The bytes of all segments, one after the other.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for nth in 0.. {
            let Ok(segment) = fs::read(self.0.join(format!("{nth:08}.seg"))) else { break };
            bytes.extend(segment);
        }
        bytes
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What the venue said, in order: (stream, message).
type History = Vec<(StreamId, Vec<u8>)>;

fn history(count: u32, size_max: u32) -> History {
    let mut draws = 88_172_645_463_325_252_u64;
    let mut draw = |bound: u32| {
        draws ^= draws << 13;
        draws ^= draws >> 7;
        draws ^= draws << 17;
        (draws >> 33) as u32 % bound
    };
    (0..count).map(|n| (StreamId(draw(5)), (0..draw(size_max)).map(|i| (n + i) as u8).collect())).collect()
}

fn append_all(log: &mut SessionLog, history: &History) {
    for (stream, message) in history {
        log.append(*stream, message).expect("the log has room");
    }
}

fn assert_holds(log: &SessionLog, history: &History) {
    for id in 0..5 {
        let stream = StreamId(id);
        let mut reader = log.reader().stream(stream);
        let told: Vec<&Vec<u8>> = history.iter().filter(|(s, _)| *s == stream).map(|(_, m)| m).collect();
        for (index, message) in told.iter().enumerate() {
            assert_eq!(
                reader.message(index as u64 + 1).expect("nothing is damaged"),
                Some(message.as_slice())
            );
        }
        assert_eq!(reader.message(told.len() as u64 + 1).expect("nothing is damaged"), None);
        assert_eq!(log.next_number(stream), told.len() as u64 + 1);
    }
}

fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).expect("the segment exists");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("the segment is long enough");
    file.write_all_at(&[byte[0] ^ 0x40], at).expect("the segment can be written");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Messages of all sizes over several segments, read back in any order.
    #[test]
    fn any_message_is_found_from_any_place(
        sizes in prop::collection::vec((0_u32..4, prop_oneof![4 => 0_usize..200, 1 => 0_usize..20_000]), 1..200),
        reads in prop::collection::vec((0_u32..4, 0_u64..80), 1..200),
        is_enciphered in any::<bool>(),
    ) {
        let dir = Dir::new();
        let config = if is_enciphered { dir.enciphered(1) } else { dir.config() };
        let (mut log, _maker) = SessionLog::open(&config).expect("the directory can be used");
        let mut model = vec![Vec::new(); 4];
        for (n, (stream, size)) in sizes.iter().enumerate() {
            let message: Vec<u8> = (0..*size).map(|i| (i + n) as u8).collect();
            let number = log.append(StreamId(*stream), &message).expect("the log has room");
            model[*stream as usize].push(message);
            prop_assert_eq!(number, model[*stream as usize].len() as u64);
        }
        let mut readers: Vec<_> = (0..4).map(|s| log.reader().stream(StreamId(s))).collect();
        for (stream, number) in reads {
            let told = &model[stream as usize];
            let expected = number.checked_sub(1).and_then(|i| told.get(i as usize)).map(Vec::as_slice);
            prop_assert_eq!(readers[stream as usize].message(number).expect("nothing is damaged"), expected);
            prop_assert_eq!(readers[stream as usize].newest().expect("nothing is damaged"), told.len() as u64);
        }
    }
}

#[test]
fn a_replay_of_the_same_history_writes_nothing() {
    let (dir, history) = (Dir::new(), history(3_000, 300));
    {
        let (mut log, _) = SessionLog::open(&dir.config()).expect("the directory can be used");
        append_all(&mut log, &history);
        assert_eq!(log.end_recovery(), Recovered { records: 3_000, rewritten: 3_000 });
    }
    let before: Vec<Vec<u8>> =
        (0..3).map(|n| fs::read(dir.0.join(format!("{n:08}.seg"))).expect("written")).collect();
    let (mut log, _) = SessionLog::open(&dir.config()).expect("the directory can be used");
    append_all(&mut log, &history);
    assert_eq!(log.end_recovery(), Recovered { records: 3_000, rewritten: 0 });
    assert_holds(&log, &history);
    let after: Vec<Vec<u8>> =
        (0..3).map(|n| fs::read(dir.0.join(format!("{n:08}.seg"))).expect("written")).collect();
    assert!(before == after);
}

#[test]
fn damage_is_rewritten_by_the_replay_and_counted() {
    let (dir, history) = (Dir::new(), history(3_000, 300));
    {
        let (mut log, _) = SessionLog::open(&dir.config()).expect("the directory can be used");
        append_all(&mut log, &history);
    }
    // The first record (its header), one somewhere, and a segment's own header.
    flip(&dir.0.join("00000000.seg"), 64 + 20);
    flip(&dir.0.join("00000001.seg"), 70_001);
    flip(&dir.0.join("00000002.seg"), 5);
    let (mut log, _) = SessionLog::open(&dir.config()).expect("the directory can be used");
    append_all(&mut log, &history);
    let recovered = log.end_recovery();
    assert_eq!(recovered.records, 3_000);
    // The byte at 70,001 may be a `next` link or padding, which are not part of a record.
    assert!((1..=2).contains(&recovered.rewritten), "{recovered:?}");
    assert_holds(&log, &history);
}

#[test]
fn a_missing_and_a_truncated_segment_come_back() {
    let (dir, history) = (Dir::new(), history(3_000, 300));
    {
        let (mut log, _) = SessionLog::open(&dir.config()).expect("the directory can be used");
        append_all(&mut log, &history);
    }
    fs::remove_file(dir.0.join("00000001.seg")).expect("the segment exists");
    let last = OpenOptions::new().write(true).open(dir.0.join("00000002.seg")).expect("the segment exists");
    last.set_len(1_000).expect("the segment can be cut");
    let (mut log, _) = SessionLog::open(&dir.config()).expect("the directory can be used");
    append_all(&mut log, &history);
    let recovered = log.end_recovery();
    assert!(recovered.rewritten > 100 && recovered.rewritten < 3_000, "{recovered:?}");
    assert_holds(&log, &history);
}

#[test]
fn records_beyond_the_replay_are_not_found() {
    // The node was killed with more in the log's pages than its journal later held: such records were
    // never released, and what is appended next takes their place.
    let (dir, mut history) = (Dir::new(), history(500, 100));
    {
        let (mut log, _) = SessionLog::open(&dir.config()).expect("the directory can be used");
        append_all(&mut log, &history);
    }
    history.truncate(300);
    let (mut log, _) = SessionLog::open(&dir.config()).expect("the directory can be used");
    append_all(&mut log, &history);
    assert_eq!(log.end_recovery().rewritten, 0);
    assert_holds(&log, &history);
    history.push((StreamId(2), b"another future".to_vec()));
    log.append(StreamId(2), b"another future").expect("the log has room");
    assert_holds(&log, &history);
}

#[test]
fn damage_under_a_reader_is_an_error_that_says_where() {
    let dir = Dir::new();
    let (mut log, _) = SessionLog::open(&dir.config()).expect("the directory can be used");
    for n in 0..100_u64 {
        log.append(StreamId(1), &n.to_le_bytes()).expect("the log has room");
    }
    let record_size = 56;
    flip(&dir.0.join("00000000.seg"), 64 + 41 * record_size + 50);
    let mut reader = log.reader().stream(StreamId(1));
    assert!(reader.message(41).is_ok_and(|m| m.is_some()));
    match reader.message(42) {
        Err(Error::Damaged { stream: 1, number: 42, .. }) => {}
        other => panic!("expected damage at message 42, got {other:?}"),
    }
    assert!(reader.message(43).is_ok_and(|m| m.is_some()));
    // A damaged link must not lead astray: the number is checked at every step.
    flip(&dir.0.join("00000000.seg"), 64 + 60 * record_size + 40);
    let mut reader = log.reader().stream(StreamId(1));
    assert!(reader.message(61).is_ok_and(|m| m.is_some()));
    assert!(matches!(reader.message(62), Err(Error::Damaged { .. })));
}

#[test]
fn a_reader_on_another_thread_sees_whole_messages_only() {
    const COUNT: u64 = 50_000;
    let dir = Dir::new();
    let (mut log, mut maker) = SessionLog::open(&dir.config()).expect("the directory can be used");
    let message = |n: u64| -> Vec<u8> { (0..40 + n % 50).map(|i| (n + i) as u8).collect() };
    std::thread::scope(|scope| {
        for start in [1, 7] {
            let mut reader = log.reader().stream(StreamId(3));
            scope.spawn(move || {
                let mut number = start;
                while number <= COUNT {
                    if let Some(got) = reader.message(number).expect("nothing is damaged") {
                        assert_eq!(got, message(number));
                        number += 1;
                    }
                }
            });
        }
        for n in 1..=COUNT {
            log.append(StreamId(3), &message(n)).expect("the log has room");
            if n % 500 == 0 {
                maker.poll().expect("a segment can be made");
            }
        }
    });
}

#[test]
fn a_stream_that_starts_again_counts_from_one() {
    let dir = Dir::new();
    let (mut log, _) = SessionLog::open(&dir.config()).expect("the directory can be used");
    log.append(StreamId(1), b"yesterday").expect("the log has room");
    let mut old = log.reader().stream(StreamId(1));
    assert_eq!(old.message(1).expect("nothing is damaged"), Some(b"yesterday".as_slice()));
    log.restart(StreamId(1)).expect("the stream is within the limit");
    assert_eq!(log.next_number(StreamId(1)), 1);
    assert_eq!(log.append(StreamId(1), b"today").expect("the log has room"), 1);
    assert_eq!(old.message(1).expect("nothing is damaged"), None);
    assert_eq!(old.newest().expect("nothing is damaged"), 0);
    let mut new = log.reader().stream(StreamId(1));
    assert_eq!(new.message(1).expect("nothing is damaged"), Some(b"today".as_slice()));
}

#[test]
fn the_maker_stays_two_segments_ahead() {
    let dir = Dir::new();
    let (mut log, mut maker) = SessionLog::open(&dir.config()).expect("the directory can be used");
    assert!(!dir.0.join("00000001.seg").exists());
    assert_eq!(maker.spares(), 0);
    assert!(maker.poll().expect("a segment can be made"));
    assert!(maker.poll().expect("a segment can be made"));
    assert!(!maker.poll().expect("nothing is due"));
    assert!(dir.0.join("00000002.seg").exists());
    assert_eq!(maker.spares(), 2);
    for _ in 0..3 {
        log.append(StreamId(1), &[1; MESSAGE_SIZE_MAX]).expect("the log has room");
    }
    assert!(maker.poll().expect("a segment can be made"));
    maker.sync().expect("the segments can be written back");
}

#[test]
fn limits_are_errors_that_say_what_to_do() {
    let dir = Dir::new();
    let config = Config { segments_max: 1, ..dir.config() };
    let (mut log, _maker) = SessionLog::open(&config).expect("the directory can be used");
    let text = SessionLog::open(&config).expect_err("it is in use").to_string();
    assert!(text.contains("another process writes it"), "{text}");
    let text = log.append(StreamId(16), b"x").expect_err("beyond the limit").to_string();
    assert!(text.contains("stream 16 is beyond the limit of 16"), "{text}");
    log.append(StreamId(1), &[1; MESSAGE_SIZE_MAX]).expect("it fits");
    assert!(matches!(log.append(StreamId(1), &[1; MESSAGE_SIZE_MAX]), Err(Error::Full { .. })));
    assert!(matches!(log.append(StreamId(1), b"x"), Err(Error::Poisoned { .. })));
    assert_eq!(log.next_number(StreamId(1)), 2);
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

#[test]
fn an_enciphered_log_shows_nothing_of_what_was_said_and_is_found_again_as_it_was() {
    let (dir, mut history) = (Dir::new(), history(3_000, 300));
    history.push((StreamId(4), b"ALFA01 bought 500 ANVL".to_vec()));
    history.push((StreamId(4), b"ALFA01 bought 500 ANVL".to_vec()));
    let append = |config: &Config| {
        let (mut log, _) = SessionLog::open(config).expect("the directory can be used");
        append_all(&mut log, &history);
        let recovered = log.end_recovery();
        assert_eq!(recovered.records, 3_002);
        assert_holds(&log, &history);
        recovered.rewritten
    };
    assert_eq!(append(&dir.enciphered(1)), 3_002);
    let written = dir.bytes();
    for (_, message) in history.iter().rev().filter(|(_, message)| message.len() >= 16).step_by(100) {
        assert!(!contains(&written, message), "{message:?} lies in the open");
    }
    // Written again by the replay of a restart, to the byte; under another key, all of it, and as well.
    assert_eq!(append(&dir.enciphered(1)), 0);
    assert!(dir.bytes() == written);
    assert_eq!(append(&dir.enciphered(2)), 3_002);
    assert!(!contains(&dir.bytes(), b"ALFA01"));
}

#[test]
fn nothing_plain_is_left_between_the_records_of_a_log_that_is_enciphered_now() {
    let (dir, mut history) = (Dir::new(), history(2_000, 300));
    history[300].1 = b"ALFA01 bought 500 ANVL".to_vec();
    {
        let (mut log, _) = SessionLog::open(&dir.config()).expect("the directory can be used");
        append_all(&mut log, &history);
    }
    assert!(contains(&dir.bytes(), b"ALFA01"));
    history.truncate(200);
    let (mut log, mut maker) = SessionLog::open(&dir.enciphered(1)).expect("the directory can be used");
    append_all(&mut log, &history);
    maker.poll().expect("a segment can be made");
    assert_holds(&log, &history);
    assert!(!contains(&dir.bytes(), b"ALFA01"));
}

#[test]
fn a_record_in_another_place_or_with_a_right_checksum_but_other_bytes_is_not_believed() {
    let dir = Dir::new();
    let (mut log, _) = SessionLog::open(&dir.enciphered(1)).expect("the directory can be used");
    for n in 0..3_u64 {
        log.append(StreamId(1), &n.to_le_bytes()).expect("the log has room");
    }
    // Someone who writes to the disk can make the checksum right, but not the tag.
    let (first, record_size) = (64, 48 + (8_u64 + 28).next_multiple_of(8));
    let path = dir.0.join("00000000.seg");
    let file = OpenOptions::new().read(true).write(true).open(&path).expect("the segment exists");
    let mut record = vec![0; 48 + 36];
    file.read_exact_at(&mut record, first + record_size).expect("the second record");
    record[48] ^= 1;
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&record[4..40]), &record[48..]);
    record[..4].copy_from_slice(&checksum.to_le_bytes());
    file.write_all_at(&record, first + record_size).expect("the segment can be written");
    let mut reader = log.reader().stream(StreamId(1));
    assert_eq!(reader.message(1).expect("it is whole"), Some(0_u64.to_le_bytes().as_slice()));
    assert!(matches!(reader.message(2), Err(Error::Damaged { stream: 1, number: 2, .. })));
    assert_eq!(reader.message(3).expect("it is whole"), Some(2_u64.to_le_bytes().as_slice()));
}

/// A process was killed between giving a segment its length and giving it its blocks. Writing to the missing
/// ones on a full disk would be a SIGBUS on the order path.
#[test]
fn a_segment_without_blocks_is_given_them() {
    let dir = Dir::new();
    let config = dir.config();
    fs::create_dir_all(&config.dir).expect("a directory of ours");
    let path = config.dir.join("00000000.seg");
    fs::File::create(&path).and_then(|file| file.set_len(config.segment_size)).expect("a file of ours");
    let (_log, _maker) = SessionLog::open(&config).expect("the disk has room");
    let blocks = fs::metadata(&path).expect("it is there").blocks();
    assert!(blocks * 512 >= config.segment_size, "{blocks} blocks of 512 bytes");
}

#[test]
fn a_place_that_is_no_directory_is_explained() {
    let dir = Dir::new();
    fs::write(&dir.0, b"a file").expect("the temporary directory can be written");
    match SessionLog::open(&dir.config()).expect_err("a file is in the way") {
        Error::Io { path, doing: "make the directory", source } => {
            assert_eq!((path, source.kind()), (dir.0.clone(), io::ErrorKind::AlreadyExists));
        }
        other => panic!("{other}"),
    }
    fs::remove_file(&dir.0).expect("the file exists");
}

/// Where the log stands after `history`, as whoever follows the journal finds it, the log beside it compared.
fn found(config: &Config, positions: Positions, history: &History) -> Result<Positions, Error> {
    let mut check = LogCheck::new(config, positions, false);
    history.iter().try_for_each(|(stream, message)| check.append(*stream, message))?;
    check.sync()
}

/// At every place: what was told before is found and left alone, what comes after is told as ever.
#[test]
fn a_log_goes_on_from_where_a_follower_found_it() {
    for is_enciphered in [false, true] {
        let (dir, history) = (Dir::new(), history(3_000, 300));
        let config = if is_enciphered { dir.enciphered(1) } else { dir.config() };
        {
            let (mut log, _) = SessionLog::open(&config).expect("the directory can be used");
            append_all(&mut log, &history);
        }
        let before = dir.bytes();
        for told in [0, 1, 700, 2_999, 3_000] {
            let (earlier, later) = (history[..told].to_vec(), history[told..].to_vec());
            let positions = found(&config, Positions::new(&config), &earlier).expect("it is there");
            let saved = positions.save(&config);
            let positions = Positions::load(&config, &saved).expect("it was saved");
            assert_eq!(positions.save(&config), saved);
            for len in 0..saved.len() {
                assert!(Positions::load(&config, &saved[..len]).is_none(), "{len} bytes");
            }
            let (mut log, _) = SessionLog::resume(&config, positions).expect("it is there");
            append_all(&mut log, &later);
            assert_eq!(log.end_recovery(), Recovered { records: 3_000 - told as u64, rewritten: 0 });
            assert_holds(&log, &history);
            assert!(dir.bytes() == before);
        }
    }
}

#[test]
fn a_follower_finds_what_the_log_lacks_and_a_log_does_not_go_on_from_it() {
    let (dir, history) = (Dir::new(), history(3_000, 300));
    let config = dir.config();
    {
        let (mut log, _) = SessionLog::open(&config).expect("the directory can be used");
        append_all(&mut log, &history);
    }
    let positions = found(&config, Positions::new(&config), &history).expect("it is there");
    // More than was ever told.
    let more = vec![(StreamId(1), b"more".to_vec())];
    let error = found(&config, positions.clone(), &more).expect_err("it is not there");
    assert!(matches!(error, Error::Unlike { stream: 1, .. }), "{error}");
    // Another log of the same streams.
    let other = Config { segment_size: 256 << 10, ..config.clone() };
    assert!(Positions::load(&other, &positions.save(&config)).is_none());

    flip(&dir.0.join("00000001.seg"), 70_001);
    let flipped = found(&config, Positions::new(&config), &history);
    // The byte may be a `next` link or padding, which are not part of a record.
    assert!(matches!(flipped, Ok(_) | Err(Error::Unlike { .. })));
    fs::remove_file(dir.0.join("00000001.seg")).expect("the segment exists");
    let error = SessionLog::resume(&config, positions.clone()).expect_err("a segment is missing");
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    assert!(!dir.0.join("00000001.seg").exists(), "nothing is made in its place");
    let error = found(&config, Positions::new(&config), &history).expect_err("a segment is missing");
    assert!(matches!(error, Error::Unlike { .. }), "{error}");

    // From the beginning it is rebuilt, and then found.
    let (mut log, _) = SessionLog::open(&config).expect("the directory can be used");
    append_all(&mut log, &history);
    assert!(log.end_recovery().rewritten > 100);
    found(&config, Positions::new(&config), &history).expect("it is there again");
    drop(log);
    // The newest record of a stream is damaged: the last record of all is.
    let (segment, at) = (
        positions_end(&positions, &config) / config.segment_size,
        positions_end(&positions, &config) % config.segment_size,
    );
    flip(&dir.0.join(format!("{segment:08}.seg")), at - 8);
    let error = SessionLog::resume(&config, positions).expect_err("its end is damaged");
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
}

/// The log's head: the third number that is saved.
fn positions_end(positions: &Positions, config: &Config) -> u64 {
    u64::from_le_bytes(positions.save(config)[16..24].try_into().expect("eight bytes"))
}

/// A follower beside the writer waits for what is a little late.
#[test]
fn a_follower_waits_for_the_writer() {
    let (dir, history) = (Dir::new(), history(2_000, 300));
    let config = dir.config();
    let (mut log, _) = SessionLog::open(&config).expect("the directory can be used");
    let follower = {
        let (config, history) = (config.clone(), history.clone());
        std::thread::spawn(move || {
            let mut check = LogCheck::new(&config, Positions::new(&config), true);
            for (stream, message) in &history {
                check.append(*stream, message).unwrap_or_else(|error| panic!("{error}"));
            }
            check.sync().expect("it is written back").save(&config)
        })
    };
    for (nth, (stream, message)) in history.iter().enumerate() {
        if nth % 500 == 0 {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        log.append(*stream, message).expect("the log has room");
    }
    let found = follower.join().expect("it finds everything");
    let expected = self::found(&config, Positions::new(&config), &history).expect("it is there");
    assert_eq!(found, expected.save(&config));
}

/// Whoever hands a log on as it stood somewhere reads it beside its writer, also when its streams have started again since.
#[test]
fn a_log_is_read_as_it_stood_and_told_again_elsewhere() {
    for secret in [None, Some(7)] {
        let (dir, other) = (Dir::new(), Dir::new());
        let config = |dir: &Dir| secret.map_or_else(|| dir.config(), |secret| dir.enciphered(secret));
        let (mut log, _maker) = SessionLog::open(&config(&dir)).expect("a log");
        append_all(&mut log, &history(40, 90));
        (0..5).for_each(|id| log.restart(StreamId(id)).expect("it is open"));
        let today = history(500, 900);
        append_all(&mut log, &today);
        let there = log.positions().clone();
        append_all(&mut log, &history(100, 90));
        (0..3).for_each(|id| log.restart(StreamId(id)).expect("it is open"));
        append_all(&mut log, &history(20, 90));

        let reader = log.reader();
        let (mut copy, _maker) = SessionLog::open(&config(&other)).expect("another log");
        for (stream, generation, messages) in there.streams() {
            for _ in 0..generation {
                copy.restart(stream).expect("it has room");
            }
            let mut told = reader.stream_at(&there, stream).expect("it stood there");
            assert_eq!(told.newest().expect("nothing is damaged"), messages);
            for number in 1..=messages {
                let message = told.message(number).expect("nothing is damaged").expect("it was told");
                assert_eq!(copy.append(stream, message).expect("it has room"), number);
            }
            assert_eq!(told.message(messages + 1).expect("nothing is damaged"), None, "told later");
        }
        assert_holds(&copy, &today);
        let streams = |positions: &Positions| positions.streams().collect::<Vec<_>>();
        assert_eq!(streams(copy.positions()), streams(&there));

        // A log that has not come there has nothing to say of it.
        let (behind, _maker) = SessionLog::open(&config(&Dir::new())).expect("a third log");
        assert!(matches!(behind.reader().stream_at(&there, StreamId(1)), Err(Error::Damaged { .. })));
    }
}
