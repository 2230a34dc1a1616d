//! Following the MoldUDP64 multicast, sans I/O: in order, exactly once, with gaps asked for again.

use std::collections::BTreeMap;

use ironbell_types::Nanos;
use ironbell_wire::DecodeError;
use ironbell_wire::mold;

/// Bounds of a follower.
#[derive(Clone, Copy, Debug)]
pub struct FollowerConfig {
    /// Bytes of messages held while an earlier one is missing. What does not fit is dropped, the latest
    /// first, and asked for when its turn comes.
    pub held_bytes_max: usize,
    /// Messages in one request. A reply is one datagram, so more than fit one are asked for again.
    pub request_messages_max: u16,
    /// Requests that may be under way at once.
    pub requests_max: u16,
    /// After this long without progress everything missing is asked for again.
    pub retry: Nanos,
}

impl Default for FollowerConfig {
    /// 8 MiB held, 32 messages a request (they fit an Ethernet datagram), 8 requests under way, 20 ms.
    fn default() -> Self {
        Self { held_bytes_max: 8 << 20, request_messages_max: 32, requests_max: 8, retry: Nanos(20_000_000) }
    }
}

/// What a follower saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FollowerCounters {
    /// Packets, heartbeats included.
    pub packets: u64,
    /// Messages delivered.
    pub delivered: u64,
    /// Messages that came again.
    pub duplicates: u64,
    /// Messages that came early and were held.
    pub held: u64,
    /// Messages that came early and for which there was no room.
    pub not_held: u64,
    /// Requests made.
    pub requests: u64,
    /// Packets of an earlier session.
    pub stale: u64,
}

/// A follower of one channel. Feed it every packet that arrives, multicast or unicast, with
/// [`packet`](Self::packet); send what [`request`](Self::request) gives to the re-request server.
///
/// Sessions are the days' dates in digits, so that a later one compares higher. The first packet of a
/// later session ends the present one: what was still missing of it is given up, which is safe because
/// a session announces everything that stands (see [`crate::itch_book::ItchBook`]).
#[derive(Clone, Debug)]
pub struct MulticastFollower {
    config: FollowerConfig,
    session: Option<[u8; 10]>,
    next: u64,
    /// One past the highest message that is known to exist.
    end: u64,
    ended: bool,
    held: BTreeMap<u64, Box<[u8]>>,
    held_bytes: usize,
    /// Missing messages below this are asked for.
    asked: u64,
    /// When something was last asked for or delivered.
    progress: Nanos,
    counters: FollowerCounters,
}

impl MulticastFollower {
    /// A follower that wants every message of the first session it hears of.
    #[must_use]
    pub fn new(config: FollowerConfig) -> Self {
        Self::starting(config, None, 1)
    }

    /// A follower that has everything of `session` below `next`, for example from a GLIMPSE snapshot.
    ///
    /// # Panics
    /// When `next` is 0 or a bound of `config` is 0.
    #[must_use]
    pub fn resuming(config: FollowerConfig, session: [u8; 10], next: u64) -> Self {
        Self::starting(config, Some(session), next)
    }

    fn starting(config: FollowerConfig, session: Option<[u8; 10]>, next: u64) -> Self {
        assert!(next > 0, "messages are numbered from 1");
        assert!(config.request_messages_max > 0, "a request asks for something");
        assert!(config.requests_max > 0, "a gap is asked for");
        Self {
            config,
            session,
            next,
            end: next,
            ended: false,
            held: BTreeMap::new(),
            held_bytes: 0,
            asked: next,
            progress: Nanos(0),
            counters: FollowerCounters::default(),
        }
    }

    /// The session followed; `None` before the first packet.
    #[must_use]
    pub fn session(&self) -> Option<[u8; 10]> {
        self.session
    }

    /// The number of the next message to deliver.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Whether everything that is known to exist has been delivered.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.next == self.end
    }

    /// Whether the session has ended and everything of it has been delivered.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.ended && self.is_complete()
    }

    /// What was seen.
    #[must_use]
    pub fn counters(&self) -> &FollowerCounters {
        &self.counters
    }

    /// Takes one datagram and calls `deliver(number, message)` for every message whose turn has come.
    ///
    /// # Errors
    /// When the datagram is not a MoldUDP64 1.00 downstream packet; nothing of it is used then.
    pub fn packet(
        &mut self,
        datagram: &[u8],
        now: Nanos,
        deliver: &mut impl FnMut(u64, &[u8]),
    ) -> Result<(), DecodeError> {
        let packet = mold::Packet::parse(datagram)?;
        self.counters.packets += 1;
        if !self.adopt(packet.session()) {
            self.counters.stale += 1;
            return Ok(());
        }
        let before = self.next;
        for (number, message) in packet.messages() {
            self.message(number, message, deliver);
        }
        self.end = self.end.max(packet.sequence_number().saturating_add(u64::from(packet.count())));
        self.ended |= packet.is_end_of_session();
        if self.next > before {
            self.progress = now;
        }
        Ok(())
    }

    /// What to send to the re-request server now, if anything. Call it until it gives nothing, after each
    /// packet and whenever time has passed.
    pub fn request(&mut self, now: Nanos) -> Option<mold::Request> {
        let session = self.session?;
        if self.asked > self.next && now.0.saturating_sub(self.progress.0) >= self.config.retry.0 {
            self.asked = self.next;
        }
        self.asked = self.asked.max(self.next);
        let gap_end = self.held.first_key_value().map_or(self.end, |(&number, _)| number);
        let window = u64::from(self.config.request_messages_max) * u64::from(self.config.requests_max);
        let end = gap_end.min(self.next.saturating_add(window));
        let missing = end.checked_sub(self.asked).filter(|&missing| missing > 0)?;
        let count = u16::try_from(missing).unwrap_or(u16::MAX).min(self.config.request_messages_max);
        let request = mold::Request::new(session, self.asked, count);
        self.asked += u64::from(count);
        self.progress = now;
        self.counters.requests += 1;
        Some(request)
    }

    /// Whether a packet of `session` is to be used; a later session than ours becomes ours.
    fn adopt(&mut self, session: [u8; 10]) -> bool {
        match self.session {
            Some(ours) if session < ours => return false,
            Some(ours) if session == ours => return true,
            Some(_) => self.next = 1,
            None => {}
        }
        self.session = Some(session);
        self.end = self.next;
        self.asked = self.next;
        self.ended = false;
        self.held.clear();
        self.held_bytes = 0;
        true
    }

    fn message(&mut self, number: u64, message: &[u8], deliver: &mut impl FnMut(u64, &[u8])) {
        if number > self.next {
            return self.hold(number, message);
        }
        if number < self.next {
            self.counters.duplicates += 1;
            return;
        }
        self.deliver(message, deliver);
        while let Some(entry) = self.held.first_entry() {
            if *entry.key() > self.next {
                break;
            }
            let (number, message) = entry.remove_entry();
            self.held_bytes -= message.len();
            if number == self.next {
                self.deliver(&message, deliver);
            }
        }
    }

    fn deliver(&mut self, message: &[u8], deliver: &mut impl FnMut(u64, &[u8])) {
        deliver(self.next, message);
        self.next += 1;
        self.counters.delivered += 1;
    }

    fn hold(&mut self, number: u64, message: &[u8]) {
        if self.held.contains_key(&number) {
            self.counters.duplicates += 1;
            return;
        }
        while self.held_bytes + message.len() > self.config.held_bytes_max {
            let Some(last) = self.held.last_entry().filter(|last| *last.key() > number) else {
                self.counters.not_held += 1;
                return;
            };
            self.held_bytes -= last.remove().len();
            self.counters.not_held += 1;
        }
        self.held_bytes += message.len();
        self.held.insert(number, message.into());
        self.counters.held += 1;
    }
}
