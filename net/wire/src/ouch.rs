//! OUCH 5.0: orders in, their fates out (Nasdaq OUCH 5.0, revision 1.04, and two options of 1.05).
//!
//! A message is a fixed part and an appendage of options:
//!
//! ```text
//! 0      1               fixed                fixed + 2
//! | type | fixed fields  | appendage length u16 | options
//! ```
//!
//! Members' messages are [`Inbound`] and travel in unsequenced packets, the exchange's are [`Outbound`]
//! and travel in sequenced ones; the same letter means different things on the two ways. Prices have four
//! implied decimals, in messages about scaled instruments they are ticks.

use crate::{DecodeError, Field, Message, NoRoom, Problem, Protocol};

mod options;

use options::tag_set;
pub use options::{APPENDAGE_LEN_MAX, OptionValue, Options, OptionsBuf};

/// The price that says "at the market".
pub const PRICE_MARKET: u64 = 0x7fff_ffff;

/// The longest message in either direction, in bytes.
pub const MESSAGE_LEN_MAX: usize = 66 + 2 + APPENDAGE_LEN_MAX;

/// Whether a message has an appendage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appendage {
    /// Its length is always there, 0 when there is no option.
    Required,
    /// When there is no option its length may be absent, and we leave it out.
    Optional,
    /// There is none.
    None,
}

/// A message's layout: type byte, name, fields of its fixed part, appendage, tags allowed in it.
pub type Layout = (u8, &'static str, &'static [Field], Appendage, &'static [u8]);

/// An OUCH message: its fixed part, and what may follow it.
pub trait OuchMessage: Message {
    /// Whether it has an appendage.
    const APPENDAGE: Appendage;
    /// The options it may have; bit t is tag t.
    const TAGS: u32;

    /// Writes the message with its options; returns its length in bytes. On outbound messages whose
    /// appendage is [`Appendage::Optional`] the protocol wants an option only when the request had a
    /// UserRefIdx other than zero: the caller leaves `options` empty otherwise.
    ///
    /// # Errors
    /// [`NoRoom`] when `out` is too short for it.
    ///
    /// # Panics
    /// When there is an option that this message may not have.
    #[inline]
    fn encode(&self, options: &OptionsBuf, out: &mut [u8]) -> Result<usize, NoRoom> {
        assert!(
            options.present() & !Self::TAGS == 0,
            "{} may not have these options: {options:?}",
            Self::NAME
        );
        let fixed = size_of::<Self>();
        let elements = options.as_bytes();
        let appendage = match Self::APPENDAGE {
            Appendage::Required => 2 + elements.len(),
            Appendage::Optional if !elements.is_empty() => 2 + elements.len(),
            Appendage::Optional | Appendage::None => 0,
        };
        let needed = fixed + appendage;
        let room = out.get_mut(..needed).ok_or(NoRoom { needed })?;
        room[..fixed].copy_from_slice(self.as_bytes());
        if appendage != 0 {
            room[fixed..fixed + 2].copy_from_slice(&(elements.len() as u16).to_be_bytes());
            room[fixed + 2..].copy_from_slice(elements);
        }
        Ok(needed)
    }
}

/// Declares the messages of one direction and the enum over them.
macro_rules! ouch {
    (
        $(#[$edoc:meta])* $direction:ident $protocol:ident;
        $($(#[$doc:meta])* $code:literal $name:ident $size:literal $appendage:ident [$($tag:literal),*] {
            $($(#[$fdoc:meta])* $field:ident: $ty:ty,)*
        })*
    ) => {
        $(message! { $(#[$doc])* $code $name $size { $($(#[$fdoc])* $field: $ty,)* } }

        impl OuchMessage for $name {
            const APPENDAGE: Appendage = Appendage::$appendage;
            const TAGS: u32 = tag_set(&[$($tag),*]);
        }
        const _: () = assert!($size <= 66);)*

        $(#[$edoc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $direction<'a> { $($(#[$doc])* $name(&'a $name, Options<'a>),)* }

        impl<'a> $direction<'a> {
            /// Layout of every message.
            pub const LAYOUTS: &'static [Layout] = &[$((
                <$name as Message>::TYPE,
                <$name as Message>::NAME,
                <$name as Message>::FIELDS,
                <$name as OuchMessage>::APPENDAGE,
                &[$($tag),*],
            ),)*];

            /// Reads one whole message: a known type, its fixed part, exactly the appendage it announces,
            /// and in it only options that are known, allowed here, of their right length, and not repeated.
            ///
            /// # Errors
            /// Every [`Problem`] of messages and options.
            #[inline]
            pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
                match bytes.first() {
                    $(Some(&$code) => {
                        let (message, options) = whole::<$name>(bytes, Protocol::$protocol)?;
                        Ok(Self::$name(message, options))
                    })*
                    Some(&other) => Err(error(Protocol::$protocol, other, 0, Problem::UnknownType)),
                    None => Err(error(Protocol::$protocol, 0, 0, Problem::Empty)),
                }
            }

            /// Reads the fixed part alone and leaves the options empty: what an answer to a message needs
            /// whose appendage [`Self::parse`] refused.
            ///
            /// # Errors
            /// [`Problem::Empty`], [`Problem::UnknownType`] or [`Problem::Length`].
            pub fn parse_fixed(bytes: &'a [u8]) -> Result<Self, DecodeError> {
                match bytes.first() {
                    $(Some(&$code) => {
                        let (message, _) = fixed::<$name>(bytes, Protocol::$protocol)?;
                        Ok(Self::$name(message, Options::default()))
                    })*
                    Some(&other) => Err(error(Protocol::$protocol, other, 0, Problem::UnknownType)),
                    None => Err(error(Protocol::$protocol, 0, 0, Problem::Empty)),
                }
            }

            /// Its options.
            #[must_use]
            pub fn options(&self) -> Options<'a> {
                match *self { $(Self::$name(_, options) => options,)* }
            }

            /// Writes it again, as [`OuchMessage::encode`] does; returns its length in bytes.
            ///
            /// # Errors
            /// [`NoRoom`] when `out` is too short for it.
            pub fn encode(&self, out: &mut [u8]) -> Result<usize, NoRoom> {
                match *self { $(Self::$name(message, options) => message.encode(&options.into(), out),)* }
            }
        }
    };
}

/// The fixed part and what follows it.
fn fixed<M: OuchMessage>(bytes: &[u8], protocol: Protocol) -> Result<(&M, &[u8]), DecodeError> {
    M::ref_from_prefix(bytes).map_err(|_| {
        let (expected, actual) = (size_of::<M>(), bytes.len());
        error(protocol, M::TYPE, actual, Problem::Length { expected, actual })
    })
}

#[inline]
fn whole<M: OuchMessage>(bytes: &[u8], protocol: Protocol) -> Result<(&M, Options<'_>), DecodeError> {
    let (message, rest) = fixed::<M>(bytes, protocol)?;
    let fail = |problem| Err(error(protocol, M::TYPE, size_of::<M>(), problem));
    if M::APPENDAGE == Appendage::None && !rest.is_empty() {
        return fail(Problem::AppendageNotAllowed { actual: rest.len() });
    }
    if M::APPENDAGE != Appendage::Required && rest.is_empty() {
        return Ok((message, Options::default()));
    }
    let Some((length, elements)) = rest.split_first_chunk() else {
        return fail(Problem::Length { expected: size_of::<M>() + 2, actual: bytes.len() });
    };
    let declared = usize::from(u16::from_be_bytes(*length));
    if declared != elements.len() {
        return fail(Problem::AppendageLength { declared, actual: elements.len() });
    }
    let options = Options::parse(elements, M::TAGS, size_of::<M>() + 2, (protocol, M::TYPE))?;
    Ok((message, options))
}

const fn error(protocol: Protocol, message_type: u8, offset: usize, problem: Problem) -> DecodeError {
    DecodeError { protocol, message_type, offset, problem }
}

mod inbound;
mod outbound;

pub use inbound::*;
pub use outbound::*;
