//! The data key: what the records of a journal are enciphered with.

use std::fmt;

use ironbell_record::Cipher;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};

/// A key of AES-256-GCM. "Less safe" is ring's word for a key whose nonces are the caller's: ours are (epoch,
/// first Seq), which never name two frames.
pub struct DataKey(LessSafeKey);

impl DataKey {
    /// From its 32 bytes.
    ///
    /// # Panics
    /// Never: every 32 bytes are a key.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).expect("the key has the right length")))
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey")
    }
}

impl Cipher for DataKey {
    fn seal(&self, nonce: [u8; 12], also: &[u8], payload: &mut [u8]) -> [u8; 16] {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(also), payload);
        // It fails beyond 64 GiB only, and a payload is at most 128 KiB.
        let tag = tag.expect("a payload is not too long for the cipher");
        tag.as_ref().try_into().expect("a tag has 16 bytes")
    }

    fn open(&self, nonce: [u8; 12], also: &[u8], payload: &mut [u8], tag: &[u8; 16]) -> bool {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0.open_in_place_separate_tag(nonce, Aad::from(also), Tag::from(*tag), payload, 0..).is_ok()
    }
}
