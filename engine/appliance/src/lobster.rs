//! `ironbell replay-lobster`: real level-3 data through real TCP sessions, our book against the reference
//! book after every event.
//!
//! Two members trade: one rests every order, the other takes. The book compared is the one a follower
//! rebuilds from the feed, not the engine's.

use std::fs::File;
use std::io::{BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use ironbell_client::itch_book::ItchBook;
use ironbell_client::market_data::{Delivery, LateJoinClient};
use ironbell_client::order_entry::{Event, Member, NewOrder};
use ironbell_load::lobster::{BookSide, Depth, Fill, Level, OrderId, Recording, Replay, Report, Venue};
use ironbell_load::{self as load, Latency};
use ironbell_session::Config as SessionConfig;
use ironbell_types::{Nanos, Side, Symbol, Username};
use ironbell_wire::ouch::{OptionsBuf, Outbound};

use crate::failure::Failure;
use crate::trial::{self, TrialNode};

/// Arguments of `ironbell replay-lobster`.
#[derive(Args)]
pub struct Options {
    /// The message file: time, type, order id, size, price, direction.
    message: PathBuf,
    /// The order book file: the levels after the event on the same line.
    orderbook: PathBuf,
    /// Print the summary alone, not a line per event.
    #[arg(long)]
    quiet: bool,
    /// The node's folder; an earlier trial there is replaced.
    #[arg(long, value_name = "DIR", default_value = "target/lobster")]
    dir: PathBuf,
}

const SYMBOL: &str = "LOBSTER";
const PASSWORD: &str = "trial";
/// Money and shares for any recording: a thousandth of what 128 bits hold would do as well.
const GENESIS: &str = r#"
[genesis]
assets = [{ code = "USD", decimals = 4 }, { code = "SHARE", decimals = 0 }]
instruments = [{ symbol = "LOBSTER", base = "SHARE", quote = "USD", tick = "0.0001" }]
firms = [{ mpid = "REST" }, { mpid = "TAKE" }]
ports = [
    { username = "REST", password = "trial", firm = "REST", account = 1, notional_max = "1000000000000" },
    { username = "TAKE", password = "trial", firm = "TAKE", account = 2, notional_max = "1000000000000" },
]
funds = [
    { account = 1, asset = "USD", amount = "1000000000000000" }, { account = 1, asset = "SHARE", amount = "1000000000000" },
    { account = 2, asset = "USD", amount = "1000000000000000" }, { account = 2, asset = "SHARE", amount = "1000000000000" },
]
"#;

/// The command.
///
/// # Errors
/// When a file cannot be read, the node does not start, or a determined level is not equal.
pub fn run(options: &Options) -> Result<(), Failure> {
    let recording = read(&options.message, &options.orderbook)?;
    let mut node = TrialNode::prepare(&options.dir, GENESIS, None)?;
    node.start()?;
    let mut venue = TcpVenue::connect(&node)?;
    let mut out = std::io::stdout().lock();
    let mut replay = Replay::new(&recording);
    let begun = Instant::now();
    if !options.quiet {
        let _ = writeln!(
            out,
            "{:>8} {:>15} {:>4} {:>12} {:>8} {:>12} {:>4}  levels",
            "line", "time s", "type", "order", "size", "price", "side"
        );
    }
    while let Some(step) = replay.step(&mut venue)? {
        let m = &step.message;
        let verdict = if step.unequal == 0 { "equal" } else { "UNEQUAL" };
        if !options.quiet || step.unequal > 0 {
            let line = writeln!(
                out,
                "{:>8} {:>5}.{:09} {:>4} {:>12} {:>8} {:>12} {:>4}  {} compared, {verdict}",
                step.line,
                m.time_nanos / 1_000_000_000,
                m.time_nanos % 1_000_000_000,
                m.kind.number(),
                m.order_id,
                m.size,
                format!("{}.{:04}", m.price / 10_000, m.price % 10_000),
                if m.side == BookSide::Bid { "buy" } else { "sell" },
                step.compared,
            );
            if line.is_err() {
                // Whoever read this has gone; the summary is not for them either.
                return Ok(());
            }
        }
    }
    let report = replay.report().clone();
    let _ = write!(
        out,
        "{}",
        summary(&report, &venue, recording.messages.len(), begun.elapsed(), &node.durability)
    );
    drop(out);
    node.kill();
    if report.books_equal() {
        return Ok(());
    }
    Err(Failure::check(format_args!(
        "{} of {} level comparisons are not equal",
        report.determined_unequal + report.anchored_unequal,
        report.determined_compared + report.anchored_compared
    )))
}

fn read(messages: &Path, depths: &Path) -> Result<Recording, Failure> {
    let open = |path: &Path| {
        File::open(path)
            .map(BufReader::new)
            .map_err(|e| Failure::file(path, e, "give an existing LOBSTER file"))
    };
    Recording::read(open(messages)?, open(depths)?)
        .map_err(|e| Failure::refused(format_args!("{} with {}: {e}", messages.display(), depths.display())))
}

fn summary(report: &Report, venue: &TcpVenue, events: usize, elapsed: Duration, durability: &str) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    let by_type: Vec<_> = report
        .events
        .iter()
        .zip(1..)
        .filter(|(n, _)| **n > 0)
        .map(|(n, t)| format!("type {t}: {n}"))
        .collect();
    let _ = writeln!(
        text,
        "\nevents            {events} in {:.1} s ({})",
        elapsed.as_secs_f64(),
        by_type.join(", ")
    );
    let _ = writeln!(
        text,
        "orders            {} seeded from the first row; {} added, {} cancelled or reduced, {} taken",
        report.orders_seeded, report.adds, report.cancels, report.takes
    );
    let _ = writeln!(
        text,
        "determined levels {} compared, {} unequal",
        report.determined_compared, report.determined_unequal
    );
    let _ = writeln!(
        text,
        "anchored levels   {} compared, {} unequal",
        report.anchored_compared, report.anchored_unequal
    );
    for (divergence, tally) in &report.divergences {
        let _ = writeln!(
            text,
            "divergence        {divergence:?}: {} times, first at line {}",
            tally.count, tally.first_line
        );
    }
    for m in report.mismatches.iter().take(10) {
        let _ = writeln!(
            text,
            "unequal           line {} {:?} {}: recorded {}, ours {}",
            m.line, m.side, m.price, m.recorded, m.ours
        );
    }
    let _ = writeln!(text, "durability        {durability}\n");
    text + &load::table(&[("order sent -> ack received, one at a time", venue.latency.percentiles())])
}

/// The venue under replay, over TCP: two members and a follower of the feed.
struct TcpVenue {
    rest: Member,
    take: Member,
    feed: LateJoinClient,
    book: ItchBook,
    symbol: Symbol,
    /// Our name of the order behind each UserRefNum of the resting member, and the other way round.
    orders: Vec<OrderId>,
    numbers: std::collections::HashMap<OrderId, u32>,
    clock: Instant,
    latency: Latency,
    next_itch: u64,
}

/// How long an answer may take before the node counts as gone.
const ANSWER_MAX: Duration = Duration::from_secs(60);

impl TcpVenue {
    fn connect(node: &TrialNode) -> Result<Self, Failure> {
        let status = node.status()?;
        let address = |text: &str| -> Result<SocketAddr, Failure> {
            text.parse().map_err(|_| Failure::check(format_args!("the node says it listens on {text:?}")))
        };
        let clock = Instant::now();
        let config = SessionConfig::default();
        let member = |name: &str| -> Result<Member, Failure> {
            let username = Username::new(name).expect("it is short");
            Member::connect(address(&status.order_entry)?, &config, username, PASSWORD, 1, now(clock))
                .map_err(Failure::check)
        };
        let (glimpse, itch) = (address(&status.glimpse)?, address(&status.itch)?);
        let feed = LateJoinClient::connect(config, trial::anyone(), glimpse, itch, now(clock));
        let mut venue = Self {
            rest: member("REST")?,
            take: member("TAKE")?,
            feed: feed.map_err(Failure::check)?,
            book: ItchBook::new(),
            symbol: Symbol::new(SYMBOL).expect("it is short"),
            orders: Vec::new(),
            numbers: std::collections::HashMap::new(),
            clock,
            latency: Latency::default(),
            next_itch: 0,
        };
        for taker in [false, true] {
            let since = Instant::now();
            while !(if taker { &mut venue.take } else { &mut venue.rest }).entry().is_up() {
                venue.poll_member(taker, |_| Ok(()))?;
                if since.elapsed() > ANSWER_MAX {
                    return Err(Failure::check("a member was not let in"));
                }
            }
        }
        venue.follow_until(status.feed_sequence)?;
        Ok(venue)
    }

    fn poll_member(
        &mut self,
        taker: bool,
        mut on: impl FnMut(&Outbound<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let member = if taker { &mut self.take } else { &mut self.rest };
        member.poll(now(self.clock)).map_err(Failure::check)?;
        while let Some(event) = member.next().map_err(Failure::check)? {
            match event {
                Event::Message { message, .. } => on(&message)?,
                Event::Refused(why) => {
                    return Err(Failure::check(format_args!("a member was refused: {why:?}")));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Polls a member until `done` says so of one of its messages.
    fn await_answer(
        &mut self,
        taker: bool,
        mut done: impl FnMut(&Outbound<'_>) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let since = Instant::now();
        let mut over = false;
        while !over {
            self.poll_member(taker, |message| {
                over |= done(message)?;
                Ok(())
            })?;
            if since.elapsed() > ANSWER_MAX {
                return Err(Failure::check("the node does not answer"));
            }
        }
        Ok(())
    }

    fn follow_until(&mut self, next: u64) -> Result<(), Failure> {
        let since = Instant::now();
        while self.feed.joiner().next() < next {
            let (book, mut fault) = (&mut self.book, None);
            let polled = self.feed.poll(now(self.clock), &mut |delivery| {
                let (Delivery::Snapshot(message) | Delivery::Stream(_, message)) = delivery;
                if let Err(e) = book.apply(message) {
                    fault = fault.take().or(Some(e));
                }
            });
            polled.map_err(Failure::check)?;
            if let Some(fault) = fault {
                return Err(Failure::check(format_args!("the feed is wrong: {fault}")));
            }
            if since.elapsed() > ANSWER_MAX {
                return Err(Failure::check(format_args!("the feed stands at {}", self.feed.joiner().next())));
            }
        }
        self.next_itch = self.feed.joiner().next();
        Ok(())
    }
}

fn now(clock: Instant) -> Nanos {
    Nanos(clock.elapsed().as_nanos() as u64 + 1)
}

fn side_of(side: BookSide) -> Side {
    if side == BookSide::Bid { Side::Buy } else { Side::Sell }
}

fn unexpected(message: &Outbound<'_>) -> Failure {
    Failure::check(format_args!("an answer that was not expected: {message:?}"))
}

impl Venue for TcpVenue {
    type Error = Failure;

    fn add(&mut self, order: OrderId, side: BookSide, size: u32, price: u64) -> Result<(), Failure> {
        let sent = now(self.clock);
        let new = NewOrder::day(side_of(side), size, self.symbol, price);
        let number = self.rest.entry().enter(&new, &OptionsBuf::EMPTY).map_err(Failure::check)?;
        assert_eq!(number as usize, self.orders.len() + 1, "numbers are dense");
        self.orders.push(order);
        self.numbers.insert(order, number);
        self.await_answer(false, |message| match message {
            Outbound::OrderAccepted(told, _) if told.user_ref_num.get() == number => Ok(true),
            Outbound::Rejected(..) => Err(unexpected(message)),
            _ => Ok(false),
        })?;
        self.latency.record(sent, now(self.clock));
        self.follow_until(self.next_itch + 1)
    }

    fn cancel(&mut self, order: OrderId, total: u32) -> Result<(), Failure> {
        let number = self.numbers[&order];
        let sent = now(self.clock);
        self.rest.entry().cancel(number, total).map_err(Failure::check)?;
        self.await_answer(false, |message| match message {
            Outbound::OrderCanceled(told, _) => Ok(told.user_ref_num.get() == number),
            _ => Ok(false),
        })?;
        self.latency.record(sent, now(self.clock));
        self.follow_until(self.next_itch + 1)
    }

    fn take(&mut self, side: BookSide, size: u32, price: u64, fills: &mut Vec<Fill>) -> Result<(), Failure> {
        let sent = now(self.clock);
        let new = NewOrder::ioc(side_of(side), size, self.symbol, price);
        let number = self.take.entry().enter(&new, &OptionsBuf::EMPTY).map_err(Failure::check)?;
        let (mut open, mut executed, mut acked) = (size, 0, None);
        let clock = self.clock;
        self.await_answer(true, |message| {
            match message {
                Outbound::OrderAccepted(told, _) if told.user_ref_num.get() == number => {
                    acked = Some(now(clock));
                }
                Outbound::OrderExecuted(told, _) => {
                    open -= told.quantity.get();
                    executed += told.quantity.get();
                }
                Outbound::OrderCanceled(told, _) => open -= told.quantity.get(),
                Outbound::Rejected(..) => return Err(unexpected(message)),
                _ => {}
            }
            Ok(open == 0)
        })?;
        self.latency
            .record(sent, acked.ok_or_else(|| Failure::check("an order traded before it was accepted"))?);
        // The resting member hears of the same executions, one message each.
        let (mut heard, orders, before) = (0, std::mem::take(&mut self.orders), fills.len());
        if executed > 0 {
            self.await_answer(false, |message| {
                if let Outbound::OrderExecuted(told, _) = message {
                    fills.push(Fill {
                        order: orders[told.user_ref_num.get() as usize - 1],
                        size: told.quantity.get(),
                    });
                    heard += told.quantity.get();
                }
                Ok(heard == executed)
            })?;
        }
        self.orders = orders;
        self.follow_until(self.next_itch + (fills.len() - before) as u64)
    }

    fn book(&mut self, depth: &mut Depth) -> Result<(), Failure> {
        let locate = self
            .book
            .locate(self.symbol)
            .ok_or_else(|| Failure::check("the feed does not announce the symbol"))?;
        for (side, levels) in [(Side::Buy, &mut depth.bids), (Side::Sell, &mut depth.asks)] {
            levels.clear();
            levels.extend(
                self.book.depth(locate, side).map(|d| Level { price: u64::from(d.price), size: d.shares }),
            );
        }
        Ok(())
    }
}
