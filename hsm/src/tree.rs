//! A log's hashes on disk, and the static files of C2SP tlog-tiles made of them.
//!
//! ```text
//! DIR/entries      32 bytes a Seq: the entry
//! DIR/tile-0       32 bytes a Seq: the leaf's hash            ┐ tile N of level L is the bytes
//! DIR/tile-1       32 bytes for each 256 Seqs: their node     │ N × 8,192 and the 8,191 that follow
//! DIR/tile-2       32 bytes for each 65,536 …                 ┘ of the file of that level
//! ```
//!
//! DIR/synced       the head up to which all of this is on disk
//!
//! Append-only, and a shortcut: everything in it follows from the journal. It is synced from time to time, and gone on with
//! behind what was synced or signed last, whichever is smaller; what a crash left behind that is cut off.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::entry::log_leaf;
use crate::head::{parse, text_of, write_durably};
use crate::merkle::{Frontier, Hash, Nodes, node_hash};
use crate::{Error, Head};

const HASH_BYTES: u64 = 32;
/// Levels between two rows that are kept.
const TILE_LEVELS: u32 = 8;
const TILE_HASHES: u64 = 1 << TILE_LEVELS;
/// Rows that a log of 2^64 leaves has.
const ROWS: usize = (u64::BITS / TILE_LEVELS) as usize;
const SYNCED: &str = "synced";
const SYNCED_TITLE: &str = "ironbell synced tree v1";
/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 1 << 16;

/// Whether a tree may grow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

/// A file that grows at its end, through a buffer.
#[derive(Debug)]
struct Row {
    path: PathBuf,
    file: File,
    /// Bytes in the file.
    written: u64,
    buffer: Vec<u8>,
}

impl Row {
    fn open(path: PathBuf, bytes: u64, access: Access) -> Result<Self, Error> {
        let open = || -> io::Result<(File, u64)> {
            let is_write = access == Access::Write;
            let mut options = OpenOptions::new();
            let file = options.read(true).write(is_write).create(is_write).truncate(false).open(&path)?;
            let found = file.metadata()?.len();
            if is_write {
                file.set_len(bytes.min(found))?;
            }
            Ok((file, found))
        };
        let (file, found) =
            open().map_err(|error| Error::State { path: path.clone(), why: error.to_string() })?;
        if found < bytes {
            let why =
                format!("it ends at byte {found} instead of {bytes}: remove the directory, it is made again");
            return Err(Error::State { path, why });
        }
        Ok(Self { path, file, written: bytes, buffer: Vec::with_capacity(BUFFER_BYTES) })
    }

    fn failed(&self, error: &io::Error) -> Error {
        Error::State { path: self.path.clone(), why: error.to_string() }
    }

    fn push(&mut self, hash: &Hash) -> Result<(), Error> {
        self.buffer.extend_from_slice(hash);
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Error> {
        if !self.buffer.is_empty() {
            self.file.write_all_at(&self.buffer, self.written).map_err(|error| self.failed(&error))?;
            self.written += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }

    fn read(&self, index: u64) -> Result<Hash, Error> {
        let (at, mut hash) = (index * HASH_BYTES, [0; 32]);
        if at >= self.written {
            let from = usize::try_from(at - self.written).expect("within the buffer");
            let found = self.buffer.get(from..from + hash.len());
            hash.copy_from_slice(found.ok_or(Error::Proof("there is no such node yet"))?);
        } else {
            self.file.read_exact_at(&mut hash, at).map_err(|error| self.failed(&error))?;
        }
        Ok(hash)
    }

    fn read_many(&self, index: u64, count: u64) -> Result<Vec<u8>, Error> {
        (index..index + count)
            .map(|index| self.read(index))
            .collect::<Result<Vec<_>, _>>()
            .map(|all| all.concat())
    }
}

/// The hashes of a log.
#[derive(Debug)]
pub struct Tree {
    dir: PathBuf,
    entries: Row,
    rows: Vec<Row>,
    frontier: Frontier,
}

impl Tree {
    /// Opens what is in `dir`, or begins there. It then has as many leaves as `head`, the last that was signed, or fewer where
    /// less had been synced.
    ///
    /// # Errors
    /// [`Error::State`] when it cannot be read, or does not lead to that head: it is to be made again from the journal.
    pub fn open(dir: &Path, head: &Head) -> Result<Self, Error> {
        let failed = |path: &Path, why: &str| Error::State { path: path.into(), why: why.into() };
        fs::create_dir_all(dir).map_err(|error| failed(dir, &error.to_string()))?;
        let path = dir.join(SYNCED);
        let synced = match fs::read_to_string(&path) {
            Ok(text) => parse(SYNCED_TITLE, &text)
                .ok_or_else(|| failed(&path, "it is damaged: remove the directory, it is made again"))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Head::empty(),
            Err(error) => return Err(failed(&path, &error.to_string())),
        };
        Self::open_for(dir, if synced.size < head.size { &synced } else { head }, Access::Write)
    }

    /// Opens what is in `dir` up to `head` to read it, beside whoever makes it grow.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn read(dir: &Path, head: &Head) -> Result<Self, Error> {
        Self::open_for(dir, head, Access::Read)
    }

    fn open_for(dir: &Path, head: &Head, access: Access) -> Result<Self, Error> {
        let entries = Row::open(dir.join("entries"), head.size * HASH_BYTES, access)?;
        let row = |number: usize| {
            let count = head.size >> (TILE_LEVELS * number as u32);
            Row::open(dir.join(format!("tile-{number}")), count * HASH_BYTES, access)
        };
        let rows = (0..ROWS).map(row).collect::<Result<_, _>>()?;
        let mut tree = Self { dir: dir.to_owned(), entries, rows, frontier: Frontier::default() };
        tree.frontier = Frontier::of(&tree, head.size)?;
        if tree.frontier.root() != head.root {
            let why =
                "its hashes do not lead to the head that was signed: remove the directory, it is made again";
            return Err(Error::State { path: dir.into(), why: why.into() });
        }
        Ok(tree)
    }

    /// Leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// The root over them.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.frontier.root()
    }

    /// Takes the next Seq's entry.
    ///
    /// # Errors
    /// [`Error::State`] when it cannot be written.
    pub fn push(&mut self, entry: &Hash) -> Result<(), Error> {
        self.entries.push(entry)?;
        let (rows, mut pushed) = (&mut self.rows, Ok(()));
        self.frontier.push(log_leaf(entry), |level, _, hash| {
            if level % TILE_LEVELS == 0 && pushed.is_ok() {
                pushed = rows[(level / TILE_LEVELS) as usize].push(hash);
            }
        });
        pushed
    }

    /// Writes all of it, so that others who [read](Self::read) it find it.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn flush(&mut self) -> Result<(), Error> {
        std::iter::once(&mut self.entries).chain(&mut self.rows).try_for_each(Row::flush)
    }

    /// Puts all of it on disk.
    ///
    /// # Errors
    /// [`Error::State`].
    pub fn sync(&mut self) -> Result<(), Error> {
        self.flush()?;
        for row in std::iter::once(&self.entries).chain(&self.rows).filter(|row| row.written > 0) {
            row.file.sync_data().map_err(|error| row.failed(&error))?;
        }
        // Of which epoch it is does not matter here.
        let synced = Head { epoch: 0, size: self.size(), root: self.root() };
        write_durably(&self.dir.join(SYNCED), &text_of(SYNCED_TITLE, &synced))
    }

    /// The entry of a leaf.
    ///
    /// # Errors
    /// [`Error::Proof`] when there is none, [`Error::State`].
    pub fn entry(&self, index: u64) -> Result<Hash, Error> {
        if index >= self.size() {
            return Err(Error::Proof("there is no such entry yet"));
        }
        self.entries.read(index)
    }

    /// Writes the files of C2SP tlog-tiles for the tree of the first `size` leaves below `dir`; what stands there
    /// from an earlier call is not written again. The checkpoint is written last, with its signatures.
    ///
    /// # Errors
    /// [`Error::State`] when a file cannot be written, [`Error::Proof`] when the tree is not that large.
    pub fn publish(&self, dir: &Path, size: u64, checkpoint: &str) -> Result<(), Error> {
        if size > self.size() {
            return Err(Error::Proof("the tree is not that large yet"));
        }
        for (level, row) in self.rows.iter().enumerate() {
            let hashes = size >> (TILE_LEVELS * level as u32);
            publish_row(&dir.join("tile").join(level.to_string()), hashes, |index, count| {
                row.read_many(index, count)
            })?;
        }
        publish_row(&dir.join("tile/entries"), size, |index, count| {
            let mut bundle = Vec::new();
            for index in index..index + count {
                bundle.extend_from_slice(&(HASH_BYTES as u16).to_be_bytes());
                bundle.extend_from_slice(&self.entries.read(index)?);
            }
            Ok(bundle)
        })?;
        write_durably(&dir.join("checkpoint"), checkpoint)
    }
}

/// Writes the full tiles that are missing, and the partial one.
fn publish_row(
    dir: &Path,
    hashes: u64,
    bytes_of: impl Fn(u64, u64) -> Result<Vec<u8>, Error>,
) -> Result<(), Error> {
    let (full, rest) = (hashes / TILE_HASHES, hashes % TILE_HASHES);
    // In ascending order, so that one that is there says that those before it are.
    let mut missing = full;
    while missing > 0 && !dir.join(tile_path(missing - 1)).exists() {
        missing -= 1;
    }
    for tile in missing..full {
        replace_file(&dir.join(tile_path(tile)), &bytes_of(tile * TILE_HASHES, TILE_HASHES)?)?;
    }
    if rest > 0 {
        let path = dir.join(format!("{}.p/{rest}", tile_path(full)));
        replace_file(&path, &bytes_of(full * TILE_HASHES, rest)?)?;
    }
    Ok(())
}

/// The index in groups of three digits, all but the last with an `x` in front.
fn tile_path(index: u64) -> String {
    let mut path = format!("{:03}", index % 1_000);
    let mut rest = index / 1_000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1_000);
        rest /= 1_000;
    }
    path
}

/// Replaces a file, whose directory is made if there is none: a reader sees the old or the new one whole. Not durably.
///
/// # Errors
/// [`Error::State`].
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let write = || -> io::Result<()> {
        fs::create_dir_all(path.parent().expect("it has a directory"))?;
        let aside = path.with_extension("new");
        let mut file = File::create(&aside)?;
        file.write_all(bytes)?;
        fs::rename(&aside, path)
    };
    write().map_err(|error| Error::State { path: path.into(), why: error.to_string() })
}

impl Nodes for Tree {
    fn node(&self, level: u32, index: u64) -> Result<Hash, Error> {
        let row = &self.rows[(level / TILE_LEVELS) as usize];
        let below = level % TILE_LEVELS;
        let mut hashes =
            (index << below..(index + 1) << below).map(|at| row.read(at)).collect::<Result<Vec<_>, _>>()?;
        while hashes.len() > 1 {
            hashes = hashes.chunks(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
        }
        Ok(hashes[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::tests::naive_root;
    use crate::merkle::{consistency_proof, inclusion_proof, root, verify_consistency, verify_inclusion};
    use crate::scratch::Scratch;

    fn entry(index: u64) -> Hash {
        crate::signer::sha256(&[b"entry", &index.to_le_bytes()])
    }

    #[test]
    fn a_tree_on_disk_proves_what_the_naive_one_does_and_survives_a_crash() {
        let dir = Scratch::new("tree");
        let path = dir.path().join("log");
        let mut tree = Tree::open(&path, &Head::empty()).expect("a new one");
        let size = 70_000u64;
        let leaves: Vec<Hash> = (0..size).map(|index| log_leaf(&entry(index))).collect();
        let mut head = Head::empty();
        for index in 0..size {
            tree.push(&entry(index)).expect("it is written");
            if index == 66_666 {
                tree.sync().expect("it is written");
                head = Head { epoch: 1, size: tree.size(), root: tree.root() };
            }
        }
        assert_eq!(tree.root(), naive_root(&leaves));
        tree.flush().expect("it is written");
        let unsynced = Head { epoch: 1, size: tree.size(), root: tree.root() };
        assert_eq!(
            Tree::read(&path, &unsynced).expect("others see it").entry(69_999).expect("it is in"),
            entry(69_999)
        );
        // A crash: the buffers are lost, more or less than what was signed is in the files.
        drop(tree);
        let mut tree = Tree::open(&path, &head).expect("it goes on behind the signed head");
        assert_eq!((tree.size(), tree.root()), (66_667, head.root));
        assert!(tree.entry(66_667).is_err());
        for index in 66_667..size {
            tree.push(&entry(index)).expect("it is written");
        }
        assert_eq!(tree.root(), naive_root(&leaves));
        for index in [0, 1, 255, 256, 65_535, 65_536, 66_000, 69_999] {
            assert_eq!(tree.entry(index).expect("it is there"), entry(index));
            let proof = inclusion_proof(&tree, index, size).expect("it is in");
            verify_inclusion(index, size, &leaves[index as usize], &proof, &tree.root())
                .expect("it verifies");
        }
        for old in [1, 255, 256, 300, 65_535, 65_536, 65_537, 69_999] {
            let older = root(&tree, old).expect("nodes");
            assert_eq!(older, naive_root(&leaves[..old as usize]));
            let proof = consistency_proof(&tree, old, size).expect("it is older");
            verify_consistency((old, &older), (size, &tree.root()), &proof).expect("it verifies");
        }
        tree.sync().expect("it is written");
        let last = Head { epoch: 1, size, root: tree.root() };
        drop(tree);
        // What was signed and not synced is made again.
        let beyond = Head { size: size + 1, ..last };
        assert_eq!(Tree::open(&path, &beyond).expect("what was synced").size(), size);
        // A changed byte anywhere on the way to the root is found at the next start.
        let file = path.join("tile-0");
        let mut bytes = fs::read(&file).expect("it is there");
        bytes[32 * 69_999] ^= 1;
        fs::write(&file, bytes).expect("a scratch file");
        assert!(matches!(Tree::open(&path, &last), Err(Error::State { .. })));
        fs::write(path.join("entries"), b"short").expect("a scratch file");
        assert!(matches!(Tree::open(&path, &last), Err(Error::State { .. })));
    }

    /// The example in C2SP tlog-tiles: a tree of 70,000 leaves.
    #[test]
    fn tiles_are_the_files_that_the_specification_lists() {
        assert_eq!(tile_path(1_234_067), "x001/x234/067");
        assert_eq!(tile_path(0), "000");
        let dir = Scratch::new("tiles");
        let mut tree = Tree::open(&dir.path().join("log"), &Head::empty()).expect("a new one");
        let mut leaves = Vec::new();
        let site = dir.path().join("site");
        fs::create_dir(&site).expect("a scratch directory");
        for index in 0..70_000 {
            tree.push(&entry(index)).expect("it is written");
            leaves.push(log_leaf(&entry(index)));
            if index == 300 {
                tree.publish(&site, 257, "earlier\n").expect("it is written");
            }
        }
        tree.publish(&site, 70_000, "checkpoint\n").expect("it is written");
        assert!(tree.publish(&site, 70_001, "").is_err());
        let read = |name: &str| fs::read(site.join(name)).expect(name);
        for tile in 0..273usize {
            let expected = leaves[tile * 256..][..256].concat();
            assert_eq!(read(&format!("tile/0/{tile:03}")), expected);
        }
        assert_eq!(read("tile/0/273.p/112"), leaves[273 * 256..].concat());
        assert!(!site.join("tile/0/273").exists());
        assert_eq!(read("tile/1/000").len(), 8_192);
        assert_eq!(read("tile/1/000")[..32], naive_root(&leaves[..256]));
        assert_eq!(read("tile/1/001.p/17").len(), 17 * 32);
        assert_eq!(read("tile/2/000.p/1"), naive_root(&leaves[..65_536]));
        assert!(!site.join("tile/3").exists());
        let bundle = read("tile/entries/273.p/112");
        assert_eq!(bundle.len(), 112 * 34);
        assert_eq!(bundle[..2], [0, 32]);
        assert_eq!(bundle[2..34], entry(273 * 256));
        assert_eq!(read("checkpoint"), b"checkpoint\n");
    }
}
