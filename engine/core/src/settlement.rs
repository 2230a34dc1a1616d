//! Stage 3, by account: posts both legs and both fees of each trade at once, and sets every hold to
//! the exact worst case of what is left.

use crate::{
    desk::{Desk, OpenRecord, fee, notional, worst_case},
    matching::{Effect, Voice},
};
use ironbell_types::{
    Amount, EventBody, Instrument, InstrumentId, MatchNumber, Price, Qty, Seq, Settled, Side,
};

/// Posts what stage 2 did, in its order.
pub(crate) fn settle(desk: &mut Desk, effects: &[Effect], voice: &mut Voice<'_>) {
    for effect in effects {
        match *effect {
            Effect::Fill { match_number, instrument, price, qty, aggressor_buys, resting, aggressor } => {
                let fill = Fill { match_number, instrument, price, qty, aggressor_buys, resting, aggressor };
                desk.fill(&fill, voice);
            }
            Effect::Stands { token, leaves_qty, side } => desk.stands(token, leaves_qty, side),
            Effect::Gone { token } => desk.close(token),
            Effect::Sliced { cause, more } => desk.sliced(cause, more, voice),
        }
    }
}

#[derive(Clone)]
struct Fill {
    match_number: MatchNumber,
    instrument: InstrumentId,
    price: Price,
    qty: Qty,
    aggressor_buys: bool,
    resting: u32,
    aggressor: u32,
}

impl Desk {
    fn fill(&mut self, fill: &Fill, voice: &mut Voice<'_>) {
        let instrument = *self.directory.instrument(fill.instrument).expect("a trade's instrument is known");
        let quote = notional(&instrument, fill.price.0.cast_unsigned(), fill.qty.0)
            .expect("what traded fits, since the buyer's hold of more did");
        let base = i128::from(fill.qty.0) * i128::from(instrument.lot_units);
        let maker = execute(&mut self.open[fill.resting], fill.qty, quote, instrument.maker_fee_bps);
        let taker = execute(&mut self.open[fill.aggressor], fill.qty, quote, instrument.taker_fee_bps);
        let (buyer, seller, buyer_fee, seller_fee) = if fill.aggressor_buys {
            (fill.aggressor, fill.resting, taker, maker)
        } else {
            (fill.resting, fill.aggressor, maker, taker)
        };
        assert!(seller_fee <= quote);
        let (buyer, seller) = (&self.open[buyer], &self.open[seller]);
        let fees = self.fee_entries[fill.instrument.0 as usize - 1];
        self.ledger.post(seller.base, buyer.base, base);
        self.ledger.post(buyer.quote, seller.quote, quote);
        self.ledger.post(buyer.quote, fees, buyer_fee);
        self.ledger.post(seller.quote, fees, seller_fee);
        let account = |record: &OpenRecord| {
            self.directory.port(record.key.port()).expect("an order's port is known").port.account
        };
        voice.say(EventBody::Settled(Settled {
            match_number: fill.match_number,
            instrument: fill.instrument,
            buyer: account(buyer),
            seller: account(seller),
            base: Amount(base),
            quote: Amount(quote),
            buyer_fee: Amount(buyer_fee),
            seller_fee: Amount(seller_fee),
        }));
        // The aggressor's hold is set once, when it is heard what stands of it.
        self.set_hold(fill.resting, &instrument);
    }

    fn stands(&mut self, token: u32, leaves_qty: Qty, side: Side) {
        let record = &mut self.open[token];
        assert!(leaves_qty.0 <= record.leaves);
        (record.leaves, record.side) = (leaves_qty.0, side);
        let instrument =
            *self.directory.instrument(record.instrument).expect("an order's instrument is known");
        self.set_hold(token, &instrument);
    }

    /// Sets the hold to the worst case of what is left; an order with nothing left is closed.
    fn set_hold(&mut self, token: u32, instrument: &Instrument) {
        let record = &mut self.open[token];
        if record.leaves == 0 {
            return self.close(token);
        }
        let hold = worst_case(instrument, record.side.is_buy(), record.price, record.leaves, record.fee_part)
            .expect("the worst case of a part fits, since that of the whole did");
        self.ledger.rehold(record.held_in(), record.hold, hold);
        self.ledger.assert_covered(record.held_in());
        record.hold = hold;
    }

    /// A slice is done: the next is for the same instrument while it has more, else for the next one.
    fn sliced(&mut self, cause: Seq, more: bool, voice: &mut Voice<'_>) {
        let place = self.pending(cause).expect("a slice is of a pending mass cancel");
        let instruments = self.directory.instruments.len();
        let pending = &mut self.mass_cancels[place];
        if !more {
            if !pending.all || pending.instrument.0 as usize >= instruments {
                self.mass_cancels.remove(place);
                return;
            }
            pending.instrument.0 += 1;
        }
        pending.slice += 1;
        voice.say(EventBody::MassCancelAsked { cause, slice: pending.slice });
    }
}

/// Counts an execution and returns the fee it adds: the difference of cumulative fees, each rounded up.
fn execute(record: &mut OpenRecord, qty: Qty, notional: i128, rate_bps: u16) -> i128 {
    record.leaves -= qty.0;
    record.executed += qty.0;
    let (whole, part) = fee(notional.cast_unsigned() * u128::from(rate_bps) + u128::from(record.fee_part));
    let charged = whole - i128::from(record.fee_part > 0);
    record.fee_part = part;
    charged
}
