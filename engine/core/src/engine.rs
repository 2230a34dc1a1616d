//! The state machine as a whole: each command runs through the three stages by itself.

use crate::{
    Balance, BookOrder, OpenOrder,
    canonical::{self, Buffer, Sink},
    desk::{Desk, worst_case},
    matching::{Effect, Matching, Voice},
    risk, settlement,
};
use alloc::{collections::BTreeMap, vec::Vec};
use ironbell_types::{
    Account, Amount, Asset, AssetId, Command, Event, Firm, FirmId, Instrument, InstrumentId, Nanos, OpenDay,
    OrderKey, Port, PortId, Seq, Sequenced, Side, Stage,
};
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::xxh3_128_with_seed;

/// What an engine is made with. Only `key` shows in any output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The venue's key: seeds the output hash and scatters the indexes.
    pub key: u64,
    /// Open orders to make room for beforehand; more than that make tables grow.
    pub orders: usize,
    /// Accounts to make room for beforehand.
    pub accounts: usize,
}

/// The deterministic state machine. Two engines given the same commands are equal in every output,
/// whatever the frames.
#[derive(Clone)]
pub struct Engine {
    key: u64,
    seq: Seq,
    time: Nanos,
    output_hash: u128,
    desk: Desk,
    matching: Matching,
    /// What stage 2 tells stage 3; empty between commands.
    effects: Vec<Effect>,
    buffer: Buffer,
}

impl Engine {
    /// An empty venue before its first command.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let Config { key, orders, accounts } = config;
        Self {
            key,
            seq: Seq(0),
            time: Nanos(0),
            output_hash: 0,
            desk: Desk::new(orders, accounts, key),
            matching: Matching::new(orders, key),
            // One command cannot fill more than is open.
            effects: Vec::with_capacity(orders + 8),
            buffer: Buffer::new(),
        }
    }

    /// Runs one command and appends what it says to `out`.
    ///
    /// # Panics
    ///
    /// When `command` is not the next one (its Seq is not one above the last, its time is less than
    /// the last): the journal is broken, and so when an invariant is.
    pub fn execute(&mut self, command: &Sequenced, out: &mut Vec<Event>) {
        let Sequenced { seq, time, command } = command;
        assert!(*seq == self.seq.next(), "command {seq} came after {}", self.seq);
        assert!(*seq <= Seq::MAX);
        assert!(*time >= self.time, "time went back from {} to {time} at command {seq}", self.time);
        (self.seq, self.time) = (*seq, *time);

        let first = out.len();
        let request = risk::admit(&mut self.desk, command, &mut Voice::new(out, *seq, *time, Stage::Risk));
        if let Some(request) = &request {
            self.matching.apply(
                request,
                &mut Voice::new(out, *seq, *time, Stage::Matching),
                &mut self.effects,
            );
            settlement::settle(
                &mut self.desk,
                &self.effects,
                &mut Voice::new(out, *seq, *time, Stage::Settlement),
            );
            self.effects.clear();
        } else if matches!(command, Command::DefineInstrument(_)) {
            // A refused definition leaves the number of instruments as it was.
            while self.matching.books().len() < self.desk.directory.instruments.len() {
                self.matching.open_book();
            }
        }
        for event in &out[first..] {
            let hash = xxh3_128_with_seed(self.buffer.event(event), self.key);
            self.output_hash = self.output_hash.wrapping_add(hash);
        }
    }

    /// Runs the commands of a frame, which are outcomes of their own: how commands are framed shows
    /// in nothing.
    pub fn execute_frame(&mut self, frame: &[Sequenced], out: &mut Vec<Event>) {
        for command in frame {
            self.execute(command, out);
        }
    }

    /// The Seq of the last command; 0 before the first.
    #[must_use]
    pub fn last_seq(&self) -> Seq {
        self.seq
    }

    /// The time of the last command.
    #[must_use]
    pub fn last_time(&self) -> Nanos {
        self.time
    }

    /// Sum modulo 2^128 of XXH3-128 over every event said so far, seeded with the venue's key.
    #[must_use]
    pub fn output_hash(&self) -> u128 {
        self.output_hash
    }

    /// Slices of mass cancels that are due and not yet executed, by cause.
    pub fn pending_asks(&self) -> impl Iterator<Item = Command> + '_ {
        self.desk.pending_asks()
    }

    /// The present trading day.
    #[must_use]
    pub fn day(&self) -> Option<OpenDay> {
        self.desk.day
    }

    /// Assets in id order.
    pub fn assets(&self) -> impl Iterator<Item = &Asset> {
        self.desk.directory.assets.values()
    }

    /// Instruments in id order.
    pub fn instruments(&self) -> impl Iterator<Item = &Instrument> {
        self.desk.directory.instruments.iter()
    }

    /// Firms in id order.
    pub fn firms(&self) -> impl Iterator<Item = &Firm> {
        self.desk.directory.firms.iter().map(|state| &state.firm)
    }

    /// Accounts in id order.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.desk.directory.accounts.values()
    }

    /// Ports in id order.
    pub fn ports(&self) -> impl Iterator<Item = &Port> {
        self.desk.directory.ports.iter().map(|state| &state.port)
    }

    /// The current login of a port; `None` when it is logged out or unknown.
    #[must_use]
    pub fn incarnation(&self, port: PortId) -> Option<u32> {
        let state = self.desk.directory.port(port)?;
        state.logged_in.then_some(state.incarnation)
    }

    /// Whether a firm has disabled its order entry; `None` for an unknown one.
    #[must_use]
    pub fn order_entry_disabled(&self, firm: FirmId) -> Option<bool> {
        Some(self.desk.directory.firm(firm)?.order_entry_disabled)
    }

    /// A book's orders: bids best first and oldest first, then asks. Empty for an unknown instrument.
    pub fn book(&self, instrument: InstrumentId) -> impl Iterator<Item = BookOrder> + '_ {
        self.matching.book(instrument)
    }

    /// Every balance that is not zero, by account and asset, the outside world's and the fee
    /// accounts' included.
    #[must_use]
    pub fn balances(&self) -> Vec<Balance> {
        self.desk.balances()
    }

    /// Per asset, in id order, the sum over all accounts: zero, or the ledger is broken.
    #[must_use]
    pub fn ledger_sums(&self) -> Vec<(AssetId, Amount)> {
        self.desk.sums()
    }

    /// An open order by its member's name of it.
    #[must_use]
    pub fn open_order(&self, key: OrderKey) -> Option<OpenOrder> {
        self.desk.open_order(key)
    }

    /// SHA-256 of the canonical listing of the whole state: what decides any later outcome, and the
    /// output hash. Takes time with the size of the state; not for the order path.
    #[must_use]
    pub fn state_hash(&self) -> [u8; 32] {
        struct Hasher(Sha256);
        impl Sink for Hasher {
            fn put<const N: usize>(&mut self, bytes: [u8; N]) {
                self.0.update(bytes);
            }
        }
        let mut hasher = Hasher(Sha256::new());
        self.list(&mut hasher);
        hasher.0.finalize().into()
    }

    /// The canonical listing, version 2. Each table is preceded by its number of rows.
    fn list(&self, sink: &mut impl Sink) {
        let Desk { directory, ledger, fee_entries: _, day, fundings, open, by_key: _, mass_cancels } =
            &self.desk;
        sink.u32(2);
        sink.u64(self.seq.0);
        sink.u64(self.time.0);
        sink.i128(self.output_hash.cast_signed());
        sink.bool(day.is_some());
        day.iter().for_each(|day| canonical::put_day(sink, day));

        sink.u64(directory.assets.len() as u64);
        directory.assets.values().for_each(|asset| canonical::put_asset(sink, asset));
        sink.u64(directory.instruments.len() as u64);
        directory.instruments.iter().for_each(|instrument| canonical::put_instrument(sink, instrument));
        sink.u64(directory.firms.len() as u64);
        for state in &directory.firms {
            canonical::put_firm(sink, &state.firm);
            sink.bool(state.order_entry_disabled);
        }
        sink.u64(directory.accounts.len() as u64);
        directory.accounts.values().for_each(|account| canonical::put_account(sink, account));
        sink.u64(directory.ports.len() as u64);
        for state in &directory.ports {
            canonical::put_port(sink, &state.port);
            sink.u32(state.incarnation);
            sink.bool(state.logged_in);
            let used = || state.consumed();
            sink.u32(used().count() as u32);
            for (idx, num) in used() {
                sink.u8(idx.0);
                sink.u32(num.0);
            }
        }

        sink.u64(fundings.len() as u64);
        fundings.iter().for_each(|id| sink.u64(*id));
        let balances = ledger.balances();
        sink.u64(balances.len() as u64);
        for Balance { account, asset, total, held } in balances {
            sink.u32(account.0);
            sink.u32(asset.0);
            sink.i128(total.0);
            sink.i128(held.0);
        }
        sink.u64(open.len() as u64);
        let books = self.matching.books();
        for instrument in &directory.instruments {
            for slot in books.slots(instrument.id) {
                let order = books.order(slot);
                canonical::put_open(sink, &open[order.token]);
                sink.u32(order.firm.0);
                sink.u8(order.display.code());
            }
        }
        sink.u64(mass_cancels.len() as u64);
        for pending in mass_cancels {
            sink.u64(pending.cause.0);
            sink.u32(pending.slice);
            sink.u32(pending.instrument.0);
            sink.bool(pending.all);
            sink.u32(pending.firm.0);
            canonical::put_group(sink, pending.group);
            sink.u8(pending.side.map_or(0, Side::code));
        }
    }

    /// For tests: panics when a promise of this crate is broken. Money: sums are zero, only the
    /// outside world is below zero, every hold is the worst case of its order and an account's held
    /// their sum. Books: not crossed, in time order, sums right, and one risk record an order that
    /// agrees with it. Takes time with the size of the state.
    pub fn check_invariants(&self) {
        assert!(self.effects.is_empty());
        for (asset, sum) in self.ledger_sums() {
            assert_eq!(sum, Amount::ZERO, "asset {asset} does not sum up");
        }
        let books = self.matching.books();
        books.check_invariants();
        assert_eq!(books.orders(), self.desk.open.len());
        assert_eq!(books.orders(), self.desk.by_key.len());
        let mut held = BTreeMap::new();
        for instrument in self.instruments() {
            for slot in books.slots(instrument.id) {
                let order = books.order(slot);
                let record = &self.desk.open[order.token];
                assert_eq!((record.key, record.order_ref), (order.key, order.order_ref));
                assert_eq!((record.leaves, record.executed), (order.leaves, order.executed));
                assert_eq!((record.price, record.side), (order.price, order.side));
                assert_eq!(record.instrument, instrument.id);
                assert_eq!(self.desk.find(record.key), Some(order.token));
                let buys = record.side.is_buy();
                let worst = worst_case(instrument, buys, record.price, record.leaves, record.fee_part);
                assert_eq!(Some(record.hold), worst, "hold of order {}", record.order_ref);
                let asset = if buys { instrument.quote } else { instrument.base };
                let account = self.desk.open_order(record.key).expect("found above").account;
                *held.entry((account, asset)).or_insert(0) += record.hold;
            }
        }
        for Balance { account, asset, total, held: is_held } in self.balances() {
            let expected = held.remove(&(account, asset)).unwrap_or(0);
            assert_eq!(is_held.0, expected, "held by account {account} of asset {asset}");
            if account != ironbell_types::AccountId::WORLD {
                assert!(total.0 >= is_held.0, "account {account} has {total} and holds {is_held} of {asset}");
            }
        }
        assert!(held.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbell_types::Mpid;

    /// Seen from outside, the output hash, which the state hash takes in, would hide a switch left out.
    #[test]
    fn the_state_hash_tells_whether_order_entry_is_disabled() {
        let mut engine = Engine::new(Config { key: 1, orders: 1, accounts: 1 });
        let firm = Firm { id: FirmId(1), mpid: Mpid::new("ALFA").unwrap() };
        engine.execute(
            &Sequenced { seq: Seq(1), time: Nanos(0), command: Command::DefineFirm(firm) },
            &mut Vec::new(),
        );
        let enabled = engine.state_hash();
        engine.desk.directory.firm_mut(firm.id).unwrap().order_entry_disabled = true;
        assert_ne!(engine.state_hash(), enabled);
    }
}
