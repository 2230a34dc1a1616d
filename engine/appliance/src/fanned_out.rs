//! A state machine on several threads without a node around it: for replays.

use std::thread::{JoinHandle, available_parallelism};
use std::time::Duration;

use ironbell_core::{Engine, Homes};
use ironbell_runtime::frame::COMMANDS_MAX;
use ironbell_runtime::shard::Batch;
use ironbell_runtime::shards::{Lead, Lending, Output, lead};
use ironbell_runtime::{FramePool, Idle, Role, Stop, ThreadPlan};
use ironbell_types::{Event, Sequenced};

use crate::failure::Failure;
use crate::recovery::engine_config;

/// An engine over shards, with a thread for each beside the first; the first runs where frames are executed. Everything
/// that can run side by side does, however short the frame: a replay is to show that it comes to the same.
pub struct FannedOut {
    lead: Lead,
    batch: Box<Batch>,
    frames: FramePool,
    idle: Idle,
    stop: Stop,
    threads: Vec<JoinHandle<Vec<Box<dyn Role>>>>,
}

impl FannedOut {
    /// Goes on from `engine`, of the venue with this key, over so many shards, at most
    /// [`ironbell_core::SHARDS_MAX`]; ids go round.
    ///
    /// # Errors
    /// When the kernel makes no thread.
    pub fn start(engine: &Engine, key: u64, shards: usize) -> Result<Self, Failure> {
        let config = engine_config(key);
        let engine = Engine::load_sharded(&engine.save(), config, Homes::new(shards)).map_err(|e| {
            Failure::check(format_args!("the state cannot be shared out to shards: {e}; report this"))
        })?;
        // All parts are at home between frames, so that the engine can be asked anything.
        let (lead, workers) = lead(engine, Lending { run_min: 1, frames_max: 0, span_max: COMMANDS_MAX });
        let spins = available_parallelism().is_ok_and(|cpus| cpus.get() > shards);
        let idle = if spins { Idle::Spin } else { Idle::Park { park: Duration::from_micros(50) } };
        let stop = Stop::default();
        let mut fanned_out = Self {
            lead,
            batch: Batch::new(shards),
            frames: FramePool::new(2),
            idle,
            stop: stop.clone(),
            threads: Vec::new(),
        };
        for (shard, worker) in (1..).zip(workers) {
            let roles: Vec<Box<dyn Role>> = vec![Box::new(worker)];
            let plan = ThreadPlan { name: format!("shard-{shard}"), cpu: None, idle, roles, metrics: None };
            let thread = plan.start(stop.clone());
            fanned_out.threads.push(thread.map_err(|e| {
                Failure::refused(format_args!("a thread for shard {shard}: {e}; replay over fewer shards"))
            })?);
        }
        Ok(fanned_out)
    }

    /// The engine, all of it at home.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        self.lead.engine()
    }

    /// Executes commands of at most one frame, [`COMMANDS_MAX`], and appends what they say.
    ///
    /// # Panics
    /// When a shard's thread has: an invariant of the state machine is broken.
    pub fn execute_frame(&mut self, commands: &[Sequenced], events: &mut Vec<Event>) {
        self.frames.begin().expect("all shards are done with it").commands.extend_from_slice(commands);
        let frame = self.frames.close();
        loop {
            let Batch { events, said, .. } = &mut *self.batch;
            if self.lead.poll(&frame, &mut Output { events, said }).1 {
                break;
            }
            assert!(!self.stop.asked(), "a shard's thread has panicked");
            match self.idle {
                Idle::Spin => std::hint::spin_loop(),
                Idle::Park { .. } => std::thread::yield_now(),
            }
        }
        self.batch.merge();
        events.append(&mut self.batch.events);
    }

    /// Ends the threads and returns the engine.
    #[must_use]
    pub fn finish(mut self) -> Engine {
        self.stop.ask();
        for thread in self.threads.drain(..) {
            drop(thread.join().expect("a shard's thread does not panic between frames"));
        }
        self.lead.into_engine()
    }
}
