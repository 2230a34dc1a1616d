//! Stage 3, by account: posts both legs and both fees of each trade at once, sets every hold to the exact
//! worst case of what is left, and posts back what is busted.

use crate::{
    desk::{Desk, OpenRecord, cost_max, delivery, notional},
    fees,
    limits::is_short,
    matching::{Effect, Voice},
    sweep::{Sweep, Whose},
    trades::{DayTrade, Leg},
};
use ironbell_types::{
    AccountId, Amount, AssetId, Busted, Control, EventBody, FirmId, Instrument, InstrumentId, KillScope,
    MatchNumber, OrderKey, Price, Qty, Seq, Settled, Side,
};

/// Posts what stage 2 did, in its order.
pub(crate) fn settle(desk: &mut Desk, effects: &[Effect], voice: &mut Voice<'_>) {
    for effect in effects {
        match *effect {
            Effect::Fill {
                match_number,
                instrument,
                price,
                qty,
                aggressor_buys,
                resting,
                aggressor,
                cross,
            } => {
                let fill =
                    Fill { match_number, instrument, price, qty, aggressor_buys, resting, aggressor, cross };
                desk.fill(&fill, voice);
            }
            Effect::Stands { token, leaves_qty, side } => desk.stands(token, leaves_qty, side),
            Effect::Slid { token, price } => desk.open[token].price = price.0.cast_unsigned(),
            Effect::Triggered { token } => desk.triggered(token),
            Effect::Gone { token } => desk.close(token),
            Effect::Sliced { cause, more } => desk.sliced(cause, more, voice),
            Effect::Busted { match_number, reason } => desk.bust(match_number, reason, voice),
        }
    }
}

struct Fill {
    match_number: MatchNumber,
    instrument: InstrumentId,
    price: Price,
    qty: Qty,
    aggressor_buys: bool,
    resting: u32,
    aggressor: u32,
    cross: bool,
}

/// What a trade's sides pay for it.
struct Charges {
    buyer: i128,
    seller: i128,
}

impl Desk {
    fn fill(&mut self, fill: &Fill, voice: &mut Voice<'_>) {
        let Instrument { tick_value, lot_units, .. } = *self.instrument(fill.instrument);
        let quote = notional(tick_value, fill.price.0.cast_unsigned(), fill.qty.0)
            .expect("what traded fits, since the buyer's hold of more did");
        let base = i128::from(fill.qty.0) * i128::from(lot_units);
        let (buyer, seller) =
            if fill.aggressor_buys { (fill.aggressor, fill.resting) } else { (fill.resting, fill.aggressor) };
        let counted = [buyer, seller].map(|token| self.is_counted(&self.open[token]));
        if counted != [false; 2] {
            self.recount([buyer, seller], counted, -1);
        }
        let mut charges = Charges {
            buyer: self.execute(buyer, fill, quote),
            seller: self.execute(seller, fill, quote).min(quote),
        };

        let fees = self.fee_entries[fill.instrument.0 as usize - 1];
        let (bought, sold) = (&self.open[buyer], &self.open[seller]);
        self.ledger.post(sold.base, bought.base, base);
        self.ledger.post(bought.quote, sold.quote, quote);
        let (buyer_quote, seller_quote) = (bought.quote, sold.quote);
        // What comes in first, since a rebate is paid from it.
        if charges.buyer >= 0 {
            self.charge(buyer_quote, fees, &mut charges.buyer);
            self.charge(seller_quote, fees, &mut charges.seller);
        } else {
            self.charge(seller_quote, fees, &mut charges.seller);
            self.charge(buyer_quote, fees, &mut charges.buyer);
        }
        self.open[buyer].charged += charges.buyer;
        self.open[seller].charged += charges.seller;

        let (bought, sold) = (&self.open[buyer], &self.open[seller]);
        let leg = |record: &OpenRecord, fee| Leg { key: record.key, worth: record.worth, fee };
        self.trades.push(DayTrade {
            match_number: fill.match_number,
            instrument: fill.instrument,
            busted: false,
            price: fill.price,
            qty: fill.qty,
            tick_value,
            buyer: leg(bought, charges.buyer),
            seller: leg(sold, charges.seller),
        });
        voice.say(EventBody::Settled(Settled {
            match_number: fill.match_number,
            instrument: fill.instrument,
            buyer: self.port_of(bought).port.account,
            seller: self.port_of(sold).port.account,
            base: Amount(base),
            quote: Amount(quote),
            buyer_fee: Amount(charges.buyer),
            seller_fee: Amount(charges.seller),
        }));
        if counted != [false; 2] {
            self.count_trade();
            if is_short(self.open[seller].side) {
                let firm = self.port_of(&self.open[seller]).port.firm;
                self.locates.of(firm, fill.instrument).executed += i128::from(fill.qty.0);
            }
            self.recount([buyer, seller], counted, 1);
        }
        // The hold of who came in is set once, when it is heard what stands of it.
        let resting = &self.open[fill.resting];
        self.set(fill.resting, resting.leaves, resting.side);
        if fill.cross {
            let aggressor = &self.open[fill.aggressor];
            self.set(fill.aggressor, aggressor.leaves, aggressor.side);
        }
    }

    #[cold]
    fn recount(&mut self, tokens: [u32; 2], counted: [bool; 2], sign: i128) {
        for (token, counted) in tokens.into_iter().zip(counted) {
            if counted {
                let record = self.open[token];
                self.count(&record, sign);
            }
        }
    }

    /// Counts an execution and returns what it adds to what is due: the difference to what was charged.
    #[inline(always)]
    fn execute(&mut self, token: u32, fill: &Fill, quote: i128) -> i128 {
        let record = &mut self.open[token];
        let state = self.directory.instrument(fill.instrument).expect("a trade's instrument is known");
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
        record.fee_sum = fees::add(record.fee_sum, quote, rate_bps);
        fees::due(record.fee_sum, fees.minimum) - record.charged
    }

    /// Posts a fee, or a rebate as far as the fee account has it.
    #[inline]
    fn charge(&mut self, member: u32, fees: u32, charge: &mut i128) {
        if *charge >= 0 {
            self.ledger.post(member, fees, *charge);
        } else {
            *charge = (*charge).max(-self.ledger.total(fees));
            self.ledger.post(fees, member, -*charge);
        }
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

    fn sliced(&mut self, cause: Seq, more: bool, voice: &mut Voice<'_>) {
        let instruments = self.directory.instruments.len();
        if let Some(slice) = self.sweeps.advance(cause, more, instruments) {
            voice.say(EventBody::MassCancelAsked { cause, slice });
        }
    }

    /// Posts a trade back; what a side does not have any more its firm owes, and is killed for.
    fn bust(&mut self, match_number: MatchNumber, reason: u8, voice: &mut Voice<'_>) {
        let trade = self.trades.bust(match_number);
        let DayTrade { instrument, price, qty, tick_value, .. } = trade;
        let definition = *self.instrument(instrument);
        let base = i128::from(qty.0) * i128::from(definition.lot_units);
        let quote = notional(tick_value, price.0.cast_unsigned(), qty.0).expect("it fitted when it traded");
        let (buyer, seller) = (self.party(trade.buyer.key), self.party(trade.seller.key));
        let fees = AccountId::fees(instrument);

        // Fees first: who spent nothing else can then return all its proceeds.
        for (party, leg) in [(&buyer, &trade.buyer), (&seller, &trade.seller)] {
            let entry = self.fee_entries[instrument.0 as usize - 1];
            let member = self.ledger.open(party.account, definition.quote);
            self.ledger.post(entry, member, leg.fee.max(0).min(self.ledger.total(entry)));
        }
        let buyer_owes = self.give_back(&buyer, seller.account, definition.base, base);
        let seller_owes = self.give_back(&seller, buyer.account, definition.quote, quote);
        let rebate = |leg: &Leg| (-leg.fee).max(0);
        let buyer_short = self.give_back(&buyer, fees, definition.quote, rebate(&trade.buyer));
        let seller_short = self.give_back(&seller, fees, definition.quote, rebate(&trade.seller));
        voice.say(EventBody::Busted(Busted {
            match_number,
            reason,
            instrument,
            price,
            qty,
            buyer: trade.buyer.key,
            seller: trade.seller.key,
            buyer_owes: Amount(buyer_owes),
            seller_owes: Amount(seller_owes),
        }));
        let mut asked = false;
        for (party, owes) in [(buyer, buyer_owes.max(buyer_short)), (seller, seller_owes.max(seller_short))] {
            if owes > 0 {
                let scope = KillScope::Firm(party.firm);
                voice.say(EventBody::Controlled(Control::Kill { scope, on: true }));
                asked |= self.kill(scope, voice.seq());
            }
        }
        if asked {
            voice.say(EventBody::MassCancelAsked { cause: voice.seq(), slice: 0 });
        }
    }

    fn party(&self, key: OrderKey) -> Party {
        let port = &self.directory.port(key.port()).expect("an order's port is known").port;
        Party { firm: port.firm, account: port.account }
    }

    /// Posts `amount` to another account, from what is available and the rest from what the firm owes; returns
    /// that rest.
    fn give_back(&mut self, from: &Party, to: AccountId, asset: AssetId, amount: i128) -> i128 {
        let (giver, taker) = (self.ledger.open(from.account, asset), self.ledger.open(to, asset));
        let had = amount.min(self.ledger.available(giver));
        self.ledger.post(giver, taker, had);
        let owes = amount - had;
        if owes > 0 {
            let receivable = self.ledger.open(AccountId::receivable(from.firm), asset);
            self.ledger.post(receivable, taker, owes);
            *self.owed.entry(asset).or_insert(0) += owes;
        }
        owes
    }

    /// Switches on a kill switch; whether slices must be asked for.
    pub(crate) fn kill(&mut self, scope: KillScope, cause: Seq) -> bool {
        let switch = self.kill_switch(scope).expect("a killed scope was checked");
        if core::mem::replace(switch, true) {
            return false;
        }
        let (whose, instrument) = match scope {
            KillScope::Port(port) => (Whose::Port(port), InstrumentId::NONE),
            KillScope::Firm(firm) => (Whose::Firm(firm), InstrumentId::NONE),
            KillScope::Instrument(instrument) => (Whose::All, instrument),
            KillScope::Venue => (Whose::All, InstrumentId::NONE),
        };
        self.sweep(Sweep::of(cause, whose, instrument))
    }
}

/// A side of a trade to bust.
struct Party {
    firm: FirmId,
    account: AccountId,
}
