//! The rule book on the real program: a member's stop, iceberg, peg, quote and good-till-time order over TCP,
//! an auction and a bust by `ironbell ctl`, and `kill -9` in between. What was said before is still so
//! afterwards, and a follower of the feed has the node's books throughout.

mod trader;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ironbell_appliance::inspection;
use ironbell_appliance::recovery;
use ironbell_appliance::trial::{self, TrialNode};
use ironbell_appliance::words::Date;
use ironbell_appliance::{genesis, inspection::Hashes};
use ironbell_client::itch_book::ItchBook;
use ironbell_client::market_data::{Delivery, LateJoinClient};
use ironbell_client::order_entry::{Event, FullOrder, NewOrder, TwoSided};
use ironbell_session::Config;
use ironbell_types::{Capacity, Display, Nanos, OrderTerms, Price, Side, Symbol, TimeInForce};
use ironbell_wire::native;
use ironbell_wire::ouch::{OptionValue, OptionsBuf, Outbound};
use trader::{PATIENCE, Trader};

fn sections(date: u32) -> String {
    format!(
        r#"segment_bytes = 4194304

[genesis]
date = {date}
assets = [{{ code = "USD", decimals = 4 }}, {{ code = "ANVL", decimals = 0 }}]
instruments = [{{ symbol = "ANVL", base = "ANVL", quote = "USD", tick = "0.01", maker_fee_bps = 1, taker_fee_bps = 3 }}]
firms = [{{ mpid = "ALFA" }}, {{ mpid = "BETA" }}]
ports = [
    {{ username = "ALFA01", password = "secret", firm = "ALFA", account = 1 }},
    {{ username = "BETA01", password = "secret", firm = "BETA", account = 2 }},
]
funds = [
    {{ account = 1, asset = "USD", amount = "100000" }}, {{ account = 1, asset = "ANVL", amount = "1000" }},
    {{ account = 2, asset = "USD", amount = "100000" }}, {{ account = 2, asset = "ANVL", amount = "1000" }},
]
ctl = ["rules ANVL --reference 10.00 --static 50%", "port ALFA01 --rate 1000 --burst 100"]
"#
    )
}

fn anvl() -> Symbol {
    Symbol::new("ANVL").expect("short")
}

fn unix_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970")
}

impl Trader {
    fn enter(&mut self, order: &NewOrder, options: &[OptionValue]) -> String {
        let mut buffer = OptionsBuf::new();
        for option in options {
            buffer.push(*option);
        }
        self.member.entry().enter(order, &buffer).expect("there is room");
        self.hear()
    }

    /// The next so many things that are said.
    fn hear_all(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.hear()).collect()
    }

    /// The next thing that is said, but for the start of the day.
    fn hear(&mut self) -> String {
        self.next(|event| match event {
            Event::Message { message, .. } => told(message),
            Event::Native { message, .. } => told_natively(message),
            other => panic!("{other:?}"),
        })
    }
}

fn told(message: &Outbound<'_>) -> String {
    match message {
        Outbound::OrderAccepted(told, _) => format!("A {}", told.user_ref_num.get()),
        Outbound::OrderCanceled(told, _) => {
            format!("C {} {} {}", told.user_ref_num.get(), told.quantity.get(), told.reason.escape_ascii())
        }
        Outbound::OrderExecuted(told, _) => {
            format!("E {} {} at {}", told.user_ref_num.get(), told.quantity.get(), told.price.get())
        }
        Outbound::OrderRestated(told, _) => {
            format!("R {} {}", told.user_ref_num.get(), told.reason.escape_ascii())
        }
        Outbound::BrokenTrade(told, _) => {
            format!("B {} {}", told.user_ref_num.get(), told.reason.escape_ascii())
        }
        Outbound::Rejected(told, _) => format!("J {} {:#06x}", told.user_ref_num.get(), told.reason.get()),
        other => panic!("{other:?}"),
    }
}

fn told_natively(message: &native::Outbound<'_>) -> String {
    match message {
        native::Outbound::AcceptedTerms(told) => format!("terms {}", told.user_ref_num.get()),
        native::Outbound::StopTriggered(told) => {
            format!("triggered {} by {}", told.user_ref_num.get(), told.price.get())
        }
        other => panic!("{other:?}"),
    }
}

fn ironbell(node: &TrialNode, command: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ironbell"))
        .args(command.split(' '))
        .arg("--config")
        .arg(node.config_path())
        .output()
        .expect("it runs")
}

/// What it prints when it succeeds.
fn done(node: &TrialNode, command: &str) -> String {
    let output = ironbell(node, command);
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A member of the market data, from a snapshot on.
struct Follower {
    client: LateJoinClient,
    book: ItchBook,
    clock: Instant,
}

impl Follower {
    fn join(node: &TrialNode) -> Self {
        let status = node.status().expect("it answers");
        let at = |text: &str| -> SocketAddr { text.parse().expect("an address") };
        let (glimpse, itch) = (at(&status.glimpse), at(&status.itch));
        let client = LateJoinClient::connect(Config::default(), trial::anyone(), glimpse, itch, Nanos(1));
        Self { client: client.expect("it listens"), book: ItchBook::new(), clock: Instant::now() }
    }

    /// Reads what the feed has said by now; then the book is the node's, order by order.
    fn agrees(&mut self, node: &TrialNode, hashes: &Hashes) {
        let until = node.status().expect("it answers").feed_sequence;
        while self.client.joiner().next() < until {
            let now = Nanos(self.clock.elapsed().as_nanos() as u64 + 1);
            let book = &mut self.book;
            let polled = self.client.poll(now, &mut |delivery| {
                let (Delivery::Snapshot(message) | Delivery::Stream(_, message)) = delivery;
                book.apply(message).expect("the feed agrees with itself");
            });
            if polled.expect("the connection stands") == 0 {
                std::thread::sleep(Duration::from_micros(500));
            }
            assert!(self.clock.elapsed() < PATIENCE, "the feed does not come to {until}");
        }
        assert_eq!(inspection::hex(&self.book.digest()), hashes.book_hash);
    }
}

/// Limits and what is used of them; not who is logged in, which no restart leaves as it was.
fn risk(node: &TrialNode) -> Vec<String> {
    let all = done(node, "inspect risk --json");
    let lines: Vec<String> = all.lines().filter(|l| !l.contains("logged in")).map(str::to_owned).collect();
    assert!(
        lines.iter().any(|l| l.contains("order entry")) && lines.iter().any(|l| l.contains("1000/s")),
        "{all}"
    );
    lines
}

/// Kills the node and starts it again: it recovers to what it was.
fn kill_and_restart(node: &mut TrialNode) {
    let before = node.hashes_at_rest().expect("it comes to rest");
    node.kill();
    let replayed =
        recovery::replay(&node.config().journal_dir(), None, |_, _| {}).expect("the journal is whole");
    assert_eq!(inspection::hashes(&replayed.engine), before);
    node.start().expect("it starts again");
    let status = node.status().expect("it answers");
    assert_eq!(status.recovery.hashes, before);
}

#[test]
fn the_rule_book_over_tcp_with_kills_in_between() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("order-types");
    let day = genesis::open_day(0, 0, Nanos(unix_time().as_nanos() as u64)).expect("today");
    println!("{}", Date(day.date));
    let program = Path::new(env!("CARGO_BIN_EXE_ironbell"));
    let mut node = TrialNode::prepare(&dir, &sections(day.date), Some(program)).expect("a node");
    node.start().expect("it starts");
    let mut follower = Follower::join(&node);
    let (mut alfa, mut beta) = (Trader::connect(&node, "ALFA01"), Trader::connect(&node, "BETA01"));

    // A last price: 1 share at 10.00.
    assert_eq!(beta.enter(&NewOrder::day(Side::Sell, 100, anvl(), 100_000), &[]), "A 1");
    assert_eq!(alfa.enter(&NewOrder::ioc(Side::Buy, 1, anvl(), 100_000), &[]), "A 1");
    assert_eq!(alfa.hear(), "E 1 1 at 100000");
    assert_eq!(beta.hear(), "E 1 1 at 100000");
    // An iceberg of 50 that shows 10, and a hidden order of 7 pegged to the best bid.
    let iceberg = NewOrder::day(Side::Buy, 50, anvl(), 99_000);
    assert_eq!(alfa.enter(&iceberg, &[OptionValue::MaxFloor(10)]), "A 2");
    let peg = NewOrder { display: Display::Hidden, ..NewOrder::day(Side::Buy, 7, anvl(), 99_500) };
    assert_eq!(alfa.enter(&peg, &[OptionValue::PriceType(b'R')]), "A 3");
    // A stop, and a quote of both sides.
    let stop = FullOrder {
        terms: OrderTerms { stop: Price(990), ..OrderTerms::default() },
        ..FullOrder::day(Side::Sell, 5, anvl(), 980)
    };
    beta.member.entry().enter_full(&stop).expect("there is room");
    assert_eq!(beta.hear_all(2), ["A 2", "terms 2"]);
    let quote = TwoSided { symbol: anvl(), bid: (3, 970), ask: (4, 1_020) };
    beta.member.entry().mass_quote(Capacity::Principal, &[quote]).expect("there is room");
    assert_eq!(beta.hear_all(2), ["A 3", "A 4"]);
    // Good till a few seconds from now; on a machine so slow that this has passed, a little later.
    let mut number = 3;
    loop {
        number += 1;
        let seconds = (unix_time().as_secs() - day.midnight.0 / 1_000_000_000 + 3) as u32;
        let order =
            NewOrder { time_in_force: TimeInForce::Gtt, ..NewOrder::day(Side::Buy, 2, anvl(), 90_000) };
        let answer = alfa.enter(&order, &[OptionValue::ExpireTime(seconds)]);
        if answer == format!("A {number}") {
            break;
        }
        assert_eq!(answer, format!("J {number} 0x000f"));
    }
    assert_eq!(alfa.hear(), format!("C {number} 2 T"), "a tick comes by itself");

    // The book is the shadow's, which may be a moment behind what members are told.
    let hashes = node.hashes_at_rest().expect("it comes to rest");
    let stands = done(&node, "inspect book");
    for kind in ["shown", "iceberg", "hidden", "waiting"] {
        assert!(stands.contains(kind), "{kind} is not in {stands}");
    }
    follower.agrees(&node, &hashes);
    kill_and_restart(&mut node);
    let (mut alfa, mut beta) = (alfa.reconnect(&node), beta.reconnect(&node));
    let mut follower = Follower::join(&node);
    assert_eq!(done(&node, "inspect book"), stands);

    // The iceberg's shown part, then its next one; the last price is 9.90 now, and the stop comes in.
    assert_eq!(beta.enter(&NewOrder::ioc(Side::Sell, 12, anvl(), 99_000), &[]), "A 5");
    let said = ["E 5 10 at 99000", "E 5 2 at 99000", "triggered 2 by 990", "E 2 5 at 99000"];
    assert_eq!(beta.hear_all(4), said);
    assert_eq!(alfa.hear_all(4), ["E 2 10 at 99000", "R 2 R", "E 2 2 at 99000", "E 2 5 at 99000"]);

    // An auction: what was entered for it crosses at the best price for most, 10.00.
    assert!(done(&node, "ctl phase ANVL opening-auction").contains("ANVL is opening-auction"));
    number += 1;
    assert_eq!(alfa.enter(&NewOrder::day(Side::Buy, 20, anvl(), 101_000), &[]), format!("A {number}"));
    assert_eq!(beta.enter(&NewOrder::day(Side::Sell, 20, anvl(), 100_500), &[]), "A 6");
    let crossed = done(&node, "ctl phase ANVL continuous");
    assert!(
        crossed.contains("ANVL crossed 20 at 10\n") && crossed.contains("ANVL is continuous"),
        "{crossed}"
    );
    assert_eq!(alfa.hear(), format!("E {number} 20 at 100000"));
    assert_eq!(beta.hear(), "E 1 20 at 100000");

    // The cross's trade is undone, once.
    let statement = done(&node, "inspect statement 2 --json");
    let statement: serde_json::Value = serde_json::from_str(&statement).expect("JSON");
    let trades = statement["trades"].as_array().expect("a list");
    let cross = trades.iter().find(|trade| trade["quantity"] == "20").expect("it traded").clone();
    let bust = format!("ctl bust {} --reason E", cross["match_number"]);
    assert!(done(&node, &bust).contains("20 of ANVL at 10"));
    assert_eq!(alfa.hear(), format!("B {number} E"));
    assert_eq!(beta.hear(), "B 1 E");
    let again = ironbell(&node, &bust);
    assert_eq!(again.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&again.stderr).contains("undone already"));
    assert!(done(&node, "inspect statement").contains("busted"));

    let hashes = node.hashes_at_rest().expect("it comes to rest");
    follower.agrees(&node, &hashes);
    let (limits, phases) = (risk(&node), done(&node, "inspect phases"));
    kill_and_restart(&mut node);
    Follower::join(&node).agrees(&node, &node.hashes_at_rest().expect("it comes to rest"));
    assert_eq!(done(&node, "inspect phases"), phases);
    assert_eq!(risk(&node), limits);
    assert!(node.status().expect("it answers").checks_unequal.is_none());

    // The day ends and the next one begins; what was good for the day is gone.
    let closed = done(&node, "ctl close-day");
    assert!(closed.contains("the day is closed") && closed.contains("ANVL is closed"), "{closed}");
    let refused = ironbell(&node, "ctl phase ANVL continuous");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("ctl open-day"));
    let (mut alfa, _) = (alfa.reconnect(&node), beta.reconnect(&node));
    let mut gone = [alfa.hear(), alfa.hear()];
    gone.sort();
    assert_eq!(gone, ["C 2 33 E", "C 3 7 E"]);
    assert_eq!(done(&node, "inspect book").lines().count(), 1, "an empty book is a heading");
    kill_and_restart(&mut node);
    assert_eq!(node.stop().expect("it ends"), 0);
}
