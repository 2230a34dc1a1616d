//! A venue on paper: price-time priority over sorted maps and nothing else. It says beforehand
//! whether a recording can be replayed, and is the twin a real venue's replay is compared with.

use super::file::{BookSide, Depth, Level};
use super::replay::{Fill, OrderId, Venue};
use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;

#[derive(Clone, Copy, Debug)]
struct Resting {
    order: OrderId,
    executed: u32,
    leaves: u32,
}

/// Levels by price, each the orders in the order of their arrival.
#[derive(Clone, Debug, Default)]
pub struct PaperVenue {
    bids: BTreeMap<u64, Vec<Resting>>,
    asks: BTreeMap<u64, Vec<Resting>>,
    places: HashMap<OrderId, (BookSide, u64)>,
}

impl PaperVenue {
    fn side_mut(&mut self, side: BookSide) -> &mut BTreeMap<u64, Vec<Resting>> {
        match side {
            BookSide::Bid => &mut self.bids,
            BookSide::Ask => &mut self.asks,
        }
    }

    /// Trades up to `size` with the other side at `limit` or better; says what is left.
    fn trade(&mut self, incoming: BookSide, mut size: u32, limit: u64, fills: &mut Vec<Fill>) -> u32 {
        let resting_side = incoming.opposite();
        while size > 0 {
            let levels = self.side_mut(resting_side);
            let best = match resting_side {
                BookSide::Bid => levels.last_entry(),
                BookSide::Ask => levels.first_entry(),
            };
            let Some(mut level) = best else { break };
            if resting_side.is_better(limit, *level.key()) {
                break;
            }
            let queue = level.get_mut();
            let front = &mut queue[0];
            let traded = size.min(front.leaves);
            front.leaves -= traded;
            front.executed += traded;
            size -= traded;
            fills.push(Fill { order: front.order, size: traded });
            if front.leaves == 0 {
                queue.remove(0);
            }
            if queue.is_empty() {
                level.remove();
            }
        }
        size
    }
}

impl Venue for PaperVenue {
    type Error = Infallible;

    fn add(&mut self, order: OrderId, side: BookSide, size: u32, price: u64) -> Result<(), Infallible> {
        let leaves = self.trade(side, size, price, &mut Vec::new());
        if leaves > 0 {
            let resting = Resting { order, executed: size - leaves, leaves };
            self.side_mut(side).entry(price).or_default().push(resting);
            self.places.insert(order, (side, price));
        }
        Ok(())
    }

    fn cancel(&mut self, order: OrderId, total: u32) -> Result<(), Infallible> {
        let Some(&(side, price)) = self.places.get(&order) else { return Ok(()) };
        let levels = self.side_mut(side);
        let Some(queue) = levels.get_mut(&price) else { return Ok(()) };
        if let Some(resting) = queue.iter_mut().find(|resting| resting.order == order) {
            resting.leaves = resting.leaves.min(total.saturating_sub(resting.executed));
        }
        queue.retain(|resting| resting.leaves > 0);
        if queue.is_empty() {
            levels.remove(&price);
        }
        Ok(())
    }

    fn take(
        &mut self,
        side: BookSide,
        size: u32,
        price: u64,
        fills: &mut Vec<Fill>,
    ) -> Result<(), Infallible> {
        self.trade(side, size, price, fills);
        Ok(())
    }

    fn book(&mut self, depth: &mut Depth) -> Result<(), Infallible> {
        let level = |(&price, queue): (&u64, &Vec<Resting>)| Level {
            price,
            size: queue.iter().map(|resting| u64::from(resting.leaves)).sum(),
        };
        depth.bids.clear();
        depth.asks.clear();
        depth.bids.extend(self.bids.iter().rev().map(level));
        depth.asks.extend(self.asks.iter().map(level));
        Ok(())
    }
}
