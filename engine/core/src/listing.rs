//! The canonical listing of the whole state, which the state hash is taken over: what decides any later
//! outcome, sorted, each table preceded by its number of rows.

use crate::{
    Balance, Engine,
    canonical::{self, Sink},
    desk::Desk,
    directory::{Directory, FirmState, InstrumentState, PortState},
    limits::{Limits, Locates},
    sweep::{Sweep, Whose},
    trades::{DayTrade, Leg},
};
use ironbell_types::{OrderTerms, Side};

const VERSION: u32 = 3;

impl Engine {
    pub(crate) fn list(&self, sink: &mut impl Sink) {
        sink.u32(VERSION);
        sink.u64(self.last_seq().0);
        sink.u64(self.last_time().0);
        sink.u128(self.output_hash());
        list_desk(&self.desk, sink);
        self.matching.list(sink);
    }
}

fn rows<T, S: Sink>(sink: &mut S, rows: impl ExactSizeIterator<Item = T>, mut list: impl FnMut(T, &mut S)) {
    sink.u64(rows.len() as u64);
    rows.for_each(|row| list(row, sink));
}

fn list_desk(desk: &Desk, sink: &mut impl Sink) {
    sink.bool(desk.last_day.is_some());
    desk.last_day.iter().for_each(|day| canonical::put_day(sink, day));
    sink.bool(desk.day_open);
    sink.bool(desk.venue_killed);
    desk.volume_min.iter().for_each(|volume| sink.u64(*volume));
    desk.decline_levels.iter().for_each(|level| sink.u64(*level));
    list_directory(&desk.directory, sink);
    rows(sink, desk.fundings.iter(), |id, sink| sink.u64(*id));
    rows(sink, desk.balances().into_iter(), |balance, sink| {
        let Balance { account, asset, total, held } = balance;
        sink.u32(account.0);
        sink.u32(asset.0);
        sink.i128(total.0);
        sink.i128(held.0);
    });
    rows(sink, desk.tokens().into_iter(), |token, sink| {
        canonical::put_open(sink, &desk.open[token]);
        let terms = desk.terms(token);
        sink.bool(terms != OrderTerms::default());
        if terms != OrderTerms::default() {
            canonical::put_terms(sink, &terms);
        }
    });
    rows(sink, desk.sweeps.iter(), list_sweep);
    let quotes = desk.quotes.all(|quoted| desk.is_open(quoted));
    rows(sink, quotes.into_iter(), |(name, sides), sink| {
        sink.u64(name);
        sides.iter().for_each(|side| sink.u64(side.map_or(0, |quoted| quoted.order_ref.0)));
    });
    list_limits(&desk.limits, sink);
    list_locates(&desk.locates, sink);
    sink.u64(desk.trades.len() as u64);
    desk.trades.iter().for_each(|trade| list_trade(trade, sink));
}

fn list_directory(directory: &Directory, sink: &mut impl Sink) {
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
        let FirmState { firm, order_entry_disabled, killed, tier } = state;
        canonical::put_firm(sink, firm);
        sink.bool(*order_entry_disabled);
        sink.bool(*killed);
        sink.u8(*tier);
    });
    rows(sink, directory.accounts.values(), |account, sink| canonical::put_account(sink, account));
    rows(sink, directory.ports.iter(), list_port);
    rows(sink, directory.denied.iter(), |(port, instrument), sink| {
        sink.u32(port.0);
        sink.u32(instrument.0);
    });
    rows(sink, directory.restricted.iter(), |(firm, instrument), sink| {
        sink.u32(firm.0);
        sink.u32(instrument.0);
    });
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

/// What counts against the limits follows from open orders and trades.
fn list_limits(limits: &Limits, sink: &mut impl Sink) {
    rows(sink, limits.positions.iter(), |((account, instrument), row), sink| {
        sink.u32(account.0);
        sink.u32(instrument.0);
        for limit in [row.long_max, row.short_max] {
            sink.bool(limit.is_some());
            sink.u64(limit.unwrap_or(0));
        }
    });
    rows(sink, limits.credits.iter(), |((account, asset), row), sink| {
        sink.u32(account.0);
        sink.u32(asset.0);
        sink.bool(row.credit_max.is_some());
        sink.i128(row.credit_max.unwrap_or(0));
    });
    rows(sink, limits.exposures.iter(), |((firm, asset), row), sink| {
        sink.u32(firm.0);
        sink.u32(asset.0);
        for limit in [row.gross_max, row.net_max] {
            sink.bool(limit.is_some());
            sink.i128(limit.unwrap_or(0));
        }
    });
}

fn list_locates(locates: &Locates, sink: &mut impl Sink) {
    rows(sink, locates.ids.iter(), |id, sink| sink.u64(*id));
    rows(sink, locates.shorts.iter(), |((firm, instrument), row), sink| {
        sink.u32(firm.0);
        sink.u32(instrument.0);
        sink.bool(row.located.is_some());
        sink.i128(row.located.unwrap_or(0));
        sink.i128(row.open);
        sink.i128(row.executed);
    });
}

fn list_trade(trade: &DayTrade, sink: &mut impl Sink) {
    let DayTrade { match_number, instrument, busted, price, qty, tick_value, buyer, seller } = trade;
    sink.u64(match_number.0);
    sink.u32(instrument.0);
    sink.bool(*busted);
    sink.i64(price.0);
    sink.u64(qty.0);
    sink.u64(*tick_value);
    for Leg { key, worth, fee } in [buyer, seller] {
        sink.u64(key.0);
        sink.u64(*worth);
        sink.i128(*fee);
    }
}
