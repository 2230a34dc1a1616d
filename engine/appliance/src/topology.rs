//! The topology table: which role runs on which thread, on which CPU, what it does when idle, and the rings between.
//!
//! ```text
//!            gateway ─→ sequencer ─┬→ journal ─→ disk
//!               ↑                  └→ shard 0 ──→ release ─┬→ gateway
//!               │                       ║                  ├→ feed
//!               │                    shards 1 … N − 1      └→ shadow
//!               └───────────────────────── release              service · segments · login
//! ```
//!
//! ║ is the exchange of the shards: a ring each way between any two.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use ironbell_runtime::{Idle, Role, ThreadPlan, shards};
use ironbell_sync::exchange;

use crate::config::{Config, Placement};
use crate::failure::Failure;
use crate::inspect;
use crate::inspection;

/// How long an idle thread on a shared CPU sleeps at a time.
const PARK: Duration = Duration::from_micros(50);

/// A role of the order path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Station {
    /// Reads members, answers members.
    Gateway,
    /// Gives Seq and time.
    Sequencer,
    /// Writes frames.
    Journal,
    /// Executes frames; the first leads the others.
    Shard(usize),
    /// Lets out what is committed.
    Release,
    /// Tells the market.
    Feed,
}

use Station::{Feed, Gateway, Journal, Release, Sequencer, Shard};

impl fmt::Display for Station {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gateway => f.write_str("gateway"),
            Sequencer => f.write_str("sequencer"),
            Journal => f.write_str("journal"),
            Shard(0) => f.write_str("shard"),
            Shard(shard) => write!(f, "shard-{shard}"),
            Release => f.write_str("release"),
            Feed => f.write_str("feed"),
        }
    }
}

/// A thread of the order path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Its name.
    pub name: String,
    /// The CPU it is pinned to; `None` leaves it to the scheduler.
    pub cpu: Option<usize>,
    /// Its roles, in the order they are polled: an order passes all of them in one round where they share one thread, and
    /// its answer leaves at the beginning of the next.
    pub stations: Vec<Station>,
}

impl fmt::Display for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}:", self.name, on_cpu(self.cpu))?;
        self.stations.iter().try_for_each(|station| write!(f, " {station}"))
    }
}

fn on_cpu(cpu: Option<usize>) -> String {
    cpu.map_or_else(String::new, |cpu| format!(" on CPU {cpu}"))
}

/// Threads that the order path of one shard is spread over at most.
const THREADS_MAX: usize = 5;

/// The CPUs of the order path when the configuration names none: of three CPUs or more all but the first,
/// which is left to interrupts, the service thread and everybody else; none of two or fewer, where the
/// roles share one thread that the scheduler places.
#[must_use]
pub fn cpus_of_its_own(allowed: &[usize], shards: usize) -> Vec<usize> {
    let most = THREADS_MAX + shards - 1;
    if allowed.len() < 3 { Vec::new() } else { allowed.iter().copied().skip(1).take(most).collect() }
}

/// The order path's threads, on the CPUs that the configuration names, else on some of those that this process is
/// `allowed`. Shards beside the first take the last CPUs, one each as long as one is left for the rest, and go round where
/// there are fewer; without CPUs of their own each has a thread that the scheduler places.
#[must_use]
pub fn threads(placement: &Placement, allowed: &[usize], shards: usize) -> Vec<Thread> {
    let cpus =
        if placement.cpus.is_empty() { cpus_of_its_own(allowed, shards) } else { placement.cpus.clone() };
    let beside = (shards - 1).min(cpus.len().saturating_sub(1));
    let (cpus, beside) = cpus.split_at(cpus.len() - beside);
    let thread = |name: &str, n: usize, stations: &[Station]| Thread {
        name: name.to_owned(),
        cpu: cpus.get(n).copied(),
        stations: stations.to_vec(),
    };
    let mut threads = match cpus.len() {
        // What is released goes to members first, then to the market: a packet of the feed is a system call of some
        // microseconds, which a member's answer need not wait for.
        0 | 1 => vec![thread("order-path", 0, &[Gateway, Feed, Sequencer, Journal, Shard(0), Release])],
        2 => vec![
            thread("gateway", 0, &[Release, Gateway, Feed]),
            thread("sequencer", 1, &[Sequencer, Journal, Shard(0)]),
        ],
        3 => vec![
            thread("gateway", 0, &[Gateway]),
            thread("sequencer", 1, &[Sequencer, Journal, Shard(0)]),
            thread("release", 2, &[Release, Feed]),
        ],
        4 => vec![
            thread("gateway", 0, &[Gateway]),
            thread("sequencer", 1, &[Sequencer, Journal]),
            thread("shard", 2, &[Shard(0)]),
            thread("release", 3, &[Release, Feed]),
        ],
        _ => vec![
            thread("gateway", 0, &[Gateway]),
            thread("sequencer", 1, &[Sequencer]),
            thread("shard", 2, &[Shard(0)]),
            thread("journal", 3, &[Journal]),
            thread("release", 4, &[Release, Feed]),
        ],
    };
    let first = threads.len();
    for shard in (1..shards).map(Shard) {
        let Shard(number) = shard else { unreachable!("these are shards") };
        match beside {
            // One CPU for all: a second thread there would only be in the way.
            [] if !cpus.is_empty() => threads[0].stations.push(shard),
            [] => threads.push(Thread { name: shard.to_string(), cpu: None, stations: vec![shard] }),
            _ if number <= beside.len() => {
                let cpu = Some(beside[number - 1]);
                threads.push(Thread { name: shard.to_string(), cpu, stations: vec![shard] });
            }
            _ => threads[first + (number - 1) % beside.len()].stations.push(shard),
        }
    }
    threads
}

/// What threads of the order path do when idle.
#[must_use]
pub fn idle(placement: &Placement) -> Idle {
    if placement.spin { Idle::Spin } else { Idle::Park { park: PARK } }
}

/// Puts the roles on their threads.
///
/// # Panics
/// When a station of `threads` has no role, or a role no station.
#[must_use]
pub fn place(threads: &[Thread], idle: Idle, roles: Vec<(Station, Box<dyn Role>)>) -> Vec<ThreadPlan> {
    let mut roles: Vec<_> = roles.into_iter().map(|(station, role)| (station, Some(role))).collect();
    let mut take = |station: &Station| -> Box<dyn Role> {
        let role = roles.iter_mut().find(|(of, _)| of == station).and_then(|(_, role)| role.take());
        role.unwrap_or_else(|| panic!("there is no role {station} that is not placed yet"))
    };
    let plan = |thread: &Thread| ThreadPlan {
        name: thread.name.clone(),
        cpu: thread.cpu,
        idle,
        roles: thread.stations.iter().map(&mut take).collect(),
        metrics: None,
    };
    let plans = threads.iter().map(plan).collect();
    let left: Vec<_> = roles.iter().filter(|(_, role)| role.is_some()).map(|(station, _)| station).collect();
    assert!(left.is_empty(), "{left:?} are on no thread");
    plans
}

/// A ring between two roles.
#[derive(Clone, Copy, Debug)]
pub struct Ring {
    /// Producer and consumer.
    pub name: &'static str,
    /// Its slots.
    pub depth: usize,
    /// What a slot holds.
    pub carries: &'static str,
}

/// What gateways read: several full frames.
pub const GATEWAY_SEQUENCER: Ring = Ring { name: "gateway_sequencer", depth: 4_096, carries: "commands" };
/// What operators ask for: one at a time.
pub const ADMIN_SEQUENCER: Ring = Ring { name: "admin_sequencer", depth: 16, carries: "commands" };
/// What the watch over the disk's space asks for.
pub const SPACE_SEQUENCER: Ring = Ring { name: "space_sequencer", depth: 4, carries: "commands" };
/// Frames for the disk.
pub const SEQUENCER_JOURNAL: Ring = Ring { name: "sequencer_journal", depth: 64, carries: "frames" };
/// Frames to execute.
pub const SEQUENCER_SHARD: Ring = Ring { name: "sequencer_shard", depth: 64, carries: "frames" };
/// Every ask of an ordinary frame, and the word that it is executed.
pub const SHARD_SEQUENCER: Ring = Ring { name: "shard_sequencer", depth: 2_048, carries: "asks" };
/// Events by frame; as many go back empty.
pub const SHARD_RELEASE: Ring = Ring { name: "shard_release", depth: 16, carries: "batches of events" };
/// To the members: what several full frames say.
pub const RELEASE_GATEWAY: Ring = Ring { name: "release_gateway", depth: 16_384, carries: "events" };
/// To the market.
pub const RELEASE_FEED: Ring = Ring { name: "release_feed", depth: 16_384, carries: "events" };
/// To the node's twin, which is never waited for.
pub const RELEASE_SHADOW: Ring = Ring { name: "release_shadow", depth: 65_536, carries: "commands" };
/// Work for a shard beside the first, and what it has done.
pub const LEAD_SHARD: Ring = Ring { name: "shard_shard", depth: shards::JOBS, carries: "jobs" };
/// The exchange: a mail each way between any two shards, twice a superstep.
pub const EXCHANGE: Ring = Ring { name: "exchange", depth: exchange::DEPTH, carries: "mail of shards" };

/// Every ring, with how many there are of it.
#[must_use]
pub fn rings(shards: usize) -> Vec<(Ring, usize)> {
    vec![
        (GATEWAY_SEQUENCER, 1),
        (ADMIN_SEQUENCER, 1),
        (SPACE_SEQUENCER, 1),
        (SEQUENCER_JOURNAL, 1),
        (SEQUENCER_SHARD, 1),
        (SHARD_SEQUENCER, 1),
        (SHARD_RELEASE, 2),
        (RELEASE_GATEWAY, 1),
        (RELEASE_FEED, 1),
        (RELEASE_SHADOW, 1),
        (LEAD_SHARD, 2 * (shards - 1)),
        (EXCHANGE, shards * (shards - 1)),
    ]
}

/// The CPUs that this process may use.
#[must_use]
pub fn allowed() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect()
}

/// The threads beside the order path's.
#[must_use]
pub fn background(placement: &Placement) -> [String; 2] {
    [
        format!("service{}: shadow ITCH GLIMPSE admin", on_cpu(placement.service_cpu)),
        "segments: journal segments, session and feed log segments".to_owned(),
    ]
}

/// `ironbell topology`.
///
/// # Errors
/// When the configuration cannot be read.
pub fn show(path: &Path) -> Result<(), Failure> {
    let config = Config::read(path)?;
    inspect::print(&table(&config, &allowed()))
}

/// Threads, CPUs and roles; rings and their depths.
#[must_use]
pub fn table(config: &Config, allowed: &[usize]) -> String {
    let (placement, shards) = (&config.placement, config.shards.count);
    let waits = match idle(placement) {
        Idle::Spin => "spins".to_owned(),
        Idle::Park { park } => {
            format!("yields, then rests, {} µs at a time when long idle", park.as_micros() * 10)
        }
    };
    let mut rows = vec![["thread", "CPU", "roles", "when idle"].map(str::to_owned).to_vec()];
    for thread in threads(placement, allowed, shards) {
        let cpu = thread.cpu.map_or_else(|| "any".to_owned(), |cpu| cpu.to_string());
        let roles = thread.stations.iter().map(Station::to_string).collect::<Vec<_>>().join(" ");
        rows.push(vec![thread.name, cpu, roles, waits.clone()]);
    }
    for thread in background(placement) {
        let (name, roles) = thread.split_once(": ").expect("a name and what it does");
        let name = name.split(' ').next().unwrap_or(name);
        let cpu = placement.service_cpu.filter(|_| name == "service");
        let cpu = cpu.map_or_else(|| "any".to_owned(), |cpu| cpu.to_string());
        rows.push(vec![name.to_owned(), cpu, roles.to_owned(), "sleeps".to_owned()]);
    }
    let threads = inspection::table(&rows, &[false; 4]);
    let mut rows = vec![["ring", "rings", "slots each", "of"].map(str::to_owned).to_vec()];
    for (ring, count) in rings(shards).into_iter().filter(|(_, count)| *count > 0) {
        rows.push(vec![
            ring.name.to_owned(),
            count.to_string(),
            ring.depth.to_string(),
            ring.carries.to_owned(),
        ]);
    }
    format!("{threads}\n{}", inspection::table(&rows, &[false, true, true, false]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbell_types::Nanos;

    struct Named;
    impl Role for Named {
        fn name(&self) -> &str {
            "named"
        }
        fn poll(&mut self, _: Nanos) -> usize {
            0
        }
    }

    fn placed(named: Vec<usize>, machine: usize, shards: usize) -> Vec<String> {
        let placement = Placement { cpus: named, ..Placement::default() };
        let threads = threads(&placement, &(0..machine).collect::<Vec<_>>(), shards);
        threads.iter().map(Thread::to_string).collect()
    }

    #[test]
    fn two_cores_share_a_thread_and_every_role_is_placed_once() {
        assert_eq!(placed(vec![], 2, 1), ["order-path: gateway feed sequencer journal shard release"]);
        assert_eq!(
            placed(vec![], 3, 1),
            ["gateway on CPU 1: release gateway feed", "sequencer on CPU 2: sequencer journal shard"]
        );
        assert_eq!(placed(vec![], 16, 1).len(), 5);
        let one = ["order-path on CPU 7: gateway feed sequencer journal shard release"];
        assert_eq!(placed(vec![7], 16, 1), one);
        for (named, shards) in (0..12).flat_map(|named| (1..=8).map(move |shards| (named, shards))) {
            let placement = Placement { cpus: (10..10 + named).collect(), ..Placement::default() };
            let threads = threads(&placement, &(0..16).collect::<Vec<_>>(), shards);
            let roles =
                [Gateway, Sequencer, Journal, Release, Feed].into_iter().chain((0..shards).map(Shard));
            let roles = roles.map(|station| -> (_, Box<dyn Role>) { (station, Box::new(Named)) });
            let plans = place(&threads, Idle::Spin, roles.collect());
            assert_eq!(plans.iter().map(|plan| plan.roles.len()).sum::<usize>(), 5 + shards);
            assert!(plans.iter().all(|plan| plan.name.len() <= 15));
            let mut cpus: Vec<_> = threads.iter().filter_map(|thread| thread.cpu).collect();
            let pinned = cpus.len();
            cpus.dedup();
            assert_eq!(cpus.len(), pinned, "two threads on one CPU: {threads:?}");
        }
    }

    #[test]
    fn shards_beside_the_first_have_the_last_cpus_and_go_round_when_they_are_few() {
        assert_eq!(
            placed(vec![], 2, 3),
            [
                "order-path: gateway feed sequencer journal shard release",
                "shard-1: shard-1",
                "shard-2: shard-2"
            ]
        );
        assert_eq!(
            placed(vec![4, 5, 6], 8, 4),
            [
                "order-path on CPU 4: gateway feed sequencer journal shard release",
                "shard-1 on CPU 5: shard-1 shard-3",
                "shard-2 on CPU 6: shard-2"
            ]
        );
        assert_eq!(
            placed(vec![4], 8, 2),
            ["order-path on CPU 4: gateway feed sequencer journal shard release shard-1"]
        );
        let sixteen = placed(vec![], 16, 4);
        assert_eq!(
            sixteen[5..],
            ["shard-1 on CPU 6: shard-1", "shard-2 on CPU 7: shard-2", "shard-3 on CPU 8: shard-3"]
        );
    }

    #[test]
    fn the_table_names_every_thread_and_ring() {
        let mut config = Config::default();
        config.shards.count = 3;
        let table = table(&config, &[0, 1]);
        for part in ["order-path", "shard-2", "service", "segments", "release_shadow", "65536"] {
            assert!(table.contains(part), "{part} in\n{table}");
        }
        let exchange = table.lines().find(|line| line.starts_with("exchange")).expect("a line of it");
        assert_eq!(exchange.split_whitespace().take(3).collect::<Vec<_>>(), ["exchange", "6", "2"]);
    }
}
