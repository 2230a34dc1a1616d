//! Events to ITCH 5.0 messages: a deterministic function of the committed events and of nothing else,
//! so that primary, standby and a restarted node say the same bytes under the same sequence numbers.
//!
//! | event | messages |
//! |---|---|
//! | `DayOpened` | S `O`, S `S`, per instrument R (s) H (Y), V, S `Q` |
//! | `DayClosed`; the last of its `Statistics` | S `M`; S `E`, S `C`. What comes later is not said |
//! | `InstrumentDefined`, day open | R (s) H |
//! | `PhaseChanged` | H |
//! | `Controlled`: `SetRules`, `SetDeclineLevels`, `MarketWideHalt` | Y when the price test changed; V; W |
//! | `Accepted`, `Rested`, `Refreshed`: what is shown | A, or F when attributed |
//! | `Replaced` | U when both are shown; D and A or F when the attribution changes, which U cannot say; D or A or F when only the one or the other is |
//! | `Trade` | of the resting order: E, C when it is shown at another price, P when it is not shown; C, not printable, of an aggressor that was shown |
//! | `Trade` in a cross | C, not printable, of each that is shown |
//! | `Crossed` | Q |
//! | `Busted` | B |
//! | `Canceled`, `SelfTradePrevented`, `Modified`: what is shown shrank | X, or D when nothing is shown any more |
//! | `Indicative`, `BandSet` | I, J |

use ironbell_types::{
    Accepted, Control, CrossKind, Display, Event, EventBody, FirmId, InstrumentId, OrderRef, Price, Qty,
    Refreshed, Replaced, Rested, Shown, Trade,
};
use rustc_hash::FxHashMap;

use crate::Directory;
use crate::messages::{DayEvent, Messages};

/// An order on the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BookOrder {
    /// Its number on the feed, which an iceberg order changes with each part that it shows.
    pub order_ref: OrderRef,
    /// Whose it is.
    pub firm: FirmId,
    /// What it trades.
    pub instrument: InstrumentId,
    /// Whether it buys.
    pub buys: bool,
    /// What is shown of it.
    pub leaves_qty: Qty,
    /// The limit.
    pub price: Price,
    /// How shown; never [`Display::Hidden`].
    pub display: Display,
}

/// The encoder and what it must remember: the directory, and the orders on the feed. Those it needs for
/// snapshots, and where a replacement changes its attribution.
#[derive(Clone, Debug, Default)]
pub struct Encoder {
    directory: Directory,
    book: Book,
    sequence: u64,
}

impl Encoder {
    /// An encoder of a venue where nothing is defined. Up to `orders_max` orders stand without an allocation.
    #[must_use]
    pub fn new(orders_max: usize) -> Self {
        let mut book = Book::default();
        book.orders.reserve(orders_max);
        Self { directory: Directory::default(), book, sequence: 1 }
    }

    /// What the encoder remembers beside what is defined, for [`Encoder::restore`]: some 60 bytes for an order on the
    /// feed.
    #[must_use]
    pub fn save(&self) -> Vec<u8> {
        let mut numbers = self.directory.save();
        let mut standing: Vec<_> = self.book.orders.values().collect();
        standing.sort_unstable_by_key(|standing| standing.joined);
        numbers.extend([self.sequence, self.book.joined, standing.len() as u64]);
        for Standing { order, joined } in standing {
            let BookOrder { order_ref, firm, instrument, buys, leaves_qty, price, display } = *order;
            let how = u64::from(display.code()) << 1 | u64::from(buys);
            let (firm, instrument) = (u64::from(firm.0), u64::from(instrument.0));
            let price = price.0.cast_unsigned();
            numbers.extend([order_ref.0, firm, instrument, how, leaves_qty.0, price, *joined]);
        }
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    /// The encoder that [`Encoder::save`] made `bytes` of, with the assets, instruments and firms that are defined;
    /// `None` when the bytes are not of these.
    #[must_use]
    pub fn restore<'a>(
        orders_max: usize,
        definitions: impl IntoIterator<Item = &'a EventBody>,
        bytes: &[u8],
    ) -> Option<Self> {
        let mut encoder = Self::new(orders_max);
        definitions.into_iter().for_each(|body| encoder.directory.apply(body));
        let (numbers, rest) = bytes.as_chunks();
        let mut numbers = numbers.iter().map(|number| u64::from_le_bytes(*number));
        encoder.directory.load(&mut numbers)?;
        encoder.sequence = numbers.next()?;
        encoder.book.joined = numbers.next()?;
        for _ in 0..numbers.next()? {
            let order_ref = OrderRef(numbers.next()?);
            let firm = FirmId(u32::try_from(numbers.next()?).ok()?);
            let instrument = InstrumentId(u32::try_from(numbers.next()?).ok()?);
            let how = numbers.next()?;
            let order = BookOrder {
                order_ref,
                firm,
                instrument,
                buys: how & 1 == 1,
                leaves_qty: Qty(numbers.next()?),
                price: Price(numbers.next()?.cast_signed()),
                display: Display::try_from(u8::try_from(how >> 1).ok()?).ok()?,
            };
            let standing = Standing { order, joined: numbers.next()? };
            encoder.book.orders.insert(order_ref.0, standing);
        }
        (numbers.next().is_none() && rest.is_empty()).then_some(encoder)
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

    /// The orders on the feed, in the order of a book: by instrument, bids first, best price first, then as
    /// they stand in line.
    #[must_use]
    pub fn orders(&self) -> Vec<BookOrder> {
        let mut standing: Vec<_> = self.book.orders.values().collect();
        standing.sort_unstable_by_key(|Standing { order, joined }| {
            let price = if order.buys { -order.price.0 } else { order.price.0 };
            (order.instrument, !order.buys, price, *joined)
        });
        standing.into_iter().map(|standing| standing.order).collect()
    }

    /// Calls `emit` with each message that `event` makes, in order. [`EventBody::DayOpened`] starts the
    /// numbering of a new session: its first message is number 1.
    ///
    /// # Panics
    /// When the event contradicts those before it, or the price or quantity of an order that is shown does
    /// not fit ITCH's fields: the state machine and the gateway never let that happen.
    pub fn encode(&mut self, event: &Event, emit: &mut impl FnMut(&[u8])) {
        let Self { directory, book, sequence } = self;
        let was_open = directory.day().is_some();
        let was_restricted = match event.body {
            EventBody::Controlled(Control::SetRules { instrument, .. }) => {
                directory.listing(instrument).is_some_and(|listing| listing.short_restricted)
            }
            _ => false,
        };
        directory.apply(&event.body);
        if matches!(event.body, EventBody::DayOpened(_)) {
            *sequence = 1;
            book.orders.clear();
        }
        let is_open = directory.day().is_some();
        // The last message of a day is said by the event that ends it. What is cancelled between the days
        // still goes from our memory.
        let emit = &mut |message: &[u8]| {
            if was_open || is_open {
                *sequence += 1;
                emit(message);
            }
        };
        let messages = &Messages::at(event.time, directory);
        match &event.body {
            EventBody::DayOpened(_) => {
                messages.day_event(DayEvent::MessagesStart, emit);
                messages.day_event(DayEvent::SystemStart, emit);
                messages.listings(emit);
                messages.day_event(DayEvent::MarketStart, emit);
            }
            EventBody::DayClosed { .. } => messages.day_event(DayEvent::MarketEnd, emit),
            EventBody::InstrumentDefined(instrument) => {
                if let Some(listing) = directory.listing(instrument.id) {
                    messages.listing(listing, emit);
                }
            }
            EventBody::PhaseChanged { instrument, .. } => {
                if let Some(listing) = directory.listing(*instrument) {
                    messages.trading_action(listing, emit);
                }
            }
            EventBody::Controlled(Control::SetRules { instrument, .. }) => {
                let listing = directory.listing(*instrument);
                if let Some(listing) = listing.filter(|now| now.short_restricted != was_restricted) {
                    messages.short_restriction(listing, emit);
                }
            }
            EventBody::Controlled(Control::SetDeclineLevels { levels }) => {
                messages.decline_levels(levels, emit);
            }
            EventBody::Controlled(Control::MarketWideHalt { level }) => {
                messages.market_wide_halt(*level, emit);
            }
            EventBody::BandSet { instrument, reference, upper, lower } => {
                messages.band(*instrument, [*reference, *upper, *lower], emit);
            }
            EventBody::Indicative(indicative) => messages.indicative(indicative, emit),
            EventBody::Accepted(order) => book.add(order.into(), messages, emit),
            EventBody::Rested(order) => book.add(order.into(), messages, emit),
            EventBody::Refreshed(order) => book.add(order.into(), messages, emit),
            EventBody::Replaced(replaced) => book.replace(replaced, messages, emit),
            EventBody::Trade(trade) => book.trade(trade, messages, emit),
            EventBody::Crossed(crossed) => messages.crossed(crossed, emit),
            EventBody::Canceled(gone) => {
                book.shrink((gone.instrument, gone.shown), gone.shown_leaves, messages, emit);
            }
            EventBody::SelfTradePrevented(gone) => {
                book.shrink((gone.instrument, gone.shown), gone.shown_leaves, messages, emit);
            }
            EventBody::Modified(order) => {
                book.shrink((order.instrument, order.shown), order.shown_leaves, messages, emit);
            }
            EventBody::Busted(busted) => messages.broken(busted.instrument, busted.match_number, emit),
            _ => {}
        }
        if was_open && !is_open {
            messages.day_event(DayEvent::SystemEnd, emit);
            messages.day_event(DayEvent::MessagesEnd, emit);
        }
    }
}

/// The orders on the feed, by their number there.
#[derive(Clone, Debug, Default)]
struct Book {
    orders: FxHashMap<u64, Standing>,
    joined: u64,
}

#[derive(Clone, Copy, Debug)]
struct Standing {
    order: BookOrder,
    /// Rises with each order that joins a queue. Its number does not: a stop has that of the day it came in.
    joined: u64,
}

impl Book {
    /// An order joins its queue, if anything is shown of it and the session knows its instrument: one that
    /// was delisted just before the day began goes without a word.
    fn add(&mut self, order: BookOrder, messages: &Messages<'_>, emit: &mut impl FnMut(&[u8])) {
        if order.leaves_qty == Qty::ZERO || !messages.knows(order.instrument) {
            return;
        }
        messages.add(&order, emit);
        self.insert(order);
    }

    fn insert(&mut self, order: BookOrder) {
        let standing = Standing { order, joined: self.joined };
        self.joined += 1;
        let before = self.orders.insert(order.order_ref.0, standing);
        assert!(before.is_none(), "order {} is on the feed already", order.order_ref);
    }

    fn replace(&mut self, replaced: &Replaced, messages: &Messages<'_>, emit: &mut impl FnMut(&[u8])) {
        let Replaced { orig_shown, order, .. } = replaced;
        let order = BookOrder::from(order);
        let Some(original) = self.take(order.instrument, *orig_shown, orig_shown.qty, messages) else {
            return self.add(order, messages, emit);
        };
        if order.leaves_qty > Qty::ZERO && original.display == order.display {
            messages.replaced(original.order_ref, &order, emit);
            return self.insert(order);
        }
        messages.deleted((original.instrument, original.order_ref), emit);
        self.add(order, messages, emit);
    }

    /// Exactly one message of a trade counts for volume: that of the resting order, or the cross's own.
    fn trade(&mut self, trade: &Trade, messages: &Messages<'_>, emit: &mut impl FnMut(&[u8])) {
        let Trade { instrument, resting, aggressor, .. } = *trade;
        let mut execute = |shown: Shown| {
            let qty = shown.qty.min(trade.qty);
            self.take(instrument, shown, qty, messages).map(|order| (order.order_ref, qty))
        };
        let is_cross = trade.cross != CrossKind::None;
        match execute(resting.shown) {
            Some((order_ref, qty)) if is_cross => {
                messages.executed_at(order_ref, qty, trade, false, emit);
            }
            Some((order_ref, qty)) => {
                assert_eq!(qty, trade.qty, "what is shown of order {order_ref} trades by itself");
                if trade.price == trade.resting_price {
                    messages.executed((instrument, order_ref), qty, trade.match_number, emit);
                } else {
                    messages.executed_at(order_ref, qty, trade, true, emit);
                }
            }
            None if is_cross => {}
            None => messages.trade(trade, emit),
        }
        if let Some((order_ref, qty)) = execute(aggressor.shown) {
            messages.executed_at(order_ref, qty, trade, false, emit);
        }
    }

    /// What is shown of an order becomes less, or nothing; or stays, when only its reserve went.
    fn shrink(
        &mut self,
        (instrument, shown): (InstrumentId, Shown),
        leaves: Qty,
        messages: &Messages<'_>,
        emit: &mut impl FnMut(&[u8]),
    ) {
        let gone = shown.qty.0.checked_sub(leaves.0).map(Qty).expect("what shrinks is not more than before");
        if gone > Qty::ZERO && self.take(instrument, shown, gone, messages).is_some() {
            messages.reduced((instrument, shown.order_ref), gone, leaves, emit);
        }
    }

    /// Takes `qty` off an order of which `shown` is on the feed, and says what it was; `None` when nothing
    /// of it is.
    fn take(
        &mut self,
        instrument: InstrumentId,
        shown: Shown,
        qty: Qty,
        messages: &Messages<'_>,
    ) -> Option<BookOrder> {
        if shown.qty == Qty::ZERO || !messages.knows(instrument) {
            return None;
        }
        let number = shown.order_ref;
        let standing = self.orders.get_mut(&number.0).expect("an order that is shown is on the feed");
        let order = standing.order;
        assert_eq!(order.leaves_qty, shown.qty, "what is shown of order {number}");
        standing.order.leaves_qty = Qty(order.leaves_qty.0 - qty.0);
        if standing.order.leaves_qty == Qty::ZERO {
            self.orders.remove(&number.0);
        }
        Some(order)
    }
}

impl From<&Accepted> for BookOrder {
    fn from(order: &Accepted) -> Self {
        Self {
            order_ref: order.order_ref,
            firm: order.firm,
            instrument: order.instrument,
            buys: order.side.is_buy(),
            leaves_qty: order.shown_qty,
            price: order.price,
            display: order.display,
        }
    }
}

impl From<&Rested> for BookOrder {
    fn from(order: &Rested) -> Self {
        Self {
            order_ref: order.shown.order_ref,
            firm: order.firm,
            instrument: order.instrument,
            buys: order.side.is_buy(),
            leaves_qty: order.shown.qty,
            price: order.price,
            display: order.display,
        }
    }
}

impl From<&Refreshed> for BookOrder {
    fn from(order: &Refreshed) -> Self {
        Self {
            order_ref: order.shown.order_ref,
            firm: order.firm,
            instrument: order.instrument,
            buys: order.side.is_buy(),
            leaves_qty: order.shown.qty,
            price: order.price,
            display: order.display,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbell_types::{
        Amount, Asset, AssetId, Busted, CancelReason, Canceled, Capacity, ClOrdId, Crossed, Executed, Firm,
        Indicative, Instrument, InstrumentRules, MatchNumber, Modified, Mpid, Nanos, OpenDay, OrderKey,
        OrderOptions, Phase, Scale, SelfTradePrevented, Seq, Side, Stage, Statistics, Stp, Symbol,
        TimeInForce, UserRefNum,
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
            shown_qty: Qty(if display == Display::Hidden { 0 } else { qty }),
        }
    }

    /// Order 1 with so much on the feed.
    fn shown(qty: u64) -> Shown {
        Shown { order_ref: OrderRef(1), qty: Qty(qty) }
    }

    fn replaced(orig_shown: Shown, order: Accepted) -> EventBody {
        let (orig_user_ref_num, orig_order_ref) = (UserRefNum(1), OrderRef(1));
        EventBody::Replaced(Replaced { orig_user_ref_num, orig_order_ref, orig_shown, order })
    }

    /// Of order 1, of which `before` was shown and `after` is.
    fn canceled(qty: u64, leaves_qty: u64, [before, after]: [u64; 2]) -> EventBody {
        EventBody::Canceled(Canceled {
            key: OrderKey(1),
            order_ref: OrderRef(1),
            instrument: InstrumentId(1),
            qty: Qty(qty),
            leaves_qty: Qty(leaves_qty),
            reason: CancelReason::User,
            shown: shown(before),
            shown_leaves: Qty(after),
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
            shown: shown(qty + leaves_qty),
            shown_leaves: Qty(leaves_qty),
        })
    }

    /// Order 1 rested, all of it shown; order 2 came in.
    fn trade(qty: u64, leaves_qty: u64) -> Trade {
        let executed = |order_ref, leaves_qty| Executed {
            key: OrderKey(1),
            order_ref: OrderRef(order_ref),
            leaves_qty: Qty(leaves_qty),
            shown: Shown::default(),
        };
        Trade {
            match_number: MatchNumber(0x0102),
            instrument: InstrumentId(1),
            price: Price(1_234),
            qty: Qty(qty),
            aggressor_buys: false,
            resting: Executed { shown: shown(qty + leaves_qty), ..executed(1, leaves_qty) },
            aggressor: executed(2, 0),
            cross: CrossKind::None,
            resting_price: Price(1_234),
        }
    }

    /// The instrument's rules, but for the price test plain.
    fn price_test(short_restricted: bool) -> EventBody {
        let rules = InstrumentRules { short_restricted, ..InstrumentRules::PLAIN };
        EventBody::Controlled(Control::SetRules { instrument: InstrumentId(1), rules })
    }

    fn phase(phase: Phase, reason: [u8; 4]) -> EventBody {
        EventBody::PhaseChanged { instrument: InstrumentId(1), phase, reason }
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
            format!("4800010000{TIME}{ZULU}482020202020"),
            format!("5300000000{TIME}51"),
        ];
        assert_eq!(encode(&mut encoder, day()), expected);
        assert_eq!(encoder.sequence(), 6, "a session is numbered from 1");
        assert_eq!(encoder.orders(), [], "what still stands comes by itself");
        let left_over = Rested {
            order_ref: OrderRef(1),
            shown: shown(300),
            firm: FirmId(1),
            instrument: InstrumentId(1),
            side: Side::Buy,
            qty: Qty(500),
            price: Price(1_234),
            display: Display::Attributable,
        };
        let expected = format!("4600010000{TIME}0000000000000001420000012c{ZULU}0001e208414c4641");
        assert_eq!(encode(&mut encoder, EventBody::Rested(left_over)), [expected]);
    }

    /// A member who hears this session only must know what was said once in an earlier one.
    #[test]
    fn a_session_opens_with_phases_price_tests_and_decline_levels() {
        let mut encoder = with_order(Display::Visible);
        let levels = EventBody::Controlled(Control::SetDeclineLevels { levels: [7, 13, 20] });
        for body in [phase(Phase::Paused, *b"T1  "), price_test(true), levels] {
            assert_eq!(encode(&mut encoder, body).len(), 1);
        }
        let said = encode(&mut encoder, day());
        let types: Vec<_> = said.iter().map(|message| &message[..2]).collect();
        assert_eq!(types, ["53", "53", "52", "48", "59", "56", "53"]);
        assert_eq!(said[3], format!("4800010000{TIME}{ZULU}502054312020"));
        assert_eq!(said[4], format!("5900010000{TIME}{ZULU}31"));
        assert_eq!(said[5], format!("5600000000{TIME}0000000000000007000000000000000d0000000000000014"));
    }

    #[test]
    fn a_day_closes_behind_its_closing_crosses() {
        let mut encoder = with_order(Display::Visible);
        encode(&mut encoder, instrument(2, "KILO", Scale::Scaled));
        encode(&mut encoder, instrument(3, "LIMA", Scale::Scaled));
        encode(&mut encoder, EventBody::Controlled(Control::Delist { instrument: InstrumentId(3) }));
        let statistics =
            |id| EventBody::Statistics(Statistics { instrument: InstrumentId(id), ..Statistics::default() });
        let closed = EventBody::DayClosed { date: 20_261_121 };
        assert_eq!(encode(&mut encoder, closed), [format!("5300000000{TIME}4d")]);
        assert_eq!(encode(&mut encoder, phase(Phase::Closed, *b"    ")).len(), 1);
        assert_eq!(encode(&mut encoder, statistics(2)), [""; 0], "the first's closing cross takes longer");
        let expected = [format!("5300000000{TIME}45"), format!("5300000000{TIME}43")];
        assert_eq!(encode(&mut encoder, statistics(1)), expected);
        let next = encoder.sequence();
        for body in [statistics(3), canceled(300, 0, [300, 0]), instrument(1, "YANK", Scale::Scaled)] {
            assert_eq!(encode(&mut encoder, body), [""; 0], "nothing follows the end of messages");
        }
        assert_eq!((encoder.sequence(), encoder.orders()), (next, vec![]));
        let announced: Vec<_> = encode(&mut encoder, day()).into_iter().filter(|m| m[..2] == *"52").collect();
        assert_eq!(announced.len(), 2, "what was delisted is gone");
        assert!(announced[0].contains("59414e4b20202020"), "under its new symbol");
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
        let entered = Accepted { booked: false, shown_qty: Qty(0), ..order(2, 5, 1, Display::Visible) };
        assert_eq!(encode(&mut encoder, EventBody::Accepted(entered)), [""; 0]);
        let short = Rested {
            order_ref: OrderRef(2),
            shown: Shown { order_ref: OrderRef(2), qty: Qty(4) },
            firm: FirmId(1),
            instrument: InstrumentId(1),
            side: Side::SellShort,
            qty: Qty(4),
            price: Price(2),
            display: Display::Visible,
        };
        let expected = format!("4100010000{TIME}00000000000000025300000004{ZULU}000000c8");
        assert_eq!(encode(&mut encoder, EventBody::Rested(short)), [expected]);
        let hidden = EventBody::Accepted(order(3, 5, 1, Display::Hidden));
        assert_eq!(encode(&mut encoder, hidden), [""; 0], "a hidden order is not on the feed");
    }

    #[test]
    fn an_iceberg_order_has_a_new_number_for_each_part_it_shows() {
        let mut encoder = with_order(Display::Visible);
        let iceberg = Accepted { shown_qty: Qty(3), ..order(2, 10, 1_234, Display::Visible) };
        let expected = format!("4100010000{TIME}00000000000000024200000003{ZULU}0001e208");
        assert_eq!(encode(&mut encoder, EventBody::Accepted(iceberg)), [expected]);
        let first = Shown { order_ref: OrderRef(2), qty: Qty(3) };
        let executed = Executed { order_ref: OrderRef(2), shown: first, ..trade(3, 7).resting };
        let traded = Trade { resting: executed, ..trade(3, 7) };
        let expected = format!("4500010000{TIME}0000000000000002000000030000000000000102");
        assert_eq!(encode(&mut encoder, EventBody::Trade(traded)), [expected]);
        let next = Refreshed {
            key: OrderKey(1),
            order_ref: OrderRef(2),
            firm: FirmId(1),
            instrument: InstrumentId(1),
            side: Side::Buy,
            price: Price(1_234),
            display: Display::Visible,
            shown: Shown { order_ref: OrderRef(9), qty: Qty(3) },
            leaves_qty: Qty(7),
        };
        let expected = format!("4100010000{TIME}00000000000000094200000003{ZULU}0001e208");
        assert_eq!(encode(&mut encoder, EventBody::Refreshed(next)), [expected]);
        let shown = next.shown;
        let reserve = Canceled {
            key: OrderKey(1),
            order_ref: OrderRef(2),
            instrument: InstrumentId(1),
            qty: Qty(4),
            leaves_qty: Qty(3),
            reason: CancelReason::User,
            shown,
            shown_leaves: Qty(3),
        };
        assert_eq!(encode(&mut encoder, EventBody::Canceled(reserve)), [""; 0], "only its reserve went");
        let more = Canceled { qty: Qty(1), leaves_qty: Qty(2), shown_leaves: Qty(2), ..reserve };
        let expected = format!("5800010000{TIME}000000000000000900000001");
        assert_eq!(encode(&mut encoder, EventBody::Canceled(more)), [expected]);
    }

    /// A stop keeps the number of the day that it came in, and joins the line when it is triggered.
    #[test]
    fn orders_stand_in_the_order_in_which_they_joined_their_line() {
        let mut encoder = Encoder::new(0);
        definitions().into_iter().chain([day()]).for_each(|body| drop(encode(&mut encoder, body)));
        for (order_ref, price) in [(7, 1_234), (2, 1_234), (9, 1_235)] {
            encode(&mut encoder, EventBody::Accepted(order(order_ref, 1, price, Display::Visible)));
        }
        let refs: Vec<_> = encoder.orders().iter().map(|order| order.order_ref.0).collect();
        assert_eq!(refs, [9, 7, 2]);
    }

    #[test]
    fn an_execution_is_of_the_resting_order() {
        let mut encoder = with_order(Display::Visible);
        let expected = format!("4500010000{TIME}0000000000000001000000640000000000000102");
        assert_eq!(encode(&mut encoder, EventBody::Trade(trade(100, 200))), [expected]);
        let expected = format!("4500010000{TIME}0000000000000001000000c80000000000000102");
        assert_eq!(encode(&mut encoder, EventBody::Trade(trade(200, 0))), [expected]);
        assert_eq!(encoder.orders(), []);
    }

    #[test]
    fn an_execution_at_another_price_than_the_order_is_shown_with_is_c() {
        let mut encoder = with_order(Display::Visible);
        let better = Trade { price: Price(1_233), ..trade(100, 200) };
        let expected = format!("4300010000{TIME}0000000000000001000000640000000000000102590001e1a4");
        assert_eq!(encode(&mut encoder, EventBody::Trade(better)), [expected]);
    }

    /// P tells neither the order nor its side, as at Nasdaq.
    #[test]
    fn a_trade_with_an_order_that_is_not_shown_is_p() {
        let mut encoder = with_order(Display::Visible);
        let resting = Executed { shown: Shown::default(), ..trade(100, 0).resting };
        let hidden = Trade { resting, resting_price: Price(0), ..trade(100, 0) };
        let expected = format!("5000010000{TIME}00000000000000004200000064{ZULU}0001e2080000000000000102");
        assert_eq!(encode(&mut encoder, EventBody::Trade(hidden)), [expected]);
        let beyond = Trade { price: Price(i64::MAX), qty: Qty(1 << 40), ..hidden };
        let expected = format!("5000010000{TIME}000000000000000042ffffffff{ZULU}ffffffff0000000000000102");
        assert_eq!(encode(&mut encoder, EventBody::Trade(beyond)), [expected], "the fields' highest values");
    }

    /// An order with discretion comes in from the book. Its trade is printed by the other side's message.
    #[test]
    fn an_aggressor_that_is_shown_is_c_and_not_printed() {
        let mut encoder = with_order(Display::Visible);
        let sell = Accepted { side: Side::Sell, ..order(2, 5, 1_236, Display::Visible) };
        encode(&mut encoder, EventBody::Accepted(sell));
        let aggressor = Executed {
            shown: Shown { order_ref: OrderRef(2), qty: Qty(5) },
            leaves_qty: Qty(2),
            ..trade(3, 297).aggressor
        };
        let expected = [
            format!("4500010000{TIME}0000000000000001000000030000000000000102"),
            format!("4300010000{TIME}00000000000000020000000300000000000001024e0001e208"),
        ];
        assert_eq!(encode(&mut encoder, EventBody::Trade(Trade { aggressor, ..trade(3, 297) })), expected);
        let left: Vec<_> = encoder.orders().iter().map(|order| order.leaves_qty.0).collect();
        assert_eq!(left, [297, 2]);
    }

    #[test]
    fn a_cross_prints_once_for_all_its_executions() {
        let mut encoder = with_order(Display::Visible);
        let sell = Accepted { side: Side::Sell, shown_qty: Qty(50), ..order(2, 90, 1_230, Display::Visible) };
        encode(&mut encoder, EventBody::Accepted(sell));
        // All of order 2 trades, of which 50 are shown.
        let aggressor =
            Executed { shown: Shown { order_ref: OrderRef(2), qty: Qty(50) }, ..trade(90, 210).aggressor };
        let (cross, price) = (CrossKind::Opening, Price(1_232));
        let crossing = Trade { aggressor, cross, price, ..trade(90, 210) };
        let expected = [
            format!("4300010000{TIME}00000000000000010000005a00000000000001024e0001e140"),
            format!("4300010000{TIME}00000000000000020000003200000000000001024e0001e140"),
        ];
        assert_eq!(encode(&mut encoder, EventBody::Trade(crossing)), expected);
        let unseen = |executed: Executed| Executed { shown: Shown::default(), ..executed };
        let (resting, aggressor) = (unseen(crossing.resting), unseen(crossing.aggressor));
        let hidden = Trade { resting, aggressor, ..crossing };
        assert_eq!(encode(&mut encoder, EventBody::Trade(hidden)), [""; 0]);
        let crossed = Crossed {
            instrument: InstrumentId(1),
            kind: cross,
            price,
            qty: Qty(180),
            match_number: MatchNumber(0x0104),
        };
        let expected = format!("5100010000{TIME}00000000000000b4{ZULU}0001e14000000000000001044f");
        assert_eq!(encode(&mut encoder, EventBody::Crossed(crossed)), [expected]);
    }

    #[test]
    fn an_indicative_says_price_paired_and_imbalance() {
        let mut encoder = with_order(Display::Visible);
        let indicative = Indicative {
            instrument: InstrumentId(1),
            kind: CrossKind::Closing,
            price: Price(102),
            paired: Qty(30),
            imbalance: Qty(7),
            imbalance_buys: false,
            reference: Price(100),
        };
        let tail = |paired: u64, imbalance: u64, direction: char, prices: [u32; 3], codes: &str| {
            let [far, near, reference] = prices.map(|price| format!("{price:08x}"));
            let (direction, codes) = (direction as u8, codes.bytes().map(|code| format!("{code:02x}")));
            let codes: String = codes.collect();
            format!(
                "4900010000{TIME}{paired:016x}{imbalance:016x}{direction:02x}{ZULU}{far}{near}{reference}{codes}"
            )
        };
        let none = Indicative { price: Price(0), paired: Qty(0), imbalance: Qty(0), ..indicative };
        let cases = [
            (indicative, tail(30, 7, 'S', [10_200, 10_200, 10_000], "C2")),
            (
                Indicative { imbalance_buys: true, ..indicative },
                tail(30, 7, 'B', [10_200, 10_200, 10_000], "C2"),
            ),
            (
                Indicative { imbalance: Qty(0), ..indicative },
                tail(30, 0, 'N', [10_200, 10_200, 10_000], "C2"),
            ),
            (Indicative { kind: CrossKind::Halt, ..none }, tail(0, 0, 'O', [0, 0, 10_000], "H ")),
        ];
        for (indicative, expected) in cases {
            assert_eq!(encode(&mut encoder, EventBody::Indicative(indicative)), [expected]);
        }
    }

    #[test]
    fn phases_and_the_market_are_h_j_y_v_w_and_b() {
        let mut encoder = with_order(Display::Visible);
        for (now, state) in [
            (Phase::Closed, "48"),
            (Phase::PreOpen, "51"),
            (Phase::OpeningAuction, "51"),
            (Phase::Continuous, "54"),
            (Phase::Volatility, "50"),
            (Phase::Halted, "48"),
            (Phase::Paused, "50"),
            (Phase::ClosingAuction, "51"),
        ] {
            let expected = format!("4800010000{TIME}{ZULU}{state}204c554450");
            assert_eq!(encode(&mut encoder, phase(now, *b"LUDP")), [expected]);
        }
        let [on, off] = ["31", "30"].map(|action| format!("5900010000{TIME}{ZULU}{action}"));
        assert_eq!(encode(&mut encoder, price_test(true)), [on]);
        assert_eq!(encode(&mut encoder, price_test(true)), [""; 0], "nothing changed");
        assert_eq!(encode(&mut encoder, price_test(false)), [off]);
        let band = EventBody::BandSet {
            instrument: InstrumentId(1),
            reference: Price(100),
            upper: Price(105),
            lower: Price(95),
        };
        let expected = format!("4a00010000{TIME}{ZULU}00002710000029040000251c00000000");
        assert_eq!(encode(&mut encoder, band), [expected]);
        let halt = EventBody::Controlled(Control::MarketWideHalt { level: 2 });
        assert_eq!(encode(&mut encoder, halt), [format!("5700000000{TIME}32")]);
        let busted = EventBody::Busted(Busted {
            match_number: MatchNumber(0x0102),
            reason: b'E',
            instrument: InstrumentId(1),
            price: Price(1),
            qty: Qty(1),
            buyer: OrderKey(1),
            seller: OrderKey(2),
            buyer_owes: Amount(0),
            seller_owes: Amount(0),
        });
        assert_eq!(encode(&mut encoder, busted), [format!("4200010000{TIME}0000000000000102")]);
    }

    #[test]
    fn a_cancel_is_x_while_something_is_left_and_d_at_the_end() {
        let mut encoder = with_order(Display::Visible);
        let expected = format!("5800010000{TIME}000000000000000100000064");
        for body in [canceled(100, 200, [300, 200]), modified(100, 100)] {
            assert_eq!(encode(&mut encoder, body), [expected.as_str()]);
        }
        assert_eq!(encode(&mut encoder, modified(0, 100)), [""; 0], "only its side changed");
        let expected = format!("4400010000{TIME}0000000000000001");
        assert_eq!(encode(&mut encoder, canceled(100, 0, [100, 0])), [expected]);
        assert_eq!(encode(&mut encoder, canceled(5, 0, [0, 0])), [""; 0], "it was never shown");
    }

    #[test]
    fn a_prevented_self_trade_takes_off_what_is_shown() {
        let mut encoder = with_order(Display::Visible);
        let prevented = SelfTradePrevented {
            key: OrderKey(1),
            order_ref: OrderRef(1),
            instrument: InstrumentId(1),
            qty: Qty(100),
            leaves_qty: Qty(200),
            prevented_qty: Qty(100),
            price: Price(1_234),
            rested: true,
            stp: Stp::Decrement,
            shown: shown(300),
            shown_leaves: Qty(200),
        };
        let expected = format!("5800010000{TIME}000000000000000100000064");
        assert_eq!(encode(&mut encoder, EventBody::SelfTradePrevented(prevented)), [expected]);
        let aggressor =
            SelfTradePrevented { shown: Shown::default(), shown_leaves: Qty(0), rested: false, ..prevented };
        assert_eq!(encode(&mut encoder, EventBody::SelfTradePrevented(aggressor)), [""; 0]);
    }

    #[test]
    fn a_replacement_is_u_unless_it_trades_or_its_attribution_changes() {
        let delete = format!("4400010000{TIME}0000000000000001");
        let mut encoder = with_order(Display::Visible);
        let expected = format!("5500010000{TIME}000000000000000100000000000000020000000700000064");
        assert_eq!(encode(&mut encoder, replaced(shown(300), order(2, 7, 1, Display::Visible))), [expected]);

        let mut encoder = with_order(Display::Visible);
        let expected =
            [delete.clone(), format!("4600010000{TIME}00000000000000024200000007{ZULU}00000064414c4641")];
        assert_eq!(
            encode(&mut encoder, replaced(shown(300), order(2, 7, 1, Display::Attributable))),
            expected
        );
        assert_eq!(encoder.orders().len(), 1);

        let mut encoder = with_order(Display::Visible);
        let trades = Accepted { booked: false, shown_qty: Qty(0), ..order(2, 7, 1, Display::Visible) };
        assert_eq!(encode(&mut encoder, replaced(shown(300), trades)), [delete]);
        assert_eq!(encoder.orders(), []);
    }

    #[test]
    fn a_replacement_is_d_or_a_when_only_one_of_both_is_shown() {
        let mut encoder = with_order(Display::Visible);
        let hidden = order(2, 7, 1, Display::Hidden);
        let delete = format!("4400010000{TIME}0000000000000001");
        assert_eq!(encode(&mut encoder, replaced(shown(300), hidden)), [delete]);
        let visible = order(3, 7, 1, Display::Visible);
        let add = format!("4100010000{TIME}00000000000000034200000007{ZULU}00000064");
        assert_eq!(encode(&mut encoder, replaced(Shown::default(), visible)), [add]);
        let hidden = order(4, 7, 1, Display::Hidden);
        assert_eq!(encode(&mut encoder, replaced(Shown::default(), hidden)), [""; 0]);
    }

    #[test]
    #[should_panic(expected = "what is shown of order 1")]
    fn an_execution_that_does_not_add_up_is_our_fault() {
        encode(&mut with_order(Display::Visible), EventBody::Trade(trade(100, 100)));
    }
}
