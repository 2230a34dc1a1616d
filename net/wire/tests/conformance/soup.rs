//! SoupBinTCP packets: written, cut into any pieces, read again.

use ironbell_wire::soup::{self, LoginAccepted, LoginRejected, LoginRequest, PACKET_LEN_MAX, Packet};
use ironbell_wire::{IntoBytes, NoRoom, Problem};
use proptest::prelude::*;

fn whole(bytes: &[u8]) -> Packet<'_> {
    let (packet, len) = soup::split(bytes, PACKET_LEN_MAX).expect("it is a packet").expect("it is whole");
    assert_eq!(len, bytes.len());
    packet
}

fn problem(bytes: &[u8]) -> Problem {
    soup::split(bytes, PACKET_LEN_MAX).expect_err("it is no packet").problem
}

#[test]
fn a_login_request_byte_by_byte() {
    let login = LoginRequest::new("user", "secret", "0020260302", 42).expect("the texts fit");
    let expected = b"\x00\x2fLuser  secret    0020260302                  42";
    assert_eq!(login.as_bytes(), expected);
    let Packet::LoginRequest(read, extension) = whole(expected) else { panic!("it is one") };
    assert_eq!(*read, login);
    assert_eq!((read.username(), read.password()), (*b"USER  ", *b"SECRET    "));
    assert_eq!((read.session(), read.sequence()), (&b"0020260302"[..], Ok(42)));
    assert_eq!(extension.heartbeat_timeout_ms(), Ok(None));
}

/// A login request from the text of its payload.
fn login_request(payload: &str) -> Vec<u8> {
    [&(payload.len() as u16 + 1).to_be_bytes()[..], b"L", payload.as_bytes()].concat()
}

#[test]
fn a_login_request_of_4_10_says_how_long_to_wait() {
    let payload = format!("USER  {:<10}{:<10}{:>20}", "PASS", "", 1);
    let packet = login_request(&format!("{payload} 3000"));
    assert_eq!(packet.len(), 54);
    let Packet::LoginRequest(login, extension) = whole(&packet) else { panic!("it is one") };
    assert_eq!((login.session(), login.sequence()), (&b""[..], Ok(1)));
    assert_eq!(extension.heartbeat_timeout_ms(), Ok(Some(3000)));
    let packet = login_request(&format!("{payload}3x   "));
    let Packet::LoginRequest(_, extension) = whole(&packet) else { panic!("it is one") };
    let error = extension.heartbeat_timeout_ms().expect_err("3x is no number");
    assert_eq!((error.offset, error.problem), (49, Problem::NotANumber));
}

#[test]
fn a_login_request_may_be_padded_on_either_side() {
    let packet = login_request(&format!("  ab  {:>10}{:>10}{:<20}", "secret", "20260302", 7));
    let Packet::LoginRequest(login, _) = whole(&packet) else { panic!("it is one") };
    assert_eq!((login.username(), login.password()), (*b"AB    ", *b"SECRET    "));
    assert_eq!((login.session(), login.sequence()), (&b"20260302"[..], Ok(7)));
}

#[test]
fn a_login_request_with_no_number_says_so_when_asked() {
    let mut login = LoginRequest::new("A", "B", "", 0).expect("the texts fit");
    assert_eq!(login.sequence(), Ok(0));
    login.requested_sequence_number = [b' '; 20];
    let error = login.sequence().expect_err("there is no digit");
    assert_eq!((error.offset, error.problem), (29, Problem::NotANumber));
}

#[test]
fn texts_that_do_not_fit_make_no_login_request() {
    assert!(LoginRequest::new("sixsix", "tentententt", "", 1).is_none());
    assert!(LoginRequest::new("sevense", "", "", 1).is_none());
    assert!(LoginRequest::new("", "", "elevenleven", 1).is_none());
    assert!(LoginRequest::new("ä", "", "", 1).is_none());
    assert!(LoginRequest::new("a\n", "", "", 1).is_none());
}

#[test]
fn a_login_accepted_byte_by_byte() {
    let accepted = LoginAccepted::new(*b"  SESSION1", 1_000_000);
    let expected = b"\x00\x1fA  SESSION1             1000000";
    assert_eq!(accepted.as_bytes(), expected);
    let Packet::LoginAccepted(read) = whole(expected) else { panic!("it is one") };
    assert_eq!((read.session(), read.sequence()), (&b"SESSION1"[..], Ok(1_000_000)));
    let mut accepted = accepted;
    accepted.sequence_number[0] = b'-';
    assert_eq!(accepted.sequence().expect_err("it is no number").offset, 13);
}

#[test]
fn the_small_packets_byte_by_byte() {
    let rejected = LoginRejected::new(LoginRejected::NO_SESSION);
    assert_eq!(rejected.as_bytes(), b"\x00\x02JS");
    assert_eq!(whole(b"\x00\x02JS"), Packet::LoginRejected(&rejected));
    assert_eq!(whole(&soup::SERVER_HEARTBEAT), Packet::ServerHeartbeat);
    assert_eq!(whole(&soup::CLIENT_HEARTBEAT), Packet::ClientHeartbeat);
    assert_eq!(whole(&soup::END_OF_SESSION), Packet::EndOfSession);
    assert_eq!(whole(&soup::LOGOUT_REQUEST), Packet::LogoutRequest);
    let mut out = [0; 16];
    assert_eq!(soup::put_debug(b"hi", &mut out), Ok(5));
    assert_eq!(out[..5], *b"\x00\x03+hi");
    assert_eq!(soup::put_sequenced(b"", &mut out), Ok(3));
    assert_eq!(out[..3], *b"\x00\x01S");
    assert_eq!(soup::put_unsequenced(b"Q", &mut out), Ok(4));
    assert_eq!(out[..4], *b"\x00\x02UQ");
    assert_eq!((soup::sequenced_header(1), soup::unsequenced_header(256)), (*b"\x00\x02S", *b"\x01\x01U"));
    assert_eq!(soup::put_sequenced(&[7; 14], &mut out), Err(NoRoom { needed: 17 }));
}

#[test]
fn packets_that_are_none_are_refused() {
    assert_eq!(problem(b"\x00\x00"), Problem::Empty);
    assert_eq!(problem(b"\x00\x01x"), Problem::UnknownType);
    for packet in [b"\x00\x02H!", b"\x00\x02Z!", b"\x00\x02R!", b"\x00\x02O!"] {
        assert_eq!(problem(packet), Problem::Length { expected: 3, actual: 4 });
    }
    assert_eq!(problem(b"\x00\x01J"), Problem::Length { expected: 4, actual: 3 });
    assert_eq!(problem(b"\x00\x03JSS"), Problem::Length { expected: 4, actual: 5 });
    assert_eq!(problem(b"\x00\x02A!"), Problem::Length { expected: 33, actual: 4 });
    let mut login = LoginRequest::new("a", "b", "", 1).expect("the texts fit").as_bytes().to_vec();
    for extra in 1..10 {
        login.push(b'1');
        login[1] += 1;
        if extra != 5 {
            assert_eq!(problem(&login), Problem::Length { expected: 49, actual: 49 + extra });
        } else {
            assert!(matches!(whole(&login), Packet::LoginRequest(..)));
        }
    }
}

#[test]
fn a_packet_longer_than_the_reader_takes_is_refused_by_its_length_field() {
    assert_eq!(soup::split(b"\x00\x40", 66), Ok(None));
    let error = soup::split(b"\x00\x41", 66).expect_err("67 bytes are announced");
    assert_eq!(error.problem, Problem::TooLong { actual: 67, max: 66 });
    assert_eq!(soup::split(b"\xff\xff", PACKET_LEN_MAX), Ok(None));
    let mut longest = vec![0xff; PACKET_LEN_MAX];
    longest[2] = b'S';
    assert_eq!(whole(&longest), Packet::SequencedData(&longest[3..]));
    let mut again = vec![0; PACKET_LEN_MAX];
    assert_eq!(soup::put_sequenced(&longest[3..], &mut again), Ok(PACKET_LEN_MAX));
    assert_eq!(again, longest);
}

const EMPTY: &[[u8; 3]] =
    &[soup::SERVER_HEARTBEAT, soup::CLIENT_HEARTBEAT, soup::END_OF_SESSION, soup::LOGOUT_REQUEST];

/// What a test sends: a packet's bytes.
fn packet() -> impl Strategy<Value = Vec<u8>> {
    let data = (0..3_usize, prop::collection::vec(any::<u8>(), 0..300)).prop_map(|(kind, payload)| {
        let mut out = vec![0; soup::HEADER_LEN + payload.len()];
        let put = [soup::put_sequenced, soup::put_unsequenced, soup::put_debug][kind];
        assert_eq!(put(&payload, &mut out), Ok(out.len()));
        out
    });
    let login = ("[!-~]{1,6}", "[!-~]{1,10}", "[!-~]{0,10}", any::<u64>()).prop_map(
        |(user, password, session, n)| {
            LoginRequest::new(&user, &password, &session, n).expect("the texts fit").as_bytes().to_vec()
        },
    );
    prop_oneof![
        4 => data,
        1 => login,
        1 => (any::<[u8; 10]>(), any::<u64>()).prop_map(|(s, n)| LoginAccepted::new(s, n).as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|reason| LoginRejected::new(reason).as_bytes().to_vec()),
        2 => prop::sample::select(EMPTY).prop_map(|packet| packet.to_vec()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn a_stream_cut_anywhere_gives_the_same_packets(
        packets in prop::collection::vec(packet(), 0..20),
        pieces in prop::collection::vec(1..200_usize, 1..40),
    ) {
        let stream = packets.concat();
        let (mut buffer, mut read, mut at) = (Vec::new(), Vec::new(), 0);
        for piece in pieces.into_iter().cycle() {
            let end = (at + piece).min(stream.len());
            buffer.extend_from_slice(&stream[at..end]);
            at = end;
            while let Some((_, len)) = soup::split(&buffer, PACKET_LEN_MAX).unwrap() {
                read.push(buffer.drain(..len).collect::<Vec<_>>());
            }
            if at == stream.len() {
                break;
            }
        }
        prop_assert!(buffer.is_empty());
        prop_assert_eq!(read, packets);
    }

    #[test]
    fn a_packet_truncated_at_any_byte_is_not_there_yet(packet in packet()) {
        for len in 0..packet.len() {
            prop_assert_eq!(soup::split(&packet[..len], PACKET_LEN_MAX), Ok(None));
        }
    }

    #[test]
    fn noise_makes_a_packet_only_when_it_is_one(bytes in prop::collection::vec(any::<u8>(), 0..80), code: u8, len in 0..60_u8) {
        let bytes = [&[0, len, code], &bytes[..]].concat();
        let payload = usize::from(len).wrapping_sub(1);
        let known = match code {
            b'S' | b'U' | b'+' => true,
            b'H' | b'Z' | b'R' | b'O' => payload == 0,
            b'J' => payload == 1,
            b'A' => payload == 30,
            b'L' => payload == 46 || payload == 51,
            _ => false,
        };
        match soup::split(&bytes, PACKET_LEN_MAX) {
            Ok(Some((_, taken))) => prop_assert!(len > 0 && known && taken == usize::from(len) + 2),
            Ok(None) => prop_assert!(bytes.len() < usize::from(len) + 2),
            Err(error) => prop_assert!(len == 0 || !known, "{}", error),
        }
    }
}
