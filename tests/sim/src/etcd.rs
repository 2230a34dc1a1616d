//! A stand-in for the consensus store: one key, and a lease for each node.
//!
//! Swaps are what etcd's are: atomic, and compared with the whole old value. Everything around them is as bad as it gets:
//! answers that are lost, swaps that are done long after their answer was given up, reads that are old, leases that end early,
//! late, or although their renewal was confirmed.

use std::collections::VecDeque;

use ironbell_replica::control::{Seen, Swapped};
use ironbell_replica::{Input, NodeId, Register};
use ironbell_tests::rng::Rng;

/// After this long without an answer the asking node gives up, in nanoseconds.
const DEADLINE: u64 = 60_000_000;

/// The key, the leases, and what was asked.
#[derive(Debug)]
pub struct Etcd {
    /// Every value there ever was, in text, as etcd has it.
    history: Vec<String>,
    /// Until when each node's lease lives.
    leases: [u64; 2],
    asked: VecDeque<Asked>,
    /// Whether each node can reach it.
    pub reachable: [bool; 2],
    /// How likely it is that things go wrong, in percent.
    pub trouble: u64,
}

#[derive(Debug)]
struct Asked {
    node: NodeId,
    life: u64,
    what: Request,
    /// When it is done; never if it was lost.
    due: Option<u64>,
    /// When the answer is there, or was given up.
    answer_at: u64,
    answer: Option<Input>,
    answered: bool,
}

#[derive(Debug)]
enum Request {
    Read,
    Swap(Box<(Option<Register>, Register)>),
}

fn index(node: NodeId) -> usize {
    usize::from(node.number() - 1)
}

impl Etcd {
    /// Without the key.
    #[must_use]
    pub fn new() -> Self {
        Self { history: Vec::new(), leases: [0; 2], asked: VecDeque::new(), reachable: [true; 2], trouble: 0 }
    }

    /// The value of the key.
    #[must_use]
    pub fn register(&self) -> Option<Register> {
        self.history.last().map(|text| Register::from_text(text).expect("only registers are put there"))
    }

    fn ask(&mut self, node: NodeId, life: u64, what: Request, now: u64, rng: &mut Rng) {
        let trouble = self.trouble;
        let bad = |rng: &mut Rng| rng.below(100) < trouble;
        let lost = !self.reachable[index(node)] || bad(rng);
        let slow = if bad(rng) { 1_500_000_000 } else { 3_000_000 };
        let due = (!lost).then(|| now + rng.between(500_000, slow));
        let back = due.map(|due| due + rng.between(500_000, 2_000_000)).filter(|_| !bad(rng));
        let answer_at = back.unwrap_or(u64::MAX).min(now + DEADLINE);
        let answer = None;
        self.asked.push_back(Asked { node, life, what, due, answer_at, answer, answered: false });
    }

    /// A node reads.
    pub fn read(&mut self, node: NodeId, life: u64, now: u64, rng: &mut Rng) {
        self.ask(node, life, Request::Read, now, rng);
    }

    /// A node swaps: what it expects, and what is to be there.
    pub fn swap(
        &mut self,
        node: NodeId,
        life: u64,
        swap: (Option<Register>, Register),
        now: u64,
        rng: &mut Rng,
    ) {
        self.ask(node, life, Request::Swap(Box::new(swap)), now, rng);
    }

    /// A node renews its lease, as it does all the time while it holds it.
    pub fn renew(&mut self, node: NodeId, ttl: u64, now: u64, rng: &mut Rng) {
        if !self.reachable[index(node)] || rng.below(1000) < self.trouble {
            return;
        }
        // It may end early, and etcd's own trouble may keep it alive for long.
        let ttl = if rng.below(1000) < self.trouble { rng.below(4 * ttl) } else { ttl };
        self.leases[index(node)] = now + ttl;
    }

    /// A node gives its lease back.
    pub fn drop_lease(&mut self, node: NodeId) {
        if self.reachable[index(node)] {
            self.leases[index(node)] = 0;
        }
    }

    /// Does what is due; the answers that have come: for whom, in which life, what.
    pub fn step(&mut self, now: u64, rng: &mut Rng) -> Vec<(NodeId, u64, Input)> {
        for nth in 0..self.asked.len() {
            if self.asked[nth].due.is_some_and(|due| due <= now) {
                self.asked[nth].due = None;
                let stale = rng.below(100) < self.trouble;
                let answer = self.done(nth, now, stale, rng);
                self.asked[nth].answer = Some(answer);
            }
        }
        let mut answers = Vec::new();
        for asked in self.asked.iter_mut().filter(|asked| !asked.answered && asked.answer_at <= now) {
            asked.answered = true;
            let given_up = match asked.what {
                Request::Read => Input::Read(None),
                Request::Swap(_) => Input::Swapped(Swapped::Unknown),
            };
            let reachable = self.reachable[index(asked.node)];
            let answer = asked.answer.take().filter(|_| reachable);
            answers.push((asked.node, asked.life, answer.unwrap_or(given_up)));
        }
        self.asked.retain(|asked| !asked.answered || asked.due.is_some());
        answers
    }

    fn done(&mut self, nth: usize, now: u64, stale: bool, rng: &mut Rng) -> Input {
        let asked = &self.asked[nth];
        match &asked.what {
            Request::Read => {
                let back = if stale { rng.below(3) as usize } else { 0 };
                let text = self.history.len().checked_sub(1 + back).map(|at| &self.history[at]);
                let register = text.map(|text| Register::from_text(text).expect("it was put there"));
                let lease = self.leases[index(asked.node.other())];
                Input::Read(Some(Seen { register, peer_lease: lease > now }))
            }
            Request::Swap(swap) => {
                let (expect, to) = &**swap;
                let current = self.history.last();
                if current.cloned() == expect.as_ref().map(Register::to_text) {
                    self.history.push(to.to_text());
                    return Input::Swapped(Swapped::Done);
                }
                Input::Swapped(Swapped::Refused(self.register()))
            }
        }
    }
}

impl Default for Etcd {
    fn default() -> Self {
        Self::new()
    }
}
