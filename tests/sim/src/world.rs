//! What happens to the two nodes, and what must never happen.
//!
//! For some seconds everything goes wrong that can: kills, power cuts, pauses, cables cut in one direction, a register that
//! is away, orders of operators at bad moments. Then everything is mended, and the pair must come back by itself. All the
//! time:
//!
//! - **one history**: what was once released at a Seq is what everybody releases there, and what every node that becomes
//!   primary holds; what a member was told is the beginning of what any node that lets it in would tell it;
//! - **one primary**: once one has opened in an epoch, nobody releases or lets a member in at an older one;
//! - **once**: every order has one answer, in the order they were sent;
//! - **one state**: output hashes are equal at equal Seq (both ends of the link compare them), and the ledger sums to zero.

use ironbell_replica::control::{AfterTakeover, Alarm, Config, Order, SoloPolicy, Standing};
use ironbell_replica::{AckPolicy, InSync, Input, NodeId};
use ironbell_store::sim::{End, Fault};
use ironbell_tests::rng::Rng;
use ironbell_types::{Nanos, Seq, Sequenced};

use crate::etcd::Etcd;
use crate::members::{MEMBERS, Member};
use crate::net::Net;
use crate::node::{Node, Said};

const MS: u64 = 1_000_000;

/// What a run is to be.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Everything else follows from it.
    pub seed: u64,
    /// How long things go wrong, in milliseconds.
    pub chaos_ms: u64,
    /// How long everything may take to come back.
    pub healing_ms: u64,
}

/// What was seen in a run; to see that runs reach what they are to test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Openings of a primary.
    pub opened: u64,
    /// Values of the register.
    pub epochs: u64,
    /// Commands released.
    pub released: u64,
    /// Lives that ended: killed, cut, or begun again.
    pub lives: u64,
    /// Things members were told.
    pub told: u64,
}

/// The world.
#[derive(Debug)]
pub struct World {
    rng: Rng,
    now: u64,
    nodes: [Node; 2],
    net: Net,
    etcd: Etcd,
    /// What the register answered each node's lives, and is not read yet.
    answers: [Vec<(u64, Input)>; 2],
    members: Vec<Member>,
    /// When a node is polled again: it is paused, or down and begins a life then.
    back_at: [u64; 2],
    down: [bool; 2],
    /// When what was cut is mended: the link to each node, and the register for each.
    mended_at: [u64; 4],
    chaos: bool,
    /// Every command whose outcome was released by anybody.
    truth: Vec<Sequenced>,
    /// How far each node's current life was held against it.
    checked: [(u64, usize); 2],
    /// The highest epoch in which members were let in.
    opened: u64,
    starts_failed: [u32; 2],
    seen: Seen,
}

/// Runs a plan to its end.
///
/// # Panics
/// When something happened that must not.
#[must_use]
pub fn run(plan: Plan) -> Seen {
    let mut world = World::new(plan.seed);
    let chaos_end = plan.chaos_ms * MS;
    while world.now < chaos_end {
        world.step();
    }
    world.heal();
    let healing_end = world.now + plan.healing_ms * MS;
    while !world.is_whole() {
        assert!(world.now < healing_end, "the pair does not come back: {}", world.picture());
        world.step();
    }
    world.check_end();
    world.seen
}

impl World {
    /// A world in which two nodes are about to be started for the first time.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let ack = rng.pick(&[AckPolicy::BothDurable, AckPolicy::BothDurable, AckPolicy::DurableReceived]);
        let after_takeover = if rng.one_in(4) { AfterTakeover::Wait } else { AfterTakeover::Alone };
        let solo = if rng.one_in(3) { SoloPolicy::After(Nanos(250 * MS)) } else { SoloPolicy::ByHand };
        let silence_is_enough = rng.one_in(2);
        let rejoins_by_itself = !rng.one_in(5);
        let config = |node| Config {
            node,
            ack,
            after_takeover,
            solo,
            rejoins_by_itself,
            silence_is_enough,
            grace: Nanos(60 * MS),
            permission: Nanos(80 * MS),
            drift_ppm: 50_000,
            read_every: Nanos(50 * MS),
            retry: Nanos(15 * MS),
            handover: Nanos(300 * MS),
        };
        let mut boot = || (rng.below(1 << 40), rng.below(100_001) as i64 - 50_000);
        let boots = [boot(), boot()];
        let nodes = [
            Node::new(config(NodeId::ONE), seed ^ 0x1111, boots[0]),
            Node::new(config(NodeId::TWO), seed ^ 0x2222, boots[1]),
        ];
        let (mut net, mut etcd) = (Net::default(), Etcd::new());
        net.trouble = rng.pick(&[0, 0, 5, 50]);
        etcd.trouble = rng.pick(&[0, 2, 10]);
        Self {
            rng,
            now: 0,
            nodes,
            net,
            etcd,
            answers: Default::default(),
            members: (0..MEMBERS).map(Member::new).collect(),
            back_at: [0; 2],
            down: [true; 2],
            mended_at: [0; 4],
            chaos: true,
            truth: Vec::new(),
            checked: [(0, 0); 2],
            opened: 0,
            starts_failed: [0; 2],
            seen: Seen::default(),
        }
    }

    /// Time goes on a little.
    pub fn step(&mut self) {
        self.now += self.rng.between(300_000, 1_700_000);
        if self.chaos {
            self.go_wrong();
        }
        self.mend();
        self.operate();
        for (node, life, input) in self.etcd.step(self.now, &mut self.rng) {
            self.answers[usize::from(node.number() - 1)].push((life, input));
        }
        let first = self.rng.below(2) as usize;
        for nth in [first, 1 - first] {
            self.poll(nth);
        }
        for nth in 0..MEMBERS {
            self.member(nth);
        }
    }

    fn poll(&mut self, nth: usize) {
        if self.now < self.back_at[nth] {
            return;
        }
        if self.down[nth] {
            self.down[nth] = false;
            match self.nodes[nth].start(self.now) {
                Ok(()) => self.starts_failed[nth] = 0,
                Err(error) => {
                    // The disk may have been told to end just then; a journal that is not sound stays so.
                    self.starts_failed[nth] += 1;
                    assert!(self.starts_failed[nth] < 4, "node {}: {error}", nth + 1);
                    return self.kill(nth, End::Process, 5 * MS);
                }
            }
        }
        // A process that stood still reads them when it goes on.
        for (life, input) in self.answers[nth].drain(..) {
            self.nodes[nth].answer(life, input, self.now);
        }
        let said = self.nodes[nth].poll(self.now, &mut self.net, &mut self.etcd, &mut self.rng);
        for said in said {
            self.heed(nth, said);
        }
        if let Some(epoch) = self.served(nth) {
            assert!(epoch >= self.opened, "node {} serves at epoch {epoch}, after {}", nth + 1, self.opened);
            self.opened = epoch;
        }
        if self.nodes[nth].life.is_none() && !self.down[nth] {
            let end = self.rng.pick(&[End::Process, End::Power]);
            let delay = self.rng.between(5, 200) * MS;
            self.kill(nth, end, delay);
        }
    }

    fn kill(&mut self, nth: usize, end: End, delay: u64) {
        let node = &mut self.nodes[nth];
        node.life = None;
        node.disk.plan_nothing();
        node.disk = node.disk.restart(end);
        let id = node.config.node;
        if let Some(connection) = self.net.connection(id) {
            self.net.close(connection, id);
        }
        self.down[nth] = true;
        self.back_at[nth] = self.now + delay;
        self.seen.lives += 1;
    }

    // What goes wrong.

    fn go_wrong(&mut self) {
        if !self.rng.one_in(120) {
            return;
        }
        let nth = self.rng.below(2) as usize;
        let long = self.rng.pick(&[20, 60, 120, 400, 900]);
        let until = self.now + self.rng.between(1, long) * MS;
        match self.rng.below(12) {
            0 | 1 => {
                let end = self.rng.pick(&[End::Process, End::Power]);
                if self.nodes[nth].life.is_some() {
                    self.kill(nth, end, until - self.now);
                }
            }
            2 => {
                // In the midst of one of the next operations of its disk.
                let next = self.nodes[nth].disk.history().len() + self.rng.between(1, 30) as usize;
                self.nodes[nth].disk.plan(next, Fault::Cut);
            }
            3 | 4 => self.back_at[nth] = self.back_at[nth].max(until),
            5 | 6 => {
                self.net.cut[nth] = true;
                self.mended_at[nth] = until;
            }
            7 => {
                self.net.cut = [true; 2];
                self.mended_at[0] = until;
                self.mended_at[1] = until;
            }
            8 => {
                self.etcd.reachable[nth] = false;
                self.mended_at[2 + nth] = until;
            }
            9 => {
                let id = self.nodes[nth].config.node;
                if let Some(connection) = self.net.connection(id) {
                    self.net.close(connection, id);
                }
            }
            10 => self.nodes[nth].wall = self.rng.below(2_000 * MS),
            _ => self.order_something(nth),
        }
    }

    fn order_something(&mut self, nth: usize) {
        let (reason, approver) = ("why not".to_owned(), "chaos".to_owned());
        let order = match self.rng.below(6) {
            0 | 1 => Order::Switchover { reason, approver },
            2 => Order::Promote { reason, approver },
            3 => Order::Solo { reason, approver },
            4 => Order::Rejoin,
            _ => Order::Demote,
        };
        self.nodes[nth].order(order, self.now);
    }

    fn mend(&mut self) {
        for nth in 0..2 {
            if self.now >= self.mended_at[nth] {
                self.net.cut[nth] = false;
            }
            if self.now >= self.mended_at[2 + nth] {
                self.etcd.reachable[nth] = true;
            }
        }
    }

    /// What any operator would do in time.
    fn operate(&mut self) {
        if !self.rng.one_in(if self.chaos { 400 } else { 40 }) {
            return;
        }
        let register = self.etcd.register();
        if register.is_none() {
            let approver = "the SRE".into();
            return self.nodes[0].order(Order::Bootstrap { approver }, self.now);
        }
        for nth in 0..2 {
            self.nodes[nth].order(Order::Rejoin, self.now);
            let stands = register.as_ref().is_some_and(|r| r.primary == self.nodes[nth].config.node);
            if stands {
                let (reason, approver) = (String::new(), "the SRE".into());
                self.nodes[nth].order(Order::Promote { reason, approver }, self.now);
            }
        }
    }

    /// From here on nothing goes wrong.
    pub fn heal(&mut self) {
        self.chaos = false;
        self.net.trouble = 0;
        self.etcd.trouble = 0;
        self.mended_at = [0; 4];
        for nth in 0..2 {
            self.back_at[nth] = self.back_at[nth].min(self.now);
            self.nodes[nth].disk.plan_nothing();
        }
    }

    // The members.

    fn member(&mut self, nth: usize) {
        let member = &mut self.members[nth];
        if self.chaos {
            member.trade(&mut self.rng);
            if self.rng.one_in(2_000) {
                member.connected = None;
            }
        }
        if let Some((node, life)) = member.connected {
            let at = &self.nodes[usize::from(node.number() - 1)];
            if at.life.is_none() || at.lives != life {
                member.connected = None;
            }
        }
        if member.connected.is_none() && self.rng.one_in(5) {
            let at = self.rng.below(2) as usize;
            let Some(epoch) = self.served(at) else { return };
            assert!(epoch >= self.opened, "a member is let in at epoch {epoch}, after {}", self.opened);
            let node = &self.nodes[at];
            let life = node.life.as_ref().expect("it serves");
            let (told, stream) = (&self.members[nth].told, &life.streams[nth]);
            let begins = stream.get(..told.len()).is_some_and(|begin| begin == &told[..]);
            assert!(begins, "member {nth} was told {} things, and node {} knows others", told.len(), at + 1);
            self.members[nth].connect(node.config.node, node.lives);
        }
        let Some((node, _)) = self.members[nth].connected else { return };
        let at = usize::from(node.number() - 1);
        if self.served(at).is_none() {
            return;
        }
        let life = self.nodes[at].life.as_ref().expect("it serves");
        for event in &life.streams[nth][self.members[nth].told.len()..] {
            self.members[nth].hear(*event);
            self.seen.told += 1;
        }
        while let Some(command) = self.members[nth].send() {
            self.nodes[at].receive(command);
        }
    }

    /// The epoch in which a node lets members in now; a node that stands still lets nobody in.
    fn served(&self, nth: usize) -> Option<u64> {
        if self.now < self.back_at[nth] || self.down[nth] { None } else { self.nodes[nth].serves(self.now) }
    }

    // What must never be.

    fn heed(&mut self, nth: usize, said: Said) {
        let id = nth + 1;
        match said {
            Said::Alarm(
                alarm @ (Alarm::CutOfMember | Alarm::Diverged | Alarm::HistoryMissing | Alarm::Halted),
            ) => {
                panic!("node {id}: {alarm:?}")
            }
            Said::Alarm(_) => {}
            // It lets nobody in before it may: `poll` looks at that.
            Said::Opened(_) => self.seen.opened += 1,
            Said::Leads(epoch) => {
                let Some(life) = &self.nodes[nth].life else { return };
                let holds =
                    life.commands.get(..self.truth.len()).is_some_and(|begin| begin == &self.truth[..]);
                assert!(
                    holds,
                    "node {id} leads in epoch {epoch} with {} commands, and {} were released",
                    life.commands.len(),
                    self.truth.len()
                );
                assert!(life.ledger_is_balanced(), "node {id}: the ledger");
                self.checked[nth] = (self.nodes[nth].lives, self.truth.len());
            }
            Said::Released(epoch, Seq(seq)) => {
                assert!(epoch >= self.opened, "node {id} releases at epoch {epoch}, after {}", self.opened);
                let Some(life) = &self.nodes[nth].life else { return };
                assert!(self.checked[nth].0 == self.nodes[nth].lives, "node {id} releases and never led");
                let (from, to) = (self.checked[nth].1, seq as usize);
                if to <= from {
                    return;
                }
                for (nth, command) in life.commands[from..to].iter().enumerate() {
                    match self.truth.get(from + nth) {
                        Some(known) => {
                            assert!(
                                known == command,
                                "node {id} releases another command {}",
                                from + nth + 1
                            );
                        }
                        None => self.truth.push(*command),
                    }
                }
                self.checked[nth].1 = to;
            }
        }
    }

    /// Both nodes are there and hold the same, and every member has its answers.
    fn is_whole(&self) -> bool {
        let [Some(one), Some(two)] = self.nodes.each_ref().map(|node| node.life.as_ref()) else {
            return false;
        };
        let is_pair = self.etcd.register().is_some_and(|register| register.in_sync == InSync::Both);
        let ends = [one.ends(), two.ends()];
        let answered =
            self.members.iter().all(|member| member.unanswered.is_empty() && member.connected.is_some());
        let leads = [one, two].map(|life| life.standing() == Standing::Primary);
        is_pair && answered && leads[0] != leads[1] && ends[0] == ends[1] && ends[0].0 == ends[0].1
    }

    fn check_end(&mut self) {
        for (nth, node) in self.nodes.iter().enumerate() {
            let life = node.life.as_ref().expect("the world is whole");
            assert!(life.commands == self.truth, "node {} has executed something else", nth + 1);
            assert!(life.ledger_is_balanced(), "node {}: the ledger", nth + 1);
            for (member, stream) in self.members.iter().zip(&life.streams) {
                assert!(&member.told == stream, "a member was told something else");
            }
            assert_eq!(node.disk.retried(), Vec::<String>::new(), "a failed write was tried again");
        }
        self.seen.epochs = self.etcd.register().map_or(0, |register| register.epoch);
        self.seen.released = self.truth.len() as u64;
    }

    /// What the nodes are doing, for a failure.
    #[must_use]
    pub fn picture(&self) -> String {
        let mut picture = format!("at {} ms, register {:?}", self.now / MS, self.etcd.register());
        for node in &self.nodes {
            match &node.life {
                None => picture += "\n  down",
                Some(life) => {
                    picture += &format!("\n  {:?} {:?} {:?}", life.status(), life.ends(), life.lead);
                }
            }
        }
        for member in &self.members {
            let (unanswered, connected) = (member.unanswered.len(), member.connected);
            picture += &format!("\n  member: {unanswered} unanswered, {connected:?}");
        }
        picture
    }
}
