//! The release gate: **nothing is heard before it is safe.**
//!
//! Events wait here until their Seq is committed; then each goes to every role that tells somebody.
//! Commit is min(durable, replicated) under the node's ack policy; with a single node, durable.

use ironbell_sync::{Consumer, CursorReader, CursorWriter, DueReader, Producer, ticks};
use ironbell_types::{Event, Nanos, Outbound, Seq, Sequenced};

use crate::clock::boot_time;
use crate::placement::Role;
use crate::shard::Batch;

/// The ends of rings and cursors that the release gate holds.
pub struct Connections {
    /// Batches of events.
    pub shard_release: Consumer<Box<Batch>>,
    /// Empty batches back.
    pub release_shard: Producer<Box<Batch>>,
    /// To each role that tells somebody: gateways and feed. A full one makes the gate wait; those
    /// roles drain this ring before anything else.
    pub outputs: Vec<Producer<Outbound>>,
    /// To the shadow: committed commands. It is never waited for: what finds no room is left out, and
    /// the shadow reads it from the journal.
    pub release_shadow: Producer<ToShadow>,
    /// What is committed.
    pub commit: CursorReader,
    /// Of a primary with a standby: until when it may release, by [`boot_time`]; nothing due is no limit. Read again for
    /// every frame, so that a primary that stood still for a while finds that another may lead by now.
    pub permission: Option<DueReader>,
}

/// What the shadow is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToShadow {
    /// This command is committed.
    Command(Sequenced),
    /// At this Seq the shard's output hash was this: the shadow's must be the same.
    Check(Seq, u128),
}

/// What a released frame looked like, for metrics: all in ticks.
#[derive(Clone, Copy, Debug)]
pub struct Released {
    /// When a gateway had read the frame's first command; 0 when none did.
    pub received: u64,
    /// When the sequencer closed the frame.
    pub sequenced: u64,
    /// When risk and matching of its last superstep were done; zeros where it was not executed in supersteps.
    pub stages_done: [u64; 2],
    /// When the shard had executed it.
    pub executed: u64,
    /// When it was released.
    pub released: u64,
    /// Events released.
    pub events: usize,
}

/// The role.
pub struct Release<F> {
    connections: Connections,
    released_seq: CursorWriter,
    output_hash: (Seq, u128),
    batch: Option<Box<Batch>>,
    at: usize,
    output: usize,
    observe: F,
}

impl<F: FnMut(Released) + Send> Release<F> {
    /// A gate that has released everything up to where `released_seq` stands; `observe` hears of
    /// each released frame.
    #[must_use]
    pub fn new(connections: Connections, released_seq: CursorWriter, observe: F) -> Self {
        Self { connections, released_seq, output_hash: (Seq(0), 0), batch: None, at: 0, output: 0, observe }
    }

    /// The last Seq released in this run and the output hash there.
    #[must_use]
    pub fn output_hash(&self) -> (Seq, u128) {
        self.output_hash
    }

    /// Batches that wait to be released.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.connections.shard_release.slots()
    }

    /// What waits in the rings to those who tell somebody, in their order, and then in the shadow's.
    pub fn told(&self) -> impl Iterator<Item = usize> + '_ {
        let shadow = &self.connections.release_shadow;
        let fill = |capacity: usize, free: usize| capacity - free;
        let outputs = self.connections.outputs.iter();
        outputs
            .map(move |output| fill(output.buffer().capacity(), output.slots()))
            .chain([fill(shadow.buffer().capacity(), shadow.slots())])
    }

    fn take_committed(&mut self) -> bool {
        if self.batch.is_none() {
            self.batch = self.connections.shard_release.pop().ok();
            (self.at, self.output) = (0, 0);
            if let Some(batch) = &mut self.batch {
                batch.merge();
            }
        }
        let Some(batch) = &self.batch else { return false };
        let frame = batch.frame.as_ref().expect("a batch carries its frame");
        frame.last_seq().is_none_or(|last| last.0 <= self.connections.commit.get()) && self.is_permitted()
    }

    fn is_permitted(&self) -> bool {
        let until = self.connections.permission.as_ref().and_then(DueReader::get);
        until.is_none_or(|until| boot_time().0 < until)
    }

    /// Hands out what the rings have room for; true when the batch is done.
    fn hand_out(&mut self) -> bool {
        let batch = self.batch.as_ref().expect("a batch is being handed out");
        let frame = batch.frame.as_ref().expect("a batch carries its frame");
        let first = frame.commands.first().map_or(0, |command| command.seq.0);
        while let Some(event) = batch.events.get(self.at) {
            let received = received_of(event, first, &frame.received);
            while let Some(output) = self.connections.outputs.get_mut(self.output) {
                if output.push(Outbound { received, event: *event }).is_err() {
                    return false;
                }
                self.output += 1;
            }
            (self.at, self.output) = (self.at + 1, 0);
        }
        true
    }

    fn tell_shadow(&mut self, commands: &[Sequenced], output_hash: u128) {
        let Some(last) = commands.last() else { return };
        let messages =
            commands.iter().map(|c| ToShadow::Command(*c)).chain([ToShadow::Check(last.seq, output_hash)]);
        for message in messages {
            if self.connections.release_shadow.push(message).is_err() {
                return;
            }
        }
    }

    fn finish(&mut self) -> usize {
        let mut batch = self.batch.take().expect("a batch was handed out");
        let frame = batch.frame.take().expect("a batch carries its frame");
        self.tell_shadow(&frame.commands, batch.output_hash);
        (self.observe)(Released {
            received: frame.received.first().copied().unwrap_or(0),
            sequenced: frame.sequenced,
            stages_done: batch.stages_done,
            executed: batch.executed,
            released: ticks(),
            events: batch.events.len(),
        });
        let work = batch.events.len() + 1;
        if let Some(last) = frame.last_seq() {
            self.output_hash = (last, batch.output_hash);
            self.released_seq.advance(last.0);
        }
        drop(frame);
        batch.events.clear();
        self.connections.release_shard.push(batch).expect("the ring holds every batch there is");
        work
    }
}

fn received_of(event: &Event, first: u64, received: &[u64]) -> u64 {
    received.get((event.seq.0 - first) as usize).copied().unwrap_or(0)
}

impl<F: FnMut(Released) + Send> Role for Release<F> {
    fn name(&self) -> &'static str {
        "release"
    }

    fn poll(&mut self, _now: Nanos) -> usize {
        let mut work = 0;
        while self.take_committed() && self.hand_out() {
            work += self.finish();
        }
        work
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::FramePool;
    use ironbell_sync::{cursor, ring};
    use ironbell_types::{Command, EventBody, PortId, Stage};

    fn event(seq: u64) -> Event {
        Event {
            seq: Seq(seq),
            time: Nanos(1),
            stage: Stage::Risk,
            step: 0,
            body: EventBody::LoggedIn { port: PortId(1), incarnation: 1 },
        }
    }

    #[test]
    fn nothing_passes_before_it_is_committed_and_a_full_ring_only_delays() {
        let mut pool = FramePool::new(2);
        let frame = pool.begin().expect("a frame");
        for seq in 1..=3 {
            frame.commands.push(Sequenced { seq: Seq(seq), time: Nanos(1), command: Command::Tick });
            frame.received.push(seq * 100);
        }
        let frame = pool.close();
        let (mut shard, shard_release) = ring(2);
        let (release_shard, mut back) = ring(2);
        let (small, mut gateway) = ring(2);
        let (wide, mut feed) = ring(16);
        let (release_shadow, shadow) = ring(2);
        let (mut commit, commit_reader) = cursor(0);
        let (released, released_reader) = cursor(0);
        let connections = Connections {
            shard_release,
            release_shard,
            outputs: vec![small, wide],
            release_shadow,
            commit: commit_reader,
            permission: None,
        };
        let mut frames = 0;
        let mut gate = Release::new(connections, released, |_| frames += 1);
        let mut batch = Batch::new(1);
        batch.events = (1..=3).map(event).collect();
        batch.frame = Some(frame);
        shard.push(batch).expect("room");

        commit.advance(2);
        assert_eq!(gate.poll(Nanos(0)), 0);
        assert!(gateway.is_empty() && feed.is_empty(), "the frame's last command is not committed");
        commit.advance(3);
        gate.poll(Nanos(0));
        assert_eq!(released_reader.get(), 0, "the gateway's ring is full");
        let mut heard = vec![];
        while let Ok(outbound) = gateway.pop() {
            heard.push((outbound.event.seq.0, outbound.received));
            gate.poll(Nanos(0));
        }
        assert_eq!(heard, [(1, 100), (2, 200), (3, 300)]);
        assert_eq!(
            std::iter::from_fn(|| feed.pop().ok()).map(|o| o.event.seq.0).collect::<Vec<_>>(),
            [1, 2, 3]
        );
        assert_eq!(released_reader.get(), 3);
        assert_eq!(shadow.slots(), 2, "a full shadow ring loses the rest and waits for nobody");
        assert!(back.pop().is_ok_and(|batch| batch.events.is_empty() && batch.frame.is_none()));
        drop(gate);
        assert_eq!(frames, 1);
    }

    #[test]
    fn a_gate_whose_permission_has_run_out_passes_nothing_however_much_is_committed() {
        let mut pool = FramePool::new(1);
        let frame = pool.begin().expect("a frame");
        frame.commands.push(Sequenced { seq: Seq(1), time: Nanos(1), command: Command::Tick });
        frame.received.push(100);
        let frame = pool.close();
        let (mut shard, shard_release) = ring(2);
        let (release_shard, _back) = ring(2);
        let (output, mut gateway) = ring(2);
        let (release_shadow, _shadow) = ring(2);
        let (mut commit, commit_reader) = cursor(0);
        let (released, released_reader) = cursor(0);
        let (mut permission, permission_reader) = ironbell_sync::due();
        let connections = Connections {
            shard_release,
            release_shard,
            outputs: vec![output],
            release_shadow,
            commit: commit_reader,
            permission: Some(permission_reader),
        };
        let mut gate = Release::new(connections, released, |_| {});
        let mut batch = Batch::new(1);
        batch.events = vec![event(1)];
        batch.frame = Some(frame);
        shard.push(batch).expect("room");
        commit.advance(1);

        permission.publish(Some(boot_time().0));
        assert_eq!(gate.poll(Nanos(0)), 0);
        assert!(gateway.is_empty() && released_reader.get() == 0);
        permission.publish(Some(boot_time().0 + 3_600_000_000_000));
        assert!(gate.poll(Nanos(0)) > 0);
        assert!(gateway.pop().is_ok());
        assert_eq!(released_reader.get(), 1);
    }
}
