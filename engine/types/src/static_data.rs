//! What administration defines: assets, instruments, firms, accounts, ports.

use crate::{AccountId, Amount, AssetId, FirmId, InstrumentId, Mpid, PortId, Qty, Symbol, Username};

/// A currency or security.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asset {
    /// Its number.
    pub id: AssetId,
    /// Its code, such as `USD`.
    pub code: Symbol,
    /// Decimal places of the smallest unit: 4 means an [`Amount`] of 1 is 0.0001. At most 18.
    pub decimals: u8,
}

/// How an instrument's numbers stand on OUCH and ITCH wires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Wire price in 1/10,000 of the quote currency, wire quantity in shares; one tick is
    /// `price_tick` of 1/10,000 (100 = a cent), one lot one share.
    EquityExact {
        /// Wire price units in one tick, at least 1.
        price_tick: u32,
    },
    /// Wire price = ticks, wire quantity = lots; the scale is announced in a directory message.
    Scaled,
}

/// Something that trades.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instrument {
    /// Its number, dense from 1, and its ITCH stock locate code.
    pub id: InstrumentId,
    /// Its name to members.
    pub symbol: Symbol,
    /// What is bought and sold.
    pub base: AssetId,
    /// What is paid.
    pub quote: AssetId,
    /// How prices and quantities stand on the wire.
    pub scale: Scale,
    /// Smallest units of the quote asset that one lot costs at a price of one tick; at least 1.
    pub tick_value: u64,
    /// Smallest units of the base asset in one lot; at least 1.
    pub lot_units: u64,
    /// ITCH round lot size, in lots.
    pub round_lot: u32,
    /// Fee of the resting side, in basis points (1/10,000) of the notional; at most 10,000.
    pub maker_fee_bps: u16,
    /// Fee of the aggressor, in basis points of the notional; at most 10,000.
    pub taker_fee_bps: u16,
}

/// The largest quantity of an equity-exact order, in shares (OUCH 5.0, Enter Order, Quantity).
pub const EQUITY_QTY_MAX: u32 = 999_999;
/// The largest price of an equity-exact order, 199,999.9900, in wire units (OUCH 5.0, section 1.2, Price).
pub const EQUITY_WIRE_PRICE_MAX: u64 = 1_999_999_900;

impl Instrument {
    /// Wire price units in one tick: 1 for scaled instruments.
    #[must_use]
    pub const fn price_tick(&self) -> u32 {
        match self.scale {
            Scale::EquityExact { price_tick } => price_tick,
            Scale::Scaled => 1,
        }
    }
}

/// A member firm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Firm {
    /// Its number.
    pub id: FirmId,
    /// Its market participant identifier.
    pub mpid: Mpid,
}

/// An account of a firm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its number: 1 to [`AccountId::MEMBER_MAX`].
    pub id: AccountId,
    /// Whose it is.
    pub firm: FirmId,
}

/// What a single order of a port may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortLimits {
    /// Largest quantity of one order, in lots.
    pub qty_max: Qty,
    /// Largest notional of one order, in the smallest unit of the quote asset.
    pub notional_max: Amount,
}

/// Argon2id of a port's password (RFC 9106). The password itself never enters the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Random salt.
    pub salt: [u8; 16],
    /// Tag of 32 bytes.
    pub hash: [u8; 32],
    /// Memory size in KiB.
    pub memory_kib: u32,
    /// Number of passes.
    pub passes: u32,
    /// Degree of parallelism.
    pub lanes: u32,
}

/// An OUCH port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its number, dense from 1.
    pub id: PortId,
    /// SoupBinTCP user name.
    pub username: Username,
    /// The firm it trades for.
    pub firm: FirmId,
    /// The account its orders are held and settled in.
    pub account: AccountId,
    /// What a single order may be.
    pub limits: PortLimits,
    /// How its login is checked.
    pub credential: Credential,
}
