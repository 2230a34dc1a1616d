//! From recorded events to members' actions, and the comparison of books.
//!
//! A recording shows the best levels of a side only (ten, say), and reports only events on them.
//! What follows from that:
//!
//! - *The window* of a side is every price from the best down to the last level shown, the empty
//!   prices between included; with fewer levels shown than the file has room for, it is every price.
//! - Before the first event the window is seeded from the first row, with that row's own event
//!   undone: one *anonymous* order a level, for all orders that rested there before. They are older
//!   than every order the file adds, so they stand in front, as they should.
//! - While a price stays inside the window, every change on it is reported: it is *determined*.
//! - A price that leaves the window may change unreported. When the window comes back over it, the
//!   row shows what is there: the level is *anchored*, that is, kept if its total agrees and else
//!   cancelled and put back as one anonymous order. From the next event on it is compared too, but
//!   counted apart until the row shows the price empty; then what comes is wholly the file's own again.
//! - An event on an order the file never added reduces the level's anonymous order.
//! - An execution becomes an immediate-or-cancel order of the other side for exactly the executed
//!   size at the resting price. It must hit the very order named. If our book would serve another
//!   order first, that is a [`Divergence`]: counted, with its first line, and the size is taken off
//!   the named order by a cancel, so that one odd execution is one entry and not a cascade.

use super::file::{BookSide, Depth, Kind, Level, Message, Recording};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Largest size of one order (OUCH 5.0: Quantity 1 to 999,999); larger levels are seeded in pieces.
const ORDER_SIZE_MAX: u64 = 999_999;
/// How many mismatches a report keeps in full.
const MISMATCHES_KEPT: usize = 100;

/// What the replay calls an order it has put into the venue: dense from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderId(pub u64);

/// One execution of a resting order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Which resting order.
    pub order: OrderId,
    /// How many shares.
    pub size: u32,
}

/// What a recording is replayed against. Every call returns when its whole effect is to be seen in
/// [`Venue::book`]. Prices in dollars × 10,000, sizes in shares, at most 999,999.
pub trait Venue {
    /// Why the venue cannot go on.
    type Error;

    /// Rests a day order, behind those at its price. It never trades on entry: the replay has checked.
    ///
    /// # Errors
    /// The venue cannot go on.
    fn add(&mut self, order: OrderId, side: BookSide, size: u32, price: u64) -> Result<(), Self::Error>;

    /// Reduces an order in place to a new intended `total`, what was executed of it included; 0 cancels all.
    ///
    /// # Errors
    /// The venue cannot go on.
    fn cancel(&mut self, order: OrderId, total: u32) -> Result<(), Self::Error>;

    /// Sends an immediate-or-cancel order of `side` (the aggressor's) and appends what it hit to `fills`.
    ///
    /// # Errors
    /// The venue cannot go on.
    fn take(
        &mut self,
        side: BookSide,
        size: u32,
        price: u64,
        fills: &mut Vec<Fill>,
    ) -> Result<(), Self::Error>;

    /// Writes the book as the venue's market data show it, every level of both sides, into `depth`.
    ///
    /// # Errors
    /// The venue cannot go on.
    fn book(&mut self, depth: &mut Depth) -> Result<(), Self::Error>;
}

/// What did not go as price-time priority over the shown orders would have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Divergence {
    /// An execution names an order behind another at its price.
    ExecutedOutOfTurn,
    /// An execution at a price while our book holds a better one.
    ExecutedThroughBetterPrice,
    /// The venue's executions are not the ones expected.
    VenueHitOther,
    /// An event on an order never added, at a price with no anonymous order left.
    UnknownOrder,
    /// An event takes more off an order than it has left, or a deletion less.
    SizeDisagrees,
    /// An event names an order at another side or price than it was added at.
    PlaceDisagrees,
    /// An order number is added twice.
    AddedTwice,
    /// An added order would have traded; it was left out.
    AddWouldTrade,
}

/// How often something happened, and where first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// How often.
    pub count: u64,
    /// Line of the message file, from 1, where it happened first.
    pub first_line: usize,
}

/// A level of ours that is not the recorded one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Line of the files, from 1.
    pub line: usize,
    /// Which side.
    pub side: BookSide,
    /// Dollars × 10,000.
    pub price: u64,
    /// Shares recorded; 0 for no level.
    pub recorded: u64,
    /// Shares of ours; 0 for no level.
    pub ours: u64,
    /// Whether the level is determined (and not merely anchored).
    pub determined: bool,
}

/// What the replay came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Events replayed, by kind: index = number of the type − 1.
    pub events: [u64; 7],
    /// Orders put in before the first event.
    pub orders_seeded: u64,
    /// Levels kept or put back when the window came over them again.
    pub levels_anchored: u64,
    /// Levels cancelled because the window came over them again and they were gone.
    pub levels_stale: u64,
    /// Actions sent for events: new orders.
    pub adds: u64,
    /// Actions sent for events: cancels, whole or in part.
    pub cancels: u64,
    /// Actions sent for events: immediate-or-cancel orders.
    pub takes: u64,
    /// Comparisons of determined levels.
    pub determined_compared: u64,
    /// Those that were not equal.
    pub determined_unequal: u64,
    /// Comparisons of anchored levels.
    pub anchored_compared: u64,
    /// Those that were not equal.
    pub anchored_unequal: u64,
    /// The first hundred levels that were not equal.
    pub mismatches: Vec<Mismatch>,
    /// What did not go as priority has it.
    pub divergences: BTreeMap<Divergence, Tally>,
}

impl Report {
    /// Whether every compared level was equal at every event.
    #[must_use]
    pub const fn books_equal(&self) -> bool {
        self.determined_unequal == 0 && self.anchored_unequal == 0
    }
}

/// One event's comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Line of the files, from 1.
    pub line: usize,
    /// The event.
    pub message: Message,
    /// Levels compared.
    pub compared: u32,
    /// Levels that were not equal.
    pub unequal: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Add {
        order: OrderId,
        side: BookSide,
        size: u32,
        price: u64,
    },
    Cancel {
        order: OrderId,
        total: u32,
    },
    /// `side` is the aggressor's; the planned fills stand in `Replay::expected`.
    Take {
        side: BookSide,
        size: u32,
        price: u64,
    },
}

#[derive(Clone, Copy, Debug)]
struct Resting {
    order: OrderId,
    /// The file's number; `None` for an anonymous order.
    id: Option<u64>,
    executed: u32,
    leaves: u32,
}

/// One side of the book as it must stand in the venue, and what of it the recording determines.
#[derive(Debug, Default)]
struct Side {
    levels: BTreeMap<u64, Vec<Resting>>,
    /// The worst price in the window; `None` when it is every price.
    bound: Option<u64>,
    anchored: BTreeSet<u64>,
}

impl Side {
    fn size_at(&self, price: u64) -> u64 {
        self.levels.get(&price).map_or(0, |queue| queue.iter().map(|resting| u64::from(resting.leaves)).sum())
    }
}

fn covers(side: BookSide, bound: Option<u64>, price: u64) -> bool {
    bound.is_none_or(|worst| !side.is_better(worst, price))
}

/// A replay under way.
#[derive(Debug)]
pub struct Replay<'a> {
    recording: &'a Recording,
    next: usize,
    bids: Side,
    asks: Side,
    places: HashMap<u64, (BookSide, u64)>,
    orders: u64,
    actions: Vec<Action>,
    expected: Vec<Fill>,
    fills: Vec<Fill>,
    ours: Depth,
    report: Report,
}

impl<'a> Replay<'a> {
    /// A replay of `recording` from its first event.
    #[must_use]
    pub fn new(recording: &'a Recording) -> Self {
        Self {
            recording,
            next: 0,
            bids: Side::default(),
            asks: Side::default(),
            places: HashMap::new(),
            orders: 0,
            actions: Vec::new(),
            expected: Vec::new(),
            fills: Vec::new(),
            ours: Depth::default(),
            report: Report::default(),
        }
    }

    /// Replays everything.
    ///
    /// # Errors
    /// The venue's.
    pub fn run<V: Venue>(mut self, venue: &mut V) -> Result<Report, V::Error> {
        while self.step(venue)?.is_some() {}
        Ok(self.report)
    }

    /// What it has come to so far.
    #[must_use]
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// Replays the next event (the first call seeds the venue before it) and compares the books;
    /// `None` at the end.
    ///
    /// # Errors
    /// The venue's.
    pub fn step<V: Venue>(&mut self, venue: &mut V) -> Result<Option<Step>, V::Error> {
        let Some(&message) = self.recording.messages.get(self.next) else { return Ok(None) };
        let recorded = &self.recording.depths[self.next];
        if self.next == 0 {
            self.seed(&message, recorded);
            self.report.orders_seeded = self.actions.len() as u64;
            self.send(venue)?;
        }
        self.next += 1;
        self.report.events[usize::from(message.kind.number()) - 1] += 1;
        self.plan(&message);
        for action in &self.actions {
            match action {
                Action::Add { .. } => self.report.adds += 1,
                Action::Cancel { .. } => self.report.cancels += 1,
                Action::Take { .. } => self.report.takes += 1,
            }
        }
        self.send(venue)?;
        // The comparison comes before the window moves: what it newly covers is equal by making.
        venue.book(&mut self.ours)?;
        let (mut compared, mut unequal) = (0, 0);
        for side in BookSide::BOTH {
            let (side_compared, side_unequal) = self.compare(side, recorded);
            compared += side_compared;
            unequal += side_unequal;
        }
        for side in BookSide::BOTH {
            self.move_window(side, recorded);
        }
        self.send(venue)?;
        Ok(Some(Step { line: self.next, message, compared, unequal }))
    }

    fn side(&self, side: BookSide) -> &Side {
        match side {
            BookSide::Bid => &self.bids,
            BookSide::Ask => &self.asks,
        }
    }

    fn side_mut(&mut self, side: BookSide) -> &mut Side {
        match side {
            BookSide::Bid => &mut self.bids,
            BookSide::Ask => &mut self.asks,
        }
    }

    fn diverge(&mut self, class: Divergence) {
        let first_line = self.next;
        self.report.divergences.entry(class).or_insert(Tally { count: 0, first_line }).count += 1;
    }

    /// The book before the first event: the first row with its event undone.
    fn seed(&mut self, first: &Message, recorded: &Depth) {
        for side in BookSide::BOTH {
            let levels = recorded.side(side);
            self.side_mut(side).bound = bound(levels, self.recording.levels_max);
            let mut before: BTreeMap<u64, u64> =
                levels.iter().map(|level| (level.price, level.size)).collect();
            if side == first.side {
                let size = before.entry(first.price).or_default();
                match first.kind {
                    Kind::Add => *size = size.saturating_sub(u64::from(first.size)),
                    Kind::Reduce | Kind::Delete | Kind::Execute => *size += u64::from(first.size),
                    Kind::ExecuteHidden | Kind::Cross | Kind::Halt => {}
                }
            }
            for (price, size) in before {
                self.rest_anonymous(side, price, size);
            }
        }
    }

    fn rest_anonymous(&mut self, side: BookSide, price: u64, mut size: u64) {
        while size > 0 {
            let piece = size.min(ORDER_SIZE_MAX);
            size -= piece;
            self.rest(side, price, piece as u32, None);
        }
    }

    fn rest(&mut self, side: BookSide, price: u64, size: u32, id: Option<u64>) {
        self.orders += 1;
        let order = OrderId(self.orders);
        self.actions.push(Action::Add { order, side, size, price });
        let resting = Resting { order, id, executed: 0, leaves: size };
        self.side_mut(side).levels.entry(price).or_default().push(resting);
    }

    fn plan(&mut self, message: &Message) {
        match message.kind {
            Kind::Add => self.plan_add(message),
            Kind::Reduce | Kind::Delete => {
                let id = self.locate(message);
                self.reduce(message, id);
            }
            Kind::Execute => self.plan_execution(message),
            Kind::ExecuteHidden | Kind::Cross | Kind::Halt => {}
        }
    }

    fn plan_add(&mut self, message: &Message) {
        let opposite = message.side.opposite();
        let best = match opposite {
            BookSide::Bid => self.bids.levels.last_key_value(),
            BookSide::Ask => self.asks.levels.first_key_value(),
        };
        if best.is_some_and(|(&price, _)| !opposite.is_better(message.price, price)) {
            return self.diverge(Divergence::AddWouldTrade);
        }
        let place = (message.side, message.price);
        if let Some((side, price)) = self.places.insert(message.order_id, place) {
            self.diverge(Divergence::AddedTwice);
            self.forget(side, price, message.order_id);
        }
        self.rest(message.side, message.price, message.size, Some(message.order_id));
    }

    /// Makes a known order anonymous.
    fn forget(&mut self, side: BookSide, price: u64, id: u64) {
        let queue = self.side_mut(side).levels.get_mut(&price).into_iter().flatten();
        for resting in queue.filter(|resting| resting.id == Some(id)) {
            resting.id = None;
        }
    }

    /// The number of the order the message names if it is a known one at that place.
    fn locate(&mut self, message: &Message) -> Option<u64> {
        let place = *self.places.get(&message.order_id)?;
        if place != (message.side, message.price) {
            self.diverge(Divergence::PlaceDisagrees);
            return None;
        }
        Some(message.order_id)
    }

    fn plan_execution(&mut self, message: &Message) {
        let id = self.locate(message);
        let side = self.side(message.side);
        let Some(queue) = side.levels.get(&message.price) else {
            return self.reduce(message, id);
        };
        let best = match message.side {
            BookSide::Bid => side.levels.last_key_value(),
            BookSide::Ask => side.levels.first_key_value(),
        };
        let (mut size, mut expected) = (message.size, Vec::new());
        for resting in queue.iter().take_while(|resting| resting.id == id) {
            let hit = size.min(resting.leaves);
            expected.push(Fill { order: resting.order, size: hit });
            size -= hit;
            if size == 0 {
                break;
            }
        }
        let in_turn = size == 0;
        if best.is_none_or(|(&price, _)| price != message.price) {
            self.diverge(Divergence::ExecutedThroughBetterPrice);
            return self.reduce(message, id);
        }
        if !in_turn {
            let behind = queue[0].id != id && queue.iter().any(|resting| resting.id == id);
            if behind {
                self.diverge(Divergence::ExecutedOutOfTurn);
            }
            return self.reduce(message, id);
        }
        self.apply_fills(message.side, message.price, &expected);
        self.expected = expected;
        let (side, size, price) = (message.side.opposite(), message.size, message.price);
        self.actions.push(Action::Take { side, size, price });
    }

    fn apply_fills(&mut self, side: BookSide, price: u64, fills: &[Fill]) {
        let levels = &mut self.side_mut(side).levels;
        let Some(queue) = levels.get_mut(&price) else { return };
        let mut done = Vec::new();
        for fill in fills {
            let hit = queue.iter_mut().filter(|resting| resting.order == fill.order);
            for resting in hit {
                resting.leaves -= fill.size;
                resting.executed += fill.size;
                if resting.leaves == 0 {
                    done.extend(resting.id);
                }
            }
        }
        queue.retain(|resting| resting.leaves > 0);
        if queue.is_empty() {
            levels.remove(&price);
        }
        for id in done {
            self.places.remove(&id);
        }
    }

    /// Takes the message's size off the order it names; what that one does not have, off the
    /// level's anonymous orders; at an anchored level, where numbers may be out of date, off the
    /// others, oldest first.
    fn reduce(&mut self, message: &Message, id: Option<u64>) {
        let inside = covers(message.side, self.side(message.side).bound, message.price);
        let anchored = self.side(message.side).anchored.contains(&message.price);
        let mut size = message.size;
        let mut disagrees = false;
        if id.is_some() {
            let named = self.take_off(message, &mut size, |resting| resting.id == id);
            disagrees = size > 0 || (message.kind == Kind::Delete && named > 0);
            if message.kind == Kind::Delete {
                self.places.remove(&message.order_id);
                self.forget(message.side, message.price, message.order_id);
            }
        }
        self.take_off(message, &mut size, |resting| resting.id.is_none());
        if anchored {
            self.take_off(message, &mut size, |_| true);
        }
        if disagrees {
            self.diverge(Divergence::SizeDisagrees);
        } else if size > 0 && inside {
            self.diverge(Divergence::UnknownOrder);
        }
    }

    /// Cancels up to `size` off the matching orders at the message's level, oldest first; says what
    /// the last one touched has left.
    fn take_off(&mut self, message: &Message, size: &mut u32, matching: impl Fn(&Resting) -> bool) -> u32 {
        let levels = match message.side {
            BookSide::Bid => &mut self.bids.levels,
            BookSide::Ask => &mut self.asks.levels,
        };
        let Some(queue) = levels.get_mut(&message.price) else { return 0 };
        let mut leaves = 0;
        for resting in queue.iter_mut().filter(|resting| matching(resting)) {
            if *size == 0 {
                break;
            }
            let cut = (*size).min(resting.leaves);
            *size -= cut;
            resting.leaves -= cut;
            leaves = resting.leaves;
            let total = if leaves == 0 { 0 } else { resting.executed + leaves };
            self.actions.push(Action::Cancel { order: resting.order, total });
            if let (0, Some(id)) = (leaves, resting.id) {
                self.places.remove(&id);
            }
        }
        queue.retain(|resting| resting.leaves > 0);
        if queue.is_empty() {
            levels.remove(&message.price);
        }
        leaves
    }

    fn send<V: Venue>(&mut self, venue: &mut V) -> Result<(), V::Error> {
        let mut actions = std::mem::take(&mut self.actions);
        for action in actions.drain(..) {
            match action {
                Action::Add { order, side, size, price } => venue.add(order, side, size, price)?,
                Action::Cancel { order, total } => venue.cancel(order, total)?,
                Action::Take { side, size, price } => {
                    self.fills.clear();
                    venue.take(side, size, price, &mut self.fills)?;
                    if self.fills != self.expected {
                        self.diverge(Divergence::VenueHitOther);
                    }
                }
            }
        }
        self.actions = actions;
        Ok(())
    }

    /// Compares every level, of the file or of ours, that is inside the window as it stood before
    /// the event and as it stands after it. Says how many were compared and how many unequal.
    fn compare(&mut self, side: BookSide, recorded: &Depth) -> (u32, u32) {
        let before = self.side(side).bound;
        let after = bound(recorded.side(side), self.recording.levels_max);
        let mut sizes: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for level in recorded.side(side) {
            sizes.entry(level.price).or_default().0 = level.size;
        }
        for level in self.ours.side(side) {
            sizes.entry(level.price).or_default().1 = level.size;
        }
        let (mut compared, mut unequal) = (0, 0);
        for (price, (recorded, ours)) in sizes {
            if !covers(side, before, price) || !covers(side, after, price) {
                continue;
            }
            let determined = !self.side(side).anchored.contains(&price);
            compared += 1;
            let report = &mut self.report;
            *(if determined { &mut report.determined_compared } else { &mut report.anchored_compared }) += 1;
            if recorded == ours {
                continue;
            }
            unequal += 1;
            *(if determined { &mut report.determined_unequal } else { &mut report.anchored_unequal }) += 1;
            if report.mismatches.len() < MISMATCHES_KEPT {
                let line = self.next;
                report.mismatches.push(Mismatch { line, side, price, recorded, ours, determined });
            }
        }
        (compared, unequal)
    }

    /// Takes over the window of the row: anchors what it newly covers.
    fn move_window(&mut self, side: BookSide, recorded: &Depth) {
        let levels = recorded.side(side);
        let before = self.side(side).bound;
        let after = bound(levels, self.recording.levels_max);
        let shown: BTreeMap<u64, u64> = levels.iter().map(|level| (level.price, level.size)).collect();
        let ours: Vec<u64> = self.side(side).levels.keys().copied().collect();
        let newly = |price: &u64| !covers(side, before, *price) && covers(side, after, *price);
        for price in ours.into_iter().filter(newly) {
            let wanted = shown.get(&price).copied().unwrap_or(0);
            if self.side(side).size_at(price) != wanted {
                self.clear_level(side, price);
                self.report.levels_stale += u64::from(wanted == 0);
            }
        }
        for (&price, &size) in shown.iter().filter(|(price, _)| newly(price)) {
            if self.side(side).size_at(price) == 0 {
                self.rest_anonymous(side, price, size);
            }
            self.side_mut(side).anchored.insert(price);
            self.report.levels_anchored += 1;
        }
        let state = self.side_mut(side);
        state.bound = after;
        state.anchored.retain(|price| shown.contains_key(price));
    }

    fn clear_level(&mut self, side: BookSide, price: u64) {
        for resting in self.side_mut(side).levels.remove(&price).unwrap_or_default() {
            self.actions.push(Action::Cancel { order: resting.order, total: 0 });
            if let Some(id) = resting.id {
                self.places.remove(&id);
            }
        }
    }
}

/// The worst price of the window that `levels` show.
fn bound(levels: &[Level], levels_max: usize) -> Option<u64> {
    if levels.len() < levels_max { None } else { levels.last().map(|level| level.price) }
}

#[cfg(test)]
mod tests {
    use super::super::paper::PaperVenue;
    use super::*;
    use std::convert::Infallible;

    fn recording(messages: &str, depths: &str) -> Recording {
        Recording::read(messages.as_bytes(), depths.as_bytes()).unwrap()
    }

    fn replay(messages: &str, depths: &str) -> Report {
        let Ok(report) = Replay::new(&recording(messages, depths)).run(&mut PaperVenue::default());
        report
    }

    fn classes(report: &Report) -> Vec<(Divergence, u64, usize)> {
        report.divergences.iter().map(|(class, tally)| (*class, tally.count, tally.first_line)).collect()
    }

    #[test]
    fn orders_that_rested_before_are_anonymous_and_stand_in_front() {
        // 40 unknown shares at 99; order 1 joins behind them; unknown order 900 is executed, then
        // partly cancelled, then order 1 stands first and is executed and deleted.
        let report = replay(
            "1,1,1,10,99,1\n2,4,900,15,99,1\n3,2,900,5,99,1\n4,3,901,20,99,1\n5,4,1,4,99,1\n6,3,1,6,99,1\n",
            "101,7,99,50\n101,7,99,35\n101,7,99,30\n101,7,99,10\n101,7,99,6\n101,7,-9999999999,0\n",
        );
        assert!(report.books_equal(), "{report:?}");
        assert_eq!(classes(&report), []);
        assert_eq!((report.orders_seeded, report.adds, report.cancels, report.takes), (2, 1, 3, 2));
        assert_eq!(report.determined_compared, 11);
    }

    #[test]
    fn a_first_event_that_takes_away_is_undone_in_the_seed() {
        for kind in [2, 3, 4] {
            let report = replay(&format!("1,{kind},900,15,99,1\n"), "101,7,98,50\n");
            assert!(report.books_equal(), "{report:?}");
            assert_eq!(classes(&report), []);
            assert_eq!(report.orders_seeded, 3);
        }
    }

    #[test]
    fn hidden_executions_crosses_and_halts_leave_the_book_alone() {
        let row = "101,7,99,50\n";
        let report = replay("1,5,0,3,100,1\n2,6,0,9,100,-1\n3,7,0,0,-1,-1\n", &row.repeat(3));
        assert!(report.books_equal());
        assert_eq!(report.events, [0, 0, 0, 0, 1, 1, 1]);
        assert_eq!((report.adds, report.cancels, report.takes), (0, 0, 0));
        assert_eq!(report.determined_compared, 6);
    }

    #[test]
    fn an_execution_out_of_turn_is_counted_and_the_named_order_loses_the_size() {
        // Orders 1 and 2 at 99; 2 is executed before 1; both are deleted with their right sizes.
        let report = replay(
            "1,1,1,10,99,1\n2,1,2,20,99,1\n3,4,2,5,99,1\n4,3,1,10,99,1\n5,3,2,15,99,1\n",
            "101,7,99,10\n101,7,99,30\n101,7,99,25\n101,7,99,15\n101,7,-9999999999,0\n",
        );
        assert!(report.books_equal(), "{report:?}");
        assert_eq!(classes(&report), [(Divergence::ExecutedOutOfTurn, 1, 3)]);
        assert_eq!(report.takes, 0);
    }

    #[test]
    fn an_execution_behind_a_better_price_is_counted() {
        let report = replay(
            "1,1,1,10,99,1\n2,1,2,20,98,1\n3,4,2,5,98,1\n",
            "101,7,99,10,-9999999999,0,-9999999999,0\n101,7,99,10,-9999999999,0,98,20\n\
             101,7,99,10,-9999999999,0,98,15\n"
                .replace("-9999999999,0,-9999999999,0", "9999999999,0,-9999999999,0")
                .replace("-9999999999,0,98", "9999999999,0,98")
                .as_str(),
        );
        assert!(report.books_equal(), "{report:?}");
        assert_eq!(classes(&report), [(Divergence::ExecutedThroughBetterPrice, 1, 3)]);
    }

    #[test]
    fn impossible_events_are_named() {
        let row = |size: u32| format!("101,7,99,{size}\n");
        let rows = |sizes: &[u32]| sizes.iter().map(|size| row(*size)).collect::<String>();
        // Order 1 of 10 beside nothing anonymous: cut by 12, of which 10 can be.
        let report = replay("1,1,1,10,99,1\n2,1,2,5,99,1\n3,2,1,12,99,1\n", &rows(&[10, 15, 5]));
        assert_eq!(classes(&report), [(Divergence::SizeDisagrees, 1, 3)]);
        assert!(report.books_equal());
        // A deletion of less than the order has: the rest stays as anonymous size, as the file says.
        let report =
            replay("1,1,1,10,99,1\n2,3,1,4,99,1\n3,3,1,6,99,1\n", "101,7,99,10\n101,7,99,6\n101,7,-9,0\n");
        assert_eq!(classes(&report), [(Divergence::SizeDisagrees, 1, 2)]);
        assert!(report.books_equal());
        let report = replay("1,1,1,10,99,1\n2,3,1,3,101,-1\n", "101,7,99,10\n101,4,99,10\n");
        assert_eq!(classes(&report), [(Divergence::PlaceDisagrees, 1, 2)]);
        assert!(report.books_equal());
        let report = replay("1,1,1,10,99,1\n2,1,1,5,99,1\n3,3,1,5,99,1\n", &rows(&[10, 15, 10]));
        assert_eq!(classes(&report), [(Divergence::AddedTwice, 1, 2)]);
        assert!(report.books_equal());
        let report = replay("1,1,1,10,99,1\n2,1,2,5,101,1\n", "101,7,99,10\n101,2,99,10\n");
        assert_eq!(classes(&report), [(Divergence::AddWouldTrade, 1, 2)]);
        let unequal =
            Mismatch { line: 2, side: BookSide::Ask, price: 101, recorded: 2, ours: 7, determined: true };
        assert_eq!(report.mismatches, [unequal]);
        let report = replay("1,1,1,10,99,1\n2,3,900,5,99,1\n", &rows(&[10, 5]));
        assert_eq!(classes(&report), [(Divergence::UnknownOrder, 1, 2)]);
        assert_eq!(report.determined_unequal, 1);
    }

    /// One level a side is shown. A better bid covers 98 up; while it does, 98 changes from 50 to 30
    /// unreported; when it goes, 98 is anchored, and compared as such from the next event on.
    #[test]
    fn a_level_that_left_the_window_is_anchored_when_it_returns() {
        let report = replay(
            "1,1,1,10,99,1\n2,3,1,10,99,1\n3,3,900,5,98,1\n4,3,900,25,98,1\n5,1,7,3,98,1\n",
            "101,7,99,10\n101,7,98,30\n101,7,98,25\n101,7,97,4\n101,7,98,3\n",
        );
        assert!(report.books_equal(), "{report:?}");
        assert_eq!(classes(&report), []);
        // 98 at line 3; at line 4 it went, so that what comes at line 5 is determined again.
        assert_eq!(report.anchored_compared, 1);
        assert_eq!(report.levels_anchored, 2);
    }

    /// 98 stands in our book, is covered up, and is gone when the window comes back to 97.
    #[test]
    fn a_level_that_went_unseen_is_cancelled() {
        let report = replay(
            "1,1,1,10,98,1\n2,1,2,10,99,1\n3,3,2,10,99,1\n4,1,3,5,97,1\n",
            "101,7,98,10\n101,7,99,10\n101,7,97,8\n101,7,97,13\n",
        );
        assert!(report.books_equal(), "{report:?}");
        assert_eq!(report.levels_stale, 1);
    }

    #[test]
    fn a_level_larger_than_an_order_may_be_is_seeded_in_pieces() {
        let report =
            replay("1,4,900,999999,99,1\n2,4,900,999999,99,1\n", "101,7,99,1500001\n101,7,99,500002\n");
        assert!(report.books_equal(), "{report:?}");
        assert_eq!((report.orders_seeded, report.takes), (4, 2));
        assert_eq!(classes(&report), []);
    }

    /// A venue with one planted fault: the comparison must see it.
    struct Faulty {
        inner: PaperVenue,
        fault: &'static str,
        takes: u32,
    }

    impl Venue for Faulty {
        type Error = Infallible;

        fn add(&mut self, order: OrderId, side: BookSide, size: u32, price: u64) -> Result<(), Infallible> {
            self.inner.add(order, side, size, price)
        }

        fn cancel(&mut self, order: OrderId, total: u32) -> Result<(), Infallible> {
            if self.fault == "cancels are lost" { Ok(()) } else { self.inner.cancel(order, total) }
        }

        fn take(
            &mut self,
            side: BookSide,
            size: u32,
            price: u64,
            fills: &mut Vec<Fill>,
        ) -> Result<(), Infallible> {
            self.takes += 1;
            let short = u32::from(self.fault == "executions fall short");
            self.inner.take(side, size - short, price, fills)
        }

        fn book(&mut self, depth: &mut Depth) -> Result<(), Infallible> {
            self.inner.book(depth)?;
            if self.fault == "the feed forgets a level" {
                depth.asks.pop();
            }
            Ok(())
        }
    }

    #[test]
    fn planted_faults_of_a_venue_are_seen() {
        let generated = super::super::generate(3, 2_000, 5);
        let recording = recording(&generated.messages, &generated.depths);
        for fault in ["none", "cancels are lost", "executions fall short", "the feed forgets a level"] {
            let mut venue = Faulty { inner: PaperVenue::default(), fault, takes: 0 };
            let Ok(report) = Replay::new(&recording).run(&mut venue);
            assert!(venue.takes > 0);
            assert_eq!(
                report.books_equal() && report.divergences.is_empty(),
                fault == "none",
                "{fault}: {report:?}"
            );
        }
    }
}
