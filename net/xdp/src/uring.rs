//! Many kernel sockets on one io_uring: a [`SessionIo`] for gateways with hundreds of sessions.
//!
//! One operation accepts for good and one receives for good on every connection; the kernel puts what comes
//! into buffers of the connection's own ring. So a poll that finds nothing costs a look at two places in memory, and
//! no system call, however many connections there are; sweeping sockets costs 0.3 µs for each.
//!
//! **A buffer belongs to the kernel from the moment it is in the ring until its completion has come**; nothing
//! is borrowed to an operation. What is written goes straight to the socket by send(2), which never waits: only
//! those are written to that have something to say, and a full socket must be known of at once.
//!
//! **Who is not read takes buffers from nobody else.** When those of a connection are full its operation ends, TCP holds
//! its peer back, and the next operation begins once all was read. One ring for all would not hold that: at one go the
//! kernel receives on a connection for as long as there is something, dozens of times.
//!
//! Linux 6.1 or newer: IORING_SETUP_SINGLE_ISSUER with IORING_SETUP_DEFER_TASKRUN, and a ring of buffers.

use std::collections::VecDeque;
use std::ffi::c_void;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, Fd};
use io_uring::{IoUring, cqueue, opcode, squeue};
use ironbell_device::kernel::KernelAcceptor;
use ironbell_device::{Closed, Error as DeviceError, Nanos, SessionIo};

use crate::Error;
use crate::umem::Mapping;

/// What a ring is made with. All memory is taken at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Connections at once.
    pub connections_max: usize,
    /// Buffers of each, which it may have filled and not read. A power of two.
    pub buffers: u16,
    /// Bytes of a buffer.
    pub buffer_size: usize,
}

impl Config {
    /// Eight buffers of 2 KiB each.
    #[must_use]
    pub fn new(connections_max: usize) -> Self {
        Self { connections_max, buffers: 8, buffer_size: 2_048 }
    }
}

/// A connection, as its user holds it.
#[derive(Debug, PartialEq, Eq)]
pub struct Connection(u32);

/// Kernel sockets on one io_uring. It may be made on one thread and polled on another; from the first poll on it
/// stays with that one.
pub struct Uring {
    // Dropped first: then the kernel has let go of the buffers.
    ring: IoUring,
    buffers: Buffers,
    acceptor: KernelAcceptor,
    slots: Box<[Slot]>,
    free: Vec<u32>,
    to_accept: VecDeque<u32>,
    is_enabled: bool,
    is_accepting: bool,
    accept_failure: Option<io::Error>,
}

impl std::fmt::Debug for Uring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uring").field("addr", &self.local_addr()).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Slot {
    socket: Option<OwnedFd>,
    filled: VecDeque<Filled>,
    /// Nothing more comes, behind what is filled.
    end: Option<Closed>,
    is_receiving: bool,
    is_held: bool,
}

/// A buffer of a connection with bytes that were not read yet.
#[derive(Clone, Copy, Debug)]
struct Filled {
    buffer: u16,
    at: usize,
    len: usize,
}

const ACCEPT: u64 = u64::MAX;

impl Uring {
    /// Serves the connections that come to `acceptor`.
    ///
    /// # Errors
    /// [`Error::Ring`] when the kernel has no such ring or no memory for it.
    ///
    /// # Panics
    /// When the number of buffers is no power of two within 32,768, or there are more than 65,535 connections: the kernel's
    /// bounds.
    pub fn new(acceptor: KernelAcceptor, config: &Config) -> Result<Self, Error> {
        let failed = |what| move |source| Error::Ring { what, source };
        let entries =
            u32::try_from(config.connections_max.next_power_of_two().clamp(256, 4_096)).expect("small");
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_r_disabled()
            .setup_cqsize(8 * entries)
            .build(entries)
            .map_err(failed("make"))?;
        let buffers = Buffers::new(&ring, config).map_err(failed("register buffers with"))?;
        let slot = || Slot {
            socket: None,
            filled: VecDeque::with_capacity(usize::from(config.buffers)),
            end: None,
            is_receiving: false,
            is_held: false,
        };
        let count = config.connections_max;
        Ok(Self {
            ring,
            buffers,
            acceptor,
            slots: (0..count).map(|_| slot()).collect(),
            free: (0..count as u32).rev().collect(),
            to_accept: VecDeque::with_capacity(count),
            is_enabled: false,
            is_accepting: false,
            accept_failure: None,
        })
    }

    /// Connections in use, with those that are being closed.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: no operation of ours is given an address: received bytes go to buffers of the ring, whose
            // memory outlives it, and descriptors stay open until their operation has ended.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return;
            }
            // The queue is full; the kernel takes all of it.
            let _ = self.ring.submit();
        }
    }

    fn receive_on(&mut self, id: u32) {
        let slot = &mut self.slots[id as usize];
        let Some(socket) = &slot.socket else { return };
        slot.is_receiving = true;
        let entry =
            opcode::RecvMulti::new(Fd(socket.as_raw_fd()), id as u16).build().user_data(u64::from(id));
        self.push(&entry);
    }

    fn accepted(&mut self, result: i32, goes_on: bool) {
        self.is_accepting = goes_on;
        if result < 0 {
            // A peer that hung up before it was accepted is no fault of ours.
            if !matches!(-result, libc::ECONNABORTED | libc::EINTR | libc::EAGAIN) {
                self.accept_failure = Some(io::Error::from_raw_os_error(-result));
            }
            return;
        }
        // SAFETY: the kernel just gave us this descriptor, and nobody else has it.
        let socket = unsafe { OwnedFd::from_raw_fd(result) };
        // Without a free place it is closed at once.
        let Some(id) = self.free.pop() else { return };
        no_delay(&socket);
        let slot = &mut self.slots[id as usize];
        (slot.socket, slot.end, slot.is_held) = (Some(socket), None, true);
        self.to_accept.push_back(id);
        self.receive_on(id);
    }

    fn received(&mut self, id: u32, result: i32, flags: u32) {
        let slot = &mut self.slots[id as usize];
        if let Some(buffer) = cqueue::buffer_select(flags) {
            if result > 0 && slot.is_held {
                slot.filled.push_back(Filled { buffer, at: 0, len: result as usize });
            } else {
                self.buffers.give_back(id, buffer);
            }
        }
        match -result {
            0 if slot.end.is_none() => slot.end = Some(Closed::ByPeer),
            // All buffers are full, or what has no meaning for the peer: it is begun again.
            libc::ENOBUFS | libc::EINTR | libc::EAGAIN => {}
            libc::ECONNRESET | libc::EPIPE => slot.end = Some(Closed::ByPeer),
            error if error > 0 => {
                slot.end = Some(Closed::Failed(io::Error::from_raw_os_error(error).kind()));
            }
            _ => {}
        }
        if cqueue::more(flags) {
            return;
        }
        slot.is_receiving = false;
        if !slot.is_held {
            self.release(id);
        } else if slot.end.is_none() && slot.filled.is_empty() {
            self.receive_on(id);
        }
    }

    fn release(&mut self, id: u32) {
        self.slots[id as usize].socket = None;
        self.free.push(id);
    }

    /// Hands over what was pushed, and has the kernel finish what it deferred.
    fn enter(&mut self) {
        let (waiting, deferred) = {
            let queue = self.ring.submission();
            (queue.len(), queue.taskrun() || queue.cq_overflow())
        };
        if waiting == 0 && !deferred {
            return;
        }
        const GET_EVENTS: u32 = 1;
        let count = u32::try_from(waiting).expect("a queue is short");
        // SAFETY: no argument is given. What fails here is tried again at the next poll.
        let _ = unsafe { self.ring.submitter().enter::<libc::sigset_t>(count, 0, GET_EVENTS, None) };
    }
}

fn no_delay(socket: &OwnedFd) {
    let yes: i32 = 1;
    // SAFETY: the option lives until the call is over, and its size is told. A socket without it is slower, not
    // wrong.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NODELAY,
            std::ptr::from_ref(&yes).cast(),
            size_of_val(&yes) as libc::socklen_t,
        )
    };
}

impl SessionIo for Uring {
    type Connection = Connection;

    fn poll(&mut self, _now: Nanos) -> usize {
        if !self.is_enabled {
            // From here on this thread is the one that submits.
            self.is_enabled = self.ring.submitter().register_enable_rings().is_ok();
        }
        if !self.is_accepting && self.accept_failure.is_none() {
            self.is_accepting = true;
            let listener = Fd(self.acceptor.as_fd().as_raw_fd());
            let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
            self.push(&opcode::AcceptMulti::new(listener).flags(flags).build().user_data(ACCEPT));
        }
        self.enter();
        let mut work = 0;
        while let Some(done) = { self.ring.completion().next() } {
            work += 1;
            match done.user_data() {
                ACCEPT => self.accepted(done.result(), cqueue::more(done.flags())),
                id => self.received(id as u32, done.result(), done.flags()),
            }
        }
        work
    }

    fn accept(&mut self) -> Result<Option<Connection>, DeviceError> {
        if let Some(source) = self.accept_failure.take() {
            return Err(DeviceError::Accept { addr: self.local_addr(), source });
        }
        Ok(self.to_accept.pop_front().map(Connection))
    }

    fn has_input(&self, connection: &Connection) -> bool {
        let slot = &self.slots[connection.0 as usize];
        // A read also begins to receive again.
        !slot.filled.is_empty() || slot.end.is_some() || !slot.is_receiving
    }

    fn read(&mut self, connection: &mut Connection, buffer: &mut [u8]) -> Result<usize, Closed> {
        assert!(!buffer.is_empty(), "a read needs room");
        let slot = &mut self.slots[connection.0 as usize];
        let mut count = 0;
        while count < buffer.len()
            && let Some(filled) = slot.filled.front_mut()
        {
            let bytes = self.buffers.bytes(connection.0, filled);
            let part = bytes.len().min(buffer.len() - count);
            buffer[count..count + part].copy_from_slice(&bytes[..part]);
            count += part;
            filled.at += part;
            if filled.at == filled.len {
                self.buffers.give_back(connection.0, filled.buffer);
                slot.filled.pop_front();
            }
        }
        match slot.end {
            Some(end) if count == 0 => return Err(end),
            None if slot.filled.is_empty() && !slot.is_receiving => self.receive_on(connection.0),
            _ => {}
        }
        Ok(count)
    }

    fn write(&mut self, connection: &mut Connection, bytes: &[u8]) -> Result<usize, Closed> {
        let slot = &self.slots[connection.0 as usize];
        let socket = slot.socket.as_ref().expect("who holds a connection has its socket").as_raw_fd();
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the bytes live until the call is over.
        let sent = unsafe { libc::send(socket, bytes.as_ptr().cast::<c_void>(), bytes.len(), flags) };
        if sent >= 0 {
            return Ok(sent as usize);
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EINTR) => Ok(0),
            Some(libc::ECONNRESET | libc::EPIPE) => Err(Closed::ByPeer),
            _ => Err(Closed::Failed(error.kind())),
        }
    }

    fn flush(&mut self, _now: Nanos) {}

    fn close(&mut self, connection: Connection) {
        let id = connection.0;
        let slot = &mut self.slots[id as usize];
        slot.is_held = false;
        while let Some(filled) = slot.filled.pop_front() {
            self.buffers.give_back(id, filled.buffer);
        }
        if !slot.is_receiving {
            self.release(id);
            return;
        }
        // The operation holds the socket open: it ends when the socket is shut, and the place is free then.
        let socket = slot.socket.as_ref().expect("who receives has a socket").as_raw_fd();
        // SAFETY: this call takes no address. A socket whose peer is gone is shut already.
        unsafe { libc::shutdown(socket, libc::SHUT_RDWR) };
    }

    fn local_addr(&self) -> SocketAddr {
        SessionIo::local_addr(&self.acceptor)
    }
}

/// The connections' rings of buffers (io_uring_register_buf_ring(3)), of which we are the producer. A ring's group is the
/// connection's number.
///
/// ```text
/// entry 0: address 8 │ length 4 │ number 2 │ tail 2   ← of the whole ring, in the first entry's last field
/// entry 1: …
/// ```
struct Buffers {
    /// One ring after the other, each in pages of its own.
    entries: Mapping,
    ring_bytes: usize,
    memory: Mapping,
    count: u16,
    size: usize,
    tails: Box<[u16]>,
}

const PAGE: usize = 4_096;

impl Buffers {
    fn new(ring: &IoUring, config: &Config) -> io::Result<Self> {
        assert!(config.buffers.is_power_of_two(), "a ring of buffers has a power of two");
        assert!(config.buffers <= 1 << 15, "the kernel's bound");
        let (count, connections) = (usize::from(config.buffers), config.connections_max);
        let groups = u16::try_from(connections).expect("the kernel has 65,536 groups");
        let ring_bytes = (count * size_of::<BufRingEntry>()).next_multiple_of(PAGE);
        let entries = Mapping::anonymous(connections * ring_bytes)?;
        let memory = Mapping::anonymous(connections * count * config.buffer_size)?;
        let mut buffers = Self {
            entries,
            ring_bytes,
            memory,
            count: config.buffers,
            size: config.buffer_size,
            tails: vec![0; connections].into(),
        };
        for group in 0..groups {
            let address = buffers.entries.address() + (usize::from(group) * ring_bytes) as u64;
            // SAFETY: the mapping is zeroed, aligned to a page and long enough; it lives as long as the ring, which is
            // dropped before it.
            unsafe { ring.submitter().register_buf_ring_with_flags(address, config.buffers, group, 0) }?;
            (0..config.buffers).for_each(|buffer| buffers.give_back(u32::from(group), buffer));
        }
        Ok(buffers)
    }

    /// Where a buffer begins in the memory of all.
    fn place(&self, id: u32, buffer: u16) -> usize {
        assert!(buffer < self.count, "a buffer of the ring");
        (id as usize * usize::from(self.count) + usize::from(buffer)) * self.size
    }

    /// The kernel may fill it again.
    fn give_back(&mut self, id: u32, buffer: u16) {
        let tail = &mut self.tails[id as usize];
        let index = usize::from(*tail & (self.count - 1));
        *tail = tail.wrapping_add(1);
        let tail = *tail;
        let base = self.entries.at::<BufRingEntry>(id as usize * self.ring_bytes);
        let address = self.memory.address() + self.place(id, buffer) as u64;
        // SAFETY: the entry lies in the mapping, and the kernel does not look at it before the tail has passed it. The
        // tail's own place in the first entry is not touched by these.
        unsafe {
            let entry = base.add(index).as_mut();
            entry.set_addr(address);
            entry.set_len(self.size as u32);
            entry.set_bid(buffer);
        }
        // SAFETY: the tail lies in the mapping and is aligned; the kernel only reads it.
        let place = unsafe { &*BufRingEntry::tail(base.as_ptr()).cast::<AtomicU16>() };
        place.store(tail, Ordering::Release);
    }

    /// What was not read yet of a buffer that is with us.
    fn bytes(&self, id: u32, filled: &Filled) -> &[u8] {
        let Filled { buffer, at, len } = *filled;
        assert!(at <= len, "a part of what was filled");
        assert!(len <= self.size, "no more was filled than there is");
        let start = self.memory.at::<u8>(self.place(id, buffer) + at);
        // SAFETY: within the mapping, as just checked; the kernel has handed the buffer over, and it is given back
        // through a mutable reference alone, which ends this borrow.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), len - at) }
    }
}
