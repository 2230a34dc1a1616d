//! What members do: a stream of requests from a seed, in one of several styles ([`Mix`]).
//!
//! The market of the demo has the mix of a busy ITCH feed. Of 100 requests 45 add a passive order, 35 cancel, 10 replace and 10 take with an
//! immediate-or-cancel order ([`Shares::default`]). Marginals of a real day: about 696,000 adds,
//! 654,000 deletes and 60,000 executions for one liquid name; takers and replacements are raised here
//! so that ten seconds see every path. A cancel or replacement with nothing to name becomes an add,
//! an add over `standing_max` becomes a cancel of everything left of some order.
//!
//! Adds stand behind a mid price of their instrument, each tick further half as likely, and the mid
//! walks; three cancels of four take the whole order. Who acts and on which instrument is uniform.

mod exchange_core;
mod harsh;
mod hostile;
mod recorded;

pub use recorded::RecordedMarket;

use crate::orders::{OrderTable, Request};
use crate::rng::Rng;
use ironbell_types::Symbol;
use std::sync::Arc;

/// How many ticks behind the mid an add stands at most.
const DEPTH_TICKS: u64 = 8;
/// One request of so many moves its instrument's mid by a tick.
const MID_MOVES_ONE_IN: u64 = 16;
/// How many ticks the mid wanders from where it started at most.
const MID_RANGE_TICKS: u64 = 200;

/// Something members trade. Prices and quantities are those of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traded {
    /// Its name.
    pub symbol: Symbol,
    /// Where the mid starts: a multiple of `tick`, and above 220 of them.
    pub mid: u64,
    /// Wire price units of one tick.
    pub tick: u64,
    /// The largest order.
    pub qty_max: u32,
}

/// Shares of the kinds of request; any whole numbers, of which at least `adds` is not 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Passive day orders.
    pub adds: u32,
    /// Cancels, whole and partial.
    pub cancels: u32,
    /// Replacements.
    pub replaces: u32,
    /// Immediate-or-cancel orders.
    pub takers: u32,
}

impl Default for Shares {
    fn default() -> Self {
        Self { adds: 45, cancels: 35, replaces: 10, takers: 10 }
    }
}

/// In what manner members trade.
#[derive(Clone, Debug, PartialEq)]
pub enum Mix {
    /// The market of the demo.
    Market(Shares),
    /// The command mix of exchange-core's test generator, by its rules, for every instrument by itself: it fills
    /// the book to `book_target` orders first, then keeps it there while orders wander towards the last trade.
    /// Fill-or-kill, 0.06 % of it, goes as immediate-or-cancel. Prices hang on the seed, not on the instruments' mid.
    ExchangeCore {
        /// Resting orders of a book, both sides together.
        book_target: u32,
        /// Which of its two mixes, once the books are full.
        shares: ExchangeCoreShares,
    },
    /// The harsh single-book flow of the core's bench `matching_throughput`, one message a step of its time;
    /// instruments beyond the first are not used.
    Harsh {
        /// From its highest to its lowest point the mid falls by so many percent, in the first million requests;
        /// then it goes the same way back.
        swing_percent: u32,
    },
    /// Members who mean no good: orders that they cannot pay, cancels and replacements of what is done, orders
    /// that flicker at ever new prices, replacements to and fro, takers through the whole book.
    Hostile,
    /// What a recording tells of, over and over.
    Recorded(Arc<RecordedMarket>),
}

/// exchange-core has two mixes: the one that its README names is not the one that its generator makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeCoreShares {
    /// By the generator's rules: about 12.6 % new orders, 1.9 immediate, 14.4 cancels and reductions, 71.1 moves.
    Generator,
    /// As its README says: 9 % new orders, 3 immediate, 6 cancels, 82 moves.
    Readme,
}

impl Default for Mix {
    fn default() -> Self {
        Self::Market(Shares::default())
    }
}

/// What the flow is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowConfig {
    /// The same seed and the same answers give the same requests.
    pub seed: u64,
    /// What is traded.
    pub instruments: Vec<Traded>,
    /// In what manner.
    pub mix: Mix,
    /// Of a market: how many open orders a member has at most, so that a long run needs no more funds than a short one.
    pub standing_max: usize,
}

/// The stream of requests.
#[derive(Clone, Debug)]
pub struct Flow(Styled);

#[derive(Clone, Debug)]
enum Styled {
    Market(Market),
    ExchangeCore(exchange_core::ExchangeCore),
    Harsh(harsh::Harsh),
    Hostile(hostile::Hostile),
    Recorded(recorded::Recorded),
}

impl Flow {
    /// A flow from its start. Panics when there is no instrument or no add in the mix, or a mid is too low.
    #[must_use]
    pub fn new(config: FlowConfig) -> Self {
        assert!(!config.instruments.is_empty(), "a flow needs an instrument");
        Self(match config.mix.clone() {
            Mix::Market(shares) => Styled::Market(Market::new(config, shares)),
            Mix::ExchangeCore { book_target, shares } => {
                Styled::ExchangeCore(exchange_core::ExchangeCore::new(&config, book_target, shares))
            }
            Mix::Harsh { swing_percent } => Styled::Harsh(harsh::Harsh::new(&config, swing_percent)),
            Mix::Hostile => Styled::Hostile(hostile::Hostile::new(config)),
            Mix::Recorded(market) => Styled::Recorded(recorded::Recorded::new(&config, market)),
        })
    }

    /// Who sends what next. The request is not yet in the member's table.
    pub fn next(&mut self, tables: &[OrderTable]) -> (usize, Request) {
        match &mut self.0 {
            Styled::Market(flow) => flow.next(tables),
            Styled::ExchangeCore(flow) => flow.next(tables),
            Styled::Harsh(flow) => flow.next(tables),
            Styled::Hostile(flow) => flow.next(tables),
            Styled::Recorded(flow) => flow.next(tables),
        }
    }

    /// An instrument traded at a price, as members were told.
    pub fn traded(&mut self, instrument: u16, price: u64) {
        if let Styled::ExchangeCore(flow) = &mut self.0 {
            flow.traded(instrument, price);
        }
    }
}

/// The market of the demo.
#[derive(Clone, Debug)]
struct Market {
    config: FlowConfig,
    shares: Shares,
    mids: Vec<u64>,
    rng: Rng,
}

impl Market {
    fn new(config: FlowConfig, shares: Shares) -> Self {
        assert!(shares.adds > 0, "a flow needs adds");
        for traded in &config.instruments {
            let low = (MID_RANGE_TICKS + 2 * DEPTH_TICKS) * traded.tick;
            assert!(
                traded.mid > low && traded.mid.is_multiple_of(traded.tick) && traded.qty_max > 0,
                "{traded:?}"
            );
        }
        let mids = config.instruments.iter().map(|traded| traded.mid).collect();
        let rng = Rng::new(config.seed);
        Self { config, shares, mids, rng }
    }

    fn next(&mut self, tables: &[OrderTable]) -> (usize, Request) {
        let member = self.rng.below(tables.len() as u64) as usize;
        let table = &tables[member];
        let instrument = self.rng.below(self.config.instruments.len() as u64) as u16;
        self.move_mid(instrument);
        let Shares { adds, cancels, replaces, takers } = self.shares;
        let draw =
            self.rng.below(u64::from(adds) + u64::from(cancels) + u64::from(replaces) + u64::from(takers));
        let (adds, cancels, replaces) = (u64::from(adds), u64::from(cancels), u64::from(replaces));
        let is_full = table.live_count() >= self.config.standing_max;
        let request = if draw >= adds + cancels + replaces {
            self.taker(table, instrument)
        } else if table.live_count() > 0 && (draw >= adds + cancels) {
            self.replace(table)
        } else if table.live_count() > 0 && (draw >= adds || is_full) {
            self.cancel(table, is_full)
        } else {
            self.add(table, instrument)
        };
        (member, request)
    }

    fn move_mid(&mut self, instrument: u16) {
        if self.rng.below(MID_MOVES_ONE_IN) > 0 {
            return;
        }
        let up = self.rng.percent(50);
        let traded = &self.config.instruments[usize::from(instrument)];
        let range = MID_RANGE_TICKS * traded.tick;
        let mid = &mut self.mids[usize::from(instrument)];
        *mid = if up { *mid + traded.tick } else { *mid - traded.tick }
            .clamp(traded.mid - range, traded.mid + range);
    }

    fn qty(&mut self, instrument: u16) -> u32 {
        let qty_max = self.config.instruments[usize::from(instrument)].qty_max;
        self.rng.between(1, u64::from(qty_max)) as u32
    }

    /// A price on the passive side of the mid.
    fn passive(&mut self, instrument: u16, is_buy: bool) -> u64 {
        let tick = self.config.instruments[usize::from(instrument)].tick;
        let behind = (1 + self.rng.geometric(50, DEPTH_TICKS)) * tick;
        let mid = self.mids[usize::from(instrument)];
        if is_buy { mid - behind } else { mid + behind }
    }

    fn add(&mut self, table: &OrderTable, instrument: u16) -> Request {
        let is_buy = self.rng.percent(50);
        let price = self.passive(instrument, is_buy);
        let qty = self.qty(instrument);
        Request::Enter { user_ref_num: table.next_num(), instrument, is_buy, qty, price, is_ioc: false }
    }

    fn taker(&mut self, table: &OrderTable, instrument: u16) -> Request {
        let is_buy = self.rng.percent(50);
        // As deep on the other side as an add of that side would stand.
        let price = self.passive(instrument, !is_buy);
        let qty = self.qty(instrument);
        Request::Enter { user_ref_num: table.next_num(), instrument, is_buy, qty, price, is_ioc: true }
    }

    fn cancel(&mut self, table: &OrderTable, whole: bool) -> Request {
        let live = table.live(self.rng.below(table.live_count() as u64) as usize);
        let qty = if whole || live.leaves == 1 || self.rng.percent(75) {
            0
        } else {
            live.executed + self.rng.between(1, u64::from(live.leaves) - 1) as u32
        };
        Request::Cancel { user_ref_num: live.user_ref_num, qty }
    }

    fn replace(&mut self, table: &OrderTable) -> Request {
        let live = table.live(self.rng.below(table.live_count() as u64) as usize);
        let price = self.passive(live.instrument, live.is_buy);
        let qty = live.executed + self.qty(live.instrument);
        let orig_user_ref_num = live.user_ref_num;
        Request::Replace { orig_user_ref_num, user_ref_num: table.next_num(), qty, price }
    }
}
