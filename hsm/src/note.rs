//! Signed notes (C2SP signed-note), and the keys that their lines are checked with.
//!
//! ```text
//! the text, of lines                                  signed as it stands, the last line's end included
//! (an empty line)
//! — NAME base64(key id ‖ signature)                   one line for each signature
//! ```

use std::fmt;

use base64ct::{Base64, Encoding};

use crate::signer::sha256;
use crate::{Algorithm, Checkpoint, Error, PublicKey, Signer};

/// What a signature line says of the text, and the byte that names it in C2SP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// The text itself, signed: Ed25519 (0x01), ECDSA (0x02). ML-DSA has no byte for this; it is 0xff and a name.
    Text,
    /// C2SP tlog-cosignature of a checkpoint: Ed25519 (0x04), ML-DSA-44 (0x06). A log signs its own checkpoints in
    /// this form with ML-DSA-44; a witness with either.
    Cosignature,
}

/// A public key under the name that its signature lines carry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VerifierKey {
    name: String,
    form: Form,
    key: PublicKey,
}

impl VerifierKey {
    /// A key of that name.
    ///
    /// # Errors
    /// [`Error::Note`] when the name is empty or has white space or a plus in it, or C2SP has no such form.
    pub fn new(name: &str, form: Form, key: PublicKey) -> Result<Self, Error> {
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+') {
            return Err(Error::Note("a key's name has no white space and no plus"));
        }
        if form == Form::Cosignature && !matches!(key.algorithm(), Algorithm::Ed25519 | Algorithm::MlDsa44) {
            return Err(Error::Note("a cosignature is one of Ed25519 or ML-DSA-44"));
        }
        Ok(Self { name: name.into(), form, key })
    }

    /// The key that a log of this name signs its checkpoints with.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of_log(name: &str, key: PublicKey) -> Result<Self, Error> {
        let is_cosignature = key.algorithm() == Algorithm::MlDsa44;
        Self::new(name, if is_cosignature { Form::Cosignature } else { Form::Text }, key)
    }

    /// The name on its lines.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// What its lines say.
    #[must_use]
    pub fn form(&self) -> Form {
        self.form
    }

    /// The type byte, and what follows it in a vkey and under the key id.
    fn material(&self) -> Vec<u8> {
        let raw = self.key.raw();
        match (self.key.algorithm(), self.form) {
            (Algorithm::Ed25519, Form::Text) => [&[0x01], raw].concat(),
            (Algorithm::Ed25519, Form::Cosignature) => [&[0x04], raw].concat(),
            (Algorithm::MlDsa44, Form::Cosignature) => [&[0x06], raw].concat(),
            (Algorithm::EcdsaP256, _) => [vec![0x02], self.key.spki().expect("P-256 has one")].concat(),
            (Algorithm::MlDsa44, Form::Text) => [ML_DSA_44_TEXT, raw].concat(),
            (Algorithm::MlDsa87, _) => [ML_DSA_87_TEXT, raw].concat(),
        }
    }

    /// The key id: SHA-256 of name, newline, type and key, its first four bytes; for ECDSA of the key alone.
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        let material = self.material();
        let hash = if self.key.algorithm() == Algorithm::EcdsaP256 {
            sha256(&[&material[1..]])
        } else {
            sha256(&[self.name.as_bytes(), b"\n", &material])
        };
        *hash.first_chunk().expect("32 bytes")
    }

    /// The key in a vkey, `NAME+ID+base64(type ‖ key)`.
    ///
    /// # Errors
    /// [`Error::Note`] when it is none.
    pub fn parse(vkey: &str) -> Result<Self, Error> {
        const NONE: Error = Error::Note("this is no verifier key: NAME+ID+BASE64");
        let (name, rest) = vkey.trim().split_once('+').ok_or(NONE)?;
        let (id, material) = rest.split_once('+').ok_or(NONE)?;
        let material = Base64::decode_vec(material).map_err(|_| NONE)?;
        let (form, algorithm, raw) = if let Some(raw) = material.strip_prefix(ML_DSA_44_TEXT) {
            (Form::Text, Algorithm::MlDsa44, raw)
        } else if let Some(raw) = material.strip_prefix(ML_DSA_87_TEXT) {
            (Form::Text, Algorithm::MlDsa87, raw)
        } else {
            match material.split_first().ok_or(NONE)? {
                (0x01, raw) => (Form::Text, Algorithm::Ed25519, raw),
                (0x02, raw) => (Form::Text, Algorithm::EcdsaP256, raw),
                (0x04, raw) => (Form::Cosignature, Algorithm::Ed25519, raw),
                (0x06, raw) => (Form::Cosignature, Algorithm::MlDsa44, raw),
                _ => return Err(Error::Note("this verifier key is of a type that is not known here")),
            }
        };
        let key = if algorithm == Algorithm::EcdsaP256 {
            PublicKey::from_p256_spki(raw)?
        } else {
            PublicKey::from_raw(algorithm, raw)?
        };
        let parsed = Self::new(name, form, key)?;
        if id != Hex(&parsed.id()).to_string() {
            return Err(Error::Note("the verifier key's id is not that of its name and key"));
        }
        Ok(parsed)
    }

    /// Checks one signature over a note's text.
    ///
    /// # Errors
    /// [`Error::Signature`]; [`Error::Note`] when the signature is not of the form that the key has.
    pub fn verify(&self, text: &str, signature: &[u8]) -> Result<(), Error> {
        match self.form {
            Form::Text => self.key.verify(text.as_bytes(), signature),
            Form::Cosignature => {
                let (time, signature) =
                    signature.split_first_chunk().ok_or(Error::Signature(self.key.algorithm()))?;
                let message = cosigned(self, text, u64::from_be_bytes(*time))?;
                self.key.verify(&message, signature)
            }
        }
    }
}

/// Types without a byte of their own (C2SP signed-note, `0xff`): ML-DSA over the text itself.
const ML_DSA_44_TEXT: &[u8] = b"\xffironbell/ml-dsa-44/text";
const ML_DSA_87_TEXT: &[u8] = b"\xffironbell/ml-dsa-87/text";

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}+{}", self.name, Hex(&self.id()), Base64::encode_string(&self.material()))
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What is signed in a cosignature of the checkpoint `text` at `time`, in seconds since 1970.
fn cosigned(key: &VerifierKey, text: &str, time: u64) -> Result<Vec<u8>, Error> {
    if key.key.algorithm() == Algorithm::Ed25519 {
        return Ok(format!("cosignature/v1\ntime {time}\n{text}").into_bytes());
    }
    let checkpoint = Checkpoint::parse(text)?;
    let mut message = b"subtree/v1\n\0".to_vec();
    let put_name = |message: &mut Vec<u8>, name: &str| {
        let length = u8::try_from(name.len()).map_err(|_| Error::Note("a name has at most 255 bytes"))?;
        message.push(length);
        message.extend_from_slice(name.as_bytes());
        Ok::<(), Error>(())
    };
    put_name(&mut message, &key.name)?;
    message.extend_from_slice(&time.to_be_bytes());
    put_name(&mut message, &checkpoint.origin)?;
    message.extend_from_slice(&0u64.to_be_bytes());
    message.extend_from_slice(&checkpoint.size.to_be_bytes());
    message.extend_from_slice(&checkpoint.root);
    Ok(message)
}

/// One signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureLine {
    /// The key's name.
    pub name: String,
    /// The key's id.
    pub id: [u8; 4],
    /// The signature, with its time in front in a cosignature.
    pub signature: Vec<u8>,
}

impl SignatureLine {
    /// Signs a note's text. `time` is said in a cosignature, in seconds since 1970.
    ///
    /// # Errors
    /// What the signer says; [`Error::Note`] when the key is not the signer's, or a cosignature is asked for a text
    /// that is no checkpoint.
    pub fn sign(key: &VerifierKey, signer: &mut dyn Signer, text: &str, time: u64) -> Result<Self, Error> {
        if key.key != *signer.public_key() {
            return Err(Error::Note("the verifier key is not the signer's"));
        }
        let signature = match key.form {
            Form::Text => signer.sign(text.as_bytes())?,
            Form::Cosignature => {
                let signed = signer.sign(&cosigned(key, text, time)?)?;
                [&time.to_be_bytes()[..], &signed].concat()
            }
        };
        Ok(Self { name: key.name.clone(), id: key.id(), signature })
    }

    /// The line's parts.
    ///
    /// # Errors
    /// [`Error::Note`] when it is none.
    pub fn parse(line: &str) -> Result<Self, Error> {
        const NONE: Error = Error::Note("a signature line is: — NAME BASE64");
        let (name, encoded) = line.strip_prefix("— ").and_then(|rest| rest.split_once(' ')).ok_or(NONE)?;
        let bytes = Base64::decode_vec(encoded).map_err(|_| NONE)?;
        let (id, signature) = bytes.split_first_chunk::<4>().ok_or(NONE)?;
        if name.is_empty() {
            return Err(NONE);
        }
        Ok(Self { name: name.into(), id: *id, signature: signature.to_vec() })
    }
}

impl fmt::Display for SignatureLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "— {} {}", self.name, Base64::encode_string(&[&self.id[..], &self.signature].concat()))
    }
}

/// A text and its signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What is signed; it ends with a newline.
    pub text: String,
    /// By whom.
    pub signatures: Vec<SignatureLine>,
}

/// Longest note that is read: room for 16 signatures of ML-DSA-87.
const NOTE_BYTES_MAX: usize = 1 << 17;

impl Note {
    /// The note in `text`.
    ///
    /// # Errors
    /// [`Error::Note`] when it is none.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > NOTE_BYTES_MAX {
            return Err(Error::Note("the note is longer than any that is written"));
        }
        if text.contains(|c: char| c.is_ascii_control() && c != '\n') {
            return Err(Error::Note("a note holds no control characters"));
        }
        let (body, lines) = text.rsplit_once("\n\n").ok_or(Error::Note("the note has no signatures"))?;
        let lines = lines.strip_suffix('\n').ok_or(Error::Note("the note's last line has no end"))?;
        let signatures = lines.split('\n').map(SignatureLine::parse).collect::<Result<_, _>>()?;
        Ok(Self { text: format!("{body}\n"), signatures })
    }

    /// The notes in a file that holds one after the other.
    ///
    /// # Errors
    /// [`Error::Note`] when one is none.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, Error> {
        let (mut notes, mut note, mut in_signatures) = (Vec::new(), String::new(), false);
        for line in text.split_inclusive('\n') {
            let is_signature = line.starts_with("— ");
            // A text begins where signatures end.
            if in_signatures && !is_signature {
                notes.push(Self::parse(&note)?);
                note.clear();
            }
            in_signatures = is_signature;
            note.push_str(line);
        }
        if !note.is_empty() {
            notes.push(Self::parse(&note)?);
        }
        Ok(notes)
    }

    /// Whether this key signed it.
    ///
    /// # Errors
    /// [`Error::Unsigned`] when no line is the key's; [`Error::SignatureOf`] when one of its lines does not verify.
    pub fn verify(&self, key: &VerifierKey) -> Result<(), Error> {
        let id = key.id();
        let mut lines =
            self.signatures.iter().filter(|line| line.name == key.name && line.id == id).peekable();
        if lines.peek().is_none() {
            return Err(Error::Unsigned(format!("{}+{}", key.name, Hex(&id))));
        }
        for line in lines {
            key.verify(&self.text, &line.signature).map_err(|error| match error {
                Error::Signature(algorithm) => {
                    Error::SignatureOf { key: format!("{}+{}", key.name, Hex(&id)), algorithm }
                }
                other => other,
            })?;
        }
        Ok(())
    }

    /// Whether every one of these keys signed it: with a classical key and a post-quantum one, both must have.
    ///
    /// # Errors
    /// As [`verify`](Self::verify), of the first that did not; [`Error::Note`] when no key is given.
    pub fn verify_all(&self, keys: &[VerifierKey]) -> Result<(), Error> {
        if keys.is_empty() {
            return Err(Error::Note("no key is given to check the note with"));
        }
        keys.iter().try_for_each(|key| self.verify(key))
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|line| write!(f, "{line}"))
    }
}

/// The verifier keys in a file's text: one a line; empty lines and those that begin with `#` are passed over.
///
/// # Errors
/// [`Error::Note`] when a line is none, or there is none.
pub fn parse_keys(text: &str) -> Result<Vec<VerifierKey>, Error> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys = lines.map(VerifierKey::parse).collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() {
        return Err(Error::Note("the file holds no verifier key"));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SoftwareSigner;
    use crate::scratch::Scratch;

    const CHECKPOINT: &str =
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

    /// The example of C2SP signed-note, with the key that its tests give.
    #[test]
    fn the_public_note_of_go_sumdb_verifies() {
        // golang.org/x/mod/sumdb/note, the package's own example.
        let key = VerifierKey::parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
            .expect("a vkey");
        let text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
        let line = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        let note = Note::parse(&format!("{text}\n{line}")).expect("a note");
        note.verify(&key).expect("it verifies");
        assert_eq!(key.to_string(), "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW");
        assert_eq!(note.to_string(), format!("{text}\n{line}"));
        let mut changed = note.clone();
        changed.text = changed.text.replace("think", "thank");
        assert!(matches!(changed.verify(&key), Err(Error::SignatureOf { .. })));
    }

    #[test]
    fn what_is_signed_verifies_and_any_changed_bit_does_not() {
        let dir = Scratch::new("note");
        let mut algorithms = vec![Algorithm::Ed25519, Algorithm::EcdsaP256];
        if cfg!(feature = "ml-dsa") {
            algorithms.extend([Algorithm::MlDsa44, Algorithm::MlDsa87]);
        }
        for algorithm in algorithms {
            let mut signer =
                SoftwareSigner::create(&dir.path().join(algorithm.name()), algorithm).expect("a key");
            for form in [Form::Text, Form::Cosignature] {
                let Ok(key) = VerifierKey::new("example.com/log", form, signer.public_key().clone()) else {
                    continue;
                };
                assert_eq!(VerifierKey::parse(&key.to_string()).expect("a vkey"), key);
                let line =
                    SignatureLine::sign(&key, &mut signer, CHECKPOINT, 1_679_315_147).expect("it signs");
                let note = Note { text: CHECKPOINT.into(), signatures: vec![line] };
                let text = note.to_string();
                let note = Note::parse(&text).expect("a note");
                note.verify_all(std::slice::from_ref(&key)).expect("it verifies");
                // Flip bits of every byte of the file, as far as it stays a text.
                for at in 0..text.len() {
                    let step = 1 + text.len() / 400;
                    if at % step != 0 {
                        continue;
                    }
                    for bit in 0..8 {
                        let mut bytes = text.clone().into_bytes();
                        bytes[at] ^= 1 << bit;
                        let verified = String::from_utf8(bytes)
                            .map_err(|_| Error::Note("not UTF-8"))
                            .and_then(|text| Note::parse(&text))
                            .and_then(|note| note.verify(&key));
                        assert!(verified.is_err(), "{algorithm} {form:?}: byte {at}, bit {bit}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_hybrid_note_needs_both_of_its_keys() {
        let dir = Scratch::new("hybrid");
        let make =
            |name: &str| SoftwareSigner::create(&dir.path().join(name), Algorithm::Ed25519).expect("a key");
        let (mut one, mut two) = (make("one"), make("two"));
        let key = |signer: &SoftwareSigner, name| {
            VerifierKey::new(name, Form::Text, signer.public_key().clone()).expect("a key")
        };
        let keys = [key(&one, "log"), key(&two, "log")];
        let first = SignatureLine::sign(&keys[0], &mut one, "text\n", 0).expect("it signs");
        let second = SignatureLine::sign(&keys[1], &mut two, "text\n", 0).expect("it signs");
        let mut note = Note { text: "text\n".into(), signatures: vec![first.clone()] };
        assert!(matches!(note.verify_all(&keys), Err(Error::Unsigned(_))));
        note.signatures.push(second);
        note.verify_all(&keys).expect("both signed");
        // Lines of strangers are passed over; a second line of a known key is not.
        let mut stranger = first.clone();
        stranger.name = "stranger".into();
        note.signatures.push(stranger);
        note.verify_all(&keys).expect("both signed");
        let mut forged = first;
        forged.signature[5] ^= 1;
        note.signatures.push(forged);
        assert!(matches!(note.verify_all(&keys), Err(Error::SignatureOf { .. })));
        assert!(note.verify_all(&[]).is_err());
        assert!(matches!(
            SignatureLine::sign(&keys[0], &mut two, "text\n", 0),
            Err(Error::Note("the verifier key is not the signer's"))
        ));
    }

    /// The layout of C2SP tlog-cosignature, byte by byte.
    #[test]
    fn a_cosigned_message_is_laid_out_as_specified() {
        let raw = vec![7; 1_312];
        let key = PublicKey::from_raw(Algorithm::MlDsa44, &raw).expect("a key");
        let key = VerifierKey::new("w/1", Form::Cosignature, key).expect("a key");
        let message = cosigned(&key, CHECKPOINT, 0x0102).expect("a checkpoint");
        let root = Base64::decode_vec("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=").expect("Base64");
        let expected = [
            &b"subtree/v1\n\0"[..],
            b"\x03w/1",
            &[0, 0, 0, 0, 0, 0, 1, 2],
            b"\x1bexample.com/behind-the-sofa",
            &[0; 8],
            &20_852_163u64.to_be_bytes(),
            &root,
        ];
        assert_eq!(message, expected.concat());
        assert_eq!(key.id(), sha256(&[b"w/1\n\x06", &raw])[..4]);
    }
}
