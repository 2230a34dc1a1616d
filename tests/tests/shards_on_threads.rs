//! The same outcome when every shard is driven by a thread of its own, or in any order by one: events, output hash,
//! state hash, for every number of shards, framing, length of spans and habit of lending.
//!
//! `IRONBELL_SEED=n` starts at another seed, `IRONBELL_FLOWS=n` runs more or fewer flows.

use std::sync::atomic::{AtomicBool, Ordering};

use ironbell_core::{Config, Engine, Homes};
use ironbell_runtime::shard::Batch;
use ironbell_runtime::shards::{Lead, Lending, Output, Worker, lead};
use ironbell_runtime::{FramePool, Role, SharedFrame};
use ironbell_tests::flow::Flow;
use ironbell_tests::rng::Rng;
use ironbell_types::{Command, Event, FirmId, InstrumentId, Nanos, Sequenced};

const CONFIG: Config = Config { key: 0x1b, orders: 64, accounts: 8 };
const SHARDS: [usize; 7] = [1, 2, 3, 4, 7, 8, 16];

/// A flow that a tick ends, and what one shard says of it.
fn recorded(mut flow: Flow, length: usize) -> (Vec<Sequenced>, Vec<Event>, Engine) {
    let mut engine = Engine::new(CONFIG);
    let (mut commands, mut said) = (Vec::new(), Vec::new());
    let mut last = Vec::new();
    for _ in 0..length {
        let command = flow.next(&last);
        last.clear();
        engine.execute(&command, &mut last);
        commands.push(command);
        said.extend_from_slice(&last);
    }
    // It runs by itself, so that all parts are at home after it.
    let (seq, time) = (engine.last_seq().next(), engine.last_time());
    let tick = Sequenced { seq, time, command: Command::Tick };
    engine.execute(&tick, &mut said);
    commands.push(tick);
    (commands, said, engine)
}

/// The same commands in frames, of random lengths up to a random one.
fn frames(commands: &[Sequenced], rng: &mut Rng) -> Vec<SharedFrame> {
    let length_max = [1, 2, 8, 64, 1_024][rng.below(5) as usize];
    let (mut rest, mut frames) = (commands, Vec::new());
    while !rest.is_empty() {
        let length = if rng.below(2) == 0 { length_max } else { 1 + rng.below(length_max) };
        let (these, behind) = rest.split_at(rest.len().min(length as usize));
        let mut pool = FramePool::new(1);
        let frame = pool.begin().expect("nobody reads it");
        frame.commands.extend_from_slice(these);
        // As if ports that cut had come last.
        frame.deferred = if rng.below(3) == 0 { rng.below(1 + these.len() as u64) as usize } else { 0 };
        frames.push(pool.close());
        rest = behind;
    }
    frames
}

fn sharded(shards: usize, rng: &mut Rng) -> (Lead, Vec<Worker>, String) {
    let mut homes = Homes::new(shards);
    for id in 1..=8 {
        let mut shard = || rng.below(shards as u64) as u8;
        homes.place_firm(FirmId(id), shard()).expect("there is such a shard");
        homes.place_instrument(InstrumentId(id), shard()).expect("there is such a shard");
    }
    let lending = Lending {
        run_min: [0, 1, 2, 5, 64][rng.below(5) as usize],
        frames_max: [0, 1, 3, u32::MAX][rng.below(4) as usize],
        span_max: [1, 2, 3, 8, 64, 1_024][rng.below(6) as usize],
    };
    let (lead, workers) = lead(Engine::sharded(CONFIG, homes), lending);
    assert_eq!(workers.len(), shards - 1);
    (lead, workers, format!("{shards} shards, {lending:?}"))
}

/// Runs the frames, doing `meanwhile` while the lead waits for others; returns all that was said.
fn run(lead: &mut Lead, shards: usize, frames: &[SharedFrame], mut meanwhile: impl FnMut()) -> Vec<Event> {
    let mut said = Vec::new();
    let mut batch = Batch::new(shards.max(2));
    batch.said.truncate(shards);
    for frame in frames {
        loop {
            let (_, done) =
                lead.poll(frame, &mut Output { events: &mut batch.events, said: &mut batch.said });
            if done {
                break;
            }
            meanwhile();
        }
        batch.merge();
        said.append(&mut batch.events);
    }
    said
}

fn assert_same(is: &[Event], lead: Lead, should: &[Event], one: &Engine, what: &str) {
    if let Some(at) = (0..is.len().max(should.len())).find(|at| is.get(*at) != should.get(*at)) {
        panic!("{what}: event {at} is\n{:#?}\nand should be\n{:#?}", is.get(at), should.get(at));
    }
    let many = lead.into_engine();
    many.check_invariants();
    assert_eq!(many.last_seq(), one.last_seq(), "{what}");
    assert_eq!(many.output_hash(), one.output_hash(), "{what}");
    assert_eq!(many.state_hash(), one.state_hash(), "{what}");
    assert_eq!(many.balances(), one.balances(), "{what}");
    assert_eq!(many.next_due(), one.next_due(), "{what}");
}

fn flow(seed: u64) -> Flow {
    if seed.is_multiple_of(3) { Flow::new(seed) } else { Flow::stormy(seed) }
}

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => default,
    }
}

#[test]
fn shards_polled_in_any_order_are_as_one() {
    let (first_seed, flows) = (setting("IRONBELL_SEED", 1), setting("IRONBELL_FLOWS", 40));
    println!("first seed {first_seed}");
    let mut cuts = 0;
    for seed in first_seed..first_seed + flows {
        let mut rng = Rng::new(seed);
        let (commands, should, one) = recorded(flow(seed), 1_000);
        for shards in SHARDS {
            let frames = frames(&commands, &mut rng);
            let (mut lead, mut workers, what) = sharded(shards, &mut rng);
            let is = run(&mut lead, shards, &frames, || {
                let turn = rng.below(workers.len() as u64) as usize;
                workers[turn].poll(Nanos(1));
            });
            cuts += lead.counters().cuts;
            assert_same(&is, lead, &should, &one, &format!("seed {seed}, {what}"));
        }
    }
    assert!(cuts > 0, "no superstep was cut");
}

#[test]
fn shards_on_threads_of_their_own_are_as_one() {
    let (first_seed, flows) = (setting("IRONBELL_SEED", 1), setting("IRONBELL_FLOWS", 10));
    println!("first seed {first_seed}");
    for seed in first_seed..first_seed + flows {
        let mut rng = Rng::new(seed);
        let (commands, should, one) = recorded(flow(seed), 1_000);
        for shards in SHARDS {
            let frames = frames(&commands, &mut rng);
            let (mut lead, workers, what) = sharded(shards, &mut rng);
            let stop = AtomicBool::new(false);
            let is = std::thread::scope(|scope| {
                for mut worker in workers {
                    let stop = &stop;
                    scope.spawn(move || {
                        while !stop.load(Ordering::Acquire) {
                            if worker.poll(Nanos(1)) == 0 {
                                std::thread::yield_now();
                            }
                        }
                    });
                }
                // Should the lead panic, the workers end all the same.
                struct Ended<'a>(&'a AtomicBool);
                impl Drop for Ended<'_> {
                    fn drop(&mut self) {
                        self.0.store(true, Ordering::Release);
                    }
                }
                let _ended = Ended(&stop);
                run(&mut lead, shards, &frames, std::thread::yield_now)
            });
            assert_same(&is, lead, &should, &one, &format!("seed {seed}, {what}"));
        }
    }
}
