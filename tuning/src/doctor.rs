//! The doctor: every item of a profile read back from the live system.

use std::fmt;

use serde::Serialize;

use crate::apply;
use crate::probe::Reading;
use crate::{Host, Level, Profile};

/// What became of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It holds.
    Pass,
    /// It does not, and is advised only.
    Warn,
    /// It does not, and is required.
    Fail,
    /// It says nothing about this machine.
    Skip,
    /// It was only to be told.
    Info,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
            Self::Skip => "skip",
            Self::Info => "info",
        })
    }
}

/// One item as it was found.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Its name in the profile.
    pub id: String,
    /// What must hold.
    pub what: String,
    /// What it costs when it does not.
    pub why: String,
    /// What became of it.
    pub verdict: Verdict,
    /// What was found, or why nothing was looked for.
    pub found: String,
    /// What to do about it, a line each; empty when there is nothing to do.
    pub fix: Vec<String>,
}

/// A host beside a profile.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The profile's name.
    pub profile: String,
    /// The CPUs of the order path.
    pub order_cpus: String,
    /// Every item, in the profile's order.
    pub findings: Vec<Finding>,
}

/// Reads every item of `profile` back from `host`. Some watch the machine for half a second each.
#[must_use]
pub fn examine(profile: &Profile, host: &Host) -> Report {
    let findings = profile.items.iter().map(|item| {
        let (verdict, found) = match (item.probe.read(host), item.level) {
            (Reading::Skipped(why), _) => (Verdict::Skip, why),
            (Reading::Met(found) | Reading::Unmet(found), Level::Reported) => (Verdict::Info, found),
            (Reading::Met(found), _) => (Verdict::Pass, found),
            (Reading::Unmet(found), Level::Advised) => (Verdict::Warn, found),
            (Reading::Unmet(found), Level::Required) => (Verdict::Fail, found),
        };
        let unmet = matches!(verdict, Verdict::Warn | Verdict::Fail);
        Finding {
            id: item.id.clone(),
            what: item.what.clone(),
            why: item.why.clone(),
            verdict,
            found,
            fix: if unmet { apply::lines(item, host) } else { Vec::new() },
        }
    });
    Report { profile: profile.name.clone(), order_cpus: host.order.to_string(), findings: findings.collect() }
}

impl Report {
    /// How many items came to this.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict).count()
    }

    /// Whether every required item holds.
    #[must_use]
    pub fn is_fit(&self) -> bool {
        self.count(Verdict::Fail) == 0
    }

    /// Those that are required and do not hold.
    pub fn failed(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.verdict == Verdict::Fail)
    }

    /// As JSON, for the record of a benchmark and for monitoring.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings and enums are JSON")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wide = self.findings.iter().map(|finding| finding.id.len()).max().unwrap_or(0);
        for finding in &self.findings {
            writeln!(f, "{}  {:wide$}  {}", finding.verdict, finding.id, finding.found)?;
            if !matches!(finding.verdict, Verdict::Warn | Verdict::Fail) {
                continue;
            }
            writeln!(f, "      {:wide$}  wanted: {}", "", finding.what)?;
            for line in &finding.fix {
                writeln!(f, "      {:wide$}  fix: {line}", "")?;
            }
        }
        let cpus = if self.order_cpus.is_empty() {
            "no CPU is the order path's own".to_owned()
        } else {
            format!("order path on CPU {}", self.order_cpus)
        };
        write!(
            f,
            "profile {}, {cpus}: {} pass, {} warn, {} fail, {} skipped, {} told",
            self.profile,
            self.count(Verdict::Pass),
            self.count(Verdict::Warn),
            self.count(Verdict::Fail),
            self.count(Verdict::Skip),
            self.count(Verdict::Info)
        )
    }
}
