//! Keys: what wraps the journal's data key, so that a stolen disk tells nothing.
//!
//! It refuses to know what is enciphered with that key. Start with [`KeyWrap`]; [`KeyFile`] is the wrap
//! of a node without a token.

#![forbid(unsafe_code)]

mod key_file;

pub use key_file::KeyFile;

use std::io;
use std::path::PathBuf;

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
    #[error("the key file {} does not hold 64 hexadecimal digits: make one with `ironbell key`", .0.display())]
    NoKey(PathBuf),
    /// It was wrapped by another key, or changed.
    #[error(
        "the journal's data key was not wrapped by this key: give the key file that it was formatted with"
    )]
    NotOurs,
    /// The kernel gives no random bytes.
    #[error("the kernel gives no random bytes")]
    Random,
}
