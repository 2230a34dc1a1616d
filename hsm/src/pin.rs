//! Where a token's PIN comes from.

use std::env;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::Error;
use crate::software::read_secret;

/// Where a PIN is read from, each time that it is needed: between two logins no copy of it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinSource {
    /// A file that only its owner may read.
    File(PathBuf),
    /// A credential that systemd passed to the service (`LoadCredentialEncrypted=`), by its name.
    Credential(String),
}

impl PinSource {
    /// The file it stands in.
    ///
    /// # Errors
    /// [`Error::NoCredentials`] when systemd passed none.
    pub fn path(&self) -> Result<PathBuf, Error> {
        match self {
            Self::File(path) => Ok(path.clone()),
            Self::Credential(name) => {
                let directory =
                    env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| Error::NoCredentials(name.clone()))?;
                Ok(Path::new(&directory).join(name))
            }
        }
    }

    /// The PIN: the file's text without white space around it, gone from memory when dropped.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Mode`], [`Error::NoPin`], [`Error::NoCredentials`].
    pub fn read(&self) -> Result<Zeroizing<String>, Error> {
        let path = self.path()?;
        // systemd lets the service's user in by an access list, whose mask shows as the group's bits; the
        // directory itself is nobody else's.
        let forbidden = if matches!(self, Self::File(_)) { 0o077 } else { 0o027 };
        let bytes = read_secret(&path, forbidden)?;
        let text = std::str::from_utf8(&bytes).map(str::trim).unwrap_or_default();
        if text.is_empty() || text.contains(char::is_control) {
            return Err(Error::NoPin(path));
        }
        Ok(Zeroizing::new(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_pin_is_read_from_a_file_of_its_owner_alone() {
        let dir = Scratch::new("pin");
        let path = dir.path().join("pin");
        let source = PinSource::File(path.clone());
        assert!(matches!(source.read(), Err(Error::File { what: "read", .. })));
        write(&path, " 12 34\n").expect("a scratch file");
        set_permissions(&path, Permissions::from_mode(0o640)).expect("it is ours");
        assert!(matches!(source.read(), Err(Error::Mode { mode: 0o640, .. })));
        set_permissions(&path, Permissions::from_mode(0o600)).expect("it is ours");
        assert_eq!(*source.read().expect("a PIN"), "12 34");
        for text in ["", " \n", "1\n2", "\u{1}"] {
            write(&path, text).expect("it is ours");
            assert!(matches!(source.read(), Err(Error::NoPin(_))), "{text:?}");
        }
    }
}
