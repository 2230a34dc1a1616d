//! Stage 2, by instrument: what stage 1 admitted meets the books. Knows no accounts and no money.
//!
//! Members hear of this stage by events, stage 3 by [`Effect`]s. The books can be driven by
//! themselves, as the bench does: [`Matching::new`], [`Matching::apply`].
//!
//! ```text
//! apply ─ advance (auction.rs): unfinished work, due timers
//!       ─ the request: enter, replace, quote, cancel, modify, slice ─ run.rs: trades with the other side
//!       ─ wake (stops.rs): due stops trigger, pegs and discretion meet the other side
//! ```

use crate::{
    BookOrder,
    book::{Books, Order, Plane},
    curve::Curve,
    pegs::Pegged,
    phase::{Agenda, Trading},
    prorata::{SHARERS_MAX, Share},
    stops::View,
};
use alloc::vec::Vec;
use ironbell_types::{
    Accepted, CancelReason, Canceled, Display, Event, EventBody, FirmId, InstrumentId, InstrumentRules,
    MatchNumber, Modified, Nanos, OrderKey, OrderRef, OrderTerms, Phase, PortId, Price, Qty, Refreshed, Seq,
    Shown, Side, Stage, Stp, TimeInForce,
};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What one command can trade: some tens of milliseconds of work, which everybody waits for, and with room to spare
/// below the 2^20 effects that a command may have.
pub const TRADES_MAX: u32 = (1 << 16) - 2;

/// Orders one slice of a mass cancel takes off.
pub const SLICE_ORDERS: u32 = 1024;

/// An order that stage 1 admitted, and what stage 1 calls it.
#[derive(Clone, Copy, Debug)]
pub struct Incoming {
    /// The order; `booked` and `shown_qty` are decided here, and so is the price of one that slides.
    pub order: Accepted,
    /// Stage 1's name of it, given back in every [`Effect`].
    pub token: u32,
    /// A post-only order moves away from what it would trade with instead of being cancelled.
    pub slides: bool,
    /// What it asks for when it would trade with its own firm; never [`Stp::Port`].
    pub stp: Stp,
    /// What it has beyond a plain order, if anything.
    pub(crate) terms: Option<OrderTerms>,
    /// Nothing but price and time decides about it once it rests. What it asks for when it would trade
    /// with its own firm counts only on entry.
    is_plain: bool,
    /// It is plain, trades with its own firm, too, and with as little as there is.
    is_calm: bool,
    /// The order it is to be paired with.
    pub pair: Option<OrderRef>,
}

impl Incoming {
    /// An order as stage 1 admitted it.
    #[inline]
    #[must_use]
    pub fn new(
        order: Accepted,
        terms: &OrderTerms,
        token: u32,
        slides: bool,
        stp: Stp,
        pair: Option<OrderRef>,
    ) -> Self {
        let OrderTerms { market, stop, trail, max_floor, peg, discretion, expire, stp_group, .. } = *terms;
        let wide = stop.0 | discretion.0 | expire.0.cast_signed();
        let bytes = u8::from(market) | peg as u8 | stp_group[0] | stp_group[1];
        let for_cross = matches!(order.time_in_force, TimeInForce::AtOpen | TimeInForce::AtClose);
        let is_plain = wide == 0
            && trail | max_floor == 0
            && bytes == 0
            && order.display != Display::Hidden
            && pair.is_none()
            && !for_cross;
        let takes_any = order.time_in_force != TimeInForce::Fok && order.options.min_qty == 0;
        let is_calm = is_plain && stp == Stp::Off && takes_any;
        let terms = if terms.is_plain() { None } else { Some(*terms) };
        Self { order, token, slides, stp, terms, is_plain, is_calm, pair }
    }

    pub(crate) fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// All that it has beyond a plain order.
    pub(crate) fn terms(&self) -> OrderTerms {
        self.terms.unwrap_or_default()
    }
}

/// What stage 1 passes on.
#[derive(Clone, Copy, Debug)]
pub enum Request {
    /// A new order.
    Enter(Incoming),
    /// A new order in place of another; its quantity is `total` less what the chain has executed.
    Replace {
        /// What it replaces.
        orig: OrderRef,
        /// Quantity of the chain, executions included.
        total: Qty,
        /// What comes in.
        incoming: Incoming,
    },
    /// Shrinks an order to a total of its chain.
    Cancel {
        /// What it trades.
        instrument: InstrumentId,
        /// The order.
        order_ref: OrderRef,
        /// Quantity of the chain, executions included.
        total: Qty,
    },
    /// Changes an order's side and shrinks it.
    Modify {
        /// What it trades.
        instrument: InstrumentId,
        /// The order.
        order_ref: OrderRef,
        /// Its side from now on, already found allowed.
        side: Side,
        /// Quantity of the chain, executions included.
        total: Qty,
    },
    /// Two orders in place of two; bid, then ask.
    Quote {
        /// What is quoted.
        instrument: InstrumentId,
        /// The bid's name, which a refusal says.
        key: OrderKey,
        /// What is left of the earlier quote.
        old: [Option<OrderRef>; 2],
        /// What comes in.
        new: [Option<Incoming>; 2],
    },
    /// Takes off orders on one instrument, [`SLICE_ORDERS`] at most.
    Slice(Slice),
    /// Time passes: timers fire, and unfinished work goes on.
    Tick,
    /// A day begins.
    OpenDay {
        /// Local midnight that schedules count from.
        midnight: Nanos,
    },
    /// The day ends.
    CloseDay,
    /// The next instrument has a book from now on.
    OpenBook {
        /// A day is open, so that it begins in Continuous.
        day_open: bool,
    },
    /// How an instrument trades from now on.
    SetRules {
        /// Which instrument.
        instrument: InstrumentId,
        /// How.
        rules: InstrumentRules,
    },
    /// An entry of an instrument's schedule.
    SetSchedule {
        /// Which instrument.
        instrument: InstrumentId,
        /// Which entry.
        slot: u8,
        /// Seconds after midnight.
        at_s: u32,
        /// What begins then; `None` clears the entry.
        phase: Option<Phase>,
    },
    /// A phase begins now.
    SetPhase {
        /// Which instrument; [`InstrumentId::NONE`] is all of them.
        instrument: InstrumentId,
        /// What begins.
        phase: Phase,
        /// ITCH trading action reason.
        reason: [u8; 4],
    },
    /// Every instrument halts.
    MarketWideHalt {
        /// 1, 2 or 3.
        level: u8,
    },
    /// An instrument is taken off for good.
    Delist {
        /// Which.
        instrument: InstrumentId,
    },
    /// An instrument's prices have a new tick: those that it remembers mean nothing any more.
    ForgetPrices {
        /// Which.
        instrument: InstrumentId,
    },
    /// A trade was undone: the day's figures shrink.
    Busted {
        /// What was traded.
        instrument: InstrumentId,
        /// At which price.
        price: Price,
        /// How much.
        qty: Qty,
        /// The trade.
        match_number: MatchNumber,
        /// OUCH broken trade reason.
        reason: u8,
    },
}

impl Request {
    /// The one instrument it is about; `None` when it can be about several.
    pub(crate) fn instrument(&self) -> Option<InstrumentId> {
        match *self {
            Self::Enter(ref incoming) | Self::Replace { ref incoming, .. } => Some(incoming.order.instrument),
            Self::Cancel { instrument, .. }
            | Self::Modify { instrument, .. }
            | Self::Quote { instrument, .. }
            | Self::SetRules { instrument, .. }
            | Self::SetSchedule { instrument, .. }
            | Self::Delist { instrument }
            | Self::ForgetPrices { instrument }
            | Self::Busted { instrument, .. } => Some(instrument),
            Self::SetPhase { instrument, .. } => Some(instrument).filter(|id| *id != InstrumentId::NONE),
            Self::Slice(ref slice) => Some(slice.instrument),
            Self::Tick | Self::OpenDay { .. } | Self::CloseDay | Self::OpenBook { .. } => None,
            Self::MarketWideHalt { .. } => None,
        }
    }
}

/// One slice of a mass cancel.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    /// The mass cancel; later orders are not its business.
    pub cause: Seq,
    /// On which instrument.
    pub instrument: InstrumentId,
    /// Whose orders; `None` is every firm's.
    pub firm: Option<FirmId>,
    /// Of which port; `None` is every port.
    pub port: Option<PortId>,
    /// `None` is every order, 0 those without a group.
    pub group: Option<u16>,
    /// Only these; all sells are not one side.
    pub side: Option<Side>,
    /// Only orders that do not outlast the day.
    pub day_only: bool,
    /// What is said of each.
    pub reason: CancelReason,
}

/// What stage 3 must know; `token` is [`Incoming::token`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A trade, for both its orders.
    Fill(Fill),
    /// This is what now stands of an order; 0 when it is done.
    Stands {
        /// The order.
        token: u32,
        /// What is left.
        leaves_qty: Qty,
        /// Its side.
        side: Side,
    },
    /// An order slid to another price.
    Slid {
        /// The order.
        token: u32,
        /// Its limit from now on.
        price: Price,
    },
    /// A stop has triggered: it is none any more.
    Triggered {
        /// The order.
        token: u32,
    },
    /// The order is gone because another took its place, which must be heard before that one's fills.
    Gone {
        /// The order.
        token: u32,
        /// Who took its place, and goes on with what its chain has executed.
        by: u32,
    },
    /// A replacement that was admitted ahead of what came before it, which left no order to replace: its number is
    /// not consumed.
    Lapsed {
        /// The replacement.
        token: u32,
    },
    /// A slice is done.
    Sliced {
        /// The mass cancel.
        cause: Seq,
        /// The instrument has more of such orders.
        more: bool,
    },
    /// A trade is undone on the books' side.
    Busted {
        /// The trade.
        match_number: MatchNumber,
        /// OUCH broken trade reason.
        reason: u8,
    },
}

/// A trade as stage 3 must know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Its number.
    pub match_number: MatchNumber,
    /// What was traded.
    pub instrument: InstrumentId,
    /// At which price.
    pub price: Price,
    /// How much.
    pub qty: Qty,
    /// Whether the aggressor bought.
    pub aggressor_buys: bool,
    /// Who rested.
    pub resting: u32,
    /// Who came in.
    pub aggressor: u32,
    /// Neither came in: it is of a cross.
    pub cross: bool,
}

impl Effect {
    /// The orders that it is about.
    pub(crate) fn tokens(&self) -> [Option<u32>; 2] {
        match *self {
            Self::Fill(Fill { resting, aggressor, .. }) => [Some(resting), Some(aggressor)],
            Self::Stands { token, .. }
            | Self::Slid { token, .. }
            | Self::Triggered { token }
            | Self::Gone { token, .. }
            | Self::Lapsed { token } => [Some(token), None],
            Self::Sliced { .. } | Self::Busted { .. } => [None; 2],
        }
    }

    /// How many events stage 3 says of it.
    pub(crate) fn steps(&self) -> u32 {
        if matches!(self, Self::Fill(_)) { 2 } else { 0 }
    }
}

/// Says events of one stage of one command, with their steps.
pub struct Voice<'a> {
    out: &'a mut Vec<Event>,
    seq: Seq,
    time: Nanos,
    stage: Stage,
    step: u32,
}

impl<'a> Voice<'a> {
    /// From step 0.
    pub fn new(out: &'a mut Vec<Event>, seq: Seq, time: Nanos, stage: Stage) -> Self {
        Self { out, seq, time, stage, step: 0 }
    }

    /// The command that speaks.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// The command's time.
    #[must_use]
    pub fn time(&self) -> Nanos {
        self.time
    }

    /// What is said next has this step.
    pub(crate) fn at(&mut self, step: u32) {
        self.step = step;
    }

    /// Says one.
    #[inline(always)]
    pub fn say(&mut self, body: EventBody) {
        let Self { seq, time, stage, step, .. } = *self;
        self.out.push(Event { seq, time, stage, step, body });
        self.step += 1;
    }

    /// Says one that is made where it goes, instead of being made and copied there.
    #[inline(always)]
    pub(crate) fn say_with(&mut self, body: impl FnOnce() -> EventBody) {
        let Self { seq, time, stage, step, .. } = *self;
        if self.out.len() == self.out.capacity() {
            grow(self.out);
        }
        self.out.push(Event { seq, time, stage, step, body: body() });
        self.step += 1;
    }
}

#[cold]
#[inline(never)]
fn grow(events: &mut Vec<Event>) {
    events.reserve(1);
}

/// What a command has used of what it may do; it goes along from instrument to instrument.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    /// Match numbers given.
    numbers: u32,
    /// Self-trades prevented, and what counts as one.
    prevented: u32,
    /// Parts of icebergs shown.
    refreshed: u32,
    /// Good-till-time orders taken off.
    pub(crate) expired: u32,
}

/// The books of the instruments homed here.
#[derive(Clone)]
pub struct Matching {
    pub(crate) books: Books,
    /// By instrument.
    pub(crate) trading: Vec<Trading>,
    pub(crate) agenda: Agenda,
    /// By instrument, until when it is calm: all on it is plain, plain orders trade as they come, by price
    /// and time, and nothing is due before. The beginning of time when it is not.
    pub(crate) calm_until: Vec<Nanos>,
    /// By instrument, how it looked when nothing was due.
    pub(crate) at_rest: Vec<Option<View>>,
    /// The venue's key, for the sizes of icebergs' parts.
    key: u64,
    /// [`TRADES_MAX`]; less in a test of it.
    pub(crate) trades_max: u32,
    /// Of the present command.
    pub(crate) spent: Spent,
    /// Of the present run: the other side's pegs, best first.
    pub(crate) pegs: Vec<Pegged>,
    /// Of the present cross or indicative price.
    pub(crate) curve: Curve,
    /// Empty between uses.
    pub(crate) shares: Vec<Share>,
    /// Empty between uses.
    slice: Vec<u32>,
}

impl Matching {
    /// Room for `orders` open orders before anything grows; `key` scatters the index and chooses the
    /// sizes of icebergs' parts.
    #[must_use]
    pub fn new(orders: usize, key: u64) -> Self {
        Self {
            books: Books::new(orders, key),
            trading: Vec::new(),
            agenda: Agenda::new(),
            calm_until: Vec::new(),
            at_rest: Vec::new(),
            key,
            trades_max: TRADES_MAX,
            spent: Spent::default(),
            pegs: Vec::with_capacity(crate::book::SEEKERS_MAX as usize),
            curve: Curve::new(),
            shares: Vec::with_capacity(SHARERS_MAX),
            slice: Vec::with_capacity(SLICE_ORDERS as usize + 1),
        }
    }

    pub(crate) fn open_book(&mut self, day_open: bool) {
        self.books.open();
        let phase = if day_open { Phase::Continuous } else { Phase::Closed };
        let instrument = InstrumentId(self.books.len() as u32);
        self.trading.push(Trading::new(instrument, phase));
        self.agenda.grow(self.trading.len());
        self.calm_until.push(Nanos(0));
        self.at_rest.push(None);
        self.note_due(instrument);
    }

    /// Open orders of all instruments, waiting ones too.
    #[must_use]
    pub fn orders(&self) -> usize {
        self.books.orders()
    }

    /// A book's orders: displayed, then hidden, then pegs, each bids best first and in line, then asks.
    /// Empty for an unknown instrument.
    pub fn book(&self, instrument: InstrumentId) -> impl Iterator<Item = BookOrder> + '_ {
        self.books.iter(instrument)
    }

    /// Orders off the book: stops (buys lowest stop first, then sells highest first), trailing stops as
    /// they came in, at-open, then at-close orders (bids in the order of their cross, then asks).
    pub fn waiting(&self, instrument: InstrumentId) -> impl Iterator<Item = BookOrder> + '_ {
        self.books.iter_waiting(instrument)
    }

    /// When a tick has something to do: the earliest timer, or at once where work is unfinished.
    #[must_use]
    pub fn next_due(&self) -> Option<Nanos> {
        self.agenda.next_due()
    }

    /// What an instrument does now; `None` for an unknown one.
    #[must_use]
    pub fn phase(&self, instrument: InstrumentId) -> Option<Phase> {
        Some(self.trading.get(instrument.0.checked_sub(1)? as usize)?.phase)
    }

    /// The day's last trade price of an instrument.
    #[must_use]
    pub fn last_price(&self, instrument: InstrumentId) -> Option<Price> {
        let trading = self.trading.get(instrument.0.checked_sub(1)? as usize)?;
        trading.last_price().map(said)
    }

    #[inline(always)]
    pub(crate) fn trading(&self, instrument: InstrumentId) -> &Trading {
        &self.trading[instrument.0 as usize - 1]
    }

    #[inline(always)]
    pub(crate) fn trading_mut(&mut self, instrument: InstrumentId) -> &mut Trading {
        &mut self.trading[instrument.0 as usize - 1]
    }

    /// Does one request: says its events and appends what stage 3 must know. A request for an order
    /// that is not open does nothing. Instruments must be known, quantities above 0, prices above 0 but
    /// for market orders, order references new and rising.
    pub fn apply(&mut self, request: &Request, voice: &mut Voice<'_>, effects: &mut Vec<Effect>) {
        match *request {
            Request::Enter(ref incoming) => self.enter_first(incoming, voice, effects),
            Request::Replace { orig, total, ref incoming } => {
                self.replace(orig, total, incoming, voice, effects);
            }
            Request::Cancel { instrument, order_ref, total } => {
                self.cancel_one(instrument, order_ref, total, voice, effects);
            }
            _ => self.do_rare(request, voice, effects),
        }
    }

    /// A new order. Each request has a function of its own, so that it saves no more registers than it needs.
    #[inline(never)]
    fn enter_first(&mut self, incoming: &Incoming, voice: &mut Voice<'_>, effects: &mut Vec<Effect>) {
        let instrument = incoming.order.instrument;
        if self.is_calm_for(incoming, voice.time()) {
            self.enter_calm(&incoming.order, 0, incoming, None, voice, effects);
            return;
        }
        self.spent = Spent::default();
        let quiet = self.prepare(instrument, voice, effects);
        self.enter_new(incoming, voice, effects);
        self.finish(instrument, quiet, voice, effects);
    }

    #[inline(never)]
    fn cancel_one(
        &mut self,
        instrument: InstrumentId,
        order_ref: OrderRef,
        total: Qty,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        if !self.is_calm(instrument, voice.time()) {
            self.spent = Spent::default();
            return self.take_off(order_ref, total, voice, effects);
        }
        let Some(found) = self.books.locate(order_ref) else { return };
        let order = self.books.order(found.slot);
        let leaves = total.0.saturating_sub(order.executed);
        if leaves >= order.leaves {
            return;
        }
        let gone = order.leaves - leaves;
        voice.say_with(|| {
            EventBody::Canceled(Canceled {
                key: order.key,
                order_ref,
                instrument,
                qty: Qty(gone),
                leaves_qty: Qty(leaves),
                reason: CancelReason::User,
                shown: order.shown_whole(),
                shown_leaves: Qty(leaves),
            })
        });
        effects.push(Effect::Stands { token: order.token, leaves_qty: Qty(leaves), side: order.side });
        if leaves == 0 {
            self.books.remove_plain(instrument, found);
        } else {
            self.books.reduce_plain(found.slot, gone);
        }
    }

    /// Whether an instrument is calm: what most orders meet with.
    #[inline(always)]
    fn is_calm(&self, instrument: InstrumentId, now: Nanos) -> bool {
        now < self.calm_until[instrument.0 as usize - 1]
    }

    /// Whether it is, and so is who comes in: nothing but price and time decides.
    #[inline(always)]
    pub(crate) fn is_calm_for(&self, incoming: &Incoming, now: Nanos) -> bool {
        self.is_calm(incoming.order.instrument, now) && incoming.is_calm
    }

    /// Shrinks an open order to a total of its chain.
    #[inline(always)]
    pub(crate) fn take_off(
        &mut self,
        order_ref: OrderRef,
        total: Qty,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let Some((instrument, slot, quiet)) = self.prepare_order(order_ref, voice, effects) else { return };
        if let Some(slot) = slot {
            let order = self.books.order(slot);
            let leaves = total.0.saturating_sub(order.executed);
            if leaves < order.leaves {
                self.cancel(slot, leaves, CancelReason::User, voice, effects);
            }
        }
        self.finish(instrument, quiet, voice, effects);
    }

    #[inline(never)]
    fn do_rare(&mut self, request: &Request, voice: &mut Voice<'_>, effects: &mut Vec<Effect>) {
        self.spent = Spent::default();
        match *request {
            Request::Enter(_) | Request::Replace { .. } | Request::Cancel { .. } => unreachable!(),
            Request::Modify { order_ref, side, total, .. } => {
                let Some((instrument, slot, quiet)) = self.prepare_order(order_ref, voice, effects) else {
                    return;
                };
                if let Some(slot) = slot {
                    self.modify(slot, side, total, voice, effects);
                }
                self.finish(instrument, quiet, voice, effects);
            }
            Request::Quote { instrument, key, ref old, ref new } => {
                let quiet = self.quote(instrument, key, old, new, voice, effects);
                self.finish(instrument, quiet, voice, effects);
            }
            Request::Slice(ref slice) => {
                self.prepare(slice.instrument, voice, effects);
                let more = self.slice(slice, voice, effects);
                self.finish(slice.instrument, false, voice, effects);
                // The last word: trades that the cancels set off are settled before it.
                effects.push(Effect::Sliced { cause: slice.cause, more });
            }
            Request::Tick
            | Request::OpenDay { .. }
            | Request::CloseDay
            | Request::SetPhase { .. }
            | Request::MarketWideHalt { .. } => {
                let mut from = 0;
                while let Some(instrument) = self.next_concerned(request, from, voice.time()) {
                    self.apply_each(request, instrument, voice, effects);
                    from = instrument.0 as usize;
                }
            }
            Request::OpenBook { day_open } => self.open_book(day_open),
            Request::SetRules { instrument, ref rules } => self.set_rules(instrument, rules, voice, effects),
            Request::SetSchedule { instrument, slot, at_s, phase } => {
                self.trading_mut(instrument).set_schedule(slot, at_s, phase);
            }
            Request::Delist { instrument } => self.delist(instrument, voice, effects),
            Request::ForgetPrices { instrument } => self.trading_mut(instrument).forget_prices(),
            Request::Busted { instrument, price, qty, match_number, reason } => {
                self.trading_mut(instrument).note_bust(price.0.cast_unsigned(), qty.0);
                effects.push(Effect::Busted { match_number, reason });
            }
        }
    }

    /// Before a request of an instrument: unfinished work goes on and due timers fire. Returns whether
    /// nothing but plain orders is on it.
    #[inline(always)]
    pub(crate) fn prepare(
        &mut self,
        instrument: InstrumentId,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) -> bool {
        if self.agenda.is_due(instrument.0 as usize - 1, voice.time()) {
            self.advance(instrument, voice, effects);
            return false;
        }
        self.is_quiet(instrument)
    }

    /// Before a request of an open order, likewise; the order may be gone afterwards.
    #[inline(always)]
    fn prepare_order(
        &mut self,
        order_ref: OrderRef,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) -> Option<(InstrumentId, Option<u32>, bool)> {
        let slot = self.books.find(order_ref)?;
        let instrument = self.books.instrument(slot);
        if self.agenda.is_due(instrument.0 as usize - 1, voice.time()) {
            self.advance(instrument, voice, effects);
            return Some((instrument, self.books.find(order_ref), false));
        }
        Some((instrument, Some(slot), self.is_quiet(instrument)))
    }

    /// After it: the instrument wakes, and its next timer is noted. Where all is plain, before and
    /// after, there is nothing to wake and no timer can have changed.
    #[inline(always)]
    pub(crate) fn finish(
        &mut self,
        instrument: InstrumentId,
        quiet: bool,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        if !(quiet && self.is_quiet(instrument)) {
            self.wake(instrument, voice, effects);
            self.note_due(instrument);
        }
    }

    #[inline(always)]
    pub(crate) fn is_quiet(&self, instrument: InstrumentId) -> bool {
        self.books.is_plain(instrument) && self.trading(instrument).rules.band_bps == 0
    }

    /// Fewer trades than [`TRADES_MAX`] a command.
    #[cfg(test)]
    pub(crate) fn limit_trades(&mut self, trades_max: u32) {
        self.trades_max = trades_max;
    }

    /// Trades, or what counts as one, that the present command may still make.
    #[inline(always)]
    pub(crate) fn trades_left(&self) -> u32 {
        self.trades_max.saturating_sub(self.spent.numbers + self.spent.prevented)
    }

    /// The number of the command's next trade.
    #[inline(always)]
    pub(crate) fn next_match_number(&mut self, voice: &Voice<'_>) -> MatchNumber {
        let number = MatchNumber::new(voice.seq(), self.spent.numbers);
        self.spent.numbers += 1;
        number
    }

    /// Something that counts as a trade of the command without being one: a prevented self-trade, a stop that triggers.
    pub(crate) fn spend_trade(&mut self) {
        self.spent.prevented += 1;
    }

    /// Shrinks an order on the book to `leaves`, 0 to take it off.
    pub(crate) fn cancel(
        &mut self,
        slot: u32,
        leaves: u64,
        reason: CancelReason,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let order = *self.books.order(slot);
        let instrument = self.books.instrument(slot);
        let shown = self.books.shown(slot);
        self.books.reduce(slot, order.leaves - leaves);
        let shown_leaves = if leaves == 0 { Qty::ZERO } else { self.books.shown(slot).qty };
        voice.say_with(|| {
            EventBody::Canceled(Canceled {
                key: order.key,
                order_ref: order.order_ref,
                instrument,
                qty: Qty(order.leaves - leaves),
                leaves_qty: Qty(leaves),
                reason,
                shown,
                shown_leaves,
            })
        });
        effects.push(Effect::Stands { token: order.token, leaves_qty: Qty(leaves), side: order.side });
    }

    fn modify(
        &mut self,
        slot: u32,
        side: Side,
        total: Qty,
        voice: &mut Voice<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let instrument = self.books.instrument(slot);
        let shown = self.books.shown(slot);
        let order = self.books.order_mut(slot);
        assert!(order.side.is_buy() == side.is_buy());
        let leaves = total.0.saturating_sub(order.executed);
        if leaves > order.leaves || (leaves == order.leaves && side == order.side) {
            return;
        }
        if leaves == 0 {
            return self.cancel(slot, 0, CancelReason::User, voice, effects);
        }
        order.side = side;
        let Order { key, order_ref, token, leaves: before, .. } = *order;
        self.books.reduce(slot, before - leaves);
        voice.say(EventBody::Modified(Modified {
            key,
            order_ref,
            instrument,
            side,
            qty: Qty(before - leaves),
            leaves_qty: Qty(leaves),
            shown,
            shown_leaves: self.books.shown(slot).qty,
        }));
        effects.push(Effect::Stands { token, leaves_qty: Qty(leaves), side });
    }

    /// Takes off the orders that a slice is about; returns whether there are more of them.
    fn slice(&mut self, slice: &Slice, voice: &mut Voice<'_>, effects: &mut Vec<Effect>) -> bool {
        let mut slots = core::mem::take(&mut self.slice);
        let slots_of = self.books.slots(slice.instrument);
        let concerned = slots_of.filter(|slot| concerns(slice, self.books.order(*slot)));
        slots.extend(concerned.take(SLICE_ORDERS as usize + 1));
        let more = slots.len() > SLICE_ORDERS as usize;
        for slot in slots.drain(..).take(SLICE_ORDERS as usize) {
            self.cancel(slot, 0, slice.reason, voice, effects);
        }
        self.slice = slots;
        more
    }

    /// Shows the next part of an iceberg order, at the end of its line, under a new number. Its size is
    /// drawn from the order and what it has executed: nobody can foresee it without the venue's key.
    pub(crate) fn refresh(&mut self, slot: u32, voice: &mut Voice<'_>) {
        let order = *self.books.order(slot);
        let OrderTerms { max_floor, random_reserves, .. } =
            self.books.extra(slot).expect("an iceberg order is special").terms;
        let mut part = u64::from(max_floor);
        if random_reserves != 0 {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&order.order_ref.0.to_le_bytes());
            bytes[8..].copy_from_slice(&order.executed.to_le_bytes());
            let span = u64::from(random_reserves);
            part += xxh3_64_with_seed(&bytes, self.key) % (2 * span + 1);
            part -= span;
        }
        // It shows between the order's own number, of step 0 or 1, and the last step: a command refreshes
        // no more often than it trades.
        let number = OrderRef::new(voice.seq(), 2 + self.spent.refreshed);
        self.spent.refreshed += 1;
        let shown = Shown { order_ref: number, qty: Qty(part.min(order.leaves)) };
        self.books.show_next(slot, shown);
        voice.say(EventBody::Refreshed(Refreshed {
            key: order.key,
            order_ref: order.order_ref,
            firm: order.firm,
            instrument: self.books.instrument(slot),
            side: order.side,
            price: said(order.price),
            display: order.display(),
            shown,
            leaves_qty: Qty(order.leaves),
        }));
    }

    /// For tests: panics when a link or a sum is wrong, a book is crossed while orders trade as they
    /// come, or something is left to do.
    pub fn check_invariants(&self) {
        self.books.check_invariants();
        self.check_agenda();
        for trading in self.trading.iter().filter(|trading| trading.is_continuous() && !trading.is_awake) {
            let instrument = trading.instrument();
            let best = |plane, buys| self.books.best(instrument, plane, buys);
            for bids in [Plane::Lit, Plane::Hidden] {
                for asks in [Plane::Lit, Plane::Hidden] {
                    if let (Some(bid), Some(ask)) = (best(bids, true), best(asks, false)) {
                        assert!(bid < ask, "book {instrument} is crossed: {bid} to {ask}");
                    }
                }
            }
            assert!(self.next_meeting(instrument).is_none(), "an order of {instrument} meets the other side");
            for slot in
                [true, false].into_iter().flat_map(|buys| self.books.line(instrument, Plane::Lit, buys))
            {
                assert!(!self.books.is_used_up(slot), "a displayed order of {instrument} shows nothing");
            }
        }
    }
}

/// A price as it is said.
pub(crate) fn said(price: u64) -> Price {
    Price(price.cast_signed())
}

fn concerns(slice: &Slice, order: &Order) -> bool {
    order.order_ref < OrderRef::new(slice.cause, 0)
        && slice.firm.is_none_or(|firm| firm == order.firm)
        && slice.port.is_none_or(|port| port == order.key.port())
        && slice.group.is_none_or(|group| group == order.group)
        && slice.side.is_none_or(|side| side == order.side)
        && !(slice.day_only && order.outlasts_day())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alone::{Alone, ONE, all_orders};
    use alloc::vec::Vec;
    use ironbell_types::Algorithm;

    fn with_trades_max(trades_max: u32) -> Alone {
        let mut desk = Alone::new();
        desk.matching.limit_trades(trades_max);
        desk
    }

    /// A day order that would still trade when its command may make no more trades cannot rest, or
    /// the book would be crossed.
    #[test]
    fn one_command_trades_no_more_than_its_effects_allow() {
        let mut desk = with_trades_max(3);
        desk.enter_all(&["sell 2 @ 101", "sell 2 @ 101", "sell 2 @ 101", "sell 2 @ 102", "sell 2 @ 102"]);
        assert_eq!(desk.enter("buy 8 @ 102 fok"), ["6 accepted", "6 canceled I"]);
        assert_eq!(desk.enter("buy 6 @ 102 fok").len(), 4);
        desk.enter_all(&["sell 2 @ 102", "sell 2 @ 102"]);
        let said = desk.enter("buy 9 @ 102");
        let trades = ["2@102: 4, 10 leaves 7", "2@102: 5, 10 leaves 5", "2@102: 8, 10 leaves 3"];
        assert_eq!(said[..1], ["10 accepted"]);
        assert_eq!(said[1..4], trades);
        assert_eq!(said[4..], ["10 canceled I"]);
        assert_eq!(desk.draw(), " | 9:2@102");
    }

    /// What is left to do when a command's trades are used up goes on with the next tick.
    #[test]
    fn waking_goes_on_with_the_next_tick() {
        let mut desk = with_trades_max(2);
        desk.enter_all(&["buy 1 @ 100", "sell 3 @ 105", "buy 2 @ 105 stop 100"]);
        assert_eq!(desk.enter("sell 1 @ 100"), ["4 accepted", "1@100: 1, 4"]);
        assert_eq!(desk.matching.next_due(), Some(Nanos(0)));
        assert_eq!(desk.tick(0), ["3 triggered at 100", "2@105: 2 leaves 1, 3"]);
        assert_eq!(desk.matching.next_due(), None);
        assert_eq!(desk.draw(), " | 2:1@105");
    }

    #[test]
    fn books_work_over_all_of_the_price_range() {
        let mut desk = Alone::new();
        desk.enter_all(&[
            "buy 1 @ 1",
            "sell 1 @ 9223372036854775807",
            "buy 1 @ 64",
            "sell 1 @ 1099511627776",
        ]);
        desk.enter("buy 1 @ 63");
        assert_eq!(desk.draw(), "3:1@64 5:1@63 1:1@1 | 4:1@1099511627776 2:1@9223372036854775807");
        let said = desk.enter("buy 5 @ 9223372036854775807 ioc");
        assert_eq!(said.len(), 4);
        assert_eq!(said[3], "6 canceled I");
        desk.enter("sell 9 @ 1 ioc");
        assert_eq!(desk.draw(), " | ");
    }

    #[test]
    fn what_names_no_open_order_does_nothing() {
        let mut desk = Alone::new();
        desk.enter("buy 5 @ 100");
        let gone = OrderRef::new(Seq(77), 0);
        assert!(desk.cancel(77, 0).is_empty());
        assert!(
            desk.ask(&Request::Modify { instrument: ONE, order_ref: gone, side: Side::Buy, total: Qty(1) })
                .is_empty()
        );
        assert!(desk.replace(77, "buy 5 @ 100").is_empty());
        assert_eq!(desk.effects, [Effect::Lapsed { token: 4 }]);
        assert_eq!(desk.draw(), "1:5@100 | ");
    }

    #[test]
    fn effects_tell_stage_three_all_it_needs() {
        let mut desk = Alone::new();
        desk.enter("sell 5 @ 100");
        assert!(desk.effects.is_empty(), "a booked order stands as it was admitted");
        desk.enter("buy 7 @ 100");
        let fill = Effect::Fill(Fill {
            match_number: MatchNumber::new(Seq(2), 0),
            instrument: ONE,
            price: Price(100),
            qty: Qty(5),
            aggressor_buys: true,
            resting: 1,
            aggressor: 2,
            cross: false,
        });
        assert_eq!(desk.effects, [fill, Effect::Stands { token: 2, leaves_qty: Qty(2), side: Side::Buy }]);
        assert_eq!(desk.replace(2, "buy 6 @ 99"), ["3 replaces 2, booked"]);
        let stands = Effect::Stands { token: 3, leaves_qty: Qty(1), side: Side::Buy };
        assert_eq!(desk.effects, [Effect::Gone { token: 2, by: 3 }, stands]);
        assert_eq!(desk.draw(), "3:1@99 | ");
    }

    #[test]
    fn a_slice_goes_by_plane_side_and_line_and_stops_at_its_cause() {
        let mut desk = Alone::new();
        desk.enter_all(&[
            "sell 1 @ 105 at-close",
            "sell 1 @ 90 stop 90",
            "buy 1 @ 120 trail 3",
            "buy 1 @ 120 stop 110",
            "buy 1 @ 120 stop 108",
            "buy 1 @ 100 primary 0",
            "sell 1 @ 103 hidden",
            "sell 1 @ 102",
            "buy 1 @ 98 gtc",
            "buy 1 @ 99",
        ]);
        let cause = desk.seq + 1;
        desk.enter("buy 1 @ 97");
        let keys = |said: Vec<alloc::string::String>| {
            let key = |line: &alloc::string::String| line.split(' ').next().unwrap().parse::<u64>().unwrap();
            said.iter().map(key).collect::<Vec<_>>()
        };
        let mut twin = Alone::new();
        twin.matching = desk.matching.clone();
        let said = desk.slice(all_orders(cause));
        assert_eq!(keys(said), [10, 9, 8, 7, 6, 5, 4, 2, 3, 1]);
        assert_eq!(desk.draw(), "11:1@97 | ");
        let day = Slice { day_only: true, side: Some(Side::Buy), ..all_orders(cause) };
        let mut out = Vec::new();
        let mut voice = Voice::new(&mut out, Seq(20), Nanos(0), Stage::Matching);
        twin.matching.apply(&Request::Slice(day), &mut voice, &mut twin.effects);
        let said = crate::alone::told(&out);
        assert_eq!(keys(said), [10, 6, 5, 4, 3]);
    }

    #[test]
    fn good_till_time_orders_end_oldest_first_of_equal_times() {
        let mut desk = Alone::new();
        desk.enter_all(&["buy 1 @ 90 until 300", "buy 1 @ 91 until 200", "sell 1 @ 110 until 300"]);
        desk.enter_all(&["buy 1 @ 92 until 200 hidden", "buy 1 @ 93 until 100"]);
        assert_eq!(desk.matching.next_due(), Some(Nanos(100)));
        assert_eq!(desk.cancel(5, 0), ["5 canceled U"]);
        assert_eq!(desk.tick(199), [""; 0]);
        assert_eq!(desk.tick(300), ["2 canceled T", "4 canceled T", "1 canceled T", "3 canceled T"]);
        assert_eq!(desk.matching.next_due(), None);
    }

    /// A timer of the very command may take what it names.
    #[test]
    fn timers_fire_before_a_command() {
        let mut desk = Alone::new();
        desk.enter_all(&["buy 5 @ 90 until 10", "buy 5 @ 91 until 20"]);
        desk.time = 10;
        assert_eq!(desk.cancel(1, 2), ["1 canceled T"]);
        desk.time = 20;
        assert_eq!(desk.replace(2, "buy 5 @ 92"), ["2 canceled T"]);
        assert_eq!(desk.draw(), " | ");
    }

    /// Every kind of order, rule and request at random: what stage 3 knows and what the books have agree
    /// after each, nothing is crossed, and two runs say the same.
    #[test]
    fn random_requests_keep_every_invariant() {
        for seed in 0..24 {
            let mut desk = Alone::new();
            let mut twin = Alone::new();
            let mut rng = crate::testing::Rng::new(seed);
            desk.matching.trades_max = if seed % 3 == 0 { 5 } else { TRADES_MAX };
            twin.matching.trades_max = desk.matching.trades_max;
            for step in 0..1_500 {
                let lately = desk.seq.saturating_sub(rng.below(40));
                let line = random_line(&mut rng, lately, desk.time);
                let choice = rng.below(100);
                for desk in [&mut desk, &mut twin] {
                    desk.seq += 1;
                    desk.time += 10 * u64::from(choice.is_multiple_of(7));
                }
                let order_ref = OrderRef::new(Seq(lately), 0);
                let request = match choice {
                    0..60 => Request::Enter(desk.incoming(&line)),
                    60..72 => random_replace(&desk, &line, order_ref),
                    72..84 => Request::Cancel { instrument: ONE, order_ref, total: Qty(rng.below(12)) },
                    84..88 => random_modify(&desk, order_ref, rng.below(12)),
                    88..92 => Request::Tick,
                    92 | 93 => Request::Slice(Slice {
                        firm: Some(FirmId(1 + rng.below(2) as u32)),
                        day_only: rng.below(2) == 0,
                        ..all_orders(desk.seq)
                    }),
                    94 => random_rules(&mut rng, &desk),
                    _ => random_phase(&mut rng),
                };
                let events = desk.events(&request);
                assert_eq!(events, twin.events(&request), "seed {seed} step {step}: {request:?}");
            }
        }
    }

    fn random_line(rng: &mut crate::testing::Rng, lately: u64, time: u64) -> alloc::string::String {
        use alloc::format;
        let side = if rng.below(2) == 0 { "buy" } else { "sell" };
        let (qty, price, other) = (1 + rng.below(12), 95 + rng.below(11), 95 + rng.below(11));
        let terms = match rng.below(26) {
            0 => format!("@ {price} ioc"),
            1 => format!("@ {price} fok"),
            2 => format!("@ {price} ioc min {}", 1 + rng.below(qty)),
            3 => format!("@ {price} post"),
            4 => format!("@ {price} post slides"),
            5 => format!("@ {price} hidden"),
            6 => format!("@ {price} floor {}", 1 + rng.below(4)),
            7 => format!("@ {price} floor {} random {}", 3 + rng.below(4), 1 + rng.below(2)),
            8 => format!("@ {price} primary -{}", rng.below(3)),
            9 => format!("@ {price} market-peg -{}", 1 + rng.below(3)),
            10 => format!("@ {price} mid -{}", rng.below(2)),
            11 | 12 => {
                let further = if side == "buy" { price + 1 + rng.below(4) } else { price - 1 - rng.below(4) };
                let hidden = if rng.below(3) == 0 { " hidden" } else { "" };
                let floor = if hidden.is_empty() && rng.below(2) == 0 { " floor 2" } else { "" };
                format!("@ {price} to {further}{hidden}{floor}")
            }
            13 | 14 => format!("@ {price} stop {other}"),
            15 => format!("market stop {other}"),
            16 => format!("@ {price} stop {other} ioc"),
            17 => format!("@ {price} trail {}", 1 + rng.below(4)),
            18 => format!("@ {price} until {}", time + 1 + rng.below(100)),
            19 | 20 => format!("@ {price} with {lately}"),
            21 => "market ioc".into(),
            22 => format!("@ {price} at-close"),
            23 => format!("@ {price} stop {other} with {lately} gtc"),
            _ => format!("@ {price}"),
        };
        let stp =
            ["", "", " stp newest", " stp oldest", " stp both", " stp decrement"][rng.below(6) as usize];
        let group = ["", "", " stp-group 1"][rng.below(3) as usize];
        format!("{side} {qty} {terms}{stp}{group} firm {}", 1 + rng.below(2))
    }

    /// Stage 1 passes on only what leaves something of an open order's chain.
    fn random_replace(desk: &Alone, line: &str, orig: OrderRef) -> Request {
        let Some(slot) = desk.matching.books.find(orig) else { return Request::Tick };
        let original = desk.matching.books.order(slot);
        let extra = desk.matching.books.extra(slot);
        let mut incoming = desk.incoming(line);
        incoming.order.side = original.side;
        let terms = extra.map_or_else(OrderTerms::default, |extra| extra.terms);
        incoming.order.display = original.display();
        incoming.order.time_in_force = extra.map_or(TimeInForce::Day, |extra| extra.time_in_force);
        incoming.order.options = ironbell_types::OrderOptions::default();
        if terms.market {
            incoming.order.price = Price(0);
        } else if incoming.order.price.0 == 0 {
            incoming.order.price = Price(100);
        }
        let discretion = terms.discretion.0;
        if discretion != 0 {
            incoming.order.price =
                Price(if original.side.is_buy() { discretion - 1 } else { discretion + 1 });
        }
        let total = Qty(original.executed + incoming.order.qty.0);
        let Incoming { order, token, slides, stp, .. } = incoming;
        let incoming = Incoming::new(order, &terms, token, slides, stp, None);
        Request::Replace { orig, total, incoming }
    }

    fn random_modify(desk: &Alone, order_ref: OrderRef, total: u64) -> Request {
        let Some(slot) = desk.matching.books.find(order_ref) else { return Request::Tick };
        let side = match desk.matching.books.order(slot).side {
            Side::Sell => Side::SellShortExempt,
            side => side,
        };
        Request::Modify { instrument: ONE, order_ref, side, total: Qty(total) }
    }

    fn random_rules(rng: &mut crate::testing::Rng, desk: &Alone) -> Request {
        let mut rules = desk.matching.trading(ONE).rules;
        if desk.matching.orders() == 0 {
            rules.algorithm = Algorithm::ALL[rng.below(3) as usize];
        }
        rules.batch_ns = 1_000_000;
        rules.top_order_max = Qty(rng.below(3));
        rules.reference = Price(100 * rng.below(2) as i64);
        rules.static_bps = 1_000;
        rules.collar_bps = 300 * rng.below(2) as u16;
        rules.band_bps = 400 * rng.below(2) as u16;
        rules.limit_state_ns = 50;
        rules.volatility_ns = 50;
        Request::SetRules { instrument: ONE, rules }
    }

    /// Mostly Continuous, which ends every other phase with a cross.
    fn random_phase(rng: &mut crate::testing::Rng) -> Request {
        let phase = match rng.below(6) {
            0 => Phase::ALL[rng.below(8) as usize],
            _ => Phase::Continuous,
        };
        Request::SetPhase { instrument: ONE, phase, reason: *b"TEST" }
    }
}
