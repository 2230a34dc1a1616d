//! Many orders at once over all shards, with the outcome of one at a time.
//!
//! A superstep takes a span of a frame through the three stages, each shard its own share, with two exchanges of
//! [`Mail`] in between:
//!
//! ```text
//! shard 0   risk ─┐ ┌─ matching ─┐ ┌─ settle │ risk of the next span …
//!                 ├─┤            ├─┤
//! shard 1   risk ─┘ └─ matching ─┘ └─ settle │ risk of the next span …
//!           requests, cut     effects
//! ```
//!
//! A shard's next stage 1 reads only what its own stage 3 wrote, so that there is no third exchange. What stage 1
//! cannot decide before all in front of it is settled cuts the span there (`ahead.rs`): all shards take the least cut,
//! and the next span begins with it. The first command of a span always has everything settled, so that no span is
//! empty.
//!
//! Here are the shares, to be driven by a thread each, and [`Engine::execute_in_supersteps`], which drives all of them
//! in turn in one.

use crate::{
    Config, Engine,
    ahead::Undecided,
    desk::Desk,
    homes::{Homes, SHARDS_MAX, shard_of},
    matching::{Effect, Matching, Request, Voice},
    output_hash::EventHasher,
    risk,
};
use alloc::{boxed::Box, vec::Vec};
use ironbell_types::{Command, Event, Nanos, PortId, Sequenced, Stage};

/// What one shard owns: its accounts and its books.
#[derive(Clone)]
pub struct Part {
    homes: Homes,
    /// By port's id less 1, its shard: what stage 1 asks of every command, whosever it is.
    port_homes: Vec<u8>,
    pub(crate) desk: Desk,
    pub(crate) matching: Matching,
    said: Said,
    /// What stage 2 said of one command; empty between commands.
    effects: Vec<Effect>,
    hasher: EventHasher,
}

/// Commands of a span, and events of a stage of them, that a part has room for beforehand.
pub(crate) const SPAN_WARM: usize = 1_024;

/// What one shard tells another between two stages. Its room is used again.
#[derive(Clone, Default)]
pub struct Mail {
    /// What of the span its sender can decide.
    cut: usize,
    /// By place in the span.
    requests: Vec<(u32, Request)>,
    /// By place in the span, and in the order of what happened.
    effects: Vec<Posted>,
}

/// An effect on its way to stage 3.
#[derive(Clone, Copy)]
struct Posted {
    place: u32,
    /// Of the first event that is said of it.
    step: u32,
    effect: Effect,
}

/// What a part has said, by stage and in order.
#[derive(Clone, Debug, Default)]
pub struct Said {
    stages: [Vec<Event>; 3],
    /// How many of each are in the hash.
    hashed: [usize; 3],
    /// Its share of the output hash.
    hash: u128,
}

/// How long the next span may be: after a cut the next is expected as far away, and little is tried ahead of that; spans
/// that are not cut double it.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    length: usize,
    length_max: usize,
}

impl Mail {
    /// With room for a full frame, so that none is made later.
    #[must_use]
    pub fn new(commands_max: usize) -> Self {
        Self {
            cut: 0,
            requests: Vec::with_capacity(commands_max),
            effects: Vec::with_capacity(4 * commands_max),
        }
    }
}

impl Pace {
    /// Spans of at most `length_max` commands, which must not be 0.
    #[must_use]
    pub fn new(length_max: usize) -> Self {
        assert!(length_max > 0);
        Self { length: length_max, length_max }
    }

    /// The same before its first span.
    #[must_use]
    pub fn restarted(self) -> Self {
        Self::new(self.length_max)
    }

    /// How long the next span may be.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Notes where a span was cut. Returns whether it was cut short.
    pub fn note(&mut self, span: usize, cut: usize) -> bool {
        self.length = (2 * if cut < span { cut } else { self.length }).clamp(1, self.length_max);
        cut < span
    }
}

impl Said {
    /// With room for so many events of each stage.
    #[must_use]
    pub fn new(events_max: usize) -> Self {
        let stages = [(); 3].map(|()| Vec::with_capacity(events_max));
        Self { stages, ..Self::default() }
    }

    /// The share of the output hash that it stands for.
    #[must_use]
    pub fn output_hash(&self) -> u128 {
        self.hash
    }

    /// Puts what the parts have said in the one order, appends it to `out`, and empties them. Returns their share of
    /// the output hash.
    pub fn merge<'a>(parts: impl IntoIterator<Item = &'a mut Self>, out: &mut Vec<Event>) -> u128 {
        let mut hash = 0u128;
        let mut lists: [&[Event]; 3 * SHARDS_MAX] = [&[]; 3 * SHARDS_MAX];
        let mut count = 0;
        let mut emptied: [Option<&'a mut Self>; SHARDS_MAX] = [const { None }; SHARDS_MAX];
        for (part, place) in parts.into_iter().zip(&mut emptied) {
            hash = hash.wrapping_add(core::mem::take(&mut part.hash));
            *place = Some(part);
        }
        for list in emptied.iter().flatten().flat_map(|part| &part.stages).filter(|list| !list.is_empty()) {
            lists[count] = list;
            count += 1;
        }
        merge_lists(&mut lists[..count], out);
        for part in emptied.into_iter().flatten() {
            part.stages.iter_mut().for_each(Vec::clear);
            part.hashed = [0; 3];
        }
        hash
    }

    fn hash(&mut self, hasher: &mut EventHasher) {
        for (events, hashed) in self.stages.iter().zip(&mut self.hashed) {
            self.hash = self.hash.wrapping_add(hasher.sum(&events[*hashed..]));
            *hashed = events.len();
        }
    }
}

/// Takes from the list whose head is first as long as it stays so.
fn merge_lists(lists: &mut [&[Event]], out: &mut Vec<Event>) {
    let place = |event: &Event| (event.seq.0, u64::from(event.stage as u8) << 32 | u64::from(event.step));
    while let Some((first, next)) = two_first(lists, &place) {
        let list = lists[first];
        let run = next.map_or(list.len(), |next| list.iter().take_while(|event| place(event) < next).count());
        out.extend_from_slice(&list[..run]);
        lists[first] = &list[run..];
    }
}

/// The list whose head has the least place, and the least place of the others' heads. `None` when all are empty.
#[inline(always)]
fn two_first<T, P: Ord + Copy>(lists: &[&[T]], place: &impl Fn(&T) -> P) -> Option<(usize, Option<P>)> {
    let (mut least, mut next): (Option<(P, usize)>, Option<P>) = (None, None);
    for (at, list) in lists.iter().enumerate() {
        let Some(head) = list.first().map(place) else { continue };
        match least {
            Some((so_far, _)) if so_far < head => next = Some(next.map_or(head, |next| next.min(head))),
            _ => (next, least) = (least.map(|(so_far, _)| so_far), Some((head, at))),
        }
    }
    least.map(|(_, at)| (at, next))
}

/// Whether a command can run beside others: it touches one account, one book, and those that it trades with, and what
/// it changes of an order only takes from it.
fn is_parallel(command: &Command) -> bool {
    matches!(
        command,
        Command::EnterOrder(_) | Command::ReplaceOrder(_) | Command::CancelOrder(_) | Command::Quote(_)
    )
}

/// How many of a frame's commands from its start can run in one superstep, `length_max` at most; 0 when the first must
/// run by itself.
#[must_use]
pub fn span(frame: &[Sequenced], length_max: usize) -> usize {
    frame.iter().take(length_max).take_while(|sequenced| is_parallel(&sequenced.command)).count()
}

impl Part {
    /// Shard number `shard`, with its share of the room for what `config` says and for so many legs of the day's trades.
    pub(crate) fn new(shard: usize, config: Config, legs: usize, homes: Homes) -> Self {
        let Config { key, orders, accounts } = config;
        let shards = homes.shards();
        let [orders, accounts, legs] = [orders, accounts, legs].map(|count| count.div_ceil(shards));
        Self {
            homes,
            port_homes: Vec::new(),
            desk: Desk::new(shard, shards > 1, orders, accounts, legs, key),
            matching: Matching::new(orders, key),
            said: Said::new(if shards > 1 { SPAN_WARM } else { 0 }),
            effects: Vec::with_capacity(if shards > 1 { orders + 8 } else { 0 }),
            hasher: EventHasher::new(key),
        }
    }

    /// Which shard it is of, from 0.
    #[must_use]
    pub fn shard(&self) -> usize {
        self.desk.shard
    }

    /// When something of it is due; see [`Engine::next_due`].
    #[must_use]
    pub fn next_due(&self) -> Option<Nanos> {
        [self.matching.next_due(), self.desk.dead_men_due, self.desk.graces_due].into_iter().flatten().min()
    }

    /// Stage 1 of a span: checks and holds for the accounts at home here. Writes one mail for each shard, its own
    /// included, by shard.
    pub fn risk(&mut self, span: &[Sequenced], outbox: &mut [Mail]) {
        self.desk.begin_superstep();
        self.note_ports();
        outbox.iter_mut().for_each(|mail| mail.requests.clear());
        let mut cut = span.len();
        let here = self.shard() as u8;
        for (place, sequenced) in span.iter().enumerate() {
            let PortId(port) = risk::port_of(&sequenced.command).expect("orders come in on a port");
            if self.port_homes.get((port as usize).wrapping_sub(1)) != Some(&here) {
                continue;
            }
            let admitted = if place == 0 {
                let Sequenced { seq, time, ref command } = *sequenced;
                let voice = &mut Voice::new(&mut self.said.stages[0], seq, time, Stage::Risk);
                Ok(risk::admit(&mut self.desk, command, voice))
            } else {
                self.desk.admit_ahead(place, sequenced, &mut self.said.stages[0])
            };
            match admitted {
                Ok(None) => {}
                Ok(Some(request)) => {
                    let instrument = request.instrument().expect("an order is about one instrument");
                    outbox[self.homes.of_instrument(instrument)].requests.push((place as u32, request));
                }
                Err(Undecided) => {
                    cut = place;
                    break;
                }
            }
        }
        outbox.iter_mut().for_each(|mail| mail.cut = cut);
    }

    /// Stage 2 of a span: the books at home here. `inbox` has a mail of each shard, in their order. Returns where the
    /// span is cut, the same on every shard: the rest of it belongs to the next span.
    pub fn matching(&mut self, span: &[Sequenced], inbox: &[Mail], outbox: &mut [Mail]) -> usize {
        let cut = inbox.iter().map(|mail| mail.cut).min().expect("at least its own mail");
        if cut < span.len() {
            self.desk.take_back(cut);
            let said = &mut self.said.stages[0];
            let kept = said.iter().rposition(|event| event.seq < span[cut].seq).map_or(0, |last| last + 1);
            said.truncate(kept);
        }
        outbox.iter_mut().for_each(|mail| mail.effects.clear());
        let Self { matching, effects, said, .. } = self;
        let apply = |place: usize, request: &(u32, Request)| {
            if place >= cut {
                return false;
            }
            let Sequenced { seq, time, .. } = span[place];
            let voice = &mut Voice::new(&mut said.stages[1], seq, time, Stage::Matching);
            matching.apply(&request.1, voice, effects);
            let mut step = 0;
            for effect in effects.drain(..) {
                let posted = Posted { place: place as u32, step, effect };
                let [one, other] = effect.tokens().map(|token| token.map(shard_of));
                let one = one.expect("what orders do to each other has an order");
                outbox[one].effects.push(posted);
                if let Some(other) = other.filter(|other| *other != one) {
                    outbox[other].effects.push(posted);
                }
                step += effect.steps();
            }
            true
        };
        in_order(inbox, |mail| &mail.requests, |(place, _)| *place, apply);
        cut
    }

    /// Stage 3 of a span, as far as [`Part::matching`] cut it: postings to the accounts at home here.
    pub fn settle(&mut self, span: &[Sequenced], inbox: &[Mail]) {
        let Self { desk, said, .. } = self;
        let settle = |place: usize, posted: &Posted| {
            let Sequenced { seq, time, .. } = span[place];
            let voice = &mut Voice::new(&mut said.stages[2], seq, time, Stage::Settlement);
            desk.settle_one(&posted.effect, posted.step, voice);
            true
        };
        in_order(inbox, |mail| &mail.effects, |posted| posted.place, settle);
        self.desk.end_superstep();
        self.said.hash(&mut self.hasher);
    }

    /// Exchanges what it has said since the last time for an empty one.
    pub fn take_said(&mut self, said: &mut Said) {
        debug_assert!(said.stages.iter().all(Vec::is_empty));
        core::mem::swap(&mut self.said, said);
    }

    /// Ports stay at home where they were defined.
    fn note_ports(&mut self) {
        let new = &self.desk.directory.ports[self.port_homes.len()..];
        self.port_homes.extend(new.iter().map(|state| self.homes.of_firm(state.port.firm) as u8));
    }
}

/// Does something with the items of all mails in the order of their places in the span, as long as it returns true. No
/// place has items in two mails.
#[inline(always)]
fn in_order<'a, T: 'a>(
    inbox: &'a [Mail],
    items: impl Fn(&'a Mail) -> &'a [T],
    place: impl Fn(&T) -> u32,
    mut act: impl FnMut(usize, &T) -> bool,
) {
    let mut lists: [&[T]; SHARDS_MAX] = [&[]; SHARDS_MAX];
    let lists = &mut lists[..inbox.len()];
    lists.iter_mut().zip(inbox).for_each(|(list, mail)| *list = items(mail));
    while let Some((first, next)) = two_first(lists, &place) {
        let mut list = lists[first];
        while let [item, rest @ ..] = list
            && next.is_none_or(|next| place(item) < next)
        {
            if !act(place(item) as usize, item) {
                return;
            }
            list = rest;
        }
        lists[first] = list;
    }
}

impl Engine {
    /// Runs the commands of a frame in supersteps, shard after shard in this thread, with the outcome of
    /// [`Engine::execute_frame`]. Returns how many supersteps were cut short.
    pub fn execute_in_supersteps(
        &mut self,
        frame: &[Sequenced],
        pace: &mut Pace,
        out: &mut Vec<Event>,
    ) -> usize {
        let shards = self.parts.len();
        if shards == 1 {
            // There is nobody to go ahead of.
            self.execute_frame(frame, out);
            return 0;
        }
        let mail = || (0..shards).map(|_| Mail::default()).collect::<Vec<Mail>>();
        let mut sent: Vec<_> = (0..shards).map(|_| mail()).collect();
        let (mut at, mut cuts) = (0, 0);
        while at < frame.len() {
            let span = &frame[at..at + span(&frame[at..], pace.length())];
            if span.is_empty() {
                self.execute(&frame[at], out);
                at += 1;
                continue;
            }
            self.parts.iter_mut().zip(&mut sent).for_each(|(part, outbox)| part.risk(span, outbox));
            let mut received = exchanged(sent);
            sent = (0..shards).map(|_| mail()).collect();
            let shares = self.parts.iter_mut().zip(received.iter().zip(&mut sent));
            let cut = shares.map(|(part, (inbox, outbox))| part.matching(span, inbox, outbox)).min();
            let cut = cut.expect("there is a shard");
            received = exchanged(sent);
            self.parts.iter_mut().zip(&received).for_each(|(part, inbox)| part.settle(span, inbox));
            sent = received;
            let hash = Said::merge(self.parts.iter_mut().map(|part| &mut part.said), out);
            self.note(&span[..cut], hash);
            cuts += usize::from(pace.note(span.len(), cut));
            at += cut;
        }
        cuts
    }

    /// Lends out the parts, by shard, to be run in supersteps. Until they are back nothing else may be asked of it.
    pub fn lend(&mut self) -> Vec<Box<Part>> {
        core::mem::take(&mut self.parts)
    }

    /// Takes the parts back, by shard.
    pub fn take_back(&mut self, parts: Vec<Box<Part>>) {
        assert!(self.parts.is_empty());
        assert!(parts.iter().enumerate().all(|(shard, part)| part.shard() == shard));
        self.parts = parts;
    }
}

/// From what each shard sent, by receiver, to what each received, by sender.
fn exchanged(sent: Vec<Vec<Mail>>) -> Vec<Vec<Mail>> {
    let mut received: Vec<Vec<Mail>> = (0..sent.len()).map(|_| Vec::new()).collect();
    for outbox in sent {
        received.iter_mut().zip(outbox).for_each(|(inbox, mail)| inbox.push(mail));
    }
    received
}
