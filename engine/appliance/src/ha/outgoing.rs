//! For a standby that the journal does not reach back to: the newest snapshot, and what members and the market were told up
//! to there, read on a thread of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ironbell_record::FrameCopy;
use ironbell_replica::Message;
use ironbell_replica::message::{Log, PART_BYTES_MAX, Stream, Told};
use ironbell_replica::transfer::Giving;
use ironbell_runtime::Stop;
use ironbell_sessionlog::{LogReader, Positions};
use ironbell_store::snapshot::{self, Of, Snapshot};
use ironbell_store::{DataKey, Reader};
use ironbell_sync::{Consumer, Producer, PushError, ring};
use ironbell_types::Nanos;

use crate::failure::Failure;
use crate::snapshot::{FEED_LOG, Logs, SESSION_LOG};

/// Messages that are read ahead.
const AHEAD: usize = 8;
/// How long the thread sleeps while nobody wants a snapshot.
const PAUSE: Duration = Duration::from_millis(20);
/// How long it sleeps when enough is read ahead.
const AHEAD_PAUSE: Duration = Duration::from_millis(1);

/// What the thread reads from.
pub struct Source {
    /// The journal.
    pub dir: PathBuf,
    /// Its key.
    pub data_key: Option<Arc<DataKey>>,
    /// How the logs lie.
    pub logs: Logs,
    /// The session log and the feed's, as the node writes them.
    pub readers: [LogReader; 2],
}

/// A message for the transfer of this number, or why there is none.
struct Piece {
    transfer: u64,
    message: Result<Vec<u8>, String>,
}

/// The end that the journal's thread holds.
pub struct Outgoing {
    wanted: Producer<u64>,
    pieces: Consumer<Piece>,
    transfer: u64,
}

impl Outgoing {
    /// Starts the thread, until `stop` is asked.
    ///
    /// # Errors
    /// When there is no thread.
    pub fn start(source: Source, stop: Stop) -> Result<Self, Failure> {
        let (wanted, mut wants) = ring::<u64>(4);
        let (pieces_in, pieces) = ring(AHEAD);
        let work = move || {
            let mut desk = Desk { source, stop, wanted: 0, pieces: pieces_in };
            while !desk.stop.asked() && !wants.is_abandoned() {
                let Ok(transfer) = wants.pop() else {
                    std::thread::sleep(PAUSE);
                    continue;
                };
                desk.wanted = transfer;
                if let Err(Ended::Failed(why)) = desk.send_newest(&wants) {
                    let _ = desk.push(Err(why), &wants);
                }
            }
        };
        std::thread::Builder::new().name("snapshot-out".into()).spawn(work).map_err(Failure::no_thread)?;
        Ok(Self { wanted, pieces, transfer: 0 })
    }

    /// A standby wants a snapshot: what was read for the one before is of no use.
    pub fn begin(&mut self) {
        self.transfer += 1;
        // The thread takes one after the other: who finds no room here hangs up for silence, and calls again.
        let _ = self.wanted.push(self.transfer);
    }

    /// Puts what may be sent now into `out`, as long as that holds fewer than `bytes_max` bytes; how many messages that was.
    ///
    /// # Errors
    /// Why there is nothing to send.
    pub fn feed(
        &mut self,
        giving: &mut Giving,
        now: Nanos,
        bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> Result<usize, String> {
        let mut count = 0;
        while out.len() < bytes_max && giving.may_send(now) {
            let Ok(piece) = self.pieces.pop() else { break };
            if piece.transfer != self.transfer {
                continue;
            }
            let message = piece.message?;
            out.extend_from_slice(&message);
            giving.sent(message.len(), now);
            count += 1;
        }
        Ok(count)
    }
}

/// Why a transfer ends before its end.
enum Ended {
    /// It is not wanted any more.
    Unwanted,
    /// Something cannot be read.
    Failed(String),
}

/// Why a snapshot is not the one to send.
fn failed(error: impl std::fmt::Display) -> Ended {
    Ended::Failed(error.to_string())
}

/// The thread's own.
struct Desk {
    source: Source,
    stop: Stop,
    wanted: u64,
    pieces: Producer<Piece>,
}

/// A snapshot that can be sent.
struct Found {
    snapshot: Snapshot,
    positions: [Positions; 2],
    /// The frame that it stands behind, encoded.
    copy: Vec<u8>,
}

impl Desk {
    fn push(&mut self, message: Result<Vec<u8>, String>, wants: &Consumer<u64>) -> Result<(), Ended> {
        let mut piece = Piece { transfer: self.wanted, message };
        loop {
            if self.stop.asked() || wants.is_abandoned() || !wants.is_empty() {
                return Err(Ended::Unwanted);
            }
            match self.pieces.push(piece) {
                Ok(()) => return Ok(()),
                Err(PushError::Full(back)) => piece = back,
            }
            std::thread::sleep(AHEAD_PAUSE);
        }
    }

    fn say(&mut self, message: &Message<'_>, wants: &Consumer<u64>) -> Result<(), Ended> {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.push(Ok(bytes), wants)
    }

    /// The newest snapshot that can be used, and what belongs to it.
    fn send_newest(&mut self, wants: &Consumer<u64>) -> Result<(), Ended> {
        let mut why = "there is none".to_owned();
        for (_, path) in snapshot::list(&self.source.dir).map_err(failed)? {
            match self.find(&path) {
                Ok(found) => return self.send(&found, wants),
                Err(error) => {
                    why = error;
                    tracing::warn!(why, "the snapshot {} is not sent to the standby", path.display());
                }
            }
        }
        Err(Ended::Failed(why))
    }

    fn find(&self, path: &Path) -> Result<Found, String> {
        let Source { dir, data_key, logs, .. } = &self.source;
        let header = snapshot::header(path).map_err(|e| e.to_string())?;
        let mut reader = Reader::deciphering(dir, data_key.clone()).map_err(|e| e.to_string())?;
        reader.after(&header.position.chain.point()).map_err(|e| e.to_string())?;
        let copy = reader.last_copy().map_err(|e| e.to_string())?;
        let mut encoded = vec![0; copy.encoded_bytes()];
        copy.encode_into(&mut encoded);
        let snapshot = snapshot::read(path, data_key.as_deref()).map_err(|e| e.to_string())?;
        let positions = |number, log| {
            Positions::load(log, snapshot.part(number).unwrap_or_default())
                .ok_or_else(|| "its places in the logs cannot be read".to_owned())
        };
        let positions = [positions(SESSION_LOG, &logs.sessions)?, positions(FEED_LOG, &logs.feed)?];
        Ok(Found { snapshot, positions, copy: encoded })
    }

    fn send(&mut self, found: &Found, wants: &Consumer<u64>) -> Result<(), Ended> {
        let header = found.snapshot.header;
        let point = header.position.chain.point();
        let of =
            Of { position: header.position, state_hash: header.state_hash, output_hash: header.output_hash };
        let parts: Vec<_> = found.snapshot.parts().collect();
        let plain = snapshot::encode(&of, &parts, None);
        tracing::info!(%point, bytes = plain.len(), "sending a snapshot to the standby");
        self.say(&Message::Snapshot { bytes: plain.len() as u64 }, wants)?;
        for (nth, bytes) in plain.chunks(PART_BYTES_MAX).enumerate() {
            self.say(&Message::Part { offset: (nth * PART_BYTES_MAX) as u64, bytes }, wants)?;
        }
        drop(plain);
        let (copy, _) = FrameCopy::decode(&found.copy).map_err(failed)?;
        self.say(&Message::Tail(point.frames - 1, copy), wants)?;
        let mut streams = 0;
        for (nth, log) in [Log::Sessions, Log::Feed].into_iter().enumerate() {
            for (stream, generation, messages) in found.positions[nth].streams() {
                self.say(&Message::Stream(Stream { log, stream: stream.0, generation, messages }), wants)?;
                streams += 1;
                let reader = self.source.readers[nth].stream_at(&found.positions[nth], stream);
                let mut reader = reader.map_err(failed)?;
                let mut told = Vec::new();
                for number in 1..=messages {
                    let message = reader.message(number).map_err(failed)?;
                    let message = message.ok_or_else(|| failed("the log ends before its snapshot"))?;
                    if Told::push(message, &mut told) || number == messages {
                        let all = Told::new(&told).expect("whole messages were put there");
                        self.say(&Message::Told(all), wants)?;
                        told.clear();
                    }
                }
            }
        }
        self.say(&Message::SnapshotEnd { last: point, streams }, wants)?;
        tracing::info!(%point, streams, "the snapshot is sent");
        Ok(())
    }
}
