//! Reading what the feed said, from any thread.

use ironbell_sessionlog::{LogReader, SessionLog, StreamId, StreamReader};
use ironbell_sync::{CursorReader, CursorWriter, cursor};
use ironbell_types::{Nanos, OpenDay};

/// The feed's log has one stream. It starts again, from number 1, with every day.
pub(crate) const STREAM: StreamId = StreamId(0);

/// A reading end of the feed: the day's session and its messages.
#[derive(Clone, Debug)]
pub struct Channel {
    log: LogReader,
    /// Twice the day's date when the log's stream is that day's, one less while it is being started.
    day: CursorReader,
    /// Messages of all sessions before the present one.
    before: CursorReader,
}

/// The present session.
#[derive(Clone, Debug)]
pub struct Today {
    /// Its name.
    pub session: [u8; 10],
    /// Its messages, numbered from 1. Once a later session begins the reader finds nothing more.
    pub log: StreamReader,
    before: u64,
}

/// The feed's own end: says which day the stream belongs to.
#[derive(Debug)]
pub(crate) struct DayWriter {
    day: CursorWriter,
    before: CursorWriter,
}

pub(crate) fn channel(log: &SessionLog) -> (DayWriter, Channel) {
    let ((day, day_reader), (before, before_reader)) = (cursor(0), cursor(0));
    (DayWriter { day, before }, Channel { log: log.reader(), day: day_reader, before: before_reader })
}

impl DayWriter {
    /// The stream is that of `day` and goes on.
    pub(crate) fn resume(&mut self, day: &OpenDay) {
        self.day.advance(2 * u64::from(day.date));
    }

    /// Starts the stream of `day`. Whoever reads the same mark before and after taking a reader of the
    /// stream has the reader of that mark's day.
    pub(crate) fn start(
        &mut self,
        day: &OpenDay,
        log: &mut SessionLog,
    ) -> Result<(), ironbell_sessionlog::Error> {
        let mark = 2 * u64::from(day.date);
        self.day.advance(mark - 1);
        self.before.advance(self.before.get() + log.next_number(STREAM) - 1);
        log.restart(STREAM)?;
        self.day.advance(mark);
        Ok(())
    }
}

impl Channel {
    /// A reading end of the log itself, of all days that it holds.
    #[must_use]
    pub fn log_reader(&self) -> LogReader {
        self.log.clone()
    }

    /// The present session; `None` before the first day and in the moment in which a day begins.
    #[must_use]
    pub fn session(&self) -> Option<[u8; 10]> {
        session(self.day.get())
    }

    /// The present session with a reader of its messages; `None` as [`Self::session`].
    #[must_use]
    pub fn open(&self) -> Option<Today> {
        let mark = self.day.get();
        let session = session(mark)?;
        let today = Today { session, log: self.log.stream(STREAM), before: self.before.get() };
        (self.day.get() == mark).then_some(today)
    }

    /// How many messages `day`'s session had when the next one began; `None` while it is the present one.
    /// When more than one began since, those of the sessions between are counted in.
    #[must_use]
    pub fn ended_at(&self, day: &Today) -> Option<u64> {
        let is_over = self.session().is_some_and(|present| present != day.session);
        is_over.then(|| self.before.get() - day.before)
    }
}

fn session(mark: u64) -> Option<[u8; 10]> {
    let date = u32::try_from(mark / 2).expect("a mark is made of a date");
    (mark > 0 && mark.is_multiple_of(2)).then(|| OpenDay { date, midnight: Nanos(0) }.session())
}
