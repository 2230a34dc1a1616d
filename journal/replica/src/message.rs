//! What goes over the link between the two nodes, as bytes. Little-endian.
//!
//! ```text
//!  0       4       8       10          16
//!  ├───────┼───────┼───────┼───────────┼──────────────────────┬──────────────────────────────┐
//!  │length │ CRC32C│ kind  │ zero      │ body                 │ of a frame: its copy         │
//!  └───────┴───────┴───────┴───────────┴──────────────────────┴──────────────────────────────┘
//! ```
//!
//! `length` counts the whole message. The CRC covers everything behind it but a frame's copy, which has its link:
//! SHA-256 over all of it, checked where it is appended. The stream begins with a [`Hello`] from each side, which holds
//! the version; a peer of another version is refused by name. Each side reads what the other writes:
//!
//! ```text
//!  primary                               standby
//!  Hello ───────────────────────────────▶
//!        ◀─────────────────────────────── Hello       epochs, last point, what it promised
//!  Follow{epoch, from} ─────────────────▶             it promises the epoch, or cuts back to `from` and calls again
//!  Frame, Frame, KeepAlive … ───────────▶             appended, made durable; executed up to `commit`
//!        ◀─────────────────────────────── Ack, Ack …  received, durable, applied; the newest sending time, echoed
//!  Switchover{last} ────────────────────▶             takes over at once
//! ```
//!
//! A primary that starts again asks its standby first: `Pull{from}` is answered by `Tail`, `Tail`, … `TailEnd`. A standby
//! that the primary's journal does not reach back to says hello and asks for a snapshot: what comes then is
//! [`crate::transfer`]'s.

use ironbell_record::superblock::{VOIDS_MAX, Void, Voids};
use ironbell_record::{Chain, ChainHash, Executed, FrameCopy, Identity, Point, copy::COPY_BYTES_MAX};
use ironbell_types::{Nanos, Seq, VoidReason};

use crate::register::{AckPolicy, NodeId};

/// The version of this protocol. A node speaks to its own version only.
pub const VERSION: u32 = 2;

/// The most epochs that a hello tells of: the newest.
pub const EPOCHS_MAX: usize = 1024;

/// The most bytes of a snapshot in one message.
pub const PART_BYTES_MAX: usize = 64 << 10;

/// So many bytes of a log's messages are enough for one message of this protocol; the last of them may go beyond.
pub const TOLD_BYTES_ENOUGH: usize = 32 << 10;

/// The longest message of a log, in bytes.
pub const TOLD_BYTES_MAX: usize = 65_534;

/// The longest message, in bytes.
pub const MESSAGE_BYTES_MAX: usize = HEAD_BYTES + FRAME_HEAD_BYTES + COPY_BYTES_MAX;

/// Bytes of a message before its body.
pub const HEAD_BYTES: usize = 16;

/// Bytes of a frame's message between its head and the copy.
pub const FRAME_HEAD_BYTES: usize = 32;

const POINT_BYTES: usize = 56;
const VOID_BYTES: usize = 64;
const HELLO_BYTES_MAX: usize = 128 + POINT_BYTES + EPOCHS_MAX * POINT_BYTES + VOIDS_MAX * VOID_BYTES;
const _: () = assert!(HEAD_BYTES + HELLO_BYTES_MAX <= MESSAGE_BYTES_MAX);
const _: () = assert!(HEAD_BYTES + 8 + PART_BYTES_MAX <= MESSAGE_BYTES_MAX);

const MAGIC: [u8; 8] = *b"IBREPLIC";

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// The first one of each side.
    Hello(Box<Hello>),
    /// Primary: this is my epoch, and the frames that follow stand behind `from`. Again whenever it takes another epoch.
    Follow {
        /// The primary's epoch.
        epoch: u64,
        /// Where the standby's history goes on.
        from: Point,
    },
    /// Either: no. The link ends.
    Refused {
        /// Why.
        why: Refusal,
        /// The highest epoch that who refuses has promised.
        promised: u64,
    },
    /// Primary: the next frame.
    Frame(FrameHead, FrameCopy<'a>),
    /// Primary: I am here, and committed is this.
    KeepAlive {
        /// The primary's epoch.
        epoch: u64,
        /// When it was sent, by the primary's clock.
        sent_at: Nanos,
        /// The last command committed.
        commit: Seq,
        /// The last command appended.
        appended: Seq,
    },
    /// Standby: so far I have come.
    Ack(Ack),
    /// Primary before it leads again: your frames behind this point.
    Pull {
        /// The end of its own history.
        from: Point,
    },
    /// The answer to a pull: the next frame; its number.
    Tail(u64, FrameCopy<'a>),
    /// The answer to a pull: that was all.
    TailEnd {
        /// The end of the history of who answers.
        last: Point,
    },
    /// Primary: everything is committed, and I release nothing more in this epoch: take over.
    Switchover {
        /// The primary's epoch.
        epoch: u64,
        /// The end of its history.
        last: Point,
    },
    /// Primary: a snapshot comes, as a file of so many bytes; plain, on the private network as frames are.
    Snapshot {
        /// Its length.
        bytes: u64,
    },
    /// Primary: the next bytes of the snapshot.
    Part {
        /// Their place in it.
        offset: u64,
        /// At most 64 KiB.
        bytes: &'a [u8],
    },
    /// Primary: the next messages are those of this stream.
    Stream(Stream),
    /// Primary: the next messages of that stream.
    Told(Told<'a>),
    /// Primary: the snapshot and what belongs to it are there.
    SnapshotEnd {
        /// Where it stands.
        last: Point,
        /// How many streams came.
        streams: u64,
    },
    /// Standby: so many bytes of it have come.
    Taken {
        /// How many.
        bytes: u64,
    },
}

/// What a standby is to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u64)]
pub enum Asks {
    /// The frames behind its own.
    #[default]
    Frames = 0,
    /// A snapshot, and what members and market were told up to there: the frames behind its own are gone.
    Snapshot = 1,
}

/// Which of a node's two logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u64)]
pub enum Log {
    /// What members were told; a stream for each port.
    Sessions = 0,
    /// What the feed said, in one stream.
    Feed = 1,
}

/// A stream of a log, as it stood at a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Of which log.
    pub log: Log,
    /// Its number there.
    pub stream: u32,
    /// How many times it was started again: each day begins one.
    pub generation: u32,
    /// Messages that follow, numbered from 1.
    pub messages: u64,
}

/// Messages of a stream, as they were told: each its length in 32 bits and its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told<'a>(&'a [u8]);

impl<'a> Told<'a> {
    /// Of such bytes; `None` of any others, and of none.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes;
        while !rest.is_empty() {
            (_, rest) = split_told(rest)?;
        }
        (!bytes.is_empty() && bytes.len() <= TOLD_ALL_BYTES_MAX).then_some(Self(bytes))
    }

    /// Puts another message behind those in `into`, of which a [`Told`] is made; says whether that is now long enough to go.
    ///
    /// # Panics
    /// When the message is longer than [`TOLD_BYTES_MAX`].
    pub fn push(message: &[u8], into: &mut Vec<u8>) -> bool {
        assert!(message.len() <= TOLD_BYTES_MAX, "a message of {} bytes", message.len());
        into.extend_from_slice(&(message.len() as u32).to_le_bytes());
        into.extend_from_slice(message);
        into.len() >= TOLD_BYTES_ENOUGH
    }

    /// The messages.
    pub fn messages(self) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (message, behind) = split_told(rest)?;
            rest = behind;
            Some(message)
        })
    }

    /// How many bytes.
    #[must_use]
    pub fn bytes(self) -> usize {
        self.0.len()
    }
}

const TOLD_LENGTH_BYTES: usize = 4;
const TOLD_ALL_BYTES_MAX: usize = TOLD_BYTES_ENOUGH + TOLD_LENGTH_BYTES + TOLD_BYTES_MAX;
const _: () = assert!(HEAD_BYTES + TOLD_ALL_BYTES_MAX <= MESSAGE_BYTES_MAX);

fn split_told(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let length = u32::from_le_bytes(*length) as usize;
    rest.split_at_checked(length).filter(|_| length <= TOLD_BYTES_MAX)
}

/// Who speaks, and what it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Whose history it is.
    pub identity: Identity,
    /// Which node speaks.
    pub node: NodeId,
    /// What it takes an acknowledgement for.
    pub ack: AckPolicy,
    /// What it is to be sent, if it follows.
    pub asks: Asks,
    /// The highest epoch it has promised.
    pub promised: u64,
    /// The epoch it leads in; `None` when it does not lead.
    pub leading: Option<u64>,
    /// The end of its history. A node that does not lead says hello when all of it is on its disk, and after its last link
    /// has ended.
    pub last: Point,
    /// The last point of each of the newest 1,024 epochs in its journal, ascending.
    pub epochs: Vec<Point>,
    /// What it holds void: a standby must know that before it comes to those commands.
    pub voids: Voids,
}

/// How far a standby has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The epoch it acknowledges in: it has promised none above.
    pub epoch: u64,
    /// What its memory holds.
    pub received: Point,
    /// What its disk holds.
    pub durable: Point,
    /// What it has executed, and the output hash there.
    pub applied: Executed,
    /// The newest sending time heard in this epoch.
    pub echo: Nanos,
}

/// What stands before a frame's copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// The epoch of the primary that sends it: the frame's own, or a later one.
    pub epoch: u64,
    /// The frame's number, from 0.
    pub number: u64,
    /// When it was sent, by the primary's clock.
    pub sent_at: Nanos,
    /// The last command committed.
    pub commit: Seq,
}

macro_rules! refusals {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal, $text:literal;)*) => {
        /// Why a link was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Refusal { $($(#[doc = $doc])* $name = $code,)* }

        impl Refusal {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }

        impl std::fmt::Display for Refusal {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $(Self::$name => $text,)* })
            }
        }
    };
}

refusals! {
    /// The peer's epoch is below one that was promised.
    Epoch = 1, "it has promised a higher epoch";
    /// The peer's journal is that of another venue.
    Venue = 2, "its journal is that of another venue";
    /// Both say they are the same node.
    Node = 3, "both say they are the same node: see `node` in [ha] of their configurations";
    /// Both lead, in different epochs; who has the lower one steps down.
    Leads = 4, "it leads itself";
    /// The nodes are told to acknowledge differently.
    Policy = 5, "the nodes' `ack` differs: it must be the same in [ha] of both configurations";
    /// One epoch has two histories: one of the nodes is broken.
    Diverged = 6, "one epoch has two histories: one of the journals is not what its node wrote";
    /// The histories have no point in common that either remembers.
    NoCommonPoint = 7, "the journals have no point in common: set one of the nodes up anew from the other";
    /// The standby has seen something that must not be and stands still.
    Halted = 8, "it has halted with an alarm";
    /// A message that does not belong there.
    Protocol = 9, "a message came that does not belong there";
    /// A newer link has replaced this one.
    Replaced = 10, "a newer link has replaced this one";
    /// The journal does not reach back as far.
    TooOld = 11, "the journal does not reach back that far: what follows there is in the archive";
    /// There is no snapshot that can be sent.
    NoSnapshot = 12, "it has no snapshot to send yet: make one there (`ironbell snapshot now`)";
}

/// Bytes that are no message of this protocol. The link ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// A message says it is {0} bytes long
    #[error("a message says it is {0} bytes long")]
    Length(u32),
    /// A message's checksum is not that of its bytes
    #[error("a message's checksum is not that of its bytes")]
    Crc,
    /// There is no message of kind {0}
    #[error("there is no message of kind {0}")]
    Kind(u16),
    /// A message's field cannot be
    #[error("a message's {0} cannot be")]
    Field(&'static str),
    /// A message is longer or shorter than its kind
    #[error("a message is longer or shorter than its kind")]
    Size,
    /// The peer does not speak this protocol
    #[error("the peer does not speak this protocol")]
    Magic,
    /// The peer speaks another version
    #[error(
        "the peer speaks version {0} of the replication protocol, this node version {VERSION}: run the same release on both"
    )]
    Version(u32),
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
enum Kind {
    Hello = 1,
    Follow = 2,
    Refused = 3,
    Frame = 4,
    KeepAlive = 5,
    Ack = 6,
    Pull = 7,
    Tail = 8,
    TailEnd = 9,
    Switchover = 10,
    Snapshot = 11,
    Part = 12,
    Stream = 13,
    Told = 14,
    SnapshotEnd = 15,
    Taken = 16,
}

impl Kind {
    fn new(code: u16) -> Option<Self> {
        const ALL: [Kind; 16] = [
            Kind::Hello,
            Kind::Follow,
            Kind::Refused,
            Kind::Frame,
            Kind::KeepAlive,
            Kind::Ack,
            Kind::Pull,
            Kind::Tail,
            Kind::TailEnd,
            Kind::Switchover,
            Kind::Snapshot,
            Kind::Part,
            Kind::Stream,
            Kind::Told,
            Kind::SnapshotEnd,
            Kind::Taken,
        ];
        ALL.into_iter().find(|kind| *kind as u16 == code)
    }
}

impl<'a> Message<'a> {
    /// Puts the message behind what is in `into`. Allocates only what `into` lacks in capacity, at most
    /// [`MESSAGE_BYTES_MAX`].
    ///
    /// # Panics
    /// On what [`decode`](Self::decode) would refuse: too many epochs, a part too long.
    pub fn encode(&self, into: &mut Vec<u8>) {
        match self {
            Self::Frame(head, copy) => {
                begin_frame(head, copy.encoded_bytes(), into);
                put_copy(copy, into);
            }
            Self::Tail(number, copy) => {
                let start = begin(Kind::Tail, into);
                put(into, *number);
                finish(start, copy.encoded_bytes(), into);
                put_copy(copy, into);
            }
            Self::Hello(hello) => {
                let start = begin(Kind::Hello, into);
                hello.put(into);
                finish(start, 0, into);
            }
            Self::Follow { epoch, from } => whole(Kind::Follow, into, |into| {
                put(into, *epoch);
                put_point(into, from);
            }),
            Self::Refused { why, promised } => whole(Kind::Refused, into, |into| {
                put(into, *why as u64);
                put(into, *promised);
            }),
            Self::KeepAlive { epoch, sent_at, commit, appended } => whole(Kind::KeepAlive, into, |into| {
                put_all(into, &[*epoch, sent_at.0, commit.0, appended.0]);
            }),
            Self::Ack(ack) => whole(Kind::Ack, into, |into| {
                put(into, ack.epoch);
                put_point(into, &ack.received);
                put_point(into, &ack.durable);
                put(into, ack.applied.seq.0);
                into.extend_from_slice(&ack.applied.output_hash.to_le_bytes());
                put(into, ack.echo.0);
            }),
            Self::Pull { from } => whole(Kind::Pull, into, |into| put_point(into, from)),
            Self::TailEnd { last } => whole(Kind::TailEnd, into, |into| put_point(into, last)),
            Self::Switchover { epoch, last } => whole(Kind::Switchover, into, |into| {
                put(into, *epoch);
                put_point(into, last);
            }),
            Self::Snapshot { bytes } => whole(Kind::Snapshot, into, |into| put(into, *bytes)),
            Self::Part { offset, bytes } => {
                assert!(bytes.len() <= PART_BYTES_MAX, "a part of {} bytes", bytes.len());
                whole(Kind::Part, into, |into| {
                    put(into, *offset);
                    into.extend_from_slice(bytes);
                });
            }
            Self::Stream(Stream { log, stream, generation, messages }) => whole(Kind::Stream, into, |into| {
                put_all(into, &[*log as u64, u64::from(*stream), u64::from(*generation), *messages]);
            }),
            Self::Told(told) => whole(Kind::Told, into, |into| into.extend_from_slice(told.0)),
            Self::SnapshotEnd { last, streams } => whole(Kind::SnapshotEnd, into, |into| {
                put_point(into, last);
                put(into, *streams);
            }),
            Self::Taken { bytes } => whole(Kind::Taken, into, |into| put(into, *bytes)),
        }
    }

    /// The message at the start of `bytes` and how many it took; `None` when it has not come whole.
    ///
    /// # Errors
    /// [`MessageError`]: whatever [`encode`](Self::encode) would not have written, as soon as it shows.
    pub fn decode(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, MessageError> {
        let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else { return Ok(None) };
        let length = u32::from_le_bytes(head[..4].try_into().expect("four bytes"));
        let crc = u32::from_le_bytes(head[4..8].try_into().expect("four bytes"));
        let code = u16::from_le_bytes(head[8..10].try_into().expect("two bytes"));
        if !(HEAD_BYTES..=MESSAGE_BYTES_MAX).contains(&(length as usize)) {
            return Err(MessageError::Length(length));
        }
        let Some(message) = bytes.get(..length as usize) else { return Ok(None) };
        let kind = Kind::new(code).ok_or(MessageError::Kind(code))?;
        let covered = match kind {
            Kind::Frame => message.get(8..HEAD_BYTES + FRAME_HEAD_BYTES).ok_or(MessageError::Size)?,
            Kind::Tail => message.get(8..HEAD_BYTES + 8).ok_or(MessageError::Size)?,
            _ => &message[8..],
        };
        if crc32c::crc32c(covered) != crc {
            return Err(MessageError::Crc);
        }
        if head[10..] != [0; 6] {
            return Err(MessageError::Field("unused bytes"));
        }
        let mut body = Body(&message[HEAD_BYTES..]);
        let decoded = Self::body(kind, &mut body)?;
        if body.0.is_empty() { Ok(Some((decoded, message.len()))) } else { Err(MessageError::Size) }
    }

    fn body(kind: Kind, body: &mut Body<'a>) -> Result<Self, MessageError> {
        Ok(match kind {
            Kind::Hello => Self::Hello(Box::new(Hello::take(body)?)),
            Kind::Follow => Self::Follow { epoch: body.epoch()?, from: body.point()? },
            Kind::Refused => {
                let code = body.word()?;
                let why = Refusal::ALL.iter().find(|why| **why as u64 == code);
                Self::Refused { why: *why.ok_or(MessageError::Field("refusal"))?, promised: body.word()? }
            }
            Kind::Frame => {
                let head = FrameHead {
                    epoch: body.epoch()?,
                    number: body.word()?,
                    sent_at: Nanos(body.word()?),
                    commit: Seq(body.word()?),
                };
                Self::Frame(head, body.copy()?)
            }
            Kind::KeepAlive => Self::KeepAlive {
                epoch: body.epoch()?,
                sent_at: Nanos(body.word()?),
                commit: Seq(body.word()?),
                appended: Seq(body.word()?),
            },
            Kind::Ack => Self::Ack(Ack {
                epoch: body.epoch()?,
                received: body.point()?,
                durable: body.point()?,
                applied: Executed { seq: Seq(body.word()?), output_hash: u128::from_le_bytes(body.chunk()?) },
                echo: Nanos(body.word()?),
            }),
            Kind::Pull => Self::Pull { from: body.point()? },
            Kind::Tail => Self::Tail(body.word()?, body.copy()?),
            Kind::TailEnd => Self::TailEnd { last: body.point()? },
            Kind::Switchover => Self::Switchover { epoch: body.epoch()?, last: body.point()? },
            Kind::Snapshot => Self::Snapshot { bytes: body.word()? },
            Kind::Part => {
                let (offset, bytes) = (body.word()?, body.rest());
                if bytes.len() > PART_BYTES_MAX {
                    return Err(MessageError::Size);
                }
                Self::Part { offset, bytes }
            }
            Kind::Stream => {
                let log = match body.word()? {
                    0 => Log::Sessions,
                    1 => Log::Feed,
                    _ => return Err(MessageError::Field("log")),
                };
                let mut small = |name| u32::try_from(body.word()?).map_err(|_| MessageError::Field(name));
                let (stream, generation) = (small("stream")?, small("generation")?);
                Self::Stream(Stream { log, stream, generation, messages: body.word()? })
            }
            Kind::Told => Self::Told(Told::new(body.rest()).ok_or(MessageError::Field("messages"))?),
            Kind::SnapshotEnd => Self::SnapshotEnd { last: body.point()?, streams: body.word()? },
            Kind::Taken => Self::Taken { bytes: body.word()? },
        })
    }
}

/// Puts the beginning of a frame's message behind what is in `into`: the copy's `copy_bytes` bytes must follow.
pub(crate) fn begin_frame(head: &FrameHead, copy_bytes: usize, into: &mut Vec<u8>) {
    let start = begin(Kind::Frame, into);
    put_all(into, &[head.epoch, head.number, head.sent_at.0, head.commit.0]);
    finish(start, copy_bytes, into);
}

fn begin(kind: Kind, into: &mut Vec<u8>) -> usize {
    let start = into.len();
    into.extend_from_slice(&[0; HEAD_BYTES]);
    into[start + 8..start + 10].copy_from_slice(&(kind as u16).to_le_bytes());
    start
}

/// Fills in length and checksum; `more` bytes will follow that the checksum does not cover.
fn finish(start: usize, more: usize, into: &mut [u8]) {
    let length = into.len() - start + more;
    assert!(length <= MESSAGE_BYTES_MAX, "a message of {length} bytes");
    let crc = crc32c::crc32c(&into[start + 8..]);
    into[start..start + 4].copy_from_slice(&(length as u32).to_le_bytes());
    into[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

fn whole(kind: Kind, into: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = begin(kind, into);
    body(into);
    finish(start, 0, into);
}

fn put(into: &mut Vec<u8>, word: u64) {
    into.extend_from_slice(&word.to_le_bytes());
}

fn put_all(into: &mut Vec<u8>, words: &[u64]) {
    words.iter().for_each(|word| put(into, *word));
}

fn put_point(into: &mut Vec<u8>, point: &Point) {
    put_all(into, &[point.frames, point.epoch, point.seq.0]);
    into.extend_from_slice(&point.hash.0);
}

fn put_copy(copy: &FrameCopy<'_>, into: &mut Vec<u8>) {
    let start = into.len();
    into.resize(start + copy.encoded_bytes(), 0);
    copy.encode_into(&mut into[start..]);
}

impl Hello {
    fn put(&self, into: &mut Vec<u8>) {
        assert!(self.epochs.len() <= EPOCHS_MAX, "a hello of {} epochs", self.epochs.len());
        into.extend_from_slice(&MAGIC);
        put(into, u64::from(VERSION));
        into.extend_from_slice(&self.identity.cluster);
        put(into, self.identity.key);
        put(into, u64::from(self.node.number()));
        put(into, self.ack as u64);
        put(into, self.asks as u64);
        put(into, self.promised);
        put(into, self.leading.unwrap_or(0));
        put_point(into, &self.last);
        put(into, self.epochs.len() as u64);
        put(into, self.voids.iter().count() as u64);
        self.epochs.iter().for_each(|point| put_point(into, point));
        for void in &self.voids {
            put(into, void.seq.0);
            put(into, void.recorded.0);
            into.extend_from_slice(&void.reason.0);
        }
    }

    fn take(body: &mut Body<'_>) -> Result<Self, MessageError> {
        if body.chunk()? != MAGIC {
            return Err(MessageError::Magic);
        }
        let version = body.word()?;
        if version != u64::from(VERSION) {
            return Err(MessageError::Version(u32::try_from(version).unwrap_or(u32::MAX)));
        }
        let identity = Identity { cluster: body.chunk()?, key: body.word()? };
        let node = u8::try_from(body.word()?).ok().and_then(NodeId::new);
        let ack = match body.word()? {
            0 => AckPolicy::BothDurable,
            1 => AckPolicy::DurableReceived,
            2 => AckPolicy::Local,
            _ => return Err(MessageError::Field("ack policy")),
        };
        let asks = match body.word()? {
            0 => Asks::Frames,
            1 => Asks::Snapshot,
            _ => return Err(MessageError::Field("request")),
        };
        let promised = body.word()?;
        let leading = Some(body.word()?).filter(|epoch| *epoch > 0);
        let last = body.point()?;
        let (epochs, voids) = (body.word()?, body.word()?);
        if epochs > EPOCHS_MAX as u64 {
            return Err(MessageError::Field("number of epochs"));
        }
        if voids > VOIDS_MAX as u64 {
            return Err(MessageError::Field("number of voids"));
        }
        let mut hello = Self {
            identity,
            node: node.ok_or(MessageError::Field("node"))?,
            ack,
            asks,
            promised,
            leading,
            last,
            epochs: Vec::with_capacity(epochs as usize),
            voids: Voids::NONE,
        };
        for _ in 0..epochs {
            hello.epochs.push(body.point()?);
        }
        let ascend = |pair: &[Point]| {
            pair[0].epoch < pair[1].epoch && pair[0].frames < pair[1].frames && pair[0].seq <= pair[1].seq
        };
        let first_is_sound = hello.epochs.first().is_none_or(|first| first.epoch > 0 && first.frames > 0);
        // A node without a frame has no epoch; any other has those of its journal, and its journal ends in the last.
        let end = hello.epochs.last().copied().unwrap_or_else(|| Chain::genesis(&identity).point());
        if !hello.epochs.windows(2).all(ascend) || !first_is_sound || end != last {
            return Err(MessageError::Field("epochs"));
        }
        for _ in 0..voids {
            let void = Void {
                seq: Seq(body.word()?),
                recorded: Seq(body.word()?),
                reason: VoidReason(body.chunk()?),
            };
            let is_next = void.seq > Seq(0) && hello.voids.iter().all(|known| known.seq < void.seq);
            let voids = is_next.then(|| hello.voids.with(void)).flatten();
            hello.voids = voids.ok_or(MessageError::Field("voids"))?;
        }
        Ok(hello)
    }
}

/// What is left of a message's body.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], MessageError> {
        let (chunk, rest) = self.0.split_first_chunk().ok_or(MessageError::Size)?;
        self.0 = rest;
        Ok(*chunk)
    }

    fn word(&mut self) -> Result<u64, MessageError> {
        Ok(u64::from_le_bytes(self.chunk()?))
    }

    /// An epoch in which somebody leads.
    fn epoch(&mut self) -> Result<u64, MessageError> {
        Some(self.word()?).filter(|epoch| *epoch > 0).ok_or(MessageError::Field("epoch"))
    }

    fn point(&mut self) -> Result<Point, MessageError> {
        let (frames, epoch, seq) = (self.word()?, self.word()?, Seq(self.word()?));
        let point = Point { frames, epoch, seq, hash: ChainHash(self.chunk()?) };
        let is_sound = (frames == 0) == (epoch == 0)
            && (frames > 0 || seq == Seq(0))
            && frames < u64::MAX
            && seq < Seq::MAX;
        is_sound.then_some(point).ok_or(MessageError::Field("point"))
    }

    fn copy(&mut self) -> Result<FrameCopy<'a>, MessageError> {
        let (copy, bytes) = FrameCopy::decode(self.0).map_err(|_| MessageError::Field("frame"))?;
        self.0 = &self.0[bytes..];
        Ok(copy)
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests;
