//! `ironbell sign`: a process of its own that follows the committed journal, keeps the Merkle tree over it, and has its
//! head signed from time to time.
//!
//! ```text
//!  journal ─ committed frames ─▶ state machine ─ events ─▶ entry of each Seq ─▶ tree ─ head ─▶ signing desk
//!                                 │ output hash                                                 │ checkpoint
//!                                 ▼ must be the journal's                 DIR/checkpoint, DIR/checkpoints, tiles
//! ```
//!
//! It shares nothing with the order path but the disk: it may run as another user, alone with the PIN and the token.
//! A key that is slow or gone lets checkpoints wait, up to a stated number; then there is an alarm, and by policy
//! a halt of trading.
//!
//! Start with [`run`]; this file has what it and `ironbell receipt` share: the configuration, the files, and the
//! [`Notary`], which says what a command commits to.

mod health;
mod herald;
mod papers;
mod process;
mod witnesses;

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ironbell_core::Engine;
use ironbell_gateway::Directory;
use ironbell_gateway::outbound::Teller;
use ironbell_hsm::entry::{Entry, Part, Salts};
use ironbell_hsm::{
    Checkpoint, Hash, Key, Note, PinSource, Signer, SoftwareSigner, Token, TokenConfig, TokenSigner,
};
use ironbell_record::command;
use ironbell_store::Reader;
use ironbell_types::{Event, EventBody, Seq, Sequenced};
use serde::Deserialize;

use crate::config::Config;
use crate::failure::Failure;
use crate::moment::Moment;
use crate::recovery::engine_config;
use crate::snapshot;
use crate::words::Span;

pub(crate) use papers::{hash_of, manifest, read_manifest};
pub use process::run;
pub use witnesses::WitnessPlace;

/// `[signing]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signing {
    /// The venue's name on checkpoints: a URL without its scheme, such as `venue.example/ironbell`. No white space.
    pub origin: String,
    /// From one checkpoint to the next, if anything was committed meanwhile.
    #[serde(default = "a_second")]
    pub every: Span,
    /// Checkpoints that may wait for the key before there is an alarm.
    #[serde(default = "a_minute_of_them")]
    pub waiting_max: usize,
    /// What else happens then.
    #[serde(default)]
    pub when_late: WhenLate,
    /// Where the static files of C2SP tlog-tiles go; none are made without it.
    pub publish: Option<PathBuf>,
    /// The key journal; without it all keys below sign everything.
    pub key_journal: Option<PathBuf>,
    /// The keys; with several, each signs.
    pub keys: Vec<KeyPlace>,
    /// Who is asked to cosign each checkpoint.
    #[serde(default)]
    pub witnesses: Vec<WitnessPlace>,
    /// How long a checkpoint waits for them before it is published without those that did not answer.
    #[serde(default = "a_second")]
    pub witnesses_wait: Span,
}

/// What happens beside the alarm.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum WhenLate {
    /// Trading goes on.
    #[default]
    Alarm,
    /// Every instrument is halted, until an operator lets it go on.
    Halt,
}

/// Where a signing key is: in a file, or on a token.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyPlace {
    /// A file that `ironbell hsm generate --file` made.
    pub file: Option<PathBuf>,
    /// The token's PKCS#11 module.
    pub module: Option<PathBuf>,
    /// The token's label.
    pub token: String,
    /// The key's label on it.
    pub key: String,
    /// The file that the PIN stands in, mode 0400.
    pub pin_file: Option<PathBuf>,
    /// Or the systemd credential.
    pub pin_credential: Option<String>,
}

/// How long a key that failed is left alone.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

fn a_second() -> Span {
    Span(1_000_000_000)
}

fn a_minute_of_them() -> usize {
    60
}

impl Signing {
    /// Takes relative paths from `folder`.
    pub(crate) fn take_paths_from(&mut self, folder: &Path) {
        let of_keys = self.keys.iter_mut().flat_map(|key| [&mut key.file, &mut key.pin_file]);
        for path in of_keys.chain([&mut self.publish, &mut self.key_journal]).flatten() {
            *path = folder.join(&*path);
        }
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        if self.origin.is_empty() || self.origin.contains(|c: char| c.is_whitespace() || c == '+') {
            return Err(format!("signing.origin = {:?} is empty or has white space or a plus", self.origin));
        }
        if self.keys.is_empty() {
            return Err("signing has no keys: add [[signing.keys]]".into());
        }
        if self.every.0 == 0 || self.waiting_max == 0 {
            return Err("signing.every and signing.waiting_max must be above zero".into());
        }
        self.witnesses.iter().try_for_each(|witness| witness.key().map(drop))?;
        self.keys.iter().try_for_each(|key| key.place().map(|_| ()))
    }
}

/// A key's place, checked.
pub(crate) enum Place {
    File(PathBuf),
    Token(TokenConfig, String),
}

/// Sessions of a token that one process uses at once.
const SESSIONS_MAX: usize = 4;

impl KeyPlace {
    pub(crate) fn place(&self) -> Result<Place, String> {
        match (&self.file, &self.module) {
            (Some(file), None) => Ok(Place::File(file.clone())),
            (None, Some(module)) => {
                let pin = match (&self.pin_file, &self.pin_credential) {
                    (Some(file), None) => PinSource::File(file.clone()),
                    (None, Some(name)) => PinSource::Credential(name.clone()),
                    _ => {
                        return Err(
                            "a token in signing.keys has a pin_file or a pin_credential, not both".into()
                        );
                    }
                };
                if self.token.is_empty() || self.key.is_empty() {
                    return Err("a module in signing.keys goes with the labels of a token and a key".into());
                }
                let (module, token) = (module.clone(), self.token.clone());
                Ok(Place::Token(
                    TokenConfig { module, token, pin, sessions_max: SESSIONS_MAX },
                    self.key.clone(),
                ))
            }
            _ => Err("each of signing.keys has a file, or module, token and key".into()),
        }
    }

    /// Opens it.
    ///
    /// # Errors
    /// When file or token cannot be used.
    pub fn open(&self) -> Result<Box<dyn Signer>, Failure> {
        match self.place().map_err(Failure::refused)? {
            Place::File(file) => Ok(Box::new(SoftwareSigner::open(&file)?)),
            Place::Token(config, key) => Ok(Box::new(TokenSigner::open(Token::open(config)?, &key)?)),
        }
    }
}

/// Files of the signing process, below the data directory.
pub(crate) struct Files {
    dir: PathBuf,
}

impl Files {
    pub(crate) fn of(config: &Config) -> Self {
        Self { dir: config.data_dir.join("signing") }
    }

    /// What the signing process counts.
    pub(crate) fn metrics(&self) -> PathBuf {
        self.dir.join("metrics")
    }

    fn head(&self) -> PathBuf {
        self.dir.join("head")
    }

    pub(crate) fn tree(&self) -> PathBuf {
        self.dir.join("tree")
    }

    /// The newest checkpoint.
    pub(crate) fn checkpoint(&self) -> PathBuf {
        self.dir.join("checkpoint")
    }

    /// All of them, one after the other.
    fn checkpoints(&self) -> PathBuf {
        self.dir.join("checkpoints")
    }

    /// The keys that they are checked with.
    pub(crate) fn public(&self) -> PathBuf {
        self.dir.join("log.pub")
    }

    /// The folder of what is signed beside checkpoints.
    fn papers(&self) -> PathBuf {
        self.dir.clone()
    }

    /// Where others ask for a manifest to be signed, and where it then lies.
    pub(crate) fn manifest(&self, name: &str) -> (PathBuf, PathBuf) {
        (self.dir.join("asked").join(name), self.dir.join("manifest").join(name))
    }

    fn payments(&self) -> PathBuf {
        self.dir.join("payments")
    }

    fn salts(&self) -> PathBuf {
        self.dir.join("salts")
    }

    fn make(&self) -> Result<(), Failure> {
        fs::create_dir_all(&self.dir).map_err(|e| Failure::file(&self.dir, e, "make it writable"))
    }
}

/// What the salts follow from: the journal's data key, so that both nodes have it and a stolen disk does not; or, where
/// the journal is plain, a file beside it, to be copied to the other node.
pub(crate) fn salts(config: &Config, files: &Files) -> Result<Salts, Failure> {
    if let Some(key) = config.data_key()? {
        return Ok(Salts::new(&Key::new(key.derive("signing salts"))));
    }
    let path = files.salts();
    let failed = |e: std::io::Error| {
        Failure::file(&path, e, "put back what it held: no receipt can be made without it")
    };
    if !path.exists() {
        let secret = ironbell_hsm::new_key()?;
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o400).open(&path).map_err(failed)?;
        file.write_all(secret.as_ref()).and_then(|()| file.sync_all()).map_err(failed)?;
    }
    let bytes = fs::read(&path).map_err(failed)?;
    let secret: [u8; 32] = bytes
        .try_into()
        .map_err(|_| Failure::file(&path, "it does not hold 32 bytes", "put back what it held"))?;
    Ok(Salts::new(&Key::new(secret)))
}

/// The state machine, and what each command commits to.
pub(crate) struct Notary {
    engine: Engine,
    directory: Directory,
    salts: Salts,
    entry: Entry,
    events: Vec<Event>,
    record: Vec<u8>,
    /// The parts of the last command, with what they say.
    parts: Parts,
}

/// Parts of a command, used again and again.
#[derive(Default)]
struct Parts {
    each: Vec<(Part, Vec<u8>)>,
    used: usize,
}

impl Parts {
    fn all(&self) -> &[(Part, Vec<u8>)] {
        &self.each[..self.used]
    }

    /// What a part says; what all of its kind begin with, if it is new. Nearly all commands have a handful, and who
    /// was told something last is told more.
    fn of(&mut self, part: Part, begin: &[&[u8]]) -> &mut Vec<u8> {
        let place = self.all().iter().rposition(|(this, _)| *this == part).unwrap_or_else(|| {
            if self.used == self.each.len() {
                self.each.push((part, Vec::new()));
            }
            let (this, content) = &mut self.each[self.used];
            *this = part;
            content.clear();
            begin.iter().for_each(|piece| content.extend_from_slice(piece));
            self.used += 1;
            self.used - 1
        });
        &mut self.each[place].1
    }
}

impl Notary {
    pub(crate) fn new(engine: Engine, salts: Salts) -> Self {
        let mut directory = Directory::default();
        snapshot::definitions(&engine).iter().for_each(|body| directory.apply(body));
        Self {
            engine,
            directory,
            salts,
            entry: Entry::default(),
            events: Vec::new(),
            record: Vec::new(),
            parts: Parts::default(),
        }
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Executes the next command alone.
    pub(crate) fn execute(&mut self, command: &Sequenced) {
        self.events.clear();
        self.engine.execute(command, &mut self.events);
        self.events.iter().for_each(|event| self.directory.apply(&event.body));
    }

    /// Executes the next command; what it commits to.
    pub(crate) fn take(&mut self, command: &Sequenced, epoch: u64) -> Hash {
        self.events.clear();
        self.engine.execute(command, &mut self.events);
        self.gather(command, epoch);
        let salt = self.salts.of(command.seq.0, command.time.0);
        self.entry.clear();
        for (part, content) in self.parts.all() {
            self.entry.add(&salt, *part, &[content]);
        }
        self.entry.finish(&salt)
    }

    fn gather(&mut self, command: &Sequenced, epoch: u64) {
        let seq = command.seq.0.to_be_bytes();
        let Self { parts, directory, record, .. } = self;
        parts.used = 0;
        record.clear();
        record.resize(command::bytes(&command.command), 0);
        command::encode(command.time, &command.command, record);
        parts.of(Part::Command, &[&seq, record]);
        parts.of(Part::Time, &[&seq, &command.time.0.to_be_bytes()]);
        let output_hash = self.engine.output_hash().to_be_bytes();
        parts.of(Part::State, &[&seq, &epoch.to_be_bytes(), &output_hash]);
        let mut teller = Teller::default();
        for event in &self.events {
            directory.apply(&event.body);
            teller.messages(event, directory, &mut |port, message| {
                let told = parts.of(Part::Port(port.0), &[&seq, &port.0.to_be_bytes()]);
                let length = u16::try_from(message.len()).expect("a message is shorter than 64 KiB");
                told.extend_from_slice(&length.to_be_bytes());
                told.extend_from_slice(message);
            });
            post(&event.body, |account| parts.of(Part::Account(account), &[&seq, &account.to_be_bytes()]));
        }
    }

    /// What the last command's part says, its salt, and its way to the entry.
    pub(crate) fn shown(&mut self, command: &Sequenced, part: Part) -> Option<ironbell_hsm::Shown> {
        let (_, content) = self.parts.all().iter().find(|(this, _)| *this == part)?;
        let content = content.clone();
        let (place, path) = self.entry.path(part)?;
        let salt = self.salts.of(command.seq.0, command.time.0).of(part);
        Some(ironbell_hsm::Shown { kind: part.kind(), salt, content, place, path })
    }

    /// Whom the last command had something for.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Part> + '_ {
        self.parts.all().iter().map(|(part, _)| *part)
    }
}

/// Adds what was posted to an account to what `part` says of it, as a line of text. Amounts are in the asset's smallest unit.
fn post<'a>(body: &EventBody, part: impl FnOnce(u32) -> &'a mut Vec<u8>) {
    let written = match body {
        EventBody::Funded { id, account, asset, amount } => {
            writeln!(part(account.0), "funded {id} asset {} amount {}", asset.0, amount.0)
        }
        EventBody::Settled(settled) => {
            let side = if settled.buys { "buys" } else { "sells" };
            writeln!(
                part(settled.account.0),
                "trade {} instrument {} {side} base {} quote {} fee {}",
                settled.match_number.0,
                settled.instrument.0,
                settled.base.0,
                settled.quote.0,
                settled.fee.0
            )
        }
        _ => Ok(()),
    };
    written.expect("memory takes text");
}

/// Follows the journal as far as it is committed.
pub(crate) struct Follower {
    reader: Reader,
    pub(crate) notary: Notary,
    /// Frames that no later one has told to be committed yet.
    pending: VecDeque<Frame>,
    /// The segment that the last command taken stands in; 0 before the first.
    segment: u64,
    /// Output hashes that the journal gives, to be met.
    marks: VecDeque<(Seq, u128)>,
    /// The epoch of the last command taken.
    pub(crate) epoch: u64,
}

struct Frame {
    commands: Vec<Sequenced>,
    epoch: u64,
    segment: u64,
}

/// How far [`Follower::follow`] came.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// Commands taken.
    pub(crate) commands: usize,
    /// What was taken is all of a segment: the next command stands in another.
    pub(crate) segment_ended: bool,
}

impl Progress {
    /// There is nothing more for now.
    pub(crate) const fn is_none(self) -> bool {
        self.commands == 0 && !self.segment_ended
    }
}

/// Commands taken at one go, and how long that may take, so that whoever drives it gets its turn.
const TAKEN_MAX: usize = 100_000;
/// A writer may bring frames as quickly as they are read.
const TURN_MAX: Duration = Duration::from_millis(100);

impl Follower {
    /// One that stands at or before Seq `at`.
    pub(crate) fn open(config: &Config, salts: Salts, at: Seq) -> Result<Self, Failure> {
        let (dir, data_key) = (config.journal_dir(), config.data_key()?);
        let (base, passed_over) = snapshot::newest_until(&dir, data_key.as_ref(), Some(&Moment::Seq(at)))?;
        passed_over.iter().for_each(|line| eprintln!("ironbell: {line}"));
        let mut reader = Reader::following(&dir, data_key, config.journal.durability.into())?;
        let engine = match base {
            Some(base) => {
                reader.resume(&base.header.position)?;
                base.engine
            }
            None => Engine::new(engine_config(reader.identity().key)),
        };
        let notary = Notary::new(engine, salts);
        let (pending, marks) = (VecDeque::new(), VecDeque::new());
        Ok(Self { reader, notary, pending, segment: 0, marks, epoch: 0 })
    }

    /// Takes what is committed, at most to the end of a segment, and passes each command, whose execution is left to it,
    /// to `take`.
    pub(crate) fn follow(
        &mut self,
        take: &mut dyn FnMut(&mut Notary, &Sequenced, u64) -> Result<(), Failure>,
    ) -> Result<Progress, Failure> {
        let mut progress = Progress::default();
        let begun = Instant::now();
        loop {
            let commit = self.reader.chain().commit;
            let is_committed =
                |frame: &mut Frame| frame.commands.last().is_none_or(|last| last.seq <= commit);
            while let Some(frame) = self.pending.pop_front_if(is_committed) {
                if frame.segment != self.segment && !frame.commands.is_empty() {
                    progress.segment_ended = self.segment > 0;
                    self.segment = frame.segment;
                    if progress.segment_ended {
                        self.pending.push_front(frame);
                        return Ok(progress);
                    }
                }
                for command in &frame.commands {
                    take(&mut self.notary, command, frame.epoch)?;
                    self.check(command.seq)?;
                    self.epoch = frame.epoch;
                    progress.commands += 1;
                }
            }
            if progress.commands >= TAKEN_MAX || (progress.commands > 0 && begun.elapsed() >= TURN_MAX) {
                return Ok(progress);
            }
            let Some(frame) = self.reader.follow()? else { return Ok(progress) };
            let (commands, epoch) = (frame.commands.to_vec(), frame.header.epoch);
            self.pending.push_back(Frame { commands, epoch, segment: self.reader.segment_index() });
            let executed = self.reader.chain().executed;
            if executed.seq > self.notary.engine.last_seq()
                && self.marks.back().is_none_or(|(seq, _)| *seq < executed.seq)
            {
                self.marks.push_back((executed.seq, executed.output_hash));
            }
        }
    }

    fn check(&mut self, seq: Seq) -> Result<(), Failure> {
        let Some((_, written)) = self.marks.pop_front_if(|(at, _)| *at <= seq).filter(|(at, _)| *at == seq)
        else {
            return Ok(());
        };
        let replayed = self.notary.engine.output_hash();
        if replayed == written {
            return Ok(());
        }
        Err(Failure::check(format_args!(
            "ALARM: replaying the journal comes to output hash {replayed:032x} at seq {seq}, and the node wrote {written:032x}; nothing more \
             is signed: stop trading, keep the data directory, and report this"
        )))
    }
}

/// The newest checkpoint that was signed, if there is one.
pub(crate) fn newest_checkpoint(files: &Files) -> Result<Option<(Note, Checkpoint)>, Failure> {
    let path = files.checkpoint();
    match fs::read_to_string(&path) {
        Ok(text) => {
            let note = Note::parse(&text)?;
            let checkpoint = Checkpoint::parse(&note.text)?;
            Ok(Some((note, checkpoint)))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::file(&path, error, "make it readable")),
    }
}
