//! What operators see of limits and trades: read only, and off the order path.

use crate::{Engine, desk::notional, limits::Sum, trades::Leg};
use alloc::vec::Vec;
use ironbell_types::{
    AccountId, Amount, AssetId, Fees, FirmId, InstrumentId, InstrumentRules, KillScope, Nanos, OrderKey,
    Phase, PortId, PortRules, Price, Qty, SCHEDULE_SLOTS, Settled, Statistics,
};

/// A firm's limits in a quote asset, and what counts against them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// Whose.
    pub firm: FirmId,
    /// In which asset.
    pub asset: AssetId,
    /// Most that open orders may be worth.
    pub gross_max: Option<Amount>,
    /// Most that may be bought more than sold, or sold more than bought.
    pub net_max: Option<Amount>,
    /// What open orders are worth; an amount beyond 128 bits is their end, here and below.
    pub gross: Amount,
    /// This day's buys less its sells, with open buys.
    pub net_buy: Amount,
    /// This day's sells less its buys, with open sells.
    pub net_sell: Amount,
}

/// An account's credit in an asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    /// Whose.
    pub account: AccountId,
    /// In which asset.
    pub asset: AssetId,
    /// Most that buys may cost.
    pub credit_max: Option<Amount>,
    /// What open buys hold and this day's paid.
    pub used: Amount,
}

/// An account's limits on an instrument, in lots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Whose.
    pub account: AccountId,
    /// Of which instrument.
    pub instrument: InstrumentId,
    /// Most of `long`.
    pub long_max: Option<Qty>,
    /// Most of `short`.
    pub short_max: Option<Qty>,
    /// Bought less sold this day, with open buys.
    pub long: i128,
    /// Sold less bought this day, with open sells.
    pub short: i128,
    /// Bought less sold this day.
    pub net: i128,
}

/// Stock located for a firm's short sales, in lots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// Whose.
    pub firm: FirmId,
    /// Of which instrument.
    pub instrument: InstrumentId,
    /// What is located; `None` when short sales are not limited, since nothing ever was.
    pub located: u64,
    /// What was sold short so far and is offered.
    pub used: u64,
}

/// A trade of this day, or of the last one until the next begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayTrade {
    /// What was posted to the buyer.
    pub bought: Settled,
    /// What was posted to the seller.
    pub sold: Settled,
    /// The buyer's order.
    pub buyer: OrderKey,
    /// The seller's order.
    pub seller: OrderKey,
    /// At which price.
    pub price: Price,
    /// How much.
    pub qty: Qty,
    /// It was undone.
    pub busted: bool,
}

fn sum(sums: [Sum; 2]) -> Amount {
    let [mut sum, other] = sums;
    sum.merge(other);
    Amount(sum.saturated())
}

impl Engine {
    /// How an instrument trades; `None` for an unknown one.
    #[must_use]
    pub fn rules(&self, instrument: InstrumentId) -> Option<InstrumentRules> {
        Some(self.directory().instrument(instrument)?.rules)
    }

    /// An instrument's daily schedule: seconds after midnight and what begins then; empty for an unknown one.
    #[must_use]
    pub fn schedule(&self, instrument: InstrumentId) -> [Option<(u32, Phase)>; SCHEDULE_SLOTS] {
        let known = self.directory().instrument(instrument).is_some();
        if known {
            self.matching_of(instrument).trading(instrument).schedule()
        } else {
            [None; SCHEDULE_SLOTS]
        }
    }

    /// What an instrument does now; `None` for an unknown one.
    #[must_use]
    pub fn phase(&self, instrument: InstrumentId) -> Option<Phase> {
        self.matching_of(instrument).phase(instrument)
    }

    /// Whether an instrument was taken off for good.
    #[must_use]
    pub fn is_delisted(&self, instrument: InstrumentId) -> bool {
        self.directory().instrument(instrument).is_some_and(|state| state.delisted)
    }

    /// The day's last trade price of an instrument.
    #[must_use]
    pub fn last_price(&self, instrument: InstrumentId) -> Option<Price> {
        self.matching_of(instrument).last_price(instrument)
    }

    /// An instrument's figures of the day so far; `None` for an unknown one.
    #[must_use]
    pub fn statistics(&self, instrument: InstrumentId) -> Option<Statistics> {
        self.directory().instrument(instrument)?;
        Some(self.matching_of(instrument).trading(instrument).statistics())
    }

    /// What a port may do; `None` for an unknown one.
    #[must_use]
    pub fn port_rules(&self, port: PortId) -> Option<PortRules> {
        Some(self.port(port)?.rules)
    }

    /// Orders that a port could send at once now; `None` when it may send any number, or is unknown.
    #[must_use]
    pub fn rate_tokens(&self, port: PortId) -> Option<u32> {
        let state = self.port(port)?;
        (state.rules.rate_per_second > 0).then(|| state.bucket.at(&state.rules, self.last_time()).0)
    }

    /// When a port is logged out that was logged in where another node led; `None` when it is not.
    #[must_use]
    pub fn grace_end(&self, port: PortId) -> Option<Nanos> {
        self.port(port)?.grace_end
    }

    /// When a port's orders are cancelled unless it is heard before; `None` when its timer is not armed.
    #[must_use]
    pub fn dead_man_due(&self, port: PortId) -> Option<Nanos> {
        self.port(port)?.dead_man.map(|dead_man| dead_man.due())
    }

    /// Fees of an instrument for a tier; `None` when there is none such.
    #[must_use]
    pub fn fees(&self, instrument: InstrumentId, tier: u8) -> Option<Fees> {
        self.directory().instrument(instrument)?.fees.get(usize::from(tier)).copied()
    }

    /// The least volume of a day for a tier; 0 is out of reach.
    #[must_use]
    pub fn tier_volume_min(&self, tier: u8) -> u64 {
        self.office.volume_min.get(usize::from(tier)).copied().unwrap_or(0)
    }

    /// A firm's tier; `None` for an unknown one.
    #[must_use]
    pub fn firm_tier(&self, firm: FirmId) -> Option<u8> {
        Some(self.firm(firm)?.tier)
    }

    /// Whether new orders of all members are refused because the node asked for it: its disk is nearly full.
    #[must_use]
    pub fn order_entry_halted(&self) -> bool {
        self.desk().order_entry_halted
    }

    /// Whether a kill switch is on; not so for what is unknown.
    #[must_use]
    pub fn killed(&self, scope: KillScope) -> bool {
        let directory = self.directory();
        match scope {
            KillScope::Port(port) => directory.port(port).is_some_and(|state| state.killed),
            KillScope::Firm(firm) => directory.firm(firm).is_some_and(|state| state.killed),
            KillScope::Instrument(id) => directory.instrument(id).is_some_and(|state| state.killed),
            KillScope::Venue => self.desk().venue_killed,
        }
    }

    /// Whether a port may trade an instrument, as far as entitlements go.
    #[must_use]
    pub fn entitled(&self, port: PortId, instrument: InstrumentId) -> bool {
        !self.directory().denied.contains(&(port, instrument))
    }

    /// Whether an instrument is on the restricted list of a firm; firm 0 is that of every firm.
    #[must_use]
    pub fn restricted(&self, firm: FirmId, instrument: InstrumentId) -> bool {
        self.directory().restricted.contains(&(firm, instrument))
    }

    /// Levels of a market-wide decline, in 1/100,000,000; zeros before they are set.
    #[must_use]
    pub fn decline_levels(&self) -> [u64; 3] {
        self.office.decline_levels
    }

    /// Exposure of firms where it is limited, by firm and asset.
    #[must_use]
    pub fn exposures(&self) -> Vec<Exposure> {
        let rows = self.gathered(|desk| desk.limits.exposures.iter()).into_iter();
        rows.map(|(&(firm, asset), row)| Exposure {
            firm,
            asset,
            gross_max: row.gross_max.map(Amount),
            net_max: row.net_max.map(Amount),
            gross: sum([row.open_buys, row.open_sells]),
            net_buy: sum([row.net, row.open_buys]),
            net_sell: sum([row.net.negated(), row.open_sells]),
        })
        .collect()
    }

    /// Credit of accounts where it is limited, by account and asset.
    #[must_use]
    pub fn credits(&self) -> Vec<Credit> {
        let rows = self.gathered(|desk| desk.limits.credits.iter()).into_iter();
        rows.map(|(&(account, asset), row)| Credit {
            account,
            asset,
            credit_max: row.credit_max.map(Amount),
            used: Amount(row.used().saturated()),
        })
        .collect()
    }

    /// Positions of accounts where they are limited, by account and instrument.
    #[must_use]
    pub fn positions(&self) -> Vec<Position> {
        let rows = self.gathered(|desk| desk.limits.positions.iter()).into_iter();
        rows.map(|(&(account, instrument), row)| Position {
            account,
            instrument,
            long_max: row.long_max.map(Qty),
            short_max: row.short_max.map(Qty),
            long: sum([row.net, row.open_buys]).0,
            short: sum([row.net.negated(), row.open_sells]).0,
            net: row.net.saturated(),
        })
        .collect()
    }

    /// Short sales of firms where a Locate was done, by firm and instrument.
    #[must_use]
    pub fn locates(&self) -> Vec<Located> {
        let lots = |lots: i128| u64::try_from(lots).unwrap_or(u64::MAX);
        let rows = self.gathered(|desk| desk.shorts.iter()).into_iter();
        rows.filter_map(|(&(firm, instrument), row)| {
            Some(Located { firm, instrument, located: lots(row.located?), used: lots(row.used()) })
        })
        .collect()
    }

    /// The day's trades in the order of their numbers; after its end, the last day's.
    pub fn day_trades(&self) -> impl Iterator<Item = DayTrade> + '_ {
        let legs = self.legs();
        (0..legs.len() / 2).map(move |place| self.seen(legs[2 * place], legs[2 * place + 1]))
    }

    fn seen(&self, buyer: &Leg, seller: &Leg) -> DayTrade {
        let posted = |leg: &Leg| {
            let port = self.directory().port(leg.key.port()).expect("a trade's port is known");
            let quote = notional(leg.tick_value, leg.price.0.cast_unsigned(), leg.qty.0);
            let lot_units = self.desk().instrument(leg.instrument).lot_units;
            Settled {
                match_number: leg.match_number,
                instrument: leg.instrument,
                account: port.port.account,
                buys: leg.buys,
                base: Amount(i128::from(leg.qty.0) * i128::from(lot_units)),
                quote: Amount(quote.expect("it fitted when it traded")),
                fee: Amount(leg.fee),
            }
        };
        DayTrade {
            bought: posted(buyer),
            sold: posted(seller),
            buyer: buyer.key,
            seller: seller.key,
            price: buyer.price,
            qty: buyer.qty,
            busted: buyer.busted,
        }
    }
}
