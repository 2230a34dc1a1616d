//! `ironbell witness`: cosigns a log's checkpoints, so that the venue cannot show two histories (C2SP tlog-witness).
//!
//! It runs where the venue's own word is not enough: on the standby, and at a member's or a regulator's. It remembers the
//! last checkpoint that it saw, on disk before it answers, and signs only what grew out of it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use ironbell_hsm::{Answer, Witness, parse_keys};

use crate::failure::Failure;
use crate::hsm::KeyArgs;
use crate::http::{self, Received};
use crate::log::Log;
use crate::telemetry::Telemetry;

/// Arguments of `ironbell witness`.
#[derive(Args)]
pub struct Options {
    /// Where logs ask. What it answers is signed and no secret.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:26430")]
    listen: SocketAddr,
    /// The witness's name on its signature lines: a URL without its scheme, such as witness.example/standby.
    #[arg(long)]
    name: String,
    /// The log's verifier keys, one a line, all of which must have signed: its log.pub.
    #[arg(long, value_name = "FILE")]
    log_key: PathBuf,
    /// Where it keeps what it saw last. Made at the first start; never remove it.
    #[arg(long, value_name = "FILE")]
    seen: PathBuf,
    /// Its own key, Ed25519 or ML-DSA-44.
    #[command(flatten)]
    key: KeyArgs,
}

/// Connections at a time.
const CONNECTIONS_MAX: usize = 16;
/// How long one may take.
const CONNECTION_MAX: Duration = Duration::from_secs(10);
/// A request: a note of at most 128 KiB and 63 hashes.
const BODY_BYTES_MAX: usize = (1 << 17) + (1 << 12);

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// When its key, the log's keys or its file cannot be used, or the address is taken.
pub fn run(options: &Options) -> Result<(), Failure> {
    let _spans = crate::log::start(Log::default(), &Telemetry::default())?;
    let stop = crate::node::signals()?;
    let text = std::fs::read_to_string(&options.log_key)
        .map_err(|e| Failure::file(&options.log_key, e, "give the log's log.pub"))?;
    let keys = parse_keys(&text).map_err(|e| Failure::file(&options.log_key, e, "give the log's log.pub"))?;
    let witness = Witness::open(&options.name, keys, options.key.open()?, &options.seen)?;
    let refused = |e: std::io::Error| {
        Failure::refused(format_args!("--listen {}: {e}; choose another address", options.listen))
    };
    let listener = TcpListener::bind(options.listen).map_err(refused)?;
    listener.set_nonblocking(true).map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    // Whoever started it may have gone.
    let _ = writeln!(std::io::stdout(), "ready: http://{address}\n{}", witness.key());
    let (witness, open) = (Arc::new(Mutex::new(witness)), Arc::new(AtomicUsize::new(0)));
    while !stop.load(Ordering::Relaxed) {
        // A connection beyond the limit waits in the kernel's queue.
        let accepted =
            if open.load(Ordering::Relaxed) < CONNECTIONS_MAX { listener.accept().ok() } else { None };
        let Some((stream, from)) = accepted else {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        };
        let (witness, theirs) = (witness.clone(), open.clone());
        open.fetch_add(1, Ordering::Relaxed);
        let serve = move || {
            if let Err(error) = serve(stream, &witness) {
                tracing::debug!(%from, %error, "a connection ended");
            }
            theirs.fetch_sub(1, Ordering::Relaxed);
        };
        if let Err(error) = std::thread::Builder::new().name("connection".into()).spawn(serve) {
            open.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!(%error, "no thread for a connection");
        }
    }
    Ok(())
}

fn serve(mut stream: TcpStream, witness: &Mutex<Witness>) -> std::io::Result<()> {
    let begun = Instant::now();
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(CONNECTION_MAX))?;
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4_096]);
    let answer = loop {
        match http::request(&bytes, BODY_BYTES_MAX) {
            Received::Part => {}
            Received::Bad(status) => break http::answer(status, "text/plain", b""),
            Received::Whole(request) => break answer(&request, witness),
        }
        let left = CONNECTION_MAX.saturating_sub(begun.elapsed()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut chunk)? {
            0 => return Ok(()),
            n => bytes.extend_from_slice(&chunk[..n]),
        }
    };
    stream.write_all(&answer)
}

fn answer(request: &http::Request<'_>, witness: &Mutex<Witness>) -> Vec<u8> {
    if !request.path.ends_with("/add-checkpoint") {
        return http::answer(404, "text/plain", b"POST /add-checkpoint\n");
    }
    if request.method != "POST" {
        return http::answer(405, "text/plain", b"POST /add-checkpoint\n");
    }
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let answer = match std::str::from_utf8(request.body) {
        // What it saw is replaced as a whole.
        Ok(body) => witness.lock().unwrap_or_else(PoisonError::into_inner).add_checkpoint(body, time),
        Err(_) => Answer::Malformed("the body is no text".into()),
    };
    match &answer {
        Answer::Inconsistent(why) => {
            tracing::error!(why, "ALARM: the log shows a history that does not grow out of what was seen");
        }
        Answer::Failed(why) => tracing::error!(why, "a checkpoint could not be cosigned"),
        Answer::NotSigned(why) => tracing::warn!(why, "a checkpoint is not signed by the log"),
        _ => {}
    }
    let content_type = if answer.status() == 409 { "text/x.tlog.size" } else { "text/plain" };
    http::answer(answer.status(), content_type, answer.body().as_bytes())
}
