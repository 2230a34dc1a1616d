//! Orders to take off in slices, each slice a command of its own.

use alloc::vec::Vec;
use ironbell_types::{CancelReason, Command, FirmId, InstrumentId, MassCancelSlice, PortId, Seq, Side};

/// Which orders, and where the work stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sweep {
    /// The command that asked for it; later orders are not its business.
    pub(crate) cause: Seq,
    /// The slice now due; of a sweep that waits for another of the same cause, 0.
    pub(crate) slice: u32,
    /// The instrument it works on.
    pub(crate) instrument: InstrumentId,
    /// Goes on to the next instrument.
    pub(crate) all: bool,
    pub(crate) whose: Whose,
    /// `None` is every order, 0 those without a group.
    pub(crate) group: Option<u16>,
    pub(crate) side: Option<Side>,
    /// Only orders that end with the day.
    pub(crate) day_only: bool,
    pub(crate) reason: CancelReason,
}

/// Whose orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    All,
    Firm(FirmId),
    Port(PortId),
}

impl Sweep {
    /// Every order of somebody, on one instrument or, with [`InstrumentId::NONE`], on each.
    pub(crate) fn of(cause: Seq, whose: Whose, instrument: InstrumentId) -> Self {
        let all = instrument == InstrumentId::NONE;
        Self {
            cause,
            slice: 0,
            instrument: if all { InstrumentId(1) } else { instrument },
            all,
            whose,
            group: None,
            side: None,
            day_only: false,
            reason: CancelReason::Supervisory,
        }
    }
}

/// All that are not done, by cause, which only rises, and those of one cause in the order they are done.
#[derive(Clone)]
pub(crate) struct Sweeps(Vec<Sweep>);

impl Sweeps {
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(1024))
    }

    /// Whether it is the first of its cause, whose first slice must then be asked for.
    pub(crate) fn push(&mut self, sweep: Sweep) -> bool {
        let last = self.0.last().map_or(Seq(0), |last| last.cause);
        assert!(sweep.cause >= last);
        self.0.push(sweep);
        sweep.cause > last
    }

    fn place(&self, cause: Seq) -> Option<usize> {
        let place = self.0.partition_point(|sweep| sweep.cause < cause);
        (self.0.get(place)?.cause == cause).then_some(place)
    }

    /// The sweep whose slice is due.
    pub(crate) fn due(&self, slice: MassCancelSlice) -> Option<&Sweep> {
        let sweep = &self.0[self.place(slice.cause)?];
        (sweep.slice == slice.slice).then_some(sweep)
    }

    /// A slice is done: the next is for the same instrument while it has more, else for the next one of
    /// `instruments`, else for the next sweep of the same cause. Returns the next slice's number.
    ///
    /// # Panics
    ///
    /// When nothing of that cause was pending.
    pub(crate) fn advance(&mut self, cause: Seq, more: bool, instruments: usize) -> Option<u32> {
        let place = self.place(cause).expect("a slice is of a pending sweep");
        let sweep = &mut self.0[place];
        let next = sweep.slice + 1;
        if !more {
            if sweep.all && (sweep.instrument.0 as usize) < instruments {
                sweep.instrument.0 += 1;
            } else {
                self.0.remove(place);
            }
        }
        let sweep = self.0.get_mut(place).filter(|sweep| sweep.cause == cause)?;
        sweep.slice = next;
        Some(next)
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Sweep> {
        self.0.iter()
    }

    /// The slices due, by cause.
    pub(crate) fn asks(&self) -> impl Iterator<Item = Command> + '_ {
        self.0.chunk_by(|one, next| one.cause == next.cause).map(|sweeps| {
            Command::MassCancelSlice(MassCancelSlice { cause: sweeps[0].cause, slice: sweeps[0].slice })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweeps_of_one_cause_are_asked_for_once_and_numbered_on() {
        let mut sweeps = Sweeps::new();
        let of = |cause, port| Sweep::of(Seq(cause), Whose::Port(PortId(port)), InstrumentId::NONE);
        assert_eq!(
            [sweeps.push(of(5, 1)), sweeps.push(of(5, 2)), sweeps.push(of(7, 3))],
            [true, false, true]
        );
        let ask = |cause, slice| Command::MassCancelSlice(MassCancelSlice { cause: Seq(cause), slice });
        assert_eq!(sweeps.asks().collect::<Vec<_>>(), [ask(5, 0), ask(7, 0)]);

        let due = |sweeps: &Sweeps, cause, slice| {
            let sweep = sweeps.due(MassCancelSlice { cause: Seq(cause), slice });
            sweep.map(|sweep| (sweep.whose, sweep.instrument.0))
        };
        let (first, second) = (Whose::Port(PortId(1)), Whose::Port(PortId(2)));
        assert_eq!(
            (due(&sweeps, 5, 0), due(&sweeps, 5, 1), due(&sweeps, 6, 0)),
            (Some((first, 1)), None, None)
        );
        assert_eq!(sweeps.advance(Seq(5), true, 2), Some(1));
        assert_eq!(due(&sweeps, 5, 1), Some((first, 1)));
        assert_eq!(sweeps.advance(Seq(5), false, 2), Some(2));
        assert_eq!(due(&sweeps, 5, 2), Some((first, 2)));
        assert_eq!(sweeps.advance(Seq(5), false, 2), Some(3));
        assert_eq!(due(&sweeps, 5, 3), Some((second, 1)));
        assert_eq!(sweeps.advance(Seq(5), false, 1), None);
        assert_eq!(sweeps.asks().collect::<Vec<_>>(), [ask(7, 0)]);
    }
}
