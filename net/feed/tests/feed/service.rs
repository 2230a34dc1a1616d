//! The service sessions: who is let in, what is said from which number, and the splice of snapshot and stream.

use ironbell_client::itch_book::ItchBook;
use ironbell_client::market_data::{self, Delivery, LateJoiner};
use ironbell_feed::service::{Credentials, Over};
use ironbell_feed::{Encoder, GlimpseSession, ItchSession, Snapshot};
use ironbell_session::{ClientEvent, ClientSession, Config, Refusal, Violation};
use ironbell_types::{Nanos, Username};
use ironbell_wire::glimpse;
use ironbell_wire::soup::LoginRequest;

use crate::rig::{Dir, Rig, SECOND};
use crate::venue::{Rng, Venue, drawn};

const TODAY: &str = "0020261121";

/// Either session, as the service role sees it.
trait Session {
    fn receive(&mut self, bytes: &[u8]);
    fn poll(&mut self, now: Nanos);
    fn output(&self) -> &[u8];
    fn sent(&mut self, count: usize);
}

macro_rules! session {
    ($([$($generics:tt)*] $name:ty;)*) => {$(
        impl $($generics)* Session for $name {
            fn receive(&mut self, bytes: &[u8]) {
                self.receive(bytes);
            }
            fn poll(&mut self, now: Nanos) {
                self.poll(now);
            }
            fn output(&self) -> &[u8] {
                self.output()
            }
            fn sent(&mut self, count: usize) {
                self.sent(count);
            }
        }
    )*};
}
session! {
    [] ItchSession;
    [<F: FnMut() -> Option<Snapshot>>] GlimpseSession<F>;
}

/// What a member heard.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Accepted(String, u64),
    Refused(Refusal),
    Message(u64, Vec<u8>),
    Ended,
}

struct Member(ClientSession);

impl Member {
    fn new(username: &str, password: &str, session: &str, sequence: u64) -> Self {
        let mut client = ClientSession::new(&Config::default(), Nanos(SECOND));
        client.login(&LoginRequest::new(username, password, session, sequence).expect("it fits"));
        Self(client)
    }

    /// Moves bytes both ways until nothing moves; says what the member heard.
    fn talk(&mut self, session: &mut dyn Session, now: u64) -> Vec<Heard> {
        let mut heard = Vec::new();
        loop {
            session.receive(self.0.output());
            self.0.sent(self.0.output().len(), Nanos(now));
            session.poll(Nanos(now));
            let space = self.0.space();
            let count = space.len().min(session.output().len());
            if count == 0 {
                return heard;
            }
            space[..count].copy_from_slice(&session.output()[..count]);
            session.sent(count);
            self.0.received(count, Nanos(now));
            while let Some(event) = self.0.next().expect("the server keeps to the protocol") {
                heard.push(match event {
                    ClientEvent::Accepted { session, first } => {
                        Heard::Accepted(String::from_utf8(session.to_vec()).expect("digits"), first)
                    }
                    ClientEvent::Refused(refusal) => Heard::Refused(refusal),
                    ClientEvent::Message { number, message } => Heard::Message(number, message.to_vec()),
                    ClientEvent::Ended => Heard::Ended,
                    other => panic!("{other:?}"),
                });
            }
        }
    }
}

/// A feed with a day behind it, and everything that it said.
fn busy(dir: &Dir) -> (Rig, Venue, Vec<Vec<u8>>) {
    let mut rig = Rig::started(&dir.0, ironbell_feed::Config::default());
    let mut venue = Venue::new(11);
    let (mut encoder, mut stream) = (Encoder::new(0), Vec::new());
    let mut events = venue.open_venue();
    (0..100).for_each(|_| events.extend(venue.step()));
    rig.release(&events);
    rig.poll_all();
    events.iter().for_each(|event| encoder.encode(event, &mut |message| stream.push(message.to_vec())));
    assert_eq!(stream.len() as u64 + 1, rig.feed.sequence());
    (rig, venue, stream)
}

fn itch(rig: &Rig, credentials: Option<Credentials>) -> ItchSession {
    ItchSession::new(&Config::default(), credentials, rig.feed.channel(), Nanos(SECOND))
}

fn glimpse<F: FnMut() -> Option<Snapshot>>(rig: &Rig, make: F) -> GlimpseSession<F> {
    GlimpseSession::new(&Config::default(), None, rig.feed.channel(), make, Nanos(SECOND))
}

fn accepted(first: u64) -> Heard {
    Heard::Accepted(TODAY.to_owned(), first)
}

#[test]
fn itch_is_said_from_any_number() {
    let dir = Dir::new("any-number");
    let (rig, _, stream) = busy(&dir);
    let next = rig.feed.sequence();
    for first in 1..=next {
        let mut session = itch(&rig, None);
        let heard = Member::new("ANY", "", "", first).talk(&mut session, SECOND);
        let rest = stream.iter().enumerate().skip(first as usize - 1);
        let mut expected = vec![accepted(first)];
        expected.extend(rest.map(|(index, message)| Heard::Message(index as u64 + 1, message.clone())));
        assert!(heard == expected, "from {first}");
        assert_eq!(session.over(), None, "it goes on live");
    }
    let heard = Member::new("ANY", "", "", 0).talk(&mut itch(&rig, None), SECOND);
    assert!(heard == [accepted(next - 1), Heard::Message(next - 1, stream[next as usize - 2].clone())]);
}

#[test]
fn a_login_for_what_is_not_there_is_refused() {
    let dir = Dir::new("not-there");
    let (rig, _, _) = busy(&dir);
    let next = rig.feed.sequence();
    for (session, sequence) in [("", next + 1), ("", u64::MAX), ("0020261120", 1), ("NONE", 0)] {
        let mut server = itch(&rig, None);
        let heard = Member::new("ANY", "", session, sequence).talk(&mut server, SECOND);
        assert_eq!(heard, [Heard::Refused(Refusal::NoSession)], "{session} {sequence}");
        assert_eq!(server.over(), Some(Over::Refused(Refusal::NoSession)));
        assert!(server.is_over());
    }
    let heard = Member::new("ANY", "", TODAY, next).talk(&mut itch(&rig, None), SECOND);
    assert_eq!(heard, [accepted(next)]);
}

#[test]
fn nobody_is_let_in_before_the_first_day() {
    let dir = Dir::new("no-day");
    let rig = Rig::started(&dir.0, ironbell_feed::Config::default());
    let refused = [Heard::Refused(Refusal::NoSession)];
    assert_eq!(Member::new("ANY", "", "", 1).talk(&mut itch(&rig, None), SECOND), refused);
    let mut server = glimpse(&rig, || panic!("there is nothing to make a snapshot of"));
    assert_eq!(Member::new("ANY", "", "", 1).talk(&mut server, SECOND), refused);
}

#[test]
fn credentials_are_checked_when_there_are_any() {
    let dir = Dir::new("credentials");
    let (rig, _, _) = busy(&dir);
    let next = rig.feed.sequence();
    let credentials = Some(Credentials {
        username: Username::new("ALFA").expect("four letters"),
        password: *b"SECRET    ",
    });
    for (username, password, may) in
        [("alfa", "Secret", true), ("ALFA", "SECRET1", false), ("BRVO", "SECRET", false), ("", "", false)]
    {
        let heard = Member::new(username, password, "", next).talk(&mut itch(&rig, credentials), SECOND);
        let expected = if may { accepted(next) } else { Heard::Refused(Refusal::NotAuthorized) };
        assert_eq!(heard, [expected], "{username} {password}");
    }
}

#[test]
fn a_live_member_hears_each_message_once_and_the_end_of_the_day() {
    let dir = Dir::new("live");
    let (mut rig, mut venue, stream) = busy(&dir);
    let mut session = itch(&rig, None);
    let mut member = Member::new("ANY", "", TODAY, 1);
    let (mut book, mut next) = (ItchBook::new(), 1);
    let mut hear = |heard: Vec<Heard>, book: &mut ItchBook| {
        for heard in heard {
            let Heard::Message(number, message) = heard else { continue };
            assert_eq!(number, next);
            next += 1;
            book.apply(&message).expect("a correct stream");
        }
        next
    };
    assert_eq!(hear(member.talk(&mut session, SECOND), &mut book), stream.len() as u64 + 1);
    for _ in 0..100 {
        let events = venue.step();
        rig.release(&events);
        rig.poll_all();
        assert_eq!(hear(member.talk(&mut session, SECOND), &mut book), rig.feed.sequence());
        assert_eq!(drawn(book.lines()), drawn(venue.lines()));
    }
    let events = venue.open_day();
    rig.release(&events);
    rig.poll_all();
    assert_eq!(member.talk(&mut session, SECOND), [Heard::Ended]);
    assert_eq!(session.over(), Some(Over::Done));
    assert!(session.is_over());
}

#[test]
fn a_member_who_lags_behind_the_end_of_the_day_is_cut_off() {
    let dir = Dir::new("lags");
    let (mut rig, mut venue, stream) = busy(&dir);
    let mut session = itch(&rig, None);
    let next = rig.feed.sequence();
    let mut member = Member::new("ANY", "", TODAY, next);
    assert_eq!(member.talk(&mut session, SECOND), [accepted(next)]);
    for events in [venue.step(), venue.step(), venue.step(), venue.open_day()] {
        rig.release(&events);
    }
    rig.poll_all();
    assert!(!stream.is_empty());
    assert_eq!(member.talk(&mut session, SECOND), [], "an end of session would say that this was all");
    assert_eq!(session.over(), Some(Over::Lost));
    assert!(session.is_over());
}

/// A reader that takes a few bytes at a time still gets everything, and nobody waits for it.
#[test]
fn a_slow_member_lags_in_the_log() {
    let dir = Dir::new("slow");
    let (rig, _, stream) = busy(&dir);
    let config = Config { output_size: 100, ..Config::default() };
    let mut session = ItchSession::new(&config, None, rig.feed.channel(), Nanos(SECOND));
    let login = LoginRequest::new("ANY", "", "", 1).expect("it fits");
    session.receive(zerocopy::IntoBytes::as_bytes(&login));
    let mut bytes = Vec::new();
    loop {
        session.poll(Nanos(SECOND));
        let count = session.output().len().min(7);
        if count == 0 {
            break;
        }
        bytes.extend_from_slice(&session.output()[..count]);
        session.sent(count);
    }
    let expected: usize = stream.iter().map(|message| 3 + message.len()).sum();
    assert_eq!(bytes.len(), 33 + expected);
}

#[test]
fn times_and_the_protocol_are_kept() {
    let dir = Dir::new("times");
    let (rig, _, _) = busy(&dir);
    let next = rig.feed.sequence();

    let mut session = itch(&rig, None);
    session.poll(Nanos(30 * SECOND));
    assert_eq!(session.over(), None);
    session.poll(Nanos(31 * SECOND));
    assert_eq!(session.over(), Some(Over::Violation(Violation::LoginTimeout)));

    let mut session = itch(&rig, None);
    session.poll(Nanos(SECOND));
    Member::new("ANY", "", "", next).talk(&mut session, SECOND);
    session.poll(Nanos(2 * SECOND));
    assert_eq!(session.output(), [0, 1, b'H'], "a heartbeat after a second");
    session.sent(3);
    session.poll(Nanos(16 * SECOND));
    assert_eq!(session.over(), Some(Over::Violation(Violation::IdleTimeout)));

    let mut session = itch(&rig, None);
    Member::new("ANY", "", "", next).talk(&mut session, SECOND);
    session.receive(&[0, 1, b'O']);
    assert_eq!(session.over(), Some(Over::Logout));
    assert!(session.is_over());

    let mut session = itch(&rig, None);
    session.receive(&[0, 1, b'Z']);
    assert_eq!(session.over(), Some(Over::Violation(Violation::Unexpected(b'Z'))));
}

#[test]
fn no_bytes_make_a_session_fall_over() {
    let dir = Dir::new("garbage");
    let (rig, _, _) = busy(&dir);
    for seed in 0..500 {
        let mut rng = Rng(seed);
        let login = LoginRequest::new("ANY", "", "", rng.below(400)).expect("it fits");
        let mut bytes = zerocopy::IntoBytes::as_bytes(&login).to_vec();
        for _ in 0..rng.below(40) {
            let kind = b"LUROS+HZ\x00\xff"[rng.below(10) as usize];
            let len = rng.below(60) as usize;
            bytes.extend([0, len as u8 + u8::from(rng.below(9) > 0), kind]);
            bytes.extend((0..len).map(|_| rng.below(256) as u8));
        }
        for _ in 0..rng.below(4) {
            let index = rng.below(bytes.len() as u64) as usize;
            bytes[index] = rng.below(256) as u8;
        }
        let (mut one, mut two) = (itch(&rig, None), glimpse(&rig, || None));
        for (now, chunk) in bytes.chunks(1 + rng.below(70) as usize).enumerate() {
            for session in [&mut one as &mut dyn Session, &mut two] {
                session.receive(chunk);
                session.poll(Nanos(SECOND + now as u64));
                session.sent(session.output().len());
            }
        }
    }
}

#[test]
fn a_snapshot_is_said_whole_and_then_the_session_ends() {
    let dir = Dir::new("glimpse");
    let (rig, venue, _) = busy(&dir);
    for (session, sequence) in [("", 0), ("", 2), ("0020261120", 1)] {
        let mut server = glimpse(&rig, || panic!("the login is not granted"));
        let heard = Member::new("ANY", "", session, sequence).talk(&mut server, SECOND);
        assert_eq!(heard, [Heard::Refused(Refusal::NoSession)], "{session} {sequence}");
    }
    let mut server = glimpse(&rig, || Snapshot::of(rig.feed.encoder(), Nanos(1)));
    let mut heard = Member::new("ANY", "", TODAY, 1).talk(&mut server, SECOND);
    assert_eq!(heard.pop(), Some(Heard::Ended));
    assert_eq!(server.over(), Some(Over::Done));
    assert!(server.is_over());
    let Some(Heard::Message(_, end)) = heard.pop() else { panic!("a snapshot ends with a message") };
    let Ok(glimpse::Message::EndOfSnapshot(end)) = glimpse::Message::parse(&end) else {
        panic!("and that is G")
    };
    assert_eq!(end.sequence(), Ok(rig.feed.sequence()));
    assert_eq!(heard.remove(0), accepted(1));
    let mut book = ItchBook::new();
    for heard in heard {
        let Heard::Message(_, message) = heard else { panic!("messages only") };
        book.apply(&message).expect("a snapshot makes books");
    }
    assert_eq!(drawn(book.lines()), drawn(venue.lines()));
}

/// The follower that snapshots are made of may be ahead of the feed: whoever gets the end of snapshot must
/// be let in to the stream at that number.
#[test]
fn the_end_of_snapshot_waits_for_the_feed() {
    let dir = Dir::new("ahead");
    let (mut rig, mut venue, _) = busy(&dir);
    let mut ahead = rig.feed.encoder().clone();
    let mut events = Vec::new();
    (0..20).for_each(|_| events.extend(venue.step()));
    let mut last_words = 0;
    for event in &events {
        let mut count = 0;
        ahead.encode(event, &mut |_| count += 1);
        last_words = if count > 0 { count } else { last_words };
    }
    let mut server = glimpse(&rig, || Snapshot::of(&ahead, Nanos(1)));
    let mut member = Member::new("ANY", "", "", 1);
    let heard = member.talk(&mut server, SECOND).len() as u64;
    let count = Snapshot::of(&ahead, Nanos(1)).expect("the day is open").message_count();
    assert_eq!(heard, 1 + count - 1, "the login, and all but the end");
    let mut lags_min = u64::MAX;
    for event in events {
        assert_eq!(member.talk(&mut server, SECOND), []);
        lags_min = lags_min.min(ahead.sequence() - rig.feed.sequence());
        rig.release(&[event]);
        rig.poll_all();
        if rig.feed.sequence() == ahead.sequence() {
            break;
        }
    }
    assert_eq!(lags_min, last_words, "it waited for the very last event");
    assert_eq!(rig.feed.sequence(), ahead.sequence());
    let heard = member.talk(&mut server, SECOND);
    assert!(matches!(heard[..], [Heard::Message(..), Heard::Ended]), "{heard:?}");
}

#[test]
fn a_snapshot_of_a_day_that_is_gone_is_not_finished() {
    let dir = Dir::new("gone");
    let (mut rig, mut venue, _) = busy(&dir);
    let mut ahead = rig.feed.encoder().clone();
    let mut events = Vec::new();
    (0..20).for_each(|_| events.extend(venue.step()));
    events.iter().for_each(|event| ahead.encode(event, &mut |_| {}));
    let mut server = glimpse(&rig, || Snapshot::of(&ahead, Nanos(1)));
    let mut member = Member::new("ANY", "", "", 1);
    member.talk(&mut server, SECOND);
    rig.release(&events);
    let tomorrow = venue.open_day();
    rig.release(&tomorrow);
    rig.poll_all();
    assert_eq!(member.talk(&mut server, SECOND), []);
    assert_eq!(server.over(), Some(Over::Lost));
    let mut late = glimpse(&rig, || Snapshot::of(&ahead, Nanos(1)));
    let heard = Member::new("ANY", "", "", 1).talk(&mut late, SECOND);
    assert_eq!(heard, [Heard::Refused(Refusal::NoSession)], "a snapshot of yesterday is none");
}

/// Bytes between the joiner and a session, a random number at a time.
fn shuttle(
    joiner: &mut LateJoiner,
    session: &mut dyn Session,
    rng: &mut Rng,
    deliver: &mut impl FnMut(Delivery<'_>),
) {
    let now = Nanos(SECOND);
    let count = joiner.output().len().min(1 + rng.below(60) as usize);
    session.receive(&joiner.output()[..count]);
    joiner.sent(count, now);
    session.poll(now);
    let space = joiner.space();
    let count = session.output().len().min(space.len()).min(1 + rng.below(400) as usize);
    space[..count].copy_from_slice(&session.output()[..count]);
    session.sent(count);
    joiner.received(count, now, deliver).expect("the servers keep to the protocols");
}

/// Whoever joins late, at whatever moment and while trading goes on, has the venue's books, having got
/// every message of the stream once; also when the stream's connection is lost on the way.
#[test]
fn a_late_joiner_has_the_venues_books_whenever_it_joins() {
    for seed in 0..60 {
        let dir = Dir::new(&format!("late-{seed}"));
        let mut rig = Rig::started(&dir.0, ironbell_feed::Config::default());
        let (mut venue, mut rng) = (Venue::new(seed), Rng(seed ^ 0xdead));
        let events = venue.open_venue();
        rig.release(&events);
        for _ in 0..rng.below(200) {
            let events = venue.step();
            rig.release(&events);
        }
        rig.poll_all();

        let credentials = market_data::Credentials { username: "LATE".to_owned(), password: String::new() };
        let mut joiner = LateJoiner::new(Config::default(), credentials, Nanos(SECOND)).expect("they fit");
        let mut book = ItchBook::new();
        let (mut count, mut next) = (0, None);
        let mut deliver = |delivery: Delivery<'_>| match delivery {
            Delivery::Snapshot(message) => book.apply(message).expect("a snapshot makes books"),
            Delivery::Stream(number, message) => {
                assert_eq!(number, *next.get_or_insert(number), "seed {seed}: dense");
                next = Some(number + 1);
                count += 1;
                book.apply(message).unwrap_or_else(|e| panic!("seed {seed}, message {number}: {e}"));
            }
        };
        let encoder = rig.feed.encoder().clone();
        let mut snapshots = glimpse(&rig, || Snapshot::of(&encoder, Nanos(1)));
        let trade = |rig: &mut Rig, venue: &mut Venue, rng: &mut Rng| {
            if rng.below(3) == 0 {
                let events = venue.step();
                rig.release(&events);
                rig.poll_all();
            }
        };
        while !joiner.wants_stream() {
            trade(&mut rig, &mut venue, &mut rng);
            shuttle(&mut joiner, &mut snapshots, &mut rng, &mut deliver);
        }
        let start = joiner.next();
        assert_eq!(start, encoder.sequence());
        joiner.connected(Nanos(SECOND)).expect("the credentials fit");
        let mut stream = itch(&rig, None);
        for _ in 0..rng.below(300) {
            trade(&mut rig, &mut venue, &mut rng);
            shuttle(&mut joiner, &mut stream, &mut rng, &mut deliver);
            if rng.below(50) == 0 {
                joiner.connected(Nanos(SECOND)).expect("the credentials fit");
                stream = itch(&rig, None);
            }
        }
        while joiner.next() < rig.feed.sequence() {
            shuttle(&mut joiner, &mut stream, &mut rng, &mut deliver);
        }
        assert_eq!(count, rig.feed.sequence() - start, "seed {seed}");
        assert_eq!(drawn(book.lines()), drawn(venue.lines()), "seed {seed}");
    }
}
