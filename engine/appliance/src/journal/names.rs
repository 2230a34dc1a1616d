//! Names of what commands carry numbers for, as the journal itself defines them on the way. Nothing is executed:
//! a definition counts where the venue would not have refused it for its number, its name or an open day.

use std::collections::{BTreeMap, HashMap};

use ironbell_types::{
    AccountId, Asset, AssetId, Command, Control, FirmId, Instrument, InstrumentId, Mpid, OrderKey, Port,
    PortId, Scale, Symbol,
};

use crate::words::{Measures, units};

/// What was defined so far, and on which instrument each order is.
#[derive(Default)]
pub struct Names {
    assets: BTreeMap<AssetId, Asset>,
    instruments: BTreeMap<InstrumentId, Instrument>,
    firms: BTreeMap<FirmId, Mpid>,
    accounts: BTreeMap<AccountId, FirmId>,
    ports: BTreeMap<PortId, Port>,
    orders: HashMap<OrderKey, InstrumentId>,
    day_open: bool,
}

impl Names {
    /// Takes note of what `command` defines. Names that it uses itself are asked for before.
    pub fn observe(&mut self, command: &Command) {
        match command {
            Command::DefineAsset(asset) if !self.assets.values().any(|a| a.code == asset.code) => {
                self.assets.entry(asset.id).or_insert(*asset);
            }
            Command::DefineInstrument(instrument) if !self.is_taken(instrument.symbol) => {
                self.instruments.entry(instrument.id).or_insert(*instrument);
            }
            Command::DefineFirm(firm) if !self.firms.values().any(|mpid| *mpid == firm.mpid) => {
                self.firms.entry(firm.id).or_insert(firm.mpid);
            }
            Command::DefineAccount(account) => {
                self.accounts.entry(account.id).or_insert(account.firm);
            }
            Command::DefinePort(port) if !self.ports.values().any(|p| p.username == port.username) => {
                self.ports.entry(port.id).or_insert(*port);
            }
            Command::OpenDay(_) => self.day_open = true,
            Command::EnterOrder(order) => self.order(order.key(), order.instrument),
            Command::ReplaceOrder(replace) => {
                let key = |num| OrderKey::new(replace.port, replace.user_ref_idx, num);
                if let Some(instrument) = self.orders.get(&key(replace.orig_user_ref_num)).copied() {
                    self.order(key(replace.user_ref_num), instrument);
                }
            }
            Command::Quote(quote) => {
                let key =
                    |num: u32| OrderKey::new(quote.port, quote.user_ref_idx, ironbell_types::UserRefNum(num));
                self.order(key(quote.user_ref_num.0), quote.instrument);
                self.order(key(quote.user_ref_num.0.saturating_add(1)), quote.instrument);
            }
            Command::Control(control) => self.control(control),
            _ => {}
        }
    }

    fn control(&mut self, control: &Control) {
        match *control {
            Control::CloseDay => self.day_open = false,
            Control::ChangeSymbol { instrument, symbol } if !self.day_open && !self.is_taken(symbol) => {
                if let Some(known) = self.instruments.get_mut(&instrument) {
                    known.symbol = symbol;
                }
            }
            Control::ChangeTick { instrument, price_tick, tick_value } if !self.day_open => {
                if let Some(known) = self.instruments.get_mut(&instrument) {
                    known.tick_value = tick_value;
                    if matches!(known.scale, Scale::EquityExact { .. }) {
                        known.scale = Scale::EquityExact { price_tick };
                    }
                }
            }
            _ => {}
        }
    }

    fn order(&mut self, key: OrderKey, instrument: InstrumentId) {
        if instrument != InstrumentId::NONE {
            self.orders.insert(key, instrument);
        }
    }

    fn is_taken(&self, symbol: Symbol) -> bool {
        self.instruments.values().any(|i| i.symbol == symbol)
    }

    /// The instrument that a member's order is on, if it was ever entered.
    #[must_use]
    pub fn order_instrument(&self, key: OrderKey) -> Option<InstrumentId> {
        self.orders.get(&key).copied()
    }

    /// An instrument's definition as it is now.
    #[must_use]
    pub fn instrument(&self, id: InstrumentId) -> Option<&Instrument> {
        self.instruments.get(&id)
    }

    /// A symbol; `all` for none, a number where nothing is known.
    #[must_use]
    pub fn symbol(&self, id: InstrumentId) -> String {
        match self.instruments.get(&id) {
            Some(instrument) => instrument.symbol.to_string(),
            None if id == InstrumentId::NONE => "all".to_owned(),
            None => format!("#{id}"),
        }
    }

    /// A firm's MPID; `all` for none.
    #[must_use]
    pub fn mpid(&self, id: FirmId) -> String {
        match self.firms.get(&id) {
            Some(mpid) => mpid.to_string(),
            None if id == FirmId(0) => "all".to_owned(),
            None => format!("#{id}"),
        }
    }

    /// A port's user name.
    #[must_use]
    pub fn username(&self, id: PortId) -> String {
        self.ports.get(&id).map_or_else(|| format!("#{id}"), |port| port.username.to_string())
    }

    /// The firm of a port.
    #[must_use]
    pub fn port_firm(&self, id: PortId) -> Option<FirmId> {
        self.ports.get(&id).map(|port| port.firm)
    }

    /// The firm of an account.
    #[must_use]
    pub fn account_firm(&self, id: AccountId) -> Option<FirmId> {
        self.accounts.get(&id).copied()
    }

    /// An asset's code.
    #[must_use]
    pub fn code(&self, id: AssetId) -> String {
        self.assets.get(&id).map_or_else(|| format!("#{id}"), |asset| asset.code.to_string())
    }

    /// An amount as a decimal of its asset; smallest units where nothing is known of it.
    #[must_use]
    pub fn amount(&self, asset: AssetId, amount: i128) -> String {
        units(amount, self.assets.get(&asset).map_or(0, |asset| asset.decimals))
    }

    /// How an instrument's ticks and lots stand to units of its assets.
    #[must_use]
    pub fn measures(&self, id: InstrumentId) -> Option<Measures> {
        self.instruments.get(&id).map(|instrument| self.measures_of(instrument))
    }

    /// The same of one that may not have been observed.
    #[must_use]
    pub fn measures_of(&self, instrument: &Instrument) -> Measures {
        let decimals = |id| self.assets.get(&id).map_or(0, |asset| asset.decimals);
        Measures::of(instrument, decimals(instrument.base), decimals(instrument.quote))
    }
}
