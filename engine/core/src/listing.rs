//! The canonical listing of the whole state, which the state hash is taken over: what decides any later
//! outcome, sorted, each table preceded by its number of rows.

use crate::{
    Balance, Engine,
    canonical::{self, Sink},
    desk::Desk,
    directory::{FirmState, InstrumentState, PortState},
    office::Office,
    sweep::{Sweep, Whose},
    trades::Leg,
};
use alloc::vec::Vec;
use ironbell_types::{OrderTerms, Side};

const VERSION: u32 = 4;

impl Engine {
    pub(crate) fn list(&self, sink: &mut impl Sink) {
        sink.u32(VERSION);
        sink.u64(self.last_seq().0);
        sink.u64(self.last_time().0);
        sink.u128(self.output_hash());
        self.list_office(&self.office, sink);
        self.list_directory(sink);
        self.list_accounts(sink);
        self.list_limits(sink);
        self.list_books(sink);
    }

    fn list_office(&self, office: &Office, sink: &mut impl Sink) {
        let Office { last_day, sweeps, fundings, locates, owed: _, volume_min, decline_levels } = office;
        sink.bool(last_day.is_some());
        last_day.iter().for_each(|day| canonical::put_day(sink, day));
        sink.bool(self.desk().day_open);
        sink.bool(self.desk().venue_killed);
        volume_min.iter().for_each(|volume| sink.u64(*volume));
        decline_levels.iter().for_each(|level| sink.u64(*level));
        rows(sink, fundings.iter(), |id, sink| sink.u64(*id));
        rows(sink, locates.iter(), |id, sink| sink.u64(*id));
        rows(sink, sweeps.iter(), list_sweep);
    }

    fn list_directory(&self, sink: &mut impl Sink) {
        let directory = self.directory();
        rows(sink, directory.assets.values(), |asset, sink| canonical::put_asset(sink, asset));
        rows(sink, directory.instruments.iter(), |state, sink| {
            let InstrumentState { instrument, killed, delisted, fees, rules, .. } = state;
            canonical::put_instrument(sink, instrument);
            sink.bool(*killed);
            sink.bool(*delisted);
            fees.iter().for_each(|fees| canonical::put_fees(sink, fees));
            canonical::put_rules(sink, rules);
        });
        rows(sink, directory.firms.iter(), |state, sink| {
            let home = self.firm(state.firm.id).expect("a known firm");
            let FirmState { firm, order_entry_disabled, killed, tier } = home;
            canonical::put_firm(sink, firm);
            sink.bool(*order_entry_disabled);
            sink.bool(*killed);
            sink.u8(*tier);
        });
        rows(sink, directory.accounts.values(), |account, sink| canonical::put_account(sink, account));
        rows(sink, directory.ports.iter(), |state, sink| {
            list_port(self.port(state.port.id).expect("a known port"), sink);
        });
        rows(sink, directory.denied.iter(), |(port, instrument), sink| {
            sink.u32(port.0);
            sink.u32(instrument.0);
        });
        rows(sink, directory.restricted.iter(), |(firm, instrument), sink| {
            sink.u32(firm.0);
            sink.u32(instrument.0);
        });
    }

    fn list_accounts(&self, sink: &mut impl Sink) {
        rows(sink, self.balances().into_iter(), |balance, sink| {
            let Balance { account, asset, total, held } = balance;
            sink.u32(account.0);
            sink.u32(asset.0);
            sink.i128(total.0);
            sink.i128(held.0);
        });
        let open = self
            .gathered(|desk| desk.by_key.slots().map(move |slot| (desk.open[slot].order_ref, (desk, slot))));
        rows(sink, open.into_iter(), |(_, (desk, slot)), sink| {
            canonical::put_open(sink, &desk.open[slot]);
            let terms = desk.terms(slot);
            sink.bool(terms != OrderTerms::default());
            if terms != OrderTerms::default() {
                canonical::put_terms(sink, &terms);
            }
        });
        let quotes = self.gathered(|desk| desk.quotes.all(|quoted| desk.is_open(quoted)).into_iter());
        rows(sink, quotes.into_iter(), |(name, sides), sink| {
            sink.u64(name);
            sides.iter().for_each(|side| sink.u64(side.map_or(0, |quoted| quoted.order_ref.0)));
        });
        let legs = self.legs();
        rows(sink, legs.into_iter(), list_leg);
    }

    /// What counts against the limits follows from open orders and trades.
    fn list_limits(&self, sink: &mut impl Sink) {
        let positions = self.gathered(|desk| desk.limits.positions.iter());
        rows(sink, positions.into_iter(), |((account, instrument), row), sink| {
            sink.u32(account.0);
            sink.u32(instrument.0);
            for limit in [row.long_max, row.short_max] {
                sink.bool(limit.is_some());
                sink.u64(limit.unwrap_or(0));
            }
        });
        let credits = self.gathered(|desk| desk.limits.credits.iter());
        rows(sink, credits.into_iter(), |((account, asset), row), sink| {
            sink.u32(account.0);
            sink.u32(asset.0);
            sink.bool(row.credit_max.is_some());
            sink.i128(row.credit_max.unwrap_or(0));
        });
        let exposures = self.gathered(|desk| desk.limits.exposures.iter());
        rows(sink, exposures.into_iter(), |((firm, asset), row), sink| {
            sink.u32(firm.0);
            sink.u32(asset.0);
            for limit in [row.gross_max, row.net_max] {
                sink.bool(limit.is_some());
                sink.i128(limit.unwrap_or(0));
            }
        });
        let shorts = self.gathered(|desk| desk.shorts.iter());
        rows(sink, shorts.into_iter(), |((firm, instrument), row), sink| {
            sink.u32(firm.0);
            sink.u32(instrument.0);
            sink.bool(row.located.is_some());
            sink.i128(row.located.unwrap_or(0));
            sink.i128(row.open);
            sink.i128(row.executed);
        });
    }

    fn list_books(&self, sink: &mut impl Sink) {
        rows(sink, self.directory().instruments.iter(), |state, sink| {
            self.matching_of(state.instrument.id).list(state.instrument.id, sink);
        });
    }

    /// Rows of all shards in the order of their keys, each of which is on one shard only.
    pub(crate) fn gathered<'a, K: Ord + Copy + 'a, V, I: Iterator<Item = (K, V)>>(
        &'a self,
        rows: impl Fn(&'a Desk) -> I,
    ) -> Vec<(K, V)> {
        let mut gathered: Vec<_> = self.parts.iter().flat_map(|part| rows(&part.desk)).collect();
        gathered.sort_unstable_by_key(|(key, _)| *key);
        gathered
    }

    /// The day's legs, the buyer's and the seller's of each trade.
    pub(crate) fn legs(&self) -> Vec<&Leg> {
        let mut legs: Vec<_> = self.parts.iter().flat_map(|part| part.desk.trades.iter()).collect();
        if self.parts.len() > 1 {
            legs.sort_unstable_by_key(|leg| leg.place());
        }
        legs
    }
}

fn rows<T, S: Sink>(sink: &mut S, rows: impl ExactSizeIterator<Item = T>, mut list: impl FnMut(T, &mut S)) {
    sink.u64(rows.len() as u64);
    rows.for_each(|row| list(row, sink));
}

fn list_port(state: &PortState, sink: &mut impl Sink) {
    canonical::put_port(sink, &state.port);
    canonical::put_port_rules(sink, &state.rules);
    sink.u32(state.incarnation);
    sink.bool(state.logged_in);
    sink.bool(state.killed);
    sink.u32(state.bucket.tokens);
    sink.u64(state.bucket.since.0);
    sink.bool(state.row.is_some());
    if let Some(row) = &state.row {
        sink.u32(row.instrument.0);
        sink.u8(row.side.code());
        sink.u64(row.qty.0);
        sink.i64(row.price.0);
        sink.u64(row.begin.0);
        sink.u32(row.orders);
    }
    sink.bool(state.dead_man.is_some());
    if let Some(dead_man) = &state.dead_man {
        sink.u64(dead_man.timeout_ns);
        sink.u64(dead_man.heard.0);
    }
    let used = || state.consumed();
    sink.u32(used().count() as u32);
    for (idx, num) in used() {
        sink.u8(idx.0);
        sink.u32(num.0);
    }
}

fn list_sweep(sweep: &Sweep, sink: &mut impl Sink) {
    let Sweep { cause, slice, instrument, all, whose, group, side, day_only, reason } = sweep;
    sink.u64(cause.0);
    sink.u32(*slice);
    sink.u32(instrument.0);
    sink.bool(*all);
    let (tag, number) = match whose {
        Whose::All => (0, 0),
        Whose::Firm(firm) => (1, firm.0),
        Whose::Port(port) => (2, port.0),
    };
    sink.u8(tag);
    sink.u32(number);
    canonical::put_group(sink, *group);
    sink.u8(side.map_or(0, Side::code));
    sink.bool(*day_only);
    sink.u8(reason.code());
}

fn list_leg(leg: &Leg, sink: &mut impl Sink) {
    let Leg { match_number, key, instrument, buys, busted, price, qty, tick_value, worth, fee } = leg;
    sink.u64(match_number.0);
    sink.u64(key.0);
    sink.u32(instrument.0);
    sink.bool(*buys);
    sink.bool(*busted);
    sink.i64(price.0);
    sink.u64(qty.0);
    sink.u64(*tick_value);
    sink.u64(*worth);
    sink.i128(*fee);
}
