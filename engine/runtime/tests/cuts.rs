//! One port cuts every superstep it can: what that costs the others is bounded, and shows in no outcome.

use ironbell_core::Homes;
use ironbell_core::{Config, Engine};
use ironbell_runtime::deferral::Deferral;
use ironbell_runtime::frame::COMMANDS_MAX;
use ironbell_runtime::shard::Batch;
use ironbell_runtime::shards::{CUTS_MAX, Lead, Lending, Output, Worker, lead};
use ironbell_runtime::{FramePool, Role, SharedFrame};
use ironbell_types::{Command, DeadMan, Event, Nanos, PortId, Sequenced};

#[expect(dead_code, reason = "core's tests use the rest")]
#[path = "../../core/tests/venue/mod.rs"]
mod venue;

use venue::{Venue, buy, sell};

/// At home on the second of two shards.
const HOSTILE: u32 = 2;

/// Two shards, and one engine that runs the same one at a time.
struct Twins {
    venue: Venue,
    lead: Lead,
    worker: Worker,
    batch: Box<Batch>,
    numbers: [u32; 4],
}

impl Twins {
    fn new() -> Self {
        let mut venue = Venue::new(0, 0, 1_000_000, 1_000);
        // It might bring what its orders below want.
        venue.run(sell(HOSTILE, 1, 10, 5_000));
        let mut engine = Engine::sharded(Config { key: 1, orders: 64, accounts: 4 }, Homes::new(2));
        engine.execute_frame(&venue.journal, &mut Vec::new());
        let lending = Lending { run_min: 8, frames_max: 2, span_max: COMMANDS_MAX };
        let (lead, mut workers) = lead(engine, lending);
        let worker = workers.pop().expect("there are two shards");
        Self { venue, lead, worker, batch: Batch::new(2), numbers: [1; 4] }
    }

    fn next(&mut self, port: u32) -> u32 {
        self.numbers[port as usize] += 1;
        self.numbers[port as usize]
    }

    fn calm(&mut self) -> Command {
        let port = if self.numbers[1] <= self.numbers[3] { 1 } else { 3 };
        buy(port, self.next(port), 1, 1)
    }

    fn hostile(&mut self) -> Command {
        buy(HOSTILE, self.next(HOSTILE), 900, 900)
    }

    /// Runs the frame, the last `deferred` commands of it as of deferred ports, and compares; whose commands cut.
    fn run(&mut self, commands: &[Command], deferred: usize) -> Vec<u32> {
        let mut said = Vec::new();
        let mut sequenced = Vec::new();
        for command in commands {
            let seq = self.venue.engine.last_seq().next();
            sequenced.push(Sequenced { seq, time: Nanos(seq.0), command: *command });
            self.venue.engine.execute(&sequenced[sequenced.len() - 1], &mut said);
        }
        let frame = frame(&sequenced, deferred);
        let is = self.execute(&frame);
        assert_eq!(is, said);
        assert_eq!(self.lead.next_due(), self.venue.engine.next_due());
        self.lead.cut_by().map(|PortId(port)| port).collect()
    }

    fn execute(&mut self, frame: &SharedFrame) -> Vec<Event> {
        loop {
            let Batch { events, said, .. } = &mut *self.batch;
            if self.lead.poll(frame, &mut Output { events, said }).1 {
                break;
            }
            self.worker.poll(Nanos(1));
        }
        self.batch.merge();
        std::mem::take(&mut self.batch.events)
    }
}

fn frame(commands: &[Sequenced], deferred: usize) -> SharedFrame {
    let mut pool = FramePool::new(1);
    let frame = pool.begin().expect("nobody reads it");
    frame.commands.extend_from_slice(commands);
    frame.deferred = deferred;
    pool.close()
}

#[test]
fn a_run_ends_with_its_last_cut_and_the_rest_is_executed_at_home() {
    let mut twins = Twins::new();
    let mixed = |twins: &mut Twins| -> Vec<_> {
        (0..60).map(|n| if n % 6 == 5 { twins.hostile() } else { twins.calm() }).collect()
    };
    let frame = mixed(&mut twins);
    assert_eq!(twins.run(&frame, 0), [HOSTILE; CUTS_MAX]);
    let counters = twins.lead.counters();
    assert_eq!(counters.cuts, CUTS_MAX as u64);
    // As far as the fourth of the hostile orders.
    assert_eq!((counters.commands_lent, counters.commands_home), (23, 37));
    // For a while all stays at home.
    let frame = mixed(&mut twins);
    assert_eq!(twins.run(&frame, 0), [0; 0]);
    assert_eq!(twins.lead.counters().commands_lent, 23);
    // Then it is tried again.
    for _ in 0..7 {
        let frame = mixed(&mut twins);
        twins.run(&frame, 0);
    }
    assert_eq!(twins.lead.counters().commands_lent, 46);
}

/// A timer of a part that is lent is told all the same, until it fires.
#[test]
fn what_is_due_on_a_part_that_is_lent_is_known() {
    let mut twins = Twins::new();
    let armed = Command::DeadMan(DeadMan { port: PortId(HOSTILE), timeout_ns: 60 });
    twins.run(&[armed], 0);
    let due = twins.lead.next_due();
    assert!(due.is_some());
    let calm: Vec<_> = (0..20).map(|_| twins.calm()).collect();
    twins.run(&calm, 0);
    assert_eq!(twins.lead.counters().commands_lent, 20);
    assert_eq!(twins.lead.next_due(), due);
    let calm: Vec<_> = (0..40).map(|_| twins.calm()).collect();
    twins.run(&calm, 0);
    twins.run(&[Command::Tick], 0);
    assert_eq!(twins.lead.next_due(), None);
}

#[test]
fn what_is_deferred_runs_at_home_and_cuts_nothing() {
    let mut twins = Twins::new();
    let mut deferral = Deferral::default();
    let (mut cuts, mut frames) = (0, 0);
    for _ in 0..200 {
        deferral.begin_frame();
        let came: Vec<_> = (0..60).map(|n| if n % 6 == 5 { twins.hostile() } else { twins.calm() }).collect();
        let is_deferred = |command: &Command| command.port().is_some_and(|port| deferral.defers(port));
        let (last, mut read): (Vec<_>, Vec<_>) = came.into_iter().partition(is_deferred);
        read.extend(&last);
        let lent_before = twins.lead.counters().commands_lent;
        let by = twins.run(&read, last.len());
        if !last.is_empty() {
            assert_eq!(by, [0; 0]);
            let lent = twins.lead.counters().commands_lent - lent_before;
            // But for the frames after the cuts of another one.
            assert!(lent == 50 || lent == 0, "{lent} commands were lent");
            frames += usize::from(lent == 50);
        }
        cuts += by.len();
        by.into_iter().for_each(|port| deferral.note(PortId(port)));
    }
    // Once at first, and once after each of its terms: 32, 64, 128 frames.
    assert_eq!(cuts, 3 * CUTS_MAX);
    assert!(frames > 150, "{frames} frames ran on both shards");
}
