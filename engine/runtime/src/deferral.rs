//! Ports whose commands cut supersteps are read last.
//!
//! A cut throws work away on all shards (`engine/core`'s `superstep.rs`), and who wants to can cause one with each
//! command. So the commands of a port that did come behind all others in their frame, in their own order, and run there
//! with all parts at home (`shards.rs`), where nothing can be cut. **It delays a port by a frame at most, and changes
//! nothing else:** a venue may read its members in any order, and what is read is sequenced only then.
//!
//! ```text
//!                 again within its probation: the term doubles
//!              ┌────────────────────────────────────────────────┐
//!              ↓                                                │
//! two cuts ─ deferred for a term of frames ─ on probation for as many ─ forgotten
//! ```

use ironbell_types::PortId;

/// Cuts within [`SPAN_FRAMES`] frames, by one port, that are no accident.
const CUTS: u32 = 2;
/// What of a port's cuts is remembered before it is deferred, in frames.
const SPAN_FRAMES: u64 = 8;
/// The first term, in frames, and the longest.
const TERM_MIN: u64 = 32;
const TERM_MAX: u64 = 4_096;
/// Ports that are looked after at most; one more takes the place of the one that would be forgotten first.
const PORTS_MAX: usize = 64;

/// What is remembered of a port.
#[derive(Clone, Copy, Debug)]
struct Entry {
    port: PortId,
    cuts: u32,
    /// In frames; 0 before it was deferred at all.
    term: u64,
    /// The first frame for which it is not deferred.
    deferred_until: u64,
    /// The first frame in which it is forgotten.
    known_until: u64,
}

/// Which ports come last in the next frame. Warm from the start.
#[derive(Debug)]
pub struct Deferral {
    entries: Vec<Entry>,
    /// Ports deferred in the present frame, by the low bits of their number: nearly all are told from it that they are
    /// not.
    deferred: u64,
    /// Of the frame that is filled.
    frame: u64,
}

fn bit(port: PortId) -> u64 {
    1 << (port.0 % u64::BITS)
}

impl Default for Deferral {
    fn default() -> Self {
        Self { entries: Vec::with_capacity(PORTS_MAX), deferred: 0, frame: 0 }
    }
}

impl Deferral {
    /// A command of the port cut a superstep in the last frame.
    pub fn note(&mut self, port: PortId) {
        let at = self.entries.iter().position(|entry| entry.port == port).unwrap_or_else(|| self.make(port));
        let entry = &mut self.entries[at];
        entry.cuts += 1;
        entry.known_until = entry.known_until.max(self.frame + SPAN_FRAMES);
        if entry.cuts >= CUTS && self.frame >= entry.deferred_until {
            entry.cuts = 0;
            entry.term = (2 * entry.term).clamp(TERM_MIN, TERM_MAX);
            entry.deferred_until = self.frame + entry.term;
            entry.known_until = entry.deferred_until + entry.term;
        }
    }

    fn make(&mut self, port: PortId) -> usize {
        let entry = Entry { port, cuts: 0, term: 0, deferred_until: 0, known_until: 0 };
        if self.entries.len() < PORTS_MAX {
            self.entries.push(entry);
            return self.entries.len() - 1;
        }
        let first = self.entries.iter().enumerate().min_by_key(|(_, entry)| entry.known_until);
        let at = first.expect("there are some").0;
        self.entries[at] = entry;
        at
    }

    /// A frame begins: terms go on.
    pub fn begin_frame(&mut self) {
        if self.entries.is_empty() {
            return;
        }
        self.frame += 1;
        self.entries.retain(|entry| entry.known_until > self.frame);
        let deferred = self.entries.iter().filter(|entry| entry.deferred_until > self.frame);
        self.deferred = deferred.fold(0, |bits, entry| bits | bit(entry.port));
    }

    /// Whether commands of the port come last in the frame that began.
    #[inline]
    #[must_use]
    pub fn defers(&self, port: PortId) -> bool {
        self.deferred & bit(port) != 0
            && self.entries.iter().any(|entry| entry.port == port && entry.deferred_until > self.frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: PortId = PortId(7);

    /// How many frames in a row it is deferred from the next on.
    fn term(deferral: &mut Deferral) -> u64 {
        let mut frames = 0;
        loop {
            deferral.begin_frame();
            if !deferral.defers(PORT) {
                return frames;
            }
            frames += 1;
        }
    }

    fn cut(deferral: &mut Deferral, times: u32) {
        (0..times).for_each(|_| deferral.note(PORT));
    }

    #[test]
    fn terms_double_for_who_does_it_again_and_end_for_who_does_not() {
        let mut deferral = Deferral::default();
        deferral.begin_frame();
        cut(&mut deferral, 1);
        assert_eq!(term(&mut deferral), 0, "once is an accident");
        cut(&mut deferral, 1);
        let mut terms = vec![term(&mut deferral)];
        for _ in 0..8 {
            cut(&mut deferral, 2);
            terms.push(term(&mut deferral));
        }
        let first = TERM_MIN - 1;
        let expected: Vec<_> = (0..9).map(|n| (TERM_MIN << n).min(TERM_MAX) - 1).collect();
        assert_eq!((terms[0], &terms[..]), (first, &expected[..]));
        for _ in 0..TERM_MAX {
            deferral.begin_frame();
            assert!(!deferral.defers(PORT));
        }
        assert!(deferral.entries.is_empty(), "it is forgotten");
        cut(&mut deferral, 2);
        assert_eq!(term(&mut deferral), first);
    }

    #[test]
    fn accidents_far_apart_are_forgotten() {
        let mut deferral = Deferral::default();
        for _ in 0..10 {
            cut(&mut deferral, 1);
            for _ in 0..SPAN_FRAMES {
                deferral.begin_frame();
                assert!(!deferral.defers(PORT));
            }
        }
    }

    #[test]
    fn others_are_not_taken_for_it_and_there_is_room_for_who_comes_after_many() {
        let mut deferral = Deferral::default();
        for port in 1..=2 * PORTS_MAX as u32 {
            deferral.note(PortId(port));
            deferral.note(PortId(port));
        }
        deferral.begin_frame();
        let deferred = (1..=4 * PORTS_MAX as u32).filter(|port| deferral.defers(PortId(*port))).count();
        assert_eq!(deferred, PORTS_MAX);
        assert_eq!(deferral.entries.capacity(), PORTS_MAX);
        let mut one = Deferral::default();
        cut(&mut one, 2);
        one.begin_frame();
        assert!(one.defers(PORT) && !one.defers(PortId(PORT.0 + u64::BITS)));
    }
}
