//! Machines made of files: each item of the production profile meets one where it holds and one where it does not.

use std::fs;
use std::path::{Path, PathBuf};

use ironbell_tuning::{Host, Profile, Verdict, apply, examine, placement};

/// A machine under a folder of its own, which goes with it.
struct Machine {
    host: Host,
}

impl Machine {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("ironbell-machine-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(&root).expect("a folder");
        let order = "2-6".parse().expect("a list");
        let disk = Some(PathBuf::from("/sys/block/nvme1n1"));
        let host =
            Host { root, order, nic: Some("ens1".into()), disk, data_dir: Some("/var/lib/ironbell".into()) };
        Self { host }
    }

    /// A server with eight cores and an NVMe disk, tuned as the production profile asks.
    fn tuned(name: &str) -> Self {
        let machine = Self::new(name);
        for (path, text) in [
            ("/sys/devices/system/cpu/online", "0-7"),
            ("/sys/devices/system/cpu/isolated", "2-7"),
            ("/sys/devices/system/cpu/nohz_full", "2-7"),
            ("/proc/irq/default_smp_affinity", "03"),
            ("/sys/devices/virtual/workqueue/cpumask", "03"),
            ("/proc/irq/24/effective_affinity_list", "1"),
            ("/proc/irq/24/nvme1q0/none", ""),
            // The disk's own queue of CPU 3, which nobody can move.
            ("/proc/irq/27/effective_affinity_list", "3"),
            ("/proc/irq/27/nvme1q4/none", ""),
            ("/proc/irq/25/effective_affinity_list", "0"),
            ("/proc/irq/25/ens1-rx-3/none", ""),
            ("/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc"),
            ("/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]"),
            ("/sys/block/nvme1n1/queue/scheduler", "[none] mq-deadline"),
            ("/sys/block/nvme1n1/queue/logical_block_size", "512"),
            ("/sys/block/nvme1n1/device/numa_node", "0"),
            ("/sys/class/net/ens1/device/numa_node", "0"),
            ("/proc/cmdline", "BOOT_IMAGE=/vmlinuz skew_tick=1 mce=ignore_ce audit=0 quiet"),
            ("/proc/sys/vm/swappiness", "0"),
            (
                "/proc/self/mountinfo",
                "21 1 259:1 / / rw - ext4 /dev/nvme0n1p1 rw\n30 21 259:2 / /var/lib/ironbell rw,noatime - xfs /dev/nvme1n1 rw",
            ),
            (
                "/proc/interrupts",
                "            CPU0 CPU1 CPU2 CPU3 CPU4 CPU5 CPU6 CPU7\n 24: 1 2 0 0 0 0 0 0 nvme\nLOC: 100 200 3 3 3 3 3 3 Local timer interrupts",
            ),
        ] {
            machine.write(path, text);
        }
        for cpu in 0..8 {
            machine.write(
                &format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"),
                &cpu.to_string(),
            );
            machine.write(&format!("/sys/devices/system/cpu/cpu{cpu}/node0/cpulist"), "0-7");
            machine
                .write(&format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor"), "performance");
        }
        machine
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.host.at(Path::new(path));
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    fn finding(&self, id: &str) -> (Verdict, String) {
        finding(&self.host, id)
    }
}

/// What the doctor says of one item of the production profile.
fn finding(host: &Host, id: &str) -> (Verdict, String) {
    let mut profile = Profile::load("production").expect("built in");
    profile.items.retain(|item| item.id == id);
    assert_eq!(profile.items.len(), 1, "{id}");
    let finding = examine(&profile, host).findings.remove(0);
    (finding.verdict, finding.found)
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.host.root);
    }
}

/// What holds on the tuned machine, what breaks it, and what the doctor then says.
const BROKEN: [(&str, &str, &str, &str); 14] = [
    ("cpus-isolated", "/sys/devices/system/cpu/isolated", "2-5", "2-5"),
    ("cpus-nohz-full", "/sys/devices/system/cpu/nohz_full", "(null)", "none"),
    ("interrupts", "/proc/irq/25/effective_affinity_list", "4", "interrupt 25 (ens1-rx-3) on CPU 4"),
    ("interrupts-default", "/proc/irq/default_smp_affinity", "ff", "CPUs 0-7"),
    ("workqueues", "/sys/devices/virtual/workqueue/cpumask", "04", "CPUs 2"),
    ("clock-source", "/sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet", "hpet"),
    ("huge-pages-off", "/sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never", "always"),
    ("disk-scheduler", "/sys/block/nvme1n1/queue/scheduler", "none [mq-deadline]", "mq-deadline"),
    ("disk-block", "/sys/block/nvme1n1/queue/logical_block_size", "16384", "16384"),
    ("governor", "/sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "powersave", "cpu3"),
    ("skew-tick", "/proc/cmdline", "skew_tick=0", "skew_tick=0"),
    ("swappiness", "/proc/sys/vm/swappiness", "60", "60"),
    ("data-file-system", "/proc/self/mountinfo", "30 21 0:5 / /var rw - tmpfs tmpfs rw", "tmpfs"),
    ("one-node", "/sys/class/net/ens1/device/numa_node", "1", "ens1 on 1"),
];

#[test]
fn every_item_holds_on_a_tuned_machine_and_not_on_one_that_differs_in_it() {
    for (n, (id, path, text, said)) in BROKEN.into_iter().enumerate() {
        let machine = Machine::tuned(&format!("tuned-{n}"));
        let (verdict, found) = machine.finding(id);
        assert_eq!(verdict, Verdict::Pass, "{id}: {found}");
        machine.write(path, text);
        let (verdict, found) = machine.finding(id);
        assert!(matches!(verdict, Verdict::Warn | Verdict::Fail), "{id}: {verdict:?} {found}");
        assert!(found.contains(said), "{id}: {said} in {found}");
    }
}

#[test]
fn what_a_machine_does_not_have_is_unmet_or_harmless_or_skipped_as_the_item_says() {
    let machine = Machine::new("bare");
    machine.write("/sys/devices/system/cpu/online", "0-7");
    assert_eq!(machine.finding("cpus-isolated").0, Verdict::Fail, "a kernel that isolates nothing");
    assert_eq!(machine.finding("numa-balancing").0, Verdict::Pass, "a kernel without it does no harm");
    assert_eq!(machine.finding("governor").0, Verdict::Skip, "a virtual machine has no clock rates");
    assert_eq!(machine.finding("sleep-states").0, Verdict::Skip);
}

#[test]
fn queues_of_disks_are_told_and_let_be() {
    let machine = Machine::tuned("queues");
    assert_eq!(machine.finding("interrupts").1, "none on those CPUs but 1 of disks' own queues");
}

#[test]
fn a_file_system_that_takes_no_direct_writes_is_found_by_writing() {
    let machine = Machine::tuned("direct");
    assert_eq!(machine.finding("data-direct-io").0, Verdict::Skip, "there is no data directory yet");
    fs::create_dir_all(machine.host.at(Path::new("/var/lib/ironbell"))).expect("a folder");
    let (verdict, found) = machine.finding("data-direct-io");
    assert_eq!(verdict, Verdict::Pass, "{found}");
    // A file system of the kernel's own has no files to be made.
    let live = Host::live(ironbell_tuning::CpuSet::default(), None, Some("/proc".into()));
    let (verdict, found) = finding(&live, "data-direct-io");
    assert_eq!(
        (verdict, found.as_str()),
        (Verdict::Fail, "no file past the page cache: Operation not supported (os error 95)")
    );
}

#[test]
fn what_differs_between_memory_nodes_is_told_of_each() {
    let machine = Machine::tuned("nodes");
    let path =
        |node: usize| format!("/sys/devices/system/node/node{node}/hugepages/hugepages-2048kB/nr_hugepages");
    machine.write(&path(0), "512");
    machine.write(&path(1), "512");
    assert_eq!(machine.finding("huge-pages-nodes"), (Verdict::Info, "512".into()));
    machine.write(&path(1), "0");
    assert_eq!(machine.finding("huge-pages-nodes"), (Verdict::Info, "512 (node0); 0 (node1)".into()));
}

#[test]
fn without_cpus_of_its_own_a_node_is_told_what_to_name() {
    let mut machine = Machine::tuned("shared");
    machine.host.order = ironbell_tuning::CpuSet::default();
    assert_eq!(machine.finding("cpus-own").0, Verdict::Fail);
    for id in ["cpus-isolated", "cpus-ticks", "interrupts", "sleep-states"] {
        let (verdict, found) = machine.finding(id);
        assert_eq!(verdict, Verdict::Skip, "{id}");
        assert!(found.contains("--cpus"), "{id}: {found}");
    }
}

#[test]
fn a_report_names_what_failed_and_how_it_is_set_and_says_the_same_as_json() {
    let machine = Machine::tuned("report");
    machine.write("/sys/devices/system/cpu/isolated", "");
    let mut profile = Profile::load("production").expect("built in");
    profile.items.retain(|item| ["cpus-isolated", "clock-source"].contains(&item.id.as_str()));
    let report = examine(&profile, &machine.host);
    assert!(!report.is_fit());
    let text = report.to_string();
    for line in [
        "FAIL  cpus-isolated",
        "isolcpus=managed_irq,domain,2-6",
        "pass  clock-source",
        "1 pass, 0 warn, 1 fail",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    let json: serde_json::Value = serde_json::from_str(&report.json()).expect("JSON");
    assert_eq!(json["findings"][0]["verdict"], "fail");
    assert_eq!(json["findings"][0]["id"], "cpus-isolated");
    let script = apply::script(&profile, &machine.host);
    assert!(script.contains("isolcpus=managed_irq,domain,2-6") && script.contains("update-grub"), "{script}");
    assert!(!script.contains("tsc=reliable"), "what holds is left alone:\n{script}");
}

#[test]
fn the_script_of_a_whole_profile_is_shell() {
    let machine = Machine::new("script");
    let mut profile = Profile::load("production").expect("built in");
    // These would look at the machine that the test runs on.
    profile.items.retain(|item| {
        !item.id.starts_with("nic-") && !item.id.starts_with("clock-o") && item.id != "clock-bound"
    });
    let script = apply::script(&profile, &machine.host);
    let path = machine.host.root.join("script.sh");
    fs::write(&path, script).expect("a file");
    let checked = std::process::Command::new("sh").arg("-n").arg(&path).status().expect("a shell");
    assert!(checked.success());
}

#[test]
fn one_thread_of_each_core_near_the_network_device_is_proposed() {
    // Two sockets of four cores with two threads each; the kernel numbers siblings n and n + 8, nodes 0-3,8-11 and 4-7,12-15.
    let mut machine = Machine::new("proposal");
    machine.host.nic = Some("ens1".into());
    machine.write("/sys/devices/system/cpu/online", "0-15");
    machine.write("/sys/class/net/ens1/device/numa_node", "1");
    for cpu in 0..16 {
        let core = cpu % 8;
        let dir = format!("/sys/devices/system/cpu/cpu{cpu}");
        machine.write(&format!("{dir}/topology/thread_siblings_list"), &format!("{core},{}", core + 8));
        machine.write(&format!("{dir}/node{}/cpulist", core / 4), "");
    }
    let proposal = placement::propose(&machine.host, 2);
    assert_eq!(proposal.order, [4, 5, 6, 7, 1, 2], "cores of node 1 first, and never the first core");
    assert_eq!(proposal.idle_siblings.to_string(), "9-10,12-15");
    assert_eq!(proposal.housekeeping.to_string(), "0,3,8,11");
    assert!(proposal.spin);
    assert!(proposal.config().starts_with("[placement]\ncpus = [4, 5, 6, 7, 1, 2]\nservice_cpu = 0\n"));

    machine.write("/sys/devices/system/cpu/online", "0-1");
    let small = placement::propose(&machine.host, 1);
    assert_eq!((small.order.as_slice(), small.spin), (&[][..], false));
}
