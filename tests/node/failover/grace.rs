//! Who was logged in at a node that leads no more, and does not come over: when that ends is in the journal.

use std::time::Instant;

use ironbell_appliance::recovery;
use ironbell_client::order_entry::{Event as Told, Member, NewOrder};
use ironbell_etcd_cluster::Cluster;
use ironbell_session::Config;
use ironbell_types::{CancelReason, Command, Control, EventBody, Nanos, PortId, Side, Symbol, Username};
use ironbell_wire::ouch::{OptionsBuf, Outbound};

use crate::PATIENCE;
use crate::members::SYMBOL;
use crate::pair::{Node, bootstrap, is_open, is_pair, pair};

/// What the journal has of it.
#[derive(Debug, Default)]
struct Seen {
    /// When each primary began to lead.
    graces: Vec<Nanos>,
    ticks: Vec<Nanos>,
    logged_in: Option<Nanos>,
    logged_out: Option<Nanos>,
    cancelled: bool,
}

fn seen(node: &Node) -> Seen {
    let mut seen = Seen::default();
    let replayed = recovery::replay(&node.config.journal_dir(), None, |commands, events| {
        let ticks = commands.iter().filter(|at| at.command == Command::Tick);
        seen.ticks.extend(ticks.map(|at| at.time));
        for event in events {
            match event.body {
                EventBody::Controlled(Control::BeginGrace { .. }) => seen.graces.push(event.time),
                EventBody::LoggedIn { port: PortId(1), .. } => seen.logged_in = Some(event.time),
                EventBody::LoggedOut { port: PortId(1), .. } => seen.logged_out = Some(event.time),
                EventBody::Canceled(canceled) => {
                    seen.cancelled |= canceled.reason == CancelReason::Supervisory;
                }
                _ => {}
            }
        }
    });
    replayed.expect("the journal is whole so far");
    seen
}

/// A member logs in, rests an order, and is not heard of any more once another node leads. A second takeover comes within its
/// grace, and gives it no more time.
#[test]
fn who_does_not_come_over_is_logged_out_when_the_first_grace_is_over() {
    const GRACE_NS: u64 = 4_000_000_000;
    let etcd = Cluster::start();
    let mut nodes = pair("grace", &etcd, None, "", "disconnect_grace = \"4s\"\n");
    bootstrap(&mut nodes);
    nodes[0].told(&["ctl", "port", "ALFA01", "--cancel-on-disconnect"]);
    let clock = Instant::now();
    let now = || Nanos(clock.elapsed().as_nanos() as u64);
    let username = Username::new("ALFA01").expect("short");
    let mut member =
        Member::connect(nodes[0].order_entry(), &Config::default(), username, "failover", 1, now())
            .expect("it is let in");
    let order = NewOrder::day(Side::Buy, 5, Symbol::new(SYMBOL).expect("short"), 1_000_000);
    let (mut asked, mut accepted) = (false, false);
    while !accepted {
        member.poll(now()).expect("the connection stands");
        asked = asked || member.entry().enter(&order, &OptionsBuf::default()).is_ok();
        while let Some(told) = member.next().expect("the protocol is kept") {
            let is_accepted =
                |told: &Told<'_>| matches!(told, Told::Message { message: Outbound::OrderAccepted(..), .. });
            accepted |= is_accepted(&told);
        }
        assert!(clock.elapsed() < PATIENCE, "the order was not accepted");
    }

    for (leads, follows) in [(0, 1), (1, 0)] {
        nodes[follows].wait_until("both are in sync", is_pair);
        nodes[leads].wait_until("both are in sync", is_pair);
        let told = nodes[leads].told(&["ctl", "switchover", "--reason", "the test"]);
        assert!(told.contains("has taken over"), "{told}");
        nodes[follows].wait_until("it leads", is_open);
    }
    drop(member);
    let begun = Instant::now();
    let seen = loop {
        let seen = seen(&nodes[0]);
        if seen.logged_out.is_some() && seen.cancelled {
            break seen;
        }
        assert!(begun.elapsed() < PATIENCE, "it is still logged in: {seen:?}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    // One when the pair began, and one for each takeover.
    let logged_in = seen.logged_in.expect("it was");
    let mut graces = seen.graces.iter().filter(|begun| **begun > logged_in);
    let (Some(first), Some(second)) = (graces.next(), graces.next()) else { panic!("{seen:?}") };
    let (end, logged_out) = (Nanos(first.0 + GRACE_NS), seen.logged_out.expect("it was"));
    println!("the second takeover came {} ms after the first", (second.0 - first.0) / 1_000_000);
    assert!(logged_out >= end, "{logged_out} is before {end}");
    let missed = seen.ticks.iter().find(|tick| (end..logged_out).contains(tick));
    assert_eq!(missed, None, "a tick at or after {end} left it logged in until {logged_out}");
    nodes[0].wait_until("both are in sync", is_pair);
    nodes[0].stop();
}
