//! Messages between the two nodes over one TCP connection: bytes in, bytes out, never waiting.

use std::net::SocketAddr;

use ironbell_device::kernel::Connection;
use ironbell_device::{Closed, Stream as _};
use ironbell_replica::message::MESSAGE_BYTES_MAX;
use ironbell_replica::{Message, MessageError};

/// Bytes read at one go.
const READ_BYTES: usize = 256 << 10;

/// Why a link is over.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The connection is.
    #[error("{0}")]
    Closed(#[from] Closed),
    /// What came is no message of this protocol.
    #[error("{0}")]
    Message(#[from] MessageError),
}

/// A connection to the other node.
#[derive(Debug)]
pub struct Carriage {
    connection: Connection,
    /// What came and is not taken yet: `inbox[taken..came]`.
    inbox: Box<[u8]>,
    taken: usize,
    came: usize,
    outbox: Vec<u8>,
    sent: usize,
}

impl Carriage {
    /// Over a connection that was just made. All memory is taken here, for as long as no more than `outbox_bytes` wait to
    /// be sent before the last message that is put there.
    #[must_use]
    pub fn new(connection: Connection, outbox_bytes: usize) -> Self {
        Self {
            connection,
            inbox: vec![0; MESSAGE_BYTES_MAX + READ_BYTES].into(),
            taken: 0,
            came: 0,
            outbox: Vec::with_capacity(outbox_bytes + MESSAGE_BYTES_MAX),
            sent: 0,
        }
    }

    /// Where messages to be sent are put.
    pub fn outbox(&mut self) -> &mut Vec<u8> {
        &mut self.outbox
    }

    /// Bytes that wait to be sent.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.outbox.len() - self.sent
    }

    /// The other node's address.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.connection.peer_addr()
    }

    /// Sends what the connection takes; how many bytes that was.
    ///
    /// # Errors
    /// When the connection is over.
    pub fn send(&mut self) -> Result<usize, Broken> {
        let before = self.sent;
        while self.sent < self.outbox.len() {
            match self.connection.write(&self.outbox[self.sent..])? {
                0 => break,
                written => self.sent += written,
            }
        }
        let written = self.sent - before;
        if self.sent == self.outbox.len() {
            self.outbox.clear();
            self.sent = 0;
        } else if self.sent > self.outbox.len() / 2 {
            self.outbox.drain(..self.sent);
            self.sent = 0;
        }
        Ok(written)
    }

    /// Reads what has come; how many bytes that was.
    ///
    /// # Errors
    /// When the connection is over.
    pub fn receive(&mut self) -> Result<usize, Broken> {
        if self.taken > 0 && self.inbox.len() - self.came < READ_BYTES {
            self.inbox.copy_within(self.taken..self.came, 0);
            (self.taken, self.came) = (0, self.came - self.taken);
        }
        if self.came == self.inbox.len() {
            return Ok(0);
        }
        let read = self.connection.read(&mut self.inbox[self.came..])?;
        self.came += read;
        Ok(read)
    }

    /// The next message that came whole.
    ///
    /// # Errors
    /// When what came is none.
    pub fn message(&mut self) -> Result<Option<Message<'_>>, Broken> {
        let Some((message, bytes)) = Message::decode(&self.inbox[self.taken..self.came])? else {
            return Ok(None);
        };
        self.taken += bytes;
        Ok(Some(message))
    }
}
