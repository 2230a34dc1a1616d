//! The role: packing, heartbeats, loss, re-requests, restarts and days.

use std::io::ErrorKind;

use ironbell_client::itch_book::ItchBook;
use ironbell_client::market_data::{FollowerConfig, MulticastFollower};
use ironbell_feed::{Config, Encoder, Error, Feed};
use ironbell_sessionlog::SessionLog;
use ironbell_sync::ring;
use ironbell_types::{Nanos, Outbound};
use ironbell_wire::mold::{Header, Packet, Request};
use zerocopy::IntoBytes;

use crate::rig::{Dir, Memory, Rig, SECOND};
use crate::venue::{Rng, Venue, drawn};

/// Sequence number and count of packets.
fn numbers(packets: &[Vec<u8>]) -> Vec<(u64, u16)> {
    packets
        .iter()
        .map(|packet| Packet::parse(packet).expect("a packet"))
        .map(|p| (p.sequence_number(), p.count()))
        .collect()
}

#[test]
fn nothing_is_sent_before_the_first_day() {
    let dir = Dir::new("before");
    let mut rig = Rig::started(&dir.0, Config::default());
    rig.now += 10 * SECOND;
    rig.poll_all();
    assert_eq!(rig.sent(), Vec::<Vec<u8>>::new());
    assert_eq!(rig.feed.channel().session(), None);
    assert!(rig.feed.channel().open().is_none());
}

#[test]
fn packets_are_filled_while_more_is_at_hand_and_flushed_when_nothing_is() {
    let dir = Dir::new("packing");
    let mut rig = Rig::started(&dir.0, Config { payload_size_max: 200, events_max: 3, ..Config::default() });
    let mut venue = Venue::new(1);
    let mut events = venue.open_venue();
    (0..50).for_each(|_| events.extend(venue.step()));
    rig.release(&events);
    rig.poll_all();
    let packets = rig.sent();
    let mut next = 1;
    for (packet, (first, count)) in packets.iter().zip(numbers(&packets)) {
        assert_eq!(first, next, "the packets are dense");
        assert!(packet.len() <= 200);
        next += u64::from(count);
    }
    assert_eq!(next, rig.feed.sequence());
    let (last, full) = packets.split_last().expect("the day's directory is sent");
    assert!(full.iter().all(|packet| packet.len() > 200 - 55), "only the last packet is not full");
    assert!(!last.is_empty());

    let mut adds = Vec::new();
    while adds.is_empty() {
        adds = venue.step();
    }
    rig.release(&adds);
    rig.poll();
    assert_eq!(numbers(&rig.sent()).len(), 1, "a single command leaves at once");
}

#[test]
fn a_heartbeat_follows_each_second_of_silence() {
    let dir = Dir::new("heartbeat");
    let mut rig = Rig::started(&dir.0, Config::default());
    rig.release(&Venue::new(1).open_venue());
    rig.poll_all();
    rig.sent();
    let next = rig.feed.sequence();
    rig.now += SECOND - 1;
    rig.poll();
    assert_eq!(rig.sent(), Vec::<Vec<u8>>::new());
    for _ in 0..3 {
        rig.now += 1;
        rig.poll();
        assert_eq!(rig.sent(), [Header::heartbeat(*b"0020261121", next).as_bytes()]);
        rig.poll();
        assert_eq!(rig.sent(), Vec::<Vec<u8>>::new());
        rig.now += SECOND - 1;
    }
    assert_eq!(rig.feed.counters().heartbeats, 3);
}

#[test]
fn a_full_socket_drops_packets_and_followers_ask_for_them() {
    let dir = Dir::new("full");
    let mut rig = Rig::started(&dir.0, Config::default());
    let mut venue = Venue::new(2);
    rig.release(&venue.open_venue());
    rig.network.0.borrow_mut().is_full = true;
    rig.poll_all();
    assert!(rig.feed.counters().packets_dropped > 0);
    assert_eq!(rig.feed.counters().dropped_because, Some(ErrorKind::WouldBlock));
    rig.network.0.borrow_mut().is_full = false;
    for _ in 0..50 {
        let events = venue.step();
        rig.release(&events);
    }
    rig.poll_all();
    let book = follow(&mut rig, 0, 0);
    assert_eq!(drawn(book.lines()), drawn(venue.lines()));
}

/// Drives one follower over a network that loses `loss` % of all datagrams until it has everything.
fn follow(rig: &mut Rig, seed: u64, loss: u64) -> ItchBook {
    let (mut rng, mut book) = (Rng(seed), ItchBook::new());
    let retry = Nanos(1_000);
    let mut follower = MulticastFollower::new(FollowerConfig { retry, ..FollowerConfig::default() });
    loop {
        rig.now += 500;
        // Heartbeats would take a second each; time is ours.
        rig.now += if rig.network.0.borrow().multicast.is_empty() { SECOND } else { 0 };
        let work = rig.poll();
        if work == 0 && follower.next() == rig.feed.sequence() {
            return book;
        }
        let datagrams: Vec<_> = {
            let network = &mut *rig.network.0.borrow_mut();
            network.multicast.drain(..).chain(network.answers.drain(..)).collect()
        };
        for datagram in datagrams {
            if rng.below(100) < loss {
                continue;
            }
            let mut deliver = |_, message: &[u8]| book.apply(message).expect("a correct stream");
            follower.packet(&datagram, Nanos(rig.now), &mut deliver).expect("a packet");
        }
        while let Some(request) = follower.request(Nanos(rig.now)) {
            rig.network.0.borrow_mut().requests.push_back(request.as_bytes().to_vec());
        }
    }
}

#[test]
fn a_follower_on_a_bad_network_has_the_venues_books() {
    for (seed, loss) in [(1, 0), (2, 5), (3, 30), (4, 60)] {
        let dir = Dir::new(&format!("loss-{loss}"));
        let mut rig = Rig::started(&dir.0, Config { payload_size_max: 300, ..Config::default() });
        let mut venue = Venue::new(seed);
        rig.release(&venue.open_venue());
        for _ in 0..2_000 {
            let events = venue.step();
            rig.release(&events);
        }
        let book = follow(&mut rig, seed, loss);
        assert_eq!(drawn(book.lines()), drawn(venue.lines()), "seed {seed}, loss {loss} %");
    }
}

#[test]
fn re_requests_get_whole_messages_of_one_datagram_or_nothing() {
    let dir = Dir::new("requests");
    let config = Config { payload_size_max: 200, requests_max: 2, ..Config::default() };
    let mut rig = Rig::started(&dir.0, config);
    rig.release(&Venue::new(1).open_venue());
    rig.poll_all();
    let stream: Vec<Vec<u8>> = rig
        .sent()
        .iter()
        .flat_map(|packet| {
            let packet = Packet::parse(packet).expect("a packet");
            packet.messages().map(|(_, message)| message.to_vec()).collect::<Vec<_>>()
        })
        .collect();
    let (session, next) = (*b"0020261121", rig.feed.sequence());
    assert_eq!(stream.len() as u64, next - 1);

    let mut ask = |request: &[u8]| {
        rig.network.0.borrow_mut().requests.push_back(request.to_vec());
        rig.poll();
        rig.network.0.borrow_mut().answers.pop_front()
    };
    for first in 1..next {
        let answer = ask(Request::new(session, first, 2).as_bytes()).expect("it was said");
        let packet = Packet::parse(&answer).expect("a packet");
        assert_eq!((packet.session(), packet.sequence_number()), (session, first));
        assert_eq!(u64::from(packet.count()), (next - first).min(2));
        for (number, message) in packet.messages() {
            assert_eq!(message, stream[number as usize - 1]);
        }
    }
    let all = ask(Request::new(session, 1, u16::MAX).as_bytes()).expect("it was said");
    assert!(all.len() <= 200);
    assert!(Packet::parse(&all).expect("a packet").count() > 2);
    for nothing in [
        Request::new(session, next, 1),
        Request::new(session, 0, 1),
        Request::new(session, u64::MAX, u16::MAX),
        Request::new(session, 1, 0),
        Request::new(*b"0020261120", 1, 1),
    ] {
        assert_eq!(ask(nothing.as_bytes()), None, "{nothing:?}");
    }
    assert_eq!(ask(b"too short"), None);
    assert_eq!(ask(&[0; 100]), None);

    for _ in 0..5 {
        rig.network.0.borrow_mut().requests.push_back(Request::new(session, 1, 1).as_bytes().to_vec());
    }
    rig.poll();
    assert_eq!(rig.network.0.borrow().answers.len(), 2, "a flood of requests is answered a few a poll");
}

/// A node that starts again replays its journal: it says nothing again, keeps its numbers, and goes on
/// with the bytes that it would have sent.
#[test]
fn a_restarted_feed_goes_on_where_it_stood() {
    let mut venue = Venue::new(5);
    let mut before = venue.open_venue();
    (0..300).for_each(|_| before.extend(venue.step()));
    let mut after = Vec::new();
    (0..100).for_each(|_| after.extend(venue.step()));

    let (dir, other) = (Dir::new("restart"), Dir::new("straight"));
    let mut rig = Rig::started(&dir.0, Config::default());
    rig.release(&before);
    rig.poll_all();
    let next = rig.feed.sequence();
    drop(rig);

    let mut rig = Rig::new(&dir.0, Config::default());
    before.iter().for_each(|event| rig.feed.replay(event).expect("the log takes it"));
    assert_eq!(rig.feed.sequence(), next);
    let recovered = rig.feed.end_recovery();
    assert_eq!((recovered.records, recovered.rewritten), (next - 1, 0), "the log was whole");
    rig.poll();
    assert_eq!(numbers(&rig.sent()), [(next, 0)], "a heartbeat tells followers at once where it stands");
    rig.release(&after);
    rig.poll_all();
    let went_on = rig.sent();
    assert_eq!(numbers(&went_on)[0].0, next);

    let mut straight = Rig::started(&other.0, Config::default());
    straight.release(&before);
    straight.release(&after);
    straight.poll_all();
    let log = |rig: &Rig| {
        let mut today = rig.feed.channel().open().expect("the day is open");
        let messages: Vec<Vec<u8>> = (1..rig.feed.sequence())
            .map(|number| today.log.message(number).expect("whole").expect("said").to_vec())
            .collect();
        (today.session, messages)
    };
    assert_eq!(log(&rig), log(&straight));
    assert_eq!(drawn(follow(&mut rig, 1, 10).lines()), drawn(venue.lines()));
}

#[test]
fn a_new_day_is_a_new_session_and_the_old_one_is_told_over() {
    let dir = Dir::new("days");
    let mut rig = Rig::started(&dir.0, Config { events_max: 7, ..Config::default() });
    let mut venue = Venue::new(9);
    rig.release(&venue.open_venue());
    for _ in 0..40 {
        let events = venue.step();
        rig.release(&events);
    }
    let channel = rig.feed.channel();
    let (mut follower, mut book) = (MulticastFollower::new(FollowerConfig::default()), ItchBook::new());
    let tomorrow = venue.open_day();
    rig.release(&tomorrow);
    for _ in 0..40 {
        let events = venue.step();
        rig.release(&events);
    }
    rig.poll_all();
    let packets = rig.sent();
    let ends: Vec<_> =
        packets.iter().filter(|p| Packet::parse(p).expect("a packet").is_end_of_session()).collect();
    assert_eq!(ends.len(), 1);
    let end = Packet::parse(ends[0]).expect("a packet");
    assert_eq!(end.session(), *b"0020261121");
    let said: u64 = packets
        .iter()
        .map(|p| Packet::parse(p).expect("a packet"))
        .filter(|p| p.session() == end.session())
        .map(|p| u64::from(p.count()))
        .sum();
    assert_eq!(end.sequence_number(), said + 1, "all of the old session is sent before its end");
    for packet in &packets {
        let mut deliver = |_, message: &[u8]| book.apply(message).expect("a correct stream");
        follower.packet(packet, Nanos(0), &mut deliver).expect("a packet");
    }
    assert_eq!(follower.session(), Some(*b"0020261122"));
    assert_eq!(follower.next(), rig.feed.sequence());
    assert_eq!(channel.session(), Some(*b"0020261122"));
    assert_eq!(drawn(book.lines()), drawn(venue.lines()));
}

#[test]
fn a_log_that_fails_stops_the_feed() {
    let dir = Dir::new("fails");
    let log_config = ironbell_sessionlog::Config {
        segment_size: 128 << 10,
        segments_max: 1,
        streams_max: 1,
        ..ironbell_sessionlog::Config::new(&dir.0)
    };
    let (log, _) = SessionLog::open(&log_config).expect("a log in a fresh directory");
    let (mut release, from_release) = ring(1 << 16);
    let mut feed = Feed::with_datagrams(Config::default(), Memory::default(), log, from_release);
    feed.end_recovery();
    let mut venue = Venue::new(3);
    let mut events = venue.open_venue();
    while events.len() < 5_000 {
        events.extend(venue.step());
    }
    for event in events {
        release.push(Outbound { received: 0, event }).expect("the ring has room");
    }
    while feed.poll(Nanos(1)) > 0 {}
    assert!(matches!(feed.failure(), Some(Error::Log(ironbell_sessionlog::Error::Full { .. }))));
    let events = feed.counters().events;
    assert_eq!(feed.poll(Nanos(2 * SECOND)), 0);
    assert_eq!(feed.counters().events, events, "nothing is taken after a failure");
}

#[test]
fn an_encoder_beside_the_feed_has_the_feeds_numbers() {
    let dir = Dir::new("beside");
    let mut rig = Rig::started(&dir.0, Config::default());
    let (mut venue, mut encoder) = (Venue::new(4), Encoder::new(0));
    let mut events = venue.open_venue();
    for _ in 0..100 {
        rig.release(&events);
        events.iter().for_each(|event| encoder.encode(event, &mut |_| {}));
        rig.poll_all();
        assert_eq!(encoder.sequence(), rig.feed.sequence());
        events = venue.step();
    }
}
