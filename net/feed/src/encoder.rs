//! Events to ITCH 5.0 messages: a deterministic function of the committed events and of nothing else,
//! so that primary, standby and a restarted node say the same bytes under the same sequence numbers.
//!
//! | event | messages |
//! |---|---|
//! | `DayOpened` | S `O`, S `S`, per instrument R (s) H, A or F of what still stands, S `Q` |
//! | `InstrumentDefined`, day open | R (s) H |
//! | `Accepted` booked, `Rested` | A, or F when attributed |
//! | `Replaced` booked | U; D and A or F when the attribution changes, which U cannot say |
//! | `Replaced` not booked | D of the original |
//! | `Trade` | E of the resting order |
//! | `Canceled` displayed | X, or D when nothing is left |
//! | `Modified` that shrank | X |

use ironbell_types::{
    Accepted, Display, Event, EventBody, FirmId, InstrumentId, OrderRef, Price, Qty, Replaced, Rested,
};
use rustc_hash::FxHashMap;

use crate::Directory;
use crate::messages::{DayEvent, Messages};

/// An order on the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BookOrder {
    /// Its number.
    pub order_ref: OrderRef,
    /// Whose it is.
    pub firm: FirmId,
    /// What it trades.
    pub instrument: InstrumentId,
    /// Whether it buys.
    pub buys: bool,
    /// What stands.
    pub leaves_qty: Qty,
    /// The limit.
    pub price: Price,
    /// How shown.
    pub display: Display,
}

/// The encoder and what it must remember: the directory, and the orders on the feed. Those it needs at
/// the start of a day, to announce what still stands, and where a replacement changes its attribution.
#[derive(Clone, Debug, Default)]
pub struct Encoder {
    directory: Directory,
    orders: FxHashMap<u64, BookOrder>,
    sequence: u64,
}

impl Encoder {
    /// An encoder of a venue where nothing is defined. Up to `orders_max` orders stand without an allocation.
    #[must_use]
    pub fn new(orders_max: usize) -> Self {
        let mut orders = FxHashMap::default();
        orders.reserve(orders_max);
        Self { directory: Directory::default(), orders, sequence: 1 }
    }

    /// The sequence number of the next message in the day's session.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// What is defined.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The orders on the feed, in the order of a book: by instrument, bids first, best price first, oldest
    /// first.
    #[must_use]
    pub fn orders(&self) -> Vec<BookOrder> {
        in_book_order(&self.orders)
    }

    /// Calls `emit` with each message that `event` makes, in order. [`EventBody::DayOpened`] starts the
    /// numbering of a new session: its first message is number 1.
    ///
    /// # Panics
    /// When the event contradicts those before it, or a price or quantity does not fit ITCH's fields: the
    /// state machine and the gateway never let that happen.
    pub fn encode(&mut self, event: &Event, emit: &mut impl FnMut(&[u8])) {
        let Self { directory, orders, sequence } = self;
        directory.apply(&event.body);
        if matches!(event.body, EventBody::DayOpened(_)) {
            *sequence = 1;
        }
        if directory.day().is_none() {
            return;
        }
        let emit = &mut |message: &[u8]| {
            *sequence += 1;
            emit(message);
        };
        let messages = Messages::at(event.time, directory);
        match &event.body {
            EventBody::DayOpened(_) => {
                messages.day_event(DayEvent::MessagesStart, emit);
                messages.day_event(DayEvent::SystemStart, emit);
                directory.instruments().iter().for_each(|instrument| messages.listing(instrument, emit));
                in_book_order(orders).iter().for_each(|order| messages.add(order, emit));
                messages.day_event(DayEvent::MarketStart, emit);
            }
            EventBody::InstrumentDefined(instrument) => messages.listing(instrument, emit),
            EventBody::Accepted(order) if order.booked => add(orders, order.into(), &messages, emit),
            EventBody::Rested(order) => add(orders, order.into(), &messages, emit),
            EventBody::Replaced(replaced) => replace(orders, replaced, &messages, emit),
            EventBody::Trade(trade) => {
                let (order_ref, leaves_qty) = (trade.resting.order_ref, trade.resting.leaves_qty);
                reduce(orders, order_ref, trade.qty, leaves_qty);
                messages.executed((trade.instrument, order_ref), trade.qty, trade.match_number, emit);
            }
            EventBody::Canceled(gone) if gone.displayed => {
                reduce(orders, gone.order_ref, gone.qty, gone.leaves_qty);
                messages.reduced((gone.instrument, gone.order_ref), gone.qty, gone.leaves_qty, emit);
            }
            EventBody::Modified(order) if order.qty > Qty::ZERO => {
                reduce(orders, order.order_ref, order.qty, order.leaves_qty);
                messages.reduced((order.instrument, order.order_ref), order.qty, order.leaves_qty, emit);
            }
            _ => {}
        }
    }
}

/// An order joins its queue at the command that made its number, so numbers rise with age.
fn in_book_order(orders: &FxHashMap<u64, BookOrder>) -> Vec<BookOrder> {
    let mut orders: Vec<_> = orders.values().copied().collect();
    orders.sort_unstable_by_key(|order| {
        let price = if order.buys { -order.price.0 } else { order.price.0 };
        (order.instrument, !order.buys, price, order.order_ref)
    });
    orders
}

fn add(
    orders: &mut FxHashMap<u64, BookOrder>,
    order: BookOrder,
    messages: &Messages<'_>,
    emit: &mut impl FnMut(&[u8]),
) {
    let before = orders.insert(order.order_ref.0, order);
    assert!(before.is_none(), "order {} is on the feed already", order.order_ref);
    messages.add(&order, emit);
}

fn replace(
    orders: &mut FxHashMap<u64, BookOrder>,
    replaced: &Replaced,
    messages: &Messages<'_>,
    emit: &mut impl FnMut(&[u8]),
) {
    let original = orders.remove(&replaced.orig_order_ref.0).expect("a replaced order is on the feed");
    let order = BookOrder::from(&replaced.order);
    if replaced.order.booked && original.display == order.display {
        messages.replaced(original.order_ref, &order, emit);
        orders.insert(order.order_ref.0, order);
        return;
    }
    messages.deleted((original.instrument, original.order_ref), emit);
    if replaced.order.booked {
        add(orders, order, messages, emit);
    }
}

/// Takes `qty` off an order, of which `leaves_qty` must then be left.
fn reduce(orders: &mut FxHashMap<u64, BookOrder>, order_ref: OrderRef, qty: Qty, leaves_qty: Qty) {
    let order = orders.get_mut(&order_ref.0).expect("an order that shrinks is on the feed");
    assert_eq!(order.leaves_qty.0.checked_sub(qty.0), Some(leaves_qty.0), "what order {order_ref} leaves");
    order.leaves_qty = leaves_qty;
    if leaves_qty == Qty::ZERO {
        orders.remove(&order_ref.0);
    }
}

impl From<&Accepted> for BookOrder {
    fn from(order: &Accepted) -> Self {
        Self {
            order_ref: order.order_ref,
            firm: order.firm,
            instrument: order.instrument,
            buys: order.side.is_buy(),
            leaves_qty: order.qty,
            price: order.price,
            display: order.display,
        }
    }
}

impl From<&Rested> for BookOrder {
    fn from(order: &Rested) -> Self {
        Self {
            order_ref: order.order_ref,
            firm: order.firm,
            instrument: order.instrument,
            buys: order.side.is_buy(),
            leaves_qty: order.qty,
            price: order.price,
            display: order.display,
        }
    }
}
