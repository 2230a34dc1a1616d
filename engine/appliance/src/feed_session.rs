//! What the feed's TCP service port says to whoever knocks: ITCH over SoupBinTCP, or, to HTTP, what `ironbell sign`
//! publishes: the newest checkpoint and the tiles of the tree (C2SP tlog-tiles), and the signed manifests.
//!
//! One byte tells them apart: a SoupBinTCP packet begins with its length, below 18,000 whatever a client may send, and an
//! HTTP request with a capital letter.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use ironbell_feed::ItchSession;
use ironbell_types::Nanos;

use crate::http::{self, Received};
use crate::service::ByteSession;

/// One connection.
pub struct FeedSession {
    itch: ItchSession,
    site: Option<Rc<Path>>,
    /// What an HTTP client sent, and what it is told; nothing while it may be a member.
    http: Option<Http>,
    began: bool,
}

#[derive(Default)]
struct Http {
    received: Vec<u8>,
    answer: Vec<u8>,
    since: Option<Nanos>,
    is_answered: bool,
}

/// How long a request may take to arrive.
const REQUEST_MAX_NS: u64 = 10_000_000_000;
/// The largest file that is served.
const FILE_BYTES_MAX: u64 = 1 << 20;

impl FeedSession {
    /// A connection that was just made; `site` is the folder that is published.
    #[must_use]
    pub fn new(itch: ItchSession, site: Option<Rc<Path>>) -> Self {
        Self { itch, site, http: None, began: false }
    }
}

impl ByteSession for FeedSession {
    fn receive(&mut self, bytes: &[u8]) {
        if !self.began && bytes.first().is_some_and(u8::is_ascii_uppercase) {
            self.http = Some(Http::default());
        }
        self.began |= !bytes.is_empty();
        match &mut self.http {
            None => self.itch.receive(bytes),
            Some(http) if http.is_answered => {}
            Some(http) => {
                http.received.extend_from_slice(bytes);
                match http::request(&http.received, 0) {
                    Received::Part => {}
                    Received::Bad(status) => http.say(http::answer(status, "text/plain", b"")),
                    Received::Whole(request) => {
                        let answer = answer(&request, self.site.as_deref());
                        http.say(answer);
                    }
                }
            }
        }
    }

    fn poll(&mut self, now: Nanos) {
        let Some(http) = &mut self.http else { return self.itch.poll(now) };
        let since = *http.since.get_or_insert(now);
        if now.0.saturating_sub(since.0) > REQUEST_MAX_NS {
            http.is_answered = true;
        }
    }

    fn output(&self) -> &[u8] {
        self.http.as_ref().map_or_else(|| self.itch.output(), |http| &http.answer)
    }

    fn sent(&mut self, n: usize) {
        match &mut self.http {
            None => self.itch.sent(n),
            Some(http) => drop(http.answer.drain(..n)),
        }
    }

    fn is_over(&self) -> bool {
        self.http
            .as_ref()
            .map_or_else(|| self.itch.is_over(), |http| http.is_answered && http.answer.is_empty())
    }
}

impl Http {
    fn say(&mut self, answer: Vec<u8>) {
        (self.answer, self.is_answered) = (answer, true);
    }
}

fn answer(request: &http::Request<'_>, site: Option<&Path>) -> Vec<u8> {
    if request.method != "GET" {
        return http::answer(405, "text/plain", b"GET alone\n");
    }
    let file = site.and_then(|site| published(site, request.path));
    let bytes = file.filter(|file| {
        std::fs::metadata(file).is_ok_and(|file| file.is_file() && file.len() <= FILE_BYTES_MAX)
    });
    match bytes.and_then(|file| std::fs::read(file).ok()) {
        Some(bytes) => {
            let is_tile = request.path.starts_with("/tile/");
            http::answer(200, if is_tile { "application/octet-stream" } else { "text/plain" }, &bytes)
        }
        None => http::answer(
            404,
            "text/plain",
            b"GET /checkpoint, /tile/\xe2\x80\xa6 or /manifest/\xe2\x80\xa6\n",
        ),
    }
}

/// The file of a path, if it is one that is published.
fn published(site: &Path, path: &str) -> Option<PathBuf> {
    let path = path.strip_prefix('/')?;
    let is_plain = |part: &str| {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
        !part.is_empty() && !part.starts_with('.') && part.bytes().all(is_letter)
    };
    let is_known = path == "checkpoint" || path.starts_with("tile/") || path.starts_with("manifest/");
    (is_known && path.split('/').all(is_plain)).then(|| site.join(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_what_is_published_has_a_file() {
        let site = Path::new("/site");
        for path in ["checkpoint", "tile/0/000", "tile/entries/x001/234.p/7", "manifest/epoch-3"] {
            assert_eq!(published(site, &format!("/{path}")), Some(site.join(path)), "{path}");
        }
        let secrets = [
            "/",
            "/head",
            "/tile/../salts",
            "/tile//x",
            "/tile/%2e%2e/salts",
            "checkpoint",
            "/tile/",
            "//checkpoint",
        ];
        for path in secrets {
            assert_eq!(published(site, path), None, "{path}");
        }
    }
}
