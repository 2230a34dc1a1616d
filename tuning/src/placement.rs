//! Which CPU does what: a proposal for this machine, from what sysfs tells of its cores.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use crate::{CpuSet, Host};

/// Roles that want a CPU of their own, in the order of `[placement] cpus`; each further shard wants one too.
pub const ROLES: [&str; 5] = ["gateway", "sequencer", "shard", "journal", "release"];

/// What a machine's CPUs are best used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The order path's, in the order of [`ROLES`], then one for each further shard; fewer on a small machine, where
    /// neighbours share.
    pub order: Vec<usize>,
    /// The kernel's, the service thread's and everybody else's.
    pub housekeeping: CpuSet,
    /// Second threads of the order path's cores: best left idle.
    pub idle_siblings: CpuSet,
    /// Whether the order path's CPUs are nobody else's, and so may spin.
    pub spin: bool,
    /// What was seen of the machine, and why it was decided so; a sentence each.
    pub because: Vec<String>,
}

/// A logical CPU as sysfs shows it.
#[derive(Clone, Debug)]
struct Cpu {
    number: usize,
    /// The first thread of its core stands for the core.
    core: usize,
    node: Option<usize>,
}

/// Proposes a placement for a node of so many shards.
#[must_use]
pub fn propose(host: &Host, shards: usize) -> Proposal {
    let cpus: Vec<Cpu> = host.online().iter().map(|number| cpu(host, number)).collect();
    let mut because = Vec::new();
    let mut cores: BTreeMap<usize, Vec<&Cpu>> = BTreeMap::new();
    for cpu in &cpus {
        cores.entry(cpu.core).or_default().push(cpu);
    }
    let threads = cpus.len();
    because.push(format!("{threads} CPUs on {} cores.", cores.len()));
    if cores.len() < 3 {
        because.push(
            "Fewer than three cores: the kernel and the order path share, nobody spins, and the roles run on one thread."
                .into(),
        );
        let all = cpus.iter().map(|cpu| cpu.number).collect();
        return Proposal {
            order: Vec::new(),
            housekeeping: all,
            idle_siblings: CpuSet::default(),
            spin: false,
            because,
        };
    }
    // The kernel keeps the first core: the boot CPU cannot be isolated in full.
    let first = *cores.keys().next().expect("there are three");
    let near = nic_node(host);
    let nic = host.nic.as_deref().unwrap_or("the network device");
    match near {
        Some(node) => {
            because.push(format!("{nic} hangs on memory node {node}: cores of that node come first."));
        }
        None => because
            .push("No memory node is known of the network device: cores are taken as they come.".into()),
    }
    let interrupts = disk_interrupts(host);
    if !interrupts.is_empty() {
        because.push(format!(
            "CPU {interrupts} serves the disk's interrupts: left to the kernel, as far as there are others."
        ));
    }
    let mut free: Vec<&Vec<&Cpu>> =
        cores.iter().filter(|(core, _)| **core != first).map(|(_, threads)| threads).collect();
    let is_far = |threads: &[&Cpu]| near.is_some() && threads[0].node != near;
    let serves_disk = |threads: &[&Cpu]| threads.iter().any(|cpu| interrupts.contains(cpu.number));
    free.sort_by_key(|threads| (is_far(threads), serves_disk(threads), threads[0].number));
    let wanted = ROLES.len() + shards.saturating_sub(1);
    let order: Vec<usize> = free.iter().take(wanted).map(|threads| threads[0].number).collect();
    let used: CpuSet = order.iter().copied().collect();
    let siblings = free.iter().take(wanted).flat_map(|threads| threads.iter().skip(1));
    let idle_siblings: CpuSet = siblings.map(|cpu| cpu.number).collect();
    if !idle_siblings.is_empty() {
        because.push(format!(
            "CPU {idle_siblings} shares a core with the order path: leave it idle, or switch it off (chcpu -d)."
        ));
    }
    if order.len() < wanted {
        because.push(format!("{wanted} cores are wanted, {} are free: neighbours share.", order.len()));
    }
    let housekeeping = host.online().without(&used).without(&idle_siblings);
    Proposal { order, housekeeping, idle_siblings, spin: true, because }
}

fn cpu(host: &Host, number: usize) -> Cpu {
    let dir = format!("/sys/devices/system/cpu/cpu{number}");
    let core = host.cpu_list(&format!("{dir}/topology/thread_siblings_list")).iter().next().unwrap_or(number);
    let node = host
        .glob(&format!("{dir}/node*"))
        .first()
        .and_then(|path| path.file_name()?.to_str()?.strip_prefix("node")?.parse().ok());
    Cpu { number, core, node }
}

fn nic_node(host: &Host) -> Option<usize> {
    let nic = host.nic.as_deref()?;
    let path = format!("/sys/class/net/{nic}/device/numa_node");
    host.read(Path::new(&path)).ok()??.parse().ok()
}

/// CPUs that serve the data disk's interrupts, which the kernel names after the device's driver.
fn disk_interrupts(host: &Host) -> CpuSet {
    let Some(disk) = host.disk.as_deref().and_then(Path::file_name).and_then(|name| name.to_str()) else {
        return CpuSet::default();
    };
    // nvme0n1 is a name space of nvme0, whose interrupts are nvme0q0, nvme0q1, …; a virtual disk's are virtioN.
    let device = match disk.starts_with("nvme") {
        true => disk.rsplit_once('n').map(|(device, _)| format!("{device}q")),
        false => virtio_of(host, disk),
    };
    let Some(device) = device else { return CpuSet::default() };
    let mut cpus = Vec::new();
    for dir in host.glob("/proc/irq/*") {
        let names = std::fs::read_dir(host.at(&dir)).into_iter().flatten().flatten();
        let is_ours = names.into_iter().any(|entry| {
            entry.file_name().to_str().is_some_and(|name| name.starts_with(&device)) && entry.path().is_dir()
        });
        // An NVMe disk has a queue for each CPU; only one that serves a few can be stepped around.
        if is_ours {
            let text = dir.join("effective_affinity_list");
            cpus.extend(host.cpu_list(&text.display().to_string()).iter());
        }
    }
    let cpus: CpuSet = cpus.into_iter().collect();
    if cpus.len() < host.online().len() { cpus } else { CpuSet::default() }
}

fn virtio_of(host: &Host, disk: &str) -> Option<String> {
    let device = std::fs::read_link(host.at(Path::new(&format!("/sys/block/{disk}/device")))).ok()?;
    let name = device.file_name()?.to_str()?.to_owned();
    name.starts_with("virtio").then(|| format!("{name}-"))
}

impl Proposal {
    /// The section of the node's configuration.
    #[must_use]
    pub fn config(&self) -> String {
        let mut text = String::from("[placement]\n");
        let cpus: Vec<_> = self.order.iter().map(ToString::to_string).collect();
        text += &format!("cpus = [{}]\n", cpus.join(", "));
        if let Some(cpu) = self.housekeeping.iter().next().filter(|_| !self.order.is_empty()) {
            text += &format!("service_cpu = {cpu}\n");
        }
        text += &format!("spin = {}\n", self.spin);
        text
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.because.iter().try_for_each(|line| writeln!(f, "# {line}"))?;
        for (n, cpu) in self.order.iter().enumerate() {
            let role = ROLES
                .get(n)
                .map_or_else(|| format!("shard-{}", n - ROLES.len() + 1), |role| (*role).to_owned());
            writeln!(f, "#   CPU {cpu}: {role}")?;
        }
        if !self.order.is_empty() {
            writeln!(f, "#   CPU {}: kernel, service, exporters", self.housekeeping)?;
        }
        f.write_str(&self.config())
    }
}
