//! The disk: one file on a FUSE file system, which keeps everything it is told in order.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyWrite, Request, WriteFlags,
};

use crate::Failure;

/// What the disk was told.
pub enum Operation {
    /// Bytes were written.
    Write { offset: u64, data: Vec<u8> },
    /// Everything told before is to be on the disk.
    Flush,
}

/// An operation, and how far the writer had acknowledged before it.
pub struct Told {
    pub operation: Operation,
    pub acknowledged: u64,
}

/// The disk, before a run and during it.
pub struct Disk {
    /// What stood on it at first.
    pub empty: Vec<u8>,
    state: Arc<Mutex<State>>,
}

struct State {
    bytes: Vec<u8>,
    told: Vec<Told>,
    acknowledged: File,
}

impl State {
    fn acknowledged(&self) -> u64 {
        let mut seq = [0; 8];
        self.acknowledged.read_exact_at(&mut seq, 0).expect("the writer's mark has eight bytes");
        u64::from_le_bytes(seq)
    }

    fn tell(&mut self, operation: Operation) {
        let acknowledged = self.acknowledged();
        self.told.push(Told { operation, acknowledged });
    }
}

impl Disk {
    /// A disk that holds `empty`; the writer's acknowledged Seq is read from eight bytes of a file.
    pub fn new(empty: Vec<u8>, acknowledged: &Path) -> Result<Self, Failure> {
        let acknowledged = File::open(acknowledged)?;
        let state = State { bytes: empty.clone(), told: Vec::new(), acknowledged };
        Ok(Self { empty, state: Arc::new(Mutex::new(state)) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding it")
    }

    /// Serves it as the file `disk` in `dir`.
    pub fn serve(&self, dir: &Path) -> Result<Served, Failure> {
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("ironbell-powercut".into())];
        let session = fuser::spawn_mount(Server(Arc::clone(&self.state)), dir, &config)
            .map_err(|e| format!("cannot mount a FUSE file system (root and /dev/fuse are needed): {e}"))?;
        Ok(Served(session))
    }

    pub fn acknowledged(&self) -> u64 {
        self.state().acknowledged()
    }

    /// Passes everything told to `look`.
    pub fn told<T>(&self, look: impl FnOnce(&[Told]) -> T) -> T {
        look(&self.state().told)
    }

    pub fn flushes(&self) -> usize {
        self.told(|told| told.iter().filter(|told| matches!(told.operation, Operation::Flush)).count())
    }

    pub fn writes(&self) -> usize {
        self.told(<[Told]>::len) - self.flushes()
    }
}

/// The file system while it is mounted.
pub struct Served(BackgroundSession);

impl Served {
    pub fn end(self) -> Result<(), Failure> {
        Ok(self.0.umount_and_join()?)
    }
}

struct Server(Arc<Mutex<State>>);

/// The one file.
const FILE: INodeNo = INodeNo(2);
const NAME: &str = "disk";
/// Nothing changes its size or mode.
const TTL: Duration = Duration::from_secs(3600);

impl Server {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nobody panics while holding it")
    }

    fn attributes(&self, ino: INodeNo) -> Option<FileAttr> {
        let size = match ino {
            INodeNo::ROOT => 0,
            FILE => self.state().bytes.len() as u64,
            _ => return None,
        };
        let root = ino == INodeNo::ROOT;
        Some(FileAttr {
            ino,
            size,
            blocks: size / 512,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if root { FileType::Directory } else { FileType::RegularFile },
            perm: if root { 0o700 } else { 0o600 },
            nlink: if root { 2 } else { 1 },
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

impl Filesystem for Server {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.attributes(FILE).filter(|_| parent == INodeNo::ROOT && name == NAME) {
            Some(attributes) => reply.entry(&TTL, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(ino) {
            Some(attributes) => reply.attr(&TTL, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    /// Direct, so that no page cache stands between the loop device and us.
    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let state = self.state();
        let from = (offset as usize).min(state.bytes.len());
        let to = (from + size as usize).min(state.bytes.len());
        reply.data(&state.bytes[from..to]);
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut state = self.state();
        let from = offset as usize;
        if from + data.len() > state.bytes.len() {
            return reply.error(Errno::ENOSPC);
        }
        state.bytes[from..from + data.len()].copy_from_slice(data);
        state.tell(Operation::Write { offset, data: data.to_vec() });
        reply.written(data.len() as u32);
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // A close is not a flush of the disk.
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.state().tell(Operation::Flush);
        reply.ok();
    }
}
