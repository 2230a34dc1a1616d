//! The naive engine: the rules of `engine/core/README.md` written down once more, as slowly and as
//! plainly as they read. One command at a time; every hold, limit and counter is computed anew from the
//! open orders and the day's trades whenever it is asked for.
//!
//! It shares no code with `engine/core` and must stay so: where the two differ, one has misread the
//! rules. Speed, bounded memory and shards are none of its concern.
//!
//! Start at [`Oracle::execute`]. Stage 1 stands in `orders.rs`, `limits.rs`, `slices.rs` and `admin.rs`;
//! stage 2 in `books.rs` and `auction.rs`; stage 3 in `money.rs`. Stage 2 is handed orders that stage 1
//! lets through, and stage 3 knows what became of them from what stage 2 said, and from nothing else.

mod admin;
mod auction;
mod books;
mod limits;
mod money;
mod orders;
mod slices;

use std::collections::{BTreeMap, BTreeSet};

use ironbell_types::{
    Accepted, Account, AccountId, Amount, Asset, AssetId, Command, Event, EventBody, Fees, Firm, FirmId,
    Instrument, InstrumentId, InstrumentRules, KillScope, MassCancelSlice, Nanos, OpenDay, OrderKey,
    OrderTerms, Port, PortId, PortRules, Price, Qty, Seq, Sequenced, Side, Stage, Stp, TIERS, Trade,
    UserRefIdx, UserRefNum,
};

pub use books::{Order, Standing};

use books::Books;

/// The naive engine.
pub struct Oracle {
    assets: Vec<Asset>,
    instruments: Vec<Instrument>,
    firms: Vec<Firm>,
    accounts: Vec<Account>,
    ports: Vec<PortState>,
    /// The last day that began.
    day: Option<OpenDay>,
    day_is_open: bool,
    last: Option<Sequenced>,

    /// Stage 2.
    books: Books,
    /// What stages 1 and 3 know of every open order.
    open: Vec<Open>,
    /// Trades since the last day began.
    trades: Vec<Traded>,
    /// Every short sale there ever was: whose, of what, how many lots.
    short_sales: Vec<(FirmId, InstrumentId, Qty)>,
    totals: BTreeMap<(AccountId, AssetId), i128>,
    /// What busts ever gave back from an instrument's fee account.
    fees_given_back: BTreeMap<InstrumentId, i128>,
    fundings: BTreeSet<u64>,
    slices: Vec<slices::Pending>,

    // What operators and members have set.
    rules: BTreeMap<InstrumentId, InstrumentRules>,
    delisted: BTreeSet<InstrumentId>,
    fees: BTreeMap<(InstrumentId, u8), Fees>,
    tier_volumes: [u64; TIERS],
    tiers: BTreeMap<FirmId, u8>,
    /// Firms that disabled their order entry.
    disabled: BTreeSet<FirmId>,
    killed: BTreeSet<KillScope>,
    order_entry_is_halted: bool,
    not_entitled: BTreeSet<(PortId, InstrumentId)>,
    /// Firm 0 stands for every firm.
    restricted: BTreeSet<(FirmId, InstrumentId)>,
    locates: Vec<limits::Located>,
    positions: BTreeMap<(AccountId, InstrumentId), limits::PositionLimit>,
    credits: BTreeMap<(AccountId, AssetId), i128>,
    exposures: BTreeMap<(FirmId, AssetId), limits::ExposureLimit>,
}

/// What an account has of an asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Whose.
    pub account: AccountId,
    /// Of what.
    pub asset: AssetId,
    /// All of it, smallest units.
    pub total: Amount,
    /// What open orders hold of it, smallest units.
    pub held: Amount,
}

/// A port, and what its checks remember.
struct PortState {
    port: Port,
    rules: PortRules,
    incarnation: u32,
    logged_in: bool,
    /// When it is logged out, having logged in where another node led.
    grace_end: Option<Nanos>,
    /// The last number consumed on each channel today.
    consumed: BTreeMap<UserRefIdx, UserRefNum>,
    bucket: limits::Bucket,
    /// The row of equal orders.
    row: Option<limits::Row>,
    /// The dead-man timer.
    timeout_ns: Option<u64>,
    /// When the port last said anything.
    heard: Nanos,
}

/// An open order, as stages 1 and 3 see it.
#[derive(Clone, Copy, Debug)]
struct Open {
    /// As it was accepted; the side is that of now.
    accepted: Accepted,
    /// A triggered stop is none any more.
    terms: OrderTerms,
    account: AccountId,
    /// What holds and limits reckon with.
    worth_price: Price,
    leaves_qty: Qty,
    /// What the order and all it replaced have executed.
    chain_executed: Qty,
    /// Those of its firm's tier when it came in.
    fees: Fees,
    /// Σ notional × rate of its own executions.
    fee_sum: i128,
    /// What it was charged so far.
    charged: i128,
    /// Whether it is a side of a quote.
    quoted: bool,
    /// Whether stage 2 has said so.
    admitted: bool,
}

/// One side of a trade of this day.
#[derive(Clone, Copy)]
struct Party {
    key: OrderKey,
    firm: FirmId,
    account: AccountId,
    fee: i128,
    /// The quantity at the order's own worth price.
    worth: i128,
}

/// A trade of this day.
#[derive(Clone, Copy)]
struct Traded {
    trade: Trade,
    buyer: Party,
    seller: Party,
    base_asset: AssetId,
    quote_asset: AssetId,
    base: i128,
    quote: i128,
    busted: bool,
}

/// A new order as stage 1 lets it through.
#[derive(Clone, Copy, Debug)]
struct Admitted {
    /// As it would be said; nothing of it is booked or shown yet.
    accepted: Accepted,
    terms: OrderTerms,
    /// What the orders that it replaces have executed.
    chain_executed: Qty,
    /// Its self-trade prevention; never that of the port.
    stp: Stp,
    /// Whether it slides when it is post-only and would trade.
    slides: bool,
}

/// What one command has said so far, by stage.
struct Said {
    command: Sequenced,
    stages: [Vec<EventBody>; 3],
}

impl Said {
    fn risk(&mut self, body: EventBody) {
        self.stages[0].push(body);
    }

    fn matching(&mut self, body: EventBody) {
        self.stages[1].push(body);
    }

    fn settlement(&mut self, body: EventBody) {
        self.stages[2].push(body);
    }

    fn seq(&self) -> Seq {
        self.command.seq
    }

    fn time(&self) -> Nanos {
        self.command.time
    }

    fn into_events(self) -> Vec<Event> {
        let (seq, time) = (self.command.seq, self.command.time);
        let mut events = Vec::new();
        for (stage, bodies) in [Stage::Risk, Stage::Matching, Stage::Settlement].into_iter().zip(self.stages)
        {
            for (step, body) in (0..).zip(bodies) {
                events.push(Event { seq, time, stage, step, body });
            }
        }
        events
    }
}

impl Oracle {
    /// A venue where nothing is defined; `key` is what seeds its icebergs.
    #[must_use]
    pub fn new(key: u64) -> Self {
        Self {
            assets: Vec::new(),
            instruments: Vec::new(),
            firms: Vec::new(),
            accounts: Vec::new(),
            ports: Vec::new(),
            day: None,
            day_is_open: false,
            last: None,
            books: Books::new(key),
            open: Vec::new(),
            trades: Vec::new(),
            short_sales: Vec::new(),
            totals: BTreeMap::new(),
            fees_given_back: BTreeMap::new(),
            fundings: BTreeSet::new(),
            slices: Vec::new(),
            rules: BTreeMap::new(),
            delisted: BTreeSet::new(),
            fees: BTreeMap::new(),
            tier_volumes: [0; TIERS],
            tiers: BTreeMap::new(),
            disabled: BTreeSet::new(),
            killed: BTreeSet::new(),
            order_entry_is_halted: false,
            not_entitled: BTreeSet::new(),
            restricted: BTreeSet::new(),
            locates: Vec::new(),
            positions: BTreeMap::new(),
            credits: BTreeMap::new(),
            exposures: BTreeMap::new(),
        }
    }

    /// Executes one command and returns all that is said of it, in (stage, step) order.
    ///
    /// # Panics
    /// When `command` is not the next one, or its time is before the last one's.
    pub fn execute(&mut self, command: &Sequenced) -> Vec<Event> {
        if let Some(last) = self.last {
            assert!(command.seq == last.seq.next());
            assert!(command.time >= last.time);
        }
        self.last = Some(*command);
        let mut said = Said { command: *command, stages: Default::default() };
        self.hear(command);
        match &command.command {
            Command::DefineAsset(asset) => {
                let done = self.define_asset(asset);
                admin::answer(&mut said, done, EventBody::AssetDefined(*asset));
            }
            Command::DefineInstrument(instrument) => {
                let done = self.define_instrument(instrument);
                admin::answer(&mut said, done, EventBody::InstrumentDefined(*instrument));
            }
            Command::DefineFirm(firm) => {
                let done = self.define_firm(firm);
                admin::answer(&mut said, done, EventBody::FirmDefined(*firm));
            }
            Command::DefineAccount(account) => {
                let done = self.define_account(account);
                admin::answer(&mut said, done, EventBody::AccountDefined(*account));
            }
            Command::DefinePort(port) => {
                let done = self.define_port(port);
                admin::answer(&mut said, done, EventBody::PortDefined(*port));
            }
            Command::Fund(funding) => self.fund(funding, &mut said),
            Command::OpenDay(day) => self.open_day(day, &mut said),
            Command::Control(control) => self.control(control, &mut said),
            Command::Login(login) => self.login(login.port, &mut said),
            Command::Logout(logout) => self.logout(logout.port, logout.incarnation, &mut said),
            Command::EnterOrder(enter) => self.enter(enter, &mut said),
            Command::ReplaceOrder(replace) => self.replace(replace, &mut said),
            Command::CancelOrder(cancel) => self.cancel(cancel, &mut said),
            Command::ModifyOrder(modify) => self.modify(modify, &mut said),
            Command::Quote(quote) => self.quote(quote, &mut said),
            Command::MassCancel(request) => self.mass_cancel(request, &mut said),
            Command::MassCancelSlice(slice) => self.slice(slice, &mut said),
            Command::DisableOrderEntry(switch) => self.switch_order_entry(switch, true, &mut said),
            Command::EnableOrderEntry(switch) => self.switch_order_entry(switch, false, &mut said),
            Command::AccountQuery(query) => self.account_query(query, &mut said),
            Command::OrderStateQuery(query) => self.order_state(query, &mut said),
            Command::DeadMan(timer) => self.set_dead_man(timer, &mut said),
            Command::Tick => {
                self.expire_ports(&mut said);
                self.books.tick(&mut said);
            }
        }
        self.settle(&mut said);
        if let Command::MassCancelSlice(slice) = &command.command {
            self.ask_for_next(slice, &mut said);
        }
        if let Command::Control(ironbell_types::Control::Bust { match_number, .. }) = &command.command {
            self.post_back(*match_number, &mut said);
        }
        said.into_events()
    }

    /// What every account has, sorted by (account, asset); holds are summed anew over the open orders.
    #[must_use]
    pub fn balances(&self) -> Vec<Balance> {
        let held = |account, asset| Amount(self.held(account, asset));
        self.totals
            .iter()
            .map(|(&(account, asset), &total)| Balance {
                account,
                asset,
                total: Amount(total),
                held: held(account, asset),
            })
            .collect()
    }

    /// The open orders of an instrument, in the order in which a mass cancel takes them.
    #[must_use]
    pub fn book(&self, instrument: InstrumentId) -> Vec<Order> {
        self.books.book(instrument)
    }

    /// Every instrument, in id order.
    #[must_use]
    pub fn instruments(&self) -> &[Instrument] {
        &self.instruments
    }

    /// Slices that are asked for and not yet executed, oldest cause first.
    #[must_use]
    pub fn asks(&self) -> Vec<MassCancelSlice> {
        self.slices.iter().map(|p| MassCancelSlice { cause: p.cause, slice: p.slice }).collect()
    }

    /// The port's current login, if it is logged in.
    #[must_use]
    pub fn incarnation(&self, port: PortId) -> Option<u32> {
        self.ports.iter().find(|p| p.port.id == port && p.logged_in).map(|p| p.incarnation)
    }

    /// Whether a firm has disabled its order entry; `None` for an unknown one.
    #[must_use]
    pub fn order_entry_disabled(&self, firm: FirmId) -> Option<bool> {
        self.firms.iter().any(|f| f.id == firm).then(|| self.disabled.contains(&firm))
    }

    /// Checks, by definition and over everything, what must hold after every command.
    ///
    /// # Errors
    /// What does not hold.
    pub fn check(&self) -> Result<(), String> {
        for asset in &self.assets {
            let of_asset = self.totals.iter().filter(|((_, a), _)| *a == asset.id);
            let sum: i128 = of_asset.map(|(_, total)| total).sum();
            if sum != 0 {
                return Err(format!("asset {}: the sum over all accounts is {sum}", asset.id));
            }
        }
        for Balance { account, asset, total, held } in self.balances() {
            if self.accounts.iter().any(|a| a.id == account) && total < held {
                return Err(format!("account {account} asset {asset}: total {total} is below held {held}"));
            }
        }
        for instrument in &self.instruments {
            let total = self.total(AccountId::fees(instrument.id), instrument.quote);
            let given_back = self.fees_given_back.get(&instrument.id).copied().unwrap_or(0);
            if total + given_back < 0 {
                let symbol = instrument.symbol;
                return Err(format!("fees of {symbol}: {total}, of which busts explain {given_back}"));
            }
        }
        let mut by_desk: Vec<(OrderKey, Side, Qty, Qty)> = self
            .open
            .iter()
            .map(|o| (o.accepted.key, o.accepted.side, o.leaves_qty, o.chain_executed))
            .collect();
        let mut by_books: Vec<(OrderKey, Side, Qty, Qty)> =
            self.books.orders().iter().map(|o| (o.key, o.side, o.leaves_qty, o.chain_executed)).collect();
        by_desk.sort();
        by_books.sort();
        if by_desk != by_books {
            return Err(format!("stages 1 and 2 disagree about what is open: {by_desk:?} and {by_books:?}"));
        }
        if let Some(order) = self.open.iter().find(|o| o.leaves_qty == Qty::ZERO) {
            return Err(format!("an open order with nothing left: {order:?}"));
        }
        self.books.check()
    }

    fn port(&self, id: PortId) -> Option<&PortState> {
        self.ports.iter().find(|p| p.port.id == id)
    }

    fn port_mut(&mut self, id: PortId) -> Option<&mut PortState> {
        self.ports.iter_mut().find(|p| p.port.id == id)
    }

    /// An instrument that exists, delisted or not.
    fn instrument(&self, id: InstrumentId) -> Option<&Instrument> {
        self.instruments.iter().find(|i| i.id == id)
    }

    /// An instrument that exists and is not delisted.
    fn listed(&self, id: InstrumentId) -> Option<&Instrument> {
        self.instrument(id).filter(|i| !self.delisted.contains(&i.id))
    }

    fn rules_of(&self, instrument: InstrumentId) -> InstrumentRules {
        self.rules.get(&instrument).copied().unwrap_or(InstrumentRules::PLAIN)
    }

    fn open_order(&self, key: OrderKey) -> Option<&Open> {
        self.open.iter().find(|o| o.accepted.key == key)
    }
}
