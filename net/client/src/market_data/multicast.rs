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
        // What is held is ahead of the next message, until it is the next message.
        while let Some(message) = self.held.remove(&self.next) {
            self.held_bytes -= message.len();
            self.deliver(&message, deliver);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use zerocopy::IntoBytes;

    const SESSION: [u8; 10] = *b"0020261121";

    /// SplitMix64.
    struct Rng(u64);

    impl Rng {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31)) % bound
        }
    }

    /// Message `number` of every stream here: its number and some bytes that depend on it.
    fn message(number: u64) -> Vec<u8> {
        let mut message = number.to_be_bytes().to_vec();
        message.resize(8 + (number % 30) as usize, number as u8);
        message
    }

    fn packet(session: [u8; 10], first: u64, count: u64) -> Vec<u8> {
        let mut out = vec![0; 1_400];
        let mut builder = mold::PacketBuilder::new(&mut out, session, first);
        for number in first..first + count {
            builder.push(&message(number)).expect("few messages fit");
        }
        let len = builder.finish();
        out.truncate(len);
        out
    }

    fn numbers(follower: &mut MulticastFollower, datagram: &[u8], now: u64) -> Vec<u64> {
        let mut numbers = Vec::new();
        let mut deliver = |number, bytes: &[u8]| {
            assert_eq!(bytes, message(number));
            numbers.push(number);
        };
        follower.packet(datagram, Nanos(now), &mut deliver).expect("a packet");
        numbers
    }

    fn requests(follower: &mut MulticastFollower, now: u64) -> Vec<(u64, u16)> {
        std::iter::from_fn(|| follower.request(Nanos(now)))
            .map(|request| (request.sequence_number.get(), request.message_count.get()))
            .collect()
    }

    fn config() -> FollowerConfig {
        FollowerConfig { held_bytes_max: 4_096, request_messages_max: 5, requests_max: 2, retry: Nanos(100) }
    }

    #[test]
    fn messages_come_in_order_and_gaps_are_asked_for() {
        let mut follower = MulticastFollower::new(config());
        assert_eq!(numbers(&mut follower, &packet(SESSION, 1, 3), 0), [1, 2, 3]);
        assert_eq!(requests(&mut follower, 0), []);
        assert_eq!(numbers(&mut follower, &packet(SESSION, 6, 2), 1), [0; 0]);
        assert!(!follower.is_complete());
        assert_eq!(requests(&mut follower, 1), [(4, 2)]);
        assert_eq!(requests(&mut follower, 100), [], "the answer may be under way");
        assert_eq!(requests(&mut follower, 101), [(4, 2)], "it is asked for again in time");
        assert_eq!(numbers(&mut follower, &packet(SESSION, 4, 2), 102), [4, 5, 6, 7]);
        assert!(follower.is_complete());
        assert_eq!(requests(&mut follower, 1_000), []);
        assert_eq!(numbers(&mut follower, &packet(SESSION, 4, 4), 103), [0; 0], "nothing comes twice");
        assert_eq!(follower.counters().duplicates, 4);
    }

    #[test]
    fn a_heartbeat_tells_of_lost_messages_at_the_end() {
        let mut follower = MulticastFollower::new(config());
        let heartbeat = mold::Header::heartbeat(SESSION, 13);
        assert_eq!(numbers(&mut follower, heartbeat.as_bytes(), 0), [0; 0]);
        assert_eq!(requests(&mut follower, 0), [(1, 5), (6, 5)], "two at once, then wait");
        assert_eq!(numbers(&mut follower, &packet(SESSION, 1, 3), 1), [1, 2, 3]);
        assert_eq!(requests(&mut follower, 1), [(11, 2)], "the window moves with what came");
        assert_eq!(numbers(&mut follower, &packet(SESSION, 6, 5), 2), [0; 0]);
        assert_eq!(requests(&mut follower, 101), [(4, 2)], "what the first answer cut off");
        assert_eq!(numbers(&mut follower, &packet(SESSION, 4, 2), 102), [4, 5, 6, 7, 8, 9, 10]);
    }

    #[test]
    fn the_end_of_session_is_over_when_everything_came() {
        let mut follower = MulticastFollower::new(config());
        let end = mold::Header::end_of_session(SESSION, 3);
        numbers(&mut follower, end.as_bytes(), 0);
        assert!(!follower.is_over());
        numbers(&mut follower, &packet(SESSION, 1, 2), 0);
        assert!(follower.is_over());
    }

    #[test]
    fn a_later_session_starts_over_and_an_earlier_one_is_ignored() {
        let mut follower = MulticastFollower::resuming(config(), SESSION, 4);
        numbers(&mut follower, &packet(SESSION, 9, 2), 0);
        let tomorrow = *b"0020261122";
        assert_eq!(numbers(&mut follower, &packet(tomorrow, 1, 2), 1), [1, 2]);
        assert_eq!(follower.session(), Some(tomorrow));
        assert_eq!(numbers(&mut follower, &packet(SESSION, 4, 5), 2), [0; 0]);
        assert_eq!(follower.counters().stale, 1);
        assert_eq!(numbers(&mut follower, &packet(tomorrow, 3, 8), 3), [3, 4, 5, 6, 7, 8, 9, 10]);
    }

    #[test]
    fn what_is_held_is_bounded_and_the_nearest_is_kept() {
        let size = message(31).len();
        let mut follower =
            MulticastFollower::new(FollowerConfig { held_bytes_max: 2 * size + 60, ..config() });
        for first in [61, 31, 2, 3] {
            numbers(&mut follower, &packet(SESSION, first, 1), 0);
        }
        assert!(follower.held_bytes <= 2 * size + 60);
        assert_eq!(follower.held.keys().next(), Some(&2));
        assert_eq!(numbers(&mut follower, &packet(SESSION, 1, 1), 0)[..3], [1, 2, 3]);
    }

    #[test]
    fn what_is_no_packet_is_refused_whole() {
        let mut follower = MulticastFollower::new(config());
        let good = packet(SESSION, 1, 3);
        for len in 0..good.len() {
            let refused = follower.packet(&good[..len], Nanos(0), &mut |_, _| panic!("nothing is delivered"));
            assert!(refused.is_err(), "{len} bytes are no packet");
        }
        assert_eq!(follower.session(), None);
        assert_eq!(follower.next(), 1);
    }

    /// A network that loses, repeats and reorders datagrams of both kinds, against a server that answers
    /// requests as the protocol says: whole messages of one datagram, or nothing.
    #[test]
    fn lost_repeated_and_reordered_datagrams_still_give_every_message_once() {
        for seed in 0..1_000 {
            let mut rng = Rng(seed);
            let messages = 1 + rng.below(400);
            let loss = rng.below(60);
            let mut follower = MulticastFollower::new(FollowerConfig {
                held_bytes_max: 200 + rng.below(4_000) as usize,
                ..config()
            });
            let mut under_way: VecDeque<Vec<u8>> = VecDeque::new();
            let (mut said, mut now, mut delivered) = (1, 0, 0);
            while follower.next() <= messages {
                now += 10;
                if said <= messages {
                    let count = (1 + rng.below(9)).min(messages + 1 - said);
                    under_way.push_back(packet(SESSION, said, count));
                    said += count;
                } else {
                    under_way.push_back(mold::Header::heartbeat(SESSION, said).as_bytes().to_vec());
                }
                while let Some(request) = follower.request(Nanos(now)) {
                    let (first, count) = (request.sequence_number.get(), request.message_count.get());
                    assert!(first + u64::from(count) <= said, "seed {seed}: only what was said is asked for");
                    if rng.below(100) >= loss {
                        under_way.push_back(packet(SESSION, first, u64::from(count).min(1 + rng.below(5))));
                    }
                }
                for _ in 0..rng.below(4) {
                    let count = under_way.len() as u64;
                    let index = if count > 0 { rng.below(count) as usize } else { break };
                    let datagram = under_way.swap_remove_back(index).expect("it is there");
                    if rng.below(100) < 20 {
                        under_way.push_back(datagram.clone());
                    }
                    if rng.below(100) < loss {
                        continue;
                    }
                    let mut deliver = |number, bytes: &[u8]| {
                        delivered += 1;
                        assert_eq!(number, delivered, "seed {seed}: in order, once");
                        assert_eq!(bytes, message(number), "seed {seed}");
                    };
                    follower.packet(&datagram, Nanos(now), &mut deliver).expect("a packet");
                }
                assert!(now < 10_000_000, "seed {seed}: it comes to an end");
            }
            assert_eq!(delivered, messages, "seed {seed}");
        }
    }
}
