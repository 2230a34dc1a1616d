//! Payment instructions: signed after enough officers approved, each once.
//!
//! ```text
//! ironbell payment v1
//! venue.example/ironbell
//! id 2026-11-21/17                its number: no other instruction ever has it
//! from DE02120300000000202051     whatever the paying system calls its accounts: no white space
//! to GB33BUKB20201555555555
//! asset USD
//! amount 1000.00
//! not-after 1795284000            seconds since 1970
//!
//! — ann BASE64                    approvals: signatures of officers over the lines above
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding};

use crate::checkpoint::{parse_decimal, parse_hash};
use crate::history::check_quorum;
use crate::signer::sha256;
use crate::{Error, Hash, KeyHistory, Note};

const TITLE: &str = "ironbell payment v1";

/// What is to be paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// The venue.
    pub origin: String,
    /// Its number.
    pub id: String,
    /// Who pays.
    pub from: String,
    /// Who is paid.
    pub to: String,
    /// What.
    pub asset: String,
    /// How much, as a decimal above zero.
    pub amount: String,
    /// When it is void, in seconds since 1970.
    pub not_after: u64,
}

impl fmt::Display for Payment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, id, from, to, asset, amount, not_after } = self;
        writeln!(
            f,
            "{TITLE}\n{origin}\nid {id}\nfrom {from}\nto {to}\nasset {asset}\namount {amount}\nnot-after {not_after}"
        )
    }
}

impl Payment {
    /// The instruction in a note's text.
    ///
    /// # Errors
    /// [`Error::Payment`] when it is none.
    pub fn parse(text: &str) -> Result<Self, Error> {
        const NONE: Error = Error::Payment("this is no payment instruction");
        let mut lines = text.strip_suffix('\n').ok_or(NONE)?.split('\n');
        if lines.next() != Some(TITLE) {
            return Err(NONE);
        }
        let origin = lines.next().ok_or(NONE)?.to_owned();
        let mut field = |name: &str| {
            let value = lines.next()?.strip_prefix(name)?.strip_prefix(' ')?;
            (!value.is_empty() && !value.contains(char::is_whitespace)).then(|| value.to_owned())
        };
        let payment = Self {
            origin,
            id: field("id").ok_or(NONE)?,
            from: field("from").ok_or(NONE)?,
            to: field("to").ok_or(NONE)?,
            asset: field("asset").ok_or(NONE)?,
            amount: field("amount").ok_or(NONE)?,
            not_after: parse_decimal(&field("not-after").ok_or(NONE)?)?,
        };
        let (whole, part) = payment.amount.split_once('.').unwrap_or((&payment.amount, "0"));
        let is_decimal =
            parse_decimal(whole).is_ok() && !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !is_decimal || payment.amount.bytes().all(|byte| matches!(byte, b'0' | b'.')) {
            return Err(Error::Payment("the amount is a decimal above zero"));
        }
        if payment.to_string() == text { Ok(payment) } else { Err(NONE) }
    }
}

/// Which instructions were signed, on disk before they are.
#[derive(Debug)]
pub struct PaymentLog {
    path: PathBuf,
    file: File,
    signed: BTreeMap<String, Hash>,
    poisoned: bool,
}

impl PaymentLog {
    /// Opens the file, or makes it. A line that a crash left half written is cut: nothing was signed for it.
    ///
    /// # Errors
    /// [`Error::State`] when it cannot be used or is damaged.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |why: String| Error::State { path: path.to_owned(), why };
        let mut open = OpenOptions::new();
        let mut file = open
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|error| failed(error.to_string()))?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|error| failed(error.to_string()))?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let mut signed = BTreeMap::new();
        for (at, line) in text[..whole].lines().enumerate() {
            let parsed =
                line.rsplit_once(' ').and_then(|(id, hash)| Some((id.to_owned(), parse_hash(hash).ok()?)));
            let (id, hash) = parsed.ok_or_else(|| failed(format!("line {} is damaged", at + 1)))?;
            signed.insert(id, hash);
        }
        let cut = file.set_len(whole as u64).and_then(|()| file.seek(SeekFrom::End(0)));
        cut.and_then(|_| file.sync_all()).map_err(|error| failed(error.to_string()))?;
        Ok(Self { path: path.to_owned(), file, signed, poisoned: false })
    }

    /// Checks that a payment may be signed at `time`, and notes durably that it is.
    ///
    /// # Errors
    /// [`Error::Payment`], [`Error::Quorum`], [`Error::SignatureOf`]: why not. [`Error::State`] when it cannot be noted.
    pub fn admit(&mut self, note: &Note, history: &KeyHistory, time: u64) -> Result<Payment, Error> {
        let payment = Payment::parse(&note.text)?;
        if payment.origin != history.origin() {
            return Err(Error::Payment("the instruction is of another venue"));
        }
        let (officers, quorum) = history.officers();
        check_quorum(note, officers, quorum)?;
        let hash = sha256(&[note.text.as_bytes()]);
        match self.signed.get(&payment.id) {
            // The answer may have been lost.
            Some(signed) if *signed == hash => return Ok(payment),
            Some(_) => return Err(Error::Payment("another instruction of that number was signed")),
            None => {}
        }
        if time > payment.not_after {
            return Err(Error::Payment("the instruction is void by its time"));
        }
        if self.poisoned {
            return Err(Error::State {
                path: self.path.clone(),
                why: "a write failed before: start again".into(),
            });
        }
        let line = format!("{} {}\n", payment.id, Base64::encode_string(&hash));
        if let Err(error) = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data()) {
            self.poisoned = true;
            return Err(Error::State { path: self.path.clone(), why: error.to_string() });
        }
        self.signed.insert(payment.id.clone(), hash);
        Ok(payment)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::KeyChange;
    use crate::history::tests::{Holder, VENUE, signed};
    use crate::scratch::Scratch;

    pub(crate) fn payment(id: &str) -> Payment {
        Payment {
            origin: VENUE.into(),
            id: id.into(),
            from: "DE02120300000000202051".into(),
            to: "GB33BUKB20201555555555".into(),
            asset: "USD".into(),
            amount: "1000.00".into(),
            not_after: 2_000,
        }
    }

    pub(crate) fn two_of_three(dir: &Scratch) -> (KeyHistory, [Holder; 3]) {
        let mut officers = ["ann", "bob", "cyd"].map(|name| Holder::new(dir, name, name));
        let mut history = KeyHistory::new(VENUE);
        let mut changes: Vec<_> = officers.iter().map(|one| KeyChange::AddOfficer(one.key.clone())).collect();
        changes.push(KeyChange::Quorum(2));
        let text = history.propose(&changes);
        let [ann, bob, cyd] = &mut officers;
        history.append(signed(&text, &mut [ann, bob, cyd])).expect("all are there");
        (history, officers)
    }

    #[test]
    fn a_payment_needs_its_quorum_and_is_signed_once() {
        let dir = Scratch::new("payment");
        let (history, [mut ann, mut bob, mut cyd]) = two_of_three(&dir);
        let path = dir.path().join("payments");
        let mut log = PaymentLog::open(&path).expect("a new file");
        let text = payment("1").to_string();
        assert_eq!(Payment::parse(&text).expect("it was just written"), payment("1"));
        let admit = |log: &mut PaymentLog, note: &Note, time| log.admit(note, &history, time).map(|_| ());
        let quorum = |result| matches!(result, Err(Error::Quorum { signed: 1, quorum: 2 }));
        assert!(quorum(admit(&mut log, &signed(&text, &mut [&mut ann]), 1)));
        // One officer twice is one.
        let mut twice = signed(&text, &mut [&mut ann]);
        twice.signatures.push(twice.signatures[0].clone());
        assert!(quorum(admit(&mut log, &twice, 1)));
        // A stranger is nobody; a forged approval spoils the whole.
        let mut dan = Holder::new(&dir, "dan", "dan");
        assert!(quorum(admit(&mut log, &signed(&text, &mut [&mut ann, &mut dan]), 1)));
        let mut forged = signed(&text, &mut [&mut ann, &mut bob, &mut cyd]);
        forged.signatures[2].signature[3] ^= 1;
        assert!(matches!(admit(&mut log, &forged, 1), Err(Error::SignatureOf { .. })));
        // An approval of another amount is none of this one.
        let mut other = payment("1");
        other.amount = "9000.00".into();
        let mut moved = signed(&text, &mut [&mut ann, &mut bob]);
        moved.text = other.to_string();
        assert!(matches!(admit(&mut log, &moved, 1), Err(Error::SignatureOf { .. })));

        let good = signed(&text, &mut [&mut ann, &mut cyd]);
        assert!(matches!(admit(&mut log, &good, 2_001), Err(Error::Payment(_))), "too late");
        admit(&mut log, &good, 2_000).expect("two approved");
        drop(log);
        // After a crash in the midst of noting the next.
        std::fs::write(&path, [&std::fs::read(&path).expect("it is there")[..], b"2 AAAA"].concat())
            .expect("a scratch file");
        let mut log = PaymentLog::open(&path).expect("it is there");
        admit(&mut log, &good, 3_000).expect("the same again, even late");
        let again = signed(&other.to_string(), &mut [&mut ann, &mut bob]);
        assert!(matches!(admit(&mut log, &again, 1), Err(Error::Payment(_))), "the number was used");
        let next = signed(&payment("2").to_string(), &mut [&mut bob, &mut cyd]);
        admit(&mut log, &next, 1).expect("two approved");
        let lines = std::fs::read_to_string(&path).expect("it is there");
        assert_eq!(lines.lines().count(), 2, "{lines}");
        std::fs::write(&path, lines.replacen(' ', "", 1)).expect("a scratch file");
        assert!(matches!(PaymentLog::open(&path), Err(Error::State { .. })));
    }

    #[test]
    fn what_is_no_payment_is_refused() {
        let good = payment("1").to_string();
        for (from, to) in [
            ("1000.00", "0.00"),
            ("1000.00", "-1"),
            ("1000.00", "1."),
            ("1000.00", ".5"),
            ("1000.00", "01"),
            ("asset USD", "asset "),
            ("asset USD", "asset U D"),
            ("not-after 2000", "not-after 02000"),
            ("id 1\n", ""),
            ("v1", "v2"),
        ] {
            assert!(Payment::parse(&good.replacen(from, to, 1)).is_err(), "{from} → {to}");
        }
        assert!(Payment::parse(&format!("{good}more\n")).is_err());
        assert!(Payment::parse(good.trim_end()).is_err());
    }
}
