//! How a key gets from one token to another, if its venue wants that: wrapped, and never in the clear.
//!
//! A *backup key* is an AES-256 key that both tokens are given. It is the XOR of two or more components, each a key
//! file of a custodian of its own, so that nobody alone can read what it wrapped. A signing key that was made to be
//! backed up leaves its token as AES key wrap with padding has it (RFC 5649; PKCS#11's CKM_AES_KEY_WRAP_PAD, of the
//! key's PKCS#8 form), in a text that may lie about:
//!
//! ```text
//! ironbell wrapped key v1
//! algorithm ed25519
//! public BASE64
//! wrapped BASE64
//! ```

use std::fmt;
use std::path::Path;

use base64ct::{Base64, Encoding};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use crate::key_file::read_key;
use crate::token::{curve_of, halves};
use crate::{Algorithm, Error, Key, Leaves, PublicKey, Signer, Token, TokenSigner};

const TITLE: &str = "ironbell wrapped key v1";

/// A signing key, wrapped by a backup key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedKey {
    /// Its public half.
    pub public: PublicKey,
    /// Its private half.
    pub wrapped: Vec<u8>,
}

impl fmt::Display for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [public, wrapped] = [self.public.raw(), &self.wrapped].map(Base64::encode_string);
        write!(
            f,
            "{TITLE}\nalgorithm {}\npublic {public}\nwrapped {wrapped}\n",
            self.public.algorithm().name()
        )
    }
}

impl WrappedKey {
    /// Reads what [`Display`](fmt::Display) wrote.
    ///
    /// # Errors
    /// [`Error::Note`], [`Error::PublicKey`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        let bad = Error::Note("this is no wrapped key: give a file that `ironbell hsm export` wrote");
        let fields = || {
            let mut lines = text.lines();
            (lines.next()? == TITLE).then_some(())?;
            let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
            let algorithm = Algorithm::named(field("algorithm")?)?;
            let public = Base64::decode_vec(field("public")?).ok()?;
            let wrapped = Base64::decode_vec(field("wrapped")?).ok()?;
            lines.next().is_none().then_some((algorithm, public, wrapped))
        };
        let (algorithm, public, wrapped) = fields().ok_or(bad)?;
        Ok(Self { public: PublicKey::from_raw(algorithm, &public)?, wrapped })
    }
}

/// The XOR of the key files: what none of their holders knows alone.
///
/// # Errors
/// [`Error::Components`] for fewer than two, or the same one twice; what is wrong with a file.
pub fn join_components(files: &[impl AsRef<Path>]) -> Result<Key, Error> {
    if files.len() < 2 {
        return Err(Error::Components("give two components or more, each of a custodian of its own"));
    }
    let mut parts: Vec<Key> = Vec::new();
    let mut joined = Key::default();
    for file in files {
        let part = read_key(file.as_ref())?;
        if parts.contains(&part) {
            return Err(Error::Components(
                "two components are the same: together they are as if neither was",
            ));
        }
        joined.iter_mut().zip(part.iter()).for_each(|(byte, other)| *byte ^= other);
        parts.push(part);
    }
    Ok(joined)
}

impl Token {
    /// Puts a backup key on the token: it wraps and unwraps there, and is not shown again.
    ///
    /// # Errors
    /// [`Error::KeyExists`], [`Error::Token`].
    pub fn put_backup_key(&self, label: &str, key: &Key) -> Result<(), Error> {
        self.refuse_taken(label)?;
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::AES),
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Wrap(true),
            Attribute::Unwrap(true),
            Attribute::Encrypt(false),
            Attribute::Decrypt(false),
            Attribute::Label(label.as_bytes().to_vec()),
            Attribute::Value(key.to_vec()),
        ];
        self.call("take a backup key", |session, _| session.create_object(&template))?;
        Ok(())
    }

    /// The signing key `label`, wrapped by the backup key `with`.
    ///
    /// # Errors
    /// [`Error::NoTokenKey`]; [`Error::Token`], also when the key was not made to be backed up.
    pub fn export(&self, label: &str, with: &str) -> Result<WrappedKey, Error> {
        let public = self.public_key(label)?;
        let wrapped = self.call("wrap that key", |session, _| {
            let key = first(session, ObjectClass::PRIVATE_KEY, label)?;
            let by = first(session, ObjectClass::SECRET_KEY, with)?;
            key.zip(by).map(|(key, by)| session.wrap_key(&Mechanism::AesKeyWrapPad, by, key)).transpose()
        })?;
        Ok(WrappedKey { public, wrapped: wrapped.ok_or_else(|| self.no_key(with))? })
    }

    /// Puts a wrapped key on this token as `label`, and has it sign: what does not fit its public half is removed
    /// again.
    ///
    /// # Errors
    /// [`Error::KeyExists`], [`Error::NoTokenKey`]; [`Error::Token`] when it was wrapped by another key or changed;
    /// [`Error::Signature`] when it is not the key of that public half.
    pub fn import(
        self: &std::sync::Arc<Self>,
        label: &str,
        with: &str,
        from: &WrappedKey,
    ) -> Result<(), Error> {
        let algorithm = from.public.algorithm();
        let (key_type, parameters) = curve_of(algorithm).ok_or(Error::PublicKey(algorithm))?;
        self.refuse_taken(label)?;
        let [mut public, mut private] = halves(label, parameters, Leaves::Wrapped)?;
        let point = from.public.raw();
        let length = u8::try_from(point.len()).expect("a point of a curve is short");
        public.extend([
            Attribute::Class(ObjectClass::PUBLIC_KEY),
            Attribute::KeyType(key_type),
            // An OCTET STRING.
            Attribute::EcPoint([&[4, length], point].concat()),
        ]);
        private.extend([Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::KeyType(key_type)]);
        let put = || {
            let found = self.call("unwrap that key", |session, _| {
                let Some(by) = first(session, ObjectClass::SECRET_KEY, with)? else { return Ok(false) };
                session.unwrap_key(&Mechanism::AesKeyWrapPad, by, &from.wrapped, &private)?;
                session.create_object(&public)?;
                Ok(true)
            })?;
            if !found {
                return Err(self.no_key(with));
            }
            // The signer verifies what it made.
            TokenSigner::open(self.clone(), label)?.sign(b"ironbell import").map(drop)
        };
        put().inspect_err(|_| {
            // Nothing of that label was there before. What cannot be removed either is seen by `list`.
            let _ = self.destroy(label);
        })
    }

    fn no_key(&self, label: &str) -> Error {
        Error::NoTokenKey { token: self.label().to_owned(), label: label.to_owned() }
    }
}

fn first(
    session: &Session,
    class: ObjectClass,
    label: &str,
) -> Result<Option<ObjectHandle>, cryptoki::error::Error> {
    let template = [Attribute::Class(class), Attribute::Label(label.as_bytes().to_vec())];
    Ok(session.find_objects(&template)?.first().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeyFile;
    use crate::softhsm::{alone, new_token};

    #[test]
    fn a_key_moves_to_another_token_wrapped_and_only_if_it_was_made_so() {
        alone("backup::tests::a_key_moves_to_another_token_wrapped_and_only_if_it_was_made_so", |dir| {
            let files = ["one", "two", "three"].map(|name| dir.join(name));
            files.iter().for_each(|file| KeyFile::create(file).expect("a new file"));
            let one_alone = join_components(&files[..1]).expect_err("one alone");
            assert!(matches!(one_alone, Error::Components(_)), "{one_alone}");
            let twice = join_components(&[&files[0], &files[0]]).expect_err("one twice");
            assert!(matches!(twice, Error::Components(_)), "{twice}");
            let backup = join_components(&files).expect("three");
            assert_ne!(backup, join_components(&files[..2]).expect("two"));

            let (old, new) = (new_token(dir, "old"), new_token(dir, "new"));
            for token in [&old, &new] {
                token.put_backup_key("backup-1", &backup).expect("it takes it");
            }
            new.put_backup_key("other", &join_components(&files[..2]).expect("two")).expect("it takes it");
            for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256] {
                let name = algorithm.name();
                let public = old.generate(name, algorithm, Leaves::Wrapped).expect("a new key");
                let text = match old.export(name, "backup-1") {
                    // SoftHSM2 2.6 wraps no Edwards keys; later ones do.
                    Err(Error::Token { what: "wrap that key", .. }) if algorithm == Algorithm::Ed25519 => {
                        continue;
                    }
                    exported => exported.expect("it was made so").to_string(),
                };
                let wrapped = WrappedKey::parse(&text).expect("it was just written");
                assert_eq!((wrapped.to_string(), &wrapped.public), (text, &public));

                new.import(name, "other", &wrapped).expect_err("it was wrapped by another");
                for bit in [0, 77, wrapped.wrapped.len() * 8 - 1] {
                    let mut changed = wrapped.clone();
                    changed.wrapped[bit / 8] ^= 1 << (bit % 8);
                    new.import(name, "backup-1", &changed).expect_err("it was changed");
                }
                let stranger = format!("{name} stranger");
                let swapped = WrappedKey {
                    public: old.generate(&stranger, algorithm, Leaves::Never).expect("a new key"),
                    wrapped: wrapped.wrapped.clone(),
                };
                let swapped = new.import(name, "backup-1", &swapped).expect_err("halves of two keys");
                assert!(matches!(swapped, Error::Signature(_)), "{swapped}");
                assert_eq!(new.public_key(name).map_err(|e| e.to_string()).ok(), None, "nothing is left");

                new.import(name, "backup-1", &wrapped).expect("it is ours");
                let mut signer = TokenSigner::open(new.clone(), name).expect("it was just put there");
                public.verify(b"m", &signer.sign(b"m").expect("it signs")).expect("it is the same key");
                let again = new.import(name, "backup-1", &wrapped).expect_err("it is there");
                assert!(matches!(again, Error::KeyExists { .. }), "{again}");
                old.export(&stranger, "backup-1").expect_err("it never leaves");
                let missing = old.export(name, "backup-2").expect_err("there is none");
                assert!(matches!(missing, Error::NoTokenKey { .. }), "{missing}");
            }
            let left: Vec<_> =
                old.list().expect("a list").into_iter().filter(|key| key.extractable).collect();
            let labels: Vec<_> = left.iter().map(|key| key.label.as_str()).collect();
            assert_eq!(labels, ["ecdsa-p256", "ed25519"]);
            assert!(left.iter().all(|key| key.sensitive && !key.never_left));
        });
    }
}
