//! How fast a journal is replayed from cold, and what that consists of.
//!
//! ```text
//! cargo bench -p ironbell-appliance --bench journal_replay -- [--commands N] [--runs N] [--json] [DIR]
//! ```
//!
//! DIR must lie on a disk; the journal is read past the page cache, as a start reads it. Every round does each thing once,
//! so that all meet the same machine, and the best round of each counts. The parts are timed on the same bytes in memory:
//! beside the replay they say what it is made of, and beside the engine alone, on commands in memory, what a replay could be
//! at most. `on one CPU` has the reading thread and the executing one on one CPU: the sum of both.

#[path = "../venue.rs"]
mod venue;

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use ironbell_core::Engine;
use ironbell_record::segment::{FRAMES_OFFSET, SegmentHeader};
use ironbell_record::{Frame, FrameHeader, HEADER_BYTES, Place};
use ironbell_store::stream::Stream as _;
use ironbell_store::{Disk as _, Identity, Options, Os, WrappedKey, disk::Access};
use ironbell_types::{Event, Nanos, Seq, Sequenced};
use sha2::{Digest as _, Sha256};

use venue::{Size, Venue};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const SIZE: Size = Size { instruments: 20, accounts: 1_000 };
/// Commands a second that a replay is to execute.
const BAR: f64 = 5e6;
const KEY: u64 = 7;
const CLUSTER: [u8; 16] = [1; 16];

fn main() -> ExitCode {
    let (mut commands, mut runs, mut json) = (1_500_000, 5, false);
    let mut parent = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number =
            || args.next().and_then(|value| value.parse().ok()).expect("a number behind the option");
        match arg.as_str() {
            "--commands" => commands = number(),
            "--runs" => runs = number(),
            "--json" => json = true,
            // Cargo says so to every bench.
            "--bench" => {}
            dir => parent = PathBuf::from(dir),
        }
    }
    let dir = parent.join(format!("ironbell-journal-replay-{}", std::process::id()));
    let done = fs::create_dir_all(&dir).map_err(Into::into).and_then(|()| bench(&dir, commands, runs, json));
    let _ = fs::remove_dir_all(&dir);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("journal_replay: {error}");
            ExitCode::from(2)
        }
    }
}

fn bench(dir: &Path, commands: usize, runs: usize, json: bool) -> Result<()> {
    let mut venue = Venue::new(SIZE, 0, Seq(0), Nanos(0));
    let mut all = venue.definitions();
    while all.len() < commands {
        all.push(venue.command());
    }
    for (what, commands, in_frame) in [
        ("frames of 1,024 commands", all.len(), 1_024),
        ("frames of 48", all.len() / 2, 48),
        ("frames of one", all.len() / 20, 1),
    ] {
        let journal = dir.join(in_frame.to_string());
        let commands = &all[..commands];
        write(&journal, commands, in_frame)?;
        let best = measure(&journal, commands, in_frame, runs)?;
        fs::remove_dir_all(&journal)?;
        let per_s = |what: usize| commands.len() as f64 / best.seconds[what];
        if json {
            let (count, replayed, engine) = (commands.len(), per_s(REPLAY), per_s(ENGINE));
            println!(r#"{{"commands":{count},"replayed_per_s":{replayed:.0},"engine_per_s":{engine:.0}}}"#);
            return Ok(());
        }
        println!("{what}: {} commands", commands.len());
        best.print(commands.len());
    }
    Ok(())
}

/// A journal of these commands, closed in order.
fn write(dir: &Path, commands: &[Sequenced], in_frame: usize) -> Result<()> {
    let options = Options::default();
    ironbell_store::format(dir, Identity { cluster: CLUSTER, key: KEY }, &options, WrappedKey::NONE)?;
    let (_, mut writer, mut maker) = ironbell_store::open(dir, &options)?;
    for frame in commands.chunks(in_frame) {
        while !writer.can_begin() {
            if writer.poll()? == 0 && writer.in_flight() == 0 {
                maker.poll()?;
            }
        }
        writer.append(frame, Seq(writer.durable().get()), (Seq(0), 0))?;
    }
    writer.seal()?;
    Ok(())
}

fn engine() -> Engine {
    Engine::new(ironbell_appliance::recovery::engine_config(KEY))
}

/// The frames of a journal, in memory.
struct Frames {
    bytes: Vec<u8>,
    /// Where each lies in `bytes`, and in its segment.
    places: Vec<(usize, Place)>,
}

impl Frames {
    fn read(dir: &Path) -> Result<Self> {
        let mut frames = Self { bytes: Vec::new(), places: Vec::new() };
        for path in segments(dir)? {
            let bytes = fs::read(path)?;
            let segment = SegmentHeader::decode(&bytes)?;
            let mut at = FRAMES_OFFSET as usize;
            while let Ok(header) = header(&bytes, at, &segment) {
                let place = Place { nonce: segment.nonce, offset: at as u64 };
                frames.places.push((frames.bytes.len(), place));
                frames.bytes.extend_from_slice(&bytes[at..at + header.frame_bytes()]);
                at += header.frame_bytes();
                if at == bytes.len() {
                    break;
                }
            }
        }
        Ok(frames)
    }

    fn each(&self, mut take: impl FnMut(&[u8], Place)) {
        self.places.iter().for_each(|(at, place)| take(&self.bytes[*at..], *place));
    }

    fn header(bytes: &[u8], place: Place) -> FrameHeader {
        FrameHeader::decode(bytes, &CLUSTER, place).expect("it was read before")
    }

    /// What the chain hash covers of a frame, nearly, and the payload's checksum all of.
    fn payload(bytes: &[u8], place: Place) -> &[u8] {
        &bytes[HEADER_BYTES..][..Self::header(bytes, place).payload_bytes as usize]
    }
}

fn header(
    bytes: &[u8],
    at: usize,
    segment: &SegmentHeader,
) -> std::result::Result<FrameHeader, ironbell_record::FrameError> {
    FrameHeader::decode(&bytes[at..], &CLUSTER, Place { nonce: segment.nonce, offset: at as u64 })
}

fn segments(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut paths: Vec<_> = fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "segment"));
    paths.sort();
    Ok(paths)
}

/// What is timed.
const NAMES: [&str; 9] = [
    "read: direct, past the page cache",
    "payload checksums: CRC32C",
    "links of the chain: SHA-256",
    "frame: header, checksums, link, zeros",
    "records decoded",
    "engine alone, on commands in memory",
    "journal opened: read, checked, decoded",
    "replay: the same, and executed",
    "replay on one CPU",
];
const ENGINE: usize = 5;
const REPLAY: usize = 7;

/// The best round of each.
struct Best {
    seconds: [f64; 9],
    bytes: u64,
}

impl Best {
    fn print(&self, commands: usize) {
        let (best, count) = (self.seconds, commands as f64);
        println!("  {:<42}{:>9}{:>14}{:>14}{:>12}", "", "ms", "ns a command", "commands/s", "of engine's");
        for (name, seconds) in NAMES.iter().zip(best) {
            println!(
                "  {name:<42}{:>9.1}{:>14.1}{:>14.0}{:>12.2}",
                seconds * 1e3,
                seconds * 1e9 / count,
                count / seconds,
                best[ENGINE] / seconds
            );
        }
        println!(
            "  read: {:.0} MB/s of {:.0} bytes a command; replay {:.2} x the bar of 5 million commands/s, on one CPU {:.2} x",
            self.bytes as f64 / best[0] / 1e6,
            self.bytes as f64 / count,
            count / best[REPLAY] / BAR,
            count / best[8] / BAR
        );
    }
}

fn measure(dir: &Path, commands: &[Sequenced], in_frame: usize, runs: usize) -> Result<Best> {
    let frames = Frames::read(dir)?;
    let bytes_used = frames.bytes.len() as u64;
    let mut events: Vec<Event> = Vec::new();
    let mut decoded: Vec<Sequenced> = Vec::new();
    let mut best = [f64::INFINITY; 9];
    let mut hashes = Vec::new();
    for _ in 0..runs.max(1) {
        let mut turn = 0;
        let mut note = |begun: Instant| {
            best[turn] = best[turn].min(begun.elapsed().as_secs_f64());
            turn += 1;
        };
        let begun = Instant::now();
        read_all(dir, bytes_used)?;
        note(begun);

        let begun = Instant::now();
        frames.each(|bytes, place| {
            black_box(crc32c::crc32c(Frames::payload(bytes, place)));
        });
        note(begun);

        let begun = Instant::now();
        frames.each(|bytes, place| {
            black_box(Sha256::digest(Frames::payload(bytes, place)));
        });
        note(begun);

        let begun = Instant::now();
        frames.each(|bytes, place| {
            black_box(Frame::decode(bytes, &CLUSTER, place).expect("it was read before"));
        });
        note(begun);

        let begun = Instant::now();
        frames.each(|bytes, place| {
            let frame = Frame::decode(bytes, &CLUSTER, place).expect("it was read before");
            frame.commands(Nanos(0), &mut decoded).expect("it was read before");
            black_box(&decoded);
        });
        // Checked again, which is taken off below.
        best[turn] = best[turn].min(begun.elapsed().as_secs_f64());
        turn += 1;

        let mut alone = engine();
        let begun = Instant::now();
        for frame in commands.chunks(in_frame) {
            events.clear();
            alone.execute_frame(frame, &mut events);
        }
        best[turn] = best[turn].min(begun.elapsed().as_secs_f64());
        turn += 1;
        hashes.push(alone.output_hash());
        drop(alone);

        for (executes, one_cpu) in [(false, false), (true, false), (true, true)] {
            let seconds =
                if one_cpu { on_one_cpu(|| replay(dir, executes))? } else { replay(dir, executes)? };
            best[turn] = best[turn].min(seconds.0);
            turn += 1;
            hashes.extend(seconds.1);
        }
    }
    assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]), "replays come to different outputs");
    best[4] -= best[3];
    Ok(Best { seconds: best, bytes: bytes_used })
}

/// The used part of every segment, as recovery gets it.
fn read_all(dir: &Path, bytes_used: u64) -> Result<()> {
    let mut left = bytes_used;
    for path in segments(dir)? {
        let file = Os.open(&path, Access::Read, true)?;
        let length = file.metadata()?.len();
        let mut stream = Os.stream(file)?;
        let mut at = 0;
        while at < length && left > 0 {
            let piece = (length - at).min(64 << 10);
            black_box(stream.bytes(at, piece as usize)?);
            at += piece;
            left = left.saturating_sub(piece);
        }
    }
    Ok(())
}

/// How long opening the journal takes, and the output hash if its commands were executed.
fn replay(dir: &Path, executes: bool) -> Result<(f64, Option<u128>)> {
    let mut engine = executes.then(engine);
    let mut events: Vec<Event> = Vec::new();
    let begun = Instant::now();
    let (_, mut writer, maker) =
        ironbell_store::open_replaying(dir, &Options::default(), &mut |_, commands| {
            if let Some(engine) = &mut engine {
                events.clear();
                engine.execute_frame(commands, &mut events);
            }
            Ok(())
        })?;
    let seconds = begun.elapsed().as_secs_f64();
    writer.seal()?;
    drop(maker);
    Ok((seconds, engine.map(|engine| engine.output_hash())))
}

/// Has this thread, and those that it starts, on one CPU.
fn on_one_cpu<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let all = rustix::thread::sched_getaffinity(None)?;
    let first = (0..rustix::thread::CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu)).ok_or("there is no CPU")?;
    let mut one = rustix::thread::CpuSet::new();
    one.set(first);
    rustix::thread::sched_setaffinity(None, &one)?;
    let done = work();
    rustix::thread::sched_setaffinity(None, &all)?;
    done
}
