//! The harsh single-book flow, open-ended: every order's life is planned when it arrives, and what is planned
//! happens in the order of its time. A step of that time is a new order.

use super::FlowConfig;
use crate::orders::{OrderTable, Request};
use crate::rng::Rng;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

const MID_TICKS: f64 = 33_504.0;
/// New orders until the mid has come to its lowest point.
const HALF_PERIOD: u64 = 1_000_000;
/// Steps: where the original has a median of 0.431 ms and an arrival every microsecond.
const LIFE_MEDIAN: f64 = 431.0;
const DISTANCE_MAX: usize = 30;
/// Cancels that may come a second time.
const STALE: usize = 64;

#[derive(Clone, Debug)]
pub(super) struct Harsh {
    rng: Rng,
    tick: u64,
    /// What the mid's logarithm comes to over half a period.
    fall: f64,
    log: f64,
    step: u64,
    /// When, which of `orders`, and whether it is the end.
    planned: BinaryHeap<Reverse<(u64, u64, bool)>>,
    /// Orders with something planned: from the number `first` on.
    orders: VecDeque<Option<Planned>>,
    first: u64,
    canceled: VecDeque<(usize, u32)>,
    cumulative: Vec<f64>,
}

#[derive(Clone, Copy, Debug)]
struct Planned {
    member: usize,
    num: u32,
    qty: u32,
    moved: u64,
}

impl Harsh {
    pub(super) fn new(config: &FlowConfig, swing_percent: u32) -> Self {
        assert!(swing_percent < 100, "a price cannot fall by all of itself");
        let mut sum = 0.0;
        let weight = |d: usize| {
            let relative = d as f64 / 8.0;
            if d < 8 { relative } else { relative.powf(-2.23) }
        };
        let add = |d| {
            sum += weight(d);
            sum
        };
        let cumulative = (1..=DISTANCE_MAX).map(add).collect();
        Self {
            rng: Rng::new(config.seed),
            tick: config.instruments[0].tick,
            fall: (1.0 - f64::from(swing_percent) / 100.0).ln(),
            log: 0.0,
            step: 0,
            planned: BinaryHeap::new(),
            orders: VecDeque::new(),
            first: 0,
            canceled: VecDeque::with_capacity(STALE),
            cumulative,
        }
    }

    pub(super) fn next(&mut self, tables: &[OrderTable]) -> (usize, Request) {
        if self.rng.percent(2) && !self.canceled.is_empty() {
            let (member, user_ref_num) = self.canceled[self.rng.below(self.canceled.len() as u64) as usize];
            return (member, Request::Cancel { user_ref_num, qty: 0 });
        }
        while let Some(&Reverse((at, order, is_end))) = self.planned.peek()
            && at <= self.step
        {
            self.planned.pop();
            if let Some(request) = self.happen(tables, order, is_end) {
                return request;
            }
        }
        self.arrive(tables)
    }

    fn happen(&mut self, tables: &[OrderTable], order: u64, is_end: bool) -> Option<(usize, Request)> {
        let place = (order - self.first) as usize;
        let planned = self.orders[place].as_mut().expect("nothing is planned behind its end");
        let Planned { member, num, qty, moved } = *planned;
        if !is_end {
            // What is executed by now is not replaced.
            let live = tables[member].find(num)?;
            let user_ref_num = tables[member].next_num();
            planned.num = user_ref_num;
            let qty = live.executed + qty;
            return Some((
                member,
                Request::Replace { orig_user_ref_num: num, user_ref_num, qty, price: moved },
            ));
        }
        self.orders[place] = None;
        while let Some(None) = self.orders.front() {
            self.orders.pop_front();
            self.first += 1;
        }
        if self.canceled.len() == STALE {
            self.canceled.pop_front();
        }
        self.canceled.push_back((member, num));
        Some((member, Request::Cancel { user_ref_num: num, qty: 0 }))
    }

    fn arrive(&mut self, tables: &[OrderTable]) -> (usize, Request) {
        self.step += 1;
        let rng = &mut self.rng;
        // A drift that makes the swing, and a walk about it; buys are priced half a period ahead of sells.
        self.log += (rng.unit() + rng.unit() + rng.unit() - 1.5) * 2e-5;
        self.log *= 0.999_99;
        let member = rng.below(tables.len() as u64) as usize;
        let is_buy = rng.percent(50);
        let (is_ioc, is_replaced, is_canceled) = (rng.percent(15), rng.percent(20), rng.percent(95));
        let life = (rng.exponential() * LIFE_MEDIAN / std::f64::consts::LN_2) as u64;
        let price = self.draw_price(is_buy);
        let moved = if self.rng.percent(80) {
            if self.rng.percent(50) { price + self.tick } else { price - self.tick }
        } else {
            self.draw_price(is_buy)
        };
        let qty = self.rng.between(1, 100) as u32;
        let user_ref_num = tables[member].next_num();
        if !is_ioc && is_canceled {
            let order = self.first + self.orders.len() as u64;
            self.orders.push_back(Some(Planned { member, num: user_ref_num, qty, moved }));
            if is_replaced {
                self.planned.push(Reverse((self.step + life / 2, order, false)));
            }
            self.planned.push(Reverse((self.step + life, order, true)));
        }
        (member, Request::Enter { user_ref_num, instrument: 0, is_buy, qty, price, is_ioc })
    }

    fn draw_price(&mut self, is_buy: bool) -> u64 {
        // There and back again: 0 to 1 to 0.
        let along = (self.step % (2 * HALF_PERIOD)) as f64 / HALF_PERIOD as f64;
        let there = if along > 1.0 { 2.0 - along } else { along };
        // In a fall those who buy are behind it, and so they trade.
        let lag = if self.fall == 0.0 { 0.0 } else { 2e-4 };
        let way = if is_buy { there * (1.0 - lag) } else { there };
        let mid = (MID_TICKS * (self.fall * way + self.log).exp()) as u64;
        let at = self.rng.unit() * self.cumulative[DISTANCE_MAX - 1];
        let distance = 1 + self.cumulative.partition_point(|sum| *sum < at) as u64;
        let price = if is_buy { mid + 1 - distance } else { mid + distance };
        price * self.tick
    }
}
