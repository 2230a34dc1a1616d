//! The kinds of field that messages are made of. All have alignment 1.

use core::fmt;

pub use zerocopy::big_endian::{I32, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The type byte of a message: always `CODE` in a message that was built or parsed.
#[derive(Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(transparent)]
pub struct Type<const CODE: u8>(u8);

impl<const CODE: u8> Type<CODE> {
    /// The type byte; which one follows from the message it stands in.
    #[must_use]
    pub const fn new() -> Self {
        Self(CODE)
    }
}

impl<const CODE: u8> Default for Type<CODE> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const CODE: u8> fmt::Debug for Type<CODE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.0.escape_ascii())
    }
}

/// A big-endian number of 48 bits: ITCH timestamps.
#[derive(Clone, Copy, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(transparent)]
pub struct U48([u8; 6]);

impl U48 {
    /// The largest: as nanoseconds it is 78 hours.
    pub const MAX: u64 = (1 << 48) - 1;

    /// `value`, or [`U48::MAX`] when it is larger: a day that nobody closes for 78 hours then stops at
    /// its last time instead of starting over or bringing the venue down.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        let [_, _, a, b, c, d, e, f] = if value > Self::MAX { Self::MAX } else { value }.to_be_bytes();
        Self([a, b, c, d, e, f])
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }
}

impl fmt::Debug for U48 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "U48({})", self.get())
    }
}

/// Reads a number in ASCII digits, padded with spaces on the left, the right or both; `None` when there
/// is no digit, anything else, or a number above 2^64 - 1.
#[must_use]
pub fn number(field: &[u8]) -> Option<u64> {
    let digits = field.trim_ascii();
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

/// Writes a number in ASCII digits, padded left with spaces, into 20 bytes: enough for any `u64`.
#[must_use]
pub fn put_number(value: u64) -> [u8; 20] {
    let (mut field, mut rest) = ([b' '; 20], value);
    for digit in field.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    field
}
