//! A journal that begins behind a snapshot: what a standby starts from that the other node's journal does not reach back to.
//!
//! Its first segment holds one frame, the one that the snapshot stands behind, and reading goes on behind that. What was
//! before is noted as [archived](crate::archived) at a place that says it never was here.

use std::path::Path;

use ironbell_record::frame::{finish, lay_out_copy};
use ironbell_record::segment::FRAMES_OFFSET;
use ironbell_record::snapshot::Position;
use ironbell_record::superblock::{Void, Voids};
use ironbell_record::{Chain, Cipher, CopyError, FRAME_BYTES_MAX, FrameCopy, Place, Superblock};
use ironbell_types::Seq;

use crate::archived::{self, Archived, NEVER_HERE};
use crate::dir::{self, Options};
use crate::disk::{Disk, DiskFile, Os, aligned};
use crate::error::Error;
use crate::segment::Workshop;
use crate::superblock::{self, Keeper};

/// Where such a journal begins.
#[derive(Clone, Copy, Debug)]
pub struct Behind<'a> {
    /// Where the history stands there.
    pub chain: Chain,
    /// The last frame before it.
    pub copy: FrameCopy<'a>,
    /// The segment that this frame is put in, at least 2.
    pub segment: u64,
    /// What this node has promised. The journal then promises that, or the frame's epoch if it is higher.
    pub promised: u64,
    /// What the other node holds void.
    pub voids: Voids,
}

/// Makes of the empty journal in `dir` one that begins there. Durable on return, and whole or useless before: the caller
/// gives the directory its name afterwards. Returns where the frame lies: a snapshot that is to be used with this journal
/// must say so.
///
/// # Errors
/// [`Error::Copy`] when the frame is not what its link says, [`Error::NotThere`] when another history stands behind it than
/// `from` says; those of [`open`](crate::open).
///
/// # Panics
/// When the journal has segments already, or the frame's is to be below 2.
pub fn begin_behind(dir: &Path, options: &Options, from: &Behind<'_>) -> Result<Position, Error> {
    begin_behind_on(&Os, dir, options, from)
}

/// [`begin_behind`], in another world.
///
/// # Errors
/// As there.
///
/// # Panics
/// As there.
pub fn begin_behind_on<D: Disk>(
    disk: &D,
    dir: &Path,
    options: &Options,
    from: &Behind<'_>,
) -> Result<Position, Error> {
    let Behind { chain, copy, segment, promised, voids } = *from;
    assert!(segment > 1, "there is something before segment {segment}");
    options.check()?;
    let direct = options.direct();
    let (found, _) = superblock::read(disk, dir, direct)?;
    dir::check_key(dir, &found.wrapped_key, options.data_key.is_some())?;
    let lock = dir::lock(disk, dir)?;
    assert!(dir::last_index(disk, dir)? == 0, "the journal has segments");

    let fault = |fault| Error::Copy { behind: chain.point(), fault };
    let shared = copy.header().map_err(|error| fault(CopyError::Frame(error)))?;
    // A frame of another venue's is found out when it is laid out behind this.
    let mut before = Chain { cluster: found.identity.cluster, ..Chain::before(&shared, chain.frames - 1) };
    let mut workshop = Workshop::new(disk, dir, found.identity.cluster, options, segment, lock)?;
    let made = workshop.make()?;
    let place = Place { nonce: made.header.nonce, offset: FRAMES_OFFSET };
    let mut bytes = aligned(FRAME_BYTES_MAX).map_err(Error::io("get memory to write", &made.path))?;
    let mut header = lay_out_copy(&before, place, 0, &copy, &mut bytes).map_err(fault)?;
    finish(&mut header, options.data_key.as_deref().map(|key| key as &dyn Cipher), &mut bytes);
    let last_seq = before.last_seq;
    before.advance(&header);
    if before != chain {
        let what = format!(
            "the frame that came leads to {}, the snapshot stands at {}",
            before.point(),
            chain.point()
        );
        let (dir, seq) = (dir.to_owned(), chain.last_seq);
        return Err(Error::NotThere { dir, segment, offset: FRAMES_OFFSET, seq, what });
    }
    let written = made.file.write_all_at(&bytes[..header.frame_bytes()], FRAMES_OFFSET);
    written.and_then(|()| made.file.sync()).map_err(Error::io("write", &made.path))?;
    let stretch = Archived { first: 1, last: segment - 1, last_seq, place: NEVER_HERE.to_owned() };
    archived::note_archived_on(disk, dir, &stretch)?;
    let mut keeper = Keeper::open(disk, dir, direct)?;
    keeper.update(|current| Superblock {
        promised_epoch: promised.max(chain.epoch).max(current.promised_epoch),
        durable_frames: chain.frames,
        // What is recorded later is not recorded here yet.
        voids: voids.iter().fold(Voids::NONE, |all, void| {
            let recorded = if void.recorded <= chain.last_seq { void.recorded } else { Seq(0) };
            all.with(Void { recorded, ..*void }).expect("there was room for all")
        }),
        ..current
    })?;
    Ok(Position { chain, segment, offset: FRAMES_OFFSET })
}
