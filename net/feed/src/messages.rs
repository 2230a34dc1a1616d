//! ITCH 5.0 messages of the venue's own nouns. Stock locate = instrument id, tracking number 0.

use ironbell_types::{Display, Instrument, InstrumentId, MatchNumber, Nanos, OrderRef, Price, Qty, Scale};
use ironbell_wire::itch::{
    AddOrder, AddOrderMpid, OrderCancel, OrderDelete, OrderExecuted, OrderReplace, ScaledDirectory,
    StockDirectory, StockTradingAction, SystemEvent,
};
use ironbell_wire::{Type, U16, U32, U48, U64};
use zerocopy::IntoBytes;

use crate::{BookOrder, Directory};

/// System Event codes (ITCH 5.0, System Event Message) in the order in which a day passes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum DayEvent {
    /// Start of messages: the first message of a session.
    MessagesStart = b'O',
    /// Start of system hours: orders can be entered.
    SystemStart = b'S',
    /// Start of market hours.
    MarketStart = b'Q',
}

/// Makes the messages of one moment.
#[derive(Clone, Copy, Debug)]
pub struct Messages<'a> {
    directory: &'a Directory,
    timestamp: U48,
}

const TRACKING_NUMBER: U16 = U16::ZERO;

impl<'a> Messages<'a> {
    /// Messages with the timestamp of `time`.
    #[must_use]
    pub fn at(time: Nanos, directory: &'a Directory) -> Self {
        Self { directory, timestamp: directory.timestamp(time) }
    }

    /// S.
    pub fn day_event(&self, event: DayEvent, emit: &mut impl FnMut(&[u8])) {
        emit(
            SystemEvent {
                message_type: Type::new(),
                stock_locate: U16::ZERO,
                tracking_number: TRACKING_NUMBER,
                timestamp: self.timestamp,
                event_code: event as u8,
            }
            .as_bytes(),
        );
    }

    /// R, `s` behind it when the instrument is scaled, and H: it trades.
    ///
    /// The fields that a member needs for trading are the venue's; the others say "does not apply".
    pub fn listing(&self, instrument: &Instrument, emit: &mut impl FnMut(&[u8])) {
        let stock_locate = locate(instrument.id);
        emit(
            StockDirectory {
                message_type: Type::new(),
                stock_locate,
                tracking_number: TRACKING_NUMBER,
                timestamp: self.timestamp,
                stock: instrument.symbol.0,
                market_category: b' ',
                financial_status: b' ',
                round_lot_size: U32::new(instrument.round_lot),
                round_lots_only: b'N',
                issue_classification: b'C',
                issue_sub_type: *b"Z ",
                authenticity: b'P',
                short_sale_threshold: b'N',
                ipo_flag: b'N',
                luld_ref_price_tier: b' ',
                etp_flag: b'N',
                etp_leverage_factor: U32::ZERO,
                inverse_indicator: b'N',
            }
            .as_bytes(),
        );
        if instrument.scale == Scale::Scaled {
            let base = self.directory.asset(instrument.base).expect("an instrument's assets are defined");
            let quote = self.directory.asset(instrument.quote).expect("an instrument's assets are defined");
            emit(
                ScaledDirectory {
                    message_type: Type::new(),
                    stock_locate,
                    tracking_number: TRACKING_NUMBER,
                    timestamp: self.timestamp,
                    stock: instrument.symbol.0,
                    tick_value: U64::new(instrument.tick_value),
                    lot_units: U64::new(instrument.lot_units),
                    base_decimals: base.decimals,
                    quote_decimals: quote.decimals,
                    base_code: base.code.0,
                    quote_code: quote.code.0,
                }
                .as_bytes(),
            );
        }
        emit(
            StockTradingAction {
                message_type: Type::new(),
                stock_locate,
                tracking_number: TRACKING_NUMBER,
                timestamp: self.timestamp,
                stock: instrument.symbol.0,
                trading_state: b'T',
                reserved: b' ',
                reason: *b"    ",
            }
            .as_bytes(),
        );
    }

    /// A, or F when the order is shown with its firm's MPID.
    pub fn add(&self, order: &BookOrder, emit: &mut impl FnMut(&[u8])) {
        let instrument = self.instrument(order.instrument);
        let add = AddOrder {
            message_type: Type::new(),
            stock_locate: locate(order.instrument),
            tracking_number: TRACKING_NUMBER,
            timestamp: self.timestamp,
            order_reference: U64::new(order.order_ref.0),
            buy_sell: if order.buys { b'B' } else { b'S' },
            shares: shares(order.leaves_qty),
            stock: instrument.symbol.0,
            price: price(order.price, instrument),
        };
        match order.display {
            Display::Visible => emit(add.as_bytes()),
            Display::Attributable => emit(
                AddOrderMpid {
                    message_type: Type::new(),
                    stock_locate: add.stock_locate,
                    tracking_number: add.tracking_number,
                    timestamp: add.timestamp,
                    order_reference: add.order_reference,
                    buy_sell: add.buy_sell,
                    shares: add.shares,
                    stock: add.stock,
                    price: add.price,
                    attribution: self.directory.mpid(order.firm).expect("an order's firm is defined").0,
                }
                .as_bytes(),
            ),
        }
    }

    /// E: every execution is at the resting order's price, so C is never needed.
    pub fn executed(
        &self,
        (instrument, order_ref): (InstrumentId, OrderRef),
        qty: Qty,
        match_number: MatchNumber,
        emit: &mut impl FnMut(&[u8]),
    ) {
        emit(
            OrderExecuted {
                message_type: Type::new(),
                stock_locate: locate(instrument),
                tracking_number: TRACKING_NUMBER,
                timestamp: self.timestamp,
                order_reference: U64::new(order_ref.0),
                executed_shares: shares(qty),
                match_number: U64::new(match_number.0),
            }
            .as_bytes(),
        );
    }

    /// X when something is left, else D.
    pub fn reduced(
        &self,
        (instrument, order_ref): (InstrumentId, OrderRef),
        qty: Qty,
        leaves_qty: Qty,
        emit: &mut impl FnMut(&[u8]),
    ) {
        if leaves_qty == Qty::ZERO {
            return self.deleted((instrument, order_ref), emit);
        }
        emit(
            OrderCancel {
                message_type: Type::new(),
                stock_locate: locate(instrument),
                tracking_number: TRACKING_NUMBER,
                timestamp: self.timestamp,
                order_reference: U64::new(order_ref.0),
                cancelled_shares: shares(qty),
            }
            .as_bytes(),
        );
    }

    /// D.
    pub fn deleted(&self, (instrument, order_ref): (InstrumentId, OrderRef), emit: &mut impl FnMut(&[u8])) {
        emit(
            OrderDelete {
                message_type: Type::new(),
                stock_locate: locate(instrument),
                tracking_number: TRACKING_NUMBER,
                timestamp: self.timestamp,
                order_reference: U64::new(order_ref.0),
            }
            .as_bytes(),
        );
    }

    /// U: stock, side and attribution are those of the original.
    pub fn replaced(&self, original: OrderRef, order: &BookOrder, emit: &mut impl FnMut(&[u8])) {
        emit(
            OrderReplace {
                message_type: Type::new(),
                stock_locate: locate(order.instrument),
                tracking_number: TRACKING_NUMBER,
                timestamp: self.timestamp,
                original_order_reference: U64::new(original.0),
                new_order_reference: U64::new(order.order_ref.0),
                shares: shares(order.leaves_qty),
                price: price(order.price, self.instrument(order.instrument)),
            }
            .as_bytes(),
        );
    }

    fn instrument(&self, id: InstrumentId) -> &'a Instrument {
        self.directory.instrument(id).expect("an order's instrument is defined")
    }
}

fn locate(id: InstrumentId) -> U16 {
    U16::new(u16::try_from(id.0).expect("an instrument id is a stock locate code"))
}

fn shares(qty: Qty) -> U32 {
    U32::new(u32::try_from(qty.0).expect("the gateway admits only quantities of the wire's range"))
}

fn price(price: Price, instrument: &Instrument) -> U32 {
    let wire = u32::try_from(price.0).ok().and_then(|ticks| ticks.checked_mul(instrument.price_tick()));
    U32::new(wire.expect("the gateway admits only prices of the wire's range"))
}
