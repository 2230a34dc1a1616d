//! The process: what was committed becomes leaves, heads fall due, the desk signs them.

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ironbell_hsm::merkle::{self, consistency_proof};
use ironbell_hsm::{
    Checkpoint, Desk, DeskParts, Head, HeadFile, KeyHistory, Note, PaymentLog, Request, Signer, Ticket, Tree,
    VerifierKey,
};
use ironbell_types::{Command, Control, Phase, Seq};
use tracing::Span;

use super::health::{Counted, Health, unix_ns};
use super::herald::Herald;
use super::papers::Papers;
use super::witnesses::Witnesses;
use super::{AGAIN_AFTER, Files, Follower, KeyPlace, Progress, Signing, WhenLate, newest_checkpoint, salts};
use crate::admin;
use crate::config::Config;
use crate::failure::Failure;
use crate::operator::{Ask, Told};
use crate::telemetry::span;
use crate::words::PhaseWord;

/// From one sync of the tree to the next. What is lost with the power is made again from the journal; each sync is felt by
/// the journal's writes to the same disk.
const SYNC_EVERY: Duration = Duration::from_secs(10);

/// How much it yields to others of its machine: nice(2).
const NICE: i32 = 10;

/// The tree, and what makes it grow.
struct Following {
    follower: Follower,
    tree: Tree,
    /// The newest signed head that the journal has.
    journaled: Head,
    /// The last Seq that is something else than a signed head: heads are not signed for their own sake.
    notable: u64,
    /// The epoch of the last leaf.
    epoch: u64,
    /// Epochs that began, and on top of what, since it was last asked.
    epochs: Vec<Head>,
    /// The time of the first command behind the last head that fell due.
    oldest_ns: Option<u64>,
}

impl Following {
    /// Goes on behind the last head that was signed; where the tree does not lead to it, it is made again.
    fn open(config: &Config, files: &Files, head: &Head) -> Result<Self, Failure> {
        let mut tree_is_kept = true;
        let tree = match Tree::open(&files.tree(), head) {
            Ok(tree) => tree,
            Err(error) => {
                tree_is_kept = false;
                tracing::warn!(%error, "the tree is made again from the journal's first command");
                fs::remove_dir_all(files.tree()).map_err(|e| Failure::file(&files.tree(), e, "remove it"))?;
                Tree::open(&files.tree(), &Head::empty())?
            }
        };
        let follower = Follower::open(config, salts(config, files)?, Seq(tree.size()))?;
        let mut following = Self {
            follower,
            tree,
            journaled: Head::empty(),
            notable: 0,
            epoch: if tree_is_kept { head.epoch } else { 0 },
            epochs: Vec::new(),
            oldest_ns: None,
        };
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
            self.tree.flush()?;
            let proof = consistency_proof(&self.tree, last.size, head.size)?;
            head_file.advance(Head { epoch: self.follower.epoch, ..head }, &proof)?;
        }
        Ok(())
    }

    /// Makes the tree grow to the head that was signed, where it has to be made again; it must come to the same root.
    fn meet(&mut self, head: &Head) -> Result<(), Failure> {
        let started_at = self.tree.size();
        while self.tree.size() < head.size {
            if self.follow_to(Some(head))?.is_none() {
                return Err(Failure::check(format_args!(
                    "the journal ends before seq {}, up to which checkpoints were signed: it is not the whole journal (the tree stood at {started_at})",
                    head.size
                )));
            }
        }
        Ok(())
    }

    /// Takes what was committed since.
    fn follow(&mut self) -> Result<Progress, Failure> {
        self.follow_to(None)
    }

    /// The same; the tree must come to `head` when it is as large.
    fn follow_to(&mut self, head: Option<&Head>) -> Result<Progress, Failure> {
        let Self { follower, tree, journaled, notable, epoch: last_epoch, epochs, oldest_ns } = self;
        follower.follow(&mut |notary, command, epoch| {
            let seq = command.seq.0;
            if seq <= tree.size() {
                notary.execute(command);
            } else {
                if epoch > *last_epoch {
                    epochs.push(Head { epoch, size: tree.size(), root: tree.root() });
                    *last_epoch = epoch;
                }
                let entry = notary.take(command, epoch);
                tree.push(&entry)?;
                oldest_ns.get_or_insert(command.time.0);
                if head.is_some_and(|head| seq == head.size && tree.root() != head.root) {
                    return Err(another_history(seq));
                }
            }
            let Command::Control(Control::SignedHead { size, root, epoch }) = command.command else {
                *notable = seq;
                return Ok(());
            };
            // Whoever signed it, on whichever node: this journal has to come to it too.
            if size >= seq || merkle::root(tree, size)? != root {
                return Err(another_history(size));
            }
            *journaled = Head { epoch, size, root };
            Ok(())
        })
    }
}

fn another_history(size: u64) -> Failure {
    Failure::check(format_args!(
        "ALARM: the journal comes to another root at size {size} than was signed: this is another history, a changed one, or \
         one with other salts (signing/salts, or the journal's key, is the same on both nodes); nothing is signed; keep the \
         data directory and report this"
    ))
}

/// A head to be signed.
struct Due {
    head: Head,
    /// The time of the oldest command that none before it covers.
    oldest_ns: Option<u64>,
}

/// The process.
struct Process {
    config: Config,
    signing: Signing,
    files: Files,
    follow: Following,
    desk: Desk,
    herald: Herald,
    health: Health,
    /// The last head that was signed.
    signed: Head,
    /// Checkpoints that this process had signed.
    checkpoints: u64,
    /// Heads to be signed, the oldest first; the first may be with the desk, or with witnesses.
    due: VecDeque<Due>,
    asked: Option<Ticket>,
    /// The checkpoint under way, and the step that it is at.
    span: Span,
    step: Span,
    papers: Papers,
    witnesses: Witnesses,
    /// What is signed and shown to witnesses, and until when.
    shown: Option<(Note, Instant)>,
    /// When the tree was last put on disk.
    synced_at: Instant,
    /// When the desk may be asked again.
    ask_at: Instant,
    is_late: bool,
}

impl Process {
    fn open(config: Config, after: Option<&Path>, stop: &AtomicBool) -> Result<Self, Failure> {
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
        // All that is there, before anything is signed: another node may have signed more of this history.
        while !stop.load(Ordering::Relaxed) && !follow.follow()?.is_none() {}
        let papers = Papers::open(&signing.origin, &files, signing.publish.as_deref(), config.journal_dir())?;
        // Noted before any head that covers them is signed; the same below.
        follow.epochs.drain(..).try_for_each(|head| papers.epoch_began(&head))?;
        let journaled = follow.journaled;
        if journaled.size > head_file.head().size {
            tracing::info!(size = journaled.size, "another node signed up to here: going on behind it");
            follow.tree.flush()?;
            let proof = consistency_proof(&follow.tree, head_file.head().size, journaled.size)?;
            head_file.advance(journaled, &proof)?;
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
        let has_officers = history.as_ref().is_some_and(|history| !history.officers().0.is_empty());
        let payments = has_officers.then(|| PaymentLog::open(&files.payments())).transpose()?;
        let origin = signing.origin.clone();
        let parts = DeskParts { origin, signers, head: head_file, history, payments, queue_max: 4 };
        let desk = Desk::open(parts)?;
        let public: String = desk.keys().iter().map(|key| format!("{key}\n")).collect();
        fs::write(files.public(), public)
            .map_err(|e| Failure::file(&files.public(), e, "make it writable"))?;
        // The last head's signature may have been lost in a crash.
        let is_lost = newest_checkpoint(&files)?.map_or(0, |(_, checkpoint)| checkpoint.size) < head.size;
        let herald = Herald::start(config.signing_socket(), journaled.size)?;
        if journaled.size < head.size && !is_lost {
            herald.tell(head);
        }
        Ok(Self {
            follow,
            desk,
            herald,
            health: Health::create(&files.metrics())?,
            signed: head,
            checkpoints: 0,
            due: is_lost.then_some(Due { head, oldest_ns: None }).into_iter().collect(),
            asked: None,
            span: Span::none(),
            step: Span::none(),
            papers,
            witnesses: Witnesses::start(&signing.witnesses)?,
            shown: None,
            synced_at: Instant::now(),
            ask_at: Instant::now(),
            is_late: false,
            config,
            signing,
            files,
        })
    }

    /// Notes that the tree as it stands is to be signed.
    fn fall_due(&mut self) -> Result<(), Failure> {
        self.follow.epochs.drain(..).try_for_each(|head| self.papers.epoch_began(&head))?;
        let last = self.due.back().map_or(self.signed.size, |due| due.head.size);
        if self.follow.notable <= last {
            return Ok(());
        }
        self.follow.tree.flush()?;
        if self.synced_at.elapsed() >= SYNC_EVERY {
            self.follow.tree.sync()?;
            self.synced_at = Instant::now();
        }
        let head = Head {
            epoch: self.follow.follower.epoch,
            size: self.follow.tree.size(),
            root: self.follow.tree.root(),
        };
        let mut due = Due { head, oldest_ns: self.follow.oldest_ns.take() };
        if self.due.len() >= self.signing.waiting_max {
            self.be_late();
            // The newest covers what it replaces; the first may be with the desk.
            if self.due.len() > 1 {
                let replaced = self.due.pop_back().expect("there are two");
                due.oldest_ns = replaced.oldest_ns.or(due.oldest_ns);
            }
        }
        self.due.push_back(due);
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
            match admin::ask::<Told>(&self.config.signing_socket(), &request) {
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
            self.step = Span::none();
            match answer {
                Ok(note) => {
                    let until = Instant::now() + Duration::from_nanos(self.signing.witnesses_wait.0);
                    self.witnesses.show(&note, self.due[0].head.size, &self.follow.tree)?;
                    self.shown = Some((note, until));
                    self.step = span!(parent: &self.span, "witnesses");
                }
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
        if let Some((mut note, until)) = self.shown.take() {
            let is_any_asked = self.witnesses.hear(&mut note, self.due[0].head.size, &self.follow.tree)?;
            if is_any_asked && Instant::now() < until {
                self.shown = Some((note, until));
                return Ok(());
            }
            self.step = Span::none();
            let span = std::mem::replace(&mut self.span, Span::none());
            span.in_scope(|| span!("keep").in_scope(|| self.keep(&note)))?;
        }
        if self.asked.is_some() || Instant::now() < self.ask_at {
            return Ok(());
        }
        let Some(Due { head, .. }) = self.due.front() else { return Ok(()) };
        let head = *head;
        let proof = consistency_proof(&self.follow.tree, self.signed.size.min(head.size), head.size)?;
        let time = unix_ns() / 1_000_000_000;
        self.span = span!("checkpoint", size = head.size);
        self.step = span!(parent: &self.span, "key");
        self.asked = Some(self.desk.submit(Request::Checkpoint { head, proof, time })?);
        Ok(())
    }

    fn keep(&mut self, note: &Note) -> Result<(), Failure> {
        let Due { head, oldest_ns } = self.due.pop_front().expect("it was asked for");
        let text = note.to_string();
        let path = self.files.checkpoints();
        let failed = |e: std::io::Error| Failure::file(&path, e, "make it writable");
        let mut log = OpenOptions::new().append(true).create(true).open(&path).map_err(failed)?;
        log.write_all(text.as_bytes()).and_then(|()| log.sync_data()).map_err(failed)?;
        if let Some(site) = &self.signing.publish {
            fs::create_dir_all(site).map_err(|e| Failure::file(site, e, "make it writable"))?;
            self.follow.tree.publish(site, head.size, &text)?;
        }
        // The log has it: it is signed again if the power fails now.
        ironbell_hsm::replace_file(&self.files.checkpoint(), text.as_bytes())?;
        self.signed = head;
        self.checkpoints += 1;
        self.herald.tell(head);
        if let Some(oldest_ns) = oldest_ns {
            self.health.signed(oldest_ns);
        }
        if self.is_late && self.due.is_empty() {
            self.is_late = false;
            tracing::info!(size = head.size, "checkpoints are signed again");
        }
        Ok(())
    }

    fn count(&mut self) {
        let desk = self.desk.health();
        let (witnesses, witnesses_silent) = self.witnesses.counts();
        self.health.count(&Counted {
            signed_size: self.signed.size,
            committed_size: self.follow.tree.size(),
            journaled_size: self.herald.journaled(),
            checkpoints: self.checkpoints,
            waiting: self.due.len() as u64,
            is_late: self.is_late,
            failed: desk.failed,
            key_busy_ms: desk.busy_ms,
            witnesses,
            witnesses_silent,
        });
    }

    /// Whether something waits for a key that failed.
    fn is_stuck(&self) -> bool {
        (!self.due.is_empty() && Instant::now() < self.ask_at) || self.papers.is_stuck()
    }

    fn is_done(&self) -> bool {
        self.due.is_empty() && self.asked.is_none() && self.shown.is_none() && self.papers.is_done()
    }
}

/// `ironbell sign`: until SIGTERM; with `once`, until what is committed now is signed; `after` a checkpoint that another
/// node of this venue signed.
///
/// # Errors
/// When the configuration, the keys or the journal cannot be used; when what would be signed is not what the journal
/// says, or would make a second history.
pub fn run(config: &Path, once: bool, after: Option<&Path>) -> Result<(), Failure> {
    let config = Config::read(config)?;
    let _spans = crate::log::start(config.log, &config.telemetry)?;
    let stop: Arc<AtomicBool> = crate::node::signals()?;
    // Where it has no CPU of its own, the order path goes first. It costs nothing where it has.
    if let Err(error) = rustix::process::nice(NICE) {
        tracing::warn!(%error, "it runs at the priority it was started with");
    }
    let mut process = Process::open(config, after, &stop)?;
    tracing::info!(size = process.follow.tree.size(), origin = process.signing.origin, "signing");
    let every = Duration::from_nanos(process.signing.every.0);
    let mut due_at = Instant::now();
    loop {
        let progress = process.follow.follow()?;
        let is_ending = stop.load(Ordering::Relaxed) || (once && progress.is_none());
        // A segment's end is worth a signature of its own where the key has nothing else to do.
        let is_end_of_segment = progress.segment_ended && process.due.is_empty();
        if Instant::now() >= due_at || is_end_of_segment || is_ending {
            process.fall_due()?;
            due_at = Instant::now() + every;
        }
        process.sign()?;
        process.papers.turn(&process.desk, process.due.is_empty())?;
        process.count();
        if is_ending && process.is_done() {
            return Ok(());
        }
        // A key that is gone must not keep the process from ending; what waits is signed at the next start.
        if let Some(error) = process.desk.health().last_error.filter(|_| is_ending && process.is_stuck()) {
            tracing::warn!(
                waiting = process.due.len(),
                error,
                "it ends with checkpoints that are not signed"
            );
            return if once { Err(Failure::refused(error)) } else { Ok(()) };
        }
        if progress.is_none() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
