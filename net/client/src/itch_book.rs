//! Books rebuilt from ITCH 5.0 messages alone: what a member's market-data handler holds.
//!
//! It shares no code with the engine, so that equal books say something about both. A message that no
//! correct feed can send (an unknown order, more shares executed than stand) is an error and leaves the
//! books as they were.

use std::collections::BTreeMap;

use ironbell_types::{Mpid, OrderRef, Side, Symbol};
use ironbell_wire::DecodeError;
use ironbell_wire::itch::{LuldAuctionCollar, Message, Noii};
use rustc_hash::FxHashMap;
use sha2::{Digest, Sha256};

/// Every book of one ITCH stream. A System Event `O` (start of messages) empties it: a day's session
/// announces everything that stands, orders of days before included.
#[derive(Clone, Debug, Default)]
pub struct ItchBook {
    /// By stock locate code.
    instruments: BTreeMap<u16, Instrument>,
    orders: FxHashMap<u64, u32>,
    slots: Vec<Slot>,
    /// Slots that hold no order.
    free: Vec<u32>,
    day_event: Option<u8>,
    decline_levels: Option<[u64; 3]>,
    decline_reached: Option<u8>,
}

/// Why a message cannot belong to a correct stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BookError {
    /// Not an ITCH 5.0 message.
    #[error("malformed ITCH message: {0}")]
    Malformed(#[from] DecodeError),
    /// No Stock Directory message announced this locate code, or one announced it with another symbol.
    #[error("stock locate {locate} is not {symbol}")]
    UnknownStock {
        /// The code.
        locate: u16,
        /// The symbol beside it.
        symbol: Symbol,
    },
    /// The order does not stand.
    #[error("order {order_ref} does not stand in stock locate {locate}")]
    UnknownOrder {
        /// The order.
        order_ref: OrderRef,
        /// The message's stock locate code.
        locate: u16,
    },
    /// An order of this number stands already.
    #[error("order {order_ref} stands already")]
    DuplicateOrder {
        /// The order.
        order_ref: OrderRef,
    },
    /// More shares go than stand, or none.
    #[error("{shares} shares of order {order_ref} cannot go: {leaves} stand")]
    Shares {
        /// The order.
        order_ref: OrderRef,
        /// Shares of the message.
        shares: u32,
        /// Shares that stand.
        leaves: u32,
    },
    /// Neither `Y` nor `N`.
    #[error("printable is {0:#04x}")]
    BadPrintable(u8),
    /// Neither `B` nor `S`.
    #[error("order {order_ref} has side {side:#04x}")]
    BadSide {
        /// The order.
        order_ref: OrderRef,
        /// The byte.
        side: u8,
    },
}

/// What the directory messages say of a stock.
#[derive(Clone, Debug)]
struct Instrument {
    symbol: Symbol,
    trading_action: TradingAction,
    short_restricted: bool,
    scale: Option<Scale>,
    imbalance: Option<Imbalance>,
    collar: Option<Collar>,
    tape: Tape,
    bids: BTreeMap<u32, Level>,
    asks: BTreeMap<u32, Level>,
}

/// The scale of an instrument whose prices are ticks and whose quantities are lots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Smallest units of the quote asset that one lot costs at a price of one tick.
    pub tick_value: u64,
    /// Smallest units of the base asset in one lot.
    pub lot_units: u64,
    /// Decimal places of the base asset's smallest unit.
    pub base_decimals: u8,
    /// Decimal places of the quote asset's smallest unit.
    pub quote_decimals: u8,
}

/// Whether an instrument trades (ITCH 5.0, Stock Trading Action).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TradingAction {
    /// `H` halted, `P` paused, `Q` quote-only (orders rest for a cross), `T` trading.
    pub state: u8,
    /// Why; spaces when no reason is given.
    pub reason: [u8; 4],
}

/// What a cross would be (ITCH 5.0, NOII).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imbalance {
    /// `O` opening, `C` closing, `H` after a halt.
    pub cross_type: u8,
    /// Its price in wire units; 0 when there would be none.
    pub price: u32,
    /// What would trade.
    pub paired: u64,
    /// What would be left.
    pub shares: u64,
    /// On which side: `B`, `S`, `N` none, `O` no price.
    pub direction: u8,
    /// The reference price in wire units; 0 is none.
    pub reference: u32,
}

impl From<&Noii> for Imbalance {
    fn from(m: &Noii) -> Self {
        Self {
            cross_type: m.cross_type,
            price: m.near_price.get(),
            paired: m.paired_shares.get(),
            shares: m.imbalance_shares.get(),
            direction: m.imbalance_direction,
            reference: m.current_ref_price.get(),
        }
    }
}

/// Prices that nothing trades beyond (ITCH 5.0, LULD Auction Collar), in wire units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collar {
    /// The middle.
    pub reference: u32,
    /// The highest.
    pub upper: u32,
    /// The lowest.
    pub lower: u32,
}

impl From<&LuldAuctionCollar> for Collar {
    fn from(m: &LuldAuctionCollar) -> Self {
        Self {
            reference: m.collar_reference_price.get(),
            upper: m.upper_collar_price.get(),
            lower: m.lower_collar_price.get(),
        }
    }
}

/// What was printed of an instrument since the books began: every trade once. A trade between orders that
/// are not shown counts, a cross counts as one, an execution that is not printable does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tape {
    /// Prints.
    pub trades: u64,
    /// Their shares.
    pub shares: u64,
    /// Price of the last one, in wire units; 0 when there was none.
    pub last_price: u32,
    /// Trades that were broken later. They stay in the other figures: a broken trade is named by its match
    /// number alone.
    pub broken: u64,
}

/// Orders at one price: a list through [`Slot`], oldest first.
#[derive(Clone, Debug)]
struct Level {
    head: u32,
    tail: u32,
    shares: u64,
    orders: u32,
}

#[derive(Clone, Debug)]
struct Slot {
    order: Order,
    prev: u32,
    next: u32,
}

const NIL: u32 = u32::MAX;

/// An order on a book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its number.
    pub order_ref: OrderRef,
    /// Stock locate code.
    pub locate: u16,
    /// [`Side::Buy`] or [`Side::Sell`].
    pub side: Side,
    /// In wire units.
    pub price: u32,
    /// What stands.
    pub shares: u32,
    /// Who, when the order is attributed.
    pub mpid: Option<Mpid>,
}

/// One order in the canonical listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The instrument.
    pub symbol: Symbol,
    /// [`Side::Buy`] or [`Side::Sell`].
    pub side: Side,
    /// In wire units.
    pub price: u32,
    /// Its number.
    pub order_ref: OrderRef,
    /// What stands.
    pub shares: u32,
}

impl core::fmt::Display for Line {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { symbol, side, price, order_ref, shares } = self;
        write!(f, "{symbol} {} {price} {order_ref} {shares}", side.code() as char)
    }
}

/// SHA-256 over the lines in their order; each is hashed as symbol (8 bytes), side (1), and price (4),
/// order reference (8) and shares (4) in big-endian. Two listings with one digest are one book.
#[must_use]
pub fn digest(lines: impl IntoIterator<Item = Line>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for line in lines {
        hash.update(line.symbol.0);
        hash.update([line.side.code()]);
        hash.update(line.price.to_be_bytes());
        hash.update(line.order_ref.0.to_be_bytes());
        hash.update(line.shares.to_be_bytes());
    }
    hash.finalize().into()
}

/// What stands at one price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// In wire units.
    pub price: u32,
    /// Sum over its orders.
    pub shares: u64,
    /// How many orders.
    pub orders: u32,
}

impl ItchBook {
    /// Empty books.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies one ITCH message, from its type byte on. Messages that do not move a book or the directory
    /// are checked for form only.
    ///
    /// # Errors
    /// [`BookError`]; the books are then as they were.
    pub fn apply(&mut self, message: &[u8]) -> Result<(), BookError> {
        self.apply_message(&Message::parse(message)?)
    }

    /// Orders that stand, in all instruments.
    #[must_use]
    pub fn order_count(&self) -> usize {
        self.orders.len()
    }

    /// An order that stands.
    #[must_use]
    pub fn order(&self, order_ref: OrderRef) -> Option<&Order> {
        self.orders.get(&order_ref.0).map(|&slot| &self.slots[slot as usize].order)
    }

    /// The stock locate code of a symbol.
    #[must_use]
    pub fn locate(&self, symbol: Symbol) -> Option<u16> {
        self.instruments.iter().find(|(_, instrument)| instrument.symbol == symbol).map(|(&locate, _)| locate)
    }

    /// The trading state last announced (ITCH 5.0, Stock Trading Action): `T`, `H`, `P` or `Q`.
    #[must_use]
    pub fn trading_state(&self, locate: u16) -> Option<u8> {
        self.trading_action(locate).map(|action| action.state)
    }

    /// The trading state last announced, with its reason.
    #[must_use]
    pub fn trading_action(&self, locate: u16) -> Option<TradingAction> {
        self.instruments.get(&locate).map(|instrument| instrument.trading_action)
    }

    /// Whether the price test of short sales is in force; `None` for an unknown stock locate code.
    #[must_use]
    pub fn is_short_restricted(&self, locate: u16) -> Option<bool> {
        self.instruments.get(&locate).map(|instrument| instrument.short_restricted)
    }

    /// What the coming cross would be; `None` when nothing was said since the last cross.
    #[must_use]
    pub fn imbalance(&self, locate: u16) -> Option<Imbalance> {
        self.instruments.get(&locate)?.imbalance
    }

    /// The band last announced.
    #[must_use]
    pub fn collar(&self, locate: u16) -> Option<Collar> {
        self.instruments.get(&locate)?.collar
    }

    /// What was printed of an instrument.
    #[must_use]
    pub fn tape(&self, locate: u16) -> Option<Tape> {
        self.instruments.get(&locate).map(|instrument| instrument.tape)
    }

    /// Code of the last System Event: where the day is.
    #[must_use]
    pub fn day_event(&self) -> Option<u8> {
        self.day_event
    }

    /// Levels 1, 2 and 3 of a market-wide decline, with 8 implied decimals.
    #[must_use]
    pub fn decline_levels(&self) -> Option<[u64; 3]> {
        self.decline_levels
    }

    /// The level of decline last reached: `1`, `2` or `3`.
    #[must_use]
    pub fn decline_reached(&self) -> Option<u8> {
        self.decline_reached
    }

    /// The scale announced for an instrument, when it is a scaled one.
    #[must_use]
    pub fn scale(&self, locate: u16) -> Option<Scale> {
        self.instruments.get(&locate)?.scale
    }

    /// Price levels of one side, best first; nothing for an unknown stock locate code.
    pub fn depth(&self, locate: u16, side: Side) -> impl Iterator<Item = Depth> + '_ {
        self.levels(locate, side).map(|(price, level)| Depth {
            price,
            shares: level.shares,
            orders: level.orders,
        })
    }

    /// The canonical listing: by symbol, bids first, best price first, oldest order first.
    pub fn lines(&self) -> impl Iterator<Item = Line> + '_ {
        let mut instruments: Vec<_> = self.instruments.iter().collect();
        instruments.sort_by_key(|(_, instrument)| instrument.symbol);
        instruments.into_iter().flat_map(move |(&locate, instrument)| {
            [Side::Buy, Side::Sell].into_iter().flat_map(move |side| {
                self.orders_of(locate, side).map(move |order| Line {
                    symbol: instrument.symbol,
                    side,
                    price: order.price,
                    order_ref: order.order_ref,
                    shares: order.shares,
                })
            })
        })
    }

    /// [`digest`] of [`Self::lines`].
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        digest(self.lines())
    }

    /// The orders of one side in priority: best price first, oldest first.
    pub fn orders_of(&self, locate: u16, side: Side) -> impl Iterator<Item = &Order> + '_ {
        self.levels(locate, side).flat_map(move |(_, level)| {
            let first = self.slots.get(level.head as usize);
            core::iter::successors(first, |slot| self.slots.get(slot.next as usize)).map(|slot| &slot.order)
        })
    }

    fn levels(&self, locate: u16, side: Side) -> impl Iterator<Item = (u32, &Level)> + '_ {
        let instrument = self.instruments.get(&locate);
        let bids = instrument.filter(|_| side.is_buy()).map(|instrument| instrument.bids.iter().rev());
        let asks = instrument.filter(|_| !side.is_buy()).map(|instrument| instrument.asks.iter());
        bids.into_iter().flatten().chain(asks.into_iter().flatten()).map(|(&price, level)| (price, level))
    }

    /// As [`Self::apply`], for a message that is decoded already.
    ///
    /// # Errors
    /// [`BookError`]; the books are then as they were.
    pub fn apply_message(&mut self, message: &Message<'_>) -> Result<(), BookError> {
        let locate = message.header().stock_locate.get();
        match message {
            Message::SystemEvent(m) => {
                if m.event_code == b'O' {
                    *self = Self::new();
                }
                self.day_event = Some(m.event_code);
                Ok(())
            }
            Message::StockDirectory(m) => self.list(locate, Symbol(m.stock)),
            Message::ScaledDirectory(m) => {
                self.listed(locate, Symbol(m.stock))?.scale = Some(Scale {
                    tick_value: m.tick_value.get(),
                    lot_units: m.lot_units.get(),
                    base_decimals: m.base_decimals,
                    quote_decimals: m.quote_decimals,
                });
                Ok(())
            }
            Message::StockTradingAction(m) => {
                let action = TradingAction { state: m.trading_state, reason: m.reason };
                self.listed(locate, Symbol(m.stock))?.trading_action = action;
                Ok(())
            }
            Message::RegShoRestriction(m) => {
                self.listed(locate, Symbol(m.stock))?.short_restricted = m.reg_sho_action != b'0';
                Ok(())
            }
            Message::MwcbDeclineLevel(m) => {
                self.decline_levels = Some([m.level_1.get(), m.level_2.get(), m.level_3.get()]);
                Ok(())
            }
            Message::MwcbStatus(m) => {
                self.decline_reached = Some(m.breached_level);
                Ok(())
            }
            Message::LuldAuctionCollar(m) => {
                self.listed(locate, Symbol(m.stock))?.collar = Some(Collar::from(*m));
                Ok(())
            }
            Message::Noii(m) => {
                self.listed(locate, Symbol(m.stock))?.imbalance = Some(Imbalance::from(*m));
                Ok(())
            }
            Message::AddOrder(m) => {
                self.listed(locate, Symbol(m.stock))?;
                let order_ref = OrderRef(m.order_reference.get());
                let (side, price, shares) = (side(m.buy_sell, order_ref)?, m.price.get(), m.shares.get());
                self.add(Order { order_ref, locate, side, price, shares, mpid: None })
            }
            Message::AddOrderMpid(m) => {
                self.listed(locate, Symbol(m.stock))?;
                let order_ref = OrderRef(m.order_reference.get());
                let (side, price, shares) = (side(m.buy_sell, order_ref)?, m.price.get(), m.shares.get());
                self.add(Order { order_ref, locate, side, price, shares, mpid: Some(Mpid(m.attribution)) })
            }
            Message::OrderExecuted(m) => {
                let shares = m.executed_shares.get();
                let price = self.reduce(OrderRef(m.order_reference.get()), locate, shares)?;
                self.print(locate, shares.into(), price);
                Ok(())
            }
            Message::OrderExecutedWithPrice(m) => {
                let is_printable = printable(m.printable)?;
                let shares = m.executed_shares.get();
                self.reduce(OrderRef(m.order_reference.get()), locate, shares)?;
                if is_printable {
                    self.print(locate, shares.into(), m.execution_price.get());
                }
                Ok(())
            }
            Message::Trade(m) => {
                self.listed(locate, Symbol(m.stock))?;
                self.print(locate, m.shares.get().into(), m.price.get());
                Ok(())
            }
            Message::CrossTrade(m) => {
                self.listed(locate, Symbol(m.stock))?.imbalance = None;
                if m.shares.get() > 0 {
                    self.print(locate, m.shares.get(), m.cross_price.get());
                }
                Ok(())
            }
            // Not every feed says which stock a broken trade was of.
            Message::BrokenTrade(_) => {
                if let Some(instrument) = self.instruments.get_mut(&locate) {
                    instrument.tape.broken += 1;
                }
                Ok(())
            }
            Message::OrderCancel(m) => {
                self.reduce(OrderRef(m.order_reference.get()), locate, m.cancelled_shares.get())?;
                Ok(())
            }
            Message::OrderDelete(m) => {
                let slot = self.standing(OrderRef(m.order_reference.get()), locate)?;
                self.remove(slot);
                Ok(())
            }
            Message::OrderReplace(m) => {
                let original = OrderRef(m.original_order_reference.get());
                let new = OrderRef(m.new_order_reference.get());
                self.replace(locate, original, new, m.shares.get(), m.price.get())
            }
            _ => Ok(()),
        }
    }

    fn list(&mut self, locate: u16, symbol: Symbol) -> Result<(), BookError> {
        let instrument = self.instruments.entry(locate).or_insert_with(|| Instrument {
            symbol,
            trading_action: TradingAction { state: b' ', reason: *b"    " },
            short_restricted: false,
            scale: None,
            imbalance: None,
            collar: None,
            tape: Tape::default(),
            bids: BTreeMap::new(),
            asks: BTreeMap::new(),
        });
        if instrument.symbol == symbol { Ok(()) } else { Err(BookError::UnknownStock { locate, symbol }) }
    }

    fn listed(&mut self, locate: u16, symbol: Symbol) -> Result<&mut Instrument, BookError> {
        let instrument = self.instruments.get_mut(&locate).filter(|instrument| instrument.symbol == symbol);
        instrument.ok_or(BookError::UnknownStock { locate, symbol })
    }

    fn add(&mut self, order: Order) -> Result<(), BookError> {
        let Order { order_ref, locate, side, price, shares, .. } = order;
        if shares == 0 {
            return Err(BookError::Shares { order_ref, shares, leaves: 0 });
        }
        if self.orders.contains_key(&order_ref.0) {
            return Err(BookError::DuplicateOrder { order_ref });
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            let slot = u32::try_from(self.slots.len()).expect("fewer than 2^32 orders stand");
            self.slots.push(Slot { order, prev: NIL, next: NIL });
            slot
        });
        let levels = self.instruments.get_mut(&locate).expect("the caller knows the stock").side(side);
        let level = levels.entry(price).or_insert(Level { head: slot, tail: NIL, shares: 0, orders: 0 });
        let prev = core::mem::replace(&mut level.tail, slot);
        level.shares += u64::from(shares);
        level.orders += 1;
        self.slots[slot as usize] = Slot { order, prev, next: NIL };
        if prev != NIL {
            self.slots[prev as usize].next = slot;
        }
        self.orders.insert(order_ref.0, slot);
        Ok(())
    }

    /// The slot of an order that the message rightly names.
    fn standing(&self, order_ref: OrderRef, locate: u16) -> Result<u32, BookError> {
        let slot = self.orders.get(&order_ref.0).copied();
        slot.filter(|&slot| self.slots[slot as usize].order.locate == locate)
            .ok_or(BookError::UnknownOrder { order_ref, locate })
    }

    fn print(&mut self, locate: u16, shares: u64, price: u32) {
        let tape = &mut self.instruments.get_mut(&locate).expect("the caller knows the stock").tape;
        tape.trades += 1;
        tape.shares = tape.shares.saturating_add(shares);
        tape.last_price = price;
    }

    /// Takes `shares` off an order, which goes when none are left; says its price.
    fn reduce(&mut self, order_ref: OrderRef, locate: u16, shares: u32) -> Result<u32, BookError> {
        let slot = self.standing(order_ref, locate)?;
        let order = &mut self.slots[slot as usize].order;
        let leaves = order.shares;
        if shares == 0 || shares > leaves {
            return Err(BookError::Shares { order_ref, shares, leaves });
        }
        if shares == leaves {
            return Ok(self.remove(slot).price);
        }
        order.shares -= shares;
        let Order { side, price, .. } = *order;
        let levels = self.instruments.get_mut(&locate).expect("an order's stock is known").side(side);
        levels.get_mut(&price).expect("an order's level stands").shares -= u64::from(shares);
        Ok(price)
    }

    fn remove(&mut self, slot: u32) -> Order {
        let Slot { order, prev, next } = self.slots[slot as usize].clone();
        if prev != NIL {
            self.slots[prev as usize].next = next;
        }
        if next != NIL {
            self.slots[next as usize].prev = prev;
        }
        let levels =
            self.instruments.get_mut(&order.locate).expect("an order's stock is known").side(order.side);
        let level = levels.get_mut(&order.price).expect("an order's level stands");
        level.shares -= u64::from(order.shares);
        level.orders -= 1;
        if level.head == slot {
            level.head = next;
        }
        if level.tail == slot {
            level.tail = prev;
        }
        if level.orders == 0 {
            levels.remove(&order.price);
        }
        self.orders.remove(&order.order_ref.0);
        self.free.push(slot);
        order
    }

    fn replace(
        &mut self,
        locate: u16,
        original: OrderRef,
        new: OrderRef,
        shares: u32,
        price: u32,
    ) -> Result<(), BookError> {
        let slot = self.standing(original, locate)?;
        if shares == 0 {
            return Err(BookError::Shares { order_ref: new, shares, leaves: 0 });
        }
        if self.orders.contains_key(&new.0) {
            return Err(BookError::DuplicateOrder { order_ref: new });
        }
        let original = self.remove(slot);
        self.add(Order { order_ref: new, shares, price, ..original })
    }
}

fn side(code: u8, order_ref: OrderRef) -> Result<Side, BookError> {
    match code {
        b'B' => Ok(Side::Buy),
        b'S' => Ok(Side::Sell),
        side => Err(BookError::BadSide { order_ref, side }),
    }
}

fn printable(code: u8) -> Result<bool, BookError> {
    match code {
        b'Y' => Ok(true),
        b'N' => Ok(false),
        code => Err(BookError::BadPrintable(code)),
    }
}

impl Instrument {
    fn side(&mut self, side: Side) -> &mut BTreeMap<u32, Level> {
        if side.is_buy() { &mut self.bids } else { &mut self.asks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbell_wire::itch::{
        AddOrder, BrokenTrade, CrossTrade, MwcbDeclineLevel, MwcbStatus, OrderCancel, OrderDelete,
        OrderExecuted, OrderExecutedWithPrice, OrderReplace, RegShoRestriction, StockDirectory,
        StockTradingAction, SystemEvent, Trade,
    };
    use ironbell_wire::{Type, U16, U32, U48, U64};
    use zerocopy::IntoBytes;

    const LOCATE: u16 = 7;

    fn symbol() -> Symbol {
        Symbol::new("ZULU").expect("a short symbol")
    }

    fn list(locate: u16, symbol: Symbol) -> Vec<u8> {
        StockDirectory {
            message_type: Type::new(),
            stock_locate: U16::new(locate),
            tracking_number: U16::ZERO,
            timestamp: U48::new(0),
            stock: symbol.0,
            market_category: b' ',
            financial_status: b' ',
            round_lot_size: U32::new(100),
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
        .as_bytes()
        .to_vec()
    }

    fn add(order_ref: u64, buy_sell: u8, shares: u32, price: u32) -> Vec<u8> {
        AddOrder {
            message_type: Type::new(),
            stock_locate: U16::new(LOCATE),
            tracking_number: U16::ZERO,
            timestamp: U48::new(0),
            order_reference: U64::new(order_ref),
            buy_sell,
            shares: U32::new(shares),
            stock: symbol().0,
            price: U32::new(price),
        }
        .as_bytes()
        .to_vec()
    }

    fn executed(locate: u16, order_ref: u64, shares: u32) -> Vec<u8> {
        OrderExecuted {
            message_type: Type::new(),
            stock_locate: U16::new(locate),
            tracking_number: U16::ZERO,
            timestamp: U48::new(0),
            order_reference: U64::new(order_ref),
            executed_shares: U32::new(shares),
            match_number: U64::new(1),
        }
        .as_bytes()
        .to_vec()
    }

    fn executed_at(order_ref: u64, shares: u32) -> Vec<u8> {
        executed_at_price(order_ref, shares, b'Y', 1)
    }

    fn executed_at_price(order_ref: u64, shares: u32, printable: u8, price: u32) -> Vec<u8> {
        OrderExecutedWithPrice {
            message_type: Type::new(),
            stock_locate: U16::new(LOCATE),
            tracking_number: U16::ZERO,
            timestamp: U48::new(0),
            order_reference: U64::new(order_ref),
            executed_shares: U32::new(shares),
            match_number: U64::new(1),
            printable,
            execution_price: U32::new(price),
        }
        .as_bytes()
        .to_vec()
    }

    fn trade(shares: u32, price: u32) -> Vec<u8> {
        Trade {
            message_type: Type::new(),
            stock_locate: U16::new(LOCATE),
            tracking_number: U16::ZERO,
            timestamp: U48::new(0),
            order_reference: U64::ZERO,
            buy_sell: b'B',
            shares: U32::new(shares),
            stock: symbol().0,
            price: U32::new(price),
            match_number: U64::new(1),
        }
        .as_bytes()
        .to_vec()
    }

    fn cross(shares: u64, price: u32) -> Vec<u8> {
        CrossTrade {
            message_type: Type::new(),
            stock_locate: U16::new(LOCATE),
            tracking_number: U16::ZERO,
            timestamp: U48::new(0),
            shares: U64::new(shares),
            stock: symbol().0,
            cross_price: U32::new(price),
            match_number: U64::new(1),
            cross_type: b'O',
        }
        .as_bytes()
        .to_vec()
    }

    fn broken() -> Vec<u8> {
        BrokenTrade {
            message_type: Type::new(),
            stock_locate: U16::new(LOCATE),
            tracking_number: U16::ZERO,
            timestamp: U48::new(0),
            match_number: U64::new(1),
        }
        .as_bytes()
        .to_vec()
    }

    fn imbalance() -> Vec<u8> {
        Noii {
            message_type: Type::new(),
            stock_locate: U16::new(LOCATE),
            tracking_number: U16::ZERO,
            timestamp: U48::new(0),
            paired_shares: U64::new(30),
            imbalance_shares: U64::new(7),
            imbalance_direction: b'S',
            stock: symbol().0,
            far_price: U32::new(102),
            near_price: U32::new(102),
            current_ref_price: U32::new(100),
            cross_type: b'O',
            price_variation: b'2',
        }
        .as_bytes()
        .to_vec()
    }

    fn collar() -> Vec<u8> {
        LuldAuctionCollar {
            message_type: Type::new(),
            stock_locate: U16::new(LOCATE),
            tracking_number: U16::ZERO,
            timestamp: U48::new(0),
            stock: symbol().0,
            collar_reference_price: U32::new(100),
            upper_collar_price: U32::new(105),
            lower_collar_price: U32::new(95),
            collar_extension: U32::ZERO,
        }
        .as_bytes()
        .to_vec()
    }

    fn action(state: u8, reason: [u8; 4]) -> Vec<u8> {
        StockTradingAction {
            message_type: Type::new(),
            stock_locate: U16::new(LOCATE),
            tracking_number: U16::ZERO,
            timestamp: U48::new(0),
            stock: symbol().0,
            trading_state: state,
            reserved: b' ',
            reason,
        }
        .as_bytes()
        .to_vec()
    }

    fn short_restriction(action: u8) -> Vec<u8> {
        RegShoRestriction {
            message_type: Type::new(),
            stock_locate: U16::new(LOCATE),
            tracking_number: U16::ZERO,
            timestamp: U48::new(0),
            stock: symbol().0,
            reg_sho_action: action,
        }
        .as_bytes()
        .to_vec()
    }

    fn decline_levels(levels: [u64; 3]) -> Vec<u8> {
        let [level_1, level_2, level_3] = levels.map(U64::new);
        MwcbDeclineLevel {
            message_type: Type::new(),
            stock_locate: U16::ZERO,
            tracking_number: U16::ZERO,
            timestamp: U48::new(0),
            level_1,
            level_2,
            level_3,
        }
        .as_bytes()
        .to_vec()
    }

    fn decline_reached(breached_level: u8) -> Vec<u8> {
        MwcbStatus {
            message_type: Type::new(),
            stock_locate: U16::ZERO,
            tracking_number: U16::ZERO,
            timestamp: U48::new(0),
            breached_level,
        }
        .as_bytes()
        .to_vec()
    }

    fn cancel(order_ref: u64, shares: u32) -> Vec<u8> {
        OrderCancel {
            message_type: Type::new(),
            stock_locate: U16::new(LOCATE),
            tracking_number: U16::ZERO,
            timestamp: U48::new(0),
            order_reference: U64::new(order_ref),
            cancelled_shares: U32::new(shares),
        }
        .as_bytes()
        .to_vec()
    }

    fn delete(order_ref: u64) -> Vec<u8> {
        OrderDelete {
            message_type: Type::new(),
            stock_locate: U16::new(LOCATE),
            tracking_number: U16::ZERO,
            timestamp: U48::new(0),
            order_reference: U64::new(order_ref),
        }
        .as_bytes()
        .to_vec()
    }

    fn replace(original: u64, new: u64, shares: u32, price: u32) -> Vec<u8> {
        OrderReplace {
            message_type: Type::new(),
            stock_locate: U16::new(LOCATE),
            tracking_number: U16::ZERO,
            timestamp: U48::new(0),
            original_order_reference: U64::new(original),
            new_order_reference: U64::new(new),
            shares: U32::new(shares),
            price: U32::new(price),
        }
        .as_bytes()
        .to_vec()
    }

    fn start_of_messages() -> Vec<u8> {
        day_event(b'O')
    }

    fn day_event(event_code: u8) -> Vec<u8> {
        SystemEvent {
            message_type: Type::new(),
            stock_locate: U16::ZERO,
            tracking_number: U16::ZERO,
            timestamp: U48::new(0),
            event_code,
        }
        .as_bytes()
        .to_vec()
    }

    fn book(messages: &[Vec<u8>]) -> ItchBook {
        let mut book = ItchBook::new();
        for message in [list(LOCATE, symbol())].iter().chain(messages) {
            book.apply(message).expect("a correct message");
        }
        book
    }

    fn drawn(book: &ItchBook) -> String {
        book.lines().map(|line| format!("{line}\n")).collect()
    }

    /// Three bids at two prices and two asks.
    fn five() -> Vec<Vec<u8>> {
        vec![
            add(1, b'B', 10, 100),
            add(2, b'B', 20, 101),
            add(3, b'S', 30, 105),
            add(4, b'B', 40, 100),
            add(5, b'S', 50, 104),
        ]
    }

    fn after(message: Vec<u8>) -> String {
        let mut messages = five();
        messages.push(message);
        drawn(&book(&messages))
    }

    #[test]
    fn bids_stand_before_asks_best_first_and_oldest_first() {
        let expected = "\
            ZULU B 101 2 20\n\
            ZULU B 100 1 10\n\
            ZULU B 100 4 40\n\
            ZULU S 104 5 50\n\
            ZULU S 105 3 30\n";
        assert_eq!(drawn(&book(&five())), expected);
    }

    #[test]
    fn an_execution_or_a_cancel_keeps_the_place() {
        for message in [executed(LOCATE, 1, 4), executed_at(1, 4), cancel(1, 4)] {
            let expected = "\
                ZULU B 101 2 20\n\
                ZULU B 100 1 6\n\
                ZULU B 100 4 40\n\
                ZULU S 104 5 50\n\
                ZULU S 105 3 30\n";
            assert_eq!(after(message), expected);
        }
    }

    #[test]
    fn an_order_goes_with_its_last_share() {
        for message in [executed(LOCATE, 1, 10), executed_at(1, 10), cancel(1, 10), delete(1)] {
            let expected = "\
                ZULU B 101 2 20\n\
                ZULU B 100 4 40\n\
                ZULU S 104 5 50\n\
                ZULU S 105 3 30\n";
            assert_eq!(after(message), expected);
        }
    }

    #[test]
    fn a_replacement_goes_to_the_back_even_at_its_price() {
        let expected = "\
            ZULU B 101 2 20\n\
            ZULU B 100 4 40\n\
            ZULU B 100 6 10\n\
            ZULU S 104 5 50\n\
            ZULU S 105 3 30\n";
        assert_eq!(after(replace(1, 6, 10, 100)), expected);
    }

    #[test]
    fn depth_is_the_sum_of_its_orders() {
        let mut messages = five();
        messages.push(executed(LOCATE, 4, 15));
        let mut book = book(&messages);
        let bids = |book: &ItchBook| -> Vec<_> {
            book.depth(LOCATE, Side::Buy).map(|d| (d.price, d.shares, d.orders)).collect()
        };
        assert_eq!(bids(&book), [(101, 20, 1), (100, 35, 2)]);
        book.apply(&delete(1)).expect("it stands");
        assert_eq!(bids(&book), [(101, 20, 1), (100, 25, 1)]);
        let asks: Vec<_> = book.depth(LOCATE, Side::Sell).map(|d| (d.price, d.shares, d.orders)).collect();
        assert_eq!(asks, [(104, 50, 1), (105, 30, 1)]);
    }

    /// Every trade is printed once, whichever messages tell of it: the cross of 30 is the two executions
    /// before it, which are not printable.
    #[test]
    fn the_tape_counts_every_trade_once() {
        let prints = [
            (executed(LOCATE, 2, 5), 1, 5, 101),
            (executed_at_price(2, 5, b'Y', 103), 2, 10, 103),
            (trade(7, 102), 3, 17, 102),
            (executed_at_price(4, 30, b'N', 99), 3, 17, 102),
            (executed_at_price(3, 30, b'N', 99), 3, 17, 102),
            (cross(30, 99), 4, 47, 99),
            (cross(0, 0), 4, 47, 99),
            (cancel(1, 1), 4, 47, 99),
        ];
        let mut book = book(&five());
        for (message, trades, shares, last_price) in prints {
            book.apply(&message).expect("a correct message");
            let tape = Tape { trades, shares, last_price, broken: 0 };
            assert_eq!(book.tape(LOCATE), Some(tape), "after {}", message[0] as char);
        }
        book.apply(&broken()).expect("a correct message");
        assert_eq!(book.tape(LOCATE).map(|tape| (tape.broken, tape.trades)), Some((1, 4)));
    }

    #[test]
    fn an_imbalance_stands_until_its_cross() {
        let mut book = book(&[imbalance(), collar()]);
        let expected = Imbalance {
            cross_type: b'O',
            price: 102,
            paired: 30,
            shares: 7,
            direction: b'S',
            reference: 100,
        };
        assert_eq!(book.imbalance(LOCATE), Some(expected));
        assert_eq!(book.collar(LOCATE), Some(Collar { reference: 100, upper: 105, lower: 95 }));
        book.apply(&cross(30, 102)).expect("a correct message");
        assert_eq!(book.imbalance(LOCATE), None);
        assert!(book.collar(LOCATE).is_some(), "the band holds after the cross too");
    }

    #[test]
    fn what_an_instrument_does_and_what_the_market_does_is_as_last_said() {
        let mut book = book(&[]);
        assert_eq!(book.is_short_restricted(LOCATE), Some(false));
        for message in [
            action(b'T', *b"    "),
            short_restriction(b'1'),
            decline_levels([7, 13, 20]),
            decline_reached(b'1'),
            action(b'H', *b"MWC1"),
            day_event(b'M'),
        ] {
            book.apply(&message).expect("a correct message");
        }
        let halted = TradingAction { state: b'H', reason: *b"MWC1" };
        assert_eq!(book.trading_action(LOCATE), Some(halted));
        assert_eq!(book.trading_state(LOCATE), Some(b'H'));
        assert_eq!(book.is_short_restricted(LOCATE), Some(true));
        assert_eq!((book.decline_levels(), book.decline_reached()), (Some([7, 13, 20]), Some(b'1')));
        assert_eq!(book.day_event(), Some(b'M'));
        book.apply(&short_restriction(b'0')).expect("a correct message");
        assert_eq!(book.is_short_restricted(LOCATE), Some(false));
        book.apply(&start_of_messages()).expect("a correct message");
        assert_eq!((book.day_event(), book.decline_levels()), (Some(b'O'), None));
    }

    #[test]
    fn impossible_messages_are_refused_and_change_nothing() {
        let order_ref = OrderRef(1);
        let shares = |shares, leaves| BookError::Shares { order_ref, shares, leaves };
        let unknown = |order_ref| BookError::UnknownOrder { order_ref: OrderRef(order_ref), locate: LOCATE };
        let stock = |locate, symbol| BookError::UnknownStock { locate, symbol };
        let other = Symbol::new("OTHER").expect("a short symbol");
        let mut unlisted = add(9, b'B', 1, 1);
        unlisted[2] = 8;
        let cases = [
            (executed(LOCATE, 1, 11), shares(11, 10)),
            (executed(LOCATE, 1, 0), shares(0, 10)),
            (cancel(1, 11), shares(11, 10)),
            (executed(LOCATE, 9, 1), unknown(9)),
            (executed(8, 1, 1), BookError::UnknownOrder { order_ref, locate: 8 }),
            (cancel(9, 1), unknown(9)),
            (delete(9), unknown(9)),
            (replace(9, 10, 1, 1), unknown(9)),
            (replace(1, 2, 1, 1), BookError::DuplicateOrder { order_ref: OrderRef(2) }),
            (replace(1, 9, 0, 1), BookError::Shares { order_ref: OrderRef(9), shares: 0, leaves: 0 }),
            (add(1, b'B', 1, 1), BookError::DuplicateOrder { order_ref }),
            (add(9, b'B', 0, 1), BookError::Shares { order_ref: OrderRef(9), shares: 0, leaves: 0 }),
            (executed_at_price(1, 4, b'X', 1), BookError::BadPrintable(b'X')),
            (add(9, b'T', 1, 1), BookError::BadSide { order_ref: OrderRef(9), side: b'T' }),
            (unlisted, stock(8, symbol())),
            (list(LOCATE, other), stock(LOCATE, other)),
        ];
        let mut book = book(&five());
        let before = (drawn(&book), book.digest(), book.order_count());
        for (message, error) in cases {
            assert_eq!(book.apply(&message), Err(error));
            assert_eq!((drawn(&book), book.digest(), book.order_count()), before, "after {error}");
        }
        assert!(matches!(book.apply(b"E"), Err(BookError::Malformed(_))));
    }

    #[test]
    fn a_session_starts_with_empty_books() {
        let mut book = book(&five());
        book.apply(&start_of_messages()).expect("a correct message");
        assert_eq!(drawn(&book), "");
        assert_eq!(book.locate(symbol()), None, "the directory is the session's too");
    }

    #[test]
    fn slots_of_orders_that_went_are_used_again() {
        let mut book = book(&five());
        for order_ref in 100..200 {
            book.apply(&add(order_ref, b'B', 1, 90)).expect("a new order");
            book.apply(&delete(order_ref)).expect("it stands");
        }
        assert_eq!(book.slots.len(), 6);
        assert_eq!(drawn(&book), drawn(&self::book(&five())));
    }

    #[test]
    fn the_listing_is_by_symbol_not_by_locate_code() {
        let mut book = book(&[add(1, b'B', 10, 100)]);
        let alfa = Symbol::new("ALFA").expect("a short symbol");
        book.apply(&list(9, alfa)).expect("a new stock");
        let mut bid = add(2, b'B', 5, 50);
        bid[2] = 9;
        bid[24..32].copy_from_slice(&alfa.0);
        book.apply(&bid).expect("a new order");
        assert_eq!(drawn(&book), "ALFA B 50 2 5\nZULU B 100 1 10\n");
    }

    #[test]
    fn the_digest_is_that_of_the_documented_bytes() {
        let bytes =
            [b"ZULU    B".as_slice(), &100u32.to_be_bytes(), &1u64.to_be_bytes(), &10u32.to_be_bytes()];
        let expected: [u8; 32] = Sha256::digest(bytes.concat()).into();
        assert_eq!(book(&[add(1, b'B', 10, 100)]).digest(), expected);
    }
}
