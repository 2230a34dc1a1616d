//! Where two histories part.
//!
//! An epoch belongs to one primary, which writes it in one life: so two journals that both have frames of an epoch have
//! the same history up to the shorter one's last frame of it. The highest epoch that both have decides.

use ironbell_record::{Chain, Identity, Point};

use crate::message::{EPOCHS_MAX, Hello, Refusal};
use crate::register::{AckPolicy, NodeId};

/// How a peer's history stands to ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// It is the same.
    Same,
    /// The peer's is a beginning of ours.
    Behind,
    /// Ours is a beginning of the peer's.
    Ahead,
    /// They go together up to this point, and each goes on by itself.
    Parted(Point),
    /// One epoch has two histories: one of the journals is not what its node wrote.
    Diverged {
        /// Which epoch.
        epoch: u64,
    },
    /// Neither remembers a point that both have.
    NoCommonPoint,
}

/// What a primary answers to a hello: where the standby's history goes on.
///
/// # Errors
/// Why there is no link between the two.
pub fn answer(
    ours: &Epochs,
    node: NodeId,
    ack: AckPolicy,
    epoch: u64,
    hello: &Hello,
) -> Result<Point, Refusal> {
    if hello.identity != ours.identity {
        return Err(Refusal::Venue);
    }
    if hello.node == node {
        return Err(Refusal::Node);
    }
    if hello.ack != ack {
        return Err(Refusal::Policy);
    }
    if hello.leading.is_some() {
        return Err(Refusal::Leads);
    }
    if hello.promised > epoch {
        return Err(Refusal::Epoch);
    }
    match ours.relation(hello) {
        Relation::Same | Relation::Behind => Ok(hello.last),
        Relation::Parted(common) => Ok(common),
        Relation::NoCommonPoint => Err(Refusal::NoCommonPoint),
        // Ours holds the first frame of an epoch that nobody else can have.
        Relation::Ahead | Relation::Diverged { .. } => Err(Refusal::Diverged),
    }
}

/// The last point of each of the newest epochs in a journal, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Epochs {
    identity: Identity,
    points: Vec<Point>,
    /// Older ones were forgotten.
    cut: bool,
}

impl Epochs {
    /// Of a journal of this venue that was read from `from` on (its beginning, or where a snapshot stands), with these
    /// last points of the epochs found there, ascending.
    ///
    /// # Panics
    /// When they do not ascend.
    #[must_use]
    pub fn new(identity: Identity, from: Point, points: &[Point]) -> Self {
        let cut = from != Chain::genesis(&identity).point();
        let mut epochs = Self { identity, points: Vec::with_capacity(EPOCHS_MAX + 1), cut };
        epochs.reach(from);
        points.iter().for_each(|point| epochs.reach(*point));
        epochs
    }

    /// The journal has come to `point`.
    ///
    /// # Panics
    /// When that goes back.
    pub fn reach(&mut self, point: Point) {
        match self.points.last_mut() {
            Some(last) if last.epoch == point.epoch => {
                assert!(point.frames >= last.frames, "the journal goes back from {last} to {point}");
                *last = point;
            }
            last => {
                let goes_on = last.is_none_or(|last| last.epoch < point.epoch && last.frames < point.frames);
                assert!(goes_on, "the journal goes back to {point}");
                if point.epoch > 0 {
                    self.points.push(point);
                }
            }
        }
        if self.points.len() > EPOCHS_MAX {
            self.points.remove(0);
            self.cut = true;
        }
    }

    /// The last points, ascending.
    #[must_use]
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// The end of the history.
    #[must_use]
    pub fn last(&self) -> Point {
        self.points.last().copied().unwrap_or_else(|| Chain::genesis(&self.identity).point())
    }

    /// How the history of who said `hello` stands to this one. Whoever has the longer one must still find the other's
    /// last point in its journal: a table cannot know the links in between.
    #[must_use]
    pub fn relation(&self, hello: &Hello) -> Relation {
        let (ours, theirs) = (self.last(), hello.last);
        let genesis = Chain::genesis(&self.identity).point();
        let shared = self.points.iter().rev().find_map(|ours| {
            let theirs = hello.epochs.binary_search_by_key(&ours.epoch, |theirs| theirs.epoch).ok()?;
            Some((*ours, hello.epochs[theirs]))
        });
        let common = match shared {
            Some((ours, theirs)) if ours.frames == theirs.frames && ours != theirs => {
                return Relation::Diverged { epoch: ours.epoch };
            }
            Some((ours, theirs)) => {
                if ours.frames < theirs.frames {
                    ours
                } else {
                    theirs
                }
            }
            // Everything goes on from the venue's beginning, whatever is remembered of it.
            None if genesis == theirs || genesis == ours => genesis,
            // A table that is full may have forgotten the epoch that both had.
            None if self.cut || hello.epochs.len() == EPOCHS_MAX => return Relation::NoCommonPoint,
            None => genesis,
        };
        match (common == ours, common == theirs) {
            (true, true) => Relation::Same,
            (true, false) => Relation::Ahead,
            (false, true) => Relation::Behind,
            (false, false) => Relation::Parted(common),
        }
    }
}
