//! A recorded market as a flow: what happened is asked for again, by members of ours.
//!
//! What rested was somebody's order, so a member enters it. What was executed met an aggressor whom no recording
//! names, so another member takes it, with an immediate order at the resting price. Executions of hidden orders,
//! crosses and halts ask for nothing; neither does what became of orders that rested before the recording began. An
//! event whose order is not answered yet waits, and is asked for as soon as it is.
//!
//! When the recording is over, what it left standing is cancelled, and it begins again.

use super::FlowConfig;
use crate::lobster::{BookSide, Kind, Message as Line};
use crate::orders::{Fate, OrderTable, Request};
use crate::rng::Rng;
use ironbell_wire::itch;
use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read};
use std::sync::Arc;

/// Events that wait and are looked at again for each request.
const WAITING_LOOKED_AT: usize = 16;
/// OUCH's largest quantity.
const QTY_MAX: u32 = 999_999;

/// A recorded market: every event that members can ask for, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordedMarket {
    events: Vec<Event>,
    /// When each was, in nanoseconds after midnight.
    times: Vec<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Event {
    /// The recording's number of the resting order.
    order: u64,
    instrument: u16,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Add { is_buy: bool, qty: u32, price: u64 },
    Reduce { qty: u32 },
    Delete,
    Execute { is_buy: bool, qty: u32, price: u64 },
    Replace { by: u64, is_buy: bool, qty: u32, price: u64 },
}

/// What stands by the recording, while it is read.
#[derive(Clone, Copy)]
struct Resting {
    instrument: u16,
    is_buy: bool,
    price: u64,
    leaves: u32,
}

impl RecordedMarket {
    /// Of the lines of a LOBSTER message file: one instrument.
    ///
    /// # Errors
    /// When no order in it can be asked for.
    pub fn of_lobster(lines: &[Line]) -> Result<Self, String> {
        let mut reading = Reading::default();
        for line in lines {
            let (order, qty) = (line.order_id, line.size);
            match line.kind {
                Kind::Add => {
                    let is_buy = line.side == BookSide::Bid;
                    reading.add(
                        line.time_nanos,
                        order,
                        Resting { instrument: 0, is_buy, price: line.price, leaves: qty },
                    );
                }
                Kind::Reduce => reading.reduce(line.time_nanos, order, qty),
                Kind::Delete => reading.delete(line.time_nanos, order),
                Kind::Execute => reading.execute(line.time_nanos, order, qty),
                Kind::ExecuteHidden | Kind::Cross | Kind::Halt => {}
            }
        }
        reading.finish()
    }

    /// Of a file of ITCH 5.0 messages, each behind its length of two bytes, as Nasdaq publishes them. The first
    /// `instruments_max` instruments of which an order is added are taken, in that order.
    ///
    /// # Errors
    /// What cannot be read, with its place; or that no order in it can be asked for.
    pub fn of_itch(mut file: impl Read, instruments_max: usize) -> Result<Self, String> {
        let mut reading = Reading::default();
        let mut instruments: HashMap<u16, u16> = HashMap::new();
        let (mut bytes, mut number) = ([0; itch::MESSAGE_LEN_MAX], 0_u64);
        loop {
            number += 1;
            let bad = |what: &dyn std::fmt::Display| format!("message {number}: {what}");
            let mut length = [0; 2];
            match file.read(&mut length[..1]) {
                Ok(0) => break,
                Ok(_) => file.read_exact(&mut length[1..]).map_err(|e| bad(&e))?,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(bad(&e)),
            }
            let length = usize::from(u16::from_be_bytes(length));
            let message = bytes
                .get_mut(..length)
                .ok_or_else(|| bad(&format_args!("{length} bytes are more than any ITCH message has")))?;
            file.read_exact(message).map_err(|e| bad(&e))?;
            let message = itch::Message::parse(message).map_err(|e| bad(&e))?;
            let mut add = |at: u64, locate: u16, order: u64, side: u8, qty: u32, price: u32| {
                let next = instruments.len();
                let instrument = match instruments.get(&locate) {
                    Some(known) => *known,
                    None if next < instruments_max => *instruments.entry(locate).or_insert(next as u16),
                    None => return,
                };
                let (is_buy, price) = (side == b'B', u64::from(price));
                reading.add(at, order, Resting { instrument, is_buy, price, leaves: qty });
            };
            match message {
                itch::Message::AddOrder(m) => add(
                    m.timestamp.get(),
                    m.stock_locate.get(),
                    m.order_reference.get(),
                    m.buy_sell,
                    m.shares.get(),
                    m.price.get(),
                ),
                itch::Message::AddOrderMpid(m) => add(
                    m.timestamp.get(),
                    m.stock_locate.get(),
                    m.order_reference.get(),
                    m.buy_sell,
                    m.shares.get(),
                    m.price.get(),
                ),
                itch::Message::OrderExecuted(m) => {
                    reading.execute(m.timestamp.get(), m.order_reference.get(), m.executed_shares.get());
                }
                itch::Message::OrderExecutedWithPrice(m) => {
                    reading.execute(m.timestamp.get(), m.order_reference.get(), m.executed_shares.get());
                }
                itch::Message::OrderCancel(m) => {
                    reading.reduce(m.timestamp.get(), m.order_reference.get(), m.cancelled_shares.get());
                }
                itch::Message::OrderDelete(m) => reading.delete(m.timestamp.get(), m.order_reference.get()),
                itch::Message::OrderReplace(m) => reading.replace(
                    m.timestamp.get(),
                    m.original_order_reference.get(),
                    m.new_order_reference.get(),
                    m.shares.get(),
                    u64::from(m.price.get()),
                ),
                _ => {}
            }
        }
        reading.finish()
    }

    /// How many events it has.
    #[must_use]
    pub fn count(&self) -> usize {
        self.events.len()
    }

    /// When each event was, in seconds.
    #[must_use]
    pub fn times(&self) -> Vec<f64> {
        self.times.iter().map(|nanos| *nanos as f64 / 1e9).collect()
    }
}

/// A recording being read: what does not concern a known order is left out.
#[derive(Default)]
struct Reading {
    market: RecordedMarket,
    standing: HashMap<u64, Resting>,
}

impl Reading {
    fn note(&mut self, at: u64, order: u64, instrument: u16, what: What) {
        self.market.events.push(Event { order, instrument, what });
        self.market.times.push(at);
    }

    fn add(&mut self, at: u64, order: u64, resting: Resting) {
        let Resting { instrument, is_buy, price, leaves } = resting;
        if leaves == 0 || price == 0 {
            return;
        }
        self.standing.insert(order, resting);
        self.note(at, order, instrument, What::Add { is_buy, qty: leaves.min(QTY_MAX), price });
    }

    /// Takes so many off a standing order; it as it was.
    fn take(&mut self, order: u64, qty: u32) -> Option<Resting> {
        let resting = self.standing.get_mut(&order)?;
        let before = *resting;
        resting.leaves = resting.leaves.saturating_sub(qty);
        if resting.leaves == 0 {
            self.standing.remove(&order);
        }
        Some(before)
    }

    fn reduce(&mut self, at: u64, order: u64, qty: u32) {
        if let Some(before) = self.take(order, qty) {
            let what = if qty < before.leaves { What::Reduce { qty } } else { What::Delete };
            self.note(at, order, before.instrument, what);
        }
    }

    fn delete(&mut self, at: u64, order: u64) {
        self.reduce(at, order, u32::MAX);
    }

    fn execute(&mut self, at: u64, order: u64, qty: u32) {
        if let Some(Resting { instrument, is_buy, price, leaves }) = self.take(order, qty) {
            self.note(
                at,
                order,
                instrument,
                What::Execute { is_buy, qty: qty.min(leaves).min(QTY_MAX), price },
            );
        }
    }

    fn replace(&mut self, at: u64, order: u64, by: u64, qty: u32, price: u64) {
        if qty == 0 || price == 0 {
            return self.delete(at, order);
        }
        if let Some(before) = self.standing.remove(&order) {
            self.standing.insert(by, Resting { price, leaves: qty, ..before });
            let what = What::Replace { by, is_buy: before.is_buy, qty: qty.min(QTY_MAX), price };
            self.note(at, order, before.instrument, what);
        }
    }

    fn finish(self) -> Result<RecordedMarket, String> {
        if self.market.events.is_empty() {
            return Err("no order in it can be asked for: it adds none".to_owned());
        }
        Ok(self.market)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Recorded {
    market: Arc<RecordedMarket>,
    ticks: Vec<u64>,
    rng: Rng,
    next: usize,
    waiting: VecDeque<Event>,
    /// By the recording's number: whose it is here, and by which number.
    ours: HashMap<u64, (usize, u32)>,
    /// The recording's numbers as they were entered; at its end, what is still to be cancelled.
    entered: Vec<u64>,
}

enum Asked {
    Now(usize, Request),
    Later,
    Never,
}

impl Recorded {
    pub(super) fn new(config: &FlowConfig, market: Arc<RecordedMarket>) -> Self {
        assert!(market.count() > 0, "a recording has events");
        Self {
            market,
            ticks: config.instruments.iter().map(|traded| traded.tick).collect(),
            rng: Rng::new(config.seed),
            next: 0,
            waiting: VecDeque::new(),
            ours: HashMap::new(),
            entered: Vec::new(),
        }
    }

    pub(super) fn next(&mut self, tables: &[OrderTable]) -> (usize, Request) {
        let mut place = 0;
        while place < self.waiting.len().min(WAITING_LOOKED_AT) {
            match self.ask(self.waiting[place], tables) {
                Asked::Now(member, request) => {
                    self.waiting.remove(place);
                    return (member, request);
                }
                Asked::Never => {
                    self.waiting.remove(place);
                }
                Asked::Later => place += 1,
            }
        }
        loop {
            if self.next == self.market.events.len() {
                if let Some(request) = self.clear(tables) {
                    return request;
                }
                self.next = 0;
                self.waiting.clear();
                self.ours.clear();
            }
            let event = self.market.events[self.next];
            self.next += 1;
            if usize::from(event.instrument) >= self.ticks.len() {
                continue;
            }
            match self.ask(event, tables) {
                Asked::Now(member, request) => return (member, request),
                Asked::Later => self.waiting.push_back(event),
                Asked::Never => {}
            }
        }
    }

    fn ask(&mut self, event: Event, tables: &[OrderTable]) -> Asked {
        let Event { order, instrument, what } = event;
        if let What::Add { is_buy, qty, price } = what {
            let member = self.rng.below(tables.len() as u64) as usize;
            return self.enter(order, member, tables, instrument, (is_buy, qty, price));
        }
        // Only what a replacement that waits will enter is not known yet.
        let Some(&(member, num)) = self.ours.get(&order) else { return Asked::Later };
        let table = &tables[member];
        let fate = table.fate(num);
        match (what, fate) {
            (What::Execute { is_buy, qty, price }, _) => {
                let others = tables.len().max(2) as u64 - 1;
                let taker = (member + 1 + self.rng.below(others) as usize) % tables.len();
                let user_ref_num = tables[taker].next_num();
                let price = self.on_tick(instrument, is_buy, price);
                let enter =
                    Request::Enter { user_ref_num, instrument, is_buy: !is_buy, qty, price, is_ioc: true };
                Asked::Now(taker, enter)
            }
            (_, Fate::UnderWay) => Asked::Later,
            (What::Replace { by, is_buy, qty, price }, Fate::Live(live)) => {
                let user_ref_num = table.next_num();
                self.ours.insert(by, (member, user_ref_num));
                self.entered.push(by);
                let (price, qty) =
                    (self.on_tick(instrument, is_buy, price), (live.executed + qty).min(QTY_MAX));
                Asked::Now(member, Request::Replace { orig_user_ref_num: num, user_ref_num, qty, price })
            }
            // Here it is over, in the recording it was not.
            (What::Replace { by, is_buy, qty, price }, Fate::Over) => {
                self.enter(by, member, tables, instrument, (is_buy, qty, price))
            }
            (What::Reduce { qty }, Fate::Live(live)) if qty < live.leaves => Asked::Now(
                member,
                Request::Cancel { user_ref_num: num, qty: live.executed + live.leaves - qty },
            ),
            (What::Reduce { .. } | What::Delete, Fate::Live(_)) => {
                Asked::Now(member, Request::Cancel { user_ref_num: num, qty: 0 })
            }
            _ => Asked::Never,
        }
    }

    fn enter(
        &mut self,
        order: u64,
        member: usize,
        tables: &[OrderTable],
        instrument: u16,
        (is_buy, qty, price): (bool, u32, u64),
    ) -> Asked {
        let user_ref_num = tables[member].next_num();
        self.ours.insert(order, (member, user_ref_num));
        self.entered.push(order);
        let price = self.on_tick(instrument, is_buy, price);
        Asked::Now(member, Request::Enter { user_ref_num, instrument, is_buy, qty, price, is_ioc: false })
    }

    /// Away from the other side where the venue's tick is coarser than the recording's.
    fn on_tick(&self, instrument: u16, is_buy: bool, price: u64) -> u64 {
        let tick = self.ticks[usize::from(instrument)];
        let ticks = if is_buy { price / tick } else { price.div_ceil(tick) };
        ticks.max(1) * tick
    }

    /// Cancels what is left, an order a call; `None` when nothing is. What is under way by then stays.
    fn clear(&mut self, tables: &[OrderTable]) -> Option<(usize, Request)> {
        while let Some(order) = self.entered.pop() {
            let (member, num) = self.ours[&order];
            if let Fate::Live(_) = tables[member].fate(num) {
                return Some((member, Request::Cancel { user_ref_num: num, qty: 0 }));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mix;
    use crate::load::tests::{Sim, flow};
    use crate::lobster::{Recording, generate};
    use crate::paper_exchange::Fault;
    use ironbell_wire::IntoBytes as _;
    use ironbell_wire::itch::{AddOrder, OrderDelete, OrderExecuted, OrderReplace};
    use ironbell_wire::{Type, U16, U32, U48, U64};
    use std::collections::BTreeMap;

    /// So many levels are shown that nothing happens outside of them, where a recording has no lines. All sizes are even:
    /// the paper exchange refuses an odd one.
    fn lobster(seed: u64) -> Vec<Line> {
        let files = generate(seed, 2_000, 60);
        let lines = Recording::read(files.messages.as_bytes(), files.depths.as_bytes()).unwrap().messages;
        lines.into_iter().map(|line| Line { size: 2 * line.size, ..line }).collect()
    }

    /// What stands behind the lines by themselves, of the orders that they add: side, price and shares, by level.
    fn standing(lines: &[Line]) -> BTreeMap<(bool, u64), u64> {
        let mut orders: BTreeMap<u64, (bool, u64, u64)> = BTreeMap::new();
        for line in lines {
            let size = u64::from(line.size);
            match line.kind {
                Kind::Add => {
                    _ = orders.insert(line.order_id, (line.side == BookSide::Bid, line.price, size));
                }
                Kind::Delete => {
                    orders.remove(&line.order_id);
                }
                Kind::Reduce | Kind::Execute => {
                    if let Some((.., left)) = orders.get_mut(&line.order_id) {
                        *left -= size.min(*left);
                    }
                }
                _ => {}
            }
        }
        let mut levels = BTreeMap::new();
        for (is_buy, price, left) in orders.into_values().filter(|(.., left)| *left > 0) {
            *levels.entry((is_buy, price)).or_default() += left;
        }
        levels
    }

    #[test]
    fn a_recording_is_asked_for_again_and_leaves_the_book_that_it_left() {
        for seed in [1, 2, 3] {
            println!("seed {seed}");
            let lines = lobster(seed);
            let market = Arc::new(RecordedMarket::of_lobster(&lines).unwrap());
            let events = market.count() as u64;
            let config = FlowConfig { mix: Mix::Recorded(market), ..flow(seed) };
            let mut sim = Sim::styled(config, 4, Fault::None);
            // One at a time: every event finds its order answered.
            sim.run_one_by_one(events);
            assert_eq!(sim.load.violations(), [] as [String; 0]);
            let mut levels: BTreeMap<(bool, u64), u64> = BTreeMap::new();
            for table in sim.load.tables() {
                for index in 0..table.live_count() {
                    let live = table.live(index);
                    let price = table.price(live.user_ref_num).unwrap();
                    *levels.entry((live.is_buy, price)).or_default() += u64::from(live.leaves);
                }
            }
            assert_eq!(levels, standing(&lines), "seed {seed}");
            assert!(sim.load.counts().trades > 20, "{:?}", sim.load.counts());
            // Over and over, with answers under way: no rule is broken, and nothing piles up.
            let live = sim.load.live_count();
            sim.run(1_000_000_000_000, 4 * events);
            assert_eq!(sim.load.violations(), [] as [String; 0]);
            assert!(sim.load.live_count() < 3 * live + 50, "{} stand, {live} did", sim.load.live_count());
        }
    }

    #[test]
    fn itch_is_read_and_what_it_does_not_tell_is_found() {
        let mut file = Vec::new();
        let mut put = |bytes: &[u8]| {
            file.extend((bytes.len() as u16).to_be_bytes());
            file.extend(bytes);
        };
        let add = |locate: u16, order: u64, side: u8, price: u32| AddOrder {
            message_type: Type::new(),
            stock_locate: U16::new(locate),
            tracking_number: U16::new(0),
            timestamp: U48::new(order * 1_000),
            order_reference: U64::new(order),
            buy_sell: side,
            shares: U32::new(100),
            stock: *b"XYZ     ",
            price: U32::new(price),
        };
        put(add(7, 1, b'B', 10_000).as_bytes());
        put(add(9, 2, b'S', 20_000).as_bytes());
        put(add(7, 3, b'S', 10_100).as_bytes());
        let (message_type, stock_locate, tracking_number) = (Type::new(), U16::new(7), U16::new(0));
        let timestamp = U48::new(4_000);
        let (executed_shares, match_number) = (U32::new(40), U64::new(1));
        put(OrderExecuted {
            message_type,
            stock_locate,
            tracking_number,
            timestamp,
            order_reference: U64::new(1),
            executed_shares,
            match_number,
        }
        .as_bytes());
        let (original_order_reference, new_order_reference) = (U64::new(3), U64::new(5));
        put(OrderReplace {
            message_type: Type::new(),
            stock_locate,
            tracking_number,
            timestamp,
            original_order_reference,
            new_order_reference,
            shares: U32::new(50),
            price: U32::new(10_200),
        }
        .as_bytes());
        for order in [5, 77] {
            let order_reference = U64::new(order);
            put(OrderDelete {
                message_type: Type::new(),
                stock_locate,
                tracking_number,
                timestamp,
                order_reference,
            }
            .as_bytes());
        }
        let market = RecordedMarket::of_itch(&file[..], 1).unwrap();
        let event = |order, what| Event { order, instrument: 0, what };
        assert_eq!(
            market.events,
            [
                event(1, What::Add { is_buy: true, qty: 100, price: 10_000 }),
                event(3, What::Add { is_buy: false, qty: 100, price: 10_100 }),
                event(1, What::Execute { is_buy: true, qty: 40, price: 10_000 }),
                event(3, What::Replace { by: 5, is_buy: false, qty: 50, price: 10_200 }),
                event(5, What::Delete),
            ],
            "one instrument was asked for, and nobody knows order 77"
        );
        assert_eq!(market.times(), [1e-6, 3e-6, 4e-6, 4e-6, 4e-6]);
        assert_eq!(RecordedMarket::of_itch(&file[..], 2).unwrap().events[1].instrument, 1);
        // Cut anywhere within a message, it says where.
        let error = RecordedMarket::of_itch(&file[..50], 1).unwrap_err();
        assert!(error.starts_with("message 2"), "{error}");
        let error = RecordedMarket::of_itch(&[0, 2, b'?', 0][..], 1).unwrap_err();
        assert!(error.starts_with("message 1"), "{error}");
        assert!(RecordedMarket::of_itch(&[][..], 1).unwrap_err().contains("adds none"));
    }
}
