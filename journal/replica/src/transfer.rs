//! A snapshot on its way to a standby that the journal does not reach back to, and with it what members and the market
//! were told up to there.
//!
//! ```text
//!  primary                                standby
//!        ◀──────────────────────────────── Hello{asks: Snapshot}
//!  Hello ────────────────────────────────▶
//!  Snapshot{bytes}, Part, Part … ────────▶          the file, its body plain
//!  Tail{number, copy} ───────────────────▶          the frame that it stands behind
//!  Stream, Told … Stream, Told … ────────▶          of the session log, then of the feed's: numbered from 1
//!  SnapshotEnd{last, streams} ───────────▶          checked, made a journal that begins there, and started from;
//!        ◀─────────────────────────────── Taken …   then it says hello again, and asks for frames
//! ```
//!
//! Nothing of it counts before all of it is there. The live stream has a link of its own time: who is sent a snapshot
//! follows nobody, and what is read for it is throttled as catch-up is.

use ironbell_record::{FrameCopy, Point};
use ironbell_types::{Nanos, Seq};

use crate::message::{Message, Refusal, Stream, Told};
use crate::primary::Config;
use crate::standby::Fault;
use crate::throttle::Throttle;

/// The primary's end: when to send more.
#[derive(Debug)]
pub struct Giving {
    config: Config,
    throttle: Throttle,
    sent_at: Nanos,
}

impl Giving {
    /// From `now` on.
    #[must_use]
    pub fn new(config: Config, now: Nanos) -> Self {
        Self { config, throttle: Throttle::new(config.catch_up_bytes_per_s, now), sent_at: now }
    }

    /// Whether the next message may be sent.
    pub fn may_send(&mut self, now: Nanos) -> bool {
        self.throttle.is_open(now)
    }

    /// It was, and is so long.
    pub fn sent(&mut self, bytes: usize, now: Nanos) {
        self.throttle.spend(bytes as u64);
        self.sent_at = now;
    }

    /// Puts a keep-alive into `out` when it is time: the disk may be slow.
    pub fn keep_alive(&mut self, epoch: u64, commit: Seq, appended: Seq, now: Nanos, out: &mut Vec<u8>) {
        if now.0 >= self.sent_at.0 + self.config.keep_alive.0 {
            Message::KeepAlive { epoch, sent_at: now, commit, appended }.encode(out);
            self.sent_at = now;
        }
    }
}

/// What came, and what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came<'a> {
    /// Nothing that needs doing.
    Nothing,
    /// A snapshot of so many bytes begins.
    Begins {
        /// How many.
        bytes: u64,
    },
    /// Its next bytes.
    Part(&'a [u8]),
    /// The frame of this number, behind which it stands.
    Frame(u64, FrameCopy<'a>),
    /// A stream begins.
    Stream(Stream),
    /// Its next messages.
    Told(Told<'a>),
    /// All of it is there.
    Whole(Point),
    /// The primary has none to send.
    Refused(Refusal),
}

/// The standby's end: that everything comes, once and in order.
#[derive(Debug)]
pub struct Taking {
    stage: Stage,
    /// The stream that came last, and how many of its messages are still to come.
    stream: Option<(Stream, u64)>,
    streams: u64,
    bytes: u64,
    told_at: Nanos,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Begin,
    Snapshot { bytes: u64, came: u64 },
    Frame,
    Streams(Point),
    Whole,
}

/// The standby says this often how much has come.
const TELL_EVERY: Nanos = Nanos(100_000_000);

impl Taking {
    /// Nothing has come.
    #[must_use]
    pub fn new(now: Nanos) -> Self {
        Self { stage: Stage::Begin, stream: None, streams: 0, bytes: 0, told_at: now }
    }

    /// Takes a message of the primary.
    ///
    /// # Errors
    /// [`Fault::Protocol`]: drop all that came, tell the peer and end the link.
    pub fn receive<'a>(&mut self, message: &Message<'a>) -> Result<Came<'a>, Fault> {
        match *message {
            Message::KeepAlive { .. } => Ok(Came::Nothing),
            Message::Refused { why, .. } => Ok(Came::Refused(why)),
            Message::Snapshot { bytes } if self.stage == Stage::Begin && bytes > 0 => {
                self.stage = Stage::Snapshot { bytes, came: 0 };
                Ok(Came::Begins { bytes })
            }
            Message::Part { offset, bytes } => self.part(offset, bytes),
            Message::Tail(number, copy) if self.stage == Stage::Frame => {
                let point = copy.point(number).map_err(|_| Fault::Protocol("a frame that is none"))?;
                self.stage = Stage::Streams(point);
                Ok(Came::Frame(number, copy))
            }
            Message::Stream(stream) if matches!(self.stage, Stage::Streams(_)) => self.stream(stream),
            Message::Told(told) => self.told(told),
            Message::SnapshotEnd { last, streams } => self.end(last, streams),
            _ => Err(Fault::Protocol("only what a snapshot is sent by does")),
        }
    }

    fn part<'a>(&mut self, offset: u64, part: &'a [u8]) -> Result<Came<'a>, Fault> {
        let Stage::Snapshot { bytes, came } = self.stage else {
            return Err(Fault::Protocol("a part of no snapshot"));
        };
        let end = came + part.len() as u64;
        if offset != came || part.is_empty() || end > bytes {
            return Err(Fault::Protocol("a part that is not the snapshot's next"));
        }
        self.stage = if end == bytes { Stage::Frame } else { Stage::Snapshot { bytes, came: end } };
        self.bytes += part.len() as u64;
        Ok(Came::Part(part))
    }

    fn stream(&mut self, stream: Stream) -> Result<Came<'static>, Fault> {
        if let Some((last, left)) = self.stream
            && (left > 0 || (last.log, last.stream) >= (stream.log, stream.stream))
        {
            return Err(Fault::Protocol("a stream before the one before it is over, or a second time"));
        }
        self.stream = Some((stream, stream.messages));
        self.streams += 1;
        Ok(Came::Stream(stream))
    }

    fn told<'a>(&mut self, told: Told<'a>) -> Result<Came<'a>, Fault> {
        let left = self.stream.as_mut().map(|(_, left)| left);
        let left = left.ok_or(Fault::Protocol("messages of no stream"))?;
        let rest = left.checked_sub(told.messages().count() as u64);
        *left = rest.ok_or(Fault::Protocol("more messages than their stream has"))?;
        self.bytes += told.bytes() as u64;
        Ok(Came::Told(told))
    }

    fn end(&mut self, last: Point, streams: u64) -> Result<Came<'static>, Fault> {
        let is_whole = self.stage == Stage::Streams(last)
            && self.streams == streams
            && self.stream.is_none_or(|(_, left)| left == 0);
        if !is_whole {
            return Err(Fault::Protocol("an end before all of the snapshot is there"));
        }
        self.stage = Stage::Whole;
        Ok(Came::Whole(last))
    }

    /// Bytes that came: of the snapshot and of messages.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Puts into `out` how much has come, when it is time to say so; says whether it did. Said also when nothing has: the
    /// primary gives up a link that is silent.
    pub fn tell(&mut self, now: Nanos, out: &mut Vec<u8>) -> bool {
        if now.0 < self.told_at.0 + TELL_EVERY.0 {
            return false;
        }
        self.told_at = now;
        Message::Taken { bytes: self.bytes }.encode(out);
        true
    }
}
