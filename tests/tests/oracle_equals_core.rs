//! `engine/core` against the naive engine: the same events, balances and books for the same commands,
//! however hostile these are.
//!
//! `IRONBELL_SEED=n` starts at another seed, `IRONBELL_COMMANDS=n` runs more or fewer. A failure is
//! shrunk to the few commands that it takes, and printed with its seed.

use std::cell::Cell;
use std::fmt::Write as _;
use std::panic::{self, AssertUnwindSafe};

use ironbell_core::{Config, Engine};
use ironbell_tests::coverage::Coverage;
use ironbell_tests::flow::Flow;
use ironbell_tests::oracle::{Balance, Oracle};
use ironbell_tests::rng::Rng;
use ironbell_types::{Amount, Command, Event, FirmId, KillScope, MassCancelSlice, PortId, Sequenced};

const KEY: u64 = 0x1b;

/// Commands between two comparisons of everything, where not every one is followed by it.
const CHECK_EVERY: usize = 97;

#[test]
fn the_engine_and_the_oracle_say_the_same() {
    let commands_wanted = setting("IRONBELL_COMMANDS", 10_000_000);
    let first_seed = setting("IRONBELL_SEED", 1);
    let (mut commands, mut events) = (0, 0);
    let mut met = Coverage::new();
    for seed in first_seed.. {
        let length = Rng::new(!seed).between(100, 4_000) as usize;
        // Every eighth flow is compared whole after every command, up to a length that this is quick for.
        let thorough = seed % 8 == 0;
        let compared = if thorough { length.min(800) } else { length };
        events += compare(seed, Flow::new(seed), compared, thorough, &mut met);
        commands += length as u64;
        if commands >= commands_wanted {
            break;
        }
    }
    println!("{}\n{}", met.table(), met.pair_table());
    println!("{commands} commands, {events} events, first seed {first_seed}");
    // A run this long meets everything, whatever its seeds.
    if commands >= 2_000_000 {
        let hardly = met.hardly_seen(20);
        assert!(hardly.is_empty(), "hardly ever compared: {hardly:?}");
    }
}

#[test]
fn the_engine_and_the_oracle_agree_on_deep_books() {
    let seed = setting("IRONBELL_SEED", 1);
    compare(seed, Flow::deep(seed), 9_000, false, &mut Coverage::new());
}

/// More pegs, trailing stops and sharing orders than there may be of each.
#[test]
fn the_engine_and_the_oracle_agree_on_crowded_books() {
    let seed = setting("IRONBELL_SEED", 1);
    for shares_by_size in [false, true] {
        compare(seed, Flow::crowded(seed, shares_by_size), 14_000, false, &mut Coverage::new());
    }
}

#[test]
fn framing_never_shows() {
    let first_seed = setting("IRONBELL_SEED", 1);
    println!("first seed {first_seed}");
    for seed in first_seed..first_seed + 40 {
        let commands = recorded(Flow::new(seed), 1_500);
        let (one_by_one, said) = run(KEY, &commands);

        let mut framed = engine(KEY);
        let mut framed_said = Vec::new();
        let mut rng = Rng::new(seed);
        let mut rest = commands.as_slice();
        while !rest.is_empty() {
            // An empty frame now and then, as at quiescence.
            let (frame, behind) = rest.split_at(rng.below(rest.len().min(1_024) as u64 + 1) as usize);
            framed.execute_frame(frame, &mut framed_said);
            rest = behind;
        }
        assert!(framed_said == said, "seed {seed}: the events depend on the framing");
        assert_eq!(framed.output_hash(), one_by_one.output_hash(), "seed {seed}");
        assert_eq!(framed.state_hash(), one_by_one.state_hash(), "seed {seed}");
        assert_eq!(framed.last_seq(), one_by_one.last_seq());
        assert_eq!(framed.last_time(), one_by_one.last_time());
    }
}

/// Promise 2 is worth something only if the hashes notice: any difference of what is said must show in
/// the output hash, and any difference of what stands in the state hash.
#[test]
fn hashes_notice_every_change() {
    let first_seed = setting("IRONBELL_SEED", 1);
    println!("first seed {first_seed}");
    let (mut outputs_differ, mut states_differ) = (0, 0);
    for seed in first_seed..first_seed + 150 {
        let commands = recorded(Flow::new(seed), 400);
        let (engine, said) = run(KEY, &commands);

        let mut changed = commands.clone();
        let at = Rng::new(seed).below(commands.len() as u64) as usize;
        match &mut changed[at].command {
            Command::EnterOrder(enter) => enter.cl_ord_id.0[13] ^= 1,
            other => *other = Command::Tick,
        }
        let (engine_changed, said_changed) = run(KEY, &changed);
        let same_output = said == said_changed;
        assert_eq!(
            same_output,
            engine.output_hash() == engine_changed.output_hash(),
            "seed {seed}: {:?}",
            commands[at]
        );
        outputs_differ += u32::from(!same_output);

        let same_state = visible_state(&engine) == visible_state(&engine_changed);
        if !same_state {
            assert_ne!(engine.state_hash(), engine_changed.state_hash(), "seed {seed}: {:?}", commands[at]);
            states_differ += 1;
        }

        let (other_venue, _) = run(KEY + 1, &commands);
        assert_ne!(other_venue.output_hash(), engine.output_hash(), "another venue's key gives another hash");
    }
    assert!(outputs_differ >= 50, "only {outputs_differ} changes showed");
    assert!(states_differ >= 20, "only {states_differ} changes stayed");
}

// The comparison.

struct Pair {
    engine: Engine,
    oracle: Oracle,
    out: Vec<Event>,
}

impl Pair {
    fn new() -> Self {
        Self { engine: engine(KEY), oracle: Oracle::new(KEY), out: Vec::new() }
    }

    /// Executes `command` on both and returns what the oracle said, or how they differ.
    fn execute(&mut self, command: &Sequenced) -> Result<Vec<Event>, String> {
        let said = self.oracle.execute(command);
        self.out.clear();
        self.engine.execute(command, &mut self.out);
        if self.out == said { Ok(said) } else { Err(differing("events", &self.out, &said)) }
    }

    /// Compares all that can be seen of the state, and checks each side's own invariants.
    fn compare_state(&self) -> Result<(), String> {
        self.oracle.check()?;
        let of_engine: Vec<Balance> = self
            .engine
            .balances()
            .iter()
            .map(|b| Balance { account: b.account, asset: b.asset, total: b.total, held: b.held })
            .filter(|b| b.total != Amount::ZERO || b.held != Amount::ZERO)
            .collect();
        let mut of_oracle = self.oracle.balances();
        of_oracle.retain(|b| b.total != Amount::ZERO || b.held != Amount::ZERO);
        same("balances", &of_engine, &of_oracle)?;

        for instrument in self.oracle.instruments() {
            let id = instrument.id;
            let of_oracle = self.oracle.book(id);
            // One more than there should be is enough to see a difference, even of a list that runs in a circle.
            let most = of_oracle.len() + 1;
            let of_engine: Vec<_> = self
                .engine
                .book(id)
                .take(most)
                .chain(self.engine.waiting(id).take(most))
                .map(|o| (o.order_ref, o.key, o.firm, o.buys, o.price, o.leaves_qty, o.display, o.shown))
                .collect();
            let of_oracle: Vec<_> = of_oracle
                .iter()
                .map(|o| {
                    let (buys, display) = (o.side.is_buy(), o.accepted.display);
                    (o.order_ref, o.key, o.firm, buys, o.price, o.leaves_qty, display, o.shown)
                })
                .collect();
            same(&format!("book of {}", instrument.symbol), &of_engine, &of_oracle)?;
        }

        let mut of_engine: Vec<MassCancelSlice> = Vec::new();
        for ask in self.engine.pending_asks() {
            let Command::MassCancelSlice(slice) = ask else {
                return Err(format!("an ask that is no slice: {ask:?}"));
            };
            of_engine.push(slice);
        }
        let mut of_oracle = self.oracle.asks();
        of_engine.sort_by_key(|s| (s.cause, s.slice));
        of_oracle.sort_by_key(|s| (s.cause, s.slice));
        same("pending asks", &of_engine, &of_oracle)?;

        for port in (0..12).map(PortId) {
            same("incarnation", &[self.engine.incarnation(port)], &[self.oracle.incarnation(port)])?;
        }
        for firm in (0..8).map(FirmId) {
            let (of_engine, of_oracle) =
                (self.engine.order_entry_disabled(firm), self.oracle.order_entry_disabled(firm));
            same("order entry", &[of_engine], &[of_oracle])?;
        }
        self.engine.check_invariants();
        Ok(())
    }
}

fn engine(key: u64) -> Engine {
    Engine::new(Config { key, orders: 64, accounts: 8 })
}

/// Runs `length` commands of a flow on both and returns how many events were said. Panics with the
/// shrunken commands when they differ.
fn compare(seed: u64, mut flow: Flow, length: usize, thorough: bool, met: &mut Coverage) -> usize {
    met.begin_venue();
    let mut commands = Vec::with_capacity(length);
    let mut events = 0;
    let outcome = caught(|| {
        let mut pair = Pair::new();
        let mut said = Vec::new();
        for number in 1..=length {
            let command = flow.next(&said);
            commands.push(command);
            said = pair.execute(&command)?;
            met.hear(&command, &said);
            events += said.len();
            if thorough || number % CHECK_EVERY == 0 || number == length {
                pair.compare_state()?;
            }
        }
        Ok(())
    });
    if let Err(met) = outcome {
        let Some((shrunken, difference)) = shrink(commands) else {
            panic!("seed {seed}: {met}; the commands alone do not repeat it, so the flow itself failed");
        };
        let mut text = format!("seed {seed} (IRONBELL_SEED={seed} IRONBELL_COMMANDS=1 repeats it)\n");
        for command in shrunken.iter().filter(|c| c.command != Command::Tick) {
            writeln!(text, "  {command:?}").expect("writing to a string");
        }
        panic!("{text}{difference}");
    }
    events
}

/// How the two first differ over `commands`, and after how many of them.
fn difference(commands: &[Sequenced], with_state: bool) -> Option<(usize, String)> {
    let mut done = 0;
    caught(|| {
        let mut pair = Pair::new();
        for command in commands {
            done += 1;
            pair.execute(command)?;
            if with_state {
                pair.compare_state()?;
            }
        }
        Ok(())
    })
    .err()
    .map(|difference| (done, difference))
}

/// The shortest failing run that dropping commands leads to; a dropped one becomes a tick, so that
/// the others keep their places. Gives up, with what it has, after a number of commands executed. `None` when
/// the commands do not fail.
fn shrink(mut commands: Vec<Sequenced>) -> Option<(Vec<Sequenced>, String)> {
    const COMMANDS_MAX: usize = 1_000_000;
    // Most failures show in what is said; comparing the state too after every command is slow on deep books.
    let by_events = difference(&commands, false);
    let with_state = by_events.is_none();
    let (first, mut shown) = by_events.or_else(|| difference(&commands, true))?;
    commands.truncate(first);
    let mut executed = 0;
    let mut chunk = commands.len().next_power_of_two();
    while chunk > 0 {
        let mut from = 0;
        while from < commands.len() && executed < COMMANDS_MAX {
            let mut fewer = commands.clone();
            let to = (from + chunk).min(fewer.len());
            let dropped = &mut fewer[from..to];
            if dropped.iter().any(|c| c.command != Command::Tick) {
                dropped.iter_mut().for_each(|c| c.command = Command::Tick);
                executed += fewer.iter().filter(|c| c.command != Command::Tick).count();
                if let Some((at, difference)) = difference(&fewer, with_state) {
                    fewer.truncate(at);
                    (commands, shown) = (fewer, difference);
                }
            }
            from += chunk;
        }
        chunk /= 2;
    }
    Some((commands, shown))
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`; a panic of either engine is a difference too, and prints nothing while shrinking.
fn caught(work: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                print(info);
            }
        }));
    });
    QUIET.set(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    QUIET.set(false);
    outcome.unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("?");
        Err(format!("panic: {text}"))
    })
}

// Small things.

fn recorded(mut flow: Flow, length: usize) -> Vec<Sequenced> {
    let mut oracle = Oracle::new(KEY);
    let mut said = Vec::new();
    (0..length)
        .map(|_| {
            let command = flow.next(&said);
            said = oracle.execute(&command);
            command
        })
        .collect()
}

fn run(key: u64, commands: &[Sequenced]) -> (Engine, Vec<Event>) {
    let mut engine = engine(key);
    let mut said = Vec::new();
    for command in commands {
        engine.execute(command, &mut said);
    }
    (engine, said)
}

/// What of the state can be asked for, written out.
fn visible_state(engine: &Engine) -> String {
    let markets: Vec<_> = engine
        .instruments()
        .map(|i| {
            let open: Vec<_> = engine.book(i.id).chain(engine.waiting(i.id)).collect();
            let kept = (engine.phase(i.id), engine.last_price(i.id), engine.statistics(i.id));
            let set = (engine.rules(i.id), engine.schedule(i.id), engine.is_delisted(i.id));
            (*i, open, kept, set, [0, 1, 2, 3].map(|tier| engine.fees(i.id, tier)))
        })
        .collect();
    let ports: Vec<_> = engine
        .ports()
        .map(|p| {
            let timers = (engine.rate_tokens(p.id), engine.dead_man_due(p.id));
            let killed = engine.killed(KillScope::Port(p.id));
            let entitled: Vec<_> = engine.instruments().map(|i| engine.entitled(p.id, i.id)).collect();
            (*p, engine.incarnation(p.id), engine.port_rules(p.id), timers, killed, entitled)
        })
        .collect();
    let firms: Vec<_> = engine
        .firms()
        .map(|f| {
            let killed = engine.killed(KillScope::Firm(f.id));
            let restricted: Vec<_> = engine.instruments().map(|i| engine.restricted(f.id, i.id)).collect();
            (*f, engine.order_entry_disabled(f.id), engine.firm_tier(f.id), killed, restricted)
        })
        .collect();
    let limits = (engine.exposures(), engine.credits(), engine.positions(), engine.locates());
    let trades: Vec<_> = engine.day_trades().collect();
    let switches = (engine.killed(KillScope::Venue), engine.order_entry_halted());
    let venue = (engine.day(), engine.last_day(), engine.decline_levels(), switches);
    format!("{:?} {markets:?} {ports:?} {firms:?} {limits:?} {trades:?} {venue:?}", engine.balances())
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, of_engine: &[T], of_oracle: &[T]) -> Result<(), String> {
    if of_engine == of_oracle { Ok(()) } else { Err(differing(what, of_engine, of_oracle)) }
}

fn differing<T: PartialEq + std::fmt::Debug>(what: &str, of_engine: &[T], of_oracle: &[T]) -> String {
    let at = of_engine.iter().zip(of_oracle).take_while(|(e, o)| e == o).count();
    format!("{what} differ at {at}\n  engine: {:#?}\n  oracle: {:#?}", of_engine.get(at), of_oracle.get(at))
}

fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => default,
    }
}
