//! Stage 3, by account: posts the legs and fees of each trade and sets every hold to the exact worst case of what
//! is left.

use crate::{
    desk::{Desk, OpenRecord, cost_max, delivery, notional},
    fees,
    homes::{shard_of, slot_of},
    limits::is_short,
    matching::{Effect, Fill, Voice},
    trades::Leg,
};
use ironbell_types::{Amount, EventBody, Instrument, Qty, Settled, Side};

/// What a trade moves from one side to the other.
struct Moved {
    base: i128,
    quote: i128,
    tick_value: u64,
}

impl Desk {
    /// Posts what stage 2 did, in its order, as far as it concerns accounts at home here. A trade takes two steps,
    /// the buyer's leg and the seller's, whoever says them.
    pub(crate) fn settle(&mut self, effects: &[Effect], voice: &mut Voice<'_>) {
        let mut step = 0;
        for effect in effects {
            self.settle_one(effect, step, voice);
            step += effect.steps();
        }
    }

    /// Posts one effect, which speaks from `step` on.
    #[inline(always)]
    pub(crate) fn settle_one(&mut self, effect: &Effect, step: u32, voice: &mut Voice<'_>) {
        let mine = |token| shard_of(token) == self.shard;
        match *effect {
            Effect::Fill(ref fill) => self.fill(fill, step, voice),
            Effect::Stands { token, leaves_qty, side } if mine(token) => {
                self.stands(slot_of(token), leaves_qty, side);
            }
            Effect::Slid { token, price } if mine(token) => {
                self.open[slot_of(token)].price = price.0.cast_unsigned();
            }
            Effect::Triggered { token } if mine(token) => self.triggered(slot_of(token)),
            Effect::Gone { token, by } if mine(token) => {
                self.inherit(slot_of(token), slot_of(by));
                self.close(slot_of(token));
            }
            Effect::Lapsed { token } if mine(token) => self.lapse(slot_of(token)),
            // Of another shard, or nobody's in particular.
            _ => {}
        }
    }

    /// The sides of a trade that are at home here, the buyer's first.
    #[inline(always)]
    fn fill(&mut self, fill: &Fill, step: u32, voice: &mut Voice<'_>) {
        let (buyer, seller) =
            if fill.aggressor_buys { (fill.aggressor, fill.resting) } else { (fill.resting, fill.aggressor) };
        let mine = [buyer, seller].map(|token| shard_of(token) == self.shard);
        if mine == [false; 2] {
            return;
        }
        let Instrument { tick_value, lot_units, .. } = *self.instrument(fill.instrument);
        let moved = Moved {
            base: i128::from(fill.qty.0) * i128::from(lot_units),
            quote: notional(tick_value, fill.price.0.cast_unsigned(), fill.qty.0)
                .expect("what traded fits, since the buyer's hold of more did"),
            tick_value,
        };
        if mine[0] {
            voice.at(step);
            self.leg::<true>(fill, &moved, buyer, voice);
        }
        if mine[1] {
            voice.at(step + 1);
            self.leg::<false>(fill, &moved, seller, voice);
        }
    }

    /// One side of a trade.
    #[inline(always)]
    fn leg<const BUYS: bool>(&mut self, fill: &Fill, moved: &Moved, token: u32, voice: &mut Voice<'_>) {
        let (slot, rests) = (slot_of(token), token == fill.resting);
        let counted = self.is_counted(&self.open[slot]);
        if counted {
            self.recount(slot, -1);
        }
        let record = &mut self.open[slot];
        let state = self.directory.instrument(fill.instrument).expect("a trade's instrument is known");
        let fees = &state.fees[usize::from(record.tier)];
        let rate_bps = if fill.cross {
            fees.maker_bps.max(fees.taker_bps)
        } else if rests {
            fees.maker_bps
        } else {
            fees.taker_bps
        };
        let Moved { base, quote, tick_value } = *moved;
        record.leaves -= fill.qty.0;
        record.executed += fill.qty.0;
        let due = fees::charge(&mut record.fee_sum, quote, rate_bps, fees.minimum) - record.charged;
        // A seller is never charged more than it received.
        let fee = if BUYS { due } else { due.min(quote) };
        record.charged += fee;
        if BUYS {
            self.ledger.add(record.base, base);
            self.ledger.add(record.quote, -quote - fee);
        } else {
            self.ledger.add(record.base, -base);
            self.ledger.add(record.quote, quote - fee);
        }
        self.ledger.add(self.fee_entries[fill.instrument.0 as usize - 1], fee);

        let (key, leaves, side) = (record.key, record.leaves, record.side);
        let leg = Leg {
            match_number: fill.match_number,
            key,
            instrument: fill.instrument,
            buys: BUYS,
            busted: false,
            price: fill.price,
            qty: fill.qty,
            tick_value,
            worth: record.worth,
            fee,
        };
        self.trades.push(leg);
        voice.say(EventBody::Settled(Settled {
            match_number: fill.match_number,
            instrument: fill.instrument,
            account: self.directory.port(key.port()).expect("an order's port is known").port.account,
            buys: BUYS,
            base: Amount(base),
            quote: Amount(quote),
            fee: Amount(fee),
        }));
        if counted {
            self.count_leg(&leg, slot);
        }
        // The hold of who came in is set once, when it is heard what stands of it.
        if rests || fill.cross {
            self.set(slot, leaves, side);
        }
    }

    #[cold]
    fn recount(&mut self, slot: u32, sign: i128) {
        let record = self.open[slot];
        self.count(&record, sign);
    }

    /// Counts an execution, and its order as open again.
    #[cold]
    fn count_leg(&mut self, leg: &Leg, slot: u32) {
        let (place, done) = self.done(leg);
        self.limits.execute(place, &done);
        if is_short(self.open[slot].side) {
            self.shorts_of(place.firm, place.instrument).executed += i128::from(leg.qty.0);
        }
        self.recount(slot, 1);
    }

    fn stands(&mut self, token: u32, leaves_qty: Qty, side: Side) {
        assert!(leaves_qty.0 <= self.open[token].leaves);
        self.set(token, leaves_qty.0, side);
    }

    /// Sets what is left of an order and its hold to the worst case of that; an order with nothing left is
    /// closed.
    #[inline]
    fn set(&mut self, token: u32, leaves: u64, side: Side) {
        if leaves == 0 {
            return self.close(token);
        }
        let record = &self.open[token];
        assert!(record.side.is_buy() == side.is_buy());
        let counted = self.is_counted(record) || is_short(side);
        if counted {
            let record = *record;
            self.count_if_counted(&record, -1);
        }
        let hold =
            self.hold(&self.open[token], leaves).expect("the worst case of a part fits, as of the whole");
        let record = &mut self.open[token];
        self.ledger.rehold(record.held_in(), record.hold, hold);
        self.ledger.assert_covered(record.held_in());
        (record.leaves, record.side, record.hold) = (leaves, side, hold);
        if counted {
            let record = *record;
            self.count_if_counted(&record, 1);
        }
    }

    fn count_if_counted(&mut self, record: &OpenRecord, sign: i128) {
        if self.is_counted(record) {
            self.count(record, sign);
        }
    }

    /// The worst case of what is left of an order.
    #[inline]
    pub(crate) fn hold(&self, record: &OpenRecord, leaves: u64) -> Option<i128> {
        let state = self.directory.instrument(record.instrument).expect("an order's instrument is known");
        if !record.side.is_buy() {
            return delivery(&state.instrument, leaves);
        }
        let worth = notional(state.instrument.tick_value, record.worth, leaves)?;
        cost_max(worth, &state.fees[usize::from(record.tier)], record.fee_sum, record.charged)
    }
}
