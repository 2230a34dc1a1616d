//! Double entry: what each account has of each asset, and how much of it open orders hold.

use crate::index::Index;
use alloc::vec::Vec;
use ironbell_types::{AccountId, Amount, AssetId};

/// What an account has of an asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Whose: a member's account, [`AccountId::WORLD`], or an instrument's fee account.
    pub account: AccountId,
    /// Of what.
    pub asset: AssetId,
    /// All of it, in smallest units.
    pub total: Amount,
    /// What open orders hold of it.
    pub held: Amount,
}

#[derive(Clone, Copy)]
struct Entry {
    account: AccountId,
    asset: AssetId,
    total: i128,
    held: i128,
    /// Open orders that bring more of it when they trade; counted only where supersteps ask for it.
    credits: u32,
}

/// Every movement is a posting from one entry to another, so that the sum over an asset is zero; over all ledgers,
/// since the accounts of a trade can be at home on two shards.
#[derive(Clone)]
pub(crate) struct Ledger {
    entries: Vec<Entry>,
    by_owner: Index,
}

fn index_key(account: AccountId, asset: AssetId) -> u64 {
    u64::from(account.0) << 32 | u64::from(asset.0)
}

impl Ledger {
    /// Assets that an account has, as room for them is reckoned.
    pub(crate) const ENTRIES_PER_ACCOUNT: usize = 4;

    pub(crate) fn new(entries: usize, key: u64) -> Self {
        Self { entries: Vec::with_capacity(entries), by_owner: Index::new(entries, key) }
    }

    pub(crate) fn find(&self, account: AccountId, asset: AssetId) -> Option<u32> {
        self.by_owner.get(index_key(account, asset))
    }

    /// Comes near to what [`Ledger::find`] is to look at.
    pub(crate) fn approach(&self, account: AccountId, asset: AssetId) {
        self.by_owner.approach(index_key(account, asset));
    }

    /// Comes near to an entry.
    pub(crate) fn approach_entry(&self, entry: u32) {
        core::hint::black_box(self.entries[entry as usize].held);
    }

    /// The entry of an account and an asset; opened empty if there is none.
    pub(crate) fn open(&mut self, account: AccountId, asset: AssetId) -> u32 {
        if let Some(entry) = self.find(account, asset) {
            return entry;
        }
        let entry = u32::try_from(self.entries.len()).expect("fewer than 2^32 entries");
        self.entries.push(Entry { account, asset, total: 0, held: 0, credits: 0 });
        self.by_owner.insert(index_key(account, asset), entry);
        entry
    }

    /// Whose it is.
    #[inline]
    pub(crate) fn account(&self, entry: u32) -> AccountId {
        self.entries[entry as usize].account
    }

    pub(crate) fn total(&self, entry: u32) -> i128 {
        self.entries[entry as usize].total
    }

    /// Total less held.
    pub(crate) fn available(&self, entry: u32) -> i128 {
        let entry = &self.entries[entry as usize];
        entry.total - entry.held
    }

    /// One end of a posting, whose other end can stand in the ledger of another shard. Cannot overflow: funding
    /// keeps the outside world's total within 128 bits, and the others' totals sum up to just that.
    #[inline]
    pub(crate) fn add(&mut self, entry: u32, amount: i128) {
        self.entries[entry as usize].total += amount;
    }

    /// Sets what one order holds from `old` to `new`.
    #[inline]
    pub(crate) fn rehold(&mut self, entry: u32, old: i128, new: i128) {
        let entry = &mut self.entries[entry as usize];
        entry.held += new - old;
        debug_assert!(entry.held >= 0);
    }

    /// One more open order brings more of it, or one less.
    #[inline]
    pub(crate) fn count_credit(&mut self, entry: u32, more: bool) {
        let credits = &mut self.entries[entry as usize].credits;
        *credits = if more { *credits + 1 } else { *credits - 1 };
    }

    /// Entries that open orders bring more of, and how many do.
    pub(crate) fn credits(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let entries = (0..).zip(&self.entries).map(|(number, entry)| (number, entry.credits));
        entries.filter(|(_, credits)| *credits > 0)
    }

    /// Whether an open order brings more of it.
    pub(crate) fn is_credited(&self, entry: u32) -> bool {
        self.entries[entry as usize].credits > 0
    }

    /// The promise of no negative cash, checked where a hold was just set to its exact value.
    #[inline]
    pub(crate) fn assert_covered(&self, entry: u32) {
        let entry = &self.entries[entry as usize];
        assert!(entry.held <= entry.total, "account {} holds more than it has", entry.account);
    }

    /// Every entry, in no order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Balance> + '_ {
        self.entries.iter().map(|entry| Balance {
            account: entry.account,
            asset: entry.asset,
            total: Amount(entry.total),
            held: Amount(entry.held),
        })
    }
}
