//! Holding a log against what its streams were told, while another process may still be writing it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::cipher::SEAL_SIZE;
use crate::record::{BODY_SIZE_MAX, HEADER_SIZE, place};
use crate::{Config, Error, MESSAGE_SIZE_MAX, Positions, StreamId};

/// Bytes read at a time.
const CHUNK_SIZE: usize = 1 << 20;

/// How long the writer may be behind before the log counts as another.
const BEHIND_MAX: Duration = Duration::from_secs(5);

/// Reads a log beside its writer, takes no lock and changes nothing: each append must find its record there.
#[derive(Debug)]
pub struct LogCheck {
    config: Config,
    positions: Positions,
    /// Where a message is enciphered.
    body: Vec<u8>,
    chunk: Vec<u8>,
    /// Offset in the log of the chunk's first byte.
    chunk_at: u64,
    segment: Option<(u64, File)>,
    /// How long the writer may be behind.
    patience: Duration,
}

impl LogCheck {
    /// Checks the log from these positions on; a log that is not written any more gets no `patience`.
    #[must_use]
    pub fn new(config: &Config, positions: Positions, is_written: bool) -> Self {
        let body = vec![0; if config.key.is_some() { BODY_SIZE_MAX } else { 0 }];
        let patience = if is_written { BEHIND_MAX } else { Duration::ZERO };
        Self {
            config: config.clone(),
            positions,
            body,
            chunk: Vec::with_capacity(CHUNK_SIZE),
            chunk_at: 0,
            segment: None,
            patience,
        }
    }

    /// As [`SessionLog::open_stream`](crate::SessionLog::open_stream).
    ///
    /// # Errors
    /// [`Error::StreamsMax`].
    pub fn open_stream(&mut self, stream: StreamId) -> Result<(), Error> {
        self.positions.open_stream(&self.config, stream).map(drop)
    }

    /// As [`SessionLog::restart`](crate::SessionLog::restart).
    ///
    /// # Errors
    /// [`Error::StreamsMax`].
    pub fn restart(&mut self, stream: StreamId) -> Result<(), Error> {
        self.positions.restart(&self.config, stream).map(drop)
    }

    /// Finds the record that [`SessionLog::append`](crate::SessionLog::append) writes, and waits for a writer that is
    /// a little behind.
    ///
    /// # Errors
    /// [`Error::Unlike`] when something else stands there; [`Error::StreamsMax`], [`Error::Io`].
    ///
    /// # Panics
    /// When `message` is longer than [`MESSAGE_SIZE_MAX`].
    pub fn append(&mut self, stream: StreamId, message: &[u8]) -> Result<(), Error> {
        assert!(message.len() <= MESSAGE_SIZE_MAX, "a message of {} bytes fits no packet", message.len());
        self.open_stream(stream)?;
        let next = self.positions.next(&self.config, stream, message.len());
        let mut body = std::mem::take(&mut self.body);
        let sealed: &[u8] = match &self.config.key {
            None => message,
            Some(key) => {
                let body = &mut body[..message.len() + SEAL_SIZE];
                body[..message.len()].copy_from_slice(message);
                key.seal(place(&next.header.unsealed()), body);
                body
            }
        };
        let found = self.find(next.offset, &next.header.seal(sealed), sealed);
        self.body = body;
        if !found? {
            let (dir, number) = (self.config.dir.clone(), next.header.number);
            return Err(Error::Unlike { dir, stream: stream.0, number, offset: next.offset });
        }
        self.positions.advance(&next);
        Ok(())
    }

    fn find(&mut self, offset: u64, header: &[u8], body: &[u8]) -> Result<bool, Error> {
        let since = Instant::now();
        let size = HEADER_SIZE + body.len();
        let mut is_fresh = false;
        loop {
            if let Some(there) = self.bytes(offset, size, is_fresh)?
                && there[..header.len()] == *header
                && there[HEADER_SIZE..] == *body
            {
                return Ok(true);
            }
            // What was read ahead may have been written since.
            if is_fresh {
                if since.elapsed() >= self.patience {
                    return Ok(false);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            is_fresh = true;
        }
    }

    /// `size` bytes at `offset`, read anew if that is asked for; `None` where the log does not reach.
    fn bytes(&mut self, offset: u64, size: usize, anew: bool) -> Result<Option<&[u8]>, Error> {
        let end = offset + size as u64;
        if anew || offset < self.chunk_at || end > self.chunk_at + self.chunk.len() as u64 {
            self.fill(offset)?;
        }
        let at = (offset - self.chunk_at) as usize;
        Ok(self.chunk.get(at..at + size))
    }

    fn fill(&mut self, offset: u64) -> Result<(), Error> {
        let (index, at) = (offset / self.config.segment_size, offset % self.config.segment_size);
        self.chunk.clear();
        self.chunk_at = offset;
        let path = self.path(index);
        let io = |doing, source| Error::Io { path: path.clone(), doing, source };
        if self.segment.as_ref().is_none_or(|(open, _)| *open != index) {
            match File::open(&path) {
                Ok(file) => self.segment = Some((index, file)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(io("open the segment", error)),
            }
        }
        let (_, file) = self.segment.as_ref().expect("it was just opened");
        self.chunk.resize(CHUNK_SIZE.min((self.config.segment_size - at) as usize), 0);
        let mut read = 0;
        while read < self.chunk.len() {
            match file.read_at(&mut self.chunk[read..], at + read as u64) {
                Ok(0) => break,
                Ok(bytes) => read += bytes,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(io("read the segment", error)),
            }
        }
        self.chunk.truncate(read);
        Ok(())
    }

    fn path(&self, index: u64) -> PathBuf {
        self.config.dir.join(format!("{index:08}.seg"))
    }

    /// Waits until everything found so far is on disk, and says where the log stands there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn sync(self) -> Result<Positions, Error> {
        let last = (self.positions.head - 1) / self.config.segment_size;
        // From the first one on: an append also fills `next` of an older record, anywhere before.
        for index in 0..=last {
            let path = self.path(index);
            let io = |doing| {
                let path = path.clone();
                move |source| Error::Io { path, doing, source }
            };
            match File::open(&path) {
                // A log that was told nothing need not be there.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && last == 0 => {
                    return Ok(self.positions);
                }
                file => file.and_then(|file| file.sync_all()).map_err(io("write back"))?,
            }
        }
        let dir = &self.config.dir;
        let synced = File::open(dir).and_then(|dir| dir.sync_all());
        synced.map_err(|source| Error::Io { path: dir.clone(), doing: "sync the directory", source })?;
        Ok(self.positions)
    }

    /// Where the log stands behind what was found.
    #[must_use]
    pub fn positions(&self) -> &Positions {
        &self.positions
    }
}
