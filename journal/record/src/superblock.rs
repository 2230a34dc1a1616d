//! The superblock: whose journal it is, and what a node must remember of itself beside the frames.
//!
//! ```text
//!    0       8       12     16             24        40     48     56             64      72      80       112
//!    ├───────┼───────┼──────┼──────────────┼─────────┼──────┼──────┼──────────────┼───────┼───────┼────────┤
//!    │ magic │format │ copy │ update       │ cluster │ key  │ node │promised epoch│ clean │frames │ chain  │
//!    ├───────┼───────┼──────┴──────────────┴─────────┴──────┴──────┴──────────────┴───────┴───┬───┴───┬────┤
//!    │length │ zero  │ wrapped data key, then zeros                                           │ zero  │void│
//!    ├───────┴───────┴────────────────────────────────────────────────────────────┬───────────┼───────┼────┘
//!    │ 16 × (Seq, Seq of its record, reason of 48 bytes), then zeros                                  │
//!    ├──────────────┬─────────────┬─────────────┬─────────────┬───────────────────┬───────────┬───────┤
//!    │durable frames│ cut: segment│ offset      │ last Seq    │ frames            │ zero      │ CRC   │
//!    └──────────────┴─────────────┴─────────────┴─────────────┴───────────────────┴───────────┴───────┘
//! ```
//!
//! Length of the key: at 112; key: 120; number of voids: 636; voids: 640; durable frames: 1,664; CRC32C of all before it:
//! 1,712.
//!
//! The file `superblock` holds four copies, each at the start of a 4 KiB block of its own. `copy` is
//! the block's number, so that a misdirected write is none; `update` counts from 1, and two copies that
//! say the same are needed to believe it.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use ironbell_types::{Seq, VoidReason};

use crate::chain::ChainHash;
use crate::frame::{BLOCK_BYTES, FORMAT};
use crate::segment::{Identity, LayoutError, crc};

/// Bytes of one encoded copy.
pub const SUPERBLOCK_BYTES: usize = size_of::<Layout>();

/// Copies in the file.
pub const COPIES: usize = 4;

/// Copies that must say the same.
pub const QUORUM: usize = 2;

/// Bytes of the file.
pub const SUPERBLOCK_FILE_BYTES: usize = COPIES * BLOCK_BYTES;

const MAGIC: [u8; 8] = *b"IBSUPER\n";

/// What a node must remember of itself beside the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// How often it was written, from 1.
    pub update: u64,
    /// Whose journal it is.
    pub identity: Identity,
    /// The node's own random number: copies of a journal differ in it.
    pub node: u64,
    /// The highest epoch that this node has taken or has promised not to go below.
    pub promised_epoch: u64,
    /// Where the journal ended when it was closed in order; `None` from the next opening on.
    pub end: Option<End>,
    /// The data key.
    pub wrapped_key: WrappedKey,
    /// Commands that have no effect.
    pub voids: Voids,
    /// Frames that were durable here when this was written: fewer are damage.
    pub durable_frames: u64,
    /// The journal is being cut back: what lies behind is no longer part of it, and may be half gone.
    pub cut: Option<Cut>,
}

/// Where a journal is being cut back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment that the next frame will be in.
    pub segment: u64,
    /// Where in it.
    pub offset: u64,
    /// The last Seq that stays.
    pub seq: Seq,
    /// Frames that stay.
    pub frames: u64,
}

/// An operator's decision that a command has no effect, on every replay: for the day on which one crashes the state
/// machine. It stands here because a replay must know it before it comes to the command, and in the journal, behind
/// the command, so that the chain vouches for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Void {
    /// Which command.
    pub seq: Seq,
    /// Where the journal records the decision; 0 until it does.
    pub recorded: Seq,
    /// Why.
    pub reason: VoidReason,
}

/// The most that there can be.
pub const VOIDS_MAX: usize = 16;

/// Commands that have no effect, by Seq.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Voids {
    count: u32,
    entries: [Void; VOIDS_MAX],
}

impl Voids {
    const UNUSED: Void = Void { seq: Seq(0), recorded: Seq(0), reason: VoidReason([0; 48]) };

    /// None.
    pub const NONE: Self = Self { count: 0, entries: [Self::UNUSED; VOIDS_MAX] };

    /// Each, by Seq.
    pub fn iter(&self) -> core::slice::Iter<'_, Void> {
        self.entries[..self.count as usize].iter()
    }

    /// The decision on the command at `seq`, if there is one.
    #[must_use]
    pub fn get(&self, seq: Seq) -> Option<&Void> {
        self.iter().find(|void| void.seq == seq)
    }

    /// These and one more, or that one in place of the one on the same command; `None` when there is no room.
    #[must_use]
    pub fn with(mut self, void: Void) -> Option<Self> {
        assert!(void.seq > Seq(0), "a command has a Seq");
        let used = self.count as usize;
        if let Some(known) = self.entries[..used].iter_mut().find(|known| known.seq == void.seq) {
            *known = void;
            return Some(self);
        }
        *self.entries.get_mut(used)? = void;
        self.count += 1;
        self.entries[..=used].sort_unstable_by_key(|void| void.seq);
        Some(self)
    }

    /// Those of them that `stay` says.
    #[must_use]
    pub fn filtered(&self, stay: impl Fn(&Void) -> bool) -> Self {
        let staying = self.iter().filter(|void| stay(void));
        staying.fold(Self::NONE, |voids, void| voids.with(*void).expect("there was room for all"))
    }

    fn layout(&self) -> [VoidLayout; VOIDS_MAX] {
        self.entries.map(|void| VoidLayout {
            seq: void.seq.0.into(),
            recorded: void.recorded.0.into(),
            reason: void.reason.0,
        })
    }

    /// `None` when it is not what [`layout`](Self::layout) gives.
    fn read(count: u32, layout: &[VoidLayout; VOIDS_MAX]) -> Option<Self> {
        let entries = layout.each_ref().map(|void| Void {
            seq: Seq(void.seq.get()),
            recorded: Seq(void.recorded.get()),
            reason: VoidReason(void.reason),
        });
        let (used, unused) = entries.split_at_checked(count as usize)?;
        let sorted = used.windows(2).all(|pair| pair[0].seq < pair[1].seq);
        let known = |void: &Void| void.seq > Seq(0) && (void.recorded == Seq(0) || void.recorded > void.seq);
        let sound = sorted && used.iter().all(known) && unused.iter().all(|void| *void == Self::UNUSED);
        sound.then_some(Self { count, entries })
    }
}

impl<'a> IntoIterator for &'a Voids {
    type Item = &'a Void;
    type IntoIter = core::slice::Iter<'a, Void>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl core::fmt::Debug for Voids {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

/// The key that records are enciphered with, itself enciphered by a key that is kept elsewhere. Empty when the records are
/// plain.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WrappedKey {
    length: u32,
    bytes: [u8; WRAPPED_KEY_BYTES_MAX],
}

/// The longest wrapped key, in bytes: RSA of 4,096 bits.
pub const WRAPPED_KEY_BYTES_MAX: usize = 512;

impl WrappedKey {
    /// No key: the records are plain.
    pub const NONE: Self = Self { length: 0, bytes: [0; WRAPPED_KEY_BYTES_MAX] };

    /// What a key was wrapped to; `None` when it is longer than 512 bytes.
    #[must_use]
    pub fn new(wrapped: &[u8]) -> Option<Self> {
        let mut bytes = [0; WRAPPED_KEY_BYTES_MAX];
        bytes.get_mut(..wrapped.len())?.copy_from_slice(wrapped);
        Some(Self { length: wrapped.len() as u32, bytes })
    }

    /// The bytes to unwrap; empty when the records are plain.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length as usize]
    }
}

impl core::fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "WrappedKey({} bytes)", self.length)
    }
}

/// Where a journal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Frames in it.
    pub frames: u64,
    /// Link of the last one.
    pub chain: ChainHash,
}

/// Why a file of four copies says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoQuorum {
    /// Fewer than two copies are sound and say the same.
    Copies {
        /// How many are sound.
        sound: usize,
        /// What is wrong with the first that is not.
        fault: Option<LayoutError>,
    },
    /// Two pairs of copies were written as the same update and differ.
    Split(u64),
}

impl core::fmt::Display for NoQuorum {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Copies { sound, fault: Some(fault) } => {
                write!(f, "{sound} of {COPIES} copies are sound and no two of them agree; another: {fault}")
            }
            Self::Copies { sound, fault: None } => {
                write!(f, "{sound} of {COPIES} copies are sound and no two of them agree")
            }
            Self::Split(update) => write!(f, "its copies disagree on update {update}"),
        }
    }
}

impl core::error::Error for NoQuorum {}

impl Superblock {
    /// Copy number `copy`, from 0.
    #[must_use]
    pub fn encode(&self, copy: usize) -> [u8; SUPERBLOCK_BYTES] {
        assert!(copy < COPIES);
        assert!(self.update > 0);
        let end = self.end.unwrap_or(End { frames: 0, chain: ChainHash([0; 32]) });
        let mut layout = Layout {
            magic: MAGIC,
            format: FORMAT.into(),
            copy: (copy as u32).into(),
            update: self.update.into(),
            cluster: self.identity.cluster,
            key: self.identity.key.into(),
            node: self.node.into(),
            promised_epoch: self.promised_epoch.into(),
            clean: u64::from(self.end.is_some()).into(),
            frames: end.frames.into(),
            chain: end.chain.0,
            wrapped_length: self.wrapped_key.length.into(),
            zero: U32::ZERO,
            wrapped: self.wrapped_key.bytes,
            zero_key: U32::ZERO,
            voids: self.voids.count.into(),
            void: self.voids.layout(),
            durable_frames: self.durable_frames.into(),
            cut_segment: self.cut.map_or(0, |cut| cut.segment).into(),
            cut_offset: self.cut.map_or(0, |cut| cut.offset).into(),
            cut_seq: self.cut.map_or(0, |cut| cut.seq.0).into(),
            cut_frames: self.cut.map_or(0, |cut| cut.frames).into(),
            zero_end: [0; 8],
            crc: U32::ZERO,
        };
        layout.crc = crc(layout.as_bytes()).into();
        zerocopy::transmute!(layout)
    }

    /// Reads copy number `copy` from the start of `bytes`.
    ///
    /// # Errors
    /// Whatever [`encode`](Self::encode) would not have written.
    pub fn decode(bytes: &[u8], copy: usize) -> Result<Self, LayoutError> {
        let (layout, _) = Layout::ref_from_prefix(bytes).map_err(|_| LayoutError::Truncated)?;
        if layout.magic != MAGIC {
            return Err(LayoutError::Magic);
        }
        if layout.crc.get() != crc(layout.as_bytes()) {
            return Err(LayoutError::Crc);
        }
        if layout.format.get() != FORMAT {
            return Err(LayoutError::Format(layout.format.get()));
        }
        if layout.copy.get() as usize != copy {
            return Err(LayoutError::Field("copy number"));
        }
        if layout.update == U64::ZERO {
            return Err(LayoutError::Field("update"));
        }
        if layout.zero != U32::ZERO || layout.zero_key != U32::ZERO || layout.zero_end != [0; 8] {
            return Err(LayoutError::Field("unused bytes"));
        }
        let length = layout.wrapped_length.get() as usize;
        let wrapped = layout.wrapped.get(..length).and_then(WrappedKey::new);
        let wrapped_key =
            wrapped.filter(|key| key.bytes == layout.wrapped).ok_or(LayoutError::Field("wrapped key"))?;
        let voids = Voids::read(layout.voids.get(), &layout.void).ok_or(LayoutError::Field("voids"))?;
        let (frames, chain) = (layout.frames.get(), ChainHash(layout.chain));
        let end = match layout.clean.get() {
            0 if frames == 0 && chain == ChainHash([0; 32]) => None,
            1 => Some(End { frames, chain }),
            _ => return Err(LayoutError::Field("clean flag")),
        };
        let (segment, offset) = (layout.cut_segment.get(), layout.cut_offset.get());
        let (seq, frames) = (Seq(layout.cut_seq.get()), layout.cut_frames.get());
        let cut = match segment {
            0 if offset == 0 && seq == Seq(0) && frames == 0 => None,
            1.. if offset > 0 && offset.is_multiple_of(BLOCK_BYTES as u64) => {
                Some(Cut { segment, offset, seq, frames })
            }
            _ => return Err(LayoutError::Field("cut")),
        };
        Ok(Self {
            update: layout.update.get(),
            identity: Identity { cluster: layout.cluster, key: layout.key.get() },
            node: layout.node.get(),
            promised_epoch: layout.promised_epoch.get(),
            end,
            wrapped_key,
            voids,
            durable_frames: layout.durable_frames.get(),
            cut,
        })
    }

    /// What a file of four copies says: of what two or more copies agree on, the latest.
    ///
    /// # Errors
    /// [`NoQuorum`].
    pub fn read(file: &[u8]) -> Result<Self, NoQuorum> {
        let block = |copy: usize| file.get(copy * BLOCK_BYTES..).unwrap_or_default();
        let copies: [_; COPIES] = core::array::from_fn(|copy| Self::decode(block(copy), copy));
        let sound = || copies.iter().filter_map(|copy| copy.as_ref().ok());
        let agreed = || sound().filter(|one| sound().filter(|other| other == one).count() >= QUORUM);
        let Some(latest) = agreed().max_by_key(|copy| copy.update) else {
            let fault = copies.iter().find_map(|copy| copy.as_ref().err()).copied();
            return Err(NoQuorum::Copies { sound: sound().count(), fault });
        };
        if agreed().any(|other| other.update == latest.update && other != latest) {
            return Err(NoQuorum::Split(latest.update));
        }
        Ok(*latest)
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Layout {
    magic: [u8; 8],
    format: U32,
    copy: U32,
    update: U64,
    cluster: [u8; 16],
    key: U64,
    node: U64,
    promised_epoch: U64,
    clean: U64,
    frames: U64,
    chain: [u8; 32],
    wrapped_length: U32,
    zero: U32,
    wrapped: [u8; WRAPPED_KEY_BYTES_MAX],
    zero_key: U32,
    voids: U32,
    void: [VoidLayout; VOIDS_MAX],
    durable_frames: U64,
    cut_segment: U64,
    cut_offset: U64,
    cut_seq: U64,
    cut_frames: U64,
    zero_end: [u8; 8],
    crc: U32,
}
const _: () = assert!(size_of::<Layout>() == 1716);

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct VoidLayout {
    seq: U64,
    recorded: U64,
    reason: [u8; 48],
}
const _: () = assert!(size_of::<VoidLayout>() == 64);
