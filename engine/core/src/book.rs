//! The books: resting orders in price-time priority, found by OrderRef.

use crate::{
    BookOrder,
    index::{Index, NONE},
    ladder::{Ladder, Ladders, Level},
    slab::Slab,
};
use alloc::vec::Vec;
use ironbell_types::{Display, FirmId, InstrumentId, OrderKey, OrderRef, Price, Qty, Side};

/// A resting order: one cache line.
#[derive(Clone, Copy)]
pub(crate) struct Order {
    pub(crate) order_ref: OrderRef,
    pub(crate) key: OrderKey,
    pub(crate) leaves: u64,
    /// What its chain has executed.
    pub(crate) executed: u64,
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
    pub(crate) display: Display,
}

const _: () = assert!(size_of::<Order>() == 64);

impl Order {
    #[expect(clippy::too_many_arguments, reason = "one value for each field that is not a link")]
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
    ) -> Self {
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
            display,
        }
    }

    fn shown(&self) -> BookOrder {
        BookOrder {
            order_ref: self.order_ref,
            key: self.key,
            firm: self.firm,
            buys: self.side.is_buy(),
            price: Price(self.price.cast_signed()),
            leaves_qty: Qty(self.leaves),
            display: self.display,
        }
    }
}

/// Bids or asks of one book.
#[derive(Clone, Copy)]
struct BookSide {
    /// Best price; meaningless when `leaf` is [`NONE`].
    best: u64,
    /// The leaf of the best price.
    leaf: u32,
    orders: u32,
}

#[derive(Clone, Copy)]
struct Book {
    ladder: Ladder,
    /// Asks, then bids: indexed by whether the side buys.
    sides: [BookSide; 2],
}

/// The books of all instruments, and the one index over their orders.
#[derive(Clone)]
pub(crate) struct Books {
    books: Vec<Book>,
    orders: Slab<Order>,
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
            orders: Slab::new(orders),
            by_ref: Index::new(orders, key),
            ladders: Ladders::new((orders / 8).clamp(64, 4096)),
        }
    }

    /// Opens the book of the next instrument.
    pub(crate) fn open(&mut self) {
        let side = BookSide { best: 0, leaf: NONE, orders: 0 };
        self.books.push(Book { ladder: Ladder::EMPTY, sides: [side; 2] });
    }

    pub(crate) fn len(&self) -> usize {
        self.books.len()
    }

    /// Orders on all books.
    pub(crate) fn orders(&self) -> usize {
        self.orders.len()
    }

    pub(crate) fn find(&self, order_ref: OrderRef) -> Option<u32> {
        self.by_ref.get(index_key(order_ref))
    }

    pub(crate) fn order(&self, slot: u32) -> &Order {
        &self.orders[slot]
    }

    pub(crate) fn order_mut(&mut self, slot: u32) -> &mut Order {
        &mut self.orders[slot]
    }

    pub(crate) fn instrument(&self, slot: u32) -> InstrumentId {
        InstrumentId(self.ladders.book(self.orders[slot].leaf) + 1)
    }

    fn book(&self, instrument: InstrumentId) -> &Book {
        &self.books[instrument.0 as usize - 1]
    }

    /// The first order in line of a side.
    pub(crate) fn first(&self, instrument: InstrumentId, buys: bool) -> Option<u32> {
        let side = &self.book(instrument).sides[usize::from(buys)];
        (side.leaf != NONE).then(|| self.ladders.level(side.leaf, side.best).head)
    }

    /// The order next in line after one of the same side.
    pub(crate) fn after(&self, slot: u32) -> Option<u32> {
        let order = &self.orders[slot];
        if order.next != NONE {
            return Some(order.next);
        }
        let ladder = &self.books[self.ladders.book(order.leaf) as usize].ladder;
        let (price, leaf) = ladder.beyond(&self.ladders, order.price, order.side.is_buy())?;
        Some(self.ladders.level(leaf, price).head)
    }

    /// The best price of a side, if it has orders.
    pub(crate) fn best(&self, instrument: InstrumentId, buys: bool) -> Option<u64> {
        let side = &self.book(instrument).sides[usize::from(buys)];
        (side.leaf != NONE).then_some(side.best)
    }

    /// Whether the side holds `qty` at `limit` or better, in at most `orders_max` orders.
    pub(crate) fn holds(
        &self,
        instrument: InstrumentId,
        buys: bool,
        limit: u64,
        qty: u64,
        orders_max: u32,
    ) -> bool {
        let book = self.book(instrument);
        let side = &book.sides[usize::from(buys)];
        let mut at = (side.leaf != NONE).then_some((side.best, side.leaf));
        let (mut missing, mut orders) = (u128::from(qty), 0u32);
        while let Some((price, leaf)) = at.filter(|(price, _)| within(*price, limit, buys)) {
            let level = self.ladders.level(leaf, price);
            if level.qty >= missing {
                return orders + level.count <= orders_max
                    || orders + self.needed(level, missing) <= orders_max;
            }
            missing -= level.qty;
            orders += level.count;
            at = book.ladder.beyond(&self.ladders, price, buys);
        }
        false
    }

    /// How many of a level's oldest orders it takes to fill `qty`, of which it has enough.
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

    /// Puts an order at the end of the line at its price.
    pub(crate) fn insert(&mut self, instrument: InstrumentId, order: Order) {
        let place = instrument.0 - 1;
        let book = &mut self.books[place as usize];
        let side = &mut book.sides[usize::from(order.side.is_buy())];
        let leaf = if side.leaf != NONE && side.best >> 6 == order.price >> 6 {
            side.leaf
        } else {
            book.ladder.leaf_or_new(&mut self.ladders, place, order.price)
        };
        let slot = self.orders.insert(Order { leaf, ..order });
        self.by_ref.insert(index_key(order.order_ref), slot);
        if self.ladders.is_occupied(leaf, order.price) {
            let level = self.ladders.level_mut(leaf, order.price);
            self.orders[slot].prev = level.tail;
            self.orders[level.tail].next = slot;
            level.tail = slot;
            level.count += 1;
            level.qty += u128::from(order.leaves);
        } else {
            *self.ladders.occupy(leaf, order.price) =
                Level { head: slot, tail: slot, count: 1, qty: u128::from(order.leaves) };
            if side.leaf == NONE || (order.side.is_buy() == (order.price > side.best)) {
                (side.best, side.leaf) = (order.price, leaf);
            }
        }
        side.orders += 1;
    }

    /// Takes `qty` off an order; all it has takes it off the book.
    pub(crate) fn reduce(&mut self, slot: u32, qty: u64) {
        let order = &mut self.orders[slot];
        assert!(qty <= order.leaves);
        if qty == order.leaves {
            return self.remove(slot);
        }
        order.leaves -= qty;
        self.ladders.level_mut(order.leaf, order.price).qty -= u128::from(qty);
    }

    /// Takes an order off the book.
    pub(crate) fn remove(&mut self, slot: u32) {
        let order = self.orders[slot];
        let level = self.ladders.level_mut(order.leaf, order.price);
        level.count -= 1;
        level.qty -= u128::from(order.leaves);
        if order.prev == NONE {
            level.head = order.next;
        } else {
            self.orders[order.prev].next = order.next;
        }
        if order.next == NONE {
            level.tail = order.prev;
        } else {
            self.orders[order.next].prev = order.prev;
        }
        let emptied = level.count == 0;
        let book = &mut self.books[self.ladders.book(order.leaf) as usize];
        let side = &mut book.sides[usize::from(order.side.is_buy())];
        side.orders -= 1;
        if emptied {
            if side.orders == 0 {
                side.leaf = NONE;
            } else if side.best == order.price {
                (side.best, side.leaf) = book
                    .ladder
                    .beyond(&self.ladders, order.price, order.side.is_buy())
                    .expect("a side with orders has a level beyond an empty one");
            }
            book.ladder.vacate(&mut self.ladders, order.leaf, order.price);
        }
        self.by_ref.remove(index_key(order.order_ref));
        self.orders.remove(slot);
    }

    /// A book's orders: bids best first and oldest first, then asks.
    pub(crate) fn iter(&self, instrument: InstrumentId) -> impl Iterator<Item = BookOrder> + '_ {
        let known = instrument.0 != 0 && instrument.0 as usize <= self.books.len();
        [true, false].into_iter().filter(move |_| known).flat_map(move |buys| {
            core::iter::successors(self.first(instrument, buys), |&slot| self.after(slot))
                .map(|slot| self.orders[slot].shown())
        })
    }

    /// The slots of a book in the order of [`Self::iter`].
    pub(crate) fn slots(&self, instrument: InstrumentId) -> impl Iterator<Item = u32> + '_ {
        [true, false].into_iter().flat_map(move |buys| {
            core::iter::successors(self.first(instrument, buys), |&slot| self.after(slot))
        })
    }

    /// Panics when a link, a sum or a best price is wrong, or a book is crossed.
    pub(crate) fn check_invariants(&self) {
        let mut seen = 0;
        for place in 0..self.books.len() {
            let instrument = InstrumentId(place as u32 + 1);
            for buys in [true, false] {
                seen += self.check_side(instrument, buys);
            }
            if let (Some(bid), Some(ask)) = (self.best(instrument, true), self.best(instrument, false)) {
                assert!(bid < ask, "book {instrument} is crossed: {bid} to {ask}");
            }
        }
        assert_eq!(seen, self.orders.len());
        assert_eq!(seen, self.by_ref.len());
    }

    fn check_side(&self, instrument: InstrumentId, buys: bool) -> usize {
        let book = self.book(instrument);
        let side = &book.sides[usize::from(buys)];
        let mut at = (side.leaf != NONE).then_some((side.best, side.leaf));
        let mut seen = 0;
        while let Some((price, leaf)) = at {
            assert_eq!(book.ladder.leaf(&self.ladders, price), Some(leaf));
            let level = self.ladders.level(leaf, price);
            let (mut qty, mut count, mut prev, mut slot) = (0u128, 0, NONE, level.head);
            while slot != NONE {
                let order = &self.orders[slot];
                assert!(order.leaves > 0);
                assert_eq!((order.price, order.leaf, order.prev), (price, leaf, prev));
                assert_eq!(order.side.is_buy(), buys);
                assert_eq!(self.find(order.order_ref), Some(slot));
                if prev != NONE {
                    let older = self.orders[prev].order_ref;
                    assert!(older < order.order_ref, "{older} stands before {}", order.order_ref);
                }
                qty += u128::from(order.leaves);
                count += 1;
                (prev, slot) = (slot, order.next);
            }
            assert_eq!((level.tail, level.count, level.qty), (prev, count, qty));
            seen += count;
            let next = book.ladder.beyond(&self.ladders, price, buys);
            at = next.filter(|_| seen < side.orders);
            assert_eq!(at.is_some(), seen < side.orders);
        }
        assert_eq!(seen, side.orders);
        seen as usize
    }
}

/// Whether a resting price is at `limit` or better for who comes in; `buys` is the resting side.
pub(crate) fn within(price: u64, limit: u64, buys: bool) -> bool {
    if buys { price >= limit } else { price <= limit }
}
