//! ITCH 5.0 messages of the venue's own nouns. Stock locate = instrument id, tracking number 0.

use ironbell_types::{
    CrossKind, Crossed, Display, Indicative, Instrument, InstrumentId, MatchNumber, Nanos, OrderRef, Phase,
    Price, Qty, Scale, Trade,
};
use ironbell_wire::itch::{
    AddOrder, AddOrderMpid, BrokenTrade, CrossTrade, LuldAuctionCollar, MwcbDeclineLevel, MwcbStatus, Noii,
    OrderCancel, OrderDelete, OrderExecuted, OrderExecutedWithPrice, OrderReplace, RegShoRestriction,
    ScaledDirectory, StockDirectory, StockTradingAction, SystemEvent, Trade as NonCrossTrade,
};
use ironbell_wire::{Type, U16, U32, U48, U64};
use zerocopy::IntoBytes;

use crate::directory::Listing;
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
    /// End of market hours: what follows is of the closing crosses.
    MarketEnd = b'M',
    /// End of system hours.
    SystemEnd = b'E',
    /// End of messages: the last message of a session.
    MessagesEnd = b'C',
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

    /// All that was announced of instruments: each [`Self::listing`], and V when decline levels are set.
    pub fn listings(&self, emit: &mut impl FnMut(&[u8])) {
        self.directory.listings().for_each(|listing| self.listing(listing, emit));
        if let Some(levels) = self.directory.decline_levels() {
            self.decline_levels(levels, emit);
        }
    }

    /// R, `s` behind it when the instrument is scaled, H, and Y while the price test is in force.
    ///
    /// The fields that a member needs for trading are the venue's; the others say "does not apply".
    pub fn listing(&self, listing: &Listing, emit: &mut impl FnMut(&[u8])) {
        let instrument = &listing.instrument;
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
        self.trading_action(listing, emit);
        if listing.short_restricted {
            self.short_restriction(listing, emit);
        }
    }

    /// H: what the instrument does now.
    pub fn trading_action(&self, listing: &Listing, emit: &mut impl FnMut(&[u8])) {
        emit(
            StockTradingAction {
                message_type: Type::new(),
                stock_locate: locate(listing.instrument.id),
                tracking_number: TRACKING_NUMBER,
                timestamp: self.timestamp,
                stock: listing.instrument.symbol.0,
                trading_state: trading_state(listing.phase),
                reserved: b' ',
                reason: listing.reason,
            }
            .as_bytes(),
        );
    }

    /// Y: whether the price test of short sales is in force.
    pub fn short_restriction(&self, listing: &Listing, emit: &mut impl FnMut(&[u8])) {
        emit(
            RegShoRestriction {
                message_type: Type::new(),
                stock_locate: locate(listing.instrument.id),
                tracking_number: TRACKING_NUMBER,
                timestamp: self.timestamp,
                stock: listing.instrument.symbol.0,
                reg_sho_action: if listing.short_restricted { b'1' } else { b'0' },
            }
            .as_bytes(),
        );
    }

    /// V.
    pub fn decline_levels(&self, levels: &[u64; 3], emit: &mut impl FnMut(&[u8])) {
        let [level_1, level_2, level_3] = levels.map(U64::new);
        emit(
            MwcbDeclineLevel {
                message_type: Type::new(),
                stock_locate: U16::ZERO,
                tracking_number: TRACKING_NUMBER,
                timestamp: self.timestamp,
                level_1,
                level_2,
                level_3,
            }
            .as_bytes(),
        );
    }

    /// W.
    pub fn market_wide_halt(&self, level: u8, emit: &mut impl FnMut(&[u8])) {
        emit(
            MwcbStatus {
                message_type: Type::new(),
                stock_locate: U16::ZERO,
                tracking_number: TRACKING_NUMBER,
                timestamp: self.timestamp,
                breached_level: b'0' + level,
            }
            .as_bytes(),
        );
    }

    /// J: the band's middle and ends.
    pub fn band(
        &self,
        instrument: InstrumentId,
        [reference, upper, lower]: [Price; 3],
        emit: &mut impl FnMut(&[u8]),
    ) {
        let instrument = self.instrument(instrument);
        emit(
            LuldAuctionCollar {
                message_type: Type::new(),
                stock_locate: locate(instrument.id),
                tracking_number: TRACKING_NUMBER,
                timestamp: self.timestamp,
                stock: instrument.symbol.0,
                collar_reference_price: price_at_most(reference, instrument),
                upper_collar_price: price_at_most(upper, instrument),
                lower_collar_price: price_at_most(lower, instrument),
                collar_extension: U32::ZERO,
            }
            .as_bytes(),
        );
    }

    /// I. We have one indicative price, which all orders are in: far and near are both that.
    pub fn indicative(&self, indicative: &Indicative, emit: &mut impl FnMut(&[u8])) {
        let instrument = self.instrument(indicative.instrument);
        let price = price_at_most(indicative.price, instrument);
        emit(
            Noii {
                message_type: Type::new(),
                stock_locate: locate(instrument.id),
                tracking_number: TRACKING_NUMBER,
                timestamp: self.timestamp,
                paired_shares: U64::new(indicative.paired.0),
                imbalance_shares: U64::new(indicative.imbalance.0),
                imbalance_direction: match indicative {
                    Indicative { price: Price(0), .. } => b'O',
                    Indicative { imbalance: Qty(0), .. } => b'N',
                    Indicative { imbalance_buys: true, .. } => b'B',
                    _ => b'S',
                },
                stock: instrument.symbol.0,
                far_price: price,
                near_price: price,
                current_ref_price: price_at_most(indicative.reference, instrument),
                cross_type: cross_type(indicative.kind),
                price_variation: price_variation(indicative.price, indicative.reference),
            }
            .as_bytes(),
        );
    }

    /// A, or F when the order is shown with its firm's MPID.
    ///
    /// # Panics
    /// When the order is hidden.
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
            Display::Hidden => unreachable!("a hidden order is not shown"),
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

    /// E: a shown order executes at the price it is shown with.
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

    /// C: `qty` of a shown order executes at another price, or in a trade that another message prints.
    pub fn executed_at(
        &self,
        order_ref: OrderRef,
        qty: Qty,
        trade: &Trade,
        printable: bool,
        emit: &mut impl FnMut(&[u8]),
    ) {
        emit(
            OrderExecutedWithPrice {
                message_type: Type::new(),
                stock_locate: locate(trade.instrument),
                tracking_number: TRACKING_NUMBER,
                timestamp: self.timestamp,
                order_reference: U64::new(order_ref.0),
                executed_shares: shares(qty),
                match_number: U64::new(trade.match_number.0),
                printable: if printable { b'Y' } else { b'N' },
                execution_price: price_at_most(trade.price, self.instrument(trade.instrument)),
            }
            .as_bytes(),
        );
    }

    /// P: a trade with an order that is not shown. As at Nasdaq, it says neither which order that was nor
    /// its side (ITCH 5.0, Trade Message: order reference 0, side B).
    pub fn trade(&self, trade: &Trade, emit: &mut impl FnMut(&[u8])) {
        let instrument = self.instrument(trade.instrument);
        emit(
            NonCrossTrade {
                message_type: Type::new(),
                stock_locate: locate(trade.instrument),
                tracking_number: TRACKING_NUMBER,
                timestamp: self.timestamp,
                order_reference: U64::ZERO,
                buy_sell: b'B',
                shares: U32::new(u32::try_from(trade.qty.0).unwrap_or(u32::MAX)),
                stock: instrument.symbol.0,
                price: price_at_most(trade.price, instrument),
                match_number: U64::new(trade.match_number.0),
            }
            .as_bytes(),
        );
    }

    /// Q.
    pub fn crossed(&self, crossed: &Crossed, emit: &mut impl FnMut(&[u8])) {
        let instrument = self.instrument(crossed.instrument);
        emit(
            CrossTrade {
                message_type: Type::new(),
                stock_locate: locate(instrument.id),
                tracking_number: TRACKING_NUMBER,
                timestamp: self.timestamp,
                shares: U64::new(crossed.qty.0),
                stock: instrument.symbol.0,
                cross_price: price_at_most(crossed.price, instrument),
                match_number: U64::new(crossed.match_number.0),
                cross_type: cross_type(crossed.kind),
            }
            .as_bytes(),
        );
    }

    /// B.
    pub fn broken(&self, instrument: InstrumentId, match_number: MatchNumber, emit: &mut impl FnMut(&[u8])) {
        emit(
            BrokenTrade {
                message_type: Type::new(),
                stock_locate: locate(instrument),
                tracking_number: TRACKING_NUMBER,
                timestamp: self.timestamp,
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

    /// Whether the present session has announced the instrument.
    #[must_use]
    pub fn knows(&self, id: InstrumentId) -> bool {
        self.directory.listing(id).is_some()
    }

    fn instrument(&self, id: InstrumentId) -> &'a Instrument {
        self.directory.instrument(id).expect("an event's instrument is defined")
    }
}

fn locate(id: InstrumentId) -> U16 {
    U16::new(u16::try_from(id.0).expect("an instrument id is a stock locate code"))
}

fn shares(qty: Qty) -> U32 {
    U32::new(u32::try_from(qty.0).expect("the gateway admits only shown quantities of the wire's range"))
}

/// Of an order that is shown.
fn price(price: Price, instrument: &Instrument) -> U32 {
    U32::new(wire_price(price, instrument).expect("the gateway admits only shown prices of the wire's range"))
}

/// Of what need not be the price of an order that is shown: the field's highest value stands for all that
/// is beyond it.
fn price_at_most(price: Price, instrument: &Instrument) -> U32 {
    U32::new(wire_price(price, instrument).unwrap_or(u32::MAX))
}

fn wire_price(price: Price, instrument: &Instrument) -> Option<u32> {
    u32::try_from(price.0).ok()?.checked_mul(instrument.price_tick())
}

/// ITCH 5.0, Stock Trading Action, Trading State.
fn trading_state(phase: Phase) -> u8 {
    match phase {
        Phase::Closed | Phase::Halted => b'H',
        Phase::Volatility | Phase::Paused => b'P',
        Phase::PreOpen | Phase::OpeningAuction | Phase::ClosingAuction => b'Q',
        Phase::Continuous => b'T',
    }
}

/// ITCH 5.0, Cross Type.
fn cross_type(kind: CrossKind) -> u8 {
    match kind {
        CrossKind::Opening => b'O',
        CrossKind::Closing => b'C',
        CrossKind::Halt => b'H',
        CrossKind::None => unreachable!("a cross has a kind"),
    }
}

/// ITCH 5.0, NOII, Price Variation Indicator: how far the price is from the reference, in percent of the
/// reference.
fn price_variation(price: Price, reference: Price) -> u8 {
    if price.0 <= 0 || reference.0 <= 0 {
        return b' ';
    }
    let percent = u128::from(price.0.abs_diff(reference.0)) * 100 / u128::from(reference.0.unsigned_abs());
    match percent {
        0 => b'L',
        1..=9 => b'0' + percent as u8,
        10..=19 => b'A',
        20..=29 => b'B',
        _ => b'C',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn price_variation_is_in_whole_percent_rounded_down() {
        let of = |price| price_variation(Price(price), Price(10_000)) as char;
        let codes: String =
            [10_000, 10_099, 9_901, 10_100, 9_801, 10_999, 11_000, 8_001, 8_000, 7_001, 13_000]
                .map(of)
                .into_iter()
                .collect();
        assert_eq!(codes, "LLL119AABBC");
        assert_eq!(price_variation(Price(0), Price(10_000)), b' ');
        assert_eq!(price_variation(Price(10_000), Price(0)), b' ');
        assert_eq!(price_variation(Price(i64::MAX), Price(1)), b'C');
    }
}
