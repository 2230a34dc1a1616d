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
}

/// The feed's own end: says which day the stream belongs to.
#[derive(Debug)]
pub(crate) struct DayWriter(CursorWriter);

pub(crate) fn channel(log: &SessionLog) -> (DayWriter, Channel) {
    let (writer, reader) = cursor(0);
    (DayWriter(writer), Channel { log: log.reader(), day: reader })
}

impl DayWriter {
    /// Starts the stream of `day`. Whoever reads the same mark before and after taking a reader of the
    /// stream has the reader of that mark's day.
    pub(crate) fn start(
        &mut self,
        day: &OpenDay,
        log: &mut SessionLog,
    ) -> Result<(), ironbell_sessionlog::Error> {
        let mark = 2 * u64::from(day.date);
        self.0.advance(mark - 1);
        log.restart(STREAM)?;
        self.0.advance(mark);
        Ok(())
    }
}

impl Channel {
    /// The present session; `None` before the first day and in the moment in which a day begins.
    #[must_use]
    pub fn session(&self) -> Option<[u8; 10]> {
        session(self.day.get())
    }

    /// The present session and a reader of its messages, which are numbered from 1; `None` as
    /// [`Self::session`]. Once a later session begins the reader finds nothing more.
    #[must_use]
    pub fn open(&self) -> Option<([u8; 10], StreamReader)> {
        let mark = self.day.get();
        let session = session(mark)?;
        let reader = self.log.stream(STREAM);
        (self.day.get() == mark).then_some((session, reader))
    }
}

fn session(mark: u64) -> Option<[u8; 10]> {
    let date = u32::try_from(mark / 2).expect("a mark is made of a date");
    (mark > 0 && mark.is_multiple_of(2)).then(|| OpenDay { date, midnight: Nanos(0) }.session())
}
