//! Stage 1 ahead of what is not settled yet: the second and later commands of a superstep are checked before
//! stages 2 and 3 of the first have run.
//!
//! It rests on this: what is open counts at its worst, so that whatever the unsettled commands will turn out to do,
//! they only free. What passes the checks now passes them then; so an order is admitted for good. A replacement is
//! held in full beside what it replaces, since either may turn out to be what lives. A refusal for funds, limits or
//! located stock may be wrong, and so may whatever asks what an order still is: there the superstep ends
//! ([`Undecided`]), and the command begins the next one, with everything settled. A shard may have gone further than
//! another could: [`Desk::take_back`] undoes that.

use crate::{
    desk::{Desk, OpenRecord},
    homes::slot_of,
    matching::{Request, Voice},
    rate::{Bucket, Row},
    risk,
};
use alloc::vec::Vec;
use ironbell_types::{
    Command, Event, EventBody, OrderKey, PortId, Quote, Reject, ReplaceOrder, Sequenced, Stage, UserRefIdx,
    UserRefNum,
};

/// A command whose outcome hangs on what is not settled yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Undecided;

/// What a superstep has gone ahead with.
#[derive(Clone, Default)]
pub(crate) struct Ahead {
    /// Counts supersteps: what carries the present one's number was touched in it.
    pub(crate) superstep: u64,
    /// One entry a command, in their order.
    log: Vec<Undo>,
    /// One for each entry that has rates.
    rates: Vec<UndoRates>,
    doubts: Vec<Doubt>,
    /// Replacements that turned out to replace nothing.
    lapsed: Vec<OrderKey>,
    /// The entry and the hold of the last refusal for want of funds.
    pub(crate) short: Option<(u32, i128)>,
}

/// How things were before a command, as far as it shows. Of what is taken back there is still to see: which superstep its
/// port was in doubt or its quote was in, which is over; when the port was heard, as it will have been when the command
/// comes again; and a quote of orders that are not open, which counts as none.
#[derive(Clone)]
struct Undo {
    place: u32,
    port: PortId,
    idx: UserRefIdx,
    last: UserRefNum,
    opened: [Option<u32>; 2],
    /// Of a port that has such rules; kept apart, since most have none.
    has_rates: bool,
}

/// How a port's rates were before a command.
#[derive(Clone)]
struct UndoRates {
    bucket: Bucket,
    row: Option<Row>,
}

/// The number of a replacement, which is only consumed if there is something to replace.
#[derive(Clone, Copy)]
struct Doubt {
    place: usize,
    key: OrderKey,
    /// The last number before it.
    last: UserRefNum,
}

impl Ahead {
    /// With room for spans of so many commands.
    pub(crate) fn new(commands: usize) -> Self {
        Self {
            log: Vec::with_capacity(commands),
            rates: Vec::with_capacity(commands),
            doubts: Vec::with_capacity(commands),
            lapsed: Vec::with_capacity(commands),
            ..Self::default()
        }
    }
}

impl Desk {
    pub(crate) fn begin_superstep(&mut self) {
        self.ahead.superstep += 1;
        self.ahead.log.clear();
        self.ahead.rates.clear();
        self.ahead.doubts.clear();
        debug_assert!(self.ahead.lapsed.is_empty());
    }

    /// Admits the command at `place` of the superstep, which is not the first, as if all before it were settled.
    pub(crate) fn admit_ahead(
        &mut self,
        place: usize,
        sequenced: &Sequenced,
        out: &mut Vec<Event>,
    ) -> Result<Option<Request>, Undecided> {
        let Sequenced { seq, time, command } = sequenced;
        let (port, idx) = match command {
            Command::EnterOrder(enter) => (enter.port, enter.user_ref_idx),
            Command::ReplaceOrder(replace) => (replace.port, replace.user_ref_idx),
            Command::Quote(quote) => (quote.port, quote.user_ref_idx),
            Command::CancelOrder(cancel) => (cancel.port, cancel.user_ref_idx),
            _ => unreachable!("it runs by itself"),
        };
        if let Command::CancelOrder(_) = command {
            // It only makes its port heard, and what it names stage 2 finds gone where stage 1 does not yet know.
            return Ok(risk::admit(self, command, &mut Voice::new(out, *seq, *time, Stage::Risk)));
        }
        self.check_decided(command, idx)?;
        let mut undo = self.before(place, port, idx);
        let said = out.len();
        self.ahead.short = None;
        let voice = &mut Voice::new(out, *seq, *time, Stage::Risk);
        let request = match command {
            Command::ReplaceOrder(replace) => {
                if self.dead_men > 0 {
                    self.hear(command, *time);
                }
                self.replace_ahead(replace, voice)
            }
            Command::Quote(quote) => {
                if self.dead_men > 0 {
                    self.hear(command, *time);
                }
                self.quote(quote, true, voice)
            }
            _ => risk::admit(self, command, voice),
        };
        undo.opened = match &request {
            Some(Request::Enter(incoming)) => [Some(slot_of(incoming.token)), None],
            Some(Request::Replace { incoming, .. }) => {
                let key = incoming.order.key;
                self.ahead.doubts.push(Doubt { place, key, last: undo.last });
                self.directory.port_mut(port).expect("it sent an order").in_doubt = self.ahead.superstep;
                [Some(slot_of(incoming.token)), None]
            }
            Some(Request::Quote { new, .. }) => new.map(|side| Some(slot_of(side?.token))),
            _ => [None; 2],
        };
        self.ahead.log.push(undo);
        let refused = out[said..].iter().any(|event| may_be_wrong(&event.body));
        let replaces = matches!(command, Command::ReplaceOrder(_));
        if refused && (replaces || !self.is_short_for_good()) || replaces && out.len() > said {
            out.truncate(said);
            self.take_back(place);
            return Err(Undecided);
        }
        Ok(request)
    }

    /// Whether what a command asks about itself, before any check, can be answered now.
    fn check_decided(&self, command: &Command, idx: UserRefIdx) -> Result<(), Undecided> {
        let decided = match command {
            Command::EnterOrder(enter) => {
                let key = |num| OrderKey::new(enter.port, idx, num);
                let pair = enter.terms.oco;
                self.is_number_known(key(enter.user_ref_num))
                    // The other of a pair may be gone by then.
                    && (pair == UserRefNum(0) || self.find(key(pair)).is_none())
            }
            Command::ReplaceOrder(replace) => self.is_replace_decided(replace, idx),
            Command::Quote(quote) => self.is_quote_decided(quote, idx),
            _ => true,
        };
        if decided { Ok(()) } else { Err(Undecided) }
    }

    fn is_replace_decided(&self, replace: &ReplaceOrder, idx: UserRefIdx) -> bool {
        let Some(port) = self.directory.port(replace.port) else { return true };
        let key = |num| OrderKey::new(replace.port, idx, num);
        if !self.is_number_known(key(replace.user_ref_num)) {
            return false;
        }
        // What is not found is not open, and the replacement is dropped. What is found may be gone by then: a token
        // is not taken for nothing, and a stop that has triggered is none any more.
        self.find(key(replace.orig_user_ref_num))
            .is_none_or(|slot| port.rules.rate_per_second == 0 && self.open[slot].is_plain)
    }

    fn is_quote_decided(&self, quote: &Quote, idx: UserRefIdx) -> bool {
        let num = quote.user_ref_num;
        let numbers = [Some(num), num.0.checked_add(1).map(UserRefNum)];
        let key = |num| OrderKey::new(quote.port, idx, num);
        numbers.into_iter().flatten().all(|num| self.is_number_known(key(num)))
            && !self.quotes.is_touched(quote.port, idx, quote.instrument, self.ahead.superstep)
    }

    /// Whether it is known that a number is new, or that it is not.
    fn is_number_known(&self, key: OrderKey) -> bool {
        let Some(port) = self.directory.port(key.port()) else { return true };
        if key.num() > port.last(key.idx()) {
            // An order of an earlier day that still bears the number may be gone by then.
            return self.find(key).is_none();
        }
        port.in_doubt != self.ahead.superstep
    }

    /// Whether a refusal for want of funds stands whatever the unsettled commands do: the account does not have as
    /// much in all, and nothing of it is open that would bring more.
    fn is_short_for_good(&self) -> bool {
        let short = self.ahead.short;
        short.is_some_and(|(entry, hold)| hold > self.ledger.total(entry) && !self.ledger.is_credited(entry))
    }

    fn before(&mut self, place: usize, port: PortId, idx: UserRefIdx) -> Undo {
        let state = self.directory.port(port).expect("its home is this shard");
        let has_rates = state.rules.rate_per_second > 0 || state.rules.duplicates_max > 0;
        if has_rates {
            self.ahead.rates.push(UndoRates { bucket: state.bucket, row: state.row });
        }
        Undo { place: place as u32, port, idx, last: state.last(idx), opened: [None; 2], has_rates }
    }

    /// Undoes what was admitted from the place `cut` of the superstep on.
    pub(crate) fn take_back(&mut self, cut: usize) {
        while let Some(undo) = self.ahead.log.pop_if(|undo| undo.place as usize >= cut) {
            undo.opened.into_iter().rev().flatten().for_each(|slot| self.close(slot));
            let state = self.directory.port_mut(undo.port).expect("it was known before");
            state.put_back(undo.idx, undo.last);
            if undo.has_rates {
                let UndoRates { bucket, row } = self.ahead.rates.pop().expect("one for each");
                (state.bucket, state.row) = (bucket, row);
            }
        }
        while self.ahead.doubts.pop_if(|doubt| doubt.place >= cut).is_some() {}
    }

    /// A replacement replaced nothing.
    pub(crate) fn lapse(&mut self, slot: u32) {
        self.ahead.lapsed.push(self.open[slot].key);
        self.close(slot);
    }

    /// Numbers that were not consumed after all are free again, the latest first.
    pub(crate) fn end_superstep(&mut self) {
        if self.ahead.lapsed.is_empty() {
            return;
        }
        while let Some(Doubt { key, last, .. }) = self.ahead.doubts.pop() {
            let state = self.directory.port_mut(key.port()).expect("it sent an order");
            if self.ahead.lapsed.contains(&key) && state.last(key.idx()) == key.num() {
                state.put_back(key.idx(), last);
            }
        }
        self.ahead.lapsed.clear();
    }

    /// What the chain of a replaced order has executed goes on with its replacement.
    pub(crate) fn inherit(&mut self, from: u32, to: u32) {
        let OpenRecord { executed, .. } = self.open[from];
        self.open[to].executed = executed;
    }
}

/// A refusal that what is not settled yet may turn into an acceptance.
fn may_be_wrong(body: &EventBody) -> bool {
    matches!(body, EventBody::Rejected { reason: Reject::AggregateExposure | Reject::Locate, .. })
}
