//! Why an order is refused.

macro_rules! rejects {
    ($($(#[$doc:meta])* $variant:ident = $code:literal,)*) => {
        /// A refusal, with OUCH 5.0's Rejected reason as its code. A refusal is a value and goes on the
        /// wire; it is never an error of ours.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum Reject { $($(#[$doc])* $variant = $code,)* }

        impl Reject {
            /// Every refusal.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The reason on the wire.
            #[must_use]
            pub const fn code(self) -> u16 {
                self as u16
            }

            /// The refusal of a wire reason.
            #[must_use]
            pub const fn from_code(code: u16) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

rejects! {
    /// This display does not go with the other terms.
    Display = 0x0003,
    /// MaxFloor or RandomReserves do not go with each other or with the other terms.
    MaxFloor = 0x0004,
    /// The instrument does not trade now.
    Halted = 0x0007,
    /// Intermarket sweep orders are not offered.
    Iso = 0x0008,
    /// Side is none of B S T E.
    Side = 0x0009,
    /// The firm named is not the port's, its order entry is disabled, it or its port is killed, or the
    /// port may not trade the instrument.
    FirmNotAuthorized = 0x000c,
    /// Minimum quantity of an order that is not immediate, or above the quantity.
    MinQty = 0x000d,
    /// None of the others.
    Other = 0x000f,
    /// Peg or offset do not go with the other terms.
    Pegging = 0x0011,
    /// Quantity is zero or above the wire's range.
    Quantity = 0x0013,
    /// The cross that it is for is over, or there is none such.
    CrossOrder = 0x0014,
    /// Routing is not offered.
    Routing = 0x0016,
    /// No such symbol.
    Symbol = 0x0017,
    /// Price is zero, above the wire's range, or not a whole tick.
    Price = 0x001d,
    /// Funds, holdings, exposure, position or credit do not cover the worst case of the order.
    AggregateExposure = 0x0020,
    /// The instrument is on a restricted list.
    RestrictedStock = 0x0022,
    /// A short sale not priced above the best bid while the price test is in force.
    ShortRestricted = 0x0023,
    /// Price outside the instrument's static range.
    FatFinger = 0x0026,
    /// Not enough stock located for the short sale.
    Locate = 0x0027,
    /// More messages in a second than the port may send.
    PortRate = 0x0029,
    /// More equal orders in a row than the port may send.
    DuplicateRate = 0x002a,
    /// The instrument has no static range, which a market order needs.
    MarketOrder = 0x002c,
    /// Notional above the port's cap.
    OrderNotional = 0x0030,
    /// Quantity above the port's cap.
    MaxQuantity = 0x0031,
    /// AIQ strategy or group is none there is.
    Aiq = 0x0040,
}
