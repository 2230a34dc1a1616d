//! What a gateway says to people: what no event of the state machine tells.

use ironbell_session::{Refusal, Violation};
use ironbell_types::{PortId, Username};

/// A record of fixed size, for a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A login was refused.
    Refused {
        /// Who asked, in the member's own words: any six bytes.
        username: Username,
        /// The port of that name, if there is one.
        port: Option<PortId>,
        /// What the member was told.
        why: Refusal,
    },
    /// A connection was closed.
    Closed {
        /// The port that was logged in on it; none before a login.
        port: Option<PortId>,
        /// Why.
        why: Ending,
    },
    /// A connection was closed at once: there were as many as there may be.
    TurnedAway,
    /// The system could not give us a connection.
    NotAccepted,
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ending {
    /// The member went, or was told everything it will be told.
    #[error("the member is gone, or was told all there is")]
    Gone,
    /// It broke the protocol or its times.
    #[error("{0}")]
    Violation(Violation),
    /// Too many of its messages were no commands.
    #[error("too many messages that are no commands")]
    Meaningless,
    /// The log has lost a message it is owed.
    #[error("a message that it is owed cannot be read from the log")]
    Damaged,
    /// A newer login of the same port.
    #[error("a newer connection of the port took its place")]
    TakenOver,
}

impl Ending {
    /// Whether it is the member's fault.
    #[must_use]
    pub fn is_violation(self) -> bool {
        matches!(self, Self::Violation(_) | Self::Meaningless)
    }
}

impl From<Violation> for Ending {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl From<ironbell_device::Closed> for Ending {
    fn from(_: ironbell_device::Closed) -> Self {
        Self::Gone
    }
}
