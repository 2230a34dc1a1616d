//! The shadow: a second state machine behind the release gate, fed with committed commands only.
//!
//! Queries, GLIMPSE and hashes are answered from it, so that no question ever touches the running
//! shard. At every frame it compares its output hash with the shard's: a node checks itself all day.
//! When it falls behind (its ring was full) it reads what it missed from the journal.

use std::path::PathBuf;

use ironbell_core::Engine;
use ironbell_feed::{Encoder, Snapshot};
use ironbell_runtime::release::ToShadow;
use ironbell_sync::{Consumer, CursorReader};
use ironbell_types::{Event, Seq, Sequenced};

/// Messages taken from the ring at one go, so that other tasks of the service role get their turn.
const PUMP_MAX: usize = 2_048;

/// The follower.
pub struct Shadow {
    engine: Engine,
    encoder: Encoder,
    input: Consumer<ToShadow>,
    released: CursorReader,
    journal_dir: PathBuf,
    events: Vec<Event>,
    checks: Checks,
}

/// What comparing with the shard gave.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    /// Frames at which both output hashes were the same.
    pub equal: u64,
    /// The first Seq at which they were not: an alarm, and everything said since is in doubt.
    pub unequal: Option<Seq>,
    /// Times it had to read the journal.
    pub catch_ups: u64,
    /// Why it follows no more: the journal could not be read.
    pub stuck: Option<String>,
}

/// What a shadow is made of.
pub struct Parts {
    /// A state machine that replayed the whole journal.
    pub engine: Engine,
    /// The feed's encoder, having seen the same events.
    pub encoder: Encoder,
    /// From the release gate.
    pub input: Consumer<ToShadow>,
    /// How far the release gate is.
    pub released: CursorReader,
    /// Where to read what was missed.
    pub journal_dir: PathBuf,
}

impl Shadow {
    /// A shadow that goes on from where its engine stands.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { engine, encoder, input, released, journal_dir } = parts;
        Self { engine, encoder, input, released, journal_dir, events: Vec::new(), checks: Checks::default() }
    }

    /// Follows; returns how many messages it took.
    pub fn pump(&mut self) -> usize {
        if self.checks.stuck.is_some() {
            return 0;
        }
        let mut taken = 0;
        while taken < PUMP_MAX {
            match self.input.pop() {
                Ok(ToShadow::Command(command)) if command.seq == self.engine.last_seq().next() => {
                    self.apply(&command);
                }
                // Older than the state: read from the journal already.
                Ok(ToShadow::Command(command)) if command.seq <= self.engine.last_seq() => {}
                Ok(ToShadow::Command(_)) => self.catch_up(),
                Ok(ToShadow::Check(seq, output_hash)) => self.check(seq, output_hash),
                Err(_) => break,
            }
            taken += 1;
        }
        // The ring's last messages may be the ones that found no room.
        if taken == 0 && self.released.get() > self.engine.last_seq().0 && self.input.is_empty() {
            self.catch_up();
            return 1;
        }
        taken
    }

    fn apply(&mut self, command: &Sequenced) {
        self.events.clear();
        self.engine.execute(command, &mut self.events);
        for event in &self.events {
            self.encoder.encode(event, &mut |_| {});
        }
    }

    fn check(&mut self, seq: Seq, output_hash: u128) {
        if seq != self.engine.last_seq() {
            return;
        }
        if self.engine.output_hash() == output_hash {
            self.checks.equal += 1;
        } else if self.checks.unequal.is_none() {
            self.checks.unequal = Some(seq);
            tracing::error!(
                seq = seq.0,
                "ALARM: the shard and its shadow disagree; stop trading and keep the journal"
            );
        }
    }

    /// Reads what it missed, up to what is released, from the journal.
    fn catch_up(&mut self) {
        self.checks.catch_ups += 1;
        let until = Seq(self.released.get());
        if let Err(error) = self.read_journal(until) {
            tracing::error!(%error, "the shadow cannot read the journal and stands still; restart the node");
            self.checks.stuck = Some(error.to_string());
        }
    }

    fn read_journal(&mut self, until: Seq) -> Result<(), ironbell_store::Error> {
        let mut reader = ironbell_store::Reader::open(&self.journal_dir)?;
        while self.engine.last_seq() < until {
            let Some(frame) = reader.next_frame()? else { break };
            let from = frame.commands.partition_point(|command| command.seq <= self.engine.last_seq());
            for command in frame.commands[from..].iter().take_while(|command| command.seq <= until) {
                self.apply(command);
            }
        }
        Ok(())
    }

    /// The state, as of the last command followed.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// A GLIMPSE snapshot of that state; `None` while no day is open.
    #[must_use]
    pub fn snapshot(&self) -> Option<Snapshot> {
        Snapshot::of(&self.encoder, self.engine.last_time())
    }

    /// The feed's encoder at that state.
    #[must_use]
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// What comparing with the shard gave so far.
    #[must_use]
    pub fn checks(&self) -> &Checks {
        &self.checks
    }
}
