//! The state machine as a whole: each command runs through the three stages by itself, over as many shards as
//! there are.

use crate::{
    Balance, BookOrder, OpenOrder,
    desk::Desk,
    directory::{Directory, FirmState, PortState},
    homes::Homes,
    limits::is_short,
    matching::{Effect, Matching, Voice},
    office::{Office, Venue},
    output_hash::EventHasher,
    risk,
    superstep::Part,
};
use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};
use ironbell_types::{
    Account, AccountId, Amount, Asset, AssetId, Command, Event, Firm, FirmId, Instrument, InstrumentId,
    Nanos, OpenDay, OrderKey, Port, PortId, Seq, Sequenced, Stage,
};

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
/// whatever the frames and however many shards each has.
#[derive(Clone)]
pub struct Engine {
    key: u64,
    seq: Seq,
    time: Nanos,
    output_hash: u128,
    pub(crate) homes: Homes,
    pub(crate) office: Office,
    /// By shard; boxed, since a part goes from thread to thread as a pointer.
    pub(crate) parts: Vec<Box<Part>>,
    /// What stage 2 tells stage 3; empty between commands.
    effects: Vec<Effect>,
    hasher: EventHasher,
}

impl Engine {
    /// An empty venue before its first command, on one shard.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self::sharded(config, Homes::new(1))
    }

    /// An empty venue before its first command; what it is made with is shared out to the shards.
    #[must_use]
    pub fn sharded(config: Config, homes: Homes) -> Self {
        // Whoever has orders open will see them trade.
        Self::with_room(config, 2 * config.orders, homes)
    }

    /// The same with room for so many legs of the day's trades.
    pub(crate) fn with_room(config: Config, legs: usize, homes: Homes) -> Self {
        let Config { key, orders, .. } = config;
        let part = |shard| Box::new(Part::new(shard, config, legs, homes.clone()));
        Self {
            key,
            seq: Seq(0),
            time: Nanos(0),
            output_hash: 0,
            parts: (0..homes.shards()).map(part).collect(),
            homes,
            office: Office::new(),
            // One command cannot fill more than is open.
            effects: Vec::with_capacity(orders + 8),
            hasher: EventHasher::new(key),
        }
    }

    /// Runs one command and appends what it says to `out`.
    ///
    /// # Panics
    ///
    /// When `command` is not the next one (its Seq is not one above the last, its time is less than
    /// the last): the journal is broken, and so when an invariant is.
    pub fn execute(&mut self, command: &Sequenced, out: &mut Vec<Event>) {
        self.advance(command);
        let Sequenced { seq, time, command } = command;
        let first = out.len();
        if is_order(command) {
            self.execute_order(command, out);
        } else {
            let (homes, office, parts) = (&self.homes, &mut self.office, &mut *self.parts);
            Venue { homes, office, parts }.run(command, (*seq, *time), &mut self.effects, out);
        }
        self.output_hash = self.output_hash.wrapping_add(self.hasher.sum(&out[first..]));
    }

    /// # Panics
    ///
    /// When `command` is not the next one.
    fn advance(&mut self, command: &Sequenced) {
        let Sequenced { seq, time, .. } = command;
        assert!(*seq == self.seq.next(), "command {seq} came after {}", self.seq);
        assert!(*seq <= Seq::MAX);
        assert!(*time >= self.time, "time went back from {} to {time} at command {seq}", self.time);
        (self.seq, self.time) = (*seq, *time);
    }

    /// The parts have executed these commands; `hash` is that of what they said.
    ///
    /// # Panics
    ///
    /// As [`Engine::execute`].
    pub fn note(&mut self, executed: &[Sequenced], hash: u128) {
        executed.iter().for_each(|command| self.advance(command));
        self.output_hash = self.output_hash.wrapping_add(hash);
    }

    /// One that touches a port, its account, one book, and the accounts it trades with.
    #[inline(always)]
    fn execute_order(&mut self, command: &Command, out: &mut Vec<Event>) {
        let (seq, time) = (self.seq, self.time);
        let mut risk = Voice::new(out, seq, time, Stage::Risk);
        if let [part] = &mut *self.parts {
            let request = risk::admit(&mut part.desk, command, &mut risk);
            // By reference: a request is some lines long.
            let Some(request) = &request else { return };
            let mut matching = Voice::new(out, seq, time, Stage::Matching);
            part.matching.apply(request, &mut matching, &mut self.effects);
            part.desk.settle(&self.effects, &mut Voice::new(out, seq, time, Stage::Settlement));
        } else {
            let port = risk::port_of(command).expect("an order comes in on a port");
            let Some(home) = self.home_of_port(port) else { return };
            let Some(request) = risk::admit(&mut self.parts[home].desk, command, &mut risk) else { return };
            let instrument = request.instrument().expect("an order is about one instrument");
            let book = &mut self.parts[self.homes.of_instrument(instrument)].matching;
            book.apply(&request, &mut Voice::new(out, seq, time, Stage::Matching), &mut self.effects);
            let first = out.len();
            for part in &mut self.parts {
                part.desk.settle(&self.effects, &mut Voice::new(out, seq, time, Stage::Settlement));
            }
            out[first..].sort_unstable_by_key(|event| event.step);
        }
        self.effects.clear();
    }

    fn home_of_port(&self, port: PortId) -> Option<usize> {
        Some(self.homes.of_firm(self.directory().port(port)?.port.firm))
    }

    /// Runs the commands of a frame, which are outcomes of their own: how commands are framed shows
    /// in nothing.
    pub fn execute_frame(&mut self, frame: &[Sequenced], out: &mut Vec<Event>) {
        for command in frame {
            self.execute(command, out);
        }
    }

    /// How many shards it is on.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.homes.shards()
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

    /// Sum of XXH3-64, under a secret from the venue's key, over every event said so far.
    #[must_use]
    pub fn output_hash(&self) -> u128 {
        self.output_hash
    }

    /// Slices that are due and not yet executed, by cause.
    pub fn pending_asks(&self) -> impl Iterator<Item = Command> + '_ {
        self.office.sweeps.asks()
    }

    /// A time that nothing is due before: when it comes and no command has, a Tick is wanted. It can be early
    /// where a port has set back its dead-man timer, so that not every such tick does anything. Cheap.
    #[must_use]
    pub fn next_due(&self) -> Option<Nanos> {
        self.parts.iter().filter_map(|part| part.next_due()).min()
    }

    /// The trading day that is open.
    #[must_use]
    pub fn day(&self) -> Option<OpenDay> {
        self.office.last_day.filter(|_| self.desk().day_open)
    }

    /// The latest trading day, open or not.
    #[must_use]
    pub fn last_day(&self) -> Option<OpenDay> {
        self.office.last_day
    }

    /// Assets in id order.
    pub fn assets(&self) -> impl Iterator<Item = &Asset> {
        self.directory().assets.values()
    }

    /// Instruments in id order.
    pub fn instruments(&self) -> impl Iterator<Item = &Instrument> {
        self.directory().instruments.iter().map(|state| &state.instrument)
    }

    /// Firms in id order.
    pub fn firms(&self) -> impl Iterator<Item = &Firm> {
        self.directory().firms.iter().map(|state| &state.firm)
    }

    /// Accounts in id order.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.directory().accounts.values()
    }

    /// Ports in id order.
    pub fn ports(&self) -> impl Iterator<Item = &Port> {
        self.directory().ports.iter().map(|state| &state.port)
    }

    /// The current login of a port; `None` when it is logged out or unknown.
    #[must_use]
    pub fn incarnation(&self, port: PortId) -> Option<u32> {
        let state = self.port(port)?;
        state.logged_in.then_some(state.incarnation)
    }

    /// Whether a firm has disabled its order entry; `None` for an unknown one.
    #[must_use]
    pub fn order_entry_disabled(&self, firm: FirmId) -> Option<bool> {
        Some(self.firm(firm)?.order_entry_disabled)
    }

    /// A book's orders: displayed, then hidden, then pegs, each bids best first and in line, then asks.
    /// Empty for an unknown instrument.
    pub fn book(&self, instrument: InstrumentId) -> impl Iterator<Item = BookOrder> + '_ {
        self.matching_of(instrument).book(instrument)
    }

    /// Orders off the book: stops (buys lowest stop first, then sells highest first), trailing stops as
    /// they came in, at-open, then at-close orders (bids in the order of their cross, then asks).
    pub fn waiting(&self, instrument: InstrumentId) -> impl Iterator<Item = BookOrder> + '_ {
        self.matching_of(instrument).waiting(instrument)
    }

    /// Every balance that is not zero, by account and asset, the outside world's and the fee
    /// accounts' included.
    #[must_use]
    pub fn balances(&self) -> Vec<Balance> {
        let mut balances: Vec<_> = self.parts.iter().flat_map(|part| part.desk.ledger.entries()).collect();
        balances.sort_unstable_by_key(|balance| (balance.account, balance.asset));
        // Each shard has a share of a fee account.
        balances.dedup_by(|more, balance| {
            let same = (more.account, more.asset) == (balance.account, balance.asset);
            if same {
                balance.total.0 += more.total.0;
                balance.held.0 += more.held.0;
            }
            same
        });
        balances.retain(|balance| balance.total != Amount::ZERO || balance.held != Amount::ZERO);
        balances
    }

    /// Per asset, in id order, the sum over all accounts: zero, or the ledger is broken.
    #[must_use]
    pub fn ledger_sums(&self) -> Vec<(AssetId, Amount)> {
        let balances = self.balances();
        self.assets()
            .map(|asset| {
                let of_asset = balances.iter().filter(|balance| balance.asset == asset.id);
                // Those below zero first, so that no part of the sum leaves 128 bits.
                let below = of_asset.clone().filter(|balance| balance.total < Amount::ZERO);
                let above = of_asset.filter(|balance| balance.total > Amount::ZERO);
                (asset.id, Amount(below.chain(above).map(|balance| balance.total.0).sum()))
            })
            .collect()
    }

    /// An open order by its member's name of it.
    #[must_use]
    pub fn open_order(&self, key: OrderKey) -> Option<OpenOrder> {
        self.parts[self.home_of_port(key.port())?].desk.open_order(key)
    }

    // Whose is what.

    /// Any shard's view of what is the same on all.
    pub(crate) fn desk(&self) -> &Desk {
        &self.parts[0].desk
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.desk().directory
    }

    /// A firm where it is at home.
    pub(crate) fn firm(&self, id: FirmId) -> Option<&FirmState> {
        self.parts[self.homes.of_firm(id)].desk.directory.firm(id)
    }

    /// A port where it is at home.
    pub(crate) fn port(&self, id: PortId) -> Option<&PortState> {
        self.parts[self.home_of_port(id)?].desk.directory.port(id)
    }

    /// The books that an instrument's is among.
    pub(crate) fn matching_of(&self, instrument: InstrumentId) -> &Matching {
        &self.parts[self.homes.of_instrument(instrument)].matching
    }

    /// The venue's key.
    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    /// As if it had come to here.
    pub(crate) fn resume(&mut self, seq: Seq, time: Nanos, output_hash: u128) {
        (self.seq, self.time, self.output_hash) = (seq, time, output_hash);
    }

    /// For tests: panics when a promise of this crate is broken. Money: sums are zero, only the outside
    /// world and what firms owe are below zero, every hold is the worst case of its order and an account's
    /// held their sum. Limits: what counts against them follows from open orders and the day's trades.
    /// Books: not crossed, in line, sums right, and one risk record an order that agrees with it. Takes time
    /// with the size of the state.
    pub fn check_invariants(&self) {
        assert!(self.effects.is_empty());
        self.parts.iter().for_each(|part| part.matching.check_invariants());
        self.check_records();
        self.check_money();
        self.parts.iter().for_each(|part| check_counts(&part.desk));
        self.parts.iter().for_each(|part| part.desk.check_credits());
    }

    fn check_records(&self) {
        let (mut seen, mut open) = (0, 0);
        for part in &self.parts {
            assert_eq!(part.desk.by_key.len(), part.desk.open.len());
            open += part.desk.open.len();
        }
        assert_eq!(self.parts.iter().map(|part| part.matching.orders()).sum::<usize>(), open);
        for instrument in self.instruments() {
            let (id, before) = (instrument.id, seen);
            for order in self.book(id).chain(self.waiting(id)) {
                seen += 1;
                let home = self.home_of_port(order.key.port()).expect("an order's port is known");
                let desk = &self.parts[home].desk;
                let slot = desk.find(order.key).expect("an order of the books is open");
                let record = &desk.open[slot];
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
            let counted = |part: &Part| part.desk.directory.instrument(id).map(|state| state.orders);
            let counted: u64 = self.parts.iter().filter_map(|part| counted(part)).sum();
            assert_eq!(counted, seen - before, "open orders of {id}");
        }
        assert_eq!(seen, open as u64);
    }

    fn check_money(&self) {
        for (asset, sum) in self.ledger_sums() {
            assert_eq!(sum, Amount::ZERO, "asset {asset} does not sum up");
        }
        let mut held = BTreeMap::new();
        for desk in self.parts.iter().map(|part| &part.desk) {
            for slot in desk.by_key.slots() {
                let record = &desk.open[slot];
                let instrument = desk.instrument(record.instrument);
                let asset = if record.side.is_buy() { instrument.quote } else { instrument.base };
                *held.entry((desk.port_of(record).port.account, asset)).or_insert(0) += record.hold;
            }
        }
        let mut owed = BTreeMap::new();
        for Balance { account, asset, total, held: is_held } in self.balances() {
            let expected = held.remove(&(account, asset)).unwrap_or(0);
            assert_eq!(is_held.0, expected, "held by account {account} of asset {asset}");
            if account >= AccountId::receivable(FirmId(0)) {
                assert!(total.0 <= 0, "a firm has {total} of {asset} in what it owes");
                *owed.entry(asset).or_insert(0) -= total.0;
            } else if account > AccountId::MEMBER_MAX {
                // Busts' rounding; how many there were on earlier days nobody knows any more.
                assert!(total.0 > -(1 << 20), "fee account {account} has {total} of {asset}");
            } else if account != AccountId::WORLD {
                assert!(total.0 >= is_held.0, "account {account} has {total} and holds {is_held} of {asset}");
            }
        }
        assert!(held.is_empty());
        assert_eq!(owed, self.office.owed);
    }
}

/// What counts against limits is what follows from the open orders and the day's trades.
fn check_counts(desk: &Desk) {
    let counted = desk.counted(desk.limits.uncounted());
    assert_eq!(counted.positions, desk.limits.positions);
    assert_eq!(counted.credits, desk.limits.credits);
    assert_eq!(counted.exposures, desk.limits.exposures);
    let mut shorts = BTreeMap::new();
    for slot in desk.by_key.slots() {
        let record = &desk.open[slot];
        if is_short(record.side) {
            *shorts.entry((desk.port_of(record).port.firm, record.instrument)).or_insert(0) +=
                i128::from(record.leaves);
        }
    }
    for (place, row) in &desk.shorts {
        assert_eq!(row.open, shorts.remove(place).unwrap_or(0), "open short sales of {place:?}");
    }
    assert!(shorts.is_empty());
    let armed = || desk.directory.ports.iter().filter_map(|state| state.dead_man);
    assert_eq!(armed().count(), desk.dead_men);
    assert!(armed().all(|dead_man| desk.dead_men_due.is_some_and(|due| due <= dead_man.due())));
    let graces = || desk.directory.ports.iter().filter_map(|state| Some((state.logged_in, state.grace_end?)));
    assert!(graces().all(|(logged_in, end)| logged_in && desk.graces_due.is_some_and(|due| due <= end)));
    for state in &desk.directory.ports {
        let concerned = desk.limits.concern(state.port.firm, state.port.account);
        assert_eq!(state.is_limited, concerned, "limits of port {}", state.port.id);
    }
}

/// Orders, and what changes or takes off one: they touch one account and one book.
#[inline(always)]
pub(crate) fn is_order(command: &Command) -> bool {
    matches!(
        command,
        Command::EnterOrder(_)
            | Command::ReplaceOrder(_)
            | Command::CancelOrder(_)
            | Command::ModifyOrder(_)
            | Command::Quote(_)
    )
}

#[cfg(test)]
mod every_field;
