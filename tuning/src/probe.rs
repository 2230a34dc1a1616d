//! How an item is read back from the live system.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use serde::{Deserialize, Serialize};

use crate::{CpuSet, Host};

/// How an item is read back. A path may hold `*` for a part of a name, and `{disk}`, `{nic}`, `{data}` for the host's own.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Probe {
    /// Every file says one of these words; of a choice such as `always [never]`, the one in brackets. With no words, it
    /// is only told.
    Text {
        /// Which files.
        path: String,
        /// What they may say.
        one_of: Vec<String>,
        /// What it means when there is no such file.
        #[serde(default)]
        absent: Absent,
    },
    /// Every file says a number within these bounds.
    Number {
        /// Which files.
        path: String,
        /// At least.
        #[serde(skip_serializing_if = "Option::is_none")]
        min: Option<i64>,
        /// At most.
        #[serde(skip_serializing_if = "Option::is_none")]
        max: Option<i64>,
        /// What it means when there is no such file.
        #[serde(default)]
        absent: Absent,
    },
    /// So many CPUs are the order path's.
    OwnCpus {
        /// At least.
        min: usize,
    },
    /// A file with a list of CPUs holds all CPUs of the order path, or none of them.
    CpuList {
        /// Which file.
        path: String,
        /// All of them; else none.
        holds_order: bool,
        /// What it means when there is no such file.
        #[serde(default)]
        absent: Absent,
    },
    /// A file with a mask of CPUs in hexadecimal words holds none of the order path's.
    CpuMask {
        /// Which file.
        path: String,
        /// What it means when there is no such file.
        #[serde(default)]
        absent: Absent,
    },
    /// The kernel's command line has this word.
    Cmdline {
        /// The whole word, such as `skew_tick=1`.
        word: String,
    },
    /// No interrupt is served by a CPU of the order path, but those of a disk's own queues, which the kernel routes by itself
    /// and which come only where a thread of that CPU asked (`isolcpus` in the kernel's list of parameters).
    Interrupts,
    /// The timer of each CPU of the order path ticks no more often than this while it is busy.
    Ticks {
        /// In a second.
        max_per_s: u64,
    },
    /// No CPU of the order path goes into a sleep that takes longer than this to wake from.
    Sleep {
        /// In microseconds.
        exit_latency_us_max: u64,
    },
    /// A limit of this process is at least so high.
    Limit {
        /// Which.
        limit: Limit,
        /// How high; `None` is without limit.
        #[serde(skip_serializing_if = "Option::is_none")]
        min: Option<u64>,
    },
    /// The file system under the data directory is one of these.
    FileSystem {
        /// Names as in `/proc/self/mountinfo`.
        one_of: Vec<String>,
    },
    /// The data directory is not on the disk of `/`.
    OwnDisk,
    /// A file of the data directory can be written past the page cache in pieces of so many bytes, memory and place being
    /// multiples of it.
    DirectIo {
        /// In bytes.
        align_max: u32,
    },
    /// The network device, the data disk and the CPUs of the order path hang on one memory node.
    OneNode,
    /// The kernel has this.
    Feature {
        /// Which.
        feature: Feature,
    },
    /// A program's output has a line with `find`, and what follows that, up to white space or a comma, is one of these words, or
    /// a number within the bounds if there are any.
    Output {
        /// The program and its arguments.
        run: Vec<String>,
        /// What the line has before the value; the first line that has it counts.
        find: String,
        /// What it may say.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        one_of: Vec<String>,
        /// At least.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min: Option<f64>,
        /// At most.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<f64>,
    },
}

/// What it means when there is nothing to read.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Absent {
    /// The item does not hold.
    #[default]
    Unmet,
    /// The item holds: what is not there does no harm.
    Met,
    /// This machine has no such thing to look at, as a virtual one.
    Skip,
}

/// A limit of a process.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Bytes of locked memory.
    Memlock,
    /// Open files.
    Nofile,
    /// Real-time priority.
    Rtprio,
}

/// Something that a kernel may have.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// io_uring, and this process may use it.
    IoUring,
    /// Sockets of the family XDP.
    AfXdp,
}

/// What a probe gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// It holds; what was found.
    Met(String),
    /// It does not; what was found.
    Unmet(String),
    /// It says nothing about this machine; why.
    Skipped(String),
}

use Reading::{Met, Skipped, Unmet};

impl Reading {
    fn of(met: bool, found: String) -> Self {
        if met { Met(found) } else { Unmet(found) }
    }
}

/// How long a probe that must watch the machine watches it.
const WATCH: Duration = Duration::from_millis(500);

impl Probe {
    /// # Errors
    /// What makes no sense in it.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::Number { min: None, max: None, .. } => return Err("a number has neither min nor max"),
            Self::Output { one_of, min: None, max: None, .. } if one_of.is_empty() => {
                return Err("an output has neither one_of nor min nor max");
            }
            Self::Output { run, .. } if run.is_empty() => return Err("an output has no program"),
            Self::DirectIo { align_max } if !align_max.is_power_of_two() => {
                return Err("align_max is no power of two");
            }
            _ => {}
        }
        match self.path() {
            Some(path) if !path.starts_with('/') && !path.starts_with("{disk}") => {
                Err("a path is absolute, or begins with {disk}")
            }
            _ => Ok(()),
        }
    }

    /// The files that it reads, as a pattern.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::Text { path, .. }
            | Self::Number { path, .. }
            | Self::CpuList { path, .. }
            | Self::CpuMask { path, .. } => Some(path),
            _ => None,
        }
    }

    /// Reads it.
    #[must_use]
    pub fn read(&self, host: &Host) -> Reading {
        self.try_read(host).unwrap_or_else(|reading| reading)
    }

    fn try_read(&self, host: &Host) -> Result<Reading, Reading> {
        Ok(match self {
            Self::Text { path, one_of, absent } => every_file(host, path, *absent, |text| {
                let said = chosen(text);
                (one_of.is_empty() || one_of.iter().any(|word| word == said)).then_some(()).ok_or(())
            })?,
            Self::Number { path, min, max, absent } => every_file(host, path, *absent, |text| {
                let number: i64 = text.parse().map_err(|_| ())?;
                let within = min.is_none_or(|min| number >= min) && max.is_none_or(|max| number <= max);
                within.then_some(()).ok_or(())
            })?,
            Self::OwnCpus { min } => {
                let cpus = &host.order;
                let found = if cpus.is_empty() { "none".into() } else { cpus.to_string() };
                Reading::of(cpus.len() >= *min, found)
            }
            Self::CpuList { path, holds_order, absent } => {
                need_order(host)?;
                let Some(text) = read(host, path)? else { return Ok(without(path, *absent)) };
                // The kernel writes "(null)" for no CPU in some versions.
                let cpus: CpuSet = if text == "(null)" {
                    CpuSet::default()
                } else {
                    text.parse().map_err(|e| unreadable(&e))?
                };
                let met = match holds_order {
                    true => host.order.without(&cpus).is_empty(),
                    false => host.order.and(&cpus).is_empty(),
                };
                Reading::of(met, if cpus.is_empty() { "none".into() } else { cpus.to_string() })
            }
            Self::CpuMask { path, absent } => {
                need_order(host)?;
                let Some(text) = read(host, path)? else { return Ok(without(path, *absent)) };
                let cpus = mask(&text).ok_or_else(|| Unmet(format!("{text} is no mask of CPUs")))?;
                Reading::of(host.order.and(&cpus).is_empty(), format!("CPUs {cpus}"))
            }
            Self::Cmdline { word } => {
                let wanted = fill(host, word)?;
                let line = read(host, "/proc/cmdline")?.unwrap_or_default();
                let name = wanted.split('=').next().expect("a split has a part");
                let is_named = |found: &&str| found.split('=').next() == Some(name);
                match line.split_whitespace().rfind(is_named) {
                    Some(found) => Reading::of(found == wanted, found.to_owned()),
                    None => Unmet(format!("no {name}")),
                }
            }
            Self::Interrupts => interrupts(host)?,
            Self::Ticks { max_per_s } => ticks(host, *max_per_s)?,
            Self::Sleep { exit_latency_us_max } => sleep(host, *exit_latency_us_max)?,
            Self::Limit { limit, min } => limits(*limit, *min),
            Self::FileSystem { one_of } => {
                let found = file_system(host)
                    .ok_or_else(|| Skipped("no data directory is named (--config)".into()))?;
                Reading::of(one_of.contains(&found), found)
            }
            Self::OwnDisk => own_disk(host)?,
            Self::DirectIo { align_max } => direct_io(host, *align_max)?,
            Self::OneNode => one_node(host)?,
            Self::Feature { feature } => feature.read(),
            Self::Output { run, find, one_of, min, max } => output(host, run, find, one_of, *min, *max)?,
        })
    }
}

fn fill(host: &Host, text: &str) -> Result<String, Reading> {
    host.fill(text).map_err(|what| Skipped(format!("no {what} is named")))
}

fn need_order(host: &Host) -> Result<(), Reading> {
    fill(host, "{order}").map(|_| ())
}

fn unreadable(error: &crate::Error) -> Reading {
    Unmet(error.to_string())
}

fn read(host: &Host, path: &str) -> Result<Option<String>, Reading> {
    host.read(Path::new(&fill(host, path)?)).map_err(|e| unreadable(&e))
}

fn without(path: &str, absent: Absent) -> Reading {
    match absent {
        Absent::Unmet => Unmet(format!("there is no {path}")),
        Absent::Met => Met(format!("no {path}")),
        Absent::Skip => Skipped(format!("this machine has no {path}")),
    }
}

/// Of a choice such as `always [madvise] never`, what is chosen; else the whole.
fn chosen(text: &str) -> &str {
    let bracketed = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    bracketed.map_or(text, |(chosen, _)| chosen)
}

fn every_file(
    host: &Host,
    path: &str,
    absent: Absent,
    holds: impl Fn(&str) -> Result<(), ()>,
) -> Result<Reading, Reading> {
    /// Files named in one reading.
    const NAMED_MAX: usize = 3;
    let pattern = fill(host, path)?;
    let files = host.glob(&pattern);
    if files.is_empty() {
        return Ok(without(&pattern, absent));
    }
    let mut said: Vec<(String, Vec<String>)> = Vec::new();
    let mut unmet: Vec<String> = Vec::new();
    for file in &files {
        let text = host.read(file).map_err(|e| unreadable(&e))?.unwrap_or_default();
        let word = chosen(&text).to_owned();
        if holds(&text).is_err() {
            let at = if files.len() == 1 { word.clone() } else { format!("{word} in {}", file.display()) };
            unmet.push(at);
        }
        let name = varying(&pattern, file);
        match said.iter_mut().find(|(other, _)| *other == word) {
            Some((_, names)) => names.push(name),
            None => said.push((word, vec![name])),
        }
    }
    if !unmet.is_empty() {
        return Ok(Unmet(some(unmet, NAMED_MAX)));
    }
    if said.len() == 1 {
        return Ok(Met(said.swap_remove(0).0));
    }
    let told: Vec<_> =
        said.into_iter().map(|(word, names)| format!("{word} ({})", some(names, NAMED_MAX))).collect();
    Ok(Met(told.join("; ")))
}

/// The first `max` of them, and how many more there are.
fn some(mut names: Vec<String>, max: usize) -> String {
    let more = names.len().saturating_sub(max);
    names.truncate(max);
    names.join(", ") + &if more > 0 { format!(", and {more} more") } else { String::new() }
}

/// What `*` stands for in `file`: the part of its path that differs from the pattern's.
fn varying(pattern: &str, file: &Path) -> String {
    let parts = Path::new(pattern).components().zip(file.components());
    let found = parts.into_iter().find(|(wanted, found)| wanted != found).map(|(_, found)| found.as_os_str());
    found.unwrap_or_default().to_string_lossy().into_owned()
}

/// A mask as the kernel writes it: 32-bit words in hexadecimal, the highest first, with commas.
fn mask(text: &str) -> Option<CpuSet> {
    let mut cpus = Vec::new();
    for (n, word) in text.trim().rsplit(',').enumerate() {
        let word = u32::from_str_radix(word, 16).ok()?;
        cpus.extend((0..32).filter(|bit| word >> bit & 1 == 1).map(|bit| n * 32 + bit));
    }
    Some(cpus.into_iter().collect())
}

fn interrupts(host: &Host) -> Result<Reading, Reading> {
    need_order(host)?;
    /// Interrupts named in one reading.
    const NAMED_MAX: usize = 4;
    let mut on: Vec<String> = Vec::new();
    let mut queues = 0;
    let dirs = host.glob("/proc/irq/*");
    if dirs.is_empty() {
        return Err(Skipped("there is no /proc/irq".into()));
    }
    for dir in dirs {
        let effective = host.read(&dir.join("effective_affinity_list")).ok().flatten();
        let cpus: CpuSet = effective.and_then(|text| text.parse().ok()).unwrap_or_default();
        let ours = cpus.and(&host.order);
        if ours.is_empty() {
            continue;
        }
        let name = interrupt_name(host, &dir);
        if is_disk_queue(&name) {
            queues += 1;
            continue;
        }
        let number = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name = if name.is_empty() { name } else { format!(" ({name})") };
        on.push(format!("{number}{name} on CPU {ours}"));
    }
    if on.is_empty() {
        let but = if queues == 0 { String::new() } else { format!(" but {queues} of disks' own queues") };
        return Ok(Met(format!("none on those CPUs{but}")));
    }
    Ok(Unmet(format!("interrupt {}", some(on, NAMED_MAX))))
}

/// The name of who asked for an interrupt: the folder beside its files.
fn interrupt_name(host: &Host, dir: &Path) -> String {
    let Ok(entries) = std::fs::read_dir(host.at(dir)) else { return String::new() };
    let folder = entries.flatten().find(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folder.map(|entry| entry.file_name().to_string_lossy().into_owned()).unwrap_or_default()
}

/// Whether an interrupt is one of a disk's queues, of which the kernel makes one for each CPU and which nobody can move:
/// `nvme0q3`, `virtio1-req.2`.
fn is_disk_queue(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let both = |text: &str, between: &str| {
        text.split_once(between).is_some_and(|(device, queue)| is_number(device) && is_number(queue))
    };
    // Queue 0 of an NVMe disk is the one of administration, which is moved like any other.
    name.strip_prefix("nvme").is_some_and(|rest| both(rest, "q") && !rest.ends_with("q0"))
        || name.strip_prefix("virtio").is_some_and(|rest| both(rest, "-req."))
}

/// Local timer interrupts of each CPU so far: the row LOC of `/proc/interrupts`, whose columns are the CPUs that are on.
fn timer_ticks(host: &Host) -> Option<Vec<(usize, u64)>> {
    let text = host.read(Path::new("/proc/interrupts")).ok()??;
    let mut lines = text.lines();
    let cpus = lines.next()?.split_whitespace().filter_map(|cpu| cpu.strip_prefix("CPU")?.parse().ok());
    let cpus: Vec<usize> = cpus.collect();
    let row = lines.find_map(|line| line.trim_start().strip_prefix("LOC:"))?;
    let counts = row.split_whitespace().map_while(|count| count.parse().ok());
    Some(cpus.into_iter().zip(counts).collect())
}

/// A spinner on each CPU of the order path, and how often its timer ticks meanwhile: a busy CPU that `nohz_full` names
/// ticks about once a second. A CPU on which a node runs already is only watched, for a spinner would hold its orders up; then many
/// ticks say nothing, for a thread that sleeps is woken by them.
fn ticks(host: &Host, max_per_s: u64) -> Result<Reading, Reading> {
    need_order(host)?;
    let none = || Skipped("there is no row LOC in /proc/interrupts".into());
    let taken = taken(host);
    let before = timer_ticks(host).ok_or_else(none)?;
    if host.root == Path::new("/") {
        let free = host.order.without(&taken);
        let spinners = free.iter().map(|cpu| {
            std::thread::spawn(move || {
                if !crate::host::pin(cpu) {
                    return Err(cpu);
                }
                let since = Instant::now();
                while since.elapsed() < WATCH {
                    std::hint::spin_loop();
                }
                Ok(())
            })
        });
        let spinners: Vec<_> = spinners.collect();
        if spinners.is_empty() {
            std::thread::sleep(WATCH);
        }
        for spinner in spinners {
            let ended = spinner.join().map_err(|_| Unmet("a spinner ended early".into()))?;
            ended.map_err(|cpu| Unmet(format!("this process may not use CPU {cpu}")))?;
        }
    }
    let after = timer_ticks(host).ok_or_else(none)?;
    let rate = |ticks: u64| (ticks as f64 / WATCH.as_secs_f64()).round() as u64;
    let ours = before.iter().zip(&after).filter(|((cpu, _), _)| host.order.contains(*cpu));
    let rates = ours.map(|((cpu, before), (_, after))| (*cpu, rate(after - before)));
    let (told, untold): (Vec<_>, Vec<_>) =
        rates.partition(|(cpu, rate)| *rate <= max_per_s || !taken.contains(*cpu));
    if told.is_empty() && !untold.is_empty() {
        return Err(Skipped(format!(
            "threads of their own sleep on CPU {taken}; asked when the node starts"
        )));
    }
    let met = told.iter().all(|(_, rate)| *rate <= max_per_s);
    let told: Vec<_> = told.iter().map(|(cpu, rate)| format!("CPU {cpu}: {rate}")).collect();
    Ok(Reading::of(met, format!("ticks a second while busy: {}", told.join(", "))))
}

/// CPUs of the order path of which another process has made one the only CPU of a thread. A thread of the kernel's, which has no
/// memory of its own, is none.
fn taken(host: &Host) -> CpuSet {
    let own = format!("/proc/{}/", std::process::id());
    let threads = host.glob("/proc/*/task/*/status").into_iter().filter(|path| !path.starts_with(&own));
    let only = |path: PathBuf| {
        let status = host.read(&path).ok().flatten()?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        field("VmSize:")?;
        let cpus: CpuSet = field("Cpus_allowed_list:")?.trim().parse().ok()?;
        if cpus.len() == 1 { cpus.iter().next() } else { None }
    };
    let pinned: CpuSet = threads.filter_map(only).collect();
    pinned.and(&host.order)
}

/// Which idle states the CPUs of the order path went into while we watched.
fn sleep(host: &Host, exit_latency_us_max: u64) -> Result<Reading, Reading> {
    need_order(host)?;
    let states = |cpu: usize| host.glob(&format!("/sys/devices/system/cpu/cpu{cpu}/cpuidle/state*"));
    let number = |path: PathBuf| host.read(&path).ok().flatten().and_then(|text| text.parse::<u64>().ok());
    let deep: Vec<_> = host
        .order
        .iter()
        .flat_map(states)
        .filter(|state| number(state.join("latency")).is_some_and(|latency| latency > exit_latency_us_max))
        .filter(|state| number(state.join("disable")) != Some(1))
        .collect();
    if host.order.iter().all(|cpu| states(cpu).is_empty()) {
        return Err(Skipped("this machine shows no idle states".into()));
    }
    let usage = |state: &PathBuf| number(state.join("usage")).unwrap_or(0);
    let before: Vec<_> = deep.iter().map(usage).collect();
    if host.root == Path::new("/") && !deep.is_empty() {
        std::thread::sleep(WATCH);
    }
    let mut entered: Vec<String> = Vec::new();
    for (state, before) in deep.iter().zip(before) {
        let times = usage(state) - before;
        if times > 0 {
            let name = host.read(&state.join("name")).ok().flatten().unwrap_or_default();
            let cpu = state.iter().rev().nth(2).map(|cpu| cpu.to_string_lossy().into_owned());
            entered.push(format!("{} entered {name} {times} times", cpu.unwrap_or_default()));
        }
    }
    if entered.is_empty() {
        return Ok(Met(format!("none deeper than {exit_latency_us_max} µs")));
    }
    Ok(Unmet(some(entered, 1)))
}

fn limits(limit: Limit, min: Option<u64>) -> Reading {
    let resource = match limit {
        Limit::Memlock => Resource::Memlock,
        Limit::Nofile => Resource::Nofile,
        Limit::Rtprio => Resource::Rtprio,
    };
    match (getrlimit(resource).current, min) {
        (None, _) => Met("without limit".into()),
        (Some(found), None) => Unmet(found.to_string()),
        (Some(found), Some(min)) => Reading::of(found >= min, found.to_string()),
    }
}

/// The file system under the data directory: the last mount whose point is the longest beginning of it.
fn file_system(host: &Host) -> Option<String> {
    let dir = std::path::absolute(host.data_dir.as_deref()?).ok()?;
    let mounts = host.read(Path::new("/proc/self/mountinfo")).ok()??;
    // proc_pid_mountinfo(5): id parent major:minor root point options [fields] - type source options.
    let of = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let point = PathBuf::from(left.split_whitespace().nth(4)?.replace("\\040", " "));
        Some((point, right.split_whitespace().next()?.to_owned()))
    };
    let over = mounts.lines().filter_map(of).filter(|(point, _)| dir.starts_with(point));
    over.max_by_key(|(point, _)| point.components().count()).map(|(_, kind)| kind)
}

fn own_disk(host: &Host) -> Result<Reading, Reading> {
    let disk = host.disk.as_deref().ok_or_else(|| Skipped("no data disk is named (--config)".into()))?;
    let name = disk.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let system = Host::live(CpuSet::default(), None, Some(PathBuf::from("/"))).disk;
    match system {
        Some(system) if system == disk => Ok(Unmet(format!("{name} is the disk of /"))),
        _ => Ok(Met(name)),
    }
}

/// Asks the file system, and writes: a file without a name, which is gone with its descriptor.
fn direct_io(host: &Host, align_max: u32) -> Result<Reading, Reading> {
    let dir =
        host.data_dir.as_deref().ok_or_else(|| Skipped("no data directory is named (--config)".into()))?;
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC;
    let file = match rustix::fs::open(host.at(dir), flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::ACCESS | Errno::PERM | Errno::ROFS) => {
            return Err(Skipped(format!("no file can be made in {}", dir.display())));
        }
        Err(e) => return Ok(Unmet(format!("no file past the page cache: {e}"))),
    };
    let asked = rustix::fs::statx(&file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN);
    let told = asked.ok().filter(|told| told.stx_mask & StatxFlags::DIOALIGN.bits() != 0);
    // Kernels before 6.1 do not tell; then the write alone does.
    let told = told.map(|told| (told.stx_dio_mem_align, told.stx_dio_offset_align));
    let len = align_max as usize;
    let buffer = vec![0; 2 * len];
    let from = buffer.as_ptr().align_offset(len);
    let found =
        told.map_or_else(String::new, |(memory, offset)| format!("memory {memory}, place {offset} bytes"));
    if told.is_some_and(|(memory, offset)| memory == 0 || memory > align_max || offset > align_max) {
        return Ok(Unmet(found));
    }
    Ok(match rustix::io::write(&file, &buffer[from..from + len]) {
        Ok(written) if written == len => Met(if found.is_empty() { format!("{len} bytes") } else { found }),
        Ok(written) => Unmet(format!("{written} of {len} bytes were written")),
        Err(e) => Unmet(format!("a write of {len} bytes: {e}")),
    })
}

fn one_node(host: &Host) -> Result<Reading, Reading> {
    let mut nodes: Vec<(String, i64)> = Vec::new();
    let node = |path: String| {
        let text = host.read(Path::new(&path)).ok().flatten();
        // −1 is the kernel's word for "not known", as on machines with one node.
        text.and_then(|text| text.parse::<i64>().ok()).filter(|node| *node >= 0)
    };
    if let Some(nic) = &host.nic
        && let Some(at) = node(format!("/sys/class/net/{nic}/device/numa_node"))
    {
        nodes.push((nic.clone(), at));
    }
    if let Some(disk) = &host.disk {
        let name = disk.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let places = ["device/numa_node", "device/device/numa_node"];
        if let Some(at) = places.iter().find_map(|place| node(format!("/sys/block/{name}/{place}"))) {
            nodes.push((name, at));
        }
    }
    for cpu in host.order.iter() {
        for dir in host.glob(&format!("/sys/devices/system/cpu/cpu{cpu}/node*")) {
            let number = dir.file_name().and_then(|name| name.to_str()?.strip_prefix("node")?.parse().ok());
            nodes.extend(number.map(|at| (format!("CPU {cpu}"), at)));
        }
    }
    if nodes.is_empty() {
        return Err(Skipped("this machine tells of no memory nodes".into()));
    }
    let told: Vec<_> = nodes.iter().map(|(what, node)| format!("{what} on {node}")).collect();
    Ok(Reading::of(nodes.iter().all(|(_, node)| *node == nodes[0].1), told.join(", ")))
}

impl Feature {
    fn read(self) -> Reading {
        match self {
            Self::IoUring => match io_uring::IoUring::new(2) {
                Ok(_) => Met("there".into()),
                Err(e) => Unmet(e.to_string()),
            },
            Self::AfXdp => {
                let family = rustix::net::AddressFamily::XDP;
                match rustix::net::socket(family, rustix::net::SocketType::RAW, None) {
                    Ok(_) => Met("there".into()),
                    Err(e) => Unmet(e.to_string()),
                }
            }
        }
    }
}

fn output(
    host: &Host,
    run: &[String],
    find: &str,
    one_of: &[String],
    min: Option<f64>,
    max: Option<f64>,
) -> Result<Reading, Reading> {
    let run = run.iter().map(|word| fill(host, word)).collect::<Result<Vec<_>, _>>()?;
    let line = run.join(" ");
    let output = match Command::new(&run[0]).args(&run[1..]).output() {
        Ok(output) => output,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Unmet(format!("{} is not installed", run[0])));
        }
        Err(e) => return Ok(Unmet(format!("{line}: {e}"))),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let Some(value) = value_behind(&text, find) else {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().next().unwrap_or("no such line");
        return Ok(Unmet(format!("{line}: {said}")));
    };
    let within = value
        .parse::<f64>()
        .is_ok_and(|number| min.is_none_or(|min| number >= min) && max.is_none_or(|max| number <= max));
    let bounded = min.is_some() || max.is_some();
    Ok(Reading::of(one_of.iter().any(|word| word == value) || bounded && within, value.to_owned()))
}

fn value_behind<'a>(text: &'a str, find: &str) -> Option<&'a str> {
    let behind = text.lines().find_map(|line| line.split_once(find))?.1;
    behind
        .trim_start_matches([' ', '\t', ':', '='])
        .split([' ', '\t', ','])
        .next()
        .filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_read_from_its_last_word() {
        assert_eq!(mask("3").expect("a mask").to_string(), "0-1");
        assert_eq!(mask("1,00000002").expect("a mask").to_string(), "1,32");
        assert_eq!(mask("x"), None);
    }

    #[test]
    fn queues_of_disks_are_told_from_other_interrupts() {
        for name in ["nvme0q1", "nvme12q34", "virtio1-req.0", "virtio10-req.12"] {
            assert!(is_disk_queue(name), "{name}");
        }
        for name in [
            "nvme0q0",
            "nvmeq1",
            "nvme0q",
            "virtio1-config",
            "virtio1-input.0",
            "ens1-rx-3",
            "mlx5_comp3@pci",
            "",
        ] {
            assert!(!is_disk_queue(name), "{name}");
        }
    }

    #[test]
    fn a_choice_is_what_stands_in_brackets() {
        assert_eq!(chosen("always [madvise] never"), "madvise");
        assert_eq!(chosen("tsc"), "tsc");
    }

    #[test]
    fn a_value_is_what_follows_the_words_looked_for() {
        let text = "Ring parameters for eth0:\nRX:\t\t4096\nrx-usecs: 0, more";
        assert_eq!(value_behind(text, "RX:"), Some("4096"));
        assert_eq!(value_behind(text, "rx-usecs"), Some("0"));
        assert_eq!(value_behind(text, "tx-usecs"), None);
    }
}
