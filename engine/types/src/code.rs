//! One-character codes. Discriminants are the OUCH 5.0 characters, so that codecs cast and
//! `try_from` instead of keeping tables of their own.

/// A byte that is none of the codes of its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownCode(pub u8);

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $code:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* $variant = $code,)* }

        impl $name {
            /// Every code of this field.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The character on the wire.
            #[must_use]
            pub const fn code(self) -> u8 {
                self as u8
            }
        }

        impl TryFrom<u8> for $name {
            type Error = UnknownCode;
            fn try_from(code: u8) -> Result<Self, UnknownCode> {
                match code { $($code => Ok(Self::$variant),)* other => Err(UnknownCode(other)) }
            }
        }
    };
}

codes! {
    /// Side of an order (OUCH 5.0, Enter Order, Side).
    Side {
        /// Buy.
        Buy = b'B',
        /// Sell from a long position.
        Sell = b'S',
        /// Sell short.
        SellShort = b'T',
        /// Sell short, exempt from the price test.
        SellShortExempt = b'E',
    }
}

impl Side {
    /// Whether the order buys the base asset.
    #[must_use]
    pub const fn is_buy(self) -> bool {
        matches!(self, Self::Buy)
    }
}

codes! {
    /// How long an order stands. OUCH has no code of its own for fill-or-kill: it is an
    /// immediate-or-cancel order whose minimum quantity (tag 3) is its whole quantity.
    TimeInForce {
        /// Until the end of the trading day (OUCH `0`).
        Day = b'0',
        /// Trade at once, cancel the rest (OUCH `3`).
        Ioc = b'3',
        /// Until a time (OUCH `6`).
        Gtt = b'6',
        /// Trade whole at once or not at all; our own letter, never on an OUCH wire.
        Fok = b'f',
        /// Until cancelled, over any number of days; our own letter.
        Gtc = b'g',
        /// In the opening cross, or not at all (OUCH CrossType `O`); our own letter.
        AtOpen = b'o',
        /// In the closing cross, or not at all (OUCH CrossType `C`); our own letter.
        AtClose = b'c',
    }
}

codes! {
    /// Whether and how an order is shown.
    Display {
        /// Shown without attribution (ITCH `A`).
        Visible = b'Y',
        /// Shown with the firm's MPID (ITCH `F`).
        Attributable = b'A',
        /// Not shown; stands behind all that is shown at its price.
        Hidden = b'N',
    }
}

codes! {
    /// In which capacity the firm acts.
    Capacity {
        /// Agency.
        Agency = b'A',
        /// Principal.
        Principal = b'P',
        /// Riskless principal.
        Riskless = b'R',
        /// Other.
        Other = b'O',
    }
}

codes! {
    /// Why an order, or a part of it, is gone (OUCH 5.0, Order Canceled, Reason).
    CancelReason {
        /// The member asked for it.
        User = b'U',
        /// Immediate-or-cancel or fill-or-kill residue.
        Immediate = b'I',
        /// A post-only order would have traded.
        PostOnly = b'G',
        /// The firm's mass cancel, or an operator.
        Supervisory = b'S',
        /// The day, or the cross it was for, is over.
        Closed = b'E',
        /// It would have traded beyond a collar or a band.
        Collar = b'K',
        /// It would have traded with its own firm.
        SelfTrade = b'Q',
        /// Its time is up.
        Timeout = b'T',
        /// The order it was paired with executed.
        System = b'Z',
        /// The short sale price test forbids the sale.
        Regulatory = b'D',
    }
}

codes! {
    /// Whether an execution added or removed displayed liquidity (OUCH 5.0, Order Executed).
    LiquidityFlag {
        /// Added.
        Added = b'A',
        /// Removed.
        Removed = b'R',
        /// Added, and was not shown.
        AddedHidden = b'J',
        /// In the opening cross.
        Opening = b'O',
        /// In the closing cross.
        Closing = b'C',
        /// In the cross after a halt.
        Halt = b'H',
    }
}

macro_rules! names {
    ($($name:ident { $($variant:ident = $word:literal,)* })*) => {$(
        impl $name {
            /// The word for it, in dumps and tables.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    )*};
}

names! {
    Side { Buy = "buy", Sell = "sell", SellShort = "sell_short", SellShortExempt = "sell_short_exempt", }
    TimeInForce {
        Day = "day",
        Ioc = "ioc",
        Gtt = "gtt",
        Fok = "fok",
        Gtc = "gtc",
        AtOpen = "at_open",
        AtClose = "at_close",
    }
    Display { Visible = "visible", Attributable = "attributable", Hidden = "hidden", }
    Capacity { Agency = "agency", Principal = "principal", Riskless = "riskless", Other = "other", }
}
