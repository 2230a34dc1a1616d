//! What both ends share: two bounded buffers and the times something last crossed.

use ironbell_types::Nanos;
use ironbell_wire::NoRoom;
use ironbell_wire::soup::{self, Packet};

use crate::{Config, Violation};

#[derive(Debug)]
pub(crate) struct Link {
    pub config: Config,
    input: Buffer,
    output: Buffer,
    /// The packet that was handed out last: it leaves the input before the next one is looked for.
    taken: usize,
    pub started: Nanos,
    last_received: Nanos,
    last_sent: Nanos,
}

impl Link {
    pub fn new(config: &Config, now: Nanos) -> Self {
        assert!(config.input_size >= 64, "the input buffer holds a login request");
        assert!(config.output_size >= 64, "the output buffer holds a login answer");
        Self {
            config: *config,
            input: Buffer::new(config.input_size),
            output: Buffer::new(config.output_size),
            taken: 0,
            started: now,
            last_received: now,
            last_sent: now,
        }
    }

    /// As new, with the buffers it has.
    pub fn reset(&mut self, now: Nanos) {
        self.input.clear();
        self.output.clear();
        self.taken = 0;
        (self.started, self.last_received, self.last_sent) = (now, now, now);
    }

    /// What is left to parse is at most a part of a packet when the caller took all events before it
    /// reads again, so moving it to the front is cheap.
    pub fn space(&mut self) -> &mut [u8] {
        self.input.drop_front(std::mem::take(&mut self.taken));
        self.input.space()
    }

    pub fn received(&mut self, count: usize, now: Nanos) {
        if count > 0 {
            self.input.fill(count);
            self.last_received = now;
        }
    }

    /// The next packet that is not `heartbeat`, the peer's sign of life: that one has done its work by
    /// having been received.
    pub fn next_packet(&mut self, heartbeat: &[u8]) -> Result<Option<Packet<'_>>, Violation> {
        self.input.drop_front(std::mem::take(&mut self.taken));
        while self.input.bytes().starts_with(heartbeat) {
            self.input.drop_front(heartbeat.len());
        }
        match soup::split(self.input.bytes(), self.config.input_size) {
            Ok(Some((packet, len))) => {
                self.taken = len;
                Ok(Some(packet))
            }
            Ok(None) => Ok(None),
            Err(e) => Err(Violation::Malformed(e)),
        }
    }

    pub fn output(&self) -> &[u8] {
        self.output.bytes()
    }

    pub fn sent(&mut self, count: usize, now: Nanos) {
        if count > 0 {
            self.output.drop_front(count);
            self.last_sent = now;
        }
    }

    /// Puts a whole packet out, or nothing.
    pub fn put(&mut self, packet: &[u8]) -> bool {
        self.put_with(packet.len(), |out| {
            out[..packet.len()].copy_from_slice(packet);
            Ok(packet.len())
        })
    }

    /// As [`Link::put`], of the packet that `write` makes of a payload.
    pub fn put_payload(
        &mut self,
        payload: &[u8],
        write: fn(&[u8], &mut [u8]) -> Result<usize, NoRoom>,
    ) -> bool {
        let len = soup::HEADER_LEN + payload.len();
        assert!(len <= self.config.output_size, "the output buffer holds the longest message");
        self.put_with(len, |out| write(payload, out))
    }

    fn put_with(&mut self, len: usize, write: impl FnOnce(&mut [u8]) -> Result<usize, NoRoom>) -> bool {
        if self.output.room() < len {
            return false;
        }
        let written = write(self.output.space_for(len)).expect("there is room");
        self.output.fill(written);
        true
    }

    /// Bytes that wait to go out are a sign of life as soon as the peer reads them, so a heartbeat is
    /// due only when there are none.
    pub fn beat(&mut self, heartbeat: &[u8], now: Nanos) {
        if self.output.bytes().is_empty() && now.0.saturating_sub(self.last_sent.0) >= self.config.heartbeat.0
        {
            self.put(heartbeat);
            // Counted from here, so that a clock that stands still gets one heartbeat, not many.
            self.last_sent = now;
        }
    }

    pub fn check_idle(&self, now: Nanos) -> Result<(), Violation> {
        if now.0.saturating_sub(self.last_received.0) >= self.config.idle_max.0 {
            return Err(Violation::IdleTimeout);
        }
        Ok(())
    }
}

/// Bytes between `start` and `end` of a fixed piece of memory.
#[derive(Debug)]
struct Buffer {
    memory: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    fn new(size: usize) -> Self {
        Self { memory: vec![0; size].into(), start: 0, end: 0 }
    }

    fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }

    fn room(&self) -> usize {
        self.memory.len() - (self.end - self.start)
    }

    /// All the room there is, in one piece behind the bytes. Moves them to the front if need be.
    fn space(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.memory.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        &mut self.memory[self.end..]
    }

    /// Room for `len` bytes, which there must be. Moves only when the room is split.
    fn space_for(&mut self, len: usize) -> &mut [u8] {
        if self.memory.len() - self.end < len { self.space() } else { &mut self.memory[self.end..] }
    }

    fn fill(&mut self, count: usize) {
        assert!(count <= self.memory.len() - self.end, "no more was received than there was space for");
        self.end += count;
    }

    fn drop_front(&mut self, count: usize) {
        assert!(count <= self.end - self.start, "no more is dropped than is there");
        self.start += count;
        if self.start == self.end {
            self.clear();
        }
    }
}
