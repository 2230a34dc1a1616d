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

impl OwnOrder {
    /// An order as it is told of first.
    fn new(symbol: [u8; 8], side: Side, price: u64, order_ref: u64, leaves_qty: u64) -> Self {
        Self {
            symbol: Symbol(symbol),
            side,
            price,
            order_ref,
            feed_ref: order_ref,
            leaves_qty,
            executed_qty: 0,
            refreshed_qty: None,
            waits: false,
        }
    }
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
                let (price, qty) = (told.price.get(), told.quantity.get().into());
                let order = OwnOrder::new(told.symbol, side, price, told.order_reference_number.get(), qty);
                self.orders.insert((idx, told.user_ref_num.get()), order);
            }
            Outbound::OrderReplaced(told, _) => {
                let side = side(told.side)?;
                self.order((idx, told.orig_user_ref_num.get()))?.leaves_qty = 0;
                let (price, qty) = (told.price.get(), told.quantity.get().into());
                let order = OwnOrder::new(told.symbol, side, price, told.order_reference_number.get(), qty);
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

#[cfg(test)]
mod tests {
    use ironbell_wire::native::Block;
    use ironbell_wire::ouch::{self, OptionValue, OptionsBuf, OuchMessage};
    use ironbell_wire::{Type, U32, U64};

    use super::*;

    const IRON: Symbol = Symbol(*b"IRON    ");

    /// A member that hears what it is told, through the codecs.
    #[derive(Default)]
    struct Hearing(OwnOrders);

    impl Hearing {
        fn hear<M: OuchMessage>(&mut self, message: &M, options: &[OptionValue]) -> Result<(), Disagreement> {
            let mut bytes = [0; ouch::MESSAGE_LEN_MAX];
            let options: OptionsBuf = options.iter().copied().collect();
            let len = message.encode(&options, &mut bytes).unwrap();
            self.0.apply(&Outbound::parse(&bytes[..len]).unwrap())
        }

        fn hear_native<B: Block>(&mut self, message: &B) -> Result<(), Disagreement> {
            let mut bytes = [0; native::OUTBOUND_LEN_MAX];
            let len = message.encode(&mut bytes).unwrap();
            self.0.apply_native(&native::Outbound::parse(&bytes[..len]).unwrap())
        }

        fn accepted(&mut self, num: u32, side: u8, quantity: u32) {
            let message = ouch::OrderAccepted {
                message_type: Type::new(),
                timestamp: U64::new(0),
                user_ref_num: U32::new(num),
                side,
                quantity: U32::new(quantity),
                symbol: IRON.0,
                price: U64::new(10_000),
                time_in_force: b'0',
                display: b'Y',
                order_reference_number: U64::new(u64::from(num) << 20),
                capacity: b'A',
                inter_market_sweep: b'N',
                cross_type: b'N',
                order_state: b'L',
                cl_ord_id: [b' '; 14],
            };
            self.hear(&message, &[]).unwrap();
        }

        fn terms(&mut self, num: u32, quantity: u64, stop: i64) -> Result<(), Disagreement> {
            use native::{I32, I64, U16, U32, U64};
            self.hear_native(&native::AcceptedTerms {
                timestamp: U64::new(0),
                order_reference: U64::new(u64::from(num) << 20),
                user_ref_num: U32::new(num),
                user_ref_idx: 0,
                side: b'B',
                time_in_force: b'0',
                display: b'Y',
                symbol: IRON.0,
                quantity: U64::new(quantity),
                price: I64::new(100),
                stop_price: I64::new(stop),
                discretion_price: I64::new(0),
                trail: U32::new(0),
                max_floor: U32::new(0),
                random_reserves: U32::new(0),
                peg_offset: I32::new(0),
                min_qty: U32::new(0),
                expire_time: U32::new(0),
                oco_user_ref_num: U32::new(0),
                group_id: U16::new(native::NO_GROUP),
                stp_group: [0; 2],
                order_type: b'L',
                peg: b'L',
                stp: b'*',
                post_only: b'U',
                capacity: b'A',
                customer_type: b'U',
                cl_ord_id: [b' '; 14],
            })
        }

        fn executed(&mut self, num: u32, quantity: u32, match_number: u64) -> Result<(), Disagreement> {
            let message = ouch::OrderExecuted {
                message_type: Type::new(),
                timestamp: U64::new(0),
                user_ref_num: U32::new(num),
                quantity: U32::new(quantity),
                price: U64::new(9_900),
                liquidity_flag: b'A',
                match_number: U64::new(match_number),
            };
            self.hear(&message, &[])
        }

        fn canceled(&mut self, num: u32, quantity: u32) -> Result<(), Disagreement> {
            let message = ouch::OrderCanceled {
                message_type: Type::new(),
                timestamp: U64::new(0),
                user_ref_num: U32::new(num),
                quantity: U32::new(quantity),
                reason: b'U',
            };
            self.hear(&message, &[])
        }

        fn broken(&mut self, num: u32, match_number: u64) -> Result<(), Disagreement> {
            let message = ouch::BrokenTrade {
                message_type: Type::new(),
                timestamp: U64::new(0),
                user_ref_num: U32::new(num),
                match_number: U64::new(match_number),
                reason: b'E',
                cl_ord_id: [b' '; 14],
            };
            self.hear(&message, &[])
        }

        fn full_range(&mut self, num: u32, ouch_type: u8, quantity: u64) -> Result<(), Disagreement> {
            use native::{U32, U64};
            self.hear_native(&native::FullRange {
                timestamp: U64::new(0),
                user_ref_num: U32::new(num),
                user_ref_idx: 0,
                ouch_type,
                quantity: U64::new(quantity),
                prevented: U64::new(0),
            })
        }

        /// What is open and what has executed of an order.
        fn of(&self, num: u32) -> (u64, u64) {
            let order = self.0.get((0, num)).unwrap();
            (order.leaves_qty, order.executed_qty)
        }
    }

    #[test]
    fn an_order_shrinks_by_what_executes_and_what_is_cancelled() {
        let mut member = Hearing::default();
        member.accepted(1, b'B', 1_000);
        member.accepted(2, b'S', 50);
        member.executed(1, 300, 7).unwrap();
        assert_eq!((member.of(1), member.0.position(IRON)), ((700, 300), 300));
        member.canceled(1, 100).unwrap();
        let prevented = ouch::AiqCanceled {
            message_type: Type::new(),
            timestamp: U64::new(0),
            user_ref_num: U32::new(1),
            decrement_shares: U32::new(50),
            reason: b'Q',
            quantity_prevented: U32::new(50),
            execution_price: U64::new(9_900),
            liquidity_flag: b'A',
            aiq_strategy: b'D',
        };
        member.hear(&prevented, &[]).unwrap();
        assert_eq!(member.of(1), (550, 300));
        let modified = ouch::OrderModified {
            message_type: Type::new(),
            timestamp: U64::new(0),
            user_ref_num: U32::new(2),
            side: b'T',
            quantity: U32::new(40),
        };
        member.hear(&modified, &[]).unwrap();
        assert_eq!(member.of(2), (40, 0));
        member.executed(2, 40, 8).unwrap();
        assert_eq!((member.of(2), member.0.position(IRON)), ((0, 40), 260));
        let open: Vec<Name> = member.0.open().map(|(name, _)| name).collect();
        assert_eq!(open, [(0, 1)]);
    }

    #[test]
    fn a_replacement_goes_on_with_what_is_left() {
        let mut member = Hearing::default();
        member.accepted(1, b'B', 1_000);
        member.executed(1, 300, 7).unwrap();
        let replaced = ouch::OrderReplaced {
            message_type: Type::new(),
            timestamp: U64::new(0),
            orig_user_ref_num: U32::new(1),
            user_ref_num: U32::new(2),
            side: b'B',
            quantity: U32::new(500),
            symbol: IRON.0,
            price: U64::new(10_100),
            time_in_force: b'0',
            display: b'Y',
            order_reference_number: U64::new(99),
            capacity: b'A',
            inter_market_sweep: b'N',
            cross_type: b'N',
            order_state: b'L',
            cl_ord_id: [b' '; 14],
        };
        member.hear(&replaced, &[]).unwrap();
        assert_eq!((member.of(1), member.of(2)), ((0, 300), (500, 0)));
        assert_eq!(member.0.get((0, 2)).unwrap().order_ref, 99);
        let unknown = ouch::OrderReplaced { orig_user_ref_num: U32::new(9), ..replaced };
        assert_eq!(member.hear(&unknown, &[]), Err(Disagreement::Unknown((0, 9))));
    }

    #[test]
    fn a_refreshed_iceberg_has_another_number_on_the_feed() {
        let mut member = Hearing::default();
        member.accepted(1, b'B', 1_000);
        assert_eq!(member.0.get((0, 1)).unwrap().feed_ref, 1 << 20);
        let restated = ouch::OrderRestated {
            message_type: Type::new(),
            timestamp: U64::new(0),
            user_ref_num: U32::new(1),
            reason: b'R',
        };
        let options = [OptionValue::SecondaryOrdRefNum(77), OptionValue::DisplayQuantity(100)];
        member.hear(&restated, &options).unwrap();
        let order = *member.0.get((0, 1)).unwrap();
        assert_eq!((order.feed_ref, order.refreshed_qty, order.leaves_qty), (77, Some(100), 1_000));
        assert_eq!(order.order_ref, 1 << 20, "its number at the venue stays");
    }

    #[test]
    fn a_stop_waits_until_it_is_triggered() {
        let mut member = Hearing::default();
        member.accepted(1, b'B', 100);
        assert!(!member.0.get((0, 1)).unwrap().waits);
        member.terms(1, 100, 120).unwrap();
        assert!(member.0.get((0, 1)).unwrap().waits);
        let triggered = native::StopTriggered {
            timestamp: native::U64::new(0),
            order_reference: native::U64::new(1 << 20),
            price: native::I64::new(121),
            user_ref_num: native::U32::new(1),
            user_ref_idx: 0,
        };
        member.hear_native(&triggered).unwrap();
        assert!(!member.0.get((0, 1)).unwrap().waits);
    }

    #[test]
    fn a_broken_trade_did_not_happen() {
        let mut member = Hearing::default();
        member.accepted(1, b'B', 100);
        member.accepted(2, b'S', 100);
        // It traded with itself: one match number, two executions.
        member.executed(1, 60, 7).unwrap();
        member.executed(2, 60, 7).unwrap();
        assert_eq!(member.0.position(IRON), 0);
        member.broken(1, 7).unwrap();
        assert_eq!((member.of(1), member.0.position(IRON)), ((40, 0), -60));
        member.broken(2, 7).unwrap();
        assert_eq!((member.of(2), member.0.position(IRON)), ((40, 0), 0));
        let again = Disagreement::UnknownTrade { name: (0, 1), match_number: 7 };
        assert_eq!(member.broken(1, 7), Err(again));
        assert_eq!(member.0.execution((0, 1), 7), None);
    }

    #[test]
    fn quantities_above_32_bits_are_counted_whole() {
        let whole = u64::from(u32::MAX) * 4;
        let mut member = Hearing::default();
        member.accepted(1, b'B', u32::MAX);
        member.terms(1, whole, 0).unwrap();
        assert_eq!(member.of(1), (whole, 0));
        let executed = u64::from(u32::MAX) + 5;
        member.executed(1, u32::MAX, 7).unwrap();
        member.full_range(1, b'E', executed).unwrap();
        assert_eq!((member.of(1), member.0.position(IRON)), ((whole - executed, executed), executed.into()));
        assert_eq!(member.0.execution((0, 1), 7), Some(&Execution { qty: executed, price: 9_900 }));
        member.canceled(1, u32::MAX).unwrap();
        member.full_range(1, b'C', u64::from(u32::MAX) + 1).unwrap();
        assert_eq!(member.of(1).0, whole - executed - u64::from(u32::MAX) - 1);
        member.full_range(1, b'M', 1 << 32).unwrap();
        assert_eq!(member.of(1).0, 1 << 32);
        // Of a `D` whose prevented quantity alone is that large nothing more goes off.
        member.full_range(1, b'D', 3).unwrap();
        assert_eq!(member.of(1).0, 1 << 32);
        member.broken(1, 7).unwrap();
        assert_eq!((member.of(1).1, member.0.position(IRON)), (0, 0));
    }

    #[test]
    fn what_cannot_be_is_told_and_changes_nothing() {
        let mut member = Hearing::default();
        member.accepted(1, b'B', 100);
        assert_eq!(member.executed(1, 101, 7), Err(Disagreement::TooMuch((0, 1))));
        assert_eq!(member.canceled(1, 101), Err(Disagreement::TooMuch((0, 1))));
        assert_eq!(member.executed(2, 1, 7), Err(Disagreement::Unknown((0, 2))));
        assert_eq!(member.terms(2, 1, 1), Err(Disagreement::Unknown((0, 2))));
        assert_eq!(member.full_range(1, b'E', 1 << 40), Err(Disagreement::TooMuch((0, 1))));
        let other_channel = [OptionValue::UserRefIdx(1)];
        let message = ouch::OrderCanceled {
            message_type: Type::new(),
            timestamp: U64::new(0),
            user_ref_num: U32::new(1),
            quantity: U32::new(1),
            reason: b'U',
        };
        assert_eq!(member.hear(&message, &other_channel), Err(Disagreement::Unknown((1, 1))));
        assert_eq!((member.of(1), member.0.position(IRON)), ((100, 0), 0));
        assert_eq!(
            Disagreement::TooMuch((0, 1)).to_string(),
            "order 1 of channel 0 has less left than went off"
        );
    }

    #[test]
    fn a_new_day_keeps_open_orders_and_forgets_what_is_done() {
        let mut member = Hearing::default();
        member.accepted(1, b'B', 100);
        member.accepted(2, b'B', 100);
        member.executed(1, 100, 7).unwrap();
        member.executed(2, 10, 8).unwrap();
        let system =
            |event_code| ouch::SystemEvent { message_type: Type::new(), timestamp: U64::new(0), event_code };
        member.hear(&system(b'E'), &[]).unwrap();
        assert!(member.0.get((0, 1)).is_some());
        member.hear(&system(b'S'), &[]).unwrap();
        assert!(member.0.get((0, 1)).is_none());
        assert_eq!((member.of(2), member.0.position(IRON)), ((90, 10), 110));
        assert!(matches!(member.broken(2, 8), Err(Disagreement::UnknownTrade { .. })));
    }
}
