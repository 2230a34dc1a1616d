//! The signing desk: one thread that asks the keys, behind a queue of a stated length.
//!
//! Whoever hands something in goes on at once. A key that is slow or gone makes the queue grow, never the order path;
//! a full queue is told to whoever comes next, who decides what that means.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use base64ct::{Base64, Encoding};

use crate::{
    Checkpoint, Error, Form, Hash, Head, HeadFile, KeyHistory, Note, PaymentLog, SignatureLine, Signer,
    VerifierKey,
};

/// What is to be signed. Times are in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A tree head, which `proof` shows to grow out of the last one that was signed.
    Checkpoint {
        /// The head.
        head: Head,
        /// The consistency proof.
        proof: Vec<Hash>,
        /// Now.
        time: u64,
    },
    /// That a file is the venue's.
    Manifest {
        /// Of which kind: `archive`, `snapshot`. No white space.
        kind: String,
        /// Its name. No white space.
        name: String,
        /// Its bytes' SHA-256.
        hash: Hash,
    },
    /// That an epoch began on top of a head.
    Epoch(Head),
    /// A payment instruction with its approvals.
    Payment {
        /// Instruction and approvals.
        note: Note,
        /// Now.
        time: u64,
    },
}

/// What the desk needs.
pub struct DeskParts {
    /// The venue's name, on each signature line.
    pub origin: String,
    /// The keys. All sign; a checkpoint is signed by those that the key journal, if there is one, has in force.
    pub signers: Vec<Box<dyn Signer>>,
    /// What was signed last.
    pub head: HeadFile,
    /// Who may approve payments, and which keys are in force.
    pub history: Option<KeyHistory>,
    /// Which payments were signed; without it none is.
    pub payments: Option<PaymentLog>,
    /// Requests that may wait.
    pub queue_max: usize,
}

/// How the desk is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Requests that wait or are being signed.
    pub waiting: u64,
    /// Notes signed.
    pub signed: u64,
    /// Requests that failed.
    pub failed: u64,
    /// How long the one being signed takes already, in milliseconds; 0 when there is none.
    pub busy_ms: u64,
    /// What the last failure said, until something is signed again.
    pub last_error: Option<String>,
}

#[derive(Default)]
struct Counters {
    waiting: AtomicU64,
    signed: AtomicU64,
    failed: AtomicU64,
    /// When the one being signed was begun.
    begun: Mutex<Option<Instant>>,
    last_error: Mutex<Option<String>>,
}

struct Job {
    request: Request,
    answer: SyncSender<Result<Note, Error>>,
}

/// The desk. Dropping it lets it finish what waits.
pub struct Desk {
    queue: Option<SyncSender<Job>>,
    counters: Arc<Counters>,
    keys: Vec<VerifierKey>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Desk({:?})", self.health())
    }
}

/// A request that was handed in.
#[derive(Debug)]
pub struct Ticket(Receiver<Result<Note, Error>>);

impl Ticket {
    /// What became of it; `None` while it waits.
    pub fn poll(&self) -> Option<Result<Note, Error>> {
        match self.0.try_recv() {
            Ok(answer) => Some(answer),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(Error::DeskGone)),
        }
    }

    /// Waits for what becomes of it.
    ///
    /// # Errors
    /// What the desk says; [`Error::SignTimeout`] when it takes longer than that: it may still be signed.
    pub fn wait(&self, limit: Duration) -> Result<Note, Error> {
        match self.0.recv_timeout(limit) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => Err(Error::SignTimeout(limit)),
            Err(RecvTimeoutError::Disconnected) => Err(Error::DeskGone),
        }
    }
}

impl Desk {
    /// Opens it, on a thread of its own.
    ///
    /// # Errors
    /// [`Error::Note`] when there is no key, or the venue's name cannot stand on a line; [`Error::DeskGone`] when no
    /// thread can be made.
    pub fn open(parts: DeskParts) -> Result<Self, Error> {
        let keys = parts.signers.iter();
        let keys = keys
            .map(|signer| VerifierKey::of_log(&parts.origin, signer.public_key().clone()))
            .collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err(Error::Note("a signing desk needs a key"));
        }
        let (queue, jobs) = sync_channel::<Job>(parts.queue_max);
        let counters = Arc::new(Counters::default());
        let (mut clerk, theirs) = (Clerk { parts }, counters.clone());
        let work = move || {
            for job in jobs {
                *locked(&theirs.begun) = Some(Instant::now());
                let answer = clerk.sign(&job.request);
                *locked(&theirs.begun) = None;
                match &answer {
                    Ok(_) => {
                        theirs.signed.fetch_add(1, Ordering::Relaxed);
                        *locked(&theirs.last_error) = None;
                    }
                    Err(error) => {
                        theirs.failed.fetch_add(1, Ordering::Relaxed);
                        *locked(&theirs.last_error) = Some(error.to_string());
                    }
                }
                theirs.waiting.fetch_sub(1, Ordering::Relaxed);
                // Whoever asked may have gone.
                let _ = job.answer.send(answer);
            }
        };
        let thread =
            thread::Builder::new().name("signing".into()).spawn(work).map_err(|_| Error::DeskGone)?;
        Ok(Self { queue: Some(queue), counters, keys, thread: Some(thread) })
    }

    /// The keys that its checkpoints are checked with, one for each signer.
    #[must_use]
    pub fn keys(&self) -> &[VerifierKey] {
        &self.keys
    }

    /// Hands something in. It never waits.
    ///
    /// # Errors
    /// [`Error::QueueFull`], [`Error::DeskGone`].
    pub fn submit(&self, request: Request) -> Result<Ticket, Error> {
        let (answer, ticket) = sync_channel(1);
        let queue = self.queue.as_ref().expect("it is open until it is dropped");
        self.counters.waiting.fetch_add(1, Ordering::Relaxed);
        queue.try_send(Job { request, answer }).map_err(|error| {
            self.counters.waiting.fetch_sub(1, Ordering::Relaxed);
            match error {
                TrySendError::Full(_) => Error::QueueFull,
                TrySendError::Disconnected(_) => Error::DeskGone,
            }
        })?;
        Ok(Ticket(ticket))
    }

    /// How it is.
    #[must_use]
    pub fn health(&self) -> Health {
        let begun = *locked(&self.counters.begun);
        Health {
            waiting: self.counters.waiting.load(Ordering::Relaxed),
            signed: self.counters.signed.load(Ordering::Relaxed),
            failed: self.counters.failed.load(Ordering::Relaxed),
            busy_ms: begun.map_or(0, |begun| begun.elapsed().as_millis() as u64),
            last_error: locked(&self.counters.last_error).clone(),
        }
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic over there was told by every ticket.
            let _ = thread.join();
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What is guarded is replaced as a whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who sits at the desk.
struct Clerk {
    parts: DeskParts,
}

impl Clerk {
    fn sign(&mut self, request: &Request) -> Result<Note, Error> {
        let origin = self.parts.origin.clone();
        match request {
            Request::Checkpoint { head, proof, time } => {
                self.parts.head.advance(*head, proof)?;
                let checkpoint = Checkpoint { origin, size: head.size, root: head.root };
                self.sign_checkpoint(&checkpoint, *time)
            }
            Request::Manifest { kind, name, hash } => {
                if [kind, name].iter().any(|word| word.is_empty() || word.contains(char::is_whitespace)) {
                    return Err(Error::Note("kind and name of a manifest have no white space"));
                }
                let hash = Base64::encode_string(hash);
                self.sign_text(format!("ironbell manifest v1\n{origin}\n{kind} {name}\nsha256 {hash}\n"))
            }
            Request::Epoch(head) => {
                let Head { epoch, size, root } = head;
                let root = Base64::encode_string(root);
                self.sign_text(format!(
                    "ironbell epoch v1\n{origin}\nepoch {epoch}\nsize {size}\nroot {root}\n"
                ))
            }
            Request::Payment { note, time } => {
                let (log, history) = self.parts.payments.as_mut().zip(self.parts.history.as_ref()).ok_or(
                    Error::Payment("payments are not signed here: there is no key journal with officers"),
                )?;
                log.admit(note, history, *time)?;
                self.sign_text(note.text.clone())
            }
        }
    }

    fn sign_checkpoint(&mut self, checkpoint: &Checkpoint, time: u64) -> Result<Note, Error> {
        // A key journal of officers alone says nothing of the log's keys.
        let history = self.parts.history.as_ref().filter(|history| history.has_log_keys());
        let in_force = history.map(|history| history.log_keys(checkpoint.size)).transpose()?;
        let text = checkpoint.to_string();
        let mut signatures = Vec::new();
        for signer in &mut self.parts.signers {
            let key = VerifierKey::of_log(&checkpoint.origin, signer.public_key().clone())?;
            if in_force.as_ref().is_none_or(|keys| keys.contains(&key)) {
                signatures.push(SignatureLine::sign(&key, &mut **signer, &text, time)?);
            }
        }
        let note = Note { text, signatures };
        match in_force {
            // One of them may be a key that is not here.
            Some(keys) => note.verify_all(&keys)?,
            None => assert!(!note.signatures.is_empty(), "a desk has a key"),
        }
        Ok(note)
    }

    fn sign_text(&mut self, text: String) -> Result<Note, Error> {
        let mut signatures = Vec::new();
        for signer in &mut self.parts.signers {
            let key = VerifierKey::new(&self.parts.origin, Form::Text, signer.public_key().clone())?;
            signatures.push(SignatureLine::sign(&key, &mut **signer, &text, 0)?);
        }
        Ok(Note { text, signatures })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::tests::{Holder, VENUE, signed};
    use crate::merkle::tests::{Whole, leaves};
    use crate::merkle::{consistency_proof, root};
    use crate::payment::tests::{payment, two_of_three};
    use crate::scratch::Scratch;
    use crate::{KeyChange, PublicKey, SoftwareSigner};
    use std::sync::mpsc::{Sender, channel};

    const LONG: Duration = Duration::from_secs(60);

    fn checkpoint(nodes: &Whole, old: u64, size: u64) -> Request {
        let head = Head { epoch: 1, size, root: root(nodes, size).expect("nodes") };
        Request::Checkpoint { head, proof: consistency_proof(nodes, old, size).expect("nodes"), time: 1 }
    }

    fn parts(dir: &Scratch, signers: Vec<Box<dyn Signer>>) -> DeskParts {
        let head = HeadFile::create(&dir.path().join("head")).expect("a new file");
        DeskParts { origin: VENUE.into(), signers, head, history: None, payments: None, queue_max: 2 }
    }

    #[test]
    fn a_desk_signs_forward_alone_and_names_what_it_refuses() {
        let dir = Scratch::new("desk");
        let holder = Holder::new(&dir, "a", VENUE);
        let desk = Desk::open(parts(&dir, vec![Box::new(holder.signer)])).expect("it opens");
        let all = Whole(leaves(20));
        let ask = |request| desk.submit(request).expect("there is room").wait(LONG);
        let note = ask(checkpoint(&all, 0, 7)).expect("it grows");
        note.verify_all(desk.keys()).expect("it verifies");
        assert_eq!(Checkpoint::parse(&note.text).expect("a checkpoint").size, 7);
        assert!(matches!(ask(checkpoint(&all, 0, 5)), Err(Error::Equivocation { last: 7, next: 5, .. })));
        assert!(desk.health().last_error.expect("it was refused").contains("smaller"));
        ask(checkpoint(&all, 7, 9)).expect("it grows");
        let manifest =
            |name: &str| Request::Manifest { kind: "archive".into(), name: name.into(), hash: [1; 32] };
        let note = ask(manifest("0001.zst")).expect("it signs");
        assert!(
            note.text.starts_with("ironbell manifest v1\nvenue.example/ironbell\narchive 0001.zst\nsha256 ")
        );
        note.verify_all(desk.keys()).expect("it verifies");
        assert!(Checkpoint::parse(&note.text).is_err(), "a manifest is never taken for a checkpoint");
        assert!(ask(manifest("a b")).is_err());
        let epoch = ask(Request::Epoch(Head { epoch: 2, size: 9, root: [2; 32] })).expect("it signs");
        assert!(epoch.text.contains("\nepoch 2\nsize 9\n"));
        let refused = ask(Request::Payment { note: epoch, time: 1 });
        assert!(matches!(refused, Err(Error::Payment(_))));
        let health = desk.health();
        assert_eq!((health.waiting, health.signed, health.failed), (0, 4, 3));
    }

    /// Signs when it is told to, and not before.
    struct Slow {
        inner: SoftwareSigner,
        go: Receiver<bool>,
    }

    impl Signer for Slow {
        fn public_key(&self) -> &PublicKey {
            self.inner.public_key()
        }
        fn place(&self) -> String {
            "nowhere".into()
        }
        fn sign(&mut self, message: &[u8]) -> Result<Vec<u8>, Error> {
            if self.go.recv().expect("the test says") {
                self.inner.sign(message)
            } else {
                Err(Error::TokenLost { token: "venue".into(), why: "pulled".into() })
            }
        }
    }

    #[test]
    fn a_slow_key_fills_the_queue_and_nobody_waits() {
        let dir = Scratch::new("desk-slow");
        let (go, told): (Sender<bool>, _) = channel();
        let slow = Slow { inner: Holder::new(&dir, "a", VENUE).signer, go: told };
        let desk = Desk::open(parts(&dir, vec![Box::new(slow)])).expect("it opens");
        let all = Whole(leaves(20));
        // One is with the key, two wait in the queue; the next is told so. The first may still be in the queue.
        let mut tickets = vec![desk.submit(checkpoint(&all, 0, 7)).expect("there is room")];
        while desk.health().busy_ms == 0 {
            thread::yield_now();
        }
        tickets.push(desk.submit(checkpoint(&all, 7, 9)).expect("there is room"));
        tickets.push(desk.submit(checkpoint(&all, 9, 11)).expect("there is room"));
        assert!(matches!(desk.submit(checkpoint(&all, 11, 12)), Err(Error::QueueFull)));
        assert_eq!(desk.health().waiting, 3);
        assert!(matches!(tickets[0].wait(Duration::ZERO), Err(Error::SignTimeout(_))));
        assert!(tickets[0].poll().is_none());
        // The token is pulled for the first: it is asked again later, and the same head is signed then.
        for is_there in [false, true, true] {
            go.send(is_there).expect("it waits");
        }
        let answers: Vec<_> = tickets.iter().map(|ticket| ticket.wait(LONG)).collect();
        assert!(matches!(&answers[0], Err(error) if error.is_passing()));
        answers[1].as_ref().expect("it is there").verify_all(desk.keys()).expect("it verifies");
        answers[2].as_ref().expect("it is there").verify_all(desk.keys()).expect("it verifies");
        go.send(true).expect("it waits");
        let again = desk.submit(checkpoint(&all, 11, 11)).expect("there is room").wait(LONG);
        again.expect("the same again");
        assert_eq!(desk.health().last_error, None);
    }

    #[test]
    fn a_payment_is_signed_at_the_desk_after_its_approvals() {
        let dir = Scratch::new("desk-payment");
        let (history, [mut ann, mut bob, _]) = two_of_three(&dir);
        let payments = PaymentLog::open(&dir.path().join("payments")).expect("a new file");
        let signer = Holder::new(&dir, "a", VENUE).signer;
        let parts = DeskParts {
            history: Some(history),
            payments: Some(payments),
            ..parts(&dir, vec![Box::new(signer)])
        };
        let desk = Desk::open(parts).expect("it opens");
        let ask = |request| desk.submit(request).expect("there is room").wait(LONG);
        let text = payment("1").to_string();
        let one = signed(&text, &mut [&mut ann]);
        assert!(matches!(ask(Request::Payment { note: one, time: 1 }), Err(Error::Quorum { .. })));
        let two = signed(&text, &mut [&mut ann, &mut bob]);
        let note = ask(Request::Payment { note: two, time: 1 }).expect("two approved");
        assert_eq!(note.text, text);
        note.verify_all(desk.keys()).expect("it verifies");
        // A key journal of officers alone does not keep the log from signing.
        ask(checkpoint(&Whole(leaves(9)), 0, 7))
            .expect("it grows")
            .verify_all(desk.keys())
            .expect("it verifies");
    }

    #[test]
    fn a_desk_signs_with_the_keys_in_force() {
        let dir = Scratch::new("desk-rotation");
        let (mut a, mut b) = (Holder::new(&dir, "a", VENUE), Holder::new(&dir, "b", VENUE));
        let mut history = KeyHistory::new(VENUE);
        let text = history.propose(&[KeyChange::AddLog(a.key.clone(), 0)]);
        history.append(signed(&text, &mut [&mut a])).expect("the first");
        let text = history.propose(&[KeyChange::AddLog(b.key.clone(), 8)]);
        history.append(signed(&text, &mut [&mut a, &mut b])).expect("both agree");
        let text = history.propose(&[KeyChange::RetireLog(a.key.clone(), 10)]);
        history.append(signed(&text, &mut [&mut a, &mut b])).expect("both agree");
        let signers: Vec<Box<dyn Signer>> = vec![Box::new(a.signer), Box::new(b.signer)];
        let parts = DeskParts { history: Some(history.clone()), ..parts(&dir, signers) };
        let desk = Desk::open(parts).expect("it opens");
        let all = Whole(leaves(20));
        let mut last = 0;
        for (size, lines) in [(7, 1), (8, 2), (9, 2), (10, 1), (20, 1)] {
            let note = desk.submit(checkpoint(&all, last, size)).expect("there is room").wait(LONG);
            let note = note.expect("it grows");
            assert_eq!(note.signatures.len(), lines, "size {size}");
            note.verify_all(&history.log_keys(size).expect("in force")).expect("it verifies");
            last = size;
        }
    }
}
