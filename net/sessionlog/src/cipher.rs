//! What the messages of a log are enciphered with.

use std::fmt;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use ring::hmac::{self, HMAC_SHA256};

/// Bytes that an enciphered message is longer than a plain one: its nonce and its tag.
pub(crate) const SEAL_SIZE: usize = NONCE_SIZE + TAG_SIZE;

const NONCE_SIZE: usize = 12;
const TAG_SIZE: usize = 16;

/// The key of a log: AES-256-GCM under nonces that are a keyed hash (HMAC-SHA256, its first 96 bits) of what is
/// said and where.
///
/// A log is written again at each start, to the same places. A nonce made of the place alone would be used
/// twice as soon as something else is said there, after a power cut that took the journal's end or by another
/// version of this program; a random one would rewrite the whole log. This one is the same for the same
/// message in the same place, so that a replay finds the bytes it would write, and another one for any other.
/// Equal nonces by chance: one in 2³⁵ for a log of 2³¹ messages.
pub struct LogKey {
    aead: LessSafeKey,
    nonces: hmac::Key,
}

impl LogKey {
    /// From 32 secret bytes that no other log shares: positions repeat from log to log.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        let prk = Salt::new(HKDF_SHA256, &[]).extract(secret);
        let aead = UnboundKey::new(&AES_256_GCM, &expand(&prk, b"message")).expect("a key has 32 bytes");
        Self { aead: LessSafeKey::new(aead), nonces: hmac::Key::new(HMAC_SHA256, &expand(&prk, b"nonce")) }
    }

    /// Enciphers `body[..len]` in place, where `body` is [`SEAL_SIZE`] longer; the rest becomes nonce and tag.
    /// `place` is what the message is bound to.
    pub(crate) fn seal(&self, place: &[u8], body: &mut [u8]) {
        let (message, seal) = body.split_at_mut(body.len() - SEAL_SIZE);
        let nonce = self.nonce(place, message);
        let tag = self
            .aead
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place), message)
            .expect("a message is not too long for the cipher");
        seal[..NONCE_SIZE].copy_from_slice(&nonce);
        seal[NONCE_SIZE..].copy_from_slice(tag.as_ref());
    }

    /// Deciphers `body` in place; `None` when it is not what was sealed at `place`.
    pub(crate) fn open<'b>(&self, place: &[u8], body: &'b mut [u8]) -> Option<&'b [u8]> {
        let (message, seal) = body.split_at_mut(body.len().checked_sub(SEAL_SIZE)?);
        let (nonce, tag) = seal.split_at(NONCE_SIZE);
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let tag = tag.try_into().ok()?;
        self.aead.open_in_place_separate_tag(nonce, Aad::from(place), tag, message, 0..).ok()?;
        Some(message)
    }

    fn nonce(&self, place: &[u8], message: &[u8]) -> [u8; NONCE_SIZE] {
        // The place has one length, so the two cannot be taken apart in two ways.
        let mut hash = hmac::Context::with_key(&self.nonces);
        hash.update(place);
        hash.update(message);
        hash.sign().as_ref()[..NONCE_SIZE].try_into().expect("a hash has 32 bytes")
    }
}

impl fmt::Debug for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogKey")
    }
}

fn expand(prk: &Prk, purpose: &[u8]) -> [u8; 32] {
    struct Bytes32;
    impl KeyType for Bytes32 {
        fn len(&self) -> usize {
            32
        }
    }
    let mut key = [0; 32];
    prk.expand(&[purpose], Bytes32).and_then(|okm| okm.fill(&mut key)).expect("32 bytes are one hash");
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(key: &LogKey, place: &[u8], message: &[u8]) -> Vec<u8> {
        let mut body = message.to_vec();
        body.resize(message.len() + SEAL_SIZE, 0);
        key.seal(place, &mut body);
        body
    }

    #[test]
    fn what_is_sealed_opens_in_its_place_alone() {
        let (key, other) = (LogKey::new(&[1; 32]), LogKey::new(&[2; 32]));
        for len in [0, 1, 40, 1_000] {
            let message = vec![b'm'; len];
            let body = sealed(&key, b"here", &message);
            assert_eq!(key.open(b"here", &mut body.clone()), Some(message.as_slice()));
            assert_eq!(key.open(b"else", &mut body.clone()), None);
            assert_eq!(other.open(b"here", &mut body.clone()), None);
            for bit in 0..body.len() * 8 {
                let mut damaged = body.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(key.open(b"here", &mut damaged), None, "bit {bit} of {len} bytes");
            }
        }
        assert_eq!(key.open(b"here", &mut [0; SEAL_SIZE - 1]), None);
    }

    #[test]
    fn the_same_again_is_the_same_and_anything_else_has_another_nonce() {
        let key = LogKey::new(&[1; 32]);
        let nonce = |place: &[u8], message: &[u8]| {
            let body = sealed(&key, place, message);
            body[message.len()..message.len() + NONCE_SIZE].to_vec()
        };
        assert_eq!(sealed(&key, b"here", b"filled 7"), sealed(&key, b"here", b"filled 7"));
        assert_ne!(nonce(b"here", b"filled 7"), nonce(b"here", b"filled 8"));
        assert_ne!(nonce(b"here", b"filled 7"), nonce(b"else", b"filled 7"));
        assert_ne!(nonce(b"here", b""), nonce(b"her", b"e!"));
    }
}
