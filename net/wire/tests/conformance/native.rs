//! The native messages: their structs against the schema, and what happens to any bytes.

use ironbell_types::{Capacity, Display, Peg, Side, Stp, TimeInForce};
use ironbell_wire::native::{
    self, Block, Header, Inbound, Layout, MassQuote, NewOrder, Outbound, QuoteEntry, U16, U32, is_native,
};
use ironbell_wire::{DecodeError, Field, IntoBytes, Problem, Protocol, code, ouch};
use proptest::prelude::*;
use roxmltree::{Document, Node};

use crate::support::{Rng, python, root, run};

const SCHEMA: &str = include_str!("../../schema/ironbell.xml");

/// A field's or message's name of the schema as we write it.
fn snake(name: &str) -> String {
    name.chars().flat_map(|c| c.is_uppercase().then_some('_').into_iter().chain(c.to_lowercase())).collect()
}

fn attribute<'a>(node: &Node<'a, '_>, name: &str) -> &'a str {
    node.attribute(name).unwrap_or_else(|| panic!("{node:?} has no {name}"))
}

fn number(node: &Node<'_, '_>, name: &str) -> usize {
    attribute(node, name).parse().expect("a number")
}

fn named<'a, 'd>(schema: &'a Document<'d>, tag: &str, name: &str) -> Node<'a, 'd> {
    let is_it = |node: &Node<'_, '_>| node.has_tag_name(tag) && node.attribute("name") == Some(name);
    schema.descendants().find(is_it).unwrap_or_else(|| panic!("the schema has no {tag} {name}"))
}

fn primitive_size(name: &str) -> usize {
    match name {
        "char" | "uint8" => 1,
        "uint16" => 2,
        "int32" | "uint32" => 4,
        "int64" | "uint64" => 8,
        other => panic!("the schema uses {other}"),
    }
}

/// Length of a type's values in bytes.
fn type_size(schema: &Document<'_>, name: &str) -> usize {
    let is_enum = |node: &Node<'_, '_>| node.has_tag_name("enum") && node.attribute("name") == Some(name);
    if let Some(coded) = schema.descendants().find(is_enum) {
        return primitive_size(attribute(&coded, "encodingType"));
    }
    let plain = named(schema, "type", name);
    let count = plain.attribute("length").map_or(1, |length| length.parse().expect("a number"));
    count * primitive_size(attribute(&plain, "primitiveType"))
}

fn assert_fields(schema: &Document<'_>, parent: Node<'_, '_>, fields: &[Field]) {
    let children = parent.children().filter(|node| node.has_tag_name("field"));
    let theirs: Vec<_> = children
        .map(|field| {
            let size = type_size(schema, attribute(&field, "type"));
            (snake(attribute(&field, "name")), number(&field, "offset"), size)
        })
        .collect();
    let ours: Vec<_> = fields.iter().map(|field| (field.name.to_owned(), field.offset, field.size)).collect();
    assert_eq!(ours, theirs, "{}", attribute(&parent, "name"));
    // SBE wants fields in the order of their offsets; ours leave no gap either.
    let mut end = 0;
    for (name, offset, size) in theirs {
        assert_eq!(offset, end, "{name}");
        end += size;
    }
    assert_eq!(end, number(&parent, "blockLength"));
}

#[test]
fn structs_lie_as_the_schema_says() {
    let schema = Document::parse(SCHEMA).expect("the schema is XML");
    let root = schema.root_element();
    assert_eq!(root.tag_name().namespace(), Some("http://fixprotocol.io/2016/sbe"));
    assert_eq!((root.tag_name().name(), attribute(&root, "byteOrder")), ("messageSchema", "littleEndian"));
    assert_eq!(number(&root, "id"), native::SCHEMA_ID.into());
    assert_eq!(number(&root, "version"), native::VERSION.into());
    let layouts: Vec<&Layout> = Inbound::LAYOUTS.iter().chain(Outbound::LAYOUTS).collect();
    let messages: Vec<_> = root.children().filter(|node| node.tag_name().name() == "message").collect();
    assert_eq!(messages.len(), layouts.len());
    for (message, (id, name, fields)) in messages.iter().zip(&layouts) {
        assert_eq!((number(message, "id"), attribute(message, "name")), ((*id).into(), *name));
        assert_fields(&schema, *message, fields);
        let mut ids: Vec<_> = message.descendants().skip(1).filter_map(|node| node.attribute("id")).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count, "{name}: an id stands twice");
        let groups: Vec<_> = message.children().filter(|node| node.has_tag_name("group")).collect();
        match groups[..] {
            [] => assert_ne!(*name, "MassQuote"),
            [group] => {
                assert_eq!((*name, attribute(&group, "name")), ("MassQuote", "quotes"));
                assert_eq!(attribute(&group, "dimensionType"), "groupSizeEncoding");
                assert_eq!(message.last_element_child(), Some(group), "a group stands at the end");
                assert_fields(&schema, group, QuoteEntry::FIELDS);
            }
            _ => panic!("{name} has several groups"),
        }
    }
    let entries = named(&schema, "message", "MassQuote");
    assert!(attribute(&entries, "description").contains(&format!("1 to {} ", native::QUOTES_MAX)));
}

#[test]
fn headers_are_those_of_sbe() {
    let schema = Document::parse(SCHEMA).expect("the schema is XML");
    let parts = |name| {
        let composite = named(&schema, "composite", name);
        let parts = composite.children().filter(Node::is_element);
        let parts: Vec<_> =
            parts.map(|part| (attribute(&part, "name"), attribute(&part, "primitiveType"))).collect();
        parts
    };
    let u16s = |names: &[&'static str]| names.iter().map(|name| (*name, "uint16")).collect::<Vec<_>>();
    assert_eq!(parts("messageHeader"), u16s(&["blockLength", "templateId", "schemaId", "version"]));
    assert_eq!(parts("groupSizeEncoding"), u16s(&["blockLength", "numInGroup"]));
    let [block_length, template_id, schema_id, version] = [1, 2, 3, 4].map(U16::new);
    let header = Header { block_length, template_id, schema_id, version };
    assert_eq!(header.as_bytes(), [1, 0, 2, 0, 3, 0, 4, 0]);
    let group = native::GroupHeader { block_length, num_in_group: template_id };
    assert_eq!(group.as_bytes(), [1, 0, 2, 0]);
}

/// Names and codes of an enum of the schema.
fn coded(schema: &Document<'_>, name: &str) -> Vec<(String, u8)> {
    let values = named(schema, "enum", name);
    let values = values.children().filter(|node| node.has_tag_name("validValue"));
    let value = |node: Node<'_, '_>| {
        let [code] = *node.text().expect("a value").as_bytes() else { panic!("{node:?} is no character") };
        (attribute(&node, "name").to_owned(), code)
    };
    values.map(value).collect()
}

#[test]
fn codes_are_those_of_the_schema() {
    let schema = Document::parse(SCHEMA).expect("the schema is XML");
    macro_rules! assert_all {
        ($name:ident) => {
            let ours: Vec<_> = $name::ALL.iter().map(|value| (format!("{value:?}"), value.code())).collect();
            assert_eq!(coded(&schema, stringify!($name)), ours);
        };
    }
    assert_all!(Side);
    assert_all!(TimeInForce);
    assert_all!(Display);
    assert_all!(Capacity);
    let pegs = [Peg::None, Peg::Primary, Peg::Market, Peg::Midpoint];
    let ours: Vec<_> = pegs.iter().map(|peg| (format!("{peg:?}"), code::peg_code(*peg))).collect();
    assert_eq!(coded(&schema, "Peg"), ours);
    let rules = [Stp::Port, Stp::Off, Stp::CancelNewest, Stp::CancelOldest, Stp::CancelBoth, Stp::Decrement];
    let ours: Vec<_> = rules.iter().map(|stp| (format!("{stp:?}"), code::stp_code(*stp))).collect();
    assert_eq!(coded(&schema, "Stp"), ours);
    for letter in 0..=u8::MAX {
        assert_eq!(code::peg(letter), pegs.into_iter().find(|peg| code::peg_code(*peg) == letter));
        assert_eq!(code::stp(letter), rules.into_iter().find(|stp| code::stp_code(*stp) == letter));
    }
    let codes = |name| coded(&schema, name).into_iter().map(|(_, code)| code).collect::<Vec<_>>();
    assert_eq!(codes("OrderType"), b"LM");
    assert_eq!(codes("PostOnly"), b"UPN");
    assert_eq!(codes("CustomerType"), b"URN");
    assert_eq!(codes("OrderStatus"), b"ON");
    let null = |name| named(&schema, "type", name).attribute("nullValue").expect("it is optional");
    assert_eq!(null("GroupId"), native::NO_GROUP.to_string());
    assert_eq!(null("OptionalLots32"), native::UNCHANGED.to_string());
}

#[test]
fn no_message_looks_like_ouch() {
    let letters = |layouts: &[ouch::Layout]| layouts.iter().map(|(code, ..)| *code).collect::<Vec<_>>();
    let letters = [letters(ouch::Inbound::LAYOUTS), letters(ouch::Outbound::LAYOUTS)].concat();
    assert_eq!(letters.len(), 25);
    assert!(letters.iter().all(u8::is_ascii_uppercase), "the rule that tells packets apart needs this");
    for (_, name, fields) in Inbound::LAYOUTS.iter().chain(Outbound::LAYOUTS) {
        let block_length: usize = fields.iter().map(|field| field.size).sum();
        let [first, _] = u16::try_from(block_length).expect("blocks are short").to_le_bytes();
        assert!(!letters.contains(&first), "{name} begins with {first}");
        assert!(!first.is_ascii_uppercase(), "{name} begins with {first}");
    }
    for (_, bytes) in samples() {
        assert!(is_native(&bytes));
        assert!(!is_native(&bytes[..7]));
        assert!(ouch::Inbound::parse(&bytes).is_err() && ouch::Outbound::parse(&bytes).is_err());
        for letter in b'A'..=b'Z' {
            assert!(!is_native(&[&[letter], &bytes[1..]].concat()));
        }
        assert!(!is_native(&[&bytes[..4], b"IC", &bytes[6..]].concat()));
    }
}

/// A message's bytes from its template and what follows the header.
fn bytes_of(template_id: u16, block: &[u8]) -> Vec<u8> {
    let header = [block.len() as u16, template_id, native::SCHEMA_ID, native::VERSION];
    [header.map(u16::to_le_bytes).concat(), block.to_vec()].concat()
}

fn group(entries: &[u8]) -> Vec<u8> {
    let count = (entries.len() / 40) as u16;
    [&40_u16.to_le_bytes(), &count.to_le_bytes(), entries].concat()
}

/// One message of each template, made without the codec: whether it is a member's, and its bytes.
fn samples() -> Vec<(bool, Vec<u8>)> {
    let block = |fields: &[Field]| -> Vec<u8> {
        (1..=fields.iter().map(|field| field.size).sum::<usize>()).map(|at| at as u8).collect()
    };
    let inbound = Inbound::LAYOUTS.iter().map(|(id, name, fields)| {
        let mut bytes = bytes_of(*id, &block(fields));
        if *name == "MassQuote" {
            bytes.extend(group(&(0..120).collect::<Vec<u8>>()));
        }
        (true, bytes)
    });
    let outbound = Outbound::LAYOUTS.iter().map(|(id, _, fields)| (false, bytes_of(*id, &block(fields))));
    inbound.chain(outbound).collect()
}

/// Any value of a field's type, as it stands on the wire and as PyPI `sbe` prints it.
fn any_value(rng: &mut Rng, schema: &Document<'_>, name: &str) -> (Vec<u8>, String) {
    const TEXT: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let is_enum = |node: &Node<'_, '_>| node.has_tag_name("enum") && node.attribute("name") == Some(name);
    if schema.descendants().any(|node| is_enum(&node)) {
        let values = coded(schema, name);
        let (name, code) = &values[rng.below(values.len())];
        return (vec![*code], name.clone());
    }
    let node = named(schema, "type", name);
    let bytes: Vec<u8> = match attribute(&node, "primitiveType") {
        "char" => (0..type_size(schema, name)).map(|_| rng.one(TEXT)).collect(),
        // Now and then all bits, which is the null value of those that have one.
        _ if rng.below(4) == 0 => vec![0xff; type_size(schema, name)],
        _ => rng.next().to_le_bytes()[..type_size(schema, name)].to_vec(),
    };
    let mut wide = [0; 8];
    wide[..bytes.len().min(8)].copy_from_slice(&bytes[..bytes.len().min(8)]);
    let text = match attribute(&node, "primitiveType") {
        "char" => String::from_utf8(bytes.clone()).expect("it is ASCII"),
        "int32" => (u64::from_le_bytes(wide) as i32).to_string(),
        "int64" => i64::from_le_bytes(wide).to_string(),
        _ => u64::from_le_bytes(wide).to_string(),
    };
    let is_null = node.attribute("nullValue") == Some(&text);
    (bytes, if is_null { "None".into() } else { text })
}

/// A reader of SBE that is not ours understands the schema, and reads from our bytes what we wrote.
#[test]
fn an_independent_sbe_reader_agrees_on_every_field() {
    let (schema, mut rng) = (Document::parse(SCHEMA).expect("the schema is XML"), Rng::new());
    let (mut framed, mut expected) = (Vec::new(), Vec::new());
    let messages: Vec<_> =
        schema.root_element().children().filter(|n| n.tag_name().name() == "message").collect();
    for n in 0..100 * messages.len() {
        let message = messages[n % messages.len()];
        let mut line = vec![attribute(&message, "name").to_owned()];
        let mut fields = |rng: &mut Rng, parent: Node<'_, '_>| {
            let fields = parent.children().filter(|node| node.has_tag_name("field"));
            let values = fields.map(|field| any_value(rng, &schema, attribute(&field, "type")));
            let (bytes, texts): (Vec<_>, Vec<_>) = values.unzip();
            line.extend(texts);
            bytes.concat()
        };
        let id = number(&message, "id");
        let mut bytes = bytes_of(id as u16, &fields(&mut rng, message));
        if let Some(quotes) = message.children().find(|node| node.has_tag_name("group")) {
            let entries: Vec<_> = (0..rng.below(5)).flat_map(|_| fields(&mut rng, quotes)).collect();
            bytes.extend(group(&entries));
        }
        let again = transcode(id < 100, &bytes).expect("it is a message");
        framed.extend((again.len() as u16).to_be_bytes());
        framed.extend(again);
        expected.push(line.join("\t"));
    }
    let at = root().join("net/wire");
    let script = at.join("tests/conformance/sbe_dump.py");
    let mut command = std::process::Command::new(python());
    let said = run(command.arg(script).arg(at.join("schema/ironbell.xml")), &framed);
    let said: Vec<_> = said.lines().collect();
    assert_eq!(said.len(), expected.len());
    for (said, expected) in said.iter().zip(&expected) {
        assert_eq!(said, expected);
    }
}

/// Decodes a message and encodes it again.
fn transcode(is_members: bool, bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut out = vec![0; native::MESSAGE_LEN_MAX];
    let written = if is_members {
        match Inbound::parse(bytes)? {
            Inbound::NewOrder(block) => block.encode(&mut out),
            Inbound::MassQuote(block, quotes) => block.encode_with(quotes, &mut out),
            Inbound::OrderStateRequest(block) => block.encode(&mut out),
            Inbound::DeadMan(block) => block.encode(&mut out),
            Inbound::ReplaceOrder(block) => block.encode(&mut out),
        }
    } else {
        match Outbound::parse(bytes)? {
            Outbound::AcceptedTerms(block) => block.encode(&mut out),
            Outbound::FullRange(block) => block.encode(&mut out),
            Outbound::StopTriggered(block) => block.encode(&mut out),
            Outbound::OrderState(block) => block.encode(&mut out),
            Outbound::DeadManSet(block) => block.encode(&mut out),
            Outbound::DeadManExpired(block) => block.encode(&mut out),
        }
    };
    out.truncate(written.expect("the buffer holds the longest message"));
    Ok(out)
}

#[test]
fn every_message_makes_the_round_trip() {
    for (is_members, bytes) in samples() {
        assert_eq!(transcode(is_members, &bytes).as_deref(), Ok(&bytes[..]));
        assert!(transcode(!is_members, &bytes).is_err(), "it goes the other way");
        assert!(is_members || bytes.len() <= native::OUTBOUND_LEN_MAX);
    }
}

#[test]
fn a_new_order_is_these_bytes() {
    let bytes = bytes_of(
        1,
        &[
            &7_u32.to_le_bytes()[..],
            b"\x03B0Y",
            b"BELLUSD ",
            &0x0102_0304_0506_0708_u64.to_le_bytes(),
            &(-2_i64).to_le_bytes(),
            &[0; 68],
        ]
        .concat(),
    );
    assert_eq!(bytes[..8], *b"\x64\0\x01\0IB\0\0");
    let Ok(Inbound::NewOrder(order)) = Inbound::parse(&bytes) else { panic!("it is one") };
    assert_eq!((order.user_ref_num.get(), order.user_ref_idx, order.side), (7, 3, b'B'));
    assert_eq!((order.quantity.get(), order.price.get()), (0x0102_0304_0506_0708, -2));
    assert_eq!((order.time_in_force, order.display, &order.symbol), (b'0', b'Y', b"BELLUSD "));
}

#[test]
fn every_message_is_refused_when_truncated_at_any_byte() {
    for (is_members, bytes) in samples() {
        for len in 0..bytes.len() {
            let error = transcode(is_members, &bytes[..len]).expect_err("it is cut off");
            match error.problem {
                Problem::Length { expected, actual } => assert!(actual == len && expected > len, "{error}"),
                Problem::GroupLength { entries: 3, actual } => assert_eq!(actual, (len - 18) / 40),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn errors_say_what_and_where() {
    let quotes = bytes_of(2, &[0; 6]);
    let with = |group: &[u8]| [&quotes[..], group].concat();
    let mut newer = bytes_of(3, &[0; 5]);
    newer[6] = 1;
    let cases = [
        (b"\x05\0\x03\0OB\0\0".to_vec(), 0, 4, Problem::UnknownSchema { schema_id: 0x424f }),
        (newer, 3, 6, Problem::UnknownVersion { version: 1 }),
        (bytes_of(9, &[0; 5]), 9, 2, Problem::UnknownType),
        (bytes_of(0x103, &[0; 5]), 0, 2, Problem::UnknownType),
        (bytes_of(3, &[0; 4]), 3, 0, Problem::Length { expected: 5, actual: 4 }),
        (bytes_of(3, &[0; 6]), 3, 0, Problem::Length { expected: 5, actual: 6 }),
        ([&bytes_of(3, &[0; 5])[..], b"!"].concat(), 3, 13, Problem::TrailingBytes { actual: 1 }),
        (with(&[]), 2, 14, Problem::Length { expected: 18, actual: 14 }),
        (with(&[39, 0, 0, 0]), 2, 14, Problem::Length { expected: 40, actual: 39 }),
        (with(&[40, 0, 2, 0, 1]), 2, 16, Problem::GroupLength { entries: 2, actual: 0 }),
        (with(&[40, 0, 0, 0, 1, 2]), 2, 18, Problem::TrailingBytes { actual: 2 }),
    ];
    for (bytes, message_type, offset, problem) in cases {
        let expected = DecodeError { protocol: Protocol::NativeInbound, message_type, offset, problem };
        assert_eq!(Inbound::parse(&bytes), Err(expected), "{bytes:?}");
    }
    let error = Inbound::parse(&with(&[40, 0, 2, 0, 1])).expect_err("it is damaged");
    assert_eq!(error.to_string(), "native inbound 2 at byte 16: 2 entries announced, 0 follow");
}

#[test]
fn a_message_damaged_behind_its_block_can_still_be_answered() {
    let bytes = [&bytes_of(2, &[9; 6])[..], &[39, 0, 1, 0]].concat();
    let Ok(Inbound::MassQuote(quote, [])) = Inbound::parse_block(&bytes) else {
        panic!("its block is whole")
    };
    assert_eq!(quote.user_ref_num.get(), 0x0909_0909);
    assert!(Inbound::parse_block(&bytes[..13]).is_err());
    let bytes = [&bytes_of(1, &[9; 100])[..], b"?"].concat();
    assert!(Inbound::parse(&bytes).is_err());
    assert!(matches!(Inbound::parse_block(&bytes), Ok(Inbound::NewOrder(NewOrder { side: 9, .. }))));
}

#[test]
fn a_member_reads_what_it_knows_of_a_later_version() {
    let mut bytes = bytes_of(105, &[7; 20]);
    assert!(Outbound::parse(&bytes).is_err(), "this version has 16 bytes");
    bytes[6] = 1;
    let Ok(Outbound::DeadManSet(set)) = Outbound::parse(&bytes) else { panic!("it is one") };
    assert_eq!(set.timeout.get(), 0x0707_0707_0707_0707);
    bytes.push(0);
    assert!(Outbound::parse(&bytes).is_err(), "a byte follows the block");
    let mut short = bytes_of(105, &[7; 12]);
    short[6] = 1;
    assert!(Outbound::parse(&short).is_err(), "later versions only append");
}

#[test]
fn a_short_buffer_is_left_alone() {
    let quote = MassQuote { user_ref_num: U32::new(1), user_ref_idx: 0, capacity: b'P' };
    let entry = QuoteEntry {
        symbol: *b"IRON    ",
        bid_quantity: native::U64::new(1),
        bid_price: native::I64::new(1),
        ask_quantity: native::U64::new(1),
        ask_price: native::I64::new(2),
    };
    let mut out = [0xaa; 97];
    assert_eq!(quote.encode_with(&[entry; 2], &mut out), Err(ironbell_wire::NoRoom { needed: 98 }));
    assert_eq!(quote.encode(&mut out[..13]), Err(ironbell_wire::NoRoom { needed: 14 }));
    assert_eq!(out, [0xaa; 97]);
    let mut longest = [0; native::MESSAGE_LEN_MAX];
    assert_eq!(quote.encode_with(&[entry; native::QUOTES_MAX], &mut longest), Ok(longest.len()));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(20_000) })]

    /// Any values survive; what the samples leave out are the numbers of entries.
    #[test]
    fn any_values_make_the_round_trip(
        layout in prop::sample::select([Inbound::LAYOUTS, Outbound::LAYOUTS].concat()),
        noise in prop::collection::vec(any::<u8>(), 116),
        entries in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let (id, name, fields) = layout;
        let length: usize = fields.iter().map(|field| field.size).sum();
        let mut bytes = bytes_of(id, &noise[..length]);
        if name == "MassQuote" {
            bytes.extend(group(&entries[..entries.len() / 40 * 40]));
        }
        let again = transcode(id < 100, &bytes);
        prop_assert_eq!(again.as_deref(), Ok(&bytes[..]));
    }

    /// Damaged bytes are refused, or are another message that is written as it was read; nothing panics.
    #[test]
    fn damaged_bytes_are_refused_or_read_as_they_stand(
        which in 0..11_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        length in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (is_members, mut bytes) = samples().swap_remove(which);
        for (at, byte) in changes {
            *at.get_mut(&mut bytes) = byte;
        }
        if let Some(length) = length {
            bytes.truncate(length.index(bytes.len() + 1));
        }
        match transcode(is_members, &bytes) {
            // A later version's longer block is read and not written.
            Ok(again) => prop_assert!(again == bytes || (!is_members && bytes[6..8] != [0, 0])),
            Err(error) => prop_assert!(error.offset <= bytes.len() && !error.to_string().is_empty()),
        }
        let _ = Inbound::parse_block(&bytes);
    }
}
