//! Options: the tag-value elements of an appendage (OUCH 5.0, Appendix A).
//!
//! ```text
//! 0               2           3      4
//! | length u16    | 1 + n u8  | tag  | value: n bytes | 1 + n u8 | tag | value | …
//! ```
//!
//! The first length counts all that follows it, an element's length its tag and its value.

use core::fmt;

use crate::{DecodeError, Problem, Protocol};

/// The bits of a set of tags: bit t is tag t.
pub(super) const fn tag_set(tags: &[u8]) -> u32 {
    let (mut set, mut index) = (0, 0);
    while index < tags.len() {
        set |= 1 << tags[index];
        index += 1;
    }
    set
}

/// A type that an option's value can have on the wire.
trait Value: Sized {
    const SIZE: usize;
    /// `bytes` is [`Value::SIZE`] long.
    fn read(bytes: &[u8]) -> Self;
    /// `out` is [`Value::SIZE`] long.
    fn write(self, out: &mut [u8]);
}

macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl Value for $number {
            const SIZE: usize = size_of::<$number>();

            fn read(bytes: &[u8]) -> Self {
                bytes.first_chunk().map_or(0, |bytes| Self::from_be_bytes(*bytes))
            }

            fn write(self, out: &mut [u8]) {
                out.copy_from_slice(&self.to_be_bytes());
            }
        }
    )*};
}
numbers!(u8 u16 u32 u64 i32);

impl<const N: usize> Value for [u8; N] {
    const SIZE: usize = N;

    fn read(bytes: &[u8]) -> Self {
        bytes.first_chunk().copied().unwrap_or([b' '; N])
    }

    fn write(self, out: &mut [u8]) {
        out.copy_from_slice(&self);
    }
}

macro_rules! options {
    ($($(#[$doc:meta])* $tag:literal $name:ident $getter:ident: $ty:ty,)*) => {
        /// One option with its value.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum OptionValue { $($(#[$doc])* $name($ty),)* }

        impl OptionValue {
            /// Tag, name and length of the value in bytes of every option.
            pub const LAYOUTS: &'static [(u8, &'static str, usize)] =
                &[$(($tag, stringify!($name), <$ty as Value>::SIZE),)*];

            /// Its tag.
            #[must_use]
            pub const fn tag(&self) -> u8 {
                match self { $(Self::$name(_) => $tag,)* }
            }

            /// `value` is as long as the tag says; `None` when there is no such tag.
            fn read(tag: u8, value: &[u8]) -> Option<Self> {
                match tag { $($tag => Some(Self::$name(Value::read(value))),)* _ => None }
            }

            fn write(self, out: &mut [u8]) {
                match self { $(Self::$name(value) => value.write(out),)* }
            }
        }

        /// Length of the value in bytes; `None` when there is no such tag.
        const fn value_len(tag: u8) -> Option<usize> {
            match tag { $($tag => Some(<$ty as Value>::SIZE),)* _ => None }
        }

        /// The longest appendage without its length field: every option once.
        pub const APPENDAGE_LEN_MAX: usize = $(2 + <$ty as Value>::SIZE +)* 0;

        impl Options<'_> {
            $($(#[$doc])*
            #[must_use]
            #[inline]
            pub fn $getter(&self) -> Option<$ty> {
                self.value($tag).map(Value::read)
            })*
        }
    };
}

options! {
    /// Tag 1: the venue's second number of the order.
    1 SecondaryOrdRefNum secondary_ord_ref_num: u64,
    /// Tag 2: MPID.
    2 Firm firm: [u8; 4],
    /// Tag 3: least quantity to trade at once.
    3 MinQty min_qty: u32,
    /// Tag 4: `R` retail, `N` not, space for the port's default.
    4 CustomerType customer_type: u8,
    /// Tag 5: shares shown at a time.
    5 MaxFloor max_floor: u32,
    /// Tag 6: `L`, `P`, `M`, `R`, `Q` or `m`.
    6 PriceType price_type: u8,
    /// Tag 7: signed distance from the pegged price; 4 implied decimals.
    7 PegOffset peg_offset: i32,
    /// Tag 9: price it may trade at without showing it; 4 implied decimals.
    9 DiscretionPrice discretion_price: u64,
    /// Tag 10: `L`, `P`, `M` or `R`.
    10 DiscretionPriceType discretion_price_type: u8,
    /// Tag 11: signed distance of the discretion price from the pegged price; 4 implied decimals.
    11 DiscretionPegOffset discretion_peg_offset: i32,
    /// Tag 12: `P` post-only, `N` not.
    12 PostOnly post_only: u8,
    /// Tag 13: range of random reserve refreshes, in shares.
    13 RandomReserves random_reserves: u32,
    /// Tag 14: routing strategy.
    14 Route route: [u8; 4],
    /// Tag 15: seconds until the order expires.
    15 ExpireTime expire_time: u32,
    /// Tag 16: whether to trade a resting order at once.
    16 TradeNow trade_now: u8,
    /// Tag 17: `I`, `O`, `T`, `Q`, `B`, `D` or space.
    17 HandleInst handle_inst: u8,
    /// Tag 18: `0` to `3`, space, `S` or `N`.
    18 BboWeightIndicator bbo_weight_indicator: u8,
    /// Tag 22: shares shown.
    22 DisplayQuantity display_quantity: u32,
    /// Tag 23: price shown; 4 implied decimals.
    23 DisplayPrice display_price: u64,
    /// Tag 24: group of orders for mass cancels; 0 there means those without one.
    24 GroupId group_id: u16,
    /// Tag 25: whether shares to sell short were located.
    25 SharesLocated shares_located: u8,
    /// Tag 26: who located them.
    26 LocateBroker locate_broker: [u8; 4],
    /// Tag 27: side.
    27 Side side: u8,
    /// Tag 28: channel of UserRefNums.
    28 UserRefIdx user_ref_idx: u8,
    /// Tag 29: self-trade rule (revision 1.05).
    29 AiqStrategy aiq_strategy: u8,
    /// Tag 30: group within which orders do not trade (revision 1.05).
    30 AiqGroupId aiq_group_id: [u8; 2],
}

/// The options of a message, borrowed from the bytes it came in and checked: every one known, allowed in
/// this message, of its right length, and there only once.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Options<'a> {
    elements: &'a [u8],
    present: u32,
}

impl<'a> Options<'a> {
    /// Checks the elements that stand at `offset` of a message.
    pub(super) fn parse(
        elements: &'a [u8],
        allowed: u32,
        offset: usize,
        at: (Protocol, u8),
    ) -> Result<Self, DecodeError> {
        let (mut rest, mut present) = (elements, 0);
        while !rest.is_empty() {
            let (tag, value, behind) = element(rest).map_err(|problem| {
                let offset = offset + elements.len() - rest.len();
                DecodeError { protocol: at.0, message_type: at.1, offset, problem }
            })?;
            let fault = |behind: usize, problem| {
                let offset = offset + elements.len() - rest.len() + behind;
                Err(DecodeError { protocol: at.0, message_type: at.1, offset, problem })
            };
            let Some(expected) = value_len(tag) else { return fault(1, Problem::TagUnknown(tag)) };
            if allowed & 1 << tag == 0 {
                return fault(1, Problem::TagNotAllowed(tag));
            }
            if present & 1 << tag != 0 {
                return fault(1, Problem::TagRepeated(tag));
            }
            if value.len() != expected {
                return fault(0, Problem::TagLength { tag, expected, actual: value.len() });
            }
            present |= 1 << tag;
            rest = behind;
        }
        Ok(Self { elements, present })
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.present == 0
    }

    /// The options in the order they stand in.
    pub fn iter(&self) -> impl Iterator<Item = OptionValue> + use<'a> {
        let mut rest = self.elements;
        core::iter::from_fn(move || {
            let (tag, value, behind) = element(rest).ok()?;
            rest = behind;
            OptionValue::read(tag, value)
        })
    }

    fn value(&self, wanted: u8) -> Option<&'a [u8]> {
        if self.present & 1 << wanted == 0 {
            return None;
        }
        let mut rest = self.elements;
        while let Ok((tag, value, behind)) = element(rest) {
            if tag == wanted {
                return Some(value);
            }
            rest = behind;
        }
        None
    }
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Takes one element off the front of `elements`: its tag, its value, what follows it.
fn element(elements: &[u8]) -> Result<(u8, &[u8], &[u8]), Problem> {
    let (&length, rest) = elements.split_first().ok_or(Problem::OptionLength { declared: 0, actual: 0 })?;
    let wrong = Problem::OptionLength { declared: usize::from(length), actual: rest.len() };
    let (element, behind) = rest.split_at_checked(usize::from(length)).ok_or(wrong)?;
    let (&tag, value) = element.split_first().ok_or(wrong)?;
    Ok((tag, value, behind))
}

/// The options of a message that is to be written.
#[derive(Clone, Copy)]
pub struct OptionsBuf {
    elements: [u8; APPENDAGE_LEN_MAX],
    len: u8,
    present: u32,
}

const _: () = assert!(APPENDAGE_LEN_MAX <= u8::MAX as usize);

impl OptionsBuf {
    /// None.
    pub const EMPTY: Self = Self { elements: [0; APPENDAGE_LEN_MAX], len: 0, present: 0 };

    /// None yet.
    #[must_use]
    pub const fn new() -> Self {
        Self::EMPTY
    }

    /// Appends an option.
    ///
    /// # Panics
    /// When it is already there.
    pub fn push(&mut self, value: OptionValue) -> &mut Self {
        let tag = value.tag();
        assert!(self.present & 1 << tag == 0, "option {tag} is already there");
        let Some(size) = value_len(tag) else { unreachable!("every option has a length") };
        let room = &mut self.elements[usize::from(self.len)..][..2 + size];
        room[0] = 1 + size as u8;
        room[1] = tag;
        value.write(&mut room[2..]);
        self.len += 2 + size as u8;
        self.present |= 1 << tag;
        self
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.present == 0
    }

    /// The elements as they go out, without the length before them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.elements[..usize::from(self.len)]
    }

    /// The tags that are there; bit t is tag t.
    pub(super) const fn present(&self) -> u32 {
        self.present
    }
}

impl Default for OptionsBuf {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl From<Options<'_>> for OptionsBuf {
    fn from(options: Options<'_>) -> Self {
        let mut out = Self::EMPTY;
        out.elements[..options.elements.len()].copy_from_slice(options.elements);
        out.len = options.elements.len() as u8;
        out.present = options.present;
        out
    }
}

impl FromIterator<OptionValue> for OptionsBuf {
    fn from_iter<I: IntoIterator<Item = OptionValue>>(values: I) -> Self {
        let mut out = Self::EMPTY;
        for value in values {
            out.push(value);
        }
        out
    }
}

impl PartialEq for OptionsBuf {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for OptionsBuf {}

impl fmt::Debug for OptionsBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Options { elements: self.as_bytes(), present: self.present }.fmt(f)
    }
}
