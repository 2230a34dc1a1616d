//! What a standby is sent that the primary's journal does not reach back to: a snapshot, the frame that it stands behind,
//! and what members and the market were told up to there.
//!
//! ```text
//! DATA/incoming/sessions feed journal     being made; useless until
//! DATA/incoming/whole                     this file is there. From then on, also after a crash, each of the three takes
//! DATA/superseded/…                       the place of its namesake, which goes here and, but for a journal with frames, away
//! ```
//!
//! A journal made so begins behind the snapshot: nothing before it is on this node.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ironbell_record::{FrameCopy, Identity, Point};
use ironbell_replica::message::{Log, Stream, Told};
use ironbell_sessionlog::{Maker, SessionLog, StreamId};
use ironbell_store::snapshot::{self, Of};
use ironbell_store::{
    BLOCK_BYTES, Behind, DataKey, Disk as _, Os, Superblock, Voids, begin_behind, write_new,
};

use crate::config::Config;
use crate::failure::Failure;
use crate::snapshot::{Base, FEED_LOG, Logs, SESSION_LOG};

/// Where it is made, below the data directory.
const INCOMING: &str = "incoming";
/// Where what it takes the place of goes.
const SUPERSEDED: &str = "superseded";
/// The file that says that all of it is there.
const WHOLE: &str = "whole";
/// What it consists of.
const ROOMS: [&str; 3] = ["sessions", "feed", "journal"];

/// A snapshot that is being taken.
pub struct Incoming {
    /// The node's, with the folder that it is made in for a data directory.
    staged: Config,
    data_key: Option<Arc<DataKey>>,
    identity: Identity,
    /// The node's own: its promise and its key stay.
    superblock: Superblock,
    /// What the primary holds void.
    voids: Voids,
    snapshot: Vec<u8>,
    frame: Vec<u8>,
    logs: [(SessionLog, Maker); 2],
    stream: Option<(Log, StreamId)>,
}

impl Incoming {
    /// A snapshot of `bytes` bytes is to come. What was left of an earlier one goes away.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn begin(config: &Config, identity: Identity, voids: Voids, bytes: u64) -> Result<Self, Failure> {
        let dir = config.data_dir.join(INCOMING);
        remove_all(&dir)?;
        let made = fs::create_dir(&dir);
        made.map_err(|e| Failure::file(&dir, e, "let this user write there"))?;
        let data_key = config.data_key()?;
        let superblock = ironbell_store::superblock(&config.journal_dir())?;
        let staged = Config { data_dir: dir, ..config.clone() };
        let logs = Logs::of(&staged, data_key.as_deref());
        let logs = [SessionLog::open(&logs.sessions)?, SessionLog::open(&logs.feed)?];
        let mut snapshot = Vec::new();
        let fits = usize::try_from(bytes).is_ok_and(|bytes| snapshot.try_reserve_exact(bytes).is_ok());
        if !fits {
            return Err(Failure::refused(format_args!("there is no memory for a snapshot of {bytes} bytes")));
        }
        Ok(Self {
            staged,
            data_key,
            identity,
            superblock,
            voids,
            snapshot,
            frame: Vec::new(),
            logs,
            stream: None,
        })
    }

    /// Its next bytes.
    pub fn part(&mut self, bytes: &[u8]) {
        self.snapshot.extend_from_slice(bytes);
    }

    /// The frame that it stands behind.
    pub fn frame(&mut self, copy: &FrameCopy<'_>) {
        self.frame = vec![0; copy.encoded_bytes()];
        copy.encode_into(&mut self.frame);
    }

    /// A stream begins.
    ///
    /// # Errors
    /// When its log has no room for it.
    pub fn stream(&mut self, stream: &Stream) -> Result<(), Failure> {
        let id = StreamId(stream.stream);
        let (log, _) = &mut self.logs[stream.log as usize];
        log.open_stream(id)?;
        for _ in 0..stream.generation {
            log.restart(id)?;
        }
        self.stream = Some((stream.log, id));
        Ok(())
    }

    /// What it was told next.
    ///
    /// # Errors
    /// When the disk refuses.
    ///
    /// # Panics
    /// When no stream has begun.
    pub fn told(&mut self, told: Told<'_>) -> Result<(), Failure> {
        let (log, id) = self.stream.expect("a stream has begun");
        for message in told.messages() {
            self.logs[log as usize].0.append(id, message)?;
        }
        Ok(())
    }

    /// All of it is there, up to `last`: makes of it a journal that begins there, with its snapshot, and loads that once.
    /// Then [`install`] may put it in its place.
    ///
    /// # Errors
    /// When something of it is not what it should be, or the disk refuses.
    pub fn finish(self, last: &Point) -> Result<(), Failure> {
        let Self { staged, data_key, identity, superblock, voids, snapshot, frame, logs, .. } = self;
        let wrong = |what: String| {
            Failure::check(format_args!("the snapshot that the primary sent cannot be used: {what}"))
        };
        let snapshot = snapshot::decode(snapshot, None).map_err(wrong)?;
        let header = snapshot.header;
        if header.position.chain.point() != *last {
            let stands = header.position.chain.point();
            return Err(wrong(format!("it stands at {stands}, and was to stand at {last}")));
        }
        let dir = staged.journal_dir();
        let options = staged.store_options(data_key.clone());
        ironbell_store::format(&dir, identity, &options, superblock.wrapped_key)?;
        let (copy, _) = FrameCopy::decode(&frame).map_err(|e| wrong(e.to_string()))?;
        let segment = header.position.segment.max(2);
        let promised = superblock.promised_epoch;
        let behind = Behind { chain: header.position.chain, copy, segment, promised, voids };
        let position = begin_behind(&dir, &options, &behind)?;

        let configs = Logs::of(&staged, data_key.as_deref());
        let [(sessions, session_maker), (feed, feed_maker)] = logs;
        session_maker.sync()?;
        feed_maker.sync()?;
        let places = [
            (SESSION_LOG, sessions.positions().save(&configs.sessions)),
            (FEED_LOG, feed.positions().save(&configs.feed)),
        ];
        let part = |(number, sent)| {
            let own = places.iter().find(|(of, _)| *of == number);
            (number, own.map_or(sent, |(_, place)| place.as_slice()))
        };
        let parts: Vec<(u64, &[u8])> = snapshot.parts().map(part).collect();
        let of = Of { position, state_hash: header.state_hash, output_hash: header.output_hash };
        let path = snapshot::write(&dir, &of, &parts, data_key.as_deref())?;
        let base = Base::load_verified(&path, data_key.as_deref(), identity.key).map_err(wrong)?;
        base.encoder().and_then(|_| base.positions(&configs)).map_err(wrong)?;
        for room in ROOMS {
            sync_dir(&staged.data_dir.join(room))?;
        }
        write_new(&Os, &staged.data_dir.join(WHOLE), b"")?;
        Ok(())
    }
}

/// Puts what was taken whole in its place, if there is such a thing; says whether there was. Nobody uses the data directory.
///
/// # Errors
/// When the disk refuses: the next call goes on.
pub fn install(config: &Config) -> Result<bool, Failure> {
    let data_dir = &config.data_dir;
    let (incoming, superseded) = (data_dir.join(INCOMING), data_dir.join(SUPERSEDED));
    if !incoming.join(WHOLE).exists() {
        return Ok(false);
    }
    let made = fs::create_dir_all(&superseded);
    made.map_err(|e| Failure::file(&superseded, e, "let this user write there"))?;
    for room in ROOMS {
        let (new, old) = (incoming.join(room), data_dir.join(room));
        // What is not there any more was put in its place before a crash.
        if new.exists() {
            if old.exists() {
                move_to(&old, &unused(&superseded, room))?;
                sync_dir(&superseded)?;
                sync_dir(data_dir)?;
            }
            move_to(&new, &old)?;
            sync_dir(data_dir)?;
        }
    }
    fs::remove_file(incoming.join(WHOLE))
        .map_err(|e| Failure::file(&incoming, e, "let this user write there"))?;
    sync_dir(&incoming)?;
    remove_all(&incoming)?;
    // What says the same as the new ones, or nothing at all, is no loss; a journal is an operator's to remove.
    for entry in fs::read_dir(&superseded).into_iter().flatten().flatten() {
        let path = entry.path();
        if ironbell_store::superblock(&path).is_err() || !has_frames(&path) {
            remove_all(&path)?;
            continue;
        }
        tracing::warn!(
            "a snapshot of the other node took the place of a journal that was too old: {}; remove it when it is not needed",
            path.display()
        );
    }
    // It stays when something is kept in it.
    let _ = fs::remove_dir(&superseded);
    Ok(true)
}

/// Whether a journal has any frame that is whole.
fn has_frames(dir: &Path) -> bool {
    let Ok(segments) = ironbell_store::segments(dir) else { return true };
    segments.first().is_some_and(|first| {
        let mut block = [0; BLOCK_BYTES];
        let file = fs::File::open(ironbell_store::segment_path(dir, *first));
        let read = file.and_then(|file| file.read_exact_at(&mut block, BLOCK_BYTES as u64));
        read.is_err() || block.iter().any(|byte| *byte != 0)
    })
}

/// A name below `dir` that nothing has.
fn unused(dir: &Path, name: &str) -> PathBuf {
    let named = |nth: u32| dir.join(if nth == 0 { name.to_owned() } else { format!("{name}.{nth}") });
    (0..).map(named).find(|path| !path.exists()).expect("there is a number that nothing has")
}

fn move_to(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::rename(from, to).map_err(|e| Failure::file(from, e, "let this user write there"))
}

fn remove_all(path: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Failure::file(path, error, "let this user write there"))
        }
        _ => Ok(()),
    }
}

fn sync_dir(dir: &Path) -> Result<(), Failure> {
    Os.sync_dir(dir).map_err(|e| Failure::file(dir, e, "see whether the disk is well"))
}
