//! A witness (C2SP tlog-witness): signs that a log grew out of what it saw of it before, so that the log cannot show
//! two histories. Sans I/O: a request's body goes in, an answer's status and body come out.

use std::path::Path;

use base64ct::{Base64, Encoding};

use crate::checkpoint::{parse_decimal, parse_hash};
use crate::{Checkpoint, Error, Form, Hash, Head, HeadFile, Note, SignatureLine, Signer, VerifierKey};

/// A request `add-checkpoint`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size that the witness is believed to have seen last.
    pub old_size: u64,
    /// That the checkpoint grows out of it.
    pub proof: Vec<Hash>,
    /// The checkpoint.
    pub checkpoint: Note,
}

/// A proof's hashes, at most: the specification's limit.
const PROOF_MAX: usize = 63;

impl AddCheckpoint {
    /// The request's body.
    #[must_use]
    pub fn body(&self) -> String {
        let lines: String = self.proof.iter().map(|hash| Base64::encode_string(hash) + "\n").collect();
        format!("old {}\n{lines}\n{}", self.old_size, self.checkpoint)
    }

    /// The request in a body.
    ///
    /// # Errors
    /// [`Error::Note`] when it is none.
    pub fn parse(body: &str) -> Result<Self, Error> {
        const NONE: Error = Error::Note("a request is: old SIZE, hashes, an empty line, a checkpoint");
        let (head, note) = body.split_once("\n\n").ok_or(NONE)?;
        let mut lines = head.split('\n');
        let old_size = parse_decimal(lines.next().and_then(|line| line.strip_prefix("old ")).ok_or(NONE)?)?;
        let proof = lines.map(parse_hash).collect::<Result<Vec<_>, _>>()?;
        if proof.len() > PROOF_MAX {
            return Err(NONE);
        }
        Ok(Self { old_size, proof, checkpoint: Note::parse(note)? })
    }
}

/// An answer, as HTTP says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200: the witness's signature lines.
    Cosigned(String),
    /// 400: the request cannot be read.
    Malformed(String),
    /// 403: the checkpoint is not signed by the log.
    NotSigned(String),
    /// 404: another log.
    UnknownLog,
    /// 409: this is the size that was seen last, or another root was seen for that size.
    Conflict(u64),
    /// 422: the proof does not verify: the log may be showing two histories.
    Inconsistent(String),
    /// 500: the witness cannot sign or keep what it saw.
    Failed(String),
}

impl Answer {
    /// The status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Cosigned(_) => 200,
            Self::Malformed(_) => 400,
            Self::NotSigned(_) => 403,
            Self::UnknownLog => 404,
            Self::Conflict(_) => 409,
            Self::Inconsistent(_) => 422,
            Self::Failed(_) => 500,
        }
    }

    /// The body. A conflict's is of the type `text/x.tlog.size`.
    #[must_use]
    pub fn body(&self) -> String {
        match self {
            Self::Cosigned(lines) => lines.clone(),
            Self::Conflict(size) => format!("{size}\n"),
            Self::UnknownLog => "another log\n".into(),
            Self::Malformed(why) | Self::NotSigned(why) | Self::Inconsistent(why) | Self::Failed(why) => {
                format!("{why}\n")
            }
        }
    }
}

/// A witness of one log.
pub struct Witness {
    log_keys: Vec<VerifierKey>,
    key: VerifierKey,
    signer: Box<dyn Signer>,
    seen: HeadFile,
}

impl std::fmt::Debug for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Witness({}, {:?})", self.key.name(), self.seen.head())
    }
}

impl Witness {
    /// A witness named `name` of the log that signs with all of `log_keys`. What it saw last stands in the file `seen`,
    /// which is made if there is none.
    ///
    /// # Errors
    /// [`Error::State`] when the file cannot be used; [`Error::Note`] when the keys cannot.
    pub fn open(
        name: &str,
        log_keys: Vec<VerifierKey>,
        signer: Box<dyn Signer>,
        seen: &Path,
    ) -> Result<Self, Error> {
        if log_keys.is_empty() {
            return Err(Error::Note("a witness needs the log's keys"));
        }
        let key = VerifierKey::new(name, Form::Cosignature, signer.public_key().clone())?;
        let seen = if seen.exists() { HeadFile::open(seen)? } else { HeadFile::create(seen)? };
        Ok(Self { log_keys, key, signer, seen })
    }

    /// The key that its cosignatures are checked with.
    #[must_use]
    pub fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// What it saw last.
    #[must_use]
    pub fn seen(&self) -> Head {
        self.seen.head()
    }

    /// Answers `add-checkpoint`. What it saw is on disk before the answer. `time` is in seconds since 1970.
    pub fn add_checkpoint(&mut self, body: &str, time: u64) -> Answer {
        let request = match AddCheckpoint::parse(body) {
            Ok(request) => request,
            Err(error) => return Answer::Malformed(error.to_string()),
        };
        let checkpoint = match Checkpoint::parse(&request.checkpoint.text) {
            Ok(checkpoint) => checkpoint,
            Err(error) => return Answer::Malformed(error.to_string()),
        };
        if self.log_keys.iter().any(|key| key.name() != checkpoint.origin) {
            return Answer::UnknownLog;
        }
        if let Err(error) = request.checkpoint.verify_all(&self.log_keys) {
            return Answer::NotSigned(error.to_string());
        }
        if request.old_size > checkpoint.size {
            return Answer::Malformed("the old size is above the checkpoint's".into());
        }
        let seen = self.seen.head();
        if request.old_size != seen.size || (checkpoint.size == seen.size && checkpoint.root != seen.root) {
            return Answer::Conflict(seen.size);
        }
        let head = Head { epoch: 0, size: checkpoint.size, root: checkpoint.root };
        match self.seen.advance(head, &request.proof) {
            Ok(()) => {}
            Err(error @ Error::Equivocation { .. }) => return Answer::Inconsistent(error.to_string()),
            Err(error) => return Answer::Failed(error.to_string()),
        }
        match SignatureLine::sign(&self.key, &mut *self.signer, &request.checkpoint.text, time) {
            Ok(line) => Answer::Cosigned(line.to_string()),
            Err(error) => Answer::Failed(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::tests::{Whole, leaves};
    use crate::merkle::{Nodes, consistency_proof, root};
    use crate::scratch::Scratch;
    use crate::{Algorithm, SoftwareSigner};

    struct Log {
        key: VerifierKey,
        signer: SoftwareSigner,
        nodes: Whole,
    }

    impl Log {
        fn signed(&mut self, size: u64) -> Note {
            let nodes: &dyn Nodes = &self.nodes;
            let root = root(nodes, size).expect("nodes");
            let text = Checkpoint { origin: "venue".into(), size, root }.to_string();
            let line = SignatureLine::sign(&self.key, &mut self.signer, &text, 1).expect("it signs");
            Note { text, signatures: vec![line] }
        }

        fn request(&mut self, old_size: u64, size: u64) -> String {
            let proof = consistency_proof(&self.nodes, old_size, size).expect("nodes");
            AddCheckpoint { old_size, proof, checkpoint: self.signed(size) }.body()
        }
    }

    #[test]
    fn a_witness_sees_a_log_grow_and_an_equivocation() {
        let dir = Scratch::new("witness");
        let make =
            |name: &str| SoftwareSigner::create(&dir.path().join(name), Algorithm::Ed25519).expect("a key");
        let signer = make("log");
        let key = VerifierKey::of_log("venue", signer.public_key().clone()).expect("a key");
        let mut forked = leaves(20);
        forked[2] = [2; 32];
        let mut log = Log { key: key.clone(), signer, nodes: Whole(leaves(20)) };
        let seen = dir.path().join("seen");
        let open = |name: &str| {
            let signer = SoftwareSigner::open(&dir.path().join("witness")).expect("a key");
            Witness::open(name, vec![key.clone()], Box::new(signer), &seen).expect("it opens")
        };
        make("witness");
        let mut witness = open("w.example");
        let body = log.request(0, 7);
        let Answer::Cosigned(lines) = witness.add_checkpoint(&body, 1_700_000_000) else { panic!("it grew") };
        let mut note = log.signed(7);
        note.signatures.push(SignatureLine::parse(lines.trim_end()).expect("a line"));
        note.verify_all(&[key.clone(), witness.key().clone()]).expect("both signed");
        let mut late = note.clone();
        late.signatures[1].signature[7] ^= 1;
        assert!(late.verify(witness.key()).is_err(), "the time is signed too");

        // It remembers across a restart, and needs to be asked from where it is.
        drop(witness);
        let mut witness = open("w.example");
        let answer = witness.add_checkpoint(&log.request(0, 9), 1);
        assert_eq!((answer.status(), answer.body()), (409, "7\n".into()));
        assert_eq!(witness.add_checkpoint(&log.request(7, 7), 1).status(), 200, "the same again");
        // Two roots for one size, and a history that does not grow out of what was seen.
        let honest = std::mem::replace(&mut log.nodes, Whole(forked));
        assert_eq!(witness.add_checkpoint(&log.request(7, 7), 1).status(), 409);
        assert_eq!(witness.add_checkpoint(&log.request(7, 12), 1).status(), 422);
        log.nodes = honest;
        assert_eq!(witness.add_checkpoint(&log.request(7, 12), 1).status(), 200);
        assert_eq!(witness.seen().size, 12);

        // Others, and what cannot be read.
        let body = log.request(12, 13);
        let renamed = body.replace("venue\n", "another\n");
        assert_eq!(witness.add_checkpoint(&renamed, 1).status(), 404);
        assert_eq!(witness.add_checkpoint(&body.replace("\n13\n", "\n14\n"), 1).status(), 403);
        assert_eq!(witness.add_checkpoint(&body.replace("old 12", "old 012"), 1).status(), 400);
        assert_eq!(witness.add_checkpoint(&body.replace("old 12", "old 14"), 1).status(), 400);
        assert_eq!(witness.add_checkpoint("", 1).status(), 400);
        assert_eq!(witness.seen().size, 12);
        assert_eq!(witness.add_checkpoint(&body, 1).status(), 200);
    }
}
