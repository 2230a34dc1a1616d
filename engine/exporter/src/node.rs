//! How a node is: its metrics segment, and what its admin socket says.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ironbell_sync::metrics::{Reader, RoleCounts};
use serde_json::Value;

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
    socket: PathBuf,
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
    /// Why something is missing.
    pub why: Vec<String>,
    /// Threads that stand still.
    pub still: Vec<String>,
}

impl Seen {
    /// Whether the node answers and all its threads move.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.status.is_some() && self.still.is_empty()
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
        Self { segment: data_dir.join("metrics"), socket, moved: BTreeMap::new() }
    }

    /// Looks. What cannot be read is missing in the answer, and said.
    pub fn look(&mut self, now: Instant) -> Seen {
        let mut seen = Seen::default();
        match self.ask() {
            Ok(status) => seen.status = Some(status),
            Err(why) => seen.why.push(format!("{}: {why}", self.socket.display())),
        }
        // Opened each time: a node that starts anew makes a file of its own.
        match Reader::open(&self.segment) {
            Ok(reader) => seen.roles = reader.read(),
            Err(why) => seen.why.push(why.to_string()),
        }
        seen.still = self.beat(&seen.roles, now);
        seen
    }

    /// Threads that have not moved for long.
    fn beat(&mut self, roles: &[RoleCounts], now: Instant) -> Vec<String> {
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
        let still = self.moved.iter().filter(|(_, (_, since))| is_still(*since));
        still.map(|(thread, _)| thread.clone()).collect()
    }

    /// One line out, one line in: see the appliance's `admin`.
    fn ask(&self) -> Result<Value, String> {
        let mut stream = UnixStream::connect(&self.socket).map_err(|e| e.to_string())?;
        stream.set_read_timeout(Some(ANSWER_MAX)).map_err(|e| e.to_string())?;
        stream.write_all(b"\"Status\"\n").map_err(|e| e.to_string())?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).map_err(|e| e.to_string())?;
        let status: Value = serde_json::from_str(&answer).map_err(|e| e.to_string())?;
        match status["error"].as_str() {
            Some(why) => Err(why.to_owned()),
            None => Ok(status),
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
        assert_eq!(node.beat(&thread(1), at(0)), Vec::<String>::new());
        assert_eq!(node.beat(&thread(2), at(4)), Vec::<String>::new());
        assert_eq!(node.beat(&thread(2), at(9)), Vec::<String>::new());
        assert_eq!(node.beat(&thread(2), at(10)), ["order-path"]);
        assert_eq!(node.beat(&thread(3), at(11)), Vec::<String>::new());
        // Another node, which counts from the beginning.
        assert_eq!(node.beat(&thread(0), at(20)), Vec::<String>::new());
    }
}
