//! Any values survive writing and reading, options in any order included.

use ironbell_wire::ouch::{self, Inbound, Layout, OptionValue, Options, OptionsBuf, Outbound};
use ironbell_wire::{U48, glimpse, itch, number, put_number};
use proptest::prelude::*;

use crate::support::transcode;

/// A message of one direction with any field values and any of its options, in any order.
fn message(layouts: &'static [Layout]) -> impl Strategy<Value = Vec<u8>> {
    let layout = proptest::sample::select(layouts);
    let parts = layout.prop_flat_map(|(code, _, fields, appendage, tags)| {
        let fixed: usize = fields.iter().map(|field| field.size).sum();
        let tags = proptest::sample::subsequence(tags, 0..=tags.len()).prop_shuffle();
        (Just((code, appendage)), proptest::collection::vec(any::<u8>(), fixed), tags, any::<[u8; 8]>())
    });
    parts.prop_map(|((code, appendage), mut bytes, tags, value)| {
        bytes[0] = code;
        let mut elements = Vec::new();
        for tag in tags {
            let &(_, _, len) =
                OptionValue::LAYOUTS.iter().find(|(known, ..)| *known == tag).expect("it is known");
            elements.extend([1 + len as u8, tag]);
            elements.extend(value.iter().map(|byte| byte.wrapping_add(tag)).take(len));
        }
        if appendage == ouch::Appendage::Required || !elements.is_empty() {
            bytes.extend((elements.len() as u16).to_be_bytes());
        }
        bytes.extend(elements);
        bytes
    })
}

/// What the getter of a tag says.
fn getter(options: &Options<'_>, tag: u8) -> Option<OptionValue> {
    use OptionValue as V;
    match tag {
        1 => options.secondary_ord_ref_num().map(V::SecondaryOrdRefNum),
        2 => options.firm().map(V::Firm),
        3 => options.min_qty().map(V::MinQty),
        4 => options.customer_type().map(V::CustomerType),
        5 => options.max_floor().map(V::MaxFloor),
        6 => options.price_type().map(V::PriceType),
        7 => options.peg_offset().map(V::PegOffset),
        9 => options.discretion_price().map(V::DiscretionPrice),
        10 => options.discretion_price_type().map(V::DiscretionPriceType),
        11 => options.discretion_peg_offset().map(V::DiscretionPegOffset),
        12 => options.post_only().map(V::PostOnly),
        13 => options.random_reserves().map(V::RandomReserves),
        14 => options.route().map(V::Route),
        15 => options.expire_time().map(V::ExpireTime),
        16 => options.trade_now().map(V::TradeNow),
        17 => options.handle_inst().map(V::HandleInst),
        18 => options.bbo_weight_indicator().map(V::BboWeightIndicator),
        22 => options.display_quantity().map(V::DisplayQuantity),
        23 => options.display_price().map(V::DisplayPrice),
        24 => options.group_id().map(V::GroupId),
        25 => options.shares_located().map(V::SharesLocated),
        26 => options.locate_broker().map(V::LocateBroker),
        27 => options.side().map(V::Side),
        28 => options.user_ref_idx().map(V::UserRefIdx),
        29 => options.aiq_strategy().map(V::AiqStrategy),
        30 => options.aiq_group_id().map(V::AiqGroupId),
        _ => None,
    }
}

fn assert_options(options: &Options<'_>, elements: &[u8]) {
    let values: Vec<_> = options.iter().collect();
    assert_eq!(values.iter().copied().collect::<OptionsBuf>().as_bytes(), elements);
    assert_eq!(OptionsBuf::from(*options).as_bytes(), elements);
    assert_eq!(options.is_empty(), values.is_empty());
    for tag in 0..32 {
        let expected = values.iter().copied().find(|value| value.tag() == tag);
        assert_eq!(getter(options, tag), expected, "tag {tag}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn ouch_inbound_survives_reading_and_writing(bytes in message(Inbound::LAYOUTS)) {
        prop_assert_eq!(&transcode("IN", &bytes).unwrap(), &bytes);
        let options = Inbound::parse(&bytes).unwrap().options();
        let (fixed, elements) = split(Inbound::LAYOUTS, &bytes);
        assert_options(&options, elements);
        prop_assert!(Inbound::parse_fixed(fixed).unwrap().options().is_empty());
    }

    #[test]
    fn ouch_outbound_survives_reading_and_writing(bytes in message(Outbound::LAYOUTS)) {
        prop_assert_eq!(&transcode("OUT", &bytes).unwrap(), &bytes);
        let options = Outbound::parse(&bytes).unwrap().options();
        let (fixed, elements) = split(Outbound::LAYOUTS, &bytes);
        assert_options(&options, elements);
        prop_assert!(Outbound::parse_fixed(fixed).unwrap().options().is_empty());
    }

    #[test]
    fn itch_survives_reading(index in 0..itch::LAYOUTS.len(), mut bytes in any::<[u8; itch::MESSAGE_LEN_MAX]>()) {
        let (code, _, fields) = itch::LAYOUTS[index];
        let len = fields.iter().map(|field| field.size).sum::<usize>();
        bytes[0] = code;
        let message = itch::Message::parse(&bytes[..len]).unwrap();
        prop_assert_eq!(message.as_bytes(), &bytes[..len]);
        let header = message.header();
        prop_assert_eq!(header.message_type, code);
        prop_assert_eq!(header.stock_locate.get(), u16::from_be_bytes([bytes[1], bytes[2]]));
        prop_assert_eq!(header.tracking_number.get(), u16::from_be_bytes([bytes[3], bytes[4]]));
        let timestamp = bytes[5..11].iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
        prop_assert_eq!(header.timestamp.get(), timestamp);
        prop_assert_eq!(glimpse::Message::parse(&bytes[..len]), Ok(glimpse::Message::Itch(message)));
    }

    #[test]
    fn a_snapshot_ends_with_any_number(sequence_number: u64) {
        let end = glimpse::EndOfSnapshot::new(sequence_number);
        let bytes = glimpse::Message::EndOfSnapshot(&end).as_bytes();
        prop_assert_eq!(bytes.len(), 21);
        let Ok(glimpse::Message::EndOfSnapshot(read)) = glimpse::Message::parse(bytes) else { panic!("it is one") };
        prop_assert_eq!(read.sequence(), Ok(sequence_number));
        // Padded on the other side it says the same.
        let mut right = format!("G{sequence_number:<20}").into_bytes();
        let read = glimpse::Message::parse(&right);
        let Ok(glimpse::Message::EndOfSnapshot(end)) = read else { panic!("{read:?}") };
        prop_assert_eq!(end.sequence(), Ok(sequence_number));
        right[1] = b'x';
        prop_assert!(glimpse::Message::parse(&right).is_err());
    }

    #[test]
    fn numbers_in_ascii_are_read_and_written(value: u64, left in 0_usize..4, right in 0_usize..4) {
        let text = format!("{value:>20}");
        prop_assert_eq!(put_number(value).to_vec(), text.as_bytes());
        prop_assert_eq!(number(text.as_bytes()), Some(value));
        let padded = format!("{}{value}{}", " ".repeat(left), " ".repeat(right));
        prop_assert_eq!(number(padded.as_bytes()), Some(value));
        let above = format!("{}", u128::from(u64::MAX) + 1 + u128::from(value));
        prop_assert_eq!(number(above.as_bytes()), None);
    }

    #[test]
    fn a_number_in_48_bits_saturates(value: u64) {
        prop_assert_eq!(U48::new(value).get(), value.min(U48::MAX));
        prop_assert_eq!(U48::new(value >> 16).get(), value >> 16);
    }
}

/// The fixed part and the options of a message.
fn split<'a>(layouts: &[Layout], bytes: &'a [u8]) -> (&'a [u8], &'a [u8]) {
    let (_, _, fields, ..) =
        layouts.iter().find(|(code, ..)| *code == bytes[0]).expect("every type is there");
    let (fixed, rest) = bytes.split_at(fields.iter().map(|field| field.size).sum());
    (fixed, rest.get(2..).unwrap_or_default())
}

#[test]
fn what_is_not_a_number_is_not_read_as_one() {
    for text in ["", " ", "-1", "+1", "1 2", "0x1", "1.0", "१"] {
        assert_eq!(number(text.as_bytes()), None, "{text:?}");
    }
    assert_eq!(number(b"00000000000000000000"), Some(0));
    assert_eq!(number(b"18446744073709551615"), Some(u64::MAX));
    assert_eq!(number(b"18446744073709551616"), None);
}

#[test]
#[should_panic(expected = "is already there")]
fn an_option_is_not_pushed_twice() {
    OptionsBuf::new().push(OptionValue::MinQty(1)).push(OptionValue::MinQty(2));
}

#[test]
#[should_panic(expected = "may not have these options")]
fn an_option_is_not_written_into_a_message_that_may_not_have_it() {
    let (bytes, mut out) = ([b'Q'], [0; 64]);
    let Ok(Inbound::AccountQuery(query, _)) = Inbound::parse(&bytes) else { panic!("it is one") };
    let _ = ouch::OuchMessage::encode(query, OptionsBuf::new().push(OptionValue::MinQty(1)), &mut out);
}

#[test]
fn a_short_buffer_is_left_alone() {
    let (bytes, mut out) = (*b"Q\x00\x03\x02\x1c\x07", [0xaa; 5]);
    let query = Inbound::parse(&bytes).expect("it is whole");
    assert_eq!(query.encode(&mut out), Err(ironbell_wire::NoRoom { needed: 6 }));
    assert_eq!(out, [0xaa; 5]);
}
