//! What signs, and what a signature is checked with.

use std::fmt;

use ring::digest;
use ring::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey};

use crate::Error;

/// How something is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RFC 8032; 64 bytes.
    Ed25519,
    /// FIPS 186-5 over P-256 and SHA-256; a DER sequence of two integers. Some HSMs have only this.
    EcdsaP256,
    /// FIPS 204, security category 2; 2,420 bytes.
    MlDsa44,
    /// FIPS 204, security category 5; 4,627 bytes.
    MlDsa87,
}

/// All of them, as the command line lists them.
pub const ALGORITHMS: [Algorithm; 4] =
    [Algorithm::Ed25519, Algorithm::EcdsaP256, Algorithm::MlDsa44, Algorithm::MlDsa87];

/// DER of a SubjectPublicKeyInfo up to the point of a P-256 key (RFC 5480, section 2).
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// DER of a SubjectPublicKeyInfo up to an Ed25519 key (RFC 8410, section 4).
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

impl Algorithm {
    /// The name on command line, in configuration and in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256 => "ecdsa-p256",
            Self::MlDsa44 => "ml-dsa-44",
            Self::MlDsa87 => "ml-dsa-87",
        }
    }

    /// The algorithm of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        ALGORITHMS.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// Whether a quantum computer breaks it as little as anything.
    #[must_use]
    pub fn is_post_quantum(self) -> bool {
        matches!(self, Self::MlDsa44 | Self::MlDsa87)
    }

    /// Bytes of a raw public key.
    #[must_use]
    pub fn public_key_size(self) -> usize {
        match self {
            Self::Ed25519 => 32,
            Self::EcdsaP256 => 65,
            Self::MlDsa44 => 1_312,
            Self::MlDsa87 => 2_592,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A public key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicKey {
    algorithm: Algorithm,
    raw: Vec<u8>,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.algorithm)?;
        self.raw.iter().take(8).try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("…")
    }
}

impl PublicKey {
    /// A key from its raw bytes: RFC 8032's 32, an uncompressed point's 65, or what FIPS 204 encodes.
    ///
    /// # Errors
    /// [`Error::PublicKey`] when they are not of that form.
    pub fn from_raw(algorithm: Algorithm, raw: &[u8]) -> Result<Self, Error> {
        let is_point = algorithm != Algorithm::EcdsaP256 || raw.first() == Some(&4);
        if raw.len() != algorithm.public_key_size() || !is_point {
            return Err(Error::PublicKey(algorithm));
        }
        Ok(Self { algorithm, raw: raw.to_vec() })
    }

    /// How it verifies.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its raw bytes.
    #[must_use]
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// Its SubjectPublicKeyInfo in DER, as OpenSSL reads it; `None` for ML-DSA.
    #[must_use]
    pub fn spki(&self) -> Option<Vec<u8>> {
        match self.algorithm {
            Algorithm::Ed25519 => Some([&ED25519_SPKI[..], &self.raw].concat()),
            Algorithm::EcdsaP256 => Some([&P256_SPKI[..], &self.raw].concat()),
            Algorithm::MlDsa44 | Algorithm::MlDsa87 => None,
        }
    }

    /// The P-256 key in this SubjectPublicKeyInfo.
    pub(crate) fn from_p256_spki(der: &[u8]) -> Result<Self, Error> {
        let point = der.strip_prefix(&P256_SPKI).ok_or(Error::PublicKey(Algorithm::EcdsaP256))?;
        Self::from_raw(Algorithm::EcdsaP256, point)
    }

    /// Whether this key signed `message`.
    ///
    /// # Errors
    /// [`Error::Signature`] when it did not; [`Error::NoMlDsa`] when this build cannot tell.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Error> {
        let verified = match self.algorithm {
            Algorithm::Ed25519 => UnparsedPublicKey::new(&ED25519, &self.raw).verify(message, signature),
            Algorithm::EcdsaP256 => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.raw).verify(message, signature)
            }
            Algorithm::MlDsa44 | Algorithm::MlDsa87 => return self.verify_ml_dsa(message, signature),
        };
        verified.map_err(|_| Error::Signature(self.algorithm))
    }

    #[cfg(feature = "ml-dsa")]
    fn verify_ml_dsa(&self, message: &[u8], signature: &[u8]) -> Result<(), Error> {
        use aws_lc_rs::signature::{ML_DSA_44, ML_DSA_87, UnparsedPublicKey};
        let algorithm = if self.algorithm == Algorithm::MlDsa44 { &ML_DSA_44 } else { &ML_DSA_87 };
        let verified = UnparsedPublicKey::new(algorithm, &self.raw).verify(message, signature);
        verified.map_err(|_| Error::Signature(self.algorithm))
    }

    #[cfg(not(feature = "ml-dsa"))]
    fn verify_ml_dsa(&self, _message: &[u8], _signature: &[u8]) -> Result<(), Error> {
        Err(Error::NoMlDsa)
    }
}

/// Signs with a private key that it does not show.
pub trait Signer: Send {
    /// What its signatures are checked with.
    fn public_key(&self) -> &PublicKey;

    /// Where the key is, for a person: a file's name, a token's and the key's label.
    fn place(&self) -> String;

    /// The signature of `message`. It may take long: a network HSM, a token that is put back. It is asked for
    /// on a thread of its own.
    ///
    /// # Errors
    /// When the key cannot be used; [`Error::is_passing`] says whether asking again later may help.
    fn sign(&mut self, message: &[u8]) -> Result<Vec<u8>, Error>;
}

/// SHA-256.
#[must_use]
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    context.finish().as_ref().try_into().expect("SHA-256 gives 32 bytes")
}

/// The DER form of an ECDSA signature of two integers of equal length (RFC 3279, section 2.2.3).
pub(crate) fn ecdsa_der(signature: &[u8]) -> Vec<u8> {
    let (r, s) = signature.split_at(signature.len() / 2);
    let integer = |bytes: &[u8]| {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count().min(bytes.len().saturating_sub(1));
        let bytes = &bytes[zeros..];
        let sign = if bytes.first().is_some_and(|byte| *byte >= 0x80) { &[0][..] } else { &[] };
        [&[2, (sign.len() + bytes.len()) as u8][..], sign, bytes].concat()
    };
    let (r, s) = (integer(r), integer(s));
    [&[0x30, (r.len() + s.len()) as u8][..], &r, &s].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, section 7.1, test 2.
    #[test]
    fn ed25519_verifies_the_vector_of_the_rfc_and_nothing_else() {
        let hex = |text: &str| -> Vec<u8> {
            (0..text.len())
                .step_by(2)
                .map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hex"))
                .collect()
        };
        let key = hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        let signature = hex(concat!(
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da",
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ));
        let key = PublicKey::from_raw(Algorithm::Ed25519, &key).expect("32 bytes");
        key.verify(&[0x72], &signature).expect("the vector verifies");
        assert!(matches!(key.verify(&[0x73], &signature), Err(Error::Signature(Algorithm::Ed25519))));
    }

    #[test]
    fn ecdsa_signatures_become_minimal_der() {
        let mut raw = [0; 64];
        raw[31] = 0x80;
        raw[63] = 1;
        assert_eq!(ecdsa_der(&raw), [0x30, 7, 2, 2, 0, 0x80, 2, 1, 1]);
        assert_eq!(ecdsa_der(&[0; 64]), [0x30, 6, 2, 1, 0, 2, 1, 0]);
    }

    #[test]
    fn a_key_of_another_length_is_refused_by_name() {
        for algorithm in ALGORITHMS {
            let size = algorithm.public_key_size();
            let error = PublicKey::from_raw(algorithm, &vec![4; size - 1]).expect_err("too short");
            assert!(error.to_string().contains(algorithm.name()), "{error}");
            assert_eq!(Algorithm::named(algorithm.name()), Some(algorithm));
        }
        assert!(PublicKey::from_raw(Algorithm::EcdsaP256, &[2; 65]).is_err(), "a compressed point's tag");
    }
}
