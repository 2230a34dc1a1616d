//! The same over the kernel's sockets on the loopback interface. Time is a count of polls, so that nothing
//! hangs on how fast the machine is.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use ironbell_client::itch_book::ItchBook;
use ironbell_client::market_data::{
    Credentials, Delivery, FollowerConfig, LateJoinClient, MulticastClient, MulticastFollower,
};
use ironbell_device::kernel::{Connection, KernelAcceptor};
use ironbell_device::{Acceptor, Stream};
use ironbell_feed::{Config, Feed, GlimpseSession, ItchSession, Snapshot};
use ironbell_sessionlog::SessionLog;
use ironbell_sync::{Producer, ring};
use ironbell_types::{Event, Nanos, Outbound};

use crate::rig::Dir;
use crate::venue::{Venue, drawn};

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 192, 26, 7);
const LOOPBACK_ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Where nothing is asked for.
const DISCARD: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9);
const POLLS_MAX: u64 = 10_000_000;

fn feed(dir: &Dir, group: SocketAddrV4) -> (Feed, Producer<Outbound>) {
    let log = ironbell_sessionlog::Config { streams_max: 1, ..ironbell_sessionlog::Config::new(&dir.0) };
    let (log, _) = SessionLog::open(&log).expect("a log in a fresh directory");
    let (release, from_release) = ring(1 << 16);
    let rerequest = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    let mut feed = Feed::new(Config { group, rerequest, ..Config::default() }, log, from_release)
        .expect("the loopback interface takes multicast");
    feed.end_recovery();
    (feed, release)
}

fn release(ring: &mut Producer<Outbound>, events: Vec<Event>) {
    for event in events {
        ring.push(Outbound { received: 0, event }).expect("the ring has room");
    }
}

#[test]
fn a_follower_hears_the_multicast_and_gets_what_it_missed() {
    let dir = Dir::new("sockets-multicast");
    // A first follower only finds a free port for the group.
    let any = MulticastClient::join(
        MulticastFollower::new(FollowerConfig::default()),
        SocketAddrV4::new(GROUP, 0),
        Ipv4Addr::LOCALHOST,
        DISCARD,
    )
    .expect("the loopback interface takes multicast");
    let SocketAddr::V4(group) = any.group() else { panic!("an IPv4 group") };
    let (mut feed, mut ring) = feed(&dir, group);
    let mut venue = Venue::new(21);
    release(&mut ring, venue.open_venue());
    (0..500).for_each(|_| release(&mut ring, venue.step()));
    // All of this is sent while nobody but the first follower, who never reads, listens.
    let mut now = 1;
    while feed.poll(Nanos(now)) > 0 {}
    drop(any);

    let mut follower = MulticastClient::join(
        MulticastFollower::new(FollowerConfig { retry: Nanos(100), ..FollowerConfig::default() }),
        group,
        Ipv4Addr::LOCALHOST,
        feed.rerequest_at(),
    )
    .expect("the loopback interface takes multicast");
    (0..500).for_each(|_| release(&mut ring, venue.step()));
    let mut book = ItchBook::new();
    while follower.follower().next() < feed.sequence() || feed.poll(Nanos(now)) > 0 {
        now += 1;
        feed.poll(Nanos(now));
        follower.poll(Nanos(now), &mut |_, message| book.apply(message).expect("a correct stream"));
        assert!(now < POLLS_MAX, "{:?} {:?}", feed.counters(), follower.follower().counters());
    }
    assert_eq!(drawn(book.lines()), drawn(venue.lines()));
    assert!(follower.follower().counters().requests > 0, "the first half was asked for");
    assert_eq!(follower.malformed(), 0);
    assert_eq!(feed.counters().packets_dropped, 0);
}

/// What has arrived; nothing when the member is gone, which a session learns in its own way.
fn read(connection: &mut Connection) -> Vec<u8> {
    let mut buffer = [0; 4_096];
    let count = connection.read(&mut buffer).unwrap_or(0);
    buffer[..count].to_vec()
}

#[test]
fn a_late_joiner_follows_over_tcp() {
    let dir = Dir::new("sockets-late");
    let (mut feed, mut ring) = feed(&dir, SocketAddrV4::new(GROUP, 9));
    let mut venue = Venue::new(22);
    release(&mut ring, venue.open_venue());
    (0..500).for_each(|_| release(&mut ring, venue.step()));
    let mut now = 1;
    while feed.poll(Nanos(now)) > 0 {}

    let mut glimpse_at = KernelAcceptor::bind(LOOPBACK_ANY_PORT).expect("a port is free");
    let mut itch_at = KernelAcceptor::bind(LOOPBACK_ANY_PORT).expect("a port is free");
    let config = ironbell_session::Config::default();
    let credentials = Credentials { username: "LATE".to_owned(), password: String::new() };
    let (glimpse, itch) = (glimpse_at.local_addr(), itch_at.local_addr());
    let mut client =
        LateJoinClient::connect(config, credentials, glimpse, itch, Nanos(now)).expect("it listens");
    let encoder = feed.encoder().clone();
    let (mut snapshots, mut streams) = (None, None);
    let (mut book, mut snapshot, mut stream) = (ItchBook::new(), 0, 0);
    let trading_ends = now + 2_000;
    while now < trading_ends || client.joiner().next() < feed.sequence() {
        now += 1;
        if now < trading_ends {
            release(&mut ring, venue.step());
        }
        while feed.poll(Nanos(now)) > 0 {}
        if snapshots.is_none()
            && let Some(connection) = glimpse_at.accept().expect("accepts")
        {
            let make = || Snapshot::of(&encoder, Nanos(1));
            snapshots =
                Some((connection, GlimpseSession::new(&config, None, feed.channel(), make, Nanos(now))));
        }
        if streams.is_none()
            && let Some(connection) = itch_at.accept().expect("accepts")
        {
            streams = Some((connection, ItchSession::new(&config, None, feed.channel(), Nanos(now))));
        }
        if let Some((connection, session)) = &mut snapshots {
            session.receive(&read(connection));
            session.poll(Nanos(now));
            let count = connection.write(session.output()).unwrap_or(0);
            session.sent(count);
        }
        if let Some((connection, session)) = &mut streams {
            session.receive(&read(connection));
            session.poll(Nanos(now));
            let count = connection.write(session.output()).expect("the member is there");
            session.sent(count);
        }
        let mut deliver = |delivery: Delivery<'_>| match delivery {
            Delivery::Snapshot(message) => {
                snapshot += 1;
                book.apply(message).expect("a snapshot makes books");
            }
            Delivery::Stream(_, message) => {
                stream += 1;
                book.apply(message).expect("a correct stream");
            }
        };
        client.poll(Nanos(now), &mut deliver).expect("the servers keep to the protocols");
        assert!(now < POLLS_MAX);
    }
    assert!(snapshot > 0 && stream > 0, "both parts were needed");
    assert_eq!(drawn(book.lines()), drawn(venue.lines()));
}
