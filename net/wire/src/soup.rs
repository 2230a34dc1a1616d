//! SoupBinTCP 3.00: packets over a TCP stream (Nasdaq SoupBinTCP 3.00, sections 2 to 4), and the longer
//! login of 4.10.
//!
//! ```text
//! 0              2      3
//! | length u16   | type | payload: length - 1 bytes
//! ```
//!
//! The first sequenced message of a session has number 1; the packets carry no number, both sides count
//! them. [`split`] takes packets off the front of what has been received so far.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{DecodeError, NoRoom, Problem, Protocol, Type, U16, number, put_number};

/// Bytes before the payload.
pub const HEADER_LEN: usize = 3;

/// The longest payload that the length field can announce, in bytes.
pub const PAYLOAD_LEN_MAX: usize = u16::MAX as usize - 1;

/// The longest packet, in bytes.
pub const PACKET_LEN_MAX: usize = HEADER_LEN + PAYLOAD_LEN_MAX;

/// A whole packet: the server is alive.
pub const SERVER_HEARTBEAT: [u8; 3] = [0, 1, b'H'];

/// A whole packet: the session has ended for good.
pub const END_OF_SESSION: [u8; 3] = [0, 1, b'Z'];

/// A whole packet: the client is alive.
pub const CLIENT_HEARTBEAT: [u8; 3] = [0, 1, b'R'];

/// A whole packet: the client goes.
pub const LOGOUT_REQUEST: [u8; 3] = [0, 1, b'O'];

/// Any packet, borrowed from the bytes it came in. Which side may send it is the session's affair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// `+`, both sides: text for people.
    Debug(&'a [u8]),
    /// `A`, server.
    LoginAccepted(&'a LoginAccepted),
    /// `J`, server.
    LoginRejected(&'a LoginRejected),
    /// `S`, server: the next message of the session.
    SequencedData(&'a [u8]),
    /// `H`, server.
    ServerHeartbeat,
    /// `Z`, server.
    EndOfSession,
    /// `L`, client.
    LoginRequest(&'a LoginRequest, LoginExtension<'a>),
    /// `U`, client (since 4.00 the server too): a message outside the sequence.
    UnsequencedData(&'a [u8]),
    /// `R`, client.
    ClientHeartbeat,
    /// `O`, client.
    LogoutRequest,
}

/// What a client asks to be let in with: the whole packet, up to where 4.10 adds to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct LoginRequest {
    /// Bytes that follow this field.
    pub length: U16,
    /// The type byte.
    pub packet_type: Type<b'L'>,
    /// Case-insensitive; [`LoginRequest::username`] reads it.
    pub username: [u8; 6],
    /// Case-insensitive; [`LoginRequest::password`] reads it.
    pub password: [u8; 10],
    /// Spaces are the current session.
    pub requested_session: [u8; 10],
    /// The next message wanted, in ASCII digits; 0 is the most recent one.
    pub requested_sequence_number: [u8; 20],
}

const _: () = assert!(size_of::<LoginRequest>() == 49);

impl LoginRequest {
    /// The packet; texts are padded right with spaces. `None` when one is longer than its field (6, 10
    /// and 10 characters) or not printable ASCII.
    #[must_use]
    pub fn new(username: &str, password: &str, session: &str, sequence_number: u64) -> Option<Self> {
        Some(Self {
            length: U16::new(46 + 1),
            packet_type: Type::new(),
            username: padded(username.as_bytes())?,
            password: padded(password.as_bytes())?,
            requested_session: padded(session.as_bytes())?,
            requested_sequence_number: put_number(sequence_number),
        })
    }

    /// The user name in upper case, padded right.
    #[must_use]
    pub fn username(&self) -> [u8; 6] {
        upper(self.username)
    }

    /// The password in upper case, padded right.
    #[must_use]
    pub fn password(&self) -> [u8; 10] {
        upper(self.password)
    }

    /// The session asked for without its padding; empty is the current one.
    #[must_use]
    pub fn session(&self) -> &[u8] {
        self.requested_session.trim_ascii()
    }

    /// The number of the next message wanted; 0 is the most recent one.
    ///
    /// # Errors
    /// [`Problem::NotANumber`].
    pub fn sequence(&self) -> Result<u64, DecodeError> {
        number(&self.requested_sequence_number).ok_or(error(b'L', 29, Problem::NotANumber))
    }
}

/// What 4.10 adds to a login request. Unverified against Nasdaq's own text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginExtension<'a>(Option<&'a [u8; 5]>);

impl LoginExtension<'_> {
    /// How long the server should wait for a heartbeat, in milliseconds; `None` from clients before 4.10.
    ///
    /// # Errors
    /// [`Problem::NotANumber`].
    pub fn heartbeat_timeout_ms(&self) -> Result<Option<u64>, DecodeError> {
        let Some(field) = self.0 else { return Ok(None) };
        number(field).map(Some).ok_or(error(b'L', 49, Problem::NotANumber))
    }
}

/// The client is let in: the whole packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct LoginAccepted {
    /// Bytes that follow this field.
    pub length: U16,
    /// The type byte.
    pub packet_type: Type<b'A'>,
    /// The session, padded left.
    pub session: [u8; 10],
    /// The number of the next sequenced message, in ASCII digits, padded left.
    pub sequence_number: [u8; 20],
}

const _: () = assert!(size_of::<LoginAccepted>() == 33);

impl LoginAccepted {
    /// The packet. `session` is as it goes out: a shorter name is padded left.
    #[must_use]
    pub fn new(session: [u8; 10], sequence_number: u64) -> Self {
        Self {
            length: U16::new(30 + 1),
            packet_type: Type::new(),
            session,
            sequence_number: put_number(sequence_number),
        }
    }

    /// The session without its padding.
    #[must_use]
    pub fn session(&self) -> &[u8] {
        self.session.trim_ascii()
    }

    /// The number of the next sequenced message.
    ///
    /// # Errors
    /// [`Problem::NotANumber`].
    pub fn sequence(&self) -> Result<u64, DecodeError> {
        number(&self.sequence_number).ok_or(error(b'A', 13, Problem::NotANumber))
    }
}

/// The client is not let in: the whole packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct LoginRejected {
    /// Bytes that follow this field.
    pub length: U16,
    /// The type byte.
    pub packet_type: Type<b'J'>,
    /// [`LoginRejected::NOT_AUTHORIZED`] or [`LoginRejected::NO_SESSION`].
    pub reason: u8,
}

const _: () = assert!(size_of::<LoginRejected>() == 4);

impl LoginRejected {
    /// User name or password is wrong.
    pub const NOT_AUTHORIZED: u8 = b'A';
    /// The session asked for is not available.
    pub const NO_SESSION: u8 = b'S';

    /// The packet.
    #[must_use]
    pub const fn new(reason: u8) -> Self {
        Self { length: U16::new(1 + 1), packet_type: Type::new(), reason }
    }
}

/// Takes one packet off the front of `received`. Returns it with its length in bytes, so that the next
/// begins there; `None` when it is not all there yet. Nothing behind the packet is looked at.
///
/// A packet of more than `packet_len_max` bytes is refused as soon as its length field is there, so that
/// a peer cannot make its reader wait for more than its buffer holds.
///
/// # Errors
/// [`Problem::Empty`], [`Problem::UnknownType`], [`Problem::Length`] or [`Problem::TooLong`]. There is no
/// way to find the next packet after an error: disconnect.
#[inline]
pub fn split(received: &[u8], packet_len_max: usize) -> Result<Option<(Packet<'_>, usize)>, DecodeError> {
    let Some((length, _)) = received.split_first_chunk() else { return Ok(None) };
    let len = 2 + usize::from(u16::from_be_bytes(*length));
    if len < HEADER_LEN {
        return Err(error(0, 0, Problem::Empty));
    }
    if len > packet_len_max {
        let message_type = received.get(2).copied().unwrap_or(0);
        return Err(error(message_type, 0, Problem::TooLong { actual: len, max: packet_len_max }));
    }
    match received.get(..len) {
        Some(packet) => Ok(Some((parse(packet)?, len))),
        None => Ok(None),
    }
}

fn parse(packet: &[u8]) -> Result<Packet<'_>, DecodeError> {
    let payload = &packet[HEADER_LEN..];
    match packet[2] {
        b'S' => Ok(Packet::SequencedData(payload)),
        b'U' => Ok(Packet::UnsequencedData(payload)),
        b'+' => Ok(Packet::Debug(payload)),
        b'H' => empty(packet, Packet::ServerHeartbeat),
        b'Z' => empty(packet, Packet::EndOfSession),
        b'R' => empty(packet, Packet::ClientHeartbeat),
        b'O' => empty(packet, Packet::LogoutRequest),
        b'A' => match LoginAccepted::ref_from_bytes(packet) {
            Ok(accepted) => Ok(Packet::LoginAccepted(accepted)),
            Err(_) => Err(wrong_length(packet, size_of::<LoginAccepted>())),
        },
        b'J' => match LoginRejected::ref_from_bytes(packet) {
            Ok(rejected) => Ok(Packet::LoginRejected(rejected)),
            Err(_) => Err(wrong_length(packet, size_of::<LoginRejected>())),
        },
        b'L' => login_request(packet),
        other => Err(error(other, 2, Problem::UnknownType)),
    }
}

fn empty<'a>(bytes: &[u8], packet: Packet<'a>) -> Result<Packet<'a>, DecodeError> {
    if bytes.len() == HEADER_LEN { Ok(packet) } else { Err(wrong_length(bytes, HEADER_LEN)) }
}

fn login_request(packet: &[u8]) -> Result<Packet<'_>, DecodeError> {
    let Ok((login, rest)) = LoginRequest::ref_from_prefix(packet) else {
        return Err(wrong_length(packet, size_of::<LoginRequest>()));
    };
    let extension = match rest.len() {
        0 => None,
        5 => rest.first_chunk(),
        _ => return Err(wrong_length(packet, size_of::<LoginRequest>())),
    };
    Ok(Packet::LoginRequest(login, LoginExtension(extension)))
}

/// Writes a sequenced data packet; returns its length in bytes.
///
/// # Errors
/// [`NoRoom`] when `out` is too short for it.
///
/// # Panics
/// When `message` is longer than [`PAYLOAD_LEN_MAX`].
pub fn put_sequenced(message: &[u8], out: &mut [u8]) -> Result<usize, NoRoom> {
    put(b'S', message, out)
}

/// Writes an unsequenced data packet, as [`put_sequenced`].
///
/// # Errors
/// [`NoRoom`] when `out` is too short for it.
///
/// # Panics
/// When `message` is longer than [`PAYLOAD_LEN_MAX`].
pub fn put_unsequenced(message: &[u8], out: &mut [u8]) -> Result<usize, NoRoom> {
    put(b'U', message, out)
}

/// Writes a debug packet, as [`put_sequenced`].
///
/// # Errors
/// [`NoRoom`] when `out` is too short for it.
///
/// # Panics
/// When `text` is longer than [`PAYLOAD_LEN_MAX`].
pub fn put_debug(text: &[u8], out: &mut [u8]) -> Result<usize, NoRoom> {
    put(b'+', text, out)
}

fn put(packet_type: u8, payload: &[u8], out: &mut [u8]) -> Result<usize, NoRoom> {
    let len = HEADER_LEN + payload.len();
    let room = out.get_mut(..len).ok_or(NoRoom { needed: len })?;
    room[..HEADER_LEN].copy_from_slice(&header(packet_type, payload.len()));
    room[HEADER_LEN..].copy_from_slice(payload);
    Ok(len)
}

/// The three bytes before the payload of a sequenced data packet, for whoever writes the payload into
/// place behind them.
///
/// # Panics
/// When `payload_len` is more than [`PAYLOAD_LEN_MAX`].
#[must_use]
pub const fn sequenced_header(payload_len: usize) -> [u8; HEADER_LEN] {
    header(b'S', payload_len)
}

/// As [`sequenced_header`], of an unsequenced data packet.
///
/// # Panics
/// When `payload_len` is more than [`PAYLOAD_LEN_MAX`].
#[must_use]
pub const fn unsequenced_header(payload_len: usize) -> [u8; HEADER_LEN] {
    header(b'U', payload_len)
}

const fn header(packet_type: u8, payload_len: usize) -> [u8; HEADER_LEN] {
    assert!(payload_len <= PAYLOAD_LEN_MAX);
    let [high, low] = (payload_len as u16 + 1).to_be_bytes();
    [high, low, packet_type]
}

/// `text` padded right with spaces; `None` when it does not fit or is not printable ASCII.
fn padded<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut field = [b' '; N];
    field.get_mut(..text.len())?.copy_from_slice(text);
    text.iter().all(|byte| (b' '..=b'~').contains(byte)).then_some(field)
}

/// The text of a field in upper case, padded right wherever its own padding stood.
fn upper<const N: usize>(field: [u8; N]) -> [u8; N] {
    let (mut out, text) = ([b' '; N], field.trim_ascii());
    out[..text.len()].copy_from_slice(text);
    out.make_ascii_uppercase();
    out
}

#[cold]
const fn wrong_length(packet: &[u8], expected: usize) -> DecodeError {
    error(packet[2], 0, Problem::Length { expected, actual: packet.len() })
}

const fn error(message_type: u8, offset: usize, problem: Problem) -> DecodeError {
    DecodeError { protocol: Protocol::SoupBinTcp, message_type, offset, problem }
}
