//! Stage 3, by account: posts the legs and fees of each trade and sets every hold to the exact worst case of what
//! is left.

use crate::{
    desk::{Desk, OpenRecord, cost_max, delivery, notional},
    directory::InstrumentState,
    fees,
    homes::{shard_of, slot_of},
    ledger::Ledger,
    limits::is_short,
    matching::{Effect, Fill, Voice},
    slab::Slab,
    trades::{DayTrades, Leg},
};
use ironbell_types::{Amount, EventBody, Instrument, MatchNumber, Qty, Settled, Side};

/// A trade as it is posted.
struct Posting<'a> {
    fill: &'a Fill,
    state: &'a InstrumentState,
    /// What the seller delivers.
    base: i128,
    /// What the buyer pays, fees aside.
    quote: i128,
}

impl Posting<'_> {
    /// Posts one side, but for its fee's other end: the fee, which is returned.
    #[inline(always)]
    fn leg<const BUYS: bool>(
        &self,
        token: u32,
        open: &mut Slab<OpenRecord>,
        ledger: &mut Ledger,
        trades: &mut DayTrades,
        voice: &mut Voice<'_>,
    ) -> i128 {
        let Self { fill, state, base, quote } = *self;
        let record = &mut open[slot_of(token)];
        let fees = &state.fees[usize::from(record.tier)];
        let rate_bps = if fill.cross {
            fees.maker_bps.max(fees.taker_bps)
        } else if token == fill.resting {
            fees.maker_bps
        } else {
            fees.taker_bps
        };
        record.leaves -= fill.qty.0;
        record.executed += fill.qty.0;
        let due = fees::charge(&mut record.fee_sum, quote, rate_bps, fees.minimum) - record.charged;
        // A seller is never charged more than it received.
        let fee = if BUYS { due } else { due.min(quote) };
        record.charged += fee;
        if BUYS {
            ledger.add(record.base, base);
            ledger.add(record.quote, -quote - fee);
        } else {
            ledger.add(record.base, -base);
            ledger.add(record.quote, quote - fee);
        }
        trades.push_with(|| Leg {
            match_number: fill.match_number,
            key: record.key,
            instrument: fill.instrument,
            buys: BUYS,
            busted: false,
            price: fill.price,
            qty: fill.qty,
            tick_value: state.instrument.tick_value,
            worth: record.worth,
            fee,
        });
        let account = ledger.account(record.base);
        voice.say_with(|| {
            EventBody::Settled(Settled {
                match_number: fill.match_number,
                instrument: fill.instrument,
                account,
                buys: BUYS,
                base: Amount(base),
                quote: Amount(quote),
                fee: Amount(fee),
            })
        });
        fee
    }
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
        let counted = if self.counts_any() { self.are_counted([buyer, seller], mine) } else { [false; 2] };
        if counted != [false; 2] {
            self.recount([buyer, seller], counted, -1);
        }
        let Self { open, directory, ledger, trades, fee_entries, .. } = self;
        let state = directory.instrument(fill.instrument).expect("a trade's instrument is known");
        let Instrument { tick_value, lot_units, .. } = state.instrument;
        let posting = Posting {
            fill,
            state,
            base: i128::from(fill.qty.0) * i128::from(lot_units),
            quote: notional(tick_value, fill.price.0.cast_unsigned(), fill.qty.0)
                .expect("what traded fits, since the buyer's hold of more did"),
        };
        let mut fees = 0;
        if mine[0] {
            voice.at(step);
            fees += posting.leg::<true>(buyer, open, ledger, trades, voice);
        }
        if mine[1] {
            voice.at(step + 1);
            fees += posting.leg::<false>(seller, open, ledger, trades, voice);
        }
        ledger.add(fee_entries[fill.instrument.0 as usize - 1], fees);
        if counted != [false; 2] {
            self.count_legs(fill.match_number, [buyer, seller], counted);
            self.recount([buyer, seller], counted, 1);
        }
        // The hold of who came in is set once, when it is heard what stands of it.
        if shard_of(fill.resting) == self.shard {
            self.stand(slot_of(fill.resting));
        }
        if fill.cross && shard_of(fill.aggressor) == self.shard {
            self.stand(slot_of(fill.aggressor));
        }
    }

    /// Sets the hold of what is left of an order that has just traded.
    #[inline(always)]
    fn stand(&mut self, slot: u32) {
        let OpenRecord { leaves, side, .. } = self.open[slot];
        if leaves == 0 { self.close(slot) } else { self.set(slot, leaves, side) }
    }

    /// Whether anything counts a trade's orders, of those that are at home here.
    #[cold]
    fn are_counted(&self, tokens: [u32; 2], mine: [bool; 2]) -> [bool; 2] {
        [0, 1].map(|at| mine[at] && self.is_counted(&self.open[slot_of(tokens[at])]))
    }

    /// Counts those of a trade's orders that are counted as they are now, or with −1 as they were.
    #[cold]
    fn recount(&mut self, tokens: [u32; 2], counted: [bool; 2], sign: i128) {
        for (token, _) in tokens.into_iter().zip(counted).filter(|(_, counted)| *counted) {
            let record = self.open[slot_of(token)];
            self.count(&record, sign);
        }
    }

    /// Counts what those of a trade's orders that are counted have executed; theirs are the last legs.
    #[cold]
    fn count_legs(&mut self, match_number: MatchNumber, tokens: [u32; 2], counted: [bool; 2]) {
        let legs = [true, false].into_iter().zip(tokens).zip(counted);
        for ((buys, token), _) in legs.filter(|(_, counted)| *counted) {
            let leg = *self.trades.find(match_number, buys).expect("it was just settled");
            let (place, done) = self.done(&leg);
            self.limits.execute(place, &done);
            if is_short(self.open[slot_of(token)].side) {
                self.shorts_of(place.firm, place.instrument).executed += i128::from(leg.qty.0);
            }
        }
    }

    fn stands(&mut self, token: u32, leaves_qty: Qty, side: Side) {
        assert!(leaves_qty.0 <= self.open[token].leaves);
        if leaves_qty == Qty::ZERO { self.close(token) } else { self.set(token, leaves_qty.0, side) }
    }

    /// Sets what is left of an order, which is something, and its hold to the worst case of that.
    fn set(&mut self, token: u32, leaves: u64, side: Side) {
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
        // The first short sale makes its row.
        if is_short(record.side) || self.is_counted(record) {
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
