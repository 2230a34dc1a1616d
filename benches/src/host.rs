//! What the measured machine is, read from `/proc` and `/sys`: a figure without it says nothing.

use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

/// The machine. What cannot be read is empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Model name of the first CPU.
    pub cpu: String,
    /// CPUs that this process may use.
    pub cpus_allowed: String,
    /// CPUs online.
    pub cpus_online: String,
    /// Hardware threads that share a core with CPU 0, itself included.
    pub threads_of_core: String,
    /// Whether the CPU says it runs under a hypervisor.
    pub is_virtual: bool,
    /// Kernel release and version.
    pub kernel: String,
    /// The kernel's command line.
    pub cmdline: String,
    /// CPU frequency governors in use, each once.
    pub governor: String,
    /// CPUs isolated from the scheduler (`isolcpus`).
    pub isolated: String,
    /// CPUs without a timer tick (`nohz_full`).
    pub nohz_full: String,
    /// Transparent huge pages.
    pub transparent_hugepage: String,
    /// The kernel's clock source.
    pub clock_source: String,
    /// What latencies are read from.
    pub latency_clock: String,
    /// Network interfaces that are up: name, driver where there is one, speed in Mbit/s where it is told.
    pub nics: Vec<String>,
    /// Mount point, file system and device under the data directory, and the disk's scheduler and write cache.
    pub disk: String,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Load average of the last minute before the run.
    pub load_average: String,
    /// Share of all CPU time since boot that the hypervisor took away, in parts of a thousand.
    pub steal_permille: u64,
    /// The machine beside a profile of what it should be, item by item; empty where nobody looked.
    #[serde(default)]
    pub checks: Vec<Check>,
}

/// One thing that a host profile asks for, as `ironbell tune doctor` found it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Its name in the profile.
    pub id: String,
    /// `pass`, `warn`, `fail`, `skip` or `info`.
    pub verdict: String,
    /// What was found.
    pub found: String,
}

impl Host {
    /// The machine this runs on; `data_dir` is where the venue writes, if it is on this machine.
    #[must_use]
    pub fn read(data_dir: Option<&Path>) -> Self {
        let cpuinfo = text("/proc/cpuinfo");
        let status = text("/proc/self/status");
        Self {
            cpu: field(&cpuinfo, "model name"),
            cpus_allowed: field(&status, "Cpus_allowed_list"),
            cpus_online: text("/sys/devices/system/cpu/online"),
            threads_of_core: text("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list"),
            is_virtual: field(&cpuinfo, "flags").split(' ').any(|flag| flag == "hypervisor"),
            kernel: format!("{} {}", text("/proc/sys/kernel/osrelease"), text("/proc/sys/kernel/version")),
            cmdline: text("/proc/cmdline"),
            governor: governors(),
            isolated: text("/sys/devices/system/cpu/isolated"),
            nohz_full: text("/sys/devices/system/cpu/nohz_full"),
            transparent_hugepage: chosen(&text("/sys/kernel/mm/transparent_hugepage/enabled")),
            clock_source: text("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            latency_clock: "CLOCK_MONOTONIC, software, in user space".to_owned(),
            nics: nics(),
            disk: data_dir.map_or(String::new(), disk),
            memory_bytes: field(&text("/proc/meminfo"), "MemTotal")
                .split(' ')
                .next()
                .and_then(|kib| kib.parse::<u64>().ok())
                .map_or(0, |kib| kib * 1_024),
            load_average: text("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
            steal_permille: steal_permille(&text("/proc/stat")),
            checks: Vec::new(),
        }
    }

    /// What a reader must know before believing a figure of this machine.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut warn = |holds: bool, what: &str| {
            if holds {
                warnings.push(what.to_owned());
            }
        };
        warn(self.is_virtual, "a virtual machine: the hypervisor's stalls are in every figure");
        warn(self.isolated.is_empty(), "no isolated CPUs: anything may run beside what is measured");
        warn(
            !self.governor.is_empty() && self.governor != "performance",
            "the CPU frequency governor is not `performance`",
        );
        let busy = self.load_average.parse::<f64>().is_ok_and(|load| load > 0.5);
        warn(busy, "the machine was busy before the run (load average above 0.5)");
        warn(self.steal_permille > 5, "the hypervisor took more than 0.5 % of the CPU time since boot");
        let failed = self.checks.iter().filter(|check| check.verdict == "fail").count();
        warn(failed > 0, &format!("{failed} things that a venue's host must have were not so; see `checks`"));
        warnings
    }
}

fn text(path: &str) -> String {
    fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}

/// The value behind the first `name :` of a table of /proc.
fn field(table: &str, name: &str) -> String {
    let line = table.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name));
    line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}

/// Of `always [madvise] never`, what stands in brackets.
fn chosen(text: &str) -> String {
    text.split(['[', ']']).nth(1).unwrap_or(text).to_owned()
}

fn entries(path: &str) -> Vec<String> {
    let Ok(dir) = fs::read_dir(path) else { return Vec::new() };
    let mut names: Vec<String> = dir.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn governors() -> String {
    let cpus = entries("/sys/devices/system/cpu").into_iter().filter(|name| name.starts_with("cpu"));
    let mut found: Vec<String> = cpus
        .map(|cpu| text(&format!("/sys/devices/system/cpu/{cpu}/cpufreq/scaling_governor")))
        .filter(|governor| !governor.is_empty())
        .collect();
    found.sort();
    found.dedup();
    found.join(", ")
}

fn nics() -> Vec<String> {
    let of = |name: &String| {
        let at = |file: &str| text(&format!("/sys/class/net/{name}/{file}"));
        if !["up", "unknown"].contains(&at("operstate").as_str()) {
            return None;
        }
        let driver = fs::read_link(format!("/sys/class/net/{name}/device/driver")).ok();
        let driver = driver.and_then(|link| Some(link.file_name()?.to_string_lossy().into_owned()));
        let speed = at("speed");
        let mut told = name.clone();
        if let Some(driver) = driver {
            told += &format!(" ({driver})");
        }
        if speed.parse::<i64>().is_ok_and(|speed| speed > 0) {
            told += &format!(" {speed} Mbit/s");
        }
        Some(told)
    };
    entries("/sys/class/net").iter().filter_map(of).collect()
}

/// What `/proc/self/mountinfo` says of the mount that `dir` lies in.
fn disk(dir: &Path) -> String {
    let Ok(dir) = dir.canonicalize() else { return String::new() };
    let mounts = text("/proc/self/mountinfo");
    // 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue (proc_pid_mountinfo(5))
    let of = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<&str> = left.split(' ').collect();
        let right: Vec<&str> = right.split(' ').collect();
        let (number, point) = (*left.get(2)?, *left.get(4)?);
        dir.starts_with(point).then(|| {
            (
                point.len(),
                number.to_owned(),
                format!("{point} {} on {}", right[0], right.get(1).unwrap_or(&"?")),
            )
        })
    };
    let Some((_, number, told)) = mounts.lines().filter_map(of).max_by_key(|(len, ..)| *len) else {
        return String::new();
    };
    let queue = |file: &str| {
        let of_disk = text(&format!("/sys/dev/block/{number}/queue/{file}"));
        if of_disk.is_empty() { text(&format!("/sys/dev/block/{number}/../queue/{file}")) } else { of_disk }
    };
    let (scheduler, cache) = (chosen(&queue("scheduler")), queue("write_cache"));
    if scheduler.is_empty() { told } else { format!("{told}, scheduler {scheduler}, cache {cache}") }
}

/// cpu  user nice system idle iowait irq softirq steal … (proc_stat(5))
fn steal_permille(stat: &str) -> u64 {
    let first = stat.lines().next().unwrap_or_default();
    let times: Vec<u64> = first.split_whitespace().skip(1).take(8).filter_map(|n| n.parse().ok()).collect();
    match times.get(7) {
        Some(steal) => steal * 1_000 / times.iter().sum::<u64>().max(1),
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_told() {
        let host = Host::read(Some(Path::new(".")));
        assert!(!host.kernel.is_empty() && host.memory_bytes > 0 && !host.disk.is_empty(), "{host:?}");
        assert!(host.cpus_allowed.chars().all(|c| c.is_ascii_digit() || ",-".contains(c)), "{host:?}");
        assert!(host.nics.iter().any(|nic| nic.starts_with("lo")), "{host:?}");
    }

    #[test]
    fn tables_of_proc_are_read_as_they_are_meant() {
        assert_eq!(field("a\t: 1\nmodel name\t: X : Y\n", "model name"), "X : Y");
        assert_eq!(chosen("always [madvise] never"), "madvise");
        assert_eq!(steal_permille("cpu  10 0 10 70 0 0 0 10 0 0\ncpu0 1"), 100);
        let busy = Host { is_virtual: true, load_average: "2.1".to_owned(), ..Host::default() };
        assert_eq!(busy.warnings().len(), 3, "{:?}", busy.warnings());
    }
}
