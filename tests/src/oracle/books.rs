//! Stage 2 of the naive engine: the books. One flat list of open orders in the order in which they took
//! their places; every price, place and share is looked up anew from it. What a run may reach is listed
//! anew before each of its trades. Phases, crosses and timers stand in `auction.rs`.

use std::cmp::Reverse;

use ironbell_types::{
    Accepted, Algorithm, CancelReason, Canceled, ClOrdId, CrossKind, Display, EventBody, Executed, FirmId,
    InstrumentId, InstrumentRules, MatchNumber, Modified, OrderKey, OrderRef, OrderTerms, Peg, Phase, Price,
    Qty, Refreshed, Reject, Replaced, Rested, SelfTradePrevented, Seq, Shown, Side, Stp, TimeInForce, Trade,
};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::auction::Market;
use super::{Admitted, Said};

/// Orders that one slice of a mass cancel takes.
const SLICE_ORDERS: usize = 1_024;

/// Trades that one command makes, prevented ones and Crossed counted.
pub(super) const TRADES_MAX: u32 = (1 << 16) - 2;

/// Orders of one price that share what comes in.
const SHARERS_MAX: usize = 4_096;

/// Pegs and orders with discretion that rest on an instrument, and trailing stops that wait there: of a firm,
/// and of all.
const WATCHED_OF_FIRM_MAX: usize = 64;
const WATCHED_MAX: usize = 4_096;

/// An open order, as it stands on the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// As it was accepted; one that slid has its new price.
    pub accepted: Accepted,
    /// As they were accepted; a triggered stop has no stop and no trail any more.
    pub terms: OrderTerms,
    /// Its name to the member.
    pub key: OrderKey,
    /// Its number on the book.
    pub order_ref: OrderRef,
    /// Whose it is.
    pub firm: FirmId,
    /// What it trades.
    pub instrument: InstrumentId,
    /// Buy or sell.
    pub side: Side,
    /// Its price on the book; 0 of a market order.
    pub price: Price,
    /// What is left of it.
    pub leaves_qty: Qty,
    /// What the order and all it replaced have executed.
    pub chain_executed: Qty,
    /// How it stands on the feed.
    pub shown: Shown,
    /// What it does now.
    pub standing: Standing,
    /// Its self-trade prevention; never that of the port.
    stp: Stp,
    /// Whether it slides, when it is post-only and would trade.
    slides: bool,
    /// Whether it is a side of a quote.
    is_quote: bool,
    /// The most that a market buy pays.
    pub(super) worth: Price,
    /// The best last trade price that a trailing stop has seen.
    mark: Option<Price>,
    /// The other order of its pair.
    pub(super) pair: Option<OrderRef>,
}

/// What an open order does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is the aggressor of the run under way.
    Runs,
    /// It rests on the book.
    Rests,
    /// It is a stop that waits for its price.
    WaitsForPrice,
    /// It is an at-open or at-close order that waits for its cross.
    WaitsForCross,
}

impl Order {
    pub(super) fn is_buy(&self) -> bool {
        self.side.is_buy()
    }

    fn is_watched(&self) -> bool {
        self.terms.peg != Peg::None || self.terms.discretion.0 != 0
    }

    /// Whether what is left of it may rest.
    fn may_rest(&self) -> bool {
        let rests =
            matches!(self.accepted.time_in_force, TimeInForce::Day | TimeInForce::Gtt | TimeInForce::Gtc);
        rests && !self.terms.market
    }

    /// Displayed orders come first at a price, then hidden ones, then pegs.
    pub(super) fn class(&self) -> u8 {
        if self.terms.peg != Peg::None { 2 } else { u8::from(self.accepted.display == Display::Hidden) }
    }

    pub(super) fn is_displayed(&self) -> bool {
        self.class() == 0
    }

    /// What of it could trade at once: the shown part of an iceberg order, else all.
    fn at_once(&self) -> Qty {
        if self.terms.max_floor != 0 { self.shown.qty } else { self.leaves_qty }
    }
}

/// Every book.
pub(super) struct Books {
    /// Seeds the sizes of icebergs' parts.
    key: u64,
    pub(super) markets: Vec<Market>,
    /// Every open order of every instrument; an earlier one has the earlier place at its price.
    pub(super) orders: Vec<Order>,
    pub(super) turn: Turn,
}

/// What the present command has used so far.
#[derive(Default)]
pub(super) struct Turn {
    seq: Seq,
    /// Match numbers given.
    matches: u32,
    /// Trades, prevented trades and Crossed.
    pub(super) trades: u32,
    refreshed: u32,
    pub(super) expired: u32,
}

/// Prices that do not change during a run.
#[derive(Clone, Copy)]
struct View {
    /// Best displayed bid.
    bid: Option<Price>,
    /// Best displayed ask.
    ask: Option<Price>,
    /// Lowest and highest price of a trade.
    band: Option<(Price, Price)>,
}

impl View {
    fn lets(&self, price: Price) -> bool {
        self.band.is_none_or(|(lower, upper)| lower <= price && price <= upper)
    }
}

/// An order that a run could trade with.
#[derive(Clone, Copy)]
struct Target {
    order_ref: OrderRef,
    price: Price,
}

/// Says Accepted or Replaced, given the order as it now stands.
type Head<'a> = &'a dyn Fn(Accepted) -> EventBody;

/// Why an order runs.
#[derive(Clone, Copy)]
enum Cause<'a> {
    /// It is new.
    Comes(Head<'a>),
    /// It was a stop.
    Triggered,
    /// It rests, and reaches the other side.
    Meets,
}

// The interface to the other stages: each method does one command's work on the books.

impl Books {
    /// No instruments; `key` is the venue's.
    pub(super) fn new(key: u64) -> Self {
        Self { key, markets: Vec::new(), orders: Vec::new(), turn: Turn::default() }
    }

    /// A new instrument, with plain rules; `begins` is Continuous while a day is open, else Closed.
    pub(super) fn add(&mut self, instrument: InstrumentId, begins: Phase) {
        self.markets.push(Market::new(instrument, begins));
    }

    /// Every open order, in any order.
    pub(super) fn orders(&self) -> &[Order] {
        &self.orders
    }

    /// The open orders of an instrument in the order in which mass cancels take them: displayed, hidden,
    /// pegs, stops, trailing stops, at-open and at-close orders.
    pub(super) fn book(&self, instrument: InstrumentId) -> Vec<Order> {
        let mut orders: Vec<(usize, Order)> =
            self.orders.iter().copied().filter(|o| o.instrument == instrument).enumerate().collect();
        orders.sort_by_key(|&(line, o)| {
            let best_first = if o.is_buy() { -i128::from(o.price.0) } else { i128::from(o.price.0) };
            let came = o.order_ref.0 as usize;
            let asks = !o.is_buy();
            match o.standing {
                Standing::Runs => unreachable!("between commands nothing runs"),
                Standing::Rests if o.class() == 2 => (2, asks, 0, came),
                Standing::Rests => (o.class(), asks, best_first, line),
                Standing::WaitsForPrice if o.terms.trail != 0 => (4, false, 0, came),
                Standing::WaitsForPrice => {
                    let stop = i128::from(o.terms.stop.0);
                    (3, asks, if asks { -stop } else { stop }, came)
                }
                Standing::WaitsForCross => {
                    let class = if o.accepted.time_in_force == TimeInForce::AtOpen { 5 } else { 6 };
                    (class, asks, if o.terms.market { i128::MIN } else { best_first }, line)
                }
            }
        });
        orders.into_iter().map(|(_, order)| order).collect()
    }

    /// Checks, by definition and over everything, what must hold after every command.
    pub(super) fn check(&self) -> Result<(), String> {
        for order in &self.orders {
            let rests = order.standing == Standing::Rests;
            let in_cross = self.market(order.instrument).cross.is_some();
            let shown = match order.terms.max_floor {
                _ if !rests || !order.is_displayed() => order.shown == Shown::default(),
                0 => order.shown.qty == order.leaves_qty,
                _ => order.shown.qty <= order.leaves_qty && (in_cross || order.shown.qty > Qty::ZERO),
            };
            let paired = order
                .pair
                .is_none_or(|pair| self.order(pair).is_some_and(|other| other.pair == Some(order.order_ref)));
            if !shown || !paired || order.standing == Standing::Runs {
                return Err(format!("an order that cannot be: {order:?}"));
            }
        }
        for market in &self.markets {
            let trades = market.phase == Phase::Continuous && !market.is_batch() && market.cross.is_none();
            let view = self.view(market.instrument);
            let price = |o: &Order| Self::price_of(o, &view);
            let bid = self.rests(market.instrument, true).filter_map(price).max();
            // A short sale may not go to a bid that its peg has come to.
            let tested = market.rules.short_restricted;
            let may = |o: &&Order| !(tested && o.side == Side::SellShort && o.is_watched());
            let ask = self.rests(market.instrument, false).filter(may).filter_map(price).min();
            if let (Some(bid), Some(ask)) = (bid, ask)
                && trades
                && !market.unwoken
                && bid >= ask
            {
                return Err(format!("instrument {}: crossed, bid {bid} ask {ask}", market.instrument));
            }
        }
        Ok(())
    }

    /// A new order: Rejected, or Accepted and what becomes of it.
    pub(super) fn enter(&mut self, new: &Admitted, said: &mut Said) {
        let accepted = new.accepted;
        self.advance(accepted.instrument, said);
        let refusal = self.closed(accepted.instrument).or_else(|| self.refusal(&accepted, &new.terms, true));
        if let Some(reason) = refusal {
            return refuse(accepted.key, reason, accepted.cl_ord_id, said);
        }
        self.bring(new, false, &EventBody::Accepted, said);
        self.wake_if_due(accepted.instrument, said);
    }

    /// `new` takes the place of `original`; says nothing when a timer of this command touched that.
    pub(super) fn replace(&mut self, original: OrderKey, new: &Admitted, said: &mut Said) {
        let accepted = new.accepted;
        let before = self.named(original).map(|order| (order.leaves_qty, order.chain_executed));
        self.advance(accepted.instrument, said);
        let Some(original) = self.named(original) else { return };
        if before != Some((original.leaves_qty, original.chain_executed)) {
            return;
        }
        let refusal = self.closed(accepted.instrument).or_else(|| self.refusal(&accepted, &new.terms, false));
        if let Some(reason) = refusal {
            return refuse(accepted.key, reason, accepted.cl_ord_id, said);
        }
        self.remove(original.order_ref);
        let head = |order| {
            EventBody::Replaced(Replaced {
                orig_user_ref_num: original.key.num(),
                orig_order_ref: original.order_ref,
                orig_shown: original.shown,
                order,
            })
        };
        self.bring(new, false, &head, said);
        self.wake_if_due(accepted.instrument, said);
    }

    /// What is left of the earlier quote of (port, channel) on the instrument goes, `sides` come; a
    /// refusal names `first`.
    pub(super) fn quote(
        &mut self,
        first: OrderKey,
        instrument: InstrumentId,
        sides: [Option<Admitted>; 2],
        said: &mut Said,
    ) {
        let channel = (first.port(), first.idx());
        let of_quote =
            |o: &&Order| o.is_quote && o.instrument == instrument && (o.key.port(), o.key.idx()) == channel;
        let before: Vec<Order> = self.orders.iter().filter(of_quote).copied().collect();
        self.advance(instrument, said);
        if let Some(reason) = self.closed(instrument) {
            return refuse(first, reason, ClOrdId::default(), said);
        }
        let untouched = |o: &Order| self.order(o.order_ref).is_some_and(|now| now.leaves_qty == o.leaves_qty);
        if !before.iter().all(untouched) {
            return refuse(first, Reject::Other, ClOrdId::default(), said);
        }
        let mut earlier: Vec<Order> = self.orders.iter().filter(of_quote).copied().collect();
        earlier.sort_by_key(|o| !o.is_buy());
        for order in earlier {
            self.cancel_to(order.order_ref, Qty::ZERO, CancelReason::User, said);
        }
        for new in sides.iter().flatten() {
            self.bring(new, true, &EventBody::Accepted, said);
        }
        self.market_mut(instrument).unwoken = true;
        self.wake_if_due(instrument, said);
    }

    /// The member's Cancel Order of an open order, `total` the new intended total of its chain.
    pub(super) fn cancel(&mut self, key: OrderKey, total: Qty, said: &mut Said) {
        let Some(Order { instrument, .. }) = self.named(key) else { return };
        self.advance(instrument, said);
        if let Some(order) = self.named(key) {
            let leaves = Qty(total.0.saturating_sub(order.chain_executed.0));
            if leaves < order.leaves_qty {
                self.cancel_to(order.order_ref, leaves, CancelReason::User, said);
            }
        }
        self.wake_if_due(instrument, said);
    }

    /// The member's Modify Order of an open order, `total` the new intended total of its chain.
    pub(super) fn modify(&mut self, key: OrderKey, side: Side, total: Qty, said: &mut Said) {
        let Some(Order { instrument, .. }) = self.named(key) else { return };
        self.advance(instrument, said);
        if let Some(order) = self.named(key) {
            self.modify_open(&order, side, total, said);
        }
        self.wake_if_due(instrument, said);
    }

    fn modify_open(&mut self, order: &Order, side: Side, total: Qty, said: &mut Said) {
        let leaves = Qty(total.0.saturating_sub(order.chain_executed.0));
        let may_become = match order.side {
            Side::Buy => [Side::Buy].as_slice(),
            Side::Sell => &[Side::Sell, Side::SellShort, Side::SellShortExempt],
            Side::SellShort => &[Side::SellShort],
            Side::SellShortExempt => &[Side::SellShortExempt, Side::SellShort],
        };
        let unchanged = side == order.side && leaves == order.leaves_qty;
        if !may_become.contains(&side) || leaves > order.leaves_qty || unchanged {
            return;
        }
        if leaves == Qty::ZERO {
            return self.cancel_to(order.order_ref, leaves, CancelReason::User, said);
        }
        let place = self.place(order.order_ref).expect("the order is open");
        self.orders[place].side = side;
        let shown_leaves = self.shrink(order.order_ref, leaves);
        said.matching(EventBody::Modified(Modified {
            key: order.key,
            order_ref: order.order_ref,
            instrument: order.instrument,
            side,
            qty: Qty(order.leaves_qty.0 - leaves.0),
            leaves_qty: leaves,
            shown: order.shown,
            shown_leaves,
        }));
        if leaves < order.leaves_qty {
            self.market_mut(order.instrument).unwoken = true;
        }
    }

    /// Cancels the first 1,024 orders of the instrument that are meant; whether some remain.
    pub(super) fn slice(
        &mut self,
        instrument: InstrumentId,
        meant: impl Fn(&Order) -> bool,
        reason: CancelReason,
        said: &mut Said,
    ) -> bool {
        self.advance(instrument, said);
        let meant: Vec<OrderRef> =
            self.book(instrument).iter().filter(|&order| meant(order)).map(|o| o.order_ref).collect();
        for &order_ref in meant.iter().take(SLICE_ORDERS) {
            self.cancel_to(order_ref, Qty::ZERO, reason, said);
        }
        self.wake_if_due(instrument, said);
        meant.len() > SLICE_ORDERS
    }
}

// Looking things up.

impl Books {
    /// Begins a command, if it is not the one under way.
    pub(super) fn begin(&mut self, said: &Said) {
        if self.turn.seq != said.seq() {
            self.turn = Turn { seq: said.seq(), ..Turn::default() };
        }
    }

    pub(super) fn market(&self, instrument: InstrumentId) -> &Market {
        self.markets.iter().find(|m| m.instrument == instrument).expect("the instrument exists")
    }

    pub(super) fn market_mut(&mut self, instrument: InstrumentId) -> &mut Market {
        self.markets.iter_mut().find(|m| m.instrument == instrument).expect("the instrument exists")
    }

    pub(super) fn place(&self, order_ref: OrderRef) -> Option<usize> {
        self.orders.iter().position(|o| o.order_ref == order_ref)
    }

    /// An open order.
    pub(super) fn order(&self, order_ref: OrderRef) -> Option<Order> {
        self.place(order_ref).map(|place| self.orders[place])
    }

    fn named(&self, key: OrderKey) -> Option<Order> {
        self.orders.iter().find(|o| o.key == key).copied()
    }

    pub(super) fn rests(&self, instrument: InstrumentId, buys: bool) -> impl Iterator<Item = &Order> {
        self.orders.iter().filter(move |o| {
            o.instrument == instrument && o.is_buy() == buys && o.standing == Standing::Rests
        })
    }

    fn view(&self, instrument: InstrumentId) -> View {
        let displayed = |buys| self.rests(instrument, buys).filter(|o| o.is_displayed()).map(|o| o.price);
        View { bid: displayed(true).max(), ask: displayed(false).min(), band: self.market(instrument).band() }
    }

    /// At which price a resting order trades: its own, of a peg what it follows, kept to its limit.
    fn price_of(order: &Order, view: &View) -> Option<Price> {
        let offset = i128::from(order.terms.peg_offset);
        let [bid, ask] = [view.bid, view.ask].map(|price| price.map(|p| i128::from(p.0)));
        let (own, other) = if order.is_buy() { (bid, ask) } else { (ask, bid) };
        let followed = match order.terms.peg {
            Peg::None => return Some(order.price),
            Peg::Primary => own?,
            Peg::Market => other?,
            Peg::Midpoint if order.is_buy() => (bid? + ask?).div_euclid(2),
            Peg::Midpoint => (bid? + ask? + 1).div_euclid(2),
        };
        let limit = i128::from(order.price.0);
        let price =
            if order.is_buy() { (followed + offset).min(limit) } else { (followed - offset).max(limit) };
        i64::try_from(price).ok().filter(|&price| price >= 1).map(Price)
    }

    /// The furthest price that a run may trade at, bands aside; `None` when it may not trade at all.
    fn limit(&self, order: &Order, view: &View) -> Option<Price> {
        if order.terms.market {
            return Some(self.market_limit(order));
        }
        let discretion = order.terms.discretion;
        if discretion.0 != 0 { Some(discretion) } else { Self::price_of(order, view) }
    }

    fn market_limit(&self, order: &Order) -> Price {
        let market = self.market(order.instrument);
        let (collar, range) = (market.collar(), static_range(&market.rules));
        let limit = if order.is_buy() {
            let ends = [collar.map(|(_, upper)| upper), range.map(|(_, upper)| upper), Some(order.worth)];
            ends.into_iter().flatten().min().expect("it is worth something")
        } else {
            let ends = [collar.map(|(lower, _)| lower), range.map(|(lower, _)| lower), Some(Price(1))];
            ends.into_iter().flatten().max().expect("1 at least")
        };
        Price(limit.0.max(1))
    }

    /// All that `order` could trade with at `limit` or better (`None`: at any price), in the order of
    /// trading: best price first; displayed, hidden, pegs.
    fn targets(&self, order: &Order, limit: Option<Price>, view: &View) -> Vec<Target> {
        let buys = order.is_buy();
        let mut targets: Vec<(i64, u8, u64, Target)> = Vec::new();
        for (line, other) in (0..).zip(&self.orders) {
            let opposite = other.instrument == order.instrument && other.is_buy() != buys;
            if !opposite || other.standing != Standing::Rests {
                continue;
            }
            let Some(price) = Self::price_of(other, view) else { continue };
            if limit.is_some_and(|limit| if buys { price > limit } else { price < limit }) {
                continue;
            }
            let line = if other.class() == 2 { other.order_ref.0 } else { line };
            let best_first = if buys { price.0 } else { -price.0 };
            targets.push((best_first, other.class(), line, Target { order_ref: other.order_ref, price }));
        }
        targets.sort_by_key(|&(price, class, line, _)| (price, class, line));
        targets.into_iter().map(|(.., target)| target).collect()
    }

    /// Why nothing may come in at all.
    fn closed(&self, instrument: InstrumentId) -> Option<Reject> {
        let market = self.market(instrument);
        let closed = matches!(market.phase, Phase::Closed | Phase::Halted) || market.cross.is_some();
        closed.then_some(Reject::Halted)
    }

    /// Why the book does not take an order, in order of precedence; 3 and 5 are for new ones only.
    fn refusal(&self, order: &Accepted, terms: &OrderTerms, is_new: bool) -> Option<Reject> {
        let market = self.market(order.instrument);
        let time_in_force = order.time_in_force;
        let at_cross = matches!(time_in_force, TimeInForce::AtOpen | TimeInForce::AtClose);
        let at_once = matches!(time_in_force, TimeInForce::Ioc | TimeInForce::Fok);
        let trades_as_it_comes = market.phase == Phase::Continuous && !market.is_batch();
        if !trades_as_it_comes && !terms.is_stop() && (at_once || (terms.market && !at_cross)) {
            return Some(Reject::Halted);
        }
        let before_opening = matches!(market.phase, Phase::PreOpen | Phase::OpeningAuction);
        if is_new && time_in_force == TimeInForce::AtOpen && !before_opening {
            return Some(Reject::CrossOrder);
        }
        let tested = market.rules.short_restricted && market.phase == Phase::Continuous;
        if tested && order.side == Side::SellShort && !terms.is_stop() {
            let bid = self.view(order.instrument).bid;
            let lowest = if terms.discretion.0 == 0 { order.price } else { terms.discretion };
            if terms.market || bid.is_some_and(|bid| lowest <= bid) {
                return Some(Reject::ShortRestricted);
            }
        }
        if is_new && terms.oco.0 != 0 {
            let partner = self.named(OrderKey::new(order.key.port(), order.key.idx(), terms.oco));
            if partner.is_none_or(|partner| partner.pair.is_some()) {
                return Some(Reject::Other);
            }
        }
        None
    }
}

/// The prices that orders may have.
fn static_range(rules: &InstrumentRules) -> Option<(Price, Price)> {
    let Price(reference) = rules.reference;
    let d = (i128::from(reference) * i128::from(rules.static_bps) / 10_000).max(1);
    (reference > 0 && rules.static_bps > 0).then(|| around(reference, d))
}

/// [middle − d, middle + d], at least 1.
pub(super) fn around(middle: i64, d: i128) -> (Price, Price) {
    let price = |p: i128| Price(i64::try_from(p.max(1)).unwrap_or(i64::MAX));
    (price(i128::from(middle) - d), price(i128::from(middle) + d))
}

fn refuse(key: OrderKey, reason: Reject, cl_ord_id: ClOrdId, said: &mut Said) {
    said.matching(EventBody::Rejected { key, reason, cl_ord_id });
}

// A run.

impl Books {
    /// An order comes to the book: it waits, rests or runs.
    fn bring(&mut self, new: &Admitted, is_quote: bool, head: Head<'_>, said: &mut Said) {
        let Admitted { accepted, terms, .. } = *new;
        let market = self.market_mut(accepted.instrument);
        market.unwoken = true;
        let (last, trades) = (market.last, market.phase == Phase::Continuous && !market.is_batch());
        let worth = static_range(&market.rules).map_or(Price(i64::MAX), |(_, upper)| upper);
        let mut order = Order {
            accepted,
            terms,
            key: accepted.key,
            order_ref: accepted.order_ref,
            firm: accepted.firm,
            instrument: accepted.instrument,
            side: accepted.side,
            price: accepted.price,
            leaves_qty: accepted.qty,
            chain_executed: new.chain_executed,
            shown: Shown::default(),
            standing: Standing::Runs,
            stp: new.stp,
            slides: new.slides,
            is_quote,
            worth,
            mark: (terms.trail != 0).then_some(last).flatten(),
            pair: None,
        };
        let order_ref = order.order_ref;
        if terms.oco.0 != 0 {
            let partner = OrderKey::new(order.key.port(), order.key.idx(), terms.oco);
            let partner = self.orders.iter_mut().find(|o| o.key == partner).expect("refused otherwise");
            partner.pair = Some(order_ref);
            order.pair = Some(partner.order_ref);
        }
        self.orders.push(order);

        if terms.is_stop() {
            let place = self.place(order_ref).expect("just pushed");
            let trails = |o: &&Order| {
                o.instrument == order.instrument
                    && o.standing == Standing::WaitsForPrice
                    && o.terms.trail != 0
            };
            if trades && last.is_some_and(|last| is_due(&order, last)) {
                self.say_head(order_ref, false, head, said);
                self.trigger(order_ref, said);
            } else if terms.trail != 0 && self.are_enough(accepted.firm, trails) {
                self.say_head(order_ref, false, head, said);
                self.cancel_to(order_ref, Qty::ZERO, CancelReason::Immediate, said);
            } else {
                self.orders[place].standing = Standing::WaitsForPrice;
                self.say_head(order_ref, true, head, said);
            }
        } else if matches!(accepted.time_in_force, TimeInForce::AtOpen | TimeInForce::AtClose) {
            let place = self.place(order_ref).expect("just pushed");
            self.orders[place].standing = Standing::WaitsForCross;
            self.say_head(order_ref, true, head, said);
        } else if trades {
            self.run(order_ref, Cause::Comes(head), said);
        } else if self.is_full_for(&order) {
            self.say_head(order_ref, false, head, said);
            self.cancel_to(order_ref, Qty::ZERO, CancelReason::Immediate, said);
        } else {
            self.stand(order_ref);
            self.say_head(order_ref, true, head, said);
        }
    }

    fn say_head(&self, order_ref: OrderRef, booked: bool, head: Head<'_>, said: &mut Said) {
        let order = self.order(order_ref).expect("it has just come");
        if !order.terms.is_plain() {
            said.matching(EventBody::Terms { key: order.key, order_ref, terms: order.terms });
        }
        said.matching(head(Accepted {
            price: order.price,
            booked,
            shown_qty: order.shown.qty,
            ..order.accepted
        }));
    }

    /// Trades as long as it may, then cancels or rests what is left.
    fn run(&mut self, order_ref: OrderRef, cause: Cause<'_>, said: &mut Said) {
        let order = self.order(order_ref).expect("what runs is open");
        let view = self.view(order.instrument);
        let mut limit = self.limit(&order, &view);
        if let Cause::Comes(head) = cause {
            let reached = self.reached(&order, limit, &view);
            let best_inside = reached.first().filter(|best| view.lets(best.price));
            if let Some(best) = best_inside.filter(|_| order.accepted.options.is_post_only()) {
                let slid = best.price.0.checked_add(if order.is_buy() { -1 } else { 1 });
                let Some(slid) = slid.filter(|&slid| order.slides && slid >= 1).map(Price) else {
                    self.say_head(order_ref, false, head, said);
                    return self.cancel_to(order_ref, Qty::ZERO, CancelReason::PostOnly, said);
                };
                let place = self.place(order_ref).expect("what runs is open");
                self.orders[place].price = slid;
                self.orders[place].accepted.price = slid;
                limit = Some(slid);
            }
            let order = self.order(order_ref).expect("what runs is open");
            let idle = self.reached(&order, limit, &view).is_empty();
            if idle && order.may_rest() && !self.is_full_for(&order) {
                self.stand(order_ref);
                return self.say_head(order_ref, true, head, said);
            }
            self.say_head(order_ref, false, head, said);
            let wanted = match order.accepted.time_in_force {
                TimeInForce::Fok => order.leaves_qty,
                _ => Qty(u64::from(order.accepted.options.min_qty)),
            };
            if wanted > Qty::ZERO && !self.offers(&order, wanted, limit, &view) {
                return self.cancel_to(order_ref, Qty::ZERO, CancelReason::Immediate, said);
            }
        }

        let mut traded_inside = false;
        let mut stopped = false;
        let mut exhausted = false;
        while let Some(order) = self.order(order_ref) {
            let reached = self.reached(&order, limit, &view);
            let Some(&best) = reached.first() else { break };
            if !view.lets(best.price) {
                stopped = true;
                break;
            }
            if self.turn.trades >= TRADES_MAX {
                exhausted = true;
                break;
            }
            let resting = self.order(best.order_ref).expect("a target is open");
            let matches_before = self.turn.matches;
            let shared =
                resting.is_displayed() && self.market(order.instrument).rules.algorithm == Algorithm::ProRata;
            if shared {
                self.share(order_ref, best.price, &reached, said);
            } else if self.would_be_prevented(&order, &resting) {
                self.prevent(order_ref, best, said);
            } else {
                self.trade_in_run(order_ref, best, order.leaves_qty.min(resting.at_once()), said);
            }
            traded_inside |= self.turn.matches > matches_before
                && view.band.is_some_and(|(lower, upper)| lower < best.price && best.price < upper);
        }

        if let Some(order) = self.order(order_ref) {
            let beyond = order.terms.market && !self.targets(&order, None, &view).is_empty();
            self.finish(&order, matches!(cause, Cause::Meets), stopped || beyond, exhausted, said);
        }
        let market = self.market_mut(order.instrument);
        if stopped && market.limited_since.is_none() {
            market.limited_since = Some(said.time());
            said.matching(EventBody::LimitState { instrument: order.instrument, on: true });
        } else if traded_inside && !stopped && market.limited_since.is_some() {
            market.limited_since = None;
            said.matching(EventBody::LimitState { instrument: order.instrument, on: false });
        }
    }

    /// What becomes of the rest of an order after its run; `beyond`: a band or collar ended that.
    fn finish(&mut self, order: &Order, meets: bool, beyond: bool, exhausted: bool, said: &mut Said) {
        let order_ref = order.order_ref;
        if exhausted {
            self.cancel_to(order_ref, Qty::ZERO, CancelReason::Immediate, said);
        } else if beyond {
            self.cancel_to(order_ref, Qty::ZERO, CancelReason::Collar, said);
        } else if !meets && (!order.may_rest() || self.is_full_for(order)) {
            self.cancel_to(order_ref, Qty::ZERO, CancelReason::Immediate, said);
        } else if meets {
            self.refresh_if_used_up(order_ref, said);
        } else {
            self.stand(order_ref);
            let order = self.order(order_ref).expect("it stands");
            said.matching(rested(&order));
        }
    }

    /// All that a run could trade with, bands aside.
    fn reached(&self, order: &Order, limit: Option<Price>, view: &View) -> Vec<Target> {
        if limit.is_none() { Vec::new() } else { self.targets(order, limit, view) }
    }

    /// Whether a fill-or-kill or minimum quantity is there to be traded.
    fn offers(&self, order: &Order, wanted: Qty, limit: Option<Price>, view: &View) -> bool {
        let shares = self.market(order.instrument).rules.algorithm == Algorithm::ProRata;
        let reached = self.reached(order, limit, view);
        let open = |target: &Target| self.order(target.order_ref).expect("a target is open");
        let ends_count =
            |resting: &Order| self.would_be_prevented(order, resting) && order.stp != Stp::CancelOldest;
        let (mut offered, mut trades) = (0_u128, 0_u128);
        let mut counted: Vec<OrderRef> = Vec::new();
        for (target, part) in self.parts(&reached) {
            let resting = open(&target);
            let line_ends_count = shares
                && resting.is_displayed()
                && reached
                    .iter()
                    .any(|t| t.price == target.price && open(t).is_displayed() && ends_count(&open(t)));
            if !view.lets(target.price) || ends_count(&resting) || line_ends_count {
                break;
            }
            if resting.pair.is_some_and(|pair| pair == order.order_ref || counted.contains(&pair)) {
                continue;
            }
            let terms = &resting.terms;
            let first_part = !counted.contains(&resting.order_ref);
            counted.push(resting.order_ref);
            if self.would_be_prevented(order, &resting) {
                trades += u128::from(first_part);
                continue;
            }
            trades += match terms.max_floor {
                _ if !first_part => 0,
                0 => 1,
                max_floor => {
                    u128::from(resting.leaves_qty.0).div_ceil(u128::from(max_floor - terms.random_reserves))
                }
            };
            offered += u128::from(part.0);
            if offered >= u128::from(wanted.0) {
                break;
            }
        }
        offered >= u128::from(wanted.0) && trades <= u128::from(TRADES_MAX.saturating_sub(self.turn.trades))
    }

    /// What trades in which order: the reserves of icebergs come behind all that is displayed at a price.
    fn parts(&self, reached: &[Target]) -> Vec<(Target, Qty)> {
        let mut parts: Vec<(Target, Qty)> = Vec::new();
        for line in reached.chunk_by(|a, b| a.price == b.price) {
            let orders = || line.iter().map(|t| (*t, self.order(t.order_ref).expect("a target is open")));
            let displayed = || orders().filter(|(_, o)| o.is_displayed());
            parts.extend(displayed().map(|(target, o)| (target, o.shown.qty)));
            let reserves = displayed().map(|(target, o)| (target, Qty(o.leaves_qty.0 - o.shown.qty.0)));
            parts.extend(reserves.filter(|(_, reserve)| *reserve > Qty::ZERO));
            parts.extend(
                orders().filter(|(_, o)| !o.is_displayed()).map(|(target, o)| (target, o.leaves_qty)),
            );
        }
        parts
    }

    /// Trades with one resting order, and does what a trade brings with it.
    fn trade_in_run(&mut self, aggressor: OrderRef, target: Target, qty: Qty, said: &mut Said) {
        let resting = target.order_ref;
        let partners = self.trade(resting, aggressor, target.price, qty, CrossKind::None, said);
        for partner in partners.into_iter().flatten() {
            if self.order(partner).is_some() {
                self.cancel_to(partner, Qty::ZERO, CancelReason::System, said);
            }
        }
        self.refresh_if_used_up(resting, said);
    }

    /// The displayed orders of one price share what comes in.
    fn share(&mut self, aggressor: OrderRef, price: Price, reached: &[Target], said: &mut Said) {
        let mut line: Vec<Target> = Vec::new();
        for target in reached.iter().filter(|t| t.price == price).take(SHARERS_MAX) {
            if self.order(target.order_ref).is_some_and(|o| o.is_displayed()) {
                line.push(*target);
            }
        }
        for target in &line {
            let (Some(order), Some(resting)) = (self.order(aggressor), self.order(target.order_ref)) else {
                continue;
            };
            if self.turn.trades < TRADES_MAX && self.would_be_prevented(&order, &resting) {
                self.prevent(aggressor, *target, said);
            }
        }
        let Some(order) = self.order(aggressor) else { return };
        line.retain(|target| {
            self.order(target.order_ref).is_some_and(|o| !self.would_be_prevented(&order, &o))
        });
        let shown: Vec<u128> = line
            .iter()
            .map(|target| u128::from(self.order(target.order_ref).expect("retained").shown.qty.0))
            .collect();
        let top_order_max = u128::from(self.market(order.instrument).rules.top_order_max.0);
        let shares = pro_rata(&shown, u128::from(order.leaves_qty.0), top_order_max);
        for (target, share) in line.into_iter().zip(shares) {
            let both = self.order(aggressor).is_some() && self.order(target.order_ref).is_some();
            if share > 0 && both && self.turn.trades < TRADES_MAX {
                let qty = Qty(u64::try_from(share).expect("a share is at most what comes in"));
                self.trade_in_run(aggressor, target, qty, said);
            }
        }
    }

    /// Both sides of a trade shrink; returns the partners of the resting order and of the aggressor.
    pub(super) fn trade(
        &mut self,
        resting: OrderRef,
        aggressor: OrderRef,
        price: Price,
        qty: Qty,
        cross: CrossKind,
        said: &mut Said,
    ) -> [Option<OrderRef>; 2] {
        let [resting, aggressor] = [resting, aggressor].map(|order_ref| {
            let place = self.place(order_ref).expect("who trades is open");
            let before = self.orders[place];
            let order = &mut self.orders[place];
            order.leaves_qty.0 -= qty.0;
            order.chain_executed.0 += qty.0;
            order.shown.qty.0 -= order.shown.qty.0.min(qty.0);
            if order.shown.qty == Qty::ZERO {
                order.shown = Shown::default();
            }
            if order.leaves_qty == Qty::ZERO {
                self.remove(order_ref);
            }
            before
        });
        let executed = |before: &Order| Executed {
            key: before.key,
            order_ref: before.order_ref,
            leaves_qty: Qty(before.leaves_qty.0 - qty.0),
            shown: before.shown,
        };
        self.turn.trades += 1;
        said.matching(EventBody::Trade(Trade {
            match_number: self.next_match(),
            instrument: resting.instrument,
            price,
            qty,
            aggressor_buys: aggressor.is_buy(),
            resting: executed(&resting),
            aggressor: executed(&aggressor),
            cross,
            resting_price: if resting.shown.qty == Qty::ZERO { Price(0) } else { resting.price },
        }));
        self.market_mut(resting.instrument).note_trade(price, qty);
        [resting.pair, aggressor.pair]
    }

    pub(super) fn next_match(&mut self) -> MatchNumber {
        self.turn.matches += 1;
        MatchNumber::new(self.turn.seq, self.turn.matches - 1)
    }

    fn would_be_prevented(&self, aggressor: &Order, resting: &Order) -> bool {
        let group = aggressor.terms.stp_group;
        aggressor.stp != Stp::Off
            && aggressor.firm == resting.firm
            && (group == [0; 2] || group == resting.terms.stp_group)
    }

    /// Instead of trading, one or both orders shrink.
    fn prevent(&mut self, aggressor: OrderRef, target: Target, said: &mut Said) {
        self.turn.trades += 1;
        let [aggressor, resting] =
            [aggressor, target.order_ref].map(|order_ref| self.order(order_ref).expect("both are open"));
        let smaller = aggressor.leaves_qty.min(resting.leaves_qty);
        let (resting_loses, aggressor_loses) = match aggressor.stp {
            Stp::Port | Stp::Off => unreachable!("nothing is prevented then"),
            Stp::CancelNewest => (Qty::ZERO, aggressor.leaves_qty),
            Stp::CancelOldest => (resting.leaves_qty, Qty::ZERO),
            Stp::CancelBoth => (resting.leaves_qty, aggressor.leaves_qty),
            Stp::Decrement => (smaller, smaller),
        };
        for (order, loses, rested) in [(resting, resting_loses, true), (aggressor, aggressor_loses, false)] {
            if loses == Qty::ZERO {
                continue;
            }
            let leaves_qty = Qty(order.leaves_qty.0 - loses.0);
            let shown_leaves = self.shrink(order.order_ref, leaves_qty);
            said.matching(EventBody::SelfTradePrevented(SelfTradePrevented {
                key: order.key,
                order_ref: order.order_ref,
                instrument: order.instrument,
                qty: loses,
                leaves_qty,
                prevented_qty: aggressor.leaves_qty.min(resting.at_once()),
                price: target.price,
                rested,
                stp: aggressor.stp,
                shown: order.shown,
                shown_leaves,
            }));
        }
    }

    fn is_full_for(&self, order: &Order) -> bool {
        let rests =
            |o: &&Order| o.instrument == order.instrument && o.standing == Standing::Rests && o.is_watched();
        order.is_watched() && self.are_enough(order.firm, rests)
    }

    /// Whether there may be no more orders like these.
    fn are_enough(&self, firm: FirmId, like: impl Fn(&&Order) -> bool) -> bool {
        let of_firm = self.orders.iter().filter(|o| o.firm == firm && like(o)).count();
        of_firm >= WATCHED_OF_FIRM_MAX || self.orders.iter().filter(|o| like(o)).count() >= WATCHED_MAX
    }

    /// What is left of an order rests from here on, behind all others.
    fn stand(&mut self, order_ref: OrderRef) {
        let place = self.place(order_ref).expect("what is to rest is open");
        let mut order = self.orders.remove(place);
        order.standing = Standing::Rests;
        if order.is_displayed() {
            let qty = match order.terms.max_floor {
                0 => order.leaves_qty,
                max_floor => order.leaves_qty.min(Qty(u64::from(max_floor))),
            };
            order.shown = Shown { order_ref, qty };
        }
        self.orders.push(order);
    }

    /// An iceberg order of which nothing is shown any more shows its next part, behind all others.
    pub(super) fn refresh_if_used_up(&mut self, order_ref: OrderRef, said: &mut Said) {
        let Some(place) = self.place(order_ref) else { return };
        if !self.orders[place].is_displayed() || self.orders[place].shown.qty != Qty::ZERO {
            return;
        }
        let mut order = self.orders.remove(place);
        let (max_floor, reserves) = (order.terms.max_floor, order.terms.random_reserves);
        let mut size = u64::from(max_floor);
        if reserves != 0 {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&order_ref.0.to_le_bytes());
            bytes[8..].copy_from_slice(&order.chain_executed.0.to_le_bytes());
            let r = u64::from(reserves);
            size = size - r + xxh3_64_with_seed(&bytes, self.key) % (2 * r + 1);
        }
        order.shown = Shown {
            order_ref: OrderRef::new(said.seq(), 2 + self.turn.refreshed),
            qty: order.leaves_qty.min(Qty(size)),
        };
        self.turn.refreshed += 1;
        self.orders.push(order);
        said.matching(EventBody::Refreshed(Refreshed {
            key: order.key,
            order_ref,
            firm: order.firm,
            instrument: order.instrument,
            side: order.side,
            price: order.price,
            display: order.accepted.display,
            shown: order.shown,
            leaves_qty: order.leaves_qty,
        }));
    }

    /// Takes an order off; its partner stands alone.
    pub(super) fn remove(&mut self, order_ref: OrderRef) {
        let place = self.place(order_ref).expect("what goes is open");
        self.orders.remove(place);
        for order in &mut self.orders {
            if order.pair == Some(order_ref) {
                order.pair = None;
            }
        }
    }

    /// Shrinks an order to `leaves_qty` in its place, the reserve first; at 0 it is gone. Returns what of
    /// it is still shown.
    fn shrink(&mut self, order_ref: OrderRef, leaves_qty: Qty) -> Qty {
        let place = self.place(order_ref).expect("what shrinks is open");
        let order = &mut self.orders[place];
        order.leaves_qty = leaves_qty;
        order.shown.qty = order.shown.qty.min(leaves_qty);
        let shown_leaves = order.shown.qty;
        if leaves_qty == Qty::ZERO {
            self.remove(order_ref);
        }
        shown_leaves
    }

    /// Shrinks an order to `leaves_qty` and says so.
    pub(super) fn cancel_to(
        &mut self,
        order_ref: OrderRef,
        leaves_qty: Qty,
        reason: CancelReason,
        said: &mut Said,
    ) {
        let order = self.order(order_ref).expect("what is cancelled is open");
        assert!(leaves_qty < order.leaves_qty);
        let shown_leaves = self.shrink(order_ref, leaves_qty);
        said.matching(EventBody::Canceled(Canceled {
            key: order.key,
            order_ref,
            instrument: order.instrument,
            qty: Qty(order.leaves_qty.0 - leaves_qty.0),
            leaves_qty,
            reason,
            shown: order.shown,
            shown_leaves,
        }));
        self.market_mut(order.instrument).unwoken = true;
    }
}

/// How much of `incoming` each order of the line gets, by what it shows.
fn pro_rata(shown: &[u128], incoming: u128, top_order_max: u128) -> Vec<u128> {
    let total: u128 = shown.iter().sum();
    if incoming >= total {
        return shown.to_vec();
    }
    let top = top_order_max.min(shown[0]).min(incoming);
    let rest = incoming - top;
    let weights: Vec<u128> =
        shown.iter().enumerate().map(|(at, s)| if at == 0 { s - top } else { *s }).collect();
    let sum: u128 = weights.iter().sum();
    let mut shares: Vec<u128> = weights.iter().map(|w| rest * w / sum).collect();
    let over = rest - shares.iter().sum::<u128>();
    let mut by_remainder: Vec<usize> = (0..shown.len()).collect();
    by_remainder.sort_by_key(|&at| Reverse(rest * weights[at] % sum));
    for &at in by_remainder.iter().take(usize::try_from(over).expect("fewer than there are orders")) {
        shares[at] += 1;
    }
    shares[0] += top;
    shares
}

pub(super) fn rested(order: &Order) -> EventBody {
    EventBody::Rested(Rested {
        order_ref: order.order_ref,
        shown: order.shown,
        firm: order.firm,
        instrument: order.instrument,
        side: order.side,
        qty: order.leaves_qty,
        price: order.price,
        display: order.accepted.display,
    })
}

// Waking.

/// Where a stop triggers; `None` while a trailing one has seen no price.
fn stop_price(order: &Order) -> Option<i128> {
    let terms = &order.terms;
    if terms.trail == 0 {
        return Some(i128::from(terms.stop.0));
    }
    let (mark, trail) = (i128::from(order.mark?.0), i128::from(terms.trail));
    Some(if order.is_buy() { mark + trail } else { (mark - trail).max(1) })
}

fn is_due(order: &Order, last: Price) -> bool {
    let last = i128::from(last.0);
    stop_price(order).is_some_and(|stop| if order.is_buy() { last >= stop } else { last <= stop })
}

impl Books {
    /// Stops trigger and orders meet until nothing is left to do, if something happened that wakes.
    pub(super) fn wake_if_due(&mut self, instrument: InstrumentId, said: &mut Said) {
        self.begin(said);
        while self.market(instrument).unwoken {
            let market = self.market(instrument);
            if market.phase != Phase::Continuous || market.is_batch() || market.cross.is_some() {
                self.market_mut(instrument).unwoken = false;
                return;
            }
            if self.turn.trades + 2 > TRADES_MAX {
                return;
            }
            self.look(instrument);
            if let Some(stop) = self.next_due(instrument) {
                self.trigger(stop, said);
            } else if let Some(order_ref) = self.next_that_meets(instrument) {
                self.run(order_ref, Cause::Meets, said);
            } else {
                self.market_mut(instrument).unwoken = false;
            }
        }
    }

    /// Trailing stops look at the last trade price.
    fn look(&mut self, instrument: InstrumentId) {
        let Some(last) = self.market(instrument).last else { return };
        for order in &mut self.orders {
            if order.instrument == instrument && order.terms.trail != 0 {
                let mark = order.mark.unwrap_or(last);
                order.mark = Some(if order.is_buy() { mark.min(last) } else { mark.max(last) });
            }
        }
    }

    fn next_due(&self, instrument: InstrumentId) -> Option<OrderRef> {
        let last = self.market(instrument).last?;
        let waits = |o: &&Order| o.instrument == instrument && o.standing == Standing::WaitsForPrice;
        let due = self.orders.iter().filter(waits).filter(|o| is_due(o, last));
        let first = due.min_by_key(|o| {
            let stop = stop_price(o).expect("a due one has a price");
            (!o.is_buy(), if o.is_buy() { stop } else { -stop }, o.order_ref)
        });
        first.map(|o| o.order_ref)
    }

    fn trigger(&mut self, order_ref: OrderRef, said: &mut Said) {
        let place = self.place(order_ref).expect("a due stop is open");
        let order = &mut self.orders[place];
        order.standing = Standing::Runs;
        order.terms.stop = Price(0);
        order.terms.trail = 0;
        let order = self.orders[place];
        let market = self.market(order.instrument);
        let price = market.last.expect("only a trade triggers");
        let collar = market.collar().filter(|_| !order.terms.market);
        let tested = market.rules.short_restricted;
        self.turn.trades += 1;
        said.matching(EventBody::Triggered {
            key: order.key,
            order_ref,
            instrument: order.instrument,
            price,
        });
        if let Some(partner) = order.pair {
            self.cancel_to(partner, Qty::ZERO, CancelReason::System, said);
        }
        if tested && order.side == Side::SellShort {
            let bid = self.view(order.instrument).bid;
            if order.terms.market || bid.is_some_and(|bid| order.price <= bid) {
                return self.cancel_to(order_ref, Qty::ZERO, CancelReason::Regulatory, said);
            }
        }
        if collar.is_some_and(|(lower, upper)| order.price < lower || order.price > upper) {
            return self.cancel_to(order_ref, Qty::ZERO, CancelReason::Collar, said);
        }
        self.run(order_ref, Cause::Triggered, said);
    }

    /// The next resting order that reaches the other side.
    fn next_that_meets(&self, instrument: InstrumentId) -> Option<OrderRef> {
        let view = self.view(instrument);
        let tested = self.market(instrument).rules.short_restricted;
        let price = |o: &Order| Self::price_of(o, &view);
        let bid = self.rests(instrument, true).filter_map(price).max();
        let ask = self.rests(instrument, false).filter_map(price).min();
        let buys = self.rests(instrument, true).filter(|o| o.is_watched()).filter_map(|o| {
            let reach = self.limit(o, &view).filter(|&reach| ask.is_some_and(|ask| reach >= ask))?;
            Some((false, -reach.0, o.order_ref))
        });
        let may = |o: &&Order| o.is_watched() && !(tested && o.side == Side::SellShort);
        let sells = self.rests(instrument, false).filter(may).filter_map(|o| {
            let reach = self.limit(o, &view).filter(|&reach| bid.is_some_and(|bid| reach <= bid))?;
            Some((true, reach.0, o.order_ref))
        });
        buys.chain(sells).min().map(|(.., order_ref)| order_ref)
    }
}
