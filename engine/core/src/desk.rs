//! What stages 1 and 3 own: ports, accounts, and the risk side of every open order.

use crate::{
    directory::Directory,
    index::Index,
    ledger::{Balance, Ledger},
    slab::Slab,
};
use alloc::{collections::BTreeSet, vec::Vec};
use ironbell_types::{
    AccountId, Amount, AssetId, Capacity, Command, FirmId, Instrument, InstrumentId, MassCancelSlice,
    OpenDay, OrderKey, OrderOptions, OrderRef, Price, Qty, Seq, Side,
};

/// State of the accounts homed here.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) directory: Directory,
    pub(crate) ledger: Ledger,
    /// By instrument, the ledger entry of its fee account.
    pub(crate) fee_entries: Vec<u32>,
    pub(crate) day: Option<OpenDay>,
    /// Ids of the fundings done.
    pub(crate) fundings: BTreeSet<u64>,
    pub(crate) open: Slab<OpenRecord>,
    pub(crate) by_key: Index,
    /// By cause, which only rises.
    pub(crate) mass_cancels: Vec<PendingMassCancel>,
}

/// The risk side of an open order. Its slot is the token that stage 2 knows it by.
#[derive(Clone, Copy)]
pub(crate) struct OpenRecord {
    pub(crate) key: OrderKey,
    pub(crate) order_ref: OrderRef,
    pub(crate) price: u64,
    pub(crate) leaves: u64,
    /// What its chain has executed.
    pub(crate) executed: u64,
    pub(crate) hold: i128,
    /// The account's ledger entries.
    pub(crate) base: u32,
    pub(crate) quote: u32,
    pub(crate) instrument: InstrumentId,
    pub(crate) options: OrderOptions,
    /// Σ notional × rate modulo 10,000: all of the sum that matters, since what was charged is its
    /// quotient rounded up. It keeps the sum from outgrowing any width.
    pub(crate) fee_part: u16,
    pub(crate) side: Side,
    pub(crate) capacity: Capacity,
}

impl OpenRecord {
    /// The entry of the asset it holds.
    pub(crate) fn held_in(&self) -> u32 {
        if self.side.is_buy() { self.quote } else { self.base }
    }
}

/// A mass cancel with a slice due.
#[derive(Clone, Copy)]
pub(crate) struct PendingMassCancel {
    pub(crate) cause: Seq,
    /// The slice now due.
    pub(crate) slice: u32,
    /// The instrument it works on.
    pub(crate) instrument: InstrumentId,
    /// Goes on to the next instrument.
    pub(crate) all: bool,
    pub(crate) firm: FirmId,
    pub(crate) group: Option<u16>,
    pub(crate) side: Option<Side>,
}

/// An open order as its account sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOrder {
    /// Its name to the member.
    pub key: OrderKey,
    /// Its number on the book.
    pub order_ref: OrderRef,
    /// Whose money it holds.
    pub account: AccountId,
    /// What it trades.
    pub instrument: InstrumentId,
    /// Buy or sell.
    pub side: Side,
    /// The limit.
    pub price: Price,
    /// What is left.
    pub leaves_qty: Qty,
    /// What it and all it replaced have executed.
    pub executed_qty: Qty,
    /// What it holds: of the quote asset when it buys, else of the base asset.
    pub hold: Amount,
}

/// What a basis point is one of.
const BPS: u128 = 10_000;

/// Price × quantity × tick value, when it fits.
pub(crate) fn notional(instrument: &Instrument, price: u64, qty: u64) -> Option<i128> {
    let product = u128::from(price) * u128::from(qty);
    // Nearly always both factors are 64 bits wide, and one widening multiplication does it.
    if let Ok(narrow) = u64::try_from(product) {
        return i128::try_from(u128::from(narrow) * u128::from(instrument.tick_value)).ok();
    }
    i128::try_from(product.checked_mul(u128::from(instrument.tick_value))?).ok()
}

/// A sum of notional × rate as whole units, rounded up, and what is over the last multiple of 10,000.
/// Unsigned, so that a notional of 127 bits at the highest rate it was checked with, and the part
/// carried along, always fit.
pub(crate) fn fee(sum: u128) -> (i128, u16) {
    let (whole, part) = match u64::try_from(sum) {
        Ok(sum) => (u128::from(sum / BPS as u64), (sum % BPS as u64) as u16),
        Err(_) => (sum / BPS, (sum % BPS) as u16),
    };
    (whole.cast_signed() + i128::from(part > 0), part)
}

/// The most that what is left of an order can still cost, fees included, when that fits.
pub(crate) fn worst_case(
    instrument: &Instrument,
    buys: bool,
    price: u64,
    leaves: u64,
    fee_part: u16,
) -> Option<i128> {
    if !buys {
        return i128::try_from(u128::from(leaves) * u128::from(instrument.lot_units)).ok();
    }
    let notional = notional(instrument, price, leaves)?;
    let rate = i128::from(instrument.maker_fee_bps.max(instrument.taker_fee_bps));
    let sum = notional.checked_mul(rate)?.checked_add(i128::from(fee_part))?;
    let (fee, _) = fee(sum.cast_unsigned());
    notional.checked_add(fee - i128::from(fee_part > 0))
}

impl Desk {
    pub(crate) fn new(orders: usize, accounts: usize, key: u64) -> Self {
        Self {
            directory: Directory::default(),
            ledger: Ledger::new(accounts * 4, key),
            fee_entries: Vec::new(),
            day: None,
            fundings: BTreeSet::new(),
            open: Slab::new(orders + 1),
            by_key: Index::new(orders + 1, key),
            mass_cancels: Vec::with_capacity(1024),
        }
    }

    pub(crate) fn find(&self, key: OrderKey) -> Option<u32> {
        self.by_key.get(key.0)
    }

    /// Takes a record in, its hold included.
    pub(crate) fn open(&mut self, record: OpenRecord) -> u32 {
        self.ledger.rehold(record.held_in(), 0, record.hold);
        let token = self.open.insert(record);
        self.by_key.insert(record.key.0, token);
        token
    }

    /// Frees a record and its hold.
    pub(crate) fn close(&mut self, token: u32) {
        let record = &self.open[token];
        self.ledger.rehold(record.held_in(), record.hold, 0);
        self.ledger.assert_covered(record.held_in());
        self.by_key.remove(record.key.0);
        self.open.remove(token);
    }

    pub(crate) fn open_order(&self, key: OrderKey) -> Option<OpenOrder> {
        let record = &self.open[self.find(key)?];
        let account = self.directory.port(key.port())?.port.account;
        Some(OpenOrder {
            key,
            order_ref: record.order_ref,
            account,
            instrument: record.instrument,
            side: record.side,
            price: Price(record.price.cast_signed()),
            leaves_qty: Qty(record.leaves),
            executed_qty: Qty(record.executed),
            hold: Amount(record.hold),
        })
    }

    pub(crate) fn pending_asks(&self) -> impl Iterator<Item = Command> + '_ {
        self.mass_cancels.iter().map(|pending| {
            Command::MassCancelSlice(MassCancelSlice { cause: pending.cause, slice: pending.slice })
        })
    }

    /// Per asset, in id order, the sum over all accounts.
    pub(crate) fn sums(&self) -> Vec<(AssetId, Amount)> {
        let balances = self.ledger.balances();
        self.directory
            .assets
            .keys()
            .map(|&asset| {
                let of_asset = balances.iter().filter(|balance| balance.asset == asset);
                // The sum of two 127-bit halves: members' is the outside world's negative, so it fits.
                (asset, Amount(of_asset.map(|balance| balance.total.0).sum()))
            })
            .collect()
    }

    pub(crate) fn balances(&self) -> Vec<Balance> {
        self.ledger.balances()
    }
}
