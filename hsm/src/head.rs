//! The last tree head that was signed, on disk before its signature is made.
//!
//! **A log signs one history.** A head that is smaller than the last one, or of its size and another root, or
//! does not grow out of it, is refused, across restarts and, because a successor is told what its predecessor signed,
//! across failovers.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding};

use crate::checkpoint::{parse_decimal, parse_hash};
use crate::merkle::{empty_root, verify_consistency};
use crate::signer::sha256;
use crate::{Error, Hash};

/// A tree head: how large, with which root, in which epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The epoch of the primary that made it.
    pub epoch: u64,
    /// Leaves.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
}

impl Head {
    /// Before the first.
    #[must_use]
    pub fn empty() -> Self {
        Self { epoch: 0, size: 0, root: empty_root() }
    }
}

/// The file that the last head stands in.
#[derive(Debug)]
pub struct HeadFile {
    path: PathBuf,
    head: Head,
    /// A write failed: what stands in the file is not known, so nothing more is admitted.
    poisoned: bool,
}

const TITLE: &str = "ironbell signed head v1";

impl HeadFile {
    /// Makes the file of a log that signed nothing yet.
    ///
    /// # Errors
    /// [`Error::State`] when there is one already, or it cannot be made.
    pub fn create(path: &Path) -> Result<Self, Error> {
        if path.exists() {
            return Err(state(path, "there is one already: it is never made anew, lest the log sign twice"));
        }
        let head = Head::empty();
        write_durably(path, &text_of(TITLE, &head))?;
        Ok(Self { path: path.to_owned(), head, poisoned: false })
    }

    /// Opens it.
    ///
    /// # Errors
    /// [`Error::State`] when it is missing or damaged: it is not guessed what was signed.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let text = fs::read_to_string(path).map_err(|error| state(path, &error.to_string()))?;
        let head = parse(TITLE, &text).ok_or_else(|| {
            state(path, "it is damaged: put back what it held, which is the last line of the checkpoint log")
        })?;
        Ok(Self { path: path.to_owned(), head, poisoned: false })
    }

    /// The last head.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// Makes `next` the last head, durably, if `proof` shows that it grows out of the one before. The same head again
    /// is admitted: its signature may have been lost.
    ///
    /// # Errors
    /// [`Error::Equivocation`], naming what is wrong; [`Error::State`] when it cannot be written, and from then on.
    pub fn advance(&mut self, next: Head, proof: &[Hash]) -> Result<(), Error> {
        if self.poisoned {
            return Err(state(&self.path, "a write failed before: start again"));
        }
        let last = self.head;
        if next == last {
            return Ok(());
        }
        let refused = |why| Error::Equivocation { last: last.size, next: next.size, why };
        if next.epoch < last.epoch {
            return Err(refused(
                "it is of an earlier epoch than what was signed: another primary has taken over",
            ));
        }
        if next.size < last.size {
            return Err(refused("it is smaller than what was signed"));
        }
        if next.size == last.size && next.root != last.root {
            return Err(refused("another root was signed for that size"));
        }
        verify_consistency((last.size, &last.root), (next.size, &next.root), proof).map_err(|error| {
            refused(match error {
                Error::Proof(why) => why,
                _ => "its proof does not verify",
            })
        })?;
        if let Err(error) = write_durably(&self.path, &text_of(TITLE, &next)) {
            self.poisoned = true;
            return Err(error);
        }
        self.head = next;
        Ok(())
    }
}

fn state(path: &Path, why: &str) -> Error {
    Error::State { path: path.to_owned(), why: why.to_owned() }
}

pub(crate) fn text_of(title: &str, head: &Head) -> String {
    let body = format!(
        "{title}\nepoch {}\nsize {}\nroot {}\n",
        head.epoch,
        head.size,
        Base64::encode_string(&head.root)
    );
    let sum = sha256(&[body.as_bytes()]);
    format!("{body}sha256 {}\n", Base64::encode_string(&sum))
}

pub(crate) fn parse(title: &str, text: &str) -> Option<Head> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    lines.next()?;
    let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
    let epoch = parse_decimal(field("epoch")?).ok()?;
    let size = parse_decimal(field("size")?).ok()?;
    let root = parse_hash(field("root")?).ok()?;
    let head = Head { epoch, size, root };
    (text_of(title, &head) == text).then_some(head)
}

/// Replaces a file's text so that after a power cut the old or the new stands there, and after this call the new.
///
/// # Errors
/// [`Error::State`]: which of them stands there is then not known.
pub fn write_durably(path: &Path, text: &str) -> Result<(), Error> {
    let written = || -> io::Result<()> {
        let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        name.push(".new");
        let aside = path.with_file_name(name);
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    };
    written().map_err(|error| state(path, &error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::tests::{Whole, leaves};
    use crate::merkle::{Nodes, consistency_proof, root};
    use crate::scratch::Scratch;

    fn head(nodes: &dyn Nodes, epoch: u64, size: u64) -> Head {
        Head { epoch, size, root: root(nodes, size).expect("nodes") }
    }

    #[test]
    fn a_log_goes_forward_alone_also_after_a_restart() {
        let dir = Scratch::new("head");
        let path = dir.path().join("signed-head");
        assert!(matches!(HeadFile::open(&path), Err(Error::State { .. })), "it is not guessed");
        let all = Whole(leaves(20));
        let mut file = HeadFile::create(&path).expect("a new file");
        assert!(matches!(HeadFile::create(&path), Err(Error::State { .. })));
        let prove = |old, new| consistency_proof(&all, old, new).expect("nodes");
        file.advance(head(&all, 1, 7), &prove(0, 7)).expect("it grows");
        file.advance(head(&all, 1, 7), &prove(0, 7)).expect("the same again, whatever its proof");
        let mut file = HeadFile::open(&path).expect("it was written");
        assert_eq!(file.head(), head(&all, 1, 7));
        let why = |result: Result<(), Error>| match result {
            Err(Error::Equivocation { why, .. }) => why,
            other => panic!("expected a refusal, not {other:?}"),
        };
        // Another history: one leaf of it differs.
        let mut forked = leaves(20);
        forked[3] = [3; 32];
        let forked = Whole(forked);
        assert_eq!(why(file.advance(head(&all, 1, 6), &[])), "it is smaller than what was signed");
        assert_eq!(why(file.advance(head(&forked, 1, 7), &[])), "another root was signed for that size");
        assert_eq!(
            why(file.advance(head(&all, 0, 9), &prove(7, 9))),
            "it is of an earlier epoch than what was signed: another primary has taken over"
        );
        let other = consistency_proof(&forked, 7, 9).expect("nodes");
        why(file.advance(head(&forked, 2, 9), &other));
        why(file.advance(head(&all, 2, 9), &[]));
        assert_eq!(HeadFile::open(&path).expect("unchanged").head(), head(&all, 1, 7));
        file.advance(head(&all, 2, 9), &prove(7, 9)).expect("it grows");
        assert_eq!(HeadFile::open(&path).expect("it was written").head(), head(&all, 2, 9));
    }

    #[test]
    fn a_damaged_file_is_refused_whichever_bit() {
        let dir = Scratch::new("head-damage");
        let path = dir.path().join("signed-head");
        let all = Whole(leaves(5));
        let mut file = HeadFile::create(&path).expect("a new file");
        file.advance(head(&all, 1, 5), &[]).expect("it grows");
        let good = fs::read(&path).expect("it is there");
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, bad).expect("a scratch file");
            assert!(matches!(HeadFile::open(&path), Err(Error::State { .. })), "bit {bit}");
        }
        for end in 0..good.len() {
            fs::write(&path, &good[..end]).expect("a scratch file");
            assert!(matches!(HeadFile::open(&path), Err(Error::State { .. })), "{end} bytes");
        }
    }

    #[test]
    fn what_cannot_be_written_is_not_admitted_and_nothing_after_it() {
        let dir = Scratch::new("head-unwritable");
        let path = dir.path().join("gone").join("signed-head");
        fs::create_dir(dir.path().join("gone")).expect("a scratch directory");
        let all = Whole(leaves(5));
        let mut file = HeadFile::create(&path).expect("a new file");
        fs::remove_dir_all(dir.path().join("gone")).expect("it is ours");
        for _ in 0..2 {
            assert!(matches!(file.advance(head(&all, 1, 5), &[]), Err(Error::State { .. })));
            fs::create_dir_all(dir.path().join("gone")).expect("it comes back, too late");
        }
        assert_eq!(file.head(), Head::empty());
    }
}
