//! ITCH 5.0 messages: the market data feed (Nasdaq TotalView-ITCH 5.0, section 4), and one of our own.
//!
//! Every message opens with the same 11 bytes:
//!
//! ```text
//! 0      1            3                5            11
//! | type | locate u16 | tracking u16   | time u48   | …
//! ```
//!
//! Prices and quantities of an equity-exact instrument mean what the protocol says. Those of a scaled
//! instrument are ticks and lots: its directory entry is followed by one [`ScaledDirectory`] that says
//! what a tick and a lot are. That type is ours; a reader that does not know `s` skips it by its length.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{DecodeError, Field, Problem, Protocol, U16, U32, U48, U64};

/// The bytes that every message opens with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// The type byte.
    pub message_type: u8,
    /// Day-scoped number of the instrument; 0 is none.
    pub stock_locate: U16,
    /// Free for the venue's own use.
    pub tracking_number: U16,
    /// Nanoseconds since local midnight.
    pub timestamp: U48,
}

const _: () = assert!(size_of::<Header>() == 11);

/// The longest message, in bytes.
pub const MESSAGE_LEN_MAX: usize = 53;

/// Declares the messages, [`Message`] over them, and their layouts.
macro_rules! itch {
    ($(
        $(#[$doc:meta])* $code:literal $name:ident $size:literal { $($(#[$fdoc:meta])* $field:ident: $ty:ty,)* }
    )*) => {
        $(message! {
            $(#[$doc])*
            $code $name $size {
                /// Day-scoped number of the instrument; 0 is none.
                stock_locate: U16,
                /// Free for the venue's own use.
                tracking_number: U16,
                /// Nanoseconds since local midnight.
                timestamp: U48,
                $($(#[$fdoc])* $field: $ty,)*
            }
        }
        const _: () = assert!($size <= MESSAGE_LEN_MAX);)*

        /// Any message, borrowed from the bytes it came in.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Message<'a> { $($(#[$doc])* $name(&'a $name),)* }

        impl<'a> Message<'a> {
            /// Reads one whole message: a known type and exactly its length.
            ///
            /// # Errors
            /// [`Problem::Empty`], [`Problem::UnknownType`] or [`Problem::Length`].
            #[inline]
            pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
                match bytes.first() {
                    $(Some(&$code) => match $name::ref_from_bytes(bytes) {
                        Ok(message) => Ok(Self::$name(message)),
                        Err(_) => Err(wrong_length(bytes, $size)),
                    },)*
                    Some(&other) => Err(error(other, 0, Problem::UnknownType)),
                    None => Err(error(0, 0, Problem::Empty)),
                }
            }

            /// The bytes it was read from.
            #[must_use]
            pub fn as_bytes(&self) -> &'a [u8] {
                match *self { $(Self::$name(message) => message.as_bytes(),)* }
            }
        }

        /// Type byte, name and fields of every message.
        pub const LAYOUTS: &[(u8, &str, &[Field])] = &[$((
            <$name as crate::Message>::TYPE,
            <$name as crate::Message>::NAME,
            <$name as crate::Message>::FIELDS,
        ),)*];
    };
}

#[cold]
const fn wrong_length(bytes: &[u8], expected: usize) -> DecodeError {
    let actual = bytes.len();
    error(bytes[0], if actual < expected { actual } else { expected }, Problem::Length { expected, actual })
}

const fn error(message_type: u8, offset: usize, problem: Problem) -> DecodeError {
    DecodeError { protocol: Protocol::Itch, message_type, offset, problem }
}

impl<'a> Message<'a> {
    /// The bytes that every message opens with.
    #[must_use]
    pub fn header(&self) -> &'a Header {
        let Ok((header, _)) = Header::ref_from_prefix(self.as_bytes()) else {
            unreachable!("every message is longer")
        };
        header
    }
}

itch! {
    /// System Event: the day's course.
    b'S' SystemEvent 12 {
        /// `O` `C` start and end of messages, `S` `E` of system hours, `Q` `M` of market hours.
        event_code: u8,
    }
    /// Stock Directory: an instrument that can trade today.
    b'R' StockDirectory 39 {
        /// Symbol.
        stock: [u8; 8],
        /// `Q` `G` `S` Nasdaq tiers, `N` NYSE, `A` NYSE American, `P` Arca, `M` NYSE Texas, `Z` Cboe BZX,
        /// `V` IEX, space n/a.
        market_category: u8,
        /// `D` `E` `Q` `S` `G` `H` `J` `K` `C` `N` or space.
        financial_status: u8,
        /// Shares in a round lot.
        round_lot_size: U32,
        /// `Y` or `N`.
        round_lots_only: u8,
        /// Kind of security.
        issue_classification: u8,
        /// Finer kind of security.
        issue_sub_type: [u8; 2],
        /// `P` live, `T` test.
        authenticity: u8,
        /// `Y`, `N` or space.
        short_sale_threshold: u8,
        /// `Y`, `N`, `Z` or space.
        ipo_flag: u8,
        /// `1`, `2` or space.
        luld_ref_price_tier: u8,
        /// `Y`, `N` or space.
        etp_flag: u8,
        /// Leverage, a whole number.
        etp_leverage_factor: U32,
        /// `Y` or `N`.
        inverse_indicator: u8,
    }
    /// Stock Trading Action: an instrument halts, pauses or trades.
    b'H' StockTradingAction 25 {
        /// Symbol.
        stock: [u8; 8],
        /// `H` halted, `P` paused, `Q` quote-only, `T` trading.
        trading_state: u8,
        /// Unused; space.
        reserved: u8,
        /// Reason code; spaces when none.
        reason: [u8; 4],
    }
    /// Reg SHO Restriction: short sale price test of an instrument.
    b'Y' RegShoRestriction 20 {
        /// Symbol.
        stock: [u8; 8],
        /// `0` none, `1` in effect, `2` remains.
        reg_sho_action: u8,
    }
    /// Market Participant Position: a market maker's standing in an instrument.
    b'L' MarketParticipantPosition 26 {
        /// Market participant.
        mpid: [u8; 4],
        /// Symbol.
        stock: [u8; 8],
        /// `Y` or `N`.
        primary_market_maker: u8,
        /// `N` normal, `P` passive, `S` syndicate, `R` pre-syndicate, `L` penalty.
        market_maker_mode: u8,
        /// `A` active, `E` excused, `W` withdrawn, `S` suspended, `D` deleted.
        market_participant_state: u8,
    }
    /// MWCB Decline Level: where the market-wide circuit breaker's levels lie today.
    b'V' MwcbDeclineLevel 35 {
        /// Level 1; 8 implied decimals.
        level_1: U64,
        /// Level 2; 8 implied decimals.
        level_2: U64,
        /// Level 3; 8 implied decimals.
        level_3: U64,
    }
    /// MWCB Status: a level of the market-wide circuit breaker is breached.
    b'W' MwcbStatus 12 {
        /// `1`, `2` or `3`.
        breached_level: u8,
    }
    /// IPO Quoting Period Update: when quoting of a new issue is expected to begin.
    b'K' IpoQuotingPeriodUpdate 28 {
        /// Symbol.
        stock: [u8; 8],
        /// Seconds since local midnight.
        release_time: U32,
        /// `A` anticipated, `C` cancelled or postponed.
        release_qualifier: u8,
        /// Price of the issue; 4 implied decimals.
        ipo_price: U32,
    }
    /// LULD Auction Collar: bounds of the auction that ends a volatility pause.
    b'J' LuldAuctionCollar 35 {
        /// Symbol.
        stock: [u8; 8],
        /// Price the collars are laid around; 4 implied decimals.
        collar_reference_price: U32,
        /// Highest price; 4 implied decimals.
        upper_collar_price: U32,
        /// Lowest price; 4 implied decimals.
        lower_collar_price: U32,
        /// How often the collars were widened.
        collar_extension: U32,
    }
    /// Operational Halt: an instrument halts or resumes at one market only.
    b'h' OperationalHalt 21 {
        /// Symbol.
        stock: [u8; 8],
        /// `Q` Nasdaq, `B` BX (Texas), `X` PSX.
        market_code: u8,
        /// `H` halted, `T` resumed.
        halt_action: u8,
    }
    /// Add Order: a displayed order without attribution joins the book.
    b'A' AddOrder 36 {
        /// The venue's number of the order.
        order_reference: U64,
        /// `B` or `S`.
        buy_sell: u8,
        /// Shares shown.
        shares: U32,
        /// Symbol.
        stock: [u8; 8],
        /// Limit price; 4 implied decimals.
        price: U32,
    }
    /// Add Order: a displayed order with attribution joins the book.
    b'F' AddOrderMpid 40 {
        /// The venue's number of the order.
        order_reference: U64,
        /// `B` or `S`.
        buy_sell: u8,
        /// Shares shown.
        shares: U32,
        /// Symbol.
        stock: [u8; 8],
        /// Limit price; 4 implied decimals.
        price: U32,
        /// MPID it is shown with.
        attribution: [u8; 4],
    }
    /// Order Executed: a displayed order trades at its own price.
    b'E' OrderExecuted 31 {
        /// The venue's number of the order.
        order_reference: U64,
        /// Shares of this execution.
        executed_shares: U32,
        /// The venue's number of the trade.
        match_number: U64,
    }
    /// Order Executed With Price: a displayed order trades at another price than its own.
    b'C' OrderExecutedWithPrice 36 {
        /// The venue's number of the order.
        order_reference: U64,
        /// Shares of this execution.
        executed_shares: U32,
        /// The venue's number of the trade.
        match_number: U64,
        /// Whether it counts for volume: `Y` or `N`.
        printable: u8,
        /// Price of the execution; 4 implied decimals.
        execution_price: U32,
    }
    /// Order Cancel: a displayed order loses a part of its shares.
    b'X' OrderCancel 23 {
        /// The venue's number of the order.
        order_reference: U64,
        /// Shares taken off.
        cancelled_shares: U32,
    }
    /// Order Delete: a displayed order leaves the book.
    b'D' OrderDelete 19 {
        /// The venue's number of the order.
        order_reference: U64,
    }
    /// Order Replace: a displayed order is replaced by a new one, at the back of its queue.
    b'U' OrderReplace 35 {
        /// The venue's number of what is replaced.
        original_order_reference: U64,
        /// The venue's number of the replacement.
        new_order_reference: U64,
        /// Shares shown.
        shares: U32,
        /// Limit price; 4 implied decimals.
        price: U32,
    }
    /// Trade: an order that was not displayed trades.
    b'P' Trade 44 {
        /// The venue's number of the order.
        order_reference: U64,
        /// `B` or `S`.
        buy_sell: u8,
        /// Shares that traded.
        shares: U32,
        /// Symbol.
        stock: [u8; 8],
        /// Price of the trade; 4 implied decimals.
        price: U32,
        /// The venue's number of the trade.
        match_number: U64,
    }
    /// Cross Trade: a cross has traded.
    b'Q' CrossTrade 40 {
        /// Shares that traded.
        shares: U64,
        /// Symbol.
        stock: [u8; 8],
        /// Price of the cross; 4 implied decimals.
        cross_price: U32,
        /// The venue's number of the trade.
        match_number: U64,
        /// `O` open, `C` close, `H` halt or IPO, `A` extended close.
        cross_type: u8,
    }
    /// Broken Trade: a trade is broken.
    b'B' BrokenTrade 19 {
        /// The venue's number of the trade.
        match_number: U64,
    }
    /// NOII: net order imbalance before a cross.
    b'I' Noii 50 {
        /// Shares that would trade at the current reference price.
        paired_shares: U64,
        /// Shares that would not.
        imbalance_shares: U64,
        /// `B`, `S`, `N` none, `O` insufficient, `P` paused.
        imbalance_direction: u8,
        /// Symbol.
        stock: [u8; 8],
        /// Clearing price of cross orders alone; 4 implied decimals.
        far_price: U32,
        /// Clearing price of cross and continuous orders; 4 implied decimals.
        near_price: U32,
        /// Price the imbalance is counted at; 4 implied decimals.
        current_ref_price: U32,
        /// `O` open, `C` close, `H` halt or IPO, `A` extended close.
        cross_type: u8,
        /// `L` below 1 %, `1` to `9` bands, `A` 10 to 20, `B` 20 to 30, `C` from 30, space n/a.
        price_variation: u8,
    }
    /// Retail Price Improvement Indicator: retail interest is there or gone.
    b'N' RetailPriceImprovementIndicator 20 {
        /// Symbol.
        stock: [u8; 8],
        /// `B`, `S`, `A` both, `N` none.
        interest_flag: u8,
    }
    /// Direct Listing w/ Capital Raise: price range of a direct listing with a capital raise.
    b'O' DirectListingWithCapitalRaise 48 {
        /// Symbol.
        stock: [u8; 8],
        /// `N` or `Y`.
        open_eligibility: u8,
        /// Lowest price it may open at; 4 implied decimals.
        min_allowable_price: U32,
        /// Highest price it may open at; 4 implied decimals.
        max_allowable_price: U32,
        /// Current reference price; 4 implied decimals.
        near_execution_price: U32,
        /// Nanoseconds since local midnight of that price.
        near_execution_time: U64,
        /// Lowest price; 4 implied decimals.
        lower_collar: U32,
        /// Highest price; 4 implied decimals.
        upper_collar: U32,
    }
    /// Scaled Directory, ours: what a tick and a lot of a scaled instrument are. Follows its Stock Directory.
    b's' ScaledDirectory 53 {
        /// Symbol.
        stock: [u8; 8],
        /// Smallest units of the quote asset that one lot costs at a price of one tick.
        tick_value: U64,
        /// Smallest units of the base asset in one lot.
        lot_units: U64,
        /// Decimals of the base asset: 10 to this power smallest units are one.
        base_decimals: u8,
        /// Decimals of the quote asset.
        quote_decimals: u8,
        /// Code of the base asset, padded right with spaces.
        base_code: [u8; 8],
        /// Code of the quote asset, padded right with spaces.
        quote_code: [u8; 8],
    }
}
