//! TCP over frames: a [`SessionIo`] for one listening address and port.
//!
//! The protocol itself is smoltcp's. Three things are done around it, because an exchange differs from what
//! it was made for:
//!
//! - **Its clock runs 200 times as fast as ours.** Its shortest retransmission time-out is a constant of 1 s,
//!   which becomes 5 ms; round trips are measured in its milliseconds, which become 5 µs. Every time that we
//!   give it is stretched alike. What cannot be given shrinks too: the longest time-out, of 60 s, becomes
//!   300 ms, and TIME-WAIT, of 10 s, becomes 50 ms, many times what a segment lives in one room.
//! - **A set of its own for every connection**, behind a hash of addresses and ports. smoltcp looks through
//!   all sockets of a set for every segment and every time; a set of one costs the same with thousands.
//! - **Times on a [`Wheel`]**: a connection is looked at when a segment came, something was written, or its
//!   time has come.
//!
//! Answers go to where a connection's newest frame came from, with its tags: the kernel keeps speaking ARP
//! and ND on the device, and whoever reached us knows the way.

use std::collections::{HashMap, VecDeque};
use std::io::ErrorKind;
use std::net::SocketAddr;

use ironbell_device::{Closed, Error, FrameDevice, FrameRx, FrameTx, Nanos, SessionIo};
use smoltcp::iface::{Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::phy::{Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{
    HardwareAddress, IpAddress, IpCidr, IpProtocol, IpRepr, TCP_HEADER_LEN, TcpControl, TcpPacket, TcpRepr,
    TcpSeqNumber,
};

use crate::cookie::{self, Cookies};
use crate::isn::{self, Isns};
use crate::packet::{self, ACK, LinkHeader, RST, SYN, Segment};
use crate::wheel::Wheel;

/// What a stack is made with. All memory is taken at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where it listens; connections that it makes leave from this address too. Not the unspecified address.
    pub listen: SocketAddr,
    /// Connections at once, with those that are being opened and closed.
    pub connections_max: usize,
    /// Connections at once whose handshake is under way. More are answered with cookies and not remembered (RFC 4987, section
    /// 3.6): whoever answers has a connection, and those who never do take nothing.
    pub half_open_max: usize,
    /// Bytes received and not read yet, for each connection.
    pub receive_size: usize,
    /// Bytes written and not acknowledged yet, for each connection.
    pub send_size: usize,
    /// Bytes of the longest IP packet.
    pub mtu: usize,
    /// What was received is acknowledged by itself after this long, if no answer carries it before.
    pub ack_delay: Nanos,
    /// A silent peer is asked for a sign of life after this long.
    pub keep_alive: Nanos,
    /// A connection whose peer gives none for this long is over.
    pub timeout: Nanos,
    /// A handshake may take so long.
    pub handshake_max: Nanos,
    /// A connection that we closed may take so long to be closed by the peer too.
    pub linger: Nanos,
    /// Initial sequence numbers (RFC 6528) and cookies are made with this: it must not be guessed.
    pub secret: u128,
}

impl Config {
    /// 1,024 connections on `listen`, 16 KiB each way, an MTU of 1,500.
    #[must_use]
    pub fn new(listen: SocketAddr, secret: u128) -> Self {
        Self {
            listen,
            connections_max: 1_024,
            half_open_max: 256,
            receive_size: 16_384,
            send_size: 16_384,
            mtu: 1_500,
            ack_delay: Nanos(500_000),
            keep_alive: Nanos(5_000_000_000),
            timeout: Nanos(15_000_000_000),
            handshake_max: Nanos(1_000_000_000),
            linger: Nanos(3_000_000_000),
            secret,
        }
    }
}

/// What a stack did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames received.
    pub frames: u64,
    /// Frames among them that are no whole TCP segment for our address.
    pub ignored: u64,
    /// Handshakes completed.
    pub connected: u64,
    /// Segments of no connection, which are answered with a reset.
    pub unknown: u64,
    /// Handshakes that were answered with a cookie because too many were under way.
    pub cookies_sent: u64,
    /// Connections that came of them.
    pub cookies_redeemed: u64,
    /// Handshakes that were not begun because all connections were in use.
    pub refused: u64,
    /// Connections ended by a reset, by a time-out, or because the peer did not close in time.
    pub aborted: u64,
    /// Frames that the device had no room for. TCP sends again what was in them.
    pub tx_full: u64,
}

/// Real time is this many times slower than smoltcp's.
const SPEED: u64 = 200;
/// Nanoseconds of ours in one of its microseconds.
const NANOS_PER_MICRO: u64 = 1_000 / SPEED;

fn fast(now: Nanos) -> Instant {
    Instant::from_micros((now.0 / NANOS_PER_MICRO) as i64)
}

fn fast_duration(span: Nanos) -> Duration {
    Duration::from_micros(span.0 / NANOS_PER_MICRO)
}

fn slow(at: Instant) -> Nanos {
    Nanos(at.total_micros().max(0) as u64 * NANOS_PER_MICRO)
}

/// A connection, as its user holds it.
#[derive(Debug, PartialEq, Eq)]
pub struct Connection(u32);

/// TCP over the device that `R` and `T` are the halves of.
#[derive(Debug)]
pub struct Tcp<R, T> {
    device: FrameDevice<R, T>,
    stack: Stack,
}

/// Bursts taken in one poll.
const BURSTS_PER_POLL: usize = 4;

impl<R: FrameRx, T: FrameTx> Tcp<R, T> {
    /// A stack over `device`.
    ///
    /// # Panics
    /// When `listen` is an unspecified address, or a packet of `mtu` bytes does not fit a frame.
    pub fn new(config: Config, device: FrameDevice<R, T>) -> Self {
        assert!(!config.listen.ip().is_unspecified(), "frames are told apart by their address");
        let longest = config.mtu + packet::LINK_LEN_MAX;
        assert!(longest <= device.capabilities.frame_size_max, "a packet fits a frame");
        let stack = Stack::new(config, &device);
        Self { device, stack }
    }

    /// What it did so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.stack.counters
    }

    /// Connections in use, with those that are being opened and closed.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.stack.slots.len() - self.stack.free.len()
    }

    /// Handshakes under way that others began.
    #[must_use]
    pub fn half_open(&self) -> usize {
        self.stack.half_open.len()
    }

    /// The device it runs on.
    #[must_use]
    pub fn device(&self) -> &FrameDevice<R, T> {
        &self.device
    }

    /// The device it runs on, to be changed.
    pub fn device_mut(&mut self) -> &mut FrameDevice<R, T> {
        &mut self.device
    }

    /// Begins to open a connection to `to`, whose frames are to begin with `link`. Until it stands nothing
    /// can be read or written. `None`: all connections are in use.
    pub fn connect(&mut self, to: SocketAddr, link: LinkHeader, now: Nanos) -> Option<Connection> {
        self.stack.now = self.stack.now.max(now);
        self.stack.connect(to, link).map(Connection)
    }

    /// Whether the handshake is over and the connection stands.
    #[must_use]
    pub fn is_up(&self, connection: &Connection) -> bool {
        self.stack.slots[connection.0 as usize].socket().may_send()
    }

    /// Sends nothing more, and goes on receiving: what [`SessionIo::close`] does not do.
    pub fn shut_down(&mut self, connection: &mut Connection) {
        self.stack.slots[connection.0 as usize].socket_mut().close();
        self.stack.mark(connection.0);
    }
}

impl<R: FrameRx, T: FrameTx> SessionIo for Tcp<R, T> {
    type Connection = Connection;

    fn poll(&mut self, now: Nanos) -> usize {
        let (Self { device: FrameDevice { rx, tx, .. }, stack }, mut work) = (self, 0);
        stack.now = stack.now.max(now);
        for _ in 0..BURSTS_PER_POLL {
            let count = rx.receive();
            for index in 0..count {
                stack.take(rx.frame(index), tx);
            }
            work += count;
            if count == 0 {
                break;
            }
        }
        stack.meet_times();
        work += stack.serve(tx);
        tx.flush();
        work
    }

    fn accept(&mut self) -> Result<Option<Connection>, Error> {
        Ok(self.stack.accept().map(Connection))
    }

    fn has_input(&self, connection: &Connection) -> bool {
        let socket = self.stack.slots[connection.0 as usize].socket();
        socket.can_recv() || !(socket.may_recv() || is_opening(socket.state()))
    }

    fn read(&mut self, connection: &mut Connection, buffer: &mut [u8]) -> Result<usize, Closed> {
        assert!(!buffer.is_empty(), "a read needs room");
        self.stack.read(connection.0, buffer)
    }

    fn write(&mut self, connection: &mut Connection, bytes: &[u8]) -> Result<usize, Closed> {
        self.stack.write(connection.0, bytes)
    }

    fn flush(&mut self, now: Nanos) {
        self.stack.now = self.stack.now.max(now);
        if self.stack.serve(&mut self.device.tx) > 0 {
            self.device.tx.flush();
        }
    }

    fn close(&mut self, connection: Connection) {
        self.stack.close(connection.0);
    }

    fn local_addr(&self) -> SocketAddr {
        self.stack.config.listen
    }
}

/// Everything but the device, so that a frame can be read from one half of that and answered on the other.
struct Stack {
    config: Config,
    interface: Interface,
    isns: Isns,
    capabilities: DeviceCapabilities,
    slots: Box<[Slot]>,
    /// What finds no connection goes to a set without sockets, which answers it with a reset.
    nobody: SocketSet<'static>,
    by_flow: HashMap<Flow, u32>,
    free: Vec<u32>,
    /// Handshakes under way that others began.
    half_open: Vec<u32>,
    to_accept: VecDeque<u32>,
    /// Connections to be served.
    marked: Vec<u32>,
    times: Wheel,
    now: Nanos,
    cookies: Cookies,
    /// When the last of those that were sent is no good any more.
    cookies_until: Nanos,
    next_port: u16,
    counters: Counters,
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stack")
            .field("listen", &self.config.listen)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

/// The peer, and our port; our address is always the same.
type Flow = (SocketAddr, u16);

struct Slot {
    set: SocketSet<'static>,
    handle: SocketHandle,
    link: LinkHeader,
    flow: Flow,
    phase: Phase,
    is_marked: bool,
    /// When patience ends with a handshake, or with a peer that does not close.
    deadline: Nanos,
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot").field("flow", &self.flow).field("phase", &self.phase).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Free,
    /// The peer began a handshake; the number is its place in the list of those.
    HalfOpen(u32),
    /// Waits to be accepted.
    Waiting,
    /// We began a handshake for somebody who holds it.
    Connecting,
    /// Somebody holds it.
    Held,
    /// Nobody holds it any more, and the peer has not closed it.
    Closing,
}

impl Slot {
    fn new(config: &Config) -> Self {
        let buffer = |size: usize| SocketBuffer::new(vec![0; size]);
        let mut socket = Socket::new(buffer(config.receive_size), buffer(config.send_size));
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(Some(fast_duration(config.ack_delay)));
        socket.set_keep_alive(Some(fast_duration(config.keep_alive)));
        socket.set_timeout(Some(fast_duration(config.timeout)));
        let mut set = SocketSet::new(Vec::with_capacity(1));
        let handle = set.add(socket);
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        Self {
            set,
            handle,
            link: LinkHeader::new([0; 6], [0; 6], nowhere.ip()),
            flow: (nowhere, 0),
            phase: Phase::Free,
            is_marked: false,
            deadline: Nanos(u64::MAX),
        }
    }

    fn socket(&self) -> &Socket<'static> {
        self.set.get(self.handle)
    }

    fn socket_mut(&mut self) -> &mut Socket<'static> {
        self.set.get_mut(self.handle)
    }
}

impl Stack {
    fn new<R, T>(config: Config, device: &FrameDevice<R, T>) -> Self {
        let mut checksum = ChecksumCapabilities::default();
        let offloads = device.capabilities;
        let done = match (offloads.checks_checksums, offloads.fills_checksums) {
            (false, false) => Checksum::Both,
            (true, false) => Checksum::Tx,
            (false, true) => Checksum::Rx,
            (true, true) => Checksum::None,
        };
        checksum.tcp = done;
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = config.mtu;
        capabilities.checksum = checksum;
        let count = config.connections_max;
        Self {
            interface: interface(&config, &capabilities, 0),
            isns: Isns::new(config.secret),
            slots: (0..count).map(|_| Slot::new(&config)).collect(),
            nobody: SocketSet::new(Vec::new()),
            // Twice the room: entries that are taken out leave traces, and the table never grows.
            by_flow: HashMap::with_capacity(2 * count),
            free: (0..count as u32).rev().collect(),
            // A cookie that is redeemed is one more, for a moment.
            half_open: Vec::with_capacity(config.half_open_max + 1),
            to_accept: VecDeque::with_capacity(count),
            marked: Vec::with_capacity(count),
            times: Wheel::new(count),
            now: Nanos(0),
            cookies: Cookies::new(config.secret),
            cookies_until: Nanos(0),
            next_port: 0,
            counters: Counters::default(),
            capabilities,
            config,
        }
    }

    /// One frame.
    fn take<T: FrameTx>(&mut self, frame: &[u8], tx: &mut T) {
        self.counters.frames += 1;
        let Some(segment) = packet::parse(frame) else {
            self.counters.ignored += 1;
            return;
        };
        if segment.to.ip() != self.config.listen.ip() {
            self.counters.ignored += 1;
            return;
        }
        let flow = (segment.from, segment.to.port());
        if let Some(&id) = self.by_flow.get(&flow) {
            let slot = &mut self.slots[id as usize];
            // A peer that begins anew has forgotten the old connection, and ours only waits for stragglers.
            let begins_anew = segment.flags & (SYN | ACK | RST) == SYN;
            if !(begins_anew && slot.socket().state() == State::TimeWait) {
                slot.link = packet::answer_link(segment.link);
                self.feed(id, &segment, tx);
                return;
            }
            self.release(id);
        }
        if segment.flags & (SYN | ACK | RST) == SYN && segment.to == self.config.listen {
            self.begin(flow, &segment, tx);
            return;
        }
        if self.redeem(flow, &segment, tx) {
            return;
        }
        self.counters.unknown += 1;
        let link = packet::answer_link(segment.link);
        let mut wire = Wire::new(segment.packet, tx, &link, &self.capabilities, &mut self.counters);
        self.interface.poll_ingress_single(fast(self.now), &mut wire, &mut self.nobody);
    }

    /// A handshake that the peer begins.
    fn begin<T: FrameTx>(&mut self, flow: Flow, segment: &Segment<'_>, tx: &mut T) {
        if self.free.is_empty() {
            self.counters.refused += 1;
            return;
        }
        if self.half_open.len() == self.config.half_open_max {
            self.send_cookie(segment, tx);
            return;
        }
        let id = self.open_half(flow, segment);
        let mut beginning = self.beginning(self.config.listen, segment.from);
        let slot = &mut self.slots[id as usize];
        let mut wire = Wire::new(segment.packet, tx, &slot.link, &self.capabilities, &mut self.counters);
        beginning.poll_ingress_single(fast(self.now), &mut wire, &mut slot.set);
        self.mark(id);
    }

    /// A connection, one of which is free, that a peer begins.
    fn open_half(&mut self, flow: Flow, segment: &Segment<'_>) -> u32 {
        let id = self.free.pop().expect("one is free");
        let place = self.half_open.len() as u32;
        self.half_open.push(id);
        self.open(id, flow, packet::answer_link(segment.link), Phase::HalfOpen(place));
        let listen = self.config.listen;
        self.slots[id as usize].socket_mut().listen(listen).expect("a free socket listens");
        id
    }

    /// Answers a SYN, and keeps nothing of it.
    fn send_cookie<T: FrameTx>(&mut self, segment: &Segment<'_>, tx: &mut T) {
        let Some(syn) = parsed(segment, &self.capabilities.checksum) else { return };
        let theirs = syn.seq_number.0 as u32;
        let number = self.cookies.number(segment.from, theirs, syn.max_seg_size, self.now);
        let ip_header_len = if segment.to.is_ipv4() { 20 } else { 40 };
        let answer = TcpRepr {
            src_port: syn.dst_port,
            dst_port: syn.src_port,
            control: TcpControl::Syn,
            seq_number: TcpSeqNumber(number as i32),
            ack_number: Some(syn.seq_number + 1),
            window_len: u16::try_from(self.config.receive_size).unwrap_or(u16::MAX),
            max_seg_size: Some((self.config.mtu - ip_header_len - TCP_HEADER_LEN) as u16),
            ..plain(&syn)
        };
        let link = packet::answer_link(segment.link);
        let leaves_checksum = !self.capabilities.checksum.tcp.tx();
        let outgoing = Outgoing { tx, link: &link, counters: &mut self.counters, leaves_checksum };
        let ip = ip_of(segment.to, segment.from, &answer);
        outgoing.consume(ip.buffer_len(), |packet| emit(packet, &ip, &answer, &self.capabilities.checksum));
        self.counters.cookies_sent += 1;
        self.cookies_until = Nanos(self.now.0.saturating_add(cookie::LIFE_MAX.0));
    }

    /// Makes a connection of a segment that brings a cookie of ours back. False: it brings none.
    fn redeem<T: FrameTx>(&mut self, flow: Flow, segment: &Segment<'_>, tx: &mut T) -> bool {
        let is_candidate = segment.flags & (SYN | ACK | RST) == ACK && segment.to == self.config.listen;
        if !is_candidate || self.now >= self.cookies_until {
            return false;
        }
        let Some(ack) = parsed(segment, &self.capabilities.checksum) else { return false };
        let Some(after_ours) = ack.ack_number else { return false };
        let (ours, theirs) = (after_ours - 1, ack.seq_number - 1);
        let found = self.cookies.read(ours.0 as u32, segment.from, theirs.0 as u32, self.now);
        let Some(segment_size) = found else { return false };
        if self.free.is_empty() {
            self.counters.refused += 1;
            return false;
        }
        let id = self.open_half(flow, segment);
        let mut beginning = interface(&self.config, &self.capabilities, isn::seed_for(ours.0 as u32));
        // The SYN that was not remembered, as far as the cookie says, and our answer to it, which was sent then.
        let syn = TcpRepr {
            control: TcpControl::Syn,
            seq_number: theirs,
            ack_number: None,
            max_seg_size: Some(segment_size),
            ..plain(&ack)
        };
        let ip = ip_of(segment.from, segment.to, &syn);
        let mut packet = [0; Forgotten::LEN];
        let packet = &mut packet[..ip.buffer_len()];
        // Its checksum is read like any other's, and no device fills it in.
        emit(packet, &ip, &syn, &ChecksumCapabilities::default());
        let Self { slots, capabilities, counters, .. } = self;
        let slot = &mut slots[id as usize];
        let (now, mut forgotten) = (fast(self.now), Forgotten::default());
        let mut wire = Wire::new(packet, &mut forgotten, &slot.link, capabilities, counters);
        beginning.poll_ingress_single(now, &mut wire, &mut slot.set);
        beginning.poll_egress(now, &mut wire, &mut slot.set);
        let mut wire = Wire::new(segment.packet, tx, &slot.link, capabilities, counters);
        self.interface.poll_ingress_single(now, &mut wire, &mut slot.set);
        self.follow(id);
        match self.slots[id as usize].phase {
            Phase::Waiting => {
                self.counters.cookies_redeemed += 1;
                self.mark(id);
                return true;
            }
            Phase::Free => {}
            _ => self.release(id),
        }
        false
    }

    /// An interface by which one connection begins, with the number that it should have.
    fn beginning(&self, ours: SocketAddr, peers: SocketAddr) -> Interface {
        let number = self.isns.number(ours, peers, self.now);
        interface(&self.config, &self.capabilities, isn::seed_for(number))
    }

    fn connect(&mut self, to: SocketAddr, link: LinkHeader) -> Option<u32> {
        /// The first of IANA's dynamic ports.
        const DYNAMIC: u16 = 49_152;
        let id = self.free.pop()?;
        let flow = loop {
            self.next_port = (self.next_port + 1) % (u16::MAX - DYNAMIC);
            let flow = (to, DYNAMIC + self.next_port);
            if !self.by_flow.contains_key(&flow) {
                break flow;
            }
        };
        self.open(id, flow, link, Phase::Connecting);
        let from = SocketAddr::new(self.config.listen.ip(), flow.1);
        let mut beginning = self.beginning(from, to);
        let socket = self.slots[id as usize].socket_mut();
        socket.connect(beginning.context(), to, from).expect("a free socket connects");
        self.mark(id);
        Some(id)
    }

    fn open(&mut self, id: u32, flow: Flow, link: LinkHeader, phase: Phase) {
        self.by_flow.insert(flow, id);
        let slot = &mut self.slots[id as usize];
        assert_eq!(slot.phase, Phase::Free, "a connection is used once at a time");
        (slot.flow, slot.link, slot.phase) = (flow, link, phase);
        slot.deadline = Nanos(self.now.0.saturating_add(self.config.handshake_max.0));
        slot.socket_mut().set_congestion_control(CongestionControl::Reno);
    }

    fn feed<T: FrameTx>(&mut self, id: u32, segment: &Segment<'_>, tx: &mut T) {
        let slot = &mut self.slots[id as usize];
        let mut wire = Wire::new(segment.packet, tx, &slot.link, &self.capabilities, &mut self.counters);
        self.interface.poll_ingress_single(fast(self.now), &mut wire, &mut slot.set);
        self.mark(id);
    }

    /// To be served at the next occasion.
    fn mark(&mut self, id: u32) {
        let slot = &mut self.slots[id as usize];
        if !slot.is_marked {
            slot.is_marked = true;
            self.marked.push(id);
        }
    }

    fn meet_times(&mut self) {
        let Self { times, slots, marked, now, .. } = self;
        times.advance(*now, |id| {
            let slot = &mut slots[id as usize];
            if !slot.is_marked {
                slot.is_marked = true;
                marked.push(id);
            }
        });
    }

    /// Sends what marked connections have to send, and follows what became of them. Says how many there were.
    fn serve<T: FrameTx>(&mut self, tx: &mut T) -> usize {
        let count = self.marked.len();
        for at in 0..count {
            let id = self.marked[at];
            self.slots[id as usize].is_marked = false;
            self.serve_one(id, tx);
        }
        self.marked.drain(..count);
        count
    }

    fn serve_one<T: FrameTx>(&mut self, id: u32, tx: &mut T) {
        let is_impatient = self.now >= self.slots[id as usize].deadline;
        match self.slots[id as usize].phase {
            Phase::Free => return,
            // Who does not answer is not told either.
            Phase::HalfOpen(_) if is_impatient => return self.release(id),
            Phase::Connecting | Phase::Closing if is_impatient => {
                let socket = self.slots[id as usize].socket_mut();
                if socket.is_open() {
                    socket.abort();
                    self.counters.aborted += 1;
                }
                self.slots[id as usize].deadline = Nanos(u64::MAX);
            }
            _ => {}
        }
        self.send(id, tx);
        self.follow(id);
        if self.slots[id as usize].phase != Phase::Free {
            let slot = &self.slots[id as usize];
            let due = self.interface.poll_at(fast(self.now), &slot.set).map(slow);
            let deadline = Some(slot.deadline).filter(|at| at.0 < u64::MAX);
            self.times.set(id, due.into_iter().chain(deadline).min());
        }
    }

    fn send<T: FrameTx>(&mut self, id: u32, tx: &mut T) {
        let slot = &mut self.slots[id as usize];
        let mut wire = Wire::new(&[], tx, &slot.link, &self.capabilities, &mut self.counters);
        // Each round sends one segment; more than a window's worth is a fault.
        let rounds_max = 8 + self.config.send_size / 32;
        for _ in 0..rounds_max {
            if self.interface.poll_egress(fast(self.now), &mut wire, &mut slot.set) == PollResult::None {
                break;
            }
        }
    }

    /// Draws the consequences of the state that a connection has come to.
    fn follow(&mut self, id: u32) {
        let slot = &mut self.slots[id as usize];
        let state = slot.socket().state();
        match (slot.phase, state) {
            // A reset takes a listening socket back to where it began.
            (Phase::HalfOpen(_), State::Listen | State::Closed) => self.release(id),
            (Phase::HalfOpen(_), State::SynReceived) => {}
            (Phase::HalfOpen(place), _) => {
                self.leave_half_open(place);
                let slot = &mut self.slots[id as usize];
                (slot.phase, slot.deadline) = (Phase::Waiting, Nanos(u64::MAX));
                self.to_accept.push_back(id);
                self.counters.connected += 1;
            }
            (Phase::Connecting, State::Closed) => self.forget(id),
            (Phase::Connecting, State::SynSent | State::SynReceived) => {}
            (Phase::Connecting, _) => {
                (slot.phase, slot.deadline) = (Phase::Held, Nanos(u64::MAX));
                self.counters.connected += 1;
            }
            // Who holds it learns of its end at the next read, and gives it back then.
            (Phase::Waiting | Phase::Held, State::Closed) => self.forget(id),
            (Phase::Closing, State::Closed) => self.release(id),
            _ => {}
        }
    }

    /// Frames of this connection are of no connection from here on.
    fn forget(&mut self, id: u32) {
        let flow = self.slots[id as usize].flow;
        if self.by_flow.get(&flow) == Some(&id) {
            self.by_flow.remove(&flow);
        }
    }

    fn leave_half_open(&mut self, place: u32) {
        self.half_open.swap_remove(place as usize);
        if let Some(&moved) = self.half_open.get(place as usize) {
            self.slots[moved as usize].phase = Phase::HalfOpen(place);
        }
    }

    /// The connection is over and its place free. Sends nothing.
    fn release(&mut self, id: u32) {
        self.forget(id);
        if let Phase::HalfOpen(place) = self.slots[id as usize].phase {
            self.leave_half_open(place);
        }
        let slot = &mut self.slots[id as usize];
        assert_ne!(slot.phase, Phase::Free, "a connection is given back once");
        slot.phase = Phase::Free;
        slot.deadline = Nanos(u64::MAX);
        slot.socket_mut().abort();
        self.times.set(id, None);
        self.free.push(id);
    }

    fn accept(&mut self) -> Option<u32> {
        let id = self.to_accept.pop_front()?;
        self.slots[id as usize].phase = Phase::Held;
        Some(id)
    }

    fn read(&mut self, id: u32, buffer: &mut [u8]) -> Result<usize, Closed> {
        let slot = &mut self.slots[id as usize];
        let socket = slot.socket_mut();
        if socket.can_recv() {
            let count = socket.recv_slice(buffer).expect("it says that it can");
            self.mark(id);
            return Ok(count);
        }
        if socket.may_recv() || is_opening(socket.state()) { Ok(0) } else { Err(slot.why()) }
    }

    fn write(&mut self, id: u32, bytes: &[u8]) -> Result<usize, Closed> {
        let slot = &mut self.slots[id as usize];
        let socket = slot.socket_mut();
        if !socket.may_send() {
            return if is_opening(socket.state()) { Ok(0) } else { Err(slot.why()) };
        }
        let count = socket.send_slice(bytes).expect("it says that it can");
        if count > 0 {
            self.mark(id);
        }
        Ok(count)
    }

    fn close(&mut self, id: u32) {
        let slot = &mut self.slots[id as usize];
        assert!(matches!(slot.phase, Phase::Held | Phase::Connecting), "who closes holds");
        slot.phase = Phase::Closing;
        slot.deadline = Nanos(self.now.0.saturating_add(self.config.linger.0));
        slot.socket_mut().close();
        self.mark(id);
    }
}

/// A segment whose checksum is right.
fn parsed<'a>(segment: &Segment<'a>, checksum: &ChecksumCapabilities) -> Option<TcpRepr<'a>> {
    let ip_header_len = if segment.to.is_ipv4() { 20 } else { 40 };
    let tcp = TcpPacket::new_checked(&segment.packet[ip_header_len..]).ok()?;
    let (from, to) = (IpAddress::from(segment.from.ip()), IpAddress::from(segment.to.ip()));
    TcpRepr::parse(&tcp, &from, &to, checksum).ok()
}

/// As `of`, without options and data.
fn plain(of: &TcpRepr<'_>) -> TcpRepr<'static> {
    TcpRepr {
        src_port: of.src_port,
        dst_port: of.dst_port,
        control: of.control,
        seq_number: of.seq_number,
        ack_number: of.ack_number,
        window_len: of.window_len,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    }
}

fn ip_of(from: SocketAddr, to: SocketAddr, tcp: &TcpRepr<'_>) -> IpRepr {
    const HOP_LIMIT: u8 = 64;
    IpRepr::new(from.ip().into(), to.ip().into(), IpProtocol::Tcp, tcp.buffer_len(), HOP_LIMIT)
}

fn emit(packet: &mut [u8], ip: &IpRepr, tcp: &TcpRepr<'_>, checksum: &ChecksumCapabilities) {
    ip.emit(&mut *packet, checksum);
    let segment = &mut packet[ip.header_len()..];
    let (from, to) = (ip.src_addr(), ip.dst_addr());
    tcp.emit(&mut TcpPacket::new_unchecked(segment), &from, &to, checksum);
}

/// Where frames go that were sent before.
struct Forgotten([u8; Self::LEN]);

impl Forgotten {
    /// The longest headers of a frame: of the link, IPv6's, and TCP's with all options.
    const LEN: usize = packet::LINK_LEN_MAX + 40 + 60;
}

impl Default for Forgotten {
    fn default() -> Self {
        Self([0; Self::LEN])
    }
}

impl FrameTx for Forgotten {
    fn slot(&mut self) -> Option<&mut [u8]> {
        Some(&mut self.0)
    }

    fn commit(&mut self, _len: usize) {}

    fn flush(&mut self) {}
}

/// An interface has no state of a connection but the number that the next one begins with.
fn interface(config: &Config, capabilities: &DeviceCapabilities, seed: u64) -> Interface {
    let mut interface_config = smoltcp::iface::Config::new(HardwareAddress::Ip);
    interface_config.random_seed = seed;
    let mut wire: Wire<'_, Nowhere> = Wire::silent(capabilities);
    let mut interface = Interface::new(interface_config, &mut wire, Instant::ZERO);
    let prefix = if config.listen.is_ipv4() { 32 } else { 128 };
    interface.update_ip_addrs(|addresses| {
        addresses.push(IpCidr::new(config.listen.ip().into(), prefix)).expect("there is room for one");
    });
    interface
}

/// Where nothing can be sent.
enum Nowhere {}

impl FrameTx for Nowhere {
    fn slot(&mut self) -> Option<&mut [u8]> {
        match *self {}
    }

    fn commit(&mut self, _len: usize) {
        match *self {}
    }

    fn flush(&mut self) {
        match *self {}
    }
}

fn is_opening(state: State) -> bool {
    matches!(state, State::SynSent | State::SynReceived)
}

impl Slot {
    fn why(&self) -> Closed {
        match self.phase {
            Phase::Connecting => Closed::Failed(ErrorKind::ConnectionRefused),
            _ => Closed::ByPeer,
        }
    }
}

/// What smoltcp takes for its device: one packet that came in, and slots of ours that begin with the link
/// header of one connection.
struct Wire<'a, T> {
    packet: &'a [u8],
    tx: Option<&'a mut T>,
    link: Option<&'a LinkHeader>,
    capabilities: &'a DeviceCapabilities,
    counters: Option<&'a mut Counters>,
}

impl<'a, T> Wire<'a, T> {
    fn new(
        packet: &'a [u8],
        tx: &'a mut T,
        link: &'a LinkHeader,
        capabilities: &'a DeviceCapabilities,
        counters: &'a mut Counters,
    ) -> Self {
        Self { packet, tx: Some(tx), link: Some(link), capabilities, counters: Some(counters) }
    }

    /// Nothing comes from it and nothing can be sent.
    fn silent(capabilities: &'a DeviceCapabilities) -> Self {
        Self { packet: &[], tx: None, link: None, capabilities, counters: None }
    }
}

impl<T: FrameTx> Device for Wire<'_, T> {
    type RxToken<'b>
        = Received<'b>
    where
        Self: 'b;
    type TxToken<'b>
        = Outgoing<'b, T>
    where
        Self: 'b;

    fn receive(&mut self, _at: Instant) -> Option<(Received<'_>, Outgoing<'_, T>)> {
        let packet = std::mem::take(&mut self.packet);
        if packet.is_empty() {
            return None;
        }
        Some((Received(packet), self.outgoing()?))
    }

    fn transmit(&mut self, _at: Instant) -> Option<Outgoing<'_, T>> {
        // What has no room now stays with its connection, to be sent at the next tick.
        self.tx.as_mut()?.slot()?;
        self.outgoing()
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.capabilities.clone()
    }
}

impl<T> Wire<'_, T> {
    fn outgoing(&mut self) -> Option<Outgoing<'_, T>> {
        let Self { tx: Some(tx), link: Some(link), counters: Some(counters), capabilities, .. } = self else {
            return None;
        };
        Some(Outgoing { tx, link, counters, leaves_checksum: !capabilities.checksum.tcp.tx() })
    }
}

struct Received<'a>(&'a [u8]);

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

struct Outgoing<'a, T> {
    tx: &'a mut T,
    link: &'a LinkHeader,
    counters: &'a mut Counters,
    /// To the device.
    leaves_checksum: bool,
}

impl<T: FrameTx> TxToken for Outgoing<'_, T> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        /// Ethernet's shortest frame, without its checksum. Not every card fills up shorter ones.
        const FRAME_LEN_MIN: usize = 60;
        /// Longest packet that may be written to nowhere: a jumbo frame's.
        const PACKET_LEN_MAX: usize = 9_216;
        let link = self.link.as_bytes();
        let Some(slot) = self.tx.slot() else {
            self.counters.tx_full += 1;
            return write(&mut [0; PACKET_LEN_MAX][..len]);
        };
        let end = link.len() + len;
        slot[..link.len()].copy_from_slice(link);
        let result = write(&mut slot[link.len()..end]);
        let frame_len = end.max(FRAME_LEN_MIN);
        slot[end..frame_len].fill(0);
        let unsummed =
            self.leaves_checksum.then(|| packet::leave_checksum(&mut slot[link.len()..end], link.len()));
        match unsummed.flatten() {
            Some(unsummed) => self.tx.commit_unsummed(frame_len, unsummed),
            None => self.tx.commit(frame_len),
        }
        result
    }
}
