//! Identities. Each is a type of its own, so that one cannot stand for another.

/// Place of a command in the one sequence: dense, from 1. 0 means "none yet".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl Seq {
    /// Bits of a (Seq, step) pair that hold the step: a command has at most 2^20 effects.
    pub const STEP_BITS: u32 = 20;
    /// The largest Seq that a 64-bit (Seq, step) pair can hold.
    pub const MAX: Self = Self((1 << (64 - Self::STEP_BITS)) - 1);

    /// The Seq after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Number of an order on the book: (Seq, step) packed, never a counter. Never 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderRef(pub u64);

impl OrderRef {
    /// The order that the command at `seq` creates in its effect `step`.
    #[must_use]
    pub const fn new(seq: Seq, step: u32) -> Self {
        Self(seq.0 << Seq::STEP_BITS | step as u64)
    }

    /// The command that created it.
    #[must_use]
    pub const fn seq(self) -> Seq {
        Seq(self.0 >> Seq::STEP_BITS)
    }
}

/// Number of a trade: (Seq, step) packed, as [`OrderRef`]; step counts the command's trades from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MatchNumber(pub u64);

impl MatchNumber {
    /// The `step`-th trade (from 0) of the command at `seq`.
    #[must_use]
    pub const fn new(seq: Seq, step: u32) -> Self {
        Self(seq.0 << Seq::STEP_BITS | step as u64)
    }
}

/// A currency or a security.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssetId(pub u32);

/// Something that trades: a base asset priced in a quote asset. [`InstrumentId::NONE`] is none. It is
/// also the ITCH stock locate code, so ids are dense from 1 and at most 65,535.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstrumentId(pub u32);

impl InstrumentId {
    /// No instrument: an unknown symbol in an order, every instrument in a mass cancel.
    pub const NONE: Self = Self(0);
}

/// A member firm. Dense from 1; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FirmId(pub u32);

/// An account of the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub u32);

impl AccountId {
    /// The outside world: the only account that may go below zero.
    pub const WORLD: Self = Self(0);
    /// The highest id a member's account can have; those above are the venue's fee accounts.
    pub const MEMBER_MAX: Self = Self(0x7fff_ffff);

    /// What a firm owes after a bust; may go below zero.
    #[must_use]
    pub const fn receivable(firm: FirmId) -> Self {
        Self(0xc000_0000 | firm.0)
    }

    /// The venue's fee account of an instrument.
    #[must_use]
    pub const fn fees(instrument: InstrumentId) -> Self {
        Self(0x8000_0000 | instrument.0)
    }
}

/// An OUCH port: one login, one account, one sequenced stream. Dense from 1; at most 2^24 - 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub u32);

/// OUCH UserRefNum: given by the member, strictly increasing per port, day and channel, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserRefNum(pub u32);

/// OUCH UserRefIdx (option tag 28): a channel of UserRefNums on a port. 0 when the tag is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserRefIdx(pub u8);

/// (port, channel, UserRefNum) packed in 64 bits: what a member calls an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderKey(pub u64);

impl OrderKey {
    /// Packs the three; `port` must be below 2^24.
    #[must_use]
    pub const fn new(port: PortId, idx: UserRefIdx, num: UserRefNum) -> Self {
        Self((port.0 as u64) << 40 | (idx.0 as u64) << 32 | num.0 as u64)
    }

    /// The port.
    #[must_use]
    pub const fn port(self) -> PortId {
        PortId((self.0 >> 40) as u32)
    }

    /// The channel.
    #[must_use]
    pub const fn idx(self) -> UserRefIdx {
        UserRefIdx((self.0 >> 32) as u8)
    }

    /// The member's number.
    #[must_use]
    pub const fn num(self) -> UserRefNum {
        UserRefNum(self.0 as u32)
    }
}

/// Market participant identifier: four ASCII characters, padded right with spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mpid(pub [u8; 4]);

/// Instrument symbol: eight ASCII characters, padded right with spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(pub [u8; 8]);

/// The member's own text on an order: fourteen ASCII characters, padded right with spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClOrdId(pub [u8; 14]);

/// SoupBinTCP user name: six ASCII characters, upper case, padded right with spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Username(pub [u8; 6]);

/// Why a command was made void, in an operator's words: 48 ASCII characters, padded right with spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VoidReason(pub [u8; 48]);

macro_rules! padded {
    ($name:ident, $len:literal) => {
        impl $name {
            /// Pads `text` right with spaces; `None` when it is longer than the field or not printable ASCII.
            #[must_use]
            pub fn new(text: &str) -> Option<Self> {
                let text = text.as_bytes();
                if text.len() > $len || !text.iter().all(|b| (0x20..0x7f).contains(b)) {
                    return None;
                }
                let mut field = [b' '; $len];
                field[..text.len()].copy_from_slice(text);
                Some(Self(field))
            }

            /// The text without its padding; `"?"` when the bytes are not UTF-8.
            #[must_use]
            pub fn as_str(&self) -> &str {
                core::str::from_utf8(&self.0).map_or("?", |s| s.trim_end_matches(' '))
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self([b' '; $len])
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}
padded!(Mpid, 4);
padded!(Symbol, 8);
padded!(ClOrdId, 14);
padded!(Username, 6);
padded!(VoidReason, 48);

macro_rules! shown_as_number {
    ($($name:ident)*) => {$(
        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Display::fmt(&self.0, f)
            }
        }
    )*};
}
shown_as_number!(Seq OrderRef MatchNumber AssetId InstrumentId FirmId AccountId PortId UserRefNum UserRefIdx);
