//! What administration defined, and the checks of its definitions.

use crate::{
    fees,
    phase::{Range, static_range},
    rate::{Bucket, Row},
};
use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use ironbell_types::{
    Account, AccountId, AdminRefusal, Asset, AssetId, Fees, Firm, FirmId, Instrument, InstrumentId,
    InstrumentRules, Mpid, Nanos, Port, PortId, PortRules, Scale, Symbol, TIERS, UserRefIdx, UserRefNum,
    Username,
};

/// Assets, instruments, firms, accounts and ports, with the numbers each port has consumed.
#[derive(Clone, Default)]
pub(crate) struct Directory {
    pub(crate) assets: BTreeMap<AssetId, Asset>,
    pub(crate) instruments: Vec<InstrumentState>,
    pub(crate) firms: Vec<FirmState>,
    pub(crate) accounts: BTreeMap<AccountId, Account>,
    pub(crate) ports: Vec<PortState>,
    /// What a port may not trade.
    pub(crate) denied: BTreeSet<(PortId, InstrumentId)>,
    /// Restricted lists; firm 0 is every firm.
    pub(crate) restricted: BTreeSet<(FirmId, InstrumentId)>,
    codes: BTreeSet<Symbol>,
    symbols: BTreeSet<Symbol>,
    mpids: BTreeSet<Mpid>,
    pub(crate) usernames: BTreeSet<Username>,
}

/// An instrument and what operators set for it, as far as accounts are concerned.
#[derive(Clone)]
pub(crate) struct InstrumentState {
    pub(crate) instrument: Instrument,
    /// Where orders may be priced; of the rules in force.
    pub(crate) range: Option<Range>,
    pub(crate) killed: bool,
    pub(crate) delisted: bool,
    /// It is on some restricted list.
    pub(crate) is_restricted: bool,
    /// By tier.
    pub(crate) fees: [Fees; TIERS],
    /// Open orders.
    pub(crate) orders: u64,
    pub(crate) rules: InstrumentRules,
}

impl InstrumentState {
    fn new(instrument: Instrument) -> Self {
        Self {
            instrument,
            range: None,
            killed: false,
            delisted: false,
            is_restricted: false,
            fees: [fees::defined(&instrument); TIERS],
            orders: 0,
            rules: InstrumentRules::PLAIN,
        }
    }

    pub(crate) fn set_rules(&mut self, rules: InstrumentRules) {
        (self.rules, self.range) = (rules, static_range(&rules));
    }
}

/// A firm and what was switched.
#[derive(Clone)]
pub(crate) struct FirmState {
    pub(crate) firm: Firm,
    /// New orders and replacements are refused, on every port of it, until it enables them again.
    pub(crate) order_entry_disabled: bool,
    pub(crate) killed: bool,
    pub(crate) tier: u8,
}

/// A port and what it has done. What each order looks at comes first, in two cache lines.
#[derive(Clone)]
#[repr(C, align(64))]
pub(crate) struct PortState {
    pub(crate) rules: PortRules,
    /// By the low bits of the instrument.
    purses: [Purse; PURSES],
    /// Last UserRefNum consumed on channel 0, which is all that most members use.
    last: UserRefNum,
    pub(crate) killed: bool,
    /// There are instruments that it may not trade.
    pub(crate) is_denied: bool,
    /// A limit over many orders concerns its account or its firm.
    pub(crate) is_limited: bool,
    pub(crate) logged_in: bool,
    pub(crate) port: Port,
    /// Logins so far.
    pub(crate) incarnation: u32,
    pub(crate) bucket: Bucket,
    /// The equal orders that it sent last, while its rules count them.
    pub(crate) row: Option<Row>,
    pub(crate) dead_man: Option<DeadMan>,
    /// When it is logged out, if another node led when it logged in.
    pub(crate) grace_end: Option<Nanos>,
    /// The superstep in which a number was consumed that may turn out not to be.
    pub(crate) in_doubt: u64,
    /// The last UserRefNum consumed on the other channels, from the first use of any.
    lasts: Option<Box<[UserRefNum; 256]>>,
}

const _: () = assert!(core::mem::offset_of!(PortState, port) <= 128);

/// Where the ledger has the assets of an instrument for the port's account: found once, since entries and what an
/// instrument trades never change. Says nothing that is state.
#[derive(Clone, Copy)]
struct Purse {
    instrument: InstrumentId,
    base: u32,
    quote: u32,
}

/// Instruments whose ledger entries a port remembers: most orders are for one that it traded lately.
const PURSES: usize = 4;

/// A timer that cancels a silent port's orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeadMan {
    pub(crate) timeout_ns: u64,
    /// When the port was heard last.
    pub(crate) heard: Nanos,
}

impl DeadMan {
    pub(crate) fn due(&self) -> Nanos {
        Nanos(self.heard.0.saturating_add(self.timeout_ns))
    }
}

impl PortState {
    fn new(port: Port) -> Self {
        let rules = PortRules::plain(port.limits);
        Self {
            port,
            rules,
            purses: [Purse { instrument: InstrumentId::NONE, base: 0, quote: 0 }; PURSES],
            incarnation: 0,
            logged_in: false,
            killed: false,
            is_denied: false,
            is_limited: false,
            bucket: Bucket::full(&rules),
            row: None,
            dead_man: None,
            grace_end: None,
            in_doubt: 0,
            last: UserRefNum(0),
            lasts: None,
        }
    }

    /// The bucket is full, and rows of equal orders begin anew.
    pub(crate) fn set_rules(&mut self, rules: PortRules) {
        (self.rules, self.bucket, self.row) = (rules, Bucket::full(&rules), None);
    }

    /// The ledger entries of base and quote asset of an instrument, if they are remembered.
    #[inline(always)]
    pub(crate) fn entries(&self, instrument: InstrumentId) -> Option<(u32, u32)> {
        let purse = &self.purses[instrument.0 as usize % PURSES];
        (purse.instrument == instrument).then_some((purse.base, purse.quote))
    }

    /// Remembers them.
    pub(crate) fn note_entries(&mut self, instrument: InstrumentId, base: u32, quote: u32) {
        self.purses[instrument.0 as usize % PURSES] = Purse { instrument, base, quote };
    }

    /// The last number consumed on a channel today; 0 before the first.
    pub(crate) fn last(&self, idx: UserRefIdx) -> UserRefNum {
        match &self.lasts {
            _ if idx.0 == 0 => self.last,
            Some(lasts) => lasts[usize::from(idx.0)],
            None => UserRefNum(0),
        }
    }

    pub(crate) fn consume(&mut self, idx: UserRefIdx, num: UserRefNum) {
        debug_assert!(num > self.last(idx));
        if idx.0 == 0 {
            self.last = num;
        } else {
            let lasts = self.lasts.get_or_insert_with(|| Box::new([UserRefNum(0); 256]));
            lasts[usize::from(idx.0)] = num;
        }
    }

    /// The last number consumed on a channel is an earlier one again.
    pub(crate) fn put_back(&mut self, idx: UserRefIdx, num: UserRefNum) {
        match &mut self.lasts {
            _ if idx.0 == 0 => self.last = num,
            Some(lasts) => lasts[usize::from(idx.0)] = num,
            None => debug_assert!(num == UserRefNum(0)),
        }
    }

    /// Channels used today and the last number consumed on each, in channel order.
    pub(crate) fn consumed(&self) -> impl Iterator<Item = (UserRefIdx, UserRefNum)> + '_ {
        (0..=u8::MAX)
            .map(|idx| (UserRefIdx(idx), self.last(UserRefIdx(idx))))
            .filter(|(_, num)| *num != UserRefNum(0))
    }

    /// Numbers start again from 1.
    pub(crate) fn new_day(&mut self) {
        self.last = UserRefNum(0);
        if let Some(lasts) = &mut self.lasts {
            lasts.fill(UserRefNum(0));
        }
    }
}

/// The highest number of a firm, so that [`AccountId::receivable`] has room for it.
const FIRM_MAX: u32 = (1 << 30) - 1;

/// The highest number of a port, which an order's key has 24 bits for.
const PORT_MAX: u32 = (1 << 24) - 1;

/// The record at a dense id from 1.
fn dense<T>(records: &[T], id: u32) -> Option<&T> {
    records.get((id as usize).checked_sub(1)?)
}

fn check_next<T>(records: &[T], id: u32, id_max: u32) -> Result<(), AdminRefusal> {
    if id as usize != records.len() + 1 || id > id_max {
        return Err(AdminRefusal::Id);
    }
    Ok(())
}

pub(crate) fn check(holds: bool, refusal: AdminRefusal) -> Result<(), AdminRefusal> {
    if holds { Ok(()) } else { Err(refusal) }
}

impl Directory {
    #[inline]
    pub(crate) fn instrument(&self, id: InstrumentId) -> Option<&InstrumentState> {
        dense(&self.instruments, id.0)
    }

    pub(crate) fn instrument_mut(&mut self, id: InstrumentId) -> Option<&mut InstrumentState> {
        self.instruments.get_mut((id.0 as usize).checked_sub(1)?)
    }

    /// One that orders and controls may name.
    pub(crate) fn listed(&self, id: InstrumentId) -> Option<&InstrumentState> {
        self.instrument(id).filter(|state| !state.delisted)
    }

    pub(crate) fn firm(&self, id: FirmId) -> Option<&FirmState> {
        dense(&self.firms, id.0)
    }

    pub(crate) fn firm_mut(&mut self, id: FirmId) -> Option<&mut FirmState> {
        self.firms.get_mut((id.0 as usize).checked_sub(1)?)
    }

    pub(crate) fn port(&self, id: PortId) -> Option<&PortState> {
        dense(&self.ports, id.0)
    }

    pub(crate) fn port_mut(&mut self, id: PortId) -> Option<&mut PortState> {
        self.ports.get_mut((id.0 as usize).checked_sub(1)?)
    }

    pub(crate) fn define_asset(&mut self, asset: Asset) -> Result<(), AdminRefusal> {
        check(!self.assets.contains_key(&asset.id), AdminRefusal::Id)?;
        check(!self.codes.contains(&asset.code), AdminRefusal::NameTaken)?;
        check(asset.decimals <= 18, AdminRefusal::Range)?;
        self.codes.insert(asset.code);
        self.assets.insert(asset.id, asset);
        Ok(())
    }

    pub(crate) fn define_instrument(&mut self, instrument: Instrument) -> Result<(), AdminRefusal> {
        check_next(&self.instruments, instrument.id.0, u32::from(u16::MAX))?;
        check(!self.symbols.contains(&instrument.symbol), AdminRefusal::NameTaken)?;
        check(self.assets.contains_key(&instrument.base), AdminRefusal::Unknown)?;
        check(self.assets.contains_key(&instrument.quote), AdminRefusal::Unknown)?;
        check(instrument.base != instrument.quote, AdminRefusal::Range)?;
        check(instrument.tick_value >= 1 && instrument.lot_units >= 1, AdminRefusal::Range)?;
        check(instrument.price_tick() >= 1, AdminRefusal::Range)?;
        check(instrument.maker_fee_bps.max(instrument.taker_fee_bps) <= 10_000, AdminRefusal::Range)?;
        self.symbols.insert(instrument.symbol);
        self.instruments.push(InstrumentState::new(instrument));
        Ok(())
    }

    /// A new tick for an instrument without orders; `tick_value` and `price_tick` as in its definition.
    pub(crate) fn check_tick(
        &self,
        id: InstrumentId,
        price_tick: u32,
        tick_value: u64,
    ) -> Result<(), AdminRefusal> {
        let state = self.listed(id).ok_or(AdminRefusal::Unknown)?;
        let is_scaled = matches!(state.instrument.scale, Scale::Scaled);
        check(tick_value >= 1 && price_tick >= 1 && (!is_scaled || price_tick == 1), AdminRefusal::Range)
    }

    /// # Panics
    ///
    /// When [`Directory::check_tick`] refuses it.
    pub(crate) fn change_tick(&mut self, id: InstrumentId, price_tick: u32, tick_value: u64) {
        let state = self.instrument_mut(id).expect("a checked instrument");
        if let Scale::EquityExact { price_tick: present } = &mut state.instrument.scale {
            *present = price_tick;
        }
        state.instrument.tick_value = tick_value;
        state.set_rules(InstrumentRules::PLAIN);
    }

    pub(crate) fn is_taken(&self, symbol: Symbol) -> bool {
        self.symbols.contains(&symbol)
    }

    /// The old name is free again.
    pub(crate) fn change_symbol(&mut self, id: InstrumentId, symbol: Symbol) {
        assert!(self.symbols.insert(symbol));
        let state = self.instrument_mut(id).expect("a checked instrument");
        let old = core::mem::replace(&mut state.instrument.symbol, symbol);
        self.symbols.remove(&old);
    }

    pub(crate) fn entitle(&mut self, port: PortId, instrument: InstrumentId, allowed: bool) {
        let pair = (port, instrument);
        if allowed {
            self.denied.remove(&pair)
        } else {
            self.denied.insert(pair)
        };
        let all = (port, InstrumentId(0))..=(port, InstrumentId(u32::MAX));
        let is_denied = self.denied.range(all).next().is_some();
        self.port_mut(port).expect("a checked port").is_denied = is_denied;
    }

    pub(crate) fn restrict(&mut self, firm: FirmId, instrument: InstrumentId, restricted: bool) {
        let pair = (firm, instrument);
        if restricted {
            self.restricted.insert(pair)
        } else {
            self.restricted.remove(&pair)
        };
        let is_restricted = self.restricted.iter().any(|(_, listed)| *listed == instrument);
        self.instrument_mut(instrument).expect("a checked instrument").is_restricted = is_restricted;
    }

    pub(crate) fn is_restricted(&self, firm: FirmId, instrument: InstrumentId) -> bool {
        self.restricted.contains(&(FirmId(0), instrument)) || self.restricted.contains(&(firm, instrument))
    }

    pub(crate) fn define_firm(&mut self, firm: Firm) -> Result<(), AdminRefusal> {
        check_next(&self.firms, firm.id.0, FIRM_MAX)?;
        check(self.mpids.insert(firm.mpid), AdminRefusal::NameTaken)?;
        self.firms.push(FirmState { firm, order_entry_disabled: false, killed: false, tier: 0 });
        Ok(())
    }

    /// All about it but whether its id is taken.
    pub(crate) fn check_account(&self, account: Account) -> Result<(), AdminRefusal> {
        check(account.id != AccountId::WORLD && account.id <= AccountId::MEMBER_MAX, AdminRefusal::Id)?;
        check(self.firm(account.firm).is_some(), AdminRefusal::Unknown)
    }

    pub(crate) fn define_account(&mut self, account: Account) -> Result<(), AdminRefusal> {
        check(!self.accounts.contains_key(&account.id), AdminRefusal::Id)?;
        self.check_account(account)?;
        self.accounts.insert(account.id, account);
        Ok(())
    }

    pub(crate) fn define_port(&mut self, port: Port) -> Result<(), AdminRefusal> {
        check_next(&self.ports, port.id.0, PORT_MAX)?;
        check(!self.usernames.contains(&port.username), AdminRefusal::NameTaken)?;
        self.define_port_unnamed(port)?;
        self.usernames.insert(port.username);
        Ok(())
    }

    /// The same, but for its name: who calls this sees to it that no two are the same, and puts them in.
    pub(crate) fn define_port_unnamed(&mut self, port: Port) -> Result<(), AdminRefusal> {
        check_next(&self.ports, port.id.0, PORT_MAX)?;
        check(self.firm(port.firm).is_some(), AdminRefusal::Unknown)?;
        let account = self.accounts.get(&port.account);
        check(account.is_some_and(|account| account.firm == port.firm), AdminRefusal::Unknown)?;
        self.ports.push(PortState::new(port));
        Ok(())
    }
}
