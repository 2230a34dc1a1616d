//! A naive venue: sorted vectors, one command at a time. It says what a state machine would say, so that
//! the feed can be tested against books that it did not make itself.

use ironbell_client::itch_book::Line;
use ironbell_types::{
    Accepted, Asset, AssetId, CancelReason, Canceled, Capacity, ClOrdId, Control, CrossKind, Crossed,
    Display, Event, EventBody, Executed, Firm, FirmId, Instrument, InstrumentId, InstrumentRules,
    MatchNumber, Modified, Mpid, Nanos, OpenDay, OrderKey, OrderOptions, OrderRef, Phase, PortId, Price, Qty,
    Refreshed, Replaced, Rested, Scale, SelfTradePrevented, Seq, Shown, Side, Stage, Statistics, Stp, Symbol,
    TimeInForce, Trade, UserRefIdx, UserRefNum,
};

/// SplitMix64: the seed makes the whole run.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[derive(Clone, Copy)]
struct Open {
    key: OrderKey,
    order_ref: OrderRef,
    firm: FirmId,
    instrument: InstrumentId,
    side: Side,
    leaves_qty: u64,
    price: i64,
    display: Display,
    /// The most that is shown at a time.
    floor: u64,
    shown: Shown,
    /// Its place in line.
    joined: u64,
}

impl Open {
    /// What it trades at once.
    fn tradable(&self) -> u64 {
        if self.display == Display::Hidden { self.leaves_qty } else { self.shown.qty.0 }
    }

    /// Takes off what traded or was cancelled from the end of it: what is shown stays as long as it can.
    fn shrink(&mut self, qty: u64) {
        self.leaves_qty -= qty;
        self.shown.qty.0 = self.shown.qty.0.min(self.leaves_qty);
    }

    /// Takes off what traded: what is shown first.
    fn execute(&mut self, qty: u64) {
        self.leaves_qty -= qty;
        self.shown.qty.0 = self.shown.qty.0.saturating_sub(qty);
    }
}

pub struct Venue {
    rng: Rng,
    seq: u64,
    date: u32,
    /// Between the days.
    is_closed: bool,
    instruments: Vec<Instrument>,
    paused: Vec<bool>,
    restricted: bool,
    open: Vec<Open>,
    joined: u64,
    said: Vec<Event>,
}

/// A book as a drawn table.
pub fn drawn(lines: impl IntoIterator<Item = Line>) -> Vec<String> {
    lines.into_iter().map(|line| line.to_string()).collect()
}

const MIDNIGHT: u64 = 1_800_000_000_000_000_000;

impl Venue {
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng(seed),
            seq: 0,
            date: 20_261_120,
            is_closed: true,
            instruments: Vec::new(),
            paused: Vec::new(),
            restricted: false,
            open: Vec::new(),
            joined: 0,
            said: Vec::new(),
        }
    }

    /// Definitions and the first day; one instrument is listed after the open.
    pub fn open_venue(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for (id, (code, decimals)) in [("USD", 4), ("SHARE", 0), ("BTC", 8)].into_iter().enumerate() {
            let id = AssetId(id as u32 + 1);
            let code = Symbol::new(code).expect("a short code");
            events.extend(self.say([EventBody::AssetDefined(Asset { id, code, decimals })]));
        }
        for (id, mpid) in ["ALFA", "BRVO"].into_iter().enumerate() {
            let (id, mpid) = (FirmId(id as u32 + 1), Mpid::new(mpid).expect("four letters"));
            events.extend(self.say([EventBody::FirmDefined(Firm { id, mpid })]));
        }
        events.extend(self.list("ZULU", AssetId(2), Scale::EquityExact { price_tick: 100 }));
        events.extend(self.list("BTCUSD", AssetId(3), Scale::Scaled));
        events.extend(self.open_day());
        events.extend(self.list("MIKE", AssetId(2), Scale::EquityExact { price_tick: 1 }));
        events
    }

    fn list(&mut self, symbol: &str, base: AssetId, scale: Scale) -> Vec<Event> {
        let instrument = Instrument {
            id: InstrumentId(self.instruments.len() as u32 + 1),
            symbol: Symbol::new(symbol).expect("a short symbol"),
            base,
            quote: AssetId(1),
            scale,
            tick_value: 100,
            lot_units: 1_000,
            round_lot: 100,
            maker_fee_bps: 1,
            taker_fee_bps: 3,
        };
        self.instruments.push(instrument);
        self.paused.push(false);
        self.say([EventBody::InstrumentDefined(instrument)])
    }

    pub fn open_day(&mut self) -> Vec<Event> {
        self.date += 1;
        let day = OpenDay { date: self.date, midnight: Nanos(MIDNIGHT) };
        self.event(EventBody::DayOpened(day));
        if self.is_closed {
            self.all_begin(Phase::Continuous);
        }
        self.is_closed = false;
        let mut left_over = self.open.clone();
        left_over.sort_by_key(|order| (order.instrument, order.joined));
        left_over.iter().filter(|order| order.shown.qty.0 > 0).for_each(|order| self.rested(order));
        self.end_command()
    }

    /// Everything is cancelled: first the day ends, then the orders go.
    pub fn close_day(&mut self) -> Vec<Event> {
        self.event(EventBody::DayClosed { date: self.date });
        self.all_begin(Phase::Closed);
        self.is_closed = true;
        for index in 0..self.instruments.len() {
            let instrument = self.instruments[index].id;
            self.event(EventBody::Statistics(Statistics { instrument, ..Statistics::default() }));
        }
        let mut events = self.end_command();
        while !self.open.is_empty() {
            self.cancel(0, self.open[0].leaves_qty);
        }
        events.extend(self.end_command());
        events
    }

    fn all_begin(&mut self, phase: Phase) {
        for index in 0..self.instruments.len() {
            let instrument = self.instruments[index].id;
            self.paused[index] = false;
            self.event(EventBody::PhaseChanged { instrument, phase, reason: *b"    " });
        }
    }

    /// One random command's events.
    pub fn step(&mut self) -> Vec<Event> {
        match self.rng.below(40) {
            0 => self.pause_or_cross(),
            1 => self.restrict(),
            2..=19 => self.enter_some(None),
            20..=27 => {
                if let Some(order) = self.pick() {
                    let gone = 1 + self.rng.below(self.open[order].leaves_qty);
                    self.cancel(order, gone);
                }
            }
            28..=31 => {
                if let Some(order) = self.pick() {
                    let shrinks_by = self.rng.below(self.open[order].leaves_qty);
                    self.modify(order, shrinks_by);
                }
            }
            _ => {
                if let Some(order) = self.pick() {
                    let original = self.open.remove(order);
                    self.enter_some(Some(original));
                }
            }
        }
        self.end_command()
    }

    /// A random order; it keeps side and instrument of the one that it replaces.
    fn enter_some(&mut self, replaces: Option<Open>) {
        let instrument = InstrumentId(1 + self.rng.below(self.instruments.len() as u64) as u32);
        let side = Side::ALL[self.rng.below(4) as usize];
        let (instrument, side) =
            replaces.map_or((instrument, side), |original| (original.instrument, original.side));
        let order_ref = OrderRef::new(Seq(self.seq + 1), 0);
        let leaves_qty = 1 + self.rng.below(9);
        let order = Open {
            key: OrderKey::new(PortId(1), UserRefIdx(0), UserRefNum(self.seq as u32)),
            order_ref,
            firm: FirmId(1 + self.rng.below(2) as u32),
            instrument,
            side,
            leaves_qty,
            price: self.price(side),
            display: Display::ALL[self.rng.below(3) as usize],
            floor: if self.rng.below(4) == 0 { 2 } else { leaves_qty },
            shown: Shown { order_ref, qty: Qty(0) },
            joined: 0,
        };
        self.enter(order, replaces);
    }

    fn price(&mut self, side: Side) -> i64 {
        // Buys around 100, sells around 103: they cross now and then.
        (if side.is_buy() { 96 } else { 99 }) + self.rng.below(8) as i64
    }

    fn pick(&mut self) -> Option<usize> {
        let count = self.open.len() as u64;
        (count > 0).then(|| self.rng.below(count) as usize)
    }

    fn is_paused(&self, instrument: InstrumentId) -> bool {
        self.paused[instrument.0 as usize - 1]
    }

    fn enter(&mut self, mut order: Open, replaces: Option<Open>) {
        let booked = self.best_against(&order).is_none();
        if booked {
            self.join(&mut order);
        }
        let accepted = Accepted {
            key: order.key,
            order_ref: order.order_ref,
            firm: order.firm,
            instrument: order.instrument,
            side: order.side,
            qty: Qty(order.leaves_qty),
            price: Price(order.price),
            time_in_force: TimeInForce::Day,
            display: order.display,
            capacity: Capacity::Agency,
            cl_ord_id: ClOrdId::default(),
            options: OrderOptions::default(),
            booked,
            shown_qty: order.shown.qty,
        };
        self.event(match replaces {
            None => EventBody::Accepted(accepted),
            Some(original) => EventBody::Replaced(Replaced {
                orig_user_ref_num: original.key.num(),
                orig_order_ref: original.order_ref,
                orig_shown: original.shown,
                order: accepted,
            }),
        });
        let mut trades = 0;
        while order.leaves_qty > 0
            && let Some(against) = self.best_against(&order)
        {
            let resting = self.open[against];
            let qty = order.leaves_qty.min(resting.tradable());
            self.open[against].execute(qty);
            order.execute(qty);
            let resting_left = self.open[against];
            if resting.firm == order.firm && self.rng.below(4) == 0 {
                self.prevented(&resting, &resting_left, qty, true);
                self.prevented(&order, &order, qty, false);
            } else {
                let left = [&resting_left, &order];
                let trade = trade(self.match_number(trades), [&resting, &order], left, qty);
                trades += 1;
                self.event(EventBody::Trade(Trade {
                    price: Price(resting.price),
                    resting_price: Price(if resting.shown.qty.0 > 0 { resting.price } else { 0 }),
                    aggressor_buys: order.side.is_buy(),
                    ..trade
                }));
            }
            self.refresh(against);
            self.open.retain(|order| order.leaves_qty > 0);
        }
        if order.leaves_qty > 0 {
            if !booked {
                self.join(&mut order);
                self.rested(&order);
            }
            self.open.push(order);
        }
    }

    fn match_number(&self, trades: u32) -> MatchNumber {
        MatchNumber::new(Seq(self.seq + 1), trades)
    }

    fn join(&mut self, order: &mut Open) {
        self.joined += 1;
        order.joined = self.joined;
        let is_shown = order.display != Display::Hidden;
        order.shown.qty = Qty(if is_shown { order.floor.min(order.leaves_qty) } else { 0 });
    }

    /// An iceberg order of which nothing is shown any more shows its next part.
    fn refresh(&mut self, index: usize) {
        let mut order = self.open[index];
        if order.display == Display::Hidden || order.shown.qty.0 > 0 || order.leaves_qty == 0 {
            return;
        }
        order.shown.order_ref = OrderRef::new(Seq(self.seq + 1), 2 + self.said.len() as u32);
        self.join(&mut order);
        self.open[index] = order;
        self.event(EventBody::Refreshed(Refreshed {
            key: order.key,
            order_ref: order.order_ref,
            firm: order.firm,
            instrument: order.instrument,
            side: order.side,
            price: Price(order.price),
            display: order.display,
            shown: order.shown,
            leaves_qty: Qty(order.leaves_qty),
        }));
    }

    fn rested(&mut self, order: &Open) {
        self.event(EventBody::Rested(Rested {
            order_ref: order.order_ref,
            shown: order.shown,
            firm: order.firm,
            instrument: order.instrument,
            side: order.side,
            qty: Qty(order.leaves_qty),
            price: Price(order.price),
            display: order.display,
        }));
    }

    fn prevented(&mut self, before: &Open, left: &Open, qty: u64, rested: bool) {
        self.event(EventBody::SelfTradePrevented(SelfTradePrevented {
            key: left.key,
            order_ref: left.order_ref,
            instrument: left.instrument,
            qty: Qty(qty),
            leaves_qty: Qty(left.leaves_qty),
            prevented_qty: Qty(qty),
            price: Price(left.price),
            rested,
            stp: Stp::Decrement,
            shown: before.shown,
            shown_leaves: left.shown.qty,
        }));
    }

    /// Orders of an instrument's side as they are served.
    fn line(&self, instrument: InstrumentId, buys: bool) -> Vec<usize> {
        let mut line: Vec<_> = (0..self.open.len())
            .filter(|&index| {
                let order = &self.open[index];
                order.instrument == instrument && order.side.is_buy() == buys
            })
            .collect();
        let sign = if buys { -1 } else { 1 };
        line.sort_by_key(|&index| {
            let order = &self.open[index];
            (sign * order.price, order.display == Display::Hidden, order.joined)
        });
        line
    }

    /// The order that `order` would trade with first.
    fn best_against(&self, order: &Open) -> Option<usize> {
        if self.is_paused(order.instrument) {
            return None;
        }
        let best = *self.line(order.instrument, !order.side.is_buy()).first()?;
        let price = self.open[best].price;
        let meets = if order.side.is_buy() { price <= order.price } else { price >= order.price };
        meets.then_some(best)
    }

    /// Pauses an instrument, or ends its pause with a cross.
    fn pause_or_cross(&mut self) {
        let instrument = InstrumentId(1 + self.rng.below(self.instruments.len() as u64) as u32);
        let is_paused = &mut self.paused[instrument.0 as usize - 1];
        *is_paused = !*is_paused;
        if !*is_paused {
            self.cross(instrument);
        }
        let phase = if self.is_paused(instrument) { Phase::Paused } else { Phase::Continuous };
        self.event(EventBody::PhaseChanged { instrument, phase, reason: *b"VENU" });
    }

    fn cross(&mut self, instrument: InstrumentId) {
        let (bids, asks) = (self.line(instrument, true), self.line(instrument, false));
        let mut pairs = Vec::new();
        let mut left: Vec<_> = self.open.iter().map(|order| order.leaves_qty).collect();
        let (mut bid, mut ask) = (bids.iter().peekable(), asks.iter().peekable());
        while let (Some(&&buyer), Some(&&seller)) = (bid.peek(), ask.peek())
            && self.open[buyer].price >= self.open[seller].price
        {
            let qty = left[buyer].min(left[seller]);
            pairs.push((buyer, seller, qty));
            left[buyer] -= qty;
            left[seller] -= qty;
            bid.next_if(|&&index| left[index] == 0);
            ask.next_if(|&&index| left[index] == 0);
        }
        // The last ask that trades is no dearer than the last bid, so its price suits all before it.
        let price = Price(pairs.last().map_or(0, |&(_, seller, _)| self.open[seller].price));
        for (trades, &(buyer, seller, qty)) in pairs.iter().enumerate() {
            let is_older = self.open[buyer].order_ref < self.open[seller].order_ref;
            let (resting, aggressor) = if is_older { (buyer, seller) } else { (seller, buyer) };
            let before = [self.open[resting], self.open[aggressor]];
            self.open[resting].execute(qty);
            self.open[aggressor].execute(qty);
            let left = [&self.open[resting], &self.open[aggressor]];
            let trade = trade(self.match_number(trades as u32), before.each_ref(), left, qty);
            let resting_price = Price(if before[0].shown.qty.0 > 0 { before[0].price } else { 0 });
            let (cross, aggressor_buys) = (CrossKind::Halt, !is_older);
            self.event(EventBody::Trade(Trade { price, cross, resting_price, aggressor_buys, ..trade }));
        }
        let qty = Qty(pairs.iter().map(|&(_, _, qty)| qty).sum());
        let match_number = self.match_number(pairs.len() as u32);
        let (kind, crossed) = (CrossKind::Halt, qty.0 > 0);
        if crossed {
            self.event(EventBody::Crossed(Crossed { instrument, kind, price, qty, match_number }));
        }
        for index in bids.into_iter().chain(asks) {
            self.refresh(index);
        }
        self.open.retain(|order| order.leaves_qty > 0);
    }

    /// Puts the price test of the first instrument in force or takes it back.
    fn restrict(&mut self) {
        self.restricted = !self.restricted;
        let rules = InstrumentRules { short_restricted: self.restricted, ..InstrumentRules::PLAIN };
        self.event(EventBody::Controlled(Control::SetRules { instrument: InstrumentId(1), rules }));
    }

    fn cancel(&mut self, index: usize, qty: u64) {
        let before = self.open[index];
        self.open[index].shrink(qty);
        let order = self.open[index];
        self.open.retain(|order| order.leaves_qty > 0);
        self.event(EventBody::Canceled(Canceled {
            key: order.key,
            order_ref: order.order_ref,
            instrument: order.instrument,
            qty: Qty(qty),
            leaves_qty: Qty(order.leaves_qty),
            reason: CancelReason::User,
            shown: before.shown,
            shown_leaves: order.shown.qty,
        }));
    }

    fn modify(&mut self, index: usize, qty: u64) {
        let before = self.open[index];
        self.open[index].shrink(qty);
        let order = self.open[index];
        self.event(EventBody::Modified(Modified {
            key: order.key,
            order_ref: order.order_ref,
            instrument: order.instrument,
            side: order.side,
            qty: Qty(qty),
            leaves_qty: Qty(order.leaves_qty),
            shown: before.shown,
            shown_leaves: order.shown.qty,
        }));
    }

    /// What each instrument does: its ITCH trading state, and whether its price test is in force.
    pub fn states(&self) -> Vec<(u8, bool)> {
        let state = |&is_paused: &bool| if is_paused { b'P' } else { b'T' };
        let states = self.paused.iter().map(state);
        states.enumerate().map(|(index, state)| (state, index == 0 && self.restricted)).collect()
    }

    fn say(&mut self, bodies: impl IntoIterator<Item = EventBody>) -> Vec<Event> {
        bodies.into_iter().for_each(|body| self.event(body));
        self.end_command()
    }

    fn event(&mut self, body: EventBody) {
        let (seq, step) = (Seq(self.seq + 1), self.said.len() as u32);
        let time = Nanos(MIDNIGHT + 34_200_000_000_000 + seq.0);
        self.said.push(Event { seq, time, stage: Stage::Matching, step, body });
    }

    fn end_command(&mut self) -> Vec<Event> {
        self.seq += 1;
        std::mem::take(&mut self.said)
    }

    /// The venue's own books in the canonical order of a follower: what is shown of them.
    pub fn lines(&self) -> Vec<Line> {
        let mut open: Vec<_> = self.open.iter().filter(|order| order.shown.qty.0 > 0).collect();
        open.sort_by_key(|order| {
            let sign = if order.side.is_buy() { -1 } else { 1 };
            let symbol = self.instruments[order.instrument.0 as usize - 1].symbol;
            (symbol, !order.side.is_buy(), sign * order.price, order.joined)
        });
        open.iter()
            .map(|order| {
                let instrument = &self.instruments[order.instrument.0 as usize - 1];
                Line {
                    symbol: instrument.symbol,
                    side: if order.side.is_buy() { Side::Buy } else { Side::Sell },
                    price: order.price as u32 * instrument.price_tick(),
                    order_ref: order.shown.order_ref,
                    shares: order.shown.qty.0 as u32,
                }
            })
            .collect()
    }
}

/// A trade of continuous trading without its prices: the older order first, as both were and as they are.
fn trade(match_number: MatchNumber, before: [&Open; 2], left: [&Open; 2], qty: u64) -> Trade {
    let executed = |side: usize| Executed {
        key: left[side].key,
        order_ref: left[side].order_ref,
        leaves_qty: Qty(left[side].leaves_qty),
        shown: before[side].shown,
    };
    Trade {
        match_number,
        instrument: left[0].instrument,
        price: Price(0),
        qty: Qty(qty),
        aggressor_buys: false,
        resting: executed(0),
        aggressor: executed(1),
        cross: CrossKind::None,
        resting_price: Price(0),
    }
}
