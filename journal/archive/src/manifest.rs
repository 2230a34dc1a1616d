//! What an archive says of itself: `manifest.json`.

use ironbell_record::superblock::WrappedKey;
use ironbell_store::Disk;
use serde::{Deserialize, Serialize};

use crate::Journal;
use crate::depot::Depot;
use crate::error::Error;

/// Its name in the archive.
pub(crate) const NAME: &str = "manifest.json";

/// The version of manifest and objects.
const FORMAT: u32 = 1;

/// Everything that is in an archive, of one journal, segment after segment without a gap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the layout: 1.
    pub format: u32,
    /// Whose journal it is, in hexadecimal.
    pub cluster: String,
    /// The journal's data key as its superblock has it, enciphered, in hexadecimal; empty when the archive is plain.
    /// Without it a lost disk would take the archive with it.
    pub wrapped_key: String,
    /// The segments, in order.
    pub segments: Vec<Entry>,
}

/// One segment. Everything but the object can be found out from the segment itself, and is whenever it is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What the segment says.
    #[serde(flatten)]
    pub facts: Facts,
    /// The object's name: `.zst` is a file that `zstd -d` understands, `.zst.enc` one enciphered.
    pub object: String,
    /// Its length in bytes.
    pub object_bytes: u64,
    /// SHA-256 of it, in hexadecimal.
    pub object_sha256: String,
}

/// What a segment says, found by reading all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Its index, from 1.
    pub index: u64,
    /// Its length in bytes.
    pub bytes: u64,
    /// SHA-256 of its file, in hexadecimal.
    pub sha256: String,
    /// Its first command; the next one's Seq when it holds none.
    pub first_seq: u64,
    /// Its last command; the one before it when it holds none.
    pub last_seq: u64,
    /// Time of the last command in it or before it, in nanoseconds since 1970, sequenced.
    pub last_time: u64,
    /// Frames in it.
    pub frames: u64,
    /// Commands in it.
    pub commands: u64,
    /// Link of the chain before its first frame, in hexadecimal.
    pub previous: String,
    /// Link of the chain after its last frame, in hexadecimal.
    pub chain: String,
}

impl Manifest {
    pub(crate) fn new<D: Disk>(journal: &Journal<D>) -> Self {
        let (cluster, wrapped_key) = (hex(&journal.cluster), wrapped(&journal.wrapped_key));
        Self { format: FORMAT, cluster, wrapped_key, segments: Vec::new() }
    }

    /// The manifest in `depot`, if there is one; refused when it is another journal's.
    pub(crate) fn read<D: Disk>(depot: &dyn Depot, journal: &Journal<D>) -> Result<Option<Self>, Error> {
        let Some(bytes) = depot.get(NAME)? else { return Ok(None) };
        let refused = |what: String| Err(Error::Fit { place: depot.place(), what });
        let manifest: Self = match serde_json::from_slice(&bytes) {
            Ok(manifest) => manifest,
            Err(error) => return refused(format!("its manifest cannot be read: {error}")),
        };
        if manifest.format != FORMAT {
            return refused(format!("it has format {}, this program knows {FORMAT}", manifest.format));
        }
        if manifest.cluster != hex(&journal.cluster) {
            return refused("it belongs to another venue; choose another place".to_owned());
        }
        if manifest.wrapped_key != wrapped(&journal.wrapped_key) {
            return refused("it was made under another key; choose another place".to_owned());
        }
        for pair in manifest.segments.windows(2) {
            let (before, after) = (&pair[0].facts, &pair[1].facts);
            if after.index != before.index + 1 || after.previous != before.chain {
                return refused(format!("segment {} does not follow segment {}", after.index, before.index));
            }
        }
        Ok(Some(manifest))
    }

    /// Durable on return.
    pub(crate) fn write(&self, depot: &dyn Depot) -> Result<(), Error> {
        let mut text = serde_json::to_vec_pretty(self).expect("strings and numbers");
        text.push(b'\n');
        depot.put(NAME, &text)
    }

    /// The segment `index`.
    #[must_use]
    pub fn segment(&self, index: u64) -> Option<&Entry> {
        let first = self.segments.first()?.facts.index;
        self.segments.get(usize::try_from(index.checked_sub(first)?).ok()?)
    }
}

fn wrapped(key: &WrappedKey) -> String {
    hex(key.bytes())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
}
