//! `[ha]`: this node is one of a pair.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ironbell_etcd::Tls;
use ironbell_replica::control::{AfterTakeover, Config as Rules, SoloPolicy};
use ironbell_replica::{AckPolicy, NodeId, primary};
use ironbell_types::Nanos;
use serde::Deserialize;

use crate::words::Span;

/// `[ha]`. Without it a node is alone, and nothing of this runs.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ha {
    /// Which of the two this is: 1, where the other one calls, or 2, which calls.
    pub node: u8,
    /// Node 1: where node 2 calls. The link is neither enciphered nor authenticated: a private network.
    pub listen: Option<SocketAddr>,
    /// Node 2: where node 1 listens.
    pub peer: Option<SocketAddr>,
    /// Must be true for any address but loopback.
    pub allow_remote: bool,
    /// Where etcd's members answer: `http://host:2379`.
    pub etcd: Vec<String>,
    /// The certificates of whoever signed those of etcd's members, for `https://`.
    pub etcd_ca: Option<PathBuf>,
    /// This node's certificate for etcd, and its key.
    pub etcd_certificate: Option<PathBuf>,
    /// See [`etcd_certificate`](Self::etcd_certificate).
    pub etcd_certificate_key: Option<PathBuf>,
    /// The key in etcd that says who leads.
    pub key: String,
    /// What an acknowledgement to a member means. The same on both nodes.
    pub ack: AckPolicy,
    /// What a node does that has taken over: `alone` it goes on acknowledging, or it `wait`s for the other.
    pub after_takeover: After,
    /// When a primary goes on without its standby: `by-hand`, by `ironbell ctl solo`; or so long after it was lost.
    pub solo: String,
    /// Whether a node that was away joins again by itself; else `ironbell ctl rejoin` says so.
    pub rejoin: Rejoin,
    /// Whether silence on the link alone starts a promotion, while the primary's lease in etcd is still there.
    pub silence_is_enough: bool,
    /// Silence on the link after which a standby wants to take over.
    pub grace: Span,
    /// How long an acknowledgement of the standby lets the primary answer its members.
    pub permission: Span,
    /// How far apart the two clocks may run, in parts per million.
    pub drift_ppm: u32,
    /// An idle primary says so often that it is there.
    pub keep_alive: Span,
    /// Seconds that a primary's lease in etcd lives without it.
    pub lease_s: u32,
    /// How often who leads is read again when nothing happens.
    pub read_every: Span,
    /// How long a switchover may take before the primary takes it back.
    pub handover: Span,
    /// How long members who were logged in at the other node have to come over to a primary that has just begun to lead, in
    /// sequenced time, before their logins are ended and, on ports that cancel on disconnect, their orders.
    pub disconnect_grace: Span,
    /// The most bytes a second that are read for a standby that is behind: of the journal, or of a snapshot and the logs.
    pub catch_up_bytes_per_s: u64,
}

/// See [`Ha::after_takeover`].
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum After {
    /// It acknowledges by itself.
    Alone,
    /// It waits for the other.
    Wait,
}

/// See [`Ha::rejoin`].
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Rejoin {
    /// By itself.
    Auto,
    /// When an operator says so.
    ByHand,
}

impl Default for Ha {
    fn default() -> Self {
        const MS: u64 = 1_000_000;
        Self {
            node: 0,
            listen: None,
            peer: None,
            allow_remote: false,
            etcd: Vec::new(),
            etcd_ca: None,
            etcd_certificate: None,
            etcd_certificate_key: None,
            key: "/ironbell/venue".into(),
            ack: AckPolicy::BothDurable,
            after_takeover: After::Alone,
            solo: "by-hand".into(),
            rejoin: Rejoin::Auto,
            silence_is_enough: true,
            grace: Span(500 * MS),
            permission: Span(500 * MS),
            drift_ppm: 500,
            keep_alive: Span(50 * MS),
            lease_s: 2,
            read_every: Span(1_000 * MS),
            handover: Span(5_000 * MS),
            disconnect_grace: Span(5_000 * MS),
            catch_up_bytes_per_s: 100 << 20,
        }
    }
}

impl Ha {
    /// Which node this is.
    ///
    /// # Panics
    /// When it was not [checked](Self::check).
    #[must_use]
    pub fn node(&self) -> NodeId {
        NodeId::new(self.node).expect("the configuration was checked")
    }

    /// What makes no sense.
    ///
    /// # Errors
    /// A line saying which field is wrong and why.
    pub fn check(&self) -> Result<(), String> {
        let node = NodeId::new(self.node).ok_or_else(|| {
            format!("ha.node = {} is neither 1 nor 2: say which of the two this is", self.node)
        })?;
        let (name, address, other) = match node {
            NodeId::ONE => ("ha.listen", self.listen, self.peer.map(|_| "ha.peer")),
            _ => ("ha.peer", self.peer, self.listen.map(|_| "ha.listen")),
        };
        if let Some(other) = other {
            return Err(format!("{other} is not node {node}'s: node 1 listens, node 2 calls; leave it out"));
        }
        let Some(address) = address else {
            return Err(format!(
                "{name} is missing: where node 1 listens for node 2, e.g. \"127.0.0.1:26430\""
            ));
        };
        if !address.ip().is_loopback() && !self.allow_remote {
            return Err(format!("{name} = {} is not loopback and ha.allow_remote is not true", address.ip()));
        }
        if self.etcd.is_empty() {
            return Err(
                "ha.etcd is empty: name the members of an etcd cluster, e.g. [\"http://127.0.0.1:2379\"]; \
                        who leads is written there"
                    .into(),
            );
        }
        if self.etcd_certificate.is_some() != self.etcd_certificate_key.is_some()
            || self.etcd_certificate.is_some() && self.etcd_ca.is_none()
        {
            return Err("ha.etcd_certificate, ha.etcd_certificate_key and ha.etcd_ca go together".into());
        }
        if !self.key.starts_with('/') || self.key.ends_with('/') {
            return Err(format!("ha.key = {:?} does not begin with / or ends with it", self.key));
        }
        for (name, span) in [
            ("grace", self.grace),
            ("permission", self.permission),
            ("keep_alive", self.keep_alive),
            ("read_every", self.read_every),
            ("handover", self.handover),
        ] {
            if span.0 == 0 {
                return Err(format!("ha.{name} = \"off\" cannot be: write a span of time, e.g. \"500ms\""));
            }
        }
        if self.keep_alive.0 * 2 > self.grace.0.min(self.permission.0) {
            return Err(format!(
                "ha.keep_alive = \"{}\" is more than half of ha.grace = \"{}\" or ha.permission = \"{}\": one late word would be \
                 taken for silence",
                self.keep_alive, self.grace, self.permission
            ));
        }
        if !(1..=3_600).contains(&self.lease_s) {
            return Err(format!("ha.lease_s = {} is not within 1 to 3600", self.lease_s));
        }
        if self.catch_up_bytes_per_s < 1 << 20 {
            return Err(format!("ha.catch_up_bytes_per_s = {} is below 1 MiB", self.catch_up_bytes_per_s));
        }
        self.solo_policy().map(drop)
    }

    fn solo_policy(&self) -> Result<SoloPolicy, String> {
        if self.solo == "by-hand" {
            return Ok(SoloPolicy::ByHand);
        }
        match self.solo.parse::<Span>() {
            Ok(Span(after)) if after > 0 => Ok(SoloPolicy::After(Nanos(after))),
            _ => Err(format!(
                "ha.solo = {:?} is neither \"by-hand\" nor a span of time such as \"10s\"",
                self.solo
            )),
        }
    }

    /// Where etcd answers.
    #[must_use]
    pub fn etcd_options(&self) -> ironbell_etcd::Options {
        ironbell_etcd::Options {
            endpoints: self.etcd.clone(),
            deadline: Duration::from_millis(600),
            tls: self.etcd_ca.clone().map(|ca| Tls {
                ca,
                client: self.etcd_certificate.clone().zip(self.etcd_certificate_key.clone()),
            }),
        }
    }

    /// What control is told.
    ///
    /// # Panics
    /// When it was not [checked](Self::check).
    #[must_use]
    pub fn rules(&self) -> Rules {
        Rules {
            node: self.node(),
            ack: self.ack,
            after_takeover: match self.after_takeover {
                After::Alone => AfterTakeover::Alone,
                After::Wait => AfterTakeover::Wait,
            },
            solo: self.solo_policy().expect("the configuration was checked"),
            rejoins_by_itself: self.rejoin == Rejoin::Auto,
            silence_is_enough: self.silence_is_enough,
            grace: Nanos(self.grace.0),
            permission: Nanos(self.permission.0),
            drift_ppm: self.drift_ppm,
            read_every: Nanos(self.read_every.0),
            retry: Nanos(100_000_000),
            handover: Nanos(self.handover.0),
        }
    }

    /// What the primary's end of the link is told.
    #[must_use]
    pub fn link(&self) -> primary::Config {
        primary::Config {
            keep_alive: Nanos(self.keep_alive.0),
            catch_up_bytes_per_s: self.catch_up_bytes_per_s,
        }
    }
}
