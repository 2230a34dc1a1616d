//! Names of what commands and events carry numbers for, as the state machine says them while it replays.

use std::collections::BTreeMap;

use ironbell_types::{
    AccountId, AssetId, EventBody, FirmId, Instrument, InstrumentId, Mpid, OrderKey, PortId, Price, Username,
};

use crate::table::Cell;

/// What is defined now.
#[derive(Default)]
pub struct Names {
    decimals: BTreeMap<AssetId, u8>,
    instruments: BTreeMap<InstrumentId, Instrument>,
    firms: BTreeMap<FirmId, Mpid>,
    accounts: BTreeMap<AccountId, FirmId>,
    ports: BTreeMap<PortId, (Username, FirmId, AccountId)>,
    /// The instrument of each order that was accepted, by its member's number.
    orders: BTreeMap<OrderKey, InstrumentId>,
}

impl Names {
    /// Takes note of what was done. Nothing that the venue refused comes here.
    pub fn observe(&mut self, body: &EventBody) {
        match body {
            EventBody::AssetDefined(asset) => {
                self.decimals.insert(asset.id, asset.decimals);
            }
            EventBody::InstrumentDefined(instrument) => {
                self.instruments.insert(instrument.id, *instrument);
            }
            EventBody::FirmDefined(firm) => {
                self.firms.insert(firm.id, firm.mpid);
            }
            EventBody::AccountDefined(account) => {
                self.accounts.insert(account.id, account.firm);
            }
            EventBody::PortDefined(port) => {
                self.ports.insert(port.id, (port.username, port.firm, port.account));
            }
            EventBody::Accepted(order) => {
                self.orders.insert(order.key, order.instrument);
            }
            EventBody::Replaced(replaced) => {
                self.orders.insert(replaced.order.key, replaced.order.instrument);
            }
            _ => {}
        }
    }

    /// A symbol; null for none.
    pub fn symbol(&self, id: InstrumentId) -> Cell {
        self.instruments.get(&id).map(|instrument| instrument.symbol.as_str().to_owned()).into()
    }

    /// The instrument of a member's order; [`InstrumentId::NONE`] when none was accepted under that number.
    pub fn order_instrument(&self, key: OrderKey) -> InstrumentId {
        self.orders.get(&key).copied().unwrap_or(InstrumentId::NONE)
    }

    /// An instrument as it is now.
    pub fn instrument(&self, id: InstrumentId) -> Option<&Instrument> {
        self.instruments.get(&id)
    }

    /// A port's user name.
    pub fn port(&self, id: PortId) -> Cell {
        self.ports.get(&id).map(|(username, ..)| username.as_str().to_owned()).into()
    }

    /// The MPID of a port's firm.
    pub fn port_firm(&self, id: PortId) -> Cell {
        self.ports.get(&id).map_or(Cell::Null, |(_, firm, _)| self.firm(*firm))
    }

    /// The MPID of an account's firm.
    pub fn account_firm(&self, id: AccountId) -> Cell {
        self.accounts.get(&id).map_or(Cell::Null, |firm| self.firm(*firm))
    }

    /// A firm's MPID.
    pub fn firm(&self, id: FirmId) -> Cell {
        self.firms.get(&id).map(|mpid| mpid.as_str().to_owned()).into()
    }

    /// Decimal places of the asset that an instrument is paid in.
    pub fn quote_decimals(&self, id: InstrumentId) -> u8 {
        let quote = self.instruments.get(&id).map(|instrument| instrument.quote);
        quote.and_then(|quote| self.decimals.get(&quote)).copied().unwrap_or(0)
    }

    /// A price in the quote asset for one unit of the base asset: the double nearest to it.
    pub fn price(&self, id: InstrumentId, price: Price) -> Cell {
        let known = self.instruments.get(&id).filter(|_| price != Price(0));
        known.map(|instrument| self.nearest(instrument, price)).into()
    }

    /// One division of two whole numbers that doubles hold exactly wherever a person would write them, so that the
    /// quotient is the nearest there is.
    fn nearest(&self, instrument: &Instrument, Price(ticks): Price) -> f64 {
        let power = |asset: AssetId| {
            let decimals = self.decimals.get(&asset).copied().unwrap_or(0);
            10_i128.pow(u32::from(decimals))
        };
        let above = i128::from(instrument.tick_value) * power(instrument.base);
        let below = i128::from(instrument.lot_units) * power(instrument.quote);
        let common = greatest_common_divisor(above, below);
        match i128::from(ticks).checked_mul(above / common) {
            Some(above) => above as f64 / (below / common) as f64,
            None => ticks as f64 * ((above / common) as f64 / (below / common) as f64),
        }
    }
}

fn greatest_common_divisor(a: i128, b: i128) -> i128 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
