//! The role: a loop over connections, between the members and the two rings.

use std::collections::VecDeque;
use std::io::Write;
use std::time::Duration;

use ironbell_device::SessionIo;
use ironbell_session::{Login, Messages, Refusal, ServerEvent, ServerSession, first_number};
use ironbell_sessionlog::{LogReader, Recovered, SessionLog, StreamId, StreamReader};
use ironbell_sync::{Consumer, Producer, Voice, ticks};
use ironbell_types::{
    Command, Control, Credential, Event, EventBody, Inbound, Logout, Nanos, Outbound, PortId,
};

use crate::inbound::{self, COMMANDS_MAX, NotTaken};
use crate::login::LoginChecker;
use crate::{Directory, Ending, Error, Notice, outbound::Teller};

/// Limits and times of a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Most connections at a time, logged in or not; further ones are closed at once.
    pub sessions_max: usize,
    /// After so much silence of our own a heartbeat goes out.
    pub heartbeat: Nanos,
    /// After so much silence of a member its connection is closed.
    pub idle_timeout: Nanos,
    /// So long a member may take to log in.
    pub login_timeout: Nanos,
    /// Bytes of a connection's input buffer, and its longest packet.
    pub input_size: usize,
    /// Bytes of a connection's output buffer; a member that reads slower is served from the log.
    pub output_size: usize,
    /// Messages taken from one connection before the next one has its turn.
    pub messages_per_turn: usize,
    /// Released events taken in one poll.
    pub events_per_poll: usize,
    /// Messages that are no commands, on one connection, before it is closed.
    pub malformed_max: u32,
}

impl Default for Config {
    /// 256 connections; heartbeats and time-outs as SoupBinTCP 3.00 calls typical (1 s, 15 s, 30 s).
    fn default() -> Self {
        let session = ironbell_session::Config::default();
        Self {
            sessions_max: 256,
            heartbeat: session.heartbeat,
            idle_timeout: session.idle_max,
            login_timeout: session.login_max,
            input_size: session.input_size,
            output_size: session.output_size,
            messages_per_turn: 64,
            events_per_poll: 1024,
            malformed_max: 16,
        }
    }
}

/// What a gateway did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections accepted.
    pub sessions: u64,
    /// Connections closed at once because there were too many.
    pub turned_away: u64,
    /// Connections that the system could not give us.
    pub accept_errors: u64,
    /// Logins accepted.
    pub logins: u64,
    /// Logins refused.
    pub logins_refused: u64,
    /// Logins that took their port over from an older connection.
    pub takeovers: u64,
    /// Messages received that became commands.
    pub messages_in: u64,
    /// Sequenced messages told to ports, whether connected or not, without those replayed.
    pub messages_out: u64,
    /// Messages received that became no commands.
    pub malformed: u64,
    /// Connections closed because of what came, or did not come, on them.
    pub violations: u64,
    /// Connections gone, for whatever reason.
    pub disconnects: u64,
    /// Connections closed because a message they were owed could not be read from the log.
    pub log_damaged: u64,
}

/// A place on an order's way whose latency is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The command is on its way to the sequencer.
    In,
    /// The answer was written to its connection, or to the log when that is slow.
    Out,
    /// The bytes were read; since the kernel had them, in nanoseconds, where that is known.
    Kernel,
    /// The same since the network card had them.
    Card,
}

/// Order entry over one listener.
///
/// One login per port at a time: a second one takes the port over, and the older connection is closed.
/// A member whose line died without a word is back at once, instead of after the idle time-out.
#[derive(Debug)]
pub struct Gateway<I: SessionIo, L> {
    config: Config,
    io: I,
    checker: L,
    log: SessionLog,
    log_reader: LogReader,
    directory: Directory,
    teller: Teller,
    ports: Vec<PortState>,
    /// Ports whose login may have to be ended.
    unsettled: Vec<PortId>,
    connections: Vec<Option<Connection<I::Connection>>>,
    /// Sessions for connections to come, with their buffers.
    spare: Vec<ServerSession>,
    connections_made: u64,
    /// Connections stand in slots below this one: what a sweep has to look at.
    sweep: usize,
    /// Slots whose connection may have something to write, or be at its end.
    to_write: Vec<usize>,
    /// Slots whose connection asks to be let in.
    asking: VecDeque<usize>,
    /// The next slot whose connection is timed, and when that of slot 0 was.
    timed: usize,
    timed_since: Nanos,
    /// Who reads first in the next poll.
    first: usize,
    gateway_sequencer: ToSequencer,
    release_gateway: Consumer<Outbound>,
    /// When the messages that this poll answers were received.
    answered: Vec<u64>,
    is_draining: bool,
    failure: Option<Error>,
    counters: Counters,
    voice: Option<Voice<Notice>>,
}

/// What the gateway knows of a port beside the directory.
#[derive(Clone, Copy, Debug, Default)]
struct PortState {
    connection: Option<usize>,
    /// The newest login, as the state machine numbered it.
    incarnation: u32,
    is_logged_in: bool,
    /// Logins on their way to the state machine.
    logins_under_way: u32,
    /// The incarnation whose end is on its way.
    logout_asked: u32,
    is_unsettled: bool,
}

#[derive(Debug)]
struct Connection<S> {
    id: u64,
    stream: S,
    session: ServerSession,
    /// When the newest bytes were read, in ticks.
    received: u64,
    login: LoginState,
    malformed: u32,
    /// Its slot is among those to write.
    is_to_write: bool,
    /// There may be something to take from it although nothing comes.
    has_more: bool,
}

#[derive(Debug)]
enum LoginState {
    None,
    /// To be handed to the checker.
    Asked(Login),
    /// With the checker.
    Checking(Login),
    /// Let in.
    In(PortId, Stored),
}

/// A stream of the log, as a session pulls from it.
#[derive(Debug)]
struct Stored(StreamReader);

impl Messages for Stored {
    type Error = ironbell_sessionlog::Error;

    fn message(&mut self, number: u64) -> Result<Option<&[u8]>, Self::Error> {
        self.0.message(number)
    }
}

/// What unknown user names are checked against, so that their refusal takes as long as any other. Its
/// hash is of nothing: the answer is not even looked at.
const DECOY: Credential =
    Credential { salt: [0; 16], hash: [0; 32], memory_kib: 19_456, passes: 2, lanes: 1 };

/// Connections accepted in one poll, so that a storm of them does not starve those that are up.
const ACCEPTS_PER_POLL: usize = 8;

/// Connections timed in one poll; of more, each within [`TIMED_MAX`]. Heartbeats and time-outs are a second and longer.
const TIMED_PER_POLL: usize = 16;
/// How long a round of timing all connections may take.
const TIMED_MAX: Nanos = Nanos(10_000_000);

/// Buffers written to one connection in one poll, so that one that catches up does not starve others.
const WRITES_PER_POLL: usize = 4;

impl<I: SessionIo, L: LoginChecker> Gateway<I, L> {
    /// A gateway in recovery: [`Gateway::replay`] the journal's events, then [`Gateway::end_recovery`].
    /// `log` is just opened. All memory is taken here.
    pub fn new(
        config: Config,
        io: I,
        log: SessionLog,
        gateway_sequencer: Producer<Inbound>,
        release_gateway: Consumer<Outbound>,
        checker: L,
    ) -> Self {
        let session = ironbell_session::Config {
            heartbeat: config.heartbeat,
            idle_max: config.idle_timeout,
            login_max: config.login_timeout,
            input_size: config.input_size,
            output_size: config.output_size,
        };
        Self {
            config,
            io,
            checker,
            log_reader: log.reader(),
            log,
            directory: Directory::default(),
            teller: Teller::default(),
            ports: Vec::new(),
            unsettled: Vec::new(),
            connections: (0..config.sessions_max).map(|_| None).collect(),
            spare: (0..config.sessions_max).map(|_| ServerSession::new(&session, Nanos(0))).collect(),
            connections_made: 0,
            sweep: 0,
            to_write: Vec::with_capacity(config.sessions_max),
            asking: VecDeque::with_capacity(config.sessions_max),
            timed: 0,
            timed_since: Nanos(0),
            first: 0,
            gateway_sequencer: ToSequencer {
                ring: gateway_sequencer,
                waiting: VecDeque::with_capacity(COMMANDS_MAX),
            },
            release_gateway,
            answered: Vec::with_capacity(config.events_per_poll),
            is_draining: false,
            failure: None,
            counters: Counters::default(),
            voice: None,
        }
    }

    /// Takes connections from `io` from here on, and none any more from the one before. Connections that
    /// stand must be of a kind that `io` can serve.
    pub fn listen(&mut self, io: I) {
        self.io = io;
    }

    /// Says from here on by `voice` what people may want to know. Without one it says nothing.
    pub fn speak(&mut self, voice: Voice<Notice>) {
        self.voice = Some(voice);
    }

    /// Learns, before any replay, what is defined and who is logged in where the log goes on from: of definitions,
    /// the day and logins, in this order. Tells nobody.
    ///
    /// # Errors
    /// When the log has no room for a port.
    pub fn learn(&mut self, body: &EventBody) -> Result<(), Error> {
        self.directory.apply(body);
        match *body {
            EventBody::PortDefined(port) => self.add_port(port.id)?,
            EventBody::LoggedIn { port, incarnation } => self.logged_in_as(port, incarnation),
            _ => {}
        }
        Ok(())
    }

    /// Learns from an event of the journal, and writes to the log what it told the ports. Sends nothing.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn replay(&mut self, event: &Event) -> Result<(), Error> {
        self.publish(event).map(drop)
    }

    /// Ends the recovery; says how many messages were replayed and had to be written to the log. Logins
    /// that were up when the node went down are ended in the first polls.
    pub fn end_recovery(&mut self) -> Recovered {
        for port in 0..self.ports.len() {
            self.unsettle(port_id(port));
        }
        self.log.end_recovery()
    }

    /// Leaves the logins of an earlier life to the state machine, before anything is polled: after a takeover, so that
    /// members who come over from the other node find their orders. Who has not come when `grace` is over is logged out
    /// there, also when this node leads no more by then.
    ///
    /// # Panics
    /// When there is no room for the command that says so: something came before it.
    pub fn forgive(&mut self, grace: Nanos) {
        let command = Command::Control(Control::BeginGrace { grace_ns: grace.0 });
        assert!(self.gateway_sequencer.push(Inbound { received: 0, command }), "it is the first command");
        for port in self.unsettled.drain(..) {
            self.ports[index_of(port)].is_unsettled = false;
        }
    }

    /// Tells members what was released, then takes what they sent. Returns how much there was to do; 0
    /// when there was nothing. Never waits. After a [`Gateway::failure`] it does nothing.
    pub fn poll(&mut self, now: Nanos) -> usize {
        self.poll_observed(now, &mut |_, _| {})
    }

    /// As [`Gateway::poll`]; `observe` is called with each message's ticks since it was received, and with how late each read
    /// was.
    pub fn poll_observed(&mut self, now: Nanos, observe: &mut impl FnMut(Stage, u64)) -> usize {
        if self.failure.is_some() {
            return 0;
        }
        let released = match self.take_released() {
            Ok(count) => count,
            Err(failure) => {
                self.failure = Some(failure);
                return 0;
            }
        };
        let mut work = released + self.write(now);
        self.io.flush(now);
        for received in self.answered.drain(..) {
            observe(Stage::Out, ticks().saturating_sub(received));
        }
        // What was taken from a member before is handed on even when nothing more is taken.
        work += self.gateway_sequencer.hand_on_waiting();
        work += self.io.poll(now);
        if !self.is_draining {
            work += self.answer_logins();
            self.settle();
            work += self.accept(now) + self.read(now, observe);
        }
        work
    }

    /// Sleeps until something comes from a member or a time is over; `false`, at once, where it cannot. For who has
    /// nothing else to do.
    pub fn wait(&mut self, at_most: Duration) -> bool {
        self.io.wait(at_most)
    }

    /// Takes nothing more from members from here on: no connection, no login, no message. What is
    /// released still goes out.
    pub fn stop_accepting(&mut self) {
        self.is_draining = true;
    }

    /// Takes from members again.
    pub fn resume_accepting(&mut self) {
        self.is_draining = false;
    }

    /// Why the gateway stopped, if it did. The node must stop: it would release what members cannot get
    /// again.
    #[must_use]
    pub fn failure(&self) -> Option<&Error> {
        self.failure.as_ref()
    }

    /// Connections that there are now, logged in or not.
    #[must_use]
    pub fn sessions_open(&self) -> usize {
        self.connections.len() - self.spare.len()
    }

    /// What it did so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What moves its bytes.
    #[must_use]
    pub fn io(&self) -> &I {
        &self.io
    }

    /// Its mirror of what administration defined.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// A reading end of what members are told.
    #[must_use]
    pub fn log_reader(&self) -> LogReader {
        self.log_reader.clone()
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> std::net::SocketAddr {
        self.io.local_addr()
    }

    /// Connections that are logged in now.
    #[must_use]
    pub fn logged_in(&self) -> usize {
        self.ports.iter().filter(|port| port.connection.is_some()).count()
    }

    fn take_released(&mut self) -> Result<usize, Error> {
        let mut count = 0;
        while count < self.config.events_per_poll {
            let Ok(Outbound { received, event }) = self.release_gateway.pop() else { break };
            count += 1;
            let messages = self.publish(&event)?;
            self.counters.messages_out += messages;
            if messages > 0 && received > 0 {
                self.answered.push(received);
            }
        }
        Ok(count)
    }

    /// Learns from `event` and tells ports what it says; returns how many messages that was.
    fn publish(&mut self, event: &Event) -> Result<u64, Error> {
        self.directory.apply(&event.body);
        match event.body {
            EventBody::PortDefined(port) => self.add_port(port.id)?,
            EventBody::DayOpened(_) => self.start_day()?,
            EventBody::LoggedIn { port, incarnation } => self.logged_in_as(port, incarnation),
            EventBody::LoggedOut { port, incarnation } => {
                let state = &mut self.ports[index_of(port)];
                state.is_logged_in &= state.incarnation != incarnation;
            }
            _ => {}
        }
        let Self { log, ports, connections, directory, teller, to_write, .. } = self;
        let (mut count, mut failure) = (0, None);
        teller.messages(event, directory, &mut |port, message| {
            if failure.is_some() {
                return;
            }
            match log.append(stream_of(port), message) {
                Ok(number) => {
                    count += 1;
                    if let Some(slot) = ports[index_of(port)].connection
                        && let Some(connection) = connections[slot].as_mut()
                    {
                        connection.session.offer(number, message);
                        connection.mark(slot, to_write);
                    }
                }
                Err(e) => failure = Some(e),
            }
        });
        failure.map_or(Ok(count), |e| Err(e.into()))
    }

    fn add_port(&mut self, port: PortId) -> Result<(), Error> {
        self.log.open_stream(stream_of(port))?;
        self.ports.push(PortState::default());
        self.unsettled.reserve(self.ports.len());
        Ok(())
    }

    /// A new day is a new session: streams count from 1 again, and who is connected to the old one is
    /// told its end. What a slow reader had not been sent of it is not sent any more.
    fn start_day(&mut self) -> Result<(), Error> {
        for port in self.directory.ports() {
            self.log.restart(stream_of(port.id))?;
        }
        for (slot, connection) in self.connections.iter_mut().enumerate() {
            if let Some(connection) = connection
                && matches!(connection.login, LoginState::In(..))
            {
                connection.session.end_session();
                connection.mark(slot, &mut self.to_write);
            }
        }
        Ok(())
    }

    fn logged_in_as(&mut self, port: PortId, incarnation: u32) {
        let state = &mut self.ports[index_of(port)];
        state.incarnation = incarnation;
        state.is_logged_in = true;
        // In a replay the logins are those of an earlier life.
        state.logins_under_way = state.logins_under_way.saturating_sub(1);
        if state.connection.is_none() {
            self.unsettle(port);
        }
    }

    fn unsettle(&mut self, port: PortId) {
        let state = &mut self.ports[index_of(port)];
        if !state.is_unsettled {
            state.is_unsettled = true;
            self.unsettled.push(port);
        }
    }

    /// Ends logins that have no connection any more. One whose incarnation is not known yet is looked at
    /// again when that is released.
    fn settle(&mut self) {
        while let Some(&port) = self.unsettled.last() {
            let state = &mut self.ports[index_of(port)];
            let is_stale = state.is_logged_in
                && state.connection.is_none()
                && state.logins_under_way == 0
                && state.logout_asked != state.incarnation;
            if is_stale {
                let logout = Command::Logout(Logout { port, incarnation: state.incarnation });
                if !self.gateway_sequencer.push(Inbound { received: 0, command: logout }) {
                    return;
                }
                state.logout_asked = state.incarnation;
            }
            state.is_unsettled = false;
            self.unsettled.pop();
        }
    }

    /// Fills, writes and times those connections where there may be reason to, and closes those that are done.
    fn write(&mut self, now: Nanos) -> usize {
        self.mark_timed(now);
        let mut work = 0;
        for at in 0..self.to_write.len() {
            let slot = self.to_write[at];
            let Some(connection) = &mut self.connections[slot] else { continue };
            connection.is_to_write = false;
            match connection.write(&mut self.io, &self.log, now) {
                Ok(count) => {
                    // Who catches up may be behind the log with nothing left to write.
                    connection.is_to_write = count == WRITES_PER_POLL;
                    work += count;
                }
                Err(ending) => {
                    self.close(slot, ending);
                    work += 1;
                }
            }
        }
        // Who has more to say, or has found no room, comes again.
        let Self { to_write, connections, .. } = self;
        to_write.retain(|slot| {
            let connection = connections[*slot].as_mut();
            connection.is_some_and(|connection| {
                connection.is_to_write |= connection.has_to_write();
                connection.is_to_write
            })
        });
        work
    }

    /// Marks some connections in turn, so that each is timed.
    fn mark_timed(&mut self, now: Nanos) {
        if self.timed >= self.sweep {
            (self.timed, self.timed_since) = (0, now);
        }
        let is_late = now.0.saturating_sub(self.timed_since.0) >= TIMED_MAX.0;
        let end = if is_late { self.sweep } else { self.sweep.min(self.timed + TIMED_PER_POLL) };
        for slot in self.timed..end {
            if let Some(connection) = &mut self.connections[slot] {
                connection.mark(slot, &mut self.to_write);
            }
        }
        self.timed = end;
    }

    fn say(&mut self, notice: Notice) {
        if let Some(voice) = &mut self.voice {
            voice.say(notice);
        }
    }

    fn close(&mut self, slot: usize, why: Ending) {
        let Some(connection) = self.connections[slot].take() else { return };
        self.io.close(connection.stream);
        // The slot is another's next.
        if connection.is_to_write {
            self.to_write.retain(|other| *other != slot);
        }
        if matches!(connection.login, LoginState::Asked(_)) {
            self.asking.retain(|other| *other != slot);
        }
        self.counters.disconnects += 1;
        self.counters.violations += u64::from(why.is_violation());
        self.counters.log_damaged += u64::from(why == Ending::Damaged);
        let port = match connection.login {
            LoginState::In(port, _) => Some(port),
            _ => None,
        };
        // Who came and went without a word is nobody.
        if port.is_some() || why != Ending::Gone {
            self.say(Notice::Closed { port, why });
        }
        if let Some(port) = port {
            let state = &mut self.ports[index_of(port)];
            if state.connection == Some(slot) {
                state.connection = None;
                self.unsettle(port);
            }
        }
        self.spare.push(connection.session);
        while self.sweep > 0 && self.connections[self.sweep - 1].is_none() {
            self.sweep -= 1;
        }
    }

    /// Hands passwords to the checker and takes its answers, as long as the sequencer can be told.
    fn answer_logins(&mut self) -> usize {
        let mut work = 0;
        while let Some(&slot) = self.asking.front() {
            if let Some(connection) = &mut self.connections[slot]
                && let LoginState::Asked(login) = &connection.login
            {
                let credential =
                    self.directory.port_named(login.username).map_or(DECOY, |port| port.credential);
                if !self.checker.submit(connection.id, login.password, credential) {
                    break;
                }
                connection.login = LoginState::Checking(*login);
                work += 1;
            }
            self.asking.pop_front();
        }
        while !self.gateway_sequencer.is_full() {
            let Some((id, is_right)) = self.checker.poll() else { break };
            work += 1;
            self.answer_login(id, is_right);
        }
        work
    }

    fn answer_login(&mut self, id: u64, is_right: bool) {
        let slot = (id % self.connections.len() as u64) as usize;
        let Some(connection) = self.connections[slot].as_ref().filter(|c| c.id == id) else { return };
        let LoginState::Checking(login) = &connection.login else {
            unreachable!("the checker answers a connection once");
        };
        let username = login.username;
        match self.place_of(login, is_right) {
            Err(refusal) => {
                self.counters.logins_refused += 1;
                let port = self.directory.port_named(username).map(|port| port.id);
                self.say(Notice::Refused { username, port, why: refusal });
                let connection = self.connections[slot].as_mut().expect("it was there");
                connection.session.refuse(refusal);
                connection.login = LoginState::None;
                connection.mark(slot, &mut self.to_write);
            }
            Ok((port, session, first)) => {
                self.take_over(port);
                let connection = self.connections[slot].as_mut().expect("it was there");
                connection.session.accept(session, first);
                connection.login = LoginState::In(port, Stored(self.log_reader.stream(stream_of(port))));
                connection.mark(slot, &mut self.to_write);
                // What it sent behind its login.
                connection.has_more = true;
                let state = &mut self.ports[index_of(port)];
                state.connection = Some(slot);
                state.logins_under_way += 1;
                self.counters.logins += 1;
                let command = Command::Login(ironbell_types::Login { port });
                let has_room = self.gateway_sequencer.push(Inbound { received: 0, command });
                assert!(has_room, "room was seen before the answer was taken");
            }
        }
    }

    /// The port, the session's name, and the number of the first message, of a login.
    fn place_of(&self, login: &Login, is_right: bool) -> Result<(PortId, [u8; 10], u64), Refusal> {
        let port = self.directory.port_named(login.username).filter(|_| is_right);
        let port = port.ok_or(Refusal::NotAuthorized)?.id;
        let session = self.directory.day().ok_or(Refusal::NoSession)?.session();
        let newest = self.log.next_number(stream_of(port)) - 1;
        Ok((port, session, first_number(login, &session, newest)?))
    }

    fn take_over(&mut self, port: PortId) {
        if let Some(older) = self.ports[index_of(port)].connection {
            self.counters.takeovers += 1;
            self.close(older, Ending::TakenOver);
        }
    }

    fn accept(&mut self, now: Nanos) -> usize {
        for count in 0..ACCEPTS_PER_POLL {
            match self.io.accept() {
                Ok(None) => return count,
                Ok(Some(stream)) => self.welcome(stream, now),
                Err(_) => {
                    self.counters.accept_errors += 1;
                    self.say(Notice::NotAccepted);
                    return count;
                }
            }
        }
        ACCEPTS_PER_POLL
    }

    fn welcome(&mut self, stream: I::Connection, now: Nanos) {
        let Some(mut session) = self.spare.pop() else {
            self.counters.turned_away += 1;
            self.say(Notice::TurnedAway);
            self.io.close(stream);
            return;
        };
        let slot =
            self.connections.iter().position(Option::is_none).expect("a spare session has a free slot");
        self.sweep = self.sweep.max(slot + 1);
        session.reset(now);
        self.counters.sessions += 1;
        self.connections_made += 1;
        let id = self.connections_made * self.connections.len() as u64 + slot as u64;
        self.connections[slot] = Some(Connection {
            id,
            stream,
            session,
            received: 0,
            login: LoginState::None,
            malformed: 0,
            is_to_write: false,
            has_more: true,
        });
    }

    /// Takes what members sent, from each its turn's worth, until the ring to the sequencer is full. Who
    /// is first moves on, so that a full ring is shared out.
    fn read(&mut self, now: Nanos, observe: &mut impl FnMut(Stage, u64)) -> usize {
        let count = self.sweep;
        let mut work = 0;
        self.io.look(count);
        for turn in 0..count {
            let slot = (self.first + turn) % count;
            let Some(connection) = &mut self.connections[slot] else { continue };
            if !connection.has_more && !self.io.has_input(&connection.stream) {
                continue;
            }
            if self.gateway_sequencer.is_full() {
                self.first = slot;
                return work;
            }
            let mut taker = Taker {
                io: &mut self.io,
                config: &self.config,
                directory: &self.directory,
                gateway_sequencer: &mut self.gateway_sequencer,
                counters: &mut self.counters,
                observe,
            };
            let was_asking = matches!(connection.login, LoginState::Asked(_));
            match taker.take(connection, now) {
                Ok(taken) => {
                    work += taken;
                    if matches!(connection.login, LoginState::Asked(_)) && !was_asking {
                        self.asking.push_back(slot);
                    }
                    if !connection.session.output().is_empty() {
                        connection.mark(slot, &mut self.to_write);
                    }
                }
                Err(ending) => {
                    self.close(slot, ending);
                    work += 1;
                }
            }
        }
        work
    }
}

impl<C> Connection<C> {
    /// There may be something to write to it.
    fn mark(&mut self, slot: usize, to_write: &mut Vec<usize>) {
        if !self.is_to_write {
            self.is_to_write = true;
            to_write.push(slot);
        }
    }

    /// Whether it was not written all it could be, or is at its end.
    fn has_to_write(&self) -> bool {
        !self.session.output().is_empty() || self.session.is_finished()
    }

    fn write<I: SessionIo<Connection = C>>(
        &mut self,
        io: &mut I,
        log: &SessionLog,
        now: Nanos,
    ) -> Result<usize, Ending> {
        self.session.on_time(now)?;
        let mut work = 0;
        while work < WRITES_PER_POLL {
            self.catch_up(log)?;
            if self.session.output().is_empty() {
                break;
            }
            let count = io.write(&mut self.stream, self.session.output())?;
            self.session.sent(count, now);
            if count == 0 {
                break;
            }
            work += 1;
        }
        if self.session.is_finished() { Err(Ending::Gone) } else { Ok(work) }
    }

    /// Pulls from the log what the session could not be offered live.
    fn catch_up(&mut self, log: &SessionLog) -> Result<(), Ending> {
        let LoginState::In(port, stored) = &mut self.login else { return Ok(()) };
        if self.session.next_number() < log.next_number(stream_of(*port)) {
            self.session.fill(stored).map_err(|_| Ending::Damaged)?;
        }
        Ok(())
    }
}

/// What taking messages from a connection needs of the gateway.
struct Taker<'a, I, O> {
    io: &'a mut I,
    config: &'a Config,
    directory: &'a Directory,
    gateway_sequencer: &'a mut ToSequencer,
    counters: &'a mut Counters,
    observe: &'a mut O,
}

impl<I: SessionIo, O: FnMut(Stage, u64)> Taker<'_, I, O> {
    /// One turn: what is in the buffer, then what has arrived.
    fn take(&mut self, connection: &mut Connection<I::Connection>, now: Nanos) -> Result<usize, Ending> {
        let mut taken = 0;
        connection.has_more = true;
        loop {
            taken += self.take_buffered(connection, self.config.messages_per_turn - taken)?;
            if taken == self.config.messages_per_turn || self.gateway_sequencer.is_full() {
                return Ok(taken);
            }
            let space = connection.session.space();
            // Full with what waits for a login's answer.
            if space.is_empty() {
                return Ok(taken);
            }
            let count = self.io.read(&mut connection.stream, space)?;
            if count == 0 {
                connection.has_more = false;
                return Ok(taken);
            }
            connection.received = ticks();
            connection.session.received(count, now);
            if let Some(late) = self.io.late(&connection.stream) {
                late.kernel.into_iter().for_each(|late| (self.observe)(Stage::Kernel, late.0));
                late.card.into_iter().for_each(|late| (self.observe)(Stage::Card, late.0));
            }
        }
    }

    fn take_buffered(
        &mut self,
        connection: &mut Connection<I::Connection>,
        count_max: usize,
    ) -> Result<usize, Ending> {
        let mut taken = 0;
        while taken < count_max && !self.gateway_sequencer.is_full() {
            let Connection { session, login, received, malformed, .. } = connection;
            let Some(event) = session.next()? else { break };
            taken += 1;
            match event {
                ServerEvent::Message(bytes) => {
                    let LoginState::In(port, _) = login else {
                        unreachable!("a session is up after its login")
                    };
                    let Self { directory, gateway_sequencer, .. } = self;
                    let port = directory.port(*port).expect("a login names a port");
                    let received = *received;
                    let handed_on = inbound::commands(bytes, port, directory, &mut |command| {
                        gateway_sequencer.hand_on(Inbound { received, command });
                    });
                    match handed_on {
                        Ok(()) => {
                            self.counters.messages_in += 1;
                            (self.observe)(Stage::In, ticks().saturating_sub(received));
                        }
                        Err(why) => {
                            self.counters.malformed += 1;
                            *malformed += 1;
                            if *malformed > self.config.malformed_max {
                                return Err(Ending::Meaningless);
                            }
                            explain(session, &why);
                        }
                    }
                }
                ServerEvent::Login(asked) => *login = LoginState::Asked(asked),
                ServerEvent::Debug(_) => {}
                ServerEvent::Logout => return Err(Ending::Gone),
            }
        }
        Ok(taken)
    }
}

/// The ring to the sequencer, and what of one message found no room in it. While anything waits nothing
/// else goes in, so that commands keep the order they came in.
#[derive(Debug)]
struct ToSequencer {
    ring: Producer<Inbound>,
    /// Less than [`COMMANDS_MAX`]: a message is taken only when its first command has room.
    waiting: VecDeque<Inbound>,
}

impl ToSequencer {
    fn is_full(&self) -> bool {
        !self.waiting.is_empty() || self.ring.is_full()
    }

    /// False: there is no room.
    fn push(&mut self, inbound: Inbound) -> bool {
        self.waiting.is_empty() && self.ring.push(inbound).is_ok()
    }

    /// One of the commands of a message that was taken when there was room.
    fn hand_on(&mut self, inbound: Inbound) {
        if !self.push(inbound) {
            assert!(self.waiting.len() < COMMANDS_MAX, "a message has a bounded number of commands");
            self.waiting.push_back(inbound);
        }
    }

    /// Says how many of those that waited found room.
    fn hand_on_waiting(&mut self) -> usize {
        let mut count = 0;
        while let Some(&inbound) = self.waiting.front() {
            if self.ring.push(inbound).is_err() {
                break;
            }
            self.waiting.pop_front();
            count += 1;
        }
        count
    }
}

/// Tells a member in a debug packet why its message was not taken: it has no number that a refusal
/// could name. The text is cut off at what fits.
fn explain(session: &mut ServerSession, why: &NotTaken) {
    let mut text = [0; 160];
    let mut rest = text.as_mut_slice();
    let _ = write!(rest, "{why}");
    let len = 160 - rest.len();
    session.debug(&text[..len]);
}

pub(crate) const fn stream_of(port: PortId) -> StreamId {
    StreamId(port.0)
}

fn index_of(port: PortId) -> usize {
    port.0 as usize - 1
}

fn port_id(index: usize) -> PortId {
    PortId(u32::try_from(index + 1).expect("port ids have 32 bits"))
}

#[cfg(test)]
mod tests {
    use ironbell_sync::ring;

    use super::*;

    #[test]
    fn what_waits_is_not_overtaken_when_room_is_made_meanwhile() {
        let (ring, mut sequencer) = ring(2);
        let mut to_sequencer = ToSequencer { ring, waiting: VecDeque::with_capacity(COMMANDS_MAX) };
        let inbound = |received| Inbound { received, command: Command::Tick };
        for received in 1..=4 {
            to_sequencer.hand_on(inbound(received));
        }
        // The sequencer takes one between two looks of the gateway.
        assert_eq!(sequencer.pop().map(|inbound| inbound.received), Ok(1));
        assert!(to_sequencer.is_full(), "for all but what waits");
        assert!(!to_sequencer.push(inbound(9)));
        to_sequencer.hand_on(inbound(5));
        assert_eq!(to_sequencer.hand_on_waiting(), 1);
        let mut taken = Vec::new();
        while let Ok(inbound) = sequencer.pop() {
            taken.push(inbound.received);
            to_sequencer.hand_on_waiting();
        }
        assert_eq!(taken, [2, 3, 4, 5]);
        assert!(!to_sequencer.is_full() && to_sequencer.push(inbound(6)));
    }
}
