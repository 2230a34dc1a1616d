//! Followers' books against the venue's own, through encoder and snapshot.

use std::collections::BTreeSet;

use ironbell_client::itch_book::ItchBook;
use ironbell_feed::{BookOrder, Encoder, Snapshot};
use ironbell_types::{EventBody, Nanos};
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
            assert_eq!(states(&book), venue.states(), "seed {seed}, step {step}");
        }
        assert!(book.order_count() > 10, "seed {seed}: the flow builds books");
    }
}

fn states(book: &ItchBook) -> Vec<(u8, bool)> {
    let state = |locate| Some((book.trading_state(locate)?, book.is_short_restricted(locate)?));
    (1..=3).map(|locate| state(locate).expect("the instrument is announced")).collect()
}

/// Whatever tells of a trade, every one is printed once.
#[test]
fn the_tape_has_every_trade_of_the_venue_once() {
    let mut venue = Venue::new(11);
    let (mut encoder, mut book) = (Encoder::new(16), ItchBook::new());
    let (mut traded, mut types) = ([0; 3], BTreeSet::new());
    let mut events = venue.open_venue();
    (0..3_000).for_each(|_| events.extend(venue.step()));
    for event in &events {
        if let EventBody::Trade(trade) = &event.body {
            traded[trade.instrument.0 as usize - 1] += trade.qty.0;
        }
        encoder.encode(event, &mut |message| {
            types.insert(message[0] as char);
            book.apply(message).expect("a correct stream");
        });
    }
    let printed = [1, 2, 3].map(|locate| book.tape(locate).expect("announced").shares);
    assert_eq!(printed, traded);
    let types: String = types.into_iter().collect();
    assert_eq!(types, "ACDEFHPQRSUXYs", "the flow makes every message of books");
}

/// The day's messages end with S `C`: what is cancelled between the days is not said, and there is nothing
/// to join.
#[test]
fn nothing_is_said_between_the_days() {
    let mut venue = Venue::new(5);
    let mut encoder = Encoder::new(16);
    let mut events = venue.open_venue();
    (0..300).for_each(|_| events.extend(venue.step()));
    events.iter().for_each(|event| encoder.encode(event, &mut |_| {}));
    assert!(encoder.orders().len() > 10);
    let (before, mut said) = (encoder.sequence(), Vec::new());
    for event in venue.close_day() {
        encoder.encode(&event, &mut |message| said.push((message[0], message[11])));
    }
    let types: String = said.iter().map(|&(message_type, _)| message_type as char).collect();
    assert_eq!(types, "SHHHSS");
    assert_eq!([said[0].1, said[4].1, said[5].1], *b"MEC");
    assert_eq!(encoder.sequence(), before + 6);
    assert_eq!(encoder.orders(), []);
    assert_eq!(Snapshot::of(&encoder, Nanos(1)), None);

    let mut book = ItchBook::new();
    for event in venue.open_day().into_iter().chain(venue.step()) {
        encoder.encode(&event, &mut |message| book.apply(message).expect("a correct stream"));
    }
    assert_eq!(drawn(book.lines()), drawn(venue.lines()));
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
    assert_eq!(states(&book), venue.states());
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
            assert_eq!(states(&book), venue.states(), "seed {seed}, spliced at {next}");
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

/// At any moment: an encoder that was saved and restored says what the one that was not says, to the byte.
#[test]
fn an_encoder_that_was_restored_goes_on_as_if_it_had_not_been() {
    for seed in 0..20 {
        let mut venue = Venue::new(seed);
        let (mut kept, mut restored) = (Encoder::new(16), Encoder::new(16));
        let mut definitions = Vec::new();
        let mut follow = |events: Vec<_>, restored: &mut Encoder| {
            for event in &events {
                let (mut said, mut said_again) = (Vec::new(), Vec::new());
                kept.encode(event, &mut |message| said.push(message.to_vec()));
                restored.encode(event, &mut |message| said_again.push(message.to_vec()));
                assert_eq!(said_again, said, "seed {seed}: {event:?}");
                if matches!(
                    event.body,
                    EventBody::AssetDefined(_) | EventBody::InstrumentDefined(_) | EventBody::FirmDefined(_)
                ) {
                    definitions.push(event.body);
                }
            }
            let bytes = restored.save();
            *restored = Encoder::restore(16, &definitions, &bytes).expect("it was saved");
            assert_eq!(restored.save(), bytes);
            assert_eq!((restored.orders(), restored.sequence()), (kept.orders(), kept.sequence()));
            for cut in [8, bytes.len() / 2, bytes.len() - 8] {
                assert!(Encoder::restore(16, &definitions, &bytes[..cut]).is_none(), "{cut} bytes");
            }
        };
        follow(venue.open_venue(), &mut restored);
        for step in 0..600 {
            let events = match step {
                300 => venue.close_day(),
                301 => venue.open_day(),
                _ => venue.step(),
            };
            follow(events, &mut restored);
        }
    }
}
