//! An AF_XDP socket on one queue of a network device: four rings over the umem, as a [`FrameDevice`].
//!
//! ```text
//!            fill ──→ │        │ ──→ receive            of the receiving half
//!                     │ kernel │
//!        transmit ──→ │        │ ──→ completion         of the sending half
//! ```
//!
//! The halves share the descriptor and the umem, and no frame: the first ones are for receiving, the
//! others for sending.

use std::ffi::{CString, c_int, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ironbell_device::{Capabilities, FrameDevice, FrameRx, FrameTx};
use libc::xdp_desc;

use crate::Error;
use crate::umem::{Offsets, Ring, Umem};

/// What a socket is opened with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The network device.
    pub interface: String,
    /// Its queue.
    pub queue: u32,
    /// Frames for receiving, and as many for sending. A power of two.
    pub frames: u32,
    /// Bytes of a frame in the umem: 2,048 or 4,096. The kernel takes 256 of them for itself.
    pub frame_size: u32,
    /// Whether the card is to read and write our memory itself.
    pub copy: Copy,
    /// The kernel polls the card's queue in our calls, not in its interrupts (SO_PREFER_BUSY_POLL), so many
    /// frames at a time; 0: it does not. The device wants `napi_defer_hard_irqs` and `gro_flush_timeout` then.
    pub busy_poll_budget: u32,
}

impl Config {
    /// 2,048 frames of 2,048 bytes each way on queue 0 of `interface`.
    #[must_use]
    pub fn new(interface: &str) -> Self {
        Self {
            interface: interface.to_owned(),
            queue: 0,
            frames: 2_048,
            frame_size: 2_048,
            copy: Copy::IfNeeded,
            busy_poll_budget: 0,
        }
    }
}

/// Whether frames are copied between the card's memory and ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Copy {
    /// Only where the driver cannot do without.
    #[default]
    IfNeeded,
    /// Never: refuse to open.
    Never,
    /// Always.
    Always,
}

/// An AF_XDP socket.
pub type XdpDevice = FrameDevice<XdpRx, XdpTx>;

/// Bytes of an Ethernet header with two tags, before the MTU's.
const LINK_LEN: usize = 22;
/// Frames taken at once.
const BURST: usize = 64;
/// The umem's headroom that the kernel keeps for itself (`XDP_PACKET_HEADROOM`).
const KERNEL_HEADROOM: usize = 256;

/// What both halves hold.
#[derive(Debug)]
struct Shared {
    fd: OwnedFd,
    umem: Umem,
}

/// The receiving half.
#[derive(Debug)]
pub struct XdpRx {
    shared: Arc<Shared>,
    fill: Ring<u64>,
    receive: Ring<xdp_desc>,
    burst: Vec<xdp_desc>,
    frame_size: u64,
    polls_card: bool,
}

/// The sending half.
#[derive(Debug)]
pub struct XdpTx {
    shared: Arc<Shared>,
    transmit: Ring<xdp_desc>,
    completion: Ring<u64>,
    /// Addresses of frames that are ours.
    free: Vec<u64>,
    /// The frame that is being written.
    slot: Option<u64>,
    slot_len: usize,
    pushed: bool,
    failures: u64,
}

/// What the kernel counted (`struct xdp_statistics`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Frames dropped for other reasons than those below.
    pub rx_dropped: u64,
    /// Frames dropped because we had not emptied the receive ring.
    pub rx_ring_full: u64,
    /// Times a frame found no room in the fill ring.
    pub rx_fill_ring_empty: u64,
    /// Frames that we asked to send and that were none.
    pub tx_invalid: u64,
}

/// Opens a socket. It receives nothing before a program sends frames to it.
///
/// # Errors
/// [`Error::NoInterface`]; [`Error::Socket`] with what failed. A queue that was closed a moment ago is busy
/// for a while: that is waited for.
///
/// # Panics
/// When `frames` or `frame_size` is no power of two.
pub fn open(config: &Config) -> Result<XdpDevice, Error> {
    let failed = |what| move |source| Error::Socket { what, interface: config.interface.clone(), source };
    let (frames, frame_size) = (config.frames as usize, config.frame_size as usize);
    assert!(frames.is_power_of_two(), "rings have a power of two entries");
    assert!(frame_size.is_power_of_two(), "frames have a power of two bytes");
    let index = interface_index(&config.interface)?;
    let umem = Umem::new(2 * frames, frame_size).map_err(failed("take memory for"))?;
    // SAFETY: this call takes no address.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(failed("make")(io::Error::last_os_error()));
    }
    // SAFETY: the kernel just gave us this descriptor, and nobody else has it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let registration = libc::xdp_umem_reg {
        addr: umem.address(),
        len: umem.len() as u64,
        chunk_size: config.frame_size,
        headroom: 0,
        flags: 0,
        tx_metadata_len: 0,
    };
    set(fd.as_fd(), libc::SOL_XDP, libc::XDP_UMEM_REG, &registration)
        .map_err(failed("register memory (ulimit -l?) for"))?;
    for ring in
        [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_RX_RING, libc::XDP_TX_RING]
    {
        set(fd.as_fd(), libc::SOL_XDP, ring, &config.frames).map_err(failed("make a ring for"))?;
    }
    let offsets = mmap_offsets(fd.as_fd()).map_err(failed("map the rings of"))?;
    let map = failed("map the rings of");
    let page = |offset: u64| i64::try_from(offset).expect("a page offset");
    let mut fill: Ring<u64> =
        Ring::map(fd.as_fd(), page(libc::XDP_UMEM_PGOFF_FILL_RING), parts(&offsets.fr), config.frames)
            .map_err(&map)?;
    let completion: Ring<u64> =
        Ring::map(fd.as_fd(), page(libc::XDP_UMEM_PGOFF_COMPLETION_RING), parts(&offsets.cr), config.frames)
            .map_err(&map)?;
    let receive: Ring<xdp_desc> =
        Ring::map(fd.as_fd(), libc::XDP_PGOFF_RX_RING, parts(&offsets.rx), config.frames).map_err(&map)?;
    let transmit: Ring<xdp_desc> =
        Ring::map(fd.as_fd(), libc::XDP_PGOFF_TX_RING, parts(&offsets.tx), config.frames).map_err(&map)?;

    let frame_size = u64::from(config.frame_size);
    for frame in 0..u64::from(config.frames) {
        assert!(fill.push(frame * frame_size), "the ring has a place for every frame");
    }
    fill.publish();
    if config.busy_poll_budget > 0 {
        busy_poll(fd.as_fd(), config.busy_poll_budget).map_err(failed("busy-poll"))?;
    }
    let is_zero_copy = bind(fd.as_fd(), index, config).map_err(failed("bind"))?;

    let shared = Arc::new(Shared { fd, umem });
    let free = (u64::from(config.frames)..2 * u64::from(config.frames)).map(|frame| frame * frame_size);
    let slot_len = frame_size as usize - KERNEL_HEADROOM;
    let mtu = mtu(&config.interface)?;
    Ok(FrameDevice {
        rx: XdpRx {
            shared: Arc::clone(&shared),
            fill,
            receive,
            burst: Vec::with_capacity(BURST),
            frame_size,
            polls_card: config.busy_poll_budget > 0,
        },
        tx: XdpTx {
            shared,
            transmit,
            completion,
            free: free.rev().collect(),
            slot: None,
            slot_len: slot_len.min(mtu + LINK_LEN),
            pushed: false,
            failures: 0,
        },
        capabilities: Capabilities {
            frame_size_max: slot_len.min(mtu + LINK_LEN),
            fills_checksums: false,
            checks_checksums: false,
            is_zero_copy,
        },
    })
}

fn set<T>(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let (at, len) = (std::ptr::from_ref(value).cast::<c_void>(), size_of::<T>() as libc::socklen_t);
    // SAFETY: the value lives until the call is over, and its size is told.
    let result = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, at, len) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn get<T>(fd: BorrowedFd<'_>, name: c_int, mut value: T) -> io::Result<T> {
    let mut len = size_of::<T>() as libc::socklen_t;
    let at = std::ptr::from_mut(&mut value).cast::<c_void>();
    // SAFETY: at most the size that is told is written, to a value that is of plain numbers.
    let result = unsafe { libc::getsockopt(fd.as_raw_fd(), libc::SOL_XDP, name, at, &mut len) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}

fn mmap_offsets(fd: BorrowedFd<'_>) -> io::Result<libc::xdp_mmap_offsets> {
    let none = || libc::xdp_ring_offset { producer: 0, consumer: 0, desc: 0, flags: 0 };
    let offsets = libc::xdp_mmap_offsets { rx: none(), tx: none(), fr: none(), cr: none() };
    get(fd, libc::XDP_MMAP_OFFSETS, offsets)
}

fn parts(ring: &libc::xdp_ring_offset) -> Offsets {
    Offsets {
        producer: ring.producer as usize,
        consumer: ring.consumer as usize,
        flags: ring.flags as usize,
        entries: ring.desc as usize,
    }
}

fn busy_poll(fd: BorrowedFd<'_>, budget: u32) -> io::Result<()> {
    const SO_PREFER_BUSY_POLL: c_int = 69;
    const SO_BUSY_POLL_BUDGET: c_int = 70;
    const BUSY_POLL_US: c_int = 20;
    set(fd, libc::SOL_SOCKET, SO_PREFER_BUSY_POLL, &1_i32)?;
    set(fd, libc::SOL_SOCKET, libc::SO_BUSY_POLL, &BUSY_POLL_US)?;
    set(fd, libc::SOL_SOCKET, SO_BUSY_POLL_BUDGET, &budget)
}

/// Binds to the queue, without copying if that is possible and wanted; says whether it is.
fn bind(fd: BorrowedFd<'_>, index: u32, config: &Config) -> io::Result<bool> {
    /// The kernel takes a closed socket off its queue a moment after its process has ended.
    const BUSY_MAX: Duration = Duration::from_secs(5);
    let wakeup = libc::XDP_USE_NEED_WAKEUP;
    let attempts: &[(u16, bool)] = match config.copy {
        Copy::IfNeeded => &[(libc::XDP_ZEROCOPY, true), (libc::XDP_COPY, false)],
        Copy::Never => &[(libc::XDP_ZEROCOPY, true)],
        Copy::Always => &[(libc::XDP_COPY, false)],
    };
    let began = Instant::now();
    loop {
        let mut last = io::Error::from(io::ErrorKind::Unsupported);
        for (flag, is_zero_copy) in attempts {
            let address = libc::sockaddr_xdp {
                sxdp_family: libc::AF_XDP as u16,
                sxdp_flags: flag | wakeup,
                sxdp_ifindex: index,
                sxdp_queue_id: config.queue,
                sxdp_shared_umem_fd: 0,
            };
            let (at, len) = (std::ptr::from_ref(&address).cast(), size_of_val(&address) as libc::socklen_t);
            // SAFETY: the address lives until the call is over, and its size is told.
            if unsafe { libc::bind(fd.as_raw_fd(), at, len) } == 0 {
                return Ok(*is_zero_copy);
            }
            last = io::Error::last_os_error();
        }
        if last.raw_os_error() != Some(libc::EBUSY) || began.elapsed() > BUSY_MAX {
            return Err(last);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The number of a network device.
///
/// # Errors
/// [`Error::NoInterface`].
pub fn interface_index(name: &str) -> Result<u32, Error> {
    let no_interface = || Error::NoInterface { name: name.to_owned(), source: io::Error::last_os_error() };
    let c_name = CString::new(name).map_err(|_| Error::NoInterface {
        name: name.to_owned(),
        source: io::ErrorKind::InvalidInput.into(),
    })?;
    // SAFETY: the name ends with a zero and lives until the call is over.
    match unsafe { libc::if_nametoindex(c_name.as_ptr()) } {
        0 => Err(no_interface()),
        index => Ok(index),
    }
}

/// Bytes that IP may fill in a frame of a network device.
fn mtu(name: &str) -> Result<usize, Error> {
    let no_interface = |source| Error::NoInterface { name: name.to_owned(), source };
    // SAFETY: a socket of any kind will do to ask by.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(no_interface(io::Error::last_os_error()));
    }
    // SAFETY: the kernel just gave us this descriptor, and nobody else has it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all zeros are a valid request.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.as_bytes().iter().take(libc::IFNAMSIZ - 1)) {
        *to = *from as libc::c_char;
    }
    // SAFETY: the request is what this ioctl reads and writes, and it ends its name with a zero.
    if unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCGIFMTU, &mut request) } < 0 {
        return Err(no_interface(io::Error::last_os_error()));
    }
    // SAFETY: the kernel wrote this member.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    usize::try_from(mtu).map_err(|_| no_interface(io::ErrorKind::InvalidData.into()))
}

impl AsFd for XdpRx {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.fd.as_fd()
    }
}

impl XdpRx {
    /// What the kernel counted for this socket.
    ///
    /// # Errors
    /// [`io::Error`] when it does not say.
    pub fn statistics(&self) -> io::Result<Statistics> {
        let none = libc::xdp_statistics {
            rx_dropped: 0,
            rx_invalid_descs: 0,
            tx_invalid_descs: 0,
            rx_ring_full: 0,
            rx_fill_ring_empty_descs: 0,
            tx_ring_empty_descs: 0,
        };
        let said = get(self.as_fd(), libc::XDP_STATISTICS, none)?;
        Ok(Statistics {
            rx_dropped: said.rx_dropped,
            rx_ring_full: said.rx_ring_full,
            rx_fill_ring_empty: said.rx_fill_ring_empty_descs,
            tx_invalid: said.tx_invalid_descs,
        })
    }

    /// Has the kernel look into the card's queue, or at the fill ring.
    fn wake(&self) {
        let (fd, flags) = (self.shared.fd.as_raw_fd(), libc::MSG_DONTWAIT);
        // SAFETY: nothing is received: the call takes no address.
        unsafe {
            libc::recvfrom(fd, std::ptr::null_mut(), 0, flags, std::ptr::null_mut(), std::ptr::null_mut())
        };
    }
}

impl FrameRx for XdpRx {
    fn receive(&mut self) -> usize {
        if !self.burst.is_empty() {
            for frame in self.burst.drain(..) {
                // The frame's own start, whatever the headroom was.
                let has_room = self.fill.push(frame.addr / self.frame_size * self.frame_size);
                assert!(has_room, "the ring has a place for every frame");
            }
            self.fill.publish();
        }
        if self.polls_card || self.fill.needs_wakeup() {
            self.wake();
        }
        while self.burst.len() < BURST {
            let Some(frame) = self.receive.pop() else { break };
            self.burst.push(frame);
        }
        if !self.burst.is_empty() {
            self.receive.release();
        }
        self.burst.len()
    }

    fn frame(&self, index: usize) -> &[u8] {
        let frame = self.burst[index];
        let start = frame.addr as usize;
        // SAFETY: the frame came out of the receive ring, and goes into the fill ring in `receive` alone,
        // which ends this borrow.
        unsafe { self.shared.umem.bytes(start..start + frame.len as usize) }
    }
}

impl XdpTx {
    /// Sends that failed for another reason than a full queue.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// Frames that are not the kernel's.
    fn reap(&mut self) {
        let before = self.free.len();
        while let Some(frame) = self.completion.pop() {
            self.free.push(frame);
        }
        if self.free.len() > before {
            self.completion.release();
        }
    }
}

impl FrameTx for XdpTx {
    fn slot(&mut self) -> Option<&mut [u8]> {
        if self.slot.is_none() {
            // Completions are reaped before there is need: a full completion ring stops the kernel.
            if self.free.len() <= BURST {
                self.reap();
            }
            self.slot = self.free.pop();
        }
        let start = self.slot? as usize;
        // SAFETY: the frame is free, hence neither in the transmit ring nor on its way, and this is the only
        // slice of it.
        Some(unsafe { self.shared.umem.bytes_mut(start..start + self.slot_len) })
    }

    fn commit(&mut self, len: usize) {
        assert!(len <= self.slot_len, "a frame of {len} bytes fits its slot");
        let addr = self.slot.take().expect("a slot is taken before it is committed");
        let len = u32::try_from(len).expect("frames are short");
        let has_room = self.transmit.push(xdp_desc { addr, len, options: 0 });
        assert!(has_room, "the ring has a place for every frame");
        self.pushed = true;
    }

    fn flush(&mut self) {
        if self.pushed {
            self.transmit.publish();
            self.pushed = false;
        }
        if self.transmit.waiting() > 0 {
            self.send();
        }
        self.reap();
    }
}

impl XdpTx {
    /// Has the kernel send what is in the transmit ring, if it does not by itself. It takes a part of the
    /// ring in one call, and says EAGAIN when there is more.
    fn send(&mut self) {
        const CALLS_MAX: usize = 64;
        for _ in 0..CALLS_MAX {
            if !self.transmit.needs_wakeup() {
                return;
            }
            let fd = self.shared.fd.as_raw_fd();
            // SAFETY: nothing is handed over: the call takes no address.
            let sent =
                unsafe { libc::sendto(fd, std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0) };
            if sent >= 0 {
                return;
            }
            match io::Error::last_os_error().raw_os_error() {
                Some(libc::EAGAIN) if self.transmit.waiting() > 0 => self.reap(),
                // The card's queue is full or being set up: the next flush tries again.
                Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS) => return,
                _ => {
                    self.failures += 1;
                    return;
                }
            }
        }
    }
}
