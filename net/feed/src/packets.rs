//! MoldUDP64 packets from the log, and answers to requests for them.

use ironbell_sessionlog::Error;
use ironbell_wire::mold::{PacketBuilder, Request};

use crate::{Channel, Today};

/// What [`fill`] put into a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filled {
    /// Length of the packet in bytes.
    pub len: usize,
    /// How many messages it holds.
    pub count: u16,
    /// The message after the last one did not fit.
    pub is_full: bool,
}

/// Writes a packet with the messages from `first` on, at most `count_max` of them and as many as there
/// are and fit whole into `out`.
///
/// # Errors
/// When the log is damaged.
pub fn fill(today: &mut Today, first: u64, count_max: u16, out: &mut [u8]) -> Result<Filled, Error> {
    let mut packet = PacketBuilder::new(out, today.session, first);
    let mut is_full = false;
    while packet.count() < count_max {
        let Some(message) = today.log.message(first + u64::from(packet.count()))? else { break };
        if packet.push(message).is_err() {
            is_full = true;
            break;
        }
    }
    let count = packet.count();
    Ok(Filled { len: packet.finish(), count, is_full })
}

/// Answers requests (MoldUDP64 1.00, Request Packet) from the feed's log. Sans I/O and with a place of its
/// own in the log, so that any thread can run one.
#[derive(Clone, Debug)]
pub struct Rerequests {
    channel: Channel,
    today: Option<Today>,
    packet: Box<[u8]>,
}

impl Rerequests {
    /// Answers are at most `payload_size_max` bytes long.
    #[must_use]
    pub fn new(channel: Channel, payload_size_max: usize) -> Self {
        Self { channel, today: None, packet: vec![0; payload_size_max].into() }
    }

    /// The answer to one datagram: a packet with as many of the messages asked for as fit it whole. `None`,
    /// which is no answer, when the datagram is no request, names another session than the present one, or
    /// asks for nothing that was said: the protocol has no refusal.
    ///
    /// # Errors
    /// When the log is damaged.
    pub fn answer(&mut self, request: &[u8]) -> Result<Option<&[u8]>, Error> {
        let Ok(request) = Request::parse(request) else { return Ok(None) };
        if self.today.as_ref().map(|today| today.session) != self.channel.session() {
            self.today = self.channel.open();
        }
        let Some(today) = self.today.as_mut().filter(|today| today.session == request.session) else {
            return Ok(None);
        };
        let (first, count) = (request.sequence_number.get(), request.message_count.get());
        if first == 0 || first > today.log.newest()? {
            return Ok(None);
        }
        let filled = fill(today, first, count, &mut self.packet)?;
        Ok((filled.count > 0).then_some(&self.packet[..filled.len]))
    }
}
