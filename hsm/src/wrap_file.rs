//! The file that names a wrapping key: the key itself, or where it is on a token.
//!
//! ```text
//! ironbell token key v1
//! module /usr/lib/softhsm/libsofthsm2.so
//! token venue
//! key wrap-1
//! pin-file /etc/ironbell/pin            or: pin-credential NAME
//! ```
//!
//! So that whatever takes a key file takes a token.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::{Error, KeyFile, KeyWrap, PinSource, Token, TokenConfig, TokenWrap};

const TITLE: &str = "ironbell token key v1";

/// Where a wrapping key is on a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenKeyFile {
    /// The vendor's shared library.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// The key's label.
    pub key: String,
    /// Where the PIN is read from.
    pub pin: PinSource,
}

impl fmt::Display for TokenKeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { module, token, key, pin } = self;
        writeln!(f, "{TITLE}\nmodule {}\ntoken {token}\nkey {key}", module.display())?;
        match pin {
            PinSource::File(path) => writeln!(f, "pin-file {}", path.display()),
            PinSource::Credential(name) => writeln!(f, "pin-credential {name}"),
        }
    }
}

impl TokenKeyFile {
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.trim_end().lines();
        (lines.next()? == TITLE).then_some(())?;
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let (module, token, key) = (field("module")?.into(), field("token")?.into(), field("key")?.into());
        let pin = match lines.next()?.split_once(' ')? {
            ("pin-file", path) => PinSource::File(path.into()),
            ("pin-credential", name) => PinSource::Credential(name.into()),
            _ => return None,
        };
        lines.next().is_none().then_some(Self { module, token, key, pin })
    }
}

/// The wrapping key that the file at `path` is or names.
///
/// # Errors
/// As [`KeyFile::open`]; or as [`Token::open`] and [`TokenWrap::open`].
pub fn open_wrap(path: &Path) -> Result<Box<dyn KeyWrap>, Error> {
    let text =
        fs::read(path).map_err(|source| Error::File { what: "read", path: path.to_owned(), source })?;
    if !text.starts_with(TITLE.as_bytes()) {
        return Ok(Box::new(KeyFile::open(path)?));
    }
    let named = std::str::from_utf8(&text).ok().and_then(TokenKeyFile::parse);
    let TokenKeyFile { module, token, key, pin } = named.ok_or_else(|| Error::NoKey(path.to_owned()))?;
    let token = Token::open(TokenConfig { module, token, pin, sessions_max: 1 })?;
    Ok(Box::new(TokenWrap::open(token, &key)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::new_key;
    use crate::softhsm::{alone, config, new_token};

    #[test]
    fn a_file_is_a_key_or_names_one_on_a_token() {
        alone("wrap_file::tests::a_file_is_a_key_or_names_one_on_a_token", |dir| {
            let token = new_token(dir, "venue");
            token.generate_wrapping("wrap-1").expect("a new key");
            let TokenConfig { module, token, pin, .. } = config(dir, "venue");
            let named = TokenKeyFile { module, token, key: "wrap-1".into(), pin };
            assert_eq!(TokenKeyFile::parse(&named.to_string()).as_ref(), Some(&named));
            let path = dir.join("named");
            fs::write(&path, named.to_string()).expect("a scratch file");
            let key = new_key().expect("random bytes");
            let wrapped = open_wrap(&path).expect("it is there").wrap(&key).expect("it wraps");
            assert_eq!(*open_wrap(&path).expect("it is there").unwrap(&wrapped).expect("it is ours"), *key);
            // A key in a file is another.
            let plain = dir.join("plain");
            KeyFile::create(&plain).expect("a new file");
            assert!(matches!(open_wrap(&plain).expect("a key").unwrap(&wrapped), Err(Error::NotOurs)));
            for (from, to) in [("key wrap-1\n", ""), ("pin-file", "pin"), ("wrap-1\n", "wrap-1\nmore\n")] {
                fs::write(&path, named.to_string().replace(from, to)).expect("a scratch file");
                assert!(matches!(open_wrap(&path), Err(Error::NoKey(_))), "{from} → {to}");
            }
            fs::write(&path, named.to_string().replace("wrap-1", "wrap-2")).expect("a scratch file");
            assert!(matches!(open_wrap(&path), Err(Error::NoTokenKey { .. })));
        });
    }
}
