//! A member and two nodes on loopback sockets. Nodes die, freeze, lose what they were sent and what they answered; every
//! order has its effect once, and every message is heard once.

use std::net::SocketAddr;

use ironbell_client::failover::{Failover, Patience};
use ironbell_client::order_entry::{Error, Event, NewOrder, NotSent, Replacement, TwoSided};
use ironbell_device::kernel::{Connection, KernelAcceptor};
use ironbell_device::{Acceptor as _, Stream as _};
use ironbell_session::{Config, Refusal, ServerEvent, ServerSession, first_number};
use ironbell_types::{Capacity, ClOrdId, Nanos, Side, Symbol, Username};
use ironbell_wire::native::{self, is_native};
use ironbell_wire::ouch::{self, Inbound, OptionsBuf};
use ironbell_wire::{IntoBytes, Type, U16, U32, U64};

const SESSION: [u8; 10] = *b"0020261121";

/// A hundredth of a millisecond: so long a turn of the test is for who looks at the clock.
const TURN: u64 = 10_000;

fn config() -> Config {
    Config { heartbeat: Nanos(10_000_000), idle_max: Nanos(50_000_000), ..Config::default() }
}

fn patience() -> Patience {
    Patience { login_max: Nanos(100_000_000), pause_max: Nanos(20_000_000), ..Patience::default() }
}

/// What all nodes of the venue agree on.
#[derive(Default)]
struct Exchange {
    told: Vec<Vec<u8>>,
    /// Numbers that had an effect, and orders that were cancelled, as they came.
    taken: Vec<u32>,
    canceled: Vec<u32>,
    last: u32,
}

impl Exchange {
    fn take(&mut self, request: &[u8]) {
        if is_native(request) {
            if let Ok(native::Inbound::MassQuote(quote, entries)) = native::Inbound::parse(request) {
                (0..2 * entries.len() as u32).for_each(|nth| self.enter(quote.user_ref_num.get() + nth));
            }
            return;
        }
        match Inbound::parse(request).expect("a member writes what can be read") {
            Inbound::EnterOrder(order, _) => self.enter(order.user_ref_num.get()),
            Inbound::ReplaceOrder(order, _) => self.enter(order.user_ref_num.get()),
            Inbound::CancelOrder(cancel, _) => {
                let num = cancel.user_ref_num.get();
                // One that is done gets no answer.
                if self.taken.contains(&num) && !self.canceled.contains(&num) {
                    self.canceled.push(num);
                    self.told.push(canceled(num));
                }
            }
            other => panic!("{other:?}"),
        }
    }

    /// A number that was used has no second effect and no second answer.
    fn enter(&mut self, num: u32) {
        if num > self.last {
            self.last = num;
            self.taken.push(num);
            self.told.push(rejected(num));
        }
    }
}

/// Any answer under a number will do.
fn rejected(num: u32) -> Vec<u8> {
    let (message_type, timestamp, user_ref_num) = (Type::new(), U64::new(5), U32::new(num));
    let (reason, cl_ord_id) = (U16::new(0x17), ClOrdId::default().0);
    ouch::Rejected { message_type, timestamp, user_ref_num, reason, cl_ord_id }.as_bytes().to_vec()
}

fn canceled(num: u32) -> Vec<u8> {
    let (message_type, timestamp, user_ref_num) = (Type::new(), U64::new(5), U32::new(num));
    ouch::OrderCanceled { message_type, timestamp, user_ref_num, quantity: U32::new(1), reason: b'U' }
        .as_bytes()
        .to_vec()
}

/// What a node does with what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Serves,
    /// Takes requests that it will lose.
    Loses,
    /// Has them sequenced, and does not live to tell.
    Mute,
    /// The kernel accepts its connections, and that is all.
    Frozen,
    /// Speaks in riddles.
    Garbles,
}

struct Node {
    addr: SocketAddr,
    acceptor: Option<KernelAcceptor>,
    connection: Option<(Connection, ServerSession)>,
    mood: Mood,
}

impl Node {
    fn new() -> Self {
        let acceptor = KernelAcceptor::bind(([127, 0, 0, 1], 0).into()).expect("a port is free");
        let addr = acceptor.local_addr();
        Self { addr, acceptor: Some(acceptor), connection: None, mood: Mood::Serves }
    }

    fn die(&mut self) {
        (self.acceptor, self.connection) = (None, None);
    }

    fn live(&mut self, mood: Mood) {
        if self.acceptor.is_none() {
            self.acceptor = Some(KernelAcceptor::bind(self.addr).expect("the port is ours"));
        }
        self.mood = mood;
    }

    fn poll(&mut self, exchange: &mut Exchange, now: Nanos) {
        let Some(acceptor) = &mut self.acceptor else { return };
        if self.mood == Mood::Frozen {
            return;
        }
        if let Some(stream) = acceptor.accept().expect("it listens") {
            self.connection = Some((stream, ServerSession::new(&config(), now)));
        }
        if let Some((stream, session)) = &mut self.connection
            && !serve(stream, session, self.mood, exchange, now)
        {
            self.connection = None;
        }
    }
}

/// Whether the connection stands.
fn serve(
    stream: &mut Connection,
    session: &mut ServerSession,
    mood: Mood,
    exchange: &mut Exchange,
    now: Nanos,
) -> bool {
    let Ok(received) = stream.read(session.space()) else { return false };
    session.received(received, now);
    while let Ok(Some(event)) = session.next() {
        match event {
            ServerEvent::Login(login) => match first_number(&login, &SESSION, exchange.told.len() as u64) {
                Ok(first) => session.accept(SESSION, first),
                Err(refusal) => session.refuse(refusal),
            },
            ServerEvent::Message(request) if mood != Mood::Loses => exchange.take(request),
            _ => {}
        }
    }
    if mood != Mood::Mute && session.is_up() {
        let riddle = b"?".to_vec();
        loop {
            let number = session.next_number();
            let told = exchange.told.get(number.max(1) as usize - 1);
            let Some(message) = told else { break };
            if !session.offer(number, if mood == Mood::Garbles { &riddle } else { message }) {
                break;
            }
        }
    }
    let _ = session.on_time(now);
    let output = session.output();
    if output.is_empty() {
        return true;
    }
    match stream.write(output) {
        Ok(sent) => session.sent(sent, now),
        Err(_) => return false,
    }
    true
}

/// A member, two nodes, and a clock that goes on with each turn.
struct World {
    nodes: [Node; 2],
    exchange: Exchange,
    member: Failover,
    now: Nanos,
    /// Numbers of the messages heard.
    heard: Vec<u64>,
    refused: Option<Refusal>,
    garbled: u32,
}

impl World {
    fn new() -> Self {
        let nodes = [Node::new(), Node::new()];
        let addresses = [nodes[0].addr, nodes[1].addr];
        let who = (Username::new("ALPHA").expect("short"), "secret");
        let member = Failover::new(&addresses, &config(), who, 1, 64, Nanos(0)).expect("they fit");
        let member = member.with_patience(patience());
        let exchange = Exchange::default();
        Self { nodes, exchange, member, now: Nanos(0), heard: Vec::new(), refused: None, garbled: 0 }
    }

    fn turn(&mut self) {
        self.now.0 += TURN;
        for node in &mut self.nodes {
            node.poll(&mut self.exchange, self.now);
        }
        self.member.poll(self.now);
        loop {
            match self.member.next() {
                Ok(None) => break,
                Ok(Some(Event::Message { number, .. })) => self.heard.push(number),
                Ok(Some(Event::Refused(refusal))) => self.refused = Some(refusal),
                Ok(Some(_)) => {}
                Err(Error::Message { .. }) => {
                    self.garbled += 1;
                    break;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Turns until it is so, with turns enough for any socket of this machine.
    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        for _ in 0..3_000_000 {
            if is_so(self) {
                return;
            }
            self.turn();
        }
        panic!("{what} never came: at {}, broken by {:?}", self.member.address(), self.member.broken());
    }

    fn settle(&mut self) {
        self.until("the last answer", |world| {
            world.heard.len() == world.exchange.told.len() && world.member.in_flight() == 0
        });
        assert_eq!(
            self.heard,
            (1..=self.exchange.told.len() as u64).collect::<Vec<_>>(),
            "each once, in order"
        );
    }
}

/// SplitMix64; its seed is printed, and taken from `IRONBELL_SEED` when that is set.
struct Rng(u64);

impl Rng {
    fn new() -> Self {
        let drawn = u64::from(std::process::id()).wrapping_mul(0x2545_f491_4f6c_dd1d);
        let seed = std::env::var("IRONBELL_SEED").map_or(drawn, |seed| seed.parse().expect("a number"));
        println!("IRONBELL_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

#[test]
fn whatever_nodes_lose_every_order_has_its_effect_once_and_every_message_is_heard_once() {
    let mut rng = Rng::new();
    let mut world = World::new();
    let symbol = Symbol::new("IRON").expect("short");
    let order = NewOrder::day(Side::Buy, 1, symbol, 10_000);
    let (mut serving, mut canceled, mut takeovers, mut sent_again) = (0, Vec::new(), 0, 0);
    world.nodes[1].die();
    for round in 0..60 {
        // Some trading, with answers in the midst of it.
        world.until("a session", |world| world.member.is_up());
        for _ in 0..rng.below(20) {
            let entry = world.member.entry();
            let last = entry.next_user_ref_num().saturating_sub(1);
            let asked = match rng.below(6) {
                0 if last > 0 => entry.cancel(last, 0).map(|()| canceled.push(last)),
                1 if last > 0 => {
                    entry.replace(last, &Replacement::day(1, 10_000), &OptionsBuf::EMPTY).map(|_| ())
                }
                2 => entry
                    .mass_quote(Capacity::Agency, &[TwoSided { symbol, bid: (1, 1), ask: (1, 2) }; 2])
                    .map(|_| ()),
                _ => entry.enter(&order, &OptionsBuf::EMPTY).map(|_| ()),
            };
            assert!(asked.is_ok() || !world.member.is_up() || world.member.in_flight() > 0);
            (0..rng.below(4)).for_each(|_| world.turn());
        }
        if rng.below(3) == 0 {
            continue;
        }
        // The node loses what it is sent now, or its answers, and is gone; the other one takes over, or it comes back.
        world.nodes[serving].mood = [Mood::Serves, Mood::Loses, Mood::Mute][rng.below(3) as usize];
        if world.member.is_up() {
            for _ in 0..rng.below(8) {
                let _full = world.member.entry().enter(&order, &OptionsBuf::EMPTY);
                (0..rng.below(3)).for_each(|_| world.turn());
            }
        }
        let before = world.member.logins();
        if rng.below(4) == 0 {
            // Its sockets stay, and nobody answers on them.
            world.nodes[serving].mood = Mood::Frozen;
        } else {
            world.nodes[serving].die();
        }
        sent_again += world.member.in_flight();
        serving ^= usize::from(rng.below(4) > 0);
        if world.nodes[serving].mood == Mood::Frozen {
            world.nodes[serving].die();
        }
        (0..rng.below(3_000)).for_each(|_| world.turn());
        world.nodes[serving].live(Mood::Serves);
        world.until("another session", |world| world.member.is_up() && world.member.logins() > before);
        takeovers += 1;
        println!("round {round}: at {} after {} messages", world.member.address(), world.heard.len());
    }
    // A cancel of what is done gets no answer; whatever comes behind it says that it was taken.
    world.until("a session", |world| world.member.is_up());
    world.member.entry().enter(&order, &OptionsBuf::EMPTY).expect("there is room");
    world.settle();
    let exchange = &world.exchange;
    let used = world.member.entry().next_user_ref_num();
    assert_eq!(exchange.taken, (1..used).collect::<Vec<_>>(), "each once, in order");
    canceled.retain(|num| !exchange.canceled.contains(num));
    assert_eq!(canceled, [], "every cancel was taken");
    println!("{takeovers} takeovers, {sent_again} requests in flight over one, {used} numbers used");
    assert!(takeovers > 10 && sent_again > 10);
}

#[test]
fn a_frozen_node_is_left_for_the_one_that_answers() {
    let mut world = World::new();
    world.nodes[0].live(Mood::Frozen);
    world.until("a session", |world| world.member.is_up());
    assert_eq!(world.member.address(), world.nodes[1].addr);
    // Now the one it is connected to freezes, and the other one wakes up.
    world.nodes[1].mood = Mood::Frozen;
    world.nodes[0].mood = Mood::Serves;
    world.until("a login at the other", |world| world.member.logins() == 2 && world.member.is_up());
    assert_eq!(world.member.address(), world.nodes[0].addr);
}

#[test]
fn nothing_new_goes_before_what_is_sent_again() {
    let mut world = World::new();
    world.nodes[1].die();
    world.until("a session", |world| world.member.is_up());
    world.nodes[0].mood = Mood::Loses;
    let order = NewOrder::day(Side::Buy, 1, Symbol::default(), 1);
    while world.member.in_flight() < 3_000 {
        let _full = world.member.entry().enter(&order, &OptionsBuf::EMPTY);
        world.turn();
    }
    world.nodes[0].die();
    world.nodes[1].live(Mood::Serves);
    // As soon as there is a session: it has room for some of the old ones only.
    world.until("a session", |world| world.member.logins() == 2);
    assert_eq!(world.member.entry().enter(&order, &OptionsBuf::EMPTY), Err(NotSent));
    world.until("room", |world| world.member.in_flight() < 1_000);
    let num = world.member.entry().enter(&order, &OptionsBuf::EMPTY).expect("there is room");
    world.settle();
    assert_eq!(world.exchange.taken, (1..=num).collect::<Vec<_>>());
}

#[test]
fn a_garbled_message_ends_the_connection_and_a_refused_login_ends_it_all() {
    let mut world = World::new();
    world.nodes[1].die();
    world.exchange.told = vec![rejected(1), rejected(2)];
    world.nodes[0].mood = Mood::Garbles;
    world.until("a riddle", |world| world.garbled == 1);
    world.nodes[0].mood = Mood::Serves;
    world.until("another session", |world| world.member.logins() == 2 && world.heard == [2]);
    // A venue that has forgotten what it told is no venue to go on with.
    world.exchange.told.clear();
    world.nodes[0].die();
    world.nodes[0].live(Mood::Serves);
    world.until("a refusal", |world| world.refused.is_some());
    assert_eq!((world.refused, world.member.is_over()), (Some(Refusal::NoSession), true));
    world.turn();
    assert!(world.member.is_over() && !world.member.is_up());
}
