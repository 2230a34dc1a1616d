//! Followers' books against the venue's own, through encoder and snapshot.

use ironbell_client::itch_book::ItchBook;
use ironbell_feed::{BookOrder, Encoder, Snapshot};
use ironbell_types::Nanos;
use ironbell_wire::glimpse;

use crate::venue::{Venue, drawn};

#[test]
fn a_followers_books_are_the_venues_after_every_command() {
    for seed in 0..20 {
        let mut venue = Venue::new(seed);
        let (mut encoder, mut book) = (Encoder::new(16), ItchBook::new());
        let mut follow = |events: Vec<_>, book: &mut ItchBook| {
            for event in &events {
                encoder.encode(event, &mut |message| {
                    book.apply(message).unwrap_or_else(|e| panic!("seed {seed}: {event:?}: {e}"));
                });
            }
        };
        follow(venue.open_venue(), &mut book);
        for step in 0..1_000 {
            let events = if step == 500 { venue.open_day() } else { venue.step() };
            follow(events, &mut book);
            assert_eq!(drawn(book.lines()), drawn(venue.lines()), "seed {seed}, step {step}");
        }
        assert!(book.order_count() > 10, "seed {seed}: the flow builds books");
    }
}

/// A session announces everything that stands: who follows from its first message needs nothing older.
#[test]
fn a_new_day_is_followed_without_the_day_before() {
    let mut venue = Venue::new(7);
    let mut encoder = Encoder::new(0);
    let mut events = venue.open_venue();
    (0..500).for_each(|_| events.extend(venue.step()));
    events.iter().for_each(|event| encoder.encode(event, &mut |_| {}));
    let mut book = ItchBook::new();
    let mut count = 0;
    for event in venue.open_day() {
        encoder.encode(&event, &mut |message| {
            book.apply(message).expect("the day's session stands alone");
            count += 1;
        });
    }
    assert_eq!(drawn(book.lines()), drawn(venue.lines()));
    assert_eq!(encoder.sequence(), count + 1, "a session is numbered from 1");
}

/// A snapshot at any point, then the stream from its number on, is the whole stream.
#[test]
fn a_snapshot_splices_into_the_stream_at_every_point() {
    for seed in 0..8 {
        let mut venue = Venue::new(seed);
        let mut encoder = Encoder::new(16);
        let mut stream: Vec<Vec<u8>> = Vec::new();
        let mut snapshots = Vec::new();
        let mut encode = |events: Vec<_>, stream: &mut Vec<Vec<u8>>| {
            events
                .iter()
                .for_each(|event| encoder.encode(event, &mut |message| stream.push(message.to_vec())));
            Snapshot::of(&encoder, events[0].time).expect("the day is open")
        };
        snapshots.push(encode(venue.open_venue(), &mut stream));
        for _ in 0..150 {
            let events = venue.step();
            if !events.is_empty() {
                snapshots.push(encode(events, &mut stream));
            }
        }
        for snapshot in &snapshots {
            let mut book = ItchBook::new();
            let mut next = None;
            for number in 1..=snapshot.message_count() {
                match glimpse::Message::parse(snapshot.message(number).expect("it has that many")) {
                    Ok(glimpse::Message::Itch(message)) => {
                        assert_eq!(next, None, "nothing follows the end of snapshot");
                        book.apply_message(&message).expect("a snapshot makes books");
                    }
                    Ok(glimpse::Message::EndOfSnapshot(end)) => {
                        next = Some(end.sequence().expect("a number"));
                    }
                    Err(e) => panic!("seed {seed}: {e}"),
                }
            }
            let next = next.expect("a snapshot ends");
            assert_eq!(next, snapshot.sequence());
            for message in &stream[next as usize - 1..] {
                book.apply(message).unwrap_or_else(|e| panic!("seed {seed}, spliced at {next}: {e}"));
            }
            assert_eq!(drawn(book.lines()), drawn(venue.lines()), "seed {seed}, spliced at {next}");
        }
    }
}

/// Readers of a snapshot may show it as it comes.
#[test]
fn a_snapshot_has_its_orders_in_the_order_of_the_book() {
    let mut venue = Venue::new(3);
    let mut encoder = Encoder::new(0);
    let mut events = venue.open_venue();
    (0..300).for_each(|_| events.extend(venue.step()));
    events.iter().for_each(|event| encoder.encode(event, &mut |_| {}));
    let symbol =
        |order: &BookOrder| encoder.directory().instrument(order.instrument).expect("defined").symbol;
    let mut orders = encoder.orders();
    let mut instruments: Vec<_> = orders.iter().map(|order| order.instrument).collect();
    assert!(instruments.is_sorted());
    instruments.dedup();
    assert_eq!(instruments.len(), 3);
    // The canonical listing is by symbol; within one it is the order of the book.
    orders.sort_by_key(symbol);
    let refs: Vec<_> = orders.iter().map(|order| order.order_ref).collect();
    assert_eq!(refs, venue.lines().iter().map(|line| line.order_ref).collect::<Vec<_>>());
}

#[test]
fn there_is_no_snapshot_before_the_first_day() {
    assert_eq!(Snapshot::of(&Encoder::new(0), Nanos(1)), None);
}
