//! A stand-in for the link between the nodes: one connection at a time, messages in order; but now and then one is lost,
//! comes twice or overtakes, which no TCP would do, and either direction may be cut.

use std::collections::VecDeque;

use ironbell_replica::NodeId;
use ironbell_tests::rng::Rng;

/// The network between the two nodes.
#[derive(Debug, Default)]
pub struct Net {
    /// The number of the newest connection.
    newest: u64,
    up: bool,
    /// By receiver: when it is there, and what.
    queues: [VecDeque<(u64, Vec<u8>)>; 2],
    /// Whether anything reaches node 1, and node 2.
    pub cut: [bool; 2],
    /// How likely it is that a message is lost, comes twice or overtakes, of 10,000.
    pub trouble: u64,
}

fn index(node: NodeId) -> usize {
    usize::from(node.number() - 1)
}

impl Net {
    /// The connection that `node` sees, if it sees one: what was on its way when the other end was closed still comes.
    #[must_use]
    pub fn connection(&self, node: NodeId) -> Option<u64> {
        (self.up || !self.queues[index(node)].is_empty()).then_some(self.newest)
    }

    /// Node 2 calls node 1.
    pub fn dial(&mut self) {
        if !self.up && self.cut == [false; 2] {
            self.newest += 1;
            self.up = true;
            self.queues.iter_mut().for_each(VecDeque::clear);
        }
    }

    /// `node` ends this connection.
    pub fn close(&mut self, connection: u64, node: NodeId) {
        if connection == self.newest {
            self.up = false;
            self.queues[index(node)].clear();
        }
    }

    /// Puts a message on its way to `to`.
    pub fn send(&mut self, connection: u64, to: NodeId, message: Vec<u8>, now: u64, rng: &mut Rng) {
        if !self.up || connection != self.newest {
            return;
        }
        let at = now + rng.between(100_000, 1_000_000);
        let queue = &mut self.queues[index(to)];
        let luck = rng.below(10_000);
        if luck < self.trouble {
            return;
        }
        if luck < 2 * self.trouble {
            queue.push_back((at, message.clone()));
        }
        if luck < 3 * self.trouble && !queue.is_empty() {
            let before = queue.len() - 1;
            queue.insert(before, (at, message));
        } else {
            queue.push_back((at, message));
        }
    }

    /// The next message for `to`, if it has come.
    pub fn receive(&mut self, connection: u64, to: NodeId, now: u64) -> Option<Vec<u8>> {
        if connection != self.newest || self.cut[index(to)] {
            return None;
        }
        let queue = &mut self.queues[index(to)];
        queue.front().is_some_and(|(at, _)| *at <= now).then(|| queue.pop_front().expect("there is one").1)
    }
}
