//! Requests that the venue has not answered yet, kept as they were sent: after a break they are sent again.
//!
//! The venue takes a session's requests in order, so an answer to one says that all before it were taken too, also those
//! that get no answer (a cancel of an order that is done). Sending again what was taken has no second effect: a number is
//! used once, a cancel names the total that is to be left (OUCH 5.0, sections 1.1 and 2).

use std::collections::VecDeque;

use ironbell_wire::native;
use ironbell_wire::ouch::{Inbound, Outbound};

/// Channel (UserRefIdx) and UserRefNum.
type Name = (u8, u32);

/// What would answer a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaits {
    /// Whatever says that these numbers of a channel are used; the last of them is answered last.
    Numbers {
        idx: u8,
        first: u32,
        last: u32,
    },
    Canceled(Name),
    Modified(Name),
    State(Name),
    NextNumber,
    DeadMan,
}

/// What a message answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answers {
    Number(Name),
    Request(Awaits),
}

/// Requests without an answer, oldest first.
#[derive(Debug)]
pub(crate) struct InFlight {
    requests: VecDeque<(Awaits, usize)>,
    bytes: VecDeque<u8>,
    /// How many of them, and of their bytes, were sent on this connection.
    sent: (usize, usize),
}

impl InFlight {
    /// With room for so many requests of a usual length before it allocates.
    pub fn with_capacity(requests: usize) -> Self {
        let bytes = VecDeque::with_capacity(requests * 64);
        Self { requests: VecDeque::with_capacity(requests), bytes, sent: (0, 0) }
    }

    pub fn len(&self) -> usize {
        self.requests.len()
    }

    pub fn clear(&mut self) {
        self.requests.clear();
        self.bytes.clear();
        self.sent = (0, 0);
    }

    /// Keeps a request that was just sent.
    pub fn keep(&mut self, request: &[u8]) {
        assert!(self.is_sent(), "what came before it is sent first");
        let Some(awaits) = awaits(request) else { return };
        self.requests.push_back((awaits, request.len()));
        self.bytes.extend(request);
        self.sent = (self.requests.len(), self.bytes.len());
    }

    /// The connection is another one: nothing was sent on it.
    pub fn broken(&mut self) {
        self.sent = (0, 0);
    }

    /// Whether all of them were sent on this connection.
    pub fn is_sent(&self) -> bool {
        self.sent.0 == self.requests.len()
    }

    /// Puts the next one that is to be sent again at the start of `into`; returns its length.
    pub fn next_to_send(&self, into: &mut [u8]) -> Option<usize> {
        let (_, length) = *self.requests.get(self.sent.0)?;
        let bytes = self.bytes.range(self.sent.1..self.sent.1 + length);
        for (to, from) in into[..length].iter_mut().zip(bytes) {
            *to = *from;
        }
        Some(length)
    }

    /// The one of [`next_to_send`](Self::next_to_send) was sent.
    pub fn sent_again(&mut self) {
        let (_, length) = self.requests[self.sent.0];
        self.sent = (self.sent.0 + 1, self.sent.1 + length);
    }

    /// Lets go of what this message says was taken.
    pub fn heard(&mut self, message: &Outbound<'_>) {
        let idx = message.options().user_ref_idx().unwrap_or(0);
        let answers = match message {
            Outbound::OrderAccepted(told, _) => Answers::Number((idx, told.user_ref_num.get())),
            Outbound::OrderReplaced(told, _) => Answers::Number((idx, told.user_ref_num.get())),
            Outbound::Rejected(told, _) => Answers::Number((idx, told.user_ref_num.get())),
            Outbound::MassCancelResponse(told, _) => Answers::Number((idx, told.user_ref_num.get())),
            Outbound::DisableOrderEntryResponse(told, _) => Answers::Number((idx, told.user_ref_num.get())),
            Outbound::EnableOrderEntryResponse(told, _) => Answers::Number((idx, told.user_ref_num.get())),
            // Cancelled as the member asked; all other reasons answer nothing.
            Outbound::OrderCanceled(told, _) if told.reason == b'U' => {
                Answers::Request(Awaits::Canceled((idx, told.user_ref_num.get())))
            }
            Outbound::OrderModified(told, _) => {
                Answers::Request(Awaits::Modified((idx, told.user_ref_num.get())))
            }
            Outbound::AccountQueryResponse(..) => Answers::Request(Awaits::NextNumber),
            _ => return,
        };
        self.answered(answers);
    }

    /// The same of a native message.
    pub fn heard_native(&mut self, message: &native::Outbound<'_>) {
        match message {
            native::Outbound::OrderState(told) => {
                let name = (told.user_ref_idx, told.user_ref_num.get());
                self.answered(Answers::Request(Awaits::State(name)));
            }
            native::Outbound::DeadManSet(_) => self.answered(Answers::Request(Awaits::DeadMan)),
            _ => {}
        }
    }

    fn answered(&mut self, answers: Answers) {
        let is_it = |(awaits, _): &(Awaits, usize)| match (*awaits, answers) {
            (Awaits::Numbers { idx, first, last }, Answers::Number((of, number))) => {
                idx == of && (first..=last).contains(&number)
            }
            (awaits, Answers::Request(answered)) => awaits == answered,
            _ => false,
        };
        // Only what was sent on this connection, or on one before it that broke, can have been answered: all of it.
        let Some(nth) = self.requests.iter().position(is_it) else { return };
        let is_whole = match (self.requests[nth].0, answers) {
            (Awaits::Numbers { last, .. }, Answers::Number((_, number))) => number == last,
            _ => true,
        };
        for _ in 0..nth + usize::from(is_whole) {
            let (_, length) = self.requests.pop_front().expect("there are as many");
            self.bytes.drain(..length);
            self.sent = (self.sent.0.saturating_sub(1), self.sent.1.saturating_sub(length));
        }
    }
}

/// What would answer a request of ours; `None` for one that is not to be sent again.
fn awaits(request: &[u8]) -> Option<Awaits> {
    let number = |idx, number| Some(Awaits::Numbers { idx, first: number, last: number });
    if native::is_native(request) {
        return match native::Inbound::parse(request).ok()? {
            native::Inbound::NewOrder(it) => number(it.user_ref_idx, it.user_ref_num.get()),
            native::Inbound::ReplaceOrder(it) => number(it.user_ref_idx, it.user_ref_num.get()),
            native::Inbound::MassQuote(it, entries) => {
                let first = it.user_ref_num.get();
                let last = first.saturating_add(2 * entries.len() as u32 - 1);
                Some(Awaits::Numbers { idx: it.user_ref_idx, first, last })
            }
            native::Inbound::OrderStateRequest(it) => {
                Some(Awaits::State((it.user_ref_idx, it.user_ref_num.get())))
            }
            native::Inbound::DeadMan(_) => Some(Awaits::DeadMan),
        };
    }
    let message = Inbound::parse(request).ok()?;
    let idx = message.options().user_ref_idx().unwrap_or(0);
    match message {
        Inbound::EnterOrder(it, _) => number(idx, it.user_ref_num.get()),
        Inbound::ReplaceOrder(it, _) => number(idx, it.user_ref_num.get()),
        Inbound::MassCancel(it, _) => number(idx, it.user_ref_num.get()),
        Inbound::DisableOrderEntry(it, _) => number(idx, it.user_ref_num.get()),
        Inbound::EnableOrderEntry(it, _) => number(idx, it.user_ref_num.get()),
        Inbound::CancelOrder(it, _) => Some(Awaits::Canceled((idx, it.user_ref_num.get()))),
        Inbound::ModifyOrder(it, _) => Some(Awaits::Modified((idx, it.user_ref_num.get()))),
        Inbound::AccountQuery(..) => Some(Awaits::NextNumber),
    }
}
