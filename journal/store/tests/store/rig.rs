//! What the journal's tests share: a scratch directory, a seeded random source, a flow of commands.

use std::fs;
use std::path::{Path, PathBuf};

use ironbell_record::BLOCK_BYTES;
use ironbell_store::{Durability, Error, FRAME_BYTES_MAX, Identity, Options, WrappedKey};
use ironbell_types::{Command, MassCancelSlice, Nanos, Seq, Sequenced};

pub const VENUE: Identity = Identity { cluster: *b"the tests' venue", key: 42 };

/// Commands `first..first + count`, each a function of its Seq alone, so that whoever reads one knows
/// what it must be.
pub fn commands(first: u64, count: usize) -> Vec<Sequenced> {
    let nth = |seq: u64| {
        let slice =
            MassCancelSlice { cause: Seq(seq.wrapping_mul(0x9e37_79b9_7f4a_7c15)), slice: seq as u32 };
        let command = if seq.is_multiple_of(5) { Command::Tick } else { Command::MassCancelSlice(slice) };
        Sequenced { seq: Seq(seq), time: Nanos(seq * 10), command }
    };
    (first..first + count as u64).map(nth).collect()
}

/// A directory of its own, removed in the end unless the test fails.
pub struct Scratch {
    dir: PathBuf,
    durability: Durability,
}

impl Scratch {
    /// One that does not exist yet.
    pub fn new(name: &str) -> Self {
        Self::at(Path::new(env!("CARGO_TARGET_TMPDIR")), name)
    }

    pub fn at(parent: &Path, name: &str) -> Self {
        let dir = parent.join(format!("ironbell-store-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        Self { dir, durability: durability(parent) }
    }

    /// One with a journal in it.
    pub fn formatted(name: &str) -> Self {
        let scratch = Self::new(name);
        ironbell_store::format(&scratch.dir, VENUE, &scratch.options(), WrappedKey::NONE)
            .expect("it is empty");
        scratch
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn options(&self) -> Options {
        Options { durability: self.durability, ..Options::default() }
    }

    /// With segments of two of the longest frames.
    pub fn small(&self) -> Options {
        Options { segment_bytes: (BLOCK_BYTES + 2 * FRAME_BYTES_MAX) as u64, ..self.options() }
    }

    pub fn segment(&self, index: u64) -> PathBuf {
        self.dir.join(format!("{index:010}.segment"))
    }

    pub fn segments(&self) -> Vec<PathBuf> {
        let count = self.names().iter().filter(|name| name.ends_with(".segment")).count();
        (1..=count as u64).map(|index| self.segment(index)).collect()
    }

    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.dir).expect("it is there");
        let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("it is read").file_name();
        let mut names: Vec<_> = entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Every file but the lock, with its bytes.
    pub fn image(&self) -> Vec<(String, Vec<u8>)> {
        let names = self.names().into_iter().filter(|name| name != "lock");
        names.map(|name| (name.clone(), fs::read(self.dir.join(name)).expect("it is read"))).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// Direct, synced writes where the file system is a disk's; in a container without one the page cache.
pub fn durability(parent: &Path) -> Durability {
    let probe =
        parent.join(format!("ironbell-store-probe-{}-{:?}", std::process::id(), std::thread::current().id()));
    let formatted = ironbell_store::format(&probe, VENUE, &Options::default(), WrappedKey::NONE);
    let _ = fs::remove_dir_all(&probe);
    match formatted {
        Ok(()) => Durability::Disk,
        Err(Error::NotDurable { .. }) => Durability::Buffered,
        Err(error) => panic!("{error}"),
    }
}

/// SplitMix64. Its seed is printed, and taken from `IRONBELL_SEED` when that is set.
pub struct Rng(u64);

impl Rng {
    pub fn new(test: &str) -> Self {
        let drawn = || u64::from(std::process::id()).wrapping_mul(0x2545_f491_4f6c_dd1d);
        let seed =
            std::env::var("IRONBELL_SEED").map_or_else(|_| drawn(), |seed| seed.parse().expect("a number"));
        println!("{test}: IRONBELL_SEED={seed}");
        Self(seed)
    }

    /// One of a seed that is known already.
    pub fn of(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
