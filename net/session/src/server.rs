//! The venue's end.

use ironbell_types::{Nanos, Username};
use ironbell_wire::IntoBytes;
use ironbell_wire::soup::{self, LoginAccepted, LoginRejected, LoginRequest, Packet};

use crate::link::Link;
use crate::{Config, Messages, Violation};

/// What a client asks to be let in with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Login {
    /// Upper case, padded right.
    pub username: Username,
    /// Upper case, padded right.
    pub password: [u8; 10],
    /// The session asked for, padded right; `None` is the current one.
    pub session: Option<[u8; 10]>,
    /// The next message wanted; 0 is the most recent one.
    pub sequence: u64,
}

/// Why a client is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// User name or password is wrong.
    #[error("not authorized")]
    NotAuthorized,
    /// The session asked for is not the current one, or has not told that much yet.
    #[error("session not available")]
    NoSession,
}

/// The number of the first message that a login gets: `session` is the current one, and `newest` the
/// number of its newest message, 0 when there is none.
///
/// SoupBinTCP 3.00, section 2.2.1 (Login Request): a blank session is the current one; sequence number 0
/// starts with the most recent message. The text is silent on a number above newest + 1: a client that
/// asks for it has seen messages that we have not sent, so it is refused rather than left to wait.
///
/// # Errors
/// [`Refusal::NoSession`].
pub fn first_number(login: &Login, session: &[u8; 10], newest: u64) -> Result<u64, Refusal> {
    if login.session.is_some_and(|asked| asked.trim_ascii() != session.trim_ascii()) {
        return Err(Refusal::NoSession);
    }
    match login.sequence {
        0 => Ok(newest.max(1)),
        number if number <= newest + 1 => Ok(number),
        _ => Err(Refusal::NoSession),
    }
}

/// What a client did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerEvent<'a> {
    /// It wants to be let in: answer with [`ServerSession::accept`] or [`ServerSession::refuse`]. Until
    /// then nothing more is taken from it.
    Login(Login),
    /// An unsequenced message.
    Message(&'a [u8]),
    /// Text for people.
    Debug(&'a [u8]),
    /// It goes. Nothing more is taken from it; close.
    Logout,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No login yet.
    Fresh,
    /// A login waits for its answer.
    Asked,
    /// Let in.
    Up,
    /// Let in, and told that the session ends as soon as there is room to say so.
    Ending,
    /// What is in the output is the last of it.
    Over,
}

/// The venue's end of one connection. It allocates only in [`ServerSession::new`].
#[derive(Debug)]
pub struct ServerSession {
    link: Link,
    state: State,
    /// Number of the next sequenced packet.
    next_number: u64,
}

impl ServerSession {
    /// For a connection that was accepted at `now`.
    #[must_use]
    pub fn new(config: &Config, now: Nanos) -> Self {
        Self { link: Link::new(config, now), state: State::Fresh, next_number: 0 }
    }

    /// As new, for another connection; keeps its buffers.
    pub fn reset(&mut self, now: Nanos) {
        self.link.reset(now);
        (self.state, self.next_number) = (State::Fresh, 0);
    }

    /// Where to read to. Empty when the input is full: take events first.
    pub fn space(&mut self) -> &mut [u8] {
        self.link.space()
    }

    /// `count` bytes were read to the start of [`ServerSession::space`].
    ///
    /// # Panics
    /// When that is more than there was space for.
    pub fn received(&mut self, count: usize, now: Nanos) {
        self.link.received(count, now);
    }

    /// The next thing the client did; `None` when there is nothing more now.
    ///
    /// # Errors
    /// A [`Violation`]: close.
    #[expect(clippy::should_implement_trait, reason = "it lends from the input buffer, as no Iterator can")]
    pub fn next(&mut self) -> Result<Option<ServerEvent<'_>>, Violation> {
        let is_up = match self.state {
            State::Fresh => false,
            State::Up => true,
            State::Asked | State::Ending | State::Over => return Ok(None),
        };
        let Some(packet) = self.link.next_packet(&soup::CLIENT_HEARTBEAT)? else { return Ok(None) };
        match packet {
            Packet::UnsequencedData(message) if is_up => Ok(Some(ServerEvent::Message(message))),
            Packet::Debug(text) => Ok(Some(ServerEvent::Debug(text))),
            Packet::LoginRequest(request, _) if !is_up => {
                let login = read_login(request)?;
                self.state = State::Asked;
                Ok(Some(ServerEvent::Login(login)))
            }
            Packet::LogoutRequest => {
                self.state = State::Over;
                Ok(Some(ServerEvent::Logout))
            }
            other => Err(Violation::Unexpected(type_of(&other))),
        }
    }

    /// Lets the client in to `session`; its next sequenced message is `first`, from [`first_number`].
    ///
    /// # Panics
    /// When no login waits for an answer, or `first` is 0.
    pub fn accept(&mut self, session: [u8; 10], first: u64) {
        assert_eq!(self.state, State::Asked, "only a login is accepted");
        assert!(first > 0, "messages are numbered from 1");
        let has_room = self.link.put(LoginAccepted::new(session, first).as_bytes());
        assert!(has_room, "the answer to a login is the first output of a connection");
        (self.state, self.next_number) = (State::Up, first);
    }

    /// Does not let the client in. Close once the output is written.
    ///
    /// # Panics
    /// When no login waits for an answer.
    pub fn refuse(&mut self, refusal: Refusal) {
        assert_eq!(self.state, State::Asked, "only a login is refused");
        let reason = match refusal {
            Refusal::NotAuthorized => LoginRejected::NOT_AUTHORIZED,
            Refusal::NoSession => LoginRejected::NO_SESSION,
        };
        let has_room = self.link.put(LoginRejected::new(reason).as_bytes());
        assert!(has_room, "the answer to a login is the first output of a connection");
        self.state = State::Over;
    }

    /// Sends message `number` if the client is at it and there is room. Otherwise the client gets it from
    /// [`ServerSession::fill`] when its turn comes.
    pub fn offer(&mut self, number: u64, message: &[u8]) -> bool {
        if self.state != State::Up || number != self.next_number {
            return false;
        }
        self.put_sequenced(message)
    }

    /// Sends what there is from the client's place on, as much as there is room for. Returns how many.
    ///
    /// # Errors
    /// When a message is lost; the client can get nothing behind it.
    pub fn fill<M: Messages>(&mut self, messages: &mut M) -> Result<u64, M::Error> {
        let first = self.next_number;
        while self.state == State::Up {
            let Some(message) = messages.message(self.next_number)? else { break };
            if !self.put_sequenced(message) {
                break;
            }
        }
        Ok(self.next_number - first)
    }

    fn put_sequenced(&mut self, message: &[u8]) -> bool {
        let has_put = self.link.put_payload(message, soup::put_sequenced);
        self.next_number += u64::from(has_put);
        has_put
    }

    /// Sends text for people, unless the output is full or the client is not let in: it may be lost.
    pub fn debug(&mut self, text: &[u8]) -> bool {
        let text = &text[..text.len().min(self.link.config.output_size / 4)];
        self.state == State::Up && self.link.put_payload(text, soup::put_debug)
    }

    /// The session is over for good: says so behind what is in the output, and takes nothing more.
    pub fn end_session(&mut self) {
        self.state = match self.state {
            State::Up | State::Ending => State::Ending,
            State::Fresh | State::Asked | State::Over => State::Over,
        };
        self.say_the_end();
    }

    fn say_the_end(&mut self) {
        if self.state == State::Ending && self.link.put(&soup::END_OF_SESSION) {
            self.state = State::Over;
        }
    }

    /// What time brings: a heartbeat when we were silent, an end when the client was.
    ///
    /// # Errors
    /// [`Violation::LoginTimeout`] and [`Violation::IdleTimeout`]: close.
    pub fn on_time(&mut self, now: Nanos) -> Result<(), Violation> {
        match self.state {
            State::Fresh if now.0.saturating_sub(self.link.started.0) >= self.link.config.login_max.0 => {
                return Err(Violation::LoginTimeout);
            }
            // The answer to a login is our affair; a refused or ended client has its output to read.
            State::Fresh | State::Asked => {}
            State::Up => {
                self.link.check_idle(now)?;
                self.link.beat(&soup::SERVER_HEARTBEAT, now);
            }
            State::Ending | State::Over => {
                self.link.check_idle(now)?;
                self.say_the_end();
            }
        }
        Ok(())
    }

    /// What is to be written now.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        self.link.output()
    }

    /// `count` bytes of [`ServerSession::output`] were written.
    ///
    /// # Panics
    /// When that is more than there was.
    pub fn sent(&mut self, count: usize, now: Nanos) {
        self.link.sent(count, now);
        self.say_the_end();
    }

    /// Whether a login was accepted and nothing ended it since.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// Whether nothing more will happen: the connection can be closed.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.state == State::Over && self.link.output().is_empty()
    }

    /// The number of the next sequenced packet; 0 before the login.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.next_number
    }
}

fn read_login(request: &LoginRequest) -> Result<Login, Violation> {
    let mut session = [b' '; 10];
    let asked = request.session();
    session[..asked.len()].copy_from_slice(asked);
    Ok(Login {
        username: Username(request.username()),
        password: request.password(),
        session: (!asked.is_empty()).then_some(session),
        sequence: request.sequence().map_err(Violation::Malformed)?,
    })
}

pub(crate) fn type_of(packet: &Packet<'_>) -> u8 {
    match packet {
        Packet::Debug(_) => b'+',
        Packet::LoginAccepted(_) => b'A',
        Packet::LoginRejected(_) => b'J',
        Packet::SequencedData(_) => b'S',
        Packet::ServerHeartbeat => b'H',
        Packet::EndOfSession => b'Z',
        Packet::LoginRequest(..) => b'L',
        Packet::UnsequencedData(_) => b'U',
        Packet::ClientHeartbeat => b'R',
        Packet::LogoutRequest => b'O',
    }
}
