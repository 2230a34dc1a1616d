//! Keys: what wraps the journal's data key, so that a stolen disk tells nothing; and what signs, so that an
//! auditor need not believe the venue.
//!
//! It refuses to know what is enciphered or signed with them. Start with [`Signer`] and [`KeyWrap`]; each has an
//! implementation on a token ([`TokenSigner`], [`TokenWrap`]) and one in a file ([`SoftwareSigner`], [`KeyFile`]).
//! What is signed is a [`Checkpoint`] of the [`Tree`] whose leaves are [`entry`]s; what an auditor holds is a [`Receipt`].

#![forbid(unsafe_code)]

mod backup;
mod key_file;
mod pin;
mod signer;
mod software;
mod token;

pub mod merkle;

pub mod entry;

mod checkpoint;
mod desk;
mod head;
mod history;
mod note;
mod payment;
mod receipt;
mod tree;
mod witness;
mod wrap_file;

#[cfg(test)]
mod scratch;
#[cfg(test)]
mod softhsm;

pub use backup::{WrappedKey, join_components};
pub use checkpoint::Checkpoint;
pub use desk::{Desk, DeskParts, Health, Request, Ticket};
pub use head::{Head, HeadFile, write_durably};
pub use history::{KeyChange, KeyHistory};
pub use key_file::KeyFile;
pub use merkle::{Hash, Nodes};
pub use note::{Form, Note, SignatureLine, VerifierKey, parse_keys};
pub use payment::{Payment, PaymentLog};
pub use pin::PinSource;
pub use receipt::{Receipt, Shown, Verified};
pub use signer::{ALGORITHMS, Algorithm, PublicKey, Signer};
pub use software::SoftwareSigner;
pub use token::{
    Leaves, PinTrouble, Token, TokenConfig, TokenKey, TokenSigner, TokenWrap, confirm_pin, init_token,
};
pub use tree::{Tree, replace_file};
pub use witness::{AddCheckpoint, Answer, Witness};
pub use wrap_file::{TokenKeyFile, open_wrap};

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

/// A key of 256 bits, gone from memory when dropped.
pub type Key = Zeroizing<[u8; 32]>;

/// Turns a key into bytes that may lie about, and back.
pub trait KeyWrap {
    /// `key`, enciphered: at most 512 bytes.
    ///
    /// # Errors
    /// When the wrapping key cannot be used.
    fn wrap(&self, key: &Key) -> Result<Vec<u8>, Error>;

    /// The key that [`wrap`](Self::wrap) made `wrapped` of.
    ///
    /// # Errors
    /// [`Error::NotOurs`] when it was made by another key or changed since.
    fn unwrap(&self, wrapped: &[u8]) -> Result<Key, Error>;
}

/// A new random key.
///
/// # Errors
/// [`Error::Random`].
pub fn new_key() -> Result<Key, Error> {
    use ring::rand::SecureRandom;
    let mut key = Key::default();
    ring::rand::SystemRandom::new().fill(key.as_mut()).map_err(|_| Error::Random)?;
    Ok(key)
}

/// What can be wrong with a key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be used.
    #[error("cannot {what} the key file {}: {source}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Others may read the file.
    #[error("the key file {} can be read by others (mode {mode:04o}): chmod 0400 it", path.display())]
    Mode {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds no key.
    #[error("the key file {} holds neither 64 hexadecimal digits nor the name of a token's key: make one with `ironbell key`", .0.display())]
    NoKey(PathBuf),
    /// It was wrapped by another key, or changed.
    #[error(
        "the journal's data key was not wrapped by this key: give the key file that it was formatted with"
    )]
    NotOurs,
    /// The kernel gives no random bytes.
    #[error("the kernel gives no random bytes")]
    Random,
    /// The file holds no private key.
    #[error("{} holds no private key of a known kind: make one with `ironbell hsm generate`", .0.display())]
    NotPrivateKey(PathBuf),
    /// The bytes are no public key.
    #[error("this is no public key of {0}")]
    PublicKey(Algorithm),
    /// The signature is not that key's over that message.
    #[error("the {0} signature does not verify")]
    Signature(Algorithm),
    /// The algorithm is not in this build.
    #[error("this build does not know ML-DSA: build it with the feature `ml-dsa`")]
    NoMlDsa,
    /// systemd passed no credentials.
    #[error("systemd passed no credential {0}: give the service LoadCredentialEncrypted={0}:…")]
    NoCredentials(String),
    /// The file holds no PIN.
    #[error("{} holds no PIN: it must be one line of text", .0.display())]
    NoPin(PathBuf),
    /// The PKCS#11 module cannot be used.
    #[error("the PKCS#11 module {} cannot be used: {why}", path.display())]
    Module {
        /// Its file.
        path: PathBuf,
        /// What was said.
        why: String,
    },
    /// There is no such token.
    #[error("the PKCS#11 module {} shows no token labelled {token}: is it plugged in and initialised?", module.display())]
    NoToken {
        /// The module's file.
        module: PathBuf,
        /// The token's label.
        token: String,
    },
    /// There is such a token already.
    #[error("there is a token labelled {0} already: choose another label")]
    TokenExists(String),
    /// The PIN is no good.
    #[error("the token {token} {what}")]
    Pin {
        /// The token's label.
        token: String,
        /// What is wrong.
        what: PinTrouble,
    },
    /// The token has no such key.
    #[error("the token {token} has no key labelled {label}: see `ironbell hsm list`")]
    NoTokenKey {
        /// The token's label.
        token: String,
        /// The key's label.
        label: String,
    },
    /// The token has such a key already.
    #[error("the token {token} has a key labelled {label} already: choose another label")]
    KeyExists {
        /// The token's label.
        token: String,
        /// The key's label.
        label: String,
    },
    /// All sessions are in use.
    #[error("the token {token} has no session left, of {max}: raise sessions_max or use fewer at once")]
    Sessions {
        /// The token's label.
        token: String,
        /// How many there may be.
        max: usize,
    },
    /// The token is gone.
    #[error("the token {token} is gone: {why}")]
    TokenLost {
        /// The token's label.
        token: String,
        /// What it said last.
        why: String,
    },
    /// The token refused something.
    #[error("the token {token} does not {what}: {why}")]
    Token {
        /// The token's label.
        token: String,
        /// What was asked.
        what: &'static str,
        /// What it said.
        why: String,
    },
    /// A backup key cannot be joined.
    #[error("{0}")]
    Components(&'static str),
    /// A text is not of the form that it must have.
    #[error("{0}")]
    Note(&'static str),
    /// A line of a receipt is wrong.
    #[error("line {line} of the receipt: {why}")]
    Receipt {
        /// From 1.
        line: usize,
        /// What is wrong.
        why: &'static str,
    },
    /// A note lacks a signature.
    #[error("it is not signed by {0}")]
    Unsigned(String),
    /// A note's signature does not verify.
    #[error("the {algorithm} signature of {key} does not verify: text or signature was changed")]
    SignatureOf {
        /// Whose, as name and id.
        key: String,
        /// Of which algorithm.
        algorithm: Algorithm,
    },
    /// A proof does not hold.
    #[error("{0}")]
    Proof(&'static str),
    /// A tree head that would make a second history.
    #[error("a head of size {next} is not signed after one of size {last}: {why}")]
    Equivocation {
        /// The size that was signed.
        last: u64,
        /// The size that was asked.
        next: u64,
        /// What is wrong.
        why: &'static str,
    },
    /// Too few officers approved.
    #[error("{signed} officers approved, and {quorum} must")]
    Quorum {
        /// How many did.
        signed: u64,
        /// How many must.
        quorum: u64,
    },
    /// A payment is not signed.
    #[error("{0}")]
    Payment(&'static str),
    /// The signing desk's queue is full.
    #[error("the queue of the signing desk is full: its key is slow or gone")]
    QueueFull,
    /// The key takes too long.
    #[error("nothing was signed within {0:?}: the key is slow or gone; it may still be signed")]
    SignTimeout(Duration),
    /// The signing desk ended.
    #[error("the signing desk is closed")]
    DeskGone,
    /// A file of the log's state cannot be used.
    #[error("{}: {why}", path.display())]
    State {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl Error {
    /// Whether the same may go well later, with nothing changed but the token: plugged in again, or less busy.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::TokenLost { .. }
                | Self::Sessions { .. }
                | Self::NoToken { .. }
                | Self::QueueFull
                | Self::SignTimeout(_)
        )
    }
}
