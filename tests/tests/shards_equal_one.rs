//! The same outcome on any number of shards: events, output hash, state hash, books and balances.
//!
//! `IRONBELL_SEED=n` starts at another seed, `IRONBELL_FLOWS=n` runs more or fewer flows.

use ironbell_core::superstep::Pace;
use ironbell_core::{Config, Engine, Homes};
use ironbell_tests::flow::Flow;
use ironbell_tests::rng::Rng;
use ironbell_types::{Event, FirmId, InstrumentId, Sequenced};

const KEY: u64 = 0x1b;
const CONFIG: Config = Config { key: KEY, orders: 64, accounts: 8 };
const SHARDS: [usize; 7] = [1, 2, 3, 4, 7, 8, 16];

/// A flow, and what one shard says of it, command by command.
fn recorded(mut flow: Flow, length: usize) -> (Vec<Sequenced>, Vec<Vec<Event>>, Engine) {
    let mut engine = Engine::new(CONFIG);
    let (mut commands, mut said) = (Vec::with_capacity(length), Vec::with_capacity(length));
    let mut last = Vec::new();
    for _ in 0..length {
        let command = flow.next(&last);
        last.clear();
        engine.execute(&command, &mut last);
        commands.push(command);
        said.push(last.clone());
    }
    (commands, said, engine)
}

/// Homes of a number of shards, some of them chosen.
fn homes(shards: usize, rng: &mut Rng) -> Homes {
    let mut homes = Homes::new(shards);
    for id in 1..=8 {
        if rng.below(3) == 0 {
            homes.place_firm(FirmId(id), rng.below(shards as u64) as u8).expect("there is such a shard");
        }
        if rng.below(3) == 0 {
            homes
                .place_instrument(InstrumentId(id), rng.below(shards as u64) as u8)
                .expect("there is such a shard");
        }
    }
    homes
}

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => default,
    }
}

#[test]
fn one_at_a_time_over_many_shards_is_as_on_one() {
    let (first_seed, flows) = (setting("IRONBELL_SEED", 1), setting("IRONBELL_FLOWS", 60));
    println!("first seed {first_seed}");
    for seed in first_seed..first_seed + flows {
        let mut rng = Rng::new(seed);
        let (commands, said, one) = recorded(Flow::new(seed), 1_500);
        for shards in SHARDS {
            let mut many = Engine::sharded(CONFIG, homes(shards, &mut rng));
            let mut out = Vec::new();
            for (command, said) in commands.iter().zip(&said) {
                out.clear();
                many.execute(command, &mut out);
                assert_eq!(&out, said, "seed {seed}, {shards} shards: {command:?}");
                assert!(many.pending_asks().count() < 1_000_000);
                if command.seq.0 % 97 == 0 {
                    many.check_invariants();
                }
            }
            many.check_invariants();
            assert_eq!(many.output_hash(), one.output_hash(), "seed {seed}, {shards} shards");
            assert_eq!(many.state_hash(), one.state_hash(), "seed {seed}, {shards} shards");
            assert_eq!(many.balances(), one.balances(), "seed {seed}, {shards} shards");
            assert_eq!(many.next_due(), one.next_due(), "seed {seed}, {shards} shards");
        }
    }
}

/// Every framing, shard count and length of spans: what is cut, undone and gone ahead with never shows.
#[test]
fn supersteps_are_as_one_at_a_time() {
    let (first_seed, flows) = (setting("IRONBELL_SEED", 1), setting("IRONBELL_FLOWS", 60));
    println!("first seed {first_seed}");
    let (mut supersteps_cut, mut commands_run) = (0, 0);
    for seed in first_seed..first_seed + flows {
        let mut rng = Rng::new(seed);
        let (commands, said, one) =
            recorded(if seed % 3 == 0 { Flow::new(seed) } else { Flow::stormy(seed) }, 1_500);
        for shards in SHARDS {
            let mut many = Engine::sharded(CONFIG, homes(shards, &mut rng));
            let frame_max = [1, 2, 8, 64, 1_024][rng.below(5) as usize];
            let mut pace = Pace::new([1, 2, 3, 8, 64, 1_024][rng.below(6) as usize]);
            let (mut rest, mut out) = (commands.as_slice(), Vec::new());
            while !rest.is_empty() {
                let length = if rng.below(2) == 0 { frame_max } else { 1 + rng.below(frame_max) };
                let (frame, behind) = rest.split_at(rest.len().min(length as usize));
                out.clear();
                supersteps_cut += many.execute_in_supersteps(frame, &mut pace, &mut out);
                let first = commands.len() - rest.len();
                let expected = said[first..first + frame.len()].concat();
                if out != expected {
                    let at = out.iter().zip(&expected).take_while(|(is, should)| is == should).count();
                    let command =
                        |event: Option<&Event>| event.map(|event| commands[event.seq.0 as usize - 1]);
                    panic!(
                        "seed {seed}, {shards} shards, {pace:?}\n is {:#?}\n should be {:#?}\n of {:?}",
                        out.get(at),
                        expected.get(at),
                        command(expected.get(at).or(out.get(at)))
                    );
                }
                rest = behind;
                if rng.below(8) == 0 {
                    many.check_invariants();
                }
            }
            many.check_invariants();
            commands_run += commands.len();
            assert_eq!(many.output_hash(), one.output_hash(), "seed {seed}, {shards} shards");
            assert_eq!(many.state_hash(), one.state_hash(), "seed {seed}, {shards} shards");
        }
    }
    println!("{commands_run} commands, {supersteps_cut} supersteps cut");
    assert!(supersteps_cut > 0);
}
