//! The metrics segment: a memory-mapped file with one cache-padded section per role.
//!
//! A role alone writes its section, with plain stores; `ironbell status` and exporters map the file and
//! read. Names stand in the file, so that a reader needs no table of its own.
//!
//! ```text
//! 0        8         12        16                                  4096
//! +--------+---------+---------+----------------------------------+----------- - - -
//! | magic  | version | roles   | role table, 64 B each            | sections
//! +--------+---------+---------+----------------------------------+----------- - - -
//! role table entry:  name[32] | offset u64 | counters u32 | histograms u32 | pad[16]
//! section (at a multiple of 4096): names[32] of counters, names[32] of histograms,
//!                    padded to 128; u64 counters, padded to 128; u64[SLOTS] histograms
//! ```

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{Mmap, MmapMut};

use crate::histogram::{Counts, Histogram, SLOTS};

const MAGIC: u64 = u64::from_le_bytes(*b"IRONMETR");
const VERSION: u32 = 1;
const TABLE: usize = 16;
const ENTRY: usize = 64;
const PAGE: usize = 4096;
const NAME: usize = 32;
const LINE: usize = 128;
/// Roles that fit the table.
pub const ROLES_MAX: usize = (PAGE - TABLE) / ENTRY;

/// What went wrong with a metrics segment.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be made, mapped or read.
    #[error("metrics segment {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The file is no metrics segment of this version.
    #[error("{path} is not a metrics segment of version {VERSION}: {what}")]
    Format {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// What a role counts.
#[derive(Clone, Copy, Debug)]
pub struct Spec<'a> {
    /// The role's name, at most 32 bytes.
    pub role: &'a str,
    /// Names of its counters, at most 32 bytes each; [`RoleMetrics`] takes their index.
    pub counters: &'a [&'a str],
    /// Names of its histograms (nanoseconds), at most 32 bytes each.
    pub histograms: &'a [&'a str],
}

#[derive(Clone, Copy, Debug)]
struct Section {
    names: usize,
    counters_at: usize,
    histograms_at: usize,
    counters: usize,
    histograms: usize,
    end: usize,
}

impl Section {
    fn at(offset: usize, counters: usize, histograms: usize) -> Self {
        let counters_at = (offset + (counters + histograms) * NAME).next_multiple_of(LINE);
        let histograms_at = (counters_at + counters * 8).next_multiple_of(LINE);
        let end = (histograms_at + histograms * SLOTS * 8).next_multiple_of(PAGE);
        Self { names: offset, counters_at, histograms_at, counters, histograms, end }
    }
}

/// A role's own section; it moves into the role and no one else writes it.
#[derive(Debug)]
pub struct RoleMetrics {
    map: Arc<Mapped>,
    section: Section,
    counts_latencies: bool,
}

#[derive(Debug)]
struct Mapped {
    base: *mut u8,
    len: usize,
    _map: MmapMut,
}

// SAFETY: the mapping lives as long as the `Mapped`, and after creation its bytes are only reached as
// `AtomicU64`s, which any thread may read and write.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    fn cells(&self, at: usize, count: usize) -> &[AtomicU64] {
        assert!(at.is_multiple_of(8));
        assert!(at + count * 8 <= self.len);
        // SAFETY: the range lies inside the mapping (asserted), is 8-byte aligned (the mapping is
        // page-aligned, `at` a multiple of 8), and is only ever reached as atomics.
        unsafe { std::slice::from_raw_parts(self.base.add(at).cast::<AtomicU64>(), count) }
    }
}

/// Makes the segment at `path`, replacing an older one, and gives each role its section, in the order
/// of `specs`.
///
/// # Errors
/// When the file cannot be made or mapped.
///
/// # Panics
/// When a name is longer than its field or there are more than [`ROLES_MAX`] roles.
pub fn create(path: &Path, specs: &[Spec<'_>]) -> Result<Vec<RoleMetrics>, Error> {
    assert!(specs.len() <= ROLES_MAX);
    let io = |source| Error::Io { path: path.to_owned(), source };
    let mut sections = Vec::new();
    let mut end = PAGE;
    for spec in specs {
        let section = Section::at(end, spec.counters.len(), spec.histograms.len());
        end = section.end;
        sections.push(section);
    }
    // A reader may still map the segment of an earlier run: it keeps its own file.
    let temporary = path.with_extension("new");
    let file =
        File::options().read(true).write(true).create(true).truncate(true).open(&temporary).map_err(io)?;
    file.set_len(end as u64).map_err(io)?;
    // SAFETY: the file was made just now under a temporary name; nobody truncates it while it is mapped.
    let mut map = unsafe { MmapMut::map_mut(&file) }.map_err(io)?;
    map[..8].copy_from_slice(&MAGIC.to_le_bytes());
    map[8..12].copy_from_slice(&VERSION.to_le_bytes());
    map[12..16].copy_from_slice(&(specs.len() as u32).to_le_bytes());
    for (n, (spec, section)) in specs.iter().zip(&sections).enumerate() {
        let entry = TABLE + n * ENTRY;
        put_name(&mut map[entry..], spec.role);
        map[entry + 32..entry + 40].copy_from_slice(&(section.names as u64).to_le_bytes());
        map[entry + 40..entry + 44].copy_from_slice(&(spec.counters.len() as u32).to_le_bytes());
        map[entry + 44..entry + 48].copy_from_slice(&(spec.histograms.len() as u32).to_le_bytes());
        for (k, name) in spec.counters.iter().chain(spec.histograms).enumerate() {
            put_name(&mut map[section.names + k * NAME..], name);
        }
    }
    std::fs::rename(&temporary, path).map_err(io)?;
    // Touch every page now: the first count of a role must not fault on the order path.
    for page in map.chunks_mut(PAGE) {
        page[PAGE - 1] = std::hint::black_box(0);
    }
    let map = Arc::new(Mapped { base: map.as_mut_ptr(), len: end, _map: map });
    Ok(sections
        .into_iter()
        .map(|section| RoleMetrics { map: Arc::clone(&map), section, counts_latencies: true })
        .collect())
}

fn put_name(field: &mut [u8], name: &str) {
    assert!(name.len() <= NAME, "{name} is longer than {NAME} bytes");
    field[..name.len()].copy_from_slice(name.as_bytes());
}

impl RoleMetrics {
    /// Adds `n` to counter `index`.
    #[inline]
    pub fn add(&mut self, index: usize, n: u64) {
        let cell = self.counter(index);
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Sets counter `index` to `value`.
    #[inline]
    pub fn set(&mut self, index: usize, value: u64) {
        self.counter(index).store(value, Ordering::Relaxed);
    }

    /// Whether [`Self::record`] counts; it does unless it was told not to.
    #[must_use]
    pub fn counting_latencies(mut self, counts: bool) -> Self {
        self.counts_latencies = counts;
        self
    }

    /// Counts `nanos` in histogram `index`.
    #[inline]
    pub fn record(&mut self, index: usize, nanos: u64) {
        assert!(index < self.section.histograms);
        if !self.counts_latencies {
            return;
        }
        Histogram(self.map.cells(self.section.histograms_at + index * SLOTS * 8, SLOTS)).record(nanos);
    }

    fn counter(&self, index: usize) -> &AtomicU64 {
        &self.map.cells(self.section.counters_at, self.section.counters)[index]
    }
}

/// A reader's view of a segment, its own node's or another process's.
#[derive(Debug)]
pub struct Reader {
    map: Mmap,
    roles: Vec<(String, Section)>,
}

/// What one role has counted.
#[derive(Clone, Debug)]
pub struct RoleCounts {
    /// The role's name.
    pub role: String,
    /// (name, value) of each counter.
    pub counters: Vec<(String, u64)>,
    /// (name, counts in nanoseconds) of each histogram.
    pub histograms: Vec<(String, Counts)>,
}

impl Reader {
    /// Maps the segment at `path`.
    ///
    /// # Errors
    /// When the file cannot be read or is no metrics segment.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        let format = |what| Error::Format { path: path.to_owned(), what };
        let file = File::open(path).map_err(io)?;
        // SAFETY: segments are only ever replaced by rename, never truncated; the counters are read as
        // atomics below.
        let map = unsafe { Mmap::map(&file) }.map_err(io)?;
        if map.len() < PAGE || u64_at(&map, 0) != MAGIC {
            return Err(format("no magic number"));
        }
        if u32_at(&map, 8) != VERSION {
            return Err(format("another version"));
        }
        let count = u32_at(&map, 12) as usize;
        if count > ROLES_MAX {
            return Err(format("too many roles"));
        }
        let mut roles = Vec::new();
        for entry in (0..count).map(|n| TABLE + n * ENTRY) {
            let offset =
                usize::try_from(u64_at(&map, entry + 32)).map_err(|_| format("an offset out of range"))?;
            let (counters, histograms) =
                (u32_at(&map, entry + 40) as usize, u32_at(&map, entry + 44) as usize);
            if offset % PAGE != 0 || offset > map.len() || counters > 4096 || histograms > 4096 {
                return Err(format("a section out of range"));
            }
            let section = Section::at(offset, counters, histograms);
            if section.end > map.len() {
                return Err(format("a section out of range"));
            }
            roles.push((name_at(&map, entry), section));
        }
        Ok(Self { map, roles })
    }

    /// A copy of everything counted so far.
    #[must_use]
    pub fn read(&self) -> Vec<RoleCounts> {
        self.roles.iter().map(|(role, section)| self.read_role(role, section)).collect()
    }

    fn read_role(&self, role: &str, section: &Section) -> RoleCounts {
        let name = |k| name_at(&self.map, section.names + k * NAME);
        let values = |at: usize, count: usize| -> Vec<u64> {
            // SAFETY: `open` checked that the section lies inside the mapping; `at` is 8-byte aligned by
            // construction; the bytes are written by other threads or processes as atomics.
            let cells =
                unsafe { std::slice::from_raw_parts(self.map.as_ptr().add(at).cast::<AtomicU64>(), count) };
            cells.iter().map(|cell| cell.load(Ordering::Relaxed)).collect()
        };
        let counters = values(section.counters_at, section.counters);
        RoleCounts {
            role: role.to_owned(),
            counters: counters.into_iter().enumerate().map(|(k, value)| (name(k), value)).collect(),
            histograms: (0..section.histograms)
                .map(|k| {
                    (name(section.counters + k), Counts(values(section.histograms_at + k * SLOTS * 8, SLOTS)))
                })
                .collect(),
        }
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn name_at(bytes: &[u8], at: usize) -> String {
    let field = &bytes[at..at + NAME];
    String::from_utf8_lossy(field.split(|b| *b == 0).next().unwrap_or(field)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("ironbell-metrics-{}-{name}", std::process::id()))
    }

    #[test]
    fn a_reader_sees_what_each_role_counted() {
        let file = path("roles");
        let specs = [
            Spec { role: "gateway", counters: &["messages_in", "sessions"], histograms: &["gateway_in"] },
            Spec { role: "journal", counters: &["frames"], histograms: &[] },
        ];
        let mut roles = create(&file, &specs).expect("the segment is made");
        let mut journal = roles.pop().expect("two roles");
        let mut gateway = roles.pop().expect("two roles");
        let writer = std::thread::spawn(move || {
            for n in 0..1_000 {
                gateway.add(0, 1);
                gateway.record(0, n);
            }
            gateway.set(1, 4);
        });
        journal.add(0, 7);
        writer.join().expect("the writer does not panic");

        let read = Reader::open(&file).expect("it opens").read();
        assert_eq!(read.iter().map(|r| r.role.as_str()).collect::<Vec<_>>(), ["gateway", "journal"]);
        assert_eq!(read[0].counters, [("messages_in".to_owned(), 1_000), ("sessions".to_owned(), 4)]);
        assert_eq!(read[0].histograms[0].0, "gateway_in");
        assert_eq!(read[0].histograms[0].1.total(), 1_000);
        assert_eq!(read[1].counters, [("frames".to_owned(), 7)]);
        std::fs::remove_file(file).expect("it was there");
    }

    #[test]
    fn latencies_are_not_counted_where_they_are_not_wanted() {
        let file = path("unwanted");
        let spec = Spec { role: "gateway", counters: &["messages"], histograms: &["gateway_in"] };
        let role = create(&file, &[spec]).expect("the segment is made").remove(0);
        let mut role = role.counting_latencies(false);
        role.record(0, 5);
        role.add(0, 1);
        let read = Reader::open(&file).expect("it opens").read();
        assert_eq!((read[0].histograms[0].1.total(), read[0].counters[0].1), (0, 1));
        std::fs::remove_file(file).expect("it was there");
    }

    #[test]
    fn what_is_no_segment_is_refused() {
        let file = path("refused");
        for content in [vec![], vec![0; PAGE], {
            let mut v = vec![0xff; PAGE];
            v[..8].copy_from_slice(&MAGIC.to_le_bytes());
            v[8..12].copy_from_slice(&VERSION.to_le_bytes());
            v
        }] {
            std::fs::write(&file, content).expect("a temporary file");
            assert!(Reader::open(&file).is_err());
        }
        std::fs::remove_file(file).expect("it was there");
    }
}
