//! The member's end.

use ironbell_types::Nanos;
use ironbell_wire::IntoBytes;
use ironbell_wire::soup::{self, LoginRequest, Packet};

use crate::link::Link;
use crate::server::type_of;
use crate::{Config, Refusal, Violation};

/// What the venue said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientEvent<'a> {
    /// The login is accepted.
    Accepted {
        /// The session as it stood on the wire, padded on either side.
        session: [u8; 10],
        /// Number of the first message that will come.
        first: u64,
    },
    /// The login is refused; the venue closes.
    Refused(Refusal),
    /// The next message of the session.
    Message {
        /// Its number; the packets carry none, both ends count.
        number: u64,
        /// Its bytes.
        message: &'a [u8],
    },
    /// A message outside the sequence (SoupBinTCP 4.00 lets servers send them).
    Unsequenced(&'a [u8]),
    /// Text for people.
    Debug(&'a [u8]),
    /// The session has ended for good.
    Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Fresh,
    Asked,
    Up,
    Over,
}

/// The member's end of one connection. It allocates only in [`ClientSession::new`].
#[derive(Debug)]
pub struct ClientSession {
    link: Link,
    state: State,
    next_number: u64,
}

impl ClientSession {
    /// For a connection that was made at `now`.
    #[must_use]
    pub fn new(config: &Config, now: Nanos) -> Self {
        Self { link: Link::new(config, now), state: State::Fresh, next_number: 0 }
    }

    /// As new, for another connection; keeps its buffers.
    pub fn reset(&mut self, now: Nanos) {
        self.link.reset(now);
        (self.state, self.next_number) = (State::Fresh, 0);
    }

    /// Asks to be let in.
    ///
    /// # Panics
    /// When that was done before.
    pub fn login(&mut self, request: &LoginRequest) {
        assert_eq!(self.state, State::Fresh, "a connection logs in once");
        let has_room = self.link.put(request.as_bytes());
        assert!(has_room, "the login is the first output of a connection");
        self.state = State::Asked;
    }

    /// Where to read to. Empty when the input is full: take events first.
    pub fn space(&mut self) -> &mut [u8] {
        self.link.space()
    }

    /// `count` bytes were read to the start of [`ClientSession::space`].
    ///
    /// # Panics
    /// When that is more than there was space for.
    pub fn received(&mut self, count: usize, now: Nanos) {
        self.link.received(count, now);
    }

    /// The next thing the venue said; `None` when there is nothing more now.
    ///
    /// # Errors
    /// A [`Violation`]: close.
    #[expect(clippy::should_implement_trait, reason = "it lends from the input buffer, as no Iterator can")]
    pub fn next(&mut self) -> Result<Option<ClientEvent<'_>>, Violation> {
        if self.state == State::Over {
            return Ok(None);
        }
        let Some(packet) = self.link.next_packet(&soup::SERVER_HEARTBEAT)? else { return Ok(None) };
        match (packet, self.state) {
            (Packet::SequencedData(message), State::Up) => {
                let number = self.next_number;
                self.next_number += 1;
                Ok(Some(ClientEvent::Message { number, message }))
            }
            (Packet::UnsequencedData(message), State::Up) => Ok(Some(ClientEvent::Unsequenced(message))),
            (Packet::Debug(text), _) => Ok(Some(ClientEvent::Debug(text))),
            (Packet::LoginAccepted(accepted), State::Asked) => {
                let first = accepted.sequence().map_err(Violation::Malformed)?;
                (self.state, self.next_number) = (State::Up, first);
                Ok(Some(ClientEvent::Accepted { session: accepted.session, first }))
            }
            (Packet::LoginRejected(rejected), State::Asked) => {
                self.state = State::Over;
                let refusal = match rejected.reason {
                    soup::LoginRejected::NOT_AUTHORIZED => Refusal::NotAuthorized,
                    _ => Refusal::NoSession,
                };
                Ok(Some(ClientEvent::Refused(refusal)))
            }
            (Packet::EndOfSession, State::Up) => {
                self.state = State::Over;
                Ok(Some(ClientEvent::Ended))
            }
            (other, _) => Err(Violation::Unexpected(type_of(&other))),
        }
    }

    /// Sends an unsequenced message; false when there is no room for it now, or no login.
    pub fn send(&mut self, message: &[u8]) -> bool {
        self.state == State::Up && self.link.put_payload(message, soup::put_unsequenced)
    }

    /// Sends text for people; false when there is no room for it.
    pub fn debug(&mut self, text: &[u8]) -> bool {
        self.link.put_payload(text, soup::put_debug)
    }

    /// Says that we go; false when there is no room for it now. Close once the output is written.
    pub fn logout(&mut self) -> bool {
        let has_put = self.state == State::Over || self.link.put(&soup::LOGOUT_REQUEST);
        if has_put {
            self.state = State::Over;
        }
        has_put
    }

    /// What time brings: a heartbeat when we were silent, an end when the venue was.
    ///
    /// # Errors
    /// [`Violation::IdleTimeout`], and [`Violation::LoginTimeout`] when the login has no answer: close.
    pub fn on_time(&mut self, now: Nanos) -> Result<(), Violation> {
        match self.state {
            State::Asked if now.0.saturating_sub(self.link.started.0) >= self.link.config.login_max.0 => {
                Err(Violation::LoginTimeout)
            }
            State::Up => {
                self.link.beat(&soup::CLIENT_HEARTBEAT, now);
                self.link.check_idle(now)
            }
            State::Fresh | State::Asked | State::Over => Ok(()),
        }
    }

    /// What is to be written now.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        self.link.output()
    }

    /// `count` bytes of [`ClientSession::output`] were written.
    ///
    /// # Panics
    /// When that is more than there was.
    pub fn sent(&mut self, count: usize, now: Nanos) {
        self.link.sent(count, now);
    }

    /// Whether the login was accepted and nothing ended it since.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// Whether nothing more will come or go: the connection can be closed.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.state == State::Over && self.link.output().is_empty()
    }

    /// The number of the next message: what to ask for after a reconnect; 0 before the login.
    #[must_use]
    pub fn next_number(&self) -> u64 {
        self.next_number
    }
}
