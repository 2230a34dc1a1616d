//! Progress marks: monotone counters with one writer, each on a cache line of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

/// A mark shared by one writer and any number of readers.
pub type Cursor = Arc<CachePadded<AtomicU64>>;

/// The writing end.
#[derive(Debug)]
pub struct CursorWriter {
    shared: Cursor,
    at: u64,
}

/// A reading end.
#[derive(Clone, Debug)]
pub struct CursorReader(Cursor);

/// A new mark at `start`.
#[must_use]
pub fn cursor(start: u64) -> (CursorWriter, CursorReader) {
    let shared: Cursor = Arc::new(CachePadded::new(AtomicU64::new(start)));
    (CursorWriter { shared: Arc::clone(&shared), at: start }, CursorReader(shared))
}

impl CursorWriter {
    /// Moves the mark to `to`. Everything written before is visible to whoever reads the mark.
    ///
    /// # Panics
    /// When the mark would go back.
    pub fn advance(&mut self, to: u64) {
        assert!(to >= self.at, "a progress mark went back from {} to {to}", self.at);
        if to > self.at {
            self.at = to;
            self.shared.store(to, Ordering::Release);
        }
    }

    /// Where the mark stands.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.at
    }

    /// A reading end.
    #[must_use]
    pub fn reader(&self) -> CursorReader {
        CursorReader(Arc::clone(&self.shared))
    }
}

impl CursorReader {
    /// Where the mark stands.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_sees_what_was_written_before_the_mark() {
        let (mut writer, reader) = cursor(0);
        let data = Arc::new(AtomicU64::new(0));
        let theirs = Arc::clone(&data);
        let other = std::thread::spawn(move || {
            for n in 1..=10_000 {
                theirs.store(n, Ordering::Relaxed);
                writer.advance(n);
            }
        });
        loop {
            let mark = reader.get();
            assert!(data.load(Ordering::Relaxed) >= mark);
            if mark == 10_000 {
                break;
            }
        }
        other.join().expect("the writer does not panic");
    }

    #[test]
    #[should_panic(expected = "went back")]
    fn a_mark_never_goes_back() {
        let (mut writer, _) = cursor(5);
        writer.advance(4);
    }
}
