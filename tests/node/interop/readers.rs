//! Other people's readers of an ITCH stream, compared field by field with our own reading.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};

use ironbell_appliance::inspection::hex;
use ironbell_wire::itch::{self, Message};
use itch5::messages as theirs;

/// The messages as both readers want them: each behind its length in two bytes.
fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
    messages
        .iter()
        .flat_map(|message| [&(message.len() as u16).to_be_bytes(), &message[..]].concat())
        .collect()
}

/// What we read, to be compared with what `itch5` reads.
struct Agreement<'a>(VecDeque<Message<'a>>);

fn assert_agree(message: Message<'_>, field: &str, theirs: impl Debug, ours: impl Debug) {
    // Some of their codes compare by their text only.
    assert_eq!(format!("{theirs:?}"), format!("{ours:?}"), "{field} of {message:?}");
}

/// Symbols by their own constructor.
fn symbol(text: [u8; 8]) -> theirs::Symbol {
    theirs::Symbol::from_u64(u64::from_be_bytes(text))
}

/// The letter behind their code, which has no text of its own.
fn authenticity(code: &theirs::Authenticity) -> u8 {
    match code {
        theirs::Authenticity::LiveProduction => b'P',
        theirs::Authenticity::Test => b'T',
        theirs::Authenticity::Unknown(letter) => *letter,
    }
}

/// What their reader makes of a reason to trade. The node gives no other yet.
fn trading(ours: &itch::StockTradingAction) -> theirs::TradingActionReason {
    assert_eq!(ours.trading_state, b'T', "{ours:?}");
    theirs::TradingActionReason::Trading(theirs::TradingResumptionReason::from_bytes(&ours.reason))
}

/// Implements their handler for every type that the node sends: each of their messages is compared with the
/// next of ours, field by field. A message of another type would be left over of ours.
macro_rules! agreement {
    ($($handler:ident $theirs:ident $ours:ident |$t:ident, $o:ident| { $($field:expr => $value:expr,)* })*) => {
        impl itch5::MessageHandler for Agreement<'_> {
            $(fn $handler(&mut self, $t: &theirs::$theirs) -> ControlFlow<()> {
                let message = self.0.pop_front().expect("they do not read more messages than there are");
                let Message::$ours($o) = message else { panic!("they read {:?}, we {message:?}", $t) };
                assert_agree(message, "stock_locate", $t.stock_locate(), $o.stock_locate.get());
                assert_agree(message, "tracking_number", $t.tracking_number(), $o.tracking_number.get());
                assert_agree(message, "timestamp", $t.timestamp().to_u64(), $o.timestamp.get());
                $(assert_agree(message, stringify!($field), $field, $value);)*
                ControlFlow::Continue(())
            })*
        }
    };
}

agreement! {
    on_system_event SystemEvent SystemEvent |t, o| {
        t.event_code() => theirs::SystemEventCode::from_byte(o.event_code),
    }
    on_stock_directory StockDirectory StockDirectory |t, o| {
        t.stock() => symbol(o.stock),
        t.market_category() => theirs::MarketCategory::from_byte(o.market_category),
        t.financial_status_indicator() => theirs::FinancialStatusIndicator::from_byte(o.financial_status),
        t.round_lot_size() => o.round_lot_size.get(),
        t.round_lots_only() => theirs::RoundLotsOnly::from_byte(o.round_lots_only),
        t.issue_classification() => theirs::IssueClassificationCode::from_byte(o.issue_classification),
        t.issue_sub_type() => theirs::IssueSubTypeCode::from_bytes(o.issue_sub_type),
        authenticity(&t.authenticity()) => o.authenticity,
        t.short_sale_threshold_indicator() => theirs::ShortSaleThresholdIndicator::from_byte(o.short_sale_threshold),
        t.ipo_flag() => theirs::IpoFlag::from_byte(o.ipo_flag),
        t.luld_reference_price_tier() => theirs::LuldReferencePriceTier::from_byte(o.luld_ref_price_tier),
        t.etp_flag() => theirs::EtpFlag::from_byte(o.etp_flag),
        t.etp_leverage_factor() => o.etp_leverage_factor.get(),
        t.inverse_indicator() => theirs::InverseIndicator::from_byte(o.inverse_indicator),
    }
    on_stock_trading_action StockTradingAction StockTradingAction |t, o| {
        t.stock() => symbol(o.stock),
        t.trading_state() => theirs::TradingState::from_byte(o.trading_state),
        t.reserved() => o.reserved,
        t.reason() => trading(o),
    }
    on_add_order_no_mpid_attribution AddOrderNoMPIDAttribution AddOrder |t, o| {
        t.order_reference_number() => o.order_reference.get(),
        t.buy_sell_indicator() => theirs::BuySellIndicator::from_byte(o.buy_sell),
        t.shares() => o.shares.get(),
        t.stock() => symbol(o.stock),
        t.price().into_u32() => o.price.get(),
    }
    on_add_order_with_mpid_attribution AddOrderWithMPIDAttribution AddOrderMpid |t, o| {
        t.order_reference_number() => o.order_reference.get(),
        t.buy_sell_indicator() => theirs::BuySellIndicator::from_byte(o.buy_sell),
        t.shares() => o.shares.get(),
        t.stock() => symbol(o.stock),
        t.price().into_u32() => o.price.get(),
        t.attribution() => o.attribution,
    }
    on_order_executed OrderExecuted OrderExecuted |t, o| {
        t.order_reference_number() => o.order_reference.get(),
        t.executed_shares() => o.executed_shares.get(),
        t.match_number() => o.match_number.get(),
    }
    on_order_cancel OrderCancel OrderCancel |t, o| {
        t.order_reference_number() => o.order_reference.get(),
        t.cancelled_shares() => o.cancelled_shares.get(),
    }
    on_order_delete OrderDelete OrderDelete |t, o| {
        t.order_reference_number() => o.order_reference.get(),
    }
    on_order_replace OrderReplace OrderReplace |t, o| {
        t.original_order_reference_number() => o.original_order_reference.get(),
        t.new_order_reference_number() => o.new_order_reference.get(),
        t.shares() => o.shares.get(),
        t.price().into_u32() => o.price.get(),
    }
}

/// The crate `itch5` reads the same messages with the same fields.
///
/// # Panics
/// When it does not: names message and field.
pub fn assert_itch5_agrees(messages: &[Vec<u8>]) {
    let ours = messages.iter().map(|bytes| Message::parse(bytes).expect("it is whole")).collect();
    let mut agreement = Agreement(ours);
    itch5::Parser::new(&framed(messages)).parse_stream(&mut agreement).expect("they read every message");
    assert_eq!(agreement.0, [], "they read every message");
}

/// The PyPI package `itchfeed` reads the same messages with the same fields.
///
/// # Panics
/// When it does not, or the tests' Python environment is missing.
pub fn assert_itchfeed_agrees(messages: &[Vec<u8>]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("a crate lies in a room");
    let python = root.join("target/test-venv/bin/python");
    assert!(python.exists(), "{} is missing: run tests/setup.sh", python.display());
    let mut child = Command::new(python)
        .arg(root.join("net/wire/tests/conformance/itchfeed_dump.py"))
        // Its own Python code, should a faster twin of it be installed.
        .env("ITCH_NO_CPP", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python can be run");
    let (mut stdin, input) = (child.stdin.take().expect("it is piped"), framed(messages));
    // A thread of its own, so that neither side waits for the other with a full pipe.
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("its output can be read");
    writer.join().expect("the writer does not panic").expect("it reads its whole input");
    assert!(output.status.success(), "{}", output.status);
    let text = String::from_utf8(output.stdout).expect("it prints UTF-8");
    let theirs: Vec<_> = text.lines().collect();
    assert_eq!(theirs.len(), messages.len(), "they read every message");
    for (theirs, bytes) in theirs.into_iter().zip(messages) {
        assert_eq!(theirs, printed_like(theirs, bytes));
    }
}

/// Our fields as the script prints theirs: by our own table of fields, as text where theirs is text.
fn printed_like(theirs: &str, bytes: &[u8]) -> String {
    let (.., fields) =
        itch::LAYOUTS.iter().find(|(code, ..)| *code == bytes[0]).expect("every type is there");
    let mut line = char::from(bytes[0]).to_string();
    let is_text: Vec<bool> = theirs.split('\t').skip(1).map(|field| field.starts_with('x')).collect();
    assert_eq!(is_text.len(), fields.len() - 1, "as many fields: {theirs}");
    for (field, is_text) in fields[1..].iter().zip(is_text) {
        let value = &bytes[field.offset..][..field.size];
        line.push('\t');
        if is_text {
            line.push_str(&format!("x{}", hex(value)));
        } else {
            line.push_str(&value.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)).to_string());
        }
    }
    line
}
