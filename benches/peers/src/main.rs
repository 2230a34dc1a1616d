//! Matching engines of the Rust registry beside Ironbell's: the same messages, in turn, in one process, and every
//! trade compared. A figure without equal outputs is no comparison, so that comes first.
//!
//! ```text
//! cargo run --release -- [--messages N] [--rounds N] [--seed N]
//! ```
//!
//! One book. Of 100 messages 55 are day orders that stand 1 to 16 ticks behind a mid that walks, 10 are
//! immediate-or-cancel up to 8 ticks through it, 35 cancel an order entered before, which may be done by then. What an
//! adapter turns a message into is part of the engine's time, as it would be of whoever used it.

#![forbid(unsafe_code)]

mod engines;

use engines::{Ironbell, Matchcore, OrderbookRs};

/// One message. An order's number is its place among all messages, from 1.
#[derive(Clone, Copy)]
pub enum Message {
    /// An order.
    Enter { num: u64, buys: bool, price: u64, qty: u64, ioc: bool },
    /// A cancel of all that is left.
    Cancel { num: u64 },
}

/// One trade, as all engines tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trade {
    /// The number of the order that rested.
    pub resting: u64,
    /// The number of the order that came in.
    pub aggressor: u64,
    /// At which price.
    pub price: u64,
    /// How much.
    pub qty: u64,
}

/// A matching engine.
pub trait Engine {
    /// What it is called.
    const NAME: &'static str;
    /// An empty book.
    fn new() -> Self;
    /// Takes one message; its trades go to the end of `trades`.
    fn take(&mut self, message: Message, trades: &mut Vec<Trade>);
}

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        ((u128::from(mixed) * u128::from(bound)) >> 64) as u64
    }
}

fn flow(seed: u64, count: u64) -> Vec<Message> {
    let (mut rng, mut mid, mut entered) = (Rng(seed), 30_000_u64, Vec::new());
    let mut next = |num| {
        if rng.below(16) == 0 {
            mid = if rng.below(2) == 0 { mid + 1 } else { mid - 1 };
        }
        let draw = rng.below(100);
        if draw >= 65 && !entered.is_empty() {
            let at = rng.below(entered.len() as u64) as usize;
            return Message::Cancel { num: entered.swap_remove(at) };
        }
        let (buys, ioc) = (rng.below(2) == 0, draw < 10);
        // An immediate order looks for the other side.
        let distance = 1 + rng.below(if ioc { 8 } else { 16 });
        let price = if buys == ioc { mid + distance } else { mid - distance };
        if !ioc {
            entered.push(num);
        }
        Message::Enter { num, buys, price, qty: 1 + rng.below(100), ioc }
    };
    (1..=count).map(&mut next).collect()
}

/// Nanoseconds that this thread has run, by the scheduler's count: what others take of the core does not show.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux's scheduler statistics");
    text.split(' ').next().and_then(|field| field.parse().ok()).expect("nanoseconds first")
}

fn run<E: Engine>(messages: &[Message]) -> (f64, Vec<Trade>) {
    let (mut engine, mut trades) = (E::new(), Vec::with_capacity(messages.len()));
    let began = cpu_ns();
    for message in messages {
        engine.take(*message, &mut trades);
    }
    let took = (cpu_ns() - began) as f64 / 1e9;
    (messages.len() as f64 / took, trades)
}

fn main() {
    let mut options = [1_000_000, 5, 1];
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let at = ["--messages", "--rounds", "--seed"].iter().position(|name| *name == arg);
        let value = args.next().and_then(|value| value.parse().ok());
        let (Some(at), Some(value)) = (at, value) else {
            eprintln!("say --messages N, --rounds N or --seed N");
            std::process::exit(2);
        };
        options[at] = value;
    }
    let [count, rounds, seed] = options;
    let messages = flow(seed, count);
    let names = [Ironbell::NAME, Matchcore::NAME, OrderbookRs::NAME];
    let mut rates: [Vec<f64>; 3] = Default::default();
    let mut trades_count = 0;
    for round in 0..rounds {
        let results = [run::<Ironbell>(&messages), run::<Matchcore>(&messages), run::<OrderbookRs>(&messages)];
        let [(_, ours), others @ ..] = &results;
        trades_count = ours.len();
        for ((_, theirs), name) in others.iter().zip(&names[1..]) {
            let same = ours.iter().zip(theirs).take_while(|(ours, theirs)| ours == theirs).count();
            if same != ours.len() || same != theirs.len() {
                eprintln!(
                    "{name} trades otherwise from trade {same} on: {:?} where we have {:?}; {} trades and {}",
                    theirs.get(same),
                    ours.get(same),
                    theirs.len(),
                    ours.len()
                );
                std::process::exit(1);
            }
        }
        eprintln!("round {} of {rounds}", round + 1);
        results.into_iter().zip(&mut rates).for_each(|((rate, _), rates)| rates.push(rate));
    }
    println!("{count} messages, seed {seed}, {trades_count} trades, equal in all of them; median of {rounds} rounds in turn");
    println!("{:<28} {:>22} {:>8}", "engine", "messages/s of a core", "to ours");
    let median = |rates: &mut Vec<f64>| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };
    let medians = rates.each_mut().map(median);
    for (name, rate) in names.iter().zip(medians) {
        println!("{name:<28} {rate:>22.0} {:>8.2}", rate / medians[0]);
    }
}
