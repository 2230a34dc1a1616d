//! A firm disables its order entry on the real program, which is then killed: the answers on the wire, on
//! every port of the firm, before and after the restart.

mod trader;

use std::path::{Path, PathBuf};

use ironbell_appliance::trial::TrialNode;
use ironbell_client::order_entry::{Event, NewOrder};
use ironbell_types::{Mpid, Side, Symbol};
use ironbell_wire::ouch::{OptionsBuf, Outbound};
use trader::Trader;

const SECTIONS: &str = r#"segment_bytes = 4194304

[genesis]
assets = [{ code = "USD", decimals = 4 }, { code = "ANVL", decimals = 0 }]
instruments = [{ symbol = "ANVL", base = "ANVL", quote = "USD", tick = "0.01" }]
firms = [{ mpid = "ALFA" }]
ports = [
    { username = "ALFA01", password = "secret", firm = "ALFA", account = 1 },
    { username = "ALFA02", password = "secret", firm = "ALFA", account = 1 },
]
funds = [{ account = 1, asset = "USD", amount = "1000" }]
"#;

impl Trader {
    /// A buy of one share at 1.00: what is said of it.
    fn buy(&mut self) -> String {
        let order = NewOrder::day(Side::Buy, 1, Symbol::new("ANVL").expect("short"), 10_000);
        self.member.entry().enter(&order, &OptionsBuf::EMPTY).expect("there is room");
        self.hear()
    }

    fn disable(&mut self) -> String {
        self.member.entry().disable_order_entry(alfa()).expect("there is room");
        self.hear()
    }

    fn enable(&mut self) -> String {
        self.member.entry().enable_order_entry(alfa()).expect("there is room");
        self.hear()
    }

    fn cancel(&mut self, num: u32) -> String {
        self.member.entry().cancel(num, 0).expect("there is room");
        self.hear()
    }

    /// The next thing that is said, but for the start of the day.
    fn hear(&mut self) -> String {
        self.next(|event| match event {
            Event::Message { message, .. } => told(message),
            other => panic!("{other:?}"),
        })
    }
}

fn told(message: &Outbound<'_>) -> String {
    match message {
        Outbound::OrderAccepted(told, _) => format!("A {}", told.user_ref_num.get()),
        Outbound::OrderCanceled(told, _) => format!("C {}", told.user_ref_num.get()),
        Outbound::Rejected(told, _) => format!("J {} {:#06x}", told.user_ref_num.get(), told.reason.get()),
        Outbound::DisableOrderEntryResponse(told, _) => {
            format!("G {} {}", told.user_ref_num.get(), told.firm.escape_ascii())
        }
        Outbound::EnableOrderEntryResponse(told, _) => {
            format!("K {} {}", told.user_ref_num.get(), told.firm.escape_ascii())
        }
        other => panic!("{other:?}"),
    }
}

fn alfa() -> Mpid {
    Mpid::new("ALFA").expect("four letters")
}

#[test]
fn a_disabled_firm_is_still_disabled_after_kill_9() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("order-entry-switch");
    let program = Path::new(env!("CARGO_BIN_EXE_ironbell"));
    let mut node = TrialNode::prepare(&dir, SECTIONS, Some(program)).expect("a node");
    node.start().expect("it starts");
    let (mut one, mut two) = (Trader::connect(&node, "ALFA01"), Trader::connect(&node, "ALFA02"));
    assert_eq!(one.buy(), "A 1");
    assert_eq!(one.disable(), "G 2 ALFA");
    assert_eq!(one.buy(), "J 3 0x000c");
    assert_eq!(two.buy(), "J 1 0x000c");

    node.kill();
    node.start().expect("it starts again");
    let (mut one, mut two) = (one.reconnect(&node), two.reconnect(&node));
    assert_eq!(two.buy(), "J 2 0x000c");
    assert_eq!(one.cancel(1), "C 1");
    assert_eq!(two.enable(), "K 3 ALFA");
    assert_eq!(two.buy(), "A 4");
    assert_eq!(one.buy(), "A 4");
    assert_eq!(node.stop().expect("it ends"), 0);
}
