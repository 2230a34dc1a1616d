//! Members who mean no good. Each of them is within the protocol; what they do is to cost the venue more than it
//! costs them.

use super::FlowConfig;
use crate::orders::{OrderTable, Request};
use crate::rng::Rng;

/// Orders of a member that stand at most, apart from those that flicker.
const STANDING_MAX: usize = 64;
/// Prices that an order may flicker at.
const LEVELS: u64 = 100;

#[derive(Clone, Debug)]
pub(super) struct Hostile {
    config: FlowConfig,
    rng: Rng,
    flicker: u64,
}

impl Hostile {
    pub(super) fn new(config: FlowConfig) -> Self {
        for traded in &config.instruments {
            assert!(traded.mid > (LEVELS + 8) * traded.tick, "room for every price: {traded:?}");
        }
        let rng = Rng::new(config.seed);
        Self { config, rng, flicker: 0 }
    }

    pub(super) fn next(&mut self, tables: &[OrderTable]) -> (usize, Request) {
        let rng = &mut self.rng;
        let member = rng.below(tables.len() as u64) as usize;
        let instrument = rng.below(self.config.instruments.len() as u64) as u16;
        let traded = self.config.instruments[usize::from(instrument)];
        let table = &tables[member];
        let user_ref_num = table.next_num();
        let is_buy = rng.percent(50);
        let draw = rng.below(100);
        if table.live_count() > STANDING_MAX {
            let user_ref_num = table.live(rng.below(table.live_count() as u64) as usize).user_ref_num;
            return (member, Request::Cancel { user_ref_num, qty: 0 });
        }
        let enter = |is_buy, qty, price, is_ioc| Request::Enter {
            user_ref_num,
            instrument,
            is_buy,
            qty,
            price,
            is_ioc,
        };
        let request = match draw {
            // More than anybody has: the largest quantity at the highest price that is bought at.
            0..20 => enter(true, 999_999, (traded.mid + LEVELS * traded.tick) * 50, false),
            // The same order once more, when it is long over.
            20..40 if table.sent_count() > 0 => {
                let back = 1 + rng.below(table.sent_count().min(512) as u64) as u32;
                Request::Cancel { user_ref_num: user_ref_num - back, qty: 0 }
            }
            // At a price where nothing stands, and away with it.
            40..60 => {
                self.flicker = (self.flicker + 37) % LEVELS;
                let behind = (8 + self.flicker) * traded.tick;
                let price = if is_buy { traded.mid - behind } else { traded.mid + behind };
                enter(is_buy, 1, price, false)
            }
            // To and fro.
            60..85 if table.live_count() > 0 => {
                let live = table.live(rng.below(table.live_count() as u64) as usize);
                let old = table.price(live.user_ref_num).expect("it is live");
                let price =
                    if old.is_multiple_of(2 * traded.tick) { old + traded.tick } else { old - traded.tick };
                let (orig_user_ref_num, qty) = (live.user_ref_num, live.executed + live.leaves);
                Request::Replace { orig_user_ref_num, user_ref_num, qty, price }
            }
            // Through everything that stands.
            85..90 => {
                let behind = LEVELS * traded.tick;
                let price = if is_buy { traded.mid + behind } else { traded.mid - behind };
                enter(is_buy, 500, price, true)
            }
            _ => {
                let behind = (1 + rng.below(8)) * traded.tick;
                let price = if is_buy { traded.mid - behind } else { traded.mid + behind };
                enter(is_buy, 1 + rng.below(10) as u32, price, false)
            }
        };
        (member, request)
    }
}
