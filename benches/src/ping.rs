//! One request at a time: what a round trip takes when nothing waits for anything else.
//!
//! An order to a venue, or bytes to something that sends them back, over the same kind of connection from the same thread,
//! which polls and never sleeps. The two are made to be set against each other: what a venue takes above what its transport
//! takes by itself. It is a closed loop, and says nothing of what happens under load; [`Driver`](crate::Driver) does.
//!
//! [`RoundTrips::flood`] is the other end: as many requests under way as are asked for, to see how many answers a second come.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ironbell_client::order_entry::{self, Event, Member, NewOrder};
use ironbell_device::kernel::Connection;
use ironbell_device::{Closed, Stream as _};
use ironbell_session::{Config as SessionConfig, Refusal};
use ironbell_types::{Nanos, Side, Username};
use ironbell_wire::ouch::{OptionsBuf, Outbound};

use crate::driver::{self, Login};
use crate::flow::Traded;
use crate::latency::Latency;
use crate::sources::{self, Sources};

/// Bytes of an echo: about an order's on the wire, and its answer's.
pub const ECHO_SIZE: usize = 64;

/// How long any one thing may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the world did.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no connection to the echo.
    #[error(transparent)]
    Connect(#[from] ironbell_device::Error),
    /// So many sessions have nowhere to come from.
    #[error(transparent)]
    Sources(#[from] sources::Error),
    /// The echo is gone.
    #[error("the echo: {0}")]
    Echo(#[from] Closed),
    /// The echo sent what was not sent to it.
    #[error("the echo sends back other bytes than it was sent")]
    NoEcho,
    /// A session could not be had, or broke.
    #[error("{username}: {source}")]
    Session {
        /// Whose.
        username: Username,
        /// Why.
        source: order_entry::Error,
    },
    /// The venue refused a login.
    #[error("{username}: login refused: {refusal}")]
    Refused {
        /// Whose.
        username: Username,
        /// Why.
        refusal: Refusal,
    },
    /// The venue refused an order, or said something that it was not asked.
    #[error("{username}: instead of the answer to an order: {said}")]
    Unasked {
        /// Whose.
        username: Username,
        /// What it said.
        said: String,
    },
    /// An answer did not come.
    #[error("no {what} within {PATIENCE:?}")]
    Late {
        /// What.
        what: &'static str,
    },
}

/// Sessions, each of which sends a request and gets an answer.
pub trait RoundTrips {
    /// How many sessions there are.
    fn sessions(&self) -> usize;

    /// Sends one request of `session` and waits for its answer; returns from just before the one to just after the other.
    ///
    /// # Errors
    /// [`Error`].
    fn round_trip(&mut self, session: usize) -> Result<Duration, Error>;

    /// Keeps `depth` requests of each session under way for `time`; returns how many were answered in it. Then it waits for
    /// the rest.
    ///
    /// # Errors
    /// [`Error`].
    fn flood(&mut self, depth: usize, time: Duration) -> Result<u64, Error>;

    /// `rounds` round trips, by each session in turn; before them a tenth as many that do not count, one by each session
    /// at least.
    ///
    /// # Errors
    /// [`Error`].
    fn rounds(&mut self, rounds: usize) -> Result<Latency, Error> {
        let sessions = self.sessions();
        for round in 0..sessions.max(rounds / 10) {
            self.round_trip(round % sessions)?;
        }
        let mut latency = Latency::default();
        for round in 0..rounds {
            let took = self.round_trip(round % sessions)?;
            latency.record(Nanos(0), Nanos(took.as_nanos() as u64));
        }
        Ok(latency)
    }
}

/// Waits by polling, and gives the CPU to whoever else wants it between two polls: kernel threads that write journals do.
struct Wait {
    since: Instant,
    polls: u32,
    what: &'static str,
}

impl Wait {
    fn for_(what: &'static str) -> Self {
        Self { since: Instant::now(), polls: 0, what }
    }

    fn on(&mut self) -> Result<(), Error> {
        const POLLS_PER_LOOK: u32 = 4_096;
        std::thread::yield_now();
        self.polls = self.polls.wrapping_add(1);
        if self.polls.is_multiple_of(POLLS_PER_LOOK) && self.since.elapsed() > PATIENCE {
            return Err(Error::Late { what: self.what });
        }
        Ok(())
    }
}

/// Connections to an echo.
#[derive(Debug)]
pub struct Echoes {
    connections: Vec<Connection>,
    sent: u64,
}

impl Echoes {
    /// So many connections to `addr`.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub fn connect(addr: SocketAddr, sessions: usize) -> Result<Self, Error> {
        let sources = Sources::new(&[], sessions, addr)?;
        let connect = |nth| match sources.of(nth) {
            Some(from) => Connection::connect_from(from, addr),
            None => Connection::connect(addr),
        };
        let connections = (0..sessions).map(connect).collect::<Result<_, _>>()?;
        Ok(Self { connections, sent: 0 })
    }
}

impl RoundTrips for Echoes {
    fn sessions(&self) -> usize {
        self.connections.len()
    }

    fn round_trip(&mut self, session: usize) -> Result<Duration, Error> {
        let connection = &mut self.connections[session];
        let (mut bytes, mut answer) = ([0; ECHO_SIZE], [0; ECHO_SIZE]);
        self.sent += 1;
        bytes[..8].copy_from_slice(&self.sent.to_le_bytes());
        let mut wait = Wait::for_("echo");
        let (begun, mut wrote, mut read) = (Instant::now(), 0, 0);
        while wrote < ECHO_SIZE {
            wrote += connection.write(&bytes[wrote..])?;
        }
        while read < ECHO_SIZE {
            match connection.read(&mut answer[read..])? {
                0 => wait.on()?,
                count => read += count,
            }
        }
        let took = begun.elapsed();
        if answer == bytes { Ok(took) } else { Err(Error::NoEcho) }
    }

    fn flood(&mut self, depth: usize, time: Duration) -> Result<u64, Error> {
        let bytes = vec![7; depth * ECHO_SIZE];
        let mut buffer = vec![0; depth * ECHO_SIZE];
        // Bytes that are under way, of each connection.
        let mut under_way = vec![0; self.connections.len()];
        let (mut heard, mut counted) = (0, None);
        let (begun, mut wait) = (Instant::now(), Wait::for_("echo"));
        loop {
            let is_over = begun.elapsed() >= time;
            if is_over {
                counted.get_or_insert(heard);
                if under_way.iter().all(|bytes| *bytes == 0) {
                    break;
                }
            }
            let mut moved = 0;
            for (connection, under_way) in self.connections.iter_mut().zip(&mut under_way) {
                if !is_over && *under_way < bytes.len() {
                    *under_way += connection.write(&bytes[*under_way..])?;
                }
                let count = connection.read(&mut buffer)?;
                if buffer[..count].iter().any(|byte| *byte != 7) || count > *under_way {
                    return Err(Error::NoEcho);
                }
                *under_way -= count;
                moved += count;
            }
            heard += moved as u64;
            if moved == 0 {
                wait.on()?;
            }
        }
        Ok(counted.unwrap_or(heard) / ECHO_SIZE as u64)
    }
}

/// Members of a venue: each enters an order that rests, and cancels it again.
#[derive(Debug)]
pub struct Orders {
    seats: Vec<(Username, Member)>,
    traded: Traded,
    clock: Instant,
}

/// What a member waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Accepted(u32),
    Canceled(u32),
}

impl Orders {
    /// Logs all of them in, at their most recent messages. They will buy at `traded`'s mid and below and sell nothing: no
    /// order of theirs finds another.
    ///
    /// # Errors
    /// [`Error`].
    pub fn connect(addr: SocketAddr, logins: &[Login], traded: Traded) -> Result<Self, Error> {
        let clock = Instant::now();
        // Thousands of sessions with the usual buffers would be a gigabyte.
        let config =
            SessionConfig { input_size: 16 << 10, output_size: 16 << 10, ..SessionConfig::default() };
        let sources = Sources::new(&[], logins.len(), addr)?;
        let mut seats = Vec::with_capacity(logins.len());
        for (nth, login) in logins.iter().enumerate() {
            let username = login.username;
            let member = driver::connect(addr, sources.of(nth), &config, login, at(clock))
                .map_err(|source| Error::Session { username, source })?;
            seats.push((username, member));
        }
        let mut orders = Self { seats, traded, clock };
        orders.log_in()?;
        Ok(orders)
    }

    /// Polls all of them until each is in and knows its next number, so that none is silent for too long meanwhile.
    fn log_in(&mut self) -> Result<(), Error> {
        let Self { seats, clock, .. } = self;
        let mut is_in = vec![false; seats.len()];
        let mut wait = Wait::for_("answer to a login");
        while is_in.contains(&false) {
            for ((username, member), is_in) in seats.iter_mut().zip(&mut is_in) {
                let failed = |source| Error::Session { username: *username, source };
                member.poll(at(*clock)).map_err(failed)?;
                while let Some(event) = member.next().map_err(failed)? {
                    match event {
                        Event::LoggedIn { .. } => {
                            let asked = member.entry().account_query();
                            assert_eq!(asked, Ok(()), "a session just logged in has room");
                        }
                        Event::Refused(refusal) => {
                            return Err(Error::Refused { username: *username, refusal });
                        }
                        Event::Message { message: Outbound::AccountQueryResponse(..), .. } => *is_in = true,
                        _ => {}
                    }
                }
            }
            wait.on()?;
        }
        Ok(())
    }

    /// Enters an order; its number. Below the mid, at another level than the one before.
    fn enter(&mut self, session: usize) -> Result<Option<u32>, Error> {
        const LEVELS: u64 = 64;
        let traded = self.traded;
        let (_, member) = &mut self.seats[session];
        let level = u64::from(member.entry().next_user_ref_num()) % LEVELS;
        let order = NewOrder::day(Side::Buy, 100, traded.symbol, traded.mid - level * traded.tick);
        Ok(member.entry().enter(&order, &OptionsBuf::EMPTY).ok())
    }

    /// Moves a session's bytes and hands `hear` each answer.
    fn poll(&mut self, session: usize, mut hear: impl FnMut(Told)) -> Result<usize, Error> {
        let (username, member) = &mut self.seats[session];
        let username = *username;
        let failed = |source| Error::Session { username, source };
        let moved = member.poll(at(self.clock)).map_err(failed)?;
        while let Some(event) = member.next().map_err(failed)? {
            let Event::Message { message, .. } = event else { continue };
            match message {
                Outbound::OrderAccepted(told, _) => hear(Told::Accepted(told.user_ref_num.get())),
                Outbound::OrderCanceled(told, _) => hear(Told::Canceled(told.user_ref_num.get())),
                Outbound::AccountQueryResponse(..) | Outbound::SystemEvent(..) => {}
                other => return Err(Error::Unasked { username, said: format!("{other:?}") }),
            }
        }
        Ok(moved)
    }

    fn wait_for(&mut self, session: usize, wanted: Told) -> Result<(), Error> {
        let mut wait = Wait::for_("answer to an order");
        let mut is_there = false;
        loop {
            let moved = self.poll(session, |told| is_there |= told == wanted)?;
            if is_there {
                return Ok(());
            }
            if moved == 0 {
                wait.on()?;
            }
        }
    }
}

impl RoundTrips for Orders {
    fn sessions(&self) -> usize {
        self.seats.len()
    }

    /// Of the order; that of its cancel is not counted.
    fn round_trip(&mut self, session: usize) -> Result<Duration, Error> {
        let begun = Instant::now();
        let number = self.enter(session)?.expect("a session with nothing under way has room");
        self.wait_for(session, Told::Accepted(number))?;
        let took = begun.elapsed();
        let cancelled = self.seats[session].1.entry().cancel(number, 0);
        assert_eq!(cancelled, Ok(()), "a session with nothing under way has room");
        self.wait_for(session, Told::Canceled(number))?;
        Ok(took)
    }

    /// Orders and their cancels, half of `depth` each.
    fn flood(&mut self, depth: usize, time: Duration) -> Result<u64, Error> {
        let pairs = (depth / 2).max(1);
        let mut under_way = vec![0; self.seats.len()];
        let (mut heard, mut counted) = (0, None);
        let (begun, mut wait) = (Instant::now(), Wait::for_("answer to an order"));
        loop {
            let is_over = begun.elapsed() >= time;
            if is_over {
                counted.get_or_insert(heard);
                if under_way.iter().all(|orders| *orders == 0) {
                    break;
                }
            }
            let mut moved = 0;
            for (session, under_way) in under_way.iter_mut().enumerate() {
                while !is_over && *under_way < pairs {
                    let Some(number) = self.enter(session)? else { break };
                    let cancelled = self.seats[session].1.entry().cancel(number, 0);
                    assert_eq!(
                        cancelled,
                        Ok(()),
                        "an output of 16 KiB has room for more pairs than are under way"
                    );
                    *under_way += 1;
                }
                let (mut answers, mut done) = (0, 0);
                moved += self.poll(session, |told| {
                    answers += 1;
                    done += usize::from(matches!(told, Told::Canceled(_)));
                })?;
                heard += answers;
                *under_way -= done;
            }
            if moved == 0 {
                wait.on()?;
            }
        }
        Ok(counted.unwrap_or(heard))
    }
}

/// Nanoseconds since the members began.
fn at(clock: Instant) -> Nanos {
    Nanos(clock.elapsed().as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    /// An echo that turns each byte by `turn`, for two connections.
    fn echo(turn: u8) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
        let addr = listener.local_addr().expect("it is bound");
        for _ in 0..2 {
            let listener = listener.try_clone().expect("a descriptor");
            std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().expect("somebody comes");
                let mut buffer = [0; 256];
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    let bytes: Vec<u8> = buffer[..count].iter().map(|byte| byte.wrapping_add(turn)).collect();
                    if stream.write_all(&bytes).is_err() {
                        break;
                    }
                }
            });
        }
        addr
    }

    #[test]
    fn an_echo_is_timed_by_each_session_in_turn_and_flooded() {
        let mut echoes = Echoes::connect(echo(0), 2).expect("it listens");
        let latency = echoes.rounds(100).expect("it echoes");
        assert_eq!((latency.histogram().len(), echoes.sent), (100, 110));
        let answers = echoes.flood(4, Duration::from_millis(20)).expect("it echoes");
        assert!(answers > 0, "{answers}");
        assert!(echoes.round_trip(1).is_ok(), "nothing of the flood is left over");
    }

    #[test]
    fn other_bytes_are_no_echo() {
        let mut echoes = Echoes::connect(echo(1), 1).expect("it listens");
        assert!(matches!(echoes.round_trip(0), Err(Error::NoEcho)));
        let mut echoes = Echoes::connect(echo(1), 1).expect("it listens");
        assert!(matches!(echoes.flood(2, Duration::from_millis(20)), Err(Error::NoEcho)));
    }
}
