//! The primary's end of the link: frames go out, acknowledgements come in.
//!
//! One link for one connection. It sends from the [`Backlog`]; what is older is asked of the driver, which reads it from
//! the journal. It makes no difference to the standby.

use ironbell_record::{Executed, FrameCopy, Point};
use ironbell_types::{Nanos, Seq};

use crate::backlog::Backlog;
use crate::commit::Reached;
use crate::message::{Ack, FRAME_HEAD_BYTES, FrameHead, HEAD_BYTES, Message, begin_frame};
use crate::throttle::Throttle;

/// How a link behaves.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// After this long without a frame a keep-alive is sent.
    pub keep_alive: Nanos,
    /// The most bytes a second that are sent of what is read from the disk, for a standby that is behind.
    pub catch_up_bytes_per_s: u64,
}

/// What the link would do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: all is sent, or the buffer is full.
    Nothing,
    /// It needs the frame of this number from the journal, and those behind it ([`Link::catch_up`]).
    Journal(u64),
}

/// An acknowledgement that cannot be: the standby's history is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the standby acknowledges {acknowledged}, which is not of this history: {known} is")]
pub struct NotOurs {
    /// What it says.
    pub acknowledged: Point,
    /// What we have there, or our end.
    pub known: Point,
}

/// How far the standby is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// Commands that its disk lacks.
    pub commands: u64,
    /// Bytes of them; `None` when they are more than the backlog keeps.
    pub bytes: Option<u64>,
    /// How long ago its disk had everything.
    pub time: Nanos,
}

/// A standby as its primary sees it.
#[derive(Debug)]
pub struct Link {
    config: Config,
    epoch: u64,
    /// Number of the next frame to send.
    next: u64,
    /// The end of what was sent.
    sent: Point,
    sent_at: Nanos,
    /// The last acknowledgement of this epoch.
    acked: Option<Ack>,
    /// When the standby's disk last had everything.
    whole_at: Nanos,
    /// Of what is read from the journal.
    throttle: Throttle,
}

impl Link {
    /// A link to a standby whose history goes on at `from`; puts the message that says so into `out`.
    pub fn new(config: Config, epoch: u64, from: Point, now: Nanos, out: &mut Vec<u8>) -> Self {
        assert!(epoch > 0, "who leads has an epoch");
        Message::Follow { epoch, from }.encode(out);
        Self {
            config,
            epoch,
            next: from.frames,
            sent: from,
            sent_at: now,
            acked: None,
            whole_at: now,
            throttle: Throttle::new(config.catch_up_bytes_per_s, now),
        }
    }

    /// The primary has taken another epoch: what was acknowledged before counts no more, nor does any permission.
    ///
    /// # Panics
    /// When it is no higher one.
    pub fn begin_epoch(&mut self, epoch: u64, out: &mut Vec<u8>) {
        assert!(epoch > self.epoch, "epoch {epoch} follows epoch {}", self.epoch);
        self.epoch = epoch;
        self.acked = None;
        Message::Follow { epoch, from: self.sent }.encode(out);
    }

    /// Puts what there is to send into `out`, as long as that holds fewer than `bytes_max` bytes; a keep-alive when it is
    /// time. Says what is missing.
    pub fn poll(
        &mut self,
        backlog: &Backlog,
        commit: Seq,
        now: Nanos,
        bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> Next {
        while out.len() < bytes_max {
            let Some(kept) = backlog.get(self.next) else { break };
            let head = FrameHead { epoch: self.epoch, number: self.next, sent_at: now, commit };
            begin_frame(&head, kept.encoded.len(), out);
            out.extend_from_slice(kept.encoded);
            self.sent_frame(kept.point, now);
        }
        if now.0 >= self.sent_at.0 + self.config.keep_alive.0 && out.len() < bytes_max {
            let appended = backlog.last().seq;
            Message::KeepAlive { epoch: self.epoch, sent_at: now, commit, appended }.encode(out);
            self.sent_at = now;
        }
        if self.next < backlog.oldest() && out.len() < bytes_max && self.throttle.is_open(now) {
            return Next::Journal(self.next);
        }
        Next::Nothing
    }

    /// Sends a frame that was read from the journal, when it is the next one; says whether it was.
    pub fn catch_up(&mut self, copy: &FrameCopy<'_>, commit: Seq, now: Nanos, out: &mut Vec<u8>) -> bool {
        let is_next = copy.header().is_ok_and(|header| header.previous == self.sent.hash);
        if !is_next {
            return false;
        }
        let head = FrameHead { epoch: self.epoch, number: self.next, sent_at: now, commit };
        Message::Frame(head, *copy).encode(out);
        self.throttle.spend((HEAD_BYTES + FRAME_HEAD_BYTES + copy.encoded_bytes()) as u64);
        self.sent_frame(copy.point(self.next).expect("its header was read"), now);
        true
    }

    fn sent_frame(&mut self, point: Point, now: Nanos) {
        self.next += 1;
        self.sent = point;
        self.sent_at = now;
    }

    /// Takes note of an acknowledgement. One of another epoch means nothing; one that says less than one before it
    /// came late.
    ///
    /// # Errors
    /// [`NotOurs`]: stop, and raise an alarm.
    pub fn ack(&mut self, ack: &Ack, backlog: &Backlog, now: Nanos) -> Result<(), NotOurs> {
        if ack.epoch != self.epoch {
            return Ok(());
        }
        for point in [ack.received, ack.durable] {
            let known =
                backlog.point(point.frames).or((point.frames > self.sent.frames).then_some(self.sent));
            if let Some(known) = known.filter(|known| *known != point) {
                return Err(NotOurs { acknowledged: point, known });
            }
        }
        let latest = self.acked.get_or_insert(Ack { echo: Nanos(0), ..*ack });
        if ack.received.frames > latest.received.frames {
            latest.received = ack.received;
        }
        if ack.durable.frames > latest.durable.frames {
            latest.durable = ack.durable;
        }
        if ack.applied.seq > latest.applied.seq {
            latest.applied = ack.applied;
        }
        // Nobody has heard what was not sent yet.
        latest.echo = latest.echo.max(ack.echo.min(self.sent_at));
        if latest.durable.frames == backlog.last().frames {
            self.whole_at = now;
        }
        Ok(())
    }

    /// The end of what was sent: what is read from the journal for [`catch_up`](Self::catch_up) stands behind it.
    #[must_use]
    pub fn sent(&self) -> Point {
        self.sent
    }

    /// The epoch in which acknowledgements count.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How far the standby has come, as it acknowledged in this epoch.
    #[must_use]
    pub fn reached(&self) -> Reached {
        self.acked.map_or(Reached::default(), |ack| Reached {
            received: ack.received.seq,
            durable: ack.durable.seq,
        })
    }

    /// The end of the history on the standby's disk, as it acknowledged in this epoch.
    #[must_use]
    pub fn durable(&self) -> Option<Point> {
        self.acked.map(|ack| ack.durable)
    }

    /// What the standby has executed, and its output hash.
    #[must_use]
    pub fn applied(&self) -> Option<Executed> {
        self.acked.map(|ack| ack.applied)
    }

    /// Until when a primary of a pair may release and serve reads: `permission` after the newest thing it sent that the
    /// standby has acknowledged in this epoch. `None` before the first acknowledgement: it may not.
    #[must_use]
    pub fn permission_end(&self, permission: Nanos) -> Option<Nanos> {
        self.acked.map(|ack| Nanos(ack.echo.0.saturating_add(permission.0)))
    }

    /// Whether the standby is fed from memory, not from the journal.
    #[must_use]
    pub fn is_live(&self, backlog: &Backlog) -> bool {
        self.next >= backlog.oldest()
    }

    /// How far the standby is behind.
    #[must_use]
    pub fn lag(&self, backlog: &Backlog, now: Nanos) -> Lag {
        let durable = self.acked.map(|ack| ack.durable);
        let frames = durable.map_or(0, |point| point.frames);
        let is_whole = frames == backlog.last().frames;
        Lag {
            commands: backlog.last().seq.0 - durable.map_or(0, |point| point.seq.0),
            bytes: backlog.bytes_from(frames),
            time: if is_whole { Nanos(0) } else { Nanos(now.0.saturating_sub(self.whole_at.0)) },
        }
    }
}
