//! The key journal: who may sign for a venue, from which size on, as a chain of signed notes.
//!
//! ```text
//! ironbell keys v1
//! venue.example/ironbell              the venue
//! entry 3
//! previous BASE64                     SHA-256 of the text of entry 2; of no bytes in entry 0
//! add log VKEY from 109482            one change a line
//! retire log VKEY from 120000
//!
//! — NAME BASE64                       signatures
//! ```
//!
//! | change | must be signed by |
//! |---|---|
//! | any `add` | the key that is added: whoever adds it has it |
//! | `add log`, `retire log` | every log key in force at that moment |
//! | `revoke log VKEY at SIZE ROOT` | every recovery key, which lie in safes |
//! | `add recovery`, `remove recovery` | every recovery key |
//! | `add officer`, `remove officer`, `quorum N` | as many officers as the quorum says |
//!
//! The first entry needs no signatures but those of the keys that it adds: it is what people compare by hand.
//! A log key is in force for checkpoints from its size on to before the size at which it is retired; where two are, both
//! must sign, so that rotation has an overlap in which holders of either key can go on. A revoked key is in force nowhere:
//! who stole it may have signed anything. The venue is anchored again at the last good head, which the revocation names
//! and the recovery keys sign.

use std::fmt::Write as _;

use base64ct::{Base64, Encoding};

use crate::checkpoint::{parse_decimal, parse_hash};
use crate::signer::sha256;
use crate::{Error, Form, Hash, Note, VerifierKey};

const TITLE: &str = "ironbell keys v1";

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyChange {
    /// Checkpoints of this size and more are signed by this key.
    AddLog(VerifierKey, u64),
    /// Checkpoints of this size and more are signed by this key no longer.
    RetireLog(VerifierKey, u64),
    /// The key was stolen or may have been: nothing that it signed counts, but this head is good.
    RevokeLog(VerifierKey, u64, Hash),
    /// A key that may revoke.
    AddRecovery(VerifierKey),
    /// No longer.
    RemoveRecovery(VerifierKey),
    /// A key that may approve payments.
    AddOfficer(VerifierKey),
    /// No longer.
    RemoveOfficer(VerifierKey),
    /// How many officers must approve.
    Quorum(u64),
}

impl std::fmt::Display for KeyChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AddLog(key, from) => write!(f, "add log {key} from {from}"),
            Self::RetireLog(key, from) => write!(f, "retire log {key} from {from}"),
            Self::RevokeLog(key, size, root) => {
                write!(f, "revoke log {key} at {size} {}", Base64::encode_string(root))
            }
            Self::AddRecovery(key) => write!(f, "add recovery {key}"),
            Self::RemoveRecovery(key) => write!(f, "remove recovery {key}"),
            Self::AddOfficer(key) => write!(f, "add officer {key}"),
            Self::RemoveOfficer(key) => write!(f, "remove officer {key}"),
            Self::Quorum(count) => write!(f, "quorum {count}"),
        }
    }
}

impl KeyChange {
    /// The change in a line.
    ///
    /// # Errors
    /// [`Error::Note`] when it is none.
    pub fn parse(line: &str) -> Result<Self, Error> {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["add", "log", key, "from", size] => Ok(Self::AddLog(text_key(key)?, parse_decimal(size)?)),
            ["retire", "log", key, "from", size] => Ok(Self::RetireLog(text_key(key)?, parse_decimal(size)?)),
            ["revoke", "log", key, "at", size, root] => {
                Ok(Self::RevokeLog(text_key(key)?, parse_decimal(size)?, parse_hash(root)?))
            }
            ["add", "recovery", key] => Ok(Self::AddRecovery(text_key(key)?)),
            ["remove", "recovery", key] => Ok(Self::RemoveRecovery(text_key(key)?)),
            ["add", "officer", key] => Ok(Self::AddOfficer(text_key(key)?)),
            ["remove", "officer", key] => Ok(Self::RemoveOfficer(text_key(key)?)),
            ["quorum", count] => Ok(Self::Quorum(parse_decimal(count)?)),
            _ => Err(Error::Note("a line of the key journal says no change that is known here")),
        }
    }

    fn added(&self) -> Option<&VerifierKey> {
        match self {
            Self::AddLog(key, _) | Self::AddRecovery(key) | Self::AddOfficer(key) => Some(key),
            _ => None,
        }
    }
}

/// Keys stand in the journal in the form that signs texts; that which signs checkpoints follows from it.
fn text_key(vkey: &str) -> Result<VerifierKey, Error> {
    let key = VerifierKey::parse(vkey)?;
    if key.form() != Form::Text {
        return Err(Error::Note("keys stand in the key journal in the form that signs texts"));
    }
    Ok(key)
}

/// A log key and where it is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LogKey {
    key: VerifierKey,
    from: u64,
    until: Option<u64>,
    revoked: bool,
}

impl LogKey {
    fn is_in_force(&self, size: u64) -> bool {
        !self.revoked && self.from <= size && self.until.is_none_or(|until| size < until)
    }
}

/// The key journal, verified from its first entry on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyHistory {
    origin: String,
    entries: Vec<Note>,
    log: Vec<LogKey>,
    recovery: Vec<VerifierKey>,
    officers: Vec<VerifierKey>,
    quorum: u64,
    anchor: Option<(u64, Hash)>,
}

impl KeyHistory {
    /// One without entries.
    #[must_use]
    pub fn new(origin: &str) -> Self {
        Self { origin: origin.into(), ..Self::default() }
    }

    /// The journal in `text`, of the venue of that name.
    ///
    /// # Errors
    /// What does not hold of the first entry that is wrong.
    pub fn parse(origin: &str, text: &str) -> Result<Self, Error> {
        let mut history = Self::new(origin);
        Note::parse_all(text)?.into_iter().try_for_each(|note| history.append(note))?;
        Ok(history)
    }

    /// The venue.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// SHA-256 of the first entry's text: what people compare by hand, and all that must be trusted.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Hash> {
        self.entries.first().map(|entry| sha256(&[entry.text.as_bytes()]))
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The keys that all must have signed a checkpoint of that size, in the form that signs checkpoints.
    ///
    /// # Errors
    /// [`Error::Note`] when none is in force there: it is of before a revocation, and must be asked for anew.
    pub fn log_keys(&self, size: u64) -> Result<Vec<VerifierKey>, Error> {
        let in_force = self.log.iter().filter(|key| key.is_in_force(size));
        let keys = in_force
            .map(|log| VerifierKey::of_log(log.key.name(), log.key.key().clone()))
            .collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err(Error::Note(
                "no key is in force for a checkpoint of that size: ask the venue for one of today",
            ));
        }
        Ok(keys)
    }

    /// Whether it says anything of the log's keys, or of officers alone.
    #[must_use]
    pub fn has_log_keys(&self) -> bool {
        !self.log.is_empty()
    }

    /// The head at which the venue was anchored again after the last revocation.
    #[must_use]
    pub fn anchor(&self) -> Option<(u64, Hash)> {
        self.anchor
    }

    /// Who may approve payments, and how many of them must.
    #[must_use]
    pub fn officers(&self) -> (&[VerifierKey], u64) {
        (&self.officers, self.quorum)
    }

    /// The text of the next entry, to be signed by those whom its changes need.
    #[must_use]
    pub fn propose(&self, changes: &[KeyChange]) -> String {
        let previous = self.entries.last().map_or(&b""[..], |entry| entry.text.as_bytes());
        let previous = Base64::encode_string(&sha256(&[previous]));
        let mut text =
            format!("{TITLE}\n{}\nentry {}\nprevious {previous}\n", self.origin, self.entries.len());
        for change in changes {
            writeln!(text, "{change}").expect("a string takes all");
        }
        text
    }

    /// Takes the next entry.
    ///
    /// # Errors
    /// [`Error::Note`], [`Error::Unsigned`], [`Error::SignatureOf`]: it is not the next one, or not signed by those whom
    /// its changes need. Nothing of it is taken then.
    pub fn append(&mut self, entry: Note) -> Result<(), Error> {
        let changes: Vec<&str> = entry.text.lines().skip(4).collect();
        let changes = changes.into_iter().map(KeyChange::parse).collect::<Result<Vec<_>, _>>()?;
        if changes.is_empty() || entry.text != self.propose(&changes) {
            return Err(Error::Note("this is not the next entry of this key journal"));
        }
        self.check_signatures(&entry, &changes)?;
        let mut next = self.clone();
        for change in changes {
            next.apply(change)?;
        }
        if next.quorum > next.officers.len() as u64 {
            return Err(Error::Note("the quorum is above the number of officers"));
        }
        if next.quorum == 0 && !next.officers.is_empty() {
            return Err(Error::Note("officers without a quorum: say how many must approve"));
        }
        next.entries.push(entry);
        *self = next;
        Ok(())
    }

    fn check_signatures(&self, entry: &Note, changes: &[KeyChange]) -> Result<(), Error> {
        changes.iter().filter_map(KeyChange::added).try_for_each(|key| entry.verify(key))?;
        if self.entries.is_empty() {
            return Ok(());
        }
        for change in changes {
            match change {
                KeyChange::AddLog(..) | KeyChange::RetireLog(..) => {
                    // With a revocation beside it, the keys in force may be the thief's.
                    let with_revocation =
                        changes.iter().any(|change| matches!(change, KeyChange::RevokeLog(..)));
                    let signers: Vec<&VerifierKey> = if with_revocation {
                        self.recovery.iter().collect()
                    } else {
                        let current = self.log.iter().filter(|key| !key.revoked && key.until.is_none());
                        current.map(|log| &log.key).collect()
                    };
                    need_all(entry, &signers)?;
                }
                KeyChange::RevokeLog(..) | KeyChange::AddRecovery(_) | KeyChange::RemoveRecovery(_) => {
                    need_all(entry, &self.recovery.iter().collect::<Vec<_>>())?;
                }
                KeyChange::AddOfficer(_) | KeyChange::RemoveOfficer(_) | KeyChange::Quorum(_) => {
                    check_quorum(entry, &self.officers, self.quorum)?;
                }
            }
        }
        Ok(())
    }

    fn apply(&mut self, change: KeyChange) -> Result<(), Error> {
        const UNKNOWN: Error = Error::Note("the change is of a key that is not there");
        const TAKEN: Error = Error::Note("the key is there already");
        let remove = |keys: &mut Vec<VerifierKey>, key: &VerifierKey| {
            let place = keys.iter().position(|this| this == key).ok_or(UNKNOWN)?;
            keys.remove(place);
            Ok(())
        };
        let add = |keys: &mut Vec<VerifierKey>, key: VerifierKey| {
            // One key under two names would count as two officers.
            if keys.iter().any(|this| this.key() == key.key() || this.name() == key.name()) {
                return Err(TAKEN);
            }
            keys.push(key);
            Ok(())
        };
        match change {
            KeyChange::AddLog(key, from) => {
                if key.name() != self.origin {
                    return Err(Error::Note("a log's keys carry its name"));
                }
                if self.log.iter().any(|log| log.key == key) {
                    return Err(TAKEN);
                }
                self.log.push(LogKey { key, from, until: None, revoked: false });
                Ok(())
            }
            KeyChange::RetireLog(key, until) => {
                let log = self.log.iter_mut().find(|log| log.key == key && log.until.is_none());
                let log = log.ok_or(UNKNOWN)?;
                log.until = Some(until);
                Ok(())
            }
            KeyChange::RevokeLog(key, size, root) => {
                self.log.iter_mut().find(|log| log.key == key).ok_or(UNKNOWN)?.revoked = true;
                self.anchor = Some((size, root));
                Ok(())
            }
            KeyChange::AddRecovery(key) => add(&mut self.recovery, key),
            KeyChange::RemoveRecovery(key) => remove(&mut self.recovery, &key),
            KeyChange::AddOfficer(key) => add(&mut self.officers, key),
            KeyChange::RemoveOfficer(key) => remove(&mut self.officers, &key),
            KeyChange::Quorum(count) => {
                self.quorum = count;
                Ok(())
            }
        }
    }
}

impl std::fmt::Display for KeyHistory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.entries.iter().try_for_each(|entry| write!(f, "{entry}"))
    }
}

fn need_all(entry: &Note, keys: &[&VerifierKey]) -> Result<(), Error> {
    if keys.is_empty() {
        return Err(Error::Note("there is nobody who may sign this change"));
    }
    keys.iter().try_for_each(|key| entry.verify(key))
}

/// Whether at least `quorum` of the officers signed. A line of an officer that does not verify spoils the whole.
///
/// # Errors
/// [`Error::Quorum`], [`Error::SignatureOf`].
pub(crate) fn check_quorum(note: &Note, officers: &[VerifierKey], quorum: u64) -> Result<(), Error> {
    let mut signed = 0;
    for officer in officers {
        match note.verify(officer) {
            Ok(()) => signed += 1,
            Err(Error::Unsigned(_)) => {}
            Err(error) => return Err(error),
        }
    }
    if quorum == 0 || signed < quorum {
        return Err(Error::Quorum { signed, quorum });
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use crate::{Algorithm, SignatureLine, Signer, SoftwareSigner};

    /// People and machines with keys of their own.
    pub(crate) struct Holder {
        pub(crate) key: VerifierKey,
        pub(crate) signer: SoftwareSigner,
    }

    impl Holder {
        pub(crate) fn new(dir: &Scratch, file: &str, name: &str) -> Self {
            let signer = SoftwareSigner::create(&dir.path().join(file), Algorithm::Ed25519).expect("a key");
            let key = VerifierKey::new(name, Form::Text, signer.public_key().clone()).expect("a name");
            Self { key, signer }
        }
    }

    pub(crate) fn signed(text: &str, holders: &mut [&mut Holder]) -> Note {
        let sign = |holder: &mut &mut Holder| {
            SignatureLine::sign(&holder.key, &mut holder.signer, text, 0).expect("it signs")
        };
        Note { text: text.into(), signatures: holders.iter_mut().map(sign).collect() }
    }

    pub(crate) const VENUE: &str = "venue.example/ironbell";

    #[test]
    fn rotation_has_an_overlap_and_a_stolen_key_is_revoked() {
        let dir = Scratch::new("history");
        let mut a = Holder::new(&dir, "a", VENUE);
        let mut b = Holder::new(&dir, "b", VENUE);
        let mut c = Holder::new(&dir, "c", VENUE);
        let mut safe = Holder::new(&dir, "safe", "safe.example");
        let mut history = KeyHistory::new(VENUE);
        let (ka, kb, kc) = (a.key.clone(), b.key.clone(), c.key.clone());
        let names = |history: &KeyHistory, size| {
            history.log_keys(size).map(|keys| keys.iter().map(VerifierKey::id).collect::<Vec<_>>())
        };
        let text =
            history.propose(&[KeyChange::AddLog(ka.clone(), 0), KeyChange::AddRecovery(safe.key.clone())]);
        assert!(history.append(signed(&text, &mut [&mut a])).is_err(), "the recovery key must sign too");
        history.append(signed(&text, &mut [&mut a, &mut safe])).expect("both are there");

        // B comes in at 100, A goes at 200: in between both must sign.
        let text = history.propose(&[KeyChange::AddLog(kb.clone(), 100)]);
        assert!(history.append(signed(&text, &mut [&mut b])).is_err(), "A must agree");
        assert!(history.append(signed(&text, &mut [&mut a])).is_err(), "B must be there");
        history.append(signed(&text, &mut [&mut a, &mut b])).expect("both agree");
        let text = history.propose(&[KeyChange::RetireLog(ka.clone(), 200)]);
        history.append(signed(&text, &mut [&mut a, &mut b])).expect("both agree");
        assert_eq!(names(&history, 99).expect("in force"), [ka.id()]);
        assert_eq!(names(&history, 100).expect("in force"), [ka.id(), kb.id()]);
        assert_eq!(names(&history, 199).expect("in force"), [ka.id(), kb.id()]);
        assert_eq!(names(&history, 200).expect("in force"), [kb.id()]);

        // B is stolen. The thief cannot add a key of his own, retire or revoke; the safe can.
        let mut thief = Holder::new(&dir, "thief", VENUE);
        let revoke = KeyChange::RevokeLog(kb.clone(), 250, [5; 32]);
        let text = history.propose(&[revoke.clone(), KeyChange::AddLog(thief.key.clone(), 250)]);
        assert!(history.append(signed(&text, &mut [&mut b, &mut thief])).is_err());
        let text = history.propose(&[revoke, KeyChange::AddLog(kc.clone(), 250)]);
        history.append(signed(&text, &mut [&mut safe, &mut c])).expect("the safe agrees, without B");
        assert_eq!(history.anchor(), Some((250, [5; 32])));
        assert_eq!(names(&history, 250).expect("in force"), [kc.id()]);
        assert_eq!(names(&history, 99).expect("A was never stolen"), [ka.id()]);
        assert!(names(&history, 220).is_err(), "what B signed counts for nothing");

        // The journal as text says the same; any entry left out, moved or changed is found.
        let text = history.to_string();
        let fingerprint = history.fingerprint();
        let read = KeyHistory::parse(VENUE, &text).expect("it was just written");
        assert_eq!((&read, read.fingerprint()), (&history, fingerprint));
        assert!(KeyHistory::parse("other.example", &text).is_err());
        let notes: Vec<String> = history.entries.iter().map(ToString::to_string).collect();
        for skipped in 0..notes.len() - 1 {
            let rest: String = notes
                .iter()
                .enumerate()
                .filter(|(at, _)| *at != skipped)
                .map(|(_, note)| note.as_str())
                .collect();
            assert!(KeyHistory::parse(VENUE, &rest).is_err(), "entry {skipped} is missing");
        }
        for at in (0..text.len()).step_by(3) {
            for bit in 0..8 {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                if let Ok(changed) = String::from_utf8(bytes) {
                    let read = KeyHistory::parse(VENUE, &changed);
                    assert!(read.is_err(), "byte {at}, bit {bit}");
                }
            }
        }
    }

    #[test]
    fn officers_change_by_their_quorum() {
        let dir = Scratch::new("officers");
        let mut ann = Holder::new(&dir, "ann", "ann");
        let mut bob = Holder::new(&dir, "bob", "bob");
        let mut cyd = Holder::new(&dir, "cyd", "cyd");
        let mut dan = Holder::new(&dir, "dan", "dan");
        let mut history = KeyHistory::new(VENUE);
        let add = |holder: &Holder| KeyChange::AddOfficer(holder.key.clone());
        let first = [add(&ann), add(&bob), add(&cyd), KeyChange::Quorum(2)];
        let text = history.propose(&[add(&ann), KeyChange::Quorum(2)]);
        assert!(history.append(signed(&text, &mut [&mut ann])).is_err(), "a quorum of two of one");
        let text = history.propose(&[add(&ann)]);
        assert!(history.append(signed(&text, &mut [&mut ann])).is_err(), "no quorum");
        let text = history.propose(&first);
        history.append(signed(&text, &mut [&mut ann, &mut bob, &mut cyd])).expect("all are there");
        let text = history.propose(&[add(&dan)]);
        let alone = history.append(signed(&text, &mut [&mut ann, &mut dan]));
        assert!(matches!(alone, Err(Error::Quorum { signed: 1, quorum: 2 })));
        history.append(signed(&text, &mut [&mut ann, &mut dan, &mut cyd])).expect("two of three");
        // The same key under another name would be two officers in one person.
        let twin = VerifierKey::new("ann2", Form::Text, ann.key.key().clone()).expect("a name");
        let text = history.propose(&[KeyChange::AddOfficer(twin.clone())]);
        let mut twin =
            Holder { key: twin, signer: SoftwareSigner::open(&dir.path().join("ann")).expect("a key") };
        assert!(history.append(signed(&text, &mut [&mut ann, &mut bob, &mut twin])).is_err());
        let text = history.propose(&[KeyChange::RemoveOfficer(ann.key.clone()), KeyChange::Quorum(3)]);
        history.append(signed(&text, &mut [&mut bob, &mut cyd])).expect("two of four");
        assert_eq!(history.officers().1, 3);
        assert_eq!(history.officers().0.len(), 3);
    }
}
