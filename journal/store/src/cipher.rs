//! The data key: what the records of a journal are enciphered with, and what other keys are derived from.

use std::fmt;

use ironbell_record::Cipher;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};

/// A key of AES-256-GCM. "Less safe" is ring's word for a key whose nonces are the caller's: ours are (epoch,
/// first Seq), which never name two frames.
pub struct DataKey {
    frames: LessSafeKey,
    others: Prk,
}

impl DataKey {
    /// From its 32 bytes.
    ///
    /// # Panics
    /// Never: every 32 bytes are a key.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        let frames = UnboundKey::new(&AES_256_GCM, bytes).expect("the key has the right length");
        Self { frames: LessSafeKey::new(frames), others: Salt::new(HKDF_SHA256, &[]).extract(bytes) }
    }

    /// The key for something else that lies beside the journal, by HKDF-SHA256 (RFC 5869). Whoever enciphers
    /// something new names a purpose of its own, so that its nonces can meet nobody else's.
    ///
    /// # Panics
    /// Never: 32 bytes are one hash.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        struct Bytes32;
        impl KeyType for Bytes32 {
            fn len(&self) -> usize {
                32
            }
        }
        let info = [b"ironbell ".as_slice(), purpose.as_bytes()];
        let mut key = [0; 32];
        self.others.expand(&info, Bytes32).and_then(|okm| okm.fill(&mut key)).expect("32 bytes are one hash");
        key
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
        let tag = self.frames.seal_in_place_separate_tag(nonce, Aad::from(also), payload);
        // It fails beyond 64 GiB only, and a payload is at most 128 KiB.
        let tag = tag.expect("a payload is not too long for the cipher");
        tag.as_ref().try_into().expect("a tag has 16 bytes")
    }

    fn open(&self, nonce: [u8; 12], also: &[u8], payload: &mut [u8], tag: &[u8; 16]) -> bool {
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.frames.open_in_place_separate_tag(nonce, Aad::from(also), Tag::from(*tag), payload, 0..).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_purpose_and_every_data_key_has_a_key_of_its_own() {
        let (key, other) = (DataKey::new(&[1; 32]), DataKey::new(&[2; 32]));
        assert_eq!(key.derive("session log"), DataKey::new(&[1; 32]).derive("session log"));
        assert_ne!(key.derive("session log"), key.derive("feed log"));
        assert_ne!(key.derive("session log"), other.derive("session log"));
        assert_ne!(key.derive("session log"), [1; 32]);
    }
}
