//! Private keys in files: for trials, for tests, and for the post-quantum line until tokens offer it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use zeroize::{Zeroize, Zeroizing};

use crate::{Algorithm, Error, PublicKey, Signer};

/// A private key in a file that only its owner may read: PKCS#8 in PEM, as `openssl pkey` reads it.
pub struct SoftwareSigner {
    pair: Pair,
    public_key: PublicKey,
    path: PathBuf,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    EcdsaP256(EcdsaKeyPair),
    #[cfg(feature = "ml-dsa")]
    MlDsa(aws_lc_rs::signature::PqdsaKeyPair),
}

impl std::fmt::Debug for SoftwareSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SoftwareSigner({:?})", self.public_key)
    }
}

/// DER of a PrivateKeyInfo up to an Ed25519 seed (RFC 8410, section 7).
const ED25519_PKCS8: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

impl SoftwareSigner {
    /// Makes a file with a new key, mode 0400, and opens it.
    ///
    /// # Errors
    /// [`Error::File`] when there is one already or it cannot be made, [`Error::Random`], [`Error::NoMlDsa`].
    pub fn create(path: &Path, algorithm: Algorithm) -> Result<Self, Error> {
        let der = new_pkcs8(algorithm)?;
        let mut text = Zeroizing::new(format!("{BEGIN}\n"));
        let mut encoded = Zeroizing::new(Base64::encode_string(&der));
        for line in encoded.as_bytes().chunks(64) {
            text.push_str(std::str::from_utf8(line).expect("Base64 is ASCII"));
            text.push('\n');
        }
        encoded.zeroize();
        text.push_str(END);
        text.push('\n');
        let failed = |source| Error::File { what: "make", path: path.to_owned(), source };
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o400).open(path).map_err(failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        Self::open(path)
    }

    /// Reads such a file.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Mode`], [`Error::NotPrivateKey`], [`Error::NoMlDsa`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let text = read_secret(path, 0o077)?;
        let der = std::str::from_utf8(&text).ok().and_then(from_pem);
        let der = der.ok_or_else(|| Error::NotPrivateKey(path.to_owned()))?;
        let (pair, public_key) = parse(&der, path)?;
        Ok(Self { pair, public_key, path: path.to_owned() })
    }
}

impl Signer for SoftwareSigner {
    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    fn place(&self) -> String {
        format!("file {}", self.path.display())
    }

    fn sign(&mut self, message: &[u8]) -> Result<Vec<u8>, Error> {
        match &self.pair {
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Pair::EcdsaP256(pair) => {
                let signed = pair.sign(&SystemRandom::new(), message).map_err(|_| Error::Random)?;
                Ok(signed.as_ref().to_vec())
            }
            #[cfg(feature = "ml-dsa")]
            Pair::MlDsa(pair) => {
                let mut signature = vec![0; pair.algorithm().signature_len()];
                let length = pair.sign(message, &mut signature).map_err(|_| Error::Random)?;
                signature.truncate(length);
                Ok(signature)
            }
        }
    }
}

/// What stands in a file that must not be read by others: the bits of `forbidden` are not set in its mode.
pub(crate) fn read_secret(path: &Path, forbidden: u32) -> Result<Zeroizing<Vec<u8>>, Error> {
    let failed = |source| Error::File { what: "read", path: path.to_owned(), source };
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode() & 0o7777;
    if mode & forbidden != 0 {
        return Err(Error::Mode { path: path.to_owned(), mode });
    }
    fs::read(path).map(Zeroizing::new).map_err(failed)
}

fn new_pkcs8(algorithm: Algorithm) -> Result<Zeroizing<Vec<u8>>, Error> {
    let random = SystemRandom::new();
    match algorithm {
        Algorithm::Ed25519 => {
            // As RFC 8410 has it, without the public key: OpenSSL 3.0 does not read it with one.
            let mut seed = Zeroizing::new([0; 32]);
            random.fill(seed.as_mut()).map_err(|_| Error::Random)?;
            Ok(Zeroizing::new([&ED25519_PKCS8[..], seed.as_ref()].concat()))
        }
        Algorithm::EcdsaP256 => {
            let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random);
            Ok(Zeroizing::new(document.map_err(|_| Error::Random)?.as_ref().to_vec()))
        }
        Algorithm::MlDsa44 | Algorithm::MlDsa87 => new_ml_dsa(algorithm),
    }
}

fn from_pem(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let body = text.trim().strip_prefix(BEGIN)?.strip_suffix(END)?;
    let body: Zeroizing<String> = Zeroizing::new(body.split_ascii_whitespace().collect());
    Base64::decode_vec(&body).ok().map(Zeroizing::new)
}

/// The key pair in a PKCS#8 document of any algorithm that is known here.
fn parse(der: &[u8], path: &Path) -> Result<(Pair, PublicKey), Error> {
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
        let key = PublicKey::from_raw(Algorithm::Ed25519, pair.public_key().as_ref())?;
        return Ok((Pair::Ed25519(pair), key));
    }
    let random = SystemRandom::new();
    if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der, &random) {
        let key = PublicKey::from_raw(Algorithm::EcdsaP256, pair.public_key().as_ref())?;
        return Ok((Pair::EcdsaP256(pair), key));
    }
    parse_ml_dsa(der, path)
}

#[cfg(feature = "ml-dsa")]
fn new_ml_dsa(algorithm: Algorithm) -> Result<Zeroizing<Vec<u8>>, Error> {
    use aws_lc_rs::signature::{ML_DSA_44_SIGNING, ML_DSA_87_SIGNING, PqdsaKeyPair};
    let signing = if algorithm == Algorithm::MlDsa44 { &ML_DSA_44_SIGNING } else { &ML_DSA_87_SIGNING };
    let pair = PqdsaKeyPair::generate(signing).map_err(|_| Error::Random)?;
    Ok(Zeroizing::new(pair.to_pkcs8v1().map_err(|_| Error::Random)?.as_ref().to_vec()))
}

#[cfg(feature = "ml-dsa")]
fn parse_ml_dsa(der: &[u8], path: &Path) -> Result<(Pair, PublicKey), Error> {
    use aws_lc_rs::signature::{KeyPair as _, ML_DSA_44_SIGNING, ML_DSA_87_SIGNING, PqdsaKeyPair};
    for (algorithm, signing) in
        [(Algorithm::MlDsa44, &ML_DSA_44_SIGNING), (Algorithm::MlDsa87, &ML_DSA_87_SIGNING)]
    {
        if let Ok(pair) = PqdsaKeyPair::from_pkcs8(signing, der) {
            let key = PublicKey::from_raw(algorithm, pair.public_key().as_ref())?;
            return Ok((Pair::MlDsa(pair), key));
        }
    }
    Err(Error::NotPrivateKey(path.to_owned()))
}

#[cfg(not(feature = "ml-dsa"))]
fn new_ml_dsa(_algorithm: Algorithm) -> Result<Zeroizing<Vec<u8>>, Error> {
    Err(Error::NoMlDsa)
}

#[cfg(not(feature = "ml-dsa"))]
fn parse_ml_dsa(der: &[u8], path: &Path) -> Result<(Pair, PublicKey), Error> {
    // id-ml-dsa-44 and its two neighbours, 2.16.840.1.101.3.4.3.17 to .19 (RFC 9881, section 2).
    let is_ml_dsa = der.windows(10).any(|window| {
        window.starts_with(&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03])
            && (17..=19).contains(&window[8])
    });
    Err(if is_ml_dsa { Error::NoMlDsa } else { Error::NotPrivateKey(path.to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    const HERE: &[Algorithm] = if cfg!(feature = "ml-dsa") {
        &crate::ALGORITHMS
    } else {
        &[Algorithm::Ed25519, Algorithm::EcdsaP256]
    };

    #[test]
    fn what_a_file_signs_its_public_key_verifies_and_every_bit_counts() {
        let dir = Scratch::new("software");
        for &algorithm in HERE {
            let path = dir.path().join(algorithm.name());
            let made = SoftwareSigner::create(&path, algorithm).expect("a new file");
            let mut signer = SoftwareSigner::open(&path).expect("it was just made");
            assert_eq!(signer.public_key(), made.public_key());
            assert_eq!(signer.public_key().algorithm(), algorithm);
            let (key, message) = (signer.public_key().clone(), b"to be signed".to_vec());
            let signature = signer.sign(&message).expect("it signs");
            key.verify(&message, &signature).expect("its own signature");
            for bit in 0..message.len() * 8 {
                let mut changed = message.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert!(matches!(key.verify(&changed, &signature), Err(Error::Signature(_))), "bit {bit}");
            }
            // Every 37th bit of a long one.
            for bit in (0..signature.len() * 8).step_by(1 + signature.len() / 80) {
                let mut changed = signature.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert!(matches!(key.verify(&message, &changed), Err(Error::Signature(_))), "bit {bit}");
            }
            assert!(matches!(
                SoftwareSigner::create(&path, algorithm),
                Err(Error::File { what: "make", .. })
            ));
        }
    }

    #[test]
    fn a_file_that_others_read_or_that_holds_no_key_is_refused() {
        let dir = Scratch::new("software-refused");
        let path = dir.path().join("key");
        SoftwareSigner::create(&path, Algorithm::Ed25519).expect("a new file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o404)).expect("it is ours");
        assert!(matches!(SoftwareSigner::open(&path), Err(Error::Mode { mode: 0o404, .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
        for text in ["", BEGIN, &format!("{BEGIN}\nAAAA\n{END}"), &format!("{BEGIN}\n*\n{END}")] {
            fs::write(&path, text).expect("it is ours");
            assert!(matches!(SoftwareSigner::open(&path), Err(Error::NotPrivateKey(_))), "{text}");
        }
    }

    /// AWS-LC writes the seed form; the object identifier of ML-DSA-44 stands at its place.
    #[test]
    #[cfg(not(feature = "ml-dsa"))]
    fn a_build_without_ml_dsa_says_so() {
        let dir = Scratch::new("no-ml-dsa");
        let path = dir.path().join("key");
        assert!(matches!(SoftwareSigner::create(&path, Algorithm::MlDsa44), Err(Error::NoMlDsa)));
        assert!(!path.exists());
        let der =
            [&[0x30, 0x34, 2, 1, 0, 0x30, 0x0b, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 3, 17][..], &[0; 36]];
        let text = format!("{BEGIN}\n{}\n{END}\n", Base64::encode_string(&der.concat()));
        fs::write(&path, text).expect("a scratch file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("it is ours");
        assert!(matches!(SoftwareSigner::open(&path), Err(Error::NoMlDsa)));
    }
}
