//! What is signed beside checkpoints: that an epoch began on top of a head, that a snapshot or an archive is the venue's,
//! and payment instructions that a quorum of officers approved.
//!
//! ```text
//!  due/NAME     asked by this process itself: epochs, snapshots        the text, to be signed
//!  asked/NAME   asked by others: `ironbell archive`, payments          the text; of a payment with its approvals
//!  manifest/NAME   the signed note
//!  refused/NAME    what was not signed, and in its last line why
//! ```
//!
//! Checkpoints come first: a key that signs once a second signs a paper when no checkpoint waits.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64ct::{Base64, Encoding};
use ironbell_hsm::{Desk, Hash, Head, Note, Request, Ticket, write_durably};
use ironbell_types::Seq;
use sha2::{Digest, Sha256};

use super::health::unix_ns;
use super::{AGAIN_AFTER, Files};
use crate::failure::Failure;

/// How often it is looked for something to sign.
const LOOK_AFTER: Duration = Duration::from_millis(200);

const MANIFEST: &str = "ironbell manifest v1";
const EPOCH: &str = "ironbell epoch v1";
const PAYMENT: &str = "ironbell payment v1";

/// The text that says that a file is the venue's; `kind` and `name` have no white space.
pub(crate) fn manifest(origin: &str, kind: &str, name: &str, hash: &Hash) -> String {
    format!("{MANIFEST}\n{origin}\n{kind} {name}\nsha256 {}\n", Base64::encode_string(hash))
}

/// Names the file, of a note, and what else it says; `None` when it is no manifest.
pub(crate) fn read_manifest(text: &str) -> Option<(&str, &str, &str, Hash)> {
    let mut lines = text.strip_suffix('\n')?.split('\n');
    let (title, origin, named, hash) = (lines.next()?, lines.next()?, lines.next()?, lines.next()?);
    let (kind, name) = named.split_once(' ')?;
    let hash = Base64::decode_vec(hash.strip_prefix("sha256 ")?).ok()?.try_into().ok()?;
    (title == MANIFEST && lines.next().is_none()).then_some((origin, kind, name, hash))
}

/// SHA-256 of a file.
pub(crate) fn hash_of(path: &Path) -> std::io::Result<Hash> {
    let mut hash = Sha256::new();
    std::io::copy(&mut fs::File::open(path)?, &mut Hashing(&mut hash))?;
    Ok(hash.finalize().into())
}

struct Hashing<'a>(&'a mut Sha256);

impl std::io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Where papers lie, and the one that is with the desk.
pub(super) struct Papers {
    origin: String,
    dir: PathBuf,
    site: Option<PathBuf>,
    journal_dir: PathBuf,
    with_desk: Option<(PathBuf, Ticket)>,
    look_at: Instant,
    /// The key was gone when it was last asked.
    is_stuck: bool,
    /// Whether the last look found nothing.
    is_done: bool,
    /// Reads a snapshot, which may take long.
    hashing: Option<JoinHandle<Result<(), Failure>>>,
}

impl Papers {
    pub(super) fn open(
        origin: &str,
        files: &Files,
        site: Option<&Path>,
        journal_dir: PathBuf,
    ) -> Result<Self, Failure> {
        let dir = files.papers();
        for name in ["due", "asked", "manifest", "refused"] {
            let path = dir.join(name);
            fs::create_dir_all(&path).map_err(|e| Failure::file(&path, e, "make it writable"))?;
        }
        let site = site.map(Path::to_owned);
        let (with_desk, hashing, look_at) = (None, None, Instant::now());
        Ok(Self {
            origin: origin.to_owned(),
            dir,
            site,
            journal_dir,
            with_desk,
            look_at,
            is_stuck: false,
            is_done: false,
            hashing,
        })
    }

    /// An epoch began on top of this head. It is noted on disk, so that it is signed even after a crash.
    pub(super) fn epoch_began(&self, head: &Head) -> Result<(), Failure> {
        let Head { epoch, size, root } = head;
        let name = format!("epoch-{epoch}");
        if self.dir.join("manifest").join(&name).exists() {
            return Ok(());
        }
        let root = Base64::encode_string(root);
        let text = format!("{EPOCH}\n{}\nepoch {epoch}\nsize {size}\nroot {root}\n", self.origin);
        Ok(write_durably(&self.dir.join("due").join(name), &text)?)
    }

    /// Whether nothing was left to sign when it was last looked.
    pub(super) fn is_done(&self) -> bool {
        self.is_done && self.with_desk.is_none() && self.hashing.is_none()
    }

    /// Whether the key was gone when it was last asked.
    pub(super) fn is_stuck(&self) -> bool {
        self.is_stuck
    }

    /// Takes what was signed, and hands in the next when `is_free`.
    pub(super) fn turn(&mut self, desk: &Desk, is_free: bool) -> Result<(), Failure> {
        if let Some(answer) = self.with_desk.as_ref().and_then(|(_, ticket)| ticket.poll()) {
            let (path, _) = self.with_desk.take().expect("it is there");
            self.look_at = Instant::now();
            self.is_stuck = answer.as_ref().is_err_and(ironbell_hsm::Error::is_passing);
            match answer {
                Ok(note) => self.keep(&path, &note)?,
                Err(error) if error.is_passing() => self.look_at += AGAIN_AFTER,
                Err(error) => self.refuse(&path, &error.to_string())?,
            }
        }
        if !is_free || self.with_desk.is_some() || Instant::now() < self.look_at {
            return Ok(());
        }
        self.look_at = Instant::now() + LOOK_AFTER;
        self.look_for_snapshots()?;
        for folder in ["due", "asked"] {
            for path in listed(&self.dir.join(folder))? {
                match self.request(&path, folder == "asked") {
                    Ok(request) => {
                        self.is_done = false;
                        self.with_desk = Some((path, desk.submit(request)?));
                        return Ok(());
                    }
                    Err(why) => self.refuse(&path, why)?,
                }
            }
        }
        self.is_done = true;
        Ok(())
    }

    /// What a file asks for.
    fn request(&self, path: &Path, is_others: bool) -> Result<Request, &'static str> {
        const NONE: &str = "it is no manifest and no payment instruction";
        let text = fs::read_to_string(path).map_err(|_| "it cannot be read")?;
        if text.starts_with(PAYMENT) {
            let note = Note::parse(&text).map_err(|_| "the payment instruction bears no approvals")?;
            return Ok(Request::Payment { note, time: unix_ns() / 1_000_000_000 });
        }
        if text.starts_with(EPOCH) && !is_others {
            let mut lines = text.lines().skip(2);
            let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
            let head = (|| {
                let (epoch, size) = (field("epoch")?.parse().ok()?, field("size")?.parse().ok()?);
                let root = Base64::decode_vec(field("root")?).ok()?.try_into().ok()?;
                Some(Head { epoch, size, root })
            })();
            return head.map(Request::Epoch).ok_or(NONE);
        }
        let (origin, kind, name, hash) = read_manifest(&text).ok_or(NONE)?;
        if origin != self.origin {
            return Err("it is of another venue");
        }
        if is_others && kind != "archive" {
            return Err("only archives and payments are signed for others");
        }
        Ok(Request::Manifest { kind: kind.to_owned(), name: name.to_owned(), hash })
    }

    fn keep(&self, path: &Path, note: &Note) -> Result<(), Failure> {
        let name = path.file_name().expect("it was listed");
        write_durably(&self.dir.join("manifest").join(name), &note.to_string())?;
        // Whom the venue pays is its own affair.
        if let Some(site) = self.site.as_ref().filter(|_| !note.text.starts_with(PAYMENT)) {
            let site = site.join("manifest");
            fs::create_dir_all(&site).map_err(|e| Failure::file(&site, e, "make it writable"))?;
            write_durably(&site.join(name), &note.to_string())?;
        }
        tracing::info!(name = %name.display(), "signed");
        remove(path)
    }

    fn refuse(&self, path: &Path, why: &str) -> Result<(), Failure> {
        let name = path.file_name().expect("it was listed");
        tracing::error!(name = %name.display(), why, "it was asked to be signed, and is not");
        let text = fs::read_to_string(path).unwrap_or_default();
        write_durably(&self.dir.join("refused").join(name), &format!("{text}\nrefused: {why}\n"))?;
        remove(path)
    }

    /// Has the newest snapshot that is not signed read and asked for.
    fn look_for_snapshots(&mut self) -> Result<(), Failure> {
        if let Some(thread) = self.hashing.take_if(|thread| thread.is_finished()) {
            thread.join().unwrap_or_else(|_| Err(Failure::refused("a thread that read a snapshot died")))?;
        }
        if self.hashing.is_some() {
            return Ok(());
        }
        let is_known = |name: &str| {
            ["manifest", "due", "refused"].iter().any(|folder| self.dir.join(folder).join(name).exists())
        };
        let unsigned = |(Seq(seq), path)| {
            let name = format!("snapshot-{seq}");
            (!is_known(&name)).then_some((name, path))
        };
        let mut listed = ironbell_store::snapshot::list(&self.journal_dir)?.into_iter();
        let Some((name, path)) = listed.find_map(unsigned) else { return Ok(()) };
        let (due, origin) = (self.dir.join("due").join(&name), self.origin.clone());
        let work = move || {
            let file = path.file_name().expect("it was listed").to_string_lossy().into_owned();
            match hash_of(&path) {
                Ok(hash) => Ok(write_durably(&due, &manifest(&origin, "snapshot", &file, &hash))?),
                // An old one that was removed meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(Failure::file(&path, error, "make it readable for the signing process")),
            }
        };
        let thread = std::thread::Builder::new().name("snapshot-hash".into()).spawn(work);
        self.hashing = Some(thread.map_err(Failure::no_thread)?);
        Ok(())
    }
}

fn listed(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |e: std::io::Error| Failure::file(dir, e, "make it readable");
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        // Half written as yet.
        if path.extension().is_none_or(|extension| extension != "new") && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

fn remove(path: &Path) -> Result<(), Failure> {
    fs::remove_file(path).map_err(|e| Failure::file(path, e, "make its folder writable"))
}
