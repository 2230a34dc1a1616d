//! The real node as other people's tools see it: a trading day on the loopback interface is captured and read by
//! tshark, its ITCH stream by the crate `itch5` and PyPI `itchfeed`, and what they read is what our own members
//! heard, by multicast, by TCP from the first message, and by TCP from the middle of the day.
//!
//! `IRONBELL_SEED` sets the seed of the load.

mod capture;
#[path = "../../../net/wire/tests/conformance/itch5_agreement.rs"]
mod itch5_agreement;
mod readers;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ironbell_appliance::admin::{self, Request};
use ironbell_appliance::inspection::{Balance, hex};
use ironbell_appliance::trial::{self, TrialNode};
use ironbell_client::itch_book::{Depth, ItchBook, Scale};
use ironbell_client::market_data::{
    Delivery, FollowerConfig, LateJoinClient, MulticastClient, MulticastFollower,
};
use ironbell_client::order_entry::{Event, Member, NewOrder, Replacement};
use ironbell_device::Stream as _;
use ironbell_device::kernel::Connection;
use ironbell_load::{Driver, DriverConfig, Ended, FlowConfig, Login, Mix, Remembered, Traded, Until};
use ironbell_session::{ClientEvent, ClientSession, Config as SessionConfig};
use ironbell_types::{Display, Mpid, Nanos, Side, Symbol, Username};
use ironbell_wire::itch::{self, Message};
use ironbell_wire::ouch::{Inbound, OptionsBuf, Outbound};
use ironbell_wire::soup::LoginRequest;
use rust_decimal::Decimal;

use capture::{Capture, Packet, Ports, Reading, Session};

/// Two members under load trade two instruments; a third has one for itself.
const EQUITIES: &str = r#"
[genesis]
assets = [
    { code = "USD", decimals = 4 },
    { code = "ANVL", decimals = 0 }, { code = "BELL", decimals = 0 }, { code = "CHIM", decimals = 0 },
]
instruments = [
    { symbol = "ANVL", base = "ANVL", quote = "USD", tick = "0.01", maker_fee_bps = 1, taker_fee_bps = 3 },
    { symbol = "BELL", base = "BELL", quote = "USD", tick = "0.01", maker_fee_bps = 0, taker_fee_bps = 7 },
    { symbol = "CHIM", base = "CHIM", quote = "USD", tick = "0.01" },
]
firms = [{ mpid = "ALFA" }, { mpid = "BETA" }, { mpid = "GAMA" }]
ports = [
    { username = "ALFA01", password = "interop", firm = "ALFA", account = 1 },
    { username = "BETA01", password = "interop", firm = "BETA", account = 2 },
    { username = "GAMA01", password = "interop", firm = "GAMA", account = 3 },
]
funds = [
    { account = 1, asset = "USD", amount = "1000000000" }, { account = 1, asset = "ANVL", amount = "10000000" },
    { account = 1, asset = "BELL", amount = "10000000" },
    { account = 2, asset = "USD", amount = "1000000000" }, { account = 2, asset = "ANVL", amount = "10000000" },
    { account = 2, asset = "BELL", amount = "10000000" },
    { account = 3, asset = "USD", amount = "1000000000" }, { account = 3, asset = "CHIM", amount = "10000000" },
]
"#;

const PASSWORD: &str = "interop";
const LOADED: [&str; 2] = ["ALFA01", "BETA01"];
/// Requests before and after the late joiner takes its snapshot.
const REQUESTS_EACH: u64 = 750;

/// Longer than a busy machine takes for anything here.
const PATIENCE: Duration = Duration::from_secs(60);

/// Calls `step` until it says that it is done.
///
/// # Panics
/// When patience runs out.
fn wait(what: &str, mut step: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !step() {
        assert!(begun.elapsed() < PATIENCE, "still waiting for {what} after {PATIENCE:?}");
        std::thread::sleep(Duration::from_micros(500));
    }
}

#[test]
fn other_peoples_tools_read_what_members_heard() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("interop");
    let mut node = prepare(&dir, EQUITIES);
    let ports = Ports::of(&node);
    let capture = Capture::start(&dir.join("capture.pcapng"), ports);
    let seen = trade(&mut node);
    let read = capture.finish();
    let mut again = Reader::join(&node);
    again.follow(seen.itch.len() as u64 + 1);
    assert_same(&again.messages, &seen.itch, 1, "told again at the end of the day");

    let letters: String = "SRHAFEXDU".chars().filter(|&letter| !seen.has(letter)).collect();
    assert_eq!(letters, "", "every type of message is in the stream");
    for message in &seen.itch {
        assert!(b"SRHAFEXDU".contains(&message[0]), "the node sends no such message yet: {message:?}");
        // Stock Trading Action, Trading State: as the day begins an instrument does not trade yet, then it does.
        assert!(message[0] != b'H' || b"HT".contains(&message[19]), "no phase of this day: {message:?}");
    }
    itch5_agreement::assert_itch5_agrees(&seen.itch);
    readers::assert_itchfeed_agrees(&seen.itch);

    assert_eq!(read.faults, [""; 0]);
    assert!(!read.faults_of_marks.is_empty(), "tshark finds fault with packets that are wrong");
    check_feed(&read, &seen);
    check_order_entry(&read, ports, &seen);
    check_market_data_sessions(&read, ports, &seen);
    println!(
        "{} ITCH messages in {} packets, {} of them asked for again; {} OUCH messages told",
        seen.itch.len(),
        read.feed.len(),
        read.answers.iter().map(|packet| packet.messages.len()).sum::<usize>(),
        seen.told.values().map(Vec::len).sum::<usize>() + seen.gama.len(),
    );
}

/// What the members and the followers saw of a day.
struct Seen {
    /// The day's ITCH stream by TCP from number 1.
    itch: Vec<Vec<u8>>,
    /// The number the node's feed stood at when it was started.
    feed_began: u64,
    /// The late joiner's snapshot, and what followed it, from which number on.
    snapshot: Vec<Vec<u8>>,
    late_from: u64,
    /// By user name, what each member under load remembers.
    told: BTreeMap<&'static str, Vec<Remembered>>,
    /// Orders, replacements and cancels they sent.
    sent: u64,
    /// What the third member heard.
    gama: Vec<(u64, Vec<u8>)>,
}

impl Seen {
    fn has(&self, letter: char) -> bool {
        self.itch.iter().any(|message| char::from(message[0]) == letter)
    }
}

/// Starts the node, lets everybody do their part, and brings all followers to the same end.
fn trade(node: &mut TrialNode) -> Seen {
    node.start().expect("it starts");
    let status = node.status().expect("it answers");
    let mut follower = Follower::join(node);
    // tshark forgets what it has of a packet when a segment holds its beginning and the answer to the login. So
    // those who read by TCP are let in while there is little to tell them.
    let mut reader = Reader::join(node);
    reader.follow(status.feed_sequence);
    let mut driver = Driver::connect(address(&status.order_entry), load()).expect("members are let in");
    assert_eq!(*driver.run(Until::Requests(REQUESTS_EACH), |_| {}), Ended::Completed);
    let mut late = Late::join(node);
    let gama = trade_alone(address(&status.order_entry));
    late.follow(late.from + 1);
    assert_eq!(*driver.run(Until::Requests(REQUESTS_EACH), |_| {}), Ended::Completed);
    let outcome = driver.outcome();
    assert!(outcome.is_right(), "{:?}", outcome.violations);

    let hashes = node.hashes_at_rest().expect("it comes to rest");
    let end = node.status().expect("it answers").feed_sequence;
    follower.follow(end);
    late.follow(end);
    reader.follow(end);
    reader.logout();
    let itch = reader.messages;
    let mut book = ItchBook::new();
    itch.iter().for_each(|message| book.apply(message).expect("a stream makes sense"));
    for book in [&book, &follower.book, &late.book] {
        assert_eq!(hex(&book.digest()), hashes.book_hash);
    }
    assert_same(&follower.messages, &itch, 1, "by multicast");
    assert_same(&late.stream, &itch, late.from, "after the snapshot");
    Seen {
        itch,
        feed_began: status.feed_sequence,
        snapshot: late.snapshot,
        late_from: late.from,
        told: LOADED.into_iter().zip(driver.remembered().iter().cloned()).collect(),
        sent: outcome.counts.sent.total(),
        gama,
    }
}

/// `stream` is the part of `day` that begins with message `from`.
fn assert_same(stream: &[Vec<u8>], day: &[Vec<u8>], from: u64, what: &str) {
    let rest = &day[from as usize - 1..];
    assert_eq!(stream.len(), rest.len(), "{what}");
    for (at, (heard, said)) in stream.iter().zip(rest).enumerate() {
        assert_eq!(heard, said, "{what}: message {}", from + at as u64);
    }
}

/// The multicast packets are numbered without a gap, and together with the answers to requests they are the
/// day's stream, byte for byte.
fn check_feed(read: &Reading, seen: &Seen) {
    let end = seen.itch.len() as u64 + 1;
    let mut next = seen.feed_began;
    for packet in &read.feed {
        assert_eq!(packet.sequence, next, "{packet:?}");
        next += u64::from(packet.count);
    }
    assert_eq!(next, end, "the last packet holds the last message");

    let session = &read.feed.first().expect("a feed has packets").session;
    let mut carried: BTreeMap<u64, &[u8]> = BTreeMap::new();
    for packet in read.feed.iter().chain(&read.answers) {
        let Packet { sequence, count, messages, .. } = packet;
        assert_eq!(packet.session, *session);
        let numbers: Vec<u64> = messages.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (*sequence..).take(usize::from(*count)).collect::<Vec<_>>());
        for (number, message) in messages {
            assert_eq!(Some(message), seen.itch.get(*number as usize - 1), "message {number}");
            carried.insert(*number, message);
        }
    }
    // What the node had said before its start nobody heard: the follower asks for it.
    assert!(carried.keys().copied().eq(1..end), "every message of the day is in a packet");
}

/// tshark sees each member told what it heard, under the numbers it was heard by, and nothing more; and asking
/// what it asked.
fn check_order_entry(read: &Reading, ports: Ports, seen: &Seen) {
    let of = |username: &str| -> &Session {
        let mut sessions =
            read.sessions.iter().filter(|s| s.port == ports.order_entry && s.username == username);
        let session = sessions.next().unwrap_or_else(|| panic!("{username} has a session"));
        assert!(sessions.next().is_none(), "{username} logs in once");
        session
    };
    let mut sent = 0;
    for (username, heard) in &seen.told {
        let session = of(username);
        check_types(session, "LUR", "ASH");
        let told: Vec<_> = session
            .told
            .iter()
            .map(|(number, bytes)| {
                Remembered::new(*number, &Outbound::parse(bytes).expect("it is OUCH"), bytes)
            })
            .collect();
        // The load is counted from the answer to the query for its first number; the day's start is before it.
        let [start, query, told @ ..] = told.as_slice() else { panic!("{username} is told nothing") };
        assert_eq!((start.number, start.message_type, query.message_type), (1, b'S', b'Q'));
        assert_eq!(told, heard, "{username}");
        let is_order = |bytes: &&Vec<u8>| {
            !matches!(Inbound::parse(bytes).expect("it is OUCH"), Inbound::AccountQuery(..))
        };
        sent += session.asked.iter().filter(is_order).count() as u64;
    }
    assert_eq!(sent, seen.sent);

    let session = of("GAMA01");
    check_types(session, "LURO", "ASH");
    assert_eq!(session.told, seen.gama);
    let asked = session.asked.iter().map(|bytes| char::from(bytes[0]));
    assert_eq!(asked.collect::<String>(), "OOUOXMOCQ");
}

/// The stream from number 1, the snapshot, and the stream after it.
fn check_market_data_sessions(read: &Reading, ports: Ports, seen: &Seen) {
    let of = |port| read.sessions.iter().filter(move |session| session.port == port);
    let numbered = |from: u64, messages: &[Vec<u8>]| -> Vec<_> { (from..).zip(messages.to_vec()).collect() };
    let [day, late] = of(ports.itch).collect::<Vec<_>>()[..] else { panic!("two read the stream by TCP") };
    let [snapshot] = of(ports.glimpse).collect::<Vec<_>>()[..] else { panic!("one takes a snapshot") };
    for session in [late, day] {
        check_types(session, "LRO", "ASH");
    }
    check_types(snapshot, "LRO", "ASHZ");
    assert_eq!(day.told, numbered(1, &seen.itch));
    assert_eq!(late.told, numbered(seen.late_from, &seen.itch[seen.late_from as usize - 1..]));
    let (end, told) = snapshot.told.split_last().expect("a snapshot has an end");
    assert_eq!(told, numbered(1, &seen.snapshot));
    assert_eq!((end.0, end.1[0]), (told.len() as u64 + 1, b'G'));
}

/// A session begins with a login and its answer, and has no packets but of these types.
fn check_types(session: &Session, from_client: &str, from_server: &str) {
    let Session { username, port, .. } = session;
    for (types, allowed) in [(&session.from_client, from_client), (&session.from_server, from_server)] {
        let (first, rest) = types.split_at(1);
        assert!(allowed.starts_with(first), "{username} at {port}: {types}");
        assert!(rest.chars().all(|kind| allowed[1..].contains(kind)), "{username} at {port}: {types}");
    }
    assert_eq!(session.from_server.matches('S').count(), session.told.len());
    assert_eq!(session.from_client.matches('U').count(), session.asked.len());
}

fn prepare(dir: &Path, sections: &str) -> TrialNode {
    let program = Path::new(env!("CARGO_BIN_EXE_ironbell"));
    TrialNode::prepare(dir, sections, Some(program)).expect("a node")
}

fn load() -> DriverConfig {
    let seed =
        std::env::var("IRONBELL_SEED").map_or(1, |text| text.parse().expect("IRONBELL_SEED is a number"));
    println!("IRONBELL_SEED={seed}");
    let login = |name| Login { username: Username::new(name).expect("short"), password: PASSWORD.into() };
    let traded = |text, mid| Traded { symbol: symbol(text), mid, tick: 100, qty_max: 500 };
    let instruments = vec![traded("ANVL", 1_890_000), traded("BELL", 425_000)];
    let flow = FlowConfig { seed, instruments, mix: Mix::default(), standing_max: 100 };
    DriverConfig {
        remember: true,
        patience: PATIENCE,
        ..DriverConfig::new(LOADED.map(login).to_vec(), flow, 3_000.0)
    }
}

fn symbol(text: &str) -> Symbol {
    Symbol::new(text).expect("short")
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn now(clock: Instant) -> Nanos {
    Nanos(clock.elapsed().as_nanos() as u64 + 1)
}

/// What the load does not do: attributed orders, modifies, a refused order, a mass cancel. Returns what was heard.
fn trade_alone(address: SocketAddr) -> Vec<(u64, Vec<u8>)> {
    let mut member = Solo::login(address, "GAMA01");
    let (chim, none) = (symbol("CHIM"), OptionsBuf::EMPTY);
    let attributed = |qty, price| NewOrder {
        display: Display::Attributable,
        ..NewOrder::day(Side::Buy, qty, chim, price)
    };
    let entry = member.member.entry();
    entry.enter(&attributed(300, 100_000), &none).expect("there is room");
    let second = entry.enter(&attributed(200, 99_900), &none).expect("there is room");
    entry.replace(second, &Replacement::day(250, 99_800), &none).expect("there is room");
    let sell = entry.enter(&NewOrder::day(Side::Sell, 500, chim, 101_000), &none).expect("there is room");
    entry.cancel(sell, 450).expect("there is room");
    entry.modify(sell, Side::Sell, 400).expect("there is room");
    entry.enter(&NewOrder::day(Side::Buy, 1, symbol("NONE"), 100), &none).expect("there is room");
    entry.mass_cancel(Mpid::new("GAMA").expect("short"), Symbol::default(), &none).expect("there is room");
    // The mass cancel is answered at once; the orders go in its wake.
    member.hear("AAUACMJXCCC");
    member.member.entry().account_query().expect("there is room");
    member.hear("Q");
    member.logout();
    member.heard
}

/// A member and what it has heard.
struct Solo {
    clock: Instant,
    member: Member,
    heard: Vec<(u64, Vec<u8>)>,
}

impl Solo {
    fn login(address: SocketAddr, username: &str) -> Self {
        let clock = Instant::now();
        let username = Username::new(username).expect("short");
        let config = SessionConfig::default();
        let member =
            Member::connect(address, &config, username, PASSWORD, 1, now(clock)).expect("a connection");
        let mut solo = Self { clock, member, heard: Vec::new() };
        // A session's first message is the day's start (OUCH 5.0, System Event).
        solo.hear("S");
        solo
    }

    fn poll(&mut self) {
        self.member.poll(now(self.clock)).expect("the session goes on");
        while let Some(event) = self.member.next().expect("it keeps the protocol") {
            match event {
                Event::LoggedIn { first, .. } => assert_eq!(first, 1),
                Event::Message { number, bytes, .. } => self.heard.push((number, bytes.to_vec())),
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next messages are of these types.
    fn hear(&mut self, types: &str) {
        let from = self.heard.len();
        wait(&format!("messages {types}"), || {
            self.poll();
            self.heard.len() >= from + types.len()
        });
        let heard: String = self.heard[from..].iter().map(|(_, bytes)| char::from(bytes[0])).collect();
        assert_eq!(heard, types);
    }

    fn logout(&mut self) {
        assert!(self.member.entry().session().logout(), "there is room");
        wait("the logout to be sent", || {
            self.member.flush(now(self.clock)).expect("the node reads");
            self.member.entry().session().output().is_empty()
        });
    }
}

/// A follower by multicast. It reads only at the end: what its socket cannot hold until then it asks for again.
struct Follower {
    clock: Instant,
    client: MulticastClient,
    messages: Vec<Vec<u8>>,
    book: ItchBook,
}

impl Follower {
    fn join(node: &TrialNode) -> Self {
        let (feed, status) = (&node.config().feed, node.status().expect("it answers"));
        let follower = MulticastFollower::new(FollowerConfig::default());
        let client = MulticastClient::join(follower, feed.group, feed.interface, address(&status.rerequest));
        let client = client.expect("the group can be joined");
        Self { clock: Instant::now(), client, messages: Vec::new(), book: ItchBook::new() }
    }

    fn follow(&mut self, end: u64) {
        let Self { clock, client, messages, book } = self;
        wait("the multicast feed", || {
            client.poll(now(*clock), &mut |_, message| {
                messages.push(message.to_vec());
                book.apply(message).expect("a feed makes sense");
            });
            client.follower().next() == end
        });
        assert_eq!(client.malformed(), 0);
    }
}

/// A follower by TCP that joins in the middle of the day.
struct Late {
    clock: Instant,
    client: LateJoinClient,
    snapshot: Vec<Vec<u8>>,
    /// Number of the first message after the snapshot.
    from: u64,
    stream: Vec<Vec<u8>>,
    book: ItchBook,
}

impl Late {
    /// Takes the snapshot.
    fn join(node: &TrialNode) -> Self {
        let (clock, status) = (Instant::now(), node.status().expect("it answers"));
        let (glimpse, itch) = (address(&status.glimpse), address(&status.itch));
        let config = SessionConfig { input_size: 256 << 10, ..SessionConfig::default() };
        let client = LateJoinClient::connect(config, trial::anyone(), glimpse, itch, now(clock));
        let mut late = Self {
            clock,
            client: client.expect("a connection"),
            snapshot: Vec::new(),
            from: 0,
            stream: Vec::new(),
            book: ItchBook::new(),
        };
        wait("a snapshot", || {
            late.poll();
            late.client.joiner().next() > 0
        });
        late.from = late.client.joiner().next() - late.stream.len() as u64;
        assert!(late.from > 1, "it joins in the middle of the day");
        late
    }

    fn follow(&mut self, end: u64) {
        wait("the stream after a snapshot", || {
            self.poll();
            self.client.joiner().next() >= end
        });
    }

    fn poll(&mut self) {
        let Self { clock, client, snapshot, stream, book, .. } = self;
        let moved = client.poll(now(*clock), &mut |delivery| {
            let (to, message) = match delivery {
                Delivery::Snapshot(message) => (&mut *snapshot, message),
                Delivery::Stream(_, message) => (&mut *stream, message),
            };
            to.push(message.to_vec());
            book.apply(message).expect("a snapshot and its stream make sense");
        });
        moved.expect("the session goes on");
    }
}

/// A reader of the day's ITCH stream by TCP from number 1.
struct Reader {
    clock: Instant,
    stream: Connection,
    session: ClientSession,
    messages: Vec<Vec<u8>>,
}

impl Reader {
    fn join(node: &TrialNode) -> Self {
        let (clock, status) = (Instant::now(), node.status().expect("it answers"));
        let stream = Connection::connect(address(&status.itch)).expect("a connection");
        let mut session = ClientSession::new(&SessionConfig::default(), now(clock));
        session.login(&LoginRequest::new("", "", "", 1).expect("nothing is too long"));
        Self { clock, stream, session, messages: Vec::new() }
    }

    fn follow(&mut self, end: u64) {
        wait("the stream from number 1", || {
            self.flush();
            let received = self.stream.read(self.session.space()).expect("the session goes on");
            self.session.received(received, now(self.clock));
            while let Some(event) = self.session.next().expect("it keeps the protocol") {
                match event {
                    ClientEvent::Accepted { first, .. } => assert_eq!(first, 1),
                    ClientEvent::Message { number, message } => {
                        self.messages.push(message.to_vec());
                        assert_eq!(number, self.messages.len() as u64);
                    }
                    other => panic!("{other:?}"),
                }
            }
            self.messages.len() as u64 + 1 >= end
        });
    }

    fn logout(&mut self) {
        assert!(self.session.logout(), "there is room");
        wait("the logout to be sent", || {
            self.flush();
            self.session.output().is_empty()
        });
    }

    fn flush(&mut self) {
        let sent = self.stream.write(self.session.output()).expect("the node reads");
        self.session.sent(sent, now(self.clock));
    }
}

/// One instrument in ticks of half a dollar and lots of a thousandth, and one as equities are.
const SCALED: &str = r#"
[genesis]
assets = [{ code = "USD", decimals = 4 }, { code = "ANVL", decimals = 0 }, { code = "BTC", decimals = 8 }]
instruments = [
    { symbol = "ANVL", base = "ANVL", quote = "USD", tick = "0.01" },
    { symbol = "BTCUSD", base = "BTC", quote = "USD", tick = "0.5", lot = "0.001", round_lot = 1, scaled = true },
]
firms = [{ mpid = "ALFA" }, { mpid = "BETA" }]
ports = [
    { username = "ALFA01", password = "interop", firm = "ALFA", account = 1 },
    { username = "BETA01", password = "interop", firm = "BETA", account = 2 },
]
funds = [{ account = 1, asset = "BTC", amount = "2" }, { account = 2, asset = "USD", amount = "50000" }]
"#;

#[test]
fn followers_learn_what_a_scaled_instruments_ticks_and_lots_are_worth() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("interop-scaled");
    let mut node = prepare(&dir, SCALED);
    node.start().expect("it starts");
    let status = node.status().expect("it answers");
    let mut follower = Follower::join(&node);
    // A quarter of a bitcoin at 100,000 dollars, of which a tenth of one is bought.
    let (bitcoin, price) = (symbol("BTCUSD"), 200_000);
    let mut alfa = Solo::login(address(&status.order_entry), "ALFA01");
    let sell = NewOrder::day(Side::Sell, 250, bitcoin, price);
    alfa.member.entry().enter(&sell, &OptionsBuf::EMPTY).expect("there is room");
    alfa.hear("A");
    let mut beta = Solo::login(address(&status.order_entry), "BETA01");
    let buy = NewOrder::ioc(Side::Buy, 100, bitcoin, price);
    beta.member.entry().enter(&buy, &OptionsBuf::EMPTY).expect("there is room");
    beta.hear("AE");

    let hashes = node.hashes_at_rest().expect("it comes to rest");
    let end = node.status().expect("it answers").feed_sequence;
    follower.follow(end);
    let late = Late::join(&node);
    let mut reader = Reader::join(&node);
    reader.follow(end);
    let itch = reader.messages;
    assert_same(&follower.messages, &itch, 1, "by multicast");
    // The directory entry says what the scale belongs to, so the scale stands behind it; then it trades.
    let of = |messages: &[Vec<u8>], locate: u16| -> String {
        let parsed = messages.iter().map(|bytes| Message::parse(bytes).expect("it is ITCH"));
        let of_it = parsed.filter(|message| message.header().stock_locate.get() == locate);
        of_it.map(|message| char::from(message.as_bytes()[0])).collect()
    };
    let locate = follower.book.locate(bitcoin).expect("it is listed");
    assert_eq!(of(&itch, locate), "RsHHAE");
    assert_eq!(of(&late.snapshot, locate), "RsHA");
    assert_eq!(of(&itch, follower.book.locate(symbol("ANVL")).expect("it is listed")), "RHH");
    let directory = itch.iter().find_map(|bytes| match Message::parse(bytes) {
        Ok(Message::ScaledDirectory(directory)) => Some(*directory),
        _ => None,
    });
    let itch::ScaledDirectory { stock, base_code, quote_code, .. } = directory.expect("it is in the stream");
    assert_eq!((&stock, &base_code, &quote_code), (b"BTCUSD  ", b"BTC     ", b"USD     "));

    let expected = Scale { tick_value: 5, lot_units: 100_000, base_decimals: 8, quote_decimals: 4 };
    for book in [&follower.book, &late.book] {
        let [anvil, locate] =
            [symbol("ANVL"), bitcoin].map(|symbol| book.locate(symbol).expect("it is listed"));
        assert_eq!((book.scale(anvil), book.scale(locate)), (None, Some(expected)));
        assert!(book.depth(locate, Side::Sell).eq([Depth { price: price as u32, shares: 150, orders: 1 }]));
        assert_eq!(hex(&book.digest()), hashes.book_hash);
    }
    // The announced scale is the one by which the ledger was moved.
    let [paid, bought] = [
        Decimal::from_i128_with_scale(100 * i128::from(price * expected.tick_value), 4),
        Decimal::from_i128_with_scale(100 * i128::from(expected.lot_units), 8),
    ];
    let ledger: admin::Seen<Vec<Balance>> =
        admin::ask(&node.config().admin_socket(), &Request::Ledger).expect("it answers");
    let ledger = ledger.seen;
    let total = |account: &str, asset: &str| -> Decimal {
        let balance = ledger.iter().find(|b| b.account == account && b.asset == asset);
        balance.unwrap_or_else(|| panic!("{account} has no {asset}")).total.parse().expect("a decimal")
    };
    assert_eq!((paid, bought), (Decimal::from(10_000), Decimal::new(1, 1)));
    assert_eq!((total("1", "USD"), total("1", "BTC")), (paid, Decimal::from(2) - bought));
    assert_eq!((total("2", "USD"), total("2", "BTC")), (Decimal::from(50_000) - paid, bought));
}
