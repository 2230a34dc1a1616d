//! A world in memory that loses power at any moment, fails and lies, each time in the same way for the same seed.
//!
//! A file has three images. The *cache* is what a plain read sees, the *device* what a direct read sees, the *medium* what
//! is left when the power goes. Sectors of 512 bytes move from one to the next by syncs and synced writes; what has not
//! arrived when the power goes is kept, dropped or torn, each sector by lot. Names are changed in memory, and are
//! durable once their directory is synced; until then each change is kept or not.
//!
//! Operations are counted, and one of them can be planned to meet a [`Fault`]: run once without to learn how many there
//! are, then again for each. A failed sync leaves its pages clean and not on the device, as Linux does (fsync(2), "fsyncgate"):
//! asking again succeeds and means nothing. Who writes to a file again after a failed write or sync of it is found in
//! [`retried`](SimDisk::retried).
//!
//! For tests: of this crate, and of whoever drives a whole node through a simulation.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ironbell_record::{BLOCK_BYTES, FRAME_BYTES_MAX};

use crate::dir::{Durability, Options};
use crate::disk::{Access, Disk, DiskFile};
use crate::error::Error;
use crate::queue::{Completion, WriteQueue};
use crate::stream::Pieces;

/// What a device writes whole as a rule, in bytes.
pub const SECTOR_BYTES: usize = 512;

/// What an operation meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The process or the machine ends in the midst of it; [`SimDisk::restart`] says which it was.
    Cut,
    /// It fails with EIO; any part of it may be done.
    Fail,
    /// A frame's write ends with fewer bytes than asked, and is done that far.
    Short,
    /// A frame's write ends well, and its bytes are somewhere else.
    Misdirect,
    /// A frame's write never ends.
    Stall,
}

/// What a world comes back from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The process was killed: what it wrote is in the page cache, and its writes in flight are done or never begun.
    Process,
    /// The power was gone.
    Power,
}

/// The world as one life sees it: after [`restart`](Self::restart) nothing of an earlier life works any more.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    life: u64,
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimDisk(life {})", self.life)
    }
}

#[derive(Clone)]
struct State {
    rng: Rng,
    life: u64,
    history: Vec<&'static str>,
    planned: Option<(usize, Fault)>,
    /// What the running processes see.
    names: BTreeMap<PathBuf, Node>,
    /// What a power loss leaves.
    names_durable: BTreeMap<PathBuf, Node>,
    changes: Vec<Change>,
    files: Vec<File>,
    flights: Vec<Flight>,
    lock: Weak<()>,
    free_bytes: u64,
    retried: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Dir,
    File(usize),
}

/// A name's change that its directory does not know durably yet.
#[derive(Clone)]
struct Change {
    removed: Option<PathBuf>,
    added: Option<(PathBuf, Node)>,
}

/// How far a sector has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sector {
    /// The medium has it, or never will.
    Settled,
    AtDevice,
    InCache,
}

#[derive(Clone, Default)]
struct File {
    path: PathBuf,
    cache: Vec<u8>,
    device: Vec<u8>,
    medium: Vec<u8>,
    sectors: Vec<Sector>,
    /// The length that a power loss leaves at least.
    bytes_durable: usize,
    failed: bool,
}

/// A frame's write that nobody has heard the end of.
#[derive(Clone)]
struct Flight {
    slot: usize,
    file: usize,
    offset: u64,
    bytes: Vec<u8>,
    /// It is on the medium already.
    landed: bool,
    stalled: bool,
    misdirected: bool,
}

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone)]
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

impl SimDisk {
    /// An empty world of this seed: nothing but the root directory, and room for 1 GiB.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let root = BTreeMap::from([(PathBuf::from("/"), Node::Dir)]);
        let state = State {
            rng: Rng(seed),
            life: 0,
            history: Vec::new(),
            planned: None,
            names: root.clone(),
            names_durable: root,
            changes: Vec::new(),
            files: Vec::new(),
            flights: Vec::new(),
            lock: Weak::new(),
            free_bytes: 1 << 30,
            retried: Vec::new(),
        };
        Self { state: Arc::new(Mutex::new(state)), life: 0 }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A rule of the store that is broken panics in here; what is put away on the way out must not panic again.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was done so far, in all lives; operation 1 is the first.
    #[must_use]
    pub fn history(&self) -> Vec<&'static str> {
        self.state().history.clone()
    }

    /// The operation of this number, from 1, is to meet `fault`; one that it cannot befall goes well.
    pub fn plan(&self, operation: usize, fault: Fault) {
        self.state().planned = Some((operation, fault));
    }

    /// What is planned is planned no more.
    pub fn plan_nothing(&self) {
        self.state().planned = None;
    }

    /// Ends this life, if it has not ended yet, and begins the next one.
    #[must_use]
    pub fn restart(&self, end: End) -> Self {
        let mut state = self.state();
        state.end_flights(end);
        if end == End::Power {
            state.lose_power();
        }
        state.life += 1;
        state.lock = Weak::new();
        state.files.iter_mut().for_each(|file| file.failed = false);
        Self { state: Arc::clone(&self.state), life: state.life }
    }

    /// The same world once more, whose luck is another from here on. Nothing of this life works in it.
    #[must_use]
    pub fn fork(&self, seed: u64) -> Self {
        let state = self.state();
        let fork = State { rng: Rng(seed), life: state.life + 1, lock: Weak::new(), ..state.clone() };
        let life = fork.life;
        Self { state: Arc::new(Mutex::new(fork)), life }
    }

    /// Room for this many more bytes in files that are made from now on.
    pub fn set_free_bytes(&self, bytes: u64) {
        self.state().free_bytes = bytes;
    }

    /// Files that were written or synced again after that had failed.
    #[must_use]
    pub fn retried(&self) -> Vec<String> {
        self.state().retried.clone()
    }

    /// Every file below `dir` with what a plain read sees.
    #[must_use]
    pub fn image(&self, dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.state();
        let files = state.names.iter().filter(|(path, _)| path.starts_with(dir));
        let file = |(path, node): (&PathBuf, &Node)| match node {
            Node::Dir => None,
            Node::File(file) => Some((path.clone(), state.files[*file].cache.clone())),
        };
        files.filter_map(file).collect()
    }

    /// Changes the file at `path` behind everyone's back, durably.
    ///
    /// # Panics
    /// When there is no such file, or it is shorter.
    pub fn tamper(&self, path: &Path, offset: usize, change: impl Fn(&mut [u8])) {
        let mut state = self.state();
        let Some(Node::File(file)) = state.names.get(path).copied() else { panic!("no {}", path.display()) };
        let file = &mut state.files[file];
        for image in [&mut file.cache, &mut file.device, &mut file.medium] {
            change(&mut image[offset..]);
        }
    }
}

/// What is to become of an operation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Well,
    Meets(Fault),
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(libc::EIO)
}

impl State {
    /// Counts an operation of `life`.
    fn step(&mut self, life: u64, what: &'static str) -> io::Result<Fate> {
        if life != self.life {
            return Err(io::Error::other("the simulated machine is gone"));
        }
        self.history.push(what);
        match self.planned {
            Some((operation, fault)) if operation == self.history.len() => Ok(Fate::Meets(fault)),
            _ => Ok(Fate::Well),
        }
    }

    /// The end of an operation whose effect is not durable anyway: whoever dies of it has done it all the same.
    fn done(&mut self, fate: Fate) -> io::Result<()> {
        match fate {
            Fate::Meets(Fault::Cut) => {
                self.life += 1;
                Err(io::Error::other("the simulated machine died"))
            }
            Fate::Meets(Fault::Fail) => Err(eio()),
            _ => Ok(()),
        }
    }

    /// Whether an operation that may have failed has its effect all the same.
    fn happens(&mut self, fate: Fate) -> bool {
        fate != Fate::Meets(Fault::Fail) || self.rng.percent(50)
    }

    fn change(&mut self, removed: Option<PathBuf>, added: Option<(PathBuf, Node)>) {
        let change = Change { removed, added };
        change.apply(&mut self.names);
        self.changes.push(change);
    }

    fn node(&self, path: &Path) -> io::Result<Node> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn parent(&self, path: &Path) -> io::Result<()> {
        match path.parent().map(|parent| self.node(parent)) {
            Some(Ok(Node::Dir)) => Ok(()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// The first write or sync that fails is the file's last.
    fn touch(&mut self, file: usize, what: &str, fate: Fate) {
        let file = &mut self.files[file];
        if file.failed {
            self.retried.push(format!("{what} {}", file.path.display()));
        }
        file.failed |= fate == Fate::Meets(Fault::Fail);
    }

    /// A part of the writes in flight arrives.
    fn end_flights(&mut self, end: End) {
        let kept = self.kept_percent();
        for flight in std::mem::take(&mut self.flights) {
            if flight.landed {
                continue;
            }
            let whole = end == End::Process;
            if whole && !self.rng.percent(kept) {
                continue;
            }
            let file = &mut self.files[flight.file];
            if whole {
                // Written it is; of the flush that was to follow nobody knows.
                file.put(&flight.bytes, flight.offset as usize, Sector::AtDevice);
                continue;
            }
            for (nth, new) in flight.bytes.chunks(SECTOR_BYTES).enumerate() {
                let range = flight.offset as usize + nth * SECTOR_BYTES..;
                let medium = &mut file.medium[range][..SECTOR_BYTES];
                self.rng.settle(medium, new, kept);
            }
        }
    }

    /// None of it, all of it, or each piece by lot: nothing and everything are likely losses too.
    fn kept_percent(&mut self) -> usize {
        [0, 100, 50, 90, 10][self.rng.below(5)]
    }

    fn lose_power(&mut self) {
        let kept = self.kept_percent();
        for change in std::mem::take(&mut self.changes) {
            if self.rng.percent(kept) {
                change.apply(&mut self.names_durable);
            }
        }
        let kept_dirs = self.names_durable.clone();
        self.names_durable
            .retain(|path, _| path.ancestors().skip(1).all(|above| kept_dirs.get(above) == Some(&Node::Dir)));
        self.names = self.names_durable.clone();
        let kept = self.kept_percent();
        for file in &mut self.files {
            for nth in 0..file.sectors.len() {
                let range = sector(nth, file.cache.len());
                let new = match file.sectors[nth] {
                    Sector::Settled => continue,
                    Sector::AtDevice => &file.device[range.clone()],
                    Sector::InCache => &file.cache[range.clone()],
                };
                self.rng.settle(&mut file.medium[range], new, kept);
            }
            if !self.rng.percent(kept) {
                file.medium.truncate(file.bytes_durable);
            }
            let bytes = file.medium.len();
            *file = File {
                path: std::mem::take(&mut file.path),
                cache: file.medium.clone(),
                device: file.medium.clone(),
                medium: std::mem::take(&mut file.medium),
                sectors: vec![Sector::Settled; bytes.div_ceil(SECTOR_BYTES)],
                bytes_durable: bytes,
                failed: false,
            };
        }
    }
}

impl Rng {
    /// A sector on its way to the medium arrives, or not, or in part.
    fn settle(&mut self, medium: &mut [u8], new: &[u8], kept_percent: usize) {
        if !self.percent(kept_percent) {
            return;
        }
        let torn = self.percent(10).then(|| self.below(new.len()));
        match torn {
            None => medium.copy_from_slice(new),
            Some(at) if self.percent(50) => medium[..at].copy_from_slice(&new[..at]),
            Some(at) => medium[at..].copy_from_slice(&new[at..]),
        }
    }
}

fn sector(nth: usize, file_bytes: usize) -> std::ops::Range<usize> {
    nth * SECTOR_BYTES..((nth + 1) * SECTOR_BYTES).min(file_bytes)
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Node>) {
        if let Some(path) = &self.removed {
            names.remove(path);
        }
        if let Some((path, node)) = &self.added {
            names.insert(path.clone(), *node);
        }
    }

    fn is_in(&self, dir: &Path) -> bool {
        let path = self.removed.as_ref().or(self.added.as_ref().map(|(path, _)| path));
        path.and_then(|path| path.parent()) == Some(dir)
    }
}

impl File {
    fn grow(&mut self, bytes: usize) {
        if self.cache.len() < bytes {
            for image in [&mut self.cache, &mut self.device, &mut self.medium] {
                image.resize(bytes, 0);
            }
            self.sectors.resize(bytes.div_ceil(SECTOR_BYTES), Sector::Settled);
        }
    }

    /// Bytes reach the cache, or the device too.
    fn put(&mut self, bytes: &[u8], offset: usize, reached: Sector) {
        let end = offset + bytes.len();
        self.grow(end);
        self.cache[offset..end].copy_from_slice(bytes);
        if reached != Sector::InCache {
            self.device[offset..end].copy_from_slice(bytes);
        }
        self.sectors[offset / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES)].fill(reached);
    }

    /// What is in the cache alone goes to the device; `lost` says of a sector that it does not get there, which nobody
    /// remembers afterwards.
    fn write_back(&mut self, mut lost: impl FnMut() -> bool) {
        for nth in 0..self.sectors.len() {
            if self.sectors[nth] != Sector::InCache {
                continue;
            }
            if lost() {
                self.sectors[nth] = Sector::Settled;
            } else {
                let range = sector(nth, self.cache.len());
                self.device[range.clone()].copy_from_slice(&self.cache[range]);
                self.sectors[nth] = Sector::AtDevice;
            }
        }
    }

    /// What is at the device is on the medium.
    fn flush(&mut self) {
        for nth in 0..self.sectors.len() {
            if self.sectors[nth] == Sector::AtDevice {
                let range = sector(nth, self.cache.len());
                self.medium[range.clone()].copy_from_slice(&self.device[range]);
                self.sectors[nth] = Sector::Settled;
            }
        }
        self.bytes_durable = self.cache.len();
    }
}

/// `/a/b/..` is `/a`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                plain.pop();
            }
            component => plain.push(component),
        }
    }
    plain
}

impl Disk for SimDisk {
    type File = SimFile;
    type Lock = Arc<()>;
    type Queue = SimQueue;
    type Stream = Pieces<SimFile>;

    fn open(&self, path: &Path, access: Access, direct: bool) -> io::Result<SimFile> {
        let mut state = self.state();
        let fate = state.step(self.life, "open")?;
        let path = plain(path);
        if access == Access::Create && state.happens(fate) {
            state.parent(&path)?;
            // Emptying a file is modelled as another file in its place: either is there after a power loss.
            let made = File { path: path.clone(), ..File::default() };
            state.files.push(made);
            let node = Node::File(state.files.len() - 1);
            state.change(None, Some((path.clone(), node)));
        }
        state.done(fate)?;
        match state.node(&path)? {
            Node::File(file) => Ok(SimFile { disk: self.clone(), file, direct }),
            Node::Dir => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn stream(&self, file: SimFile) -> io::Result<Pieces<SimFile>> {
        Pieces::new(file)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let mut state = self.state();
        let fate = state.step(self.life, "exists")?;
        state.done(fate)?;
        Ok(state.names.contains_key(&plain(path)))
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        let fate = state.step(self.life, "make a directory")?;
        let dir = plain(dir);
        state.parent(&dir)?;
        if state.names.contains_key(&dir) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if state.happens(fate) {
            state.change(None, Some((dir, Node::Dir)));
        }
        state.done(fate)
    }

    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state();
        let fate = state.step(self.life, "list a directory")?;
        state.done(fate)?;
        let dir = plain(dir);
        state.node(&dir)?;
        let inside = state.names.keys().filter(|path| path.parent() == Some(&dir));
        let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
        Ok(inside.filter_map(name).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let fate = state.step(self.life, "rename")?;
        let (from, to) = (plain(from), plain(to));
        let node = state.node(&from)?;
        if state.happens(fate) {
            if let Node::File(file) = node {
                state.files[file].path.clone_from(&to);
            }
            state.change(Some(from), Some((to, node)));
        }
        state.done(fate)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        let fate = state.step(self.life, "remove")?;
        let path = plain(path);
        state.node(&path)?;
        if state.happens(fate) {
            state.change(Some(path), None);
        }
        state.done(fate)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        let fate = state.step(self.life, "sync a directory")?;
        state.done(fate)?;
        let dir = plain(dir);
        state.node(&dir)?;
        let changes = std::mem::take(&mut state.changes);
        let (durable, others): (Vec<_>, Vec<_>) = changes.into_iter().partition(|change| change.is_in(&dir));
        state.changes = others;
        durable.iter().for_each(|change| change.apply(&mut state.names_durable));
        Ok(())
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        let mut state = self.state();
        let fate = state.step(self.life, "ask for room")?;
        state.done(fate)?;
        Ok(state.free_bytes)
    }

    fn lock(&self, path: &Path) -> io::Result<Arc<()>> {
        let mut state = self.state();
        let fate = state.step(self.life, "lock")?;
        let path = plain(path);
        state.parent(&path)?;
        if !state.names.contains_key(&path) {
            state.files.push(File { path: path.clone(), ..File::default() });
            let node = Node::File(state.files.len() - 1);
            state.change(None, Some((path, node)));
        }
        state.done(fate)?;
        if state.lock.strong_count() > 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let lock = Arc::new(());
        state.lock = Arc::downgrade(&lock);
        Ok(lock)
    }

    fn queue(&self, segment: &SimFile, lock: Arc<()>, options: &Options) -> Result<SimQueue, Error> {
        let slots = (0..options.in_flight).map(|_| vec![0; FRAME_BYTES_MAX]).collect();
        let durable = options.durability == Durability::Disk;
        Ok(SimQueue { disk: self.clone(), segment: segment.file, slots, durable, _lock: lock })
    }

    fn check_durability(&self, _: &Path, _: Durability) -> Result<(), Error> {
        Ok(())
    }

    fn random(&self, bytes: &mut [u8]) -> io::Result<()> {
        let mut state = self.state();
        let fate = state.step(self.life, "draw")?;
        state.done(fate)?;
        bytes.fill_with(|| state.rng.next() as u8);
        Ok(())
    }
}

/// An open file of a [`SimDisk`].
pub struct SimFile {
    disk: SimDisk,
    file: usize,
    direct: bool,
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimFile({})", self.file)
    }
}

impl SimFile {
    /// What the kernel asks of a direct read or write (open(2), O_DIRECT).
    fn check(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let aligned = |number: usize| number.is_multiple_of(BLOCK_BYTES);
        let fits = [bytes.as_ptr() as usize, bytes.len(), offset as usize].into_iter().all(aligned);
        if self.direct && !fits { Err(io::ErrorKind::InvalidInput.into()) } else { Ok(()) }
    }
}

impl DiskFile for SimFile {
    type Map = Vec<u8>;

    fn bytes(&self) -> io::Result<u64> {
        let mut state = self.disk.state();
        let fate = state.step(self.disk.life, "ask for a length")?;
        state.done(fate)?;
        Ok(state.files[self.file].cache.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.check(buffer, offset)?;
        let mut state = self.disk.state();
        let fate = state.step(self.disk.life, "read")?;
        state.done(fate)?;
        let file = &mut state.files[self.file];
        if self.direct {
            // The kernel writes dirty pages back before it reads past them.
            file.write_back(|| false);
        }
        let image = if self.direct { &file.device } else { &file.cache };
        let from = (offset as usize).min(image.len());
        let bytes = buffer.len().min(image.len() - from);
        buffer[..bytes].copy_from_slice(&image[from..from + bytes]);
        Ok(bytes)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.check(bytes, offset)?;
        let mut state = self.disk.state();
        let fate = state.step(self.disk.life, "write")?;
        state.touch(self.file, "write", fate);
        let written = match fate {
            Fate::Meets(Fault::Fail) => state.rng.below(bytes.len() + 1) / SECTOR_BYTES * SECTOR_BYTES,
            _ => bytes.len(),
        };
        let reached = if self.direct { Sector::AtDevice } else { Sector::InCache };
        state.files[self.file].put(&bytes[..written], offset as usize, reached);
        state.done(fate)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let fate = state.step(self.disk.life, "sync")?;
        state.touch(self.file, "sync", fate);
        let State { files, rng, .. } = &mut *state;
        let file = &mut files[self.file];
        match fate {
            Fate::Meets(Fault::Cut) => {}
            Fate::Meets(Fault::Fail) => file.write_back(|| rng.percent(50)),
            _ => {
                file.write_back(|| false);
                file.flush();
            }
        }
        state.done(fate)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let fate = state.step(self.disk.life, "allocate")?;
        let taken = (bytes as usize).saturating_sub(state.files[self.file].cache.len()) as u64;
        let Some(free) = state.free_bytes.checked_sub(taken) else {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        };
        if state.happens(fate) {
            state.free_bytes = free;
            state.files[self.file].grow(bytes as usize);
        }
        state.done(fate)
    }

    fn forget_cached(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let fate = state.step(self.disk.life, "forget")?;
        state.done(fate)?;
        let file = &mut state.files[self.file];
        file.write_back(|| false);
        file.cache.clone_from(&file.device);
        Ok(())
    }

    unsafe fn map(&self) -> io::Result<Vec<u8>> {
        let mut state = self.disk.state();
        let fate = state.step(self.disk.life, "map")?;
        state.done(fate)?;
        Ok(state.files[self.file].cache.clone())
    }
}

/// What writes frames into a segment of a [`SimDisk`]: writes arrive and end in any order, some late.
pub struct SimQueue {
    disk: SimDisk,
    segment: usize,
    slots: Vec<Vec<u8>>,
    durable: bool,
    _lock: Arc<()>,
}

impl fmt::Debug for SimQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimQueue({} slots)", self.slots.len())
    }
}

impl SimQueue {
    /// Puts a write where it belongs, or where it does not.
    fn land(&self, state: &mut State, nth: usize, result: &io::Result<usize>) {
        let flight = &mut state.flights[nth];
        if std::mem::replace(&mut flight.landed, true) {
            return;
        }
        let (mut file, mut offset) = (flight.file, flight.offset as usize);
        let bytes = flight.bytes.clone();
        if flight.misdirected {
            let is_segment = |file: &usize| {
                let file = &state.files[*file];
                file.path.extension().is_some_and(|extension| extension == "segment")
                    && file.cache.len() >= bytes.len()
            };
            let segments: Vec<_> = (0..state.files.len()).filter(is_segment).collect();
            file = segments[state.rng.below(segments.len())];
            let blocks = (state.files[file].cache.len() - bytes.len()) / BLOCK_BYTES + 1;
            offset = state.rng.below(blocks) * BLOCK_BYTES;
        }
        let written = match result {
            Ok(written) => *written,
            Err(_) => state.rng.below(bytes.len() + 1) / SECTOR_BYTES * SECTOR_BYTES,
        };
        let reached = if self.durable { Sector::AtDevice } else { Sector::InCache };
        let file = &mut state.files[file];
        file.put(&bytes[..written], offset, reached);
        if self.durable && result.is_ok() {
            // A synced write makes durable what it wrote, not its neighbours.
            let range = offset..offset + written;
            file.medium[range.clone()].copy_from_slice(&file.device[range]);
            file.sectors[offset / SECTOR_BYTES..(offset + written).div_ceil(SECTOR_BYTES)]
                .fill(Sector::Settled);
        }
    }
}

impl WriteQueue for SimQueue {
    type File = SimFile;

    fn slots(&self) -> usize {
        self.slots.len()
    }

    fn slot(&mut self, slot: usize) -> &mut [u8] {
        let busy = self.disk.state().flights.iter().any(|flight| flight.slot == slot);
        assert!(!busy, "slot {slot} belongs to the write in flight");
        &mut self.slots[slot]
    }

    fn staged(&self, slot: usize) -> &[u8] {
        &self.slots[slot]
    }

    fn submit(&mut self, slot: usize, bytes: usize, offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let fate = state.step(self.disk.life, "begin a frame")?;
        assert!(
            offset as usize + bytes <= state.files[self.segment].cache.len(),
            "a frame is written beyond its segment's end"
        );
        state.touch(self.segment, "write", fate);
        if fate != Fate::Meets(Fault::Fail) {
            state.flights.push(Flight {
                slot,
                file: self.segment,
                offset,
                bytes: self.slots[slot][..bytes].to_vec(),
                landed: false,
                stalled: fate == Fate::Meets(Fault::Stall),
                misdirected: fate == Fate::Meets(Fault::Misdirect),
            });
        }
        state.done(fate)
    }

    fn reap(&mut self) -> io::Result<Option<Completion>> {
        let mut state = self.disk.state();
        let going = |state: &State| -> Vec<usize> {
            (0..state.flights.len()).filter(|nth| !state.flights[*nth].stalled).collect()
        };
        // Some arrive and are told of later, behind others that were begun later.
        for nth in going(&state) {
            if state.rng.percent(30) {
                let bytes = state.flights[nth].bytes.len();
                self.land(&mut state, nth, &Ok(bytes));
            }
        }
        let going = going(&state);
        if going.is_empty() || state.rng.percent(50) {
            return if self.disk.life == state.life {
                Ok(None)
            } else {
                state.step(self.disk.life, "end a frame").map(|_| None)
            };
        }
        let nth = going[state.rng.below(going.len())];
        let mut fate = state.step(self.disk.life, "end a frame")?;
        if fate == Fate::Meets(Fault::Cut) {
            state.done(fate)?;
        }
        if state.flights[nth].landed {
            // It is done; only the word of it was missing.
            fate = Fate::Well;
        }
        let asked = state.flights[nth].bytes.len();
        let result = match fate {
            Fate::Meets(Fault::Fail) => Err(eio()),
            Fate::Meets(Fault::Short) => Ok(asked - SECTOR_BYTES),
            _ => Ok(asked),
        };
        self.land(&mut state, nth, &result);
        let flight = state.flights.remove(nth);
        state.files[flight.file].failed |= !matches!(result, Ok(written) if written == asked);
        Ok(Some(Completion { slot: flight.slot, result }))
    }

    fn wait(&mut self) -> io::Result<()> {
        let mut state = self.disk.state();
        if self.disk.life != state.life {
            return state.step(self.disk.life, "wait").map(|_| ());
        }
        // Whoever waits for a write that never ends has to be told something.
        if state.flights.iter().all(|flight| flight.stalled) {
            state.flights.iter_mut().for_each(|flight| flight.stalled = false);
        }
        Ok(())
    }

    fn aim(&mut self, segment: &SimFile) -> io::Result<()> {
        let mut state = self.disk.state();
        let fate = state.step(self.disk.life, "aim")?;
        assert!(state.flights.is_empty(), "writes are in flight in one segment only");
        self.segment = segment.file;
        state.done(fate)
    }
}
