//! The venue's own order entry messages, for what OUCH has no words for: Simple Binary Encoding 1.0 by
//! the schema `schema/ironbell.xml`, which says what each field means.
//!
//! ```text
//! 0             2            4          6         8            8 + blockLength
//! | blockLength | templateId | schemaId | version | root block | entry length, count | entries …
//!   u16           u16          u16        u16                    u16           u16
//! ```
//!
//! All numbers are little-endian. They travel between the OUCH messages of a session: members' messages
//! are [`Inbound`], the venue's are [`Outbound`]. [`is_native`] tells them from OUCH: those begin with an
//! upper-case letter, and no block here has a length whose low byte is one.

pub use zerocopy::little_endian::{I32, I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{DecodeError, Field, NoRoom, Problem, Protocol};

/// The schema's number: `IB`.
pub const SCHEMA_ID: u16 = u16::from_le_bytes(*b"IB");
/// The schema's version.
pub const VERSION: u16 = 0;
/// Bytes of the header before every block.
pub const HEADER_LEN: usize = size_of::<Header>();
/// Bytes before the entries of a group.
pub const GROUP_HEADER_LEN: usize = size_of::<GroupHeader>();
/// Most entries of a [`MassQuote`].
pub const QUOTES_MAX: usize = 64;
/// The longest message in either direction, in bytes.
pub const MESSAGE_LEN_MAX: usize = mass_quote_len(QUOTES_MAX);
/// The longest message of the venue, in bytes.
pub const OUTBOUND_LEN_MAX: usize = HEADER_LEN + size_of::<AcceptedTerms>();
/// A `group_id` that says that there is none.
pub const NO_GROUP: u16 = u16::MAX;
/// A `max_floor` or `random_reserves` of a [`ReplaceOrder`] that leaves the original's.
pub const UNCHANGED: u32 = u32::MAX;

/// Length of a [`MassQuote`] with so many entries, in bytes.
#[must_use]
pub const fn mass_quote_len(entries: usize) -> usize {
    HEADER_LEN + size_of::<MassQuote>() + GROUP_HEADER_LEN + entries * size_of::<QuoteEntry>()
}

/// Whether a packet holds a native message rather than an OUCH one.
#[must_use]
pub fn is_native(bytes: &[u8]) -> bool {
    Header::ref_from_prefix(bytes)
        .is_ok_and(|(header, _)| !bytes[0].is_ascii_uppercase() && header.schema_id.get() == SCHEMA_ID)
}

/// What stands before every block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Bytes of the root block.
    pub block_length: U16,
    /// Which message.
    pub template_id: U16,
    /// [`SCHEMA_ID`].
    pub schema_id: U16,
    /// [`VERSION`].
    pub version: U16,
}

/// What stands before the entries of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct GroupHeader {
    /// Bytes of an entry.
    pub block_length: U16,
    /// How many entries.
    pub num_in_group: U16,
}

/// A root block; `as_bytes` is the block alone, [`Block::encode`] the message.
pub trait Block: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned + Copy {
    /// Which message.
    const TEMPLATE_ID: u16;
    /// Its name.
    const NAME: &'static str;
    /// Its fields in order, without gaps.
    const FIELDS: &'static [Field];

    /// Writes the header and the block; returns the length in bytes. A [`MassQuote`] lacks its group
    /// then: [`MassQuote::encode_with`] writes both.
    ///
    /// # Errors
    /// [`NoRoom`] when `out` is too short for it.
    fn encode(&self, out: &mut [u8]) -> Result<usize, NoRoom> {
        let needed = HEADER_LEN + size_of::<Self>();
        let (header, block) = out.get_mut(..needed).ok_or(NoRoom { needed })?.split_at_mut(HEADER_LEN);
        header.copy_from_slice(
            Header {
                block_length: U16::new(size_of::<Self>() as u16),
                template_id: U16::new(Self::TEMPLATE_ID),
                schema_id: U16::new(SCHEMA_ID),
                version: U16::new(VERSION),
            }
            .as_bytes(),
        );
        block.copy_from_slice(self.as_bytes());
        Ok(needed)
    }
}

/// A message's layout: template id, name, fields of its root block.
pub type Layout = (u16, &'static str, &'static [Field]);

/// Declares a struct over little-endian fields and its list of them.
macro_rules! block {
    ($(#[$doc:meta])* $name:ident $size:literal { $($(#[$fdoc:meta])* $field:ident: $ty:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
        #[repr(C)]
        pub struct $name { $($(#[$fdoc])* pub $field: $ty,)* }

        const _: () = assert!(size_of::<$name>() == $size);

        impl $name {
            const LAYOUT: &'static [Field] = &[$(Field {
                name: stringify!($field),
                offset: core::mem::offset_of!($name, $field),
                size: size_of::<$ty>(),
            },)*];
        }
    };
}

/// Declares the messages of one direction.
macro_rules! blocks {
    ($($(#[$doc:meta])* $id:literal $name:ident $size:literal {
        $($(#[$fdoc:meta])* $field:ident: $ty:ty,)*
    })*) => {$(
        block! { $(#[$doc])* $name $size { $($(#[$fdoc])* $field: $ty,)* } }
        // The first byte of the message must not look like that of an OUCH message.
        const _: () = assert!(!($size as u8).is_ascii_uppercase());

        impl Block for $name {
            const TEMPLATE_ID: u16 = $id;
            const NAME: &'static str = stringify!($name);
            const FIELDS: &'static [Field] = Self::LAYOUT;
        }
    )*};
}

blocks! {
    /// A new order with any terms.
    1 NewOrder 100 {
        /// The member's number of it.
        user_ref_num: U32,
        /// Channel of UserRefNums.
        user_ref_idx: u8,
        /// `B`, `S`, `T` or `E`.
        side: u8,
        /// `0` day, `3` immediate or cancel, `6` good till time, `f` fill or kill, `g` good till
        /// cancelled, `o` at the open, `c` at the close.
        time_in_force: u8,
        /// `Y`, `A` or `N`.
        display: u8,
        /// What.
        symbol: [u8; 8],
        /// How much, in lots.
        quantity: U64,
        /// The limit in ticks; 0 at the market.
        price: I64,
        /// It waits for a trade at this price or beyond, in ticks; 0 is none.
        stop_price: I64,
        /// It would trade at this price without showing it, in ticks; 0 is none.
        discretion_price: I64,
        /// It waits for a trade so many ticks back from the best since it came in; 0 is none.
        trail: U32,
        /// The most that is shown, in lots; 0 shows all.
        max_floor: U32,
        /// How far later displayed parts may differ from it, in lots.
        random_reserves: U32,
        /// In ticks; negative is less aggressive.
        peg_offset: I32,
        /// The least that it trades at once, in lots; 0 is none.
        min_qty: U32,
        /// When a good-till-time order ends, in seconds after local midnight; 0 is never.
        expire_time: U32,
        /// The order it is paired with; 0 is none.
        oco_user_ref_num: U32,
        /// Group for mass cancels; [`NO_GROUP`] is none.
        group_id: U16,
        /// Self-trade prevention concerns only orders of the same group; zeros or spaces: the whole firm.
        stp_group: [u8; 2],
        /// `L` limit or `M` market.
        order_type: u8,
        /// `L` none, `R` primary, `P` market, `M` midpoint.
        peg: u8,
        /// `*` as the port, `N` off, `Y` cancel newest, `O` cancel oldest, `W` cancel both, `D` decrement.
        stp: u8,
        /// `P` post-only, `N` not, `U` unsaid.
        post_only: u8,
        /// `A`, `P`, `R` or `O`.
        capacity: u8,
        /// `R` retail, `N` not, `U` unsaid.
        customer_type: u8,
        /// The member's own text.
        cl_ord_id: [u8; 14],
    }
    /// Two-sided quotes of 1 to [`QUOTES_MAX`] instruments, which follow in a group. Entry i, from 0, has
    /// the bid `user_ref_num` + 2 i and the ask one above.
    2 MassQuote 6 {
        /// The first entry's bid.
        user_ref_num: U32,
        /// Channel of UserRefNums.
        user_ref_idx: u8,
        /// `A`, `P`, `R` or `O`.
        capacity: u8,
    }
    /// Asks what became of an order.
    3 OrderStateRequest 5 {
        /// The order; no number is consumed.
        user_ref_num: U32,
        /// Channel of UserRefNums.
        user_ref_idx: u8,
    }
    /// Arms or disarms the port's dead-man timer.
    4 DeadMan 8 {
        /// How long the port may be silent, in nanoseconds; 0 disarms.
        timeout: U64,
    }
    /// Replaces an order, with every time in force and the full range.
    5 ReplaceOrder 58 {
        /// The member's number of what it replaces.
        orig_user_ref_num: U32,
        /// The member's number of it.
        user_ref_num: U32,
        /// Channel of both numbers.
        user_ref_idx: u8,
        /// As [`NewOrder::time_in_force`].
        time_in_force: u8,
        /// `Y`, `A` or `N`.
        display: u8,
        /// `P` post-only, `N` not, `U` as the original.
        post_only: u8,
        /// Total the member will be liable for, executions of the whole chain included, in lots.
        quantity: U64,
        /// The limit in wire price units: 1/10,000 on equity-exact instruments, ticks on scaled ones; 0 at
        /// the market.
        price: U64,
        /// As [`NewOrder::max_floor`]; [`UNCHANGED`] leaves the original's.
        max_floor: U32,
        /// As [`NewOrder::random_reserves`]; [`UNCHANGED`] leaves the original's.
        random_reserves: U32,
        /// The least that it trades at once, in lots; 0 is none.
        min_qty: U32,
        /// When a good-till-time order ends, in seconds after local midnight; 0 is never.
        expire_time: U32,
        /// The member's own text.
        cl_ord_id: [u8; 14],
    }
    /// What an order is: follows an OUCH `A` or `U` that could not say all of it.
    101 AcceptedTerms 116 {
        /// Nanoseconds since local midnight.
        timestamp: U64,
        /// The venue's number of it.
        order_reference: U64,
        /// The member's number of it.
        user_ref_num: U32,
        /// Channel of UserRefNums.
        user_ref_idx: u8,
        /// `B`, `S`, `T` or `E`.
        side: u8,
        /// As [`NewOrder::time_in_force`].
        time_in_force: u8,
        /// `Y`, `A` or `N`.
        display: u8,
        /// What.
        symbol: [u8; 8],
        /// How much, in lots; after a `U` what is left open.
        quantity: U64,
        /// The limit in ticks; 0 at the market.
        price: I64,
        /// As [`NewOrder::stop_price`].
        stop_price: I64,
        /// As [`NewOrder::discretion_price`].
        discretion_price: I64,
        /// As [`NewOrder::trail`].
        trail: U32,
        /// As [`NewOrder::max_floor`].
        max_floor: U32,
        /// As [`NewOrder::random_reserves`].
        random_reserves: U32,
        /// As [`NewOrder::peg_offset`].
        peg_offset: I32,
        /// As [`NewOrder::min_qty`].
        min_qty: U32,
        /// As [`NewOrder::expire_time`].
        expire_time: U32,
        /// As [`NewOrder::oco_user_ref_num`].
        oco_user_ref_num: U32,
        /// As [`NewOrder::group_id`].
        group_id: U16,
        /// As [`NewOrder::stp_group`].
        stp_group: [u8; 2],
        /// As [`NewOrder::order_type`].
        order_type: u8,
        /// As [`NewOrder::peg`].
        peg: u8,
        /// As [`NewOrder::stp`].
        stp: u8,
        /// As [`NewOrder::post_only`].
        post_only: u8,
        /// `A`, `P`, `R` or `O`.
        capacity: u8,
        /// As [`NewOrder::customer_type`].
        customer_type: u8,
        /// The member's own text.
        cl_ord_id: [u8; 14],
    }
    /// Quantities of the OUCH message before it, which are above 32 bits and stand there as the largest.
    102 FullRange 30 {
        /// Nanoseconds since local midnight.
        timestamp: U64,
        /// The member's number of the order.
        user_ref_num: U32,
        /// Channel of UserRefNums.
        user_ref_idx: u8,
        /// The letter of the message: `C`, `D`, `E` or `M`.
        ouch_type: u8,
        /// Its quantity, in lots.
        quantity: U64,
        /// Its Quantity Prevented, in lots; 0 unless it is a `D`.
        prevented: U64,
    }
    /// A stop has come in.
    103 StopTriggered 29 {
        /// Nanoseconds since local midnight.
        timestamp: U64,
        /// The venue's number of the order.
        order_reference: U64,
        /// The trade price that triggered it, in ticks.
        price: I64,
        /// The member's number of the order.
        user_ref_num: U32,
        /// Channel of UserRefNums.
        user_ref_idx: u8,
    }
    /// What became of an order; all but its name is 0 or blank when it is not open.
    104 OrderState 54 {
        /// Nanoseconds since local midnight.
        timestamp: U64,
        /// The venue's number of it.
        order_reference: U64,
        /// The limit in ticks.
        price: I64,
        /// What is left of it, in lots.
        leaves_quantity: U64,
        /// What it and all it replaced have executed, in lots.
        executed_quantity: U64,
        /// What it trades.
        symbol: [u8; 8],
        /// The member's number of it.
        user_ref_num: U32,
        /// Channel of UserRefNums.
        user_ref_idx: u8,
        /// `O` open or `N` not open.
        status: u8,
    }
    /// The port's dead-man timer as it is now: as asked, or as it was when the port's rate refused to set it.
    105 DeadManSet 16 {
        /// Nanoseconds since local midnight.
        timestamp: U64,
        /// In nanoseconds; 0 when disarmed.
        timeout: U64,
    }
    /// The port's dead-man timer ran out.
    106 DeadManExpired 8 {
        /// Nanoseconds since local midnight.
        timestamp: U64,
    }
}

block! {
    /// One instrument of a [`MassQuote`].
    QuoteEntry 40 {
        /// What is quoted.
        symbol: [u8; 8],
        /// How much to buy, in lots; 0 is no bid.
        bid_quantity: U64,
        /// At most at this price, in ticks; 0 without a bid.
        bid_price: I64,
        /// How much to sell, in lots; 0 is no ask.
        ask_quantity: U64,
        /// At least at this price, in ticks; 0 without an ask.
        ask_price: I64,
    }
}

impl QuoteEntry {
    /// Its fields in order, without gaps.
    pub const FIELDS: &'static [Field] = Self::LAYOUT;
}

impl MassQuote {
    /// Writes the message with its entries; returns its length in bytes.
    ///
    /// # Errors
    /// [`NoRoom`] when `out` is too short for it.
    ///
    /// # Panics
    /// When there are more entries than [`QUOTES_MAX`].
    pub fn encode_with(&self, quotes: &[QuoteEntry], out: &mut [u8]) -> Result<usize, NoRoom> {
        assert!(quotes.len() <= QUOTES_MAX, "a mass quote has at most {QUOTES_MAX} entries");
        let needed = mass_quote_len(quotes.len());
        let out = out.get_mut(..needed).ok_or(NoRoom { needed })?;
        let at = self.encode(out)?;
        let group = GroupHeader {
            block_length: U16::new(size_of::<QuoteEntry>() as u16),
            num_in_group: U16::new(quotes.len() as u16),
        };
        let (header, entries) = out[at..].split_at_mut(GROUP_HEADER_LEN);
        header.copy_from_slice(group.as_bytes());
        entries.copy_from_slice(quotes.as_bytes());
        Ok(needed)
    }
}

/// A member's message, borrowed from the bytes it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inbound<'a> {
    /// A new order.
    NewOrder(&'a NewOrder),
    /// Quotes of some instruments.
    MassQuote(&'a MassQuote, &'a [QuoteEntry]),
    /// What became of an order?
    OrderStateRequest(&'a OrderStateRequest),
    /// A dead-man timer.
    DeadMan(&'a DeadMan),
    /// What replaces an order.
    ReplaceOrder(&'a ReplaceOrder),
}

impl<'a> Inbound<'a> {
    /// Layout of every message.
    pub const LAYOUTS: &'static [Layout] = &[
        layout::<NewOrder>(),
        layout::<MassQuote>(),
        layout::<OrderStateRequest>(),
        layout::<DeadMan>(),
        layout::<ReplaceOrder>(),
    ];

    /// Reads one whole message: of this schema and version, its root block, exactly the group it has, and
    /// nothing behind.
    ///
    /// # Errors
    /// [`Problem::Length`], [`Problem::UnknownSchema`], [`Problem::UnknownVersion`],
    /// [`Problem::UnknownType`], [`Problem::GroupLength`] or [`Problem::TrailingBytes`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        Self::read(bytes, true)
    }

    /// Reads the root block alone: what an answer to a message needs that [`Self::parse`] refused for what
    /// follows its block. A [`MassQuote`] has no entries then.
    ///
    /// # Errors
    /// As [`Self::parse`], but for the last two.
    pub fn parse_block(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        Self::read(bytes, false)
    }

    fn read(bytes: &'a [u8], is_whole: bool) -> Result<Self, DecodeError> {
        let reader = Reader::new(Protocol::NativeInbound, bytes)?;
        if reader.version != VERSION {
            return Err(reader.error(6, Problem::UnknownVersion { version: reader.version }));
        }
        let (message, rest) = match reader.template_id {
            NewOrder::TEMPLATE_ID => reader.block().map(|(block, rest)| (Self::NewOrder(block), rest))?,
            MassQuote::TEMPLATE_ID => {
                let (block, rest) = reader.block()?;
                let (quotes, rest) =
                    if is_whole { reader.quotes(rest)? } else { (Default::default(), Default::default()) };
                (Self::MassQuote(block, quotes), rest)
            }
            OrderStateRequest::TEMPLATE_ID => {
                reader.block().map(|(block, rest)| (Self::OrderStateRequest(block), rest))?
            }
            DeadMan::TEMPLATE_ID => reader.block().map(|(block, rest)| (Self::DeadMan(block), rest))?,
            ReplaceOrder::TEMPLATE_ID => {
                reader.block().map(|(block, rest)| (Self::ReplaceOrder(block), rest))?
            }
            _ => return Err(reader.error(2, Problem::UnknownType)),
        };
        if is_whole {
            reader.end(rest)?;
        }
        Ok(message)
    }
}

/// A message of the venue, borrowed from the bytes it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outbound<'a> {
    /// The terms of an order just accepted or replaced.
    AcceptedTerms(&'a AcceptedTerms),
    /// Quantities above 32 bits of the message before.
    FullRange(&'a FullRange),
    /// A stop has come in.
    StopTriggered(&'a StopTriggered),
    /// What became of an order.
    OrderState(&'a OrderState),
    /// The timer is armed or disarmed.
    DeadManSet(&'a DeadManSet),
    /// The timer ran out.
    DeadManExpired(&'a DeadManExpired),
}

impl<'a> Outbound<'a> {
    /// Layout of every message.
    pub const LAYOUTS: &'static [Layout] = &[
        layout::<AcceptedTerms>(),
        layout::<FullRange>(),
        layout::<StopTriggered>(),
        layout::<OrderState>(),
        layout::<DeadManSet>(),
        layout::<DeadManExpired>(),
    ];

    /// Reads one whole message of this schema. One of a later version may have a longer block, of which
    /// what this version knows is read.
    ///
    /// # Errors
    /// [`Problem::Length`], [`Problem::UnknownSchema`], [`Problem::UnknownType`] or
    /// [`Problem::TrailingBytes`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let reader = Reader::new(Protocol::NativeOutbound, bytes)?;
        let (message, rest) = match reader.template_id {
            AcceptedTerms::TEMPLATE_ID => {
                reader.block().map(|(block, rest)| (Self::AcceptedTerms(block), rest))?
            }
            FullRange::TEMPLATE_ID => reader.block().map(|(block, rest)| (Self::FullRange(block), rest))?,
            StopTriggered::TEMPLATE_ID => {
                reader.block().map(|(block, rest)| (Self::StopTriggered(block), rest))?
            }
            OrderState::TEMPLATE_ID => reader.block().map(|(block, rest)| (Self::OrderState(block), rest))?,
            DeadManSet::TEMPLATE_ID => reader.block().map(|(block, rest)| (Self::DeadManSet(block), rest))?,
            DeadManExpired::TEMPLATE_ID => {
                reader.block().map(|(block, rest)| (Self::DeadManExpired(block), rest))?
            }
            _ => return Err(reader.error(2, Problem::UnknownType)),
        };
        reader.end(rest)?;
        Ok(message)
    }
}

const fn layout<B: Block>() -> Layout {
    (B::TEMPLATE_ID, B::NAME, B::FIELDS)
}

/// A message behind its header.
struct Reader<'a> {
    protocol: Protocol,
    block_length: usize,
    template_id: u16,
    version: u16,
    /// The header included.
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn new(protocol: Protocol, bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let actual = bytes.len();
        let problem = |offset, problem| DecodeError { protocol, message_type: 0, offset, problem };
        let (header, _) = Header::ref_from_prefix(bytes)
            .map_err(|_| problem(actual, Problem::Length { expected: HEADER_LEN, actual }))?;
        if header.schema_id.get() != SCHEMA_ID {
            return Err(problem(4, Problem::UnknownSchema { schema_id: header.schema_id.get() }));
        }
        Ok(Self {
            protocol,
            block_length: header.block_length.get().into(),
            template_id: header.template_id.get(),
            version: header.version.get(),
            bytes,
        })
    }

    fn error(&self, offset: usize, problem: Problem) -> DecodeError {
        // Every template that there is has a number below 256.
        let message_type = u8::try_from(self.template_id).unwrap_or(0);
        DecodeError { protocol: self.protocol, message_type, offset, problem }
    }

    /// The root block and what follows it.
    fn block<B: Block>(&self) -> Result<(&'a B, &'a [u8]), DecodeError> {
        let is_right = match self.version {
            VERSION => self.block_length == size_of::<B>(),
            _ => self.block_length >= size_of::<B>(),
        };
        if !is_right {
            let problem = Problem::Length { expected: size_of::<B>(), actual: self.block_length };
            return Err(self.error(0, problem));
        }
        let Some((block, rest)) = self.bytes[HEADER_LEN..].split_at_checked(self.block_length) else {
            let (expected, actual) = (HEADER_LEN + self.block_length, self.bytes.len());
            return Err(self.error(actual, Problem::Length { expected, actual }));
        };
        match B::ref_from_prefix(block) {
            Ok((block, _)) => Ok((block, rest)),
            Err(_) => unreachable!("the block is long enough"),
        }
    }

    /// The entries of a mass quote, and what follows them.
    fn quotes(&self, rest: &'a [u8]) -> Result<(&'a [QuoteEntry], &'a [u8]), DecodeError> {
        let offset = self.bytes.len() - rest.len();
        let Ok((header, rest)) = GroupHeader::ref_from_prefix(rest) else {
            let (expected, actual) = (offset + GROUP_HEADER_LEN, self.bytes.len());
            return Err(self.error(actual, Problem::Length { expected, actual }));
        };
        let expected = size_of::<QuoteEntry>();
        let actual = header.block_length.get().into();
        if actual != expected {
            return Err(self.error(offset, Problem::Length { expected, actual }));
        }
        let entries: usize = header.num_in_group.get().into();
        <[QuoteEntry]>::ref_from_prefix_with_elems(rest, entries).map_err(|_| {
            let problem = Problem::GroupLength { entries, actual: rest.len() / size_of::<QuoteEntry>() };
            self.error(offset + 2, problem)
        })
    }

    fn end(&self, rest: &[u8]) -> Result<(), DecodeError> {
        match rest.len() {
            0 => Ok(()),
            actual => Err(self.error(self.bytes.len() - actual, Problem::TrailingBytes { actual })),
        }
    }
}
