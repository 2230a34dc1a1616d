//! What can be wrong with bytes that came in, and with a buffer that bytes should go out into.

use core::fmt;

/// The protocol whose rule the bytes break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// SoupBinTCP 3.00.
    SoupBinTcp,
    /// MoldUDP64 1.00.
    MoldUdp64,
    /// OUCH 5.0, member to exchange.
    OuchInbound,
    /// OUCH 5.0, exchange to member.
    OuchOutbound,
    /// ITCH 5.0.
    Itch,
    /// GLIMPSE 5.0.
    Glimpse,
    /// The native schema, member to exchange.
    NativeInbound,
    /// The native schema, exchange to member.
    NativeOutbound,
}

/// Bytes that are not a message: of which protocol, of which type, where, and what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// Whose rule is broken.
    pub protocol: Protocol,
    /// The type byte, of a native message the template id; 0 where there is none.
    pub message_type: u8,
    /// Where in the message, in bytes from its start.
    pub offset: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong. All lengths are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There is no type byte.
    Empty,
    /// The protocol has no such type.
    UnknownType,
    /// The message is longer or shorter than its type's layout.
    Length {
        /// What the layout says; the least there must be where an appendage may follow.
        expected: usize,
        /// What is there.
        actual: usize,
    },
    /// The packet is longer than this reader takes.
    TooLong {
        /// What it announces.
        actual: usize,
        /// What is taken.
        max: usize,
    },
    /// The appendage's length does not say how many bytes follow it.
    AppendageLength {
        /// What it says.
        declared: usize,
        /// How many follow.
        actual: usize,
    },
    /// The message has no appendage, yet bytes follow it.
    AppendageNotAllowed {
        /// How many follow.
        actual: usize,
    },
    /// An option says that it holds no tag, or reaches beyond the appendage.
    OptionLength {
        /// What it says, tag and value together.
        declared: usize,
        /// How many bytes of the appendage are left.
        actual: usize,
    },
    /// There is no such option.
    TagUnknown(u8),
    /// The option is not one of this message.
    TagNotAllowed(u8),
    /// The option stands twice.
    TagRepeated(u8),
    /// The option's value is longer or shorter than its layout.
    TagLength {
        /// The option.
        tag: u8,
        /// What its layout says.
        expected: usize,
        /// What is there.
        actual: usize,
    },
    /// A field that holds a number in ASCII does not, or one above 2^64 - 1.
    NotANumber,
    /// A message block reaches beyond the packet.
    BlockLength {
        /// What it says.
        declared: usize,
        /// How many bytes of the packet are left.
        actual: usize,
    },
    /// Bytes follow the last message block.
    TrailingBytes {
        /// How many.
        actual: usize,
    },
    /// The message is of another schema.
    UnknownSchema {
        /// Which.
        schema_id: u16,
    },
    /// The schema has no such version yet.
    UnknownVersion {
        /// Which.
        version: u16,
    },
    /// The entries of a group reach beyond the packet.
    GroupLength {
        /// How many are announced.
        entries: usize,
        /// How many whole ones follow.
        actual: usize,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, message_type, offset, problem } = self;
        write!(f, "{protocol}")?;
        match (protocol, *message_type) {
            (_, 0) => {}
            (Protocol::NativeInbound | Protocol::NativeOutbound, template) => write!(f, " {template}")?,
            (_, letter) => write!(f, " '{}'", letter.escape_ascii())?,
        }
        write!(f, " at byte {offset}: {problem}")
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SoupBinTcp => "SoupBinTCP",
            Self::MoldUdp64 => "MoldUDP64",
            Self::OuchInbound => "OUCH inbound",
            Self::OuchOutbound => "OUCH outbound",
            Self::Itch => "ITCH",
            Self::Glimpse => "GLIMPSE",
            Self::NativeInbound => "native inbound",
            Self::NativeOutbound => "native outbound",
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty => f.write_str("no type byte"),
            Self::UnknownType => f.write_str("no such type"),
            Self::Length { expected, actual } => write!(f, "{actual} bytes where the layout has {expected}"),
            Self::TooLong { actual, max } => write!(f, "{actual} bytes announced, at most {max} taken"),
            Self::AppendageLength { declared, actual } => {
                write!(f, "an appendage of {declared} bytes announced, {actual} follow")
            }
            Self::AppendageNotAllowed { actual } => write!(f, "{actual} bytes follow where no appendage may"),
            Self::OptionLength { declared, actual } => {
                write!(f, "an option of {declared} bytes announced, {actual} are left")
            }
            Self::TagUnknown(tag) => write!(f, "no option has tag {tag}"),
            Self::TagNotAllowed(tag) => write!(f, "tag {tag} is not an option of this message"),
            Self::TagRepeated(tag) => write!(f, "tag {tag} stands twice"),
            Self::TagLength { tag, expected, actual } => {
                write!(f, "a value of {actual} bytes where tag {tag} has {expected}")
            }
            Self::NotANumber => f.write_str("not a number below 2^64 in ASCII digits"),
            Self::BlockLength { declared, actual } => {
                write!(f, "a message of {declared} bytes announced, {actual} are left")
            }
            Self::TrailingBytes { actual } => write!(f, "{actual} bytes follow the last message"),
            Self::UnknownSchema { schema_id } => write!(f, "{schema_id} is another schema's number"),
            Self::UnknownVersion { version } => write!(f, "the schema has no version {version}"),
            Self::GroupLength { entries, actual } => {
                write!(f, "{entries} entries announced, {actual} follow")
            }
        }
    }
}

impl core::error::Error for DecodeError {}

/// The buffer is too short for what should be written into it; nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom {
    /// How many bytes it takes.
    pub needed: usize,
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the buffer is too short: {} bytes needed", self.needed)
    }
}

impl core::error::Error for NoRoom {}
