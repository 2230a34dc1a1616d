//! The state machine behind two rings: frames in, batches of events out. Over one shard it runs here; over several this
//! is the first, which leads the others (`shards.rs`).

use ironbell_core::Engine;
use ironbell_core::superstep::Said;
use ironbell_sync::{Consumer, DueWriter, Producer, ticks};
use ironbell_types::{Event, EventBody, MassCancelSlice, Nanos, PortId};

use crate::frame::SharedFrame;
use crate::placement::Role;
use crate::sequencer::FromShard;
use crate::shards::{self, Counters, Lead, Lending, Output, Worker};

/// Events that a batch has room for before it must grow: enough for a full frame of ordinary commands.
pub const EVENTS_WARM: usize = 8_192;

/// What the commands of one frame did. Batches go round: the release gate gives them back empty.
#[derive(Debug)]
pub struct Batch {
    /// The frame; `None` when the batch is on its way back.
    pub frame: Option<SharedFrame>,
    /// Its events, in order; behind them belongs what is in `said`.
    pub events: Vec<Event>,
    /// What the shards said last, one for each; none where there is one shard. The release gate merges it.
    pub said: Vec<Box<Said>>,
    /// When the shard had executed the frame (metrics ticks).
    pub executed: u64,
    /// When risk and matching of its last superstep were done (metrics ticks); zeros where it was not executed in supersteps.
    pub stages_done: [u64; 2],
    /// The output hash after the frame.
    pub output_hash: u128,
}

impl Batch {
    /// An empty batch with room for [`EVENTS_WARM`] events of so many shards together.
    #[must_use]
    pub fn new(shards: usize) -> Box<Self> {
        let said = || Box::new(Said::new(EVENTS_WARM / shards));
        Box::new(Self {
            frame: None,
            events: Vec::with_capacity(EVENTS_WARM),
            said: if shards > 1 { (0..shards).map(|_| said()).collect() } else { Vec::new() },
            executed: 0,
            stages_done: [0; 2],
            output_hash: 0,
        })
    }

    /// Puts what the shards said last behind the events.
    pub fn merge(&mut self) {
        Said::merge(self.said.iter_mut().map(|said| &mut **said), &mut self.events);
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

/// The role.
pub struct Shard {
    driver: Driver,
    connections: Connections,
    /// What several shards are at work on.
    under_way: Option<Box<Batch>>,
    /// What the last frame asked for and is not told yet, last first.
    asks: Vec<MassCancelSlice>,
    /// Whose commands cut supersteps of it and is not told yet.
    cut_by: Vec<PortId>,
    /// The word that the last frame is executed, while it is not told yet.
    word: Option<FromShard>,
}

enum Driver {
    /// One shard: plain calls, no exchange and no other thread.
    Inline {
        engine: Box<Engine>,
        commands: u64,
    },
    Lead(Box<Lead>),
}

impl Shard {
    /// A shard that goes on from where `engine` stands, and a worker for each further shard that the engine has.
    #[must_use]
    pub fn new(engine: Engine, lending: Lending, mut connections: Connections) -> (Self, Vec<Worker>) {
        connections.next_due.publish(engine.next_due().map(|due| due.0));
        let (driver, workers) = if engine.shards() == 1 {
            (Driver::Inline { engine: Box::new(engine), commands: 0 }, Vec::new())
        } else {
            let (lead, workers) = shards::lead(engine, lending);
            (Driver::Lead(Box::new(lead)), workers)
        };
        let asks = Vec::with_capacity(64);
        let cut_by = Vec::with_capacity(shards::CUT_BY_MAX);
        (Self { driver, connections, under_way: None, asks, cut_by, word: None }, workers)
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        match &self.driver {
            Driver::Inline { commands, .. } => Counters { commands_home: *commands, ..Counters::default() },
            Driver::Lead(lead) => lead.counters(),
        }
    }

    /// Frames that wait to be executed.
    #[must_use]
    pub fn frames_waiting(&self) -> usize {
        self.connections.sequencer_shard.slots()
    }

    /// Tells the sequencer what the last frame asked for and whose commands cut supersteps, and then that it is executed:
    /// the sequencer must not close the next frame without the asks. False while the ring has no room for all of it.
    fn tell(&mut self) -> bool {
        while let Some(slice) = self.asks.last() {
            if self.connections.shard_sequencer.push(FromShard::Ask(*slice)).is_err() {
                return false;
            }
            self.asks.pop();
        }
        while let Some(port) = self.cut_by.last() {
            if self.connections.shard_sequencer.push(FromShard::Cut(*port)).is_err() {
                return false;
            }
            self.cut_by.pop();
        }
        if let Some(word) = self.word {
            if self.connections.shard_sequencer.push(word).is_err() {
                return false;
            }
            self.word = None;
        }
        true
    }

    /// The next frame, in an empty batch; `None` while there is none or no room for what it says.
    fn begin(&mut self) -> Option<Box<Batch>> {
        if self.connections.release_shard.is_empty() || self.connections.shard_release.slots() == 0 {
            return None;
        }
        let frame = self.connections.sequencer_shard.pop().ok()?;
        let mut batch = self.connections.release_shard.pop().expect("one was there");
        batch.frame = Some(frame);
        Some(batch)
    }

    fn end(&mut self, mut batch: Box<Batch>) {
        // Only what runs by itself asks, and what it said is merged already.
        for event in batch.events.iter().rev() {
            if let EventBody::MassCancelAsked { cause, slice } = event.body {
                self.asks.push(MassCancelSlice { cause, slice });
            }
        }
        if let Driver::Lead(lead) = &mut self.driver {
            self.cut_by.extend(lead.cut_by());
        }
        let (engine, next_due) = match &self.driver {
            Driver::Inline { engine, .. } => (&**engine, engine.next_due()),
            Driver::Lead(lead) => (lead.engine(), lead.next_due()),
        };
        let (seq, output_hash) = (engine.last_seq(), engine.output_hash());
        batch.output_hash = output_hash;
        batch.executed = ticks();
        batch.stages_done = match &self.driver {
            Driver::Inline { .. } => [0; 2],
            Driver::Lead(lead) => lead.stages_done(),
        };
        self.connections.shard_release.push(batch).expect("a slot was free");
        // Before the word that the frame is executed: who has heard that finds what is due now.
        self.connections.next_due.publish(next_due.map(|due| due.0));
        self.word = Some(FromShard::Executed { seq, output_hash });
        self.tell();
    }
}

impl Role for Shard {
    fn name(&self) -> &str {
        match self.driver {
            Driver::Inline { .. } => "shard",
            Driver::Lead(_) => "shard 0",
        }
    }

    fn poll(&mut self, _now: Nanos) -> usize {
        if !self.tell() {
            return 0;
        }
        let begun = self.under_way.take().or_else(|| self.begin());
        let Some(mut batch) = begun else { return 0 };
        let Batch { frame, events, said, .. } = &mut *batch;
        let frame = frame.as_ref().expect("a batch carries its frame");
        match &mut self.driver {
            Driver::Inline { engine, commands } => {
                engine.execute_frame(&frame.commands, events);
                let executed = frame.commands.len();
                *commands += executed as u64;
                self.end(batch);
                executed
            }
            Driver::Lead(lead) => {
                let (work, ended) = lead.poll(frame, &mut Output { events, said });
                if ended {
                    self.end(batch);
                } else {
                    self.under_way = Some(batch);
                }
                work
            }
        }
    }
}
