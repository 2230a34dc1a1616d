//! Promise 8, for the whole order path at once: gateway, sequencer, journal, one shard or several, release gate and feed
//! as a node connects them, a journal on the disk, and not one allocation once warm; also of a primary whose standby takes
//! part in every commit.

#[path = "bare_standby.rs"]
mod bare_standby;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ironbell_appliance::format;
use ironbell_appliance::ha::carriage::Carriage;
use ironbell_appliance::ha::catch_up::CatchUp;
use ironbell_appliance::ha::primary::{self, Ends, Order, Primary, Report, Settings};
use ironbell_appliance::recovery::{self, Replay};
use ironbell_appliance::roles::{self, Fatal, FeedRole, GatewayRole, JournalRole, SequencerRole};
use ironbell_client::order_entry::{Event, FullOrder, Member, NewOrder, OrderEntry, Replacement, TwoSided};
use ironbell_device::kernel::{Connection, KernelAcceptor};
use ironbell_device::{Acceptor as _, mem};
use ironbell_feed::Feed;
use ironbell_gateway::{Gateway, LoginChecker};
use ironbell_replica::{AckPolicy, CommitRule, NodeId, primary as link};
use ironbell_runtime::release::{self, Release};
use ironbell_runtime::sequencer::{self, Sequencer};
use ironbell_runtime::shard::{self, Batch, Shard};
use ironbell_runtime::shards::Lending;
use ironbell_runtime::{Role, Stop, SystemClock};
use ironbell_sessionlog::{Maker, SessionLog};
use ironbell_store::{DataKey, Identity, Options, SegmentMaker, Term, Writer};
use ironbell_sync::{Consumer, CursorReader, DueReader, Producer, cursor, due, metrics, ring, voice};
use ironbell_types::{Capacity, Credential, Display, Nanos, Side, Symbol, TimeInForce, Username};
use ironbell_wire::ouch::{OptionValue, OptionsBuf};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is handed on to the system's allocator as it came; the counter is a plain cell
// without a destructor, so counting neither allocates nor runs too late.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps GlobalAlloc's contract.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SECTIONS: &str = r#"
data_dir = "data"
[feed]
group = "239.192.26.9:26499"
rerequest = "127.0.0.1:0"
[journal]
durability = "buffered"
segment_bytes = 16777216
[genesis]
assets = [{ code = "USD", decimals = 4 }, { code = "ANVL", decimals = 0 }]
instruments = [{ symbol = "ANVL", base = "ANVL", quote = "USD", tick = "0.01", maker_fee_bps = 1, taker_fee_bps = 3 }]
firms = [{ mpid = "ALFA" }]
ports = [{ username = "ALFA01", password = "quiet", firm = "ALFA", account = 1 }]
funds = [{ account = 1, asset = "USD", amount = "1000000000" }, { account = 1, asset = "ANVL", amount = "10000000" }]
ctl = [
    "rules ANVL --reference 100 --static 50% --collar 20% --band 40% --limit-state 15s --volatility 2m --short-restricted on",
    "port ALFA01 --rate 1000000000 --burst 1000 --duplicates 100000/1s --slide --stp off",
    "exposure ALFA USD --gross 900000000 --net 900000000",
    "credit 1 USD 900000000",
    "position 1 ANVL --long 9000000 --short 9000000",
    "locate ALFA ANVL 1000000",
]
"#;

/// Lets everybody in.
struct Trusting(Option<u64>);

impl LoginChecker for Trusting {
    fn submit(&mut self, id: u64, _password: [u8; 10], _credential: Credential) -> bool {
        self.0 = Some(id);
        true
    }

    fn poll(&mut self) -> Option<(u64, bool)> {
        self.0.take().map(|id| (id, true))
    }
}

/// A primary's side, and its standby on a thread of its own.
struct Pair {
    commit: CursorReader,
    permission: DueReader,
    /// Nobody gives orders; what is reported is read.
    _orders: Producer<Order>,
    reports: Consumer<Report>,
    stop: Stop,
    standby: Option<JoinHandle<()>>,
}

impl Pair {
    fn new(dir: &std::path::Path, identity: Identity, writer: &mut Writer) -> (Self, Primary) {
        let before = writer.point();
        writer.begin_epoch(writer.promised() + 1).expect("the disk writes");
        while writer.in_flight() > 0 {
            writer.poll().expect("the disk writes");
        }
        let mut acceptor = KernelAcceptor::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let calling = Connection::connect(acceptor.local_addr()).expect("somebody listens");
        let connection = loop {
            if let Some(connection) = acceptor.accept().expect("it listens") {
                break connection;
            }
        };
        let stop = Stop::default();
        let (stopped, folder) = (stop.clone(), dir.join("standby"));
        let standby = std::thread::spawn(move || {
            std::fs::create_dir_all(&folder).expect("a folder of ours");
            let journal = folder.join("journal");
            let mut standby =
                bare_standby::BareStandby::new(&journal, identity, calling, AckPolicy::BothDurable);
            while !stopped.asked() {
                if !standby.poll() {
                    std::thread::sleep(Duration::from_micros(20));
                }
            }
        });
        let (commit, committed) = cursor(writer.chain().commit.0);
        let (permission, permitted) = due();
        let (mut orders, theirs) = ring(primary::ORDERS);
        let (reports, told) = ring(primary::REPORTS);
        let settings = Settings {
            node: NodeId::ONE,
            identity,
            policy: AckPolicy::BothDurable,
            permission: Nanos(60_000_000_000),
            link: link::Config { keep_alive: Nanos(1_000_000), catch_up_bytes_per_s: 1 << 30 },
        };
        let journal = dir.join("data").join("journal");
        let catch_up = CatchUp::start(journal, None, stop.clone()).expect("a thread");
        let ends = Ends { commit, permission, orders: theirs, reports };
        let primary = Primary::new(settings, writer, before, CommitRule::Pair, catch_up, ends);
        let connect = Order::Connect(Carriage::new(connection, primary::OUTBOX_BYTES));
        assert!(orders.push(connect).is_ok(), "there is room for one");
        let (standby, _orders) = (Some(standby), orders);
        (Self { commit: committed, permission: permitted, _orders, reports: told, stop, standby }, primary)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.stop.ask();
        if let Some(standby) = self.standby.take() {
            let joined = standby.join();
            assert!(joined.is_ok() || std::thread::panicking(), "the standby panicked");
        }
    }
}

struct Node {
    shard: Shard,
    pair: Option<Pair>,
    /// All others.
    roles: Vec<Box<dyn Role>>,
    shadow: Consumer<release::ToShadow>,
    segments: SegmentMaker,
    logs: [Maker; 2],
    fatal: Fatal,
    now: Nanos,
}

impl Node {
    fn start(dir: &std::path::Path, acceptor: mem::MemAcceptor, shards: usize, is_pair: bool) -> Self {
        let path = dir.join("node.toml");
        // The firm is at home on the last shard and its instrument on the first, and every frame is fanned out.
        let homes = format!("[shards]\ncount = {shards}\nrun_min = 1\nfirms = {{ ALFA = {} }}\n", shards - 1);
        std::fs::write(&path, format!("{SECTIONS}{homes}")).expect("a file of ours");
        let config = ironbell_appliance::config::Config::read(&path).expect("a configuration");
        format::format(&config).expect("a journal");
        let journal = config.journal_dir();

        let (gateway_sequencer, from_gateway) = ring(4_096);
        let (sequencer_journal, to_journal) = ring(64);
        let (sequencer_shard, to_shard) = ring(64);
        let (shard_sequencer, from_shard) = ring(2_048);
        let (shard_release, to_release) = ring(16);
        let (mut release_shard, batches) = ring(16);
        for _ in 0..16 {
            release_shard.push(Batch::new(shards)).expect("room");
        }
        let (release_gateway, to_gateway) = ring(4_096);
        let (release_feed, to_feed) = ring(4_096);
        let (release_shadow, shadow) = ring(4_096);
        let (frames_durable, frames_durable_reader) = cursor(0);
        let (next_due, next_due_reader) = due();
        // Enciphered, which is the plain one's way and more.
        let key = DataKey::new(&[7; 32]);
        let log = |name: &str| SessionLog::open(&config.log(name, Some(&key))).expect("a log");
        let ((session_log, session_maker), (feed_log, feed_maker)) = (log("sessions"), log("feed"));
        let gateway_config = ironbell_gateway::Config::default();
        let checker = Trusting(None);
        let mut gateway =
            Gateway::new(gateway_config, acceptor, session_log, gateway_sequencer, to_gateway, checker);
        // Nobody listens: what finds no room is dropped.
        gateway.speak(voice(16).0);
        let feed_config = ironbell_feed::Config {
            group: config.feed.group,
            interface: config.feed.interface,
            rerequest: config.feed.rerequest,
            ..ironbell_feed::Config::default()
        };
        let mut feed = Feed::new(feed_config, feed_log, to_feed).expect("sockets on loopback");
        let identity = ironbell_store::identity(&journal).expect("an identity");
        let venue_key = identity.key;
        let mut replay = Replay::new(venue_key);
        let term = if is_pair { Term::Copy } else { Term::Next };
        let options = Options { term, ..config.store_options(None) };
        let (found, mut writer, segments) =
            ironbell_store::open_replaying(&journal, &options, &mut |header, commands| {
                for event in replay.frame(header, commands)? {
                    gateway.replay(event)?;
                    feed.replay(event)?;
                }
                Ok(())
            })
            .expect("the journal opens");
        gateway.end_recovery();
        feed.end_recovery();
        let (pair, primary) = match is_pair.then(|| Pair::new(dir, identity, &mut writer)) {
            Some((pair, primary)) => (Some(pair), Some(primary)),
            None => (None, None),
        };
        let commit = pair.as_ref().map_or_else(|| writer.durable(), |pair| pair.commit.clone());
        let engine = replay.finish().engine;
        let (engine, _) = recovery::with_twin(engine, venue_key, &config).expect("there are such shards");
        let (released_seq, _) = cursor(engine.last_seq().0);
        let mut sections =
            metrics::create(&dir.join("metrics"), &roles::SPECS).expect("a segment").into_iter();
        let mut section = || sections.next().expect("one a role");
        let (stop, fatal) = (Stop::default(), Fatal::default());

        let gateway = GatewayRole::new(gateway, section(), Stop::default(), fatal.clone(), stop.clone());
        let connections = sequencer::Connections {
            inputs: vec![from_gateway],
            shard_sequencer: from_shard,
            sequencer_journal,
            sequencer_shard,
            frames_durable: frames_durable_reader,
            commit: commit.clone(),
            next_due: next_due_reader,
        };
        let start = sequencer::Start {
            seq: engine.last_seq(),
            time: engine.last_time(),
            output_hash: engine.output_hash(),
            commit: found.commit,
        };
        let sequencer = Sequencer::new(SystemClock, connections, start, 4, Nanos(1), Vec::new());
        let sequencer = SequencerRole::new(sequencer, section(), Stop::default(), Stop::default());
        let journal = JournalRole::new(
            writer,
            primary,
            to_journal,
            frames_durable,
            section(),
            fatal.clone(),
            stop.clone(),
        );
        let connections = shard::Connections {
            sequencer_shard: to_shard,
            shard_sequencer,
            shard_release,
            release_shard: batches,
            next_due,
        };
        let lending = Lending { run_min: config.shards.run_min, ..Lending::default() };
        let (shard, workers) = Shard::new(engine, lending, connections);
        assert_eq!(workers.len(), shards - 1);
        let outputs = vec![release_gateway, release_feed];
        let connections = release::Connections {
            shard_release: to_release,
            release_shard,
            outputs,
            release_shadow,
            commit,
            permission: pair.as_ref().map(|pair| pair.permission.clone()),
        };
        let release = Release::new(connections, released_seq, roles::observe_released(section()));
        let feed = FeedRole::new(feed, section(), fatal.clone(), stop);
        let mut roles: Vec<Box<dyn Role>> = vec![
            Box::new(gateway),
            Box::new(sequencer),
            Box::new(journal),
            Box::new(release),
            Box::new(feed),
        ];
        roles.extend(workers.into_iter().map(|worker| Box::new(worker) as Box<dyn Role>));
        Self { shard, pair, roles, shadow, segments, logs: [session_maker, feed_maker], fatal, now: Nanos(1) }
    }

    /// One round of every role; returns how often they allocated. What is done on other threads in a node
    /// is done here too, uncounted.
    fn round(&mut self) -> u64 {
        self.now.0 += 1_000;
        let before = ALLOCATIONS.get();
        for role in &mut self.roles {
            role.poll(self.now);
        }
        self.shard.poll(self.now);
        let count = ALLOCATIONS.get() - before;
        while self.shadow.pop().is_ok() {}
        if let Some(pair) = &mut self.pair {
            while let Ok(report) = pair.reports.pop() {
                assert!(!matches!(report, Report::Alarm(_) | Report::Unconnected), "the standby is lost");
            }
        }
        self.segments.poll().expect("the disk has room");
        for log in &mut self.logs {
            log.poll().expect("the disk has room");
        }
        assert_eq!(self.fatal.why(), None);
        count
    }
}

type Trader = Member<mem::MemStream>;

/// Steps of a round: an order of every kind, what it trades with, and what takes it off again.
const STEPS: u32 = 18;

/// Sends the next request of the round and waits for its answer; returns how often the order path allocated
/// meanwhile.
fn trade(node: &mut Node, member: &mut Trader, step: u32) -> u64 {
    let symbol = Symbol::new("ANVL").expect("short");
    let (entry, price) = (member.entry(), 1_000_000 + u64::from(step % 50) * 100);
    let heard = entry.next_number();
    let last = entry.next_user_ref_num() - 1;
    let (buy, sell) = (
        |price| NewOrder::day(Side::Buy, 10, symbol, price),
        |price| NewOrder::day(Side::Sell, 10, symbol, price),
    );
    let plain = OptionsBuf::EMPTY;
    let with = |options: &[OptionValue]| {
        options.iter().fold(OptionsBuf::EMPTY, |mut buffer, option| *buffer.push(*option))
    };
    let sent = match step % STEPS {
        0 | 1 => entry.enter(&buy(price - 10_000), &plain).map(drop),
        2 => entry.replace(last, &Replacement::day(20, price - 9_900), &plain).map(drop),
        3 => entry.cancel(last, 5),
        4 => entry.enter(&sell(price), &plain).map(drop),
        5 => entry.enter(&NewOrder::ioc(Side::Buy, 10, symbol, price), &plain).map(drop),
        // An iceberg, refreshed while it is traded away.
        6 => {
            let reserves = [OptionValue::MaxFloor(3), OptionValue::RandomReserves(1)];
            entry.enter(&sell(price), &with(&reserves)).map(drop)
        }
        7 => entry.enter(&NewOrder::ioc(Side::Buy, 10, symbol, price), &plain).map(drop),
        8 => {
            let hidden = NewOrder { display: Display::Hidden, ..buy(price - 5_000) };
            entry.enter(&hidden, &with(&[OptionValue::PriceType(b'R')])).map(drop)
        }
        // A quote in the place of the last round's.
        10 => {
            let quote = TwoSided { symbol, bid: (5, 9_000), ask: (5, 11_000) };
            entry.mass_quote(Capacity::Principal, &[quote]).map(drop)
        }
        11 => entry.enter_full(&FullOrder::stop(Side::Sell, 5, symbol, 6_000)).map(drop),
        13 => {
            let until = NewOrder { time_in_force: TimeInForce::Gtt, ..buy(price - 20_000) };
            entry.enter(&until, &with(&[OptionValue::ExpireTime(172_000)])).map(drop)
        }
        // Post-only beyond the other side: it slides.
        15 => entry.enter(&sell(price - 15_000), &with(&[OptionValue::PostOnly(b'P')])).map(drop),
        // A short sale against the price test is refused.
        17 => {
            let short = NewOrder { side: Side::SellShort, ..buy(price - 30_000) };
            entry.enter(&short, &plain).map(drop)
        }
        _ => entry.cancel(last, 0),
    };
    sent.expect("there is room");
    let mut count = 0;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        count += node.round();
        member.poll(node.now).expect("the session holds");
        while member.next().expect("the venue keeps the protocols").is_some() {}
        if member.entry().next_number() > heard {
            return count;
        }
    }
    panic!("step {step} is not answered");
}

#[test]
fn a_warm_order_path_makes_no_allocation() {
    check(1, false);
}

#[test]
fn nor_does_one_of_two_shards() {
    check(2, false);
}

#[test]
fn nor_does_one_of_three_shards() {
    check(3, false);
}

#[test]
fn nor_does_a_primary_with_a_standby() {
    check(1, true);
}

fn check(shards: usize, is_pair: bool) {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("quiet-{shards}-{is_pair}"));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a folder");
    let (acceptor, dialer) = mem::network(64 << 10);
    let mut node = Node::start(&dir, acceptor, shards, is_pair);
    let username = Username::new("ALFA01").expect("short");
    let entry =
        OrderEntry::new(&ironbell_session::Config::default(), username, "quiet", Nanos(1)).expect("a member");
    let mut member = Member::over(dialer.connect(), entry, 1);
    let mut is_in = false;
    for _ in 0..10_000 {
        node.round();
        member.poll(node.now).expect("the session holds");
        while let Some(event) = member.next().expect("the venue keeps the protocols") {
            is_in |= matches!(event, Event::LoggedIn { .. });
        }
    }
    assert!(is_in, "the member is not let in");
    let before = ALLOCATIONS.get();
    drop(std::hint::black_box(Box::new(before)));
    assert_eq!(ALLOCATIONS.get(), before + 1, "the allocator does not count");
    let warm_up: u64 = (0..100 * STEPS).map(|step| trade(&mut node, &mut member, step)).sum();
    println!("{warm_up} allocations while warming up");
    let lent = |node: &Node| node.shard.counters().commands_lent;
    let lent_before = lent(&node);
    for step in 100 * STEPS..400 * STEPS {
        assert_eq!(trade(&mut node, &mut member, step), 0, "step {step}");
    }
    assert_eq!(lent(&node) > lent_before, shards > 1, "over {shards} shards");
}
