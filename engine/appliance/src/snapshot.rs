//! Snapshots: made from the one before and the committed journal, never from the running engine; and what a start
//! goes on from.
//!
//! ```text
//!  snapshot N ─ load ─▶ state machine ──────── save ─▶ snapshot N+1
//!                        ▲        │ events
//!  journal behind it ────┘        ├─▶ what members were told  ═ session log, beside the running node
//!  up to the last frame that a    └─▶ what the feed said      ═ feed log
//!  later one gives the output       each record must stand there, and is synced
//!  hash of: it must be the same
//! ```
//!
//! So a snapshot counts only when the journal's own output hash was met again, both logs are on disk up to it, and what
//! is to be written loads as the state that it was made of. Whatever is wrong is an alarm, and the earlier snapshots
//! stay. A start therefore believes a snapshot whose checksums are right, and is the quicker for it.

use std::collections::VecDeque;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ironbell_core::{Engine, LoadError};
use ironbell_feed::Encoder;
use ironbell_sessionlog::{LogCheck, Positions};
use ironbell_store::snapshot::{self, Of};
use ironbell_store::{DataKey, Disk as _, Os, Position, Reader, SnapshotHeader};
use ironbell_types::{Control, Event, EventBody, Seq, Sequenced};
use serde::Serialize;
use tracing::field::Empty;

use crate::config::Config;
use crate::failure::Failure;
use crate::inspection;
use crate::moment::{Moment, time_text};
use crate::recovery::{self, engine_config};
use crate::telemetry::span;

/// Parts of a snapshot file, by number.
const STATE: u64 = 1;
const FEED: u64 = 2;
/// Where the session log stands.
pub(crate) const SESSION_LOG: u64 = 3;
/// Where the feed's log stands.
pub(crate) const FEED_LOG: u64 = 4;

/// Orders on the feed that a follower has room for before it grows.
const FEED_ORDERS_WARM: usize = 1 << 17;

/// How a state is made of bytes.
type LoadState = fn(&[u8], ironbell_core::Config) -> Result<Engine, LoadError>;

/// A snapshot whose state was loaded.
pub struct Base {
    /// Its file.
    pub path: PathBuf,
    /// What the file says of itself.
    pub header: SnapshotHeader,
    /// The state.
    pub engine: Engine,
    parts: snapshot::Snapshot,
}

impl Base {
    /// Loads the snapshot at `path` of the venue with this key.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn load(path: &Path, data_key: Option<&DataKey>, key: u64) -> Result<Self, String> {
        Self::load_by(Engine::load, path, data_key, key)
    }

    /// The same with everything held against everything else: what was loaded is listed again, and hashed.
    ///
    /// # Errors
    /// As there.
    pub fn load_verified(path: &Path, data_key: Option<&DataKey>, key: u64) -> Result<Self, String> {
        let base = Self::load_by(Engine::load_verified, path, data_key, key)?;
        if base.engine.state_hash() != base.header.state_hash {
            return Err("its state does not have the hash that its header gives".into());
        }
        Ok(base)
    }

    fn load_by(load: LoadState, path: &Path, data_key: Option<&DataKey>, key: u64) -> Result<Self, String> {
        let parts = snapshot::read(path, data_key).map_err(|e| e.to_string())?;
        let header = parts.header;
        let state = parts.part(STATE).ok_or("it holds no state")?;
        let engine = load(state, engine_config(key)).map_err(|e| e.to_string())?;
        if (engine.last_seq(), engine.output_hash()) != (header.seq(), header.output_hash) {
            return Err("its state is not the one that its header speaks of".into());
        }
        Ok(Self { path: path.to_owned(), header, engine, parts })
    }

    /// What is defined and who is logged in, as events say it.
    #[must_use]
    pub fn definitions(&self) -> Vec<EventBody> {
        definitions(&self.engine)
    }

    /// The feed's encoder.
    ///
    /// # Errors
    /// When that part cannot be used.
    pub fn encoder(&self) -> Result<Encoder, String> {
        let part = self.parts.part(FEED).unwrap_or_default();
        let encoder = Encoder::restore(FEED_ORDERS_WARM, &self.definitions(), part);
        encoder.ok_or_else(|| "what it holds of the feed cannot be read".into())
    }

    /// Where the session log and the feed log stand there.
    ///
    /// # Errors
    /// When those parts cannot be used, or are of logs of another layout.
    pub fn positions(&self, logs: &Logs) -> Result<[Positions; 2], String> {
        let load = |number, config| Positions::load(config, self.parts.part(number).unwrap_or_default());
        let loaded = load(SESSION_LOG, &logs.sessions).zip(load(FEED_LOG, &logs.feed));
        loaded
            .map(|(sessions, feed)| [sessions, feed])
            .ok_or_else(|| "its places in the logs cannot be read".into())
    }
}

/// The configurations of both logs.
pub struct Logs {
    /// What members were told.
    pub sessions: ironbell_sessionlog::Config,
    /// What the feed said.
    pub feed: ironbell_sessionlog::Config,
}

impl Logs {
    /// Those of a node.
    #[must_use]
    pub fn of(config: &Config, data_key: Option<&DataKey>) -> Self {
        Self { sessions: config.log("sessions", data_key), feed: config.log("feed", data_key) }
    }
}

/// What a state machine has defined, as the events that define it; then the day, and logins.
pub(crate) fn definitions(engine: &Engine) -> Vec<EventBody> {
    let mut bodies: Vec<EventBody> = engine.assets().map(|asset| EventBody::AssetDefined(*asset)).collect();
    for instrument in engine.instruments() {
        bodies.push(EventBody::InstrumentDefined(*instrument));
        if engine.is_delisted(instrument.id) {
            bodies.push(EventBody::Controlled(Control::Delist { instrument: instrument.id }));
        }
    }
    bodies.extend(engine.firms().map(|firm| EventBody::FirmDefined(*firm)));
    bodies.extend(engine.ports().map(|port| EventBody::PortDefined(*port)));
    bodies.extend(engine.last_day().map(EventBody::DayOpened));
    let login = |port: &ironbell_types::Port| {
        let incarnation = engine.incarnation(port.id)?;
        Some(EventBody::LoggedIn { port: port.id, incarnation })
    };
    bodies.extend(engine.ports().filter_map(login));
    bodies
}

/// What was looked for, and what was not good enough.
pub struct Found<T> {
    /// The newest snapshot that can be used, and what it was found fit for.
    pub base: Option<(Base, T)>,
    /// A line for each newer one.
    pub passed_over: Vec<String>,
}

/// The newest snapshot of the journal in `dir` that can be used and `fits`, with what that gave; and a line for each
/// that was passed over. Fits where the journal has its frame, and for the caller.
///
/// # Errors
/// When the journal or its directory cannot be read.
pub fn newest<T>(
    dir: &Path,
    data_key: Option<&Arc<DataKey>>,
    mut fits: impl FnMut(&Base) -> Result<T, String>,
) -> Result<Found<T>, Failure> {
    newest_of(dir, data_key, snapshot::list(dir)?, &mut fits)
}

/// The newest that can be used of those at or before a moment.
///
/// # Errors
/// As [`newest`].
pub fn newest_until(
    dir: &Path,
    data_key: Option<&Arc<DataKey>>,
    until: Option<&Moment>,
) -> Result<(Option<Base>, Vec<String>), Failure> {
    let is_before = |path: &Path| {
        let header = snapshot::header(path);
        // One without a sound header is passed over with a word.
        header.map_or(true, |header| {
            let chain = header.position.chain;
            until.is_none_or(|until| !until.passed(chain.last_seq, chain.last_time))
        })
    };
    let mut listed = snapshot::list(dir)?;
    listed.retain(|(_, path)| is_before(path));
    let Found { base, passed_over } = newest_of(dir, data_key, listed, &mut |_| Ok(()))?;
    Ok((base.map(|(base, ())| base), passed_over))
}

fn newest_of<T>(
    dir: &Path,
    data_key: Option<&Arc<DataKey>>,
    listed: Vec<(Seq, PathBuf)>,
    fits: &mut dyn FnMut(&Base) -> Result<T, String>,
) -> Result<Found<T>, Failure> {
    let key = ironbell_store::identity(dir)?.key;
    let mut passed_over = Vec::new();
    for (_, path) in listed {
        let base = Base::load(&path, data_key.map(|key| &**key), key).and_then(|base| {
            let mut reader = Reader::deciphering(dir, data_key.cloned()).map_err(|e| e.to_string())?;
            reader.resume(&base.header.position).map_err(|e| e.to_string())?;
            let fitting = fits(&base)?;
            Ok((base, fitting))
        });
        match base {
            Ok(base) => return Ok(Found { base: Some(base), passed_over }),
            Err(why) => passed_over.push(format!(
                "the snapshot {} is passed over: {why}; going on with the one before it, or the journal from its beginning",
                path.display()
            )),
        }
    }
    Ok(Found { base: None, passed_over })
}

/// A snapshot that was made.
#[derive(Debug, Serialize)]
pub struct Made {
    /// Its file.
    pub path: PathBuf,
    /// The last command that is in it.
    pub seq: u64,
    /// That command's time.
    pub time: String,
    /// Its length.
    pub bytes: u64,
    /// Hash of the state.
    pub state_hash: String,
    /// Commands replayed for it, behind the snapshot before it.
    pub commands: u64,
    /// How long that took, with everything.
    pub ms: f64,
    /// Older ones that were removed.
    pub removed: usize,
}

/// Makes the next snapshot of a node, running or not; `None` when nothing was committed since the last one. It stands
/// behind the last frame whose output hash a later frame gives, and whose commit one tells.
///
/// # Errors
/// When another process makes one, the journal or a log cannot be read or written, the replay does not come to the
/// output hashes that stand in the journal, or a log does not hold what members and followers were told. The earlier
/// snapshots stay.
pub fn make(config: &Config) -> Result<Option<Made>, Failure> {
    let started = Instant::now();
    let span = span!("make a snapshot", seq = Empty, commands = Empty).entered();
    let dir = config.journal_dir();
    let data_key = config.data_key()?;
    let logs = Logs::of(config, data_key.as_deref());
    let _only_one = snapshot::lock(&dir)?;
    let loading = span!("load the snapshot before").entered();
    let Found { base, passed_over } =
        newest(&dir, data_key.as_ref(), |base| Ok((base.positions(&logs)?, base.encoder()?)))?;
    drop(loading);
    passed_over.iter().for_each(|line| eprintln!("ironbell: {line}"));
    let mut reader = Reader::deciphering(&dir, data_key.clone())?;
    let key = reader.identity().key;
    let mut follower = match base {
        Some((base, ([sessions, feed], encoder))) => {
            reader.resume(&base.header.position)?;
            Follower::new(base.engine, encoder, [sessions, feed], &logs)
        }
        None => {
            let engine = Engine::new(engine_config(key));
            let positions = [Positions::new(&logs.sessions), Positions::new(&logs.feed)];
            Follower::new(engine, Encoder::new(FEED_ORDERS_WARM), positions, &logs)
        }
    };
    let following = span!("follow the journal").entered();
    let Some(position) = follower.follow(&mut reader)? else { return Ok(None) };
    let (commands, engine, encoder, positions) = follower.finish()?;

    drop(following);
    span.record("seq", engine.last_seq().0).record("commands", commands);

    let _saving = span!("save the state").entered();
    let state_hash = engine.state_hash();
    let of = Of { position, state_hash, output_hash: engine.output_hash() };
    let (state, feed) = (engine.save(), encoder.save());
    check_saved(&state, key, &state_hash)?;
    let [sessions, feed_log] = [positions[0].save(&logs.sessions), positions[1].save(&logs.feed)];
    let parts: [(u64, &[u8]); 4] =
        [(STATE, &state), (FEED, &feed), (SESSION_LOG, &sessions), (FEED_LOG, &feed_log)];
    let bytes: u64 = parts.iter().map(|(_, part)| part.len() as u64).sum();
    leave_room(config, &dir, bytes)?;
    let path = snapshot::write(&dir, &of, &parts, data_key.as_deref())?;
    let removed = snapshot::retain(&dir, config.snapshot.keep)?;
    Ok(Some(Made {
        seq: engine.last_seq().0,
        time: time_text(engine.last_time()),
        bytes: path.metadata().map_or(0, |metadata| metadata.len()),
        path,
        state_hash: inspection::hex(&state_hash),
        commands,
        ms: started.elapsed().as_secs_f64() * 1e3,
        removed,
    }))
}

/// What is to be written must be the state: no start looks so closely again.
fn check_saved(state: &[u8], key: u64, state_hash: &[u8; 32]) -> Result<(), Failure> {
    let why = match Engine::load_verified(state, engine_config(key)) {
        Ok(loaded) if loaded.state_hash() == *state_hash => return Ok(()),
        Ok(_) => "it has another hash".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(Failure::check(format_args!(
        "ALARM: what would be written as a snapshot does not load as the state that it was made of: {why}; no snapshot was made, and the \
         earlier ones stay: report this"
    )))
}

/// Segments of the journal's size that a snapshot leaves room for: journal and logs make files ahead of need, and must
/// not meet a full disk because of a shortcut.
const SEGMENTS_LEFT: u64 = 8;

fn leave_room(config: &Config, dir: &Path, bytes: u64) -> Result<(), Failure> {
    let free = Os.free_bytes(dir).map_err(|e| Failure::file(dir, e, "see that the disk can be asked"))?;
    let left = SEGMENTS_LEFT * config.journal.segment_bytes;
    if free >= bytes.saturating_add(left) {
        return Ok(());
    }
    Err(Failure::file(
        dir,
        format_args!(
            "a snapshot of {bytes} bytes would leave less than {left} of {free} free for the journal"
        ),
        "free or add disk space, or have fewer kept",
    ))
}

/// Follows the journal as the running node did: the state machine, what members were told, what the feed said.
struct Follower {
    engine: Engine,
    members: ironbell_gateway::Follower,
    feed: ironbell_feed::Follower,
    events: Vec<Event>,
    commands: u64,
}

/// A frame that is read and may not be executed yet.
struct Pending {
    commands: Vec<Sequenced>,
    /// Behind it.
    position: Position,
}

impl Follower {
    fn new(engine: Engine, encoder: Encoder, [sessions, feed]: [Positions; 2], logs: &Logs) -> Self {
        let sessions = LogCheck::new(&logs.sessions, sessions, true);
        Self {
            members: ironbell_gateway::Follower::new(&definitions(&engine), sessions),
            feed: ironbell_feed::Follower::new(encoder, LogCheck::new(&logs.feed, feed, true)),
            engine,
            events: Vec::new(),
            commands: 0,
        }
    }

    /// Executes what is committed, up to the last output hash that the journal gives for a frame's end, each of which
    /// must be met. Returns where that is; `None` when it is where it began.
    fn follow(&mut self, reader: &mut Reader) -> Result<Option<Position>, Failure> {
        let (mut pending, mut marks) = (VecDeque::new(), VecDeque::new());
        let mut reached = None;
        while let Some(frame) = reader.next_frame()? {
            let commands = frame.commands.to_vec();
            let position = reader.position().expect("a frame was just read");
            pending.push_back(Pending { commands, position });
            let executed = position.chain.executed;
            if executed.seq > self.engine.last_seq() && marks.back() != Some(&executed) {
                marks.push_back(executed);
            }
            while let Some(mark) = marks.front().filter(|mark| mark.seq <= position.chain.commit) {
                if let Some(position) = self.execute_to(mark.seq, &mut pending)? {
                    self.check(mark.seq, mark.output_hash)?;
                    reached = Some(position);
                }
                marks.pop_front();
            }
        }
        Ok(reached)
    }

    /// Executes the frames that end at or before `seq`; where that is, if one ends just there.
    fn execute_to(&mut self, seq: Seq, pending: &mut VecDeque<Pending>) -> Result<Option<Position>, Failure> {
        let mut reached = None;
        while let Some(frame) = pending.pop_front_if(|frame| frame.position.chain.last_seq <= seq) {
            for command in &frame.commands {
                self.events.clear();
                self.engine.execute(command, &mut self.events);
                for event in &self.events {
                    self.members.take(event)?;
                    self.feed.take(event)?;
                }
            }
            self.commands += frame.commands.len() as u64;
            reached = Some(frame.position);
        }
        Ok(reached.filter(|_| self.engine.last_seq() == seq))
    }

    fn check(&self, seq: Seq, written: u128) -> Result<(), Failure> {
        let replayed = self.engine.output_hash();
        if replayed == written {
            return Ok(());
        }
        Err(Failure::check(format_args!(
            "ALARM: replaying the journal comes to output hash {replayed:032x} at seq {seq}, and the node wrote {written:032x}; no snapshot \
             was made: stop trading, keep the data directory, and report this"
        )))
    }

    /// Both logs are on disk now, as far as they were followed.
    fn finish(self) -> Result<(u64, Engine, Encoder, [Positions; 2]), Failure> {
        let sessions = self.members.finish().sync()?;
        let (encoder, feed) = self.feed.finish();
        Ok((self.commands, self.engine, encoder, [sessions, feed.sync()?]))
    }
}

/// Has snapshots made while a node runs: by a process of its own, which shares nothing with the order path but the disk
/// and, at the lowest priority, CPUs that are not the node's.
pub struct Keeper {
    config_path: PathBuf,
    every: Option<Duration>,
    every_commands: u64,
    /// When and up to where the last one was tried.
    tried: (Instant, u64),
    child: Option<Child>,
}

impl Keeper {
    /// A keeper of the node that `config_path` configures, whose newest snapshot is at `seq`.
    #[must_use]
    pub fn new(config: &Config, config_path: &Path, seq: u64) -> Self {
        Self {
            config_path: config_path.to_owned(),
            every: Some(Duration::from_nanos(config.snapshot.every.0)).filter(|every| !every.is_zero()),
            every_commands: config.snapshot.every_commands,
            tried: (Instant::now(), seq),
            child: None,
        }
    }

    /// To be called now and then: begins one when it is due, and tells how the last one ended.
    pub fn tick(&mut self, commit: u64) {
        if let Some(child) = &mut self.child {
            match child.try_wait() {
                Ok(None) => return,
                Ok(Some(status)) if status.success() => {}
                ended => tracing::error!(
                    ?ended,
                    "ALARM: no new snapshot; the earlier ones stay, and the next try comes when it is due. The line before this one says why"
                ),
            }
            self.child = None;
        }
        let (since, seq) = self.tried;
        let fresh = commit.saturating_sub(seq);
        let is_full = self.every_commands > 0 && fresh >= self.every_commands;
        if fresh == 0 || !(is_full || self.every.is_some_and(|every| since.elapsed() >= every)) {
            return;
        }
        self.tried = (Instant::now(), commit);
        let program = std::env::current_exe();
        let spawned = program.and_then(|program| {
            let mut command = Command::new(program);
            command.args(["snapshot", "now", "--config"]).arg(&self.config_path);
            command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()
        });
        match spawned {
            Ok(child) => self.child = Some(child),
            Err(error) => {
                tracing::error!(%error, "ALARM: no process to make a snapshot; the earlier ones stay");
            }
        }
    }
}

impl Drop for Keeper {
    /// A snapshot that is not whole is none.
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Leaves the CPUs of a running node to it, as far as others are known, and takes the others last.
fn step_back(config: &Config) {
    // Neither is needed for a right snapshot.
    let _ = rustix::process::setpriority_process(None, 19);
    let mut cpus = rustix::thread::CpuSet::new();
    let allowed = core_affinity::get_core_ids().unwrap_or_default();
    let free = allowed.iter().filter(|core| !config.placement.cpus.contains(&core.id));
    let count = free.map(|core| cpus.set(core.id)).count();
    if count > 0 && count < allowed.len() {
        let _ = rustix::thread::sched_setaffinity(None, &cpus);
    }
}

/// `ironbell snapshot now`.
///
/// # Errors
/// As [`make`].
pub fn now(config: &Path, json: bool) -> Result<(), Failure> {
    let config = Config::read(config)?;
    let _spans = config.telemetry.start()?;
    step_back(&config);
    let text = match make(&config)? {
        Some(made) if json => to_json(&made)?,
        Some(Made { path, seq, time, bytes, commands, ms, .. }) => format!(
            "made {}: seq {seq} of {time}, {:.1} MB; {commands} commands replayed, {ms:.1} ms in all",
            path.display(),
            bytes as f64 / 1e6
        ),
        None if json => "null".to_owned(),
        None => "nothing was committed and executed since the newest snapshot".to_owned(),
    };
    say(&text)
}

#[derive(Serialize)]
struct Listed {
    seq: u64,
    time: String,
    bytes: u64,
    segment: u64,
    state_hash: String,
    path: PathBuf,
    /// What is wrong with it.
    fault: Option<String>,
}

/// `ironbell snapshot list`: by their headers.
///
/// # Errors
/// When the directory cannot be read.
pub fn list(config: &Path, json: bool) -> Result<(), Failure> {
    let config = Config::read(config)?;
    let mut listed = Vec::new();
    for (Seq(seq), path) in snapshot::list(&config.journal_dir())? {
        let bytes = path.metadata().map_or(0, |metadata| metadata.len());
        listed.push(match snapshot::header(&path) {
            Ok(header) => Listed {
                seq,
                time: time_text(header.position.chain.last_time),
                bytes,
                segment: header.position.segment,
                state_hash: inspection::hex(&header.state_hash),
                path,
                fault: None,
            },
            Err(error) => Listed {
                seq,
                time: String::new(),
                bytes,
                segment: 0,
                state_hash: String::new(),
                path,
                fault: Some(error.to_string()),
            },
        });
    }
    print(&listed, json)
}

/// `ironbell snapshot verify`: each is read, loaded, listed again, and must stand where the journal has its frame; with
/// `from_genesis` the journal, replayed from its first command, must come to the state of each.
///
/// # Errors
/// When one is wrong; the listing says which and why.
pub fn verify(config: &Path, from_genesis: bool, json: bool) -> Result<(), Failure> {
    let config = Config::read(config)?;
    let (dir, data_key) = (config.journal_dir(), config.data_key()?);
    let key = ironbell_store::identity(&dir)?.key;
    let logs = Logs::of(&config, data_key.as_deref());
    let mut listed = Vec::new();
    for (Seq(seq), path) in snapshot::list(&dir)? {
        let bytes = path.metadata().map_or(0, |metadata| metadata.len());
        let checked = Base::load_verified(&path, data_key.as_deref(), key).and_then(|base| {
            base.positions(&logs)?;
            base.encoder()?;
            let mut reader = Reader::deciphering(&dir, data_key.clone()).map_err(|e| e.to_string())?;
            reader.resume(&base.header.position).map_err(|e| e.to_string())?;
            Ok(base.header)
        });
        let (header, fault) = checked.map_or_else(|why| (None, Some(why)), |header| (Some(header), None));
        listed.push(Listed {
            seq,
            time: header.map_or(String::new(), |header| time_text(header.position.chain.last_time)),
            bytes,
            segment: header.map_or(0, |header| header.position.segment),
            state_hash: header.map_or(String::new(), |header| inspection::hex(&header.state_hash)),
            path,
            fault,
        });
    }
    if from_genesis {
        replay_to_each(&dir, data_key, &mut listed)?;
    }
    print(&listed, json)?;
    match listed.iter().filter(|one| one.fault.is_some()).count() {
        0 => Ok(()),
        wrong => Err(Failure::check(format_args!(
            "{wrong} of {} snapshots cannot be used; remove them, the journal comes to the same state without",
            listed.len()
        ))),
    }
}

fn replay_to_each(dir: &Path, data_key: Option<Arc<DataKey>>, listed: &mut [Listed]) -> Result<(), Failure> {
    let mut reader = Reader::deciphering(dir, data_key)?;
    let mut replay = recovery::Replay::new(reader.identity().key);
    while let Some(frame) = reader.next_frame()? {
        replay.frame(&frame.header, frame.commands)?;
        let seq = replay.engine().last_seq().0;
        // An empty frame ends where the one before it does.
        let here = listed
            .iter_mut()
            .filter(|one| one.seq == seq && one.fault.is_none() && !frame.commands.is_empty());
        for one in here {
            let replayed = inspection::hex(&replay.engine().state_hash());
            if replayed != one.state_hash {
                one.fault = Some(format!("the journal comes to state hash {replayed} there"));
            }
        }
    }
    Ok(())
}

fn print(listed: &[Listed], json: bool) -> Result<(), Failure> {
    if json {
        return listed.iter().try_for_each(|one| say(&to_json(one)?));
    }
    let heading = ["seq", "time", "bytes", "segment", "state hash", "file", ""];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(listed.iter().map(|one| {
        vec![
            one.seq.to_string(),
            one.time.clone(),
            one.bytes.to_string(),
            one.segment.to_string(),
            one.state_hash.chars().take(16).collect(),
            one.path.display().to_string(),
            one.fault.clone().unwrap_or_else(|| "ok".into()),
        ]
    }));
    say(inspection::table(&rows, &[true, false, true, true]).trim_end())
}

fn to_json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value)
        .map_err(|e| Failure::refused(format_args!("the answer cannot be written as JSON: {e}")))
}

/// Says a line; whoever closed the pipe has heard enough.
fn say(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::refused(format_args!("standard output: {e}")))
        }
        _ => Ok(()),
    }
}
