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

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use ironbell_core::Engine;
use ironbell_gateway::Directory;
use ironbell_gateway::outbound::Teller;
use ironbell_hsm::entry::{Entry, Part, Salts};
use ironbell_hsm::merkle::{self, consistency_proof};
use ironbell_hsm::{
    Checkpoint, Desk, DeskParts, Hash, Head, HeadFile, Key, KeyHistory, Note, PinSource, Request, Signer,
    SoftwareSigner, Ticket, Token, TokenConfig, TokenSigner, Tree, VerifierKey,
};
use ironbell_record::command;
use ironbell_store::Reader;
use ironbell_types::{Event, EventBody, Phase, Seq, Sequenced};
use serde::Deserialize;

use crate::admin;
use crate::config::Config;
use crate::failure::Failure;
use crate::moment::Moment;
use crate::operator::{Ask, Told};
use crate::recovery::engine_config;
use crate::snapshot;
use crate::words::{PhaseWord, Span};

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
    parts: BTreeMap<Part, Vec<u8>>,
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
            parts: BTreeMap::new(),
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
        for (part, content) in &self.parts {
            self.entry.add(&salt, *part, &[content]);
        }
        self.entry.finish(&salt)
    }

    fn gather(&mut self, command: &Sequenced, epoch: u64) {
        let seq = command.seq.0.to_be_bytes();
        self.parts.clear();
        let begin = |number: u32| [&seq[..], &number.to_be_bytes()].concat();
        self.record.clear();
        self.record.resize(command::bytes(&command.command), 0);
        command::encode(command.time, &command.command, &mut self.record);
        self.parts.insert(Part::Command, [&seq[..], &self.record].concat());
        self.parts.insert(Part::Time, [seq, command.time.0.to_be_bytes()].concat());
        let output_hash = self.engine.output_hash().to_be_bytes();
        self.parts.insert(Part::State, [&seq[..], &epoch.to_be_bytes(), &output_hash].concat());
        let mut teller = Teller::default();
        for event in &self.events {
            self.directory.apply(&event.body);
            let parts = &mut self.parts;
            teller.messages(event, &self.directory, &mut |port, message| {
                let told = parts.entry(Part::Port(port.0)).or_insert_with(|| begin(port.0));
                let length = u16::try_from(message.len()).expect("a message is shorter than 64 KiB");
                told.extend_from_slice(&length.to_be_bytes());
                told.extend_from_slice(message);
            });
            if let Some((account, line)) = posting(&event.body) {
                let posted = self.parts.entry(Part::Account(account)).or_insert_with(|| begin(account));
                posted.extend_from_slice(line.as_bytes());
            }
        }
    }

    /// What the last command's part says, its salt, and its way to the entry.
    pub(crate) fn shown(&mut self, command: &Sequenced, part: Part) -> Option<ironbell_hsm::Shown> {
        let content = self.parts.get(&part)?.clone();
        let (place, path) = self.entry.path(part)?;
        let salt = self.salts.of(command.seq.0, command.time.0).of(part);
        Some(ironbell_hsm::Shown { kind: part.kind(), salt, content, place, path })
    }

    /// Whom the last command had something for.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Part> + '_ {
        self.parts.keys().copied()
    }
}

/// What was posted to an account, as a line of text. Amounts are in the asset's smallest unit.
fn posting(body: &EventBody) -> Option<(u32, String)> {
    match body {
        EventBody::Funded { id, account, asset, amount } => {
            Some((account.0, format!("funded {id} asset {} amount {}\n", asset.0, amount.0)))
        }
        EventBody::Settled(settled) => {
            let side = if settled.buys { "buys" } else { "sells" };
            Some((
                settled.account.0,
                format!(
                    "trade {} instrument {} {side} base {} quote {} fee {}\n",
                    settled.match_number.0,
                    settled.instrument.0,
                    settled.base.0,
                    settled.quote.0,
                    settled.fee.0
                ),
            ))
        }
        _ => None,
    }
}

/// Follows the journal as far as it is committed.
pub(crate) struct Follower {
    reader: Reader,
    pub(crate) notary: Notary,
    /// Frames that no later one has told to be committed yet.
    pending: VecDeque<Frame>,
    /// Output hashes that the journal gives, to be met.
    marks: VecDeque<(Seq, u128)>,
    /// The epoch of the last command taken.
    pub(crate) epoch: u64,
}

struct Frame {
    commands: Vec<Sequenced>,
    epoch: u64,
}

/// Commands taken at one go, so that whoever drives it gets its turn.
const TAKEN_MAX: usize = 100_000;

impl Follower {
    /// One that stands at or before Seq `at`.
    pub(crate) fn open(config: &Config, salts: Salts, at: Seq) -> Result<Self, Failure> {
        let dir = config.journal_dir();
        let data_key = config.data_key()?;
        let (base, passed_over) = snapshot::newest_until(&dir, data_key.as_ref(), Some(&Moment::Seq(at)))?;
        passed_over.iter().for_each(|line| eprintln!("ironbell: {line}"));
        let mut reader = Reader::deciphering(&dir, data_key)?;
        let engine = match base {
            Some(base) => {
                reader.resume(&base.header.position)?;
                base.engine
            }
            None => Engine::new(engine_config(reader.identity().key)),
        };
        let notary = Notary::new(engine, salts);
        Ok(Self { reader, notary, pending: VecDeque::new(), marks: VecDeque::new(), epoch: 0 })
    }

    /// Takes what is committed, and passes each command, whose execution is left to it, to `take`; how many those were.
    pub(crate) fn follow(
        &mut self,
        take: &mut dyn FnMut(&mut Notary, &Sequenced, u64) -> Result<(), Failure>,
    ) -> Result<usize, Failure> {
        let mut taken = 0;
        while taken < TAKEN_MAX {
            let Some(frame) = self.reader.next_frame()? else { break };
            let (commands, epoch) = (frame.commands.to_vec(), frame.header.epoch);
            self.pending.push_back(Frame { commands, epoch });
            let chain = self.reader.chain();
            let (commit, executed) = (chain.commit, chain.executed);
            if executed.seq > self.notary.engine.last_seq()
                && self.marks.back().is_none_or(|(seq, _)| *seq < executed.seq)
            {
                self.marks.push_back((executed.seq, executed.output_hash));
            }
            let is_committed =
                |frame: &mut Frame| frame.commands.last().is_none_or(|last| last.seq <= commit);
            while let Some(frame) = self.pending.pop_front_if(is_committed) {
                for command in &frame.commands {
                    take(&mut self.notary, command, frame.epoch)?;
                    self.check(command.seq)?;
                    self.epoch = frame.epoch;
                    taken += 1;
                }
            }
        }
        Ok(taken)
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

/// The tree, and what makes it grow.
struct Following {
    follower: Follower,
    tree: Tree,
}

impl Following {
    /// Goes on behind the last head that was signed; where the tree does not lead to it, it is made again.
    fn open(config: &Config, files: &Files, head: &Head) -> Result<Self, Failure> {
        let tree = match Tree::open(&files.tree(), head) {
            Ok(tree) => tree,
            Err(error) => {
                tracing::warn!(%error, "the tree is made again from the journal's first command");
                fs::remove_dir_all(files.tree()).map_err(|e| Failure::file(&files.tree(), e, "remove it"))?;
                Tree::open(&files.tree(), &Head::empty())?
            }
        };
        let follower = Follower::open(config, salts(config, files)?, Seq(tree.size()))?;
        let mut following = Self { follower, tree };
        following.meet(head)?;
        Ok(following)
    }

    /// Goes on behind a checkpoint that another node of this venue signed: this journal must come to it.
    fn take_over(
        &mut self,
        path: &Path,
        signing: &Signing,
        signers: &[Box<dyn Signer>],
        head_file: &mut HeadFile,
    ) -> Result<(), Failure> {
        let text = fs::read_to_string(path).map_err(|e| Failure::file(path, e, "give a checkpoint"))?;
        let note = Note::parse(&text)?;
        for signer in signers {
            note.verify(&VerifierKey::of_log(&signing.origin, signer.public_key().clone())?)?;
        }
        let checkpoint = Checkpoint::parse(&note.text)?;
        let last = head_file.head();
        let head = Head { epoch: last.epoch, size: checkpoint.size, root: checkpoint.root };
        if head.size > last.size {
            self.meet(&head)?;
        }
        if self.tree.size() < head.size || merkle::root(&self.tree, head.size)? != head.root {
            return Err(another_history(head.size));
        }
        if head.size > last.size {
            self.tree.sync()?;
            let proof = consistency_proof(&self.tree, last.size, head.size)?;
            head_file.advance(Head { epoch: self.follower.epoch, ..head }, &proof)?;
        }
        Ok(())
    }

    /// Makes the tree grow to the head that was signed, where it has to be made again; it must come to the same root.
    fn meet(&mut self, head: &Head) -> Result<(), Failure> {
        let started_at = self.tree.size();
        while self.tree.size() < head.size {
            let tree = &mut self.tree;
            let taken = self.follower.follow(&mut |notary, command, epoch| {
                let entry = notary.take(command, epoch);
                if command.seq.0 == tree.size() + 1 {
                    tree.push(&entry)?;
                    if tree.size() == head.size && tree.root() != head.root {
                        return Err(another_history(head.size));
                    }
                }
                Ok(())
            })?;
            if taken == 0 {
                return Err(Failure::check(format_args!(
                    "the journal ends before seq {}, up to which checkpoints were signed: it is not the whole journal (the tree stood at {started_at})",
                    head.size
                )));
            }
        }
        Ok(())
    }

    /// Takes what was committed since; whether there was something.
    fn follow(&mut self) -> Result<bool, Failure> {
        let tree = &mut self.tree;
        let taken = self.follower.follow(&mut |notary, command, epoch| {
            if command.seq.0 <= tree.size() {
                notary.execute(command);
                return Ok(());
            }
            let entry = notary.take(command, epoch);
            Ok(tree.push(&entry)?)
        })?;
        Ok(taken > 0)
    }
}

fn another_history(size: u64) -> Failure {
    Failure::check(format_args!(
        "ALARM: the journal comes to another root at size {size} than was signed: this is another history, or a changed one; \
         nothing is signed; keep the data directory and report this"
    ))
}

/// The process.
struct Process {
    config: Config,
    signing: Signing,
    files: Files,
    follow: Following,
    desk: Desk,
    /// The last head that was signed.
    signed: Head,
    /// Heads to be signed, the oldest first; the first may be with the desk.
    due: VecDeque<Head>,
    asked: Option<Ticket>,
    /// When the desk may be asked again.
    ask_at: Instant,
    is_late: bool,
}

/// How long a key that failed is left alone.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

impl Process {
    fn open(config: Config, after: Option<&Path>) -> Result<Self, Failure> {
        let signing = config.signing.clone().ok_or_else(|| {
            Failure::file(
                &config.file,
                "it has no [signing]",
                "add one: hsm/README.md and the README show how",
            )
        })?;
        let files = Files::of(&config);
        files.make()?;
        let signers = signing.keys.iter().map(KeyPlace::open).collect::<Result<Vec<_>, _>>()?;
        let head_path = files.head();
        let mut head_file = if head_path.exists() || newest_checkpoint(&files)?.is_some() {
            HeadFile::open(&head_path)?
        } else {
            HeadFile::create(&head_path)?
        };
        let mut follow = Following::open(&config, &files, &head_file.head())?;
        if let Some(path) = after {
            follow.take_over(path, &signing, &signers, &mut head_file)?;
        }
        let head = head_file.head();
        let history = match &signing.key_journal {
            Some(path) => {
                let text =
                    fs::read_to_string(path).map_err(|e| Failure::file(path, e, "make it readable"))?;
                Some(KeyHistory::parse(&signing.origin, &text)?)
            }
            None => None,
        };
        let origin = signing.origin.clone();
        let parts = DeskParts { origin, signers, head: head_file, history, payments: None, queue_max: 1 };
        let desk = Desk::open(parts)?;
        let public: String = desk.keys().iter().map(|key| format!("{key}\n")).collect();
        fs::write(files.public(), public)
            .map_err(|e| Failure::file(&files.public(), e, "make it writable"))?;
        // The last head's signature may have been lost in a crash.
        let is_lost = newest_checkpoint(&files)?.map_or(0, |(_, checkpoint)| checkpoint.size) < head.size;
        Ok(Self {
            follow,
            desk,
            signed: head,
            due: is_lost.then_some(head).into_iter().collect(),
            asked: None,
            ask_at: Instant::now(),
            is_late: false,
            config,
            signing,
            files,
        })
    }

    /// Notes that the tree as it stands is to be signed.
    fn fall_due(&mut self) -> Result<(), Failure> {
        let last = self.due.back().unwrap_or(&self.signed).size;
        if self.follow.tree.size() <= last {
            return Ok(());
        }
        self.follow.tree.sync()?;
        let head = Head {
            epoch: self.follow.follower.epoch,
            size: self.follow.tree.size(),
            root: self.follow.tree.root(),
        };
        if self.due.len() >= self.signing.waiting_max {
            self.be_late();
            // The newest covers what it replaces; the first may be with the desk.
            if self.due.len() > 1 {
                self.due.pop_back();
            }
        }
        self.due.push_back(head);
        Ok(())
    }

    fn be_late(&mut self) {
        if self.is_late {
            return;
        }
        self.is_late = true;
        let health = self.desk.health();
        tracing::error!(
            waiting = self.due.len(),
            busy_ms = health.busy_ms,
            error = health.last_error,
            "ALARM: checkpoints wait for the signing key; trading goes on unsigned"
        );
        if self.signing.when_late == WhenLate::Halt {
            let ask =
                Ask::Phase { symbol: "all".into(), phase: PhaseWord(Phase::Halted), reason: String::new() };
            let request = admin::Request::Control { ask: Box::new(ask), wait: true };
            match admin::ask::<Told>(&self.config.admin_socket(), &request) {
                Ok(Told::Refused { seq, why }) => {
                    tracing::error!(seq, why, "ALARM: trading could not be halted");
                }
                Ok(_) => tracing::error!("trading is halted: signing.when_late says so"),
                Err(failure) => tracing::error!(%failure, "ALARM: trading could not be halted"),
            }
        }
    }

    /// Hands in what is due, and takes what was signed.
    fn sign(&mut self) -> Result<(), Failure> {
        if let Some(answer) = self.asked.as_ref().and_then(Ticket::poll) {
            self.asked = None;
            match answer {
                Ok(note) => self.keep(&note)?,
                Err(error) if error.is_passing() => {
                    tracing::warn!(%error, "a checkpoint waits; the key is asked again");
                    self.ask_at = Instant::now() + AGAIN_AFTER;
                }
                Err(error @ ironbell_hsm::Error::Equivocation { .. }) => {
                    return Err(Failure::check(format_args!("ALARM: {error}; nothing more is signed")));
                }
                Err(error) => return Err(error.into()),
            }
        }
        if self.asked.is_some() || Instant::now() < self.ask_at {
            return Ok(());
        }
        let Some(head) = self.due.front().copied() else { return Ok(()) };
        let proof = consistency_proof(&self.follow.tree, self.signed.size.min(head.size), head.size)?;
        let time =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.asked = Some(self.desk.submit(Request::Checkpoint { head, proof, time })?);
        Ok(())
    }

    fn keep(&mut self, note: &Note) -> Result<(), Failure> {
        let head = self.due.pop_front().expect("it was asked for");
        let text = note.to_string();
        let path = self.files.checkpoints();
        let failed = |e: std::io::Error| Failure::file(&path, e, "make it writable");
        let mut log = OpenOptions::new().append(true).create(true).open(&path).map_err(failed)?;
        log.write_all(text.as_bytes()).and_then(|()| log.sync_data()).map_err(failed)?;
        if let Some(site) = &self.signing.publish {
            fs::create_dir_all(site).map_err(|e| Failure::file(site, e, "make it writable"))?;
            self.follow.tree.publish(site, head.size, &text)?;
        }
        ironbell_hsm::write_durably(&self.files.checkpoint(), &text)?;
        self.signed = head;
        if self.is_late && self.due.is_empty() {
            self.is_late = false;
            tracing::info!(size = head.size, "checkpoints are signed again");
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.due.is_empty() && self.asked.is_none()
    }
}

/// `ironbell sign`: until SIGTERM; with `once`, until what is committed now is signed; `after` a checkpoint that another
/// node of this venue signed.
///
/// # Errors
/// When the configuration, the keys or the journal cannot be used; when what would be signed is not what the journal
/// says, or would make a second history.
pub fn run(config: &Path, once: bool, after: Option<&Path>) -> Result<(), Failure> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false).init();
    let stop = crate::node::signals()?;
    let mut process = Process::open(Config::read(config)?, after)?;
    tracing::info!(size = process.follow.tree.size(), origin = process.signing.origin, "signing");
    let every = Duration::from_nanos(process.signing.every.0);
    let mut due_at = Instant::now();
    loop {
        let took = process.follow.follow()?;
        let is_ending = stop.load(Ordering::Relaxed) || (once && !took);
        if Instant::now() >= due_at || is_ending {
            process.fall_due()?;
            due_at = Instant::now() + every;
        }
        process.sign()?;
        if is_ending && process.is_done() {
            return Ok(());
        }
        // A key that is gone must not keep the process from ending; what waits is signed at the next start.
        if let Some(error) = process.desk.health().last_error.filter(|_| is_ending) {
            tracing::warn!(
                waiting = process.due.len(),
                error,
                "it ends with checkpoints that are not signed"
            );
            return if once { Err(Failure::refused(error)) } else { Ok(()) };
        }
        if !took {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
