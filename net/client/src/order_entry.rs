//! A member's order entry: requests out, their fates in, over one SoupBinTCP session. Requests are OUCH 5.0,
//! and the venue's own messages for what OUCH has no words for.
//!
//! [`OrderEntry`] is sans I/O: bytes and time come in as parameters. [`Member`] moves its bytes over
//! a [`Stream`] and never waits. Neither allocates after it was made.
//!
//! What to do when the connection breaks: [`Member::reconnect`] logs in to the same session at the
//! number after the last message heard, so that what was missed comes and nothing comes twice; then
//! send whatever was not answered again, under the same numbers and in the same order. A number the
//! venue has seen has no second effect, and neither has a repeated cancel (OUCH 5.0, sections 1.1 and 2).
//!
//! Prices and quantities are those of the wire: in OUCH four implied decimals and shares, or ticks and lots
//! for instruments that the venue announces as scaled; in native messages always ticks and lots.

use std::net::SocketAddr;

use ironbell_device::kernel::Connection;
use ironbell_device::{Closed, Stream};
use ironbell_session::{ClientEvent, ClientSession, Config, Refusal, Violation};
use ironbell_types::{
    Capacity, ClOrdId, Display, Mpid, Nanos, OrderTerms, Side, Symbol, TimeInForce, Username,
};
use ironbell_wire::code::{peg_code, stp_code};
use ironbell_wire::native::{self, Block, QuoteEntry, is_native};
use ironbell_wire::ouch::{self, OptionsBuf, OuchMessage, Outbound};
use ironbell_wire::soup::LoginRequest;
use ironbell_wire::{DecodeError, Type, U32, U64};

use crate::in_flight::InFlight;

/// What the world did to the session.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ironbell_device::Error),
    /// The connection is over: reconnect.
    #[error("order entry: {0}")]
    Closed(#[from] Closed),
    /// The venue broke the session protocol.
    #[error("order entry: the venue broke SoupBinTCP: {0}")]
    Session(#[from] Violation),
    /// The venue sent something that is neither an OUCH nor a native message.
    #[error("order entry: message {number} is malformed: {source}")]
    Message {
        /// Its sequence number.
        number: u64,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// User name or password do not fit their fields (6 and 10 printable ASCII characters).
    #[error("order entry: user name or password has more than 6 or 10 printable ASCII characters")]
    Credentials,
}

/// A request found no room in the output, or the session is not up. Nothing was sent and no number
/// used: poll, then try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request found no room or no session")]
pub struct NotSent;

/// What the venue said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The login is accepted.
    LoggedIn {
        /// The session's name as on the wire.
        session: [u8; 10],
        /// Number of the first message that will come.
        first: u64,
    },
    /// The login is refused.
    Refused(Refusal),
    /// The next message of the session.
    Message {
        /// Its number.
        number: u64,
        /// What it says.
        message: Outbound<'a>,
        /// The same as it came.
        bytes: &'a [u8],
    },
    /// The next message of the session, a native one.
    Native {
        /// Its number.
        number: u64,
        /// What it says.
        message: native::Outbound<'a>,
        /// The same as it came.
        bytes: &'a [u8],
    },
    /// Text for people.
    Debug(&'a [u8]),
    /// The session has ended for good; the next login is to a new one.
    Ended,
}

/// A new order in OUCH's words; its options say more. Quantity 1 to 999,999 on equity-exact instruments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewOrder {
    /// Buy or sell.
    pub side: Side,
    /// Shares or lots.
    pub qty: u32,
    /// What.
    pub symbol: Symbol,
    /// The limit; [`ouch::PRICE_MARKET`] at the market.
    pub price: u64,
    /// Day, immediate-or-cancel, good-till-time (with option ExpireTime), at-open or at-close. Fill-or-kill
    /// is immediate-or-cancel with MinQty = quantity; the others are [`FullOrder`]'s.
    pub time_in_force: TimeInForce,
    /// How shown.
    pub display: Display,
    /// In which capacity.
    pub capacity: Capacity,
    /// The member's own text.
    pub cl_ord_id: ClOrdId,
}

impl NewOrder {
    /// A shown day order as agent, without a text.
    #[must_use]
    pub fn day(side: Side, qty: u32, symbol: Symbol, price: u64) -> Self {
        Self {
            side,
            qty,
            symbol,
            price,
            time_in_force: TimeInForce::Day,
            display: Display::Visible,
            capacity: Capacity::Agency,
            cl_ord_id: ClOrdId::default(),
        }
    }

    /// As [`NewOrder::day`], immediate-or-cancel.
    #[must_use]
    pub fn ioc(side: Side, qty: u32, symbol: Symbol, price: u64) -> Self {
        Self { time_in_force: TimeInForce::Ioc, ..Self::day(side, qty, symbol, price) }
    }
}

/// What replaces an order; side and capacity stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replacement {
    /// Total the member will be liable for, executions of the whole chain included.
    pub qty: u32,
    /// The limit; [`ouch::PRICE_MARKET`] when the original is at the market.
    pub price: u64,
    /// Day (which leaves an at-open or at-close order what it is), immediate-or-cancel, or good-till-time
    /// with option ExpireTime.
    pub time_in_force: TimeInForce,
    /// How shown.
    pub display: Display,
    /// The member's own text.
    pub cl_ord_id: ClOrdId,
}

impl Replacement {
    /// A shown day order, without a text.
    #[must_use]
    pub fn day(qty: u32, price: u64) -> Self {
        let (time_in_force, display) = (TimeInForce::Day, Display::Visible);
        Self { qty, price, time_in_force, display, cl_ord_id: ClOrdId::default() }
    }
}

/// A new order with any terms, in ticks and lots: stops, pairs, good-till-cancelled, 64-bit quantities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FullOrder {
    /// Buy or sell.
    pub side: Side,
    /// How much.
    pub qty: u64,
    /// What.
    pub symbol: Symbol,
    /// The limit; 0 at the market.
    pub price: i64,
    /// How long.
    pub time_in_force: TimeInForce,
    /// How shown.
    pub display: Display,
    /// In which capacity.
    pub capacity: Capacity,
    /// The member's own text.
    pub cl_ord_id: ClOrdId,
    /// The least that it trades at once; 0 is none.
    pub min_qty: u32,
    /// Whether it must not trade on entry.
    pub post_only: bool,
    /// Group for mass cancels, below 65,535.
    pub group: Option<u16>,
    /// What makes it more than a plain limit order; of `expire` see `expire_time`.
    pub terms: OrderTerms,
    /// When a good-till-time order ends, in seconds after the day's local midnight. It stands for
    /// `terms.expire`, which is not looked at.
    pub expire_time: u32,
}

impl FullOrder {
    /// A shown day order as agent, without a text.
    #[must_use]
    pub fn day(side: Side, qty: u64, symbol: Symbol, price: i64) -> Self {
        Self {
            side,
            qty,
            symbol,
            price,
            time_in_force: TimeInForce::Day,
            display: Display::Visible,
            capacity: Capacity::Agency,
            cl_ord_id: ClOrdId::default(),
            min_qty: 0,
            post_only: false,
            group: None,
            terms: OrderTerms::default(),
            expire_time: 0,
        }
    }

    /// A stop order: it waits for a trade at `stop` or beyond, and then trades at the market.
    #[must_use]
    pub fn stop(side: Side, qty: u64, symbol: Symbol, stop: i64) -> Self {
        let terms = OrderTerms { market: true, stop: ironbell_types::Price(stop), ..OrderTerms::default() };
        Self { terms, ..Self::day(side, qty, symbol, 0) }
    }

    fn message(&self, user_ref_num: u32) -> native::NewOrder {
        let terms = &self.terms;
        native::NewOrder {
            user_ref_num: native::U32::new(user_ref_num),
            user_ref_idx: 0,
            side: self.side.code(),
            time_in_force: self.time_in_force.code(),
            display: self.display.code(),
            symbol: self.symbol.0,
            quantity: native::U64::new(self.qty),
            price: native::I64::new(self.price),
            stop_price: native::I64::new(terms.stop.0),
            discretion_price: native::I64::new(terms.discretion.0),
            trail: native::U32::new(terms.trail),
            max_floor: native::U32::new(terms.max_floor),
            random_reserves: native::U32::new(terms.random_reserves),
            peg_offset: native::I32::new(terms.peg_offset),
            min_qty: native::U32::new(self.min_qty),
            expire_time: native::U32::new(self.expire_time),
            oco_user_ref_num: native::U32::new(terms.oco.0),
            group_id: native::U16::new(self.group.unwrap_or(native::NO_GROUP)),
            stp_group: terms.stp_group,
            order_type: if terms.market { b'M' } else { b'L' },
            peg: peg_code(terms.peg),
            stp: stp_code(terms.stp),
            post_only: if self.post_only { b'P' } else { b'U' },
            capacity: self.capacity.code(),
            customer_type: b'U',
            cl_ord_id: self.cl_ord_id.0,
        }
    }
}

/// What replaces an order, in the full range; side, capacity and all terms but these stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FullReplacement {
    /// Total the member will be liable for in lots, executions of the whole chain included.
    pub qty: u64,
    /// The limit in wire price units, as in OUCH; 0 when the original is at the market.
    pub price: u64,
    /// How long.
    pub time_in_force: TimeInForce,
    /// How shown.
    pub display: Display,
    /// The least that it trades at once; 0 is none.
    pub min_qty: u32,
    /// Whether it must not trade on entry; `None` as the original.
    pub post_only: Option<bool>,
    /// The most that is shown, below 2^32 - 1; `None` as the original.
    pub max_floor: Option<u32>,
    /// How far later displayed parts may differ, below 2^32 - 1; `None` as the original.
    pub random_reserves: Option<u32>,
    /// When a good-till-time order ends, in seconds after the day's local midnight.
    pub expire_time: u32,
    /// The member's own text.
    pub cl_ord_id: ClOrdId,
}

impl FullReplacement {
    /// A shown day order, without a text.
    #[must_use]
    pub fn day(qty: u64, price: u64) -> Self {
        Self {
            qty,
            price,
            time_in_force: TimeInForce::Day,
            display: Display::Visible,
            min_qty: 0,
            post_only: None,
            max_floor: None,
            random_reserves: None,
            expire_time: 0,
            cl_ord_id: ClOrdId::default(),
        }
    }
}

/// A two-sided quote of one instrument, in ticks and lots; a side with quantity 0 has price 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TwoSided {
    /// What.
    pub symbol: Symbol,
    /// How much to buy, and at most for how much.
    pub bid: (u64, i64),
    /// How much to sell, and at least for how much.
    pub ask: (u64, i64),
}

impl TwoSided {
    fn entry(&self) -> QuoteEntry {
        QuoteEntry {
            symbol: self.symbol.0,
            bid_quantity: native::U64::new(self.bid.0),
            bid_price: native::I64::new(self.bid.1),
            ask_quantity: native::U64::new(self.ask.0),
            ask_price: native::I64::new(self.ask.1),
        }
    }
}

/// Room for the longest request of either kind.
const REQUEST_LEN_MAX: usize = if native::MESSAGE_LEN_MAX > ouch::MESSAGE_LEN_MAX {
    native::MESSAGE_LEN_MAX
} else {
    ouch::MESSAGE_LEN_MAX
};

/// One order entry session of a member, sans I/O. It outlives its connections.
#[derive(Debug)]
pub struct OrderEntry {
    session: ClientSession,
    username: String,
    password: String,
    /// The session logged in to and the number of the next message in it.
    reached: Option<([u8; 10], u64)>,
    /// What the first login asked for, should it break before it is answered.
    first: u64,
    next_user_ref_num: u32,
    buffer: [u8; REQUEST_LEN_MAX],
    /// What was not answered, if it is to be sent again.
    in_flight: Option<InFlight>,
}

impl OrderEntry {
    /// For a connection made at `now`; nothing is sent before [`OrderEntry::login`].
    ///
    /// # Errors
    /// [`Error::Credentials`].
    pub fn new(config: &Config, username: Username, password: &str, now: Nanos) -> Result<Self, Error> {
        let username = username.as_str().to_owned();
        LoginRequest::new(&username, password, "", 1).ok_or(Error::Credentials)?;
        Ok(Self {
            session: ClientSession::new(config, now),
            username,
            password: password.to_owned(),
            reached: None,
            first: 1,
            next_user_ref_num: 1,
            buffer: [0; REQUEST_LEN_MAX],
            in_flight: None,
        })
    }

    /// The same, which keeps what is not answered, with room for so many requests before it allocates, and sends it again
    /// over the next connection: [`send_again`](Self::send_again). Until that is done nothing new is taken.
    #[must_use]
    pub fn sending_again(self, requests: usize) -> Self {
        Self { in_flight: Some(InFlight::with_capacity(requests)), ..self }
    }

    /// Requests that were not answered, as far as they are kept.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.as_ref().map_or(0, InFlight::len)
    }

    /// Sends again what was not answered on an earlier connection, as far as there is room; to be called until the session
    /// takes requests again. Says how many it sent.
    pub fn send_again(&mut self) -> usize {
        let Some(in_flight) = &mut self.in_flight else { return 0 };
        let mut sent = 0;
        while let Some(length) = in_flight.next_to_send(&mut self.buffer) {
            if !self.session.send(&self.buffer[..length]) {
                break;
            }
            in_flight.sent_again();
            sent += 1;
        }
        sent
    }

    /// Asks to be let in: the first time to the current session at `first` (1: everything of the day;
    /// 0: from the most recent message), afterwards to the session that was reached, at the number after
    /// the last message heard, whatever `first` is.
    ///
    /// # Panics
    /// When that was done before on this connection.
    pub fn login(&mut self, first: u64) {
        self.first = first;
        let (session, first) = match &self.reached {
            Some((session, next)) => (core::str::from_utf8(session).unwrap_or("").trim(), *next),
            None => ("", first),
        };
        let request = LoginRequest::new(&self.username, &self.password, session, first);
        let Some(request) = request else {
            unreachable!("the credentials were checked when they were given")
        };
        self.session.login(&request);
    }

    /// Another connection takes the place of a broken one.
    pub fn reset(&mut self, now: Nanos) {
        self.session.reset(now);
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.broken();
        }
    }

    /// Begins anew: the next login is to the venue's current session, and numbers start from 1. To be
    /// called for a new day, after [`Event::Ended`].
    pub fn forget_session(&mut self) {
        self.reached = None;
        self.next_user_ref_num = 1;
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.clear();
        }
    }

    /// The session below, for whoever moves its bytes: `space`, `received`, `output`, `sent`, `on_time`.
    pub fn session(&mut self) -> &mut ClientSession {
        &mut self.session
    }

    /// Whether requests can be sent: there is a session, and nothing is left that is to be sent again first.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.session.is_up() && !self.has_older()
    }

    /// Whether requests of an earlier connection are to be sent again before anything new.
    fn has_older(&self) -> bool {
        self.in_flight.as_ref().is_some_and(|in_flight| !in_flight.is_sent())
    }

    /// Number of the next sequenced message; 0 before the first login.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.reached.map_or(0, |(_, next)| next)
    }

    /// The number the next order or mass cancel gets.
    #[must_use]
    pub const fn next_user_ref_num(&self) -> u32 {
        self.next_user_ref_num
    }

    /// The next thing the venue said; `None` when there is nothing more now. Numbers that the venue
    /// says are used (an order of ours heard again, the answer to an account query) are not used again.
    ///
    /// # Errors
    /// The venue broke a protocol: close.
    #[expect(clippy::should_implement_trait, reason = "it lends from the input buffer, as no Iterator can")]
    pub fn next(&mut self) -> Result<Option<Event<'_>>, Error> {
        let event = match self.session.next()? {
            None => return Ok(None),
            Some(ClientEvent::Accepted { session, first }) => {
                self.reached = Some((session, first));
                Event::LoggedIn { session, first }
            }
            Some(ClientEvent::Refused(refusal)) => Event::Refused(refusal),
            Some(ClientEvent::Message { number, message: bytes }) => {
                if let Some((_, next)) = &mut self.reached {
                    *next = number + 1;
                }
                let failed = |source| Error::Message { number, source };
                if is_native(bytes) {
                    // Whatever uses a number is told of in OUCH.
                    let message = native::Outbound::parse(bytes).map_err(failed)?;
                    if let Some(in_flight) = &mut self.in_flight {
                        in_flight.heard_native(&message);
                    }
                    Event::Native { number, message, bytes }
                } else {
                    let message = Outbound::parse(bytes).map_err(failed)?;
                    self.next_user_ref_num = self.next_user_ref_num.max(next_after(&message));
                    if let Some(in_flight) = &mut self.in_flight {
                        in_flight.heard(&message);
                    }
                    Event::Message { number, message, bytes }
                }
            }
            Some(ClientEvent::Unsequenced(text) | ClientEvent::Debug(text)) => Event::Debug(text),
            Some(ClientEvent::Ended) => Event::Ended,
        };
        Ok(Some(event))
    }

    /// Enter Order under the next number, which is returned.
    ///
    /// # Errors
    /// [`NotSent`].
    pub fn enter(&mut self, order: &NewOrder, options: &OptionsBuf) -> Result<u32, NotSent> {
        let user_ref_num = self.next_user_ref_num;
        self.enter_as(user_ref_num, order, options)?;
        Ok(user_ref_num)
    }

    /// Enter Order under a number of the caller's: for sending again.
    ///
    /// # Errors
    /// [`NotSent`].
    pub fn enter_as(
        &mut self,
        user_ref_num: u32,
        order: &NewOrder,
        options: &OptionsBuf,
    ) -> Result<(), NotSent> {
        let (time_in_force, cross_type) = match order.time_in_force {
            TimeInForce::AtOpen => (TimeInForce::Day, b'O'),
            TimeInForce::AtClose => (TimeInForce::Day, b'C'),
            other => (other, b'N'),
        };
        let message = ouch::EnterOrder {
            message_type: Type::new(),
            user_ref_num: U32::new(user_ref_num),
            side: order.side.code(),
            quantity: U32::new(order.qty),
            symbol: order.symbol.0,
            price: U64::new(order.price),
            time_in_force: time_in_force.code(),
            display: order.display.code(),
            capacity: order.capacity.code(),
            inter_market_sweep: b'N',
            cross_type,
            cl_ord_id: order.cl_ord_id.0,
        };
        self.send(&message, options)?;
        self.used(user_ref_num);
        Ok(())
    }

    /// Replace Order under the next number, which is returned.
    ///
    /// # Errors
    /// [`NotSent`].
    pub fn replace(&mut self, orig: u32, by: &Replacement, options: &OptionsBuf) -> Result<u32, NotSent> {
        let user_ref_num = self.next_user_ref_num;
        self.replace_as(user_ref_num, orig, by, options)?;
        Ok(user_ref_num)
    }

    /// Replace Order under a number of the caller's: for sending again.
    ///
    /// # Errors
    /// [`NotSent`].
    pub fn replace_as(
        &mut self,
        user_ref_num: u32,
        orig: u32,
        by: &Replacement,
        options: &OptionsBuf,
    ) -> Result<(), NotSent> {
        let message = ouch::ReplaceOrder {
            message_type: Type::new(),
            orig_user_ref_num: U32::new(orig),
            user_ref_num: U32::new(user_ref_num),
            quantity: U32::new(by.qty),
            price: U64::new(by.price),
            time_in_force: by.time_in_force.code(),
            display: by.display.code(),
            inter_market_sweep: b'N',
            cl_ord_id: by.cl_ord_id.0,
        };
        self.send(&message, options)?;
        self.used(user_ref_num);
        Ok(())
    }

    /// Cancel Order down to a new intended total `qty`, executions included; 0 cancels all that is left.
    ///
    /// # Errors
    /// [`NotSent`].
    pub fn cancel(&mut self, user_ref_num: u32, qty: u32) -> Result<(), NotSent> {
        let (user_ref_num, quantity) = (U32::new(user_ref_num), U32::new(qty));
        self.send(
            &ouch::CancelOrder { message_type: Type::new(), user_ref_num, quantity },
            &OptionsBuf::EMPTY,
        )
    }

    /// Modify Order: another side among the sell sides, or a smaller total.
    ///
    /// # Errors
    /// [`NotSent`].
    pub fn modify(&mut self, user_ref_num: u32, side: Side, qty: u32) -> Result<(), NotSent> {
        let (user_ref_num, quantity) = (U32::new(user_ref_num), U32::new(qty));
        let message =
            ouch::ModifyOrder { message_type: Type::new(), user_ref_num, side: side.code(), quantity };
        self.send(&message, &OptionsBuf::EMPTY)
    }

    /// Mass Cancel under the next number, which is returned. A blank symbol is all of them; options 24
    /// (group) and 27 (side) narrow it.
    ///
    /// # Errors
    /// [`NotSent`].
    pub fn mass_cancel(&mut self, firm: Mpid, symbol: Symbol, options: &OptionsBuf) -> Result<u32, NotSent> {
        let num = self.next_user_ref_num;
        let user_ref_num = U32::new(num);
        let message =
            ouch::MassCancel { message_type: Type::new(), user_ref_num, firm: firm.0, symbol: symbol.0 };
        self.send(&message, options)?;
        self.used(num);
        Ok(num)
    }

    /// Disable Order Entry under the next number, which is returned: new orders and replacements of the
    /// firm are refused on all its ports until enabled again. Open orders stay.
    ///
    /// # Errors
    /// [`NotSent`].
    pub fn disable_order_entry(&mut self, firm: Mpid) -> Result<u32, NotSent> {
        let num = self.next_user_ref_num;
        let user_ref_num = U32::new(num);
        let message = ouch::DisableOrderEntry { message_type: Type::new(), user_ref_num, firm: firm.0 };
        self.send(&message, &OptionsBuf::EMPTY)?;
        self.used(num);
        Ok(num)
    }

    /// Enable Order Entry under the next number, which is returned: orders of the firm are taken again.
    ///
    /// # Errors
    /// [`NotSent`].
    pub fn enable_order_entry(&mut self, firm: Mpid) -> Result<u32, NotSent> {
        let num = self.next_user_ref_num;
        let user_ref_num = U32::new(num);
        let message = ouch::EnableOrderEntry { message_type: Type::new(), user_ref_num, firm: firm.0 };
        self.send(&message, &OptionsBuf::EMPTY)?;
        self.used(num);
        Ok(num)
    }

    /// Account Query: which number is the next?
    ///
    /// # Errors
    /// [`NotSent`].
    pub fn account_query(&mut self) -> Result<(), NotSent> {
        self.send(&ouch::AccountQuery { message_type: Type::new() }, &OptionsBuf::EMPTY)
    }

    /// A new order with any terms under the next number, which is returned.
    ///
    /// # Errors
    /// [`NotSent`].
    pub fn enter_full(&mut self, order: &FullOrder) -> Result<u32, NotSent> {
        let user_ref_num = self.next_user_ref_num;
        self.enter_full_as(user_ref_num, order)?;
        Ok(user_ref_num)
    }

    /// A new order with any terms under a number of the caller's: for sending again.
    ///
    /// # Errors
    /// [`NotSent`].
    pub fn enter_full_as(&mut self, user_ref_num: u32, order: &FullOrder) -> Result<(), NotSent> {
        self.send_native(&order.message(user_ref_num))?;
        self.used(user_ref_num);
        Ok(())
    }

    /// A replacement in the full range under the next number, which is returned.
    ///
    /// # Errors
    /// [`NotSent`].
    pub fn replace_full(&mut self, orig: u32, by: &FullReplacement) -> Result<u32, NotSent> {
        let user_ref_num = self.next_user_ref_num;
        self.replace_full_as(user_ref_num, orig, by)?;
        Ok(user_ref_num)
    }

    /// A replacement in the full range under a number of the caller's: for sending again.
    ///
    /// # Errors
    /// [`NotSent`].
    pub fn replace_full_as(
        &mut self,
        user_ref_num: u32,
        orig: u32,
        by: &FullReplacement,
    ) -> Result<(), NotSent> {
        let message = native::ReplaceOrder {
            orig_user_ref_num: native::U32::new(orig),
            user_ref_num: native::U32::new(user_ref_num),
            user_ref_idx: 0,
            time_in_force: by.time_in_force.code(),
            display: by.display.code(),
            post_only: match by.post_only {
                None => b'U',
                Some(true) => b'P',
                Some(false) => b'N',
            },
            quantity: native::U64::new(by.qty),
            price: native::U64::new(by.price),
            max_floor: native::U32::new(by.max_floor.unwrap_or(native::UNCHANGED)),
            random_reserves: native::U32::new(by.random_reserves.unwrap_or(native::UNCHANGED)),
            min_qty: native::U32::new(by.min_qty),
            expire_time: native::U32::new(by.expire_time),
            cl_ord_id: by.cl_ord_id.0,
        };
        self.send_native(&message)?;
        self.used(user_ref_num);
        Ok(())
    }

    /// Quotes of some instruments, each in the place of the earlier one on it: entry i, from 0, has the
    /// bid n + 2 i and the ask n + 2 i + 1, n being the next number, which is returned.
    ///
    /// # Errors
    /// [`NotSent`].
    ///
    /// # Panics
    /// When there are none, or more than [`native::QUOTES_MAX`].
    pub fn mass_quote(&mut self, capacity: Capacity, quotes: &[TwoSided]) -> Result<u32, NotSent> {
        let user_ref_num = self.next_user_ref_num;
        self.mass_quote_as(user_ref_num, capacity, quotes)?;
        Ok(user_ref_num)
    }

    /// As [`OrderEntry::mass_quote`], under numbers of the caller's: for sending again.
    ///
    /// # Errors
    /// [`NotSent`].
    ///
    /// # Panics
    /// When there are none, or more than [`native::QUOTES_MAX`].
    pub fn mass_quote_as(
        &mut self,
        user_ref_num: u32,
        capacity: Capacity,
        quotes: &[TwoSided],
    ) -> Result<(), NotSent> {
        assert!(!quotes.is_empty(), "a mass quote has entries");
        assert!(
            quotes.len() <= native::QUOTES_MAX,
            "a mass quote has at most {} entries",
            native::QUOTES_MAX
        );
        let mut entries =
            [TwoSided { symbol: Symbol::default(), bid: (0, 0), ask: (0, 0) }.entry(); native::QUOTES_MAX];
        for (entry, quote) in entries.iter_mut().zip(quotes) {
            *entry = quote.entry();
        }
        let message = native::MassQuote {
            user_ref_num: native::U32::new(user_ref_num),
            user_ref_idx: 0,
            capacity: capacity.code(),
        };
        let Ok(length) = message.encode_with(&entries[..quotes.len()], &mut self.buffer) else {
            unreachable!("the buffer holds the longest message")
        };
        self.send_encoded(length)?;
        self.used(user_ref_num.saturating_add(2 * quotes.len() as u32 - 1));
        Ok(())
    }

    /// Asks what became of an order; answered by [`native::OrderState`]. Uses no number.
    ///
    /// # Errors
    /// [`NotSent`].
    pub fn order_state(&mut self, user_ref_num: u32) -> Result<(), NotSent> {
        let user_ref_num = native::U32::new(user_ref_num);
        self.send_native(&native::OrderStateRequest { user_ref_num, user_ref_idx: 0 })
    }

    /// Asks that the port's orders be cancelled when it has sent nothing but heartbeats for so long; 0
    /// takes that back. Answered by [`native::DeadManSet`], which says another time, the one in force, when the
    /// port's rate refused. Uses no number.
    ///
    /// # Errors
    /// [`NotSent`].
    pub fn dead_man(&mut self, timeout: Nanos) -> Result<(), NotSent> {
        self.send_native(&native::DeadMan { timeout: native::U64::new(timeout.0) })
    }

    fn used(&mut self, user_ref_num: u32) {
        self.next_user_ref_num = self.next_user_ref_num.max(user_ref_num.saturating_add(1));
    }

    fn send<M: OuchMessage>(&mut self, message: &M, options: &OptionsBuf) -> Result<(), NotSent> {
        let Ok(length) = message.encode(options, &mut self.buffer) else {
            unreachable!("the buffer holds the longest message")
        };
        self.send_encoded(length)
    }

    fn send_native<B: Block>(&mut self, message: &B) -> Result<(), NotSent> {
        let Ok(length) = message.encode(&mut self.buffer) else {
            unreachable!("the buffer holds the longest message")
        };
        self.send_encoded(length)
    }

    fn send_encoded(&mut self, length: usize) -> Result<(), NotSent> {
        // Numbers must reach the venue in order: what is to be sent again goes first.
        if self.has_older() {
            return Err(NotSent);
        }
        if !self.session.send(&self.buffer[..length]) {
            return Err(NotSent);
        }
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.keep(&self.buffer[..length]);
        }
        Ok(())
    }
}

/// The smallest number that a message of the venue leaves unused, as far as it says.
fn next_after(message: &Outbound<'_>) -> u32 {
    let used = match message {
        Outbound::AccountQueryResponse(told, _) => return told.next_user_ref_num.get(),
        Outbound::OrderAccepted(told, _) => told.user_ref_num,
        Outbound::OrderReplaced(told, _) => told.user_ref_num,
        Outbound::Rejected(told, _) => told.user_ref_num,
        Outbound::MassCancelResponse(told, _) => told.user_ref_num,
        Outbound::DisableOrderEntryResponse(told, _) => told.user_ref_num,
        Outbound::EnableOrderEntryResponse(told, _) => told.user_ref_num,
        _ => return 0,
    };
    used.get().saturating_add(1)
}

/// An [`OrderEntry`] over a connection, polled by its owner.
#[derive(Debug)]
pub struct Member<S: Stream = Connection> {
    entry: OrderEntry,
    stream: S,
}

impl Member {
    /// Connects to `addr` and logs in, as [`OrderEntry::login`]. Waits for the TCP handshake only; the
    /// venue's answer comes as an [`Event`].
    ///
    /// # Errors
    /// [`Error::Connect`] or [`Error::Credentials`].
    pub fn connect(
        addr: SocketAddr,
        config: &Config,
        username: Username,
        password: &str,
        first: u64,
        now: Nanos,
    ) -> Result<Self, Error> {
        let entry = OrderEntry::new(config, username, password, now)?;
        Ok(Self::over(Connection::connect(addr)?, entry, first))
    }

    /// Connects again, perhaps to another node, and resumes where the session was left.
    ///
    /// # Errors
    /// [`Error::Connect`]; the member is as before and can try again.
    pub fn reconnect(&mut self, addr: SocketAddr, now: Nanos) -> Result<(), Error> {
        let stream = Connection::connect(addr)?;
        self.resume(stream, now);
        Ok(())
    }
}

impl<S: Stream> Member<S> {
    /// Logs in over a connection just made, as [`OrderEntry::login`].
    #[must_use]
    pub fn over(stream: S, mut entry: OrderEntry, first: u64) -> Self {
        entry.login(first);
        Self { entry, stream }
    }

    /// Resumes over another connection where the session was left.
    pub fn resume(&mut self, stream: S, now: Nanos) {
        self.stream = stream;
        self.entry.reset(now);
        self.entry.login(self.entry.first);
    }

    /// What it is over.
    #[must_use]
    pub const fn stream(&self) -> &S {
        &self.stream
    }

    /// The session, to send requests with; they leave with the next [`Member::flush`] or [`Member::poll`].
    pub fn entry(&mut self) -> &mut OrderEntry {
        &mut self.entry
    }

    /// Moves what can be moved both ways now and sees to heartbeats. Says how many bytes moved. Take
    /// every [`Member::next`] event before the next call.
    ///
    /// # Errors
    /// The connection is over. What had come before can still be taken with [`Member::next`].
    pub fn poll(&mut self, now: Nanos) -> Result<usize, Error> {
        self.entry.session.on_time(now)?;
        let sent = self.flush(now)?;
        let space = self.entry.session.space();
        if space.is_empty() {
            return Ok(sent);
        }
        let received = self.stream.read(space)?;
        self.entry.session.received(received, now);
        Ok(sent + received)
    }

    /// Writes what can be written now; says how many bytes.
    ///
    /// # Errors
    /// The connection is over.
    pub fn flush(&mut self, now: Nanos) -> Result<usize, Error> {
        let output = self.entry.session.output();
        if output.is_empty() {
            return Ok(0);
        }
        let sent = self.stream.write(output)?;
        self.entry.session.sent(sent, now);
        Ok(sent)
    }

    /// The next thing the venue said, as [`OrderEntry::next`].
    ///
    /// # Errors
    /// The venue broke a protocol: close.
    #[expect(clippy::should_implement_trait, reason = "it lends from the input buffer, as no Iterator can")]
    pub fn next(&mut self) -> Result<Option<Event<'_>>, Error> {
        self.entry.next()
    }
}

#[cfg(test)]
mod tests {
    use ironbell_session::{Login, ServerEvent, ServerSession, first_number};
    use ironbell_wire::IntoBytes;
    use ironbell_wire::ouch::{Inbound, OptionValue};

    use super::*;

    const SESSION: [u8; 10] = *b"0020260105";

    /// A venue that keeps what it has told and notes what it is asked.
    struct Venue {
        server: ServerSession,
        told: Vec<Vec<u8>>,
        asked: Vec<Vec<u8>>,
        logins: Vec<Login>,
    }

    impl Venue {
        fn new() -> Self {
            let server = ServerSession::new(&Config::default(), Nanos(0));
            Self { server, told: Vec::new(), asked: Vec::new(), logins: Vec::new() }
        }

        fn tell(&mut self, message: &[u8]) {
            self.told.push(message.to_vec());
        }

        /// Moves all bytes both ways.
        fn exchange(&mut self, member: &mut OrderEntry, now: Nanos) {
            let output = member.session().output().to_vec();
            member.session().sent(output.len(), now);
            self.server.space()[..output.len()].copy_from_slice(&output);
            self.server.received(output.len(), now);
            while let Some(event) = self.server.next().unwrap() {
                match event {
                    ServerEvent::Login(login) => {
                        self.logins.push(login);
                        let newest = self.told.len() as u64;
                        match first_number(&login, &SESSION, newest) {
                            Ok(first) => self.server.accept(SESSION, first),
                            Err(refusal) => self.server.refuse(refusal),
                        }
                    }
                    ServerEvent::Message(message) => self.asked.push(message.to_vec()),
                    _ => {}
                }
            }
            loop {
                let number = self.server.next_number();
                let Some(message) = self.told.get((number.max(1) - 1) as usize) else { break };
                if !self.server.offer(number, message) {
                    break;
                }
            }
            let output = self.server.output().to_vec();
            self.server.sent(output.len(), now);
            member.session().space()[..output.len()].copy_from_slice(&output);
            member.session().received(output.len(), now);
        }

        fn disconnect(&mut self, member: &mut OrderEntry) {
            self.server.reset(Nanos(0));
            member.reset(Nanos(0));
        }
    }

    fn member() -> OrderEntry {
        let username = Username::new("ALPHA").unwrap();
        OrderEntry::new(&Config::default(), username, "secret", Nanos(0)).unwrap()
    }

    fn rejected(num: u32) -> Vec<u8> {
        let user_ref_num = U32::new(num);
        let (timestamp, reason) = (U64::new(5), ironbell_wire::U16::new(0x17));
        let cl_ord_id = ClOrdId::default().0;
        let message =
            ouch::Rejected { message_type: Type::new(), timestamp, user_ref_num, reason, cl_ord_id };
        message.as_bytes().to_vec()
    }

    /// Numbers of the messages heard, and whether a login was.
    fn hear(member: &mut OrderEntry) -> (Vec<u64>, bool) {
        let (mut numbers, mut logged_in) = (Vec::new(), false);
        while let Some(event) = member.next().unwrap() {
            match event {
                Event::LoggedIn { .. } => logged_in = true,
                Event::Message { number, .. } => numbers.push(number),
                other => panic!("unexpected {other:?}"),
            }
        }
        (numbers, logged_in)
    }

    #[test]
    fn every_request_is_the_message_it_should_be() {
        let (mut venue, mut member) = (Venue::new(), member());
        member.login(1);
        venue.exchange(&mut member, Nanos(1));
        assert_eq!(hear(&mut member), (vec![], true));
        let symbol = Symbol::new("AAPL").unwrap();
        let options = [OptionValue::PostOnly(b'P')].into_iter().collect();
        let order = NewOrder {
            cl_ord_id: ClOrdId::new("mine").unwrap(),
            ..NewOrder::day(Side::Buy, 300, symbol, 1_000_100)
        };
        assert_eq!(member.enter(&order, &options), Ok(1));
        assert_eq!(member.enter(&NewOrder::ioc(Side::SellShort, 1, symbol, 2), &OptionsBuf::EMPTY), Ok(2));
        assert_eq!(member.replace(1, &Replacement::day(200, 1_000_000), &OptionsBuf::EMPTY), Ok(3));
        member.cancel(3, 50).unwrap();
        member.modify(2, Side::SellShortExempt, 1).unwrap();
        let side = [OptionValue::Side(b'B')].into_iter().collect();
        let firm = Mpid::new("ALFA").unwrap();
        assert_eq!(member.mass_cancel(firm, Symbol::default(), &side), Ok(4));
        assert_eq!(member.disable_order_entry(firm), Ok(5));
        assert_eq!(member.enable_order_entry(firm), Ok(6));
        member.account_query().unwrap();
        venue.exchange(&mut member, Nanos(2));
        let asked: Vec<Inbound<'_>> =
            venue.asked.iter().map(|bytes| Inbound::parse(bytes).unwrap()).collect();
        let [
            Inbound::EnterOrder(day, day_options),
            Inbound::EnterOrder(ioc, ioc_options),
            Inbound::ReplaceOrder(replace, _),
            Inbound::CancelOrder(cancel, _),
            Inbound::ModifyOrder(modify, _),
            Inbound::MassCancel(mass, mass_options),
            Inbound::DisableOrderEntry(disable, _),
            Inbound::EnableOrderEntry(enable, _),
            Inbound::AccountQuery(..),
        ] = asked.as_slice()
        else {
            panic!("{asked:?}")
        };
        assert_eq!(
            (day.user_ref_num.get(), day.side, day.quantity.get(), day.price.get()),
            (1, b'B', 300, 1_000_100)
        );
        assert_eq!(
            (&day.symbol, day.time_in_force, day.display, day.capacity),
            (b"AAPL    ", b'0', b'Y', b'A')
        );
        assert_eq!((day.inter_market_sweep, day.cross_type, &day.cl_ord_id), (b'N', b'N', b"mine          "));
        assert_eq!((day_options.post_only(), ioc_options.is_empty()), (Some(b'P'), true));
        assert_eq!((ioc.user_ref_num.get(), ioc.side, ioc.time_in_force), (2, b'T', b'3'));
        assert_eq!((replace.orig_user_ref_num.get(), replace.user_ref_num.get()), (1, 3));
        assert_eq!((replace.quantity.get(), replace.price.get()), (200, 1_000_000));
        assert_eq!((cancel.user_ref_num.get(), cancel.quantity.get()), (3, 50));
        assert_eq!((modify.user_ref_num.get(), modify.side, modify.quantity.get()), (2, b'E', 1));
        assert_eq!((mass.user_ref_num.get(), &mass.firm, &mass.symbol), (4, b"ALFA", b"        "));
        assert_eq!(mass_options.side(), Some(b'B'));
        assert_eq!((disable.user_ref_num.get(), &disable.firm), (5, b"ALFA"));
        assert_eq!((enable.user_ref_num.get(), &enable.firm), (6, b"ALFA"));
    }

    #[test]
    fn every_native_request_is_the_message_it_should_be() {
        use ironbell_types::{Peg, Price, Stp, UserRefNum};
        let (mut venue, mut member) = (Venue::new(), member());
        member.login(1);
        venue.exchange(&mut member, Nanos(1));
        hear(&mut member);
        let symbol = Symbol::new("AAPL").unwrap();
        let at_open =
            NewOrder { time_in_force: TimeInForce::AtOpen, ..NewOrder::day(Side::Buy, 1, symbol, 2) };
        assert_eq!(member.enter(&at_open, &OptionsBuf::EMPTY), Ok(1));
        let at_close = NewOrder { time_in_force: TimeInForce::AtClose, ..at_open };
        assert_eq!(member.enter(&at_close, &OptionsBuf::EMPTY), Ok(2));
        assert_eq!(member.enter_full(&FullOrder::stop(Side::Sell, 1 << 40, symbol, 90)), Ok(3));
        let terms = OrderTerms {
            trail: 3,
            max_floor: 10,
            random_reserves: 2,
            peg: Peg::Midpoint,
            peg_offset: -4,
            discretion: Price(102),
            oco: UserRefNum(3),
            stp: Stp::CancelBoth,
            stp_group: *b"G1",
            ..OrderTerms::default()
        };
        let all = FullOrder {
            time_in_force: TimeInForce::Gtt,
            display: Display::Hidden,
            capacity: Capacity::Principal,
            cl_ord_id: ClOrdId::new("mine").unwrap(),
            min_qty: 5,
            post_only: true,
            group: Some(9),
            terms,
            expire_time: 60,
            ..FullOrder::day(Side::Buy, 100, symbol, 101)
        };
        assert_eq!(member.enter_full(&all), Ok(4));
        assert_eq!(member.replace_full(4, &FullReplacement::day(1 << 33, 7)), Ok(5));
        let given = FullReplacement {
            time_in_force: TimeInForce::Gtc,
            post_only: Some(false),
            max_floor: Some(0),
            random_reserves: Some(1),
            ..FullReplacement::day(50, 8)
        };
        assert_eq!(member.replace_full(5, &given), Ok(6));
        let quote = TwoSided { symbol, bid: (100, 99), ask: (200, 101) };
        assert_eq!(member.mass_quote(Capacity::Agency, &[quote; 3]), Ok(7));
        assert_eq!(member.next_user_ref_num(), 13, "two numbers an entry");
        member.order_state(3).unwrap();
        member.dead_man(Nanos(5_000_000_000)).unwrap();
        venue.exchange(&mut member, Nanos(2));
        for (bytes, cross) in venue.asked[..2].iter().zip(*b"OC") {
            let Ok(Inbound::EnterOrder(order, _)) = Inbound::parse(bytes) else { panic!("{bytes:?}") };
            assert_eq!((order.time_in_force, order.cross_type), (b'0', cross));
        }
        assert!(venue.asked[2..].iter().all(|bytes| is_native(bytes)));
        let asked: Vec<native::Inbound<'_>> =
            venue.asked[2..].iter().map(|bytes| native::Inbound::parse(bytes).unwrap()).collect();
        let [
            native::Inbound::NewOrder(stop),
            native::Inbound::NewOrder(all),
            native::Inbound::ReplaceOrder(kept),
            native::Inbound::ReplaceOrder(given),
            native::Inbound::MassQuote(quotes, entries),
            native::Inbound::OrderStateRequest(state),
            native::Inbound::DeadMan(timer),
        ] = asked.as_slice()
        else {
            panic!("{asked:?}")
        };
        assert_eq!((stop.user_ref_num.get(), stop.side, stop.quantity.get()), (3, b'S', 1 << 40));
        assert_eq!((stop.order_type, stop.price.get(), stop.stop_price.get()), (b'M', 0, 90));
        assert_eq!((stop.peg, stop.stp, stop.post_only, stop.customer_type), (b'L', b'*', b'U', b'U'));
        assert_eq!((stop.group_id.get(), stop.time_in_force, stop.display), (u16::MAX, b'0', b'Y'));
        assert_eq!((&all.symbol, all.user_ref_num.get(), all.price.get()), (b"AAPL    ", 4, 101));
        assert_eq!((all.side, all.quantity.get(), all.order_type), (b'B', 100, b'L'));
        assert_eq!((all.time_in_force, all.display, all.capacity), (b'6', b'N', b'P'));
        assert_eq!((all.trail.get(), all.max_floor.get(), all.random_reserves.get()), (3, 10, 2));
        assert_eq!((all.peg, all.peg_offset.get(), all.discretion_price.get()), (b'M', -4, 102));
        assert_eq!((all.oco_user_ref_num.get(), all.stp, &all.stp_group), (3, b'W', b"G1"));
        assert_eq!((all.min_qty.get(), all.post_only, all.group_id.get()), (5, b'P', 9));
        assert_eq!((all.expire_time.get(), &all.cl_ord_id), (60, b"mine          "));
        assert_eq!((kept.orig_user_ref_num.get(), kept.user_ref_num.get()), (4, 5));
        assert_eq!((kept.quantity.get(), kept.price.get(), kept.post_only), (1 << 33, 7, b'U'));
        assert_eq!(kept.max_floor.get(), native::UNCHANGED);
        assert_eq!(kept.random_reserves.get(), native::UNCHANGED);
        assert_eq!((given.orig_user_ref_num.get(), given.user_ref_num.get()), (5, 6));
        assert_eq!((given.time_in_force, given.post_only), (b'g', b'N'));
        assert_eq!((given.max_floor.get(), given.random_reserves.get()), (0, 1));
        assert_eq!((quotes.user_ref_num.get(), quotes.capacity, entries.len()), (7, b'A', 3));
        let entry = entries[2];
        assert_eq!((entry.bid_quantity.get(), entry.bid_price.get()), (100, 99));
        assert_eq!((entry.ask_quantity.get(), entry.ask_price.get()), (200, 101));
        assert_eq!((&entry.symbol, state.user_ref_num.get()), (b"AAPL    ", 3));
        assert_eq!(timer.timeout.get(), 5_000_000_000);
    }

    #[test]
    fn native_messages_are_heard_between_the_others() {
        let (mut venue, mut member) = (Venue::new(), member());
        let triggered = native::StopTriggered {
            timestamp: native::U64::new(5),
            order_reference: native::U64::new(77),
            price: native::I64::new(90),
            user_ref_num: native::U32::new(3),
            user_ref_idx: 0,
        };
        let mut bytes = [0; native::OUTBOUND_LEN_MAX];
        let len = triggered.encode(&mut bytes).unwrap();
        venue.tell(&rejected(1));
        venue.tell(&bytes[..len]);
        // Damaged, it is an error with its number, as OUCH's are.
        venue.tell(&bytes[..len - 1]);
        member.login(1);
        venue.exchange(&mut member, Nanos(1));
        assert!(matches!(member.next(), Ok(Some(Event::LoggedIn { .. }))));
        assert!(matches!(member.next(), Ok(Some(Event::Message { number: 1, .. }))));
        match member.next() {
            Ok(Some(Event::Native { number, message, bytes: heard })) => {
                assert_eq!((number, message), (2, native::Outbound::StopTriggered(&triggered)));
                assert_eq!(heard, &bytes[..len]);
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(member.next(), Err(Error::Message { number: 3, .. })));
        assert_eq!(member.next_number(), 4);
    }

    #[test]
    fn a_reconnect_resumes_after_the_last_message_heard_wherever_that_was() {
        let (mut venue, mut member) = (Venue::new(), member());
        for num in 1..=20 {
            venue.tell(&rejected(num));
        }
        let mut heard = Vec::new();
        for stop in [3, 3, 11, 20] {
            venue.disconnect(&mut member);
            member.login(1);
            venue.exchange(&mut member, Nanos(1));
            // The connection breaks after message `stop` was taken; what else had come is lost with it.
            while member.next_number() <= stop || heard.is_empty() {
                match member.next().unwrap() {
                    Some(Event::Message { number, .. }) => heard.push(number),
                    Some(_) => {}
                    None => break,
                }
            }
        }
        assert_eq!(heard, (1..=20).collect::<Vec<_>>());
        assert_eq!(venue.logins[0].session, None);
        let resumed: Vec<_> = venue.logins[1..].iter().map(|login| (login.session, login.sequence)).collect();
        assert_eq!(resumed, [(Some(SESSION), 4), (Some(SESSION), 4), (Some(SESSION), 12)]);
        assert_eq!(member.next_user_ref_num(), 21, "numbers heard as used are not used again");
    }

    #[test]
    fn an_account_query_moves_the_next_number_forward_and_never_back() {
        let (mut venue, mut member) = (Venue::new(), member());
        let told = |next: u32| ouch::AccountQueryResponse {
            message_type: Type::new(),
            timestamp: U64::new(0),
            next_user_ref_num: U32::new(next),
        };
        venue.tell(told(41).as_bytes());
        venue.tell(told(7).as_bytes());
        member.login(1);
        venue.exchange(&mut member, Nanos(1));
        hear(&mut member);
        assert_eq!(member.next_user_ref_num(), 41);
        let order = NewOrder::day(Side::Buy, 1, Symbol::default(), 1);
        assert_eq!(member.enter(&order, &OptionsBuf::EMPTY), Ok(41));
        member.enter_as(12, &order, &OptionsBuf::EMPTY).unwrap();
        assert_eq!(member.next_user_ref_num(), 42);
    }

    #[test]
    fn nothing_is_sent_and_no_number_used_without_a_session_or_without_room() {
        let mut member = member();
        let order = NewOrder::day(Side::Buy, 1, Symbol::default(), 1);
        assert_eq!(member.enter(&order, &OptionsBuf::EMPTY), Err(NotSent));
        assert_eq!(member.next_user_ref_num(), 1);
        member.login(1);
        Venue::new().exchange(&mut member, Nanos(1));
        hear(&mut member);
        let mut sent = 0;
        while member.enter(&order, &OptionsBuf::EMPTY).is_ok() {
            sent += 1;
        }
        assert_eq!(member.next_user_ref_num(), sent + 1);
        assert_eq!(member.session().output().len(), sent as usize * (3 + 47));
    }

    #[test]
    fn a_message_that_is_no_ouch_is_an_error_with_its_number() {
        let (mut venue, mut member) = (Venue::new(), member());
        venue.tell(b"?what");
        member.login(1);
        venue.exchange(&mut member, Nanos(1));
        assert!(matches!(member.next(), Ok(Some(Event::LoggedIn { .. }))));
        assert!(matches!(member.next(), Err(Error::Message { number: 1, .. })));
    }

    #[test]
    fn a_wrong_session_is_refused_and_credentials_that_do_not_fit_are_told_at_once() {
        let (mut venue, mut member) = (Venue::new(), member());
        member.login(9);
        venue.exchange(&mut member, Nanos(1));
        assert_eq!(member.next().unwrap(), Some(Event::Refused(Refusal::NoSession)));
        let username = Username::new("ALPHA").unwrap();
        let long = OrderEntry::new(&Config::default(), username, "longer than ten", Nanos(0));
        assert!(matches!(long, Err(Error::Credentials)));
    }

    #[test]
    fn heartbeats_go_out_after_a_second_and_silence_of_the_venue_ends_the_session() {
        let (mut venue, mut member) = (Venue::new(), member());
        member.login(1);
        venue.exchange(&mut member, Nanos(0));
        hear(&mut member);
        member.session().on_time(Nanos(999_999_999)).unwrap();
        assert!(member.session().output().is_empty());
        member.session().on_time(Nanos(1_000_000_000)).unwrap();
        assert_eq!(member.session().output(), ironbell_wire::soup::CLIENT_HEARTBEAT);
        assert_eq!(member.session().on_time(Nanos(15_000_000_000)), Err(Violation::IdleTimeout));
    }
}
