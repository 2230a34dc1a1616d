//! The books: what rests and what waits, in lines by price and time, found by OrderRef.
//!
//! ```text
//! instrument ─ lane (plane and side) ─ ladder ─ level ─ orders in line
//!                Lit, Hidden            by limit            trade
//!                Stop                   by stop price       wait for a trade
//!                AtOpen, AtClose        by limit            wait for their cross
//!            ─ seekers: pegs, and orders with discretion, as they came in
//!            ─ trailing stops as they came in
//!            ─ good-till-time orders, a heap by time
//! ```
//!
//! A plain order is one cache line. What makes it more stands in a table beside, at the same slot,
//! which a plain order never touches.

use crate::{
    BookOrder,
    canonical::Sink,
    columns::{Column, Fault, Source, columns},
    expiry::{self, Heap},
    index::{Index, NONE},
    ladder::{Ladder, Ladders, Level},
    slab::Slab,
};
use alloc::{vec, vec::Vec};
use ironbell_types::{
    Display, FirmId, InstrumentId, Nanos, OrderKey, OrderRef, OrderTerms, Peg, Price, Qty, Shown, Side, Stp,
    TimeInForce,
};

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Plane {
    /// On the feed.
    Lit = 0,
    /// Not on the feed, behind all that is.
    Hidden = 1,
    /// Waits for a trade at its stop price, which its line goes by.
    Stop = 2,
    /// Waits for an opening cross.
    AtOpen = 3,
    /// Waits for a closing cross.
    AtClose = 4,
    /// Hidden, at a price that follows the book's.
    Peg = 5,
    /// Waits for a trade at a stop price that follows the last price.
    Trailing = 6,
}

/// Planes that have ladders come first.
const LADDERS: usize = 5;
const LANES: usize = LADDERS * 2;
/// Bits of a leaf's owner that say the lane.
const LANE_BITS: u32 = 4;
const _: () = assert!(LANES <= 1 << LANE_BITS);

/// Pegs and orders with discretion that rest on an instrument.
pub(crate) const SEEKERS_MAX: u32 = 4096;
/// Trailing stops that wait on an instrument.
pub(crate) const TRAILING_MAX: u32 = 4096;
/// Those of one firm in each of the two: no firm can take all the room.
pub(crate) const OF_FIRM_MAX: usize = 64;

impl Plane {
    const ALL: [Self; 7] =
        [Self::Lit, Self::Hidden, Self::Stop, Self::AtOpen, Self::AtClose, Self::Peg, Self::Trailing];

    fn lane(self, buys: bool) -> usize {
        debug_assert!((self as usize) < LADDERS);
        self as usize * 2 + usize::from(buys)
    }

    /// Whether the next price of a line is a lower one: so it is of bids, and of the stops of sells.
    fn goes_down(self, buys: bool) -> bool {
        buys != matches!(self, Self::Stop)
    }
}

/// An order: one cache line.
#[derive(Clone, Copy)]
pub(crate) struct Order {
    pub(crate) order_ref: OrderRef,
    pub(crate) key: OrderKey,
    pub(crate) leaves: u64,
    /// What its chain has executed.
    pub(crate) executed: u64,
    /// The price of its line: the limit, or the stop price of a waiting stop. Of a market order that
    /// waits for a cross it is beyond all prices.
    pub(crate) price: u64,
    /// The order before it at its price.
    prev: u32,
    /// The order behind it at its price.
    next: u32,
    /// What stage 1 calls it; passed back with every effect.
    pub(crate) token: u32,
    pub(crate) firm: FirmId,
    leaf: u32,
    /// GroupID; 0 is none.
    pub(crate) group: u16,
    pub(crate) side: Side,
    /// Display in two bits, plane in three, [`SPECIAL`], [`OUTLASTS_DAY`].
    flags: u8,
}

const _: () = assert!(size_of::<Order>() == 64);

/// The other table says more of the order.
const SPECIAL: u8 = 1 << 5;
/// The day's end does not cancel it.
const OUTLASTS_DAY: u8 = 1 << 6;

fn display_bits(display: Display) -> u8 {
    match display {
        Display::Visible => 0,
        Display::Attributable => 1,
        Display::Hidden => 2,
    }
}

impl Order {
    /// None that ever stood.
    const BLANK: Self = Self {
        order_ref: OrderRef(0),
        key: OrderKey(0),
        leaves: 0,
        executed: 0,
        price: 0,
        prev: NONE,
        next: NONE,
        token: NONE,
        firm: FirmId(0),
        leaf: NONE,
        group: 0,
        side: Side::Buy,
        flags: 0,
    };

    #[expect(clippy::too_many_arguments, reason = "one value for each field that is not a link")]
    #[inline(always)]
    pub(crate) fn new(
        order_ref: OrderRef,
        key: OrderKey,
        leaves: u64,
        executed: u64,
        price: u64,
        token: u32,
        firm: FirmId,
        group: u16,
        side: Side,
        display: Display,
        time_in_force: TimeInForce,
    ) -> Self {
        let outlasts = matches!(time_in_force, TimeInForce::Gtc | TimeInForce::Gtt);
        let flags = display_bits(display) | if outlasts { OUTLASTS_DAY } else { 0 };
        Self {
            order_ref,
            key,
            leaves,
            executed,
            price,
            prev: NONE,
            next: NONE,
            token,
            firm,
            leaf: NONE,
            group,
            side,
            flags,
        }
    }

    pub(crate) fn display(&self) -> Display {
        [Display::Visible, Display::Attributable, Display::Hidden, Display::Hidden]
            [usize::from(self.flags & 3)]
    }

    pub(crate) fn plane(&self) -> Plane {
        Plane::ALL[usize::from(self.flags >> 2 & 7)]
    }

    /// Whether [`Books::extra`] says more of it.
    pub(crate) fn is_special(&self) -> bool {
        self.flags & SPECIAL != 0
    }

    /// Whether it stays when the day ends.
    pub(crate) fn outlasts_day(&self) -> bool {
        self.flags & OUTLASTS_DAY != 0
    }

    /// How it stands on the feed when all of it does.
    pub(crate) fn shown_whole(&self) -> Shown {
        Shown { order_ref: self.order_ref, qty: Qty(self.leaves) }
    }

    fn is_plain(&self) -> bool {
        self.flags & (SPECIAL | 7 << 2) == 0
    }
}

/// What makes an order more than a plain one.
#[derive(Clone, Copy)]
pub(crate) struct Extra {
    pub(crate) instrument: InstrumentId,
    pub(crate) terms: OrderTerms,
    pub(crate) time_in_force: TimeInForce,
    /// What it asks for when it trades as an aggressor; never the port's.
    pub(crate) stp: Stp,
    /// The limit; 0 of a market order.
    pub(crate) limit: u64,
    /// Of a market buy the price it was found worth when it came in; it never trades above.
    pub(crate) worth: u64,
    /// Of an iceberg order how it stands on the feed.
    pub(crate) shown: Shown,
    /// The order it is paired with; 0 is none.
    pub(crate) partner: OrderRef,
    /// Of a trailing stop the best last price seen; 0 is none.
    pub(crate) best: u64,
    /// The incoming order whose count of what it could trade with took its partner; never state.
    pub(crate) counted_for: OrderRef,
    /// Places in the list of seekers or of trailing stops.
    prev: u32,
    next: u32,
    pub(crate) heap: expiry::Links,
}

impl Extra {
    /// None that ever stood.
    const BLANK: Self = Self::new(InstrumentId::NONE, OrderTerms::PLAIN, TimeInForce::Day, Stp::Off, 0, 0);

    pub(crate) const fn new(
        instrument: InstrumentId,
        terms: OrderTerms,
        time_in_force: TimeInForce,
        stp: Stp,
        limit: u64,
        worth: u64,
    ) -> Self {
        Self {
            instrument,
            terms,
            time_in_force,
            stp,
            limit,
            worth,
            shown: Shown { order_ref: OrderRef(0), qty: Qty(0) },
            partner: OrderRef(0),
            best: 0,
            counted_for: OrderRef(0),
            prev: NONE,
            next: NONE,
            heap: expiry::Links::NONE,
        }
    }

    /// Whether it may come to trade without a new order: a peg, or one with discretion.
    pub(crate) fn seeks(&self) -> bool {
        self.terms.peg != Peg::None || self.terms.discretion.0 != 0
    }

    fn is_iceberg(&self) -> bool {
        self.terms.max_floor != 0
    }

    /// Whether an order of this plane stands in the list of seekers or of trailing stops.
    fn is_linked(&self, plane: Plane) -> bool {
        let waits = matches!(plane, Plane::Stop | Plane::AtOpen | Plane::AtClose);
        plane == Plane::Trailing || (!waits && self.seeks())
    }
}

/// How an order stands, as it is listed: what stage 1 does not know of it.
pub(crate) struct Standing {
    price: u64,
    group: u16,
    display: Display,
    plane: Plane,
    special: Option<Special>,
}

/// Of [`Extra`] what is listed.
struct Special {
    terms: OrderTerms,
    time_in_force: TimeInForce,
    stp: Stp,
    limit: u64,
    worth: u64,
    shown: Shown,
    partner: OrderRef,
    best: u64,
}

columns! {
    Standing { price, group, display, plane, special }
    Special { terms, time_in_force, stp, limit, worth, shown, partner, best }
}

impl Column for Plane {
    fn put(&self, sink: &mut impl Sink) {
        sink.u8(*self as u8);
    }

    fn get(source: &mut Source<'_>) -> Result<Self, Fault> {
        Self::ALL.get(usize::from(u8::get(source)?)).copied().ok_or("there is no such plane")
    }
}

/// What makes orders special, by the slots of the orders.
#[derive(Clone)]
pub(crate) struct Extras {
    /// Where each order's record is; stands only where the order is special.
    places: Vec<u32>,
    records: Slab<Extra>,
}

impl Extras {
    fn new(orders: usize) -> Self {
        Self { places: vec![NONE; orders], records: Slab::new(orders, Extra::BLANK) }
    }

    fn put(&mut self, slot: u32, extra: &Extra) {
        let slot = slot as usize;
        if self.places.len() <= slot {
            self.places.resize((slot + 1).next_power_of_two(), NONE);
        }
        self.places[slot] = self.records.insert(*extra);
    }

    fn take(&mut self, slot: u32) {
        self.records.remove(self.places[slot as usize]);
    }
}

impl core::ops::Index<u32> for Extras {
    type Output = Extra;
    fn index(&self, slot: u32) -> &Extra {
        &self.records[self.places[slot as usize]]
    }
}

impl core::ops::IndexMut<u32> for Extras {
    fn index_mut(&mut self, slot: u32) -> &mut Extra {
        &mut self.records[self.places[slot as usize]]
    }
}

/// One side of a plane.
#[derive(Clone, Copy)]
struct Lane {
    /// Best price; without orders the last one there was.
    best: u64,
    /// The leaf of the best price. A displayed side keeps its last leaf when its last order goes: the
    /// next is likely to come near.
    leaf: u32,
    orders: u32,
    ladder: Ladder,
}

/// Orders linked through their extras, as they came in.
#[derive(Clone, Copy)]
struct List {
    head: u32,
    tail: u32,
    len: u32,
}

const EMPTY_LIST: List = List { head: NONE, tail: NONE, len: 0 };

#[derive(Clone, Copy)]
struct Book {
    /// Of each plane the asks, then the bids.
    lanes: [Lane; LANES],
    /// Orders that are not plain displayed ones.
    special: u32,
    seekers: List,
    trailing: List,
    /// How often the two lists changed.
    links: u64,
    expiring: Heap,
}

/// An order that was found, and where the index has it until the books change.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    pub(crate) slot: u32,
    place: usize,
}

/// The books of all instruments, and the one index over their orders.
#[derive(Clone)]
pub(crate) struct Books {
    books: Vec<Book>,
    orders: Slab<Order>,
    extras: Extras,
    by_ref: Index,
    ladders: Ladders,
}

/// The Seq comes low, so that orders of neighbouring commands are neighbours in the index.
fn index_key(order_ref: OrderRef) -> u64 {
    order_ref.0.rotate_right(ironbell_types::Seq::STEP_BITS)
}

impl Books {
    pub(crate) fn new(orders: usize, key: u64) -> Self {
        Self {
            books: Vec::new(),
            orders: Slab::new(orders, Order::BLANK),
            extras: Extras::new(orders),
            by_ref: Index::new(orders, key),
            ladders: Ladders::new((orders / 8).clamp(64, 4096)),
        }
    }

    /// Opens the book of the next instrument.
    pub(crate) fn open(&mut self) {
        let lane = Lane { best: 0, leaf: NONE, orders: 0, ladder: Ladder::EMPTY };
        self.books.push(Book {
            lanes: [lane; LANES],
            special: 0,
            seekers: EMPTY_LIST,
            trailing: EMPTY_LIST,
            links: 0,
            expiring: Heap::EMPTY,
        });
    }

    pub(crate) fn len(&self) -> usize {
        self.books.len()
    }

    /// Orders on all books, waiting ones too.
    pub(crate) fn orders(&self) -> usize {
        self.orders.len()
    }

    pub(crate) fn find(&self, order_ref: OrderRef) -> Option<u32> {
        self.by_ref.get(index_key(order_ref))
    }

    /// An order that is to be taken off at once: what finds it is not looked for again.
    #[inline(always)]
    pub(crate) fn locate(&self, order_ref: OrderRef) -> Option<Found> {
        let place = self.by_ref.place(index_key(order_ref))?;
        Some(Found { slot: self.by_ref.at(place), place })
    }

    pub(crate) fn order(&self, slot: u32) -> &Order {
        &self.orders[slot]
    }

    pub(crate) fn order_mut(&mut self, slot: u32) -> &mut Order {
        &mut self.orders[slot]
    }

    /// What makes an order special, if it is.
    pub(crate) fn extra(&self, slot: u32) -> Option<&Extra> {
        self.orders[slot].is_special().then(|| &self.extras[slot])
    }

    pub(crate) fn extra_mut(&mut self, slot: u32) -> Option<&mut Extra> {
        self.orders[slot].is_special().then(|| &mut self.extras[slot])
    }

    #[inline(always)]
    pub(crate) fn instrument(&self, slot: u32) -> InstrumentId {
        let leaf = self.orders[slot].leaf;
        if leaf == NONE {
            return self.extras[slot].instrument;
        }
        InstrumentId((self.ladders.owner(leaf) >> LANE_BITS) + 1)
    }

    /// The limit of an order; 0 of a market order.
    pub(crate) fn limit(&self, slot: u32) -> u64 {
        self.extra(slot).map_or(self.orders[slot].price, |extra| extra.limit)
    }

    /// The order it is paired with.
    pub(crate) fn partner(&self, slot: u32) -> Option<OrderRef> {
        self.extra(slot).map(|extra| extra.partner).filter(|partner| partner.0 != 0)
    }

    fn book(&self, instrument: InstrumentId) -> &Book {
        &self.books[instrument.0 as usize - 1]
    }

    /// Whether all that the instrument has are displayed orders with nothing special about them.
    #[inline(always)]
    pub(crate) fn is_plain(&self, instrument: InstrumentId) -> bool {
        self.book(instrument).special == 0
    }

    // Lines.

    /// The first order in line of a side.
    #[inline(always)]
    pub(crate) fn first(&self, instrument: InstrumentId, plane: Plane, buys: bool) -> Option<u32> {
        let lane = &self.book(instrument).lanes[plane.lane(buys)];
        (lane.orders != 0).then(|| self.ladders.level(lane.leaf, lane.best).head)
    }

    /// The best price of a displayed side, and the first order there.
    #[inline(always)]
    pub(crate) fn front(&self, instrument: InstrumentId, buys: bool) -> Option<(u64, u32)> {
        let lane = &self.book(instrument).lanes[Plane::Lit.lane(buys)];
        (lane.orders != 0).then(|| (lane.best, self.ladders.level(lane.leaf, lane.best).head))
    }

    /// The order next in line after one of the same plane and side.
    pub(crate) fn after(&self, slot: u32) -> Option<u32> {
        let order = &self.orders[slot];
        if order.next != NONE {
            return Some(order.next);
        }
        let owner = self.ladders.owner(order.leaf);
        let (place, lane) = (owner >> LANE_BITS, owner & ((1 << LANE_BITS) - 1));
        let ladder = &self.books[place as usize].lanes[lane as usize].ladder;
        let down = order.plane().goes_down(order.side.is_buy());
        let (price, leaf) = ladder.beyond(&self.ladders, order.price, down)?;
        Some(self.ladders.level(leaf, price).head)
    }

    /// The order behind another at its price.
    pub(crate) fn behind(&self, slot: u32) -> Option<u32> {
        Some(self.orders[slot].next).filter(|next| *next != NONE)
    }

    /// Orders of a side in line.
    pub(crate) fn line(
        &self,
        instrument: InstrumentId,
        plane: Plane,
        buys: bool,
    ) -> impl Iterator<Item = u32> + '_ {
        core::iter::successors(self.first(instrument, plane, buys), |&slot| self.after(slot))
    }

    /// The best price of a side, if it has orders.
    #[inline(always)]
    pub(crate) fn best(&self, instrument: InstrumentId, plane: Plane, buys: bool) -> Option<u64> {
        let lane = &self.book(instrument).lanes[plane.lane(buys)];
        (lane.orders != 0).then_some(lane.best)
    }

    /// Prices of a side and what their orders have left, best first.
    pub(crate) fn levels(
        &self,
        instrument: InstrumentId,
        plane: Plane,
        buys: bool,
    ) -> impl Iterator<Item = (u64, u128)> + '_ {
        self.level_walk(instrument, plane, buys).map(|(price, level)| (price, level.qty))
    }

    fn level_walk(
        &self,
        instrument: InstrumentId,
        plane: Plane,
        buys: bool,
    ) -> impl Iterator<Item = (u64, &Level)> + '_ {
        let lane = &self.book(instrument).lanes[plane.lane(buys)];
        let first = (lane.orders != 0).then_some((lane.best, lane.leaf));
        let down = plane.goes_down(buys);
        core::iter::successors(first, move |(price, _)| lane.ladder.beyond(&self.ladders, *price, down))
            .map(|(price, leaf)| (price, self.ladders.level(leaf, price)))
    }

    /// Whether the displayed orders of a side have `qty` at `limit` or better, in at most `orders_max`
    /// orders; all of them plain.
    pub(crate) fn holds(
        &self,
        instrument: InstrumentId,
        buys: bool,
        limit: u64,
        qty: u64,
        orders_max: u32,
    ) -> bool {
        let (mut missing, mut orders) = (u128::from(qty), 0u32);
        for (price, level) in self.level_walk(instrument, Plane::Lit, buys) {
            if !within(price, limit, buys) {
                return false;
            }
            if level.qty >= missing {
                return orders + level.count <= orders_max
                    || orders + self.needed(level, missing) <= orders_max;
            }
            missing -= level.qty;
            orders += level.count;
        }
        false
    }

    /// How many of a level's first orders it takes to fill `qty`, of which it has enough.
    fn needed(&self, level: &Level, qty: u128) -> u32 {
        let (mut missing, mut orders, mut slot) = (qty, 0, level.head);
        while missing > 0 {
            let order = &self.orders[slot];
            missing = missing.saturating_sub(u128::from(order.leaves));
            orders += 1;
            slot = order.next;
        }
        orders
    }

    // Lists.

    fn list(&self, head: u32) -> impl Iterator<Item = u32> + '_ {
        core::iter::successors((head != NONE).then_some(head), |&slot| {
            Some(self.extras[slot].next).filter(|next| *next != NONE)
        })
    }

    /// Pegs and orders with discretion, as they came in.
    pub(crate) fn seekers(&self, instrument: InstrumentId) -> impl Iterator<Item = u32> + '_ {
        self.list(self.book(instrument).seekers.head)
    }

    pub(crate) fn has_seekers(&self, instrument: InstrumentId) -> bool {
        self.book(instrument).seekers.len > 0
    }

    /// Pegs of one side, as they came in.
    pub(crate) fn pegs(&self, instrument: InstrumentId, buys: bool) -> impl Iterator<Item = u32> + '_ {
        self.seekers(instrument).filter(move |slot| {
            let order = self.order(*slot);
            order.plane() == Plane::Peg && order.side.is_buy() == buys
        })
    }

    /// Trailing stops, as they came in.
    pub(crate) fn trailing(&self, instrument: InstrumentId) -> impl Iterator<Item = u32> + '_ {
        self.list(self.book(instrument).trailing.head)
    }

    /// How often a peg, an order with discretion or a trailing stop came or went.
    pub(crate) fn links(&self, instrument: InstrumentId) -> u64 {
        self.book(instrument).links
    }

    /// Whether there is room for one more peg or order with discretion of the firm.
    pub(crate) fn has_seeker_room(&self, instrument: InstrumentId, firm: FirmId) -> bool {
        self.book(instrument).seekers.len < SEEKERS_MAX && self.are_few(self.seekers(instrument), firm)
    }

    /// Whether there is room for one more trailing stop of the firm.
    pub(crate) fn has_trailing_room(&self, instrument: InstrumentId, firm: FirmId) -> bool {
        self.book(instrument).trailing.len < TRAILING_MAX && self.are_few(self.trailing(instrument), firm)
    }

    /// Counts: every command on the instrument looks at all of them anyway.
    fn are_few(&self, slots: impl Iterator<Item = u32>, firm: FirmId) -> bool {
        slots.filter(|slot| self.order(*slot).firm == firm).take(OF_FIRM_MAX).count() < OF_FIRM_MAX
    }

    /// The good-till-time order that ends first, the oldest of those, and when.
    pub(crate) fn expiry(&self, instrument: InstrumentId) -> Option<(Nanos, u32)> {
        let slot = self.book(instrument).expiring.first()?;
        Some((self.extras[slot].terms.expire, slot))
    }

    /// Updates, with the last price, the best price that each trailing stop has seen.
    pub(crate) fn trail(&mut self, instrument: InstrumentId, last: u64) {
        let mut at = self.book(instrument).trailing.head;
        while at != NONE {
            let buys = self.orders[at].side.is_buy();
            let extra = &mut self.extras[at];
            let is_better = if buys { last < extra.best } else { last > extra.best };
            if extra.best == 0 || is_better {
                extra.best = last;
            }
            at = extra.next;
        }
    }

    // Changes.

    /// Puts a plain order at the end of the line at its price.
    #[inline(always)]
    pub(crate) fn insert(&mut self, instrument: InstrumentId, order: &Order) -> u32 {
        let slot = self.place_plain(instrument, order);
        self.by_ref.insert(index_key(order.order_ref), slot);
        slot
    }

    /// The same but for the index.
    #[inline(always)]
    fn place_plain(&mut self, instrument: InstrumentId, order: &Order) -> u32 {
        let slot = self.orders.insert(*order);
        self.append(instrument.0 - 1, Plane::Lit, slot);
        slot
    }

    /// Puts an order, with what makes it special, at the end of its line or list. There must be room.
    pub(crate) fn insert_special(&mut self, plane: Plane, order: &Order, extra: &Extra) -> u32 {
        let slot = self.place_special(plane, order, extra);
        self.by_ref.insert(index_key(order.order_ref), slot);
        if extra.is_linked(plane) {
            self.link(slot);
        }
        slot
    }

    /// The same but for the list, if it belongs in one, and the index.
    fn place_special(&mut self, plane: Plane, order: &Order, extra: &Extra) -> u32 {
        let instrument = extra.instrument;
        let mut order = *order;
        order.flags = order.flags & !(7 << 2) | SPECIAL | (plane as u8) << 2;
        let slot = self.orders.insert(order);
        self.extras.put(slot, extra);
        self.books[instrument.0 as usize - 1].special += 1;
        if (plane as usize) < LADDERS {
            self.append(instrument.0 - 1, plane, slot);
        }
        if extra.terms.expire.0 != 0 {
            let heap = &mut self.books[instrument.0 as usize - 1].expiring;
            heap.insert(slot, &self.orders, &mut self.extras);
        }
        slot
    }

    /// Pairs an order with another, which must not be paired.
    pub(crate) fn pair(&mut self, slot: u32, partner: OrderRef) {
        let order = &mut self.orders[slot];
        if order.is_special() {
            let extra = &mut self.extras[slot];
            assert!(extra.partner == OrderRef(0));
            extra.partner = partner;
            return;
        }
        order.flags |= SPECIAL;
        let limit = order.price;
        let time_in_force = if order.outlasts_day() { TimeInForce::Gtc } else { TimeInForce::Day };
        let instrument = self.instrument(slot);
        let terms = OrderTerms::default();
        let extra = Extra { partner, ..Extra::new(instrument, terms, time_in_force, Stp::Off, limit, 0) };
        self.extras.put(slot, &extra);
        self.books[instrument.0 as usize - 1].special += 1;
    }

    /// An order stands alone from now on.
    pub(crate) fn unpair(&mut self, order_ref: OrderRef) {
        if let Some(slot) = self.find(order_ref) {
            self.extra_mut(slot).expect("a paired order is special").partner = OrderRef(0);
        }
    }

    fn link(&mut self, slot: u32) {
        let book = &mut self.books[self.extras[slot].instrument.0 as usize - 1];
        let is_trailing = self.orders[slot].plane() == Plane::Trailing;
        let list = if is_trailing { &mut book.trailing } else { &mut book.seekers };
        (self.extras[slot].prev, self.extras[slot].next) = (list.tail, NONE);
        if list.tail == NONE {
            list.head = slot;
        } else {
            self.extras[list.tail].next = slot;
        }
        list.tail = slot;
        list.len += 1;
        book.links += 1;
    }

    fn unlink(&mut self, slot: u32) {
        let Extra { instrument, prev, next, .. } = self.extras[slot];
        let book = &mut self.books[instrument.0 as usize - 1];
        let is_trailing = self.orders[slot].plane() == Plane::Trailing;
        let list = if is_trailing { &mut book.trailing } else { &mut book.seekers };
        match prev {
            NONE => list.head = next,
            prev => self.extras[prev].next = next,
        }
        match next {
            NONE => list.tail = prev,
            next => self.extras[next].prev = prev,
        }
        list.len -= 1;
        book.links += 1;
    }

    /// Puts an order at the end of the line at its price.
    #[inline(always)]
    fn append(&mut self, place: u32, plane: Plane, slot: u32) {
        let Order { price, leaves, side, .. } = self.orders[slot];
        let lane_place = plane.lane(side.is_buy());
        let lane = &mut self.books[place as usize].lanes[lane_place];
        let leaf = if lane.leaf != NONE && lane.best >> 6 == price >> 6 {
            lane.leaf
        } else {
            let owner = place << LANE_BITS | lane_place as u32;
            let leaf = lane.ladder.leaf_or_new(&mut self.ladders, owner, price);
            if lane.orders == 0 && lane.leaf != NONE {
                // After the new one is made, so that what leads to both stays.
                lane.ladder.prune(&mut self.ladders, lane.best);
            }
            leaf
        };
        let mut prev = NONE;
        if self.ladders.is_occupied(leaf, price) {
            let level = self.ladders.level_mut(leaf, price);
            prev = level.tail;
            self.orders[prev].next = slot;
            level.tail = slot;
            level.count += 1;
            level.qty += u128::from(leaves);
        } else {
            *self.ladders.occupy(leaf, price) =
                Level { head: slot, tail: slot, count: 1, qty: u128::from(leaves) };
            if lane.orders == 0 || plane.goes_down(side.is_buy()) == (price > lane.best) {
                (lane.best, lane.leaf) = (price, leaf);
            }
        }
        lane.orders += 1;
        let order = &mut self.orders[slot];
        (order.leaf, order.prev, order.next) = (leaf, prev, NONE);
    }

    /// Takes an order out of its line.
    fn detach(&mut self, slot: u32) {
        let order = &self.orders[slot];
        let (plane, owner) = (order.plane(), self.ladders.owner(order.leaf));
        debug_assert_eq!((owner & ((1 << LANE_BITS) - 1)) as usize, plane.lane(order.side.is_buy()));
        self.detach_from(owner >> LANE_BITS, plane, slot);
    }

    /// The same of an instrument, by its place from 0, and a plane that are known.
    #[inline(always)]
    fn detach_from(&mut self, place: u32, plane: Plane, slot: u32) {
        let Order { price, leaves, prev, next, leaf, side, .. } = self.orders[slot];
        let level = self.ladders.level_mut(leaf, price);
        level.count -= 1;
        level.qty -= u128::from(leaves);
        if prev == NONE {
            level.head = next;
        } else {
            self.orders[prev].next = next;
        }
        if next == NONE {
            level.tail = prev;
        } else {
            self.orders[next].prev = prev;
        }
        let emptied = level.count == 0;
        let lane = &mut self.books[place as usize].lanes[plane.lane(side.is_buy())];
        lane.orders -= 1;
        if emptied {
            if lane.orders == 0 {
                if plane == Plane::Lit {
                    return self.ladders.vacate_in(leaf, price);
                }
                lane.leaf = NONE;
            } else if lane.best == price {
                let down = plane.goes_down(side.is_buy());
                if let Some(next) = self.ladders.beyond_in(leaf, price, down) {
                    // Nearly always: the way from the root is ten times as long.
                    lane.best = next;
                    return self.ladders.vacate_in(leaf, price);
                }
                (lane.best, lane.leaf) = lane
                    .ladder
                    .beyond(&self.ladders, price, down)
                    .expect("a side with orders has a level beyond an empty one");
            }
            lane.ladder.vacate(&mut self.ladders, leaf, price);
        }
    }

    /// Takes `qty` off an order; all it has takes it off the book. What is shown of an iceberg order
    /// shrinks only when less is left.
    pub(crate) fn reduce(&mut self, slot: u32, qty: u64) {
        assert!(qty <= self.orders[slot].leaves);
        if qty == self.orders[slot].leaves {
            return self.remove(slot);
        }
        self.shrink(slot, qty);
        let leaves = self.orders[slot].leaves;
        if let Some(extra) = self.extra_mut(slot) {
            extra.shown.qty = extra.shown.qty.min(Qty(leaves));
        }
    }

    /// An order trades `qty`, what is shown of it first; all it has takes it off the book.
    #[inline(always)]
    pub(crate) fn execute(&mut self, slot: u32, qty: u64) {
        let order = &mut self.orders[slot];
        order.executed += qty;
        assert!(qty <= order.leaves);
        if qty == order.leaves {
            return self.remove(slot);
        }
        self.shrink(slot, qty);
        if self.orders[slot].is_special() {
            let shown = &mut self.extras[slot].shown.qty;
            *shown = Qty(shown.0.saturating_sub(qty));
        }
    }

    /// The same on an instrument where all is plain.
    #[inline(always)]
    pub(crate) fn execute_plain(&mut self, instrument: InstrumentId, slot: u32, qty: u64) {
        let order = &self.orders[slot];
        assert!(qty <= order.leaves);
        if qty == order.leaves {
            let found = self.locate(order.order_ref).expect("an order of the books is found");
            return self.remove_plain(instrument, found);
        }
        self.orders[slot].executed += qty;
        self.reduce_plain(slot, qty);
    }

    /// Takes less than all that it has off a plain order.
    #[inline(always)]
    pub(crate) fn reduce_plain(&mut self, slot: u32, qty: u64) {
        let order = &mut self.orders[slot];
        assert!(qty < order.leaves);
        order.leaves -= qty;
        self.ladders.level_mut(order.leaf, order.price).qty -= u128::from(qty);
    }

    /// Takes an order of an instrument where all is plain off the book.
    #[inline(always)]
    pub(crate) fn remove_plain(&mut self, instrument: InstrumentId, found: Found) {
        debug_assert!(self.orders[found.slot].is_plain());
        debug_assert_eq!(self.instrument(found.slot), instrument);
        self.detach_from(instrument.0 - 1, Plane::Lit, found.slot);
        self.by_ref.remove_at(found.place);
        self.orders.remove(found.slot);
    }

    #[inline(always)]
    fn shrink(&mut self, slot: u32, qty: u64) {
        let order = &mut self.orders[slot];
        order.leaves -= qty;
        if order.leaf != NONE {
            self.ladders.level_mut(order.leaf, order.price).qty -= u128::from(qty);
        }
    }

    /// Takes an order off the book.
    #[inline(always)]
    pub(crate) fn remove(&mut self, slot: u32) {
        if !self.orders[slot].is_plain() {
            self.remove_special(slot);
        }
        if self.orders[slot].leaf != NONE {
            self.detach(slot);
        }
        self.by_ref.remove(index_key(self.orders[slot].order_ref));
        self.orders.remove(slot);
    }

    /// What leads to a special order, but for its line.
    #[cold]
    fn remove_special(&mut self, slot: u32) {
        let extra = self.extras[slot];
        if extra.is_linked(self.orders[slot].plane()) {
            self.unlink(slot);
        }
        let book = &mut self.books[extra.instrument.0 as usize - 1];
        book.special -= 1;
        if extra.terms.expire.0 != 0 {
            book.expiring.remove(slot, &self.orders, &mut self.extras);
        }
        if extra.partner.0 != 0 {
            self.unpair(extra.partner);
        }
        self.extras.take(slot);
    }

    /// The next part of an iceberg order is shown, at the end of its line.
    pub(crate) fn show_next(&mut self, slot: u32, shown: Shown) {
        let extra = self.extra_mut(slot).expect("an iceberg order is special");
        extra.shown = shown;
        let place = self.instrument(slot).0 - 1;
        self.detach(slot);
        self.append(place, Plane::Lit, slot);
    }

    // On the feed.

    /// How an order stands on the feed; nothing when it does not.
    #[inline(always)]
    pub(crate) fn shown(&self, slot: u32) -> Shown {
        let order = &self.orders[slot];
        if order.is_plain() {
            return order.shown_whole();
        }
        self.shown_special(slot)
    }

    #[cold]
    fn shown_special(&self, slot: u32) -> Shown {
        let (order, extra) = (&self.orders[slot], &self.extras[slot]);
        match order.plane() {
            Plane::Lit if !extra.is_iceberg() => order.shown_whole(), // Between a cross and its refreshing nothing stands on the feed.
            Plane::Lit if extra.shown.qty.0 > 0 => extra.shown,
            _ => Shown::default(),
        }
    }

    /// What an order can trade at once: of an iceberg order what it shows.
    #[inline(always)]
    pub(crate) fn tradable(&self, slot: u32) -> u64 {
        let order = &self.orders[slot];
        if order.is_special() && self.extras[slot].is_iceberg() {
            return self.extras[slot].shown.qty.0;
        }
        order.leaves
    }

    /// Whether an iceberg order has something left and shows nothing of it.
    pub(crate) fn is_used_up(&self, slot: u32) -> bool {
        self.extra(slot).is_some_and(|extra| extra.is_iceberg() && extra.shown.qty.0 == 0)
    }

    // Views.

    /// The slots of all orders of an instrument: displayed, hidden, pegs, stops, trailing stops, at-open,
    /// at-close; bids before asks, but trailing stops as they came in.
    pub(crate) fn slots(&self, instrument: InstrumentId) -> impl Iterator<Item = u32> + '_ {
        self.resting(instrument).chain(self.waiting(instrument))
    }

    fn both(&self, instrument: InstrumentId, plane: Plane) -> impl Iterator<Item = u32> + '_ {
        [true, false].into_iter().flat_map(move |buys| self.line(instrument, plane, buys))
    }

    fn resting(&self, instrument: InstrumentId) -> impl Iterator<Item = u32> + '_ {
        let pegs = [true, false].into_iter().flat_map(move |buys| self.pegs(instrument, buys));
        self.both(instrument, Plane::Lit).chain(self.both(instrument, Plane::Hidden)).chain(pegs)
    }

    fn waiting(&self, instrument: InstrumentId) -> impl Iterator<Item = u32> + '_ {
        self.both(instrument, Plane::Stop)
            .chain(self.trailing(instrument))
            .chain(self.both(instrument, Plane::AtOpen))
            .chain(self.both(instrument, Plane::AtClose))
    }

    fn is_known(&self, instrument: InstrumentId) -> bool {
        instrument.0 != 0 && instrument.0 as usize <= self.books.len()
    }

    /// A book's orders: displayed, then hidden, then pegs, each bids best first and in line, then asks.
    pub(crate) fn iter(&self, instrument: InstrumentId) -> impl Iterator<Item = BookOrder> + '_ {
        let known = self.is_known(instrument).then_some(instrument);
        known.into_iter().flat_map(|instrument| self.resting(instrument)).map(|slot| self.view(slot))
    }

    /// Orders off the book: stops, trailing stops, at-open, at-close orders.
    pub(crate) fn iter_waiting(&self, instrument: InstrumentId) -> impl Iterator<Item = BookOrder> + '_ {
        let known = self.is_known(instrument).then_some(instrument);
        known.into_iter().flat_map(|instrument| self.waiting(instrument)).map(|slot| self.view(slot))
    }

    fn view(&self, slot: u32) -> BookOrder {
        let order = &self.orders[slot];
        BookOrder {
            order_ref: order.order_ref,
            key: order.key,
            firm: order.firm,
            buys: order.side.is_buy(),
            price: Price(self.limit(slot).cast_signed()),
            leaves_qty: Qty(order.leaves),
            display: order.display(),
            shown: self.shown(slot),
        }
    }

    // As it is listed.

    /// How an order stands. In the order of [`Books::slots`] that is all there is to know of the lines.
    pub(crate) fn standing(&self, slot: u32) -> Standing {
        let order = &self.orders[slot];
        let special = self.extra(slot).map(|extra| {
            let Extra {
                instrument: _,
                terms,
                time_in_force,
                stp,
                limit,
                worth,
                shown,
                partner,
                best,
                counted_for: _,
                prev: _,
                next: _,
                heap: _,
            } = *extra;
            Special { terms, time_in_force, stp, limit, worth, shown, partner, best }
        });
        // What else decides about an order is stage 1's to list.
        let Order {
            order_ref: _,
            key: _,
            leaves: _,
            executed: _,
            price,
            prev: _,
            next: _,
            token: _,
            firm: _,
            leaf: _,
            group,
            side: _,
            flags: _,
        } = *order;
        Standing { price, group, display: order.display(), plane: order.plane(), special }
    }

    /// Puts an order back at the end of its line, one after the other in the order of [`Books::slots`];
    /// afterwards [`Books::number`] wants the numbers and slots of all, and [`Books::relink`] the slots of all that are
    /// special. `order` says what stage 1 knows.
    pub(crate) fn restore(
        &mut self,
        instrument: InstrumentId,
        order: &Order,
        standing: &Standing,
    ) -> Result<u32, Fault> {
        let Standing { price, group, display, plane, special } = standing;
        let flags = order.flags & !3 | display_bits(*display);
        let order = Order { price: *price, group: *group, flags, ..*order };
        let Some(special) = special else {
            return if *plane == Plane::Lit {
                Ok(self.place_plain(instrument, &order))
            } else {
                Err("an order off the displayed lines is not special")
            };
        };
        let Special { terms, time_in_force, stp, limit, worth, shown, partner, best } = *special;
        let extra =
            Extra { shown, partner, best, ..Extra::new(instrument, terms, time_in_force, stp, limit, worth) };
        Ok(self.place_special(*plane, &order, &extra))
    }

    /// Has all orders found by their numbers, which are given with their slots.
    pub(crate) fn number(
        &mut self,
        numbers: impl ExactSizeIterator<Item = (OrderRef, u32)> + Clone,
    ) -> Result<(), Fault> {
        let keys = numbers.map(|(order_ref, slot)| (index_key(order_ref), slot));
        self.by_ref.fill(keys).map_err(|_| "its number is another's")
    }

    /// Puts special orders that were restored back into the lists of seekers and trailing stops, which go by
    /// age, and checks who is paired.
    pub(crate) fn relink(&mut self, mut special: Vec<u32>) -> Result<(), Fault> {
        special.sort_unstable_by_key(|slot| self.orders[*slot].order_ref);
        for slot in special {
            let order_ref = self.orders[slot].order_ref;
            let is_mutual =
                |partner| self.find(partner).and_then(|slot| self.partner(slot)) == Some(order_ref);
            if !self.partner(slot).is_none_or(is_mutual) {
                return Err("an order is paired with one that is not paired with it");
            }
            if self.extras[slot].is_linked(self.orders[slot].plane()) {
                self.link(slot);
            }
        }
        Ok(())
    }

    // Checks.

    /// Panics when a link, a sum or a best price is wrong. What may be crossed its caller knows.
    pub(crate) fn check_invariants(&self) {
        let (mut seen, mut special) = (0, 0);
        for place in 0..self.books.len() {
            let instrument = InstrumentId(place as u32 + 1);
            let book = &self.books[place];
            for plane in &Plane::ALL[..LADDERS] {
                for buys in [true, false] {
                    seen += self.check_lane(instrument, *plane, buys);
                }
            }
            let specials = self.slots(instrument).filter(|slot| !self.orders[*slot].is_plain());
            assert_eq!(specials.count(), book.special as usize, "special orders of {instrument}");
            special += book.special as usize;
            seen += self.check_list(instrument, &book.seekers);
            seen += self.check_list(instrument, &book.trailing);
            let expiring = self
                .slots(instrument)
                .filter(|slot| self.extra(*slot).is_some_and(|extra| extra.terms.expire.0 != 0));
            assert_eq!(expiring.count(), book.expiring.check(&self.orders, &self.extras));
        }
        assert_eq!(seen, self.orders.len());
        assert_eq!(seen, self.by_ref.len());
        assert_eq!(special, self.extras.records.len());
    }

    /// Returns how many of a list stand on no ladder.
    fn check_list(&self, instrument: InstrumentId, list: &List) -> usize {
        let (mut prev, mut len, mut off_ladder) = (NONE, 0, 0);
        for slot in self.list(list.head) {
            let extra = &self.extras[slot];
            // What restores a list goes by it.
            assert!(
                prev == NONE || self.orders[prev].order_ref < self.orders[slot].order_ref,
                "a list goes by age"
            );
            assert_eq!((extra.instrument, extra.prev), (instrument, prev));
            assert_eq!(self.find(self.orders[slot].order_ref), Some(slot));
            self.check_order(slot);
            off_ladder += usize::from(self.orders[slot].leaf == NONE);
            len += 1;
            prev = slot;
        }
        assert_eq!((list.tail, list.len), (prev, len));
        off_ladder
    }

    fn check_order(&self, slot: u32) {
        let order = &self.orders[slot];
        assert!(order.leaves > 0);
        let shown = self.shown(slot);
        assert!(shown.qty.0 <= order.leaves);
        assert!(order.plane() == Plane::Lit || shown == Shown::default());
        if let Some(partner) = self.partner(slot) {
            let partner = self.find(partner).expect("a partner is on the book");
            assert_eq!(self.partner(partner), Some(order.order_ref));
        }
    }

    fn check_lane(&self, instrument: InstrumentId, plane: Plane, buys: bool) -> usize {
        let lane = &self.book(instrument).lanes[plane.lane(buys)];
        let mut at = (lane.orders != 0).then_some((lane.best, lane.leaf));
        let mut seen = 0;
        while let Some((price, leaf)) = at {
            assert_eq!(lane.ladder.leaf(&self.ladders, price), Some(leaf));
            assert_eq!(self.ladders.owner(leaf), (instrument.0 - 1) << LANE_BITS | plane.lane(buys) as u32);
            let level = self.ladders.level(leaf, price);
            let (mut qty, mut count, mut prev, mut slot) = (0u128, 0, NONE, level.head);
            while slot != NONE {
                let order = &self.orders[slot];
                self.check_order(slot);
                assert_eq!((order.price, order.leaf, order.prev), (price, leaf, prev));
                assert_eq!((order.side.is_buy(), order.plane()), (buys, plane));
                assert_eq!(self.find(order.order_ref), Some(slot));
                qty += u128::from(order.leaves);
                count += 1;
                (prev, slot) = (slot, order.next);
            }
            assert_eq!((level.tail, level.count, level.qty), (prev, count, qty));
            seen += count;
            let next = lane.ladder.beyond(&self.ladders, price, plane.goes_down(buys));
            at = next.filter(|_| seen < lane.orders);
            assert_eq!(at.is_some(), seen < lane.orders);
        }
        assert_eq!(seen, lane.orders);
        seen as usize
    }
}

/// Whether a resting price is at `limit` or better for who comes in; `buys` is the resting side.
pub(crate) fn within(price: u64, limit: u64, buys: bool) -> bool {
    if buys { price >= limit } else { price <= limit }
}
