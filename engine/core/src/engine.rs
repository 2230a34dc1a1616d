//! The state machine as a whole: each command runs through the three stages by itself.

use crate::{
    Balance, BookOrder, OpenOrder,
    canonical::{Buffer, Sink},
    desk::Desk,
    limits::is_short,
    matching::{Effect, Matching, Voice},
    risk, settlement,
};
use alloc::{collections::BTreeMap, vec::Vec};
use ironbell_types::{
    Account, AccountId, Amount, Asset, AssetId, Command, Event, Firm, FirmId, Instrument, InstrumentId,
    Nanos, OpenDay, OrderKey, Port, PortId, Seq, Sequenced, Stage,
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
    pub(crate) desk: Desk,
    pub(crate) matching: Matching,
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

    /// Slices that are due and not yet executed, by cause.
    pub fn pending_asks(&self) -> impl Iterator<Item = Command> + '_ {
        self.desk.sweeps.asks()
    }

    /// A time that nothing is due before: when it comes and no command has, a Tick is wanted. It can be early
    /// where a port has set back its dead-man timer, so that not every such tick does anything. Cheap.
    #[must_use]
    pub fn next_due(&self) -> Option<Nanos> {
        [self.matching.next_due(), self.desk.dead_men_due].into_iter().flatten().min()
    }

    /// The trading day that is open.
    #[must_use]
    pub fn day(&self) -> Option<OpenDay> {
        self.desk.day()
    }

    /// The latest trading day, open or not.
    #[must_use]
    pub fn last_day(&self) -> Option<OpenDay> {
        self.desk.last_day
    }

    /// Assets in id order.
    pub fn assets(&self) -> impl Iterator<Item = &Asset> {
        self.desk.directory.assets.values()
    }

    /// Instruments in id order.
    pub fn instruments(&self) -> impl Iterator<Item = &Instrument> {
        self.desk.directory.instruments.iter().map(|state| &state.instrument)
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

    /// A book's orders: displayed, then hidden, then pegs, each bids best first and in line, then asks.
    /// Empty for an unknown instrument.
    pub fn book(&self, instrument: InstrumentId) -> impl Iterator<Item = BookOrder> + '_ {
        self.matching.book(instrument)
    }

    /// Orders off the book: stops (buys lowest stop first, then sells highest first), trailing stops as
    /// they came in, at-open, then at-close orders (bids in the order of their cross, then asks).
    pub fn waiting(&self, instrument: InstrumentId) -> impl Iterator<Item = BookOrder> + '_ {
        self.matching.waiting(instrument)
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

    /// For tests: panics when a promise of this crate is broken. Money: sums are zero, only the outside
    /// world and what firms owe are below zero, every hold is the worst case of its order and an account's
    /// held their sum. Limits: what counts against them follows from open orders and the day's trades.
    /// Books: not crossed, in line, sums right, and one risk record an order that agrees with it. Takes time
    /// with the size of the state.
    pub fn check_invariants(&self) {
        assert!(self.effects.is_empty());
        self.matching.check_invariants();
        self.check_records();
        self.check_money();
        self.check_counts();
    }

    fn check_records(&self) {
        let desk = &self.desk;
        assert_eq!(self.matching.orders(), desk.open.len());
        assert_eq!(self.matching.orders(), desk.by_key.len());
        let mut seen = 0;
        for state in &desk.directory.instruments {
            let id = state.instrument.id;
            let before = seen;
            for order in self.book(id).chain(self.waiting(id)) {
                seen += 1;
                let token = desk.find(order.key).expect("an order of the books is open");
                let record = &desk.open[token];
                assert_eq!((record.key, record.order_ref), (order.key, order.order_ref));
                assert_eq!(
                    (record.leaves, record.instrument),
                    (order.leaves_qty.0, id),
                    "{}",
                    order.order_ref
                );
                assert_eq!(record.side.is_buy(), order.buys);
                assert_eq!(desk.port_of(record).port.firm, order.firm);
                assert_eq!(
                    Some(record.hold),
                    desk.hold(record, record.leaves),
                    "hold of {}",
                    order.order_ref
                );
            }
            assert_eq!(state.orders, seen - before, "open orders of {id}");
        }
        assert_eq!(seen, desk.open.len() as u64);
    }

    fn check_money(&self) {
        for (asset, sum) in self.ledger_sums() {
            assert_eq!(sum, Amount::ZERO, "asset {asset} does not sum up");
        }
        let desk = &self.desk;
        let mut held = BTreeMap::new();
        for token in desk.tokens() {
            let record = &desk.open[token];
            let instrument = desk.instrument(record.instrument);
            let asset = if record.side.is_buy() { instrument.quote } else { instrument.base };
            *held.entry((desk.port_of(record).port.account, asset)).or_insert(0) += record.hold;
        }
        let mut owed = BTreeMap::new();
        for Balance { account, asset, total, held: is_held } in self.balances() {
            let expected = held.remove(&(account, asset)).unwrap_or(0);
            assert_eq!(is_held.0, expected, "held by account {account} of asset {asset}");
            if account >= AccountId::receivable(FirmId(0)) {
                assert!(total.0 <= 0, "a firm has {total} of {asset} in what it owes");
                *owed.entry(asset).or_insert(0) -= total.0;
            } else if account != AccountId::WORLD {
                assert!(total.0 >= is_held.0, "account {account} has {total} and holds {is_held} of {asset}");
            }
        }
        assert!(held.is_empty());
        assert_eq!(owed, desk.owed);
    }

    fn check_counts(&self) {
        let desk = &self.desk;
        let counted = desk.counted(desk.limits.uncounted());
        assert_eq!(counted.positions, desk.limits.positions);
        assert_eq!(counted.credits, desk.limits.credits);
        assert_eq!(counted.exposures, desk.limits.exposures);
        let mut shorts = BTreeMap::new();
        for token in desk.tokens() {
            let record = &desk.open[token];
            if is_short(record.side) {
                *shorts.entry((desk.port_of(record).port.firm, record.instrument)).or_insert(0) +=
                    i128::from(record.leaves);
            }
        }
        for (place, row) in &desk.locates.shorts {
            assert_eq!(row.open, shorts.remove(place).unwrap_or(0), "open short sales of {place:?}");
        }
        assert!(shorts.is_empty());
        let armed = || desk.directory.ports.iter().filter_map(|state| state.dead_man);
        assert_eq!(armed().count(), desk.dead_men);
        assert!(armed().all(|dead_man| desk.dead_men_due.is_some_and(|due| due <= dead_man.due())));
        for state in &desk.directory.ports {
            let concerned = desk.limits.concern(state.port.firm, state.port.account);
            assert_eq!(state.is_limited, concerned, "limits of port {}", state.port.id);
        }
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
