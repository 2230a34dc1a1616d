//! A shard: the state machine behind two rings. Frames in, batches of events out.

use ironbell_core::Engine;
use ironbell_sync::{Consumer, Producer, ticks};
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
}

/// The role: one engine, run inline.
pub struct Shard {
    engine: Engine,
    connections: Connections,
    asks: Vec<MassCancelSlice>,
}

impl Shard {
    /// A shard that goes on from where `engine` stands.
    #[must_use]
    pub fn new(engine: Engine, connections: Connections) -> Self {
        Self { engine, connections, asks: Vec::with_capacity(64) }
    }

    fn tell_asks(&mut self) -> bool {
        while let Some(slice) = self.asks.last() {
            if self.connections.shard_sequencer.push(FromShard::Ask(*slice)).is_err() {
                return false;
            }
            self.asks.pop();
        }
        true
    }
}

impl Role for Shard {
    fn name(&self) -> &'static str {
        "shard"
    }

    fn poll(&mut self, _now: Nanos) -> usize {
        // Asks go before the word that the frame is executed: the sequencer must not close the next
        // frame without them.
        if !self.tell_asks() || self.connections.shard_sequencer.slots() < 2 {
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
        let output_hash = self.engine.output_hash();
        batch.output_hash = output_hash;
        batch.executed = ticks();
        batch.frame = Some(frame);
        self.connections.shard_release.push(batch).expect("a slot was free");
        let seq = self.engine.last_seq();
        // With more asks than the ring has room for, the word waits for the next poll's asks; the ring is
        // deeper than the asks a frame can raise (one a mass cancel, 1,024 commands a frame).
        assert!(self.tell_asks(), "the ring to the sequencer holds every ask of a frame");
        self.connections
            .shard_sequencer
            .push(FromShard::Executed { seq, output_hash })
            .expect("the ring to the sequencer holds every ask of a frame and the word that it is executed");
        commands
    }
}
