//! A state that was saved and loaded is the state: it has the same hash, and it goes on as the one that was
//! never saved, at whatever moment of whatever flow.
//!
//! `IRONBELL_SEED=n` starts at another seed, `IRONBELL_COMMANDS=n` runs more or fewer.

use std::collections::BTreeSet;

use ironbell_core::{Config, Engine, Homes, LoadError};
use ironbell_tests::flow::Flow;
use ironbell_tests::rng::Rng;
use ironbell_types::{Event, Phase, Seq};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

const CONFIG: Config = Config { key: 0x1b, orders: 64, accounts: 8 };

/// What stood when a state was saved: a run that never met it has shown nothing about it.
#[derive(Default)]
struct Met {
    saves: u64,
    phases: BTreeSet<Phase>,
    asks: u64,
    waiting: u64,
    hidden_or_peg: u64,
    icebergs: u64,
    dead_men: u64,
    limits: u64,
    orders_between_days: u64,
    trades: u64,
}

impl Met {
    fn look(&mut self, engine: &Engine) {
        self.saves += 1;
        let mut orders = 0;
        for instrument in engine.instruments() {
            self.phases.extend(engine.phase(instrument.id));
            self.waiting += engine.waiting(instrument.id).count() as u64;
            for order in engine.book(instrument.id) {
                orders += 1;
                let shown = order.shown.qty;
                self.hidden_or_peg += u64::from(shown.0 == 0);
                self.icebergs += u64::from(shown.0 > 0 && shown != order.leaves_qty);
            }
        }
        self.asks += engine.pending_asks().count() as u64;
        self.dead_men += engine.ports().filter(|port| engine.dead_man_due(port.id).is_some()).count() as u64;
        let limits = engine.exposures().len() + engine.credits().len() + engine.positions().len();
        self.limits += limits as u64;
        self.orders_between_days += u64::from(engine.day().is_none() && orders > 0);
        self.trades += engine.day_trades().count() as u64;
    }

    fn assert_everything_was_met(&self) {
        assert_eq!(self.phases, Phase::ALL.iter().copied().collect());
        let counts = [
            ("asks", self.asks),
            ("waiting orders", self.waiting),
            ("hidden orders and pegs", self.hidden_or_peg),
            ("icebergs", self.icebergs),
            ("dead men", self.dead_men),
            ("limits", self.limits),
            ("orders between days", self.orders_between_days),
            ("trades", self.trades),
        ];
        for (what, count) in counts {
            assert!(count > 0, "no state with {what} was saved in {} saves", self.saves);
        }
    }
}

/// Loaded on so many shards; the bytes do not depend on it.
fn saved_and_loaded(engine: &Engine, shards: usize) -> Engine {
    let bytes = engine.save();
    let loaded = Engine::load_sharded(&bytes, CONFIG, Homes::new(shards));
    let loaded = loaded.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(loaded.state_hash(), engine.state_hash());
    assert!(loaded.save() == bytes, "what loads saves the same bytes");
    loaded.check_invariants();
    loaded
}

/// One engine is never saved, the other is saved and loaded again and again.
fn goes_on_the_same(seed: u64, mut flow: Flow, length: usize, met: &mut Met) {
    let mut rng = Rng::new(seed ^ 0x5a5a);
    let (mut kept, mut saved) = (Engine::new(CONFIG), Engine::new(CONFIG));
    let (mut said, mut said_by_saved): (Vec<Event>, Vec<Event>) = (Vec::new(), Vec::new());
    for _ in 0..length {
        let command = flow.next(&said);
        said.clear();
        said_by_saved.clear();
        kept.execute(&command, &mut said);
        saved.execute(&command, &mut said_by_saved);
        assert_eq!(said_by_saved, said, "seed {seed}: after {command:?}");
        if rng.one_in(50) {
            met.look(&saved);
            saved = saved_and_loaded(&saved, rng.between(1, 3) as usize);
            assert_eq!(saved.state_hash(), kept.state_hash(), "seed {seed}: at seq {}", command.seq);
            assert!(saved.pending_asks().eq(kept.pending_asks()), "seed {seed}: at seq {}", command.seq);
        }
    }
    assert_eq!(saved.output_hash(), kept.output_hash(), "seed {seed}");
    assert_eq!(saved.state_hash(), kept.state_hash(), "seed {seed}");
}

#[test]
fn a_state_that_was_saved_and_loaded_goes_on_as_if_it_had_not_been() {
    let first_seed = setting("IRONBELL_SEED", 1);
    let commands_wanted = setting("IRONBELL_COMMANDS", 600_000);
    println!("first seed {first_seed}");
    let (mut met, mut commands) = (Met::default(), 0);
    for seed in first_seed.. {
        let length = Rng::new(!seed).between(100, 4_000);
        goes_on_the_same(seed, Flow::new(seed), length as usize, &mut met);
        commands += length;
        if commands >= commands_wanted {
            break;
        }
    }
    println!("{commands} commands, {} saves", met.saves);
    if commands >= 500_000 {
        met.assert_everything_was_met();
    }
}

#[test]
fn books_of_thousands_of_orders_are_saved_and_loaded() {
    let seed = setting("IRONBELL_SEED", 1);
    println!("seed {seed}");
    goes_on_the_same(seed, Flow::deep(seed), 4_000, &mut Met::default());
    goes_on_the_same(seed, Flow::crowded(seed, false), 8_000, &mut Met::default());
}

/// A state with something in every table, as bytes.
fn some_state(seed: u64, length: usize) -> Vec<u8> {
    let (mut flow, mut engine, mut said) = (Flow::new(seed), Engine::new(CONFIG), Vec::new());
    for _ in 0..length {
        let command = flow.next(&said);
        said.clear();
        engine.execute(&command, &mut said);
    }
    engine.save()
}

#[test]
fn bytes_that_were_changed_or_cut_are_refused() {
    let seed = setting("IRONBELL_SEED", 1);
    println!("seed {seed}");
    let bytes = some_state(seed, 900);
    let mut rng = Rng::new(seed);
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << rng.below(8);
        assert!(Engine::load(&changed, CONFIG).is_err(), "byte {at} of {} was changed", bytes.len());
    }
    for len in 0..bytes.len() {
        assert!(Engine::load(&bytes[..len], CONFIG).is_err(), "cut to {len} of {} bytes", bytes.len());
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(Engine::load(&longer, CONFIG).err(), Some(LoadError::Length));
    assert_eq!(Engine::load(&bytes, Config { key: 7, ..CONFIG }).err(), Some(LoadError::Key));
    let mut other = bytes;
    other[8] += 1;
    assert!(matches!(Engine::load(&other, CONFIG), Err(LoadError::Version(_))));
}

/// The header of a section, as `engine/core/src/snapshot.rs` draws it.
const HEADER: usize = 32;

/// Where each section begins.
fn sections(bytes: &[u8]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut at = HEADER;
    while at < bytes.len() {
        starts.push(at);
        at += HEADER + u64::from_le_bytes(bytes[at + 16..at + 24].try_into().expect("eight bytes")) as usize;
    }
    starts
}

/// Makes the checksum of the section at `at` that of its bytes.
fn mend(bytes: &mut [u8], at: usize) {
    let len = u64::from_le_bytes(bytes[at + 16..at + 24].try_into().expect("eight bytes")) as usize;
    let rows = xxh3_64(&bytes[at + HEADER..at + HEADER + len]);
    let checksum = xxh3_64_with_seed(&bytes[at..at + 24], rows);
    bytes[at + 24..at + HEADER].copy_from_slice(&checksum.to_le_bytes());
}

/// Whoever can make checksums can still not make a panic, nor a state that was never saved where it is verified: what
/// loads then is sound, and lists the bytes that it was loaded from.
#[test]
fn rows_that_nobody_saved_are_refused_or_are_a_sound_state() {
    let first_seed = setting("IRONBELL_SEED", 1);
    println!("first seed {first_seed}");
    let (mut refused, mut unlike, mut sound) = (0, 0, 0);
    for seed in first_seed..first_seed + 60 {
        let bytes = some_state(seed, 1_200);
        let starts = sections(&bytes);
        let mut rng = Rng::new(seed);
        for _ in 0..400 {
            let mut changed = bytes.clone();
            let at = rng.pick(&starts);
            let len = u64::from_le_bytes(bytes[at + 16..at + 24].try_into().expect("eight bytes"));
            if len == 0 {
                continue;
            }
            for _ in 0..rng.between(1, 3) {
                let place = at + HEADER + rng.below(len) as usize;
                changed[place] = match rng.below(4) {
                    0 => 0,
                    1 => 0xff,
                    2 => changed[place].wrapping_add(1),
                    _ => rng.below(256) as u8,
                };
            }
            mend(&mut changed, at);
            let loads = Engine::load(&changed, CONFIG).is_ok();
            match Engine::load_verified(&changed, CONFIG) {
                Err(error) => {
                    refused += 1;
                    unlike += u32::from(loads);
                    assert!(!error.to_string().is_empty());
                }
                Ok(engine) => {
                    sound += 1;
                    assert!(loads && engine.save() == changed, "seed {seed}");
                }
            }
        }
    }
    println!("{refused} refused, {unlike} of them only by the comparison, {sound} sound");
    assert!(refused > 1_000 && sound > 100, "the changes tell nothing: {refused} refused, {sound} sound");
}

#[test]
fn an_empty_venue_is_saved_and_loaded() {
    let engine = Engine::new(CONFIG);
    let loaded = saved_and_loaded(&engine, 2);
    assert_eq!(loaded.last_seq(), Seq(0));
    let bytes = engine.save();
    assert_eq!(Engine::load(&[], CONFIG).err(), Some(LoadError::Length));
    assert_eq!(Engine::load(&[b'x'; 64], CONFIG).err(), Some(LoadError::Magic));
    assert_eq!(sections(&bytes).len(), 20);
}

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => default,
    }
}
