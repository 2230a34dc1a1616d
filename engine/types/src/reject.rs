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
    /// Display instruction not offered (hidden orders).
    Display = 0x0003,
    /// MaxFloor (reserve) not offered.
    MaxFloor = 0x0004,
    /// The instrument does not trade now.
    Halted = 0x0007,
    /// Intermarket sweep orders are not offered.
    Iso = 0x0008,
    /// Side is none of B S T E.
    Side = 0x0009,
    /// The firm named is not the port's, or its order entry is disabled.
    FirmNotAuthorized = 0x000c,
    /// Minimum quantity not offered, or above the quantity.
    MinQty = 0x000d,
    /// None of the others.
    Other = 0x000f,
    /// Pegging is not offered.
    Pegging = 0x0011,
    /// Quantity is zero or above the wire's range.
    Quantity = 0x0013,
    /// Cross type other than continuous is not offered.
    CrossOrder = 0x0014,
    /// Routing is not offered.
    Routing = 0x0016,
    /// No such symbol.
    Symbol = 0x0017,
    /// Price is zero, above the wire's range, or not a whole tick.
    Price = 0x001d,
    /// Funds or holdings do not cover the worst case of the order.
    AggregateExposure = 0x0020,
    /// Market orders are not offered.
    MarketOrder = 0x002c,
    /// Notional above the port's cap.
    OrderNotional = 0x0030,
    /// Quantity above the port's cap.
    MaxQuantity = 0x0031,
}
