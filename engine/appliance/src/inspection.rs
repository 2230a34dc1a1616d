//! What `status` and `inspect` say, as data: JSON for machines, tables for people. A running node says
//! it from its shadow, a stopped one from a replay of its journal.

use std::fmt::Write as _;

use ironbell_client::itch_book;
use ironbell_core::Engine;
use ironbell_types::{AccountId, Amount, AssetId, Seq, Side};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// Hashes of a state at a Seq.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Hashes {
    /// The last command executed.
    pub seq: u64,
    /// The running hash of every event so far, 32 hex digits.
    pub output_hash: String,
    /// SHA-256 of the whole state, 64 hex digits.
    pub state_hash: String,
    /// SHA-256 of the books as an ITCH follower sees them, 64 hex digits.
    pub book_hash: String,
    /// The sum over all accounts, per asset code: zero.
    pub ledger_sum: std::collections::BTreeMap<String, String>,
}

/// An order on a book.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Its instrument.
    pub symbol: String,
    /// `B` or `S`.
    pub side: char,
    /// The limit, in ticks.
    pub price_ticks: i64,
    /// The limit on the wire.
    pub wire_price: u64,
    /// What stands, in lots.
    pub leaves_qty: u64,
    /// Its number.
    pub order_ref: u64,
    /// Its firm.
    pub mpid: String,
}

/// A balance.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Balance {
    /// `world`, `fees SYMBOL`, or the account's number.
    pub account: String,
    /// The asset's code.
    pub asset: String,
    /// In units of the asset.
    pub total: String,
    /// Held for open orders.
    pub held: String,
    /// total − held.
    pub available: String,
}

/// Every order on every book, best first.
#[must_use]
pub fn book(engine: &Engine) -> Vec<Line> {
    let mpids: std::collections::BTreeMap<_, _> = engine.firms().map(|f| (f.id, f.mpid)).collect();
    let mut lines = Vec::new();
    for instrument in engine.instruments() {
        lines.extend(engine.book(instrument.id).map(|order| Line {
            symbol: instrument.symbol.as_str().to_owned(),
            side: if order.buys { 'B' } else { 'S' },
            price_ticks: order.price.0,
            wire_price: order.price.0 as u64 * u64::from(instrument.price_tick()),
            leaves_qty: order.leaves_qty.0,
            order_ref: order.order_ref.0,
            mpid: mpids.get(&order.firm).map_or("?", |m| m.as_str()).to_owned(),
        }));
    }
    lines
}

/// SHA-256 over every order as a follower of the feed knows it: by instrument, bids before asks, best
/// price first, oldest first ([`ironbell_client::itch_book::digest`]).
#[must_use]
pub fn book_hash(engine: &Engine) -> String {
    let lines = engine.instruments().flat_map(|instrument| {
        engine.book(instrument.id).map(|order| itch_book::Line {
            symbol: instrument.symbol,
            side: if order.buys { Side::Buy } else { Side::Sell },
            price: order.price.0 as u32 * instrument.price_tick(),
            order_ref: order.order_ref,
            shares: order.leaves_qty.0 as u32,
        })
    });
    hex(&itch_book::digest(lines))
}

/// Lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes it");
        text
    })
}

/// The hashes of `engine`'s state.
#[must_use]
pub fn hashes(engine: &Engine) -> Hashes {
    let Seq(seq) = engine.last_seq();
    Hashes {
        seq,
        output_hash: format!("{:032x}", engine.output_hash()),
        state_hash: hex(&engine.state_hash()),
        book_hash: book_hash(engine),
        ledger_sum: engine
            .ledger_sums()
            .into_iter()
            .map(|(asset, Amount(sum))| (asset_code(engine, asset), sum.to_string()))
            .collect(),
    }
}

fn asset_code(engine: &Engine, id: AssetId) -> String {
    engine.assets().find(|a| a.id == id).map_or_else(|| id.to_string(), |a| a.code.as_str().to_owned())
}

/// Every balance that is not zero.
#[must_use]
pub fn ledger(engine: &Engine) -> Vec<Balance> {
    let assets: std::collections::BTreeMap<_, _> = engine.assets().map(|a| (a.id, *a)).collect();
    let name = |id: AccountId| {
        if id == AccountId::WORLD {
            return "world".to_owned();
        }
        let fees = engine.instruments().find(|i| AccountId::fees(i.id) == id);
        fees.map_or_else(|| id.to_string(), |i| format!("fees {}", i.symbol))
    };
    let balances =
        engine.balances().into_iter().filter(|b| b.total != Amount::ZERO || b.held != Amount::ZERO);
    balances
        .map(|b| {
            let asset = assets.get(&b.asset);
            let decimals = asset.map_or(0, |a| a.decimals);
            Balance {
                account: name(b.account),
                asset: asset.map_or_else(|| b.asset.to_string(), |a| a.code.as_str().to_owned()),
                total: units(b.total.0, decimals),
                held: units(b.held.0, decimals),
                available: units(b.total.0 - b.held.0, decimals),
            }
        })
        .collect()
}

/// An amount in smallest units as a decimal of the asset; the plain integer when it is too wide for one.
#[must_use]
pub fn units(amount: i128, decimals: u8) -> String {
    Decimal::try_from_i128_with_scale(amount, u32::from(decimals))
        .map_or_else(|_| format!("{amount}e-{decimals}"), |decimal| decimal.to_string())
}

/// A table with its columns aligned: the first row is the heading.
#[must_use]
pub fn table(rows: &[Vec<String>], right: &[bool]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> =
        (0..columns).map(|c| rows.iter().map(|row| row[c].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(c, (cell, width))| {
            if right.get(c).copied().unwrap_or(false) {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_shown_in_units_of_their_asset() {
        assert_eq!(units(-1_234_567, 4), "-123.4567");
        assert_eq!(units(5, 0), "5");
        assert_eq!(units(i128::MAX, 2), format!("{}e-2", i128::MAX));
    }

    #[test]
    fn tables_line_up() {
        let rows = [vec!["asset".into(), "sum".into()], vec!["USD".into(), "0".into()]];
        assert_eq!(table(&rows, &[false, true]), "asset  sum\nUSD      0\n");
    }
}
