//! What roles of the order path have to say to people, put in words.
//!
//! A role speaks in records of a fixed size, into a ring of its own ([`ironbell_sync::voice`]); the service thread takes them
//! out, finds the names that the numbers stand for, and logs. What happened to members by sequenced commands is said by the
//! shadow, which executes them a second time anyway: the gateway tells only what is no event.
//!
//! What members can cause is rationed, so that nobody floods the log, and with it the journal, which would then drop alarms
//! too: what is beyond the ration waits in its ring, and is dropped and counted when that is full.

use std::time::{Duration, Instant};

use ironbell_core::Engine;
use ironbell_gateway as gateway;
use ironbell_sync::Ear;
use ironbell_sync::metrics::RoleMetrics;
use ironbell_types::{FirmId, KillScope, PortId};
use tracing::{Level, event};

use crate::log;
use crate::operator::Said;
use crate::shadow;
use crate::telemetry;

/// Records that may wait on each ring.
pub const DEPTH: usize = 512;
/// Records put in words in one second, on average; the journal itself takes 10,000 in 30 s of a service by default
/// (`journald.conf(5)`, `RateLimitBurst=`).
const PER_SECOND: u32 = 100;
/// So many at once.
const BURST: u32 = 500;

/// Writes down what the roles say.
pub struct Scribe {
    gateway: Ear<gateway::Notice>,
    shadow: Ear<shadow::Notice>,
    ration: Ration,
    written: u64,
    metrics: RoleMetrics,
}

impl Scribe {
    /// Who hears these, and counts as [`crate::roles::SPECS`] has it.
    #[must_use]
    pub fn new(gateway: Ear<gateway::Notice>, shadow: Ear<shadow::Notice>, metrics: RoleMetrics) -> Self {
        Self { gateway, shadow, ration: Ration::since(Instant::now()), written: 0, metrics }
    }

    /// Writes what was said, as far as the ration goes. `engine` knows the names.
    pub fn write(&mut self, engine: &Engine) {
        self.ration.refill(Instant::now());
        let names = Names(Said(engine));
        while self.ration.left >= 1.0 {
            // What is sequenced first: it is the weightier, and a flood of connections must not hide it.
            if let Some(notice) = self.shadow.hear() {
                names.tell(&notice);
            } else if let Some(notice) = self.gateway.hear() {
                names.tell_of_gateway(&notice);
            } else {
                break;
            }
            self.ration.left -= 1.0;
            self.written += 1;
        }
        self.metrics.set(0, self.written);
        self.metrics.set(1, self.gateway.dropped() + self.shadow.dropped());
        self.metrics.set(2, log::unsent());
        self.metrics.set(3, telemetry::unsent());
    }
}

/// How much may be said.
struct Ration {
    left: f64,
    at: Instant,
}

impl Ration {
    fn since(at: Instant) -> Self {
        Self { left: BURST.into(), at }
    }

    fn refill(&mut self, now: Instant) {
        let since: Duration = now.saturating_duration_since(self.at);
        self.left = (self.left + since.as_secs_f64() * f64::from(PER_SECOND)).min(BURST.into());
        self.at = now;
    }
}

/// The words, and the fields: `session` is a port's user name, `firm` its firm's MPID.
struct Names<'a>(Said<'a>);

/// Logs with the names of a port and its firm, as far as there is one.
macro_rules! say {
    ($names:expr, $level:expr, $port:expr, { $($fields:tt)* }) => {
        match $names.of($port) {
            Some((session, firm)) => event!($level, session, firm, $($fields)*),
            None => event!($level, $($fields)*),
        }
    };
}

impl Names<'_> {
    fn of(&self, port: Option<PortId>) -> Option<(String, String)> {
        let Said(engine) = self.0;
        let firm = engine.ports().find(|known| Some(known.id) == port)?.firm;
        Some((self.0.username(port?), self.0.mpid(firm)))
    }

    fn tell(&self, notice: &shadow::Notice) {
        use shadow::What;
        let seq = notice.seq.0;
        match notice.what {
            What::LoggedIn { port, incarnation } => {
                say!(self, Level::INFO, Some(port), { seq, login = incarnation, "logged in" });
            }
            What::LoggedOut { port, incarnation, cancels: false } => {
                say!(self, Level::INFO, Some(port), { seq, login = incarnation, "logged out" });
            }
            What::LoggedOut { port, incarnation, cancels: true } => {
                say!(self, Level::WARN, Some(port), {
                    seq,
                    login = incarnation,
                    "logged out: its open orders are cancelled on disconnect"
                });
            }
            What::DeadMan { port } => {
                say!(self, Level::WARN, Some(port), { seq, "the dead-man timer ran out: its open orders are cancelled" });
            }
            What::Refused { port, reason, orders } => {
                say!(self, Level::WARN, Some(port), { seq, ?reason, orders, "orders were refused" });
            }
            What::OrderEntry { port, enabled: false } => {
                say!(self, Level::WARN, Some(port), { seq, "its firm has disabled its order entry" });
            }
            What::OrderEntry { port, enabled: true } => {
                say!(self, Level::INFO, Some(port), { seq, "its firm has enabled its order entry" });
            }
            What::Kill { scope, on } => self.tell_of_switch(seq, scope, on),
            What::Halted { instrument } => {
                event!(Level::WARN, seq, instrument = self.0.symbol(instrument), "the instrument is halted");
            }
        }
    }

    fn tell_of_switch(&self, seq: u64, scope: KillScope, on: bool) {
        let what = self.0.switched(scope, on);
        let firm = |firm: FirmId| self.0.mpid(firm);
        match scope {
            KillScope::Port(port) => say!(self, Level::WARN, Some(port), { seq, "kill switch: {what}" }),
            KillScope::Firm(id) => event!(Level::WARN, seq, firm = firm(id), "kill switch: {what}"),
            KillScope::Instrument(_) | KillScope::Venue => event!(Level::WARN, seq, "kill switch: {what}"),
        }
    }

    fn tell_of_gateway(&self, notice: &gateway::Notice) {
        match *notice {
            gateway::Notice::Refused { username, port, why } => {
                // What an unknown sender calls itself is any bytes.
                let who = username.0.trim_ascii().escape_ascii();
                say!(self, Level::WARN, port, { username = %who, %why, "a login was refused" });
            }
            gateway::Notice::Closed { port, why: why @ gateway::Ending::Gone } => {
                say!(self, Level::INFO, port, { %why, "the connection is closed" });
            }
            gateway::Notice::Closed { port, why } => {
                say!(self, Level::WARN, port, { %why, "the connection was dropped" });
            }
            gateway::Notice::TurnedAway => {
                event!(Level::WARN, "a connection was turned away: order_entry.sessions_max are there");
            }
            gateway::Notice::NotAccepted => {
                event!(Level::WARN, "the system could not give us a connection; see the limit of open files");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ration_comes_back_with_time_and_no_further() {
        let start = Instant::now();
        let mut ration = Ration::since(start);
        ration.left = 0.0;
        ration.refill(start + Duration::from_millis(500));
        assert!((ration.left - 50.0).abs() < 1e-6, "{}", ration.left);
        ration.refill(start + Duration::from_secs(3_600));
        assert!((ration.left - f64::from(BURST)).abs() < 1e-6, "{}", ration.left);
    }
}
