//! The journal on a real file system: what was written is there, whatever happened in between.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::rig::{Rng, Scratch, VENUE, commands};
use ironbell_record::frame::FORMAT;
use ironbell_record::{BLOCK_BYTES, HEADER_BYTES};
use ironbell_store::{
    DataKey, Durability, Error, FRAME_BYTES_MAX, FrameHeader, Options, Reader, SegmentMaker, TornTail,
    WrappedKey, Writer, open, open_replaying,
};
use ironbell_types::{Command, Nanos, Seq};

/// Room for the header block and two of the longest frames.
const SMALL: u64 = (BLOCK_BYTES + 2 * FRAME_BYTES_MAX) as u64;

fn reopen(dir: &Path, options: &Options) -> (ironbell_store::Recovery, Writer, SegmentMaker) {
    open(dir, options).unwrap_or_else(|error| panic!("{error}"))
}

/// Every header in the journal, as a reader without a lock sees them; all commands are compared.
fn headers(dir: &Path) -> Result<Vec<FrameHeader>, Error> {
    let mut reader = Reader::open(dir)?;
    let mut found = Vec::new();
    while let Some(frame) = reader.next_frame()? {
        assert_eq!(frame.commands, commands(frame.header.first_seq.0, frame.commands.len()));
        found.push(frame.header);
    }
    Ok(found)
}

/// Appends frames of these many commands, waiting for a place each time.
fn write(writer: &mut Writer, maker: &mut SegmentMaker, counts: impl IntoIterator<Item = usize>) {
    for count in counts {
        while !writer.can_begin() {
            maker.poll().expect("a segment is made");
            writer.poll().expect("no write fails");
        }
        let commit = Seq(writer.durable().get());
        writer
            .append(&commands(writer.appended_seq().0 + 1, count), commit, (Seq(0), 0))
            .expect("no write fails");
    }
}

#[test]
fn what_was_written_is_read_across_segments_and_restarts() {
    let scratch = Scratch::formatted("restarts");
    let options = Options { segment_bytes: SMALL, ..scratch.options() };
    let mut rng = Rng::new("restarts");
    let (mut last_seq, mut frames, mut bytes) = (0, 0, 0);
    for epoch in 1..=6 {
        let mut replayed = 0;
        let mut replay = |header: &FrameHeader, found: &[_]| {
            assert_eq!(found, commands(header.first_seq.0, found.len()));
            replayed += found.len() as u64;
            Ok(())
        };
        let opened = open_replaying(scratch.dir(), &options, &mut replay);
        let (recovery, mut writer, mut maker) = opened.expect("nothing is wrong with it");
        assert_eq!((recovery.last_seq, recovery.last_time), (Seq(last_seq), Nanos(last_seq * 10)));
        assert_eq!((recovery.epoch, writer.epoch()), (epoch, Some(epoch)));
        assert_eq!((recovery.frames, recovery.bytes, recovery.commands), (frames, bytes, last_seq));
        assert_eq!((recovery.torn, replayed), (None, last_seq));
        assert_eq!(writer.durable().get(), last_seq);

        let counts: Vec<_> = (0..12).map(|_| rng.below(1025) as usize).collect();
        write(&mut writer, &mut maker, counts.iter().copied());
        let commit = writer.appended_seq();
        write(&mut writer, &mut maker, []);
        writer.seal().expect("no write fails");
        last_seq += counts.iter().sum::<usize>() as u64;
        assert_eq!((commit, writer.durable().get()), (Seq(last_seq), last_seq));
        frames += writer.frames();
        bytes += writer.bytes();
    }
    let found = headers(scratch.dir()).expect("nothing is wrong with it");
    assert_eq!(found.len() as u64, frames);
    assert_eq!(found.last().map(FrameHeader::last_seq), Some(Seq(last_seq)));
    assert!(found.is_sorted_by_key(|header| header.epoch));
    assert!(scratch.segments().len() > 6, "the flow was meant to fill segments");
}

#[test]
fn an_idle_restart_takes_an_epoch_all_the_same() {
    let scratch = Scratch::formatted("epochs");
    for epoch in 1..=4 {
        let (recovery, ..) = reopen(scratch.dir(), &scratch.small());
        assert_eq!((recovery.epoch, recovery.frames, recovery.last_seq), (epoch, epoch - 1, Seq(0)));
    }
}

#[test]
fn the_commit_and_the_output_hash_come_back() {
    let scratch = Scratch::formatted("commit");
    let (_, mut writer, mut maker) = reopen(scratch.dir(), &scratch.small());
    write(&mut writer, &mut maker, [7]);
    writer.append(&[], Seq(7), (Seq(7), 1 << 100)).expect("no write fails");
    writer.seal().expect("no write fails");
    drop((writer, maker));
    for _ in 0..2 {
        let (recovery, ..) = reopen(scratch.dir(), &scratch.small());
        assert_eq!(
            (recovery.commit, recovery.executed.seq, recovery.executed.output_hash),
            (Seq(7), Seq(7), 1 << 100)
        );
    }
}

#[test]
fn a_reader_beside_the_writer_sees_what_is_finished() {
    let scratch = Scratch::formatted("beside");
    let (_, mut writer, mut maker) = reopen(scratch.dir(), &scratch.small());
    let mut reader = Reader::open(scratch.dir()).expect("it is formatted");
    let mut seen = 0;
    for _ in 0..40 {
        write(&mut writer, &mut maker, [100, 0, 300]);
        while writer.in_flight() > 0 {
            writer.poll().expect("no write fails");
        }
        while let Some(frame) = reader.next_frame().expect("nothing is damaged") {
            assert_eq!(frame.commands, commands(seen + 1, frame.commands.len()));
            seen += frame.commands.len() as u64;
        }
        assert_eq!(seen, writer.durable().get());
    }
}

#[test]
fn a_follower_reads_ahead_of_nothing_that_is_unfinished() {
    let scratch = Scratch::formatted("follower");
    // Segments of a dozen frames, so that it is at their ends at all times.
    let options = Options { segment_bytes: 2 * SMALL, ..scratch.options() };
    let (_, mut writer, mut maker) = reopen(scratch.dir(), &options);
    let mut reader = Reader::following(scratch.dir(), None, options.durability).expect("it is formatted");
    let mut rng = Rng::new("follower");
    let mut seen = 0;
    for round in 0..1_000 {
        // Frames in flight are looked for too, while they are being written.
        write(
            &mut writer,
            &mut maker,
            (0..rng.below(4)).map(|_| rng.below(500) as usize).collect::<Vec<_>>(),
        );
        if round % 3 == 0 {
            while writer.in_flight() > 0 {
                writer.poll().expect("no write fails");
            }
        }
        let durable = writer.durable().get();
        while let Some(frame) = reader.follow().expect("nothing is damaged") {
            assert_eq!(frame.commands, commands(seen + 1, frame.commands.len()));
            seen += frame.commands.len() as u64;
        }
        assert!(seen >= durable, "round {round}: read to {seen} of {durable}");
    }
    assert!(scratch.segments().len() > 10, "the flow was meant to fill segments");
}

#[test]
fn a_follower_finds_a_frame_that_was_lost() {
    let scratch = Scratch::formatted("lost");
    let (_, mut writer, mut maker) = reopen(scratch.dir(), &scratch.options());
    let mut reader =
        Reader::following(scratch.dir(), None, scratch.options().durability).expect("it is formatted");
    let mut append = |count| {
        write(&mut writer, &mut maker, [count]);
        while writer.in_flight() > 0 {
            writer.poll().expect("no write fails");
        }
    };
    append(20);
    while reader.follow().expect("nothing is damaged").is_some() {}
    append(50);
    append(3);
    let lost = |header: &&FrameHeader| header.first_seq == Seq(21);
    let all = headers(scratch.dir()).expect("nothing is wrong with it");
    let offset = all.iter().find(lost).expect("it was written").place.offset;
    let bytes = get(&scratch.segment(1), offset, BLOCK_BYTES);
    put(&scratch.segment(1), offset, &[0; BLOCK_BYTES]);
    // Nothing may have been written yet; in the end it is looked into.
    let found = (0..100).find_map(|_| reader.follow().map(|frame| assert!(frame.is_none())).err());
    let found = found.expect("the next frame knew it to be safe");
    assert!(matches!(found, Error::Damaged { offset: at, seq: Seq(21), .. } if at == offset), "{found}");
    put(&scratch.segment(1), offset, &bytes);
    assert!(reader.follow().expect("it is back").is_some());
}

/// Waits until all that was appended is durable, and ends without an orderly end.
fn abandon(mut writer: Writer, maker: SegmentMaker) {
    while writer.in_flight() > 0 {
        writer.poll().expect("no write fails");
    }
    drop((writer, maker));
}

/// A journal whose last frames were in flight together, so that none of them knew another to be safe.
fn journal_with_frames_in_flight(name: &str, counts: &[usize]) -> (Scratch, Vec<FrameHeader>) {
    let scratch = Scratch::formatted(name);
    let (_, mut writer, mut maker) = reopen(scratch.dir(), &scratch.small());
    write(&mut writer, &mut maker, [20, 50, 3]);
    while writer.in_flight() > 0 {
        writer.poll().expect("no write fails");
    }
    for count in counts {
        let next = commands(writer.appended_seq().0 + 1, *count);
        writer.append(&next, Seq(73), (Seq(0), 0)).expect("no write fails");
    }
    abandon(writer, maker);
    let headers = headers(scratch.dir()).expect("nothing is wrong with it");
    assert!(headers[4..].iter().all(|header| header.durable_frames == 4));
    (scratch, headers)
}

fn put(path: &Path, offset: u64, bytes: &[u8]) {
    let file = OpenOptions::new().write(true).open(path).expect("the segment is there");
    file.write_all_at(bytes, offset).expect("it takes the bytes");
}

fn get(path: &Path, offset: u64, bytes: usize) -> Vec<u8> {
    fs::read(path).expect("the segment is there")[offset as usize..][..bytes].to_vec()
}

#[test]
fn a_tail_torn_at_any_sector_is_cut_and_kept() {
    let (scratch, headers) = journal_with_frames_in_flight("torn", &[1, 150]);
    let segment = scratch.segment(1);
    let image = fs::read(&segment).expect("the segment is there");
    for (nth, header) in headers.iter().enumerate().skip(4) {
        let (offset, bytes) = (header.place.offset, header.frame_bytes());
        // What lies behind the payload is zero in any case.
        let payload_end = HEADER_BYTES + header.payload_bytes as usize;
        for sector in (0..payload_end).step_by(512) {
            fs::write(&segment, &image).expect("the directory is ours");
            let end = headers.last().map_or(0, |last| last.place.offset + last.frame_bytes() as u64);
            put(&segment, offset + sector as u64, &vec![0; (end - offset) as usize - sector]);
            let (recovery, mut writer, mut maker) = reopen(scratch.dir(), &scratch.small());
            assert_eq!(recovery.frames, nth as u64, "sector {sector} of frame {nth}");
            assert_eq!(recovery.last_seq, headers[nth - 1].last_seq());
            match recovery.torn {
                None => assert_eq!(sector, 0),
                Some(TornTail { path, offset: at, bytes: length, kept }) => {
                    assert_eq!((path, at), (segment.clone(), offset));
                    assert_eq!(length, (sector.next_multiple_of(BLOCK_BYTES)) as u64);
                    let kept_bytes = fs::read(&kept).expect("it is kept");
                    assert_eq!(kept_bytes[..sector], image[offset as usize..][..sector]);
                    assert!(kept_bytes[sector..].iter().all(|byte| *byte == 0));
                    fs::remove_file(kept).expect("it is ours");
                }
            }
            write(&mut writer, &mut maker, [5, 150]);
            abandon(writer, maker);
            let again = self::headers(scratch.dir()).expect("nothing is wrong with it");
            assert_eq!(again.len(), nth + 3);
            assert_eq!(again.last().map(FrameHeader::last_seq), Some(Seq(recovery.last_seq.0 + 155)));
            assert!(bytes > sector);
        }
    }
}

/// Any sectors of any of the frames in flight may be missing, as if the device had taken them in any
/// order: what counts is the frames before the first that is not whole.
#[test]
fn any_sectors_of_the_frames_in_flight_may_be_missing() {
    let (scratch, headers) = journal_with_frames_in_flight("sectors", &[60, 1, 0, 110]);
    let segment = scratch.segment(1);
    let image = fs::read(&segment).expect("the segment is there");
    // Each round's opening writes down how many frames it found.
    let superblock = scratch.dir().join("superblock");
    let remembered = fs::read(&superblock).expect("the superblock is there");
    let mut rng = Rng::new("sectors");
    let mut cuts = BTreeMap::new();
    for _ in 0..120 {
        let mut torn = image.clone();
        let mut whole = headers.len();
        for (nth, header) in headers.iter().enumerate().skip(4).rev() {
            let frame = &mut torn[header.place.offset as usize..][..header.frame_bytes()];
            let missing = rng.below(3);
            for sector in frame.chunks_mut(512) {
                if missing > 0 && rng.below(missing * 4) < 3 && sector.iter().any(|byte| *byte != 0) {
                    sector.fill(0);
                    whole = nth;
                }
            }
        }
        fs::write(&segment, &torn).expect("the directory is ours");
        fs::write(&superblock, &remembered).expect("the directory is ours");
        let (recovery, ..) = reopen(scratch.dir(), &scratch.small());
        assert_eq!(recovery.frames, whole as u64);
        *cuts.entry(whole).or_insert(0) += 1;
        let after = self::headers(scratch.dir()).expect("nothing is wrong with it");
        assert_eq!(after.len(), whole + 1, "the frame that begins the epoch follows");
    }
    assert_eq!(cuts.len(), 5, "every length was meant to occur: {cuts:?}");
}

#[test]
fn a_flipped_bit_is_damage_wherever_something_later_knew_the_frame() {
    let scratch = Scratch::formatted("flips");
    let (_, mut writer, mut maker) = reopen(scratch.dir(), &scratch.small());
    write(&mut writer, &mut maker, [700, 700, 700, 700, 5, 0, 700, 60, 0, 3]);
    writer.seal().expect("no write fails");
    drop((writer, maker));
    // A restart vouches for everything before it.
    drop(reopen(scratch.dir(), &scratch.small()));
    let headers = headers(scratch.dir()).expect("nothing is wrong with it");
    let (_, known) = headers.split_last().expect("there are frames");
    let nonces: Vec<_> = scratch.segments().iter().map(|path| nonce(path)).collect();
    let mut rng = Rng::new("flips");
    for round in 0..300 {
        let header = &known[rng.below(known.len() as u64) as usize];
        let segment =
            nonces.iter().position(|nonce| *nonce == header.place.nonce).expect("it is in one of them");
        let path = scratch.segment(segment as u64 + 1);
        let byte = header.place.offset + rng.below(header.frame_bytes() as u64);
        let was = get(&path, byte, 1)[0];
        put(&path, byte, &[was ^ 1 << rng.below(8)]);
        match self::headers(scratch.dir()) {
            Err(Error::Damaged { path: named, offset, seq, .. }) => {
                assert_eq!((named, offset, seq), (path.clone(), header.place.offset, header.first_seq));
            }
            other => panic!("round {round}, byte {byte} of {}: {other:?}", path.display()),
        }
        if round % 30 == 0 {
            let before = scratch.image();
            assert!(matches!(open(scratch.dir(), &scratch.small()), Err(Error::Damaged { .. })));
            assert!(before == scratch.image(), "a damaged journal is left as it is");
        }
        put(&path, byte, &[was]);
    }
    assert_eq!(self::headers(scratch.dir()).expect("every bit is back"), headers);
}

fn nonce(segment: &Path) -> [u8; 16] {
    let image = fs::read(segment).expect("it is there");
    ironbell_record::SegmentHeader::decode(&image).expect("it is sound").nonce
}

#[test]
fn a_last_frame_that_nothing_vouches_for_is_a_torn_tail() {
    let (scratch, headers) = journal_with_frames_in_flight("last", &[9]);
    let last = headers.last().expect("there are frames");
    let at = last.place.offset + 300;
    put(&scratch.segment(1), at, &[get(&scratch.segment(1), at, 1)[0] ^ 4]);
    let (recovery, ..) = reopen(scratch.dir(), &scratch.small());
    assert_eq!(recovery.last_seq, Seq(73));
    assert!(recovery.torn.is_some());
}

#[test]
fn a_frame_of_a_later_format_is_refused_and_not_cut() {
    let (scratch, headers) = journal_with_frames_in_flight("format", &[9]);
    let last = headers.last().expect("there are frames");
    let segment = scratch.segment(1);
    let mut header = get(&segment, last.place.offset, HEADER_BYTES);
    header[8..12].copy_from_slice(&(FORMAT + 1).to_le_bytes());
    let crc = crc32c::crc32c(&header[..HEADER_BYTES - 4]);
    header[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
    put(&segment, last.place.offset, &header);
    let error = open(scratch.dir(), &scratch.small()).expect_err("it is not known");
    assert!(error.to_string().contains(&format!("format {}", FORMAT + 1)), "{error}");
}

#[test]
fn bytes_beyond_the_reach_of_writes_in_flight_are_damage() {
    let scratch = Scratch::formatted("reach");
    let options = Options { segment_bytes: 4 << 20, ..scratch.options() };
    drop(reopen(scratch.dir(), &options));
    put(&scratch.segment(1), 3 << 20, b"not ours");
    assert!(matches!(open(scratch.dir(), &options), Err(Error::Damaged { seq: Seq(1), .. })));
}

/// Stretches of any segment are overwritten with noise, zeros, or other stretches of the journal. What is
/// read is a part of what was written, from its beginning on, or nothing is.
#[test]
fn whatever_is_in_the_files_only_what_was_written_is_read() {
    let scratch = Scratch::formatted("noise");
    let (_, mut writer, mut maker) = reopen(scratch.dir(), &scratch.small());
    write(
        &mut writer,
        &mut maker,
        [700, 5, 0, 1024, 60, 0, 3, 900, 1024, 1024, 1024, 1024, 1024, 1024, 1024, 70],
    );
    writer.seal().expect("no write fails");
    drop((writer, maker));
    let written = headers(scratch.dir()).expect("nothing is wrong with it");
    let segments = scratch.segments();
    let images: Vec<_> = segments.iter().map(|path| fs::read(path).expect("it is there")).collect();
    let mut rng = Rng::new("noise");
    let (mut refused, mut shorter) = (0, 0);
    for _ in 0..300 {
        let nth = rng.below(segments.len() as u64) as usize;
        let mut image = images[nth].clone();
        let unit = [1, 8, 512, BLOCK_BYTES][rng.below(4) as usize];
        let mut place = |image: &[u8]| rng.below((image.len() / unit) as u64) as usize * unit;
        let (to, from) = (place(&image), place(&images[0]));
        let length = (unit * (1 + rng.below(8) as usize)).min(image.len() - to).min(images[0].len() - from);
        match rng.below(3) {
            0 => image[to..to + length].fill(0),
            1 => image[to..to + length].fill_with(|| rng.next() as u8),
            _ => image[to..to + length].copy_from_slice(&images[0][from..from + length]),
        }
        fs::write(&segments[nth], &image).expect("the directory is ours");
        match headers(scratch.dir()) {
            Ok(found) => {
                assert_eq!(found, written[..found.len()]);
                shorter += u32::from(found.len() < written.len());
            }
            Err(Error::Damaged { .. } | Error::Layout { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
        fs::write(&segments[nth], &images[nth]).expect("the directory is ours");
    }
    println!("{refused} refused, {shorter} read as torn");
    assert!(refused > 0);
}

#[test]
fn a_missing_or_foreign_segment_is_damage() {
    let scratch = Scratch::formatted("missing");
    let (_, mut writer, mut maker) = reopen(scratch.dir(), &scratch.small());
    write(&mut writer, &mut maker, [1000; 32]);
    writer.seal().expect("no write fails");
    drop((writer, maker));
    assert!(scratch.segments().len() >= 4);
    let (second, aside) = (scratch.segment(2), scratch.dir().join("aside"));
    fs::rename(&second, &aside).expect("the directory is ours");
    let error = headers(scratch.dir()).expect_err("a segment is missing");
    assert!(error.to_string().contains("segment 2 is missing"), "{error}");
    assert!(matches!(open(scratch.dir(), &scratch.small()), Err(Error::Damaged { .. })));
    fs::copy(scratch.segment(3), &second).expect("the directory is ours");
    let error = headers(scratch.dir()).expect_err("it is another one");
    assert!(error.to_string().contains("it says it is segment 3"), "{error}");
    fs::rename(&aside, &second).expect("the directory is ours");
    let file = OpenOptions::new().write(true).open(&second).expect("it is there");
    file.set_len(SMALL - BLOCK_BYTES as u64).expect("it can be cut");
    let error = headers(scratch.dir()).expect_err("it is too short");
    assert!(error.to_string().contains("bytes long instead of"), "{error}");
}

#[test]
fn only_one_process_writes() {
    let scratch = Scratch::formatted("lock");
    let held = reopen(scratch.dir(), &scratch.small());
    assert!(matches!(open(scratch.dir(), &scratch.small()), Err(Error::Locked(_))));
    assert!(headers(scratch.dir()).is_ok(), "reading takes no lock");
    drop(held);
    reopen(scratch.dir(), &scratch.small());
}

#[test]
fn memory_is_no_disk() {
    let scratch = Scratch::at(Path::new("/dev/shm"), "memory");
    let disk = Options { durability: Durability::Disk, ..scratch.small() };
    let error =
        ironbell_store::format(scratch.dir(), VENUE, &disk, WrappedKey::NONE).expect_err("it is tmpfs");
    assert!(matches!(&error, Error::NotDurable { file_system, .. } if file_system == "tmpfs"), "{error}");
    assert_eq!(fs::read_dir(scratch.dir()).expect("it was made").count(), 0, "nothing half-written");

    let buffered = Options { durability: Durability::Buffered, ..scratch.small() };
    ironbell_store::format(scratch.dir(), VENUE, &buffered, WrappedKey::NONE).expect("it was asked for");
    let (_, mut writer, mut maker) = reopen(scratch.dir(), &buffered);
    write(&mut writer, &mut maker, [10, 1000, 1000, 1000]);
    writer.seal().expect("no write fails");
    drop((writer, maker));
    assert!(matches!(open(scratch.dir(), &disk), Err(Error::NotDurable { .. })));
    let none = Options { durability: Durability::None, ..scratch.small() };
    assert_eq!(reopen(scratch.dir(), &none).0.last_seq, Seq(3010));
}

#[test]
fn a_journal_is_formatted_once_and_into_nothing_else() {
    let scratch = Scratch::new("format-once");
    assert!(matches!(open(scratch.dir(), &scratch.options()), Err(Error::NotFormatted(_))));
    fs::create_dir_all(scratch.dir()).expect("the directory is ours");
    fs::write(scratch.dir().join("superblock.making"), b"interrupted").expect("the directory is ours");
    ironbell_store::format(scratch.dir(), VENUE, &scratch.options(), WrappedKey::NONE)
        .expect("that one was never finished");
    assert_eq!(ironbell_store::identity(scratch.dir()).expect("it is there"), VENUE);
    let again = ironbell_store::format(scratch.dir(), VENUE, &scratch.options(), WrappedKey::NONE);
    assert!(matches!(again, Err(Error::NotEmpty(_))));
}

/// What is found at the end of a journal that was closed in order is exactly what was written, or damage.
#[test]
fn a_journal_closed_in_order_has_no_torn_tail() {
    let scratch = Scratch::formatted("orderly");
    let (_, mut writer, mut maker) = reopen(scratch.dir(), &scratch.small());
    write(&mut writer, &mut maker, [20, 9]);
    writer.seal().expect("no write fails");
    drop((writer, maker));
    let headers = headers(scratch.dir()).expect("nothing is wrong with it");
    let last = headers.last().expect("there are frames");
    let image = scratch.image();
    let segment = scratch.segment(1);
    for (offset, bytes) in [
        (last.place.offset + 300, vec![0xff]),
        (last.place.offset, vec![0; last.frame_bytes()]),
        (last.place.offset + last.frame_bytes() as u64 + 4096, vec![1]),
    ] {
        let before = get(&segment, offset, bytes.len());
        put(&segment, offset, &bytes);
        match open(scratch.dir(), &scratch.small()) {
            Err(Error::Memory { what, .. }) => println!("{what}"),
            other => panic!("{other:?}"),
        }
        put(&segment, offset, &before);
        assert!(image == scratch.image(), "a refused journal is left as it is");
    }
    let (recovery, writer, maker) = reopen(scratch.dir(), &scratch.small());
    assert_eq!((recovery.last_seq, recovery.epoch), (Seq(29), 2));
    abandon(writer, maker);
    // From the opening on a torn tail is one again.
    let end = self::headers(scratch.dir()).expect("nothing is wrong with it");
    put(&segment, end.last().expect("there are frames").place.offset + 4096, &[1]);
    assert!(reopen(scratch.dir(), &scratch.small()).0.torn.is_some());
}

#[test]
fn an_epoch_is_never_taken_twice() {
    let scratch = Scratch::formatted("promise");
    let (recovery, writer, maker) = reopen(scratch.dir(), &scratch.small());
    assert_eq!(recovery.epoch, 1);
    abandon(writer, maker);
    let segment = fs::read(scratch.segment(1)).expect("it is there");
    let superblock = fs::read(scratch.dir().join("superblock")).expect("it is there");
    for epoch in 2..=3 {
        // The frames of later epochs are lost, with a whole disk perhaps; that they were promised is not.
        let (recovery, writer, maker) = reopen(scratch.dir(), &scratch.small());
        assert_eq!(recovery.epoch, epoch);
        abandon(writer, maker);
        fs::write(scratch.segment(1), &segment).expect("it is ours");
    }
    drop(reopen(scratch.dir(), &scratch.small()));
    fs::write(scratch.dir().join("superblock"), superblock).expect("it is ours");
    match open(scratch.dir(), &scratch.small()) {
        Err(Error::Memory { what, .. }) => assert!(what.contains("epoch 4"), "{what}"),
        other => panic!("{other:?}"),
    }
}

/// What stands on the disk tells nothing, what is read back is what was written, and only with the key.
#[test]
fn an_enciphered_journal_tells_nothing_without_its_key() {
    let scratch = Scratch::new("enciphered");
    let key = |byte| Some(Arc::new(DataKey::new(&[byte; 32])));
    let options = Options { data_key: key(7), ..scratch.small() };
    let wrapped = WrappedKey::new(&[9; 60]).expect("it is short");
    let unwrapped = ironbell_store::format(scratch.dir(), VENUE, &options, WrappedKey::NONE);
    assert!(matches!(unwrapped, Err(Error::Key { .. })));
    ironbell_store::format(scratch.dir(), VENUE, &options, wrapped).expect("it is empty");
    assert_eq!(ironbell_store::superblock(scratch.dir()).expect("it is sound").wrapped_key.bytes(), [9; 60]);
    for _ in 0..3 {
        let (_, mut writer, mut maker) = reopen(scratch.dir(), &options);
        write(&mut writer, &mut maker, [1, 700, 0, 30, 700, 2]);
        abandon(writer, maker);
    }
    let mut reader = Reader::deciphering(scratch.dir(), key(7)).expect("it is the key");
    while let Some(frame) = reader.next_frame().expect("nothing is wrong with it") {
        assert_eq!(frame.commands, commands(frame.header.first_seq.0, frame.commands.len()));
        assert_eq!(frame.header.tag.is_some(), !frame.commands.is_empty());
    }
    assert_eq!(reader.commands_read(), 3 * 1433);
    // The third command's cause is eight bytes that nothing else holds.
    let Command::MassCancelSlice(third) = commands(3, 1)[0].command else { panic!("it is a slice") };
    let plain = third.cause.0.to_le_bytes();
    for path in scratch.segments() {
        let image = fs::read(path).expect("it is there");
        assert!(!image.windows(plain.len()).any(|window| window == plain));
    }
    let without = open(scratch.dir(), &scratch.small()).expect_err("there is no key");
    assert!(matches!(without, Error::Key { .. }), "{without}");
    let before = scratch.image();
    let other = Options { data_key: key(8), ..scratch.small() };
    let wrong = open(scratch.dir(), &other).expect_err("it is another key");
    assert!(wrong.to_string().contains("not enciphered with this key"), "{wrong}");
    assert!(before == scratch.image(), "a wrong key changes nothing");
    let plain = Scratch::formatted("plain");
    assert!(matches!(open(plain.dir(), &other), Err(Error::Key { .. })));
}

/// One history has the same links whatever it is enciphered with, and a frame cannot be moved to another epoch or
/// Seq with its checksums made right again.
#[test]
fn the_chain_is_that_of_the_plain_records() {
    let links = [None, Some(Arc::new(DataKey::new(&[1; 32]))), Some(Arc::new(DataKey::new(&[2; 32])))].map(
        |data_key| {
            let scratch = Scratch::new("links");
            let wrapped = WrappedKey::new(if data_key.is_some() { &[1] } else { &[] }).expect("it is short");
            let options = Options { data_key: data_key.clone(), ..scratch.small() };
            ironbell_store::format(scratch.dir(), VENUE, &options, wrapped).expect("it is empty");
            let (_, mut writer, mut maker) = reopen(scratch.dir(), &options);
            write(&mut writer, &mut maker, [4, 0, 900]);
            abandon(writer, maker);
            reopen(scratch.dir(), &options).0.chain
        },
    );
    assert_eq!(links[0], links[1]);
    assert_eq!(links[0], links[2]);
}

#[test]
fn two_damaged_copies_of_the_superblock_are_mended_and_three_are_not() {
    let scratch = Scratch::formatted("superblock");
    let superblock = scratch.dir().join("superblock");
    let node = ironbell_store::superblock(scratch.dir()).expect("it is sound").node;
    let mut rng = Rng::new("superblock");
    for _ in 0..12 {
        let (first, second) = (rng.below(4), rng.below(4));
        put(&superblock, first * BLOCK_BYTES as u64 + rng.below(128), b"damaged");
        put(&superblock, second * BLOCK_BYTES as u64 + rng.below(128), b"damaged");
        let (recovery, writer, maker) = reopen(scratch.dir(), &scratch.small());
        abandon(writer, maker);
        let found = ironbell_store::superblock(scratch.dir()).expect("it is sound");
        assert_eq!((found.node, found.promised_epoch, found.end), (node, recovery.epoch, None));
        for copy in 0..4 {
            let block = get(&superblock, copy * BLOCK_BYTES as u64, BLOCK_BYTES);
            assert_eq!(ironbell_record::Superblock::decode(&block, copy as usize), Ok(found));
        }
    }
    for copy in 0..3 {
        put(&superblock, copy * BLOCK_BYTES as u64 + 20, b"damaged");
    }
    assert!(matches!(open(scratch.dir(), &scratch.options()), Err(Error::Superblock { .. })));
}

#[test]
fn options_out_of_range_are_refused() {
    let scratch = Scratch::formatted("options");
    for options in [
        Options { segment_bytes: SMALL + 1, ..scratch.options() },
        Options { segment_bytes: 4096, ..scratch.options() },
        Options { in_flight: 0, ..scratch.options() },
        Options { in_flight: 17, ..scratch.options() },
    ] {
        assert!(matches!(open(scratch.dir(), &options), Err(Error::Options { .. })), "{options:?}");
    }
}

#[test]
fn a_full_disk_leaves_nothing_half_made_and_the_writer_goes_on() {
    let scratch = Scratch::formatted("full");
    drop(reopen(scratch.dir(), &scratch.small()));
    // An exbibyte is more than any disk has that runs this test.
    let greedy = Options { segment_bytes: 1 << 60, ..scratch.options() };
    let (_, mut writer, mut maker) = reopen(scratch.dir(), &greedy);
    for _ in 0..2 {
        let error = maker.poll().expect_err("there is no such disk");
        assert!(error.to_string().contains("free or add disk space"), "{error}");
        assert!(scratch.names().iter().all(|name| !name.ends_with(".making")), "{:?}", scratch.names());
    }
    while writer.can_begin() {
        writer
            .append(&commands(writer.appended_seq().0 + 1, 900), Seq(0), (Seq(0), 0))
            .expect("no write fails");
        while writer.in_flight() > 0 {
            writer.poll().expect("no write fails");
        }
    }
    assert!(writer.durable().get() >= 900);
    assert!(matches!(open(scratch.dir(), &scratch.small()), Err(Error::Locked(_))));
    drop((writer, maker));
    assert!(reopen(scratch.dir(), &scratch.small()).0.last_seq.0 >= 900);
}

#[test]
fn what_a_killed_maker_left_is_removed() {
    let scratch = Scratch::formatted("unfinished");
    let unfinished = scratch.dir().join("0000000001.segment.making");
    fs::write(&unfinished, vec![7; 100_000]).expect("the directory is ours");
    drop(reopen(scratch.dir(), &scratch.small()));
    assert!(!unfinished.exists());
}

#[test]
fn a_refused_replay_changes_nothing() {
    let (scratch, headers) = journal_with_frames_in_flight("replay", &[9]);
    put(&scratch.segment(1), headers[4].place.offset, &[0]);
    let before = scratch.image();
    let refused = open_replaying(scratch.dir(), &scratch.small(), &mut |header, _| {
        if header.first_seq == Seq(21) { Err("the hash differs".into()) } else { Ok(()) }
    });
    match refused {
        Err(Error::Replay { seq, source }) => {
            assert_eq!((seq, source.to_string()), (Seq(21), "the hash differs".into()));
        }
        other => panic!("{other:?}"),
    }
    assert!(before == scratch.image());
}
