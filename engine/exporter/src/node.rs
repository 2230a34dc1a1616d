//! How a node is: its metrics segment, the signing process's, and what its admin socket says.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ironbell_sync::metrics::{Reader, RoleCounts};
use serde_json::Value;

use crate::certificate;

/// What the admin socket is asked: how the node is, and what phases, switches and limits come to.
const STATUS: &str = r#"{"request":"status"}"#;
const SUMMARY: &str = r#"{"request":"summary"}"#;
/// How long the admin socket may take.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// A thread that has not shown itself for so long stands still: it does so once a second.
const BEAT_MAX: Duration = Duration::from_secs(5);
/// What the role of a thread's section begins with.
pub const THREAD: &str = "thread ";
/// The counter of a thread's section that moves once a second.
pub const BEATS: &str = "beats";

/// Where a node is looked at.
#[derive(Debug)]
pub struct Node {
    segment: PathBuf,
    signing: PathBuf,
    socket: PathBuf,
    certificates: Vec<PathBuf>,
    /// When each thread's beats were seen to move.
    moved: BTreeMap<String, (u64, Instant)>,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// By role; empty when there is no node.
    pub roles: Vec<RoleCounts>,
    /// What `ironbell status --json` says.
    pub status: Option<Value>,
    /// What phases, switches and limits come to; only a node that leads, or is alone, tells it.
    pub summary: Option<Value>,
    /// Why something is missing.
    pub why: Vec<String>,
    /// By file, when the first certificate in it ceases to hold, in seconds since 1970; 0 when it cannot be read.
    pub certificates: BTreeMap<String, i64>,
    /// The threads, and whether each stands still.
    pub threads: BTreeMap<String, bool>,
}

impl Seen {
    /// Whether the node answers and all its threads move.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.status.is_some() && self.still().next().is_none()
    }

    /// Threads that stand still.
    pub fn still(&self) -> impl Iterator<Item = &str> {
        self.threads.iter().filter(|(_, still)| **still).map(|(thread, _)| thread.as_str())
    }

    /// Whether members are let in: healthy, and of a pair the node that leads and is open.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let open = self.status.as_ref().and_then(|status| status["pair"]["open"].as_bool());
        self.is_healthy() && open != Some(false)
    }
}

impl Node {
    /// The node whose data directory that is, and where its admin socket is.
    #[must_use]
    pub fn new(data_dir: &std::path::Path, socket: Option<PathBuf>) -> Self {
        let socket = socket.unwrap_or_else(|| data_dir.join("admin.sock"));
        let (segment, signing) = (data_dir.join("metrics"), data_dir.join("signing/metrics"));
        Self { segment, signing, socket, certificates: Vec::new(), moved: BTreeMap::new() }
    }

    /// The same, with certificates to be looked at.
    #[must_use]
    pub fn with_certificates(self, certificates: Vec<PathBuf>) -> Self {
        Self { certificates, ..self }
    }

    /// Looks. What cannot be read is missing in the answer, and said.
    pub fn look(&mut self, now: Instant) -> Seen {
        let mut seen = Seen::default();
        match self.ask(STATUS) {
            Ok(status) => seen.status = Some(status),
            Err(why) => seen.why.push(format!("{}: {why}", self.socket.display())),
        }
        // Of a node that leads nothing the segment, if there is one, is of the time when it did.
        let follows = seen.status.as_ref().is_some_and(|status| {
            status["pair"]["standing"].as_str().is_some_and(|standing| standing != "primary")
        });
        if !follows {
            // Opened each time: a node that starts anew makes a file of its own.
            match Reader::open(&self.segment) {
                Ok(reader) => seen.roles = reader.read(),
                Err(why) => seen.why.push(why.to_string()),
            }
            seen.summary = seen.status.as_ref().and_then(|_| Some(self.ask(SUMMARY).ok()?["seen"].take()));
        }
        seen.threads = self.beat(&seen.roles, now);
        for path in &self.certificates {
            let end = certificate::not_after(path).unwrap_or_else(|why| {
                seen.why.push(format!("{}: {why}", path.display()));
                0
            });
            seen.certificates.insert(path.display().to_string(), end);
        }
        // Not every node has somebody who signs.
        if let Ok(reader) = Reader::open(&self.signing) {
            seen.roles.extend(reader.read());
        }
        seen
    }

    /// The threads, and whether each has not moved for long.
    fn beat(&mut self, roles: &[RoleCounts], now: Instant) -> BTreeMap<String, bool> {
        let beats = roles.iter().filter_map(|role| {
            let thread = role.role.strip_prefix(THREAD)?;
            role.counters.iter().find(|(name, _)| name == BEATS).map(|(_, beats)| (thread, *beats))
        });
        let mut moved = BTreeMap::new();
        for (thread, beats) in beats {
            let since = match self.moved.get(thread) {
                Some((before, since)) if *before == beats => *since,
                _ => now,
            };
            moved.insert(thread.to_owned(), (beats, since));
        }
        self.moved = moved;
        let is_still = |since: Instant| now.duration_since(since) > BEAT_MAX;
        self.moved.iter().map(|(thread, (_, since))| (thread.clone(), is_still(*since))).collect()
    }

    /// One line out, one line in: see the appliance's `admin`.
    fn ask(&self, question: &str) -> Result<Value, String> {
        let mut stream = UnixStream::connect(&self.socket).map_err(|e| e.to_string())?;
        stream.set_read_timeout(Some(ANSWER_MAX)).map_err(|e| e.to_string())?;
        stream.write_all(format!("{question}\n").as_bytes()).map_err(|e| e.to_string())?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).map_err(|e| e.to_string())?;
        let answer: Value = serde_json::from_str(&answer).map_err(|e| e.to_string())?;
        match answer["error"].as_str() {
            Some(why) => Err(why.to_owned()),
            None => Ok(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(beats: u64) -> Vec<RoleCounts> {
        let counters = vec![("idle_ns".to_owned(), 7), (BEATS.to_owned(), beats)];
        vec![RoleCounts { role: "thread order-path".to_owned(), counters, histograms: Vec::new() }]
    }

    #[test]
    fn a_thread_that_does_not_move_for_long_stands_still_until_it_moves() {
        let mut node = Node::new(std::path::Path::new("/nowhere"), None);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut is_still = |beats, seconds| node.beat(&thread(beats), at(seconds))["order-path"];
        assert!(!is_still(1, 0));
        assert!(!is_still(2, 4));
        assert!(!is_still(2, 9));
        assert!(is_still(2, 10));
        assert!(!is_still(3, 11));
        // Another node, which counts from the beginning.
        assert!(!is_still(0, 20));
    }
}
