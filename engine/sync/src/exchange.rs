//! Everyone tells everyone something, again and again: the mail of an exchange is data and barrier in one.
//!
//! N members are joined by N × (N − 1) rings, one from each to each other. In an exchange a member sends one piece
//! of mail to every other one, then takes one from every other one; when it has them all it knows that all
//! have come as far, and what each had to tell it. There is no counter to meet at beside the rings, and what one
//! member wrote before it sent is visible to who received.
//!
//! Nothing is allocated: between any two members there are four pieces of mail, and what one received in an exchange
//! it sends back, filled anew, in the one after the next. Two sets take turns because a member fills the next mail
//! while it reads the last.
//!
//! ```text
//!           exchange k            exchange k + 1         exchange k + 2
//! fill X ── send X, take X' ──┐
//!                 read X', fill Y ── send Y, take Y' ──┐
//!                                         read Y', fill X' ── send X', take X''
//! ```
//!
//! **Two slots a ring are enough, and nobody ever finds one full.** Who sends in exchange k + 1 has ended exchange
//! k, so it has the mail of k of everyone; each of those sent it after it had ended k − 1, that is, after it had
//! taken the sender's mail of k − 1. So what of the sender's can lie in a ring is the mail of k and of k + 1: two.
//! **Nobody waits for ever:** a member sends all its mail before it takes any, and sending never waits. Of those
//! who have ended the fewest exchanges all have sent, or can, whatever anyone else does; so what each of them waits for
//! comes. (`tests/exchange_model.rs` lets loom try the interleavings.)

use super::{Consumer, Producer, ring};

/// Slots of each ring; the module says why two.
pub const DEPTH: usize = 2;

/// A member's end: [`Exchange::outbox`], fill, [`Exchange::send`], [`Exchange::receive`] until it is true,
/// [`Exchange::inbox`], and again.
#[derive(Debug)]
pub struct Exchange<T> {
    member: usize,
    /// By member; none to itself.
    to: Vec<Option<Producer<T>>>,
    from: Vec<Option<Consumer<T>>>,
    /// What is filled next, by member it goes to; empty while an exchange is under way.
    outbox: Vec<T>,
    /// What the last exchange brought, by member it is from.
    inbox: Vec<T>,
    /// What the exchange under way has brought so far, in order of members.
    arriving: Vec<T>,
    /// The member's word to itself, while an exchange is under way.
    own: Option<T>,
}

/// The ends of `members` members, in their order; `make` gives each piece of mail there is: 2 × members².
///
/// # Panics
/// When there is no member.
#[must_use]
pub fn exchange<T>(members: usize, mut make: impl FnMut() -> T) -> Vec<Exchange<T>> {
    assert!(members > 0);
    let mut ends: Vec<_> = (0..members)
        .map(|member| Exchange {
            member,
            to: Vec::with_capacity(members),
            from: Vec::with_capacity(members),
            outbox: (0..members).map(|_| make()).collect(),
            inbox: (0..members).map(|_| make()).collect(),
            arriving: Vec::with_capacity(members),
            own: None,
        })
        .collect();
    for sender in 0..members {
        for receiver in 0..members {
            let (to, from) = if sender == receiver { (None, None) } else { some(ring(DEPTH)) };
            ends[sender].to.push(to);
            ends[receiver].from.push(from);
        }
    }
    ends
}

fn some<A, B>((a, b): (A, B)) -> (Option<A>, Option<B>) {
    (Some(a), Some(b))
}

impl<T> Exchange<T> {
    /// Which member this is, from 0.
    #[must_use]
    pub fn member(&self) -> usize {
        self.member
    }

    /// How many members there are.
    #[must_use]
    pub fn members(&self) -> usize {
        self.to.len()
    }

    /// What the last exchange brought, by member it is from, and the mail to fill for the next, by member it goes
    /// to; this member's word to itself is among both.
    ///
    /// # Panics
    /// When an exchange is under way.
    pub fn boxes(&mut self) -> (&[T], &mut [T]) {
        assert_eq!(self.outbox.len(), self.to.len(), "an exchange is under way");
        (&self.inbox, &mut self.outbox)
    }

    /// Sends what the outbox holds, to every member. Never waits.
    ///
    /// # Panics
    /// When an exchange is under way.
    pub fn send(&mut self) {
        assert_eq!(self.outbox.len(), self.to.len(), "an exchange is under way");
        for (to, mail) in self.to.iter_mut().zip(self.outbox.drain(..)) {
            match to {
                Some(to) => assert!(to.push(mail).is_ok(), "a member is at most one exchange ahead"),
                None => self.own = Some(mail),
            }
        }
    }

    /// Takes what has come of the exchange under way. True when all of it has: the exchange is ended, and
    /// [`Exchange::boxes`] are the next.
    ///
    /// # Panics
    /// When no exchange is under way.
    pub fn receive(&mut self) -> bool {
        assert!(self.outbox.is_empty(), "nothing was sent in this exchange");
        while let Some(from) = self.from.get_mut(self.arriving.len()) {
            let mail = match from {
                Some(from) => from.pop().ok(),
                None => self.own.take(),
            };
            let Some(mail) = mail else { return false };
            self.arriving.push(mail);
        }
        // What was read goes out next, what came is read.
        std::mem::swap(&mut self.outbox, &mut self.inbox);
        std::mem::swap(&mut self.inbox, &mut self.arriving);
        true
    }
}
