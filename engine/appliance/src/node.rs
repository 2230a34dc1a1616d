//! A node's life: it recovers, leads, and stops in good order.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ironbell_runtime::{Role, Stop};
use ironbell_store::Term;
use ironbell_sync::CursorReader;

use crate::admin;
use crate::config::Config;
use crate::failure::Failure;
use crate::notify::Notifier;
use crate::roles::Fatal;
use crate::service;
use crate::snapshot::Keeper;
use crate::space::Makers;
use crate::telemetry::span;
use crate::warm::{Doors, Warm};

/// `ironbell run`.
///
/// # Errors
/// When the node cannot start, or stops because its journal failed.
pub fn run(path: &Path, hlog: Option<&Path>, from_genesis: bool) -> Result<(), Failure> {
    let config = Config::read(path)?;
    let _spans = crate::log::start(config.log, &config.telemetry)?;
    crate::tune::is_fit(&config)?;
    let signals = signals()?;
    if let Some(ha) = &config.ha {
        return crate::ha::run(&config, ha, path, hlog, from_genesis, &signals);
    }
    let node = span!("start").in_scope(|| Node::start(&config, from_genesis))?;
    let mut keeper = Keeper::new(&config, path, node.recovered.snapshot_seq.unwrap_or(0));
    let mut hlog = hlog.map(|file| crate::hlog::StageLog::create(file, &node.metrics_path)).transpose()?;
    let _ = writeln!(std::io::stdout(), "{}", node.ready_line());
    let mut notifier = Notifier::new();
    notifier.watch(&node.metrics_path)?;
    notifier.ready(&node.ready_line());
    let mut logged = Ok(());
    while !signals.load(Ordering::Acquire) && !node.is_ending() && logged.is_ok() {
        std::thread::sleep(Duration::from_millis(50));
        keeper.tick(node.commit.get());
        notifier.tick();
        logged = hlog.as_mut().map_or(Ok(()), crate::hlog::StageLog::tick);
    }
    notifier.stopping();
    let _stopping = span!("stop").entered();
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
pub(crate) fn signals() -> Result<Arc<AtomicBool>, Failure> {
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
    pub(crate) threads: Vec<std::thread::JoinHandle<Vec<Box<dyn Role>>>>,
    pub(crate) background: Vec<std::thread::JoinHandle<()>>,
    pub(crate) space: std::thread::JoinHandle<Makers>,
    /// Ends every thread.
    pub(crate) stop: Stop,
    pub(crate) draining: Stop,
    pub(crate) quiet: Stop,
    pub(crate) commit: CursorReader,
    pub(crate) released: CursorReader,
    pub(crate) fatal: Fatal,
    /// Why it stops in good order: what was kept in reserve on the disk is used up.
    pub(crate) spent: Fatal,
    pub(crate) order_entry: std::net::SocketAddr,
    pub(crate) listening: service::Listening,
    pub(crate) metrics_path: std::path::PathBuf,
    pub(crate) durability: String,
    pub(crate) recovered: admin::Recovered,
}

impl Node {
    /// Recovers, behind the newest snapshot that can be used or `from_genesis`, and starts every role.
    ///
    /// # Errors
    /// When the journal is damaged, locked or on an unfit file system, or an address is taken.
    pub fn start(config: &Config, from_genesis: bool) -> Result<Self, Failure> {
        // Before a recovery that may take long: a taken address is said at once.
        let doors = Doors::open(config)?;
        Warm::recover(config, from_genesis, Term::Next)?.lead(config, doors, None)
    }

    /// Whether it is stopping, or has to, by itself.
    pub(crate) fn is_ending(&self) -> bool {
        self.stop.asked() || self.spent.why().is_some()
    }

    /// Takes nothing more from members, and finishes what it has.
    pub(crate) fn drain(&self) {
        self.draining.ask();
    }

    /// Takes from members again.
    pub(crate) fn resume(&self) {
        self.draining.withdraw();
        self.quiet.withdraw();
    }

    /// Whether everything that was taken is on the disk, committed and released.
    pub(crate) fn is_drained(&self) -> bool {
        self.draining.asked() && self.quiet.asked() && self.released.get() == self.commit.get()
    }

    /// Stops at once and drops everything in memory: what was not released will not be.
    pub(crate) fn abandon(self) {
        self.stop.ask();
        // A role that panicked is as good as gone.
        self.threads.into_iter().for_each(|thread| drop(thread.join()));
        self.background.into_iter().for_each(|thread| drop(thread.join()));
        drop(self.space.join());
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
            | self.background.into_iter().map(|t| t.join().is_err()).fold(false, |any, one| any | one)
            | self.space.join().is_err();
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
