//! The roles of crates that do not know [`Role`]: journal, gateway and feed, with their metrics.
//!
//! Stage latencies are counted from the moment a gateway had read the message, so that each stage
//! includes those before it: gateway_in ≤ sequenced ≤ risk ≤ matched ≤ executed, durable, replicated ≤ released ≤ gateway_out, feed_out.
//! Risk and matching are told apart where shards share a frame; one at a time they are one stretch of code, and what is
//! `executed` is settled. What lies before, from when the kernel or the card had the bytes until the gateway read them, is
//! `kernel_to_gateway` and `card_to_gateway`, where `order_entry.rx_timestamps` asks for it.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ironbell_device::SessionIo;
use ironbell_feed::Feed;
use ironbell_feed::datagrams::Datagrams;

use ironbell_gateway::{Gateway, LoginChecker, Stage};
use ironbell_runtime::release::{Release, Released};
use ironbell_runtime::sequencer::Sequencer;
use ironbell_runtime::shard::Shard;
use ironbell_runtime::{Clock, Role, SharedFrame, Stop};
use ironbell_store::Writer;
use ironbell_sync::metrics::{RoleMetrics, Spec};
use ironbell_sync::{Consumer, CursorWriter, TickScale, ticks};
use ironbell_types::Nanos;

use crate::ha::primary::Primary;

/// What each role counts; [`RoleMetrics`] come in this order. `ring_` counters say how full a ring is
/// (`topology::rings`), seen now and then.
pub const SPECS: [Spec<'static>; 8] = [
    Spec {
        role: "gateway",
        counters: &[
            "sessions",
            "logins",
            "messages_in",
            "messages_out",
            "malformed",
            "disconnects",
            "sessions_open",
            "turned_away",
            "logins_refused",
            "violations",
            "accept_errors",
            "log_damaged",
        ],
        histograms: &["gateway_in", "gateway_out", "kernel_to_gateway", "card_to_gateway"],
    },
    Spec {
        role: "sequencer",
        counters: &[
            "seq",
            "frames",
            "commands",
            "waits",
            "ticks",
            "deferred",
            "ring_gateway_sequencer",
            "ring_admin_sequencer",
        ],
        histograms: &[],
    },
    Spec {
        role: "journal",
        counters: &["frames", "bytes", "durable_seq", "ring_sequencer_journal"],
        histograms: &["durable", "replicated"],
    },
    Spec {
        role: "release",
        counters: &["frames", "events"],
        histograms: &["sequenced", "executed", "released", "risk", "matched"],
    },
    Spec {
        role: "feed",
        counters: &["sequence", "packets", "packets_dropped", "rerequests"],
        histograms: &["feed_out"],
    },
    Spec {
        role: "shard",
        counters: &["commands_home", "commands_lent", "supersteps", "cuts", "loans", "ring_sequencer_shard"],
        histograms: &[],
    },
    Spec {
        role: "rings",
        counters: &["ring_shard_release", "ring_release_gateway", "ring_release_feed", "ring_release_shadow"],
        histograms: &[],
    },
    // What roles said to people: written to the log, dropped for want of room; what the journal, and the collector of spans,
    // did not take.
    Spec { role: "log", counters: &["written", "dropped", "unsent", "spans_unsent"], histograms: &[] },
];

/// What is counted of the TCP of our own, where order entry runs over it (`order_entry.io = "xdp"`).
pub const BYPASS: Spec<'static> = Spec {
    role: "bypass",
    counters: &[
        "connections",
        "half_open",
        "cookies_sent",
        "cookies_redeemed",
        "connected",
        "refused",
        "aborted",
        "segments_unknown",
        "frames",
        "frames_ignored",
        "frames_dropped",
        "tx_full",
    ],
    histograms: &[],
};

/// Why a node stopped by itself; the first reason stays.
#[derive(Clone, Debug, Default)]
pub struct Fatal(Arc<OnceLock<String>>);

impl Fatal {
    /// Says why, and asks every thread to stop: nothing more is released.
    pub fn stop(&self, why: String, stop: &Stop) {
        let _ = self.0.set(why);
        stop.ask();
    }

    /// Says why, and leaves the stopping to whoever looks.
    pub fn note(&self, why: String) {
        let _ = self.0.set(why);
    }

    /// Why, if it did.
    #[must_use]
    pub fn why(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }
}

/// Stands for the time at which a gateway had read a frame that the journal's role began by itself.
const OWN: u64 = u64::MAX;

/// Writes frames. After a failed write nothing is retried: the node stops.
pub struct JournalRole {
    writer: Writer,
    input: Consumer<SharedFrame>,
    /// Of a node with a standby: what is sent there, and what is committed.
    primary: Option<Primary>,
    frames_durable: CursorWriter,
    /// Frames that were appended in this role, those that begin an epoch included, and how many of them are durable.
    appended: u64,
    over: u64,
    /// For each frame on its way to the disk, when a gateway had read its first command.
    under_way: VecDeque<u64>,
    /// Of a node with a standby: frames that are not committed, by their last Seq, and when a gateway had read their first
    /// command.
    uncommitted: VecDeque<(u64, u64)>,
    metrics: RoleMetrics,
    scale: TickScale,
    fatal: Fatal,
    stop: Stop,
}

/// Frames whose way to the standby is measured at once; of more the rest is left out.
const UNCOMMITTED_MAX: usize = 4_096;

impl JournalRole {
    /// The role over an open journal.
    #[must_use]
    pub fn new(
        writer: Writer,
        primary: Option<Primary>,
        input: Consumer<SharedFrame>,
        frames_durable: CursorWriter,
        metrics: RoleMetrics,
        fatal: Fatal,
        stop: Stop,
    ) -> Self {
        let under_way = VecDeque::with_capacity(64);
        let uncommitted = VecDeque::with_capacity(if primary.is_some() { UNCOMMITTED_MAX } else { 0 });
        Self {
            writer,
            input,
            primary,
            frames_durable,
            appended: 0,
            over: 0,
            under_way,
            uncommitted,
            metrics,
            scale: TickScale::new(),
            fatal,
            stop,
        }
    }

    fn work(&mut self) -> Result<usize, ironbell_store::Error> {
        let mut work = self.reap()?;
        while self.writer.can_begin() {
            let Ok(frame) = self.input.pop() else { break };
            self.writer.append(&frame.commands, frame.commit, frame.executed)?;
            let received = frame.received.first().copied().unwrap_or(0);
            self.begun(received);
            if let Some(primary) = &mut self.primary {
                if let (1.., Some(last)) = (received, frame.last_seq())
                    && self.uncommitted.len() < UNCOMMITTED_MAX
                {
                    self.uncommitted.push_back((last.0, received));
                }
                primary.appended(&self.writer.last_copy().expect("one was just appended"));
            }
            work += 1;
        }
        // A write to the page cache is over when it is begun: what it holds need not wait for the next round.
        work += self.reap()?;
        if let Some(primary) = &mut self.primary {
            let before = self.writer.frames();
            work += primary.poll(&mut self.writer)?;
            let committed = primary.committed();
            while let Some((_, received)) = self.uncommitted.pop_front_if(|(last, _)| *last <= committed) {
                self.metrics.record(1, self.scale.nanos(received, ticks()));
            }
            // An epoch that was begun is no frame of the sequencer's.
            for _ in before..self.writer.frames() {
                self.begun(OWN);
            }
        }
        Ok(work)
    }

    /// Takes note of what is durable by now.
    fn reap(&mut self) -> Result<usize, ironbell_store::Error> {
        let done = self.writer.poll()?;
        if done > 0 {
            self.count_durable();
        }
        Ok(done)
    }

    fn begun(&mut self, received: u64) {
        self.appended += 1;
        self.under_way.push_back(received);
    }

    fn count_durable(&mut self) {
        let (now, over) = (ticks(), self.appended - self.writer.in_flight() as u64);
        let mut durable = self.frames_durable.get();
        for received in self.under_way.drain(..(over - self.over) as usize) {
            durable += u64::from(received != OWN);
            if received > 0 && received != OWN {
                self.metrics.record(0, self.scale.nanos(received, now));
            }
        }
        self.over = over;
        self.frames_durable.advance(durable);
        self.metrics.set(0, durable);
        self.metrics.set(1, self.writer.bytes());
        self.metrics.set(2, self.writer.durable().get());
        self.metrics.set(3, self.input.slots() as u64);
    }
}

impl Role for JournalRole {
    fn name(&self) -> &'static str {
        "journal"
    }

    fn poll(&mut self, _now: Nanos) -> usize {
        if self.fatal.why().is_some() {
            return 0;
        }
        self.work().unwrap_or_else(|error| {
            self.fatal.stop(error.to_string(), &self.stop);
            0
        })
    }

    fn finish(&mut self) {
        if self.fatal.why().is_none()
            && let Err(error) = self.writer.seal()
        {
            self.fatal.stop(error.to_string(), &self.stop);
        }
    }
}

/// Counters are copied to the metrics segment once in so many polls: nobody reads them more often.
const POLLS_PER_COPY: u32 = 1_024;

/// The sequencer, and the last steps of a graceful stop.
pub struct SequencerRole<C> {
    sequencer: Sequencer<C>,
    metrics: RoleMetrics,
    draining: Stop,
    quiet: Stop,
    polls: u32,
}

impl<C: Clock> SequencerRole<C> {
    /// When `draining` is asked and nothing is left to do, `quiet` is.
    #[must_use]
    pub fn new(sequencer: Sequencer<C>, metrics: RoleMetrics, draining: Stop, quiet: Stop) -> Self {
        Self { sequencer, metrics, draining, quiet, polls: 0 }
    }
}

impl<C: Clock> Role for SequencerRole<C> {
    fn name(&self) -> &'static str {
        "sequencer"
    }

    fn poll(&mut self, now: Nanos) -> usize {
        let work = self.sequencer.poll(now);
        self.polls = self.polls.wrapping_add(1);
        if self.polls.is_multiple_of(POLLS_PER_COPY) || self.draining.asked() {
            let counters = self.sequencer.counters();
            self.metrics.set(0, self.sequencer.seq().0);
            self.metrics.set(1, counters.frames);
            self.metrics.set(2, counters.commands);
            self.metrics.set(3, counters.waits);
            self.metrics.set(4, counters.ticks);
            self.metrics.set(5, counters.deferred);
            for (n, waiting) in self.sequencer.waiting().take(2).enumerate() {
                self.metrics.set(6 + n, waiting as u64);
            }
        }
        if !self.draining.asked() {
            self.sequencer.resume();
        } else {
            self.sequencer.stop();
            if work == 0 && self.sequencer.is_quiet() {
                self.quiet.ask();
            }
        }
        work
    }
}

/// The first shard, which leads the others.
pub struct ShardRole {
    shard: Shard,
    metrics: RoleMetrics,
    polls: u32,
}

impl ShardRole {
    /// The role over a shard.
    #[must_use]
    pub fn new(shard: Shard, metrics: RoleMetrics) -> Self {
        Self { shard, metrics, polls: 0 }
    }
}

impl Role for ShardRole {
    fn name(&self) -> &str {
        self.shard.name()
    }

    fn poll(&mut self, now: Nanos) -> usize {
        let work = self.shard.poll(now);
        self.polls = self.polls.wrapping_add(1);
        if self.polls.is_multiple_of(POLLS_PER_COPY) {
            let counters = self.shard.counters();
            self.metrics.set(0, counters.commands_home);
            self.metrics.set(1, counters.commands_lent);
            self.metrics.set(2, counters.supersteps);
            self.metrics.set(3, counters.cuts);
            self.metrics.set(4, counters.loans);
            self.metrics.set(5, self.shard.frames_waiting() as u64);
        }
        work
    }
}

/// The release gate, and how full the rings at it are.
pub struct ReleaseRole<F> {
    release: Release<F>,
    rings: RoleMetrics,
    polls: u32,
}

impl<F: FnMut(Released) + Send> ReleaseRole<F> {
    /// The role over a release gate.
    #[must_use]
    pub fn new(release: Release<F>, rings: RoleMetrics) -> Self {
        Self { release, rings, polls: 0 }
    }
}

impl<F: FnMut(Released) + Send> Role for ReleaseRole<F> {
    fn name(&self) -> &str {
        "release"
    }

    fn poll(&mut self, now: Nanos) -> usize {
        let work = self.release.poll(now);
        self.polls = self.polls.wrapping_add(1);
        if self.polls.is_multiple_of(POLLS_PER_COPY) {
            self.rings.set(0, self.release.waiting() as u64);
            for (n, waiting) in self.release.told().take(3).enumerate() {
                self.rings.set(1 + n, waiting as u64);
            }
        }
        work
    }
}

/// Counts released frames; the release gate calls it.
pub fn observe_released(mut metrics: RoleMetrics) -> impl FnMut(Released) + Send {
    let scale = TickScale::new();
    move |frame| {
        metrics.add(0, 1);
        metrics.add(1, frame.events as u64);
        if frame.received > 0 {
            metrics.record(0, scale.nanos(frame.received, frame.sequenced));
            metrics.record(1, scale.nanos(frame.received, frame.executed));
            metrics.record(2, scale.nanos(frame.received, frame.released));
            let [risk, matched] = frame.stages_done;
            if risk > 0 {
                metrics.record(3, scale.nanos(frame.received, risk));
                metrics.record(4, scale.nanos(frame.received, matched));
            }
        }
    }
}

/// Order entry.
pub struct GatewayRole<I: SessionIo, L> {
    gateway: Gateway<I, L>,
    metrics: RoleMetrics,
    /// What is copied where from what is beneath the gateway.
    beneath: Option<(RoleMetrics, Beneath<I>)>,
    scale: TickScale,
    draining: Stop,
    fatal: Fatal,
    stop: Stop,
    polls: u32,
    last_poll: Nanos,
}

/// Copies the counters of what moves a gateway's bytes.
pub type Beneath<I> = fn(&I, &mut RoleMetrics);

impl<I: SessionIo, L: LoginChecker> GatewayRole<I, L> {
    /// When `draining` is asked it accepts and reads no more.
    #[must_use]
    pub fn new(
        gateway: Gateway<I, L>,
        metrics: RoleMetrics,
        draining: Stop,
        fatal: Fatal,
        stop: Stop,
    ) -> Self {
        Self {
            gateway,
            metrics,
            beneath: None,
            scale: TickScale::new(),
            draining,
            fatal,
            stop,
            polls: 0,
            last_poll: Nanos(0),
        }
    }

    /// Has `copy` tell, now and then, what is beneath the gateway.
    #[must_use]
    pub fn with_beneath(mut self, metrics: RoleMetrics, copy: Beneath<I>) -> Self {
        self.beneath = Some((metrics, copy));
        self
    }
}

impl<I: SessionIo<Connection: Send> + Send, L: LoginChecker + Send> Role for GatewayRole<I, L> {
    fn name(&self) -> &'static str {
        "gateway"
    }

    fn poll(&mut self, now: Nanos) -> usize {
        self.last_poll = now;
        if self.draining.asked() {
            self.gateway.stop_accepting();
        } else {
            self.gateway.resume_accepting();
        }
        let Self { gateway, metrics, scale, .. } = self;
        let work = gateway.poll_observed(now, &mut |stage, took| {
            let (histogram, nanos) = match stage {
                Stage::In => (0, scale.nanos(0, took)),
                Stage::Out => (1, scale.nanos(0, took)),
                Stage::Kernel => (2, took),
                Stage::Card => (3, took),
            };
            metrics.record(histogram, nanos);
        });
        if let Some(failure) = gateway.failure() {
            self.fatal.stop(failure.to_string(), &self.stop);
        }
        self.polls = self.polls.wrapping_add(1);
        if self.polls.is_multiple_of(POLLS_PER_COPY) {
            let counters = self.gateway.counters();
            self.metrics.set(0, counters.sessions);
            self.metrics.set(1, counters.logins);
            self.metrics.set(2, counters.messages_in);
            self.metrics.set(3, counters.messages_out);
            self.metrics.set(4, counters.malformed);
            self.metrics.set(5, counters.disconnects);
            self.metrics.set(6, self.gateway.sessions_open() as u64);
            self.metrics.set(7, counters.turned_away);
            self.metrics.set(8, counters.logins_refused);
            self.metrics.set(9, counters.violations);
            self.metrics.set(10, counters.accept_errors);
            self.metrics.set(11, counters.log_damaged);
            if let Some((metrics, copy)) = &mut self.beneath {
                copy(self.gateway.io(), metrics);
            }
        }
        work
    }

    fn wait(&mut self, at_most: Duration) -> bool {
        // Who does not read is not woken by what could be read.
        !self.draining.asked() && self.gateway.wait(at_most)
    }

    /// What is released by now still goes to the members, as far as their connections take it.
    fn finish(&mut self) {
        const POLLS_MAX: usize = 10_000;
        self.gateway.stop_accepting();
        for _ in 0..POLLS_MAX {
            if self.gateway.poll(self.last_poll) == 0 {
                break;
            }
        }
    }
}

/// Market data out.
pub struct FeedRole<D> {
    feed: Feed<D>,
    metrics: RoleMetrics,
    scale: TickScale,
    fatal: Fatal,
    stop: Stop,
    polls: u32,
}

impl<D: Datagrams> FeedRole<D> {
    /// The role over a feed.
    #[must_use]
    pub fn new(feed: Feed<D>, metrics: RoleMetrics, fatal: Fatal, stop: Stop) -> Self {
        Self { feed, metrics, scale: TickScale::new(), fatal, stop, polls: 0 }
    }
}

impl<D: Datagrams + Send> Role for FeedRole<D> {
    fn name(&self) -> &'static str {
        "feed"
    }

    fn poll(&mut self, now: Nanos) -> usize {
        let Self { feed, metrics, scale, .. } = self;
        let work = feed.poll_observed(now, &mut |ticks| metrics.record(0, scale.nanos(0, ticks)));
        if let Some(failure) = self.feed.failure() {
            self.fatal.stop(failure.to_string(), &self.stop);
        }
        self.polls = self.polls.wrapping_add(1);
        if self.polls.is_multiple_of(POLLS_PER_COPY) {
            let counters = self.feed.counters();
            self.metrics.set(0, self.feed.sequence());
            self.metrics.set(1, counters.packets);
            self.metrics.set(2, counters.packets_dropped);
            self.metrics.set(3, counters.answers);
        }
        work
    }
}
