//! What a log's leaf commits to: one Seq, in parts that are shown one by one.
//!
//! ```text
//!   leaf of Seq s, at index s − 1:   SHA-256(0 ‖ entry)                  RFC 6962
//!   entry (32 bytes):                root over the parts                 RFC 6962, 4, 8, 16 … leaves
//!   part's hash:                     SHA-256(0 ‖ salt ‖ kind ‖ content)
//!
//!   kind (1 byte)   content, integers big-endian
//!   0  padding      nothing
//!   1  command      Seq (8) ‖ the command, as the journal has it
//!   2  time         Seq (8) ‖ nanoseconds since 1970 (8)
//!   3  state        Seq (8) ‖ epoch (8) ‖ output hash after the command (16)
//!   4  port         Seq (8) ‖ port (4) ‖ for each message it was told: length (2) ‖ message
//!   5  account      Seq (8) ‖ account (4) ‖ the postings, as lines of text
//! ```
//!
//! A part is shown with its salt and a path of hashes; the salts of the others stay secret, so that nothing of them can
//! be found out by guessing. Parts stand in the order of their hashes, which is random, and are padded to
//! a power of two: neither place nor length of the path says who else had a part in it.

use ring::hmac;
use zeroize::Zeroizing;

use crate::merkle::{Hash, leaf_hash, node_hash};
use crate::signer::sha256;
use crate::{Error, Key};

/// What a part is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Nothing.
    Padding(u32),
    /// The command.
    Command,
    /// When it was sequenced.
    Time,
    /// Epoch and output hash.
    State,
    /// What a port was told.
    Port(u32),
    /// What was posted to an account.
    Account(u32),
}

impl Part {
    /// The byte in front of the content.
    #[must_use]
    pub fn kind(self) -> u8 {
        match self {
            Self::Padding(_) => 0,
            Self::Command => 1,
            Self::Time => 2,
            Self::State => 3,
            Self::Port(_) => 4,
            Self::Account(_) => 5,
        }
    }

    fn number(self) -> u32 {
        match self {
            Self::Command | Self::Time | Self::State => 0,
            Self::Padding(number) | Self::Port(number) | Self::Account(number) => number,
        }
    }

    /// The word of that kind in a receipt.
    #[must_use]
    pub fn word(kind: u8) -> Option<&'static str> {
        ["padding", "command", "time", "state", "port", "account"].get(usize::from(kind)).copied()
    }
}

/// Parts of an entry, at most: 2^16, so that a path has at most 16 hashes.
pub const PARTS_MAX: usize = 1 << 16;

/// The salts of a venue. From one secret follow a key for each day, from that one for each Seq, and from that the salt
/// of each part; so an auditor can be given one day.
pub struct Salts {
    secret: hmac::Key,
    day: Option<(u64, hmac::Key)>,
}

impl std::fmt::Debug for Salts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Salts")
    }
}

const NANOS_A_DAY: u64 = 86_400_000_000_000;

impl Salts {
    /// Those of the venue with this secret. Both nodes have the same.
    #[must_use]
    pub fn new(secret: &Key) -> Self {
        Self { secret: hmac::Key::new(hmac::HMAC_SHA256, secret.as_ref()), day: None }
    }

    /// The key of a day, counted from 1970-01-01 UTC: HMAC-SHA256 of the secret over `ironbell day ‖ day (8)`.
    #[must_use]
    pub fn day_key(&self, day: u64) -> Key {
        let tag = tagged(&self.secret, b"ironbell day", day);
        Zeroizing::new(*tag)
    }

    /// What the salts of the command of this place and time (in nanoseconds since 1970) follow from: HMAC-SHA256 of the
    /// day's key over `ironbell seq ‖ seq (8)`.
    pub fn of(&mut self, seq: u64, time_ns: u64) -> SeqSalt {
        let day = time_ns / NANOS_A_DAY;
        if self.day.as_ref().is_none_or(|(then, _)| *then != day) {
            self.day = Some((day, hmac::Key::new(hmac::HMAC_SHA256, self.day_key(day).as_ref())));
        }
        let (_, key) = self.day.as_ref().expect("it was just made");
        SeqSalt(tagged(key, b"ironbell seq", seq))
    }
}

fn tagged(key: &hmac::Key, label: &[u8], number: u64) -> Zeroizing<Hash> {
    let mut context = hmac::Context::with_key(key);
    context.update(label);
    context.update(&number.to_be_bytes());
    Zeroizing::new(context.sign().as_ref().try_into().expect("SHA-256 gives 32 bytes"))
}

/// What one Seq's salts follow from.
pub struct SeqSalt(Zeroizing<Hash>);

impl SeqSalt {
    /// A part's salt: SHA-256 over `this (32) ‖ kind (1) ‖ number (4)`, the number being the port's, the account's or the
    /// padding's.
    #[must_use]
    pub fn of(&self, part: Part) -> Hash {
        sha256(&[self.0.as_ref(), &[part.kind()], &part.number().to_be_bytes()])
    }
}

/// The parts of one Seq while they are put together. Used again and again.
#[derive(Debug, Default)]
pub struct Entry {
    parts: Vec<(Hash, Part)>,
    scratch: Vec<Hash>,
}

impl Entry {
    /// Begins the next.
    pub fn clear(&mut self) {
        self.parts.clear();
    }

    /// Adds a part; `content` is in pieces that follow each other.
    ///
    /// # Panics
    /// With more than [`PARTS_MAX`] parts: a command has fewer recipients than that.
    pub fn add(&mut self, salt: &SeqSalt, part: Part, content: &[&[u8]]) {
        assert!(self.parts.len() < PARTS_MAX, "an entry has at most {PARTS_MAX} parts");
        let hash = part_hash(&salt.of(part), part.kind(), content);
        self.parts.push((hash, part));
    }

    /// Pads it and puts it in order; its root is the log's entry.
    pub fn finish(&mut self, salt: &SeqSalt) -> Hash {
        let size = self.parts.len().max(4).next_power_of_two();
        for number in self.parts.len()..size {
            let part = Part::Padding(number as u32);
            self.parts.push((part_hash(&salt.of(part), part.kind(), &[]), part));
        }
        self.parts.sort_unstable();
        self.scratch.clear();
        self.scratch.extend(self.parts.iter().map(|(hash, _)| *hash));
        while self.scratch.len() > 1 {
            for at in 0..self.scratch.len() / 2 {
                self.scratch[at] = node_hash(&self.scratch[2 * at], &self.scratch[2 * at + 1]);
            }
            self.scratch.truncate(self.scratch.len() / 2);
        }
        self.scratch[0]
    }

    /// Where a part stands in a finished entry, and the hashes from its sibling up.
    #[must_use]
    pub fn path(&self, part: Part) -> Option<(u64, Vec<Hash>)> {
        let place = self.parts.iter().position(|(_, this)| *this == part)?;
        let (mut at, mut path) = (place, Vec::new());
        let mut row: Vec<Hash> = self.parts.iter().map(|(hash, _)| *hash).collect();
        while row.len() > 1 {
            path.push(row[at ^ 1]);
            row = row.chunks(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
            at /= 2;
        }
        Some((place as u64, path))
    }
}

/// A part's hash.
#[must_use]
pub fn part_hash(salt: &Hash, kind: u8, content: &[&[u8]]) -> Hash {
    use ring::digest::{Context, SHA256};
    let mut context = Context::new(&SHA256);
    context.update(&[0]);
    context.update(salt);
    context.update(&[kind]);
    content.iter().for_each(|piece| context.update(piece));
    context.finish().as_ref().try_into().expect("SHA-256 gives 32 bytes")
}

/// The entry that a part of this hash at `place` leads to.
///
/// # Errors
/// [`Error::Proof`] when the path is of another length than an entry of fewer than [`PARTS_MAX`] parts has.
pub fn entry_of(hash: Hash, place: u64, path: &[Hash]) -> Result<Hash, Error> {
    if !(2..=PARTS_MAX.ilog2() as usize).contains(&path.len()) || place >> path.len() != 0 {
        return Err(Error::Proof("a part's path is of a length that no entry has"));
    }
    let climb = |(hash, place): (Hash, u64), sibling: &Hash| {
        let up = if place & 1 == 1 { node_hash(sibling, &hash) } else { node_hash(&hash, sibling) };
        (up, place >> 1)
    };
    Ok(path.iter().fold((hash, place), climb).0)
}

/// The leaf of an entry in the log.
#[must_use]
pub fn log_leaf(entry: &Hash) -> Hash {
    leaf_hash(entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::tests::naive_root;

    fn salts() -> Salts {
        Salts::new(&Key::new([7; 32]))
    }

    #[test]
    fn an_entry_is_a_tree_over_its_parts_and_each_has_a_path() {
        for ports in 0..40u32 {
            let salt = salts().of(17, 5);
            let mut entry = Entry::default();
            entry.add(&salt, Part::Command, &[b"what ", b"was asked"]);
            for port in 0..ports {
                entry.add(&salt, Part::Port(port), &[&port.to_be_bytes()]);
            }
            let root = entry.finish(&salt);
            let mut hashes: Vec<Hash> = entry.parts.iter().map(|(hash, _)| *hash).collect();
            assert!(hashes.is_sorted());
            assert_eq!(hashes.len(), (1 + ports as usize).max(4).next_power_of_two());
            assert_eq!(naive_root(&hashes), root);
            hashes.dedup();
            assert_eq!(hashes.len(), entry.parts.len(), "padding differs too");
            for port in 0..ports {
                let (place, path) = entry.path(Part::Port(port)).expect("it was added");
                let hash = part_hash(&salt.of(Part::Port(port)), 4, &[&port.to_be_bytes()]);
                assert_eq!(entry_of(hash, place, &path).expect("a path"), root);
                assert_ne!(entry_of(hash, place ^ 1, &path).expect("a path"), root);
                assert!(entry_of(hash, place | 1 << path.len(), &path).is_err());
                let other = part_hash(&salt.of(Part::Port(port)), 5, &[&port.to_be_bytes()]);
                assert_ne!(entry_of(other, place, &path).expect("a path"), root);
            }
            assert!(entry.path(Part::Port(ports)).is_none());
        }
        assert!(entry_of([0; 32], 0, &[]).is_err());
        assert!(entry_of([0; 32], 0, &[[0; 32]; 17]).is_err());
    }

    /// As the head of this file has it, with plain HMAC and SHA-256.
    #[test]
    fn salts_follow_from_the_secret_the_day_and_the_seq() {
        let mut salts = salts();
        let day = 20_000u64;
        let time = day * NANOS_A_DAY + 5;
        let sign = |key: &[u8], text: &[&[u8]]| -> Vec<u8> {
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &text.concat()).as_ref().to_vec()
        };
        let day_key = sign(&[7; 32], &[b"ironbell day", &day.to_be_bytes()]);
        let seq_key = sign(&day_key, &[b"ironbell seq", &99u64.to_be_bytes()]);
        assert_eq!(salts.day_key(day).to_vec(), day_key);
        let of = |salts: &mut Salts, seq, time, part| salts.of(seq, time).of(part);
        let salt = of(&mut salts, 99, time, Part::Port(3));
        assert_eq!(salt, sha256(&[&seq_key, &[4], &3u32.to_be_bytes()]));
        let others = [
            of(&mut salts, 98, time, Part::Port(3)),
            of(&mut salts, 99, time + NANOS_A_DAY, Part::Port(3)),
            of(&mut salts, 99, time, Part::Port(4)),
            of(&mut salts, 99, time, Part::Account(3)),
            of(&mut Salts::new(&Key::new([8; 32])), 99, time, Part::Port(3)),
        ];
        assert!(others.iter().all(|other| *other != salt));
        assert_eq!(of(&mut salts, 99, time, Part::Port(3)), salt, "the day is looked up again");
    }
}
