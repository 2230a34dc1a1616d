//! `IRONBELL_SEEDS=n` runs more of them, `IRONBELL_SEED=n` begins with that one; a failure says which it was.

use std::time::{Duration, Instant};

use ironbell_sim::{Plan, run};

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn whatever_happens_nothing_is_lost_or_said_twice_and_the_pair_comes_back() {
    let first = number("IRONBELL_SEED").unwrap_or(1);
    let seeds = number("IRONBELL_SEEDS");
    let began = Instant::now();
    // As many as fit; no outcome hangs on how many those are.
    let budget = Duration::from_secs(60);
    let mut ran = 0;
    let mut all = [0_u64; 5];
    while seeds.map_or(began.elapsed() < budget, |seeds| ran < seeds) {
        let seed = first + ran;
        let plan = Plan { seed, chaos_ms: 4_000, healing_ms: 20_000 };
        let seen = std::panic::catch_unwind(|| run(plan)).unwrap_or_else(|panic| {
            eprintln!("seed {seed}: run it again with IRONBELL_SEED={seed} IRONBELL_SEEDS=1");
            std::panic::resume_unwind(panic);
        });
        for (sum, one) in all.iter_mut().zip([seen.opened, seen.epochs, seen.released, seen.lives, seen.told])
        {
            *sum += one;
        }
        ran += 1;
    }
    let [opened, epochs, released, lives, told] = all;
    println!("{ran} seeds from {first}: {epochs} epochs, {opened} openings, {lives} lives ended");
    println!("{released} commands released, members told {told} things");
    // A simulation in which nothing happens proves nothing.
    assert!(opened > 2 * ran && lives > 2 * ran && released > 100 * ran, "too little happens");
}

#[test]
fn the_same_seed_is_the_same_run() {
    let plan = Plan { seed: 4711, chaos_ms: 1_500, healing_ms: 20_000 };
    assert_eq!(run(plan), run(plan));
}
