//! The feed without sockets: comes to the same encoder and finds in the log what the feed wrote there.

use ironbell_sessionlog::{Error, LogCheck};
use ironbell_types::{Event, EventBody};

use crate::Encoder;
use crate::channel::STREAM;

/// Follows the journal's events beside the feed, or after it.
#[derive(Debug)]
pub struct Follower {
    encoder: Encoder,
    log: LogCheck,
}

impl Follower {
    /// One that goes on from this encoder, in this log.
    #[must_use]
    pub fn new(encoder: Encoder, log: LogCheck) -> Self {
        Self { encoder, log }
    }

    /// Takes an event, and finds what it made in the log.
    ///
    /// # Errors
    /// When the log does not have it.
    pub fn take(&mut self, event: &Event) -> Result<(), Error> {
        if let EventBody::DayOpened(_) = event.body {
            self.log.restart(STREAM)?;
        }
        let (log, mut found) = (&mut self.log, Ok(()));
        self.encoder.encode(event, &mut |message| {
            if found.is_ok() {
                found = log.append(STREAM, message);
            }
        });
        found
    }

    /// The encoder and the log, as far as they have come.
    #[must_use]
    pub fn finish(self) -> (Encoder, LogCheck) {
        (self.encoder, self.log)
    }
}
