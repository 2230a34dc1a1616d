//! What administration defined, and the checks of its definitions.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};
use ironbell_types::{
    Account, AccountId, AdminRefusal, Asset, AssetId, Firm, FirmId, Instrument, InstrumentId, Mpid, Port,
    PortId, Symbol, UserRefIdx, UserRefNum, Username,
};

/// Assets, instruments, firms, accounts and ports, with the numbers each port has consumed.
#[derive(Clone, Default)]
pub(crate) struct Directory {
    pub(crate) assets: BTreeMap<AssetId, Asset>,
    pub(crate) instruments: Vec<Instrument>,
    pub(crate) firms: Vec<FirmState>,
    pub(crate) accounts: BTreeMap<AccountId, Account>,
    pub(crate) ports: Vec<PortState>,
    codes: BTreeSet<Symbol>,
    symbols: BTreeSet<Symbol>,
    mpids: BTreeSet<Mpid>,
    usernames: BTreeSet<Username>,
}

/// A firm and what it has switched.
#[derive(Clone)]
pub(crate) struct FirmState {
    pub(crate) firm: Firm,
    /// New orders and replacements are refused, on every port of it, until it enables them again.
    pub(crate) order_entry_disabled: bool,
}

/// A port and what it has done.
#[derive(Clone)]
pub(crate) struct PortState {
    pub(crate) port: Port,
    /// Logins so far.
    pub(crate) incarnation: u32,
    pub(crate) logged_in: bool,
    /// Last UserRefNum consumed on channel 0, which is all that most members use.
    last: UserRefNum,
    /// The same for the other channels, from the first use of any.
    lasts: Option<Box<[UserRefNum; 256]>>,
}

impl PortState {
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

fn check(holds: bool, refusal: AdminRefusal) -> Result<(), AdminRefusal> {
    if holds { Ok(()) } else { Err(refusal) }
}

impl Directory {
    pub(crate) fn instrument(&self, id: InstrumentId) -> Option<&Instrument> {
        dense(&self.instruments, id.0)
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
        self.instruments.push(instrument);
        Ok(())
    }

    pub(crate) fn define_firm(&mut self, firm: Firm) -> Result<(), AdminRefusal> {
        check_next(&self.firms, firm.id.0, u32::MAX)?;
        check(self.mpids.insert(firm.mpid), AdminRefusal::NameTaken)?;
        self.firms.push(FirmState { firm, order_entry_disabled: false });
        Ok(())
    }

    pub(crate) fn define_account(&mut self, account: Account) -> Result<(), AdminRefusal> {
        check(account.id != AccountId::WORLD && account.id <= AccountId::MEMBER_MAX, AdminRefusal::Id)?;
        check(!self.accounts.contains_key(&account.id), AdminRefusal::Id)?;
        check(self.firm(account.firm).is_some(), AdminRefusal::Unknown)?;
        self.accounts.insert(account.id, account);
        Ok(())
    }

    pub(crate) fn define_port(&mut self, port: Port) -> Result<(), AdminRefusal> {
        check_next(&self.ports, port.id.0, (1 << 24) - 1)?;
        check(!self.usernames.contains(&port.username), AdminRefusal::NameTaken)?;
        check(self.firm(port.firm).is_some(), AdminRefusal::Unknown)?;
        let account = self.accounts.get(&port.account);
        check(account.is_some_and(|account| account.firm == port.firm), AdminRefusal::Unknown)?;
        self.usernames.insert(port.username);
        self.ports.push(PortState {
            port,
            incarnation: 0,
            logged_in: false,
            last: UserRefNum(0),
            lasts: None,
        });
        Ok(())
    }
}
