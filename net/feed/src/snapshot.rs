//! GLIMPSE 5.0: the whole directory and every order that stands, as messages, and the number of the
//! first ITCH message that is not in it.

use ironbell_types::Nanos;
use ironbell_wire::glimpse::EndOfSnapshot;
use zerocopy::IntoBytes;

use crate::messages::{DayEvent, Messages};
use crate::{BookOrder, Directory, Encoder};

/// A snapshot: S (the last one seen), R (`s`) H (Y) per instrument, V, A or F per order, G. It is built once
/// and may be sent to any number of members. V and `s` are beyond what GLIMPSE 5.0 lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    session: [u8; 10],
    sequence: u64,
    bytes: Vec<u8>,
    /// Where each message ends in `bytes`.
    ends: Vec<usize>,
}

impl Snapshot {
    /// The state before the ITCH message `sequence` of the present day's session. `orders` come in the
    /// order of a book: by instrument, bids first, best price first, then as they stand in line; a follower
    /// puts those of one price into its queue as they come. `None` while no day is open: there is no session to go on in.
    ///
    /// # Panics
    /// When an order names what the directory does not hold, or does not fit ITCH's fields.
    #[must_use]
    pub fn new(
        directory: &Directory,
        time: Nanos,
        sequence: u64,
        orders: impl IntoIterator<Item = BookOrder>,
    ) -> Option<Self> {
        let session = directory.day()?.session();
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        let emit = &mut |message: &[u8]| {
            bytes.extend_from_slice(message);
            ends.push(bytes.len());
        };
        let messages = Messages::at(time, directory);
        messages.day_event(DayEvent::MarketStart, emit);
        messages.listings(emit);
        orders.into_iter().for_each(|order| messages.add(&order, emit));
        emit(EndOfSnapshot::new(sequence).as_bytes());
        Some(Self { session, sequence, bytes, ends })
    }

    /// What a follower of `encoder`'s messages would hold at `time`.
    #[must_use]
    pub fn of(encoder: &Encoder, time: Nanos) -> Option<Self> {
        Self::new(encoder.directory(), time, encoder.sequence(), encoder.orders())
    }

    /// The ITCH session it belongs to.
    #[must_use]
    pub fn session(&self) -> [u8; 10] {
        self.session
    }

    /// The number of the ITCH message to go on with.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// How many messages, the end of snapshot included.
    #[must_use]
    pub fn message_count(&self) -> u64 {
        self.ends.len() as u64
    }

    /// The message of a number, from 1; `None` beyond the last one.
    #[must_use]
    pub fn message(&self, number: u64) -> Option<&[u8]> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        let end = *self.ends.get(index)?;
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        Some(&self.bytes[start..end])
    }
}
