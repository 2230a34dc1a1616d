//! The random flows must reach what they are meant to reach: a flow that never produces a refusal
//! proves nothing about it. This runs the naive engine alone.

use std::collections::BTreeMap;

use ironbell_tests::flow::Flow;
use ironbell_tests::oracle::Oracle;
use ironbell_types::{
    CancelReason, Command, EQUITY_QTY_MAX, EQUITY_WIRE_PRICE_MAX, Event, EventBody, Reject,
};

fn name(body: &EventBody) -> String {
    match body {
        EventBody::AdminRefused(refusal) => format!("AdminRefused {refusal:?}"),
        EventBody::Rejected { reason, .. } => format!("Rejected {reason:?}"),
        EventBody::Canceled(canceled) => {
            let extent = if canceled.leaves_qty.0 == 0 { "whole" } else { "part" };
            format!("Canceled {:?} {extent}", canceled.reason)
        }
        EventBody::Accepted(accepted) => format!("Accepted booked {}", accepted.booked),
        EventBody::Replaced(replaced) => format!("Replaced booked {}", replaced.order.booked),
        other => {
            let text = format!("{other:?}");
            text.split([' ', '(']).next().unwrap_or_default().to_owned()
        }
    }
}

/// What became of a faultless replacement with a price or total next to the largest of OUCH.
fn replaced_at_the_limit(command: &Command, said: &[Event]) -> Option<String> {
    let Command::ReplaceOrder(replace) = command else { return None };
    let (price, qty) = (replace.wire_price, replace.qty.0);
    let limit = if price > EQUITY_WIRE_PRICE_MAX && price - EQUITY_WIRE_PRICE_MAX <= 100 {
        "price above it"
    } else if price <= EQUITY_WIRE_PRICE_MAX && EQUITY_WIRE_PRICE_MAX - price < 100 {
        "highest price"
    } else if qty == u64::from(EQUITY_QTY_MAX) {
        "largest total"
    } else if qty == u64::from(EQUITY_QTY_MAX) + 1 {
        "total above it"
    } else {
        return None;
    };
    let first = said.first().filter(|_| replace.fault.is_none() && replace.options.min_qty == 0)?;
    let became = name(&first.body);
    let became = became.split(' ').next().unwrap_or_default();
    Some(format!("{limit}: {became}"))
}

/// What a disabled firm meets: nothing else refuses a faultless order, or a replacement, as not authorized.
fn refused_as_disabled(command: &Command, said: &[Event]) -> Option<&'static str> {
    let EventBody::Rejected { reason: Reject::FirmNotAuthorized, .. } = said.first()?.body else {
        return None;
    };
    match command {
        Command::EnterOrder(enter) if enter.fault.is_none() => Some("new order while disabled"),
        Command::ReplaceOrder(_) => Some("replacement while disabled"),
        Command::DisableOrderEntry(_) => Some("disabling another firm"),
        Command::EnableOrderEntry(_) => Some("enabling another firm"),
        _ => None,
    }
}

fn run(mut flow: Flow, commands: usize, seen: &mut BTreeMap<String, u64>) {
    let mut oracle = Oracle::new();
    let mut said = Vec::new();
    for _ in 0..commands {
        let sequenced = flow.next(&said);
        said = oracle.execute(&sequenced);
        for event in &said {
            *seen.entry(name(&event.body)).or_default() += 1;
        }
        if let Some(name) = replaced_at_the_limit(&sequenced.command, &said) {
            *seen.entry(name).or_default() += 1;
        }
        if let Some(name) = refused_as_disabled(&sequenced.command, &said) {
            *seen.entry(name.into()).or_default() += 1;
        }
    }
    oracle.check().expect("the naive engine keeps its own invariants");
}

#[test]
fn flows_reach_every_kind_of_event() {
    let mut seen = BTreeMap::new();
    for seed in 0..200 {
        run(Flow::new(seed), 1_000, &mut seen);
    }
    println!("{seen:#?}");

    let mut wanted: Vec<String> = ["Id", "NameTaken", "Unknown", "Range", "Repeated", "Funds", "Day"]
        .iter()
        .map(|refusal| format!("AdminRefused {refusal}"))
        .collect();
    wanted.extend(Reject::ALL.iter().map(|reject| format!("Rejected {reject:?}")));
    for limit in [
        "highest price: Replaced",
        "price above it: Canceled",
        "largest total: Replaced",
        "total above it: Canceled",
    ] {
        wanted.push(limit.into());
    }
    for reason in CancelReason::ALL {
        wanted.push(format!("Canceled {reason:?} whole"));
    }
    wanted.push("Canceled User part".into());
    for booked in [true, false] {
        wanted.push(format!("Accepted booked {booked}"));
        wanted.push(format!("Replaced booked {booked}"));
    }
    let plain = [
        "AssetDefined",
        "InstrumentDefined",
        "FirmDefined",
        "AccountDefined",
        "PortDefined",
        "Funded",
        "DayOpened",
        "LoggedIn",
        "LoggedOut",
        "Rested",
        "Trade",
        "Modified",
        "MassCancelAccepted",
        "MassCancelAsked",
        "OrderEntryDisabled",
        "OrderEntryEnabled",
        "new order while disabled",
        "replacement while disabled",
        "disabling another firm",
        "enabling another firm",
        "AccountQueried",
        "Settled",
    ];
    wanted.extend(plain.map(str::to_owned));
    for kind in wanted {
        assert!(seen.get(&kind).is_some_and(|&n| n >= 20), "hardly ever seen: {kind}");
    }
}

#[test]
fn deep_flows_make_a_mass_cancel_take_several_slices_on_one_instrument() {
    let mut oracle = Oracle::new();
    let mut flow = Flow::deep(1);
    let mut said = Vec::new();
    let (mut deepest, mut full_slices) = (0, 0);
    for _ in 0..12_000 {
        said = oracle.execute(&flow.next(&said));
        let canceled = said.iter().filter(|e| matches!(e.body, EventBody::Canceled(_))).count();
        full_slices += u32::from(canceled == 1_024);
        deepest =
            deepest.max(oracle.instruments().iter().map(|i| oracle.book(i.id).len()).max().unwrap_or(0));
    }
    assert!(deepest > 1_100, "the deepest book had {deepest} orders");
    assert!(full_slices > 0);
}
