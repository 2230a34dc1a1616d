//! Who the journal belongs to, and the fixed block before a segment's frames.
//!
//! ```text
//!            0       8       12      16              32      40      48            64      76
//!            ├───────┼───────┼───────┼───────────────┼───────┼───────┼─────────────┼───────┼───────┤
//! segment    │ magic │format │ zero  │ cluster       │ index │length │ nonce       │ zero  │ CRC   │ 80 bytes
//!            └───────┴───────┴───────┴───────────────┴───────┴───────┴─────────────┴───────┴───────┘
//! ```
//!
//! A segment's header stands at the start of its first 4 KiB block; frames begin at the second. It
//! exists before the segment's first frame does, so it knows nothing of frames.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::frame::{BLOCK_BYTES, FORMAT, FRAME_BYTES_MAX};

/// Bytes of an encoded [`SegmentHeader`].
pub const SEGMENT_HEADER_BYTES: usize = size_of::<SegmentLayout>();

/// Where a segment's first frame lies, in bytes.
pub const FRAMES_OFFSET: u64 = BLOCK_BYTES as u64;

/// The smallest segment, in bytes: its header block and one frame of the longest.
pub const SEGMENT_BYTES_MIN: u64 = FRAMES_OFFSET + FRAME_BYTES_MAX as u64;

const SEGMENT_MAGIC: [u8; 8] = *b"IBSEGMT\n";

/// Whose journal it is. Given once, when it is formatted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The venue's random number.
    pub cluster: [u8; 16],
    /// The venue's key of the output hash.
    pub key: u64,
}

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Whose it is.
    pub cluster: [u8; 16],
    /// Its place among the segments, from 1.
    pub index: u64,
    /// Its length, header block included; a multiple of 4,096.
    pub bytes: u64,
    /// Its random number, which every frame in it repeats.
    pub nonce: [u8; 16],
}

/// A block that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutError {
    /// Too few bytes.
    Truncated,
    /// It begins as something else.
    Magic,
    /// The checksum is not that of its bytes.
    Crc,
    /// A version of the layout that this program does not know.
    Format(u32),
    /// A field out of its range.
    Field(&'static str),
}

impl core::fmt::Display for LayoutError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Truncated => f.write_str("it ends too early"),
            Self::Magic => f.write_str("it begins as something else"),
            Self::Crc => f.write_str("its CRC32C does not match"),
            Self::Format(format) => {
                write!(f, "format {format} is not known to this program (it knows {FORMAT})")
            }
            Self::Field(field) => write!(f, "its {field} cannot be"),
        }
    }
}

impl core::error::Error for LayoutError {}

impl Identity {
    /// What the history of a venue begins with: 24 bytes, no two venues' alike.
    #[must_use]
    pub fn bytes(&self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(&self.cluster);
        bytes[16..].copy_from_slice(&self.key.to_le_bytes());
        bytes
    }
}

impl SegmentHeader {
    /// The header as a segment's first bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut layout = SegmentLayout {
            magic: SEGMENT_MAGIC,
            format: FORMAT.into(),
            zero: U32::ZERO,
            cluster: self.cluster,
            index: self.index.into(),
            bytes: self.bytes.into(),
            nonce: self.nonce,
            zero_end: [0; 12],
            crc: U32::ZERO,
        };
        layout.crc = crc(layout.as_bytes()).into();
        zerocopy::transmute!(layout)
    }

    /// Reads what [`encode`](Self::encode) wrote, at the start of `bytes`.
    ///
    /// # Errors
    /// Whatever it would not have written.
    pub fn decode(bytes: &[u8]) -> Result<Self, LayoutError> {
        let (layout, _) = SegmentLayout::ref_from_prefix(bytes).map_err(|_| LayoutError::Truncated)?;
        if layout.magic != SEGMENT_MAGIC {
            return Err(LayoutError::Magic);
        }
        if layout.crc.get() != crc(layout.as_bytes()) {
            return Err(LayoutError::Crc);
        }
        if layout.format.get() != FORMAT {
            return Err(LayoutError::Format(layout.format.get()));
        }
        if layout.zero != U32::ZERO || layout.zero_end != [0; 12] {
            return Err(LayoutError::Field("unused bytes"));
        }
        let bytes = layout.bytes.get();
        if bytes < SEGMENT_BYTES_MIN || !bytes.is_multiple_of(BLOCK_BYTES as u64) {
            return Err(LayoutError::Field("length"));
        }
        if layout.index == U64::ZERO {
            return Err(LayoutError::Field("index"));
        }
        Ok(Self { cluster: layout.cluster, index: layout.index.get(), bytes, nonce: layout.nonce })
    }
}

/// CRC32C of all but the last four bytes, where it stands itself.
pub(crate) fn crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(&bytes[..bytes.len() - size_of::<U32>()])
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct SegmentLayout {
    magic: [u8; 8],
    format: U32,
    zero: U32,
    cluster: [u8; 16],
    index: U64,
    bytes: U64,
    nonce: [u8; 16],
    zero_end: [u8; 12],
    crc: U32,
}
const _: () = assert!(size_of::<SegmentLayout>() == 80);
