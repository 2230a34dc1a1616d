//! Stage 3 of the naive engine: fees, holds, postings, and what becomes of open orders.

use ironbell_types::{
    AccountId, Amount, AssetId, Busted, Canceled, Control, CrossKind, EventBody, Fees, Instrument, KillScope,
    MatchNumber, Modified, OrderKey, Price, Qty, SelfTradePrevented, Settled, Side, Trade,
};

use super::slices::Wanted;
use super::{Open, Oracle, Party, Said, Traded};

/// Basis points in one.
const BPS: i128 = 10_000;

/// price × quantity × tick value, in the quote asset's smallest unit; `None` beyond 128 bits.
pub(super) fn notional(instrument: &Instrument, price: Price, qty: Qty) -> Option<i128> {
    i128::from(price.0).checked_mul(i128::from(qty.0))?.checked_mul(i128::from(instrument.tick_value))
}

/// `ceil(sum / 10,000)`: the venue's favour.
fn rounded_up(sum: i128) -> i128 {
    sum.div_euclid(BPS) + i128::from(sum.rem_euclid(BPS) != 0)
}

/// What an order has to pay in all for a sum of notional × rate.
fn fee(fees: &Fees, sum: i128) -> i128 {
    if sum <= 0 { rounded_up(sum) } else { rounded_up(sum).max(i128::from(fees.minimum)) }
}

impl Oracle {
    /// What an order must hold, and of which asset; `None` beyond 128 bits.
    pub(super) fn hold(&self, order: &Open) -> Option<(AssetId, i128)> {
        let instrument = self.instrument(order.accepted.instrument).expect("an order's instrument exists");
        if !order.accepted.side.is_buy() {
            let units = i128::from(order.leaves_qty.0).checked_mul(i128::from(instrument.lot_units))?;
            return Some((instrument.base, units));
        }
        let worth = notional(instrument, order.worth_price, order.leaves_qty)?;
        let rate = i128::from(order.fees.maker_bps.max(order.fees.taker_bps).max(0));
        let worst = order.fee_sum.checked_add(worth.checked_mul(rate)?)?;
        let still_to_come = fee(&order.fees, worst).checked_sub(order.charged)?.max(0);
        Some((instrument.quote, worth.checked_add(still_to_come)?))
    }

    /// What an open order holds.
    pub(super) fn exact_hold(&self, order: &Open) -> (AssetId, i128) {
        self.hold(order).expect("an admitted hold fits 128 bits")
    }

    pub(super) fn total(&self, account: AccountId, asset: AssetId) -> i128 {
        self.totals.get(&(account, asset)).copied().unwrap_or(0)
    }

    pub(super) fn held(&self, account: AccountId, asset: AssetId) -> i128 {
        let of_account = self.open.iter().filter(|o| o.account == account);
        of_account.map(|o| self.exact_hold(o)).filter(|(of, _)| *of == asset).map(|(_, amount)| amount).sum()
    }

    pub(super) fn available(&self, account: AccountId, asset: AssetId) -> i128 {
        self.total(account, asset) - self.held(account, asset)
    }

    /// Moves an amount, which may be below 0, from one account to another.
    pub(super) fn post(&mut self, from: AccountId, to: AccountId, asset: AssetId, amount: i128) {
        *self.totals.entry((from, asset)).or_insert(0) -= amount;
        *self.totals.entry((to, asset)).or_insert(0) += amount;
    }

    /// Takes in what stage 2 said: settles its trades in their order, and keeps the list of open orders.
    pub(super) fn settle(&mut self, said: &mut Said) {
        for body in said.stages[1].clone() {
            match body {
                EventBody::Accepted(order) => self.admitted(&order),
                EventBody::Replaced(replaced) => {
                    let key = replaced.order.key;
                    let original = OrderKey::new(key.port(), key.idx(), replaced.orig_user_ref_num);
                    self.open.retain(|o| o.accepted.key != original);
                    self.admitted(&replaced.order);
                }
                EventBody::Trade(trade) => self.settle_trade(&trade, said),
                EventBody::Canceled(Canceled { key, leaves_qty, .. })
                | EventBody::SelfTradePrevented(SelfTradePrevented { key, leaves_qty, .. }) => {
                    self.shrink(key, leaves_qty);
                }
                EventBody::Modified(Modified { key, side, leaves_qty, .. }) => {
                    self.found(key).accepted.side = side;
                    self.shrink(key, leaves_qty);
                }
                EventBody::Triggered { key, .. } => {
                    let terms = &mut self.found(key).terms;
                    terms.stop = Price(0);
                    terms.trail = 0;
                }
                _ => {}
            }
        }
        // What stage 2 refused, or dropped, never was.
        self.open.retain(|o| o.admitted);
    }

    /// Stage 2 took the order, at a price of its own if it slid.
    fn admitted(&mut self, accepted: &ironbell_types::Accepted) {
        let order = self.found(accepted.key);
        order.accepted.price = accepted.price;
        order.admitted = true;
    }

    fn found(&mut self, key: OrderKey) -> &mut Open {
        let order = self.open.iter_mut().find(|o| o.accepted.key == key);
        order.expect("stage 2 speaks of orders that stage 1 let through")
    }

    fn shrink(&mut self, key: OrderKey, leaves_qty: Qty) {
        self.found(key).leaves_qty = leaves_qty;
        if leaves_qty == Qty::ZERO {
            self.open.retain(|o| o.accepted.key != key);
        }
    }

    fn settle_trade(&mut self, trade: &Trade, said: &mut Said) {
        let instrument = *self.instrument(trade.instrument).expect("a trade's instrument exists");
        let quote = notional(&instrument, trade.price, trade.qty).expect("within its buyer's hold");
        let base = i128::from(trade.qty.0) * i128::from(instrument.lot_units);

        let resting = self.execute_order(trade.resting.key, true, trade, quote);
        let aggressor = self.execute_order(trade.aggressor.key, false, trade, quote);
        let (buyer, seller) = if trade.aggressor_buys { (aggressor, resting) } else { (resting, aggressor) };

        let fee_account = AccountId::fees(instrument.id);
        self.post(seller.account, buyer.account, instrument.base, base);
        self.post(buyer.account, seller.account, instrument.quote, quote);
        for party in [&buyer, &seller] {
            self.post(party.account, fee_account, instrument.quote, party.fee);
        }
        self.trades.push(Traded {
            trade: *trade,
            buyer,
            seller,
            base_asset: instrument.base,
            quote_asset: instrument.quote,
            base,
            quote,
            busted: false,
        });
        for (party, buys) in [(buyer, true), (seller, false)] {
            said.settlement(EventBody::Settled(Settled {
                match_number: trade.match_number,
                instrument: instrument.id,
                account: party.account,
                buys,
                base: Amount(base),
                quote: Amount(quote),
                fee: Amount(party.fee),
            }));
        }
    }

    /// Takes an execution into an open order, and says what it cost.
    fn execute_order(&mut self, key: OrderKey, rested: bool, trade: &Trade, quote: i128) -> Party {
        let instrument = *self.instrument(trade.instrument).expect("a trade's instrument exists");
        let order = self.found(key);
        let Fees { maker_bps, taker_bps, .. } = order.fees;
        let rate = match trade.cross {
            CrossKind::None if rested => maker_bps,
            CrossKind::None => taker_bps,
            _ => maker_bps.max(taker_bps),
        };
        order.fee_sum = order.fee_sum.saturating_add(quote.saturating_mul(i128::from(rate)));
        let mut due = fee(&order.fees, order.fee_sum) - order.charged;
        if !order.accepted.side.is_buy() {
            due = due.min(quote);
        }
        order.charged += due;
        order.chain_executed.0 += trade.qty.0;
        let leaves_qty = Qty(order.leaves_qty.0 - trade.qty.0);
        let order = *order;
        self.shrink(key, leaves_qty);
        if matches!(order.accepted.side, Side::SellShort | Side::SellShortExempt) {
            self.short_sales.push((order.accepted.firm, trade.instrument, trade.qty));
        }
        Party {
            key,
            firm: order.accepted.firm,
            account: order.account,
            fee: due,
            worth: notional(&instrument, order.worth_price, trade.qty).expect("within the order's worth"),
        }
    }

    /// Posts a trade back, as far as both sides and the fee account can, and says so. Nothing is said of
    /// one that cannot be busted, which stage 1 has refused.
    pub(super) fn post_back(&mut self, match_number: MatchNumber, said: &mut Said) {
        let [EventBody::Controlled(Control::Bust { reason, .. })] = said.stages[0][..] else { return };
        let at = self.trades.iter().position(|t| t.trade.match_number == match_number);
        let traded = &mut self.trades[at.expect("stage 1 has found the trade")];
        traded.busted = true;
        let traded = *traded;
        let Traded { buyer, seller, base_asset, quote_asset, .. } = traded;

        let fee_account = AccountId::fees(traded.trade.instrument);
        for party in [&buyer, &seller] {
            if party.fee > 0 {
                let back = party.fee.min(self.total(fee_account, quote_asset)).max(0);
                self.post(fee_account, party.account, quote_asset, back);
                *self.fees_given_back.entry(traded.trade.instrument).or_insert(0) += back;
            }
        }
        let buyer_owes = self.give_back(&buyer, seller.account, base_asset, traded.base);
        let seller_owes = self.give_back(&seller, buyer.account, quote_asset, traded.quote);
        let mut rebates_owed = [0, 0];
        for (party, owed) in [&buyer, &seller].into_iter().zip(&mut rebates_owed) {
            if party.fee < 0 {
                *owed = self.give_back(party, fee_account, quote_asset, -party.fee);
            }
        }
        said.settlement(EventBody::Busted(Busted {
            match_number,
            reason,
            instrument: traded.trade.instrument,
            price: traded.trade.price,
            qty: traded.trade.qty,
            buyer: buyer.key,
            seller: seller.key,
            buyer_owes: Amount(buyer_owes),
            seller_owes: Amount(seller_owes),
        }));

        let mut wanted = Vec::new();
        for (party, owed) in [(buyer, buyer_owes + rebates_owed[0]), (seller, seller_owes + rebates_owed[1])]
        {
            let scope = KillScope::Firm(party.firm);
            if owed > 0 {
                said.settlement(EventBody::Controlled(Control::Kill { scope, on: true }));
                if self.killed.insert(scope) {
                    wanted.push(Wanted::Killed(scope));
                }
            }
        }
        if let Some(asked) = self.ask_for_slices(wanted, said.seq()) {
            said.settlement(asked);
        }
    }

    /// Moves what is available of an amount, and the rest from what the firm owes; the rest.
    fn give_back(&mut self, from: &Party, to: AccountId, asset: AssetId, amount: i128) -> i128 {
        let given = amount.min(self.available(from.account, asset));
        self.post(from.account, to, asset, given);
        let owed = amount - given;
        if owed > 0 {
            self.post(AccountId::receivable(from.firm), to, asset, owed);
        }
        owed
    }
}
