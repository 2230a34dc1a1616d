//! A node that has recovered and leads nothing yet: its state machine, what members were told and what the feed said
//! stand where its journal ends, and nobody can connect.
//!
//! This is the first of a node's three lives. [`Warm::recover`] opens the journal and replays it; a node alone goes on to
//! [`lead`](crate::lead) at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use ironbell_feed::{Encoder, Feed};
use ironbell_gateway::{ArgonChecker, Gateway};
use ironbell_sessionlog::{Maker, SessionLog};
use ironbell_store::{DataKey, Options, Recovery, Term, Writer};
use ironbell_sync::{Consumer, Producer, ring};
use ironbell_types::{Inbound, Nanos, Outbound, Seq};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::field::Empty;

use crate::admin;
use crate::config::Config;
use crate::door::Door;
use crate::failure::Failure;
use crate::inspection;
use crate::outlet::Outlet;
use crate::recovery::Replay;
use crate::service;
use crate::snapshot::{self, Base, Found, Logs};
use crate::space::Makers;
use crate::telemetry::span;
use crate::topology;

/// Order entry of a node. Who leads nothing does not listen.
pub type OrderEntry = Gateway<Door, ArgonChecker>;
/// Market data out.
pub type MarketData = Feed<Option<Outlet>>;

/// The addresses that members use, taken.
pub struct Doors {
    /// Where they connect.
    pub order_entry: Door,
    /// What the feed is sent by.
    pub feed: Outlet,
}

impl Doors {
    /// Takes the addresses that the configuration names.
    ///
    /// # Errors
    /// When one is taken or is not this machine's.
    pub fn open(config: &Config) -> Result<Self, Failure> {
        let order_entry = Door::open(&config.order_entry)?;
        Ok(Self { order_entry, feed: Outlet::open(&config.feed, &feed_config(config))? })
    }
}

/// A node that has recovered.
pub struct Warm {
    /// When the recovery began.
    pub started: Instant,
    /// The state machine.
    pub replay: Replay,
    /// What members were told, and who is connected: nobody.
    pub gateway: OrderEntry,
    /// What the feed said.
    pub feed: MarketData,
    /// Writes the journal.
    pub writer: Writer,
    /// What the journal held.
    pub found: Recovery,
    /// Make files ahead of need; none while they are at work elsewhere.
    pub makers: Option<Makers>,
    /// The other ends of the gateway's and the feed's rings.
    pub ends: Ends,
    /// Where the journal is.
    pub dir: PathBuf,
    /// What its records are enciphered with.
    pub data_key: Option<Arc<DataKey>>,
    /// The venue's key.
    pub key: u64,
    /// For people.
    pub recovered: admin::Recovered,
}

/// The ends of rings that whoever leads connects.
pub struct Ends {
    /// What the gateway reads.
    pub from_gateway: Consumer<Inbound>,
    /// To the members.
    pub release_gateway: Producer<Outbound>,
    /// To the market.
    pub release_feed: Producer<Outbound>,
}

impl Warm {
    /// Recovers, behind the newest snapshot that can be used or `from_genesis`. State, session logs and feed log are
    /// functions of the journal, whether they are made from its beginning or go on from where a snapshot found them. The
    /// journal is opened in this `term`.
    ///
    /// # Errors
    /// When the journal is damaged, locked or on an unfit file system.
    pub fn recover(config: &Config, from_genesis: bool, term: Term) -> Result<Self, Failure> {
        let started = Instant::now();
        let span = span!("recover", from_genesis, commands = Empty).entered();
        allow_files(config.order_entry.sessions_max as u64)?;
        let dir = config.journal_dir();
        check_journal(&dir, term)?;
        let (gateway_sequencer, from_gateway) = ring(topology::GATEWAY_SEQUENCER.depth);
        let (release_gateway, to_gateway) = ring(topology::RELEASE_GATEWAY.depth);
        let (release_feed, to_feed) = ring(topology::RELEASE_FEED.depth);

        let mut stages = Stages::since(started);
        let data_key = config.data_key()?;
        let logs = Logs::of(config, data_key.as_deref());
        let loading = span!("load the snapshot and the logs").entered();
        let base = if from_genesis { None } else { newest_snapshot(&dir, data_key.as_ref(), &logs)? };
        let (base, encoder, [(session_log, session_maker), (feed_log, feed_maker)]) = match base {
            Some((base, Ready { encoder, logs })) => (Some(base), Some(encoder), logs),
            None => (None, None, [SessionLog::open(&logs.sessions)?, SessionLog::open(&logs.feed)?]),
        };
        drop(loading);
        stages.ended("snapshot loaded, logs opened");
        let checker = ArgonChecker::start()?;
        let mut gateway = Gateway::new(
            gateway_config(config),
            Door::Shut,
            session_log,
            gateway_sequencer,
            to_gateway,
            checker,
        );
        let mut feed = Feed::with_datagrams(feed_config(config), None, feed_log, to_feed);
        let key = ironbell_store::identity(&dir)?.key;
        let position = base.as_ref().map(|base| base.header.position);
        let mut replay = match base {
            Some(base) => {
                base.definitions().iter().try_for_each(|body| gateway.learn(body))?;
                feed.resume(encoder.expect("it was restored with its snapshot"));
                Replay::behind(base.engine, started)
            }
            None => Replay::new(key),
        };
        let replaying = span!("replay the journal").entered();
        let options = Options { term, ..config.store_options(data_key.clone()) };
        let (found, writer, segments) =
            ironbell_store::open_from(&dir, &options, position.as_ref(), &mut |header, commands| {
                for event in replay.frame(header, commands)? {
                    gateway.replay(event)?;
                    feed.replay(event)?;
                }
                Ok(())
            })?;
        drop(replaying);
        let elapsed = replay.elapsed();
        stages.ended("journal replayed");
        let hashing = span!("hash the state").entered();
        let rewritten = gateway.end_recovery().rewritten + feed.end_recovery().rewritten;
        let hashes = inspection::hashes(replay.engine());
        drop(hashing);
        stages.ended("state hashed");
        span.record("commands", replay.commands());
        let recovered = admin::Recovered {
            snapshot_seq: position.map(|position| position.chain.last_seq.0),
            commands: replay.commands(),
            ms: elapsed.as_secs_f64() * 1e3,
            commands_per_s: replay.commands() as f64 / elapsed.as_secs_f64().max(1e-9),
            torn_tail: found.torn.as_ref().map(|torn| {
                format!(
                    "{} bytes at {} of {} were never finished; kept in {}",
                    torn.bytes,
                    torn.offset,
                    torn.path.display(),
                    torn.kept.display()
                )
            }),
            log_messages_rewritten: rewritten,
            hashes,
            stages: stages.ended,
        };
        Ok(Self {
            started,
            replay,
            gateway,
            feed,
            writer,
            found,
            makers: Some(Makers { segments, logs: [session_maker, feed_maker] }),
            ends: Ends { from_gateway, release_gateway, release_feed },
            dir,
            data_key,
            key,
            recovered,
        })
    }
}

/// How long the stages of a start took.
struct Stages {
    since: Instant,
    ended: Vec<admin::Stage>,
}

impl Stages {
    fn since(since: Instant) -> Self {
        Self { since, ended: Vec::new() }
    }

    fn ended(&mut self, what: &str) {
        let now = Instant::now();
        let ms = now.duration_since(self.since).as_secs_f64() * 1e3;
        self.ended.push(admin::Stage { what: what.to_owned(), ms });
        self.since = now;
    }
}

fn check_journal(dir: &Path, term: Term) -> Result<(), Failure> {
    if !dir.is_dir() {
        return Err(Failure::file(
            dir,
            "there is no journal",
            "run `ironbell format` with this configuration first",
        ));
    }
    if term == Term::Copy {
        // The record of a void that a primary sent may still be on its way.
        return Ok(());
    }
    match ironbell_store::superblock(dir)?.voids.iter().find(|void| void.recorded == Seq(0)) {
        Some(void) => Err(Failure::refused(format_args!(
            "Seq {} was made void and the journal does not record it yet; finish that first: `ironbell journal void {} \
             --reason …` with this configuration",
            void.seq, void.seq
        ))),
        None => Ok(()),
    }
}

/// What a start goes on from beside a snapshot's state.
struct Ready {
    encoder: Encoder,
    /// What members were told, and what the feed said.
    logs: [(SessionLog, Maker); 2],
}

/// The newest snapshot that can be used and whose logs are there, opened where it found them.
fn newest_snapshot(
    dir: &Path,
    data_key: Option<&Arc<DataKey>>,
    logs: &Logs,
) -> Result<Option<(Base, Ready)>, Failure> {
    let Found { base: found, passed_over } = snapshot::newest(dir, data_key, |base| {
        let (encoder, [sessions, feed]) = (base.encoder()?, base.positions(logs)?);
        let resume = |config, positions| SessionLog::resume(config, positions).map_err(|e| e.to_string());
        Ok(Ready { encoder, logs: [resume(&logs.sessions, sessions)?, resume(&logs.feed, feed)?] })
    })?;
    passed_over.iter().for_each(|line| tracing::warn!("{line}"));
    Ok(found)
}

/// Sees that the process may open what it will need at most: a node that meets the limit later can make no
/// segment and must stop.
fn allow_files(sessions_max: u64) -> Result<(), Failure> {
    /// Listeners, segments, rings and logs.
    const OTHERS: u64 = 128;
    let needed = sessions_max + 2 * service::CONNECTIONS_MAX as u64 + OTHERS;
    let limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|maximum| maximum < needed) {
        return Err(Failure::refused(format_args!(
            "order_entry.sessions_max = {sessions_max} takes up to {needed} open files, and this process may have {}; \
             raise `ulimit -n` or choose fewer",
            limit.maximum.unwrap_or_default()
        )));
    }
    if limit.current.is_some_and(|current| current < needed) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(needed), ..limit })
            .map_err(|e| Failure::refused(format_args!("the limit of open files: {e}; raise `ulimit -n`")))?;
    }
    Ok(())
}

fn gateway_config(config: &Config) -> ironbell_gateway::Config {
    ironbell_gateway::Config {
        sessions_max: config.order_entry.sessions_max,
        idle_timeout: Nanos(config.order_entry.idle_timeout_s * 1_000_000_000),
        ..ironbell_gateway::Config::default()
    }
}

fn feed_config(config: &Config) -> ironbell_feed::Config {
    ironbell_feed::Config {
        group: config.feed.group,
        interface: config.feed.interface,
        rerequest: config.feed.rerequest,
        payload_size_max: config.feed.payload_bytes_max,
        ..ironbell_feed::Config::default()
    }
}
