//! What the service role serves by TCP, sans I/O: ITCH over SoupBinTCP from any number, and GLIMPSE.
//!
//! Both are one connection each: bytes in, time, bytes out. What is read comes from the feed's log and
//! from a [`Snapshot`], never from a running shard, and as fast as the member reads: **a slow member
//! lags in the log and holds up nobody**.

use ironbell_session::{
    Config, Login, Messages, Refusal, ServerEvent, ServerSession, Violation, first_number,
};
use ironbell_sessionlog::StreamReader;
use ironbell_types::{Nanos, Username};

use crate::{Channel, Snapshot, Today};

/// Who may log in. Market data is for every member, so that `None` of these lets everybody in; SoupBinTCP's
/// own text says that the credentials are there to stop a client from talking to the wrong server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Upper case, padded right.
    pub username: Username,
    /// Upper case, padded right.
    pub password: [u8; 10],
}

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// The member logged out.
    Logout,
    /// The login was refused.
    Refused(Refusal),
    /// The member broke the protocol, or was silent for too long.
    Violation(Violation),
    /// Everything was said: the snapshot is sent, or the day's session has ended.
    Done,
    /// What the member is owed cannot be read: the log is damaged, or its day is gone.
    Lost,
}

/// One connection and the memory of its last time.
#[derive(Debug)]
struct Line {
    server: ServerSession,
    credentials: Option<Credentials>,
    now: Nanos,
    over: Option<Over>,
}

impl Line {
    fn new(config: &Config, credentials: Option<Credentials>, now: Nanos) -> Self {
        Self { server: ServerSession::new(config, now), credentials, now, over: None }
    }

    /// Takes bytes and calls `login` for the login among them, which says how to answer: the session and
    /// the first number, or a refusal.
    fn receive(
        &mut self,
        mut bytes: &[u8],
        mut login: impl FnMut(&Login) -> Result<([u8; 10], u64), Refusal>,
    ) {
        while !bytes.is_empty() && self.over.is_none() {
            let space = self.server.space();
            let count = space.len().min(bytes.len());
            assert!(count > 0, "a full input holds a packet to take or to refuse");
            space[..count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            self.server.received(count, self.now);
            self.take_events(&mut login);
        }
    }

    fn take_events(&mut self, login: &mut impl FnMut(&Login) -> Result<([u8; 10], u64), Refusal>) {
        loop {
            match self.server.next() {
                Ok(None) => return,
                Ok(Some(ServerEvent::Login(asked))) => {
                    let may = self.credentials.is_none_or(|credentials| {
                        credentials.username == asked.username && credentials.password == asked.password
                    });
                    match if may { login(&asked) } else { Err(Refusal::NotAuthorized) } {
                        Ok((session, first)) => self.server.accept(session, first),
                        Err(refusal) => {
                            self.server.refuse(refusal);
                            self.over = Some(Over::Refused(refusal));
                        }
                    }
                }
                // There is nothing to ask of market data, and a debug packet is for people.
                Ok(Some(ServerEvent::Message(_) | ServerEvent::Debug(_))) => {}
                Ok(Some(ServerEvent::Logout)) => self.over = Some(Over::Logout),
                Err(violation) => {
                    self.over = Some(Over::Violation(violation));
                    return;
                }
            }
        }
    }

    fn time(&mut self, now: Nanos) {
        self.now = now;
        if self.over.is_none()
            && let Err(violation) = self.server.on_time(now)
        {
            self.over = Some(Over::Violation(violation));
        }
    }

    fn is_up(&self) -> bool {
        self.over.is_none() && self.server.is_up()
    }

    /// Ends the session for good behind what is in the output.
    fn end(&mut self) {
        self.server.end_session();
        self.over = Some(Over::Done);
    }

    fn is_over(&self) -> bool {
        match self.over {
            None => false,
            // The end of session may still wait for room in the output.
            Some(Over::Done) => self.server.is_finished(),
            Some(_) => true,
        }
    }
}

/// The day's ITCH session for one member: from any number on, then live.
#[derive(Debug)]
pub struct ItchSession {
    line: Line,
    channel: Channel,
    day: Option<Day>,
}

#[derive(Debug)]
struct Day(Today);

impl Messages for Day {
    type Error = ironbell_sessionlog::Error;

    fn message(&mut self, number: u64) -> Result<Option<&[u8]>, Self::Error> {
        self.0.log.message(number)
    }
}

impl ItchSession {
    /// For a connection that was accepted at `now`. A login is refused with `S` while no day is open, for
    /// another session than the present one, and for a number beyond the next one.
    #[must_use]
    pub fn new(config: &Config, credentials: Option<Credentials>, channel: Channel, now: Nanos) -> Self {
        Self { line: Line::new(config, credentials, now), channel, day: None }
    }

    /// Bytes came in.
    pub fn receive(&mut self, bytes: &[u8]) {
        let Self { line, channel, day } = self;
        line.receive(bytes, |login| {
            let today = channel.open().ok_or(Refusal::NoSession)?;
            let newest = today.log.newest().map_err(|_| Refusal::NoSession)?;
            let (session, first) = (today.session, first_number(login, &today.session, newest)?);
            *day = Some(Day(today));
            Ok((session, first))
        });
    }

    /// Time passes; what the log has for the member becomes output, as much as there is room for. When
    /// the next day begins this session ends; a member who had not heard all of it is cut off instead.
    pub fn poll(&mut self, now: Nanos) {
        self.line.time(now);
        let Some(day) = self.day.as_mut().filter(|_| self.line.is_up()) else { return };
        if self.line.server.fill(day).is_err() {
            self.line.over = Some(Over::Lost);
        } else if let Some(count) = self.channel.ended_at(&day.0) {
            if self.line.server.next_number() == count + 1 {
                self.line.end();
            } else {
                self.line.over = Some(Over::Lost);
            }
        }
    }

    /// Bytes to be sent.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        self.line.server.output()
    }

    /// The first `count` bytes of the output are sent.
    pub fn sent(&mut self, count: usize) {
        self.line.server.sent(count, self.line.now);
    }

    /// Whether the connection is to be closed once the output is sent.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.line.is_over()
    }

    /// Why it is over; `None` while it is not.
    #[must_use]
    pub fn over(&self) -> Option<Over> {
        self.line.over
    }
}

/// One snapshot for one member: the state, the number to go on from, and the end of the session.
///
/// The follower that makes snapshots may be a moment ahead of the feed. The end of snapshot therefore waits
/// until the feed's log has everything before its number, so that whoever goes on there is let in.
#[derive(Debug)]
pub struct GlimpseSession<F> {
    line: Line,
    channel: Channel,
    make: F,
    snapshot: Option<Pages>,
}

/// A snapshot of which as much may be read as the feed's log has reached.
#[derive(Debug)]
struct Pages {
    snapshot: Snapshot,
    log: StreamReader,
}

impl Messages for Pages {
    type Error = ironbell_sessionlog::Error;

    fn message(&mut self, number: u64) -> Result<Option<&[u8]>, Self::Error> {
        let is_last = number == self.snapshot.message_count();
        if is_last && self.log.newest()? + 1 < self.snapshot.sequence() {
            return Ok(None);
        }
        Ok(self.snapshot.message(number))
    }
}

impl<F: FnMut() -> Option<Snapshot>> GlimpseSession<F> {
    /// For a connection that was accepted at `now`. `make` is called once, when the member logs in.
    ///
    /// A login is refused with `S` while no day is open, for another session than the present one, and
    /// when it does not ask for number 1 (GLIMPSE 5.0, login).
    #[must_use]
    pub fn new(
        config: &Config,
        credentials: Option<Credentials>,
        channel: Channel,
        make: F,
        now: Nanos,
    ) -> Self {
        Self { line: Line::new(config, credentials, now), channel, make, snapshot: None }
    }

    /// Bytes came in.
    pub fn receive(&mut self, bytes: &[u8]) {
        let Self { line, channel, make, snapshot: pages } = self;
        line.receive(bytes, |login| {
            let Today { session, log, .. } = channel.open().ok_or(Refusal::NoSession)?;
            if login.sequence != 1 || first_number(login, &session, 0)? != 1 {
                return Err(Refusal::NoSession);
            }
            let snapshot =
                make().filter(|snapshot| snapshot.session() == session).ok_or(Refusal::NoSession)?;
            *pages = Some(Pages { snapshot, log });
            Ok((session, 1))
        });
    }

    /// Time passes; as much of the snapshot becomes output as there is room for, and the end behind it.
    pub fn poll(&mut self, now: Nanos) {
        self.line.time(now);
        let Some(pages) = self.snapshot.as_mut().filter(|_| self.line.is_up()) else { return };
        if self.line.server.fill(pages).is_err() {
            self.line.over = Some(Over::Lost);
        } else if self.line.server.next_number() > pages.snapshot.message_count() {
            self.line.end();
        } else if self.channel.session().is_some_and(|present| present != pages.snapshot.session()) {
            // Its end would point into a session that is gone.
            self.line.over = Some(Over::Lost);
        }
    }

    /// Bytes to be sent.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        self.line.server.output()
    }

    /// The first `count` bytes of the output are sent.
    pub fn sent(&mut self, count: usize) {
        self.line.server.sent(count, self.line.now);
    }

    /// Whether the connection is to be closed once the output is sent.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.line.is_over()
    }

    /// Why it is over; `None` while it is not.
    #[must_use]
    pub fn over(&self) -> Option<Over> {
        self.line.over
    }
}
