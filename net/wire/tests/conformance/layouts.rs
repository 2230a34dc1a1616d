//! Every struct against the layout tables: names, offsets, lengths, appendages, options.

use ironbell_wire::ouch::{Appendage, Inbound, Layout, OptionValue, Outbound};
use ironbell_wire::{Field, itch};

use crate::support::{Table, tables};

/// A field's name of the tables as we write it.
fn snake(name: &str) -> String {
    let name = name.split(" (").next().expect("there is a first part");
    let name = name.replace("ClOrdID", "ClOrdId").replace(['/', '-'], " ");
    let mut out = String::new();
    for word in name.split(' ') {
        let mut previous = ' ';
        for letter in word.chars() {
            let starts = letter.is_uppercase() && previous.is_lowercase();
            if !out.is_empty() && (previous == ' ' || starts) {
                out.push('_');
            }
            out.push(letter.to_ascii_lowercase());
            previous = letter;
        }
    }
    out
}

fn assert_fields(table: &Table, name: &str, fields: &[Field]) {
    let mut offset = 1;
    let mut expected = vec![("message_type".to_owned(), 0, 1)];
    for (field, length, _) in &table.fields {
        let length = length.parse().expect("a number");
        expected.push((snake(field), offset, length));
        offset += length;
    }
    let ours: Vec<_> = fields.iter().map(|field| (field.name.to_owned(), field.offset, field.size)).collect();
    assert_eq!(ours, expected, "{} {} ({name})", table.family, table.name);
}

#[test]
fn itch_structs_lie_as_the_tables_say() {
    let (tables, _) = tables();
    let tables: Vec<_> = tables.into_iter().filter(|table| table.family == "ITCH").collect();
    let theirs = itch::LAYOUTS.iter().filter(|(code, ..)| *code != b's');
    assert_eq!((tables.len(), theirs.count()), (23, 23));
    for table in &tables {
        let (_, name, fields) =
            itch::LAYOUTS.iter().find(|(code, ..)| *code == table.code).expect("every type is there");
        assert_fields(table, name, fields);
    }
}

fn assert_ouch(family: &str, count: usize, layouts: &[Layout]) {
    let (tables, _) = tables();
    let tables: Vec<_> = tables.into_iter().filter(|table| table.family == family).collect();
    assert_eq!((tables.len(), layouts.len()), (count, count));
    for table in &tables {
        let (_, name, fields, appendage, tags) =
            layouts.iter().find(|(code, ..)| *code == table.code).expect("every type is there");
        assert_fields(table, name, fields);
        let expected = match table.appendage {
            'R' => Appendage::Required,
            'O' => Appendage::Optional,
            'N' => Appendage::None,
            other => panic!("no such appendage: {other}"),
        };
        assert_eq!(*appendage, expected, "{name}");
        assert_eq!(*tags, table.tags, "{name}");
    }
}

#[test]
fn ouch_inbound_structs_lie_as_the_tables_say() {
    assert_ouch("IN", 8, Inbound::LAYOUTS);
}

#[test]
fn ouch_outbound_structs_lie_as_the_tables_say() {
    assert_ouch("OUT", 17, Outbound::LAYOUTS);
}

#[test]
fn options_are_those_of_the_tables() {
    let (_, options) = tables();
    let lengths = |tag| options.iter().find(|(theirs, ..)| *theirs == tag).map(|(_, _, length, _)| *length);
    assert_eq!(options.len(), OptionValue::LAYOUTS.len());
    for &(tag, name, length) in OptionValue::LAYOUTS {
        assert_eq!(Some(length), lengths(tag), "{name}");
    }
}

#[test]
fn soup_packets_are_as_long_as_the_tables_say() {
    use ironbell_wire::soup;
    let (tables, _) = tables();
    let fixed = |code| {
        let table = tables.iter().find(|table| table.family == "SOUP" && table.code == code);
        2 + table.expect("every type is there").fixed()
    };
    assert_eq!(size_of::<soup::LoginRequest>(), fixed(b'L'));
    assert_eq!(size_of::<soup::LoginAccepted>(), fixed(b'A'));
    assert_eq!(size_of::<soup::LoginRejected>(), fixed(b'J'));
    let empty = [soup::SERVER_HEARTBEAT, soup::END_OF_SESSION, soup::CLIENT_HEARTBEAT, soup::LOGOUT_REQUEST];
    for (packet, code) in empty.iter().zip(*b"HZRO") {
        assert_eq!((packet.len(), packet[2]), (fixed(code), code));
    }
}
