//! A naive venue: sorted vectors, one command at a time. It says what a state machine would say, so that
//! the feed can be tested against books that it did not make itself.

use ironbell_client::itch_book::Line;
use ironbell_types::{
    Accepted, Asset, AssetId, CancelReason, Canceled, Capacity, ClOrdId, Display, Event, EventBody, Executed,
    Firm, FirmId, Instrument, InstrumentId, MatchNumber, Modified, Mpid, Nanos, OpenDay, OrderKey,
    OrderOptions, OrderRef, PortId, Price, Qty, Replaced, Rested, Scale, Seq, Side, Stage, Symbol,
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
}

pub struct Venue {
    rng: Rng,
    seq: u64,
    date: u32,
    instruments: Vec<Instrument>,
    /// In the order of arrival.
    open: Vec<Open>,
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
            instruments: Vec::new(),
            open: Vec::new(),
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
        self.say([EventBody::InstrumentDefined(instrument)])
    }

    pub fn open_day(&mut self) -> Vec<Event> {
        self.date += 1;
        let day = OpenDay { date: self.date, midnight: Nanos(MIDNIGHT) };
        self.say([EventBody::DayOpened(day)])
    }

    /// One random command's events.
    pub fn step(&mut self) -> Vec<Event> {
        let next = OrderRef::new(Seq(self.seq + 1), 0);
        match self.rng.below(10) {
            0..=4 => {
                let (instrument, side) = (self.rng.below(self.instruments.len() as u64), self.rng.below(4));
                let order = Open {
                    key: OrderKey::new(PortId(1), UserRefIdx(0), UserRefNum(self.seq as u32)),
                    order_ref: next,
                    firm: FirmId(1 + self.rng.below(2) as u32),
                    instrument: InstrumentId(instrument as u32 + 1),
                    side: Side::ALL[side as usize],
                    leaves_qty: 1 + self.rng.below(9),
                    price: self.price(Side::ALL[side as usize]),
                    display: Display::ALL[self.rng.below(2) as usize],
                };
                self.enter(order, None);
            }
            5..=6 => {
                if let Some(order) = self.pick() {
                    let gone = 1 + self.rng.below(self.open[order].leaves_qty);
                    self.cancel(order, gone);
                }
            }
            7 => {
                if let Some(order) = self.pick() {
                    let shrinks_by = self.rng.below(self.open[order].leaves_qty);
                    self.modify(order, shrinks_by);
                }
            }
            _ => {
                if let Some(order) = self.pick() {
                    let original = self.open.remove(order);
                    let order = Open {
                        key: OrderKey::new(PortId(1), UserRefIdx(0), UserRefNum(self.seq as u32)),
                        order_ref: next,
                        leaves_qty: 1 + self.rng.below(9),
                        price: self.price(original.side),
                        display: Display::ALL[self.rng.below(2) as usize],
                        ..original
                    };
                    self.enter(order, Some(original));
                }
            }
        }
        self.end_command()
    }

    fn price(&mut self, side: Side) -> i64 {
        // Buys around 100, sells around 103: they cross now and then.
        (if side.is_buy() { 96 } else { 99 }) + self.rng.below(8) as i64
    }

    fn pick(&mut self) -> Option<usize> {
        let count = self.open.len() as u64;
        (count > 0).then(|| self.rng.below(count) as usize)
    }

    fn enter(&mut self, mut order: Open, replaces: Option<Open>) {
        let booked = self.best_against(&order).is_none();
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
        };
        self.event(match replaces {
            None => EventBody::Accepted(accepted),
            Some(original) => EventBody::Replaced(Replaced {
                orig_user_ref_num: original.key.num(),
                orig_order_ref: original.order_ref,
                order: accepted,
            }),
        });
        let mut trades = 0;
        while order.leaves_qty > 0
            && let Some(resting) = self.best_against(&order)
        {
            let resting = &mut self.open[resting];
            let qty = order.leaves_qty.min(resting.leaves_qty);
            order.leaves_qty -= qty;
            resting.leaves_qty -= qty;
            let executed = |order: &Open| Executed {
                key: order.key,
                order_ref: order.order_ref,
                leaves_qty: Qty(order.leaves_qty),
            };
            let trade = Trade {
                match_number: MatchNumber::new(Seq(self.seq + 1), trades),
                instrument: order.instrument,
                price: Price(resting.price),
                qty: Qty(qty),
                aggressor_buys: order.side.is_buy(),
                resting: executed(resting),
                aggressor: executed(&order),
            };
            trades += 1;
            self.open.retain(|order| order.leaves_qty > 0);
            self.event(EventBody::Trade(trade));
        }
        if order.leaves_qty > 0 && !booked {
            self.event(EventBody::Rested(Rested {
                order_ref: order.order_ref,
                firm: order.firm,
                instrument: order.instrument,
                side: order.side,
                qty: Qty(order.leaves_qty),
                price: Price(order.price),
                display: order.display,
            }));
        }
        if order.leaves_qty > 0 {
            self.open.push(order);
        }
    }

    /// The order that `order` would trade with first.
    fn best_against(&self, order: &Open) -> Option<usize> {
        let against = self.open.iter().enumerate().filter(|(_, resting)| {
            resting.instrument == order.instrument
                && resting.side.is_buy() != order.side.is_buy()
                && if order.side.is_buy() {
                    resting.price <= order.price
                } else {
                    resting.price >= order.price
                }
        });
        let sign = if order.side.is_buy() { 1 } else { -1 };
        against.min_by_key(|(_, resting)| (sign * resting.price, resting.order_ref)).map(|(index, _)| index)
    }

    fn cancel(&mut self, index: usize, qty: u64) {
        let order = &mut self.open[index];
        order.leaves_qty -= qty;
        let order = *order;
        self.open.retain(|order| order.leaves_qty > 0);
        self.event(EventBody::Canceled(Canceled {
            key: order.key,
            order_ref: order.order_ref,
            instrument: order.instrument,
            qty: Qty(qty),
            leaves_qty: Qty(order.leaves_qty),
            reason: CancelReason::User,
            displayed: true,
        }));
    }

    fn modify(&mut self, index: usize, qty: u64) {
        let order = &mut self.open[index];
        order.leaves_qty -= qty;
        let order = *order;
        self.event(EventBody::Modified(Modified {
            key: order.key,
            order_ref: order.order_ref,
            instrument: order.instrument,
            side: order.side,
            qty: Qty(qty),
            leaves_qty: Qty(order.leaves_qty),
        }));
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

    /// The venue's own books in the canonical order of a follower.
    pub fn lines(&self) -> Vec<Line> {
        let mut open = self.open.clone();
        open.sort_by_key(|order| {
            let sign = if order.side.is_buy() { -1 } else { 1 };
            let symbol = self.instruments[order.instrument.0 as usize - 1].symbol;
            (symbol, !order.side.is_buy(), sign * order.price, order.order_ref)
        });
        open.iter()
            .map(|order| {
                let instrument = &self.instruments[order.instrument.0 as usize - 1];
                Line {
                    symbol: instrument.symbol,
                    side: if order.side.is_buy() { Side::Buy } else { Side::Sell },
                    price: order.price as u32 * instrument.price_tick(),
                    order_ref: order.order_ref,
                    shares: order.leaves_qty as u32,
                }
            })
            .collect()
    }
}
