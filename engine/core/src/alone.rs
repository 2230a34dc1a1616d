//! For unit tests: stage 2 by itself, driven by lines and answering in lines, with a naive stage 3 that
//! checks its effects.

use crate::matching::{Effect, Fill, Incoming, Matching, Request, Slice, Voice};
use alloc::{collections::BTreeMap, format, string::String, vec::Vec};
use ironbell_types::{
    Accepted, CancelReason, Capacity, ClOrdId, Display, Event, EventBody, Executed, FirmId, InstrumentId,
    InstrumentRules, Nanos, OrderKey, OrderOptions, OrderRef, OrderTerms, Peg, Price, Qty, Seq, Shown, Side,
    Stage, Stp, TimeInForce,
};

pub(crate) const ONE: InstrumentId = InstrumentId(1);

/// One instrument in Continuous. An order's key and token are the number of the line that made it.
pub(crate) struct Alone {
    pub(crate) matching: Matching,
    pub(crate) seq: u64,
    pub(crate) time: u64,
    pub(crate) effects: Vec<Effect>,
    /// Everything is checked after each command; switched off while a book is filled.
    pub(crate) checks: bool,
    /// What stage 3 would know: the leaves of each open order.
    open: BTreeMap<u32, u64>,
}

impl Alone {
    pub(crate) fn new() -> Self {
        let mut matching = Matching::new(16, 1);
        matching.open_book(true);
        Self { matching, seq: 0, time: 0, effects: Vec::new(), open: BTreeMap::new(), checks: true }
    }

    pub(crate) fn with_rules(rules: InstrumentRules) -> Self {
        let mut alone = Self::new();
        alone.ask(&Request::SetRules { instrument: ONE, rules });
        alone
    }

    /// A command of its own.
    pub(crate) fn ask(&mut self, request: &Request) -> Vec<String> {
        self.seq += 1;
        self.run(request)
    }

    /// What is said, but for the terms of orders.
    pub(crate) fn run(&mut self, request: &Request) -> Vec<String> {
        told(&self.events(request))
    }

    /// Runs it under the present number, and checks everything afterwards.
    pub(crate) fn events(&mut self, request: &Request) -> Vec<Event> {
        let incoming = match request {
            Request::Enter(incoming) | Request::Replace { incoming, .. } => [Some(*incoming), None],
            Request::Quote { new, .. } => *new,
            _ => [None; 2],
        };
        for incoming in incoming.into_iter().flatten() {
            self.open.insert(incoming.token, incoming.order.qty.0);
        }
        let mut out = Vec::new();
        let mut voice = Voice::new(&mut out, Seq(self.seq), Nanos(self.time), Stage::Matching);
        self.effects.clear();
        self.matching.apply(request, &mut voice, &mut self.effects);
        if self.checks {
            self.matching.check_invariants();
        }
        self.settle();
        out
    }

    /// Stage 3: what is open must be what the books have.
    fn settle(&mut self) {
        for effect in &self.effects {
            match *effect {
                Effect::Fill(Fill { resting, aggressor, qty, cross, .. }) => {
                    for (token, closes) in [(resting, true), (aggressor, cross)] {
                        let leaves = self.open.get_mut(&token).expect("who trades is open");
                        *leaves = leaves.checked_sub(qty.0).expect("nobody trades more than it has");
                        if *leaves == 0 && closes {
                            self.open.remove(&token);
                        }
                    }
                }
                Effect::Stands { token, leaves_qty, .. } => {
                    let leaves = self.open.get_mut(&token).expect("what stands is open");
                    assert!(leaves_qty.0 <= *leaves);
                    *leaves = leaves_qty.0;
                    if *leaves == 0 {
                        self.open.remove(&token);
                    }
                }
                Effect::Gone { token, .. } | Effect::Lapsed { token } => {
                    self.open.remove(&token).expect("what is replaced is open");
                }
                Effect::Slid { token, .. } | Effect::Triggered { token } => {
                    assert!(self.open.contains_key(&token));
                }
                Effect::Sliced { .. } | Effect::Busted { .. } => {}
            }
        }
        let stands = (1..=self.matching.trading.len() as u32)
            .map(InstrumentId)
            .flat_map(|instrument| self.matching.book(instrument).chain(self.matching.waiting(instrument)))
            .map(|order| (order.order_ref, order.leaves_qty.0))
            .collect::<BTreeMap<_, _>>();
        let books = &self.matching.books;
        let known = self.open.iter().map(|(token, leaves)| (*token, *leaves));
        let by_token = stands.iter().map(|(order_ref, leaves)| {
            let slot = books.find(*order_ref).expect("what is listed is found");
            (books.order(slot).token, *leaves)
        });
        assert_eq!(known.collect::<BTreeMap<_, _>>(), by_token.collect::<BTreeMap<_, _>>());
    }

    /// An order by a line: `buy 5 @ 100` or `sell 5 market`, then any of: `short`, `ioc`, `fok`, `gtc`,
    /// `until NS`, `at-open`, `at-close`, `min N`, `post`, `slides`, `hidden`, `floor N`, `random N`,
    /// `primary N`, `market-peg N`, `mid N`, `to PRICE` (discretion), `stop PRICE`, `trail N`, `with KEY`
    /// (a pair), `firm N`, `group N`, `stp newest|oldest|both|decrement`, `stp-group N`, `on N`.
    pub(crate) fn incoming(&self, line: &str) -> Incoming {
        let mut words = line.split(' ');
        let side = if words.next() == Some("buy") { Side::Buy } else { Side::Sell };
        let qty = Qty(words.next().expect("a quantity").parse().expect("a number"));
        let mut order = Accepted {
            key: OrderKey(self.seq),
            order_ref: OrderRef::new(Seq(self.seq), 0),
            firm: FirmId(1),
            instrument: ONE,
            side,
            qty,
            price: Price(0),
            time_in_force: TimeInForce::Day,
            display: Display::Visible,
            capacity: Capacity::Agency,
            cl_ord_id: ClOrdId::default(),
            options: OrderOptions::default(),
            booked: false,
            shown_qty: Qty(0),
        };
        let (mut slides, mut stp, mut pair) = (false, Stp::Off, None);
        let mut terms = OrderTerms::default();
        while let Some(word) = words.next() {
            let mut number = || words.next().expect("a number follows").parse::<i64>().expect("a number");
            match word {
                "@" => order.price = Price(number()),
                "market" => terms.market = true,
                "short" => order.side = Side::SellShort,
                "ioc" => order.time_in_force = TimeInForce::Ioc,
                "fok" => order.time_in_force = TimeInForce::Fok,
                "gtc" => order.time_in_force = TimeInForce::Gtc,
                "at-open" => order.time_in_force = TimeInForce::AtOpen,
                "at-close" => order.time_in_force = TimeInForce::AtClose,
                "until" => {
                    order.time_in_force = TimeInForce::Gtt;
                    terms.expire = Nanos(number() as u64);
                }
                "min" => order.options.min_qty = number() as u32,
                "post" => order.options.post_only = b'P',
                "slides" => slides = true,
                "hidden" => order.display = Display::Hidden,
                "floor" => terms.max_floor = number() as u32,
                "random" => terms.random_reserves = number() as u32,
                "primary" | "market-peg" | "mid" => {
                    terms.peg = match word {
                        "primary" => Peg::Primary,
                        "mid" => Peg::Midpoint,
                        _ => Peg::Market,
                    };
                    terms.peg_offset = number() as i32;
                    order.display = Display::Hidden;
                }
                "to" => terms.discretion = Price(number()),
                "stop" => terms.stop = Price(number()),
                "trail" => terms.trail = number() as u32,
                "with" => pair = Some(OrderRef::new(Seq(number() as u64), 0)),
                "firm" => order.firm = FirmId(number() as u32),
                "group" => order.options.group = Some(number() as u16),
                "stp" => {
                    stp = match words.next() {
                        Some("newest") => Stp::CancelNewest,
                        Some("oldest") => Stp::CancelOldest,
                        Some("both") => Stp::CancelBoth,
                        Some("decrement") => Stp::Decrement,
                        other => panic!("unknown {other:?}"),
                    };
                }
                "stp-group" => terms.stp_group = [b'A', number() as u8],
                "on" => order.instrument = InstrumentId(number() as u32),
                other => panic!("unknown word {other}"),
            }
        }
        Incoming::new(order, &terms, self.seq as u32, slides, stp, pair)
    }

    /// An order that comes in, and what is said.
    pub(crate) fn enter(&mut self, line: &str) -> Vec<String> {
        self.seq += 1;
        let incoming = self.incoming(line);
        self.run(&Request::Enter(incoming))
    }

    pub(crate) fn enter_all(&mut self, lines: &[&str]) {
        for line in lines {
            self.enter(line);
        }
    }

    /// A replacement by a line; its quantity is the chain's total.
    pub(crate) fn replace(&mut self, key: u64, line: &str) -> Vec<String> {
        self.seq += 1;
        let incoming = self.incoming(line);
        let (orig, total) = (OrderRef::new(Seq(key), 0), incoming.order.qty);
        self.run(&Request::Replace { orig, total, incoming })
    }

    pub(crate) fn cancel(&mut self, key: u64, total: u64) -> Vec<String> {
        self.ask(&Request::Cancel {
            instrument: ONE,
            order_ref: OrderRef::new(Seq(key), 0),
            total: Qty(total),
        })
    }

    pub(crate) fn tick(&mut self, time: u64) -> Vec<String> {
        self.time = time;
        self.ask(&Request::Tick)
    }

    pub(crate) fn slice(&mut self, slice: Slice) -> Vec<String> {
        self.ask(&Request::Slice(slice))
    }

    /// Keys, leaves and limits: displayed bids | asks, then hidden ones and pegs after `~`, then what
    /// waits after `;`. What is shown stands in brackets where it is not all.
    pub(crate) fn draw(&self) -> String {
        let text = |order: &crate::BookOrder| {
            let (key, leaves, price) = (order.key.0, order.leaves_qty, order.price);
            match order.shown.qty {
                shown if shown == order.leaves_qty || shown == Qty::ZERO => format!("{key}:{leaves}@{price}"),
                shown => format!("{key}:{leaves}[{shown}]@{price}"),
            }
        };
        let orders: Vec<_> = self.matching.book(ONE).collect();
        let some = |wanted: &dyn Fn(&&crate::BookOrder) -> bool| {
            orders.iter().filter(|order| wanted(order)).map(text).collect::<Vec<_>>().join(" ")
        };
        let is_lit = |order: &crate::BookOrder| order.shown != Shown::default();
        let mut drawn = format!(
            "{} | {}",
            some(&|order| is_lit(order) && order.buys),
            some(&|order| is_lit(order) && !order.buys)
        );
        let dark = some(&|order| !is_lit(order));
        if !dark.is_empty() {
            drawn += &format!(" ~ {dark}");
        }
        let waiting = self.matching.waiting(ONE).map(|order| text(&order)).collect::<Vec<_>>().join(" ");
        if !waiting.is_empty() {
            drawn += &format!("; {waiting}");
        }
        drawn
    }
}

/// A slice that takes off everything, for [`Alone::slice`].
pub(crate) fn all_orders(cause: u64) -> Slice {
    Slice {
        cause: Seq(cause),
        instrument: ONE,
        firm: None,
        port: None,
        group: None,
        side: None,
        day_only: false,
        reason: CancelReason::Supervisory,
    }
}

fn name(executed: &Executed) -> String {
    match executed.leaves_qty {
        Qty(0) => format!("{}", executed.key.0),
        leaves => format!("{} leaves {leaves}", executed.key.0),
    }
}

pub(crate) fn told(events: &[Event]) -> Vec<String> {
    let heard = events.iter().filter(|event| !matches!(event.body, EventBody::Terms { .. }));
    heard.map(|event| said(&event.body)).collect()
}

fn said(body: &EventBody) -> String {
    match body {
        EventBody::Accepted(order) => {
            let key = order.key.0;
            match (order.booked, order.shown_qty) {
                (false, _) => format!("{key} accepted"),
                (true, shown) if shown == order.qty => format!("{key} booked @ {}", order.price),
                (true, shown) => format!("{key} booked @ {}, shows {shown}", order.price),
            }
        }
        EventBody::Replaced(replaced) => {
            let how = if replaced.order.booked { ", booked" } else { "" };
            format!("{} replaces {}{how}", replaced.order.key.0, replaced.orig_user_ref_num.0)
        }
        EventBody::Trade(trade) => {
            format!("{}@{}: {}, {}", trade.qty, trade.price, name(&trade.resting), name(&trade.aggressor))
        }
        EventBody::Canceled(canceled) => {
            let reason = char::from(canceled.reason.code());
            match canceled.leaves_qty {
                Qty(0) => format!("{} canceled {reason}", canceled.key.0),
                leaves => format!("{} canceled {reason}, leaves {leaves}", canceled.key.0),
            }
        }
        EventBody::Modified(modified) => {
            format!("{} modified, leaves {}", modified.key.0, modified.leaves_qty)
        }
        EventBody::Rested(rested) => {
            format!("{} rests @ {}, shows {}", rested.order_ref.seq(), rested.price, rested.shown.qty)
        }
        EventBody::Refreshed(refreshed) => format!("{} shows {}", refreshed.key.0, refreshed.shown.qty),
        EventBody::Triggered { key, price, .. } => format!("{} triggered at {price}", key.0),
        EventBody::SelfTradePrevented(prevented) => format!(
            "{} prevented from {}, leaves {}",
            prevented.key.0, prevented.prevented_qty, prevented.leaves_qty
        ),
        EventBody::LimitState { on, .. } => format!("limit state {on}"),
        EventBody::PhaseChanged { phase, .. } => format!("{phase:?}"),
        EventBody::BandSet { lower, upper, .. } => format!("band {lower} to {upper}"),
        EventBody::Rejected { key, reason, .. } => format!("{} rejected {reason:?}", key.0),
        other => format!("{other:?}"),
    }
}
