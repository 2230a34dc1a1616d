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

#[cfg(test)]
mod tests {
    use super::*;
    use ironbell_types::{
        Asset, AssetId, CancelReason, Canceled, Capacity, ClOrdId, Executed, Firm, Instrument, MatchNumber,
        Modified, Mpid, Nanos, OpenDay, OrderKey, OrderOptions, Scale, Seq, Side, Stage, Symbol, TimeInForce,
        Trade, UserRefNum,
    };

    const MIDNIGHT: u64 = 1_800_000_000_000_000_000;
    /// 09:30:00.000000001 as the six bytes of a timestamp.
    const TIME: &str = "1f1aced9f001";
    const ZULU: &str = "5a554c5520202020";

    fn event(seq: u64, body: EventBody) -> Event {
        let time = Nanos(MIDNIGHT + 34_200_000_000_001);
        Event { seq: Seq(seq), time, stage: Stage::Matching, step: 0, body }
    }

    fn symbol(text: &str) -> Symbol {
        Symbol::new(text).expect("a short symbol")
    }

    fn instrument(id: u32, text: &str, scale: Scale) -> EventBody {
        EventBody::InstrumentDefined(Instrument {
            id: InstrumentId(id),
            symbol: symbol(text),
            base: AssetId(2),
            quote: AssetId(1),
            scale,
            tick_value: 5,
            lot_units: 1_000,
            round_lot: 100,
            maker_fee_bps: 0,
            taker_fee_bps: 0,
        })
    }

    /// ZULU in cents and a firm ALFA, before the first day.
    fn definitions() -> Vec<EventBody> {
        vec![
            EventBody::AssetDefined(Asset { id: AssetId(1), code: symbol("USD"), decimals: 4 }),
            EventBody::AssetDefined(Asset { id: AssetId(2), code: symbol("BTC"), decimals: 8 }),
            EventBody::FirmDefined(Firm { id: FirmId(1), mpid: Mpid::new("ALFA").expect("four letters") }),
            instrument(1, "ZULU", Scale::EquityExact { price_tick: 100 }),
        ]
    }

    fn day() -> EventBody {
        EventBody::DayOpened(OpenDay { date: 20_261_121, midnight: Nanos(MIDNIGHT) })
    }

    fn encode(encoder: &mut Encoder, body: EventBody) -> Vec<String> {
        let mut messages = Vec::new();
        encoder.encode(&event(9, body), &mut |message| {
            messages.push(message.iter().map(|byte| format!("{byte:02x}")).collect());
        });
        messages
    }

    /// The day is open, and order 1 buys 300 at 1,234 ticks.
    fn with_order(display: Display) -> Encoder {
        let mut encoder = Encoder::new(0);
        for body in
            definitions().into_iter().chain([day(), EventBody::Accepted(order(1, 300, 1_234, display))])
        {
            encode(&mut encoder, body);
        }
        encoder
    }

    fn order(order_ref: u64, qty: u64, price: i64, display: Display) -> Accepted {
        Accepted {
            key: OrderKey(1),
            order_ref: OrderRef(order_ref),
            firm: FirmId(1),
            instrument: InstrumentId(1),
            side: Side::Buy,
            qty: Qty(qty),
            price: Price(price),
            time_in_force: TimeInForce::Day,
            display,
            capacity: Capacity::Agency,
            cl_ord_id: ClOrdId::default(),
            options: OrderOptions::default(),
            booked: true,
        }
    }

    fn replaced(order: Accepted) -> EventBody {
        EventBody::Replaced(Replaced { orig_user_ref_num: UserRefNum(1), orig_order_ref: OrderRef(1), order })
    }

    fn canceled(qty: u64, leaves_qty: u64, displayed: bool) -> EventBody {
        EventBody::Canceled(Canceled {
            key: OrderKey(1),
            order_ref: OrderRef(1),
            instrument: InstrumentId(1),
            qty: Qty(qty),
            leaves_qty: Qty(leaves_qty),
            reason: CancelReason::User,
            displayed,
        })
    }

    fn modified(qty: u64, leaves_qty: u64) -> EventBody {
        EventBody::Modified(Modified {
            key: OrderKey(1),
            order_ref: OrderRef(1),
            instrument: InstrumentId(1),
            side: Side::Buy,
            qty: Qty(qty),
            leaves_qty: Qty(leaves_qty),
        })
    }

    fn trade(qty: u64, leaves_qty: u64) -> EventBody {
        let executed = |order_ref, leaves_qty| Executed {
            key: OrderKey(1),
            order_ref: OrderRef(order_ref),
            leaves_qty: Qty(leaves_qty),
        };
        EventBody::Trade(Trade {
            match_number: MatchNumber(0x0102),
            instrument: InstrumentId(1),
            price: Price(1_234),
            qty: Qty(qty),
            aggressor_buys: false,
            resting: executed(1, leaves_qty),
            aggressor: executed(2, 0),
        })
    }

    #[test]
    fn nothing_is_said_before_the_first_day() {
        let mut encoder = Encoder::new(0);
        for body in definitions() {
            assert_eq!(encode(&mut encoder, body), [""; 0]);
        }
        assert_eq!(encoder.sequence(), 1);
    }

    #[test]
    fn a_day_opens_with_the_directory_and_what_still_stands() {
        let mut encoder = with_order(Display::Attributable);
        let expected = [
            format!("5300000000{TIME}4f"),
            format!("5300000000{TIME}53"),
            format!("5200010000{TIME}{ZULU}2020000000644e435a20504e4e204e000000004e"),
            format!("4800010000{TIME}{ZULU}542020202020"),
            format!("4600010000{TIME}0000000000000001420000012c{ZULU}0001e208414c4641"),
            format!("5300000000{TIME}51"),
        ];
        assert_eq!(encode(&mut encoder, day()), expected);
        assert_eq!(encoder.sequence(), 7, "a session is numbered from 1");
    }

    #[test]
    fn a_scaled_instrument_announces_its_scale() {
        let mut encoder = with_order(Display::Visible);
        let kilo = "4b494c4f20202020";
        let expected = [
            format!("5200020000{TIME}{kilo}2020000000644e435a20504e4e204e000000004e"),
            format!(
                "7300020000{TIME}{kilo}000000000000000500000000000003e80804\
                 42544320202020205553442020202020"
            ),
            format!("4800020000{TIME}{kilo}542020202020"),
        ];
        assert_eq!(encode(&mut encoder, instrument(2, "KILO", Scale::Scaled)), expected);
        let order = Accepted {
            instrument: InstrumentId(2),
            side: Side::Sell,
            ..order(2, 7, 1_234, Display::Visible)
        };
        let expected = format!("4100020000{TIME}00000000000000025300000007{kilo}000004d2");
        assert_eq!(encode(&mut encoder, EventBody::Accepted(order)), [expected], "ticks and lots");
    }

    #[test]
    fn an_order_is_added_when_it_rests() {
        let mut encoder = with_order(Display::Visible);
        let entered = Accepted { booked: false, ..order(2, 5, 1, Display::Visible) };
        assert_eq!(encode(&mut encoder, EventBody::Accepted(entered)), [""; 0]);
        let short = Rested {
            order_ref: OrderRef(2),
            firm: FirmId(1),
            instrument: InstrumentId(1),
            side: Side::SellShort,
            qty: Qty(4),
            price: Price(2),
            display: Display::Visible,
        };
        let expected = format!("4100010000{TIME}00000000000000025300000004{ZULU}000000c8");
        assert_eq!(encode(&mut encoder, EventBody::Rested(short)), [expected]);
    }

    #[test]
    fn an_execution_is_of_the_resting_order() {
        let mut encoder = with_order(Display::Visible);
        let expected = format!("4500010000{TIME}0000000000000001000000640000000000000102");
        assert_eq!(encode(&mut encoder, trade(100, 200)), [expected]);
        let expected = format!("4500010000{TIME}0000000000000001000000c80000000000000102");
        assert_eq!(encode(&mut encoder, trade(200, 0)), [expected]);
        assert_eq!(encoder.orders(), []);
    }

    #[test]
    fn a_cancel_is_x_while_something_is_left_and_d_at_the_end() {
        let mut encoder = with_order(Display::Visible);
        let expected = format!("5800010000{TIME}000000000000000100000064");
        for body in [canceled(100, 200, true), modified(100, 100)] {
            assert_eq!(encode(&mut encoder, body), [expected.as_str()]);
        }
        assert_eq!(encode(&mut encoder, modified(0, 100)), [""; 0], "only its side changed");
        let expected = format!("4400010000{TIME}0000000000000001");
        assert_eq!(encode(&mut encoder, canceled(100, 0, true)), [expected]);
        assert_eq!(encode(&mut encoder, canceled(5, 0, false)), [""; 0], "it was never shown");
    }

    #[test]
    fn a_replacement_is_u_unless_it_trades_or_its_attribution_changes() {
        let delete = format!("4400010000{TIME}0000000000000001");
        let mut encoder = with_order(Display::Visible);
        let expected = format!("5500010000{TIME}000000000000000100000000000000020000000700000064");
        assert_eq!(encode(&mut encoder, replaced(order(2, 7, 1, Display::Visible))), [expected]);

        let mut encoder = with_order(Display::Visible);
        let expected =
            [delete.clone(), format!("4600010000{TIME}00000000000000024200000007{ZULU}00000064414c4641")];
        assert_eq!(encode(&mut encoder, replaced(order(2, 7, 1, Display::Attributable))), expected);
        assert_eq!(encoder.orders().len(), 1);

        let mut encoder = with_order(Display::Visible);
        let trades = Accepted { booked: false, ..order(2, 7, 1, Display::Visible) };
        assert_eq!(encode(&mut encoder, replaced(trades)), [delete]);
        assert_eq!(encoder.orders(), []);
    }

    #[test]
    #[should_panic(expected = "what order 1 leaves")]
    fn an_execution_that_does_not_add_up_is_our_fault() {
        encode(&mut with_order(Display::Visible), trade(100, 100));
    }
}
