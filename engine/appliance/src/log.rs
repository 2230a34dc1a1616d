//! Where a process writes what it has to say: to the systemd journal with its fields, or to stderr as lines.
//!
//! The journal is spoken to in its native protocol (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL>), by a layer of our own:
//! it never waits (a journal that takes nothing loses the entry, which is counted), and what a person reads in `journalctl`
//! is the whole line with its fields, as on stderr. Each field is there by itself too, as `IRONBELL_` and its name in upper
//! case: `journalctl IRONBELL_FIRM=ALFA`.
//!
//! No thread of the order path comes here; see [`crate::scribe`].

use std::fmt::{self, Write as _};
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{FilterFn, LevelFilter};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::failure::Failure;
use crate::telemetry::{Exporting, Telemetry};

/// `[log]`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Where to.
    pub to: To,
}

/// Where to.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum To {
    /// To the journal where stderr is the journal's, which systemd says (`JOURNAL_STREAM`); else to stderr.
    #[default]
    Auto,
    /// To the journal.
    Journal,
    /// To stderr, a line each.
    Stderr,
}

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";
/// `SYSLOG_IDENTIFIER`.
const IDENTIFIER: &str = "ironbell";
/// The longest text that is sent: a datagram of the kernel's default takes several of them.
const TEXT_BYTES_MAX: usize = 32 << 10;

/// Entries so far that the journal did not take.
static UNSENT: AtomicU64 = AtomicU64::new(0);

/// Entries so far that the journal did not take: it was not there, or had no room.
#[must_use]
pub fn unsent() -> u64 {
    UNSENT.load(Ordering::Relaxed)
}

/// From here on what this process has to say goes where `log` says, and spans to a collector, as long as what is returned
/// is kept. Once in a process.
///
/// # Errors
/// When it is to go to the journal, and nobody listens there; or there is no thread for the spans.
///
/// # Panics
/// When it was called before.
pub fn start(log: Log, telemetry: &Telemetry) -> Result<Exporting, Failure> {
    let journal = match log.to {
        To::Stderr => None,
        To::Auto if !is_stderr_the_journals() => None,
        To::Auto => Journal::open(Path::new(SOCKET)).ok(),
        To::Journal => Some(Journal::open(Path::new(SOCKET)).map_err(|e| {
            Failure::refused(format_args!(
                "log.to = \"journal\": nobody listens at {SOCKET} ({e}); start systemd-journald, or say \"stderr\""
            ))
        })?),
    };
    let lines = journal.is_none().then(|| {
        // In a file or in the journal colours are bytes that no search finds.
        tracing_subscriber::fmt::layer()
            .with_writer(io::stderr)
            .with_ansi(false)
            .with_target(false)
            .with_filter(events())
    });
    let journal = journal.map(|journal| journal.with_filter(events()));
    let (spans, exporting) = telemetry.open()?;
    tracing_subscriber::registry().with(spans).with(lines).with(journal).init();
    Ok(exporting)
}

/// What is written: events, and nothing of the spans around them.
fn events() -> FilterFn {
    FilterFn::new((|about| about.is_event() && *about.level() <= Level::INFO) as fn(&Metadata<'_>) -> bool)
        .with_max_level_hint(LevelFilter::INFO)
}

/// Whether stderr goes to the journal: `JOURNAL_STREAM` names device and inode of what systemd made for it, and stderr is
/// that and nothing it was redirected to since (`systemd.exec(5)`, Environment Variables Set or Propagated by the Service
/// Manager).
fn is_stderr_the_journals() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(about) = rustix::fs::fstat(io::stderr()) else { return false };
    is_stream(&stream, about.st_dev, about.st_ino)
}

fn is_stream(stream: &str, device: u64, inode: u64) -> bool {
    let named = stream.split_once(':').and_then(|(dev, ino)| Some((dev.parse().ok()?, ino.parse().ok()?)));
    named == Some((device, inode))
}

/// A socket connected to the journal's.
struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Journal {
    fn open(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect(path)?;
        Ok(Self { socket, path: path.to_owned() })
    }

    fn send(&self, entry: &[u8]) {
        let sent = self.socket.send(entry).or_else(|error| match error.kind() {
            // There is no room, or the entry has none.
            ErrorKind::WouldBlock | ErrorKind::InvalidInput => Err(error),
            // Who started the journal anew may have made its socket anew.
            _ => self.socket.connect(&self.path).and_then(|()| self.socket.send(entry)),
        });
        if sent.is_err() {
            UNSENT.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let about = event.metadata();
        let mut text = Text::default();
        event.record(&mut text);
        let mut entry = Vec::with_capacity(512);
        put(&mut entry, "MESSAGE", &(text.message + &text.fields));
        put(&mut entry, "PRIORITY", priority(*about.level()));
        put(&mut entry, "SYSLOG_IDENTIFIER", IDENTIFIER);
        if let (Some(file), Some(line)) = (about.file(), about.line()) {
            put(&mut entry, "CODE_FILE", file);
            put(&mut entry, "CODE_LINE", &line.to_string());
        }
        for (name, value) in &text.named {
            put(&mut entry, name, value);
        }
        self.send(&entry);
    }
}

/// syslog's severity (RFC 5424, section 6.2.1): error, warning, informational, debug.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        _ => "7",
    }
}

/// A field of an entry: `NAME=value`, or, where the value has line ends, its name, its length and its bytes.
fn put(entry: &mut Vec<u8>, name: &str, value: &str) {
    let value = &value[..value.floor_char_boundary(TEXT_BYTES_MAX)];
    entry.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

/// An event's words.
#[derive(Default)]
struct Text {
    message: String,
    /// As they stand behind it, each with its name.
    fields: String,
    /// Under the journal's names for them.
    named: Vec<(String, String)>,
}

impl Text {
    fn take(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.message = value;
            return;
        }
        // A string takes it.
        let _ = write!(self.fields, " {}={value}", field.name());
        self.named.push((named(field.name()), value));
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, format!("{value:?}"));
    }
}

/// A field's name in the journal: upper-case letters, digits and underscores.
fn named(field: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    "IRONBELL_".chars().chain(field.chars().map(letter)).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(journal: &UnixDatagram) -> Vec<u8> {
        let mut entry = vec![0; 1 << 20];
        let length = journal.recv(&mut entry).expect("an entry came");
        entry.truncate(length);
        entry
    }

    /// A socket in a folder of its own, and who listens there.
    fn journal(name: &str) -> (Journal, UnixDatagram) {
        let path = std::env::temp_dir().join(format!("ironbell-log-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listens = UnixDatagram::bind(&path).expect("a socket");
        let journal = Journal::open(&path).expect("somebody listens");
        std::fs::remove_file(&path).expect("it is ours");
        (journal, listens)
    }

    #[test]
    fn an_event_is_an_entry_with_its_fields() {
        let (journal, listens) = journal("fields");
        let said = tracing_subscriber::registry().with(journal);
        tracing::subscriber::with_default(said, || {
            tracing::warn!(seq = 7_u64, session = "ALFA01", firm = %"ALFA", "its timer ran out");
        });
        let entry = String::from_utf8(heard(&listens)).expect("text");
        let mut lines: Vec<&str> = entry.lines().filter(|line| !line.starts_with("CODE_")).collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "IRONBELL_FIRM=ALFA",
                "IRONBELL_SEQ=7",
                "IRONBELL_SESSION=ALFA01",
                "MESSAGE=its timer ran out seq=7 session=ALFA01 firm=ALFA",
                "PRIORITY=4",
                "SYSLOG_IDENTIFIER=ironbell",
            ]
        );
    }

    #[test]
    fn text_with_line_ends_cannot_make_fields() {
        let (journal, listens) = journal("lines");
        let said = tracing_subscriber::registry().with(journal);
        tracing::subscriber::with_default(said, || tracing::info!(why = "one\nPRIORITY=0", "said"));
        let entry = heard(&listens);
        let mut expected = b"MESSAGE\n".to_vec();
        let message = b"said why=one\nPRIORITY=0";
        expected.extend_from_slice(&(message.len() as u64).to_le_bytes());
        expected.extend_from_slice(message);
        expected.push(b'\n');
        assert!(entry.starts_with(&expected), "{}", entry.escape_ascii());
        let why = [b"IRONBELL_WHY\n".as_slice(), &14_u64.to_le_bytes(), b"one\nPRIORITY=0\n"].concat();
        assert!(entry.ends_with(&why), "{}", entry.escape_ascii());
    }

    #[test]
    fn a_journal_that_takes_nothing_is_not_waited_for() {
        let (journal, listens) = journal("full");
        let before = unsent();
        // More than the queue of any socket takes.
        for _ in 0..100_000 {
            journal.send(b"MESSAGE=said\n");
        }
        assert!(unsent() > before);
        drop(listens);
        let full = unsent();
        journal.send(b"MESSAGE=said\n");
        assert!(unsent() > full, "nobody is there");
    }

    #[test]
    fn stderr_is_the_journals_when_device_and_inode_are() {
        assert!(is_stream("8:123", 8, 123));
        for stream in ["8:124", "9:123", "8", "", "8:", "8:123:1", "x:y"] {
            assert!(!is_stream(stream, 8, 123), "{stream}");
        }
    }
}
