//! The shadow: a second state machine behind the release gate, fed with committed commands only.
//!
//! Queries, GLIMPSE and hashes are answered from it, so that no question ever touches the running
//! shard. At every frame it compares its output hash with the shard's: a node checks itself all day.
//! When it falls behind (its ring was full) it reads what it missed from the journal.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use ironbell_core::Engine;
use ironbell_feed::{Encoder, Snapshot};
use ironbell_runtime::release::ToShadow;
use ironbell_store::{DataKey, Reader};
use ironbell_sync::Voice;
use ironbell_sync::{Consumer, CursorReader};
use ironbell_types::{
    Command, Control, Event, EventBody, InstrumentId, KillScope, Nanos, Phase, PortId, Reject, Seq, Sequenced,
};

/// Messages taken from the ring at one go, so that other tasks of the service role get their turn.
const PUMP_MAX: usize = 2_048;

/// The follower.
pub struct Shadow {
    engine: Engine,
    encoder: Encoder,
    input: Consumer<ToShadow>,
    released: CursorReader,
    journal_dir: PathBuf,
    data_key: Option<Arc<DataKey>>,
    /// Where the last reading ended; the next one goes on from there, not from the first frame.
    journal: Option<Reader>,
    events: Vec<Event>,
    checks: Checks,
    outcomes: Outcomes,
    voice: Option<Voice<Notice>>,
    refusals: BTreeMap<(PortId, Reject), Refusals>,
}

/// What people may want to know of what was committed: a record of fixed size, for a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The command that caused it.
    pub seq: Seq,
    /// What happened.
    pub what: What,
}

/// See [`Notice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of the events")]
pub enum What {
    /// A port has logged in.
    LoggedIn { port: PortId, incarnation: u32 },
    /// It is logged out; `cancels`: its open orders go with that.
    LoggedOut { port: PortId, incarnation: u32, cancels: bool },
    /// The dead-man timer of a port ran out.
    DeadMan { port: PortId },
    /// So many orders of a port were refused since this was last said of it and that reason: it sends too fast, or has used
    /// up its limits.
    Refused { port: PortId, reason: Reject, orders: u64 },
    /// The firm of a port has switched its own order entry.
    OrderEntry { port: PortId, enabled: bool },
    /// A kill switch, by an operator or by the venue's rules.
    Kill { scope: KillScope, on: bool },
    /// An instrument is halted.
    Halted { instrument: InstrumentId },
}

/// Refusals of one port for one reason, which may be many thousands a second.
#[derive(Clone, Copy, Debug, Default)]
struct Refusals {
    untold: u64,
    /// When they were last told, in sequenced time.
    told: Option<Nanos>,
}

/// Between two words about the same refusals.
const REFUSALS_EVERY: Nanos = Nanos(10_000_000_000);

/// What became of an operator's command.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its place in the sequence.
    pub seq: Seq,
    /// The command.
    pub command: Command,
    /// What the state machine said of it, without trades and orders.
    pub events: Vec<Event>,
}

/// The latest outcomes. Operators' commands come by one ring alone, so the n-th that went in is the n-th that
/// is executed.
#[derive(Default)]
struct Outcomes {
    /// Operators' commands executed since this run began.
    count: u64,
    latest: VecDeque<Outcome>,
}

/// Outcomes that are kept for whoever waits for one.
const OUTCOMES_MAX: usize = 64;
/// Events of an outcome that are kept: a word to a person need not be longer.
const OUTCOME_EVENTS_MAX: usize = 1_024;

impl Outcomes {
    fn note(&mut self, command: &Sequenced, said: &[Event]) {
        if self.latest.len() == OUTCOMES_MAX {
            self.latest.pop_front();
        }
        let told = said.iter().filter(|event| is_for_operators(&event.body));
        let events = told.take(OUTCOME_EVENTS_MAX).copied().collect();
        self.latest.push_back(Outcome { seq: command.seq, command: command.command, events });
        self.count += 1;
    }
}

/// Whether only operators send it: such commands come by the admin socket's ring alone.
#[must_use]
pub fn is_operators(command: &Command) -> bool {
    // The node's own.
    if matches!(command, Command::Control(Control::HaltOrderEntry { .. } | Control::BeginGrace { .. })) {
        return false;
    }
    matches!(
        command,
        Command::DefineAsset(_)
            | Command::DefineInstrument(_)
            | Command::DefineFirm(_)
            | Command::DefineAccount(_)
            | Command::DefinePort(_)
            | Command::Fund(_)
            | Command::OpenDay(_)
            | Command::Control(_)
    )
}

/// Whether an operator wants to hear it as the outcome of a command.
fn is_for_operators(body: &EventBody) -> bool {
    matches!(
        body,
        EventBody::AdminRefused(_)
            | EventBody::Controlled(_)
            | EventBody::PhaseChanged { .. }
            | EventBody::Crossed(_)
            | EventBody::Busted(_)
            | EventBody::FirmTier { .. }
            | EventBody::MassCancelAsked { .. }
    )
}

impl Refusals {
    /// Counts one; how many are to be told now, if it is time.
    fn count(&mut self, now: Nanos) -> Option<u64> {
        self.untold += 1;
        if self.told.is_some_and(|told| now.0.saturating_sub(told.0) < REFUSALS_EVERY.0) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

/// Whether a member who is refused so sends too fast, or has used up a limit.
fn is_limit(reason: Reject) -> bool {
    matches!(reason, Reject::PortRate | Reject::DuplicateRate | Reject::AggregateExposure)
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
    /// What its records are enciphered with.
    pub data_key: Option<Arc<DataKey>>,
}

impl Shadow {
    /// A shadow that goes on from where its engine stands.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { engine, encoder, input, released, journal_dir, data_key } = parts;
        Self {
            engine,
            encoder,
            input,
            released,
            journal_dir,
            data_key,
            journal: None,
            events: Vec::new(),
            checks: Checks::default(),
            outcomes: Outcomes::default(),
            voice: None,
            refusals: BTreeMap::new(),
        }
    }

    /// Says by `voice` what people may want to know.
    #[must_use]
    pub fn speaking(self, voice: Voice<Notice>) -> Self {
        Self { voice: Some(voice), ..self }
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
        if is_operators(&command.command) {
            self.outcomes.note(command, &self.events);
        }
        self.say();
    }

    fn say(&mut self) {
        let Some(voice) = &mut self.voice else { return };
        for event in &self.events {
            let what = match event.body {
                EventBody::LoggedIn { port, incarnation } => What::LoggedIn { port, incarnation },
                EventBody::LoggedOut { port, incarnation } => {
                    let cancels =
                        self.engine.port_rules(port).is_some_and(|rules| rules.cancels_on_disconnect);
                    What::LoggedOut { port, incarnation, cancels }
                }
                EventBody::DeadManExpired { port } => What::DeadMan { port },
                EventBody::OrderEntryDisabled(switch) => {
                    What::OrderEntry { port: switch.port, enabled: false }
                }
                EventBody::OrderEntryEnabled(switch) => What::OrderEntry { port: switch.port, enabled: true },
                EventBody::Controlled(Control::Kill { scope, on }) => What::Kill { scope, on },
                EventBody::PhaseChanged { instrument, phase: Phase::Halted, .. } => {
                    What::Halted { instrument }
                }
                EventBody::Rejected { key, reason, .. } if is_limit(reason) => {
                    let refusals = self.refusals.entry((key.port(), reason)).or_default();
                    match refusals.count(event.time) {
                        Some(orders) => What::Refused { port: key.port(), reason, orders },
                        None => continue,
                    }
                }
                _ => continue,
            };
            voice.say(Notice { seq: event.seq, what });
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
        let mut reader = match self.journal.take() {
            Some(reader) => reader,
            None => Reader::deciphering(&self.journal_dir, self.data_key.clone())?,
        };
        while self.engine.last_seq() < until {
            let Some(frame) = reader.next_frame()? else { break };
            // The release gate releases whole frames, so none is left in its midst.
            assert!(frame.commands.last().is_none_or(|last| last.seq <= until), "frame beyond {until}");
            let from = frame.commands.partition_point(|command| command.seq <= self.engine.last_seq());
            for command in &frame.commands[from..] {
                self.apply(command);
            }
        }
        self.journal = Some(reader);
        Ok(())
    }

    /// The state, as of the last command followed.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Operators' commands executed since this run began.
    #[must_use]
    pub fn operators_commands(&self) -> u64 {
        self.outcomes.count
    }

    /// What became of an operator's command, the n-th of this run from 0; `None` before it is executed and
    /// committed, and when it was too long ago.
    #[must_use]
    pub fn outcome(&self, n: u64) -> Option<&Outcome> {
        let first = self.outcomes.count - self.outcomes.latest.len() as u64;
        self.outcomes.latest.get(usize::try_from(n.checked_sub(first)?).ok()?)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recovery::engine_config;
    use ironbell_store::{Durability, Identity, Options, WrappedKey};
    use ironbell_sync::{CursorWriter, Producer, cursor, ring};
    use ironbell_types::{AdminRefusal, Asset, AssetId, Nanos, Symbol};

    const KEY: u64 = 9;

    fn command(seq: u64) -> Sequenced {
        let code = Symbol::new(&format!("A{seq}")).expect("a short code");
        let asset = Asset { id: AssetId(seq as u32), code, decimals: 2 };
        Sequenced { seq: Seq(seq), time: Nanos(seq), command: Command::DefineAsset(asset) }
    }

    /// What a state machine comes to after the first `seq` commands.
    fn hash_after(seq: u64) -> u128 {
        let mut engine = Engine::new(engine_config(KEY));
        (1..=seq).for_each(|n| engine.execute(&command(n), &mut Vec::new()));
        engine.output_hash()
    }

    fn shadow(journal_dir: PathBuf) -> (Shadow, Producer<ToShadow>, CursorWriter) {
        let (producer, input) = ring(64);
        let (released, released_reader) = cursor(0);
        let shadow = Shadow::new(Parts {
            engine: Engine::new(engine_config(KEY)),
            encoder: Encoder::new(16),
            input,
            released: released_reader,
            journal_dir,
            data_key: None,
        });
        (shadow, producer, released)
    }

    #[test]
    fn one_wrong_output_hash_is_an_alarm_that_stays() {
        let (mut shadow, mut release, _) = shadow(PathBuf::new());
        for seq in 1..=3 {
            release.push(ToShadow::Command(command(seq))).expect("room");
            let wrong = u128::from(seq == 2);
            release.push(ToShadow::Check(Seq(seq), hash_after(seq) ^ wrong)).expect("room");
        }
        assert_eq!(shadow.pump(), 6);
        assert_eq!((shadow.checks().equal, shadow.checks().unequal), (2, Some(Seq(2))));
    }

    /// The ring was full, twice: what is missing is read from the journal, each frame once.
    #[test]
    fn what_found_no_room_in_the_ring_is_read_from_the_journal() {
        let dir = std::env::temp_dir().join(format!("ironbell-shadow-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let options = Options {
            durability: Durability::Buffered,
            segment_bytes: 1 << 20,
            in_flight: 1,
            ..Options::default()
        };
        let identity = Identity { cluster: [1; 16], key: KEY };
        ironbell_store::format(&dir, identity, &options, WrappedKey::NONE).expect("a journal");
        let (_, mut writer, _maker) = ironbell_store::open(&dir, &options).expect("it opens");
        let (mut shadow, mut release, mut released) = shadow(dir.clone());
        let mut write = |seqs: std::ops::RangeInclusive<u64>| {
            let last = *seqs.end();
            let commands: Vec<Sequenced> = seqs.map(command).collect();
            writer.append(&commands, Seq(0), (Seq(0), 0)).expect("it is written");
            while writer.durable().get() < last {
                writer.poll().expect("it is written");
            }
        };

        write(1..=5);
        release.push(ToShadow::Command(command(1))).expect("room");
        released.advance(5);
        while shadow.pump() > 0 {}
        assert_eq!((shadow.engine().last_seq(), shadow.checks().catch_ups), (Seq(5), 1));

        write(6..=9);
        released.advance(9);
        // Found in the ring is only the last of them, which does not follow.
        release.push(ToShadow::Command(command(9))).expect("room");
        release.push(ToShadow::Check(Seq(9), hash_after(9))).expect("room");
        while shadow.pump() > 0 {}
        assert_eq!((shadow.engine().last_seq(), shadow.checks().catch_ups), (Seq(9), 2));
        assert_eq!((shadow.checks().equal, &shadow.checks().stuck), (1, &None));
        std::fs::remove_dir_all(&dir).expect("it is ours");
    }

    /// Of thousands of refusals the first is told at once, and all of them in the end.
    #[test]
    fn refusals_are_told_once_in_a_while_and_none_is_left_out() {
        let mut refusals = Refusals::default();
        let told: Vec<u64> = (0..25_000).filter_map(|ms| refusals.count(Nanos(1 + ms * 1_000_000))).collect();
        assert_eq!(told, [1, 10_000, 10_000]);
        assert_eq!(refusals.untold, 4_999);
    }

    #[test]
    fn operators_learn_what_became_of_each_command_in_turn() {
        let (mut shadow, mut release, _) = shadow(PathBuf::new());
        release.push(ToShadow::Command(command(1))).expect("room");
        let tick = Sequenced { seq: Seq(2), time: Nanos(2), command: Command::Tick };
        release.push(ToShadow::Command(tick)).expect("room");
        let again = Sequenced { seq: Seq(3), time: Nanos(3), ..command(1) };
        release.push(ToShadow::Command(again)).expect("room");
        assert!(shadow.outcome(0).is_none());
        assert_eq!(shadow.pump(), 3);
        assert_eq!(shadow.operators_commands(), 2);
        let (first, second) = (shadow.outcome(0).expect("kept"), shadow.outcome(1).expect("kept"));
        assert_eq!((first.seq, first.events.len()), (Seq(1), 0));
        assert_eq!(second.seq, Seq(3));
        assert_eq!(second.events[0].body, EventBody::AdminRefused(AdminRefusal::Id));
        for seq in 4..=70 {
            release.push(ToShadow::Command(command(seq))).expect("room");
            shadow.pump();
        }
        assert!(shadow.outcome(4).is_none(), "too long ago");
        assert_eq!(shadow.outcome(68).expect("the latest").seq, Seq(70));
    }
}
