//! The topology table: which role runs on which thread, on which CPU, and what it does when idle.
//!
//! ```text
//!            gateway ─→ sequencer ─┬→ journal ─→ disk
//!               ↑                  └→ shard ──→ release ─┬→ gateway
//!               └────────────────────────────────────────┴→ feed          service · segments · login
//! ```

use std::time::Duration;

use ironbell_runtime::{Idle, Role, ThreadPlan};

use crate::config::Placement;

/// How long an idle thread on a shared CPU sleeps at a time.
const PARK: Duration = Duration::from_micros(50);

/// The roles of the order path, in the order they are polled when they share a thread: an order passes
/// all of them in one round.
pub struct OrderPath {
    /// Reads members, answers members.
    pub gateway: Box<dyn Role>,
    /// Gives Seq and time.
    pub sequencer: Box<dyn Role>,
    /// Writes frames.
    pub journal: Box<dyn Role>,
    /// Executes frames.
    pub shard: Box<dyn Role>,
    /// Lets out what is committed.
    pub release: Box<dyn Role>,
    /// Tells the market.
    pub feed: Box<dyn Role>,
}

/// Threads that the order path is spread over at most.
const THREADS_MAX: usize = 5;

/// The CPUs of the order path when the configuration names none: of three CPUs or more all but the first,
/// which is left to interrupts, the service thread and everybody else; none of two or fewer, where the
/// roles share one thread that the scheduler places.
#[must_use]
pub fn cpus_of_its_own(allowed: &[usize]) -> Vec<usize> {
    if allowed.len() < 3 { Vec::new() } else { allowed.iter().copied().skip(1).take(THREADS_MAX).collect() }
}

impl OrderPath {
    /// Puts the roles on threads: on the CPUs that the configuration names, else on some of those that this
    /// process is `allowed`.
    #[must_use]
    pub fn place(self, placement: &Placement, allowed: &[usize]) -> Vec<ThreadPlan> {
        let idle = if placement.spin { Idle::Spin } else { Idle::Park { park: PARK } };
        let plan = |name: &str, cpu: Option<usize>, roles: Vec<Box<dyn Role>>| ThreadPlan {
            name: name.to_owned(),
            cpu,
            idle,
            roles,
        };
        let Self { gateway, sequencer, journal, shard, release, feed } = self;
        let cpus = if placement.cpus.is_empty() { cpus_of_its_own(allowed) } else { placement.cpus.clone() };
        let cpu = |n: usize| cpus.get(n).copied();
        match cpus.len() {
            0 | 1 => {
                vec![plan("order-path", cpu(0), vec![gateway, sequencer, journal, shard, release, feed])]
            }
            2 => vec![
                plan("gateway", cpu(0), vec![gateway, release, feed]),
                plan("sequencer", cpu(1), vec![sequencer, journal, shard]),
            ],
            3 => vec![
                plan("gateway", cpu(0), vec![gateway]),
                plan("sequencer", cpu(1), vec![sequencer, journal, shard]),
                plan("release", cpu(2), vec![release, feed]),
            ],
            4 => vec![
                plan("gateway", cpu(0), vec![gateway]),
                plan("sequencer", cpu(1), vec![sequencer, journal]),
                plan("shard", cpu(2), vec![shard]),
                plan("release", cpu(3), vec![release, feed]),
            ],
            _ => vec![
                plan("gateway", cpu(0), vec![gateway]),
                plan("sequencer", cpu(1), vec![sequencer]),
                plan("shard", cpu(2), vec![shard]),
                plan("journal", cpu(3), vec![journal]),
                plan("release", cpu(4), vec![release, feed]),
            ],
        }
    }
}

/// A line of the table: the thread, its CPU, its roles.
#[must_use]
pub fn describe(plan: &ThreadPlan) -> String {
    let roles: Vec<_> = plan.roles.iter().map(|role| role.name()).collect();
    let cpu = plan.cpu.map_or_else(String::new, |cpu| format!(" on CPU {cpu}"));
    format!("{}{cpu}: {}", plan.name, roles.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbell_types::Nanos;

    struct Named(&'static str);
    impl Role for Named {
        fn name(&self) -> &'static str {
            self.0
        }
        fn poll(&mut self, _: Nanos) -> usize {
            0
        }
    }

    fn table(named: Vec<usize>, machine: usize) -> Vec<String> {
        let role = |name| -> Box<dyn Role> { Box::new(Named(name)) };
        let path = OrderPath {
            gateway: role("gateway"),
            sequencer: role("sequencer"),
            journal: role("journal"),
            shard: role("shard"),
            release: role("release"),
            feed: role("feed"),
        };
        let plans =
            path.place(&Placement { cpus: named, ..Placement::default() }, &(0..machine).collect::<Vec<_>>());
        plans.iter().map(describe).collect()
    }

    #[test]
    fn two_cores_share_a_thread_and_every_role_is_placed_once() {
        assert_eq!(table(vec![], 2), ["order-path: gateway sequencer journal shard release feed"]);
        assert_eq!(
            table(vec![], 3),
            ["gateway on CPU 1: gateway release feed", "sequencer on CPU 2: sequencer journal shard"]
        );
        assert_eq!(table(vec![], 16).len(), 5);
        assert_eq!(table(vec![7], 16), ["order-path on CPU 7: gateway sequencer journal shard release feed"]);
        for named in 0..8 {
            let lines = table((10..10 + named).collect(), 16);
            let all: Vec<_> =
                lines.iter().filter_map(|line| line.split_once(": ")).map(|(_, roles)| roles).collect();
            let all = all.join(" ");
            for role in ["gateway", "sequencer", "journal", "shard", "release", "feed"] {
                let roles = all.split_whitespace().filter(|word| *word == role).count();
                assert_eq!(roles, 1, "{role} in {all}");
            }
        }
    }
}
