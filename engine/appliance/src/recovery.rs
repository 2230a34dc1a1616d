//! Recovery: the state is a function of the journal, so a start is a replay of it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ironbell_core::Engine;
use ironbell_store::{DataKey, FrameHeader, Reader};
use ironbell_types::{Event, Seq, Sequenced};

use crate::config::Config;
use crate::failure::Failure;
use crate::fanned_out::FannedOut;
use crate::moment::Moment;
use crate::snapshot;

/// Open orders a node has room for before its tables must grow.
const ORDERS_WARM: usize = 1 << 17;
/// Accounts likewise.
const ACCOUNTS_WARM: usize = 1 << 12;

/// What a replay gave.
pub struct Replayed {
    /// The state machine at the journal's end.
    pub engine: Engine,
    /// Commands executed.
    pub commands: u64,
    /// From opening the journal to the last command.
    pub elapsed: Duration,
}

impl Replayed {
    /// Commands executed in a second.
    #[must_use]
    pub fn commands_per_s(&self) -> f64 {
        self.commands as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// How the state machine of a venue with this key is made.
#[must_use]
pub fn engine_config(key: u64) -> ironbell_core::Config {
    ironbell_core::Config { key, orders: ORDERS_WARM, accounts: ACCOUNTS_WARM }
}

/// The engine of the order path and its twin's, which follows it, from the state of the venue with this key. The order
/// path's is on as many shards as the configuration has, each firm and instrument at home where it says; the twin's is on
/// one, and so a node checks all day that the number of shards shows in nothing.
///
/// A copy has no room beyond what it holds: with one shard the order path keeps the engine that was made with room, and
/// the twin has the copy.
///
/// # Errors
/// When the configuration names a firm or an instrument that there is not.
pub fn with_twin(engine: Engine, key: u64, config: &Config) -> Result<(Engine, Engine), Failure> {
    let homes = config.homes(&engine)?;
    if homes.shards() == 1 {
        let twin = engine.clone();
        return Ok((engine, twin));
    }
    let sharded = Engine::load_sharded(&engine.save(), engine_config(key), homes).map_err(|e| {
        Failure::check(format_args!("the state cannot be shared out to shards: {e}; report this"))
    })?;
    Ok((sharded, engine))
}

/// A replay in progress: the state machine, and the check that it comes to what was written down when
/// the commands were first executed.
pub struct Replay {
    machine: Machine,
    events: Vec<Event>,
    commands: u64,
    started: Instant,
    /// The output hashes after the latest frames: a header speaks of a frame executed shortly before it.
    recent: VecDeque<(Seq, u128)>,
}

enum Machine {
    Inline(Box<Engine>),
    FannedOut(Box<FannedOut>),
}

impl Machine {
    fn engine(&self) -> &Engine {
        match self {
            Self::Inline(engine) => engine,
            Self::FannedOut(fanned_out) => fanned_out.engine(),
        }
    }
}

/// Frames back that a header can speak of: those in flight, and some.
const RECENT: usize = 64;

impl Replay {
    /// A replay of the venue with this key, from the first command.
    #[must_use]
    pub fn new(key: u64) -> Self {
        Self {
            machine: Machine::Inline(Box::new(Engine::new(engine_config(key)))),
            events: Vec::new(),
            commands: 0,
            started: Instant::now(),
            recent: VecDeque::with_capacity(RECENT + 1),
        }
    }

    /// A replay that goes on behind a snapshot, whose state is `engine`; counted from `started`.
    #[must_use]
    pub fn behind(engine: Engine, started: Instant) -> Self {
        let recent = VecDeque::from([(engine.last_seq(), engine.output_hash())]);
        let machine = Machine::Inline(Box::new(engine));
        Self { machine, events: Vec::new(), commands: 0, started, recent }
    }

    /// The same over so many shards, of which all but one have a thread of their own; with one nothing changes.
    ///
    /// # Errors
    /// When the kernel makes no thread.
    pub fn over(mut self, shards: usize, key: u64) -> Result<Self, Failure> {
        if shards > 1 {
            self.machine = Machine::FannedOut(Box::new(FannedOut::start(self.engine(), key, shards)?));
        }
        Ok(self)
    }

    /// The state machine where the replay stands.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        self.machine.engine()
    }

    /// Executes a frame and returns what it says.
    ///
    /// # Errors
    /// When the header tells another output hash than this replay came to: the journal was written by
    /// another program than this, or this machine computes wrongly.
    pub fn frame(&mut self, header: &FrameHeader, commands: &[Sequenced]) -> Result<&[Event], Failure> {
        self.check(header.executed.seq, header.executed.output_hash)?;
        Ok(self.execute(commands))
    }

    /// Executes commands and returns what they say.
    pub fn execute(&mut self, commands: &[Sequenced]) -> &[Event] {
        self.events.clear();
        #[cfg(debug_assertions)]
        planted::panic_at(commands);
        match &mut self.machine {
            Machine::Inline(engine) => engine.execute_frame(commands, &mut self.events),
            Machine::FannedOut(fanned_out) => fanned_out.execute_frame(commands, &mut self.events),
        }
        self.commands += commands.len() as u64;
        if !commands.is_empty() {
            let engine = self.machine.engine();
            self.recent.push_back((engine.last_seq(), engine.output_hash()));
            if self.recent.len() > RECENT {
                self.recent.pop_front();
            }
        }
        &self.events
    }

    fn check(&self, seq: Seq, written: u128) -> Result<(), Failure> {
        match self.recent.iter().find(|(known, _)| *known == seq) {
            Some((_, replayed)) if *replayed != written => Err(Failure::check(format_args!(
                "replaying the journal comes to output hash {replayed:032x} at seq {seq}, and {written:032x} was written down when it was \
                 first executed; run the version of ironbell that wrote it, and report this"
            ))),
            _ => Ok(()),
        }
    }

    /// Commands executed.
    #[must_use]
    pub fn commands(&self) -> u64 {
        self.commands
    }

    /// Since it began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The state machine where the replay has come to.
    #[must_use]
    pub fn finish(self) -> Replayed {
        let elapsed = self.started.elapsed();
        let engine = match self.machine {
            Machine::Inline(engine) => *engine,
            Machine::FannedOut(fanned_out) => fanned_out.finish(),
        };
        Replayed { engine, commands: self.commands, elapsed }
    }
}

/// Replays the journal in `dir` from its first command, read-only, its records deciphered if there is a key; `observe`
/// hears of each frame's commands and events.
///
/// # Errors
/// When the journal cannot be read, or is damaged: the place is named.
pub fn replay(
    dir: &Path,
    data_key: Option<Arc<DataKey>>,
    observe: impl FnMut(&[Sequenced], &[Event]),
) -> Result<Replayed, Failure> {
    let reader = Reader::deciphering(dir, data_key)?;
    let replay = Replay::new(reader.identity().key);
    go_on(reader, replay, None, observe)
}

/// Replays the journal in `dir` behind its newest snapshot that can be used, or the newest at or before `until`, up to
/// and with the last command that is not later than `until`, over so many shards. Returns also the Seq of the snapshot, 0
/// for none, and a line for each that was passed over.
///
/// # Errors
/// As [`replay`].
pub fn replay_shortest(
    dir: &Path,
    data_key: Option<Arc<DataKey>>,
    until: Option<Moment>,
    shards: usize,
    observe: impl FnMut(&[Sequenced], &[Event]),
) -> Result<(Replayed, Seq, Vec<String>), Failure> {
    let started = Instant::now();
    let (base, passed_over) = snapshot::newest_until(dir, data_key.as_ref(), until.as_ref())?;
    let mut reader = Reader::deciphering(dir, data_key)?;
    let (replay, seq) = match base {
        Some(base) => {
            reader.resume(&base.header.position)?;
            let seq = base.header.seq();
            (Replay::behind(base.engine, started), seq)
        }
        None => (Replay::new(reader.identity().key), Seq(0)),
    };
    let replay = replay.over(shards, reader.identity().key)?;
    Ok((go_on(reader, replay, until, observe)?, seq, passed_over))
}

/// Replays the journal in `dir` from its first command up to and with the last command that is not later than `until`,
/// over so many shards.
///
/// # Errors
/// As [`replay`].
pub fn replay_until(
    dir: &Path,
    data_key: Option<Arc<DataKey>>,
    until: Option<Moment>,
    shards: usize,
    observe: impl FnMut(&[Sequenced], &[Event]),
) -> Result<Replayed, Failure> {
    let reader = Reader::deciphering(dir, data_key)?;
    let key = reader.identity().key;
    go_on(reader, Replay::new(key).over(shards, key)?, until, observe)
}

fn go_on(
    mut reader: Reader,
    mut replay: Replay,
    until: Option<Moment>,
    mut observe: impl FnMut(&[Sequenced], &[Event]),
) -> Result<Replayed, Failure> {
    while let Some(frame) = reader.next_frame()? {
        let is_wanted =
            |command: &Sequenced| until.is_none_or(|until| !until.passed(command.seq, command.time));
        let wanted = frame.commands.partition_point(is_wanted);
        let events = replay.frame(&frame.header, &frame.commands[..wanted])?;
        observe(&frame.commands[..wanted], events);
        if wanted < frame.commands.len() {
            break;
        }
    }
    Ok(replay.finish())
}

/// For tests of what is done about a command that breaks an invariant of the state machine, as none is known to. Not
/// in release builds, which have no debug assertions.
#[cfg(debug_assertions)]
mod planted {
    use ironbell_types::{Command, Control, Sequenced};

    /// The Seq whose execution panics, in decimal.
    const VARIABLE: &str = "IRONBELL_PLANTED_PANIC_AT_SEQ";

    pub fn panic_at(commands: &[Sequenced]) {
        let planted = std::env::var(VARIABLE).ok().and_then(|seq| seq.parse::<u64>().ok());
        let Some(planted) = planted else { return };
        let is_void = |command: &Command| matches!(command, Command::Control(Control::Void { .. }));
        let hit = commands.iter().any(|at| at.seq.0 == planted && !is_void(&at.command));
        assert!(!hit, "a planted panic at Seq {planted}");
    }
}
