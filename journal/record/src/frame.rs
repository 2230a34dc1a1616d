//! The frame: the unit of the journal write, of replication and of execution.
//!
//! A frame is a header of 256 bytes, the records of up to 1,024 commands, and zeros up to the next
//! 4 KiB. All integers are little-endian.
//!
//! ```text
//!      0               8               16              24
//!      ├───────────────┼───────┬───────┼───────────────┴───────────────┤
//!    0 │ magic         │format │ zero  │ segment nonce                 │ ┐
//!      ├───────────────┼───────┴───────┼───────────────┬───────────────┤ │ its place: true of
//!   32 │ offset in seg.│ frame number  │ durable frames│ cipher, zero  │ │ this copy only
//!      ├───────────────┴───────────────┼───────────────┼───────────────┤ ┘
//!   64 │ cluster                       │ epoch         │ first Seq     │ ┐
//!      ├───────────────┬───────────────┼───────────────┴───────────────┤ │
//!   96 │ commit Seq    │ executed Seq  │ output hash there             │ │ chained: the same on
//!      ├───────────────┼───────┬───────┼───────────────────────────────┤ │ every node, under the
//!  128 │ last time, ns │ count │payload│ zero                          │ │ SHA-256 together with
//!      ├───────────────┴───────┴───────┴───────────────────────────────┤ │ the payload
//!  160 │ previous chain hash                                           │ │
//!      ├───────────────────────────────────────────────────────────────┤ ┘
//!  192 │ chain hash = SHA-256 (bytes 64 to 191, payload)               │
//!      ├───────────────────────────────────────────────┬───────┬───────┤
//!  224 │ tag of the cipher             │ zero          │p. CRC │h. CRC │
//!      ├───────────────────────────────┴───────────────┴───────┴───────┤
//!  256 │ records, then zeros up to a multiple of 4,096                 │
//! ```
//!
//! - The nonce is random and known to nobody outside; with the offset it keeps whatever a member can
//!   put into a payload, and whatever stood in a reused block, from passing as a header.
//! - *durable frames* counts the frames this copy's writer knew to be on disk when it built this one. A
//!   later frame that counts an unreadable one as durable proves damage, not a torn write. It also
//!   speaks of empty frames, which no commit Seq does.
//! - *executed* is the output hash of a frame executed before, never of this one, so that writing
//!   need not wait for execution. An empty frame carries it and the commit Seq alone.
//! - The header's CRC32C covers bytes 0 to 251; the payload's covers the records as they stand there.
//! - With a cipher (1: AES-256-GCM) the records stand enciphered: nonce = epoch (32 bits) and first Seq (64 bits), which
//!   never name two frames; bytes 64 to 191 are authenticated with them. The chain is that of the plain records,
//!   so that copies under different keys, or none, have the same links.

use alloc::vec::Vec;

use ironbell_types::{Nanos, Seq, Sequenced};
use sha2::{Digest, Sha256};
use zerocopy::little_endian::{U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::chain::{Chain, ChainHash};
use crate::command::{self, DecodeError, DecodeFault, RECORD_BYTES_MAX};
use crate::copy::{CopyError, CopyHeader, FrameCopy};

/// The unit of the device: frames begin at a multiple of it and are a multiple of it long, in bytes.
pub const BLOCK_BYTES: usize = 4096;

/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 256;

/// The most commands in a frame.
pub const COMMANDS_MAX: usize = 1024;

/// The longest frame, in bytes: any 1,024 commands fit.
pub const FRAME_BYTES_MAX: usize = 128 << 10;
const _: () = assert!(HEADER_BYTES + COMMANDS_MAX * RECORD_BYTES_MAX <= FRAME_BYTES_MAX);
const _: () = assert!(FRAME_BYTES_MAX.is_multiple_of(BLOCK_BYTES));

/// The version of the journal's layout: of superblock, segments and frames together.
pub const FORMAT: u32 = 4;

const MAGIC: [u8; 8] = *b"IBFRAME\n";

/// Where in its header the chained bytes lie.
const CHAINED: core::ops::Range<usize> = 64..64 + CHAINED_BYTES;

/// Bytes of the header that are the same on every node.
pub const CHAINED_BYTES: usize = 128;

/// Where a copy of a frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The segment's random number.
    pub nonce: [u8; 16],
    /// First byte of the frame in the segment.
    pub offset: u64,
}

/// How far execution had come when a frame was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Executed {
    /// The last command executed.
    pub seq: Seq,
    /// The running output hash after it.
    pub output_hash: u128,
}

impl Executed {
    /// Before the first command.
    pub const NOTHING: Self = Self { seq: Seq(0), output_hash: 0 };
}

/// Hides payloads from who has the disk alone: AES-256-GCM (NIST SP 800-38D).
pub trait Cipher {
    /// Enciphers `payload` in place; `also` is authenticated with it. Returns the tag.
    fn seal(&self, nonce: [u8; 12], also: &[u8], payload: &mut [u8]) -> [u8; 16];

    /// Deciphers `payload` in place; `false` when anything differs from what was sealed, the key included. The payload
    /// then holds anything.
    fn open(&self, nonce: [u8; 12], also: &[u8], payload: &mut [u8], tag: &[u8; 16]) -> bool;
}

/// The code of AES-256-GCM in a header; 0 is no cipher.
const AES_256_GCM: u8 = 1;

/// What a frame's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Where this copy lies.
    pub place: Place,
    /// Its number, from 0.
    pub number: u64,
    /// Frames that this copy's writer knew to be durable; at most `number`.
    pub durable_frames: u64,
    /// Whose history it belongs to.
    pub cluster: [u8; 16],
    /// The primary's term, from 1.
    pub epoch: u64,
    /// Place of its first command; of the next one when there is none.
    pub first_seq: Seq,
    /// Number of commands.
    pub count: u32,
    /// Bytes of their records.
    pub payload_bytes: u32,
    /// Commit known when it was built; before `first_seq`.
    pub commit: Seq,
    /// Execution known when it was built; before `first_seq`.
    pub executed: Executed,
    /// Time of its last command; of the last one before it when there is none.
    pub last_time: Nanos,
    /// Link before it.
    pub previous: ChainHash,
    /// Its own link.
    pub chain: ChainHash,
    /// CRC32C of the records as they stand there.
    pub payload_crc: u32,
    /// The records are enciphered; this is the tag.
    pub tag: Option<[u8; 16]>,
}

/// Bytes that are no frame of ours at this place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// Fewer bytes than the frame has.
    Truncated,
    /// They do not begin as a frame does.
    Magic,
    /// The header's checksum is not that of its bytes.
    HeaderCrc,
    /// A version of the layout that this program does not know.
    Format(u32),
    /// Another segment's, or from elsewhere in this one.
    Place,
    /// Another venue's.
    Cluster,
    /// A field that contradicts another, or is out of its range.
    Field(&'static str),
    /// The payload's checksum is not that of its bytes.
    PayloadCrc,
    /// The bytes behind the payload are not zero.
    Padding,
    /// The chain hash is not that of its bytes.
    Chain,
    /// The records are enciphered, and no key was given.
    NoKey,
    /// The records are not what was enciphered with this key.
    Key,
    /// The records are plain in a journal that is enciphered.
    Plain,
}

impl core::fmt::Display for FrameError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Truncated => f.write_str("the frame ends too early"),
            Self::Magic => f.write_str("no frame begins here"),
            Self::HeaderCrc => f.write_str("the header's CRC32C does not match"),
            Self::Format(format) => {
                write!(f, "format {format} is not known to this program (it knows {FORMAT})")
            }
            Self::Place => f.write_str("the frame belongs to another segment or offset"),
            Self::Cluster => f.write_str("the frame belongs to another venue"),
            Self::Field(field) => write!(f, "the header's {field} cannot be"),
            Self::PayloadCrc => f.write_str("the payload's CRC32C does not match"),
            Self::Padding => f.write_str("the bytes behind the payload are not zero"),
            Self::Chain => f.write_str("the chain hash is not that of the frame"),
            Self::NoKey => f.write_str("the records are enciphered and there is no key"),
            Self::Key => f.write_str("the records were not enciphered with this key, or were changed"),
            Self::Plain => f.write_str("the records are plain in an enciphered journal"),
        }
    }
}

impl core::error::Error for FrameError {}

impl FrameHeader {
    /// Place of the last command; of the last one before it when there is none.
    #[must_use]
    pub const fn last_seq(&self) -> Seq {
        Seq(self.first_seq.0 + self.count as u64 - 1)
    }

    /// Length of the frame, zeros behind the records included, in bytes.
    #[must_use]
    pub const fn frame_bytes(&self) -> usize {
        (HEADER_BYTES + self.payload_bytes as usize).next_multiple_of(BLOCK_BYTES)
    }

    /// What of it is the same on every node.
    #[must_use]
    pub const fn shared(&self) -> CopyHeader {
        CopyHeader {
            cluster: self.cluster,
            epoch: self.epoch,
            first_seq: self.first_seq,
            count: self.count,
            payload_bytes: self.payload_bytes,
            commit: self.commit,
            executed: self.executed,
            last_time: self.last_time,
            previous: self.previous,
        }
    }

    /// What the cipher may use once only: (epoch, first Seq) never names two frames with records.
    fn cipher_nonce(&self) -> [u8; 12] {
        let epoch = u32::try_from(self.epoch).expect("fewer than 2^32 epochs");
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&epoch.to_le_bytes());
        nonce[4..].copy_from_slice(&self.first_seq.0.to_le_bytes());
        nonce
    }

    /// Reads the header at the start of `bytes`, which must lie at `place` in the venue `cluster`.
    ///
    /// # Errors
    /// The first thing that shows it is no such header.
    pub fn decode(bytes: &[u8], cluster: &[u8; 16], place: Place) -> Result<Self, FrameError> {
        let (layout, _) = Layout::ref_from_prefix(bytes).map_err(|_| FrameError::Truncated)?;
        if layout.magic != MAGIC {
            return Err(FrameError::Magic);
        }
        if layout.header_crc.get() != layout.crc() {
            return Err(FrameError::HeaderCrc);
        }
        if layout.format.get() != FORMAT {
            return Err(FrameError::Format(layout.format.get()));
        }
        let header = layout.header();
        if header.place != place {
            return Err(FrameError::Place);
        }
        if header.cluster != *cluster {
            return Err(FrameError::Cluster);
        }
        if !layout.zeros_are_zero() {
            return Err(FrameError::Field("unused bytes"));
        }
        header.fields_agree().map_or(Ok(header), |field| Err(FrameError::Field(field)))
    }

    /// The first field that contradicts another.
    fn fields_agree(&self) -> Option<&'static str> {
        if let Some(field) = self.shared().fields_agree() {
            return Some(field);
        }
        if self.durable_frames > self.number {
            return Some("durable frames");
        }
        if self.tag.is_some() && self.count == 0 {
            return Some("cipher");
        }
        None
    }
}

/// What a writer gives a frame beside its commands and its place in the chain.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// Where the copy will lie.
    pub place: Place,
    /// The primary's term.
    pub epoch: u64,
    /// Frames known to be durable here.
    pub durable_frames: u64,
    /// Commit known now.
    pub commit: Seq,
    /// Execution known now.
    pub executed: Executed,
}

/// Builds the frame that comes after `chain` at the start of `into`, its records enciphered if there is a `cipher`; the
/// header it returns says how long it is.
///
/// # Panics
/// As [`lay_out`].
pub fn encode(
    chain: &Chain,
    stamp: &Stamp,
    commands: &[Sequenced],
    cipher: Option<&dyn Cipher>,
    into: &mut [u8],
) -> FrameHeader {
    let mut header = lay_out(chain, stamp, commands, into);
    finish(&mut header, cipher, into);
    header
}

/// The first half of [`encode`]: records, still plain, the zeros behind them, and the link. Whoever wants the frame as it
/// goes to another node takes it now ([`FrameCopy::of`]): the second half may encipher it.
///
/// # Panics
/// When the commands are more than 1,024 or do not continue the chain, when the stamp speaks of what
/// has not been, or when `into` is shorter than [`FRAME_BYTES_MAX`]: all of them the caller's faults.
pub fn lay_out(chain: &Chain, stamp: &Stamp, commands: &[Sequenced], into: &mut [u8]) -> FrameHeader {
    assert!(commands.len() <= COMMANDS_MAX, "a frame of {} commands", commands.len());
    assert!(into.len() >= FRAME_BYTES_MAX, "a frame is built in {} bytes", into.len());
    let mut payload_bytes = 0;
    let mut last = (chain.last_seq, chain.last_time);
    for sequenced in commands {
        assert!(sequenced.seq == last.0.next(), "Seq {} follows Seq {}", sequenced.seq, last.0);
        assert!(sequenced.time >= last.1, "time {} follows time {}", sequenced.time, last.1);
        last = (sequenced.seq, sequenced.time);
        let record = &mut into[HEADER_BYTES + payload_bytes..];
        payload_bytes += command::encode(sequenced.time, &sequenced.command, record);
    }
    let shared = CopyHeader {
        cluster: chain.cluster,
        epoch: stamp.epoch,
        first_seq: chain.last_seq.next(),
        count: commands.len() as u32,
        payload_bytes: payload_bytes as u32,
        commit: stamp.commit,
        executed: stamp.executed,
        last_time: last.1,
        previous: chain.hash,
    };
    let mut header = shared.placed(stamp.place, chain.frames, stamp.durable_frames);
    if let Some(field) = header.fields_agree() {
        panic!("frame {} with an impossible {field}", header.number);
    }
    header.chain = link(&shared.encode(), &into[HEADER_BYTES..][..payload_bytes]);
    header.write(into);
    header
}

/// Builds at the start of `into` this node's own copy of a frame that another node sent and that comes after `chain`;
/// [`finish`] it as [`lay_out`]'s.
///
/// # Errors
/// [`CopyError`]: it does not come next, or is not what its link says.
///
/// # Panics
/// When `durable_frames` are more than there are, or `into` is shorter than [`FRAME_BYTES_MAX`].
pub fn lay_out_copy(
    chain: &Chain,
    place: Place,
    durable_frames: u64,
    copy: &FrameCopy<'_>,
    into: &mut [u8],
) -> Result<FrameHeader, CopyError> {
    assert!(into.len() >= FRAME_BYTES_MAX, "a frame is built in {} bytes", into.len());
    assert!(durable_frames <= chain.frames, "{durable_frames} frames durable of {}", chain.frames);
    let shared = copy.check(chain)?;
    let mut header = shared.placed(place, chain.frames, durable_frames);
    header.chain = copy.chain;
    into[HEADER_BYTES..][..copy.records.len()].copy_from_slice(copy.records);
    header.write(into);
    Ok(header)
}

/// The second half of [`encode`]: enciphers the records if there is a `cipher`, and makes the checksums.
///
/// # Panics
/// When `into` is too short for the frame of `header`.
pub fn finish(header: &mut FrameHeader, cipher: Option<&dyn Cipher>, into: &mut [u8]) {
    let (head, rest) = into.split_at_mut(HEADER_BYTES);
    let payload = &mut rest[..header.payload_bytes as usize];
    if let Some(cipher) = cipher.filter(|_| !payload.is_empty()) {
        header.tag = Some(cipher.seal(header.cipher_nonce(), &head[CHAINED], payload));
    }
    header.payload_crc = crc32c::crc32c(payload);
    let mut layout = Layout::new(header);
    layout.header_crc = layout.crc().into();
    head.copy_from_slice(layout.as_bytes());
}

impl FrameHeader {
    /// Puts the header, still without checksums, before the records in `into`, and the zeros behind them.
    fn write(&self, into: &mut [u8]) {
        into[..HEADER_BYTES].copy_from_slice(Layout::new(self).as_bytes());
        into[HEADER_BYTES + self.payload_bytes as usize..self.frame_bytes()].fill(0);
    }
}

/// The link of a frame with these chained bytes and plain records.
pub(crate) fn link(chained: &[u8; CHAINED_BYTES], payload: &[u8]) -> ChainHash {
    let mut hash = Sha256::new();
    hash.update(chained);
    hash.update(payload);
    ChainHash(hash.finalize().into())
}

/// The chained bytes of a frame that begins so.
///
/// # Panics
/// When `head` is shorter than a header.
#[must_use]
pub fn chained(head: &[u8]) -> &[u8; CHAINED_BYTES] {
    head[CHAINED].try_into().expect("as many bytes")
}

/// A frame whose bytes are sound: checksums, padding and its own chain hash. Whether it continues the
/// history is [`Chain::check`]'s question.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its header.
    pub header: FrameHeader,
    chained: &'a [u8; CHAINED_BYTES],
    payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads the frame at the start of `bytes`, whose records are plain and which must lie at `place` in the venue
    /// `cluster`.
    ///
    /// # Errors
    /// The first thing that shows it is no such frame.
    pub fn decode(bytes: &'a [u8], cluster: &[u8; 16], place: Place) -> Result<Self, FrameError> {
        let header = FrameHeader::decode(bytes, cluster, place)?;
        let payload = Self::payload(&header, bytes)?;
        if header.tag.is_some() {
            return Err(FrameError::NoKey);
        }
        Self::linked(header, bytes, payload)
    }

    /// The same of a frame whose records are enciphered; they are plain in `bytes` afterwards.
    ///
    /// # Errors
    /// The first thing that shows it is no such frame; `bytes` then holds anything.
    pub fn decipher(
        bytes: &'a mut [u8],
        cluster: &[u8; 16],
        place: Place,
        cipher: &dyn Cipher,
    ) -> Result<Self, FrameError> {
        let header = FrameHeader::decode(bytes, cluster, place)?;
        Self::payload(&header, bytes)?;
        let (head, rest) = bytes.split_at_mut(HEADER_BYTES);
        let payload = &mut rest[..header.payload_bytes as usize];
        match &header.tag {
            Some(tag) if !cipher.open(header.cipher_nonce(), &head[CHAINED], payload, tag) => {
                return Err(FrameError::Key);
            }
            None if header.count > 0 => return Err(FrameError::Plain),
            _ => {}
        }
        Self::linked(header, head, payload)
    }

    /// Enciphers again what [`decipher`](Self::decipher) left plain in `bytes`: they are then the very bytes that were
    /// written. Returns the header.
    ///
    /// # Errors
    /// The first thing that shows it is no such frame, [`FrameError::Key`] when other records or another key make
    /// another tag; `bytes` then holds anything.
    pub fn encipher_again(
        bytes: &mut [u8],
        cluster: &[u8; 16],
        place: Place,
        cipher: &dyn Cipher,
    ) -> Result<FrameHeader, FrameError> {
        let header = FrameHeader::decode(bytes, cluster, place)?;
        let bytes = bytes.get_mut(..header.frame_bytes()).ok_or(FrameError::Truncated)?;
        let (head, rest) = bytes.split_at_mut(HEADER_BYTES);
        if let Some(tag) = header.tag {
            let payload = &mut rest[..header.payload_bytes as usize];
            if cipher.seal(header.cipher_nonce(), &head[CHAINED], payload) != tag {
                return Err(FrameError::Key);
            }
        }
        Self::payload(&header, bytes)?;
        Ok(header)
    }

    /// The records as they stand there.
    fn payload<'b>(header: &FrameHeader, bytes: &'b [u8]) -> Result<&'b [u8], FrameError> {
        let bytes = bytes.get(..header.frame_bytes()).ok_or(FrameError::Truncated)?;
        let (payload, padding) = bytes[HEADER_BYTES..].split_at(header.payload_bytes as usize);
        if crc32c::crc32c(payload) != header.payload_crc {
            return Err(FrameError::PayloadCrc);
        }
        // Without an early exit the compiler takes 64 bytes at a step: most of a small frame is padding.
        if padding.iter().fold(0, |any, byte| any | byte) != 0 {
            return Err(FrameError::Padding);
        }
        Ok(payload)
    }

    fn linked(header: FrameHeader, head: &'a [u8], payload: &'a [u8]) -> Result<Self, FrameError> {
        let chained = chained(head);
        if link(chained, payload) != header.chain {
            return Err(FrameError::Chain);
        }
        Ok(Self { header, chained, payload })
    }

    /// The frame as it goes to another node.
    #[must_use]
    pub fn copy(&self) -> FrameCopy<'a> {
        FrameCopy { chained: self.chained, chain: self.header.chain, records: self.payload }
    }

    /// Puts the commands into `into`, which is cleared first. `after` is the time of the last command
    /// before the frame.
    ///
    /// # Errors
    /// A record that we would not have written, one whose time goes back, or more or fewer records than
    /// the header says. `into` then holds those before it.
    pub fn commands(&self, after: Nanos, into: &mut Vec<Sequenced>) -> Result<(), DecodeError> {
        commands(&self.header.shared(), self.payload, after, into)
    }
}

/// The commands of a frame with this header and these plain records; see [`Frame::commands`].
pub(crate) fn commands(
    header: &CopyHeader,
    records: &[u8],
    after: Nanos,
    into: &mut Vec<Sequenced>,
) -> Result<(), DecodeError> {
    into.clear();
    let (mut offset, mut seq, mut time) = (0, header.first_seq, after);
    for _ in 0..header.count {
        let (sequenced, bytes) = command::decode(records, offset, seq)?;
        if sequenced.time < time {
            return Err(DecodeError { offset, fault: DecodeFault::Time(sequenced.time) });
        }
        into.push(sequenced);
        (offset, seq, time) = (offset + bytes, seq.next(), sequenced.time);
    }
    if offset != records.len() {
        return Err(DecodeError { offset, fault: DecodeFault::Surplus });
    }
    if time != header.last_time {
        return Err(DecodeError { offset, fault: DecodeFault::Time(time) });
    }
    Ok(())
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Layout {
    magic: [u8; 8],
    format: U32,
    zero_place: U32,
    nonce: [u8; 16],
    offset: U64,
    number: U64,
    durable_frames: U64,
    cipher: u8,
    zero_cipher: [u8; 7],
    chained: ChainedLayout,
    chain: [u8; 32],
    tag: [u8; 16],
    zero_end: [u8; 8],
    payload_crc: U32,
    header_crc: U32,
}
const _: () = assert!(size_of::<Layout>() == HEADER_BYTES);
const _: () = assert!(core::mem::offset_of!(Layout, chained) == CHAINED.start);
const _: () = assert!(core::mem::offset_of!(Layout, chain) == CHAINED.end);
const _: () = assert!(core::mem::offset_of!(Layout, header_crc) == HEADER_BYTES - 4);

impl Layout {
    fn new(header: &FrameHeader) -> Self {
        Self {
            magic: MAGIC,
            format: FORMAT.into(),
            zero_place: U32::ZERO,
            nonce: header.place.nonce,
            offset: header.place.offset.into(),
            number: header.number.into(),
            durable_frames: header.durable_frames.into(),
            cipher: if header.tag.is_some() { AES_256_GCM } else { 0 },
            zero_cipher: [0; 7],
            chained: ChainedLayout::new(&header.shared()),
            chain: header.chain.0,
            tag: header.tag.unwrap_or_default(),
            zero_end: [0; 8],
            payload_crc: header.payload_crc.into(),
            header_crc: U32::ZERO,
        }
    }

    fn header(&self) -> FrameHeader {
        let place = Place { nonce: self.nonce, offset: self.offset.get() };
        FrameHeader {
            chain: ChainHash(self.chain),
            payload_crc: self.payload_crc.get(),
            tag: (self.cipher == AES_256_GCM).then_some(self.tag),
            ..self.chained.header().placed(place, self.number.get(), self.durable_frames.get())
        }
    }

    fn crc(&self) -> u32 {
        crc32c::crc32c(&self.as_bytes()[..HEADER_BYTES - size_of::<U32>()])
    }

    fn zeros_are_zero(&self) -> bool {
        self.zero_place == U32::ZERO
            && self.zero_cipher == [0; 7]
            && self.chained.zero == [0; 16]
            && self.zero_end == [0; 8]
            && (self.cipher == AES_256_GCM || (self.cipher == 0 && self.tag == [0; 16]))
    }
}

/// What of a header is the same on every node.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ChainedLayout {
    cluster: [u8; 16],
    epoch: U64,
    first_seq: U64,
    commit: U64,
    executed_seq: U64,
    executed_hash: U128,
    last_time: U64,
    count: U32,
    payload_bytes: U32,
    zero: [u8; 16],
    previous: [u8; 32],
}
const _: () = assert!(size_of::<ChainedLayout>() == CHAINED_BYTES);

impl ChainedLayout {
    fn new(header: &CopyHeader) -> Self {
        Self {
            cluster: header.cluster,
            epoch: header.epoch.into(),
            first_seq: header.first_seq.0.into(),
            commit: header.commit.0.into(),
            executed_seq: header.executed.seq.0.into(),
            executed_hash: header.executed.output_hash.into(),
            last_time: header.last_time.0.into(),
            count: header.count.into(),
            payload_bytes: header.payload_bytes.into(),
            zero: [0; 16],
            previous: header.previous.0,
        }
    }

    fn header(&self) -> CopyHeader {
        CopyHeader {
            cluster: self.cluster,
            epoch: self.epoch.get(),
            first_seq: Seq(self.first_seq.get()),
            count: self.count.get(),
            payload_bytes: self.payload_bytes.get(),
            commit: Seq(self.commit.get()),
            executed: Executed { seq: Seq(self.executed_seq.get()), output_hash: self.executed_hash.get() },
            last_time: Nanos(self.last_time.get()),
            previous: ChainHash(self.previous),
        }
    }
}

impl CopyHeader {
    /// The chained bytes.
    fn encode(&self) -> [u8; CHAINED_BYTES] {
        zerocopy::transmute!(ChainedLayout::new(self))
    }

    /// Reads chained bytes.
    pub(crate) fn decode(chained: &[u8; CHAINED_BYTES]) -> Result<Self, FrameError> {
        let layout: &ChainedLayout = zerocopy::transmute_ref!(chained);
        if layout.zero != [0; 16] {
            return Err(FrameError::Field("unused bytes"));
        }
        let header = layout.header();
        header.fields_agree().map_or(Ok(header), |field| Err(FrameError::Field(field)))
    }

    /// The first field that contradicts another.
    fn fields_agree(&self) -> Option<&'static str> {
        let payload_bytes = self.payload_bytes as usize;
        if self.count as usize > COMMANDS_MAX {
            return Some("count");
        }
        if payload_bytes > FRAME_BYTES_MAX - HEADER_BYTES || (self.count == 0) != (payload_bytes == 0) {
            return Some("payload length");
        }
        if self.first_seq == Seq(0) || self.first_seq.0 > Seq::MAX.0 - COMMANDS_MAX as u64 {
            return Some("first Seq");
        }
        if self.commit >= self.first_seq {
            return Some("commit Seq");
        }
        if self.executed.seq >= self.first_seq {
            return Some("executed Seq");
        }
        if self.epoch > u64::from(u32::MAX) {
            return Some("epoch");
        }
        None
    }

    /// The header of a copy that lies there, without link and checksums.
    fn placed(self, place: Place, number: u64, durable_frames: u64) -> FrameHeader {
        FrameHeader {
            place,
            number,
            durable_frames,
            cluster: self.cluster,
            epoch: self.epoch,
            first_seq: self.first_seq,
            count: self.count,
            payload_bytes: self.payload_bytes,
            commit: self.commit,
            executed: self.executed,
            last_time: self.last_time,
            previous: self.previous,
            chain: ChainHash([0; 32]),
            payload_crc: 0,
            tag: None,
        }
    }
}
