//! Asks witnesses (C2SP tlog-witness) to cosign checkpoints: one thread for each, so that one that is slow or gone holds
//! up neither the others nor, beyond a stated time, the checkpoint.

use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::Duration;

use ironbell_hsm::merkle::consistency_proof;
use ironbell_hsm::{AddCheckpoint, Checkpoint, Note, SignatureLine, Tree, VerifierKey};
use serde::Deserialize;

use crate::failure::Failure;

/// `[[signing.witnesses]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessPlace {
    /// Where it answers, `http://10.0.0.2:26430`.
    pub url: String,
    /// Its verifier key, as `ironbell witness` prints it.
    pub key: String,
}

impl WitnessPlace {
    /// Its key.
    pub(super) fn key(&self) -> Result<VerifierKey, String> {
        if !self.url.starts_with("http://") {
            return Err(format!("signing.witnesses: {:?} is no URL that begins with http://", self.url));
        }
        VerifierKey::parse(&self.key).map_err(|e| format!("signing.witnesses: {}: {e}", self.url))
    }
}

/// How long a request may take in all.
const REQUEST_MAX: Duration = Duration::from_secs(5);

enum Said {
    /// Its signature lines.
    Cosigned(String),
    /// It saw this size last.
    Seen(u64),
    /// It says that what it is shown does not grow out of what it saw.
    Contradicts(String),
    /// It cannot be reached, or will not.
    Failed(String),
}

struct One {
    url: String,
    key: VerifierKey,
    asks: Sender<AddCheckpoint>,
    said: Receiver<Said>,
    /// What it saw last, as far as is known.
    seen: u64,
    /// The old size and the size that it is asked about now.
    asked: Option<(u64, u64)>,
    is_deaf: bool,
}

/// All witnesses.
pub(super) struct Witnesses(Vec<One>);

impl Witnesses {
    pub(super) fn start(places: &[WitnessPlace]) -> Result<Self, Failure> {
        places.iter().map(One::start).collect::<Result<_, _>>().map(Self)
    }

    /// How many there are, and how many of them do not cosign.
    pub(super) fn counts(&self) -> (u64, u64) {
        let deaf = self.0.iter().filter(|one| one.is_deaf).count();
        (self.0.len() as u64, deaf as u64)
    }

    /// Shows them a checkpoint. One that is busy with an earlier one sees the next.
    pub(super) fn show(&mut self, note: &Note, size: u64, tree: &Tree) -> Result<(), Failure> {
        for one in self.0.iter_mut().filter(|one| one.asked.is_none()) {
            one.ask(note, size, tree)?;
        }
        Ok(())
    }

    /// Adds what they said to the note of `size`; whether any of them is still asked about it.
    ///
    /// # Errors
    /// When one of them has seen another history.
    pub(super) fn hear(&mut self, note: &mut Note, size: u64, tree: &Tree) -> Result<bool, Failure> {
        let mut is_any_asked = false;
        for one in &mut self.0 {
            one.hear(note, size, tree)?;
            is_any_asked |= one.asked.is_some_and(|(_, of)| of == size);
        }
        Ok(is_any_asked)
    }
}

impl One {
    fn start(place: &WitnessPlace) -> Result<Self, Failure> {
        let key = place.key().map_err(Failure::refused)?;
        let (asks, asked) = channel::<AddCheckpoint>();
        let (say, said) = channel();
        let url = format!("{}/add-checkpoint", place.url.trim_end_matches('/'));
        let theirs = url.clone();
        let work = move || {
            let agent: ureq::Agent = ureq::Agent::config_builder()
                .http_status_as_error(false)
                .max_redirects(0)
                .proxy(None)
                .max_idle_connections(0)
                .timeout_global(Some(REQUEST_MAX))
                .build()
                .into();
            // Whoever asks may have gone.
            while let Ok(request) = asked.recv() {
                if say.send(post(&agent, &theirs, &request)).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("witness".into()).spawn(work).map_err(Failure::no_thread)?;
        Ok(Self { url, key, asks, said, seen: 0, asked: None, is_deaf: false })
    }

    fn ask(&mut self, note: &Note, size: u64, tree: &Tree) -> Result<(), Failure> {
        if self.seen > size {
            return Ok(());
        }
        let proof = consistency_proof(tree, self.seen, size)?;
        let request = AddCheckpoint { old_size: self.seen, proof, checkpoint: note.clone() };
        if self.asks.send(request).is_ok() {
            self.asked = Some((self.seen, size));
        }
        Ok(())
    }

    fn hear(&mut self, note: &mut Note, size: u64, tree: &Tree) -> Result<(), Failure> {
        let Some((old, of)) = self.asked else { return Ok(()) };
        let said = match self.said.try_recv() {
            Ok(said) => said,
            Err(TryRecvError::Empty) => return Ok(()),
            Err(TryRecvError::Disconnected) => Said::Failed("its thread ended".into()),
        };
        self.asked = None;
        let failed = match said {
            Said::Cosigned(lines) => {
                self.seen = of;
                if of == size { self.take(note, &lines).err() } else { None }
            }
            Said::Contradicts(why) => return Err(self.contradicted(&why)),
            // The size was right, so that it is the root that is not.
            Said::Seen(seen) if seen == old => {
                return Err(self.contradicted(&format!("it saw another root for size {seen}")));
            }
            Said::Seen(seen) => {
                self.seen = seen;
                if seen > size {
                    Some(format!("it saw size {seen} already, and this is {size}"))
                } else {
                    self.ask(note, size, tree)?;
                    return Ok(());
                }
            }
            Said::Failed(why) => Some(why),
        };
        if let Some(why) = failed {
            if !self.is_deaf {
                tracing::warn!(witness = self.url, why, "a witness does not cosign");
            }
            self.is_deaf = true;
        } else if self.is_deaf {
            tracing::info!(witness = self.url, "a witness cosigns again");
            self.is_deaf = false;
        }
        Ok(())
    }

    fn take(&self, note: &mut Note, lines: &str) -> Result<(), String> {
        for line in lines.lines() {
            let line = SignatureLine::parse(line).map_err(|e| e.to_string())?;
            if (line.name.as_str(), line.id) == (self.key.name(), self.key.id()) {
                self.key.verify(&note.text, &line.signature).map_err(|e| e.to_string())?;
                note.signatures.push(line);
                return Ok(());
            }
        }
        Err("its answer holds no signature of its key".into())
    }

    fn contradicted(&self, why: &str) -> Failure {
        Failure::check(format_args!(
            "ALARM: the witness {} ({}) saw another history: {why}; nothing more is signed; keep the data directory and \
             report this",
            self.key.name(),
            self.url
        ))
    }
}

fn post(agent: &ureq::Agent, url: &str, request: &AddCheckpoint) -> Said {
    const ANSWER_BYTES_MAX: u64 = 1 << 16;
    let mut response = match agent.post(url).send(request.body()) {
        Ok(response) => response,
        Err(error) => return Said::Failed(error.to_string()),
    };
    let status = response.status().as_u16();
    let body = match response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string() {
        Ok(body) => body,
        Err(error) => return Said::Failed(error.to_string()),
    };
    let size = Checkpoint::parse(&request.checkpoint.text).map_or(0, |checkpoint| checkpoint.size);
    match status {
        200 => Said::Cosigned(body),
        409 => match body.trim().parse() {
            Ok(seen) => Said::Seen(seen),
            Err(_) => Said::Failed("status 409 without a size".into()),
        },
        422 => Said::Contradicts(format!("size {size}: {}", body.trim())),
        _ => Said::Failed(format!("status {status}: {}", body.trim())),
    }
}
