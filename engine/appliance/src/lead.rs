//! Leading: the roles of one order's way, connected by rings and cursors and put on their threads.

use std::sync::mpsc;

use ironbell_device::SessionIo as _;
use ironbell_runtime::release::{self, Release};
use ironbell_runtime::sequencer::{self, Sequencer};
use ironbell_runtime::shard::{self, Batch, Shard};
use ironbell_runtime::shards::Lending;
use ironbell_runtime::{Role, Stop, SystemClock};
use ironbell_sync::metrics::RoleMetrics;
use ironbell_sync::{cursor, due, metrics, ring, voice};
use ironbell_types::{Command, MassCancelSlice, Nanos};

use crate::admin;
use crate::config::{Config, Io};
use crate::door::Door;
use crate::failure::Failure;
use crate::ha::Marks;
use crate::ha::desk::{Asked, View};
use crate::ha::primary::Primary;
use crate::node::Node;
use crate::recovery;
use crate::roles::{self, Fatal, FeedRole, GatewayRole, JournalRole, ReleaseRole, SequencerRole, ShardRole};
use crate::scribe::{self, Scribe};
use crate::service;
use crate::shadow::{self, Shadow};
use crate::space::{Space, Venue};
use crate::telemetry::span;
use crate::topology::{self, Station};
use crate::warm::{Doors, Ends, Warm};

/// What a node of a pair leads with, beside what it has recovered.
pub struct Side {
    /// What goes to the standby.
    pub primary: Primary,
    /// What that tells the release gate.
    pub marks: Marks,
    /// Where operators' orders go.
    pub asks: mpsc::Sender<Asked>,
    /// What they are shown.
    pub view: View,
}

impl Warm {
    /// Starts every role: members may connect. What is durable is committed, unless there is a `side`.
    ///
    /// # Errors
    /// When an address of the service role is taken, or there is no thread.
    pub fn lead(self, config: &Config, doors: Doors, side: Option<Side>) -> Result<Node, Failure> {
        let Self {
            started,
            replay,
            mut gateway,
            mut feed,
            writer,
            found,
            makers,
            ends,
            dir,
            data_key,
            key,
            recovered,
        } = self;
        let _span = span!("lead", epoch = writer.promised()).entered();
        let Ends { from_gateway, release_gateway, release_feed } = ends;
        let order_entry = doors.order_entry.local_addr();
        let rerequest = doors.feed.rerequest_at();
        let (order_entry_by, feed_by) = (doors.order_entry.by(), doors.feed.by().map(str::to_owned));
        if let Some(ha) = config.ha.as_ref().filter(|_| side.is_some()) {
            gateway.forgive(Nanos(ha.disconnect_grace.0));
        }
        gateway.listen(doors.order_entry);
        let (gateway_voice, gateway_ear) = voice(scribe::DEPTH);
        gateway.speak(gateway_voice);
        let (shadow_voice, shadow_ear) = voice(scribe::DEPTH);
        feed.open(Some(doors.feed));
        // The other rings and cursors, in the order of one order's way.
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
        let (release_shadow, to_shadow) = ring(topology::RELEASE_SHADOW.depth);
        let (frames_durable, frames_durable_reader) = cursor(0);
        let (next_due, next_due_reader) = due();

        let (primary, marks, desk) = match side {
            Some(Side { primary, marks, asks, view }) => (Some(primary), Some(marks), Some((asks, view))),
            None => (None, None, None),
        };
        let commit = marks.as_ref().map_or_else(|| writer.durable(), |marks| marks.commit.clone());
        let permission = marks.map(|marks| marks.permission);
        let epoch = writer.promised();
        let (released_seq, released) = cursor(replay.engine().last_seq().0);
        let (engine, twin) = recovery::with_twin(replay.finish().engine, key, config)?;
        let channel = feed.channel();

        let metrics_path = config.data_dir.join("metrics");
        let threads = topology::threads(&config.placement, &topology::allowed(), config.shards.count);
        let names: Vec<_> = threads.iter().map(|thread| format!("thread {}", thread.name)).collect();
        let idle_spec = |name| metrics::Spec {
            role: name,
            counters: &ironbell_runtime::placement::IDLE_COUNTERS,
            histograms: &[],
        };
        let bypass = (config.order_entry.io == Io::Xdp).then_some(roles::BYPASS);
        let threads_idle = names.iter().map(|name| idle_spec(name.as_str()));
        let specs: Vec<_> = roles::SPECS.into_iter().chain(bypass).chain(threads_idle).collect();
        let mut metrics = metrics::create(&metrics_path, &specs).map_err(Failure::refused)?.into_iter();
        let mut next_metrics = || -> RoleMetrics {
            metrics.next().expect("one section a role").counting_latencies(config.metrics.latency)
        };
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
        })
        .speaking(shadow_voice);

        let mut gateway =
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
        let journal = JournalRole::new(
            writer,
            primary,
            to_journal,
            frames_durable,
            next_metrics(),
            fatal.clone(),
            stop.clone(),
        );
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
                permission: permission.clone(),
            },
            released_seq,
            roles::observe_released(next_metrics()),
        );
        let feed = FeedRole::new(feed, next_metrics(), fatal.clone(), stop.clone());

        let shard = ShardRole::new(shard, next_metrics());
        let release = ReleaseRole::new(release, next_metrics());
        let scribe = Scribe::new(gateway_ear, shadow_ear, next_metrics());
        if bypass.is_some() {
            gateway = gateway.with_beneath(next_metrics(), Door::tell);
        }
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
            order_entry_by,
            feed_by,
            feed: config.feed.group.to_string(),
            rerequest: rerequest.to_string(),
            listening: None,
            durability: durability.clone(),
            sessions_max: config.order_entry.sessions_max,
            journal_dir: config.journal_dir(),
            epoch,
            recovery: recovered.clone(),
            started,
            metrics: metrics::Reader::open(&metrics_path).map_err(Failure::refused)?,
            signing_metrics: crate::signing::Files::of(config).metrics(),
            threads: table,
        };
        let service_plan = service::Plan {
            itch: config.service.itch,
            glimpse: config.service.glimpse,
            admin: config.admin_socket(),
            signing: config.signing.as_ref().map(|_| config.signing_socket()),
            cpu: config.placement.service_cpu,
            shadow,
            scribe,
            channel,
            context,
            site: config.signing.as_ref().and_then(|signing| signing.publish.clone()),
            admin_sequencer,
            pair: desk,
            permission,
        };
        let (listening, service) = service::start(service_plan, stop.clone())?;
        let background = vec![service];
        let space = Space {
            makers: makers.expect("a node that leads has its makers"),
            venue: Some(Venue { sequencer: space_sequencer, halted }),
            fatal: fatal.clone(),
            spent: spent.clone(),
            stop: stop.clone(),
        };
        let space = space.start()?;

        let mut threads = Vec::new();
        for plan in plans {
            let thread = plan.start(stop.clone());
            threads.push(thread.map_err(Failure::no_thread)?);
        }
        Ok(Node {
            threads,
            background,
            space,
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
}
