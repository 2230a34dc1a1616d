//! Following: frames come from the primary, are written here as they are, acknowledged, and executed once they are
//! committed. A recovery that never ends.

use std::collections::VecDeque;

use ironbell_device::kernel::Connection;
use ironbell_record::{Executed, Identity, Point};
use ironbell_replica::control::{Input, Peer};
use ironbell_replica::history::{Epochs, Relation};
use ironbell_replica::message::{Asks, Hello, Message, Refusal};
use ironbell_replica::standby::{Heard, Link};
use ironbell_replica::transfer::{Came, Taking};
use ironbell_replica::{AckPolicy, Control, NodeId};
use ironbell_runtime::Stop;
use ironbell_runtime::clock::boot_time;
use ironbell_store::{Error, Reader, Voids};
use ironbell_types::{Nanos, Seq, Sequenced};

use crate::config::Config;
use crate::failure::Failure;
use crate::ha::carriage::Carriage;
use crate::ha::config::Ha;
use crate::ha::desk::View;
use crate::ha::incoming::Incoming;
use crate::ha::primary::{OUTBOX_BYTES, SILENCE_MAX};
use crate::roles::Fatal;
use crate::space::{Makers, Space};
use crate::warm::Warm;

/// Frames that may wait here for their commit. A primary commits what it has in flight, and that is fewer.
const PENDING_WARM: usize = 64;

/// A node that follows.
pub struct Follower {
    warm: Warm,
    node: NodeId,
    policy: AckPolicy,
    identity: Identity,
    epochs: Epochs,
    making: Making,
    line: Option<Line>,
    /// A link was asked for and has not come.
    called: bool,
    /// Frames that are not known to be committed, oldest first; and what they were kept in before.
    pending: VecDeque<Vec<Sequenced>>,
    spare: Vec<Vec<Sequenced>>,
    told_durable: Point,
    /// When it last acknowledged anything, over whatever link.
    acked_at: Option<Nanos>,
    halted: Option<String>,
    /// What it asks the primary for: a snapshot, once that has said that its journal does not reach back far enough.
    asks: Asks,
    /// A snapshot came whole, and is to be put in the place of what is here.
    staged: bool,
    /// Why a link of no use ended, so that it is said once.
    said: String,
    config: Config,
    view: View,
}

/// The files' makers, at work on a thread of their own.
struct Making {
    thread: Option<std::thread::JoinHandle<Makers>>,
    stop: Stop,
    fatal: Fatal,
    spent: Fatal,
}

impl Making {
    fn start(makers: Makers) -> Result<Self, Failure> {
        let (stop, fatal, spent) = (Stop::default(), Fatal::default(), Fatal::default());
        let space =
            Space { makers, venue: None, fatal: fatal.clone(), spent: spent.clone(), stop: stop.clone() };
        Ok(Self { thread: Some(space.start()?), stop, fatal, spent })
    }

    fn stop(&mut self) -> Option<Makers> {
        self.stop.ask();
        self.thread.take()?.join().ok()
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        drop(self.stop());
    }
}

/// The other node, as far as it is connected.
struct Line {
    carriage: Carriage,
    link: Link,
    greeted: bool,
    heard_at: Nanos,
    /// Frames that come are those that were asked for: [`Message::Pull`].
    pulling: bool,
    /// What comes is a snapshot.
    taking: Option<Taking>,
    incoming: Option<Incoming>,
    /// What the other node holds void.
    voids: Voids,
}

/// Why a link ends.
enum Over {
    /// The other node is told nothing.
    Broken(String),
    /// It is told this.
    Refuse(Refusal, String),
    /// It is told, and this node stands still until somebody has looked.
    Halt(String),
    /// The journal failed.
    Fatal(Failure),
}

impl From<Error> for Over {
    fn from(error: Error) -> Self {
        match error {
            Error::Copy { .. } => Self::Halt(error.to_string()),
            error => Self::Fatal(error.into()),
        }
    }
}

impl Follower {
    /// A node that has recovered goes on by following.
    ///
    /// # Errors
    /// When there is no thread.
    pub fn new(mut warm: Warm, config: &Config, ha: &Ha, view: View) -> Result<Self, Failure> {
        let identity = ironbell_store::identity(&warm.dir)?;
        let points: Vec<Point> = warm.writer.epochs().collect();
        let epochs = Epochs::new(identity, warm.writer.read_from(), &points);
        let making = Making::start(warm.makers.take().expect("a node that has recovered has makers"))?;
        let told_durable = warm.writer.durable_point();
        Ok(Self {
            warm,
            node: ha.node(),
            policy: ha.ack,
            identity,
            epochs,
            making,
            line: None,
            called: true,
            pending: VecDeque::with_capacity(PENDING_WARM),
            spare: Vec::new(),
            told_durable,
            acked_at: None,
            halted: None,
            asks: Asks::Frames,
            staged: false,
            said: String::new(),
            config: config.clone(),
            view,
        })
    }

    /// The last command executed.
    #[must_use]
    pub fn executed(&self) -> Seq {
        self.warm.replay.engine().last_seq()
    }

    fn applied(&self) -> Executed {
        let engine = self.warm.replay.engine();
        Executed { seq: engine.last_seq(), output_hash: engine.output_hash() }
    }

    /// A connection to the other node, in place of the one before. What the hello says is on the disk.
    ///
    /// # Errors
    /// When the journal fails.
    pub fn connect(&mut self, connection: Connection, control: &mut Control) -> Result<(), Failure> {
        let now = boot_time();
        if self.halted.is_some() {
            // It stands still until somebody has looked and started it again.
            return Ok(());
        }
        if self.line.take().is_some() {
            control.input(Input::LinkDown, now);
        }
        self.finish_writes()?;
        self.called = false;
        let mut carriage = Carriage::new(connection, OUTBOX_BYTES);
        let hello = Hello {
            identity: self.identity,
            node: self.node,
            ack: self.policy,
            asks: self.asks,
            promised: self.warm.writer.promised(),
            leading: None,
            last: self.warm.writer.durable_point(),
            epochs: self.epochs.points().to_vec(),
            voids: self.warm.writer.voids(),
        };
        Message::Hello(Box::new(hello)).encode(carriage.outbox());
        let link = Link::new(self.warm.writer.promised(), self.warm.writer.durable_point(), self.applied());
        self.line = Some(Line {
            carriage,
            link,
            greeted: false,
            heard_at: now,
            pulling: false,
            taking: (self.asks == Asks::Snapshot).then(|| Taking::new(now)),
            incoming: None,
            voids: Voids::NONE,
        });
        Ok(())
    }

    fn finish_writes(&mut self) -> Result<(), Failure> {
        while self.warm.writer.in_flight() > 0 {
            self.warm.writer.poll()?;
        }
        Ok(())
    }

    /// Whether a snapshot came whole: it is put in the place of what is here when nobody uses that any more.
    #[must_use]
    pub fn has_staged(&self) -> bool {
        self.staged
    }

    /// Whether the other node should be called: says so once for each link that is lost.
    pub fn wants_link(&mut self) -> bool {
        let wants = self.line.is_none() && !self.called && self.halted.is_none() && !self.staged;
        self.called |= wants;
        wants
    }

    /// Moves everything on; how much that was.
    ///
    /// # Errors
    /// When the journal or a log fails.
    pub fn poll(&mut self, control: &mut Control) -> Result<usize, Failure> {
        if let Some(why) = self.making.fatal.why().or(self.making.spent.why()) {
            return Err(Failure::poisoned(format_args!("stopped: {why}")));
        }
        let mut work = self.warm.writer.poll()?;
        if let Some(mut line) = self.line.take() {
            let now = boot_time();
            match self.converse(&mut line, control, now) {
                Ok(worked) => {
                    work += worked;
                    self.line = Some(line);
                }
                Err(over) => self.hang_up(line, over, control, now)?,
            }
        }
        let durable = self.warm.writer.durable_point();
        if durable != self.told_durable {
            self.told_durable = durable;
            control.input(Input::Durable(durable), boot_time());
        }
        Ok(work)
    }

    fn hang_up(
        &mut self,
        mut line: Line,
        over: Over,
        control: &mut Control,
        now: Nanos,
    ) -> Result<(), Failure> {
        let promised = self.warm.writer.promised();
        let mut refuse = |why| {
            Message::Refused { why, promised }.encode(line.carriage.outbox());
            // What does not get through hurts nobody.
            let _ = line.carriage.send();
        };
        match over {
            // One that was never of use is tried again at once; who wants to know sees in the status that there is none.
            Over::Broken(why) if line.link.epoch() == 0 => {
                if line.taking.is_some() && !self.staged && why != self.said {
                    tracing::warn!(why, "no snapshot came from the other node");
                }
                tracing::debug!(why, "no link to the other node");
                self.said = why;
            }
            Over::Broken(why) => tracing::warn!(why, "the link to the other node is down"),
            Over::Refuse(refusal, why) => {
                refuse(refusal);
                tracing::warn!(why, "the link to the other node was ended");
            }
            Over::Halt(why) => {
                refuse(Refusal::Halted);
                tracing::error!("ALARM: this standby stands still: {why}");
                self.halted = Some(why);
                control.input(Input::Halt, now);
            }
            Over::Fatal(failure) => return Err(failure),
        }
        control.input(Input::LinkDown, now);
        Ok(())
    }

    fn converse(&mut self, line: &mut Line, control: &mut Control, now: Nanos) -> Result<usize, Over> {
        let broken = |e: &dyn std::fmt::Display| Over::Broken(e.to_string());
        let mut work = line.carriage.receive().map_err(|e| broken(&e))?;
        if work > 0 {
            line.heard_at = now;
        } else if now.0.saturating_sub(line.heard_at.0) > SILENCE_MAX.0 {
            return Err(Over::Broken("nothing was heard of it for too long".into()));
        }
        let Line { carriage, link, greeted, pulling, taking, incoming, voids, .. } = line;
        let mut answer = Vec::new();
        loop {
            // The journal must have room for what comes next.
            if !self.warm.writer.can_begin() {
                work += self.warm.writer.poll()?;
                if !self.warm.writer.can_begin() {
                    break;
                }
            }
            let Some(message) = carriage.message().map_err(|e| broken(&e))? else { break };
            match message {
                Message::Hello(hello) if !*greeted => {
                    *greeted = true;
                    let peer = self.greet(&hello)?;
                    *voids = hello.voids;
                    // Who does not lead sends none.
                    if hello.leading.is_none() {
                        *taking = None;
                    }
                    // Who is sent a snapshot follows nobody.
                    if taking.is_none() {
                        control.input(Input::LinkUp(peer), now);
                    }
                }
                _ if !*greeted => return Err(Over::Refuse(Refusal::Protocol, "it said no hello".into())),
                message if let Some(taking) = taking.as_mut() => {
                    let came = taking.receive(&message);
                    let came = came.map_err(|fault| Over::Refuse(fault.refusal(), fault.to_string()))?;
                    let (identity, own) = (self.identity, self.warm.writer.point());
                    if let Came::Frame(number, _) = came
                        && number < own.frames
                    {
                        let what = format!(
                            "the primary's newest snapshot is older than what is here, {own}: make one there (`ironbell snapshot now`), \
                             then start this node again"
                        );
                        return Err(Over::Halt(what));
                    }
                    if take(came, incoming, &self.config, identity, *voids)? {
                        self.staged = true;
                        return Err(Over::Broken(
                            "the snapshot is here; saying hello again from there".into(),
                        ));
                    }
                }
                Message::Pull { from } => self.tail(from, &mut answer)?,
                Message::Tail(number, copy) if *pulling => {
                    if number != self.warm.writer.point().frames {
                        let what = "its tail does not go on where this journal ends".to_owned();
                        return Err(Over::Refuse(Refusal::Protocol, what));
                    }
                    let commands = self.warm.writer.append_copy(&copy)?;
                    keep(commands, &mut self.pending, &mut self.spare);
                    self.epochs.reach(self.warm.writer.point());
                }
                Message::TailEnd { .. } if *pulling => {
                    return Err(Over::Broken("what it had more is here; saying hello again".into()));
                }
                message => {
                    let heard = link.receive(&message, now);
                    let heard = heard.map_err(|fault| match fault.halts() {
                        true => Over::Halt(fault.to_string()),
                        false => Over::Refuse(fault.refusal(), fault.to_string()),
                    })?;
                    match heard {
                        Heard::Nothing => {}
                        Heard::Promise(epoch) => {
                            match self.warm.writer.promise(epoch) {
                                Err(error @ Error::Promised { .. }) => {
                                    return Err(Over::Refuse(Refusal::Epoch, error.to_string()));
                                }
                                promised => promised?,
                            }
                            link.promised(epoch);
                            let (last, acked_at) = (self.warm.writer.durable_point(), self.acked_at);
                            control.input(Input::Promised { epoch, last, acked_at }, now);
                        }
                        Heard::CutBack { epoch, to } => {
                            control.input(Input::NeedsCut { epoch, to }, now);
                            return Err(Over::Broken("its history goes on without what is here".into()));
                        }
                        Heard::Frame(copy) => {
                            let commands = self.warm.writer.append_copy(&copy)?;
                            keep(commands, &mut self.pending, &mut self.spare);
                            self.epochs.reach(self.warm.writer.point());
                            link.appended(&copy).map_err(|fault| Over::Halt(fault.to_string()))?;
                        }
                        Heard::Switchover { epoch, last } => {
                            control.input(Input::HandedOver { epoch, last }, now);
                        }
                        Heard::Refused { why: why @ Refusal::TooOld, promised: _ } => {
                            self.asks = Asks::Snapshot;
                            return Err(Over::Broken(format!("it refuses: {why}; asking for a snapshot")));
                        }
                        Heard::Refused { why, promised: _ } => {
                            return Err(Over::Broken(format!("it refuses: {why}")));
                        }
                    }
                }
            }
            work += 1;
        }
        carriage.outbox().append(&mut answer);
        if let Some(taking) = taking {
            work += usize::from(taking.tell(now, carriage.outbox()));
        }
        work += self.warm.writer.poll()?;
        link.durable(self.warm.writer.durable_point());
        // First the word that it is here, then what it means.
        work += usize::from(link.acknowledge(now, carriage.outbox()));
        self.acked_at = self.acked_at.max(link.acked_at());
        work += carriage.send().map_err(|e| broken(&e))?;
        work += self.execute(link)?;
        if let Some(at) = link.heard_at() {
            control.input(Input::Heard { at, holds_commit: link.holds_commit() }, now);
        }
        Ok(work)
    }

    /// What control is to know of who says hello.
    fn greet(&self, hello: &Hello) -> Result<Peer, Over> {
        let refuse = |why: Refusal| Err(Over::Refuse(why, why.to_string()));
        if hello.identity != self.identity {
            return refuse(Refusal::Venue);
        }
        if hello.node == self.node {
            return refuse(Refusal::Node);
        }
        if hello.ack != self.policy {
            return refuse(Refusal::Policy);
        }
        let relation = self.epochs.relation(hello);
        if let Relation::Diverged { epoch } = relation {
            tracing::error!(
                epoch,
                "ALARM: one epoch has two histories: one of the journals is not what its node wrote"
            );
        }
        Ok(Peer { promised: hello.promised, leading: hello.leading, relation })
    }

    /// Executes what is committed; how many frames that was.
    fn execute(&mut self, link: &mut Link) -> Result<usize, Over> {
        let (commit, mut frames) = (link.commit(), 0);
        while let Some(commands) =
            self.pending.pop_front_if(|commands| commands.last().is_none_or(|last| last.seq <= commit))
        {
            self.run(&commands).map_err(Over::Fatal)?;
            self.spare.push(commands);
            frames += 1;
            link.applied(self.applied()).map_err(|fault| Over::Halt(fault.to_string()))?;
        }
        Ok(frames)
    }

    fn run(&mut self, commands: &[Sequenced]) -> Result<(), Failure> {
        let Warm { replay, gateway, feed, .. } = &mut self.warm;
        for event in replay.execute(commands) {
            gateway.replay(event)?;
            feed.replay(event)?;
        }
        Ok(())
    }

    /// Nothing below `epoch` is acknowledged from here on, and everything appended is on the disk.
    ///
    /// # Errors
    /// When the journal fails.
    pub fn promise(&mut self, epoch: u64) -> Result<Input, Failure> {
        let acked_at = self.acked_at;
        if let Some(line) = &mut self.line {
            line.link.promised(epoch);
        }
        self.finish_writes()?;
        match self.warm.writer.promise(epoch) {
            Ok(()) => Ok(Input::Promised { epoch, last: self.warm.writer.durable_point(), acked_at }),
            Err(Error::Promised { promised, .. }) => Ok(Input::PromiseRefused { promised }),
            Err(error) => Err(error.into()),
        }
    }

    /// Asks the other node for what it has behind `from`.
    pub fn pull(&mut self, from: Point) {
        if let Some(line) = &mut self.line {
            line.pulling = true;
            Message::Pull { from }.encode(line.carriage.outbox());
        }
    }

    /// Puts what this node has behind `from` into `out`.
    fn tail(&self, from: Point, out: &mut Vec<u8>) -> Result<(), Over> {
        let mut read = || -> Result<(), Error> {
            let mut reader = Reader::deciphering(&self.warm.dir, self.warm.data_key.clone())?;
            reader.after(&from)?;
            let mut number = from.frames;
            while number < self.warm.writer.durable_point().frames && reader.next_frame()?.is_some() {
                Message::Tail(number, reader.last_copy()?).encode(out);
                number += 1;
            }
            Ok(())
        };
        read().map_err(|error| Over::Refuse(Refusal::TooOld, error.to_string()))?;
        Message::TailEnd { last: self.warm.writer.durable_point() }.encode(out);
        Ok(())
    }

    /// Everything that was received, executed; to lead from.
    ///
    /// # Errors
    /// When a log fails.
    pub fn into_warm(mut self) -> Result<Warm, Failure> {
        while let Some(commands) = self.pending.pop_front() {
            self.run(&commands)?;
        }
        self.warm.makers = self.making.stop();
        Ok(self.warm)
    }

    /// The end in good order; the Seq up to which the journal goes.
    ///
    /// # Errors
    /// When the journal fails.
    pub fn end(mut self) -> Result<Seq, Failure> {
        drop(self.making.stop());
        self.warm.writer.seal()?;
        Ok(self.warm.writer.appended_seq())
    }

    /// Brings what `status` shows up to date.
    pub fn show(&self) {
        let link = self.line.as_ref().map(|line| &line.link);
        self.view.receiving(self.line.as_ref().and_then(|line| line.taking.as_ref()).map(Taking::bytes));
        self.view.following(
            self.executed(),
            self.warm.writer.durable_point(),
            link.map(Link::behind),
            self.halted.as_deref(),
        );
    }
}

/// Takes what came of a snapshot; whether that was all.
fn take(
    came: Came<'_>,
    incoming: &mut Option<Incoming>,
    config: &Config,
    identity: Identity,
    voids: Voids,
) -> Result<bool, Over> {
    // A disk that is full, or a snapshot that is none, would be met again and again.
    let halt = |failure: Failure| Over::Halt(format!("{failure}; then start this node again"));
    if let Came::Begins { bytes } = came {
        *incoming = Some(Incoming::begin(config, identity, voids, bytes).map_err(halt)?);
        return Ok(false);
    }
    match (came, incoming.as_mut()) {
        (Came::Nothing, _) => {}
        (Came::Refused(why), _) => return Err(Over::Broken(format!("it refuses: {why}"))),
        (Came::Part(bytes), Some(incoming)) => incoming.part(bytes),
        (Came::Frame(_, copy), Some(incoming)) => incoming.frame(&copy),
        (Came::Stream(stream), Some(incoming)) => incoming.stream(&stream).map_err(halt)?,
        (Came::Told(told), Some(incoming)) => incoming.told(told).map_err(halt)?,
        (Came::Whole(last), Some(_)) => {
            incoming.take().expect("it is there").finish(&last).map_err(halt)?;
            return Ok(true);
        }
        (came, _) => unreachable!("{came:?} before a snapshot has begun"),
    }
    Ok(false)
}

fn keep(commands: &[Sequenced], pending: &mut VecDeque<Vec<Sequenced>>, spare: &mut Vec<Vec<Sequenced>>) {
    let mut kept = spare.pop().unwrap_or_default();
    kept.clear();
    kept.extend_from_slice(commands);
    pending.push_back(kept);
}
