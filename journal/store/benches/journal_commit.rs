//! What a commit costs, beside what it could cost: a bare direct, synced write of the same length, and
//! the ways not taken (into merely allocated blocks, through a map and fdatasync). All in one run, in
//! turns, so that the ratios hold whatever else the machine does. What the device was told, as /proc/diskstats
//! counts it, includes what others wrote meanwhile.
//!
//! `cargo bench -p ironbell-store --bench journal_commit [-- DIR]`; DIR must lie on a disk. The writer yields
//! between polls, as a node does on a shared CPU; on a machine whose CPUs are all busy this measures the
//! scheduler's slices.

use std::fs::{self, File, OpenOptions};
use std::io::IoSlice;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use io_uring::{IoUring, opcode, types};
use ironbell_store::{Identity, Options, Reader, SegmentMaker, WrappedKey, Writer, format, open};
use ironbell_types::{
    Capacity, ClOrdId, Command, Display, EnterOrder, InstrumentId, Nanos, OrderOptions, OrderTerms, PortId,
    Price, Qty, Seq, Sequenced, Side, TimeInForce, UserRefIdx, UserRefNum,
};
use memmap2::{Advice, MmapMut};
use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::ReadWriteFlags;

const TURNS: usize = 10;
const COMMITS_A_TURN: usize = 300;
const BLOCK_BYTES: usize = 4096;
const FILE_BYTES: u64 = 64 << 20;

fn main() -> ExitCode {
    let arg = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    let parent = arg.map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let dir = parent.join(format!("ironbell-journal-commit-{}", std::process::id()));
    let done = fs::create_dir_all(&dir).map_err(Into::into).and_then(|()| bench(&dir));
    let _ = fs::remove_dir_all(&dir);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("journal_commit: {error}");
            ExitCode::from(2)
        }
    }
}

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn bench(dir: &Path) -> Result<()> {
    let journal = dir.join("journal");
    let options = Options::default();
    format(&journal, Identity { cluster: [1; 16], key: 1 }, &options, WrappedKey::NONE)?;
    let (_, mut writer, mut maker) = open(&journal, &options)?;
    let mut zeroed = Bare::new(&dir.join("zeroed"), true)?;
    let mut allocated = Bare::new(&dir.join("allocated"), false)?;
    let mut mapped = Mapped::new(&dir.join("mapped"))?;

    let mut rows = [
        Row::new("journal, 1 command, 1 in flight"),
        Row::new("bare O_DIRECT + RWF_DSYNC, zero-written"),
        Row::new("bare O_DIRECT + RWF_DSYNC, only allocated"),
        Row::new("mapped store + fdatasync"),
    ];
    let device = Device::of(dir)?;
    for _ in 0..TURNS {
        // Segments are made between the turns: what the device is told in one is of its commits alone.
        while maker.poll()? > 0 {}
        rows[0].time(&device, || commit(&mut writer, &mut maker))?;
        rows[1].time(&device, || zeroed.write())?;
        rows[2].time(&device, || allocated.write())?;
        rows[3].time(&device, || mapped.write())?;
    }
    let host = rustix::system::uname();
    let cpus = std::thread::available_parallelism()?;
    println!(
        "{} {}, {cpus} CPUs, {}",
        host.sysname().to_string_lossy(),
        host.release().to_string_lossy(),
        dir.display()
    );
    println!("commit of 4 KiB{:34}p50 µs   p99 µs   max µs   p50 / bare   KiB   flushes", "");
    let bare = rows[1].took.value_at_quantile(0.5) as f64;
    for row in &rows {
        let micros = |quantile| row.took.value_at_quantile(quantile) as f64 / 1e3;
        let ratio = row.took.value_at_quantile(0.5) as f64 / bare;
        println!(
            "  {:<45}{:>8.1}{:>9.1}{:>9.1}{ratio:>13.2}{:>6.1}{:>10.2}",
            row.name,
            micros(0.5),
            micros(0.99),
            micros(1.0),
            row.told.bytes as f64 / 1024.0 / row.took.len() as f64,
            row.told.flushes as f64 / row.took.len() as f64
        );
    }

    in_flight(&mut writer, &mut maker, &mut BareQueue::new(&dir.join("queued"))?)?;
    println!("{IN_FLIGHT} in flight, larger frames");
    for count in [48, 1024] {
        let (frames, took) = flood(&mut writer, &mut maker, count, 3000)?;
        let (commits, commands) = (frames / took.as_secs_f64(), frames * count as f64 / took.as_secs_f64());
        println!(
            "  {:<30}{commits:>8.0} commits/s{commands:>12.0} commands/s",
            format!("{count} commands a frame")
        );
    }
    println!("frames of {PACED_COMMANDS} commands as they fall due, the thread asleep in between");
    for rate in [100_000, 1_000_000] {
        let paced = paced(&mut writer, &mut maker, rate)?;
        println!(
            "  {rate:>9} commands/s asked, {:>9.0} made durable, {:.2} of a CPU, last one {:.1} ms after it was due",
            paced.rate,
            paced.cpu,
            paced.behind.as_secs_f64() * 1e3
        );
    }
    writer.seal()?;

    let begun = Instant::now();
    let mut reader = Reader::open(&journal)?;
    while reader.next_frame()?.is_some() {}
    let (commands, took) = (reader.commands_read() as f64, begun.elapsed().as_secs_f64());
    println!("read back and checked");
    println!("  {commands} commands, {} bytes: {:.0} commands/s", reader.bytes_read(), commands / took);
    Ok(())
}

/// The writer's default.
const IN_FLIGHT: usize = 4;

/// How many commits a second one in flight makes and several do, ours and bare ones, in turns.
fn in_flight(writer: &mut Writer, maker: &mut SegmentMaker, bare: &mut BareQueue) -> Result<()> {
    let mut rates = [Duration::ZERO; 4];
    for _ in 0..TURNS {
        let begun = Instant::now();
        for _ in 0..COMMITS_A_TURN {
            commit(writer, maker)?;
        }
        rates[0] += begun.elapsed();
        rates[1] += flood(writer, maker, 1, COMMITS_A_TURN as u32)?.1;
        rates[2] += bare.write(1)?;
        rates[3] += bare.write(IN_FLIGHT)?;
    }
    let commits = (TURNS * COMMITS_A_TURN) as f64;
    let [one, several, bare_one, bare_several] = rates.map(|took| commits / took.as_secs_f64());
    println!("commits/s of 4 KiB          1 in flight  {IN_FLIGHT} in flight      ratio");
    println!("  {:<26}{one:>11.0}{several:>13.0}{:>11.2}", "journal, 1 command", several / one);
    println!(
        "  {:<26}{bare_one:>11.0}{bare_several:>13.0}{:>11.2}",
        "bare O_DIRECT + RWF_DSYNC",
        bare_several / bare_one
    );
    println!(
        "  journal of bare {:>21.2}{:>13.2}{:>11.2}",
        one / bare_one,
        several / bare_several,
        several / one / (bare_several / bare_one)
    );
    let bound = if bare_several / bare_one < FLIGHT_BAR {
        ", and a bare writer does not come to it here"
    } else {
        ""
    };
    println!("  the ratio is {:.2} x the bar of {FLIGHT_BAR}{bound}", several / one / FLIGHT_BAR);
    Ok(())
}

/// Commits a second with several in flight, of those with one.
const FLIGHT_BAR: f64 = 3.0;

/// Bare direct, synced writes of a block through io_uring, one behind the other in a zero-written file.
struct BareQueue {
    ring: IoUring,
    bare: Bare,
}

impl BareQueue {
    fn new(path: &Path) -> Result<Self> {
        Ok(Self { ring: IoUring::new(IN_FLIGHT as u32)?, bare: Bare::new(path, true)? })
    }

    /// How long a turn's writes take with so many in flight.
    fn write(&mut self, in_flight: usize) -> Result<Duration> {
        let begun = Instant::now();
        let (mut begun_writes, mut ended) = (0, 0);
        while ended < COMMITS_A_TURN {
            while begun_writes < COMMITS_A_TURN && begun_writes - ended < in_flight {
                let fd = types::Fd(self.bare.file.as_raw_fd());
                let write = opcode::Write::new(fd, self.bare.block.as_ptr(), BLOCK_BYTES as u32)
                    .offset(self.bare.offset)
                    .rw_flags(ReadWriteFlags::DSYNC.bits() as i32)
                    .build();
                self.bare.offset = (self.bare.offset + BLOCK_BYTES as u64) % FILE_BYTES;
                // SAFETY: the block is only read, by all of them, and lives until all of them have ended: below, and
                // on an error until the process ends.
                unsafe { self.ring.submission().push(&write) }?;
                begun_writes += 1;
            }
            self.ring.submit()?;
            match self.ring.completion().next() {
                Some(entry) if entry.result() != BLOCK_BYTES as i32 => {
                    eprintln!("journal_commit: a bare write failed: {}", entry.result());
                    std::process::exit(2);
                }
                Some(_) => ended += 1,
                // As our own writer waits.
                None => std::thread::yield_now(),
            }
        }
        Ok(begun.elapsed())
    }
}

/// The block device below a directory.
struct Device(String);

/// What a device was told.
#[derive(Clone, Copy, Default)]
struct Told {
    bytes: u64,
    flushes: u64,
}

impl Device {
    fn of(dir: &Path) -> Result<Self> {
        let device = fs::metadata(dir)?.dev();
        let device = Self(format!("{} {}", rustix::fs::major(device), rustix::fs::minor(device)));
        device.told().map(|_| device)
    }

    /// Up to now. The kernel counts sectors of 512 bytes whatever the device has (Documentation/admin-guide/iostats.rst).
    fn told(&self) -> Result<Told> {
        let stats = fs::read_to_string("/proc/diskstats")?;
        let columns = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let is_it = |columns: &Vec<String>| columns.len() > 2 && columns[..2].join(" ") == self.0;
        let line = stats.lines().map(columns).find(is_it);
        let line = line.ok_or_else(|| format!("/proc/diskstats knows no device {}", self.0))?;
        let number = |nth: usize| line.get(nth).map_or(Ok(0), |number| number.parse::<u64>());
        Ok(Told { bytes: number(9)? * 512, flushes: number(18)? })
    }
}

struct Row {
    name: &'static str,
    took: Histogram<u64>,
    told: Told,
}

impl Row {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            took: Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are good"),
            told: Told::default(),
        }
    }

    fn time(&mut self, device: &Device, mut commit: impl FnMut() -> Result<()>) -> Result<()> {
        let before = device.told()?;
        for _ in 0..COMMITS_A_TURN {
            let begun = Instant::now();
            commit()?;
            self.took.saturating_record(begun.elapsed().as_nanos() as u64);
        }
        let after = device.told()?;
        self.told.bytes += after.bytes - before.bytes;
        self.told.flushes += after.flushes - before.flushes;
        Ok(())
    }
}

fn order(seq: u64) -> Sequenced {
    let order = EnterOrder {
        port: PortId(1),
        user_ref_idx: UserRefIdx(0),
        user_ref_num: UserRefNum(seq as u32),
        instrument: InstrumentId(1),
        side: if seq.is_multiple_of(2) { Side::Buy } else { Side::Sell },
        qty: Qty(100),
        price: Price(10_000 + (seq % 100) as i64),
        time_in_force: TimeInForce::Day,
        display: Display::Visible,
        capacity: Capacity::Agency,
        cl_ord_id: ClOrdId(*b"order         "),
        options: OrderOptions::default(),
        terms: OrderTerms::default(),
        fault: None,
    };
    Sequenced { seq: Seq(seq), time: Nanos(seq), command: Command::EnterOrder(order) }
}

/// One command, one frame, durable.
fn commit(writer: &mut Writer, maker: &mut SegmentMaker) -> Result<()> {
    begin(writer, maker)?;
    let durable = writer.durable();
    let seq = writer.appended_seq().next();
    writer.append(&[order(seq.0)], Seq(durable.get()), (Seq(0), 0))?;
    while durable.get() < seq.0 {
        if writer.poll()? == 0 {
            // As the node does on a shared CPU: the kernel ends a synchronous direct write in a worker thread,
            // on the CPU where the disk interrupts, and behind a spinning thread that worker waits for the end
            // of a time slice (4 ms seen).
            std::thread::yield_now();
        }
    }
    Ok(())
}

/// Waits until a frame can begin. Segments are made here, between the frames: the table above times a
/// commit, and a turn is long enough to fill none.
fn begin(writer: &mut Writer, maker: &mut SegmentMaker) -> Result<()> {
    while !writer.can_begin() {
        writer.poll()?;
        if writer.in_flight() == 0 {
            maker.poll()?;
        }
    }
    Ok(())
}

/// As many frames of `count` commands as the device takes; making segments is not timed.
fn flood(writer: &mut Writer, maker: &mut SegmentMaker, count: u64, frames: u32) -> Result<(f64, Duration)> {
    let mut commands = Vec::with_capacity(count as usize);
    let mut took = Duration::ZERO;
    let mut left = frames;
    while left > 0 {
        begin(writer, maker)?;
        while maker.poll()? > 0 {}
        let begun = Instant::now();
        // Until this segment is full; the spare ones are made before the next turn of the outer loop.
        loop {
            if writer.poll()? == 0 {
                std::thread::yield_now();
            }
            if left > 0 && writer.can_begin() {
                let next = writer.appended_seq().0 + 1;
                commands.clear();
                commands.extend((next..next + count).map(order));
                writer.append(&commands, Seq(writer.durable().get()), (Seq(0), 0))?;
                left -= 1;
            } else if writer.in_flight() == 0 {
                break;
            }
        }
        took += begun.elapsed();
    }
    Ok((f64::from(frames), took))
}

const PACED_COMMANDS: u64 = 500;
const PACED: Duration = Duration::from_secs(1);

/// What came of commands at a rate.
struct Paced {
    rate: f64,
    /// CPU seconds of the process, the kernel's workers for it included, by seconds.
    cpu: f64,
    /// How late the last one was durable.
    behind: Duration,
}

/// Commands that come at `rate` whatever becomes of them, and a writer that sleeps when there is nothing to do.
/// Segments are made by another thread in a node: here before, and not in between, as long as two last.
fn paced(writer: &mut Writer, maker: &mut SegmentMaker, rate: u64) -> Result<Paced> {
    while maker.poll()? > 0 {}
    let frames = rate * PACED.as_secs() / PACED_COMMANDS;
    let gap = PACED / frames as u32;
    let mut commands = Vec::with_capacity(PACED_COMMANDS as usize);
    let (begun, cpu_before) = (Instant::now(), cpu_time());
    let mut next = 0;
    while next < frames || writer.in_flight() > 0 {
        let mut done = writer.poll()?;
        if writer.in_flight() == 0 && !writer.can_begin() {
            done += maker.poll()?;
        }
        if next < frames && begun.elapsed() >= gap * next as u32 && writer.can_begin() {
            let first = writer.appended_seq().0 + 1;
            commands.clear();
            commands.extend((first..first + PACED_COMMANDS).map(order));
            writer.append(&commands, Seq(writer.durable().get()), (Seq(0), 0))?;
            next += 1;
            done += 1;
        }
        if done == 0 {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    let took = begun.elapsed();
    let cpu = (cpu_time() - cpu_before).as_secs_f64() / took.as_secs_f64();
    let rate = (frames * PACED_COMMANDS) as f64 / took.as_secs_f64();
    Ok(Paced { rate, cpu, behind: took.saturating_sub(gap * (frames - 1) as u32) })
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The least that a durable write of a block can be: one system call on prepared blocks.
struct Bare {
    file: File,
    block: MmapMut,
    offset: u64,
}

impl Bare {
    fn new(path: &Path, zeroed: bool) -> Result<Self> {
        let mut open = OpenOptions::new();
        let file = open.write(true).create(true).custom_flags(OFlags::DIRECT.bits() as i32).open(path)?;
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, FILE_BYTES)?;
        if zeroed {
            let zeros = MmapMut::map_anon(1 << 20)?;
            for at in (0..FILE_BYTES).step_by(zeros.len()) {
                file.write_all_at(&zeros, at)?;
            }
        }
        file.sync_all()?;
        let mut block = MmapMut::map_anon(BLOCK_BYTES)?;
        block.fill(0x5a);
        Ok(Self { file, block, offset: 0 })
    }

    fn write(&mut self) -> Result<()> {
        let slices = [IoSlice::new(&self.block)];
        let written = rustix::io::pwritev2(&self.file, &slices, self.offset, ReadWriteFlags::DSYNC)?;
        assert!(written == BLOCK_BYTES, "{written} bytes were written");
        self.offset += BLOCK_BYTES as u64;
        Ok(())
    }
}

/// Stores into a shared map of a zero-written file, then fdatasync.
struct Mapped {
    file: File,
    map: MmapMut,
    offset: usize,
}

impl Mapped {
    fn new(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        let zeros = vec![0; 1 << 20];
        for at in (0..FILE_BYTES).step_by(zeros.len()) {
            file.write_all_at(&zeros, at)?;
        }
        file.sync_all()?;
        // SAFETY: the file is this process's own, in a directory of its own; nobody else changes it.
        let map = unsafe { MmapMut::map_mut(&file) }?;
        // Without this the kernel writes the neighbourhood of each page back as well.
        map.advise(Advice::Random)?;
        Ok(Self { file, map, offset: 0 })
    }

    fn write(&mut self) -> Result<()> {
        self.map[self.offset..][..BLOCK_BYTES].fill(0x5a);
        self.file.sync_data()?;
        self.offset += BLOCK_BYTES;
        Ok(())
    }
}
