//! Joining in the middle of a day, sans I/O: a GLIMPSE snapshot, then ITCH over SoupBinTCP from the number
//! that it ends with, spliced so that nothing is missing and nothing comes twice.

use ironbell_session::{ClientEvent, ClientSession, Config, Refusal, Violation};
use ironbell_types::Nanos;
use ironbell_wire::soup::LoginRequest;
use ironbell_wire::{DecodeError, glimpse};

/// Who logs in. SoupBinTCP: at most 6 and 10 printable ASCII characters.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: String,
}

/// What a [`LateJoiner`] delivers, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery<'a> {
    /// An ITCH message of the snapshot.
    Snapshot(&'a [u8]),
    /// An ITCH message of the stream with its number.
    Stream(u64, &'a [u8]),
}

/// Which connection the joiner works on. The first is to the GLIMPSE server; after
/// [`LateJoiner::wants_stream`] says so, the caller connects to the ITCH server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Snapshot,
    /// The snapshot is complete, and the stream's connection not made yet.
    Between,
    Stream,
    Over,
}

/// Why joining failed. Start over with a new joiner and empty books.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// The user name or password is longer than its field or not printable ASCII.
    #[error("the user name or password does not fit SoupBinTCP's fields")]
    Credentials,
    /// The server does not let us in.
    #[error("the login is refused: {0}")]
    Refused(Refusal),
    /// The server broke SoupBinTCP.
    #[error(transparent)]
    Violation(#[from] Violation),
    /// The server broke GLIMPSE.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// The stream starts at another number than the one asked for.
    #[error("the stream starts at {first}, not at {wanted}")]
    WrongStart {
        /// What we asked for.
        wanted: u64,
        /// Where it starts.
        first: u64,
    },
    /// The end of snapshot says to go on from number 0, which no message has.
    #[error("the end of snapshot names no message")]
    NoStart,
    /// The GLIMPSE session ended without its end of snapshot.
    #[error("the snapshot ended early")]
    SnapshotCutShort,
}

/// The two sessions, one after the other.
#[derive(Debug)]
pub struct LateJoiner {
    config: Config,
    credentials: Credentials,
    session: ClientSession,
    phase: Phase,
    /// The session's name as the GLIMPSE server gave it.
    name: [u8; 10],
    /// The number of the next message of the stream; 0 while it is not known.
    next: u64,
    snapshot_count: u64,
}

impl LateJoiner {
    /// A joiner whose connection to the GLIMPSE server was made at `now`.
    ///
    /// # Errors
    /// [`JoinError::Credentials`].
    pub fn new(config: Config, credentials: Credentials, now: Nanos) -> Result<Self, JoinError> {
        let mut session = ClientSession::new(&config, now);
        session.login(&request(&credentials, "", 1)?);
        Ok(Self {
            config,
            credentials,
            session,
            phase: Phase::Snapshot,
            name: [b' '; 10],
            next: 0,
            snapshot_count: 0,
        })
    }

    /// Whether the snapshot is complete and a connection to the ITCH server is to be made now. What is
    /// still to be sent on the first one may be dropped with it.
    #[must_use]
    pub fn wants_stream(&self) -> bool {
        self.phase == Phase::Between
    }

    /// The connection to the ITCH server was made at `now`: also after a loss of it, to go on.
    ///
    /// # Errors
    /// [`JoinError::Credentials`].
    ///
    /// # Panics
    /// While the snapshot is not complete.
    pub fn connected(&mut self, now: Nanos) -> Result<(), JoinError> {
        assert!(self.next > 0, "the snapshot says where the stream goes on");
        let name = core::str::from_utf8(&self.name).map_err(|_| JoinError::Credentials)?;
        let login = request(&self.credentials, name.trim(), self.next)?;
        self.session = ClientSession::new(&self.config, now);
        self.session.login(&login);
        self.phase = Phase::Stream;
        Ok(())
    }

    /// Where to read to from the present connection.
    pub fn space(&mut self) -> &mut [u8] {
        self.session.space()
    }

    /// `count` bytes were read to the start of [`Self::space`]; calls `deliver` with every message in them.
    ///
    /// # Errors
    /// [`JoinError`]: close.
    pub fn received(
        &mut self,
        count: usize,
        now: Nanos,
        deliver: &mut impl FnMut(Delivery<'_>),
    ) -> Result<(), JoinError> {
        self.session.received(count, now);
        loop {
            let Self { session, phase, name, next, snapshot_count, .. } = self;
            let Some(event) = session.next()? else { return Ok(()) };
            match (event, *phase) {
                (ClientEvent::Accepted { session, .. }, Phase::Snapshot) => *name = session,
                (ClientEvent::Accepted { first, .. }, Phase::Stream) if first == *next => {}
                (ClientEvent::Accepted { first, .. }, _) => {
                    return Err(JoinError::WrongStart { wanted: *next, first });
                }
                (ClientEvent::Refused(refusal), _) => return Err(JoinError::Refused(refusal)),
                (ClientEvent::Message { message, .. }, Phase::Snapshot) => {
                    match glimpse::Message::parse(message)? {
                        glimpse::Message::Itch(_) => {
                            *snapshot_count += 1;
                            deliver(Delivery::Snapshot(message));
                        }
                        glimpse::Message::EndOfSnapshot(end) => {
                            *next =
                                Some(end.sequence()?).filter(|&next| next > 0).ok_or(JoinError::NoStart)?;
                            *phase = Phase::Between;
                            self.session.logout();
                            return Ok(());
                        }
                    }
                }
                (ClientEvent::Message { number, message }, Phase::Stream) => {
                    *next = number + 1;
                    deliver(Delivery::Stream(number, message));
                }
                (ClientEvent::Ended, Phase::Snapshot) => return Err(JoinError::SnapshotCutShort),
                (ClientEvent::Ended, _) => *phase = Phase::Over,
                (ClientEvent::Message { .. }, Phase::Between | Phase::Over) => {}
                (ClientEvent::Unsequenced(_) | ClientEvent::Debug(_), _) => {}
            }
        }
    }

    /// What time brings: heartbeats and time-outs.
    ///
    /// # Errors
    /// [`JoinError::Violation`]: close.
    pub fn on_time(&mut self, now: Nanos) -> Result<(), JoinError> {
        Ok(self.session.on_time(now)?)
    }

    /// What is to be written to the present connection now.
    #[must_use]
    pub fn output(&self) -> &[u8] {
        self.session.output()
    }

    /// `count` bytes of [`Self::output`] were written.
    pub fn sent(&mut self, count: usize, now: Nanos) {
        self.session.sent(count, now);
    }

    /// Says that we go.
    pub fn logout(&mut self) -> bool {
        self.session.logout()
    }

    /// The number of the next message of the stream; 0 while the snapshot is not complete.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Messages of the snapshot so far, without its end.
    #[must_use]
    pub fn snapshot_count(&self) -> u64 {
        self.snapshot_count
    }

    /// The session that is followed, as its ten digits; spaces before the first login is accepted.
    #[must_use]
    pub fn session(&self) -> [u8; 10] {
        self.name
    }

    /// Whether the day's session has ended and everything of it was delivered.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }
}

fn request(credentials: &Credentials, session: &str, sequence: u64) -> Result<LoginRequest, JoinError> {
    LoginRequest::new(&credentials.username, &credentials.password, session, sequence)
        .ok_or(JoinError::Credentials)
}
