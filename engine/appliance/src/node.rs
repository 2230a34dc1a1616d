//! A node: recovery, then one order's way from wire to wire, connected by rings and cursors.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ironbell_device::Acceptor as _;
use ironbell_device::kernel::KernelAcceptor;
use ironbell_feed::{Encoder, Feed};
use ironbell_gateway::{ArgonChecker, Gateway};
use ironbell_runtime::release::{self, Release};
use ironbell_runtime::sequencer::{self, Sequencer};
use ironbell_runtime::shard::{self, Batch, Shard};
use ironbell_runtime::shards::Lending;
use ironbell_runtime::{Role, Stop, SystemClock};
use ironbell_sessionlog::{Maker, SessionLog};
use ironbell_store::DataKey;
use ironbell_sync::metrics::RoleMetrics;
use ironbell_sync::{CursorReader, cursor, due, metrics, ring};
use ironbell_types::{Command, MassCancelSlice, Nanos, Seq};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::admin;
use crate::config::Config;
use crate::failure::Failure;
use crate::inspection;
use crate::recovery::{self, Replay};
use crate::roles::{self, Fatal, FeedRole, GatewayRole, JournalRole, ReleaseRole, SequencerRole, ShardRole};
use crate::service;
use crate::shadow::{self, Shadow};
use crate::snapshot::{self, Base, Found, Keeper, Logs};
use crate::space::Space;
use crate::topology::{self, Station};

/// `ironbell run`.
///
/// # Errors
/// When the node cannot start, or stops because its journal failed.
pub fn run(path: &Path, hlog: Option<&Path>, from_genesis: bool) -> Result<(), Failure> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false).init();
    let config = Config::read(path)?;
    crate::tune::is_fit(&config)?;
    let signals = signals()?;
    let node = Node::start(&config, from_genesis)?;
    let mut keeper = Keeper::new(&config, path, node.recovered.snapshot_seq.unwrap_or(0));
    let mut hlog = hlog.map(|file| crate::hlog::StageLog::create(file, &node.metrics_path)).transpose()?;
    let _ = writeln!(std::io::stdout(), "{}", node.ready_line());
    let mut logged = Ok(());
    while !signals.load(Ordering::Acquire) && !node.is_ending() && logged.is_ok() {
        std::thread::sleep(Duration::from_millis(20));
        keeper.tick(node.commit.get());
        logged = hlog.as_mut().map_or(Ok(()), crate::hlog::StageLog::tick);
    }
    // A full disk under the latency log ends the node in good order all the same.
    let logged = logged.and_then(|()| hlog.map_or(Ok(()), crate::hlog::StageLog::finish));
    let commit = node.commit.clone();
    node.finish().and(logged)?;
    // Whoever started the node may have closed the pipe after the first line.
    let _ = writeln!(std::io::stdout(), "stopped: drained, journal sealed at seq {}", commit.get());
    Ok(())
}

/// Set by SIGTERM or SIGINT; a second one ends the process at once, with the exit code of a process that a
/// signal ended (128 and its number).
fn signals() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        let registered =
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&flag))
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&flag)));
        registered.map_err(|e| Failure::refused(format_args!("signal handlers: {e}; report this")))?;
    }
    Ok(flag)
}

/// A running node.
pub struct Node {
    threads: Vec<std::thread::JoinHandle<Vec<Box<dyn Role>>>>,
    background: Vec<std::thread::JoinHandle<()>>,
    /// Ends every thread.
    stop: Stop,
    draining: Stop,
    quiet: Stop,
    commit: CursorReader,
    released: CursorReader,
    fatal: Fatal,
    /// Why it stops in good order: what was kept in reserve on the disk is used up.
    spent: Fatal,
    order_entry: std::net::SocketAddr,
    listening: service::Listening,
    metrics_path: std::path::PathBuf,
    durability: String,
    recovered: admin::Recovered,
}

impl Node {
    /// Recovers, behind the newest snapshot that can be used or `from_genesis`, and starts every role.
    ///
    /// # Errors
    /// When the journal is damaged, locked or on an unfit file system, or an address is taken.
    pub fn start(config: &Config, from_genesis: bool) -> Result<Self, Failure> {
        let started = Instant::now();
        allow_files(config.order_entry.sessions_max as u64)?;
        let dir = config.journal_dir();
        if !dir.is_dir() {
            return Err(Failure::file(
                &dir,
                "there is no journal",
                "run `ironbell format` with this configuration first",
            ));
        }
        if let Some(void) =
            ironbell_store::superblock(&dir)?.voids.iter().find(|void| void.recorded == Seq(0))
        {
            return Err(Failure::refused(format_args!(
                "Seq {} was made void and the journal does not record it yet; finish that first: `ironbell journal void {} \
                 --reason …` with this configuration",
                void.seq, void.seq
            )));
        }
        let acceptor = KernelAcceptor::bind(config.order_entry.listen)
            .map_err(|e| Failure::refused(format_args!("order_entry.listen: {e}")))?;
        let order_entry = acceptor.local_addr();
        // Rings and cursors, in the order of one order's way.
        let (gateway_sequencer, from_gateway) = ring(topology::GATEWAY_SEQUENCER.depth);
        let (admin_sequencer, from_admin) = ring(topology::ADMIN_SEQUENCER.depth);
        let (space_sequencer, from_space) = ring(topology::SPACE_SEQUENCER.depth);
        let (sequencer_journal, to_journal) = ring(topology::SEQUENCER_JOURNAL.depth);
        let (sequencer_shard, to_shard) = ring(topology::SEQUENCER_SHARD.depth);
        let (shard_sequencer, from_shard) = ring(topology::SHARD_SEQUENCER.depth);
        let (shard_release, to_release) = ring(topology::SHARD_RELEASE.depth);
        let (mut release_shard, batches) = ring(topology::SHARD_RELEASE.depth);
        for _ in 0..topology::SHARD_RELEASE.depth {
            release_shard.push(Batch::new(config.shards.count)).expect("the ring is empty");
        }
        let (release_gateway, to_gateway) = ring(topology::RELEASE_GATEWAY.depth);
        let (release_feed, to_feed) = ring(topology::RELEASE_FEED.depth);
        let (release_shadow, to_shadow) = ring(topology::RELEASE_SHADOW.depth);
        let (frames_durable, frames_durable_reader) = cursor(0);
        let (next_due, next_due_reader) = due();

        // Recovery: state, session logs and feed log are functions of the journal, whether they are made from its
        // beginning or go on from where a snapshot found them.
        let data_key = config.data_key()?;
        let logs = Logs::of(config, data_key.as_deref());
        let base = if from_genesis { None } else { newest_snapshot(&dir, data_key.as_ref(), &logs)? };
        let (base, encoder, [(session_log, session_maker), (feed_log, feed_maker)]) = match base {
            Some((base, Ready { encoder, logs })) => (Some(base), Some(encoder), logs),
            None => (None, None, [SessionLog::open(&logs.sessions)?, SessionLog::open(&logs.feed)?]),
        };
        let login_checker = ArgonChecker::start()?;
        let mut gateway = Gateway::new(
            gateway_config(config),
            acceptor,
            session_log,
            gateway_sequencer,
            to_gateway,
            login_checker,
        );
        let mut feed = Feed::new(feed_config(config), feed_log, to_feed)?;
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
        let options = config.store_options(data_key.clone());
        let (found, writer, segment_maker) =
            ironbell_store::open_from(&dir, &options, position.as_ref(), &mut |header, commands| {
                for event in replay.frame(header, commands)? {
                    gateway.replay(event)?;
                    feed.replay(event)?;
                }
                Ok(())
            })?;
        let replayed = replay.finish();
        let commit = writer.durable();
        let epoch = writer.epoch();
        let (released_seq, released) = cursor(replayed.engine.last_seq().0);
        let rewritten = gateway.end_recovery().rewritten + feed.end_recovery().rewritten;
        let recovered = admin::Recovered {
            snapshot_seq: position.map(|position| position.chain.last_seq.0),
            commands: replayed.commands,
            ms: replayed.elapsed.as_secs_f64() * 1e3,
            commands_per_s: replayed.commands_per_s(),
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
            hashes: inspection::hashes(&replayed.engine),
        };
        let (engine, twin) = recovery::with_twin(replayed.engine, key, config)?;
        let channel = feed.channel();
        let rerequest = feed.rerequest_at();

        let metrics_path = config.data_dir.join("metrics");
        let threads = topology::threads(&config.placement, &topology::allowed(), config.shards.count);
        let names: Vec<_> = threads.iter().map(|thread| format!("thread {}", thread.name)).collect();
        let idle_spec = |name| metrics::Spec {
            role: name,
            counters: &ironbell_runtime::placement::IDLE_COUNTERS,
            histograms: &[],
        };
        let specs: Vec<_> =
            roles::SPECS.into_iter().chain(names.iter().map(|name| idle_spec(name.as_str()))).collect();
        let mut metrics = metrics::create(&metrics_path, &specs).map_err(Failure::refused)?.into_iter();
        let mut next_metrics = || -> RoleMetrics { metrics.next().expect("one section a role") };
        let (stop, draining, quiet) = (Stop::default(), Stop::default(), Stop::default());
        let (fatal, spent) = (Fatal::default(), Fatal::default());
        let halted = engine.order_entry_halted();
        let shadow = Shadow::new(shadow::Parts {
            engine: twin,
            encoder: feed.encoder().clone(),
            input: to_shadow,
            released: released.clone(),
            journal_dir: dir,
            data_key,
        });

        let gateway =
            GatewayRole::new(gateway, next_metrics(), draining.clone(), fatal.clone(), stop.clone());
        let asks = engine.pending_asks().filter_map(|ask| match ask {
            Command::MassCancelSlice(slice) => Some(slice),
            _ => None,
        });
        let asks: Vec<MassCancelSlice> = asks.collect();
        let sequencer = Sequencer::new(
            SystemClock,
            sequencer::Connections {
                inputs: vec![from_gateway, from_admin, from_space],
                shard_sequencer: from_shard,
                sequencer_journal,
                sequencer_shard,
                frames_durable: frames_durable_reader,
                commit: commit.clone(),
                next_due: next_due_reader,
            },
            sequencer::Start {
                seq: engine.last_seq(),
                time: engine.last_time(),
                output_hash: engine.output_hash(),
                commit: found.commit,
            },
            config.journal.in_flight,
            Nanos(config.journal.quiescence_ms * 1_000_000),
            asks,
        );
        let sequencer = SequencerRole::new(sequencer, next_metrics(), draining.clone(), quiet.clone());
        let journal =
            JournalRole::new(writer, to_journal, frames_durable, next_metrics(), fatal.clone(), stop.clone());
        let (shard, workers) = Shard::new(
            engine,
            Lending { run_min: config.shards.run_min, ..Lending::default() },
            shard::Connections {
                sequencer_shard: to_shard,
                shard_sequencer,
                shard_release,
                release_shard: batches,
                next_due,
            },
        );
        let release = Release::new(
            release::Connections {
                shard_release: to_release,
                release_shard,
                outputs: vec![release_gateway, release_feed],
                release_shadow,
                commit: commit.clone(),
            },
            released_seq,
            roles::observe_released(next_metrics()),
        );
        let feed = FeedRole::new(feed, next_metrics(), fatal.clone(), stop.clone());

        let shard = ShardRole::new(shard, next_metrics());
        let release = ReleaseRole::new(release, next_metrics());
        let mut roles: Vec<(Station, Box<dyn Role>)> = vec![
            (Station::Gateway, Box::new(gateway)),
            (Station::Sequencer, Box::new(sequencer)),
            (Station::Journal, Box::new(journal)),
            (Station::Shard(0), Box::new(shard)),
            (Station::Release, Box::new(release)),
            (Station::Feed, Box::new(feed)),
        ];
        for (n, worker) in workers.into_iter().enumerate() {
            roles.push((Station::Shard(n + 1), Box::new(worker)));
        }
        let mut plans = topology::place(&threads, topology::idle(&config.placement), roles);
        plans.iter_mut().for_each(|plan| plan.metrics = Some(next_metrics()));
        let mut table: Vec<String> = threads.iter().map(ToString::to_string).collect();
        table.extend(topology::background(&config.placement));

        let durability = format!("{:?}", config.journal.durability).to_lowercase();
        let context = admin::Context {
            order_entry: order_entry.to_string(),
            feed: config.feed.group.to_string(),
            rerequest: rerequest.to_string(),
            listening: None,
            durability: durability.clone(),
            journal_dir: config.journal_dir(),
            epoch,
            recovery: recovered.clone(),
            started,
            metrics: metrics::Reader::open(&metrics_path).map_err(Failure::refused)?,
            threads: table,
        };
        let service_plan = service::Plan {
            itch: config.service.itch,
            glimpse: config.service.glimpse,
            admin: config.admin_socket(),
            cpu: config.placement.service_cpu,
            shadow,
            channel,
            context,
            admin_sequencer,
        };
        let (listening, service) = service::start(service_plan, stop.clone())?;
        let mut background = vec![service];
        let space = Space {
            segments: segment_maker,
            logs: [session_maker, feed_maker],
            sequencer: space_sequencer,
            halted,
            fatal: fatal.clone(),
            spent: spent.clone(),
            stop: stop.clone(),
        };
        background.push(space.start()?);

        let mut threads = Vec::new();
        for plan in plans {
            let thread = plan.start(stop.clone());
            threads.push(
                thread.map_err(|e| {
                    Failure::refused(format_args!("no thread ({e}); raise the process limit"))
                })?,
            );
        }
        Ok(Self {
            threads,
            background,
            stop,
            draining,
            quiet,
            commit,
            released,
            fatal,
            spent,
            order_entry,
            listening,
            metrics_path,
            durability,
            recovered,
        })
    }

    /// Whether it is stopping, or has to, by itself.
    fn is_ending(&self) -> bool {
        self.stop.asked() || self.spent.why().is_some()
    }

    /// One line: what listens where.
    #[must_use]
    pub fn ready_line(&self) -> String {
        format!(
            "ready: order entry {}, ITCH {}, GLIMPSE {}, durability {}, {} commands recovered in {:.1} ms{}",
            self.order_entry,
            self.listening.itch,
            self.listening.glimpse,
            self.durability,
            self.recovered.commands,
            self.recovered.ms,
            self.recovered.behind()
        )
    }

    /// Stops in good order: accept and read no more, drain, seal. After a failed write there is nothing to
    /// drain: what was not safe was not said.
    ///
    /// # Errors
    /// When the node had stopped by itself.
    pub fn finish(self) -> Result<(), Failure> {
        /// A disk that takes longer than this for a handful of frames will not come back.
        const DRAIN_MAX: Duration = Duration::from_secs(10);
        self.draining.ask();
        let since = Instant::now();
        while !self.quiet.asked() && !self.stop.asked() && since.elapsed() < DRAIN_MAX {
            std::thread::sleep(Duration::from_millis(1));
        }
        let drained = self.quiet.asked();
        while drained && self.released.get() < self.commit.get() && since.elapsed() < DRAIN_MAX {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.stop.ask();
        let panicked = self.threads.into_iter().map(|t| t.join().is_err()).fold(false, |any, one| any | one)
            | self.background.into_iter().map(|t| t.join().is_err()).fold(false, |any, one| any | one);
        if let Some(why) = self.fatal.why() {
            return Err(Failure::poisoned(format_args!("stopped: {why}")));
        }
        if let Some(why) = self.spent.why().filter(|_| drained) {
            return Err(Failure::poisoned(format_args!("stopped: drained, journal sealed: {why}")));
        }
        if panicked {
            return Err(Failure::check(
                "a role broke an invariant of its own and stopped; keep the journal and report this",
            ));
        }
        if !drained {
            return Err(Failure::poisoned(format_args!(
                "stopped with commands not yet executed or on disk after {} s, none of them answered; see why the disk is that slow",
                DRAIN_MAX.as_secs()
            )));
        }
        Ok(())
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
