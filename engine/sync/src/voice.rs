//! What a role says to people: records of a fixed size, on a ring of its own, to whoever writes them down.
//!
//! A role of the order path never logs by itself: that would lock, allocate, and wait for whoever reads the log. It says
//! something in a few nanoseconds and goes on; what finds no room is counted, and not said.

use crate::{Consumer, CursorReader, CursorWriter, Producer, cursor, ring};

/// The end by which a role speaks.
#[derive(Debug)]
pub struct Voice<T> {
    ring: Producer<T>,
    dropped: CursorWriter,
}

/// The end by which it is heard.
#[derive(Debug)]
pub struct Ear<T> {
    ring: Consumer<T>,
    dropped: CursorReader,
}

/// A voice, and the ear for it; up to `depth` records wait to be heard.
#[must_use]
pub fn voice<T: Copy>(depth: usize) -> (Voice<T>, Ear<T>) {
    let (producer, consumer) = ring(depth);
    let (dropped, reader) = cursor(0);
    (Voice { ring: producer, dropped }, Ear { ring: consumer, dropped: reader })
}

impl<T: Copy> Voice<T> {
    /// Says it, if there is room.
    pub fn say(&mut self, what: T) {
        if self.ring.push(what).is_err() {
            self.dropped.advance(self.dropped.get() + 1);
        }
    }
}

impl<T: Copy> Ear<T> {
    /// What was said next.
    pub fn hear(&mut self) -> Option<T> {
        self.ring.pop().ok()
    }

    /// Records so far that found no room.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_counted_and_the_rest_is_heard_in_order() {
        let (mut voice, mut ear) = voice(4);
        (1..=7).for_each(|what| voice.say(what));
        assert_eq!(ear.dropped(), 3);
        assert_eq!(std::iter::from_fn(|| ear.hear()).collect::<Vec<_>>(), [1, 2, 3, 4]);
        voice.say(8);
        assert_eq!((ear.hear(), ear.hear(), ear.dropped()), (Some(8), None, 3));
    }
}
