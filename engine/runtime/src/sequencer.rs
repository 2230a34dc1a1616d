//! The sequencer: the one place where a command gets its [`Seq`] and its time.
//!
//! **Sequenced time never goes back**: time = max(previous, clock). **Seqs are dense.** A frame closes
//! when the shard has executed everything sequenced so far *and* the journal has a free slot, with
//! whatever arrived meanwhile: a slow disk makes larger frames, not a queue of small ones. What the
//! state machine asks for itself (a slice of a mass cancel) goes before what gateways bring, and before all of
//! that goes a tick when a timer of the state machine is due: **ticks before commands of the same time.**
//! The state machine says when (`next_due`), and only when it has executed everything sequenced so far, so
//! that no tick is on its way when the next is decided. Ports whose commands cut supersteps come last in their frame
//! (`deferral.rs`).

use ironbell_sync::{Consumer, CursorReader, DueReader, Producer, ticks};
use ironbell_types::{Command, Inbound, MassCancelSlice, Nanos, PortId, Seq, Sequenced};

use crate::clock::Clock;
use crate::deferral::Deferral;
use crate::frame::{COMMANDS_MAX, FramePool, SharedFrame};
use crate::placement::Role;

/// What a shard tells the sequencer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromShard {
    /// Everything up to `seq` is executed, and this is the output hash there.
    Executed {
        /// The last Seq executed.
        seq: Seq,
        /// The running output hash after it.
        output_hash: u128,
    },
    /// The state machine asks for this command.
    Ask(MassCancelSlice),
    /// A command of this port cut a superstep.
    Cut(PortId),
}

/// The ends of rings and cursors that the sequencer holds.
pub struct Connections {
    /// One ring from each gateway, and one from administration.
    pub inputs: Vec<Consumer<Inbound>>,
    /// From the shard.
    pub shard_sequencer: Consumer<FromShard>,
    /// To the journal.
    pub sequencer_journal: Producer<SharedFrame>,
    /// To the shard.
    pub sequencer_shard: Producer<SharedFrame>,
    /// Frames that the journal has made durable.
    pub frames_durable: CursorReader,
    /// What is committed.
    pub commit: CursorReader,
    /// When the state machine next has something to do by itself, in nanoseconds of sequenced time; the shard
    /// publishes it before it says that a frame is executed.
    pub next_due: DueReader,
}

/// Where the journal left off.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// The last Seq in the journal.
    pub seq: Seq,
    /// Its time.
    pub time: Nanos,
    /// The output hash there.
    pub output_hash: u128,
    /// What is known to be committed: everything that was recovered.
    pub commit: Seq,
}

/// Counters of the sequencer, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames closed, empty ones included.
    pub frames: u64,
    /// Commands sequenced.
    pub commands: u64,
    /// Ticks among them.
    pub ticks: u64,
    /// Commands among them that came last in their frame.
    pub deferred: u64,
    /// Polls that found input but the shard or the journal not ready.
    pub waits: u64,
}

/// The role.
pub struct Sequencer<C> {
    clock: C,
    connections: Connections,
    pool: FramePool,
    in_flight_max: u64,
    quiescence: Nanos,
    seq: Seq,
    time: Nanos,
    executed: (Seq, u128),
    asks: Vec<MassCancelSlice>,
    deferral: Deferral,
    /// What comes last in the frame that is filled; empty between frames.
    deferred: Vec<Inbound>,
    frames_closed: u64,
    commit_written: Seq,
    idle_since: Option<Nanos>,
    next_input: usize,
    stopping: bool,
    counters: Counters,
}

impl<C: Clock> Sequencer<C> {
    /// A sequencer that goes on after `start`. At most `in_flight_max` frames wait for the disk;
    /// after `quiescence` without input one empty frame carries the commit Seq.
    ///
    /// `asks` are those that were recovered: asked for, but not sequenced before the stop.
    #[must_use]
    pub fn new(
        clock: C,
        connections: Connections,
        start: Start,
        in_flight_max: usize,
        quiescence: Nanos,
        asks: Vec<MassCancelSlice>,
    ) -> Self {
        Self {
            clock,
            connections,
            // Frames are held by the journal (in flight), the shard and the release gate; four more let
            // the release gate lag.
            pool: FramePool::new(in_flight_max * 2 + 4),
            in_flight_max: in_flight_max as u64,
            quiescence,
            seq: start.seq,
            time: start.time,
            executed: (start.seq, start.output_hash),
            asks,
            deferral: Deferral::default(),
            deferred: Vec::with_capacity(COMMANDS_MAX),
            frames_closed: 0,
            commit_written: start.commit,
            idle_since: None,
            next_input: 0,
            stopping: false,
            counters: Counters::default(),
        }
    }

    /// Counters so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Commands that wait in the rings of its inputs, by input.
    pub fn waiting(&self) -> impl Iterator<Item = usize> + '_ {
        self.connections.inputs.iter().map(Consumer::slots)
    }

    /// The last Seq given.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// Whether everything that came in is sequenced, executed and committed, and the frame that carries the
    /// commit Seq is durable itself.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.executed.0 == self.seq
            && self.commit_written == self.seq
            && self.connections.frames_durable.get() == self.frames_closed
            && !self.has_input()
    }

    /// From now on quiescence is not waited for: the closing empty frame is written as soon as everything
    /// is committed. Timers that come due stay due; the next run ticks.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Goes on after a [`stop`](Self::stop) that was taken back.
    pub fn resume(&mut self) {
        self.stopping = false;
    }

    fn hear_shard(&mut self) -> usize {
        let mut heard = 0;
        while let Ok(message) = self.connections.shard_sequencer.pop() {
            match message {
                FromShard::Executed { seq, output_hash } => self.executed = (seq, output_hash),
                FromShard::Ask(slice) => self.asks.push(slice),
                FromShard::Cut(port) => self.deferral.note(port),
            }
            heard += 1;
        }
        heard
    }

    fn has_input(&self) -> bool {
        !self.asks.is_empty() || self.connections.inputs.iter().any(|input| !input.is_empty())
    }

    /// Whether a tick is due now.
    fn tick_due(&mut self) -> bool {
        // The clock is read only when there is a timer at all.
        !self.stopping
            && self.connections.next_due.get().is_some_and(|due| due <= self.time.max(self.clock.now()).0)
    }

    fn may_close(&mut self) -> bool {
        self.executed.0 == self.seq
            && self.frames_closed - self.connections.frames_durable.get() < self.in_flight_max
            && self.connections.sequencer_journal.slots() > 0
            && self.connections.sequencer_shard.slots() > 0
    }

    fn fill(&mut self) -> usize {
        let commit = Seq(self.connections.commit.get());
        let now = self.time.max(self.clock.now());
        let Some(frame) = self.pool.begin() else { return 0 };
        let mut seq = self.seq;
        let mut put = |command, received| {
            seq = seq.next();
            assert!(seq <= Seq::MAX, "the sequence is used up");
            frame.commands.push(Sequenced { seq, time: now, command });
            frame.received.push(received);
        };
        let mut room = COMMANDS_MAX;
        if !self.stopping && self.connections.next_due.is_due(now.0) {
            self.counters.ticks += 1;
            put(Command::Tick, 0);
            room -= 1;
        }
        let asked = self.asks.len().min(room);
        for slice in self.asks.drain(..asked) {
            put(Command::MassCancelSlice(slice), 0);
        }
        room -= asked;
        // One command from each gateway in turn, so that none can starve the others of a place.
        let inputs = self.connections.inputs.len();
        let mut empty = 0;
        self.deferral.begin_frame();
        while room > 0 && empty < inputs {
            self.next_input = (self.next_input + 1) % inputs;
            let Ok(inbound) = self.connections.inputs[self.next_input].pop() else {
                empty += 1;
                continue;
            };
            (room, empty) = (room - 1, 0);
            if inbound.command.port().is_some_and(|port| self.deferral.defers(port)) {
                self.deferred.push(inbound);
            } else {
                put(inbound.command, inbound.received);
            }
        }
        for inbound in &self.deferred {
            put(inbound.command, inbound.received);
        }
        frame.deferred = self.deferred.len();
        self.counters.deferred += frame.deferred as u64;
        self.deferred.clear();
        frame.sequenced = ticks();
        frame.commit = commit;
        frame.executed = self.executed;
        let commands = frame.commands.len();
        self.seq = seq;
        self.time = now;
        self.close(commit);
        commands
    }

    fn close(&mut self, commit: Seq) {
        let frame = self.pool.close();
        self.counters.frames += 1;
        self.counters.commands += frame.commands.len() as u64;
        self.frames_closed += 1;
        self.commit_written = commit;
        if !frame.commands.is_empty() {
            self.connections.sequencer_shard.push(SharedFrame::clone(&frame)).expect("a slot was free");
        }
        self.connections.sequencer_journal.push(frame).expect("a slot was free");
    }

    /// At quiescence one empty frame is written that carries the commit Seq, so that the last
    /// acknowledged frame is covered by a later one; after that an idle venue writes nothing.
    fn close_empty(&mut self) -> usize {
        let commit = Seq(self.connections.commit.get());
        if commit != self.seq || self.commit_written == commit {
            self.idle_since = None;
            return 0;
        }
        let now = self.clock.now();
        let since = *self.idle_since.get_or_insert(now);
        if !self.stopping && now.0.saturating_sub(since.0) < self.quiescence.0 {
            return 0;
        }
        let Some(frame) = self.pool.begin() else { return 0 };
        frame.sequenced = ticks();
        frame.commit = commit;
        frame.executed = self.executed;
        self.close(commit);
        1
    }
}

impl<C: Clock> Role for Sequencer<C> {
    fn name(&self) -> &'static str {
        "sequencer"
    }

    fn poll(&mut self, _now: Nanos) -> usize {
        let heard = self.hear_shard();
        let input = self.has_input();
        if !self.may_close() {
            self.counters.waits += u64::from(input);
            return heard;
        }
        if input || self.tick_due() {
            self.idle_since = None;
            return heard + self.fill();
        }
        heard + self.close_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironbell_sync::{CursorWriter, DueWriter, cursor, due, ring};
    use ironbell_types::{Login, Logout};

    struct Steps(Vec<u64>);
    impl Clock for Steps {
        fn now(&mut self) -> Nanos {
            Nanos(if self.0.len() > 1 { self.0.remove(0) } else { self.0[0] })
        }
    }

    struct Bench {
        sequencer: Sequencer<Steps>,
        gateways: Vec<Producer<Inbound>>,
        shard: Producer<FromShard>,
        to_journal: Consumer<SharedFrame>,
        to_shard: Consumer<SharedFrame>,
        frames_durable: CursorWriter,
        commit: CursorWriter,
        next_due: DueWriter,
    }

    fn bench(clock: Vec<u64>, gateways: usize) -> Bench {
        let start = Start { seq: Seq(0), time: Nanos(0), output_hash: 0, commit: Seq(0) };
        bench_from(start, clock, gateways)
    }

    fn bench_from(start: Start, clock: Vec<u64>, gateways: usize) -> Bench {
        let (mut producers, mut inputs) = (Vec::new(), Vec::new());
        for _ in 0..gateways {
            let (producer, consumer) = ring(4_096);
            producers.push(producer);
            inputs.push(consumer);
        }
        let (shard, shard_sequencer) = ring(16);
        let (sequencer_journal, to_journal) = ring(16);
        let (sequencer_shard, to_shard) = ring(16);
        let (frames_durable, frames_durable_reader) = cursor(0);
        let (commit, commit_reader) = cursor(start.seq.0);
        let (next_due, next_due_reader) = due();
        let connections = Connections {
            inputs,
            shard_sequencer,
            sequencer_journal,
            sequencer_shard,
            frames_durable: frames_durable_reader,
            commit: commit_reader,
            next_due: next_due_reader,
        };
        let sequencer = Sequencer::new(Steps(clock), connections, start, 2, Nanos(10), vec![]);
        Bench {
            sequencer,
            gateways: producers,
            shard,
            to_journal,
            to_shard,
            frames_durable,
            commit,
            next_due,
        }
    }

    fn login(port: u32) -> Inbound {
        Inbound { received: 1, command: Command::Login(Login { port: PortId(port) }) }
    }

    impl Bench {
        fn poll(&mut self) {
            self.sequencer.poll(Nanos(0));
        }

        fn executed(&mut self, seq: u64) {
            self.shard.push(FromShard::Executed { seq: Seq(seq), output_hash: 7 }).expect("room");
        }
    }

    #[test]
    fn seqs_are_dense_and_time_never_goes_back() {
        let mut b = bench(vec![50, 40, 60], 1);
        let mut seen = vec![];
        for n in 1..=3 {
            b.gateways[0].push(login(1)).expect("room");
            b.poll();
            let frame = b.to_shard.pop().expect("a frame");
            b.to_journal.pop().expect("the same frame");
            seen.extend(frame.commands.iter().map(|c| (c.seq.0, c.time.0)));
            drop(frame);
            b.executed(n);
            b.frames_durable.advance(n);
        }
        assert_eq!(seen, [(1, 50), (2, 50), (3, 60)]);
    }

    #[test]
    fn a_restart_with_the_clock_set_back_goes_on_where_the_journal_was() {
        let start = Start { seq: Seq(7), time: Nanos(1_000), output_hash: 5, commit: Seq(6) };
        let mut b = bench_from(start, vec![10], 1);
        b.gateways[0].push(login(1)).expect("room");
        b.poll();
        let frame = b.to_journal.pop().expect("a frame");
        let at: Vec<_> = frame.commands.iter().map(|c| (c.seq.0, c.time.0)).collect();
        assert_eq!(at, [(8, 1_000)]);
        assert_eq!((frame.commit, frame.executed), (Seq(7), (Seq(7), 5)));
    }

    #[test]
    fn what_arrives_while_the_shard_works_makes_one_frame() {
        let mut b = bench(vec![1], 1);
        b.gateways[0].push(login(1)).expect("room");
        b.poll();
        for _ in 0..1_500 {
            b.gateways[0].push(login(1)).expect("room");
        }
        b.poll();
        b.to_journal.pop().expect("the first frame");
        b.to_shard.pop().expect("the first frame");
        assert!(b.to_journal.is_empty(), "the shard has not finished the first frame");
        b.executed(1);
        b.poll();
        assert_eq!(b.to_journal.pop().expect("the second").commands.len(), COMMANDS_MAX);
        b.to_shard.pop().expect("the second");
        b.executed(1_025);
        b.poll();
        assert!(b.to_journal.is_empty(), "two frames wait for the disk already");
        b.frames_durable.advance(1);
        b.poll();
        assert_eq!(b.to_journal.pop().expect("the third").commands.len(), 1_500 - COMMANDS_MAX);
    }

    #[test]
    fn gateways_take_turns_and_asks_go_first() {
        let mut b = bench(vec![1], 2);
        for _ in 0..3 {
            b.gateways[0].push(login(1)).expect("room");
        }
        b.gateways[1].push(login(2)).expect("room");
        let ask = MassCancelSlice { cause: Seq(1), slice: 0 };
        b.shard.push(FromShard::Ask(ask)).expect("room");
        b.poll();
        let frame = b.to_journal.pop().expect("a frame");
        assert_eq!(frame.commands[0].command, Command::MassCancelSlice(ask));
        let second = frame.commands.iter().position(|c| c.command == login(2).command);
        assert!(second.is_some_and(|at| at <= 2), "the second gateway waits for at most one command");
        assert_eq!(frame.commands.len(), 5);
    }

    /// All of a port that cuts comes last, its logout too, in its own order; all else stays in the order it came in.
    #[test]
    fn who_cuts_is_read_last() {
        let mut b = bench(vec![1], 1);
        let logout = |port| Inbound {
            received: u64::from(port),
            command: Command::Logout(Logout { port: PortId(port), incarnation: 1 }),
        };
        let came = [login(1), login(2), logout(1), login(3), login(1), logout(3)];
        let mut frame = |cuts: usize, executed| {
            (0..cuts).for_each(|_| b.shard.push(FromShard::Cut(PortId(1))).expect("room"));
            if executed > 0 {
                b.executed(executed);
            }
            came.iter().for_each(|inbound| b.gateways[0].push(*inbound).expect("room"));
            b.poll();
            b.to_journal.pop().expect("a frame");
            let frame = b.to_shard.pop().expect("the same frame");
            b.frames_durable.advance(b.sequencer.counters().frames);
            let read = |(sequenced, received): (&Sequenced, &u64)| (sequenced.command, *received);
            let read: Vec<_> = frame.commands.iter().zip(&frame.received).map(read).collect();
            (read, frame.deferred)
        };
        let as_is = came.map(|inbound| (inbound.command, inbound.received));
        assert_eq!(frame(0, 0), (as_is.to_vec(), 0));
        let last = [1, 3, 5, 0, 2, 4].map(|place| as_is[place]);
        assert_eq!(frame(2, 6), (last.to_vec(), 3));
        assert_eq!(b.sequencer.counters().deferred, 3);
    }

    #[test]
    fn one_empty_frame_carries_the_commit_seq_and_then_nothing_is_written() {
        let mut b = bench(vec![100], 1);
        b.gateways[0].push(login(1)).expect("room");
        b.poll();
        b.to_journal.pop().expect("a frame");
        b.executed(1);
        b.frames_durable.advance(1);
        b.commit.advance(1);
        b.sequencer.clock.0 = vec![200, 205, 210, 500];
        b.poll();
        b.poll();
        assert!(b.to_journal.is_empty(), "not idle for long enough");
        b.poll();
        let frame = b.to_journal.pop().expect("the empty frame");
        assert_eq!((frame.commands.len(), frame.commit, frame.executed), (0, Seq(1), (Seq(1), 7)));
        assert!(!b.sequencer.is_quiet(), "the empty frame is on its way to the disk");
        b.frames_durable.advance(2);
        assert!(b.sequencer.is_quiet());
        for _ in 0..10 {
            b.poll();
        }
        assert!(b.to_journal.is_empty());
    }

    /// A gateway on another thread may have read a last message when the stop is asked: it is still to be
    /// sequenced.
    #[test]
    fn a_sequencer_with_a_command_before_it_is_not_quiet() {
        let mut b = bench(vec![1], 1);
        assert!(b.sequencer.is_quiet());
        b.gateways[0].push(login(1)).expect("room");
        assert!(!b.sequencer.is_quiet());
    }

    #[test]
    fn a_tick_is_issued_when_it_is_due_before_everything_else_of_its_time() {
        let mut b = bench(vec![99], 1);
        b.next_due.publish(Some(100));
        b.poll();
        assert!(b.to_journal.is_empty(), "nothing is due yet, and nothing is written");
        b.gateways[0].push(login(1)).expect("room");
        let ask = MassCancelSlice { cause: Seq(1), slice: 0 };
        b.shard.push(FromShard::Ask(ask)).expect("room");
        b.sequencer.clock.0 = vec![100];
        b.poll();
        let frame = b.to_journal.pop().expect("a frame");
        let commands: Vec<_> = frame.commands.iter().map(|c| (c.time.0, c.command)).collect();
        let expected = [Command::Tick, Command::MassCancelSlice(ask), login(1).command];
        assert_eq!(commands, expected.map(|command| (100, command)));
        assert_eq!(b.sequencer.counters().ticks, 1);
    }

    #[test]
    fn at_most_one_tick_is_on_its_way() {
        let mut b = bench(vec![100], 1);
        b.next_due.publish(Some(50));
        b.poll();
        assert_eq!(b.to_journal.pop().expect("the tick's frame").commands.len(), 1);
        for _ in 0..10 {
            b.poll();
        }
        assert!(b.to_journal.is_empty(), "the shard has not executed the tick");
        // The shard publishes what is next and then says that it is done.
        b.next_due.publish(Some(100));
        b.executed(1);
        b.poll();
        let again = b.to_journal.pop().expect("what the first left over is due already");
        assert_eq!((again.commands[0].seq, again.commands[0].command), (Seq(2), Command::Tick));
        b.next_due.publish(Some(101));
        b.executed(2);
        b.frames_durable.advance(2);
        b.poll();
        assert!(b.to_journal.is_empty(), "the next one is not due");
    }

    #[test]
    fn a_tick_is_due_at_sequenced_time_whatever_the_clock_says() {
        let start = Start { seq: Seq(7), time: Nanos(1_000), output_hash: 5, commit: Seq(7) };
        let mut b = bench_from(start, vec![10], 1);
        b.next_due.publish(Some(1_000));
        b.poll();
        let frame = b.to_journal.pop().expect("a frame");
        assert_eq!((frame.commands[0].time, frame.commands[0].command), (Nanos(1_000), Command::Tick));
    }

    #[test]
    fn who_stops_leaves_timers_to_the_next_run() {
        let mut b = bench(vec![100], 1);
        b.next_due.publish(Some(50));
        b.sequencer.stop();
        for _ in 0..10 {
            b.poll();
        }
        assert!(b.to_journal.is_empty());
        assert!(b.sequencer.is_quiet());
    }
}
