//! Truncated, lengthened and mutated messages: no panic, no wrong accept, and errors that say where.

use ironbell_wire::ouch::{Inbound, Outbound};
use ironbell_wire::{DecodeError, Problem, Protocol, glimpse, itch};
use proptest::prelude::*;

use crate::support::{OptionTable, Table, hex, tables, transcode, unhex, vectors};

/// A second, deliberately plain reader, made from the tables alone: whether the bytes are a message.
fn accepts(tables: &[Table], options: &[OptionTable], family: &str, bytes: &[u8]) -> bool {
    if family == "ITCH" && bytes.first() == Some(&b's') {
        return bytes.len() == 53;
    }
    let Some(table) = tables.iter().find(|t| t.family == family && bytes.first() == Some(&t.code)) else {
        return false;
    };
    if bytes.len() < table.fixed() {
        return false;
    }
    let appendage = &bytes[table.fixed()..];
    if appendage.is_empty() {
        return table.appendage != 'R';
    }
    if !matches!(table.appendage, 'R' | 'O') || appendage.len() < 2 {
        return false;
    }
    if usize::from(appendage[0]) * 256 + usize::from(appendage[1]) != appendage.len() - 2 {
        return false;
    }
    let (mut at, mut seen) = (2, Vec::new());
    while at < appendage.len() {
        let end = at + 1 + usize::from(appendage[at]);
        if end == at + 1 || end > appendage.len() {
            return false;
        }
        let tag = appendage[at + 1];
        let right_length = options.iter().any(|(known, _, len, _)| *known == tag && end - at - 2 == *len);
        if !right_length || !table.tags.contains(&tag) || seen.contains(&tag) {
            return false;
        }
        seen.push(tag);
        at = end;
    }
    true
}

/// Both readers say the same, and ours says sensible things of where.
fn assert_agree(tables: &[Table], options: &[OptionTable], family: &str, bytes: &[u8]) {
    let ours = transcode(family, bytes);
    let expected = accepts(tables, options, family, bytes);
    assert_eq!(ours.is_ok(), expected, "{family} {}: {ours:?}", hex(bytes));
    match ours {
        // An optional appendage that is there but empty is left out when written.
        Ok(again) if again.len() < bytes.len() => assert_eq!([&again[..], &[0, 0]].concat(), bytes),
        Ok(again) => assert_eq!(again, bytes),
        Err(error) => {
            assert_eq!(error.message_type, bytes.first().copied().unwrap_or(0));
            assert!(error.offset <= bytes.len(), "{error}");
            assert!(!error.to_string().is_empty());
        }
    }
}

#[test]
fn every_message_is_refused_when_truncated_at_any_byte() {
    let (tables, options) = tables();
    for vector in vectors() {
        for len in 0..vector.bytes.len() {
            let bytes = &vector.bytes[..len];
            assert_agree(&tables, &options, vector.family, bytes);
            let Err(error) = transcode(vector.family, bytes) else {
                // Only what is left of a message without its optional appendage is itself a message.
                let table =
                    tables.iter().find(|t| t.family == vector.family && t.code == vector.code).unwrap();
                assert_eq!((table.appendage, table.fixed()), ('O', len));
                continue;
            };
            match error.problem {
                Problem::Empty => assert_eq!(len, 0),
                Problem::Length { actual, expected } => assert!(actual == len && expected > len, "{error}"),
                Problem::AppendageLength { declared, actual } => assert!(declared > actual, "{error}"),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn every_message_is_refused_when_a_byte_follows() {
    let (tables, options) = tables();
    for vector in vectors() {
        for byte in [0, 1, b' ', 0xff] {
            let bytes = [&vector.bytes[..], &[byte]].concat();
            assert!(transcode(vector.family, &bytes).is_err(), "{}", hex(&bytes));
            assert_agree(&tables, &options, vector.family, &bytes);
        }
    }
}

#[test]
fn every_type_byte_is_known_or_refused() {
    let (tables, options) = tables();
    for vector in vectors() {
        for code in 0..=u8::MAX {
            let mut bytes = vector.bytes.clone();
            bytes[0] = code;
            assert_agree(&tables, &options, vector.family, &bytes);
        }
    }
}

/// One change of a message.
#[derive(Clone, Debug)]
enum Change {
    Set(prop::sample::Index, u8),
    Add(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Truncate(prop::sample::Index),
    /// Copies a part over another one.
    Copy(prop::sample::Index, prop::sample::Index, u8),
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<prop::sample::Index>;
    // Small steps up and down are what lengths and tags are most sensitive to.
    let step = prop_oneof![Just(1), Just(2), Just(0xff), any::<u8>()];
    prop_oneof![
        (index(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (index(), step).prop_map(|(at, byte)| Change::Add(at, byte)),
        (index(), any::<u8>()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        index().prop_map(Change::Remove),
        index().prop_map(Change::Truncate),
        (index(), index(), 1..16_u8).prop_map(|(from, to, len)| Change::Copy(from, to, len)),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    if bytes.is_empty() {
        return;
    }
    match *change {
        Change::Set(at, byte) => *at.get_mut(bytes) = byte,
        Change::Add(at, byte) => *at.get_mut(bytes) = at.get(bytes).wrapping_add(byte),
        Change::Insert(at, byte) => bytes.insert(at.index(bytes.len()), byte),
        Change::Remove(at) => drop(bytes.remove(at.index(bytes.len()))),
        Change::Truncate(at) => bytes.truncate(at.index(bytes.len())),
        Change::Copy(from, to, len) => {
            let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
            let len = usize::from(len).min(bytes.len() - from).min(bytes.len() - to);
            bytes.copy_within(from..from + len, to);
        }
    }
}

#[test]
fn mutated_messages_are_taken_or_refused_as_the_tables_say() {
    let ((tables, options), vectors) = (tables(), vectors());
    let case = (0..vectors.len(), prop::collection::vec(change(), 1..6));
    run(60_000, &case, |(index, changes)| {
        let mut bytes = vectors[index].bytes.clone();
        changes.iter().for_each(|change| apply(&mut bytes, change));
        for family in ["IN", "OUT", "ITCH"] {
            assert_agree(&tables, &options, family, &bytes);
        }
    });
}

#[test]
fn damaged_appendages_are_taken_or_refused_as_the_tables_say() {
    let ((tables, options), vectors) = (tables(), vectors());
    let vectors: Vec<_> = vectors.into_iter().filter(|vector| vector.options == "all").collect();
    let case = (0..vectors.len(), prop::collection::vec(change(), 1..4), any::<bool>());
    run(60_000, &case, |(index, changes, repair)| {
        let vector = &vectors[index];
        let table = tables.iter().find(|t| t.family == vector.family && t.code == vector.code).unwrap();
        let (fixed, appendage) = vector.bytes.split_at(table.fixed());
        let mut elements = appendage.get(2..).unwrap_or_default().to_vec();
        changes.iter().for_each(|change| apply(&mut elements, change));
        // With the right length before it, what is wrong lies within the appendage.
        let declared = if repair { elements.len() } else { appendage.len().saturating_sub(2) };
        let bytes = [fixed, &(declared as u16).to_be_bytes()[..], &elements].concat();
        assert_agree(&tables, &options, vector.family, &bytes);
    });
}

#[test]
fn noise_is_taken_or_refused_as_the_tables_say() {
    let (tables, options) = tables();
    let codes: Vec<u8> = tables.iter().map(|table| table.code).collect();
    let case = (prop::sample::select(codes), prop::collection::vec(any::<u8>(), 0..128));
    run(60_000, &case, |(code, mut bytes)| {
        for family in ["IN", "OUT", "ITCH"] {
            assert_agree(&tables, &options, family, &bytes);
        }
        let _ = glimpse::Message::parse(&bytes);
        bytes.insert(0, code);
        for family in ["IN", "OUT", "ITCH"] {
            assert_agree(&tables, &options, family, &bytes);
        }
        let _ = glimpse::Message::parse(&bytes);
    });
}

/// Runs a property; prints the smallest counterexample and its seed when it fails.
fn run<S: Strategy>(cases: u32, case: &S, property: impl Fn(S::Value)) {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) };
    let outcome = prop::test_runner::TestRunner::new(config).run(case, |value| {
        property(value);
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

/// A modify of order 1 to 0 shares with this appendage, its length field included.
fn modify(appendage: &str) -> Vec<u8> {
    unhex(&format!("4d000000014200000000{appendage}"))
}

#[test]
fn errors_say_what_and_where() {
    let cases = [
        ("0001", 10, Problem::AppendageLength { declared: 1, actual: 0 }),
        ("000300", 10, Problem::AppendageLength { declared: 3, actual: 1 }),
        ("00", 10, Problem::Length { expected: 12, actual: 11 }),
        ("000100", 12, Problem::OptionLength { declared: 0, actual: 0 }),
        ("0003031c07", 12, Problem::OptionLength { declared: 3, actual: 2 }),
        ("0003020807", 13, Problem::TagUnknown(8)),
        ("0003ff1c07", 12, Problem::OptionLength { declared: 255, actual: 2 }),
        ("0006021c07020807", 16, Problem::TagUnknown(8)),
        ("0006050300000064", 13, Problem::TagNotAllowed(3)),
        ("0006021c07021c08", 16, Problem::TagRepeated(28)),
        ("0004031c0708", 12, Problem::TagLength { tag: 28, expected: 1, actual: 2 }),
        ("0002011c", 12, Problem::TagLength { tag: 28, expected: 1, actual: 0 }),
    ];
    for (appendage, offset, problem) in cases {
        let bytes = modify(appendage);
        let expected = DecodeError { protocol: Protocol::OuchInbound, message_type: b'M', offset, problem };
        assert_eq!(Inbound::parse(&bytes), Err(expected), "{appendage}");
    }
}

#[test]
fn errors_read_as_sentences() {
    let said = |bytes: &[u8]| Inbound::parse(bytes).expect_err("it is damaged").to_string();
    assert_eq!(said(b""), "OUCH inbound at byte 0: no type byte");
    assert_eq!(said(b"z"), "OUCH inbound 'z' at byte 0: no such type");
    assert_eq!(said(b"\xff"), "OUCH inbound '\\xff' at byte 0: no such type");
    assert_eq!(said(b"X123"), "OUCH inbound 'X' at byte 4: 4 bytes where the layout has 9");
    assert_eq!(
        said(&modify("0006050300000064")),
        "OUCH inbound 'M' at byte 13: tag 3 is not an option of this message"
    );
}

#[test]
fn a_message_with_a_damaged_appendage_can_still_be_answered() {
    let bytes = modify("0003020807");
    let Ok(Inbound::ModifyOrder(order, options)) = Inbound::parse_fixed(&bytes) else { panic!("it is one") };
    assert_eq!((order.user_ref_num.get(), order.side, options.is_empty()), (1, b'B', true));
    assert!(Inbound::parse_fixed(&bytes[..9]).is_err());
    assert!(Outbound::parse_fixed(b"").is_err());
    assert!(Outbound::parse_fixed(b"z").is_err());
}

#[test]
fn a_message_without_an_appendage_has_none() {
    let bytes = [&vectors().iter().find(|v| v.family == "OUT" && v.code == b'S').unwrap().bytes[..], &[0, 0]]
        .concat();
    let error = Outbound::parse(&bytes).expect_err("two bytes follow");
    assert_eq!((error.offset, error.problem), (10, Problem::AppendageNotAllowed { actual: 2 }));
}

#[test]
fn an_optional_appendage_may_be_there_and_empty() {
    assert!(Inbound::parse(&modify("0000")).expect("it is whole").options().is_empty());
}

#[test]
fn itch_and_glimpse_errors_name_their_protocol() {
    let error = |protocol, offset, expected, actual| DecodeError {
        protocol,
        message_type: if protocol == Protocol::Itch { b'D' } else { b'G' },
        offset,
        problem: Problem::Length { expected, actual },
    };
    assert_eq!(itch::Message::parse(b"D123"), Err(error(Protocol::Itch, 4, 19, 4)));
    assert_eq!(itch::Message::parse(&[b'D'; 30]), Err(error(Protocol::Itch, 19, 19, 30)));
    assert_eq!(glimpse::Message::parse(b"G123"), Err(error(Protocol::Glimpse, 4, 21, 4)));
    assert_eq!(glimpse::Message::parse(&[b'G'; 22]), Err(error(Protocol::Glimpse, 21, 21, 22)));
    // End of Snapshot is no message of the live stream.
    let end = glimpse::EndOfSnapshot::new(7);
    let bytes = glimpse::Message::EndOfSnapshot(&end).as_bytes();
    assert_eq!(itch::Message::parse(bytes).expect_err("it is unknown").problem, Problem::UnknownType);
}
