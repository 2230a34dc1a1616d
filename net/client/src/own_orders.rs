//! What became of a member's own orders, followed message by message.
//!
//! Feed it every message of the session from number 1 on, OUCH to [`OwnOrders::apply`], native ones to
//! [`OwnOrders::apply_native`]. Orders are called by channel and UserRefNum. It checks the venue on the
//! way: nothing executes or is cancelled beyond what is left of an order.
//!
//! Prices are those of the wire: 1/10,000, or ticks for scaled instruments.

use ironbell_types::{Side, Symbol};
use ironbell_wire::native;
use ironbell_wire::ouch::{Options, Outbound};
use rustc_hash::FxHashMap;

/// What a member calls an order: channel (UserRefIdx) and UserRefNum.
pub type Name = (u8, u32);

/// An order of ours, and what it has done under this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnOrder {
    /// What.
    pub symbol: Symbol,
    /// Buy or sell.
    pub side: Side,
    /// The limit; [`ironbell_wire::ouch::PRICE_MARKET`] at the market.
    pub price: u64,
    /// The venue's number of it.
    pub order_ref: u64,
    /// Its number on the feed; changes when an iceberg order shows its next part.
    pub feed_ref: u64,
    /// What is open of it; 0 when it is done.
    pub leaves_qty: u64,
    /// What has executed and was not broken.
    pub executed_qty: u64,
    /// The part that an iceberg order showed last; `None` before its first refresh.
    pub refreshed_qty: Option<u64>,
    /// It waits for its stop.
    pub waits: bool,
}

/// An execution that can still be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Execution {
    /// How much.
    pub qty: u64,
    /// At which price.
    pub price: u64,
}

/// A message does not go with those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disagreement {
    /// It is about an order that was never accepted.
    #[error("order {} of channel {} was never accepted", .0.1, .0.0)]
    Unknown(Name),
    /// It takes more off an order than is left of it.
    #[error("order {} of channel {} has less left than went off", .0.1, .0.0)]
    TooMuch(Name),
    /// It breaks a trade that was not told, or was broken before.
    #[error("trade {match_number} of order {} of channel {} was never told", .name.1, .name.0)]
    UnknownTrade {
        /// The order.
        name: Name,
        /// The trade.
        match_number: u64,
    },
    /// The side of an order is none.
    #[error("'{}' is no side", .0.escape_ascii())]
    Side(u8),
}

/// Orders of one port, open and done, of one trading day; open ones are kept over the next.
#[derive(Clone, Debug, Default)]
pub struct OwnOrders {
    orders: FxHashMap<Name, OwnOrder>,
    executions: FxHashMap<(Name, u64), Execution>,
    positions: FxHashMap<Symbol, i128>,
    /// The trade told last, whose whole quantity may follow.
    newest: Option<(Name, u64)>,
}

impl OwnOrders {
    /// With room for so many orders and executions before it allocates again.
    #[must_use]
    pub fn with_capacity(orders: usize, executions: usize) -> Self {
        Self {
            orders: FxHashMap::with_capacity_and_hasher(orders, Default::default()),
            executions: FxHashMap::with_capacity_and_hasher(executions, Default::default()),
            ..Self::default()
        }
    }

    /// An order, open or done.
    #[must_use]
    pub fn get(&self, name: Name) -> Option<&OwnOrder> {
        self.orders.get(&name)
    }

    /// The open orders, in no order.
    pub fn open(&self) -> impl Iterator<Item = (Name, &OwnOrder)> {
        self.orders.iter().filter(|(_, order)| order.leaves_qty > 0).map(|(name, order)| (*name, order))
    }

    /// An execution of an order that was not broken.
    #[must_use]
    pub fn execution(&self, name: Name, match_number: u64) -> Option<&Execution> {
        self.executions.get(&(name, match_number))
    }

    /// Lots bought less lots sold of an instrument, broken trades not counted, since this was made.
    #[must_use]
    pub fn position(&self, symbol: Symbol) -> i128 {
        self.positions.get(&symbol).copied().unwrap_or(0)
    }

    /// Learns from an OUCH message.
    ///
    /// # Errors
    /// [`Disagreement`]; nothing has changed then.
    pub fn apply(&mut self, message: &Outbound<'_>) -> Result<(), Disagreement> {
        let idx = idx_of(&message.options());
        match message {
            Outbound::SystemEvent(told, _) if told.event_code == b'S' => self.start_day(),
            Outbound::OrderAccepted(told, _) => {
                let side = side(told.side)?;
                let order_ref = told.order_reference_number.get();
                let order = OwnOrder {
                    symbol: Symbol(told.symbol),
                    side,
                    price: told.price.get(),
                    order_ref,
                    feed_ref: order_ref,
                    leaves_qty: told.quantity.get().into(),
                    executed_qty: 0,
                    refreshed_qty: None,
                    waits: false,
                };
                self.orders.insert((idx, told.user_ref_num.get()), order);
            }
            Outbound::OrderReplaced(told, _) => {
                let side = side(told.side)?;
                self.order((idx, told.orig_user_ref_num.get()))?.leaves_qty = 0;
                let order_ref = told.order_reference_number.get();
                let order = OwnOrder {
                    symbol: Symbol(told.symbol),
                    side,
                    price: told.price.get(),
                    order_ref,
                    feed_ref: order_ref,
                    leaves_qty: told.quantity.get().into(),
                    executed_qty: 0,
                    refreshed_qty: None,
                    waits: false,
                };
                self.orders.insert((idx, told.user_ref_num.get()), order);
            }
            Outbound::OrderExecuted(told, _) => {
                let name = (idx, told.user_ref_num.get());
                let (qty, price) = (told.quantity.get().into(), told.price.get());
                self.execute(name, qty)?;
                self.newest = Some((name, told.match_number.get()));
                self.executions.insert((name, told.match_number.get()), Execution { qty, price });
            }
            Outbound::OrderCanceled(told, _) => {
                self.take_off((idx, told.user_ref_num.get()), told.quantity.get().into())?;
            }
            Outbound::AiqCanceled(told, _) => {
                self.take_off((idx, told.user_ref_num.get()), told.decrement_shares.get().into())?;
            }
            Outbound::OrderModified(told, _) => {
                let side = side(told.side)?;
                let order = self.order((idx, told.user_ref_num.get()))?;
                (order.side, order.leaves_qty) = (side, told.quantity.get().into());
            }
            Outbound::OrderRestated(told, options) => {
                let order = self.order((idx, told.user_ref_num.get()))?;
                order.feed_ref = options.secondary_ord_ref_num().unwrap_or(order.feed_ref);
                order.refreshed_qty = options.display_quantity().map(u64::from).or(order.refreshed_qty);
            }
            Outbound::BrokenTrade(told, _) => {
                self.break_trade((idx, told.user_ref_num.get()), told.match_number.get())?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Learns from a native message.
    ///
    /// # Errors
    /// [`Disagreement`]; nothing has changed then.
    pub fn apply_native(&mut self, message: &native::Outbound<'_>) -> Result<(), Disagreement> {
        match message {
            native::Outbound::AcceptedTerms(told) => {
                let order = self.order((told.user_ref_idx, told.user_ref_num.get()))?;
                order.leaves_qty = told.quantity.get();
                order.waits = told.stop_price.get() != 0 || told.trail.get() != 0;
            }
            native::Outbound::FullRange(told) => {
                let name = (told.user_ref_idx, told.user_ref_num.get());
                // The message before it has already counted what it had room for.
                let above = told.quantity.get().saturating_sub(u32::MAX.into());
                match told.ouch_type {
                    b'E' => {
                        self.execute(name, above)?;
                        let newest = self.newest.filter(|(newest, _)| *newest == name);
                        let execution = newest.and_then(|key| self.executions.get_mut(&key));
                        execution.ok_or(Disagreement::Unknown(name))?.qty += above;
                    }
                    b'M' => self.order(name)?.leaves_qty = told.quantity.get(),
                    _ => self.take_off(name, above)?,
                }
            }
            native::Outbound::StopTriggered(told) => {
                self.order((told.user_ref_idx, told.user_ref_num.get()))?.waits = false;
            }
            native::Outbound::OrderState(_)
            | native::Outbound::DeadManSet(_)
            | native::Outbound::DeadManExpired(_) => {}
        }
        Ok(())
    }

    /// Numbers begin again; those of open orders stay taken, and no trade of the day before can be broken.
    fn start_day(&mut self) {
        self.orders.retain(|_, order| order.leaves_qty > 0);
        self.executions.clear();
        self.newest = None;
    }

    fn order(&mut self, name: Name) -> Result<&mut OwnOrder, Disagreement> {
        self.orders.get_mut(&name).ok_or(Disagreement::Unknown(name))
    }

    fn take_off(&mut self, name: Name, qty: u64) -> Result<(), Disagreement> {
        let order = self.order(name)?;
        order.leaves_qty = order.leaves_qty.checked_sub(qty).ok_or(Disagreement::TooMuch(name))?;
        Ok(())
    }

    fn execute(&mut self, name: Name, qty: u64) -> Result<(), Disagreement> {
        self.take_off(name, qty)?;
        let order = self.order(name)?;
        order.executed_qty += qty;
        let (symbol, is_buy) = (order.symbol, order.side.is_buy());
        *self.positions.entry(symbol).or_default() += signed(qty, is_buy);
        Ok(())
    }

    fn break_trade(&mut self, name: Name, match_number: u64) -> Result<(), Disagreement> {
        let unknown = Disagreement::UnknownTrade { name, match_number };
        let execution = *self.executions.get(&(name, match_number)).ok_or(unknown)?;
        let order = self.order(name)?;
        order.executed_qty -= execution.qty;
        let (symbol, is_buy) = (order.symbol, order.side.is_buy());
        *self.positions.entry(symbol).or_default() -= signed(execution.qty, is_buy);
        self.executions.remove(&(name, match_number));
        Ok(())
    }
}

fn signed(qty: u64, is_buy: bool) -> i128 {
    if is_buy { qty.into() } else { -i128::from(qty) }
}

fn side(code: u8) -> Result<Side, Disagreement> {
    Side::try_from(code).map_err(|_| Disagreement::Side(code))
}

fn idx_of(options: &Options<'_>) -> u8 {
    options.user_ref_idx().unwrap_or(0)
}
