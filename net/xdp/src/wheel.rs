//! The times of many connections: each has at most one, and setting, changing and meeting it costs the same
//! however many there are.
//!
//! A wheel of [`BUCKETS`] lists, one for each tick; a time further off than one turn waits in its list until
//! its turn has come (Varghese and Lauck, Hashed and hierarchical timing wheels, 1987, scheme 6).

use ironbell_device::Nanos;

/// Nanoseconds of a tick: how late a time may be met.
pub const TICK: u64 = 100_000;
/// Lists of the wheel; one turn is 0.4 s.
const BUCKETS: usize = 4_096;
const NONE: u32 = u32::MAX;

/// Times of `count` things, which are numbers.
#[derive(Debug)]
pub struct Wheel {
    /// The first of each list.
    heads: Box<[u32]>,
    nodes: Box<[Node]>,
    /// The newest tick whose list was gone through.
    tick: u64,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    next: u32,
    previous: u32,
    /// The tick at which it is due; `u64::MAX`: never, and then it is in no list.
    due: u64,
}

impl Wheel {
    /// A wheel for the numbers 0 to `count` - 1, none of which has a time.
    #[must_use]
    pub fn new(count: usize) -> Self {
        let node = Node { next: NONE, previous: NONE, due: u64::MAX };
        Self { heads: vec![NONE; BUCKETS].into(), nodes: vec![node; count].into(), tick: 0 }
    }

    /// The time of `id` is `at` from here on; `None`: it has none. A time that has passed is met at the next
    /// tick.
    pub fn set(&mut self, id: u32, at: Option<Nanos>) {
        let due = at.map_or(u64::MAX, |at| at.0.div_ceil(TICK).max(self.tick + 1));
        if self.nodes[id as usize].due == due {
            return;
        }
        self.take_out(id);
        if due < u64::MAX {
            let head = &mut self.heads[bucket(due)];
            let next = std::mem::replace(head, id);
            if next != NONE {
                self.nodes[next as usize].previous = id;
            }
            self.nodes[id as usize] = Node { next, previous: NONE, due };
        }
    }

    fn take_out(&mut self, id: u32) {
        let Node { next, previous, due } = self.nodes[id as usize];
        if due == u64::MAX {
            return;
        }
        if next != NONE {
            self.nodes[next as usize].previous = previous;
        }
        if previous == NONE {
            self.heads[bucket(due)] = next;
        } else {
            self.nodes[previous as usize].next = next;
        }
        self.nodes[id as usize] = Node { next: NONE, previous: NONE, due: u64::MAX };
    }

    /// Calls `met` with everything whose time is `now` or before; it has no time any more then.
    pub fn advance(&mut self, now: Nanos, mut met: impl FnMut(u32)) {
        let newest = now.0 / TICK;
        if newest <= self.tick {
            return;
        }
        // After one turn every list has been gone through.
        let first = (self.tick + 1).max(newest.saturating_sub(BUCKETS as u64 - 1));
        self.tick = newest;
        for tick in first..=newest {
            let mut id = self.heads[bucket(tick)];
            while id != NONE {
                let Node { next, due, .. } = self.nodes[id as usize];
                if due <= newest {
                    self.take_out(id);
                    met(id);
                }
                id = next;
            }
        }
    }
}

fn bucket(tick: u64) -> usize {
    (tick % BUCKETS as u64) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::draws::draws;

    /// Against a sorted map, for random times near, far and past.
    #[test]
    fn times_are_met_as_a_sorted_list_meets_them() {
        const COUNT: u32 = 64;
        for seed in 0..20_u64 {
            let mut draw = draws(seed);
            let (mut wheel, mut naive) = (Wheel::new(COUNT as usize), BTreeMap::new());
            let mut now = 0;
            for _ in 0..5_000 {
                match draw(4) {
                    0 => {
                        let span = if draw(50) == 0 { 3_000_000_000 } else { 1_000_000 };
                        now += draw(span);
                        let mut met = Vec::new();
                        wheel.advance(Nanos(now), |id| met.push(id));
                        met.sort_unstable();
                        let tick = now / TICK;
                        let due: Vec<u32> =
                            naive.iter().filter(|(_, due)| **due <= tick).map(|(id, _)| *id).collect();
                        naive.retain(|_, due| *due > tick);
                        assert_eq!(met, due, "seed {seed}, at {now}");
                    }
                    1 if draw(3) == 0 => {
                        let id = draw(u64::from(COUNT)) as u32;
                        wheel.set(id, None);
                        naive.remove(&id);
                    }
                    _ => {
                        let id = draw(u64::from(COUNT)) as u32;
                        let range = [100_000, 5_000_000, 2_000_000_000][draw(3) as usize];
                        let at = (now + draw(range)).saturating_sub(50_000);
                        wheel.set(id, Some(Nanos(at)));
                        naive.insert(id, at.div_ceil(TICK).max(now / TICK + 1));
                    }
                }
            }
        }
    }
}
