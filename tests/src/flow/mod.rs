//! Random flows of commands that try to hurt: few prices, few names, tight funds, so that everything
//! collides; every command there is, with its errors, repeats and stale numbers.
//!
//! A flow listens to what the engine says, as members and the sequencer do: it aims at orders that
//! were accepted and issues the slices that were asked for. Which commands come out is a function of
//! the seed and of those events alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ironbell_types::{
    Account, AccountId, AccountQuery, Amount, Asset, AssetId, CancelOrder, Capacity, ClOrdId, Command,
    Control, Credential, DeadMan, Display, EQUITY_QTY_MAX, EQUITY_WIRE_PRICE_MAX, EnterOrder, Event,
    EventBody, Fees, Firm, FirmId, Funding, Instrument, InstrumentId, InstrumentRules, KillScope, Login,
    Logout, MassCancel, MassCancelSlice, ModifyOrder, Mpid, Nanos, OpenDay, OrderEntrySwitch, OrderKey,
    OrderOptions, OrderStateQuery, OrderTerms, Phase, Port, PortId, PortLimits, Price, Qty, Quote, QuoteSide,
    Reject, ReplaceOrder, Scale, Seq, Sequenced, Settled, Side, Symbol, TimeInForce, UserRefIdx, UserRefNum,
    Username,
};

use crate::rng::Rng;

mod control;
mod exact;
mod terms;
mod theme;

pub(crate) use exact::AIMS;
pub use theme::Theme;

use theme::{Bias, Knob};

/// How many orders a flow remembers to aim at.
const REMEMBERED: usize = 48;

/// Numbers that differ from flow to flow.
#[derive(Clone, Debug)]
struct Shape {
    /// Prices run from `price_min` over `price_width` ticks.
    price_min: u64,
    price_width: u64,
    /// How far that range moves at a time; books then leave lone orders behind, far from the rest.
    price_drift: u64,
    qty_max: u64,
    /// How many smallest units an account starts with, of quote and of base assets.
    quote_funds: u64,
    base_funds: u64,
    /// Binary orders of magnitude more of everything: amounts near what 128 bits hold.
    vast_log2: u32,
    /// Of 100 new orders, how many are not day orders.
    immediate_percent: u64,
    post_only_percent: u64,
    /// Channels in use on each port.
    channels: &'static [u8],
    /// How many commands lie between administrative ones, roughly.
    admin_gap: u64,
    mass_cancel_gap: u64,
    disable_gap: u64,
    new_day_gap: u64,
    /// Makers get all that takers pay.
    rebates_all: bool,
    /// Sides keep apart and hardly anything is taken off, so that books grow deep.
    deep: bool,
}

impl Shape {
    const DEEP: Self = Self {
        price_min: 1_000,
        price_width: 40,
        price_drift: 0,
        qty_max: 10,
        quote_funds: 1 << 60,
        base_funds: 1 << 50,
        vast_log2: 0,
        immediate_percent: 2,
        post_only_percent: 0,
        channels: &[0],
        admin_gap: 1_000,
        mass_cancel_gap: 4_000,
        disable_gap: 1_000_000,
        new_day_gap: 1_000_000,
        rebates_all: false,
        deep: true,
    };
}

/// Seconds from a day's midnight to its begin, in flows with schedules.
const SECONDS_AT_START: u64 = 51_200;

/// A flow of commands.
#[derive(Clone, Debug)]
pub struct Flow {
    rng: Rng,
    theme: Theme,
    shape: Shape,
    bias: Bias,
    seq: Seq,
    time: Nanos,
    /// Commands to issue first: what the venue opens with, and what belongs together later.
    opening: VecDeque<Command>,
    /// What the operator sets next, before the first day.
    at_first: VecDeque<Knob>,
    opens_day: bool,
    assets: Vec<AssetId>,
    instruments: Vec<Instrument>,
    firms: Vec<FirmId>,
    accounts: Vec<Account>,
    /// Those in use.
    ports: Vec<Port>,
    ports_defined: u32,
    exact_accounts: u32,
    fees_in_force: BTreeMap<(InstrumentId, u8), Fees>,
    tiers: BTreeMap<FirmId, u8>,
    /// Firms that have disabled their order entry.
    disabled: BTreeSet<FirmId>,
    incarnations: BTreeMap<PortId, u32>,
    last_nums: BTreeMap<(PortId, UserRefIdx), u32>,
    /// Orders that were accepted; some are gone by now.
    orders: VecDeque<(OrderKey, InstrumentId, Side, Price, Qty)>,
    asks: VecDeque<MassCancelSlice>,
    slices: Vec<MassCancelSlice>,
    date: u32,
    funding_id: u64,
    locate_id: u64,
    day_is_open: bool,
    phases: BTreeMap<InstrumentId, Phase>,
    delisted: BTreeSet<InstrumentId>,
    rules_in_force: BTreeMap<InstrumentId, InstrumentRules>,
    /// Seconds after midnight at which schedules have entries.
    scheduled: BTreeSet<u32>,
    /// Times at which something may be due.
    dues: BTreeSet<Nanos>,
    /// The sides of the last trades.
    legs: VecDeque<Settled>,
    to_take_back: VecDeque<Control>,
}

impl Flow {
    /// The flow of a seed. Every fourth is a plain one, the others are about some part of the rules.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        if rng.one_in(4) {
            return Self::plain(rng);
        }
        let theme = rng.pick(&Theme::ALL);
        Self::themed(seed, theme)
    }

    /// The flow of a seed about some part of the rules.
    #[must_use]
    pub fn themed(seed: u64, theme: Theme) -> Self {
        let mut rng = Rng::new(!seed);
        if theme == Theme::Plain {
            return Self::plain(rng);
        }
        let busts = theme == Theme::Fees && rng.one_in(2);
        let tight = rng.one_in(6);
        let vast = !tight && rng.one_in(12);
        let shape = Shape {
            price_min: rng.pick(&[1, 2, 60, 100, 1_000, 4_090, 33_504]),
            price_width: rng.pick(&[2, 3, 5, 8, 20, 60]),
            price_drift: rng.pick(&[0, 0, 0, 1, 64]),
            qty_max: rng.pick(&[3, 10, 100, 5_000]),
            quote_funds: if tight { rng.between(1, 20_000_000) } else { 1 << 60 },
            base_funds: if tight { rng.between(1, 200_000) } else { 1 << 50 },
            vast_log2: if vast { 38 } else { 0 },
            immediate_percent: rng.pick(&[5, 10, 30]),
            post_only_percent: rng.pick(&[0, 5, 15]),
            channels: rng.pick(&[[0].as_slice(), &[0], &[0, 1]]),
            admin_gap: rng.pick(&[100, 1_000]),
            mass_cancel_gap: rng.pick(&[60, 300]),
            disable_gap: rng.pick(&[400, 5_000]),
            new_day_gap: rng.pick(&[400, 5_000]),
            rebates_all: rng.one_in(2),
            deep: false,
        };
        // So little that what a trade brought is soon gone, and cannot be given back.
        let poor = Shape {
            vast_log2: 0,
            price_min: 60,
            qty_max: 10,
            quote_funds: 3_000_000,
            base_funds: 3_000_000,
            ..shape.clone()
        };
        Self::of(rng, theme, if busts { poor } else { shape })
    }

    fn plain(mut rng: Rng) -> Self {
        let width = rng.pick(&[1, 2, 3, 5, 8, 20, 200, 30_000]);
        let vast = rng.one_in(12);
        let tight = !vast && rng.one_in(2);
        let shape = Shape {
            price_min: rng.pick(&[1, 1, 2, 60, 63, 100, 4_090, 33_504, 1 << 33]),
            price_width: width,
            price_drift: rng.pick(&[0, 0, 1, 64, 5_000]),
            qty_max: rng.pick(&[1, 3, 10, 100, 5_000]),
            quote_funds: if tight { rng.between(1, 2_000_000) } else { 1 << 60 },
            base_funds: if tight { rng.between(1, 20_000) } else { 1 << 50 },
            // 2^98 for each account: an order's sum of notional x rate over thousands of trades still fits the oracle.
            vast_log2: if vast { 38 } else { 0 },
            immediate_percent: rng.pick(&[0, 10, 30, 60]),
            post_only_percent: rng.pick(&[0, 5, 30]),
            channels: rng.pick(&[[0].as_slice(), &[0], &[0, 1], &[0, 7, 255]]),
            admin_gap: rng.pick(&[30, 100, 1_000]),
            mass_cancel_gap: rng.pick(&[20, 60, 300]),
            disable_gap: rng.pick(&[80, 400, 5_000]),
            new_day_gap: rng.pick(&[80, 400, 5_000]),
            rebates_all: false,
            deep: false,
        };
        Self::of(rng, Theme::Plain, shape)
    }

    /// A flow whose books grow to thousands of orders, so that a mass cancel takes several slices on
    /// one instrument.
    #[must_use]
    pub fn deep(seed: u64) -> Self {
        Self::of(Rng::new(seed), Theme::Plain, Shape::DEEP)
    }

    /// A flow of one book with more pegs and more trailing stops than may rest, or with lines longer than
    /// those that share by size; now and then an order takes much of it.
    #[must_use]
    pub fn crowded(seed: u64, shares_by_size: bool) -> Self {
        let price_width = if shares_by_size { 1 } else { 40 };
        let shape = Shape { price_width, mass_cancel_gap: 1_000_000, ..Shape::DEEP };
        let mut flow = Self::of(Rng::new(seed), Theme::Mixed, shape);
        flow.bias = Bias::crowded(shares_by_size);
        flow.at_first = flow.bias.knobs_at_first.iter().copied().collect();
        flow.opens_day = true;
        flow
    }

    /// A flow of orders, replacements, cancels and quotes in crowds: chains of replacements, funds spent as soon as they
    /// come in, numbers used again, orders that nobody has the money for.
    #[must_use]
    pub fn stormy(seed: u64) -> Self {
        let mut rng = Rng::new(!seed.rotate_left(7));
        let tight = !rng.one_in(3);
        let shape = Shape {
            price_min: rng.pick(&[2, 100, 33_504]),
            price_width: rng.pick(&[2, 3, 8, 20]),
            price_drift: 0,
            qty_max: rng.pick(&[3, 10, 100]),
            quote_funds: if tight { rng.between(1, 2_000_000) } else { 1 << 60 },
            base_funds: if tight { rng.between(1, 20_000) } else { 1 << 50 },
            vast_log2: 0,
            immediate_percent: rng.pick(&[5, 30]),
            post_only_percent: rng.pick(&[0, 10]),
            channels: rng.pick(&[[0].as_slice(), &[0], &[0, 1]]),
            admin_gap: 1_000,
            mass_cancel_gap: 300,
            disable_gap: 5_000,
            new_day_gap: 5_000,
            rebates_all: false,
            deep: false,
        };
        let mut flow = Self::of(rng, Theme::Mixed, shape);
        flow.bias = Bias::storm();
        flow.at_first = flow.bias.knobs_at_first.iter().copied().collect();
        flow.opens_day = true;
        flow
    }

    fn of(rng: Rng, theme: Theme, shape: Shape) -> Self {
        let bias = Bias::of(theme);
        let mut flow = Self {
            rng,
            theme,
            shape,
            bias,
            at_first: bias.knobs_at_first.iter().chain(bias.knobs_at_first).copied().collect(),
            opens_day: true,
            locate_id: 0,
            day_is_open: false,
            phases: BTreeMap::new(),
            delisted: BTreeSet::new(),
            rules_in_force: BTreeMap::new(),
            scheduled: BTreeSet::new(),
            dues: BTreeSet::new(),
            legs: VecDeque::new(),
            to_take_back: VecDeque::new(),
            seq: Seq(0),
            time: Nanos(1_790_000_000_000_000_000),
            opening: VecDeque::new(),
            assets: Vec::new(),
            instruments: Vec::new(),
            firms: Vec::new(),
            accounts: Vec::new(),
            ports: Vec::new(),
            ports_defined: 0,
            exact_accounts: 0,
            fees_in_force: BTreeMap::new(),
            tiers: BTreeMap::new(),
            disabled: BTreeSet::new(),
            incarnations: BTreeMap::new(),
            last_nums: BTreeMap::new(),
            orders: VecDeque::new(),
            asks: VecDeque::new(),
            slices: Vec::new(),
            date: 20_261_120,
            funding_id: 0,
        };
        flow.opening = flow.open();
        flow.opens_day = !flow.rng.one_in(8);
        flow
    }

    /// What the flow is about.
    #[must_use]
    pub fn theme(&self) -> Theme {
        self.theme
    }

    /// The next command, now that `said` was said of the one before.
    pub fn next(&mut self, said: &[Event]) -> Sequenced {
        for event in said {
            self.hear(&event.body);
        }
        self.seq = self.seq.next();
        // Several commands often share a time.
        self.time.0 += self.rng.pick(&[0, 0, 0, 1, 40, 1_000, 100_000, 1_000_000]);
        let command = if let Some(command) = self.opening.pop_front() {
            command
        } else if let Some(knob) = self.at_first.pop_front() {
            Command::Control(self.turn(knob))
        } else if self.opens_day {
            self.opens_day = false;
            self.open_day()
        } else if self.bias.leap_gap > 0 && self.rng.one_in(self.bias.leap_gap) {
            self.leap();
            if self.rng.one_in(2) { Command::Tick } else { self.command() }
        } else {
            self.command()
        };
        Sequenced { seq: self.seq, time: self.time, command }
    }

    /// Time passes at once: to when something is due, just before it, just after it, or far.
    fn leap(&mut self) {
        let now = self.time;
        self.dues.retain(|&due| due > now);
        let dues: Vec<Nanos> = self.dues.iter().copied().take(6).collect();
        if dues.is_empty() || self.rng.one_in(3) {
            let far = [100_000_000, 999_999_999, 1_000_000_000, 10_000_000_000, 600_000_000_000];
            self.time.0 += self.rng.pick(&far);
            return;
        }
        let due = self.rng.pick(&dues).0;
        self.time.0 = (due + self.rng.below(3) - 1).max(now.0);
    }

    fn note_due(&mut self, due: Nanos) {
        self.dues.insert(due);
    }

    fn hear(&mut self, body: &EventBody) {
        match body {
            EventBody::AssetDefined(asset) => self.assets.push(asset.id),
            EventBody::InstrumentDefined(instrument) => {
                self.instruments.retain(|i| i.id != instrument.id);
                self.instruments.push(*instrument);
            }
            EventBody::FirmDefined(firm) => self.firms.push(firm.id),
            EventBody::AccountDefined(account) => self.accounts.push(*account),
            EventBody::PortDefined(port) => {
                self.ports.push(*port);
                self.ports_defined += 1;
                self.retire_ports();
            }
            EventBody::FirmTier { firm, tier } => {
                self.tiers.insert(*firm, *tier);
            }
            EventBody::DayOpened(day) => {
                self.last_nums.clear();
                self.day_is_open = true;
                for at_s in self.scheduled.clone() {
                    self.note_due(Nanos(day.midnight.0.saturating_add(u64::from(at_s) * 1_000_000_000)));
                }
            }
            EventBody::DayClosed { .. } => self.day_is_open = false,
            EventBody::PhaseChanged { instrument, phase, .. } => {
                self.phases.insert(*instrument, *phase);
                let rules = self.rules_in_force.get(instrument).copied().unwrap_or(InstrumentRules::PLAIN);
                for span in [1_000_000_000, rules.volatility_ns, rules.batch_ns] {
                    self.note_due(Nanos(self.time.0 + span));
                }
            }
            EventBody::LimitState { instrument, on: true } => {
                let rules = self.rules_in_force.get(instrument).copied().unwrap_or(InstrumentRules::PLAIN);
                self.note_due(Nanos(self.time.0 + rules.limit_state_ns));
            }
            EventBody::DeadManSet { timeout_ns, .. } => {
                // Some timers are never due.
                let due = self.time.0.saturating_add(*timeout_ns);
                if due < u64::MAX {
                    self.note_due(Nanos(due));
                }
            }
            EventBody::Controlled(control) => self.hear_control(control),
            EventBody::LoggedIn { port, incarnation } => {
                self.incarnations.insert(*port, *incarnation);
            }
            EventBody::Accepted(order) => {
                self.remember((order.key, order.instrument, order.side, order.price, order.qty));
            }
            EventBody::Replaced(replaced) => {
                let order = &replaced.order;
                self.forget(OrderKey::new(order.key.port(), order.key.idx(), replaced.orig_user_ref_num));
                self.remember((order.key, order.instrument, order.side, order.price, order.qty));
            }
            EventBody::Canceled(canceled) if canceled.leaves_qty == Qty::ZERO => self.forget(canceled.key),
            EventBody::SelfTradePrevented(prevented) if prevented.leaves_qty == Qty::ZERO => {
                self.forget(prevented.key);
            }
            EventBody::Trade(trade) => {
                for side in [trade.resting, trade.aggressor] {
                    if side.leaves_qty == Qty::ZERO {
                        self.forget(side.key);
                    }
                }
            }
            EventBody::Settled(settled) => {
                if self.legs.len() == 24 {
                    self.legs.pop_front();
                }
                self.legs.push_back(*settled);
            }
            EventBody::OrderEntryDisabled(switch) => {
                self.disabled.insert(switch.firm);
            }
            EventBody::OrderEntryEnabled(switch) => {
                self.disabled.remove(&switch.firm);
            }
            EventBody::MassCancelAsked { cause, slice } => {
                let slice = MassCancelSlice { cause: *cause, slice: *slice };
                self.asks.push_back(slice);
                self.slices.push(slice);
            }
            _ => {}
        }
    }

    fn hear_control(&mut self, control: &Control) {
        match *control {
            Control::SetFees { instrument, tier, fees } => {
                self.fees_in_force.insert((instrument, tier), fees);
            }
            Control::SetRules { instrument, rules } => {
                self.rules_in_force.insert(instrument, rules);
            }
            Control::SetSchedule { at_s, phase: Some(_), .. } => {
                self.scheduled.insert(at_s);
            }
            Control::Delist { instrument } => {
                self.delisted.insert(instrument);
            }
            _ => {}
        }
    }

    fn remember(&mut self, order: (OrderKey, InstrumentId, Side, Price, Qty)) {
        if self.orders.len() == REMEMBERED {
            // Forgets any, not the oldest: some old orders stay in view.
            let at = self.rng.below(REMEMBERED as u64) as usize;
            self.orders.remove(at);
        }
        self.orders.push_back(order);
    }

    /// An order is done. Members often notice too late: every fourth stays a target.
    fn forget(&mut self, key: OrderKey) {
        if !self.rng.one_in(4) {
            self.orders.retain(|(other, ..)| *other != key);
        }
    }
}

// What the venue opens with.

impl Flow {
    fn open(&mut self) -> VecDeque<Command> {
        let mut opening = VecDeque::new();
        let assets = if self.shape.deep { 2 } else { self.rng.between(2, 4) as u32 };
        // Ids need not be dense, nor in order.
        let asset_ids: Vec<AssetId> = (0..assets).map(|i| AssetId(if i == 0 { 7 } else { i * i })).collect();
        for (i, &id) in asset_ids.iter().enumerate() {
            let code = Symbol::new(["USD", "XAU", "BTC", "EUR"][i]).expect("a short code");
            opening.push_back(Command::DefineAsset(Asset { id, code, decimals: self.rng.below(19) as u8 }));
        }
        let instruments = if self.shape.deep { 2 } else { self.rng.between(1, 4) as u32 };
        for id in 1..=instruments {
            let quote = asset_ids[self.rng.below(2) as usize];
            let others: Vec<AssetId> = asset_ids.iter().copied().filter(|&a| a != quote).collect();
            let base = self.rng.pick(&others);
            let instrument = self.instrument(InstrumentId(id), base, quote);
            opening.push_back(Command::DefineInstrument(instrument));
        }
        let firms_max = if self.bias.few_firms { 2 } else { 4 };
        let firms = if self.shape.deep { 2 } else { self.rng.between(1, firms_max) as u32 };
        let mut port = 0;
        for firm in (1..=firms).map(FirmId) {
            opening.push_back(Command::DefineFirm(Firm { id: firm, mpid: mpid(firm.0) }));
            let accounts = self.rng.between(1, 2) as u32;
            for account in (0..accounts).map(|a| AccountId(100 - firm.0 * 10 + a)) {
                opening.push_back(Command::DefineAccount(Account { id: account, firm }));
                for &asset in &asset_ids {
                    let amount = self.shape.quote_funds.max(self.shape.base_funds);
                    let amount = i128::from(self.rng.between(1, amount)) << self.shape.vast_log2;
                    opening.push_back(Command::Fund(self.funding(account, asset, amount)));
                }
                for _ in 0..self.rng.between(1, 2) {
                    port += 1;
                    let port = self.port(PortId(port), firm, account);
                    opening.push_back(Command::DefinePort(port));
                }
            }
        }
        opening
    }

    fn instrument(&mut self, id: InstrumentId, base: AssetId, quote: AssetId) -> Instrument {
        let fees = [0, 1, 2, 3, 7, 10, 25, 49, 50, 50, 10_000];
        let vast = self.shape.vast_log2 > 0;
        let tick_values = if vast { [1, 1, 1 << 20, 1 << 40, u64::MAX] } else { [1, 1, 3, 100, 9_999] };
        let lots = if vast { [1, 1 << 30, 1 << 40, u64::MAX] } else { [1, 1, 7, 1_000] };
        Instrument {
            id,
            symbol: Symbol::new(&format!("SYM{id}")).expect("a short symbol"),
            base,
            quote,
            scale: if self.rng.one_in(2) {
                Scale::Scaled
            } else {
                Scale::EquityExact { price_tick: self.rng.pick(&[1, 7, 100]) }
            },
            tick_value: self.rng.pick(&tick_values),
            lot_units: self.rng.pick(&lots),
            round_lot: 100,
            maker_fee_bps: self.rng.pick(&fees),
            // Rebates of any tier must be covered by the fees of all others.
            taker_fee_bps: if matches!(self.theme, Theme::Fees | Theme::Exact) {
                60
            } else {
                self.rng.pick(&fees)
            },
        }
    }

    fn port(&mut self, id: PortId, firm: FirmId, account: AccountId) -> Port {
        let credential = Credential { salt: [1; 16], hash: [2; 32], memory_kib: 8, passes: 1, lanes: 1 };
        let ample = PortLimits { qty_max: Qty(u64::MAX), notional_max: Amount(i128::MAX) };
        let qty_max = Qty(self.rng.between(1, self.shape.qty_max * 2));
        let notional_max =
            Amount(i128::from(self.rng.between(1, self.shape.price_min.saturating_mul(qty_max.0 * 200))));
        let limits = if self.theme != Theme::Plain && !self.rng.one_in(8) {
            [ample; 4]
        } else {
            [ample, ample, PortLimits { qty_max, ..ample }, PortLimits { notional_max, ..ample }]
        };
        let limits = self.rng.pick(&limits);
        let username = Username::new(&format!("P{id}")).expect("a short name");
        Port { id, username, firm, account, limits, credential }
    }

    fn funding(&mut self, account: AccountId, asset: AssetId, amount: i128) -> Funding {
        self.funding_id += self.rng.between(1, 3);
        Funding { id: self.funding_id, account, asset, amount: Amount(amount) }
    }

    fn open_day(&mut self) -> Command {
        self.date += 1;
        Command::OpenDay(OpenDay {
            date: self.date,
            midnight: Nanos(self.time.0 - SECONDS_AT_START * 1_000_000_000),
        })
    }
}

// One command.

impl Flow {
    fn command(&mut self) -> Command {
        if !self.asks.is_empty() && self.rng.one_in(3) {
            return self.due_slice();
        }
        if self.bias.storm && !self.rng.one_in(50) {
            return match self.rng.below(100) {
                0..50 => self.enter(),
                50..75 => self.replace(),
                75..90 => self.cancel(),
                _ => self.quote(),
            };
        }
        if self.bias.control_gap > 0
            && let Some(command) = self.operate()
        {
            return command;
        }
        if self.rng.one_in(self.shape.admin_gap) {
            return self.administration();
        }
        if self.rng.one_in(self.shape.new_day_gap) {
            return self.open_day();
        }
        if self.rng.one_in(self.shape.mass_cancel_gap) {
            return self.mass_cancel();
        }
        // Disabled, a firm soon enables again, but not before it has tried to trade.
        if self.rng.one_in(if self.disabled.is_empty() { self.shape.disable_gap } else { 20 }) {
            return self.switch_order_entry();
        }
        if self.shape.deep {
            let crowded = self.theme != Theme::Plain;
            return match self.rng.below(10) {
                // Rarely, so that the book is crowded when it comes.
                _ if crowded && self.seq.0 % 4_000 >= 3_990 => self.sweep(5_000),
                _ if crowded && self.rng.one_in(300) => self.sweep(10),
                0 => self.replace(),
                _ => self.enter(),
            };
        }
        let bias = self.bias;
        match self.rng.below(100) {
            at if at < bias.quote => return self.quote(),
            at if at < bias.quote + bias.tick => return Command::Tick,
            at if at < bias.quote + bias.tick + bias.query => return self.order_state(),
            at if at < bias.quote + bias.tick + bias.query + bias.dead_man => return self.dead_man(),
            _ => {}
        }
        match self.rng.below(100) {
            0..55 => self.enter(),
            55..75 => self.replace(),
            75..84 => self.cancel(),
            84..92 => self.modify(),
            92..94 => {
                let (port, user_ref_idx) = self.channel();
                Command::AccountQuery(AccountQuery { port, user_ref_idx })
            }
            94..95 => Command::Tick,
            95..96 => self.stray_slice(),
            96..98 => self.session(),
            _ => self.fund(),
        }
    }

    /// What an operator does now and then, and what keeps something trading.
    fn operate(&mut self) -> Option<Command> {
        if !self.day_is_open && self.rng.one_in(6) {
            return Some(self.open_day());
        }
        let idle = |(&instrument, &phase): (&InstrumentId, &Phase)| {
            (phase != Phase::Continuous && !self.delisted.contains(&instrument)).then_some(instrument)
        };
        if let Some(instrument) = self.phases.iter().find_map(idle)
            && self.day_is_open
            && self.rng.one_in(30)
        {
            let (phase, reason) = (Phase::Continuous, *b"T3  ");
            return Some(Command::Control(Control::SetPhase { instrument, phase, reason }));
        }
        if self.theme == Theme::Exact && self.rng.one_in(25) {
            self.play_exactly();
        }
        if self.theme == Theme::Fees && self.rng.one_in(80) {
            self.bust_what_is_gone();
        }
        if self.delisted.len() == self.instruments.len() && self.rng.one_in(10) {
            return self.another_instrument();
        }
        if !self.to_take_back.is_empty() && self.rng.one_in(12) {
            return self.take_back();
        }
        self.rng.one_in(self.bias.control_gap).then(|| self.control())
    }

    /// A trade is undone when its buyer has nothing of what it bought any more, or its seller of the money.
    fn bust_what_is_gone(&mut self) {
        // The last two are of one trade.
        let recent: Vec<Settled> = self.legs.iter().rev().take(2).copied().collect();
        if recent.is_empty() {
            return;
        }
        let leg = self.rng.pick(&recent);
        let Some(instrument) = self.instruments.iter().find(|i| i.id == leg.instrument) else { return };
        let (account, asset) = (leg.account, if leg.buys { instrument.base } else { instrument.quote });
        // Withdraws all there is without knowing how much that is.
        for log2 in (0..40).rev() {
            let funding = self.funding(account, asset, -(1 << log2));
            self.opening.push_back(Command::Fund(funding));
        }
        let bust = Control::Bust { match_number: leg.match_number, reason: b'E' };
        self.opening.push_back(Command::Control(bust));
        // A firm that owes something is killed, and would never trade again.
        let firms = self.firms.clone();
        self.to_take_back
            .extend(firms.into_iter().map(|firm| Control::Kill { scope: KillScope::Firm(firm), on: false }));
        let funding = self.funding(account, asset, 1 << 22);
        self.opening.push_back(Command::Fund(funding));
    }

    fn another_instrument(&mut self) -> Option<Command> {
        let [base, quote, ..] = self.assets[..] else { return None };
        let id = InstrumentId(self.instruments.len() as u32 + 1);
        Some(Command::DefineInstrument(self.instrument(id, base, quote)))
    }

    fn quote(&mut self) -> Command {
        let (port, user_ref_idx) = self.channel();
        let user_ref_num = self.fresh_num(port, user_ref_idx);
        let last = self.last_nums.entry((port, user_ref_idx)).or_insert(0);
        // The ask's number is used up too, most often.
        *last = last.saturating_add(u32::from(!user_ref_num.0.is_multiple_of(16)));
        let (mut bid, mut ask) = (self.quote_side(Side::Buy), self.quote_side(Side::Sell));
        match self.rng.below(80) {
            0 => bid.price = ask.price,
            1 => ask = QuoteSide { qty: Qty::ZERO, price: Price(1) },
            2 => bid.price = Price(-1),
            3 => ask.price = Price(i64::MAX),
            _ => {}
        }
        Command::Quote(Quote {
            port,
            user_ref_idx,
            user_ref_num: if self.rng.one_in(4_000) { UserRefNum(u32::MAX) } else { user_ref_num },
            instrument: self.known_instrument(),
            bid,
            ask,
            capacity: self.rng.pick(Capacity::ALL),
            fault: self.fault(),
        })
    }

    fn order_state(&mut self) -> Command {
        let (key, ..) = self.target();
        Command::OrderStateQuery(OrderStateQuery {
            port: key.port(),
            user_ref_idx: key.idx(),
            user_ref_num: key.num(),
        })
    }

    fn dead_man(&mut self) -> Command {
        let (port, _) = self.channel();
        let timeouts = [0, 1, 100_000_000, 1_000_000_000, 1_000_000_000, u64::MAX];
        Command::DeadMan(DeadMan { port, timeout_ns: self.rng.pick(&timeouts) })
    }

    /// A port and a channel of it; rarely ones that do not exist.
    fn channel(&mut self) -> (PortId, UserRefIdx) {
        let ids: Vec<PortId> = self.ports.iter().map(|p| p.id).collect();
        let stray = ids.is_empty() || self.rng.one_in(500);
        let port = if stray { PortId(self.rng.pick(&[0, 99, (1 << 24) - 1])) } else { self.rng.pick(&ids) };
        (port, UserRefIdx(self.rng.pick(self.shape.channels)))
    }

    /// A number for a new order, most often the next one.
    fn fresh_num(&mut self, port: PortId, idx: UserRefIdx) -> UserRefNum {
        let last = self.last_nums.entry((port, idx)).or_insert(0);
        match self.rng.below(60) {
            0 => UserRefNum(*last),
            1 => UserRefNum(self.rng.below(u64::from(*last) + 1) as u32),
            2 => {
                *last = last.saturating_add(self.rng.between(1, 9) as u32);
                UserRefNum(*last)
            }
            // The end of the numbers: this channel is used up for the day.
            3 if self.rng.one_in(400) => UserRefNum(u32::MAX),
            _ => {
                *last = last.saturating_add(1);
                UserRefNum(*last)
            }
        }
    }

    fn price(&mut self, side: Side) -> u64 {
        if self.rng.one_in(100) {
            let drift = self.rng.below(self.shape.price_drift + 1);
            let min = self.shape.price_min;
            self.shape.price_min =
                if self.rng.one_in(2) { min + drift } else { min.saturating_sub(drift).max(1) };
        }
        let price = self.shape.price_min + self.rng.below(self.shape.price_width);
        // In a deep flow the sides stay apart.
        if self.shape.deep && !side.is_buy() { price + self.shape.price_width } else { price }
    }

    fn qty(&mut self) -> Qty {
        match self.rng.below(400) {
            0 => Qty(0),
            1 => Qty(u64::MAX),
            2 => Qty(self.shape.qty_max * 1_000),
            _ => Qty(self.rng.between(1, self.shape.qty_max)),
        }
    }

    fn side(&mut self) -> Side {
        self.rng.pick(&[
            Side::Buy,
            Side::Buy,
            Side::Buy,
            Side::Sell,
            Side::Sell,
            Side::SellShort,
            Side::SellShortExempt,
        ])
    }

    /// Time in force with a minimum quantity that goes with it, or rarely does not.
    fn terms(&mut self, qty: Qty) -> (TimeInForce, u32) {
        let whole = u32::try_from(qty.0).unwrap_or(u32::MAX);
        if self.rng.one_in(150) {
            let odd = self.rng.pick(&[1, whole, whole.saturating_add(1)]);
            return (self.rng.pick(TimeInForce::ALL), odd);
        }
        if self.rng.below(100) >= self.shape.immediate_percent {
            return (TimeInForce::Day, 0);
        }
        self.rng.pick(&[
            (TimeInForce::Ioc, 0),
            (TimeInForce::Ioc, 0),
            (TimeInForce::Ioc, whole),
            (TimeInForce::Fok, 0),
        ])
    }

    fn options(&mut self, min_qty: u32) -> OrderOptions {
        let post_only = if self.rng.below(100) < self.shape.post_only_percent { b'P' } else { 0 };
        OrderOptions {
            firm: self.rng.one_in(4),
            customer_type: self.rng.pick(&[0, 0, b'R', b'N']),
            post_only: if self.rng.one_in(10) { b'N' } else { post_only },
            group: self.rng.pick(&[None, None, Some(0), Some(1), Some(2)]),
            min_qty,
        }
    }

    fn fault(&mut self) -> Option<Reject> {
        self.rng.one_in(150).then(|| self.rng.pick(Reject::ALL))
    }

    fn cl_ord_id(&mut self) -> ClOrdId {
        let text = format!("c{}", self.rng.below(1_000));
        ClOrdId::new(&text).expect("a short text")
    }

    fn known_instrument(&mut self) -> InstrumentId {
        let known = self.instruments.len() as u64;
        let stray = known == 0 || self.rng.one_in(300);
        if self.shape.deep && !self.rng.one_in(10) {
            return InstrumentId(1);
        }
        if !self.delisted.is_empty() && !self.rng.one_in(20) {
            let listed: Vec<InstrumentId> =
                self.instruments.iter().map(|i| i.id).filter(|id| !self.delisted.contains(id)).collect();
            if !listed.is_empty() {
                return self.rng.pick(&listed);
            }
        }
        InstrumentId(if stray {
            self.rng.pick(&[0, 77, u32::MAX])
        } else {
            self.rng.between(1, known) as u32
        })
    }

    fn enter(&mut self) -> Command {
        let (port, user_ref_idx) = self.channel();
        let (side, qty) = (self.side(), self.qty());
        let (time_in_force, min_qty) = self.terms(qty);
        let price = match self.rng.below(500) {
            0 => Price(self.rng.pick(&[0, -1, i64::MIN])),
            1 => Price(self.rng.pick(&[i64::MAX, 1 << 40])),
            _ => Price(self.price(side) as i64),
        };
        let mut order = EnterOrder {
            port,
            user_ref_idx,
            user_ref_num: self.fresh_num(port, user_ref_idx),
            instrument: self.known_instrument(),
            side,
            qty,
            price,
            time_in_force,
            display: self.rng.pick(Display::ALL),
            capacity: self.rng.pick(Capacity::ALL),
            cl_ord_id: self.cl_ord_id(),
            options: self.options(min_qty),
            terms: OrderTerms::default(),
            fault: self.fault(),
        };
        self.dress(&mut order);
        Command::EnterOrder(order)
    }

    /// An order that takes much of the other side.
    fn sweep(&mut self, usual_orders: u64) -> Command {
        let Command::EnterOrder(mut order) = self.enter() else { unreachable!("an order enters") };
        let far = self.shape.price_width as i64 * 2;
        let low = self.shape.price_min as i64;
        order.terms = OrderTerms::default();
        order.price = Price(if order.side.is_buy() { low + far } else { low });
        order.qty = Qty(self.shape.qty_max * usual_orders);
        order.time_in_force = TimeInForce::Ioc;
        order.options.min_qty = 0;
        order.options.post_only = 0;
        Command::EnterOrder(order)
    }

    /// An order to aim at: one that was accepted, rarely any name.
    fn target(&mut self) -> (OrderKey, InstrumentId, Side, Price, Qty) {
        if self.orders.is_empty() || self.rng.one_in(60) {
            let (port, idx) = self.channel();
            let key = OrderKey::new(port, idx, UserRefNum(self.rng.below(200) as u32));
            return (key, self.known_instrument(), Side::Buy, Price(1), Qty(1));
        }
        // The newest are the likeliest to be open still.
        let behind = self.rng.below(self.orders.len() as u64).min(self.rng.below(self.orders.len() as u64));
        self.orders[self.orders.len() - 1 - behind as usize]
    }

    /// A new total around the old quantity, 0 included.
    fn total(&mut self, qty: Qty) -> Qty {
        match self.rng.below(12) {
            0 => Qty(0),
            1 => qty,
            2 => Qty(qty.0.saturating_add(1)),
            3 => self.qty(),
            _ => Qty(self.rng.between(0, qty.0.min(1 << 40))),
        }
    }

    fn replace(&mut self) -> Command {
        let (key, instrument, side, price, qty) = self.target();
        let (port, user_ref_idx) = (key.port(), key.idx());
        let definition = self.instruments.iter().find(|i| i.id == instrument);
        let tick = u64::from(definition.map_or(1, Instrument::price_tick));
        let market = price == Price(0);
        let price = if market || self.rng.one_in(3) { price.0.unsigned_abs() } else { self.price(side) };
        let wire_price = match self.rng.below(150) {
            // A market order has no price, and what replaces it has none.
            20.. if price == 0 => 0,
            0 => 0,
            1 => u64::MAX,
            2 => price.saturating_mul(tick).saturating_add(1),
            3..9 => (EQUITY_WIRE_PRICE_MAX / tick + self.rng.below(2)) * tick,
            _ => price.saturating_mul(tick),
        };
        let qty = match self.rng.below(200) {
            0..8 => Qty(u64::from(EQUITY_QTY_MAX) + self.rng.below(2)),
            8..50 => self.total(qty),
            _ => self.qty(),
        };
        let (mut time_in_force, min_qty) = self.terms(qty);
        let mut expire = Nanos(0);
        if self.chance(self.bias.until) && time_in_force == TimeInForce::Day {
            time_in_force = self.rng.pick(&[TimeInForce::Gtt, TimeInForce::Gtc]);
            if time_in_force == TimeInForce::Gtt || self.rng.one_in(50) {
                expire = self.end();
            }
        }
        if self.chance(self.bias.at_cross / 4) {
            time_in_force = self.rng.pick(&[TimeInForce::AtOpen, TimeInForce::AtClose]);
        }
        let another = self.chance(self.bias.iceberg);
        let max_floor = another.then(|| self.rng.below(self.shape.qty_max) as u32);
        let random_reserves = (another && self.rng.one_in(3)).then(|| self.rng.below(4) as u32);
        Command::ReplaceOrder(ReplaceOrder {
            port,
            user_ref_idx,
            orig_user_ref_num: key.num(),
            user_ref_num: self.fresh_num(port, user_ref_idx),
            qty,
            wire_price,
            time_in_force,
            display: self.rng.pick(Display::ALL),
            cl_ord_id: self.cl_ord_id(),
            options: self.options(min_qty),
            max_floor,
            random_reserves,
            expire,
            fault: self.fault(),
        })
    }

    fn cancel(&mut self) -> Command {
        let (key, _, _, _, qty) = self.target();
        let qty = if self.rng.one_in(2) { Qty(0) } else { self.total(qty) };
        Command::CancelOrder(CancelOrder {
            port: key.port(),
            user_ref_idx: key.idx(),
            user_ref_num: key.num(),
            qty,
        })
    }

    fn modify(&mut self) -> Command {
        let (key, _, side, _, qty) = self.target();
        let side = if self.rng.one_in(2) { side } else { self.side() };
        Command::ModifyOrder(ModifyOrder {
            port: key.port(),
            user_ref_idx: key.idx(),
            user_ref_num: key.num(),
            side,
            qty: self.total(qty),
        })
    }

    fn mass_cancel(&mut self) -> Command {
        let (port, user_ref_idx) = self.channel();
        let own = self.ports.iter().find(|p| p.id == port).map_or(FirmId(0), |p| p.firm);
        Command::MassCancel(MassCancel {
            port,
            user_ref_idx,
            user_ref_num: self.fresh_num(port, user_ref_idx),
            firm: if self.rng.one_in(10) { FirmId(self.rng.below(4) as u32) } else { own },
            instrument: if self.rng.one_in(2) { InstrumentId::NONE } else { self.known_instrument() },
            group: if self.shape.deep {
                None
            } else {
                self.rng.pick(&[None, None, Some(0), Some(1), Some(2)])
            },
            side: self.rng.pick(&[None, None, Some(Side::Buy), Some(Side::Sell), Some(Side::SellShort)]),
            fault: self.fault(),
        })
    }

    /// Most often what changes something: a disabled firm enables, another one disables.
    fn switch_order_entry(&mut self) -> Command {
        let disabled = self.disabled.first().copied().filter(|_| !self.rng.one_in(4));
        let of_disabled: Vec<PortId> =
            self.ports.iter().filter(|p| Some(p.firm) == disabled).map(|p| p.id).collect();
        let (mut port, user_ref_idx) = self.channel();
        if !of_disabled.is_empty() {
            port = self.rng.pick(&of_disabled);
        }
        let own = self.ports.iter().find(|p| p.id == port).map_or(FirmId(0), |p| p.firm);
        let switch = OrderEntrySwitch {
            port,
            user_ref_idx,
            user_ref_num: self.fresh_num(port, user_ref_idx),
            firm: if self.rng.one_in(10) { FirmId(self.rng.below(4) as u32) } else { own },
            fault: self.fault(),
        };
        if self.disabled.contains(&own) != self.rng.one_in(5) {
            Command::EnableOrderEntry(switch)
        } else {
            Command::DisableOrderEntry(switch)
        }
    }

    /// A slice that was asked for, from any of the mass cancels under way.
    fn due_slice(&mut self) -> Command {
        let at = self.rng.below(self.asks.len() as u64) as usize;
        Command::MassCancelSlice(self.asks.swap_remove_back(at).expect("an index within"))
    }

    /// A slice that was asked for once, or never was.
    fn stray_slice(&mut self) -> Command {
        if self.slices.is_empty() || self.rng.one_in(4) {
            return Command::MassCancelSlice(MassCancelSlice {
                cause: Seq(self.rng.below(self.seq.0 + 3)),
                slice: self.rng.below(3) as u32,
            });
        }
        let mut slice = self.rng.pick(&self.slices);
        slice.slice += self.rng.below(2) as u32;
        Command::MassCancelSlice(slice)
    }

    fn session(&mut self) -> Command {
        let (port, _) = self.channel();
        if self.rng.one_in(2) {
            return Command::Login(Login { port });
        }
        let current = self.incarnations.get(&port).copied().unwrap_or(0);
        let stale = self.rng.below(2) as u32;
        Command::Logout(Logout { port, incarnation: current.saturating_sub(stale) })
    }

    fn fund(&mut self) -> Command {
        let accounts: Vec<AccountId> = self.accounts.iter().map(|a| a.id).collect();
        let strays = [AccountId::WORLD, AccountId::fees(InstrumentId(1)), AccountId(4_242)];
        let stray = accounts.is_empty() || self.rng.one_in(50);
        let account = if stray { self.rng.pick(&strays) } else { self.rng.pick(&accounts) };
        let asset = if self.assets.is_empty() || self.rng.one_in(50) {
            AssetId(4_242)
        } else {
            let assets = self.assets.clone();
            self.rng.pick(&assets)
        };
        let size = i128::from(self.rng.between(1, self.shape.quote_funds.min(self.shape.base_funds)));
        let size = size << self.shape.vast_log2;
        let amount = match self.rng.below(40) {
            0 => 0,
            1 => self.rng.pick(&[i128::MIN, i128::MAX, 1 << 126, (1 << 126) + 1, -(1 << 126)]),
            2..20 => -size,
            _ => size,
        };
        let mut funding = self.funding(account, asset, amount);
        if self.rng.one_in(8) {
            funding.id = self.rng.between(1, self.funding_id);
        }
        Command::Fund(funding)
    }

    /// Definitions while trading goes on, most of them wrong in some way.
    fn administration(&mut self) -> Command {
        let wrong = self.rng.below(6);
        let known_assets: Vec<AssetId> = self.assets.iter().copied().chain([AssetId(4_242)]).collect();
        match self.rng.below(6) {
            0 => Command::DefineAsset(Asset {
                id: if wrong == 0 {
                    self.rng.pick(&known_assets)
                } else {
                    AssetId(self.rng.below(1 << 32) as u32)
                },
                code: Symbol::new(self.rng.pick(&["USD", "A", "B", "C", "D"])).expect("a short code"),
                decimals: if wrong == 1 { 19 } else { 18 },
            }),
            1 => {
                let next = InstrumentId(self.instruments.len() as u32 + 1 - u32::from(wrong == 0));
                let (base, quote) = (self.rng.pick(&known_assets), self.rng.pick(&known_assets));
                let mut instrument = self.instrument(next, base, quote);
                match wrong {
                    1 => instrument.symbol = Symbol::new("SYM1").expect("a short symbol"),
                    2 => instrument.tick_value = 0,
                    3 => instrument.lot_units = 0,
                    4 => instrument.maker_fee_bps = 10_001,
                    5 => instrument.scale = Scale::EquityExact { price_tick: self.rng.below(2) as u32 },
                    _ => {}
                }
                Command::DefineInstrument(instrument)
            }
            2 => {
                let id = FirmId(self.firms.len() as u32 + 1 + u32::from(wrong == 0));
                Command::DefineFirm(Firm { id, mpid: mpid(if wrong == 1 { 1 } else { id.0 }) })
            }
            3 => {
                let ids = [
                    0,
                    90,
                    1_000 + self.rng.below(9) as u32,
                    AccountId::MEMBER_MAX.0,
                    AccountId::MEMBER_MAX.0 + 1,
                ];
                let firm = FirmId(self.rng.between(0, self.firms.len() as u64 + 1) as u32);
                Command::DefineAccount(Account { id: AccountId(self.rng.pick(&ids)), firm })
            }
            4 => {
                let next = PortId(self.ports_defined + 1 + u32::from(wrong == 0));
                let Some(&account) =
                    self.accounts.get(self.rng.below(self.accounts.len() as u64 + 1) as usize)
                else {
                    return Command::Tick;
                };
                let firm = if wrong == 1 { FirmId(self.rng.below(4) as u32) } else { account.firm };
                let mut port = self.port(next, firm, account.id);
                if wrong == 2 {
                    port.username = Username::new("P1").expect("a short name");
                }
                Command::DefinePort(port)
            }
            _ => {
                let date = self.date - self.rng.below(2) as u32;
                Command::OpenDay(OpenDay { date, midnight: Nanos(0) })
            }
        }
    }
}

fn mpid(number: u32) -> Mpid {
    Mpid::new(&format!("F{number:03}")).expect("four characters")
}
