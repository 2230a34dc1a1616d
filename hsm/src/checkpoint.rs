//! Checkpoints (C2SP tlog-checkpoint): a log's name, its size and its root, in three lines.

use std::fmt;

use base64ct::{Base64, Encoding};

use crate::{Error, Hash};

/// What a log had come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// Its leaves: the Seqs 1 to this.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
}

impl Checkpoint {
    /// The checkpoint that `text` begins with. Lines behind the third are opaque, and not empty.
    ///
    /// # Errors
    /// [`Error::Note`] when it is none.
    pub fn parse(text: &str) -> Result<Self, Error> {
        const NONE: Error = Error::Note("a checkpoint is three lines: origin, size, root");
        let mut lines = text.strip_suffix('\n').ok_or(NONE)?.split('\n');
        let (origin, size, root) =
            (lines.next().ok_or(NONE)?, lines.next().ok_or(NONE)?, lines.next().ok_or(NONE)?);
        if origin.is_empty() || lines.any(str::is_empty) {
            return Err(NONE);
        }
        Ok(Self { origin: origin.into(), size: parse_decimal(size)?, root: parse_hash(root)? })
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, Base64::encode_string(&self.root))
    }
}

/// A decimal without leading zeroes.
pub(crate) fn parse_decimal(text: &str) -> Result<u64, Error> {
    const NONE: Error = Error::Note("a size is a decimal number without leading zeroes");
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_plain { text.parse().map_err(|_| NONE) } else { Err(NONE) }
}

/// A hash in Base64.
pub(crate) fn parse_hash(text: &str) -> Result<Hash, Error> {
    let bytes = Base64::decode_vec(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or(Error::Note("a hash is 32 bytes in Base64"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_three_lines_and_nothing_looser() {
        let text = "example.com/log\n17\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        let checkpoint = Checkpoint::parse(text).expect("a checkpoint");
        assert_eq!((checkpoint.origin.as_str(), checkpoint.size), ("example.com/log", 17));
        assert_eq!(checkpoint.to_string(), text);
        Checkpoint::parse(&format!("{text}an extension\n")).expect("it is opaque");
        for wrong in [
            text.trim_end().to_owned(),
            format!("{text}\n"),
            text.replace("17", "017"),
            text.replace("17", "+17"),
            text.replace("17", ""),
            text.replace("17", "18446744073709551616"),
            text.replace("2I=", "2I"),
            text.replace("2I=", "2IAA"),
            text.replace("example.com/log", ""),
            "example.com/log\n17\n".to_owned(),
        ] {
            assert!(Checkpoint::parse(&wrong).is_err(), "{wrong:?}");
        }
    }
}
