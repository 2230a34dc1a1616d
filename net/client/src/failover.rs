//! A member of a venue of several nodes: it finds the one that answers, and goes on there by itself.
//!
//! When the connection breaks, or nobody answers on it, the next address is tried: at once until each was, then with pauses
//! that grow. The session is resumed at the number after the last message heard; what was not answered is sent again, under
//! the same numbers and in the same order, before anything new. So whatever was taken has its effect once and is heard of
//! once, and whatever was lost with a node is taken now. **The fate of an order in flight is the venue's answer under its
//! number, and there will be one**; whoever does not want it any more cancels it under its number.
//!
//! How soon a silent node is left is [`Config::idle_max`](ironbell_session::Config::idle_max) of the session.

use std::net::SocketAddr;

use ironbell_device::Stream as _;
use ironbell_device::kernel::{Connecting, Connection};
use ironbell_session::Config;
use ironbell_types::{Nanos, Username};

use crate::order_entry::{Error, Event, OrderEntry};

/// How patient it is. Times are in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For the TCP handshake with one address.
    pub connect_max: Nanos,
    /// For the answer to a login: a frozen node accepts connections and says nothing.
    pub login_max: Nanos,
    /// The pause after all addresses were tried in vain; it doubles each time …
    pub pause_min: Nanos,
    /// … up to this, and is drawn between half of it and all of it, so that members do not come back all at once.
    pub pause_max: Nanos,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect_max: Nanos(500_000_000),
            login_max: Nanos(1_000_000_000),
            pause_min: Nanos(5_000_000),
            pause_max: Nanos(500_000_000),
        }
    }
}

/// An order entry session that outlives connections and nodes.
#[derive(Debug)]
pub struct Failover {
    entry: OrderEntry,
    addresses: Vec<SocketAddr>,
    patience: Patience,
    first: u64,
    /// Which address is tried or connected.
    at: usize,
    /// Addresses tried in vain in a row.
    tried: usize,
    pause: Nanos,
    draws: u64,
    logins: u64,
    state: State,
    broken: Option<Error>,
    /// The venue said what cannot be understood: nothing that comes behind it can.
    garbled: bool,
}

#[derive(Debug)]
enum State {
    Pausing {
        until: Nanos,
    },
    Connecting {
        attempt: Connecting,
        since: Nanos,
    },
    LoggingIn {
        stream: Connection,
        since: Nanos,
    },
    Up(Connection),
    /// The venue refused the login, or the session has ended for good.
    Over,
}

impl Failover {
    /// For one of `addresses`, in this order; connects with the first [`poll`](Self::poll). `first` is as for
    /// [`OrderEntry::login`]; `in_flight` is for how many unanswered requests there is room before it allocates.
    ///
    /// # Errors
    /// [`Error::Credentials`].
    ///
    /// # Panics
    /// When there is no address.
    pub fn new(
        addresses: &[SocketAddr],
        config: &Config,
        (username, password): (Username, &str),
        first: u64,
        in_flight: usize,
        now: Nanos,
    ) -> Result<Self, Error> {
        assert!(!addresses.is_empty(), "a venue has an address");
        let seed = username
            .0
            .iter()
            .fold(now.0, |seed, byte| (seed ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
        let patience = Patience::default();
        Ok(Self {
            entry: OrderEntry::new(config, username, password, now)?.sending_again(in_flight),
            addresses: addresses.to_vec(),
            patience,
            first,
            at: 0,
            tried: 0,
            pause: patience.pause_min,
            draws: seed,
            logins: 0,
            state: State::Pausing { until: now },
            broken: None,
            garbled: false,
        })
    }

    /// The same with other patience.
    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, pause: patience.pause_min, ..self }
    }

    /// The session, to send requests with; they leave with the next [`poll`](Self::poll). Nothing is taken
    /// ([`NotSent`](crate::order_entry::NotSent)) while there is no session, and while older requests are sent again.
    pub fn entry(&mut self) -> &mut OrderEntry {
        &mut self.entry
    }

    /// Requests that were not answered.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.entry.in_flight()
    }

    /// Whether requests are taken.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_)) && self.entry.is_up()
    }

    /// Whether it has given up: the login was refused, or the session has ended for good.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// The address that is tried or connected.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.addresses[self.at]
    }

    /// Logins that were accepted.
    #[must_use]
    pub fn logins(&self) -> u64 {
        self.logins
    }

    /// Why the last connection, or attempt at one, came to nothing.
    #[must_use]
    pub fn broken(&self) -> Option<&Error> {
        self.broken.as_ref()
    }

    /// Moves what can be moved now, and connects again where that is what there is to do; never waits. Says how many bytes
    /// moved. Take every [`next`](Self::next) event before the next call.
    pub fn poll(&mut self, now: Nanos) -> usize {
        if self.garbled && matches!(self.state, State::LoggingIn { .. } | State::Up(_)) {
            self.leave(None, now);
        }
        match &mut self.state {
            State::Over => 0,
            State::Pausing { until } => {
                if now >= *until {
                    self.connect(now);
                }
                0
            }
            State::Connecting { attempt, since } => {
                let waited = Nanos(now.0.saturating_sub(since.0));
                match attempt.poll() {
                    Ok(Some(stream)) => self.log_in(stream, now),
                    Ok(None) if waited < self.patience.connect_max => {}
                    Ok(None) => self.leave(None, now),
                    Err(error) => self.leave(Some(error.into()), now),
                }
                0
            }
            State::LoggingIn { since, .. } if now.0.saturating_sub(since.0) >= self.patience.login_max.0 => {
                self.leave(None, now);
                0
            }
            State::LoggingIn { stream, .. } | State::Up(stream) => {
                match move_bytes(&mut self.entry, stream, now) {
                    Ok(moved) => moved,
                    Err(error) => {
                        self.leave(Some(error), now);
                        0
                    }
                }
            }
        }
    }

    /// The next thing the venue said, as [`OrderEntry::next`]. [`Event::LoggedIn`] comes once for each connection;
    /// after [`Event::Refused`] and [`Event::Ended`] it is over.
    ///
    /// # Errors
    /// The venue broke a protocol; the connection is left, and another one made.
    #[expect(clippy::should_implement_trait, reason = "it lends from the input buffer, as no Iterator can")]
    pub fn next(&mut self) -> Result<Option<Event<'_>>, Error> {
        let Self { entry, state, tried, pause, patience, logins, garbled, .. } = self;
        if *garbled {
            return Ok(None);
        }
        let event = entry.next();
        match &event {
            Ok(Some(Event::LoggedIn { .. })) => {
                (*tried, *pause, *logins) = (0, patience.pause_min, *logins + 1);
                // What is left of a broken connection may still be heard.
                if let State::LoggingIn { .. } = state {
                    let State::LoggingIn { stream, .. } = std::mem::replace(state, State::Over) else {
                        unreachable!("it was logging in")
                    };
                    *state = State::Up(stream);
                }
            }
            Ok(Some(Event::Refused(_) | Event::Ended)) => *state = State::Over,
            Ok(_) => {}
            Err(_) => *garbled = true,
        }
        event
    }

    fn connect(&mut self, now: Nanos) {
        match Connecting::to(self.address()) {
            Ok(attempt) => self.state = State::Connecting { attempt, since: now },
            Err(error) => self.leave(Some(error.into()), now),
        }
    }

    fn log_in(&mut self, stream: Connection, now: Nanos) {
        self.garbled = false;
        self.entry.reset(now);
        self.entry.login(self.first);
        self.state = State::LoggingIn { stream, since: now };
    }

    /// Leaves this address for the next one.
    fn leave(&mut self, why: Option<Error>, now: Nanos) {
        self.broken = why;
        self.at = (self.at + 1) % self.addresses.len();
        self.tried += 1;
        let mut until = now;
        if self.tried.is_multiple_of(self.addresses.len()) {
            // SplitMix64's first step, to spread members that lost the same node.
            self.draws = self.draws.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(now.0 | 1);
            let half = self.pause.0 / 2;
            until = Nanos(now.0 + half + (self.draws >> 33) % (half + 1));
            self.pause = Nanos((self.pause.0 * 2).min(self.patience.pause_max.0));
        }
        self.state = State::Pausing { until };
    }
}

fn move_bytes(entry: &mut OrderEntry, stream: &mut Connection, now: Nanos) -> Result<usize, Error> {
    entry.session().on_time(now)?;
    entry.send_again();
    let output = entry.session().output();
    let mut moved = 0;
    if !output.is_empty() {
        moved = stream.write(output)?;
        entry.session().sent(moved, now);
    }
    let space = entry.session().space();
    if !space.is_empty() {
        let received = stream.read(space)?;
        entry.session().received(received, now);
        moved += received;
    }
    Ok(moved)
}
