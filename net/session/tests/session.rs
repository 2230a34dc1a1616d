//! Both ends against each other, and the venue's end against strange clients, in simulated time.

use std::convert::Infallible;

use ironbell_session::{
    ClientEvent, ClientSession, Config, Login, Messages, Refusal, ServerEvent, ServerSession, Violation,
    first_number,
};
use ironbell_types::{Nanos, Username};
use ironbell_wire::IntoBytes;
use ironbell_wire::soup::LoginRequest;
use proptest::prelude::*;

const SESSION: &[u8; 10] = b"0020261121";
const SECOND: u64 = 1_000_000_000;

struct Told(Vec<Vec<u8>>);

impl Messages for Told {
    type Error = Infallible;
    fn message(&mut self, number: u64) -> Result<Option<&[u8]>, Infallible> {
        Ok(self.0.get(number as usize - 1).map(Vec::as_slice))
    }
}

fn told(count: usize) -> Told {
    Told((0..count).map(|n| format!("message {}", n + 1).into_bytes()).collect())
}

fn request(session: &str, sequence: u64) -> LoginRequest {
    LoginRequest::new("member", "secret", session, sequence).expect("the texts fit")
}

fn login(session: &str, sequence: u64) -> Login {
    let session = (!session.is_empty()).then(|| {
        let mut field = [b' '; 10];
        field[..session.len()].copy_from_slice(session.as_bytes());
        field
    });
    Login { username: Username(*b"MEMBER"), password: *b"SECRET    ", session, sequence }
}

fn give_server(server: &mut ServerSession, mut bytes: &[u8], now: Nanos) {
    let count = server.space().len().min(bytes.len());
    server.space()[..count].copy_from_slice(&bytes[..count]);
    server.received(count, now);
    bytes = &bytes[count..];
    assert!(bytes.is_empty(), "the test gives no more than fits");
}

/// Carries at most `count` bytes to the server; returns how many.
fn to_server(client: &mut ClientSession, server: &mut ServerSession, count: usize, now: Nanos) -> usize {
    let count = count.min(client.output().len()).min(server.space().len());
    server.space()[..count].copy_from_slice(&client.output()[..count]);
    server.received(count, now);
    client.sent(count, now);
    count
}

fn to_client(server: &mut ServerSession, client: &mut ClientSession, count: usize, now: Nanos) -> usize {
    let count = count.min(server.output().len()).min(client.space().len());
    client.space()[..count].copy_from_slice(&server.output()[..count]);
    client.received(count, now);
    server.sent(count, now);
    count
}

/// Two ends with an accepted login at `first`, everything carried.
fn connected(config: &Config, first: u64, now: Nanos) -> (ClientSession, ServerSession) {
    let (mut client, mut server) = (ClientSession::new(config, now), ServerSession::new(config, now));
    client.login(&request("", first));
    to_server(&mut client, &mut server, usize::MAX, now);
    assert!(matches!(server.next(), Ok(Some(ServerEvent::Login(_)))));
    server.accept(*SESSION, first);
    to_client(&mut server, &mut client, usize::MAX, now);
    assert_eq!(client.next(), Ok(Some(ClientEvent::Accepted { session: *SESSION, first })));
    (client, server)
}

#[test]
fn a_login_starts_where_it_asks_or_is_refused() {
    // Requested session, requested number, newest message: the first number that comes.
    let cases = [
        ("", 0, 0, Ok(1)),
        ("", 0, 7, Ok(7)),
        ("", 1, 0, Ok(1)),
        ("", 1, 7, Ok(1)),
        ("", 7, 7, Ok(7)),
        ("", 8, 7, Ok(8)),
        ("", 9, 7, Err(Refusal::NoSession)),
        ("", 2, 0, Err(Refusal::NoSession)),
        ("", u64::MAX, 7, Err(Refusal::NoSession)),
        ("0020261121", 3, 7, Ok(3)),
        ("0020261120", 3, 7, Err(Refusal::NoSession)),
        ("21", 3, 7, Err(Refusal::NoSession)),
    ];
    for (session, sequence, newest, expected) in cases {
        assert_eq!(
            first_number(&login(session, sequence), SESSION, newest),
            expected,
            "session {session:?}, sequence {sequence}, newest {newest}"
        );
    }
    assert_eq!(first_number(&login("DAY", 1), b"       DAY", 0), Ok(1), "padding does not matter");
}

#[test]
fn user_name_and_password_are_in_upper_case() {
    let mut server = ServerSession::new(&Config::default(), Nanos(0));
    give_server(&mut server, request("0020261121", 42).as_bytes(), Nanos(0));
    assert_eq!(server.next(), Ok(Some(ServerEvent::Login(login("0020261121", 42)))));
    assert_eq!(server.next(), Ok(None));
}

#[test]
fn refusals_reach_the_client_and_end_the_connection() {
    for refusal in [Refusal::NotAuthorized, Refusal::NoSession] {
        let config = Config::default();
        let (mut client, mut server) =
            (ClientSession::new(&config, Nanos(0)), ServerSession::new(&config, Nanos(0)));
        client.login(&request("", 1));
        to_server(&mut client, &mut server, usize::MAX, Nanos(0));
        assert!(matches!(server.next(), Ok(Some(ServerEvent::Login(_)))));
        server.refuse(refusal);
        assert!(!server.is_finished(), "the answer is not written yet");
        to_client(&mut server, &mut client, usize::MAX, Nanos(0));
        assert!(server.is_finished());
        assert_eq!(client.next(), Ok(Some(ClientEvent::Refused(refusal))));
        assert!(client.is_finished());
    }
}

#[test]
fn data_behind_a_login_waits_for_its_answer() {
    let config = Config::default();
    let mut server = ServerSession::new(&config, Nanos(0));
    let mut bytes = request("", 1).as_bytes().to_vec();
    bytes.extend_from_slice(b"\0\x06Uorder");
    give_server(&mut server, &bytes, Nanos(0));
    assert!(matches!(server.next(), Ok(Some(ServerEvent::Login(_)))));
    assert_eq!(server.next(), Ok(None));
    server.accept(*SESSION, 1);
    assert_eq!(server.next(), Ok(Some(ServerEvent::Message(b"order"))));
    assert_eq!(server.next(), Ok(None));
}

#[test]
fn heartbeats_keep_a_quiet_session_up_and_silence_ends_it() {
    let config = Config::default();
    let (mut client, mut server) = connected(&config, 1, Nanos(0));
    let mut beats = 0;
    for tenth in 1..=600 {
        let now = Nanos(tenth * SECOND / 10);
        client.on_time(now).expect("the server beats");
        server.on_time(now).expect("the client beats");
        beats += u64::from(!server.output().is_empty());
        to_server(&mut client, &mut server, usize::MAX, now);
        to_client(&mut server, &mut client, usize::MAX, now);
        assert_eq!((client.next(), server.next()), (Ok(None), Ok(None)));
    }
    assert_eq!(beats, 60, "one a second for a minute");
    // The last heartbeat crossed at 60 s; then the line is cut.
    let until_dead = |on_time: &mut dyn FnMut(Nanos) -> Result<(), Violation>| {
        (600..).find(|tenth| on_time(Nanos(tenth * SECOND / 10)) == Err(Violation::IdleTimeout))
    };
    assert_eq!(until_dead(&mut |now| server.on_time(now)), Some(750));
    assert_eq!(until_dead(&mut |now| client.on_time(now)), Some(750));
}

#[test]
fn data_is_a_sign_of_life_and_spares_the_heartbeat() {
    let (mut client, mut server) = connected(&Config::default(), 1, Nanos(0));
    for (index, tenth) in (9..200).step_by(9).enumerate() {
        let now = Nanos(tenth * SECOND / 10);
        server.on_time(now).expect("the session is young");
        assert!(server.output().is_empty(), "no heartbeat is due at {tenth}");
        assert!(server.offer(index as u64 + 1, b"fill"));
        to_client(&mut server, &mut client, usize::MAX, now);
        assert!(matches!(client.next(), Ok(Some(ClientEvent::Message { .. }))));
        client.on_time(now).expect("data came");
        to_server(&mut client, &mut server, usize::MAX, now);
        assert_eq!(server.next(), Ok(None));
    }
}

#[test]
fn a_client_that_never_logs_in_is_cut_off() {
    let mut server = ServerSession::new(&Config::default(), Nanos(5));
    // Heartbeats before the login do not help it.
    give_server(&mut server, b"\0\x01R", Nanos(29 * SECOND));
    assert_eq!(server.next(), Ok(None));
    assert_eq!(server.on_time(Nanos(30 * SECOND)), Ok(()));
    assert_eq!(server.on_time(Nanos(30 * SECOND + 5)), Err(Violation::LoginTimeout));
    assert!(server.output().is_empty(), "no heartbeat before the login");
}

#[test]
fn what_has_no_place_is_a_violation() {
    let fresh = || ServerSession::new(&Config::default(), Nanos(0));
    let up = || connected(&Config::default(), 1, Nanos(0)).1;
    let relogin = request("", 1).as_bytes().to_vec();
    for (mut server, bytes, packet) in [
        (fresh(), b"\0\x02Ux".to_vec(), b'U'),
        (fresh(), b"\0\x02Sx".to_vec(), b'S'),
        (up(), b"\0\x02Sx".to_vec(), b'S'),
        (up(), b"\0\x01H".to_vec(), b'H'),
        (up(), b"\0\x01Z".to_vec(), b'Z'),
        (up(), b"\0\x02JA".to_vec(), b'J'),
        (up(), relogin, b'L'),
    ] {
        give_server(&mut server, &bytes, Nanos(0));
        assert_eq!(server.next(), Err(Violation::Unexpected(packet)));
    }
    let too_long = [0xff, 0xff, b'U'];
    for bytes in [b"\0\0".as_slice(), b"\0\x01?", b"\0\x02Rx", &too_long] {
        let mut server = up();
        give_server(&mut server, bytes, Nanos(0));
        assert!(matches!(server.next(), Err(Violation::Malformed(_))), "{bytes:?}");
    }
}

#[test]
fn logout_and_end_of_session() {
    let (mut client, mut server) = connected(&Config::default(), 1, Nanos(0));
    assert!(client.logout());
    to_server(&mut client, &mut server, usize::MAX, Nanos(0));
    assert!(client.is_finished());
    assert_eq!(server.next(), Ok(Some(ServerEvent::Logout)));
    assert!(server.is_finished());

    let (mut client, mut server) = connected(&Config::default(), 1, Nanos(0));
    assert!(server.offer(1, b"last"));
    server.end_session();
    assert!(!server.offer(2, b"late"));
    to_client(&mut server, &mut client, usize::MAX, Nanos(0));
    assert_eq!(client.next(), Ok(Some(ClientEvent::Message { number: 1, message: b"last" })));
    assert_eq!(client.next(), Ok(Some(ClientEvent::Ended)));
    assert!(server.is_finished() && client.is_finished());
}

#[test]
fn a_slow_reader_lags_and_then_catches_up_in_order() {
    let config = Config { output_size: 64, ..Config::default() };
    let (mut client, mut server) = connected(&config, 1, Nanos(0));
    let mut messages = told(0);
    for n in 1..=1_000_u64 {
        let text = format!("message {n}").into_bytes();
        server.offer(n, &text);
        messages.0.push(text);
    }
    assert!(server.output().len() <= 64);
    assert!(server.next_number() < 10, "it lags in the log, not in memory");
    let mut expected = 1;
    while expected <= 1_000 {
        server.fill(&mut messages).expect("nothing is lost");
        to_client(&mut server, &mut client, 7, Nanos(0));
        while let Some(event) = client.next().expect("the server keeps the protocol") {
            let text = format!("message {expected}");
            assert_eq!(event, ClientEvent::Message { number: expected, message: text.as_bytes() });
            expected += 1;
        }
    }
    assert_eq!(client.next_number(), 1_001);
}

proptest! {
    /// Whatever the cuts of the stream, a client that comes back with the number it had reached gets
    /// exactly the messages it misses, live or from the log.
    #[test]
    fn reconnects_lose_and_repeat_nothing(
        total in 1_usize..60,
        rounds in prop::collection::vec((0_usize..20, prop::collection::vec(1_usize..40, 0..30)), 1..12),
    ) {
        let config = Config { input_size: 64, output_size: 64, ..Config::default() };
        let now = Nanos(0);
        let mut messages = told(total / 2);
        let mut seen = Vec::new();
        let mut next = 1;
        // The last connection is not cut, so that in the end everything must be there.
        for (live, chunks) in rounds.into_iter().chain([(0, Vec::new())]) {
            let (mut client, mut server) = (ClientSession::new(&config, now), ServerSession::new(&config, now));
            client.login(&request("", next));
            let mut live_left = live;
            for chunk in chunks.into_iter().chain([1_000; 300]) {
                to_server(&mut client, &mut server, chunk, now);
                while let Some(event) = server.next().expect("the client keeps the protocol") {
                    let ServerEvent::Login(login) = event else { panic!("{event:?}") };
                    let first = first_number(&login, SESSION, messages.0.len() as u64).expect("it is known");
                    server.accept(*SESSION, first);
                }
                if live_left > 0 && messages.0.len() < total {
                    let number = messages.0.len() as u64 + 1;
                    let text = format!("message {number}").into_bytes();
                    server.offer(number, &text);
                    messages.0.push(text);
                    live_left -= 1;
                }
                server.fill(&mut messages).expect("nothing is lost");
                to_client(&mut server, &mut client, chunk.min(41), now);
                while let Some(event) = client.next().expect("the server keeps the protocol") {
                    match event {
                        ClientEvent::Accepted { first, .. } => prop_assert_eq!(first, next),
                        ClientEvent::Message { number, message } => {
                            prop_assert_eq!(number, seen.len() as u64 + 1);
                            seen.push(message.to_vec());
                        }
                        other => panic!("{other:?}"),
                    }
                }
                next = client.next_number().max(next);
                if chunk < 4 {
                    break; // The connection is cut here.
                }
            }
        }
        prop_assert_eq!(&messages.0, &seen);
    }

    /// No bytes make the venue's end panic, and whatever it took as messages came in as such.
    #[test]
    fn garbage_ends_in_a_violation_or_in_nothing(
        is_up in any::<bool>(),
        chunks in prop::collection::vec(prop::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(b'U'), any::<u8>()], 0..64), 0..20),
    ) {
        let config = Config { input_size: 128, ..Config::default() };
        let mut server =
            if is_up { connected(&config, 1, Nanos(0)).1 } else { ServerSession::new(&config, Nanos(0)) };
        let all = chunks.concat();
        let mut given = 0;
        'all: for chunk in chunks {
            let count = chunk.len().min(server.space().len());
            server.space()[..count].copy_from_slice(&chunk[..count]);
            server.received(count, Nanos(0));
            given += count;
            loop {
                match server.next() {
                    Ok(Some(ServerEvent::Message(message))) => {
                        prop_assert!(is_up);
                        prop_assert!(message.is_empty() || all[..given].windows(message.len()).any(|w| w == message));
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => break 'all,
                }
            }
            if count < chunk.len() {
                break;
            }
        }
        prop_assert!(server.on_time(Nanos(SECOND)).is_ok());
    }
}
