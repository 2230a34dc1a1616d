//! The random flows must reach what they are meant to reach: a flow that never produces a refusal
//! proves nothing about it. This runs the naive engine alone.

use ironbell_tests::coverage::{Coverage, FATE_RULES, ORDER_RULES, SURROUNDING_RULES, name};
use ironbell_tests::flow::{Flow, Theme};
use ironbell_tests::oracle::Oracle;
use ironbell_types::{Command, EQUITY_QTY_MAX, EQUITY_WIRE_PRICE_MAX, Event, EventBody, Reject};

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

/// What a disabled firm meets: in a plain flow nothing else refuses a faultless order, or a replacement, as
/// not authorized.
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

fn run(mut flow: Flow, commands: usize, met: &mut Coverage) {
    let plain = flow.theme() == Theme::Plain;
    let mut oracle = Oracle::new(1);
    let mut said = Vec::new();
    met.begin_venue();
    for _ in 0..commands {
        let sequenced = flow.next(&said);
        said = oracle.execute(&sequenced);
        met.hear(&sequenced, &said);
        if let Some(name) = replaced_at_the_limit(&sequenced.command, &said) {
            met.count(&name);
        }
        if let Some(name) = refused_as_disabled(&sequenced.command, &said).filter(|_| plain) {
            met.count(name);
        }
    }
    oracle.check().expect("the naive engine keeps its own invariants");
}

#[test]
fn flows_reach_every_kind_of_event() {
    let mut met = Coverage::new();
    for seed in 0..200 {
        run(Flow::new(seed), 1_000, &mut met);
    }
    for theme in Theme::ALL {
        for seed in 0..24 {
            run(Flow::themed(seed, theme), 2_000, &mut met);
        }
    }
    println!("{}", met.table());

    let mut hardly = met.hardly_seen(20);
    let at_the_ends = [
        "highest price: Replaced",
        "price above it: Canceled",
        "largest total: Replaced",
        "total above it: Canceled",
        "new order while disabled",
        "replacement while disabled",
        "disabling another firm",
        "enabling another firm",
    ];
    hardly.extend(at_the_ends.map(str::to_owned).into_iter().filter(|what| met.seen(what) < 20));
    assert!(hardly.is_empty(), "hardly ever seen: {hardly:#?}");
}

#[test]
fn rules_meet_each_other_in_flows() {
    let mut met = Coverage::new();
    for theme in Theme::ALL {
        for seed in 100..140 {
            run(Flow::themed(seed, theme), 2_000, &mut met);
        }
    }
    println!("{}", met.pair_table());
    // Every order and every surrounding meets something, and most of them most others.
    let least = [
        ("aggressor x resting", 550),
        ("in a cross", 350),
        ("order x surroundings", 800),
        ("order x fate", 550),
    ];
    for (table, least) in least {
        let pairs = met.pairs_met(table);
        assert!(pairs >= least, "only {pairs} pairs of {table} met");
    }
    for (table, columns) in [("order x surroundings", SURROUNDING_RULES), ("order x fate", FATE_RULES)] {
        for column in columns.iter().filter(|&&column| !["Closed", "Halted"].contains(&column)) {
            assert!(met.has_met(table, None, Some(column)), "no order met {column}");
        }
    }
    for row in ORDER_RULES {
        assert!(met.has_met("order x fate", Some(row), None), "no order was ever a {row}");
    }
}

#[test]
fn deep_flows_make_a_mass_cancel_take_several_slices_on_one_instrument() {
    let mut oracle = Oracle::new(1);
    let mut flow = Flow::deep(1);
    let mut said = Vec::new();
    let (mut deepest, mut full_slices) = (0, 0);
    for number in 0..12_000 {
        said = oracle.execute(&flow.next(&said));
        let canceled = said.iter().filter(|e| matches!(e.body, EventBody::Canceled(_))).count();
        full_slices += u32::from(canceled == 1_024);
        if number % 100 == 0 {
            let depth = oracle.instruments().iter().map(|i| oracle.book(i.id).len()).max();
            deepest = deepest.max(depth.unwrap_or(0));
        }
    }
    assert!(deepest > 1_100, "the deepest book had {deepest} orders");
    assert!(full_slices > 0);
}
