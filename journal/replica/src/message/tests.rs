use ironbell_record::frame::{Stamp, lay_out};
use ironbell_record::{FRAME_BYTES_MAX, Place};
use ironbell_types::{Command, Sequenced};
use proptest::prelude::*;

use super::*;

const IDENTITY: Identity = Identity { cluster: [7; 16], key: 9 };

/// A frame of `count` ticks behind the venue's beginning, in `epoch`.
fn frame(count: u64, epoch: u64) -> Vec<u8> {
    let commands: Vec<Sequenced> = (1..=count)
        .map(|seq| Sequenced { seq: Seq(seq), time: Nanos(seq), command: Command::Tick })
        .collect();
    let stamp = Stamp {
        place: Place { nonce: [1; 16], offset: 4096 },
        epoch,
        durable_frames: 0,
        commit: Seq(0),
        executed: Executed::NOTHING,
    };
    let mut bytes = vec![0; FRAME_BYTES_MAX];
    let header = lay_out(&Chain::genesis(&IDENTITY), &stamp, &commands, &mut bytes);
    let copy = FrameCopy::of(&header, &bytes);
    let mut encoded = vec![0; copy.encoded_bytes()];
    copy.encode_into(&mut encoded);
    encoded
}

fn point() -> impl Strategy<Value = Point> {
    let some = (1..u64::MAX, 1..u64::MAX, 0..Seq::MAX.0, any::<[u8; 32]>())
        .prop_map(|(frames, epoch, seq, hash)| Point { frames, epoch, seq: Seq(seq), hash: ChainHash(hash) });
    prop_oneof![Just(Point::genesis(&IDENTITY)), some]
}

fn hello() -> impl Strategy<Value = Hello> {
    let steps = prop::collection::vec((1..9_u64, 1..9_u64, 0..9_u64, any::<[u8; 32]>()), 0..20);
    let voids = prop::collection::vec((1..99_u64, 0..2_u64, any::<[u8; 48]>()), 0..5);
    (steps, voids, 1..=2_u8, 0..3_usize, any::<u64>(), any::<u64>()).prop_map(
        |(steps, voids, node, ack, promised, leading)| {
            let mut last = Point::genesis(&IDENTITY);
            let epochs: Vec<Point> = steps
                .into_iter()
                .map(|(epochs, frames, commands, hash)| {
                    last = Point {
                        frames: last.frames + frames,
                        epoch: last.epoch + epochs,
                        seq: Seq(last.seq.0 + commands),
                        hash: ChainHash(hash),
                    };
                    last
                })
                .collect();
            let void = |(seq, recorded, reason): (u64, u64, [u8; 48])| Void {
                seq: Seq(seq),
                recorded: Seq(recorded * (seq + 1)),
                reason: VoidReason(reason),
            };
            let voids =
                voids.into_iter().map(void).fold(Voids::NONE, |all, void| all.with(void).expect("room"));
            Hello {
                identity: IDENTITY,
                node: NodeId::new(node).expect("1 or 2"),
                ack: [AckPolicy::BothDurable, AckPolicy::DurableReceived, AckPolicy::Local][ack],
                asks: [Asks::Frames, Asks::Snapshot][promised as usize % 2],
                promised,
                leading: Some(leading).filter(|epoch| *epoch > 0),
                last,
                epochs,
                voids,
            }
        },
    )
}

/// What a message is made of; the bytes that some borrow stand in the test.
#[derive(Clone, Debug)]
enum Made {
    Hello(Box<Hello>),
    Words(u8, [u64; 4], Point, Point, u128),
    Frame([u64; 4], u64),
    Part(u64, Vec<u8>),
    Stream(u32, u32, u64),
    Told(Vec<Vec<u8>>),
}

fn made() -> impl Strategy<Value = Made> {
    prop_oneof![
        hello().prop_map(|hello| Made::Hello(Box::new(hello))),
        (0..10_u8, any::<[u64; 4]>(), point(), point(), any::<u128>())
            .prop_map(|(kind, words, one, other, wide)| Made::Words(kind, words, one, other, wide)),
        (any::<[u64; 4]>(), 0..60_u64).prop_map(|(words, count)| Made::Frame(words, count)),
        (any::<u64>(), prop::collection::vec(any::<u8>(), 0..300))
            .prop_map(|(at, bytes)| Made::Part(at, bytes)),
        (any::<u32>(), any::<u32>(), any::<u64>())
            .prop_map(|(stream, generation, messages)| Made::Stream(stream, generation, messages)),
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..9).prop_map(Made::Told),
    ]
}

/// Calls `check` with the message that `made` says.
fn with_message(made: &Made, check: impl FnOnce(Message<'_>)) {
    match made {
        Made::Hello(hello) => check(Message::Hello(hello.clone())),
        Made::Words(kind, [one, two, three, four], from, last, wide) => {
            let epoch = (*one).max(1);
            check(match kind {
                0 => Message::Follow { epoch, from: *from },
                1 => {
                    Message::Refused { why: Refusal::ALL[*one as usize % Refusal::ALL.len()], promised: *two }
                }
                2 => Message::KeepAlive {
                    epoch,
                    sent_at: Nanos(*two),
                    commit: Seq(*three),
                    appended: Seq(*four),
                },
                3 => Message::Ack(Ack {
                    epoch,
                    received: *from,
                    durable: *last,
                    applied: Executed { seq: Seq(*two), output_hash: *wide },
                    echo: Nanos(*three),
                }),
                4 => Message::Pull { from: *from },
                5 => Message::TailEnd { last: *last },
                6 => Message::Switchover { epoch, last: *last },
                7 => Message::Snapshot { bytes: *one },
                8 => Message::Taken { bytes: *one },
                _ => Message::SnapshotEnd { last: *last, streams: *one },
            });
        }
        Made::Frame([epoch, number, sent_at, commit], count) => {
            let bytes = frame(*count, 3);
            let (copy, _) = FrameCopy::decode(&bytes).expect("it was encoded");
            let (number, epoch) = (*number, (*epoch).max(1));
            let head = FrameHead { epoch, number, sent_at: Nanos(*sent_at), commit: Seq(*commit) };
            check(if count % 2 == 0 { Message::Frame(head, copy) } else { Message::Tail(number, copy) });
        }
        Made::Part(offset, bytes) => check(Message::Part { offset: *offset, bytes }),
        Made::Stream(stream, generation, messages) => check(Message::Stream(Stream {
            log: [Log::Sessions, Log::Feed][*stream as usize % 2],
            stream: *stream,
            generation: *generation,
            messages: *messages,
        })),
        Made::Told(messages) => {
            let mut bytes = Vec::new();
            messages.iter().for_each(|message| assert!(!Told::push(message, &mut bytes)));
            let told = Told::new(&bytes).expect("they were put there");
            assert!(told.messages().eq(messages.iter().map(Vec::as_slice)));
            check(Message::Told(told));
        }
    }
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same(made in made(), before in 0..9_usize, behind in 0..9_usize) {
        with_message(&made, |message| {
            let mut bytes = vec![0xee; before];
            message.encode(&mut bytes);
            let length = bytes.len() - before;
            assert!(length <= MESSAGE_BYTES_MAX);
            bytes.extend_from_slice(&vec![0xee; behind]);
            let (decoded, taken) = Message::decode(&bytes[before..]).expect("sound").expect("whole");
            assert_eq!(decoded, message);
            assert_eq!(taken, length);
        });
    }

    #[test]
    fn a_part_of_a_message_is_waited_for(made in made(), cut in any::<prop::sample::Index>()) {
        with_message(&made, |message| {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            assert_eq!(Message::decode(&bytes[..cut.index(bytes.len())]), Ok(None));
        });
    }

    #[test]
    fn a_changed_bit_is_found_by_the_checksum_or_the_link(made in made(), bit in any::<prop::sample::Index>()) {
        with_message(&made, |message| {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            // A frame's copy is checked where it is appended; a changed length may only make it wait.
            match Message::decode(&bytes) {
                Err(_) | Ok(None) => {}
                Ok(Some((Message::Frame(_, copy) | Message::Tail(_, copy), _))) => assert!(!copy.is_linked()),
                Ok(Some((decoded, _))) => panic!("bit {bit} of {message:?} made {decoded:?}"),
            }
        });
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..600), kind in 0..18_u16) {
        let _ = Message::decode(&bytes);
        // The same with a head that lets them through to the body.
        if bytes.len() >= HEAD_BYTES {
            let length = bytes.len() as u32;
            bytes[..4].copy_from_slice(&length.to_le_bytes());
            bytes[8..HEAD_BYTES].fill(0);
            bytes[8..10].copy_from_slice(&kind.to_le_bytes());
            let covered = match kind {
                4 => HEAD_BYTES + FRAME_HEAD_BYTES,
                8 => HEAD_BYTES + 8,
                _ => bytes.len(),
            };
            let crc = crc32c::crc32c(&bytes[8..covered.min(bytes.len())]);
            bytes[4..8].copy_from_slice(&crc.to_le_bytes());
            if let Ok(Some((message, taken))) = Message::decode(&bytes) {
                let mut again = Vec::new();
                message.encode(&mut again);
                prop_assert_eq!(&bytes[..taken], &again[..], "{:?} has two encodings", message);
            }
        }
    }

    /// Sound bytes with a few changed ones and a checksum that agrees: what gets through is canonical.
    #[test]
    fn what_is_accepted_encodes_to_the_same_bytes(
        made in made(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        with_message(&made, |message| {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            for (place, value) in &changes {
                let place = HEAD_BYTES + place.index((bytes.len() - HEAD_BYTES).max(1));
                if let Some(byte) = bytes.get_mut(place) {
                    *byte = *value;
                }
            }
            let covered = match &message {
                Message::Frame(..) => HEAD_BYTES + FRAME_HEAD_BYTES,
                Message::Tail(..) => HEAD_BYTES + 8,
                _ => bytes.len(),
            };
            let crc = crc32c::crc32c(&bytes[8..covered]);
            bytes[4..8].copy_from_slice(&crc.to_le_bytes());
            if let Ok(Some((message, taken))) = Message::decode(&bytes) {
                let mut again = Vec::new();
                message.encode(&mut again);
                assert_eq!(&bytes[..taken], &again[..], "{message:?} has two encodings");
            }
        });
    }
}

#[test]
fn another_version_is_refused_by_name() {
    let hello = Hello {
        identity: IDENTITY,
        node: NodeId::ONE,
        ack: AckPolicy::BothDurable,
        asks: Asks::Frames,
        promised: 0,
        leading: None,
        last: Point::genesis(&IDENTITY),
        epochs: Vec::new(),
        voids: Voids::NONE,
    };
    let mut bytes = Vec::new();
    Message::Hello(Box::new(hello)).encode(&mut bytes);
    bytes[HEAD_BYTES + 8] = 3;
    let crc = crc32c::crc32c(&bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    let error = Message::decode(&bytes).unwrap_err();
    assert_eq!(error, MessageError::Version(3));
    assert_eq!(
        error.to_string(),
        "the peer speaks version 3 of the replication protocol, this node version 2: run the same release on both"
    );
}

#[test]
fn a_length_that_cannot_be_is_refused_before_it_is_waited_for() {
    for length in [0, HEAD_BYTES as u32 - 1, MESSAGE_BYTES_MAX as u32 + 1, u32::MAX] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..4].copy_from_slice(&length.to_le_bytes());
        assert_eq!(Message::decode(&bytes), Err(MessageError::Length(length)));
    }
}

#[test]
fn messages_that_are_not_whole_are_none() {
    let mut bytes = Vec::new();
    assert!(!Told::push(b"one", &mut bytes));
    assert!(!Told::push(b"", &mut bytes));
    assert!(Told::push(&[7; TOLD_BYTES_MAX], &mut bytes), "long enough to go");
    assert!(Told::new(&bytes).is_some());
    assert_eq!(Told::new(&[]), None);
    for cut in [1, 3, 6, 9, bytes.len() - 1] {
        assert_eq!(Told::new(&bytes[..cut]), None, "{cut} bytes");
    }
    bytes[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(Told::new(&bytes), None);
}
