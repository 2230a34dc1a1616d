//! The one value that says who leads: a key of the consensus store, changed only by a transaction that compares the
//! whole of the old one.
//!
//! It is a line of JSON, so that an operator can read it with `etcdctl get`. The text is canonical: one value has one
//! text, and another text of the same value is refused, so that comparing texts is comparing values. Every change
//! takes a higher epoch; so no value ever comes back, and a transaction that arrives late finds another one.

use std::fmt;

use ironbell_record::{ChainHash, Point};
use ironbell_types::Seq;
use serde::{Deserialize, Serialize};

/// One of the two nodes of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct NodeId(u8);

impl NodeId {
    /// The node that listens for the other.
    pub const ONE: Self = Self(1);
    /// The node that calls the other.
    pub const TWO: Self = Self(2);

    /// Node 1 or 2; `None` for any other number.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number == 1 || number == 2 { Some(Self(number)) } else { None }
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        Self(3 - self.0)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<u8> for NodeId {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        Self::new(number).ok_or_else(|| format!("there is no node {number}, only 1 and 2"))
    }
}

impl From<NodeId> for u8 {
    fn from(node: NodeId) -> Self {
        node.0
    }
}

/// The nodes that must hold a frame before it is committed, and of which any may be promoted. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<NodeId>", into = "Vec<NodeId>")]
pub enum InSync {
    /// One node by itself.
    Only(NodeId),
    /// Both.
    Both,
}

impl InSync {
    /// Whether `node` is one of them.
    #[must_use]
    pub fn contains(self, node: NodeId) -> bool {
        self == Self::Both || self == Self::Only(node)
    }
}

impl From<InSync> for Vec<NodeId> {
    fn from(in_sync: InSync) -> Self {
        match in_sync {
            InSync::Only(node) => vec![node],
            InSync::Both => vec![NodeId::ONE, NodeId::TWO],
        }
    }
}

impl TryFrom<Vec<NodeId>> for InSync {
    type Error = &'static str;

    fn try_from(nodes: Vec<NodeId>) -> Result<Self, &'static str> {
        match nodes[..] {
            [node] => Ok(Self::Only(node)),
            [NodeId::ONE, NodeId::TWO] => Ok(Self::Both),
            _ => Err("in_sync is neither [1], [2] nor [1,2]"),
        }
    }
}

/// Why the in-sync set is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Both nodes hold what is acknowledged.
    Pair,
    /// After a takeover or a bootstrap: the primary acknowledges by itself until the other has joined.
    Alone,
    /// Somebody decided that the primary goes on without its standby.
    Solo,
}

/// What an acknowledgement to a member means, on a node of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AckPolicy {
    /// Both disks have it.
    BothDurable,
    /// One disk has it, and the memory of both nodes.
    #[serde(rename = "durable+received")]
    DurableReceived,
    /// The primary's disk has it. The standby follows and is never in sync, so never promoted by itself.
    Local,
}

impl AckPolicy {
    /// As it stands in a configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BothDurable => "both-durable",
            Self::DurableReceived => "durable+received",
            Self::Local => "local",
        }
    }
}

/// Who leads, since when and with whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// The primary's term; grows with every change.
    pub epoch: u64,
    /// Who leads.
    pub primary: NodeId,
    /// Who must hold what is acknowledged.
    pub in_sync: InSync,
    /// Why they are those.
    pub mode: Mode,
    /// What an acknowledgement means in this epoch.
    pub ack: AckPolicy,
    /// Why it was changed: of an operator's order, his words.
    pub reason: String,
    /// Who ordered it; empty when nobody did.
    pub approver: String,
    /// Up to here every node in sync holds the history on its disk, as was known when the epoch was taken.
    #[serde(with = "point")]
    pub start: Point,
}

/// A text that is no register's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// The register holds what this program would not have written: {0}
    #[error("the register holds what this program would not have written: {0}")]
    Malformed(String),
    /// The register's text is not the canonical one of its value
    #[error("the register's text is not the canonical one of its value: it was changed by hand")]
    NotCanonical,
    /// The register contradicts itself
    #[error("the register contradicts itself: {0}")]
    Contradiction(&'static str),
}

impl Register {
    /// Its text: one line of JSON.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts are JSON")
    }

    /// The register that `text` says.
    ///
    /// # Errors
    /// [`TextError`]: whatever [`to_text`](Self::to_text) would not have written.
    pub fn from_text(text: &str) -> Result<Self, TextError> {
        let register: Self =
            serde_json::from_str(text).map_err(|error| TextError::Malformed(error.to_string()))?;
        if let Some(what) = register.contradiction() {
            return Err(TextError::Contradiction(what));
        }
        if register.to_text() != text {
            return Err(TextError::NotCanonical);
        }
        Ok(register)
    }

    fn contradiction(&self) -> Option<&'static str> {
        if self.epoch == 0 {
            return Some("epoch 0 is nobody's");
        }
        if !self.in_sync.contains(self.primary) {
            return Some("the primary is not in sync with itself");
        }
        if (self.mode == Mode::Pair) != (self.in_sync == InSync::Both) {
            return Some("mode and in-sync set do not go together");
        }
        if self.ack == AckPolicy::Local && self.mode == Mode::Pair {
            return Some("a pair that acknowledges from one disk");
        }
        None
    }
}

mod point {
    use super::{ChainHash, Deserialize, Point, Seq, Serialize};
    use serde::de::Error;
    use serde::{Deserializer, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Text {
        frames: u64,
        epoch: u64,
        seq: u64,
        hash: String,
    }

    pub(super) fn serialize<S: Serializer>(point: &Point, to: S) -> Result<S::Ok, S::Error> {
        let Point { frames, epoch, seq, hash } = *point;
        Text { frames, epoch, seq: seq.0, hash: hash.to_string() }.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Point, D::Error> {
        let Text { frames, epoch, seq, hash } = Text::deserialize(from)?;
        let hash = self::hash(&hash).ok_or_else(|| D::Error::custom("a link is 64 hexadecimal digits"))?;
        Ok(Point { frames, epoch, seq: Seq(seq), hash })
    }

    fn hash(text: &str) -> Option<ChainHash> {
        let digits = text.as_bytes();
        let mut bytes = [0; 32];
        if digits.len() != 2 * bytes.len() {
            return None;
        }
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |nth: usize| char::from(pair[nth]).to_digit(16);
            *byte = (digit(0)? << 4 | digit(1)?) as u8;
        }
        Some(ChainHash(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register() -> Register {
        Register {
            epoch: 7,
            primary: NodeId::TWO,
            in_sync: InSync::Both,
            mode: Mode::Pair,
            ack: AckPolicy::BothDurable,
            reason: "joined".into(),
            approver: "ann \"the SRE\"".into(),
            start: Point { frames: 12, epoch: 6, seq: Seq(345), hash: ChainHash([0xab; 32]) },
        }
    }

    #[test]
    fn its_text_is_one_line_and_says_it_all() {
        let text = register().to_text();
        let hash = "ab".repeat(32);
        assert_eq!(
            text,
            [
                r#"{"epoch":7,"primary":2,"in_sync":[1,2],"mode":"pair","ack":"both-durable","reason":"joined","#,
                r#""approver":"ann \"the SRE\"","start":{"frames":12,"epoch":6,"seq":345,"hash":""#,
                &hash,
                r#""}}"#,
            ]
            .concat()
        );
        assert_eq!(Register::from_text(&text), Ok(register()));
    }

    #[test]
    fn another_text_of_the_same_value_is_refused() {
        let text = register().to_text();
        assert_eq!(Register::from_text(&text.replace(':', ": ")), Err(TextError::NotCanonical));
        assert_eq!(Register::from_text(&text.replace("abab", "ABab")), Err(TextError::NotCanonical));
        for end in 0..text.len() {
            assert!(
                matches!(Register::from_text(&text[..end]), Err(TextError::Malformed(_))),
                "cut at {end}"
            );
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let wrong = [
            Register { epoch: 0, ..register() },
            Register { in_sync: InSync::Only(NodeId::TWO), ..register() },
            Register { mode: Mode::Solo, ..register() },
            Register { mode: Mode::Solo, in_sync: InSync::Only(NodeId::ONE), ..register() },
            Register { ack: AckPolicy::Local, ..register() },
        ];
        for register in wrong {
            let text = register.to_text();
            assert!(matches!(Register::from_text(&text), Err(TextError::Contradiction(_))), "{text}");
        }
        for (from, to) in [("\"primary\":2", "\"primary\":3"), ("[1,2]", "[2,1]"), ("[1,2]", "[]")] {
            let text = register().to_text().replace(from, to);
            assert!(matches!(Register::from_text(&text), Err(TextError::Malformed(_))), "{text}");
        }
    }
}
