//! Stage 1 of the naive engine: what ports, accounts and firms may do.

use ironbell_types::{
    FirmId, InstrumentId, InstrumentRules, Nanos, OrderKey, PortId, PortRules, Price, Qty, Reject, Side,
};

use super::money::notional;
use super::{Open, Oracle, Party};

/// Basis points in one.
const BPS: i128 = 10_000;

/// Most that an account may have bought less sold this day, and sold less bought.
#[derive(Clone, Copy)]
pub(super) struct PositionLimit {
    pub(super) long_max: Option<Qty>,
    pub(super) short_max: Option<Qty>,
}

/// Gross and net exposure of a firm in an asset.
#[derive(Clone, Copy)]
pub(super) struct ExposureLimit {
    pub(super) gross_max: Option<i128>,
    pub(super) net_max: Option<i128>,
}

/// A Locate that was done.
pub(super) struct Located {
    pub(super) id: u64,
    pub(super) firm: FirmId,
    pub(super) instrument: InstrumentId,
    pub(super) qty: i64,
}

/// The tokens of a port.
pub(super) struct Bucket {
    tokens: u64,
    /// From when on the next token comes back.
    since: Nanos,
}

impl Bucket {
    /// A full one.
    pub(super) fn full(rules: &PortRules) -> Self {
        Self { tokens: u64::from(rules.rate_burst).max(1), since: Nanos(0) }
    }

    /// Takes a token, if there is one.
    fn take(&mut self, rules: &PortRules, now: Nanos) -> bool {
        if rules.rate_per_second == 0 {
            return true;
        }
        let interval = (1_000_000_000 / u64::from(rules.rate_per_second)).max(1);
        let came_back = (now.0 - self.since.0) / interval;
        let full = u64::from(rules.rate_burst).max(1);
        if self.tokens.saturating_add(came_back) >= full {
            *self = Self { tokens: full, since: now };
        } else {
            *self =
                Self { tokens: self.tokens + came_back, since: Nanos(self.since.0 + came_back * interval) };
        }
        let taken = self.tokens > 0;
        self.tokens -= u64::from(taken);
        taken
    }
}

/// Equal orders in a row.
pub(super) struct Row {
    what: (InstrumentId, Side, Qty, Price),
    begin: Nanos,
    count: u32,
}

/// The lowest and the highest price that orders may have, if that is set.
pub(super) fn static_range(rules: &InstrumentRules) -> Option<(Price, Price)> {
    if rules.reference.0 <= 0 || rules.static_bps == 0 {
        return None;
    }
    let d = (i128::from(rules.reference.0) * i128::from(rules.static_bps) / BPS).max(1);
    let upper = i64::try_from(i128::from(rules.reference.0) + d).unwrap_or(i64::MAX);
    Some((Price(rules.reference.0 - d as i64), Price(upper)))
}

impl Oracle {
    /// Takes a token from the port's bucket, or refuses.
    pub(super) fn take_token(&mut self, port: PortId, now: Nanos) -> Result<(), Reject> {
        let state = self.port_mut(port).expect("the port was just found");
        if state.bucket.take(&state.rules, now) { Ok(()) } else { Err(Reject::PortRate) }
    }

    /// Counts an order among those equal to it that came just before.
    pub(super) fn count_equal(&mut self, order: &Open, now: Nanos) -> Result<(), Reject> {
        let accepted = &order.accepted;
        let state = self.port_mut(accepted.key.port()).expect("the port was just found");
        let PortRules { duplicates_max, duplicate_ns, .. } = state.rules;
        if duplicates_max == 0 {
            return Ok(());
        }
        let what = (accepted.instrument, accepted.side, accepted.qty, accepted.price);
        match &mut state.row {
            Some(row) if row.what == what && now.0 < row.begin.0.saturating_add(duplicate_ns) => {
                row.count = row.count.saturating_add(1);
                if row.count > duplicates_max { Err(Reject::DuplicateRate) } else { Ok(()) }
            }
            _ => {
                state.row = Some(Row { what, begin: now, count: 1 });
                Ok(())
            }
        }
    }

    /// The caps on one order.
    pub(super) fn check_caps(&self, order: &Open) -> Result<(), Reject> {
        let accepted = &order.accepted;
        let limits = self.port(accepted.key.port()).expect("the port was just found").rules.limits;
        if order.leaves_qty > limits.qty_max {
            return Err(Reject::MaxQuantity);
        }
        let instrument = self.instrument(accepted.instrument).expect("an order's instrument exists");
        match notional(instrument, order.worth_price, order.leaves_qty) {
            Some(notional) if notional <= limits.notional_max.0 => Ok(()),
            _ => Err(Reject::OrderNotional),
        }
    }

    /// Locates, limits and funds, with `order` counted and the `freed` ones not.
    pub(super) fn check_limits(&self, order: &Open, freed: &[OrderKey]) -> Result<(), Reject> {
        let accepted = &order.accepted;
        if is_short(accepted.side) && !self.is_located(order, freed) {
            return Err(Reject::Locate);
        }
        let fits = self.is_within_position(order, freed)
            && self.is_within_credit(order, freed)
            && self.is_within_gross(order, freed)
            && self.is_within_net(order, freed)
            && self.is_funded(order, freed);
        if fits { Ok(()) } else { Err(Reject::AggregateExposure) }
    }

    /// What is open: the new order, and all others but the freed ones.
    fn counted<'a>(&'a self, order: &'a Open, freed: &'a [OrderKey]) -> impl Iterator<Item = &'a Open> {
        let others = self.open.iter().filter(move |o| {
            let key = o.accepted.key;
            key != order.accepted.key && !freed.contains(&key)
        });
        others.chain([order])
    }

    /// What the firm has located; `None` before its first Locate of the instrument.
    pub(super) fn located(&self, firm: FirmId, instrument: InstrumentId) -> Option<i128> {
        let mut located = self.locates.iter().filter(|l| l.firm == firm && l.instrument == instrument);
        let first = i128::from(located.next()?.qty);
        Some(first + located.map(|l| i128::from(l.qty)).sum::<i128>())
    }

    /// What the firm has sold short since ever.
    pub(super) fn short_sold(&self, firm: FirmId, instrument: InstrumentId) -> i128 {
        let own = self.short_sales.iter().filter(|(f, i, _)| *f == firm && *i == instrument);
        own.map(|(_, _, qty)| i128::from(qty.0)).sum()
    }

    fn is_located(&self, order: &Open, freed: &[OrderKey]) -> bool {
        let (firm, instrument) = (order.accepted.firm, order.accepted.instrument);
        let Some(located) = self.located(firm, instrument) else { return true };
        let open = self.counted(order, freed).filter(|o| {
            o.accepted.firm == firm && o.accepted.instrument == instrument && is_short(o.accepted.side)
        });
        let open: i128 = open.map(|o| i128::from(o.leaves_qty.0)).sum();
        open + self.short_sold(firm, instrument) <= located
    }

    /// Whether an open order may become a short sale with `leaves_qty` left.
    pub(super) fn may_become_short(&self, key: OrderKey, leaves_qty: Qty) -> bool {
        let mut order = *self.open_order(key).expect("the order was just found");
        order.accepted.side = Side::SellShort;
        order.leaves_qty = leaves_qty;
        self.is_located(&order, &[])
    }

    fn is_within_position(&self, order: &Open, freed: &[OrderKey]) -> bool {
        let (account, instrument) = (order.account, order.accepted.instrument);
        let Some(limit) = self.positions.get(&(account, instrument)) else { return true };
        let mut bought = 0;
        for traded in self.trades.iter().filter(|t| t.trade.instrument == instrument) {
            let qty = i128::from(traded.trade.qty.0);
            bought += if traded.buyer.account == account { qty } else { 0 };
            bought -= if traded.seller.account == account { qty } else { 0 };
        }
        let buys = order.accepted.side.is_buy();
        let open = self.counted(order, freed).filter(|o| {
            o.account == account && o.accepted.instrument == instrument && o.accepted.side.is_buy() == buys
        });
        let open: i128 = open.map(|o| i128::from(o.leaves_qty.0)).sum();
        let (position, limit) =
            if buys { (bought + open, limit.long_max) } else { (open - bought, limit.short_max) };
        limit.is_none_or(|max| position <= i128::from(max.0))
    }

    fn is_within_credit(&self, order: &Open, freed: &[OrderKey]) -> bool {
        if !order.accepted.side.is_buy() {
            return true;
        }
        let asset = self.instrument(order.accepted.instrument).expect("an order's instrument exists").quote;
        let Some(&max) = self.credits.get(&(order.account, asset)) else { return true };
        let own = |o: &&Open| o.account == order.account && o.accepted.side.is_buy();
        let held = self.counted(order, freed).filter(own).map(|o| match self.hold(o) {
            Some((of, amount)) if of == asset => Some(amount),
            Some(_) => Some(0),
            None => None,
        });
        let paid = self.trades.iter().filter(|t| t.buyer.account == order.account && t.quote_asset == asset);
        sum(held.chain(paid.map(|t| t.quote.checked_add(t.buyer.fee)))).is_some_and(|used| used <= max)
    }

    fn is_within_gross(&self, order: &Open, freed: &[OrderKey]) -> bool {
        let asset = self.instrument(order.accepted.instrument).expect("an order's instrument exists").quote;
        let limit = self.exposures.get(&(order.accepted.firm, asset)).and_then(|l| l.gross_max);
        let Some(max) = limit else { return true };
        let own = self.counted(order, freed).filter(|o| self.is_exposure(o, order.accepted.firm, asset));
        sum(own.map(|o| self.worth(o))).is_some_and(|gross| gross <= max)
    }

    fn is_within_net(&self, order: &Open, freed: &[OrderKey]) -> bool {
        let firm = order.accepted.firm;
        let asset = self.instrument(order.accepted.instrument).expect("an order's instrument exists").quote;
        let limit = self.exposures.get(&(firm, asset)).and_then(|l| l.net_max);
        let Some(max) = limit else { return true };
        let traded = |party: fn(&super::Traded) -> Party| {
            let own = self.trades.iter().filter(move |t| t.quote_asset == asset && party(t).firm == firm);
            sum(own.map(|t| Some(party(t).worth)))
        };
        let (Some(bought), Some(sold)) = (traded(|t| t.buyer), traded(|t| t.seller)) else { return false };
        let buys = order.accepted.side.is_buy();
        let open = self
            .counted(order, freed)
            .filter(|o| self.is_exposure(o, firm, asset) && o.accepted.side.is_buy() == buys);
        let net = if buys { bought - sold } else { sold - bought };
        sum(open.map(|o| self.worth(o)).chain([Some(net)])).is_some_and(|net| net <= max)
    }

    fn is_exposure(&self, order: &Open, firm: FirmId, asset: ironbell_types::AssetId) -> bool {
        let instrument = self.instrument(order.accepted.instrument).expect("an order's instrument exists");
        order.accepted.firm == firm && instrument.quote == asset
    }

    /// An order's worth; `None` beyond 128 bits.
    fn worth(&self, order: &Open) -> Option<i128> {
        let instrument = self.instrument(order.accepted.instrument).expect("an order's instrument exists");
        notional(instrument, order.worth_price, order.leaves_qty)
    }

    fn is_funded(&self, order: &Open, freed: &[OrderKey]) -> bool {
        let Some((asset, amount)) = self.hold(order) else { return false };
        let others = self.counted(order, freed).filter(|o| o.accepted.key != order.accepted.key);
        let holds = others.filter(|o| o.account == order.account).map(|o| self.exact_hold(o));
        let held: i128 = holds.filter(|(of, _)| *of == asset).map(|(_, amount)| amount).sum();
        amount <= self.total(order.account, asset) - held
    }
}

/// `None` beyond 128 bits.
fn sum(mut amounts: impl Iterator<Item = Option<i128>>) -> Option<i128> {
    amounts.try_fold(0_i128, |sum, amount| sum.checked_add(amount?))
}

fn is_short(side: Side) -> bool {
    matches!(side, Side::SellShort | Side::SellShortExempt)
}
