//! For a standby that is behind what the primary keeps in memory: frames read from the journal, on a thread of their own.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ironbell_record::{FrameCopy, Point};
use ironbell_replica::primary::Link;
use ironbell_runtime::Stop;
use ironbell_store::{DataKey, Error, Reader};
use ironbell_sync::{Consumer, Producer, ring};
use ironbell_types::{Nanos, Seq};

use crate::failure::Failure;

/// Bytes of frames that are read at one go.
const CHUNK_BYTES: usize = 512 << 10;
/// How long the thread sleeps while nothing is wanted.
const PAUSE: Duration = Duration::from_millis(2);

/// Frames as they go over the link, one behind the other, behind `from`.
struct Chunk {
    from: Point,
    bytes: Vec<u8>,
    /// Why they could not be read.
    failed: Option<Unreadable>,
}

/// Why the journal cannot be read where a standby needs it.
#[derive(Debug)]
pub enum Unreadable {
    /// What belongs there is not in it any more.
    Gone(String),
    /// Anything else.
    Failed(String),
}

impl From<Error> for Unreadable {
    fn from(error: Error) -> Self {
        match error {
            Error::Archived { .. } => Self::Gone(error.to_string()),
            error => Self::Failed(error.to_string()),
        }
    }
}

/// The end that the journal's thread holds.
pub struct CatchUp {
    wanted: Producer<Point>,
    chunks: Consumer<Chunk>,
    chunk: Option<(Chunk, usize)>,
    /// What was asked for and has not come.
    asked: Option<Point>,
}

impl CatchUp {
    /// Starts the thread, which reads the journal in `dir` until `stop` is asked.
    ///
    /// # Errors
    /// When there is no thread.
    pub fn start(dir: PathBuf, data_key: Option<Arc<DataKey>>, stop: Stop) -> Result<Self, Failure> {
        let (wanted, mut wants) = ring::<Point>(4);
        let (mut read, chunks) = ring(4);
        let work = move || {
            let mut reader = None;
            while !stop.asked() && !wants.is_abandoned() {
                let Ok(from) = wants.pop() else {
                    std::thread::sleep(PAUSE);
                    continue;
                };
                let chunk = read_chunk(&dir, data_key.as_ref(), from, &mut reader);
                // As many can be asked for as there is room for.
                let _ = read.push(chunk);
            }
        };
        std::thread::Builder::new().name("catch-up".into()).spawn(work).map_err(Failure::no_thread)?;
        Ok(Self { wanted, chunks, chunk: None, asked: None })
    }

    /// A link begins: what was read for the one before is of no use.
    pub fn begin(&mut self) {
        self.chunk = None;
    }

    /// Puts what `link` lacks into `out`, as long as that holds fewer than `bytes_max` bytes, and asks for more; how many
    /// frames that was.
    ///
    /// # Errors
    /// Why the journal cannot be read there.
    pub fn feed(
        &mut self,
        link: &mut Link,
        commit: Seq,
        now: Nanos,
        bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> Result<usize, Unreadable> {
        while let Ok(chunk) = self.chunks.pop() {
            if self.asked == Some(chunk.from) {
                self.asked = None;
            }
            if chunk.from == link.sent() {
                self.chunk = Some((chunk, 0));
            }
        }
        let mut frames = 0;
        if let Some((chunk, at)) = &mut self.chunk {
            if let Some(why) = chunk.failed.take() {
                self.chunk = None;
                return Err(why);
            }
            while out.len() < bytes_max && *at < chunk.bytes.len() {
                let (copy, bytes) =
                    FrameCopy::decode(&chunk.bytes[*at..]).map_err(|e| Unreadable::Failed(e.to_string()))?;
                if !link.catch_up(&copy, commit, now, out) {
                    break;
                }
                *at += bytes;
                frames += 1;
            }
            if *at < chunk.bytes.len() && out.len() >= bytes_max {
                return Ok(frames);
            }
        }
        self.chunk = None;
        if self.asked.is_none() && self.wanted.push(link.sent()).is_ok() {
            self.asked = Some(link.sent());
        }
        Ok(frames)
    }
}

/// The next frames behind `from`; `reader` goes on where it was when that is there.
fn read_chunk(
    dir: &std::path::Path,
    data_key: Option<&Arc<DataKey>>,
    from: Point,
    reader: &mut Option<(Reader, Point)>,
) -> Chunk {
    let mut chunk = Chunk { from, bytes: Vec::with_capacity(CHUNK_BYTES), failed: None };
    let mut read = || -> Result<(), Error> {
        let (mut open, mut at) = match reader.take().filter(|(_, at)| *at == from) {
            Some(open) => open,
            None => {
                let mut open = Reader::deciphering(dir, data_key.cloned())?;
                open.after(&from)?;
                (open, from)
            }
        };
        while chunk.bytes.len() < CHUNK_BYTES && open.follow()?.is_some() {
            let copy = open.last_copy()?;
            let start = chunk.bytes.len();
            chunk.bytes.resize(start + copy.encoded_bytes(), 0);
            copy.encode_into(&mut chunk.bytes[start..]);
            at = copy.point(at.frames).expect("it was read from the journal");
        }
        *reader = Some((open, at));
        Ok(())
    };
    chunk.failed = read().err().map(Unreadable::from);
    chunk
}
