//! A segment as an object: compressed, and enciphered when its journal is.
//!
//! The records of an enciphered journal are deciphered first: what is enciphered does not compress. They are enciphered
//! again when the segment comes back, under the nonces that they had, which makes the very bytes that they were.
//!
//! ```text
//! .zst        zstd frame of the segment's bytes
//! .zst.enc    nonce (12, random) │ zstd frame of the segment's bytes with plain records, enciphered │ tag (16)
//! ```
//!
//! AES-256-GCM under a key derived from the data key for archives alone. The tag is also of the cluster and the index,
//! so that no object passes for another.

use std::io::Read;

use ironbell_store::{DataKey, Disk};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};

use crate::error::Error;
use crate::manifest::{Entry, sha256};
use crate::segment::{self, Whole};
use crate::{Depot, Journal};

/// zstd's own default: a segment takes a quarter of a second, and higher levels gain a few per cent.
const LEVEL: i32 = 3;

/// The entry and the object of a segment.
pub(crate) fn pack<D: Disk>(whole: &Whole, journal: &Journal<D>) -> Result<(Entry, Vec<u8>), Error> {
    let index = whole.facts.index;
    let compressed = zstd::encode_all(whole.plain.as_slice(), LEVEL);
    let object = compressed.map_err(Error::io("compress a segment of", &journal.dir))?;
    let (object, suffix) = match &journal.data_key {
        None => (object, "zst"),
        Some(key) => (seal(key, &place(journal, index), object)?, "zst.enc"),
    };
    let entry = Entry {
        facts: whole.facts.clone(),
        object: format!("{index:010}.segment.{suffix}"),
        object_bytes: object.len() as u64,
        object_sha256: sha256(&object),
    };
    Ok((entry, object))
}

/// The segment of `entry` as `depot` has it: its file's bytes, which are what the manifest says in every respect.
pub(crate) fn fetch<D: Disk>(
    entry: &Entry,
    depot: &dyn Depot,
    journal: &Journal<D>,
) -> Result<Vec<u8>, Error> {
    let index = entry.facts.index;
    let damaged = |what: String| Error::Object { index, place: depot.place(), what };
    let object = depot.get(&entry.object)?;
    let object = object.ok_or_else(|| damaged(format!("there is no {}", entry.object)))?;
    if (object.len() as u64, sha256(&object)) != (entry.object_bytes, entry.object_sha256.clone()) {
        return Err(damaged(format!("{} does not have the SHA-256 that the manifest names", entry.object)));
    }
    let compressed = match &journal.data_key {
        None => object,
        Some(key) => open(key, &place(journal, index), object)
            .ok_or_else(|| damaged("it was not enciphered with this key".to_owned()))?,
    };
    let mut bytes = Vec::with_capacity(usize::try_from(entry.facts.bytes).unwrap_or(0));
    // One byte more than it may have, to see that it has no more.
    zstd::Decoder::new(compressed.as_slice())
        .and_then(|decoder| decoder.take(entry.facts.bytes + 1).read_to_end(&mut bytes))
        .map_err(|error| damaged(error.to_string()))?;
    if let Some(key) = &journal.data_key {
        segment::encipher(&mut bytes, &journal.cluster, key).map_err(damaged)?;
    }
    if sha256(&bytes) != entry.facts.sha256 {
        return Err(damaged("what it holds does not have the SHA-256 that the manifest names".to_owned()));
    }
    let read = segment::read(bytes.clone(), index, &journal.cluster, journal.data_key.as_deref());
    let read = read.map_err(|fault| damaged(format!("byte {}: {}", fault.offset, fault.what)))?;
    if read.facts != entry.facts {
        return Err(damaged("the manifest says other things of it than it says itself".to_owned()));
    }
    Ok(bytes)
}

fn place<D: Disk>(journal: &Journal<D>, index: u64) -> [u8; 24] {
    let mut place = [0; 24];
    place[..16].copy_from_slice(&journal.cluster);
    place[16..].copy_from_slice(&index.to_le_bytes());
    place
}

fn key(data_key: &DataKey) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &data_key.derive("archive")).expect("a key has 32 bytes"))
}

fn seal(data_key: &DataKey, place: &[u8], mut bytes: Vec<u8>) -> Result<Vec<u8>, Error> {
    let mut nonce = [0; NONCE_LEN];
    SystemRandom::new().fill(&mut nonce).map_err(|_| {
        let why = "the kernel gives no random bytes".to_owned();
        Error::Place { place: "the archive".to_owned(), why }
    })?;
    let tag = key(data_key)
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place), &mut bytes)
        .expect("a segment is shorter than 64 GiB");
    Ok([nonce.as_slice(), &bytes, tag.as_ref()].concat())
}

fn open(data_key: &DataKey, place: &[u8], mut object: Vec<u8>) -> Option<Vec<u8>> {
    let nonce = Nonce::try_assume_unique_for_key(object.get(..NONCE_LEN)?).ok()?;
    let opened = key(data_key).open_within(nonce, Aad::from(place), &mut object, NONCE_LEN..).ok()?;
    let bytes = opened.len();
    object.truncate(bytes);
    Some(object)
}
