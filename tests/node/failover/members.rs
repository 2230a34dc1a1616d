//! Members who trade all the time, each on a thread and on a machine of its own, by `net/client`'s [`Failover`]: it finds
//! who leads by itself. They write down everything they hear, and take it apart on the way: numbers without a gap, one
//! answer to each order, nothing executed beyond what was accepted.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ironbell_client::failover::Failover;
use ironbell_client::order_entry::{Event, Member, NewOrder};
use ironbell_client::own_orders::OwnOrders;
use ironbell_load::Rng;
use ironbell_session::Config;
use ironbell_types::{Nanos, Side, Symbol, Username};
use ironbell_wire::ouch::{OptionsBuf, Outbound};

use crate::PATIENCE;
use crate::net::enter;

/// Between two requests of a member.
const PAUSE: Duration = Duration::from_millis(4);
/// Requests that may be unanswered at a time.
const IN_FLIGHT: usize = 50;
/// Orders that may rest.
const OPEN: usize = 200;

/// What members trade.
pub const SYMBOL: &str = "ANVL";

/// Who trades.
#[derive(Clone, Copy)]
pub struct Port {
    pub username: &'static str,
    pub password: &'static str,
}

/// Members at work.
pub struct Members {
    threads: Vec<Option<JoinHandle<Heard>>>,
    shown: Arc<Vec<Shown>>,
    stop: Arc<AtomicBool>,
}

/// What is seen of a member while it trades.
#[derive(Default)]
struct Shown {
    /// Answers to orders.
    acks: AtomicU64,
    /// The first answer to an order that was made after a login; for each login.
    first_acks: Mutex<Vec<(Instant, SocketAddr)>>,
}

/// What a member has heard in all.
pub struct Heard {
    pub port: Port,
    /// Every message, from number 1 on.
    pub messages: Vec<Vec<u8>>,
    pub orders: OwnOrders,
    pub entered: usize,
    pub logins: u64,
}

impl Members {
    /// Lets members trade, from within `namespace`, at a venue that has these `addresses`.
    pub fn start(namespace: &str, addresses: [SocketAddr; 2], ports: &[Port], seed: u64) -> Self {
        let shown: Arc<Vec<Shown>> = Arc::new(ports.iter().map(|_| Shown::default()).collect());
        let stop = Arc::new(AtomicBool::new(false));
        let barrier = Arc::new(Barrier::new(ports.len()));
        let start = |(nth, port): (usize, &Port)| {
            let (namespace, port, shown) = (namespace.to_owned(), *port, Arc::clone(&shown));
            let (stop, barrier) = (Arc::clone(&stop), Arc::clone(&barrier));
            let work = move || {
                enter(&namespace);
                let mut trader = Trader::new(port, &addresses, seed + nth as u64);
                trader.trade(&shown[nth], &stop);
                // The others may still trade with what rests here: everybody asks once more when nobody trades.
                trader.ask_last();
                barrier.wait();
                trader.ask_last();
                trader.heard()
            };
            Some(std::thread::Builder::new().name(port.username.into()).spawn(work).expect("a thread"))
        };
        Self { threads: ports.iter().enumerate().map(start).collect(), shown, stop }
    }

    /// Answers that each member has heard.
    pub fn acks(&self) -> Vec<u64> {
        self.shown.iter().map(|shown| shown.acks.load(Ordering::Relaxed)).collect()
    }

    /// Waits until each has heard so many answers more than `before`.
    pub fn wait_for(&mut self, more: u64, before: &[u64], what: &str) {
        let begun = Instant::now();
        while self.acks().iter().zip(before).any(|(now, before)| *now < before + more) {
            for thread in &mut self.threads {
                if let Some(ended) = thread.take_if(|thread| thread.is_finished()) {
                    drop(ended.join().map_err(|panic| std::panic::resume_unwind(panic)));
                    panic!("a member has ended");
                }
            }
            assert!(begun.elapsed() < PATIENCE, "{what}: no answers; {before:?}, now {:?}", self.acks());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// How long after `since` the first member, and the last, had an answer from `address` to an order made there.
    pub fn answered(&self, since: Instant, address: SocketAddr) -> [Duration; 2] {
        let first = |shown: &Shown| {
            let acks = shown.first_acks.lock().expect("no member panicked");
            let mut acks = acks.iter().filter(|(at, by)| *at > since && *by == address);
            acks.next().map_or(PATIENCE, |(at, _)| at.duration_since(since))
        };
        let times: Vec<Duration> = self.shown.iter().map(first).collect();
        [*times.iter().min().expect("there are members"), *times.iter().max().expect("there are members")]
    }

    /// Lets everybody come to an end: what each has sent is answered.
    pub fn stop(self) -> Vec<Heard> {
        self.stop.store(true, Ordering::Relaxed);
        let end = |thread: JoinHandle<Heard>| match thread.join() {
            Ok(heard) => heard,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        self.threads.into_iter().flatten().map(end).collect()
    }
}

/// Logs in from the first message on, and compares: what was heard is told again, byte for byte.
pub fn check_retold(namespace: &str, address: SocketAddr, heard: &Heard) {
    let clock = Instant::now();
    let work = || {
        enter(namespace);
        let now = || Nanos(clock.elapsed().as_nanos() as u64);
        let username = Username::new(heard.port.username).expect("short");
        let mut member =
            Member::connect(address, &Config::default(), username, heard.port.password, 1, now())
                .expect("it is let in");
        let mut told = 0;
        while told < heard.messages.len() {
            let moved = member.poll(now()).expect("the connection stands");
            while let Some(event) = member.next().expect("the protocol is kept") {
                if let Event::Message { number, bytes, .. } = event
                    && let Some(was) = heard.messages.get(told)
                {
                    told += 1;
                    assert_eq!(number, told as u64);
                    assert_eq!(was, bytes, "message {number} of {}", heard.port.username);
                }
            }
            assert!(clock.elapsed() < PATIENCE, "{told} of {} messages were told", heard.messages.len());
            if moved == 0 {
                std::thread::sleep(Duration::from_micros(100));
            }
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

struct Trader {
    port: Port,
    member: Failover,
    clock: Instant,
    rng: Rng,
    symbol: Symbol,
    messages: Vec<Vec<u8>>,
    orders: OwnOrders,
    /// Of each order, by UserRefNum: whether it was answered.
    answered: Vec<bool>,
    open: Vec<u32>,
    /// The first order made after the last login, until it is answered.
    fresh: Option<u32>,
}

impl Trader {
    fn new(port: Port, addresses: &[SocketAddr], seed: u64) -> Self {
        let username = Username::new(port.username).expect("short");
        // A node says something every second.
        let config = Config { idle_max: Nanos(1_500_000_000), ..Config::default() };
        let member = Failover::new(addresses, &config, (username, port.password), 1, IN_FLIGHT, Nanos(0));
        Self {
            port,
            member: member.expect("name and password are short"),
            clock: Instant::now(),
            rng: Rng::new(seed),
            symbol: Symbol::new(SYMBOL).expect("short"),
            messages: Vec::new(),
            orders: OwnOrders::default(),
            answered: Vec::new(),
            open: Vec::new(),
            fresh: None,
        }
    }

    fn now(&self) -> Nanos {
        Nanos(self.clock.elapsed().as_nanos() as u64)
    }

    fn trade(&mut self, shown: &Shown, stop: &AtomicBool) {
        let mut next = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            let moved = self.poll(Some(shown));
            if Instant::now() >= next && self.member.is_up() && self.member.in_flight() < IN_FLIGHT {
                next = Instant::now() + PAUSE;
                self.ask();
            }
            if moved == 0 {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    }

    /// An order, or that one be cancelled.
    fn ask(&mut self) {
        let cancels = self.rng.below(10) < 4 || self.open.len() >= OPEN;
        if cancels && !self.open.is_empty() {
            let nth = self.rng.below(self.open.len() as u64) as usize;
            if self.member.entry().cancel(self.open[nth], 0).is_ok() {
                self.open.swap_remove(nth);
            }
            return;
        }
        let side = if self.rng.below(2) == 0 { Side::Buy } else { Side::Sell };
        let (qty, price) = (1 + self.rng.below(100) as u32, 1_890_000 + 100 * self.rng.below(10));
        self.enter(&NewOrder::day(side, qty, self.symbol, price));
    }

    fn enter(&mut self, order: &NewOrder) -> bool {
        let Ok(number) = self.member.entry().enter(order, &OptionsBuf::default()) else { return false };
        self.answered.push(false);
        assert_eq!(number as usize, self.answered.len(), "numbers go up by one");
        true
    }

    /// An order that nobody trades with; and waits until it, and everything before it, is answered.
    fn ask_last(&mut self) {
        let begun = Instant::now();
        let mut asked = false;
        while !asked || self.member.in_flight() > 0 {
            asked =
                asked || self.member.is_up() && self.enter(&NewOrder::ioc(Side::Buy, 1, self.symbol, 100));
            if self.poll(None) == 0 {
                std::thread::sleep(Duration::from_micros(200));
            }
            assert!(begun.elapsed() < PATIENCE, "{} requests were never answered", self.member.in_flight());
        }
        let lost: Vec<usize> = (0..self.answered.len()).filter(|nth| !self.answered[*nth]).collect();
        assert!(lost.is_empty(), "orders of {} without an answer: {lost:?}", self.port.username);
    }

    fn poll(&mut self, shown: Option<&Shown>) -> usize {
        let moved = self.member.poll(self.now());
        let address = self.member.address();
        while let Some(event) = self.member.next().expect("the protocol is kept") {
            let (number, message, bytes) = match event {
                Event::Message { number, message, bytes } => (number, message, bytes),
                Event::LoggedIn { .. } => {
                    self.fresh = Some(self.answered.len() as u32 + 1);
                    continue;
                }
                other => panic!("{}: {other:?}", self.port.username),
            };
            self.messages.push(bytes.to_vec());
            assert_eq!(number as usize, self.messages.len(), "{}: a gap, or a repeat", self.port.username);
            self.orders.apply(&message).unwrap_or_else(|e| panic!("{}: {e}", self.port.username));
            let number = match message {
                Outbound::OrderAccepted(told, _) => {
                    self.open.push(told.user_ref_num.get());
                    told.user_ref_num.get()
                }
                Outbound::Rejected(told, _) => told.user_ref_num.get(),
                _ => continue,
            };
            let answered = &mut self.answered[number as usize - 1];
            assert!(!*answered, "order {number} of {} was answered twice", self.port.username);
            *answered = true;
            let Some(shown) = shown else { continue };
            shown.acks.fetch_add(1, Ordering::Relaxed);
            if self.fresh.take_if(|fresh| number >= *fresh).is_some() {
                shown.first_acks.lock().expect("nobody panicked").push((Instant::now(), address));
            }
        }
        moved
    }

    fn heard(self) -> Heard {
        let Self { port, member, messages, orders, answered, .. } = self;
        Heard { port, messages, orders, entered: answered.len(), logins: member.logins() }
    }
}
