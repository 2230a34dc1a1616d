//! A firm disables its order entry on the real program, which is then killed: the answers on the wire, on
//! every port of the firm, before and after the restart.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ironbell_appliance::trial::TrialNode;
use ironbell_client::order_entry::{Event, Member, NewOrder};
use ironbell_session::Config;
use ironbell_types::{Mpid, Nanos, Side, Symbol, Username};
use ironbell_wire::ouch::{OptionsBuf, Outbound};

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

/// How long an answer may take before the test gives up; how long it does take decides nothing.
const PATIENCE: Duration = Duration::from_secs(60);

struct Trader {
    member: Member,
    clock: Instant,
}

impl Trader {
    fn connect(node: &TrialNode, username: &str) -> Self {
        let username = Username::new(username).expect("six characters");
        let member = Member::connect(address(node), &Config::default(), username, "secret", 1, Nanos(0));
        Self { member: member.expect("the node listens"), clock: Instant::now() }.logged_in()
    }

    fn reconnect(mut self, node: &TrialNode) -> Self {
        let now = self.now();
        self.member.reconnect(address(node), now).expect("the node listens");
        self.logged_in()
    }

    fn logged_in(mut self) -> Self {
        assert_eq!(self.hear(), "logged in");
        self
    }

    fn now(&self) -> Nanos {
        Nanos(self.clock.elapsed().as_nanos() as u64)
    }

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
        let begun = self.now();
        loop {
            let now = self.now();
            self.member.poll(now).expect("the connection stands");
            while let Some(event) = self.member.next().expect("the protocol is kept") {
                match event {
                    Event::Message { message: Outbound::SystemEvent(..), .. } => {}
                    Event::Message { message, .. } => return told(&message),
                    Event::LoggedIn { .. } => return "logged in".into(),
                    other => panic!("{other:?}"),
                }
            }
            assert!(now.0 - begun.0 < PATIENCE.as_nanos() as u64, "no answer came");
            std::thread::yield_now();
        }
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

fn address(node: &TrialNode) -> SocketAddr {
    node.status().expect("it answers").order_entry.parse().expect("an address")
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
