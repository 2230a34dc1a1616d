//! Commands that run by themselves: what they touch every shard reads, or several shards own.
//!
//! Orders, cancels and quotes touch one account and one book, so that shards can run many of them side by side.
//! All else is done here, over all shards at once and with the same outcome on any number of them.

use crate::{
    desk::{Desk, TOTAL_MAX, notional},
    directory::{Directory, PortState},
    homes::Homes,
    matching::{Effect, Request, Slice, Spent, Voice},
    risk,
    superstep::Part,
    sweep::{Sweep, Sweeps, Whose},
    trades::Leg,
};
use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use ironbell_types::{
    AccountId, AdminRefusal, Amount, AssetId, Busted, ClOrdId, Command, Control, Event, EventBody, FirmId,
    Funding, Instrument, InstrumentId, KillScope, Logout, MassCancel, MassCancelSlice, MatchNumber, Nanos,
    OpenDay, OrderKey, PortId, Reject, Seq, Stage, TIERS, UserRefNum,
};

/// State that is nobody's in particular.
#[derive(Clone)]
pub(crate) struct Office {
    /// The present day, or when none is open the last one.
    pub(crate) last_day: Option<OpenDay>,
    pub(crate) sweeps: Sweeps,
    /// Ids of the fundings done.
    pub(crate) fundings: BTreeSet<u64>,
    /// Numbers of the Locates done.
    pub(crate) locates: BTreeSet<u64>,
    /// What the firms' receivable accounts are below zero, together.
    pub(crate) owed: BTreeMap<AssetId, i128>,
    /// By tier, the least volume for it; 0 is out of reach.
    pub(crate) volume_min: [u64; TIERS],
    pub(crate) decline_levels: [u64; 3],
}

impl Office {
    pub(crate) fn new() -> Self {
        Self {
            last_day: None,
            sweeps: Sweeps::new(),
            fundings: BTreeSet::new(),
            locates: BTreeSet::new(),
            owed: BTreeMap::new(),
            volume_min: [0; TIERS],
            decline_levels: [0; 3],
        }
    }
}

/// The office with all shards at its hand.
pub(crate) struct Venue<'a> {
    pub(crate) homes: &'a Homes,
    pub(crate) office: &'a mut Office,
    pub(crate) parts: &'a mut [Box<Part>],
}

impl Venue<'_> {
    /// Runs one command, all three stages of it.
    pub(crate) fn run(
        &mut self,
        command: &Command,
        (seq, time): (Seq, Nanos),
        effects: &mut Vec<Effect>,
        out: &mut Vec<Event>,
    ) {
        let Some(request) = self.admit(command, &mut Voice::new(out, seq, time, Stage::Risk)) else { return };
        self.apply(&request, &mut Voice::new(out, seq, time, Stage::Matching), effects);
        self.settle(effects, (seq, time), out);
        effects.clear();
    }

    // Stage 1.

    fn admit(&mut self, command: &Command, voice: &mut Voice<'_>) -> Option<Request> {
        if let Some(desk) = risk::port_of(command).and_then(|port| self.desk_of_port(port))
            && desk.dead_men > 0
        {
            desk.hear(command, voice.time());
        }
        match command {
            Command::MassCancelSlice(slice) => self.slice(*slice),
            Command::Tick => Some(self.tick(voice)),
            Command::Control(control) => self.control(control, voice),
            Command::OpenDay(day) => self.open_day(*day, voice),
            Command::DefineInstrument(instrument) => self.define_instrument(instrument, voice),
            _ => {
                self.answer(command, voice);
                None
            }
        }
    }

    /// What ends in stage 1, but for operators' commands.
    fn answer(&mut self, command: &Command, voice: &mut Voice<'_>) {
        let done = match *command {
            Command::DefineAsset(asset) => self
                .define(|directory| directory.define_asset(asset))
                .map(|()| EventBody::AssetDefined(asset)),
            Command::DefineFirm(firm) => {
                self.define(|directory| directory.define_firm(firm)).map(|()| EventBody::FirmDefined(firm))
            }
            Command::DefineAccount(account) => self
                .define(|directory| directory.define_account(account))
                .map(|()| EventBody::AccountDefined(account)),
            Command::DefinePort(port) => self.define(|directory| directory.define_port(port)).map(|()| {
                self.each_desk(|desk| desk.note_port(port.id));
                EventBody::PortDefined(port)
            }),
            Command::Fund(funding) => self.fund(&funding),
            Command::MassCancel(ref mass_cancel) => return self.mass_cancel(mass_cancel, voice),
            Command::Logout(logout) => return self.logout(logout, voice),
            _ => return self.answer_port(command, voice),
        };
        voice.say(done.unwrap_or_else(EventBody::AdminRefused));
    }

    /// What concerns one port alone; of an unknown one nothing is said.
    fn answer_port(&mut self, command: &Command, voice: &mut Voice<'_>) {
        match *command {
            Command::DisableOrderEntry(ref switch) => {
                if let Some(desk) = self.desk_of_port(switch.port) {
                    desk.switch_order_entry(switch, true, voice);
                }
            }
            Command::EnableOrderEntry(ref switch) => {
                if let Some(desk) = self.desk_of_port(switch.port) {
                    desk.switch_order_entry(switch, false, voice);
                }
            }
            Command::Login(login) => {
                if let Some(desk) = self.desk_of_port(login.port) {
                    desk.login(login, voice);
                }
            }
            Command::DeadMan(dead_man) => {
                if let Some(desk) = self.desk_of_port(dead_man.port) {
                    desk.arm(dead_man.port, dead_man.timeout_ns, voice);
                }
            }
            Command::AccountQuery(query) => {
                let desk = self.desk_of_port(query.port);
                if let Some(port) = desk.and_then(|desk| desk.directory.port(query.port)) {
                    let next = UserRefNum(port.last(query.user_ref_idx).0.saturating_add(1));
                    let (port, user_ref_idx) = (query.port, query.user_ref_idx);
                    voice.say(EventBody::AccountQueried { port, user_ref_idx, next });
                }
            }
            Command::OrderStateQuery(query) => {
                if let Some(desk) = self.desk_of_port(query.port) {
                    let key = OrderKey::new(query.port, query.user_ref_idx, query.user_ref_num);
                    voice.say(EventBody::OrderState(desk.order_state(key)));
                }
            }
            _ => unreachable!("stage 2 has a part in it"),
        }
    }

    /// The same in every directory; each answers alike.
    fn define(
        &mut self,
        mut define: impl FnMut(&mut Directory) -> Result<(), AdminRefusal>,
    ) -> Result<(), AdminRefusal> {
        self.parts.iter_mut().try_for_each(|part| define(&mut part.desk.directory))
    }

    fn define_instrument(&mut self, instrument: &Instrument, voice: &mut Voice<'_>) -> Option<Request> {
        if let Err(refusal) = self.define(|directory| directory.define_instrument(*instrument)) {
            voice.say(EventBody::AdminRefused(refusal));
            return None;
        }
        self.each_desk(|desk| {
            let entry = desk.ledger.open(AccountId::fees(instrument.id), instrument.quote);
            desk.fee_entries.push(entry);
        });
        voice.say(EventBody::InstrumentDefined(*instrument));
        Some(Request::OpenBook { day_open: self.desk().day_open })
    }

    fn fund(&mut self, funding: &Funding) -> Result<EventBody, AdminRefusal> {
        let Funding { id, account, asset, amount } = *funding;
        let directory = self.directory();
        if !directory.accounts.contains_key(&account) || !directory.assets.contains_key(&asset) {
            return Err(AdminRefusal::Unknown);
        }
        let fits = |total: Option<i128>| total.is_some_and(|total| (-TOTAL_MAX..=TOTAL_MAX).contains(&total));
        let world = self.desk().total(AccountId::WORLD, asset).checked_sub(amount.0);
        let desk = self.desk_of_account(account);
        let member = desk.total(account, asset).checked_add(amount.0);
        if amount.0 == 0 || !fits(world) || !fits(member) {
            return Err(AdminRefusal::Range);
        }
        let available = desk.ledger.find(account, asset).map_or(0, |entry| desk.ledger.available(entry));
        if self.office.fundings.contains(&id) {
            return Err(AdminRefusal::Repeated);
        }
        if amount.0 < 0 && amount.0.unsigned_abs() > available.unsigned_abs() {
            return Err(AdminRefusal::Funds);
        }
        self.office.fundings.insert(id);
        let member = self.entry_of(account);
        self.post(WORLD, member, asset, amount.0);
        Ok(EventBody::Funded { id, account, asset, amount })
    }

    fn mass_cancel(&mut self, asked: &MassCancel, voice: &mut Voice<'_>) {
        let Some(desk) = self.desk_of_port(asked.port) else { return };
        let Some(key) = desk.fresh(asked.port, asked.user_ref_idx, asked.user_ref_num) else { return };
        desk.consume(key);
        if let Err(reason) = self.check_mass_cancel(asked, voice.time()) {
            voice.say(EventBody::Rejected { key, reason, cl_ord_id: ClOrdId::default() });
            return;
        }
        voice.say(EventBody::MassCancelAccepted(*asked));
        let all = Sweep::of(voice.seq(), Whose::Firm(asked.firm), asked.instrument);
        self.ask(Sweep { group: asked.group, side: asked.side, ..all }, voice);
    }

    fn check_mass_cancel(&mut self, asked: &MassCancel, now: Nanos) -> Result<(), Reject> {
        if let Some(fault) = asked.fault {
            return Err(fault);
        }
        let desk = self.desk_of_port(asked.port).expect("it was found");
        let port = desk.directory.port_mut(asked.port).expect("it was found");
        if !port.bucket.take(&port.rules, now) {
            return Err(Reject::PortRate);
        }
        if asked.firm != port.port.firm {
            return Err(Reject::FirmNotAuthorized);
        }
        let directory = self.directory();
        if asked.instrument != InstrumentId::NONE && directory.instrument(asked.instrument).is_none() {
            return Err(Reject::Symbol);
        }
        Ok(())
    }

    fn logout(&mut self, logout: Logout, voice: &mut Voice<'_>) {
        let Some(desk) = self.desk_of_port(logout.port) else { return };
        let Some(port) = desk.directory.port_mut(logout.port) else { return };
        if !port.logged_in || port.incarnation != logout.incarnation {
            return;
        }
        (port.logged_in, port.grace_end) = (false, None);
        let cancels = port.rules.cancels_on_disconnect;
        voice.say(EventBody::LoggedOut { port: logout.port, incarnation: logout.incarnation });
        if cancels {
            self.ask(Sweep::of(voice.seq(), Whose::Port(logout.port), InstrumentId::NONE), voice);
        }
    }

    /// Takes in what is to be cancelled in slices; whether the first slice must be asked for.
    pub(crate) fn sweep(&mut self, sweep: Sweep) -> bool {
        !self.directory().instruments.is_empty() && self.office.sweeps.push(sweep)
    }

    /// Cancels in slices, and asks for the first.
    pub(crate) fn ask(&mut self, sweep: Sweep, voice: &mut Voice<'_>) {
        if self.sweep(sweep) {
            voice.say(EventBody::MassCancelAsked { cause: voice.seq(), slice: 0 });
        }
    }

    fn slice(&self, slice: MassCancelSlice) -> Option<Request> {
        let sweep = self.office.sweeps.due(slice)?;
        let (firm, port) = match sweep.whose {
            Whose::All => (None, None),
            Whose::Firm(firm) => (Some(firm), None),
            Whose::Port(port) => (None, Some(port)),
        };
        Some(Request::Slice(Slice {
            cause: sweep.cause,
            instrument: sweep.instrument,
            firm,
            port,
            group: sweep.group,
            side: sweep.side,
            day_only: sweep.day_only,
            reason: sweep.reason,
        }))
    }

    /// Dead-man timers that are due fire, then graces end, in the order of their ports; the books' timers follow in stage 2.
    fn tick(&mut self, voice: &mut Voice<'_>) -> Request {
        let now = voice.time();
        let (mut fires, mut ends) = (false, false);
        self.each_desk(|desk| {
            desk.trades.make_room();
            fires |= desk.dead_men_due.is_some_and(|due| due <= now);
            ends |= desk.graces_due.is_some_and(|due| due <= now);
        });
        let asked = (fires && self.fire_dead_men(voice)) | (ends && self.end_graces(voice));
        if asked {
            voice.say(EventBody::MassCancelAsked { cause: voice.seq(), slice: 0 });
        }
        Request::Tick
    }

    /// Whether the first slice of what is to be cancelled must be asked for.
    #[cold]
    fn fire_dead_men(&mut self, voice: &mut Voice<'_>) -> bool {
        let (now, mut asked) = (voice.time(), false);
        self.each_desk(|desk| desk.dead_men_due = None);
        for place in 0..self.directory().ports.len() {
            let port = self.directory().ports[place].port.id;
            let desk = self.desk_of_port(port).expect("a known port");
            let state = &mut desk.directory.ports[place];
            let Some(dead_man) = state.dead_man else { continue };
            if dead_man.due() > now {
                desk.note_dead_man(dead_man);
                continue;
            }
            state.dead_man = None;
            desk.dead_men -= 1;
            voice.say(EventBody::DeadManExpired { port });
            asked |= self.sweep(Sweep::of(voice.seq(), Whose::Port(port), InstrumentId::NONE));
        }
        asked
    }

    /// Logs out who has not come over since another node began to lead. Whether the first slice of what is to be cancelled
    /// must be asked for.
    #[cold]
    fn end_graces(&mut self, voice: &mut Voice<'_>) -> bool {
        let (now, mut asked) = (voice.time(), false);
        self.each_desk(|desk| desk.graces_due = None);
        for place in 0..self.directory().ports.len() {
            let port = self.directory().ports[place].port.id;
            let desk = self.desk_of_port(port).expect("a known port");
            let state = &mut desk.directory.ports[place];
            let Some(end) = state.grace_end else { continue };
            if end > now {
                desk.note_grace(end);
                continue;
            }
            (state.logged_in, state.grace_end) = (false, None);
            let (incarnation, cancels) = (state.incarnation, state.rules.cancels_on_disconnect);
            voice.say(EventBody::LoggedOut { port, incarnation });
            if cancels {
                asked |= self.sweep(Sweep::of(voice.seq(), Whose::Port(port), InstrumentId::NONE));
            }
        }
        asked
    }

    fn open_day(&mut self, day: OpenDay, voice: &mut Voice<'_>) -> Option<Request> {
        if self.office.last_day.is_some_and(|last| day.date <= last.date) {
            voice.say(EventBody::AdminRefused(AdminRefusal::Day));
            return None;
        }
        self.office.last_day = Some(day);
        self.each_desk(|desk| {
            desk.day_open = true;
            desk.directory.ports.iter_mut().for_each(PortState::new_day);
            desk.trades.clear();
            desk.trades.make_room();
            desk.limits.new_day();
        });
        voice.say(EventBody::DayOpened(day));
        Some(Request::OpenDay { midnight: day.midnight })
    }

    // Stage 2.

    fn apply(&mut self, request: &Request, voice: &mut Voice<'_>, effects: &mut Vec<Effect>) {
        if let [part] = &mut *self.parts {
            return part.matching.apply(request, voice, effects);
        }
        if let Some(instrument) = request.instrument() {
            let home = self.homes.of_instrument(instrument);
            return self.parts[home].matching.apply(request, voice, effects);
        }
        if let Request::OpenBook { .. } = request {
            // Ids stay dense on every shard; a book is only ever used at home.
            return self.parts.iter_mut().for_each(|part| part.matching.apply(request, voice, effects));
        }
        let (mut from, mut spent) = (0, Spent::default());
        loop {
            let matchings = self.parts.iter().map(|part| &part.matching);
            let next =
                matchings.filter_map(|matching| matching.next_concerned(request, from, voice.time())).min();
            let Some(instrument) = next else { return };
            let matching = &mut self.parts[self.homes.of_instrument(instrument)].matching;
            matching.spent = spent;
            matching.apply_each(request, instrument, voice, effects);
            spent = matching.spent;
            from = instrument.0 as usize;
        }
    }

    // Stage 3.

    fn settle(&mut self, effects: &[Effect], (seq, time): (Seq, Nanos), out: &mut Vec<Event>) {
        let first = out.len();
        for part in &mut *self.parts {
            part.desk.settle(effects, &mut Voice::new(out, seq, time, Stage::Settlement));
        }
        if self.parts.len() > 1 {
            out[first..].sort_unstable_by_key(|event| event.step);
        }
        let mut voice = Voice::new(out, seq, time, Stage::Settlement);
        voice.at(effects.iter().map(Effect::steps).sum());
        for effect in effects {
            match *effect {
                Effect::Sliced { cause, more } => self.sliced(cause, more, &mut voice),
                Effect::Busted { match_number, reason } => self.bust(match_number, reason, &mut voice),
                _ => {}
            }
        }
    }

    fn sliced(&mut self, cause: Seq, more: bool, voice: &mut Voice<'_>) {
        let instruments = self.directory().instruments.len();
        if let Some(slice) = self.office.sweeps.advance(cause, more, instruments) {
            voice.say(EventBody::MassCancelAsked { cause, slice });
        }
    }

    /// Posts a trade back; what a side does not have any more its firm owes, and is killed for.
    fn bust(&mut self, match_number: MatchNumber, reason: u8, voice: &mut Voice<'_>) {
        let [buyer_leg, seller_leg] = [true, false].map(|buys| {
            let busted = self.parts.iter_mut().find_map(|part| part.desk.trades.bust(match_number, buys));
            busted.expect("a trade to bust was found")
        });
        let Leg { instrument, price, qty, tick_value, .. } = buyer_leg;
        let Instrument { base: base_asset, quote: quote_asset, lot_units, .. } =
            *self.desk().instrument(instrument);
        let base = i128::from(qty.0) * i128::from(lot_units);
        let quote = notional(tick_value, price.0.cast_unsigned(), qty.0).expect("it fitted when it traded");
        let (buyer, seller) = (self.party(buyer_leg.key), self.party(seller_leg.key));
        let fees = (0, AccountId::fees(instrument));

        // Fees first: who spent nothing else can then return all its proceeds. What busts' rounding left below
        // zero stays as it is.
        for (party, leg) in [(&buyer, &buyer_leg), (&seller, &seller_leg)] {
            let charged = self.total(fees.1, quote_asset).max(0);
            self.post(fees, party.account, quote_asset, leg.fee.max(0).min(charged));
        }
        let buyer_owes = self.give_back(&buyer, seller.account, base_asset, base);
        let seller_owes = self.give_back(&seller, buyer.account, quote_asset, quote);
        let rebate = |leg: &Leg| (-leg.fee).max(0);
        let buyer_short = self.give_back(&buyer, fees, quote_asset, rebate(&buyer_leg));
        let seller_short = self.give_back(&seller, fees, quote_asset, rebate(&seller_leg));
        voice.say(EventBody::Busted(Busted {
            match_number,
            reason,
            instrument,
            price,
            qty,
            buyer: buyer_leg.key,
            seller: seller_leg.key,
            buyer_owes: Amount(buyer_owes),
            seller_owes: Amount(seller_owes),
        }));
        let mut asked = false;
        for (party, owes) in [(buyer, buyer_owes.max(buyer_short)), (seller, seller_owes.max(seller_short))] {
            if owes > 0 {
                let scope = KillScope::Firm(party.firm);
                voice.say(EventBody::Controlled(Control::Kill { scope, on: true }));
                asked |= self.kill(scope, voice.seq());
            }
        }
        if asked {
            voice.say(EventBody::MassCancelAsked { cause: voice.seq(), slice: 0 });
        }
    }

    /// A leg that can be busted.
    pub(crate) fn leg(&self, match_number: MatchNumber, buys: bool) -> Option<&Leg> {
        self.parts.iter().find_map(|part| part.desk.trades.find(match_number, buys))
    }

    fn party(&self, key: OrderKey) -> Party {
        let port = &self.directory().port(key.port()).expect("an order's port is known").port;
        Party { firm: port.firm, account: self.entry_of_firm(port.firm, port.account) }
    }

    /// Posts `amount` to another account, from what is available and the rest from what the firm owes; returns
    /// that rest.
    fn give_back(&mut self, from: &Party, to: Place, asset: AssetId, amount: i128) -> i128 {
        let ledger = &mut self.parts[from.account.0].desk.ledger;
        let giver = ledger.open(from.account.1, asset);
        let had = amount.min(ledger.available(giver));
        self.post(from.account, to, asset, had);
        let owes = amount - had;
        if owes > 0 {
            let receivable = self.entry_of_firm(from.firm, AccountId::receivable(from.firm));
            self.post(receivable, to, asset, owes);
            *self.office.owed.entry(asset).or_insert(0) += owes;
        }
        owes
    }

    // Whose is what.

    /// Any shard's view of what is the same on all.
    pub(crate) fn desk(&self) -> &Desk {
        &self.parts[0].desk
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.desk().directory
    }

    pub(crate) fn each_desk(&mut self, f: impl FnMut(&mut Desk)) {
        self.parts.iter_mut().map(|part| &mut part.desk).for_each(f);
    }

    pub(crate) fn desk_of_firm(&mut self, firm: FirmId) -> &mut Desk {
        &mut self.parts[self.homes.of_firm(firm)].desk
    }

    fn desk_of_port(&mut self, port: PortId) -> Option<&mut Desk> {
        let firm = self.directory().port(port)?.port.firm;
        Some(self.desk_of_firm(firm))
    }

    pub(crate) fn desk_of_account(&mut self, account: AccountId) -> &mut Desk {
        let firm = self.directory().accounts[&account].firm;
        self.desk_of_firm(firm)
    }

    fn entry_of_firm(&self, firm: FirmId, account: AccountId) -> Place {
        (self.homes.of_firm(firm), account)
    }

    fn entry_of(&self, account: AccountId) -> Place {
        self.entry_of_firm(self.directory().accounts[&account].firm, account)
    }

    /// What an account has on all shards together.
    fn total(&self, account: AccountId, asset: AssetId) -> i128 {
        self.parts.iter().map(|part| part.desk.total(account, asset)).sum()
    }

    /// Moves `amount`, which may be negative, from one account to another.
    fn post(&mut self, from: Place, to: Place, asset: AssetId, amount: i128) {
        for ((shard, account), amount) in [(from, -amount), (to, amount)] {
            let ledger = &mut self.parts[shard].desk.ledger;
            let entry = ledger.open(account, asset);
            ledger.add(entry, amount);
        }
    }
}

/// An account and the shard that keeps it.
type Place = (usize, AccountId);

/// The outside world is kept on the first shard.
const WORLD: Place = (0, AccountId::WORLD);

/// A side of a trade to bust.
struct Party {
    firm: FirmId,
    account: Place,
}
