//! Receipts: that something happened, provable with the log's public key alone.
//!
//! ```text
//! ironbell receipt v1
//! seq 17
//! part port                     one block for each part that is shown: its kind,
//! salt BASE64                   its salt,
//! content BASE64                what it says (`entry.rs` has the layouts),
//! place 2                       where it stands in the entry,
//! path BASE64                   and the hashes from its sibling up, one a line
//! path BASE64
//!                               an empty line, and from here on C2SP tlog-proof:
//! c2sp.org/tlog-proof@v1
//! index 16                      seq − 1
//! BASE64                        the inclusion proof, from the leaf's sibling up
//!
//! example.com/venue             the checkpoint and its signatures
//! 109482
//! BASE64
//!
//! — example.com/venue BASE64
//! ```

use std::fmt;
use std::fmt::Write as _;

use base64ct::{Base64, Encoding};

use crate::checkpoint::{parse_decimal, parse_hash};
use crate::entry::{Part, entry_of, log_leaf, part_hash};
use crate::merkle::verify_inclusion;
use crate::{Checkpoint, Error, Hash, Note, VerifierKey};

const TITLE: &str = "ironbell receipt v1";
const PROOF_TITLE: &str = "c2sp.org/tlog-proof@v1";

/// A part that is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The kind's byte.
    pub kind: u8,
    /// Its salt.
    pub salt: Hash,
    /// What it says.
    pub content: Vec<u8>,
    /// Where it stands in the entry.
    pub place: u64,
    /// The hashes from its sibling up.
    pub path: Vec<Hash>,
}

/// A receipt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Which command.
    pub seq: u64,
    /// What is shown of it: at least one part.
    pub parts: Vec<Shown>,
    /// Its inclusion proof.
    pub proof: Vec<Hash>,
    /// The signed checkpoint.
    pub checkpoint: Note,
}

/// What a receipt was found to prove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The checkpoint that it leads to.
    pub checkpoint: Checkpoint,
}

impl Receipt {
    /// Checks it with the log's keys, of which all must have signed. Nothing else is asked.
    ///
    /// # Errors
    /// What does not hold: [`Error::Unsigned`], [`Error::SignatureOf`], [`Error::Note`], [`Error::Proof`].
    pub fn verify(&self, keys: &[VerifierKey]) -> Result<Verified, Error> {
        self.checkpoint.verify_all(keys)?;
        let checkpoint = Checkpoint::parse(&self.checkpoint.text)?;
        if keys.iter().any(|key| key.name() != checkpoint.origin) {
            return Err(Error::Note("the checkpoint is of another log than the keys"));
        }
        let index = self.seq.checked_sub(1).ok_or(Error::Proof("Seqs begin with 1"))?;
        let mut entry = None;
        for part in &self.parts {
            if part.content.first_chunk() != Some(&self.seq.to_be_bytes()) {
                return Err(Error::Proof("a part is of another Seq than the receipt"));
            }
            let leads_to =
                entry_of(part_hash(&part.salt, part.kind, &[&part.content]), part.place, &part.path)?;
            if entry.is_some_and(|entry| entry != leads_to) {
                return Err(Error::Proof("the parts do not lead to one entry"));
            }
            entry = Some(leads_to);
        }
        let entry = entry.ok_or(Error::Proof("the receipt shows nothing"))?;
        verify_inclusion(index, checkpoint.size, &log_leaf(&entry), &self.proof, &checkpoint.root)?;
        Ok(Verified { checkpoint })
    }

    /// The receipt in `text`.
    ///
    /// # Errors
    /// [`Error::Receipt`], naming the line that is wrong; what is wrong with the checkpoint.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (head, rest) = text.split_once("\n\n").ok_or(wrong(1, "no empty line ends the record"))?;
        let mut lines = Lines { rest: head.split('\n').enumerate().peekable() };
        lines.exactly(TITLE)?;
        let seq = lines.number("seq")?;
        let mut parts = Vec::new();
        while lines.rest.peek().is_some() {
            parts.push(lines.part()?);
        }
        let offset = head.matches('\n').count() + 2;
        let (proof, note) = rest.split_once("\n\n").ok_or(wrong(offset, "no empty line ends the proof"))?;
        let mut lines = Lines { rest: proof.split('\n').enumerate().peekable() };
        let moved = |error| match error {
            Error::Receipt { line, why } => Error::Receipt { line: line + offset, why },
            other => other,
        };
        lines.exactly(PROOF_TITLE).map_err(moved)?;
        let index = lines.number("index").map_err(moved)?;
        if index.checked_add(1) != Some(seq) {
            return Err(wrong(offset + 2, "the index is not that of the Seq"));
        }
        let mut hashes = Vec::new();
        for (at, line) in lines.rest {
            hashes.push(
                parse_hash(line).map_err(|_| wrong(offset + at + 1, "a proof's line is a hash in Base64"))?,
            );
        }
        Ok(Self { seq, parts, proof: hashes, checkpoint: Note::parse(note)? })
    }
}

fn wrong(line: usize, why: &'static str) -> Error {
    Error::Receipt { line, why }
}

struct Lines<I: Iterator> {
    rest: std::iter::Peekable<I>,
}

impl<'a, I: Iterator<Item = (usize, &'a str)>> Lines<I> {
    fn next(&mut self) -> Result<(usize, &'a str), Error> {
        self.rest.next().map(|(at, line)| (at + 1, line)).ok_or(wrong(1, "it ends too early"))
    }

    fn exactly(&mut self, expected: &'static str) -> Result<(), Error> {
        let (at, line) = self.next()?;
        if line == expected {
            Ok(())
        } else {
            Err(wrong(at, "the title is not of a version that is known here"))
        }
    }

    fn field(&mut self, name: &str) -> Result<(usize, &'a str), Error> {
        let (at, line) = self.next()?;
        let value = line.strip_prefix(name).and_then(|rest| rest.strip_prefix(' '));
        value.map(|value| (at, value)).ok_or(wrong(at, "a line stands where another is expected"))
    }

    fn number(&mut self, name: &str) -> Result<u64, Error> {
        let (at, value) = self.field(name)?;
        parse_decimal(value).map_err(|_| wrong(at, "a number is decimal, without leading zeroes"))
    }

    fn part(&mut self) -> Result<Shown, Error> {
        let (at, word) = self.field("part")?;
        let kind = (1..=5).find(|kind| Part::word(*kind) == Some(word));
        let kind = kind.ok_or(wrong(at, "this kind of part is not known here"))?;
        let (at, salt) = self.field("salt")?;
        let salt = parse_hash(salt).map_err(|_| wrong(at, "a salt is 32 bytes in Base64"))?;
        let (at, content) = self.field("content")?;
        let content = Base64::decode_vec(content).map_err(|_| wrong(at, "a content is Base64"))?;
        let place = self.number("place")?;
        let mut path = Vec::new();
        while self.rest.peek().is_some_and(|(_, line)| line.starts_with("path ")) {
            let (at, hash) = self.field("path")?;
            path.push(parse_hash(hash).map_err(|_| wrong(at, "a path's line is a hash in Base64"))?);
        }
        Ok(Shown { kind, salt, content, place, path })
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("{TITLE}\nseq {}\n", self.seq);
        for part in &self.parts {
            let word = Part::word(part.kind).ok_or(fmt::Error)?;
            let (salt, content) = (Base64::encode_string(&part.salt), Base64::encode_string(&part.content));
            writeln!(text, "part {word}\nsalt {salt}\ncontent {content}\nplace {}", part.place)?;
            part.path.iter().try_for_each(|hash| writeln!(text, "path {}", Base64::encode_string(hash)))?;
        }
        writeln!(text, "\n{PROOF_TITLE}\nindex {}", self.seq - 1)?;
        self.proof.iter().try_for_each(|hash| writeln!(text, "{}", Base64::encode_string(hash)))?;
        write!(f, "{text}\n{}", self.checkpoint)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::SignatureLine;
    use crate::entry::{Entry, Salts};
    use crate::merkle::{inclusion_proof, root};
    use crate::scratch::Scratch;
    use crate::{Algorithm, Head, Key, Nodes, Signer, SoftwareSigner, Tree};

    /// A log of 300 Seqs in which port 7 was told something by Seq 200, and a receipt of that.
    pub(crate) fn made(dir: &Scratch, algorithms: &[Algorithm]) -> (Receipt, Vec<VerifierKey>) {
        let mut salts = Salts::new(&Key::new([3; 32]));
        let mut tree = Tree::open(&dir.path().join("log"), &Head::empty()).expect("a new one");
        let mut parts = Vec::new();
        for seq in 1..=300u64 {
            let salt = salts.of(seq, seq * 1_000);
            let mut entry = Entry::default();
            let contents = [
                (Part::Command, [&seq.to_be_bytes()[..], b"buy 10 IRON"].concat()),
                (Part::Time, [seq.to_be_bytes(), (seq * 1_000).to_be_bytes()].concat()),
                (Part::Port(7), [&seq.to_be_bytes()[..], &7u32.to_be_bytes(), &[0, 2], b"ok"].concat()),
                (Part::Port(8), [&seq.to_be_bytes()[..], &8u32.to_be_bytes(), &[0, 2], b"no"].concat()),
                (Part::Account(9), [&seq.to_be_bytes()[..], &9u32.to_be_bytes(), b"USD -100\n"].concat()),
            ];
            contents.iter().for_each(|(part, content)| entry.add(&salt, *part, &[content]));
            let entry_root = entry.finish(&salt);
            if seq == 200 {
                for (part, content) in contents.into_iter().filter(|(part, _)| *part != Part::Port(8)) {
                    let (place, path) = entry.path(part).expect("it was added");
                    parts.push(Shown { kind: part.kind(), salt: salt.of(part), content, place, path });
                }
            }
            tree.push(&entry_root).expect("it is written");
        }
        let nodes: &dyn Nodes = &tree;
        let text = Checkpoint {
            origin: "venue.example/log".into(),
            size: 300,
            root: root(nodes, 300).expect("nodes"),
        };
        let text = text.to_string();
        let mut checkpoint = Note { text: text.clone(), signatures: Vec::new() };
        let mut keys = Vec::new();
        for algorithm in algorithms {
            let path = dir.path().join(algorithm.name());
            let mut signer = SoftwareSigner::create(&path, *algorithm).expect("a key");
            let key = VerifierKey::of_log("venue.example/log", signer.public_key().clone()).expect("a key");
            checkpoint.signatures.push(SignatureLine::sign(&key, &mut signer, &text, 5).expect("it signs"));
            keys.push(key);
        }
        let proof = inclusion_proof(nodes, 199, 300).expect("it is in");
        (Receipt { seq: 200, parts, proof, checkpoint }, keys)
    }

    #[test]
    fn a_receipt_proves_what_it_shows_and_any_changed_bit_breaks_it() {
        let dir = Scratch::new("receipt");
        let (receipt, keys) = made(&dir, &[Algorithm::Ed25519]);
        let text = receipt.to_string();
        assert_eq!(Receipt::parse(&text).expect("it was just written"), receipt);
        let verified = receipt.verify(&keys).expect("it holds");
        assert_eq!(verified.checkpoint.size, 300);
        assert!(!text.contains("no"), "nothing of the other port");
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                let Ok(changed) = String::from_utf8(bytes) else { continue };
                let verified = Receipt::parse(&changed).and_then(|receipt| receipt.verify(&keys));
                assert!(verified.is_err(), "byte {at}, bit {bit}: {changed}");
            }
        }
        for end in 0..text.len() {
            let Some(cut) = text.get(..end) else { continue };
            let verified = Receipt::parse(cut).and_then(|receipt| receipt.verify(&keys));
            assert!(verified.is_err(), "{end} bytes");
        }
        // What is wrong is said by name.
        let said = |change: &dyn Fn(&mut Receipt)| {
            let mut changed = receipt.clone();
            change(&mut changed);
            changed.verify(&keys).expect_err("it was changed").to_string()
        };
        assert!(said(&|r| r.parts.clear()).contains("shows nothing"));
        assert!(said(&|r| r.seq += 1).contains("another Seq"));
        assert!(said(&|r| r.parts[0].content[9] ^= 1).contains("one entry"));
        assert!(said(&|r| r.proof[2][0] ^= 1).contains("does not lead to the root"));
        assert!(
            said(&|r| r.checkpoint.text = r.checkpoint.text.replace("300", "301"))
                .contains("does not verify")
        );
        assert!(said(&|r| r.checkpoint.signatures.clear()).contains("not signed by venue.example/log+"));
        // One part alone is a receipt too.
        let mut one = receipt.clone();
        one.parts.truncate(1);
        Receipt::parse(&one.to_string()).expect("a receipt").verify(&keys).expect("it holds");
    }

    #[test]
    fn with_two_keys_both_must_have_signed() {
        let dir = Scratch::new("receipt-hybrid");
        let second = if cfg!(feature = "ml-dsa") { Algorithm::MlDsa44 } else { Algorithm::EcdsaP256 };
        let (receipt, keys) = made(&dir, &[Algorithm::Ed25519, second]);
        receipt.verify(&keys).expect("it holds");
        let mut half = receipt.clone();
        half.checkpoint.signatures.pop();
        half.verify(&keys[..1]).expect("for who asks for one");
        assert!(matches!(half.verify(&keys), Err(Error::Unsigned(_))));
    }

    /// A program of another language, written from the format's text alone, with OpenSSL for the signatures.
    #[test]
    fn the_python_verifier_agrees() {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/node/interop/verify_receipt.py");
        let dir = Scratch::new("receipt-python");
        let (receipt, keys) = made(&dir, &[Algorithm::Ed25519, Algorithm::EcdsaP256]);
        let key_file = dir.path().join("keys");
        let key_text: String = keys.iter().map(|key| format!("{key}\n")).collect();
        std::fs::write(&key_file, key_text).expect("a scratch file");
        let python = |text: &str| {
            let file = dir.path().join("receipt");
            std::fs::write(&file, text).expect("a scratch file");
            let run = std::process::Command::new("python3").arg(program).arg(file).arg(&key_file).output();
            let run = run.expect("python3");
            let said =
                String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
            (run.status.code(), said)
        };
        let text = receipt.to_string();
        let (code, said) = python(&text);
        assert_eq!(
            (code, said.as_str()),
            (Some(0), "venue.example/log: Seq 200 is in the tree of size 300\n")
        );
        let changes: [&dyn Fn(&mut Receipt); 7] = [
            &|r| r.parts[1].content[9] ^= 1,
            &|r| r.parts[1].salt[9] ^= 1,
            &|r| r.parts[1].place ^= 1,
            &|r| r.parts[1].path[0][3] ^= 1,
            &|r| r.proof[4][3] ^= 1,
            &|r| r.checkpoint.signatures[0].signature[9] ^= 1,
            &|r| r.checkpoint.signatures.truncate(1),
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut changed = receipt.clone();
            change(&mut changed);
            let (code, said) = python(&changed.to_string());
            assert_eq!(code, Some(1), "change {number}: {said}");
        }
    }
}
