//! Cuts the power of a disk under the journal and looks at what is left; see the README.
//!
//! Start with [`trial`]: record a run, then cut it again and again.

#![forbid(unsafe_code)]

mod disk;
mod image;
mod mounted;
mod workload;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Args, Parser, Subcommand};
use ironbell_store::Durability;

use disk::Disk;
use image::{Cut, Rng};
use mounted::{Loop, Mount};

type Failure = Box<dyn std::error::Error>;

#[derive(Parser)]
#[command(about, args_conflicts_with_subcommands = true)]
struct CommandLine {
    #[command(subcommand)]
    child: Option<Child>,
    #[command(flatten)]
    trial: TrialOptions,
}

#[derive(Subcommand)]
enum Child {
    /// What runs on the disk, in a process of its own.
    #[command(hide = true)]
    Write { dir: PathBuf, acknowledged: PathBuf, durability: String, frames: u64 },
}

#[derive(Args)]
struct TrialOptions {
    /// How often to cut the recorded run.
    #[arg(long, default_value_t = 20)]
    cuts: u64,
    /// Of the cuts and of what they leave.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Frames to write while recording.
    #[arg(long, default_value_t = 400)]
    frames: u64,
    /// The file system on the disk: ext4 or xfs.
    #[arg(long, default_value = "ext4")]
    file_system: String,
    /// Where to work; a directory of its own is made in it.
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
}

fn main() -> ExitCode {
    let CommandLine { child, trial: options } = CommandLine::parse();
    let done = match child {
        Some(Child::Write { dir, acknowledged, durability, frames }) => {
            workload::write(&dir, &acknowledged, durability_named(&durability), frames)
        }
        None => trial(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("powercut: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn durability_named(name: &str) -> Durability {
    if name == "disk" { Durability::Disk } else { Durability::Buffered }
}

/// Cuts a run that promises a disk, which must lose nothing, and one that does not, which must.
fn trial(options: &TrialOptions) -> Result<(), Failure> {
    let bytes = match options.file_system.as_str() {
        "ext4" => 48 << 20,
        "xfs" => 320 << 20,
        other => return Err(format!("no file system {other}: ext4 or xfs").into()),
    };
    let work = Work::new(&options.dir)?;
    println!("seed {}, {} on a disk of {} MiB", options.seed, options.file_system, bytes >> 20);
    for durability in [Durability::Disk, Durability::Buffered] {
        let run = record(&work, options, bytes, durability)?;
        println!(
            "{}: {} writes and {} flushes recorded, Seq 1 to {} acknowledged",
            durability.name(),
            run.disk.writes(),
            run.disk.flushes(),
            run.acknowledged
        );
        let verdict = cut(&work, options, &run)?;
        println!(
            "{}: {} cuts, {} with sectors lost, {} file systems repaired, {} torn tails, {} lost something acknowledged",
            durability.name(),
            options.cuts,
            verdict.sectors_lost,
            verdict.repaired,
            verdict.torn,
            verdict.losses.len()
        );
        match (durability, verdict.losses.first()) {
            (Durability::Disk, Some(loss)) => return Err(loss.clone().into()),
            (Durability::Disk, None) if verdict.sectors_lost == 0 => {
                return Err("no cut lost a sector: nothing was tried".into());
            }
            (Durability::Buffered, None) => {
                return Err("the negative control lost nothing: the harness does not find losses".into());
            }
            _ => {}
        }
    }
    println!("{} cuts, nothing acknowledged was lost", options.cuts);
    Ok(())
}

/// The directory that a run works in; removed in the end.
struct Work(PathBuf);

impl Work {
    fn new(parent: &Path) -> Result<Self, Failure> {
        let dir = parent.join(format!("ironbell-powercut-{}", std::process::id()));
        for name in ["fuse", "mnt"] {
            let path = dir.join(name);
            fs::create_dir_all(&path).map_err(|e| format!("cannot make {}: {e}", path.display()))?;
        }
        Ok(Self(dir))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A run on the disk, with everything the disk was told.
struct Run {
    disk: Disk,
    acknowledged: u64,
}

fn record(work: &Work, options: &TrialOptions, bytes: usize, durability: Durability) -> Result<Run, Failure> {
    let empty = work.path("empty.img");
    fs::write(&empty, b"")
        .and_then(|()| fs::File::options().write(true).open(&empty)?.set_len(bytes as u64))?;
    mounted::make_file_system(&options.file_system, &empty)?;
    let acknowledged = work.path("acknowledged");
    fs::write(&acknowledged, 0_u64.to_le_bytes())?;

    let disk = Disk::new(fs::read(&empty)?, &acknowledged)?;
    let served = disk.serve(&work.path("fuse"))?;
    {
        let device = Loop::attach(&work.path("fuse").join("disk"))?;
        let mount = Mount::new(device.path(), &work.path("mnt"), &options.file_system)?;
        let child = Command::new(std::env::current_exe()?)
            .arg("write")
            .args([mount.dir().join("journal"), acknowledged.clone()])
            .args([durability.name(), &options.frames.to_string()])
            .status()?;
        if !child.success() {
            return Err(format!("the run that is recorded failed: {child}").into());
        }
    }
    served.end()?;
    let acknowledged = disk.acknowledged();
    Ok(Run { disk, acknowledged })
}

#[derive(Default)]
struct Verdict {
    sectors_lost: u64,
    torn: u64,
    /// File systems that did not mount before a check of them.
    repaired: u64,
    losses: Vec<String>,
}

fn cut(work: &Work, options: &TrialOptions, run: &Run) -> Result<Verdict, Failure> {
    let mut rng = Rng::new(options.seed);
    let mut verdict = Verdict::default();
    let file = work.path("cut.img");
    for nth in 1..=options.cuts {
        let cut = Cut::draw(&run.disk, &mut rng);
        verdict.sectors_lost += u64::from(cut.sectors_lost > 0);
        image::write(&cut.image, &file)?;
        let device = Loop::attach(&file)?;
        let mount = match Mount::new(device.path(), &work.path("mnt"), &options.file_system) {
            Ok(mount) => mount,
            Err(_) => {
                verdict.repaired += 1;
                mounted::repair(&options.file_system, device.path())?;
                Mount::new(device.path(), &work.path("mnt"), &options.file_system)?
            }
        };
        let story = format!("cut {nth} of seed {}, behind operation {}", options.seed, cut.at);
        match workload::examine(&mount.dir().join("journal"), cut.acknowledged) {
            Ok(found) => verdict.torn += u64::from(found.torn),
            Err(loss) => verdict.losses.push(format!("{story}: {loss}")),
        }
    }
    Ok(verdict)
}
