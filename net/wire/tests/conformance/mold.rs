//! MoldUDP64 packets: built, read, damaged.

use ironbell_wire::mold::{COUNT_END_OF_SESSION, Header, Packet, PacketBuilder, Request};
use ironbell_wire::{IntoBytes, NoRoom, Problem};
use proptest::prelude::*;

const SESSION: [u8; 10] = *b"0020260302";

fn problem(bytes: &[u8]) -> (usize, Problem) {
    let error = Packet::parse(bytes).expect_err("it is no packet");
    (error.offset, error.problem)
}

#[test]
fn a_packet_byte_by_byte() {
    let mut out = [0xaa; 64];
    let mut builder = PacketBuilder::new(&mut out, SESSION, 0x0102_0304_0506_0708);
    builder.push(b"one").expect("there is room");
    builder.push(b"").expect("there is room");
    assert_eq!(builder.count(), 2);
    let len = builder.finish();
    assert_eq!(out[..len], *b"0020260302\x01\x02\x03\x04\x05\x06\x07\x08\x00\x02\x00\x03one\x00\x00");
    let packet = Packet::parse(&out[..len]).expect("it is whole");
    assert_eq!((packet.session(), packet.count(), packet.is_end_of_session()), (SESSION, 2, false));
    let messages: Vec<_> = packet.messages().collect();
    assert_eq!(messages, [(0x0102_0304_0506_0708, &b"one"[..]), (0x0102_0304_0506_0709, b"")]);
}

#[test]
fn heartbeat_end_of_session_and_request_byte_by_byte() {
    let heartbeat = Header::heartbeat(SESSION, 7);
    assert_eq!(heartbeat.as_bytes(), b"0020260302\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00");
    let packet = Packet::parse(heartbeat.as_bytes()).expect("it is whole");
    assert_eq!((packet.sequence_number(), packet.count(), packet.is_end_of_session()), (7, 0, false));
    assert_eq!(packet.messages().count(), 0);
    let mut out = [0; 20];
    assert_eq!(PacketBuilder::new(&mut out, SESSION, 7).finish(), 20);
    assert_eq!(out, heartbeat.as_bytes());

    let end = Header::end_of_session(SESSION, 9);
    assert_eq!(end.as_bytes(), b"0020260302\x00\x00\x00\x00\x00\x00\x00\x09\xff\xff");
    let packet = Packet::parse(end.as_bytes()).expect("it is whole");
    assert_eq!((packet.sequence_number(), packet.count(), packet.is_end_of_session()), (9, 0, true));
    assert_eq!(packet.messages().count(), 0);

    let request = Request::new(SESSION, 3, 500);
    assert_eq!(request.as_bytes(), b"0020260302\x00\x00\x00\x00\x00\x00\x00\x03\x01\xf4");
    assert_eq!(Request::parse(request.as_bytes()), Ok(&request));
    for len in (0..20).chain(21..30) {
        let error = Request::parse(&[0; 30][..len]).expect_err("it has another length");
        assert_eq!(error.problem, Problem::Length { expected: 20, actual: len });
    }
}

#[test]
fn packets_that_are_none_are_refused() {
    let packet = |count: u16, blocks: &[u8]| [&SESSION[..], &[0; 8], &count.to_be_bytes(), blocks].concat();
    assert_eq!(problem(b""), (0, Problem::Length { expected: 20, actual: 0 }));
    assert_eq!(problem(&packet(0, b"\x00")), (20, Problem::TrailingBytes { actual: 1 }));
    assert_eq!(
        problem(&packet(COUNT_END_OF_SESSION, b"\x00\x00")),
        (20, Problem::TrailingBytes { actual: 2 })
    );
    assert_eq!(problem(&packet(1, b"")), (20, Problem::Length { expected: 22, actual: 20 }));
    assert_eq!(problem(&packet(1, b"\x00")), (20, Problem::Length { expected: 22, actual: 21 }));
    assert_eq!(problem(&packet(1, b"\x00\x02x")), (20, Problem::BlockLength { declared: 2, actual: 1 }));
    assert_eq!(problem(&packet(2, b"\x00\x01x")), (23, Problem::Length { expected: 25, actual: 23 }));
    assert_eq!(problem(&packet(1, b"\x00\x01x\x00")), (23, Problem::TrailingBytes { actual: 1 }));
}

#[test]
fn a_message_that_does_not_fit_leaves_the_packet_as_it_was() {
    let mut out = [0; 20 + 2 + 5];
    let mut builder = PacketBuilder::new(&mut out, SESSION, 1);
    assert_eq!(builder.push(&[1; 6]), Err(NoRoom { needed: 28 }));
    assert_eq!(builder.push(&[1; 5]), Ok(()));
    assert_eq!(builder.push(b""), Err(NoRoom { needed: 29 }));
    assert_eq!(builder.finish(), 27);
    assert_eq!(Packet::parse(&out).expect("it is whole").messages().collect::<Vec<_>>(), [(1, &[1; 5][..])]);
}

#[test]
fn a_packet_counts_at_most_65534_messages() {
    let mut out = vec![0; 20 + 2 * 70_000];
    let mut builder = PacketBuilder::new(&mut out, SESSION, 1);
    for _ in 0..65_534 {
        builder.push(b"").expect("there is room");
    }
    assert_eq!(builder.push(b""), Err(NoRoom { needed: 20 + 2 * 65_535 }));
    let len = builder.finish();
    let packet = Packet::parse(&out[..len]).expect("it is whole");
    assert_eq!((packet.count(), packet.is_end_of_session()), (65_534, false));
    assert_eq!(packet.messages().last(), Some((65_534, &b""[..])));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn messages_survive_packing(
        session: [u8; 10],
        first: u64,
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..40),
        mtu in 20..1472_usize,
    ) {
        let (mut out, mut read, mut next) = (vec![0; mtu], Vec::new(), first);
        let mut rest = messages.iter().peekable();
        while rest.peek().is_some() {
            let mut builder = PacketBuilder::new(&mut out, session, next);
            let mut packed = 0;
            while let Some(message) = rest.peek() && builder.push(message).is_ok() {
                rest.next();
                packed += 1;
            }
            if packed == 0 {
                // A message that no packet of this size can hold.
                let message = rest.next().unwrap();
                prop_assert!(message.len() + 22 > mtu);
                read.push((next, message.clone()));
                next = next.wrapping_add(1);
                continue;
            }
            let len = builder.finish();
            let packet = Packet::parse(&out[..len]).unwrap();
            prop_assert_eq!((packet.session(), packet.sequence_number()), (session, next));
            read.extend(packet.messages().map(|(number, message)| (number, message.to_vec())));
            next = next.wrapping_add(packed);
        }
        let expected: Vec<_> =
            messages.into_iter().enumerate().map(|(n, message)| (first.wrapping_add(n as u64), message)).collect();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn a_packet_truncated_at_any_byte_is_refused(messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..8)) {
        let mut out = [0; 512];
        let mut builder = PacketBuilder::new(&mut out, SESSION, 1);
        for message in &messages {
            builder.push(message).unwrap();
        }
        let len = builder.finish();
        for short in 0..len {
            prop_assert!(Packet::parse(&out[..short]).is_err());
        }
        prop_assert!(Packet::parse(&out[..=len]).is_err());
    }

    #[test]
    fn noise_makes_a_packet_only_when_its_blocks_add_up(
        count in prop_oneof![0..6_u16, Just(u16::MAX)],
        blocks in prop::collection::vec(prop_oneof![4 => Just(0_u8), 2 => 0..4_u8, 1 => any::<u8>()], 0..24),
    ) {
        let bytes = [&SESSION[..], &[0; 8], &count.to_be_bytes(), &blocks].concat();
        let (mut at, mut left) = (0, if count == u16::MAX { 0 } else { count });
        while left > 0 && at + 2 <= blocks.len() {
            at += 2 + usize::from(blocks[at]) * 256 + usize::from(blocks[at + 1]);
            left -= 1;
        }
        let whole = left == 0 && at == blocks.len();
        prop_assert_eq!(Packet::parse(&bytes).is_ok(), whole);
    }
}
