//! The gateway without members: finds in the log what the gateway wrote there.

use ironbell_sessionlog::{Error, LogCheck};
use ironbell_types::{Event, EventBody};

use crate::gateway::stream_of;
use crate::{Directory, outbound::Teller};

/// Follows the journal's events beside the gateway, or after it.
#[derive(Debug)]
pub struct Follower {
    directory: Directory,
    teller: Teller,
    log: LogCheck,
}

impl Follower {
    /// One that goes on where `definitions` were defined, in this log.
    #[must_use]
    pub fn new<'a>(definitions: impl IntoIterator<Item = &'a EventBody>, log: LogCheck) -> Self {
        let mut directory = Directory::default();
        definitions.into_iter().for_each(|body| directory.apply(body));
        Self { directory, teller: Teller::default(), log }
    }

    /// Takes an event, and finds what it told the ports in the log.
    ///
    /// # Errors
    /// When the log does not have it.
    pub fn take(&mut self, event: &Event) -> Result<(), Error> {
        self.directory.apply(&event.body);
        match event.body {
            EventBody::PortDefined(port) => self.log.open_stream(stream_of(port.id))?,
            EventBody::DayOpened(_) => {
                for port in self.directory.ports() {
                    self.log.restart(stream_of(port.id))?;
                }
            }
            _ => {}
        }
        let (log, mut found) = (&mut self.log, Ok(()));
        self.teller.messages(event, &self.directory, &mut |port, message| {
            if found.is_ok() {
                found = log.append(stream_of(port), message);
            }
        });
        found
    }

    /// The log, as far as it has come.
    #[must_use]
    pub fn finish(self) -> LogCheck {
        self.log
    }
}
