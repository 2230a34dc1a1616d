//! The header of a snapshot file: which history it stands in, where, and what it holds.
//!
//! ```text
//!      0               8               16              24
//!      ├───────────────┼───────┬───────┼───────────────┴───────────────┤
//!    0 │ magic         │format │cipher │ cluster                       │
//!      ├───────────────┼───────┴───────┼───────────────┬───────────────┤
//!   32 │ nonce         │ body bytes    │ segment       │ offset of the │   the last frame that is in it
//!      ├───────────────┼───────────────┼───────────────┼─ last frame ──┤
//!   64 │ frames        │ epoch         │ last Seq      │ last time, ns │ ┐
//!      ├───────────────┼───────────────┼───────────────┴───────────────┤ │ the chain
//!   96 │ commit Seq    │ executed Seq  │ output hash there             │ │ behind that frame
//!      ├───────────────┴───────────────┴───────────────────────────────┤ │
//!  128 │ chain hash                                                    │ ┘
//!      ├───────────────────────────────────────────────────────────────┤
//!  160 │ state hash at the last Seq                                    │
//!      ├───────────────────────────────┬───────────────────────┬───────┤
//!  192 │ output hash at the last Seq   │ zero                  │ CRC   │
//!      └───────────────────────────────┴───────────────────────┴───────┘
//! ```
//!
//! The body follows in pieces of a MiB, each with 16 bytes behind it that vouch for it: its CRC32C and zeros or,
//! with a cipher (1: AES-256-GCM), its tag under the nonce (64 random bits, and the piece's number in 32), this header
//! authenticated with each.

use ironbell_types::{Nanos, Seq};
use zerocopy::little_endian::{U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::chain::{Chain, ChainHash};
use crate::frame::Executed;
use crate::segment::{LayoutError, crc};

/// Bytes of an encoded [`SnapshotHeader`].
pub const SNAPSHOT_HEADER_BYTES: usize = size_of::<Layout>();

/// Bytes of the body that are vouched for together; the last piece is shorter.
pub const PIECE_BYTES: usize = 1 << 20;

/// Bytes behind each piece.
pub const VOUCHER_BYTES: usize = 16;

/// The version of a snapshot file's layout, apart from that of the state in it.
pub const SNAPSHOT_FORMAT: u32 = 1;

const MAGIC: [u8; 8] = *b"IBSNAPS\n";
const AES_256_GCM: u32 = 1;

/// A place in a journal: behind a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The history up to there.
    pub chain: Chain,
    /// The segment that the frame lies in.
    pub segment: u64,
    /// The frame's first byte in it.
    pub offset: u64,
}

/// What a snapshot file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// What replay goes on behind.
    pub position: Position,
    /// SHA-256 over the listing of the state.
    pub state_hash: [u8; 32],
    /// The running output hash.
    pub output_hash: u128,
    /// Bytes of the body.
    pub body_bytes: u64,
    /// The random number of an enciphered body; `None` of a plain one.
    pub nonce: Option<[u8; 8]>,
}

impl SnapshotHeader {
    /// The last command that is in it.
    #[must_use]
    pub const fn seq(&self) -> Seq {
        self.position.chain.last_seq
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; SNAPSHOT_HEADER_BYTES] {
        let Position { chain, segment, offset } = self.position;
        let mut layout = Layout {
            magic: MAGIC,
            format: SNAPSHOT_FORMAT.into(),
            cipher: if self.nonce.is_some() { AES_256_GCM } else { 0 }.into(),
            cluster: chain.cluster,
            nonce: self.nonce.unwrap_or_default(),
            body_bytes: self.body_bytes.into(),
            segment: segment.into(),
            offset: offset.into(),
            frames: chain.frames.into(),
            epoch: chain.epoch.into(),
            last_seq: chain.last_seq.0.into(),
            last_time: chain.last_time.0.into(),
            commit: chain.commit.0.into(),
            executed_seq: chain.executed.seq.0.into(),
            executed_hash: chain.executed.output_hash.into(),
            chain: chain.hash.0,
            state_hash: self.state_hash,
            output_hash: self.output_hash.into(),
            zero: [0; 12],
            crc: U32::ZERO,
        };
        layout.crc = crc(layout.as_bytes()).into();
        zerocopy::transmute!(layout)
    }

    /// Reads the header at the start of `bytes`.
    ///
    /// # Errors
    /// Whatever [`encode`](Self::encode) would not have written.
    pub fn decode(bytes: &[u8]) -> Result<Self, LayoutError> {
        let (layout, _) = Layout::ref_from_prefix(bytes).map_err(|_| LayoutError::Truncated)?;
        if layout.magic != MAGIC {
            return Err(LayoutError::Magic);
        }
        if layout.crc.get() != crc(layout.as_bytes()) {
            return Err(LayoutError::Crc);
        }
        if layout.format.get() != SNAPSHOT_FORMAT {
            return Err(LayoutError::Format(layout.format.get()));
        }
        let nonce = match layout.cipher.get() {
            0 if layout.nonce == [0; 8] => None,
            AES_256_GCM => Some(layout.nonce),
            _ => return Err(LayoutError::Field("cipher")),
        };
        if layout.zero != [0; 12] {
            return Err(LayoutError::Field("unused bytes"));
        }
        let executed =
            Executed { seq: Seq(layout.executed_seq.get()), output_hash: layout.executed_hash.get() };
        let chain = Chain {
            cluster: layout.cluster,
            frames: layout.frames.get(),
            epoch: layout.epoch.get(),
            last_seq: Seq(layout.last_seq.get()),
            last_time: Nanos(layout.last_time.get()),
            commit: Seq(layout.commit.get()),
            executed,
            hash: ChainHash(layout.chain),
        };
        if chain.frames == 0 || chain.last_seq == Seq(0) || layout.segment.get() == 0 {
            return Err(LayoutError::Field("position"));
        }
        Ok(Self {
            position: Position { chain, segment: layout.segment.get(), offset: layout.offset.get() },
            state_hash: layout.state_hash,
            output_hash: layout.output_hash.get(),
            body_bytes: layout.body_bytes.get(),
            nonce,
        })
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Layout {
    magic: [u8; 8],
    format: U32,
    cipher: U32,
    cluster: [u8; 16],
    nonce: [u8; 8],
    body_bytes: U64,
    segment: U64,
    offset: U64,
    frames: U64,
    epoch: U64,
    last_seq: U64,
    last_time: U64,
    commit: U64,
    executed_seq: U64,
    executed_hash: U128,
    chain: [u8; 32],
    state_hash: [u8; 32],
    output_hash: U128,
    zero: [u8; 12],
    crc: U32,
}
const _: () = assert!(size_of::<Layout>() == 224);
const _: () = assert!(core::mem::offset_of!(Layout, frames) == 64);
const _: () = assert!(core::mem::offset_of!(Layout, chain) == 128);
const _: () = assert!(core::mem::offset_of!(Layout, output_hash) == 192);

#[cfg(test)]
mod tests {
    use super::*;

    fn header(nonce: Option<[u8; 8]>) -> SnapshotHeader {
        let executed = Executed { seq: Seq(8), output_hash: 9 };
        let chain = Chain {
            cluster: [1; 16],
            frames: 2,
            epoch: 3,
            last_seq: Seq(10),
            last_time: Nanos(11),
            commit: Seq(7),
            executed,
            hash: ChainHash([4; 32]),
        };
        let position = Position { chain, segment: 5, offset: 4_096 };
        SnapshotHeader { position, state_hash: [6; 32], output_hash: 12, body_bytes: 13, nonce }
    }

    #[test]
    fn a_header_comes_back_and_every_flipped_bit_shows() {
        for nonce in [None, Some([0; 8]), Some([7; 8])] {
            let bytes = header(nonce).encode();
            assert_eq!(SnapshotHeader::decode(&bytes), Ok(header(nonce)));
            for bit in 0..bytes.len() * 8 {
                let mut damaged = bytes;
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert!(SnapshotHeader::decode(&damaged).is_err(), "bit {bit}");
            }
            for len in 0..bytes.len() {
                assert_eq!(SnapshotHeader::decode(&bytes[..len]), Err(LayoutError::Truncated));
            }
        }
    }
}
