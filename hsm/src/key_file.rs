//! A wrapping key in a file.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::{Error, Key, KeyWrap, new_key};

/// The first byte of what a key file has wrapped.
const KIND: u8 = 1;

/// Authenticated with every key, so that nothing else enciphered with the file's key passes for one.
const PURPOSE: &[u8] = b"ironbell data key";

/// A wrapping key in a file that only its owner may read. Nonces are random: 2^32 wraps stay within what
/// NIST SP 800-38D, section 8.3, allows, and a node makes one when it is formatted.
pub struct KeyFile(LessSafeKey);

impl std::fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyFile")
    }
}

impl KeyFile {
    /// Makes a new file with a new key, mode 0400.
    ///
    /// # Errors
    /// [`Error::File`] when there is one already or it cannot be made, [`Error::Random`].
    pub fn create(path: &Path) -> Result<(), Error> {
        let key = new_key()?;
        let digits = Zeroizing::new(key.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
        let failed = |source| Error::File { what: "make", path: path.to_owned(), source };
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o400).open(path).map_err(failed)?;
        file.write_all(digits.as_bytes())
            .and_then(|()| file.write_all(b"\n"))
            .and_then(|()| file.sync_all())
            .map_err(failed)
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Mode`], [`Error::NoKey`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self::of(&read_key(path)?))
    }

    fn of(key: &Key) -> Self {
        Self(LessSafeKey::new(
            UnboundKey::new(&AES_256_GCM, key.as_ref()).expect("the key has the right length"),
        ))
    }
}

/// What stands in a key file that its owner alone may read.
pub(crate) fn read_key(path: &Path) -> Result<Key, Error> {
    let failed = |source| Error::File { what: "read", path: path.to_owned(), source };
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(Error::Mode { path: path.to_owned(), mode });
    }
    let text = Zeroizing::new(fs::read(path).map_err(failed)?);
    parse(text.trim_ascii()).ok_or_else(|| Error::NoKey(path.to_owned()))
}

fn parse(digits: &[u8]) -> Option<Key> {
    let mut key = Key::default();
    if digits.len() != key.len() * 2 {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(digits.chunks(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Some(key)
}

impl KeyWrap for KeyFile {
    fn wrap(&self, key: &Key) -> Result<Vec<u8>, Error> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| Error::Random)?;
        let mut enciphered = Zeroizing::new(key.to_vec());
        let sealed = self.0.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(PURPOSE),
            &mut enciphered,
        );
        let tag = sealed.expect("a key is not too long for the cipher");
        Ok([&[KIND][..], &nonce, &enciphered, tag.as_ref()].concat())
    }

    fn unwrap(&self, wrapped: &[u8]) -> Result<Key, Error> {
        let (&kind, rest) = wrapped.split_first().ok_or(Error::NotOurs)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or(Error::NotOurs)?;
        if kind != KIND {
            return Err(Error::NotOurs);
        }
        let mut sealed = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened =
            self.0.open_in_place(nonce, Aad::from(PURPOSE), &mut sealed).map_err(|_| Error::NotOurs)?;
        let mut key = Key::default();
        if opened.len() != key.len() {
            return Err(Error::NotOurs);
        }
        key.copy_from_slice(opened);
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("ironbell-key-{name}-{}", std::process::id()));
        let _ = fs::remove_file(&path);
        path
    }

    #[test]
    fn what_is_wrapped_unwraps_and_every_bit_counts() {
        let path = scratch("wrap");
        KeyFile::create(&path).expect("a temporary file");
        let (file, key) = (KeyFile::open(&path).expect("it was just made"), new_key().expect("random bytes"));
        let wrapped = file.wrap(&key).expect("it wraps");
        assert_eq!(wrapped.len(), 61);
        assert_eq!(*file.unwrap(&wrapped).expect("it is ours"), *key);
        assert!(!wrapped.windows(8).any(|window| key.windows(8).any(|part| part == window)));
        assert_ne!(file.wrap(&key).expect("it wraps"), wrapped, "a nonce is used once");
        for bit in 0..wrapped.len() * 8 {
            let mut changed = wrapped.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(file.unwrap(&changed), Err(Error::NotOurs)), "bit {bit}");
        }
        for end in 0..wrapped.len() {
            assert!(matches!(file.unwrap(&wrapped[..end]), Err(Error::NotOurs)), "{end} bytes");
        }
        let other = KeyFile::of(&new_key().expect("random bytes"));
        assert!(matches!(other.unwrap(&wrapped), Err(Error::NotOurs)));
        fs::remove_file(path).expect("it is ours");
    }

    #[test]
    fn a_key_file_is_made_once_and_read_by_its_owner_alone() {
        let path = scratch("mode");
        KeyFile::create(&path).expect("a temporary file");
        assert!(matches!(KeyFile::create(&path), Err(Error::File { what: "make", .. })));
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
        mode(0o440);
        assert!(matches!(KeyFile::open(&path), Err(Error::Mode { mode: 0o440, .. })));
        mode(0o600);
        KeyFile::open(&path).expect("others cannot read it");
        for text in ["", "12", &"g".repeat(64), &"0".repeat(65)] {
            fs::write(&path, text).expect("it is ours");
            assert!(matches!(KeyFile::open(&path), Err(Error::NoKey(_))), "{text}");
        }
        fs::write(&path, format!("  {}\n", "aB".repeat(32))).expect("it is ours");
        KeyFile::open(&path).expect("64 digits");
        fs::remove_file(&path).expect("it is ours");
        assert!(matches!(KeyFile::open(&path), Err(Error::File { what: "read", .. })));
    }
}
