//! The command mix of exchange-core's test generator (Apache-2.0; read at revision 2f85487, written anew here).
//!
//! Per instrument: a price p0 = 10^(3.3 + 1.5 U + 1.5 U) ticks, a deviation of 5 % of it and 10,000 ticks at most,
//! a range of five deviations about it. `lack` is half the target less what stands on a side, looked up every 512
//! commands. A draw q of n (2 while the book fills, or lacks more than 512 or 3/8 of the target; 10 while it lacks
//! anything; else 40): 0 or 1 is a new order, 2 a cancel, 3 a reduction, the rest moves. A new order is day while
//! the side lacks something, else immediate with its limit at the range's edge. Targets are drawn among the 512
//! oldest orders. A day order stands behind the last trade by the mean of four draws up to 1 + U² deviations; sizes
//! are 1 + r², r below 6. A move goes 1 % of the way towards the last trade.
//!
//! The project's README names other shares than these rules come to. With [`ExchangeCoreShares::Readme`] the kind of each
//! command is drawn by those instead, once the book is full; a book an eighth above its target takes a cancel for
//! a new order, one an eighth below a new order for a cancel.

use super::{ExchangeCoreShares, FlowConfig};
use crate::orders::{Fate, OrderTable, Request};
use crate::rng::Rng;
use std::collections::VecDeque;

const TARGETS: usize = 512;
const LOOK_EVERY: u64 = 512;

#[derive(Clone, Debug)]
pub(super) struct ExchangeCore {
    rng: Rng,
    target: i64,
    shares: ExchangeCoreShares,
    books: Vec<Book>,
}

#[derive(Clone, Debug)]
struct Book {
    tick: u64,
    low: i64,
    high: i64,
    deviation: f64,
    last_trade: i64,
    /// 1 while bids are the likelier, else -1.
    direction: i64,
    /// Orders as they came, the oldest first: member and present number.
    orders: VecDeque<(u32, u32)>,
    lack: [i64; 2],
    filling: bool,
    commands: u64,
}

impl ExchangeCore {
    pub(super) fn new(config: &FlowConfig, book_target: u32, shares: ExchangeCoreShares) -> Self {
        let mut rng = Rng::new(config.seed);
        let half = i64::from(book_target) / 2;
        let book = |traded: &super::Traded| {
            let p0 = 10f64.powf(3.3 + 1.5 * rng.unit() + 1.5 * rng.unit());
            let deviation = (0.05 * p0).min(10_000.0);
            let (low, high) = ((p0 - 5.0 * deviation) as i64, (p0 + 5.0 * deviation) as i64);
            Book {
                tick: traded.tick,
                low,
                high,
                deviation,
                last_trade: p0 as i64,
                direction: 1,
                orders: VecDeque::new(),
                lack: [half; 2],
                filling: true,
                commands: 0,
            }
        };
        let books = config.instruments.iter().map(book).collect();
        Self { rng, target: i64::from(book_target), shares, books }
    }

    pub(super) fn traded(&mut self, instrument: u16, price: u64) {
        let book = &mut self.books[usize::from(instrument)];
        book.last_trade = ((price / book.tick) as i64).clamp(book.low, book.high);
        if book.last_trade <= book.low {
            book.direction = 1;
        } else if book.last_trade >= book.high {
            book.direction = -1;
        }
    }

    pub(super) fn next(&mut self, tables: &[OrderTable]) -> (usize, Request) {
        let Self { rng, target, shares, books } = self;
        let instrument = rng.below(books.len() as u64) as u16;
        let book = &mut books[usize::from(instrument)];
        if book.commands.is_multiple_of(LOOK_EVERY) {
            book.look(tables, *target);
        }
        book.commands += 1;
        let is_buy = rng.below(4) as i64 + book.direction >= 2;
        let lack = book.lack[usize::from(is_buy)];
        let (q, is_ioc) = if *shares == ExchangeCoreShares::Readme && !book.filling {
            book.draw_of_readme(rng, *target)
        } else {
            let n = if book.filling || lack > (*target * 3 / 8).min(512) {
                2
            } else if lack > 0 {
                10
            } else {
                40
            };
            (rng.below(n), lack <= 0 && !book.filling)
        };
        if q >= 2
            && let Some((member, place)) = book.pick(rng, tables)
        {
            return (member, book.change(tables, member, place, q));
        }
        let member = rng.below(tables.len() as u64) as usize;
        let user_ref_num = tables[member].next_num();
        let qty = 1 + (rng.below(6) as u32).pow(2);
        let price = if is_ioc {
            if is_buy { book.high } else { book.low }
        } else {
            book.orders.push_back((member as u32, user_ref_num));
            book.lack[usize::from(is_buy)] -= 1;
            let deviation = 1.0 + rng.unit().powi(2) * book.deviation;
            let distance = (0..4).map(|_| rng.unit() * deviation).sum::<f64>() / 4.0;
            let behind = 1 + distance as i64;
            let price = if is_buy { book.last_trade - behind } else { book.last_trade + behind };
            price.clamp(book.low, book.high)
        };
        let price = price as u64 * book.tick;
        (member, Request::Enter { user_ref_num, instrument, is_buy, qty, price, is_ioc })
    }
}

impl Book {
    /// Counts what stands, and forgets what is over.
    fn look(&mut self, tables: &[OrderTable], target: i64) {
        let mut standing = [0; 2];
        self.orders.retain(|&(member, num)| match tables[member as usize].fate(num) {
            Fate::Over => false,
            Fate::UnderWay => true,
            Fate::Live(live) => {
                standing[usize::from(live.is_buy)] += 1;
                true
            }
        });
        self.lack = standing.map(|standing| target / 2 - standing);
        self.filling &= standing.iter().sum::<i64>() < target;
    }

    /// A kind by the README's shares: 0 a new order (and whether it is immediate), 2 a cancel, else a move.
    fn draw_of_readme(&self, rng: &mut Rng, target: i64) -> (u64, bool) {
        let standing = target - self.lack.iter().sum::<i64>();
        match rng.below(100) {
            0..9 if standing * 8 > target * 9 => (2, false),
            0..9 => (0, false),
            9..12 => (0, true),
            12..18 if standing * 8 < target * 7 => (0, false),
            12..18 => (2, false),
            _ => (4, false),
        }
    }

    /// One of the oldest orders that can be changed: its member, and its place in `orders`.
    fn pick(&mut self, rng: &mut Rng, tables: &[OrderTable]) -> Option<(usize, usize)> {
        for _ in 0..16 {
            let place = rng.below(self.orders.len().clamp(1, TARGETS) as u64) as usize;
            let &(member, num) = self.orders.get(place)?;
            match tables[member as usize].fate(num) {
                Fate::Live(_) => return Some((member as usize, place)),
                Fate::Over => drop(self.orders.remove(place)),
                Fate::UnderWay => {}
            }
        }
        None
    }

    fn change(&mut self, tables: &[OrderTable], member: usize, place: usize, q: u64) -> Request {
        let (_, num) = self.orders[place];
        let table = &tables[member];
        let Fate::Live(live) = table.fate(num) else { unreachable!("it was picked because it is live") };
        match q {
            3 if live.leaves > 1 => {
                Request::Cancel { user_ref_num: num, qty: live.executed + live.leaves.div_ceil(2) }
            }
            2 | 3 => {
                self.orders.remove(place);
                Request::Cancel { user_ref_num: num, qty: 0 }
            }
            _ => {
                let price = (table.price(num).expect("it is live") / self.tick) as i64;
                let gap = self.last_trade - price;
                let step = if gap == 0 { 1 } else { (gap.abs() / 100).max(1) * gap.signum() };
                let price = (price + step).clamp(self.low, self.high) as u64 * self.tick;
                let user_ref_num = table.next_num();
                self.orders[place].1 = user_ref_num;
                let qty = live.executed + live.leaves;
                Request::Replace { orig_user_ref_num: num, user_ref_num, qty, price }
            }
        }
    }
}
