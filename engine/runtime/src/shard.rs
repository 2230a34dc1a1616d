//! A shard: the state machine behind two rings. Frames in, batches of events out.

use ironbell_core::Engine;
use ironbell_sync::{Consumer, DueWriter, Producer, ticks};
use ironbell_types::{Event, EventBody, MassCancelSlice, Nanos};

use crate::frame::SharedFrame;
use crate::placement::Role;
use crate::sequencer::FromShard;

/// Events that a batch has room for before it must grow: enough for a full frame of ordinary commands.
pub const EVENTS_WARM: usize = 8_192;

/// What the commands of one frame did. Batches go round: the release gate gives them back empty.
#[derive(Debug)]
pub struct Batch {
    /// The frame; `None` when the batch is on its way back.
    pub frame: Option<SharedFrame>,
    /// Its events, in order.
    pub events: Vec<Event>,
    /// When the shard had executed the frame (metrics ticks).
    pub executed: u64,
    /// The output hash after the frame.
    pub output_hash: u128,
}

impl Batch {
    /// An empty batch with room for [`EVENTS_WARM`] events.
    #[must_use]
    pub fn new() -> Box<Self> {
        Box::new(Self { frame: None, events: Vec::with_capacity(EVENTS_WARM), executed: 0, output_hash: 0 })
    }
}

/// The ends of rings that a shard holds.
pub struct Connections {
    /// Frames to execute.
    pub sequencer_shard: Consumer<SharedFrame>,
    /// What is executed, and what the state machine asks for.
    pub shard_sequencer: Producer<FromShard>,
    /// Events to the release gate.
    pub shard_release: Producer<Box<Batch>>,
    /// Empty batches from it.
    pub release_shard: Consumer<Box<Batch>>,
    /// When the state machine next has something to do by itself.
    pub next_due: DueWriter,
}

/// The role: one engine, run inline.
pub struct Shard {
    engine: Engine,
    connections: Connections,
    /// What the last frame asked for and is not told yet, last first.
    asks: Vec<MassCancelSlice>,
    /// The word that the last frame is executed, while it is not told yet.
    word: Option<FromShard>,
}

impl Shard {
    /// A shard that goes on from where `engine` stands.
    #[must_use]
    pub fn new(engine: Engine, mut connections: Connections) -> Self {
        connections.next_due.publish(engine.next_due().map(|due| due.0));
        Self { engine, connections, asks: Vec::with_capacity(64), word: None }
    }

    /// Tells the sequencer what the last frame asked for, and then that it is executed: the sequencer must
    /// not close the next frame without the asks. False while the ring has no room for all of it.
    fn tell(&mut self) -> bool {
        while let Some(slice) = self.asks.last() {
            if self.connections.shard_sequencer.push(FromShard::Ask(*slice)).is_err() {
                return false;
            }
            self.asks.pop();
        }
        if let Some(word) = self.word {
            if self.connections.shard_sequencer.push(word).is_err() {
                return false;
            }
            self.word = None;
        }
        true
    }
}

impl Role for Shard {
    fn name(&self) -> &'static str {
        "shard"
    }

    fn poll(&mut self, _now: Nanos) -> usize {
        if !self.tell() {
            return 0;
        }
        if self.connections.release_shard.is_empty() || self.connections.shard_release.slots() == 0 {
            return 0;
        }
        let Ok(frame) = self.connections.sequencer_shard.pop() else { return 0 };
        let mut batch = self.connections.release_shard.pop().expect("one was there");
        self.engine.execute_frame(&frame.commands, &mut batch.events);
        for event in batch.events.iter().rev() {
            if let EventBody::MassCancelAsked { cause, slice } = event.body {
                self.asks.push(MassCancelSlice { cause, slice });
            }
        }
        let commands = frame.commands.len();
        let (seq, output_hash) = (self.engine.last_seq(), self.engine.output_hash());
        batch.output_hash = output_hash;
        batch.executed = ticks();
        batch.frame = Some(frame);
        self.connections.shard_release.push(batch).expect("a slot was free");
        // Before the word that the frame is executed: who has heard that finds what is due now.
        self.connections.next_due.publish(self.engine.next_due().map(|due| due.0));
        self.word = Some(FromShard::Executed { seq, output_hash });
        self.tell();
        commands
    }
}
