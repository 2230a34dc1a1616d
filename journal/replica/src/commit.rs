//! What is committed: when may an outcome be heard?
//!
//! A rule names who must hold a command before it is. While a change of the in-sync set is under way and its outcome may
//! be unknown, the rules of both sets apply at once: whichever of them a restart finds, nothing acknowledged is lost.

use ironbell_types::{Nanos, Seq};

use crate::register::AckPolicy;

/// Who must hold a command before it is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitRule {
    /// Nobody may hear anything: a primary that has handed over, or does not lead yet.
    Hold,
    /// This node's disk. Modes `alone` and `solo`.
    Alone,
    /// Both nodes, as the policy says; released under a fresh acknowledgement only. Mode `pair`.
    Pair,
    /// What both `Alone` and `Pair` demand, while the set is being changed; released under a fresh acknowledgement only.
    Joint,
}

impl CommitRule {
    /// Whether an open primary may release what is committed, and serve reads, at `now`; `permission_end` is
    /// [`crate::primary::Link::permission_end`] of its link to the standby, if it has one. Ask again before every release:
    /// a process may have stood still meanwhile.
    #[must_use]
    pub fn may_release(self, permission_end: Option<Nanos>, now: Nanos) -> bool {
        match self {
            Self::Hold => false,
            Self::Alone => true,
            Self::Pair | Self::Joint => permission_end.is_some_and(|end| now < end),
        }
    }

    /// The last command that is committed, of a primary that has come as far as `own` and whose standby has acknowledged
    /// `standby` in the primary's epoch. What was committed before stays so: take the larger.
    #[must_use]
    pub fn committed(self, policy: AckPolicy, own: Reached, standby: Reached) -> Seq {
        let pair = match policy {
            AckPolicy::BothDurable => own.durable.min(standby.durable),
            AckPolicy::DurableReceived => {
                own.received.min(standby.received).min(own.durable.max(standby.durable))
            }
            AckPolicy::Local => own.durable,
        };
        match self {
            Self::Hold => Seq(0),
            Self::Alone => own.durable,
            Self::Pair => pair,
            Self::Joint => pair.min(own.durable),
        }
    }
}

/// How far a node has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// The last command in its memory; on a primary, the last one appended.
    pub received: Seq,
    /// The last command on its disk.
    pub durable: Seq,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(received: u64, durable: u64) -> Reached {
        Reached { received: Seq(received), durable: Seq(durable) }
    }

    #[test]
    fn nobody_releases_in_a_pair_without_a_fresh_acknowledgement() {
        for rule in [CommitRule::Pair, CommitRule::Joint] {
            assert!(rule.may_release(Some(Nanos(10)), Nanos(9)));
            assert!(!rule.may_release(Some(Nanos(10)), Nanos(10)));
            assert!(!rule.may_release(None, Nanos(0)));
        }
        assert!(CommitRule::Alone.may_release(None, Nanos(99)));
        assert!(!CommitRule::Hold.may_release(Some(Nanos(10)), Nanos(9)));
    }

    #[test]
    fn each_rule_under_each_policy() {
        use AckPolicy::{BothDurable, DurableReceived, Local};
        use CommitRule::{Alone, Hold, Joint, Pair};
        // The primary's disk is behind its standby's, then ahead of it.
        let cases = [
            (BothDurable, Pair, 5, 3),
            (BothDurable, Joint, 5, 3),
            (BothDurable, Alone, 5, 9),
            (DurableReceived, Pair, 7, 7),
            (DurableReceived, Joint, 5, 7),
            (DurableReceived, Alone, 5, 9),
            (Local, Pair, 5, 9),
            (Local, Alone, 5, 9),
            (BothDurable, Hold, 0, 0),
        ];
        for (policy, rule, behind, ahead) in cases {
            let found = rule.committed(policy, reached(9, 5), reached(8, 7));
            assert_eq!(found, Seq(behind), "{policy:?} {rule:?}, primary's disk behind");
            let found = rule.committed(policy, reached(9, 9), reached(7, 3));
            assert_eq!(found, Seq(ahead), "{policy:?} {rule:?}, primary's disk ahead");
        }
    }
}
