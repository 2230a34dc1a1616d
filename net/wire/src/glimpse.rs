//! GLIMPSE 5.0: a snapshot of the book in ITCH messages, then where the live stream goes on
//! (Nasdaq GLIMPSE 5.0).

use zerocopy::{FromBytes, IntoBytes};

use crate::{DecodeError, Problem, Protocol, itch, number, put_number};

message! {
    /// End of Snapshot: the ITCH sequence number from which to go on.
    b'G' EndOfSnapshot 21 {
        /// Number in ASCII digits, padded with spaces: we write them on the left and read them on either
        /// side, because the protocol's text does not say which.
        sequence_number: [u8; 20],
    }
}

impl EndOfSnapshot {
    /// Ends a snapshot after which the message with this number is the next.
    #[must_use]
    pub fn new(sequence_number: u64) -> Self {
        Self { message_type: crate::Type::new(), sequence_number: put_number(sequence_number) }
    }

    /// The number of the next live message.
    ///
    /// # Errors
    /// [`Problem::NotANumber`].
    pub fn sequence(&self) -> Result<u64, DecodeError> {
        number(&self.sequence_number).ok_or_else(|| error(b'G', 1, Problem::NotANumber))
    }
}

/// What a snapshot is made of, borrowed from the bytes it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// An ITCH message.
    Itch(itch::Message<'a>),
    /// The end.
    EndOfSnapshot(&'a EndOfSnapshot),
}

impl<'a> Message<'a> {
    /// Reads one whole message.
    ///
    /// # Errors
    /// As [`itch::Message::parse`], and [`Problem::NotANumber`] in the end of snapshot.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if bytes.first() != Some(&b'G') {
            return itch::Message::parse(bytes).map(Self::Itch);
        }
        let length = Problem::Length { expected: size_of::<EndOfSnapshot>(), actual: bytes.len() };
        let end = EndOfSnapshot::ref_from_bytes(bytes)
            .map_err(|_| error(b'G', bytes.len().min(size_of::<EndOfSnapshot>()), length))?;
        end.sequence()?;
        Ok(Self::EndOfSnapshot(end))
    }

    /// The bytes it was read from.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        match *self {
            Self::Itch(message) => message.as_bytes(),
            Self::EndOfSnapshot(end) => end.as_bytes(),
        }
    }
}

const fn error(message_type: u8, offset: usize, problem: Problem) -> DecodeError {
    DecodeError { protocol: Protocol::Glimpse, message_type, offset, problem }
}
