//! The role: takes committed events, numbers what they make, and sends it.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use ironbell_sessionlog::{Recovered, SessionLog};
use ironbell_sync::{Consumer, ticks};
use ironbell_types::{Event, EventBody, Nanos, Outbound};
use ironbell_wire::mold::Header;
use zerocopy::IntoBytes;

use crate::channel::{DayWriter, STREAM, channel};
use crate::datagrams::{Datagrams, Udp};
use crate::packets::{Rerequests, fill};
use crate::{Channel, Encoder, Error, Today};

/// Where the feed goes, and how much it does at one go.
#[derive(Clone, Debug)]
pub struct Config {
    /// The multicast group and port.
    pub group: SocketAddrV4,
    /// Address of the interface that packets leave by.
    pub interface: Ipv4Addr,
    /// How many routers a packet may pass, plus one.
    pub ttl: u32,
    /// Where re-requests are answered. Port 0 lets the kernel choose ([`Feed::rerequest_at`]).
    pub rerequest: SocketAddrV4,
    /// Longest packet in bytes: the network's MTU less 28 for IP and UDP.
    pub payload_size_max: usize,
    /// A heartbeat is sent after this long without a packet.
    pub heartbeat: Nanos,
    /// Orders that stand on the feed without an allocation.
    pub orders_max: usize,
    /// Events taken in one poll.
    pub events_max: usize,
    /// Packets sent in one poll.
    pub packets_max: usize,
    /// Re-requests answered in one poll.
    pub requests_max: usize,
}

impl Default for Config {
    /// Group 239.192.26.1:26410 on the loopback interface, one second between heartbeats.
    fn default() -> Self {
        Self {
            group: SocketAddrV4::new(Ipv4Addr::new(239, 192, 26, 1), 26_410),
            interface: Ipv4Addr::LOCALHOST,
            ttl: 1,
            rerequest: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 26_411),
            payload_size_max: 1_400,
            heartbeat: Nanos(1_000_000_000),
            orders_max: 1 << 17,
            events_max: 256,
            packets_max: 64,
            requests_max: 8,
        }
    }
}

/// What the feed did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Events taken.
    pub events: u64,
    /// ITCH messages made, without those of [`Feed::replay`].
    pub messages: u64,
    /// Multicast packets sent, heartbeats and ends of session included.
    pub packets: u64,
    /// Heartbeats among them.
    pub heartbeats: u64,
    /// Multicast packets that the socket did not take.
    pub packets_dropped: u64,
    /// Why it did not take the last of them.
    pub dropped_because: Option<ErrorKind>,
    /// Datagrams that came in on the re-request socket.
    pub requests: u64,
    /// Those of them that were answered.
    pub answers: u64,
}

/// The market-data role. It owns the feed's log and its sockets.
#[derive(Debug)]
pub struct Feed<D = Udp> {
    config: Config,
    encoder: Encoder,
    log: SessionLog,
    day: DayWriter,
    channel: Channel,
    /// The present session, with the publisher's own place in it.
    today: Option<Today>,
    /// The next message to multicast.
    published: u64,
    packet: Box<[u8]>,
    sent_at: Option<Nanos>,
    /// When it was last asked for requests and there were no more.
    asked_at: Option<Nanos>,
    rerequests: Rerequests,
    from_release: Consumer<Outbound>,
    datagrams: D,
    /// When gateways had read the messages whose events wait to be sent; room is made once.
    unsent: Vec<u64>,
    counters: Counters,
    failure: Option<Error>,
}

/// Of so many events at most it is noted when they were read; of more that wait at once, latency is not told.
const UNSENT_MAX: usize = 1 << 12;

/// A request is 20 bytes; whatever is longer is none, and is cut off.
const REQUEST_BUFFER_SIZE: usize = 64;

impl Feed {
    /// A feed over kernel sockets. `log` is fresh from [`SessionLog::open`], and its stream 0 is the feed's;
    /// replay every event of the journal, then call [`Self::end_recovery`] and poll.
    ///
    /// # Errors
    /// [`Error::Socket`].
    ///
    /// # Panics
    /// When `payload_size_max` is too small for the longest message.
    pub fn new(config: Config, log: SessionLog, from_release: Consumer<Outbound>) -> Result<Self, Error> {
        let datagrams = Udp::open(&config)?;
        Ok(Self::with_datagrams(config, datagrams, log, from_release))
    }

    /// Where re-requests are answered.
    #[must_use]
    pub fn rerequest_at(&self) -> SocketAddr {
        self.datagrams.rerequest_at()
    }
}

impl<D: Datagrams> Feed<D> {
    /// As [`Feed::new`], over other datagrams than the kernel's.
    ///
    /// # Panics
    /// When `payload_size_max` is too small for the longest message.
    #[must_use]
    pub fn with_datagrams(
        config: Config,
        datagrams: D,
        log: SessionLog,
        from_release: Consumer<Outbound>,
    ) -> Self {
        let longest = size_of::<Header>() + 2 + ironbell_wire::itch::MESSAGE_LEN_MAX;
        assert!(config.payload_size_max >= longest, "a packet holds at least one message: {longest} bytes");
        let (day, channel) = channel(&log);
        Self {
            encoder: Encoder::new(config.orders_max),
            day,
            today: None,
            published: 1,
            packet: vec![0; config.payload_size_max].into(),
            sent_at: None,
            asked_at: None,
            rerequests: Rerequests::new(channel.clone(), config.payload_size_max),
            channel,
            log,
            from_release,
            datagrams,
            unsent: Vec::with_capacity(UNSENT_MAX),
            counters: Counters::default(),
            failure: None,
            config,
        }
    }

    /// Sends and hears by `datagrams` from here on.
    pub fn open(&mut self, datagrams: D) {
        self.datagrams = datagrams;
    }

    /// Recovery, before any replay: goes on from an encoder, whose messages are in the log already.
    ///
    /// # Panics
    /// When the log has not come as far as the encoder: they are not of one moment.
    pub fn resume(&mut self, encoder: Encoder) {
        if let Some(day) = encoder.directory().last_day() {
            self.day.resume(day);
            self.today = self.channel.open();
            assert_eq!(self.log.next_number(STREAM), encoder.sequence(), "log and encoder are of one moment");
        }
        self.published = encoder.sequence();
        self.encoder = encoder;
    }

    /// Recovery: takes an event of the journal's replay into directory and log; sends nothing. Followers
    /// who missed its messages see the gap at the next packet.
    ///
    /// # Errors
    /// [`Error::Log`].
    pub fn replay(&mut self, event: &Event) -> Result<(), Error> {
        self.take(event)?;
        self.published = self.encoder.sequence();
        Ok(())
    }

    /// Ends the recovery; says how many messages of the log were replayed and had to be written again.
    pub fn end_recovery(&mut self) -> Recovered {
        self.log.end_recovery()
    }

    /// Takes what was released, sends what it makes, answers re-requests, keeps the heartbeat. Returns how
    /// many events, packets and requests it handled. Never waits. After a [`Self::failure`] it does nothing.
    pub fn poll(&mut self, now: Nanos) -> usize {
        self.poll_observed(now, &mut |_| {})
    }

    /// As [`Feed::poll`]; `observe` is called for each event that left, with the ticks since a gateway had read the
    /// message that caused it.
    pub fn poll_observed(&mut self, now: Nanos, observe: &mut impl FnMut(u64)) -> usize {
        if self.failure.is_some() {
            return 0;
        }
        self.try_poll(now, observe).unwrap_or_else(|failure| {
            self.failure = Some(failure);
            0
        })
    }

    /// Why the feed stands still: its log failed. The node has to stop releasing.
    #[must_use]
    pub fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// The number of the next ITCH message in the day's session.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.encoder.sequence()
    }

    /// The encoder, for whoever continues from the same state (the service role's follower).
    #[must_use]
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// A reading end for any thread.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// What it did so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn try_poll(&mut self, now: Nanos, observe: &mut impl FnMut(u64)) -> Result<usize, Error> {
        let mut work = 0;
        while work < self.config.events_max
            && let Ok(outbound) = self.from_release.pop()
        {
            if matches!(outbound.event.body, EventBody::DayOpened(_)) {
                self.end_session(now)?;
            }
            self.counters.events += 1;
            let messages = self.take(&outbound.event)?;
            self.counters.messages += messages;
            if messages > 0 && outbound.received > 0 && self.unsent.len() < UNSENT_MAX {
                self.unsent.push(outbound.received);
            }
            work += 1;
        }
        work += self.publish(now, self.config.packets_max, !self.from_release.is_empty())?;
        self.heartbeat(now);
        // Even if nothing was sent: something of before may wait for room.
        self.datagrams.flush();
        if self.published == self.encoder.sequence() && !self.unsent.is_empty() {
            let sent = ticks();
            self.unsent.drain(..).for_each(|received| observe(sent.saturating_sub(received)));
        }
        // To ask the kernel for requests is a system call: once in a reading of the thread's clock.
        if self.asked_at != Some(now) {
            let answered = self.answer_requests()?;
            self.asked_at = (answered < self.config.requests_max).then_some(now);
            work += answered;
        }
        Ok(work)
    }

    /// Encodes into the log; returns how many messages.
    fn take(&mut self, event: &Event) -> Result<u64, Error> {
        if let EventBody::DayOpened(day) = &event.body {
            self.day.start(day, &mut self.log)?;
            self.today = self.channel.open();
            assert!(self.today.is_some(), "a day that was just started is open");
            self.published = 1;
        }
        let (log, mut count, mut failure) = (&mut self.log, 0, None);
        self.encoder.encode(event, &mut |message| {
            if failure.is_none() {
                failure = log.append(STREAM, message).err();
                count += 1;
            }
        });
        match failure {
            Some(failure) => Err(failure.into()),
            None => {
                assert_eq!(self.log.next_number(STREAM), self.encoder.sequence(), "the log numbers as we do");
                Ok(count)
            }
        }
    }

    /// Sends what is in the log, at most `packets_max` packets; returns how many. With `only_full` the last
    /// packet waits to be filled, because more events are at hand.
    fn publish(&mut self, now: Nanos, packets_max: usize, only_full: bool) -> Result<usize, Error> {
        let Some(today) = &mut self.today else { return Ok(0) };
        let mut packets = 0;
        while self.published < self.encoder.sequence() && packets < packets_max {
            let filled = fill(today, self.published, u16::MAX, &mut self.packet)?;
            assert!(filled.count > 0, "what was numbered is in the log and fits a packet");
            if only_full && !filled.is_full {
                break;
            }
            let sent = self.datagrams.multicast(&self.packet[..filled.len]);
            count(&mut self.counters, sent);
            self.sent_at = Some(now);
            self.published += u64::from(filled.count);
            packets += 1;
        }
        Ok(packets)
    }

    /// Sends the rest of the present session and says that it is over. Whoever misses that learns it from
    /// the next session's first packet.
    fn end_session(&mut self, now: Nanos) -> Result<(), Error> {
        let Some(session) = self.today.as_ref().map(|today| today.session) else { return Ok(()) };
        self.publish(now, usize::MAX, false)?;
        let end = Header::end_of_session(session, self.encoder.sequence());
        let sent = self.datagrams.multicast(end.as_bytes());
        count(&mut self.counters, sent);
        Ok(())
    }

    fn heartbeat(&mut self, now: Nanos) {
        let Some(session) = self.today.as_ref().map(|today| today.session) else { return };
        let is_due = self.sent_at.is_none_or(|sent| now.0.saturating_sub(sent.0) >= self.config.heartbeat.0);
        if is_due && self.published == self.encoder.sequence() {
            let heartbeat = Header::heartbeat(session, self.published);
            let sent = self.datagrams.multicast(heartbeat.as_bytes());
            count(&mut self.counters, sent);
            self.counters.heartbeats += u64::from(sent.is_ok());
            self.sent_at = Some(now);
        }
    }

    fn answer_requests(&mut self) -> Result<usize, Error> {
        let mut buffer = [0; REQUEST_BUFFER_SIZE];
        let mut requests = 0;
        while requests < self.config.requests_max
            && let Some((len, from)) = self.datagrams.receive(&mut buffer)
        {
            requests += 1;
            if let Some(answer) = self.rerequests.answer(&buffer[..len])?
                && self.datagrams.unicast(answer, from).is_ok()
            {
                self.counters.answers += 1;
            }
        }
        self.counters.requests += requests as u64;
        Ok(requests)
    }
}

fn count(counters: &mut Counters, sent: Result<(), ErrorKind>) {
    match sent {
        Ok(()) => counters.packets += 1,
        Err(kind) => {
            counters.packets_dropped += 1;
            counters.dropped_because = Some(kind);
        }
    }
}
