//! Snapshot files beside the segments: the state behind a frame, so that a start need not replay what came before.
//!
//! ```text
//! 00000000000000123456.snapshot    by the last Seq that is in it; layout in `journal/record`, snapshot.rs
//! snapshots.lock                   held by whoever makes one
//! ```
//!
//! A file is written under another name, synced and renamed, so that whoever sees one sees a whole one. What is in
//! it is *parts*: bytes by number, which mean nothing here. A snapshot vouches for no frame: it names the one it
//! stands behind, and [`Reader::resume`] looks whether the journal has that frame.
//!
//! **A snapshot is a shortcut, never the truth**: one that is damaged, or of another version, is passed over, and the
//! one before it, or the journal from its beginning, comes to the same state.

use std::fmt;
use std::path::{Path, PathBuf};

use ironbell_record::Cipher;
use ironbell_record::snapshot::{
    PIECE_BYTES, Position, SNAPSHOT_HEADER_BYTES, SnapshotHeader, VOUCHER_BYTES,
};
use ironbell_types::Seq;

use crate::cipher::DataKey;
use crate::dir;
use crate::disk::{Access, Disk, DiskFile, Os};
use crate::error::Error;

/// What a snapshot's key is derived for: its nonces are of a kind of their own.
const PURPOSE: &str = "snapshot";

/// Before each part in the body: its number and its length.
const PART_HEADER_BYTES: usize = 16;

/// A snapshot in memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// What the file says of itself.
    pub header: SnapshotHeader,
    parts: Vec<(u64, std::ops::Range<usize>)>,
    body: Vec<u8>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Snapshot at Seq {}", self.header.seq())
    }
}

impl Snapshot {
    /// A part; `None` when there is none of that number.
    #[must_use]
    pub fn part(&self, number: u64) -> Option<&[u8]> {
        let (_, range) = self.parts.iter().find(|(of, _)| *of == number)?;
        Some(&self.body[range.clone()])
    }

    /// All of them, by number, in the order in which they were given.
    pub fn parts(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.parts.iter().map(|(number, range)| (*number, &self.body[range.clone()]))
    }
}

/// What a snapshot is to say of the state it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Of {
    /// Where it stands.
    pub position: Position,
    /// SHA-256 over the listing of the state.
    pub state_hash: [u8; 32],
    /// The running output hash.
    pub output_hash: u128,
}

/// Writes a snapshot into the journal's directory, its parts by number, enciphered if there is a key. It is whole and
/// on disk when this returns. One of the same Seq is replaced.
///
/// # Errors
/// [`Error::Io`]; nothing is left behind then that counts.
pub fn write(
    dir: &Path,
    of: &Of,
    parts: &[(u64, &[u8])],
    data_key: Option<&DataKey>,
) -> Result<PathBuf, Error> {
    write_on(&Os, dir, of, parts, data_key)
}

/// [`write`], in another world.
///
/// # Errors
/// As there.
pub fn write_on<D: Disk>(
    disk: &D,
    dir: &Path,
    of: &Of,
    parts: &[(u64, &[u8])],
    data_key: Option<&DataKey>,
) -> Result<PathBuf, Error> {
    let path = path(dir, of.position.chain.last_seq);
    let mut nonce = [0; 8];
    if data_key.is_some() {
        disk.random(&mut nonce).map_err(Error::io("draw a random number for", &path))?;
    }
    dir::write_new(disk, &path, &encode(of, parts, data_key.map(|key| (key, nonce))))?;
    Ok(path)
}

/// The bytes of a snapshot file, its parts by number, enciphered if there is a key, under a random number that no other
/// has; [`decode`] reads them.
#[must_use]
pub fn encode(of: &Of, parts: &[(u64, &[u8])], sealed: Option<(&DataKey, [u8; 8])>) -> Vec<u8> {
    let body_bytes: usize = parts.iter().map(|(_, part)| PART_HEADER_BYTES + part.len()).sum();
    let header = SnapshotHeader {
        position: of.position,
        state_hash: of.state_hash,
        output_hash: of.output_hash,
        body_bytes: body_bytes as u64,
        nonce: sealed.map(|(_, nonce)| nonce),
    };
    let mut body = Vec::with_capacity(body_bytes);
    for (number, part) in parts {
        body.extend(number.to_le_bytes());
        body.extend((part.len() as u64).to_le_bytes());
        body.extend_from_slice(part);
    }
    let vouch = Voucher::new(&header, sealed.map(|(key, _)| key));
    let mut bytes = Vec::with_capacity(file_bytes(body_bytes));
    bytes.extend(vouch.header);
    for (number, piece) in body.chunks_mut(PIECE_BYTES).enumerate() {
        let voucher = vouch.seal(number, piece);
        bytes.extend_from_slice(piece);
        bytes.extend(voucher);
    }
    bytes
}

/// A snapshot file, its body deciphered and checked.
///
/// # Errors
/// [`Error::Snapshot`] when anything in it is not as it was written, [`Error::Key`], [`Error::Io`].
pub fn read(path: &Path, data_key: Option<&DataKey>) -> Result<Snapshot, Error> {
    read_on(&Os, path, data_key)
}

/// [`read`], in another world.
///
/// # Errors
/// As there.
pub fn read_on<D: Disk>(disk: &D, path: &Path, data_key: Option<&DataKey>) -> Result<Snapshot, Error> {
    let file = disk.open(path, Access::Read, false).map_err(Error::io("open", path))?;
    let length = file.bytes().map_err(Error::io("read the length of", path))?;
    let mut bytes = vec![0; usize::try_from(length).expect("a file in memory")];
    file.read_exact_at(&mut bytes, 0).map_err(Error::io("read", path))?;
    decode(bytes, data_key).map_err(|what| Error::Snapshot { path: path.to_owned(), what })
}

/// A snapshot of the bytes of its file; any others are refused, and say why.
///
/// # Errors
/// What is wrong with them.
pub fn decode(mut bytes: Vec<u8>, data_key: Option<&DataKey>) -> Result<Snapshot, String> {
    let header = SnapshotHeader::decode(&bytes).map_err(|fault| format!("its header: {fault}"))?;
    match (header.nonce, data_key) {
        (None, Some(_)) => return Err("it is plain in an enciphered journal".into()),
        (Some(_), None) => return Err("it is enciphered and there is no key".into()),
        _ => {}
    }
    let body_bytes = usize::try_from(header.body_bytes).ok().filter(|body| *body < bytes.len());
    if body_bytes.is_none_or(|body| file_bytes(body) != bytes.len()) {
        return Err(format!("it is {} bytes long, which is not what its header says", bytes.len()));
    }
    let vouch = Voucher::new(&header, data_key);
    // Vouchers are taken out, so that the body lies in one piece.
    let (mut from, mut to, mut number) = (SNAPSHOT_HEADER_BYTES, 0, 0);
    while from < bytes.len() {
        let piece_bytes = PIECE_BYTES.min(bytes.len() - from - VOUCHER_BYTES);
        let (piece, rest) = bytes[from..].split_at_mut(piece_bytes);
        let voucher = rest[..VOUCHER_BYTES].try_into().expect("as many bytes");
        if !vouch.open(number, piece, voucher) {
            return Err(format!("piece {number} of it was changed, or its key is another"));
        }
        bytes.copy_within(from..from + piece_bytes, to);
        (from, to, number) = (from + piece_bytes + VOUCHER_BYTES, to + piece_bytes, number + 1);
    }
    bytes.truncate(to);
    let parts = parts(&bytes).ok_or("its parts are not what its length says")?;
    Ok(Snapshot { header, parts, body: bytes })
}

fn parts(body: &[u8]) -> Option<Vec<(u64, std::ops::Range<usize>)>> {
    let (mut parts, mut at) = (Vec::new(), 0);
    while at < body.len() {
        let number = u64::from_le_bytes(body.get(at..at + 8)?.try_into().ok()?);
        let length = u64::from_le_bytes(body.get(at + 8..at + PART_HEADER_BYTES)?.try_into().ok()?);
        at += PART_HEADER_BYTES;
        let end = at.checked_add(usize::try_from(length).ok()?).filter(|end| *end <= body.len())?;
        parts.push((number, at..end));
        at = end;
    }
    Some(parts)
}

/// The header of a snapshot file alone.
///
/// # Errors
/// [`Error::Snapshot`], [`Error::Io`].
pub fn header(path: &Path) -> Result<SnapshotHeader, Error> {
    header_on(&Os, path)
}

/// [`header`], in another world.
///
/// # Errors
/// As there.
pub fn header_on<D: Disk>(disk: &D, path: &Path) -> Result<SnapshotHeader, Error> {
    let file = disk.open(path, Access::Read, false).map_err(Error::io("open", path))?;
    let mut bytes = [0; SNAPSHOT_HEADER_BYTES];
    let wrong = |what| Error::Snapshot { path: path.to_owned(), what };
    file.read_exact_at(&mut bytes, 0).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => wrong("it ends within its header".to_owned()),
        _ => Error::io("read", path)(error),
    })?;
    SnapshotHeader::decode(&bytes).map_err(|fault| wrong(format!("its header: {fault}")))
}

/// The snapshots of a journal, the newest first: their last Seq by their names, and where they are.
///
/// # Errors
/// [`Error::Io`].
pub fn list(dir: &Path) -> Result<Vec<(Seq, PathBuf)>, Error> {
    list_on(&Os, dir)
}

/// [`list`], in another world.
///
/// # Errors
/// As there.
pub fn list_on<D: Disk>(disk: &D, dir: &Path) -> Result<Vec<(Seq, PathBuf)>, Error> {
    let names = disk.names(dir).map_err(Error::io("read the directory", dir))?;
    let seq = |name: &String| name.strip_suffix(SUFFIX).and_then(|seq| seq.parse().ok()).map(Seq);
    let mut found: Vec<_> = names.iter().filter_map(|name| Some((seq(name)?, dir.join(name)))).collect();
    found.sort_unstable_by_key(|(seq, _)| std::cmp::Reverse(*seq));
    Ok(found)
}

/// Removes all but the newest `keep` snapshots that have a sound header, and those without one, so that damaged ones do
/// not push good ones out. One that cannot be read today is neither counted nor removed: it may be sound. Returns how many
/// were removed.
///
/// # Errors
/// [`Error::Io`].
pub fn retain(dir: &Path, keep: usize) -> Result<usize, Error> {
    retain_on(&Os, dir, keep)
}

/// [`retain`], in another world.
///
/// # Errors
/// As there.
pub fn retain_on<D: Disk>(disk: &D, dir: &Path, keep: usize) -> Result<usize, Error> {
    let (mut kept, mut removed) = (0, 0);
    for (_, path) in list_on(disk, dir)? {
        match header_on(disk, &path) {
            Err(Error::Io { .. }) => continue,
            Ok(_) if kept < keep => {
                kept += 1;
                continue;
            }
            Ok(_) | Err(_) => {}
        }
        disk.remove(&path).map_err(Error::io("remove", &path))?;
        removed += 1;
    }
    Ok(removed)
}

/// What of a journal its snapshots still need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needed {
    /// The first segment that a replay behind any of them reads.
    pub segment: u64,
    /// The last Seq that none of them replays: commands up to it are in all of them.
    pub seq: Seq,
}

/// What the newest `keep` snapshots need of the journal; `None` when there are fewer, and so all of it is needed.
/// What they need begins with the frame they stand behind, which a start looks at.
///
/// # Errors
/// [`Error::Io`].
pub fn oldest_needed(dir: &Path, keep: usize) -> Result<Option<Needed>, Error> {
    let sound: Vec<_> = list(dir)?.iter().filter_map(|(_, path)| header(path).ok()).take(keep).collect();
    let oldest = sound.iter().min_by_key(|header| header.seq()).filter(|_| keep > 0 && sound.len() == keep);
    Ok(oldest.map(|header| Needed { segment: header.position.segment, seq: header.seq() }))
}

/// The right to make snapshots of a journal, held as long as this lives. Who has it is waited for, for a moment: whoever makes
/// one for a node that was killed ends with it.
///
/// # Errors
/// [`Error::Locked`] when another process makes one, [`Error::Io`].
pub fn lock(dir: &Path) -> Result<impl Sized, Error> {
    let path = dir.join("snapshots.lock");
    dir::lock_patiently(&Os, &path)?.ok_or(Error::Locked(path))
}

const SUFFIX: &str = ".snapshot";

/// The file of the snapshot whose last command is `seq`.
#[must_use]
pub fn path(dir: &Path, Seq(seq): Seq) -> PathBuf {
    dir.join(format!("{seq:020}{SUFFIX}"))
}

/// Length of the file of a body.
fn file_bytes(body: usize) -> usize {
    SNAPSHOT_HEADER_BYTES + body + body.div_ceil(PIECE_BYTES) * VOUCHER_BYTES
}

/// What vouches for the pieces of a body.
struct Voucher {
    header: [u8; SNAPSHOT_HEADER_BYTES],
    nonce: [u8; 8],
    cipher: Option<DataKey>,
}

impl Voucher {
    fn new(header: &SnapshotHeader, data_key: Option<&DataKey>) -> Self {
        Self {
            header: header.encode(),
            nonce: header.nonce.unwrap_or_default(),
            cipher: data_key.map(|key| DataKey::new(&key.derive(PURPOSE))),
        }
    }

    fn nonce(&self, number: usize) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&self.nonce);
        let number = u32::try_from(number).expect("a snapshot is below 4 PiB");
        nonce[8..].copy_from_slice(&number.to_le_bytes());
        nonce
    }

    /// Enciphers a piece if there is a key; returns what stands behind it.
    fn seal(&self, number: usize, piece: &mut [u8]) -> [u8; VOUCHER_BYTES] {
        match &self.cipher {
            Some(cipher) => cipher.seal(self.nonce(number), &self.header, piece),
            None => checksum(piece),
        }
    }

    /// Deciphers a piece if there is a key; whether it is what was sealed.
    fn open(&self, number: usize, piece: &mut [u8], voucher: [u8; VOUCHER_BYTES]) -> bool {
        match &self.cipher {
            Some(cipher) => cipher.open(self.nonce(number), &self.header, piece, &voucher),
            None => checksum(piece) == voucher,
        }
    }
}

fn checksum(piece: &[u8]) -> [u8; VOUCHER_BYTES] {
    let mut voucher = [0; VOUCHER_BYTES];
    voucher[..4].copy_from_slice(&crc32c::crc32c(piece).to_le_bytes());
    voucher
}
