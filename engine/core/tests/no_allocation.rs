//! Quiet: after warm-up the order path makes no allocation, counted by the allocator itself.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[expect(dead_code, reason = "the rules' test uses the other half")]
mod venue;

use ironbell_core::superstep::{Mail, Pace, Said, span};
use ironbell_core::{Config, Engine, Homes};
use ironbell_types::{
    CancelReason, Command, Display, EnterOrder, Event, EventBody, FirmId, InstrumentId, MassCancel, Nanos,
    OrderEntrySwitch, Peg, PortId, Price, Seq, Sequenced, Side, Stp, TimeInForce, UserRefIdx, UserRefNum,
};
use venue::{Venue, cancel, modify, order, replace};

struct Counting;

thread_local! {
    /// Of this thread alone: the harness allocates in its own while a test runs.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

// SAFETY: every method passes its arguments on to `System` and returns what it returned; counting
// touches no memory but a static atomic.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: our caller keeps `alloc`'s contract, which is System's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: `place` came from `System` with `layout`, since all of our memory does.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as for `dealloc`, and our caller keeps `realloc`'s contract, which is System's.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Every order command, over a price range that wanders across many leaves of the ladder, with books
/// that swell and shrink; a mass cancel and its slices now and then.
fn commands(rounds: u32, with_terms: bool) -> Vec<Command> {
    let mut commands = Vec::new();
    let mut num = 0;
    for round in 0..rounds {
        let mid = 1_000 + i64::from(round % 100) * 37;
        for port in 1..=3u32 {
            for step in 0..6 {
                num += 1;
                let side = if (step + port) % 2 == 0 { Side::Buy } else { Side::Sell };
                let away = i64::from(step * 5 % 7) - 2;
                let price = if side.is_buy() { mid - away } else { mid + away };
                let mut enter = order(port, num, side, 1 + u64::from(step), price);
                enter.time_in_force = if step == 5 { TimeInForce::Ioc } else { TimeInForce::Day };
                if with_terms {
                    add_terms(&mut enter, num + round);
                }
                commands.push(Command::EnterOrder(enter));
            }
            num += 1;
            commands.push(Command::ReplaceOrder(replace(port, num - 3, num, 9, mid.cast_unsigned())));
            commands.push(modify(port, num - 4, Side::Sell, 1));
            commands.push(cancel(port, num - 5, 0));
            commands.push(cancel(port, num - 5, 0));
        }
        if with_terms && round % 10 == 2 {
            commands.push(Command::Tick);
        }
        if round % 10 == 4 {
            let (port, firm) = (PortId(1 + round % 3), FirmId(1 + round % 3));
            let switch = |num| {
                let (user_ref_idx, user_ref_num) = (UserRefIdx(0), UserRefNum(num));
                OrderEntrySwitch { port, user_ref_idx, user_ref_num, firm, fault: None }
            };
            commands.push(Command::DisableOrderEntry(switch(num + 1)));
            commands.push(Command::EnterOrder(order(port.0, num + 2, Side::Buy, 1, mid)));
            commands.push(Command::EnableOrderEntry(switch(num + 3)));
            num += 3;
        }
        if round % 10 == 9 {
            num += 1;
            commands.push(Command::MassCancel(MassCancel {
                port: PortId(1 + round % 3),
                user_ref_idx: UserRefIdx(0),
                user_ref_num: UserRefNum(num),
                firm: FirmId(1 + round % 3),
                instrument: InstrumentId::NONE,
                group: None,
                side: None,
                fault: None,
            }));
        }
    }
    commands
}

/// Makes an order one of every kind in turn.
fn add_terms(enter: &mut EnterOrder, kind: u32) {
    let buys = enter.side.is_buy();
    let beyond = |ticks: i64| Price(enter.price.0 + if buys { ticks } else { -ticks });
    let terms = &mut enter.terms;
    match kind % 16 {
        0 => (terms.max_floor, terms.random_reserves) = (2, 1),
        1 => enter.display = Display::Hidden,
        2 | 3 => {
            enter.display = Display::Hidden;
            terms.peg = if kind % 16 == 2 { Peg::Primary } else { Peg::Midpoint };
            terms.peg_offset = -1;
        }
        4 => terms.discretion = beyond(2),
        5 => terms.stop = beyond(1),
        6 => terms.trail = 2,
        7 => {
            enter.time_in_force = TimeInForce::Gtt;
            return;
        }
        8 => terms.oco = UserRefNum(enter.user_ref_num.0 - 1),
        9 => terms.stp = Stp::Decrement,
        10 => terms.stp = Stp::CancelOldest,
        11 => (enter.time_in_force, enter.options.min_qty) = (TimeInForce::Ioc, 1),
        12 => enter.time_in_force = TimeInForce::Fok,
        13 => enter.options.post_only = b'P',
        _ => {}
    }
    if matches!(kind % 16, 0 | 2..=6 | 8 | 13) {
        enter.time_in_force = TimeInForce::Day;
    }
}

#[test]
fn the_warm_order_path_never_allocates() {
    check(false);
}

/// Icebergs, hidden orders, pegs, discretion, stops, timers, pairs, self-trade prevention and all.
#[test]
fn nor_does_it_with_every_kind_of_order() {
    check(true);
}

/// The same over shards, a part each: orders run side by side in frames of 40, and are cut.
#[test]
fn nor_do_several_shards() {
    for (shards, with_terms) in [(2, false), (2, true), (3, false), (3, true)] {
        check_over(shards, with_terms);
    }
}

/// What was special about a flow.
#[derive(Default)]
struct Heard {
    events: usize,
    special: [u32; 5],
}

impl Heard {
    fn hear(&mut self, events: &[Event]) {
        self.events += events.len();
        let special = &mut self.special;
        for event in events {
            match event.body {
                EventBody::Refreshed(_) => special[0] += 1,
                EventBody::Triggered { .. } => special[1] += 1,
                EventBody::SelfTradePrevented(_) => special[2] += 1,
                EventBody::Canceled(canceled) if canceled.reason == CancelReason::Timeout => special[3] += 1,
                EventBody::Canceled(canceled) if canceled.reason == CancelReason::System => special[4] += 1,
                _ => {}
            }
        }
    }

    fn check(&self, commands: usize, with_terms: bool) {
        assert!(self.events > commands / 2, "the flow was heard: {} events of {commands}", self.events);
        let special = &self.special;
        assert!(special.iter().all(|count| (*count > 100) == with_terms), "all of it happened: {special:?}");
    }
}

fn sequenced(mut command: Command, seq: Seq) -> Sequenced {
    if let Command::EnterOrder(enter) = &mut command
        && enter.time_in_force == TimeInForce::Gtt
    {
        enter.terms.expire = Nanos(seq.0 + 50);
    }
    Sequenced { seq, time: Nanos(seq.0), command }
}

fn check(with_terms: bool) {
    let journal = Venue::new(1, 3, 1 << 60, 1 << 60).journal;
    let mut engine = Engine::new(Config { key: 5, orders: 4_096, accounts: 8 });
    let mut out = Vec::with_capacity(4_096);
    engine.execute_frame(&journal, &mut out);
    let given = commands(2_000, with_terms);
    let (mut counted, mut heard) = (0, Heard::default());
    let mut run = |engine: &mut Engine, command: Command| {
        out.clear();
        engine.execute(&sequenced(command, engine.last_seq().next()), &mut out);
        heard.hear(&out);
    };
    for (at, command) in given.iter().enumerate() {
        // The first tenth is warm-up: ladder nodes are made as prices are first met.
        if at == given.len() / 10 {
            counted = ALLOCATIONS.get();
        }
        run(&mut engine, *command);
        loop {
            let ask = engine.pending_asks().next();
            let Some(ask) = ask else { break };
            run(&mut engine, ask);
        }
    }
    let allocations = ALLOCATIONS.get() - counted;
    engine.check_invariants();
    heard.check(given.len(), with_terms);
    assert!(counted > 0, "the counter counts");
    assert_eq!(allocations, 0, "of {} commands after warm-up", given.len() * 9 / 10);
}

/// Commands of a frame.
const FRAME: usize = 40;

fn check_over(shards: usize, with_terms: bool) {
    let journal = Venue::new(1, 3, 1 << 60, 1 << 60).journal;
    let config = Config { key: 5, orders: 4_096 * shards, accounts: 8 * shards };
    let mut side_by_side = SideBySide::new(Engine::sharded(config, Homes::new(shards)));
    side_by_side.run(&journal);
    let given = commands(2_000, with_terms);
    let (mut counted, mut heard) = (0, Heard::default());
    let mut frame = Vec::with_capacity(FRAME);
    for (at, commands) in given.chunks(FRAME).enumerate() {
        if at == given.len() / FRAME / 10 {
            counted = ALLOCATIONS.get();
        }
        let mut seq = side_by_side.engine.last_seq();
        let mut next = |command: &Command| {
            seq = seq.next();
            sequenced(*command, seq)
        };
        frame.clear();
        frame.extend(commands.iter().map(&mut next));
        heard.hear(side_by_side.run(&frame));
        loop {
            let ask = side_by_side.engine.pending_asks().next();
            let Some(ask) = ask else { break };
            let ask = sequenced(ask, side_by_side.engine.last_seq().next());
            heard.hear(side_by_side.run(&[ask]));
        }
    }
    let allocations = ALLOCATIONS.get() - counted;
    side_by_side.engine.check_invariants();
    heard.check(given.len(), with_terms);
    assert!(counted > 0, "the counter counts");
    assert!(!with_terms || side_by_side.cuts > 100, "{} cuts", side_by_side.cuts);
    assert_eq!(allocations, 0, "over {shards} shards, with terms {with_terms}");
}

/// An engine's parts in supersteps, and all they need for it.
struct SideBySide {
    engine: Engine,
    /// By shard: what it sends in an exchange, or has received.
    mail: [Vec<Vec<Mail>>; 2],
    said: Vec<Said>,
    out: Vec<Event>,
    pace: Pace,
    cuts: usize,
}

impl SideBySide {
    fn new(engine: Engine) -> Self {
        let shards = engine.shards();
        let mail = || (0..shards).map(|_| (0..shards).map(|_| Mail::new(FRAME)).collect()).collect();
        Self {
            engine,
            mail: [mail(), mail()],
            said: (0..shards).map(|_| Said::new(4_096)).collect(),
            out: Vec::with_capacity(4_096),
            pace: Pace::new(FRAME),
            cuts: 0,
        }
    }

    fn run(&mut self, frame: &[Sequenced]) -> &[Event] {
        self.out.clear();
        let mut rest = frame;
        while !rest.is_empty() {
            let span = &rest[..span(rest, self.pace.length())];
            let done = if span.is_empty() {
                self.engine.execute(&rest[0], &mut self.out);
                1
            } else {
                self.superstep(span)
            };
            rest = &rest[done..];
        }
        &self.out
    }

    fn superstep(&mut self, span: &[Sequenced]) -> usize {
        let mut parts = self.engine.lend();
        let [requests, effects] = &mut self.mail;
        parts.iter_mut().zip(&mut *requests).for_each(|(part, outbox)| part.risk(span, outbox));
        exchange(requests);
        let mut cut = 0;
        for (part, (inbox, outbox)) in parts.iter_mut().zip(requests.iter().zip(&mut *effects)) {
            cut = part.matching(span, inbox, outbox);
        }
        exchange(effects);
        parts.iter_mut().zip(&*effects).for_each(|(part, inbox)| part.settle(&span[..cut], inbox));
        parts.iter_mut().zip(&mut self.said).for_each(|(part, said)| part.take_said(said));
        let hash = Said::merge(&mut self.said, &mut self.out);
        self.engine.take_back(parts);
        self.engine.note(&span[..cut], hash);
        self.cuts += usize::from(self.pace.note(span.len(), cut));
        cut
    }
}

/// What was sent, by sender and receiver, as received, by receiver and sender.
fn exchange(mail: &mut [Vec<Mail>]) {
    for one in 0..mail.len() {
        let (before, from_one) = mail.split_at_mut(one);
        for (other, boxes) in before.iter_mut().enumerate() {
            std::mem::swap(&mut boxes[one], &mut from_one[0][other]);
        }
    }
}
