//! `replicated_commit`: what a commit on two nodes costs, beside what it could cost; and what a member sees of it.
//!
//! ```text
//! cargo bench -p ironbell-appliance --bench replicated_commit [-- [--json] [--dir DIR] [--turns N] [--orders N]
//!     [--takeovers N]]
//! ```
//!
//! **Commits.** Two journals of one command a frame, one frame in flight: the writer with the primary's side of the pair, as
//! the journal's role runs it, on one thread, a standby that appends and acknowledges on another, TCP on loopback between
//! them. The base is the least that two durable writes can be: the same two threads, each with a bare direct, synced write
//! of a block (O_DIRECT, RWF_DSYNC, zero-written file), the remote one begun by 512 bytes over a socket of their own and
//! answered by 64; `local` is the one write, `round trip + remote` the other with its way there and back, both under way at
//! the same time, on the same disk and the same CPUs, in turns with ours. The bar is 1.15 × the larger of the two.
//! Both sides poll and yield, as a node does on shared CPUs.
//!
//! **Acknowledgements.** The real program, alone and as a pair with three members of etcd: one member sends an order at a time
//! and polls for the answer, from before the write to after the read. Two nodes want more CPUs than two.
//!
//! **Takeovers.** The primary of such a pair is killed (SIGKILL) while a member trades, who finds the other node by itself and
//! asks again every 5 ms: from the kill to the first answer to an order that was entered after it. The node comes back
//! each time, and the next to go is whoever leads then. The least it can be is the silence after which a standby takes over
//! (`ha.grace`).

#[path = "../../../tests/node/bare_standby.rs"]
mod bare_standby;

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, IoSlice, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use bare_standby::BareStandby;
use ironbell_appliance::admin::{self, Request, Status};
use ironbell_appliance::config::Config;
use ironbell_appliance::ha::carriage::Carriage;
use ironbell_appliance::ha::catch_up::CatchUp;
use ironbell_appliance::ha::primary::{self, Ends, Order, Primary, Settings};
use ironbell_appliance::trial::TrialNode;
use ironbell_client::failover::{Failover, Patience};
use ironbell_client::order_entry::{Event, Member, NewOrder};
use ironbell_device::Acceptor as _;
use ironbell_device::kernel::{Connection, KernelAcceptor};
use ironbell_etcd_cluster::Cluster;
use ironbell_record::Identity;
use ironbell_replica::{AckPolicy, CommitRule, NodeId, primary as link};
use ironbell_runtime::Stop;
use ironbell_session::Config as SessionConfig;
use ironbell_store::{SegmentMaker, Writer};
use ironbell_sync::{CursorReader, cursor, due, ring};
use ironbell_types::{Command, Nanos, Seq, Sequenced, Side, Symbol, Username};
use ironbell_wire::ouch::{OptionsBuf, Outbound};
use rustix::fs::{FallocateFlags, OFlags};
use rustix::io::ReadWriteFlags;

const BLOCK_BYTES: usize = 4096;
const FILE_BYTES: u64 = 64 << 20;
const COMMITS_A_TURN: usize = 200;
const VENUE: Identity = Identity { cluster: [1; 16], key: 1 };
/// Times the larger of local commit, and round trip + remote commit.
const BAR: f64 = 1.15;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

struct Asked {
    json: bool,
    dir: PathBuf,
    turns: usize,
    orders: usize,
    takeovers: usize,
}

impl Asked {
    fn parse() -> Self {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("replicated-commit");
        let mut asked = Self { json: false, dir, turns: 10, orders: 1000, takeovers: 5 };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} wants a value"));
            match argument.as_str() {
                "--json" => asked.json = true,
                "--dir" => asked.dir = PathBuf::from(value()).join("replicated-commit"),
                "--turns" => asked.turns = value().parse().expect("a number of turns"),
                "--orders" => asked.orders = value().parse().expect("a number of orders"),
                "--takeovers" => asked.takeovers = value().parse().expect("a number of takeovers"),
                // Cargo says so to every bench.
                "--bench" => {}
                other => panic!("unknown option {other}"),
            }
        }
        asked
    }
}

fn main() {
    let asked = Asked::parse();
    let _ = fs::remove_dir_all(&asked.dir);
    fs::create_dir_all(&asked.dir).expect("a folder on a disk: see --dir");
    let pairs = [
        (None, "alone"),
        (Some(AckPolicy::BothDurable), "both-durable"),
        (Some(AckPolicy::DurableReceived), "durable+received"),
        (Some(AckPolicy::Local), "local"),
    ];
    if !asked.json {
        println!(
            "commit of one command, µs        p50      p99     local p50  trip + remote p50  of the larger"
        );
    }
    for (policy, name) in pairs {
        commits(&asked, policy, name);
    }
    if !asked.json {
        println!("order to acknowledgement, µs     p50      p99");
    }
    let etcd = Cluster::start();
    for (policy, name) in pairs {
        let mut acks = match policy {
            None => acks_alone(&asked),
            Some(_) => acks_of_pair(&asked, &etcd, name),
        };
        let [p50, p99] = percentiles(&mut acks);
        if asked.json {
            println!(
                r#"{{"bench":"replicated_commit","what":"ack","policy":"{name}","p50_us":{p50:.1},"p99_us":{p99:.1}}}"#
            );
        } else {
            println!("  {name:<26}{p50:>8.1}{p99:>9.1}");
        }
    }
    if asked.takeovers > 0 {
        let (mut times, grace) = takeovers(&asked, &etcd);
        times.sort_unstable();
        let [median, max] =
            [times[times.len() / 2], times[times.len() - 1]].map(|time| time.as_secs_f64() * 1e3);
        let (count, grace) = (times.len(), grace.as_secs_f64() * 1e3);
        if asked.json {
            println!(
                r#"{{"bench":"replicated_commit","what":"takeover","count":{count},"p50_ms":{median:.1},"max_ms":{max:.1},"grace_ms":{grace:.1}}}"#
            );
        } else {
            println!(
                "primary killed to first answer of the other, ms: median {median:.0}, longest {max:.0} of {count}; grace {grace:.0}"
            );
        }
    }
    let _ = fs::remove_dir_all(&asked.dir);
}

/// p50 and p99 in microseconds.
fn percentiles(times: &mut [Duration]) -> [f64; 2] {
    times.sort_unstable();
    [50, 99].map(|percent| times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64() * 1e6)
}

// Commits.

/// What the other thread does.
const IDLE: u8 = 0;
const FOLLOWS: u8 = 1;
const ECHOES: u8 = 2;
const ENDS: u8 = 3;

fn commits(asked: &Asked, policy: Option<AckPolicy>, name: &str) {
    let dir = asked.dir.join(name);
    let [here, there] = ["primary", "standby"].map(|node| {
        fs::create_dir_all(dir.join(node)).expect("a folder of ours");
        dir.join(node)
    });
    let mut acceptor = KernelAcceptor::bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
    let calling = Connection::connect(acceptor.local_addr()).expect("somebody listens");
    let connection = loop {
        if let Some(connection) = acceptor.accept().expect("it listens") {
            break connection;
        }
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let echo = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("somebody listens");
    let (echoing, _) = listener.accept().expect("somebody called");
    let mode = Arc::new(AtomicU8::new(IDLE));
    let other = {
        let mode = Arc::clone(&mode);
        let ack = policy.unwrap_or(AckPolicy::Local);
        std::thread::spawn(move || Standby::new(&there, calling, echoing, ack).work(&mode))
    };
    let mut leader = Leader::new(&here, policy, connection);
    let mut base =
        Base { bare: Bare::new(&here), echo: Socket::new(echo), local: Vec::new(), remote: Vec::new() };
    let (mut ours, mut both) = (Vec::new(), Vec::new());
    let follows = if policy.is_some() { FOLLOWS } else { IDLE };
    for turn in 0..=asked.turns {
        mode.store(follows, Ordering::Release);
        leader.settle();
        for _ in 0..COMMITS_A_TURN {
            ours.push(leader.commit());
        }
        mode.store(ECHOES, Ordering::Release);
        for _ in 0..COMMITS_A_TURN {
            both.push(base.write());
        }
        if turn == 0 {
            // Everything is warm.
            for times in [&mut ours, &mut both, &mut base.local, &mut base.remote] {
                times.clear();
            }
        }
    }
    mode.store(ENDS, Ordering::Release);
    other.join().expect("the standby does not panic");
    let [p50, p99] = percentiles(&mut ours);
    let [local, _] = percentiles(&mut base.local);
    let [remote, _] = percentiles(&mut base.remote);
    // Only where both must be durable is it the larger of the two that counts; alone it is the local one.
    let least = match policy {
        Some(AckPolicy::BothDurable) => Some(local.max(remote)),
        Some(AckPolicy::DurableReceived) => None,
        Some(AckPolicy::Local) | None => Some(local),
    };
    let ratio = least.map(|least| p50 / least);
    if asked.json {
        let ratio = ratio.map_or("null".to_owned(), |ratio| format!("{ratio:.3}"));
        println!(
            r#"{{"bench":"replicated_commit","what":"commit","policy":"{name}","p50_us":{p50:.1},"p99_us":{p99:.1},"local_p50_us":{local:.1},"remote_p50_us":{remote:.1},"ratio":{ratio}}}"#
        );
    } else {
        let ratio = ratio.map_or("-".to_owned(), |ratio| {
            let bar = match policy {
                Some(AckPolicy::BothDurable) => format!(" (bar {BAR})"),
                _ => String::new(),
            };
            format!("{ratio:.2}{bar}")
        });
        println!("  {name:<26}{p50:>8.1}{p99:>9.1}{local:>14.1}{remote:>19.1}  {ratio:>13}");
    }
}

/// The journal's side of a primary.
struct Leader {
    writer: Writer,
    maker: SegmentMaker,
    primary: Primary,
    commit: CursorReader,
    epoch: u64,
    /// Both ends that nobody uses here.
    _ends:
        (ironbell_sync::Producer<Order>, ironbell_sync::Consumer<primary::Report>, ironbell_sync::DueReader),
}

impl Leader {
    fn new(dir: &Path, policy: Option<AckPolicy>, connection: Connection) -> Self {
        let (mut writer, mut maker) = bare_standby::journal(&dir.join("journal"), VENUE);
        let before = writer.point();
        while !writer.can_begin() {
            writer.poll().expect("the disk writes");
            maker.poll().expect("the disk writes");
        }
        writer.begin_epoch(1).expect("the first one");
        let (commit, committed) = cursor(0);
        let (permission, permitted) = due();
        let (mut orders, theirs) = ring(primary::ORDERS);
        let (reports, told) = ring(primary::REPORTS);
        let settings = Settings {
            node: NodeId::ONE,
            identity: VENUE,
            policy: policy.unwrap_or(AckPolicy::Local),
            permission: Nanos(500_000_000),
            link: link::Config { keep_alive: Nanos(50_000_000), catch_up_bytes_per_s: 100 << 20 },
        };
        let rule = if policy.is_some() { CommitRule::Pair } else { CommitRule::Alone };
        let catch_up = CatchUp::start(dir.join("journal"), None, Stop::default()).expect("a thread");
        let ends = Ends { commit, permission, orders: theirs, reports };
        let primary = Primary::new(settings, &writer, before, rule, catch_up, ends);
        if policy.is_some() {
            let connect = Order::Connect(Carriage::new(connection, primary::OUTBOX_BYTES));
            assert!(orders.push(connect).is_ok(), "there is room for one");
        }
        Self { writer, maker, primary, commit: committed, epoch: 1, _ends: (orders, told, permitted) }
    }

    /// Between turns: segments are made, and what is on its way arrives.
    fn settle(&mut self) {
        while self.maker.poll().expect("the disk writes") > 0 {}
        self.commit();
    }

    fn commit(&mut self) -> Duration {
        while !self.writer.can_begin() {
            self.poll();
            self.maker.poll().expect("the disk writes");
        }
        let (begun, seq) = (Instant::now(), self.writer.appended_seq().next());
        let command = Sequenced { seq, time: Nanos(seq.0), command: Command::Tick };
        let committed = Seq(self.commit.get());
        self.writer.append(&[command], committed, (Seq(0), 0)).expect("the disk writes");
        self.primary.appended(&self.writer.last_copy().expect("one was just appended"));
        while self.commit.get() < seq.0 {
            if self.poll() == 0 {
                std::thread::yield_now();
            }
            while self._ends.1.pop().is_ok() {}
            assert!(begun.elapsed() < PATIENCE, "nothing is committed in epoch {}", self.epoch);
        }
        begun.elapsed()
    }

    fn poll(&mut self) -> usize {
        let written = self.writer.poll().expect("the disk writes");
        written + self.primary.poll(&mut self.writer).expect("the disk writes")
    }
}

/// The other node: a standby without a state machine; and a bare one.
struct Standby {
    follower: BareStandby,
    bare: Bare,
    echo: Socket,
}

impl Standby {
    fn new(dir: &Path, connection: Connection, echo: TcpStream, ack: AckPolicy) -> Self {
        let follower = BareStandby::new(&dir.join("journal"), VENUE, connection, ack);
        Self { follower, bare: Bare::new(dir), echo: Socket::new(echo) }
    }

    fn work(mut self, mode: &AtomicU8) {
        loop {
            let worked = match mode.load(Ordering::Acquire) {
                FOLLOWS => self.follower.poll(),
                ECHOES => self.echo(),
                ENDS => return,
                _ => {
                    std::thread::sleep(Duration::from_millis(1));
                    true
                }
            };
            if !worked {
                std::thread::yield_now();
            }
        }
    }

    fn echo(&mut self) -> bool {
        if !self.echo.read(ASK_BYTES) {
            return false;
        }
        self.bare.write();
        self.echo.write(&[0; ANSWER_BYTES]);
        true
    }
}

/// About as long as a frame of one command, and as an acknowledgement.
const ASK_BYTES: usize = 512;
const ANSWER_BYTES: usize = 64;

/// The least that a commit on two nodes can be.
struct Base {
    bare: Bare,
    echo: Socket,
    local: Vec<Duration>,
    remote: Vec<Duration>,
}

impl Base {
    fn write(&mut self) -> Duration {
        let begun = Instant::now();
        self.echo.write(&[0; ASK_BYTES]);
        self.bare.write();
        self.local.push(begun.elapsed());
        while !self.echo.read(ANSWER_BYTES) {
            std::thread::yield_now();
        }
        self.remote.push(begun.elapsed());
        begun.elapsed()
    }
}

/// A socket that never waits.
struct Socket {
    stream: TcpStream,
    came: usize,
}

impl Socket {
    fn new(stream: TcpStream) -> Self {
        stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true)).expect("a socket of ours");
        Self { stream, came: 0 }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the buffer is empty");
    }

    /// Whether so many bytes have come.
    fn read(&mut self, bytes: usize) -> bool {
        let mut buffer = [0; ASK_BYTES];
        match self.stream.read(&mut buffer[..bytes - self.came]) {
            Ok(read) => self.came += read,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => panic!("{e}"),
        }
        let whole = self.came == bytes;
        if whole {
            self.came = 0;
        }
        whole
    }
}

/// The least that a durable write of a block can be: one system call on prepared blocks.
struct Bare {
    file: File,
    memory: Vec<u8>,
    offset: u64,
}

impl Bare {
    fn new(dir: &Path) -> Self {
        let mut options = OpenOptions::new();
        options.write(true).create(true).custom_flags(OFlags::DIRECT.bits() as i32);
        let file = options.open(dir.join("bare")).expect("a folder on a disk: see --dir");
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, FILE_BYTES).expect("the disk has room");
        // Direct writes want memory that begins where a block does.
        let memory = vec![0; (1 << 20) + BLOCK_BYTES];
        let mut bare = Self { file, memory, offset: 0 };
        for at in (0..FILE_BYTES).step_by(1 << 20) {
            let zeros = bare.aligned(1 << 20);
            bare.file.write_all_at(zeros, at).expect("the disk writes");
        }
        bare.file.sync_all().expect("the disk writes");
        bare.memory.fill(0x5a);
        bare
    }

    fn aligned(&self, bytes: usize) -> &[u8] {
        let start = self.memory.as_ptr().align_offset(BLOCK_BYTES);
        &self.memory[start..start + bytes]
    }

    fn write(&mut self) {
        let slices = [IoSlice::new(self.aligned(BLOCK_BYTES))];
        let written = rustix::io::pwritev2(&self.file, &slices, self.offset, ReadWriteFlags::DSYNC);
        assert_eq!(written, Ok(BLOCK_BYTES), "a direct, synced write");
        self.offset = (self.offset + BLOCK_BYTES as u64) % FILE_BYTES;
    }
}

// Acknowledgements.

const GENESIS: &str = r#"
[genesis]
assets = [{ code = "USD", decimals = 4 }, { code = "ANVL", decimals = 0 }]
instruments = [{ symbol = "ANVL", base = "ANVL", quote = "USD", tick = "0.01" }]
firms = [{ mpid = "ALFA" }]
ports = [{ username = "ALFA01", password = "secret", firm = "ALFA", account = 1 }]
funds = [{ account = 1, asset = "USD", amount = "1000000000" }]
"#;

fn acks_alone(asked: &Asked) -> Vec<Duration> {
    let program = Path::new(env!("CARGO_BIN_EXE_ironbell"));
    let mut node =
        TrialNode::prepare(&asked.dir.join("node"), GENESIS, Some(program)).unwrap_or_else(|e| panic!("{e}"));
    node.start().unwrap_or_else(|e| panic!("{e}"));
    let status = node.status().unwrap_or_else(|e| panic!("{e}"));
    acks(status.order_entry.parse().expect("an address"), asked.orders)
}

fn acks_of_pair(asked: &Asked, etcd: &Cluster, policy: &str) -> Vec<Duration> {
    let pair = Pair::start(asked, etcd, policy, policy);
    acks(pair.order_entry(), asked.orders)
}

/// One order at a time.
fn acks(address: SocketAddr, orders: usize) -> Vec<Duration> {
    let clock = Instant::now();
    let now = || Nanos(clock.elapsed().as_nanos() as u64);
    let username = Username::new("ALFA01").expect("short");
    let mut member = Member::connect(address, &SessionConfig::default(), username, "secret", 1, now())
        .expect("it is let in");
    let wait = |member: &mut Member, wanted: &dyn Fn(&Event<'_>) -> bool| {
        let begun = Instant::now();
        loop {
            let moved = member.poll(now()).expect("the connection stands");
            while let Some(event) = member.next().expect("the protocol is kept") {
                if wanted(&event) {
                    return;
                }
            }
            assert!(begun.elapsed() < PATIENCE, "no answer");
            if moved == 0 {
                std::thread::yield_now();
            }
        }
    };
    wait(&mut member, &|event| matches!(event, Event::LoggedIn { .. }));
    let symbol = Symbol::new("ANVL").expect("short");
    let warm = orders / 10;
    let mut times = Vec::with_capacity(orders);
    for nth in 0..warm + orders {
        let begun = Instant::now();
        let order = NewOrder::ioc(Side::Buy, 1, symbol, 100);
        let number = member.entry().enter(&order, &OptionsBuf::default()).expect("there is room");
        wait(
            &mut member,
            &|event| matches!(event, Event::Message { message: Outbound::OrderAccepted(told, _), .. } if told.user_ref_num.get() == number),
        );
        if nth >= warm {
            times.push(begun.elapsed());
        }
    }
    times
}

// Takeovers.

/// Each from the kill to the first answer; and the silence that starts a takeover.
fn takeovers(asked: &Asked, etcd: &Cluster) -> (Vec<Duration>, Duration) {
    let mut pair = Pair::start(asked, etcd, "takeover", "both-durable");
    let grace = Duration::from_nanos(pair.nodes[0].config.ha.as_ref().expect("it is one of a pair").grace.0);
    let addresses = pair.nodes.each_ref().map(|node| node.config.order_entry.listen);
    let mut trader = Trader::new(&addresses);
    let mut times = Vec::with_capacity(asked.takeovers);
    for _ in 0..asked.takeovers {
        let leader = pair.leader();
        trader.trade();
        let begun = Instant::now();
        pair.running[leader] = None;
        trader.trade();
        times.push(begun.elapsed());
        pair.running[leader] = Some(pair.nodes[leader].start());
    }
    (times, grace)
}

/// A member who finds who leads by itself.
struct Trader {
    member: Failover,
    clock: Instant,
}

impl Trader {
    fn new(addresses: &[SocketAddr]) -> Self {
        /// It is to tell how long the venue takes, not how long a member waits before it asks again.
        const PAUSE: Nanos = Nanos(5_000_000);
        let patience = Patience { pause_min: PAUSE, pause_max: PAUSE, ..Patience::default() };
        let login = (Username::new("ALFA01").expect("short"), "secret");
        let member = Failover::new(addresses, &SessionConfig::default(), login, 1, 16, Nanos(0));
        Self { member: member.expect("short").with_patience(patience), clock: Instant::now() }
    }

    /// Enters an order as soon as it is taken, and waits for its answer.
    fn trade(&mut self) {
        let symbol = Symbol::new("ANVL").expect("short");
        let (begun, mut entered) = (Instant::now(), None);
        loop {
            let moved = self.member.poll(Nanos(self.clock.elapsed().as_nanos() as u64));
            while let Some(event) = self.member.next().expect("the protocol is kept") {
                if let Event::Message { message: Outbound::OrderAccepted(told, _), .. } = event
                    && entered == Some(told.user_ref_num.get())
                {
                    return;
                }
            }
            if entered.is_none() && self.member.is_up() {
                let order = NewOrder::ioc(Side::Buy, 1, symbol, 100);
                entered = self.member.entry().enter(&order, &OptionsBuf::default()).ok();
            }
            assert!(begun.elapsed() < PATIENCE, "no answer");
            if moved == 0 {
                std::thread::sleep(Duration::from_micros(100));
            }
        }
    }
}

/// Two nodes, in sync when it is made.
struct Pair {
    nodes: [Node; 2],
    running: [Option<Running>; 2],
}

impl Pair {
    fn start(asked: &Asked, etcd: &Cluster, name: &str, policy: &str) -> Self {
        let dir = asked.dir.join(format!("pair-{name}"));
        let link = free_tcp();
        let nodes = [1, 2].map(|number| Node::new(&dir, number, link, etcd, name, policy));
        let [first, second] = &nodes;
        first.told(&["format"]);
        let leads = first.start();
        first.wait(|status| status.pair.is_some());
        first.told(&["ctl", "bootstrap"]);
        second.told(&["format", "--standby"]);
        let follows = second.start();
        // Under `local` a standby is never in sync; it follows all the same.
        first.wait(|status| {
            let pair = status.pair.as_ref();
            is_open(status)
                && pair.is_some_and(|pair| pair.lag.is_some_and(|lag| lag.commands == 0))
                && (policy == "local" || is_pair(status))
        });
        Self { nodes, running: [Some(leads), Some(follows)] }
    }

    fn order_entry(&self) -> SocketAddr {
        let leads = self.nodes[0].wait(is_open);
        leads.order_entry.parse().expect("an address")
    }

    /// Who leads, when both are in sync.
    fn leader(&self) -> usize {
        let begun = Instant::now();
        loop {
            let leads =
                |node: &Node| node.status().is_some_and(|status| is_open(&status) && is_pair(&status));
            if let Some(leader) = self.nodes.iter().position(leads) {
                return leader;
            }
            assert!(begun.elapsed() < PATIENCE, "no pair again");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn is_open(status: &Status) -> bool {
    status.pair.as_ref().is_some_and(|pair| pair.standing == "primary" && pair.open)
        && status.order_entry.parse::<SocketAddr>().is_ok()
}

fn is_pair(status: &Status) -> bool {
    let register = status.pair.as_ref().and_then(|pair| pair.register.as_ref());
    register.is_some_and(|register| register.mode == "pair")
}

fn free_tcp() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|l| l.local_addr()).expect("a free port").port()
}

/// A node of a pair.
struct Node {
    path: PathBuf,
    config: Config,
}

/// It is killed when this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Node {
    fn new(dir: &Path, number: u8, link: u16, etcd: &Cluster, name: &str, policy: &str) -> Self {
        let dir = dir.join(number.to_string());
        fs::create_dir_all(&dir).expect("a folder of ours");
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|s| s.local_addr())
            .expect("a free port")
            .port();
        let link_key = if number == 1 { "listen" } else { "peer" };
        let endpoints: Vec<String> = etcd.endpoints().iter().map(|url| format!("{url:?}")).collect();
        let text = format!(
            "data_dir = \"data\"\n[order_entry]\nlisten = \"127.0.0.1:{}\"\n[feed]\nrerequest = \"127.0.0.1:{udp}\"\n\
             [service]\nitch = \"127.0.0.1:{}\"\nglimpse = \"127.0.0.1:{}\"\n\
             [ha]\nnode = {number}\n{link_key} = \"127.0.0.1:{link}\"\nack = \"{policy}\"\netcd = [{}]\nkey = \"/bench/{name}\"\n{GENESIS}",
            free_tcp(),
            free_tcp(),
            free_tcp(),
            endpoints.join(", ")
        );
        let path = dir.join("node.toml");
        fs::write(&path, text).expect("a file of ours");
        let config = Config::read(&path).unwrap_or_else(|e| panic!("{e}"));
        Self { path, config }
    }

    fn ironbell(&self, arguments: &[&str]) -> Process {
        let mut command = Process::new(env!("CARGO_BIN_EXE_ironbell"));
        command.args(arguments).arg("--config").arg(&self.path).stdin(Stdio::null());
        command
    }

    fn told(&self, arguments: &[&str]) {
        let output = self.ironbell(arguments).output().expect("it can be executed");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn start(&self) -> Running {
        let log = File::create(self.path.with_extension("log")).expect("a file of ours");
        let mut command = self.ironbell(&["run"]);
        command.args(["--trial-of", &std::process::id().to_string()]);
        command.stdout(Stdio::null()).stderr(log);
        Running(command.spawn().expect("it can be executed"))
    }

    fn status(&self) -> Option<Status> {
        admin::ask(&self.config.admin_socket(), &Request::Status).ok()
    }

    fn wait(&self, wanted: impl Fn(&Status) -> bool) -> Status {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.status()
                && wanted(&status)
            {
                return status;
            }
            let log = || fs::read_to_string(self.path.with_extension("log")).unwrap_or_default();
            assert!(begun.elapsed() < PATIENCE, "not so after {PATIENCE:?}\n{}", log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
